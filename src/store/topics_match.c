/*
 * topics_match.c - who is to have a message, of those in the index for all; and before that, whether one of them has no room, or needs the
 * disk for it. See topics.h, and topics_priv.h for the locks.
 */
#include "store/topics_priv.h"

uint32_t topics_watchers(const struct topics *t)
{
	return atomic_load(&t->watchers);
}

bool topics_any(const struct topics *t)
{
	return atomic_load_explicit(&t->subs_n, memory_order_acquire) != 0;
}

static void give_entry(struct topics *t, struct entry *e, topics_give *give, void *arg)
{
	struct sub *sub;

	if (!e->share) {
		give(arg, list_entry(e, struct sub, entry));
		return;
	}
	pthread_mutex_lock(&t->turns);
	sub = share_take_turn(e->share, NULL);
	pthread_mutex_unlock(&t->turns);
	give(arg, sub);
}

int topics_match(struct topics *t, struct span name, struct filters_found *found, topics_give *give, void *arg)
{
	int r;

	pthread_rwlock_rdlock(&t->subs_lock);
	r = filters_match(t->subs, name, found);
	for (uint32_t i = 0; r == 0 && i < found->n; i++)
		for (struct list *l = found->v[i]->subs.next; l != &found->v[i]->subs; l = l->next)
			give_entry(t, list_entry(l, struct entry, at.in_filter), give, arg);
	pthread_rwlock_unlock(&t->subs_lock);
	return r;
}

/* One that ends with its connection may lose what it has no room for. */
static bool is_full_for(const struct sub *sub, size_t size, const struct subscriber_limits *lim)
{
	return sub->qos && sub->whose->kept && (!sub_has_room(sub) || size > lim->queue_bytes);
}

static bool nobody_has_room(struct topics *t, const struct share *g, size_t size, const struct subscriber_limits *lim)
{
	bool full = true;

	pthread_mutex_lock(&t->turns);
	for (const struct list *l = g->members.next; l != &g->members && full; l = l->next)
		full = is_full_for(list_entry(l, struct sub, in_share), size, lim);
	pthread_mutex_unlock(&t->turns);
	return full;
}

/* Of a share the first member: its queue is full as all others are. */
static struct span name_of(struct topics *t, const struct entry *e)
{
	const struct sub *sub = list_entry(e, struct sub, entry);

	if (e->share) {
		pthread_mutex_lock(&t->turns);
		sub = list_entry(e->share->members.next, struct sub, in_share);
		pthread_mutex_unlock(&t->turns);
	}
	return subscriber_name(sub->whose);
}

static bool is_full_entry(struct topics *t, const struct entry *e, const struct message *m,
			  const struct subscriber_limits *lim)
{
	const struct sub *sub;

	if (e->share)
		return nobody_has_room(t, e->share, message_size(m), lim);
	sub = list_entry(e, struct sub, entry);
	return !(sub->no_local && m->from == sub->whose->serial) && is_full_for(sub, message_size(m), lim);
}

/* Would its message go to the disk? */
static bool is_kept_entry(struct topics *t, const struct entry *e, const struct message *m,
			  const struct subscriber_limits *lim)
{
	const struct sub *sub = list_entry(e, struct sub, entry);

	(void)lim;
	if (e->share) {
		pthread_mutex_lock(&t->turns);
		sub = share_turn(e->share, NULL);
		pthread_mutex_unlock(&t->turns);
	} else if (sub->no_local && m->from == sub->whose->serial) {
		return false;
	}
	return sub->qos && sub->whose->kept_id;
}

typedef bool asks(struct topics *t, const struct entry *e, const struct message *m,
		  const struct subscriber_limits *lim);

/* `whose` (NULL: nobody asks): the name of the one. */
static bool matches_any(struct topics *t, const struct message *m, struct filters_found *found, asks *is,
			const struct subscriber_limits *lim, struct buf *whose)
{
	bool yes = false;
	struct span name;

	pthread_rwlock_rdlock(&t->subs_lock);
	if (filters_match(t->subs, message_topic(m), found) < 0)
		found->n = 0;
	for (uint32_t i = 0; i < found->n && !yes; i++)
		for (const struct list *l = found->v[i]->subs.next; l != &found->v[i]->subs && !yes; l = l->next) {
			const struct entry *e = list_entry(l, struct entry, at.in_filter);

			yes = is(t, e, m, lim);
			name = yes && whose ? name_of(t, e) : (struct span){};
			if (name.n)
				buf_add(whose, name.p, name.n);
		}
	pthread_rwlock_unlock(&t->subs_lock);
	return yes;
}

bool topics_full(struct topics *t, const struct message *m, const struct subscriber_limits *lim,
		 struct filters_found *found, struct buf *whose)
{
	return matches_any(t, m, found, is_full_entry, lim, whose);
}

bool topics_must_keep(struct topics *t, const struct message *m, struct filters_found *found)
{
	return matches_any(t, m, found, is_kept_entry, NULL, NULL);
}
