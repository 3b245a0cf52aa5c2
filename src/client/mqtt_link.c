/* mqtt_link.c - see mqtt_link.h. */
#include "client/mqtt_link.h"

#include <errno.h>

#include "base/mem.h"
#include "base/str.h"
#include "drive/client.h"
#include "layer/ws.h"

enum {
	TEXT_MAX = 1 << 17, /* of a line for people, which may have a topic in it */
	HEAD_MAX = 4096,    /* of a packet that has no text of any length in it */
	SHARE_FROM = 4096,  /* payloads from here on are shared and not copied */
	TRIES_MAX = 5,      /* doublings of the time between two tries: 1 s to 32 s */
};

#define ANSWER_TIME (30 * SEC) /* for CONNACK, and a handshake of WebSocket */
#define END_TIME (10 * SEC)    /* for the server's end after DISCONNECT, without anything moving */

/* ---- words ---- */

void mqtt_say(const struct mqtt_link *l, const char *fmt, ...)
{
	BUF_AUTO struct buf b = BUF_INIT(TEXT_MAX);
	va_list ap;

	if (l->setup->quiet)
		return;
	va_start(ap, fmt);
	buf_addv(&b, fmt, ap);
	va_end(ap);
	l->setup->say(buf_str(&b));
}

void mqtt_debug(const struct mqtt_link *l, struct io *io, const char *fmt, ...)
{
	struct io *terminal = l->setup->debug ? io_chan(io, MQTT_TERMINAL) : NULL;
	BUF_AUTO struct buf b = BUF_INIT(TEXT_MAX);
	va_list ap;

	if (!terminal)
		return;
	buf_addf(&b, "Client %s ", *l->name ? l->name : "(null)");
	va_start(ap, fmt);
	buf_addv(&b, fmt, ap);
	va_end(ap);
	buf_addc(&b, '\n');
	out_mem(terminal, buf_str(&b), b.n);
}

static void set_name(struct mqtt_link *l, struct span name)
{
	struct buf b;

	buf_init_fixed(&b, l->name, sizeof(l->name));
	buf_add(&b, name.p, name.n);
}

/* ---- ends ---- */

/* What the terminal has not taken yet is still printed. */
static enum verdict finish(struct io *io)
{
	if (io_chan(io, MQTT_SERVER))
		io_end(io, MQTT_SERVER);
	return V_CLOSE;
}

static void set_status(struct mqtt_link *l, int status)
{
	if (!l->outcome->status)
		l->outcome->status = status;
}

static void arm_end(struct io *io)
{
	io_timer(io, MQTT_AGAIN, io->now + END_TIME);
}

enum verdict mqtt_link_end(struct mqtt_link *l, uint8_t code, struct io *io)
{
	struct io *server = mqtt_server(l, io);
	struct mqtt_end end = { .type = MQTT_DISCONNECT, .code = code, .props = l->setup->disconnect };
	struct mqtt_writer w;
	uint8_t *p;
	size_t room = HEAD_MAX + end.props.raw.n + end.props.reason.n;

	for (unsigned i = 0; i < MQTT_OWN_TIMERS; i++)
		io_timer(io, MQTT_OWN + i, 0);
	if (l->state == LINK_ENDS)
		return V_GO;
	if (!server)
		return finish(io);
	p = mem_alloc(room);
	if (!p)
		return V_ABORT;
	mqtt_writer_init(&w, l->setup->connect.version, p, room);
	if (mqtt_put_end(&w, &end) == 0) {
		mqtt_debug(l, io, "sending DISCONNECT");
		out_mem(server, p, w.n);
	}
	mem_free(p);
	l->state = LINK_ENDS;
	io_timer(io, MQTT_ALIVE, 0);
	io_hold(server, false);
	out_eof(server); /* and its end tells that it has read everything */
	arm_end(io);
	return V_GO;
}

enum verdict mqtt_link_fail(struct mqtt_link *l, int status, struct io *io, const char *text)
{
	if (text && !l->outcome->status)
		mqtt_say(l, "%s", text);
	set_status(l, status);
	return mqtt_link_end(l, MQTT_OK, io);
}

/* ---- sending ---- */

struct io *mqtt_server(const struct mqtt_link *l, struct io *io)
{
	return l->state == LINK_UP ? io_chan(io, MQTT_SERVER) : NULL;
}

static void init_writer(const struct mqtt_link *l, struct mqtt_writer *w, uint8_t *p, size_t n)
{
	mqtt_writer_init(w, l->setup->connect.version, p, n);
	w->max_packet = l->agreed.max_packet;
}

/* Counts for the keep alive. */
static void sent(struct mqtt_link *l, struct io *io)
{
	l->sent = io->now;
}

void mqtt_send_id(struct mqtt_link *l, struct io *io, enum mqtt_type type, uint16_t id)
{
	struct io *server = mqtt_server(l, io);
	struct mqtt_writer w;
	uint8_t p[8];

	if (!server)
		return;
	init_writer(l, &w, p, sizeof(p));
	(void)mqtt_put_id(&w, type, id, MQTT_OK);
	if (type == MQTT_PUBACK || type == MQTT_PUBREC)
		mqtt_debug(l, io, "sending %s (m%u, rc0)", mqtt_type_name(type), id);
	else
		mqtt_debug(l, io, "sending %s (m%u)", mqtt_type_name(type), id);
	out_mem(server, p, w.n);
	sent(l, io);
}

void mqtt_send_list(struct mqtt_link *l, struct io *io, const struct mqtt_list *list)
{
	struct io *server = mqtt_server(l, io);
	size_t room = HEAD_MAX + list->list.n + list->props.raw.n;
	uint8_t *p = mem_alloc(room);
	struct mqtt_writer w;

	if (server && p) {
		init_writer(l, &w, p, room);
		if (mqtt_put_list(&w, list) == 0)
			out_mem(server, p, w.n);
		sent(l, io);
	}
	mem_free(p);
}

static size_t publish_room(const struct mqtt_publish *p)
{
	const struct mqtt_props *s = &p->props;

	return 256 + p->topic.n + s->raw.n + s->content_type.n + s->response_topic.n + s->correlation.n;
}

int mqtt_send_publish(struct mqtt_link *l, struct io *io, const struct mqtt_publish *p, struct blob *body)
{
	struct io *server = mqtt_server(l, io);
	uint8_t small[1024], *head = small;
	size_t room = publish_room(p);
	struct mqtt_writer w;
	int err;

	if (!server)
		return 0;
	if (room > sizeof(small))
		head = mem_alloc(room);
	if (!head)
		return -ENOMEM;
	init_writer(l, &w, head, room);
	err = mqtt_put_publish(&w, p);
	if (err == 0) {
		out_mem(server, head, w.n);
		if (body && p->payload.n >= SHARE_FROM)
			out_blob(server, body);
		else
			out_mem(server, p->payload.p, p->payload.n);
		sent(l, io);
	}
	if (head != small)
		mem_free(head);
	if (err == 0 && l->setup->debug)
		mqtt_debug(l, io, "sending PUBLISH (d%d, q%d, r%d, m%u, '%.*s', ... (%zu bytes))", p->dup, p->qos,
			   p->retain, p->id, (int)p->topic.n, (const char *)p->topic.p, p->payload.n);
	return err;
}

static size_t connect_room(const struct mqtt_connect *c)
{
	const struct mqtt_props *a = &c->props, *b = &c->will_props;

	return HEAD_MAX + c->client_id.n + c->user.n + c->password.n + c->will_topic.n + c->will_payload.n + a->raw.n +
	       a->auth_method.n + a->auth_data.n + b->raw.n + b->content_type.n + b->response_topic.n +
	       b->correlation.n;
}

static enum verdict ask(struct mqtt_link *l, struct io *server, struct io *io)
{
	const struct mqtt_connect *c = &l->setup->connect;
	struct mqtt_connect own = *c;
	size_t room = connect_room(c);
	uint8_t *p = mem_alloc(room);
	struct mqtt_writer w;

	if (!p)
		return V_ABORT;
	if (own.client_id.n == 0 && own.version == MQTT_31)
		own.client_id = span_str(l->name); /* which needs one [MQTT-3.1.3 of 3.1] */
	mqtt_writer_init(&w, own.version, p, room);
	if (mqtt_put_connect(&w, &own) == 0) {
		mqtt_debug(l, io, "sending CONNECT");
		out_mem(server, p, w.n);
	}
	mem_free(p);
	l->state = LINK_ASKS;
	l->sent = io->now;
	mqtt_props_init(&l->agreed);
	io_timer(io, MQTT_AGAIN, io->now + ANSWER_TIME);
	if (l->ends->opened)
		l->ends->opened(l, io);
	return V_GO;
}

/* ---- dialling, and losing ---- */

static enum verdict dial(struct mqtt_link *l, struct io *io)
{
	struct child c;

	if (dial_child(&l->outcome->dial, &c) < 0)
		return V_ABORT;
	l->state = LINK_DIALS;
	io_child(io, MQTT_SERVER, &c);
	return V_GO;
}

static enum verdict cannot_connect(struct mqtt_link *l, int err, const char *why, struct io *io)
{
	const struct dial *d = &l->outcome->dial;

	mqtt_say(l, "Error: cannot connect to %s: %s", d->address, dial_meaning(d, err, why));
	if (err == TLS_OTHER_NAME)
		mqtt_say(l, "Say with --tls-name NAME which of them it is to have.");
	else if (err == TLS_NOT_TRUSTED)
		mqtt_say(l, "Trust it with --cafile FILE, or take whoever answers with --insecure.");
	else if (l->state == LINK_ASKS && !why && !addr_is_secure(d->setup->to))
		mqtt_say(
			l,
			"It ended the connection before it answered. If it speaks TLS there, write tls:HOST:PORT, or --cafile FILE.");
	set_status(l, MQTT_EXIT_FAILED);
	return finish(io);
}

static enum verdict try_again(struct mqtt_link *l, struct io *io)
{
	unsigned n = l->tries < TRIES_MAX ? l->tries : TRIES_MAX;

	l->tries++;
	l->state = LINK_IDLE;
	io_timer(io, MQTT_ALIVE, 0);
	io_timer(io, MQTT_AGAIN, io->now + (SEC << n));
	return V_GO;
}

/* The channel is gone, or will be after io_end(). */
static enum verdict lost(struct mqtt_link *l, int err, const char *why, struct io *io)
{
	if (l->state == LINK_ENDS) {
		if (err < 0 && err != -ECANCELED) {
			mqtt_say(l, "Error: The connection was lost.");
			set_status(l, MQTT_EXIT_LOST);
		}
		return finish(io);
	}
	if (!l->was_up)
		return cannot_connect(l, err < 0 ? err : -ECONNRESET, why, io);
	if (l->setup->once) {
		mqtt_say(l, "Error: The connection was lost.");
		set_status(l, MQTT_EXIT_LOST);
		return finish(io);
	}
	if (l->tries == 0)
		mqtt_say(l, "Warning: The connection was lost, trying again.");
	return try_again(l, io);
}

/* Our decision: what comes of it is told by EV_GONE, which only tries again. */
static enum verdict hang_up(struct mqtt_link *l, struct io *io)
{
	if (io_chan(io, MQTT_SERVER))
		io_end(io, MQTT_SERVER);
	else
		return lost(l, -ETIMEDOUT, NULL, io);
	return V_GO;
}

/* ---- keep alive: 3.1.2.10 ---- */

static void arm_alive(struct mqtt_link *l, struct io *io)
{
	if (l->alive)
		io_timer(io, MQTT_ALIVE, l->sent + l->alive > io->now ? l->sent + l->alive : io->now + l->alive);
}

static enum verdict alive(struct mqtt_link *l, struct io *io)
{
	struct io *server = mqtt_server(l, io);
	struct mqtt_writer w;
	uint8_t p[4];

	if (!server)
		return V_GO;
	if (l->sent + l->alive > io->now) {
		arm_alive(l, io);
		return V_GO;
	}
	if (l->ping_waits && !l->full)
		return hang_up(l, io);
	init_writer(l, &w, p, sizeof(p));
	(void)mqtt_put_ping(&w, MQTT_PINGREQ);
	mqtt_debug(l, io, "sending PINGREQ");
	out_mem(server, p, w.n);
	l->ping_waits = true;
	sent(l, io);
	arm_alive(l, io);
	return V_GO;
}

/* ---- packets ---- */

static enum verdict broken(struct mqtt_link *l, const char *why, struct io *io)
{
	if (strcmp(why, "peer-speaks-http") == 0)
		why = "it speaks HTTP there; a broker behind WebSocket is ws:HOST:PORT";
	else if (strcmp(why, "peer-speaks-tls") == 0)
		why = "it speaks TLS there, which is tls:HOST:PORT";
	mqtt_say(l, "Error: A network protocol error occurred when communicating with the broker: %s.", why);
	set_status(l, MQTT_EXIT_PROTOCOL);
	return finish(io);
}

/* As mosquitto says it, for 3.x. */
static const char *refusal(unsigned code)
{
	static const char *const texts[] = {
		"Connection Accepted.",
		"Connection Refused: unacceptable protocol version.",
		"Connection Refused: identifier rejected.",
		"Connection Refused: broker unavailable.",
		"Connection Refused: bad user name or password.",
		"Connection Refused: not authorised.",
	};

	return code < sizeof(texts) / sizeof(texts[0]) ? texts[code] : "Connection Refused: unknown reason.";
}

static enum verdict refused(struct mqtt_link *l, const struct mqtt_connack *c, struct io *io)
{
	bool v5 = l->setup->connect.version == MQTT_5;

	if (!v5)
		mqtt_say(l, "Connection error: %s", refusal(c->code));
	else if (c->code == MQTT_BAD_VERSION)
		mqtt_say(l, "Connection error: %s. Try connecting to an MQTT v5 broker, or use MQTT v3.x mode.",
			 mqtt_reason_name(c->code));
	else
		mqtt_say(l, "Connection error: %s", mqtt_reason_name(c->code));
	if (c->props.reason.n)
		mqtt_say(l, "%.*s", (int)c->props.reason.n, (const char *)c->props.reason.p);
	if (c->props.server.n)
		mqtt_say(l, "The broker says where else: %.*s", (int)c->props.server.n,
			 (const char *)c->props.server.p);
	set_status(l, c->code);
	return finish(io);
}

static void agree(struct mqtt_link *l, const struct mqtt_connack *c)
{
	uint16_t seconds = l->setup->connect.keep_alive;

	l->agreed = c->props;
	l->agreed.raw = (struct span){};
	if (c->props.has & MQTT_HAS(MQTT_P_KEEP_ALIVE))
		seconds = c->props.keep_alive;
	l->alive = seconds * SEC;
	if (c->props.has & MQTT_HAS(MQTT_P_CLIENT_ID))
		set_name(l, c->props.client_id);
}

static enum verdict take_connack(struct mqtt_link *l, const struct mqtt_frame *f, struct io *io)
{
	struct mqtt_connack c;
	const char *why = NULL;

	if (l->state != LINK_ASKS)
		return broken(l, "connect-twice", io);
	if (mqtt_parse_connack(f, &c, &why) != 0)
		return broken(l, why, io);
	if (c.code == MQTT_OK)
		agree(l, &c);
	mqtt_debug(l, io, "received CONNACK (%u)", c.code);
	if (c.code != MQTT_OK)
		return refused(l, &c, io);
	l->state = LINK_UP;
	l->was_up = true;
	l->tries = 0;
	l->ping_waits = false;
	io_timer(io, MQTT_AGAIN, 0);
	arm_alive(l, io);
	return l->ends->up(l, c.session_present, io);
}

/* Reasons that pass by themselves. */
static bool worth_a_try(unsigned code)
{
	static const uint8_t passing[] = { MQTT_OK,          MQTT_UNSPECIFIED,    MQTT_SERVER_UNAVAILABLE,
					   MQTT_SERVER_BUSY, MQTT_SHUTTING_DOWN,  MQTT_KEEP_ALIVE_TIMEOUT,
					   MQTT_RATE,        MQTT_ADMINISTRATIVE, MQTT_CONNECTION_RATE,
					   MQTT_CONNECT_TIME };

	return memchr(passing, (int)code, sizeof(passing));
}

static enum verdict take_disconnect(struct mqtt_link *l, const struct mqtt_frame *f, struct io *io)
{
	struct mqtt_end e;
	const char *why = NULL;

	if (mqtt_parse_end(f, &e, &why) != 0)
		return broken(l, why, io);
	mqtt_debug(l, io, "received DISCONNECT (%u)", e.code);
	if (l->state != LINK_ENDS && worth_a_try(e.code) && !l->setup->once)
		return hang_up(l, io);
	mqtt_say(l, "Error: The broker ended the connection: %s", mqtt_reason_name(e.code));
	if (e.props.reason.n)
		mqtt_say(l, "%.*s", (int)e.props.reason.n, (const char *)e.props.reason.p);
	set_status(l, e.code ? e.code : MQTT_EXIT_LOST);
	return finish(io);
}

static enum verdict take_packet(struct mqtt_link *l, const struct mqtt_frame *f, struct io *io)
{
	switch (f->type) {
	case MQTT_CONNACK:
		return take_connack(l, f, io);
	case MQTT_PINGRESP:
		mqtt_debug(l, io, "received PINGRESP");
		l->ping_waits = false;
		return V_GO;
	case MQTT_DISCONNECT:
		return take_disconnect(l, f, io);
	case MQTT_AUTH:
		return broken(l, "authentication in steps is not spoken here", io);
	default:
		if (l->state == LINK_ASKS)
			return broken(l, "packet-unexpected", io);
		return l->state == LINK_UP ? l->ends->packet(l, f, io) : V_GO;
	}
}

static void await(struct io *server, size_t n)
{
	in_cap(server, n);
	in_need(server, n);
}

static enum verdict take_packets(struct mqtt_link *l, struct io *server, struct io *io)
{
	struct mqtt_form form = { l->setup->connect.version, MQTT_FROM_SERVER };

	while (!l->full) {
		struct mqtt_frame f;
		const char *why = NULL;
		enum verdict v;
		int r = mqtt_frame(form, in_peek(server), MQTT_PACKET_MAX, &f, &why);

		if (r == 0) {
			await(server, f.total);
			return V_GO;
		}
		if (r < 0)
			return broken(l, why, io);
		v = take_packet(l, &f, io);
		if (v != V_GO)
			return v;
		in_take(server, f.total);
	}
	return V_GO;
}

void mqtt_pace(struct mqtt_link *l, struct io *io)
{
	struct io *server = io_chan(io, MQTT_SERVER), *terminal = io_chan(io, MQTT_TERMINAL);

	if (!server || !terminal || out_room(terminal) > 0 || l->full)
		return;
	l->full = true;
	io_hold(server, true);
}

/* ---- the terminal ---- */

static enum verdict terminal_step(struct mqtt_link *l, const struct ev *ev, struct io *io)
{
	struct io *terminal = io_chan(io, MQTT_TERMINAL), *server = io_chan(io, MQTT_SERVER);

	if (!terminal)
		return V_GO;
	switch (ev->kind) {
	case EV_OPEN:
		io_hold(terminal, true); /* until the owner wants to read */
		return V_GO;
	case EV_DATA:
	case EV_EOF:
		if (ev->kind == EV_EOF && ev->err < 0 && l->setup->stdio)
			return mqtt_link_end(l, MQTT_OK, io);
		return l->ends->input(l, io);
	case EV_ROOM:
		if (!l->full)
			return V_GO;
		l->full = false;
		if (server)
			io_hold(server, false);
		return server ? take_packets(l, server, io) : V_GO;
	default:
		return V_GO;
	}
}

/* ---- the server ---- */

static enum verdict server_step(struct mqtt_link *l, const struct ev *ev, struct io *io)
{
	struct io *server = io_chan(io, MQTT_SERVER);

	if (!server)
		return V_GO;
	switch (ev->kind) {
	case EV_OPEN:
		if (!l->outcome->dial.ws)
			return ask(l, server, io);
		io_timer(io, MQTT_AGAIN, io->now + ANSWER_TIME);
		io_layer(server, &ws_client_layer, ws_ctx_ref(l->outcome->dial.ws), LEFT_FEED);
		return V_GO;
	case EV_LAYER:
		return l->state == LINK_DIALS ? ask(l, server, io) : V_GO;
	case EV_DATA:
		return take_packets(l, server, io);
	case EV_ROOM:
		if (l->state == LINK_ENDS)
			arm_end(io);
		return l->state == LINK_UP ? l->ends->room(l, io) : V_GO;
	case EV_EOF:
		if (l->state == LINK_ENDS || !l->was_up)
			return lost(l, ev->err, ev->why, io);
		io_end(io, MQTT_SERVER); /* and EV_GONE tries again */
		return V_GO;
	default:
		return V_GO;
	}
}

enum verdict mqtt_link_step(struct mqtt_link *l, const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_GONE && ev->tag == MQTT_SERVER) {
		l->full = false;
		return l->state == LINK_IDLE ? V_GO : lost(l, ev->err, ev->why, io);
	}
	if (ev->kind == EV_GONE) /* whoever reads our output went away */
		return l->setup->stdio ? mqtt_link_end(l, MQTT_OK, io) : V_GO;
	if (ev->chan == MQTT_TERMINAL)
		return terminal_step(l, ev, io);
	if (ev->chan == MQTT_SERVER)
		return server_step(l, ev, io);
	if (ev->kind == EV_STOP)
		return mqtt_link_end(l, l->setup->connect.version == MQTT_5 ? MQTT_WITH_WILL : MQTT_OK, io);
	if (ev->kind != EV_TIMER)
		return V_GO;
	if (ev->tag == MQTT_ALIVE)
		return alive(l, io);
	if (l->state == LINK_IDLE)
		return dial(l, io);
	if (l->state == LINK_ENDS) {
		mqtt_say(l, "Error: The broker does not read any more.");
		set_status(l, MQTT_EXIT_LOST);
		return finish(io);
	}
	return hang_up(l, io);
}

/* ---- beginning ---- */

/* 3.1 wants an identifier of 1 to 23 characters. */
static void make_name(struct mqtt_link *l)
{
	static const char letters[] = "0123456789abcdefghijklmnopqrstuv";
	uint8_t random[12] = {};
	struct buf b;

	set_name(l, l->setup->connect.client_id);
	if (*l->name || l->setup->connect.version != MQTT_31)
		return;
	(void)!l->setup->random(random, sizeof(random));
	buf_init_fixed(&b, l->name, sizeof(l->name));
	buf_adds(&b, "guichet-");
	for (size_t i = 0; i < sizeof(random); i++)
		buf_addc(&b, letters[random[i] & 31]);
}

void mqtt_link_init(struct mqtt_link *l, const struct mqtt_ends *ends, struct io *io)
{
	struct mqtt_outcome *o = (struct mqtt_outcome *)(uintptr_t)io->svc->options;

	l->setup = o->setup;
	l->outcome = o;
	l->ends = ends;
	mqtt_props_init(&l->agreed);
	make_name(l);
	if (l->setup->stdio || l->setup->debug)
		io_child(io, MQTT_TERMINAL, &(struct child){ .kind = CHILD_STDIO });
	if (dial(l, io) != V_GO) {
		set_status(l, MQTT_EXIT_FAILED);
		io_timer(io, MQTT_AGAIN, io->now + SEC);
	}
}

int mqtt_link_run(const struct proto *p, const struct mqtt_setup *setup, const void *more)
{
	struct mqtt_outcome o = { .setup = setup, .more = more };
	struct mqtt_link l = { .setup = setup };
	BUF_AUTO struct buf why;
	int err;

	buf_init(&why, 4096);
	err = dial_init(&o.dial, &setup->dial, &why);
	if (err)
		mqtt_say(&l, "Error: %s", buf_str(&why));
	else
		err = client_run_until(p, &o, END_TIME);
	dial_done(&o.dial);
	if (err && !o.status) {
		if (!why.n)
			mqtt_say(&l, "Error: %s", err == -ECANCELED ? strerror(ENOMEM) : strerror(-err));
		o.status = MQTT_EXIT_FAILED;
	}
	return o.status;
}
