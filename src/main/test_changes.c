/* test_changes.c - what a reload says it changed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "drive/files.h"
#include "layer/tls.h"
#include "main/changes.h"
#include "main/control.h"
#include "main/planner.h"

static char logged[4096];

static void sink(enum log_level level, bool json, const char *text, size_t n)
{
	size_t had = strlen(logged);

	(void)level;
	(void)json;
	snprintf(logged + had, sizeof(logged) - had, "%.*s\n", (int)n, text);
}

static struct plan *plan_of(const char *const *words, size_t n, const char *const *sets, size_t n_sets)
{
	struct planner_setup setup = { .words = words, .n_words = n, .sets = sets, .n_sets = n_sets, .dry = true };
	struct conf_problems ps = {};
	struct plan *plan;

	assert_int_equal(planner_make(&setup, &plan, &ps), 0);
	assert_true(conf_problems_none(&ps));
	return plan;
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__ })

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
				    "info option-changed service=echo option=banner from=\"\" to=\"hi there\"\n"
				    "info option-changed service=echo option=upper from=no to=yes\n");
	logged[0] = '\0';
	assert_int_equal(changes_log(now, now), 0);
	assert_string_equal(logged, "");
	log_setup(LOG_INFO, false, NULL);
	assert_int_equal(changes_log(before, now), 7); /* counted, whoever listens */
	changes_free(&before);
	changes_free(&now);
	changes_free(&now);
}

/* A plan that has been read from DIR/t.conf, with its control socket, as the program has it. */
static struct plan *plan_of_file(const char *file, const char *set)
{
	const char *const sets[] = { set };
	struct planner_setup setup = {
		.file = file, .dry = true, .sets = sets, .n_sets = set ? 1 : 0, .control = &control_proto
	};
	struct conf_problems ps = {};
	struct plan *plan;

	assert_int_equal(planner_make(&setup, &plan, &ps), 0);
	assert_true(conf_problems_none(&ps));
	conf_problems_done(&ps);
	return plan;
}

static size_t log_between(struct plan *p, struct plan *q)
{
	struct changes *before, *now;
	size_t n;

	assert_int_equal(changes_remember(p, &before), 0);
	assert_int_equal(changes_remember(q, &now), 0);
	plan_free(&p);
	plan_free(&q);
	logged[0] = '\0';
	log_setup(LOG_INFO, false, sink);
	n = changes_log(before, now);
	log_setup(LOG_INFO, false, NULL);
	changes_free(&before);
	changes_free(&now);
	return n;
}

/* Only what somebody can write is told of: the control socket follows from the data folder. */
static void test_derived(void **state)
{
	const char *const words[] = { "echo@tcp:7007" };
	struct plan *p = plan_of(words, 1, WORDS("data=/a"), 1), *q = plan_of(words, 1, WORDS("data=/b"), 1);

	(void)state;
	assert_int_equal(log_between(p, q), 1);
	assert_string_equal(logged, "info option-changed service=guichet option=data from=/a to=/b\n");
	p = plan_of(words, 1, WORDS("data=/a"), 1);
	q = plan_of(words, 1, WORDS("data=/a", "control=/c"), 2);
	assert_int_equal(log_between(p, q), 1);
	assert_string_equal(logged, "info option-changed service=guichet option=control from=/a/control.sock to=/c\n");
}

static void write_pair(const char *dir, const char *name)
{
	BUF_AUTO struct buf crt = BUF_INIT(1 << 16), key = BUF_INIT(1 << 16);
	char path[300];

	assert_int_equal(tls_auto_certificate(NULL, &crt, &key, time(NULL)), 0);
	snprintf(path, sizeof(path), "%s/%s.crt", dir, name);
	assert_int_equal(files_write(path, 0600, buf_span(&crt), NULL), 0);
	snprintf(path, sizeof(path), "%s/%s.key", dir, name);
	assert_int_equal(files_write(path, 0600, buf_span(&key), NULL), 0);
}

/* Files of the same name with another certificate in them; and the internal service, which changes with the data folder. */
static void test_certificates(void **state)
{
	char *dir, file[300], expect[1024];
	struct plan *p;
	size_t n;

	(void)state;
	assert_int_equal(files_temp_dir(&dir, NULL), 0);
	snprintf(file, sizeof(file), "%s/t.conf", dir);
	write_pair(dir, "one");
	write_pair(dir, "two");
	assert_int_equal(files_write(file, 0600,
				     span_str("[echo]\nlisten = tls:7008\ncertificate = one.crt\nkey = one.key\n"
					      "sni = localhost=two.crt:two.key\n[time]\nlisten = tcp:7037\n"),
				     NULL),
			 0);
	p = plan_of_file(file, NULL);
	assert_int_equal(log_between(p, plan_of_file(file, NULL)), 0);
	assert_string_equal(logged, "");
	p = plan_of_file(file, NULL);
	write_pair(dir, "two");
	assert_int_equal(log_between(p, plan_of_file(file, NULL)), 1);
	n = (size_t)snprintf(expect, sizeof(expect),
			     "info certificate-changed service=echo file=%s/two.crt not_after=20", dir);
	assert_memory_equal(logged, expect, n);
	assert_int_equal(logged[strlen(logged) - 2], 'Z');
	p = plan_of_file(file, NULL);
	write_pair(dir, "one");
	assert_int_equal(log_between(p, plan_of_file(file, "data=/elsewhere")), 2);
	assert_non_null(strstr(logged, "one.crt"));
	assert_null(strstr(logged, "control"));
	assert_null(strstr(logged, "listen"));
	assert_int_equal(files_remove_dir(dir, NULL), 0);
	mem_free(dir);
}

/* A broker with these rules, and these people. */
static struct plan *plan_with(const char *dir, const char *rules, const char *people)
{
	BUF_AUTO struct buf config = BUF_INIT(1 << 12);
	char file[300], place[300];

	snprintf(file, sizeof(file), "%s/t.conf", dir);
	snprintf(place, sizeof(place), "%s/people", dir);
	buf_addf(&config, "[guichet]\ndata = .\n[mqtt]\nlisten = tcp:1883\n%s", rules);
	assert_int_equal(files_write(file, 0600, buf_span(&config), NULL), 0);
	if (people)
		assert_int_equal(files_write(place, 0600, span_str(people), NULL), 0);
	else
		assert_true(unlink(place) == 0 || errno == ENOENT);
	return plan_of_file(file, NULL);
}

static void test_people_and_rules(void **state)
{
	char dir[] = "/tmp/guichet-changes-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(log_between(plan_with(dir, "", "ann\nbob groups=x\n"),
				     plan_with(dir, "", "# the same\nbob groups=x\nann\n")),
			 0);
	assert_string_equal(logged, "");
	assert_int_equal(log_between(plan_with(dir, "", "ann\nbob groups=x\ncarl\n"),
				     plan_with(dir, "", "ann\nbob groups=x,y\ndave\neve disabled\n")),
			 4);
	assert_string_equal(logged, "info people-changed added=2 changed=1 removed=1\n");
	assert_int_equal(log_between(plan_with(dir, "[rules]\nallow = * * topics:#\n", ""),
				     plan_with(dir, "[rules]\nallow = * read topics:#\n", "")),
			 1);
	assert_string_equal(logged, "info rules-changed rules=1\n");
	assert_int_equal(log_between(plan_with(dir, "[rules]\nallow = * * topics:#\n", ""), plan_with(dir, "", "")), 1);
	assert_string_equal(logged, "info rules-changed rules=0\n");
	assert_int_equal(files_remove_dir(dir, NULL), 0);
}

/* Where nobody is known a password proves nothing, so that there is nobody any more is told, whatever became of the file. */
static void test_people_gone(void **state)
{
	static const char rules[] = "[rules]\nallow = * * topics:#\n";
	char dir[] = "/tmp/guichet-changes-XXXXXX", expect[300];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(
		expect, sizeof(expect),
		"info people-changed added=0 changed=0 removed=2\n"
		"warn people-none file=%s/./people text=\"nobody is in it any more: names and passwords are not looked at\"\n",
		dir);
	assert_int_equal(log_between(plan_with(dir, rules, "ann\nbob\n"), plan_with(dir, rules, NULL)), 2);
	assert_string_equal(logged, expect);
	assert_int_equal(log_between(plan_with(dir, rules, "ann\nbob\n"), plan_with(dir, rules, "")), 2);
	assert_string_equal(logged, expect);
	assert_int_equal(log_between(plan_with(dir, rules, NULL), plan_with(dir, rules, "ann\n")), 1);
	assert_string_equal(logged, "info people-changed added=1 changed=0 removed=0\n");
	assert_int_equal(log_between(plan_with(dir, rules, ""), plan_with(dir, rules, NULL)), 0);
	assert_string_equal(logged, "");
	assert_int_equal(files_remove_dir(dir, NULL), 0);
}

#define BRIDGE(NAME, REST) "[mqtt.bridge." NAME "]\nto = tcp:far:1\ntopics = x\n" REST

/* A section has a line for each of its options, and one when it comes or goes. */
static void test_parts(void **state)
{
	char dir[] = "/tmp/guichet-changes-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(log_between(plan_with(dir, BRIDGE("a", "user = x\n") BRIDGE("b", ""), "ann\n"),
				     plan_with(dir, BRIDGE("a", "user = y\nclean = yes\n") BRIDGE("c", ""), "ann\n")),
			 4);
	assert_string_equal(logged, "info option-changed service=mqtt option=bridge.a.clean from=no to=yes\n"
				    "info option-changed service=mqtt option=bridge.a.user from=x to=y\n"
				    "info option-changed service=mqtt option=bridge.b text=removed\n"
				    "info option-changed service=mqtt option=bridge.c text=added\n");
	assert_int_equal(files_remove_dir(dir, NULL), 0);
}

static void test_no_memory(void **state)
{
	char dir[] = "/tmp/guichet-changes-XXXXXX";
	struct plan *p;

	(void)state;
	assert_non_null(mkdtemp(dir));
	p = plan_with(dir, "[rules]\nallow = * * topics:#\n", "ann\nbob groups=x\n");
	assert_int_equal(files_remove_dir(dir, NULL), 0);
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
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changes),      cmocka_unit_test(test_derived),
		cmocka_unit_test(test_certificates), cmocka_unit_test(test_people_and_rules),
		cmocka_unit_test(test_people_gone),  cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_parts)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
