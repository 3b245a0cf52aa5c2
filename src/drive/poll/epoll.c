/*
 * epoll.c - the poller of loops with many connections: one epoll_ctl per connection, ever. Deadlines are a timerfd's, set
 * only when an earlier one comes: a timeout of epoll_wait would be armed and cancelled by each wait.
 */
#include <errno.h>
#include <sys/timerfd.h>

#include "base/mem.h"
#include "drive/poll/poller.h"
#include "drive/sys.h"

struct epoller {
	struct poller p;
	int fd, timer;
	uint64_t armed; /* what the timer is set to; UINT64_MAX = it is not */
};

#define TIMER_ID UINT64_MAX

static int ep_add(struct poller *p, int fd, uint64_t id, int how)
{
	static const uint32_t events[] = {
		[WATCH_EDGE] = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		[WATCH_ACCEPT] = EPOLLIN | EPOLLEXCLUSIVE,
		[WATCH_LEVEL] = EPOLLIN,
		[WATCH_DGRAM] = EPOLLIN | EPOLLET,
		[WATCH_BREAK] = 0, /* EPOLLHUP and EPOLLERR are told always */
	};
	struct epoll_event e = { .events = events[how], .data.u64 = id };

	return sys_epoll_ctl(((struct epoller *)p)->fd, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static void ep_del(struct poller *p, int fd)
{
	epoll_ctl(((struct epoller *)p)->fd, EPOLL_CTL_DEL, fd, NULL);
}

static int ep_want_out(struct poller *p, int fd, uint64_t id, bool on)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET | (on ? EPOLLOUT : 0), .data.u64 = id };

	return sys_epoll_ctl(((struct epoller *)p)->fd, EPOLL_CTL_MOD, fd, &e) < 0 ? -errno : 0;
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

static bool arm(struct epoller *e, uint64_t until)
{
	if (until >= e->armed) /* when the earlier one fires the loop looks anew */
		return true;

	struct itimerspec t = { .it_value = { (time_t)(until / 1000000000u), (long)(until % 1000000000u) } };

	if (sys_timerfd_settime(e->timer, TFD_TIMER_ABSTIME, &t) < 0)
		return false;
	e->armed = until;
	return true;
}

static int ep_wait(struct poller *p, const struct watch *w, unsigned nw, struct ready *ret, uint64_t now,
		   uint64_t until)
{
	struct epoller *e = (struct epoller *)p;
	struct epoll_event ev[POLLER_BATCH];
	uint64_t times;
	int n, out = 0, ms = until > now ? -1 : 0;

	(void)w;
	(void)nw;
	if (until > now && until != UINT64_MAX && !arm(e, until))
		ms = POLLER_PAUSE_MS; /* without a timer the loop looks at the clock itself */
	n = sys_epoll_wait(e->fd, ev, POLLER_BATCH, ms);
	for (int i = 0; i < n; i++) { /* n < 0: EINTR */
		if (ev[i].data.u64 != TIMER_ID)
			ret[out++] = (struct ready){ ev[i].data.u64, flags_of(ev[i].events) };
		else if (read(e->timer, &times, sizeof(times)) > 0)
			e->armed = UINT64_MAX;
	}
	return out;
}

static void ep_free(struct poller **p)
{
	struct epoller *e = (struct epoller *)*p;

	if (e) {
		fd_close(&e->timer);
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
	.want_out = ep_want_out,
	.wait = ep_wait,
	.free = ep_free,
};

int poller_epoll_new(struct poller **ret)
{
	struct epoller *e = mem_zalloc(sizeof(*e));
	struct poller *p = &e->p;
	int r;

	if (!e)
		return -ENOMEM;
	e->p.ops = &ops;
	e->armed = UINT64_MAX;
	e->timer = -1;
	e->fd = sys_epoll_create1(EPOLL_CLOEXEC);
	if (e->fd >= 0)
		e->timer = sys_timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	r = e->timer < 0 ? -errno : ep_add(p, e->timer, TIMER_ID, WATCH_LEVEL);
	if (r < 0) {
		ep_free(&p);
		return r;
	}
	*ret = p;
	return 0;
}
