/*
 * test_mqtt_time.c - what the broker does when time passes: keep-alive, wills, sessions and messages that are over. To
 * 100 ms.
 */
#include "proto/mqtt/test_talk.h"

#include "base/fault.h"
#include "store/topics_priv.h"

#define STEP (100 * MSEC)

static struct world w;

static int up(void **state)
{
	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
	return 0;
}

static int down(void **state)
{
	(void)state;
	world_close(&w);
	return 0;
}

static size_t sessions(void)
{
	return talk_service(&w)->topics->names.n;
}

static void pass(uint64_t ns)
{
	memdrive_advance(w.drive, ns);
}

/* Nothing comes until so much time is over, and then something does. */
static void silent_for(struct memconn *c, uint64_t ns)
{
	pass(ns - STEP);
	assert_said(c, "");
	pass(STEP);
}

/* One and a half times what it was; any packet begins it again; then 0x8d. */
static void test_keep_alive(void **state)
{
	struct memconn *c, *never;

	(void)state;
	never = talk_enter(&w, "never");
	c = talk_hello(&w, &(struct hello){ .name = "c", .clean = true, .keep_alive = 10 }, false);
	pass(15 * SEC - STEP);
	assert_said(c, "");
	memconn_send(c, "\xc0\0", 2, 0);
	assert_said(c, "\xd0\0");
	silent_for(c, 15 * SEC);
	assert_said(c, "\xe0\x01\x8d");
	assert_string_equal(memconn_reason(c), "keep-alive");
	pass(100000 * SEC);
	assert_int_equal(memconn_end(never), MEM_OPEN);
}

/* Nor do parts of a packet, be it the header that comes byte by byte: only a whole one counts. */
static void test_keep_alive_of_a_drip(void **state)
{
	static const char drips[] = "\x30\xff\xff\x03\0\1tabcdefgh";
	struct memconn *c;

	(void)state;
	c = talk_hello(&w, &(struct hello){ .name = "c", .clean = true, .keep_alive = 10 }, false);
	for (int i = 0; i < 2; i++) {
		pass(7 * SEC);
		memconn_send(c, drips + i, 1, 0);
		assert_said(c, "");
	}
	pass(1 * SEC);
	assert_string_equal(memconn_reason(c), "keep-alive");
}

/* Who asked for no keep alive is held to the service's least rate, as everybody is, while a packet is under way. */
static void test_drip_for_ever(void **state)
{
	static const char drips[] = "\x30\xff\xff\x03\0\1tabcdefgh";
	struct memconn *c, *idle;

	(void)state;
	world_open(&w, &mqtt_proto, (&(struct mem_setup){ .min_rate = 1 }), "sys_interval", "0");
	idle = talk_enter(&w, "idle");
	c = talk_enter(&w, "c");
	for (int i = 0; i < 10 && memconn_end(c) == MEM_OPEN; i++) {
		memconn_send(c, drips + i, 1, 0);
		pass(30 * SEC);
	}
	assert_string_equal(memconn_reason(c), "too-slow");
	assert_int_equal(memconn_end(idle), MEM_OPEN);
}

/* What the server sends does not keep a client alive. */
static void test_keep_alive_of_a_listener(void **state)
{
	struct memconn *a, *b;

	(void)state;
	a = talk_enter(&w, "a");
	b = talk_hello(&w, &(struct hello){ .name = "b", .clean = true, .keep_alive = 1, .will = "w" }, false);
	talk_subscribe(b, "t", 0);
	talk_subscribe(a, "w", 0);
	for (int i = 0; i < 14; i++) {
		talk_publish(a, &(struct say){ .topic = "t", .payload = "x" });
		pass(STEP);
		talk_take(b);
	}
	pass(STEP);
	take_packet(b, MQTT_DISCONNECT);
	talk_take(a); /* its will */
}

static void test_will_delay(void **state)
{
	struct memconn *a, *b;

	(void)state;
	a = talk_enter(&w, "a");
	talk_subscribe(a, "w/#", 0);
	b = talk_hello(&w, &(struct hello){ .name = "b", .clean = true, .expiry = 60, .will = "w/b", .will_delay = 10 },
		       false);
	memconn_reset(b);
	silent_for(a, 10 * SEC);
	talk_take(a);
	pass(100 * SEC);
	assert_said(a, ""); /* once */
	/* the session is over first: then */
	b = talk_hello(&w, &(struct hello){ .name = "b", .clean = true, .expiry = 5, .will = "w/b", .will_delay = 10 },
		       false);
	memconn_reset(b);
	silent_for(a, 5 * SEC);
	talk_take(a);
	/* it comes back in time, and goes with a word */
	b = talk_hello(&w, &(struct hello){ .name = "b", .clean = true, .expiry = 60, .will = "w/b", .will_delay = 10 },
		       false);
	memconn_reset(b);
	pass(10 * SEC - STEP);
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 60 }, true);
	pass(100 * SEC);
	talk_bye(b);
	pass(100 * SEC);
	assert_said(a, "");
}

/* Somebody comes under its name, and is refused: its will is due all the same, and its session ends, when they would have been. */
static void test_will_of_one_refused(void **state)
{
	struct memconn *a, *b;

	(void)state;
	a = talk_enter(&w, "a");
	talk_subscribe(a, "w/#", 0);
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 60, .will = "w/b", .will_delay = 10 }, false);
	memconn_reset(b);
	for (int i = 0; i < 4; i++) {
		pass(2 * SEC);
		b = world_client(&w);
		talk_greet(b, &(struct hello){ .name = "b", .expiry = 600, .max_packet = 8, .will = "w/another" });
		assert_string_equal(memconn_reason(b), "packet-too-large");
	}
	silent_for(a, 2 * SEC);
	assert_true(span_is(talk_take(a).topic, "w/b"));
	b = world_client(&w);
	talk_greet(b, &(struct hello){ .name = "b", .expiry = 600, .max_packet = 8 });
	pass(50 * SEC - STEP);
	assert_int_equal(sessions(), 2);
	pass(STEP);
	assert_int_equal(sessions(), 1);
	assert_int_equal(talk_room(a)->alarms.n, 0);
	assert_said(a, "");
}

/* How long a will lives counts from when it is published. */
static void test_will_expiry(void **state)
{
	struct memconn *a, *b;
	struct mqtt_publish p;

	(void)state;
	a = talk_enter(&w, "a");
	talk_subscribe(a, "w/#", 0);
	b = talk_hello(&w, &(struct hello){ .name = "b", .clean = true, .will = "w/b", .will_expiry = 10 }, false);
	pass(3600 * SEC);
	memconn_reset(b);
	p = talk_take(a);
	assert_int_equal(p.props.expiry, 10);
	b = talk_hello(&w,
		       &(struct hello){ .name = "b",
					.clean = true,
					.expiry = 60,
					.will = "w/b",
					.will_expiry = 10,
					.will_delay = 7,
					.will_retain = true },
		       false);
	pass(3600 * SEC);
	memconn_reset(b);
	pass(7 * SEC);
	p = talk_take(a);
	assert_int_equal(p.props.expiry, 10);
	pass(4 * SEC);
	talk_subscribe(a, "w/b", 0);
	p = talk_take(a);
	assert_true(p.retain);
	assert_int_equal(p.props.expiry, 6);
	pass(6 * SEC);
	talk_subscribe(a, "w/b", 0);
	assert_said(a, "");
}

static void test_session_expiry(void **state)
{
	struct memconn *b;

	(void)state;
	for (int i = 0; i < 2; i++) {
		b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 60 }, false);
		memconn_reset(b);
		pass(60 * SEC - STEP);
		b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 60 }, true);
		memconn_eof(b);
		pass(60 * SEC);
		assert_int_equal(sessions(), 0);
	}
	/* another time with DISCONNECT */
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 60 }, false);
	memconn_send(b, "\xe0\x07\0\x05\x11\0\0\0\x0a", 9, 0);
	pass(10 * SEC - STEP);
	assert_int_equal(sessions(), 1);
	pass(STEP);
	assert_int_equal(sessions(), 0);
}

/* Counted down while it waits; not sent when it is over, and not kept either. */
static void test_message_expiry(void **state)
{
	struct memconn *a, *b;
	struct mqtt_publish p;

	(void)state;
	a = talk_enter(&w, "a");
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 600 }, false);
	talk_subscribe(b, "t", 1);
	memconn_reset(b);
	talk_publish(a, &(struct say){ .topic = "t", .payload = "10", .qos = 1, .id = 1, .expiry = 10 });
	talk_publish(a, &(struct say){ .topic = "t", .payload = "20", .qos = 1, .id = 1, .expiry = 20 });
	talk_publish(a, &(struct say){ .topic = "t", .payload = "never", .qos = 1, .id = 1 });
	pass(10 * SEC);
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 600 }, true);
	p = talk_take(b);
	assert_true(span_is(p.payload, "20"));
	assert_int_equal(p.props.expiry, 10);
	p = talk_take(b);
	assert_true(span_is(p.payload, "never"));
	assert_false(p.props.has & MQTT_HAS(MQTT_P_EXPIRY));
	assert_int_equal(talk_count(&w, MQTT_EXPIRED), 1);
	memconn_reset(b);
	/* under way when its time was over: it must come again, with nothing left */
	pass(100 * SEC);
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 600 }, true);
	p = talk_take(b);
	assert_true(p.dup && span_is(p.payload, "20"));
	assert_int_equal(p.props.expiry, 0);
}

static void test_retained_expiry(void **state)
{
	struct memconn *a;
	struct mqtt_publish p;

	(void)state;
	a = talk_enter(&w, "a");
	talk_publish(a, &(struct say){ .topic = "t", .payload = "x", .retain = true, .expiry = 10 });
	pass(10 * SEC - STEP);
	talk_subscribe(a, "t", 0);
	p = talk_take(a);
	assert_int_equal(p.props.expiry, 1);
	pass(STEP);
	talk_subscribe(a, "t", 0);
	assert_said(a, "");
	assert_int_equal(names_count(talk_service(&w)->topics->retained), 0);
}

/* Who comes and goes leaves nothing behind but what it asked for: one session, one alarm. */
static void test_comes_and_goes(void **state)
{
	enum { TIMES = 10000 };
	struct memconn *a, *b;

	(void)state;
	a = talk_enter(&w, "a");
	for (int i = 0; i < TIMES; i++) { /* clean each time: another session each time */
		b = talk_hello(&w,
			       &(struct hello){
				       .name = "b", .clean = true, .expiry = 3600, .will = "w", .will_delay = 60 },
			       false);
		talk_subscribe(b, "t/#", 1);
		memconn_reset(b);
	}
	assert_int_equal(sessions(), 2);
	assert_int_equal(talk_room(a)->alarms.n, 1);
	assert_int_equal(talk_room(a)->who_left.n, 1);
	b = talk_hello(&w, &(struct hello){ .name = "b", .clean = true, .expiry = 3600 }, false);
	for (int i = 0; i < TIMES; i++) { /* and the same one again and again */
		memconn_reset(b);
		b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 3600, .will = "w", .will_delay = 60 }, true);
	}
	assert_int_equal(sessions(), 2);
	assert_int_equal(talk_room(a)->alarms.n, 0); /* it is here */
	memconn_reset(b);
	assert_int_equal(talk_room(a)->alarms.n, 1);
	pass(3600 * SEC);
	assert_int_equal(sessions(), 1);
	assert_int_equal(talk_room(a)->alarms.n, 0);
	assert_int_equal(talk_room(a)->who_left.n, 0);
	assert_int_equal(talk_service(&w)->topics->subs_n, 0);
}

/* What has ended is not waited for: its alarm had its name, which may be long. */
static void test_ended_before_its_time(void **state)
{
	enum { TIMES = 100 };
	struct memconn *a, *b;
	char name[20];

	(void)state;
	a = talk_enter(&w, "a");
	for (int i = 0; i < TIMES; i++) {
		snprintf(name, sizeof(name), "b%d", i);
		memconn_reset(talk_hello(&w, &(struct hello){ .name = name, .expiry = 3600 }, false));
		assert_int_equal(talk_room(a)->alarms.n, 1);
		if (i % 2) {
			talk_bye(talk_enter(&w, name)); /* by a clean start */
		} else {
			b = talk_hello(&w, &(struct hello){ .name = name, .expiry = 3600 }, true);
			memconn_send(b, "\xe0\x07\0\x05\x11\0\0\0\0", 9, 0); /* by its last word */
		}
		assert_int_equal(sessions(), 1);
		assert_int_equal(talk_room(a)->alarms.n, 0);
		assert_int_equal(talk_room(a)->who_left.n, 0);
	}
}

/* The alarm is in the loop that it left: that one is told. Here it plays the part of both. */
static void test_comes_back_elsewhere(void **state)
{
	struct mem_away letter;
	struct memconn *a;

	(void)state;
	world_open(&w, &mqtt_proto, (&(struct mem_setup){ .loops = 2 }), "sys_interval", "0");
	a = talk_enter(&w, "a");
	for (int late = 0; late < 2; late++) {
		struct memconn *b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 3600 }, late);

		memconn_reset(b);
		assert_int_equal(talk_room(a)->alarms.n, 1);
		list_entry(talk_service(&w)->topics->all.prev, struct subscriber, all)->left = 1;
		b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 3600 }, true);
		assert_int_equal(memdrive_away(w.drive, &letter), 1);
		assert_int_equal(letter.loop, 1);
		if (late)
			memconn_reset(b);
		memdrive_shard_post(w.drive, letter.tag, letter.mail);
		assert_int_equal(talk_room(a)->alarms.n, late); /* which is another one then */
	}
}

/*
 * Thousands whose time is over in the same moment, as after a restart: who hears their wills has its turn in between, so its queue has room
 * for them.
 */
static void test_many_at_once(void **state)
{
	enum { MANY = 2000 };
	struct memconn *a;
	char name[20];

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "queue_bytes", "40K");
	a = talk_enter(&w, "a");
	talk_subscribe(a, "w", 0);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "b%d", i);
		memconn_reset(talk_hello(
			&w, &(struct hello){ .name = name, .expiry = 60, .will = "w", .will_delay = 60 }, false));
	}
	silent_for(a, 60 * SEC);
	for (int i = 0; i < MANY; i++)
		talk_take(a);
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 0);
	assert_int_equal(sessions(), 1);
}

#ifdef GUICHET_FAULTS
/* Who goes when there is no memory at all: its will comes, and its session ends, when it should. */
static void test_leaves_without_memory(void **state)
{
	struct memconn *a, *b;

	(void)state;
	a = talk_enter(&w, "a");
	talk_subscribe(a, "w", 0);
	b = talk_hello(&w, &(struct hello){ .name = "b", .clean = true, .expiry = 60, .will = "w", .will_delay = 10 },
		       false);
	fault_arm(FAULT_MEM, 1, 0, true);
	memconn_reset(b);
	fault_arm(FAULT_MEM, 0, 0, false);
	assert_int_equal(talk_room(a)->alarms.n, 1);
	silent_for(a, 10 * SEC);
	(void)talk_take(a);
	pass(50 * SEC);
	assert_int_equal(sessions(), 1);
}
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_keep_alive),
		TEST(test_keep_alive_of_a_listener),
		TEST(test_will_delay),
		TEST(test_will_of_one_refused),
		TEST(test_will_expiry),
		TEST(test_session_expiry),
		TEST(test_message_expiry),
		TEST(test_retained_expiry),
		TEST(test_comes_and_goes),
		TEST(test_ended_before_its_time),
		cmocka_unit_test_teardown(test_comes_back_elsewhere, down),
		cmocka_unit_test_teardown(test_many_at_once, down),
		TEST(test_keep_alive_of_a_drip),
		cmocka_unit_test_teardown(test_drip_for_ever, down),
#ifdef GUICHET_FAULTS
		TEST(test_leaves_without_memory),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
