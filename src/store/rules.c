/* rules.c - the list of rules, and a line of it. See rules.h. */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "store/people.h"
#include "store/rules_priv.h"
#include "store/topic.h"

enum { WORD_MAX = 2 * RULES_PATTERN_MAX };

const char *const rules_stores[] = {
	[RULES_TOPICS] = "topics", [RULES_FILES] = "files",   [RULES_MAIL] = "mail",
	[RULES_POLLS] = "polls",   [RULES_COORD] = "coord",   [RULES_PEOPLE] = "people",
	[RULES_STATS] = "stats",   [RULES_EVENTS] = "events", [RULES_STORES] = NULL,
};

static const struct {
	const char *name;
	uint8_t verbs;
} verbs[] = {
	{ "read", RULES_READ },   { "write", RULES_WRITE }, { "list", RULES_LIST },
	{ "admin", RULES_ADMIN }, { "*", RULES_ALL_VERBS },
};

/* ---- the list ---- */

int rules_new(struct rules **ret)
{
	struct rules *r = mem_zalloc(sizeof(*r));

	if (!r)
		return -ENOMEM;
	atomic_init(&r->refs, 1);
	*ret = r;
	return 0;
}

struct rules *rules_ref(struct rules *r)
{
	if (r)
		atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

static void rule_done(struct rule *r)
{
	mem_free(r->who);
	mem_free(r->pattern);
	mem_free(r->filter);
}

void rules_unref(struct rules *r)
{
	if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < r->n; i++)
		rule_done(&r->v[i]);
	mem_free(r->v);
	mem_free(r);
}

size_t rules_count(const struct rules *r)
{
	return r ? r->n : 0;
}

bool rules_mention(const struct rules *r, enum rules_store store)
{
	for (size_t i = 0; i < rules_count(r); i++)
		if (r->v[i].store == store)
			return true;
	return false;
}

static bool is_vain(const struct rule *r)
{
	const char *pattern = r->fills ? r->pattern : r->filter;

	return r->allow && r->store == RULES_TOPICS && r->verbs == RULES_WRITE && topic_is_own(span_str(pattern));
}

struct rules_about rules_about(const struct rules *r, size_t i)
{
	const struct rule *rule = &r->v[i];

	return (struct rules_about){
		.store = rule->store,
		.vain = is_vain(rule),
		.user = rule->whom == WHOM_USER ? rule->who : NULL,
		.group = rule->whom == WHOM_GROUP ? rule->who : NULL,
	};
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_rule(const struct rule *a, const struct rule *b)
{
	return a->allow == b->allow && a->verbs == b->verbs && a->whom == b->whom && a->store == b->store &&
	       same_text(a->who, b->who) && same_text(a->pattern, b->pattern) && same_text(a->filter, b->filter);
}

bool rules_same(const struct rules *a, const struct rules *b)
{
	if (!a || !b || a->n != b->n)
		return a == b;
	for (size_t i = 0; i < a->n; i++)
		if (!same_rule(&a->v[i], &b->v[i]))
			return false;
	return true;
}

/* ---- the words of a line ---- */

static int unknown(struct buf *why, struct span word, const char *what, const char *best)
{
	buf_add_excerpt(why, word);
	buf_adds(why, what);
	str_add_hint(why, best);
	return -EINVAL;
}

static int take_whom(struct rule *to, const struct buf *word, struct buf *why)
{
	struct span s = buf_span(word);
	int r;

	if (span_is(s, "*") || span_is(s, "anonymous")) {
		to->whom = span_is(s, "*") ? WHOM_ALL : WHOM_ANONYMOUS;
		return 0;
	}
	if (span_is(s, "%u") || span_is(s, "%c"))
		return unknown(why, s, " can stand in the pattern only; * is everybody, as in: * read topics:home/%u/#",
			       NULL);
	to->whom = s.n && s.p[0] == '@' ? WHOM_GROUP : WHOM_USER;
	if (to->whom == WHOM_GROUP) {
		s.p++;
		s.n--;
	}
	r = people_check_name(s, why);
	if (r < 0)
		return r;
	to->who = mem_strdup((const char *)s.p);
	return to->who ? 0 : -ENOMEM;
}

static int take_verb(struct rule *to, const struct buf *word, struct buf *why)
{
	struct str_closest c = str_closest_start(buf_str(word));

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		str_closest_offer(&c, verbs[i].name);
		if (strcmp(buf_str(word), verbs[i].name) == 0) {
			to->verbs = verbs[i].verbs;
			return 0;
		}
	}
	return unknown(why, buf_span(word), " is none of read, write, list, admin and *", c.best);
}

static int take_store(struct rule *to, struct span name, struct buf *why)
{
	char text[16];
	struct buf b;
	struct str_closest c;

	buf_init_fixed(&b, text, sizeof(text));
	buf_add(&b, name.p, name.n);
	c = str_closest_start(text);
	for (enum rules_store i = 0; i < RULES_STORES; i++) {
		str_closest_offer(&c, rules_stores[i]);
		if (span_is(name, rules_stores[i])) {
			to->store = i;
			return 0;
		}
	}
	return unknown(why, name, " is no store", c.best);
}

/* ---- patterns ---- */

/* The two bytes at i are %u or %c. */
static bool names_somebody(const char *p)
{
	return p[0] == '%' && (p[1] == 'u' || p[1] == 'c');
}

static bool has_names(const char *pattern)
{
	for (const char *p = pattern; *p; p++) {
		if (names_somebody(p))
			return true;
		p += p[0] == '%' && p[1] == '%';
	}
	return false;
}

static bool level_has_names(const char *level, size_t n)
{
	for (size_t i = 0; i + 1 < n; i++) {
		if (names_somebody(level + i))
			return true;
		i += level[i] == '%' && level[i + 1] == '%';
	}
	return false;
}

/* A percent sign that stands for nothing: false, with the sentence. */
static bool check_signs(const char *pattern, struct buf *why)
{
	for (const char *p = pattern; *p; p++) {
		if (*p != '%')
			continue;
		if (!names_somebody(p) && p[1] != '%') {
			buf_add_excerpt(why, (struct span){ (const uint8_t *)p, p[1] ? 2 : 1 });
			buf_adds(why,
				 " stands for nothing: %u is the user, %c the client's own name, %% a percent sign");
			return false;
		}
		p++;
	}
	return true;
}

/* What the pattern could be for anybody: `+` in each level that names somebody. */
static void widen(const char *pattern, struct buf *out)
{
	for (const char *p = pattern;;) {
		size_t n = strcspn(p, "/");

		if (level_has_names(p, n))
			buf_addc(out, '+');
		else
			buf_add(out, p, n);
		if (!p[n])
			return;
		buf_addc(out, '/');
		p += n + 1;
	}
}

struct rule_text rule_text_of(struct span filter)
{
	struct rule_text t = { .p = filter.p, .n = (uint32_t)filter.n };
	size_t i = 0;

	while (i < filter.n && filter.p[i] != '+' && filter.p[i] != '#')
		i++;
	if (i < filter.n && filter.p[i] == '#' && i > 0)
		i--; /* a/# matches a */
	t.prefix = (uint32_t)i;
	return t;
}

static int compile(struct rule *to)
{
	BUF_AUTO struct buf wide = BUF_INIT(RULES_PATTERN_MAX + 1);
	BUF_AUTO struct buf filter = BUF_INIT(RULES_PATTERN_MAX + 1);
	static const struct span nobody = { (const uint8_t *)"", 0 };
	struct span from = span_str(to->pattern);
	int r;

	to->fills = has_names(to->pattern);
	if (to->fills && to->allow)
		return 0;
	if (to->fills) {
		widen(to->pattern, &wide);
		from = buf_span(&wide);
	}
	r = wide.err ? wide.err : topic_fill(from, nobody, nobody, &filter);
	if (r == 0)
		r = buf_take(&filter, &to->filter);
	if (r == 0)
		to->text = rule_text_of(span_str(to->filter));
	if (r == 0 && !to->fills) {
		mem_free(to->pattern);
		to->pattern = NULL;
	}
	return r;
}

static int take_pattern(struct rule *to, const struct buf *word, struct buf *why)
{
	struct span s = buf_span(word), store = s;
	const uint8_t *colon = s.n ? memchr(s.p, ':', s.n) : NULL;
	int r;

	if (!colon)
		return unknown(why, s, " is not STORE:PATTERN, as in topics:home/#", NULL);
	store.n = (size_t)(colon - s.p);
	r = take_store(to, store, why);
	if (r < 0)
		return r;
	s.p += store.n + 1;
	s.n -= store.n + 1;
	if (s.n > RULES_PATTERN_MAX || !utf8_is_text(s) || topic_check_filter(s, TOPIC_LEVELS_MAX) < 0)
		return unknown(why, s,
			       " is no pattern: + stands for a whole level, # for all levels that follow, at the end",
			       NULL);
	if (!check_signs((const char *)s.p, why))
		return -EINVAL;
	to->pattern = mem_strdup((const char *)s.p);
	return to->pattern ? compile(to) : -ENOMEM;
}

/* ---- a line ---- */

static int next(const char **line, struct buf *word, struct buf *why)
{
	int r = str_next_word(line, word);

	if (r == 1)
		return 0;
	if (r == -ENOMEM)
		return r;
	buf_adds(why, r == 0         ? "a rule is WHO VERB STORE:PATTERN, as in: * read topics:home/#"
		      : r == -EINVAL ? "a quote is not closed, or nothing follows a backslash"
				     : "a word of it is too long");
	return -EINVAL;
}

static int parse(struct rule *to, const char *line, struct buf *why)
{
	static int (*const take[])(struct rule *, const struct buf *, struct buf *) = { take_whom, take_verb,
											take_pattern };
	BUF_AUTO struct buf word = BUF_INIT(WORD_MAX);
	int r = 0;

	for (size_t i = 0; i < sizeof(take) / sizeof(take[0]) && r == 0; i++) {
		r = next(&line, &word, why);
		if (r == 0)
			r = take[i](to, &word, why);
	}
	if (r == 0 && str_next_word(&line, &word) != 0)
		return unknown(why, buf_span(&word), " is one word too many; a pattern with spaces stands in quotes",
			       NULL);
	return r;
}

static int make_room(struct rules *r)
{
	size_t cap = r->cap ? 2 * r->cap : 16;
	struct rule *v;

	if (r->n < r->cap)
		return 0;
	v = mem_realloc(r->v, cap * sizeof(*v));
	if (!v)
		return -ENOMEM;
	r->v = v;
	r->cap = cap;
	return 0;
}

int rules_add(struct rules *r, bool allow, const char *line, struct buf *why)
{
	struct rule new = { .allow = allow };
	int err;

	if (r->n == RULES_MAX) {
		buf_adds(why, "more than 1000 rules");
		return -EINVAL;
	}
	err = make_room(r);
	if (err == 0)
		err = parse(&new, line, why);
	if (err < 0)
		rule_done(&new);
	else
		r->v[r->n++] = new;
	return err;
}
