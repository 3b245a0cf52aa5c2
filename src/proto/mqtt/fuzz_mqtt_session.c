/*
 * fuzz_mqtt_session.c - four clients who talk to the broker over the memory driver, mostly in packets that are right.
 * What must hold: all that the server says are packets; nobody gets what was not published to that topic; QoS 2 comes
 * once; no more is under way than a client's Receive Maximum; nothing is left in the end. Input: one byte (options), then
 * actions of a byte with their operands; see act().
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mqtt/mqtt_priv.h"
#include "proto/protos.h"
#include "support/world.h"

#define MUST(x) ((x) ? (void)0 : abort())
#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

enum { CLIENTS = 4, SERIALS = 512, UNDER_WAY = 64, ROOM = 2048, WINDOW = 3, SHARES = 2 };

static const char *const topics[] = { "a", "a/b", "a/b/c", "b", "b/b", "$x/a", "a//b", "\xc3\xa4" };
static const char *const filters[] = { "#",          "a/#",   "+/b",   "a",       "a/b",  "b/+",
				       "$x/#",       "+",     "a/+/c", "b",       "a//b", "$share/g/a/#",
				       "$share/h/+", "a/#/b", "",      "\xc3\xa4" };

struct client {
	struct memconn *c; /* NULL: it is not here */
	uint8_t version;
	bool answers; /* acknowledges what comes as it must */
	uint16_t window, under_way[UNDER_WAY];
	unsigned n;
	char aliases[WINDOW + 1][8]; /* topics */
	uint8_t qos2[SERIALS];       /* how often each came so, for the first time */
};

struct play {
	const uint8_t *p, *end;
	struct world w;
	struct client client[CLIENTS];
	const char *topic[SERIALS]; /* what was published, by its number */
	uint16_t serial;
	bool wild; /* somebody has said any bytes: nothing is known of what is published */
};

static unsigned next(struct play *t)
{
	return t->p < t->end ? *t->p++ : 0;
}

static void put(struct client *c, const struct mqtt_writer *w)
{
	if (w->err == 0)
		memconn_send(c->c, w->p, w->n, 0);
}

/* ---- what comes ---- */

static void landed(struct client *c, uint16_t id)
{
	for (unsigned i = 0; i < c->n; i++) {
		if (c->under_way[i] == id) {
			c->under_way[i] = c->under_way[--c->n];
			return;
		}
	}
}

static void fly(struct client *c, uint16_t id)
{
	landed(c, id);
	MUST(c->n < c->window && c->n < UNDER_WAY);
	c->under_way[c->n++] = id;
}

static void send_ack(struct client *c, unsigned type, uint16_t id, unsigned code)
{
	uint8_t array[16];
	struct mqtt_writer w;

	if (type == MQTT_PUBACK || type == MQTT_PUBCOMP || (type == MQTT_PUBREC && code >= MQTT_UNSPECIFIED))
		landed(c, id);
	mqtt_writer_init(&w, c->version, array, sizeof(array));
	(void)mqtt_put_id(&w, type, id, (uint8_t)(c->version == MQTT_5 ? code : 0));
	put(c, &w);
}

static void learn(struct client *c, struct mqtt_publish *p)
{
	unsigned alias = p->props.alias;

	if (!alias)
		return;
	MUST(alias <= WINDOW);
	if (p->topic.n)
		snprintf(c->aliases[alias], sizeof(c->aliases[alias]), "%.*s", (int)p->topic.n, p->topic.p);
	p->topic = span_str(c->aliases[alias]);
	MUST(p->topic.n);
}

static void check_message(struct play *t, struct client *c, const struct mqtt_publish *p)
{
	unsigned serial;

	if (t->wild)
		return;
	MUST(p->payload.n == 2);
	serial = (unsigned)(p->payload.p[0] << 8 | p->payload.p[1]);
	MUST(serial < t->serial && span_is(p->topic, t->topic[serial]));
	if (p->qos == 2 && !p->dup && !p->retain)
		MUST(++c->qos2[serial] <= 1 + SHARES);
}

static void take_publish(struct play *t, struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_publish p;
	const char *why;

	MUST(mqtt_parse_publish(f, &p, &why) == 0);
	learn(c, &p);
	check_message(t, c, &p);
	if (p.qos)
		fly(c, p.id);
	if (p.qos && c->answers)
		send_ack(c, p.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p.id, 0);
}

static void take_ack(struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_ack a;
	const char *why;

	MUST(mqtt_parse_ack(f, &a, &why) == 0);
	if (a.type == MQTT_PUBREC && c->answers && a.code < MQTT_UNSPECIFIED)
		send_ack(c, MQTT_PUBREL, a.id, 0);
	if (a.type == MQTT_PUBREL && (c->answers || a.code))
		send_ack(c, MQTT_PUBCOMP, a.id, 0);
}

static void take_other(struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_connack back;
	struct mqtt_list l;
	struct mqtt_end e;
	const char *why;

	(void)c;
	if (f->type == MQTT_CONNACK)
		MUST(mqtt_parse_connack(f, &back, &why) == 0);
	else if (f->type == MQTT_SUBACK || f->type == MQTT_UNSUBACK)
		MUST(mqtt_parse_list(f, &l, &why) == 0);
	else if (f->type == MQTT_DISCONNECT)
		MUST(mqtt_parse_end(f, &e, &why) == 0);
	else
		MUST(f->type == MQTT_PINGRESP && mqtt_parse_ping(f, &why) == 0);
}

/* The first packet that has come whole. False: none has. */
static bool take_one(struct play *t, struct client *c)
{
	static uint8_t bytes[1 << 16];
	struct span out = memconn_out(c->c);
	struct mqtt_frame f;
	const char *why;
	int r;

	if (!out.n)
		return false;
	out.n = out.n < sizeof(bytes) ? out.n : sizeof(bytes);
	memcpy(bytes, out.p, out.n);
	out.p = bytes;
	r = mqtt_frame((struct mqtt_form){ c->version, MQTT_FROM_SERVER }, out, sizeof(bytes), &f, &why);
	MUST(r == 1);
	memconn_take(c->c, f.total);
	if (f.type == MQTT_PUBLISH)
		take_publish(t, c, &f);
	else if (f.type >= MQTT_PUBACK && f.type <= MQTT_PUBCOMP)
		take_ack(c, &f);
	else
		take_other(c, &f);
	return true;
}

static void take_all(struct play *t)
{
	bool some = true;

	while (some) {
		some = false;
		for (unsigned i = 0; i < CLIENTS; i++)
			some |= t->client[i].c && take_one(t, &t->client[i]);
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		if (t->client[i].c && memconn_fin(t->client[i].c))
			t->client[i].c = NULL;
}

/* ---- what is done ---- */

static uint16_t tell(struct play *t, const char *topic)
{
	t->topic[t->serial] = topic;
	return t->serial++;
}

static void set_payload(uint8_t array[2], uint16_t serial)
{
	array[0] = (uint8_t)(serial >> 8);
	array[1] = (uint8_t)serial;
}

static void add_will(struct play *t, struct mqtt_connect *p, unsigned how, uint8_t payload[2])
{
	p->will = true;
	p->will_topic = span_str(topics[how % COUNT(topics)]);
	p->will_qos = (uint8_t)(how >> 3 & 3) % 3;
	p->will_retain = how & 32;
	set_payload(payload, tell(t, topics[how % COUNT(topics)]));
	p->will_payload = (struct span){ payload, 2 };
	if (p->version == MQTT_5 && how & 64)
		mqtt_props_set(&p->will_props, MQTT_P_WILL_DELAY, how >> 6);
}

/* Client i is known by its own name, or that of its neighbour: who has it then is taken over. */
static void come(struct play *t, unsigned i)
{
	static const uint8_t versions[] = { MQTT_5, MQTT_5, MQTT_311, MQTT_31 };
	unsigned how = next(t), will = next(t);
	struct client *c = &t->client[i];
	struct mqtt_connect p = { .version = versions[how & 3], .clean = how & 4, .keep_alive = how & 8 ? 10 : 0 };
	uint8_t array[ROOM], payload[2];
	struct mqtt_writer w;

	if (c->c)
		memconn_reset(c->c);
	c->c = memconn_open(t->w.drive, NULL);
	MUST(c->c);
	c->version = p.version;
	c->n = 0;
	c->window = p.version == MQTT_5 ? WINDOW : UNDER_WAY;
	c->answers = how & 16;
	memset(c->aliases, 0, sizeof(c->aliases));
	mqtt_props_init(&p.props);
	mqtt_props_init(&p.will_props);
	p.client_id = (struct span){ (const uint8_t *)&"wxyz"[i], 1 };
	if (p.version == MQTT_5) {
		mqtt_props_set(&p.props, MQTT_P_RECEIVE_MAX, WINDOW);
		mqtt_props_set(&p.props, MQTT_P_ALIAS_MAX, WINDOW);
		if (how & 32)
			mqtt_props_set(&p.props, MQTT_P_SESSION_EXPIRY, 20);
	}
	if (will & 128 && t->serial < SERIALS)
		add_will(t, &p, will, payload);
	mqtt_writer_init(&w, p.version, array, sizeof(array));
	(void)mqtt_put_connect(&w, &p);
	put(c, &w);
}

static void publish(struct play *t, struct client *c)
{
	unsigned how = next(t), where = next(t);
	struct mqtt_publish p = { .qos = (uint8_t)((how & 3) % 3), .retain = how & 4 };
	const char *topic = topics[where % COUNT(topics)];
	uint8_t array[ROOM], payload[2];
	struct mqtt_writer w;

	if (t->serial == SERIALS)
		return;
	p.id = p.qos ? (uint16_t)(1 + (how >> 4)) : 0;
	p.topic = span_str(topic);
	mqtt_props_init(&p.props);
	if (how & 8 && c->version == MQTT_5)
		mqtt_props_set(&p.props, MQTT_P_EXPIRY, 1 + (where >> 4));
	set_payload(payload, tell(t, topic));
	p.payload = (struct span){ payload, how & 4 && where & 8 ? 0 : 2 };
	if (!p.payload.n)
		t->wild = true; /* an empty one goes to who listens, and has no number */
	mqtt_writer_init(&w, c->version, array, sizeof(array));
	(void)mqtt_put_publish(&w, &p);
	memcpy(array + w.n, payload, p.payload.n);
	memconn_send(c->c, array, w.n + p.payload.n, 0);
	if (p.qos == 2 && where & 64) /* again, before it is answered */ {
		array[0] |= 8;
		if (c->c && !memconn_fin(c->c))
			memconn_send(c->c, array, w.n + p.payload.n, 0);
	}
}

static void subscribe(struct play *t, struct client *c, bool on)
{
	unsigned how = next(t), which = next(t);
	struct mqtt_list l = { .type = on ? MQTT_SUBSCRIBE : MQTT_UNSUBSCRIBE, .id = 7 };
	struct mqtt_sub sub = { .filter = span_str(filters[which % COUNT(filters)]), .qos = (uint8_t)((how & 3) % 3) };
	uint8_t array[ROOM], list[ROOM];
	struct mqtt_writer w, in;

	mqtt_props_init(&l.props);
	mqtt_writer_init(&in, c->version, list, sizeof(list));
	if (c->version == MQTT_5) {
		sub.retain_handling = (uint8_t)((how >> 2 & 3) % 3);
		sub.no_local = how & 16 && !span_starts(sub.filter, "$share");
		sub.as_published = how & 32;
		if (on && how & 64)
			mqtt_props_set(&l.props, MQTT_P_SUB_ID, 1 + which);
	}
	if (on)
		(void)mqtt_put_sub(&in, &sub);
	else
		(void)mqtt_put_unsub(&in, sub.filter);
	l.list = mqtt_written(&in);
	mqtt_writer_init(&w, c->version, array, sizeof(array));
	(void)mqtt_put_list(&w, &l);
	put(c, &w);
}

static void say_anything(struct play *t, struct client *c)
{
	size_t n = next(t), left = (size_t)(t->end - t->p);

	t->wild = true;
	n = n < left ? n : left;
	memconn_send(c->c, t->p, n, 0);
	t->p += n;
}

/* Bits 0 and 1: who; 2 to 5: what. */
static void act(struct play *t)
{
	unsigned what = next(t), i = what & 3, id;
	struct client *c = &t->client[i];

	what = what >> 2 & 15;
	if (what == 0 || !c->c) {
		come(t, i);
	} else if (what <= 4) {
		publish(t, c);
	} else if (what <= 7) {
		subscribe(t, c, what != 7);
	} else if (what == 8) {
		id = next(t);
		send_ack(c, MQTT_PUBACK + (id & 3), (uint16_t)(1 + (id >> 3)),
			 id & 4 ? ((id & 2) == 0 ? MQTT_UNSPECIFIED : 0) : 0);
	} else if (what == 9) {
		memdrive_advance(t->w.drive, next(t) * 100 * MSEC);
	} else if (what == 10) {
		memconn_send(c->c, c->version == MQTT_5 && next(t) & 1 ? "\xe0\1\4" : "\xe0\0", 2, 0);
	} else if (what == 11) {
		memconn_eof(c->c);
	} else if (what == 12) {
		memconn_reset(c->c);
		c->c = NULL;
	} else if (what == 13) {
		say_anything(t, c);
	} else {
		memconn_send(c->c, "\xc0\0", 2, 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const small[] = { "sys_interval",  "0", "queue",   "4", "receive_max", "3",  "retained", "3",
					     "subscriptions", "4", "aliases", "2", "queue_bytes", "1K", NULL };
	static const char *const usual[] = { "sys_interval", "0", NULL };
	static struct play t;

	t = (struct play){ .p = data, .end = data + size };
	MUST(world_try_open(&t.w, &mqtt_proto, NULL, next(&t) & 1 ? small : usual, NULL) == 0);
	while (t.p < t.end) {
		act(&t);
		take_all(&t);
	}
	MUST(memdrive_run(t.w.drive));
	world_close(&t.w);
	return 0;
}
