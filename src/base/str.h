/*
 * str.h - small things done with C strings: the nearest word, numbers with units, words with quotes.
 * ASCII only, no locale. A function that parses takes the whole string: what is left over is -EINVAL.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define NSEC_PER_USEC UINT64_C(1000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_SEC UINT64_C(1000000000)

/*
 * The nearest of several words, for "did you mean". Candidates may come from several places:
 *	struct str_closest c = str_closest_start(word);
 *	for (...) str_closest_offer(&c, candidate);
 *	if (c.best) ...
 * Near is by Damerau-Levenshtein distance without regard to case, at most a third of the longer word (and one
 * for a word of two or three letters), or a word of which `word` is the beginning. Words above 63 bytes are never near.
 */
struct str_closest {
	const char *word;
	const char *best; /* NULL = none is near enough; a borrowed candidate */
	unsigned distance;
};

struct str_closest str_closest_start(const char *word);
void str_closest_offer(struct str_closest *c, const char *candidate);

/* The same over an array; NULL when none is near. */
const char *str_closest(const char *word, const char *const *words, size_t n);

/* Adds `, did you mean "BEST"?` or nothing when best is NULL. */
void str_add_hint(struct buf *b, const char *best);

/*
 * Numbers. 0, -EINVAL (not of this form) or -ERANGE (too large for the type). No sign, no white space.
 *	u64:  decimal digits
 *	size: digits, then nothing, B, K, M, G or T (powers of 1024, any case, an optional B or iB after)
 *	nsec: digits, then ns us ms s m min h d w; `0` alone needs no unit, other numbers do; parts add up: 1h30m
 *	mode: octal digits, at most 07777
 *	bool: yes no on off true false 1 0, any case
 */
[[nodiscard]] int str_to_u64(const char *s, uint64_t *ret);
[[nodiscard]] int str_to_size(const char *s, uint64_t *ret);
[[nodiscard]] int str_to_nsec(const char *s, uint64_t *ret);
[[nodiscard]] int str_to_mode(const char *s, unsigned *ret);
[[nodiscard]] int str_to_bool(const char *s, bool *ret);

/* The shortest text that reads back as the same value: 64K, 1500; 1h30m, 250ms, 0. */
void str_add_size(struct buf *b, uint64_t bytes);
void str_add_nsec(struct buf *b, uint64_t ns);

/*
 * Words, split as a shell would split them, but nothing is expanded: white space separates; '...' is literal; in
 * "..." a backslash escapes " and \; elsewhere a backslash escapes any byte. "" is an empty word.
 *
 * The next word of *at goes into `word` (reset first) and *at moves behind it. Returns 1, 0 at the end,
 * -EINVAL for a quote that is not closed or a backslash at the end, or the buffer's error.
 */
[[nodiscard]] int str_next_word(const char **at, struct buf *word);

/* All of them. `v` has a NULL after the last word, as execv() wants; words and pointers are one block. */
struct str_words {
	char **v; /* NULL when n is 0 and nothing was ever parsed */
	size_t n;
};

/* 0, -EINVAL as above, -E2BIG for more than `max` words, -ENOMEM. The caller frees *ret with str_words_done(). */
[[nodiscard]] int str_split_words(const char *text, size_t max, struct str_words *ret);
void str_words_done(struct str_words *w);

/* A copy that shares nothing; 0 or -ENOMEM. And are two the same? */
[[nodiscard]] int str_words_copy(const struct str_words *w, struct str_words *ret);
bool str_words_equal(const struct str_words *a, const struct str_words *b);

/* Adds a word so that str_next_word() reads it back: quoted when it has to be. */
void str_add_word(struct buf *b, const char *word);

/*
 * Paths, as strings only. The folder of a file's name: `a/b.conf` gives `a`, `b.conf` gives `.`, `/b.conf` gives `/`.
 * And a path seen from a folder: an absolute one as it is, another behind `dir` and a slash; "" and `.` as dir change
 * nothing. The caller frees *ret (mem_free). 0 or -ENOMEM.
 */
[[nodiscard]] int str_path_dir(const char *file, char **ret);
[[nodiscard]] int str_path_from(const char *dir, const char *path, char **ret);

/* ASCII, whatever the locale. */
static inline bool str_is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline bool str_is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool str_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline char str_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}
