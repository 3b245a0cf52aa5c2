/* test_echo.c - its options, its limits, and what a client may do to it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/protos.h"
#include "support/dialogue.h"
#include "support/world.h"

static void test_cases(void **state)
{
	(void)state;
	dialogue_replay_folder("src/proto/echo/cases", &echo_proto);
}

static void test_failing_allocations(void **state)
{
	(void)state;
	dialogue_fail_folder("src/proto/echo/cases", &echo_proto);
}

static void test_options(void **state)
{
	(void)state;
	assert_refused(&echo_proto, "reply: needs exactly one %s, for the line, and has none", "reply", "no place");
	assert_refused(&echo_proto, "reply: needs exactly one %s, for the line, and has none", "reply", "");
	assert_refused(&echo_proto, "reply: needs exactly one %s, for the line, and has none", "reply", "100%%s");
	assert_refused(&echo_proto, "reply: needs exactly one %s, for the line, and has more", "reply", "%s and %s");
	assert_refused(&echo_proto, "reply: after % there must be s", "reply", "%d");
	assert_refused(&echo_proto, "reply: after % there must be s", "reply", "%s%");
	assert_refused(&echo_proto, "reply: after % there must be s", "reply", "%n%s");
	assert_refused(&echo_proto, "reply: after % there must be s", "reply", "%5s");
}

/* The longest text that the table allows fits, with every kind of percent in it. */
static void test_long_reply(void **state)
{
	char reply[1024 + 1], want[1024];
	struct memconn *c;
	struct world w;

	(void)state;
	memset(reply, '%', sizeof(reply) - 1); /* 511 percent signs */
	reply[1022] = '%';
	reply[1023] = 's';
	reply[1024] = '\0';
	memset(want, '%', 511);
	memcpy(want + 511, "x\n", 2);
	world_open(&w, &echo_proto, NULL, "reply", reply);
	c = world_client(&w);
	memconn_sends(c, "x\n");
	assert_said_span(c, (struct span){ (const uint8_t *)want, 513 });
	world_close(&w);
}

/* A client that does not read is not read from, and gets everything when it does; byte by byte and line by line. */
static void test_backpressure(void **state)
{
	enum { SIZE = 1 << 20 };
	static uint8_t text[SIZE];

	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		text[i] = i % 100 == 99 ? '\n' : (uint8_t)('A' + i % 26);
	for (int lines = 0; lines < 2; lines++) {
		struct world w;
		struct memconn *c;

		world_open(&w, &echo_proto, NULL, "upper", lines ? "yes" : "no");
		c = world_client(&w);
		memconn_window(c, 0);
		memconn_send(c, text, SIZE, 0);
		memconn_eof(c);
		assert_int_equal(memconn_out(c).n, 0);
		assert_true(memconn_unread(c) >= SIZE / 2);
		assert_true(memconn_peak(c) <= 64 * 1024 + 128);
		for (int i = 0; i < 200; i++)
			memconn_window(c, 10000);
		assert_said_span(c, (struct span){ text, SIZE });
		assert_true(memconn_peak(c) <= 64 * 1024 + 128);
		assert_int_equal(memconn_end(c), MEM_CLOSED);
		world_close(&w);
	}
}

/* The answer to the last line is not lost when the client half-closes, breaks or the server stops. */
static void test_ends(void **state)
{
	struct memconn *c;
	struct world w;

	(void)state;
	world_open(&w, &echo_proto, NULL, "upper", "yes");
	c = world_client(&w);
	memconn_sends(c, "half a li");
	memconn_reset(c);
	assert_int_equal(memconn_end(c), MEM_ABORTED);
	assert_string_equal(memconn_reason(c), "reset-by-peer");

	c = world_client(&w);
	memconn_sends(c, "one\nhalf a li");
	memdrive_stop(w.drive);
	assert_said(c, "ONE\n");
	assert_int_equal(memconn_end(c), MEM_CLOSED);

	c = world_client(&w);
	memconn_eof(c);
	assert_said(c, "");
	assert_int_equal(memconn_end(c), MEM_CLOSED);
	world_close(&w);
}

static void test_reason_and_counters(void **state)
{
	static char line[70000];
	struct memconn *c;
	struct world w;

	(void)state;
	memset(line, 'a', sizeof(line));
	world_open(&w, &echo_proto, NULL, "reply", "%s");
	c = world_client(&w);
	memconn_sends(c, "1\n2\n");
	memconn_send(c, line, sizeof(line), 0);
	assert_string_equal(memconn_reason(c), "line-too-long");
	assert_int_equal(memdrive_stat(w.drive, STAT_OWN + 0), 2);
	assert_int_equal(memdrive_stat(w.drive, STAT_OWN + 1), 1);
	world_close(&w);
}

/* A banner is for conversations; an empty datagram gets no answer; one that grows past a datagram is the driver's matter. */
static void test_datagrams(void **state)
{
	struct memconn *d;
	struct world w;

	(void)state;
	world_open(&w, &echo_proto, NULL, "banner", "hi", "reply", "<%s>");
	d = memdrive_dgram(w.drive);
	assert_non_null(d);
	assert_int_equal(memconn_out(d).n, 0);
	memconn_dgram(d, "192.0.2.1:4711", false, "", 0);
	assert_int_equal(memconn_dgrams(d), 0);
	memconn_dgram(d, "192.0.2.1:4711", false, "a\r\nb\r\n", 6);
	assert_answered(d, "192.0.2.1:4711", "<a\r\nb>\r\n");
	memconn_dgram(d, "[2001:db8::1]:9", true, "\n", 1);
	assert_answered(d, "[2001:db8::1]:9", "<>\n");
	world_close(&w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_failing_allocations),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_long_reply),
		cmocka_unit_test(test_backpressure),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_reason_and_counters),
		cmocka_unit_test(test_datagrams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
