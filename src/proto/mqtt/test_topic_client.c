/*
 * test_topic_client.c - the client of a broker that other doors use, with a door of a few lines: what chat (test_chat_topic.c) does not
 * ask for, as QoS 0, what is retained, several filters.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "drive/mem.h"
#include "proto/mqtt/topic_client.h"

enum { CHILD = 7, TIMER = 2, QUEUE = 3, QUEUE_BYTES = 40, CLOSE = 99 };

/* ---- the door: a letter is `TOPIC PAYLOAD`, its tag 1 + QoS, and 4 for retain ---- */

static struct {
	struct topic_client client;
	struct addr_text to;
	struct span ca;
	int opened, taken; /* what the calls have returned */
	char heard[256];   /* all that came, a line each */
	unsigned answers, code;
	char why[256];
} door;

static void heard(struct topic_client *c, struct io *io, const struct topic_heard *m)
{
	size_t n = strlen(door.heard);

	(void)io;
	assert_ptr_equal(c, &door.client);
	snprintf(door.heard + n, sizeof(door.heard) - n, "%s%.*s %.*s\n", m->retain ? "old " : "", (int)m->topic.n,
		 m->topic.p, (int)m->payload.n, m->payload.p);
}

static void answered(struct topic_client *c, struct io *io, struct span topic, unsigned code)
{
	(void)c;
	(void)io;
	assert_true(span_starts(topic, "t/"));
	door.answers++;
	door.code = code;
}

static const struct topic_door calls = { .tag = CHILD, .timer = TIMER, .heard = heard, .answered = answered };

static void open_client(struct io *io)
{
	static const struct mqtt_sub filters[] = {
		{ .filter = { (const uint8_t *)"a/#", 3 }, .qos = 1 },
		{ .filter = { (const uint8_t *)"b", 1 } },
	};
	struct topic_setup setup = {
		.to = &door.to,
		.ca = door.ca,
		.client_id = span_str("toy"),
		.password = span_str("secret"),
		.filter = filters,
		.filters = 2,
		.keep_alive = 10,
		.retry = 4 * SEC,
		.packet = 1000,
		.queue = QUEUE,
		.queue_bytes = QUEUE_BYTES,
	};
	struct buf why;

	buf_init_fixed(&why, door.why, sizeof(door.why));
	door.opened = topic_client_open(&door.client, io, &setup, &why);
}

static void take_letter(const struct letter *l, struct io *io)
{
	struct span s = blob_span(blob_of_mail(l->mail));
	const uint8_t *blank = memchr(s.p, ' ', s.n);
	struct topic_words words = { .qos = (uint8_t)(l->tag - 1) & 3, .retain = l->tag & 4 };

	if (l->tag == CLOSE) {
		topic_client_close(&door.client, io);
		return;
	}
	words.topic = (struct span){ s.p, (size_t)(blank - s.p) };
	words.payload = (struct span){ blank + 1, s.n - words.topic.n - 1 };
	door.taken = topic_client_say(&door.client, io, &words);
}

static enum verdict shard(void *self, const struct ev *ev, struct io *io)
{
	(void)self;
	switch (ev->kind) {
	case EV_OPEN:
		topic_client_init(&door.client, &calls);
		open_client(io);
		break;
	case EV_TIMER:
		topic_client_due(&door.client, io);
		break;
	case EV_GONE:
		topic_client_gone(&door.client, io, ev);
		break;
	case EV_MSG:
		for (size_t i = 0; i < ev->mail.n; i++)
			take_letter(&ev->mail.v[i], io);
		break;
	default:
		break;
	}
	return V_GO;
}

static void shard_fini(void *self, struct io *io)
{
	(void)self;
	(void)io;
	topic_client_done(&door.client);
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	(void)self;
	(void)ev;
	(void)io;
	return V_GO;
}

static const struct proto toy = {
	.abi = PROTO_ABI,
	.name = "toy",
	.flags = P_STREAM | P_SHARED,
	.shard_size = 1,
	.step = step,
	.shard = shard,
	.shard_fini = shard_fini,
};

static struct memdrive *w;

static void begin(const char *address, struct span ca)
{
	memset(&door, 0, sizeof(door));
	door.ca = ca;
	assert_int_equal(addr_parse(address, &door.to, NULL), 0);
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy, .trace = true }, &w, NULL), 0);
}

static int end(void **state)
{
	(void)state;
	memdrive_free(&w);
	return 0;
}

static void say(uint32_t tag, const char *text)
{
	const struct span s = span_str(text);

	memdrive_shard_post(w, tag, blob_to_mail(blob_new(&s, 1)));
}

/* What the broker got is exactly this; forgets it. */
static void got(struct memconn *c, const char *bytes, size_t n)
{
	assert_int_equal(memconn_out(c).n, n);
	assert_memory_equal(memconn_out(c).p, bytes, n);
	memconn_take(c, SIZE_MAX);
}

#define GOT(c, text) got(c, text, sizeof(text) - 1)
#define SAYS(c, text) memconn_send(c, text, sizeof(text) - 1, 1)
#define CONNACK "\x20\x03\x00\x00\x00"

static struct memconn *up(const char *address)
{
	struct memconn *c;

	begin(address, (struct span){});
	c = memdrive_child(w, 0);
	assert_non_null(c);
	GOT(c, "\x10\x1d\x00\x04MQTT\x05\x42\x00\x0a\x05\x27\x00\x00\x03\xe8\x00\x03toy\x00\x06secret");
	return c;
}

/* ---- tests ---- */

static void filters_are_subscribed_to_together(void **state)
{
	struct memconn *c = up("unix:/run/mqtt.sock");

	(void)state;
	assert_string_equal(memconn_address(c), "unix:/run/mqtt.sock");
	SAYS(c, CONNACK);
	GOT(c, "\x82\x0d\x00\x41\x00\x00\x03"
	       "a/#\x01\x00\x01"
	       "b\x00");
	SAYS(c, "\x90\x05\x00\x41\x00\x01\x87"); /* b is not for us */
	SAYS(c, "\x31\x06\x00\x03"
		"a/b\x00\x33\x08\x00\x03"
		"a/c\x00\x09\x00");
	GOT(c, "\x40\x02\x00\x09");
	assert_string_equal(door.heard, "old a/b \nold a/c \n");
	assert_null(memmem(memdrive_trace(w).p, memdrive_trace(w).n, "secret", 6));
	assert_int_equal(memconn_end(c), MEM_OPEN);
}

static void each_is_answered_once(void **state)
{
	struct memconn *c;

	(void)state;
	c = up("tcp:far.example:1");
	say(2, "t/1 x");
	assert_int_equal(door.taken, -ENOTCONN);
	SAYS(c, CONNACK);
	memconn_take(c, SIZE_MAX);
	say(1, "t/0 x");
	GOT(c, "\x30\x07\x00\x03t/0\x00x");
	assert_true(door.taken == 0 && door.answers == 1 && door.code == 0);
	say(1 + 4, "t/0 x");
	GOT(c, "\x31\x07\x00\x03t/0\x00x");
	say(2 + 4, "t/1 y");
	GOT(c, "\x33\x09\x00\x03t/1\x00\x01\x00y");
	assert_int_equal(door.answers, 2);
	SAYS(c, "\x40\x03\x00\x01\x99");
	assert_true(door.answers == 3 && door.code == MQTT_BAD_FORMAT);
	say(2, "t/1 z");
	memconn_reset(c);
	assert_true(door.answers == 4 && door.code == TOPIC_LOST);
	assert_int_equal(door.client.n + door.client.bytes, 0);
}

static void what_the_broker_lacks_is_left_out(void **state)
{
	struct memconn *c = up("tcp:far.example:1");

	(void)state;
	SAYS(c, "\x20\x07\x00\x00\x04\x24\x00\x25\x00"); /* QoS 0, nothing retained */
	memconn_take(c, SIZE_MAX);
	say(2 + 4, "t/1 y");
	GOT(c, "\x30\x07\x00\x03t/1\x00y");
	assert_true(door.answers == 1 && door.code == 0);
}

static void it_takes_so_much(void **state)
{
	struct memconn *c = up("tcp:far.example:1");

	(void)state;
	SAYS(c, "\x20\x06\x00\x00\x03\x21\x00\x01"); /* one at a time */
	for (int i = 0; i < QUEUE; i++) {
		say(2, "t/1 x");
		assert_int_equal(door.taken, 0);
	}
	say(2, "t/1 x");
	assert_int_equal(door.taken, -ENOBUFS);
	memconn_take(c, SIZE_MAX);
	SAYS(c, "\x40\x02\x00\x01");
	GOT(c, "\x32\x09\x00\x03t/1\x00\x01\x00x");
	say(2, "t/1 and this is more than is taken of it");
	assert_int_equal(door.taken, -ENOBUFS);
	say(2, "t/1 x");
	assert_int_equal(door.taken, 0);
}

/* Closed, nobody is dialled any more, and what was under way is lost. */
static void it_can_be_closed(void **state)
{
	struct memconn *c = up("tcp:far.example:1");

	(void)state;
	SAYS(c, CONNACK);
	say(2, "t/1 x");
	say(CLOSE, " ");
	assert_int_not_equal(memconn_end(c), MEM_OPEN);
	assert_true(door.answers == 1 && door.code == TOPIC_LOST);
	say(2, "t/1 x");
	assert_int_equal(door.taken, -ENOTCONN);
	memdrive_advance(w, 100 * SEC);
	assert_int_equal(memdrive_children(w), 1);
}

static void it_trusts_no_nonsense(void **state)
{
	(void)state;
	begin("tls:far.example:1", span_str("no PEM"));
	assert_int_equal(door.opened, -EINVAL);
	assert_true(*door.why != '\0');
	memdrive_advance(w, 100 * SEC);
	assert_int_equal(memdrive_children(w), 0);
}

static void addresses(void **state)
{
	static const struct {
		const char *text, *fault;
	} rows[] = {
		{ "unix:a", NULL },
		{ "tcp:a:1", NULL },
		{ "tls:a:1", NULL },
		{ "tcp:1", NULL },
		{ "ws:a:1", "is not" },
		{ "unixseq:a", "is not" },
		{ "unixgram:a", "is not" },
		{ "udp:a:1", "is not" },
		{ "fifo:a", "is not" },
		{ "stdio:", "is not" },
		{ "tcp:*:1", "needs one host" },
		{ "tls:a:0", "needs a port" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct addr_text a;
		const char *fault;

		assert_int_equal(addr_parse(rows[i].text, &a, NULL), 0);
		fault = topic_fault(&a);
		if (!fault != !rows[i].fault || (fault && !strstr(fault, rows[i].fault)))
			fail_msg("%s: %s", rows[i].text, fault ? fault : "fine");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(filters_are_subscribed_to_together, end),
		cmocka_unit_test_teardown(each_is_answered_once, end),
		cmocka_unit_test_teardown(what_the_broker_lacks_is_left_out, end),
		cmocka_unit_test_teardown(it_takes_so_much, end),
		cmocka_unit_test_teardown(it_can_be_closed, end),
		cmocka_unit_test_teardown(it_trusts_no_nonsense, end),
		cmocka_unit_test(addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
