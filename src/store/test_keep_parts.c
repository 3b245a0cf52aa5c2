/*
 * test_keep_parts.c - values in parts: of all sizes, written over by less and by more, taken away in several transactions, damaged; and a
 * store at its limit whose free pages are nowhere in a row.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "store/keep_priv.h"
#include "support/keeper.h"

enum { LARGEST = 16 << 20, BESIDE = 60 /* bytes of a value beside its payload, more or less */ };

static uint8_t *bytes; /* of all payloads: so much of it */

static void retain(struct keeper *t, unsigned topic, size_t n)
{
	char name[16];
	struct keep_message m = { .topic = { (uint8_t *)name, (size_t)snprintf(name, sizeof(name), "%u", topic) } };

	m.payload = (struct span){ bytes + topic % 64, n };
	if (n > KEEP_COPY)
		m.large = blob_new(&m.payload, 1);
	assert_int_equal(keep_retain(&t->b, &m), 0);
	blob_unref(m.large);
}

struct seen {
	unsigned n;
	uint64_t parts, dropped;
};

/* Opens it again: what it has, each as it was written. sizes[topic]: its bytes, 0 = it is not there. */
static struct seen reopen(struct keeper *t, const size_t *sizes)
{
	struct seen s = {};
	struct keep_record r;
	int got;

	keeper_reopen(t);
	while ((got = keep_next(t->k, &r)) == 1) {
		const struct keep_message *m = &r.message;
		char name[16];
		unsigned topic;

		if (r.kind != KEEP_RETAINED)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)m->topic.n, (const char *)m->topic.p);
		topic = (unsigned)strtoul(name, NULL, 10);
		assert_int_equal(m->payload.n, sizes[topic]);
		assert_memory_equal(m->payload.p, bytes + topic % 64, m->payload.n);
		s.n++;
	}
	assert_int_equal(got, 0);
	s.parts = t->k->parts.parts;
	keeper_start(t);
	s.dropped = t->found.dropped;
	return s;
}

static void init(struct keeper *t)
{
	keeper_init_fast(t);
	keeper_start(t);
}

/* Around each place where there is one part more. */
static void test_sizes(void **state)
{
	static const size_t around[] = { KEEP_PART, KEEP_WHOLE, 2 * KEEP_PART, 3 * KEEP_PART, 9 * KEEP_PART };
	static size_t sizes[1000] = { LARGEST };
	unsigned n = 1;
	struct keeper t;

	(void)state;
	init(&t);
	for (size_t i = 0; i < sizeof(around) / sizeof(around[0]); i++)
		for (size_t less = 0; less < BESIDE; less++)
			sizes[n++] = around[i] - less;
	for (unsigned i = 0; i < n; i++)
		retain(&t, i, sizes[i]);
	keeper_submit(&t);
	assert_int_equal(reopen(&t, sizes).n, n);
	assert_false(t.found.damaged);
	assert_int_equal(t.found.records, n + 1);
	for (unsigned i = 0; i < n; i++)
		retain(&t, i, 0);
	keeper_submit(&t);
	keeper_close(&t);
	reopen(&t, sizes); /* and sweeps */
	keeper_session(&t, 1, "s");
	keeper_submit(&t);
	assert_int_equal(reopen(&t, sizes).parts, 0);
	assert_false(t.found.damaged);
	keeper_done(&t);
}

/* Each size over each, in one transaction and in two; each goes with all its parts. */
static void test_over(void **state)
{
	static const size_t size[] = { 10, 950, 1950, 3000, 3001, 20000, 100000 };
	static size_t sizes[200];
	unsigned n = 0;
	struct keeper t;

	(void)state;
	for (int apart = 0; apart < 2; apart++) {
		init(&t);
		n = 0;
		for (size_t from = 0; from < 7; from++)
			for (size_t to = 0; to < 7; to++) {
				retain(&t, n, size[from]);
				if (apart)
					keeper_submit(&t);
				retain(&t, n, size[to]);
				sizes[n++] = size[to];
			}
		keeper_submit(&t);
		assert_int_equal(reopen(&t, sizes).n, n);
		assert_false(t.found.damaged);
		while (n)
			retain(&t, --n, 0);
		keeper_submit(&t);
		assert_int_equal(reopen(&t, sizes).parts, 0);
		assert_false(t.found.damaged);
		keeper_done(&t);
	}
}

static void put_large(struct keeper *t, uint64_t id, size_t n, const struct keep_waiter *w, uint32_t waiters)
{
	struct keep_message m = { .topic = span_str("t") };

	m.large = blob_new(&(struct span){ bytes, n }, 1);
	assert_int_equal(keep_put_message(&t->b, id, &m, w, waiters), 0);
	blob_unref(m.large);
}

/* What goes little by little has gone at once for all who read, also when it ends in the middle; and its number is not used again. */
static void test_little_by_little(void **state)
{
	const struct keep_waiter w = { .session = 1, .qos = 1 };
	static size_t sizes[1];
	struct seen s;
	struct keeper t;

	(void)state;
	init(&t);
	keeper_session(&t, 1, "s");
	put_large(&t, 1000, LARGEST, &w, 1);
	retain(&t, 0, LARGEST);
	keeper_submit(&t);
	assert_int_equal(keep_done(&t.b, 1000, 1), 0);
	retain(&t, 0, 5000);
	keeper_submit(&t);
	sizes[0] = 5000;
	s = reopen(&t, sizes); /* which does not wait */
	assert_int_equal(s.n, 1);
	assert_true(s.parts > 5);
	assert_false(t.found.damaged);
	assert_true(keep_new_id(t.k) > 1000);
	for (int i = 0; i < 100 && s.parts > 5; i++) {
		keeper_session(&t, 1, "s");
		keeper_submit(&t);
		s = reopen(&t, sizes);
	}
	assert_int_equal(s.parts, 5);
	assert_int_equal(s.n, 1);
	assert_int_equal(t.found.records, 3);
	keeper_done(&t);
}

/* ---- by hand ---- */

typedef int change(MDB_txn *txn, MDB_dbi dbi, MDB_cursor *c, MDB_val *key, MDB_val *value);

/* At the last row, which is the last part of a message. */
static void change_last(struct keeper *t, change *how)
{
	MDB_val key, value;
	MDB_cursor *c;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	keeper_close(t);
	assert_int_equal(keep_env(t->file, 64 << 20, &env, &dbi), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_cursor_open(txn, dbi, &c), 0);
	assert_int_equal(mdb_cursor_get(c, &key, &value, MDB_LAST), 0);
	assert_int_equal(how(txn, dbi, c, &key, &value), 0);
	mdb_cursor_close(c);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static int take_one(MDB_txn *txn, MDB_dbi dbi, MDB_cursor *c, MDB_val *key, MDB_val *value)
{
	(void)txn, (void)dbi, (void)key, (void)value;
	return mdb_cursor_del(c, 0);
}

static int take_middle(MDB_txn *txn, MDB_dbi dbi, MDB_cursor *c, MDB_val *key, MDB_val *value)
{
	mdb_cursor_get(c, key, value, MDB_PREV);
	return take_one(txn, dbi, c, key, value);
}

static int put_changed(MDB_txn *txn, MDB_dbi dbi, const MDB_val *key, const MDB_val *value, int number, int bit,
		       int more)
{
	uint8_t k[KEEP_KEY + KEEP_PART_KEY], v[KEEP_PART + 1] = {};
	MDB_val new_key = { key->mv_size, k }, new_value = { value->mv_size + (size_t)more, v };

	memcpy(k, key->mv_data, key->mv_size);
	memcpy(v, value->mv_data, value->mv_size);
	k[key->mv_size - 1] = (uint8_t)(k[key->mv_size - 1] + number);
	v[value->mv_size / 2] ^= (uint8_t)bit;
	return mdb_put(txn, dbi, &new_key, &new_value, 0);
}

static int flip_one(MDB_txn *txn, MDB_dbi dbi, MDB_cursor *c, MDB_val *key, MDB_val *value)
{
	(void)c;
	return put_changed(txn, dbi, key, value, 0, 4, 0);
}

static int longer_one(MDB_txn *txn, MDB_dbi dbi, MDB_cursor *c, MDB_val *key, MDB_val *value)
{
	(void)c;
	return put_changed(txn, dbi, key, value, 0, 0, 1);
}

static int one_more(MDB_txn *txn, MDB_dbi dbi, MDB_cursor *c, MDB_val *key, MDB_val *value)
{
	(void)c;
	return put_changed(txn, dbi, key, value, 1, 0, 0);
}

/* The message with a part that is not as it was goes, and nothing else; one that nobody needs is nobody's. */
static void test_damaged(void **state)
{
	static change *const how[] = { take_one, take_middle, flip_one, longer_one, one_more };
	const struct keep_waiter w = { .session = 1, .qos = 1 };

	(void)state;
	for (size_t i = 0; i < sizeof(how) / sizeof(how[0]); i++) {
		bool harmless = how[i] == one_more;
		struct keeper t;
		char *text;

		init(&t);
		keeper_session(&t, 1, "s");
		put_large(&t, 2, 5000, &w, 1);
		put_large(&t, 3, 20000, &w, 1);
		keeper_submit(&t);
		change_last(&t, how[i]);
		keeper_open(&t);
		text = keeper_text(&t);
		assert_non_null(strstr(text, "message 2 "));
		assert_int_equal(strstr(text, "message 3 ") != NULL, harmless);
		mem_free(text);
		keeper_start(&t);
		assert_int_equal(t.found.damaged, !harmless);
		assert_int_equal(t.found.records, harmless ? 4 : 3);
		keeper_reopen(&t);
		keeper_start(&t);
		assert_false(t.found.damaged);
		keeper_done(&t);
	}
}

/* As an older guichet has written it: pages of its own. It is read, written over, and gone. */
static int put_old(MDB_txn *txn, MDB_dbi dbi, MDB_cursor *c, MDB_val *key, MDB_val *value)
{
	static const size_t sizes[] = { 9000, 9001, KEEP_PART - 20 };

	(void)c, (void)key, (void)value;
	for (unsigned i = 0; i < 3; i++) {
		char name[] = { (char)('0' + i), '\0' };
		struct keep_message m = { .topic = span_str(name), .payload = { bytes + i, sizes[i] } };
		struct keep_batch b = {};
		const struct keep_op *op;

		assert_int_equal(keep_retain(&b, &m), 0);
		op = keep_op_at(&b, KEEP_FIRST);
		assert_int_equal(mdb_put(txn, dbi, &(MDB_val){ op->key_n, (void *)op->key },
					 &(MDB_val){ op->value_n, (void *)op->value }, 0),
				 0);
		assert_int_equal(op->value_n == KEEP_PART, i == 2);
		keep_batch_done(&b);
	}
	return 0;
}

static void test_older(void **state)
{
	static size_t sizes[] = { 9000, 9001, KEEP_PART - 20 };
	struct keeper t;

	(void)state;
	init(&t);
	change_last(&t, put_old);
	assert_int_equal(reopen(&t, sizes).n, 3);
	assert_false(t.found.damaged);
	sizes[0] = 12000;
	retain(&t, 0, sizes[0]);
	retain(&t, 1, 0);
	keeper_submit(&t);
	assert_int_equal(reopen(&t, sizes).n, 2);
	assert_false(t.found.damaged);
	keeper_done(&t);
}

static void test_no_memory(void **state)
{
	static const size_t sizes[] = { 100000, 3000 };
	struct keeper t;

	(void)state;
	init(&t);
	for (unsigned i = 0; i < 2; i++)
		retain(&t, i, sizes[i]);
	keeper_submit(&t);
	keeper_close(&t);
	keeper_each_allocation(&t);
	assert_int_equal(reopen(&t, sizes).n, 2);
	assert_false(t.found.damaged);
	keeper_done(&t);
}

/* ---- at the limit ---- */

static uint64_t fill(struct keeper *t, uint64_t id, size_t n, uint64_t sessions)
{
	while (!keep_full(t->k)) {
		const struct keep_waiter w = { .session = 1 + id % sessions, .qos = 1 };
		const struct keep_message m = { .topic = span_str("t"), .payload = { bytes, n } };

		assert_int_equal(keep_put_message(&t->b, id++, &m, &w, 1), 0);
		keeper_submit(t);
		assert_true(id < 100000);
	}
	return id;
}

static void wait_for_room(const struct keeper *t)
{
	for (int i = 0; i < 1000 && keep_full(t->k); i++)
		usleep(10000);
	assert_false(keep_full(t->k));
}

/* Every second page or so is free, and no more: what is larger is refused or has room, and never waits for pages in a row. */
static void test_nowhere_in_a_row(void **state)
{
	static const size_t sizes[] = { 1000, 3000, 3900, 60000, 250000 };
	struct keeper t;
	uint64_t id = 10;

	(void)state;
	keeper_init_fast(&t);
	t.setup.limit = KEEP_LIMIT_MIN;
	keeper_start(&t);
	for (uint64_t i = 1; i <= 2; i++)
		keeper_session(&t, i, "s");
	for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint64_t first = id, half = fill(&t, id, sizes[i % 5], 2);

		for (id = first + 1; id < half; id += 2)
			assert_int_equal(keep_done(&t.b, id, 1 + id % 2), 0);
		keeper_submit(&t);
		id = fill(&t, half, sizes[(i + 3) % 5], 1);
		for (uint64_t j = first; j < id; j++)
			assert_int_equal(keep_done(&t.b, j, j < half ? 1 + j % 2 : 1), 0);
		keeper_submit(&t); /* in one batch: it is written in several transactions */
		wait_for_room(&t);
	}
	for (int i = 0; i < 100 && t.found.records != 3; i++) {
		usleep(10000); /* it sweeps */
		keeper_reopen(&t);
		keeper_start(&t);
		assert_false(t.found.damaged);
	}
	assert_int_equal(t.found.records, 3);
	keeper_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_over),
		cmocka_unit_test(test_little_by_little),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_older),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_nowhere_in_a_row),
	};
	int r;

	bytes = malloc(LARGEST + 64);
	for (size_t i = 0; i < LARGEST + 64; i++)
		bytes[i] = (uint8_t)((i * 2654435761u >> 13) | 1); /* no end of a text */
	r = cmocka_run_group_tests(tests, NULL, NULL);
	free(bytes);
	return r;
}
