/* sockopt.c - see sockopt.h. */
#include "drive/net/sockopt.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "conf/tables.h"
#include "drive/net/netaddr.h"
#include "drive/sys.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* Linux 5.14: which of the two sizes somebody has set */
#endif

enum { SEND_LOCKED = 1, RECEIVE_LOCKED = 2 };

enum { PROBES = 4 }; /* without an answer, and the connection is over */

int sockopt_set(int fd, int level, int option, int value)
{
	return sys_setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int get(int fd, int option)
{
	int value = 0;
	socklen_t n = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &n) < 0 ? -errno : value;
}

static void keep_first(int *r, int one)
{
	*r = *r < 0 ? *r : one;
}

/* After so much silence the first probe; after twice as much the connection is over. */
static int set_keepalive(int fd, uint64_t ns)
{
	int idle = (int)((ns + NSEC_PER_SEC - 1) / NSEC_PER_SEC), r;

	r = sockopt_set(fd, SOL_SOCKET, SO_KEEPALIVE, idle > 0);
	if (idle == 0)
		return r;
	keep_first(&r, sockopt_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle));
	keep_first(&r, sockopt_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, idle < PROBES ? 1 : idle / PROBES));
	keep_first(&r, sockopt_set(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES));
	return r;
}

/* What a socket of this kind begins with. */
static int usual_size(const struct netaddr *at, int option)
{
	int fd = sys_socket(at->sa.sa_family, at->type | SOCK_CLOEXEC, 0);
	int n = fd < 0 ? -errno : get(fd, option);

	fd_close(&fd);
	return n < 0 ? n : n / 2; /* the system doubles what is set, and tells of that */
}

static int forget_size(int fd, const struct netaddr *at, int option, int lock)
{
	int locks = get(fd, SO_BUF_LOCK), n, r;

	if (locks < 0 || !(locks & lock))
		return 0; /* nobody set it; or the kernel is an old one */
	n = usual_size(at, option);
	r = n < 0 ? n : sockopt_set(fd, SOL_SOCKET, option, n);
	keep_first(&r, sockopt_set(fd, SOL_SOCKET, SO_BUF_LOCK, locks & ~lock));
	return r;
}

/* Root may have more than the system allows everybody (net.core.rmem_max, wmem_max). */
static int set_size(int fd, const struct netaddr *at, int option, int forced, size_t n)
{
	if (n == 0)
		return forget_size(fd, at, option, option == SO_RCVBUF ? RECEIVE_LOCKED : SEND_LOCKED);
	if (n > INT_MAX / 2)
		n = INT_MAX / 2;
	return sockopt_set(fd, SOL_SOCKET, forced, (int)n) == 0 ? 0 : sockopt_set(fd, SOL_SOCKET, option, (int)n);
}

int sockopt_tune(int fd, const struct netaddr *at, const struct sockopt *o)
{
	bool tcp = at->sa.sa_family != AF_UNIX && at->type == SOCK_STREAM;
	int r = 0;

	if (tcp) {
		keep_first(&r, sockopt_set(fd, IPPROTO_TCP, TCP_NODELAY, o->nodelay));
		keep_first(&r, sockopt_set(fd, SOL_SOCKET, SO_REUSEPORT, o->reuse));
		keep_first(&r, set_keepalive(fd, o->keepalive));
	}
	keep_first(&r, set_size(fd, at, SO_RCVBUF, SO_RCVBUFFORCE, o->receive));
	keep_first(&r, set_size(fd, at, SO_SNDBUF, SO_SNDBUFFORCE, o->send));
	return r;
}
