/* import.c - see import.h. */
#include "main/import.h"

#include <errno.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"
#include "store/rules.h"
#include "store/topic.h"

enum { SAID = 1024 };

struct reader {
	struct span left;
	unsigned line;
	struct import_count *count;
	people_tell *tell;
	void *arg;
};

/* The next line without its end; false: there is none. */
static bool next_line(struct reader *r, struct span *ret)
{
	const uint8_t *feed = r->left.n ? memchr(r->left.p, '\n', r->left.n) : NULL;
	struct span s = { r->left.p, feed ? (size_t)(feed - r->left.p) : r->left.n };

	if (!r->left.n)
		return false;
	r->line++;
	r->left.p += s.n + (feed != NULL);
	r->left.n -= s.n + (feed != NULL);
	if (s.n && s.p[s.n - 1] == '\r')
		s.n--;
	*ret = s;
	return true;
}

static void skip(const struct reader *r, const char *text)
{
	r->count->skipped++;
	r->tell(r->arg, r->line, text);
}

/* ---- passwords ---- */

/* It begins as one of mosquitto's, and cannot be one. */
static bool is_damaged(const char *hash, const struct buf *ours)
{
	return (strncmp(hash, "$6$", 3) == 0 || strncmp(hash, "$7$", 3) == 0) &&
	       (ours->err || !people_hash_known(buf_str(ours)));
}

static int take_user(const struct reader *r, struct people *to, char *name, const char *hash)
{
	BUF_AUTO struct buf ours = BUF_INIT(2 * PEOPLE_TEXT);
	BUF_AUTO struct buf why = BUF_INIT(SAID);
	int err;

	buf_addf(&ours, "%s%s", PEOPLE_MOSQUITTO, hash);
	if (people_find(to, span_str(name))) {
		buf_add_excerpt(&why, span_str(name));
		buf_adds(&why, " is there already: left as it is");
	} else if (is_damaged(hash, &ours)) {
		buf_adds(&why, "the hash of ");
		buf_add_excerpt(&why, span_str(name));
		buf_adds(&why, " is damaged: make the password anew with `guichet user add`");
	} else if (ours.err || strncmp(hash, "$y$", 3) == 0 || !people_hash_known(buf_str(&ours))) {
		buf_add_excerpt(&why, span_str(name));
		buf_adds(&why, " has no hash of mosquitto's ($6$ or $7$): mosquitto_passwd -U FILE makes one");
	}
	if (!why.n) {
		err = people_put(to, &(struct person){ .name = name, .hash = ours.p }, &why);
		if (err != -EINVAL) {
			r->count->added += err == 0;
			return err;
		}
	}
	skip(r, buf_str(&why));
	return 0;
}

/* Once for all of them: of another kind of file each line is wrong. */
static void tell_others(struct reader *r, unsigned line, unsigned n)
{
	BUF_AUTO struct buf why = BUF_INIT(SAID);

	buf_adds(&why, "this is not NAME:HASH");
	if (n > 1)
		buf_addf(&why, ", and %u other line%s not either; is it a password file of mosquitto?", n - 1,
			 n == 2 ? " is" : "s are");
	r->count->skipped += n - 1;
	r->line = line;
	skip(r, buf_str(&why));
}

int import_mosquitto_passwd(struct span text, struct people *to, struct import_count *ret, people_tell *tell, void *arg)
{
	struct reader r = { .left = text, .count = ret, .tell = tell, .arg = arg };
	unsigned others = 0, first = 0;
	struct span s;
	int err = 0;

	while (!err && next_line(&r, &s)) {
		const uint8_t *colon = s.n ? memchr(s.p, ':', s.n) : NULL;
		char *line;

		if (s.n == 0 || s.p[0] == '#')
			continue;
		if (!colon || memchr(s.p, '\0', s.n)) {
			others++;
			first = first ? first : r.line;
			continue;
		}
		line = mem_strndup((const char *)s.p, s.n);
		if (!line)
			return -ENOMEM;
		line[colon - s.p] = '\0';
		err = take_user(&r, to, line, line + (colon - s.p) + 1);
		mem_free(line);
	}
	if (others)
		tell_others(&r, first, others);
	return err;
}

/* ---- rules ---- */

/* A line of the section is built from the parts of one of theirs. Two passes for each who: what is denied comes first. */
struct acl {
	struct reader r;
	struct buf user; /* whose lines these are; empty: anonymous */
	struct buf *to;
	bool denies, patterns; /* what this pass takes */
	bool count;            /* and tells what it cannot */
	const char *only;      /* lines of this user; NULL: anonymous; not for patterns */
	int err;
};

static struct span take_word(struct span *s)
{
	struct span word = *s;
	size_t n = 0;

	while (n < s->n && s->p[n] != ' ' && s->p[n] != '\t')
		n++;
	word.n = n;
	while (n < s->n && (s->p[n] == ' ' || s->p[n] == '\t'))
		n++;
	s->p += n;
	s->n -= n;
	return word;
}

/* A percent sign that means nothing there must mean nothing here. */
static void add_pattern(struct buf *b, struct span topic, bool fills)
{
	for (size_t i = 0; i < topic.n; i++) {
		uint8_t c = topic.p[i], next = i + 1 < topic.n ? topic.p[i + 1] : 0;

		if (c == '%' && !(fills && (next == 'u' || next == 'c')))
			buf_addc(b, '%');
		buf_addc(b, (char)c);
	}
}

static const char *verb_of(struct span access)
{
	if (access.n == 0 || span_is(access, "readwrite") || span_is(access, "deny"))
		return "*";
	return span_is(access, "read") ? "read" : "write";
}

static bool is_access(struct span s)
{
	return span_is(s, "read") || span_is(s, "write") || span_is(s, "readwrite") || span_is(s, "deny");
}

static void add_rule(struct acl *a, const char *whom, struct span access, struct span topic, bool fills)
{
	BUF_AUTO struct buf pattern = BUF_INIT(RULES_PATTERN_MAX + sizeof("topics:"));
	BUF_AUTO struct buf line = BUF_INIT(8 * RULES_PATTERN_MAX);
	BUF_AUTO struct buf why = BUF_INIT(SAID);
	struct rules *scratch;

	buf_adds(&pattern, "topics:");
	add_pattern(&pattern, topic, fills);
	str_add_word(&line, whom);
	buf_addf(&line, " %s ", verb_of(access));
	str_add_word(&line, buf_str(&pattern));
	a->err = rules_new(&scratch);
	if (a->err)
		return;
	if (pattern.err == -EMSGSIZE)
		buf_adds(&why, "the topic is too long");
	else
		a->err = rules_add(scratch, true, buf_str(&line), &why);
	rules_unref(scratch);
	if (why.n) {
		a->err = a->err == -EINVAL ? 0 : a->err;
		if (a->count)
			skip(&a->r, buf_str(&why));
	}
	if (a->err || why.n)
		return;
	buf_addf(a->to, "%s = %s\n", span_is(access, "deny") ? "deny" : "allow", buf_str(&line));
	a->r.count->added++;
}

static bool is_of_pass(const struct acl *a)
{
	return a->only ? strcmp(a->only, buf_str(&a->user)) == 0 : a->user.n == 0;
}

/* Once, though each pass comes by. */
static bool tells(const struct acl *a)
{
	return a->count && a->denies && a->patterns;
}

/* mosquitto refuses the file. */
static void no_access(struct acl *a, struct span word)
{
	BUF_AUTO struct buf why = BUF_INIT(SAID);

	if (!tells(a))
		return;
	buf_add_excerpt(&why, word);
	buf_adds(&why, " is none of read, write, readwrite and deny");
	skip(&a->r, buf_str(&why));
}

/* `topic [read|write|readwrite|deny] TOPIC`; spaces in the topic are part of it. */
static void take_topic(struct acl *a, struct span rest, bool pattern)
{
	struct span all = rest, access = take_word(&rest);

	if (rest.n == 0) {
		rest = all;
		access.n = 0;
	} else if (!is_access(access)) {
		no_access(a, access);
		return;
	}
	if (span_is(access, "deny") != a->denies || pattern != a->patterns || (!pattern && !is_of_pass(a)))
		return;
	add_rule(a, pattern ? "*" : a->only ? a->only : "anonymous", access, rest, pattern);
}

static bool is_text(struct span s)
{
	return utf8_is_text(s) && (s.n == 0 || !memchr(s.p, '\t', s.n));
}

static void take_line(struct acl *a, struct span s)
{
	struct span word;

	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) {
		s.p++;
		s.n--;
	}
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	if (s.n == 0 || s.p[0] == '#')
		return;
	word = take_word(&s);
	if (span_is(word, "user")) {
		buf_reset(&a->user);
		buf_add(&a->user, s.p, s.n);
		if (s.n == 0)
			buf_addc(&a->user, ':'); /* nobody is called so */
	} else if ((span_is(word, "topic") || span_is(word, "pattern")) && s.n && is_text(s)) {
		take_topic(a, s, span_is(word, "pattern"));
	} else if (tells(a)) {
		skip(&a->r, "this is no line of user, topic or pattern");
	}
}

static int pass(struct acl *a, struct span text, const char *only, bool patterns)
{
	for (int denies = 1; denies >= 0; denies--) {
		struct span s;

		a->r.left = text;
		a->r.line = 0;
		a->only = only;
		a->denies = denies;
		a->patterns = patterns;
		buf_reset(&a->user);
		while (!a->err && next_line(&a->r, &s))
			take_line(a, s);
	}
	return a->err ? a->err : a->to->err ? a->to->err : a->user.err;
}

/* Each user once, in the order of their first lines. */
static int pass_users(struct acl *a, struct span text, struct people *seen)
{
	struct reader r = { .left = text, .count = a->r.count, .tell = a->r.tell, .arg = a->r.arg };
	struct span s;
	int err = 0;

	while (!err && next_line(&r, &s)) {
		BUF_AUTO struct buf why = BUF_INIT(SAID);
		char *name;

		while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
			s.p++, s.n--;
		while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
			s.n--;
		if (!span_is(take_word(&s), "user"))
			continue;
		if (people_check_name(s, &why) < 0) {
			skip(&r, buf_str(&why));
			continue;
		}
		if (people_find(seen, s))
			continue;
		name = mem_strndup((const char *)s.p, s.n);
		err = name ? people_put(seen, &(struct person){ .name = name }, NULL) : -ENOMEM;
		if (!err)
			err = pass(a, text, name, false);
		mem_free(name);
	}
	return err;
}

int import_mosquitto_acl(struct span text, struct buf *to, struct import_count *ret, people_tell *tell, void *arg)
{
	struct acl a = { .r = { .count = ret, .tell = tell, .arg = arg }, .to = to, .count = true };
	struct people *seen;
	int err = people_new(&seen);

	if (err)
		return err;
	buf_init(&a.user, SAID);
	buf_adds(to, "[rules]\n");
	err = pass(&a, text, NULL, false);
	if (!err)
		err = pass_users(&a, text, seen);
	if (!err)
		err = pass(&a, text, NULL, true);
	people_unref(seen);
	buf_done(&a.user);
	return err;
}
