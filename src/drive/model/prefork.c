/*
 * prefork.c - model prefork: N processes, made beforehand, and each of them accepts and has one conversation at a time. What
 * Apache began with. It is symmetric with processes: there is no queue but the backlog. This file is such a process; herd.c
 * makes them.
 *
 * Each has a poller of its own, so that one that is killed takes no order with it; EPOLLEXCLUSIVE wakes one of those who wait.
 * Who has a conversation looks at `end_fd` too: it must let go of the sockets when they are to be closed, or are another's.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "drive/model/brood.h"
#include "drive/model/crew.h"
#include "drive/sys.h"

enum {
	RETRY_MS = 250,     /* after a connection that could not be accepted, as descriptors or memory were out */
	ORDER = UINT32_MAX, /* in the poller; else the number of an entry of the service */
};

struct acceptor {
	struct solo solo;
	struct brood_row *row;
	int set;
	bool over;
};

static void let_go(struct acceptor *a)
{
	const struct service *v = a->solo.service;

	for (size_t i = 0; i < v->n; i++)
		if (herd_accepts(v->entries[i].ln))
			fd_close(&v->entries[i].ln->fd);
	fd_close(&a->set);
	a->over = true;
	atomic_store(&a->row->let_go, true);
}

/* In the middle of a conversation. */
static void told(struct loop *l, void *arg)
{
	struct acceptor *a = arg;

	loop_unwatch(l, herd_fd(a->solo.service->herd));
	let_go(a);
}

static int watch(const struct acceptor *a, int fd, uint32_t what)
{
	struct epoll_event e = { .events = EPOLLIN | (what == ORDER ? 0 : EPOLLEXCLUSIVE), .data.u32 = what };

	return sys_epoll_ctl(a->set, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static int prepare(struct acceptor *a)
{
	const struct service *v = a->solo.service;
	int r = 0;

	a->set = sys_epoll_create1(EPOLL_CLOEXEC);
	if (a->set < 0)
		return -errno;
	for (uint32_t i = 0; i < v->n && r == 0; i++)
		if (herd_accepts(v->entries[i].ln))
			r = watch(a, v->entries[i].ln->fd, i);
	if (r == 0)
		r = watch(a, herd_fd(v->herd), ORDER);
	if (r == 0)
		r = watch(a, v->server->stop_fd, ORDER);
	if (r == 0)
		r = solo_begin(&a->solo);
	return r < 0 ? r : loop_watch(a->solo.loop, herd_fd(v->herd), told, a);
}

static void accept_one(struct acceptor *a, struct listener *ln)
{
	struct arrival who;
	int r = loop_accept(ln, &a->solo.lane, &who);

	solo_fold(&a->solo); /* who was refused */
	if (r > 0) {
		solo_talk(&a->solo, ln, &who);
		peer_unref(who.peer);
	} else if (r < 0) {
		(void)poll(&(struct pollfd){ .fd = herd_fd(a->solo.service->herd), .events = POLLIN }, 1, RETRY_MS);
	}
}

static _Noreturn void accept_all(struct service *v, struct brood_row *row)
{
	struct acceptor a = { .row = row, .set = -1 };

	brood_solo(&a.solo, v, row);
	if (prepare(&a) < 0)
		_exit(EXIT_FAILURE);
	atomic_store(&row->ready, true);
	while (!a.over && !loop_stopping(a.solo.loop)) {
		struct epoll_event e;

		if (epoll_wait(a.set, &e, 1, -1) <= 0)
			continue;
		if (e.data.u32 == ORDER)
			break;
		accept_one(&a, v->entries[e.data.u32].ln);
	}
	brood_end(&a.solo);
}

int prefork_add(struct service *v, const struct brood_birth *birth)
{
	struct brood_row *row;
	int r = brood_fork(v->server->brood, birth, &row);

	if (r == 0)
		accept_all(v, row);
	return r < 0 ? r : 0;
}

const struct model model_prefork = {
	.name = "prefork", .forks = true, .accepts = true, .dgram = true, .workers = crew_wish, .take = fork_take
};
