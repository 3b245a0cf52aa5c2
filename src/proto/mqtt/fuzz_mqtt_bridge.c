/*
 * fuzz_mqtt_bridge.c - a bridge whose other broker is hostile, and a client of ours beside it, over the memory driver.
 * What must hold: all that the bridge says are packets that a client may send, nothing but CONNECT before it is let in, no more and no
 * larger ones than the other side takes, only topics that go there; here comes only what goes here; QoS 2 comes once; nothing is
 * left in the end. Input: one byte (which bridge), then actions of a byte with their operands; see act().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/option.h"
#include "proto/mqtt/bridge.h"
#include "proto/protos.h"
#include "support/world.h"

#define MUST(x) ((x) ? (void)0 : abort())
#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

enum { ROOM = 4096, UNDER_WAY = 64, NUMBERS = 256, PAYLOAD = 40, ANY = UINT16_MAX };

/* What is published here and there, and whether it goes over, by the bridges below. */
static const char *const here[] = { "here/s/a", "here/s", "up", "here/t", "down", "near/x", "$SYS/x", "here/s/b/c" };
static const char *const there[] = { "there/s/a", "there/s", "far/down",  "up",
				     "there/t",   "$SYS/x",  "there/s//", "there/s/\xc3\xa4" };

#define TO "to", "tcp:far.example:1883"
#define TOPICS "topics", "s/# both 2 here/ there/\nup out 1\ndown in 1 \"\" far/"

static const char *const bridges[][12] = {
	{ TO, TOPICS, NULL },
	{ TO, TOPICS, "notify", "no", "version", "5", "clean", "yes", NULL },
	{ TO, TOPICS, "version", "3.1.1", "keepalive", "5", NULL },
	{ TO, "topics", "here/s/# out 2\nthere/s/# in 2", "notify", "no", "retry", "1s", NULL },
	{ TO, TOPICS, "version", "3.1", "user", "me", NULL },
	{ "to", "tcp:other.example:1", "topics", "# both 1", NULL },
};

/* What the other broker has said that it takes. */
struct terms {
	uint32_t max_packet;
	uint16_t window;
	uint8_t max_qos;
	bool no_retain;
};

struct play {
	const uint8_t *p, *end;
	struct world w;
	void *options[2];      /* of the bridge as it is, and after a reload */
	unsigned bridge;       /* which of them it is now */
	struct memconn *far;   /* the last connection to the other broker; NULL: there was none */
	size_t dialled;        /* how many there were */
	struct memconn *ear;   /* a client of ours that hears all */
	struct memconn *mouth; /* one that publishes */
	struct terms terms;
	uint8_t version; /* of what the bridge says; MQTT_UNKNOWN before CONNECT */
	bool in;         /* it was let in */
	bool answers;    /* the other broker acknowledges what comes as it must */
	uint16_t under_way[UNDER_WAY], subscribed;
	unsigned n;
	unsigned id;           /* of what we publish */
	uint8_t once[NUMBERS]; /* how often each number of QoS 2 came here, in the present session there */
	unsigned number;
};

static unsigned next(struct play *t)
{
	return t->p < t->end ? *t->p++ : 0;
}

/* ---- set-up ---- */

/* Options of the broker with one bridge. */
static void *options_of(unsigned which)
{
	const struct option *row = option_find(mqtt_proto.options, "bridge");
	struct option_part *part;
	void *values = NULL;

	MUST(option_values_new(mqtt_proto.options, &values) == 0);
	MUST(option_set(mqtt_proto.options, values, "sys_interval", "0", NULL) == 0);
	MUST(option_set(mqtt_proto.options, values, "queue", "20", NULL) == 0);
	MUST(option_part_add(row, values, "far", &part) == 0);
	for (const char *const *o = bridges[which]; *o; o += 2)
		MUST(option_set(&bridge_table, part->values, o[0], o[1], NULL) == 0);
	return values;
}

static struct memconn *client(struct play *t, char name)
{
	static const char hello[] = "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01"; /* and a name */
	struct memconn *c = memconn_open(t->w.drive, NULL);

	MUST(c);
	memconn_send(c, hello, sizeof(hello) - 1, 0);
	memconn_send(c, &name, 1, 0);
	MUST(memconn_out(c).n == 4);
	memconn_take(c, SIZE_MAX);
	return c;
}

static void open_world(struct play *t)
{
	t->bridge = next(t) % COUNT(bridges);
	t->options[0] = options_of(t->bridge);
	t->w = (struct world){ .proto = &mqtt_proto };
	MUST(memdrive_new(&(struct mem_setup){ .proto = &mqtt_proto, .options = t->options[0], .linger = SEC },
			  &t->w.drive, NULL) == 0);
	t->ear = client(t, 'e');
	memconn_send(t->ear, "\x82\x06\x00\x01\x00\x01#\x02", 8, 0);
	memconn_take(t->ear, 5);
	t->mouth = client(t, 'm');
}

static void close_world(struct play *t)
{
	memdrive_free(&t->w.drive);
	for (unsigned i = 0; i < COUNT(t->options); i++)
		if (t->options[i])
			option_values_free(mqtt_proto.options, &t->options[i]);
}

/* ---- what the bridge says ---- */

static void landed(struct play *t, uint16_t id)
{
	for (unsigned i = 0; i < t->n; i++) {
		if (t->under_way[i] == id) {
			t->under_way[i] = t->under_way[--t->n];
			return;
		}
	}
}

static void far_sends(struct play *t, const void *p, size_t n)
{
	if (t->far && memconn_end(t->far) != MEM_OPENING)
		memconn_send(t->far, p, n, 0);
}

static void far_acks(struct play *t, unsigned type, uint16_t id, unsigned code)
{
	uint8_t array[16];
	struct mqtt_writer w;

	if (type == MQTT_PUBACK || type == MQTT_PUBCOMP || (type == MQTT_PUBREC && code >= MQTT_UNSPECIFIED))
		landed(t, id);
	mqtt_writer_init(&w, t->version, array, sizeof(array));
	(void)mqtt_put_id(&w, type, id, (uint8_t)(t->version == MQTT_5 ? code : 0));
	far_sends(t, w.p, w.n);
}

static bool may_go(const struct play *t, struct span topic)
{
	if (t->bridge == 5)
		return true; /* all of them */
	if (t->bridge == 3)
		return span_starts(topic, "here/s");
	return span_starts(topic, "there/s") || span_is(topic, "up");
}

static void heard_publish(struct play *t, const struct mqtt_frame *f)
{
	struct mqtt_publish p;
	const char *why;

	MUST(mqtt_parse_publish(f, &p, &why) == 0);
	MUST(t->in && p.topic.n && !(p.props.has & MQTT_HAS(MQTT_P_ALIAS)));
	MUST(p.qos <= t->terms.max_qos);
	if (span_starts(p.topic, "$SYS/broker/connection/"))
		return; /* its state */
	MUST(may_go(t, p.topic) && !(p.retain && t->terms.no_retain));
	if (!p.qos)
		return;
	landed(t, p.id);
	MUST(t->n < t->terms.window && t->n < UNDER_WAY);
	t->under_way[t->n++] = p.id;
	if (t->answers)
		far_acks(t, p.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p.id, 0);
}

static void heard_ack(struct play *t, const struct mqtt_frame *f)
{
	struct mqtt_ack a;
	const char *why;

	MUST(t->in && mqtt_parse_ack(f, &a, &why) == 0);
	if (!t->answers)
		return;
	if (a.type == MQTT_PUBREC && a.code < MQTT_UNSPECIFIED)
		far_acks(t, MQTT_PUBREL, a.id, 0);
	if (a.type == MQTT_PUBREL)
		far_acks(t, MQTT_PUBCOMP, a.id, 0);
}

static void heard_connect(struct play *t, const struct mqtt_frame *f)
{
	struct mqtt_connect p;
	const char *why;

	MUST(t->version == MQTT_UNKNOWN && mqtt_parse_connect(f, &p, &why) == 0);
	t->version = p.version;
}

static void heard_other(struct play *t, const struct mqtt_frame *f)
{
	struct mqtt_list l;
	struct mqtt_end e;
	const char *why;

	if (f->type == MQTT_SUBSCRIBE) {
		MUST(t->in && mqtt_parse_list(f, &l, &why) == 0);
		t->subscribed = l.id;
	} else if (f->type == MQTT_DISCONNECT) {
		MUST(t->in && mqtt_parse_end(f, &e, &why) == 0);
	} else {
		MUST(t->in && f->type == MQTT_PINGREQ && mqtt_parse_ping(f, &why) == 0);
	}
}

/* The first packet that has come whole: nothing else may come. */
static bool take_one(struct play *t)
{
	static uint8_t bytes[1 << 16];
	struct span out = memconn_out(t->far);
	struct mqtt_frame f;
	const char *why;

	if (!out.n)
		return false;
	MUST(out.n <= sizeof(bytes));
	memcpy(bytes, out.p, out.n);
	out.p = bytes;
	MUST(mqtt_frame((struct mqtt_form){ t->version, MQTT_FROM_CLIENT }, out, sizeof(bytes), &f, &why) == 1);
	memconn_take(t->far, f.total);
	MUST(!t->terms.max_packet || f.total <= t->terms.max_packet || f.type == MQTT_CONNECT);
	if (f.type == MQTT_CONNECT)
		heard_connect(t, &f);
	else if (f.type == MQTT_PUBLISH)
		heard_publish(t, &f);
	else if (f.type >= MQTT_PUBACK && f.type <= MQTT_PUBCOMP)
		heard_ack(t, &f);
	else
		heard_other(t, &f);
	return true;
}

static void look_for_new(struct play *t)
{
	size_t n = memdrive_children(t->w.drive);

	if (n == t->dialled)
		return;
	t->dialled = n;
	t->far = memdrive_child(t->w.drive, n - 1);
	t->version = MQTT_UNKNOWN;
	t->in = false;
	t->terms = (struct terms){ .window = UINT16_MAX, .max_qos = 2 };
	t->n = t->subscribed = 0;
}

/* ---- what our client hears ---- */

static bool may_come(const struct play *t, struct span topic)
{
	for (unsigned i = 0; i < COUNT(here); i++)
		if (span_is(topic, here[i]))
			return true; /* it was said here */
	if (span_starts(topic, "$SYS/"))
		return false;
	if (t->bridge == 5)
		return true;
	return t->bridge == 3 ? span_starts(topic, "there/s") : span_starts(topic, "here/s");
}

static void our_ear(struct play *t)
{
	static uint8_t bytes[1 << 16];
	struct span out = memconn_out(t->ear);
	struct mqtt_publish p;
	struct mqtt_frame f;
	const char *why;

	out.n = out.n < sizeof(bytes) ? out.n : sizeof(bytes);
	memcpy(bytes, out.p, out.n);
	out.p = bytes;
	MUST(mqtt_frame((struct mqtt_form){ MQTT_311, MQTT_FROM_SERVER }, out, sizeof(bytes), &f, &why) == 1);
	memconn_take(t->ear, f.total);
	if (f.type == MQTT_PUBREL) {
		memconn_send(t->ear, (uint8_t[]){ 0x70, 2, f.body.p[0], f.body.p[1] }, 4, 0);
		return;
	}
	MUST(f.type == MQTT_PUBLISH && mqtt_parse_publish(&f, &p, &why) == 0 && may_come(t, p.topic));
	if (p.payload.n == 2 && p.payload.p[0] == 'n') /* a number of QoS 2 from there */
		MUST(++t->once[p.payload.p[1]] == 1);
	if (p.qos)
		memconn_send(t->ear, (uint8_t[]){ p.qos == 1 ? 0x40 : 0x50, 2, (uint8_t)(p.id >> 8), (uint8_t)p.id }, 4,
			     0);
}

static void take_all(struct play *t)
{
	bool some = true;

	while (some) {
		look_for_new(t);
		some = t->far && take_one(t);
		if (memconn_out(t->ear).n) {
			our_ear(t);
			some = true;
		}
	}
	memconn_take(t->mouth, SIZE_MAX);
}

/* ---- what the other broker does ---- */

/* Most are as they should be. */
static void connack(struct play *t)
{
	unsigned how = next(t), which = next(t), code = how & 1 ? next(t) : 0;
	struct mqtt_connack back = { .session_present = how & 2, .code = (uint8_t)code };
	uint8_t array[ROOM];
	struct mqtt_writer w;

	mqtt_props_init(&back.props);
	if (how & 4)
		mqtt_props_set(&back.props, MQTT_P_RECEIVE_MAX, 1 + (which & 3));
	if (how & 8)
		mqtt_props_set(&back.props, MQTT_P_MAX_QOS, which >> 2 & 1);
	if (how & 16)
		mqtt_props_set(&back.props, MQTT_P_RETAIN_OK, which >> 3 & 1);
	if (how & 32)
		mqtt_props_set(&back.props, MQTT_P_MAX_PACKET, 4 + 12 * (which >> 4));
	if (how & 64)
		mqtt_props_set(&back.props, MQTT_P_KEEP_ALIVE, which & 7);
	if (how & 128)
		mqtt_props_set(&back.props, MQTT_P_ALIAS_MAX, which);
	mqtt_writer_init(&w, t->version, array, sizeof(array));
	(void)mqtt_put_connack(&w, &back);
	if (!t->in && !code && t->version != MQTT_UNKNOWN) { /* it is let in, and so it says more at once */
		t->in = true;
		if (t->version == MQTT_5)
			t->terms = (struct terms){ back.props.max_packet, back.props.receive_max, back.props.max_qos,
						   !back.props.retain_ok };
		if (!back.session_present)
			memset(t->once, 0, sizeof(t->once));
	}
	far_sends(t, array, w.n);
}

static void suback(struct play *t)
{
	unsigned how = next(t), code = next(t);
	uint8_t codes[8];
	struct mqtt_list l = { .type = MQTT_SUBACK, .id = (uint16_t)(how & 8 ? how : t->subscribed) };
	uint8_t array[ROOM];
	struct mqtt_writer w;

	mqtt_props_init(&l.props);
	memset(codes, (int)code, sizeof(codes));
	l.list = (struct span){ codes, how & 7 };
	mqtt_writer_init(&w, t->version, array, sizeof(array));
	(void)mqtt_put_list(&w, &l);
	far_sends(t, array, w.n);
}

static void far_publishes(struct play *t)
{
	unsigned how = next(t), where = next(t);
	struct mqtt_publish p = { .qos = (uint8_t)((how & 3) % 3), .retain = how & 4, .dup = how & 8 };
	uint8_t array[ROOM], payload[PAYLOAD] = { 'n', (uint8_t)t->number };
	struct mqtt_writer w;

	p.id = p.qos ? (uint16_t)(1 + (how >> 5)) : 0;
	p.topic = span_str(there[where % COUNT(there)]);
	p.payload = (struct span){ payload, 2 };
	mqtt_props_init(&p.props);
	if (t->version == MQTT_5 && how & 16) {
		mqtt_props_set(&p.props, MQTT_P_ALIAS, 1 + (where >> 3 & 3));
		if (where & 32)
			p.topic = (struct span){};
		if (where & 64)
			mqtt_props_set(&p.props, MQTT_P_EXPIRY, where >> 3 & 3);
	}
	if (p.qos == 2 && !p.retain && t->number < NUMBERS)
		t->number++;
	else
		p.payload.n = where & 128 ? 0 : PAYLOAD;
	mqtt_writer_init(&w, t->version, array, sizeof(array));
	(void)mqtt_put_publish(&w, &p);
	memcpy(array + w.n, payload, p.payload.n);
	far_sends(t, array, w.n + p.payload.n);
	if (p.qos == 2 && where & 128 && w.n) { /* again, before it is released */
		array[0] |= 8;
		far_sends(t, array, w.n + p.payload.n);
	}
}

static void far_disconnects(struct play *t)
{
	struct mqtt_end e = { .type = MQTT_DISCONNECT, .code = (uint8_t)next(t) };
	uint8_t array[ROOM];
	struct mqtt_writer w;

	mqtt_props_init(&e.props);
	mqtt_writer_init(&w, t->version, array, sizeof(array));
	(void)mqtt_put_end(&w, &e);
	far_sends(t, array, w.n);
}

static void far_says_anything(struct play *t)
{
	size_t n = next(t), left = (size_t)(t->end - t->p);

	n = n < left ? n : left;
	t->in = true; /* it may have been let in, on whatever terms */
	t->terms = (struct terms){ .window = UINT16_MAX, .max_qos = 2 };
	memset(t->once, 0, sizeof(t->once));
	t->number = NUMBERS; /* no more of these */
	far_sends(t, t->p, n);
	t->p += n;
}

static void far_ends(struct play *t)
{
	unsigned how = next(t);

	if (!t->far)
		return;
	if (memconn_end(t->far) == MEM_OPENING)
		memconn_dialled(t->far, how & 1 ? -ECONNREFUSED : 0);
	else if (how & 1)
		memconn_eof(t->far);
	else
		memconn_reset(t->far);
}

/* ---- what happens here ---- */

static void we_publish(struct play *t)
{
	unsigned how = next(t), where = next(t);
	struct mqtt_publish p = { .qos = (uint8_t)((how & 3) % 3), .retain = how & 4 };
	uint8_t array[ROOM], payload[PAYLOAD] = {};
	struct mqtt_writer w;

	t->id = t->id % UINT16_MAX + 1;
	p.id = (uint16_t)(p.qos ? t->id : 0);
	p.topic = span_str(here[where % COUNT(here)]);
	p.payload = (struct span){ payload, how & 8 ? 0 : how >> 3 };
	mqtt_props_init(&p.props);
	mqtt_writer_init(&w, MQTT_311, array, sizeof(array));
	(void)mqtt_put_publish(&w, &p);
	memcpy(array + w.n, payload, p.payload.n);
	memconn_send(t->mouth, array, w.n + p.payload.n, 0);
	if (p.qos == 2)
		memconn_send(t->mouth, (uint8_t[]){ 0x62, 2, (uint8_t)(t->id >> 8), (uint8_t)t->id }, 4, 0);
}

static void reload(struct play *t)
{
	unsigned which = next(t) % COUNT(bridges);

	if (t->options[1])
		return; /* once is enough, and both must live to the end */
	t->options[1] = options_of(which);
	take_all(t);
	t->bridge = COUNT(bridges) - 1; /* what was under way may still be on its way: anything goes */
	memdrive_reload(t->w.drive, t->options[1]);
}

static void act(struct play *t)
{
	unsigned what = next(t), id;

	switch (what & 15) {
	case 0:
	case 1:
		connack(t);
		break;
	case 2:
		suback(t);
		break;
	case 3:
	case 4:
	case 5:
		far_publishes(t);
		break;
	case 6:
		id = t->n ? t->under_way[what >> 4 & (t->n - 1)] : what >> 4;
		far_acks(t, MQTT_PUBACK + (next(t) & 3), (uint16_t)id, 0);
		break;
	case 7:
		id = next(t);
		far_acks(t, MQTT_PUBACK + (id & 3), (uint16_t)(1 + (id >> 3)), id & 4 ? MQTT_UNSPECIFIED : 0);
		break;
	case 8:
		far_sends(t, "\xd0\0", 2);
		break;
	case 9:
		far_disconnects(t);
		break;
	case 10:
		far_says_anything(t);
		break;
	case 11:
		far_ends(t);
		break;
	case 12:
		memdrive_advance(t->w.drive, (next(t) + 1) * 100 * MSEC);
		break;
	case 13:
	case 14:
		we_publish(t);
		break;
	default:
		if (what == 0xff)
			reload(t);
		else if (what & 16)
			t->answers = what & 32;
		else
			memdrive_dials(t->w.drive, what & 32 ? MEM_PENDING : what & 64 ? -ECONNREFUSED : 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct play t;

	t = (struct play){ .p = data, .end = data + size };
	open_world(&t);
	take_all(&t);
	while (t.p < t.end) {
		act(&t);
		take_all(&t);
	}
	MUST(memdrive_run(t.w.drive));
	if (size & 1)
		memdrive_stop(t.w.drive);
	close_world(&t);
	return 0;
}
