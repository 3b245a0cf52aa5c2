/* test_mqtt.c - the broker over the memory driver: its dialogues in pieces of every size, and with failing allocations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/protos.h"
#include "support/dialogue.h"

static void test_cases(void **state)
{
	(void)state;
	dialogue_replay_folder("src/proto/mqtt/cases", &mqtt_proto);
}

static void test_failing_allocations(void **state)
{
	(void)state;
	dialogue_fail_folder("src/proto/mqtt/cases", &mqtt_proto);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_failing_allocations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
