/* test_wire.c - where packets end and which may begin at all; CONNECT, CONNACK; names and codes. */
#include "proto/mqtt/test_wire.h"

static int frame(unsigned version, unsigned from, struct span in, size_t max, size_t *ret_total, const char **ret_why)
{
	struct mqtt_frame f = {};
	int r = mqtt_frame((struct mqtt_form){ (uint8_t)version, (uint8_t)from }, in, max, &f, ret_why);

	*ret_total = f.total;
	return r;
}

/* [MQTT-1.5.5-1]: every length as far as it goes, in every part of it, for every version. */
static void test_lengths(void **state)
{
	static const struct {
		struct span in;
		int r;
		size_t total;
		const char *why;
	} rows[] = {
		{ SPAN(""), 0, 2, "" },
		{ SPAN("\x30"), 0, 2, "" },
		{ SPAN("\x30\x00"), 1, 2, "" },
		{ SPAN("\x30\x7f"), 0, 129, "" },
		{ SPAN("\x30\x80"), 0, 3, "" },
		{ SPAN("\x30\x80\x01"), 0, 131, "" },
		{ SPAN("\x30\xff\x7f"), 0, 3 + 16383, "" },
		{ SPAN("\x30\x80\x80"), 0, 4, "" },
		{ SPAN("\x30\x80\x80\x01"), 0, 4 + 16384, "" },
		{ SPAN("\x30\xff\xff\x7f"), 0, 4 + 2097151, "" },
		{ SPAN("\x30\x80\x80\x80"), 0, 5, "" },
		{ SPAN("\x30\x80\x80\x80\x01"), 0, 5 + 2097152, "" },
		{ SPAN("\x30\xff\xff\xff\x7f"), 0, MQTT_PACKET_MAX, "" },
		{ SPAN("\x30\xff\xff\xff\xff"), -MQTT_MALFORMED, 0, "length-malformed" },
		{ SPAN("\x30\x80\x80\x80\x80\x01"), -MQTT_MALFORMED, 0, "length-malformed" },
		{ SPAN("\x30\x80\x00"), -MQTT_MALFORMED, 0, "length-malformed" },
		{ SPAN("\x30\x81\x00"), -MQTT_MALFORMED, 0, "length-malformed" },
		{ SPAN("\x30\x80\x80\x00"), -MQTT_MALFORMED, 0, "length-malformed" },
		{ SPAN("\x30\x80\x80\x80\x00"), -MQTT_MALFORMED, 0, "length-malformed" },
	};

	(void)state;
	for (unsigned version = MQTT_31; version <= MQTT_5; version++) {
		for (size_t i = 0; i < COUNT(rows); i++) {
			const char *why = "";
			size_t total;

			assert_int_equal(frame(version, C, rows[i].in, SIZE_MAX, &total, &why), rows[i].r);
			assert_int_equal(total, rows[i].total);
			assert_string_equal(why, rows[i].why);
		}
	}
}

/* A packet that is too large is refused by its header; one of exactly `max` bytes is not. */
static void test_too_large(void **state)
{
	const char *why = "";
	size_t total;

	(void)state;
	assert_int_equal(frame(MQTT_5, C, SPAN("\x30\x80\x01"), 131, &total, &why), 0);
	assert_int_equal(frame(MQTT_5, C, SPAN("\x30\x80\x01"), 130, &total, &why), -MQTT_TOO_LARGE);
	assert_string_equal(why, "packet-too-large");
	assert_int_equal(frame(0, C, SPAN("\x10\xff\xff\xff\x7f"), 65536, &total, &why), -MQTT_TOO_LARGE);
	/* before CONNECT nothing else is waited for, however long it says it is (CVE-2023-0809) */
	assert_int_equal(frame(0, C, SPAN("\x30"), 65536, &total, &why), -MQTT_PROTOCOL_ERROR);
	assert_string_equal(why, "first-not-connect");
}

/* [MQTT-3.1.0-1] [MQTT-3.1.0-2], and who sends what: all types, versions and sides. */
static void test_types(void **state)
{
	static const char *const may[4][2] = {
		/* client, server; by type from 0: x = as it is, r = reserved, u = unexpected, f = first, t = twice */
		{ "rxffffffffffffff", "ruffffffffffffff" },
		{ "rtuxxxxxxuxuxuxr", "ruxxxxxxuxuxuxur" },
		{ "rtuxxxxxxuxuxuxr", "ruxxxxxxuxuxuxur" },
		{ "rtuxxxxxxuxuxuxx", "ruxxxxxxuxuxuxxx" },
	};
	static const unsigned versions[] = { 0, MQTT_31, MQTT_311, MQTT_5 };

	(void)state;
	for (unsigned i = 0; i < 64; i++) {
		for (unsigned type = 0; type < 16; type++) {
			unsigned v = i / 16, from = i & 1;
			uint8_t first = (uint8_t)(type << 4);
			char want = may[v][from][type];
			const char *why = "";
			size_t total;
			int r;

			if (type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE)
				first |= 2;
			if (v == 0 && type == MQTT_AUTH)
				want = 'r';
			r = frame(versions[v], from, (struct span){ &first, 1 }, 100, &total, &why);
			if (want == 'x')
				assert_int_equal(r, 0);
			else
				assert_int_equal(r, want == 'r' ? -MQTT_MALFORMED : -MQTT_PROTOCOL_ERROR);
			if (want == 'r')
				assert_string_equal(why, "type-reserved");
			if (want == 'u')
				assert_string_equal(why, "packet-unexpected");
			if (want == 'f')
				assert_string_equal(why, "first-not-connect");
			if (want == 't')
				assert_string_equal(why, "connect-twice");
		}
	}
}

static bool flags_good(unsigned version, unsigned type, unsigned flags)
{
	if (type == MQTT_PUBLISH)
		return (flags & 6) != 6 && !((flags & 6) == 0 && flags & 8);
	if (type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE)
		return flags == 2 || (version == MQTT_31 && flags == 10);
	return flags == 0;
}

/* [MQTT-2.1.3-1], all there are: with [MQTT-3.3.1-2] [MQTT-3.3.1-4] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
 * [MQTT-3.14.1-1] [MQTT-3.15.1-1] */
static void test_flags(void **state)
{
	(void)state;
	for (unsigned version = MQTT_31; version <= MQTT_5; version++) {
		for (unsigned first = 0x20; first < 0x100; first++) {
			unsigned type = first >> 4, from;
			uint8_t in = (uint8_t)first;
			const char *why = "";
			size_t total;
			int r;

			from = type == MQTT_CONNACK || type == MQTT_SUBACK || type == MQTT_UNSUBACK ||
			       type == MQTT_PINGRESP;
			if (type == MQTT_AUTH && version != MQTT_5)
				continue;
			r = frame(version, from, (struct span){ &in, 1 }, 100, &total, &why);
			assert_int_equal(r, flags_good(version, type, first & 15) ? 0 : -MQTT_MALFORMED);
			if (r)
				assert_string_equal(why, (first & 0xf6) == 0x36 ? "qos-invalid" : "flags-reserved");
		}
	}
}

static void another_protocol(void **state)
{
	static const struct {
		unsigned version, from;
		const char *in, *why;
	} cases[] = {
		{ 0, C, "\x16\3\1\2", "peer-speaks-tls" },
		{ 0, C, "GET / HTTP/1.1\r\n", "peer-speaks-http" },
		{ MQTT_5, S, "HTTP/1.1 400 Bad Request\r\n", "peer-speaks-http" },
		{ MQTT_311, S, "\x15\3\3\2", "peer-speaks-tls" },
		{ 0, C, "\x16\1\1\2", "flags-reserved" },
		{ 0, C, "G", "first-not-connect" },
		{ MQTT_5, C, "GET /", "flags-reserved" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *why = "";
		size_t total;

		assert_true(frame(cases[i].version, cases[i].from, span_str(cases[i].in), 100, &total, &why) < 0);
		assert_string_equal(why, cases[i].why);
	}
}

/* ---- CONNECT ---- */

#define V3 "\0\6MQIsdp\3"
#define V4 "\0\4MQTT\4"
#define V5 "\0\4MQTT\5"
#define CONNECT(BODY, CODE, WHY) \
	{ \
		0, C, 0x10, SPAN(BODY), CODE, WHY \
	}

static void test_connect(void **state)
{
	static const struct judged rows[] = {
		CONNECT(V4 "\2\0\x3c\0\1a", 0, "CONNECT v3.1.1 c1 k60 \"a\""),
		CONNECT(V3 "\2\0\x3c\0\1a", 0, "CONNECT v3.1 c1 k60 \"a\""),
		CONNECT(V5 "\0\xff\xff\0\0\0", 0, "CONNECT v5.0 c0 k65535 \"\""),
		CONNECT(V4 "\2\0\x3c\0\0", 0, "CONNECT v3.1.1 c1 k60 \"\""),
		CONNECT(V4 "\xee\0\0\0\1a\0\1w\0\2hi\0\1u\0\2pw", 0,
			"CONNECT v3.1.1 c1 k0 \"a\" user-name=\"u\" password=*** will q1 r1 \"w\" 2 bytes"),
		CONNECT(V5 "\x16\0\0\5\x11\0\0\0\1\0\1a\7\x18\0\0\0\5\1\1\0\1w\0\0", 0,
			"CONNECT v5.0 c1 k0 \"a\" session-expiry=1 will q2 r0 \"w\" 0 bytes format=1 will-delay=5"),
		/* a password alone: 5.0 allows it */
		CONNECT(V5 "\x40\0\0\0\0\1a\0\1p", 0, "CONNECT v5.0 c0 k0 \"a\" password=***"),
		CONNECT(V4 "\x42\0\0\0\1a\0\1p", MQTT_MALFORMED, "password-alone"),
		CONNECT(V3 "\x42\0\0\0\1a\0\1p", MQTT_MALFORMED, "password-alone"),
		/* reserved bit [MQTT-3.1.2-3] */
		CONNECT(V5 "\3\0\0\0\0\1a", MQTT_MALFORMED, "flags-reserved"),
		CONNECT(V4 "\3\0\0\0\1a", MQTT_MALFORMED, "flags-reserved"),
		CONNECT(V3 "\3\0\0\0\1a", 0, "CONNECT v3.1 c1 k0 \"a\""),
		/* will flags [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13] */
		CONNECT(V5 "\x08\0\0\0\0\1a", MQTT_MALFORMED, "will-flags"),
		CONNECT(V5 "\x20\0\0\0\0\1a", MQTT_MALFORMED, "will-flags"),
		CONNECT(V4 "\x22\0\0\0\1a", MQTT_MALFORMED, "will-flags"),
		CONNECT(V3 "\x3a\0\0\0\1a", 0, "CONNECT v3.1 c1 k0 \"a\""),
		CONNECT(V5 "\x1c\0\0\0\0\1a\0\0\1w\0\0", MQTT_MALFORMED, "qos-invalid"),
		CONNECT(V3 "\x1e\0\0\0\1a\0\1w\0\0", MQTT_MALFORMED, "qos-invalid"),
		CONNECT(V4 "\6\0\0\0\1a\0\0\0\0", MQTT_BAD_TOPIC, "topic-invalid"),
		CONNECT(V5 "\6\0\0\0\0\1a\0\0\3w/#\0\0", MQTT_BAD_TOPIC, "topic-invalid"),
		/* fields that are missing, left over or broken [MQTT-3.1.2-9] [MQTT-3.1.2-16] to [MQTT-3.1.2-19] */
		CONNECT(V5 "\2\0\0\0", MQTT_MALFORMED, "packet-malformed"),
		CONNECT(V5 "\2\0\0\0\0\1a\0\1u", MQTT_MALFORMED, "bytes-left"),
		CONNECT(V5 "\x82\0\0\0\0\1a", MQTT_MALFORMED, "packet-malformed"),
		CONNECT(V5 "\xc2\0\0\0\0\1a\0\1u", MQTT_MALFORMED, "packet-malformed"),
		CONNECT(V4 "\x82\0\0\0\1a", MQTT_MALFORMED, "packet-malformed"),
		CONNECT(V5 "\6\0\0\0\0\1a", MQTT_MALFORMED, "packet-malformed"),
		CONNECT(V5 "\6\0\0\0\0\1a\0", MQTT_MALFORMED, "packet-malformed"),
		CONNECT(V5 "\2\0", MQTT_MALFORMED, "packet-malformed"),
		CONNECT(V5, MQTT_MALFORMED, "packet-malformed"),
		CONNECT("", MQTT_MALFORMED, "packet-malformed"),
		/* 3.1: what is announced may be missing at the end */
		CONNECT(V3 "\xc2\0\0\0\1a", 0, "CONNECT v3.1 c1 k0 \"a\""),
		CONNECT(V3 "\xc2\0\0\0\1a\0\1u", 0, "CONNECT v3.1 c1 k0 \"a\" user-name=\"u\""),
		CONNECT(V3 "\xc2\0\0\0\1a\0\1u\0\1p", 0, "CONNECT v3.1 c1 k0 \"a\" user-name=\"u\" password=***"),
		/* identifiers */
		CONNECT(V4 "\0\0\0\0\0", MQTT_BAD_CLIENT_ID, "client-id-invalid"),
		CONNECT(V3 "\2\0\0\0\0", MQTT_BAD_CLIENT_ID, "client-id-invalid"),
		CONNECT(V5 "\2\0\0\0\0\3\xed\xa0\x80", MQTT_MALFORMED, "text-malformed"), /* [MQTT-3.1.3-4] */
		CONNECT(V4 "\2\0\0\0\1\0", MQTT_MALFORMED, "text-malformed"),
		CONNECT(V5 "\x82\0\0\0\0\1a\0\1\xff", MQTT_MALFORMED, "text-malformed"),     /* [MQTT-3.1.3-12] */
		CONNECT(V5 "\6\0\0\0\0\1a\0\0\1\xff\0\0", MQTT_MALFORMED, "text-malformed"), /* [MQTT-3.1.3-11] */
		/* properties of the one place in the other */
		CONNECT(V5 "\2\0\0\5\x18\0\0\0\5\0\1a", MQTT_MALFORMED, "property-misplaced"),
		CONNECT(V5 "\6\0\0\0\0\1a\3\x21\0\1\0\1w\0\0", MQTT_MALFORMED, "property-misplaced"),
		CONNECT(V5 "\2\0\0\xff\xff\x7f\0\1a", MQTT_MALFORMED, "packet-malformed"),
		CONNECT(V5 "\2\0\0\4\x16\0\1d\0\1a", MQTT_PROTOCOL_ERROR, "auth-method-missing"),
		/* names and levels */
		CONNECT("\0\4MQTT\6\2\0\0\0\0\1a", MQTT_BAD_VERSION, "protocol-version"),
		CONNECT("\0\4HTTP\4\2\0\0\0\1a", MQTT_BAD_VERSION, "protocol-name"),
		CONNECT("\0\4MQT\0\4\2\0\0\0\1a", MQTT_MALFORMED, "text-malformed"),
	};

	(void)state;
	judge_all(rows, COUNT(rows));
}

/* [MQTT-3.1.2-1] [MQTT-3.1.2-2]: in whose form the refusal can be told. */
static void test_connect_form(void **state)
{
	static const struct {
		struct span body;
		int code, version;
	} rows[] = {
		{ SPAN("\0\4MQTT\6"), MQTT_BAD_VERSION, MQTT_5 },
		{ SPAN("\0\4MQTT\x7f"), MQTT_BAD_VERSION, MQTT_5 },
		{ SPAN("\0\4MQTT\3"), MQTT_BAD_VERSION, MQTT_311 },
		{ SPAN("\0\4MQTT\0"), MQTT_BAD_VERSION, MQTT_311 },
		{ SPAN("\0\4MQTT\x84"), MQTT_MALFORMED, MQTT_311 }, /* a bridge, and a packet that is cut */
		{ SPAN("\0\6MQIsdp\x83"), MQTT_MALFORMED, MQTT_31 },
		{ SPAN("\0\4MQTT\x85"), MQTT_BAD_VERSION, MQTT_311 },
		{ SPAN("\0\4MQTT\x83"), MQTT_BAD_VERSION, MQTT_311 },
		{ SPAN("\0\6MQIsdp\4"), MQTT_BAD_VERSION, MQTT_311 },
		{ SPAN("\0\6MQIsdp\5"), MQTT_BAD_VERSION, MQTT_311 },
		{ SPAN("\0\4mqtt\5"), MQTT_BAD_VERSION, MQTT_UNKNOWN },
		{ SPAN("\0\0\5"), MQTT_BAD_VERSION, MQTT_UNKNOWN },
		{ SPAN("\0\4MQTT"), MQTT_MALFORMED, MQTT_UNKNOWN },
		{ SPAN(V5), MQTT_MALFORMED, MQTT_5 },
		{ SPAN(V4), MQTT_MALFORMED, MQTT_311 },
		{ SPAN(V3), MQTT_MALFORMED, MQTT_31 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct mqtt_connect c;
		struct mqtt_frame f;
		const char *why;

		assert_int_equal(make_frame(0, C, 0x10, rows[i].body, &f, &why), 0);
		assert_int_equal(mqtt_parse_connect(&f, &c, &why), rows[i].code);
		assert_int_equal(c.version, rows[i].version);
	}
}

static void test_connack(void **state)
{
	static const struct judged rows[] = {
		{ MQTT_5, S, 0x20, SPAN("\0\0\0"), 0, "CONNACK s0 0x00 (Success)" },
		{ MQTT_5, S, 0x20, SPAN("\1\0\6\x21\0\x0a\x22\0\x0a"), 0,
		  "CONNACK s1 0x00 (Success) receive-max=10 alias-max=10" },
		{ MQTT_5, S, 0x20, SPAN("\0\x87\0"), 0, "CONNACK s0 0x87 (Not authorized)" },
		{ MQTT_5, S, 0x20, SPAN("\0\1"), 0, "CONNACK s0 0x84 (Unsupported Protocol Version)" },
		{ MQTT_5, S, 0x20, SPAN("\0\0"), MQTT_MALFORMED, "packet-malformed" },         /* [MQTT-2.2.2-1] */
		{ MQTT_5, S, 0x20, SPAN("\2\0\0"), MQTT_MALFORMED, "flags-reserved" },         /* [MQTT-3.2.2-1] */
		{ MQTT_5, S, 0x20, SPAN("\0\1\0"), MQTT_PROTOCOL_ERROR, "reason-unknown" },    /* [MQTT-3.2.2-8] */
		{ MQTT_5, S, 0x20, SPAN("\1\x80\0"), MQTT_PROTOCOL_ERROR, "session-present" }, /* [MQTT-3.2.2-6] */
		{ MQTT_5, S, 0x20, SPAN("\0\0\0x"), MQTT_MALFORMED, "bytes-left" },
		{ MQTT_311, S, 0x20, SPAN("\1\0"), 0, "CONNACK s1 0 (accepted)" },
		{ MQTT_311, S, 0x20, SPAN("\0\5"), 0, "CONNACK s0 5 (not authorized)" },
		{ MQTT_311, S, 0x20, SPAN("\0\6"), MQTT_PROTOCOL_ERROR, "reason-unknown" },
		{ MQTT_311, S, 0x20, SPAN("\1\5"), MQTT_PROTOCOL_ERROR, "session-present" },
		{ MQTT_311, S, 0x20, SPAN("\2\0"), MQTT_MALFORMED, "flags-reserved" },
		{ MQTT_311, S, 0x20, SPAN("\0\0\0"), MQTT_MALFORMED, "bytes-left" },
		{ MQTT_31, S, 0x20, SPAN("\xff\2"), 0, "CONNACK s0 2 (identifier rejected)" },
		{ MQTT_31, S, 0x20, SPAN("\0"), MQTT_MALFORMED, "packet-malformed" },
	};

	(void)state;
	judge_all(rows, COUNT(rows));
}

/* ---- names and codes ---- */

/* The tables of reason codes as the chapters of the standard have them, for each type and side. */
static void test_reasons(void **state)
{
	static const struct {
		unsigned type, from;
		struct span codes;
	} rows[] = {
		{ MQTT_CONNACK, S,
		  SPAN("\0\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8c\x90\x95\x97\x99\x9a\x9b\x9c\x9d\x9f") },
		{ MQTT_CONNACK, C, SPAN("") },
		{ MQTT_PUBACK, C, SPAN("\0\x10\x80\x83\x87\x90\x91\x97\x99") },
		{ MQTT_PUBACK, S, SPAN("\0\x10\x80\x83\x87\x90\x91\x97\x99") },
		{ MQTT_PUBREC, C, SPAN("\0\x10\x80\x83\x87\x90\x91\x97\x99") },
		{ MQTT_PUBREL, C, SPAN("\0\x92") },
		{ MQTT_PUBREL, S, SPAN("\0\x92") },
		{ MQTT_PUBCOMP, S, SPAN("\0\x92") },
		{ MQTT_SUBACK, S, SPAN("\0\1\2\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2") },
		{ MQTT_UNSUBACK, S, SPAN("\0\x11\x80\x83\x87\x8f\x91") },
		{ MQTT_DISCONNECT, C, SPAN("\0\4\x80\x81\x82\x83\x90\x93\x94\x95\x96\x97\x98\x99") },
		{ MQTT_DISCONNECT, S,
		  SPAN("\0\x80\x81\x82\x83\x87\x89\x8b\x8c\x8d\x8e\x8f\x90\x93\x94\x95\x96\x97\x98"
		       "\x99\x9a\x9b\x9c\x9d\x9e\x9f\xa0\xa1\xa2") },
		{ MQTT_AUTH, C, SPAN("\x18\x19") },
		{ MQTT_AUTH, S, SPAN("\0\x18") },
		{ MQTT_PUBLISH, C, SPAN("") },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		for (unsigned code = 0; code < 256; code++) {
			bool want = rows[i].codes.n && memchr(rows[i].codes.p, (int)code, rows[i].codes.n);

			if (mqtt_reason_valid(rows[i].type, rows[i].from, (uint8_t)code) != want)
				fail_msg("row %zu, 0x%02x", i, code);
			if (want)
				assert_string_not_equal(mqtt_reason_name(code), "unknown");
		}
	}
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(mqtt_type_name(MQTT_PUBLISH), "PUBLISH");
	assert_string_equal(mqtt_type_name(MQTT_AUTH), "AUTH");
	assert_string_equal(mqtt_type_name(16), "packet");
	assert_string_equal(mqtt_reason_name(MQTT_NOT_AUTHORIZED), "Not authorized");
	assert_string_equal(mqtt_reason_name(3), "unknown");
	assert_string_equal(mqtt_reason_name(255), "unknown");
	assert_string_equal(mqtt_return_name(5), "not authorized");
	assert_string_equal(mqtt_return_name(6), "unknown");
	for (unsigned code = 0, n = 0; code < 256; code++) {
		int r = mqtt_return_code((uint8_t)code);

		assert_in_range(r + 1, 0, 6);
		/* whatever has one is a CONNACK's */
		n += r >= 0;
		assert_true(r < 0 || mqtt_reason_valid(MQTT_CONNACK, MQTT_FROM_SERVER, (uint8_t)code));
		assert_true(code < 255 || n == 13);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),      cmocka_unit_test(test_too_large),   cmocka_unit_test(test_types),
		cmocka_unit_test(test_flags),        cmocka_unit_test(another_protocol), cmocka_unit_test(test_connect),
		cmocka_unit_test(test_connect_form), cmocka_unit_test(test_connack),     cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
