/*
 * test_talk.h - clients for the tests of the broker, in packets rather than bytes. All of 5.0 unless said; what comes is
 * taken packet by packet, and a packet of another type than is asked for fails the test.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/mqtt/mqtt_priv.h"
#include "proto/protos.h"
#include "support/world.h"

enum { TALK_BYTES = 4096 };

struct hello {
	const char *name;
	bool clean;
	uint16_t keep_alive, receive_max;
	uint32_t expiry; /* of the session */
	uint32_t max_packet;
	const char *will;
	uint32_t will_delay, will_expiry;
	bool will_retain;
	bool asks; /* for response information */
};

static inline void send_written(struct memconn *c, const struct mqtt_writer *w)
{
	assert_int_equal(w->err, 0);
	memconn_send(c, w->p, w->n, 0);
}

/* The next packet that came, which is of this type. Dies with the next call. */
static inline struct mqtt_frame take_packet(struct memconn *c, unsigned type)
{
	static uint8_t bytes[1 << 16];
	const struct mqtt_form form = { MQTT_5, MQTT_FROM_SERVER };
	struct span out = memconn_out(c);
	struct mqtt_frame f;
	const char *why = NULL;

	out.n = out.n < sizeof(bytes) ? out.n : sizeof(bytes);
	if (out.n)
		memcpy(bytes, out.p, out.n);
	out.p = bytes;
	if (mqtt_frame(form, out, sizeof(bytes), &f, &why) != 1)
		fail_msg("no packet came, it should be of type %u (%s)", type, why ? why : "nothing");
	assert_int_equal(f.type, type);
	memconn_take(c, f.total);
	return f;
}

static inline void talk_greet(struct memconn *c, const struct hello *h)
{
	uint8_t array[TALK_BYTES];
	struct mqtt_writer out;
	struct mqtt_connect p = { .version = MQTT_5, .clean = h->clean, .keep_alive = h->keep_alive };

	mqtt_props_init(&p.props);
	mqtt_props_init(&p.will_props);
	p.client_id = span_str(h->name);
	if (h->expiry)
		mqtt_props_set(&p.props, MQTT_P_SESSION_EXPIRY, h->expiry);
	if (h->receive_max)
		mqtt_props_set(&p.props, MQTT_P_RECEIVE_MAX, h->receive_max);
	if (h->max_packet)
		mqtt_props_set(&p.props, MQTT_P_MAX_PACKET, h->max_packet);
	if (h->asks)
		mqtt_props_set(&p.props, MQTT_P_REQUEST_RESPONSE, 1);
	if (h->will) {
		p.will = true;
		p.will_retain = h->will_retain;
		p.will_topic = span_str(h->will);
		p.will_payload = span_str("will");
		if (h->will_delay)
			mqtt_props_set(&p.will_props, MQTT_P_WILL_DELAY, h->will_delay);
		if (h->will_expiry)
			mqtt_props_set(&p.will_props, MQTT_P_EXPIRY, h->will_expiry);
	}
	mqtt_writer_init(&out, MQTT_5, array, sizeof(array));
	assert_int_equal(mqtt_put_connect(&out, &p), 0);
	send_written(c, &out);
}

/* The answer to that; what it points at dies with the next packet that is taken. */
static inline struct mqtt_connack talk_greeted(struct memconn *c, unsigned code)
{
	struct mqtt_frame f = take_packet(c, MQTT_CONNACK);
	struct mqtt_connack back;
	const char *why = NULL;

	assert_int_equal(mqtt_parse_connack(&f, &back, &why), 0);
	assert_int_equal(back.code, code);
	return back;
}

[[maybe_unused]] static struct memconn *talk_hello(struct world *w, const struct hello *h, bool present)
{
	struct memconn *c = world_client(w);

	talk_greet(c, h);
	assert_int_equal(talk_greeted(c, MQTT_OK).session_present, present);
	return c;
}

[[maybe_unused]] static struct memconn *talk_enter(struct world *w, const char *name)
{
	return talk_hello(w, &(struct hello){ .name = name, .clean = true }, false);
}

struct say {
	const char *topic, *payload;
	size_t size; /* of the payload; 0: up to its end */
	uint8_t qos;
	uint16_t id;
	bool retain;
	uint32_t expiry;
};

[[maybe_unused]] static void talk_publish(struct memconn *c, const struct say *s)
{
	struct mqtt_publish p = { .qos = s->qos, .id = s->id, .retain = s->retain };
	uint8_t array[TALK_BYTES];
	struct mqtt_writer out;

	mqtt_props_init(&p.props);
	p.topic = span_str(s->topic);
	p.payload = s->size ? (struct span){ (const uint8_t *)s->payload, s->size } : span_str(s->payload);
	if (s->expiry)
		mqtt_props_set(&p.props, MQTT_P_EXPIRY, s->expiry);
	mqtt_writer_init(&out, MQTT_5, array, sizeof(array));
	assert_int_equal(mqtt_put_publish(&out, &p), 0);
	send_written(c, &out);
	memconn_send(c, p.payload.p, p.payload.n, 0);
}

/* `id`: 0 for none. */
[[maybe_unused]] static void talk_subscribe_id(struct memconn *c, const char *filter, unsigned qos, uint32_t id)
{
	struct mqtt_list l = { .type = MQTT_SUBSCRIBE, .id = 1 };
	struct mqtt_sub sub = { .filter = span_str(filter), .qos = (uint8_t)qos };
	uint8_t array[TALK_BYTES], list[TALK_BYTES];
	struct mqtt_writer out, in;

	mqtt_writer_init(&in, MQTT_5, list, sizeof(list));
	assert_int_equal(mqtt_put_sub(&in, &sub), 0);
	mqtt_props_init(&l.props);
	if (id)
		mqtt_props_set(&l.props, MQTT_P_SUB_ID, id);
	l.list = mqtt_written(&in);
	mqtt_writer_init(&out, MQTT_5, array, sizeof(array));
	assert_int_equal(mqtt_put_list(&out, &l), 0);
	send_written(c, &out);
	assert_int_equal(take_packet(c, MQTT_SUBACK).body.n, 4);
}

[[maybe_unused]] static void talk_subscribe(struct memconn *c, const char *filter, unsigned qos)
{
	talk_subscribe_id(c, filter, qos, 0);
}

[[maybe_unused]] static void talk_id(struct memconn *c, unsigned type, uint16_t id)
{
	uint8_t array[16];
	struct mqtt_writer out;

	mqtt_writer_init(&out, MQTT_5, array, sizeof(array));
	assert_int_equal(mqtt_put_id(&out, type, id, MQTT_OK), 0);
	send_written(c, &out);
}

[[maybe_unused]] static void talk_bye(struct memconn *c)
{
	memconn_send(c, "\xe0\0", 2, 0);
	assert_true(memconn_fin(c));
}

/* A PUBLISH, and what is in it. */
[[maybe_unused]] static struct mqtt_publish talk_take(struct memconn *c)
{
	struct mqtt_frame f = take_packet(c, MQTT_PUBLISH);
	struct mqtt_publish p;
	const char *why = NULL;

	assert_int_equal(mqtt_parse_publish(&f, &p, &why), 0);
	return p;
}

static inline struct mqtt_shard *talk_room(struct memconn *c)
{
	return memconn_sess(c)->lane->shard;
}

static inline struct mqtt_service *talk_service(struct world *w)
{
	return memdrive_svc(w->drive)->state;
}

static inline uint64_t talk_count(const struct world *w, unsigned which)
{
	return memdrive_stat(w->drive, STAT_OWN + which);
}
