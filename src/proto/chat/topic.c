/*
 * topic.c - the room as a topic of a broker: what is said here is published there, a message a line, and what others publish there is
 * said here. Nobody in the room waits for it: what cannot go at once is lost for the topic, and counted.
 */
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/random.h"
#include "base/utf8.h"
#include "proto/chat/chat_priv.h"
#include "store/topic.h"

enum {
	CHILD = 1, /* tag of the connection */
	TIMER_CLIENT = 0,
	TIMER_AGAIN = 1,       /* memory was out when the options were looked at */
	KEEP_ALIVE = 60,       /* seconds */
	QUEUE = 10000,         /* lines that wait for the broker */
	QUEUE_BYTES = 1 << 20, /* and what they have of topics and text */
	NAME = 512,
	SENTENCE = 512,
};

#define RETRY (60 * SEC)

/* ---- is it right? ---- */

static int refuse(struct buf *why, const char *sentence)
{
	buf_adds(why, sentence);
	return -EINVAL;
}

static int check_topic(const struct chat_options *o, struct buf *why)
{
	if (!o->topic)
		return 0;
	if (!utf8_is_text(span_str(o->topic)))
		return refuse(why, "topic: is no UTF-8 text");
	if (strpbrk(o->topic, "+#"))
		return refuse(why, "topic: must be one topic, as home/chat; + and # stand for many");
	if (span_starts(span_str(o->topic), "$share/"))
		return refuse(why, "topic: $share/ stands for a part of what is said, and nothing can be said there");
	if (topic_check_name(span_str(o->topic), TOPIC_LEVELS) < 0)
		return refuse(why, "topic: is empty, or has too many levels");
	return 0;
}

static int check_broker(const struct chat_options *o, struct buf *why)
{
	const struct addr_text *to = &o->broker.v[0];
	const char *fault = topic_fault(to);

	if (fault) {
		buf_adds(why, "broker: ");
		addr_format(to, why);
		buf_addf(why, " %s", fault);
		return -EINVAL;
	}
	if ((o->ca.path || o->insecure) && !addr_is_secure(to)) {
		buf_addf(why, "%s: has no use here: `broker` does not begin with tls:", o->ca.path ? "ca" : "insecure");
		return -EINVAL;
	}
	return 0;
}

/* Once the file is read. */
static int check_ca(const struct chat_options *o, struct buf *why)
{
	static const char name[] = "ca: ";
	BUF_AUTO struct buf said = BUF_INIT(SENTENCE);
	struct trust *trust = NULL;
	int r;

	if (!o->ca.bytes.n)
		return 0;
	r = trust_new(&(struct trust_setup){ .ca = o->ca.bytes }, &trust, &said);
	trust_free(&trust);
	if (r == -EINVAL)
		buf_addf(why, "%s%s: %s", name, o->ca.path,
			 buf_str(&said) + (span_starts(buf_span(&said), name) ? sizeof(name) - 1 : 0));
	return r;
}

int chat_topic_check(const void *values, struct buf *why)
{
	const struct chat_options *o = values;
	const char *alone = o->topic ? "topic" : o->user ? "user" : o->ca.path ? "ca" : o->insecure ? "insecure" : NULL;
	const char *fault = far_login_fault(o->user, &o->password);
	int r = check_topic(o, why);

	if (r < 0)
		return r;
	if (fault)
		return refuse(why, fault);
	if (!o->broker.n && alone) {
		buf_addf(why, "%s: needs a broker", alone);
		return -EINVAL;
	}
	if (!o->broker.n)
		return 0;
	if (!o->topic)
		return refuse(why, "broker: needs a topic");
	r = check_broker(o, why);
	return r < 0 ? r : check_ca(o, why);
}

/* ---- from the room ---- */

void chat_topic_say(struct chat_room *room, struct io *io, struct span text)
{
	const struct chat_options *o = room->joined;
	uint64_t dropped = 0;

	while (o && text.n) {
		const uint8_t *end = memchr(text.p, '\n', text.n);
		size_t n = end ? (size_t)(end - text.p) : text.n, next = end ? n + 1 : n;
		struct topic_words w = { .topic = span_str(o->topic), .payload = { text.p, n }, .qos = 1 };

		if (end && n && end[-1] == '\r')
			w.payload.n--;
		dropped += topic_client_say(&room->client, io, &w) < 0;
		text = (struct span){ text.p + next, text.n - next };
	}
	io_count(io, CHAT_TOPIC_DROPPED, dropped);
}

static void answered(struct topic_client *c, struct io *io, struct span topic, unsigned code)
{
	(void)c;
	(void)topic;
	io_count(io, code == TOPIC_LOST ? CHAT_TOPIC_DROPPED : code ? CHAT_TOPIC_REFUSED : CHAT_TOPIC_SAID, 1);
}

/* ---- from the topic ---- */

/* How many lines it is; 0: one is too long. */
static uint32_t count_lines(struct span text, size_t most)
{
	uint32_t lines = 0;

	do {
		const uint8_t *end = text.n ? memchr(text.p, '\n', text.n) : NULL;
		size_t n = end ? (size_t)(end - text.p) : text.n, next = end ? n + 1 : n;

		if (n > most)
			return 0;
		lines++;
		text = (struct span){ text.p + next, text.n - next };
	} while (text.n);
	return lines;
}

static void all_heard(struct topic_client *c, struct io *io)
{
	struct chat_room *room = list_entry(c, struct chat_room, client);
	const uint32_t lines = room->heard.lines;
	struct blob *text = lines ? chat_batch_take(&room->heard) : NULL;

	if (text)
		chat_tell_all(room, io, lines, text);
	io_count(io, text ? CHAT_TOPIC_HEARD : CHAT_TOPIC_IGNORED, room->messages);
	room->messages = 0;
	blob_unref(text);
}

static void heard(struct topic_client *c, struct io *io, const struct topic_heard *m)
{
	const bool ended = m->payload.n && m->payload.p[m->payload.n - 1] == '\n';
	struct chat_room *room = list_entry(c, struct chat_room, client);
	uint32_t lines = utf8_is_text(m->payload) && !m->retain ? count_lines(m->payload, chat_line_max(io)) : 0;

	if (!lines) {
		io_count(io, CHAT_TOPIC_IGNORED, 1);
		return;
	}
	if (chat_batch_full(&room->heard) || room->heard.bytes + m->payload.n > CHAT_PACKET)
		all_heard(c, io);
	chat_batch_add(&room->heard, m->payload);
	if (!ended)
		chat_batch_add(&room->heard, span_str("\n"));
	room->heard.lines += lines;
	room->messages++;
}

/* ---- the connection ---- */

static const struct topic_door door = {
	.tag = CHILD,
	.timer = TIMER_CLIENT,
	.heard = heard,
	.all_heard = all_heard,
	.answered = answered,
};

/* Nothing of it is kept there, so each connection of each process may have another name; the log there shows whose it is. */
static void make_name(const struct io *io, struct buf *name)
{
	uint8_t random[4] = {};

	(void)!random_fill(random, sizeof(random)); /* without it: one that somebody else may have */
	if (io->svc->host)
		buf_addf(name, "%s.", io->svc->host);
	buf_addf(name, "%s-%02x%02x%02x%02x", io->svc->name, random[0], random[1], random[2], random[3]);
}

static int connect_to(struct chat_room *room, struct io *io, const struct chat_options *o)
{
	const struct mqtt_sub filter = {
		.filter = span_str(o->topic), .qos = 1, .retain_handling = 2, .no_local = true
	};
	BUF_AUTO struct buf name = BUF_INIT(NAME), why = BUF_INIT(SENTENCE);
	struct topic_setup setup = {
		.to = &o->broker.v[0],
		.ca = o->ca.bytes,
		.insecure = o->insecure,
		.user = span_str(o->user ? o->user : ""),
		.password = far_password(&o->password),
		.filter = &filter,
		.filters = 1,
		.keep_alive = KEEP_ALIVE,
		.retry = RETRY,
		.packet = CHAT_PACKET,
		.queue = QUEUE,
		.queue_bytes = QUEUE_BYTES,
	};

	make_name(io, &name);
	setup.client_id = buf_span(&name);
	return name.err ? name.err : topic_client_open(&room->client, io, &setup, &why);
}

static bool same_topic(const struct chat_options *a, const struct chat_options *b)
{
	for (size_t i = 0; i < chat_table.n; i++)
		if (strcmp(chat_table.rows[i].name, "names") != 0 && !option_row_equal(&chat_table.rows[i], a, b))
			return false;
	return true;
}

static void leave(struct chat_room *room, struct io *io)
{
	topic_client_close(&room->client, io);
	option_values_free(&chat_table, &room->joined);
}

/* One connection for all loops: that of the first. */
static void look(struct chat_room *room, struct io *io)
{
	const struct chat_options *o = io->svc->options;

	io_timer(io, TIMER_AGAIN, 0);
	if (port_here(io->svc->port, io) != 0 || (room->joined && same_topic(o, room->joined)))
		return;
	leave(room, io);
	if (!o->broker.n)
		return;
	if (option_values_copy(&chat_table, o, &room->joined) == 0 && connect_to(room, io, room->joined) == 0)
		return;
	leave(room, io);
	io_timer(io, TIMER_AGAIN, io->now + SEC);
}

void chat_topic_event(struct chat_room *room, const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN)
		topic_client_init(&room->client, &door);
	if (ev->kind == EV_OPEN || ev->kind == EV_RELOAD || (ev->kind == EV_TIMER && ev->tag == TIMER_AGAIN))
		look(room, io);
	else if (ev->kind == EV_TIMER)
		topic_client_due(&room->client, io);
	else if (ev->kind == EV_GONE)
		topic_client_gone(&room->client, io, ev);
	else if (ev->kind == EV_STOP)
		topic_client_stop(&room->client);
}

void chat_topic_done(struct chat_room *room)
{
	topic_client_done(&room->client);
	option_values_free(&chat_table, &room->joined);
}
