/*
 * match.c - what the indexes of topics cost (src/store): nanoseconds for a match or a step, heap bytes for an entry.
 * It serves nothing and compares with nobody; `build/bench/match [ROUNDS]` prints a table. Times are the best of the
 * rounds.
 */
#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/filters.h"
#include "store/names.h"
#include "store/topic.h"

enum { TEXT = 192, NAMES = 1024, MILLION = 1000000 };

static const struct topic_key key = { { UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908) } };
static unsigned rounds = 5;

/* Of processor time: others have work to do on this machine too. */
static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* What looking at the clock costs: as much as what is timed one by one. */
static double clock_cost(void)
{
	double t = now();

	for (int i = 0; i < 100000; i++)
		(void)now();
	return (now() - t) / 100000;
}

static size_t heap(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static void must(int r)
{
	if (r < 0) {
		fprintf(stderr, "match: %s\n", strerror(-r));
		exit(1);
	}
}

static struct span text(char *to, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static struct span text(char *to, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(to, TEXT, fmt, ap);
	va_end(ap);
	return span_str(to);
}

/* ---- which filters match a name ---- */

/* A filter that is the xth of its kind, and a name that it matches. */
typedef struct span make(char *to, unsigned x, bool name);

static struct span exact(char *to, unsigned x, bool name)
{
	(void)name;
	return text(to, "site/%u/room/%u/temperature", x % 100, x);
}

static struct span middle(char *to, unsigned x, bool name)
{
	return text(to, name ? "a/b/x%u" : "a/+/x%u", x);
}

static struct span late(char *to, unsigned x, bool name)
{
	return text(to, name ? "c/d/x%u" : "+/+/x%u", x);
}

static struct span deep(char *to, unsigned x, bool name)
{
	return text(to, "site/%u/floor/%s/room/%u/sensor/%s/value/raw/%s", x % 100, name ? "3" : "+", x,
		    name ? "t1" : "+", name ? "v" : "#");
}

static struct span mixed(char *to, unsigned x, bool name)
{
	make *const kinds[] = { middle, late, deep };

	return kinds[x % 3](to, x, name);
}

static struct span tree(char *to, unsigned x, bool name)
{
	return text(to, name ? "dev/%u/state/on" : "dev/%u/#", x);
}

/* As `late` and `deep`, but what is published has no subscriber. */
static struct span nobody(char *to, unsigned x, bool name)
{
	return name ? text(to, "c/d/y%u", x) : mixed(to, x, false);
}

static double match_all(struct filters *ix, const struct span *names, unsigned n, struct filters_found *found)
{
	unsigned passes = 200000 / n + 1;
	double best = 1e18;

	for (unsigned r = 0; r < rounds; r++) {
		double t = now();

		for (unsigned p = 0; p < passes; p++)
			for (unsigned i = 0; i < n; i++)
				must(filters_match(ix, names[i], found));
		t = (now() - t) / ((double)passes * n);
		best = t < best ? t : best;
	}
	return best;
}

static void filters_row(const char *what, make *kind, unsigned n)
{
	static char texts[NAMES][TEXT];
	struct span names[NAMES];
	char filter[TEXT];
	struct filter_sub *subs = calloc(n, sizeof(*subs));
	struct filters *ix = filters_new(&key);
	struct filters_found found = {};
	size_t bytes = heap(), texts_n = 0;
	double slowest = 0, all = now(), one, many;

	for (unsigned i = 0; i < n; i++) {
		struct span f = kind(filter, i, false);
		double t = now();

		texts_n += f.n;
		must(filters_add(ix, f, &subs[i]));
		t = now() - t;
		slowest = t > slowest ? t : slowest;
	}
	all = (now() - all) / n - 2 * clock_cost();
	bytes = heap() - bytes;
	for (unsigned i = 0; i < NAMES; i++)
		names[i] = kind(texts[i], (unsigned)(i * UINT64_C(2654435761) % n), true);
	one = match_all(ix, names, 1, &found);
	many = match_all(ix, names, NAMES, &found);
	printf("%-22s %8u %9.0f %11.0f %9u %8u %7.0f %9.0f %10.0f\n", what, n, one, many, found.n, found.visited,
	       (double)(bytes - texts_n) / n, all, slowest / 1000);
	for (unsigned i = 0; i < n; i++)
		filters_del(ix, &subs[i]);
	filters_free(&ix);
	filters_found_done(&found);
	free(subs);
}

static void plain_rows(void)
{
	static const unsigned sizes[] = { 100, 100000, MILLION };

	printf("%-22s %8s %9s %11s %9s %8s %7s %9s %10s\n", "filters", "many", "ns, 1 name", "1,024 names", "found",
	       "visited", "bytes", "ns to add", "slowest us");
	for (unsigned i = 0; i < 3; i++) {
		filters_row("exact", exact, sizes[i]);
		filters_row("a/+/X", middle, sizes[i]);
		filters_row("+/+/X", late, sizes[i]);
		filters_row("9 levels, 2 + and #", deep, sizes[i]);
		filters_row("the three together", mixed, sizes[i]);
		filters_row("the same, no match", nobody, sizes[i]);
		filters_row("dev/X/#", tree, sizes[i]);
	}
}

/* All combinations of `a` and `+` in the first levels: a walk has two ways everywhere, and in the end none matches. */
static struct span combined(char *to, unsigned x, unsigned levels, const char *last)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 63; i++) {
		to[n++] = i < levels && x >> i & 1 ? '+' : 'a';
		to[n++] = '/';
	}
	to[n] = '\0';
	return text(to + n, "%s", last).n ? span_str(to) : (struct span){};
}

static void worst_row(unsigned levels)
{
	unsigned n = 1u << levels;
	struct filter_sub *subs = calloc(n, sizeof(*subs));
	struct filters *ix = filters_new(&key);
	struct filters_found found = {};
	char one[TEXT];
	size_t bytes = heap();
	double t;

	for (unsigned i = 0; i < n; i++)
		must(filters_add(ix, combined(one, i, levels, "z"), &subs[i]));
	bytes = heap() - bytes;
	t = now();
	must(filters_match(ix, combined(one, 0, levels, "y"), &found));
	t = now() - t;
	printf("64 levels, every way of %2u: %7u filters, %7u nodes, %8u visited, %10.0f ns, %u bytes a filter\n",
	       levels, n, filters_count(ix).nodes, found.visited, t, (unsigned)(bytes / n));
	for (unsigned i = 0; i < n; i++)
		filters_del(ix, &subs[i]);
	filters_free(&ix);
	filters_found_done(&found);
	free(subs);
}

/* ---- which names match a filter ---- */

struct owner {
	struct name node;
	char text[40];
};

static void walk_row(const struct names *ix, const char *filter, uint32_t step)
{
	struct name **found = calloc(step, sizeof(struct name *));
	struct names_cursor c = {};
	double all = 0, slowest = 0;
	unsigned steps = 0, n = 0;

	must(names_cursor_open(&c, span_str(filter)));
	for (; !c.over; steps++) {
		double t = now();
		int r = names_step(ix, &c, found, step);

		must(r);
		n += (unsigned)r;
		t = now() - t;
		all += t;
		slowest = t > slowest ? t : slowest;
	}
	printf("%-22s %8u found in %5u steps of %4u, %7.0f us in all, %6.0f us the slowest step\n", filter, n, steps,
	       step, all / 1000, slowest / 1000);
	names_cursor_close(&c);
	free(found);
}

static double find_all(const struct names *ix, struct owner *v)
{
	double t = now();

	for (unsigned i = 0; i < MILLION; i++)
		if (!names_find(ix, span_str(v[(uint64_t)i * 7919 % MILLION].text)))
			must(-1);
	return (now() - t) / MILLION;
}

/* Takes all out, in no order, and puts them in again in theirs, as a store that is opened does. */
static void again_row(struct names *ix, struct owner *v)
{
	struct name **sorted = calloc(MILLION, sizeof(struct name *));
	struct names_cursor c = {};
	double t;

	must(names_cursor_open(&c, span_str("#")));
	must(names_step(ix, &c, sorted, MILLION));
	names_cursor_close(&c);
	t = now();
	for (unsigned i = 0; i < MILLION; i++)
		names_del(ix, &v[(uint64_t)i * 104729 % MILLION].node);
	printf("take out %.0f ns", (now() - t) / MILLION);
	t = now();
	for (unsigned i = 0; i < MILLION; i++)
		must(names_add(ix, sorted[i], span_str(((struct owner *)sorted[i])->text)));
	printf("; add in order %.0f ns\n", (now() - t) / MILLION);
	free(sorted);
}

static void names_rows(void)
{
	struct owner *v = calloc(MILLION, sizeof(*v));
	struct names *ix = names_new(&key);
	double slowest = 0, all = 0;
	size_t bytes;

	for (unsigned i = 0; i < MILLION; i++)
		snprintf(v[i].text, sizeof(v[i].text), "site/%u/room/%u/%s", i % 1000, i / 3,
			 (const char *[]){ "temperature", "humidity", "light" }[i % 3]);
	bytes = heap();
	for (unsigned i = 0; i < MILLION; i++) {
		struct owner *o = &v[(uint64_t)i * 7919 % MILLION];
		double t = now();

		must(names_add(ix, &o->node, span_str(o->text)));
		t = now() - t;
		all += t;
		slowest = t > slowest ? t : slowest;
	}
	printf("\nnames: %zu, %zu bytes each and %.1f of table; add %.0f ns, slowest %.0f us; find %.0f ns\n",
	       names_count(ix), sizeof(struct name), (double)(heap() - bytes) / MILLION, all / MILLION - clock_cost(),
	       slowest / 1000, find_all(ix, v));
	walk_row(ix, "#", 100);
	walk_row(ix, "#", 1000);
	walk_row(ix, "site/7/#", 1000);
	walk_row(ix, "site/+/room/70/+", 1000);
	walk_row(ix, "+/+/+/+/light", 1000);
	walk_row(ix, "site/7/room/2/light", 1000);
	walk_row(ix, "site/+/+/+/none", 1000);
	again_row(ix, v);
	names_free(&ix);
	free(v);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		rounds = (unsigned)strtoul(argv[1], NULL, 10);
	plain_rows();
	printf("\n");
	for (unsigned levels = 4; levels <= 16; levels += 4)
		worst_row(levels);
	names_rows();
	return 0;
}
