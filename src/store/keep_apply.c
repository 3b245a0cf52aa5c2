/*
 * keep_apply.c - from a batch to LMDB. See keep_priv.h. Nothing is remembered here: how many a message waits for is a
 * row like others, so a transaction that is given up leaves nothing behind.
 */
#include <errno.h>

#include "base/crc.h"
#include "store/keep_priv.h"

enum { LEFT = KEEP_SUM + 4, FULL_KEY = 1 + 8 + 8 };

struct applying {
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_cursor *cursor;
};

static MDB_val key_of(const struct keep_op *op)
{
	return (MDB_val){ op->key_n, (void *)op->key };
}

static int put(const struct applying *a, const struct keep_op *op)
{
	struct span large = op->large ? blob_span(op->large) : (struct span){};
	MDB_val key = key_of(op), value = { op->value_n + large.n, (void *)op->value };
	int r;

	if (!op->large)
		return mdb_cursor_put(a->cursor, &key, &value, 0);
	r = mdb_cursor_put(a->cursor, &key, &value, MDB_RESERVE);
	if (r)
		return r;
	memcpy(value.mv_data, op->value, op->value_n);
	memcpy((uint8_t *)value.mv_data + op->value_n, large.p, large.n);
	return 0;
}

static int del(const struct applying *a, const struct keep_op *op)
{
	MDB_val key = key_of(op);
	int r = mdb_del(a->txn, a->dbi, &key, NULL);

	return r == MDB_NOTFOUND ? 0 : r;
}

static bool begins(const MDB_val *key, const uint8_t *prefix, size_t n)
{
	return key->mv_size >= n && memcmp(key->mv_data, prefix, n) == 0;
}

static uint64_t session_of(const MDB_val *key)
{
	return key->mv_size == FULL_KEY ? keep_get_key((const uint8_t *)key->mv_data + 9) : 0;
}

/* From the first key that is not below `from`, as long as they begin like it; a message is the last of its own. */
static int del_all(const struct applying *a, const uint8_t *from, size_t from_n, size_t prefix_n)
{
	for (bool last = false; !last;) {
		MDB_val key = { from_n, (void *)from }, value;
		int r = mdb_cursor_get(a->cursor, &key, &value, MDB_SET_RANGE);

		if (r)
			return r == MDB_NOTFOUND ? 0 : r;
		if (!begins(&key, from, prefix_n))
			return 0;
		last = session_of(&key) == KEEP_SELF;
		r = mdb_cursor_del(a->cursor, 0);
		if (r)
			return r;
	}
	return 0;
}

static bool has(const struct applying *a, const uint8_t *key, MDB_val *ret)
{
	MDB_val k = { FULL_KEY, (void *)key };

	return mdb_get(a->txn, a->dbi, &k, ret) == 0;
}

static bool is_over(const struct applying *a, const struct keep_op *op)
{
	MDB_val value;

	return has(a, op->key, &value) && value.mv_size > KEEP_SUM && ((uint8_t *)value.mv_data)[KEEP_SUM] == KEEP_DONE;
}

/* Only of a message that is there, and of a delivery that is not over. */
static int turn(const struct applying *a, const struct keep_op *op)
{
	uint8_t key[FULL_KEY];
	MDB_val value;

	memcpy(key, op->key, FULL_KEY);
	keep_set_key(key + 9, KEEP_SELF);
	if (!has(a, key, &value) || is_over(a, op))
		return 0;
	return put(a, op);
}

static int put_left(const struct applying *a, uint8_t *key, uint32_t n)
{
	uint8_t v[LEFT] = { [KEEP_SUM] = (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24) };
	uint32_t sum = crc32c(crc32c(0, key, FULL_KEY), v + KEEP_SUM, 4);
	MDB_val k = { FULL_KEY, key }, value = { LEFT, v };

	for (unsigned i = 0; i < KEEP_SUM; i++)
		v[i] = (uint8_t)(sum >> 8 * i);
	return mdb_cursor_put(a->cursor, &k, &value, 0);
}

/* How many a message waits for: the first of its rows says it, or it is the only one. 0: there is none. */
static int get_left(const struct applying *a, uint8_t *key, uint32_t *ret)
{
	MDB_val k = { FULL_KEY, key }, value;
	int r = mdb_cursor_get(a->cursor, &k, &value, MDB_SET_RANGE);

	*ret = 0;
	if (r || !begins(&k, key, 9))
		return r == MDB_NOTFOUND ? 0 : r;
	*ret = session_of(&k) == 0 && value.mv_size == LEFT ? (uint32_t)keep_get((uint8_t *)value.mv_data + KEEP_SUM, 4)
							    : 1;
	return 0;
}

/* A message for one goes when that one has it. One for several counts them, and each counts once. */
static int over(const struct applying *a, const struct keep_op *op)
{
	uint8_t key[FULL_KEY];
	uint32_t left;
	int r;

	memcpy(key, op->key, FULL_KEY);
	keep_set_key(key + 9, 0);
	r = get_left(a, key, &left);
	if (r || left == 0)
		return r;
	if (is_over(a, op))
		return 0;
	if (left == 1)
		return del_all(a, key, FULL_KEY, 9);
	r = put(a, op);
	return r ? r : put_left(a, key, left - 1);
}

static int apply(const struct applying *a, const struct keep_op *op)
{
	switch (op->what) {
	case KEEP_OP_PUT:
		return put(a, op);
	case KEEP_OP_DEL:
		return del(a, op);
	case KEEP_OP_DEL_ALL:
		return del_all(a, op->key, op->key_n, op->key_n);
	case KEEP_OP_TURN:
		return turn(a, op);
	default:
		return over(a, op);
	}
}

int keep_apply(MDB_txn *txn, MDB_dbi dbi, const struct keep_batch *b)
{
	struct applying a = { .txn = txn, .dbi = dbi };
	int r = mdb_cursor_open(txn, dbi, &a.cursor);

	if (r)
		return r;
	for (size_t at = KEEP_FIRST; at < b->n && r == 0; at += keep_op_at(b, at)->size)
		r = apply(&a, keep_op_at(b, at));
	mdb_cursor_close(a.cursor);
	return r;
}

uint64_t keep_batch_room(const struct keep_batch *b)
{
	return 2 * (uint64_t)b->n + b->large + (b->large ? (uint64_t)b->records * 4096 : 0);
}
