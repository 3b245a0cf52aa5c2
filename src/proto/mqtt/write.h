/*
 * write.h - packets into bytes, over an array of the caller's: the structs of wire.h, for both sides.
 * A packet is measured before it is written: its lengths are minimal, and it is written whole or not at all.
 * What it says is not checked: codes, flags and identifiers are the caller's to get right.
 */
#pragma once
#include "proto/mqtt/wire.h"

struct mqtt_writer {
	uint8_t *p;
	size_t n, cap;       /* bytes written, and of the array */
	uint32_t max_packet; /* the peer's Maximum Packet Size, 0 = none */
	uint8_t version;     /* enum mqtt_version */
	bool quiet; /* Request Problem Information is 0 [MQTT-3.1.2-29]: no reason string and no user property but in
		     * PUBLISH, CONNACK and DISCONNECT */
	int err;    /* 0, or -ENOBUFS: the array was full, and nothing is written any more */
};

static inline void mqtt_writer_init(struct mqtt_writer *w, enum mqtt_version version, uint8_t *array, size_t size)
{
	*w = (struct mqtt_writer){ .p = array, .cap = size, .version = (uint8_t)version };
}

/*
 * Each adds one packet. An answer larger than max_packet goes without its user properties, then without its reason
 * string too ([MQTT-3.2.2-19] [-20], [MQTT-3.4.2-2] [-3] and the like), then without response information, server
 * reference, and aliases. Returns 0 or, nothing having been written,
 *	-ENOBUFS   the array has no room; sticky, see `err`;
 *	-EMSGSIZE  max_packet does not allow it [MQTT-3.1.2-24], or a text has more than 65535 bytes. Not sticky.
 */
int mqtt_put_connect(struct mqtt_writer *w, const struct mqtt_connect *c);
int mqtt_put_connack(struct mqtt_writer *w, const struct mqtt_connack *c);
int mqtt_put_ack(struct mqtt_writer *w, const struct mqtt_ack *a);
int mqtt_put_list(struct mqtt_writer *w, const struct mqtt_list *l);
int mqtt_put_end(struct mqtt_writer *w, const struct mqtt_end *e); /* AUTH of 3.x: -EMSGSIZE, there is none */
int mqtt_put_ping(struct mqtt_writer *w, enum mqtt_type type);

/* PUBACK, PUBREC, PUBREL, PUBCOMP without properties: the common case, without a struct. */
int mqtt_put_id(struct mqtt_writer *w, enum mqtt_type type, uint16_t id, uint8_t code);

/*
 * PUBLISH up to its payload: the length counts p->payload.n, the bytes are the caller's to send next. Its properties,
 * those of p->props, p->kept and p->sub_ids, are never left out.
 */
int mqtt_put_publish(struct mqtt_writer *w, const struct mqtt_publish *p);

/* Bytes of the whole packet, payload included, for a peer's Maximum Packet Size; 0: more than a packet can have. */
size_t mqtt_publish_size(enum mqtt_version version, const struct mqtt_publish *p);

/*
 * Pieces to build lists with: add to a writer of one's own, then give its bytes as mqtt_list.list or mqtt_props.raw.
 * 0, -ENOBUFS, -EMSGSIZE as above.
 */
int mqtt_put_sub(struct mqtt_writer *w, const struct mqtt_sub *s);   /* of SUBSCRIBE; 3.x: only the QoS counts */
int mqtt_put_unsub(struct mqtt_writer *w, struct span filter);       /* of UNSUBSCRIBE */
int mqtt_put_user(struct mqtt_writer *w, const struct mqtt_user *u); /* a user property */

static inline struct span mqtt_written(const struct mqtt_writer *w)
{
	return (struct span){ w->p, w->n };
}
