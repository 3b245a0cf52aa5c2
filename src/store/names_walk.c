/*
 * names_walk.c - the names that a filter matches, a step at a time. A name either matches, and the next one is looked
 * at; or it tells the nearest name that could, and the walk leaps there.
 */
#include <errno.h>

#include "base/mem.h"
#include "store/names_priv.h"
#include "store/topic.h"

/* A filter, taken apart. */
struct plan {
	struct span filter;
	uint32_t levels;
	uint32_t start[TOPIC_LEVELS_MAX + 1]; /* of each; filter.n + 1 for the one behind the last */
};

enum judgement { MATCHES, LEAP, NO_MORE };

static void plan_start(struct plan *p, struct span filter)
{
	p->filter = filter;
	p->levels = 0;
	p->start[p->levels++] = 0;
	for (uint32_t i = 0; i < filter.n; i++)
		if (filter.p[i] == '/')
			p->start[p->levels++] = i + 1;
	p->start[p->levels] = (uint32_t)filter.n + 1;
}

static struct span plan_level(const struct plan *p, uint32_t i)
{
	return (struct span){ p->filter.p + p->start[i], p->start[i + 1] - p->start[i] - 1 };
}

/* The levels from i on up to a wildcard: that much of a matching name is known. With the `/` before it if `slash`. */
static struct span plain_run(const struct plan *p, uint32_t i, bool slash)
{
	uint32_t from = p->start[i], to = from;

	while (i < p->levels && !span_is(plan_level(p, i), "+") && !span_is(plan_level(p, i), "#"))
		to = p->start[++i] - 1;
	return (struct span){ p->filter.p + from - slash, to - from + slash };
}

/* Nothing below this part of the name, itself included, matches any more: behind it, no byte being before 1 but `/`. */
static struct names_mark behind(struct span part)
{
	static const uint8_t first = 1;

	return (struct names_mark){ part, { &first, 1 } };
}

static enum judgement judge(const struct plan *p, struct span name, struct names_mark *ret_leap)
{
	struct span turn = {}; /* the name up to its last level that may be another one */
	size_t at = 0;         /* where its level i begins; name.n + 1: it has none */

	for (uint32_t i = 0; i < p->levels; i++) {
		struct span want = plan_level(p, i), have = { name.p + at, 0 };
		int r;

		if (span_is(want, "#"))
			return MATCHES;
		if (at > name.n) { /* below it perhaps */
			*ret_leap = (struct names_mark){ name, plain_run(p, i, true) };
			return LEAP;
		}
		while (at + have.n < name.n && have.p[have.n] != '/')
			have.n++;
		if (span_is(want, "+")) {
			turn = (struct span){ name.p, at + have.n };
			at += have.n + 1;
			continue;
		}
		r = names_order(have, want);
		if (r < 0) {
			*ret_leap = (struct names_mark){ { name.p, at }, plain_run(p, i, false) };
			return LEAP;
		}
		if (r > 0)
			goto past;
		at += have.n + 1;
	}
	if (at > name.n)
		return MATCHES;
past:
	*ret_leap = behind(turn);
	return turn.p ? LEAP : NO_MORE;
}

/* ---- the cursor ---- */

int names_cursor_open(struct names_cursor *c, struct span filter)
{
	uint8_t *bytes = mem_alloc(filter.n);

	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, filter.p, filter.n);
	*c = (struct names_cursor){ .bytes = bytes, .filter_n = (uint32_t)filter.n, .cap = (uint32_t)filter.n };
	return 0;
}

void names_cursor_close(struct names_cursor *c)
{
	mem_free(c->bytes);
	*c = (struct names_cursor){ .over = true };
}

struct span names_cursor_at(const struct names_cursor *c)
{
	return (struct span){ c->at_n ? c->bytes + c->filter_n : NULL, c->at_n };
}

int names_cursor_go(struct names_cursor *c, struct span name)
{
	uint32_t need = c->filter_n + (uint32_t)name.n;

	if (need > c->cap) {
		uint32_t cap = need + need / 4;
		uint8_t *bytes = mem_realloc(c->bytes, cap);

		if (!bytes)
			return -ENOMEM;
		c->bytes = bytes;
		c->cap = cap;
	}
	if (name.n)
		memcpy(c->bytes + c->filter_n, name.p, name.n);
	c->at_n = (uint32_t)name.n;
	return 0;
}

/* The first name to look at: where the last step ended, or the least that can match. */
static struct name *first(const struct names *ix, const struct names_cursor *c, const struct plan *p)
{
	struct names_mark mark = { { c->bytes + c->filter_n, c->at_n }, {} };

	if (c->at_n == 0)
		mark.base = plain_run(p, 0, false);
	return names_seek(ix, &mark);
}

/* Where to go from a name that begins with `$` when the filter begins with a wildcard: behind all of those. */
static enum judgement judge_all(const struct plan *p, struct span name, struct names_mark *ret_leap)
{
	if (name.p[0] != '$' || (p->filter.p[0] != '+' && p->filter.p[0] != '#'))
		return judge(p, name, ret_leap);
	*ret_leap = (struct names_mark){ span_str("%"), {} }; /* the byte that follows */
	return LEAP;
}

int names_step(const struct names *ix, struct names_cursor *c, struct name **ret_found, uint32_t max)
{
	struct plan plan; /* not `= {}`: most of it stays unused */
	struct names_mark leap;
	struct name *node;
	bool wild;
	int n = 0;

	c->over |= !c->bytes; /* never opened */
	if (c->over)
		return 0;
	plan_start(&plan, (struct span){ c->bytes, c->filter_n });
	node = first(ix, c, &plan);
	wild = plan.filter.p[0] == '+' || plan.filter.p[0] == '#';
	for (uint32_t seen = 0; node && seen < max; seen++) {
		enum judgement j = judge_all(&plan, name_text(node), &leap);

		if (j == MATCHES && !(wild && topic_is_own(name_text(node))))
			ret_found[n++] = node;
		if (j == NO_MORE)
			node = NULL;
		else
			node = j == MATCHES ? names_next(node) : names_seek(ix, &leap);
	}
	if (node && names_cursor_go(c, name_text(node)) < 0)
		return -ENOMEM;
	c->over = !node;
	return n;
}
