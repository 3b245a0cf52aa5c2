/*
 * test_filters.c - the index of subscriptions says the same as asking every filter; it costs what filters.h says; it
 * leaves nothing behind, and nothing half done when memory is out.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "store/filters.h"
#include "store/topic.h"

enum { SUBS = 600, TEXT = 300 };

static const struct topic_key key = { { 1, 2 } };

struct sub {
	struct filter_sub in;
	char text[TEXT];
};

static struct sub subs[SUBS];

static struct filters *new_index(void)
{
	struct filters *ix = filters_new(&key);

	assert_non_null(ix);
	return ix;
}

static void add(struct filters *ix, struct sub *s, const char *text)
{
	snprintf(s->text, sizeof(s->text), "%s", text);
	assert_int_equal(filters_add(ix, span_str(text), &s->in), 0);
	assert_true(span_is(filter_text(s->in.filter), text));
}

/* Nobody is left, and so nothing else. */
static void end(struct filters *ix, struct filters_found *found)
{
	struct filters_count c;

	for (int i = 0; i < SUBS; i++)
		filters_del(ix, &subs[i].in);
	c = filters_count(ix);
	assert_int_equal(c.subs, 0);
	assert_int_equal(c.exact, 0);
	assert_int_equal(c.wild, 0);
	assert_int_equal(c.nodes, 0);
	filters_free(&ix);
	assert_null(ix);
	filters_found_done(found);
}

/* What was found is what matches: each filter once, and as many subscriptions as there are. */
static void check_match(struct filters *ix, const char *name, struct filters_found *found)
{
	uint32_t want = 0, have = 0;

	assert_int_equal(filters_match(ix, span_str(name), found), 0);
	for (uint32_t i = 0; i < found->n; i++) {
		uint32_t hanging = 0;

		for (struct list *l = found->v[i]->subs.next; l != &found->v[i]->subs; l = l->next) {
			const struct filter_sub *s = list_entry(l, struct filter_sub, in_filter);

			assert_ptr_equal(s->filter, found->v[i]);
			hanging++;
		}
		assert_int_equal(hanging, found->v[i]->n_subs);
		assert_true(topic_matches(filter_text(found->v[i]), span_str(name)));
		have += hanging;
		for (uint32_t j = 0; j < i; j++)
			assert_ptr_not_equal(found->v[i], found->v[j]);
	}
	for (int i = 0; i < SUBS; i++)
		want += subs[i].in.filter && topic_matches(span_str(subs[i].text), span_str(name));
	if (want != have)
		fail_msg("\"%s\": %u subscriptions match, %u found", name, want, have);
}

/* ---- by hand ---- */

static void one_text_is_stored_once(void **state)
{
	struct filters *ix = new_index();
	struct filters_found found = {};
	struct filter *f;

	(void)state;
	add(ix, &subs[0], "a/+");
	add(ix, &subs[1], "a/+");
	add(ix, &subs[2], "a/b");
	add(ix, &subs[3], "a/b");
	f = filters_find(ix, span_str("a/+"));
	assert_non_null(f);
	assert_ptr_equal(f, subs[0].in.filter);
	assert_ptr_equal(f, subs[1].in.filter);
	assert_ptr_equal(list_entry(f->subs.next, struct filter_sub, in_filter), &subs[0].in); /* in order */
	assert_int_equal(filters_count(ix).subs, 4);
	assert_int_equal(filters_count(ix).exact, 1);
	assert_int_equal(filters_count(ix).wild, 1);
	check_match(ix, "a/b", &found);
	assert_int_equal(found.n, 2);
	filters_del(ix, &subs[0].in);
	assert_null(subs[0].in.filter);
	assert_ptr_equal(filters_find(ix, span_str("a/+")), f);
	filters_del(ix, &subs[1].in);
	assert_null(filters_find(ix, span_str("a/+")));
	assert_null(filters_find(ix, span_str("a/c")));
	assert_null(filters_find(ix, span_str("#")));
	end(ix, &found);
}

static void what_is_no_filter_is_refused(void **state)
{
	struct filters *ix = new_index();
	struct filters_found found = {};
	char deep[2 * TOPIC_LEVELS_MAX + 2];

	(void)state;
	for (size_t i = 0; i < sizeof(deep); i++)
		deep[i] = i % 2 ? '/' : '+';
	assert_int_equal(filters_add(ix, span_str(""), &subs[0].in), -EINVAL);
	assert_int_equal(filters_add(ix, span_str("a/#/b"), &subs[0].in), -EINVAL);
	assert_int_equal(filters_add(ix, (struct span){ (uint8_t *)deep, 2 * TOPIC_LEVELS_MAX + 1 }, &subs[0].in),
			 -E2BIG);
	assert_null(subs[0].in.filter);
	assert_int_equal(filters_generation(ix), 1);
	filters_del(ix, &subs[0].in);
	assert_int_equal(filters_generation(ix), 1);
	assert_int_equal(filters_add(ix, (struct span){ (uint8_t *)deep, 2 * TOPIC_LEVELS_MAX - 1 }, &subs[0].in), 0);
	assert_int_equal(filters_match(ix, (struct span){ (uint8_t *)deep, 2 * TOPIC_LEVELS_MAX - 1 }, &found), 0);
	assert_int_equal(found.n, 1);
	end(ix, &found);
}

static void the_generation_changes(void **state)
{
	struct filters *ix = new_index();
	struct filters_found found = {};
	uint64_t before = filters_generation(ix);

	(void)state;
	assert_true(before != 0);
	add(ix, &subs[0], "a/#");
	assert_true(filters_generation(ix) != before);
	before = filters_generation(ix);
	add(ix, &subs[1], "a/#");
	assert_true(filters_generation(ix) != before);
	before = filters_generation(ix);
	check_match(ix, "a/b", &found);
	assert_true(filters_generation(ix) == before);
	filters_del(ix, &subs[1].in);
	assert_true(filters_generation(ix) != before);
	end(ix, &found);
}

/* Nodes are there only where two filters go together. */
static void nodes_come_and_go(void **state)
{
	static const struct {
		const char *text;
		uint32_t nodes; /* with this one and those before */
	} rows[] = {
		{ "a/b/c/d/+", 0 },   { "x/+/y", 0 }, { "a/b/c/e/+", 3 }, { "a/b/c/d/+/z", 5 }, { "a/b/c/d/#", 5 },
		{ "a/b/c/d/+/#", 5 }, { "#", 5 },     { "x/+", 7 },       { "+/+/+/+/+/+", 7 }, { "+/+/+/+/+/#", 12 },
	};
	struct filters *ix = new_index();
	struct filters_found found = {};
	size_t n = sizeof(rows) / sizeof(*rows);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		add(ix, &subs[i], rows[i].text);
		if (filters_count(ix).nodes != rows[i].nodes)
			fail_msg("%s: %u nodes", rows[i].text, filters_count(ix).nodes);
		check_match(ix, "a/b/c/d/q", &found);
		check_match(ix, "x/y/y", &found);
		check_match(ix, "a/b/c/d", &found);
	}
	while (n-- > 0) { /* back the same way */
		filters_del(ix, &subs[n].in);
		assert_int_equal(filters_count(ix).nodes, n ? rows[n - 1].nodes : 0);
		check_match(ix, "a/b/c/d/q", &found);
	}
	end(ix, &found);
}

/* ---- at random, against the plain answer ---- */

static void random_text(char *to, bool filter)
{
	static const char *const words[] = { "a", "b", "", "$s", "longer-word", "c" };
	unsigned levels = 1 + (unsigned)random() % 6, n = 0;

	for (unsigned i = 0; i < levels; i++) {
		const char *word = words[random() % 6];

		if (filter && random() % 3 == 0)
			word = i + 1 == levels && random() % 2 ? "#" : "+";
		n += (unsigned)snprintf(to + n, TEXT - n, "%s%s", i ? "/" : "", word);
	}
	if (n == 0)
		snprintf(to, TEXT, "a");
}

static void random_use(void **state)
{
	struct filters_found found = {};

	(void)state;
	for (unsigned seed = 1; seed <= 8; seed++) {
		struct filters *ix = new_index();
		char text[TEXT];

		srandom(seed);
		for (int i = 0; i < 6000; i++) {
			struct sub *s = &subs[random() % (seed % 2 ? SUBS : 40)];

			random_text(text, !s->in.filter);
			if (s->in.filter)
				filters_del(ix, &s->in);
			else
				add(ix, s, text);
			random_text(text, false);
			check_match(ix, text, &found);
		}
		for (int i = 0; i < SUBS; i++)
			if (subs[i].in.filter)
				assert_ptr_equal(filters_find(ix, span_str(subs[i].text)), subs[i].in.filter);
		end(ix, &found);
	}
}

/* ---- what it costs ---- */

/* The level that is `a` or, where the bit of x is set, `+`; 64 of them, the last one as given. */
static struct span combined(char *to, unsigned x, const char *last)
{
	for (unsigned i = 0; i < 63; i++) {
		to[2 * i] = i < 12 && x >> i & 1 ? '+' : 'a';
		to[2 * i + 1] = '/';
	}
	memcpy(to + 126, last, strlen(last) + 1);
	return span_str(to);
}

/*
 * All 4,096 ways to write `a` or `+` in twelve levels of 64: a walk that tried both at every level and forgot where
 * it had been would make 2^64 steps. Ours sees each node and each filter once.
 */
static void a_walk_is_bounded(void **state)
{
	enum { N = 4096 };
	struct filter_sub *v = calloc(N, sizeof(*v));
	struct filters *ix = new_index();
	struct filters_found found = {};
	struct filters_count c;
	char one[TEXT], slashes[64] = {};

	(void)state;
	assert_non_null(v);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(filters_add(ix, combined(one, i, "z"), &v[i]), 0);
	c = filters_count(ix);
	assert_int_equal(c.wild + c.exact, N);
	assert_true(c.nodes <= 2 * N);
	assert_int_equal(filters_match(ix, combined(one, 0, "y"), &found), 0); /* every way, in vain */
	assert_int_equal(found.n, 0);
	assert_true(found.visited <= c.nodes + c.wild + 1);
	assert_int_equal(filters_match(ix, combined(one, 0, "z"), &found), 0); /* and not */
	assert_int_equal(found.n, N);
	assert_true(found.visited <= c.nodes + c.wild + 1);
	memset(slashes, '/', 63);
	assert_int_equal(filters_match(ix, span_str(slashes), &found),
			 0); /* one way: only `+` goes with an empty level */
	assert_int_equal(found.n, 0);
	assert_true(found.visited <= 14);
	for (unsigned i = 0; i < N; i++)
		filters_del(ix, &v[i]);
	free(v);
	end(ix, &found);
}

/* A hundred thousand more of them, and a match looks at no node more. */
static void many_cost_as_few(void **state)
{
	enum { FEW = 100, MANY = 20000 };
	struct filter_sub *v = calloc(MANY, sizeof(*v));
	struct filters *ix = new_index();
	struct filters_found found = {};
	uint32_t before = 0;
	char text[64];

	(void)state;
	assert_non_null(v);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(text, sizeof(text), i % 2 ? "a/+/x%u" : "+/+/x%u", i);
		assert_int_equal(filters_add(ix, span_str(text), &v[i]), 0);
		if (i + 1 == FEW || i + 1 == MANY) {
			assert_int_equal(filters_match(ix, span_str("a/b/x7"), &found), 0);
			assert_int_equal(found.n, 1);
			assert_true(before == 0 || found.visited == before);
			before = found.visited;
		}
	}
	assert_int_equal(filters_count(ix).nodes, 4); /* the filters themselves are the leaves */
	for (unsigned i = 0; i < MANY; i++)
		filters_del(ix, &v[i]);
	free(v);
	end(ix, &found);
}

struct hashed {
	uint32_t hash, i;
};

static int by_hash(const void *a, const void *b)
{
	const struct hashed *x = a, *y = b;

	return (x->hash > y->hash) - (x->hash < y->hash);
}

/* Who knows the key can have texts of one hash; they are told apart all the same. */
static void collisions(void **state)
{
	enum { TRIES = 300000 };
	struct hashed *v = calloc(TRIES, sizeof(*v));
	struct filters *ix = new_index();
	struct filters_found found = {};
	int pairs = 0;

	(void)state;
	assert_non_null(v);
	for (uint32_t i = 0; i < TRIES; i++) {
		snprintf(subs[0].text, TEXT, "t%u", i);
		v[i] = (struct hashed){ (uint32_t)topic_hash(&key, span_str(subs[0].text)), i };
	}
	qsort(v, TRIES, sizeof(*v), by_hash);
	for (uint32_t i = 0; i + 1 < TRIES; i++) {
		char a[16], b[16];

		if (v[i].hash != v[i + 1].hash)
			continue;
		snprintf(a, sizeof(a), "t%u", v[i].i);
		snprintf(b, sizeof(b), "t%u", v[i + 1].i);
		add(ix, &subs[0], a);
		assert_null(filters_find(ix, span_str(b)));
		add(ix, &subs[1], b);
		assert_ptr_not_equal(subs[0].in.filter, subs[1].in.filter);
		check_match(ix, a, &found);
		filters_del(ix, &subs[0].in);
		check_match(ix, b, &found);
		filters_del(ix, &subs[1].in);
		pairs++;
	}
	assert_true(pairs > 0);
	free(v);
	end(ix, &found);
}

#ifdef GUICHET_FAULTS
/* ---- without memory ---- */

/* What these names find, in one number. */
static unsigned answers(struct filters *ix, struct filters_found *found)
{
	static const char *const names[] = { "a/b/c/d/q", "a/b", "x/y/y", "a/b/c/e/f", "k", "$s/a" };
	unsigned sum = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		check_match(ix, names[i], found);
		sum = sum * 31 + found->n;
	}
	return sum;
}

/* Adds these, each after every way of it to fail. Returns how many there were. */
static unsigned fail_each(const char *const *texts)
{
	struct filters *ix = new_index();
	struct filters_found found = {};
	unsigned failed = 0;

	for (size_t i = 0; texts[i]; i++) {
		struct filters_count c = filters_count(ix), now;
		uint64_t generation = filters_generation(ix);
		unsigned before = answers(ix, &found);

		for (unsigned long n = 1;; n++) {
			int r;

			fault_arm(FAULT_MEM, n, 0, n % 2);
			r = filters_add(ix, span_str(texts[i]), &subs[i].in);
			fault_arm(FAULT_MEM, 0, 0, false);
			if (r == 0)
				break;
			assert_int_equal(r, -ENOMEM);
			now = filters_count(ix);
			assert_null(subs[i].in.filter);
			assert_memory_equal(&c, &now, sizeof(c));
			assert_true(filters_generation(ix) == generation);
			assert_int_equal(answers(ix, &found), before);
			failed++;
		}
		snprintf(subs[i].text, TEXT, "%s", texts[i]);
	}
	fault_arm(FAULT_MEM, 1, 0, true); /* taking out needs none */
	for (int i = 0; i < SUBS; i++)
		filters_del(ix, &subs[i].in);
	fault_arm(FAULT_MEM, 0, 0, false);
	end(ix, &found);
	return failed;
}

static void add_fails_whole(void **state)
{
	static const char *const mixed[] = { "k",           "a/b/c/d/+",   "a/b/c/e/+", "a/b/c/d/+/z", "x/+/y",
					     "x/+/y/+/z/1", "x/+/y/+/z/2", "#",         "+/+/+/+/+/1", "+/+/+/+/+/2",
					     "$s/+",        "a/b",         NULL };
	static const char *const wild[] = { "+/b", "+/y/+", "+/y/+/#",
					    NULL }; /* the first literal child is one pushed down */

	(void)state;
	assert_true(fail_each(mixed) > 20);
	assert_true(fail_each(wild) > 5);
}

static void match_fails_whole(void **state)
{
	struct filters *ix = new_index();
	struct filters_found found = {};
	unsigned long calls;

	(void)state;
	for (int i = 0; i < 8; i++) {
		char text[TEXT];

		snprintf(text, sizeof(text), "%s/%s/%s", i & 1 ? "a" : "+", i & 2 ? "b" : "+", i & 4 ? "c" : "+");
		add(ix, &subs[i], text);
	}
	add(ix, &subs[40], "#");
	add(ix, &subs[41], "a/b/c/#");
	fault_arm(FAULT_MEM, 1, 0, false);
	assert_int_equal(filters_match(ix, span_str("a/b/c"), &found), -ENOMEM);
	assert_int_equal(found.n, 0);
	fault_arm(FAULT_MEM, 0, 0, false);
	check_match(ix, "a/b/c", &found);
	fault_arm(FAULT_MEM, 0, 0, false);
	check_match(ix, "a/b/c", &found); /* the array is there now */
	calls = fault_calls(FAULT_MEM);
	assert_int_equal(calls, 0);
	end(ix, &found);
}

static void new_fails_whole(void **state)
{
	(void)state;
	for (unsigned long n = 1; n <= 2; n++) {
		fault_arm(FAULT_MEM, n, 0, false);
		assert_null(filters_new(&key));
	}
	fault_arm(FAULT_MEM, 0, 0, false);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_text_is_stored_once),
		cmocka_unit_test(what_is_no_filter_is_refused),
		cmocka_unit_test(the_generation_changes),
		cmocka_unit_test(nodes_come_and_go),
		cmocka_unit_test(random_use),
		cmocka_unit_test(a_walk_is_bounded),
		cmocka_unit_test(many_cost_as_few),
		cmocka_unit_test(collisions),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(add_fails_whole),
		cmocka_unit_test(match_fails_whole),
		cmocka_unit_test(new_fails_whole),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
