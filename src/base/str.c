/* str.c - the nearest word, numbers with units, words with quotes. */
#include "base/str.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

/* ---- the nearest word ---- */

#define NEAR_MAX 63 /* longest word that is compared; bounds the work on what somebody typed */

static unsigned min_unsigned(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Damerau-Levenshtein with adjacent swaps (optimal string alignment), three rows at a time. */
static unsigned edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned rows[3][NEAR_MAX + 1];
	unsigned *before = rows[0], *last = rows[1], *now = rows[2];

	for (size_t j = 0; j <= nb; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		unsigned *swap = before;

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			char x = str_lower(a[i - 1]), y = str_lower(b[j - 1]);
			unsigned d = min_unsigned(last[j] + 1, now[j - 1] + 1);

			d = min_unsigned(d, last[j - 1] + (x != y));
			if (i > 1 && j > 1 && x == str_lower(b[j - 2]) && y == str_lower(a[i - 2]))
				d = min_unsigned(d, before[j - 2] + 1);
			now[j] = d;
		}
		before = last;
		last = now;
		now = swap;
	}
	return last[nb];
}

static bool starts_fold(const char *s, const char *beginning, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_lower(s[i]) != str_lower(beginning[i]))
			return false;
	return true;
}

struct str_closest str_closest_start(const char *word)
{
	return (struct str_closest){ .word = word, .distance = UINT32_MAX };
}

void str_closest_offer(struct str_closest *c, const char *candidate)
{
	size_t nw = strnlen(c->word, NEAR_MAX + 1);
	size_t nc = strnlen(candidate, NEAR_MAX + 1);
	size_t longer = nw > nc ? nw : nc;
	unsigned limit = longer <= 3 ? 1 : (unsigned)(longer / 3);
	unsigned d;

	if (nw < 2 || nc == 0 || longer > NEAR_MAX)
		return;
	d = edit_distance(c->word, nw, candidate, nc);
	/* A beginning of three letters is as good as two slips: `cert` means certificate. */
	if (d > 2 && nw >= 3 && nw < nc && starts_fold(candidate, c->word, nw))
		d = 2;
	else if (d > limit)
		return;
	if (d >= c->distance)
		return;
	c->distance = d;
	c->best = candidate;
}

const char *str_closest(const char *word, const char *const *words, size_t n)
{
	struct str_closest c = str_closest_start(word);

	for (size_t i = 0; i < n; i++)
		str_closest_offer(&c, words[i]);
	return c.best;
}

void str_add_hint(struct buf *b, const char *best)
{
	if (best)
		buf_addf(b, ", did you mean \"%s\"?", best);
}

/* Equal without regard to the case of A to Z. */
static bool equal_fold(const char *a, const char *b)
{
	size_t n = strlen(a);

	return n == strlen(b) && starts_fold(a, b, n);
}

/* ---- numbers ---- */

/* Digits at *at in a base up to ten; *at moves behind them. */
static int take_number(const char **at, unsigned base, uint64_t *ret)
{
	const char *s = *at;
	uint64_t v = 0;
	bool over = false;

	while (*s >= '0' && *s < (char)('0' + base)) {
		over |= __builtin_mul_overflow(v, (uint64_t)base, &v);
		over |= __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v);
		s++;
	}
	if (s == *at)
		return -EINVAL;
	/* Moved even when it is too large: the caller still wants to know whether the rest has the right form. */
	*at = s;
	*ret = v;
	return over ? -ERANGE : 0;
}

int str_to_u64(const char *s, uint64_t *ret)
{
	uint64_t v;
	int err = take_number(&s, 10, &v);

	if (err == -EINVAL || *s)
		return -EINVAL;
	if (err)
		return err;
	*ret = v;
	return 0;
}

/* The power of two of a size suffix, -1 when it is none. */
static int size_shift(const char *suffix)
{
	static const char letters[] = "kmgt";
	const char *at;

	if (!*suffix || equal_fold(suffix, "b"))
		return 0;
	at = strchr(letters, str_lower(*suffix));
	if (!at)
		return -1;
	suffix++;
	if (*suffix && !equal_fold(suffix, "b") && !equal_fold(suffix, "ib"))
		return -1;
	return 10 * (int)(at - letters + 1);
}

int str_to_size(const char *s, uint64_t *ret)
{
	uint64_t v;
	int err = take_number(&s, 10, &v);
	int shift;

	if (err == -EINVAL)
		return err;
	shift = size_shift(s);
	if (shift < 0)
		return -EINVAL;
	if (err || v > UINT64_MAX >> shift)
		return -ERANGE;
	*ret = v << shift;
	return 0;
}

static const struct {
	const char *name;
	uint64_t ns;
} time_units[] = {
	/* longest first */
	{ "w", 7 * 86400 * NSEC_PER_SEC }, { "d", 86400 * NSEC_PER_SEC }, { "h", 3600 * NSEC_PER_SEC },
	{ "min", 60 * NSEC_PER_SEC },      { "m", 60 * NSEC_PER_SEC },    { "s", NSEC_PER_SEC },
	{ "ms", NSEC_PER_MSEC },           { "us", NSEC_PER_USEC },       { "ns", 1 },
};

#define TIME_UNITS (sizeof(time_units) / sizeof(time_units[0]))

/* Nanoseconds of the unit whose letters are at *at; 0 when it is none. */
static uint64_t take_unit(const char **at)
{
	size_t n = 0;

	while (str_lower((*at)[n]) >= 'a' && str_lower((*at)[n]) <= 'z')
		n++;
	for (size_t i = 0; i < TIME_UNITS; i++) {
		if (strlen(time_units[i].name) == n && starts_fold(*at, time_units[i].name, n)) {
			*at += n;
			return time_units[i].ns;
		}
	}
	return 0;
}

int str_to_nsec(const char *s, uint64_t *ret)
{
	uint64_t sum = 0;
	bool over = false;

	if (strcmp(s, "0") == 0) {
		*ret = 0;
		return 0;
	}
	do {
		uint64_t v, unit;
		int err = take_number(&s, 10, &v);

		if (err == -EINVAL)
			return err;
		unit = take_unit(&s);
		if (unit == 0)
			return -EINVAL;
		over |= err != 0;
		over |= __builtin_mul_overflow(v, unit, &v);
		over |= __builtin_add_overflow(sum, v, &sum);
	} while (*s);
	if (over)
		return -ERANGE;
	*ret = sum;
	return 0;
}

int str_to_mode(const char *s, unsigned *ret)
{
	uint64_t v;
	int err = take_number(&s, 8, &v);

	if (err == -EINVAL || *s)
		return -EINVAL;
	if (err || v > 07777)
		return -ERANGE;
	*ret = (unsigned)v;
	return 0;
}

int str_to_bool(const char *s, bool *ret)
{
	static const char *const words[] = { "no", "yes", "off", "on", "false", "true", "0", "1" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (equal_fold(s, words[i])) {
			*ret = i % 2;
			return 0;
		}
	}
	return -EINVAL;
}

void str_add_size(struct buf *b, uint64_t bytes)
{
	static const char letters[] = "TGMK";

	for (unsigned i = 0; i < 4; i++) {
		unsigned shift = 10 * (4 - i);

		if (bytes != 0 && bytes % (UINT64_C(1) << shift) == 0) {
			buf_addf(b, "%llu%c", (unsigned long long)(bytes >> shift), letters[i]);
			return;
		}
	}
	buf_addf(b, "%llu", (unsigned long long)bytes);
}

void str_add_nsec(struct buf *b, uint64_t ns)
{
	if (ns == 0)
		buf_addc(b, '0');
	for (size_t i = 0; i < TIME_UNITS; i++) {
		uint64_t unit = time_units[i].ns;

		if (unit == 0 || ns < unit || strcmp(time_units[i].name, "min") == 0)
			continue; /* no unit is 0, but the analyzer cannot know */
		buf_addf(b, "%llu%s", (unsigned long long)(ns / unit), time_units[i].name);
		ns %= unit;
	}
}

/* ---- words ---- */

/* Adds what is inside a quote to the word. Returns the byte behind the closing quote, NULL when there is none. */
static const char *take_quoted(const char *s, char quote, struct buf *word)
{
	for (; *s != quote; s++) {
		if (*s == '\0')
			return NULL;
		if (quote == '"' && *s == '\\' && (s[1] == '"' || s[1] == '\\'))
			s++;
		buf_addc(word, *s);
	}
	return s + 1;
}

int str_next_word(const char **at, struct buf *word)
{
	const char *s = *at;

	buf_reset(word);
	while (str_is_space(*s))
		s++;
	if (*s == '\0') {
		*at = s;
		return 0;
	}
	while (*s && !str_is_space(*s)) {
		if (*s == '"' || *s == '\'') {
			s = take_quoted(s + 1, *s, word);
			if (!s)
				return -EINVAL;
			continue;
		}
		if (*s == '\\' && *++s == '\0')
			return -EINVAL;
		buf_addc(word, *s++);
	}
	*at = s;
	return word->err ? word->err : 1;
}

/* The pointers in front, the bytes (each word and its NUL) behind, in one block. */
static int words_block(size_t n, const struct buf *bytes, struct str_words *ret)
{
	size_t head = (n + 1) * sizeof(char *);
	char **v = mem_alloc(head + bytes->n);
	char *p;

	if (!v)
		return -ENOMEM;
	p = (char *)v + head;
	if (bytes->n > 0)
		memcpy(p, bytes->p, bytes->n);
	for (size_t i = 0; i < n; i++) {
		v[i] = p;
		p += strlen(p) + 1;
	}
	v[n] = NULL;
	*ret = (struct str_words){ .v = v, .n = n };
	return 0;
}

int str_split_words(const char *text, size_t max, struct str_words *ret)
{
	BUF_AUTO struct buf word = BUF_INIT(strlen(text) + 1);
	BUF_AUTO struct buf all = BUF_INIT(strlen(text) + 1);
	size_t n = 0;
	int r;

	/* No word is longer than the text, and each needs a NUL in place of its white space or the text's end. */
	while ((r = str_next_word(&text, &word)) > 0) {
		if (n == max)
			return -E2BIG;
		n++;
		buf_add(&all, buf_str(&word), word.n + 1);
	}
	if (r < 0)
		return r;
	return all.err ? all.err : words_block(n, &all, ret);
}

void str_words_done(struct str_words *w)
{
	mem_free(w->v);
	*w = (struct str_words){};
}

int str_words_copy(const struct str_words *w, struct str_words *ret)
{
	BUF_AUTO struct buf all = BUF_INIT(SIZE_MAX - 1);

	for (size_t i = 0; i < w->n; i++)
		buf_add(&all, w->v[i], strlen(w->v[i]) + 1);
	return all.err ? all.err : words_block(w->n, &all, ret);
}

bool str_words_equal(const struct str_words *a, const struct str_words *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->v[i], b->v[i]) != 0)
			return false;
	return true;
}

void str_add_word(struct buf *b, const char *word)
{
	bool plain = *word != '\0';

	for (const char *s = word; *s; s++)
		if (str_is_space(*s) || *s == '"' || *s == '\'' || *s == '\\')
			plain = false;
	if (plain) {
		buf_adds(b, word);
		return;
	}
	buf_addc(b, '"');
	for (const char *s = word; *s; s++) {
		if (*s == '"' || *s == '\\')
			buf_addc(b, '\\');
		buf_addc(b, *s);
	}
	buf_addc(b, '"');
}

/* ---- paths ---- */

int str_path_dir(const char *file, char **ret)
{
	const char *slash = strrchr(file, '/');
	char *dir;

	if (!slash)
		dir = mem_strdup(".");
	else
		dir = mem_strndup(file, slash == file ? 1 : (size_t)(slash - file));
	if (!dir)
		return -ENOMEM;
	*ret = dir;
	return 0;
}

int str_path_from(const char *dir, const char *path, char **ret)
{
	struct buf b;

	buf_init(&b, strlen(dir) + strlen(path) + 1);
	if (path[0] != '/' && *dir && strcmp(dir, ".") != 0) {
		buf_adds(&b, dir);
		if (dir[strlen(dir) - 1] != '/')
			buf_addc(&b, '/');
		if (path[0] == '.' && path[1] == '/')
			path += 2;
	}
	buf_adds(&b, path);
	return buf_take(&b, ret);
}
