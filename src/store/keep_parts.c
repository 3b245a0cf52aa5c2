/*
 * keep_parts.c - values that do not fit twice on a page are stored in parts. LMDB would give such a value pages of its own, all in
 * a row; in a file that is nearly full there are free pages, but hardly ever in a row. See keep_priv.h.
 *
 *	key of the row                    checksum | u32 bytes that follow it in the whole value | the first of these
 *	that, their name, number from 1   the next ones. Each has KEEP_PART bytes but the last one
 *
 * They lie directly behind their row, since the keys of one kind have one length. Their name is the checksum that the row had when they were
 * written: what is left of an older value of the row is never taken for parts of this one, and can go later. A message has no older value: what
 * changes in it has its place (keep_put_same()), and its parts keep their name.
 */
#include <assert.h>
#include <errno.h>

#include "base/mem.h"
#include "store/keep_priv.h"

enum { PART_NUMBER = KEEP_PART_KEY - KEEP_SUM };
enum { AHEAD = KEEP_SUM + 4, FIRST_ROOM = 16384 }; /* before the first bytes */

/* Of a page of 4,096 bytes: what LMDB has for nodes, and what one may have so that it needs no pages of its own. */
enum { PAGE_ROOM = 4080, NODE_MAX = 2038, NODE = 8, POINTER = 2, LONGEST = 1 + 8 + KEEP_DIGEST };

static_assert(NODE + LONGEST + KEEP_WHOLE <= NODE_MAX);
static_assert(4 * (NODE + LONGEST + KEEP_PART_KEY + KEEP_PART + 1 + POINTER) <= PAGE_ROOM); /* else much is lost */

static void set_part_number(uint8_t p[PART_NUMBER], uint32_t number)
{
	for (unsigned i = 0; i < PART_NUMBER; i++)
		p[i] = (uint8_t)(number >> 8 * (PART_NUMBER - 1 - i));
}

static void set_part_key(uint8_t *p, const uint8_t *name, uint32_t number)
{
	memcpy(p, name, KEEP_SUM);
	set_part_number(p + KEEP_SUM, number);
}

/* ---- writing ---- */

enum { PIECES = 4 };

/* Behind all rows, where most come, LMDB fills a page only when it is told; else it takes the last row along to the next one. */
static int reserve(MDB_cursor *c, MDB_val *key, MDB_val *value, bool tight)
{
	int r = tight ? mdb_cursor_put(c, key, value, MDB_RESERVE | MDB_APPEND) : MDB_KEYEXIST;

	return r == MDB_KEYEXIST ? mdb_cursor_put(c, key, value, MDB_RESERVE) : r;
}

/* The next n bytes of all pieces go into a row. */
static int put_pieces(MDB_cursor *c, struct span key, struct span *pieces, size_t n, bool tight)
{
	MDB_val k = { key.n, (void *)key.p }, value = { n, NULL };
	int r = reserve(c, &k, &value, tight);
	uint8_t *to = value.mv_data;

	for (unsigned i = 0; r == 0 && i < PIECES; i++) {
		size_t take = pieces[i].n < n ? pieces[i].n : n;

		if (!take)
			continue;
		memcpy(to, pieces[i].p, take);
		to += take;
		n -= take;
		pieces[i].p += take;
		pieces[i].n -= take;
	}
	return r;
}

int keep_put_parts(MDB_cursor *c, struct span key, struct span value, struct span more, bool tight)
{
	const size_t all = value.n + more.n, body = all - KEEP_SUM;
	uint8_t length[4];
	struct span pieces[PIECES] = { { value.p, KEEP_SUM }, {}, { value.p + KEEP_SUM, value.n - KEEP_SUM }, more };
	uint8_t part[KEEP_KEY + KEEP_PART_KEY];
	size_t left = all + sizeof(length) - KEEP_PART;
	int r;

	if (all <= KEEP_WHOLE)
		return put_pieces(c, key, pieces, all, tight);
	keep_set(length, body, sizeof(length));
	pieces[1] = (struct span){ length, sizeof(length) };
	r = put_pieces(c, key, pieces, KEEP_PART, tight);
	memcpy(part, key.p, key.n);
	for (uint32_t i = 1; r == 0 && left; i++) {
		size_t n = left < KEEP_PART ? left : KEEP_PART;

		set_part_key(part + key.n, value.p, i);
		r = put_pieces(c, (struct span){ part, key.n + KEEP_PART_KEY }, pieces, n, true);
		left -= n;
	}
	return r;
}

/* ---- in a transaction: what is there, and another value of its size ---- */

struct rows {
	MDB_cursor *c;
	struct span key;
	MDB_val row;       /* where it is, or was last */
	size_t head;       /* bytes of it before those of the value ... */
	size_t at, n, all; /* ... which are these; n is 0 behind the last */
	uint32_t number;
};

/* Of the value whose first row this is: the first of parts says how many bytes follow. */
static size_t size_of(const MDB_val *row)
{
	size_t body = row->mv_size == KEEP_PART ? (size_t)keep_get((uint8_t *)row->mv_data + KEEP_SUM, 4) : 0;

	/* In a row that is whole this is the number of those who wait, and for so many it would have no room */
	return body > KEEP_PART - AHEAD ? KEEP_SUM + body : row->mv_size;
}

static int rows_first(struct rows *w, MDB_cursor *c, struct span key)
{
	MDB_val k = { key.n, (void *)key.p };
	int r = mdb_cursor_get(c, &k, &w->row, MDB_SET);

	if (r)
		return r;
	*w = (struct rows){ .c = c, .key = key, .row = w->row, .at = KEEP_SUM, .all = size_of(&w->row) };
	w->head = w->all > w->row.mv_size ? AHEAD : KEEP_SUM;
	w->n = w->row.mv_size - w->head;
	return 0;
}

static int rows_next(struct rows *w)
{
	uint8_t number[PART_NUMBER];
	MDB_val k;
	int r;

	w->at += w->n;
	w->n = w->all - w->at < KEEP_PART ? w->all - w->at : KEEP_PART;
	w->head = 0;
	if (!w->n)
		return 0;
	set_part_number(number, ++w->number);
	r = mdb_cursor_get(w->c, &k, &w->row, MDB_NEXT);
	if (r == 0 &&
	    (k.mv_size != w->key.n + KEEP_PART_KEY || memcmp(k.mv_data, w->key.p, w->key.n) != 0 ||
	     memcmp((uint8_t *)k.mv_data + w->key.n + KEEP_SUM, number, PART_NUMBER) != 0 || w->row.mv_size != w->n))
		r = MDB_NOTFOUND;
	return r;
}

bool keep_was_passed(const MDB_val *row)
{
	size_t head = size_of(row) > row->mv_size ? AHEAD : KEEP_SUM;

	return row->mv_size >= head + KEEP_AT_WAITERS - KEEP_SUM &&
	       keep_get((uint8_t *)row->mv_data + head + KEEP_AT_BYTES - KEEP_SUM, 4) & KEEP_PASSED;
}

int keep_get_message(MDB_cursor *c, struct span key, uint8_t **ret, size_t *ret_n)
{
	struct rows w;
	int r = rows_first(&w, c, key);
	uint8_t *p;

	if (r || w.all < KEEP_AT_WAITERS)
		return r ? r : MDB_NOTFOUND;
	p = mem_alloc(w.all);
	if (!p)
		return ENOMEM;
	memcpy(p, w.row.mv_data, KEEP_SUM);
	while (r == 0 && w.n) {
		memcpy(p + w.at, (uint8_t *)w.row.mv_data + w.head, w.n);
		r = rows_next(&w);
	}
	/* With a new checksum what is damaged would be believed */
	if (r == 0 && keep_get(p, KEEP_SUM) != keep_sum(key, (struct span){ p, w.all }))
		r = MDB_NOTFOUND;
	if (r) {
		mem_free(p);
		return r;
	}
	*ret = p;
	*ret_n = w.all;
	return 0;
}

/* In place, with the key that it has. */
static int put_row(const struct rows *w, const uint8_t *value)
{
	uint8_t now[KEEP_WHOLE];
	MDB_val k, row, v = { w->row.mv_size, now };
	int r = mdb_cursor_get(w->c, &k, &row, MDB_GET_CURRENT);

	if (r || v.mv_size > sizeof(now))
		return r ? r : MDB_NOTFOUND;
	memcpy(now, row.mv_data, w->head);
	if (w->head)
		memcpy(now, value, KEEP_SUM);
	memcpy(now + w->head, value + w->at, w->n);
	return memcmp(now, row.mv_data, v.mv_size) == 0 ? 0 : mdb_cursor_put(w->c, &k, &v, MDB_CURRENT);
}

int keep_put_same(MDB_cursor *c, struct span key, const uint8_t *value)
{
	struct rows w;
	int r = rows_first(&w, c, key);

	while (r == 0 && w.n) {
		r = put_row(&w, value);
		if (r == 0)
			r = rows_next(&w);
	}
	return r;
}

/* ---- reading ---- */

void keep_parts_done(struct keep_parts *p)
{
	mem_free(p->whole);
	*p = (struct keep_parts){};
}

static int room_for(struct keep_parts *p, size_t n)
{
	size_t cap = p->cap ? p->cap : FIRST_ROOM;
	uint8_t *v;

	if (n <= p->cap)
		return 0;
	while (cap < n)
		cap *= 2;
	v = mem_realloc(p->whole, cap);
	if (!v)
		return -ENOMEM;
	p->whole = v;
	p->cap = cap;
	return 0;
}

/* A row as it lies there. 1, 0, -ENOMEM. */
static int next_row(struct keep_parts *p, struct walk *w)
{
	int r = 1;

	if (!p->ahead)
		r = walk_next(w, &p->key, &p->value);
	p->ahead = false;
	return r;
}

/* Of any value of the row whose key this is. */
static bool is_part_of(struct span part, struct span key)
{
	return part.n == key.n + KEEP_PART_KEY && memcmp(part.p, key.p, key.n) == 0;
}

/* Of whatever row, by the size of its key. When its row is not there, or another now, it is what goes later (keep_apply.c). */
static bool is_part(struct span key)
{
	size_t row = keep_key_size(key.p[0]);

	return row && key.n == row + KEEP_PART_KEY;
}

/* The row of this part is known: 1 it is the one that is wanted, 0 it is another one. Those of older values are passed over. */
static int find_part(struct keep_parts *p, struct walk *w, struct span key, uint8_t name[KEEP_SUM], uint32_t number)
{
	uint8_t wanted[KEEP_PART_KEY];
	int r;

	while ((r = next_row(p, w)) == 1 && is_part_of(p->key, key)) {
		if (number == 1 && key.p[0] == KEEP_MESSAGE)
			memcpy(name, p->key.p + key.n, KEEP_SUM);
		set_part_key(wanted, name, number);
		p->parts++;
		r = memcmp(p->key.p + key.n, wanted, KEEP_PART_KEY);
		if (r == 0)
			return 1;
		if (number > 1) /* one is missing */
			return 0;
	}
	p->ahead = r == 1;
	return r < 0 ? r : 0;
}

/* 1: whole has them all; 0: some are missing, or are not as they should be, or there are none. */
static int gather(struct keep_parts *p, struct walk *w, struct span key, size_t body)
{
	size_t all = KEEP_SUM + body, n = KEEP_SUM + KEEP_PART - AHEAD;
	uint8_t name[KEEP_SUM];

	if (room_for(p, KEEP_PART) < 0)
		return -ENOMEM;
	memcpy(name, p->first, KEEP_SUM);
	memcpy(p->whole, p->first, KEEP_SUM);
	memcpy(p->whole + KEEP_SUM, p->first + AHEAD, KEEP_PART - AHEAD);
	for (uint32_t i = 1; n < all; i++) {
		size_t most = all - n < KEEP_PART ? all - n : KEEP_PART;
		int r = find_part(p, w, key, name, i);

		if (r != 1 || p->value.n != most)
			return r < 0 ? r : 0;
		if (room_for(p, n + most) < 0)
			return -ENOMEM;
		memcpy(p->whole + n, p->value.p, most);
		n += most;
	}
	return 1;
}

/*
 * A value that is whole may have KEEP_PART bytes, too: so it is the parts behind it that make a row the first of some, and without them
 * it is what its checksum says.
 */
int keep_parts_next(struct keep_parts *p, struct walk *w, struct span *ret_key, struct span *ret_value)
{
	size_t body;
	int r;

	while ((r = next_row(p, w)) == 1 && is_part(p->key))
		p->parts++;
	if (r != 1)
		return r;
	p->page = w->depth ? keep_get(w->level[w->depth - 1].page, 8) : 0;
	*ret_key = p->key;
	*ret_value = p->value;
	if (p->value.n != KEEP_PART || p->key.n >= KEEP_KEY)
		return 1;
	memcpy(p->first_key, p->key.p, p->key.n);
	memcpy(p->first, p->value.p, KEEP_PART);
	*ret_key = (struct span){ p->first_key, p->key.n };
	*ret_value = (struct span){ p->first, KEEP_PART };
	body = (size_t)keep_get(p->first + KEEP_SUM, 4);
	if (body <= KEEP_PART - AHEAD)
		return 1;
	r = gather(p, w, *ret_key, body);
	if (r == 1)
		*ret_value = (struct span){ p->whole, KEEP_SUM + body };
	return r < 0 ? r : 1;
}
