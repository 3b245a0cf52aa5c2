/*
 * topics_shares.c - shared subscriptions: the group of a filter, whose members take turns, and what one that has ended leaves to the
 * others. See topics.h, and topics_priv.h for the locks.
 */
#include <errno.h>

#include "base/mem.h"
#include "store/topic.h"
#include "store/topics_priv.h"

struct span share_group(const struct share *g)
{
	return (struct span){ g->group, g->link.n };
}

static struct span share_filter(const struct share *g)
{
	return filter_text(g->entry.at.filter);
}

/* Of both: whoever can choose one as he likes cannot make it that of another pair. */
static uint32_t share_hash(const struct topics *t, struct span group, struct span filter)
{
	uint64_t x = topic_hash(&t->key, group) * UINT64_C(0x9e3779b97f4a7c15) + topic_hash(&t->key, filter);

	return (uint32_t)(x ^ x >> 32);
}

struct share *share_find(const struct topics *t, struct span group, struct span filter)
{
	uint32_t hash = share_hash(t, group, filter);

	for (struct topic_link *l = topic_map_first(&t->shares, hash); l; l = l->next) {
		struct share *g = list_entry(l, struct share, link);

		if (l->hash == hash && span_same(share_group(g), group) && span_same(share_filter(g), filter))
			return g;
	}
	return NULL;
}

static int share_new(struct topics *t, struct span group, struct span filter, struct share **ret)
{
	struct share *g = mem_zalloc(sizeof(*g) + group.n);
	int r;

	if (!g)
		return -ENOMEM;
	g->entry.share = g;
	g->link.n = (uint32_t)group.n;
	g->link.hash = share_hash(t, group, filter);
	memcpy(g->group, group.p, group.n);
	for (int i = 0; i < SHARE_STATES; i++)
		list_init(&g->members[i]);
	r = filters_add(t->subs, filter, &g->entry.at);
	if (r == 0) {
		r = topic_map_add(&t->shares, &g->link);
		if (r < 0)
			filters_del(t->subs, &g->entry.at);
	}
	if (r < 0) {
		mem_free(g);
		return r;
	}
	*ret = g;
	return 0;
}

void share_leave(struct topics *t, struct sub *sub)
{
	struct share *g = sub->share;

	pthread_mutex_lock(&t->turns);
	list_del(&sub->in_share);
	list_del(&sub->aside);
	pthread_mutex_unlock(&t->turns);
	if (--g->n)
		return;
	topic_map_del(&t->shares, &g->link);
	filters_del(t->subs, &g->entry.at);
	mem_free(g);
}

bool sub_has_room(const struct sub *sub)
{
	return !atomic_load_explicit(&sub->whose->full, memory_order_relaxed);
}

/* ---- turns ---- */

static enum share_state state_of(const struct sub *sub)
{
	return !sub_has_room(sub) ? SHARE_FULL : sub->whose->where ? SHARE_READY : SHARE_AWAY;
}

/* Behind all others that are as it is. It is looked at again when topics_ready() says so. */
static void put_aside(struct share *g, struct sub *sub, enum share_state state)
{
	list_del(&sub->in_share);
	list_add(&g->members[state], &sub->in_share);
	if (!list_in(&sub->aside))
		list_add(&sub->whose->aside, &sub->aside);
}

/*
 * One that has a connection and room, if there is such a one, else room for when it comes back [4.8.2]. Who has gone, or has no room any
 * more, is met once, however many messages come until it is back.
 */
struct sub *share_turn(struct share *g)
{
	for (enum share_state in = SHARE_READY; in < SHARE_FULL; in++)
		while (!list_empty(&g->members[in])) {
			struct sub *sub = list_entry(g->members[in].next, struct sub, in_share);
			enum share_state is = state_of(sub);

			if (is <= in)
				return sub;
			put_aside(g, sub, is);
		}
	return list_entry(g->members[SHARE_FULL].next, struct sub, in_share);
}

/* The next message goes to the one behind it, also among those who are away. */
struct sub *share_take_turn(struct share *g)
{
	struct sub *sub = share_turn(g);
	struct list *members = sub->in_share.prev; /* it is the first */

	list_del(&sub->in_share);
	list_add(members, &sub->in_share);
	return sub;
}

void topics_ready(struct topics *t, struct subscriber *s)
{
	struct list *l;

	if (!s->shares)
		return;
	pthread_mutex_lock(&t->turns);
	while ((l = list_pop(&s->aside))) {
		struct sub *sub = list_entry(l, struct sub, aside);

		list_del(&sub->in_share);
		list_add(sub->share->members[SHARE_READY].next, &sub->in_share); /* it is next: it has waited */
	}
	pthread_mutex_unlock(&t->turns);
}

/* ---- members ---- */

/* 1 to ALONE - 1, round and round. */
static void number(struct sub *sub)
{
	struct subscriber *s = sub->whose;

	do
		s->shares++;
	while (s->shares == 0 || s->shares == ALONE);
	sub->number = s->shares;
}

int share_join(struct topics *t, struct sub *sub, const struct wish *w)
{
	struct share *g = share_find(t, w->group, w->filter);
	int r = g ? 0 : share_new(t, w->group, w->filter, &g);

	if (r < 0)
		return r;
	number(sub);
	sub->share = g;
	list_init(&sub->aside);
	pthread_mutex_lock(&t->turns);
	list_add(&g->members[SHARE_READY], &sub->in_share);
	pthread_mutex_unlock(&t->turns);
	g->n++;
	return 0;
}

struct sub *share_member(struct topics *t, const struct share *g, const struct subscriber *s)
{
	struct sub *found = NULL;

	pthread_mutex_lock(&t->turns);
	for (enum share_state in = SHARE_READY; in < SHARE_STATES && !found; in++)
		for (struct list *l = g->members[in].next; l != &g->members[in] && !found; l = l->next)
			if (list_entry(l, struct sub, in_share)->whose == s)
				found = list_entry(l, struct sub, in_share);
	pthread_mutex_unlock(&t->turns);
	return found;
}

/* ---- what one leaves ---- */

static struct span left_group(const struct left *l)
{
	return (struct span){ l->text, l->group_n };
}

static struct span left_filter(const struct left *l)
{
	return (struct span){ l->text + l->group_n, l->filter_n };
}

/* Of so many numbers each one is that of the last subscription that had it: so they are few. */
static void forget(struct subscriber *s, unsigned number)
{
	struct left **at = &s->groups, *l;

	while (*at && (*at)->number != number)
		at = &(*at)->next;
	l = *at;
	if (!l)
		return;
	*at = l->next;
	mem_free(l);
}

void share_remember(struct subscriber *s, const struct sub *sub)
{
	struct span group = share_group(sub->share), filter = sub_filter(sub);
	struct left *l = mem_alloc(sizeof(*l) + group.n + filter.n);

	forget(s, sub->number);
	if (!l)
		return;
	*l = (struct left){
		.next = s->groups, .number = sub->number, .group_n = (uint16_t)group.n, .filter_n = (uint32_t)filter.n
	};
	memcpy(l->text, group.p, group.n);
	memcpy(l->text + group.n, filter.p, filter.n);
	s->groups = l;
}

/* `d` came by it, if it has its number and matches: then for whom of those who are members yet. With both locks. */
static bool find_another(const struct topics *t, const struct left *l, const struct delivery *d, struct orphan *ret)
{
	struct share *g;
	const struct sub *other;

	if (d->alone != l->number || !topic_matches(left_filter(l), message_topic(d->m)))
		return false;
	g = share_find(t, left_group(l), left_filter(l));
	other = g ? share_take_turn(g) : NULL;
	if (!other)
		return false;
	*ret = (struct orphan){ subscriber_ref(other->whose), topics_delivery(other, message_ref(d->m)) };
	ret->d.packet = d->packet;
	return true;
}

static bool leave_to_another(struct topics *t, const struct left *l, const struct delivery *d,
			     const struct subscriber *of)
{
	struct orphan o;

	if (!find_another(t, l, d, &o))
		return false;
	if (topics_orphans_add(t, of, &o))
		return true;
	orphan_done(&o);
	return false;
}

/*
 * In order, what is not done; its record on disk is the orphan's then. What may have been sent with QoS 2 is its own for ever: that is under
 * way, or was there when the process began.
 */
static void leave_all(struct topics *t, struct subscriber *s, const struct left *l)
{
	for (uint32_t i = 0; i < s->flights_n; i++) {
		struct flight *f = &s->flights[i];
		const struct delivery d = { .m = f->m, .alone = f->alone, .packet = f->kept ? f->id : 0 };

		if (f->qos == 1 && leave_to_another(t, l, &d, s))
			f->kept = 0;
	}
	for (uint32_t i = 0; i < s->queue_n; i++) {
		struct delivery *d = subscriber_queued(s, i);

		if (d->m && d->qos && !(d->qos == 2 && d->dup) && leave_to_another(t, l, d, s))
			d->packet = 0;
	}
}

void topics_give_up_shares(struct topics *t, struct subscriber *s)
{
	if (!s->groups || (!s->queue_n && !s->flights_n))
		return;
	pthread_rwlock_rdlock(&t->subs_lock);
	pthread_mutex_lock(&t->turns);
	for (const struct left *l = s->groups; l; l = l->next)
		leave_all(t, s, l);
	pthread_mutex_unlock(&t->turns);
	pthread_rwlock_unlock(&t->subs_lock);
}

bool topics_too_late(struct topics *t, const struct subscriber *s, const struct delivery *d, struct orphan *ret)
{
	bool found = false;

	if (!d->qos || !d->alone || !s->groups)
		return false;
	pthread_rwlock_rdlock(&t->subs_lock);
	pthread_mutex_lock(&t->turns);
	for (const struct left *l = s->groups; l && !found; l = l->next)
		found = find_another(t, l, d, ret);
	pthread_mutex_unlock(&t->turns);
	pthread_rwlock_unlock(&t->subs_lock);
	return found;
}
