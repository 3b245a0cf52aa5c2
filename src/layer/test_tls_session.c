/*
 * test_tls_session.c - TLS where it is used: on sessions of the core, over the memory driver, with OpenSSL at the other end. Both
 * sides, STARTTLS, in pieces of every size, and each allocation failing once. The layer by itself is in test_tls*.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "proto/protos.h"
#include "support/tls_world.h"
#include "support/toy.h"
#include "support/world.h"

enum { SSL_1_3 = 1 };

/* ---- a server ---- */

struct call {
	struct world w;
	struct memconn *c;
	struct peer_end e;
};

static void dial(struct call *k, int version)
{
	end_init(&k->e, tls_fix.client_ssl[version], true);
	tls_faults_on();
	if (world_try_open(&k->w, &echo_proto, NULL, (const char *const[]){ "upper", "yes", NULL, NULL }, NULL) == 0)
		k->c = memconn_open(k->w.drive, &(struct mem_open){ .layer = &tls_server_layer,
								    .layer_arg = tls_arg_new(tls_fix.plain, NULL) });
	tls_faults_off();
}

static void hang_up(struct call *k)
{
	world_close(&k->w);
	end_done(&k->e);
}

static void in_every_chunking(void **state)
{
	(void)state;
	for (size_t piece = 1; piece < 700; piece += 1 + piece / 8) {
		for (int v = 0; v < 2; v++) {
			struct call k = {};

			dial(&k, v);
			tls_carry(k.c, &k.e, piece);
			tls_say(k.c, &k.e, "hello\nwor");
			assert_true(tls_heard(&k.e, "HELLO\n"));
			tls_bye(k.c, &k.e);
			assert_true(tls_heard(&k.e, "WOR"));
			assert_true(k.e.ended);
			assert_int_equal(memconn_end(k.c), MEM_CLOSED);
			assert_string_equal(memconn_reason(k.c), "");
			hang_up(&k);
		}
	}
}

static void a_fin_without_close_notify(void **state)
{
	struct call k = {};

	(void)state;
	dial(&k, SSL_1_3);
	tls_carry(k.c, &k.e, 0);
	memconn_eof(k.c);
	tls_carry(k.c, &k.e, 0);
	assert_int_equal(memconn_end(k.c), MEM_CLOSED);
	assert_string_equal(memconn_reason(k.c), "truncated");
	hang_up(&k);
}

/* ---- a client ---- */

static struct tls_ctx *trusting, *wary; /* the fixed certificate, the system's roots */
static struct tls_ctx *trust;           /* one of them */

static enum verdict open_tls(const struct ev *ev, struct io *io)
{
	struct child want = {
		.kind = CHILD_CONNECT,
		.address = "tls:server.test:443",
		.layer = &tls_client_layer,
	};

	if (ev->kind == EV_OPEN && !ev->chan) {
		want.layer_arg = tls_arg_new(trust, "server.test");
		io_child(io, 7, &want);
	}
	if (ev->kind == EV_OPEN && ev->chan)
		out_str(io_chan(io, 7), "ping\n");
	if (ev->kind == EV_DATA && ev->chan) {
		out_mem(io, in_peek(io_chan(io, 7)).p, in_peek(io_chan(io, 7)).n);
		out_eof(io_chan(io, 7));
	}
	return toy_take(ev, io);
}

struct errand {
	struct memdrive *w;
	struct memconn *c, *far;
	struct peer_end e;
};

static void send_out(struct errand *r, SSL_CTX *server)
{
	toy_reset(open_tls);
	end_init(&r->e, server, false);
	tls_faults_on();
	if (memdrive_new(&(struct mem_setup){ .proto = &toy_proto }, &r->w, NULL) == 0)
		r->c = memconn_open(r->w, NULL);
	tls_faults_off();
	r->far = r->c ? memdrive_child(r->w, 0) : NULL;
}

static void come_back(struct errand *r)
{
	memdrive_free(&r->w);
	end_done(&r->e);
	toy_done();
}

static void a_channel_in_every_chunking(void **state)
{
	(void)state;
	trust = trusting;
	for (size_t piece = 1; piece < 2000; piece += 1 + piece / 4) {
		for (int v = 0; v < 2; v++) {
			SSL_CTX *server = tls_fix_server(tls_fix_versions[v]);
			struct errand r = {};

			send_out(&r, server);
			tls_carry(r.far, &r.e, piece);
			assert_true(tls_heard(&r.e, "ping\n"));
			tls_say(r.far, &r.e, "pong");
			assert_true(span_is(memconn_out(r.c), "pong"));
			assert_true(r.e.ended); /* its close_notify */
			tls_bye(r.far, &r.e);
			assert_int_equal(memconn_end(r.far), MEM_CLOSED);
			assert_log("open c7.open c7.data:4 c7.eof c7.gone:7:0");
			come_back(&r);
			SSL_CTX_free(server);
		}
	}
}

static void a_server_nobody_trusts(void **state)
{
	SSL_CTX *server = tls_fix_server(TLS1_3_VERSION);
	struct errand r = {};

	(void)state;
	trust = wary;
	send_out(&r, server);
	tls_carry(r.far, &r.e, 0);
	assert_true(r.e.alert > 0);
	assert_non_null(strstr(memconn_reason(r.far), "certificate"));
	assert_int_equal(memconn_end(r.far), MEM_CLOSED);
	assert_non_null(strstr(buf_str(&toy.log), "gone:7:-"));
	assert_null(strstr(buf_str(&toy.log), "c7.open"));
	come_back(&r);
	SSL_CTX_free(server);
}

/* ---- STARTTLS ---- */

static enum verdict starttls(const struct ev *ev, struct io *io)
{
	struct span line;

	if (ev->kind != EV_DATA || io->secure)
		return toy_echo(ev, io);
	if (in_line(io, 100, &line) == 1) {
		out_str(io, "220 go\n");
		io_layer(io, &tls_server_layer, tls_arg_new(tls_fix.plain, NULL), LEFT_REJECT);
	}
	return V_GO;
}

/* What follows the command in the same piece is the plain text of somebody who cannot do TLS: CVE-2011-0411 and its family. */
static void starttls_is_not_injected(void **state)
{
	(void)state;
	for (int injected = 0; injected < 2; injected++) {
		struct memdrive *w = NULL;
		struct memconn *c;
		struct peer_end e;

		toy_reset(starttls);
		end_init(&e, tls_fix.client_ssl[SSL_1_3], true);
		assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy_proto }, &w, NULL), 0);
		c = memconn_open(w, NULL);
		memconn_sends(c, injected ? "STARTTLS\r\nEVIL\r\n" : "STARTTLS\r\n");
		if (injected) {
			assert_int_equal(memconn_end(c), MEM_ABORTED);
			assert_string_equal(memconn_reason(c), "early-data");
		} else {
			assert_true(span_is(memconn_out(c), "220 go\n"));
			memconn_take(c, SIZE_MAX);
			tls_carry(c, &e, 1);
			tls_say(c, &e, "inside");
			assert_true(tls_heard(&e, "inside"));
		}
		memdrive_free(&w);
		end_done(&e);
		toy_done();
	}
}

/* ---- no memory ---- */

#ifdef GUICHET_FAULTS

/* True: nobody noticed. */
static bool call_with_fault(int version, unsigned long nth)
{
	struct call k = {};
	bool ok;

	tls_faults(nth);
	dial(&k, version);
	tls_carry(k.c, &k.e, 0);
	tls_say(k.c, &k.e, "hello\n");
	ok = tls_heard(&k.e, "HELLO\n");
	tls_bye(k.c, &k.e);
	ok &= k.e.ended && k.c && memconn_end(k.c) == MEM_CLOSED;
	assert_true(!k.c || memconn_end(k.c) == MEM_CLOSED || memconn_end(k.c) == MEM_ABORTED);
	hang_up(&k);
	return ok;
}

static bool errand_with_fault(SSL_CTX *server, unsigned long nth)
{
	struct errand r = {};
	bool ok;

	tls_faults(nth);
	send_out(&r, server);
	tls_carry(r.far, &r.e, 0);
	tls_say(r.far, &r.e, "pong");
	tls_bye(r.far, &r.e);
	ok = r.c && span_is(memconn_out(r.c), "pong") && r.e.ended;
	come_back(&r);
	return ok;
}

static void failing_allocations(void **state)
{
	(void)state;
	for (int v = 0; v < 2; v++) {
		unsigned long all;

		assert_true(call_with_fault(v, 0));
		all = tls_faults_seen();
		for (unsigned long n = 1; n <= all; n++)
			call_with_fault(v, n);
		print_message("a server's session, TLS 1.%d: %lu allocations\n", v + 2, all);
	}
}

static void failing_allocations_of_a_client(void **state)
{
	SSL_CTX *server = tls_fix_server(TLS1_3_VERSION);
	unsigned long all;

	(void)state;
	trust = trusting;
	assert_true(errand_with_fault(server, 0));
	all = tls_faults_seen();
	for (unsigned long n = 1; n <= all; n++)
		errand_with_fault(server, n);
	print_message("a client's channel: %lu allocations\n", all);
	SSL_CTX_free(server);
}
#endif

static int set_up(void **state)
{
	int r = tls_fix_set_up(state);

	trusting = tls_fix_context(&(struct tls_setup){ .client = true, .ca = span_str(tls_fix.server->pem) });
	wary = tls_fix_context(&(struct tls_setup){ .client = true, .ca = span_str(tls_fix.ca->pem) });
	return r;
}

static int tear_down(void **state)
{
	tls_ctx_unref(trusting);
	tls_ctx_unref(wary);
	return tls_fix_tear_down(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_every_chunking),           cmocka_unit_test(a_fin_without_close_notify),
		cmocka_unit_test(a_channel_in_every_chunking), cmocka_unit_test(a_server_nobody_trusts),
		cmocka_unit_test(starttls_is_not_injected),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(failing_allocations),         cmocka_unit_test(failing_allocations_of_a_client),
#endif
	};

	if (tls_use_mem() < 0)
		return 1;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
