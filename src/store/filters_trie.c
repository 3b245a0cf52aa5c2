/*
 * filters_trie.c - the filters with wildcards, see filters_priv.h. A filter is added below the node where its levels
 * leave those of all others; if another filter is the child there, nodes grow between them until they differ. A
 * removal undoes exactly that.
 */
#include <assert.h>
#include <errno.h>

#include "base/mem.h"
#include "store/filters_priv.h"
#include "store/topic.h"

/* ---- references ---- */

static const uint32_t NODE_BIT = UINT32_C(1) << 31; /* a text is shorter */

static trie_ref ref_leaf(struct filter *f)
{
	return (trie_ref)f + 1;
}

static trie_ref ref_node(struct trie_node *node)
{
	return (trie_ref)node;
}

static struct filter *leaf_of(trie_ref to)
{
	return to & 1 ? (struct filter *)(to - 1) : NULL;
}

static struct trie_node *node_of(trie_ref to)
{
	return (struct trie_node *)to;
}

static struct topic_link *link_of(trie_ref to)
{
	return leaf_of(to) ? &leaf_of(to)->link : &node_of(to)->link;
}

static trie_ref ref_of(struct topic_link *l)
{
	if (l->n & NODE_BIT)
		return ref_node(list_entry(l, struct trie_node, link));
	return ref_leaf(list_entry(l, struct filter, link));
}

static struct trie_node *up_of(trie_ref to)
{
	return leaf_of(to) ? leaf_of(to)->up : node_of(to)->up;
}

/* ---- levels ---- */

/* The level of a text that begins at `off`. */
static struct span level_at(struct span text, uint32_t off)
{
	const uint8_t *p = text.p + off, *end = text.p + text.n, *slash = p;

	while (slash < end && *slash != '/')
		slash++;
	return (struct span){ p, (size_t)(slash - p) };
}

static uint32_t label_n(const struct trie_node *node)
{
	return node->link.n & ~NODE_BIT;
}

static bool is_level(trie_ref to, struct span level)
{
	struct filter *leaf = leaf_of(to);
	uint32_t n;

	if (!leaf)
		return label_n(node_of(to)) == level.n && memcmp(node_of(to)->label, level.p, level.n) == 0;
	n = leaf->link.n - leaf->tail;
	if (n < level.n || (n > level.n && leaf->text[leaf->tail + level.n] != '/'))
		return false;
	return memcmp(leaf->text + leaf->tail, level.p, level.n) == 0;
}

/* ---- children ---- */

/* Of a node and the hash of a level, as uniform as that. */
static uint32_t edge_hash(const struct trie_node *node, uint64_t level)
{
	uint64_t x = level + (uint64_t)(uintptr_t)node * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)(x ^ x >> 32);
}

static trie_ref kid_among(const struct filters *ix, const struct trie_node *node, struct span level, uint64_t hashed)
{
	uint32_t hash = edge_hash(node, hashed);

	for (struct topic_link *l = topic_map_first(&ix->edges, hash); l; l = l->next)
		if (l->hash == hash && up_of(ref_of(l)) == node && is_level(ref_of(l), level))
			return ref_of(l);
	return 0;
}

/* The child where a level leads that is not `#`; 0: none. */
static trie_ref child(const struct filters *ix, const struct trie_node *node, struct span level)
{
	if (span_is(level, "+"))
		return node->plus;
	if (node->n_kids < 2)
		return node->n_kids && is_level(node->kids, level) ? node->kids : 0;
	return kid_among(ix, node, level, topic_hash(&ix->key, level));
}

/* Does a filter end before `off`, or with a `#` there? Its place then is in the node itself. */
static bool is_end(struct span text, uint32_t off)
{
	return off > text.n || span_is(level_at(text, off), "#");
}

static struct filter **end_place(struct trie_node *node, struct span text, uint32_t off)
{
	return off > text.n ? &node->here : &node->rest;
}

/* Makes it a child of the node, where none is. The map is open, so nothing can fail. */
static void child_add(struct filters *ix, struct trie_node *node, trie_ref to, struct span level)
{
	int r = 0;

	if (span_is(level, "+")) {
		node->plus = to;
		return;
	}
	link_of(to)->hash = edge_hash(node, topic_hash(&ix->key, level));
	r = topic_map_add(&ix->edges, link_of(to));
	assert(r == 0);
	node->kids ^= to;
	node->n_kids++;
}

static void child_del(struct filters *ix, struct trie_node *node, trie_ref to)
{
	if (node->plus == to) {
		node->plus = 0;
		return;
	}
	topic_map_del(&ix->edges, link_of(to));
	node->kids ^= to;
	node->n_kids--;
}

/* ---- adding ---- */

struct trie_node *trie_new(void)
{
	return mem_zalloc(sizeof(struct trie_node));
}

/* Puts the filter directly below the node, at a place that is free. */
static void hang(struct filters *ix, struct trie_node *node, struct filter *f, uint32_t tail)
{
	f->up = node;
	f->tail = tail;
	if (is_end(filter_text(f), tail))
		*end_place(node, filter_text(f), tail) = f;
	else
		child_add(ix, node, ref_leaf(f), level_at(filter_text(f), tail));
}

/* Puts a node between a leaf and the node it hangs on, and returns it; NULL: out of memory, and nothing happened. */
static struct trie_node *push_down(struct filters *ix, struct filter *f, struct span level)
{
	struct trie_node *node = mem_zalloc(sizeof(*node) + level.n);

	if (!node)
		return NULL;
	node->up = f->up;
	node->link.n = (uint32_t)level.n | NODE_BIT;
	memcpy(node->label, level.p, level.n);
	child_del(ix, node->up, ref_leaf(f));
	child_add(ix, node->up, ref_node(node), level);
	hang(ix, node, f, f->tail + (uint32_t)level.n + 1);
	ix->count.nodes++;
	return node;
}

/* If all that is directly below the node is one filter, that one. */
static struct filter *only_filter(const struct trie_node *node)
{
	if ((node->here != NULL) + (node->rest != NULL) + (node->plus != 0) + node->n_kids != 1)
		return NULL;
	if (node->here || node->rest)
		return node->here ? node->here : node->rest;
	return leaf_of(node->plus ? node->plus : node->kids);
}

/* Takes away the nodes, from this one up, that are there for one filter only. Needs no memory. */
static void prune(struct filters *ix, struct trie_node *node)
{
	struct filter *f;

	while (node->up && (f = only_filter(node))) {
		struct trie_node *up = node->up;

		if (f != node->here && f != node->rest)
			child_del(ix, node, ref_leaf(f));
		child_del(ix, up, ref_node(node));
		hang(ix, up, f, f->tail - label_n(node) - 1);
		mem_free(node);
		ix->count.nodes--;
		node = up;
	}
}

int trie_add(struct filters *ix, struct filter *f)
{
	struct span text = filter_text(f);
	struct trie_node *at = ix->root, *next;
	uint32_t off = 0;

	if (topic_map_open(&ix->edges) < 0)
		return -ENOMEM;
	while (!is_end(text, off)) {
		struct span level = level_at(text, off);
		trie_ref to = child(ix, at, level);

		if (!to)
			break;
		next = leaf_of(to) ? push_down(ix, leaf_of(to), level) : node_of(to);
		if (!next) {
			prune(ix, at); /* what was pushed down so far */
			return -ENOMEM;
		}
		at = next;
		off += (uint32_t)level.n + 1;
	}
	hang(ix, at, f, off);
	return 0;
}

/* ---- removing and finding ---- */

void trie_del(struct filters *ix, struct filter *f)
{
	struct trie_node *node = f->up;

	if (is_end(filter_text(f), f->tail))
		*end_place(node, filter_text(f), f->tail) = NULL;
	else
		child_del(ix, node, ref_leaf(f));
	prune(ix, node);
}

struct filter *trie_find(const struct filters *ix, struct span text)
{
	struct trie_node *at = ix->root;
	uint32_t off = 0;

	while (!is_end(text, off)) {
		struct span level = level_at(text, off);
		trie_ref to = child(ix, at, level);
		struct filter *leaf = leaf_of(to);

		if (!to || leaf)
			return leaf && span_same(filter_text(leaf), text) ? leaf : NULL;
		at = node_of(to);
		off += (uint32_t)level.n + 1;
	}
	return *end_place(at, text, off);
}

/* ---- matching ---- */

/* A name, taken apart as far as the trie is deep. */
struct cut {
	struct span name;
	const struct topic_key *key;
	uint32_t known;                       /* levels of which the start is known */
	uint32_t hashed;                      /* levels whose hash is known, or 0 because nobody asked yet */
	uint32_t start[TOPIC_LEVELS_MAX + 2]; /* of each; name.n + 1 for the one behind the last */
	uint64_t hash[TOPIC_LEVELS_MAX + 1];
};

/* The walk. A node that is done brings at most two a level deeper: so one waits at each level, and two at the last. */
struct walk {
	const struct filters *ix;
	struct cut cut;
	struct filters_found *out;
	uint32_t n;
	struct {
		struct trie_node *node;
		uint32_t depth;
	} todo[TOPIC_LEVELS_MAX + 2];
};

/* Where level `depth` begins; the levels before it exist. */
static uint32_t start_of(struct cut *c, uint32_t depth)
{
	for (; c->known <= depth; c->known++) {
		uint32_t before = c->start[c->known - 1];

		c->start[c->known] = before + (uint32_t)level_at(c->name, before).n + 1;
	}
	return c->start[depth];
}

static struct span level_of(struct cut *c, uint32_t depth)
{
	uint32_t at = start_of(c, depth);

	return (struct span){ c->name.p + at, start_of(c, depth + 1) - at - 1 };
}

static uint64_t hash_of(struct cut *c, uint32_t depth)
{
	for (; c->hashed <= depth; c->hashed++)
		c->hash[c->hashed] = 0;
	if (c->hash[depth] == 0)
		c->hash[depth] = topic_hash(c->key, level_of(c, depth));
	return c->hash[depth];
}

/* A child that leads on from level `depth`. */
static int reach(struct walk *w, trie_ref to, uint32_t depth)
{
	const struct cut *c = &w->cut;
	struct filter *leaf = leaf_of(to);

	if (!leaf) {
		w->todo[w->n].node = node_of(to);
		w->todo[w->n++].depth = depth + 1;
		return 0;
	}
	w->out->visited++;
	if (!topic_rest_matches((struct span){ leaf->text + leaf->tail, leaf->link.n - leaf->tail },
				(struct span){ c->name.p + c->start[depth], c->name.n - c->start[depth] }))
		return 0;
	return filters_found_add(w->out, leaf);
}

/* The only child, if this level leads there. Its label tells where the level ends; a leaf is compared when reached. */
static trie_ref lone_kid(struct cut *c, trie_ref to, uint32_t depth)
{
	uint32_t at = start_of(c, depth), left = (uint32_t)c->name.n - at, n;

	if (leaf_of(to))
		return to;
	n = label_n(node_of(to));
	if (left < n || (left > n && c->name.p[at + n] != '/') || memcmp(c->name.p + at, node_of(to)->label, n) != 0)
		return 0;
	if (c->known == depth + 1)
		c->start[c->known++] = at + n + 1;
	return to;
}

/* The child where this level leads, but for `+`. */
static trie_ref next_kid(struct walk *w, const struct trie_node *node, uint32_t depth)
{
	if (node->n_kids < 2)
		return node->n_kids ? lone_kid(&w->cut, node->kids, depth) : 0;
	return kid_among(w->ix, node, level_of(&w->cut, depth), hash_of(&w->cut, depth));
}

/* `any`: what begins with a wildcard counts. */
static int visit(struct walk *w, struct trie_node *node, uint32_t depth, bool any)
{
	trie_ref kid;

	w->out->visited++;
	if (node->rest && any && filters_found_add(w->out, node->rest) < 0)
		return -ENOMEM;
	if (start_of(&w->cut, depth) > w->cut.name.n)
		return node->here ? filters_found_add(w->out, node->here) : 0;
	if (node->plus && any && reach(w, node->plus, depth) < 0)
		return -ENOMEM;
	kid = next_kid(w, node, depth);
	return kid ? reach(w, kid, depth) : 0;
}

int trie_match(const struct filters *ix, struct span name, struct filters_found *out)
{
	struct walk w; /* not `= {}`: most of it stays unused */
	bool hidden;
	int r = 0;

	w.ix = ix;
	w.cut.name = name;
	w.cut.key = &ix->key;
	w.cut.known = 1;
	w.cut.hashed = 0;
	w.cut.start[0] = 0;
	w.out = out;
	w.n = 1;
	w.todo[0].node = ix->root;
	w.todo[0].depth = 0;
	hidden = name.p[0] == '$' || topic_is_own(name);
	while (w.n && r == 0) {
		w.n--;
		r = visit(&w, w.todo[w.n].node, w.todo[w.n].depth, w.todo[w.n].depth > 0 || !hidden);
	}
	return r;
}
