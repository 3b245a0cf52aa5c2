/* parse_list.c - SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (3.8 to 3.11) out of bytes: properties and a list. */
#include "proto/mqtt/wire_priv.h"

enum {
	SUB_QOS = 3,
	SUB_NO_LOCAL = 1 << 2,
	SUB_AS_PUBLISHED = 1 << 3,
	SUB_RETAIN = 3 << 4,
};

static struct mqtt_sub take_sub(struct take *t)
{
	struct mqtt_sub s = { .filter = take_binary(t) };
	unsigned options = take_u8(t);

	s.qos = options & SUB_QOS;
	s.no_local = options & SUB_NO_LOCAL;
	s.as_published = options & SUB_AS_PUBLISHED;
	s.retain_handling = (uint8_t)((options & SUB_RETAIN) >> 4);
	return s;
}

/* 3.8.3.1 of 5.0, 3.8.3 of 3.1.1. */
static int check_options(unsigned version, struct span filter, unsigned options, const char **ret_why)
{
	unsigned known = version == MQTT_5 ? SUB_QOS | SUB_NO_LOCAL | SUB_AS_PUBLISHED | SUB_RETAIN : SUB_QOS;

	if (options & ~known) /* [MQTT-3.8.3-5] */
		return mqtt_fail(ret_why, "options-reserved", MQTT_MALFORMED);
	if ((options & SUB_QOS) == 3)
		return mqtt_fail(ret_why, "qos-invalid", MQTT_PROTOCOL_ERROR);
	if ((options & SUB_RETAIN) == SUB_RETAIN)
		return mqtt_fail(ret_why, "retain-handling", MQTT_PROTOCOL_ERROR);
	if (options & SUB_NO_LOCAL && span_starts(filter, "$share/")) /* [MQTT-3.8.3-4] */
		return mqtt_fail(ret_why, "no-local-shared", MQTT_PROTOCOL_ERROR);
	return 0;
}

/* [MQTT-3.8.3-1] [MQTT-3.8.3-2] [MQTT-3.10.3-1] [MQTT-3.10.3-2] */
static int check_filters(struct take *t, const struct mqtt_frame *f, struct mqtt_list *ret, const char **ret_why)
{
	int code = 0;

	while (t->n > 0 && code == 0) {
		struct span filter = take_text(t);
		unsigned options = f->type == MQTT_SUBSCRIBE ? take_u8(t) : 0;

		if (t->why)
			break;
		code = check_options(f->form.version, filter, options, ret_why);
		ret->n++;
	}
	if (code == 0)
		code = take_end(t, ret_why);
	if (code == 0 && ret->n == 0)
		code = mqtt_fail(ret_why, "filters-none", MQTT_PROTOCOL_ERROR);
	return code;
}

/* [MQTT-3.9.3-2] [MQTT-3.11.3-2]; 3.1.1 has 0, 1, 2 and 0x80 in SUBACK [MQTT-3.9.3-2 of 3.1.1] */
static int check_codes(const struct mqtt_frame *f, struct mqtt_list *ret, const char **ret_why)
{
	struct mqtt_form form = f->form;

	ret->n = ret->list.n;
	if (form.version != MQTT_5 && f->type == MQTT_UNSUBACK) {
		struct take t = take_from(ret->list);

		return take_end(&t, ret_why);
	}
	for (size_t i = 0; i < ret->n; i++) {
		uint8_t c = ret->list.p[i];

		if (form.version == MQTT_5 ? !mqtt_reason_valid(f->type, form.from, c) : c > 2 && c != MQTT_UNSPECIFIED)
			return mqtt_fail(ret_why, "reason-unknown", MQTT_PROTOCOL_ERROR);
	}
	return ret->n ? 0 : mqtt_fail(ret_why, "codes-none", MQTT_PROTOCOL_ERROR);
}

int mqtt_parse_list(const struct mqtt_frame *f, struct mqtt_list *ret, const char **ret_why)
{
	struct take t = take_from(f->body);
	int code;

	ret->type = f->type;
	ret->n = 0;
	ret->id = take_u16(&t);
	code = take_props(&t, f->form.version, f->type, &ret->props, ret_why);
	if (code)
		return code;
	ret->list = take_rest(&t);
	if (ret->id == 0) /* [MQTT-2.2.1-3] [MQTT-2.2.1-6] */
		return mqtt_fail(ret_why, "id-zero", MQTT_PROTOCOL_ERROR);
	if (f->type == MQTT_SUBACK || f->type == MQTT_UNSUBACK)
		return check_codes(f, ret, ret_why);
	return check_filters(&t, f, ret, ret_why);
}

bool mqtt_sub_next(struct span *at, struct mqtt_sub *ret)
{
	struct take t = take_from(*at);
	struct mqtt_sub s = take_sub(&t);

	if (t.why)
		return false;
	*ret = s;
	*at = take_rest(&t);
	return true;
}

bool mqtt_unsub_next(struct span *at, struct span *ret)
{
	struct take t = take_from(*at);
	struct span s = take_binary(&t);

	if (t.why)
		return false;
	*ret = s;
	*at = take_rest(&t);
	return true;
}
