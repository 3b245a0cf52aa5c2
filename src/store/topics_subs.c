/* topics_subs.c - subscriptions: in the index of a loop, or in the one for all. See topics.h. */
#include <errno.h>

#include "base/mem.h"
#include "store/topic.h"
#include "store/topics_priv.h"

/* ---- groups ---- */

static struct span share_group(const struct share *g)
{
	return (struct span){ g->group, g->group_n };
}

/* The filter's groups are few, and hang on it: no other index is needed. */
static struct share *share_find(const struct topics *t, struct span group, struct span filter)
{
	const struct filter *f = filters_find(t->subs, filter);

	for (struct list *l = f ? f->subs.next : NULL; l && l != &f->subs; l = l->next) {
		struct entry *e = list_entry(l, struct entry, at.in_filter);

		if (e->share && span_same(share_group(e->share), group))
			return e->share;
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
	g->group_n = (uint16_t)group.n;
	memcpy(g->group, group.p, group.n);
	list_init(&g->members);
	r = filters_add(t->subs, filter, &g->entry.at);
	if (r < 0) {
		mem_free(g);
		return r;
	}
	*ret = g;
	return 0;
}

static void share_leave(struct topics *t, struct sub *sub)
{
	struct share *g = sub->share;

	list_del(&sub->in_share);
	if (--g->n)
		return;
	filters_del(t->subs, &g->entry.at);
	mem_free(g);
}

static bool has_room(const struct sub *sub)
{
	return !atomic_load_explicit(&sub->whose->full, memory_order_relaxed);
}

static bool is_ready(const struct sub *sub)
{
	return has_room(sub) && sub->whose->where;
}

/* One that has a connection and room, if there is such a one, else room for when it comes back [4.8.2]. */
static struct sub *whose_turn(const struct share *g, const struct subscriber *but)
{
	struct sub *best = NULL;

	for (const struct list *l = g->members.next; l != &g->members; l = l->next) {
		struct sub *sub = list_entry(l, struct sub, in_share);

		if (sub->whose == but)
			continue;
		if (is_ready(sub))
			return sub;
		if (!best || (has_room(sub) && !has_room(best)))
			best = sub;
	}
	return best;
}

/* The next message goes to the one behind it, also among those who are away. */
static struct sub *take_turn(struct share *g, const struct subscriber *but)
{
	struct sub *sub = whose_turn(g, but);

	while (sub && g->members.prev != &sub->in_share) {
		struct list *first = g->members.next;

		list_del(first);
		list_add(&g->members, first);
	}
	return sub;
}

/* ---- one subscription ---- */

static struct span filter_of(const struct sub *sub)
{
	return filter_text(sub->share ? sub->share->entry.at.filter : sub->entry.at.filter);
}

static struct sub *among_its_own(const struct subscriber *s, struct span group, struct span filter)
{
	for (struct list *l = s->subs.next; l != &s->subs; l = l->next) {
		struct sub *sub = list_entry(l, struct sub, mine);

		if (span_same(filter_of(sub), filter) &&
		    (sub->share ? span_same(share_group(sub->share), group) : group.n == 0))
			return sub;
	}
	return NULL;
}

static struct sub *among_the_filters(const struct filter *f, const struct subscriber *s)
{
	for (struct list *l = f->subs.next; l != &f->subs; l = l->next) {
		struct entry *e = list_entry(l, struct entry, at.in_filter);

		if (!e->share && list_entry(e, struct sub, entry)->whose == s)
			return list_entry(e, struct sub, entry);
	}
	return NULL;
}

/* Whoever has fewer is looked through, the filter or the subscriber: a packet can ask for a hundred thousand. */
static struct sub *sub_find(struct topics *t, const struct filters *ix, const struct subscriber *s, struct span group,
			    struct span filter)
{
	bool global = s->kept || group.n, few;
	struct sub *found = NULL;
	const struct filter *f;

	if (global)
		pthread_rwlock_rdlock(&t->subs_lock);
	f = filters_find(global ? t->subs : ix, filter);
	few = f && !group.n && f->n_subs < s->n_subs;
	if (few)
		found = among_the_filters(f, s);
	if (global)
		pthread_rwlock_unlock(&t->subs_lock);
	return f && !few ? among_its_own(s, group, filter) : found;
}

static int put_in_share(struct topics *t, struct sub *sub, const struct wish *w)
{
	struct share *g = share_find(t, w->group, w->filter);
	int r = g ? 0 : share_new(t, w->group, w->filter, &g);

	if (r < 0)
		return r;
	sub->share = g;
	list_add(&g->members, &sub->in_share);
	g->n++;
	return 0;
}

static int put_in(struct topics *t, struct filters *ix, struct sub *sub, const struct wish *w)
{
	int r;

	if (!sub->global)
		return filters_add(ix, w->filter, &sub->entry.at);
	pthread_rwlock_wrlock(&t->subs_lock);
	r = w->group.n ? put_in_share(t, sub, w) : filters_add(t->subs, w->filter, &sub->entry.at);
	if (r == 0)
		atomic_fetch_add(&t->subs_n, 1);
	pthread_rwlock_unlock(&t->subs_lock);
	return r;
}

static void take_out(struct topics *t, struct filters *ix, struct sub *sub)
{
	if (!sub->global) {
		filters_del(ix, &sub->entry.at);
		return;
	}
	pthread_rwlock_wrlock(&t->subs_lock);
	if (sub->share)
		share_leave(t, sub);
	else
		filters_del(t->subs, &sub->entry.at);
	atomic_fetch_sub(&t->subs_n, 1);
	pthread_rwlock_unlock(&t->subs_lock);
}

static void set_options(struct sub *sub, const struct wish *w, bool ask)
{
	sub->id = w->id;
	sub->qos = w->qos;
	sub->retain_handling = w->retain_handling;
	sub->no_local = w->no_local;
	sub->as_published = w->as_published;
	sub->ask = ask;
}

/* Others may be matching: in the index for all, options change behind its lock. */
static void change(struct topics *t, struct sub *sub, const struct wish *w, bool ask)
{
	if (sub->global)
		pthread_rwlock_wrlock(&t->subs_lock);
	set_options(sub, w, ask);
	if (sub->global)
		pthread_rwlock_unlock(&t->subs_lock);
}

/* 1 to ALONE - 1, round and round. */
static void number(struct subscriber *s, struct sub *sub)
{
	do
		s->shares++;
	while (s->shares == 0 || s->shares == ALONE);
	sub->number = s->shares;
}

static int sub_new(struct topics *t, struct filters *ix, struct subscriber *s, const struct wish *w, bool ask)
{
	struct sub *sub = mem_zalloc(sizeof(*sub));
	int r;

	if (!sub)
		return -ENOMEM;
	sub->whose = s;
	sub->global = s->kept || w->group.n;
	if (w->group.n)
		number(s, sub);
	list_init(&sub->in_share);
	set_options(sub, w, ask);
	r = put_in(t, ix, sub, w);
	if (r < 0) {
		mem_free(sub);
		return r;
	}
	list_add(&s->subs, &sub->mine);
	s->n_subs++;
	atomic_fetch_add_explicit(&t->subscriptions, 1, memory_order_relaxed);
	if (topic_is_own(w->filter))
		atomic_fetch_add(&t->watchers, 1);
	return 0;
}

int topics_subscribe(struct topics *t, struct filters *ix, struct subscriber *s, const struct topics_access *a,
		     const struct wish *w, uint32_t max)
{
	struct sub *sub;
	bool ask = true;
	int r = a ? topics_may_hear(a, w->filter, &ask) : 0;

	if (r < 0)
		return r;
	sub = sub_find(t, ix, s, w->group, w->filter);
	if (!sub)
		return s->n_subs < max ? sub_new(t, ix, s, w, ask) : -ENOBUFS;
	change(t, sub, w, ask);
	return 1;
}

static void remove_sub(struct topics *t, struct filters *ix, struct sub *sub)
{
	if (topic_is_own(filter_of(sub)))
		atomic_fetch_sub(&t->watchers, 1);
	take_out(t, ix, sub);
	list_del(&sub->mine);
	sub->whose->n_subs--;
	atomic_fetch_sub_explicit(&t->subscriptions, 1, memory_order_relaxed);
	mem_free(sub);
}

bool topics_unsubscribe(struct topics *t, struct filters *ix, struct subscriber *s, struct span group,
			struct span filter)
{
	struct sub *sub = sub_find(t, ix, s, group, filter);

	if (sub)
		remove_sub(t, ix, sub);
	return sub != NULL;
}

struct delivery topics_delivery(const struct sub *sub, struct message *m)
{
	return (struct delivery){
		.m = m,
		.id = sub->id,
		.qos = m->qos < sub->qos ? m->qos : sub->qos,
		.retain = sub->as_published && m->retain,
		.alone = sub->number,
		.ask = sub->ask,
	};
}

bool topics_record_sub(struct topics *t, const struct subscriber *s, struct span group, struct span filter,
		       struct keep_subscription *ret)
{
	const struct sub *sub = sub_find(t, NULL, s, group, filter);
	const struct replay *owed = group.n ? NULL : replay_find(s->replays, filter);

	if (!sub)
		return false;
	*ret = (struct keep_subscription){
		.session = s->kept_id,
		.group = sub->share ? share_group(sub->share) : (struct span){},
		.filter = filter_of(sub),
		.id = sub->id,
		.qos = sub->qos,
		.retain_handling = sub->retain_handling,
		.number = sub->number,
		.no_local = sub->no_local,
		.as_published = sub->as_published,
	};
	if (owed && owed->kept && !owed->cursor.over) {
		ret->owed = true;
		ret->owed_at = names_cursor_at(&owed->cursor);
	}
	return true;
}

/* ---- the end ---- */

static struct span left_group(const struct left *l)
{
	return (struct span){ l->text, l->group_n };
}

static struct span left_filter(const struct left *l)
{
	return (struct span){ l->text + l->group_n, l->filter_n };
}

/* When memory is out nobody gets what comes by it. */
static void remember_share(struct subscriber *s, const struct sub *sub)
{
	struct span group = share_group(sub->share), filter = filter_of(sub);
	struct left *l = mem_alloc(sizeof(*l) + group.n + filter.n);

	if (!l)
		return;
	*l = (struct left){
		.next = s->groups, .number = sub->number, .group_n = (uint16_t)group.n, .filter_n = (uint32_t)filter.n
	};
	memcpy(l->text, group.p, group.n);
	memcpy(l->text + group.n, filter.p, filter.n);
	s->groups = l;
}

void topics_unsubscribe_all(struct topics *t, struct filters *ix, struct subscriber *s)
{
	while (!list_empty(&s->subs)) {
		struct sub *sub = list_entry(s->subs.next, struct sub, mine);

		if (sub->share && !t->over)
			remember_share(s, sub);
		remove_sub(t, ix, sub);
	}
}

/* Which one of those that it has left; `m` came by it, if it has its number and matches. With the index locked for reading. */
static bool leave_to_another(struct topics *t, const struct subscriber *s, const struct left *l, struct message *m,
			     unsigned number, const struct subscriber *of)
{
	struct share *g;
	const struct sub *other;

	if (number != l->number || !topic_matches(left_filter(l), message_topic(m)))
		return false;
	g = share_find(t, left_group(l), left_filter(l));
	other = g ? take_turn(g, s) : NULL;
	if (other)
		topics_orphans_add(t, of, other, m);
	return other != NULL;
}

/*
 * In order, what is not done. What may have been sent with QoS 2 is its own for ever: that is under way, or was there when the process
 * began.
 */
static void leave_all(struct topics *t, const struct subscriber *s, const struct left *l)
{
	for (uint32_t i = 0; i < s->flights_n; i++)
		if (s->flights[i].qos == 1)
			(void)leave_to_another(t, s, l, s->flights[i].m, s->flights[i].alone, s);
	for (uint32_t i = 0; i < s->queue_n; i++) {
		const struct delivery *d = subscriber_queued(s, i);

		if (d->m && d->qos && !(d->qos == 2 && d->dup))
			(void)leave_to_another(t, s, l, d->m, d->alone, s);
	}
}

void topics_give_up_shares(struct topics *t, const struct subscriber *s)
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

bool topics_too_late(struct topics *t, const struct subscriber *s, const struct delivery *d,
		     const struct subscriber *of)
{
	bool found = false;

	if (!d->qos || !d->alone || !s->groups)
		return false;
	pthread_rwlock_rdlock(&t->subs_lock);
	pthread_mutex_lock(&t->turns);
	for (const struct left *l = s->groups; l && !found; l = l->next)
		found = leave_to_another(t, s, l, d->m, d->alone, of);
	pthread_mutex_unlock(&t->turns);
	pthread_rwlock_unlock(&t->subs_lock);
	return found;
}

/* ---- publishing ---- */

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
	sub = take_turn(e->share, NULL);
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
	return sub->qos && sub->whose->kept && (!has_room(sub) || size > lim->queue_bytes);
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
	const struct sub *sub = list_entry(e, struct sub, entry);

	if (e->share)
		return nobody_has_room(t, e->share, message_size(m), lim);
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
		sub = whose_turn(e->share, NULL);
		pthread_mutex_unlock(&t->turns);
	} else if (sub->no_local && m->from == sub->whose->serial) {
		return false;
	}
	return sub->qos && sub->whose->kept_id;
}

typedef bool asks(struct topics *t, const struct entry *e, const struct message *m,
		  const struct subscriber_limits *lim);

/* `whose` (NULL: nobody asks): the name of the one. */
static bool any(struct topics *t, const struct message *m, struct filters_found *found, asks *is,
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
	return any(t, m, found, is_full_entry, lim, whose);
}

bool topics_must_keep(struct topics *t, const struct message *m, struct filters_found *found)
{
	return any(t, m, found, is_kept_entry, NULL, NULL);
}
