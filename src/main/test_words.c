/* test_words.c - services in one word of the command line, and options of commands. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/fault.h"
#include "main/args.h"
#include "main/words.h"

static void check_word(const char *text, const char *service, const char *address, size_t n)
{
	char said[256];
	struct buf why;
	struct word w;

	buf_init_fixed(&why, said, sizeof(said));
	assert_int_equal(word_parse(text, &w, &why), 0);
	assert_string_equal(w.service, service);
	assert_string_equal(w.address, address);
	assert_int_equal(w.n, n);
	word_done(&w);
}

static void refuse_word(const char *text, const char *expect)
{
	char said[256];
	struct buf why;
	struct word w;

	buf_init_fixed(&why, said, sizeof(said));
	assert_int_equal(word_parse(text, &w, &why), -EINVAL);
	assert_non_null(strstr(said, expect));
}

static void test_words(void **state)
{
	struct word w;

	(void)state;
	check_word("echo@tcp:7007", "echo", "tcp:7007", 0);
	check_word("echo@tcp:[::1]:7007,upper=yes", "echo", "tcp:[::1]:7007", 1);
	check_word("echo@unix:/tmp/a,b.sock,upper=yes,until=.", "echo", "unix:/tmp/a,b.sock", 2);
	check_word("a b@udp:1", "a b", "udp:1", 0);
	check_word("echo@unix:/x@y", "echo", "unix:/x@y", 0);
	assert_int_equal(word_parse("echo@tcp:1,banner=Hello, you = me,reply=,upper=no", &w, NULL), 0);
	assert_int_equal(w.n, 3);
	assert_string_equal(w.options[0].name, "banner");
	assert_string_equal(w.options[0].value, "Hello, you = me");
	assert_string_equal(w.options[1].value, "");
	assert_string_equal(w.options[2].value, "no");
	word_done(&w);
}

static void test_bad_words(void **state)
{
	(void)state;
	refuse_word("echo", "no @");
	refuse_word("@tcp:7007", "no service before the @");
	refuse_word("echo@", "no address behind the @");
	refuse_word("echo@,upper=yes", "no address behind the @");
	refuse_word("echo@tcp:7007,upper", "write upper=VALUE");
	refuse_word("0123456789012345678901234567890123456789012345678@tcp:1", "too long");
}

static void test_is_service(void **state)
{
	(void)state;
	assert_true(word_is_service("echo@tcp:7007"));
	assert_true(word_is_service("echo@unix:/run/x"));
	assert_true(word_is_service("@"));
	assert_false(word_is_service("guichet.conf"));
	assert_false(word_is_service("./a@b.conf"));
	assert_false(word_is_service("/etc/guichet@home/x.conf"));
	assert_false(word_is_service(""));
}

static void test_no_memory(void **state)
{
	(void)state;
	for (unsigned long n = 1;; n++) {
		struct word w = {};
		char said[256];
		struct buf why;
		int err;

		buf_init_fixed(&why, said, sizeof(said));
		fault_arm(FAULT_MEM, n, 0, false);
		err = word_parse("echo@tcp:1,a=1,b=2", &w, &why);
		bool hit = fault_calls(FAULT_MEM) >= n;

		fault_arm(FAULT_MEM, 0, 0, false);
		assert_int_equal(err, hit ? -ENOMEM : 0);
		word_done(&w);
		if (!hit)
			return;
	}
}

/* ---- options of a command ---- */

enum { OPT_FILE, OPT_VERBOSE };

static const struct args_option table[] = {
	[OPT_FILE] = { "file", 'f', "PATH", "reads it" },
	[OPT_VERBOSE] = { "verbose", 'v', NULL, "says more" },
	ARGS_OPTIONS_END,
};

struct next {
	int what;
	const char *value;
};

/* Parses the words and compares with what is expected, up to ARGS_END or ARGS_BAD. */
static void check_args(const char *const *words, const struct next *expect, const char *complaint)
{
	char *argv[8] = { (char *)"command" };
	char said[256];
	int argc = 1, what;
	struct args a;

	for (; words[argc - 1]; argc++)
		argv[argc] = (char *)words[argc - 1];
	a = args_start(argc, argv, table);
	do {
		const char *value = NULL;
		struct buf why;

		buf_init_fixed(&why, said, sizeof(said));
		what = args_next(&a, &value, &why);
		assert_int_equal(what, expect->what);
		if (what != ARGS_BAD && expect->value)
			assert_string_equal(value, expect->value);
		expect++;
	} while (what != ARGS_END && what != ARGS_BAD);
	assert_true((what == ARGS_BAD) == (complaint != NULL));
	if (complaint)
		assert_string_equal(said, complaint);
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define NEXT(...) ((const struct next[]){ __VA_ARGS__ })

static void test_args(void **state)
{
	(void)state;
	check_args(WORDS("a", "--file", "x", "-v", "b"),
		   NEXT({ ARGS_WORD, "a" }, { OPT_FILE, "x" }, { OPT_VERBOSE, NULL }, { ARGS_WORD, "b" },
			{ ARGS_END, NULL }),
		   NULL);
	check_args(WORDS("--file=x=y", "-fz", "-f", "-v"),
		   NEXT({ OPT_FILE, "x=y" }, { OPT_FILE, "z" }, { OPT_FILE, "-v" }, { ARGS_END, NULL }), NULL);
	check_args(WORDS("--", "--file", "-"), NEXT({ ARGS_WORD, "--file" }, { ARGS_WORD, "-" }, { ARGS_END, NULL }),
		   NULL);
	check_args(WORDS("-"), NEXT({ ARGS_WORD, "-" }, { ARGS_END, NULL }), NULL);
	check_args(WORDS("--file="), NEXT({ OPT_FILE, "" }, { ARGS_END, NULL }), NULL);
}

static void test_bad_args(void **state)
{
	(void)state;
	check_args(WORDS("--fiel", "x"), NEXT({ ARGS_BAD, NULL }),
		   "unknown option \"--fiel\", did you mean \"--file\"?");
	check_args(WORDS("--fiel=x"), NEXT({ ARGS_BAD, NULL }), "unknown option \"--fiel\", did you mean \"--file\"?");
	check_args(WORDS("-q"), NEXT({ ARGS_BAD, NULL }), "unknown option \"-q\"");
	check_args(WORDS("--file"), NEXT({ ARGS_BAD, NULL }), "--file needs a value: --file PATH");
	check_args(WORDS("--verbose=yes"), NEXT({ ARGS_BAD, NULL }), "--verbose takes no value");
	check_args(WORDS("-vx"), NEXT({ ARGS_BAD, NULL }), "--verbose takes no value");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),     cmocka_unit_test(test_bad_words), cmocka_unit_test(test_is_service),
		cmocka_unit_test(test_no_memory), cmocka_unit_test(test_args),      cmocka_unit_test(test_bad_args),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
