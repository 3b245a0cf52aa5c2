/* connect: a whole conversation per connection, `conns` of them side by side.
 *
 * connect, one message, its echo, end of our side, end of the server's, close. Waiting for the server's end keeps the
 * number of its clients at `conns`: a server that forks would otherwise pile up children that have not noticed yet, and
 * their cost would fall outside the measured time.
 */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct talk {
	int fd;
	bool asked;
	size_t got;
	uint64_t start;
};

struct run {
	const struct options *o;
	int ep;
	unsigned dialled, done, open;
	bool stopping;
};

static void begin(struct run *r, struct talk *t)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = t };

	*t = (struct talk){ .fd = dial(r->o, r->dialled), .start = r->dialled * 67u };
	r->dialled++;
	r->open++;
	if (epoll_ctl(r->ep, EPOLL_CTL_ADD, t->fd, &e) < 0)
		die_errno("epoll_ctl");
}

static void finish(struct run *r, struct talk *t)
{
	if (t->got != r->o->size)
		die("the server closed before its echo was complete");
	close(t->fd);
	r->open--;
	r->done++;
	if (!r->stopping)
		begin(r, t);
}

static void ask(struct run *r, struct talk *t)
{
	finish_dial(t->fd);
	if (send(t->fd, pattern(t->start), r->o->size, MSG_NOSIGNAL) != (ssize_t)r->o->size)
		die_errno("send");
	t->asked = true;
}

static void listen_to(struct run *r, struct talk *t)
{
	char buf[4096];

	for (;;) {
		ssize_t n = recv(t->fd, buf, sizeof buf, 0);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			die_errno("recv");
		if (n == 0)
			return finish(r, t);
		if (t->got + (size_t)n > r->o->size || memcmp(buf, pattern(t->start + t->got), (size_t)n) != 0)
			die("wrong bytes in an echo");
		t->got += (size_t)n;
		if (t->got == r->o->size)
			shutdown(t->fd, SHUT_WR);
	}
}

void load_connect(const struct options *o)
{
	struct run r = { .o = o, .ep = epoll_create1(EPOLL_CLOEXEC) };
	struct talk *talks = calloc(o->conns, sizeof *talks);
	struct epoll_event ready[256];
	uint64_t start, end;
	double elapsed;

	if (!talks)
		die("out of memory");
	load_ready(o);
	start = now_ns();
	end = start + (uint64_t)(o->seconds * 1e9);
	for (unsigned i = 0; i < o->conns; i++)
		begin(&r, &talks[i]);
	while (r.open) {
		int n = epoll_wait(r.ep, ready, 256, 5000);

		if (n <= 0)
			die("nothing happened for five seconds, %u connections wait", r.open);
		for (int i = 0; i < n; i++) {
			struct talk *t = ready[i].data.ptr;

			if (!t->asked)
				ask(&r, t);
			else if (ready[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLERR))
				listen_to(&r, t);
		}
		r.stopping = now_ns() >= end;
	}
	elapsed = (double)(now_ns() - start) / 1e9;
	printf("{\"connections\": %u, \"seconds\": %.6f, \"per_second\": %.0f}\n", r.done, elapsed,
	       (double)r.done / elapsed);
}
