/*
 * props_write.c - properties into bytes; and those that may come more than once, which are read from the bytes that
 * they came in, and written from them.
 */
#include "proto/mqtt/props.h"

#include "proto/mqtt/wire_priv.h"

/* ---- what may repeat ---- */

/* Takes one property whatever it is: its place, with its value in *ret; MQTT_PROPS at the end or when it is none. */
static unsigned next_any(struct take *t, struct span *ret)
{
	struct take was = *t;
	unsigned which = t->n ? prop_place(take_varint(t)) : MQTT_PROPS;
	const uint8_t *from = t->p;

	if (which == MQTT_PROPS)
		return MQTT_PROPS;
	switch (mqtt_prop_kinds[which].type) {
	case MQTT_T_PAIR:
		take_binary(t);
		[[fallthrough]];
	case MQTT_T_TEXT:
	case MQTT_T_TOPIC:
	case MQTT_T_BINARY:
		take_binary(t);
		break;
	default:
		take_number(t, mqtt_prop_kinds[which].type);
	}
	if (t->why) {
		*t = was;
		return MQTT_PROPS;
	}
	*ret = (struct span){ from, (size_t)(t->p - from) };
	return which;
}

/* The value of the next one of this kind, and *at behind it. */
static bool next_of(struct span *at, enum mqtt_prop wanted, struct span *ret)
{
	struct take t = take_from(*at);

	for (;;) {
		unsigned which = next_any(&t, ret);

		*at = take_rest(&t);
		if (which == wanted || which == MQTT_PROPS)
			return which == wanted;
	}
}

bool mqtt_user_next(struct span *at, struct mqtt_user *ret)
{
	struct span value;
	struct take t;

	if (!next_of(at, MQTT_P_USER, &value))
		return false;
	t = take_from(value);
	ret->name = take_binary(&t);
	ret->value = take_binary(&t);
	return true;
}

bool mqtt_sub_id_next(struct span *at, uint32_t *ret)
{
	struct span value;
	struct take t;

	if (!next_of(at, MQTT_P_SUB_ID, &value))
		return false;
	t = take_from(value);
	*ret = take_varint(&t);
	return true;
}

/* Those of a set, as they stand in raw. */
static void give_some(struct give *g, struct span raw, uint32_t set)
{
	struct take t = take_from(raw);
	const uint8_t *from = t.p;
	struct span value;
	unsigned which;

	while ((which = next_any(&t, &value)) != MQTT_PROPS) {
		if (set & MQTT_HAS(which))
			give_bytes(g, (struct span){ from, (size_t)(t.p - from) });
		from = t.p;
	}
}

size_t mqtt_props_kept(const struct mqtt_props *p, uint8_t *to)
{
	struct give g = { .p = to };

	if (p->has & ~MQTT_KEPT)
		give_some(&g, p->raw, MQTT_KEPT);
	else
		give_bytes(&g, p->raw);
	return g.n;
}

/* ---- into bytes ---- */

static void give_one(struct give *g, unsigned which, const struct mqtt_props *p)
{
	const struct mqtt_prop_kind *k = &mqtt_prop_kinds[which];

	give_u8(g, k->id);
	switch (k->type) {
	case MQTT_T_BOOL:
		give_u8(g, prop_number(p, k));
		break;
	case MQTT_T_U16:
		give_u16(g, prop_number(p, k));
		break;
	case MQTT_T_U32:
		give_u32(g, prop_number(p, k));
		break;
	case MQTT_T_VARINT:
		give_varint(g, prop_number(p, k));
		break;
	default:
		give_binary(g, prop_span(p, k));
	}
}

void mqtt_props_give(struct give *g, unsigned where, const struct mqtt_props *p, uint32_t leave)
{
	uint32_t raw = props_repeated(where);

	for (uint32_t has = p->has & ~(raw | leave); has; has &= has - 1)
		give_one(g, (unsigned)__builtin_ctz(has), p);
	if (p->raw.n && raw & ~leave)
		give_some(g, p->raw, raw & ~leave);
}

void give_props(struct give *g, unsigned version, unsigned where, const struct mqtt_props *p, uint32_t leave)
{
	struct give count = {};

	if (version < MQTT_5)
		return;
	mqtt_props_give(&count, where, p, leave);
	give_varint(g, count.n);
	if (!g->p) {
		g->n += count.n;
		g->bad |= count.bad;
		return;
	}
	mqtt_props_give(g, where, p, leave);
}
