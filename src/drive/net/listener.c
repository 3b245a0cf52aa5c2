/* listener.c - binding, and the sentences for when it cannot be done. */
#include "drive/net/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>

#include "base/mem.h"
#include "drive/net/guard.h"
#include "drive/sys.h"

static int set_on(int fd, int level, int option)
{
	int one = 1;

	return sys_setsockopt(fd, level, option, &one, sizeof(one)) < 0 ? -errno : 0;
}

/* A socket file that nobody answers is left over from a crash; one that answers belongs to somebody. */
static int clear_stale(const struct netaddr *at, struct buf *why)
{
	struct stat st;
	int fd, r = 0;

	if (lstat(at->un.sun_path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode)) {
		buf_addf(why, "%s exists and is not a socket", at->un.sun_path);
		return -EEXIST;
	}
	fd = sys_socket(AF_UNIX, at->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, &at->sa, at->n) == 0 || errno != ECONNREFUSED) {
		buf_addf(why, "%s is served by another program already", at->un.sun_path);
		r = -EADDRINUSE;
	} else if (sys_unlink(at->un.sun_path) < 0) {
		r = -errno;
	}
	fd_close(&fd);
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
	if (r == 0 && ln->dgram && setup->reuseport)
		r = set_on(ln->fd, SOL_SOCKET, SO_REUSEPORT);
	if (r == 0 && !ln->dgram && setup->nodelay)
		r = set_on(ln->fd, IPPROTO_TCP, TCP_NODELAY); /* connections inherit it */
	if (r == 0 && six && memcmp(&((const struct sockaddr_in6 *)&at->st)->sin6_addr, &in6addr_any, 16) == 0) {
		int only = setup->v6only;

		r = sys_setsockopt(ln->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) < 0 ? -errno : 0;
	} else if (r == 0 && six) {
		r = set_on(ln->fd, IPPROTO_IPV6, IPV6_V6ONLY);
	}
	if (r == 0 && ln->pktinfo) {
		if (six)
			r = set_on(ln->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
		if (r == 0 && (!six || !setup->v6only))
			r = set_on(ln->fd, IPPROTO_IP, IP_PKTINFO);
	}
	return r;
}

/* SO_REUSEPORT would share the port with whoever else set it: ask first whether it is free. */
static int probe(const struct netaddr *at)
{
	int one = 1, r = 0, fd = sys_socket(at->sa.sa_family, at->type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (at->sa.sa_family == AF_INET6)
		(void)!setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (sys_bind(fd, &at->sa, at->n) < 0)
		r = -errno;
	fd_close(&fd);
	return r;
}

static bool is_wildcard(const struct netaddr *at)
{
	if (at->sa.sa_family == AF_INET)
		return ((const struct sockaddr_in *)&at->st)->sin_addr.s_addr == INADDR_ANY;
	if (at->sa.sa_family == AF_INET6)
		return memcmp(&((const struct sockaddr_in6 *)&at->st)->sin6_addr, &in6addr_any, 16) == 0;
	return false;
}

static int do_bind(struct listener *ln, const struct netaddr *at, const struct listen_setup *setup)
{
	mode_t old = 0;
	int r;

	if (at->sa.sa_family == AF_UNIX)
		old = umask(0777 & ~setup->mode); /* at start and reload only one thread makes files */
	r = sys_bind(ln->fd, &at->sa, at->n) < 0 ? -errno : 0;
	if (at->sa.sa_family == AF_UNIX) {
		umask(old);
		if (r == 0 && !(ln->unlink_path = mem_strdup(at->un.sun_path)))
			r = -ENOMEM;
	}
	if (r == 0 && !ln->dgram && sys_listen(ln->fd, (int)setup->backlog) < 0)
		r = -errno;
	return r;
}

static void name_bound(struct listener *ln)
{
	ln->bound = ln->text;
	if (!(addr_kinds[ln->text.transport].flags & ADDR_F_NET) || !ln->local)
		return;
	ln->bound.port = ln->local->port;
	ln->bound.service[0] = '\0';
	if (strcmp(ln->text.host, "*") != 0) {
		char host[PEER_TEXT];

		snprintf(ln->bound.host, sizeof(ln->bound.host), "%.*s", ADDR_HOST_MAX, peer_host(ln->local, host));
	}
}

static void explain(const struct addr_text *text, int err, struct buf *why)
{
	if (why->n)
		return; /* said already */
	if (err == -EADDRINUSE)
		buf_addf(why, "address in use by another program");
	else if (err == -EACCES && text->port > 0 && text->port < 1024)
		buf_addf(why,
			 "no right to bind ports below 1024: start as root, or give the program CAP_NET_BIND_SERVICE");
	else if (err == -EADDRNOTAVAIL)
		buf_addf(why, "this machine has no such address");
	else
		buf_addf(why, "%s", strerrordesc_np(-err));
}

int listener_new(const struct addr_text *text, const struct netaddr *at, const struct listen_setup *setup,
		 struct listener **ret, struct buf *why)
{
	struct listener *ln = mem_zalloc(sizeof(*ln));
	struct netaddr me = { .n = sizeof(me.st) };
	int r = ln ? 0 : -ENOMEM;

	if (!ln)
		return r;
	atomic_init(&ln->refs, 1);
	ln->text = *text;
	ln->dgram = at->type == SOCK_DGRAM;
	ln->pktinfo = ln->dgram && is_wildcard(at);
	ln->v6only = setup->v6only;
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
		explain(text, r, why);
		listener_unref(ln);
		return r;
	}
	name_bound(ln);
	if (ln->dgram && at->sa.sa_family != AF_UNIX) {
		guard_open_port(ln->local->port);
		ln->guarded = true;
	}
	*ret = ln;
	return 0;
}

int listener_tune(const struct listener *ln, const struct listen_setup *setup)
{
	int nodelay = setup->nodelay, r = 0;

	if (ln->unlink_path && chmod(ln->unlink_path, setup->mode) < 0)
		r = -errno;
	if (!ln->dgram && sys_listen(ln->fd, (int)setup->backlog) < 0 && r == 0)
		r = -errno;
	if (!ln->dgram && !ln->unlink_path && r == 0 &&
	    sys_setsockopt(ln->fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, sizeof(nodelay)) < 0)
		r = -errno;
	return r;
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
