/* write_connect.c - CONNECT (3.1) and CONNACK (3.2) into bytes. */
#include "proto/mqtt/write_priv.h"

static unsigned connect_flags(const struct mqtt_connect *c)
{
	unsigned flags = (unsigned)c->clean << 1;

	if (c->will)
		flags |= 1U << 2 | (unsigned)c->will_qos << 3 | (unsigned)c->will_retain << 5;
	return flags | (unsigned)c->has_password << 6 | (unsigned)c->has_user << 7;
}

/* The fields in the order of [MQTT-3.1.3-1]. */
static void give_connect(struct give *g, unsigned version, const void *packet, uint32_t leave)
{
	const struct mqtt_connect *c = packet;

	give_binary(g, span_str(version == MQTT_31 ? "MQIsdp" : "MQTT"));
	give_u8(g, version | (c->from_bridge ? 0x80 : 0));
	give_u8(g, connect_flags(c));
	give_u16(g, c->keep_alive);
	give_props(g, version, MQTT_CONNECT, &c->props, leave);
	give_binary(g, c->client_id);
	if (c->will) {
		give_props(g, version, MQTT_WILL, &c->will_props, leave);
		give_binary(g, c->will_topic);
		give_binary(g, c->will_payload);
	}
	if (c->has_user)
		give_binary(g, c->user);
	if (c->has_password)
		give_binary(g, c->password);
}

int mqtt_put_connect(struct mqtt_writer *w, const struct mqtt_connect *c)
{
	return write_packet(w, first_byte(MQTT_CONNECT), give_connect, c, false);
}

static void give_connack(struct give *g, unsigned version, const void *packet, uint32_t leave)
{
	const struct mqtt_connack *c = packet;

	give_u8(g, c->session_present && version != MQTT_31);
	give_u8(g, c->code);
	give_props(g, version, MQTT_CONNACK, &c->props, leave);
}

int mqtt_put_connack(struct mqtt_writer *w, const struct mqtt_connack *c)
{
	return write_packet(w, first_byte(MQTT_CONNACK), give_connack, c, true);
}
