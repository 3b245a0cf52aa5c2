/*
 * route.c - from a message to all who hear it. See shard.h.
 *
 * Who is in this loop gets a reference into the queue, and one letter that wakes its session, however many follow in the same turn.
 * For other loops there is a batch each, filled during a step and sent at its end. Who is away has a queue in the store.
 */
#include <errno.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/mem.h"
#include "proto/mqtt/mqtt_priv.h"

enum { FIRST_ITEMS = 8 };

/* ---- batches ---- */

static void drop_batch(struct mail *mail)
{
	struct batch *p = (struct batch *)mail;

	for (uint32_t i = 0; i < p->n; i++) {
		message_unref(p->v[i].m);
		subscriber_unref(p->v[i].to);
	}
	mem_free(p);
}

static struct batch *batch_for(struct mqtt_shard *shard, unsigned loop)
{
	struct batch *p = shard->batches[loop], *q;
	uint32_t cap = p ? 2 * p->cap : FIRST_ITEMS;

	if (p && p->n < p->cap)
		return p;
	q = mem_realloc(p, sizeof(*q) + cap * sizeof(q->v[0]));
	if (!q)
		return NULL;
	if (!p)
		q->n = 0;
	q->mail.drop = drop_batch;
	q->cap = cap;
	shard->batches[loop] = q;
	shard->batched = true;
	return q;
}

/* 1, or -ENOMEM: it is dropped. */
static int pack(struct io *io, unsigned loop, struct message *m, struct subscriber *to, const struct delivery *d)
{
	struct batch *p = loop < mqtt_shard_of(io)->loops ? batch_for(io->shard, loop) : NULL;

	if (!p) {
		mqtt_dropped(io);
		return -ENOMEM;
	}
	p->v[p->n++] = (struct item){
		.m = message_ref(m),
		.to = to ? subscriber_ref(to) : NULL,
		.d = d ? *d : (struct delivery){},
	};
	return 1;
}

/* The disk first: what others make of these comes behind. */
void mqtt_send_off(struct mqtt *self, struct io *io)
{
	struct mqtt_shard *shard = io->shard;

	mqtt_kept_submit(self, io);
	if (!shard->batched)
		return;
	shard->batched = false;
	for (unsigned i = 0; i < shard->loops; i++) {
		struct batch *p = shard->batches[i];

		shard->batches[i] = NULL;
		if (p)
			port_post(io->svc->port, i, MQTT_BATCH, &p->mail);
	}
}

/* ---- to one ---- */

static int push(struct io *io, struct subscriber *to, const struct delivery *d, uint64_t where)
{
	struct subscriber_limits lim = mqtt_limits(io);
	int r = subscriber_push(to, d, &lim);

	if (r < 0)
		mqtt_lost(io, to, d->m, r);
	if (!to->woken)
		to->woken = io_post(io, where, MQTT_WAKE, NULL, 0);
	return r;
}

static int store(struct io *io, struct subscriber *to, const struct delivery *d)
{
	struct subscriber_limits lim = mqtt_limits(io);
	uint64_t where;
	int r = topics_store(mqtt_service(io)->topics, to, d, &lim, &where);

	if (r == -EAGAIN) /* it has come back in this moment */
		return pack(io, to->home, d->m, to, d);
	if (r < 0 && r != -ENOENT)
		mqtt_lost(io, to, d->m, r);
	return r;
}

int mqtt_give(struct io *io, struct subscriber *to, const struct delivery *d)
{
	uint64_t where = atomic_load_explicit(&to->where, memory_order_acquire);

	if (!where)
		return store(io, to, d);
	if (to->home == port_here(io->svc->port, io))
		return push(io, to, d, where);
	return pack(io, to->home, d->m, to, d);
}

/* ---- what another one has left ---- */

/*
 * Anew, and the first one's record goes directly behind: of all together a store that is nearly full would not have room for twice as much.
 * Where there is no room for one the other takes the first one's place in the record.
 */
enum way { IN_MEMORY, ANEW, IN_PLACE };

static enum way way_of(struct io *io, const struct orphan *o, bool was)
{
	if (!o->d.qos || !mqtt_on_disk(io, o->to))
		return IN_MEMORY;
	if (mqtt_kept_promise(io, o->d.m))
		return ANEW;
	if (!was)
		return IN_MEMORY;
	/* Another loop will hand it over when its step ends: there is no record yet. It has just been promised room, so there is some */
	return atomic_load_explicit(&o->d.m->mark, memory_order_acquire) ? IN_PLACE : ANEW;
}

static int give_anew(struct io *io, const struct orphan *o, struct delivery *d)
{
	int r;

	if (mqtt_kept_wanted(io, d->m, o->to, true))
		d->packet = subscriber_next_id(o->to);
	r = mqtt_give(io, o->to, d);
	if (r >= 0 && d->packet && mqtt_kept_message(io, d->m, mqtt_kept_add(io, o->to, d)) < 0)
		mqtt_dropped(io); /* in memory it is there */
	return r;
}

/* The place first: nobody may have what he has none for. */
static int give_in_place(struct io *io, const struct orphan *o, struct delivery *d, const struct subscriber *ended,
			 bool *ret_moved)
{
	const struct mqtt_mark before = mqtt_kept_mark(io);
	int r;

	d->m->kept = o->d.m->kept;
	d->packet = subscriber_next_id(o->to);
	*ret_moved = mqtt_kept_pass(io, ended, o->to, d) == 0;
	if (!*ret_moved) {
		d->packet = 0;
		mqtt_dropped(io);
	}
	r = mqtt_give(io, o->to, d);
	if (r < 0 && *ret_moved) {
		mqtt_kept_take_back(io, &before);
		*ret_moved = false;
	}
	return r;
}

/* -ENOENT: whom it is for has ended too, and nothing has changed. Else its record, if it had one, is another's or has an end. */
static int give_orphan(struct io *io, const struct orphan *o, const struct subscriber *ended)
{
	const bool was = o->d.packet && mqtt_on_disk(io, ended);
	const enum way way = way_of(io, o, was);
	struct message *copy = way == IN_MEMORY ? NULL : message_copy(o->d.m);
	struct delivery d = o->d;
	bool moved = false;
	int r;

	d.m = copy ? copy : o->d.m;
	d.packet = 0;
	if (!copy)
		r = mqtt_give(io, o->to, &d);
	else if (way == ANEW)
		r = give_anew(io, o, &d);
	else
		r = give_in_place(io, o, &d, ended, &moved);
	if (way != IN_MEMORY && !copy)
		mqtt_dropped(io);
	if (was && !moved && r != -ENOENT)
		mqtt_kept_skip(io, ended, &o->d);
	mqtt_kept_cut(io);
	message_unref(copy);
	return r;
}

/* Until somebody has it, or nobody will. */
static void settle(struct io *io, struct orphan *o, const struct subscriber *ended)
{
	struct topics *t = mqtt_service(io)->topics;
	struct orphan next;
	int r;

	while ((r = give_orphan(io, o, ended)) == -ENOENT && topics_too_late(t, o->to, &o->d, &next)) {
		orphan_done(o);
		*o = next;
	}
	if (r == -ENOENT)
		mqtt_kept_skip(io, ended, &o->d);
	if (r >= 0)
		io_count(io, MQTT_REDELIVERED, 1);
}

void mqtt_end_session(struct io *io, struct subscriber *s)
{
	struct orphans *all;

	if (mqtt_pen(io)->messages_n) /* of this step, too, there must be records */
		mqtt_kept_submit(NULL, io);
	all = topics_orphans(mqtt_service(io)->topics, s);
	for (size_t i = 0; all && i < all->n; i++)
		settle(io, &all->v[i], s);
	orphans_free(all);
	mqtt_kept_end(io, s);
	subscriber_clear(s);
}

bool mqtt_too_late(struct io *io, const struct subscriber *ended, const struct delivery *d)
{
	struct orphan o;

	if (!topics_too_late(mqtt_service(io)->topics, ended, d, &o))
		return false;
	settle(io, &o, ended);
	orphan_done(&o);
	return true;
}

/* ---- to all ---- */

struct hearing {
	struct io *io;
	struct message *m;
	bool heard;
	int err; /* of what must be on disk */
};

static void give(void *arg, struct sub *sub)
{
	struct hearing *h = arg;
	struct delivery d = topics_delivery(sub, h->m);
	bool kept;
	int r;

	if (sub->no_local && h->m->from == sub->whose->serial)
		return;
	h->heard = true;
	kept = d.qos && mqtt_kept_wanted(h->io, h->m, sub->whose, d.alone);
	if (kept && !mqtt_kept_again(h->io, sub->whose))
		d.packet = subscriber_next_id(sub->whose);
	r = mqtt_give(h->io, sub->whose, &d);
	if (r >= 0 && kept && h->err == 0)
		r = mqtt_kept_add(h->io, sub->whose, &d);
	if (r == -ENOMEM && kept) /* its publisher must not believe that it is there */
		h->err = r;
}

static void give_all(struct hearing *h, const struct filters_found *found)
{
	for (uint32_t i = 0; i < found->n; i++)
		for (struct list *l = found->v[i]->subs.next; l != &found->v[i]->subs; l = l->next)
			give(h, list_entry(l, struct sub, entry.at.in_filter));
}

static const struct filters_found *look_up(struct mqtt_memo *memo, struct mqtt_shard *shard, struct message *m)
{
	struct filters_found *found = memo ? &memo->found : &shard->found;
	uint64_t now = filters_generation(shard->heard);

	if (memo && memo->found_at == now)
		return found;
	if (memo)
		memo->found_at = 0;
	if (filters_match(shard->heard, message_topic(m), found) < 0)
		return NULL;
	if (memo)
		memo->found_at = now;
	return found;
}

static bool pack_for_others(struct io *io, struct message *m)
{
	struct mqtt_service *service = mqtt_service(io);
	struct mqtt_shard *shard = io->shard;
	unsigned here = port_here(io->svc->port, io);
	bool any = false;

	for (unsigned i = 0; i < shard->loops; i++) {
		if (i == here || !atomic_load_explicit(&service->heard[i], memory_order_relaxed))
			continue;
		any |= pack(io, i, m, NULL, NULL) == 1;
	}
	return any;
}

bool mqtt_route_here(struct mqtt_memo *memo, struct io *io, struct message *m)
{
	struct hearing h = { .io = io, .m = m };
	const struct filters_found *found = look_up(memo, io->shard, m);

	if (found)
		give_all(&h, found);
	else
		mqtt_dropped(io);
	return h.heard;
}

int mqtt_route(struct mqtt_memo *memo, struct io *io, struct message *m)
{
	struct mqtt_shard *shard = io->shard;
	struct topics *t = mqtt_service(io)->topics;
	struct hearing h = { .io = io, .m = m };
	bool heard = mqtt_route_here(memo, io, m);
	int r;

	if (shard->loops > 1)
		heard |= pack_for_others(io, m);
	if (!topics_any(t))
		return heard;
	r = topics_match(t, message_topic(m), &shard->found_all, give, &h);
	if (r < 0)
		mqtt_dropped(io);
	r = mqtt_kept_message(io, m, h.err ? h.err : r);
	return r < 0 ? r : heard || h.heard;
}

int mqtt_retain(const struct mqtt *by, struct io *io, struct message *m)
{
	struct mqtt_shard *shard = io->shard;
	const struct mqtt_options *o = mqtt_options(io);
	struct mqtt_whose whose = { .topic = message_topic(m) };
	int r = topics_retain(mqtt_service(io)->topics, m, &(struct topics_room){ o->retained, o->retained_bytes });

	if (by) {
		whose.client = subscriber_name(by->session);
		whose.session = io->self;
	}
	if (r == 1)
		port_post(io->svc->port, 0, MQTT_SWEEP, NULL);
	if (r == -ENOBUFS)
		mqtt_limit(io, MQTT_L_RETAINED, &whose);
	if (r >= 0 && mqtt_service(io)->keep)
		shard->pen.retained = true;
	if (!mqtt_service(io)->lazy)
		shard->pen.wrote |= shard->pen.retained;
	return r;
}

bool mqtt_announce(struct io *io, struct message *m)
{
	if (!m)
		return false;
	if (m->retain)
		(void)mqtt_retain(NULL, io, m);
	(void)mqtt_route(NULL, io, m);
	message_unref(m);
	return true;
}

bool mqtt_must_keep(struct io *io, const struct message *m)
{
	struct mqtt_shard *shard = io->shard;

	if (m->retain && m->payload_n)
		return true;
	return m->qos && topics_must_keep(mqtt_service(io)->topics, m, &shard->found_all);
}
