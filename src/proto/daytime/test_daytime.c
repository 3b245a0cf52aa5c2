/* test_daytime.c - the three forms, and which zones are none. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/protos.h"
#include "support/dialogue.h"
#include "support/world.h"

static void test_cases(void **state)
{
	(void)state;
	dialogue_replay_folder("src/proto/daytime/cases", &daytime_proto);
}

static void test_failing_allocations(void **state)
{
	(void)state;
	dialogue_fail_folder("src/proto/daytime/cases", &daytime_proto);
}

static void test_options(void **state)
{
	(void)state;
	assert_refused(&daytime_proto, "zone: \"CET\" is not an offset such as +02:00, or Z for UTC", "zone", "CET");
	assert_refused(&daytime_proto, "zone: \"+2:00\" is not an offset", "zone", "+2:00");
	assert_refused(&daytime_proto, "format: ", "format", "rfc822");
}

/* A client that never reads the line, and one that talks, hold nothing up. */
static void test_ends(void **state)
{
	struct mem_open how = { .window = 3 };
	struct memconn *c;
	struct world w;

	(void)state;
	world_open(&w, &daytime_proto, &(struct mem_setup){ .wall = 0 });
	c = memconn_open(w.drive, &how);
	assert_non_null(c);
	memconn_sends(c, "hello?\n");
	memconn_window(c, MEM_NO_LIMIT);
	assert_true(memconn_fin(c));
	assert_int_equal(memconn_out(c).n, 26);
	world_close(&w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_failing_allocations),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
