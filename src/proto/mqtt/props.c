/*
 * props.c - the table of properties (2.2.2.2), and properties out of bytes. Everything that the standard says of one
 * property by itself is a column of the table; what depends on other parts of a packet is with that packet (parse_*.c).
 */
#include "proto/mqtt/props.h"

#include "proto/mqtt/wire_priv.h"

#define IN(TYPE) (1U << (TYPE))

enum {
	MESSAGE = IN(MQTT_PUBLISH) | IN(MQTT_WILL),
	OPENING = IN(MQTT_CONNECT) | IN(MQTT_CONNACK),
	ACKS = IN(MQTT_PUBACK) | IN(MQTT_PUBREC) | IN(MQTT_PUBREL) | IN(MQTT_PUBCOMP),
	ANSWERS = IN(MQTT_CONNACK) | ACKS | IN(MQTT_SUBACK) | IN(MQTT_UNSUBACK) | IN(MQTT_DISCONNECT) | IN(MQTT_AUTH),
	ALL = MESSAGE | ANSWERS | IN(MQTT_CONNECT) | IN(MQTT_SUBSCRIBE) | IN(MQTT_UNSUBSCRIBE),
};

#define ROW(WHICH, ID, TYPE, FIELD, WHERE, NAME, WORD, ...) \
	[MQTT_P_##WHICH] = { .id = (ID), \
			     .type = MQTT_T_##TYPE, \
			     .offset = offsetof(struct mqtt_props, FIELD), \
			     .where = (WHERE), \
			     .name = (NAME), \
			     .word = (WORD), \
			     __VA_ARGS__ }
#define NONZERO .zero = MQTT_PROTOCOL_ERROR

/* clang-format off */
const struct mqtt_prop_kind mqtt_prop_kinds[MQTT_PROPS] = {
	ROW(FORMAT, 0x01, BOOL, format, MESSAGE, "payload-format-indicator", "format"),
	ROW(EXPIRY, 0x02, U32, expiry, MESSAGE, "message-expiry-interval", "expiry"),
	ROW(CONTENT_TYPE, 0x03, TEXT, content_type, MESSAGE, "content-type", "content-type"),
	ROW(RESPONSE_TOPIC, 0x08, TOPIC, response_topic, MESSAGE, "response-topic", "response-topic"),
	ROW(CORRELATION, 0x09, BINARY, correlation, MESSAGE, "correlation-data", "correlation"),
	ROW(SUB_ID, 0x0b, VARINT, sub_id, IN(MQTT_PUBLISH) | IN(MQTT_SUBSCRIBE), "subscription-identifier", "sub-id",
	    NONZERO, .repeats = IN(MQTT_PUBLISH)),
	ROW(SESSION_EXPIRY, 0x11, U32, session_expiry, OPENING | IN(MQTT_DISCONNECT), "session-expiry-interval",
	    "session-expiry"),
	ROW(CLIENT_ID, 0x12, TEXT, client_id, IN(MQTT_CONNACK), "assigned-client-identifier", "client-id"),
	ROW(KEEP_ALIVE, 0x13, U16, keep_alive, IN(MQTT_CONNACK), "server-keep-alive", "keep-alive"),
	ROW(AUTH_METHOD, 0x15, TEXT, auth_method, OPENING | IN(MQTT_AUTH), "authentication-method", "auth-method"),
	ROW(AUTH_DATA, 0x16, BINARY, auth_data, OPENING | IN(MQTT_AUTH), "authentication-data", "auth-data"),
	ROW(REQUEST_PROBLEM, 0x17, BOOL, request_problem, IN(MQTT_CONNECT), "request-problem-information",
	    "request-problem"),
	ROW(WILL_DELAY, 0x18, U32, will_delay, IN(MQTT_WILL), "will-delay-interval", "will-delay"),
	ROW(REQUEST_RESPONSE, 0x19, BOOL, request_response, IN(MQTT_CONNECT), "request-response-information",
	    "request-response"),
	ROW(RESPONSE_INFO, 0x1a, TEXT, response_info, IN(MQTT_CONNACK), "response-information", "response-info"),
	ROW(SERVER, 0x1c, TEXT, server, IN(MQTT_CONNACK) | IN(MQTT_DISCONNECT), "server-reference", "server"),
	ROW(REASON, 0x1f, TEXT, reason, ANSWERS, "reason-string", "reason"),
	ROW(RECEIVE_MAX, 0x21, U16, receive_max, OPENING, "receive-maximum", "receive-max", NONZERO),
	ROW(ALIAS_MAX, 0x22, U16, alias_max, OPENING, "topic-alias-maximum", "alias-max"),
	ROW(ALIAS, 0x23, U16, alias, IN(MQTT_PUBLISH), "topic-alias", "alias", .zero = MQTT_BAD_ALIAS),
	ROW(MAX_QOS, 0x24, BOOL, max_qos, IN(MQTT_CONNACK), "maximum-qos", "max-qos"),
	ROW(RETAIN_OK, 0x25, BOOL, retain_ok, IN(MQTT_CONNACK), "retain-available", "retain"),
	ROW(USER, 0x26, PAIR, raw, ALL, "user-property", "user", .repeats = ALL),
	ROW(MAX_PACKET, 0x27, U32, max_packet, OPENING, "maximum-packet-size", "max-packet", NONZERO),
	ROW(WILDCARD_OK, 0x28, BOOL, wildcard_ok, IN(MQTT_CONNACK), "wildcard-subscription-available", "wildcards"),
	ROW(SUB_ID_OK, 0x29, BOOL, sub_id_ok, IN(MQTT_CONNACK), "subscription-identifier-available", "sub-ids"),
	ROW(SHARED_OK, 0x2a, BOOL, shared_ok, IN(MQTT_CONNACK), "shared-subscription-available", "shared"),
};
/* clang-format on */

#define ID_MAX 0x2a

/* One more than the place in the table, by identifier; 0 = no such property. */
static const uint8_t places[ID_MAX + 1] = {
	[0x01] = 1 + MQTT_P_FORMAT,         [0x02] = 1 + MQTT_P_EXPIRY,
	[0x03] = 1 + MQTT_P_CONTENT_TYPE,   [0x08] = 1 + MQTT_P_RESPONSE_TOPIC,
	[0x09] = 1 + MQTT_P_CORRELATION,    [0x0b] = 1 + MQTT_P_SUB_ID,
	[0x11] = 1 + MQTT_P_SESSION_EXPIRY, [0x12] = 1 + MQTT_P_CLIENT_ID,
	[0x13] = 1 + MQTT_P_KEEP_ALIVE,     [0x15] = 1 + MQTT_P_AUTH_METHOD,
	[0x16] = 1 + MQTT_P_AUTH_DATA,      [0x17] = 1 + MQTT_P_REQUEST_PROBLEM,
	[0x18] = 1 + MQTT_P_WILL_DELAY,     [0x19] = 1 + MQTT_P_REQUEST_RESPONSE,
	[0x1a] = 1 + MQTT_P_RESPONSE_INFO,  [0x1c] = 1 + MQTT_P_SERVER,
	[0x1f] = 1 + MQTT_P_REASON,         [0x21] = 1 + MQTT_P_RECEIVE_MAX,
	[0x22] = 1 + MQTT_P_ALIAS_MAX,      [0x23] = 1 + MQTT_P_ALIAS,
	[0x24] = 1 + MQTT_P_MAX_QOS,        [0x25] = 1 + MQTT_P_RETAIN_OK,
	[0x26] = 1 + MQTT_P_USER,           [0x27] = 1 + MQTT_P_MAX_PACKET,
	[0x28] = 1 + MQTT_P_WILDCARD_OK,    [0x29] = 1 + MQTT_P_SUB_ID_OK,
	[0x2a] = 1 + MQTT_P_SHARED_OK,
};

static const struct mqtt_props absent = {
	.receive_max = UINT16_MAX,
	.request_problem = 1,
	.max_qos = 2,
	.retain_ok = 1,
	.wildcard_ok = 1,
	.sub_id_ok = 1,
	.shared_ok = 1,
};

/*
 * Every packet of every version comes by here, and the string instruction that gcc makes of `*p = absent` takes 15 ns;
 * these moves take 3.
 */
typedef uint64_t pair __attribute__((vector_size(16), aligned(8), may_alias));

void mqtt_props_init(struct mqtt_props *p)
{
	const pair *from = (const pair *)&absent;
	pair *to = (pair *)p;

	_Static_assert(sizeof(struct mqtt_props) == 12 * sizeof(pair) + 8, "the last field is half a pair");
	for (size_t i = 0; i < 12; i += 4) {
		to[i] = from[i];
		to[i + 1] = from[i + 1];
		to[i + 2] = from[i + 2];
		to[i + 3] = from[i + 3];
	}
	p->raw = absent.raw;
}

const struct mqtt_prop_kind *mqtt_prop_named(const char *name)
{
	for (size_t i = 0; i < MQTT_PROPS; i++) {
		if (strcmp(mqtt_prop_kinds[i].name, name) == 0)
			return &mqtt_prop_kinds[i];
	}
	return NULL;
}

void mqtt_props_set(struct mqtt_props *p, enum mqtt_prop which, uint32_t value)
{
	uint8_t *at = (uint8_t *)p + mqtt_prop_kinds[which].offset, small = (uint8_t)value;
	uint16_t middle = (uint16_t)value;

	p->has |= MQTT_HAS(which);
	switch (mqtt_prop_kinds[which].type) {
	case MQTT_T_BOOL:
		memcpy(at, &small, sizeof(small));
		break;
	case MQTT_T_U16:
		memcpy(at, &middle, sizeof(middle));
		break;
	default:
		memcpy(at, &value, sizeof(value));
	}
}

void mqtt_props_set_span(struct mqtt_props *p, enum mqtt_prop which, struct span value)
{
	p->has |= MQTT_HAS(which);
	memcpy((uint8_t *)p + mqtt_prop_kinds[which].offset, &value, sizeof(value));
}

/* ---- out of bytes ---- */

uint32_t take_varint(struct take *t)
{
	uint32_t v = 0;

	for (unsigned shift = 0; shift < 28; shift += 7) {
		uint8_t b = take_u8(t);

		v |= (uint32_t)(b & 0x7f) << shift;
		if (b & 0x80)
			continue;
		if (b == 0 && shift > 0) /* fewer bytes would have done [MQTT-1.5.5-1] */
			break;
		return v;
	}
	t->why = t->why ? t->why : "packet-malformed";
	t->n = 0;
	return 0;
}

unsigned prop_place(uint32_t id)
{
	return id <= ID_MAX && places[id] ? places[id] - 1U : MQTT_PROPS;
}

uint32_t take_number(struct take *t, unsigned type)
{
	switch (type) {
	case MQTT_T_BOOL:
		return take_u8(t);
	case MQTT_T_U16:
		return take_u16(t);
	case MQTT_T_U32:
		return take_u32(t);
	default:
		return take_varint(t);
	}
}

static int set_number(struct take *t, unsigned which, struct mqtt_props *p, const char **ret_why)
{
	const struct mqtt_prop_kind *k = &mqtt_prop_kinds[which];
	uint32_t v = take_number(t, k->type);

	if (t->why)
		return mqtt_fail(ret_why, t->why, MQTT_MALFORMED);
	if (v == 0 && k->zero) /* [MQTT-3.3.2-8] and the like */
		return mqtt_fail(ret_why, "property-range", k->zero);
	if (v > 1 && k->type == MQTT_T_BOOL)
		return mqtt_fail(ret_why, "property-range", MQTT_PROTOCOL_ERROR);
	mqtt_props_set(p, which, v);
	return 0;
}

static int set_span(struct take *t, unsigned which, struct mqtt_props *p, const char **ret_why)
{
	unsigned type = mqtt_prop_kinds[which].type;
	struct span s = type == MQTT_T_BINARY ? take_binary(t) : take_text(t);

	if (t->why)
		return mqtt_fail(ret_why, t->why, MQTT_MALFORMED);
	if (type == MQTT_T_TOPIC && (s.n == 0 || !mqtt_topic_is_plain(s))) /* [MQTT-3.3.2-14] [MQTT-4.7.3-1] */
		return mqtt_fail(ret_why, "topic-invalid", MQTT_PROTOCOL_ERROR);
	mqtt_props_set_span(p, which, s);
	return 0;
}

static int set_pair(struct take *t, struct mqtt_props *p, const char **ret_why)
{
	take_text(t);
	take_text(t);
	p->has |= MQTT_HAS(MQTT_P_USER);
	return t->why ? mqtt_fail(ret_why, t->why, MQTT_MALFORMED) : 0;
}

/* 2.2.2.2: an identifier that does not belong here is malformed; one that comes twice is a protocol error. */
static int parse_one(struct take *t, unsigned where, struct mqtt_props *p, const char **ret_why)
{
	unsigned which = prop_place(take_varint(t));
	const struct mqtt_prop_kind *k = &mqtt_prop_kinds[which];

	if (t->why)
		return mqtt_fail(ret_why, t->why, MQTT_MALFORMED);
	if (which == MQTT_PROPS)
		return mqtt_fail(ret_why, "property-unknown", MQTT_MALFORMED);
	if (!(k->where & IN(where)))
		return mqtt_fail(ret_why, "property-misplaced", MQTT_MALFORMED);
	if (p->has & MQTT_HAS(which) && !(k->repeats & IN(where)))
		return mqtt_fail(ret_why, "property-twice", MQTT_PROTOCOL_ERROR);
	if (k->type == MQTT_T_PAIR)
		return set_pair(t, p, ret_why);
	if (k->type >= MQTT_T_TEXT)
		return set_span(t, which, p, ret_why);
	return set_number(t, which, p, ret_why);
}

static int parse_all(struct span raw, unsigned where, struct mqtt_props *ret, const char **ret_why)
{
	struct take t = take_from(raw);
	int code = 0;

	mqtt_props_init(ret);
	ret->raw = raw;
	while (t.n > 0 && code == 0)
		code = parse_one(&t, where, ret, ret_why);
	return code;
}

const char *mqtt_props_wrong(struct span kept)
{
	struct mqtt_props p;
	const char *why;

	if (parse_all(kept, MQTT_PUBLISH, &p, &why))
		return why;
	return p.has & ~MQTT_KEPT ? "property-misplaced" : NULL;
}

int mqtt_props_parse(struct span *at, unsigned where, struct mqtt_props *ret, const char **ret_why)
{
	struct take all = take_from(*at);
	size_t n = take_varint(&all);
	struct span raw = take_bytes(&all, n);
	int code;

	if (all.why)
		return mqtt_fail(ret_why, all.why, MQTT_MALFORMED);
	code = parse_all(raw, where, ret, ret_why);
	if (code)
		return code;
	if (ret->has & MQTT_HAS(MQTT_P_AUTH_DATA) && !(ret->has & MQTT_HAS(MQTT_P_AUTH_METHOD))) /* 3.1.2.11.10 */
		return mqtt_fail(ret_why, "auth-method-missing", MQTT_PROTOCOL_ERROR);
	*at = take_rest(&all);
	return 0;
}

int take_props(struct take *t, unsigned version, unsigned where, struct mqtt_props *ret, const char **ret_why)
{
	struct span at = take_rest(t);
	int code;

	if (t->why)
		return mqtt_fail(ret_why, t->why, MQTT_MALFORMED);
	if (version < MQTT_5) {
		mqtt_props_init(ret);
		return 0;
	}
	code = mqtt_props_parse(&at, where, ret, ret_why);
	if (code == 0)
		*t = take_from(at);
	return code;
}
