/* ids.c - see ids.h. */
#include "core/ids.h"

#include <assert.h>
#include <errno.h>

#include "base/mem.h"

enum { SLOT_BITS = 20, GEN_BITS = 28, SLOTS_MAX = 1 << SLOT_BITS };

static const uint32_t GEN_MASK = IDS_GEN_MAX;
static const uint32_t NONE = UINT32_MAX;

struct id_slot {
	void *owner;  /* NULL: free */
	uint32_t gen; /* 1 to GEN_MASK, so that no id is 0 */
	uint32_t next;
};

void ids_init(struct ids *t, unsigned loop)
{
	*t = (struct ids){ .first = NONE, .last = NONE, .loop = loop, .gen = 1 };
}

void ids_done(struct ids *t)
{
	mem_free(t->v);
	ids_init(t, t->loop);
}

/* Only called when no slot is free. */
static int grow(struct ids *t)
{
	uint32_t n = t->n + t->n / 2 + 16;

	if (n > SLOTS_MAX)
		n = SLOTS_MAX;
	if (n == t->n)
		return -ENOMEM;

	struct id_slot *v = mem_realloc(t->v, n * sizeof(*v));

	if (!v)
		return -ENOMEM;
	for (uint32_t i = t->n; i < n; i++)
		v[i] = (struct id_slot){ .next = i + 1, .gen = t->gen };
	v[n - 1].next = NONE;
	t->v = v;
	t->first = t->n;
	t->last = n - 1;
	t->n = n;
	return 0;
}

int ids_take(struct ids *t, void *owner, sess_id *ret)
{
	if (t->first == NONE && grow(t) < 0)
		return -ENOMEM;

	uint32_t i = t->first;
	struct id_slot *s = &t->v[i];

	t->first = s->next;
	if (t->first == NONE)
		t->last = NONE;
	s->owner = owner;
	t->used++;
	*ret = (sess_id)t->loop << (SLOT_BITS + GEN_BITS) | (sess_id)i << GEN_BITS | s->gen;
	return 0;
}

void ids_renew(struct ids *t, uint32_t gen)
{
	t->gen = gen;
	for (uint32_t i = t->first; i != NONE; i = t->v[i].next)
		t->v[i].gen = gen;
}

static uint32_t slot_of(sess_id id)
{
	return (uint32_t)(id >> GEN_BITS) & (SLOTS_MAX - 1);
}

void ids_free(struct ids *t, sess_id id)
{
	uint32_t i = slot_of(id);
	struct id_slot *s = &t->v[i];

	assert(ids_find(t, id));
	s->owner = NULL;
	s->gen = s->gen == GEN_MASK ? 1 : s->gen + 1;
	s->next = NONE;
	if (t->last == NONE)
		t->first = i;
	else
		t->v[t->last].next = i;
	t->last = i;
	t->used--;
}

void *ids_find(const struct ids *t, sess_id id)
{
	uint32_t i = slot_of(id);

	if (id_loop(id) != t->loop || i >= t->n || t->v[i].gen != (id & GEN_MASK))
		return NULL;
	return t->v[i].owner;
}

void *ids_at(const struct ids *t, uint32_t i)
{
	return t->v[i].owner;
}
