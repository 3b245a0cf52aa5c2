/* test_pages.c - what is written for people: wrapped text, tables, help, the manual page, commands to try. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <jansson.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/wrap.h"
#include "drive/files.h"
#include "main/command.h"
#include "main/help.h"
#include "main/planner.h"
#include "main/ready.h"
#include "main/text.h"
#include "main/try.h"
#include "proto/protos.h"

static struct buf page;

static int init(void **state)
{
	(void)state;
	buf_init(&page, 4 << 20);
	return 0;
}

static int done(void **state)
{
	(void)state;
	assert_int_equal(page.err, 0);
	buf_done(&page);
	return 0;
}

/* ---- text ---- */

static void check_wrap(const char *text, size_t indent, size_t at, const char *expect)
{
	buf_reset(&page);
	wrap_add(&page, text, indent, at);
	assert_string_equal(buf_str(&page), expect);
}

static void test_wrap(void **state)
{
	(void)state;
	check_wrap("", 0, 0, "");
	check_wrap("one  two\nthree", 0, 0, "one two three");
	check_wrap("first\n\nsecond", 2, 2, "first\n\n  second");
	check_wrap("see:\n  listen = tcp:7007\n  upper = yes\nthat is all", 0, 0,
		   "see:\n  listen = tcp:7007\n  upper = yes\nthat is all");
	check_wrap("0123456789 0123456789", 60, 60,
		   "0123456789\n"
		   "                                                            0123456789");
	check_wrap("a word0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890",
		   0, 0,
		   "a\nword0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890");
}

static void test_table(void **state)
{
	struct text_table t = { .right = 1 << 1 };

	(void)state;
	text_table_add(&t, (const char *[]){ "NAME", "N", "WHAT", NULL });
	text_table_add(&t, (const char *[]){ "a", "100", "", NULL });
	text_table_add(&t, (const char *[]){ "longer", "", "caf\xc3\xa9", NULL });
	text_table_add(&t, (const char *[]){ "", "5", "x", NULL });
	text_table_format(&t, (struct text_style){ "<", "", ">" }, &page);
	assert_string_equal(buf_str(&page), "<NAME      N  WHAT>\n"
					    "a       100\n"
					    "longer       caf\xc3\xa9\n"
					    "          5  x\n");
	text_table_done(&t);
}

/* ---- help ---- */

/* Nothing that a terminal of 80 columns would break, but for what cannot be shorter. */
static void check_width(const char *what, size_t width)
{
	const char *line = buf_str(&page);

	while (*line) {
		size_t n = strcspn(line, "\n");

		if (n > width)
			fail_msg("%s: a line of %zu columns: %.*s", what, n, (int)n, line);
		line += n + (line[n] == '\n');
	}
	assert_true(page.n == 0 || page.p[page.n - 1] == '\n');
}

static void test_commands(void **state)
{
	(void)state;
	for (const struct command *const *c = commands; *c; c++) {
		buf_reset(&page);
		command_help(*c, &page);
		check_width((*c)->name, 100);
		assert_non_null(strstr(buf_str(&page), "Examples:\n"));
		assert_non_null(strstr(buf_str(&page), "Exit status:"));
		assert_ptr_equal(command_find((*c)->name), *c);
		for (const struct args_option *o = (*c)->options; o->name; o++) {
			assert_true(o->help[0] >= 'a' && o->help[0] <= 'z');
			assert_int_not_equal(o->help[strlen(o->help) - 1], '.');
			assert_true(o->letter != 'h' || strcmp(o->name, "host") == 0);
		}
		for (const struct command_example *e = (*c)->examples; e->line; e++)
			assert_non_null(strstr(e->line, "guichet"));
	}
}

static void test_services(void **state)
{
	(void)state;
	for (const struct proto *const *p = protos; *p; p++) {
		buf_reset(&page);
		help_proto(*p, &page);
		check_width((*p)->name, 80);
		assert_non_null(strstr(buf_str(&page), (*p)->summary));
		assert_non_null(strstr(buf_str(&page), "listen = "));
		for (size_t i = 0; (*p)->options && i < (*p)->options->n; i++)
			assert_non_null(strstr(buf_str(&page), (*p)->options->rows[i].name));
	}
	for (const struct help_topic *t = help_topics; t->name; t++) {
		buf_reset(&page);
		t->add(&page);
		check_width(t->name, 100);
		assert_null(protos_find(t->name)); /* one word, one page */
		assert_null(command_find(t->name));
	}
}

/* The example of each page is a configuration that can be served, and stands in nobody's way who serves all the others. */
static void test_page_examples(void **state)
{
	char *dir, file[300];

	(void)state;
	assert_int_equal(files_temp_dir(&dir, NULL), 0);
	snprintf(file, sizeof(file), "%s/x.conf", dir);
	for (const struct proto *const *p = protos; *p; p++) {
		struct planner_setup setup = { .file = file, .dry = true };
		struct conf_problems ps = {};
		struct plan *plan;
		const char *start, *end;

		buf_reset(&page);
		help_proto(*p, &page);
		start = strstr(buf_str(&page), "  [");
		assert_non_null(start);
		end = strstr(start, "\n\n");
		assert_int_equal(files_write(file, 0600, (struct span){ (const uint8_t *)start, (size_t)(end - start) },
					     NULL),
				 0);
		assert_int_equal(planner_make(&setup, &plan, &ps), 0);
		server_check(plan, &ps);
		if (ps.n > 0)
			fail_msg("%s: %s", (*p)->name, ps.v[0].text);
		assert_int_equal(plan->n, 1);
		assert_true(strcmp((*p)->name, "chat") == 0 || plan->services[0].common->listen.v[0].port != 7000);
		plan_free(&plan);
	}
	assert_int_equal(files_remove_dir(dir, NULL), 0);
	mem_free(dir);
}

static void test_option(void **state)
{
	(void)state;
	assert_int_equal(help_option(protos_find("echo"), "upper", &page), 0);
	assert_int_equal(strncmp(buf_str(&page), "upper = yes|no\n", 15), 0);
	buf_reset(&page);
	assert_int_equal(help_option(protos_find("echo"), "idle", &page), 0); /* of every service */
	buf_reset(&page);
	assert_int_equal(help_option(protos_find("echo"), "uper", &page), -ENOENT);
	assert_string_equal(buf_str(&page), "unknown option \"uper\" of echo, did you mean \"upper\"?");
}

static void test_models(void **state)
{
	const char *event, *fork;

	(void)state;
	for (const struct help_topic *t = help_topics; t->name; t++)
		if (strcmp(t->name, "models") == 0)
			t->add(&page);
	event = strstr(buf_str(&page), "\nevent  ");
	fork = strstr(buf_str(&page), "\nfork  ");
	assert_non_null(event);
	assert_non_null(fork);
	assert_int_equal(strncmp(event, "\nevent      N threads ", 22), 0);
}

static void test_json(void **state)
{
	json_error_t error;
	json_t *j;

	(void)state;
	help_json(&page);
	j = json_loads(buf_str(&page), JSON_REJECT_DUPLICATES, &error);
	if (!j)
		fail_msg("%s at %d", error.text, error.position);
	assert_true(json_array_size(json_object_get(j, "services")) >= 6);
	assert_int_equal(json_array_size(json_object_get(j, "addresses")), ADDR_TRANSPORTS);
	assert_non_null(json_object_get(json_object_get(j, "options"), "service"));
	json_decref(j);
}

/* No line that roff would take for a request by mistake, and every option in it. */
static void test_man(void **state)
{
	static const char *const requests[] = { ".TH ", ".SH ", ".SS ", ".TP", ".B ", ".PP",
						".br",  ".nf",  ".fi",  ".RS", ".RE", ".\\\"" };

	(void)state;
	help_man(&page);
	for (const char *line = buf_str(&page); *line;) {
		bool known = line[0] != '.' && line[0] != '\'';

		for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]) && !known; i++)
			known = strncmp(line, requests[i], strlen(requests[i])) == 0;
		if (!known)
			fail_msg("not a request: %.60s", line);
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
	assert_non_null(strstr(buf_str(&page), "\n.SS guichet serve\n"));
	assert_non_null(strstr(buf_str(&page), "\\fBlog_level\\fR = error|warn|info|debug\n"));
}

static void test_completion(void **state)
{
	(void)state;
	help_completion(&page);
	for (const struct command *const *c = commands; *c; c++)
		assert_non_null(strstr(buf_str(&page), (*c)->name));
	assert_null(strchr(buf_str(&page), '`'));
}

/* ---- commands to try ---- */

static void check_try_of(const char *proto, const char *address, bool login, const char *expect)
{
	struct addr_text a;

	assert_int_equal(addr_parse(address, &a, NULL), 0);
	buf_reset(&page);
	try_command("guichet", protos_find(proto), &a, login, &page);
	assert_string_equal(buf_str(&page), expect);
}

static void check_try(const char *proto, const char *address, const char *expect)
{
	check_try_of(proto, address, false, expect);
}

static void test_try(void **state)
{
	(void)state;
	check_try("echo", "tcp:127.0.0.1:7007", "nc 127.0.0.1 7007");
	check_try("echo", "tcp:0.0.0.0:7007", "nc 127.0.0.1 7007");
	check_try("echo", "tcp:[::]:7007", "nc ::1 7007");
	check_try("echo", "udp:127.0.0.1:7007", "nc -u 127.0.0.1 7007");
	check_try("daytime", "udp:[::1]:7013", "echo | nc -u -w1 ::1 7013");
	check_try("time", "tcp:127.0.0.1:7037", "nc 127.0.0.1 7037 </dev/null | od -An -tx1");
	check_try("chargen", "tls:[::1]:7019", "openssl s_client -quiet -connect [::1]:7019 | head");
	check_try("echo", "unix:/run/a b", "socat - \"UNIX-CONNECT:/run/a b\"");
	check_try("echo", "unixseq:/run/a", "socat - UNIX-CONNECT:/run/a,type=5");
	check_try("echo", "unixgram:/run/a", "guichet connect unixgram:/run/a");
	check_try("echo", "stdio:", "");
	check_try("mqtt", "tcp:127.0.0.1:1883", "guichet sub -p 1883 -v -t '#'");
	check_try("mqtt", "tcp:0.0.0.0:1884", "guichet sub -p 1884 -v -t '#'");
	check_try("mqtt", "tcp:192.0.2.1:1883", "guichet sub -h 192.0.2.1 -p 1883 -v -t '#'");
	check_try("mqtt", "tls:[::1]:8883", "guichet sub --insecure tls:[::1]:8883 -v -t '#'");
	check_try("mqtt", "ws:0.0.0.0:9001", "guichet sub ws:127.0.0.1:9001 -v -t '#'");
	check_try_of("mqtt", "tcp:127.0.0.1:1883", true, "guichet sub -p 1883 -u USER -P PASSWORD -v -t '#'");
	check_try("mqtt", "unix:/run/m", "guichet sub unix:/run/m -v -t '#'");
}

#define PAGE_TEST(f) cmocka_unit_test_setup_teardown(f, init, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PAGE_TEST(test_wrap),       PAGE_TEST(test_table),  PAGE_TEST(test_commands),
		PAGE_TEST(test_services),   PAGE_TEST(test_option), PAGE_TEST(test_models),
		PAGE_TEST(test_json),       PAGE_TEST(test_man),    PAGE_TEST(test_page_examples),
		PAGE_TEST(test_completion), PAGE_TEST(test_try),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
