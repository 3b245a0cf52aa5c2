/* test_wire_packets.c - PUBLISH, the acknowledgements, lists, the ends: what is one, what is none and why. */
#include "proto/mqtt/test_wire.h"

#define MAL MQTT_MALFORMED
#define ERR MQTT_PROTOCOL_ERROR

static void test_publish(void **state)
{
	static const struct judged rows[] = {
		{ MQTT_311, C, 0x30, SPAN("\0\3a/bhello"), 0, "PUBLISH q0 r0 \"a/b\" 5 bytes" },
		{ MQTT_311, C, 0x3b, SPAN("\0\3a/b\0\7"), 0, "PUBLISH dup q1 r1 m7 \"a/b\" 0 bytes" },
		{ MQTT_5, C, 0x32,
		  SPAN("\0\3a/b\0\7\5\2\0\0\0\x1e"
		       "twelve bytes"),
		  0, "PUBLISH q1 r0 m7 \"a/b\" 12 bytes expiry=30" },
		{ MQTT_5, S, 0x34, SPAN("\0\1a\xff\xff\x0c\x0b\1\x26\0\1k\0\1v\x0b\xff\x7fx"), 0,
		  "PUBLISH q2 r0 m65535 \"a\" 1 bytes sub-id=1 sub-id=16383 user=\"k\":\"v\"" },
		{ MQTT_5, C, 0x30, SPAN("\0\0\3\x23\0\1"), 0, "PUBLISH q0 r0 \"\" 0 bytes alias=1" },
		{ MQTT_5, C, 0x30, SPAN("\0\1$\0"), 0, "PUBLISH q0 r0 \"$\" 0 bytes" },
		{ MQTT_5, C, 0x30, SPAN("\0\1\n\0"), 0,
		  "PUBLISH q0 r0 \"\\n\" 0 bytes" }, /* one line, whatever it is */
		{ MQTT_5, C, 0x30, SPAN("\0\1a\5\x09\0\2xy"), 0, "PUBLISH q0 r0 \"a\" 0 bytes correlation=2-bytes" },
		{ MQTT_5, C, 0x30, SPAN("\0\0\0"), ERR, "topic-empty" },
		{ MQTT_5, C, 0x30, SPAN("\0\0\5\2\0\0\0\1"), ERR, "topic-empty" },
		{ MQTT_311, C, 0x30, SPAN("\0\0"), ERR, "topic-empty" }, /* CVE-2021-34432 */
		/* [MQTT-3.3.2-2], near and far from the word's edge */
		{ MQTT_5, C, 0x30, SPAN("\0\1#\0"), MQTT_BAD_TOPIC, "topic-invalid" },
		{ MQTT_5, C, 0x30,
		  SPAN("\0\x0a"
		       "1234567/+9\0"),
		  MQTT_BAD_TOPIC, "topic-invalid" },
		{ MQTT_311, C, 0x30,
		  SPAN("\0\x08"
		       "123456/+"),
		  MQTT_BAD_TOPIC, "topic-invalid" },
		{ MQTT_311, C, 0x30, SPAN("\0\x0f#bcdefghijklmno"), MQTT_BAD_TOPIC, "topic-invalid" },
		{ MQTT_311, C, 0x30, SPAN("\0\x10+bcdefghijklmnop"), MQTT_BAD_TOPIC, "topic-invalid" },
		/* [MQTT-3.3.2-1], CVE-2017-7653 */
		{ MQTT_311, C, 0x30, SPAN("\0\3a\0b"), MAL, "text-malformed" },
		{ MQTT_5, C, 0x30, SPAN("\0\2\xc0\x80\0"), MAL, "text-malformed" },
		{ MQTT_311, C, 0x30, SPAN("\0\3\xed\xa0\x80"), MAL, "text-malformed" },
		{ MQTT_311, C, 0x30, SPAN("\0\5abc"), MAL, "packet-malformed" },
		{ MQTT_311, C, 0x30, SPAN("\0"), MAL, "packet-malformed" },
		{ MQTT_311, C, 0x30, SPAN(""), MAL, "packet-malformed" },
		{ MQTT_311, C, 0x32, SPAN("\0\1a\0\0"), ERR, "id-zero" }, /* [MQTT-2.2.1-3] */
		{ MQTT_5, S, 0x34, SPAN("\0\1a\0\0\0"), ERR, "id-zero" }, /* [MQTT-2.2.1-4] */
		{ MQTT_311, C, 0x32, SPAN("\0\1a\0"), MAL, "packet-malformed" },
		{ MQTT_5, C, 0x30, SPAN("\0\1a"), MAL, "packet-malformed" }, /* [MQTT-2.2.2-1] */
		{ MQTT_5, C, 0x30, SPAN("\0\1a\4\2\0\0\0"), MAL, "packet-malformed" },
		{ MQTT_5, C, 0x30, SPAN("\0\1a\3\x23\0\0"), MQTT_BAD_ALIAS, "property-range" }, /* [MQTT-3.3.2-8] */
		{ MQTT_5, C, 0x30, SPAN("\0\1a\2\x0b\1"), ERR, "property-misplaced" },          /* [MQTT-3.3.4-6] */
	};

	(void)state;
	judge_all(rows, COUNT(rows));
}

static void test_acks(void **state)
{
	static const struct judged rows[] = {
		{ MQTT_311, C, 0x40, SPAN("\0\7"), 0, "PUBACK m7" },
		{ MQTT_31, C, 0x6a, SPAN("\0\7"), 0, "PUBREL m7" },
		{ MQTT_5, C, 0x40, SPAN("\0\7"), 0, "PUBACK m7" },
		{ MQTT_5, S, 0x50, SPAN("\0\7\x10"), 0, "PUBREC m7 0x10 (No matching subscribers)" },
		{ MQTT_5, C, 0x62, SPAN("\0\7\x92\0"), 0, "PUBREL m7 0x92 (Packet Identifier not found)" },
		{ MQTT_5, C, 0x70, SPAN("\0\7\0\6\x1f\0\3why"), 0, "PUBCOMP m7 reason=\"why\"" },
		{ MQTT_5, S, 0x40, SPAN("\0\7\x97\x0e\x26\0\1k\0\1v\x26\0\1k\0\1w"), 0,
		  "PUBACK m7 0x97 (Quota exceeded) user=\"k\":\"v\" user=\"k\":\"w\"" },
		{ MQTT_311, C, 0x40, SPAN("\0\0"), ERR, "id-zero" }, /* [MQTT-2.2.1-5] */
		{ MQTT_5, C, 0x50, SPAN("\0\0\x10"), ERR, "id-zero" },
		{ MQTT_311, C, 0x40, SPAN("\0\7\0"), MAL, "bytes-left" },
		{ MQTT_311, C, 0x40, SPAN("\0"), MAL, "packet-malformed" },
		{ MQTT_5, C, 0x40, SPAN(""), MAL, "packet-malformed" },
		{ MQTT_5, C, 0x40, SPAN("\0\7\0\0\0"), MAL, "bytes-left" },
		{ MQTT_5, C, 0x40, SPAN("\0\7\0\1"), MAL, "packet-malformed" },
		{ MQTT_5, C, 0x40, SPAN("\0\7\x92"), ERR, "reason-unknown" }, /* [MQTT-3.4.2-1] */
		{ MQTT_5, C, 0x50, SPAN("\0\7\1"), ERR, "reason-unknown" },   /* [MQTT-3.5.2-1] */
		{ MQTT_5, C, 0x62, SPAN("\0\7\x10"), ERR, "reason-unknown" }, /* [MQTT-3.6.2-1] */
		{ MQTT_5, C, 0x70, SPAN("\0\7\x80"), ERR, "reason-unknown" }, /* [MQTT-3.7.2-1] */
		{ MQTT_5, C, 0x40, SPAN("\0\7\0\2\1\1"), MAL, "property-misplaced" },
	};

	(void)state;
	judge_all(rows, COUNT(rows));
}

static void test_subscribe(void **state)
{
	static const struct judged rows[] = {
		{ MQTT_311, C, 0x82, SPAN("\0\1\0\3a/#\1\0\1b\0"), 0, "SUBSCRIBE m1 \"a/#\" q1 \"b\" q0" },
		{ MQTT_31, C, 0x8a, SPAN("\0\1\0\1a\2"), 0, "SUBSCRIBE m1 \"a\" q2" },
		{ MQTT_5, C, 0x82, SPAN("\0\1\2\x0b\5\0\1a\x2e"), 0,
		  "SUBSCRIBE m1 sub-id=5 \"a\" q2 no-local as-published retain-handling=2" },
		{ MQTT_5, C, 0x82, SPAN("\0\1\0\0\x0a$share/g/a\x19"), 0,
		  "SUBSCRIBE m1 \"$share/g/a\" q1 as-published retain-handling=1" },
		{ MQTT_5, C, 0x82, SPAN("\0\1\0\0\0\0"), 0, "SUBSCRIBE m1 \"\" q0" }, /* the store says no */
		{ MQTT_5, C, 0x82, SPAN("\0\1\0"), ERR, "filters-none" },             /* [MQTT-3.8.3-2] */
		{ MQTT_311, C, 0x82, SPAN("\0\1"), ERR, "filters-none" },
		{ MQTT_5, C, 0x82, SPAN("\0\0\0\0\1a\0"), ERR, "id-zero" },
		{ MQTT_311, C, 0x82, SPAN("\0\0\0\1a\0"), ERR, "id-zero" },
		{ MQTT_5, C, 0x82, SPAN("\0\1\0\0\1a\x40"), MAL, "options-reserved" }, /* [MQTT-3.8.3-5] */
		{ MQTT_5, C, 0x82, SPAN("\0\1\0\0\1a\x80"), MAL, "options-reserved" },
		{ MQTT_311, C, 0x82, SPAN("\0\1\0\1a\4"), MAL, "options-reserved" },
		{ MQTT_31, C, 0x82, SPAN("\0\1\0\1a\x10"), MAL, "options-reserved" },
		{ MQTT_5, C, 0x82, SPAN("\0\1\0\0\1a\3"), ERR, "qos-invalid" },
		{ MQTT_311, C, 0x82, SPAN("\0\1\0\1a\3"), ERR, "qos-invalid" },
		{ MQTT_5, C, 0x82, SPAN("\0\1\0\0\1a\x30"), ERR, "retain-handling" },
		{ MQTT_5, C, 0x82, SPAN("\0\1\0\0\x0a$share/g/a\4"), ERR, "no-local-shared" }, /* [MQTT-3.8.3-4] */
		/* what is wrong in the last entry is wrong before the first is seen */
		{ MQTT_5, C, 0x82, SPAN("\0\1\0\0\1a\0\0\1b\3"), ERR, "qos-invalid" },
		{ MQTT_5, C, 0x82, SPAN("\0\1\0\0\1a\0\0\1b"), MAL, "packet-malformed" },
		{ MQTT_5, C, 0x82, SPAN("\0\1\0\0\1a\0\0"), MAL, "packet-malformed" },
		{ MQTT_5, C, 0x82, SPAN("\0\1\0\0\1\xff\0"), MAL, "text-malformed" }, /* [MQTT-3.8.3-1] */
		{ MQTT_311, C, 0x82, SPAN("\0\1\0\3a\0b\0"), MAL, "text-malformed" },
		{ MQTT_5, C, 0xa2, SPAN("\0\2\0\0\1a\0\1#"), 0, "UNSUBSCRIBE m2 \"a\" \"#\"" },
		{ MQTT_311, C, 0xa2, SPAN("\0\2\0\1a"), 0, "UNSUBSCRIBE m2 \"a\"" },
		{ MQTT_5, C, 0xa2, SPAN("\0\2\0"), ERR, "filters-none" }, /* [MQTT-3.10.3-2] */
		{ MQTT_311, C, 0xa2, SPAN("\0\2"), ERR, "filters-none" },
		{ MQTT_311, C, 0xa2, SPAN("\0\0\0\1a"), ERR, "id-zero" },
		{ MQTT_5, C, 0xa2, SPAN("\0\2\0\0\2a"), MAL, "packet-malformed" },
		{ MQTT_5, C, 0xa2, SPAN("\0\2\0\0\1\0"), MAL, "text-malformed" }, /* [MQTT-3.10.3-1] */
		{ MQTT_5, C, 0xa2, SPAN("\0\2\2\x0b\1\0\1a"), MAL, "property-misplaced" },
	};

	(void)state;
	judge_all(rows, COUNT(rows));
}

static void test_answers(void **state)
{
	static const struct judged rows[] = {
		{ MQTT_311, S, 0x90, SPAN("\0\1\0\1\2\x80"), 0, "SUBACK m1 q0 q1 q2 0x80" },
		{ MQTT_5, S, 0x90, SPAN("\0\1\0\1\x87"), 0, "SUBACK m1 q1 0x87" },
		{ MQTT_5, S, 0x90, SPAN("\0\1\5\x1f\0\2no\x9e"), 0, "SUBACK m1 reason=\"no\" 0x9e" },
		{ MQTT_311, S, 0x90, SPAN("\0\1\3"), ERR, "reason-unknown" },
		{ MQTT_311, S, 0x90, SPAN("\0\1\x87"), ERR, "reason-unknown" },
		{ MQTT_5, S, 0x90, SPAN("\0\1\0\0\x11"), ERR, "reason-unknown" }, /* [MQTT-3.9.3-2] */
		{ MQTT_5, S, 0x90, SPAN("\0\1\0"), ERR, "codes-none" },
		{ MQTT_311, S, 0x90, SPAN("\0\1"), ERR, "codes-none" },
		{ MQTT_311, S, 0x90, SPAN("\0\0\1"), ERR, "id-zero" },
		{ MQTT_311, S, 0xb0, SPAN("\0\1"), 0, "UNSUBACK m1" },
		{ MQTT_5, S, 0xb0, SPAN("\0\1\0\0\x11"), 0, "UNSUBACK m1 0x00 0x11" },
		{ MQTT_311, S, 0xb0, SPAN("\0\1\0"), MAL, "bytes-left" },
		{ MQTT_5, S, 0xb0, SPAN("\0\1\0\1"), ERR, "reason-unknown" }, /* [MQTT-3.11.3-2] */
		{ MQTT_5, S, 0xb0, SPAN("\0\1\0"), ERR, "codes-none" },
		{ MQTT_5, S, 0xb0, SPAN("\0\1"), MAL, "packet-malformed" },
		{ MQTT_311, S, 0xb0, SPAN("\0\0"), ERR, "id-zero" },
	};

	(void)state;
	judge_all(rows, COUNT(rows));
}

static void test_ends(void **state)
{
	static const struct judged rows[] = {
		{ MQTT_311, C, 0xe0, SPAN(""), 0, "DISCONNECT" },
		{ MQTT_311, C, 0xe0, SPAN("\0"), MAL, "bytes-left" },
		{ MQTT_5, C, 0xe0, SPAN(""), 0, "DISCONNECT 0x00 (Success)" },
		{ MQTT_5, C, 0xe0, SPAN("\4"), 0, "DISCONNECT 0x04 (Disconnect with Will Message)" },
		{ MQTT_5, C, 0xe0, SPAN("\0\5\x11\0\0\0\1"), 0, "DISCONNECT 0x00 (Success) session-expiry=1" },
		{ MQTT_5, S, 0xe0, SPAN("\x9d\4\x1c\0\1s"), 0, "DISCONNECT 0x9d (Server moved) server=\"s\"" },
		{ MQTT_5, S, 0xe0, SPAN("\0\5\x11\0\0\0\1"), ERR, "property-misplaced" }, /* [MQTT-3.14.2-2] */
		{ MQTT_5, S, 0xe0, SPAN("\4"), ERR, "reason-unknown" },                   /* [MQTT-3.14.2-1] */
		{ MQTT_5, C, 0xe0, SPAN("\x8e"), ERR, "reason-unknown" },
		{ MQTT_5, C, 0xe0, SPAN("\1"), ERR, "reason-unknown" },
		{ MQTT_5, C, 0xe0, SPAN("\0\0\0"), MAL, "bytes-left" },
		{ MQTT_5, C, 0xf0, SPAN("\x18\7\x15\0\1m\x16\0\0"), 0,
		  "AUTH 0x18 (Continue authentication) auth-method=\"m\" auth-data=0-bytes" },
		{ MQTT_5, S, 0xf0, SPAN(""), 0, "AUTH 0x00 (Success)" },
		{ MQTT_5, C, 0xf0, SPAN(""), ERR, "reason-unknown" }, /* [MQTT-3.15.2-1] */
		{ MQTT_5, S, 0xf0, SPAN("\x19\4\x15\0\1m"), ERR, "reason-unknown" },
		{ MQTT_5, C, 0xf0, SPAN("\x18"), MAL, "packet-malformed" },
		{ MQTT_5, C, 0xf0, SPAN("\x18\0"), ERR, "auth-method-missing" },
		{ MQTT_5, C, 0xf0, SPAN("\x18\4\x16\0\1d"), ERR, "auth-method-missing" },
		{ MQTT_311, C, 0xc0, SPAN(""), 0, "PINGREQ" },
		{ MQTT_5, S, 0xd0, SPAN(""), 0, "PINGRESP" },
		{ MQTT_5, C, 0xc0, SPAN("x"), MAL, "bytes-left" },
		{ MQTT_31, S, 0xd0, SPAN("x"), MAL, "bytes-left" },
	};

	(void)state;
	judge_all(rows, COUNT(rows));
}

/* What cannot be read is said so, with what could. */
static void test_describe_bad(void **state)
{
	struct mqtt_frame f = {
		.form = { MQTT_5, C }, .type = MQTT_SUBSCRIBE, .flags = 2, .body = SPAN("\0\1\0\0\1a\3")
	};
	char text[200];
	struct buf b;

	(void)state;
	buf_init_fixed(&b, text, sizeof(text));
	mqtt_describe(&f, &b);
	assert_string_equal(text, "SUBSCRIBE bad: qos-invalid 0x82, 7 bytes");
	buf_reset(&b);
	f.type = 0;
	mqtt_describe(&f, &b);
	assert_string_equal(text, "packet");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_publish), cmocka_unit_test(test_acks), cmocka_unit_test(test_subscribe),
		cmocka_unit_test(test_answers), cmocka_unit_test(test_ends), cmocka_unit_test(test_describe_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
