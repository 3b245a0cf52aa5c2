/* buf.c - the growable text buffer; room is made in one place, which is where every limit is kept. */
#include "base/buf.h"

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"

#define BUF_FIRST 64 /* bytes of the first allocation: most messages fit */

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max };
}

void buf_init_fixed(struct buf *b, char *array, size_t size)
{
	array[0] = '\0';
	*b = (struct buf){ .p = array, .cap = size, .max = size - 1, .fixed = true };
}

void buf_done(struct buf *b)
{
	if (b->fixed) {
		buf_reset(b);
		return;
	}
	mem_free(b->p);
	buf_init(b, b->max);
}

void buf_reset(struct buf *b)
{
	b->n = 0;
	b->err = 0;
	if (b->p)
		b->p[0] = '\0';
}

/*
 * Makes room for up to n more bytes and their NUL. Returns how many may be added: fewer past `max`, 0 after an error.
 */
static size_t make_room(struct buf *b, size_t n)
{
	size_t want, cap;
	char *p;

	if (b->err || n == 0) /* no bytes, no block: it would have no NUL */
		return 0;
	if (n > b->max - b->n) {
		n = b->max - b->n;
		b->err = -EMSGSIZE;
	}
	want = b->n + n + 1;
	if (want <= b->cap)
		return n;
	cap = b->cap ? b->cap : BUF_FIRST;
	while (cap < want)
		cap = cap > SIZE_MAX / 2 ? want : cap * 2;
	if (cap > b->max + 1)
		cap = b->max + 1;
	p = mem_realloc(b->p, cap);
	if (!p) {
		b->err = -ENOMEM;
		return 0;
	}
	b->p = p;
	b->cap = cap;
	return n;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	n = make_room(b, n);
	if (n == 0)
		return;
	memcpy(b->p + b->n, p, n);
	b->n += n;
	b->p[b->n] = '\0';
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_addv(b, fmt, ap);
	va_end(ap);
}

void buf_addv(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	size_t n;
	int len;

	if (b->err)
		return;
	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (len < 0) {
		b->err = -EINVAL;
		return;
	}
	n = make_room(b, (size_t)len);
	if (n == 0)
		return;
	/* Writes n bytes and a NUL: what is past the maximum is cut here. */
	vsnprintf(b->p + b->n, n + 1, fmt, ap);
	b->n += n;
}

/* Length of the valid UTF-8 sequence at p, 2 to 4 bytes; else 0. */
static size_t utf8_length(const uint8_t *p, size_t n)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	uint32_t c;

	if (p[0] < 0xc2 || p[0] > 0xf4 || len > n)
		return 0;
	c = p[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return len;
}

/* The same without the C1 controls, which a terminal obeys. */
static size_t utf8_shown(const uint8_t *p, size_t n)
{
	return p[0] == 0xc2 && n > 1 && p[1] < 0xa0 ? 0 : utf8_length(p, n);
}

static void add_escaped(struct buf *b, uint8_t c)
{
	switch (c) {
	case '"':
	case '\\':
		buf_addf(b, "\\%c", c);
		break;
	case '\n':
		buf_adds(b, "\\n");
		break;
	case '\r':
		buf_adds(b, "\\r");
		break;
	case '\t':
		buf_adds(b, "\\t");
		break;
	default:
		buf_addf(b, "\\x%02x", c);
	}
}

void buf_add_quoted(struct buf *b, struct span s)
{
	size_t i = 0;

	buf_addc(b, '"');
	while (i < s.n) {
		size_t len = utf8_shown(s.p + i, s.n - i);

		if (s.p[i] >= ' ' && s.p[i] < 0x7f && s.p[i] != '"' && s.p[i] != '\\')
			len = 1;
		if (len > 0) {
			buf_add(b, s.p + i, len);
			i += len;
		} else {
			add_escaped(b, s.p[i++]);
		}
	}
	buf_addc(b, '"');
}

void buf_add_json(struct buf *b, struct span s)
{
	size_t i = 0;

	buf_addc(b, '"');
	while (i < s.n) {
		uint8_t c = s.p[i];
		size_t len = utf8_length(s.p + i, s.n - i);

		if (len > 0) {
			buf_add(b, s.p + i, len);
			i += len;
			continue;
		}
		i++;
		if (c >= 0x80)
			buf_adds(b, "\\ufffd");
		else if (c < ' ' || c == 0x7f)
			buf_addf(b, "\\u%04x", c);
		else if (c == '"' || c == '\\')
			buf_addf(b, "\\%c", c);
		else
			buf_addc(b, (char)c);
	}
	buf_addc(b, '"');
}

void buf_add_excerpt(struct buf *b, struct span s)
{
	size_t n = s.n;

	if (n > BUF_EXCERPT) {
		/* Not in the middle of a character; three bytes back is enough for any. */
		n = BUF_EXCERPT;
		while (n > BUF_EXCERPT - 3 && (s.p[n] & 0xc0) == 0x80)
			n--;
	}
	buf_add_quoted(b, (struct span){ s.p, n });
	if (n < s.n)
		buf_adds(b, "...");
}

void buf_cut(struct buf *b, size_t n)
{
	if (n >= b->n)
		return;
	b->n = n;
	b->p[n] = '\0';
}

const char *buf_str(const struct buf *b)
{
	return b->p ? b->p : "";
}

int buf_take(struct buf *b, char **ret)
{
	int err = b->err;
	char *text = b->p;

	if (err) {
		buf_done(b);
		return err;
	}
	if (!text) {
		text = mem_strdup("");
		if (!text)
			return -ENOMEM;
	}
	*ret = text;
	buf_init(b, b->max);
	return 0;
}
