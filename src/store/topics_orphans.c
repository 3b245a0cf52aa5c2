/* topics_orphans.c - what members of shares have left undone, for other members: from the end of one to who ended it. See topics.h. */
#include "base/mem.h"
#include "store/topics_priv.h"

enum { FIRST = 16 };

/* Where it hangs; *at is NULL: it has left nothing yet. */
static struct orphans **find(struct orphans **at, const struct subscriber *of)
{
	while (*at && (*at)->of != of)
		at = &(*at)->next;
	return at;
}

static struct orphans *take_out(struct topics *t, const struct subscriber *of)
{
	struct orphans *head = atomic_load(&t->orphans), **at = find(&head, of), *all = *at;

	if (all)
		*at = all->next;
	atomic_store(&t->orphans, head);
	return all;
}

static struct orphans *with_place(struct orphans *all)
{
	size_t cap = all ? 2 * all->cap : FIRST;
	struct orphans *more;

	if (all && all->n < all->cap)
		return all;
	more = mem_realloc(all, sizeof(*more) + cap * sizeof(more->v[0]));
	if (!more)
		return NULL;
	if (!all)
		more->n = 0;
	more->cap = cap;
	return more;
}

bool topics_orphans_add(struct topics *t, const struct subscriber *of, const struct orphan *o)
{
	struct orphans *all, *more;

	pthread_mutex_lock(&t->orphans_lock);
	all = take_out(t, of);
	more = with_place(all);
	if (more) {
		more->v[more->n++] = *o;
		more->of = of;
		all = more;
	}
	if (all) {
		all->next = atomic_load(&t->orphans);
		atomic_store(&t->orphans, all);
	}
	pthread_mutex_unlock(&t->orphans_lock);
	return more != NULL;
}

struct orphans *topics_orphans(struct topics *t, const struct subscriber *of)
{
	struct orphans *all;

	if (!atomic_load_explicit(&t->orphans, memory_order_acquire))
		return NULL;
	pthread_mutex_lock(&t->orphans_lock);
	all = take_out(t, of);
	pthread_mutex_unlock(&t->orphans_lock);
	return all;
}

void orphan_done(struct orphan *o)
{
	message_unref(o->d.m);
	subscriber_unref(o->to);
}

void orphans_free(struct orphans *all)
{
	for (size_t i = 0; all && i < all->n; i++)
		orphan_done(&all->v[i]);
	mem_free(all);
}

void topics_orphans_done(struct topics *t)
{
	struct orphans *all;

	while ((all = atomic_load(&t->orphans))) {
		atomic_store(&t->orphans, all->next);
		orphans_free(all);
	}
}
