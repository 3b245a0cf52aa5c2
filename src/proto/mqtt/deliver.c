/* deliver.c - what a client is sent: what waits for it, in order, as far as there is room and its window allows. See mqtt_priv.h. */
#include <errno.h>

#include "base/mem.h"
#include "proto/mqtt/mqtt_priv.h"

enum {
	HEAD = 512, /* bytes of a PUBLISH before its payload: nearly always enough */
	IDS = 64,   /* subscription identifiers of one delivery: the same */
	LOOKS = 16, /* at what is retained, in one step: what is not sent takes no room, which else is the limit */
};

/* One message on its way to one client. */
struct sending {
	struct message *m;
	const uint32_t *ids;
	size_t n_ids;
	uint16_t id;
	uint8_t qos;
	bool retain, dup;
};

/* ---- aliases: a topic once, then its number [3.3.2.3.4] ---- */

static uint16_t alias_of(const struct mqtt *self, struct span topic)
{
	for (uint16_t i = 0; self->out && i < self->out->n; i++)
		if (span_same(message_topic(self->out->v[i]), topic))
			return i + 1;
	return 0;
}

/* The first topics have them for as long as the connection is there: that is what a client that asks for few wants. */
static uint16_t new_alias(struct mqtt *self, struct message *m)
{
	if (m->large)
		return 0;
	if (!self->out)
		self->out = mem_zalloc(sizeof(*self->out) + self->aliases_out_max * sizeof(struct message *));
	if (!self->out || self->out->n >= self->aliases_out_max)
		return 0;
	self->out->v[self->out->n++] = message_ref(m);
	return self->out->n;
}

void mqtt_aliases_free(struct mqtt_aliases *a)
{
	for (uint16_t i = 0; a && i < a->n; i++)
		message_unref(a->v[i]);
	mem_free(a);
}

/* ---- PUBLISH ---- */

static bool is_over(const struct io *io, const struct message *m)
{
	return m->expires && m->expires <= io->now;
}

static void fill(struct mqtt *self, const struct io *io, const struct sending *s, struct mqtt_publish *p)
{
	mqtt_props_init(&p->props);
	p->qos = s->qos;
	p->dup = s->dup;
	p->retain = s->retain;
	p->id = s->id;
	p->topic = self->role == MQTT_OUTWARD ? mqtt_bridge_out(self, s->m) : message_topic(s->m);
	p->payload = message_payload(s->m);
	if (self->version != MQTT_5)
		return;
	p->kept = message_props(s->m);
	p->sub_ids = s->ids;
	p->n_sub_ids = s->n_ids;
	if (s->m->expires) /* what is left of it [MQTT-3.3.2-6]; nothing when it must be sent again [MQTT-4.4.0-1] */
		mqtt_props_set(&p->props, MQTT_P_EXPIRY,
			       is_over(io, s->m) ? 0 : (uint32_t)((s->m->expires - io->now + SEC - 1) / SEC));
}

/* Returns a new one, which this packet tells of; 0: it is known, or there is none. */
static uint16_t use_alias(struct mqtt *self, const struct sending *s, struct mqtt_publish *p)
{
	uint16_t alias = alias_of(self, p->topic), fresh = 0;

	if (alias)
		p->topic = (struct span){};
	else
		alias = fresh = new_alias(self, s->m);
	if (alias)
		mqtt_props_set(&p->props, MQTT_P_ALIAS, alias);
	return fresh;
}

/* The packet that would have told of it is not sent. */
static void forget_alias(struct mqtt *self, struct mqtt_publish *p)
{
	message_unref(self->out->v[--self->out->n]);
	p->props.has &= ~MQTT_HAS(MQTT_P_ALIAS);
}

/* What the client takes, and what may be queued for it: `packet` may have been larger when this was published. */
static uint32_t largest(const struct mqtt *self, const struct io *io)
{
	size_t most = io->svc->limits.output;

	most -= most > MQTT_BEFORE_IT ? MQTT_BEFORE_IT : 0;
	most = most < UINT32_MAX ? most : UINT32_MAX;
	return self->max_packet && self->max_packet < most ? self->max_packet : (uint32_t)most;
}

static int write_head(const struct mqtt *self, struct io *io, const struct mqtt_publish *p, uint8_t *array, size_t size)
{
	struct mqtt_writer w;
	int r;

	mqtt_writer_init(&w, self->version, array, size);
	w.max_packet = largest(self, io);
	r = mqtt_put_publish(&w, p);
	if (r < 0)
		return r;
	out_mem(io, w.p, w.n);
	if (io->traced)
		mqtt_note_publish(self, io, mqtt_written(&w), p->payload.n);
	return 0;
}

/* 0; -EMSGSIZE: the client does not take so much, and the message is treated as sent [MQTT-3.1.2-25]; -ENOMEM. */
static int send_head(const struct mqtt *self, struct io *io, const struct mqtt_publish *p)
{
	uint8_t usual[HEAD], *more;
	int r = write_head(self, io, p, usual, sizeof(usual));
	size_t size;

	if (r != -ENOBUFS)
		return r;
	size = mqtt_publish_size(self->version, p) - p->payload.n;
	more = mem_alloc(size);
	if (!more)
		return -ENOMEM;
	r = write_head(self, io, p, more, size);
	mem_free(more);
	return r;
}

static void sent(const struct sending *s, struct io *io)
{
	size_t n = s->m->payload_n;

	io_count(io, MQTT_SENT, 1);
	mqtt_count(io, MQTT_T_PUBLISH_OUT, 1);
	mqtt_count(io, MQTT_T_PUBLISH_BYTES_OUT, n);
	mqtt_count(io, MQTT_T_PACKETS_OUT, 1);
	mqtt_count(io, MQTT_T_BYTES_OUT, n + s->m->topic_n + 4);
}

static int send_in_parts(struct mqtt *self, struct io *io, const struct sending *s)
{
	struct mqtt_publish p = {};
	uint16_t fresh = 0;
	int r;

	fill(self, io, s, &p);
	if (!p.topic.n)
		return -ENOENT; /* a bridge's, and not to go there any more */
	if (self->aliases_out_max)
		fresh = use_alias(self, s, &p);
	r = send_head(self, io, &p);
	if (r < 0 && fresh) {
		forget_alias(self, &p);
		r = send_head(self, io, &p); /* it may just fit without */
	}
	if (r < 0)
		return r;
	if (s->m->large)
		out_blob(io, s->m->large);
	else
		out_mem(io, p.payload.p, p.payload.n);
	return 0;
}

/* What most are sent, most of the time, lies there as it is. */
static int send(struct mqtt *self, struct io *io, const struct sending *s)
{
	int r = 0;

	if (self->version != MQTT_5 && s->qos == 0 && !s->retain && !s->m->large && self->role != MQTT_OUTWARD) {
		struct span packet = message_packet(s->m);

		out_mem(io, packet.p, packet.n);
		if (io->traced)
			mqtt_note_out(self, io, packet);
	} else {
		r = send_in_parts(self, io, s);
	}
	if (r == 0)
		sent(s, io);
	return r;
}

static void send_or_drop(struct mqtt *self, struct io *io, const struct sending *s)
{
	if (send(self, io, s) < 0)
		mqtt_dropped(io);
}

/* ---- the queue ---- */

void mqtt_land(struct io *io, struct subscriber *s, struct flight *f)
{
	mqtt_kept_done(io, s, f->kept);
	subscriber_landed(s, f);
}

/* QoS 1 and 2: it stays under way until it is acknowledged. False: memory is out, later. */
static bool launch(struct mqtt *self, struct io *io, const struct delivery *d, const uint32_t *ids, size_t n)
{
	struct flight *f = subscriber_fly(self->session, d, ids, n);
	struct sending s;

	if (!f)
		return false;
	s = (struct sending){
		.m = d->m, .ids = ids, .n_ids = n, .id = f->id, .qos = d->qos, .retain = d->retain, .dup = d->dup
	};
	mqtt_kept_sent(io, self->session, d, f->id);
	if (send(self, io, &s) == 0)
		return true;
	mqtt_dropped(io);
	mqtt_land(io, self->session, f);
	return true;
}

/* The first of the queue is sent, or nobody will have it. False: it must wait. */
static bool send_first(struct mqtt *self, struct io *io, const struct delivery *d, const uint32_t *ids, size_t n)
{
	struct delivery less;

	if (self->role == MQTT_OUTWARD && (d->qos > self->max_qos || self->no_retain)) {
		less = *d; /* what the other side does not take */
		less.qos = d->qos < self->max_qos ? d->qos : self->max_qos;
		less.retain = d->retain && !self->no_retain;
		d = &less;
	}
	if (is_over(io, d->m)) {
		io_count(io, MQTT_EXPIRED, 1);
		mqtt_kept_skip(io, self->session, d);
	} else if (!topics_may_have(&self->access, d->m, d->ask)) {
		mqtt_kept_skip(io, self->session, d); /* it never learns of it */
	} else if (d->qos == 0) {
		send_or_drop(self, io, &(struct sending){ .m = d->m, .ids = ids, .n_ids = n, .retain = d->retain });
		mqtt_kept_skip(io, self->session,
			       d); /* where it is on disk, and the other side takes no more than this */
	} else if (self->session->flights_n >= self->window || !mqtt_kept_ready(self, io, d) ||
		   !launch(self, io, d, ids, n)) {
		return false;
	}
	subscriber_pop(self->session);
	return true;
}

static bool send_next(struct mqtt *self, struct io *io)
{
	uint32_t usual[IDS], *ids = usual;
	size_t n;
	const struct delivery *d = subscriber_head(self->session, usual, IDS, &n);
	bool on;

	if (n > IDS) {
		ids = mem_alloc(n * sizeof(*ids));
		if (!ids)
			return false;
		d = subscriber_head(self->session, ids, n, &n);
	}
	on = send_first(self, io, d, ids, n);
	if (ids != usual)
		mem_free(ids);
	return on;
}

/* ---- what was under way on an earlier connection ---- */

static bool is_never(int r)
{
	return r == -EMSGSIZE || r == -ENOENT;
}

/* The other side of a bridge may take less than it did when this was sent first. */
static void lessen(const struct mqtt *self, struct flight *f)
{
	if (self->role != MQTT_OUTWARD || !f->m)
		return;
	f->qos = f->qos < self->max_qos ? f->qos : self->max_qos;
	f->retain = f->retain && !self->no_retain;
}

static bool is_sent_again(struct mqtt *self, struct io *io, const struct flight *f)
{
	const struct sending s = {
		.m = f->m,
		.ids = f->ids,
		.n_ids = f->n_ids,
		.id = f->qos ? f->id : 0,
		.qos = f->qos,
		.retain = f->retain,
		.dup = f->qos && !self->anew,
	};
	int r;

	if (!topics_may_have(&self->access, f->m, false))
		return false;
	r = send(self, io, &s);
	if (r == 0 || (f->qos && !is_never(r)))
		return f->qos > 0;
	mqtt_dropped(io);
	return false;
}

/* False: it is no more. */
static bool send_again(struct mqtt *self, struct io *io, struct flight *f)
{
	f->sent = true;
	lessen(self, f);
	if (!f->m) {
		mqtt_answer(self, io, MQTT_PUBREL, f->id, MQTT_OK);
		return true;
	}
	if (is_sent_again(self, io, f))
		return true;
	mqtt_land(io, self->session, f);
	return false;
}

/* In the order in which they were sent first [MQTT-4.4.0-1] [MQTT-4.6.0-1]. False: some must wait, and all new ones. */
static bool send_all_again(struct mqtt *self, struct io *io)
{
	struct subscriber *who = self->session;

	for (uint32_t i = 0; i < who->flights_n;) {
		struct flight *f = &who->flights[i];

		if (!f->sent && (i >= self->window || !out_room(io)))
			return false;
		if (f->sent || send_again(self, io, f))
			i++;
	}
	self->behind = false;
	return true;
}

static void send_queue(struct mqtt *self, struct io *io)
{
	struct subscriber *who = self->session;

	while (who->queue_n && out_room(io) && send_next(self, io))
		;
	who->slow = who->queue_n && !self->held; /* the disk is not the client */
}

static void pump(struct mqtt *self, struct io *io)
{
	struct subscriber *who = self->session;

	who->woken = false;
	who->slow = true;
	if (self->behind && !send_all_again(self, io))
		return;
	send_queue(self, io);
	while (who->replays && !who->queue_n && out_room(io) && self->looks < LOOKS) {
		mqtt_replay(self, io);
		send_queue(self, io);
		if (++self->looks == LOOKS) /* others have their turn */
			who->woken = io_post(io, io->self, MQTT_WAKE, NULL, 0);
	}
}

void mqtt_pump(struct mqtt *self, struct io *io)
{
	struct subscriber_limits lim;

	if (!self->session || self->muted)
		return;
	pump(self, io);
	if (!self->session->full)
		return;
	lim = mqtt_limits(io);
	if (subscriber_mark(self->session, &lim))
		topics_ready(mqtt_service(io)->topics, self->session);
}

/* ---- acknowledgements ---- */

static enum verdict landed(struct mqtt *self, struct io *io, struct flight *f)
{
	mqtt_land(io, self->session, f);
	mqtt_pump(self, io);
	return V_GO;
}

static enum verdict released(struct mqtt *self, struct io *io, uint16_t id, unsigned code)
{
	mqtt_answer(self, io, MQTT_PUBREL, id, code);
	return V_GO;
}

static enum verdict received(struct mqtt *self, struct io *io, const struct mqtt_ack *a, struct flight *f)
{
	if (!f || f->qos != 2)
		return released(self, io, a->id, MQTT_ID_UNKNOWN);
	if (a->code >= MQTT_UNSPECIFIED) /* it does not want it [4.3.3] */
		return landed(self, io, f);
	if (mqtt_kept_received(io, self->session, f) < 0)
		return mqtt_bye(self, io, MQTT_QUOTA, "out-of-memory");
	message_unref(f->m);
	f->m = NULL;
	return released(self, io, a->id, MQTT_OK);
}

enum verdict mqtt_acked(struct mqtt *self, struct io *io, const struct mqtt_ack *a)
{
	struct flight *f = subscriber_flight(self->session, a->id);

	if (a->type == MQTT_PUBREC)
		return received(self, io, a, f);
	if (!f || f->qos != (a->type == MQTT_PUBACK ? 1 : 2) || (a->type == MQTT_PUBCOMP && f->m))
		return V_GO; /* nothing that we wait for: from before a restart, or twice */
	return landed(self, io, f);
}
