/* test_skeleton.c - the tests of a protocol begin with these two; then what no dialogue can show. */
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
	dialogue_replay_folder("src/proto/skeleton/cases", &skeleton_proto);
}

static void test_failing_allocations(void **state)
{
	(void)state;
	dialogue_fail_folder("src/proto/skeleton/cases", &skeleton_proto);
}

static void test_limits(void **state)
{
	static char line[1025];
	struct memconn *c;
	struct world w;

	(void)state;
	memset(line, 'a', sizeof(line));
	world_open(&w, &skeleton_proto, NULL);
	c = world_client(&w);
	memconn_sends(c, "one\n");
	memconn_send(c, line, sizeof(line), 0);
	assert_string_equal(memconn_reason(c), "line-too-long");
	assert_int_equal(memdrive_stat(w.drive, STAT_OWN + 0), 1);
	world_close(&w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_failing_allocations),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
