/* test_mqtt_events.c - what happens in the server is below guichet/ while somebody subscribes there; and nobody else publishes there. */
#include "proto/mqtt/test_talk.h"

#include "base/mem.h"

#define LOOK (50 * MSEC)

struct events_world {
	struct world w;
	struct events *e;
};

static void open_events_with(struct events_world *v, const char *queue)
{
	v->e = mem_zalloc(events_size());
	assert_non_null(v->e);
	world_open(&v->w, &mqtt_proto, (&(struct mem_setup){ .events = v->e }), "sys_interval", "0", "queue", queue);
}

static void open_events(struct events_world *v)
{
	open_events_with(v, "1000");
}

static void close_events(struct events_world *v)
{
	world_close(&v->w);
	mem_free(v->e);
}

static void put(struct events_world *v, const char *text)
{
	events_put(v->e, text, strlen(text));
}

static void assert_heard(struct memconn *c, const char *topic, const char *payload)
{
	struct mqtt_publish p = talk_take(c);

	assert_int_equal(p.topic.n, strlen(topic));
	assert_memory_equal(p.topic.p, topic, p.topic.n);
	assert_int_equal(p.payload.n, strlen(payload));
	assert_memory_equal(p.payload.p, payload, p.payload.n);
}

static bool wanted(struct events_world *v, struct memconn *c)
{
	return events_wanted(v->e, memconn_sess(c)->host->now);
}

/* From the moment of SUBSCRIBE until the last one has left or unsubscribed. */
static void test_while_somebody_listens(void **state)
{
	static const char event[] =
		"{\"time\":\"t\",\"level\":\"info\",\"event\":\"closed\",\"session\":\"1\",\"service\":\"echo\"}";
	static const char other[] = "{\"time\":\"t\",\"level\":\"info\",\"event\":\"reloaded\",\"text\":\"1 change\"}";
	struct memconn *a, *all, *b;
	struct events_world v;

	(void)state;
	open_events(&v);
	a = talk_enter(&v.w, "a");
	all = talk_enter(&v.w, "all");
	talk_subscribe(all, "#", 0);
	put(&v, event);
	memdrive_advance(v.w.drive, 10 * SEC);
	assert_false(wanted(&v, a));
	talk_subscribe(a, "guichet/#", 0);
	assert_true(wanted(&v, a));
	put(&v, event);
	put(&v, other);
	memdrive_advance(v.w.drive, LOOK);
	assert_heard(a, "guichet/door/closed/echo", event);
	assert_heard(a, "guichet/server/reloaded", other);
	b = talk_hello(&v.w, &(struct hello){ .name = "b", .clean = true, .expiry = 10 }, false);
	talk_subscribe(b, "guichet/+/reloaded", 0);
	memconn_reset(a);
	memdrive_advance(v.w.drive, 5 * SEC);
	put(&v, event);
	put(&v, other);
	memdrive_advance(v.w.drive, LOOK);
	assert_heard(b, "guichet/server/reloaded", other);
	assert_said(b, "");
	memconn_reset(b); /* its subscription stays until its session is over */
	memdrive_advance(v.w.drive, 15 * SEC);
	assert_false(wanted(&v, all));
	assert_said(all, ""); /* a wildcard at the start does not lead there */
	close_events(&v);
}

static void test_too_many(void **state)
{
	struct memconn *a;
	struct events_world v;
	char text[80];

	(void)state;
	open_events(&v);
	a = talk_enter(&v.w, "a");
	talk_subscribe(a, "guichet/server/#", 0);
	for (unsigned i = 0; i < EVENTS_KEPT + 7; i++) {
		snprintf(text, sizeof(text), "{\"time\":\"t\",\"level\":\"info\",\"event\":\"e%u\"}", i);
		put(&v, text);
	}
	memdrive_advance(v.w.drive, LOOK);
	for (unsigned i = 7; i < EVENTS_KEPT + 7; i++)
		(void)talk_take(a);
	assert_heard(a, "guichet/server/events-lost", "{\"event\":\"events-lost\",\"count\":7}");
	close_events(&v);
}

/* Whoever has taken over a process may say what it likes: topics stay topics. */
static void test_names(void **state)
{
	static const char *const odd[][2] = {
		{ "{\"time\":\"t\",\"event\":\"a/b\",\"service\":\"x/+ #\"}", "guichet/door/a_b/x____" },
		{ "{\"time\":\"t\",\"text\":\",\\\"event\\\":\\\"no\\\"\",\"event\":\"yes\"}", "guichet/server/yes" },
		{ "x,\"event\":\"e\x01\xff", "guichet/server/e__" },
	};
	struct memconn *a;
	struct events_world v;

	(void)state;
	open_events(&v);
	a = talk_enter(&v.w, "a");
	talk_subscribe(a, "guichet/#", 0);
	put(&v, "no event");
	put(&v, ",\"event\":\"");
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		put(&v, odd[i][0]);
	memdrive_advance(v.w.drive, LOOK);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		assert_heard(a, odd[i][1], odd[i][0]);
	assert_said(a, "");
	close_events(&v);
}

static struct events *lines; /* where the log writes its events */
static unsigned limits;

static void log_limit(struct host *h, struct sess *s, const struct limited *what)
{
	static const char line[] = "{\"time\":\"t\",\"event\":\"limit\",\"service\":\"mqtt\"}";

	(void)h, (void)s;
	assert_string_equal(what->reason, "queue-full");
	limits++;
	events_put(lines, line, strlen(line));
}

/* Who does not read what happens: that something was lost by that is no event; that something else was, is one. */
static void test_not_read(void **state)
{
	enum { MANY = 30, SIZE = 4000 };
	char text[SIZE] = "{\"time\":\"t\",\"event\":\"x\",\"text\":\"";
	struct events_world v;
	struct memconn *a, *b;

	(void)state;
	memset(text + strlen(text), 'x', SIZE - 1 - strlen(text));
	open_events_with(&v, "2");
	lines = v.e;
	limits = 0;
	a = talk_enter(&v.w, "a");
	b = talk_enter(&v.w, "b");
	memconn_sess(a)->host->limit = log_limit;
	talk_subscribe(a, "guichet/#", 0);
	talk_subscribe(a, "t", 0);
	memconn_window(a, 0);
	for (int i = 0; i < 2 * MANY; i++) {
		put(&v, text);
		memdrive_advance(v.w.drive, i == MANY ? 10 * SEC : LOOK);
	}
	assert_true(talk_count(&v.w, MQTT_DROPPED) > 0);
	assert_int_equal(limits, 0);
	talk_publish(b, &(struct say){ .topic = "t", .payload = "x" });
	memdrive_advance(v.w.drive, 10 * SEC);
	assert_int_equal(limits, 1);
	close_events(&v);
}

/* No client publishes there, nor has its will there. */
static void test_nobody_else(void **state)
{
	static const uint8_t old[] = "\x10\x0f\0\4MQTT\4\2\0\0\0\3old"
				     "\x32\x0b\0\6$SYS/x\0\3x";
	struct memconn *a;
	struct events_world v;

	(void)state;
	open_events(&v);
	a = talk_enter(&v.w, "a");
	talk_publish(a, &(struct say){ .topic = "guichets/x", .payload = "x", .qos = 1, .id = 1 });
	assert_int_equal(take_packet(a, MQTT_PUBACK).total, 5); /* 0x10: nobody hears it */
	talk_publish(a, &(struct say){ .topic = "guichet/door/closed/echo", .payload = "x", .qos = 1, .id = 2 });
	assert_said(a, "\x40\x03\0\x02\x87");
	talk_publish(a, &(struct say){ .topic = "guichet", .payload = "x" });
	talk_publish(a, &(struct say){ .topic = "$SYS/x", .payload = "x" });
	assert_said(a, "");
	a = world_client(&v.w); /* who could not be told, and would try for ever if he were sent away */
	memconn_send(a, old, sizeof(old) - 1, 0);
	assert_said(a, "\x20\x02\0\0"
		       "\x40\x02\0\x03");
	close_events(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_while_somebody_listens),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_nobody_else),
		cmocka_unit_test(test_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
