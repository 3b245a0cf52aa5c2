/* mqtt-connect, mqtt-idle, mqtt-reconnect: many clients of a broker that have little to say.
 *
 * All of them come in waves: so many connections at once, and the next wave when every one of this has what it
 * came for. A visit is CONNECT and CONNACK, then a subscription if they are to have one; then it ends with
 * DISCONNECT and the server's close (mqtt-connect), or stays.
 */
#define _GNU_SOURCE
#include "load_mqtt.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint64_t DROPPED_NS = 900 * 1000000ull; /* as in load_idle.c */

struct visit {
	int fd;
	enum { COMING, CONNECTING, SUBSCRIBING, LEAVING, STAYING } state;
	unsigned number;
	uint64_t began;
	size_t got;
	uint8_t in[128];
};

struct waves {
	const struct options *o;
	int ep;
	struct visit *visits;
	bool clean, subscribe, leave;
	bool known; /* the server must have a session for each */
	unsigned busy, done, slow, retransmitted;
	uint64_t slowest;
};

static void say(const struct visit *v, const uint8_t *p, size_t n)
{
	if (send(v->fd, p, n, MSG_NOSIGNAL) != (ssize_t)n)
		die_errno("send");
}

static void come(struct waves *w, struct visit *v)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = v };

	v->began = now_ns();
	v->state = COMING;
	v->got = 0;
	v->fd = dial(w->o, v->number);
	w->busy++;
	if (epoll_ctl(w->ep, EPOLL_CTL_ADD, v->fd, &e) < 0)
		die_errno("epoll_ctl");
}

static void connected(struct waves *w, struct visit *v)
{
	uint8_t said[MQTT_SMALL];

	finish_dial(v->fd);
	say(v, said, mqtt_put_connect(said, w->o, v->number, w->clean));
	v->state = CONNECTING;
}

static void has_come(struct waves *w, struct visit *v)
{
	struct tcp_info info = {};
	socklen_t n = sizeof info;
	uint64_t took = now_ns() - v->began;

	if (getsockopt(v->fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 && info.tcpi_total_retrans)
		w->retransmitted++;
	w->slow += took >= DROPPED_NS;
	w->slowest = took > w->slowest ? took : w->slowest;
	v->state = STAYING;
	w->busy--;
	w->done++;
}

static void welcomed(struct waves *w, struct visit *v, const struct mqtt_packet *p)
{
	uint8_t said[MQTT_SMALL];
	char filter[32];

	if (mqtt_welcome(p) != w->known)
		die("%s of client %u", w->known ? "the session is lost" : "there is a session", v->number);
	if (w->subscribe) {
		snprintf(filter, sizeof filter, "bench/%05u", v->number);
		say(v, said, mqtt_put_subscribe(said, w->o, filter, w->clean ? 0 : 1));
		v->state = SUBSCRIBING;
	} else if (w->leave) {
		say(v, (const uint8_t[]){ MQTT_DISCONNECT << 4, 0 }, 2);
		v->state = LEAVING;
	} else {
		has_come(w, v);
	}
}

static void answered(struct waves *w, struct visit *v, const struct mqtt_packet *p)
{
	if (v->state == CONNECTING)
		welcomed(w, v, p);
	else if (v->state == SUBSCRIBING && p->type == MQTT_SUBACK && p->body[p->n - 1] < 0x80)
		has_come(w, v);
	else
		die("a packet of type %u that was not asked for", p->type);
}

/* With a reset: else each connection would stay for a minute as one that has ended, and some 100,000 of these slow down
 * every other one on this machine, also in the rows that come next. */
static void drop(const struct visit *v)
{
	setsockopt(v->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
	close(v->fd);
}

static void left(struct waves *w, struct visit *v)
{
	if (v->state != LEAVING)
		die("the server closed a connection");
	has_come(w, v);
	drop(v);
}

static void listen_to(struct waves *w, struct visit *v)
{
	struct mqtt_packet p;

	for (;;) {
		uint8_t more[64];
		ssize_t n = recv(v->fd, more, sizeof more, 0);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			die_errno("recv");
		if (n == 0)
			return left(w, v);
		if (v->got + (size_t)n > sizeof v->in)
			die("an answer of more than %zu bytes", sizeof v->in);
		memcpy(v->in + v->got, more, (size_t)n);
		v->got += (size_t)n;
		if (!mqtt_packet(v->in, v->got, &p))
			continue;
		if (p.total != v->got)
			die("more than one answer");
		v->got = 0;
		answered(w, v, &p);
	}
}

/* `n` of them at once, until each has what it came for. */
static void wave(struct waves *w, unsigned from, unsigned n)
{
	struct epoll_event ready[256];

	for (unsigned i = 0; i < n; i++)
		come(w, &w->visits[from + i]);
	while (w->busy) {
		int many = epoll_wait(w->ep, ready, 256, 20000);

		if (many <= 0)
			die("%u clients of a wave of %u wait for more than 20 s", w->busy, n);
		for (int i = 0; i < many; i++) {
			struct visit *v = ready[i].data.ptr;

			if (v->state == COMING)
				connected(w, v);
			else if (ready[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLERR))
				listen_to(w, v);
		}
	}
}

static void waves_begin(struct waves *w, const struct options *o)
{
	*w = (struct waves){ .o = o, .clean = true, .ep = epoll_create1(EPOLL_CLOEXEC) };
	w->visits = calloc(o->conns, sizeof *w->visits);
	if (!w->visits)
		die("out of memory");
	for (unsigned i = 0; i < o->conns; i++)
		w->visits[i].number = i;
}

static void all_waves(struct waves *w)
{
	unsigned most = w->o->flight;

	for (unsigned from = 0; from < w->o->conns; from += most)
		wave(w, from, w->o->conns - from < most ? w->o->conns - from : most);
}

static void print(const struct waves *w, uint64_t since)
{
	double elapsed = (double)(now_ns() - since) / 1e9;

	printf("{\"connections\": %u, \"seconds\": %.6f, \"per_second\": %.0f, \"slowest_ms\": %.2f, \"over_900_ms\": %u, "
	       "\"retransmitted\": %u}\n",
	       w->done, elapsed, w->done / elapsed, (double)w->slowest / 1e6, w->slow, w->retransmitted);
	fflush(stdout);
}

void load_mqtt_connect(const struct options *o)
{
	struct waves w;
	uint64_t begin, end;

	waves_begin(&w, o);
	w.leave = true;
	load_ready(o);
	begin = now_ns();
	end = begin + (uint64_t)(o->seconds * 1e9);
	while (o->count ? w.done < o->count : now_ns() < end) {
		unsigned left_over = o->count ? o->count - w.done : o->conns;

		wave(&w, 0, left_over < o->conns ? left_over : o->conns);
		for (unsigned i = 0; i < o->conns; i++)
			w.visits[i].number += o->conns; /* somebody else, from the next port */
	}
	print(&w, begin);
}

void load_mqtt_idle(const struct options *o)
{
	struct waves w;
	uint64_t begin;

	waves_begin(&w, o);
	w.subscribe = true;
	load_ready(o);
	begin = now_ns();
	all_waves(&w);
	print(&w, begin);
	load_wait(o);
	for (unsigned i = 0; i < o->conns; i++)
		drop(&w.visits[i]);
}

void load_mqtt_reconnect(const struct options *o)
{
	struct waves w;
	uint64_t begin;

	waves_begin(&w, o);
	w.subscribe = true;
	w.clean = false;
	all_waves(&w);
	for (unsigned i = 0; i < o->conns; i++)
		drop(&w.visits[i]);
	load_ready(o);
	w = (struct waves){ .o = o, .ep = w.ep, .visits = w.visits, .known = true };
	begin = now_ns();
	wave(&w, 0, o->conns);
	print(&w, begin);
	for (unsigned i = 0; i < o->conns; i++)
		drop(&w.visits[i]);
}
