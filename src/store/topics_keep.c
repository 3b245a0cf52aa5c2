/*
 * topics_keep.c - from memory to records on disk, and at the start from the disk to memory. See topics.h. Writing sessions and what
 * waits for them is for who has the batch of its loop; here is what is the same for all.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store/topics_priv.h"

#define MS 1000000ull
#define SECOND (1000 * MS)

/* ---- clocks ---- */

uint64_t topics_wall(const struct topics *t, uint64_t at)
{
	if (!at)
		return 0;
	return at >= t->disk.now ? t->disk.wall + (at - t->disk.now + MS - 1) / MS
				 : t->disk.wall - (t->disk.now - at) / MS;
}

static uint64_t from_wall(const struct topics_disk *d, uint64_t ms)
{
	if (ms <= d->wall)
		return d->now;
	return ms - d->wall > (UINT64_MAX - d->now) / MS ? UINT64_MAX : d->now + (ms - d->wall) * MS;
}

/* ---- records ---- */

void topics_record(const struct topics *t, const struct message *m, struct keep_message *ret)
{
	*ret = (struct keep_message){
		.topic = message_topic(m),
		.props = message_props(m),
		.payload = message_payload(m),
		.large = m->large,
		.until = topics_wall(t, m->expires),
		.qos = m->qos,
		.retain = m->retain,
	};
}

static struct message *message_of(const struct keep_message *k, uint64_t expires)
{
	const struct message_birth b = {
		.topic = k->topic,
		.payload = k->payload,
		.props = k->props,
		.qos = k->qos,
		.retain = k->retain,
		.expires = expires,
		.from = k->from,
	};
	struct message *m = message_new(&b);

	if (m)
		m->mark = keep_mark(0); /* it is there */
	return m;
}

/* ---- the start ---- */

struct known {
	uint64_t id;
	struct subscriber *s;
};

struct loading {
	struct topics *t;
	const struct topics_disk *disk;
	struct known *known; /* ascending by id: so they come */
	size_t n, cap;
};

static struct subscriber *find(const struct loading *l, uint64_t id)
{
	size_t from = 0, to = l->n;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (l->known[middle].id == id)
			return l->known[middle].s;
		if (l->known[middle].id < id)
			from = middle + 1;
		else
			to = middle;
	}
	return NULL;
}

/* The will of who has not come back is not published yet, so its expiry is a duration: *0 = never* both ways. */
static int take_will(const struct keep_session *k, struct subscriber *s)
{
	if (!k->has_will)
		return 0;
	s->will.m = message_of(&k->will, k->will.until * MS);
	if (!s->will.m)
		return -ENOMEM;
	s->will.m->mark = 0;
	s->will.delay = k->will_delay * SECOND;
	return 0;
}

/* Who was there when the process ended has left in this moment. */
static int take_session(struct loading *l, const struct keep_session *k)
{
	const struct topics_disk *d = l->disk;
	uint64_t expires = k->until ? from_wall(d, k->until) : d->now + k->expiry * SECOND;
	uint64_t will_at = k->will_at ? from_wall(d, k->will_at) : d->now + k->will_delay * SECOND;
	struct subscriber *s;
	int r;

	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		struct known *v = mem_realloc(l->known, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		l->known = v;
		l->cap = cap;
	}
	r = topics_restore(l->t, k, expires, k->has_will ? will_at : UINT64_MAX, &s);
	if (r < 0)
		return r;
	l->known[l->n++] = (struct known){ k->id, s };
	return take_will(k, s);
}

/* What comes by it has this number already. */
static void set_number(struct subscriber *s, struct sub *sub, unsigned number)
{
	sub->number = number & ALONE;
	if (sub->number > s->shares)
		s->shares = sub->number;
}

static int take_owed(struct subscriber *s, const struct keep_subscription *k)
{
	struct replay *r;

	if (replay_add(&s->replays, k->filter, &r) < 0)
		return -ENOMEM;
	r->id = k->id;
	r->qos = k->qos;
	r->kept = true;
	return names_cursor_go(&r->cursor, k->owed_at);
}

static int take_subscription(struct loading *l, const struct keep_subscription *k)
{
	const struct wish w = {
		.group = k->group,
		.filter = k->filter,
		.id = k->id,
		.qos = k->qos,
		.retain_handling = k->retain_handling,
		.no_local = k->no_local,
		.as_published = k->as_published,
	};
	struct subscriber *s = find(l, k->session);
	int r = s ? topics_subscribe(l->t, NULL, s, NULL, &w, UINT32_MAX) : 0;

	if (!s || r < 0)
		return r;
	if (k->group.n && k->number && k->number < ALONE)
		set_number(s, list_entry(s->subs.prev, struct sub, mine), k->number);
	return k->owed && !k->group.n ? take_owed(s, k) : 0;
}

static const struct subscriber_limits no_limits = { .queue = UINT32_MAX,
						    .queue_bytes = SIZE_MAX,
						    .awaiting = UINT16_MAX };

static int take_awaited(struct loading *l, uint64_t session, uint16_t packet)
{
	struct subscriber *s = find(l, session);
	int r = s ? subscriber_await(s, packet, &no_limits) : 0;

	return r < 0 ? r : 0;
}

/* It has the message: what is left is PUBREL and PUBCOMP. */
static int take_received(struct subscriber *s, const struct delivery *d)
{
	struct flight *f = subscriber_fly(s, d, NULL, 0);

	if (!f)
		return -ENOMEM;
	message_unref(f->m);
	f->m = NULL;
	f->qos = 2; /* by whichever of two ways it heard it */
	f->sent = false;
	return 0;
}

static int take_waiter(struct loading *l, struct message *m, const struct keep_waiter *w)
{
	struct subscriber *s = find(l, w->session);
	struct delivery d = {
		.m = m,
		.packet = w->packet,
		.qos = w->qos,
		.retain = w->retain,
		.dup = true,
		.ask = true,
		.alone = (unsigned)w->alone & ALONE,
	};
	uint16_t n = w->alone && w->n_ids > 1 ? 1 : w->n_ids; /* it would not become one delivery */
	int r = 0;

	if (!s)
		return 0;
	if ((!s->queue_n && !s->flights_n) ||
	    (int16_t)(w->packet - s->next_id) > 0) /* loops count at once: not all ascend */
		s->next_id = w->packet;
	if (w->turn == KEEP_RECEIVED)
		return take_received(s, &d);
	for (uint16_t i = 0; r == 0 && (i < n || i == 0); i++) { /* the identifiers become one delivery again */
		d.id = n ? w->ids[i] : 0;
		r = subscriber_push(s, &d, &no_limits);
	}
	return r;
}

static int take_message(struct loading *l, const struct keep_record *k)
{
	struct message *m = message_of(&k->message, k->message.until ? from_wall(l->disk, k->message.until) : 0);
	int r = 0;

	if (!m)
		return -ENOMEM;
	m->kept = k->id;
	for (uint32_t i = 0; i < k->n_waiters && r == 0; i++)
		r = take_waiter(l, m, &k->waiters[i]);
	message_unref(m);
	return r;
}

static int take_retained(struct loading *l, const struct keep_message *k)
{
	struct message *m;
	int r;

	if (k->until && k->until <= l->disk->wall)
		return keep_retain(&l->t->retained_batch, &(struct keep_message){ .topic = k->topic });
	m = message_of(k, k->until ? from_wall(l->disk, k->until) : 0);
	r = m ? topics_retain(l->t, m, &(struct topics_room){ SIZE_MAX, SIZE_MAX }) : -ENOMEM;
	message_unref(m);
	return r < 0 ? r : 0;
}

static int take(struct loading *l, const struct keep_record *k)
{
	switch (k->kind) {
	case KEEP_SESSION:
		return take_session(l, &k->session);
	case KEEP_SUBSCRIPTION:
		return take_subscription(l, &k->subscription);
	case KEEP_AWAITED:
		return take_awaited(l, k->id, k->packet);
	case KEEP_RETAINED:
		return take_retained(l, &k->message);
	default:
		return take_message(l, k);
	}
}

int topics_load(struct topics *t, const struct topics_disk *disk)
{
	struct loading l = { .t = t, .disk = disk };
	struct keep_record k;
	int r;

	while ((r = keep_next(disk->keep, &k)) == 1) {
		r = take(&l, &k);
		if (r < 0)
			break;
	}
	mem_free(l.known);
	if (r == 0)
		t->disk = *disk;
	return r;
}
