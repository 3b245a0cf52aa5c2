/* test_mqtt_trace.c - the trace decodes every packet, in both directions, once. */
#include "proto/mqtt/test_talk.h"

static struct world w;

static void begin(void)
{
	world_open(&w, &mqtt_proto, &(struct mem_setup){ .trace = true }, "sys_interval", "0");
}

static int end(void **state)
{
	(void)state;
	world_close(&w);
	return 0;
}

/* The line of this note behind `*at`, which goes behind it. */
static void noted(const char **at, const char *note)
{
	const char *line = strstr(*at, note);

	if (!line)
		fail_msg("no \"%s\" in:\n%s", note, *at);
	*at = line + strlen(note);
}

static unsigned how_many(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

/* What the drive wrote so far; it ends with a NUL, as every buf. */
static const char *trace(void)
{
	return (const char *)memdrive_trace(w.drive).p;
}

static void test_answers(void **state)
{
	struct memconn *c;
	const char *at;

	(void)state;
	begin();
	c = talk_enter(&w, "c");
	talk_subscribe(c, "a/#", 2);
	talk_publish(c, &(struct say){ .topic = "a/b", .payload = "one", .qos = 1, .id = 7, .expiry = 30 });
	take_packet(c, MQTT_PUBACK);
	talk_id(c, MQTT_PUBACK, talk_take(c).id);
	talk_publish(c, &(struct say){ .topic = "a", .payload = "two", .qos = 2, .id = 8 });
	take_packet(c, MQTT_PUBREC);
	talk_id(c, MQTT_PUBREL, 8);
	memconn_send(c, "\xc0\0", 2, 0);
	memconn_send(c, "\x62\2\0\x63", 4, 0); /* a PUBREL of nothing */
	at = trace();
	noted(&at, "+< CONNECT v5.0 c1 k0 \"c\"");
	noted(&at, "+> CONNACK s0 0x00 (Success) ");
	noted(&at, "+< SUBSCRIBE m1 \"a/#\" q2\n");
	noted(&at, "+> SUBACK m1 q2\n");
	noted(&at, "+< PUBLISH q1 r0 m7 \"a/b\" 3 bytes expiry=30\n");
	noted(&at, "+> PUBACK m7\n");
	noted(&at, "+> PUBLISH q1 r0 m1 \"a/b\" 3 bytes expiry=30\n");
	noted(&at, "+< PUBACK m1\n");
	noted(&at, "+> PUBREC m8\n");
	noted(&at, "+> PUBCOMP m8\n");
	noted(&at, "+> PINGRESP\n");
	noted(&at, "+> PUBCOMP m99 0x92 (Packet Identifier not found)\n");
	assert_null(strstr(trace(), "bad:"));
	memconn_send(c, "\x10\0", 2, 0); /* a second CONNECT */
	at = trace();
	noted(&at, "+< CONNECT bad: connect-twice 0x82\n");
	noted(&at, "+> DISCONNECT 0x82 (Protocol Error)");
}

/* The older form, whose QoS 0 messages are sent as they lie there. */
static void test_old(void **state)
{
	struct memconn *c;
	const char *at;

	(void)state;
	begin();
	c = world_client(&w);
	memconn_send(c, "\x10\x0d\0\4MQTT\4\2\0\0\0\1c", 15, 0);
	memconn_send(c, "\x82\6\0\1\0\1a\0", 8, 0);
	memconn_send(c, "\x30\5\0\1axy", 7, 0);
	at = trace();
	noted(&at, "+> CONNACK s0 0 (accepted)\n");
	noted(&at, "+> SUBACK m1 q0\n");
	noted(&at, "+> PUBLISH q0 r0 \"a\" 2 bytes\n");
}

/* A CONNECT that has to wait is looked at twice, and was said once. */
static void test_once(void **state)
{
	struct memconn *old, *c;

	(void)state;
	begin();
	old = talk_enter(&w, "c");
	c = talk_enter(&w, "c");
	take_packet(old, MQTT_DISCONNECT);
	talk_bye(c);
	assert_int_equal(how_many(trace(), "+< CONNECT"), 2);
	assert_int_equal(how_many(trace(), "+> CONNACK"), 2);
	assert_int_equal(how_many(trace(), "+> DISCONNECT 0x8e"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_answers, end),
		cmocka_unit_test_teardown(test_old, end),
		cmocka_unit_test_teardown(test_once, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
