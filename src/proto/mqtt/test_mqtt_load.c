/*
 * test_mqtt_load.c - the broker when much comes: slow subscribers, long replays, other loops, and what an idle client
 * costs.
 */
#include <malloc.h>
#include <stdlib.h>

#include "base/fault.h"
#include "proto/mqtt/test_talk.h"
#include "store/topics_priv.h"

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t heap_now(void)
{
	return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes()
						       : mallinfo2().uordblks;
}

/* Who does not read loses what is above its queue, and nobody waits for it. */
static void slow(const char *option, const char *value, unsigned kept_most, unsigned kept_least)
{
	enum { TIMES = 20000 };
	struct memconn *a, *b, *c;
	unsigned got = 0;
	struct world w;

	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", option, value);
	a = talk_enter(&w, "a");
	b = talk_enter(&w, "b");
	c = talk_enter(&w, "c");
	talk_subscribe(b, "t", 0);
	talk_subscribe(c, "t", 0);
	memconn_window(b, 0);
	for (int i = 0; i < TIMES; i++) {
		talk_publish(a, &(struct say){ .topic = "t", .payload = "0123456789" });
		talk_take(c);
	}
	assert_true(memconn_peak(b) <= (64 << 10) + 100);
	memconn_window(b, MEM_NO_LIMIT);
	while (memconn_out(b).n) {
		talk_take(b);
		got++;
	}
	assert_int_equal(got + talk_count(&w, MQTT_DROPPED), TIMES);
	assert_true(got >= kept_least && got <= kept_most);
	talk_publish(a, &(struct say){ .topic = "t", .payload = "and on" });
	assert_true(span_is(talk_take(b).payload, "and on"));
	world_close(&w);
}

static void test_slow_subscriber(void **state)
{
	(void)state;
	slow("queue", "50", 50 + (66 << 10) / 16, 50);
	slow("queue_bytes", "10K", 100 + (66 << 10) / 16, 40);
}

/* Away: the queue is all that it has. */
static void test_queue_of_one_away(void **state)
{
	struct memconn *a, *b;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "queue", "3");
	a = talk_enter(&w, "a");
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 60 }, false);
	talk_subscribe(b, "t", 1);
	talk_bye(b);
	for (int i = 0; i < 5; i++) {
		talk_publish(a, &(struct say){ .topic = "t", .payload = "x", .qos = 1, .id = 1 });
		take_packet(a, MQTT_PUBACK);
	}
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 2);
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 60 }, true);
	for (int i = 0; i < 3; i++)
		talk_take(b);
	assert_said(b, "");
	world_close(&w);
}

/* In the topics r/00000 ...; size 0: up to its end. */
static void retain(struct memconn *c, int topics, const char *text, size_t size)
{
	for (int i = 0; i < topics; i++) {
		char topic[32];

		snprintf(topic, sizeof(topic), "r/%05d", i);
		talk_publish(c, &(struct say){ .topic = topic, .payload = text, .size = size, .retain = true });
	}
}

/* Each once, in the order of their topics, at the pace of who gets them; and others go on. */
static void test_long_replay(void **state)
{
	enum { TOPICS = 10000 };
	struct memconn *a, *b;
	unsigned got = 0;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "queue", "10", "queue_bytes", "8K");
	a = talk_enter(&w, "a");
	b = talk_enter(&w, "b");
	retain(a, TOPICS, "some text of a usual length, which is not long", 0);
	memconn_window(b, 1);
	talk_subscribe(a, "nothing", 0);
	memconn_send(b, "\x82\x07\0\1\0\0\1#\0", 9, 0);
	while (got < TOPICS) {
		struct span out;

		assert_true(memconn_queued(b) <= 66 << 10);
		memconn_window(b, 10000);
		out = memconn_out(b);
		if (got == 0 && out.n)
			take_packet(b, MQTT_SUBACK);
		while ((out = memconn_out(b)).n > 2 && out.n >= 2u + out.p[1]) {
			char topic[32];
			struct mqtt_publish p = talk_take(b);

			snprintf(topic, sizeof(topic), "r/%05u", got++);
			assert_true(span_is(p.topic, topic));
			assert_true(p.retain);
		}
		memconn_send(a, "\xc0\0", 2, 0);
		assert_said(a, "\xd0\0");
	}
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 0);
	world_close(&w);
}

/* What is too large for its subscriber takes no room in its output: others have their turn all the same, and it ends. */
static void test_replay_of_nothing(void **state)
{
	enum { TOPICS = 5000, MOST = 512 /* in one turn */ };
	struct memconn *a, *b;
	uint64_t n = 0, last = 0;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
	a = talk_enter(&w, "a");
	b = talk_hello(&w, &(struct hello){ .name = "b", .clean = true, .max_packet = 40 }, false);
	retain(a, TOPICS, "some text of a usual length, which is not long", 0);
	memdrive_auto(w.drive, false);
	for (int i = 0; i < 100; i++) /* in one step */
		memconn_send(b, "\x82\x07\0\1\0\0\1#\0", 9, 0);
	for (int i = 0; i < 3 || n > last; i++) {
		last = n;
		memdrive_turn(w.drive);
		n = talk_count(&w, MQTT_DROPPED);
		assert_true(n - last <= MOST);
	}
	assert_true(n >= TOPICS && n <= TOPICS + MOST); /* the last of these subscriptions has begun anew */
	assert_true(talk_count(&w, MQTT_RETAINED) == n);
	memdrive_auto(w.drive, true);
	world_close(&w);
}

/* One behind the other, also when there is nothing for the first. */
static void test_replays(void **state)
{
	struct memconn *a;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
	a = talk_enter(&w, "a");
	retain(a, 2, "x", 0);
	memconn_send(a, "\x82\x18\0\1\0\0\3no/\0\0\7r/00001\0\0\2no\0", 26, 0);
	take_packet(a, MQTT_SUBACK);
	assert_true(span_is(talk_take(a).topic, "r/00001"));
	assert_said(a, "");
	world_close(&w);
}

#ifdef GUICHET_FAULTS
enum { MANY = 70 }; /* letters of one step: they need memory */

/* The nth allocation fails while it publishes. Who does not know that something waits for him; NULL: nobody. */
static struct memconn *publishes_with_fault(struct world *w, struct memconn *const to[MANY], unsigned n)
{
	struct memconn *a = talk_enter(w, "a"), *last = NULL;
	unsigned deaf = 0;

	fault_arm(FAULT_MEM, n, 0, false);
	talk_publish(a, &(struct say){ .topic = "t", .payload = "x" });
	fault_arm(FAULT_MEM, 0, 0, false);
	for (unsigned i = 0; i < MANY; i++) {
		if (memconn_out(to[i]).n)
			continue;
		last = to[i];
		deaf++;
	}
	return deaf < MANY && !talk_count(w, MQTT_DROPPED) ? last : NULL;
}

static bool loses_a_wake(unsigned n, bool pings)
{
	struct memconn *to[MANY], *deaf;
	char name[8];
	struct world w;

	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "b%u", i);
		to[i] = talk_enter(&w, name);
		talk_subscribe(to[i], "t", 0);
	}
	deaf = publishes_with_fault(&w, to, n);
	if (deaf && pings) {
		memconn_send(deaf, "\xc0\0", 2, 0);
		take_packet(deaf, MQTT_PINGRESP);
	} else if (deaf) {
		talk_publish(talk_enter(&w, "c"), &(struct say){ .topic = "t", .payload = "y" });
	}
	if (deaf)
		assert_true(span_is(talk_take(deaf).payload, "x"));
	world_close(&w);
	return deaf;
}

/* What waits comes with his next PINGREQ, or with the next message. */
static void test_lost_wake(void **state)
{
	(void)state;
	for (int pings = 0; pings < 2; pings++) {
		unsigned n = 1;

		while (!loses_a_wake(n, pings))
			assert_true(++n < 3 * MANY);
	}
}

/* What is retained comes, or is counted. */
static void test_replay_without_memory(void **state)
{
	enum { TOPICS = 40 }; /* more than are looked up at once */

	(void)state;
	for (unsigned n = 1; n < 20; n++) {
		struct memconn *a, *b;
		unsigned got = 0;
		char topic[20];
		struct world w;

		world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
		a = talk_enter(&w, "a");
		b = talk_enter(&w, "b");
		for (int i = 0; i < TOPICS; i++) {
			snprintf(topic, sizeof(topic), "r/%d", i);
			talk_publish(a, &(struct say){ .topic = topic, .payload = "x", .retain = true });
		}
		fault_arm(FAULT_MEM, n, 0, false);
		memconn_send(b, "\x82\x09\0\1\0\0\3r/#\0", 11, 0);
		fault_arm(FAULT_MEM, 0, 0, false);
		if (memconn_end(b) == MEM_OPEN && take_packet(b, MQTT_SUBACK).body.p[3] == 0) {
			for (; memconn_out(b).n; got++)
				talk_take(b);
			assert_true(got == TOPICS || talk_count(&w, MQTT_DROPPED));
		}
		world_close(&w);
	}
}
#endif

/* More than the queue may have bytes, in one look at the store; and given up in the middle. */
static void test_large_replay(void **state)
{
	enum { TOPICS = 32, SIZE = 300000 };
	char *text = malloc(SIZE);
	struct memconn *a, *b;
	struct world w;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', SIZE);
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "queue_bytes", "1M");
	a = talk_enter(&w, "a");
	b = talk_enter(&w, "b");
	retain(a, TOPICS, text, SIZE);
	memconn_send(b, "\x82\x07\0\1\0\0\1#\0", 9, 0);
	assert_int_equal(memconn_out(b).n, 6 + TOPICS * (SIZE + 14));
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 0);
	memconn_take(b, SIZE_MAX);
	memconn_window(b, 0);
	memconn_send(b, "\x82\x07\0\1\0\0\1#\0", 9, 0);
	memconn_send(b, "\xa2\x06\0\2\0\0\1#", 8, 0);
	memconn_window(b, MEM_NO_LIMIT);
	assert_true(memconn_out(b).n <= 12 + TOPICS * (SIZE + 14));
	world_close(&w);
	free(text);
}

/* What was under way of an earlier connection goes at the pace of the new one; packets of the largest size pass. */
static void test_large_packets_again(void **state)
{
	enum { SIZE = 1000000, TIMES = 3 };
	char *text = malloc(SIZE);
	struct memconn *a, *b;
	struct world w;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', SIZE);
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
	a = talk_enter(&w, "a");
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 60 }, false);
	talk_subscribe(b, "t", 1);
	for (uint16_t i = 1; i <= TIMES; i++) {
		talk_publish(a, &(struct say){ .topic = "t", .payload = text, .size = SIZE, .qos = 1, .id = i });
		take_packet(a, MQTT_PUBACK);
	}
	memconn_reset(b);
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 60 }, true);
	assert_int_equal(memconn_out(b).n, TIMES * (SIZE + 10));
	assert_int_equal(memconn_end(b), MEM_OPEN);
	world_close(&w);
	free(text);
}

/* The largest packet passes, whatever is queued before it, and whatever `packet` is. */
static void largest_behind_others(const char *packet, size_t size)
{
	char *text = malloc(size), small[1000];
	struct memconn *a, *b;
	struct world w;

	assert_non_null(text);
	memset(text, 'x', size);
	memset(small, 'x', sizeof(small));
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "packet", packet);
	a = talk_enter(&w, "a");
	b = talk_enter(&w, "b");
	talk_subscribe(b, "t", 0);
	memconn_window(b, 0);
	for (int i = 0; i < 65; i++)
		talk_publish(a, &(struct say){ .topic = "t", .payload = small, .size = sizeof(small) });
	talk_publish(a, &(struct say){ .topic = "t", .payload = text, .size = size - 9 });
	memconn_window(b, MEM_NO_LIMIT);
	assert_string_equal(memconn_reason(b), "");
	assert_int_equal(memconn_out(b).n, 65 * 1007 + size - (size < 2 << 20)); /* its length has a byte less */
	world_close(&w);
	free(text);
}

static void test_largest_behind_others(void **state)
{
	(void)state;
	largest_behind_others("1M", 1 << 20);
	largest_behind_others("4M", 4 << 20);
}

/* ---- loops ---- */

static void subscribed_elsewhere(struct world *w, unsigned loop)
{
	talk_service(w)->heard[loop] = 1;
}

/*
 * One parcel a turn and loop, to those alone where somebody hears; what comes from there is for this loop, and goes
 * nowhere else.
 */
static void test_other_loops(void **state)
{
	struct memconn *a, *b;
	struct mem_away away;
	struct batch *p;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, &(struct mem_setup){ .loops = 3 }, "sys_interval", "0");
	a = talk_enter(&w, "a");
	b = talk_enter(&w, "b");
	talk_subscribe(b, "t", 2);
	talk_publish(a, &(struct say){ .topic = "t", .payload = "here" });
	assert_true(span_is(talk_take(b).payload, "here"));
	assert_int_equal(memdrive_away(w.drive, &away), 0);
	subscribed_elsewhere(&w, 2);
	memconn_send(a, "\x30\x05\0\1t\0x\x30\x05\0\1t\0y", 14, 0);
	talk_take(b);
	talk_take(b);
	assert_int_equal(memdrive_away(w.drive, &away), 1);
	assert_int_equal(away.loop, 2);
	assert_int_equal(away.tag, MQTT_BATCH);
	p = (struct batch *)away.mail;
	assert_int_equal(p->n, 2);
	assert_true(span_is(message_payload(p->v[0].m), "x"));
	memdrive_shard_post(w.drive, away.tag, away.mail); /* as if from there */
	assert_true(span_is(talk_take(b).payload, "x"));
	assert_true(span_is(talk_take(b).payload, "y"));
	assert_int_equal(memdrive_away(w.drive, &away), 0);
	subscribed_elsewhere(&w, 1);
	talk_publish(a, &(struct say){ .topic = "other", .payload = "!", .qos = 1, .id = 1 });
	take_packet(a, MQTT_PUBACK);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(memdrive_away(w.drive, &away), 1);
		mail_drop(away.mail);
	}
	assert_int_equal(memdrive_away(w.drive, &away), 0);
	world_close(&w);
}

/*
 * A kept one whose session is in another loop gets its own, with what it asked for; when it has gone meanwhile, its
 * queue does.
 */
static void test_kept_elsewhere(void **state)
{
	struct memconn *a, *b;
	struct mem_away away;
	struct batch *p;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, &(struct mem_setup){ .loops = 2 }, "sys_interval", "0");
	a = talk_enter(&w, "a");
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 60 }, false);
	talk_subscribe(b, "t", 1);
	list_entry(talk_service(&w)->topics->all.prev, struct subscriber, all)->home = 1;
	talk_publish(a, &(struct say){ .topic = "t", .payload = "x", .qos = 2, .id = 1 });
	take_packet(a, MQTT_PUBREC);
	assert_said(b, "");
	assert_int_equal(memdrive_away(w.drive, &away), 1);
	p = (struct batch *)away.mail;
	assert_int_equal(p->n, 1);
	assert_true(span_is(subscriber_name(p->v[0].to), "b"));
	assert_int_equal(p->v[0].d.qos, 1);
	p->v[0].to->home = 0;
	memconn_reset(b);
	memdrive_shard_post(w.drive, away.tag, away.mail);
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 60 }, true);
	assert_true(span_is(talk_take(b).payload, "x"));
	world_close(&w);
}

/* Parcels, a kept one elsewhere, a will, a replay: with each allocation failing in its turn. */
static void failing_scene(void *arg)
{
	static const char *const options[] = { "sys_interval", "0", NULL };
	static const char hello[] = "\x10\x1a\0\4MQTT\5\4\0\0\5\x11\0\0\0\x09\0\1k\0\0\1w\0\1x";
	static const char talk[] = "\x82\x07\0\1\0\0\1#\2\x33\x07\0\1t\0\1\0y\x35\x07\0\1u\0\2\0y\x82\x07\0\3\0\0\1#\1";
	struct mem_away away;
	struct world w;

	(void)arg;
	if (world_try_open(&w, &mqtt_proto, &(struct mem_setup){ .loops = 2 }, options, NULL) == 0) {
		subscribed_elsewhere(&w, 1);
		for (int i = 0; i < 3; i++) {
			struct memconn *c = memconn_open(w.drive, NULL);

			if (!c)
				continue;
			memconn_send(c, hello, sizeof(hello) - 1, 0);
			memconn_send(c, talk, sizeof(talk) - 1, 0);
			if (i == 1)
				memconn_reset(c);
		}
		while (memdrive_away(w.drive, &away) == 1)
			memdrive_shard_post(w.drive, away.tag, away.mail);
		memdrive_advance(w.drive, 10 * SEC);
	}
	world_close(&w);
}

static void test_failing_allocations(void **state)
{
	(void)state;
	fail_each_allocation(failing_scene, NULL);
}

/* ---- an idle client ---- */

static void test_idle_client(void **state)
{
	enum { CLIENTS = 1000, MOST = 1024 };
	struct memconn *c[CLIENTS];
	size_t before, each, bare;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
	(void)talk_enter(&w, "first");
	before = heap_now();
	for (int i = 0; i < CLIENTS; i++)
		c[i] = world_client(&w);
	bare = (heap_now() - before) / CLIENTS; /* of the memory driver and the core */
	for (int i = 0; i < CLIENTS; i++) {
		char text[40];
		int n = snprintf(text, sizeof(text), "%c%c%c%cMQTT\4\2%c\x3c%c\6c%05d", 0x10, 18, 0, 4, 0, 0, i);

		memconn_send(c[i], text, (size_t)n, 0);
		assert_said(c[i], "\x20\2\0\0");
		memconn_send(c[i], "\x82\x07\0\1\0\2id\0", 9, 0);
		assert_said(c[i], "\x90\3\0\1\0");
	}
	each = (heap_now() - before) / CLIENTS - bare;
	print_message("an idle client with one subscription: %zu bytes, and %zu of struct mqtt\n", each,
		      sizeof(struct mqtt));
	assert_true(each + sizeof(struct mqtt) <= MOST);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slow_subscriber),     cmocka_unit_test(test_queue_of_one_away),
		cmocka_unit_test(test_long_replay),         cmocka_unit_test(test_large_replay),
		cmocka_unit_test(test_large_packets_again), cmocka_unit_test(test_largest_behind_others),
		cmocka_unit_test(test_other_loops),         cmocka_unit_test(test_kept_elsewhere),
		cmocka_unit_test(test_failing_allocations), cmocka_unit_test(test_idle_client),
		cmocka_unit_test(test_replay_of_nothing),   cmocka_unit_test(test_replays),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_lost_wake),           cmocka_unit_test(test_replay_without_memory),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
