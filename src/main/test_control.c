/* test_control.c - the control socket's protocol: its requests, and that it waits for the end of a reload. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "drive/mem.h"
#include "main/control.h"
#include "support/world.h"

static struct memdrive *w;
static struct control control;
static volatile sig_atomic_t hups;

static void got_hup(int sig)
{
	(void)sig;
	hups++;
}

static int start(void **state)
{
	(void)state;
	control = (struct control){};
	hups = 0;
	signal(SIGHUP, got_hup);
	if (memdrive_new(&(struct mem_setup){ .proto = &control_proto }, &w, NULL) < 0)
		return -1;
	memdrive_svc(w)->state = &control;
	return 0;
}

static int stop(void **state)
{
	(void)state;
	memdrive_svc(w)->state = NULL;
	memdrive_free(&w);
	return 0;
}

static void check(const char *request, size_t piece, const char *answer)
{
	struct memconn *c = memconn_open(w, NULL);
	struct span out;

	assert_non_null(c);
	memconn_send(c, request, strlen(request), piece);
	memconn_eof(c);
	out = memconn_out(c);
	if (*answer ? !span_starts(out, answer) : out.n > 0)
		fail_msg("\"%.*s\" came, \"%s\" was expected", (int)out.n, (const char *)out.p, answer);
	assert_int_equal(memconn_end(c), MEM_CLOSED);
}

static void test_requests(void **state)
{
	char line[1000];

	(void)state;
	for (size_t piece = 0; piece < 3; piece++) {
		check("version\n", piece, "guichet ");
		check("version\r\n", piece, "guichet ");
		check("version", piece, "guichet "); /* the end of input ends the line too */
		check("", piece, "");
		check("\n", piece, "error: unknown request, one of: ");
		check("Version\n", piece, "error: unknown request, one of: ");
		check("version\nversion\n", piece, "guichet ");
	}
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	check(line, 0, "error: the line is too long\n");
}

static void test_reload(void **state)
{
	struct memconn *c = memconn_open(w, NULL);

	(void)state;
	memconn_sends(c, "reload\n");
	memdrive_advance(w, SEC);
	assert_int_equal(hups, 1);
	assert_int_equal(memconn_out(c).n, 0);
	snprintf(control.text, sizeof(control.text), "2 changes\n");
	control.reloads++;
	memdrive_advance(w, SEC);
	assert_true(span_is(memconn_out(c), "ok\n2 changes\n"));

	c = memconn_open(w, NULL);
	memconn_sends(c, "reload\n");
	snprintf(control.text, sizeof(control.text), "x.conf:3: it is wrong\n");
	control.failed = true;
	control.reloads++;
	memdrive_advance(w, SEC);
	assert_true(span_is(memconn_out(c), "error: nothing was changed\nx.conf:3: it is wrong\n"));
	assert_int_not_equal(memconn_end(c), MEM_OPEN);
}

/* One that is under way has read the file before this one was asked for. */
static void test_reload_meanwhile(void **state)
{
	struct memconn *c = memconn_open(w, NULL);

	(void)state;
	control.reloading = true;
	memconn_sends(c, "reload\n");
	memdrive_advance(w, SEC);
	control.reloading = false;
	control.reloads++;
	memdrive_advance(w, SEC);
	assert_int_equal(memconn_out(c).n, 0);
	snprintf(control.text, sizeof(control.text), "1 change\n");
	control.failed = false;
	control.reloads++;
	memdrive_advance(w, SEC);
	assert_true(span_is(memconn_out(c), "ok\n1 change\n"));
}

/* Who went away while a reload ran is forgotten; a draining server does not wait for anybody. */
static void test_gone(void **state)
{
	struct memconn *c = memconn_open(w, NULL), *idle = memconn_open(w, NULL);

	(void)state;
	memconn_sends(c, "reload\n");
	memconn_reset(c);
	control.reloads++;
	memdrive_advance(w, SEC);
	assert_int_not_equal(memconn_end(c), MEM_OPEN);
	memdrive_stop(w);
	assert_int_not_equal(memconn_end(idle), MEM_OPEN);
}

/* A world of its own for each failing allocation: a request in one piece, one byte by byte, one that waits. */
static void scene(void *arg)
{
	static const char *const requests[] = { "version\n", "what?\n", "reload\n" };
	struct memdrive *own = NULL;

	(void)arg;
	if (memdrive_new(&(struct mem_setup){ .proto = &control_proto }, &own, NULL) < 0)
		return;
	memdrive_svc(own)->state = &control;
	for (size_t i = 0; i < 3; i++) {
		struct memconn *c = memconn_open(own, NULL);

		if (c)
			memconn_send(c, requests[i], strlen(requests[i]), i);
	}
	control.reloads++;
	memdrive_advance(own, SEC);
	memdrive_svc(own)->state = NULL;
	memdrive_free(&own);
}

static void test_failing_allocations(void **state)
{
	(void)state;
	fail_each_allocation(scene, NULL);
}

#define CONTROL_TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = { CONTROL_TEST(test_requests), CONTROL_TEST(test_reload),
					    CONTROL_TEST(test_reload_meanwhile), CONTROL_TEST(test_gone),
					    CONTROL_TEST(test_failing_allocations) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
