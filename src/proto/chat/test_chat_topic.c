/* test_chat_topic.c - a room that is a topic of a broker, over the memory driver: what it says to the broker, in packets, and what comes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "conf/option.h"
#include "proto/chat/chat_priv.h"
#include "proto/mqtt/write.h"
#include "proto/protos.h"
#include "support/world.h"

#define TO "broker", "tcp:far.example:1883", "topic", "home/chat"

enum { ROOM = 1 << 18 };

static struct world w;

static int end(void **state)
{
	(void)state;
	world_close(&w);
	return 0;
}

static uint64_t count(unsigned which)
{
	return memdrive_stat(w.drive, STAT_OWN + which);
}

/* ---- the broker ---- */

static struct memconn *broker(size_t i)
{
	struct memconn *c = memdrive_child(w.drive, i);

	assert_non_null(c);
	return c;
}

/* The next packet that it got. Dies with the next call. */
static struct mqtt_frame takes(struct memconn *c, unsigned version, unsigned type)
{
	static uint8_t bytes[ROOM];
	struct span out = memconn_out(c);
	const char *why = NULL;
	struct mqtt_frame f;

	out.n = out.n < sizeof(bytes) ? out.n : sizeof(bytes);
	if (out.n)
		memcpy(bytes, out.p, out.n);
	out.p = bytes;
	if (mqtt_frame((struct mqtt_form){ (uint8_t)version, MQTT_FROM_CLIENT }, out, sizeof(bytes), &f, &why) != 1)
		fail_msg("no packet came, it should be of type %u (%s)", type, why ? why : "nothing");
	assert_int_equal(f.type, type);
	memconn_take(c, f.total);
	return f;
}

/* A line that was said, with this QoS; its identifier. */
static uint16_t hears(struct memconn *c, const char *line, unsigned qos)
{
	struct mqtt_frame f = takes(c, MQTT_5, MQTT_PUBLISH);
	const char *why = NULL;
	struct mqtt_publish p;

	assert_int_equal(mqtt_parse_publish(&f, &p, &why), 0);
	assert_true(span_is(p.topic, "home/chat"));
	if (!span_is(p.payload, line))
		fail_msg("\"%.*s\" was published, not \"%s\"", (int)p.payload.n, p.payload.p, line);
	assert_int_equal(p.qos, qos);
	assert_false(p.retain || p.dup);
	return p.id;
}

static void hears_nothing(struct memconn *c)
{
	assert_int_equal(memconn_out(c).n, 0);
}

static void says(struct memconn *c, const char *bytes, size_t n)
{
	memconn_send(c, bytes, n, 1);
}

#define SAYS(c, text) says(c, text, sizeof(text) - 1)
#define CONNACK "\x20\x03\x00\x00\x00"
#define SUBACK "\x90\x04\x00\x41\x00\x01"

static void acks(struct memconn *c, uint16_t id, unsigned code)
{
	says(c, (const char[]){ 0x40, 3, (char)(id >> 8), (char)id, (char)code }, 5);
}

static void publishes(struct memconn *c, struct span payload, unsigned qos)
{
	static uint8_t bytes[ROOM];
	struct mqtt_publish p = { .topic = span_str("home/chat"), .payload = payload, .qos = (uint8_t)qos, .id = 7 };
	struct mqtt_writer out;

	mqtt_props_init(&p.props);
	mqtt_writer_init(&out, MQTT_5, bytes, sizeof(bytes));
	assert_int_equal(mqtt_put_publish(&out, &p), 0);
	memcpy(bytes + out.n, payload.p, payload.n);
	memconn_send(c, bytes, out.n + payload.n, payload.n > 4096 ? 4096 : 1);
}

/* It lets the room in, on these terms: a CONNACK. */
static struct memconn *lets_in(size_t i, const char *connack, size_t n)
{
	struct memconn *c = broker(i);

	takes(c, MQTT_UNKNOWN, MQTT_CONNECT);
	says(c, connack, n);
	takes(c, MQTT_5, MQTT_SUBSCRIBE);
	SAYS(c, SUBACK);
	return c;
}

#define LETS_IN(i, connack) lets_in(i, connack, sizeof(connack) - 1)

/* ---- the beginning ---- */

static void it_says_who_it_is(void **state)
{
	struct mqtt_connect p;
	const char *why = NULL;
	struct mqtt_frame f;
	struct mqtt_list l;
	struct mqtt_sub sub;

	(void)state;
	world_open(&w, &chat_proto, NULL, TO, "user", "room");
	assert_string_equal(memconn_address(broker(0)), "tcp:far.example:1883");
	f = takes(broker(0), MQTT_UNKNOWN, MQTT_CONNECT);
	assert_int_equal(mqtt_parse_connect(&f, &p, &why), 0);
	assert_true(p.version == MQTT_5 && p.clean && !p.will && !p.has_password);
	assert_true(span_starts(p.client_id, "chat-") && p.client_id.n == strlen("chat-00112233"));
	assert_true(span_is(p.user, "room"));
	assert_int_equal(p.keep_alive, 60);
	assert_int_equal(p.props.max_packet, 256 << 10);
	SAYS(broker(0), CONNACK);
	f = takes(broker(0), MQTT_5, MQTT_SUBSCRIBE);
	assert_int_equal(mqtt_parse_list(&f, &l, &why), 0);
	assert_true(mqtt_sub_next(&l.list, &sub));
	assert_true(span_is(sub.filter, "home/chat") && sub.no_local && sub.qos == 1 && sub.retain_handling == 2);
	assert_false(mqtt_sub_next(&l.list, &sub));
	SAYS(broker(0), SUBACK);
	hears_nothing(broker(0));
}

static void without_a_topic_nobody_is_dialled(void **state)
{
	(void)state;
	world_open(&w, &chat_proto, NULL, "names", "yes");
	memdrive_advance(w.drive, 100 * SEC);
	assert_int_equal(memdrive_children(w.drive), 0);
}

/* What is no option, and why. */
static void options_are_checked(void **state)
{
	BUF_AUTO struct buf why = BUF_INIT(256);

	(void)state;
	if (option_table_check(&chat_table, &why) < 0)
		fail_msg("%s", buf_str(&why));
	assert_refused(&chat_proto, "topic: needs a broker", "topic", "a");
	assert_refused(&chat_proto, "broker: needs a topic", "broker", "tcp:a:1");
	assert_refused(&chat_proto, "topic: must be one topic, as home/chat; + and # stand for many", "topic", "a/#",
		       "broker", "tcp:a:1");
	assert_refused(&chat_proto, "topic: $share/ stands for a part", "topic", "$share/a/b", "broker", "tcp:a:1");
	assert_refused(&chat_proto, "user: is no UTF-8 text", TO, "user", "\xff");
	assert_refused(&chat_proto, "topic: is empty", "topic", "", "broker", "tcp:a:1");
	assert_refused(&chat_proto, "broker: udp:a:1 is not where a broker can be connected to", "topic", "a", "broker",
		       "udp:a:1");
	assert_refused(&chat_proto, "broker: tcp:*:1 needs one host", "topic", "a", "broker", "tcp:*:1");
	assert_refused(&chat_proto, "broker: tcp:a:0 needs a port", "topic", "a", "broker", "tcp:a:0");
	assert_refused(&chat_proto, "user: needs a broker", "user", "me");
	assert_refused(&chat_proto, "insecure: needs a broker", "insecure", "yes");
	assert_refused(&chat_proto, "password: needs a user", TO, "password", "p");
	assert_refused(&chat_proto, "insecure: has no use here", TO, "insecure", "yes");
	assert_refused(&chat_proto, "ca: has no use here", TO, "ca", "p");
}

/* ---- both ways ---- */

static void what_is_said_is_published(void **state)
{
	struct memconn *a, *b, *far;
	uint16_t id[4];

	(void)state;
	world_open(&w, &chat_proto, NULL, TO);
	far = LETS_IN(0, CONNACK);
	a = world_client(&w);
	b = world_client(&w);
	memconn_sends(a, "one\ntwo\r\n\nlast");
	memconn_eof(a);
	id[0] = hears(far, "one", 1);
	id[1] = hears(far, "two", 1);
	id[2] = hears(far, "", 1);
	id[3] = hears(far, "last", 1);
	assert_said(b, "one\ntwo\r\n\nlast\n");
	assert_int_equal(count(CHAT_TOPIC_SAID), 0);
	for (unsigned i = 0; i < 4; i++)
		acks(far, id[3 - i], i ? MQTT_OK : MQTT_NO_SUBSCRIBERS);
	acks(far, id[0], MQTT_OK); /* once more: nobody waits for it */
	acks(far, 999, MQTT_OK);
	assert_int_equal(count(CHAT_TOPIC_SAID), 4);
	assert_int_equal(count(CHAT_TOPIC_DROPPED), 0);
	hears_nothing(far);
	assert_int_equal(memconn_end(far), MEM_OPEN);
}

static void names_are_published_too(void **state)
{
	struct memconn *a, *far;

	(void)state;
	world_open(&w, &chat_proto, NULL, TO, "names", "yes");
	far = LETS_IN(0, CONNACK);
	a = world_client(&w);
	memconn_sends(a, "hello\n/nick bob\n/who\n");
	hears(far, "guest1: hello", 1);
	hears(far, "* guest1 is now bob", 1);
	hears_nothing(far);
}

static void what_is_published_is_said(void **state)
{
	static uint8_t most[CHAT_LINE + 2];
	struct memconn *a, *far;

	(void)state;
	world_open(&w, &chat_proto, NULL, TO);
	far = LETS_IN(0, CONNACK);
	a = world_client(&w);
	publishes(far, span_str("hello"), 1);
	takes(far, MQTT_5, MQTT_PUBACK);
	publishes(far, span_str("two\r\nlines\n"), 0);
	publishes(far, span_str(""), 0);
	publishes(far, span_str("\xc3\xa4"), 0);
	assert_said(a, "hello\ntwo\r\nlines\n\n\xc3\xa4\n");
	hears_nothing(far); /* it does not go back */
	assert_int_equal(count(CHAT_TOPIC_HEARD), 4);
	assert_int_equal(count(CHAT_DELIVERIES), 5);
	publishes(far, span_str("\xff no text"), 1);
	takes(far, MQTT_5, MQTT_PUBACK);
	memset(most, 'x', sizeof(most));
	publishes(far, (struct span){ most, CHAT_LINE + 1 }, 0);
	assert_said(a, "");
	assert_int_equal(count(CHAT_TOPIC_IGNORED), 2);
	most[CHAT_LINE] = '\n';
	publishes(far, (struct span){ most, CHAT_LINE + 2 }, 0); /* two lines */
	assert_int_equal(memconn_out(a).n, CHAT_LINE + 3);
	assert_int_equal(count(CHAT_TOPIC_HEARD), 5);
}

/* The broker does not keep to what it was asked for. */
static void what_was_retained_is_not_said(void **state)
{
	struct memconn *a, *far;

	(void)state;
	world_open(&w, &chat_proto, NULL, TO);
	far = LETS_IN(0, CONNACK);
	a = world_client(&w);
	SAYS(far, "\x31\x0f\x00\x09home/chat\x00old\x30\x0f\x00\x09home/chat\x00new");
	assert_said(a, "new\n");
	assert_int_equal(count(CHAT_TOPIC_IGNORED), 1);
}

/* Whoever publishes much in little costs each member some letters, and not one for each message. */
static void many_messages_are_few_letters(void **state)
{
	enum { MESSAGES = 500 };
	static const char one[] = "\x30\x0d\x00\x09home/chat\x00!";
	static char all[MESSAGES * (sizeof(one) - 1)];
	struct mem_away away;
	unsigned letters = 0, lines = 0;
	struct memconn *a, *far;

	(void)state;
	world_open(&w, &chat_proto, &(struct mem_setup){ .loops = 2 }, TO);
	far = LETS_IN(0, CONNACK);
	a = world_client(&w);
	for (size_t i = 0; i < MESSAGES; i++)
		memcpy(all + i * (sizeof(one) - 1), one, sizeof(one) - 1);
	memconn_send(far, all, sizeof(all), 0);
	for (; memdrive_away(w.drive, &away) == 1; letters++) {
		lines += away.tag;
		mail_drop(away.mail);
	}
	assert_int_equal(lines, MESSAGES);
	assert_in_range(letters, 1, MESSAGES / 40);
	assert_int_equal(memconn_out(a).n, 2 * MESSAGES);
	assert_int_equal(count(CHAT_TOPIC_HEARD), MESSAGES);
	assert_int_equal(count(CHAT_DELIVERIES), MESSAGES);
}

/* However little `output` is: the largest message does not end the conversation of a slow reader. */
static void a_slow_reader_stays(void **state)
{
	enum { MESSAGE = 250000, LINE = 60000 };
	static uint8_t text[MESSAGE];
	struct memconn *a, *far;

	(void)state;
	world_open(&w, &chat_proto, &(struct mem_setup){ .output = 256 << 10 }, TO);
	far = LETS_IN(0, CONNACK);
	a = world_client(&w);
	memconn_window(a, 0);
	memset(text, 'x', sizeof(text));
	for (size_t i = LINE; i < sizeof(text); i += LINE)
		text[i] = '\n';
	publishes(far, (struct span){ text, LINE }, 0);
	publishes(far, (struct span){ text, MESSAGE }, 0);
	publishes(far, (struct span){ text, MESSAGE }, 0); /* is dropped */
	assert_int_equal(memconn_end(a), MEM_OPEN);
	memconn_window(a, MEM_NO_LIMIT);
	assert_int_equal(memconn_out(a).n, LINE + 1 + MESSAGE + 1);
	assert_int_equal(count(CHAT_DROPPED), 5);
}

/* All that a broker says, in pieces of each size. */
static void pieces_do_not_matter(void **state)
{
	static const char all[] = CONNACK SUBACK
		"\x32\x10\x00\x09home/chat\x00\x07\x00hi"
		"\xd0\x00\x40\x02\x00\x01\x40\x03\x00\x02\x87\x30\x0d\x00\x09home/chat\x00!";

	(void)state;
	for (size_t piece = 1; piece <= sizeof(all); piece++) {
		struct memconn *a;

		world_open(&w, &chat_proto, NULL, TO);
		a = world_client(&w);
		takes(broker(0), MQTT_UNKNOWN, MQTT_CONNECT);
		memconn_send(broker(0), all, sizeof(all) - 1, piece);
		takes(broker(0), MQTT_5, MQTT_SUBSCRIBE);
		takes(broker(0), MQTT_5, MQTT_PUBACK);
		hears_nothing(broker(0));
		assert_said(a, "hi\n!\n");
		assert_int_equal(memconn_end(broker(0)), MEM_OPEN);
		world_close(&w);
	}
}

/* This loop is the first of three: what is said in others is published here, once, and what is published goes there. */
static void one_connection_is_for_all_loops(void **state)
{
	const struct span line = span_str("from afar\n");
	struct mem_away away;
	struct memconn *a, *far;

	(void)state;
	world_open(&w, &chat_proto, &(struct mem_setup){ .loops = 3 }, TO);
	far = LETS_IN(0, CONNACK);
	a = world_client(&w);
	memdrive_shard_post(w.drive, 1, blob_to_mail(blob_new(&line, 1)));
	hears(far, "from afar", 1);
	assert_said(a, "from afar\n");
	assert_int_equal(memdrive_away(w.drive, &away), 0);
	publishes(far, span_str("hi\nyou"), 0);
	assert_said(a, "hi\nyou\n");
	for (unsigned i = 1; i < 3; i++) {
		assert_int_equal(memdrive_away(w.drive, &away), 1);
		assert_true(away.loop == i && away.tag == 2);
		assert_true(span_is(blob_span(blob_of_mail(away.mail)), "hi\nyou\n"));
		mail_drop(away.mail);
	}
	hears_nothing(far);
}

/* ---- terms ---- */

static void it_heeds_what_the_broker_takes(void **state)
{
	struct memconn *a, *far;
	uint16_t id;

	(void)state;
	world_open(&w, &chat_proto, NULL, TO);
	far = LETS_IN(0, "\x20\x0b\x00\x00\x08\x21\x00\x01\x27\x00\x00\x00\x1c"); /* one at a time, of 28 bytes */
	a = world_client(&w);
	memconn_sends(a, "1\n2\nthis is far too long\n3\n");
	id = hears(far, "1", 1);
	hears_nothing(far);
	acks(far, id, MQTT_OK);
	id = hears(far, "2", 1);
	hears_nothing(far);
	acks(far, id, MQTT_OK);
	hears(far, "3", 1);
	assert_int_equal(count(CHAT_TOPIC_REFUSED), 1);
	memconn_reset(far);
	memdrive_advance(w.drive, SEC);
	far = LETS_IN(1, "\x20\x05\x00\x00\x02\x24\x00"); /* QoS 0 */
	memconn_sends(a, "4\n");
	hears(far, "4", 0);
	assert_int_equal(count(CHAT_TOPIC_SAID), 3);
}

/* A broker that does not answer costs memory up to a limit, and the room nothing. */
static void what_waits_is_limited(void **state)
{
	enum { QUEUE = 10000, MORE = 10, LONG = 60000 };
	static char line[LONG + 1];
	struct memconn *a, *b, *far;
	uint16_t id;

	(void)state;
	world_open(&w, &chat_proto, NULL, TO);
	far = LETS_IN(0, CONNACK);
	a = world_client(&w);
	b = world_client(&w);
	for (int i = 0; i < QUEUE + MORE; i++)
		memconn_sends(a, "x\n");
	assert_int_equal(count(CHAT_TOPIC_DROPPED), MORE);
	assert_int_equal(memconn_out(b).n, 2 * (QUEUE + MORE));
	for (int i = 1; i < TOPIC_WINDOW; i++)
		hears(far, "x", 1);
	id = hears(far, "x", 1);
	hears_nothing(far);
	acks(far, id, MQTT_OK);
	assert_int_equal(hears(far, "x", 1), id);
	memconn_reset(far);
	assert_int_equal(count(CHAT_TOPIC_DROPPED), QUEUE + MORE - 1);
	memdrive_advance(w.drive, SEC);
	far = LETS_IN(1, CONNACK);
	memset(line, 'y', LONG);
	line[LONG] = '\n';
	for (int i = 0; i < 100; i++)
		memconn_send(a, line, sizeof(line), 0);
	assert_int_equal(count(CHAT_TOPIC_DROPPED), QUEUE + MORE - 1 + 100 - (1 << 20) / (LONG + 9));
}

/* And one that does not read gets no more than its connection takes. */
static void a_slow_broker_is_waited_for(void **state)
{
	enum { LINES = 20, LONG = 20000 };
	static char line[LONG + 2];
	struct memconn *a, *far;

	(void)state;
	world_open(&w, &chat_proto, NULL, TO);
	far = LETS_IN(0, CONNACK);
	a = world_client(&w);
	memconn_window(far, 0);
	memset(line, 'y', LONG);
	line[LONG] = '\n';
	for (int i = 0; i < LINES; i++)
		memconn_sends(a, line);
	assert_true(memconn_peak(far) < 64 * 1024 + 2 * LONG);
	publishes(far, span_str("still heard"), 0);
	assert_said(a, "still heard\n");
	memconn_window(far, MEM_NO_LIMIT);
	line[LONG] = '\0';
	for (int i = 0; i < LINES; i++)
		hears(far, line, 1);
	hears_nothing(far);
	assert_int_equal(count(CHAT_TOPIC_DROPPED), 0);
}

static void what_is_refused_is_counted(void **state)
{
	struct memconn *a, *far;

	(void)state;
	world_open(&w, &chat_proto, NULL, TO);
	far = broker(0);
	takes(far, MQTT_UNKNOWN, MQTT_CONNECT);
	SAYS(far, CONNACK);
	takes(far, MQTT_5, MQTT_SUBSCRIBE);
	SAYS(far, "\x90\x04\x00\x41\x00\x87"); /* it hears nothing then */
	a = world_client(&w);
	memconn_sends(a, "1\n2\n");
	acks(far, hears(far, "1", 1), MQTT_NOT_AUTHORIZED);
	acks(far, hears(far, "2", 1), MQTT_QUOTA);
	assert_int_equal(count(CHAT_TOPIC_REFUSED), 2);
	assert_int_equal(memconn_end(far), MEM_OPEN);
}

/* ---- down and up ---- */

static void without_a_connection_the_room_goes_on(void **state)
{
	static const unsigned at[] = { 0, 1, 3, 7, 15, 31, 63, 123, 183 }; /* seconds: the pause is a minute at most */
	struct memconn *a, *b, *far;

	(void)state;
	world_open(&w, &chat_proto, NULL, TO);
	far = LETS_IN(0, CONNACK);
	a = world_client(&w);
	b = world_client(&w);
	memconn_sends(a, "under way\n");
	memdrive_dials(w.drive, -ECONNREFUSED);
	memconn_reset(far);
	assert_int_equal(count(CHAT_TOPIC_DROPPED), 1);
	for (unsigned i = 1, now = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		memconn_sends(a, "hello\n");
		memdrive_advance(w.drive, (at[i] - now) * SEC - MSEC);
		assert_int_equal(memdrive_children(w.drive), i);
		memdrive_advance(w.drive, MSEC);
		assert_int_equal(memdrive_children(w.drive), i + 1);
		assert_int_equal(count(CHAT_TOPIC_DROPPED), 1 + i);
		now = at[i];
	}
	assert_int_equal(memconn_out(b).n, strlen("under way\n") + 8 * strlen("hello\n"));
	memdrive_dials(w.drive, 0);
	memdrive_advance(w.drive, 60 * SEC);
	far = LETS_IN(9, CONNACK);
	memconn_sends(a, "again\n");
	hears(far, "again", 1);
	memdrive_advance(w.drive, 10 * SEC); /* it has lasted: the next try is soon */
	memconn_eof(far);
	memdrive_advance(w.drive, SEC);
	LETS_IN(10, CONNACK);
}

/* The option `idle` is for who sits in the room. */
static void it_looks_whether_the_broker_is_there(void **state)
{
	struct memconn *far;

	(void)state;
	world_open(&w, &chat_proto, &(struct mem_setup){ .idle = 5 * SEC }, TO);
	memdrive_advance(w.drive, 29 * SEC);
	assert_int_equal(memconn_end(broker(0)), MEM_OPEN);
	memdrive_advance(w.drive, SEC);
	assert_string_equal(memconn_reason(broker(0)), "keep-alive"); /* not a word for half a minute */
	memconn_eof(broker(0));
	memdrive_advance(w.drive, SEC);
	far = LETS_IN(1, "\x20\x06\x00\x00\x03\x13\x00\x0a"); /* it wants to hear every 10 s */
	for (int i = 0; i < 3; i++) {
		memdrive_advance(w.drive, 10 * SEC);
		takes(far, MQTT_5, MQTT_PINGREQ);
		SAYS(far, "\xd0\x00");
	}
	memdrive_advance(w.drive, 20 * SEC);
	assert_string_equal(memconn_reason(far), "keep-alive");
	memconn_eof(far);
	memdrive_advance(w.drive, SEC);
	far = LETS_IN(2, "\x20\x06\x00\x00\x03\x13\x00\x00"); /* it wants to hear nothing, and is asked all the same */
	memdrive_advance(w.drive, 60 * SEC);
	takes(far, MQTT_5, MQTT_PINGREQ);
	memdrive_advance(w.drive, 60 * SEC);
	assert_string_equal(memconn_reason(far), "keep-alive");
}

static void the_end_is_told(void **state)
{
	struct memconn *a, *far;

	(void)state;
	world_open(&w, &chat_proto, NULL, TO);
	far = LETS_IN(0, CONNACK);
	a = world_client(&w);
	memconn_sends(a, "bye\n");
	memdrive_stop(w.drive);
	hears(far, "bye", 1);
	takes(far, MQTT_5, MQTT_DISCONNECT);
	hears_nothing(far);
	assert_int_equal(memconn_end(far), MEM_CLOSED);
	memdrive_advance(w.drive, 100 * SEC);
	assert_int_equal(memdrive_children(w.drive), 1);
}

static void a_reload_changes_it(void **state)
{
	static const char *const sets[][7] = { { TO, "names", "yes" }, { TO }, { NULL } };
	void *options[3];
	struct memconn *a, *b;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(option_values_new(&chat_table, &options[i]), 0);
		for (const char *const *o = sets[i]; *o; o += 2)
			assert_int_equal(option_set(&chat_table, options[i], o[0], o[1], NULL), 0);
	}
	assert_int_equal(option_set(&chat_table, options[1], "topic", "other", NULL), 0);
	world_open(&w, &chat_proto, NULL, TO);
	LETS_IN(0, CONNACK);
	a = world_client(&w);
	b = world_client(&w);
	memdrive_reload(w.drive, options[0]); /* it is about the room alone */
	assert_int_equal(memdrive_children(w.drive), 1);
	assert_int_equal(memconn_end(broker(0)), MEM_OPEN);
	memconn_sends(a, "lost\n");
	memdrive_reload(w.drive, options[1]);
	assert_int_not_equal(memconn_end(broker(0)), MEM_OPEN);
	assert_int_equal(memdrive_children(w.drive), 2);
	assert_int_equal(count(CHAT_TOPIC_DROPPED), 1);
	takes(broker(1), MQTT_UNKNOWN, MQTT_CONNECT);
	SAYS(broker(1), CONNACK);
	memdrive_reload(w.drive, options[2]);
	assert_int_not_equal(memconn_end(broker(1)), MEM_OPEN);
	memconn_sends(a, "hello\n");
	assert_said(b, "guest1: lost\nhello\n");
	memdrive_advance(w.drive, 100 * SEC);
	assert_int_equal(memdrive_children(w.drive), 2);
	assert_int_equal(count(CHAT_TOPIC_DROPPED), 1);
	memdrive_free(&w.drive);
	for (int i = 0; i < 3; i++)
		option_values_free(&chat_table, &options[i]);
}

/* ---- a hostile one ---- */

static void whatever_it_says_harms_nobody(void **state)
{
#define BYTES(s) s, sizeof(s) - 1
	static const struct {
		const char *bytes;
		size_t n;
		bool first; /* instead of CONNACK */
		const char *reason;
	} rows[] = {
		{ BYTES("HTTP/1.1 400 Bad Request\r\n"), true, "flags-reserved" },
		{ BYTES("\x20\x03\x00\x87\x00"), true, "Not authorized" },
		{ BYTES("\x20\x03\x01\x00\x00"), true, "session-present" },
		{ BYTES("\x90\x04\x00\x41\x00\x01"), true, "packet-unexpected" },
		{ BYTES("\x20\x02\x00\x01"), true, "Unsupported Protocol Version" },
		{ BYTES(CONNACK), false, "connect-twice" },
		{ BYTES("\x10\x00"), false, "packet-unexpected" },
		{ BYTES("\xf0\x00"), false, "packet-unexpected" },
		{ BYTES("\x30\xff\xff\xff\xff"), false, "length-malformed" },
		{ BYTES("\x30\xff\xff\xff\x7f"), false, "packet-too-large" },
		{ BYTES("\x30\x04\x00\x05\x61\x62"), false, "packet-malformed" },
		{ BYTES("\x30\x05\x00\x02\x61+\x00"), false, "topic-invalid" },
		{ BYTES("\x30\x06\x00\x00\x03\x23\x00\x01"), false, "topic-alias" },
		{ BYTES("\x30\x09\x00\x03x/y\x03\x23\x00\x01"), false, "topic-alias" },
		{ BYTES("\x34\x08\x00\x03x/y\x00\x01\x00"), false, "qos-invalid" },
		{ BYTES("\x36\x08\x00\x03x/y\x00\x01\x00"), false, "qos-invalid" },
		{ BYTES("\x40\x03\x00\x01\x05"), false, "reason-unknown" },
		{ BYTES("\x62\x02\x00\x01"), false, "packet-unexpected" },
		{ BYTES("\xe0\x01\x8b"), false, "Server shutting down" },
		{ BYTES("\xe0\x01\x04"), false, "reason-unknown" },
		{ BYTES("\x90\x02\x00\x41"), false, "packet-malformed" },
	};
#undef BYTES
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct memconn *a, *b, *far;

		world_open(&w, &chat_proto, NULL, TO);
		far = rows[i].first ? broker(0) : LETS_IN(0, CONNACK);
		a = world_client(&w);
		b = world_client(&w);
		memconn_sends(a, "1\n");
		says(far, rows[i].bytes, rows[i].n);
		if (strcmp(memconn_reason(far), rows[i].reason) != 0)
			fail_msg("row %zu: \"%s\", not \"%s\"", i, memconn_reason(far), rows[i].reason);
		memconn_eof(far);
		memconn_sends(a, "2\n");
		assert_said(b, "1\n2\n");
		assert_int_equal(count(CHAT_TOPIC_DROPPED), 2);
		memdrive_advance(w.drive, SEC);
		LETS_IN(1, CONNACK);
		world_close(&w);
	}
}

/* ---- the trace ---- */

static void its_trace_is_what_it_says(void **state)
{
	static const char *const notes[] = {
		"+> CONNECT v5.0 c1 k60 \"chat-",
		"+< CONNACK s0 0x00 (Success)\n",
		"+> SUBSCRIBE m65 \"home/chat\" q1 no-local",
		"+> PUBLISH q1 r0 m1 \"home/chat\" 5 bytes\n",
		"+< PUBACK m1",
		"+> DISCONNECT",
	};
	const char *at;
	struct memconn *far;

	(void)state;
	world_open(&w, &chat_proto, &(struct mem_setup){ .trace = true }, TO);
	far = LETS_IN(0, CONNACK);
	memconn_sends(world_client(&w), "hello\n");
	acks(far, hears(far, "hello", 1), 0);
	memdrive_stop(w.drive);
	at = (const char *)memdrive_trace(w.drive).p;
	for (size_t i = 0; i < sizeof(notes) / sizeof(notes[0]); i++) {
		const char *line = strstr(at, notes[i]);

		if (!line)
			fail_msg("no \"%s\" in:\n%s", notes[i], at);
		at = line;
	}
}

/* ---- memory ---- */

static void scene(void *arg)
{
	static const char said[] = CONNACK SUBACK
		"\x32\x10\x00\x09home/chat\x00\x07\x00hi\x40\x02\x00\x01\x40\x02\x00\x02";
	static const char *const options[] = { TO, "user", "me", NULL, NULL };

	(void)arg;
	if (world_try_open(&w, &chat_proto, &(struct mem_setup){ .loops = 2, .linger = SEC }, options, NULL) == 0) {
		struct memconn *a = memconn_open(w.drive, NULL);
		struct mem_away away;

		for (size_t i = 0; i < 3; i++) {
			size_t n = memdrive_children(w.drive);
			struct memconn *far = n ? memdrive_child(w.drive, n - 1) : NULL;

			if (far)
				memconn_send(far, said, sizeof(said) - 1, 0);
			if (a)
				memconn_sends(a, "one\ntwo\n");
			if (far)
				memconn_reset(far);
			memdrive_advance(w.drive, 2 * SEC);
		}
		while (memdrive_away(w.drive, &away) == 1)
			mail_drop(away.mail);
		memdrive_stop(w.drive);
	}
	world_close(&w);
}

static void memory_may_be_out(void **state)
{
	(void)state;
	scene(NULL);
	fail_each_allocation(scene, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(it_says_who_it_is, end),
		cmocka_unit_test_teardown(without_a_topic_nobody_is_dialled, end),
		cmocka_unit_test(options_are_checked),
		cmocka_unit_test_teardown(what_is_said_is_published, end),
		cmocka_unit_test_teardown(names_are_published_too, end),
		cmocka_unit_test_teardown(what_is_published_is_said, end),
		cmocka_unit_test_teardown(what_was_retained_is_not_said, end),
		cmocka_unit_test_teardown(many_messages_are_few_letters, end),
		cmocka_unit_test_teardown(a_slow_reader_stays, end),
		cmocka_unit_test(pieces_do_not_matter),
		cmocka_unit_test_teardown(one_connection_is_for_all_loops, end),
		cmocka_unit_test_teardown(it_heeds_what_the_broker_takes, end),
		cmocka_unit_test_teardown(what_waits_is_limited, end),
		cmocka_unit_test_teardown(a_slow_broker_is_waited_for, end),
		cmocka_unit_test_teardown(what_is_refused_is_counted, end),
		cmocka_unit_test_teardown(without_a_connection_the_room_goes_on, end),
		cmocka_unit_test_teardown(it_looks_whether_the_broker_is_there, end),
		cmocka_unit_test_teardown(the_end_is_told, end),
		cmocka_unit_test_teardown(a_reload_changes_it, end),
		cmocka_unit_test(whatever_it_says_harms_nobody),
		cmocka_unit_test_teardown(its_trace_is_what_it_says, end),
		cmocka_unit_test(memory_may_be_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
