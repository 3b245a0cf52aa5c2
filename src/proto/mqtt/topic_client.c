/* topic_client.c - the shard's side of a client of a broker: what waits, who is to be reached and when, what the log is told. See topic_client.h. */
#include "proto/mqtt/topic_client.h"

#include <errno.h>

#include "base/log.h"
#include "base/mem.h"
#include "proto/mqtt/write.h"

enum { SMALL = 512, FIRST_CODE = MQTT_UNSPECIFIED, CODES = 64 };

/* ---- the log ---- */

static bool log_line(struct log_line *line, enum log_level level, const char *event, const struct topic_client *c,
		     const struct io *io)
{
	if (!log_begin(line, level, event))
		return false;
	log_str(line, "service", io->svc->name);
	log_str(line, "to", c->address);
	return true;
}

/* Once for each reason, however often it is tried. */
static void tell_down(struct topic_client *c, const struct io *io, const char *why)
{
	struct log_line line;

	if (!far_is_news(&c->far, why) || !log_line(&line, LOG_WARN, "topics-down", c, io))
		return;
	log_str(&line, "reason", why);
	log_end(&line);
}

/* Once for each code of a connection: the rest is counted by the door. */
void topic_client_refused(struct topic_client *c, const struct io *io, enum topic_verb verb, struct span topic,
			  unsigned code)
{
	static const char *const names[] = { [TOPIC_READ] = "read", [TOPIC_WRITE] = "write" }; /* as rules say */
	const uint64_t bit = UINT64_C(1) << ((code - FIRST_CODE) % CODES);
	struct log_line line;

	if (c->refused[verb] & bit)
		return;
	c->refused[verb] |= bit;
	if (!log_line(&line, LOG_WARN, "topics-refused", c, io))
		return;
	log_str(&line, "verb", names[verb]);
	log_bytes(&line, "topic", topic.p, topic.n);
	log_str(&line, "reason", mqtt_reason_name(code));
	log_end(&line);
}

/* ---- what is said ---- */

/* A letter that is lost, since memory is out, costs time: what is said next wakes it, or a ping. */
static void wake(struct topic_client *c, struct io *io)
{
	if (!c->session || c->woken)
		return;
	c->woken = io_post(io, c->session, 0, NULL, 0);
}

int topic_client_say(struct topic_client *c, struct io *io, const struct topic_words *w)
{
	size_t n = w->topic.n + w->payload.n;
	struct topic_say *s;

	if (!c->session)
		return -ENOTCONN;
	if (c->n >= c->queue || n > c->queue_bytes - c->bytes)
		return -ENOBUFS;
	s = mem_alloc(sizeof(*s) + n);
	if (!s)
		return -ENOMEM;
	list_init(&s->node);
	s->qos = w->qos;
	s->retain = w->retain;
	if (w->topic.n)
		memcpy(s->bytes, w->topic.p, w->topic.n);
	if (w->payload.n)
		memcpy(s->bytes + w->topic.n, w->payload.p, w->payload.n);
	s->topic = (struct span){ s->bytes, w->topic.n };
	s->payload = (struct span){ s->bytes + w->topic.n, w->payload.n };
	list_add(&c->waiting, &s->node);
	c->n++;
	c->bytes += n;
	wake(c, io);
	return 0;
}

static void say_free(struct topic_client *c, struct topic_say *s)
{
	c->n--;
	c->bytes -= s->topic.n + s->payload.n;
	mem_free(s);
}

void topic_client_answered(struct topic_client *c, struct io *io, struct topic_say *s, unsigned code)
{
	if (code >= FIRST_CODE && code < TOPIC_LOST)
		topic_client_refused(c, io, TOPIC_WRITE, s->topic, code);
	c->door->answered(c, io, s->topic, code);
	say_free(c, s);
}

struct topic_say *topic_client_landed(struct topic_client *c, unsigned id)
{
	const unsigned i = id - 1;
	struct topic_say *s;

	if (i >= TOPIC_WINDOW || !(c->flying & UINT64_C(1) << i))
		return NULL;
	s = c->flight[i];
	c->flight[i] = NULL;
	c->flying &= ~(UINT64_C(1) << i);
	return s;
}

/* The oldest first, as far as they are in order. NULL: there is none. */
static struct topic_say *next_lost(struct topic_client *c)
{
	struct list *n;

	if (c->flying)
		return topic_client_landed(c, (unsigned)__builtin_ctzll(c->flying) + 1);
	n = list_pop(&c->waiting);
	return n ? list_entry(n, struct topic_say, node) : NULL;
}

/* ---- what it is made of ---- */

const char *topic_fault(const struct addr_text *to)
{
	if (to->transport != ADDR_UNIX && to->transport != ADDR_TCP && to->transport != ADDR_TLS)
		return "is not where a broker can be connected to: unix:PATH, tcp:HOST:PORT, tls:HOST:PORT";
	return far_fault(to);
}

static int encode_hello(const struct topic_setup *setup, struct topic_client *c)
{
	size_t size = SMALL + setup->client_id.n + setup->user.n + setup->password.n;
	struct mqtt_connect hello = {
		.version = MQTT_5,
		.clean = true,
		.keep_alive = setup->keep_alive,
		.client_id = setup->client_id,
		.has_user = setup->user.n,
		.user = setup->user,
		.has_password = setup->password.n,
		.password = setup->password,
	};
	struct mqtt_writer w;
	int r;

	c->hello = mem_alloc(size);
	if (!c->hello)
		return -ENOMEM;
	mqtt_props_init(&hello.props);
	mqtt_props_set(&hello.props, MQTT_P_MAX_PACKET, (uint32_t)setup->packet);
	mqtt_writer_init(&w, MQTT_5, c->hello, size);
	r = mqtt_put_connect(&w, &hello);
	c->hello_n = w.n;
	return r;
}

static int encode_filters(const struct topic_setup *setup, struct topic_client *c)
{
	size_t size = 0;
	struct mqtt_writer w;
	struct span s;
	uint8_t *p;
	int r = 0;

	if (!setup->filters)
		return 0;
	for (size_t i = 0; i < setup->filters; i++)
		size += 3 + setup->filter[i].filter.n;
	p = mem_alloc(size);
	if (!p)
		return -ENOMEM;
	mqtt_writer_init(&w, MQTT_5, p, size);
	for (size_t i = 0; i < setup->filters && r == 0; i++)
		r = mqtt_put_sub(&w, &setup->filter[i]);
	s = mqtt_written(&w);
	c->filters = r == 0 ? blob_new(&s, 1) : NULL;
	mem_free(p);
	if (r == 0 && !c->filters)
		r = -ENOMEM;
	return r;
}

static int set_address(const struct topic_setup *setup, struct topic_client *c)
{
	BUF_AUTO struct buf address = BUF_INIT(ADDR_TEXT_MAX + 1);

	addr_format(setup->to, &address);
	return buf_take(&address, &c->address);
}

static void forget(struct topic_client *c)
{
	if (c->hello)
		explicit_bzero(c->hello, c->hello_n);
	mem_free(c->hello);
	mem_free(c->address);
	blob_unref(c->filters);
	trust_free(&c->trust);
	c->hello = NULL;
	c->address = NULL;
	c->filters = NULL;
}

static int set_up(struct topic_client *c, const struct topic_setup *setup, struct buf *why)
{
	const struct trust_setup trust = { .ca = setup->ca, .insecure = setup->insecure };
	int r = set_address(setup, c);

	c->packet = setup->packet;
	c->queue = setup->queue;
	c->queue_bytes = setup->queue_bytes;
	c->retry = setup->retry;
	c->keep_alive = setup->keep_alive;
	if (r == 0)
		r = encode_hello(setup, c);
	if (r == 0)
		r = encode_filters(setup, c);
	if (r == 0 && addr_is_secure(setup->to))
		r = trust_new(&trust, &c->trust, why);
	return r;
}

/* ---- trying ---- */

static void lose_all(struct topic_client *c, struct io *io)
{
	for (struct topic_say *s = next_lost(c); s; s = next_lost(c))
		topic_client_answered(c, io, s, TOPIC_LOST);
}

static void set_timer(const struct topic_client *c, struct io *io)
{
	io_timer(io, c->door->timer, c->stopping ? 0 : c->far.due);
}

static void try(struct topic_client *c, struct io *io)
{
	const struct span self = { (const uint8_t *)&c, sizeof(c) };

	c->far.due = 0;
	c->why = NULL;
	if (far_dial(io, c->door->tag, &topic_session_proto, c->address, c->trust, self) == 0) {
		c->dialled = true;
		return;
	}
	tell_down(c, io, "out-of-memory");
	far_wait(&c->far, io->now, c->retry);
}

void topic_client_due(struct topic_client *c, struct io *io)
{
	if (c->address && !c->dialled && !c->stopping && c->far.due && c->far.due <= io->now)
		try(c, io);
	set_timer(c, io);
}

void topic_client_up(struct topic_client *c, struct io *io)
{
	struct log_line line;

	c->session = io->self;
	c->up = true;
	memset(c->refused, 0, sizeof(c->refused));
	far_up(&c->far, io->now);
	if (log_line(&line, LOG_INFO, "topics-up", c, io))
		log_end(&line);
}

static void went_down(struct topic_client *c, struct io *io, const struct ev *ev)
{
	bool was_up = c->up;

	c->session = 0;
	c->dialled = c->up = c->woken = false;
	lose_all(c, io);
	if (c->stopping || !c->address)
		return;
	if (c->changed) { /* as it was told to */
		c->far.due = io->now;
		return;
	}
	tell_down(c, io, far_why(ev, c->why));
	if (was_up)
		far_down(&c->far, io->now);
	far_wait(&c->far, io->now, c->retry);
}

void topic_client_gone(struct topic_client *c, struct io *io, const struct ev *ev)
{
	went_down(c, io, ev);
	c->changed = false;
	topic_client_due(c, io);
}

/* ---- for the shard ---- */

void topic_client_init(struct topic_client *c, const struct topic_door *door)
{
	*c = (struct topic_client){ .door = door };
	list_init(&c->waiting);
}

void topic_client_done(struct topic_client *c)
{
	for (struct topic_say *s = c->door ? next_lost(c) : NULL; s; s = next_lost(c))
		say_free(c, s);
	forget(c);
}

/* What the connection has to end for; what it was to say is lost. */
static void hang_up(struct topic_client *c, struct io *io)
{
	c->session = 0; /* nothing is taken for it any more */
	c->far = (struct far){};
	if (!c->dialled)
		return;
	c->changed = true;
	io_end(io, c->door->tag);
}

void topic_client_close(struct topic_client *c, struct io *io)
{
	hang_up(c, io);
	forget(c);
	set_timer(c, io);
}

int topic_client_open(struct topic_client *c, struct io *io, const struct topic_setup *setup, struct buf *why)
{
	int r;

	topic_client_close(c, io);
	r = set_up(c, setup, why);
	if (r < 0) {
		forget(c);
		return r;
	}
	c->far.due = io->now;
	topic_client_due(c, io);
	return 0;
}

void topic_client_stop(struct topic_client *c)
{
	c->stopping = true;
}
