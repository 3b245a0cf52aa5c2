/* test_keep_pass.c - in a message that waits for one who has ended another one waits in his place; also where there is no room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "store/keep_priv.h"
#include "support/keeper.h"

enum { SESSIONS = 9, LARGEST = 1 << 20 };

static uint8_t bytes[LARGEST];

static void begin(struct keeper *t)
{
	keeper_start_small(t, LARGEST, SESSIONS);
}

/* All that is there of messages, in text. */
static char *messages(struct keeper *t)
{
	char *text, *found;

	keeper_submit(t);
	keeper_reopen(t);
	text = keeper_text(t);
	keeper_start(t);
	assert_false(t->found.damaged);
	found = strstr(text, "message ");
	memmove(text, found ? found : "", found ? strlen(found) + 1 : 1);
	return text;
}

static void expect(struct keeper *t, const char *text)
{
	char *got = messages(t);

	assert_string_equal(got, text);
	mem_free(got);
}

/* Nothing is left but sessions; and nobody owes anything. */
static void expect_empty(struct keeper *t)
{
	expect(t, "");
	assert_int_equal(t->found.records, SESSIONS + 1);
	assert_int_equal(t->k->owed, 0);
	keeper_done(t);
}

static void put(struct keeper *t, uint64_t id, size_t n, const struct keep_waiter *w, uint32_t waiters)
{
	struct keep_message m = { .topic = span_str("t"), .payload = { bytes, n }, .qos = 1 };

	if (n > KEEP_COPY)
		m.large = blob_new(&m.payload, 1);
	assert_int_equal(keep_put_message(&t->b, id, &m, w, waiters), 0);
	blob_unref(m.large);
}

static void pass(struct keeper *t, uint64_t id, uint64_t from, const struct keep_waiter *to)
{
	assert_int_equal(keep_pass(&t->b, id, from, to), 0);
}

static void done(struct keeper *t, uint64_t id, uint64_t session)
{
	assert_int_equal(keep_done(&t->b, id, session), 0);
}

static void end(struct keeper *t, uint64_t session)
{
	assert_int_equal(keep_end_session(&t->b, session), 0);
}

static void test_for_one(void **state)
{
	static const uint32_t mine[] = { 5 }, his[] = { 7 };
	const struct keep_waiter w = { .session = 1, .qos = 1, .packet = 3, .ids = mine, .n_ids = 1, .alone = 2 },
				 bare = { .session = 1, .qos = 1, .packet = 3, .alone = 2 },
				 to = { .session = 2, .qos = 2, .packet = 77, .ids = his, .n_ids = 1, .alone = 4 },
				 to_bare = { .session = 2, .qos = 2, .packet = 77, .alone = 4 };
	struct keeper t;

	(void)state;
	begin(&t);
	put(&t, 20, 0, &w, 1);
	put(&t, 21, 0, &w, 1);
	put(&t, 22, 0, &bare, 1);
	assert_int_equal(keep_sent(&t.b, 20, 1, 4), 0); /* of the first one nothing is left */
	pass(&t, 20, 1, &to);
	pass(&t, 21, 1, &to_bare);
	pass(&t, 22, 1, &to); /* larger it does not become */
	pass(&t, 23, 1, &to); /* of nothing */
	pass(&t, 22, 1, &w);  /* he does not wait any more */
	end(&t, 1);
	expect(&t, "message 20 topic=t payload= q1 r0 until=0 [2 q2 r0 p77 t0 a4 #7]\n"
		   "message 21 topic=t payload= q1 r0 until=0 [2 q2 r0 p77 t0 a4]\n"
		   "message 22 topic=t payload= q1 r0 until=0 [2 q2 r0 p77 t0 a4]\n");
	assert_int_equal(keep_received(&t.b, 20, 2, 77), 0);
	pass(&t, 21, 2, &(struct keep_waiter){ .session = 3, .qos = 1, .packet = 8 });
	expect(&t, "message 20 topic=t payload= q1 r0 until=0 [2 q2 r0 p77 t1 a4 #7]\n"
		   "message 21 topic=t payload= q1 r0 until=0 [3 q1 r0 p8 t0]\n"
		   "message 22 topic=t payload= q1 r0 until=0 [2 q2 r0 p77 t0 a4]\n");
	done(&t, 20, 2);
	done(&t, 21, 3);
	done(&t, 22, 2);
	keeper_session(&t, 1, "s");
	expect_empty(&t);
}

/* Where it waits already it has one place, and the other one's is over. */
static void test_for_several(void **state)
{
	static const uint32_t ids[] = { 5, 6 };
	const struct keep_waiter w[] = { { .session = 1, .qos = 1, .packet = 1, .ids = ids, .n_ids = 2 },
					 { .session = 2, .qos = 1, .packet = 2 },
					 { .session = 3, .qos = 2, .packet = 3, .ids = ids, .n_ids = 1 } };
	struct keeper t;

	(void)state;
	begin(&t);
	put(&t, 20, 0, w, 3);
	put(&t, 21, 0, w, 3);
	done(&t, 21, 1);
	done(&t, 21, 3);
	pass(&t, 20, 1, &(struct keep_waiter){ .session = 4, .qos = 1, .packet = 9, .ids = ids + 1, .n_ids = 1 });
	pass(&t, 20, 3, &w[1]);
	pass(&t, 21, 1, &(struct keep_waiter){ .session = 4, .qos = 1, .packet = 9 }); /* over is over */
	pass(&t, 21, 2, &w[2]); /* who has had it already: then nobody waits for it */
	expect(&t, "message 20 topic=t payload= q1 r0 until=0 [4 q1 r0 p9 t0 #6] [2 q1 r0 p2 t0]\n");
	done(&t, 20, 2);
	done(&t, 20, 4);
	expect_empty(&t);
}

/* Who has no place takes none away, whatever he says. */
static void test_no_place(void **state)
{
	static const size_t sizes[] = { 0, 3000 };
	const struct keep_waiter w[] = { { .session = 1, .qos = 1, .packet = 1 },
					 { .session = 2, .qos = 1, .packet = 2 } },
				 one = { .session = 9, .qos = 1, .packet = 9 },
				 third = { .session = 3, .qos = 1, .packet = 3 };
	struct keeper t;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		begin(&t);
		put(&t, 20, sizes[i], w, 2);
		put(&t, 21, sizes[i], w, 2);
		put(&t, 22, sizes[i], &one, 1);
		pass(&t, 20, 1, &w[1]); /* so the second has one place for two, */
		pass(&t, 20, 2, &third);
		done(&t, 20, 2); /* and gives it away; but says of the other */
		pass(&t, 20, 2, &w[0]);
		done(&t, 20, 1);
		done(&t, 21, 1);
		pass(&t, 21, 1, &third); /* it was over */
		done(&t, 21, 3);
		pass(&t, 22, 8, &third); /* he never waited */
		done(&t, 22, 3);
		keeper_submit(&t);
		keeper_reopen(&t);
		keeper_start(&t);
		done(&t, 20, 2);
		done(&t, 21, 3);
		keeper_submit(&t);
		assert_true(t.k->owed > 0);
		assert_int_equal(t.found.records, 1 + SESSIONS + 3 + 3 + 1); /* 20 and 21 with two rows more, and 22 */
		done(&t, 20, 3);
		done(&t, 21, 2);
		done(&t, 22, 9);
		expect_empty(&t);
	}
}

/* In parts: of these only the first row changes. */
static void test_large(void **state)
{
	static const size_t sizes[] = { 900, 1900, 1950, 2000, 5000, 300000 };
	const struct keep_waiter w[] = { { .session = 1, .qos = 1, .packet = 1 },
					 { .session = 2, .qos = 1, .packet = 2 } },
				 to = { .session = 3, .qos = 2, .packet = 3 };
	char *got, text[200];
	struct keeper t;

	(void)state;
	begin(&t);
	for (unsigned i = 0; i < 6; i++) {
		put(&t, 20 + i, sizes[i], w, 1 + i % 2);
		keeper_submit(&t);
		pass(&t, 20 + i, 1, &to);
	}
	got = messages(&t);
	for (unsigned i = 0; i < 6; i++) {
		snprintf(text, sizeof(text), " q1 r0 until=0 [3 q2 r0 p3 t0]%s\n", i % 2 ? " [2 q1 r0 p2 t0]" : "");
		assert_non_null(strstr(got, text));
	}
	assert_ptr_equal(strstr(got, "[1 "), NULL);
	mem_free(got);
	for (unsigned i = 0; i < 6; i++) {
		done(&t, 20 + i, 3);
		done(&t, 20 + i, 2);
	}
	expect_empty(&t);
}

/* While memory is out the writer tries again: nothing is passed over. */
static void test_no_memory(void **state)
{
	const struct keep_waiter w = { .session = 1, .qos = 1, .packet = 1 },
				 to = { .session = 2, .qos = 2, .packet = 3 };
	struct keeper t;

	(void)state;
	begin(&t);
	put(&t, 20, 5000, &w, 1);
	keeper_submit(&t);
	pass(&t, 20, 1, &to);
	fault_arm(FAULT_MEM, 1, 0, true);
	(void)keep_submit(t.k, &t.b);
	keeper_wait_state(&t, KEEP_FULL);
	assert_true(fault_calls(FAULT_MEM) > 0);
	fault_arm(FAULT_MEM, 0, 0, false);
	keeper_wait_state(&t, KEEP_FINE);
	done(&t, 20, 2);
	expect_empty(&t);
}

/* As many as there is room for; then all of them go from one to the next, eight times, and that takes no room. */
static void go_round(size_t n, uint32_t waiters)
{
	struct keep_waiter w[SESSIONS];
	struct keeper t;
	uint64_t id = 100, last;

	begin(&t);
	for (uint32_t i = 0; i < SESSIONS; i++)
		w[i] = (struct keep_waiter){ .session = 1 + i, .qos = 1, .packet = 1 };
	for (; keep_promise(t.k, &t.b, n); id++) {
		put(&t, id, n, w, waiters);
		if (id % 16 == 0)
			keeper_submit(&t);
	}
	keeper_submit(&t);
	last = id;
	for (uint64_t from = waiters; from < SESSIONS; from++) {
		for (id = 100; id < last; id++) {
			pass(&t, id, from, &w[from]);
			keep_cut(&t.b);
		}
		keeper_submit(&t);
	}
	for (id = 100; id < last; id++) {
		done(&t, id, SESSIONS);
		for (uint64_t i = 1; i < waiters; i++)
			done(&t, id, i);
		keep_cut(&t.b);
	}
	expect_empty(&t);
}

static void test_no_room(void **state)
{
	static const size_t sizes[] = { 10, 1300, 3000, 20000, 200000, LARGEST - 100 };

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		go_round(sizes[i], 1);
		go_round(sizes[i], 3);
	}
}

/* Pages that are full of messages for one: they are taken with QoS 2, all of them before the first is over, and that takes no room. */
static void take_all(size_t n, const struct keep_waiter *first)
{
	const struct keep_waiter to = { .session = 2, .qos = 2, .packet = 1 };
	struct keeper t;
	uint64_t id = 100, last;

	begin(&t);
	for (; keep_promise(t.k, &t.b, n); id++) {
		put(&t, id, n, first, 1);
		if (id % 16 == 0)
			keeper_submit(&t);
	}
	keeper_submit(&t);
	last = id;
	for (id = 100; id < last; id++) {
		if (first->session != to.session)
			pass(&t, id, first->session, &to);
		assert_int_equal(keep_received(&t.b, id, to.session, 1), 0);
		keep_cut(&t.b);
	}
	keeper_submit(&t);
	for (id = 100; id < last; id++) {
		done(&t, id, to.session);
		keep_cut(&t.b);
	}
	expect_empty(&t);
}

static void test_taken(void **state)
{
	static const size_t sizes[] = { 580, 1260, 3860 };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		take_all(sizes[i], &(struct keep_waiter){ .session = 1, .qos = 1, .packet = 1 });
		take_all(sizes[i], &(struct keep_waiter){ .session = 2, .qos = 2, .packet = 1 });
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_for_one), cmocka_unit_test(test_for_several), cmocka_unit_test(test_no_place),
		cmocka_unit_test(test_large),   cmocka_unit_test(test_no_memory),   cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_taken),
	};

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)((i * 2654435761u >> 13) | 1); /* no end of a text */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
