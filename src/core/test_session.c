/*
 * test_session.c - the life of a session: what it is told, what waiting is, its timers and limits, and its end in stages. What flows
 * in and out is in test_flow.c. The numbers are those of the rules in docs/design/contract.md.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/toy_stage.h"

/* ---- the life of a session ---- */

static void a_whole_life(void **state)
{
	(void)state;
	start(toy_echo, NULL);
	assert_log("open");
	memconn_sends(c, "hello");
	assert_log("data:5");
	assert_out(c, "hello");
	memconn_eof(c);
	assert_log("eof fini");
	assert_ended(MEM_CLOSED, "");
	assert_int_equal(memdrive_sessions(w), 0);
}

static void every_chunking_says_the_same(void **state)
{
	static const char text[] = "one two three four five six seven";

	(void)state;
	for (size_t k = 1; k <= sizeof(text); k++) {
		start(toy_echo, NULL);
		memconn_send(c, text, sizeof(text), k);
		assert_int_equal(memconn_out(c).n, sizeof(text));
		assert_memory_equal(memconn_out(c).p, text, sizeof(text));
		stop(NULL);
	}
	w = NULL;
}

static enum verdict look_at_io(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN) {
		assert_int_equal(io->now, 5 * SEC);
		assert_int_equal(io->wall, 77);
		assert_true(io->self != 0);
		assert_int_equal(io->parent, 0);
		assert_non_null(io->local);
		assert_int_equal(io->peer->port, 4711);
		assert_null(io->who);
		assert_string_equal(io->svc->name, "toys");
		assert_null(io->shard);
		assert_false(io->secure);
		assert_false(io->eof);
		assert_true(ev->arg == NULL);
	}
	return toy_take(ev, io);
}

static void a_step_is_told_where_it_is(void **state)
{
	(void)state;
	toy_reset(look_at_io);
	assert_int_equal(
		memdrive_new(&(struct mem_setup){ .proto = &toy_proto, .name = "toys", .now = 5 * SEC, .wall = 77 }, &w,
			     NULL),
		0);
	c = memconn_open(w, &(struct mem_open){ .peer = "192.0.2.1:4711" });
	assert_log("open");
}

static enum verdict look_at_who(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN && io->who)
		out_fmt(io, "%s by %d", io->who->user, (int)io->who->how);
	else if (ev->kind == EV_OPEN)
		out_str(io, "nobody");
	return toy_take(ev, io);
}

static void a_step_is_told_who_the_peer_is(void **state)
{
	static const struct who joe = { .how = WHO_UNIX, .user = "joe", .uid = 1000 };
	static const struct who jim = { .how = WHO_CERTIFICATE, .user = "CN=jim" };

	(void)state;
	start(look_at_who, NULL);
	assert_out(c, "nobody");
	c = memconn_open(w, &(struct mem_open){ .who = &joe });
	assert_out(c, "joe by 3");
	/* a certificate is known when the handshake is over, and the protocol begins after it */
	c = memconn_open(w, &(struct mem_open){ .layer = &toy_xor });
	sess_set_who(memconn_sess(c), &jim);
	memconn_send(c, "H\0", 2, 0);
	assert_out(c, "hCN=jim by 2");
}

static int opens, closes;

static int open_service(struct svc *svc, struct buf *ret_why)
{
	opens++;
	if (toy.x[0]) {
		buf_adds(ret_why, "not today");
		return -EINVAL;
	}
	svc->state = &opens;
	return 0;
}

static void close_service(struct svc *svc)
{
	assert_ptr_equal(svc->state, &opens);
	assert_non_null(strstr(buf_str(&toy.log), "fini")); /* after the last session */
	closes++;
}

static void a_service_opens_first_and_closes_last(void **state)
{
	struct proto own = toy_proto;
	BUF_AUTO struct buf why;

	(void)state;
	own.svc_open = open_service;
	own.svc_close = close_service;
	start(toy_take, &(struct mem_setup){ .proto = &own });
	assert_int_equal(opens, 1);
	memdrive_free(&w);
	assert_int_equal(closes, 1);

	buf_init(&why, 100);
	toy.x[0] = 1;
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &own }, &w, &why), -EINVAL);
	assert_string_equal(buf_str(&why), "not today");
	assert_int_equal(closes, 1); /* what did not open is not closed */
	w = NULL;
}

static enum verdict abort_at_data(const struct ev *ev, struct io *io)
{
	out_str(io, "lost");
	return ev->kind == EV_DATA ? V_ABORT : V_GO;
}

static void abort_drops_what_is_queued(void **state)
{
	(void)state;
	start(abort_at_data, NULL);
	assert_out(c, "lost");
	memconn_sends(c, "x");
	assert_out(c, "");
	assert_ended(MEM_ABORTED, "aborted");
	assert_int_equal(memdrive_stat(w, STAT_ERRORS), 1);
	assert_false(memconn_fin(c));
}

static enum verdict reason_then_abort(const struct ev *ev, struct io *io)
{
	if (ev->kind != EV_DATA)
		return V_GO;
	io_reason(io, "first");
	io_reason(io, "second");
	return V_ABORT;
}

static void the_first_reason_stays(void **state)
{
	(void)state;
	start(reason_then_abort, NULL);
	memconn_sends(c, "x");
	assert_ended(MEM_ABORTED, "first");
}

static void a_reset_is_an_eof_with_an_error(void **state)
{
	(void)state;
	start(toy_take, NULL);
	memconn_reset(c);
	assert_log("open eof:-104 fini");
	assert_ended(MEM_ABORTED, "reset-by-peer");
}

static void counting_and_stopping(void **state)
{
	(void)state;
	start(toy_echo, NULL);
	memconn_sends(c, "abc");
	memdrive_stop(w);
	assert_log("open data:3 stop");
	assert_int_equal(memdrive_stat(w, STAT_BYTES_IN), 3);
	assert_int_equal(memdrive_stat(w, STAT_BYTES_OUT), 3);
	assert_int_equal(memdrive_stat(w, STAT_FIRST_REPLIES), 1);
	memdrive_cut(w);
	assert_ended(MEM_ABORTED, "stopping");
}

static void a_fin_alone_is_no_reply(void **state)
{
	(void)state;
	start(toy_take, NULL);
	memconn_eof(c);
	assert_ended(MEM_CLOSED, "");
	assert_int_equal(memdrive_stat(w, STAT_FIRST_REPLIES), 0);
}

/* ---- 1: waiting is a sticky flag ---- */

/* Holds at the first data until something sets toy.x[0]. */
static enum verdict hold_at_data(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA && !toy.x[0]++) {
		io_hold(io, true);
		io_timer(io, 0, io->now + SEC);
		io_timer(io, 1, io->now + 2 * SEC);
		return V_GO;
	}
	if (ev->kind == EV_TIMER && ev->tag == 1)
		io_hold(io, false);
	return toy_take(ev, io);
}

static void hold_survives_unrelated_events(void **state)
{
	(void)state;
	start(hold_at_data, NULL);
	memconn_sends(c, "abc");
	assert_log("open data:3");
	memconn_sends(c, "def"); /* not even read */
	assert_int_equal(memconn_unread(c), 3);
	memconn_eof(c);
	memdrive_advance(w, SEC);
	memdrive_stop(w);
	memdrive_post(w, 0, memconn_id(c), 1, toy_mail("x"));
	assert_log("timer:0 stop msg:1");
	memdrive_advance(w, SEC);
	assert_log("timer:1 data:3 data:3 eof fini");
}

static void hold_keeps_a_broken_connection_quiet(void **state)
{
	(void)state;
	start(hold_at_data, NULL);
	memconn_sends(c, "abc");
	memconn_reset(c);
	assert_log("open data:3 fini"); /* no EV_EOF while it is on */
	assert_ended(MEM_ABORTED, "reset-by-peer");
}

/* ---- 7: the end in stages ---- */

/* "bye", to a peer that takes its first byte and then the others. */
static void begin_an_end(toy_fn *fn)
{
	start(fn, &(struct mem_setup){ .linger = 2 * SEC });
	memconn_window(c, 1);
	memconn_sends(c, "abc");
	assert_out(c, "b");
	assert_ended(MEM_OPEN, "");
	memconn_window(c, 10);
	assert_out(c, "ye");
}

static enum verdict bye(const struct ev *ev, struct io *io)
{
	if (ev->kind != EV_DATA)
		return V_GO;
	out_str(io, "bye");
	return V_CLOSE;
}

static void close_flushes_then_waits_for_the_fin(void **state)
{
	(void)state;
	begin_an_end(bye);
	assert_ended(MEM_FIN, "");
	assert_log("open data:3");
	memconn_sends(c, "more"); /* nobody looks at it */
	assert_log("");
	memdrive_advance(w, SEC);
	assert_ended(MEM_FIN, "");
	memconn_eof(c);
	assert_ended(MEM_CLOSED, "");
	assert_log("fini");
}

static enum verdict done(const struct ev *ev, struct io *io)
{
	if (ev->kind != EV_DATA)
		return V_GO;
	out_str(io, "bye");
	return V_DONE;
}

/* It has said so itself: its FIN is not waited for, but what is owed to it goes out. */
static void the_last_word_is_as_good_as_a_fin(void **state)
{
	(void)state;
	begin_an_end(done);
	assert_ended(MEM_CLOSED, "");
	assert_log("open data:3 fini");
}

/* A close while something is unread would be a reset, which can destroy our last words. */
static void words_after_the_last_one(void **state)
{
	(void)state;
	start(done, &(struct mem_setup){ .linger = 2 * SEC });
	memconn_reads(c, 3);
	memconn_sends(c, "abcdef");
	assert_out(c, "bye");
	assert_ended(MEM_FIN, "");
	memconn_eof(c);
	assert_ended(MEM_CLOSED, "");
}

/* The layer says goodbye, and the peer's will answer: it is heard. */
static void a_layer_has_the_last_word(void **state)
{
	(void)state;
	start_world(done, &(struct mem_setup){ .linger = 2 * SEC });
	c = memconn_open(w, &(struct mem_open){ .layer = &toy_xor, .layer_arg = toy_layer_arg(0, 0) });
	hello();
	buf_adds(&wire, "abc");
	scramble(wire.n - 3);
	send_wire(0);
	assert_ended(MEM_FIN, "");
	memconn_eof(c);
	assert_ended(MEM_CLOSED, "");
}

static void linger_has_a_deadline(void **state)
{
	(void)state;
	start(bye, &(struct mem_setup){ .linger = 2 * SEC });
	memconn_sends(c, "abc");
	assert_ended(MEM_FIN, "");
	assert_int_equal(memdrive_next(w), memdrive_now(w) + 2 * SEC);
	memdrive_advance(w, 2 * SEC);
	assert_ended(MEM_CLOSED, "");
}

static void last_bytes_must_be_taken(void **state)
{
	(void)state;
	start(bye, &(struct mem_setup){ .linger = 2 * SEC });
	memconn_window(c, 1);
	memconn_sends(c, "abc");
	memdrive_advance(w, 1900 * MSEC);
	assert_ended(MEM_OPEN, "");
	memconn_window(c, 1); /* one byte more is taken: that buys time */
	memdrive_advance(w, 1900 * MSEC);
	assert_ended(MEM_OPEN, "");
	memdrive_advance(w, 200 * MSEC);
	assert_ended(MEM_ABORTED, "not-read");
	assert_int_equal(memdrive_stat(w, STAT_IDLE), 1);
}

static enum verdict half_close(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN) {
		out_str(io, "hi");
		out_eof(io);
		out_eof(io);
		out_str(io, "never said");
	}
	return toy_take(ev, io);
}

static void out_eof_then_reading_goes_on(void **state)
{
	(void)state;
	start(half_close, NULL);
	assert_out(c, "hi");
	assert_true(memconn_fin(c));
	assert_ended(MEM_FIN, "");
	memconn_sends(c, "abc");
	assert_log("open data:3");
	memconn_eof(c);
	assert_log("eof fini");
	assert_ended(MEM_CLOSED, "");
}

static enum verdict answer_after_eof(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_EOF)
		io_timer(io, 0, io->now + SEC);
	if (ev->kind == EV_DATA)
		in_take(io, SIZE_MAX);
	if (ev->kind != EV_TIMER)
		return V_GO;
	out_str(io, "late");
	return V_CLOSE;
}

static void after_the_peers_fin_we_may_still_write(void **state)
{
	(void)state;
	start(answer_after_eof, NULL);
	memconn_sends(c, "q");
	memconn_eof(c);
	assert_log("open data:1 eof");
	memdrive_advance(w, SEC);
	assert_out(c, "late");
	assert_ended(MEM_CLOSED, "");
}

/* ---- 10: timers ---- */

static enum verdict timers(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN) {
		io_timer(io, 0, io->now + 3 * SEC);
		io_timer(io, 1, io->now + 1 * SEC);
		io_timer(io, 2, io->now + 2 * SEC);
		io_timer(io, 3, io->now + 4 * SEC);
		io_timer(io, 3, 0);
		io_timer(io, PROTO_TIMERS, io->now);
	}
	if (ev->kind == EV_DATA) {
		in_take(io, SIZE_MAX);
		io_timer(io, 0, io->now + 10 * SEC); /* keep-alive */
	}
	return V_GO;
}

static void timers_fire_in_order(void **state)
{
	(void)state;
	start(timers, NULL);
	memdrive_advance(w, 5 * SEC);
	assert_log("open timer:1 timer:2 timer:0");
	assert_int_equal(memdrive_next(w), 0);
}

static void a_later_deadline_takes_the_place_of_an_earlier(void **state)
{
	(void)state;
	start(timers, NULL);
	for (int i = 0; i < 5; i++) {
		memdrive_advance(w, 2 * SEC);
		memconn_sends(c, "x");
	}
	assert_log("open timer:1 timer:2 data:1 data:1 data:1 data:1 data:1");
	assert_int_equal(memdrive_next(w), memdrive_now(w) + 10 * SEC);
	memdrive_advance(w, 10 * SEC);
	assert_log("timer:0");
}

static void idle_ends_it(void **state)
{
	(void)state;
	start(toy_echo, &(struct mem_setup){ .idle = 10 * SEC });
	memdrive_advance(w, 9 * SEC);
	memconn_sends(c, "x");
	memdrive_advance(w, 9 * SEC);
	assert_ended(MEM_OPEN, "");
	memdrive_advance(w, 1 * SEC);
	assert_ended(MEM_CLOSED, "idle");
	assert_int_equal(memdrive_stat(w, STAT_IDLE), 1);
}

static void idle_ends_one_that_does_not_read(void **state)
{
	(void)state;
	start(fill, &(struct mem_setup){ .idle = 10 * SEC });
	memconn_window(c, 0);
	memdrive_advance(w, 10 * SEC);
	assert_ended(MEM_ABORTED, "idle");
}

/* A peer that never reads the last reply must not be able to keep the session, nor make the loop spin. */
static void idle_ends_one_that_does_not_read_the_last_reply(void **state)
{
	(void)state;
	start(bye, &(struct mem_setup){ .idle = 10 * SEC });
	memconn_window(c, 0);
	memconn_sends(c, "x");
	memdrive_advance(w, 10 * SEC - 1);
	assert_ended(MEM_OPEN, "");
	memdrive_advance(w, 1 * SEC);
	assert_true(memdrive_run(w));
	assert_ended(MEM_ABORTED, "idle");
}

static enum verdict close_with_timers(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN) {
		for (unsigned i = 0; i < PROTO_TIMERS; i++)
			io_timer(io, i, io->now + SEC);
	}
	return bye(ev, io);
}

static void a_closing_session_has_no_timers(void **state)
{
	(void)state;
	start(close_with_timers, NULL);
	memconn_window(c, 0);
	memconn_sends(c, "x");
	assert_int_equal(memdrive_next(w), 0);
	memdrive_advance(w, 2 * SEC);
	assert_true(memdrive_run(w)); /* and so nothing spins */
	assert_log("open data:1");
	memconn_window(c, 9);
	assert_ended(MEM_CLOSED, "");
}

/* ---- trace ---- */

static enum verdict traced(const struct ev *ev, struct io *io)
{
	if (ev->kind != EV_DATA)
		return V_GO;
	io_note(io, NOTE_IN, "%zu bytes", in_peek(io).n);
	io_secret(io, in_peek(io).p[0] == 's');
	in_take(io, SIZE_MAX);
	out_str(io, "ok\n");
	return V_GO;
}

static void what_the_trace_sees(void **state)
{
	(void)state;
	start(traced, &(struct mem_setup){ .trace = true });
	memconn_sends(c, "a");
	memconn_sends(c, "s");
	memconn_sends(c, "b");
	assert_true(span_is(memdrive_trace(w), "< \"a\"\n+< 1 bytes\n> \"ok\\n\"\n"
					       "< \"s\"\n+< 1 bytes\n> 3 bytes\n"
					       "< 1 bytes\n+< 1 bytes\n> \"ok\\n\"\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_whole_life, stop),
		cmocka_unit_test_teardown(every_chunking_says_the_same, stop),
		cmocka_unit_test_teardown(a_step_is_told_where_it_is, stop),
		cmocka_unit_test_teardown(a_step_is_told_who_the_peer_is, stop),
		cmocka_unit_test_teardown(a_service_opens_first_and_closes_last, stop),
		cmocka_unit_test_teardown(abort_drops_what_is_queued, stop),
		cmocka_unit_test_teardown(the_first_reason_stays, stop),
		cmocka_unit_test_teardown(a_reset_is_an_eof_with_an_error, stop),
		cmocka_unit_test_teardown(counting_and_stopping, stop),
		cmocka_unit_test_teardown(a_fin_alone_is_no_reply, stop),
		cmocka_unit_test_teardown(hold_survives_unrelated_events, stop),
		cmocka_unit_test_teardown(hold_keeps_a_broken_connection_quiet, stop),
		cmocka_unit_test_teardown(close_flushes_then_waits_for_the_fin, stop),
		cmocka_unit_test_teardown(the_last_word_is_as_good_as_a_fin, stop),
		cmocka_unit_test_teardown(words_after_the_last_one, stop),
		cmocka_unit_test_teardown(a_layer_has_the_last_word, stop),
		cmocka_unit_test_teardown(linger_has_a_deadline, stop),
		cmocka_unit_test_teardown(last_bytes_must_be_taken, stop),
		cmocka_unit_test_teardown(out_eof_then_reading_goes_on, stop),
		cmocka_unit_test_teardown(after_the_peers_fin_we_may_still_write, stop),
		cmocka_unit_test_teardown(timers_fire_in_order, stop),
		cmocka_unit_test_teardown(a_later_deadline_takes_the_place_of_an_earlier, stop),
		cmocka_unit_test_teardown(idle_ends_it, stop),
		cmocka_unit_test_teardown(idle_ends_one_that_does_not_read, stop),
		cmocka_unit_test_teardown(idle_ends_one_that_does_not_read_the_last_reply, stop),
		cmocka_unit_test_teardown(a_closing_session_has_no_timers, stop),
		cmocka_unit_test_teardown(what_the_trace_sees, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
