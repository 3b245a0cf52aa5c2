/*
 * topic_session.c - the connection of a topic client: a session in the role of a client of MQTT 5. CONNECT, SUBSCRIBE, what goes and what comes,
 * pings, the end. What the other side says wrong ends it with a reason, and harms nobody. See topic_client.h.
 */
#include <errno.h>

#include "base/mem.h"
#include "proto/mqtt/mqtt_priv.h"
#include "proto/mqtt/topic_client.h"
#include "store/topic.h"

enum { SMALL = 256, SUBSCRIBED = TOPIC_WINDOW + 1 /* identifier of the SUBSCRIBE: no message has it */ };
enum state { ASKS, UP };

struct topic_session {
	struct topic_client *client;
	uint8_t state; /* enum state */
	bool asked;    /* a PINGREQ was not answered yet */
	/* what the broker takes */
	bool no_retain;
	uint8_t max_qos;
	uint16_t window, keep_alive;
	uint32_t max_packet;
};

static const struct mqtt_form form_in = { MQTT_5, MQTT_FROM_SERVER }, form_out = { MQTT_5, MQTT_FROM_CLIENT };

/* ---- sending ---- */

static void send(struct io *io, struct mqtt_form form, struct span packet)
{
	out_mem(io, packet.p, packet.n);
	if (io->traced)
		mqtt_note_packets(io, form, packet);
}

static enum verdict give_up(struct topic_session *self, struct io *io, const char *why)
{
	if (!self->client->why)
		self->client->why = why;
	io_reason(io, why);
	return V_CLOSE;
}

/* The same, and the broker is told; nothing that it sends after that counts. */
static enum verdict bye(struct topic_session *self, struct io *io, unsigned code, const char *why)
{
	const bool may = mqtt_reason_valid(MQTT_DISCONNECT, MQTT_FROM_CLIENT, (uint8_t)code);
	struct mqtt_end end = { .type = MQTT_DISCONNECT, .code = may ? (uint8_t)code : MQTT_UNSPECIFIED };
	uint8_t array[SMALL];
	struct mqtt_writer w;

	mqtt_props_init(&end.props);
	mqtt_writer_init(&w, MQTT_5, array, sizeof(array));
	if (self->state == UP && mqtt_put_end(&w, &end) == 0)
		send(io, form_out, mqtt_written(&w));
	return give_up(self, io, why);
}

static void send_puback(struct io *io, uint16_t id)
{
	uint8_t array[8];
	struct mqtt_writer w;

	mqtt_writer_init(&w, MQTT_5, array, sizeof(array));
	if (mqtt_put_id(&w, MQTT_PUBACK, id, MQTT_OK) == 0)
		send(io, form_out, mqtt_written(&w));
}

/* The identifier that nothing under way has; 0: as many are under way as may be. */
static unsigned free_id(const struct topic_session *self)
{
	const struct topic_client *c = self->client;

	if (__builtin_popcountll(c->flying) >= self->window)
		return 0;
	return (unsigned)__builtin_ctzll(~c->flying) + 1;
}

/* 0 or -errno: it was not sent. */
static int send_publish(const struct topic_session *self, struct io *io, const struct topic_say *s, unsigned id)
{
	struct mqtt_publish p = {
		.qos = id != 0,
		.retain = s->retain && !self->no_retain,
		.id = (uint16_t)id,
		.topic = s->topic,
		.payload = s->payload,
	};
	size_t size = SMALL + s->topic.n;
	uint8_t *array = mem_alloc(size);
	struct mqtt_writer w;
	int r;

	if (!array)
		return -ENOMEM;
	mqtt_props_init(&p.props);
	mqtt_writer_init(&w, MQTT_5, array, size);
	w.max_packet = self->max_packet;
	r = mqtt_put_publish(&w, &p);
	if (r == 0) {
		out_mem(io, w.p, w.n);
		out_mem(io, s->payload.p, s->payload.n);
		if (io->traced)
			mqtt_note_head(io, form_out, mqtt_written(&w), s->payload.n);
	}
	mem_free(array);
	return r;
}

/* False: nothing more can go now. */
static bool send_one(const struct topic_session *self, struct io *io, struct topic_say *s)
{
	struct topic_client *c = self->client;
	const bool acked = s->qos && self->max_qos;
	const unsigned id = acked ? free_id(self) : 0;
	int r;

	if (acked && !id)
		return false;
	r = send_publish(self, io, s, id);
	if (r == -ENOMEM)
		return false;
	list_del(&s->node);
	if (r < 0) {
		topic_client_answered(c, io, s, MQTT_TOO_LARGE);
	} else if (id) {
		c->flight[id - 1] = s;
		c->flying |= UINT64_C(1) << (id - 1);
	} else {
		topic_client_answered(c, io, s, MQTT_OK);
	}
	return true;
}

static void pump(const struct topic_session *self, struct io *io)
{
	struct list *waiting = &self->client->waiting;

	while (!list_empty(waiting) && out_room(io) > 0)
		if (!send_one(self, io, list_entry(waiting->next, struct topic_say, node)))
			return;
}

static enum verdict send_subscribe(struct topic_session *self, struct io *io)
{
	struct mqtt_list l = { .type = MQTT_SUBSCRIBE, .id = SUBSCRIBED };
	struct mqtt_writer w;
	uint8_t *p;
	size_t size;

	if (!self->client->filters)
		return V_GO;
	l.list = blob_span(self->client->filters);
	mqtt_props_init(&l.props);
	size = SMALL + l.list.n;
	p = mem_alloc(size);
	if (!p)
		return bye(self, io, MQTT_UNSPECIFIED, "out-of-memory");
	mqtt_writer_init(&w, MQTT_5, p, size);
	w.max_packet = self->max_packet;
	if (mqtt_put_list(&w, &l) == 0)
		send(io, form_out, mqtt_written(&w));
	mem_free(p);
	return w.n ? V_GO : bye(self, io, MQTT_UNSPECIFIED, "packet-too-large");
}

/* ---- what comes ---- */

static void agree(struct topic_session *self, const struct mqtt_props *p)
{
	self->window = p->receive_max < TOPIC_WINDOW ? p->receive_max : TOPIC_WINDOW;
	self->max_packet = p->max_packet;
	self->max_qos = p->max_qos;
	self->no_retain = !p->retain_ok;
	self->keep_alive = far_keep_alive(p, self->client->keep_alive);
}

static enum verdict connack(struct topic_session *self, struct io *io, const struct mqtt_frame *f)
{
	struct mqtt_connack back;
	const char *why = NULL;
	enum verdict v;
	int r = mqtt_parse_connack(f, &back, &why);

	io_secret(io, false);
	if (r)
		return give_up(self, io, why);
	if (back.code)
		return give_up(self, io, mqtt_reason_name(back.code));
	if (back.session_present) /* we have asked for none [MQTT-3.2.2-4] */
		return give_up(self, io, "session-present");
	agree(self, &back.props);
	self->state = UP;
	v = send_subscribe(self, io);
	if (v != V_GO)
		return v;
	io_timer(io, 0, io->now + self->keep_alive * SEC);
	topic_client_up(self->client, io);
	return V_GO;
}

static enum verdict suback(struct topic_session *self, struct io *io, const struct mqtt_frame *f)
{
	struct span filters = self->client->filters ? blob_span(self->client->filters) : (struct span){};
	const char *why = NULL;
	struct mqtt_list l;
	struct mqtt_sub sub;
	int r = mqtt_parse_list(f, &l, &why);

	if (r)
		return bye(self, io, (unsigned)r, why);
	if (l.id != SUBSCRIBED)
		return V_GO;
	for (size_t i = 0; i < l.list.n && mqtt_sub_next(&filters, &sub); i++)
		if (l.list.p[i] >= MQTT_UNSPECIFIED)
			topic_client_refused(self->client, io, TOPIC_READ, sub.filter, l.list.p[i]);
	return V_GO;
}

/* No alias was allowed, and no QoS 2 asked for. */
static const char *fault_of(const struct mqtt_publish *p)
{
	if (p->qos == 2)
		return "qos-invalid";
	if (!p->topic.n || p->props.has & MQTT_HAS(MQTT_P_ALIAS))
		return "topic-alias";
	return topic_check_name(p->topic, TOPIC_LEVELS_MAX) < 0 ? "topic-invalid" : NULL;
}

static enum verdict publish(struct topic_session *self, struct io *io, const struct mqtt_frame *f)
{
	struct mqtt_publish p;
	const char *why = NULL;
	int r = mqtt_parse_publish(f, &p, &why);

	if (r)
		return bye(self, io, (unsigned)r, why);
	why = fault_of(&p);
	if (why)
		return bye(self, io, MQTT_PROTOCOL_ERROR, why);
	self->client->door->heard(self->client, io, &(struct topic_heard){ p.topic, p.payload, p.retain });
	if (p.qos)
		send_puback(io, p.id);
	return V_GO;
}

/* One that nothing waits for says nothing. */
static enum verdict puback(struct topic_session *self, struct io *io, const struct mqtt_frame *f)
{
	const char *why = NULL;
	struct mqtt_ack a;
	struct topic_say *s;
	int r = mqtt_parse_ack(f, &a, &why);

	if (r)
		return bye(self, io, (unsigned)r, why);
	s = topic_client_landed(self->client, a.id);
	if (s)
		topic_client_answered(self->client, io, s, a.code >= MQTT_UNSPECIFIED ? a.code : MQTT_OK);
	return V_GO;
}

static enum verdict disconnected(struct topic_session *self, struct io *io, const struct mqtt_frame *f)
{
	const char *why = NULL;
	struct mqtt_end end;
	int r = mqtt_parse_end(f, &end, &why);

	return r ? bye(self, io, (unsigned)r, why) : give_up(self, io, mqtt_reason_name(end.code));
}

static enum verdict handle(struct topic_session *self, struct io *io, const struct mqtt_frame *f)
{
	self->asked = false; /* it is there */
	if (self->state == ASKS && f->type != MQTT_CONNACK)
		return give_up(self, io, "packet-unexpected");
	switch (f->type) {
	case MQTT_CONNACK:
		return self->state == ASKS ? connack(self, io, f) : bye(self, io, MQTT_PROTOCOL_ERROR, "connect-twice");
	case MQTT_PUBLISH:
		return publish(self, io, f);
	case MQTT_PUBACK:
		return puback(self, io, f);
	case MQTT_SUBACK:
		return suback(self, io, f);
	case MQTT_PINGRESP:
		return V_GO;
	case MQTT_DISCONNECT:
		return disconnected(self, io, f);
	default:
		return bye(self, io, MQTT_PROTOCOL_ERROR, "packet-unexpected");
	}
}

static enum verdict take_packets(struct topic_session *self, struct io *io)
{
	enum verdict v = V_GO;

	while (v == V_GO) {
		const char *why = NULL;
		struct mqtt_frame f;
		int r = mqtt_next(io, form_in, self->client->packet, &f, &why);

		if (r < 0)
			return bye(self, io, (unsigned)-r, why);
		if (r == 0)
			break;
		if (io->traced)
			mqtt_note(io, &f);
		v = handle(self, io, &f);
		in_take(io, f.total);
	}
	return v;
}

/* ---- the beginning, time, the end ---- */

static enum verdict begin(struct topic_session *self, struct io *io)
{
	in_cap(io, self->client->packet);
	io_secret(io, true); /* the password is nobody's to see */
	send(io, (struct mqtt_form){ MQTT_UNKNOWN, MQTT_FROM_CLIENT },
	     (struct span){ self->client->hello, self->client->hello_n });
	io_timer(io, 0, io->now + FAR_ANSWER_BY);
	return V_GO;
}

static enum verdict alive(struct topic_session *self, struct io *io)
{
	uint8_t array[8];
	struct mqtt_writer w;

	if (self->state != UP || self->asked)
		return give_up(self, io, "keep-alive");
	self->asked = true;
	mqtt_writer_init(&w, MQTT_5, array, sizeof(array));
	if (mqtt_put_ping(&w, MQTT_PINGREQ) == 0)
		send(io, form_out, mqtt_written(&w));
	io_timer(io, 0, io->now + self->keep_alive * SEC);
	return V_GO;
}

/* What was said before the server ends is sent; who has heard it is not waited for. */
static enum verdict farewell(struct topic_session *self, struct io *io)
{
	if (self->state == UP)
		pump(self, io);
	return bye(self, io, MQTT_OK, "stopping");
}

static enum verdict one_event(struct topic_session *self, const struct ev *ev, struct io *io)
{
	switch (ev->kind) {
	case EV_OPEN:
		return begin(self, io);
	case EV_DATA:
		return take_packets(self, io);
	case EV_MSG: /* something waits: a letter says nothing else */
		self->client->woken = false;
		return V_GO;
	case EV_TIMER:
		return alive(self, io);
	case EV_STOP:
		return farewell(self, io);
	case EV_EOF:
		return give_up(self, io, self->state == UP ? "connection-closed" : "closed-before-connack");
	default:
		return V_GO;
	}
}

static enum verdict step(void *selfp, const struct ev *ev, struct io *io)
{
	struct topic_session *self = selfp;
	enum verdict v;

	if (ev->kind == EV_OPEN)
		memcpy(&self->client, blob_span(ev->arg).p, sizeof(self->client));
	if (self->client->changed) /* somebody else's by now */
		return V_ABORT;
	v = one_event(self, ev, io);
	if (ev->kind == EV_DATA && self->client->door->all_heard)
		self->client->door->all_heard(self->client, io);
	if (v == V_GO && self->state == UP)
		pump(self, io);
	else if (v != V_GO)
		self->client->session = 0; /* nothing is taken any more; what waits is lost when it is gone */
	return v;
}

const struct proto topic_session_proto = {
	.abi = PROTO_ABI,
	.name = "mqtt",
	/* who does not read what we say is heard all the same: neither side waits for the other */
	.flags = P_STREAM | P_ALIVE | P_READ_WHILE_FULL,
	.self_size = sizeof(struct topic_session),
	.step = step,
};
