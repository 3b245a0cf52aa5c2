/*
 * test_upgrade.c - a layer is put on a conversation that has begun: STARTTLS and Upgrade, what becomes of bytes already read, two
 * markers in one queue. Rule 2 of docs/design/contract.md.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/toy_stage.h"

/* ---- 2: a switch is a marker inside the output ---- */

/* "s": STARTTLS; "u": upgrade to frames. Else echo. */
static enum verdict starttls(const struct ev *ev, struct io *io)
{
	struct span in = in_peek(io);

	if (ev->kind != EV_DATA || (in.p[0] != 's' && in.p[0] != 'u'))
		return see_secure(ev, io);
	in_take(io, 1);
	out_str(io, "ok\n");
	if (in.p[0] == 's')
		io_layer(io, &toy_xor, toy_layer_arg(0, 0), LEFT_REJECT);
	else
		io_layer(io, &toy_frame, toy_layer_arg(0, 0), LEFT_FEED);
	out_str(io, "in it\n");
	return V_GO;
}

static void starttls_goes_on_inside(void **state)
{
	(void)state;
	start_world(starttls, NULL);
	c = memconn_open(w, NULL);
	memconn_sends(c, "s");
	assert_wire("ok\n"); /* in clear */
	assert_log("open data:1");
	memconn_sends(c, "H");
	memconn_send(c, (const uint8_t[]){ 'a' ^ 'a', 'a' ^ 'b', 'a' ^ 'c' }, 0, 0);
	memconn_sends(c, "a");
	assert_log("layer");
	assert_int_equal(toy.x[0], 1);
	assert_int_equal(memconn_out(c).n, 1 + 6);
	assert_int_equal(memconn_out(c).p[0], 'h');
	assert_int_equal(memconn_out(c).p[1], 'i' ^ 'a');
}

static void starttls_injection_is_refused(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2; k++) {
		start_world(starttls, NULL);
		c = memconn_open(w, NULL);
		memconn_send(c, "sEVIL", 5, 0);
		assert_log("open data:5 fini");
		assert_ended(MEM_ABORTED, "early-data");
		assert_wire("");
		stop(NULL);
	}
	w = NULL;
}

static enum verdict starttls_at_timer(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN)
		io_timer(io, 0, io->now + SEC);
	if (ev->kind == EV_TIMER) {
		io_hold(io, false);
		io_layer(io, &toy_xor, toy_layer_arg(0, 0), LEFT_REJECT);
	}
	return V_GO;
}

static void starttls_in_another_event_looks_too(void **state)
{
	(void)state;
	start_world(starttls_at_timer, NULL);
	c = memconn_open(w, NULL);
	memconn_sends(c, "EVIL");
	memdrive_advance(w, SEC);
	assert_log("open data:4 timer:0 fini");
	assert_ended(MEM_ABORTED, "early-data");
}

static void upgrade_feeds_what_was_read(void **state)
{
	(void)state;
	for (size_t k = 1; k < 16; k++) {
		start_world(starttls, NULL);
		toy.quiet = true;
		c = memconn_open(w, NULL);
		buf_addc(&wire, 'u');
		toy_frame_add(&wire, "hello", 5);
		buf_adds(&wire, "p");
		send_wire(k);
		assert_true(span_starts(memconn_out(c), "ok\n"));
		memconn_take(c, 3);

		BUF_AUTO struct buf b = BUF_INIT(100);

		toy_unframe(memconn_out(c), &b);
		assert_true(strstr(buf_str(&b), "in it\n"));
		assert_true(strstr(buf_str(&b), "hello"));
		assert_int_equal(b.n, 6 + 5 + 1);
		stop(NULL);
	}
	w = NULL;
}

static void the_marker_waits_for_a_slow_reader(void **state)
{
	(void)state;
	start_world(starttls, NULL);
	c = memconn_open(w, &(struct mem_open){ .window = 1 });
	buf_addc(&wire, 'u');
	toy_frame_add(&wire, "hello", 5);
	send_wire(1);
	assert_wire("o");
	assert_log("open data:1"); /* what comes now is the layer's */
	assert_int_equal(memconn_unread(c), 8);
	memconn_window(c, MEM_NO_LIMIT);
	assert_log("layer data:5");
	assert_wire("k\nd\0\6in it\nd\0\5hello");
}

static enum verdict upgrade_then_close(const struct ev *ev, struct io *io)
{
	if (ev->kind != EV_DATA)
		return toy_take(ev, io);
	in_take(io, 1);
	out_str(io, "a");
	io_layer(io, &toy_frame, NULL, LEFT_FEED);
	out_str(io, "b");
	return V_CLOSE;
}

static void upgrade_then_close_ends_the_layer(void **state)
{
	(void)state;
	start_world(upgrade_then_close, NULL);
	c = memconn_open(w, NULL);
	memconn_sends(c, "x");
	assert_wire("ad\0\1bc");
	assert_ended(MEM_CLOSED, "");
}

/* The peer's FIN came before the layer did: it is a FIN for the layer then. */
static enum verdict upgrade_late(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN)
		out_mem(io, bytes, SESS_HIWAT + 1); /* so that input waits, and FIN with it */
	if (ev->kind == EV_DATA && !toy.x[0]++) {
		in_take(io, 1);
		io_layer(io, &toy_frame, NULL, LEFT_FEED);
		return V_GO;
	}
	return toy_take(ev, io);
}

static void a_fin_that_is_known_is_the_layers(void **state)
{
	struct sess *s;

	(void)state;
	start_world(upgrade_late, NULL);
	memdrive_auto(w, false);
	c = memconn_open(w, &(struct mem_open){ .window = 1 });
	s = memconn_sess(c);
	/* a driver may find bytes and FIN in one go */
	buf_addc(&wire, 'u');
	toy_frame_add(&wire, "hello", 5);
	buf_adds(&wire, "c");

	size_t n;
	void *p = sess_rbuf(s, &n);

	memcpy(p, wire.p, wire.n);
	sess_rgot(s, wire.n);
	sess_reof(s, 0);
	sess_rdone(s);
	assert_log("open");
	memconn_window(c, MEM_NO_LIMIT);
	memconn_eof(c);
	assert_true(memdrive_run(w));
	assert_log("room data:10! layer data:5! eof fini");
	assert_ended(MEM_CLOSED, "");
}

/* ---- two markers ---- */

static enum verdict two_layers(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA && !toy.x[0]++) {
		in_take(io, 1);
		out_str(io, "1");
		io_layer(io, &toy_xor, toy_layer_arg(0, 0), LEFT_FEED);
		out_str(io, "2");
		io_layer(io, &toy_frame, toy_layer_arg(0, 0), LEFT_FEED);
		out_str(io, "3");
		return V_GO;
	}
	return toy_take(ev, io);
}

static void a_second_layer_waits_for_the_first_handshake(void **state)
{
	(void)state;
	start_world(two_layers, NULL);
	c = memconn_open(w, NULL);
	memconn_sends(c, "x");
	assert_wire("1");
	hello();
	send_wire(0);
	assert_log("open data:1 layer layer");
	assert_int_equal(memconn_out(c).n, 1 + 1 + 4);
	assert_int_equal(memconn_out(c).p[1], '2' ^ KEY);
	assert_int_equal(memconn_out(c).p[2], 'd' ^ KEY);
	memconn_take(c, SIZE_MAX);
	toy_frame_add(&wire, "abc", 3);
	scramble(0);
	send_wire(1);
	assert_log("data:3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(starttls_goes_on_inside, stop),
		cmocka_unit_test_teardown(starttls_injection_is_refused, stop),
		cmocka_unit_test_teardown(starttls_in_another_event_looks_too, stop),
		cmocka_unit_test_teardown(upgrade_feeds_what_was_read, stop),
		cmocka_unit_test_teardown(the_marker_waits_for_a_slow_reader, stop),
		cmocka_unit_test_teardown(upgrade_then_close_ends_the_layer, stop),
		cmocka_unit_test_teardown(a_fin_that_is_known_is_the_layers, stop),
		cmocka_unit_test_teardown(a_second_layer_waits_for_the_first_handshake, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
