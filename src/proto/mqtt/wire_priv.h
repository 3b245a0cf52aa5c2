/* wire_priv.h - reading and writing the types of section 1.5, shared by the files of the codec. */
#pragma once
#include "base/utf8.h"
#include "proto/mqtt/wire.h"

static inline int mqtt_fail(const char **ret_why, const char *why, int code)
{
	*ret_why = why;
	return code;
}

/* Bytes that are taken one after the other. The first failure is kept in `why`; from then on all is 0 or empty. */
struct take {
	const uint8_t *p;
	size_t n;        /* bytes left */
	const char *why; /* NULL = all is well; always MQTT_MALFORMED */
};

static inline struct take take_from(struct span s)
{
	return (struct take){ s.p, s.n, NULL };
}

static inline struct span take_rest(const struct take *t)
{
	return (struct span){ t->p, t->n };
}

static inline const uint8_t *take_raw(struct take *t, size_t n)
{
	const uint8_t *p = t->p;

	if (t->n < n || t->why) {
		t->why = t->why ? t->why : "packet-malformed";
		t->n = 0;
		return NULL;
	}
	t->p += n;
	t->n -= n;
	return p;
}

static inline uint8_t take_u8(struct take *t)
{
	const uint8_t *p = take_raw(t, 1);

	return p ? p[0] : 0;
}

static inline uint16_t take_u16(struct take *t)
{
	const uint8_t *p = take_raw(t, 2);

	if (!p)
		return 0;
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t take_u32(struct take *t)
{
	const uint8_t *p = take_raw(t, 4);

	return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

static inline struct span take_bytes(struct take *t, size_t n)
{
	const uint8_t *p = take_raw(t, n);

	return p ? (struct span){ p, n } : (struct span){};
}

/* Binary Data, 1.5.6. */
static inline struct span take_binary(struct take *t)
{
	return take_bytes(t, take_u16(t));
}

/* UTF-8 Encoded String, 1.5.4 [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.7-1]. */
static inline struct span take_text(struct take *t)
{
	struct span s = take_binary(t);

	if (utf8_is_text(s))
		return s;
	t->why = t->why ? t->why : "text-malformed";
	t->n = 0;
	return (struct span){};
}

/* Variable Byte Integer, 1.5.5: at most four bytes and no more than needed [MQTT-1.5.5-1]. */
uint32_t take_varint(struct take *t);

/* The value of a number of this enum mqtt_prop_type. */
uint32_t take_number(struct take *t, unsigned type);

/* The place in the table of an identifier, MQTT_PROPS when it is none. */
unsigned prop_place(uint32_t id);

/* Nothing went wrong and nothing is left? 0 or MQTT_MALFORMED. */
static inline int take_end(const struct take *t, const char **ret_why)
{
	if (t->why)
		return mqtt_fail(ret_why, t->why, MQTT_MALFORMED);
	return t->n ? mqtt_fail(ret_why, "bytes-left", MQTT_MALFORMED) : 0;
}

/* The properties that are read from `raw` alone in this packet, and from there into it, because they may repeat. */
static inline uint32_t props_repeated(unsigned where)
{
	return MQTT_HAS(MQTT_P_USER) | (where == MQTT_PUBLISH ? MQTT_HAS(MQTT_P_SUB_ID) : 0);
}

/* The value of a property in p, by its kind: of a number; of any other but a pair. */
static inline uint32_t prop_number(const struct mqtt_props *p, const struct mqtt_prop_kind *k)
{
	const uint8_t *at = (const uint8_t *)p + k->offset;
	uint16_t middle;
	uint32_t wide;

	if (k->type == MQTT_T_BOOL)
		return *at;
	if (k->type == MQTT_T_U16) {
		memcpy(&middle, at, sizeof(middle));
		return middle;
	}
	memcpy(&wide, at, sizeof(wide));
	return wide;
}

static inline struct span prop_span(const struct mqtt_props *p, const struct mqtt_prop_kind *k)
{
	struct span s;

	memcpy(&s, (const uint8_t *)p + k->offset, sizeof(s));
	return s;
}

/* Properties at the place that was reached; of 3.x: none. */
int take_props(struct take *t, unsigned version, unsigned where, struct mqtt_props *ret, const char **ret_why);

/* A name that one can publish to has no wildcard [MQTT-3.3.2-2] [MQTT-4.7.0-1]. */
bool mqtt_topic_is_plain(struct span topic);

/* ---- the other way: first with p = NULL to count, then into memory that is known to be enough ---- */

struct give {
	uint8_t *p; /* NULL = only count */
	size_t n;
	bool bad; /* a text was too long for its length */
};

static inline void give_u8(struct give *g, unsigned v)
{
	if (g->p)
		g->p[g->n] = (uint8_t)v;
	g->n++;
}

static inline void give_u16(struct give *g, unsigned v)
{
	give_u8(g, v >> 8 & 0xff);
	give_u8(g, v & 0xff);
}

static inline void give_u32(struct give *g, uint32_t v)
{
	give_u16(g, v >> 16);
	give_u16(g, v & 0xffff);
}

static inline void give_bytes(struct give *g, struct span s)
{
	if (g->p && s.n)
		memcpy(g->p + g->n, s.p, s.n);
	g->n += s.n;
}

/* Text or Binary Data. */
static inline void give_binary(struct give *g, struct span s)
{
	if (s.n > UINT16_MAX) {
		g->bad = true;
		s = (struct span){};
	}
	give_u16(g, (unsigned)s.n);
	give_bytes(g, s);
}

static inline void give_varint(struct give *g, size_t v)
{
	for (; v > 127; v >>= 7)
		give_u8(g, 0x80 | (v & 0x7f));
	give_u8(g, (unsigned)v);
}

static inline size_t varint_size(size_t v)
{
	return v < 1U << 7 ? 1 : v < 1U << 14 ? 2 : v < 1U << 21 ? 3 : 4;
}

#define VARINT_MAX 268435455

/*
 * The properties of p, but for those of the set `leave`: mqtt_props_give() without their length; give_props() with it,
 * and nothing for 3.x.
 */
void mqtt_props_give(struct give *g, unsigned where, const struct mqtt_props *p, uint32_t leave);
void give_props(struct give *g, unsigned version, unsigned where, const struct mqtt_props *p, uint32_t leave);
