/*
 * test_conf.c - files as data, every mistake with its line, sections applied to tables; every allocation failing in
 * turn.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "conf/tables.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* `[section@line] name@line=value` for all of it, then the problems. */
static void describe(const struct conf *c, const struct conf_problems *ps, struct buf *b)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct conf_section *s = &c->sections[i];

		buf_addf(b, "[%s@%u]", s->name, s->line);
		for (size_t j = 0; j < s->n; j++) {
			buf_addf(b, " %s@%u=", s->entries[j].name, s->entries[j].line);
			buf_add_quoted(b, span_str(s->entries[j].value));
		}
		buf_addc(b, '\n');
	}
	conf_problems_format(ps, b);
}

static void expect(struct span bytes, const char *result)
{
	BUF_AUTO struct buf b = BUF_INIT(1 << 20);
	struct conf_problems ps = {};
	struct conf *c;

	assert_int_equal(conf_parse("f", bytes, &c, &ps), 0);
	describe(c, &ps, &b);
	assert_string_equal(buf_str(&b), result);
	conf_free(&c);
	conf_free(&c);
	conf_problems_done(&ps);
}

static void test_parse(void **state)
{
	static const struct {
		const char *text, *result;
	} t[] = {
		{ "", "" },
		{ "\n\n# only\n; comments", "" },
		{ "[a]", "[a@1]\n" },
		{ "[a]\n\n[b]\nx = 1\n[c]\n", "[a@1]\n[b@3] x@4=\"1\"\n[c@5]\n" },
		{ "\xef\xbb\xbf[a]\nx=1", "[a@1] x@2=\"1\"\n" },
		{ "[a]\r\nx = 1 \r\ny=2\r\n", "[a@1] x@2=\"1\" y@3=\"2\"\n" },
		{ " [ a b ] # c\n", "[a b@1]\n" },
		{ "[a]\nx: tcp:1\ny = a=b:c\nz =", "[a@1] x@2=\"tcp:1\" y@3=\"a=b:c\" z@4=\"\"\n" },
		{ "[a]\nx = 1 ; 2 # 3\n", "[a@1] x@2=\"1 ; 2 # 3\"\n" },
		{ "[a]\nx = 1\n\t2\n\n  # no\n  3\ny = 4\n", "[a@1] x@2=\"1\\n2\\n3\" y@7=\"4\"\n" },
		{ "[a]\nx =\n  1\n  [b]\n", "[a@1] x@2=\"\\n1\\n[b]\"\n" },
		/* As git writes it: all entries indented. Deeper is more of the value. */
		{ "[a]\n\tx = 1\n\ty = 2\n\t\t3\n[b]\n\tz = 4\n  [c]\n",
		  "[a@1] x@2=\"1\" y@3=\"2\\n3\"\n[b@5] z@6=\"4\\n[c]\"\n" },
		{ "[a]\n\tx = 1\n\t[b]\ny=2\n", "[a@1] x@2=\"1\"\n[b@3] y@4=\"2\"\n" },
		{ "[a]\nx=1\nx=2\n", "[a@1] x@2=\"1\" x@3=\"2\"\n" },
		{ "x = 1\ny = 2\n[a]\n", "[a@3]\nf:1: before any section; the first line is a [section]\n" },
		{ "[a]\nx=1\n[b]\n[a]\ny=2\nbad\n[c]\n",
		  "[a@1] x@2=\"1\"\n[b@3]\n[c@7]\nf:4: section [a] comes twice, first at line 1\n" },
		{ "[a\nx=1\n[b]\n", "[b@3]\nf:1: \"[a\" has no ]\n" },
		{ "[a] x = 1\ny=2\n",
		  "[a@1] y@2=\"2\"\nf:1: \"x = 1\" stands behind the ], where only a comment may\n" },
		{ "[]\nx=1\n",
		  "f:1: \"\" is not a section's name: 1 to 48 printable ASCII characters without \" \\ [\n" },
		{ "[a\tb]\n",
		  "f:1: \"a\\tb\" is not a section's name: 1 to 48 printable ASCII characters without \" \\ [\n" },
		{ "[a]\nbad\n more\nx=1\nworse\n",
		  "[a@1] x@4=\"1\"\nf:2: this is not NAME = VALUE, and not a [section] or a # comment\n"
		  "f:5: this is not NAME = VALUE, and not a [section] or a # comment\n" },
		{ "[a]\nx=1\nbad\n y=2\n",
		  "[a@1] x@2=\"1\"\nf:3: this is not NAME = VALUE, and not a [section] or a # comment\n" },
		{ "[a]\n= 1\n  2\nx=3", "[a@1] x@4=\"3\"\nf:2: no name before the =\n" },
		{ "[a]\n1234567890123456789012345678901234567890123456789 = x\n\ty\n123456789012345678901234567890123456789012345678=x",
		  "[a@1] 123456789012345678901234567890123456789012345678@4=\"x\"\n"
		  "f:2: \"1234567890123456789012345678901234567890123456789\" is too long for a name\n" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(t); i++)
		expect(span_str(t[i].text), t[i].result);
	expect((struct span){ (const uint8_t *)"[a]\nx=1\0y\n z\ny=2\n", 17 },
	       "[a@1] y@4=\"2\"\nf:2: a NUL byte in the line; is this a text file?\n");
	expect((struct span){}, "");
}

/* Text of `n` bytes: `head`, then `fill`s, then `tail`. */
static char *long_text(const char *head, size_t fills, const char *tail)
{
	size_t n = strlen(head);
	char *text = mem_alloc(n + fills + strlen(tail) + 1);

	assert_non_null(text);
	memcpy(text, head, n);
	memset(text + n, 'v', fills);
	memcpy(text + n + fills, tail, strlen(tail) + 1);
	return text;
}

static void test_long_lines(void **state)
{
	struct conf_problems ps = {};
	struct conf *c;
	char *text = long_text("[a]\nx=", CONF_LINE_MAX - 2, "\ny=1\n");

	(void)state;
	assert_int_equal(conf_parse("f", span_str(text), &c, &ps), 0);
	assert_int_equal(ps.n, 0);
	assert_int_equal(c->sections[0].n, 2);
	assert_int_equal(strlen(c->sections[0].entries[0].value), CONF_LINE_MAX - 2);
	conf_free(&c);
	mem_free(text);

	text = long_text("[a]\nx=", CONF_LINE_MAX - 1, "\n more\ny=1\n");
	expect(span_str(text), "[a@1] y@4=\"1\"\nf:2: the line has 65537 bytes, at most 65536 are read\n");
	mem_free(text);

	text = long_text("[a]\nx=1\n ", CONF_LINE_MAX - 1, "\n more\ny=1\n");
	expect(span_str(text), "[a@1] x@2=\"1\" y@5=\"1\"\nf:3: \"x\" has a value longer than 65536 bytes\n");
	mem_free(text);

	text = long_text("#", CONF_FILE_MAX, "");
	assert_int_equal(conf_parse("f", span_str(text), &c, &ps), -EFBIG);
	assert_int_equal(ps.n, 1);
	assert_string_equal(ps.v[0].text, "the file has 1048577 bytes, at most 1048576 are read");
	conf_problems_done(&ps);
	mem_free(text);
}

static void test_limits(void **state)
{
	BUF_AUTO struct buf b = BUF_INIT(1 << 20);
	struct conf_problems ps = {};
	struct conf *c;

	(void)state;
	for (int i = 0; i < CONF_SECTIONS_MAX + 500; i++)
		buf_addf(&b, "[s%d]\n", i);
	assert_int_equal(conf_parse("f", buf_span(&b), &c, &ps), 0);
	assert_int_equal(c->n, CONF_SECTIONS_MAX);
	assert_int_equal(ps.n, CONF_PROBLEMS_MAX + 1);
	assert_int_equal(ps.v[0].line, CONF_SECTIONS_MAX + 1);
	assert_string_equal(ps.v[0].text, "more than 1000 sections");
	assert_string_equal(ps.v[CONF_PROBLEMS_MAX].text, "more problems from here on");
	conf_free(&c);
	conf_problems_done(&ps);

	buf_reset(&b);
	buf_adds(&b, "[a]\n");
	for (int i = 0; i < CONF_ENTRIES_MAX + 5; i++)
		buf_addf(&b, "e%d=\n", i);
	assert_int_equal(conf_parse("f", buf_span(&b), &c, &ps), 0);
	assert_int_equal(c->sections[0].n, CONF_ENTRIES_MAX);
	assert_int_equal(ps.n, 1);
	assert_string_equal(ps.v[0].text, "more than 1000 entries in section [a]");
	conf_free(&c);
	conf_problems_done(&ps);
}

static void test_find(void **state)
{
	struct conf_problems ps = {};
	struct conf *c;

	(void)state;
	assert_int_equal(conf_parse("f", span_str("[a]\n[b]\nx=1\nx=2\n"), &c, &ps), 0);
	assert_null(conf_find(c, "c"));
	assert_ptr_equal(conf_find(c, "b"), &c->sections[1]);
	assert_string_equal(conf_section_find(conf_find(c, "b"), "x")->value, "1");
	assert_null(conf_section_find(conf_find(c, "a"), "x"));
	assert_string_equal(c->sections[1].file, "f");
	conf_free(&c);
}

static void test_problems(void **state)
{
	BUF_AUTO struct buf b = BUF_INIT(1000);
	struct conf_problems ps = {};

	(void)state;
	assert_true(conf_problems_none(&ps));
	conf_problem(&ps, "b", 3, "three %d", 1);
	conf_problem(&ps, "b", 1, "one");
	conf_problem(&ps, "a", 9, "nine");
	conf_problem(&ps, "b", 3, "three 2");
	conf_problem(&ps, "b", 3, "three 2");
	conf_problem(&ps, "b", 0, "file");
	assert_false(conf_problems_none(&ps));
	conf_problems_sort(&ps);
	conf_problems_format(&ps, &b);
	assert_string_equal(buf_str(&b), "a:9: nine\nb: file\nb:1: one\nb:3: three 1\nb:3: three 2\n");
	conf_problems_done(&ps);
	assert_true(conf_problems_none(&ps));
	ps.err = -ENOMEM;
	assert_false(conf_problems_none(&ps));
}

/* They are told with the problems, but a file that has no others is right; neither hides the other. */
static void test_warnings(void **state)
{
	BUF_AUTO struct buf b = BUF_INIT(1000);
	struct conf_problems ps = {};

	(void)state;
	conf_warning(&ps, "a", 2, "odd");
	assert_true(conf_problems_none(&ps));
	conf_problem(&ps, "a", 1, "wrong\nand wrong");
	assert_false(conf_problems_none(&ps));
	assert_int_equal(conf_problems_count(&ps), 2);
	conf_warning(&ps, "a", 0, "odd");
	conf_problems_sort(&ps);
	conf_problems_format(&ps, &b);
	assert_string_equal(buf_str(&b), "a: warning: odd\na:1: wrong\na:1: and wrong\na:2: warning: odd\n");
	conf_problems_done(&ps);
	for (unsigned i = 0; i < 2 * CONF_PROBLEMS_MAX; i++)
		conf_warning(&ps, "a", i, "odd");
	assert_int_equal(ps.n, CONF_PROBLEMS_MAX + 1);
	assert_true(conf_problems_none(&ps));
	conf_problem(&ps, "a", 0, "wrong");
	assert_false(conf_problems_none(&ps));
	conf_problems_done(&ps);
	assert_int_equal(ps.warnings, 0);
}

/* Parses, applies the first section to the service and tls tables; the values as text in `b`, and the problems. */
static int apply(const char *text, const char *name, struct buf *b)
{
	static const char *const skip[] = { "allow", "upper", NULL };
	struct conf_target targets[] = { { &tables_service, NULL }, { &tables_tls, NULL } };
	struct conf_problems ps = {};
	struct conf *c = NULL;
	int err = conf_parse("f", span_str(text), &c, &ps);

	for (size_t i = 0; i < LENGTH(targets) && !err; i++)
		err = option_values_new(targets[i].table, &targets[i].values);
	if (!err)
		err = conf_apply(&c->sections[0], targets, LENGTH(targets), skip, &ps);
	for (size_t i = 0; i < LENGTH(targets) && !err; i++) {
		const struct option *row = option_find(targets[i].table, name);

		if (row)
			option_format(row, targets[i].values, b);
	}
	if (!err) {
		buf_addc(b, '\n');
		conf_problems_sort(&ps);
		conf_problems_format(&ps, b);
	}
	if (!err)
		err = b->err ? b->err : ps.err;
	for (size_t i = 0; i < LENGTH(targets); i++)
		option_values_free(targets[i].table, &targets[i].values);
	conf_free(&c);
	conf_problems_done(&ps);
	return err;
}

static void test_apply(void **state)
{
	static const struct {
		const char *text, *name, *result;
	} t[] = {
		{ "[a]\nlisten = tcp:7007\n udp:7007\n", "listen", "tcp:7007 udp:7007\n" },
		{ "[a]\nalpn = mqtt\nidle=1h\n", "alpn", "mqtt\n" },
		{ "[a]\nallow = x\nallow = y\nupper=7\n", "idle", "10m\n" },
		{ "[a]\nlisten = tcp:1\n\nbacklog = 0\nidle = 5\nlissen = tcp:2\nuper = 1\ncert = x\nzzz = 1\n",
		  "listen",
		  "tcp:1\nf:4: backlog: \"0\" is too small, 1 to 65535\n"
		  "f:5: idle: \"5\" is not a time, as 10s, 5m, 250ms or 0\n"
		  "f:6: unknown option \"lissen\" in [a], did you mean \"listen\"?\n"
		  "f:7: unknown option \"uper\" in [a], did you mean \"upper\"?\n"
		  "f:8: unknown option \"cert\" in [a], did you mean \"certificate\"?\n"
		  "f:9: unknown option \"zzz\" in [a]\n" },
		{ "[a]\nidle = 1s\nmax = 3\nidle = 2s\n", "idle",
		  "1s\nf:4: idle: comes twice in [a], first at line 2\n" },
		{ "[a]\nidle = 1s\nsni = a=b\n", "idle",
		  "1s\nf:3: sni: \"a=b\" is not of the form NAME=CERTIFICATE:KEY\n" },
		{ "[a]\nsni = a=b\nidle = 5\nlisten = tpc:1\n\t\ttcp:1 upd:2\n", "idle",
		  "10m\nf:2: sni: \"a=b\" is not of the form NAME=CERTIFICATE:KEY\n"
		  "f:3: idle: \"5\" is not a time, as 10s, 5m, 250ms or 0\n"
		  "f:4: listen: unknown transport \"tpc\", did you mean \"tcp\"?\n"
		  "f:4: listen: unknown transport \"upd\", did you mean \"udp\"?\n" },
		{ "[a]\nclient_certificate = optional\nidle = 1s\n", "idle",
		  "1s\nf:2: client_certificate: needs client_ca, the authorities to check it against\n" },
		{ "[a]\nidle 5:00\n", "idle",
		  "10m\nf:2: unknown option \"idle 5\" in [a]; after \"idle\" there must be a =\n" },
		{ "\n\n[a]\na\x1b = 1\n", "idle", "10m\nf:4: unknown option \"a\\x1b\" in [a]\n" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(t); i++) {
		BUF_AUTO struct buf b = BUF_INIT(10000);

		assert_int_equal(apply(t[i].text, t[i].name, &b), 0);
		assert_string_equal(buf_str(&b), t[i].result);
	}
}

/* ---- lines in order ---- */

static int take_line(void *arg, size_t which, const char *value, struct buf *why)
{
	buf_addf(arg, "%zu=%s\n", which, value);
	if (*value)
		return 0;
	buf_adds(why, "it is empty\nand it should not be");
	return -EINVAL;
}

static void test_lines(void **state)
{
	static const char text[] = "[a]\nallow = x\n  y\ndeny = z\nallow = x\n  y\nallwo = 1\ndeny =\n";
	static const char *const names[] = { "allow", "deny", NULL };
	struct conf_problems ps = {};
	BUF_AUTO struct buf b = BUF_INIT(10000);
	struct conf *c;

	(void)state;
	assert_int_equal(conf_parse("f", span_str(text), &c, &ps), 0);
	assert_int_equal(conf_lines(conf_find(c, "a"), names, take_line, &b, &ps), 0);
	conf_problems_format(&ps, &b);
	assert_string_equal(buf_str(&b), "0=x\ny\n1=z\n0=x\ny\n1=\n"
					 "f:7: unknown option \"allwo\" in [a], did you mean \"allow\"?\n"
					 "f:8: deny: it is empty\nf:8: and it should not be\n");
	conf_free(&c);
	conf_problems_done(&ps);
}

#ifdef GUICHET_FAULTS
static void test_no_memory(void **state)
{
	bool failed = true;

	(void)state;
	for (unsigned long n = 1; failed; n++) {
		struct buf b;
		int err;

		buf_init(&b, 10000);
		fault_arm(FAULT_MEM, n, 0, false);
		err = apply(
			"[a]\nlisten = tcp:1\n udp:2\nsni = a=b:c 'd=e:f'\nlissen = 1\nidle=7\nbad\n[b]\nx=\n[c]\n[b]\n",
			"sni", &b);
		failed = fault_calls(FAULT_MEM) >= n;
		if (err != (failed ? -ENOMEM : 0))
			fail_msg("allocation %lu: %d", n, err);
		buf_done(&b);
	}
	fault_arm(FAULT_MEM, 0, 0, false);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),     cmocka_unit_test(test_long_lines), cmocka_unit_test(test_limits),
		cmocka_unit_test(test_find),      cmocka_unit_test(test_problems),   cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_apply),     cmocka_unit_test(test_lines),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_no_memory),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
