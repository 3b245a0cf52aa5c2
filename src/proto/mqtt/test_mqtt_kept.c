/* test_mqtt_kept.c - what must be on disk: who waits for that, and what becomes of it when memory is out. */
#include "proto/mqtt/test_disk.h"

#include "base/fault.h"
#include "store/keep_priv.h"
#include "store/topics_priv.h"

static struct memconn *says_hello(struct world *w)
{
	struct memconn *c = world_client(w);

	memconn_send(c, "\x10\x13\0\4MQTT\5\0\0\0\5\x11\0\0\0\x3c\0\1b", 21, 0);
	return c;
}

static void subscribes(struct memconn *c, unsigned qos)
{
	char packet[] = "\x82\7\0\1\0\0\1t?";

	packet[8] = (char)qos;
	memconn_send(c, packet, 9, 0);
}

/* A world with a disk, and who has come back for what waits; as a subscriber, with that answered. */
static struct memconn *opens(struct world *w, struct keeper *disk, bool subscribed)
{
	struct memconn *c;

	world_open(w, &mqtt_proto, NULL, "sys_interval", "0");
	disk_open(disk, w);
	c = says_hello(w);
	if (subscribed)
		subscribes(c, 1);
	disk_flush(disk, w);
	take_packet(c, MQTT_CONNACK);
	if (subscribed)
		take_packet(c, MQTT_SUBACK);
	return c;
}

/* Answers come when it is there, in order; what promises nothing comes behind one that does. */
static void test_waits(void **state)
{
	struct memconn *a, *c;
	struct keeper disk;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
	disk_open(&disk, &w);
	a = talk_enter(&w, "a");
	c = says_hello(&w);
	memconn_send(c, "\xc0\0", 2, 0);
	subscribes(c, 1);
	memconn_send(c, "\xc0\0", 2, 0);
	disk_flush(&disk, &w);
	take_packet(c, MQTT_CONNACK);
	take_packet(c, MQTT_PINGRESP);
	take_packet(c, MQTT_SUBACK);
	assert_said(c, "\xd0\0");
	talk_publish(a, &(struct say){ .topic = "u", .payload = "x", .qos = 1, .id = 1 });
	take_packet(a, MQTT_PUBACK); /* nobody wants it */
	talk_publish(a, &(struct say){ .topic = "t", .payload = "x", .qos = 1, .id = 1 });
	disk_flush(&disk, &w);
	take_packet(a, MQTT_PUBACK);
	talk_take(c);
	disk_close(&disk, &w);
}

static unsigned subscribed(struct memconn *c, unsigned qos)
{
	struct mqtt_frame f;

	subscribes(c, qos);
	f = take_packet(c, MQTT_SUBACK);
	return f.body.p[f.body.n - 1];
}

/* Who comes back for what waits, and says again what he wants, makes room: that is no new subscription. */
static void test_full(void **state)
{
	struct memconn *c;
	struct keeper disk;
	struct world w;

	(void)state;
	c = opens(&w, &disk, true);
	atomic_fetch_add(&disk.k->waiting_bytes, KEEP_WAITING_MAX + 1); /* it says so */
	assert_int_equal(subscribed(c, 1), 1);
	assert_int_equal(subscribed(c, 2), MQTT_QUOTA);
	atomic_fetch_sub(&disk.k->waiting_bytes, KEEP_WAITING_MAX + 1);
	subscribes(c, 2);
	disk_flush(&disk, &w);
	take_packet(c, MQTT_SUBACK);
	disk_close(&disk, &w);
}

#ifdef GUICHET_FAULTS
static const struct sub *subscription(struct world *w)
{
	const struct filter *f = filters_find(talk_service(w)->topics->subs, span_str("t"));

	return f ? list_entry(f->subs.next, struct sub, entry.at.in_filter) : NULL;
}

/* The nth allocation fails while it subscribes. Returns the code of the answer; 0 too when the connection has ended. */
static unsigned subscribes_with_fault(bool new, unsigned n)
{
	struct keeper disk;
	struct memconn *c;
	struct world w;
	unsigned code = 0;

	c = opens(&w, &disk, !new);
	keep_batch_done(&talk_room(c)->pen.batch); /* a record needs memory */
	fault_arm(FAULT_MEM, n, 0, false);
	subscribes(c, 2);
	fault_arm(FAULT_MEM, 0, 0, false);
	disk_flush(&disk, &w);
	if (memconn_end(c) == MEM_OPEN)
		code = take_packet(c, MQTT_SUBACK).body.p[3];
	if (code == MQTT_UNSPECIFIED) {
		assert_int_equal(subscription(&w) != NULL, !new);
		if (!new)
			assert_int_equal(subscription(&w)->qos, 1);
	}
	disk_close(&disk, &w);
	return code;
}

/* One that could not be changed on disk is as it was; a new one that could not be written is none. */
static void test_subscription(void **state)
{
	(void)state;
	for (int new = 0; new < 2; new ++) {
		unsigned refused = 0;

		for (unsigned n = 1; n < 12; n++)
			refused += subscribes_with_fault(new, n) == MQTT_UNSPECIFIED;
		assert_true(refused > 0);
	}
}

/* Nor is one given up as long as the disk has it; for one that there is not, there is no record either. */
static void test_unsubscribe(void **state)
{
	struct keeper disk;
	struct memconn *c;
	struct world w;

	(void)state;
	c = opens(&w, &disk, true);
	for (int i = 0; i < 3; i++) {
		keep_batch_done(&talk_room(c)->pen.batch);
		fault_arm(FAULT_MEM, i != 1, 0, false);
		memconn_send(c, "\xa2\6\0\1\0\0\1t", 8, 0);
		fault_arm(FAULT_MEM, 0, 0, false);
		disk_flush(&disk, &w);
		assert_int_equal(take_packet(c, MQTT_UNSUBACK).body.p[3], i == 0   ? MQTT_UNSPECIFIED
									  : i == 1 ? MQTT_OK
										   : MQTT_NO_SUBSCRIPTION);
		assert_int_equal(subscription(&w) != NULL, i == 0);
	}
	disk_close(&disk, &w);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_full),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_subscription),
		cmocka_unit_test(test_unsubscribe),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
