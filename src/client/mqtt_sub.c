/*
 * mqtt_sub.c - see mqtt_sub.h. A message of QoS 2 is printed when it comes, and its identifier remembered until PUBREL, on
 * a next connection too, so that none is printed twice. After the last one that was asked for nothing is confirmed any
 * more: what a kept session has left stays there.
 */
#include "client/mqtt_sub.h"

#include <errno.h>

#include "base/mem.h"
#include "base/str.h"
#include "store/topic.h"

enum { WORDS = (UINT16_MAX + 1) / 64 };

struct alias {
	size_t n;
	uint8_t *topic;
};

struct subber {
	struct mqtt_link link;
	const struct mqtt_sub_setup *how;
	struct buf text; /* of one message */
	uint64_t printed;
	uint64_t releasing[WORDS]; /* identifiers of QoS 2 between PUBREC and PUBREL */
	unsigned releasing_n;
	unsigned removing; /* our publishes that are not confirmed */
	uint16_t id;       /* the last one that we have used */
	bool last, timed;  /* the last message was there; the clock runs */
	struct alias *aliases;
	uint16_t aliases_n;
};

static struct subber *subber_of(struct mqtt_link *l)
{
	return (struct subber *)l;
}

static uint16_t next_id(struct subber *s)
{
	s->id = s->id == UINT16_MAX ? 1 : (uint16_t)(s->id + 1);
	return s->id;
}

/* ---- subscribing ---- */

static int add_subs(const struct subber *s, struct mqtt_writer *w)
{
	const struct mqtt_sub_setup *how = s->how;
	int err = 0;

	for (size_t i = 0; i < how->topics_n && err == 0; i++)
		err = mqtt_put_sub(w, &(struct mqtt_sub){
					      .filter = span_str(how->topics[i]),
					      .qos = how->qos,
					      .no_local = how->options & 4,
					      .as_published = how->options & 8,
					      .retain_handling = how->options >> 4,
				      });
	return err;
}

static size_t list_room(const char *const *texts, size_t n)
{
	size_t room = 1;

	for (size_t i = 0; i < n; i++)
		room += strlen(texts[i]) + 3;
	return room;
}

static int subscribe(struct subber *s, struct io *io)
{
	const struct mqtt_sub_setup *how = s->how;
	struct mqtt_list list = { .type = MQTT_SUBSCRIBE, .id = next_id(s), .props = how->subscribe_props };
	size_t room = list_room(how->topics, how->topics_n);
	uint8_t *p = mem_alloc(room);
	struct mqtt_writer w;

	if (!p)
		return -ENOMEM;
	mqtt_writer_init(&w, s->link.setup->connect.version, p, room);
	(void)add_subs(s, &w);
	list.list = mqtt_written(&w);
	list.n = how->topics_n;
	for (size_t i = 0; i < how->topics_n; i++)
		mqtt_debug(&s->link, io, "sending SUBSCRIBE (Mid: %u, Topic: %s, QoS: %d, Options: 0x%02x)", list.id,
			   how->topics[i], how->qos, how->options);
	mqtt_send_list(&s->link, io, &list);
	mem_free(p);
	return 0;
}

static int unsubscribe(struct subber *s, const char *topic, struct io *io)
{
	struct mqtt_list list = {
		.type = MQTT_UNSUBSCRIBE, .id = next_id(s), .n = 1, .props = s->how->unsubscribe_props
	};
	size_t room = list_room(&topic, 1);
	uint8_t *p = mem_alloc(room);
	struct mqtt_writer w;

	if (!p)
		return -ENOMEM;
	mqtt_writer_init(&w, s->link.setup->connect.version, p, room);
	(void)mqtt_put_unsub(&w, span_str(topic));
	list.list = mqtt_written(&w);
	mqtt_debug(&s->link, io, "sending UNSUBSCRIBE (Mid: %u, Topic: %s)", list.id, topic);
	mqtt_send_list(&s->link, io, &list);
	mem_free(p);
	return 0;
}

static void forget(struct subber *s)
{
	memset(s->releasing, 0, sizeof(s->releasing));
	s->releasing_n = 0;
}

static void drop_aliases(struct subber *s)
{
	for (uint16_t i = 0; i < s->aliases_n; i++)
		mem_free(s->aliases[i].topic);
	mem_free(s->aliases);
	s->aliases = NULL;
	s->aliases_n = 0;
}

static enum verdict up(struct mqtt_link *l, bool session_present, struct io *io)
{
	struct subber *s = subber_of(l);
	int err = 0;

	if (!session_present)
		forget(s);
	drop_aliases(s);
	s->removing = 0;
	if (s->last)
		return mqtt_link_end(l, MQTT_OK, io);
	if (s->how->topics_n)
		err = subscribe(s, io);
	for (size_t i = 0; i < s->how->unsubscribe_n && err == 0; i++)
		err = unsubscribe(s, s->how->unsubscribe[i], io);
	return err == 0 ? V_GO : mqtt_link_fail(l, MQTT_EXIT_FAILED, io, "Error: Out of memory.");
}

/* ---- ending ---- */

/* Once all that was begun is over. */
static enum verdict end_when_done(struct subber *s, struct io *io)
{
	return s->last && s->releasing_n == 0 && s->removing == 0 ? mqtt_link_end(&s->link, MQTT_OK, io) : V_GO;
}

static void start_clock(struct mqtt_link *l, struct io *io)
{
	struct subber *s = subber_of(l);

	if (s->how->time && !s->timed)
		io_timer(io, MQTT_OWN, io->now + s->how->time);
	s->timed = true;
}

/* ---- messages ---- */

/* [MQTT-3.3.2-7] and on: an alias stands for the topic that came with it. -EPROTO: it stands for none. */
static int resolve_alias(struct subber *s, struct mqtt_publish *m)
{
	uint16_t most = s->link.setup->connect.props.alias_max;
	struct alias *a;

	if (!(m->props.has & MQTT_HAS(MQTT_P_ALIAS)))
		return m->topic.n ? 0 : -EPROTO;
	if (m->props.alias > most)
		return -EPROTO;
	if (!s->aliases) {
		s->aliases = mem_zalloc(most * sizeof(*s->aliases));
		if (!s->aliases)
			return -ENOMEM;
		s->aliases_n = most;
	}
	a = &s->aliases[m->props.alias - 1];
	if (m->topic.n) {
		uint8_t *copy = mem_realloc(a->topic, m->topic.n);

		if (!copy)
			return -ENOMEM;
		memcpy(copy, m->topic.p, m->topic.n);
		*a = (struct alias){ m->topic.n, copy };
	}
	m->topic = (struct span){ a->topic, a->n };
	return a->n ? 0 : -EPROTO;
}

static bool is_filtered_out(const struct subber *s, struct span topic)
{
	for (size_t i = 0; i < s->how->filter_out_n; i++)
		if (topic_matches(span_str(s->how->filter_out[i]), topic))
			return true;
	return false;
}

static bool is_lucky(const struct subber *s)
{
	uint32_t r = 0;

	if (s->how->chance >= 10000)
		return true;
	(void)!s->link.setup->random(&r, sizeof(r));
	return r % 10000 < s->how->chance;
}

static void print(struct subber *s, const struct mqtt_publish *m, struct io *io)
{
	struct io *terminal = io_chan(io, MQTT_TERMINAL);
	uint64_t wall = s->how->style.format ? s->link.setup->wall() : 0;
	char text[4096];
	struct buf why;

	if (!terminal || !is_lucky(s))
		return;
	buf_init_fixed(&why, text, sizeof(text));
	buf_reset(&s->text);
	mqtt_print(&s->how->style, m, wall, &s->text, &why);
	out_mem(terminal, buf_str(&s->text), s->text.n);
	if (why.n)
		mqtt_say(&s->link, "%s", text);
	if (s->text.err)
		mqtt_say(&s->link, "Error: Out of memory.");
	mqtt_pace(&s->link, io);
}

static void remove_retained(struct subber *s, struct span topic, struct io *io)
{
	struct mqtt_publish m = { .qos = 1, .retain = true, .id = next_id(s), .topic = topic };

	mqtt_props_init(&m.props);
	if (mqtt_send_publish(&s->link, io, &m, NULL) == 0)
		s->removing++;
}

static void handle(struct subber *s, const struct mqtt_publish *m, struct io *io)
{
	const struct mqtt_sub_setup *how = s->how;

	if (how->retained_only && !m->retain) {
		s->last = true;
		return;
	}
	if ((m->retain && how->no_retain) || is_filtered_out(s, m->topic))
		return;
	if (how->remove_retained && m->retain && m->payload.n)
		remove_retained(s, m->topic, io);
	print(s, m, io);
	s->printed++;
	if (how->count && s->printed == how->count)
		s->last = true;
}

/* True: its identifier is new. */
static bool begin_release(struct subber *s, uint16_t id)
{
	uint64_t bit = UINT64_C(1) << id % 64, *word = &s->releasing[id / 64];

	if (*word & bit)
		return false;
	*word |= bit;
	s->releasing_n++;
	return true;
}

static enum verdict take_publish(struct subber *s, const struct mqtt_frame *f, struct io *io)
{
	struct mqtt_publish m;
	const char *why = NULL;

	if (mqtt_parse_publish(f, &m, &why) != 0 || resolve_alias(s, &m) < 0)
		return mqtt_link_fail(&s->link, MQTT_EXIT_PROTOCOL, io,
				      "Error: A network protocol error occurred when communicating with the broker.");
	if (s->link.setup->debug)
		mqtt_debug(&s->link, io, "received PUBLISH (d%d, q%d, r%d, m%u, '%.*s', ... (%zu bytes))", m.dup, m.qos,
			   m.retain, m.id, (int)m.topic.n, (const char *)m.topic.p, m.payload.n);
	if (s->last)
		return V_GO; /* not confirmed */
	if (m.qos == 1)
		mqtt_send_id(&s->link, io, MQTT_PUBACK, m.id);
	else if (m.qos == 2)
		mqtt_send_id(&s->link, io, MQTT_PUBREC, m.id);
	if (m.qos < 2 || begin_release(s, m.id))
		handle(s, &m, io);
	return end_when_done(s, io);
}

static enum verdict take_ack(struct subber *s, const struct mqtt_frame *f, struct io *io)
{
	uint64_t bit;
	struct mqtt_ack a;
	const char *why = NULL;

	if (mqtt_parse_ack(f, &a, &why) != 0)
		return mqtt_link_fail(&s->link, MQTT_EXIT_PROTOCOL, io,
				      "Error: A network protocol error occurred when communicating with the broker.");
	if (a.type == MQTT_PUBACK) {
		mqtt_debug(&s->link, io, "received PUBACK (Mid: %u, RC:%u)", a.id, a.code);
		s->removing -= s->removing > 0;
	} else if (a.type == MQTT_PUBREL) {
		mqtt_debug(&s->link, io, "received PUBREL (Mid: %u)", a.id);
		bit = UINT64_C(1) << a.id % 64;
		s->releasing_n -= (s->releasing[a.id / 64] & bit) != 0;
		s->releasing[a.id / 64] &= ~bit;
		mqtt_send_id(&s->link, io, MQTT_PUBCOMP, a.id);
	}
	return end_when_done(s, io);
}

static void add_codes(struct span codes, struct buf *b)
{
	for (size_t i = 0; i < codes.n; i++)
		buf_addf(b, "%s%u", i ? ", " : "", codes.p[i]);
}

static void show_codes(struct subber *s, const struct mqtt_list *a, struct io *io)
{
	struct io *terminal = s->link.setup->debug && !s->link.setup->quiet ? io_chan(io, MQTT_TERMINAL) : NULL;

	mqtt_debug(&s->link, io, "received %s", mqtt_type_name(a->type));
	if (!terminal || a->type != MQTT_SUBACK)
		return;
	buf_reset(&s->text);
	buf_addf(&s->text, "Subscribed (mid: %u): ", a->id);
	add_codes(a->list, &s->text);
	buf_addc(&s->text, '\n');
	out_mem(terminal, buf_str(&s->text), s->text.n);
}

static enum verdict take_codes(struct subber *s, const struct mqtt_frame *f, struct io *io)
{
	struct mqtt_list a;
	const char *why = NULL;
	unsigned granted = 0;

	if (mqtt_parse_list(f, &a, &why) != 0)
		return mqtt_link_fail(&s->link, MQTT_EXIT_PROTOCOL, io,
				      "Error: A network protocol error occurred when communicating with the broker.");
	show_codes(s, &a, io);
	for (size_t i = 0; i < a.list.n; i++)
		granted += a.list.p[i] < 0x80;
	if (a.type == MQTT_SUBACK && granted == 0)
		return mqtt_link_fail(&s->link, a.list.n ? a.list.p[a.list.n - 1] : MQTT_EXIT_PROTOCOL, io,
				      "All subscription requests were denied.");
	if (s->how->exit_after && (a.type == MQTT_SUBACK || s->how->topics_n == 0))
		return mqtt_link_end(&s->link, MQTT_OK, io);
	return V_GO;
}

static enum verdict packet(struct mqtt_link *l, const struct mqtt_frame *f, struct io *io)
{
	struct subber *s = subber_of(l);

	switch (f->type) {
	case MQTT_PUBLISH:
		return take_publish(s, f, io);
	case MQTT_SUBACK:
	case MQTT_UNSUBACK:
		return take_codes(s, f, io);
	default:
		return take_ack(s, f, io);
	}
}

/* ---- the protocol ---- */

static enum verdict nothing(struct mqtt_link *l, struct io *io)
{
	(void)l;
	(void)io;
	return V_GO;
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	static const struct mqtt_ends ends = {
		.up = up, .packet = packet, .room = nothing, .input = nothing, .opened = start_clock
	};
	struct subber *s = self;

	if (ev->kind == EV_OPEN && !ev->chan) {
		buf_init(&s->text, MQTT_PACKET_MAX * 4u);
		mqtt_link_init(&s->link, &ends, io);
		s->how = s->link.outcome->more;
		return V_GO;
	}
	if (ev->kind == EV_TIMER && ev->tag == MQTT_OWN)
		return mqtt_link_fail(&s->link, MQTT_EXIT_TIMEOUT, io, "Timed out");
	return mqtt_link_step(&s->link, ev, io);
}

static void fini(void *self, struct io *io)
{
	struct subber *s = self;

	(void)io;
	buf_done(&s->text);
	drop_aliases(s);
}

const struct proto mqtt_sub_proto = {
	.abi = PROTO_ABI,
	.name = "sub",
	.summary = "prints messages",
	.flags = P_STREAM | P_READ_WHILE_FULL,
	.self_size = sizeof(struct subber),
	.step = step,
	.fini = fini,
};
