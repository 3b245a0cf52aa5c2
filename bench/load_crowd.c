/* crowd: more clients than the server has descriptors, to see what it does when accept says EMFILE.
 *
 * All clients connect (the kernel's backlog takes those that the server cannot) and each says one thing. Then, in steps
 * between which the caller may look at the server: (1) who was served is counted; (2) one of those plays ping-pong, while
 * the others wait; (3) `release` served clients leave, and it is measured how long the first of the waiting has to wait
 * for its echo from then on, and how many get theirs within two seconds.
 */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint64_t SECOND_NS = 1000000000ull;

struct crowd {
	const struct options *o;
	struct pollfd *wait; /* fd < 0 once served or gone */
	int *served;
	unsigned n_served, gone;
};

/* Collects echoes until `until`, or only up to the first one. Returns when the first came, 0 if none did. */
static uint64_t collect(struct crowd *c, uint64_t until, bool first_only)
{
	char buf[4096];
	uint64_t first = 0;

	for (uint64_t t; (t = now_ns()) < until;) {
		poll(c->wait, c->o->conns, (int)((until - t) / 1000000) + 1);
		for (unsigned i = 0; i < c->o->conns; i++) {
			struct pollfd *p = &c->wait[i];
			ssize_t n;

			if (p->fd < 0 || !p->revents)
				continue;
			n = recv(p->fd, buf, sizeof buf, 0);
			if (n == (ssize_t)c->o->size && memcmp(buf, pattern(i), (size_t)n) == 0) {
				c->served[c->n_served++] = p->fd;
				if (!first)
					first = now_ns();
			} else {
				/* A server may also turn away whom it cannot serve; that is counted, not an error. */
				c->gone++;
				close(p->fd);
			}
			p->fd = -1;
		}
		if (first && first_only)
			break;
	}
	return first;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median_round_trip_us(const struct options *o, int fd)
{
	double *took = calloc(o->count, sizeof *took);

	if (!took)
		die("out of memory");
	for (unsigned i = 0; i < o->count; i++) {
		uint64_t t = now_ns();

		echo_once(fd, i, o->size);
		took[i] = (double)(now_ns() - t) / 1e3;
	}
	qsort(took, o->count, sizeof *took, by_value);
	return took[o->count / 2];
}

static void fill(struct crowd *c)
{
	for (unsigned i = 0; i < c->o->conns; i++) {
		int fd = dial_wait(c->o, i);

		c->wait[i] = (struct pollfd){ .fd = fd, .events = POLLIN };
		if (send(fd, pattern(i), c->o->size, MSG_NOSIGNAL) < 0)
			die_errno("send");
	}
}

void load_crowd(const struct options *o)
{
	struct crowd c = { .o = o,
			   .wait = calloc(o->conns, sizeof *c.wait),
			   .served = calloc(o->conns, sizeof *c.served) };
	unsigned before;
	uint64_t t, first;
	double p50;

	if (!c.wait || !c.served)
		die("out of memory");
	fill(&c);
	collect(&c, now_ns() + SECOND_NS, false);
	before = c.n_served;
	if (before <= o->release)
		die("only %u of %u clients were served", before, o->conns);
	printf("{\"clients\": %u, \"served\": %u, \"turned_away\": %u}\n", o->conns, before, c.gone);
	fflush(stdout);
	load_wait(o);

	p50 = median_round_trip_us(o, c.served[0]);
	for (unsigned i = 0; i < o->release; i++)
		close(c.served[before - 1 - i]);
	t = now_ns();
	first = collect(&c, t + 3 * SECOND_NS, true);
	collect(&c, t + 2 * SECOND_NS, false);
	printf("{\"pingpong_p50_us\": %.2f, \"released\": %u, \"first_after_ms\": %.1f, \"served_after\": %u}\n", p50,
	       o->release, first ? (double)(first - t) / 1e6 : -1.0, c.n_served - before);
}
