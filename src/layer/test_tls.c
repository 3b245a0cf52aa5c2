/*
 * test_tls.c - connections that should work: the server layer against OpenSSL's client, in pieces of every size, with
 * all that can be negotiated. test_tls_client.c has our client, test_tls_bad.c what must fail, test_tls_ctx.c contexts.
 */
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

/* ---- what should work ---- */

static void in_chunks(void **state)
{
	static const size_t chunks[] = { 1, 2, 3, 4, 5, 6, 7, 16, 100, 517, 1000, 65536 };

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(chunks) / sizeof(*chunks); i++) {
		size_t chunk = chunks[i / 2];
		struct layer_info info = {};
		struct pair p;

		pair_open(&p, tls_fix.plain, tls_fix.client_ssl[i % 2]);
		assert_true(pump(&p.s, &p.e, chunk));
		assert_true(p.s.is_up);
		pair_say(&p, "hello");
		pair_say(&p, " server");
		assert_true(pump(&p.s, &p.e, chunk));
		assert_bytes(p.s.up, "hello server");
		assert_int_equal(p.s.raw.n, 0);
		assert_int_equal(side_write(&p.s, "hello client", 12), 0);
		assert_true(pump(&p.s, &p.e, chunk));
		assert_bytes(p.e.got, "hello client");
		tls_server_layer.info(p.s.self, &info);
		assert_string_equal(info.version, i % 2 ? "TLSv1.3" : "TLSv1.2");
		assert_string_equal(info.cipher, i % 2 ? "TLS_AES_128_GCM_SHA256" : "ECDHE-ECDSA-AES128-GCM-SHA256");
		assert_null(info.server_name);
		assert_null(info.alpn);
		assert_null(info.certificate);
		assert_null(tls_server_layer.why(p.s.self));
		pair_done(&p);
	}
}

static void minimum_version(void **state)
{
	struct tls_ctx *ctx = tls_fix_context(&(struct tls_setup){ .min = TLS_MIN_1_3 });
	struct pair p;

	(void)state;
	pair_up(&p, ctx, tls_fix.client_ssl[1]);
	pair_done(&p);
	pair_open(&p, ctx, tls_fix.client_ssl[0]);
	assert_false(pump(&p.s, &p.e, 65536));
	assert_int_equal(p.s.err, -EPROTO);
	assert_string_equal(pair_why(&p), "tls: unsupported version");
	assert_int_equal(p.e.alert, SSL3_AL_FATAL << 8 | SSL_AD_PROTOCOL_VERSION);
	pair_done(&p);
	tls_ctx_unref(ctx);
}

/* All groups that we speak: what is forgotten after the handshake is another object for each. */
static void groups_and_ciphers(void **state)
{
	/* with TLS 1.2 the certificate's P-256 must be among them */
	static const char *const groups[2][4] = { { "X25519:P-256", "P-256", "P-384:P-256", "P-256:X25519" },
						  { "X25519", "P-256", "P-384", "P-384:X25519" } };
	static const char *const ciphers[] = { "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
					       "TLS_CHACHA20_POLY1305_SHA256" };

	(void)state;
	for (int v = 0; v < 2; v++) {
		for (size_t i = 0; i < 4; i++) {
			SSL_CTX *client = tls_fix_client(tls_fix_versions[v]);
			struct layer_info info = {};
			struct pair p;

			SSL_CTX_set1_groups_list(client, groups[v][i]);
			SSL_CTX_set_ciphersuites(client, ciphers[i % 3]);
			pair_up(&p, tls_fix.plain, client);
			pair_say(&p, "x");
			assert_true(pump(&p.s, &p.e, 100));
			assert_bytes(p.s.up, "x");
			tls_server_layer.info(p.s.self, &info);
			if (v == 1)
				assert_string_equal(info.cipher, ciphers[i % 3]);
			pair_done(&p);
			SSL_CTX_free(client);
		}
	}
}

static void server_names(void **state)
{
	static const struct {
		const char *asked, *subject;
	} rows[] = {
		{ NULL, "server" },
		{ "nobody.test", "server" },
		{ "a.example.org", "exact" },
		{ "A.Example.ORG", "exact" },
		{ "a.example.org.", "exact" },
		{ "b.example.org", "wild" },
		{ "a.b.example.org", "server" },
		{ "example.org", "server" },
		{ ".example.org", "server" },
	};
	struct tls_name names[] = {
		{ "*.Example.org", cert_identity(tls_fix.wild) },
		{ "a.example.org", cert_identity(tls_fix.exact) },
	};
	struct tls_ctx *ctx = tls_fix_context(&(struct tls_setup){ .names = names, .names_n = 2 });

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(*rows); i++) {
		const char *asked = rows[i / 2].asked;
		struct layer_info info = {};
		struct pair p;
		char cn[64];

		pair_open(&p, ctx, tls_fix.client_ssl[i % 2]);
		if (asked)
			SSL_set_tlsext_host_name(p.e.ssl, asked);
		assert_true(pump(&p.s, &p.e, 65536));
		X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(p.e.ssl)), NID_commonName, cn,
					  sizeof(cn));
		assert_string_equal(cn, rows[i / 2].subject);
		tls_server_layer.info(p.s.self, &info);
		if (asked)
			assert_string_equal(info.server_name, asked);
		else
			assert_null(info.server_name);
		pair_done(&p);
	}
	tls_ctx_unref(ctx);
}

static void application_protocols(void **state)
{
	static const char *const alpn[] = { "mqtt", "x-long", NULL };
	static const struct {
		const char *offer, *chosen; /* with the length in front; NULL = none */
		bool refused;
	} rows[] = {
		{ NULL, NULL, false },
		{ "\4mqtt", "mqtt", false },
		{ "\6x-long\4mqtt", "mqtt", false },
		{ "\2h2\6x-long", "x-long", false },
		{ "\2h2", NULL, true },
		{ "\3mqt", NULL, true },
	};
	struct tls_ctx *ctx = tls_fix_context(&(struct tls_setup){ .alpn = alpn });

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(*rows); i++) {
		const char *offer = rows[i / 2].offer, *chosen = rows[i / 2].chosen;
		struct layer_info info = {};
		struct pair p;

		pair_open(&p, ctx, tls_fix.client_ssl[i % 2]);
		if (offer)
			SSL_set_alpn_protos(p.e.ssl, (const uint8_t *)offer, (unsigned)strlen(offer));
		assert_int_equal(pump(&p.s, &p.e, 65536), !rows[i / 2].refused);
		if (rows[i / 2].refused) {
			assert_int_equal(p.e.alert, SSL3_AL_FATAL << 8 | 120);
			assert_string_equal(pair_why(&p), "tls: no shared application protocol");
		}
		tls_server_layer.info(p.s.self, &info);
		if (chosen)
			assert_string_equal(info.alpn, chosen);
		else
			assert_null(info.alpn);
		pair_done(&p);
	}
	/* a service without a list does not care */
	struct pair p;

	pair_open(&p, tls_fix.plain, tls_fix.client_ssl[1]);
	SSL_set_alpn_protos(p.e.ssl, (const uint8_t *)"\2h2", 3);
	assert_true(pump(&p.s, &p.e, 65536));
	pair_done(&p);
	tls_ctx_unref(ctx);
}

static void client_certificates(void **state)
{
	enum { NOTHING, GOOD, STRANGER };
	static const char subject[] = "CN=J\\C3\\B6rg\\, \\\"x\\\"";

	(void)state;
	for (int ask = TLS_ASK_NONE; ask <= TLS_ASK_REQUIRED; ask++) {
		struct tls_setup setup = { .ask = (enum tls_ask)ask, .ca = span_str(tls_fix.ca->pem) };
		struct tls_name name = { "a.example.org", cert_identity(tls_fix.exact) };
		struct tls_ctx *ctx;

		setup.names = &name;
		setup.names_n = 1;
		ctx = tls_fix_context(&setup);
		for (int i = 0; i < 12; i++) {
			int what = i / 2 % 3, v = i % 2;
			bool ok = ask == TLS_ASK_NONE || what == GOOD || (what == NOTHING && ask == TLS_ASK_OPTIONAL);
			struct cert *c = what == GOOD ? tls_fix.client : tls_fix.stranger;
			struct layer_info info = {};
			struct pair p;

			pair_open(&p, ctx, tls_fix.client_ssl[v]);
			if (i >= 6) /* another SSL_CTX has to ask the same */
				SSL_set_tlsext_host_name(p.e.ssl, name.name);
			if (what != NOTHING) {
				SSL_use_certificate(p.e.ssl, c->x);
				SSL_use_PrivateKey(p.e.ssl, c->key);
			}
			assert_int_equal(pump(&p.s, &p.e, 65536), ok);
			assert_int_equal(p.s.is_up, ok);
			tls_server_layer.info(p.s.self, &info);
			if (what == GOOD && ask != TLS_ASK_NONE)
				assert_string_equal(info.certificate, subject);
			else
				assert_null(info.certificate);
			if (!ok && what == NOTHING) {
				assert_string_equal(pair_why(&p), "tls: no client certificate");
				assert_int_equal(p.e.alert & 0xff,
						 v ? SSL_AD_CERTIFICATE_REQUIRED : SSL_AD_HANDSHAKE_FAILURE);
			} else if (!ok) {
				assert_string_equal(pair_why(&p),
						    "tls: certificate not accepted: self-signed certificate");
				assert_int_equal(p.e.alert & 0xff, SSL_AD_UNKNOWN_CA);
			}
			pair_done(&p);
		}
		tls_ctx_unref(ctx);
	}
}

static SSL_SESSION *session;

static int keep_session(SSL *ssl, SSL_SESSION *s)
{
	(void)ssl;
	SSL_SESSION_free(session);
	session = s;
	return 1;
}

/* A ticket is good for its context only, and the client is still known by its certificate. */
static void tickets(void **state)
{
	struct tls_setup setup = { .ask = TLS_ASK_OPTIONAL, .ca = span_str(tls_fix.ca->pem) };

	(void)state;
	for (int v = 0; v < 2; v++) {
		struct tls_ctx *ctx = tls_fix_context(&setup), *other = tls_fix_context(&setup);
		SSL_CTX *client = tls_fix_client(tls_fix_versions[v]);
		SSL_SESSION *first = NULL;

		SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(client, keep_session);
		SSL_CTX_use_certificate(client, tls_fix.client->x);
		SSL_CTX_use_PrivateKey(client, tls_fix.client->key);
		for (int i = 0; i < 3; i++) {
			struct layer_info info = {};
			struct pair p;

			pair_open(&p, i == 2 ? other : ctx, client);
			if (i > 0)
				SSL_set_session(p.e.ssl, first);
			assert_true(pump(&p.s, &p.e, 65536));
			assert_int_equal(SSL_session_reused(p.e.ssl), i == 1);
			tls_server_layer.info(p.s.self, &info);
			assert_non_null(info.certificate);
			pair_say(&p, "x");
			assert_true(pump(&p.s, &p.e, 65536));
			assert_bytes(p.s.up, "x");
			SSL_shutdown(p.e.ssl);
			pair_done(&p);
			if (i == 0) {
				assert_non_null(session);
				first = session;
				session = NULL;
			}
		}
		SSL_SESSION_free(first);
		SSL_SESSION_free(session);
		session = NULL;
		SSL_CTX_free(client);
		tls_ctx_unref(ctx);
		tls_ctx_unref(other);
	}
}

static void the_end(void **state)
{
	(void)state;
	for (int v = 0; v < 2; v++) {
		struct pair p;

		/* theirs first, with bytes behind it that mean nothing; ours can still write */
		pair_up(&p, tls_fix.plain, tls_fix.client_ssl[v]);
		pair_say(&p, "bye");
		SSL_shutdown(p.e.ssl);
		assert_true(pump(&p.s, &p.e, 1));
		assert_bytes(p.s.up, "bye");
		assert_true(p.s.clean_eof);
		assert_int_equal(side_feed(&p.s, "garbage", 7), 7);
		assert_int_equal(p.s.raw.n, 0);
		assert_int_equal(side_write(&p.s, "late", 4), 0);
		assert_int_equal(side_finish(&p.s), 0);
		assert_true(pump(&p.s, &p.e, 65536));
		assert_bytes(p.e.got, "late");
		assert_true(p.e.ended);
		pair_done(&p);

		/* ours first: no more out, still in */
		pair_up(&p, tls_fix.plain, tls_fix.client_ssl[v]);
		assert_int_equal(side_finish(&p.s), 0);
		assert_int_equal(side_finish(&p.s), 0);
		assert_int_equal(side_write(&p.s, "x", 1), -EPIPE);
		p.s.err = 0;
		assert_true(pump(&p.s, &p.e, 65536));
		assert_true(p.e.ended);
		pair_say(&p, "still here");
		assert_true(pump(&p.s, &p.e, 65536));
		assert_bytes(p.s.up, "still here");
		assert_false(p.s.clean_eof);
		SSL_shutdown(p.e.ssl);
		assert_true(pump(&p.s, &p.e, 65536));
		assert_true(p.s.clean_eof);
		pair_done(&p);

		/* cut off: nothing says that it was meant */
		pair_up(&p, tls_fix.plain, tls_fix.client_ssl[v]);
		pair_say(&p, "half a record");

		uint8_t wire[1000];
		size_t n = end_take(&p.e, wire, sizeof(wire));

		assert_int_equal(side_feed(&p.s, wire, n - 1), 0);
		assert_int_equal(p.s.raw.n, n - 1);
		assert_int_equal(p.s.up.n, 0);
		assert_false(p.s.clean_eof);
		pair_done(&p);

		/* before the handshake is over there is nothing to end */
		pair_open(&p, tls_fix.plain, tls_fix.client_ssl[v]);
		assert_int_equal(side_finish(&p.s), 0);
		assert_int_equal(p.s.down.n, 0);
		assert_int_equal(side_write(&p.s, "x", 1), -ENOTCONN);
		pair_done(&p);
	}
}

static void key_update(void **state)
{
	struct pair p;

	(void)state;
	pair_up(&p, tls_fix.plain, tls_fix.client_ssl[1]);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(
			SSL_key_update(p.e.ssl, i % 2 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		assert_int_equal(SSL_do_handshake(p.e.ssl), 1);
		pair_say(&p, "up");
		assert_true(pump(&p.s, &p.e, 7));
		assert_bytes(p.s.up, "up");
		assert_int_equal(side_write(&p.s, "down", 4), 0);
		assert_true(pump(&p.s, &p.e, 7));
		assert_bytes(p.e.got, "down");
	}
	pair_done(&p);
}

static void renegotiation(void **state)
{
	uint8_t wire[2000];
	struct pair p;
	size_t n;

	(void)state;
	pair_up(&p, tls_fix.plain, tls_fix.client_ssl[0]);
	assert_int_equal(SSL_renegotiate(p.e.ssl), 1);
	SSL_do_handshake(p.e.ssl);
	ERR_clear_error();
	n = end_take(&p.e, wire, sizeof(wire));
	assert_int_equal(side_feed(&p.s, wire, n), n);
	assert_int_equal(side_write(&p.s, "x", 1), 0);
	pump(&p.s, &p.e, 65536); /* OpenSSL's client gives up at this */
	assert_int_equal(p.e.alert, SSL3_AL_WARNING << 8 | SSL_AD_NO_RENEGOTIATION);
	pair_done(&p);
}

/* ---- much ---- */

static void big_data(void **state)
{
	enum { TOTAL = 3 << 20 };
	uint8_t *all = malloc(TOTAL);

	(void)state;
	for (size_t i = 0; i < TOTAL; i++)
		all[i] = (uint8_t)(i * 2654435761u >> 13);
	for (int v = 0; v < 2; v++) {
		struct pair p;
		size_t out = 0;

		pair_up(&p, tls_fix.plain, tls_fix.client_ssl[v]);
		for (size_t at = 0, n; at < TOTAL; at += n) {
			n = (at * 7919) % 40000 + 1;
			if (n > TOTAL - at)
				n = TOTAL - at;
			assert_int_equal(SSL_write(p.e.ssl, all + at, (int)n), (int)n);
			for (size_t k; out < at && (k = (out * 31) % 16384 + 1) > 0; out += k) {
				if (k > TOTAL - out)
					k = TOTAL - out;
				assert_int_equal(side_write(&p.s, all + out, k), 0);
			}
			assert_true(pump(&p.s, &p.e, n % 20000 + 1));
		}
		assert_int_equal(p.s.up.n, TOTAL);
		assert_memory_equal(p.s.up.p, all, TOTAL);
		assert_memory_equal(p.e.got.p, all, p.e.got.n);
		assert_int_equal(p.e.got.n, out);
		pair_done(&p);
	}
	free(all);
}

static unsigned records_in(const struct bytes *b)
{
	unsigned n = 0;

	for (size_t at = 0; at < b->n; n++)
		at += 5 + (size_t)(b->p[at + 3] << 8 | b->p[at + 4]);
	return n;
}

/* Small pieces share a record; more than a record holds goes into the next. */
static void gathered(void **state)
{
	static uint8_t big[40000];
	struct span v[100];
	struct pair p;

	(void)state;
	pair_up(&p, tls_fix.plain, tls_fix.client_ssl[1]);
	for (size_t i = 0; i < 100; i++)
		v[i] = (struct span){ big + i, i };
	assert_int_equal(side_write_pieces(&p.s, v, 100), 0);
	assert_int_equal(records_in(&p.s.down), 1);
	assert_true(pump(&p.s, &p.e, 65536));
	assert_int_equal(p.e.got.n, 4950);
	assert_int_equal(side_write_pieces(&p.s, v, 0), 0);
	assert_int_equal(side_write(&p.s, NULL, 0), 0);
	assert_int_equal(p.s.down.n, 0);
	v[0] = (struct span){ big, 16383 };
	v[1] = (struct span){ big, 2 };
	assert_int_equal(side_write_pieces(&p.s, v, 2), 0);
	assert_int_equal(records_in(&p.s.down), 2);
	assert_int_equal(side_write(&p.s, big, sizeof(big)), 0);
	assert_int_equal(records_in(&p.s.down), 5);
	assert_true(pump(&p.s, &p.e, 65536));
	assert_int_equal(p.e.got.n, 4950 + 16385 + sizeof(big));
	pair_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_chunks),
		cmocka_unit_test(minimum_version),
		cmocka_unit_test(groups_and_ciphers),
		cmocka_unit_test(server_names),
		cmocka_unit_test(application_protocols),
		cmocka_unit_test(client_certificates),
		cmocka_unit_test(tickets),
		cmocka_unit_test(the_end),
		cmocka_unit_test(key_update),
		cmocka_unit_test(renegotiation),
		cmocka_unit_test(big_data),
		cmocka_unit_test(gathered),
	};

	if (tls_use_mem() < 0)
		return 1;
	return cmocka_run_group_tests(tests, tls_fix_set_up, tls_fix_tear_down);
}
