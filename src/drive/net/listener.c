/* listener.c - binding, and the sentences for when it cannot be done. */
#include "drive/net/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>

#include "base/mem.h"
#include "drive/net/guard.h"
#include "drive/sys.h"

static int set(int fd, int level, int option, int value)
{
	return sys_setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int set_on(int fd, int level, int option)
{
	return set(fd, level, option, 1);
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

static int set_options(struct listener *ln, const struct netaddr *at, const struct listen_setup *setup)
{
	bool six = at->sa.sa_family == AF_INET6;
	int r = 0;

	if (at->sa.sa_family == AF_UNIX)
		return 0;
	if (!ln->dgram)
		r = set_on(ln->fd, SOL_SOCKET, SO_REUSEADDR);
	if (r == 0 && setup->reuseport)
		r = set_on(ln->fd, SOL_SOCKET, SO_REUSEPORT);
	if (r == 0 && !ln->dgram && setup->nodelay)
		r = set_on(ln->fd, IPPROTO_TCP, TCP_NODELAY); /* connections inherit it */
	if (r == 0 && six)
		r = set(ln->fd, IPPROTO_IPV6, IPV6_V6ONLY, !netaddr_is_any(at) || at->v6only);
	if (r == 0 && ln->pktinfo) {
		if (six)
			r = set_on(ln->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
		if (r == 0 && (!six || !at->v6only))
			r = set_on(ln->fd, IPPROTO_IP, IP_PKTINFO);
	}
	return r;
}

/* SO_REUSEPORT would share the port with whoever else set it: ask first whether it is free. */
static int probe(const struct netaddr *at)
{
	int r = 0, fd = sys_socket(at->sa.sa_family, at->type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (at->sa.sa_family == AF_INET6)
		r = set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY);
	if (r == 0 && sys_bind(fd, &at->sa, at->n) < 0)
		r = -errno;
	fd_close(&fd);
	return r;
}

static int do_bind(struct listener *ln, const struct netaddr *at, const struct listen_setup *setup)
{
	bool file = at->sa.sa_family == AF_UNIX;
	char *path = file ? mem_strdup(at->un.sun_path) : NULL;
	mode_t old = 0;
	int r;

	if (file && !path)
		return -ENOMEM;
	if (file)
		old = umask(0777 & ~setup->mode); /* at start and reload only one thread makes files */
	r = sys_bind(ln->fd, &at->sa, at->n) < 0 ? -errno : 0;
	if (file)
		umask(old);
	if (r < 0) {
		mem_free(path);
		return r;
	}
	ln->unlink_path = path;
	return ln->dgram || sys_listen(ln->fd, (int)setup->backlog) == 0 ? 0 : -errno;
}

static void explain(const struct netaddr *at, int err, struct buf *why)
{
	if (why->n)
		return; /* said already */
	if (err == -EADDRINUSE)
		buf_addf(why, "address in use by another program");
	else if (err == -EACCES && netaddr_port(at) > 0 && netaddr_port(at) < 1024)
		buf_addf(why,
			 "no right to bind ports below 1024: start as root, or give the program CAP_NET_BIND_SERVICE");
	else if (err == -EADDRNOTAVAIL)
		buf_addf(why, "this machine has no such address");
	else
		buf_addf(why, "%s", strerrordesc_np(-err));
}

int listener_new(const struct netaddr *at, const struct listen_setup *setup, struct listener **ret, struct buf *why)
{
	struct listener *ln = mem_zalloc(sizeof(*ln));
	struct netaddr me = { .n = sizeof(me.st), .type = at->type, .v6only = at->v6only };
	int r = ln ? 0 : -ENOMEM;

	if (!ln)
		return r;
	atomic_init(&ln->refs, 1);
	list_init(&ln->node);
	ln->dgram = at->type == SOCK_DGRAM;
	ln->pktinfo = ln->dgram && netaddr_is_any(at);
	ln->fd = -1;
	if (at->sa.sa_family == AF_UNIX)
		r = clear_stale(at, why);
	if (r == 0 && setup->probe)
		r = probe(at);
	if (r == 0 && (ln->fd = sys_socket(at->sa.sa_family, at->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0)
		r = -errno;
	if (r == 0)
		r = set_options(ln, at, setup);
	if (r == 0)
		r = do_bind(ln, at, setup);
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
	if (ln->dgram && at->sa.sa_family != AF_UNIX) {
		guard_open_port(ln->local->port);
		ln->guarded = true;
	}
	*ret = ln;
	return 0;
}

/* A folder that a socket can be made in. */
static int probe_file(const struct netaddr *at, struct buf *why)
{
	char folder[sizeof(at->un.sun_path)];
	int r = look_for_file(at, why);
	char *slash;

	if (r < 0)
		return r;
	snprintf(folder, sizeof(folder), "%s", at->un.sun_path);
	slash = strrchr(folder, '/');
	if (slash)
		slash[slash == folder] = '\0';
	return access(slash ? folder : ".", W_OK | X_OK) < 0 ? -errno : 0;
}

static int probe_port(const struct netaddr *at)
{
	struct listener ln = { .dgram = at->type == SOCK_DGRAM, .fd = -1 };
	int r = 0;

	ln.fd = sys_socket(at->sa.sa_family, at->type | SOCK_CLOEXEC, 0);
	if (ln.fd < 0)
		return -errno;
	r = set_options(&ln, at, &(struct listen_setup){});
	if (r == 0 && sys_bind(ln.fd, &at->sa, at->n) < 0)
		r = -errno;
	fd_close(&ln.fd);
	return r;
}

int listener_probe(const struct netaddr *at, struct buf *why)
{
	int r = at->sa.sa_family == AF_UNIX ? probe_file(at, why) : probe_port(at);

	if (r < 0)
		explain(at, r, why);
	return r;
}

int listener_tune(const struct listener *ln, const struct listen_setup *setup)
{
	int r = 0;

	if (ln->unlink_path && sys_chmod(ln->unlink_path, setup->mode) < 0)
		r = -errno;
	if (!ln->dgram && sys_listen(ln->fd, (int)setup->backlog) < 0 && r == 0)
		r = -errno;
	if (!ln->dgram && !ln->unlink_path && r == 0)
		r = set(ln->fd, IPPROTO_TCP, TCP_NODELAY, setup->nodelay);
	return r;
}

int listener_share(const struct listener *ln, bool on)
{
	return set(ln->fd, SOL_SOCKET, SO_REUSEPORT, on);
}

struct listener *listener_ref(struct listener *ln)
{
	atomic_fetch_add_explicit(&ln->refs, 1, memory_order_relaxed);
	return ln;
}

void listener_close(struct listener *ln)
{
	if (ln->unlink_path)
		unlink(ln->unlink_path);
	mem_free(ln->unlink_path);
	ln->unlink_path = NULL;
	fd_close(&ln->fd);
	if (ln->guarded)
		guard_close_port(ln->local->port);
	ln->guarded = false;
}

void listener_unref(struct listener *ln)
{
	if (!ln || atomic_fetch_sub_explicit(&ln->refs, 1, memory_order_acq_rel) != 1)
		return;
	listener_close(ln);
	peer_unref(ln->local);
	mem_free(ln);
}
