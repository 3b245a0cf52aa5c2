/* write_publish.c - PUBLISH (3.3) into bytes, all but its payload. The most frequent packet is measured by hand. */
#include <errno.h>

#include "proto/mqtt/write_priv.h"

/* Its properties without their length. */
static void give_publish_props(struct give *g, const struct mqtt_publish *p)
{
	mqtt_props_give(g, MQTT_PUBLISH, &p->props, 0);
	give_bytes(g, p->kept);
	for (size_t i = 0; i < p->n_sub_ids; i++) {
		give_u8(g, mqtt_prop_kinds[MQTT_P_SUB_ID].id);
		give_varint(g, p->sub_ids[i]);
	}
}

/* The remaining length, and of it the properties; VARINT_MAX + 1 when it cannot be. */
static size_t body_size(unsigned version, const struct mqtt_publish *p, size_t *ret_props)
{
	bool bad = p->topic.n > UINT16_MAX || p->payload.n > VARINT_MAX;
	size_t n = 2 + p->topic.n + (p->qos > 0 ? 2 : 0) + p->payload.n;
	struct give count = {};

	if (version == MQTT_5) {
		give_publish_props(&count, p);
		n += varint_size(count.n) + count.n;
	}
	bad |= count.bad;
	*ret_props = count.n;
	return bad || n > VARINT_MAX ? VARINT_MAX + 1 : n;
}

size_t mqtt_publish_size(enum mqtt_version version, const struct mqtt_publish *p)
{
	size_t props, n = body_size(version, p, &props);

	return n > VARINT_MAX ? 0 : 1 + varint_size(n) + n;
}

int mqtt_put_publish(struct mqtt_writer *w, const struct mqtt_publish *p)
{
	size_t props, n = body_size(w->version, p, &props), head = 1 + varint_size(n);
	struct give g = {};

	if (n > VARINT_MAX || (w->max_packet && head + n > w->max_packet))
		return -EMSGSIZE;
	g.p = write_room(w, head + n - p->payload.n);
	if (!g.p)
		return -ENOBUFS;
	give_u8(&g, MQTT_PUBLISH << 4 | (unsigned)p->dup << 3 | (unsigned)p->qos << 1 | p->retain);
	give_varint(&g, n);
	give_binary(&g, p->topic);
	if (p->qos > 0)
		give_u16(&g, p->id);
	if (w->version == MQTT_5) {
		give_varint(&g, props);
		give_publish_props(&g, p);
	}
	return 0;
}
