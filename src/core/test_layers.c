/*
 * test_layers.c - bytes through layers from the first byte on: handshakes, their ends and failures, their clock, output and files
 * through them. How one is put on later is in test_upgrade.c. The layers are tests/support/toy_layer.c's.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/sess_priv.h"
#include "support/toy_stage.h"

/* ---- from the first byte on ---- */

static void the_protocol_waits_for_the_handshake(void **state)
{
	(void)state;
	start_layered(see_secure, &toy_xor);
	assert_log("");
	memconn_sends(c, "H");
	assert_log("");
	memconn_sends(c, "!");
	assert_log("open");
	assert_int_equal(toy.x[0], 1);
	assert_wire("h");
	assert_int_equal(memdrive_stat(w, STAT_HANDSHAKES), 1);
	memconn_send(c, (const uint8_t[]){ 'a' ^ '!', 'b' ^ '!' }, 2, 0);
	assert_log("data:2");
	assert_memory_equal(memconn_out(c).p, ((const uint8_t[]){ 'a' ^ '!', 'b' ^ '!' }), 2);
}

static void a_stack_in_every_chunking(void **state)
{
	(void)state;
	for (size_t k = 1; k < 40; k++) {
		start_world(toy_echo, NULL);
		toy.quiet = true;
		c = memconn_open(w, &(struct mem_open){ .layer = &toy_xor });
		assert_int_equal(sess_push_layer(memconn_sess(c), &toy_frame, NULL), 0);
		hello();
		toy_frame_add(&wire, "hello ", 6);
		toy_frame_add(&wire, "", 0);
		toy_frame_add(&wire, "world", 5);
		buf_adds(&wire, "pc");
		scramble(2);
		send_wire(k);
		assert_int_equal(memconn_end(c), MEM_CLOSED);
		assert_int_equal(memconn_out(c).p[0], 'h');
		memconn_take(c, 1);
		toy_xor_in_place((uint8_t *)(uintptr_t)memconn_out(c).p, memconn_out(c).n, KEY);

		BUF_AUTO struct buf b = BUF_INIT(100);

		toy_unframe(memconn_out(c), &b);
		assert_int_equal(b.n, 6 + 5 + 2); /* and q, which may overtake what is echoed, and c */
		assert_true(strstr(buf_str(&b), "hello"));
		assert_int_equal(b.p[b.n - 1], 'c');
		stop(NULL);
	}
	w = NULL;
}

static void a_bad_hello_gets_its_alert(void **state)
{
	(void)state;
	start_layered(toy_echo, &toy_xor);
	memconn_sends(c, "GET");
	assert_log("");
	assert_wire("X");
	assert_ended(MEM_CLOSED, "bad-hello");
	assert_int_equal(memdrive_stat(w, STAT_HANDSHAKES_FAILED), 1);
}

static void a_handshake_has_a_deadline(void **state)
{
	(void)state;
	start_world(toy_echo, &(struct mem_setup){ .first = 3 * SEC });
	c = memconn_open(w, &(struct mem_open){ .layer = &toy_xor });
	memconn_sends(c, "H");
	memdrive_advance(w, 3 * SEC - 1);
	assert_ended(MEM_OPEN, "");
	memdrive_advance(w, 1);
	assert_log("");
	assert_ended(MEM_ABORTED, "handshake-timeout");
	assert_int_equal(memdrive_stat(w, STAT_HANDSHAKES_FAILED), 1);
}

static void gone_in_the_handshake(void **state)
{
	(void)state;
	start_layered(toy_echo, &toy_xor);
	memconn_sends(c, "H");
	memconn_eof(c);
	assert_log("");
	assert_ended(MEM_ABORTED, "gone-in-handshake");
}

static void a_stop_does_not_wait_for_a_handshake(void **state)
{
	(void)state;
	start_layered(toy_echo, &toy_xor);
	memdrive_stop(w);
	assert_ended(MEM_ABORTED, "stopping");
}

static void mail_waits_for_the_handshake(void **state)
{
	(void)state;
	start_layered(toy_echo, &toy_xor);
	memdrive_post(w, 0, memconn_id(c), 1, toy_mail("x"));
	assert_log("");
	memconn_sends(c, "H!");
	assert_log("open msg:1");
}

static void handshakes_are_budgeted(void **state)
{
	struct memconn *v[5];

	(void)state;
	start_world(toy_echo, &(struct mem_setup){ .handshakes = 2 });
	memdrive_auto(w, false);
	for (int i = 0; i < 5; i++) {
		v[i] = memconn_open(w, &(struct mem_open){ .layer = &toy_xor });
		memconn_sends(v[i], "H!");
	}
	memdrive_turn(w);
	assert_log("open open");
	memdrive_turn(w);
	assert_log("open open");
	memdrive_turn(w);
	assert_log("open");
	assert_true(memdrive_run(w));
	for (int i = 0; i < 5; i++)
		assert_true(span_is(memconn_out(v[i]), "h"));
}

static void a_layer_that_does_not_open(void **state)
{
	(void)state;
	start_world(toy_echo, NULL);
	c = memconn_open(w, &(struct mem_open){ .layer = &toy_frame, .layer_arg = toy_layer_arg(0, -EPERM) });
	assert_log("");
	assert_ended(MEM_ABORTED, "frame");
	assert_int_equal(toy.live_layers, 0);
}

/* A certificate of a layer is who the peer is, and a step may ask for the rest. */
static enum verdict see_certificate(const struct ev *ev, struct io *io)
{
	struct layer_info info = {};

	if (ev->kind == EV_OPEN)
		toy.x[0] = io->who && io->who->how == WHO_CERTIFICATE && strcmp(io->who->user, "CN=frame") == 0 &&
			   io_layer_info(io, &info) && strcmp(info.alpn, "frame") == 0;
	return toy_take(ev, io);
}

static void what_a_layer_knows(void **state)
{
	struct layer_info info;

	(void)state;
	start_layered(see_certificate, &toy_frame);
	assert_int_equal(toy.x[0], 1);
	assert_true(sess_layer_info(memconn_sess(c), &info));
	assert_string_equal(info.alpn, "frame");
	assert_null(info.server_name);
}

/* ---- ends ---- */

static enum verdict eof_err(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_EOF)
		toy.x[1] = (uint64_t)-ev->err;
	return toy_echo(ev, io);
}

static void a_clean_end_is_eof(void **state)
{
	(void)state;
	start_layered(eof_err, &toy_frame);
	toy_frame_add(&wire, "abc", 3);
	buf_adds(&wire, "c");
	send_wire(0);
	assert_log("open data:3! eof fini");
	assert_wire("d\0\3abcc");
	assert_ended(MEM_CLOSED, "");
}

static void a_fin_without_the_layers_end_is_truncation(void **state)
{
	(void)state;
	start_layered(eof_err, &toy_frame);
	toy_frame_add(&wire, "abc", 3);
	send_wire(0);
	memconn_eof(c);
	assert_log("open data:3 eof:-103 fini");
	assert_int_equal(toy.x[1], ECONNABORTED);
	assert_ended(MEM_CLOSED, "truncated");
}

static void a_layer_without_an_end_ends_with_the_fin(void **state)
{
	(void)state;
	start_layered(eof_err, &toy_xor);
	memconn_sends(c, "H!");
	memconn_eof(c);
	assert_log("open eof fini");
	assert_ended(MEM_CLOSED, "");
}

/* The lower one's end is a FIN for the upper one, and nobody could have forged it. */
static void the_end_of_a_lower_layer_is_the_end(void **state)
{
	(void)state;
	start_world(eof_err, NULL);
	c = memconn_open(w, &(struct mem_open){ .layer = &toy_frame });
	assert_int_equal(sess_push_layer(memconn_sess(c), &toy_frame, NULL), 0);

	BUF_AUTO struct buf inner = BUF_INIT(100);

	toy_frame_add(&inner, "abc", 3);
	toy_frame_add(&wire, inner.p, inner.n);
	buf_adds(&wire, "c");
	send_wire(1);
	assert_log("open layer data:3 eof fini");
	assert_ended(MEM_CLOSED, "");
}

static void bytes_and_end_at_once_are_shown_once(void **state)
{
	(void)state;
	start_layered(take_none, &toy_frame);
	toy_frame_add(&wire, "abc", 3);
	buf_adds(&wire, "c");
	send_wire(0);
	assert_log("open data:3! eof fini");
}

static enum verdict half_close(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN) {
		out_str(io, "hi");
		out_eof(io);
	}
	return toy_take(ev, io);
}

static void out_eof_ends_the_layer_and_reading_goes_on(void **state)
{
	(void)state;
	start_layered(half_close, &toy_frame);
	assert_wire("d\0\2hic");
	assert_ended(MEM_FIN, "");
	toy_frame_add(&wire, "abc", 3);
	send_wire(0);
	assert_log("open data:3");
	memconn_sends(c, "c");
	assert_log("eof fini");
	assert_ended(MEM_CLOSED, "");
}

static void a_broken_frame_ends_it_with_an_alert(void **state)
{
	(void)state;
	start_layered(eof_err, &toy_frame);
	toy_frame_add(&wire, "abc", 3);
	buf_adds(&wire, "?");
	send_wire(1);
	assert_log("open data:3 eof:-71 fini");
	assert_frames("abce");
	assert_ended(MEM_CLOSED, "bad-frame");
	assert_int_equal(memdrive_stat(w, STAT_ERRORS), 1);
}

/* ---- time ---- */

static void a_layer_has_its_own_clock(void **state)
{
	(void)state;
	start_world(toy_echo, NULL);
	c = memconn_open(w, &(struct mem_open){ .layer = &toy_frame, .layer_arg = toy_layer_arg(SEC, 0) });
	assert_int_equal(memdrive_next(w), memdrive_now(w) + SEC);
	memdrive_advance(w, 3 * SEC);
	assert_frames("ppp");
	assert_log("open");
}

static enum verdict close_at_open(const struct ev *ev, struct io *io)
{
	out_str(io, "x");
	return ev->kind == EV_OPEN ? V_CLOSE : V_GO;
}

static void a_closing_session_ticks_no_more(void **state)
{
	(void)state;
	start_world(close_at_open, NULL);
	c = memconn_open(w, &(struct mem_open){ .layer = &toy_frame, .layer_arg = toy_layer_arg(SEC, 0), .window = 1 });
	memconn_window(c, 0);
	memdrive_advance(w, 3 * SEC);
	assert_true(memdrive_run(w));
	memconn_window(c, MEM_NO_LIMIT);
	assert_frames("xc");
}

/* ---- output ---- */

static void backpressure_reaches_through_a_layer(void **state)
{
	(void)state;
	start_world(fill, NULL);
	c = memconn_open(w, &(struct mem_open){ .layer = &toy_frame, .window = 1 });
	assert_log("open");
	for (int i = 0; i < 50; i++)
		memconn_window(c, 10000);
	assert_true(memconn_peak(c) < SESS_HIWAT + 1000);
	assert_true(memconn_queued(c) > sess_lowat(memconn_sess(c)));
	toy.quiet = true;
}

static void a_layer_that_swallows_gives_room_again(void **state)
{
	(void)state;
	start_world(fill, NULL);
	toy.quiet = true;
	c = memconn_open(w, &(struct mem_open){ .layer = &toy_eat });
	/* it comes to no rest: the protocol is asked for more again and again, without a byte on the wire */
	assert_true(memdrive_stat(w, STAT_BYTES_OUT) == 0);
	memdrive_auto(w, false);
	for (int i = 0; i < 3; i++) {
		memdrive_turn(w);
		assert_int_equal(memconn_queued(c), 0);
	}
	assert_true(memconn_sess(c)->flags != 0);
}

static enum verdict big_blob(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN) {
		struct blob *b = blob_new(&(struct span){ bytes, 900000 }, 1);

		out_blob(io, b);
		blob_unref(b);
	}
	return toy_take(ev, io);
}

static void a_blob_under_a_layer_stays_a_blob(void **state)
{
	(void)state;
	start_world(big_blob, NULL);
	c = memconn_open(w, &(struct mem_open){ .layer = &toy_frame, .window = 1 });
	assert_true(memconn_peak(c) < 900000 + SESS_HIWAT);
	assert_true(memconn_sess(c)->more != NULL);
	memconn_window(c, MEM_NO_LIMIT);

	BUF_AUTO struct buf b = BUF_INIT(4 << 20);

	toy_unframe(memconn_out(c), &b);
	assert_int_equal(b.n, 900000);
	assert_memory_equal(b.p, bytes, 900000);
}

/* ---- files ---- */

static int closes;

static enum verdict send_file(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN) {
		struct file *f = toy_file(700000, toy.x[1] ? toy.x[1] : 1 << 20, toy.x[0], &closes);

		out_str(io, "<");
		out_file(io, f, 1000, 600000);
		out_str(io, ">");
		file_unref(f);
	}
	return toy_take(ev, io);
}

static void get_file(const struct layer *layer, size_t most, bool small_writes)
{
	BUF_AUTO struct buf b = BUF_INIT(4 << 20);

	start_world(send_file, NULL);
	toy.x[0] = 700000;
	toy.x[1] = most;
	closes = 0;
	c = memconn_open(w, &(struct mem_open){ .layer = layer, .window = 1 });
	if (small_writes)
		memconn_writes(c, 997);
	assert_int_equal(closes, 0);
	while (memconn_out(c).n < 600002 && memdrive_run(w))
		memconn_window(c, 50000);
	assert_true(memconn_peak(c) < SESS_HIWAT + 20000);
	if (layer)
		toy_unframe(memconn_out(c), &b);
	else
		buf_add(&b, memconn_out(c).p, memconn_out(c).n);
	assert_int_equal(b.p[0], '<');
	for (size_t i = 0; i < 600000; i++)
		if ((uint8_t)b.p[1 + i] != toy_byte(1000 + i))
			fail_msg("byte %zu of the file", i);
	if (!layer)
		assert_int_equal(b.p[600001], '>');
	assert_int_equal(closes, layer ? closes : 1);
	memconn_window(c, MEM_NO_LIMIT);
	assert_int_equal(closes, 1);
	stop(NULL);
	w = NULL;
}

static void files_bare_and_under_a_layer(void **state)
{
	(void)state;
	get_file(NULL, 0, false);
	get_file(NULL, 4097, true);
	get_file(&toy_frame, 0, false);
	get_file(&toy_frame, 1234, true);
}

static void a_file_shorter_than_promised(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		start_world(send_file, NULL);
		toy.x[0] = 5000;
		closes = 0;
		c = memconn_open(w, &(struct mem_open){ .layer = i ? &toy_frame : NULL });
		assert_log("open eof:-116 fini");
		assert_ended(MEM_ABORTED, "file-changed");
		assert_int_equal(closes, 1);
		stop(NULL);
	}
	w = NULL;
}

static enum verdict send_file_close(const struct ev *ev, struct io *io)
{
	send_file(ev, io);
	return V_CLOSE;
}

static void a_short_file_while_closing_does_not_hang(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		start_world(send_file_close, NULL);
		toy.x[0] = 5000;
		c = memconn_open(w, &(struct mem_open){ .layer = i ? &toy_frame : NULL });
		assert_log("open fini");
		assert_ended(MEM_ABORTED, "file-changed");
		stop(NULL);
	}
	w = NULL;
}

/* ---- limits ---- */

static void decoded_input_has_the_same_cap(void **state)
{
	(void)state;
	start_world(take_none, &(struct mem_setup){ .input = 1000 });
	c = memconn_open(w, &(struct mem_open){ .layer = &toy_frame });
	toy_frame_add(&wire, bytes, 999);
	send_wire(100);
	assert_ended(MEM_OPEN, "");
	toy_frame_add(&wire, bytes, 1);
	send_wire(0);
	assert_ended(MEM_ABORTED, "input-limit");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(the_protocol_waits_for_the_handshake, stop),
		cmocka_unit_test_teardown(a_stack_in_every_chunking, stop),
		cmocka_unit_test_teardown(a_bad_hello_gets_its_alert, stop),
		cmocka_unit_test_teardown(a_handshake_has_a_deadline, stop),
		cmocka_unit_test_teardown(gone_in_the_handshake, stop),
		cmocka_unit_test_teardown(a_stop_does_not_wait_for_a_handshake, stop),
		cmocka_unit_test_teardown(mail_waits_for_the_handshake, stop),
		cmocka_unit_test_teardown(handshakes_are_budgeted, stop),
		cmocka_unit_test_teardown(a_layer_that_does_not_open, stop),
		cmocka_unit_test_teardown(what_a_layer_knows, stop),
		cmocka_unit_test_teardown(a_clean_end_is_eof, stop),
		cmocka_unit_test_teardown(a_fin_without_the_layers_end_is_truncation, stop),
		cmocka_unit_test_teardown(a_layer_without_an_end_ends_with_the_fin, stop),
		cmocka_unit_test_teardown(the_end_of_a_lower_layer_is_the_end, stop),
		cmocka_unit_test_teardown(bytes_and_end_at_once_are_shown_once, stop),
		cmocka_unit_test_teardown(out_eof_ends_the_layer_and_reading_goes_on, stop),
		cmocka_unit_test_teardown(a_broken_frame_ends_it_with_an_alert, stop),
		cmocka_unit_test_teardown(a_layer_has_its_own_clock, stop),
		cmocka_unit_test_teardown(a_closing_session_ticks_no_more, stop),
		cmocka_unit_test_teardown(backpressure_reaches_through_a_layer, stop),
		cmocka_unit_test_teardown(a_layer_that_swallows_gives_room_again, stop),
		cmocka_unit_test_teardown(a_blob_under_a_layer_stays_a_blob, stop),
		cmocka_unit_test_teardown(files_bare_and_under_a_layer, stop),
		cmocka_unit_test_teardown(a_file_shorter_than_promised, stop),
		cmocka_unit_test_teardown(a_short_file_while_closing_does_not_hang, stop),
		cmocka_unit_test_teardown(decoded_input_has_the_same_cap, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
