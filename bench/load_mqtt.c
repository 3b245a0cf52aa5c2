/* Packets and connections. See load_mqtt.h. */
#define _GNU_SOURCE
#include "load_mqtt.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 256 * 1024 };
enum { CLEAN = 2, HAS_PASSWORD = 0x40, HAS_USER = 0x80, SESSION_EXPIRY = 0x11 };

/* ---- bytes ---- */

bool mqtt_packet(const uint8_t *p, size_t n, struct mqtt_packet *ret)
{
	size_t length = 0;

	for (size_t i = 1; i < n; i++) {
		length |= (size_t)(p[i] & 0x7f) << (7 * (i - 1));
		if (p[i] & 0x80) {
			if (i == 4)
				die("a packet whose length has no end");
			continue;
		}
		*ret = (struct mqtt_packet){ p[0] >> 4, p[0] & 0xf, p + i + 1, length, i + 1 + length };
		return ret->total <= n;
	}
	return false;
}

size_t mqtt_put_length(uint8_t *to, size_t n)
{
	size_t at = 0;

	for (; n > 0x7f; n >>= 7)
		to[at++] = (uint8_t)(n | 0x80);
	to[at++] = (uint8_t)n;
	return at;
}

static size_t put_text(uint8_t *to, const char *text)
{
	size_t n = strlen(text);

	to[0] = (uint8_t)(n >> 8);
	to[1] = (uint8_t)n;
	memcpy(to + 2, text, n);
	return n + 2;
}

/* The fixed header in front of a body that is there already, whose first byte is at to[5]. */
static size_t put_before(uint8_t *to, uint8_t first, size_t n)
{
	size_t head = 1 + mqtt_put_length(to + 1, n);

	to[0] = first;
	memmove(to + head, to + 5, n);
	return head + n;
}

size_t mqtt_put_connect(uint8_t *to, const struct options *o, unsigned number, bool clean)
{
	uint8_t flags = (uint8_t)((clean ? CLEAN : 0) | (o->user ? HAS_USER : 0) | (o->password ? HAS_PASSWORD : 0));
	uint8_t *p = to + 5;
	char name[24], user[MQTT_SMALL];

	if ((o->user ? strlen(o->user) : 0) + (o->password ? strlen(o->password) : 0) > MQTT_SMALL - 80)
		die("a longer name or password than there is room for");
	if (o->user && o->users)
		snprintf(user, sizeof user, "%s%u", o->user, number % o->users);
	else if (o->user)
		snprintf(user, sizeof user, "%s", o->user);
	snprintf(name, sizeof name, "bench-%u-%u", (unsigned)getpid() % 10000000, number);
	p += put_text(p, "MQTT");
	memcpy(p, (const uint8_t[]){ o->v5 ? 5 : 4, flags, 0, 0 }, 4); /* and no keep-alive */
	p += 4;
	if (o->v5) {
		*p++ = clean ? 0 : 5;
		if (!clean) {
			memcpy(p, (const uint8_t[]){ SESSION_EXPIRY, 0, 0, 0x0e, 0x10 }, 5); /* an hour */
			p += 5;
		}
	}
	p += put_text(p, name);
	if (o->user)
		p += put_text(p, user);
	if (o->password)
		p += put_text(p, o->password);
	return put_before(to, MQTT_CONNECT << 4, (size_t)(p - to) - 5);
}

size_t mqtt_put_subscribe(uint8_t *to, const struct options *o, const char *filter, unsigned qos)
{
	uint8_t *p = to + 5;

	*p++ = 0;
	*p++ = 1; /* its identifier */
	if (o->v5)
		*p++ = 0;
	p += put_text(p, filter);
	*p++ = (uint8_t)qos;
	return put_before(to, MQTT_SUBSCRIBE << 4 | 2, (size_t)(p - to) - 5);
}

size_t mqtt_put_id(uint8_t *to, enum mqtt_packet_type type, uint16_t id)
{
	to[0] = (uint8_t)(type << 4 | (type == MQTT_PUBREL ? 2 : 0));
	to[1] = 2;
	to[2] = (uint8_t)(id >> 8);
	to[3] = (uint8_t)id;
	return 4;
}

uint16_t mqtt_acked(const struct mqtt_packet *p)
{
	if (p->n < 2)
		die("an acknowledgement without an identifier");
	if (p->n > 2 && p->body[2] >= 0x80)
		die("a message was refused with 0x%02x", p->body[2]);
	return (uint16_t)(p->body[0] << 8 | p->body[1]);
}

bool mqtt_welcome(const struct mqtt_packet *p)
{
	if (p->type != MQTT_CONNACK || p->n < 2)
		die("not a CONNACK: type %u, %zu bytes", p->type, p->n);
	if (p->body[1])
		die("CONNECT was refused with %u", p->body[1]);
	return p->body[0] & 1;
}

/* ---- out ---- */

uint8_t *mqtt_room(struct mqtt_client *c, size_t n)
{
	if (c->out_n + n > c->out_cap) {
		c->out_cap = 2 * (c->out_n + n);
		c->out = realloc(c->out, c->out_cap);
		if (!c->out)
			die("out of memory");
	}
	c->out_n += n;
	return c->out + c->out_n - n;
}

void mqtt_flush(struct mqtt_client *c)
{
	while (c->out_at < c->out_n) {
		ssize_t n = send(c->fd, c->out + c->out_at, c->out_n - c->out_at, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			die_errno("send");
		c->out_at += (size_t)n;
	}
	c->out_at = c->out_n = 0;
}

/* ---- in ---- */

static uint8_t in[PATTERN_ROOM + READ_SIZE + MQTT_SMALL];

static void keep_part(struct mqtt_client *c, const uint8_t *p, size_t n)
{
	if (n > PATTERN_ROOM + MQTT_SMALL)
		die("a packet of more than %zu bytes", n);
	if (n > c->part_n) {
		c->part = realloc(c->part, n);
		if (!c->part)
			die("out of memory");
	}
	if (n)
		memcpy(c->part, p, n);
	c->part_n = n;
}

static size_t hear_all(struct mqtt_client *c, const uint8_t *p, size_t n)
{
	struct mqtt_packet packet;
	size_t at = 0;

	while (mqtt_packet(p + at, n - at, &packet)) {
		c->hear(c, &packet);
		at += packet.total;
	}
	return at;
}

void mqtt_read(struct mqtt_client *c, bool ended)
{
	ssize_t n;

	do {
		size_t had = c->part_n, heard;

		n = recv(c->fd, in + had, READ_SIZE, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			die("the server closed a connection");
		if (had)
			memcpy(in, c->part, had);
		n += (ssize_t)had;
		heard = hear_all(c, in, (size_t)n);
		keep_part(c, in + heard, (size_t)n - heard);
		n -= (ssize_t)had;
	} while (n == READ_SIZE || ended);
}

/* ---- one after the other ---- */

/* Sends, and waits for the one packet that is the answer. */
static struct mqtt_packet ask(int fd, const uint8_t *p, size_t n, uint8_t *answer)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	struct mqtt_packet packet;
	size_t got = 0;

	if (send(fd, p, n, MSG_NOSIGNAL) != (ssize_t)n)
		die_errno("send");
	do {
		ssize_t r = poll(&ready, 1, 10000) == 1 ? recv(fd, answer + got, MQTT_SMALL - got, 0) : -1;

		if (r <= 0)
			die("no answer to the packet of type %u", p[0] >> 4);
		got += (size_t)r;
	} while (!mqtt_packet(answer, got, &packet));
	if (packet.total != got)
		die("more than an answer to the packet of type %u", p[0] >> 4);
	return packet;
}

void mqtt_open(struct mqtt_client *c, const struct options *o, unsigned number, bool clean, int ep)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c };
	uint8_t said[MQTT_SMALL], answer[MQTT_SMALL];
	struct mqtt_packet p;

	c->fd = dial_wait(o, number);
	p = ask(c->fd, said, mqtt_put_connect(said, o, number, clean), answer);
	if (mqtt_welcome(&p))
		die("a session of which we know nothing");
	if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e) < 0)
		die_errno("epoll_ctl");
}

void mqtt_subscribe(struct mqtt_client *c, const struct options *o, const char *filter, unsigned qos)
{
	uint8_t said[MQTT_SMALL], answer[MQTT_SMALL];
	struct mqtt_packet p = ask(c->fd, said, mqtt_put_subscribe(said, o, filter, qos), answer);

	if (p.type != MQTT_SUBACK || p.n < 3 || p.body[p.n - 1] != qos)
		die("not subscribed: the answer has type %u, its code is 0x%02x", p.type, p.n ? p.body[p.n - 1] : 0);
}
