/* addr_list.c - several addresses in one text, and the refusal of those that cannot be listened on together. */
#include <errno.h>
#include <string.h>

#include "base/addr.h"
#include "base/mem.h"
#include "base/str.h"

bool addr_conflict(const struct addr_text *a, const struct addr_text *b)
{
	unsigned fa = addr_flags(a), fb = addr_flags(b);

	if (fa & fb & ADDR_F_NET)
		return a->port == b->port && a->port != 0 && (fa & ADDR_F_STREAM) == (fb & ADDR_F_STREAM) &&
		       strcmp(a->host, b->host) == 0 && strcmp(a->service, b->service) == 0;
	if (fa & fb & ADDR_F_PATH)
		return strcmp(a->path, b->path) == 0;
	return addr_equal(a, b);
}

static void add_address(struct buf *why, const struct addr_text *a)
{
	BUF_AUTO struct buf text = BUF_INIT(ADDR_TEXT_MAX);

	addr_format(a, &text);
	buf_add_excerpt(why, buf_span(&text));
}

static int refuse_conflicts(const struct addr_list *l, struct buf *why)
{
	const struct addr_text *last = &l->v[l->n - 1];

	for (size_t i = 0; i + 1 < l->n; i++) {
		bool same = addr_equal(&l->v[i], last);

		if (!addr_conflict(&l->v[i], last))
			continue;
		if (!why)
			return -EINVAL;
		add_address(why, &l->v[i]);
		if (!same) {
			buf_adds(why, " and ");
			add_address(why, last);
		}
		buf_adds(why, same ? " comes twice" : " want the same place");
		return -EINVAL;
	}
	return 0;
}

static int list_add(struct addr_list *l, size_t max, const char *word, struct buf *why)
{
	struct addr_text *v;
	int err;

	if (l->n == max) {
		if (why)
			buf_addf(why, "more than %zu address%s", max, max == 1 ? "" : "es");
		return -E2BIG;
	}
	v = mem_realloc(l->v, (l->n + 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	l->v = v;
	err = addr_parse(word, &v[l->n], why);
	if (err)
		return err;
	l->n++;
	err = refuse_conflicts(l, why);
	if (err)
		l->n--;
	return err;
}

/* What is wrong with this word goes on a line of its own behind `start`. */
static int take_word(struct addr_list *l, size_t max, const char *word, struct buf *why, size_t start)
{
	size_t said = why ? why->n : 0;
	int err;

	if (said > start)
		buf_addc(why, '\n');
	err = list_add(l, max, word, why);
	if (err == -EINVAL && why && *word && word[strlen(word) - 1] == ',')
		buf_adds(why, "; blanks stand between addresses, not commas");
	if (!err && why)
		buf_cut(why, said);
	return err;
}

static bool is_comment(const char *word)
{
	return *word == '#' || *word == ';';
}

int addr_list_parse(const char *text, size_t max, struct addr_list *ret, struct buf *why)
{
	struct addr_list l = {};
	BUF_AUTO struct buf word = BUF_INIT(strlen(text) + 1);
	size_t start = why ? why->n : 0;
	int err = 0, r = 1;

	while ((err == 0 || err == -EINVAL) && (r = str_next_word(&text, &word)) > 0) {
		int one = take_word(&l, max, buf_str(&word), why, start);

		err = one ? one : err;
		if (one && is_comment(buf_str(&word))) /* what follows is no better */
			break;
	}
	if (r == -EINVAL && why)
		buf_addf(why, "%sa quote is not closed", why->n > start ? "\n" : "");
	if (r < 0)
		err = r;
	if (err) {
		addr_list_done(&l);
		return err;
	}
	*ret = l;
	return 0;
}

void addr_list_done(struct addr_list *l)
{
	mem_free(l->v);
	*l = (struct addr_list){};
}

void addr_list_format(const struct addr_list *l, struct buf *b)
{
	BUF_AUTO struct buf one = BUF_INIT(ADDR_TEXT_MAX);

	for (size_t i = 0; i < l->n; i++) {
		buf_reset(&one);
		addr_format(&l->v[i], &one);
		if (one.err)
			b->err = one.err;
		if (i > 0)
			buf_addc(b, ' ');
		str_add_word(b, buf_str(&one));
	}
}

bool addr_list_equal(const struct addr_list *a, const struct addr_list *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!addr_equal(&a->v[i], &b->v[i]))
			return false;
	return true;
}
