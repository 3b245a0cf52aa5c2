/* listener.c - binding, and the sentences for when it cannot be done. */
#include "drive/net/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "drive/net/fifo.h"
#include "drive/net/given.h"
#include "drive/net/guard.h"
#include "drive/net/named.h"
#include "drive/net/queue.h"
#include "drive/sys.h"

static int set_on(int fd, int level, int option)
{
	return sockopt_set(fd, level, option, 1);
}

static int set_interface(int fd, const struct netaddr *at)
{
	if (!*at->interface)
		return 0;
	if (sys_setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, at->interface, (socklen_t)strlen(at->interface)) < 0)
		return -errno;
	return 0;
}

/* A socket file that nobody answers is left over from a crash; one that answers belongs to somebody. */
static int stale(const struct netaddr *at, struct buf *why)
{
	int fd = sys_socket(AF_UNIX, at->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r = fd < 0 ? -errno : 0;

	if (r == 0 && sys_connect(fd, &at->sa, at->n) < 0)
		r = -errno;
	else if (r == 0)
		r = -EADDRINUSE;
	fd_close(&fd);
	if (r == -ECONNREFUSED || r == -ENOENT)
		return 0;
	if (r == -EACCES) {
		buf_addf(why, "%s belongs to somebody else, and we may not ask whether it is served", at->un.sun_path);
	} else if (r == -EADDRINUSE || r == -EAGAIN ||
		   r == -EPROTOTYPE) { /* its backlog is full; it is of another kind */
		buf_addf(why, "%s is served by another program already", at->un.sun_path);
		r = -EADDRINUSE;
	}
	return r;
}

/* May a socket be made there? 1: when what is left of another one has been removed. */
static int look_for_file(const struct netaddr *at, struct buf *why)
{
	struct stat st;
	int r;

	if (lstat(at->un.sun_path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode)) {
		buf_addf(why, "%s exists and is not a socket", at->un.sun_path);
		return -EEXIST;
	}
	r = stale(at, why);
	return r < 0 ? r : 1;
}

static int clear_stale(const struct netaddr *at, struct buf *why)
{
	int r = look_for_file(at, why);

	if (r == 1)
		r = sys_unlink(at->un.sun_path) < 0 && errno != ENOENT ? -errno : 0;
	return r;
}

/* What the kernel has to tell with each datagram: whose it is, or which of our addresses it came to. */
static int set_tellers(const struct listener *ln, const struct netaddr *at)
{
	bool six = at->sa.sa_family == AF_INET6;
	int r = 0;

	if (ln->dgram && at->sa.sa_family == AF_UNIX)
		return set_on(ln->fd, SOL_SOCKET, SO_PASSCRED);
	if (ln->pktinfo && six)
		r = set_on(ln->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
	if (r == 0 && ln->pktinfo && (!six || !at->v6only))
		r = set_on(ln->fd, IPPROTO_IP, IP_PKTINFO);
	return r;
}

static int set_options(struct listener *ln, const struct netaddr *at, const struct listen_setup *setup)
{
	bool six = at->sa.sa_family == AF_INET6;
	int r = 0;

	r = sockopt_tune(ln->fd, at, &setup->socket);
	if (r == 0 && at->sa.sa_family == AF_UNIX)
		return set_tellers(ln, at);
	if (r < 0)
		return r;
	if (!ln->dgram)
		r = set_on(ln->fd, SOL_SOCKET, SO_REUSEADDR);
	if (r == 0 && setup->reuseport)
		r = set_on(ln->fd, SOL_SOCKET, SO_REUSEPORT);
	if (r == 0)
		r = set_interface(ln->fd, at);
	if (r == 0 && six)
		r = sockopt_set(ln->fd, IPPROTO_IPV6, IPV6_V6ONLY, !netaddr_is_any(at) || at->v6only);
	return r == 0 ? set_tellers(ln, at) : r;
}

/* SO_REUSEPORT would share the port with whoever else set it: ask first whether it is free. */
static int probe(const struct netaddr *at)
{
	int r = 0, fd = sys_socket(at->sa.sa_family, at->type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (at->sa.sa_family == AF_INET6)
		r = set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY);
	if (r == 0)
		r = set_interface(fd, at);
	if (r == 0 && sys_bind(fd, &at->sa, at->n) < 0)
		r = -errno;
	fd_close(&fd);
	return r;
}

/* Whose it is shall be, with who it was made for before. */
static struct owner wish(const struct listener *ln, const struct listen_setup *setup)
{
	struct owner to = setup->owner;

	if (to.uid == OWNER_SAME)
		to.uid = ln->born.uid;
	if (to.gid == GROUP_SAME)
		to.gid = ln->born.gid;
	return to;
}

/* Until it has its owner nobody but us may use it. */
static int bind_file(struct listener *ln, const struct netaddr *at, const struct listen_setup *setup, struct buf *why)
{
	bool given = setup->owner.uid != OWNER_SAME || setup->owner.gid != GROUP_SAME;
	char *path = mem_strdup(at->un.sun_path);
	mode_t old;
	int r;

	if (!path)
		return -ENOMEM;
	/* at start and reload only one thread makes files */
	old = umask(0777 & ~(given ? setup->owner.mode & 0700 : setup->owner.mode));
	r = sys_bind(ln->fd, &at->sa, at->n) < 0 ? -errno : 0;
	umask(old);
	if (r < 0) {
		mem_free(path);
		return r;
	}
	ln->unlink_path = path;
	r = owner_read(path, &ln->born);
	if (r < 0 || !given)
		return r;

	struct owner to = wish(ln, setup);

	r = owner_give(path, S_IFSOCK, &to);
	if (r == -EPERM)
		buf_adds(why,
			 "no right to give the socket to this owner or group; only root may, but for our own groups");
	return r;
}

static int do_bind(struct listener *ln, const struct netaddr *at, const struct listen_setup *setup, struct buf *why)
{
	int r = 0;

	if (at->sa.sa_family == AF_UNIX)
		r = bind_file(ln, at, setup, why);
	else if (sys_bind(ln->fd, &at->sa, at->n) < 0)
		r = -errno;
	if (r == 0 && !ln->dgram && sys_listen(ln->fd, (int)setup->backlog) < 0)
		r = -errno;
	return r;
}

static void explain(const struct netaddr *at, int err, struct buf *why)
{
	if (why->n)
		return; /* said already */
	if (err == -EADDRINUSE)
		buf_addf(why, "address in use by another program; `ss -ltnup` says which");
	else if (err == -EACCES && netaddr_port(at) > 0 && netaddr_port(at) < 1024)
		buf_addf(why,
			 "no right to bind ports below 1024: start as root, or give the program CAP_NET_BIND_SERVICE");
	else if (err == -ENODEV)
		buf_addf(why, "there is no interface \"%s\"", at->interface);
	else if (err == -EADDRNOTAVAIL)
		buf_addf(why, "this machine has no such address");
	else
		buf_addf(why, "%s", strerrordesc_np(-err));
}

static struct listener *alloc_listener(const struct netaddr *at)
{
	struct listener *ln = mem_zalloc(sizeof(*ln));

	if (!ln)
		return NULL;
	atomic_init(&ln->refs, 1);
	list_init(&ln->node);
	ln->dgram = at->type == SOCK_DGRAM || at->type == NETADDR_QUEUE;
	ln->pktinfo = ln->dgram && netaddr_is_any(at);
	ln->fd = ln->wfd = ln->given = -1;
	return ln;
}

static void count_port(struct listener *ln)
{
	if (!ln->dgram || ln->at.sa.sa_family == AF_UNIX || ln->queue)
		return;
	guard_open_port(ln->local->port);
	ln->guarded = true;
}

static int new_named(struct listener *ln, const struct netaddr *at, const struct listen_setup *setup,
		     struct listener **ret, struct buf *why)
{
	struct owner to;
	int r;

	ln->at = *at;
	r = named_open(ln, why);
	if (r == 0) {
		to = wish(ln, setup);
		r = named_give(ln, &to);
	}
	if (r == -EPERM)
		buf_adds(why, "no right to give it to another owner or group; to a group that we are in we may");
	if (r < 0) {
		explain(at, r, why);
		listener_unref(ln);
		return r;
	}
	*ret = ln;
	return 0;
}

int listener_new(const struct netaddr *at, const struct listen_setup *setup, struct listener **ret, struct buf *why)
{
	struct netaddr me = { .n = sizeof(me.st), .type = at->type, .v6only = at->v6only };
	struct listener *ln = alloc_listener(at);
	int r = 0;

	if (!ln)
		return -ENOMEM;
	if (at->type >= NETADDR_FIFO)
		return new_named(ln, at, setup, ret, why);
	memcpy(me.interface, at->interface, sizeof(me.interface));
	if (at->sa.sa_family == AF_UNIX)
		r = clear_stale(at, why);
	if (r == 0 && setup->probe)
		r = probe(at);
	if (r == 0 && (ln->fd = sys_socket(at->sa.sa_family, at->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0)
		r = -errno;
	if (r == 0)
		r = set_options(ln, at, setup);
	if (r == 0)
		r = do_bind(ln, at, setup, why);
	if (r == 0 && sys_getsockname(ln->fd, &me.sa, &me.n) < 0)
		r = -errno;
	if (r == 0 && !(ln->local = netaddr_peer(&me.sa, me.n)))
		r = -ENOMEM;
	if (r < 0) {
		explain(at, r, why);
		listener_unref(ln);
		return r;
	}
	ln->at = me;
	count_port(ln);
	*ret = ln;
	return 0;
}

/* ---- those that another process has opened ---- */

int listener_taken(const struct netaddr *at, int fd, int wfd, struct listener **ret)
{
	struct listener *ln = alloc_listener(at);
	int r = 0;

	if (!ln) {
		fd_close(&fd);
		fd_close(&wfd);
		return -ENOMEM;
	}
	ln->at = *at;
	ln->fd = fd;
	ln->taken = true;
	if (at->type >= NETADDR_FIFO)
		r = named_take(ln, wfd);
	else if (!(ln->local = netaddr_peer(&at->sa, at->n)))
		r = -ENOMEM;
	if (r < 0)
		listener_unref(ln);
	else
		*ret = ln;
	return r;
}

/* ---- those that were given ---- */

static const char *fault_of(enum given_kind kind, int number)
{
	if (kind == GIVEN_IDLE)
		return "it is a socket that neither listens nor is connected";
	return kind == GIVEN_FILE && number != STDIN_FILENO ? "it is no socket" : NULL;
}

/* What is shared with others, as a terminal is, stays as it is. */
static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static int take_given(struct listener *ln, struct given *g, enum given_kind kind)
{
	int r = given_take(g, ln->given, &ln->fd, &ln->wfd);

	ln->talk = kind == GIVEN_TALK || kind == GIVEN_FILE;
	ln->shared = ln->wfd >= 0;
	if (r == 0 && !ln->shared)
		r = set_nonblocking(ln->fd);
	if (r == 0 && kind == GIVEN_DGRAM)
		r = set_tellers(ln, &ln->at);
	if (r == 0 && ln->talk)
		ln->at = (struct netaddr){ .type = ln->at.type }; /* it is nobody's address */
	return r;
}

static int name_given(struct listener *ln)
{
	ln->local = ln->at.n ? netaddr_peer(&ln->at.sa, ln->at.n) : peer_new(PEER_NAME, "stdio", 5, 0, 0);
	return ln->local ? 0 : -ENOMEM;
}

int listener_given(struct given *g, int number, struct listener **ret, struct buf *why)
{
	enum given_kind kind = given_kind(number);
	const char *fault = fault_of(kind, number);
	struct listener *ln;
	struct netaddr at;
	int r;

	if (!given_has(g, number, why))
		return -EBADF;
	if (fault) {
		buf_adds(why, fault);
		return -EINVAL;
	}
	r = given_address(number, &at);
	if (r < 0)
		return r;
	ln = alloc_listener(&at);
	if (!ln)
		return -ENOMEM;
	ln->at = at;
	ln->given = number;
	r = name_given(ln);
	if (r == 0)
		r = take_given(ln, g, kind);
	if (r < 0) {
		listener_unref(ln);
		return r;
	}
	count_port(ln);
	*ret = ln;
	return 0;
}

/* ---- afterwards ---- */
/* ---- only asked ---- */

/* A folder that a file can be made in. */
static int probe_folder(const char *path)
{
	char *folder;
	int r = str_path_dir(path, &folder);

	if (r < 0)
		return r;
	r = access(folder, W_OK | X_OK) < 0 ? -errno : 0;
	mem_free(folder);
	return r;
}

static int probe_file(const struct netaddr *at, struct buf *why)
{
	int r = look_for_file(at, why);

	return r < 0 ? r : probe_folder(at->un.sun_path);
}

static int probe_named(const struct netaddr *at, struct buf *why)
{
	int r;

	if (at->type == NETADDR_QUEUE)
		return queue_probe(at->name.path, why);
	r = fifo_probe(at->name.path, why);
	return r < 0 ? r : probe_folder(at->name.path);
}

static int probe_port(const struct netaddr *at, const struct listen_setup *setup)
{
	struct listener ln = { .dgram = at->type == SOCK_DGRAM, .fd = -1 };
	int r = 0;

	ln.fd = sys_socket(at->sa.sa_family, at->type | SOCK_CLOEXEC, 0);
	if (ln.fd < 0)
		return -errno;
	r = set_options(&ln, at, setup);
	if (r == 0 && sys_bind(ln.fd, &at->sa, at->n) < 0)
		r = -errno;
	fd_close(&ln.fd);
	return r;
}

int listener_probe(const struct netaddr *at, const struct listen_setup *setup, struct buf *why)
{
	int r;

	if (at->type >= NETADDR_FIFO)
		r = probe_named(at, why);
	else
		r = at->sa.sa_family == AF_UNIX ? probe_file(at, why) : probe_port(at, setup);

	if (r < 0)
		explain(at, r, why);
	return r;
}

int listener_tune(const struct listener *ln, const struct listen_setup *setup)
{
	struct owner to = wish(ln, setup);

	if (ln->given >= 0)
		return 0;
	if (ln->fifo || ln->queue)
		return named_give(ln, &to);

	int r = ln->unlink_path ? owner_give(ln->unlink_path, S_IFSOCK, &to) : 0;
	int one = sockopt_tune(ln->fd, &ln->at, &setup->socket);

	r = r < 0 ? r : one;
	if (!ln->dgram && sys_listen(ln->fd, (int)setup->backlog) < 0 && r == 0)
		r = -errno;
	return r;
}

int listener_share(const struct listener *ln, bool on)
{
	return sockopt_set(ln->fd, SOL_SOCKET, SO_REUSEPORT, on);
}

static bool has_peer(int fd)
{
	struct sockaddr_storage st;
	socklen_t n = sizeof(st);

	return getpeername(fd, (struct sockaddr *)&st, &n) == 0;
}

void listener_mend(const struct listener *ln, unsigned backlog)
{
	struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	int flags = fcntl(ln->fd, F_GETFL), listens = 0, none = 0;
	socklen_t n = sizeof(listens);

	if (flags >= 0 && !(flags & O_NONBLOCK))
		(void)fcntl(ln->fd, F_SETFL, flags | O_NONBLOCK);
	if (ln->fifo || ln->queue)
		return;
	(void)setsockopt(ln->fd, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none)); /* there is none: that is fine */
	if (ln->dgram && ln->at.sa.sa_family != AF_UNIX && has_peer(ln->fd)) /* otherwise this takes its port away */
		(void)connect(ln->fd, &nobody, sizeof(nobody));
	else if (!ln->dgram && getsockopt(ln->fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) == 0 && !listens)
		(void)listen(ln->fd, (int)backlog);
}

struct listener *listener_ref(struct listener *ln)
{
	atomic_fetch_add_explicit(&ln->refs, 1, memory_order_relaxed);
	return ln;
}

static void close_fd(struct listener *ln, int other)
{
	if (!ln->lent || other < 0 || dup3(other, ln->fd, O_CLOEXEC) < 0)
		fd_close(&ln->fd);
	fd_close(&ln->wfd);
}

void listener_close(struct listener *ln, int other)
{
	if (ln->unlink_path)
		unlink(ln->unlink_path);
	mem_free(ln->unlink_path);
	ln->unlink_path = NULL;
	named_close(ln);
	close_fd(ln, other);
	if (ln->guarded)
		guard_close_port(ln->local->port);
	ln->guarded = false;
}

void listener_unref(struct listener *ln)
{
	if (!ln || atomic_fetch_sub_explicit(&ln->refs, 1, memory_order_acq_rel) != 1)
		return;
	listener_close(ln, -1);
	peer_unref(ln->local);
	mem_free(ln);
}
