/* test_chargen.c - the lines, their limits, and its manners as a datagram service. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/protos.h"
#include "support/dialogue.h"
#include "support/world.h"

enum { LINE = 74, LINES = 95 };

/* Character i of the stream, by the RFC's words. */
static uint8_t expected(size_t i)
{
	size_t column = i % LINE;

	if (column >= 72)
		return column == 72 ? '\r' : '\n';
	return (uint8_t)(' ' + (i / LINE + column) % 95);
}

static void test_lines(void **state)
{
	static const char first[] = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r\n"
				    "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefgh\r\n";
	struct mem_open how = { .window = 3 * LINES * LINE };
	struct memconn *c;
	struct span out;
	struct world w;

	(void)state;
	world_open(&w, &chargen_proto, NULL);
	c = memconn_open(w.drive, &how);
	assert_non_null(c);
	out = memconn_out(c);
	assert_int_equal(out.n, how.window);
	assert_memory_equal(out.p, first, sizeof(first) - 1);
	for (size_t i = 0; i < out.n; i++) {
		if (out.p[i] != expected(i))
			fail_msg("character %zu is %d, not %d", i, out.p[i], expected(i));
	}
	world_close(&w);
}

/* A client that stops reading is owed one queue, whatever it sends meanwhile, and it is heard to leave. */
static void test_backpressure(void **state)
{
	static uint8_t noise[200000];
	struct mem_open how = { .window = 1000 };
	struct memconn *c;
	struct world w;

	(void)state;
	world_open(&w, &chargen_proto, NULL);
	c = memconn_open(w.drive, &how);
	assert_non_null(c);
	memconn_send(c, noise, sizeof(noise), 0);
	assert_int_equal(memconn_unread(c), 0);
	memconn_window(c, 1000000);
	assert_int_equal(memconn_out(c).n, 1001000);
	assert_true(memconn_peak(c) <= 64 * 1024 + LINES * LINE);
	memconn_eof(c);
	memconn_window(c, MEM_NO_LIMIT);
	assert_int_equal(memconn_end(c), MEM_CLOSED);
	assert_true(memconn_out(c).n < 1001000 + 80 * 1024);
	world_close(&w);
}

static size_t ask(struct world *w, struct memconn *d, bool proven, size_t n)
{
	static const uint8_t request[600];
	size_t got = 0;

	memconn_dgram(d, "192.0.2.1:4711", proven, request, n);
	assert_true(memconn_dgrams(d) <= 1);
	if (memconn_dgrams(d) == 1)
		got = memconn_dgram_at(d, 0)->data.n;
	memconn_dgrams_take(d);
	memdrive_advance(w->drive, 1234567);
	return got;
}

static void test_datagrams(void **state)
{
	size_t least = SIZE_MAX, most = 0;
	struct memconn *d;
	struct world w;

	(void)state;
	world_open(&w, &chargen_proto, NULL);
	d = memdrive_dgram(w.drive);
	assert_non_null(d);
	assert_int_equal(ask(&w, d, false, 0), 0);
	for (size_t i = 0; i < 2000; i++) {
		size_t n = ask(&w, d, true, i % 3);

		assert_in_range(n, 1, 512);
		least = n < least ? n : least;
		most = n > most ? n : most;
		assert_true(ask(&w, d, false, i % 600) <= i % 600); /* not proven: never more than was asked with */
	}
	assert_true(least < 10 && most > 500);
	world_close(&w);
}

static void session(void *arg)
{
	struct mem_open how = { .window = 100000 };
	struct world w;

	(void)arg;
	if (world_try_open(&w, &chargen_proto, NULL, NULL, NULL) == 0) {
		struct memconn *c = memconn_open(w.drive, &how), *d = memdrive_dgram(w.drive);

		if (c)
			memconn_sends(c, "noise");
		if (d)
			memconn_dgram(d, "192.0.2.1:4711", false, "a datagram", 10);
	}
	world_close(&w);
}

static void test_failing_allocations(void **state)
{
	(void)state;
	fail_each_allocation(session, NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_backpressure),
		cmocka_unit_test(test_datagrams),
		cmocka_unit_test(test_failing_allocations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
