/*
 * keep_walk.c - the pages of an LMDB file, read by ourselves. See keep_priv.h.
 *
 * LMDB maps the file and believes it: a page that points outside is a crash, a file that was cut is SIGBUS, a flipped
 * bit a wrong value, and one in the list of free pages will overwrite what is in use. So the file is looked at before
 * LMDB opens it, with pread(2), every number checked against what it can be. The format is LMDB 0.9's (data version
 * 1, the same since 2011) on a machine of 64 bits:
 *
 *	page  u64 own number | u16 - | u16 flags | u16 lower, u16 upper (or u32 pages) | u16 offset of each node ... |
 *	      free | nodes
 *	node  u16, u16 size of the value | u16 flags | u16 size of the key | key | value
 *	      On a branch the first three are the number of a page, there is no value, and the key of the first node is not
 *	      looked at. With BIG the value is the number of the first of its own pages.
 *	meta  a page's head | u32 magic | u32 version | u64 - | u64 size of the map | tree of free pages | tree of rows |
 *	      u64 last page | u64 transaction. Pages 0 and 1, in turn.
 *	tree  u32 - (the first has the page size) | u16 flags | u16 depth | u64 branches, leaves, overflow pages, entries, root
 */
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "store/keep_priv.h"
#include "store/keep_sys.h"

enum { HEAD = 16, NODE = 8, META = 16 + 24 + 48 + 48 + 16, TREE = 48, KEY_MAX = 511 };
enum { BRANCH = 1, LEAF = 2, OVERFLOW = 4, META_PAGE = 8 };
enum { BIG = 1, NUMBERS = 8, UNKNOWN = 1 | 2 | 4 | 16 | 32 | 64 };

#define MAGIC UINT64_C(0xbeefc0de)
#define NO_ROOT UINT64_MAX

void walk_fault(struct walk *w, const char *what, uint64_t page)
{
	if (!w->faults++)
		snprintf(w->what, sizeof(w->what), "%s, page %llu", what, (unsigned long long)page);
}

static bool read_all(const struct walk *w, void *p, size_t n, uint64_t at)
{
	uint8_t *to = p;

	if (at > w->size || n > w->size - at)
		return false;
	while (n) {
		ssize_t r = sys_pread(w->fd, to, n, (off_t)at);

		if (r <= 0)
			return false;
		to += r;
		at += (uint64_t)r;
		n -= (size_t)r;
	}
	return true;
}

/* ---- meta pages ---- */

struct meta {
	uint64_t version, serial, last;
	uint32_t page;
	struct walk_tree free_pages, rows;
	bool ok;
};

static struct walk_tree get_tree(const uint8_t *p)
{
	return (struct walk_tree){
		.depth = (uint16_t)keep_get(p + 6, 2),
		.branches = keep_get(p + 8, 8),
		.leaves = keep_get(p + 16, 8),
		.overflows = keep_get(p + 24, 8),
		.entries = keep_get(p + 32, 8),
		.root = keep_get(p + 40, 8),
	};
}

static void get_meta(const struct walk *w, unsigned i, uint32_t page, struct meta *m)
{
	uint8_t b[META], *p = b + HEAD;
	unsigned flags;

	*m = (struct meta){};
	if (!read_all(w, b, sizeof(b), (uint64_t)i * page) || keep_get(p, 4) != MAGIC)
		return;
	m->version = keep_get(p + 4, 4);
	m->page = (uint32_t)keep_get(p + 24, 4);
	flags = (unsigned)keep_get(p + 28, 2);
	m->free_pages = get_tree(p + 24);
	m->rows = get_tree(p + 72);
	m->last = keep_get(p + 120, 8);
	m->serial = keep_get(p + 128, 8);
	m->ok = m->version == 1 && m->page >= 512 && m->page <= 65536 && !(m->page & (m->page - 1)) && m->last >= 1 &&
		m->last < UINT64_C(1) << 44 && keep_get(b, 8) == i && keep_get(b + 10, 2) == META_PAGE &&
		!(flags & UNKNOWN) && (flags & NUMBERS) && !keep_get(p + 72, 6);
}

static uint32_t usual_page(void)
{
	return (uint32_t)sysconf(_SC_PAGESIZE);
}

/* Each transaction writes the other one, so they are one apart: a number that has changed is seen. */
static const struct meta *choose(struct walk *w, struct meta v[2])
{
	const struct meta *newest = v[1].ok && (!v[0].ok || v[1].serial > v[0].serial) ? &v[1] : &v[0];
	const struct meta *other = newest == v ? &v[1] : &v[0];

	for (unsigned i = 0; i < 2; i++)
		if (!v[i].ok || (v[i].serial & 1) != (newest->serial ? i : 0))
			walk_fault(w, "meta page", i);
	if (newest->serial && other->serial + 1 != newest->serial)
		walk_fault(w, "meta page out of turn", (uint64_t)(other - v));
	return newest->ok ? newest : NULL;
}

int walk_open(int fd, struct walk *ret)
{
	struct walk w = { .fd = fd };
	const struct meta *m;
	struct meta v[2];
	struct stat st;

	if (sys_fstat(fd, &st) < 0)
		return -errno;
	w.size = (uint64_t)st.st_size;
	get_meta(&w, 0, usual_page(), &v[0]);
	w.page = v[0].ok ? v[0].page : usual_page();
	get_meta(&w, 1, w.page, &v[1]);
	if (v[0].version > 1 && v[0].version == v[1].version)
		return -EPROTONOSUPPORT;
	m = choose(&w, v);
	*ret = w;
	if (!m)
		return -EBADMSG;
	ret->page = m->page;
	ret->serial = m->serial;
	ret->last = m->last;
	ret->free_pages = m->free_pages;
	ret->rows = m->rows;
	if ((m->last + 1) * m->page > w.size) {
		walk_fault(ret, "the file is too short", w.size / m->page);
		ret->last = w.size / m->page;
	}
	ret->seen = mem_zalloc(ret->last / 8 + 1);
	return ret->seen ? 0 : -ENOMEM;
}

void walk_done(struct walk *w)
{
	for (unsigned i = 0; i < WALK_DEPTH; i++)
		mem_free(w->level[i].page);
	mem_free(w->seen);
	mem_free(w->large);
	*w = (struct walk){ .fd = w->fd };
}

/* ---- pages ---- */

/* A page belongs to one place. */
static bool claim(struct walk *w, uint64_t page)
{
	uint8_t bit = (uint8_t)(1 << (page & 7));

	if (page < 2 || page > w->last || (w->seen[page / 8] & bit))
		return false;
	w->seen[page / 8] |= bit;
	return true;
}

static struct span node_key(const uint8_t *node)
{
	return (struct span){ node + NODE, (size_t)keep_get(node + 6, 2) };
}

static const uint8_t *node_of(const struct walk_level *l, unsigned i)
{
	return l->page + keep_get(l->page + HEAD + 2 * (size_t)i, 2);
}

/* Its bytes on the page, 0: it does not lie there. */
static size_t node_size(const struct walk *w, const struct walk_level *l, unsigned i)
{
	size_t at = (size_t)keep_get(l->page + HEAD + 2 * (size_t)i, 2), n = NODE;
	const uint8_t *p = l->page + at;

	if (at < HEAD || (at & 1) || at + NODE > w->page)
		return 0;
	n += (size_t)keep_get(p + 6, 2);
	if (l->leaf)
		n += keep_get(p + 4, 2) & BIG ? 8 : (size_t)keep_get(p, 4);
	return n <= w->page - at ? n : 0;
}

static bool is_page(struct walk *w, struct walk_level *l, uint64_t number)
{
	unsigned flags = (unsigned)keep_get(l->page + 10, 2);
	size_t lower = (size_t)keep_get(l->page + 12, 2), upper = (size_t)keep_get(l->page + 14, 2), used = 0;

	l->leaf = flags == LEAF;
	l->at = 0;
	l->n = 0;
	if (keep_get(l->page, 8) != number || (flags != LEAF && flags != BRANCH) ||
	    l->leaf != (w->depth + 1 == w->want.depth) || lower < HEAD || (lower & 1) || lower > upper ||
	    upper > w->page)
		return false;
	l->n = (unsigned)(lower - HEAD) / 2;
	for (unsigned i = 0; i < l->n; i++)
		used += (node_size(w, l, i) + 1) & ~(size_t)1;
	if (used != w->page - upper) /* nodes that lie upon each other */
		walk_fault(w, "nodes do not fill their page", number);
	return true;
}

/* Down to a page; what it can have for keys is known from above. */
static void go_down(struct walk *w, uint64_t number, struct span from, struct span to)
{
	struct walk_level *l = &w->level[w->depth];

	if (w->depth == WALK_DEPTH || !claim(w, number)) {
		walk_fault(w, "a page that is in use twice, or is none", number);
		return;
	}
	if (!l->page)
		l->page = mem_alloc(65536);
	if (!l->page) {
		w->err = -ENOMEM;
		return;
	}
	if (!read_all(w, l->page, w->page, number * w->page) || !is_page(w, l, number)) {
		walk_fault(w, "a page that has another form", number);
		return;
	}
	l->from = from;
	l->to = to;
	*(l->leaf ? &w->have.leaves : &w->have.branches) += 1;
	w->depth++;
}

static void begin(struct walk *w, const struct walk_tree *t, bool numbers)
{
	w->want = *t;
	w->have = (struct walk_tree){ .depth = t->depth, .root = t->root };
	w->numbers = numbers;
	w->before_n = 0;
	w->depth = 0;
	if (t->root == NO_ROOT)
		return;
	if (t->depth > WALK_DEPTH)
		walk_fault(w, "a tree that is too high", t->root);
	else
		go_down(w, t->root, (struct span){}, (struct span){});
}

/* ---- keys ---- */

static int compare(const struct walk *w, struct span a, struct span b)
{
	uint64_t x, y;
	int r;

	if (w->numbers) {
		x = a.n == 8 ? keep_get(a.p, 8) : 0;
		y = b.n == 8 ? keep_get(b.p, 8) : 0;
		return x < y ? -1 : x > y;
	}
	r = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
	return r ? r : a.n < b.n ? -1 : a.n > b.n;
}

static bool within(const struct walk *w, const struct walk_level *l, struct span key)
{
	return (!l->from.n || compare(w, l->from, key) <= 0) && (!l->to.n || compare(w, key, l->to) < 0);
}

static void look_at_child(struct walk *w, struct walk_level *l)
{
	unsigned i = l->at++;
	const uint8_t *p;
	struct span from = l->from, to = l->to;

	if (!node_size(w, l, i)) {
		walk_fault(w, "a branch that is none", keep_get(l->page, 8));
		return;
	}
	p = node_of(l, i);
	if (i)
		from = node_key(p);
	if (i + 1 < l->n && node_size(w, l, i + 1))
		to = node_key(node_of(l, i + 1));
	if ((i && (!from.n || from.n > KEY_MAX || !within(w, l, from))) || to.n > KEY_MAX) {
		walk_fault(w, "a branch out of order", keep_get(l->page, 8));
		from = to = (struct span){};
	}
	go_down(w, keep_get(p, 6), from, to);
}

/* ---- values ---- */

static bool large_room(struct walk *w, size_t n)
{
	uint8_t *p;

	if (n <= w->large_cap)
		return true;
	p = mem_realloc(w->large, n);
	if (!p) {
		w->err = -ENOMEM;
		return false;
	}
	w->large = p;
	w->large_cap = n;
	return true;
}

/* It may have more pages than it needs: it is smaller than what was there before, which was written in the same transaction. */
static bool get_large(struct walk *w, uint64_t first, size_t n, struct span *ret)
{
	uint64_t least = (HEAD - 1 + (uint64_t)n) / w->page + 1, pages;
	uint8_t head[HEAD];

	if (first > w->last || !read_all(w, head, HEAD, first * w->page) || keep_get(head, 8) != first ||
	    keep_get(head + 10, 2) != OVERFLOW)
		return false;
	pages = keep_get(head + 12, 4);
	if (pages < least || pages > w->last - first + 1)
		return false;
	for (uint64_t i = 0; i < pages; i++)
		if (!claim(w, first + i))
			return false;
	if (!large_room(w, n) || !read_all(w, w->large, n, first * w->page + HEAD))
		return false;
	w->have.overflows += pages;
	*ret = (struct span){ w->large, n };
	return true;
}

static bool get_value(struct walk *w, const uint8_t *p, struct span *ret)
{
	size_t n = (size_t)keep_get(p, 4);
	const uint8_t *value = p + NODE + keep_get(p + 6, 2);
	unsigned flags = (unsigned)keep_get(p + 4, 2);

	if (flags == BIG)
		return get_large(w, keep_get(value, 8), n, ret);
	*ret = (struct span){ value, n };
	return flags == 0;
}

/* Is it one, and is it in its place? */
static bool get_entry(struct walk *w, struct walk_level *l, struct span *ret_key, struct span *ret_value)
{
	unsigned i = l->at++;
	struct span key;

	if (!node_size(w, l, i))
		return false;
	key = node_key(node_of(l, i));
	if (!key.n || key.n > KEY_MAX || (w->numbers && key.n != 8) || !get_value(w, node_of(l, i), ret_value))
		return false;
	if (!within(w, l, key) || (w->before_n && compare(w, (struct span){ w->before, w->before_n }, key) >= 0))
		return false;
	memcpy(w->before, key.p, key.n);
	w->before_n = key.n;
	*ret_key = key;
	return true;
}

int walk_next(struct walk *w, struct span *ret_key, struct span *ret_value)
{
	while (w->depth && !w->err) {
		struct walk_level *l = &w->level[w->depth - 1];

		if (l->at == l->n) {
			w->depth--;
		} else if (!l->leaf) {
			look_at_child(w, l);
		} else if (get_entry(w, l, ret_key, ret_value)) {
			w->have.entries++;
			return 1;
		} else {
			walk_fault(w, "an entry that is none", keep_get(l->page, 8));
		}
	}
	return w->err ? -ENOMEM : 0;
}

/* ---- trees ---- */

/* What a transaction has left behind: how many, and which, the last one first. */
static bool claim_free(struct walk *w, struct span value)
{
	uint64_t n = value.n >= 8 ? keep_get(value.p, 8) : UINT64_MAX, before = UINT64_MAX;

	if (n > value.n / 8 - 1)
		return false;
	for (uint64_t i = 1; i <= n; i++) {
		uint64_t page = keep_get(value.p + 8 * i, 8);

		if (page >= before || !claim(w, page))
			return false;
		before = page;
	}
	return true;
}

static void look_whether_whole(struct walk *w)
{
	const struct walk_tree *a = &w->want, *b = &w->have;

	if (a->branches != b->branches || a->leaves != b->leaves || a->overflows != b->overflows ||
	    a->entries != b->entries)
		walk_fault(w, "a tree that is not whole", a->root);
}

void walk_rows(struct walk *w)
{
	begin(w, &w->rows, false);
}

void walk_rows_whole(struct walk *w)
{
	look_whether_whole(w);
}

void walk_free_pages(struct walk *w)
{
	struct span key = {}, value = {};

	begin(w, &w->free_pages, true);
	while (walk_next(w, &key, &value) == 1)
		if (keep_get(key.p, 8) > w->serial || !claim_free(w, value))
			walk_fault(w, "free pages that are none", 0);
	look_whether_whole(w);
}
