/*
 * test_planner_access.c - the section [rules] and the file of people in a plan: mistakes with their lines, services that would be open
 * to everybody, and what a worker gets of it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "main/kit.h"
#include "main/planner.h"
#include "proto/protos.h"
#include "store/people.h"
#include "store/rules.h"
#include "support/folder.h"

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	(void)self;
	(void)ev;
	(void)io;
	return V_CLOSE;
}

static const struct proto topics = { .abi = PROTO_ABI,
				     .name = "topics",
				     .summary = "asks rules",
				     .flags = P_STREAM,
				     .port = 1883,
				     .store = "topics",
				     .step = step },
			  plain = { .abi = PROTO_ABI,
				    .name = "plain",
				    .summary = "does not",
				    .flags = P_STREAM,
				    .step = step };

/* The linker takes this for that of src/proto/protos_list.c. */
const struct proto *const protos[] = { &plain, &topics, NULL };

/* Its problems, in which the folder is left out. */
static struct plan *plan(const struct planner_setup *like, const char *text, struct buf *said)
{
	BUF_AUTO struct buf all = BUF_INIT(65536);
	struct planner_setup setup = *like;
	struct conf_problems ps = {};
	struct plan *p = NULL;

	if (text)
		folder_put("t.conf", text);
	setup.file = folder_conf;
	setup.dry = true;
	assert_int_equal(planner_make(&setup, &p, &ps), 0);
	conf_problems_format(&ps, &all);
	conf_problems_done(&ps);
	for (const char *s = buf_str(&all), *at; *s; s = at + strlen(folder) + 1) {
		at = strstr(s, folder);
		buf_add(said, s, at ? (size_t)(at - s) : strlen(s));
		if (!at)
			break;
	}
	return p;
}

static void check(const char *text, const char *expect)
{
	BUF_AUTO struct buf said = BUF_INIT(65536);
	struct plan *p = plan(&(struct planner_setup){}, text, &said);

	assert_string_equal(buf_str(&said), expect);
	plan_free(&p);
}

#define LOCAL "[topics]\nlisten = tcp:1883\n"

static void rules(void **state)
{
	(void)state;
	check(LOCAL, "");
	check(LOCAL "[rules]\nallow = * read topics:#\ndeny = * write topics:$SYS/#\nallow = * write topics:#\n", "");
	check(LOCAL "[rules]\nallow = * raed topics:#\ndney = * * topics:#\n",
	      "t.conf:4: allow: \"raed\" is none of read, write, list, admin and *, did you mean \"read\"?\n"
	      "t.conf:5: unknown option \"dney\" in [rules], did you mean \"deny\"?\n");
	check(LOCAL "[rules]\nallow = * read files:#\n",
	      "t.conf:3: warning: no rule is about topics, so nobody may do anything with [topics]; a rule for it would be: "
	      "allow = * read topics:#\n"
	      "t.conf:4: warning: allow: no service here has the store files\n");
}

static void open_to_everybody(void **state)
{
	static const char *const far[] = { "tcp:*:1883", "tcp:192.0.2.1:1883", "tcp:[2001:db8::1]:1883",
					   "tcp:example.org:1883" };
	static const char *const near[] = { "tcp:127.0.0.1:1883", "tcp:[::1]:1883", "tcp:localhost:1883", "tcp:1883",
					    "unix:s" };

	(void)state;
	for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
		char text[200], expect[500];

		snprintf(text, sizeof(text), "[topics]\nlisten = tcp:1884 %s\n", far[i]);
		snprintf(
			expect, sizeof(expect),
			"t.conf:2: listen: [topics] would be reached from outside at %s, and no rule says who may do what "
			"there: make users (`guichet user add NAME --groups house`), and let them in by two lines: [rules] and "
			"allow = @house * topics:#; see `guichet help rules`\n",
			far[i]);
		check(text, expect);
		snprintf(text, sizeof(text), "[topics]\nlisten = tcp:1884 %s\n[rules]\nallow = * * topics:#\n", far[i]);
		check(text, "");
		snprintf(text, sizeof(text), "[plain]\nlisten = tcp:1884 %s\n", far[i]);
		check(text, "");
	}
	for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
		char text[200];

		snprintf(text, sizeof(text), "[topics]\nlisten = %s\n", near[i]);
		check(text, "");
	}
	check("[plain]\nlisten = tcp:1\n[rules]\nallow = * * topics:#\n",
	      "t.conf:3: warning: [rules] has no use here: no service asks them\n");
}

static void people(void **state)
{
	BUF_AUTO struct buf said = BUF_INIT(4096);
	char path[300];
	struct plan *p;

	(void)state;
	folder_put("who", "alice\nbob nonsense\ncarl\n");
	snprintf(path, sizeof(path), "%s/who", folder);
	assert_int_equal(chmod(path, 0600), 0);
	p = plan(&(struct planner_setup){}, "[guichet]\npeople = who\n" LOCAL, &said);
	assert_string_equal(buf_str(&said),
			    "who:2: warning: unknown word \"nonsense\"; who is in this line cannot log in\n");
	assert_int_equal(people_count(p->people), 2);
	plan_free(&p);
	buf_reset(&said);
	assert_int_equal(chmod(path, 0640), 0);
	p = plan(&(struct planner_setup){}, "[guichet]\npeople = who\n[plain]\nlisten = tcp:1\n", &said);
	assert_string_equal(buf_str(&said), ""); /* nobody asks for it */
	assert_null(p->people);
	plan_free(&p);
	check("[guichet]\npeople = who\n" LOCAL,
	      "who: warning: others can read or change it; it should be yours alone: chmod 600\n"
	      "who:2: warning: unknown word \"nonsense\"; who is in this line cannot log in\n");
	check("[guichet]\npeople = .\n" LOCAL, ".: people: cannot read .: Is a directory\n");
}

/* What is written wrong, and what can fit nobody, looks the same: silence would hide it. */
static void nobody_of_that_name(void **state)
{
	char path[300];

	(void)state;
	folder_put("who", "alice groups=house\n");
	snprintf(path, sizeof(path), "%s/who", folder);
	assert_int_equal(chmod(path, 0600), 0);
	check("[guichet]\npeople = who\n" LOCAL
	      "[rules]\nallow = @house read topics:#\nallow = alice * topics:#\nallow = @hose read topics:#\n"
	      "deny = nouser write topics:#\nallow = anonymous read topics:#\n",
	      "t.conf:8: warning: allow: nobody is in the group \"hose\"; guichet user set NAME --groups hose puts somebody there\n"
	      "t.conf:9: warning: deny: there is no user \"nouser\"; guichet user add nouser makes one\n");
	check("[guichet]\npeople = who\n" LOCAL
	      "[rules]\nallow = * write topics:guichet/#\nallow = * * topics:guichet/#\n",
	      "t.conf:6: warning: allow: nobody can publish below guichet/, which is what the server itself tells; read is what "
	      "a rule can allow there\n");
}

/* No file is told as an empty one is: any name and password would be let in, as anonymous. */
static void nobody_at_all(void **state)
{
	static const char *const what[] = { "there is no file of people yet,", "nobody is in" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		BUF_AUTO struct buf expect = BUF_INIT(4096);

		if (i)
			folder_put("none", "");
		buf_addf(
			&expect,
			"%st.conf:5: warning: %s none; until then names and passwords are not looked at, and whoever connects is "
			"anonymous: guichet user add NAME --people none\n"
			"t.conf:6: warning: allow: nobody is in the group \"house\"; guichet user add NAME --groups house puts "
			"somebody there\n",
			i ? "none: warning: others can read or change it; it should be yours alone: chmod 600\n" : "",
			what[i]);
		check("[guichet]\npeople = none\n" LOCAL "[rules]\nallow = @house read topics:#\n", buf_str(&expect));
	}
	check("[guichet]\npeople = nowhere\n" LOCAL "[rules]\nallow = * read topics:#\n", "");
}

static bool wants(const struct plan_service *s, const void *arg)
{
	return s->proto == arg;
}

/* From the kit, and only what its services need. */
static void in_a_worker(void **state)
{
	BUF_AUTO struct buf said = BUF_INIT(4096);
	struct kit *all, *part;
	char path[300];
	struct span s;
	struct plan *p;

	(void)state;
	folder_put("who", "alice\n");
	snprintf(path, sizeof(path), "%s/who", folder);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(kit_new(&all), 0);
	p = plan(&(struct planner_setup){ .into = all },
		 "[guichet]\npeople = who\n" LOCAL "[plain]\nlisten = tcp:1\n[rules]\nallow = * * topics:#\n", &said);
	plan_free(&p);
	assert_true(kit_find(all, path, &s));
	for (int i = 0; i < 2; i++) {
		const struct proto *which = i ? &plain : &topics;

		assert_int_equal(kit_new(&part), 0);
		p = plan(&(struct planner_setup){ .from = all, .into = part, .wants = wants, .wants_arg = which }, NULL,
			 &said);
		assert_int_equal(kit_find(part, path, &s), i == 0);
		assert_int_equal(people_count(p->people), i == 0);
		assert_int_equal(rules_count(p->rules), 1);
		plan_free(&p);
		kit_free(&part);
	}
	assert_string_equal(buf_str(&said), "");
	kit_free(&all);
}

int main(void)
{
#define T(f) cmocka_unit_test(f)
	const struct CMUnitTest tests[] = { T(rules),         T(open_to_everybody), T(people), T(nobody_of_that_name),
					    T(nobody_at_all), T(in_a_worker) };

	return cmocka_run_group_tests(tests, folder_set_up, folder_take_down);
}
