/* test_qotd.c - the texts of our own, those of the option, and that they take turns. */
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
	dialogue_replay_folder("src/proto/qotd/cases", &qotd_proto);
}

static void test_failing_allocations(void **state)
{
	(void)state;
	dialogue_fail_folder("src/proto/qotd/cases", &qotd_proto);
}

/* Each of our own once, less than 512 characters (RFC 865), printing ones and ends of lines. */
static void test_own(void **state)
{
	enum { OWN = 16 };
	struct memconn *c[OWN + 1];
	struct world w;

	(void)state;
	world_open(&w, &qotd_proto, NULL);
	for (int i = 0; i <= OWN; i++) {
		struct span s;

		c[i] = world_client(&w);
		s = memconn_out(c[i]);
		assert_true(memconn_fin(c[i]));
		assert_in_range(s.n, 20, 511);
		for (size_t k = 0; k < s.n; k++)
			assert_true((s.p[k] >= ' ' && s.p[k] <= '~') || s.p[k] == '\r' || s.p[k] == '\n');
		assert_memory_equal(s.p + s.n - 2, "\r\n", 2);
		for (int k = 0; k < i; k++) {
			struct span other = memconn_out(c[k]);
			bool same = s.n == other.n && memcmp(s.p, other.p, s.n) == 0;

			assert_int_equal(same, i == OWN && k == 0);
		}
	}
	world_close(&w);
}

static void test_options(void **state)
{
	char text[600], many[300];

	(void)state;
	memset(text, 'q', sizeof(text));
	text[510] = '\0';
	assert_refused(&qotd_proto, "quote: text 1 has 510 bytes, at most 509 are allowed", "quote", text);
	assert_refused(&qotd_proto, "quote: text 2 is empty; | separates texts", "quote", "one | | three");
	assert_refused(&qotd_proto, "quote: text 1 is empty", "quote", " ");
	assert_refused(&qotd_proto, "quote: text 2 is empty", "quote", "one|");
	memset(many, 'q', sizeof(many));
	for (int i = 0; i < 64; i++)
		many[2 * i + 1] = '|';
	many[129] = '\0';
	assert_refused(&qotd_proto, "quote: more than 64 texts", "quote", many);
}

static void test_longest(void **state)
{
	char text[512];
	struct world w;

	(void)state;
	memset(text, 'q', sizeof(text));
	text[509] = '\0';
	world_open(&w, &qotd_proto, NULL, "quote", text);
	memcpy(text + 509, "\r\n", 2);
	assert_said_span(world_client(&w), (struct span){ (const uint8_t *)text, 511 });
	world_close(&w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),   cmocka_unit_test(test_failing_allocations),
		cmocka_unit_test(test_own),     cmocka_unit_test(test_options),
		cmocka_unit_test(test_longest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
