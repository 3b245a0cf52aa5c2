/*
 * utf8.c - almost all text is ASCII, so eight bytes at once are looked at for a byte that is not; from there on it goes
 * character by character until eight plain ones follow each other again. The last eight may overlap those before.
 */
#include "base/utf8.h"

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

size_t utf8_char(struct span s, uint32_t *ret)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t c;
	size_t n;

	if (s.n == 0)
		return 0;
	c = s.p[0];
	if (c < 0x80) {
		*ret = c;
		return 1;
	}
	n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
	if (c < 0xc2 || c > 0xf4 || n > s.n)
		return 0;
	c &= 0xffu >> (n + 1);
	for (size_t i = 1; i < n; i++) {
		if ((s.p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s.p[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret = c;
	return n;
}

/* Eight bytes of ASCII without a NUL? Below 0x80 a byte borrows in v - ONES only when it is 0. */
static bool plain(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return ((v | (v - ONES)) & HIGHS) == 0;
}

static bool check(struct span s, bool nul)
{
	uint32_t c = 0;

	if (s.n >= 8 && plain(s.p + s.n - 8)) {
		while (s.n >= 8 && plain(s.p))
			s = (struct span){ s.p + 8, s.n - 8 };
		if (s.n < 8)
			return true;
	}
	while (s.n > 0) {
		size_t n = utf8_char(s, &c);

		if (n == 0 || (c == 0 && !nul))
			return false;
		s = (struct span){ s.p + n, s.n - n };
		while (s.n >= 8 && plain(s.p))
			s = (struct span){ s.p + 8, s.n - 8 };
	}
	return true;
}

bool utf8_valid(struct span s)
{
	return check(s, true);
}

bool utf8_is_text(struct span s)
{
	return check(s, false);
}
