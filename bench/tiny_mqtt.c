/* The smallest relay that MQTT clients can talk to: what one publishes goes to all who have subscribed to anything.
 *
 * It answers CONNECT, SUBSCRIBE and PINGREQ, and copies PUBLISH of QoS 0 without a look at its topic, in the words
 * of 3.1.1. All the publications of one read are one write to each subscriber. What a socket does not take at once
 * is kept, up to a limit, past which that subscriber is dropped. So there is no index, no message and no queue:
 * this is the limit of what a broker can do on this machine, not a broker.
 */
#define _GNU_SOURCE
#include "tiny.h"

#include <stdint.h>
#include <sys/epoll.h>

enum { SEATS = 16384, LARGEST = 2 << 20, KEPT_MOST = 16 << 20 };
enum { CONNECT = 1, PUBLISH = 3, SUBSCRIBE = 8, PINGREQ = 12, DISCONNECT = 14 };

struct client {
	int fd;
	bool hears;
	size_t seat;   /* index in hall[], if it hears */
	uint8_t *part; /* the beginning of a packet whose end has not come */
	size_t part_n;
	uint8_t *kept; /* what waits for room */
	size_t kept_n;
};

static struct client *hall[SEATS];
static size_t seats;

static void end(struct client *c)
{
	if (c->hears) { /* the last one takes the empty seat */
		hall[c->seat] = hall[--seats];
		hall[c->seat]->seat = c->seat;
	}
	close(c->fd);
	free(c->part);
	free(c->kept);
	free(c);
}

static void keep(uint8_t **to, size_t n, const uint8_t *p, size_t more)
{
	uint8_t *grown = realloc(*to, n + more);

	if (!grown)
		fail("realloc");
	memcpy(grown + n, p, more);
	*to = grown;
}

static void give(struct client *c, const uint8_t *p, size_t n)
{
	ssize_t w = 0;

	if (c->kept_n == 0)
		w = send(c->fd, p, n, MSG_NOSIGNAL);
	if (w < 0)
		w = 0; /* if it has ended, the loop is told so */
	if ((size_t)w == n)
		return;
	if (c->kept_n + n > KEPT_MOST) {
		shutdown(c->fd, SHUT_RDWR);
		return;
	}
	keep(&c->kept, c->kept_n, p + w, n - (size_t)w);
	c->kept_n += n - (size_t)w;
}

static void give_kept(struct client *c)
{
	ssize_t w = c->kept_n ? send(c->fd, c->kept, c->kept_n, MSG_NOSIGNAL) : 0;

	if (w <= 0)
		return;
	c->kept_n -= (size_t)w;
	memmove(c->kept, c->kept + w, c->kept_n);
}

/* The bytes of the packet at `p`; 0: its end has not come. */
static size_t whole(const uint8_t *p, size_t n)
{
	size_t length = 0;

	for (size_t i = 1; i < n && i < 5; i++) {
		length |= (size_t)(p[i] & 0x7f) << (7 * (i - 1));
		if (p[i] < 0x80)
			return i + 1 + length <= n ? i + 1 + length : 0;
	}
	return 0;
}

/* One code for each filter: they are a length, the filter, its QoS. */
static void subscribed(struct client *c, const uint8_t *p, size_t n)
{
	static uint8_t answer[5 + 65536] = { 0x90 };
	size_t codes = 0, head = 1, length, at = 1;

	while (p[at++] & 0x80)
		;
	for (size_t i = at + 2; i + 2 < n && codes < 65536; i += 3u + (size_t)(p[i] << 8 | p[i + 1]))
		codes++;
	for (length = 2 + codes; length > 0x7f; length >>= 7)
		answer[head++] = (uint8_t)(length | 0x80);
	answer[head++] = (uint8_t)length;
	memcpy(answer + head, p + at, 2);
	memset(answer + head + 2, 0, codes);
	give(c, answer, head + 2 + codes);
	if (c->hears || seats == SEATS)
		return;
	c->hears = true;
	c->seat = seats;
	hall[seats++] = c;
}

/* Anything but PUBLISH. False: the client has gone. */
static bool answer(struct client *c, const uint8_t *p, size_t n)
{
	switch (p[0] >> 4) {
	case CONNECT:
		give(c, (const uint8_t[]){ 0x20, 2, 0, 0 }, 4);
		return true;
	case SUBSCRIBE:
		subscribed(c, p, n);
		return true;
	case PINGREQ:
		give(c, (const uint8_t[]){ 0xd0, 0 }, 2);
		return true;
	default:
		end(c);
		return false;
	}
}

static void give_all(const uint8_t *p, size_t n)
{
	for (size_t i = 0; n && i < seats; i++)
		give(hall[i], p, n);
}

/* The packets in p; returns what is left of it, or n + 1: the client has gone. */
static size_t take(struct client *c, const uint8_t *p, size_t n)
{
	size_t at = 0, from = 0, more;

	while ((more = whole(p + at, n - at))) {
		if (p[at] >> 4 != PUBLISH) {
			give_all(p + from, at - from);
			if (!answer(c, p + at, more))
				return n + 1;
			from = at + more;
		}
		at += more;
	}
	give_all(p + from, at - from);
	return n - at;
}

static void serve(struct client *c, bool ended)
{
	static uint8_t buf[LARGEST + READ_SIZE];

	give_kept(c);
	for (;;) {
		size_t had = c->part_n, left;
		ssize_t n = recv(c->fd, buf + had, READ_SIZE, 0);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0 || had > LARGEST)
			return end(c);
		if (had)
			memcpy(buf, c->part, had);
		left = take(c, buf, had + (size_t)n);
		if (left > had + (size_t)n)
			return;
		if (left)
			keep(&c->part, 0, buf + had + (size_t)n - left, left);
		c->part_n = left;
		if (n < READ_SIZE && !ended)
			return;
	}
}

static void accept_all(int ep, int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct client *c;

		if (fd < 0)
			return;
		c = calloc(1, sizeof *c);
		if (!c)
			fail("calloc");
		c->fd = fd;
		no_delay(fd);
		struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c };
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
	}
}

int main(void)
{
	int listener = open_and_announce("mqtt", SOCK_STREAM | SOCK_NONBLOCK);
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };
	struct epoll_event ready[256];

	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
	for (;;) {
		int n = epoll_wait(ep, ready, 256, -1);

		for (int i = 0; i < n; i++) {
			if (ready[i].data.ptr)
				serve(ready[i].data.ptr, ready[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
			else
				accept_all(ep, listener);
		}
	}
}
