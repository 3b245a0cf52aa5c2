/*
 * span.h - borrowed bytes: a pointer and a length, owned by somebody else.
 * Whoever hands out a span says how long it lives; nothing here allocates.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const uint8_t *p;
	size_t n;
};

/* The bytes of a C string, without its NUL; lives as long as the string. */
static inline struct span span_str(const char *s)
{
	return (struct span){ (const uint8_t *)s, strlen(s) };
}

/* True when both have the same bytes. */
static inline bool span_same(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); /* an empty span may point nowhere */
}

/* True when the span is exactly the bytes of `word`. */
static inline bool span_is(struct span s, const char *word)
{
	return span_same(s, (struct span){ (const uint8_t *)word, strlen(word) });
}

/* True when the span starts with the bytes of `word`. */
static inline bool span_starts(struct span s, const char *word)
{
	size_t n = strlen(word);

	return s.n >= n && (n == 0 || memcmp(s.p, word, n) == 0);
}
