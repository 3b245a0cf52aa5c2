/*
 * topic.c - see topic.h. Every walk goes once from left to right, a level at a time, and keeps nothing.
 */
#include "store/topic.h"

#include <errno.h>

static bool is_wild(uint8_t c)
{
	return c == '+' || c == '#';
}

/* ---- rules ---- */

static int check_size(struct span text, unsigned levels)
{
	unsigned n = 1;

	if (text.n == 0 || memchr(text.p, '\0', text.n))
		return -EINVAL;
	if (text.n > TOPIC_BYTES)
		return -E2BIG;
	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == '/';
	return n > levels ? -E2BIG : 0;
}

int topic_check_name(struct span name, unsigned levels)
{
	for (size_t i = 0; i < name.n; i++)
		if (is_wild(name.p[i]))
			return -EINVAL;
	return check_size(name, levels);
}

int topic_check_filter(struct span filter, unsigned levels)
{
	for (size_t i = 0; i < filter.n; i++) {
		bool first = i == 0 || filter.p[i - 1] == '/';
		bool last = i + 1 == filter.n;

		if (!is_wild(filter.p[i]))
			continue;
		if (!first || !(last || (filter.p[i] == '+' && filter.p[i + 1] == '/')))
			return -EINVAL;
	}
	return check_size(filter, levels);
}

bool topic_is_exact(struct span filter)
{
	for (size_t i = 0; i < filter.n; i++)
		if (is_wild(filter.p[i]))
			return false;
	return true;
}

int topic_split_share(struct span text, struct span *ret_group, struct span *ret_filter)
{
	struct span group = {}, filter = text;

	if (span_starts(text, "$share/")) {
		const uint8_t *p = text.p + strlen("$share/"), *end = text.p + text.n;
		const uint8_t *slash = memchr(p, '/', (size_t)(end - p));

		if (!slash)
			return -EINVAL;
		group = (struct span){ p, (size_t)(slash - p) };
		filter = (struct span){ slash + 1, (size_t)(end - slash) - 1 };
		if (group.n == 0 || !topic_is_exact(group))
			return -EINVAL;
	}
	*ret_group = group;
	*ret_filter = filter;
	return 0;
}

/* ---- a filter and a name ---- */

bool topic_rest_matches(struct span filter, struct span name)
{
	const uint8_t *f = filter.p, *f_end = f + filter.n;
	const uint8_t *n = name.p, *n_end = n + name.n;

	for (;; f++, n++) { /* both at the start of a level; this steps over the `/` behind it */
		if (f < f_end && *f == '#')
			return true;
		if (f < f_end && *f == '+')
			for (f++; n < n_end && *n != '/';)
				n++;
		else
			while (f < f_end && n < n_end && *f == *n && *f != '/')
				f++, n++;
		if (n == n_end) /* `a/#` matches its parent `a` too */
			return f == f_end || (f_end - f == 2 && f[0] == '/' && f[1] == '#');
		if (f == f_end || *f != '/' || *n != '/')
			return false;
	}
}

bool topic_is_own(struct span text)
{
	return span_starts(text, "guichet") && (text.n == strlen("guichet") || text.p[strlen("guichet")] == '/');
}

/* Names that begin with `$` are reached only by filters that say so, and so are the server's own. */
static bool is_hidden(struct span filter, struct span text)
{
	return filter.n && is_wild(filter.p[0]) && text.n && (text.p[0] == '$' || topic_is_own(text));
}

bool topic_matches(struct span filter, struct span name)
{
	return !is_hidden(filter, name) && topic_rest_matches(filter, name);
}

/* ---- a filter and a filter ---- */

/* A text, level by level. */
struct walk {
	const uint8_t *p, *end; /* p: NULL when there is no level any more */
	struct span level;      /* {NULL, 0} then */
};

static void next_level(struct walk *w)
{
	const uint8_t *slash = w->p ? memchr(w->p, '/', (size_t)(w->end - w->p)) : NULL;
	const uint8_t *stop = slash ? slash : w->end;

	w->level = (struct span){ w->p, w->p ? (size_t)(stop - w->p) : 0 };
	w->p = slash ? slash + 1 : NULL;
}

static struct walk start(struct span text)
{
	struct walk w = { text.p, text.p + text.n, {} };

	next_level(&w);
	return w;
}

/* `a/#` matches its parent, but the parent of these two would be no level, and an empty name: both are not. */
static struct span in_full(struct span filter)
{
	if (span_is(filter, "#"))
		return span_str("+/#");
	return span_is(filter, "/#") ? span_str("/+/#") : filter;
}

bool topic_covers(struct span wide, struct span narrow)
{
	struct walk w = start(wide), n = start(in_full(narrow));

	if (is_hidden(wide, narrow))
		return false;
	for (;; next_level(&w), next_level(&n)) {
		if (span_is(w.level, "#"))
			return true;
		if (!w.level.p || !n.level.p)
			return w.level.p == n.level.p;
		if (span_is(n.level, "#"))
			return false;
		if (!span_is(w.level, "+") && !span_same(w.level, n.level))
			return false;
	}
}

bool topic_overlap(struct span a, struct span b)
{
	struct walk v = start(in_full(a)), w = start(in_full(b));

	if (is_hidden(a, b) || is_hidden(b, a))
		return false;
	for (;; next_level(&v), next_level(&w)) {
		if (span_is(v.level, "#") || span_is(w.level, "#"))
			return true;
		if (!v.level.p || !w.level.p)
			return v.level.p == w.level.p;
		if (!span_is(v.level, "+") && !span_is(w.level, "+") && !span_same(v.level, w.level))
			return false;
	}
}

/* ---- patterns ---- */

static bool may_stand_for(struct span id, bool at_start)
{
	if (id.n == 0 || memchr(id.p, '/', id.n) || memchr(id.p, '\0', id.n))
		return false;
	return topic_is_exact(id) && !(at_start && id.p[0] == '$');
}

int topic_fill(struct span pattern, struct span user, struct span client, struct buf *out)
{
	buf_reset(out);
	for (size_t i = 0; i < pattern.n; i++) {
		uint8_t c = pattern.p[i], what = c == '%' && i + 1 < pattern.n ? pattern.p[i + 1] : 0;
		struct span id = what == 'u' ? user : client;

		i += what == 'u' || what == 'c' || what == '%';
		if (what != 'u' && what != 'c')
			buf_addc(out, (char)c);
		else if (may_stand_for(id, i == 1))
			buf_add(out, id.p, id.n);
		else
			return -ENOENT;
	}
	if (out->err == 0 && topic_is_own(buf_span(out)) && !topic_is_own(pattern)) /* somebody called guichet */
		return -ENOENT;
	return out->err;
}
