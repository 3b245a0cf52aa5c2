/*
 * fuzz_rules.c - rules against the plain answer. Each line is something to do, its first byte says what:
 *
 *	+ RULE, - RULE   allow, deny             u NAME, c NAME, g NAMES   who asks from now on
 *	n NAME           may he write it?        f FILTER                  what of it?
 *
 * without the space. The plain answer fills in each rule again and goes through all of them.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/rules_priv.h"
#include "store/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NAMES = 64 };

static struct world {
	struct rules *rules;
	struct str_words groups;
	struct span user, client;
	struct span names[NAMES]; /* that were asked for */
	size_t n;
} w;

static void require(bool what)
{
	if (!what)
		abort();
}

static bool is_about(const struct rule *r)
{
	if (r->whom == WHOM_ALL)
		return true;
	if (r->whom == WHOM_ANONYMOUS)
		return w.user.n == 0;
	if (r->whom == WHOM_USER)
		return span_is(w.user, r->who);
	for (size_t i = 0; i < w.groups.n; i++)
		if (strcmp(w.groups.v[i], r->who) == 0)
			return true;
	return false;
}

/* 1 allowed, 0 denied, -1: a rule that denies could have been meant. */
static int plain(struct span name)
{
	for (size_t i = 0; i < w.rules->n; i++) {
		const struct rule *r = &w.rules->v[i];
		BUF_AUTO struct buf filter = BUF_INIT(1 << 18);
		int err = 0;

		if (!is_about(r) || !(r->verbs & RULES_WRITE) || r->store != RULES_TOPICS)
			continue;
		if (r->fills)
			err = topic_fill(span_str(r->pattern), w.user, w.client, &filter);
		else
			buf_adds(&filter, r->filter);
		if (err && !r->allow)
			return -1;
		if (!err && topic_matches(buf_span(&filter), name))
			return r->allow;
	}
	return 0;
}

static struct rules_view *look(void)
{
	struct rules_who who = { .user = w.user, .groups = &w.groups, .client = w.client };
	struct rules_view *v;

	require(rules_view_new(w.rules, &who, &v) == 0);
	return v;
}

static void ask_name(struct span name)
{
	struct rules_view *v;
	int want;

	if (topic_check_name(name, TOPIC_LEVELS_MAX) < 0)
		return;
	v = look();
	want = plain(name);
	require(want < 0 || rules_check(v, RULES_WRITE, RULES_TOPICS, name) == want);
	w.names[w.n++ % NAMES] = name;
	rules_view_free(&v);
}

/* What is said of a filter holds for each name. */
static void ask_filter(struct span filter)
{
	enum rules_share share;
	struct rules_view *v;

	if (topic_check_filter(filter, TOPIC_LEVELS_MAX) < 0)
		return;
	v = look();
	share = rules_check_filter(v, RULES_WRITE, RULES_TOPICS, filter);
	for (size_t i = 0; i < w.n && i < NAMES; i++) {
		bool may = rules_check(v, RULES_WRITE, RULES_TOPICS, w.names[i]);

		if (topic_matches(filter, w.names[i]))
			require(may ? share != RULES_NONE : share != RULES_ALL);
	}
	rules_view_free(&v);
}

static void add_rule(bool allow, struct span line)
{
	BUF_AUTO struct buf why = BUF_INIT(4096), text = BUF_INIT(1 << 18);

	if (memchr(line.p, '\0', line.n))
		return;
	buf_add(&text, line.p, line.n);
	require((rules_add(w.rules, allow, buf_str(&text), &why) < 0) == (why.n > 0));
}

static void set_groups(struct span line)
{
	BUF_AUTO struct buf text = BUF_INIT(1 << 18);
	struct str_words groups;

	buf_add(&text, line.p, line.n);
	if (str_split_words(buf_str(&text), 10, &groups) < 0)
		return;
	str_words_done(&w.groups);
	w.groups = groups;
}

static void act(uint8_t what, struct span rest)
{
	switch (what) {
	case '+':
	case '-':
		add_rule(what == '+', rest);
		break;
	case 'u':
		w.user = rest;
		break;
	case 'c':
		w.client = rest;
		break;
	case 'g':
		set_groups(rest);
		break;
	case 'n':
		ask_name(rest);
		break;
	case 'f':
		ask_filter(rest);
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	require(rules_new(&w.rules) == 0);
	while (size > 0) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t n = end ? (size_t)(end - data) : size;

		if (n > 1)
			act(data[0], (struct span){ data + 1, n - 1 });
		data += n + (end != NULL);
		size -= n + (end != NULL);
	}
	str_words_done(&w.groups);
	rules_unref(w.rules);
	w = (struct world){};
	return 0;
}
