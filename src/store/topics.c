/* topics.c - who is who: the register of names. See topics.h. */
#include <errno.h>

#include "base/mem.h"
#include "store/topics_priv.h"

/* ---- life ---- */

int topics_new(const struct topic_key *key, struct topics **ret)
{
	struct topics *t = mem_zalloc(sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->key = *key;
	list_init(&t->all);
	pthread_mutex_init(&t->lock, NULL);
	pthread_mutex_init(&t->turns, NULL);
	pthread_mutex_init(&t->orphans_lock, NULL);
	pthread_mutex_init(&t->retained_lock, NULL);
	pthread_rwlock_init(&t->subs_lock, NULL);
	t->subs = filters_new(key);
	t->retained = names_new(key);
	if (!t->subs || !t->retained) {
		topics_free(&t);
		return -ENOMEM;
	}
	*ret = t;
	return 0;
}

/* Those who might have come back, and now will not. */
static void end_all(struct topics *t)
{
	while (!list_empty(&t->all)) {
		struct subscriber *s = subscriber_ref(list_entry(t->all.next, struct subscriber, all));

		topics_end(t, NULL, s);
		subscriber_unref(s);
	}
}

void topics_free(struct topics **tp)
{
	struct topics *t = *tp;

	if (!t)
		return;
	*tp = NULL;
	t->over = true;
	end_all(t);
	topics_orphans_done(t);
	if (t->retained)
		topics_retained_done(t);
	names_free(&t->retained);
	filters_free(&t->subs);
	topic_map_done(&t->shares);
	topic_map_done(&t->names);
	keep_batch_done(&t->retained_batch);
	pthread_mutex_destroy(&t->lock);
	pthread_mutex_destroy(&t->turns);
	pthread_mutex_destroy(&t->orphans_lock);
	pthread_mutex_destroy(&t->retained_lock);
	pthread_rwlock_destroy(&t->subs_lock);
	mem_free(t);
}

/* ---- names ---- */

static struct subscriber *find(const struct topics *t, struct span name, uint32_t hash)
{
	for (struct topic_link *l = t->names.n ? topic_map_first(&t->names, hash) : NULL; l; l = l->next) {
		struct subscriber *s = list_entry(l, struct subscriber, link);

		if (l->hash == hash && span_same(subscriber_name(s), name))
			return s;
	}
	return NULL;
}

static void take_out(struct topics *t, struct subscriber *s)
{
	topic_map_del(&t->names, &s->link);
	list_del(&s->all);
	t->kept_n -= s->kept;
	s->dead = true;
}

/*
 * Of nobody's, that is in the register no more. As long as it can be found by what it subscribed to it takes what comes: so of its shares
 * nothing is lost between the two.
 */
static void close_off(struct topics *t, struct subscriber *s)
{
	topics_unsubscribe_all(t, NULL, s);
	pthread_mutex_lock(&t->lock);
	s->closed = true;
	pthread_mutex_unlock(&t->lock);
	topics_give_up_shares(t, s);
}

/* Of a new one: a reference for the register, and one for who has come. */
static int put_in(struct topics *t, struct span name, uint64_t owner, uint32_t hash, struct subscriber **ret)
{
	struct subscriber *s = subscriber_new(name, t->disk.keep ? keep_new_id(t->disk.keep) : ++t->serial);
	int r;

	if (!s)
		return -ENOMEM;
	s->link.hash = hash;
	s->owner = owner;
	r = topic_map_add(&t->names, &s->link);
	if (r < 0) {
		subscriber_unref(s);
		return r;
	}
	list_add(&t->all, &s->all);
	*ret = subscriber_ref(s);
	return 0;
}

/* What waited for its end is over: it is somebody's again. */
static void give_back(struct subscriber *s)
{
	s->epoch++;
	s->slow = s->woken = false;
	for (uint32_t i = 0; i < s->flights_n; i++)
		s->flights[i].sent = false;
}

static void take_will(struct subscriber *s, struct message **ret)
{
	*ret = s->will.m;
	s->will.m = NULL;
}

int topics_claim(struct topics *t, const struct claim *c, struct subscriber **ret, bool *ret_present,
		 uint64_t *ret_where, struct subscriber **ret_old)
{
	uint32_t hash = (uint32_t)topic_hash(&t->key, c->name);
	struct subscriber *s;
	int r = 0;

	*ret_present = false;
	*ret_old = NULL;
	pthread_mutex_lock(&t->lock);
	s = find(t, c->name, hash);
	if (s && s->owner && s->owner != c->owner) {
		pthread_mutex_unlock(&t->lock);
		return -EACCES;
	}
	if (s && s->where) {
		*ret_where = s->where;
		pthread_mutex_unlock(&t->lock);
		return -EBUSY;
	}
	if (s && c->clean) {
		take_out(t, s);
		*ret_old = s;
		s = NULL;
	}
	if (s) {
		give_back(s);
		*ret = subscriber_ref(s);
		*ret_present = true;
	} else {
		r = put_in(t, c->name, c->owner, hash, ret);
	}
	if (r == 0) {
		(*ret)->home = c->home;
		(*ret)->where = c->where;
	}
	pthread_mutex_unlock(&t->lock);
	if (*ret_present)
		topics_ready(t, *ret);
	if (*ret_old)
		close_off(t, *ret_old);
	return r;
}

int topics_restore(struct topics *t, const struct keep_session *past, uint64_t expires, uint64_t will_at,
		   struct subscriber **ret)
{
	int r = put_in(t, past->name, past->owner, (uint32_t)topic_hash(&t->key, past->name), ret);

	if (r < 0)
		return r;
	subscriber_unref(*ret); /* the register's stays */
	(*ret)->kept = true;
	t->kept_n++;
	(*ret)->kept_id = (*ret)->serial = past->id;
	(*ret)->expiry = past->expiry;
	(*ret)->expires = expires;
	(*ret)->will_at = will_at;
	(*ret)->slow = true;
	return 0;
}

int topics_stay(struct topics *t, struct subscriber *s, size_t max)
{
	int r = 0;

	pthread_mutex_lock(&t->lock);
	if (!s->kept && t->kept_n >= max) {
		r = -ENOBUFS;
	} else if (!s->kept) {
		s->kept = true;
		t->kept_n++;
	}
	pthread_mutex_unlock(&t->lock);
	return r;
}

void topics_own(struct topics *t, struct subscriber *s, uint64_t owner)
{
	pthread_mutex_lock(&t->lock);
	s->owner = owner;
	pthread_mutex_unlock(&t->lock);
}

void topics_each_away(struct topics *t, topics_changed *one, void *arg)
{
	pthread_mutex_lock(&t->lock);
	for (struct list *l = t->all.next; l != &t->all; l = l->next) {
		struct subscriber *s = list_entry(l, struct subscriber, all);

		if (!s->where)
			one(arg, s);
	}
	pthread_mutex_unlock(&t->lock);
}

uint32_t topics_leave(struct topics *t, struct subscriber *s, uint64_t expires, uint64_t will_at)
{
	uint32_t epoch;

	pthread_mutex_lock(&t->lock);
	s->expires = expires;
	s->will_at = will_at;
	s->where = 0;
	s->left = s->home;
	epoch = ++s->epoch;
	pthread_mutex_unlock(&t->lock);
	return epoch;
}

void topics_end(struct topics *t, struct filters *ix, struct subscriber *s)
{
	bool was_in;

	topics_unsubscribe_all(t, ix, s);
	pthread_mutex_lock(&t->lock);
	was_in = !s->dead;
	if (was_in)
		take_out(t, s);
	s->where = 0;
	s->closed = true;
	pthread_mutex_unlock(&t->lock);
	topics_give_up_shares(t, s);
	if (was_in)
		subscriber_unref(s);
}

struct message *topics_due_will(struct topics *t, const struct subscriber *s, uint32_t epoch, uint64_t now)
{
	struct message *m = NULL;

	pthread_mutex_lock(&t->lock);
	if (!s->dead && s->epoch == epoch && s->expires > now && s->will.m && s->will_at <= now)
		m = message_ref(s->will.m);
	pthread_mutex_unlock(&t->lock);
	return m;
}

uint64_t topics_due(struct topics *t, struct subscriber *s, uint32_t epoch, uint64_t now, struct message **ret_will,
		    bool *ret_over, topics_changed *changed, void *arg)
{
	uint64_t next = UINT64_MAX;
	bool over = false;

	*ret_will = NULL;
	pthread_mutex_lock(&t->lock);
	if (!s->dead && s->epoch == epoch) {
		over = s->expires <= now;
		if (s->will.m && (over || s->will_at <= now))
			take_will(s, ret_will);
		next = s->will.m && s->will_at < s->expires ? s->will_at : s->expires;
		if (over)
			take_out(t, s);
		else if (*ret_will)
			changed(arg, s);
	}
	pthread_mutex_unlock(&t->lock);
	*ret_over = over;
	if (!over)
		return next;
	close_off(t, s);
	subscriber_unref(s);
	return UINT64_MAX;
}

int topics_store(struct topics *t, struct subscriber *s, const struct delivery *d, const struct subscriber_limits *lim,
		 uint64_t *ret_where)
{
	int r = 0;

	pthread_mutex_lock(&t->lock);
	*ret_where = s->where;
	if (s->where) {
		r = -EAGAIN;
	} else if (d->qos == 0 || s->closed) {
		r = -ENOENT;
	} else {
		s->slow = true; /* it takes nothing, so all limits count */
		r = subscriber_push(s, d, lim);
	}
	pthread_mutex_unlock(&t->lock);
	return r;
}

struct topics_sizes topics_sizes(struct topics *t)
{
	struct topics_sizes n = { .subscriptions = atomic_load(&t->subscriptions) };

	pthread_mutex_lock(&t->lock);
	n.known = t->names.n;
	pthread_mutex_unlock(&t->lock);
	pthread_mutex_lock(&t->retained_lock);
	n.retained = names_count(t->retained);
	n.retained_bytes = t->retained_bytes;
	pthread_mutex_unlock(&t->retained_lock);
	return n;
}
