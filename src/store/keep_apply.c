/*
 * keep_apply.c - from a batch to LMDB. See keep_priv.h. Nothing is remembered here: how many a message waits for is a
 * row like others, so a transaction that is given up leaves nothing behind.
 *
 * What goes may be thousands of rows: the parts of a large message, or what those who wait for it have said. A transaction takes away
 * so many; of the rest there is a row that says so (KEEP_ROW_GONE), and transactions afterwards take it away. Until then it is nobody's:
 * the row that the rest belongs to is always among the first.
 */
#include <assert.h>
#include <errno.h>

#include "base/mem.h"
#include "store/keep_priv.h"

/*
 * Bytes of a delivery's row, and as much again where pages are half full. LMDB splits a page by the number of its rows: where the message's
 * own lie on it, three quarters of its bytes, each half gets 17 of these and will get no more.
 */
enum { TURN_ROOM = 72, CROWD = 16, CROWD_ROOM = 4096 / 17 + 4 };

enum { LEFT = KEEP_SUM + 4, TURN = KEEP_SUM + 3, FULL_KEY = 1 + 8 + 8, MORE = -1 /* neither an errno nor LMDB's */ };

static bool begins(const MDB_val *key, const uint8_t *prefix, size_t n)
{
	return key->mv_size >= n && memcmp(key->mv_data, prefix, n) == 0;
}

static uint64_t session_of(const MDB_val *key)
{
	return key->mv_size == FULL_KEY ? keep_get_key((const uint8_t *)key->mv_data + 9) : 0;
}

/* A row and no rest: what a key begins with. */
static bool is_last(const MDB_val *key, const MDB_val *value, size_t prefix_n)
{
	return value->mv_size != KEEP_PART && (key->mv_size == prefix_n || session_of(key) == KEEP_SELF);
}

/*
 * Whose keys begin so. Unless all goes there is a row of this key, which stays, and with its checksum its parts do. 0; MORE: it was as
 * much as may be; or the error of LMDB.
 */
static int clear(struct keep_work *a, struct span prefix, const uint8_t *but)
{
	uint8_t from[KEEP_KEY + KEEP_PART_KEY + 1] = {};
	size_t from_n = prefix.n + (but ? 1 : 0);
	MDB_cursor_op where = MDB_SET_RANGE; /* then where the last one was */

	memcpy(from, prefix.p, prefix.n);
	for (bool last = false; !last;) {
		MDB_val key = { from_n, from }, value;
		int r = mdb_cursor_get(a->cursor, &key, &value, where);

		if (r)
			return r == MDB_NOTFOUND ? 0 : r;
		if (!begins(&key, prefix.p, prefix.n))
			return 0;
		where = MDB_NEXT;
		if (but && key.mv_size > prefix.n + KEEP_SUM &&
		    memcmp((uint8_t *)key.mv_data + prefix.n, but, KEEP_SUM) == 0) {
			memcpy(from + prefix.n, but, KEEP_SUM);
			memset(from + prefix.n + KEEP_SUM, 0xff, 5); /* behind the last one that it can have */
			from_n = prefix.n + KEEP_SUM + 5;
			where = MDB_SET_RANGE;
			continue;
		}
		if (a->left == 0)
			return MORE;
		a->left--;
		last = !but && is_last(&key, &value, prefix.n);
		r = mdb_cursor_del(a->cursor, 0);
		if (r)
			return r;
	}
	return 0;
}

static int del(struct keep_work *a, struct span key)
{
	MDB_val k = { key.n, (void *)key.p };
	int r = mdb_del(a->txn, a->dbi, &k, NULL);

	return r == MDB_NOTFOUND ? 0 : r;
}

/* The rest goes later. */
static int put_gone(struct keep_work *a, struct span prefix)
{
	uint8_t key[KEEP_KEY] = { KEEP_ROW_GONE }, value[KEEP_SUM];
	MDB_val k = { 1 + prefix.n, key }, v = { KEEP_SUM, value };

	memcpy(key + 1, prefix.p, prefix.n);
	keep_seal(key, k.mv_size, value, KEEP_SUM);
	a->sweeps = true;
	return mdb_cursor_put(a->cursor, &k, &v, 0);
}

/* Without the message nothing that is kept beside it means anything; nor parts without their row. */
static int del_first(struct keep_work *a, struct span prefix)
{
	uint8_t key[FULL_KEY];

	if (prefix.p[0] != KEEP_MESSAGE || prefix.n != 1 + 8)
		return del(a, prefix);
	memcpy(key, prefix.p, prefix.n);
	keep_set_key(key + prefix.n, KEEP_SELF);
	return del(a, (struct span){ key, FULL_KEY });
}

static int del_all(struct keep_work *a, struct span prefix)
{
	int r = clear(a, prefix, NULL);

	if (r != MORE)
		return r;
	r = del_first(a, prefix);
	return r ? r : put_gone(a, prefix);
}

/*
 * A message for one, by which no row will ever lie: pages may be filled with these. Before one for several rows come, and in a page that is
 * full each of the first ones would take another page.
 */
static bool is_tight(const struct keep_op *op)
{
	return op->key[0] == KEEP_MESSAGE && op->value_n > KEEP_AT_WAITERS && keep_get(op->value + KEEP_AT_N, 4) == 1;
}

/* In place of another one, whose parts go. */
static int put(struct keep_work *a, const struct keep_op *op)
{
	struct span key = { op->key, op->key_n }, more = op->large ? blob_span(op->large) : (struct span){};
	int r = 0;

	if (op->key[0] == KEEP_SESSION || op->key[0] == KEEP_SUBSCRIPTION || op->key[0] == KEEP_RETAINED)
		r = clear(a, key, op->value);
	if (r == MORE)
		r = put_gone(a, key);
	return r ? r : keep_put_parts(a->cursor, key, (struct span){ op->value, op->value_n }, more, is_tight(op));
}

/* The key of the message whose delivery this is about. */
static void set_self(uint8_t key[FULL_KEY], const struct keep_op *op)
{
	memcpy(key, op->key, FULL_KEY);
	keep_set_key(key + 9, KEEP_SELF);
}

static bool has(struct keep_work *a, const uint8_t *key, MDB_val *ret)
{
	MDB_val k = { FULL_KEY, (void *)key };

	return mdb_get(a->txn, a->dbi, &k, ret) == 0;
}

static bool is_over(struct keep_work *a, const struct keep_op *op)
{
	MDB_val value;

	return has(a, op->key, &value) && value.mv_size > KEEP_SUM && ((uint8_t *)value.mv_data)[KEEP_SUM] == KEEP_DONE;
}

/* One that lies before a message: `value` has room for its checksum. */
static int put_before(struct keep_work *a, const uint8_t key[FULL_KEY], uint8_t *value, size_t n)
{
	MDB_val k = { FULL_KEY, (void *)key }, v = { n, value };

	keep_seal(key, FULL_KEY, value, n);
	return mdb_cursor_put(a->cursor, &k, &v, 0);
}

static int put_left(struct keep_work *a, const uint8_t *key, uint32_t n)
{
	uint8_t v[LEFT];

	keep_set(v + KEEP_SUM, n, 4);
	return put_before(a, key, v, sizeof(v));
}

static int put_over(struct keep_work *a, const uint8_t *key)
{
	uint8_t v[TURN] = { [KEEP_SUM] = KEEP_DONE };

	return put_before(a, key, v, sizeof(v));
}

uint64_t keep_owed(uint64_t value, uint32_t waiters, uint32_t all)
{
	uint32_t few = waiters < CROWD ? waiters : CROWD;

	if (all < 2)
		return 0;
	return (value <= KEEP_WHOLE ? value : KEEP_PART) + (uint64_t)few * TURN_ROOM +
	       (uint64_t)(waiters - few) * CROWD_ROOM;
}

/* It has been written, or is about to go; less than nothing is not owed. */
static void pay(struct keep_work *a, uint64_t bytes)
{
	a->owed -= a->owed < bytes ? a->owed : bytes;
}

/* A message that was for several goes. */
static void pay_all(struct keep_work *a, const struct keep_op *op)
{
	uint8_t key[FULL_KEY];
	MDB_val value;

	set_self(key, op);
	if (has(a, key, &value))
		pay(a, keep_owed(value.mv_size, 1, 2));
}

/* How many a message waits for: the first of its rows says it, or it is the only one. 0: there is none. */
static int get_left(struct keep_work *a, uint8_t *key, uint32_t *ret, bool *ret_several)
{
	MDB_val k = { FULL_KEY, key }, value;
	int r = mdb_cursor_get(a->cursor, &k, &value, MDB_SET_RANGE);

	*ret = 0;
	*ret_several = false;
	if (r || !begins(&k, key, 9))
		return r == MDB_NOTFOUND ? 0 : r;
	*ret_several = session_of(&k) == 0 && value.mv_size == LEFT;
	*ret = *ret_several ? (uint32_t)keep_get((uint8_t *)value.mv_data + KEEP_SUM, 4) : 1;
	return 0;
}

/* ---- who waits ---- */

static uint64_t session_in(const struct keep_op *op)
{
	return keep_get_key(op->key + 1 + 8);
}

/* A copy of the whole value. 0, ENOMEM, MDB_NOTFOUND, or the error of LMDB. */
static int get_message(struct keep_work *a, const struct keep_op *op, uint8_t **ret, size_t *ret_n)
{
	uint8_t key[FULL_KEY];

	set_self(key, op);
	return keep_get_message(a->cursor, (struct span){ key, FULL_KEY }, ret, ret_n);
}

/* Encoded. */
static struct span waiters_of(const uint8_t *value, size_t n)
{
	size_t bytes = (size_t)keep_get(value + KEEP_AT_BYTES, 4) & ~(size_t)KEEP_PASSED;

	return (struct span){ value + KEEP_AT_WAITERS, bytes < n - KEEP_AT_WAITERS ? bytes : n - KEEP_AT_WAITERS };
}

/* Where this one stands among them. Empty: it does not wait. */
static struct span find_waiter(struct span waiters, uint64_t session)
{
	struct keep_raw_waiter w;

	for (struct span at = waiters, from = at; keep_row_waiter(&at, &w); from = at)
		if (w.w.session == session)
			return (struct span){ from.p, from.n - at.n };
	return (struct span){};
}

/*
 * Of a message that was passed on more may say that it is over than have a place: what is on its way to two sessions may have got one. Where
 * it could not be (a large value from when there were no parts) it may be so too. Of all others this is known. 0, ENOMEM, the error of LMDB.
 */
static int look_for(struct keep_work *a, const struct keep_op *op, bool *ret_waits)
{
	uint8_t key[FULL_KEY], *value;
	MDB_val row;
	size_t n;
	int r;

	set_self(key, op);
	*ret_waits = true;
	if (!has(a, key, &row) || (!keep_was_passed(&row) && row.mv_size <= KEEP_WHOLE))
		return 0;
	r = get_message(a, op, &value, &n);
	if (r)
		return r == MDB_NOTFOUND ? 0 : r;
	*ret_waits = find_waiter(waiters_of(value, n), session_in(op)).n > 0;
	mem_free(value);
	return 0;
}

/* A message for one goes when that one has it. One for several counts them, and each counts once. */
static int over(struct keep_work *a, const struct keep_op *op)
{
	uint8_t key[FULL_KEY];
	uint32_t left;
	bool several, waits;
	int r = look_for(a, op, &waits);

	if (r || !waits)
		return r;
	memcpy(key, op->key, FULL_KEY);
	keep_set_key(key + 9, 0);
	r = get_left(a, key, &left, &several);
	if (r || left == 0)
		return r;
	if (is_over(a, op))
		return 0;
	if (left == 1 && several)
		pay_all(a, op);
	if (left == 1)
		return del_all(a, (struct span){ key, 9 });
	pay(a, left > CROWD ? CROWD_ROOM : TURN_ROOM);
	r = put_over(a, op->key);
	return r ? r : put_left(a, key, left - 1);
}

/* ---- another one in its place ---- */

/* Into the place that is there: of the identifiers as many as fit, and what is left of it has none. */
static void set_waiter(uint8_t *at, size_t n, struct span to)
{
	size_t took = to.n < n ? to.n : n;

	static_assert(KEEP_NO_ID == UINT32_MAX);
	memcpy(at, to.p, took);
	memset(at + took, 0xff, n - took);
	keep_set(at + KEEP_AT_N_IDS, (n - KEEP_AT_IDS) / 4, 2);
}

/* `value` is a copy. What becomes of it has its size, so no row needs other room than it has. */
static int pass_in(struct keep_work *a, const struct keep_op *op, uint8_t *value, size_t n)
{
	struct span to = { op->value + KEEP_SUM, op->value_n - KEEP_SUM };
	struct span waiters = waiters_of(value, n), from = find_waiter(waiters, session_in(op));
	bool another = from.n && find_waiter(waiters, keep_get(to.p, 8)).n,
	     moves = from.n && !another && !is_over(a, op);
	uint8_t key[FULL_KEY];
	int r;

	set_self(key, op);
	if (moves)
		set_waiter(value + (from.p - value), from.n, to);
	keep_set(value + KEEP_AT_BYTES, waiters.n | KEEP_PASSED, 4);
	keep_seal(key, FULL_KEY, value, n);
	r = keep_put_same(a->cursor, (struct span){ key, FULL_KEY }, value);
	if (r == 0 && moves)
		r = del(a, (struct span){ op->key, FULL_KEY });
	return r == MDB_NOTFOUND || (r == 0 && another) ? over(a, op) : r;
}

static int pass(struct keep_work *a, const struct keep_op *op)
{
	uint8_t *value;
	size_t n;
	int r = get_message(a, op, &value, &n);

	if (r)
		return r == MDB_NOTFOUND ? 0 : r;
	r = pass_in(a, op, value, n);
	mem_free(value);
	return r;
}

/* ---- one delivery has come further ---- */

/* In the message, which keeps its size: pages that are full of messages for one have no room for more rows. */
static int turn_in(struct keep_work *a, const struct keep_op *op, uint8_t *value, size_t n)
{
	struct span its = find_waiter(waiters_of(value, n), session_in(op));
	const uint8_t *said = op->value + KEEP_SUM;
	uint8_t *at, key[FULL_KEY];

	if (!its.n)
		return 0;
	at = value + (its.p - value);
	if (said[0] == KEEP_RECEIVED)
		at[KEEP_AT_FLAGS] |= KEEP_GOT;
	memcpy(at + KEEP_AT_PACKET, said + 1, 2);
	set_self(key, op);
	keep_seal(key, FULL_KEY, value, n);
	return keep_put_same(a->cursor, (struct span){ key, FULL_KEY }, value);
}

static int turn_of_one(struct keep_work *a, const struct keep_op *op)
{
	uint8_t *value;
	size_t n;
	int r = get_message(a, op, &value, &n);

	if (r == 0) {
		r = turn_in(a, op, value, n);
		mem_free(value);
	}
	return r == MDB_NOTFOUND ? put(a, op) : r; /* no place for it: from when there were no parts */
}

/* Of a message for one, in it; of one for several beside it, where there is room for that; and so where an older guichet has begun to. */
static int turn(struct keep_work *a, const struct keep_op *op)
{
	uint8_t key[FULL_KEY];
	MDB_val row;
	bool several;
	uint32_t left;
	int r;

	set_self(key, op);
	if (!has(a, key, &row) || is_over(a, op))
		return 0;
	keep_set_key(key + 9, 0);
	r = get_left(a, key, &left, &several);
	if (r)
		return r;
	return several || has(a, op->key, &row) ? put(a, op) : turn_of_one(a, op);
}

static int apply(struct keep_work *a, const struct keep_op *op)
{
	switch (op->what) {
	case KEEP_OP_PUT:
		return put(a, op);
	case KEEP_OP_DEL_ALL:
		return del_all(a, (struct span){ op->key, op->key_n });
	case KEEP_OP_TURN:
		return turn(a, op);
	case KEEP_OP_PASS:
		return pass(a, op);
	default:
		return over(a, op);
	}
}

/* Of what only takes away, or is retained, each is right without the next one. */
static bool is_by_itself(const struct keep_op *op)
{
	return op->what != KEEP_OP_PUT || op->key[0] == KEEP_RETAINED || op->key[0] == KEEP_ROW_HEAD;
}

/* Rows that it takes of what may be written at once, beside those that go. */
static unsigned rows_of(const struct keep_op *op)
{
	size_t all = op->value_n + (op->large ? blob_span(op->large).n : 0);

	return KEEP_OP_ROWS - 1 + (unsigned)(all / KEEP_PART);
}

int keep_apply(struct keep_work *w, const struct keep_batch *b)
{
	size_t at = w->at ? w->at : KEEP_FIRST;
	int r = mdb_cursor_open(w->txn, w->dbi, &w->cursor);
	bool whole = true; /* what is before is right without the rest */

	if (r)
		return r;
	w->owed += w->at ? 0 : b->owed;
	while (at < b->n && r == 0) {
		const struct keep_op *op = keep_op_at(b, at);

		whole |= op->apart;
		if (w->may_stop && w->left == 0 && whole)
			break;
		if (w->may_stop)
			w->left -= w->left < rows_of(op) ? w->left : rows_of(op);
		r = apply(w, op);
		whole &= is_by_itself(op);
		at += op->size;
	}
	w->at = at < b->n ? at : 0;
	mdb_cursor_close(w->cursor);
	return r;
}

/* ---- what was left for later ---- */

/* The row of this key, if there is one: its checksum. */
static const uint8_t *sum_of(struct keep_work *w, struct span key)
{
	MDB_val k = { key.n, (void *)key.p }, value;

	return mdb_get(w->txn, w->dbi, &k, &value) == 0 && value.mv_size >= KEEP_SUM ? value.mv_data : NULL;
}

/* The first of them. 0: it is done; MORE: not quite; or the error of LMDB. */
static int sweep_one(struct keep_work *w, const MDB_val *found)
{
	uint8_t key[KEEP_KEY], sum[KEEP_SUM];
	struct span all = { key, found->mv_size }, prefix = { key + 1, all.n - 1 };
	const uint8_t *but;
	int r;

	memcpy(key, found->mv_data, all.n);
	but = sum_of(w, prefix);
	if (but)
		memcpy(sum, but, KEEP_SUM);
	r = clear(w, prefix, but ? sum : NULL);
	return r ? r : del(w, all);
}

int keep_sweep(struct keep_work *w)
{
	static const uint8_t first[] = { KEEP_ROW_GONE };
	int r = mdb_cursor_open(w->txn, w->dbi, &w->cursor);
	struct keep_row row;

	if (r)
		return r;
	w->sweeps = true;
	while (r == 0 && w->left > 0) {
		MDB_val key = { sizeof(first), (void *)first }, value;

		r = mdb_cursor_get(w->cursor, &key, &value, MDB_SET_RANGE);
		if (r == 0 && keep_row((struct span){ key.mv_data, key.mv_size },
				       (struct span){ value.mv_data, value.mv_size }, NULL, &row) < 0)
			r = mdb_cursor_del(w->cursor, 0);
		else if (r == 0)
			r = sweep_one(w, &key);
	}
	w->sweeps = r != MDB_NOTFOUND;
	mdb_cursor_close(w->cursor);
	return r == MORE || r == MDB_NOTFOUND ? 0 : r;
}

/* A row that comes between others may split a page into two that are half full. Parts lie three to a page at least. */
static uint64_t room_of(uint64_t small, uint64_t large, uint64_t n_large)
{
	return 2 * small + small / 2 + large + large / 2 + n_large * 4096;
}

uint64_t keep_batch_room(const struct keep_batch *b)
{
	return room_of(b->n, b->large, b->large ? b->records : 0) + b->owed;
}

uint64_t keep_record_room(uint64_t bytes)
{
	bool large = bytes > KEEP_COPY;

	return room_of(sizeof(struct keep_op) + (large ? 0 : bytes), large ? bytes : 0, large);
}
