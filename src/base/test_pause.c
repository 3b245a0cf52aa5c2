/* test_pause.c - pauses that double, up to the last one. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/pause.h"

static void doubles(void **state)
{
	static const uint64_t want[] = { 0, 100, 200, 400, 800, 1000, 1000 };

	(void)state;
	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		assert_int_equal(pause_after(i, 100, 1000), want[i]);
	assert_int_equal(pause_after(4, 100, 800), 800);
	assert_int_equal(pause_after(1, 100, 50), 50);
}

static void never_overflows(void **state)
{
	(void)state;
	for (unsigned i = 1; i < 200; i++)
		assert_true(pause_after(i, 3, UINT64_MAX) == (i <= 63 ? 3ull << (i - 1) : UINT64_MAX));
	assert_true(pause_after(64, 1, UINT64_MAX) == 1ull << 63);
	assert_int_equal(pause_after(UINT_MAX, 1, 1000), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(doubles),
		cmocka_unit_test(never_overflows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
