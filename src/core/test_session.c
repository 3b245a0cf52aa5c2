/*
 * test_session.c - the engine: when a step is due and what becomes of its verdict. The numbers are those of the rules in
 * docs/design/contract.md.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/session.h"
#include "drive/mem.h"
#include "support/toy.h"

static struct memdrive *w;
static struct memconn *c;

static void start(const struct mem_setup *setup, toy_fn *fn)
{
	struct mem_setup m = setup ? *setup : (struct mem_setup){};

	toy_reset(fn);
	m.proto = m.proto ? m.proto : &toy_proto;
	assert_int_equal(memdrive_new(&m, &w, NULL), 0);
	c = memconn_open(w, NULL);
	assert_non_null(c);
}

static int stop(void **state)
{
	(void)state;
	memdrive_free(&w);
	toy_done();
	return toy.live_layers;
}

#define assert_out(conn, text) \
	do { \
		assert_true(span_is(memconn_out(conn), text)); \
		memconn_take(conn, SIZE_MAX); \
	} while (0)

static void assert_ended(enum mem_end how, const char *reason)
{
	assert_int_equal(memconn_end(c), how);
	assert_string_equal(memconn_reason(c), reason);
}

static uint8_t bytes[1 << 20];

/* ---- the life of a session ---- */

static void a_whole_life(void **state)
{
	(void)state;
	start(NULL, toy_echo);
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
		start(NULL, toy_echo);
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

static enum verdict abort_at_data(const struct ev *ev, struct io *io)
{
	out_str(io, "lost");
	return ev->kind == EV_DATA ? V_ABORT : V_GO;
}

static void abort_drops_what_is_queued(void **state)
{
	(void)state;
	start(NULL, abort_at_data);
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
	start(NULL, reason_then_abort);
	memconn_sends(c, "x");
	assert_ended(MEM_ABORTED, "first");
}

static void a_reset_is_an_eof_with_an_error(void **state)
{
	(void)state;
	start(NULL, toy_take);
	memconn_reset(c);
	assert_log("open eof:-104 fini");
	assert_ended(MEM_ABORTED, "reset-by-peer");
}

static void counting_and_stopping(void **state)
{
	(void)state;
	start(NULL, toy_echo);
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
	start(NULL, toy_take);
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
	start(NULL, hold_at_data);
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
	start(NULL, hold_at_data);
	memconn_sends(c, "abc");
	memconn_reset(c);
	assert_log("open data:3 fini"); /* no EV_EOF while it is on */
	assert_ended(MEM_ABORTED, "reset-by-peer");
}

/* ---- 4: input ---- */

static enum verdict take_none(const struct ev *ev, struct io *io)
{
	(void)io;
	return ev->kind == EV_EOF ? V_CLOSE : V_GO;
}

static void took_nothing_is_not_called_again(void **state)
{
	(void)state;
	start(NULL, take_none);
	memconn_sends(c, "abc");
	memdrive_post(w, 0, memconn_id(c), 1, toy_mail("x"));
	assert_log("open data:3 msg:1");
	memconn_sends(c, "d");
	assert_log("data:4");
	memconn_eof(c);
	assert_log("data:4! eof fini"); /* once more: this is all there will be */
}

/* With FIN known before the bytes are shown there is no second look. */
static enum verdict hold_until_timer(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN) {
		io_timer(io, 0, io->now + SEC);
		io_hold(io, true);
	} else if (ev->kind == EV_TIMER) {
		io_hold(io, false);
	} else if (ev->kind == EV_EOF) {
		return V_CLOSE;
	}
	return V_GO;
}

static void eof_that_was_known_shows_the_bytes_once(void **state)
{
	(void)state;
	start(&(struct mem_setup){ .proto = &toy_full_proto }, hold_until_timer);
	memconn_sends(c, "abc");
	memconn_eof(c);
	memdrive_advance(w, SEC);
	assert_log("open timer:0 data:3 data:3! eof fini");
}

static enum verdict need_ten(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA && in_peek(io).n < 10 && !io->eof)
		in_need(io, 10);
	else if (ev->kind == EV_DATA)
		in_take(io, 10);
	return ev->kind == EV_EOF ? V_CLOSE : V_GO;
}

static void need_waits_for_so_many(void **state)
{
	(void)state;
	start(NULL, need_ten);
	memconn_send(c, "0123456789abcde", 15, 1);
	assert_log("open data:1 data:10 data:1");
	memconn_eof(c);
	assert_log("data:5! eof fini");
}

static enum verdict need_too_much(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA)
		in_need(io, 1001);
	return V_GO;
}

static void need_past_the_cap_aborts(void **state)
{
	(void)state;
	start(&(struct mem_setup){ .input = 1000 }, need_too_much);
	memconn_sends(c, "x");
	assert_ended(MEM_ABORTED, "input-limit");
	assert_int_equal(memdrive_stat(w, STAT_INPUT), 1);
}

static void a_full_buffer_without_progress_aborts(void **state)
{
	(void)state;
	start(&(struct mem_setup){ .input = 1000 }, take_none);
	memconn_send(c, bytes, 999, 100);
	assert_ended(MEM_OPEN, "");
	memconn_send(c, bytes, 1, 0);
	assert_ended(MEM_ABORTED, "input-limit");
}

static enum verdict raise_cap(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN)
		in_cap(io, 5000);
	if (ev->kind == EV_DATA) {
		in_cap(io, 10); /* never lowers it */
		in_need(io, 4000);
		if (in_peek(io).n >= 4000)
			in_take(io, 4000);
	}
	return V_GO;
}

static void the_cap_can_be_raised(void **state)
{
	(void)state;
	start(&(struct mem_setup){ .input = 1000 }, raise_cap);
	memconn_send(c, bytes, 4000, 37);
	assert_ended(MEM_OPEN, "");
	assert_log("open data:37 data:4000");
}

/* Takes its input in an event of another kind: what was said of the bytes before must not hold for those after. */
static enum verdict take_at_timer(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN)
		io_timer(io, 0, io->now + SEC);
	if (ev->kind == EV_TIMER)
		in_take(io, SIZE_MAX);
	return V_GO;
}

static void input_taken_by_another_event_wakes_the_reader(void **state)
{
	(void)state;
	start(&(struct mem_setup){ .input = 1000 }, take_at_timer);
	memconn_send(c, bytes, 900, 0);
	memdrive_advance(w, SEC);
	memconn_sends(c, "abc");
	assert_log("open data:900 timer:0 data:3");
}

static enum verdict take_at_timer_held(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA && !toy.x[0]++)
		io_hold(io, true);
	if (ev->kind == EV_TIMER)
		io_hold(io, false);
	return take_at_timer(ev, io);
}

static void a_full_input_is_read_again_once_it_was_taken(void **state)
{
	(void)state;
	start(&(struct mem_setup){ .input = 1000 }, take_at_timer_held);
	memconn_reads(c, 1000);
	memconn_send(c, bytes, 1500, 0);
	assert_log("open data:1000");
	memdrive_advance(w, SEC);
	assert_log("timer:0 data:500");
}

static void owned_input_goes_back_when_it_is_empty(void **state)
{
	(void)state;
	start(NULL, take_at_timer);
	memconn_send(c, bytes, 900, 0);
	assert_non_null(memconn_sess(c)->in.p);
	memdrive_advance(w, SEC);
	assert_null(memconn_sess(c)->in.p);
}

/* ---- 5: output ---- */

static enum verdict fill(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN || ev->kind == EV_ROOM) {
		for (size_t n; (n = out_room(io)) > 0;)
			out_mem(io, bytes, n < 1000 ? n : 1000);
	}
	return toy_take(ev, io);
}

static void room_comes_at_the_low_water_mark(void **state)
{
	(void)state;
	toy_reset(fill);
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy_proto }, &w, NULL), 0);
	c = memconn_open(w, &(struct mem_open){ .window = 1 });
	assert_int_equal(memconn_queued(c), SESS_HIWAT - 1);
	assert_log("open");
	memconn_window(c, SESS_HIWAT - SESS_LOWAT - 2);
	assert_log("");
	assert_int_equal(memconn_queued(c), SESS_LOWAT + 1);
	memconn_window(c, 1);
	assert_log("room");
	assert_int_equal(memconn_queued(c), SESS_HIWAT);
	assert_int_equal(memconn_peak(c), SESS_HIWAT);
}

static void room_is_not_told_unasked(void **state)
{
	(void)state;
	start(NULL, toy_echo);
	memconn_send(c, bytes, 60000, 0);
	assert_log("open data:60000");
	assert_int_equal(memconn_out(c).n, 60000);
}

static enum verdict say_much(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA) {
		in_take(io, SIZE_MAX);
		for (int i = 0; i < 11; i++)
			out_mem(io, bytes, 100000);
	}
	return V_GO;
}

static void past_the_hard_cap_aborts(void **state)
{
	(void)state;
	start(NULL, say_much);
	memconn_sends(c, "x");
	assert_ended(MEM_ABORTED, "output-limit");
	assert_int_equal(memdrive_stat(w, STAT_OUTPUT), 1);
	assert_true(memconn_peak(c) <= 1 << 20);
}

static void a_full_output_stops_reading(void **state)
{
	(void)state;
	start(NULL, toy_echo);
	memconn_window(c, 0);
	memconn_send(c, bytes, 500000, 5000);
	assert_true(memconn_queued(c) <= SESS_HIWAT);
	assert_true(memconn_unread(c) >= 500000 - 2 * SESS_HIWAT - HOST_RBUF);
	assert_int_equal(memconn_peak(c), SESS_HIWAT);
	memconn_window(c, MEM_NO_LIMIT);
	assert_int_equal(memconn_out(c).n, 500000);
	assert_int_equal(memconn_unread(c), 0);
}

/* A window that opens by a few bytes each time never leaves it asleep. */
static void a_trickle_of_room_is_enough(void **state)
{
	(void)state;
	start(NULL, toy_echo);
	memconn_window(c, 0);
	memconn_send(c, bytes, 300000, 0);
	for (int i = 0; i < 400 && memconn_out(c).n < 300000; i++)
		memconn_window(c, 999);
	assert_int_equal(memconn_out(c).n, 300000);
}

static void read_while_full_goes_on(void **state)
{
	(void)state;
	start(&(struct mem_setup){ .proto = &toy_full_proto }, fill);
	memconn_window(c, 0);
	toy.fn = toy_take;
	memconn_send(c, bytes, 200000, 0);
	assert_int_equal(memconn_unread(c), 0);
	assert_true(memdrive_stat(w, STAT_BYTES_IN) == 200000);
}

static enum verdict mixed(const struct ev *ev, struct io *io)
{
	static const struct span blob_bytes = { (const uint8_t *)"-blob-", 6 };
	struct blob *b;

	if (ev->kind != EV_DATA)
		return V_GO;
	b = blob_new(&blob_bytes, 1);
	out_str(io, "mem");
	out_blob(io, b);
	out_fmt(io, "%s %d", "fmt", 42);
	out_blob(io, b);
	out_mem(io, NULL, 0);
	out_str(io, "");
	out_fmt(io, "%600d", 7); /* longer than the small buffer inside */
	blob_unref(b);
	return V_CLOSE;
}

static void all_kinds_of_output_in_order(void **state)
{
	char want[640];

	(void)state;
	snprintf(want, sizeof(want), "mem-blob-fmt 42-blob-%600d", 7);
	start(NULL, mixed);
	memconn_sends(c, "x");
	assert_out(c, want);
	assert_ended(MEM_CLOSED, "");
}

/* ---- 7: the end in stages ---- */

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
	start(&(struct mem_setup){ .linger = 2 * SEC }, bye);
	memconn_window(c, 1);
	memconn_sends(c, "abc");
	assert_out(c, "b");
	assert_ended(MEM_OPEN, "");
	memconn_window(c, 10);
	assert_out(c, "ye");
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

static void linger_has_a_deadline(void **state)
{
	(void)state;
	start(&(struct mem_setup){ .linger = 2 * SEC }, bye);
	memconn_sends(c, "abc");
	assert_ended(MEM_FIN, "");
	assert_int_equal(memdrive_next(w), memdrive_now(w) + 2 * SEC);
	memdrive_advance(w, 2 * SEC);
	assert_ended(MEM_CLOSED, "");
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
	start(NULL, half_close);
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
	start(NULL, answer_after_eof);
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
	start(NULL, timers);
	memdrive_advance(w, 5 * SEC);
	assert_log("open timer:1 timer:2 timer:0");
	assert_int_equal(memdrive_next(w), 0);
}

static void a_later_deadline_takes_the_place_of_an_earlier(void **state)
{
	(void)state;
	start(NULL, timers);
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
	start(&(struct mem_setup){ .idle = 10 * SEC }, toy_echo);
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
	start(&(struct mem_setup){ .idle = 10 * SEC }, fill);
	memconn_window(c, 0);
	memdrive_advance(w, 10 * SEC);
	assert_ended(MEM_ABORTED, "idle");
}

/* A peer that never reads the last reply must not be able to keep the session, nor make the loop spin. */
static void idle_ends_one_that_does_not_read_the_last_reply(void **state)
{
	(void)state;
	start(&(struct mem_setup){ .idle = 10 * SEC }, bye);
	memconn_window(c, 0);
	memconn_sends(c, "x");
	assert_int_equal(memdrive_next(w), memdrive_now(w) + 10 * SEC);
	memdrive_advance(w, 11 * SEC);
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
	start(NULL, close_with_timers);
	memconn_window(c, 0);
	memconn_sends(c, "x");
	assert_int_equal(memdrive_next(w), 0);
	memdrive_advance(w, 2 * SEC);
	assert_true(memdrive_run(w)); /* and so nothing spins */
	assert_log("open data:1");
	memconn_window(c, 9);
	assert_ended(MEM_CLOSED, "");
}

/* ---- datagrams ---- */

static enum verdict dgram_room(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DGRAM)
		for (int i = 0; i < 80; i++)
			out_dgram(io, ev->dgram.route, bytes, 1000);
	if (ev->kind == EV_DGRAM)
		toy.x[0] = out_room(io);
	return V_GO;
}

static void datagrams_and_their_limits(void **state)
{
	struct memconn *d;

	(void)state;
	start(&(struct mem_setup){ .output = 90000 }, toy_echo);
	assert_log("open");
	d = memdrive_dgram(w);
	memconn_dgram(d, "192.0.2.1:9", true, "abc", 3);
	memconn_dgram(d, "[2001:db8::1]:99", false, "", 0);
	assert_log("open dgram:3 dgram:0");
	assert_int_equal(memconn_dgrams(d), 2);
	assert_string_equal(memconn_dgram_at(d, 0)->to, "192.0.2.1:9");
	assert_true(span_is(memconn_dgram_at(d, 0)->data, "abc"));
	assert_string_equal(memconn_dgram_at(d, 1)->to, "[2001:db8::1]:99");
	memconn_dgrams_take(d);

	toy.fn = dgram_room;
	memconn_window(d, 0);
	memconn_dgram(d, "192.0.2.1:9", true, "x", 1);
	assert_int_equal(toy.x[0], 0);
	assert_int_equal(memconn_queued(d), 80000);
	memconn_dgram(d, "192.0.2.1:9", true, "x", 1); /* what does not fit is lost, and the service goes on */
	assert_int_equal(memconn_queued(d), 90000);
	assert_int_equal(memdrive_stat(w, STAT_DROP_FULL), 70);
	assert_int_equal(memconn_end(d), MEM_OPEN);
	toy.fn = toy_take;
	memconn_window(d, 79);
	assert_log("dgram:1 dgram:1 room");
	memconn_window(d, MEM_NO_LIMIT);
	assert_int_equal(memconn_dgrams(d), 90);
}

/* A driver that may not send an answer drops it: that makes room too. */
static void dropped_datagrams_make_room(void **state)
{
	struct memconn *d;

	(void)state;
	start(NULL, dgram_room);
	d = memdrive_dgram(w);
	memconn_window(d, 0);
	memconn_dgram(d, "192.0.2.1:9", true, "x", 1);
	assert_log("open open dgram:1");
	memdrive_auto(w, false);
	for (int i = 0; i < 80; i++)
		sess_drop_dgram(memconn_sess(d));
	memdrive_auto(w, true);
	assert_log("room");
}

static enum verdict wrong_output(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DGRAM || ev->kind == EV_DATA) {
		in_take(io, SIZE_MAX);
		out_str(io, "bytes");
		out_eof(io);
		out_dgram(io, NULL, "datagram", 8);
	}
	return V_GO;
}

/* A protocol's mistake must not leave what cannot be sent at the head of the queue. */
static void bytes_on_a_datagram_socket_are_nothing(void **state)
{
	struct memconn *d;

	(void)state;
	start(NULL, wrong_output);
	d = memdrive_dgram(w);
	memconn_dgram(d, "192.0.2.1:9", true, "x", 1);
	assert_int_equal(memconn_dgrams(d), 1);
	assert_int_equal(memconn_queued(d), 0);
	memconn_sends(c, "x");
	assert_out(c, "bytes");
	assert_int_equal(memconn_queued(c), 0);
	assert_ended(MEM_FIN, "");
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
	start(&(struct mem_setup){ .trace = true }, traced);
	memconn_sends(c, "a");
	memconn_sends(c, "s");
	memconn_sends(c, "b");
	assert_true(span_is(memdrive_trace(w), "< \"a\"\n+< 1 bytes\n> \"ok\\n\"\n"
					       "< \"s\"\n+< 1 bytes\n> 3 bytes\n"
					       "< 1 bytes\n+< 1 bytes\n> \"ok\\n\"\n"));
}

int main(void)
{
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = toy_byte(i);

	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_whole_life, stop),
		cmocka_unit_test_teardown(every_chunking_says_the_same, stop),
		cmocka_unit_test_teardown(a_step_is_told_where_it_is, stop),
		cmocka_unit_test_teardown(abort_drops_what_is_queued, stop),
		cmocka_unit_test_teardown(the_first_reason_stays, stop),
		cmocka_unit_test_teardown(a_reset_is_an_eof_with_an_error, stop),
		cmocka_unit_test_teardown(counting_and_stopping, stop),
		cmocka_unit_test_teardown(a_fin_alone_is_no_reply, stop),
		cmocka_unit_test_teardown(hold_survives_unrelated_events, stop),
		cmocka_unit_test_teardown(hold_keeps_a_broken_connection_quiet, stop),
		cmocka_unit_test_teardown(took_nothing_is_not_called_again, stop),
		cmocka_unit_test_teardown(eof_that_was_known_shows_the_bytes_once, stop),
		cmocka_unit_test_teardown(need_waits_for_so_many, stop),
		cmocka_unit_test_teardown(need_past_the_cap_aborts, stop),
		cmocka_unit_test_teardown(a_full_buffer_without_progress_aborts, stop),
		cmocka_unit_test_teardown(the_cap_can_be_raised, stop),
		cmocka_unit_test_teardown(input_taken_by_another_event_wakes_the_reader, stop),
		cmocka_unit_test_teardown(a_full_input_is_read_again_once_it_was_taken, stop),
		cmocka_unit_test_teardown(owned_input_goes_back_when_it_is_empty, stop),
		cmocka_unit_test_teardown(room_comes_at_the_low_water_mark, stop),
		cmocka_unit_test_teardown(room_is_not_told_unasked, stop),
		cmocka_unit_test_teardown(past_the_hard_cap_aborts, stop),
		cmocka_unit_test_teardown(a_full_output_stops_reading, stop),
		cmocka_unit_test_teardown(a_trickle_of_room_is_enough, stop),
		cmocka_unit_test_teardown(read_while_full_goes_on, stop),
		cmocka_unit_test_teardown(all_kinds_of_output_in_order, stop),
		cmocka_unit_test_teardown(close_flushes_then_waits_for_the_fin, stop),
		cmocka_unit_test_teardown(linger_has_a_deadline, stop),
		cmocka_unit_test_teardown(out_eof_then_reading_goes_on, stop),
		cmocka_unit_test_teardown(after_the_peers_fin_we_may_still_write, stop),
		cmocka_unit_test_teardown(timers_fire_in_order, stop),
		cmocka_unit_test_teardown(a_later_deadline_takes_the_place_of_an_earlier, stop),
		cmocka_unit_test_teardown(idle_ends_it, stop),
		cmocka_unit_test_teardown(idle_ends_one_that_does_not_read, stop),
		cmocka_unit_test_teardown(idle_ends_one_that_does_not_read_the_last_reply, stop),
		cmocka_unit_test_teardown(a_closing_session_has_no_timers, stop),
		cmocka_unit_test_teardown(datagrams_and_their_limits, stop),
		cmocka_unit_test_teardown(dropped_datagrams_make_room, stop),
		cmocka_unit_test_teardown(bytes_on_a_datagram_socket_are_nothing, stop),
		cmocka_unit_test_teardown(what_the_trace_sees, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
