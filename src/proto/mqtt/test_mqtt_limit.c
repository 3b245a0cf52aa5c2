/* test_mqtt_limit.c - what becomes of messages for which there is no room, and of whoever asks for too much. */
#include <stdlib.h>

#include "proto/mqtt/test_talk.h"
#include "store/topics_priv.h"

/* The code of the answer to a message of QoS 1 or 2. */
static unsigned publishes(struct memconn *c, const char *topic, const char *payload, unsigned qos)
{
	struct mqtt_frame f;

	talk_publish(c, &(struct say){ .topic = topic, .payload = payload, .qos = (uint8_t)qos, .id = 7 });
	f = take_packet(c, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC);
	if (qos == 2 && (f.body.n == 2 || f.body.p[2] < MQTT_UNSPECIFIED)) {
		talk_id(c, MQTT_PUBREL, 7);
		assert_int_equal(take_packet(c, MQTT_PUBCOMP).body.n, 2);
		return MQTT_OK;
	}
	return f.body.n > 2 ? f.body.p[2] : MQTT_OK;
}

/* Somebody who is away, with a subscription of QoS 1. */
static void leaves(struct world *w, const char *name, const char *filter)
{
	struct memconn *c = talk_hello(w, &(struct hello){ .name = name, .expiry = 600 }, false);

	talk_subscribe(c, filter, 1);
	talk_bye(c);
}

static struct memconn *comes_back(struct world *w, const char *name)
{
	return talk_hello(w, &(struct hello){ .name = name, .expiry = 600 }, true);
}

static unsigned takes_all(struct memconn *c)
{
	unsigned n = 0;

	for (; memconn_out(c).n; n++) {
		struct mqtt_publish p = talk_take(c);

		if (p.qos)
			talk_id(c, MQTT_PUBACK, p.id);
	}
	return n;
}

/* ---- queue_full = refuse ---- */

/* It goes to nobody then, and the publisher knows. */
static void test_refused(void **state)
{
	struct memconn *a, *b, *c;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "queue", "3", "queue_full", "refuse");
	a = talk_enter(&w, "a");
	c = talk_enter(&w, "c");
	talk_subscribe(c, "#", 2);
	leaves(&w, "b", "t/#");
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(publishes(a, "t/1", "x", 1 + i % 2), i < 3 ? MQTT_OK : MQTT_QUOTA);
		if (i < 3)
			talk_take(c);
		assert_said(c, "");
	}
	assert_int_equal(talk_count(&w, MQTT_REFUSED), 3);
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 0);
	assert_int_equal(publishes(a, "u", "x", 1), MQTT_OK); /* what does not concern it */
	talk_take(c);
	talk_publish(a, &(struct say){ .topic = "t/1", .payload = "x" });
	talk_take(c);                                      /* QoS 0 is dropped for who has no room */
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 0); /* who is away has none of it anyway */
	b = comes_back(&w, "b");
	assert_int_equal(takes_all(b), 3);
	assert_int_equal(publishes(a, "t/1", "x", 2), MQTT_OK);
	assert_int_equal(takes_all(b), 1);
	world_close(&w);
}

/* 3.x has no word for it: it is dropped, for that one alone, at twice the limit. */
static void test_refused_old(void **state)
{
	struct memconn *a, *c;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "queue", "3", "queue_full", "refuse");
	leaves(&w, "b", "t");
	c = talk_enter(&w, "c");
	talk_subscribe(c, "t", 0);
	a = world_client(&w);
	memconn_send(a, "\x10\x0d\0\4MQTT\4\2\0\0\0\1o", 15, 0);
	assert_said(a, "\x20\2\0\0");
	for (int i = 0; i < 8; i++) {
		memconn_send(a, "\x32\6\0\1t\0\1x", 8, 0);
		assert_said(a, "\x40\2\0\1");
		talk_take(c);
	}
	assert_int_equal(talk_count(&w, MQTT_REFUSED), 0);
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 2);
	assert_int_equal(takes_all(comes_back(&w, "b")), 6);
	world_close(&w);
}

/* Bytes count too, and a message that could never have room. */
static void test_refused_bytes(void **state)
{
	char large[2000] = "";
	struct memconn *a;
	struct world w;

	(void)state;
	memset(large, 'x', sizeof(large) - 1);
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "queue_bytes", "1024", "queue_full", "refuse");
	a = talk_enter(&w, "a");
	leaves(&w, "b", "t");
	assert_int_equal(publishes(a, "t", large, 1), MQTT_QUOTA);
	large[700] = '\0';
	assert_int_equal(publishes(a, "t", large, 1), MQTT_OK);
	assert_int_equal(publishes(a, "t", large, 1), MQTT_OK); /* there was room, so it has a place */
	assert_int_equal(publishes(a, "t", "x", 1), MQTT_QUOTA);
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 0);
	assert_int_equal(takes_all(comes_back(&w, "b")), 2);
	assert_int_equal(publishes(a, "t", "x", 1), MQTT_OK);
	world_close(&w);
}

/* Connected, but it does not read. */
static void test_refused_for_a_slow_one(void **state)
{
	struct memconn *a, *b;
	unsigned n = 0, r;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "queue", "10", "queue_full", "refuse", "inflight", "5");
	a = talk_enter(&w, "a");
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 600 }, false);
	talk_subscribe(b, "t", 1);
	while ((r = publishes(a, "t", "x", 1)) == MQTT_OK)
		n++;
	assert_int_equal(r, MQTT_QUOTA);
	assert_int_equal(n, 15);
	talk_id(b, MQTT_PUBACK, talk_take(b).id);
	assert_int_equal(publishes(a, "t", "x", 1), MQTT_OK);
	assert_int_equal(publishes(a, "t", "x", 1), MQTT_QUOTA);
	assert_int_equal(takes_all(b), 15);
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 0);
	world_close(&w);
}

/* A member of a share that has room gets it, whoever's turn it is. */
static void shared(const char *how)
{
	struct memconn *a;
	struct world w;

	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "queue", "3", "queue_full", how);
	a = talk_enter(&w, "a");
	leaves(&w, "b", "$share/g/t");
	for (int i = 0; i < 3; i++)
		assert_int_equal(publishes(a, "t", "x", 1), MQTT_OK);
	leaves(&w, "c", "$share/g/t");
	for (int i = 0; i < 3; i++)
		assert_int_equal(publishes(a, "t", "x", 1), MQTT_OK);
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 0);
	assert_int_equal(publishes(a, "t", "x", 1), strcmp(how, "drop") ? MQTT_QUOTA : MQTT_OK);
	assert_int_equal(talk_count(&w, MQTT_DROPPED), strcmp(how, "drop") == 0);
	assert_int_equal(takes_all(comes_back(&w, "b")), 3);
	assert_int_equal(takes_all(comes_back(&w, "c")), 3);
	world_close(&w);
}

static void test_refused_by_a_share(void **state)
{
	(void)state;
	shared("drop");
	shared("refuse");
}

/* ---- sessions ---- */

static struct mqtt_connack asks(struct world *w, const char *name, uint32_t expiry, struct memconn **ret)
{
	struct memconn *c = world_client(w);
	struct mqtt_connect p = { .version = MQTT_5, .client_id = span_str(name) };
	uint8_t array[TALK_BYTES];
	struct mqtt_connack back;
	const char *why = NULL;
	struct mqtt_writer out;
	struct mqtt_frame f;

	mqtt_props_init(&p.props);
	mqtt_props_init(&p.will_props);
	if (expiry)
		mqtt_props_set(&p.props, MQTT_P_SESSION_EXPIRY, expiry);
	mqtt_writer_init(&out, MQTT_5, array, sizeof(array));
	assert_int_equal(mqtt_put_connect(&out, &p), 0);
	send_written(c, &out);
	f = take_packet(c, MQTT_CONNACK);
	assert_int_equal(mqtt_parse_connack(&f, &back, &why), 0);
	*ret = c;
	return back;
}

/* Connected or away; who was known before is, and who wants none kept. */
static void test_sessions(void **state)
{
	struct memconn *a, *b, *c;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "sessions", "2");
	assert_int_equal(asks(&w, "a", 600, &a).code, MQTT_OK);
	assert_int_equal(asks(&w, "b", 60, &b).code, MQTT_OK);
	talk_bye(b);
	assert_int_equal(asks(&w, "c", 600, &c).code, MQTT_QUOTA);
	assert_int_equal(memconn_end(c), MEM_CLOSED);
	assert_string_equal(memconn_reason(c), "sessions");
	assert_int_equal(talk_service(&w)->topics->names.n, 2);
	assert_int_equal(talk_count(&w, MQTT_SESSIONS_REFUSED), 1);
	c = world_client(&w);
	memconn_send(c, "\x10\x0d\0\4MQTT\4\0\0\0\0\1o", 15, 0);
	assert_said(c, "\x20\2\0\3");
	assert_int_equal(asks(&w, "c", 0, &c).code, MQTT_OK);
	assert_true(asks(&w, "b", 60, &b).session_present);
	memconn_reset(b);
	memdrive_advance(w.drive, 60 * SEC); /* its end makes room */
	assert_int_equal(asks(&w, "d", 600, &c).code, MQTT_OK);
	assert_int_equal(asks(&w, "e", 600, &c).code, MQTT_QUOTA);
	memconn_send(a, "\xe0\x07\0\5\x11\0\0\0\0", 9, 0);
	assert_int_equal(asks(&w, "e", 600, &c).code, MQTT_OK);
	assert_int_equal(talk_service(&w)->topics->kept_n, 2);
	world_close(&w);
}

/* ---- retained ---- */

static unsigned retains(struct memconn *c, const char *topic, size_t size, uint32_t expiry)
{
	static char text[4096];
	struct mqtt_frame f;

	memset(text, 'x', sizeof(text));
	text[size] = '\0';
	talk_publish(c, &(struct say){
				.topic = topic, .payload = text, .qos = 1, .id = 7, .retain = true, .expiry = expiry });
	f = take_packet(c, MQTT_PUBACK);
	return f.body.n > 2 && f.body.p[2] >= MQTT_UNSPECIFIED ? f.body.p[2] : MQTT_OK;
}

static void test_retained_bytes(void **state)
{
	struct memconn *a, *b;
	struct topics *t;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "retained_bytes", "4000", "retained", "3");
	t = talk_service(&w)->topics;
	a = talk_enter(&w, "a");
	assert_int_equal(retains(a, "1", 1000, 0), MQTT_OK);
	assert_int_equal(retains(a, "2", 1000, 0), MQTT_OK);
	assert_int_equal(retains(a, "3", 2000, 0), MQTT_QUOTA);
	assert_int_equal(retains(a, "2", 3000, 0), MQTT_QUOTA); /* what was there stays */
	assert_int_equal(retains(a, "2", 10, 0), MQTT_OK);
	assert_int_equal(retains(a, "3", 1500, 0), MQTT_OK);
	assert_int_equal(retains(a, "4", 1, 0), MQTT_QUOTA);                              /* too many */
	assert_int_equal(retains(a, "$SYS/broker/connection/x/state", 1, 0), MQTT_QUOTA); /* it is a client's */
	assert_int_equal(talk_count(&w, MQTT_REFUSED), 4);
	b = talk_enter(&w, "b");
	talk_subscribe(b, "4", 0);
	talk_publish(a, &(struct say){ .topic = "4", .payload = "x", .retain = true });
	talk_take(b); /* it is not retained, but not dropped either */
	assert_int_equal(talk_count(&w, MQTT_REFUSED), 4);
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 0);
	assert_int_equal(retains(a, "1", 0, 0), MQTT_OK);
	assert_int_equal(retains(a, "2", 0, 0), MQTT_OK);
	assert_int_equal(retains(a, "3", 0, 0), MQTT_OK);
	assert_int_equal(t->retained_bytes, 0);
	world_close(&w);
}

/* They go when their time has come, and not when somebody asks. */
static void test_retained_sweep(void **state)
{
	enum { MANY = 1000 };
	struct memconn *a;
	struct topics *t;
	char topic[20];
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
	t = talk_service(&w)->topics;
	a = talk_enter(&w, "a");
	retains(a, "for ever", 1, 0);
	retains(a, "longer", 1, 100);
	for (int i = 0; i < MANY; i++) {
		snprintf(topic, sizeof(topic), "$x/%d", i);
		retains(a, topic, 1, 10);
	}
	retains(a, "$x/0", 1, 50);
	retains(a, "$x/1", 1, 0);
	retains(a, "$x/2", 0, 0);
	assert_int_equal(names_count(t->retained), MANY + 1);
	memdrive_advance(w.drive, 10 * SEC - MSEC);
	assert_int_equal(names_count(t->retained), MANY + 1);
	memdrive_advance(w.drive, MSEC);
	assert_int_equal(names_count(t->retained), 4);
	memdrive_advance(w.drive, 40 * SEC);
	assert_int_equal(names_count(t->retained), 3);
	retains(a, "soon", 1, 1);
	memdrive_advance(w.drive, SEC);
	assert_int_equal(names_count(t->retained), 3);
	memdrive_advance(w.drive, 49 * SEC);
	assert_int_equal(names_count(t->retained), 2);
	assert_int_equal(t->retained_ends.n, 0);
	world_close(&w);
}

/* ---- identifiers of one delivery ---- */

enum { LEVELS = 9, FILTERS = 1 << LEVELS };

/* All that match a/a/a/...: each level is itself or a plus. */
static void subscribe_all(struct memconn *c)
{
	for (unsigned i = 0; i < FILTERS; i++) {
		struct mqtt_list l = { .type = MQTT_SUBSCRIBE, .id = 1 };
		struct mqtt_sub sub = { .qos = i == FILTERS - 1 ? 1 : 0 };
		uint8_t array[256], list[64];
		char filter[2 * LEVELS];
		struct mqtt_writer out, in;

		for (unsigned k = 0; k < LEVELS; k++) {
			filter[2 * k] = i >> k & 1 ? '+' : 'a';
			filter[2 * k + 1] = k == LEVELS - 1 ? '\0' : '/';
		}
		sub.filter = span_str(filter);
		mqtt_writer_init(&in, MQTT_5, list, sizeof(list));
		assert_int_equal(mqtt_put_sub(&in, &sub), 0);
		mqtt_props_init(&l.props);
		mqtt_props_set(&l.props, MQTT_P_SUB_ID, 1000 * i + 1);
		l.list = mqtt_written(&in);
		mqtt_writer_init(&out, MQTT_5, array, sizeof(array));
		assert_int_equal(mqtt_put_list(&out, &l), 0);
		send_written(c, &out);
		take_packet(c, MQTT_SUBACK);
	}
}

/* Each identifier once. */
static struct mqtt_publish takes_ids(struct memconn *c)
{
	struct mqtt_publish p = talk_take(c);
	struct span at = p.props.raw;
	bool was[FILTERS] = {};
	unsigned n = 0;

	for (uint32_t id; mqtt_sub_id_next(&at, &id); n++) {
		assert_int_equal(id % 1000, 1);
		assert_true(id / 1000 < FILTERS && !was[id / 1000]);
		was[id / 1000] = true;
	}
	assert_int_equal(n, FILTERS);
	return p;
}

static void test_many_identifiers(void **state)
{
	static const char topic[] = "a/a/a/a/a/a/a/a/a";
	struct memconn *a, *b;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
	a = talk_enter(&w, "a");
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 600 }, false);
	subscribe_all(b);
	talk_publish(a, &(struct say){ .topic = topic, .payload = "x" });
	takes_ids(b);
	assert_int_equal(publishes(a, topic, "y", 1), MQTT_OK);
	assert_int_equal(takes_ids(b).qos, 1);
	memconn_reset(b); /* and all of them again */
	b = comes_back(&w, "b");
	assert_true(takes_ids(b).dup);
	world_close(&w);
}

/* ---- rates ---- */

static void test_message_rate(void **state)
{
	enum { MANY = 40, RATE = 10 };
	struct memconn *a, *b;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "message_rate", "10");
	a = talk_hello(&w, &(struct hello){ .name = "a", .clean = true, .keep_alive = 1 }, false);
	b = talk_enter(&w, "b");
	talk_subscribe(b, "t", 0);
	for (int i = 0; i < MANY; i++)
		memconn_send(a, "\x30\5\0\1t\0x", 7, 0);
	memconn_send(a, "\xc0\0", 2, 0);
	assert_int_equal(takes_all(b), RATE + 1); /* a second's worth at once */
	for (int i = RATE + 1; i < MANY; i++) {
		memdrive_advance(w.drive, SEC / RATE - MSEC);
		assert_int_equal(takes_all(b), 0);
		memdrive_advance(w.drive, MSEC);
		assert_int_equal(takes_all(b), 1);
	}
	assert_said(a, "");
	memdrive_advance(w.drive, SEC / RATE); /* its PINGREQ, and it has been alive all the time */
	assert_said(a, "\xd0\0");
	assert_int_equal(talk_count(&w, MQTT_PAUSED), MANY - RATE);
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 0);
	memdrive_advance(w.drive, SEC + SEC / 2);
	take_packet(a, MQTT_DISCONNECT);
	assert_string_equal(memconn_reason(a), "keep-alive");
	world_close(&w);
}

/* One packet may be more than a second's worth: the next one waits for as long as it takes. */
static void test_byte_rate(void **state)
{
	struct memconn *a, *b;
	char large[3001] = "";
	struct world w;

	(void)state;
	memset(large, 'x', sizeof(large) - 1);
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "byte_rate", "1000");
	a = talk_enter(&w, "a");
	b = talk_enter(&w, "b");
	talk_subscribe(b, "t", 0);
	memdrive_advance(w.drive, 10 * SEC);
	talk_publish(a, &(struct say){ .topic = "t", .payload = large });
	talk_publish(a, &(struct say){ .topic = "t", .payload = "x" });
	assert_int_equal(takes_all(b), 1);
	memdrive_advance(w.drive, 2 * SEC);
	assert_int_equal(takes_all(b), 0);
	memdrive_advance(w.drive, SEC / 50);
	assert_int_equal(takes_all(b), 1);
	talk_publish(b, &(struct say){ .topic = "t", .payload = "each for himself" });
	assert_int_equal(takes_all(b), 1);
	world_close(&w);
}

/* Whoever waits can be taken over, and told of the end. */
static void test_paused_and_gone(void **state)
{
	struct memconn *a;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "message_rate", "1");
	for (int i = 0; i < 3; i++) {
		a = talk_enter(&w, "a");
		for (int k = 0; k < 10; k++)
			memconn_send(a, "\x30\5\0\1t\0x", 7, 0);
	}
	talk_enter(&w, "a");
	assert_int_equal(take_packet(a, MQTT_DISCONNECT).body.p[0], MQTT_TAKEN_OVER);
	a = talk_enter(&w, "b");
	for (int k = 0; k < 10; k++)
		memconn_send(a, "\x30\5\0\1t\0x", 7, 0);
	memdrive_stop(w.drive);
	assert_int_equal(take_packet(a, MQTT_DISCONNECT).body.p[0], MQTT_SHUTTING_DOWN);
	world_close(&w);
}

/* ---- what the log is told ---- */

static struct {
	char last[200];
	unsigned lines;
	uint64_t sum;
} told;

static void on_limit(struct host *h, struct sess *s, const struct limited *what)
{
	(void)h, (void)s;
	snprintf(told.last, sizeof(told.last), "%s %.*s %.*s %u", what->reason, (int)what->client.n, what->client.p,
		 (int)what->topic.n, what->topic.p, what->session != 0);
	told.lines++;
	told.sum += what->count;
}

static void open_with_rules(struct world *w, struct access **ret)
{
	BUF_AUTO struct buf why = BUF_INIT(256);
	struct mem_setup setup = {};
	struct rules *r;

	memset(&told, 0, sizeof(told));
	assert_int_equal(access_new(ret), 0);
	assert_int_equal(rules_new(&r), 0);
	assert_int_equal(rules_add(r, true, "* * topics:ok/#", &why), 0);
	access_set(*ret, NULL, r);
	rules_unref(r);
	setup.access = *ret;
	world_open(w, &mqtt_proto, &setup, "sys_interval", "0");
}

/* Not dropped; the first at once, the others of the second in one line, and the sum is right. */
static void test_denied(void **state)
{
	struct access *access;
	struct memconn *a;
	struct world w;

	(void)state;
	open_with_rules(&w, &access);
	a = talk_enter(&w, "a");
	memconn_sess(a)->host->limit = on_limit;
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(publishes(a, i == 999 ? "last" : "other", "x", 1 + i % 2), MQTT_NOT_AUTHORIZED);
	assert_string_equal(told.last, "publish-denied a other 1");
	assert_int_equal(told.lines, 1);
	memdrive_advance(w.drive, SEC);
	assert_string_equal(told.last, "publish-denied a last 1");
	assert_int_equal(told.lines, 2);
	assert_int_equal(told.sum, 1000);
	memdrive_advance(w.drive, 20 * SEC);
	assert_int_equal(told.lines, 2);
	talk_publish(a, &(struct say){ .topic = "again", .payload = "x" }); /* a first one again */
	assert_string_equal(told.last, "publish-denied a again 1");
	talk_publish(a, &(struct say){ .topic = "again", .payload = "x" });
	talk_publish(a, &(struct say){ .topic = "ok/x", .payload = "x" });
	assert_int_equal(talk_count(&w, MQTT_DENIED), 1002);
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 0);
	world_close(&w); /* what is not told yet is told then */
	assert_int_equal(told.sum, 1002);
	access_free(&access);
}

static void test_denied_filter_and_will(void **state)
{
	struct access *access;
	struct memconn *a, *b;
	struct world w;

	(void)state;
	open_with_rules(&w, &access);
	a = talk_enter(&w, "a");
	memconn_sess(a)->host->limit = on_limit;
	memconn_send(a, "\x82\x09\0\x01\0\0\x03no/\0", 11, 0);
	assert_int_equal(take_packet(a, MQTT_SUBACK).body.p[3], MQTT_NOT_AUTHORIZED);
	assert_string_equal(told.last, "subscribe-denied a no/ 1");
	b = world_client(&w);
	talk_greet(b, &(struct hello){ .name = "b", .will = "gone" });
	talk_greeted(b, MQTT_NOT_AUTHORIZED);
	assert_string_equal(told.last, "will-denied b gone 1");
	assert_int_equal(told.sum, 2);
	assert_int_equal(talk_count(&w, MQTT_DENIED), 2);
	world_close(&w);
	access_free(&access);
}

/* ---- who it is ---- */

static const char *called(struct memconn *c)
{
	static char name[100];
	struct span s = sess_client(memconn_sess(c));

	snprintf(name, sizeof(name), "%.*s", (int)s.n, s.p);
	return name;
}

/* As it called itself, whether it has a session, had one, or got none. */
static void test_client_of_a_session(void **state)
{
	struct memconn *a, *b;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "sessions", "0");
	a = world_client(&w);
	assert_string_equal(called(a), "");
	talk_greet(a, &(struct hello){ .name = "a", .clean = true });
	talk_greeted(a, MQTT_OK);
	assert_string_equal(called(a), "a");
	memconn_window(a, 0); /* what does not read is there yet when it is over */
	b = talk_enter(&w, "a");
	assert_string_equal(called(a), "a"); /* taken over */
	assert_string_equal(called(b), "a");
	b = world_client(&w);
	memconn_window(b, 0);
	talk_greet(b, &(struct hello){ .name = "refused", .expiry = 100 });
	assert_string_equal(memconn_reason(b), "sessions");
	assert_string_equal(called(b), "refused");
	b = world_client(&w);
	talk_greet(b, &(struct hello){ .name = "", .clean = true });
	talk_greeted(b, MQTT_OK);
	assert_memory_equal(called(b), "auto-", 5);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_old),
		cmocka_unit_test(test_refused_bytes),
		cmocka_unit_test(test_refused_for_a_slow_one),
		cmocka_unit_test(test_refused_by_a_share),
		cmocka_unit_test(test_sessions),
		cmocka_unit_test(test_retained_bytes),
		cmocka_unit_test(test_retained_sweep),
		cmocka_unit_test(test_many_identifiers),
		cmocka_unit_test(test_message_rate),
		cmocka_unit_test(test_byte_rate),
		cmocka_unit_test(test_paused_and_gone),
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_denied_filter_and_will),
		cmocka_unit_test(test_client_of_a_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
