/* test_str.c - nearest words, numbers with units, words with quotes, paths. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "base/str.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static void test_closest(void **state)
{
	static const char *const words[] = { "tcp",         "udp",     "tls",   "unix", "listen",
					     "certificate", "backlog", "event", "idle" };
	static const struct {
		const char *word, *best;
	} t[] = {
		{ "tpc", "tcp" },
		{ "tcpp", "tcp" },
		{ "TCP", "tcp" },
		{ "lisen", "listen" },
		{ "listne", "listen" },
		{ "cert", "certificate" },
		{ "certifcate", "certificate" },
		{ "evnt", "event" },
		{ "ilde", "idle" },
		{ "back", "backlog" },
		{ "xyzzy", NULL },
		{ "", NULL },
		{ "q", NULL },
		{ "protocol", NULL },
		{ "udpx", "udp" },
		{ "unx", "unix" },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(t); i++) {
		const char *best = str_closest(t[i].word, words, LENGTH(words));

		if (t[i].best) {
			assert_non_null(best);
			assert_string_equal(best, t[i].best);
		} else {
			assert_null(best);
		}
	}
	assert_null(str_closest("tcp", NULL, 0));
}

enum { SIZE, NSEC, PLAIN };

static void test_numbers(void **state)
{
	static const struct {
		int kind;
		const char *text;
		int err;
		uint64_t v;
		const char *back; /* NULL = the same text */
	} t[] = {
		{ PLAIN, "0", 0, 0, NULL },
		{ PLAIN, "18446744073709551615", 0, UINT64_MAX, NULL },
		{ PLAIN, "18446744073709551616", -ERANGE, 0, NULL },
		{ PLAIN, "99999999999999999999999x", -EINVAL, 0, NULL },
		{ PLAIN, "", -EINVAL, 0, NULL },
		{ PLAIN, "-1", -EINVAL, 0, NULL },
		{ PLAIN, "+1", -EINVAL, 0, NULL },
		{ PLAIN, " 1", -EINVAL, 0, NULL },
		{ PLAIN, "1 ", -EINVAL, 0, NULL },
		{ PLAIN, "0x10", -EINVAL, 0, NULL },
		{ SIZE, "0", 0, 0, NULL },
		{ SIZE, "1500", 0, 1500, NULL },
		{ SIZE, "64K", 0, 65536, NULL },
		{ SIZE, "64k", 0, 65536, "64K" },
		{ SIZE, "64KB", 0, 65536, "64K" },
		{ SIZE, "64KiB", 0, 65536, "64K" },
		{ SIZE, "512B", 0, 512, "512" },
		{ SIZE, "1024", 0, 1024, "1K" },
		{ SIZE, "1M", 0, 1 << 20, NULL },
		{ SIZE, "2G", 0, UINT64_C(2) << 30, NULL },
		{ SIZE, "3T", 0, UINT64_C(3) << 40, NULL },
		{ SIZE, "16777215T", 0, UINT64_C(16777215) << 40, NULL },
		{ SIZE, "16777216T", -ERANGE, 0, NULL },
		{ SIZE, "1P", -EINVAL, 0, NULL },
		{ SIZE, "K", -EINVAL, 0, NULL },
		{ SIZE, "1KK", -EINVAL, 0, NULL },
		{ SIZE, "1.5K", -EINVAL, 0, NULL },
		{ SIZE, "1 K", -EINVAL, 0, NULL },
		{ NSEC, "0", 0, 0, NULL },
		{ NSEC, "0s", 0, 0, "0" },
		{ NSEC, "10s", 0, 10 * NSEC_PER_SEC, NULL },
		{ NSEC, "5m", 0, 300 * NSEC_PER_SEC, NULL },
		{ NSEC, "5min", 0, 300 * NSEC_PER_SEC, "5m" },
		{ NSEC, "250ms", 0, 250 * NSEC_PER_MSEC, NULL },
		{ NSEC, "7us", 0, 7000, NULL },
		{ NSEC, "3ns", 0, 3, NULL },
		{ NSEC, "1h30m", 0, 5400 * NSEC_PER_SEC, NULL },
		{ NSEC, "90m", 0, 5400 * NSEC_PER_SEC, "1h30m" },
		{ NSEC, "2d", 0, 172800 * NSEC_PER_SEC, NULL },
		{ NSEC, "1w1ns", 0, 604800 * NSEC_PER_SEC + 1, NULL },
		{ NSEC, "30500w", 0, UINT64_C(30500) * 604800 * NSEC_PER_SEC, NULL },
		{ NSEC, "30501w", -ERANGE, 0, NULL },
		{ NSEC, "99999999999999999999s", -ERANGE, 0, NULL },
		{ NSEC, "99999999999999999999x", -EINVAL, 0, NULL },
		{ NSEC, "10", -EINVAL, 0, NULL },
		{ NSEC, "s", -EINVAL, 0, NULL },
		{ NSEC, "", -EINVAL, 0, NULL },
		{ NSEC, "10 s", -EINVAL, 0, NULL },
		{ NSEC, "10seconds", -EINVAL, 0, NULL },
		{ NSEC, "1h30", -EINVAL, 0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(t); i++) {
		uint64_t v = 12345;
		const char *text = t[i].text;
		int err = t[i].kind == SIZE   ? str_to_size(text, &v)
			  : t[i].kind == NSEC ? str_to_nsec(text, &v)
					      : str_to_u64(text, &v);
		BUF_AUTO struct buf b = BUF_INIT(100);

		if (err != t[i].err)
			fail_msg("%s: %d", text, err);
		assert_int_equal(v, err ? 12345 : t[i].v);
		if (err || t[i].kind == PLAIN)
			continue;
		if (t[i].kind == SIZE)
			str_add_size(&b, v);
		else
			str_add_nsec(&b, v);
		assert_string_equal(buf_str(&b), t[i].back ? t[i].back : text);
	}
}

static void test_mode_and_bool(void **state)
{
	static const char *const yes[] = { "yes", "on", "true", "1", "YES", "On" };
	static const char *const no[] = { "no", "off", "false", "0", "No" };
	static const char *const neither[] = { "", "y", "yess", "2", "ja" };
	unsigned mode = 1;
	bool b;

	(void)state;
	assert_int_equal(str_to_mode("0660", &mode), 0);
	assert_int_equal(mode, 0660);
	assert_int_equal(str_to_mode("7777", &mode), 0);
	assert_int_equal(str_to_mode("10000", &mode), -ERANGE);
	assert_int_equal(str_to_mode("888", &mode), -EINVAL);
	assert_int_equal(str_to_mode("", &mode), -EINVAL);
	assert_int_equal(mode, 07777);
	for (size_t i = 0; i < LENGTH(yes); i++) {
		b = false;
		assert_int_equal(str_to_bool(yes[i], &b), 0);
		assert_true(b);
	}
	for (size_t i = 0; i < LENGTH(no); i++) {
		b = true;
		assert_int_equal(str_to_bool(no[i], &b), 0);
		assert_false(b);
	}
	for (size_t i = 0; i < LENGTH(neither); i++)
		assert_int_equal(str_to_bool(neither[i], &b), -EINVAL);
}

static void test_words(void **state)
{
	static const struct {
		const char *text;
		int err;
		size_t n;
		const char *w[4];
	} t[] = {
		{ "", 0, 0, {} },
		{ " \t\n", 0, 0, {} },
		{ "one", 0, 1, { "one" } },
		{ "  a  bc\nd ", 0, 3, { "a", "bc", "d" } },
		{ "a 'b c' \"d e\"", 0, 3, { "a", "b c", "d e" } },
		{ "a'b'\"c\"d", 0, 1, { "abcd" } },
		{ "'' \"\"", 0, 2, { "", "" } },
		{ "\"a\\\"b\\\\c\\d\"", 0, 1, { "a\"b\\c\\d" } },
		{ "'a\\'", 0, 1, { "a\\" } },
		{ "a\\ b \\'", 0, 2, { "a b", "'" } },
		{ "'open", -EINVAL, 0, {} },
		{ "a \"open", -EINVAL, 0, {} },
		{ "\"a\\", -EINVAL, 0, {} },
		{ "\"a\\\"", -EINVAL, 0, {} },
		{ "end\\", -EINVAL, 0, {} },
		{ "1 2 3 4", 0, 4, { "1", "2", "3", "4" } },
		{ "1 2 3 4 5", -E2BIG, 0, {} },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(t); i++) {
		struct str_words w = {}, again = {}, copy = {};
		BUF_AUTO struct buf b = BUF_INIT(100);

		assert_int_equal(str_split_words(t[i].text, 4, &w), t[i].err);
		assert_int_equal(w.n, t[i].n);
		if (t[i].err)
			continue;
		assert_null(w.v[w.n]);
		for (size_t j = 0; j < w.n; j++) {
			assert_string_equal(w.v[j], t[i].w[j]);
			buf_addc(&b, ' ');
			str_add_word(&b, w.v[j]);
		}
		assert_int_equal(str_split_words(buf_str(&b), 4, &again), 0);
		assert_true(str_words_equal(&w, &again));
		assert_int_equal(str_words_copy(&w, &copy), 0);
		assert_true(str_words_equal(&w, &copy));
		str_words_done(&w);
		str_words_done(&again);
		str_words_done(&copy);
	}
}

static void test_words_differ(void **state)
{
	struct str_words a = {}, b = {}, c = {};

	(void)state;
	assert_int_equal(str_split_words("x y", 4, &a), 0);
	assert_int_equal(str_split_words("x z", 4, &b), 0);
	assert_int_equal(str_split_words("x", 4, &c), 0);
	assert_false(str_words_equal(&a, &b));
	assert_false(str_words_equal(&a, &c));
	str_words_done(&a);
	str_words_done(&b);
	str_words_done(&c);
	str_words_done(&c);
}

static void test_paths(void **state)
{
	static const struct {
		const char *file, *dir;
	} dirs[] = { { "b.conf", "." }, { "a/b.conf", "a" }, { "/b.conf", "/" }, { "/a/b/c", "/a/b" }, { "", "." } };
	static const struct {
		const char *dir, *path, *seen;
	} t[] = {
		{ "/etc/g", "x", "/etc/g/x" },
		{ "/etc/g", "./x", "/etc/g/x" },
		{ "/etc/g/", "x", "/etc/g/x" },
		{ "/", "x", "/x" },
		{ "/etc/g", "/x", "/x" },
		{ ".", "./x", "./x" },
		{ "", "x", "x" },
		{ "a", "../x", "a/../x" },
	};
	char *p;

	(void)state;
	for (size_t i = 0; i < LENGTH(dirs); i++) {
		assert_int_equal(str_path_dir(dirs[i].file, &p), 0);
		assert_string_equal(p, dirs[i].dir);
		mem_free(p);
	}
	for (size_t i = 0; i < LENGTH(t); i++) {
		assert_int_equal(str_path_from(t[i].dir, t[i].path, &p), 0);
		assert_string_equal(p, t[i].seen);
		mem_free(p);
	}
}

#ifdef GUICHET_FAULTS
static int with_memory(void)
{
	struct str_words w = {}, copy = {};
	char *dir = NULL, *path = NULL;
	int err = str_split_words("a 'b c' d", 10, &w);

	if (!err)
		err = str_words_copy(&w, &copy);
	if (!err)
		err = str_path_dir("/x/y", &dir);
	if (!err)
		err = str_path_from("/x", "y", &path);
	str_words_done(&w);
	str_words_done(&copy);
	mem_free(dir);
	mem_free(path);
	return err;
}

static void test_no_memory(void **state)
{
	bool failed = true;

	(void)state;
	for (unsigned long n = 1; failed; n++) {
		int err;

		fault_arm(FAULT_MEM, n, 0, false);
		err = with_memory();
		failed = fault_calls(FAULT_MEM) >= n;
		assert_int_equal(err, failed ? -ENOMEM : 0);
	}
	fault_arm(FAULT_MEM, 0, 0, false);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_closest),       cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_mode_and_bool), cmocka_unit_test(test_words),
		cmocka_unit_test(test_words_differ),  cmocka_unit_test(test_paths),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_no_memory),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
