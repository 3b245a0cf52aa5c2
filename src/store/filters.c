/*
 * filters.c - see filters.h: the texts, who hangs on them, and the table of those without wildcards. The trie of the
 * others is in filters_trie.c.
 */
#include "store/filters.h"

#include <assert.h>
#include <errno.h>

#include "base/mem.h"
#include "store/filters_priv.h"
#include "store/topic.h"

struct filters *filters_new(const struct topic_key *key)
{
	struct filters *ix = mem_zalloc(sizeof(*ix));

	if (!ix)
		return NULL;
	ix->root = trie_new();
	if (!ix->root) {
		mem_free(ix);
		return NULL;
	}
	ix->key = *key;
	ix->generation = 1;
	return ix;
}

void filters_free(struct filters **ix)
{
	if (!*ix)
		return;
	assert((*ix)->count.subs == 0);
	topic_map_done(&(*ix)->exact);
	topic_map_done(&(*ix)->edges);
	mem_free((*ix)->root);
	mem_free(*ix);
	*ix = NULL;
}

/* ---- filters ---- */

static struct filter *exact_find(const struct filters *ix, struct span text)
{
	uint32_t hash = ix->exact.n ? (uint32_t)topic_hash(&ix->key, text) : 0;

	for (struct topic_link *l = topic_map_first(&ix->exact, hash); l; l = l->next) {
		struct filter *f = list_entry(l, struct filter, link);

		if (l->hash == hash && span_same(filter_text(f), text))
			return f;
	}
	return NULL;
}

struct filter *filters_find(const struct filters *ix, struct span filter)
{
	return topic_is_exact(filter) ? exact_find(ix, filter) : trie_find(ix, filter);
}

static struct filter *filter_new(struct filters *ix, struct span text)
{
	struct filter *f = mem_alloc(sizeof(*f) + text.n);
	bool exact = topic_is_exact(text);

	if (!f)
		return NULL;
	*f = (struct filter){ .link = { .n = (uint32_t)text.n } };
	list_init(&f->subs);
	memcpy(f->text, text.p, text.n);
	if (exact)
		f->link.hash = (uint32_t)topic_hash(&ix->key, text);
	if ((exact ? topic_map_add(&ix->exact, &f->link) : trie_add(ix, f)) < 0) {
		mem_free(f);
		return NULL;
	}
	(*(exact ? &ix->count.exact : &ix->count.wild))++;
	return f;
}

static void filter_free(struct filters *ix, struct filter *f)
{
	(*(f->up ? &ix->count.wild : &ix->count.exact))--;
	if (f->up)
		trie_del(ix, f);
	else
		topic_map_del(&ix->exact, &f->link);
	mem_free(f);
}

/* ---- subscriptions ---- */

int filters_add(struct filters *ix, struct span filter, struct filter_sub *sub)
{
	int r = topic_check_filter(filter, TOPIC_LEVELS_MAX);
	struct filter *f = r < 0 ? NULL : filters_find(ix, filter);

	if (r < 0)
		return r;
	if (!f)
		f = filter_new(ix, filter);
	if (!f)
		return -ENOMEM;
	list_add(&f->subs, &sub->in_filter);
	sub->filter = f;
	f->n_subs++;
	ix->count.subs++;
	ix->generation++;
	return 0;
}

void filters_del(struct filters *ix, struct filter_sub *sub)
{
	struct filter *f = sub->filter;

	if (!f)
		return;
	list_del(&sub->in_filter);
	sub->filter = NULL;
	f->n_subs--;
	ix->count.subs--;
	ix->generation++;
	if (f->n_subs == 0)
		filter_free(ix, f);
}

/* ---- matching ---- */

int filters_found_add(struct filters_found *out, struct filter *f)
{
	if (out->n == out->cap) {
		uint32_t cap = out->cap ? 2 * out->cap : 16;
		struct filter **v = mem_realloc(out->v, cap * sizeof(struct filter *));

		if (!v)
			return -ENOMEM;
		out->v = v;
		out->cap = cap;
	}
	out->v[out->n++] = f;
	return 0;
}

void filters_found_done(struct filters_found *out)
{
	mem_free(out->v);
	*out = (struct filters_found){};
}

int filters_match(const struct filters *ix, struct span name, struct filters_found *out)
{
	struct filter *f = ix->exact.n ? exact_find(ix, name) : NULL;
	int r = 0;

	out->n = out->visited = 0;
	if (f)
		r = filters_found_add(out, f);
	if (r == 0 && ix->count.wild)
		r = trie_match(ix, name, out);
	if (r < 0)
		out->n = 0;
	return r;
}

uint64_t filters_generation(const struct filters *ix)
{
	return ix->generation;
}

struct filters_count filters_count(const struct filters *ix)
{
	return ix->count;
}
