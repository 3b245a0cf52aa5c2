/*
 * test_option.c - one table with every type: set, refuse, format, copy, compare, help, and the check of wrong tables.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"
#include "conf/option.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

enum colour { RED, GREEN, BLUE };

struct all {
	struct addr_list addrs;
	bool flag;
	enum colour colour;
	unsigned mode;
	uint64_t pause;
	char *path;
	unsigned count;
	size_t size;
	char *text;
	struct str_words words;
};

static const char *const colours[] = { "red", "green", "blue", NULL };
static const char *const auto_word[] = { "auto", NULL };

static int check_all(const void *values, struct buf *why)
{
	const struct all *o = values;

	if (o->flag && o->count == 7) {
		buf_adds(why, "count: not 7 with flag");
		return -EINVAL;
	}
	return 0;
}

static int check_name(const char *word, struct buf *why)
{
	if (!strchr(word, '!'))
		return 0;
	buf_addf(why, "%s has a mark", word);
	return -EINVAL;
}

#define A struct all
static const struct option all_rows[] = {
	OPT_ADDRS(A, addrs, "tcp:1", 1, 3, "where"),
	OPT_ENUM(A, colour, "green", colours, "what colour"),
	OPT_UINT(A, count, "5", 1, 64, "how many"),
	OPT_BOOL(A, flag, "no", "whether"),
	OPT_MODE(A, mode, "0660", "permissions"),
	OPT_PATH(A, path, "auto", auto_word, "which file"),
	OPT_NSEC(A, pause, "1s", NSEC_PER_MSEC, 60 * NSEC_PER_SEC, "how long"),
	OPT_SIZE(A, size, "64K", 0, 1 << 20, "how large"),
	OPT_STRING(A, text, NULL, 0, 8, "says what"),
	OPT_WORDS(A, words, NULL, 0, 3, check_name, "names"),
};
static const struct option_table all_table = OPTION_TABLE("all", all_rows, A, check_all);

static struct all *new_all(void)
{
	void *values;

	assert_int_equal(option_values_new(&all_table, &values), 0);
	return values;
}

static void free_all(struct all **o)
{
	void *values = *o;

	option_values_free(&all_table, &values);
	assert_null(values);
	*o = NULL;
}

static void test_defaults(void **state)
{
	struct all *o = new_all();

	(void)state;
	assert_int_equal(o->addrs.n, 1);
	assert_int_equal(o->addrs.v[0].port, 1);
	assert_int_equal(o->colour, GREEN);
	assert_int_equal(o->count, 5);
	assert_false(o->flag);
	assert_int_equal(o->mode, 0660);
	assert_string_equal(o->path, "auto");
	assert_int_equal(o->pause, NSEC_PER_SEC);
	assert_int_equal(o->size, 65536);
	assert_null(o->text);
	assert_int_equal(o->words.n, 0);
	free_all(&o);
	free_all(&o);
}

/* Each value set twice, so that what it owned the first time is seen to be freed; and read back as it was written. */
static void test_good(void **state)
{
	static const struct {
		const char *name, *text, *back;
	} t[] = {
		{ "addrs", "udp:5 unix:/x", NULL },
		{ "colour", "blue", NULL },
		{ "count", "64", NULL },
		{ "flag", "on", "yes" },
		{ "mode", "600", "0600" },
		{ "path", "/etc/x", NULL },
		{ "pause", "90s", NULL },
		{ "pause", "60s", "1m" },
		{ "size", "1048576", "1M" },
		{ "size", "0", NULL },
		{ "text", "", NULL },
		{ "text", "12345678", NULL },
		{ "words", "a 'b c'", "a \"b c\"" },
		{ "words", "", NULL },
	};
	struct all *o = new_all();

	(void)state;
	for (size_t i = 0; i < LENGTH(t); i++) {
		const struct option *row = option_find(&all_table, t[i].name);
		struct buf b;

		buf_init(&b, 1000);
		if (strcmp(t[i].text, "90s") == 0) { /* above the maximum of a minute */
			assert_int_equal(option_set(&all_table, o, "pause", "90s", NULL), -ERANGE);
			continue;
		}
		assert_int_equal(option_set(&all_table, o, t[i].name, t[i].text, &b), 0);
		assert_int_equal(option_set(&all_table, o, t[i].name, t[i].text, &b), 0);
		assert_int_equal(b.n, 0);
		option_format(row, o, &b);
		assert_string_equal(buf_str(&b), t[i].back ? t[i].back : t[i].text);
		buf_done(&b);
	}
	free_all(&o);
}

static void test_bad(void **state)
{
	static const struct {
		const char *name, *text;
		int err;
		const char *why;
	} t[] = {
		{ "adrs", "", -ENOENT, "unknown option \"adrs\", did you mean \"addrs\"?" },
		{ "xyzzy", "", -ENOENT, "unknown option \"xyzzy\"" },
		{ "addrs", "", -ERANGE, "addrs: 0 addresses, 1 to 3 addresses" },
		{ "addrs", "tcp:1 tcp:2 tcp:3 tcp:4", -ERANGE, "addrs: more than 3 addresses" },
		{ "addrs", "tpc:1", -EINVAL, "addrs: unknown transport \"tpc\", did you mean \"tcp\"?" },
		{ "colour", "bleu", -EINVAL, "colour: \"bleu\" is none of red, green, blue, did you mean \"blue\"?" },
		{ "count", "0", -ERANGE, "count: \"0\" is too small, 1 to 64" },
		{ "count", "65", -ERANGE, "count: \"65\" is too large, 1 to 64" },
		{ "count", "99999999999999999999", -ERANGE, "count: \"99999999999999999999\" is too large, 1 to 64" },
		{ "count", "many", -EINVAL, "count: \"many\" is not a number" },
		{ "count", "", -EINVAL, "count: \"\" is not a number" },
		{ "count", "5 # five", -EINVAL,
		  "count: \"5 # five\" is not a number (a comment needs a line of its own)" },
		{ "flag", "maybe", -EINVAL, "flag: \"maybe\" is not yes or no" },
		{ "mode", "0999", -EINVAL, "mode: \"0999\" is not an octal mode, 0 to 07777, as 0660" },
		{ "path", "", -EINVAL, "path: the path is empty" },
		{ "pause", "10", -EINVAL, "pause: \"10\" is not a time, as 10s, 5m, 250ms or 0" },
		{ "pause", "1us", -ERANGE, "pause: \"1us\" is too small, 1ms to 1m" },
		{ "size", "2M", -ERANGE, "size: \"2M\" is too large, at most 1M" },
		{ "size", "99999999T", -ERANGE, "size: \"99999999T\" is too large, at most 1M" },
		{ "size", "1X", -EINVAL, "size: \"1X\" is not a size, as 1500, 64K or 2M" },
		{ "text", "123456789", -ERANGE, "text: the text has 9 bytes, at most 8 bytes" },
		{ "addrs", "tpc:1 tcp:1 upd:2", -EINVAL,
		  "addrs: unknown transport \"tpc\", did you mean \"tcp\"?\n"
		  "addrs: unknown transport \"upd\", did you mean \"udp\"?" },
		{ "addrs", "tpc:1 # more than one", -EINVAL,
		  "addrs: unknown transport \"tpc\", did you mean \"tcp\"?\n"
		  "addrs: \"#\" has no transport, the form is TRANSPORT:REST, as tcp:7007 (a comment needs a line of its own)" },
		{ "words", "x! y z!", -EINVAL, "words: x! has a mark\nwords: z! has a mark" },
		{ "words", "1 2 3 4", -ERANGE, "words: more than 3 words" },
		{ "words", "'1", -EINVAL, "words: a quote is not closed, or a backslash stands at the end" },
	};
	struct all *o = new_all(), *same = new_all();

	(void)state;
	for (size_t i = 0; i < LENGTH(t); i++) {
		BUF_AUTO struct buf why = BUF_INIT(1000);

		assert_int_equal(option_set(&all_table, o, t[i].name, t[i].text, &why), t[i].err);
		assert_string_equal(buf_str(&why), t[i].why);
		assert_int_equal(option_set(&all_table, o, t[i].name, t[i].text, NULL), t[i].err);
		assert_true(option_values_equal(&all_table, o, same));
	}
	free_all(&o);
	free_all(&same);
}

static void fill(struct all *o)
{
	static const char *const t[][2] = {
		{ "addrs", "unix:x tls:2" }, { "colour", "red" }, { "count", "9" },
		{ "flag", "yes" },           { "mode", "0" },     { "path", "a/b" },
		{ "pause", "2s" },           { "size", "1" },     { "text", "t" },
		{ "words", "a b" },
	};

	for (size_t i = 0; i < LENGTH(t); i++)
		assert_int_equal(option_set(&all_table, o, t[i][0], t[i][1], NULL), 0);
}

static void test_equal_and_copy(void **state)
{
	struct all *o = new_all(), *plain = new_all(), *copy;
	void *values;

	(void)state;
	fill(o);
	assert_int_equal(option_values_copy(&all_table, o, &values), 0);
	copy = values;
	assert_true(option_values_equal(&all_table, o, copy));
	for (size_t i = 0; i < all_table.n; i++)
		assert_false(option_row_equal(&all_rows[i], o, plain));
	assert_ptr_not_equal(copy->text, o->text);
	assert_ptr_not_equal(copy->words.v, o->words.v);
	assert_int_equal(option_set(&all_table, copy, "words", "a", NULL), 0);
	assert_false(option_values_equal(&all_table, o, copy));
	free_all(&o);
	free_all(&copy);
	assert_int_equal(option_values_copy(&all_table, plain, &values), 0);
	copy = values;
	assert_true(option_values_equal(&all_table, plain, copy));
	free_all(&copy);
	free_all(&plain);
}

static void test_rules(void **state)
{
	static const struct option must[] = { OPT_WORDS(A, words, NULL, 1, 3, NULL, "names") };
	static const struct option_table table = OPTION_TABLE("must", must, A, NULL);
	struct all *o = new_all();
	BUF_AUTO struct buf why = BUF_INIT(100);
	void *values;

	(void)state;
	assert_int_equal(option_values_check(&all_table, o, &why), 0);
	o->flag = true;
	o->count = 7;
	assert_int_equal(option_values_check(&all_table, o, &why), -EINVAL);
	assert_int_equal(option_values_check(&all_table, o, NULL), -EINVAL);
	assert_string_equal(buf_str(&why), "count: not 7 with flag");
	free_all(&o);

	buf_reset(&why);
	assert_int_equal(option_table_check(&table, &why), 0);
	assert_int_equal(option_values_new(&table, &values), 0);
	assert_int_equal(option_values_check(&table, values, &why), -EINVAL);
	assert_string_equal(buf_str(&why), "words: must be set, as in: words = word");
	assert_int_equal(option_set(&table, values, "words", "x", NULL), 0);
	assert_int_equal(option_values_check(&table, values, NULL), 0);
	option_values_free(&table, &values);
}

static void test_resolve(void **state)
{
	struct all *o = new_all();
	BUF_AUTO struct buf b = BUF_INIT(1000);

	(void)state;
	assert_int_equal(option_resolve(&all_table, o, "/etc/g", NULL), 0);
	assert_string_equal(o->path, "auto");
	fill(o);
	assert_int_equal(option_resolve(&all_table, o, "/etc/g", &b), 0);
	assert_string_equal(o->path, "/etc/g/a/b");
	addr_list_format(&o->addrs, &b);
	assert_string_equal(buf_str(&b), "unix:/etc/g/x tls:2");
	free_all(&o);
}

static void test_help(void **state)
{
	static const char table[] = "  addrs = ADDRESS...        where (default tcp:1)\n"
				    "  colour = red|green|blue   what colour (default green)\n"
				    "  count = NUMBER            how many (default 5)\n"
				    "  flag = yes|no             whether (default no)\n"
				    "  mode = MODE               permissions (default 0660)\n"
				    "  path = auto|PATH          which file (default auto)\n"
				    "  pause = TIME              how long (default 1s)\n"
				    "  size = SIZE               how large (default 64K)\n"
				    "  text = TEXT               says what\n"
				    "  words = WORD...           names\n";
	static const char *const many[] = { "iterative", "fork", "prefork", "thread", "pool", "symmetric", NULL };
	static const struct option wide = OPT_ENUM(
		A, colour, "pool", many,
		"a sentence that is so long that it has to be broken somewhere, which happens before the word that does not fit");
	BUF_AUTO struct buf b = BUF_INIT(10000);

	(void)state;
	option_help_table(&all_table, &b);
	assert_string_equal(buf_str(&b), table);
	buf_reset(&b);
	option_help_row(option_find(&all_table, "count"), &b);
	assert_string_equal(buf_str(&b), "count = NUMBER\n  how many (default 5, 1 to 64)\n");
	buf_reset(&b);
	option_help_row(option_find(&all_table, "words"), &b);
	assert_string_equal(buf_str(&b), "words = WORD...\n  names (at most 3 words)\n");
	buf_reset(&b);
	option_help_row(&wide, &b);
	assert_string_equal(buf_str(&b),
			    "colour = iterative|fork|prefork|thread|pool|symmetric\n"
			    "  a sentence that is so long that it has to be broken somewhere, which happens\n"
			    "  before the word that does not fit (default pool)\n");
	buf_reset(&b);
	option_help_table(&(struct option_table){ .rows = &wide, .n = 1 }, &b);
	assert_string_equal(buf_str(&b),
			    "  colour = iterative|fork|prefork|thread|pool|symmetric\n"
			    "                            a sentence that is so long that it has to be broken\n"
			    "                            somewhere, which happens before the word that does\n"
			    "                            not fit (default pool)\n");
}

static void test_json(void **state)
{
	static const struct option rows[] = {
		OPT_ENUM(A, colour, "red", colours, "a \"colour\""),
		OPT_NSEC(A, pause, "1s", 1, 60 * NSEC_PER_SEC, "how long"),
		OPT_STRING(A, text, NULL, 0, 0, "says"),
	};
	static const struct option_table table = OPTION_TABLE("t", rows, A, NULL);
	BUF_AUTO struct buf b = BUF_INIT(10000);

	(void)state;
	option_json_table(&table, &b);
	assert_string_equal(
		buf_str(&b),
		"[{\"name\":\"colour\",\"type\":\"enum\",\"default\":\"red\",\"words\":[\"red\",\"green\",\"blue\"],\"help\":\"a \\\"colour\\\"\"},"
		"{\"name\":\"pause\",\"type\":\"time\",\"default\":\"1s\",\"min\":1,\"max\":60000000000,\"help\":\"how long\"},"
		"{\"name\":\"text\",\"type\":\"string\",\"default\":null,\"help\":\"says\"}]");
}

static void test_table_check(void **state)
{
	static const char *const twice[] = { "a", "a", NULL };
	static const struct {
		struct option rows[2];
		size_t n;
		const char *why;
	} t[] = {
		{ { OPT_BOOL(A, flag, "no", "x"), OPT_UINT(A, count, "1", 0, 0, "x") },
		  2,
		  "count: names are sorted and come once" },
		{ { OPT_BOOL(A, flag, "no", "x"), OPT_BOOL(A, flag, "no", "x") },
		  2,
		  "flag: names are sorted and come once" },
		{ { { .name = "Bad", .help = "x" } }, 1, "Bad: a name starts with a small letter and is not long" },
		{ { { .name = "a-b", .help = "x" } }, 1, "a-b: a name is made of small letters, digits and _" },
		{ { {} }, 1, "(no name): a name starts with a small letter and is not long" },
		{ { OPT_BOOL(A, flag, "no", "") }, 1, "flag: help is missing or too long" },
		{ { OPT_BOOL(A, flag, "no", "Whether") }, 1, "flag: help starts with a small letter" },
		{ { OPT_BOOL(A, flag, "no", "whether.") }, 1, "flag: help is one line without a full stop" },
		{ { OPT_BOOL(A, flag, NULL, "x") }, 1, "flag: this type needs a default" },
		{ { OPT_BOOL(A, flag, "perhaps", "x") }, 1, "flag: \"perhaps\" is not yes or no" },
		{ { OPT_UINT(A, count, "9", 1, 8, "x") }, 1, "count: \"9\" is too large, 1 to 8" },
		{ { OPT_UINT(A, count, "9", 9, 8, "x") }, 1, "count: the minimum is above the maximum" },
		{ { OPT_ENUM(A, colour, "a", twice, "x") }, 1, "colour: a word comes twice" },
		{ { OPT_ENUM(A, colour, "a", NULL, "x") }, 1, "colour: the words are missing" },
		{ { { .name = "a", .type = OPTION_UINT, .offset = sizeof(A), .def = "1", .help = "x" } },
		  1,
		  "a: the field is outside of the values" },
		{ { { .name = "a", .type = OPTION_MODE, .def = "1", .max = 4, .help = "x" } },
		  1,
		  "a: this type has no range" },
		{ { { .name = "a", .type = OPTION_MODE, .def = "1", .words = twice, .help = "x" } },
		  1,
		  "a: this type has no words" },
		{ { { .name = "a", .type = OPTION_TYPES, .def = "1", .help = "x" } }, 1, "a: unknown type" },
		{ { { .name = "a", .type = OPTION_UINT, .offset = 8, .def = "1", .help = "x" },
		    { .name = "b", .type = OPTION_SIZE, .offset = 4, .def = "1", .help = "x" } },
		  2,
		  "b: two options share a field" },
	};
	BUF_AUTO struct buf why = BUF_INIT(1000);

	(void)state;
	assert_int_equal(option_table_check(&all_table, &why), 0);
	assert_int_equal(why.n, 0);
	for (size_t i = 0; i < LENGTH(t); i++) {
		struct option_table table = { .name = "t", .rows = t[i].rows, .n = t[i].n, .values_size = sizeof(A) };

		buf_reset(&why);
		assert_true(option_table_check(&table, &why) < 0);
		assert_string_equal(buf_str(&why), t[i].why);
	}
}

#ifdef GUICHET_FAULTS
/* Every path that allocates, with one failure somewhere in it. */
static int with_memory(void)
{
	void *o = NULL, *copy = NULL;
	struct buf b;
	int err = option_values_new(&all_table, &o);

	buf_init(&b, 10000);
	if (!err)
		err = option_set(&all_table, o, "words", "x 'y z'", NULL);
	if (!err)
		err = option_set(&all_table, o, "text", "abc", NULL);
	if (!err)
		err = option_set(&all_table, o, "addrs", "unix:x tcp:3", NULL);
	if (!err)
		err = option_values_copy(&all_table, o, &copy);
	if (!err && !option_values_equal(&all_table, o, copy))
		err = -EIO;
	if (!err)
		err = option_set(&all_table, o, "path", "x", NULL);
	if (!err)
		err = option_resolve(&all_table, o, "/etc", NULL);
	if (!err) {
		option_help_table(&all_table, &b);
		option_help_row(&all_rows[0], &b);
		option_json_table(&all_table, &b);
		option_format(&all_rows[0], o, &b);
		err = b.err;
	}
	if (!err)
		err = option_table_check(&all_table, NULL);
	option_values_free(&all_table, &o);
	option_values_free(&all_table, &copy);
	buf_done(&b);
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
		if (err != (failed ? -ENOMEM : 0))
			fail_msg("allocation %lu: %d", n, err);
	}
	fault_arm(FAULT_MEM, 0, 0, false);
}
#endif

/* ---- files and sections ---- */

struct piece {
	struct option_file file;
	unsigned n;
};

static const struct option piece_rows[] = {
	OPT_FILE(struct piece, file, 4, "the file with it"),
	OPT_UINT(struct piece, n, "3", 0, 9, "how many"),
};
static const struct option_table piece_table = OPTION_TABLE("piece", piece_rows, struct piece, NULL);

struct whole {
	struct option_parts pieces;
};

static const struct option whole_rows[] = {
	OPT_PARTS(struct whole, pieces, &piece_table, "what it is made of"),
};
static const struct option_table whole_table = OPTION_TABLE("whole", whole_rows, struct whole, NULL);

static int make_whole(void **ret)
{
	static const struct span text = { (const uint8_t *)"abc", 3 };
	struct option_part *part;
	int r = option_values_new(&whole_table, ret);

	if (r == 0)
		r = option_part_add(&whole_rows[0], *ret, "one", &part);
	if (r == 0)
		r = option_set(&piece_table, part->values, "file", "secret", NULL);
	if (r == 0)
		r = option_file_take(&piece_rows[0], part->values, text, NULL);
	if (r == 0)
		r = option_part_add(&whole_rows[0], *ret, "two", &part);
	return r;
}

static void parts_are_values(void **state)
{
	BUF_AUTO struct buf b = BUF_INIT(1024);
	void *a = NULL, *copy = NULL;
	struct option_part *part;
	struct piece *one;

	(void)state;
	assert_int_equal(option_table_check(&whole_table, &b), 0);
	assert_int_equal(make_whole(&a), 0);
	assert_int_equal(option_part_add(&whole_rows[0], a, "two", &part), -EEXIST);
	assert_int_equal(option_values_copy(&whole_table, a, &copy), 0);
	assert_true(option_values_equal(&whole_table, a, copy));
	option_format(&whole_rows[0], a, &b); /* never what is in the file */
	assert_string_equal(buf_str(&b), "one (file = secret, n = 3) two (n = 3)");
	one = ((struct whole *)copy)->pieces.v[0].values;
	assert_true(span_is(one->file.bytes, "abc"));
	buf_reset(&b);
	assert_int_equal(option_file_take(&piece_rows[0], one, span_str("other"), &b), -EFBIG);
	assert_string_equal(buf_str(&b), "file: secret has 5 bytes, at most 4 are read");
	assert_int_equal(option_file_take(&piece_rows[0], one, span_str("else"), NULL), 0);
	assert_false(option_values_equal(&whole_table, a, copy)); /* another content is another value */
	buf_reset(&b);
	assert_int_equal(option_set(&whole_table, a, "pieces", "x", &b), -EINVAL);
	assert_string_equal(buf_str(&b), "pieces: is no option but a section of its own, [SERVICE.pieces.NAME]");
	assert_int_equal(option_resolve(&piece_table, one, "/etc", NULL), 0);
	assert_string_equal(one->file.path, "/etc/secret");
	option_values_free(&whole_table, &a);
	option_values_free(&whole_table, &copy);
}

static void help_shows_parts(void **state)
{
	BUF_AUTO struct buf b = BUF_INIT(4096);

	(void)state;
	option_help_row(&whole_rows[0], &b);
	assert_string_equal(buf_str(&b), "[SERVICE.pieces.NAME] - what it is made of\n\nOptions of such a section:\n"
					 "  file = FILE               the file with it\n"
					 "  n = NUMBER                how many (default 3)\n");
	buf_reset(&b);
	option_json_table(&whole_table, &b);
	assert_non_null(strstr(buf_str(&b), "\"type\":\"sections\""));
	assert_non_null(strstr(buf_str(&b), "\"options\":[{\"name\":\"file\""));
}

static void parts_without_memory(void **state)
{
	(void)state;
#ifdef GUICHET_FAULTS
	for (unsigned long n = 1, calls = 1; n <= calls; n++) {
		void *a = NULL, *copy = NULL;

		fault_arm(FAULT_MEM, n, 0, false);
		if (make_whole(&a) == 0 && option_values_copy(&whole_table, a, &copy) == 0)
			assert_true(option_values_equal(&whole_table, a, copy));
		calls = fault_calls(FAULT_MEM);
		fault_arm(FAULT_MEM, 0, 0, false);
		option_values_free(&whole_table, &a);
		option_values_free(&whole_table, &copy);
	}
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_are_values),
		cmocka_unit_test(help_shows_parts),
		cmocka_unit_test(parts_without_memory),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_equal_and_copy),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_table_check),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_no_memory),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
