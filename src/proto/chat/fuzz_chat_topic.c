/*
 * fuzz_chat_topic.c - a room that is a topic of a hostile broker, over the memory driver. What must hold: all that the room says to the
 * broker are packets that a client may send, nothing but CONNECT before it is let in, no more and no larger ones than the broker takes;
 * who sits in the room gets whole lines, of UTF-8 when somebody else has published them; every line that is said is counted as said,
 * refused or dropped, once; nothing is left in the end. Input: actions of a byte with their operands, see act().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "conf/option.h"
#include "proto/chat/chat_priv.h"
#include "proto/mqtt/write.h"
#include "proto/protos.h"
#include "support/world.h"

#define MUST(x) ((x) ? (void)0 : abort())

enum { ROOM = 4096, ALL = UINT16_MAX + 1, SAID = 200 /* lines, fewer than may wait */ };

struct play {
	const uint8_t *p, *end;
	struct world w;
	void *other;         /* options after a reload; NULL: there was none */
	struct memconn *far; /* the last connection to the broker; NULL: there was none */
	size_t dialled;      /* how many there were */
	struct memconn *ear, *mouth;
	bool greeted, in;    /* it has said CONNECT, and may have been let in */
	bool deaf;           /* the broker has not read for a while: what it acknowledged may not have been looked at */
	uint32_t max_packet; /* what the broker takes */
	uint16_t window;
	unsigned under_way, lines; /* of QoS 1; that were said */
	uint8_t flying[ALL / 8];   /* a bit for each identifier */
};

static unsigned next(struct play *t)
{
	return t->p < t->end ? *t->p++ : 0;
}

/* ---- what the room says to the broker ---- */

static bool landed(struct play *t, unsigned id)
{
	const uint8_t bit = (uint8_t)(1 << id % 8);

	if (!(t->flying[id / 8] & bit))
		return false;
	t->flying[id / 8] &= (uint8_t)~bit;
	t->under_way--;
	return true;
}

static void heard_publish(struct play *t, const struct mqtt_frame *f)
{
	struct mqtt_publish p;
	const char *why;

	MUST(mqtt_parse_publish(f, &p, &why) == 0);
	MUST(t->in && !p.retain && !p.dup && p.qos < 2 && !memchr(p.payload.p, '\n', p.payload.n));
	MUST(span_is(p.topic, "a") || (t->other && span_is(p.topic, "b")));
	MUST(!t->max_packet || f->total <= t->max_packet);
	if (!p.qos || t->deaf)
		return;
	MUST(!(t->flying[p.id / 8] & 1 << p.id % 8) && t->under_way < t->window);
	t->flying[p.id / 8] |= (uint8_t)(1 << p.id % 8);
	t->under_way++;
}

static void heard(struct play *t, const struct mqtt_frame *f)
{
	switch (f->type) {
	case MQTT_CONNECT:
		MUST(!t->greeted);
		t->greeted = true;
		break;
	case MQTT_PUBLISH:
		heard_publish(t, f);
		break;
	default:
		MUST(t->in);
		MUST(f->type == MQTT_PUBACK || f->type == MQTT_SUBSCRIBE || f->type == MQTT_PINGREQ ||
		     f->type == MQTT_DISCONNECT);
		break;
	}
}

static void take_packets(struct play *t)
{
	while (t->far && memconn_out(t->far).n) {
		const struct mqtt_form form = { t->greeted ? MQTT_5 : MQTT_UNKNOWN, MQTT_FROM_CLIENT };
		const char *why;
		struct mqtt_frame f;

		MUST(mqtt_frame(form, memconn_out(t->far), MQTT_PACKET_MAX, &f, &why) == 1);
		heard(t, &f);
		memconn_take(t->far, f.total);
	}
}

static void take_all(struct play *t)
{
	struct span out = memconn_out(t->ear);

	MUST(out.n == 0 || (out.p[out.n - 1] == '\n' && utf8_is_text(out)));
	memconn_take(t->ear, SIZE_MAX);
	take_packets(t);
	if (memdrive_children(t->w.drive) == t->dialled)
		return;
	t->dialled = memdrive_children(t->w.drive);
	t->far = memdrive_child(t->w.drive, t->dialled - 1);
	t->greeted = t->in = t->deaf = false;
	t->under_way = 0;
	memset(t->flying, 0, sizeof(t->flying));
	take_packets(t);
}

/* ---- what the broker says ---- */

static void far_sends(struct play *t, const void *p, size_t n)
{
	if (t->far && memconn_end(t->far) != MEM_OPENING)
		memconn_send(t->far, p, n, 0);
}

static void connack(struct play *t)
{
	unsigned how = next(t);
	struct mqtt_connack c = { .code = how & 128 ? MQTT_NOT_AUTHORIZED : 0 };
	uint8_t array[ROOM];
	struct mqtt_writer w;

	mqtt_props_init(&c.props);
	if (how & 1)
		mqtt_props_set(&c.props, MQTT_P_RECEIVE_MAX, 1 + (how >> 3 & 3));
	if (how & 2)
		mqtt_props_set(&c.props, MQTT_P_MAX_PACKET, 20 + (how >> 2 & 15));
	if (how & 4)
		mqtt_props_set(&c.props, MQTT_P_MAX_QOS, 0);
	if (how & 64)
		mqtt_props_set(&c.props, MQTT_P_KEEP_ALIVE, 1 + (how >> 3 & 7));
	mqtt_writer_init(&w, MQTT_5, array, sizeof(array));
	MUST(mqtt_put_connack(&w, &c) == 0);
	if (!t->in && t->far && memconn_end(t->far) != MEM_OPENING) {
		t->in = true;
		t->window = c.props.receive_max < TOPIC_WINDOW ? c.props.receive_max : TOPIC_WINDOW;
		t->max_packet = c.props.max_packet;
	}
	far_sends(t, array, w.n);
}

static void far_publishes(struct play *t)
{
	unsigned how = next(t);
	size_t n = next(t), left = (size_t)(t->end - t->p);
	struct mqtt_publish p = { .qos = how & 1, .retain = how & 2, .id = how & 1, .topic = span_str("a") };
	uint8_t array[ROOM];
	struct mqtt_writer w;

	n = n < left ? n : left;
	p.payload = (struct span){ t->p, n };
	mqtt_props_init(&p.props);
	mqtt_writer_init(&w, MQTT_5, array, sizeof(array));
	MUST(mqtt_put_publish(&w, &p) == 0);
	if (n)
		memcpy(array + w.n, t->p, n);
	far_sends(t, array, w.n + n);
	t->p += n;
}

static void far_acks(struct play *t)
{
	unsigned how = next(t), id = 1 + (how & 63);
	uint8_t array[16];
	struct mqtt_writer w;

	landed(t, id);
	mqtt_writer_init(&w, MQTT_5, array, sizeof(array));
	MUST(mqtt_put_id(&w, MQTT_PUBACK, (uint16_t)id,
			 how & 64    ? MQTT_QUOTA
			 : how & 128 ? MQTT_NO_SUBSCRIBERS
				     : 0) == 0);
	far_sends(t, array, w.n);
}

static void far_says_anything(struct play *t)
{
	size_t n = next(t), left = (size_t)(t->end - t->p);

	n = n < left ? n : left;
	t->in = true; /* it may have been let in, on whatever terms */
	t->window = UINT16_MAX;
	t->max_packet = 0;
	memset(t->flying, 0, sizeof(t->flying)); /* and whatever may be acknowledged */
	t->under_way = 0;
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

/* ---- what happens in the room ---- */

static void somebody_speaks(struct play *t)
{
	size_t n = 1 + next(t) % 30;
	char line[32];

	if (t->lines == SAID)
		return;
	memset(line, 'x', n);
	line[n - 1] = '\n';
	t->lines++;
	memconn_send(t->mouth, line, n, 0);
}

static void *options_of(const char *topic)
{
	void *values = NULL;

	MUST(option_values_new(&chat_table, &values) == 0);
	MUST(option_set(&chat_table, values, "broker", "tcp:far.example:1", NULL) == 0);
	MUST(option_set(&chat_table, values, "topic", topic, NULL) == 0);
	return values;
}

static void reload(struct play *t)
{
	if (t->other)
		return; /* once is enough, and both must live to the end */
	take_all(t);
	t->other = options_of("b");
	memdrive_reload(t->w.drive, t->other);
}

static void act(struct play *t)
{
	unsigned what = next(t);

	switch (what & 15) {
	case 0:
		connack(t);
		break;
	case 1:
		far_sends(t, what & 16 ? "\x90\x04\x00\x41\x00\x87" : "\x90\x04\x00\x41\x00\x01", 6);
		break;
	case 2:
	case 3:
		far_publishes(t);
		break;
	case 4:
	case 5:
		far_acks(t);
		break;
	case 6:
		far_sends(t, "\xd0\0", 2);
		break;
	case 7:
		far_says_anything(t);
		break;
	case 8:
		far_ends(t);
		break;
	case 9:
		memdrive_advance(t->w.drive, (next(t) + 1) * 100 * MSEC);
		break;
	case 10:
		memdrive_dials(t->w.drive, what & 32 ? MEM_PENDING : what & 64 ? -ECONNREFUSED : 0);
		break;
	case 11:
		reload(t);
		break;
	case 12:
		t->deaf = true;
		if (t->far)
			memconn_window(t->far, what & 16 ? 0 : MEM_NO_LIMIT);
		break;
	default:
		somebody_speaks(t);
		break;
	}
}

static uint64_t count(const struct play *t, unsigned which)
{
	return memdrive_stat(t->w.drive, STAT_OWN + which);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct play t;

	t = (struct play){ .p = data, .end = data + size };
	t.w = (struct world){ .proto = &chat_proto, .options = options_of("a") };
	MUST(memdrive_new(&(struct mem_setup){ .proto = &chat_proto, .options = t.w.options, .linger = SEC },
			  &t.w.drive, NULL) == 0);
	t.ear = memconn_open(t.w.drive, NULL);
	t.mouth = memconn_open(t.w.drive, NULL);
	MUST(t.ear && t.mouth);
	take_all(&t);
	while (t.p < t.end) {
		act(&t);
		take_all(&t);
	}
	MUST(memdrive_run(t.w.drive));
	if (size & 1)
		memdrive_stop(t.w.drive);
	if (t.far)
		memconn_window(t.far, MEM_NO_LIMIT);
	take_all(&t);
	memconn_reset(t.far ? t.far : t.ear); /* what is under way is lost then, and counted */
	MUST(count(&t, CHAT_TOPIC_SAID) + count(&t, CHAT_TOPIC_REFUSED) + count(&t, CHAT_TOPIC_DROPPED) == t.lines);
	memdrive_free(&t.w.drive);
	option_values_free(&chat_table, &t.w.options);
	option_values_free(&chat_table, &t.other);
	return 0;
}
