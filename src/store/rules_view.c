/*
 * rules_view.c - the rules that are about one session. A bit for each rule that is, and for each of those that name somebody
 * the filter that it comes to; so an answer looks at filters only, and at most of them for no longer than their first bytes.
 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "store/rules_priv.h"
#include "store/topic.h"

enum { BITS = 64, FILLED_MAX = 4 * RULES_PATTERN_MAX };

/* A filter that was filled in. */
struct filled {
	struct rule_text text;
	bool nothing; /* it matches nothing */
	bool any;     /* names that begin with $ too, also where a wildcard is the beginning */
};

/* One block: this, bits, filled, their texts. */
struct rules_view {
	struct rules *rules;
	struct filled *filled; /* of the rules that fill, in order */
	size_t words;
	bool local;
	uint64_t bits[];
};

/* ---- whom a rule is about ---- */

static bool is_about(const struct rule *rule, const struct rules_who *who)
{
	switch (rule->whom) {
	case WHOM_ALL:
		return true;
	case WHOM_ANONYMOUS:
		return who->user.n == 0;
	case WHOM_USER:
		return span_is(who->user, rule->who);
	case WHOM_GROUP:
		break;
	}
	for (size_t i = 0; who->groups && i < who->groups->n; i++)
		if (strcmp(who->groups->v[i], rule->who) == 0)
			return true;
	return false;
}

/* Its filter for this one, into `out`; 0, 1: it is the rule's own one, -ENOENT: it matches nothing, -ENOMEM. */
static int fill(const struct rule *rule, const struct rules_who *who, struct buf *out)
{
	int r = topic_fill(span_str(rule->pattern), who->user, who->client, out);

	if (r == 0 || r == -ENOMEM)
		return r;
	return rule->allow ? -ENOENT : 1; /* so odd a name, or so long a text: denied is what could be meant */
}

struct texts {
	struct buf all;   /* of the filled ones, one behind the other */
	struct filled *v; /* p is to be set when all are there */
	size_t n;
};

static int add_filled(struct texts *t, const struct rule *rule, const struct rules_who *who)
{
	BUF_AUTO struct buf out = BUF_INIT(FILLED_MAX);
	struct filled *f = &t->v[t->n++];
	int r = fill(rule, who, &out);

	*f = (struct filled){};
	if (r == -ENOMEM)
		return r;
	f->nothing = r == -ENOENT;
	f->any = r == 1;
	if (r == 1)
		f->text = rule->text;
	if (r != 0)
		return 0;
	f->text = rule_text_of(buf_span(&out));
	f->text.p = NULL;
	buf_add(&t->all, out.p, out.n);
	return t->all.err;
}

static int fill_all(struct texts *t, const struct rules *r, const struct rules_who *who)
{
	int err = 0;

	for (size_t i = 0; i < rules_count(r) && err == 0; i++)
		if (r->v[i].fills && is_about(&r->v[i], who))
			err = add_filled(t, &r->v[i], who);
	return err;
}

static size_t count_filled(const struct rules *r, const struct rules_who *who)
{
	size_t n = 0;

	for (size_t i = 0; i < rules_count(r); i++)
		n += r->v[i].fills && is_about(&r->v[i], who);
	return n;
}

/* ---- the view ---- */

static struct rules_view *build(struct rules *r, const struct rules_who *who, const struct texts *t)
{
	size_t words = (rules_count(r) + BITS - 1) / BITS, size = sizeof(struct rules_view) + words * sizeof(uint64_t);
	struct rules_view *v = mem_zalloc(size + t->n * sizeof(struct filled) + t->all.n);
	uint8_t *text;

	if (!v)
		return NULL;
	v->rules = rules_ref(r);
	v->local = who->local;
	v->words = words;
	v->filled = (struct filled *)((char *)v + size);
	text = (uint8_t *)(v->filled + t->n);
	if (t->n)
		memcpy(v->filled, t->v, t->n * sizeof(struct filled));
	if (t->all.n)
		memcpy(text, t->all.p, t->all.n);
	for (size_t i = 0; i < t->n; i++) {
		struct filled *f = &v->filled[i];

		if (f->nothing || f->any)
			continue;
		f->text.p = text;
		text += f->text.n;
	}
	for (size_t i = 0; i < rules_count(r); i++)
		v->bits[i / BITS] |= (uint64_t)is_about(&r->v[i], who) << i % BITS;
	return v;
}

int rules_view_new(struct rules *r, const struct rules_who *who, struct rules_view **ret)
{
	size_t n = count_filled(r, who);
	struct texts t = { .all = BUF_INIT(RULES_MAX * FILLED_MAX) };
	struct rules_view *v = NULL;
	int err = 0;

	if (n) {
		t.v = mem_alloc(n * sizeof(*t.v));
		err = t.v ? fill_all(&t, r, who) : -ENOMEM;
	}
	if (err == 0) {
		v = build(r, who, &t);
		err = v ? 0 : -ENOMEM;
	}
	mem_free(t.v);
	buf_done(&t.all);
	if (err == 0)
		*ret = v;
	return err ? -ENOMEM : 0;
}

void rules_view_free(struct rules_view **v)
{
	if (!*v)
		return;
	rules_unref((*v)->rules);
	mem_free(*v);
	*v = NULL;
}

const struct rules *rules_view_of(const struct rules_view *v)
{
	return v ? v->rules : NULL;
}

/* ---- asking ---- */

/* The rules that are about it, one after the other, each with its filter. */
struct walk {
	const struct rules_view *v;
	const struct filled *filled; /* of the next rule that fills */
	size_t word;
	uint64_t left;
	uint8_t verb;
	enum rules_store store;
	/* what was found */
	const struct rule *rule;
	struct rule_text text;
	bool any;
};

static inline struct walk walk(const struct rules_view *v, enum rules_verb verb, enum rules_store store)
{
	return (struct walk){
		.v = v, .filled = v->filled, .left = v->words ? v->bits[0] : 0, .verb = (uint8_t)verb, .store = store
	};
}

static inline bool next(struct walk *w)
{
	for (;;) {
		const struct filled *f = NULL;

		while (!w->left) {
			if (w->word + 1 >= w->v->words)
				return false;
			w->left = w->v->bits[++w->word];
		}
		w->rule = &w->v->rules->v[w->word * BITS + (unsigned)__builtin_ctzll(w->left)];
		w->left &= w->left - 1;
		if (w->rule->fills)
			f = w->filled++;
		if (!(w->rule->verbs & w->verb) || w->rule->store != w->store || (f && f->nothing))
			continue;
		w->text = f ? f->text : w->rule->text;
		w->any = f && f->any;
		return true;
	}
}

static inline bool fits(const struct walk *w, struct span name)
{
	const struct rule_text *t = &w->text;
	struct span filter = { t->p, t->n };

	if (name.n < t->prefix || (t->prefix && memcmp(name.p, t->p, t->prefix) != 0))
		return false;
	return w->any ? topic_rest_matches(filter, name) : topic_matches(filter, name);
}

/* Without a rule for it. */
static bool by_default(const struct rules_view *v, enum rules_verb verb, enum rules_store store)
{
	if (!v->rules)
		return v->local;
	return v->local && store == RULES_STATS && verb == RULES_READ;
}

bool rules_check(const struct rules_view *v, enum rules_verb verb, enum rules_store store, struct span name)
{
	struct walk w;

	if (!v)
		return false;
	if (name.n > 0)
		for (w = walk(v, verb, store); next(&w);)
			if (fits(&w, name))
				return w.rule->allow;
	return by_default(v, verb, store);
}

enum rules_share rules_check_filter(const struct rules_view *v, enum rules_verb verb, enum rules_store store,
				    struct span filter)
{
	enum rules_share share = RULES_NONE;
	bool denied = false; /* something of it was */
	struct walk w;

	if (!v)
		return RULES_NONE;
	for (w = walk(v, verb, store); next(&w);) {
		struct span text = { w.text.p, w.text.n };

		if (w.rule->allow && topic_covers(text, filter))
			return denied ? RULES_PART : RULES_ALL;
		if (w.any) {
			denied = true;
		} else if (!w.rule->allow && topic_covers(text, filter)) {
			return share;
		} else if (topic_overlap(text, filter)) {
			share = w.rule->allow ? RULES_PART : share;
			denied |= !w.rule->allow;
		}
	}
	if (!by_default(v, verb, store))
		return share;
	return denied ? RULES_PART : RULES_ALL;
}
