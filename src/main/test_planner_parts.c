/* test_planner_parts.c - sections that belong to a service, and what is in the files that they name; from the disk and from a kit. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/fault.h"
#include "drive/files.h"
#include "main/kit.h"
#include "main/planner.h"
#include "proto/chat/chat_priv.h"
#include "proto/mqtt/bridge.h"
#include "support/folder.h"

static char file[256], secret[256];

static int make_dir(void **state)
{
	if (folder_set_up(state) < 0)
		return -1;
	snprintf(file, sizeof(file), "%s/t.conf", folder);
	snprintf(secret, sizeof(secret), "%s/secret", folder);
	return 0;
}

/* A section may come before its service; a path starts at the file. */
static const char text[] = "[broker.bridge.far]\n"
			   "to = tcp:far.example:1883\n"
			   "topics = a out 1\n"
			   "	b in\n"
			   "user = me\n"
			   "password = secret\n"
			   "[broker]\n"
			   "protocol = mqtt\n"
			   "listen = tcp:0\n"
			   "[broker.bridge.near]\n"
			   "to = tls:near.example:8883\n"
			   "topics = c\n";

static void write_all(unsigned mode)
{
	assert_int_equal(files_write(file, 0600, span_str(text), NULL), 0);
	assert_int_equal(files_write(secret, 0600, span_str("xyzzy\n"), NULL), 0);
	assert_int_equal(chmod(secret, mode), 0);
}

static void check_plan(const struct plan *plan)
{
	const struct mqtt_options *o;
	const struct bridge_options *far;

	assert_int_equal(plan->n, 1);
	o = plan->services[0].options;
	assert_int_equal(o->bridge.n, 2);
	assert_string_equal(o->bridge.v[0].name, "far");
	assert_string_equal(o->bridge.v[1].name, "near");
	far = o->bridge.v[0].values;
	assert_string_equal(far->topics, "a out 1\nb in");
	assert_string_equal(far->password.path, secret);
	assert_true(span_is(far->password.bytes, "xyzzy\n"));
	assert_true(span_is(far_password(&far->password), "xyzzy"));
}

static void parts_come_with_their_service(void **state)
{
	struct planner_setup setup = { .file = file, .dry = true };
	struct conf_problems ps = {};
	struct kit *kit = NULL;
	struct plan *plan;

	(void)state;
	write_all(0600);
	assert_int_equal(kit_new(&kit), 0);
	setup.into = kit;
	assert_int_equal(planner_make(&setup, &plan, &ps), 0);
	assert_true(conf_problems_none(&ps) && ps.warnings == 0);
	check_plan(plan);
	plan_free(&plan);
	assert_int_equal(remove(secret), 0); /* who has no files has the kit */
	setup.into = NULL;
	setup.from = kit;
	assert_int_equal(planner_make(&setup, &plan, &ps), 0);
	assert_true(conf_problems_none(&ps));
	check_plan(plan);
	plan_free(&plan);
	kit_free(&kit);
	conf_problems_done(&ps);
}

static void a_secret_that_all_can_read_is_told_of(void **state)
{
	struct conf_problems ps = {};
	struct plan *plan;

	(void)state;
	write_all(0644);
	assert_int_equal(planner_make(&(struct planner_setup){ .file = file, .dry = true }, &plan, &ps), 0);
	assert_true(conf_problems_none(&ps));
	assert_int_equal(ps.warnings, 1);
	assert_int_equal(ps.v[0].line, 6);
	assert_non_null(strstr(ps.v[0].text, "can be read by every user of this machine"));
	conf_problems_done(&ps);
	plan_free(&plan);
}

/* A service may name files itself; what is wrong with its options is told once, whether they can be read or not. */
static void a_service_has_files_too(void **state)
{
	static const char room[] =
		"[chat]\nlisten = tcp:0\ntopic = a\nbroker = tcp:far.example:1883\nuser = me\npassword = secret\n";
	struct planner_setup setup = { .file = file, .dry = true };
	struct conf_problems ps = {};
	const struct chat_options *o;
	struct kit *kit = NULL;
	struct plan *plan = NULL;

	(void)state;
	write_all(0600);
	assert_int_equal(files_write(file, 0600, span_str(room), NULL), 0);
	assert_int_equal(kit_new(&kit), 0);
	setup.into = kit;
	assert_int_equal(planner_make(&setup, &plan, &ps), 0);
	assert_true(conf_problems_none(&ps) && ps.warnings == 0);
	plan_free(&plan);
	assert_int_equal(remove(secret), 0);
	setup.into = NULL;
	setup.from = kit;
	assert_int_equal(planner_make(&setup, &plan, &ps), 0);
	assert_true(conf_problems_none(&ps));
	o = plan->services[0].options;
	assert_true(span_is(far_password(&o->password), "xyzzy"));
	plan_free(&plan);
	kit_free(&kit);
	setup.from = NULL;
	assert_int_equal(planner_make(&setup, &plan, &ps), 0);
	assert_int_equal(ps.n, 1);
	assert_int_equal(ps.v[0].line, 6);
	assert_non_null(strstr(ps.v[0].text, "password: cannot read"));
	conf_problems_done(&ps);
	plan_free(&plan);
	write_all(0600);
	assert_int_equal(files_write(file, 0600, span_str("[chat]\nlisten = tcp:0\npassword = secret\n"), NULL), 0);
	assert_int_equal(planner_make(&setup, &plan, &ps), 0);
	assert_int_equal(ps.n, 1);
	assert_non_null(strstr(ps.v[0].text, "password: needs a user"));
	conf_problems_done(&ps);
	plan_free(&plan);
}

static void memory_may_be_out(void **state)
{
	(void)state;
	write_all(0600);
#ifdef GUICHET_FAULTS
	for (unsigned long n = 1, calls = 1; n <= calls; n++) {
		struct conf_problems ps = {};
		struct plan *plan = NULL;
		int r;

		fault_arm(FAULT_MEM, n, 0, false);
		r = planner_make(&(struct planner_setup){ .file = file, .dry = true }, &plan, &ps);
		calls = fault_calls(FAULT_MEM);
		fault_arm(FAULT_MEM, 0, 0, false);
		if (r == 0 && conf_problems_none(&ps))
			check_plan(plan);
		conf_problems_done(&ps);
		plan_free(&plan);
	}
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_come_with_their_service),
		cmocka_unit_test(a_secret_that_all_can_read_is_told_of),
		cmocka_unit_test(a_service_has_files_too),
		cmocka_unit_test(memory_may_be_out),
	};

	return cmocka_run_group_tests(tests, make_dir, folder_take_down);
}
