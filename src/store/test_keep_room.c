/* test_keep_room.c - a store near its limit: what is let in has room, what takes away gets through, and afterwards all of it is free again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/keep_priv.h"
#include "support/keeper.h"

enum { LARGEST = 1 << 20, SESSIONS = 20, CROWD = 300 };

static uint8_t bytes[LARGEST];

static void init(struct keeper *t)
{
	keeper_start_small(t, LARGEST, SESSIONS);
}

static void put(struct keeper *t, uint64_t id, size_t n, uint64_t session, uint32_t sessions)
{
	struct keep_message m = { .topic = span_str("t"), .payload = { bytes, n } };
	struct keep_waiter w[CROWD];

	for (uint32_t i = 0; i < sessions; i++)
		w[i] = (struct keep_waiter){ .session = session + i, .qos = 1 };
	if (n > KEEP_COPY)
		m.large = blob_new(&m.payload, 1);
	assert_int_equal(keep_put_message(&t->b, id, &m, w, sessions), 0);
	blob_unref(m.large);
}

/* One after the other, for sessions in turn or for all of them. From 100 on; the first number that there is not. */
static uint64_t fill(struct keeper *t, size_t n, uint64_t turns, uint32_t sessions)
{
	uint64_t id = 100;

	for (; keep_promise(t->k, &t->b, n); id++) {
		put(t, id, n, 1 + id % turns, sessions);
		keeper_submit(t);
		assert_true(id < 100000);
	}
	return id;
}

static void done(struct keeper *t, uint64_t id, uint64_t session)
{
	assert_int_equal(keep_done(&t->b, id, session), 0);
}

static void expect_empty(struct keeper *t)
{
	for (int i = 0; i < 1000 && keep_full(t->k); i++)
		usleep(10000);
	assert_false(keep_full(t->k));
	assert_int_equal(t->k->owed, 0);
	for (int i = 0; i < 100 && t->found.records != SESSIONS + 1; i++) {
		usleep(10000); /* it sweeps */
		keeper_reopen(t);
		keeper_start(t);
		assert_false(t->found.damaged);
	}
	assert_int_equal(t->found.records, SESSIONS + 1);
	keeper_done(t);
}

/* What one transaction has freed the next one may not use, nor the same one tried again: there has to be another between them. */
static void test_freed_last(void **state)
{
	struct keeper t;

	(void)state;
	init(&t);
	for (uint64_t id = 1; id <= 11; id++) {
		put(&t, id, LARGEST - 100, 1, 1);
		keeper_submit(&t);
	}
	for (uint64_t id = 1; id <= 7; id++)
		done(&t, id, 1);
	keeper_submit(&t);
	for (uint64_t id = 21; id <= 26; id++)
		put(&t, id, LARGEST - 100, 1, 1);
	keeper_submit(&t);
	for (uint64_t id = 8; id <= 26; id++)
		done(&t, id, 1);
	keeper_submit(&t);
	expect_empty(&t);
}

/* Room is promised once, however many ask; and given back with the batch. */
static void test_promised_once(void **state)
{
	struct keep_batch other = {};
	uint64_t promised = 0;
	struct keeper t;

	(void)state;
	init(&t);
	for (int i = 0; i < 1000 && keep_promise(t.k, i % 2 ? &t.b : &other, LARGEST); i++)
		promised += LARGEST;
	assert_true(promised >= 4 * LARGEST);
	assert_true(promised <= KEEP_LIMIT_MIN - t.k->reserve / 2);
	assert_false(keep_promise(t.k, &t.b, LARGEST));
	assert_int_equal(keep_submit(t.k, &t.b), 0);
	assert_int_equal(keep_submit(t.k, &other), 0);
	assert_int_equal(t.k->waiting_room, 0);
	assert_true(keep_promise(t.k, &t.b, LARGEST));
	keeper_session(&t, 1, "s");
	keeper_submit(&t);
	assert_int_equal(t.k->waiting_room, 0);
	expect_empty(&t);
}

/* All of them, one session after the other. */
static void take_in_turn(struct keeper *t, uint64_t end, uint64_t sessions)
{
	for (uint64_t session = 1; session <= sessions; session++) {
		for (uint64_t id = 100; id < end; id++) {
			keep_cut(&t->b);
			done(t, id, session);
		}
		keeper_submit(t);
	}
}

/* A message for many needs more than who asked for room could say: what a batch has of these counts, before it is handed over. */
static void test_promised_for_many(void **state)
{
	struct keeper t;
	uint64_t id = 100;

	(void)state;
	init(&t);
	for (; keep_promise(t.k, &t.b, 10); id++)
		put(&t, id, 10, 1, SESSIONS);
	assert_true(keep_batch_room(&t.b) < KEEP_LIMIT_MIN);
	keeper_submit(&t);
	take_in_turn(&t, id, SESSIONS);
	assert_int_equal(t.k->waiting_room, 0);
	expect_empty(&t);
}

/* Pages with the message's own rows are split where few of these are: what lies before them is as good as empty. */
static void test_for_a_crowd(void **state)
{
	struct keeper t;

	(void)state;
	init(&t);
	take_in_turn(&t, fill(&t, 1200, 1, CROWD), CROWD);
	expect_empty(&t);
}

/* What nobody has asked for room for is too much: it waits. A larger limit is heard of by who waits, too. */
static void test_larger_while_stuck(void **state)
{
	struct keeper t;

	(void)state;
	init(&t);
	for (uint64_t id = 100; id < 120; id++)
		put(&t, id, LARGEST - 100, 1, 1);
	keep_submit(t.k, &t.b);
	keeper_wait_state(&t, KEEP_FULL);
	usleep(100000); /* it tries */
	keep_change(t.k, 4 * KEEP_LIMIT_MIN, LARGEST, false);
	for (uint64_t id = 100; id < 120; id++)
		done(&t, id, 1);
	keeper_submit(&t);
	expect_empty(&t);
}

/* Messages that come one after the other fill their pages: three of 1,300 bytes lie on each. */
static void test_dense(void **state)
{
	struct keeper t;
	uint64_t end;

	(void)state;
	init(&t);
	end = fill(&t, 1250, 1, 1);
	assert_true((end - 100) * 1250 > (KEEP_LIMIT_MIN - t.k->reserve) / 4 * 3);
	for (uint64_t id = 100; id < end; id++)
		done(&t, id, 1);
	keeper_submit(&t);
	expect_empty(&t);
}

/* Each acknowledgement of a message for many is a row more. */
static void test_for_many(void **state)
{
	struct keeper t;
	uint64_t end;

	(void)state;
	init(&t);
	end = fill(&t, 300, 1, SESSIONS);
	for (uint64_t session = 1; session <= SESSIONS; session++) {
		for (uint64_t id = 100; id < end; id++)
			done(&t, id, session);
		keeper_submit(&t);
		if (session == SESSIONS / 2) { /* what the others may still write is known after a restart, too */
			uint64_t owed = t.k->owed;

			assert_true(owed > 0);
			keeper_reopen(&t);
			keeper_start(&t);
			assert_int_equal(t.k->owed, owed);
		}
	}
	expect_empty(&t);
}

/* A thousand pages change behind what cannot be divided: in several transactions. */
static void test_many_behind_one(void **state)
{
	uint64_t end, n = 0;
	struct keeper t;

	(void)state;
	init(&t);
	end = fill(&t, 1900, 2, 1);
	keeper_session(&t, 1, "s");
	for (uint64_t id = 100; id < end && n < 2000; id += 2, n++) {
		keep_cut(&t.b);
		done(&t, id, 1 + id % 2);
	}
	keeper_submit(&t);
	for (uint64_t id = 100; id < end; id++)
		done(&t, id, 1 + id % 2);
	keeper_submit(&t);
	expect_empty(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_freed_last),        cmocka_unit_test(test_promised_once),
		cmocka_unit_test(test_promised_for_many), cmocka_unit_test(test_larger_while_stuck),
		cmocka_unit_test(test_for_a_crowd),       cmocka_unit_test(test_dense),
		cmocka_unit_test(test_for_many),          cmocka_unit_test(test_many_behind_one),
	};

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)((i * 2654435761u >> 13) | 1); /* no end of a text */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
