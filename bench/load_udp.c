/* udp: `flight` datagrams under way on each of `conns` sockets; each one that comes back lets the next one go.
 *
 * A datagram carries its number and then bytes of the pattern that depend on it. If nothing at all comes for 100 ms,
 * what is under way counts as lost and is sent anew under new numbers; a late one is then known by its old number.
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

enum { BATCH = 64, MAX_DATAGRAM = 1400, LOST_MS = 100 };

struct port {
	int fd;
	uint64_t next;  /* number of the next datagram */
	uint64_t *slot; /* [number % flight] = number under way + 1, 0 = nothing */
	unsigned room;  /* slots that are free */
};

struct run {
	const struct options *o;
	struct port *ports;
	uint64_t back, lost, late;
};

static char data[BATCH][MAX_DATAGRAM];
static struct iovec iov[BATCH];
static struct mmsghdr msgs[BATCH];

static void address_batch(size_t size)
{
	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){ data[i], size };
		msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
}

static void send_some(const struct run *r, struct port *p)
{
	size_t size = r->o->size;
	unsigned n = 0;

	address_batch(size);
	for (; n < BATCH && p->room > 0; p->next++) {
		uint64_t *s = &p->slot[p->next % r->o->flight];

		/* Replies may come out of order; a number whose slot is taken is left out. */
		if (*s)
			continue;
		*s = p->next + 1;
		p->room--;
		memcpy(data[n], &p->next, sizeof p->next);
		memcpy(data[n] + sizeof p->next, pattern(p->next), size - sizeof p->next);
		n++;
	}
	for (unsigned sent = 0; sent < n;) {
		int w = sendmmsg(p->fd, msgs + sent, n - sent, 0);

		if (w < 0)
			die_errno("sendmmsg");
		sent += (unsigned)w;
	}
}

static void check(struct run *r, struct port *p, const char *d, size_t n)
{
	uint64_t number, *s;

	if (n != r->o->size)
		die("a datagram of %zu bytes came back as %zu", r->o->size, n);
	memcpy(&number, d, sizeof number);
	if (number >= p->next || memcmp(d + sizeof number, pattern(number), n - sizeof number) != 0)
		die("a datagram came back changed");
	s = &p->slot[number % r->o->flight];
	if (*s != number + 1) {
		r->late++;
		return;
	}
	*s = 0;
	p->room++;
	r->back++;
}

static void receive_some(struct run *r, struct port *p)
{
	int n;

	address_batch(MAX_DATAGRAM);
	n = recvmmsg(p->fd, msgs, BATCH, MSG_DONTWAIT, NULL);
	if (n < 0 && errno != EAGAIN)
		die_errno("recvmmsg");
	for (int i = 0; i < n; i++)
		check(r, p, data[i], msgs[i].msg_len);
}

static void give_up(struct run *r)
{
	for (unsigned i = 0; i < r->o->conns; i++) {
		struct port *p = &r->ports[i];

		r->lost += r->o->flight - p->room;
		memset(p->slot, 0, r->o->flight * sizeof *p->slot);
		p->room = r->o->flight;
	}
}

static void open_port(const struct options *o, struct port *p)
{
	p->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	p->slot = calloc(o->flight, sizeof *p->slot);
	p->room = o->flight;
	if (p->fd < 0 || !p->slot)
		die("out of memory or descriptors");
	if (connect(p->fd, (const struct sockaddr *)&o->to, sizeof o->to) < 0)
		die_errno("connect");
	echo_once(p->fd, 0, o->size);
}

static void run(struct run *r, uint64_t until, struct pollfd *poll_set)
{
	unsigned n = r->o->conns;
	bool stopping = false;

	for (unsigned i = 0; i < n; i++)
		send_some(r, &r->ports[i]);
	for (unsigned under_way = 1; under_way;) {
		if (poll(poll_set, n, LOST_MS) == 0)
			give_up(r);
		stopping = now_ns() >= until;
		under_way = 0;
		for (unsigned i = 0; i < n; i++) {
			if (poll_set[i].revents)
				receive_some(r, &r->ports[i]);
			if (!stopping)
				send_some(r, &r->ports[i]);
			under_way += r->o->flight - r->ports[i].room;
		}
	}
}

void load_udp(const struct options *o)
{
	struct run r = { .o = o, .ports = calloc(o->conns, sizeof *r.ports) };
	struct pollfd *poll_set = calloc(o->conns, sizeof *poll_set);
	uint64_t begin;
	double elapsed;

	if (!r.ports || !poll_set || !o->flight || o->size < sizeof(uint64_t) || o->size > MAX_DATAGRAM)
		die("a datagram has 8 to %d bytes", MAX_DATAGRAM);
	for (unsigned i = 0; i < o->conns; i++) {
		open_port(o, &r.ports[i]);
		poll_set[i] = (struct pollfd){ .fd = r.ports[i].fd, .events = POLLIN };
	}
	load_ready(o);
	begin = now_ns();
	run(&r, begin + (uint64_t)(o->seconds * 1e9), poll_set);
	elapsed = (double)(now_ns() - begin) / 1e9;
	printf("{\"datagrams\": %llu, \"lost\": %llu, \"late\": %llu, \"seconds\": %.6f, \"per_second\": %.0f}\n",
	       (unsigned long long)r.back, (unsigned long long)r.lost, (unsigned long long)r.late, elapsed,
	       (double)r.back / elapsed);
}
