/*
 * parse_connect.c - CONNECT (3.1) and CONNACK (3.2) out of bytes.
 *
 * MQTT 3.1 is read as it was written: its last bit of the connect flags means nothing, will flags without a will are
 * disregarded, and a user name that is announced may be missing at the packet's end (3.1, section 3.1, "User name").
 */
#include "proto/mqtt/wire_priv.h"

enum {
	RESERVED = 0x01,
	CLEAN = 0x02,
	WILL = 0x04,
	WILL_RETAIN = 0x20,
	PASSWORD = 0x40,
	USER = 0x80,
	BRIDGE = 0x80, /* of the version */
};

/* 3.1.2.1, 3.1.2.2: 0 with the version; or MQTT_BAD_VERSION with the one whose CONNACK can say so. */
static int take_version(struct take *t, struct mqtt_connect *c, const char **ret_why)
{
	struct span name = take_text(t);
	uint8_t level = take_u8(t);

	if (t->why)
		return mqtt_fail(ret_why, t->why, MQTT_MALFORMED);
	if (!span_is(name, "MQTT") && !span_is(name, "MQIsdp")) /* [MQTT-3.1.2-1] */
		return mqtt_fail(ret_why, "protocol-name", MQTT_BAD_VERSION);
	c->from_bridge = level == (MQTT_31 | BRIDGE) || level == (MQTT_311 | BRIDGE);
	if (c->from_bridge)
		level &= (uint8_t)~BRIDGE;
	if (name.n == 6 ? level == MQTT_31 : level == MQTT_311 || level == MQTT_5) {
		c->version = level;
		return 0;
	}
	c->version = name.n == 4 && (level & 0x7f) > MQTT_5 ? MQTT_5 : MQTT_311; /* [MQTT-3.1.2-2] */
	return mqtt_fail(ret_why, "protocol-version", MQTT_BAD_VERSION);
}

/* 3.1.2.3 to 3.1.2.9. */
static int check_flags(struct mqtt_connect *c, unsigned flags, const char **ret_why)
{
	if (flags & RESERVED && c->version != MQTT_31) /* [MQTT-3.1.2-3] */
		return mqtt_fail(ret_why, "flags-reserved", MQTT_MALFORMED);
	c->clean = flags & CLEAN;
	c->will = flags & WILL;
	c->will_qos = c->will ? flags >> 3 & 3 : 0;
	c->will_retain = c->will && flags & WILL_RETAIN;
	c->has_user = flags & USER;
	c->has_password = flags & PASSWORD;
	if (c->will_qos == 3) /* [MQTT-3.1.2-12] */
		return mqtt_fail(ret_why, "qos-invalid", MQTT_MALFORMED);
	if (!c->will && flags & (3U << 3 | WILL_RETAIN) && c->version != MQTT_31) /* [MQTT-3.1.2-11] [MQTT-3.1.2-13] */
		return mqtt_fail(ret_why, "will-flags", MQTT_MALFORMED);
	if (c->has_password && !c->has_user && c->version != MQTT_5) /* [MQTT-3.1.2-22 of 3.1.1] */
		return mqtt_fail(ret_why, "password-alone", MQTT_MALFORMED);
	return 0;
}

/* 3.1.3.2 to 3.1.3.4. */
static int take_will(struct take *t, struct mqtt_connect *c, const char **ret_why)
{
	int code = take_props(t, c->version, MQTT_WILL, &c->will_props, ret_why);

	if (code)
		return code;
	c->will_topic = take_text(t); /* [MQTT-3.1.3-11] */
	c->will_payload = take_binary(t);
	if (t->why)
		return mqtt_fail(ret_why, t->why, MQTT_MALFORMED);
	if (c->will_topic.n == 0 || !mqtt_topic_is_plain(c->will_topic)) /* [MQTT-4.7.0-1] [MQTT-4.7.3-1] */
		return mqtt_fail(ret_why, "topic-invalid", MQTT_BAD_TOPIC);
	return 0;
}

static void take_login(struct take *t, struct mqtt_connect *c)
{
	if (c->version == MQTT_31) {
		c->has_user = c->has_user && t->n > 0;
		c->has_password = c->has_password && c->has_user;
	}
	if (c->has_user)
		c->user = take_text(t); /* [MQTT-3.1.3-12] */
	if (c->version == MQTT_31)
		c->has_password = c->has_password && t->n > 0;
	if (c->has_password)
		c->password = take_binary(t);
}

/* What 3.x says of identifiers: 3.1 wants one, 3.1.1 wants one to remember a session by [MQTT-3.1.3-7 of 3.1.1]. */
static bool id_allowed(const struct mqtt_connect *c)
{
	return c->client_id.n > 0 || c->version == MQTT_5 || (c->version == MQTT_311 && c->clean);
}

int mqtt_parse_connect(const struct mqtt_frame *f, struct mqtt_connect *ret, const char **ret_why)
{
	struct take t = take_from(f->body);
	int code;

	*ret = (struct mqtt_connect){};
	mqtt_props_init(&ret->will_props);
	code = take_version(&t, ret, ret_why);
	if (code == 0)
		code = check_flags(ret, take_u8(&t), ret_why);
	if (code)
		return code;
	ret->keep_alive = take_u16(&t);
	code = take_props(&t, ret->version, MQTT_CONNECT, &ret->props, ret_why);
	if (code)
		return code;
	ret->client_id = take_text(&t); /* [MQTT-3.1.3-3] [MQTT-3.1.3-4] */
	if (ret->will && !t.why)
		code = take_will(&t, ret, ret_why);
	if (code)
		return code;
	take_login(&t, ret);
	code = take_end(&t, ret_why); /* [MQTT-3.1.2-16] to [MQTT-3.1.2-19] [MQTT-3.1.4-1] */
	if (code == 0 && !id_allowed(ret))
		code = mqtt_fail(ret_why, "client-id-invalid", MQTT_BAD_CLIENT_ID);
	return code;
}

int mqtt_parse_connack(const struct mqtt_frame *f, struct mqtt_connack *ret, const char **ret_why)
{
	struct take t = take_from(f->body);
	unsigned version = f->form.version, flags = take_u8(&t);
	int code;

	ret->code = take_u8(&t);
	ret->session_present = flags & 1 &&
			       version != MQTT_31; /* which has no such thing, nor says what else stands there */
	if (version == MQTT_5 && f->body.n == 2 && flags == 0 && ret->code == 1) { /* from one that does not know 5.0 */
		ret->code = MQTT_BAD_VERSION;
		mqtt_props_init(&ret->props);
		return 0;
	}
	code = take_props(&t, version, MQTT_CONNACK, &ret->props, ret_why);
	if (code == 0)
		code = take_end(&t, ret_why);
	if (code)
		return code;
	if (flags > 1 && version != MQTT_31) /* [MQTT-3.2.2-1] */
		return mqtt_fail(ret_why, "flags-reserved", MQTT_MALFORMED);
	if (version == MQTT_5 ? !mqtt_reason_valid(MQTT_CONNACK, f->form.from, ret->code) : ret->code > 5)
		return mqtt_fail(ret_why, "reason-unknown", MQTT_PROTOCOL_ERROR); /* [MQTT-3.2.2-8] */
	if (ret->session_present && ret->code)                                    /* [MQTT-3.2.2-6] */
		return mqtt_fail(ret_why, "session-present", MQTT_PROTOCOL_ERROR);
	return 0;
}
