/* test_examples.c - every file in examples/ is right, and says what it is for. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "drive/files.h"
#include "drive/server.h"
#include "main/planner.h"

enum { LEAST = 8 };

static void check_example(const char *path)
{
	struct planner_setup setup = { .file = path, .dry = true };
	struct conf_problems ps = {};
	struct plan *plan = NULL;
	BUF_AUTO struct buf b;

	buf_init(&b, 65536);
	assert_int_equal(planner_make(&setup, &plan, &ps), 0);
	server_check(plan, &ps);
	conf_problems_format(&ps, &b);
	if (!conf_problems_none(&ps))
		fail_msg("%s", buf_str(&b));
	assert_true(plan->n > 0);
	plan_free(&plan);
	conf_problems_done(&ps);
	buf_reset(&b); /* what it warned of: there are no people here */
	assert_int_equal(files_read(path, &b, NULL), 0);
	assert_int_equal(b.p[0], '#');
	for (const char *line = buf_str(&b); *line; line += strcspn(line, "\n"), line += *line == '\n')
		assert_true(strcspn(line, "\n") <= 120);
}

static void test_examples(void **state)
{
	glob_t g;

	(void)state;
	assert_int_equal(glob("examples/*.conf", 0, NULL, &g), 0);
	assert_true(g.gl_pathc >= LEAST);
	for (size_t i = 0; i < g.gl_pathc; i++)
		check_example(g.gl_pathv[i]);
	globfree(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_examples) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
