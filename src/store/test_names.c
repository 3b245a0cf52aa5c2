/*
 * test_names.c - the index of names gives what matches, in order, however it is cut into steps and whatever comes and
 * goes between them; and the table of hashes below it grows and shrinks.
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
#include "store/names.h"
#include "store/names_priv.h"
#include "store/topic.h"

enum { OWNERS = 500, TEXT = 64 };

static const struct topic_key key = { { 3, 4 } };

struct owner {
	struct name node;
	bool in;
	bool all_along, given; /* since a cursor was opened */
	char text[TEXT];
};

static struct owner owners[OWNERS];

static struct names *new_index(void)
{
	struct names *ix = names_new(&key);

	assert_non_null(ix);
	memset(owners, 0, sizeof(owners));
	return ix;
}

static void add(struct names *ix, struct owner *o, const char *text)
{
	int r;

	snprintf(o->text, sizeof(o->text), "%s", text);
	r = names_add(ix, &o->node, span_str(o->text));
	o->in = r == 0;
	o->all_along = false;
	if (names_find(ix, span_str(text)) != &o->node)
		assert_int_equal(r, -EEXIST);
	else
		assert_int_equal(r, 0);
}

static void del(struct names *ix, struct owner *o)
{
	names_del(ix, &o->node);
	o->in = o->all_along = false;
	assert_null(names_find(ix, span_str(o->text)));
}

static void random_name(char *to)
{
	static const char *const words[] = { "a", "b", "", "$s", "a-b", "a b", "longer-word", "\x01", "a0" };
	unsigned levels = 1 + (unsigned)random() % 4, n = 0;

	for (unsigned i = 0; i < levels; i++)
		n += (unsigned)snprintf(to + n, TEXT - n, "%s%s", i ? "/" : "", words[random() % 9]);
	if (n == 0)
		snprintf(to, TEXT, "b");
}

static void random_filter(char *to)
{
	char *end = NULL;

	random_name(to);
	for (char *p = to; p; p = strchr(p, '/')) { /* some levels become `+`, the last perhaps `#` */
		size_t n = strcspn(p += *p == '/' && p > to, "/");

		end = p;
		if (random() % 3 == 0) {
			memmove(p + 1, p + n, strlen(p + n) + 1);
			*p = '+';
		}
		if (!strchr(p, '/'))
			break;
	}
	if (random() % 2)
		snprintf(end, 2, "#");
	if (topic_check_filter(span_str(to), 8) < 0)
		snprintf(to, TEXT, "#");
}

/* The tree is in order and a heap of hashes, parents are right, and all are in it. */
static uint32_t check_below(const struct name *node, const struct name *up)
{
	if (!node)
		return 0;
	assert_ptr_equal(node->up, up);
	if (up)
		assert_true(up->link.hash >= node->link.hash);
	if (node->kid[0])
		assert_true(names_order(name_text(node->kid[0]), name_text(node)) < 0);
	if (node->kid[1])
		assert_true(names_order(name_text(node->kid[1]), name_text(node)) > 0);
	return 1 + check_below(node->kid[0], node) + check_below(node->kid[1], node);
}

static void check_tree(const struct names *ix)
{
	assert_int_equal(check_below(ix->root, NULL), names_count(ix));
}

/* ---- by hand ---- */

/* Adds these, walks, and compares what comes with `want`, names with a space between. */
static void walk(struct names *ix, const char *filter, uint32_t step, const char *want)
{
	struct names_cursor c = {};
	struct name *found[16];
	char have[400] = "";
	unsigned n = 0;

	assert_int_equal(names_cursor_open(&c, span_str(filter)), 0);
	while (!c.over) {
		int r = names_step(ix, &c, found, step);

		assert_in_range(r, 0, step);
		for (int i = 0; i < r; i++)
			n += (unsigned)snprintf(have + n, sizeof(have) - n, "%s%.*s", n ? " " : "",
						(int)found[i]->link.n, (const char *)found[i]->p);
	}
	assert_int_equal(names_step(ix, &c, found, step), 0);
	if (strcmp(have, want) != 0)
		fail_msg("%s gives %s", filter, have);
	names_cursor_close(&c);
}

static void order_and_leaps(void **state)
{
	static const char *const names[] = { "b",   "a/b/x", "a/c/x/y", "a",     "/",      "$SYS/a", "a/b",  "a-b",
					     "a/c", "a/c/x", "a/",      "a/d/x", "%/late", "a/b-/x", "/a/x", "$x" };
	static const struct {
		const char *filter, *want;
	} rows[] = {
		{ "#", "/ /a/x %/late a a/ a/b a/b/x a/b-/x a/c a/c/x a/c/x/y a/d/x a-b b" },
		{ "+", "a a-b b" },
		{ "+/+", "/ %/late a/ a/b a/c" },
		{ "a/#", "a a/ a/b a/b/x a/b-/x a/c a/c/x a/c/x/y a/d/x" },
		{ "a/+/x", "a/b/x a/b-/x a/c/x a/d/x" },
		{ "+/+/x", "/a/x a/b/x a/b-/x a/c/x a/d/x" },
		{ "+/+/x/#", "/a/x a/b/x a/b-/x a/c/x a/c/x/y a/d/x" },
		{ "+/c/#", "a/c a/c/x a/c/x/y" },
		{ "/#", "/ /a/x" },
		{ "/+/x", "/a/x" },
		{ "a/+", "a/ a/b a/c" },
		{ "$SYS/#", "$SYS/a" },
		{ "$x", "$x" },
		{ "a/c/x", "a/c/x" },
		{ "a/c/z", "" },
		{ "zz/#", "" },
		{ "+/zz", "" },
	};
	struct names *ix = new_index();

	(void)state;
	walk(ix, "#", 4, "");
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		add(ix, &owners[i], names[i]);
	check_tree(ix);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		for (uint32_t step = 1; step <= 16; step *= 2)
			walk(ix, rows[i].filter, step, rows[i].want);
	names_free(&ix);
	assert_null(ix);
}

static void bytes_may_move(void **state)
{
	struct names *ix = new_index();
	char copy[] = "a/b";

	(void)state;
	add(ix, &owners[0], "a/b");
	add(ix, &owners[1], "a/c");
	names_reborrow(&owners[0].node, (const uint8_t *)copy);
	memset(owners[0].text, 'z', 3);
	assert_ptr_equal(names_find(ix, span_str("a/b")), &owners[0].node);
	walk(ix, "#", 3, "a/b a/c");
	add(ix, &owners[2], "a/b"); /* it exists */
	assert_false(owners[2].in);
	names_del(ix, &owners[0].node);
	add(ix, &owners[2], "a/b");
	assert_true(owners[2].in);
	names_free(&ix);
}

/* ---- at random ---- */

static void change(struct names *ix)
{
	struct owner *o = &owners[random() % OWNERS];
	char text[TEXT];

	random_name(text);
	if (o->in)
		del(ix, o);
	else
		add(ix, o, text);
}

/* One walk, with `changes` after each step. */
static void random_walk(struct names *ix, unsigned changes)
{
	struct names_cursor c = {};
	struct name *found[8];
	struct owner *last = NULL;
	char filter[TEXT], before[TEXT] = "";

	random_filter(filter);
	assert_int_equal(names_cursor_open(&c, span_str(filter)), 0);
	for (int i = 0; i < OWNERS; i++) {
		owners[i].all_along = owners[i].in;
		owners[i].given = false;
	}
	for (uint32_t step = 1 + (uint32_t)random() % 8; !c.over;) {
		int n = names_step(ix, &c, found, step);

		assert_in_range(n, 0, step);
		for (int i = 0; i < n; i++) {
			last = (struct owner *)found[i];
			assert_true(last->in && topic_matches(span_str(filter), span_str(last->text)));
			assert_true(names_order(span_str(before), span_str(last->text)) < 0);
			snprintf(before, sizeof(before), "%s", last->text);
			last->given = true;
		}
		for (unsigned i = 0; i < changes; i++)
			change(ix);
	}
	for (int i = 0; i < OWNERS; i++)
		if (owners[i].all_along && !owners[i].given &&
		    topic_matches(span_str(filter), span_str(owners[i].text)))
			fail_msg("\"%s\" does not give \"%s\"", filter, owners[i].text);
	names_cursor_close(&c);
}

static void random_use(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 6; seed++) {
		struct names *ix = new_index();

		srandom(seed);
		for (int i = 0; i < 1500; i++) {
			for (int j = 0; j < 5; j++)
				change(ix);
			if (i % 50 == 0)
				check_tree(ix);
			random_walk(ix, (unsigned)random() % 3);
		}
		for (int i = 0; i < OWNERS; i++)
			if (owners[i].in)
				del(ix, &owners[i]);
		assert_int_equal(names_count(ix), 0);
		names_free(&ix);
	}
}

/* A step looks at no more than it may, also where nothing matches; and names in order make no deep tree. */
static void steps_are_bounded(void **state)
{
	enum { N = 20000 };
	struct owner *v = calloc(N, sizeof(*v));
	struct names *ix = new_index();
	struct names_cursor c = {};
	struct name *found[100];
	unsigned steps = 0, depth = 0, most = 0;

	(void)state;
	assert_non_null(v);
	for (unsigned i = 0; i < N; i++) {
		snprintf(v[i].text, TEXT, "a/%05u/x", i);
		assert_int_equal(names_add(ix, &v[i].node, span_str(v[i].text)), 0);
	}
	for (unsigned i = 0; i < N; i++) {
		depth = 0;
		for (const struct name *n = &v[i].node; n; n = n->up)
			depth++;
		most = depth > most ? depth : most;
	}
	assert_true(most < 60); /* 2 ln n is 20 */
	assert_int_equal(names_cursor_open(&c, span_str("a/+/y")), 0);
	for (; !c.over; steps++)
		assert_int_equal(names_step(ix, &c, found, 100), 0);
	assert_in_range(steps, N / 100, N / 100 + 1);
	names_cursor_close(&c);
	assert_int_equal(names_cursor_open(&c, span_str("a/10000/#")), 0);
	assert_int_equal(names_step(ix, &c, found, 2), 1); /* one, and the one behind it says that there are no more */
	assert_true(c.over);
	names_cursor_close(&c);
	for (unsigned i = 0; i < N; i++)
		names_del(ix, &v[i * 7919 % N].node);
	assert_int_equal(names_count(ix), 0);
	names_free(&ix);
	free(v);
}

/* ---- the table ---- */

static unsigned chain(const struct topic_map *m, uint32_t hash)
{
	unsigned n = 0;

	for (struct topic_link *l = topic_map_first(m, hash); l; l = l->next)
		n += l->hash == hash;
	return n;
}

static void the_table_keeps_up(void **state)
{
	enum { N = 6000 };
	struct topic_link *v = calloc(N, sizeof(*v));
	struct topic_map m = {};

	(void)state;
	assert_non_null(v);
	assert_null(topic_map_first(&m, 7));
	for (unsigned round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < N; i++) {
			v[i].hash = i * UINT32_C(2654435761) >>
				    (round ? 20 : 0); /* the second time many are the same */
			assert_int_equal(topic_map_add(&m, &v[i]), 0);
			assert_true(m.buckets >= m.n);
			assert_true(m.half <= m.buckets && m.buckets <= 2 * m.half);
		}
		for (uint32_t i = 0; i < N; i++)
			assert_true(round ? chain(&m, v[i].hash) >= 1 : chain(&m, v[i].hash) == 1);
		for (uint32_t i = 0; i < N; i++) {
			uint32_t j = i * 4001 % N;

			topic_map_del(&m, &v[j]);
			assert_true(m.buckets <= 512 || m.buckets / 2 <= m.n);
			if (i % 100 == 0 && i + 1 < N)
				assert_true(chain(&m, v[(i + 1) * 4001 % N].hash) >= 1);
		}
		assert_int_equal(m.n, 0);
		assert_int_equal(m.buckets, 512);
	}
	topic_map_done(&m);
	topic_map_done(&m);
	free(v);
}

#ifdef GUICHET_FAULTS
static void without_memory(void **state)
{
	enum { N = 3000 };
	struct owner *v = calloc(N, sizeof(*v));
	struct names *ix;
	struct names_cursor c = {};
	struct name *found[4];

	(void)state;
	assert_non_null(v);
	fault_arm(FAULT_MEM, 1, 0, true);
	assert_null(names_new(&key));
	assert_int_equal(names_cursor_open(&c, span_str("#")), -ENOMEM);
	fault_arm(FAULT_MEM, 0, 0, false);
	ix = new_index();
	for (unsigned long n = 1; n <= 2; n++) {
		fault_arm(FAULT_MEM, n, 0, false);
		assert_int_equal(names_add(ix, &v[0].node, span_str("a")), -ENOMEM);
		assert_int_equal(names_count(ix), 0);
		assert_null(names_find(ix, span_str("a")));
	}
	fault_arm(FAULT_MEM, 0, 0, false);
	snprintf(v[0].text, TEXT, "n0");
	assert_int_equal(names_add(ix, &v[0].node, span_str(v[0].text)), 0);
	fault_arm(FAULT_MEM, 1, 0, true); /* slower, but all of them */
	for (unsigned i = 1; i < N; i++) {
		snprintf(v[i].text, TEXT, "n%u", i);
		assert_int_equal(names_add(ix, &v[i].node, span_str(v[i].text)), 0);
	}
	fault_arm(FAULT_MEM, 0, 0, false);
	for (unsigned i = 0; i < N; i++)
		assert_ptr_equal(names_find(ix, span_str(v[i].text)), &v[i].node);
	assert_int_equal(names_cursor_open(&c, span_str("#")), 0);
	fault_arm(FAULT_MEM, 1, 0, true);
	assert_int_equal(names_step(ix, &c, found, 4), -ENOMEM);
	assert_int_equal(names_step(ix, &c, found, 4), -ENOMEM);
	fault_arm(FAULT_MEM, 0, 0, false);
	assert_int_equal(names_step(ix, &c, found, 4), 4);
	assert_ptr_equal(found[0], &v[0].node); /* it stands where it stood */
	names_cursor_close(&c);
	for (unsigned i = 0; i < N; i++)
		names_del(ix, &v[i].node);
	names_free(&ix);
	free(v);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_and_leaps),   cmocka_unit_test(bytes_may_move),     cmocka_unit_test(random_use),
		cmocka_unit_test(steps_are_bounded), cmocka_unit_test(the_table_keeps_up),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(without_memory),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
