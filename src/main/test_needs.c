/* test_needs.c - what the sandbox of a worker allows, from its configuration: no more than its services need. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/fault.h"
#include "main/needs.h"
#include "main/planner.h"
#include "support/folder.h"

#define BROKER "[mqtt]\nlisten = tcp:0\n"

static struct plan *plan_of(const char *text)
{
	struct conf_problems ps = {};
	struct plan *plan = NULL;

	folder_put("t.conf", text);
	assert_int_equal(planner_make(&(struct planner_setup){ .file = folder_conf, .dry = true }, &plan, &ps), 0);
	assert_true(conf_problems_none(&ps));
	conf_problems_done(&ps);
	return plan;
}

static struct needs needs_of(const char *text, const char *group)
{
	struct plan *plan = plan_of(text);
	struct conf_problems ps = {};
	struct worker_of of = {};
	struct needs n = {};
	bool any = false;

	snprintf(of.group, sizeof(of.group), "%s", group);
	assert_int_equal(needs_add(&n, plan, &of, &any, &ps), 0);
	assert_true(any);
	conf_problems_done(&ps);
	plan_free(&plan);
	return n;
}

static void who_names_somebody_connects(void **state)
{
	static const struct {
		const char *text;
		bool connects, others;
	} rows[] = {
		{ "[echo]\nlisten = tcp:0\n", false, false },
		{ BROKER, false, false },
		{ BROKER "[mqtt.bridge.far]\nto = tcp:far.example:1883\ntopics = a\n", true, false },
		{ "[relay]\nlisten = tcp:0\nto = tcp:far.example:1883\n", true, false },
		{ "[relay]\nlisten = tcp:0\nto = unix:/run/near.sock\n", true, true },
		{ BROKER "[relay]\nlisten = tcp:0\nto = tcp:far.example:1883\ngroup = out\n", false, false },
		{ "[chat]\nlisten = tcp:0\nnames = yes\n", false, false },
		{ "[chat]\nlisten = tcp:0\nbroker = tcp:far.example:1883\ntopic = a\n", true, false },
		{ "[chat]\nlisten = tcp:0\nbroker = unix:/run/mqtt.sock\ntopic = a\n", true, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct needs n = needs_of(rows[i].text, "main");

		assert_int_equal(n.connects, rows[i].connects);
		assert_int_equal(n.others, rows[i].others);
		assert_false(n.datagrams || n.queues || n.runs);
		needs_done(&n);
	}
}

static void more_is_not_covered(void **state)
{
	struct needs less = needs_of(BROKER, "main");
	struct needs more = needs_of(BROKER "[mqtt.bridge.far]\nto = tcp:far.example:1883\ntopics = a\n", "main");

	(void)state;
	assert_true(needs_covered(&more, &less) && needs_covered(&less, &less));
	assert_false(needs_covered(&less, &more));
	assert_non_null(less.store);
	assert_string_equal(less.store, more.store);
	needs_done(&less);
	needs_done(&more);
}

static void memory_may_be_out(void **state)
{
	(void)state;
#ifdef GUICHET_FAULTS
	struct plan *plan = plan_of(BROKER "[p]\nprotocol = echo\nlisten = fifo:./in\n");

	for (unsigned long at = 1, calls = 1; at <= calls; at++) {
		struct conf_problems ps = {};
		struct needs n = {};
		bool any = false;
		int r;

		fault_arm(FAULT_MEM, at, 0, false);
		r = needs_add(&n, plan, &(struct worker_of){ .group = "main" }, &any, &ps);
		calls = fault_calls(FAULT_MEM);
		fault_arm(FAULT_MEM, 0, 0, false);
		assert_int_equal(r, at <= calls ? -ENOMEM : 0);
		needs_done(&n);
		conf_problems_done(&ps);
	}
	plan_free(&plan);
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_names_somebody_connects),
		cmocka_unit_test(more_is_not_covered),
		cmocka_unit_test(memory_may_be_out),
	};

	return cmocka_run_group_tests(tests, folder_set_up, folder_take_down);
}
