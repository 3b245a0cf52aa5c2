/* Streams of messages: pipeline (and bulk, the same with megabyte messages) and pingpong.
 *
 * A closed loop: a connection may have `flight` messages that have not come back yet; each read gives that many whole
 * messages new leave to go, and they go in one write. So a server that answers in batches is asked in batches, and the
 * number of messages per system call is the server's own doing.
 */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

struct conn {
	int fd;
	uint64_t start; /* where in the pattern this stream begins: another's bytes would not fit */
	uint64_t sent, got;
};

struct run {
	const struct options *o;
	struct conn *conns;
	int ep;
	bool stopping; /* time is up: send nothing new, finish what was begun */
	unsigned busy; /* connections that have messages under way */
};

static char in[256 * 1024];

/* The end of what may be sent now: whole messages only. */
static uint64_t leave_until(const struct run *r, const struct conn *c)
{
	uint64_t size = r->o->size;

	if (r->stopping)
		return (c->sent + size - 1) / size * size;
	return (c->got / size + r->o->flight) * size;
}

static void put(struct run *r, struct conn *c)
{
	uint64_t until = leave_until(r, c);

	while (c->sent < until) {
		size_t n = until - c->sent < PATTERN_ROOM ? (size_t)(until - c->sent) : PATTERN_ROOM;
		ssize_t w = send(c->fd, pattern(c->start + c->sent), n, MSG_NOSIGNAL);

		if (w < 0 && errno == EAGAIN)
			return;
		if (w < 0)
			die_errno("send");
		c->sent += (uint64_t)w;
	}
}

static void take(struct conn *c, bool ended)
{
	ssize_t n;

	do {
		n = recv(c->fd, in, sizeof in, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			die("the server closed a connection");
		if (c->got + (uint64_t)n > c->sent)
			die("more bytes came back than were sent");
		if (memcmp(in, pattern(c->start + c->got), (size_t)n) != 0)
			die("wrong bytes at %llu of a connection", (unsigned long long)c->got);
		c->got += (uint64_t)n;
	} while (n == sizeof in || ended);
}

static void turn(struct run *r)
{
	struct epoll_event ready[256];
	int n = epoll_wait(r->ep, ready, 256, 5000);

	if (n <= 0)
		die("nothing came back for five seconds, %u connections wait", r->busy);
	for (int i = 0; i < n; i++) {
		struct conn *c = ready[i].data.ptr;
		bool was = c->sent > c->got;

		if (ready[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLERR))
			take(c, ready[i].events & (EPOLLRDHUP | EPOLLERR));
		put(r, c);
		r->busy += (unsigned)(c->sent > c->got) - (unsigned)was;
	}
}

static void open_all(struct run *r)
{
	r->ep = epoll_create1(EPOLL_CLOEXEC);
	r->conns = calloc(r->o->conns, sizeof *r->conns);
	if (!r->conns)
		die("out of memory");
	for (unsigned i = 0; i < r->o->conns; i++) {
		struct conn *c = &r->conns[i];

		*c = (struct conn){ .fd = dial_wait(r->o, i), .start = i * 67u };
		echo_once(c->fd, 0, 64);
	}
}

/* Registered only now: registering tells of what is ready, and there the first messages go out. */
static void start_all(struct run *r)
{
	for (unsigned i = 0; i < r->o->conns; i++) {
		struct conn *c = &r->conns[i];
		struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c };

		if (epoll_ctl(r->ep, EPOLL_CTL_ADD, c->fd, &e) < 0)
			die_errno("epoll_ctl");
	}
}

void load_pipeline(const struct options *o)
{
	struct run r = { .o = o };
	uint64_t begin, end, got = 0;
	double elapsed;

	open_all(&r);
	load_ready(o);
	begin = now_ns();
	end = begin + (uint64_t)(o->seconds * 1e9);
	start_all(&r);
	do {
		turn(&r);
		r.stopping = now_ns() >= end;
	} while (r.busy || !r.stopping);
	elapsed = (double)(now_ns() - begin) / 1e9;
	for (unsigned i = 0; i < o->conns; i++)
		got += r.conns[i].got;
	printf("{\"messages\": %llu, \"bytes\": %llu, \"seconds\": %.6f, \"per_second\": %.0f, \"mb_per_second\": %.1f}\n",
	       (unsigned long long)(got / o->size), (unsigned long long)got, elapsed,
	       (double)got / (double)o->size / elapsed, (double)got / elapsed / 1e6);
}

/* A round trip here is two system calls and no more, so that the server's share of it is as large as can be. */
static void make_blocking(int fd)
{
	struct timeval limit = { .tv_sec = 5 };

	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

static void round_trip(int fd, uint64_t at, size_t size)
{
	if (send(fd, pattern(at), size, MSG_NOSIGNAL) != (ssize_t)size)
		die_errno("send");
	for (size_t got = 0; got < size;) {
		ssize_t n = recv(fd, in, size - got < sizeof in ? size - got : sizeof in, 0);

		if (n <= 0)
			die("no answer within five seconds");
		if (memcmp(in, pattern(at + got), (size_t)n) != 0)
			die("wrong bytes came back");
		got += (size_t)n;
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

void load_pingpong(const struct options *o)
{
	uint64_t *took = calloc(o->count, sizeof *took);
	int fd = dial_wait(o, 0);
	uint64_t begin, end;
	unsigned n = 0;

	if (!took)
		die("out of memory");
	make_blocking(fd);
	for (int i = 0; i < 500; i++)
		round_trip(fd, 0, o->size);
	load_ready(o);
	begin = now_ns();
	end = begin + (uint64_t)(o->seconds * 1e9);
	for (uint64_t t = begin; n < o->count && t < end; n++) {
		uint64_t before = t;

		round_trip(fd, n, o->size);
		t = now_ns();
		took[n] = t - before;
	}
	qsort(took, n, sizeof *took, by_value);
	printf("{\"round_trips\": %u, \"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.1f}\n", n,
	       (double)took[n / 2] / 1e3, (double)took[n * 99ull / 100] / 1e3, (double)took[n - 1] / 1e3);
}
