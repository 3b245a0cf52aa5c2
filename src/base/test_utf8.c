/* test_utf8.c - every code point, every two bytes with others around each border, and faults among plain text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

#define SPAN(text) ((struct span){ (const uint8_t *)(text), sizeof(text) - 1 })

/* The definition, the other way round: the bytes of a code point. */
static size_t encode(uint32_t c, uint8_t p[static 4])
{
	if (c < 0x80) {
		p[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		p[0] = (uint8_t)(0xc0 | c >> 6);
		p[1] = (uint8_t)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		p[0] = (uint8_t)(0xe0 | c >> 12);
		p[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		p[2] = (uint8_t)(0x80 | (c & 0x3f));
		return 3;
	}
	p[0] = (uint8_t)(0xf0 | c >> 18);
	p[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
	p[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
	p[3] = (uint8_t)(0x80 | (c & 0x3f));
	return 4;
}

static bool is_scalar(uint32_t c)
{
	return c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
}

/* Every code point there is, and past the end, reads back as itself, whole only. */
static void test_code_points(void **state)
{
	uint8_t p[4];

	(void)state;
	for (uint32_t c = 0; c < 0x110000 + 0x1000; c++) {
		size_t n = encode(c, p), got;
		uint32_t back = 77;

		got = utf8_char((struct span){ p, n }, &back);
		if (is_scalar(c) ? got != n || back != c : got != 0 || back != 77)
			fail_msg("U+%04X: %zu bytes, U+%04X", c, got, back);
		if (utf8_valid((struct span){ p, n }) != is_scalar(c))
			fail_msg("U+%04X", c);
		if (utf8_is_text((struct span){ p, n }) != (is_scalar(c) && c != 0))
			fail_msg("U+%04X as text", c);
		for (size_t cut = 1; cut < n; cut++)
			assert_int_equal(utf8_char((struct span){ p, cut }, &back), 0);
	}
	assert_int_equal(utf8_char((struct span){}, &(uint32_t){ 0 }), 0);
}

/* Well-formed first characters by table 3-7 of Unicode, written as it stands there. */
static size_t table(const uint8_t *p)
{
	static const uint8_t rows[][5] = {
		/* first byte, second byte, bytes */
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	if (p[0] < 0x80)
		return 1;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const uint8_t *r = rows[i];
		bool ok = p[0] >= r[0] && p[0] <= r[1] && p[1] >= r[2] && p[1] <= r[3];

		for (size_t k = 2; k < r[4]; k++)
			ok = ok && p[k] >= 0x80 && p[k] <= 0xbf;
		if (ok)
			return r[4];
	}
	return 0;
}

/* All first two bytes, the others around their borders. */
static void test_bytes(void **state)
{
	static const uint8_t edge[] = { 0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff };

	(void)state;
	for (unsigned a = 0; a < 0x10000; a++) {
		for (unsigned i = 0; i < 100; i++) {
			uint8_t p[4] = { (uint8_t)(a >> 8), (uint8_t)a, edge[i / 10], edge[i % 10] };
			uint32_t c;

			if (utf8_char((struct span){ p, 4 }, &c) != table(p))
				fail_msg("%02x %02x %02x %02x", p[0], p[1], p[2], p[3]);
		}
	}
}

/* What is wrong is found wherever it stands among plain text, so in every part of a word. */
static void test_places(void **state)
{
	static const struct {
		struct span s;
		bool valid, text;
	} rows[] = {
		{ SPAN("\0"), true, false },
		{ SPAN("\x7f"), true, true },
		{ SPAN("\x80"), false, false },
		{ SPAN("\xc3\xa9"), true, true },
		{ SPAN("\xc3"), false, false },
		{ SPAN("\xc0\x80"), false, false },         /* an overlong NUL */
		{ SPAN("\xc1\xbf"), false, false },         /* and an overlong DEL */
		{ SPAN("\xe0\x80\xaf"), false, false },     /* an overlong slash */
		{ SPAN("\xf0\x82\x82\xac"), false, false }, /* an overlong euro */
		{ SPAN("\xef\xbb\xbf"), true, true },       /* a BOM is a character */
		{ SPAN("\xef\xbf\xbf"), true, true },       /* so is a noncharacter */
		{ SPAN("\xed\xa0\x80"), false, false },
		{ SPAN("\xf4\x8f\xbf\xbf"), true, true },
		{ SPAN("\xf4\x90\x80\x80"), false, false },
		{ SPAN("\xff"), false, false },
	};
	uint8_t text[64];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t at = 0; at < 24; at++) {
			for (size_t behind = 0; behind < 24; behind++) {
				struct span s = { text, at + rows[i].s.n + behind };

				memset(text, 'a', sizeof(text));
				memcpy(text + at, rows[i].s.p, rows[i].s.n);
				assert_int_equal(utf8_valid(s), rows[i].valid);
				assert_int_equal(utf8_is_text(s), rows[i].text);
			}
		}
	}
	assert_true(utf8_valid((struct span){}));
	assert_true(utf8_is_text((struct span){}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_code_points),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
