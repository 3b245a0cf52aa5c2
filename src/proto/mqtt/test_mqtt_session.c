/* test_mqtt_session.c - what a session is known by, what its packets are known by, and how long both last. */
#include "proto/mqtt/test_talk.h"

static void open_world(struct world *w)
{
	world_open(w, &mqtt_proto, NULL, "sys_interval", "0");
}

/* ---- names ---- */

enum { NAME_MAX_BYTES = 64 };

/* Who has none is given one, and told which. */
static struct memconn *unnamed(struct world *w, uint32_t expiry, char name[NAME_MAX_BYTES])
{
	struct memconn *c = world_client(w);
	struct mqtt_connack back;

	talk_greet(c, &(struct hello){ .name = "", .clean = true, .expiry = expiry });
	back = talk_greeted(c, MQTT_OK);
	assert_true(back.props.has & MQTT_HAS(MQTT_P_CLIENT_ID));
	assert_in_range(back.props.client_id.n, 1, NAME_MAX_BYTES - 1);
	memcpy(name, back.props.client_id.p, back.props.client_id.n);
	name[back.props.client_id.n] = 0;
	return c;
}

/* Nobody else has that name, so nobody is taken over. [MQTT-3.1.3-6] [MQTT-3.2.2-16] */
static void test_assigned_names_differ(void **state)
{
	enum { CLIENTS = 200 };
	static char names[CLIENTS][NAME_MAX_BYTES];
	struct memconn *c[CLIENTS];
	struct world w;

	(void)state;
	open_world(&w);
	for (int i = 0; i < CLIENTS; i++) {
		c[i] = unnamed(&w, 0, names[i]);
		for (int k = 0; k < i; k++)
			assert_string_not_equal(names[i], names[k]);
	}
	for (int i = 0; i < CLIENTS; i++)
		assert_int_equal(memconn_end(c[i]), MEM_OPEN);
	assert_int_equal(talk_count(&w, MQTT_TAKEN), 0);
	world_close(&w);
}

/* It is as good as one of its own: the session is found again under it, and it takes over who has it. [MQTT-3.1.3-7] */
static void test_assigned_name_is_its_own(void **state)
{
	char name[NAME_MAX_BYTES];
	struct memconn *a, *b, *c;
	struct world w;

	(void)state;
	open_world(&w);
	a = talk_enter(&w, "a");
	b = unnamed(&w, 60, name);
	talk_subscribe(b, "t", 1);
	memconn_reset(b);
	talk_publish(a, &(struct say){ .topic = "t", .payload = "x", .qos = 1, .id = 1 });
	take_packet(a, MQTT_PUBACK);
	b = talk_hello(&w, &(struct hello){ .name = name, .expiry = 60 }, true);
	assert_true(span_is(talk_take(b).payload, "x"));
	c = talk_hello(&w, &(struct hello){ .name = name, .expiry = 60 }, true);
	take_packet(b, MQTT_DISCONNECT);
	assert_true(talk_take(c).dup);
	world_close(&w);
}

/* ---- how long ---- */

/* The time of a session begins when its connection ends, not before. [MQTT-4.1.0-1] */
static void test_stays_while_connected(void **state)
{
	struct memconn *a, *b;
	struct world w;

	(void)state;
	open_world(&w);
	a = talk_enter(&w, "a");
	b = talk_hello(&w, &(struct hello){ .name = "b", .clean = true, .expiry = 5 }, false);
	talk_subscribe(b, "t", 1);
	for (int i = 0; i < 3; i++) {
		memdrive_advance(w.drive, 3600 * SEC);
		talk_publish(a, &(struct say){ .topic = "t", .payload = "x", .qos = 1, .id = 1 });
		take_packet(a, MQTT_PUBACK);
		talk_id(b, MQTT_PUBACK, talk_take(b).id);
		memconn_reset(b);
		memdrive_advance(w.drive, 4 * SEC);
		b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 5 }, true);
	}
	world_close(&w);
}

/*
 * A message of QoS 2 may be over while it is under way: each half goes on to its end all the same, also in another
 * connection. [MQTT-4.3.3-7] [MQTT-4.3.3-13]
 */
static void test_over_while_under_way(void **state)
{
	struct memconn *a, *b;
	struct mqtt_publish p;
	uint16_t first, second;
	struct world w;

	(void)state;
	open_world(&w);
	a = talk_enter(&w, "a");
	b = talk_hello(&w, &(struct hello){ .name = "b", .clean = true, .expiry = 600 }, false);
	talk_subscribe(b, "t", 2);
	talk_publish(a, &(struct say){ .topic = "t", .payload = "1", .qos = 2, .id = 1, .expiry = 10 });
	talk_publish(a, &(struct say){ .topic = "t", .payload = "2", .qos = 2, .id = 2, .expiry = 10 });
	take_packet(a, MQTT_PUBREC);
	take_packet(a, MQTT_PUBREC);
	first = talk_take(b).id;
	second = talk_take(b).id;
	talk_id(b, MQTT_PUBREC, first);
	take_packet(b, MQTT_PUBREL);
	memdrive_advance(w.drive, 60 * SEC);
	memconn_reset(b);
	b = talk_hello(&w, &(struct hello){ .name = "b", .expiry = 600 }, true);
	assert_int_equal(take_packet(b, MQTT_PUBREL).body.n, 2);
	p = talk_take(b);
	assert_true(p.dup && p.qos == 2 && p.id == second && span_is(p.payload, "2"));
	talk_id(b, MQTT_PUBREC, second);
	take_packet(b, MQTT_PUBREL);
	talk_id(b, MQTT_PUBCOMP, first);
	talk_id(b, MQTT_PUBCOMP, second);
	assert_said(b, "");
	/* and what came from a client: it is the same message until PUBREL */
	talk_publish(a, &(struct say){ .topic = "t", .payload = "1", .qos = 2, .id = 1, .expiry = 10 });
	assert_said(a, "\x50\2\0\1");
	assert_said(b, "");
	talk_id(a, MQTT_PUBREL, 1);
	assert_said(a, "\x70\2\0\1");
	assert_int_equal(talk_count(&w, MQTT_EXPIRED), 0);
	world_close(&w);
}

/* ---- identifiers of packets ---- */

/*
 * Round and round: never 0, and never one that is under way, be it for PUBACK, PUBREC or PUBCOMP. [MQTT-2.2.1-4]
 * [MQTT-4.3.2-1] [MQTT-4.3.3-1]
 */
static void test_identifiers(void **state)
{
	enum { TIMES = 140000 };
	struct memconn *a, *b;
	uint16_t held[3];
	struct world w;

	(void)state;
	open_world(&w);
	a = talk_enter(&w, "a");
	b = talk_enter(&w, "b");
	talk_subscribe(b, "t", 2);
	for (uint16_t i = 0; i < 3; i++) {
		talk_publish(a, &(struct say){ .topic = "t", .payload = "x", .qos = i ? 2 : 1, .id = i + 1 });
		take_packet(a, i ? MQTT_PUBREC : MQTT_PUBACK);
		held[i] = talk_take(b).id;
	}
	talk_id(b, MQTT_PUBREC, held[2]);
	take_packet(b, MQTT_PUBREL);
	for (int i = 0; i < TIMES; i++) {
		uint16_t id;

		talk_publish(a, &(struct say){ .topic = "t", .payload = "x", .qos = 1, .id = 9 });
		take_packet(a, MQTT_PUBACK);
		id = talk_take(b).id;
		assert_true(id != 0 && id != held[0] && id != held[1] && id != held[2]);
		talk_id(b, MQTT_PUBACK, id);
	}
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_assigned_names_differ), cmocka_unit_test(test_assigned_name_is_its_own),
		cmocka_unit_test(test_stays_while_connected), cmocka_unit_test(test_over_while_under_way),
		cmocka_unit_test(test_identifiers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
