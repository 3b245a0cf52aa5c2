/*
 * buf.h - a text or byte buffer that grows up to a maximum given at birth: error messages, help, JSON, log lines.
 * Not the output of a session: that is a chain of chunks in core.
 *
 * Errors stick. The first failure is kept in `err`, what was there stays, later additions do nothing; so a
 * caller adds at will and looks at `err` once, or never when a cut text is good enough. The bytes are always
 * followed by a NUL that `n` does not count.
 */
#pragma once
#include <stdarg.h>
#include <stddef.h>

#include "base/span.h"

struct buf {
	char *p;    /* NULL until something was added; use buf_str() to read it as text */
	size_t n;   /* bytes in it */
	size_t cap; /* bytes allocated, the NUL included */
	size_t max; /* n never passes it */
	int err;    /* 0, -ENOMEM, or -EMSGSIZE: what was past `max` is cut off */
	bool fixed; /* p belongs to the caller: never grown, never freed */
};

/* Allocates nothing. `max` > 0 bytes. */
void buf_init(struct buf *b, size_t max);

/*
 * A buffer over the caller's array of `size` >= 1 bytes: it never allocates, holds size - 1 bytes, and needs no
 * buf_done().
 */
void buf_init_fixed(struct buf *b, char *array, size_t size);

/* Frees the bytes; the buffer is then empty, without error, and can be used again with the same maximum. */
void buf_done(struct buf *b);

/* Forgets the bytes and the error, keeps the memory. */
void buf_reset(struct buf *b);

/* Add n bytes, a C string, one byte. */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);

/* Add as printf would. A bad format or a failing conversion is -EINVAL in `err`. */
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_addv(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/*
 * Add bytes that somebody else chose, safe to show: in double quotes, `"` `\` and what is not printable ASCII or
 * valid UTF-8 escaped.
 */
void buf_add_quoted(struct buf *b, struct span s);

/* The same for messages: at most BUF_EXCERPT bytes of it, and dots behind the quote when there was more. */
#define BUF_EXCERPT 60
void buf_add_excerpt(struct buf *b, struct span s);

/* Add as a JSON string, quotes included; what is not UTF-8 becomes U+FFFD. */
void buf_add_json(struct buf *b, struct span s);

/* Cut to n bytes; n above b->n changes nothing. */
void buf_cut(struct buf *b, size_t n);

/* The text, "" when empty; valid until the buffer changes. */
const char *buf_str(const struct buf *b);

/* The bytes; valid until the buffer changes. */
static inline struct span buf_span(const struct buf *b)
{
	return (struct span){ (const uint8_t *)buf_str(b), b->n };
}

/*
 * Hand the text over to the caller (mem_free) and leave the buffer empty. An empty buffer gives an empty string.
 * Returns 0, or the sticky error and then frees what there was. Not for a fixed buffer.
 */
[[nodiscard]] int buf_take(struct buf *b, char **ret);

/* For a buffer that lives as long as its block: `BUF_AUTO struct buf why = BUF_INIT(256);` */
#define BUF_INIT(MAX) \
	{ \
		.max = (MAX) \
	}
#define BUF_AUTO __attribute__((cleanup(buf_done)))
