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

/* What is retained and may not be heard is not written, to be taken away again. */
static void test_denied(void **state)
{
	enum { MANY = 100 };
	BUF_AUTO struct buf why = BUF_INIT(256);
	struct mem_setup setup = {};
	struct memconn *a, *c;
	struct keeper disk;
	struct rules *r;
	struct world w;
	uint64_t before;
	char topic[20];

	(void)state;
	assert_int_equal(access_new(&setup.access), 0);
	assert_int_equal(rules_new(&r), 0);
	assert_int_equal(rules_add(r, true, "* write topics:#", &why), 0);
	assert_int_equal(rules_add(r, true, "* read topics:t/7", &why), 0);
	access_set(setup.access, NULL, r);
	rules_unref(r);
	world_open(&w, &mqtt_proto, &setup, "sys_interval", "0");
	disk_open(&disk, &w);
	a = talk_enter(&w, "a");
	for (int i = 0; i < MANY; i++) {
		snprintf(topic, sizeof(topic), "t/%d", i);
		talk_publish(a, &(struct say){ .topic = topic, .payload = "x", .qos = 1, .id = 1, .retain = true });
	}
	c = says_hello(&w);
	disk_flush(&disk, &w);
	take_packet(c, MQTT_CONNACK);
	before = keep_new_id(disk.k);
	memconn_send(c, "\x82\7\0\1\0\0\1#\1", 9, 0);
	assert_int_equal(keep_new_id(disk.k), before + 2);
	disk_flush(&disk, &w);
	assert_int_equal(talk_count(&w, MQTT_RETAINED), 1);
	assert_int_equal(talk_count(&w, MQTT_SENT), 1);
	disk_close(&disk, &w);
	access_free(&setup.access);
}

static const struct sub *subscription(struct world *w)
{
	const struct filter *f = filters_find(talk_service(w)->topics->subs, span_str("t"));

	return f ? list_entry(f->subs.next, struct sub, entry.at.in_filter) : NULL;
}

/* ---- what is over before the loop of its publisher has handed it over ---- */

struct stored {
	struct message *m;
	uint64_t session;
};

/* For b, who is away, by a step of another loop that has not ended. */
static struct stored stores(struct world *w, struct keeper *disk, uint64_t expires)
{
	static const struct subscriber_limits lim = { .queue = 10, .queue_bytes = 1 << 20 };
	const struct message_birth birth = { .topic = span_str("t"), .qos = 1, .expires = expires };
	struct delivery d = { .m = message_new(&birth), .packet = 1, .qos = 1 };
	struct subscriber *b = subscription(w)->whose;
	uint64_t where;

	assert_non_null(d.m);
	d.m->kept = keep_new_id(disk->k);
	assert_int_equal(topics_store(talk_service(w)->topics, b, &d, &lim, &where), 0);
	return (struct stored){ d.m, b->kept_id };
}

static void hands_over(struct keeper *disk, const struct stored *s)
{
	keeper_message(disk, s->m->kept, "t", "", &s->session, 1);
	keeper_submit(disk);
}

/* Is there a row of a message? The writer has nothing to do. */
static bool has_message(const struct keeper *disk)
{
	MDB_val key = { 1, &(uint8_t){ KEEP_MESSAGE } }, value;
	MDB_cursor *c;
	MDB_txn *txn;
	int r;

	assert_int_equal(mdb_txn_begin(disk->k->env, NULL, MDB_RDONLY, &txn), 0);
	assert_int_equal(mdb_cursor_open(txn, disk->k->dbi, &c), 0);
	r = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
	mdb_cursor_close(c);
	mdb_txn_abort(txn);
	return r == 0;
}

/* Its session is ended by who comes anew, or its time is over: either way nothing of it stays on the disk. */
static void test_early(void **state)
{
	(void)state;
	for (int anew = 0; anew < 2; anew++) {
		struct keeper disk;
		struct memconn *c;
		struct stored s;
		struct world w;

		memconn_reset(opens(&w, &disk, true));
		s = stores(&w, &disk, !anew);
		c = world_client(&w);
		talk_greet(c, &(struct hello){ .name = "b", .clean = anew, .expiry = 60 });
		disk_flush(&disk, &w);
		assert_int_equal(talk_greeted(c, MQTT_OK).session_present, !anew);
		hands_over(&disk, &s);
		assert_true(has_message(&disk));
		disk_flush(&disk, &w); /* that it was is not to be seen yet */
		assert_int_equal(s.m->refs, 2);
		s.m->mark = keep_mark(keep_committed(disk.k));
		memdrive_advance(w.drive, 10 * SEC);
		assert_int_equal(s.m->refs, 1);
		message_unref(s.m);
		disk_flush(&disk, &w);
		assert_false(has_message(&disk));
		disk_close(&disk, &w);
	}
}

#ifdef GUICHET_FAULTS
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

/* Who cannot be let in has changed nothing: what was to be said when its client has gone is yet. */
static unsigned comes_back_with_fault(unsigned n)
{
	const struct hello hello = { .name = "b", .expiry = 60, .will = "w", .will_delay = 30 };
	const struct subscriber *s;
	struct keeper disk;
	struct memconn *c;
	struct world w;
	unsigned code = MQTT_OK;

	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
	disk_open(&disk, &w);
	c = world_client(&w);
	talk_greet(c, &hello);
	memconn_reset(c);
	s = list_entry(talk_service(&w)->topics->all.next, struct subscriber, all);
	c = world_client(&w);
	keep_batch_done(&talk_room(c)->pen.batch);
	fault_arm(FAULT_MEM, n, 0, false);
	talk_greet(c, &(struct hello){ .name = "b", .expiry = 600, .will = "another" });
	fault_arm(FAULT_MEM, 0, 0, false);
	disk_flush(&disk, &w);
	if (memconn_out(c).n && memconn_out(c).p[0] >> 4 == MQTT_CONNACK)
		code = take_packet(c, MQTT_CONNACK).body.p[1];
	if (code == MQTT_SERVER_BUSY) {
		assert_true(!s->where && s->expiry == 60 && s->will.m);
		assert_true(span_is(message_topic(s->will.m), "w"));
	}
	disk_close(&disk, &w);
	return code;
}

static void test_comes_back(void **state)
{
	unsigned refused = 0;

	(void)state;
	for (unsigned n = 1; n < 12; n++)
		refused += comes_back_with_fault(n) == MQTT_SERVER_BUSY;
	assert_true(refused >= 2); /* its own will, the record */
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
		cmocka_unit_test(test_waits),        cmocka_unit_test(test_full),
		cmocka_unit_test(test_early),        cmocka_unit_test(test_denied),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_subscription), cmocka_unit_test(test_unsubscribe),
		cmocka_unit_test(test_comes_back),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
