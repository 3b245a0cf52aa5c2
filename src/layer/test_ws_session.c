/*
 * test_ws_session.c - WebSocket on real sessions: when the protocol begins, what it is told of the end, what a broken frame leaves, pings of
 * who does not read, WebSocket over TLS, and a client's channel. Frames by themselves: test_ws.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "layer/ws.h"
#include "support/tls_world.h"
#include "support/toy_stage.h"
#include "support/world.h"

#define REQUEST \
	"GET /mqtt?a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
#define ANSWER \
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

static struct ws_ctx *context(bool client)
{
	struct ws_ctx *ctx;

	assert_int_equal(ws_ctx_new(&(struct ws_setup){ .service = "toy", .client = client, .host = "a" }, &ctx), 0);
	return ctx;
}

static void begin(toy_fn *fn, const struct mem_setup *setup)
{
	start_world(fn, setup);
	c = memconn_open(w, &(struct mem_open){ .layer = &ws_server_layer, .layer_arg = context(false) });
	assert_non_null(c);
}

static void send_bytes(const void *p, size_t n)
{
	memconn_send(c, p, n, 0);
}

#define SEND(text) send_bytes(text, sizeof(text) - 1)

static void begin_up(toy_fn *fn, const struct mem_setup *setup)
{
	begin(fn, setup);
	memconn_sends(c, REQUEST);
	memconn_take(c, SIZE_MAX);
}

/* ---- beginnings ---- */

static enum verdict see_names(const struct ev *ev, struct io *io)
{
	struct layer_info info = {};

	if (ev->kind == EV_OPEN)
		toy.x[0] = io_layer_info(io, &info) && strcmp(info.path, "/mqtt?a") == 0 && !info.subprotocol;
	return toy_echo(ev, io);
}

static void the_protocol_waits_for_the_request(void **state)
{
	(void)state;
	begin(see_names, NULL);
	memconn_sends(c, "GET /mqtt?a HT");
	assert_log("");
	memconn_sends(c, REQUEST + 14);
	assert_log("open");
	assert_int_equal(toy.x[0], 1);
	assert_true(span_is(memconn_out(c), ANSWER));
	assert_int_equal(memdrive_stat(w, STAT_WEBSOCKETS), 1);
	assert_int_equal(memdrive_stat(w, STAT_HANDSHAKES), 0);
}

static void a_refusal_reaches_the_browser(void **state)
{
	(void)state;
	begin(toy_echo, NULL);
	memconn_sends(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_log("");
	assert_true(span_starts(memconn_out(c), "HTTP/1.1 426 Upgrade Required\r\n"));
	assert_ended(MEM_CLOSED, "ws: no upgrade asked for");
	assert_int_equal(memdrive_stat(w, STAT_WEBSOCKETS_FAILED), 1);
}

static void late_and_gone(void **state)
{
	(void)state;
	begin(toy_echo, &(struct mem_setup){ .first = 3 * SEC });
	memconn_sends(c, "GET");
	memdrive_advance(w, 3 * SEC);
	assert_ended(MEM_ABORTED, "ws: request not complete");
	assert_int_equal(memdrive_stat(w, STAT_WEBSOCKETS_FAILED), 1);
	stop(NULL);
	begin(toy_echo, NULL);
	memconn_eof(c);
	assert_ended(MEM_ABORTED, "ws: no request");
}

/* ---- ends ---- */

static void a_close_is_a_fin(void **state)
{
	(void)state;
	begin_up(toy_echo, NULL);
	SEND("\x82\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe9");
	assert_log("open data:2! eof fini");
	assert_wire("\x82\2hi\x88\2\x03\xe9");
	assert_ended(MEM_CLOSED, "");
}

static void a_fin_alone_is_truncation(void **state)
{
	(void)state;
	begin_up(toy_echo, NULL);
	memconn_eof(c);
	assert_log("open eof:-103 fini");
	assert_ended(MEM_CLOSED, "truncated");
}

static enum verdict half_close(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN) {
		out_str(io, "hi");
		out_eof(io);
	}
	return toy_take(ev, io);
}

static void half_a_close(void **state)
{
	(void)state;
	begin(half_close, NULL);
	memconn_sends(c, REQUEST);
	memconn_take(c, sizeof(ANSWER) - 1);
	assert_wire("\x82\2hi\x88\2\x03\xe8");
	SEND("\x82\x82\0\0\0\0hi");
	assert_log("open data:2");
	SEND("\x88\x80\0\0\0\0");
	assert_log("eof fini");
	assert_ended(MEM_CLOSED, "");
}

static void a_broken_frame(void **state)
{
	(void)state;
	begin_up(toy_echo, NULL);
	SEND("\x82\x82\0\0\0\0hi");
	SEND("\x82\2ho");
	assert_log("open data:2 eof:-71 fini");
	assert_wire("\x82\2hi\x88\x14\x03\xea"
		    "frame without mask");
	assert_ended(MEM_CLOSED, "ws: frame without mask");
	assert_int_equal(memdrive_stat(w, STAT_ERRORS), 1);
}

/* ---- who does not read ---- */

static enum verdict flood(const struct ev *ev, struct io *io)
{
	(void)ev;
	in_take(io, in_peek(io).n);
	if (out_room(io) > 0)
		out_mem(io, bytes, 60000);
	return V_GO;
}

static void pings_of_who_does_not_read(void **state)
{
	static const struct mem_setup full = { .proto = &toy_full_proto };
	uint8_t ping[6 + 125] = "\x89\xfd\0\0\0\0";
	size_t before;

	(void)state;
	begin(flood, &full);
	toy.quiet = true;
	memconn_sends(c, REQUEST);
	memconn_window(c, 0);
	SEND("\x82\x81\0\0\0\0x");
	before = memconn_queued(c);
	for (unsigned i = 0; i < 5000; i++) {
		ping[6] = (uint8_t)i;
		send_bytes(ping, sizeof(ping));
	}
	assert_int_equal(memconn_end(c), MEM_OPEN);
	assert_true(memconn_queued(c) <= before + 200);
}

/* ---- over TLS ---- */

static void over_tls(void **state)
{
	struct layer_info info;
	struct peer_end e;

	(void)state;
	for (size_t piece = 1; piece < 3000; piece = piece * 5 + 2) {
		start_world(toy_echo, NULL);
		c = memconn_open(w, &(struct mem_open){ .layer = &tls_server_layer,
							.layer_arg = tls_arg_new(tls_fix.plain, NULL) });
		assert_int_equal(sess_push_layer(memconn_sess(c), &ws_server_layer, context(false)), 0);
		end_init(&e, tls_fix.client_ssl[1], true);
		tls_carry(c, &e, piece);
		assert_log("");
		tls_say(c, &e, REQUEST);
		assert_log("open");
		assert_true(tls_heard(&e, ANSWER));
		assert_true(sess_layer_info(memconn_sess(c), &info));
		assert_string_equal(info.path, "/mqtt?a");
		assert_string_equal(info.version, "TLSv1.3");
		SSL_write(e.ssl, "\x82\x82\0\0\0\0hi", 8);
		tls_carry(c, &e, piece);
		assert_true(tls_heard(&e, "\x82\2hi"));
		SSL_write(e.ssl, "\x88\x82\0\0\0\0\x03\xe8", 8);
		tls_carry(c, &e, piece);
		assert_true(tls_heard(&e, "\x88\2\x03\xe8"));
		assert_true(e.ended); /* and close_notify behind it */
		assert_ended(MEM_CLOSED, "");
		toy.log.n = 0;
		stop(NULL);
		end_done(&e);
	}
	w = NULL;
}

static void a_close_of_tls_is_one(void **state)
{
	struct peer_end e;

	(void)state;
	start_world(toy_echo, NULL);
	c = memconn_open(w, &(struct mem_open){ .layer = &tls_server_layer,
						.layer_arg = tls_arg_new(tls_fix.plain, NULL) });
	assert_int_equal(sess_push_layer(memconn_sess(c), &ws_server_layer, context(false)), 0);
	end_init(&e, tls_fix.client_ssl[1], true);
	tls_carry(c, &e, 0);
	tls_say(c, &e, REQUEST);
	tls_bye(c, &e);
	assert_log("open eof fini");
	assert_ended(MEM_CLOSED, "");
	end_done(&e);
}

/* ---- a client ---- */

static enum verdict dial(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN && !ev->chan)
		io_child(io, 7, &(struct child){ .kind = CHILD_CONNECT, .address = "ws:127.0.0.1:9/x" });
	if (ev->kind == EV_OPEN && ev->chan)
		io_layer(io_chan(io, 7), &ws_client_layer, context(true), LEFT_FEED);
	if (ev->kind == EV_LAYER)
		out_str(io_chan(io, 7), "hello");
	return toy_take(ev, io);
}

static void a_clients_channel(void **state)
{
	struct memconn *far, *server;
	struct memdrive *world = NULL;

	(void)state;
	start(dial, NULL);
	far = memdrive_child(w, 0);
	assert_log("open c7.open");
	assert_true(span_starts(memconn_out(far), "GET / HTTP/1.1\r\nHost: a\r\n"));
	/* the other end is a session of ours too, of a world of its own */
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy2_proto }, &world, NULL), 0);
	toy.fn2 = toy_echo;
	server = memconn_open(world, &(struct mem_open){ .layer = &ws_server_layer, .layer_arg = context(false) });
	for (int i = 0; i < 3; i++) {
		memconn_send(server, memconn_out(far).p, memconn_out(far).n, 3);
		memconn_take(far, SIZE_MAX);
		memconn_send(far, memconn_out(server).p, memconn_out(server).n, 2);
		memconn_take(server, SIZE_MAX);
	}
	assert_non_null(strstr(buf_str(&toy.log), "c7.layer"));
	assert_non_null(strstr(buf_str(&toy.log), "2.data:3 2.data:2 c7.data:2 c7.data:1 c7.data:1 c7.data:1"));
	memdrive_free(&world);
	toy.log.n = 0;
}

/* Of TLS and then WebSocket: the request waits until TLS is up. */
static void a_client_over_tls(void **state)
{
	struct peer_end e;

	(void)state;
	start_world(toy_echo, NULL);
	c = memconn_open(w, NULL);
	assert_log("open");
	stop(NULL);
	start_world(toy_echo, NULL);
	{
		struct tls_ctx *ctx = tls_fix_context(&(struct tls_setup){ .client = true, .insecure = true });

		c = memconn_open(w,
				 &(struct mem_open){ .layer = &tls_client_layer, .layer_arg = tls_arg_new(ctx, "x") });
		tls_ctx_unref(ctx);
	}
	assert_int_equal(sess_push_layer(memconn_sess(c), &ws_client_layer, context(true)), 0);
	{
		SSL_CTX *server = tls_fix_server(TLS1_3_VERSION);

		end_init(&e, server, false);
		SSL_CTX_free(server);
	}
	tls_carry(c, &e, 1);
	assert_true(e.got.n > 20);
	assert_memory_equal(e.got.p, "GET / HTTP/1.1\r\n", 16);
	end_done(&e);
	memconn_reset(c);
}

/* ---- memory ---- */

#ifdef GUICHET_FAULTS
static void a_life(void *arg)
{
	struct world v;
	struct ws_ctx *ctx = NULL;
	struct memconn *m = NULL;

	(void)arg;
	if (world_try_open(&v, &toy_proto, NULL, (const char *const[]){ NULL, NULL }, NULL) == 0 &&
	    ws_ctx_new(&(struct ws_setup){ .service = "m" }, &ctx) == 0) {
		m = memconn_open(v.drive, &(struct mem_open){ .layer = &ws_server_layer, .layer_arg = ctx });
	}
	if (m) {
		memconn_sends(m, REQUEST);
		memconn_send(m, "\x82\x82\0\0\0\0hi\x89\x80\0\0\0\0\x88\x80\0\0\0\0", 20, 3);
	}
	world_close(&v);
}

static void memory_is_out(void **state)
{
	(void)state;
	toy_reset(toy_echo);
	toy.quiet = true;
	fail_each_allocation(a_life, NULL);
}
#else
static void memory_is_out(void **state)
{
	(void)state;
	skip();
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(the_protocol_waits_for_the_request, stop),
		cmocka_unit_test_teardown(a_refusal_reaches_the_browser, stop),
		cmocka_unit_test_teardown(late_and_gone, stop),
		cmocka_unit_test_teardown(a_close_is_a_fin, stop),
		cmocka_unit_test_teardown(a_fin_alone_is_truncation, stop),
		cmocka_unit_test_teardown(half_a_close, stop),
		cmocka_unit_test_teardown(a_broken_frame, stop),
		cmocka_unit_test_teardown(pings_of_who_does_not_read, stop),
		cmocka_unit_test_teardown(over_tls, stop),
		cmocka_unit_test_teardown(a_close_of_tls_is_one, stop),
		cmocka_unit_test_teardown(a_clients_channel, stop),
		cmocka_unit_test_teardown(a_client_over_tls, stop),
		cmocka_unit_test_teardown(memory_is_out, stop),
	};

	if (tls_use_mem() < 0)
		return 1;
	return cmocka_run_group_tests(tests, tls_fix_set_up, tls_fix_tear_down);
}
