/*
 * waiters.c - the sessions that a message on disk waits for: each once in its record, by however many filters it hears it.
 * See kept.h.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "proto/mqtt/mqtt_priv.h"

enum { FEW = 32 }; /* waiters that are looked through; a power of two */

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
	if (!mqtt_on_disk(io, s) || has_another(mqtt_pen(io), s->kept_id, alone))
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
	struct mqtt_pen *pen = mqtt_pen(io);

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
	struct mqtt_pen *pen = mqtt_pen(io);
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
		r = mqtt_wrote(io, keep_put_message(&pen->batch, m->kept, &k, to, n));
	if (to != &one)
		mem_free(to);
	return r;
}

int mqtt_kept_message(struct io *io, struct message *m, int err)
{
	struct mqtt_pen *pen = mqtt_pen(io);
	int r = err == 0 && pen->waiters_n ? put_message(io, m) : err;

	if (r < 0)
		m->mark = keep_mark(0); /* it is in memory alone, and waits for nothing */
	pen->waiters_n = pen->placed_n = 0;
	pen->alone = false;
	pen->round++;
	return r;
}

int mqtt_kept_pass(struct io *io, const struct subscriber *ended, const struct subscriber *to, const struct delivery *d)
{
	struct mqtt_pen *pen = mqtt_pen(io);
	const struct keep_waiter w = {
		.session = to->kept_id,
		.ids = &d->id,
		.n_ids = d->id ? 1 : 0,
		.packet = d->packet,
		.qos = d->qos,
		.retain = d->retain,
		.alone = d->alone,
	};
	int r = remember(pen, d->m);

	if (r == 0)
		r = mqtt_wrote(io, keep_pass(&pen->batch, d->m->kept, ended->kept_id, &w));
	if (r < 0)
		d->m->mark = keep_mark(0);
	return r;
}
