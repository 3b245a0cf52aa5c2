/*
 * mqtt.c - a message broker: MQTT 3.1, 3.1.1 and 5.0. One step for each session; packets by their type, keep-alive, the end.
 * How the rest is divided: mqtt_priv.h.
 */
#include <assert.h>
#include <errno.h>

#include "base/mem.h"
#include "base/random.h"
#include "proto/mqtt/bridge.h"
#include "proto/protos.h"

enum {
	BEFORE_CONNECT = 64 << 10, /* bytes of a CONNECT */
	NOTE = 500,
	END = 256,
};

#define LEAVE SEC /* for a CONNECT when the server ends */

static const struct proto_counter counters[] = {
	{ "received", "PUBLISH packets received" },
	{ "sent", "PUBLISH packets sent" },
	{ "dropped",
	  "messages that one client did not get: its queue was full, it takes no packet so large, memory was out; or "
	  "that nobody got: their topic or payload cannot be" },
	{ "retained_sent", "retained messages for new subscriptions" },
	{ "expired", "messages whose time was over before they could be sent" },
	{ "taken_over", "connections ended because their client came again" },
	{ "resumed", "clients that found their session" },
	{ "wills", "wills published" },
	{ "refused",
	  "messages that nobody got, and their publisher knows: no room in a queue, to retain them or on disk" },
	{ "paused", "times that a client had to wait (options message_rate and byte_rate)" },
	{ "redelivered",
	  "messages of a shared subscription that another member got, as the first one's session has ended" },
	{ "sessions_refused", "clients that came when as many sessions were kept as may be (option sessions)" },
	{ "bridge_connected", "times that a bridge was connected" },
	{ "bridge_failed", "times that a bridge was not connected, or not any more" },
	{ "denied", "messages and subscriptions that the rules do not allow" },
	{},
};

static const char *const when_full[] = { "drop", "refuse", NULL };

static const char *const durabilities[] = { "ack", "lazy", NULL };

#define O struct mqtt_options
static const struct option rows[] = {
	OPT_UINT(O, aliases, "16", 0, 1000,
		 "topic aliases that a client may use, and as many the other way if it takes them"),
	OPT_PARTS(O, bridge, &bridge_table, "connects to another broker and exchanges topics with it"),
	OPT_SIZE(O, byte_rate, "0", 0, (uint64_t)1 << 40,
		 "bytes a second that a client may send; who sends more has to wait; 0 = no limit"),
	OPT_SIZE(O, disk, "4G", KEEP_LIMIT_MIN, (uint64_t)1 << 40,
		 "bytes that the store of what is kept may have on disk"),
	OPT_ENUM(
		O, durability, "ack", durabilities,
		"what was promised to a client is on disk before it is acknowledged, or (lazy) a fifth of a second later"),
	OPT_UINT(O, inflight, "32", 1, 1000,
		 "messages of QoS 1 and 2 that are sent to a client before it has acknowledged the first"),
	OPT_UINT(O, keepalive_max, "0", 0, 65535,
		 "seconds of silence that a client of 5.0 may ask for; 0 = as many as it likes"),
	OPT_UINT(O, levels, "64", 1, 256, "levels that a topic may have"),
	OPT_UINT(O, message_rate, "0", 0, 1000000000,
		 "messages a second that a client may publish; who publishes more has to wait; 0 = no limit"),
	OPT_SIZE(O, packet, "1M", 1024, 256 << 20, "bytes of the largest packet"),
	OPT_UINT(O, queue, "1000", 1, 1000000,
		 "messages that wait for a client that is away or slow; further ones are dropped for it"),
	OPT_SIZE(O, queue_bytes, "8M", 1024, (uint64_t)1 << 40, "bytes of these"),
	OPT_ENUM(
		O, queue_full, "drop", when_full,
		"what becomes of a message for which there is no more room there: it is dropped, or refused to its publisher"),
	OPT_UINT(O, receive_max, "100", 1, 65535, "messages of QoS 2 that a client may have sent and not yet released"),
	OPT_STRING(
		O, response_information, NULL, 0, 256,
		"what a client of 5.0 that asks is told: where answers to it may go; %c is its identifier, %u its user"),
	OPT_BOOL(O, retain, "yes",
		 "keeps the last message of a topic for those who subscribe later, when its publisher asks for it"),
	OPT_UINT(O, retained, "1000000", 0, 100000000, "topics that have one"),
	OPT_SIZE(O, retained_bytes, "1G", 0, (uint64_t)1 << 40, "bytes of what is retained"),
	OPT_STRING(O, server_reference, NULL, 0, 200,
		   "where clients of 5.0 are sent when the server ends: HOST[:PORT], several with blanks between them"),
	OPT_NSEC(O, session_expiry_max, "7d", 0, 365 * 24 * 3600 * NSEC_PER_SEC,
		 "how long the state of a client is kept at most while it is away"),
	OPT_UINT(O, sessions, "1000000", 0, 100000000,
		 "clients whose state is kept while they are away; a further one that asks for it is refused"),
	OPT_UINT(O, subscriptions, "1000", 1, 1000000, "subscriptions of one client"),
	OPT_NSEC(O, sys_interval, "10s", 0, 3600 * NSEC_PER_SEC,
		 "how often $SYS/broker/... is brought up to date; 0 = there is none"),
};
#undef O

/* Of mosquitto.conf. */
static const struct option_foreign foreign[] = {
	{ "acl_file", "the section [rules]; `guichet import mosquitto-acl FILE` makes it" },
	{ "address", "a section [mqtt.bridge.NAME], see `guichet help mqtt bridge`" },
	{ "allow_anonymous", "a rule, as in: [rules] and deny = anonymous * topics:#" },
	{ "bind_address", "listen = tcp:ADDRESS:1883" },
	{ "cafile", "client_ca = FILE, see `guichet help tls`" },
	{ "certfile", "certificate = FILE" },
	{ "connection", "a section [mqtt.bridge.NAME], see `guichet help mqtt bridge`" },
	{ "keyfile", "key = FILE" },
	{ "listener", "listen = tcp:1883" },
	{ "log_dest", "log = FILE in [guichet]" },
	{ "max_connections", "max = NUMBER" },
	{ "max_inflight_messages", "inflight = NUMBER" },
	{ "max_keepalive", "keepalive_max = SECONDS" },
	{ "max_packet_size", "packet = SIZE" },
	{ "max_queued_bytes", "queue_bytes = SIZE" },
	{ "max_queued_messages", "queue = NUMBER" },
	{ "message_size_limit", "packet = SIZE" },
	{ "password_file", "the file of people; `guichet import mosquitto-passwd FILE` makes it" },
	{ "persistence", "always so; where is data = FOLDER in [guichet]" },
	{ "persistence_location", "data = FOLDER in [guichet]" },
	{ "persistent_client_expiration", "session_expiry_max = TIME" },
	{ "port", "a part of listen, as in: listen = tcp:1883" },
	{ "retain_available", "retain = yes|no" },
	{ NULL, NULL },
};

static const struct option_table table = {
	.name = "mqtt",
	.rows = rows,
	.n = sizeof(rows) / sizeof(rows[0]),
	.values_size = sizeof(struct mqtt_options),
	.check = mqtt_options_check,
	.foreign = foreign,
};

/* ---- states ---- */

void mqtt_enter(struct mqtt *self, enum mqtt_state to)
{
	enum { NEW = 1 << MQTT_NEW, ASKED = 1 << MQTT_ASKED, OPEN = 1 << MQTT_OPEN };
	enum { PROVING = 1 << MQTT_PROVING, WAITING = 1 << MQTT_WAITING, OVER = 1 << MQTT_OVER };
	static const uint8_t ways[] = {
		[MQTT_NEW] = ASKED | PROVING | WAITING | OPEN | OVER,
		[MQTT_ASKED] = NEW | OVER,
		[MQTT_PROVING] = NEW | OVER, /* its CONNECT is looked at again */
		[MQTT_WAITING] = NEW | OVER, /* likewise */
		[MQTT_OPEN] = OVER,
		[MQTT_OVER] = OVER,
	};

	assert(ways[self->state] & 1 << to);
	self->state = (uint8_t)to;
}

/* ---- words ---- */

static void count_out(struct io *io, const struct mqtt_writer *w)
{
	mqtt_count(io, MQTT_T_PACKETS_OUT, 1);
	mqtt_count(io, MQTT_T_BYTES_OUT, w->n);
}

void mqtt_out_now(const struct mqtt *self, struct io *io, const struct mqtt_writer *w)
{
	out_mem(io, w->p, w->n);
	if (io->traced)
		mqtt_note_out(self, io, mqtt_written(w));
	count_out(io, w);
}

void mqtt_out(struct mqtt *self, struct io *io, const struct mqtt_writer *w)
{
	if (mqtt_kept_hold(self, io, mqtt_written(w)))
		count_out(io, w);
	else
		mqtt_out_now(self, io, w);
}

void mqtt_answer(struct mqtt *self, struct io *io, enum mqtt_type type, uint16_t id, unsigned code)
{
	uint8_t array[16];
	struct mqtt_writer w;

	mqtt_writer_init(&w, self->version, array, sizeof(array));
	(void)mqtt_put_id(&w, type, id, self->version == MQTT_5 ? (uint8_t)code : MQTT_OK);
	mqtt_out(self, io, &w);
}

enum verdict mqtt_bye(struct mqtt *self, struct io *io, unsigned code, const char *why)
{
	struct mqtt_end end = { .type = MQTT_DISCONNECT, .code = (uint8_t)code };
	uint8_t array[END];
	struct mqtt_writer w;

	if (self->role == MQTT_OUTWARD)
		end.code = (uint8_t)mqtt_bridge_bye(self, code, why);
	io_reason(io, why);
	if (self->version == MQTT_5 && self->state == MQTT_OPEN && !self->muted) {
		mqtt_props_init(&end.props);
		mqtt_tell_server(io, code, &end.props);
		mqtt_writer_init(&w, self->version, array, sizeof(array));
		w.max_packet = self->max_packet;
		if (mqtt_put_end(&w, &end) == 0)
			mqtt_out_now(self, io, &w);
	}
	mqtt_enter(self, MQTT_OVER);
	return V_CLOSE;
}

/* ---- packets ---- */

enum verdict mqtt_ack(struct mqtt *self, struct io *io, const struct mqtt_frame *f)
{
	const char *why = NULL;
	struct mqtt_ack a;
	int r = mqtt_parse_ack(f, &a, &why);

	if (r)
		return mqtt_bye(self, io, (unsigned)r, why);
	return a.type == MQTT_PUBREL ? mqtt_pubrel(self, io, &a) : mqtt_acked(self, io, &a);
}

static enum verdict ping(struct mqtt *self, struct io *io, const struct mqtt_frame *f)
{
	const char *why = NULL;
	int r = mqtt_parse_ping(f, &why);
	uint8_t array[8];
	struct mqtt_writer w;

	if (r)
		return mqtt_bye(self, io, (unsigned)r, why);
	mqtt_writer_init(&w, self->version, array, sizeof(array));
	(void)mqtt_put_ping(&w, MQTT_PINGRESP);
	mqtt_out(self, io, &w);
	mqtt_pump(self, io); /* the letter that something waits may be lost when memory is out */
	return V_GO;
}

static enum verdict disconnect(struct mqtt *self, struct io *io, const struct mqtt_frame *f)
{
	uint32_t most = (uint32_t)(mqtt_options(io)->session_expiry_max / SEC), expiry;
	const char *why = NULL;
	struct mqtt_end end;
	int r = mqtt_parse_end(f, &end, &why);

	if (r)
		return mqtt_bye(self, io, (unsigned)r, why);
	if (end.props.has & MQTT_HAS(MQTT_P_SESSION_EXPIRY)) {
		expiry = end.props.session_expiry;
		if (expiry &&
		    !self->session_expiry) /* [MQTT-3.14.2-2] is the other direction; this one is 3.14.2.2.2 */
			return mqtt_bye(self, io, MQTT_PROTOCOL_ERROR, "session-expiry");
		self->session_expiry = expiry < most ? expiry : most;
	}
	self->goodbye = end.code == MQTT_OK; /* [MQTT-3.14.4-3] */
	return V_DONE;                       /* [MQTT-3.14.4-1]: nothing more comes */
}

static enum verdict handle(struct mqtt *self, struct io *io, const struct mqtt_frame *f)
{
	switch (f->type) {
	case MQTT_PUBLISH:
		return mqtt_publish(self, io, f);
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		return mqtt_ack(self, io, f);
	case MQTT_SUBSCRIBE:
	case MQTT_UNSUBSCRIBE:
		return mqtt_subscribe(self, io, f);
	case MQTT_PINGREQ:
		return ping(self, io, f);
	case MQTT_DISCONNECT:
		return disconnect(self, io, f);
	case MQTT_AUTH:
		return mqtt_auth(self, io, f);
	default:
		return mqtt_bye(self, io, MQTT_PROTOCOL_ERROR, "packet-unexpected");
	}
}

void mqtt_note(struct io *io, const struct mqtt_frame *f)
{
	BUF_AUTO struct buf b = BUF_INIT(NOTE);

	mqtt_describe(f, &b);
	io_note(io, NOTE_IN, "%s", buf_str(&b));
}

int mqtt_next(struct io *io, struct mqtt_form form, size_t max, struct mqtt_frame *ret, const char **ret_why)
{
	struct span in = in_peek(io);
	int r = mqtt_frame(form, in, max, ret, ret_why);

	if (r == 0)
		in_need(io, ret->total);
	if (r < 0 && io->traced)
		io_note(io, NOTE_IN, "%s bad: %s 0x%02x", mqtt_type_name(in.p[0] >> 4), *ret_why, -r);
	return r;
}

/* As the other side will read it. */
static struct mqtt_form form_out(const struct mqtt *self, struct span packet)
{
	const enum mqtt_from from = self->role == MQTT_OUTWARD ? MQTT_FROM_CLIENT : MQTT_FROM_SERVER;
	const bool first = packet.n && packet.p[0] >> 4 == MQTT_CONNECT;

	return (struct mqtt_form){ first ? MQTT_UNKNOWN : self->version, (uint8_t)from };
}

void mqtt_note_packets(struct io *io, struct mqtt_form form, struct span packets)
{
	BUF_AUTO struct buf b = BUF_INIT(NOTE);
	const char *why = NULL;
	struct mqtt_frame f;

	while (mqtt_frame(form, packets, MQTT_PACKET_MAX, &f, &why) == 1) {
		buf_reset(&b);
		mqtt_describe(&f, &b);
		io_note(io, NOTE_OUT, "%s", buf_str(&b));
		packets.p += f.total;
		packets.n -= f.total;
	}
}

void mqtt_note_out(const struct mqtt *self, struct io *io, struct span packets)
{
	mqtt_note_packets(io, form_out(self, packets), packets);
}

void mqtt_note_head(struct io *io, struct mqtt_form form, struct span head, size_t payload)
{
	BUF_AUTO struct buf b = BUF_INIT(NOTE);

	mqtt_describe_head(form, head, payload, &b);
	io_note(io, NOTE_OUT, "%s", buf_str(&b));
}

void mqtt_note_publish(const struct mqtt *self, struct io *io, struct span head, size_t payload)
{
	mqtt_note_head(io, form_out(self, head), head, payload);
}

static void stay_alive(const struct mqtt *self, struct io *io)
{
	if (self->keep_alive && self->state == MQTT_OPEN)
		io_timer(io, MQTT_TIMER_ALIVE, io->now + self->keep_alive * (SEC + SEC / 2)); /* [MQTT-3.1.2-22] */
}

static size_t packet_max(const struct mqtt *self, const struct io *io)
{
	size_t most = mqtt_options(io)->packet;

	return self->state == MQTT_OPEN || most < BEFORE_CONNECT ? most : BEFORE_CONNECT;
}

static enum verdict by_state(struct mqtt *self, struct io *io, const struct mqtt_frame *f)
{
	switch (self->state) {
	case MQTT_OPEN:
		return handle(self, io, f);
	case MQTT_ASKED:
		return mqtt_auth(self, io, f);
	default:
		return mqtt_connect(self, io, f);
	}
}

static bool waits(const struct mqtt *self)
{
	return self->state == MQTT_WAITING || self->state == MQTT_PROVING || self->paused;
}

static enum verdict take_packets(struct mqtt *self, struct io *io)
{
	enum verdict v = V_GO;
	size_t packets = 0, bytes = 0;

	while (v == V_GO && !waits(self)) {
		const struct mqtt_form form = { self->version, MQTT_FROM_CLIENT };
		const char *why = NULL;
		struct mqtt_frame f;
		int r = mqtt_next(io, form, packet_max(self, io), &f, &why);

		if (r < 0)
			return mqtt_bye(self, io, (unsigned)-r, why);
		if (r == 0)
			break;
		if (io->traced && !self->seen)
			mqtt_note(io, &f);
		v = by_state(self, io, &f);
		self->seen = waits(self) && !self->auth;
		if (self->seen)
			break; /* with this CONNECT again, when its name is free, or its password was right */
		in_take(io, f.total);
		mqtt_kept_cut(io);
		mqtt_rate(self, io, &f);
		packets++;
		bytes += f.total;
	}
	mqtt_count(io, MQTT_T_PACKETS_IN, packets);
	mqtt_count(io, MQTT_T_BYTES_IN, bytes);
	if (packets) /* a whole one: who sends a byte now and then is silent */
		stay_alive(self, io);
	return v;
}

/* ---- letters ---- */

/* Nobody has the name now, as far as we know: the CONNECT that waits is looked at again. */
static enum verdict try_again(struct mqtt *self, struct io *io)
{
	if (self->state != MQTT_WAITING)
		return V_GO;
	io_hold(io, false);
	if (self->auth) {
		enum verdict v = mqtt_auth_resume(self, io);

		return v == V_GO ? take_packets(self, io) : v;
	}
	mqtt_enter(self, MQTT_NEW);
	self->version = MQTT_UNKNOWN;
	return take_packets(self, io);
}

/* Its password was looked at. */
static enum verdict proven(struct mqtt *self, const struct ev *ev, struct io *io)
{
	int r = mqtt_login_end(self, io, ev);

	if (self->state != MQTT_PROVING)
		return V_GO;
	io_hold(io, false);
	if (r)
		return mqtt_refuse(self, io, (unsigned)r, r == MQTT_BAD_USER ? "login" : "out-of-memory");
	mqtt_enter(self, MQTT_NEW);
	self->version = MQTT_UNKNOWN;
	return take_packets(self, io);
}

static enum verdict let_go(struct mqtt *self, struct io *io, sess_id to)
{
	enum verdict v = V_GO;

	if (self->state == MQTT_OPEN) {
		io_count(io, MQTT_TAKEN, 1);
		v = mqtt_bye(self, io, MQTT_TAKEN_OVER, "taken-over");
		mqtt_leave(self, io);
	}
	io_post(io, to, MQTT_LET_GO, NULL, 0);
	return v;
}

static enum verdict read_letters(struct mqtt *self, const struct ev *ev, struct io *io)
{
	enum verdict v = V_GO;

	for (size_t i = 0; i < ev->mail.n; i++) {
		const struct letter *l = &ev->mail.v[i];
		enum verdict next = V_GO;

		if (l->tag == MQTT_WAKE && self->state == MQTT_OPEN) {
			mqtt_kept_flush(self, io);
			mqtt_pump(self, io);
		}
		if (l->tag == MQTT_TAKE_OVER)
			next = let_go(self, io, l->from);
		else if (l->tag == MQTT_LET_GO)
			next = try_again(self, io);
		v = next != V_GO ? next : v;
	}
	return v;
}

/* ---- the protocol ---- */

static enum verdict begin(struct io *io)
{
	const struct mqtt_shard *shard = io->shard;

	io_secret(io, true); /* until CONNECT, which may have a password, is over */
	if (shard->loops)
		return V_GO;
	io_reason(io, "out-of-memory");
	return V_ABORT;
}

static enum verdict time_over(struct mqtt *self, const struct ev *ev, struct io *io)
{
	if (self->leaving)
		return mqtt_bye(self, io, MQTT_SHUTTING_DOWN, "stopping");
	if (ev->tag == MQTT_TIMER_RATE) {
		mqtt_rate_over(self, io);
		return take_packets(self, io);
	}
	if (self->paused) { /* what is waited for may lie there */
		if (ev->tag == MQTT_TIMER_AUTH)
			mqtt_auth_timer(io);
		else
			stay_alive(self, io);
		return V_GO;
	}
	if (ev->tag == MQTT_TIMER_AUTH)
		return mqtt_bye(self, io, MQTT_NOT_AUTHORIZED, "auth");
	return mqtt_bye(self, io, MQTT_KEEP_ALIVE_TIMEOUT, "keep-alive");
}

/* Who is just about to say CONNECT may do that yet, where there is an answer. */
static enum verdict stop(struct mqtt *self, struct io *io)
{
	if (self->state == MQTT_OPEN) {
		self->goodbye = true; /* it is not the client's fault: its will is dropped, here and on disk */
		return mqtt_bye(self, io, mqtt_stopping(io, MQTT_SHUTTING_DOWN), "stopping");
	}
	if (self->state == MQTT_OVER)
		return V_CLOSE;
	if (self->state != MQTT_NEW)
		return mqtt_refuse(self, io, mqtt_stopping(io, MQTT_SERVER_UNAVAILABLE), "stopping");
	if (!mqtt_options(io)->server_reference)
		return mqtt_bye(self, io, MQTT_SHUTTING_DOWN, "stopping");
	self->leaving = true;
	io_timer(io, MQTT_TIMER_ALIVE, io->now + LEAVE);
	return V_GO;
}

static enum verdict one_event(struct mqtt *self, const struct ev *ev, struct io *io)
{
	int r = self->state == MQTT_OPEN ? mqtt_look_again(self, io) : 0; /* also when EV_ACCESS is all that has come */

	if (r < 0)
		return r == -EACCES ? mqtt_bye(self, io, MQTT_NOT_AUTHORIZED, "login")
				    : mqtt_bye(self, io, MQTT_SERVER_BUSY, "out-of-memory");
	switch (ev->kind) {
	case EV_OPEN:
		return begin(io);
	case EV_DATA:
		return take_packets(self, io);
	case EV_MSG:
		return read_letters(self, ev, io);
	case EV_GONE: /* who had the name has ended, or will have at the end of this turn: not before the next one */
		io_post(io, io->self, MQTT_LET_GO, NULL, 0);
		return V_GO;
	case EV_DONE:
		return proven(self, ev, io);
	case EV_ROOM:
		mqtt_pump(self, io);
		return V_GO;
	case EV_TIMER:
		return time_over(self, ev, io);
	case EV_STOP:
		return stop(self, io);
	case EV_EOF:
		return V_CLOSE;
	default:
		return V_GO;
	}
}

static enum verdict step(void *selfp, const struct ev *ev, struct io *io)
{
	struct mqtt *self = selfp;
	enum verdict v;

	self->looks = 0;
	v = one_event(self, ev, io);
	if (self->torn && v == V_GO)
		v = mqtt_bye(self, io, MQTT_QUOTA, "out-of-memory");
	if (v != V_GO)
		mqtt_leave(self, io);
	mqtt_send_off(self, io);
	return v;
}

void mqtt_done(struct mqtt *self, struct io *io)
{
	mqtt_leave(self, io);
	mqtt_send_off(self, io);
	mqtt_kept_forget(self);
	mqtt_aliases_free(self->in);
	mqtt_aliases_free(self->out);
	topics_access_done(&self->access);
	mqtt_auth_done(self);
	mqtt_rate_done(self);
	if (self->had)
		subscriber_unref(self->past);
	else
		mem_free(self->claimed);
}

static void fini(void *self, struct io *io)
{
	mqtt_done(self, io);
}

static void svc_close(struct svc *svc)
{
	struct mqtt_service *service = svc->state;

	mqtt_kept_close(service);
	topics_free(&service->topics);
	mem_free(service->heard);
	mem_free(service->tallies);
	mem_free(service);
}

/*
 * The largest packet must pass behind what is queued already, or who subscribes to it would lose its connection again
 * and again.
 */
static size_t output_least(const void *options)
{
	const struct mqtt_options *o = options;

	return o->packet + MQTT_BEFORE_IT;
}

static int svc_open(struct svc *svc, struct buf *ret_why)
{
	struct mqtt_service *service = mem_zalloc(sizeof(*service));
	int r;

	if (!service)
		return -ENOMEM;
	svc->state = service;
	r = random_fill(&service->key, sizeof(service->key));
	if (r == 0)
		r = topics_new(&service->key, &service->topics);
	if (r == 0) {
		service->heard = mem_zalloc(port_loops(svc->port) * sizeof(*service->heard));
		service->tallies = mem_zalloc(port_loops(svc->port) * sizeof(*service->tallies));
		r = service->heard && service->tallies ? 0 : -ENOMEM;
	}
	if (r == 0)
		r = mqtt_kept_open(svc, ret_why);
	if (r < 0) {
		if (!ret_why->n)
			buf_addf(ret_why, "cannot begin: %s", strerror(-r));
		svc_close(svc);
	}
	return r;
}

const struct proto mqtt_proto = {
	.abi = PROTO_ABI,
	.name = "mqtt",
	.summary = "messages by topics: a broker for MQTT 3.1, 3.1.1 and 5.0",
	.doc = "OASIS MQTT 5.0",
	.needs =
		"what one client publishes goes to those who subscribe, and only event loops pass on from one client to another",
	.flags = P_STREAM | P_SHARED | P_FIRST | P_ALIVE | P_BINARY | P_OFF | P_KEEPS | P_DIALS | P_ACCESS,
	.subprotocols = (const char *const[]){ "mqtt", "mqttv3.1", NULL },
	.port = 1883,
	.store = "topics",
	.self_size = sizeof(struct mqtt),
	.shard_size = sizeof(struct mqtt_shard),
	.options = &table,
	.output_least = output_least,
	.counters = counters,
	.step = step,
	.shard = mqtt_shard,
	.fini = fini,
	.client = mqtt_client,
	.shard_fini = mqtt_shard_done,
	.svc_open = svc_open,
	.svc_close = svc_close,
};
