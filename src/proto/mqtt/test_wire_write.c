/* test_wire_write.c - packets into bytes: the bytes, limits of the array and of the peer, what is left out. */
#include <errno.h>

#include "proto/mqtt/test_wire.h"

static uint8_t array[70000];

static struct mqtt_writer writer(enum mqtt_version version)
{
	struct mqtt_writer w;

	memset(array, 0xee, sizeof(array));
	mqtt_writer_init(&w, version, array, sizeof(array));
	return w;
}

static void assert_bytes(struct mqtt_writer *w, struct span want)
{
	assert_int_equal(w->err, 0);
	assert_int_equal(w->n, want.n);
	assert_memory_equal(w->p, want.p, want.n);
	assert_int_equal(array[want.n], 0xee);
	w->n = 0;
	memset(array, 0xee, want.n);
}

static struct mqtt_props with(enum mqtt_prop which, uint32_t value)
{
	struct mqtt_props p;

	mqtt_props_init(&p);
	mqtt_props_set(&p, which, value);
	return p;
}

static void test_connect(void **state)
{
	struct mqtt_connect c = { .clean = true, .keep_alive = 60, .client_id = span_str("id") };
	struct mqtt_writer w = writer(MQTT_311);

	(void)state;
	assert_int_equal(mqtt_put_connect(&w, &c), 0);
	assert_bytes(&w, SPAN("\x10\x0e\0\4MQTT\4\2\0\x3c\0\2id"));
	w = writer(MQTT_31);
	assert_int_equal(mqtt_put_connect(&w, &c), 0);
	assert_bytes(&w, SPAN("\x10\x10\0\6MQIsdp\3\2\0\x3c\0\2id"));
	c.will = c.will_retain = c.has_user = c.has_password = true;
	c.will_qos = 2;
	c.will_topic = span_str("w");
	c.will_payload = span_str("bye");
	c.user = span_str("u");
	c.password = span_str("p");
	c.props = with(MQTT_P_SESSION_EXPIRY, UINT32_MAX);
	c.will_props = with(MQTT_P_WILL_DELAY, 5);
	w = writer(MQTT_5);
	assert_int_equal(mqtt_put_connect(&w, &c), 0);
	assert_bytes(
		&w,
		SPAN("\x10\x28\0\4MQTT\5\xf6\0\x3c\5\x11\xff\xff\xff\xff\0\2id\5\x18\0\0\0\5\0\1w\0\3bye\0\1u\0\1p"));
}

static void test_small(void **state)
{
	struct mqtt_writer w = writer(MQTT_5);
	struct mqtt_connack c = { .session_present = true };
	struct mqtt_end e = { .type = MQTT_DISCONNECT };

	(void)state;
	mqtt_props_init(&c.props);
	mqtt_props_init(&e.props);
	assert_int_equal(mqtt_put_connack(&w, &c), 0);
	assert_bytes(&w, SPAN("\x20\3\1\0\0"));
	c.props = with(MQTT_P_RECEIVE_MAX, 20);
	assert_int_equal(mqtt_put_connack(&w, &c), 0);
	assert_bytes(&w, SPAN("\x20\6\1\0\3\x21\0\x14"));
	assert_int_equal(mqtt_put_end(&w, &e), 0);
	assert_bytes(&w, SPAN("\xe0\0"));
	e.code = MQTT_TAKEN_OVER;
	assert_int_equal(mqtt_put_end(&w, &e), 0);
	assert_bytes(&w, SPAN("\xe0\1\x8e"));
	mqtt_props_set_span(&e.props, MQTT_P_REASON, span_str("no"));
	assert_int_equal(mqtt_put_end(&w, &e), 0);
	assert_bytes(&w, SPAN("\xe0\7\x8e\5\x1f\0\2no"));
	assert_int_equal(mqtt_put_ping(&w, MQTT_PINGRESP), 0);
	assert_bytes(&w, SPAN("\xd0\0"));
	w = writer(MQTT_311);
	assert_int_equal(mqtt_put_connack(&w, &c), 0);
	assert_bytes(&w, SPAN("\x20\2\1\0"));
	assert_int_equal(mqtt_put_end(&w, &e), 0);
	assert_bytes(&w, SPAN("\xe0\0"));
	e.type = MQTT_AUTH;
	assert_int_equal(mqtt_put_end(&w, &e), -EMSGSIZE);
	w = writer(MQTT_31);
	assert_int_equal(mqtt_put_connack(&w, &c), 0);
	assert_bytes(&w, SPAN("\x20\2\0\0")); /* which knows no session present */
}

static void test_acks(void **state)
{
	struct mqtt_writer w = writer(MQTT_5);
	struct mqtt_ack a = { .type = MQTT_PUBREL, .id = 0x102 };

	(void)state;
	mqtt_props_init(&a.props);
	assert_int_equal(mqtt_put_ack(&w, &a), 0);
	assert_bytes(&w, SPAN("\x62\2\1\2"));
	assert_int_equal(mqtt_put_id(&w, MQTT_PUBREL, 0x102, 0), 0);
	assert_bytes(&w, SPAN("\x62\2\1\2"));
	a.code = MQTT_ID_UNKNOWN;
	assert_int_equal(mqtt_put_ack(&w, &a), 0);
	assert_bytes(&w, SPAN("\x62\3\1\2\x92"));
	assert_int_equal(mqtt_put_id(&w, MQTT_PUBREL, 0x102, MQTT_ID_UNKNOWN), 0);
	assert_bytes(&w, SPAN("\x62\3\1\2\x92"));
	mqtt_props_set_span(&a.props, MQTT_P_REASON, span_str("x"));
	assert_int_equal(mqtt_put_ack(&w, &a), 0);
	assert_bytes(&w, SPAN("\x62\x08\1\2\x92\4\x1f\0\1x"));
	w = writer(MQTT_311);
	assert_int_equal(mqtt_put_ack(&w, &a), 0);
	assert_int_equal(mqtt_put_id(&w, MQTT_PUBACK, 7, MQTT_QUOTA), 0);
	assert_bytes(&w, SPAN("\x62\2\1\2\x40\2\0\7"));
}

static void test_lists(void **state)
{
	uint8_t pieces[100];
	struct mqtt_writer list, w = writer(MQTT_5);
	struct mqtt_sub s = { span_str("a/#"), .qos = 1, .retain_handling = 2, .no_local = true, .as_published = true };
	struct mqtt_list l = { .type = MQTT_SUBSCRIBE, .id = 9, .props = with(MQTT_P_SUB_ID, 300) };

	(void)state;
	mqtt_writer_init(&list, MQTT_5, pieces, sizeof(pieces));
	assert_int_equal(mqtt_put_sub(&list, &s), 0);
	l.list = mqtt_written(&list);
	assert_int_equal(mqtt_put_list(&w, &l), 0);
	assert_bytes(&w, SPAN("\x82\x0c\0\x09\3\x0b\xac\2\0\3a/#\x2d"));
	mqtt_writer_init(&list, MQTT_311, pieces, sizeof(pieces));
	w = writer(MQTT_311);
	assert_int_equal(mqtt_put_sub(&list, &s), 0);
	l.list = mqtt_written(&list);
	assert_int_equal(mqtt_put_list(&w, &l), 0);
	assert_bytes(&w, SPAN("\x82\x08\0\x09\0\3a/#\1"));
	l.type = MQTT_UNSUBSCRIBE;
	list.n = 0;
	assert_int_equal(mqtt_put_unsub(&list, span_str("b")), 0);
	l.list = mqtt_written(&list);
	assert_int_equal(mqtt_put_list(&w, &l), 0);
	assert_bytes(&w, SPAN("\xa2\5\0\x09\0\1b"));
	l.type = MQTT_UNSUBACK;
	l.list = SPAN("\0\x11");
	assert_int_equal(mqtt_put_list(&w, &l), 0); /* 3.x has no codes there */
	assert_bytes(&w, SPAN("\xb0\2\0\x09"));
	w.version = MQTT_5;
	mqtt_props_init(&l.props);
	assert_int_equal(mqtt_put_list(&w, &l), 0);
	assert_bytes(&w, SPAN("\xb0\5\0\x09\0\0\x11"));
}

/* The head alone; the length counts the payload, at every border of its form. */
static void test_publish(void **state)
{
	struct mqtt_publish p = { .topic = span_str("a/b"), .payload = { array, 5 } };
	struct mqtt_writer w = writer(MQTT_311);
	static const struct {
		size_t payload;
		struct span head;
	} rows[] = {
		{ 127 - 5, SPAN("\x30\x7f\0\3a/b") },
		{ 128 - 5, SPAN("\x30\x80\1\0\3a/b") },
		{ 16383 - 5, SPAN("\x30\xff\x7f\0\3a/b") },
		{ 16384 - 5, SPAN("\x30\x80\x80\1\0\3a/b") },
		{ 2097151 - 5, SPAN("\x30\xff\xff\x7f\0\3a/b") },
		{ 2097152 - 5, SPAN("\x30\x80\x80\x80\1\0\3a/b") },
		{ 268435455 - 5, SPAN("\x30\xff\xff\xff\x7f\0\3a/b") },
	};

	(void)state;
	mqtt_props_init(&p.props);
	for (size_t i = 0; i < COUNT(rows); i++) {
		p.payload.n = rows[i].payload;
		assert_int_equal(mqtt_put_publish(&w, &p), 0);
		assert_int_equal(mqtt_publish_size(MQTT_311, &p), rows[i].head.n + p.payload.n);
		assert_bytes(&w, rows[i].head);
	}
	p.payload.n++;
	assert_int_equal(mqtt_put_publish(&w, &p), -EMSGSIZE);
	assert_int_equal(mqtt_publish_size(MQTT_311, &p), 0);
	assert_int_equal(w.n, 0);
}

/* A delivery as a broker makes it: what was kept, what is new, identifiers of the subscriptions. */
static void test_delivery(void **state)
{
	const uint32_t ids[] = { 1, 200 };
	struct mqtt_writer w = writer(MQTT_5);
	struct mqtt_publish p = {
		.qos = 2,
		.dup = true,
		.retain = true,
		.id = 7,
		.topic = span_str("a"),
		.payload = span_str("xyz"),
		.props = with(MQTT_P_EXPIRY, 30),
		.kept = SPAN("\1\1\x26\0\1k\0\1v"),
		.sub_ids = ids,
		.n_sub_ids = 2,
	};

	(void)state;
	assert_int_equal(mqtt_put_publish(&w, &p), 0);
	assert_bytes(&w, SPAN("\x3d\x1c\0\1a\0\7\x13\2\0\0\0\x1e\1\1\x26\0\1k\0\1v\x0b\1\x0b\xc8\1"));
	assert_int_equal(mqtt_publish_size(MQTT_5, &p), 2 + 0x1c);
	w.max_packet = 2 + 0x1c;
	assert_int_equal(mqtt_put_publish(&w, &p), 0);
	w.max_packet--;
	assert_int_equal(mqtt_put_publish(&w, &p), -EMSGSIZE); /* [MQTT-3.1.2-24] */
	w = writer(MQTT_311);
	assert_int_equal(mqtt_put_publish(&w, &p), 0);
	assert_bytes(&w, SPAN("\x3d\x08\0\1a\0\7"));
}

/* [MQTT-3.2.2-19] [MQTT-3.2.2-20] and the like: a smaller packet rather than none, for each that has the two. */
/* What a client need not know makes room for what it must, one after the other. */
static void test_left_out_of_connack(void **state)
{
	struct mqtt_connack c = {};
	struct mqtt_writer w = writer(MQTT_5);
	static const uint8_t sizes[][2] = { { 31, 31 }, { 30, 20 }, { 20, 20 }, { 19, 11 }, { 10, 8 } };

	(void)state;
	mqtt_props_init(&c.props);
	mqtt_props_set(&c.props, MQTT_P_RECEIVE_MAX, 7);
	mqtt_props_set(&c.props, MQTT_P_ALIAS_MAX, 7);
	mqtt_props_set_span(&c.props, MQTT_P_SERVER, span_str("server"));
	mqtt_props_set_span(&c.props, MQTT_P_RESPONSE_INFO, span_str("response"));
	for (size_t i = 0; i < COUNT(sizes); i++) {
		w = writer(MQTT_5);
		w.max_packet = sizes[i][0];
		assert_int_equal(mqtt_put_connack(&w, &c), 0);
		assert_int_equal(w.n, sizes[i][1]);
	}
	assert_bytes(&w, SPAN("\x20\6\0\0\3\x21\0\7"));
	w.n = 0;
	w.max_packet = 7;
	assert_int_equal(mqtt_put_connack(&w, &c), -EMSGSIZE);
}

static void test_left_out(void **state)
{
	uint8_t pieces[100];
	struct mqtt_writer users, w = writer(MQTT_5);
	struct mqtt_props props;
	static const unsigned types[] = { MQTT_CONNACK, MQTT_PUBACK, MQTT_PUBREC,   MQTT_PUBREL,    MQTT_PUBCOMP,
					  MQTT_SUBACK,  MQTT_AUTH,   MQTT_UNSUBACK, MQTT_DISCONNECT };

	(void)state;
	mqtt_writer_init(&users, MQTT_5, pieces, sizeof(pieces));
	assert_int_equal(mqtt_put_user(&users, &(struct mqtt_user){ span_str("key"), span_str("value") }), 0);
	mqtt_props_init(&props);
	props.has = MQTT_HAS(MQTT_P_USER);
	props.raw = mqtt_written(&users);
	mqtt_props_set_span(&props, MQTT_P_REASON, span_str("reason"));
	for (size_t i = 0; i < 2 * COUNT(types); i++) {
		unsigned type = types[i / 2];
		struct mqtt_connack connack = { .code = MQTT_QUOTA, .props = props };
		struct mqtt_ack ack = { .type = (uint8_t)type, .code = MQTT_QUOTA, .id = 1, .props = props };
		struct mqtt_list list = { .type = (uint8_t)type, .id = 1, .list = SPAN("\x80"), .props = props };
		struct mqtt_end end = { .type = (uint8_t)type, .code = MQTT_QUOTA, .props = props };
		size_t sizes[4] = {}, n = 0;
		int r;

		w = writer(MQTT_5);
		w.quiet = i & 1;
		for (uint32_t max = 64; max > 0; max--) {
			w.n = 0;
			w.max_packet = max;
			r = type == MQTT_CONNACK                           ? mqtt_put_connack(&w, &connack)
			    : type == MQTT_SUBACK || type == MQTT_UNSUBACK ? mqtt_put_list(&w, &list)
			    : type == MQTT_DISCONNECT || type == MQTT_AUTH ? mqtt_put_end(&w, &end)
									   : mqtt_put_ack(&w, &ack);
			assert_true(r == 0 ? w.n > 0 && w.n <= max : r == -EMSGSIZE && w.n == 0 && !w.err);
			if (n == 0 || sizes[n - 1] != w.n)
				sizes[n++] = w.n;
		}
		if (w.quiet && type != MQTT_CONNACK && type != MQTT_DISCONNECT) { /* [MQTT-3.1.2-29] */
			assert_int_equal(n, 2);
			continue;
		}
		assert_int_equal(n, 4); /* all, without users, without a reason, none at all */
		assert_int_equal(sizes[0] - sizes[1], props.raw.n);
		assert_in_range(sizes[1] - sizes[2], 3 + 6, 3 + 6 + 1); /* and the length, where that may go too */
		assert_int_equal(sizes[3], 0);
	}
}

/* Full is full: nothing is cut, and after the first that did not fit there is no second that does. */
static void test_overflow(void **state)
{
	uint8_t small[6];
	struct mqtt_writer w;
	struct mqtt_connack c = {};

	(void)state;
	mqtt_props_init(&c.props);
	mqtt_writer_init(&w, MQTT_5, small, sizeof(small));
	assert_int_equal(mqtt_put_id(&w, MQTT_PUBACK, 1, 0), 0);
	assert_int_equal(mqtt_put_connack(&w, &c), -ENOBUFS);
	assert_int_equal(w.n, 4);
	assert_int_equal(mqtt_put_ping(&w, MQTT_PINGRESP), -ENOBUFS);
	assert_int_equal(w.err, -ENOBUFS);
	mqtt_writer_init(&w, MQTT_5, small, sizeof(small));
	assert_int_equal(mqtt_put_id(&w, MQTT_PUBACK, 1, 0), 0);
	assert_int_equal(mqtt_put_ping(&w, MQTT_PINGRESP), 0);
	assert_int_equal(mqtt_put_ping(&w, MQTT_PINGRESP), -ENOBUFS);
	mqtt_writer_init(&w, MQTT_5, small, 3);
	assert_int_equal(mqtt_put_id(&w, MQTT_PUBACK, 1, 0), -ENOBUFS);
	mqtt_writer_init(&w, MQTT_5, small, sizeof(small));
	w.max_packet = 4;
	assert_int_equal(mqtt_put_id(&w, MQTT_PUBACK, 1, MQTT_QUOTA), -EMSGSIZE);
	assert_int_equal(mqtt_put_id(&w, MQTT_PUBACK, 1, 0), 0);
}

/* A text has at most 65535 bytes [MQTT-4.7.3-3]. */
static void test_long_texts(void **state)
{
	static char text[65536];
	struct span fits = { (const uint8_t *)text, 65535 }, over = { (const uint8_t *)text, 65536 };
	struct mqtt_writer w = writer(MQTT_5);
	struct mqtt_publish p = { .topic = over };
	struct mqtt_connect c = { .client_id = fits };
	struct mqtt_connack k = {};

	(void)state;
	memset(text, 'a', sizeof(text));
	mqtt_props_init(&p.props);
	mqtt_props_init(&c.props);
	mqtt_props_init(&k.props);
	assert_int_equal(mqtt_put_publish(&w, &p), -EMSGSIZE);
	assert_int_equal(mqtt_put_unsub(&w, over), -EMSGSIZE);
	assert_int_equal(mqtt_put_sub(&w, &(struct mqtt_sub){ .filter = over }), -EMSGSIZE);
	assert_int_equal(mqtt_put_user(&w, &(struct mqtt_user){ over, {} }), -EMSGSIZE);
	assert_int_equal(mqtt_put_user(&w, &(struct mqtt_user){ {}, over }), -EMSGSIZE);
	assert_int_equal(mqtt_put_connect(&w, &c), 0);
	w = writer(MQTT_5);
	c.client_id = over;
	assert_int_equal(mqtt_put_connect(&w, &c), -EMSGSIZE);
	mqtt_props_set_span(&k.props, MQTT_P_CLIENT_ID, over);
	assert_int_equal(mqtt_put_connack(&w, &k), -EMSGSIZE);
	mqtt_props_init(&k.props);
	mqtt_props_set_span(&k.props, MQTT_P_REASON, over); /* which can be left out */
	assert_int_equal(mqtt_put_connack(&w, &k), 0);
	assert_bytes(&w, SPAN("\x20\3\0\0\0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connect),  cmocka_unit_test(test_small),
		cmocka_unit_test(test_acks),     cmocka_unit_test(test_lists),
		cmocka_unit_test(test_publish),  cmocka_unit_test(test_delivery),
		cmocka_unit_test(test_left_out), cmocka_unit_test(test_left_out_of_connack),
		cmocka_unit_test(test_overflow), cmocka_unit_test(test_long_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
