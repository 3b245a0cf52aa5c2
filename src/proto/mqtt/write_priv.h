/* write_priv.h - how a packet is measured and written by one function, shared by the files that write packets. */
#pragma once
#include "proto/mqtt/wire_priv.h"
#include "proto/mqtt/write.h"

/* Gives all that stands behind the fixed header; `leave` is a set of properties that are left out. */
typedef void body_give(struct give *g, unsigned version, const void *packet, uint32_t leave);

/*
 * Measures, leaves out what the peer's limit demands, and writes. `first` is the first byte; `may_leave`: the packet
 * has a reason string and user properties that may go. As write.h says of all.
 */
int write_packet(struct mqtt_writer *w, unsigned first, body_give *give, const void *packet, bool may_leave);

/* Room for n more bytes: where they go, and they are counted as written; NULL: there is none, and w->err is set. */
uint8_t *write_room(struct mqtt_writer *w, size_t n);

static inline unsigned first_byte(unsigned type)
{
	return type << 4 | (type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE ? 2 : 0);
}
