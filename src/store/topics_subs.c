/* topics_subs.c - subscriptions: in the index of a loop, or in the one for all. See topics.h, and topics_priv.h for the locks. */
#include <errno.h>

#include "base/mem.h"
#include "store/topic.h"
#include "store/topics_priv.h"

struct span sub_filter(const struct sub *sub)
{
	return filter_text(sub->share ? sub->share->entry.at.filter : sub->entry.at.filter);
}

/* In the group, or NULL and to the filter. */
static struct sub *among_its_own(const struct subscriber *s, const struct share *g, const struct filter *f)
{
	for (struct list *l = s->subs.next; l != &s->subs; l = l->next) {
		struct sub *sub = list_entry(l, struct sub, mine);

		if (sub->share == g && (g || sub->entry.at.filter == f))
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

static struct sub *plain_find(const struct filters *ix, const struct subscriber *s, struct span filter)
{
	const struct filter *f = filters_find(ix, filter);

	if (!f)
		return NULL;
	return f->n_subs < s->n_subs ? among_the_filters(f, s) : among_its_own(s, NULL, f);
}

static struct sub *shared_find(struct topics *t, const struct subscriber *s, struct span group, struct span filter)
{
	const struct share *g = share_find(t, group, filter);

	if (!g)
		return NULL;
	return g->n < s->n_subs ? share_member(t, g, s) : among_its_own(s, g, NULL);
}

/* Whoever has fewer is looked through, the filter, the group or the subscriber: a packet can ask for many. */
struct sub *topics_subscription(struct topics *t, const struct filters *ix, const struct subscriber *s,
				struct span group, struct span filter)
{
	struct sub *found;

	if (!s->kept && !group.n)
		return plain_find(ix, s, filter);
	pthread_rwlock_rdlock(&t->subs_lock);
	found = group.n ? shared_find(t, s, group, filter) : plain_find(t->subs, s, filter);
	pthread_rwlock_unlock(&t->subs_lock);
	return found;
}

static int put_in(struct topics *t, struct filters *ix, struct sub *sub, const struct wish *w)
{
	int r;

	if (!sub->global)
		return filters_add(ix, w->filter, &sub->entry.at);
	pthread_rwlock_wrlock(&t->subs_lock);
	r = w->group.n ? share_join(t, sub, w) : filters_add(t->subs, w->filter, &sub->entry.at);
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

static int sub_new(struct topics *t, struct filters *ix, struct subscriber *s, const struct wish *w, bool ask)
{
	struct sub *sub = mem_zalloc(sizeof(*sub));
	int r;

	if (!sub)
		return -ENOMEM;
	sub->whose = s;
	sub->global = s->kept || w->group.n;
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
	sub = topics_subscription(t, ix, s, w->group, w->filter);
	if (!sub)
		return s->n_subs < max ? sub_new(t, ix, s, w, ask) : -ENOBUFS;
	change(t, sub, w, ask);
	return 1;
}

void topics_unsubscribe(struct topics *t, struct filters *ix, struct sub *sub)
{
	if (sub->share && !t->over)
		share_remember(sub->whose, sub);
	if (topic_is_own(sub_filter(sub)))
		atomic_fetch_sub(&t->watchers, 1);
	take_out(t, ix, sub);
	list_del(&sub->mine);
	sub->whose->n_subs--;
	atomic_fetch_sub_explicit(&t->subscriptions, 1, memory_order_relaxed);
	mem_free(sub);
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
	const struct sub *sub = topics_subscription(t, NULL, s, group, filter);
	const struct replay *owed = group.n ? NULL : replay_find(s->replays, filter);

	if (!sub)
		return false;
	*ret = (struct keep_subscription){
		.session = s->kept_id,
		.group = sub->share ? share_group(sub->share) : (struct span){},
		.filter = sub_filter(sub),
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

void topics_unsubscribe_all(struct topics *t, struct filters *ix, struct subscriber *s)
{
	while (!list_empty(&s->subs))
		topics_unsubscribe(t, ix, list_entry(s->subs.next, struct sub, mine));
}
