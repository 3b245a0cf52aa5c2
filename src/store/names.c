/*
 * names.c - see names.h. The order is kept by a treap: a search tree in which the hash of a name is its rank, so that
 * its shape is that of a random one whoever chooses the names. The walk of a filter is in names_walk.c.
 */
#include "store/names.h"

#include <errno.h>

#include "base/list.h"
#include "base/mem.h"
#include "store/names_priv.h"

struct names *names_new(const struct topic_key *key)
{
	struct names *ix = mem_zalloc(sizeof(*ix));

	if (ix)
		ix->key = *key;
	return ix;
}

void names_free(struct names **ix)
{
	if (!*ix)
		return;
	topic_map_done(&(*ix)->map);
	mem_free(*ix);
	*ix = NULL;
}

size_t names_count(const struct names *ix)
{
	return ix->map.n;
}

struct name *names_any(const struct names *ix)
{
	return ix->root;
}

static struct name *find(const struct names *ix, struct span text, uint32_t hash)
{
	for (struct topic_link *l = topic_map_first(&ix->map, hash); l; l = l->next) {
		struct name *node = list_entry(l, struct name, link);

		if (l->hash == hash && span_same(name_text(node), text))
			return node;
	}
	return NULL;
}

struct name *names_find(const struct names *ix, struct span text)
{
	return ix->map.n ? find(ix, text, (uint32_t)topic_hash(&ix->key, text)) : NULL;
}

/* ---- order ---- */

static int rank(uint8_t c)
{
	return c == '/' ? 0 : c; /* no name has a NUL */
}

/* The first n bytes of both. Names of one place have much in common, so eight at a time. */
static int order_bytes(const uint8_t *a, const uint8_t *b, size_t n)
{
	uint64_t x, y;
	size_t i = 0;

	for (; i + sizeof(x) <= n; i += sizeof(x)) {
		memcpy(&x, a + i, sizeof(x));
		memcpy(&y, b + i, sizeof(y));
		if (x != y)
			break;
	}
	while (i < n && a[i] == b[i])
		i++;
	return i < n ? rank(a[i]) - rank(b[i]) : 0;
}

int names_order(struct span a, struct span b)
{
	int r = order_bytes(a.p, b.p, a.n < b.n ? a.n : b.n);

	return r ? r : (a.n > b.n) - (a.n < b.n);
}

/* A name and a mark. */
static int order_mark(struct span name, const struct names_mark *m)
{
	int r = order_bytes(name.p, m->base.p, name.n < m->base.n ? name.n : m->base.n);

	if (r || name.n < m->base.n)
		return r ? r : -1;
	return names_order((struct span){ name.p + m->base.n, name.n - m->base.n }, m->more);
}

struct name *names_seek(const struct names *ix, const struct names_mark *m)
{
	struct name *best = NULL;

	for (struct name *at = ix->root; at;) {
		bool left = order_mark(name_text(at), m) >= 0;

		if (left)
			best = at;
		at = at->kid[!left];
	}
	return best;
}

struct name *names_next(const struct name *node)
{
	struct name *at = node->kid[1];

	if (!at) {
		while (node->up && node == node->up->kid[1])
			node = node->up;
		return node->up;
	}
	while (at->kid[0])
		at = at->kid[0];
	return at;
}

/* ---- the treap ---- */

static struct name **way_to(struct names *ix, const struct name *node)
{
	return node->up ? &node->up->kid[node == node->up->kid[1]] : &ix->root;
}

/* The node's child on that side takes its place, and the node goes below it. */
static void turn(struct names *ix, struct name *node, bool side)
{
	struct name *kid = node->kid[side], *inner = kid->kid[!side];

	*way_to(ix, node) = kid;
	kid->up = node->up;
	kid->kid[!side] = node;
	node->up = kid;
	node->kid[side] = inner;
	if (inner)
		inner->up = node;
}

static void treap_add(struct names *ix, struct name *node)
{
	struct name **at = &ix->root, *up = NULL;

	while (*at) {
		up = *at;
		at = &up->kid[names_order(name_text(node), name_text(up)) > 0];
	}
	*at = node;
	node->up = up;
	while (node->up && node->up->link.hash < node->link.hash)
		turn(ix, node->up, node == node->up->kid[1]);
}

static void treap_del(struct names *ix, struct name *node)
{
	struct name *kid;

	while (node->kid[0] && node->kid[1])
		turn(ix, node, node->kid[1]->link.hash > node->kid[0]->link.hash);
	kid = node->kid[0] ? node->kid[0] : node->kid[1];
	*way_to(ix, node) = kid;
	if (kid)
		kid->up = node->up;
}

int names_add(struct names *ix, struct name *node, struct span text)
{
	uint32_t hash = (uint32_t)topic_hash(&ix->key, text);

	if (find(ix, text, hash))
		return -EEXIST;
	*node = (struct name){ .link = { .hash = hash, .n = (uint32_t)text.n }, .p = text.p };
	if (topic_map_add(&ix->map, &node->link) < 0)
		return -ENOMEM;
	treap_add(ix, node);
	return 0;
}

void names_del(struct names *ix, struct name *node)
{
	treap_del(ix, node);
	topic_map_del(&ix->map, &node->link);
}
