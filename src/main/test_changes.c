/* test_changes.c - what a reload says it changed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/log.h"
#include "main/changes.h"
#include "main/planner.h"

static char logged[4096];

static void sink(enum log_level level, bool json, const char *text, size_t n)
{
	size_t had = strlen(logged);

	(void)level;
	(void)json;
	snprintf(logged + had, sizeof(logged) - had, "%.*s\n", (int)n, text);
}

static struct plan *plan_of(char *const *words, size_t n, char *const *sets, size_t n_sets)
{
	struct planner_setup setup = { .words = words, .n_words = n, .sets = sets, .n_sets = n_sets, .dry = true };
	struct conf_problems ps = {};
	struct plan *plan;

	assert_int_equal(planner_make(&setup, &plan, &ps), 0);
	assert_true(conf_problems_none(&ps));
	return plan;
}

#define WORDS(...) ((char *const[]){ __VA_ARGS__ })

static void test_changes(void **state)
{
	struct plan *p = plan_of(WORDS("echo@tcp:7007", "time@tcp:7037", "x@tcp:1,protocol=echo"), 3, NULL, 0);
	struct plan *q =
		plan_of(WORDS("echo@tcp:7007,upper=yes,banner=hi there", "daytime@tcp:7013", "x@tcp:1,protocol=time"),
			3, WORDS("loops=2"), 1);
	struct changes *before, *now;

	(void)state;
	assert_int_equal(changes_remember(p, &before), 0);
	assert_int_equal(changes_remember(q, &now), 0);
	plan_free(&p);
	plan_free(&q);
	assert_int_equal(changes_global(before)->loops, 0);
	assert_int_equal(changes_global(now)->loops, 2);

	logged[0] = '\0';
	log_setup(LOG_INFO, false, sink);
	assert_int_equal(changes_log(before, now), 7);
	assert_string_equal(logged, "info option-changed service=guichet option=loops from=0 to=2\n"
				    "info service-removed service=time\n"
				    "info service-removed service=x\n"
				    "info option-changed service=echo option=banner from=\"\" to=\"hi there\"\n"
				    "info option-changed service=echo option=upper from=no to=yes\n"
				    "info service-added service=daytime\n"
				    "info service-added service=x\n");
	logged[0] = '\0';
	assert_int_equal(changes_log(now, now), 0);
	assert_string_equal(logged, "");
	log_setup(LOG_INFO, false, NULL);
	assert_int_equal(changes_log(before, now), 7); /* counted, whoever listens */
	changes_free(&before);
	changes_free(&now);
	changes_free(&now);
}

static void test_no_memory(void **state)
{
	struct plan *p = plan_of(WORDS("echo@tcp:7007,banner=x", "time@tcp:7037"), 2, NULL, 0);

	(void)state;
	for (unsigned long n = 1;; n++) {
		struct changes *c = NULL;
		bool hit;
		int err;

		fault_arm(FAULT_MEM, n, 0, false);
		err = changes_remember(p, &c);
		hit = fault_calls(FAULT_MEM) >= n;
		fault_arm(FAULT_MEM, 0, 0, false);
		assert_int_equal(err, hit ? -ENOMEM : 0);
		changes_free(&c);
		if (!hit)
			break;
	}
	plan_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_changes), cmocka_unit_test(test_no_memory) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
