/* chat: one sender, many receivers. Every receiver must get every line, whole and in order.
 *
 * Before the run the sender says "w" lines until every receiver has heard one (only then is it known to be in the room),
 * then one "s" line: what comes after that is the measured stream. The stream is a fixed table of lines over and over,
 * so that a receiver checks a read with one comparison. The sender is at most `flight` lines ahead of the slowest
 * receiver, which keeps every queue in the server short: this measures the fan-out, not the way a server loses clients.
 */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { LINES = 1024, MAX_LINE = 1024 };

struct receiver {
	int fd;
	bool awake, started; /* heard a "w"; heard the "s" */
	uint64_t got;
};

struct room {
	const struct options *o;
	struct receiver *r;
	struct receiver sender; /* who must hear nothing */
	char *table;            /* LINES lines, twice */
	unsigned *reached;      /* [line % flight] receivers that have it whole */
	uint64_t sent, settled; /* lines: sent; had by all */
	unsigned awake, started;
	int ep;
};

static char in[64 * 1024];

static void make_table(struct room *m)
{
	size_t size = m->o->size;

	m->table = malloc(2 * LINES * size + sizeof in);
	if (!m->table || size < 8 || size > MAX_LINE)
		die("a chat line has 8 to %d bytes", MAX_LINE);
	for (size_t i = 0; i < 2 * LINES * size + sizeof in; i++)
		m->table[i] = i % size == size - 1 ? '\n'
						   : (char)('a' + (unsigned char)*pattern(i % (LINES * size)) % 26);
}

/* Counts the lines which this receiver now has whole, and moves the window when the last one caught up. */
static void credit(struct room *m, uint64_t before, uint64_t after)
{
	unsigned flight = m->o->flight;

	for (uint64_t line = before / m->o->size; line < after / m->o->size; line++) {
		if (++m->reached[line % flight] < m->o->conns)
			continue;
		m->reached[line % flight] = 0;
		m->settled++;
	}
}

static const char *warm_up(struct room *m, struct receiver *r, const char *p, size_t n)
{
	const char *s = memchr(p, 's', n);

	if (!r->awake) {
		r->awake = true;
		m->awake++;
	}
	if (!s)
		return p + n;
	if (s + 2 > p + n)
		die("the line that starts the run came in pieces");
	r->started = true;
	m->started++;
	return s + 2;
}

static void hear(struct room *m, struct receiver *r)
{
	for (;;) {
		ssize_t n = recv(r->fd, in, sizeof in, 0);
		const char *p = in;
		size_t len;

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			die("the server closed a connection");
		if (r == &m->sender)
			die("the sender heard its own line");
		if (!r->started)
			p = warm_up(m, r, in, (size_t)n);
		len = (size_t)(in + n - p);
		if (r->got + len > m->sent * m->o->size ||
		    memcmp(p, m->table + r->got % (LINES * m->o->size), len) != 0)
			die("a receiver got wrong or lost bytes after line %llu",
			    (unsigned long long)(r->got / m->o->size));
		credit(m, r->got, r->got + len);
		r->got += len;
		if (n < (ssize_t)sizeof in)
			return;
	}
}

static void turn(struct room *m, int ms)
{
	struct epoll_event ready[256];
	int n = epoll_wait(m->ep, ready, 256, ms);

	for (int i = 0; i < n; i++)
		hear(m, ready[i].data.ptr);
	if (n == 0 && ms >= 5000)
		die("lines were lost: of %llu sent only %llu reached all", (unsigned long long)m->sent,
		    (unsigned long long)m->settled);
}

static void say(struct room *m, const char *p, size_t n)
{
	if (send(m->sender.fd, p, n, MSG_NOSIGNAL) != (ssize_t)n)
		die("the server does not take the sender's lines");
}

static void enter(struct room *m, struct receiver *r, unsigned n)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = r };

	*r = (struct receiver){ .fd = dial_wait(m->o, n) };
	if (epoll_ctl(m->ep, EPOLL_CTL_ADD, r->fd, &e) < 0)
		die_errno("epoll_ctl");
}

static void gather(struct room *m)
{
	uint64_t end = now_ns() + 10 * 1000000000ull;

	m->ep = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned i = 0; i < m->o->conns; i++)
		enter(m, &m->r[i], i);
	enter(m, &m->sender, m->o->conns);
	while (m->awake < m->o->conns) {
		say(m, "w\n", 2);
		turn(m, 20);
		if (now_ns() > end)
			die("only %u of %u receivers hear anything", m->awake, m->o->conns);
	}
	say(m, "s\n", 2);
	while (m->started < m->o->conns)
		turn(m, 5000);
}

/* As many lines as the window allows, in one write. */
static void speak(struct room *m)
{
	uint64_t n = m->settled + m->o->flight - m->sent;

	if (n == 0)
		return;
	say(m, m->table + m->sent % LINES * m->o->size, n * m->o->size);
	m->sent += n;
}

void load_chat(const struct options *o)
{
	struct room m = { .o = o, .r = calloc(o->conns, sizeof *m.r), .reached = calloc(o->flight, sizeof *m.reached) };
	uint64_t begin, end;
	double elapsed;

	if (!m.r || !m.reached || o->flight > LINES)
		die("out of memory, or flight above %d", LINES);
	make_table(&m);
	gather(&m);
	load_ready(o);
	begin = now_ns();
	end = begin + (uint64_t)(o->seconds * 1e9);
	while (now_ns() < end) {
		speak(&m);
		turn(&m, 5000);
	}
	while (m.settled < m.sent)
		turn(&m, 5000);
	elapsed = (double)(now_ns() - begin) / 1e9;
	printf("{\"lines\": %llu, \"deliveries\": %llu, \"seconds\": %.6f, \"per_second\": %.0f}\n",
	       (unsigned long long)m.sent, (unsigned long long)(m.sent * o->conns), elapsed,
	       (double)(m.sent * o->conns) / elapsed);
}
