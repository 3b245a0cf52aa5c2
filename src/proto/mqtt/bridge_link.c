/*
 * bridge_link.c - a connection to another broker: a session of ours in the role of a client. CONNECT and what is agreed, SUBSCRIBE,
 * pings, the end. See bridge.h.
 */
#include <errno.h>

#include "base/mem.h"
#include "proto/mqtt/bridge.h"
#include "store/topic.h"

enum { SMALL = 512, TOPIC_TEXT = 2048, TOKEN_SIZE = 64 };

struct link {
	struct mqtt mqtt; /* first */
	struct bridge *bridge;
	uint32_t tag;
	uint16_t subscribed; /* identifier of the SUBSCRIBE; 0: answered */
	bool asked;          /* a PINGREQ was not answered yet */
};

static struct link *link_of(struct mqtt *self)
{
	return (struct link *)self;
}

/* ---- the end ---- */

/* What a server says is not always what a client may [MQTT-3.14.2-1]; and why, for the log. */
unsigned mqtt_bridge_bye(struct mqtt *self, unsigned code, const char *why)
{
	struct bridge *b = link_of(self)->bridge;

	if (b && !b->why)
		b->why = why;
	return mqtt_reason_valid(MQTT_DISCONNECT, MQTT_FROM_CLIENT, (uint8_t)code) ? code : MQTT_UNSPECIFIED;
}

static enum verdict give_up(struct link *self, struct io *io, const char *why)
{
	if (!self->bridge->why)
		self->bridge->why = why;
	io_reason(io, why);
	mqtt_enter(&self->mqtt, MQTT_OVER);
	return V_CLOSE;
}

/* There, for who asks whether we are connected. */
static void publish_state(const struct link *self, struct io *io, bool up)
{
	BUF_AUTO struct buf topic = BUF_INIT(TOPIC_TEXT);
	struct mqtt_publish p = { .retain = true, .payload = span_str(up ? "1" : "0") };
	uint8_t array[TOPIC_TEXT + SMALL];
	struct mqtt_writer w;

	if (!self->bridge->setup.o->notify)
		return;
	bridge_state_topic(self->bridge, &topic);
	p.topic = buf_span(&topic);
	mqtt_props_init(&p.props);
	mqtt_writer_init(&w, self->mqtt.version, array, sizeof(array));
	w.max_packet = self->mqtt.max_packet;
	if (topic.err || mqtt_put_publish(&w, &p) < 0 || w.cap - w.n < p.payload.n)
		return;
	memcpy(w.p + w.n, p.payload.p, p.payload.n);
	w.n += p.payload.n;
	mqtt_out_now(&self->mqtt, io, &w);
}

static enum verdict farewell(struct link *self, struct io *io)
{
	struct mqtt_end end = { .type = MQTT_DISCONNECT };
	uint8_t array[SMALL];
	struct mqtt_writer w;

	io_reason(io, "stopping");
	if (self->mqtt.state == MQTT_OPEN) {
		publish_state(self, io, false); /* a goodbye takes the will away, which would have said so */
		mqtt_props_init(&end.props);
		mqtt_writer_init(&w, self->mqtt.version, array, sizeof(array));
		if (mqtt_put_end(&w, &end) == 0)
			mqtt_out_now(&self->mqtt, io, &w);
	}
	mqtt_enter(&self->mqtt, MQTT_OVER);
	return V_CLOSE;
}

/* ---- CONNECT ---- */

static void fill_connect(const struct link *self, const struct io *io, struct mqtt_connect *c)
{
	const struct bridge *b = self->bridge;
	const struct bridge_options *o = b->setup.o;

	mqtt_props_init(&c->props);
	mqtt_props_init(&c->will_props);
	c->version = self->mqtt.version;
	c->from_bridge = b->tongue == TONGUE_311_BRIDGE || b->tongue == TONGUE_31_BRIDGE;
	c->clean = o->clean;
	c->keep_alive = (uint16_t)o->keepalive;
	c->client_id = span_str(b->client_id);
	c->has_user = o->user;
	c->user = span_str(o->user ? o->user : "");
	c->has_password = o->password.path;
	c->password = far_password(&o->password);
	c->will = o->notify;
	c->will_retain = true;
	c->will_payload = span_str("0");
	if (c->version != MQTT_5)
		return;
	if (!o->clean)
		mqtt_props_set(&c->props, MQTT_P_SESSION_EXPIRY, UINT32_MAX);
	mqtt_props_set(&c->props, MQTT_P_RECEIVE_MAX, mqtt_options(io)->receive_max);
	mqtt_props_set(&c->props, MQTT_P_MAX_PACKET, (uint32_t)mqtt_options(io)->packet);
	if (mqtt_options(io)->aliases)
		mqtt_props_set(&c->props, MQTT_P_ALIAS_MAX, mqtt_options(io)->aliases);
}

/* Who gets it back is talking to itself. */
static struct span put_token(const struct io *io, uint8_t array[TOKEN_SIZE])
{
	char token[BRIDGE_TOKEN];
	struct mqtt_writer w;

	bridge_token(io, token);
	mqtt_writer_init(&w, MQTT_5, array, TOKEN_SIZE);
	(void)mqtt_put_user(&w, &(struct mqtt_user){ span_str(BRIDGE_PROPERTY), span_str(token) });
	return mqtt_written(&w);
}

static int send_connect(struct link *self, struct io *io)
{
	BUF_AUTO struct buf will = BUF_INIT(TOPIC_TEXT);
	uint8_t own[TOKEN_SIZE];
	struct mqtt_connect c = {};
	struct mqtt_writer w;
	size_t size;
	uint8_t *p;
	int r;

	fill_connect(self, io, &c);
	if (c.version == MQTT_5)
		c.props.raw = put_token(io, own);
	bridge_state_topic(self->bridge, &will);
	c.will_topic = buf_span(&will);
	size = TOPIC_TEXT + SMALL + c.client_id.n + c.user.n + c.password.n;
	p = will.err ? NULL : mem_alloc(size);
	if (!p)
		return -ENOMEM;
	mqtt_writer_init(&w, self->mqtt.version, p, size);
	r = mqtt_put_connect(&w, &c);
	io_secret(io, true); /* the password is nobody's to see */
	if (r == 0)
		mqtt_out_now(&self->mqtt, io, &w);
	explicit_bzero(p, size);
	mem_free(p);
	return r;
}

static enum verdict begin(struct link *self, const struct ev *ev, struct io *io)
{
	static const uint8_t versions[TONGUES] = {
		[TONGUE_5] = MQTT_5,          [TONGUE_311_BRIDGE] = MQTT_311, [TONGUE_311] = MQTT_311,
		[TONGUE_31_BRIDGE] = MQTT_31, [TONGUE_31] = MQTT_31,
	};

	memcpy(&self->tag, blob_span(ev->arg).p, sizeof(self->tag));
	self->bridge = bridge_by_tag(io->shard, self->tag);
	if (!self->bridge)
		return V_ABORT;
	self->mqtt.role = MQTT_OUTWARD;
	self->mqtt.version = versions[self->bridge->tongue];
	self->bridge->mute = true;
	in_cap(io, mqtt_options(io)->packet);
	if (send_connect(self, io) < 0)
		return give_up(self, io, "out-of-memory");
	io_timer(io, MQTT_TIMER_ALIVE, io->now + FAR_ANSWER_BY);
	return V_GO;
}

/* ---- SUBSCRIBE ---- */

static size_t subscribe_size(const struct bridge_map *map)
{
	size_t n = 0;

	for (size_t i = 0; i < map->n; i++)
		if (map->v[i].way & BRIDGE_IN)
			n += 3 + map->v[i].remote_filter.n;
	return n;
}

/* No local, as published: what we have sent does not come back, and what is retained there is retained here. */
static int put_filters(const struct bridge_map *map, struct mqtt_writer *w)
{
	int r = 0;

	for (size_t i = 0; i < map->n && r == 0; i++) {
		const struct mqtt_sub sub = {
			.filter = map->v[i].remote_filter, .qos = map->v[i].qos, .no_local = true, .as_published = true
		};

		if (map->v[i].way & BRIDGE_IN)
			r = mqtt_put_sub(w, &sub);
	}
	return r;
}

static int send_subscribe(struct link *self, struct io *io)
{
	const struct bridge_map *map = &self->bridge->setup.map;
	struct mqtt_list l = { .type = MQTT_SUBSCRIBE };
	size_t n = subscribe_size(map), size = n + SMALL;
	uint8_t *p = n ? mem_alloc(n + size) : NULL;
	struct mqtt_writer list, w;
	int r;

	if (!p)
		return n ? -ENOMEM : 0;
	mqtt_props_init(&l.props);
	mqtt_writer_init(&list, self->mqtt.version, p, n);
	r = put_filters(map, &list);
	l.id = self->subscribed = subscriber_fresh_id(self->mqtt.session);
	l.list = mqtt_written(&list);
	mqtt_writer_init(&w, self->mqtt.version, p + n, size);
	w.max_packet = self->mqtt.max_packet;
	if (r == 0)
		r = mqtt_put_list(&w, &l);
	if (r == 0)
		mqtt_out_now(&self->mqtt, io, &w);
	mem_free(p);
	return r;
}

static enum verdict suback(struct link *self, struct io *io, const struct mqtt_frame *f)
{
	const char *why = NULL;
	struct mqtt_list l;
	int r = mqtt_parse_list(f, &l, &why);

	if (r)
		return mqtt_bye(&self->mqtt, io, (unsigned)r, why);
	if (l.id != self->subscribed)
		return V_GO;
	self->subscribed = 0;
	for (size_t i = 0, at = 0; i < l.list.n; i++, at++) {
		while (at < self->bridge->setup.map.n && !(self->bridge->setup.map.v[at].way & BRIDGE_IN))
			at++;
		if (l.list.p[i] >= MQTT_UNSPECIFIED && at < self->bridge->setup.map.n)
			bridge_refused(self->bridge, io, self->bridge->setup.map.v[at].remote_filter, l.list.p[i]);
	}
	return V_GO;
}

/* ---- CONNACK ---- */

/* The session there is a new one: what was under way begins anew, and what had arrived there is done. */
static void forget_flights(struct io *io, struct subscriber *s)
{
	while (s->awaiting_n && mqtt_kept_release(io, s, s->awaiting[s->awaiting_n - 1]) == 0)
		s->awaiting_n--;
	for (uint32_t i = 0; i < s->flights_n;) {
		if (s->flights[i].m) {
			i++;
			continue;
		}
		mqtt_land(io, s, &s->flights[i]);
	}
}

static void agree(struct link *self, const struct io *io, const struct mqtt_props *p)
{
	struct mqtt *m = &self->mqtt;
	unsigned window = p->receive_max, inflight = mqtt_options(io)->inflight;

	m->window = (uint16_t)(window < inflight ? window : inflight);
	m->max_packet = p->max_packet;
	m->keep_alive = far_keep_alive(p, (uint16_t)self->bridge->setup.o->keepalive);
	m->max_qos = p->max_qos;
	m->no_retain = !p->retain_ok;
	m->session_expiry = UINT32_MAX; /* on this side: as long as it is configured */
}

/* What is retained here goes there, as for any who subscribes: whatever has changed while nobody was connected. */
static int replay(struct link *self)
{
	const struct bridge_map *map = &self->bridge->setup.map;
	int r = 0;

	replay_drop_all(&self->mqtt.session->replays); /* of an earlier connection */
	for (size_t i = 0; i < map->n && r == 0; i++) {
		const struct wish w = { .filter = map->v[i].local_filter, .qos = map->v[i].qos };

		if (map->v[i].way & BRIDGE_OUT)
			r = mqtt_add_replay(&self->mqtt, &w, false);
	}
	return r;
}

static enum verdict enter(struct link *self, struct io *io, const struct mqtt_connack *back)
{
	struct mqtt *m = &self->mqtt;
	int r = m->alarm ? 0 : mqtt_alarm_new(io->shard, &m->alarm);

	if (r == 0)
		r = bridge_claim(self->bridge, io, &m->session);
	if (r < 0)
		return give_up(self, io, r == -EBUSY ? "name-in-use" : "out-of-memory");
	mqtt_enter(m, MQTT_OPEN);
	mqtt_count(io, MQTT_T_CONNECTIONS, 1);
	mqtt_count(io, MQTT_T_CLIENTS, 1);
	agree(self, io, &back->props);
	if (!back->session_present)
		forget_flights(io, m->session);
	m->anew = !back->session_present;
	m->behind = m->session->flights_n > 0;
	r = bridge_view(self->bridge, io, &m->access, &m->looked_at);
	m->access.changed = true; /* what waits was let in under other rules */
	if (r == -EACCES)
		return mqtt_bye(m, io, MQTT_UNSPECIFIED, "local-user-denied");
	if (r == 0)
		r = replay(self);
	if (r == 0)
		r = send_subscribe(self, io);
	if (r < 0)
		return mqtt_bye(m, io, MQTT_UNSPECIFIED, r == -EMSGSIZE ? "packet-too-large" : "out-of-memory");
	publish_state(self, io, true);
	bridge_is_up(self->bridge, io);
	io_timer(io, MQTT_TIMER_ALIVE, io->now + m->keep_alive * SEC);
	mqtt_pump(m, io);
	return V_GO;
}

static enum verdict connack(struct link *self, struct io *io, const struct mqtt_frame *f)
{
	const bool five = self->mqtt.version == MQTT_5;
	struct mqtt_connack back;
	const char *why = NULL;
	int r = mqtt_parse_connack(f, &back, &why);

	io_secret(io, false);
	io_first(io);
	if (r)
		return give_up(self, io, why);
	self->bridge->mute = back.code == (five ? MQTT_BAD_VERSION : 1);
	self->bridge->itself = back.code == (five ? MQTT_BAD_CLIENT_ID : 2) && bridge_met_itself(self->bridge, io);
	if (self->bridge->itself)
		return give_up(self, io, "bridge-to-itself");
	if (back.code)
		return give_up(self, io, five ? mqtt_reason_name(back.code) : mqtt_return_name(back.code));
	return enter(self, io, &back);
}

/* ---- packets ---- */

static enum verdict disconnected(struct link *self, struct io *io, const struct mqtt_frame *f)
{
	const char *why = NULL;
	struct mqtt_end end;
	int r = mqtt_parse_end(f, &end, &why);

	return r ? mqtt_bye(&self->mqtt, io, (unsigned)r, why) : give_up(self, io, mqtt_reason_name(end.code));
}

static enum verdict handle(struct link *self, struct io *io, const struct mqtt_frame *f)
{
	self->asked = false; /* it is there */
	switch (f->type) {
	case MQTT_PUBLISH:
		return mqtt_publish(&self->mqtt, io, f);
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		return mqtt_ack(&self->mqtt, io, f);
	case MQTT_SUBACK:
		return suback(self, io, f);
	case MQTT_PINGRESP:
		return V_GO;
	case MQTT_DISCONNECT:
		return disconnected(self, io, f);
	default:
		return mqtt_bye(&self->mqtt, io, MQTT_PROTOCOL_ERROR, "packet-unexpected");
	}
}

static enum verdict first(struct link *self, struct io *io, const struct mqtt_frame *f)
{
	return f->type == MQTT_CONNACK ? connack(self, io, f) : give_up(self, io, "packet-unexpected");
}

static enum verdict take_packets(struct link *self, struct io *io)
{
	struct mqtt *m = &self->mqtt;
	size_t packets = 0, bytes = 0;
	enum verdict v = V_GO;

	while (v == V_GO) {
		const struct mqtt_form form = { m->version, MQTT_FROM_SERVER };
		const char *why = NULL;
		struct mqtt_frame f;
		int r = mqtt_next(io, form, mqtt_options(io)->packet, &f, &why);

		if (r < 0)
			return m->state == MQTT_OPEN ? mqtt_bye(m, io, (unsigned)-r, why) : give_up(self, io, why);
		if (r == 0)
			break;
		if (io->traced)
			mqtt_note(io, &f);
		v = m->state == MQTT_OPEN ? handle(self, io, &f) : first(self, io, &f);
		in_take(io, f.total);
		mqtt_kept_cut(io);
		packets++;
		bytes += f.total;
	}
	mqtt_count(io, MQTT_T_PACKETS_IN, packets);
	mqtt_count(io, MQTT_T_BYTES_IN, bytes);
	return v;
}

/* ---- time ---- */

static enum verdict alive(struct link *self, struct io *io)
{
	struct mqtt *m = &self->mqtt;
	uint8_t array[8];
	struct mqtt_writer w;

	if (m->state != MQTT_OPEN || self->asked)
		return give_up(self, io, "keep-alive");
	self->asked = true;
	mqtt_writer_init(&w, m->version, array, sizeof(array));
	(void)mqtt_put_ping(&w, MQTT_PINGREQ);
	mqtt_out_now(m, io, &w);
	io_timer(io, MQTT_TIMER_ALIVE, io->now + m->keep_alive * SEC);
	return V_GO;
}

/* ---- topics, for publish.c and deliver.c ---- */

struct span mqtt_bridge_out(struct mqtt *self, const struct message *m)
{
	struct bridge *b = link_of(self)->bridge;

	if (bridge_map_topic(&b->setup.map, BRIDGE_OUT, message_topic(m), &b->topic) < 0)
		return (struct span){};
	return buf_span(&b->topic);
}

bool mqtt_bridge_in(struct mqtt *self, const struct io *io, struct mqtt_publish *p)
{
	struct bridge *b = link_of(self)->bridge;

	p->retain = p->retain && mqtt_options(io)->retain;
	if (bridge_map_topic(&b->setup.map, BRIDGE_IN, p->topic, &b->topic) < 0)
		return false;
	p->topic = buf_span(&b->topic);
	return true;
}

/* ---- the protocol ---- */

static enum verdict one_event(struct link *self, const struct ev *ev, struct io *io)
{
	struct mqtt *m = &self->mqtt;

	if (m->state == MQTT_OPEN && m->looked_at != (uint32_t)access_generation(io->svc->access) &&
	    bridge_view(self->bridge, io, &m->access, &m->looked_at) < 0)
		return mqtt_bye(m, io, MQTT_UNSPECIFIED, "local-user-denied");
	switch (ev->kind) {
	case EV_OPEN:
		return begin(self, ev, io);
	case EV_DATA:
		return take_packets(self, io);
	case EV_MSG: /* something waits, or has come to the disk: a letter says nothing else */
		mqtt_kept_flush(m, io);
		[[fallthrough]];
	case EV_ROOM:
		if (m->state == MQTT_OPEN)
			mqtt_pump(m, io);
		return V_GO;
	case EV_TIMER:
		return alive(self, io);
	case EV_STOP:
		return farewell(self, io);
	case EV_EOF:
		return give_up(self, io, m->state == MQTT_OPEN ? "connection-closed" : "closed-before-connack");
	default:
		return V_GO;
	}
}

static enum verdict step(void *selfp, const struct ev *ev, struct io *io)
{
	struct link *self = selfp;
	enum verdict v;

	self->mqtt.looks = 0;
	v = one_event(self, ev, io);
	if (self->mqtt.torn && v == V_GO)
		v = mqtt_bye(&self->mqtt, io, MQTT_QUOTA, "out-of-memory");
	if (v != V_GO)
		mqtt_leave(&self->mqtt, io);
	mqtt_send_off(&self->mqtt, io);
	return v;
}

static void fini(void *selfp, struct io *io)
{
	struct link *self = selfp;

	mqtt_done(&self->mqtt, io);
}

const struct proto mqtt_bridge_proto = {
	.abi = PROTO_ABI,
	.name = "mqtt",
	.flags = P_STREAM | P_SHARED | P_ALIVE | P_ACCESS,
	.self_size = sizeof(struct link),
	.step = step,
	.fini = fini,
};
