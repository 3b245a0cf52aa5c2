/*
 * mqtt_pub.c - see mqtt_pub.h. What was sent with QoS 1 or 2 is kept in a ring until the broker has confirmed it, and goes
 * out again after a loss: with PUBREL once PUBREC was there, so that nothing comes twice (4.3.3, 4.4).
 */
#include "client/mqtt_pub.h"

#include <errno.h>

#include "base/mem.h"

enum pending_state { WAITS_ACK, WAITS_COMP, CONFIRMED };

struct pending {
	struct blob *body; /* NULL = empty, or not needed any more */
	uint8_t state;
};

/* Messages are numbered from 0; [head, tail) are under way, at ring[number % window]. */
struct pubber {
	struct mqtt_link link;
	const struct mqtt_pub *how;
	struct pending *ring;
	unsigned window;
	uint64_t head, tail;
	bool aliased; /* the broker knows the alias */
	bool waiting; /* for the next repetition */
	bool done;    /* nothing more will come */
};

static struct pubber *pubber_of(struct mqtt_link *l)
{
	return (struct pubber *)l;
}

static uint16_t id_of(uint64_t number)
{
	return (uint16_t)(number % UINT16_MAX + 1);
}

/* The message under way with this identifier, or NULL. */
static struct pending *pending_with(const struct pubber *p, uint16_t id)
{
	uint64_t ahead = (id + (uint64_t)UINT16_MAX - id_of(p->head)) % UINT16_MAX;

	return id && p->head + ahead < p->tail ? &p->ring[(p->head + ahead) % p->window] : NULL;
}

static bool is_tracked(const struct pubber *p)
{
	return p->how->message.qos > 0;
}

/* ---- sending ---- */

/* An alias stands for the topic from its first message on; a broker that takes none gets the topic each time. */
static void set_alias(struct pubber *p, struct mqtt_publish *m)
{
	if (!(m->props.has & MQTT_HAS(MQTT_P_ALIAS)))
		return;
	if (m->props.alias > p->link.agreed.alias_max)
		m->props.has &= ~MQTT_HAS(MQTT_P_ALIAS);
	else if (p->aliased)
		m->topic = (struct span){};
	p->aliased = true;
}

static int send_one(struct pubber *p, uint64_t number, struct span payload, struct blob *body, bool again,
		    struct io *io)
{
	struct mqtt_publish m = p->how->message;

	m.payload = payload;
	m.dup = again;
	m.id = id_of(number);
	set_alias(p, &m);
	return mqtt_send_publish(&p->link, io, &m, body);
}

static enum verdict cannot_send(struct pubber *p, int err, struct io *io)
{
	if (err == -ENOMEM)
		return mqtt_link_fail(&p->link, MQTT_EXIT_FAILED, io,
				      "Error: Out of memory when trying to publish message.");
	return mqtt_link_fail(&p->link, MQTT_EXIT_FAILED, io, "Error: Message payload is too large.");
}

/* ---- what comes next ---- */

/* 1: *ret is the next payload; 0: none yet, or never (p->done); -errno. `ret_body` has it too when it is shared. */
static int next_line(struct pubber *p, struct io *io, struct span *ret)
{
	struct io *terminal = io_chan(io, MQTT_TERMINAL);
	int r;

	if (!terminal) {
		p->done = true;
		return 0;
	}
	r = in_line(terminal, MQTT_PACKET_MAX, ret);
	if (r == 0 && terminal->eof)
		p->done = true;
	return r;
}

static int next_copy(struct pubber *p, struct io *io, struct span *ret)
{
	const struct mqtt_pub *how = p->how;

	if (p->waiting)
		return 0;
	*ret = how->payload ? blob_span(how->payload) : (struct span){};
	p->done = p->tail + 1 == how->repeat;
	if (!p->done && how->delay) {
		p->waiting = true;
		io_timer(io, MQTT_OWN, io->now + how->delay);
	}
	return 1;
}

/* Kept until it is confirmed: a line is copied, the payload of the command line is shared. */
static int keep(struct pubber *p, struct span payload, struct blob **ret_body)
{
	struct pending *at = &p->ring[p->tail % p->window];

	*at = (struct pending){ .state = WAITS_ACK };
	if (!p->how->lines)
		at->body = blob_ref(p->how->payload);
	else if (payload.n)
		at->body = blob_new(&payload, 1);
	if (!at->body && payload.n)
		return -ENOMEM;
	*ret_body = at->body;
	return 0;
}

static bool has_room(const struct pubber *p, struct io *io)
{
	struct io *server = mqtt_server(&p->link, io);

	return server && out_room(server) > 0 && (!is_tracked(p) || p->tail - p->head < p->window);
}

static int send_next(struct pubber *p, struct io *io)
{
	struct blob *body = p->how->lines ? NULL : p->how->payload;
	struct span payload;
	int r = p->how->lines ? next_line(p, io, &payload) : next_copy(p, io, &payload);

	if (r <= 0)
		return r;
	r = is_tracked(p) ? keep(p, payload, &body) : 0;
	if (r == 0)
		r = send_one(p, p->tail, payload, body, false, io);
	p->tail++;
	if (!is_tracked(p))
		p->head = p->tail;
	return r < 0 ? r : 1;
}

/* As much as fits; then the terminal waits, until there is room again or something is confirmed. */
static enum verdict pump(struct pubber *p, struct io *io)
{
	struct io *terminal;
	int r = 1;

	if (p->link.state != LINK_UP)
		return V_GO;
	while (r > 0 && !p->done && has_room(p, io))
		r = send_next(p, io);
	if (r < 0)
		return cannot_send(p, r, io);
	if (p->done && p->head == p->tail)
		return mqtt_link_end(&p->link, MQTT_OK, io);
	terminal = p->how->lines ? io_chan(io, MQTT_TERMINAL) : NULL;
	if (terminal)
		io_hold(terminal, p->done || !has_room(p, io));
	return V_GO;
}

/* ---- confirmations ---- */

static void confirm(struct pubber *p, struct pending *at)
{
	blob_unref(at->body);
	at->body = NULL;
	at->state = CONFIRMED;
	while (p->head < p->tail && p->ring[p->head % p->window].state == CONFIRMED)
		p->head++;
}

static void refused(struct pubber *p, const struct mqtt_ack *a)
{
	mqtt_say(&p->link, "Warning: Publish %u failed: %s.", a->id, mqtt_reason_name(a->code));
	if (a->props.reason.n)
		mqtt_say(&p->link, "%.*s", (int)a->props.reason.n, (const char *)a->props.reason.p);
	p->link.outcome->status = a->code;
}

static enum verdict take_ack(struct pubber *p, const struct mqtt_ack *a, struct io *io)
{
	struct pending *at = pending_with(p, a->id);
	bool first = a->type == MQTT_PUBACK || a->type == MQTT_PUBREC;

	if (first && a->code >= 0x80)
		refused(p, a);
	if (a->type == MQTT_PUBREC && a->code < 0x80) {
		if (at && at->state == WAITS_ACK) {
			at->state = WAITS_COMP;
			blob_unref(at->body);
			at->body = NULL;
		}
		mqtt_send_id(&p->link, io, MQTT_PUBREL, a->id);
		return V_GO;
	}
	if (at && at->state == (first ? WAITS_ACK : WAITS_COMP))
		confirm(p, at);
	return pump(p, io);
}

static enum verdict packet(struct mqtt_link *l, const struct mqtt_frame *f, struct io *io)
{
	struct mqtt_ack a;
	const char *why = NULL;

	if (f->type != MQTT_PUBACK && f->type != MQTT_PUBREC && f->type != MQTT_PUBCOMP)
		return V_GO; /* what an old session has subscribed to is not for us, and stays in its queue */
	if (mqtt_parse_ack(f, &a, &why) != 0)
		return mqtt_link_fail(l, MQTT_EXIT_PROTOCOL, io,
				      "Error: A network protocol error occurred when communicating with the broker.");
	if (a.type == MQTT_PUBREC)
		mqtt_debug(l, io, "received PUBREC (Mid: %u)", a.id);
	else
		mqtt_debug(l, io, "received %s (Mid: %u, RC:%u)", mqtt_type_name(a.type), a.id, a.code);
	return take_ack(pubber_of(l), &a, io);
}

static struct span body_of(const struct pending *at)
{
	struct span none = {};

	return at->body ? blob_span(at->body) : none;
}

/* ---- connections ---- */

/* What was under way when the last one was lost. */
static int send_again(struct pubber *p, bool session_present, struct io *io)
{
	int r = 0;

	for (uint64_t i = p->head; i < p->tail && r == 0; i++) {
		const struct pending *at = &p->ring[i % p->window];

		if (at->state == WAITS_COMP)
			mqtt_send_id(&p->link, io, MQTT_PUBREL, id_of(i));
		else if (at->state == WAITS_ACK)
			r = send_one(p, i, body_of(at), at->body, session_present, io);
	}
	return r;
}

/* What the broker said in its CONNACK that it does not take; NULL: all is well. */
static const char *not_taken(const struct pubber *p)
{
	const struct mqtt_props *a = &p->link.agreed;

	if (p->how->message.qos > a->max_qos)
		return "Error: Message QoS not supported on broker, try a lower QoS.";
	return p->how->message.retain && !a->retain_ok ? "Error: Retained messages are not supported on broker." : NULL;
}

/* Between two connections nothing is under way only when the ring is empty, and only then may it change its size. */
static int set_window(struct pubber *p)
{
	unsigned window = p->how->window;

	if (p->link.agreed.receive_max < window)
		window = p->link.agreed.receive_max;
	if (p->ring && (p->head < p->tail || window == p->window))
		return 0;
	mem_free(p->ring);
	p->window = window;
	p->ring = mem_zalloc(window * sizeof(*p->ring));
	return p->ring ? 0 : -ENOMEM;
}

static enum verdict up(struct mqtt_link *l, bool session_present, struct io *io)
{
	struct pubber *p = pubber_of(l);
	const char *text = not_taken(p);
	int r;

	if (text)
		return mqtt_link_fail(l, MQTT_EXIT_FAILED, io, text);
	p->aliased = false;
	r = set_window(p);
	if (r == 0)
		r = send_again(p, session_present, io);
	return r < 0 ? cannot_send(p, r, io) : pump(p, io);
}

static enum verdict go_on(struct mqtt_link *l, struct io *io)
{
	return pump(pubber_of(l), io);
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	static const struct mqtt_ends ends = { .up = up, .packet = packet, .room = go_on, .input = go_on };
	struct pubber *p = self;

	if (ev->kind == EV_OPEN && !ev->chan) {
		mqtt_link_init(&p->link, &ends, io);
		p->how = p->link.outcome->more;
		return V_GO;
	}
	if (ev->kind == EV_TIMER && ev->tag == MQTT_OWN) {
		p->waiting = false;
		return pump(p, io);
	}
	return mqtt_link_step(&p->link, ev, io);
}

static void fini(void *self, struct io *io)
{
	struct pubber *p = self;

	(void)io;
	for (uint64_t i = p->head; p->ring && i < p->tail; i++)
		blob_unref(p->ring[i % p->window].body);
	mem_free(p->ring);
	p->ring = NULL;
}

const struct proto mqtt_pub_proto = {
	.abi = PROTO_ABI,
	.name = "pub",
	.summary = "publishes messages",
	.flags = P_STREAM | P_READ_WHILE_FULL, /* confirmations come while there is much to send */
	.self_size = sizeof(struct pubber),
	.step = step,
	.fini = fini,
};
