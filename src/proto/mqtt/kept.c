/*
 * kept.c - what must survive the end of the process: records for the disk, and what waits for them. See mqtt_priv.h and store/keep.h.
 *
 * A step writes into its loop's batch, which is handed over when the step ends: before anything of it can be seen in another loop.
 * What the step has answered waits in its session until the disk has that batch. Nobody waits in a loop.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "proto/mqtt/mqtt_priv.h"
#include "store/topic.h"

enum { FEW = 32 }; /* waiters that are looked through; a power of two */

static struct mqtt_pen *pen_of(const struct io *io)
{
	return &((struct mqtt_shard *)io->shard)->pen;
}

static bool on_disk(const struct io *io, const struct subscriber *s)
{
	return s->kept_id && mqtt_service(io)->keep;
}

/* A record was written that an answer may have to wait for. */
static int wrote(const struct io *io, int r)
{
	if (r == 0 && !mqtt_service(io)->lazy)
		pen_of(io)->wrote = true;
	return r;
}

/* ---- the store ---- */

static void committed(void *arg, uint64_t position)
{
	struct mqtt_service *service = arg;

	(void)position;
	for (unsigned i = 0; i < port_loops(service->port); i++)
		port_post(service->port, i, MQTT_COMMITTED, NULL);
}

static void state(void *arg, enum keep_state state, int err)
{
	static const char *const events[] = {
		[KEEP_FINE] = "store-fine", [KEEP_FULL] = "store-full", [KEEP_BROKEN] = "store-broken"
	};
	const struct mqtt_service *service = arg;
	struct log_line line;

	if (!log_begin(&line, state == KEEP_FINE ? LOG_INFO : LOG_ERROR, events[state]))
		return;
	log_str(&line, "service", service->name);
	log_str(&line, "folder", service->folder);
	if (err)
		log_str(&line, "reason", strerror(-err));
	log_end(&line);
}

static void tell_damage(const struct svc *svc, const struct keep_found *found)
{
	struct log_line line;

	if (!found->damaged || !log_begin(&line, LOG_WARN, "store-damaged"))
		return;
	log_str(&line, "service", svc->name);
	log_str(&line, "folder", svc->folder_name);
	log_str(&line, "reason", found->what);
	log_uint(&line, "records", found->records);
	log_uint(&line, "dropped", found->dropped);
	if (found->aside[0])
		log_str(&line, "aside", found->aside);
	log_end(&line);
}

int mqtt_kept_open(struct svc *svc, struct buf *ret_why)
{
	const struct mqtt_options *o = svc->options;
	struct mqtt_service *service = svc->state;
	const struct keep_setup setup = {
		.dir = svc->folder,
		.name = svc->folder_name,
		.limit = o->disk,
		.largest = o->packet,
		.lazy = o->durability == MQTT_LAZY,
		.committed = committed,
		.state = state,
		.arg = service,
	};
	struct topics_disk disk = { .now = svc->now, .wall = svc->wall };
	struct keep_found found;
	int r;

	service->port = svc->port;
	service->name = mem_strdup(svc->name);
	service->folder = svc->folder_name ? mem_strdup(svc->folder_name) : NULL;
	if (!service->name || (svc->folder_name && !service->folder))
		return -ENOMEM;
	service->lazy = setup.lazy;
	if (!svc->folder)
		return 0;
	r = keep_open(&setup, &service->keep, ret_why);
	if (r == -EBUSY && ret_why)
		buf_adds(ret_why, ", or give this one its own data folder (data = PATH)");
	if (r < 0)
		return r;
	disk.keep = service->keep;
	r = topics_load(service->topics, &disk);
	if (r == 0)
		r = keep_start(service->keep, &found, ret_why);
	if (r == 0)
		tell_damage(svc, &found);
	return r;
}

void mqtt_kept_close(struct mqtt_service *service)
{
	keep_close(&service->keep);
	mem_free(service->name);
	mem_free(service->folder);
}

bool mqtt_kept_full(const struct io *io)
{
	const struct keep *k = mqtt_service(io)->keep;

	return k && keep_full(k);
}

/* ---- sessions ---- */

static int put_session(struct io *io, const struct subscriber *s, uint64_t until, uint64_t will_at)
{
	const struct topics *t = mqtt_service(io)->topics;
	const struct will *will = &s->will;
	struct keep_session k = {
		.id = s->kept_id,
		.name = subscriber_name(s),
		.owner = s->owner,
		.expiry = s->expiry,
		.until = topics_wall(t, until),
		.has_will = will->m,
	};

	if (will->m) {
		topics_record(t, will->m, &k.will);
		k.will.until = will->m->expires ? (will->m->expires + MSEC - 1) / MSEC
						: 0; /* from when it is published */
		k.will_delay = (uint32_t)(will->delay / SEC);
		k.will_at = will_at == UINT64_MAX ? 0 : topics_wall(t, will_at);
	}
	return wrote(io, keep_put_session(&pen_of(io)->batch, &k));
}

int mqtt_kept_session(struct io *io, struct subscriber *s)
{
	struct keep *keep = mqtt_service(io)->keep;

	if (!keep || !s->kept)
		return 0;
	if (!s->kept_id)
		s->kept_id = s->serial;
	return put_session(io, s, 0, 0);
}

/* Before anybody else can have it: what the next one writes of it comes behind. */
int mqtt_kept_left(struct io *io, struct subscriber *s, uint64_t until, uint64_t will_at)
{
	int r = on_disk(io, s) ? put_session(io, s, until, will_at) : 0;

	mqtt_kept_submit(NULL, io); /* in the middle of a step: its name is free before that ends */
	return r;
}

void mqtt_kept_end(struct io *io, struct subscriber *s)
{
	if (!on_disk(io, s))
		return;
	for (uint32_t i = 0; i < s->queue_n; i++) {
		const struct delivery *d = subscriber_queued(s, i);

		if (d->m && d->packet)
			mqtt_kept_done(io, s, d->m->kept);
	}
	for (uint32_t i = 0; i < s->flights_n; i++)
		mqtt_kept_done(io, s, s->flights[i].kept);
	(void)wrote(io, keep_end_session(&pen_of(io)->batch,
					 s->kept_id)); /* without memory: it comes back, and ends in its time */
}

static int put_sub(struct io *io, const struct subscriber *s, struct span group, struct span filter)
{
	struct keep_subscription k;

	if (!on_disk(io, s) || !topics_record_sub(mqtt_service(io)->topics, s, group, filter, &k))
		return 0;
	return keep_subscribe(&pen_of(io)->batch, &k);
}

/* Of the largest form that a new one has. */
int mqtt_kept_room(struct io *io, const struct subscriber *s, const struct wish *w)
{
	const struct keep_subscription k = { .group = w->group, .filter = w->filter, .owed = true };

	return on_disk(io, s) ? keep_subscribe(&pen_of(io)->batch, &k) : 0;
}

int mqtt_kept_sub(struct io *io, const struct subscriber *s, struct span group, struct span filter)
{
	return on_disk(io, s) ? wrote(io, put_sub(io, s, group, filter)) : 0;
}

/* Nobody waits for it; in one batch with what was sent, which is why neither is there without the other. */
void mqtt_kept_replay(struct io *io, const struct subscriber *s, const struct replay *r)
{
	(void)put_sub(io, s, (struct span){}, replay_filter(r));
}

struct mqtt_mark mqtt_kept_mark(const struct io *io)
{
	const struct mqtt_pen *pen = pen_of(io);

	return (struct mqtt_mark){ pen->batch.n, pen->batch.records, pen->wrote };
}

void mqtt_kept_take_back(struct io *io, const struct mqtt_mark *since)
{
	struct mqtt_pen *pen = pen_of(io);

	pen->batch.n = since->n;
	pen->batch.records = since->records;
	pen->wrote = since->wrote;
}

int mqtt_kept_unsub(struct io *io, const struct subscriber *s, struct span group, struct span filter)
{
	return on_disk(io, s) ? wrote(io, keep_unsubscribe(&pen_of(io)->batch, s->kept_id, group, filter)) : 0;
}

int mqtt_kept_await(struct io *io, const struct subscriber *s, uint16_t packet)
{
	return on_disk(io, s) ? wrote(io, keep_await(&pen_of(io)->batch, s->kept_id, packet)) : 0;
}

int mqtt_kept_release(struct io *io, const struct subscriber *s, uint16_t packet)
{
	return on_disk(io, s) ? wrote(io, keep_release(&pen_of(io)->batch, s->kept_id, packet)) : 0;
}

/* ---- messages ---- */

/* Where it is, or would be. */
static struct mqtt_place *place_of(const struct mqtt_pen *pen, uint64_t session)
{
	uint32_t i = (uint32_t)(session * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (pen->places_cap - 1);

	while (pen->places[i].round == pen->round && pen->waiters[pen->places[i].at].session != session)
		i = (i + 1) & (pen->places_cap - 1);
	return &pen->places[i];
}

static bool more_places(struct mqtt_pen *pen)
{
	uint32_t cap = pen->places_cap ? pen->places_cap : FEW;
	struct mqtt_place *v;

	while (cap / 2 < pen->waiters_n)
		cap *= 2;
	if (cap == pen->places_cap)
		return true;
	v = mem_zalloc(cap * sizeof(*v));
	if (!v)
		return false;
	mem_free(pen->places);
	pen->places = v;
	pen->places_cap = cap;
	pen->placed_n = 0;
	pen->round++; /* zeroes are nothing */
	return true;
}

static struct mqtt_waiter *look_through(const struct mqtt_pen *pen, uint64_t session)
{
	for (uint32_t i = 0; i < pen->waiters_n; i++)
		if (pen->waiters[i].session == session)
			return &pen->waiters[i];
	return NULL;
}

/* The first one of this session; NULL: the message does not wait for it yet. */
static struct mqtt_waiter *waiter_of(struct mqtt_pen *pen, uint64_t session)
{
	const struct mqtt_place *place;

	if (pen->waiters_n <= FEW || !more_places(pen))
		return look_through(pen, session);
	for (; pen->placed_n < pen->waiters_n; pen->placed_n++) {
		struct mqtt_place *to = place_of(pen, pen->waiters[pen->placed_n].session);

		if (to->round != pen->round)
			*to = (struct mqtt_place){ pen->round, pen->placed_n };
	}
	place = place_of(pen, session);
	return place->round == pen->round ? &pen->waiters[place->at] : NULL;
}

/*
 * A record names each session once. Overlapping subscriptions make one delivery; but one of a group's makes another, and when
 * there are two for a session the first is on disk: it hears the message once at least.
 */
static bool has_another(struct mqtt_pen *pen, uint64_t session, bool alone)
{
	struct mqtt_waiter *w = alone || pen->alone ? waiter_of(pen, session) : NULL;

	if (!w)
		return false;
	w->sealed |= alone;
	pen->alone |= alone;
	return w->sealed;
}

bool mqtt_kept_wanted(struct io *io, struct message *m, const struct subscriber *s, bool alone)
{
	if (!on_disk(io, s) || has_another(pen_of(io), s->kept_id, alone))
		return false;
	if (!m->kept)
		m->kept = keep_new_id(mqtt_service(io)->keep);
	return true;
}

bool mqtt_kept_again(const struct io *io, const struct subscriber *s)
{
	struct mqtt_shard *shard = io->shard;

	return shard->found_all.n > 1 && waiter_of(&shard->pen, s->kept_id);
}

int mqtt_kept_add(struct io *io, const struct subscriber *s, const struct delivery *d)
{
	struct mqtt_pen *pen = pen_of(io);

	if (pen->waiters_n == pen->waiters_cap) {
		uint32_t cap = pen->waiters_cap ? 2 * pen->waiters_cap : 16;
		struct mqtt_waiter *v = mem_realloc(pen->waiters, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		pen->waiters = v;
		pen->waiters_cap = cap;
	}
	pen->alone |= d->alone;
	pen->waiters[pen->waiters_n] = (struct mqtt_waiter){ .session = s->kept_id,
							     .at = pen->waiters_n,
							     .id = d->id,
							     .packet = d->packet,
							     .qos = d->qos,
							     .alone = d->alone,
							     .retain = d->retain,
							     .sealed = d->alone };
	pen->waiters_n++;
	return 0;
}

static int by_session(const void *ap, const void *bp)
{
	const struct mqtt_waiter *a = ap, *b = bp;

	if (a->session != b->session)
		return a->session < b->session ? -1 : 1;
	return a->at < b->at ? -1 : 1;
}

/* One for each session, from all the ways by which it hears: `ids` has room for as many. Returns how many they are. */
static uint32_t merge(const struct mqtt_pen *pen, struct keep_waiter *to, uint32_t *ids)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < pen->waiters_n; i++) {
		const struct mqtt_waiter *w = &pen->waiters[i];
		struct keep_waiter *k = n && to[n - 1].session == w->session ? &to[n - 1] : NULL;

		if (!k) {
			k = &to[n++];
			*k = (struct keep_waiter){
				.session = w->session, .packet = w->packet, .ids = ids, .alone = w->alone
			};
		}
		k->qos = w->qos > k->qos ? w->qos : k->qos;
		k->retain |= w->retain;
		if (w->id) {
			*ids++ = w->id;
			k->n_ids++;
		}
	}
	return n;
}

static int remember(struct mqtt_pen *pen, struct message *m)
{
	if (pen->messages_n == pen->messages_cap) {
		size_t cap = pen->messages_cap ? 2 * pen->messages_cap : 16;
		struct message **v = mem_realloc(pen->messages, cap * sizeof(struct message *));

		if (!v)
			return -ENOMEM;
		pen->messages = v;
		pen->messages_cap = cap;
	}
	pen->messages[pen->messages_n++] = message_ref(m);
	return 0;
}

static int put_message(struct io *io, struct message *m)
{
	struct mqtt_pen *pen = pen_of(io);
	struct keep_waiter one, *to = &one;
	struct keep_message k;
	uint32_t id, *ids = &id, n;
	int r = -ENOMEM;

	if (pen->waiters_n > 1) {
		qsort(pen->waiters, pen->waiters_n, sizeof(pen->waiters[0]), by_session);
		to = mem_alloc(pen->waiters_n * (sizeof(*to) + sizeof(*ids)));
		if (!to)
			return r;
		ids = (uint32_t *)(to + pen->waiters_n);
	}
	n = merge(pen, to, ids);
	topics_record(mqtt_service(io)->topics, m, &k);
	if (remember(pen, m) == 0)
		r = wrote(io, keep_put_message(&pen->batch, m->kept, &k, to, n));
	if (to != &one)
		mem_free(to);
	return r;
}

int mqtt_kept_message(struct io *io, struct message *m, int err)
{
	struct mqtt_pen *pen = pen_of(io);
	int r = err == 0 && pen->waiters_n ? put_message(io, m) : err;

	if (r < 0)
		m->mark = keep_mark(0); /* it is in memory alone, and waits for nothing */
	pen->waiters_n = pen->placed_n = 0;
	pen->alone = false;
	pen->round++;
	return r;
}

/* ---- deliveries ---- */

static struct mqtt_held *held_of(struct mqtt *self, const struct io *io)
{
	struct mqtt_held *h = self->held;

	if (h)
		return h;
	h = self->held = mem_zalloc(sizeof(*h));
	if (!h)
		return NULL;
	list_init(&h->node);
	buf_init(&h->bytes, io->svc->limits.output);
	return h;
}

/* In the next commit or a later one it looks again. */
static void wait(struct mqtt *self, struct io *io)
{
	struct mqtt_shard *shard = io->shard;
	struct mqtt_held *h = held_of(self, io);

	if (!h)
		self->torn = true; /* nobody would wake it */
	if (!h || list_in(&h->node))
		return;
	list_add(&shard->pen.waiting, &h->node);
	h->id = io->self;
}

bool mqtt_kept_ready(struct mqtt *self, struct io *io, const struct delivery *d)
{
	uint64_t mark;

	if (!d->packet)
		return true;
	if (d->qos == 2 &&
	    subscriber_flight(self->session, d->packet)) /* from 65,535 messages ago; landing looks again */
		return false;
	mark = atomic_load_explicit(&d->m->mark, memory_order_acquire);
	if (!mark) { /* it is handed over at the end of a step, here or in another loop: what it is answered must come behind */
		self->session->woken = true;
		io_post(io, io->self, MQTT_WAKE, NULL, 0);
		return false;
	}
	if (d->qos < 2 || keep_reached(mqtt_service(io)->keep, mark))
		return true;
	wait(self, io);
	return false;
}

void mqtt_kept_sent(struct io *io, const struct subscriber *s, const struct delivery *d, uint16_t packet)
{
	if (on_disk(io, s) && d->packet && d->packet != packet)
		(void)keep_sent(&pen_of(io)->batch, d->m->kept, s->kept_id, packet);
}

int mqtt_kept_received(struct io *io, const struct subscriber *s, const struct flight *f)
{
	return on_disk(io, s) && f->kept ? wrote(io, keep_received(&pen_of(io)->batch, f->kept, s->kept_id, f->id)) : 0;
}

/* Nobody waits for it; when memory is out, a restart sends it once more. */
void mqtt_kept_done(struct io *io, const struct subscriber *s, uint64_t message)
{
	if (message && on_disk(io, s))
		(void)keep_done(&pen_of(io)->batch, message, s->kept_id);
}

/* ---- the end of a step ---- */

/* The answers of this step wait until the disk has come to this mark. */
static void hold_until(struct mqtt *self, struct io *io, uint64_t mark)
{
	struct mqtt_held *h = self->held;

	if (self->state != MQTT_OPEN || !h || !h->n || h->v[h->n - 1].mark)
		return;
	h->v[h->n - 1].mark = mark;
	wait(self, io);
	if (keep_reached(mqtt_service(io)->keep, mark)) /* already: what is retained below $SYS is not kept */
		io_post(io, io->self, MQTT_WAKE, NULL, 0);
}

void mqtt_kept_submit(struct mqtt *self, struct io *io)
{
	struct mqtt_service *service = mqtt_service(io);
	struct mqtt_pen *pen = pen_of(io);
	uint64_t position = 0, other = 0;

	if (!service->keep)
		return;
	if (pen->retained) /* first: said again it is the same, and that a message was taken (QoS 2) must not come without it */
		position = topics_retained_submit(service->topics);
	pen->retained = false;
	if (pen->batch.n && (pen->wrote || service->lazy))
		other = keep_submit(service->keep, &pen->batch);
	else if (pen->batch.n)
		keep_submit_later(service->keep, &pen->batch);
	position = other > position ? other : position;
	for (size_t i = 0; i < pen->messages_n; i++) {
		atomic_store_explicit(&pen->messages[i]->mark, keep_mark(position), memory_order_release);
		message_unref(pen->messages[i]);
	}
	pen->messages_n = 0;
	pen->wrote = false;
	if (position > pen->position)
		pen->position = position;
	if (self)
		hold_until(self, io, keep_mark(pen->position));
}

/* ---- answers ---- */

static struct mqtt_until *last_of(struct mqtt_held *h)
{
	struct mqtt_until *v;

	if (h->n && !h->v[h->n - 1].mark)
		return &h->v[h->n - 1];
	if (h->n == h->cap) {
		v = mem_realloc(h->v, (h->cap ? 2 * h->cap : 8) * sizeof(*v));
		if (!v)
			return NULL;
		h->v = v;
		h->cap = h->cap ? 2 * h->cap : 8;
	}
	h->v[h->n++] = (struct mqtt_until){};
	return &h->v[h->n - 1];
}

/* Behind what waits already; what waits for nothing itself waits for that. */
bool mqtt_kept_hold(struct mqtt *self, struct io *io, struct span packet)
{
	const struct mqtt_pen *pen = pen_of(io);
	struct mqtt_until *last;
	struct mqtt_held *h;

	if (!pen->wrote && !(self->held && self->held->n))
		return false;
	h = held_of(self, io);
	last = h ? last_of(h) : NULL;
	if (last) {
		buf_add(&h->bytes, packet.p, packet.n);
		last->end = h->bytes.n;
	}
	if (!last || h->bytes.err)
		self->torn = true; /* an answer is lost: the connection must not go on */
	return true;
}

void mqtt_kept_flush(struct mqtt *self, struct io *io)
{
	struct mqtt_held *h = self->held;
	size_t i = 0, end = 0;

	if (!h)
		return;
	while (i < h->n && keep_reached(mqtt_service(io)->keep, h->v[i].mark))
		end = h->v[i++].end;
	if (end) {
		out_mem(io, h->bytes.p, end);
		memmove(h->bytes.p, h->bytes.p + end, h->bytes.n - end);
		buf_cut(&h->bytes, h->bytes.n - end);
		h->n -= i;
		memmove(h->v, h->v + i, h->n * sizeof(h->v[0]));
		for (size_t k = 0; k < h->n; k++)
			h->v[k].end -= end;
		self->muted = false;
	}
	if (h->n)
		wait(self, io);
	else
		mqtt_kept_forget(self);
}

/* They stay in the list until they wait no more: a letter may be lost when memory is out. */
void mqtt_kept_wake(struct mqtt_shard *shard, struct io *io)
{
	struct mqtt_pen *pen = &shard->pen;

	pen->woken_at = keep_committed(mqtt_service(io)->keep);
	for (const struct list *l = pen->waiting.next; l != &pen->waiting; l = l->next)
		io_post(io, list_entry(l, struct mqtt_held, node)->id, MQTT_WAKE, NULL, 0);
}

void mqtt_kept_look(struct mqtt_shard *shard, struct io *io)
{
	const struct keep *keep = mqtt_service(io)->keep;

	if (keep && keep_committed(keep) != shard->pen.woken_at)
		mqtt_kept_wake(shard, io);
}

void mqtt_kept_forget(struct mqtt *self)
{
	struct mqtt_held *h = self->held;

	if (!h)
		return;
	list_del(&h->node);
	buf_done(&h->bytes);
	mem_free(h->v);
	mem_free(h);
	self->held = NULL;
}

void mqtt_pen_done(struct mqtt_pen *pen)
{
	keep_batch_done(&pen->batch);
	for (size_t i = 0; i < pen->messages_n; i++)
		message_unref(pen->messages[i]);
	mem_free(pen->messages);
	mem_free(pen->waiters);
	mem_free(pen->places);
}
