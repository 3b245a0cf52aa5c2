/* poll.c - the poller of private loops: a few descriptors, asked for anew each time, no state in the kernel. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/mem.h"
#include "drive/poll/poller.h"
#include "drive/sys.h"

struct poll_poller {
	struct poller p;
	struct pollfd *v;
	unsigned cap;
};

static int poll_add(struct poller *p, int fd, uint64_t id, int how)
{
	(void)p;
	(void)fd;
	(void)id;
	(void)how;
	return 0;
}

static void poll_del(struct poller *p, int fd)
{
	(void)p;
	(void)fd;
}

static int poll_want_out(struct poller *p, int fd, uint64_t id, bool on)
{
	(void)on;
	return poll_add(p, fd, id, WATCH_DGRAM); /* list_watches() asks for what is wanted */
}

static int grow(struct poll_poller *p, unsigned n)
{
	struct pollfd *v = n <= p->cap ? p->v : mem_realloc(p->v, n * sizeof(*v));

	if (!v)
		return -ENOMEM;
	if (n > p->cap)
		p->cap = n;
	p->v = v;
	return 0;
}

static unsigned flags_of(short revents)
{
	unsigned what = 0;

	if (revents & POLLIN)
		what |= READY_IN;
	if (revents & POLLOUT)
		what |= READY_OUT;
	if (revents & (POLLHUP | POLLERR | POLLNVAL))
		what |= READY_HUP | READY_IN;
	if (revents & POLLERR)
		what |= READY_ERR;
	return what;
}

/* Memory is out: the turn goes on without news, and the next one tries again, but not at once. */
static int no_news(void)
{
	usleep(POLLER_PAUSE_MS * 1000);
	return 0;
}

static int poll_wait(struct poller *pp, const struct watch *w, unsigned nw, struct ready *ret, uint64_t now,
		     uint64_t until)
{
	struct poll_poller *p = (struct poll_poller *)pp;
	uint64_t left = until > now ? until - now : 0;
	struct timespec t = { (time_t)(left / 1000000000u), (long)(left % 1000000000u) };
	int n = 0;

	if (grow(p, nw) < 0)
		return no_news();
	for (unsigned i = 0; i < nw; i++) {
		p->v[i] = (struct pollfd){ .fd = w[i].fd };
		p->v[i].events = (short)((w[i].want & READY_IN ? POLLIN : 0) | (w[i].want & READY_OUT ? POLLOUT : 0));
	}
	if (ppoll(p->v, nw, until == UINT64_MAX ? NULL : &t, NULL) < 0)
		return errno == EINTR ? 0 : no_news();
	for (unsigned i = 0; i < nw && n < POLLER_BATCH; i++)
		if (p->v[i].revents)
			ret[n++] = (struct ready){ w[i].id, flags_of(p->v[i].revents) };
	return n;
}

static void poll_free(struct poller **p)
{
	struct poll_poller *pp = (struct poll_poller *)*p;

	if (pp) {
		mem_free(pp->v);
		mem_free(pp);
	}
	*p = NULL;
}

static const struct poller_ops ops = {
	.name = "poll",
	.add = poll_add,
	.del = poll_del,
	.want_out = poll_want_out,
	.wait = poll_wait,
	.free = poll_free,
};

int poller_poll_new(struct poller **ret)
{
	struct poll_poller *p = mem_zalloc(sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->p.ops = &ops;
	*ret = &p->p;
	return 0;
}
