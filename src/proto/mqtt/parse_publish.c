/* parse_publish.c - PUBLISH (3.3) and the four packets that acknowledge it (3.4 to 3.7) out of bytes. */
#include "proto/mqtt/wire_priv.h"

int mqtt_parse_publish(const struct mqtt_frame *f, struct mqtt_publish *ret, const char **ret_why)
{
	struct take t = take_from(f->body);
	unsigned version = f->form.version;
	int code;

	ret->dup = f->flags & 8;
	ret->qos = f->flags >> 1 & 3;
	ret->retain = f->flags & 1;
	ret->kept = (struct span){};
	ret->sub_ids = NULL;
	ret->n_sub_ids = 0;
	ret->topic = take_text(&t);                /* [MQTT-3.3.2-1] */
	ret->id = ret->qos > 0 ? take_u16(&t) : 0; /* [MQTT-2.2.1-2] */
	code = take_props(&t, version, MQTT_PUBLISH, &ret->props, ret_why);
	if (code)
		return code;
	if (ret->qos > 0 && ret->id == 0) /* [MQTT-2.2.1-3] [MQTT-2.2.1-4] */
		return mqtt_fail(ret_why, "id-zero", MQTT_PROTOCOL_ERROR);
	if (!mqtt_topic_is_plain(ret->topic)) /* [MQTT-3.3.2-2] */
		return mqtt_fail(ret_why, "topic-invalid", MQTT_BAD_TOPIC);
	if (ret->topic.n == 0 && !(ret->props.has & MQTT_HAS(MQTT_P_ALIAS))) /* 3.3.2.1 */
		return mqtt_fail(ret_why, "topic-empty", MQTT_PROTOCOL_ERROR);
	if (ret->props.has & MQTT_HAS(MQTT_P_SUB_ID) && f->form.from == MQTT_FROM_CLIENT) /* [MQTT-3.3.4-6] */
		return mqtt_fail(ret_why, "property-misplaced", MQTT_PROTOCOL_ERROR);
	ret->payload = take_rest(&t);
	return 0;
}

/* What may be left out at the end of a packet of 5.0: the code when it is 0, the properties when there are none. */
static int take_answer(struct take *t, const struct mqtt_frame *f, struct mqtt_ack *ret, const char **ret_why)
{
	ret->code = t->n > 0 ? take_u8(t) : MQTT_OK;
	if (t->n == 0) {
		mqtt_props_init(&ret->props);
		return 0;
	}
	return take_props(t, f->form.version, f->type, &ret->props, ret_why);
}

int mqtt_parse_ack(const struct mqtt_frame *f, struct mqtt_ack *ret, const char **ret_why)
{
	struct take t = take_from(f->body);
	int code = 0;

	ret->type = f->type;
	ret->id = take_u16(&t);
	ret->code = MQTT_OK;
	if (f->form.version == MQTT_5 && !t.why)
		code = take_answer(&t, f, ret, ret_why);
	else
		mqtt_props_init(&ret->props);
	if (code == 0)
		code = take_end(&t, ret_why);
	if (code)
		return code;
	if (ret->id == 0) /* no packet that it could belong to [MQTT-2.2.1-5] */
		return mqtt_fail(ret_why, "id-zero", MQTT_PROTOCOL_ERROR);
	/* [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] */
	if (!mqtt_reason_valid(f->type, f->form.from, ret->code))
		return mqtt_fail(ret_why, "reason-unknown", MQTT_PROTOCOL_ERROR);
	return 0;
}
