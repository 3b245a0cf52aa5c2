/*
 * test_flow.c - what flows through a session: input that is taken, left or waited for, output and its room, datagrams. The numbers are
 * those of the rules in docs/design/contract.md.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "core/sess_priv.h"
#include "support/toy_stage.h"

/* ---- 4: input ---- */

static void took_nothing_is_not_called_again(void **state)
{
	(void)state;
	start(take_none, NULL);
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
	start(hold_until_timer, &(struct mem_setup){ .proto = &toy_full_proto });
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
	start(need_ten, NULL);
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
	start(need_too_much, &(struct mem_setup){ .input = 1000 });
	memconn_sends(c, "x");
	assert_ended(MEM_ABORTED, "input-limit");
	assert_int_equal(memdrive_stat(w, STAT_INPUT), 1);
}

static void a_full_buffer_without_progress_aborts(void **state)
{
	(void)state;
	start(take_none, &(struct mem_setup){ .input = 1000 });
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
	start(raise_cap, &(struct mem_setup){ .input = 1000 });
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
	start(take_at_timer, &(struct mem_setup){ .input = 1000 });
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
	start(take_at_timer_held, &(struct mem_setup){ .input = 1000 });
	memconn_reads(c, 1000);
	memconn_send(c, bytes, 1500, 0);
	assert_log("open data:1000");
	memdrive_advance(w, SEC);
	assert_log("timer:0 data:500");
}

static void owned_input_goes_back_when_it_is_empty(void **state)
{
	(void)state;
	start(take_at_timer, NULL);
	memconn_send(c, bytes, 900, 0);
	assert_non_null(memconn_sess(c)->in.p);
	memdrive_advance(w, SEC);
	assert_null(memconn_sess(c)->in.p);
}

/* ---- 5: output ---- */

static void room_comes_at_the_low_water_mark(void **state)
{
	(void)state;
	toy_reset(fill);
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy_proto }, &w, NULL), 0);
	c = memconn_open(w, &(struct mem_open){ .window = 1 });
	assert_int_equal(memconn_queued(c), SESS_HIWAT - 1);
	assert_log("open");
	memconn_window(c, SESS_HIWAT - sess_lowat(memconn_sess(c)) - 2);
	assert_log("");
	assert_int_equal(memconn_queued(c), sess_lowat(memconn_sess(c)) + 1);
	memconn_window(c, 1);
	assert_log("room");
	assert_int_equal(memconn_queued(c), SESS_HIWAT);
	assert_int_equal(memconn_peak(c), SESS_HIWAT);
}

static void room_is_not_told_unasked(void **state)
{
	(void)state;
	start(toy_echo, NULL);
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
	start(say_much, NULL);
	memconn_sends(c, "x");
	assert_ended(MEM_ABORTED, "output-limit");
	assert_int_equal(memdrive_stat(w, STAT_OUTPUT), 1);
	assert_true(memconn_peak(c) <= 1 << 20);
}

static void a_full_output_stops_reading(void **state)
{
	(void)state;
	start(toy_echo, NULL);
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
	start(toy_echo, NULL);
	memconn_window(c, 0);
	memconn_send(c, bytes, 300000, 0);
	for (int i = 0; i < 400 && memconn_out(c).n < 300000; i++)
		memconn_window(c, 999);
	assert_int_equal(memconn_out(c).n, 300000);
}

static void read_while_full_goes_on(void **state)
{
	(void)state;
	start(fill, &(struct mem_setup){ .proto = &toy_full_proto });
	memconn_window(c, 0);
	toy.fn = toy_take;
	memconn_send(c, bytes, 200000, 0);
	assert_int_equal(memconn_unread(c), 0);
	assert_true(memdrive_stat(w, STAT_BYTES_IN) == 200000);
}

#ifdef GUICHET_FAULTS
/* out_* return nothing: the session ends, and its step need not know. */
static enum verdict say_without_memory(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA) {
		in_take(io, SIZE_MAX);
		fault_arm(FAULT_MEM, 1, 0, true);
		out_mem(io, bytes, 20000);
		fault_arm(FAULT_MEM, 0, 0, false);
		out_str(io, "and yet");
	}
	return V_GO;
}

static void out_of_memory_aborts(void **state)
{
	(void)state;
	start(say_without_memory, NULL);
	memconn_sends(c, "x");
	assert_ended(MEM_ABORTED, "out-of-memory");
	assert_int_equal(memdrive_stat(w, STAT_MEMORY), 1);
	assert_log("open data:1 fini");
}
#endif

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
	start(mixed, NULL);
	memconn_sends(c, "x");
	assert_out(c, want);
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
	start(toy_echo, &(struct mem_setup){ .output = 90000 });
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
	start(dgram_room, NULL);
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

/* A route is a value: what is answered later goes to whoever asked then. */
static enum verdict answer_later(const struct ev *ev, struct io *io)
{
	static struct route asked[3];
	static unsigned n;

	if (ev->kind == EV_OPEN)
		n = 0;
	if (ev->kind == EV_DGRAM) {
		asked[n++] = *ev->dgram.route;
		io_timer(io, 0, io->now + SEC);
	}
	for (unsigned i = 0; ev->kind == EV_TIMER && i < n; i++)
		out_dgram(io, &asked[i], &i, sizeof(i));
	return V_GO;
}

static void a_route_can_be_kept(void **state)
{
	static const char *const from[] = { "192.0.2.1:9", "[2001:db8::1]:99", "192.0.2.1:10" };
	struct memconn *d;

	(void)state;
	start(answer_later, NULL);
	d = memdrive_dgram(w);
	for (unsigned i = 0; i < 3; i++)
		memconn_dgram(d, from[i], false, "?", 1);
	assert_int_equal(memconn_dgrams(d), 0);
	memdrive_advance(w, SEC);
	assert_int_equal(memconn_dgrams(d), 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_string_equal(memconn_dgram_at(d, i)->to, from[i]);
		assert_int_equal(memconn_dgram_at(d, i)->data.p[0], i);
	}
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
	start(wrong_output, NULL);
	d = memdrive_dgram(w);
	memconn_dgram(d, "192.0.2.1:9", true, "x", 1);
	assert_int_equal(memconn_dgrams(d), 1);
	assert_int_equal(memconn_queued(d), 0);
	memconn_sends(c, "x");
	assert_out(c, "bytes");
	assert_int_equal(memconn_queued(c), 0);
	assert_ended(MEM_FIN, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
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
#ifdef GUICHET_FAULTS
		cmocka_unit_test_teardown(out_of_memory_aborts, stop),
#endif
		cmocka_unit_test_teardown(a_full_output_stops_reading, stop),
		cmocka_unit_test_teardown(a_trickle_of_room_is_enough, stop),
		cmocka_unit_test_teardown(read_while_full_goes_on, stop),
		cmocka_unit_test_teardown(all_kinds_of_output_in_order, stop),
		cmocka_unit_test_teardown(datagrams_and_their_limits, stop),
		cmocka_unit_test_teardown(dropped_datagrams_make_room, stop),
		cmocka_unit_test_teardown(a_route_can_be_kept, stop),
		cmocka_unit_test_teardown(bytes_on_a_datagram_socket_are_nothing, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
