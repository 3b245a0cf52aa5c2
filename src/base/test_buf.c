/* test_buf.c - growth, limits, sticky errors, quoting; every allocation failing in turn. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/mem.h"

static void test_empty(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	assert_string_equal(buf_str(&b), "");
	assert_int_equal(buf_span(&b).n, 0);
	buf_add(&b, "", 0);
	buf_adds(&b, "");
	buf_addf(&b, "%s", "");
	assert_int_equal(b.err, 0);
	assert_string_equal(buf_str(&b), "");
	buf_cut(&b, 0);
	buf_cut(&b, 5);
	buf_reset(&b);
	buf_done(&b);
	buf_done(&b);
}

static void test_grows(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 100000);
	for (int i = 0; i < 10000; i++)
		buf_addf(&b, "%05d", i);
	assert_int_equal(b.err, 0);
	assert_int_equal(b.n, 50000);
	assert_memory_equal(b.p + 5 * 1234, "01234", 5);
	assert_int_equal(b.p[b.n], '\0');
	buf_cut(&b, 7);
	assert_string_equal(buf_str(&b), "0000000");
	buf_done(&b);
}

static void test_max_cuts(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 5);
	buf_adds(&b, "abc");
	assert_int_equal(b.err, 0);
	buf_adds(&b, "defg");
	assert_int_equal(b.err, -EMSGSIZE);
	assert_string_equal(buf_str(&b), "abcde");
	buf_adds(&b, "x");
	assert_string_equal(buf_str(&b), "abcde");
	buf_reset(&b);
	buf_addf(&b, "%s-%d", "12", 3456);
	assert_string_equal(buf_str(&b), "12-34");
	assert_int_equal(b.err, -EMSGSIZE);
	buf_done(&b);
	assert_int_equal(b.err, 0);
	buf_adds(&b, "12345");
	assert_int_equal(b.err, 0);
	buf_addc(&b, '6');
	assert_int_equal(b.err, -EMSGSIZE);
	buf_done(&b);
}

static void test_fixed(void **state)
{
	char array[8];
	struct buf b;

	(void)state;
	buf_init_fixed(&b, array, sizeof(array));
	assert_string_equal(array, "");
	buf_adds(&b, "1234567");
	assert_int_equal(b.err, 0);
	assert_string_equal(array, "1234567");
	buf_addc(&b, '8');
	assert_int_equal(b.err, -EMSGSIZE);
	assert_string_equal(array, "1234567");
	buf_done(&b);
	assert_string_equal(array, "");
	buf_init_fixed(&b, array, 1);
	buf_addf(&b, "%d", 1);
	assert_string_equal(buf_str(&b), "");
	assert_int_equal(b.err, -EMSGSIZE);
}

static void test_quoted(void **state)
{
	static const struct {
		const char *in, *quoted, *json;
	} t[] = {
		{ "", "\"\"", "\"\"" },
		{ "plain", "\"plain\"", "\"plain\"" },
		{ "a\"b\\c", "\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\"" },
		{ "\n\r\t\x1b\x7f", "\"\\n\\r\\t\\x1b\\x7f\"", "\"\\u000a\\u000d\\u0009\\u001b\\u007f\"" },
		{ "h\xc3\xa9", "\"h\xc3\xa9\"", "\"h\xc3\xa9\"" },
		{ "\xe2\x82\xac\xf0\x9f\x99\x82", "\"\xe2\x82\xac\xf0\x9f\x99\x82\"",
		  "\"\xe2\x82\xac\xf0\x9f\x99\x82\"" },
		{ "\xc2\x9b", "\"\\xc2\\x9b\"", "\"\xc2\x9b\"" },       /* CSI: obeyed by terminals */
		{ "\xc0\xaf", "\"\\xc0\\xaf\"", "\"\\ufffd\\ufffd\"" }, /* overlong */
		{ "\xe0\x80\xaf", "\"\\xe0\\x80\\xaf\"", "\"\\ufffd\\ufffd\\ufffd\"" },
		{ "\xed\xa0\x80", "\"\\xed\\xa0\\x80\"", "\"\\ufffd\\ufffd\\ufffd\"" }, /* surrogate */
		{ "\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\"", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
		{ "\xe2\x82", "\"\\xe2\\x82\"", "\"\\ufffd\\ufffd\"" }, /* cut */
		{ "\xff", "\"\\xff\"", "\"\\ufffd\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		BUF_AUTO struct buf b = BUF_INIT(100);

		buf_add_quoted(&b, span_str(t[i].in));
		assert_string_equal(buf_str(&b), t[i].quoted);
		buf_reset(&b);
		buf_add_json(&b, span_str(t[i].in));
		assert_string_equal(buf_str(&b), t[i].json);
	}
}

static void test_excerpt(void **state)
{
	char text[200];
	BUF_AUTO struct buf b = BUF_INIT(1000);

	(void)state;
	memset(text, 'x', sizeof(text));
	buf_add_excerpt(&b, (struct span){ (uint8_t *)text, BUF_EXCERPT });
	assert_int_equal(b.n, BUF_EXCERPT + 2);
	buf_reset(&b);
	/* A character of two bytes across the limit is left out as a whole. */
	memcpy(text + BUF_EXCERPT - 1, "\xc3\xa9", 2);
	buf_add_excerpt(&b, (struct span){ (uint8_t *)text, sizeof(text) });
	assert_int_equal(b.n, BUF_EXCERPT - 1 + 2 + 3);
	assert_string_equal(buf_str(&b) + b.n - 5, "x\"...");
}

static void test_take(void **state)
{
	struct buf b;
	char *text;

	(void)state;
	buf_init(&b, 5);
	assert_int_equal(buf_take(&b, &text), 0);
	assert_string_equal(text, "");
	mem_free(text);
	buf_adds(&b, "abc");
	assert_int_equal(buf_take(&b, &text), 0);
	assert_string_equal(text, "abc");
	mem_free(text);
	assert_int_equal(b.n, 0);
	buf_adds(&b, "abcdef");
	assert_int_equal(buf_take(&b, &text), -EMSGSIZE);
	assert_int_equal(b.err, 0);
	assert_null(b.p);
}

#ifdef GUICHET_FAULTS
static void test_no_memory(void **state)
{
	bool failed = true;

	(void)state;
	for (unsigned long n = 1; failed; n++) {
		struct buf b;
		char *text = NULL;
		int err;

		buf_init(&b, 10000);
		fault_arm(FAULT_MEM, n, 0, false);
		for (int i = 0; i < 500; i++)
			buf_addf(&b, "%d,", i);
		failed = fault_calls(FAULT_MEM) >= n;
		if (failed)
			assert_int_equal(b.err, -ENOMEM);
		assert_int_equal(strlen(buf_str(&b)), b.n);
		err = buf_take(&b, &text);
		assert_int_equal(err, failed ? -ENOMEM : 0);
		mem_free(text);
	}
	fault_arm(FAULT_MEM, 1, 0, false);
	struct buf b;
	char *text;

	buf_init(&b, 10);
	assert_int_equal(buf_take(&b, &text), -ENOMEM);
	fault_arm(FAULT_MEM, 0, 0, false);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),     cmocka_unit_test(test_grows),  cmocka_unit_test(test_max_cuts),
		cmocka_unit_test(test_fixed),     cmocka_unit_test(test_quoted), cmocka_unit_test(test_excerpt),
		cmocka_unit_test(test_take),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_no_memory),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
