/* test_connect.c - `guichet connect` without a terminal and without a network: the memory driver plays both. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "client/connect_priv.h"
#include "drive/mem.h"
#include "support/world.h"

enum { BULK = 300000 };

/* A session, its server (the first child) and its terminal (the second, once the first is connected). */
struct stage {
	struct memdrive *w;
	struct memconn *self, *server, *terminal;
	struct addr_text to;
	struct connect_setup setup;
	struct connection c;
	struct buf why;
};

static char said[256];

static void say(const char *text)
{
	snprintf(said, sizeof(said), "%s", text);
}

static void raise_curtain(struct stage *s, const char *address, int dial)
{
	*s = (struct stage){};
	assert_int_equal(addr_parse(address, &s->to, NULL), 0);
	buf_init(&s->why, 1024);
	s->setup = (struct connect_setup){ .dial.to = &s->to, .wait = SEC, .say = say };
	s->c = (struct connection){ .setup = &s->setup, .why = &s->why };
	assert_int_equal(dial_init(&s->c.dial, &s->setup.dial, &s->why), 0);
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &connect_proto, .options = &s->c }, &s->w, NULL),
			 0);
	memdrive_dials(s->w, dial);
	s->self = memconn_open(s->w, NULL);
	assert_non_null(s->self);
	s->server = memdrive_child(s->w, 0);
	s->terminal = memdrive_child(s->w, 1);
}

static void drop_curtain(struct stage *s)
{
	memdrive_free(&s->w);
	dial_done(&s->c.dial);
	buf_done(&s->why);
}

static void check_out(struct memconn *c, const char *expect)
{
	struct span out = memconn_out(c);

	if (!span_is(out, expect))
		fail_msg("\"%.*s\" came, \"%s\" was expected", (int)out.n, (const char *)out.p, expect);
	memconn_take(c, SIZE_MAX);
}

static void test_talk(void **state)
{
	struct stage s;

	(void)state;
	raise_curtain(&s, "tcp:7007", 0);
	assert_non_null(s.terminal);
	assert_string_equal(memconn_address(s.server), "tcp:7007");
	assert_int_equal(memconn_kind(s.terminal), CHILD_STDIO);
	assert_int_equal(strncmp(said, "connected to ", 13), 0);
	memconn_sends(s.terminal, "hello\n");
	check_out(s.server, "hello\n");
	memconn_sends(s.server, "HELLO\n");
	check_out(s.terminal, "HELLO\n");

	/* Ctrl-D: our half ends, and it goes on reading */
	memconn_eof(s.terminal);
	assert_true(memconn_fin(s.server));
	memconn_sends(s.server, "and more\n");
	check_out(s.terminal, "and more\n");
	assert_int_equal(memconn_end(s.self), MEM_OPEN);
	memconn_eof(s.server);
	assert_int_equal(memconn_end(s.self), MEM_CLOSED);
	assert_int_equal(s.c.err, 0);
	drop_curtain(&s);
}

/* The server ends first, and its last words are printed. */
static void test_server_ends(void **state)
{
	struct stage s;

	(void)state;
	raise_curtain(&s, "unix:/run/x", 0);
	memconn_sends(s.server, "good");
	memconn_sends(s.server, "bye\n");
	memconn_eof(s.server);
	check_out(s.terminal, "goodbye\n");
	assert_int_equal(memconn_end(s.self), MEM_CLOSED);
	assert_int_equal(s.c.err, 0);
	drop_curtain(&s);
}

static void test_refused(void **state)
{
	struct stage s;

	(void)state;
	raise_curtain(&s, "tcp:localhost:7777", -ECONNREFUSED);
	assert_int_equal(s.c.err, -ECONNREFUSED);
	assert_string_equal(buf_str(&s.why), "cannot connect to tcp:localhost:7777: Connection refused");
	assert_null(s.terminal);
	drop_curtain(&s);
}

static void test_broken(void **state)
{
	struct stage s;

	(void)state;
	raise_curtain(&s, "tcp:7007", 0);
	memconn_sends(s.server, "half a l");
	memconn_reset(s.server);
	check_out(s.terminal, "half a l");
	assert_int_equal(s.c.err, -ECONNRESET);
	assert_string_equal(buf_str(&s.why), "lost the connection to tcp:7007: Connection reset by peer");
	drop_curtain(&s);
}

/* Whoever reads our output went away: nothing more to do, and no mistake of the server's. */
static void test_terminal_gone(void **state)
{
	struct stage s;

	(void)state;
	raise_curtain(&s, "tcp:7007", 0);
	memconn_reset(s.terminal);
	assert_int_not_equal(memconn_end(s.self), MEM_OPEN);
	assert_int_equal(s.c.err, 0);
	drop_curtain(&s);
}

/* Neither side's slowness fills our memory, and everything arrives in the end. */
static void test_backpressure(void **state)
{
	uint8_t *bulk = mem_alloc(BULK);
	struct stage s;

	(void)state;
	assert_non_null(bulk);
	for (size_t i = 0; i < BULK; i++)
		bulk[i] = (uint8_t)(i * 7 + i / 251);
	raise_curtain(&s, "tcp:7007", 0);
	memconn_window(s.server, 0);
	memconn_window(s.terminal, 0);
	memconn_send(s.terminal, bulk, BULK, 0);
	memconn_send(s.server, bulk, BULK, 0);
	assert_true(memconn_unread(s.terminal) > BULK / 3);
	assert_true(memconn_unread(s.server) > BULK / 3);
	assert_true(memconn_peak(s.server) <= 65536);
	assert_true(memconn_peak(s.terminal) <= 65536);
	memconn_eof(s.terminal);
	memconn_window(s.terminal, MEM_NO_LIMIT);
	memconn_window(s.server, MEM_NO_LIMIT);
	assert_int_equal(memconn_out(s.server).n, BULK);
	assert_memory_equal(memconn_out(s.server).p, bulk, BULK);
	assert_memory_equal(memconn_out(s.terminal).p, bulk, BULK);
	assert_true(memconn_fin(s.server));
	drop_curtain(&s);
	mem_free(bulk);
}

/* What test_talk() says, by whatever is there when an allocation has failed. */
static void scene(void *arg)
{
	struct addr_text to;
	struct connect_setup setup = { .dial.to = &to, .wait = SEC, .say = say };
	struct connection own = { .setup = &setup };
	struct memdrive *w = NULL;
	struct memconn *player[2] = {};
	struct buf why;

	(void)arg;
	if (addr_parse("tcp:7007", &to, NULL) < 0)
		return;
	buf_init(&why, 1024);
	own.why = &why;
	if (dial_init(&own.dial, &setup.dial, &why) == 0 &&
	    memdrive_new(&(struct mem_setup){ .proto = &connect_proto, .options = &own }, &w, NULL) == 0 &&
	    memconn_open(w, NULL)) {
		for (size_t i = 0; i < 2; i++)
			player[i] = memdrive_child(w, i);
		for (size_t i = 0; i < 2; i++)
			if (player[i])
				memconn_sends(player[i], "a line\n");
		for (size_t i = 0; i < 2; i++)
			if (player[i])
				memconn_eof(player[i]);
	}
	memdrive_free(&w);
	dial_done(&own.dial);
	buf_done(&why);
}

static void test_failing_allocations(void **state)
{
	(void)state;
	fail_each_allocation(scene, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_talk),
		cmocka_unit_test(test_server_ends),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_terminal_gone),
		cmocka_unit_test(test_backpressure),
		cmocka_unit_test(test_failing_allocations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
