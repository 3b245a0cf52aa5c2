/* people_text.c - people as text: a line for each, whole or left out. See people.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "store/people_priv.h"
#include "store/people_scram.h"

enum { SAID = 512 };

static const char heading[] =
	"# People who may log in. `guichet user` changes this file; comments do not survive that.\n";
static const char mark[] = " crc=";

struct reader {
	struct people *p;
	people_tell *tell;
	void *arg;
	unsigned line;
	struct buf word; /* of the line */
	struct buf why;
};

/* ---- one line ---- */

static int bad(struct reader *r, const char *what)
{
	buf_adds(&r->why, what);
	return -EINVAL;
}

/* A text that may come once. */
static int take_text(struct reader *r, char **slot, const char *value)
{
	if (*slot)
		return bad(r, "a word comes twice");
	if (strlen(value) > PEOPLE_TEXT)
		return bad(r, "a word is too long");
	*slot = mem_strdup(value);
	return *slot ? 0 : -ENOMEM;
}

/* One more word at the end. */
static int add_word(struct str_words *w, const char *word)
{
	BUF_AUTO struct buf b = BUF_INIT(PEOPLE_LINE_MAX);
	struct str_words all;
	int r;

	for (size_t i = 0; i < w->n; i++) {
		str_add_word(&b, w->v[i]);
		buf_addc(&b, ' ');
	}
	str_add_word(&b, word);
	r = b.err ? b.err : str_split_words(buf_str(&b), SIZE_MAX, &all);
	if (r < 0)
		return r == -EMSGSIZE ? -EINVAL : r;
	str_words_done(w);
	*w = all;
	return 0;
}

static int take_groups(struct reader *r, struct person *who, char *value)
{
	for (char *end; *value; value = end) {
		size_t n = strcspn(value, ",");
		int err;

		end = value + n + (value[n] == ',');
		value[n] = '\0';
		err = people_check_name(span_str(value), &r->why);
		if (err == 0 && who->groups.n == PEOPLE_GROUPS)
			err = bad(r, "more than 64 groups");
		if (err == 0)
			err = add_word(&who->groups, value);
		if (err < 0)
			return err;
	}
	return 0;
}

static int take_certificate(struct reader *r, struct person *who, const char *value)
{
	if (!*value || strlen(value) > PEOPLE_TEXT)
		return bad(r, "a certificate is empty or too long");
	if (who->certificates.n == PEOPLE_CERTIFICATES)
		return bad(r, "more than 16 certificates");
	return add_word(&who->certificates, value);
}

/* What follows NAME= in a word, or NULL. */
static char *value_of(char *word, const char *name)
{
	size_t n = strlen(name);

	return strncmp(word, name, n) == 0 && word[n] == '=' ? word + n + 1 : NULL;
}

static int take_word(struct reader *r, struct person *who, char *word)
{
	struct people_verifier v;
	char *value;

	if ((value = value_of(word, "hash"))) {
		if (!people_hash_known(value))
			return bad(r, "the hash is of an unknown kind");
		return take_text(r, &who->hash, value);
	}
	if ((value = value_of(word, "scram"))) {
		if (people_verifier_parse(value, &v) < 0)
			return bad(r, "the SCRAM verifier is none");
		return take_text(r, &who->scram, value);
	}
	if ((value = value_of(word, "groups")))
		return take_groups(r, who, value);
	if ((value = value_of(word, "certificate")))
		return take_certificate(r, who, value);
	if (strcmp(word, "disabled") == 0) {
		who->disabled = true;
		return 0;
	}
	buf_adds(&r->why, "unknown word ");
	buf_add_excerpt(&r->why, span_str(word));
	return -EINVAL;
}

/* The line without its sum, which must be right when it is there. */
static int cut_sum(struct reader *r, char *text)
{
	size_t n = strlen(text);
	char *at = n > sizeof(mark) - 1 + 8 ? text + n - 8 - (sizeof(mark) - 1) : NULL;
	unsigned long sum;
	char *end;

	if (!at || strncmp(at, mark, sizeof(mark) - 1) != 0)
		return 0; /* written by hand; a piece of a sum is an unknown word */
	sum = strtoul(at + sizeof(mark) - 1, &end, 16);
	if (*end || crc32c(0, text, (size_t)(at - text)) != sum)
		return bad(r, "it is damaged: crc does not fit (who has changed the line by hand takes crc=... off)");
	*at = '\0';
	return 0;
}

static int take_words(struct reader *r, struct person *who, const char *text)
{
	int more = str_next_word(&text, &r->word), err;

	if (more == 1) {
		err = people_check_name(buf_span(&r->word), &r->why);
		if (err < 0)
			return err;
		who->name = mem_strdup(buf_str(&r->word));
		if (!who->name)
			return -ENOMEM;
	}
	while (more == 1 && (more = str_next_word(&text, &r->word)) == 1) {
		err = take_word(r, who, r->word.p);
		if (err < 0)
			return err;
	}
	return more == -EINVAL ? bad(r, "a quote is not closed") : more;
}

static int add(struct people *p, struct person *who)
{
	if (p->n == p->cap) {
		size_t cap = p->cap ? 2 * p->cap : 64;
		struct person **v = mem_realloc(p->v, cap * sizeof(struct person *));

		if (!v)
			return -ENOMEM;
		p->v = v;
		p->cap = cap;
	}
	p->v[p->n++] = who;
	return 0;
}

static int take_line(struct reader *r, struct span line)
{
	struct person *who = NULL;
	char *text = NULL;
	int err = 0;

	if (line.n > PEOPLE_LINE_MAX || memchr(line.p, '\0', line.n) || !utf8_valid(line))
		return bad(r, "it is damaged: too long, or no text");
	text = mem_strndup((const char *)line.p, line.n);
	who = mem_zalloc(sizeof(*who));
	if (!text || !who)
		err = -ENOMEM;
	if (err == 0)
		err = cut_sum(r, text);
	if (err == 0)
		err = take_words(r, who, text);
	if (err == 0) {
		who->line = r->line;
		err = add(r->p, who);
	}
	if (text)
		explicit_bzero(text, line.n);
	mem_free(text);
	if (err < 0)
		person_free(who);
	return err;
}

/* ---- all lines ---- */

static void leave_out(const struct reader *r, unsigned line, const char *text)
{
	r->p->damaged++;
	if (r->tell)
		r->tell(r->arg, line, text);
}

static bool is_blank(struct span s)
{
	size_t i = 0;

	while (i < s.n && str_is_space((char)s.p[i]))
		i++;
	return i == s.n || s.p[i] == '#';
}

/* A file that ends without a line feed was not written to its end, and neither was its last line. */
static int take_lines(struct reader *r, struct span text)
{
	while (text.n > 0) {
		const uint8_t *feed = memchr(text.p, '\n', text.n);
		struct span line = { text.p, feed ? (size_t)(feed - text.p) : text.n };
		int err;

		r->line++;
		buf_reset(&r->why);
		if (is_blank(line))
			err = 0;
		else
			err = feed ? take_line(r, line) : bad(r, "it is damaged: the file ends in the middle of it");
		if (err == -ENOMEM)
			return err;
		if (err < 0)
			leave_out(r, r->line, buf_str(&r->why));
		text.p += line.n + (feed != NULL);
		text.n -= line.n + (feed != NULL);
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct person *x = *(struct person *const *)a, *y = *(struct person *const *)b;
	int r = strcmp(x->name, y->name);

	return r ? r : x->line < y->line ? -1 : x->line > y->line;
}

/* By name; of two with the same one the first line counts. */
static void sort(const struct reader *r)
{
	struct people *p = r->p;
	size_t kept = 0;

	if (p->n)
		qsort(p->v, p->n, sizeof(struct person *), compare);
	for (size_t i = 0; i < p->n; i++) {
		if (kept && strcmp(p->v[kept - 1]->name, p->v[i]->name) == 0) {
			char text[SAID];
			struct buf b;

			buf_init_fixed(&b, text, sizeof(text));
			buf_add_excerpt(&b, span_str(p->v[i]->name));
			buf_addf(&b, " comes twice, first at line %u", p->v[kept - 1]->line);
			leave_out(r, p->v[i]->line, text);
			person_free(p->v[i]);
		} else {
			p->v[kept++] = p->v[i];
		}
	}
	p->n = kept;
}

static int list_hashed(struct people *p)
{
	BUF_AUTO struct buf b = BUF_INIT(PEOPLE_TEXT);
	int err;

	p->hashed = mem_alloc((p->n + 1) * sizeof(struct person *));
	if (!p->hashed)
		return -ENOMEM;
	for (size_t i = 0; i < p->n; i++)
		if (p->v[i]->hash)
			p->hashed[p->n_hashed++] = p->v[i];
	if (p->n_hashed)
		return 0;
	err = people_hash_setting(&b);
	return err ? err : buf_take(&b, &p->decoy);
}

int people_parse(struct span text, struct people **ret, people_tell *tell, void *arg)
{
	struct reader r = { .tell = tell, .arg = arg };
	int err;

	if (text.n > PEOPLE_FILE_MAX)
		return -EFBIG;
	err = people_new(&r.p);
	if (err < 0)
		return err;
	buf_init(&r.word, PEOPLE_LINE_MAX);
	buf_init(&r.why, SAID);
	err = take_lines(&r, text);
	if (r.why.err == -ENOMEM)
		err = -ENOMEM;
	if (err == 0) {
		sort(&r);
		err = list_hashed(r.p);
	}
	buf_done(&r.word);
	buf_done(&r.why);
	if (err < 0)
		people_unref(r.p);
	else
		*ret = r.p;
	return err;
}

/* ---- writing ---- */

static void add_value(struct buf *b, const char *name, const char *value)
{
	BUF_AUTO struct buf word = BUF_INIT(PEOPLE_LINE_MAX);

	if (!value)
		return;
	buf_addf(&word, "%s=%s", name, value);
	buf_addc(b, ' ');
	str_add_word(b, buf_str(&word));
	if (word.err && !b->err)
		b->err = word.err;
}

static void add_groups(struct buf *b, const struct str_words *groups)
{
	BUF_AUTO struct buf list = BUF_INIT(PEOPLE_LINE_MAX);

	for (size_t i = 0; i < groups->n; i++)
		buf_addf(&list, "%s%s", i ? "," : "", groups->v[i]);
	if (list.err && !b->err)
		b->err = list.err;
	if (groups->n)
		add_value(b, "groups", buf_str(&list));
}

static void add_person(struct buf *b, const struct person *who)
{
	size_t start = b->n;

	str_add_word(b, who->name);
	add_value(b, "hash", who->hash);
	add_value(b, "scram", who->scram);
	add_groups(b, &who->groups);
	for (size_t i = 0; i < who->certificates.n; i++)
		add_value(b, "certificate", who->certificates.v[i]);
	if (who->disabled)
		buf_adds(b, " disabled");
	if (!b->err)
		buf_addf(b, "%s%08x\n", mark, crc32c(0, b->p + start, b->n - start));
}

void people_format(const struct people *p, struct buf *b)
{
	buf_adds(b, heading);
	for (size_t i = 0; i < p->n; i++)
		add_person(b, p->v[i]);
}
