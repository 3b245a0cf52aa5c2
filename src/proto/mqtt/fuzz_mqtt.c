/*
 * fuzz_mqtt.c - bytes as packets of every version, from both sides. Whatever is a packet is written again, and what was
 * written is the same packet; whatever is not is refused with a code and a word. Input: one byte (bits 0-1 the version,
 * bit 2 from whom, bits 3-7 the peer's maximum packet size), then packets.
 */
#include <stdlib.h>

#include "proto/mqtt/test_wire_any.h"
#include "proto/mqtt/wire_priv.h"
#include "proto/mqtt/write.h"

#define MUST(x) ((x) ? (void)0 : abort())

enum { ROOM = 1 << 20 };

static uint8_t once[ROOM], twice[ROOM];

static bool same_users(const struct mqtt_props *a, const struct mqtt_props *b)
{
	struct span left = a->raw, right = b->raw;
	struct mqtt_user u, v;

	while (mqtt_user_next(&left, &u)) {
		if (!mqtt_user_next(&right, &v) || !span_same(u.name, v.name) || !span_same(u.value, v.value))
			return false;
	}
	return !mqtt_user_next(&right, &v);
}

static bool same_ids(const struct mqtt_props *a, const struct mqtt_props *b)
{
	struct span left = a->raw, right = b->raw;
	uint32_t i, k;

	while (mqtt_sub_id_next(&left, &i)) {
		if (!mqtt_sub_id_next(&right, &k) || i != k)
			return false;
	}
	return !mqtt_sub_id_next(&right, &k);
}

static bool same_props(const struct mqtt_props *a, const struct mqtt_props *b)
{
	for (unsigned i = 0; i < MQTT_PROPS; i++) {
		const struct mqtt_prop_kind *k = &mqtt_prop_kinds[i];

		if (k->type < MQTT_T_TEXT ? prop_number(a, k) != prop_number(b, k)
					  : !span_same(prop_span(a, k), prop_span(b, k)) && k->type != MQTT_T_PAIR)
			return false;
	}
	return a->has == b->has && same_users(a, b) && same_ids(a, b);
}

/* What is kept of a message is what was there, and it can be written again. */
static void check_kept(const struct mqtt_props *p)
{
	static uint8_t kept[ROOM], length[4];
	struct mqtt_props again;
	const char *why;
	size_t n = mqtt_props_kept(p, NULL), head = 0;
	struct span at = { kept, 0 };

	MUST(n <= p->raw.n && n + 4 < sizeof(kept));
	for (size_t v = n; head == 0 || v > 0; v >>= 7)
		length[head++] = (uint8_t)((v & 0x7f) | (v > 127 ? 0x80 : 0));
	memcpy(kept, length, head);
	MUST(mqtt_props_kept(p, kept + head) == n);
	at.n = head + n;
	MUST(mqtt_props_parse(&at, MQTT_PUBLISH, &again, &why) == 0 && at.n == 0);
	MUST(again.has == (p->has & MQTT_KEPT) && same_users(p, &again));
	MUST(span_same(p->content_type, again.content_type) && span_same(p->correlation, again.correlation));
	MUST(span_same(p->response_topic, again.response_topic) && p->format == again.format);
}

/* ---- packets of any kind: write, compare ---- */

static int put_publish(struct mqtt_writer *w, const struct mqtt_publish *p)
{
	size_t was = w->n;
	int r = mqtt_put_publish(w, p);

	if (r == 0) {
		MUST(w->cap - w->n >= p->payload.n);
		if (p->payload.n)
			memcpy(w->p + w->n, p->payload.p, p->payload.n);
		w->n += p->payload.n;
		MUST(w->n - was == mqtt_publish_size(w->version, p));
	}
	return r;
}

static int put(struct mqtt_writer *w, unsigned type, const union any *p)
{
	switch (type) {
	case MQTT_CONNECT:
		return mqtt_put_connect(w, &p->connect);
	case MQTT_CONNACK:
		return mqtt_put_connack(w, &p->connack);
	case MQTT_PUBLISH:
		return put_publish(w, &p->publish);
	case MQTT_PINGREQ:
	case MQTT_PINGRESP:
		return mqtt_put_ping(w, type);
	case MQTT_DISCONNECT:
	case MQTT_AUTH:
		return mqtt_put_end(w, &p->end);
	case MQTT_SUBSCRIBE:
	case MQTT_SUBACK:
	case MQTT_UNSUBSCRIBE:
	case MQTT_UNSUBACK:
		return mqtt_put_list(w, &p->list);
	default:
		return mqtt_put_ack(w, &p->ack);
	}
}

static bool same_connect(const struct mqtt_connect *a, const struct mqtt_connect *b)
{
	return a->version == b->version && a->clean == b->clean && a->will == b->will &&
	       a->will_retain == b->will_retain && a->has_user == b->has_user && a->has_password == b->has_password &&
	       a->will_qos == b->will_qos && a->keep_alive == b->keep_alive && span_same(a->client_id, b->client_id) &&
	       span_same(a->user, b->user) && span_same(a->password, b->password) &&
	       span_same(a->will_topic, b->will_topic) && span_same(a->will_payload, b->will_payload) &&
	       same_props(&a->props, &b->props) && same_props(&a->will_props, &b->will_props);
}

static bool same_publish(const struct mqtt_publish *a, const struct mqtt_publish *b)
{
	return a->qos == b->qos && a->dup == b->dup && a->retain == b->retain && a->id == b->id &&
	       span_same(a->topic, b->topic) && span_same(a->payload, b->payload) && same_props(&a->props, &b->props);
}

static bool same_packet(unsigned type, const union any *a, const union any *b)
{
	switch (type) {
	case MQTT_CONNECT:
		return same_connect(&a->connect, &b->connect);
	case MQTT_CONNACK:
		return a->connack.code == b->connack.code && a->connack.session_present == b->connack.session_present &&
		       same_props(&a->connack.props, &b->connack.props);
	case MQTT_PUBLISH:
		return same_publish(&a->publish, &b->publish);
	case MQTT_PINGREQ:
	case MQTT_PINGRESP:
		return true;
	case MQTT_DISCONNECT:
	case MQTT_AUTH:
		return a->end.code == b->end.code && same_props(&a->end.props, &b->end.props);
	case MQTT_SUBSCRIBE:
	case MQTT_SUBACK:
	case MQTT_UNSUBSCRIBE:
	case MQTT_UNSUBACK:
		return a->list.id == b->list.id && a->list.n == b->list.n && span_same(a->list.list, b->list.list) &&
		       same_props(&a->list.props, &b->list.props);
	default:
		return a->ack.id == b->ack.id && a->ack.code == b->ack.code && same_props(&a->ack.props, &b->ack.props);
	}
}

/* A list gives as many entries as it says, and what it is built from again is the same. */
static void check_list(const struct mqtt_list *l, unsigned version)
{
	struct span at = l->list, filter;
	struct mqtt_writer w;
	struct mqtt_sub s;
	size_t n = 0;

	if (l->type != MQTT_SUBSCRIBE && l->type != MQTT_UNSUBSCRIBE)
		return;
	mqtt_writer_init(&w, version, twice, sizeof(twice));
	if (l->type == MQTT_SUBSCRIBE) {
		for (; mqtt_sub_next(&at, &s); n++)
			MUST(mqtt_put_sub(&w, &s) == 0);
	} else {
		for (; mqtt_unsub_next(&at, &filter); n++)
			MUST(mqtt_put_unsub(&w, filter) == 0);
	}
	MUST(n == l->n && at.n == 0 && span_same(mqtt_written(&w), l->list));
}

static void check_described(const struct mqtt_frame *f)
{
	char text[2000], cut[8];
	struct buf b;

	buf_init_fixed(&b, text, sizeof(text));
	mqtt_describe(f, &b);
	MUST(b.n > 0 && !memchr(text, '\n', b.n));
	buf_init_fixed(&b, cut, sizeof(cut));
	mqtt_describe(f, &b);
}

/* With a small limit and without problem information: what is written fits, and is a packet. */
static void check_limited(struct mqtt_form form, unsigned type, const union any *p, unsigned max)
{
	struct mqtt_frame f;
	struct mqtt_writer w;
	union any less;
	const char *why;

	mqtt_writer_init(&w, form.version, twice, sizeof(twice));
	w.max_packet = max;
	w.quiet = max & 1;
	if (put(&w, type, p) < 0) {
		MUST(w.n == 0);
		return;
	}
	MUST(!max || w.n <= max || type == MQTT_PINGREQ || type == MQTT_PINGRESP);
	form.version = type == MQTT_CONNECT ? MQTT_UNKNOWN : form.version;
	MUST(mqtt_frame(form, mqtt_written(&w), ROOM, &f, &why) == 1 && parse_any(&f, &less, &why) == 0);
}

/* Written with no more room than it needs, it is the same; with one byte less it is not written. */
static void check_round(const struct mqtt_frame *f, const union any *p)
{
	struct mqtt_form form = f->form;
	struct mqtt_writer w;
	struct mqtt_frame g;
	union any again;
	const char *why;

	if (f->type == MQTT_CONNECT)
		form.version = p->connect.version;
	mqtt_writer_init(&w, form.version, once, sizeof(once));
	MUST(put(&w, f->type, p) == 0 && w.n <= f->total + 3); /* a code and a length may have been left out */
	MUST(mqtt_frame(f->form, mqtt_written(&w), ROOM, &g, &why) == 1 && g.total == w.n && g.type == f->type);
	MUST(parse_any(&g, &again, &why) == 0 && same_packet(f->type, p, &again));
	if (f->type != MQTT_PUBLISH) {
		struct mqtt_writer small;

		mqtt_writer_init(&small, form.version, twice, w.n - 1);
		MUST(put(&small, f->type, p) < 0 && small.n == 0 && small.err);
		mqtt_writer_init(&small, form.version, twice, w.n);
		MUST(put(&small, f->type, &again) == 0 && span_same(mqtt_written(&small), mqtt_written(&w)));
	}
}

static void check_packet(const struct mqtt_frame *f, unsigned max)
{
	struct mqtt_form form = f->form;
	const char *why = NULL;
	union any p;
	int code = parse_any(f, &p, &why);

	check_described(f);
	if (code) {
		MUST(code >= MQTT_UNSPECIFIED && why && mqtt_reason_name((unsigned)code)[0] != 'u');
		return;
	}
	check_round(f, &p);
	if (f->type == MQTT_CONNECT)
		form.version = p.connect.version;
	check_limited(form, f->type, &p, max);
	if (f->type >= MQTT_SUBSCRIBE && f->type <= MQTT_UNSUBACK)
		check_list(&p.list, form.version);
	if (f->type == MQTT_PUBLISH)
		check_kept(&p.publish.props);
}

/* The beginning of a packet asks for more, never for more than the packet; what is good as a whole is good so far. */
static void check_parts(struct mqtt_form form, struct span in, const struct mqtt_frame *whole)
{
	struct mqtt_frame f;
	const char *why;

	for (size_t n = 0; n < whole->total; n += 1 + n / 8) {
		MUST(mqtt_frame(form, (struct span){ in.p, n }, ROOM, &f, &why) == 0);
		MUST(f.total > n && f.total <= whole->total);
	}
	MUST(mqtt_frame(form, in, whole->total - 1, &f, &why) == -MQTT_TOO_LARGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const uint8_t versions[] = { MQTT_UNKNOWN, MQTT_31, MQTT_311, MQTT_5 };
	struct mqtt_form form;
	struct mqtt_frame f;
	const char *why = NULL;
	struct span in;
	int r;

	if (n == 0 || n > ROOM / 4)
		return 0;
	form = (struct mqtt_form){ versions[p[0] & 3], p[0] >> 2 & 1 ? MQTT_FROM_SERVER : MQTT_FROM_CLIENT };
	in = (struct span){ p + 1, n - 1 };
	while ((r = mqtt_frame(form, in, ROOM, &f, &why)) == 1) {
		check_parts(form, in, &f);
		check_packet(&f, p[0] >> 3);
		in = (struct span){ in.p + f.total, in.n - f.total };
	}
	MUST(r == 0 ? f.total > in.n : why && -r >= MQTT_UNSPECIFIED);
	return 0;
}
