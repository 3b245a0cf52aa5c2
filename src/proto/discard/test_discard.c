/* test_discard.c - nothing comes back, and nothing is kept. */
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
	dialogue_replay_folder("src/proto/discard/cases", &discard_proto);
}

static void test_failing_allocations(void **state)
{
	(void)state;
	dialogue_fail_folder("src/proto/discard/cases", &discard_proto);
}

static void test_much(void **state)
{
	static uint8_t text[1 << 20];
	struct memconn *c;
	struct world w;

	(void)state;
	world_open(&w, &discard_proto, NULL);
	c = world_client(&w);
	memconn_send(c, text, sizeof(text), 0);
	assert_int_equal(memconn_unread(c), 0);
	assert_said(c, "");
	memdrive_stop(w.drive);
	assert_int_equal(memconn_end(c), MEM_CLOSED);
	assert_int_equal(memdrive_stat(w.drive, STAT_BYTES_IN), sizeof(text));
	world_close(&w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_failing_allocations),
		cmocka_unit_test(test_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
