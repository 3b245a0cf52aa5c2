/* test_store_json.c - records as JSON when memory is out: all of one, or none. What they look like: tests/e2e/test_store.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "main/store_json.h"

static const uint32_t ids[] = { 7, 268435455 };
static const struct keep_waiter waiters[] = {
	{ .session = 1, .ids = ids, .n_ids = 2, .packet = 5, .qos = 2, .alone = 3, .turn = KEEP_RECEIVED },
	{ .session = INT64_MAX, .qos = 1 },
};

/* Of every kind, with all that it may have. */
static size_t make_records(struct keep_record *v)
{
	const struct keep_message m = { .topic = span_str("t"),
					.payload = span_str("\xff"),
					.props = span_str("x"),
					.until = 9,
					.from = 3,
					.qos = 1 };

	v[0] = (struct keep_record){
		.kind = KEEP_SESSION,
		.session = { .id = 1, .name = span_str("n"), .owner = INT64_MAX, .has_will = true, .will = m }
	};
	v[1] = (struct keep_record){ .kind = KEEP_SUBSCRIPTION,
				     .subscription = {
					     .session = 1, .filter = span_str("f"), .number = 3, .owed = true } };
	v[2] = (struct keep_record){ .kind = KEEP_AWAITED, .id = 1, .packet = 2 };
	v[3] = (struct keep_record){ .kind = KEEP_RETAINED, .message = m };
	v[4] = (struct keep_record){ .kind = KEEP_MESSAGE, .id = 1, .message = m, .waiters = waiters, .n_waiters = 2 };
	return 5;
}

static void test_all_or_nothing(void **state)
{
	(void)state;
#ifdef GUICHET_FAULTS
	struct keep_record v[8];
	size_t n = make_records(v);

	json_set_alloc_funcs(mem_alloc, mem_free);
	for (size_t i = 0; i < n; i++) {
		json_t *whole = store_to_json(&v[i]);

		assert_non_null(whole);
		for (unsigned long k = 1, calls = 1; k <= calls; k++) {
			json_t *j;

			fault_arm(FAULT_MEM, k, 0, false);
			j = store_to_json(&v[i]);
			calls = fault_calls(FAULT_MEM);
			fault_arm(FAULT_MEM, 0, 0, false);
			assert_true(!j || json_equal(j, whole));
			json_decref(j);
		}
		json_decref(whole);
	}
	json_set_alloc_funcs(malloc, free);
#else
	(void)make_records;
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_all_or_nothing) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
