/*
 * test_layers.c - bytes through layers: handshakes, STARTTLS and Upgrade, two layers on each other, their ends and failures. The
 * layers are tests/support/toy_layer.c's.
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

enum { KEY = 0x21 };

static struct memdrive *w;
static struct memconn *c;
static struct buf wire; /* what the client will send */
static uint8_t bytes[1 << 20];

static void start_world(toy_fn *fn, const struct mem_setup *setup)
{
	struct mem_setup m = setup ? *setup : (struct mem_setup){};

	toy_reset(fn);
	buf_init(&wire, 8 << 20);
	m.proto = m.proto ? m.proto : &toy_proto;
	assert_int_equal(memdrive_new(&m, &w, NULL), 0);
}

/* A client whose listener pushes this layer. */
static void start(toy_fn *fn, const struct layer *layer)
{
	start_world(fn, NULL);
	c = memconn_open(w, &(struct mem_open){ .layer = layer, .layer_arg = toy_layer_arg(0, 0) });
	assert_non_null(c);
}

static int stop(void **state)
{
	(void)state;
	memdrive_free(&w);
	buf_done(&wire);
	toy_done();
	return toy.live_layers;
}

static void send_wire(size_t piece)
{
	memconn_send(c, buf_str(&wire), wire.n, piece);
	buf_reset(&wire);
}

/* The bytes from `from` on as the xor layer makes them. */
static void scramble(size_t from)
{
	toy_xor_in_place(wire.p + from, wire.n - from, KEY);
}

static void hello(void)
{
	buf_addc(&wire, 'H');
	buf_addc(&wire, KEY);
}

#define assert_wire(text) \
	do { \
		struct span got_ = memconn_out(c); \
		assert_int_equal(got_.n, sizeof(text) - 1); \
		assert_memory_equal(got_.p, text, got_.n); \
		memconn_take(c, SIZE_MAX); \
	} while (0)

/* What came is the frames of `text`; other frames as their letters. */
#define assert_frames(text) \
	do { \
		BUF_AUTO struct buf b_ = BUF_INIT(4 << 20); \
		toy_unframe(memconn_out(c), &b_); \
		assert_string_equal(buf_str(&b_), text); \
		memconn_take(c, SIZE_MAX); \
	} while (0)

static void assert_ended(enum mem_end how, const char *reason)
{
	assert_int_equal(memconn_end(c), how);
	assert_string_equal(memconn_reason(c), reason);
}

/* ---- from the first byte on ---- */

static enum verdict see_secure(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN || ev->kind == EV_LAYER)
		toy.x[0] = io->secure;
	return toy_echo(ev, io);
}

static void the_protocol_waits_for_the_handshake(void **state)
{
	(void)state;
	start(see_secure, &toy_xor);
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
	start(toy_echo, &toy_xor);
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
	assert_int_equal(memdrive_next(w), memdrive_now(w) + 3 * SEC);
	memconn_sends(c, "H");
	memdrive_advance(w, 3 * SEC);
	assert_log("");
	assert_ended(MEM_ABORTED, "handshake-timeout");
	assert_int_equal(memdrive_stat(w, STAT_HANDSHAKES_FAILED), 1);
}

static void gone_in_the_handshake(void **state)
{
	(void)state;
	start(toy_echo, &toy_xor);
	memconn_sends(c, "H");
	memconn_eof(c);
	assert_log("");
	assert_ended(MEM_ABORTED, "gone-in-handshake");
}

static void a_stop_does_not_wait_for_a_handshake(void **state)
{
	(void)state;
	start(toy_echo, &toy_xor);
	memdrive_stop(w);
	assert_ended(MEM_ABORTED, "stopping");
}

static void mail_waits_for_the_handshake(void **state)
{
	(void)state;
	start(toy_echo, &toy_xor);
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

static void what_a_layer_knows(void **state)
{
	struct layer_info info;

	(void)state;
	start(toy_echo, &toy_frame);
	assert_true(sess_layer_info(memconn_sess(c), &info));
	assert_string_equal(info.alpn, "frame");
	assert_null(info.server_name);
}

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
	start(eof_err, &toy_frame);
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
	start(eof_err, &toy_frame);
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
	start(eof_err, &toy_xor);
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

static enum verdict take_none(const struct ev *ev, struct io *io)
{
	(void)io;
	return ev->kind == EV_EOF ? V_CLOSE : V_GO;
}

static void bytes_and_end_at_once_are_shown_once(void **state)
{
	(void)state;
	start(take_none, &toy_frame);
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
	start(half_close, &toy_frame);
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
	start(eof_err, &toy_frame);
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

static enum verdict fill(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN || ev->kind == EV_ROOM) {
		for (size_t n; (n = out_room(io)) > 0;)
			out_mem(io, bytes, n < 1000 ? n : 1000);
	}
	return toy_take(ev, io);
}

static void backpressure_reaches_through_a_layer(void **state)
{
	(void)state;
	start_world(fill, NULL);
	c = memconn_open(w, &(struct mem_open){ .layer = &toy_frame, .window = 1 });
	assert_log("open");
	for (int i = 0; i < 50; i++)
		memconn_window(c, 10000);
	assert_true(memconn_peak(c) < SESS_HIWAT + 1000);
	assert_true(memconn_queued(c) > SESS_LOWAT);
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
		assert_log("open eof:-5 fini");
		assert_ended(MEM_ABORTED, "connection-broken");
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
		assert_ended(MEM_ABORTED, "connection-broken");
		stop(NULL);
	}
	w = NULL;
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
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = toy_byte(i);

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
		cmocka_unit_test_teardown(starttls_goes_on_inside, stop),
		cmocka_unit_test_teardown(starttls_injection_is_refused, stop),
		cmocka_unit_test_teardown(starttls_in_another_event_looks_too, stop),
		cmocka_unit_test_teardown(upgrade_feeds_what_was_read, stop),
		cmocka_unit_test_teardown(the_marker_waits_for_a_slow_reader, stop),
		cmocka_unit_test_teardown(upgrade_then_close_ends_the_layer, stop),
		cmocka_unit_test_teardown(a_fin_that_is_known_is_the_layers, stop),
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
		cmocka_unit_test_teardown(a_second_layer_waits_for_the_first_handshake, stop),
		cmocka_unit_test_teardown(decoded_input_has_the_same_cap, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
