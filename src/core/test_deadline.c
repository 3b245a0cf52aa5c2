/*
 * test_deadline.c - the time limits of a conversation: its first message, its login, how slowly a peer may send and read, and what
 * overload makes of them. idle and the timers of protocols are in test_session.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/toy_stage.h"

/* The toy protocol with more flags. */
static struct proto flagged;

static void start_flagged(unsigned flags, toy_fn *fn, struct mem_setup setup)
{
	flagged = toy_proto;
	flagged.flags |= flags;
	setup.proto = &flagged;
	start(fn, &setup);
}

/* ---- the first message ---- */

static enum verdict by_lines(const struct ev *ev, struct io *io)
{
	struct span line;

	while (ev->kind == EV_DATA && in_line(io, 100, &line) > 0) {
		io_first(io);
		out_mem(io, line.p, line.n);
	}
	return ev->kind == EV_EOF ? V_CLOSE : V_GO;
}

static void the_first_message_must_come_in_time(void **state)
{
	(void)state;
	start_flagged(P_FIRST, by_lines, (struct mem_setup){ .first = 10 * SEC });
	memconn_sends(c, "half of");
	memdrive_advance(w, 10 * SEC - 1);
	assert_ended(MEM_OPEN, "");
	memdrive_advance(w, 1);
	assert_ended(MEM_CLOSED, "first");
	assert_int_equal(memdrive_stat(w, STAT_FIRST), 1);
}

static void afterwards_there_is_all_the_time(void **state)
{
	(void)state;
	start_flagged(P_FIRST, by_lines, (struct mem_setup){ .first = 10 * SEC });
	memdrive_advance(w, 9 * SEC);
	memconn_sends(c, "it\n");
	memdrive_advance(w, 3600 * SEC);
	memconn_sends(c, "half of");
	memdrive_advance(w, 3600 * SEC);
	assert_ended(MEM_OPEN, "");
	assert_int_equal(memdrive_next(w), 0);
}

static void who_does_not_ask_for_it_waits_for_ever(void **state)
{
	(void)state;
	start(by_lines, &(struct mem_setup){ .first = 10 * SEC });
	memdrive_advance(w, 3600 * SEC);
	assert_ended(MEM_OPEN, "");
}

static void no_limit_is_none(void **state)
{
	(void)state;
	start_flagged(P_FIRST | P_LOGIN, by_lines, (struct mem_setup){});
	memdrive_advance(w, 50 * 86400 * SEC); /* the numbers in a session wrap in the meantime */
	assert_ended(MEM_OPEN, "");
}

static enum verdict becomes_itself(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA) {
		in_take(io, SIZE_MAX);
		io_first(io);
		io_become(io, &flagged, NULL, LEFT_FEED);
	}
	return V_GO;
}

static void another_protocol_has_a_first_message_too(void **state)
{
	(void)state;
	start_flagged(P_FIRST, becomes_itself, (struct mem_setup){ .first = 10 * SEC });
	memdrive_advance(w, 9 * SEC);
	memconn_sends(c, "x");
	memdrive_advance(w, 9 * SEC);
	assert_ended(MEM_OPEN, "");
	memdrive_advance(w, SEC);
	assert_ended(MEM_CLOSED, "first");
}

/* ---- login ---- */

/* user NAME, bye, or who. */
static enum verdict logs_in(const struct ev *ev, struct io *io)
{
	struct span line;

	while (ev->kind == EV_DATA && in_line(io, 100, &line) > 0) {
		char name[100] = "";

		if (span_starts(line, "user ")) {
			memcpy(name, line.p + 5, line.n - 5);
			io_who(io, &(struct who){ .how = WHO_PASSWORD, .user = name });
		} else if (span_is(line, "bye")) {
			io_who(io, NULL);
		} else {
			out_str(io, io->who ? io->who->user : "nobody");
		}
		memset(name, 'x', sizeof(name)); /* it has a copy */
	}
	return ev->kind == EV_EOF ? V_CLOSE : V_GO;
}

static void nobody_logs_in(void **state)
{
	(void)state;
	start_flagged(P_LOGIN, logs_in, (struct mem_setup){ .auth = 60 * SEC, .idle = 20 * SEC });
	for (int i = 0; i < 5; i++) {
		memdrive_advance(w, 10 * SEC);
		memconn_sends(c, "who\n");
		assert_out(c, "nobody");
	}
	memdrive_advance(w, 10 * SEC);
	assert_ended(MEM_CLOSED, "auth");
	assert_int_equal(memdrive_stat(w, STAT_AUTH), 1);
}

static void somebody_does(void **state)
{
	(void)state;
	start_flagged(P_LOGIN, logs_in, (struct mem_setup){ .auth = 60 * SEC });
	memdrive_advance(w, 59 * SEC);
	memconn_sends(c, "user ann\n");
	memconn_sends(c, "who\n");
	assert_out(c, "ann");
	memdrive_advance(w, 3600 * SEC);
	memconn_sends(c, "user bob\n");
	memconn_sends(c, "who\n");
	assert_out(c, "bob");
	memconn_sends(c, "bye\n");
	memconn_sends(c, "who\n");
	assert_out(c, "nobody");
	assert_ended(MEM_OPEN, "");
}

/* ---- how slow a peer may be ---- */

static const struct mem_setup slow = { .min_rate = 1, .idle = 3600 * SEC };

static void drip(const char *byte, nsec every, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		memconn_sends(c, byte);
		memdrive_advance(w, every);
	}
}

static void a_drip_is_ended(void **state)
{
	(void)state;
	start(by_lines, &slow);
	drip("x", 20 * SEC, 10);
	assert_ended(MEM_CLOSED, "too-slow");
	assert_int_equal(memdrive_stat(w, STAT_SLOW), 1);
}

static void a_person_who_types_is_not(void **state)
{
	(void)state;
	start(by_lines, &slow);
	for (int line = 0; line < 5; line++) {
		drip("x", 800 * MSEC, 90);
		memconn_sends(c, "\n");
		memdrive_advance(w, 300 * SEC);
	}
	assert_ended(MEM_OPEN, "");
}

static void silence_between_messages_is_idle_only(void **state)
{
	(void)state;
	start(by_lines, &slow);
	drip("x\n", 3599 * SEC, 10);
	assert_ended(MEM_OPEN, "");
	memdrive_advance(w, 1 * SEC);
	assert_ended(MEM_CLOSED, "idle");
}

static void a_drip_of_whole_messages_is_none(void **state)
{
	(void)state;
	start(by_lines, &slow);
	drip("\n", 50 * SEC, 100);
	assert_ended(MEM_OPEN, "");
}

static void no_rate_is_none(void **state)
{
	(void)state;
	start(by_lines, &(struct mem_setup){ .idle = 600 * SEC });
	drip("x", 540 * SEC, 50);
	assert_ended(MEM_OPEN, "");
}

static void a_drip_inside_a_layer(void **state)
{
	(void)state;
	start_world(toy_take, &slow);
	c = memconn_open(w, &(struct mem_open){ .layer = &toy_frame });
	memconn_send(c, "d\x10\x00", 3, 0); /* of a frame of 4096, or 16, bytes */
	drip("x", 30 * SEC, 10);
	assert_ended(MEM_CLOSED, "too-slow");
}

static enum verdict holds(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA) {
		io_hold(io, true);
		io_timer(io, 0, io->now + 1000 * SEC);
	}
	if (ev->kind == EV_TIMER) {
		in_take(io, SIZE_MAX);
		io_hold(io, false);
	}
	return V_GO;
}

static void it_is_not_the_peer_who_is_slow(void **state)
{
	(void)state;
	start(holds, &slow);
	memconn_sends(c, "xyz");
	memdrive_advance(w, 3000 * SEC);
	assert_ended(MEM_OPEN, "");
}

static void who_reads_nothing_is_ended(void **state)
{
	(void)state;
	start(fill, &slow);
	memconn_window(c, 0);
	memdrive_advance(w, 75 * SEC);
	assert_ended(MEM_ABORTED, "too-slow");
	assert_int_equal(memdrive_stat(w, STAT_SLOW), 1);
}

static void read_bit_by_bit(size_t n, unsigned minutes)
{
	for (unsigned i = 0; i < 4 * minutes && memconn_end(c) == MEM_OPEN; i++) {
		memconn_window(c, n);
		memconn_take(c, SIZE_MAX);
		memdrive_advance(w, 15 * SEC);
	}
}

static void who_reads_a_byte_now_and_then_is_ended(void **state)
{
	(void)state;
	start(fill, &slow);
	read_bit_by_bit(1, 60);
	assert_ended(MEM_ABORTED, "too-slow");
}

static void who_reads_slowly_is_not(void **state)
{
	(void)state;
	start(fill, &slow);
	read_bit_by_bit(16, 60);
	assert_ended(MEM_OPEN, "");
}

static size_t in_the_kernel;

static size_t unsent(struct host *h, struct sess *s)
{
	(void)h;
	(void)s;
	return in_the_kernel;
}

/* Our system may take megabytes at once and then nothing for long, while the peer reads them all the time. */
static void what_our_system_has_is_not_read_yet(void **state)
{
	(void)state;
	start(fill, &slow);
	memconn_sess(c)->host->unsent = unsent;
	in_the_kernel = 100000;
	memconn_window(c, 0);
	for (int i = 0; i < 60; i++) {
		memdrive_advance(w, 15 * SEC);
		in_the_kernel -= 1000;
	}
	assert_ended(MEM_OPEN, "");
	memdrive_advance(w, 75 * SEC);
	assert_ended(MEM_ABORTED, "too-slow");
}

/* ---- overload ---- */

static void a_quarter_must_do(void **state)
{
	(void)state;
	start(toy_echo, &(struct mem_setup){ .idle = 40 * SEC });
	memdrive_press(w, true);
	memdrive_advance(w, 10 * SEC - 1);
	assert_ended(MEM_OPEN, "");
	memdrive_advance(w, 1);
	assert_ended(MEM_CLOSED, "idle");
}

static void also_for_who_is_here_already(void **state)
{
	(void)state;
	start(toy_echo, &(struct mem_setup){ .idle = 40 * SEC });
	memdrive_advance(w, 22 * SEC);
	memdrive_press(w, true);
	memdrive_advance(w, 8 * SEC); /* its next look */
	assert_ended(MEM_CLOSED, "idle");
}

static void when_it_is_over_all_is_as_before(void **state)
{
	(void)state;
	start(toy_echo, &(struct mem_setup){ .idle = 40 * SEC });
	memdrive_press(w, true);
	memdrive_advance(w, 9 * SEC);
	memdrive_press(w, false);
	memdrive_advance(w, 31 * SEC - 1);
	assert_ended(MEM_OPEN, "");
	memdrive_advance(w, 1);
	assert_ended(MEM_CLOSED, "idle");
}

static void it_is_the_same_for_first_and_auth(void **state)
{
	(void)state;
	start_flagged(P_FIRST, by_lines, (struct mem_setup){ .first = 8 * SEC });
	memdrive_press(w, true);
	memdrive_advance(w, 2 * SEC);
	assert_ended(MEM_CLOSED, "first");
	stop(NULL);
	start_flagged(P_LOGIN, by_lines, (struct mem_setup){ .auth = 60 * SEC });
	memdrive_press(w, true);
	memdrive_advance(w, 15 * SEC);
	assert_ended(MEM_CLOSED, "auth");
	stop(NULL);
	start_world(toy_echo, &(struct mem_setup){ .first = 8 * SEC });
	memdrive_press(w, true);
	c = memconn_open(w, &(struct mem_open){ .layer = &toy_xor });
	memdrive_advance(w, 2 * SEC - 1);
	assert_ended(MEM_OPEN, "");
	memdrive_advance(w, 1);
	assert_ended(MEM_ABORTED, "handshake-timeout");
}

static void and_for_who_is_slow(void **state)
{
	(void)state;
	start(fill, &slow);
	memconn_window(c, 0);
	memdrive_press(w, true);
	memdrive_advance(w, 30 * SEC);
	assert_ended(MEM_ABORTED, "too-slow");
}

int main(void)
{
#define T(fn) cmocka_unit_test_teardown(fn, stop)
	const struct CMUnitTest tests[] = {
		T(the_first_message_must_come_in_time),
		T(afterwards_there_is_all_the_time),
		T(who_does_not_ask_for_it_waits_for_ever),
		T(no_limit_is_none),
		T(another_protocol_has_a_first_message_too),
		T(nobody_logs_in),
		T(somebody_does),
		T(a_drip_is_ended),
		T(a_person_who_types_is_not),
		T(silence_between_messages_is_idle_only),
		T(a_drip_of_whole_messages_is_none),
		T(no_rate_is_none),
		T(a_drip_inside_a_layer),
		T(it_is_not_the_peer_who_is_slow),
		T(who_reads_nothing_is_ended),
		T(who_reads_a_byte_now_and_then_is_ended),
		T(who_reads_slowly_is_not),
		T(what_our_system_has_is_not_read_yet),
		T(a_quarter_must_do),
		T(also_for_who_is_here_already),
		T(when_it_is_over_all_is_as_before),
		T(it_is_the_same_for_first_and_auth),
		T(and_for_who_is_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
