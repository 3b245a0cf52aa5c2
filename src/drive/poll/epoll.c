/* epoll.c - the poller of loops with many connections: one epoll_ctl per connection, ever. */
#include <errno.h>

#include "base/mem.h"
#include "drive/poll/poller.h"
#include "drive/sys.h"

struct epoller {
	struct poller p;
	int fd;
};

static int ep_add(struct poller *p, int fd, uint64_t id, int how)
{
	static const uint32_t events[] = {
		[WATCH_EDGE] = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		[WATCH_ACCEPT] = EPOLLIN | EPOLLEXCLUSIVE,
		[WATCH_LEVEL] = EPOLLIN,
	};
	struct epoll_event e = { .events = events[how], .data.u64 = id };

	return sys_epoll_ctl(((struct epoller *)p)->fd, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static void ep_del(struct poller *p, int fd)
{
	epoll_ctl(((struct epoller *)p)->fd, EPOLL_CTL_DEL, fd, NULL);
}

static unsigned flags_of(uint32_t e)
{
	unsigned what = 0;

	if (e & EPOLLIN)
		what |= READY_IN;
	if (e & EPOLLOUT)
		what |= READY_OUT;
	if (e & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		what |= READY_HUP | READY_IN;
	if (e & EPOLLERR)
		what |= READY_ERR;
	return what;
}

static int ep_wait(struct poller *p, const struct watch *w, unsigned nw, struct ready *ret, uint64_t timeout)
{
	struct epoll_event ev[POLLER_BATCH];
	struct timespec t = { (time_t)(timeout / 1000000000u), (long)(timeout % 1000000000u) };
	int fd = ((struct epoller *)p)->fd;
	int n;

	(void)w;
	(void)nw;
	if (timeout == 0)
		n = epoll_wait(fd, ev, POLLER_BATCH, 0);
	else
		n = epoll_pwait2(fd, ev, POLLER_BATCH, timeout == UINT64_MAX ? NULL : &t, NULL);
	for (int i = 0; i < n; i++)
		ret[i] = (struct ready){ ev[i].data.u64, flags_of(ev[i].events) };
	return n < 0 ? 0 : n; /* EINTR */
}

static void ep_free(struct poller **p)
{
	struct epoller *e = (struct epoller *)*p;

	if (e) {
		fd_close(&e->fd);
		mem_free(e);
	}
	*p = NULL;
}

static const struct poller_ops ops = {
	.name = "epoll",
	.edges = true,
	.add = ep_add,
	.del = ep_del,
	.wait = ep_wait,
	.free = ep_free,
};

int poller_epoll_new(struct poller **ret)
{
	struct epoller *e = mem_zalloc(sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->p.ops = &ops;
	e->fd = sys_epoll_create1(EPOLL_CLOEXEC);
	if (e->fd < 0) {
		int r = -errno;

		mem_free(e);
		return r;
	}
	*ret = &e->p;
	return 0;
}
