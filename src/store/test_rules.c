/*
 * test_rules.c - rules: lines, who they are about, the first one that fits, names filled in, filters of which a part is allowed;
 * and the people and rules that are in force (access.h).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "store/access.h"
#include "store/rules.h"
#include "store/topic.h"

/* Lines, each with `+` (allow) or `-` (deny) in front. */
static struct rules *make(const char *const *lines)
{
	BUF_AUTO struct buf why = BUF_INIT(1024);
	struct rules *r;

	assert_int_equal(rules_new(&r), 0);
	for (; *lines; lines++)
		if (rules_add(r, **lines == '+', *lines + 1, &why) < 0)
			fail_msg("%s: %s", *lines, buf_str(&why));
	return r;
}
#define RULES(...) make((const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

struct someone {
	const char *user, *groups, *client;
	bool local;
};

static struct rules_view *look(struct rules *r, struct someone s)
{
	struct str_words groups = {};
	struct rules_view *v;

	assert_int_equal(str_split_words(s.groups ? s.groups : "", 100, &groups), 0);
	assert_int_equal(rules_view_new(r,
					&(struct rules_who){ .user = span_str(s.user ? s.user : ""),
							     .groups = &groups,
							     .client = span_str(s.client ? s.client : ""),
							     .local = s.local },
					&v),
			 0);
	str_words_done(&groups);
	return v;
}

static bool may(struct rules *r, struct someone s, enum rules_verb verb, const char *name)
{
	struct rules_view *v = look(r, s);
	bool yes = rules_check(v, verb, RULES_TOPICS, span_str(name));

	rules_view_free(&v);
	return yes;
}

static enum rules_share share(struct rules *r, struct someone s, const char *filter)
{
	struct rules_view *v = look(r, s);
	enum rules_share part = rules_check_filter(v, RULES_READ, RULES_TOPICS, span_str(filter));

	rules_view_free(&v);
	return part;
}

static const struct someone anybody, here = { .local = true }, alice = { .user = "alice", .groups = "staff" },
				     bob = { .user = "bob", .client = "b1" };

/* ---- lines ---- */

static void wrong_lines(void **state)
{
	static const struct {
		const char *line, *why;
	} cases[] = {
		{ "", "a rule is WHO VERB STORE:PATTERN, as in: * read topics:home/#" },
		{ "* read", "a rule is WHO VERB STORE:PATTERN, as in: * read topics:home/#" },
		{ "* raed topics:#", "\"raed\" is none of read, write, list, admin and *, did you mean \"read\"?" },
		{ "* read topic:#", "\"topic\" is no store, did you mean \"topics\"?" },
		{ "* read #", "\"#\" is not STORE:PATTERN, as in topics:home/#" },
		{ "* read topics:a#",
		  "\"a#\" is no pattern: + stands for a whole level, # for all levels that follow, at the end" },
		{ "* read topics:",
		  "\"\" is no pattern: + stands for a whole level, # for all levels that follow, at the end" },
		{ "* read topics:%x/a",
		  "\"%x\" stands for nothing: %u is the user, %c the client's own name, %% a percent sign" },
		{ "* read topics:a/100%",
		  "\"%\" stands for nothing: %u is the user, %c the client's own name, %% a percent sign" },
		{ "%u read topics:#",
		  "\"%u\" can stand in the pattern only; * is everybody, as in: * read topics:home/%u/#" },
		{ "@ read topics:#", "\"\" is no name: it is empty" },
		{ "@* read topics:#", "\"*\" is no name: rules mean others by it" },
		{ "a:b read topics:#", "\"a:b\" is no name: it has a control character, a : or a , in it" },
		{ "* read topics:a b", "\"b\" is one word too many; a pattern with spaces stands in quotes" },
		{ "* read \"topics:a", "a quote is not closed, or nothing follows a backslash" },
	};
	struct rules *r = RULES();

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		BUF_AUTO struct buf why = BUF_INIT(1024);

		assert_int_equal(rules_add(r, true, cases[i].line, &why), -EINVAL);
		assert_string_equal(buf_str(&why), cases[i].why);
	}
	assert_int_equal(rules_count(r), 0);
	rules_unref(r);
}

static void not_too_many(void **state)
{
	BUF_AUTO struct buf why = BUF_INIT(1024);
	struct rules *r = RULES();
	struct someone s = alice;

	(void)state;
	for (int i = 0; i < RULES_MAX; i++)
		assert_int_equal(rules_add(r, i == RULES_MAX - 1,
					   i == RULES_MAX - 1 ? "* read topics:x" : "* * topics:a/%u", &why),
				 0);
	assert_int_equal(rules_add(r, true, "* * topics:a", &why), -EINVAL);
	assert_true(may(r, s, RULES_READ, "x"));
	assert_false(may(r, s, RULES_READ, "a/alice"));
	rules_unref(r);
}

/* ---- who ---- */

static void nobody_has_written_any(void **state)
{
	struct rules *none = RULES();
	struct rules_view *v = look(NULL, here);

	(void)state;
	assert_true(may(NULL, here, RULES_READ, "a"));
	assert_true(may(NULL, here, RULES_ADMIN, "$SYS/a"));
	assert_false(may(NULL, anybody, RULES_READ, "a"));
	assert_false(may(NULL, alice, RULES_READ, "a"));
	assert_int_equal(share(NULL, here, "#"), RULES_ALL);
	assert_int_equal(share(NULL, alice, "#"), RULES_NONE);
	assert_null(rules_view_of(v));
	rules_view_free(&v);
	rules_view_free(&v);
	assert_false(rules_check(NULL, RULES_READ, RULES_TOPICS, span_str("a")));
	assert_false(may(none, here, RULES_READ, "a")); /* a section without a line: nobody */
	assert_int_equal(share(none, here, "#"), RULES_NONE);
	rules_unref(none);
}

static void whom_they_are_about(void **state)
{
	struct rules *r = RULES("+anonymous * topics:anon", "+alice * topics:alice", "+@staff * topics:staff",
				"+* * topics:all");

	(void)state;
	assert_true(may(r, anybody, RULES_READ, "anon"));
	assert_false(may(r, alice, RULES_READ, "anon"));
	assert_true(may(r, alice, RULES_READ, "alice"));
	assert_true(may(r, alice, RULES_READ, "staff"));
	assert_false(may(r, bob, RULES_READ, "alice"));
	assert_false(may(r, bob, RULES_READ, "staff"));
	assert_false(may(r, (struct someone){ .user = "bob", .groups = "staf staffs" }, RULES_READ, "staff"));
	assert_false(may(r, (struct someone){ .user = "staff" }, RULES_READ, "staff"));
	assert_true(may(r, anybody, RULES_READ, "all"));
	assert_true(may(r, bob, RULES_READ, "all"));
	assert_false(may(r, bob, RULES_READ, "none"));
	rules_unref(r);
}

static void the_first_one_decides(void **state)
{
	struct rules *r = RULES("-* write topics:$SYS/#", "+alice write topics:a/b", "-* write topics:a/#",
				"+* * topics:#", "+* read topics:$SYS/#");

	(void)state;
	assert_true(may(r, alice, RULES_WRITE, "a/b"));
	assert_false(may(r, alice, RULES_WRITE, "a/c"));
	assert_false(may(r, alice, RULES_WRITE, "a"));
	assert_false(may(r, bob, RULES_WRITE, "a/b"));
	assert_true(may(r, bob, RULES_READ, "a/b"));
	assert_true(may(r, bob, RULES_WRITE, "ab"));
	assert_false(may(r, bob, RULES_WRITE, "$SYS/x"));
	assert_true(may(r, bob, RULES_READ, "$SYS/x"));
	assert_false(may(r, bob, RULES_READ, "$other"));
	assert_false(may(r, bob, RULES_READ, ""));
	rules_unref(r);
}

static void stores(void **state)
{
	struct rules *r = RULES("+* read files:pub/#", "-bob read stats:#");
	struct rules_view *v = look(r, here), *w = look(r, (struct someone){ .user = "bob", .local = true });

	(void)state;
	assert_true(rules_check(v, RULES_READ, RULES_FILES, span_str("pub/a")));
	assert_false(rules_check(v, RULES_READ, RULES_TOPICS, span_str("pub/a")));
	assert_true(
		rules_check(v, RULES_READ, RULES_STATS, span_str("x"))); /* this machine may, unless told otherwise */
	assert_false(rules_check(v, RULES_WRITE, RULES_STATS, span_str("x")));
	assert_false(rules_check(w, RULES_READ, RULES_STATS, span_str("x")));
	assert_true(rules_mention(r, RULES_FILES));
	assert_false(rules_mention(r, RULES_TOPICS));
	assert_false(rules_mention(NULL, RULES_TOPICS));
	rules_view_free(&v);
	rules_view_free(&w);
	rules_unref(r);
}

/* ---- names filled in ---- */

static void names(void **state)
{
	struct rules *r = RULES("+* * topics:home/%u/#", "+* write topics:dev/%c", "+* read topics:100%%/%%u");

	(void)state;
	assert_true(may(r, alice, RULES_READ, "home/alice/x"));
	assert_true(may(r, alice, RULES_READ, "home/alice"));
	assert_false(may(r, alice, RULES_READ, "home/bob/x"));
	assert_false(may(r, anybody, RULES_READ, "home//x"));
	assert_true(may(r, bob, RULES_WRITE, "dev/b1"));
	assert_false(may(r, bob, RULES_WRITE, "dev/b2"));
	assert_false(may(r, alice, RULES_WRITE, "dev/"));
	assert_true(may(r, alice, RULES_READ, "100%/%u"));
	rules_unref(r);
}

/* CVE-2017-7650: somebody is called so that a rule becomes wider. */
static void names_that_are_patterns(void **state)
{
	struct rules *r = RULES("-* read topics:secret/%c/#", "-* read topics:%c/x", "+* read topics:home/%c/#",
				"+* read topics:secret/#", "+* read topics:$hidden/x");
	static const char *const odd[] = { "+", "#", "a/b", "", "$hidden" };

	(void)state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct someone s = { .client = odd[i] };
		bool dollar = odd[i][0] == '$';

		assert_false(may(r, s, RULES_READ, "home/alice/x"));
		assert_int_equal(may(r, s, RULES_READ, "secret/bob/x"), dollar); /* denied is what could be meant */
		assert_false(may(r, s, RULES_READ, "$hidden/x"));
		assert_int_not_equal(share(r, s, "$hidden/x"), RULES_ALL);
	}
	assert_true(may(r, bob, RULES_READ, "secret/bob/x"));
	assert_false(may(r, bob, RULES_READ, "secret/b1/x"));
	assert_true(may(r, bob, RULES_READ, "$hidden/x"));
	rules_unref(r);
}

/* A name too long for the filter is one of those. */
static void names_too_long(void **state)
{
	struct rules *r = RULES("-* read topics:a/%c", "+* read topics:a/#", "+* write topics:b/%c");
	char name[70000];

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_false(may(r, (struct someone){ .client = name }, RULES_READ, "a/x"));
	assert_false(may(r, (struct someone){ .client = name }, RULES_WRITE, "b/x"));
	rules_unref(r);
}

/* ---- filters ---- */

static void filters(void **state)
{
	struct rules *r = RULES("-* read topics:home/secret/#", "+alice read topics:home/%u/#",
				"+* read topics:home/+/light", "+@staff read topics:office/#", "-* read topics:#");

	(void)state;
	assert_int_equal(share(r, alice, "home/alice/#"), RULES_ALL);
	assert_int_equal(share(r, alice, "home/alice/x"), RULES_ALL);
	assert_int_equal(share(r, alice, "home/secret/light"), RULES_NONE);
	assert_int_equal(share(r, alice, "home/#"), RULES_PART);
	assert_int_equal(share(r, bob, "home/+/light"), RULES_PART); /* but for the secret one's */
	assert_int_equal(share(r, bob, "home/b/light"), RULES_ALL);
	assert_int_equal(share(r, bob, "#"), RULES_PART);
	assert_int_equal(share(r, bob, "office/#"), RULES_NONE);
	assert_int_equal(share(r, alice, "office/#"), RULES_ALL);
	assert_int_equal(share(r, alice, "garden/#"), RULES_NONE);
	assert_int_equal(share(r, alice, "$SYS/#"), RULES_NONE);
	rules_unref(r);
}

/* What is said of a filter is what is said of the names that it matches. */
static void filters_and_names_agree(void **state)
{
	static const char *const levels[] = { "a", "b", "+", "#" };
	static const char *const texts[] = { "a", "b", "a/a", "a/b", "b/a", "b/b", "a/a/a", "$x", "$x/a" };
	struct rules *r = RULES("-* read topics:a/b", "+* read topics:a/#", "-* read topics:+", "+* read topics:+/b",
				"+* read topics:$x/#");
	struct rules_view *v = look(r, anybody);

	(void)state;
	for (int i = 0; i < 20; i++) {
		enum rules_share said;
		char filter[16];
		bool all = true, some = false;

		snprintf(filter, sizeof(filter), i < 16 ? "%s/%s" : "%s%s", levels[i < 16 ? i / 4 : i - 16],
			 i < 16 ? levels[i % 4] : "");
		if (topic_check_filter(span_str(filter), 10) < 0)
			continue;
		said = rules_check_filter(v, RULES_READ, RULES_TOPICS, span_str(filter));
		for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++) {
			if (!topic_matches(span_str(filter), span_str(texts[k])))
				continue;
			all &= rules_check(v, RULES_READ, RULES_TOPICS, span_str(texts[k]));
			some |= rules_check(v, RULES_READ, RULES_TOPICS, span_str(texts[k]));
		}
		assert_true(said != RULES_ALL || all);
		assert_true(said != RULES_NONE || !some);
	}
	rules_view_free(&v);
	rules_unref(r);
}

/* ---- in force ---- */

static void in_force(void **state)
{
	struct rules *r = RULES("+* * topics:#"), *got;
	struct people *p, *got_people;
	struct access *a;
	uint64_t before;

	(void)state;
	assert_int_equal(people_new(&p), 0);
	assert_int_equal(access_new(&a), 0);
	access_get(a, &got_people, &got);
	assert_null(got);
	assert_null(got_people);
	before = access_generation(a);
	access_set(a, p, r);
	assert_true(access_generation(a) > before);
	people_unref(p);
	rules_unref(r);
	access_get(a, &got_people, &got);
	assert_ptr_equal(got, r);
	assert_ptr_equal(got_people, p);
	access_set(a, NULL, NULL);
	assert_int_equal(rules_count(got), 1); /* who has it keeps it */
	people_unref(got_people);
	rules_unref(got);
	assert_non_null(access_memory(a));
	access_free(&a);
	access_free(&a);
	access_get(NULL, &got_people, &got);
	assert_null(got);
	assert_int_equal(access_generation(NULL), 0);
	assert_null(access_memory(NULL));
}

#ifdef GUICHET_FAULTS
static void without_memory(void **state)
{
	bool done = false;

	(void)state;
	for (unsigned long n = 1; !done && n < 1000; n++) {
		BUF_AUTO struct buf why = BUF_INIT(1024);
		struct rules_view *v = NULL;
		struct rules *r = NULL;
		struct access *a = NULL;
		int err;

		fault_arm(FAULT_MEM, n, 0, false);
		err = rules_new(&r);
		if (err == 0)
			err = rules_add(r, false, "alice write topics:a/%u/%c", &why);
		if (err == 0)
			err = rules_add(r, true, "@staff write topics:a/#", &why);
		if (err == 0)
			err = rules_view_new(r,
					     &(struct rules_who){ .user = span_str("alice"), .client = span_str("+") },
					     &v);
		if (err == 0)
			err = access_new(&a);
		done = fault_calls(FAULT_MEM) < n;
		fault_arm(FAULT_MEM, 0, 0, false);
		assert_true(err == 0 || err == -ENOMEM);
		rules_view_free(&v);
		rules_unref(r);
		access_free(&a);
	}
	assert_true(done);
}
#endif

int main(void)
{
#define T(f) cmocka_unit_test(f)
	const struct CMUnitTest tests[] = {
		T(wrong_lines),
		T(not_too_many),
		T(nobody_has_written_any),
		T(whom_they_are_about),
		T(the_first_one_decides),
		T(stores),
		T(names),
		T(names_that_are_patterns),
		T(names_too_long),
		T(filters),
		T(filters_and_names_agree),
		T(in_force),
#ifdef GUICHET_FAULTS
		T(without_memory),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
