/* A client of an MQTT broker as the load generator needs it: packets to bytes and back, and one connection. It
 * knows only what it sends itself; a packet that it does not expect ends the run.
 */
#pragma once

#include "load.h"

enum mqtt_packet_type {
	MQTT_CONNECT = 1,
	MQTT_CONNACK,
	MQTT_PUBLISH,
	MQTT_PUBACK,
	MQTT_PUBREC,
	MQTT_PUBREL,
	MQTT_PUBCOMP,
	MQTT_SUBSCRIBE,
	MQTT_SUBACK,
	MQTT_DISCONNECT = 14,
};

enum { MQTT_SMALL = 512 }; /* bytes that have room for any packet made here but PUBLISH */

struct mqtt_packet {
	uint8_t type, flags;
	const uint8_t *body; /* behind the fixed header */
	size_t n, total;     /* bytes of the body, of all */
};

/* The packet at the beginning of `n` bytes. False: its end is not there yet. */
bool mqtt_packet(const uint8_t *p, size_t n, struct mqtt_packet *ret);

/* These write a packet and return its size. The client of a number has the same name throughout a run. */
size_t mqtt_put_connect(uint8_t *to, const struct options *o, unsigned number, bool clean);
size_t mqtt_put_subscribe(uint8_t *to, const struct options *o, const char *filter, unsigned qos);
size_t mqtt_put_id(uint8_t *to, enum mqtt_packet_type type, uint16_t id); /* an acknowledgement */
size_t mqtt_put_length(uint8_t *to, size_t n);

/* The packet identifier of an acknowledgement; dies if it says no. */
uint16_t mqtt_acked(const struct mqtt_packet *p);
/* Whether there was a session; dies if the server does not let us in. */
bool mqtt_welcome(const struct mqtt_packet *p);

/* ---- a connection ---- */

struct mqtt_client {
	int fd;
	void (*hear)(struct mqtt_client *c, const struct mqtt_packet *p);
	void *of;      /* whose it is */
	uint8_t *part; /* the beginning of a packet whose end has not come */
	size_t part_n;
	uint8_t *out; /* what the socket has not taken */
	size_t out_at, out_n, out_cap;
};

/* Connects and waits for CONNACK; registers with `ep`, edge-triggered, the client as its data. */
void mqtt_open(struct mqtt_client *c, const struct options *o, unsigned number, bool clean, int ep);
void mqtt_subscribe(struct mqtt_client *c, const struct options *o, const char *filter, unsigned qos); /* and waits */

/* Reads all there is and gives it to hear(), packet by packet. */
void mqtt_read(struct mqtt_client *c, bool ended);

/* Room for `n` bytes at the end of what is to go out: the caller fills them. */
uint8_t *mqtt_room(struct mqtt_client *c, size_t n);
void mqtt_flush(struct mqtt_client *c); /* as much as the socket takes now */

/* ---- streams: load_mqtt_stream.c ---- */

struct mqtt_stream;

struct mqtt_stream *mqtt_stream_new(const struct options *o); /* connected and subscribed */
int mqtt_stream_epoll(const struct mqtt_stream *s);           /* who else wants to be read has its mqtt_client here */
void mqtt_stream_go(struct mqtt_stream *s, uint64_t now, uint64_t end);
bool mqtt_stream_turn(struct mqtt_stream *s);        /* false: it is over, and everything has come */
void mqtt_stream_print(const struct mqtt_stream *s); /* its figures, as members of an object */
