/* test_mqtt_told.c - what some clients are told: another server when this one ends, and where answers to them may go. */
#include "proto/mqtt/test_talk.h"

#include "store/people_priv.h"
#include "store/topics_priv.h"

static struct mqtt_end take_end(struct memconn *c, unsigned code)
{
	struct mqtt_frame f = take_packet(c, MQTT_DISCONNECT);
	const char *why = NULL;
	struct mqtt_end e;

	assert_int_equal(mqtt_parse_end(&f, &e, &why), 0);
	assert_int_equal(e.code, code);
	return e;
}

/* ---- response information ---- */

/* NULL: none. */
static void is_told(struct world *w, const char *name, bool asks, const char *text)
{
	struct memconn *c = world_client(w);
	struct mqtt_connack back;

	talk_greet(c, &(struct hello){ .name = name, .clean = true, .asks = asks });
	back = talk_greeted(c, MQTT_OK);
	assert_int_equal((back.props.has & MQTT_HAS(MQTT_P_RESPONSE_INFO)) != 0, text != NULL);
	if (text)
		assert_true(span_is(back.props.response_info, text));
	talk_bye(c);
}

static void test_response(void **state)
{
	static char longest[2000];
	struct mqtt_connack back;
	struct memconn *c;
	struct world w;

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "response_information", "answers/%c");
	is_told(&w, "one", true, "answers/one");
	is_told(&w, "one", false, NULL);
	is_told(&w, "a/b", true, NULL); /* it would be another one's place too */
	is_told(&w, "#", true, NULL);
	is_told(&w, longest, true, NULL);
	c = world_client(&w);
	talk_greet(c,
		   &(struct hello){ .name = "", .clean = true, .asks = true }); /* the identifier that it was given */
	back = talk_greeted(c, MQTT_OK);
	assert_int_equal(back.props.response_info.n, strlen("answers/") + back.props.client_id.n);
	assert_memory_equal(back.props.response_info.p + strlen("answers/"), back.props.client_id.p,
			    back.props.client_id.n);
	world_close(&w);
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "response_information", "answers/%u");
	is_told(&w, "one", true, NULL); /* nobody in particular */
	world_close(&w);
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
	is_told(&w, "one", true, NULL);
	world_close(&w);
	assert_refused(&mqtt_proto, "response_information: must be", "response_information", "answers/+/x");
	assert_refused(&mqtt_proto, "response_information: must be", "response_information", "answers/\xff");
	assert_refused(&mqtt_proto, "server_reference: must be", "server_reference", "a\xff");
	assert_refused(&mqtt_proto, "server_reference: must be", "server_reference", "");
	assert_refused(&mqtt_proto, "packet: must be at most", "packet", "16M", "disk", "64M");
	assert_refused(&mqtt_proto, "\nresponse_information: must be", "server_reference", "", "response_information",
		       "#");
}

/* ---- clients that take small packets ---- */

static struct memconn *send_small(struct world *w, const char *name, uint32_t expiry, uint32_t most)
{
	struct mqtt_connect p = { .version = MQTT_5, .client_id = span_str(name), .keep_alive = 60 };
	struct memconn *c = world_client(w);
	uint8_t array[TALK_BYTES];
	struct mqtt_writer out;

	mqtt_props_init(&p.props);
	mqtt_props_init(&p.will_props);
	mqtt_props_set(&p.props, MQTT_P_REQUEST_RESPONSE, 1);
	mqtt_props_set(&p.props, MQTT_P_MAX_PACKET, most);
	if (expiry)
		mqtt_props_set(&p.props, MQTT_P_SESSION_EXPIRY, expiry);
	mqtt_writer_init(&out, MQTT_5, array, sizeof(array));
	assert_int_equal(mqtt_put_connect(&out, &p), 0);
	send_written(c, &out);
	return c;
}

/* What it need not know is not told. Where there is no room for what it must know, it is told so, and it is as if it had never come. */
static void test_small(void **state)
{
	struct mqtt_connack back;
	struct memconn *c;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "response_information", "answers/%c", "keepalive_max",
		   "30");
	c = send_small(&w, "c", 0, 31);
	back = talk_greeted(c, MQTT_OK);
	assert_true(back.props.has & MQTT_HAS(MQTT_P_RESPONSE_INFO));
	memconn_reset(c);
	c = send_small(&w, "c", 0, 30);
	back = talk_greeted(c, MQTT_OK);
	assert_false(back.props.has & MQTT_HAS(MQTT_P_RESPONSE_INFO));
	assert_true(back.props.has & MQTT_HAS(MQTT_P_ALIAS_MAX));
	memconn_reset(c);
	c = send_small(&w, "c", 600, 16);
	back = talk_greeted(c, MQTT_OK);
	assert_false(back.props.has & MQTT_HAS(MQTT_P_ALIAS_MAX));
	assert_int_equal(back.props.keep_alive, 30);
	memconn_reset(c);
	for (unsigned most = 15; most >= 4; most--) { /* as a new one, then in the place of one that is known */
		c = send_small(&w, most % 2 ? "d" : "c", 600, most);
		if (most >= 5)
			talk_greeted(c, MQTT_TOO_LARGE);
		assert_said(c, "");
		assert_int_equal(memconn_end(c), MEM_CLOSED);
		assert_string_equal(memconn_reason(c), "packet-too-large");
		assert_int_equal(talk_service(&w)->topics->names.n, 1);
	}
	talk_greeted(send_small(&w, "c", 0, 5), MQTT_TOO_LARGE); /* nor does it end what is there */
	c = send_small(&w, "c", 600, 100);
	assert_true(talk_greeted(c, MQTT_OK).session_present);
	talk_greeted(send_small(&w, "c", 600, 5), MQTT_TOO_LARGE); /* or sends away who is */
	assert_int_equal(memconn_end(c), MEM_OPEN);
	world_close(&w);
}

/* ---- another server ---- */

static void greet_old(struct memconn *c)
{
	memconn_send(c, "\x10\x0d\0\4MQTT\4\2\0\0\0\1o", 15, 0);
}

static void test_stop(void **state)
{
	struct memconn *old, *new, *silent;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
	new = talk_enter(&w, "n");
	silent = world_client(&w);
	memdrive_stop(w.drive);
	assert_false(take_end(new, MQTT_SHUTTING_DOWN).props.has & MQTT_HAS(MQTT_P_SERVER));
	assert_int_equal(memconn_end(silent), MEM_CLOSED);
	world_close(&w);
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "server_reference", "b.example:1883 c.example");
	new = talk_enter(&w, "n");
	old = world_client(&w);
	greet_old(old);
	assert_said(old, "\x20\2\0\0");
	memdrive_stop(w.drive);
	assert_true(span_is(take_end(new, MQTT_USE_ANOTHER).props.server, "b.example:1883 c.example"));
	assert_string_equal(memconn_reason(new), "stopping");
	assert_int_equal(memconn_end(new), MEM_CLOSED);
	assert_said(old, "");
	assert_int_equal(memconn_end(old), MEM_CLOSED);
	world_close(&w);
}

/* Who has connected and not yet said CONNECT may do that for a moment. */
static void test_stop_at_the_door(void **state)
{
	struct memconn *old, *new, *silent;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0", "server_reference", "b.example");
	old = world_client(&w);
	new = world_client(&w);
	silent = world_client(&w);
	memdrive_stop(w.drive);
	talk_greet(new, &(struct hello){ .name = "n", .clean = true });
	assert_true(span_is(talk_greeted(new, MQTT_USE_ANOTHER).props.server, "b.example"));
	assert_int_equal(memconn_end(new), MEM_CLOSED);
	greet_old(old);
	assert_said(old, "\x20\2\0\3");
	assert_int_equal(memconn_end(old), MEM_CLOSED);
	memdrive_advance(w.drive, SEC - MSEC);
	assert_int_equal(memconn_end(silent), MEM_OPEN);
	memdrive_advance(w.drive, MSEC);
	assert_said(silent, "");
	assert_int_equal(memconn_end(silent), MEM_CLOSED);
	assert_string_equal(memconn_reason(silent), "stopping");
	world_close(&w);
}

/* In the middle of its login: it knows a version, so it gets an answer. */
static void stop_in_a_login(const char *server, unsigned code)
{
	struct mem_setup setup = {};
	struct people *p;
	struct memconn *c;
	struct world w;
	struct mqtt_connack back;
	struct mqtt_connect m = { .version = MQTT_5, .clean = true };
	uint8_t array[TALK_BYTES];
	struct mqtt_writer out;

	assert_int_equal(access_new(&setup.access), 0);
	assert_int_equal(people_parse(span_str("alice\n"), &p, NULL, NULL), 0);
	access_set(setup.access, p, NULL);
	people_unref(p);
	world_open(&w, &mqtt_proto, &setup, "sys_interval", "0", server ? "server_reference" : "queue",
		   server ? server : "1000");
	c = world_client(&w);
	mqtt_props_init(&m.props);
	mqtt_props_set_span(&m.props, MQTT_P_AUTH_METHOD, span_str("SCRAM-SHA-256"));
	mqtt_writer_init(&out, MQTT_5, array, sizeof(array));
	assert_int_equal(mqtt_put_connect(&out, &m), 0);
	send_written(c, &out);
	take_packet(c, MQTT_AUTH);
	memdrive_stop(w.drive);
	back = talk_greeted(c, code);
	assert_int_equal((back.props.has & MQTT_HAS(MQTT_P_SERVER)) != 0, server != NULL);
	assert_int_equal(memconn_end(c), MEM_CLOSED);
	world_close(&w);
	access_free(&setup.access);
}

static void test_stop_in_a_login(void **state)
{
	(void)state;
	stop_in_a_login(NULL, MQTT_SERVER_UNAVAILABLE);
	stop_in_a_login("b.example", MQTT_USE_ANOTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_response),
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_stop_at_the_door),
		cmocka_unit_test(test_stop_in_a_login),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
