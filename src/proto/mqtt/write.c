/*
 * write.c - how a packet gets into an array: the function that writes its body runs twice, once to count. And all but
 * CONNECT and CONNACK (write_connect.c) and PUBLISH (write_publish.c).
 */
#include "proto/mqtt/write.h"

#include <errno.h>

#include "proto/mqtt/write_priv.h"

uint8_t *write_room(struct mqtt_writer *w, size_t n)
{
	uint8_t *p = w->p + w->n;

	if (w->err || n > w->cap - w->n) {
		w->err = -ENOBUFS;
		return NULL;
	}
	w->n += n;
	return p;
}

/* Bytes of the whole packet, 0 when it cannot be one. */
static size_t measure(const struct mqtt_writer *w, body_give *give, const void *packet, uint32_t leave,
		      size_t *ret_body)
{
	struct give count = {};

	give(&count, w->version, packet, leave);
	if (count.bad || count.n > VARINT_MAX)
		return 0;
	*ret_body = count.n;
	return 1 + varint_size(count.n) + count.n;
}

/*
 * What an answer may go without, in this order. A client that is not told how many aliases it may use uses none; the other things that
 * CONNACK says it must know.
 */
enum {
	NO_USER = MQTT_HAS(MQTT_P_USER),
	NO_REASON = NO_USER | MQTT_HAS(MQTT_P_REASON),
	NO_RESPONSE = NO_REASON | MQTT_HAS(MQTT_P_RESPONSE_INFO),
	NO_SERVER = NO_RESPONSE | MQTT_HAS(MQTT_P_SERVER),
	NO_ALIAS_MAX = NO_SERVER | MQTT_HAS(MQTT_P_ALIAS_MAX),
};

int write_packet(struct mqtt_writer *w, unsigned first, body_give *give, const void *packet, bool may_leave)
{
	static const uint32_t leaves[] = { 0, NO_USER, NO_REASON, NO_RESPONSE, NO_SERVER, NO_ALIAS_MAX };
	size_t last = may_leave ? sizeof(leaves) / sizeof(leaves[0]) - 1 : 0, i = 0, body = 0, total;
	struct give g = {};

	if (w->quiet && may_leave && first >> 4 != MQTT_CONNACK && first >> 4 != MQTT_DISCONNECT)
		i = 2; /* without reasons [MQTT-3.1.2-29] */
	for (;; i++) {
		total = measure(w, give, packet, leaves[i], &body);
		if (total && (!w->max_packet || total <= w->max_packet))
			break;
		if (i == last)
			return -EMSGSIZE;
	}
	g.p = write_room(w, total);
	if (!g.p)
		return -ENOBUFS;
	give_u8(&g, first);
	give_varint(&g, body);
	give(&g, w->version, packet, leaves[i]);
	return 0;
}

/* ---- PUBACK, PUBREC, PUBREL, PUBCOMP ---- */

int mqtt_put_id(struct mqtt_writer *w, enum mqtt_type type, uint16_t id, uint8_t code)
{
	unsigned body = w->version == MQTT_5 && code ? 3 : 2;
	uint8_t *p;

	if (w->max_packet && w->max_packet < 2 + body)
		return -EMSGSIZE;
	p = write_room(w, 2 + body);
	if (!p)
		return -ENOBUFS;
	p[0] = (uint8_t)first_byte(type);
	p[1] = (uint8_t)body;
	p[2] = (uint8_t)(id >> 8);
	p[3] = (uint8_t)id;
	if (body == 3)
		p[4] = code;
	return 0;
}

static bool any_props(const struct mqtt_props *p, uint32_t leave)
{
	return p->has & ~leave;
}

static void give_ack(struct give *g, unsigned version, const void *packet, uint32_t leave)
{
	const struct mqtt_ack *a = packet;
	bool props = version == MQTT_5 && any_props(&a->props, leave);

	give_u16(g, a->id);
	if (props || (version == MQTT_5 && a->code))
		give_u8(g, a->code);
	if (props)
		give_props(g, version, a->type, &a->props, leave);
}

int mqtt_put_ack(struct mqtt_writer *w, const struct mqtt_ack *a)
{
	return write_packet(w, first_byte(a->type), give_ack, a, true);
}

/* ---- lists ---- */

static void give_list(struct give *g, unsigned version, const void *packet, uint32_t leave)
{
	const struct mqtt_list *l = packet;

	give_u16(g, l->id);
	give_props(g, version, l->type, &l->props, leave);
	if (version == MQTT_5 || l->type != MQTT_UNSUBACK)
		give_bytes(g, l->list);
}

int mqtt_put_list(struct mqtt_writer *w, const struct mqtt_list *l)
{
	bool answer = l->type == MQTT_SUBACK || l->type == MQTT_UNSUBACK;

	return write_packet(w, first_byte(l->type), give_list, l, answer);
}

static int write_piece(struct mqtt_writer *w, struct span text, size_t more, struct give *ret)
{
	if (text.n > UINT16_MAX)
		return -EMSGSIZE;
	*ret = (struct give){ .p = write_room(w, 2 + text.n + more) };
	return ret->p ? 0 : -ENOBUFS;
}

int mqtt_put_sub(struct mqtt_writer *w, const struct mqtt_sub *s)
{
	unsigned options = s->qos;
	struct give g;
	int r = write_piece(w, s->filter, 1, &g);

	if (r)
		return r;
	if (w->version == MQTT_5)
		options |= (unsigned)s->no_local << 2 | (unsigned)s->as_published << 3 |
			   (unsigned)s->retain_handling << 4;
	give_binary(&g, s->filter);
	give_u8(&g, options);
	return 0;
}

int mqtt_put_unsub(struct mqtt_writer *w, struct span filter)
{
	struct give g;
	int r = write_piece(w, filter, 0, &g);

	if (r == 0)
		give_binary(&g, filter);
	return r;
}

int mqtt_put_user(struct mqtt_writer *w, const struct mqtt_user *u)
{
	struct give g;
	int r = u->value.n > UINT16_MAX ? -EMSGSIZE : write_piece(w, u->name, 1 + 2 + u->value.n, &g);

	if (r)
		return r;
	give_u8(&g, mqtt_prop_kinds[MQTT_P_USER].id);
	give_binary(&g, u->name);
	give_binary(&g, u->value);
	return 0;
}

/* ---- DISCONNECT, AUTH, PINGREQ, PINGRESP ---- */

static void give_end(struct give *g, unsigned version, const void *packet, uint32_t leave)
{
	const struct mqtt_end *e = packet;
	bool props = any_props(&e->props, leave);

	if (version != MQTT_5 || (!props && !e->code))
		return;
	give_u8(g, e->code);
	if (props || e->type == MQTT_AUTH)
		give_props(g, version, e->type, &e->props, leave);
}

int mqtt_put_end(struct mqtt_writer *w, const struct mqtt_end *e)
{
	if (e->type == MQTT_AUTH && w->version != MQTT_5)
		return -EMSGSIZE;
	return write_packet(w, first_byte(e->type), give_end, e, true);
}

int mqtt_put_ping(struct mqtt_writer *w, enum mqtt_type type)
{
	uint8_t *p = write_room(w, 2);

	if (!p)
		return -ENOBUFS;
	p[0] = (uint8_t)first_byte(type);
	p[1] = 0;
	return 0;
}
