/*
 * fuzz_topics.c - topics against the plain answer. Each line is something to do, its first byte says what:
 *
 *	s FILTER   subscribe                         n NAME    put a name in
 *	u FILTER   the last one that did, not more   r NAME    take it out
 *	p NAME     which filters match?              q FILTER  which names match? begins to ask
 *	g TEXT     $share/GROUP/FILTER               , TEXT    goes on, looking at as many names as TEXT has bytes
 *	f PATTERN  for a user named as the last name and a client as the last text that was no name
 *	! TEXT     in the next line the allocation fails that TEXT has bytes
 *
 * without the space. What is no filter or no name must be refused, and changes nothing.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "store/filters.h"
#include "store/names.h"
#include "store/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MANY = 64 };

struct sub {
	struct filter_sub in;
	struct span text;
};

struct owner {
	struct name node;
	struct span text; /* p NULL: not in */
	bool all_along, given;
};

static const struct topic_key key = { { 5, 6 } };

static struct world {
	struct filters *filters;
	struct names *names;
	struct filters_found found;
	struct names_cursor cursor;
	struct span asked; /* of the cursor */
	struct sub subs[MANY];
	struct owner owners[MANY];
	struct span last_name, last_other;
	unsigned long fails; /* which allocation of this line, 0 = none */
} w;

static void require(bool what)
{
	if (!what)
		abort();
}

static bool is_same(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* 0 as it should be, or -ENOMEM when that was asked for. */
static bool went_well(int r)
{
	require(r == 0 || w.fails);
	return r == 0;
}

/* ---- subscriptions ---- */

static void subscribe(struct span text)
{
	int valid = topic_check_filter(text, TOPIC_LEVELS_MAX);
	uint64_t before = filters_generation(w.filters);

	for (int i = 0; i < MANY; i++) {
		struct sub *s = &w.subs[i];
		int r;

		if (s->in.filter)
			continue;
		r = filters_add(w.filters, text, &s->in);
		s->text = text;
		if (valid < 0)
			require(r == valid && !s->in.filter);
		else if (went_well(r))
			require(is_same(filter_text(s->in.filter), text));
		require((r == 0) == (filters_generation(w.filters) != before));
		return;
	}
}

static void unsubscribe(struct span text)
{
	for (int i = MANY - 1; i >= 0; i--)
		if (w.subs[i].in.filter && is_same(w.subs[i].text, text)) {
			require(filters_find(w.filters, text) == w.subs[i].in.filter);
			filters_del(w.filters, &w.subs[i].in);
			return;
		}
	if (topic_check_filter(text, TOPIC_LEVELS_MAX) == 0)
		require(!filters_find(w.filters, text));
}

static void publish(struct span name)
{
	struct filters_count c = filters_count(w.filters);
	uint32_t want = 0, have = 0;

	if (topic_check_name(name, 1000) < 0)
		return;
	if (!went_well(filters_match(w.filters, name, &w.found))) {
		require(w.found.n == 0);
		return;
	}
	require(w.found.visited <= 1 + c.nodes + c.wild);
	for (uint32_t i = 0; i < w.found.n; i++)
		have += w.found.v[i]->n_subs;
	for (int i = 0; i < MANY; i++)
		want += w.subs[i].in.filter && topic_matches(w.subs[i].text, name);
	require(want == have);
}

/* Filters among themselves, as far as the names there are can tell. */
static void compare(const struct sub *a, const struct sub *b)
{
	bool covers = topic_covers(a->text, b->text), overlap = topic_overlap(a->text, b->text);

	require(overlap == topic_overlap(b->text, a->text));
	for (int i = 0; i < MANY; i++) {
		struct span name = w.owners[i].text;
		bool in_a = name.p && topic_matches(a->text, name), in_b = name.p && topic_matches(b->text, name);

		require(!in_b || in_a || !covers);
		require(!in_a || !in_b || overlap);
	}
}

/* ---- names ---- */

static struct owner *owner_of(struct span name)
{
	for (int i = 0; i < MANY; i++)
		if (w.owners[i].text.p && is_same(w.owners[i].text, name))
			return &w.owners[i];
	return NULL;
}

static void put_in(struct span name)
{
	struct owner *known = owner_of(name);

	if (topic_check_name(name, 1000) < 0)
		return;
	w.last_name = name;
	for (int i = 0; i < MANY; i++) {
		struct owner *o = &w.owners[i];

		if (o->text.p)
			continue;
		*o = (struct owner){};
		if (known)
			require(names_add(w.names, &o->node, name) < 0);
		else if (went_well(names_add(w.names, &o->node, name)))
			o->text = name;
		return;
	}
}

static void take_out(struct span name)
{
	struct owner *o = owner_of(name);

	require(names_find(w.names, name) == (o ? &o->node : NULL));
	if (!o)
		return;
	names_del(w.names, &o->node);
	o->text.p = NULL;
}

static void ask(struct span filter)
{
	if (topic_check_filter(filter, TOPIC_LEVELS_MAX) < 0)
		return;
	names_cursor_close(&w.cursor);
	if (!went_well(names_cursor_open(&w.cursor, filter)))
		return;
	w.asked = filter;
	for (int i = 0; i < MANY; i++) {
		w.owners[i].all_along = w.owners[i].text.p;
		w.owners[i].given = false;
	}
}

static void go_on(uint32_t max)
{
	struct name *found[MANY];
	bool over = w.cursor.over;
	int n = names_step(w.names, &w.cursor, found, max < MANY ? max : MANY);

	if (n < 0 || over || !w.cursor.bytes) { /* closed ones are over */
		require(n >= 0 ? n == 0 : w.fails > 0);
		return;
	}
	for (int i = 0; i < n; i++) {
		struct owner *o = (struct owner *)found[i];

		require(o->text.p && !o->given && topic_matches(w.asked, o->text));
		o->given = true;
	}
	for (int i = 0; i < MANY && w.cursor.over; i++)
		if (w.owners[i].text.p && w.owners[i].all_along && !w.owners[i].given)
			require(!topic_matches(w.asked, w.owners[i].text));
}

/* ---- rules ---- */

static void split(struct span text)
{
	struct span group, filter;

	if (topic_split_share(text, &group, &filter) < 0) {
		require(span_starts(text, "$share/"));
		return;
	}
	require(group.n ? filter.p == group.p + group.n + 1 : is_same(filter, text));
	require(filter.p + filter.n == text.p + text.n);
}

static size_t count(struct span text, uint8_t c)
{
	size_t n = 0;

	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == c;
	return n;
}

/* Whoever asks, a rule has the levels and the wildcards that it was written with. */
static void fill(struct span pattern)
{
	BUF_AUTO struct buf out = BUF_INIT(1 << 16);
	struct span got;

	if (topic_check_filter(pattern, 1000) < 0 || topic_fill(pattern, w.last_name, w.last_other, &out) < 0)
		return;
	got = buf_span(&out);
	require(topic_check_filter(got, 1000) == 0);
	require(count(got, '/') == count(pattern, '/'));
	require(count(got, '+') == count(pattern, '+') && count(got, '#') == count(pattern, '#'));
	require((got.p[0] == '$') == (pattern.p[0] == '$'));
}

/* ---- lines ---- */

static void act(uint8_t what, struct span text)
{
	switch (what) {
	case 's':
		subscribe(text);
		break;
	case 'u':
		unsubscribe(text);
		break;
	case 'p':
		publish(text);
		break;
	case 'n':
		put_in(text);
		break;
	case 'r':
		take_out(text);
		break;
	case 'q':
		ask(text);
		break;
	case ',':
		go_on((uint32_t)text.n);
		break;
	case 'g':
		split(text);
		break;
	case 'f':
		fill(text);
		break;
	}
	if (topic_check_name(text, 1000) < 0)
		w.last_other = text;
}

static void line(struct span text)
{
	uint8_t what = text.p[0];
	struct span rest = { text.p + 1, text.n - 1 };

	if (what == '!') {
		w.fails = rest.n;
		return;
	}
	fault_arm(FAULT_MEM, w.fails, 0, w.fails % 2);
	act(what, rest);
	fault_arm(FAULT_MEM, 0, 0, false);
	w.fails = 0;
}

static void finish(void)
{
	struct filters_count c;

	for (int i = 0; i < MANY; i++)
		for (int j = 0; j < MANY; j++)
			if (w.subs[i].in.filter && w.subs[j].in.filter)
				compare(&w.subs[i], &w.subs[j]);
	for (int i = 0; i < MANY; i++) {
		filters_del(w.filters, &w.subs[i].in);
		if (w.owners[i].text.p)
			names_del(w.names, &w.owners[i].node);
	}
	c = filters_count(w.filters);
	require(c.subs == 0 && c.exact == 0 && c.wild == 0 && c.nodes == 0 && names_count(w.names) == 0);
	filters_free(&w.filters);
	names_free(&w.names);
	filters_found_done(&w.found);
	names_cursor_close(&w.cursor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	memset(&w, 0, sizeof(w));
	w.filters = filters_new(&key);
	w.names = names_new(&key);
	require(w.filters && w.names);
	while (size) {
		const uint8_t *lf = memchr(data, '\n', size);
		size_t n = lf ? (size_t)(lf - data) : size;

		if (n)
			line((struct span){ data, n });
		data += n + (lf != NULL);
		size -= n + (lf != NULL);
	}
	finish();
	return 0;
}
