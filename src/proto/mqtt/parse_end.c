/* parse_end.c - DISCONNECT (3.14) and AUTH (3.15) out of bytes: a code and properties, which may be left out. */
#include "proto/mqtt/wire_priv.h"

static int check_disconnect(const struct mqtt_frame *f, const struct mqtt_end *e, const char **ret_why)
{
	if (e->props.has & MQTT_HAS(MQTT_P_SESSION_EXPIRY) && f->form.from == MQTT_FROM_SERVER) /* [MQTT-3.14.2-2] */
		return mqtt_fail(ret_why, "property-misplaced", MQTT_PROTOCOL_ERROR);
	return 0;
}

/* 3.15.2.2.2: the method must be there, but in the short form, which has nothing at all. */
static int check_auth(const struct mqtt_frame *f, const struct mqtt_end *e, const char **ret_why)
{
	if (f->body.n == 1) /* a code and no length of properties: only both may be left out (3.15.2.1) */
		return mqtt_fail(ret_why, "packet-malformed", MQTT_MALFORMED);
	if (f->body.n > 0 && !(e->props.has & MQTT_HAS(MQTT_P_AUTH_METHOD)))
		return mqtt_fail(ret_why, "auth-method-missing", MQTT_PROTOCOL_ERROR);
	return 0;
}

int mqtt_parse_end(const struct mqtt_frame *f, struct mqtt_end *ret, const char **ret_why)
{
	struct take t = take_from(f->body);
	int code = 0;

	ret->type = f->type;
	ret->code = f->form.version == MQTT_5 && t.n > 0 ? take_u8(&t) : MQTT_OK;
	if (t.n > 0)
		code = take_props(&t, f->form.version, f->type, &ret->props, ret_why);
	else
		mqtt_props_init(&ret->props);
	if (code == 0)
		code = take_end(&t, ret_why);
	if (code == 0 && !mqtt_reason_valid(f->type, f->form.from, ret->code)) /* [MQTT-3.14.2-1] [MQTT-3.15.2-1] */
		code = mqtt_fail(ret_why, "reason-unknown", MQTT_PROTOCOL_ERROR);
	if (code)
		return code;
	return f->type == MQTT_AUTH ? check_auth(f, ret, ret_why) : check_disconnect(f, ret, ret_why);
}
