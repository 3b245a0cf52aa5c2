/* test_wire_props.c - every property in every packet, twice, cut short, at its borders; what is kept, what repeats. */
#include "proto/mqtt/test_wire.h"

/* Where each may be as table 2-4 of the standard has it: the packets' types in hexadecimal digits, 0 the will. */
static const struct row {
	unsigned id;
	const char *where;
	struct span good;
} rows[] = {
	{ 0x01, "30", SPAN("\1") },
	{ 0x02, "30", SPAN("\0\0\0\0") },
	{ 0x03, "30", SPAN("\0\0") },
	{ 0x08, "30", SPAN("\0\1r") },
	{ 0x09, "30", SPAN("\0\2\0\xff") },
	{ 0x0b, "38", SPAN("\xff\xff\xff\x7f") },
	{ 0x11, "12e", SPAN("\xff\xff\xff\xff") },
	{ 0x12, "2", SPAN("\0\1i") },
	{ 0x13, "2", SPAN("\0\0") },
	{ 0x15, "12f", SPAN("\0\1m") },
	{ 0x16, "12f", SPAN("\0\1\0") },
	{ 0x17, "1", SPAN("\0") },
	{ 0x18, "0", SPAN("\0\0\0\5") },
	{ 0x19, "1", SPAN("\1") },
	{ 0x1a, "2", SPAN("\0\1r") },
	{ 0x1c, "2e", SPAN("\0\1s") },
	{ 0x1f, "245679bef", SPAN("\0\1w") },
	{ 0x21, "12", SPAN("\0\1") },
	{ 0x22, "12", SPAN("\0\0") },
	{ 0x23, "3", SPAN("\xff\xff") },
	{ 0x24, "2", SPAN("\0") },
	{ 0x25, "2", SPAN("\0") },
	{ 0x26, "0123456789abef", SPAN("\0\0\0\1v") },
	{ 0x27, "12", SPAN("\0\0\0\1") },
	{ 0x28, "2", SPAN("\0") },
	{ 0x29, "2", SPAN("\1") },
	{ 0x2a, "2", SPAN("\1") },
};

/* Parses `n` bytes behind their length; the array is exactly as long as it says. */
static int parse(const void *p, size_t n, unsigned where, struct mqtt_props *ret, const char **ret_why)
{
	static uint8_t all[1000];
	struct span at = { all, n + 1 };
	int code;

	assert_true(n < 128);
	all[0] = (uint8_t)n;
	memcpy(all + 1, p, n);
	code = mqtt_props_parse(&at, where, ret, ret_why);
	assert_int_equal(at.n, code ? n + 1 : 0);
	return code;
}

static size_t encode(const struct row *r, uint8_t *p)
{
	p[0] = (uint8_t)r->id;
	memcpy(p + 1, r->good.p, r->good.n);
	return 1 + r->good.n;
}

static void test_places(void **state)
{
	uint8_t p[64];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t n = encode(&rows[i], p);

		for (unsigned where = 0; where < 16; where++) {
			bool may = strchr(rows[i].where, "0123456789abcdef"[where]);
			bool alone = rows[i].id == 0x16; /* the data without its method */
			struct mqtt_props props;
			const char *why = "";
			int code = parse(p, n, where, &props, &why);

			if (may && alone) {
				assert_int_equal(code, MQTT_PROTOCOL_ERROR);
				assert_string_equal(why, "auth-method-missing");
			} else if (may) {
				assert_int_equal(code, 0);
				assert_int_equal(props.has, MQTT_HAS(i));
			} else {
				assert_int_equal(code, MQTT_MALFORMED);
				assert_string_equal(why, "property-misplaced");
			}
		}
	}
}

static void test_twice(void **state)
{
	uint8_t p[64];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t n = encode(&rows[i], p), both = n + encode(&rows[i], p + n);

		for (const char *w = rows[i].where; *w; w++) {
			unsigned where = (unsigned)(strchr("0123456789abcdef", *w) - "0123456789abcdef");
			bool may = rows[i].id == 0x26 || (rows[i].id == 0x0b && where == MQTT_PUBLISH);
			struct mqtt_props props;
			const char *why = "";

			assert_int_equal(parse(p, both, where, &props, &why), may ? 0 : MQTT_PROTOCOL_ERROR);
			assert_string_equal(why, may ? "" : "property-twice");
		}
	}
}

/* Every beginning of every property is malformed, and so is a length that goes past the packet. */
static void test_cut(void **state)
{
	struct mqtt_props props;
	const char *why;
	uint8_t p[64];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		unsigned where = (unsigned)(strchr("0123456789abcdef", rows[i].where[0]) - "0123456789abcdef");
		size_t n = encode(&rows[i], p + 1);
		struct span at = { p, n };

		for (size_t cut = 1; cut < n; cut++)
			assert_int_equal(parse(p + 1, cut, where, &props, &why), MQTT_MALFORMED);
		p[0] = (uint8_t)n; /* one byte too few */
		assert_int_equal(mqtt_props_parse(&at, where, &props, &why), MQTT_MALFORMED);
	}
	assert_int_equal(mqtt_props_parse(&(struct span){}, MQTT_PUBLISH, &props, &why), MQTT_MALFORMED);
	assert_int_equal(parse("", 0, MQTT_PUBLISH, &props, &why), 0);
	assert_int_equal(props.has, 0);
}

static void test_unknown(void **state)
{
	(void)state;
	for (unsigned id = 0; id < 128; id++) {
		uint8_t p[8] = { (uint8_t)id };
		struct mqtt_props props;
		const char *why = "";
		bool known = false;

		for (size_t i = 0; i < COUNT(rows); i++)
			known = known || rows[i].id == id;
		if (known)
			continue;
		assert_int_equal(parse(p, 8, MQTT_PUBLISH, &props, &why), MQTT_MALFORMED);
		assert_string_equal(why, "property-unknown");
	}
}

static void test_values(void **state)
{
	static const struct {
		unsigned where;
		struct span in;
		int code;
		const char *why;
	} cases[] = {
		{ MQTT_CONNECT, SPAN("\x21\0\0"), MQTT_PROTOCOL_ERROR, "property-range" },     /* 3.1.2.11.3 */
		{ MQTT_CONNECT, SPAN("\x27\0\0\0\0"), MQTT_PROTOCOL_ERROR, "property-range" }, /* 3.1.2.11.4 */
		{ MQTT_PUBLISH, SPAN("\x23\0\0"), MQTT_BAD_ALIAS, "property-range" },          /* [MQTT-3.3.2-8] */
		{ MQTT_PUBLISH, SPAN("\x0b\0"), MQTT_PROTOCOL_ERROR, "property-range" },       /* 3.3.2.3.8 */
		{ MQTT_SUBSCRIBE, SPAN("\x0b\0"), MQTT_PROTOCOL_ERROR, "property-range" },     /* 3.8.2.1.2 */
		{ MQTT_SUBSCRIBE, SPAN("\x0b\x80\0"), MQTT_MALFORMED, "packet-malformed" },    /* [MQTT-1.5.5-1] */
		{ MQTT_SUBSCRIBE, SPAN("\x0b\xff\xff\xff\xff\x7f"), MQTT_MALFORMED, "packet-malformed" },
		{ MQTT_CONNECT, SPAN("\x17\2"), MQTT_PROTOCOL_ERROR, "property-range" }, /* 3.1.2.11.7 */
		{ MQTT_CONNECT, SPAN("\x19\xff"), MQTT_PROTOCOL_ERROR, "property-range" },
		{ MQTT_PUBLISH, SPAN("\1\2"), MQTT_PROTOCOL_ERROR, "property-range" },
		{ MQTT_CONNACK, SPAN("\x24\2"), MQTT_PROTOCOL_ERROR, "property-range" },
		{ MQTT_CONNACK, SPAN("\x25\2"), MQTT_PROTOCOL_ERROR, "property-range" },
		{ MQTT_CONNACK, SPAN("\x28\2"), MQTT_PROTOCOL_ERROR, "property-range" },
		{ MQTT_CONNACK, SPAN("\x29\2"), MQTT_PROTOCOL_ERROR, "property-range" },
		{ MQTT_CONNACK, SPAN("\x2a\2"), MQTT_PROTOCOL_ERROR, "property-range" },
		{ MQTT_PUBLISH, SPAN("\x08\0\3a/#"), MQTT_PROTOCOL_ERROR, "topic-invalid" }, /* [MQTT-3.3.2-14] */
		{ MQTT_PUBLISH, SPAN("\x08\0\1+"), MQTT_PROTOCOL_ERROR, "topic-invalid" },
		{ MQTT_PUBLISH, SPAN("\x08\0\0"), MQTT_PROTOCOL_ERROR, "topic-invalid" },     /* [MQTT-4.7.3-1] */
		{ MQTT_PUBLISH, SPAN("\x08\0\1\0"), MQTT_MALFORMED, "text-malformed" },       /* [MQTT-3.3.2-13] */
		{ MQTT_PUBLISH, SPAN("\3\0\2\xc0\x80"), MQTT_MALFORMED, "text-malformed" },   /* [MQTT-3.3.2-19] */
		{ MQTT_PUBLISH, SPAN("\x26\0\1\xff\0\0"), MQTT_MALFORMED, "text-malformed" }, /* [MQTT-1.5.7-1] */
		{ MQTT_PUBLISH, SPAN("\x26\0\0\0\1\0"), MQTT_MALFORMED, "text-malformed" },
		{ MQTT_AUTH, SPAN("\x15\0\3\xed\xa0\x80"), MQTT_MALFORMED, "text-malformed" }, /* [MQTT-1.5.4-1] */
		{ MQTT_PUBLISH, SPAN("\3\0\3\xef\xbb\xbf"), 0, "" },                           /* [MQTT-1.5.4-3] */
		{ MQTT_PUBLISH, SPAN("\x81\0\1"), MQTT_MALFORMED, "packet-malformed" }, /* an identifier not minimal */
		{ MQTT_PUBLISH, SPAN("\x82\1\1"), MQTT_MALFORMED, "property-unknown" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct mqtt_props props;
		const char *why = "";

		if (parse(cases[i].in.p, cases[i].in.n, cases[i].where, &props, &why) != cases[i].code ||
		    strcmp(why, cases[i].why) != 0)
			fail_msg("case %zu: %s", i, why);
	}
}

static void test_defaults(void **state)
{
	struct mqtt_props p;

	(void)state;
	mqtt_props_init(&p);
	assert_int_equal(p.has, 0);
	assert_int_equal(p.receive_max, 65535);
	assert_int_equal(p.request_problem, 1);
	assert_int_equal(p.max_qos, 2);
	assert_true(p.retain_ok && p.wildcard_ok && p.sub_id_ok && p.shared_ok);
	assert_int_equal(p.session_expiry + p.alias_max + p.max_packet + p.request_response + p.will_delay, 0);
	assert_int_equal(mqtt_prop_named("message-expiry-interval")->id, 2);
	assert_null(mqtt_prop_named("expiry"));
}

/* All values at their ends, set by hand, come back; by the table, so no row can have the wrong offset. */
static void test_set(void **state)
{
	static const unsigned wheres[] = { MQTT_WILL, MQTT_CONNECT, MQTT_CONNACK, MQTT_PUBLISH, MQTT_SUBSCRIBE };

	(void)state;
	for (size_t i = 0; i < COUNT(wheres) * COUNT(rows); i++) {
		unsigned which = (unsigned)(i % COUNT(rows)), where = wheres[i / COUNT(rows)];
		const struct mqtt_prop_kind *k = &mqtt_prop_kinds[which];
		struct mqtt_props p, q;
		const char *why = "";
		struct span s = SPAN("text");
		uint8_t in[16];
		size_t n = 0;

		assert_int_equal(k->id, rows[which].id);
		if (!strchr(rows[which].where, "0123456789abcdef"[where]) || k->type == MQTT_T_PAIR || k->id == 0x16)
			continue;
		mqtt_props_init(&p);
		in[n++] = k->id;
		if (k->type >= MQTT_T_TEXT) {
			mqtt_props_set_span(&p, which, s);
			memcpy(in + n, "\0\4text", 6);
			n += 6;
		} else {
			static const uint8_t sizes[] = { 1, 2, 4, 4 };

			mqtt_props_set(&p, which, k->type == MQTT_T_VARINT ? 268435455 : k->type ? UINT32_MAX : 1);
			memset(in + n, 0xff, 4);
			if (k->type == MQTT_T_BOOL)
				in[n] = 1;
			if (k->type == MQTT_T_VARINT)
				in[n + 3] = 0x7f;
			n += sizes[k->type];
		}
		assert_int_equal(parse(in, n, where, &q, &why), 0);
		if (k->type >= MQTT_T_TEXT) {
			memcpy(&s, (uint8_t *)&q + k->offset, sizeof(s));
			assert_true(span_is(s, "text"));
			memcpy((uint8_t *)&q + k->offset, (uint8_t *)&p + k->offset, sizeof(s));
		}
		q.raw = p.raw;
		assert_memory_equal(&p, &q, sizeof(p));
	}
}

/* [MQTT-3.3.2-17] [MQTT-3.3.2-18]: what is handed on, in its order; and what may repeat. */
static void test_kept(void **state)
{
	static const char in[] = "\x26\0\1a\0\1b"
				 "\2\0\0\0\x1e"
				 "\1\1"
				 "\x0b\1"
				 "\x26\0\1a\0\1c"
				 "\x23\0\7"
				 "\x0b\xff\x7f"
				 "\3\0\1t"
				 "\x08\0\1r"
				 "\x09\0\1\0";
	static const char want[] = "\x26\0\1a\0\1b"
				   "\1\1"
				   "\x26\0\1a\0\1c"
				   "\3\0\1t"
				   "\x08\0\1r"
				   "\x09\0\1\0";
	uint8_t kept[sizeof(in)];
	struct mqtt_props p;
	struct mqtt_user u;
	struct span at;
	const char *why;
	uint32_t id;

	(void)state;
	assert_int_equal(parse(in, sizeof(in) - 1, MQTT_PUBLISH, &p, &why), 0);
	assert_int_equal(mqtt_props_kept(&p, NULL), sizeof(want) - 1);
	assert_int_equal(mqtt_props_kept(&p, kept), sizeof(want) - 1);
	assert_memory_equal(kept, want, sizeof(want) - 1);
	at = p.raw;
	assert_true(mqtt_user_next(&at, &u) && span_is(u.name, "a") && span_is(u.value, "b"));
	assert_true(mqtt_user_next(&at, &u) && span_is(u.name, "a") && span_is(u.value, "c"));
	assert_false(mqtt_user_next(&at, &u));
	at = p.raw;
	assert_true(mqtt_sub_id_next(&at, &id) && id == 1);
	assert_true(mqtt_sub_id_next(&at, &id) && id == 16383);
	assert_false(mqtt_sub_id_next(&at, &id));
	/* nothing but those: as they are, at once */
	assert_int_equal(parse(want, sizeof(want) - 1, MQTT_WILL, &p, &why), 0);
	assert_int_equal(p.has & ~MQTT_KEPT, 0);
	assert_int_equal(mqtt_props_kept(&p, kept), sizeof(want) - 1);
	assert_memory_equal(kept, want, sizeof(want) - 1);
	/* bytes that are none end it, and nothing is read past them */
	at = SPAN("\x26\0\1a\0\2b");
	assert_false(mqtt_user_next(&at, &u));
	at = SPAN("\xff");
	assert_false(mqtt_sub_id_next(&at, &id));
	at = (struct span){};
	assert_false(mqtt_user_next(&at, &u));
}

/* What is stored with a message, by itself. */
static void test_wrong(void **state)
{
	(void)state;
	assert_null(mqtt_props_wrong((struct span){}));
	assert_null(mqtt_props_wrong(SPAN("\x01\1\x09\0\1\xff\x26\0\1a\0\1b\x26\0\1a\0\1c")));
	assert_string_equal(mqtt_props_wrong(SPAN("\x26\0\1a\0\2b")), "packet-malformed");
	assert_string_equal(mqtt_props_wrong(SPAN("\x03\0\1\xff")), "text-malformed");
	assert_string_equal(mqtt_props_wrong(SPAN("\x08\0\1#")), "topic-invalid");
	assert_string_equal(mqtt_props_wrong(SPAN("\x01\1\x01\1")), "property-twice");
	assert_string_equal(mqtt_props_wrong(SPAN("\x7f")), "property-unknown");
	assert_string_equal(mqtt_props_wrong(SPAN("\x23\0\1")), "property-misplaced"); /* an alias: of one connection */
	assert_string_equal(mqtt_props_wrong(SPAN("\x02\0\0\0\1")),
			    "property-misplaced"); /* it would stand beside ours */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),  cmocka_unit_test(test_twice),  cmocka_unit_test(test_cut),
		cmocka_unit_test(test_unknown), cmocka_unit_test(test_values), cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_set),     cmocka_unit_test(test_kept),   cmocka_unit_test(test_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
