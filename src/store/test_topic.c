/* test_topic.c - the rules of section 4.7, its examples, and every small filter against every small name. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/topic.h"
#include "store/topic_hash.h"

static void names(void **state)
{
	static const struct {
		const char *text;
		int r;
	} rows[] = {
		{ "a", 0 },
		{ "/", 0 },
		{ "/finance", 0 },
		{ "a//b/", 0 },
		{ "$SYS/x", 0 },
		{ " ", 0 },
		{ "Accounts payable", 0 },
		{ "a/b/c/d", 0 },
		{ "", -EINVAL },
		{ "+", -EINVAL },
		{ "a/#", -EINVAL },
		{ "a#", -EINVAL },
		{ "a/b/c/d/e", -E2BIG },
		{ "////", -E2BIG },
		{ "///", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (topic_check_name(span_str(rows[i].text), 4) != rows[i].r)
			fail_msg("name \"%s\"", rows[i].text);
	assert_int_equal(topic_check_name((struct span){ (const uint8_t *)"a\0b", 3 }, 4), -EINVAL);
	assert_int_equal(topic_check_name((struct span){}, 4), -EINVAL);
}

static void filters(void **state)
{
	static const struct {
		const char *text;
		int r;
	} rows[] = {
		{ "#", 0 },           { "+", 0 },          { "sport/tennis/#", 0 }, { "sport/tennis#", -EINVAL },
		{ "a/#/b", -EINVAL }, { "+/tennis/#", 0 }, { "sport+", -EINVAL },   { "sport/+/player1", 0 },
		{ "/+", 0 },          { "+/+", 0 },        { "+a", -EINVAL },       { "a/+b/c", -EINVAL },
		{ "#/", -EINVAL },    { "++", -EINVAL },   { "##", -EINVAL },       { "a/b+/c", -EINVAL },
		{ "", -EINVAL },      { "a/+/+/#", 0 },    { "a/+/+/+/#", -E2BIG }, { "+#", -EINVAL },
		{ "$share/g/a", 0 },  { "a/ #", -EINVAL },
	};
	uint8_t *long_one = malloc(TOPIC_BYTES + 1);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (topic_check_filter(span_str(rows[i].text), 4) != rows[i].r)
			fail_msg("filter \"%s\"", rows[i].text);
	assert_int_equal(topic_check_filter((struct span){ (const uint8_t *)"a/\0", 3 }, 4), -EINVAL);
	assert_non_null(long_one);
	memset(long_one, 'x', TOPIC_BYTES + 1);
	assert_int_equal(topic_check_filter((struct span){ long_one, TOPIC_BYTES }, 1), 0);
	assert_int_equal(topic_check_filter((struct span){ long_one, TOPIC_BYTES + 1 }, 1), -E2BIG);
	free(long_one);
}

static void shares(void **state)
{
	static const struct {
		const char *text, *group, *filter; /* group NULL: refused */
	} rows[] = {
		{ "a/b", "", "a/b" },
		{ "$share", "", "$share" },
		{ "$shared/g/a", "", "$shared/g/a" },
		{ "$share/g/a/#", "g", "a/#" },
		{ "$share/g//", "g", "/" },
		{ "$share/g/", "g", "" },
		{ "$share/$g/$share/h/x", "$g", "$share/h/x" },
		{ "$share/", NULL, NULL },
		{ "$share/g", NULL, NULL },
		{ "$share//a", NULL, NULL },
		{ "$share/+/a", NULL, NULL },
		{ "$share/g#/a", NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct span group = span_str("untouched"), filter = group;
		int r = topic_split_share(span_str(rows[i].text), &group, &filter);

		if (r != (rows[i].group ? 0 : -EINVAL))
			fail_msg("\"%s\" gives %d", rows[i].text, r);
		assert_true(span_is(group, rows[i].group ? rows[i].group : "untouched"));
		assert_true(span_is(filter, rows[i].group ? rows[i].filter : "untouched"));
	}
}

static void examples(void **state)
{
	static const struct {
		const char *filter, *name;
		bool yes;
	} rows[] = {
		{ "sport/tennis/player1/#", "sport/tennis/player1", true },
		{ "sport/tennis/player1/#", "sport/tennis/player1/ranking", true },
		{ "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true },
		{ "sport/#", "sport", true },
		{ "sport/#", "sports", false },
		{ "sport/tennis/+", "sport/tennis/player1", true },
		{ "sport/tennis/+", "sport/tennis/player1/ranking", false },
		{ "sport/+", "sport", false },
		{ "sport/+", "sport/", true },
		{ "+/+", "/finance", true },
		{ "/+", "/finance", true },
		{ "+", "/finance", false },
		{ "#", "$SYS/a", false },
		{ "+/monitor/Clients", "$SYS/monitor/Clients", false },
		{ "$SYS/#", "$SYS/a", true },
		{ "#", "guichet/door/x", false },
		{ "+/door/#", "guichet/door/x", false },
		{ "#", "guichet", false },
		{ "#", "guichets/a", true },
		{ "+/guichet/a", "a/guichet/a", true },
		{ "guichet/#", "guichet", true },
		{ "guichet/+/x", "guichet/door/x", true },
		{ "$SYS/monitor/+", "$SYS/monitor/Clients", true },
		{ "a/+/#", "a", false },
		{ "a/+/#", "a/b", true },
		{ "a/#", "a/", true },
		{ "a/b", "a/bc", false },
		{ "a/bc", "a/b", false },
		{ "ACCOUNTS", "Accounts", false },
		{ "/finance", "finance", false },
		{ "a/+/c", "a/$b/c", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (topic_matches(span_str(rows[i].filter), span_str(rows[i].name)) != rows[i].yes)
			fail_msg("\"%s\" and \"%s\"", rows[i].filter, rows[i].name);
}

/* ---- every small one ---- */

enum { TEXT = 24, MOST = 2000 };

static char all_filters[MOST][TEXT], all_names[MOST][TEXT];
static size_t n_filters, n_names;

/* All texts of 1 to `levels` levels out of these words, if the check has nothing against them. */
static size_t make_all(char (*to)[TEXT], const char *const *words, size_t n_words, unsigned levels,
		       int (*check)(struct span, unsigned))
{
	size_t n = 0, level_start = 0, level_end;

	for (size_t w = 0; w < n_words; w++)
		snprintf(to[n++], TEXT, "%s", words[w]);
	for (unsigned l = 1; l < levels; l++) {
		level_end = n;
		for (size_t i = level_start; i < level_end; i++)
			for (size_t w = 0; w < n_words; w++) {
				assert_true(n < MOST);
				snprintf(to[n++], TEXT, "%.18s/%s", to[i], words[w]);
			}
		level_start = level_end;
	}
	level_end = n;
	n = 0;
	for (size_t i = 0; i < level_end; i++)
		if (check(span_str(to[i]), 8) == 0)
			memmove(to[n++], to[i], TEXT);
	return n;
}

/* As the standard puts it, level by level, with recursion and copies: slow and plain. */
static bool plain_match(const char *filter, const char *name)
{
	size_t f = strcspn(filter, "/"), n = strcspn(name, "/");

	if (strcmp(filter, "#") == 0)
		return true;
	if (!(f == 1 && *filter == '+') && !(f == n && strncmp(filter, name, n) == 0))
		return false;
	if (!filter[f] && !name[n])
		return true;
	if (!name[n])
		return strcmp(filter + f, "/#") == 0;
	return filter[f] && plain_match(filter + f + 1, name + n + 1);
}

static void make_texts(void)
{
	static const char *const in_filters[] = { "+", "#", "a", "", "$s" };
	static const char *const in_names[] = { "a", "other", "", "$s" };

	n_filters = make_all(all_filters, in_filters, 5, 4, topic_check_filter);
	n_names = make_all(all_names, in_names, 4, 5, topic_check_name);
	assert_true(n_filters > 300 && n_names > 1000);
}

static void every_small_match(void **state)
{
	(void)state;
	for (size_t f = 0; f < n_filters; f++)
		for (size_t n = 0; n < n_names; n++) {
			bool hidden = *all_names[n] == '$' && strchr("+#", *all_filters[f]);

			if (topic_matches(span_str(all_filters[f]), span_str(all_names[n])) !=
			    (!hidden && plain_match(all_filters[f], all_names[n])))
				fail_msg("\"%s\" and \"%s\"", all_filters[f], all_names[n]);
		}
}

/* For each filter the set of names it matches; filters are compared as their sets are. */
static void every_small_pair(void **state)
{
	size_t words = n_names / 64 + 1;
	uint64_t *sets = calloc(n_filters * words, sizeof(*sets));

	(void)state;
	assert_non_null(sets);
	for (size_t f = 0; f < n_filters; f++)
		for (size_t n = 0; n < n_names; n++)
			if (topic_matches(span_str(all_filters[f]), span_str(all_names[n])))
				sets[f * words + n / 64] |= UINT64_C(1) << n % 64;
	for (size_t f = 0; f < n_filters; f++)
		for (size_t g = 0; g < n_filters; g++) {
			bool covers = true, overlap = false;

			for (size_t i = 0; i < words; i++) {
				covers &= !(sets[g * words + i] & ~sets[f * words + i]);
				overlap |= (sets[g * words + i] & sets[f * words + i]) != 0;
			}
			if (topic_covers(span_str(all_filters[f]), span_str(all_filters[g])) != covers)
				fail_msg("\"%s\" covers \"%s\"", all_filters[f], all_filters[g]);
			if (topic_overlap(span_str(all_filters[f]), span_str(all_filters[g])) != overlap)
				fail_msg("\"%s\" overlaps \"%s\"", all_filters[f], all_filters[g]);
		}
	free(sets);
}

/* ---- patterns ---- */

static void patterns(void **state)
{
	static const struct {
		const char *pattern, *user, *client, *filter; /* filter NULL: matches nothing */
	} rows[] = {
		{ "home/%u/#", "ann", "", "home/ann/#" },
		{ "%c/%u", "ann", "c1", "c1/ann" },
		{ "dev-%c-%u/+", "ann", "c1", "dev-c1-ann/+" },
		{ "a/b", "", "", "a/b" },
		{ "100%%/%u", "ann", "", "100%/ann" },
		{ "%%u", "ann", "", "%u" },
		{ "100%", "ann", "", "100%" },
		{ "a%x/%", "ann", "", "a%x/%" },
		{ "home/%u", "%c", "c1", "home/%c" }, /* what was put in is not looked at again */
		{ "home/%u/#", "", "c1", NULL },
		{ "home/%c/#", "ann", "", NULL },
		{ "home/%u/#", "+", "c1", NULL },
		{ "home/%u", "#", "c1", NULL },
		{ "home/%u/#", "a+", "c1", NULL },
		{ "home/%u/#", "a/b", "c1", NULL },
		{ "home/%c/#", "ann", "x#", NULL },
		{ "%u/#", "$SYS", "c1", NULL },
		{ "x%u/#", "$SYS", "c1", "x$SYS/#" },
		{ "%u/#", "guichet", "c1", NULL },
		{ "gui%u/#", "chet", "c1", NULL },
		{ "guichet/%u/#", "ann", "c1", "guichet/ann/#" },
		{ "x/%u/#", "guichet", "c1", "x/guichet/#" },
		{ "x/%u/#", "$SYS", "c1", "x/$SYS/#" },
		{ "%u/%c", "ann", "$x", "ann/$x" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		BUF_AUTO struct buf out = BUF_INIT(100);
		int r = topic_fill(span_str(rows[i].pattern), span_str(rows[i].user), span_str(rows[i].client), &out);

		if (r != (rows[i].filter ? 0 : -ENOENT) || (r == 0 && !span_is(buf_span(&out), rows[i].filter)))
			fail_msg("\"%s\" gives %d, \"%s\"", rows[i].pattern, r, buf_str(&out));
	}
}

static void ids_that_no_text_has(void **state)
{
	struct span nul = { (const uint8_t *)"a\0b", 3 };
	char small[8];
	struct buf out;

	(void)state;
	buf_init_fixed(&out, small, sizeof(small));
	assert_int_equal(topic_fill(span_str("x/%u"), nul, span_str("c"), &out), -ENOENT);
	assert_int_equal(topic_fill(span_str("x/%u"), span_str("c"), (struct span){}, &out), 0);
	assert_int_equal(topic_fill(span_str("x/%u"), (struct span){}, span_str("c"), &out), -ENOENT);
	assert_int_equal(topic_fill(span_str("x/%u"), span_str("too long"), (struct span){}, &out), -EMSGSIZE);
	assert_int_equal(topic_fill(span_str("x/%c"), (struct span){}, span_str("c"), &out),
			 0); /* the error does not stay */
}

/* Vectors of SipHash-1-3: the one of its reference for no bytes; the others as a second implementation has them. */
static void hashes(void **state)
{
	static const struct topic_key key = { { UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908) } },
				      zero = {};

	(void)state;
	assert_true(topic_hash(&key, (struct span){}) == UINT64_C(0xabac0158050fc4dc));
	assert_true(topic_hash(&zero, span_str("a")) == UINT64_C(0x407448d2b89b1813));
	assert_true(topic_hash(&zero, span_str("sensors/")) == UINT64_C(0xe33951b7e9c4ec70));
	assert_true(topic_hash(&zero, span_str("site/7/room/12/temperature")) == UINT64_C(0xd1dc7014f667b73d));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(filters),
		cmocka_unit_test(shares),
		cmocka_unit_test(examples),
		cmocka_unit_test(every_small_match),
		cmocka_unit_test(every_small_pair),
		cmocka_unit_test(patterns),
		cmocka_unit_test(ids_that_no_text_has),
		cmocka_unit_test(hashes),
	};

	make_texts();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
