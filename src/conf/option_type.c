/*
 * option_type.c - what each type of option is: how it is parsed and kept in its range, written, compared, copied,
 * freed. On failure a set_*() leaves the field as it was and `why`, which was empty, has a sentence without the option's
 * name; of a list, a line for each word that is wrong.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/mem.h"
#include "conf/option_priv.h"

#define WORDS_MAX 1000 /* of a list without a maximum of its own */

static uint64_t max_of(const struct option *row, uint64_t type_max)
{
	return row->max ? row->max : type_max;
}

static int not_a(const char *text, const char *what, struct buf *why)
{
	buf_add_excerpt(why, span_str(text));
	buf_addf(why, " is not %s", what);
	return -EINVAL;
}

/* 0 when min <= v <= max; else -ERANGE, `subject` being what is too small or too large. */
static int check_range(const struct option *row, uint64_t v, uint64_t type_max, struct span subject, struct buf *why)
{
	if (v >= row->min && v <= max_of(row, type_max))
		return 0;
	buf_add_excerpt(why, subject);
	buf_addf(why, " is too %s", v < row->min ? "small" : "large");
	if (row->min > 0 || row->max > 0) {
		buf_adds(why, ", ");
		option_add_range(row, why);
	}
	return -ERANGE;
}

/* ---- setting ---- */

static int set_bool(const struct option *row, void *slot, const char *text, struct buf *why)
{
	(void)row;
	return str_to_bool(text, slot) < 0 ? not_a(text, "yes or no", why) : 0;
}

static int set_number(const struct option *row, const char *text, int err, uint64_t v, uint64_t type_max,
		      const char *what, struct buf *why, uint64_t *ret)
{
	if (err == -EINVAL)
		return not_a(text, what, why);
	if (err)
		v = UINT64_MAX;
	if (err && max_of(row, type_max) == UINT64_MAX) {
		buf_add_excerpt(why, span_str(text));
		buf_adds(why, " is too large");
		return -ERANGE;
	}
	err = check_range(row, v, type_max, span_str(text), why);
	if (err)
		return err;
	*ret = v;
	return 0;
}

static int set_uint(const struct option *row, void *slot, const char *text, struct buf *why)
{
	uint64_t v = 0;
	int err = str_to_u64(text, &v);

	err = set_number(row, text, err, v, UINT_MAX, "a number", why, &v);
	if (!err)
		*(unsigned *)slot = (unsigned)v;
	return err;
}

static int set_size(const struct option *row, void *slot, const char *text, struct buf *why)
{
	uint64_t v = 0;
	int err = str_to_size(text, &v);

	err = set_number(row, text, err, v, SIZE_MAX, "a size, as 1500, 64K or 2M", why, &v);
	if (!err)
		*(size_t *)slot = (size_t)v;
	return err;
}

static int set_nsec(const struct option *row, void *slot, const char *text, struct buf *why)
{
	uint64_t v = 0;
	int err = str_to_nsec(text, &v);

	err = set_number(row, text, err, v, UINT64_MAX, "a time, as 10s, 5m, 250ms or 0", why, &v);
	if (!err)
		*(uint64_t *)slot = v;
	return err;
}

static int set_mode(const struct option *row, void *slot, const char *text, struct buf *why)
{
	(void)row;
	return str_to_mode(text, slot) < 0 ? not_a(text, "an octal mode, 0 to 07777, as 0660", why) : 0;
}

static int store_text(void *slot, const char *text)
{
	char *copy = mem_strdup(text);

	if (!copy)
		return -ENOMEM;
	mem_free(*(char **)slot);
	*(char **)slot = copy;
	return 0;
}

static int set_string(const struct option *row, void *slot, const char *text, struct buf *why)
{
	size_t n = strlen(text);

	if (n < row->min || n > max_of(row, SIZE_MAX)) {
		buf_addf(why, "the text has %zu bytes, ", n);
		option_add_range(row, why);
		return -ERANGE;
	}
	return store_text(slot, text);
}

static int set_path(const struct option *row, void *slot, const char *text, struct buf *why)
{
	(void)row;
	if (*text == '\0') {
		buf_adds(why, "the path is empty");
		return -EINVAL;
	}
	return store_text(slot, text);
}

int option_word_index(const char *const *words, const char *text)
{
	for (int i = 0; words[i]; i++)
		if (strcmp(words[i], text) == 0)
			return i;
	return -1;
}

/* `"evnt" is none of fork, thread, event, did you mean "event"?` */
static int none_of(const char *const *words, const char *text, struct buf *why)
{
	struct str_closest c = str_closest_start(text);

	buf_add_excerpt(why, span_str(text));
	buf_adds(why, " is none of ");
	for (size_t i = 0; words[i]; i++) {
		buf_addf(why, "%s%s", i > 0 ? ", " : "", words[i]);
		str_closest_offer(&c, words[i]);
	}
	str_add_hint(why, c.best);
	return -EINVAL;
}

static int set_enum(const struct option *row, void *slot, const char *text, struct buf *why)
{
	int i = option_word_index(row->words, text);

	if (i < 0)
		return none_of(row->words, text, why);
	*(int *)slot = i;
	return 0;
}

/* Words of any text; -EINVAL and -E2BIG are explained. */
static int split(const struct option *row, const char *text, struct str_words *ret, struct buf *why)
{
	size_t max = (size_t)max_of(row, WORDS_MAX);
	int err = str_split_words(text, max, ret);

	if (err == -EINVAL)
		buf_adds(why, "a quote is not closed, or a backslash stands at the end");
	if (err == -E2BIG) {
		buf_addf(why, "more than %zu words", max);
		return -ERANGE;
	}
	return err;
}

/* Ready for one more sentence. */
static struct buf *new_line(struct buf *why)
{
	if (why->n > 0)
		buf_addc(why, '\n');
	return why;
}

static int too_few(const struct option *row, size_t n, const char *what, struct buf *why)
{
	buf_addf(why, "%zu %s, ", n, what);
	option_add_range(row, why);
	return -ERANGE;
}

/* The first failure stays, `before`. */
static int check_word(const struct option *row, const char *word, int before, struct buf *why)
{
	size_t said = why->n;
	int err = row->word(word, new_line(why));

	if (!err)
		buf_cut(why, said);
	return before ? before : err;
}

static int set_words(const struct option *row, void *slot, const char *text, struct buf *why)
{
	struct str_words w = {};
	int err = split(row, text, &w, why);

	if (err)
		return err;
	if (w.n < row->min)
		err = too_few(row, 0, "words", why);
	for (size_t i = 0; row->word && i < w.n; i++)
		err = check_word(row, w.v[i], err, why);
	if (err) {
		str_words_done(&w);
		return err;
	}
	str_words_done(slot);
	*(struct str_words *)slot = w;
	return 0;
}

static int set_addrs(const struct option *row, void *slot, const char *text, struct buf *why)
{
	struct addr_list l = {};
	int err = addr_list_parse(text, (size_t)max_of(row, WORDS_MAX), &l, why);

	if (err)
		return err == -E2BIG ? -ERANGE : err;
	if (l.n < row->min) {
		size_t n = l.n;

		addr_list_done(&l);
		return too_few(row, n, "addresses", why);
	}
	addr_list_done(slot);
	*(struct addr_list *)slot = l;
	return 0;
}

/* ---- writing a value ---- */

static void format_bool(const struct option *row, const void *slot, struct buf *b)
{
	(void)row;
	buf_adds(b, *(const bool *)slot ? "yes" : "no");
}

static void format_uint(const struct option *row, const void *slot, struct buf *b)
{
	(void)row;
	buf_addf(b, "%u", *(const unsigned *)slot);
}

static void format_size(const struct option *row, const void *slot, struct buf *b)
{
	(void)row;
	str_add_size(b, *(const size_t *)slot);
}

static void format_nsec(const struct option *row, const void *slot, struct buf *b)
{
	(void)row;
	str_add_nsec(b, *(const uint64_t *)slot);
}

static void format_text(const struct option *row, const void *slot, struct buf *b)
{
	const char *text = *(char *const *)slot;

	(void)row;
	if (text)
		buf_adds(b, text);
}

static void format_enum(const struct option *row, const void *slot, struct buf *b)
{
	buf_adds(b, row->words[*(const int *)slot]);
}

static void format_mode(const struct option *row, const void *slot, struct buf *b)
{
	(void)row;
	buf_addf(b, "%04o", *(const unsigned *)slot);
}

static void format_addrs(const struct option *row, const void *slot, struct buf *b)
{
	(void)row;
	addr_list_format(slot, b);
}

static void format_words(const struct option *row, const void *slot, struct buf *b)
{
	const struct str_words *w = slot;

	(void)row;
	for (size_t i = 0; i < w->n; i++) {
		if (i > 0)
			buf_addc(b, ' ');
		str_add_word(b, w->v[i]);
	}
}

/* ---- comparing, copying, freeing what is not plain ---- */

static bool equal_text(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;

	return x && y ? strcmp(x, y) == 0 : x == y;
}

static bool equal_addrs(const void *a, const void *b)
{
	return addr_list_equal(a, b);
}

static bool equal_words(const void *a, const void *b)
{
	return str_words_equal(a, b);
}

static int copy_text(const void *from, void *to)
{
	const char *text = *(char *const *)from;

	return text ? store_text(to, text) : 0;
}

static int copy_addrs(const void *from, void *to)
{
	const struct addr_list *l = from;
	struct addr_text *v;

	if (l->n == 0)
		return 0;
	v = mem_alloc(l->n * sizeof(*v));
	if (!v)
		return -ENOMEM;
	memcpy(v, l->v, l->n * sizeof(*v));
	*(struct addr_list *)to = (struct addr_list){ .v = v, .n = l->n };
	return 0;
}

static int copy_words(const void *from, void *to)
{
	return str_words_copy(from, to);
}

static void done_text(void *slot)
{
	mem_free(*(char **)slot);
}

static void done_addrs(void *slot)
{
	addr_list_done(slot);
}

static void done_words(void *slot)
{
	str_words_done(slot);
}

const struct option_kind option_kinds[OPTION_TYPES] = {
	[OPTION_BOOL] = { "bool", "yes|no", sizeof(bool), set_bool, format_bool, NULL, NULL, NULL },
	[OPTION_UINT] = { "uint", "NUMBER", sizeof(unsigned), set_uint, format_uint, NULL, NULL, NULL },
	[OPTION_SIZE] = { "size", "SIZE", sizeof(size_t), set_size, format_size, NULL, NULL, NULL },
	[OPTION_NSEC] = { "time", "TIME", sizeof(uint64_t), set_nsec, format_nsec, NULL, NULL, NULL },
	[OPTION_STRING] = { "string", "TEXT", sizeof(char *), set_string, format_text, equal_text, copy_text,
			    done_text },
	[OPTION_PATH] = { "path", "PATH", sizeof(char *), set_path, format_text, equal_text, copy_text, done_text },
	[OPTION_ENUM] = { "enum", NULL, sizeof(int), set_enum, format_enum, NULL, NULL, NULL },
	[OPTION_ADDRS] = { "addresses", "ADDRESS...", sizeof(struct addr_list), set_addrs, format_addrs, equal_addrs,
			   copy_addrs, done_addrs },
	[OPTION_MODE] = { "mode", "MODE", sizeof(unsigned), set_mode, format_mode, NULL, NULL, NULL },
	[OPTION_WORDS] = { "words", "WORD...", sizeof(struct str_words), set_words, format_words, equal_words,
			   copy_words, done_words },
	[OPTION_FILE] = { "file", "FILE", sizeof(struct option_file), option_set_file, option_format_file,
			  option_equal_file, option_copy_file, option_done_file },
	[OPTION_PARTS] = { "sections", "SECTIONS", sizeof(struct option_parts), option_set_parts, option_format_parts,
			   option_equal_parts, option_copy_parts, option_done_parts },
};

const char *option_type_name(enum option_type type)
{
	return option_kinds[type].name;
}
