/* test_tls_client.c - the client layer, against OpenSSL's server and against ours. */
#include <openssl/err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/tls_peer.h"

#define assert_bytes(b, text) \
	do { \
		assert_int_equal((b).n, strlen(text)); \
		assert_memory_equal((b).p, text, (b).n); \
		(b).n = 0; \
	} while (0)

struct client_row {
	const char *name;
	bool insecure, trusted;
	const char *why; /* NULL: it works */
	int err;
};

static void client_layer(void **state)
{
	static const struct client_row rows[] = {
		{ "server.test", false, true, NULL, 0 },
		{ "127.0.0.1", false, true, NULL, 0 },
		{ "other.test", false, true,
		  "tls: certificate not accepted: hostname mismatch; its names are server.test, 127.0.0.1",
		  TLS_OTHER_NAME },
		{ "127.0.0.2", false, true,
		  "tls: certificate not accepted: IP address mismatch; its names are server.test, 127.0.0.1",
		  TLS_OTHER_NAME },
		{ "server.test", false, false, "tls: certificate not accepted: self-signed certificate",
		  TLS_NOT_TRUSTED },
		{ "other.test", true, false, NULL, 0 },
		{ NULL, true, false, NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(*rows); i++) {
		const struct client_row *row = &rows[i / 2];
		struct tls_setup setup = { .client = true, .insecure = row->insecure };
		SSL_CTX *server = tls_fix_server(tls_fix_versions[i % 2]);
		struct layer_info info = {};
		struct tls_ctx *ctx;
		struct pair p = {};

		setup.ca = span_str(row->trusted ? tls_fix.server->pem : tls_fix.ca->pem);
		ctx = tls_fix_context(&setup);
		assert_int_equal(side_open(&p.s, &tls_client_layer, ctx, row->name), 0);
		assert_true(p.s.down.n > 0);
		end_init(&p.e, server, false);
		assert_int_equal(pump(&p.s, &p.e, 1 + i * 50), row->why == NULL);
		if (row->why) {
			assert_string_equal(pair_why(&p), row->why);
			assert_int_equal(p.s.err, row->err);
			assert_int_equal(p.e.alert >> 8, SSL3_AL_FATAL);
		} else {
			assert_true(p.s.is_up);
			assert_int_equal(side_write(&p.s, "ask", 3), 0);
			assert_true(pump(&p.s, &p.e, 5));
			assert_bytes(p.e.got, "ask");
			assert_int_equal(SSL_write(p.e.ssl, "answer", 6), 6);
			assert_true(pump(&p.s, &p.e, 5));
			assert_bytes(p.s.up, "answer");
			assert_int_equal(side_finish(&p.s), 0);
			SSL_shutdown(p.e.ssl);
			assert_true(pump(&p.s, &p.e, 5));
			assert_true(p.e.ended);
			assert_true(p.s.clean_eof);
			tls_client_layer.info(p.s.self, &info);
			assert_string_equal(info.version, i % 2 ? "TLSv1.3" : "TLSv1.2");
			assert_null(info.certificate);
		}
		pair_done(&p);
		SSL_CTX_free(server);
		tls_ctx_unref(ctx);
	}
}

static void client_without_name(void **state)
{
	struct tls_ctx *ctx =
		tls_fix_context(&(struct tls_setup){ .client = true, .ca = span_str(tls_fix.server->pem) });
	struct side s = {};

	(void)state;
	assert_int_equal(side_open(&s, &tls_client_layer, ctx, NULL), -EINVAL);
	assert_string_equal(s.layer->why(s.self), "tls: no server name to check");
	side_done(&s);
	tls_ctx_unref(ctx);
}

static int choose_strange(SSL *ssl, const uint8_t **ret, uint8_t *ret_n, const uint8_t *in, unsigned n, void *arg)
{
	(void)ssl, (void)in, (void)n, (void)arg;
	*ret = (const uint8_t *)"h9";
	*ret_n = 2;
	return SSL_TLSEXT_ERR_OK;
}

static int choose_first(SSL *ssl, const uint8_t **ret, uint8_t *ret_n, const uint8_t *in, unsigned n, void *arg)
{
	(void)ssl, (void)n, (void)arg;
	*ret = in + 1;
	*ret_n = in[0];
	return SSL_TLSEXT_ERR_OK;
}

static void client_alpn(void **state)
{
	static const char *const alpn[] = { "mqtt", "h2", NULL };
	struct tls_ctx *ctx = tls_fix_context(&(struct tls_setup){ .client = true, .insecure = true, .alpn = alpn });

	(void)state;
	for (int i = 0; i < 2; i++) {
		SSL_CTX *server = tls_fix_server(TLS1_3_VERSION);
		struct layer_info info = {};
		struct pair p = {};

		SSL_CTX_set_alpn_select_cb(server, i ? choose_strange : choose_first, NULL);
		assert_int_equal(side_open(&p.s, &tls_client_layer, ctx, "server.test"), 0);
		end_init(&p.e, server, false);
		assert_int_equal(pump(&p.s, &p.e, 65536), i == 0);
		tls_client_layer.info(p.s.self, &info);
		if (i == 0)
			assert_string_equal(info.alpn, "mqtt");
		else
			assert_true(strncmp(pair_why(&p), "tls: ", 5) == 0);
		pair_done(&p);
		SSL_CTX_free(server);
	}
	tls_ctx_unref(ctx);
}

static void client_certificate(void **state)
{
	struct tls_ctx *client = tls_fix_context(&(struct tls_setup){
		.client = true, .ca = span_str(tls_fix.server->pem), .id = cert_identity(tls_fix.client) });
	struct tls_ctx *server =
		tls_fix_context(&(struct tls_setup){ .ask = TLS_ASK_REQUIRED, .ca = span_str(tls_fix.ca->pem) });
	struct side c = {}, s = {};
	struct layer_info info = {};

	(void)state;
	/* our client and our server: no OpenSSL between them */
	assert_int_equal(side_open(&c, &tls_client_layer, client, "server.test"), 0);
	assert_int_equal(side_open(&s, &tls_server_layer, server, NULL), 0);
	for (int i = 0; i < 10; i++) {
		side_feed(&s, c.down.p, c.down.n);
		c.down.n = 0;
		side_feed(&c, s.down.p, s.down.n);
		s.down.n = 0;
	}
	assert_true(c.is_up && s.is_up);
	tls_server_layer.info(s.self, &info);
	assert_non_null(info.certificate);
	assert_string_equal(info.server_name, "server.test");
	side_done(&c);
	side_done(&s);
	tls_ctx_unref(client);
	tls_ctx_unref(server);
}

/* A server that wants one says so with an alert that means many things; the reason has it in plain words. */
static void no_client_certificate(void **state)
{
	struct tls_ctx *client =
		tls_fix_context(&(struct tls_setup){ .client = true, .ca = span_str(tls_fix.server->pem) });

	(void)state;
	for (int i = 0; i < 2; i++) {
		SSL_CTX *server = tls_fix_server(i ? TLS1_3_VERSION : TLS1_2_VERSION);
		struct pair p = {};

		SSL_CTX_set_verify(server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		assert_int_equal(side_open(&p.s, &tls_client_layer, client, "server.test"), 0);
		end_init(&p.e, server, false);
		pump(&p.s, &p.e, 65536);
		assert_string_equal(tls_client_layer.why(p.s.self), "tls: peer wants a client certificate");
		assert_int_equal(p.s.err, TLS_WANTS_ONE);
		pair_done(&p);
		SSL_CTX_free(server);
	}
	tls_ctx_unref(client);
}

/* An arg that no layer was opened with, and none. */
static void dropped_arg(void **state)
{
	(void)state;
	tls_server_layer.drop_arg(tls_arg_new(tls_fix.plain, "name"));
	tls_server_layer.drop_arg(NULL);
	for (int i = 0; i < 2; i++) {
		const struct layer *layer = i ? &tls_client_layer : &tls_server_layer;
		void *self = calloc(1, layer->self_size);

		assert_int_equal(layer->open(self, NULL, &(struct layer_io){}), -ENOMEM);
		layer->fini(self);
		free(self);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(client_layer),          cmocka_unit_test(client_without_name),
		cmocka_unit_test(client_alpn),           cmocka_unit_test(client_certificate),
		cmocka_unit_test(no_client_certificate), cmocka_unit_test(dropped_arg),
	};

	if (tls_use_mem() < 0)
		return 1;
	return cmocka_run_group_tests(tests, tls_fix_set_up, tls_fix_tear_down);
}
