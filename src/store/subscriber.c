/* subscriber.c - see subscriber.h. What is empty holds no memory: most subscribers are idle. */
#include "store/subscriber.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/mem.h"

enum { FIRST_QUEUE = 8, FIRST_FLIGHTS = 4, KEEP_QUEUE = 64 };

struct subscriber *subscriber_new(struct span name, uint64_t serial)
{
	struct subscriber *s = mem_zalloc(sizeof(*s) + name.n);

	if (!s)
		return NULL;
	s->refs = 1;
	s->serial = serial;
	s->link.n = (uint32_t)name.n;
	list_init(&s->subs);
	list_init(&s->aside);
	list_init(&s->all);
	if (name.n)
		memcpy(s->name, name.p, name.n);
	return s;
}

struct subscriber *subscriber_ref(struct subscriber *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void subscriber_unref(struct subscriber *s)
{
	struct left *left;

	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	subscriber_clear(s);
	while ((left = s->groups)) {
		s->groups = left->next;
		mem_free(left);
	}
	mem_free(s);
}

void subscriber_clear(struct subscriber *s)
{
	subscriber_queue_done(s);
	replay_drop_all(&s->replays);
	while (s->flights_n)
		subscriber_landed(s, &s->flights[s->flights_n - 1]);
	message_unref(s->will.m);
	s->will.m = NULL;
	mem_free(s->flights);
	mem_free(s->awaiting);
	s->flights = NULL;
	s->awaiting = NULL;
	s->flights_cap = s->awaiting_n = s->awaiting_cap = 0;
}

struct span subscriber_name(const struct subscriber *s)
{
	return (struct span){ s->name, s->link.n };
}

/* ---- the queue ---- */

static struct delivery *place(const struct subscriber *s, uint32_t i)
{
	return &s->queue[(s->queue_at + i) & (s->queue_cap - 1)];
}

static int queue_more(struct subscriber *s)
{
	uint32_t cap = s->queue_cap ? 2 * s->queue_cap : FIRST_QUEUE;
	struct delivery *v = mem_alloc(cap * sizeof(*v));

	if (!v)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->queue_n; i++)
		v[i] = *place(s, i);
	mem_free(s->queue);
	s->queue = v;
	s->queue_cap = cap;
	s->queue_at = 0;
	return 0;
}

static int append(struct subscriber *s, const struct delivery *d)
{
	int r = s->queue_n == s->queue_cap ? queue_more(s) : 0;

	if (r < 0)
		return r;
	*place(s, s->queue_n++) = *d;
	return 0;
}

/*
 * The delivery of the same message that this one is to be part of. It is the last one; but several loops store for one that is away, and
 * another one's may have come behind it. That it is there is known of what is on disk: the first delivery has an identifier there, and
 * those by further subscriptions have none.
 */
static bool find_same(const struct subscriber *s, const struct delivery *d, uint32_t *ret_at)
{
	bool there;

	if (d->alone)
		return false; /* and its number is not looked at: message.h */
	there = s->kept_id && d->qos && d->m->kept && !d->packet;
	for (uint32_t i = s->queue_n; i-- > 0;) {
		const struct delivery *q = place(s, i);

		if (q->m == d->m && !q->alone) {
			*ret_at = i;
			return true;
		}
		if (q->m && !there)
			break;
	}
	return false;
}

/* Behind the identifiers that this delivery has already. */
static int add_id(struct subscriber *s, uint32_t at, uint32_t id)
{
	uint32_t i = s->queue_n;
	int r = append(s, &(struct delivery){ .id = id });

	if (r < 0)
		return r;
	for (at++; at < i && !place(s, at)->m;)
		at++;
	for (; i > at; i--)
		*place(s, i) = *place(s, i - 1);
	*place(s, at) = (struct delivery){ .id = id };
	return 0;
}

static int merge(struct subscriber *s, uint32_t at, const struct delivery *d)
{
	struct delivery *into = place(s, at);

	into->qos = d->qos > into->qos ? d->qos : into->qos;
	into->retain |= d->retain;
	into->packet = into->packet ? into->packet : d->packet;
	into->ask &= d->ask; /* it may by one of them */
	if (!d->id)
		return 0;
	if (!into->id) {
		into->id = d->id;
		return 0;
	}
	return add_id(s, at, d->id);
}

/* Who takes what comes is limited by bytes alone: all of one turn of its publishers may wait for its own turn. */
static bool is_full(const struct subscriber *s, const struct delivery *d, size_t size,
		    const struct subscriber_limits *lim)
{
	unsigned times = lim->refuse && s->kept && d->qos ? 2 : 1;

	return (s->slow && s->queue_n >= times * lim->queue) || s->queue_bytes + size > times * lim->queue_bytes;
}

static bool is_at_limit(const struct subscriber *s, const struct subscriber_limits *lim)
{
	return (s->slow && s->queue_n >= lim->queue) || s->queue_bytes >= lim->queue_bytes;
}

bool subscriber_mark(struct subscriber *s, const struct subscriber_limits *lim)
{
	bool full = is_at_limit(s, lim);

	return atomic_exchange_explicit(&s->full, full, memory_order_relaxed) && !full;
}

/*
 * The last one, by its number on disk. What is on its way to the loop that a client was in, while it leaves, comes behind what is stored
 * for it from then on: the numbers are in the order in which it was published.
 */
static void put_in_order(const struct subscriber *s)
{
	uint32_t last = s->queue_n - 1, at = last;
	const struct delivery d = *place(s, last);

	for (uint32_t i = last; i-- > 0;) {
		const struct delivery *q = place(s, i);

		if (q->m && (!q->packet || q->m->kept <= d.m->kept))
			break;
		if (q->m)
			at = i;
	}
	for (; last > at; last--)
		*place(s, last) = *place(s, last - 1);
	*place(s, at) = d;
}

int subscriber_push(struct subscriber *s, const struct delivery *d, const struct subscriber_limits *lim)
{
	size_t size = message_size(d->m);
	uint32_t at;
	int r;

	if (find_same(s, d, &at))
		return merge(s, at, d);
	if (is_full(s, d, size, lim))
		return -ENOBUFS;
	r = append(s, d);
	if (r < 0)
		return r;
	if (d->packet)
		put_in_order(s);
	message_ref(d->m);
	s->queue_bytes += size;
	if (is_at_limit(s, lim)) /* that it is not any more, only who takes out says */
		atomic_store_explicit(&s->full, true, memory_order_relaxed);
	return 0;
}

const struct delivery *subscriber_head(const struct subscriber *s, uint32_t *ids, size_t max, size_t *ret_n)
{
	const struct delivery *d = s->queue_n ? place(s, 0) : NULL;

	*ret_n = 0;
	if (!d)
		return NULL;
	if (!d->id)
		return d;
	for (uint32_t i = 0; i < s->queue_n && (i == 0 || !place(s, i)->m); i++, (*ret_n)++)
		if (*ret_n < max)
			ids[*ret_n] = place(s, i)->id;
	return d;
}

struct delivery *subscriber_queued(struct subscriber *s, uint32_t i)
{
	return place(s, i);
}

static void drop_first(struct subscriber *s)
{
	s->queue_at = (s->queue_at + 1) & (s->queue_cap - 1);
	s->queue_n--;
}

void subscriber_pop(struct subscriber *s)
{
	struct message *m = place(s, 0)->m;

	s->queue_bytes -= message_size(m);
	drop_first(s);
	while (s->queue_n && !place(s, 0)->m)
		drop_first(s);
	message_unref(m);
	if (s->queue_n)
		return;
	s->queue_at = 0;
	if (s->queue_cap > KEEP_QUEUE)
		subscriber_queue_done(s);
}

void subscriber_queue_done(struct subscriber *s)
{
	for (uint32_t i = 0; i < s->queue_n; i++)
		message_unref(place(s, i)->m);
	mem_free(s->queue);
	s->queue = NULL;
	s->queue_at = s->queue_n = s->queue_cap = 0;
	s->queue_bytes = 0;
}

/* ---- what is under way ---- */

uint16_t subscriber_next_id(struct subscriber *s)
{
	uint16_t id = (uint16_t)(atomic_fetch_add_explicit(&s->next_id, 1, memory_order_relaxed) + 1);

	return id ? id : subscriber_next_id(s);
}

uint16_t subscriber_fresh_id(struct subscriber *s)
{
	uint16_t id;

	do
		id = subscriber_next_id(s);
	while (subscriber_flight(s, id));
	return id;
}

struct flight *subscriber_fly(struct subscriber *s, const struct delivery *d, const uint32_t *ids, size_t n)
{
	uint32_t *mine = NULL;

	if (s->flights_n == s->flights_cap) {
		uint32_t cap = s->flights_cap ? 2 * s->flights_cap : FIRST_FLIGHTS;
		struct flight *v = mem_realloc(s->flights, cap * sizeof(*v));

		if (!v)
			return NULL;
		s->flights = v;
		s->flights_cap = cap;
	}
	if (n) {
		mine = mem_alloc(n * sizeof(*mine));
		if (!mine)
			return NULL;
		memcpy(mine, ids, n * sizeof(*mine));
	}
	s->flights[s->flights_n] = (struct flight){
		.m = message_ref(d->m),
		.ids = mine,
		.n_ids = (uint32_t)n,
		.id = d->packet && !subscriber_flight(s, d->packet) ? d->packet : subscriber_fresh_id(s),
		.kept = d->packet ? d->m->kept : 0,
		.qos = d->qos,
		.retain = d->retain,
		.sent = true,
		.alone = d->alone,
	};
	return &s->flights[s->flights_n++];
}

struct flight *subscriber_flight(struct subscriber *s, uint16_t id)
{
	for (uint32_t i = 0; i < s->flights_n; i++)
		if (s->flights[i].id == id)
			return &s->flights[i];
	return NULL;
}

void subscriber_landed(struct subscriber *s, struct flight *f)
{
	size_t behind = (size_t)(s->flights + s->flights_n - f) - 1;

	message_unref(f->m);
	mem_free(f->ids);
	memmove(f, f + 1, behind * sizeof(*f)); /* they stay in order, for those that must be sent again */
	s->flights_n--;
}

static uint32_t find_awaited(const struct subscriber *s, uint16_t id)
{
	uint32_t i = 0;

	while (i < s->awaiting_n && s->awaiting[i] != id)
		i++;
	return i;
}

int subscriber_await(struct subscriber *s, uint16_t id, const struct subscriber_limits *lim)
{
	if (find_awaited(s, id) < s->awaiting_n)
		return 0;
	if (s->awaiting_n >= lim->awaiting)
		return -ENOBUFS;
	if (s->awaiting_n == s->awaiting_cap) {
		uint32_t cap = s->awaiting_cap ? 2 * s->awaiting_cap : 8;
		uint16_t *v = mem_realloc(s->awaiting, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		s->awaiting = v;
		s->awaiting_cap = cap;
	}
	s->awaiting[s->awaiting_n++] = id;
	return 1;
}

bool subscriber_release(struct subscriber *s, uint16_t id)
{
	uint32_t i = find_awaited(s, id);

	if (i == s->awaiting_n)
		return false;
	s->awaiting[i] = s->awaiting[--s->awaiting_n];
	return true;
}
