/* test_mqtt_share.c - members of shared subscriptions that end, and who gets what they have left undone (4.8.2). */
#include "proto/mqtt/test_disk.h"

#include "store/keep_priv.h"
#include "store/topics_priv.h"

static struct world w;
static struct memconn *a; /* who publishes */

static int up(void **state)
{
	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
	a = talk_enter(&w, "a");
	return 0;
}

static int down(void **state)
{
	(void)state;
	world_close(&w);
	return 0;
}

static struct memconn *member(const char *name, uint16_t window, uint32_t expiry, const char *filter)
{
	struct memconn *c = talk_hello(
		&w, &(struct hello){ .name = name, .clean = true, .receive_max = window, .expiry = expiry }, false);

	talk_subscribe(c, filter, 2);
	return c;
}

/* Digits, one message each. */
static void publish(const char *topic, unsigned qos, const char *texts)
{
	for (char text[2] = ""; (text[0] = *texts); texts++) {
		talk_publish(a, &(struct say){ .topic = topic, .payload = text, .qos = (uint8_t)qos, .id = 9 });
		if (qos)
			take_packet(a, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC);
		if (qos < 2)
			continue;
		talk_id(a, MQTT_PUBREL, 9);
		take_packet(a, MQTT_PUBCOMP);
	}
}

/* All that came, and nothing behind it; `ack` is the answer to QoS 1. */
static void takes(struct memconn *c, const char *texts, bool ack)
{
	for (; *texts; texts++) {
		struct mqtt_publish p = talk_take(c);

		assert_int_equal(p.payload.n, 1);
		assert_int_equal(p.payload.p[0], *texts);
		if (ack && p.qos == 1)
			talk_id(c, MQTT_PUBACK, p.id);
	}
	assert_said(c, "");
}

/* A group of two, and messages for it by turns: b's are the odd ones. */
static void begin(struct memconn **ret_b, uint16_t window, uint32_t expiry, struct memconn **ret_c, unsigned qos,
		  const char *texts)
{
	*ret_b = member("b", window, expiry, "$share/g/t");
	*ret_c = member("c", 100, 0, "$share/g/t");
	publish("t", qos, texts);
}

/* What was sent and not acknowledged, and what waited; in order, and nothing that was done. */
static void test_leaves(void **state)
{
	struct memconn *b, *c;

	(void)state;
	begin(&b, 2, 0, &c, 1, "12345678");
	takes(c, "2468", true);
	talk_id(b, MQTT_PUBACK, talk_take(b).id);
	takes(b, "35", false);
	memconn_reset(b);
	takes(c, "357", true);
	assert_int_equal(talk_count(&w, MQTT_REDELIVERED), 3);
	publish("t", 1, "9");
	takes(c, "9", false);
	memconn_reset(c); /* nobody is left */
	assert_false(talk_service(&w)->topics->orphans);
	assert_int_equal(talk_count(&w, MQTT_REDELIVERED), 3);
}

/* Who unsubscribes first is still sent what is its own, and leaves the rest when it goes: as one that is stopped in good order does. */
static void test_unsubscribes(void **state)
{
	struct memconn *b, *c;

	(void)state;
	for (unsigned i = 0; i < 100; i++) { /* more often than there are numbers */
		begin(&b, 1, 0, &c, 1, "1234");
		takes(c, "24", true);
		takes(b, "1", false);
		memconn_send(b, "\xa2\x0f\0\7\0\0\x0a$share/g/t", 17, 0);
		take_packet(b, MQTT_UNSUBACK);
		talk_subscribe(b, "$share/g/t", 2);
		memconn_send(b, "\xa2\x0f\0\7\0\0\x0a$share/g/t", 17, 0);
		take_packet(b, MQTT_UNSUBACK);
		publish("t", 1, "5");
		takes(c, "5", true);
		talk_bye(b);
		takes(c, "13", true);
		talk_bye(c);
	}
}

/* A bridge of 3.x does not hear itself; as a member of a group it does, or the group would lose what is its turn. */
static void test_bridge(void **state)
{
	struct memconn *b = world_client(&w), *c = member("c", 100, 0, "$share/g/t");

	(void)state;
	memconn_send(b, "\x10\x0d\0\4MQTT\x84\2\0\0\0\1b", 15, 0);
	take_packet(b, MQTT_CONNACK);
	memconn_send(b, "\x82\x0f\0\7\0\x0a$share/g/t\1", 17, 0);
	take_packet(b, MQTT_SUBACK);
	for (unsigned i = 0; i < 4; i++)
		memconn_send(b, "\x30\4\0\1t!", 6, 0);
	takes(c, "!!", false);
}

/* QoS 2 that was sent is that one's for ever; what only waited is not. */
static void test_leaves_2(void **state)
{
	struct memconn *b, *c;

	(void)state;
	begin(&b, 2, 0, &c, 2, "12345678");
	takes(b, "13", false);
	takes(c, "2468", false);
	talk_bye(b);
	takes(c, "57", false);
}

/* It may come back, so it has its share until its session is over, by time or by a clean start. */
static void test_is_over(void **state)
{
	struct memconn *b, *c;

	(void)state;
	for (int i = 0; i < 2; i++) {
		begin(&b, 1, 60, &c, 1, "1234");
		takes(c, "24", true);
		takes(b, "1", false);
		memconn_reset(b);
		publish("t", 1, "56");
		takes(c, "56", true);
		if (i == 0)
			memdrive_advance(w.drive, 60 * SEC);
		else
			talk_enter(&w, "b");
		takes(c, "13", true);
		assert_int_equal(talk_count(&w, MQTT_REDELIVERED), 2 * (i + 1));
		talk_bye(c);
	}
}

/* Each group for itself, and nothing of what was not by a group. */
static void test_several(void **state)
{
	struct memconn *b, *c, *d;

	(void)state;
	b = member("b", 1, 0, "$share/one/#");
	talk_subscribe(b, "$share/two/t/+", 1);
	talk_subscribe(b, "t/1", 1);
	publish("t/1", 1, "1"); /* three times */
	talk_id(b, MQTT_PUBACK, talk_take(b).id);
	talk_id(b, MQTT_PUBACK, talk_take(b).id);
	talk_id(b, MQTT_PUBACK, talk_take(b).id);
	assert_said(b, "");
	publish("t/1", 1, "2");
	publish("u", 1, "3");
	takes(b, "2", false);
	c = member("c", 100, 0, "$share/one/#");
	d = member("d", 100, 0, "$share/two/t/+");
	memconn_reset(b);
	takes(c, "23", true);
	takes(d, "2", true);
}

/* To one who is away too, when there is no other. */
static void test_to_one_away(void **state)
{
	struct memconn *b, *c;

	(void)state;
	c = member("c", 100, 60, "$share/g/t");
	memconn_reset(c);
	b = member("b", 1, 0, "$share/g/t");
	publish("t", 1, "123");
	takes(b, "1", false);
	memconn_reset(b);
	c = talk_hello(&w, &(struct hello){ .name = "c", .expiry = 60 }, true);
	takes(c, "123", true);
}

/* Those who are all away take turns, too. */
static void test_all_away(void **state)
{
	struct memconn *b, *c;

	(void)state;
	b = member("b", 100, 60, "$share/g/t");
	c = member("c", 100, 60, "$share/g/t");
	memconn_reset(b);
	memconn_reset(c);
	publish("t", 1, "1234");
	takes(talk_hello(&w, &(struct hello){ .name = "b", .expiry = 60 }, true), "13", false);
	takes(talk_hello(&w, &(struct hello){ .name = "c", .expiry = 60 }, true), "24", false);
}

/* Who was passed over is one of them again as soon as it is back. */
static void test_comes_back(void **state)
{
	struct memconn *b, *c;

	(void)state;
	begin(&b, 100, 60, &c, 1, "12");
	takes(b, "1", true);
	memconn_reset(b);
	publish("t", 1, "34");
	takes(c, "234", true);
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 60 }, true);
	publish("t", 1, "5678");
	takes(b, "57", false);
	takes(c, "68", false);
}

/* Or has room. */
static void test_room_again(void **state)
{
	struct memconn *b, *c;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "queue", "2");
	a = talk_enter(&w, "a");
	begin(&b, 1, 60, &c, 1, "12345");
	publish("t", 1, "678");
	takes(c, "24678", true);
	talk_id(b, MQTT_PUBACK, talk_take(b).id);
	publish("t", 1, "90");
	takes(c, "0", false);
	takes(b, "359", true);
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 0);
}

/* What that one has no room for is lost, and not counted as redelivered. */
static void test_to_a_full_one(void **state)
{
	struct memconn *b, *c;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "queue", "4");
	a = talk_enter(&w, "a");
	c = member("c", 100, 60, "$share/g/t");
	memconn_reset(c);
	b = member("b", 3, 0, "$share/g/t");
	publish("t", 1, "123456");
	takes(b, "123", false);
	memconn_reset(b);
	assert_int_equal(talk_count(&w, MQTT_REDELIVERED), 4);
	assert_int_equal(talk_count(&w, MQTT_DROPPED), 2);
}

static unsigned publishes(const char *text, struct keeper *disk)
{
	struct mqtt_frame f;

	talk_publish(a, &(struct say){ .topic = "t", .payload = text, .qos = 1, .id = 9 });
	disk_flush(disk, &w);
	f = take_packet(a, MQTT_PUBACK);
	return f.body.n > 2 ? f.body.p[2] : MQTT_OK;
}

/* A full disk refuses what would have to be on it, and nobody loses his turn by that. */
static void test_full_disk(void **state)
{
	struct memconn *b, *c;
	struct keeper disk;

	(void)state;
	c = member("c", 100, 0, "$share/g/t");
	disk_open(&disk, &w);
	b = world_client(&w);
	memconn_send(b, "\x10\x13\0\4MQTT\5\2\0\0\5\x11\0\0\0\x3c\0\1b", 21, 0);
	memconn_send(b, "\x82\x10\0\1\0\0\x0a$share/g/t\1", 18, 0);
	disk_flush(&disk, &w);
	take_packet(b, MQTT_CONNACK);
	take_packet(b, MQTT_SUBACK);
	assert_int_equal(publishes("1", &disk), MQTT_OK);
	assert_int_equal(publishes("2", &disk), MQTT_OK);
	takes(c, "1", true);
	takes(b, "2", true);
	atomic_fetch_add(&disk.k->waiting_bytes, KEEP_WAITING_MAX + 1); /* it says so */
	assert_int_equal(publishes("3", &disk), MQTT_OK);
	takes(c, "3", true);
	for (int i = 0; i < 3; i++)
		assert_int_equal(publishes("4", &disk), MQTT_QUOTA);
	atomic_fetch_sub(&disk.k->waiting_bytes, KEEP_WAITING_MAX + 1);
	assert_int_equal(publishes("5", &disk), MQTT_OK);
	takes(b, "5", true);
	takes(c, "", false);
	disk_close(&disk, &w);
}

/* The end of everything: many of them, and nobody is given anything. */
static void test_the_end(void **state)
{
	struct memconn *b, *c;

	(void)state;
	b = member("b", 1, 60, "$share/g/t");
	c = member("c", 1, 60, "$share/g/t");
	publish("t", 1, "123456789");
	takes(b, "1", false);
	takes(c, "2", false);
	memconn_reset(b);
	memconn_reset(c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_all_away),
		TEST(test_leaves),
		TEST(test_unsubscribes),
		TEST(test_bridge),
		TEST(test_leaves_2),
		TEST(test_is_over),
		TEST(test_several),
		TEST(test_to_one_away),
		TEST(test_the_end),
		TEST(test_comes_back),
		cmocka_unit_test_teardown(test_room_again, down),
		cmocka_unit_test_teardown(test_to_a_full_one, down),
		cmocka_unit_test_setup(test_full_disk, up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
