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
	sub = share_take_turn(e->share);
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

/* Would its message go to the disk? */
static bool is_kept(const struct sub *sub, size_t size, const struct subscriber_limits *lim)
{
	(void)size;
	(void)lim;
	return sub->qos && sub->whose->kept_id;
}

typedef bool asks(const struct sub *sub, size_t size, const struct subscriber_limits *lim);

/* Of a share, whose turn it is; it stays his. NULL: what it says itself. */
static const struct sub *who_hears(struct topics *t, const struct entry *e, const struct message *m)
{
	const struct sub *sub = list_entry(e, struct sub, entry);

	if (!e->share)
		return sub->no_local && m->from == sub->whose->serial ? NULL : sub;
	pthread_mutex_lock(&t->turns);
	sub = share_turn(e->share);
	pthread_mutex_unlock(&t->turns);
	return sub;
}

/* `whose` (NULL: nobody asks): the name of the one. */
static bool matches_any(struct topics *t, const struct message *m, struct filters_found *found, asks *is,
			const struct subscriber_limits *lim, struct buf *whose)
{
	bool yes = false;

	pthread_rwlock_rdlock(&t->subs_lock);
	if (filters_match(t->subs, message_topic(m), found) < 0)
		found->n = 0;
	for (uint32_t i = 0; i < found->n && !yes; i++)
		for (const struct list *l = found->v[i]->subs.next; l != &found->v[i]->subs && !yes; l = l->next) {
			const struct sub *sub = who_hears(t, list_entry(l, struct entry, at.in_filter), m);

			yes = sub && is(sub, message_size(m), lim);
			if (yes && whose)
				buf_add(whose, sub->whose->name, sub->whose->link.n);
		}
	pthread_rwlock_unlock(&t->subs_lock);
	return yes;
}

bool topics_full(struct topics *t, const struct message *m, const struct subscriber_limits *lim,
		 struct filters_found *found, struct buf *whose)
{
	return matches_any(t, m, found, is_full_for, lim, whose);
}

bool topics_must_keep(struct topics *t, const struct message *m, struct filters_found *found)
{
	return matches_any(t, m, found, is_kept, NULL, NULL);
}
