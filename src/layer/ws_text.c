/*
 * ws_text.c - UTF-8 that comes in pieces. What comes in is refused with its first byte that cannot be right (RFC 6455 8.1, RFC 3629);
 * what goes out is a stream that knows nothing of characters, and what is none in it is replaced.
 */
#include "layer/ws_priv.h"

static const uint8_t replacement[3] = { 0xef, 0xbf, 0xbd };

/* The first byte of a character; false: it is none. */
static bool begin(struct ws_utf8 *u, uint8_t c)
{
	*u = (struct ws_utf8){ 0, 0x80, 0xbf };
	if (c >= 0xc2 && c <= 0xdf)
		u->need = 1;
	else if (c >= 0xe0 && c <= 0xef)
		u->need = 2;
	else if (c >= 0xf0 && c <= 0xf4)
		u->need = 3;
	else
		return c < 0x80;
	if (c == 0xe0)
		u->low = 0xa0; /* shorter otherwise */
	else if (c == 0xed)
		u->high = 0x9f; /* surrogates */
	else if (c == 0xf0)
		u->low = 0x90;
	else if (c == 0xf4)
		u->high = 0x8f; /* past U+10FFFF */
	return true;
}

static bool feed(struct ws_utf8 *u, uint8_t c)
{
	if (u->need == 0)
		return begin(u, c);
	if (c < u->low || c > u->high)
		return false;
	*u = (struct ws_utf8){ u->need - 1, 0x80, 0xbf };
	return true;
}

/* How many bytes of ASCII it begins with, at least; eight at a time. */
static size_t ascii(struct span s)
{
	size_t i = 0;

	for (uint64_t v; s.n - i >= sizeof(v); i += sizeof(v)) {
		memcpy(&v, s.p + i, sizeof(v));
		if (v & 0x8080808080808080u)
			break;
	}
	return i;
}

bool ws_utf8_feed(struct ws_utf8 *u, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (u->need == 0) {
			i += ascii((struct span){ s.p + i, s.n - i });
			if (i == s.n)
				break;
		}
		if (!feed(u, s.p[i]))
			return false;
	}
	return true;
}

static size_t replace(struct ws_text *t, uint8_t *to)
{
	t->u = (struct ws_utf8){};
	t->n = 0;
	memcpy(to, replacement, sizeof(replacement));
	return sizeof(replacement);
}

size_t ws_text_take(struct ws_text *t, struct span *s, uint8_t *to, size_t n)
{
	size_t have = 0;

	while (s->n && n - have >= 2 * sizeof(replacement)) {
		uint8_t c = *s->p;

		if (!feed(&t->u, c)) {
			bool again = t->n > 0; /* what broke a character may begin another */

			have += replace(t, to + have);
			if (again)
				continue;
		} else if (t->u.need) {
			t->part[t->n++] = c;
		} else {
			memcpy(to + have, t->part, t->n);
			have += t->n;
			to[have++] = c;
			t->n = 0;
		}
		s->p++;
		s->n--;
	}
	return have;
}

size_t ws_text_end(struct ws_text *t, uint8_t *to)
{
	return t->n ? replace(t, to) : 0;
}
