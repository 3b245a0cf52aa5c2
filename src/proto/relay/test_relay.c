/* test_relay.c - channels: both directions, both ends, backpressure, and a far side that is not there. */
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
	dialogue_replay_folder("src/proto/relay/cases", &relay_proto);
}

static void test_failing_allocations(void **state)
{
	(void)state;
	dialogue_fail_folder("src/proto/relay/cases", &relay_proto);
}

enum { CONNECTED, FAILED, TO_FAR, TO_NEAR }; /* counters */

static const char to[] = "tcp:192.0.2.7:25";

static uint64_t count(const struct world *w, unsigned which)
{
	return memdrive_stat(w->drive, STAT_OWN + which);
}

static void test_options(void **state)
{
	(void)state;
	assert_refused(&relay_proto, "to: must be set");
	assert_refused(&relay_proto, "to: ", "to", "nowhere");
	assert_refused(&relay_proto, "is not where a relay can connect to", "to", "udp:192.0.2.7:7");
	assert_refused(&relay_proto, "needs one host", "to", "tcp:*:7");
	assert_refused(&relay_proto, "needs a port that is not 0", "to", "tcp:192.0.2.7:0");
	assert_refused(&relay_proto, "is not where a relay can connect to", "to", "stdio:");
	assert_refused(&relay_proto, "is not where a relay can connect to", "to", "fd:3");
	assert_refused(&relay_proto, "is not where a relay can connect to", "to", "tls:192.0.2.7:443");
	assert_refused(&relay_proto, "to: ", "to", "tcp:192.0.2.7:7 tcp:192.0.2.8:7");
	assert_refused(&relay_proto, "connect_timeout: ", "to", to, "connect_timeout", "0");
}

/* What is said before the connection is there waits with the client, and arrives; so does the end that follows it. */
static void test_early_data(void **state)
{
	static uint8_t text[300000];
	struct memconn *near, *far;
	struct world w;

	(void)state;
	world_open(&w, &relay_proto, NULL, "to", to);
	memdrive_dials(w.drive, MEM_PENDING);
	near = world_client(&w);
	memconn_send(near, text, sizeof(text), 0);
	memconn_eof(near);
	assert_int_equal(memdrive_children(w.drive), 1);
	far = memdrive_child(w.drive, 0);
	assert_string_equal(memconn_address(far), to);
	assert_int_equal(memconn_end(far), MEM_OPENING);
	assert_int_equal(memconn_unread(near), sizeof(text));
	memconn_dialled(far, 0);
	assert_int_equal(memconn_out(far).n, sizeof(text));
	assert_true(memconn_fin(far));
	memconn_sends(far, "bye");
	memconn_eof(far);
	assert_said(near, "bye");
	assert_int_equal(memconn_end(near), MEM_CLOSED);
	assert_int_equal(memconn_end(far), MEM_CLOSED);
	assert_int_equal(count(&w, CONNECTED), 1);
	assert_int_equal(count(&w, FAILED), 0);
	assert_int_equal(count(&w, TO_FAR), sizeof(text));
	assert_int_equal(count(&w, TO_NEAR), 3);
	world_close(&w);
}

static void test_failures(void **state)
{
	static const struct {
		int err;
		const char *reason;
	} rows[] = {
		{ -ECONNREFUSED, "connect-refused" },
		{ -ETIMEDOUT, "connect-timeout" },
		{ -EHOSTUNREACH, "connect-unreachable" },
		{ -ENETUNREACH, "connect-unreachable" },
		{ -ENOENT, "connect-unknown" },
		{ -ENXIO, "connect-unknown" },
		{ -EACCES, "connect-failed" },
	};
	struct world w;

	(void)state;
	world_open(&w, &relay_proto, NULL, "to", to);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct memconn *near;

		memdrive_dials(w.drive, rows[i].err);
		near = world_client(&w);
		assert_said(near, "");
		assert_int_equal(memconn_end(near), MEM_ABORTED);
		assert_string_equal(memconn_reason(near), rows[i].reason);
		assert_int_equal(count(&w, FAILED), i + 1);
	}
	world_close(&w);
}

static void test_timeout(void **state)
{
	struct memconn *near;
	struct world w;

	(void)state;
	world_open(&w, &relay_proto, NULL, "to", to, "connect_timeout", "3s");
	memdrive_dials(w.drive, MEM_PENDING);
	near = world_client(&w);
	memdrive_advance(w.drive, 2900 * MSEC);
	assert_int_equal(memconn_end(near), MEM_OPEN);
	memdrive_advance(w.drive, 200 * MSEC);
	assert_int_equal(memconn_end(near), MEM_ABORTED);
	assert_string_equal(memconn_reason(near), "connect-timeout");
	world_close(&w);
}

/* A client that goes, and a server that stops, while the connection is not there yet: nothing is left. */
static void test_gone_while_connecting(void **state)
{
	struct memconn *near;
	struct world w;

	(void)state;
	world_open(&w, &relay_proto, NULL, "to", to);
	memdrive_dials(w.drive, MEM_PENDING);
	near = world_client(&w);
	memconn_reset(near);
	assert_int_equal(memconn_end(near), MEM_ABORTED);
	assert_int_equal(memdrive_sessions(w.drive), 0);
	near = world_client(&w);
	memdrive_stop(w.drive);
	assert_int_equal(memconn_end(near), MEM_CLOSED);
	assert_int_equal(memdrive_sessions(w.drive), 0);
	world_close(&w);
}

/* A broken connection is broken on the other side too; what is begun survives the wish to stop. */
static void test_breaks(void **state)
{
	struct memconn *near, *far;
	struct world w;

	(void)state;
	world_open(&w, &relay_proto, NULL, "to", to);
	near = world_client(&w);
	memdrive_stop(w.drive);
	assert_int_equal(memconn_end(near), MEM_OPEN);
	memconn_reset(memdrive_child(w.drive, 0));
	assert_int_equal(memconn_end(near), MEM_ABORTED);
	assert_string_equal(memconn_reason(near), "far-side-broken");

	near = world_client(&w);
	far = memdrive_child(w.drive, 1);
	memconn_reset(near);
	assert_int_equal(memconn_end(near), MEM_ABORTED);
	assert_string_equal(memconn_reason(near), "reset-by-peer");
	assert_int_equal(memconn_end(far), MEM_ABORTED);
	assert_int_equal(memdrive_sessions(w.drive), 0);

	/* the far side has said all there was before it broke: the client must get it */
	near = memconn_open(w.drive, &(struct mem_open){ .window = 2 });
	assert_non_null(near);
	far = memdrive_child(w.drive, 2);
	memconn_sends(far, "all of it");
	memconn_eof(far);
	memconn_sends(near, "more");
	memconn_reset(far);
	memconn_window(near, MEM_NO_LIMIT);
	assert_said(near, "all of it");
	assert_int_equal(memconn_end(near), MEM_CLOSED);
	world_close(&w);
}

/* Sends 1 MiB from one side while the other does not read; then it does. */
static void slow(struct memconn *from, struct memconn *reader)
{
	enum { SIZE = 1 << 20, BOUND = 64 * 1024 };
	static uint8_t text[SIZE];

	for (size_t i = 0; i < SIZE; i++)
		text[i] = (uint8_t)(i * 7 + i / 1000);
	memconn_window(reader, 0);
	memconn_send(from, text, SIZE, 0);
	memconn_eof(from);
	assert_true(memconn_unread(from) >= SIZE - 3 * BOUND);
	for (int i = 0; i < 400; i++)
		memconn_window(reader, 5000);
	memconn_window(reader, MEM_NO_LIMIT);
	assert_true(memconn_peak(reader) <= BOUND);
	assert_said_span(reader, (struct span){ text, SIZE });
	assert_true(memconn_fin(reader));
}

static void test_backpressure(void **state)
{
	struct memconn *near, *far;
	struct world w;

	(void)state;
	world_open(&w, &relay_proto, NULL, "to", to);
	near = world_client(&w);
	far = memdrive_child(w.drive, 0);
	slow(near, far);
	slow(far, near);
	assert_int_equal(memconn_end(near), MEM_CLOSED);
	assert_int_equal(memdrive_sessions(w.drive), 0);
	world_close(&w);
}

/* Neither side reads, both send: each direction stands by itself, and one that reads again is served although the other is full. */
static void test_both_full(void **state)
{
	static uint8_t text[400000];
	struct memconn *near, *far;
	struct world w;

	(void)state;
	world_open(&w, &relay_proto, NULL, "to", to);
	near = world_client(&w);
	far = memdrive_child(w.drive, 0);
	memconn_window(near, 0);
	memconn_window(far, 0);
	memconn_send(near, text, sizeof(text), 0);
	memconn_send(far, text, sizeof(text), 0);
	memconn_window(near, MEM_NO_LIMIT);
	assert_int_equal(memconn_out(near).n, sizeof(text));
	assert_int_equal(memconn_out(far).n, 0);
	memconn_take(near, SIZE_MAX);
	memconn_window(near, 0);
	memconn_send(far, text, sizeof(text), 0);
	memconn_window(far, MEM_NO_LIMIT);
	assert_int_equal(memconn_out(far).n, sizeof(text));
	world_close(&w);
}

static void pending_scene(void *arg)
{
	static const char *const options[] = { "to", to, NULL, NULL };
	struct world w;

	(void)arg;
	if (world_try_open(&w, &relay_proto, NULL, options, NULL) == 0) {
		struct memconn *near, *far;

		memdrive_dials(w.drive, MEM_PENDING);
		near = memconn_open(w.drive, NULL);
		far = memdrive_child(w.drive, 0);
		if (far)
			memconn_dialled(far, 0);
		if (near)
			memconn_sends(near, "hello");
		if (far)
			memconn_sends(far, "hello");
		if (near)
			memconn_reset(near);
	}
	world_close(&w);
}

static void test_failing_connect(void **state)
{
	(void)state;
	fail_each_allocation(pending_scene, NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_failing_allocations),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_early_data),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_gone_while_connecting),
		cmocka_unit_test(test_breaks),
		cmocka_unit_test(test_backpressure),
		cmocka_unit_test(test_both_full),
		cmocka_unit_test(test_failing_connect),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
