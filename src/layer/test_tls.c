/*
 * test_tls.c - connections: the server layer against OpenSSL's client and the client layer against OpenSSL's server,
 * in pieces of every size, with hostile bytes, and with each allocation failing. test_tls_ctx.c has the contexts.
 */
#include <malloc.h>
#include <openssl/err.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "support/tls_peer.h"

static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

/* Made once: certificates, a plain server context and clients for both versions. */
static struct {
	struct cert *server, *exact, *wild, *ca, *client, *stranger;
	struct tls_ctx *plain;
	SSL_CTX *client_ssl[2];
} fix;

static struct tls_ctx *context(const struct tls_setup *setup)
{
	struct tls_setup s = *setup;
	struct tls_ctx *ctx;
	struct buf why;

	if (!s.client && !s.id.certificate.n)
		s.id = cert_identity(fix.server);
	buf_init(&why, 1000);
	if (tls_ctx_new(&s, &ctx, &why) < 0)
		fail_msg("%s", buf_str(&why));
	assert_string_equal(buf_str(&why), "");
	buf_done(&why);
	return ctx;
}

static SSL_CTX *client_context(int version)
{
	SSL_CTX *ssl = SSL_CTX_new(TLS_client_method());

	assert_non_null(ssl);
	SSL_CTX_set_min_proto_version(ssl, version);
	SSL_CTX_set_max_proto_version(ssl, version);
	return ssl;
}

static int set_up(void **state)
{
	(void)state;
	fix.server = cert_new(&(struct cert_ask){ .subject = "server", .names = "DNS:server.test,IP:127.0.0.1" });
	fix.exact = cert_new(&(struct cert_ask){ .subject = "exact", .names = "DNS:a.example.org" });
	fix.wild = cert_new(&(struct cert_ask){ .subject = "wild", .names = "DNS:*.example.org" });
	fix.ca = cert_new(&(struct cert_ask){ .subject = "authority", .ca = true });
	fix.client = cert_new(&(struct cert_ask){ .subject = "J\xc3\xb6rg, \"x\"", .issuer = fix.ca });
	fix.stranger = cert_new(&(struct cert_ask){ .subject = "stranger" });
	fix.plain = context(&(struct tls_setup){});
	for (int i = 0; i < 2; i++)
		fix.client_ssl[i] = client_context(versions[i]);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	cert_free(fix.server);
	cert_free(fix.exact);
	cert_free(fix.wild);
	cert_free(fix.ca);
	cert_free(fix.client);
	cert_free(fix.stranger);
	tls_ctx_unref(fix.plain);
	for (int i = 0; i < 2; i++)
		SSL_CTX_free(fix.client_ssl[i]);
	return 0;
}

struct pair {
	struct side s;
	struct peer_end e;
};

/* A server layer and OpenSSL's client, not yet talking. */
static void pair_open(struct pair *p, struct tls_ctx *ctx, SSL_CTX *client)
{
	p->s = (struct side){};
	assert_int_equal(side_open(&p->s, &tls_server_layer, ctx, NULL), 0);
	end_init(&p->e, client, true);
}

static void pair_up(struct pair *p, struct tls_ctx *ctx, SSL_CTX *client)
{
	pair_open(p, ctx, client);
	assert_true(pump(&p->s, &p->e, 65536));
	assert_true(p->s.is_up);
	assert_true(SSL_is_init_finished(p->e.ssl));
}

static void pair_done(struct pair *p)
{
	side_done(&p->s);
	end_done(&p->e);
}

static void client_says(struct pair *p, const char *text)
{
	assert_int_equal(SSL_write(p->e.ssl, text, (int)strlen(text)), (int)strlen(text));
}

#define assert_bytes(b, text) \
	do { \
		assert_int_equal((b).n, strlen(text)); \
		assert_memory_equal((b).p, text, (b).n); \
		(b).n = 0; \
	} while (0)

static const char *why_of(const struct pair *p)
{
	const char *why = p->s.layer->why(p->s.self);

	return why ? why : "";
}

/* ---- what should work ---- */

static void in_chunks(void **state)
{
	static const size_t chunks[] = { 1, 2, 3, 4, 5, 6, 7, 16, 100, 517, 1000, 65536 };

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(chunks) / sizeof(*chunks); i++) {
		size_t chunk = chunks[i / 2];
		struct layer_info info;
		struct pair p;

		pair_open(&p, fix.plain, fix.client_ssl[i % 2]);
		assert_true(pump(&p.s, &p.e, chunk));
		assert_true(p.s.is_up);
		client_says(&p, "hello");
		client_says(&p, " server");
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
	struct tls_ctx *ctx = context(&(struct tls_setup){ .min = TLS_MIN_1_3 });
	struct pair p;

	(void)state;
	pair_up(&p, ctx, fix.client_ssl[1]);
	pair_done(&p);
	pair_open(&p, ctx, fix.client_ssl[0]);
	assert_false(pump(&p.s, &p.e, 65536));
	assert_int_equal(p.s.err, -EPROTO);
	assert_string_equal(why_of(&p), "tls: unsupported version");
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
			SSL_CTX *client = client_context(versions[v]);
			struct layer_info info;
			struct pair p;

			SSL_CTX_set1_groups_list(client, groups[v][i]);
			SSL_CTX_set_ciphersuites(client, ciphers[i % 3]);
			pair_up(&p, fix.plain, client);
			client_says(&p, "x");
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
		{ "*.Example.org", cert_identity(fix.wild) },
		{ "a.example.org", cert_identity(fix.exact) },
	};
	struct tls_ctx *ctx = context(&(struct tls_setup){ .names = names, .names_n = 2 });

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(*rows); i++) {
		const char *asked = rows[i / 2].asked;
		struct layer_info info;
		struct pair p;
		char cn[64];

		pair_open(&p, ctx, fix.client_ssl[i % 2]);
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
	struct tls_ctx *ctx = context(&(struct tls_setup){ .alpn = alpn });

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(*rows); i++) {
		const char *offer = rows[i / 2].offer, *chosen = rows[i / 2].chosen;
		struct layer_info info;
		struct pair p;

		pair_open(&p, ctx, fix.client_ssl[i % 2]);
		if (offer)
			SSL_set_alpn_protos(p.e.ssl, (const uint8_t *)offer, (unsigned)strlen(offer));
		assert_int_equal(pump(&p.s, &p.e, 65536), !rows[i / 2].refused);
		if (rows[i / 2].refused) {
			assert_int_equal(p.e.alert, SSL3_AL_FATAL << 8 | 120);
			assert_string_equal(why_of(&p), "tls: no shared application protocol");
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

	pair_open(&p, fix.plain, fix.client_ssl[1]);
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
		struct tls_setup setup = { .ask = (enum tls_ask)ask, .ca = span_str(fix.ca->pem) };
		struct tls_name name = { "a.example.org", cert_identity(fix.exact) };
		struct tls_ctx *ctx;

		setup.names = &name;
		setup.names_n = 1;
		ctx = context(&setup);
		for (int i = 0; i < 12; i++) {
			int what = i / 2 % 3, v = i % 2;
			bool ok = ask == TLS_ASK_NONE || what == GOOD || (what == NOTHING && ask == TLS_ASK_OPTIONAL);
			struct cert *c = what == GOOD ? fix.client : fix.stranger;
			struct layer_info info;
			struct pair p;

			pair_open(&p, ctx, fix.client_ssl[v]);
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
				assert_string_equal(why_of(&p), "tls: no client certificate");
				assert_int_equal(p.e.alert & 0xff, v ? SSL_AD_CERTIFICATE_REQUIRED : SSL_AD_HANDSHAKE_FAILURE);
			} else if (!ok) {
				assert_string_equal(why_of(&p), "tls: certificate not accepted: self-signed certificate");
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
	struct tls_setup setup = { .ask = TLS_ASK_OPTIONAL, .ca = span_str(fix.ca->pem) };

	(void)state;
	for (int v = 0; v < 2; v++) {
		struct tls_ctx *ctx = context(&setup), *other = context(&setup);
		SSL_CTX *client = client_context(versions[v]);
		SSL_SESSION *first = NULL;

		SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(client, keep_session);
		SSL_CTX_use_certificate(client, fix.client->x);
		SSL_CTX_use_PrivateKey(client, fix.client->key);
		for (int i = 0; i < 3; i++) {
			struct layer_info info;
			struct pair p;

			pair_open(&p, i == 2 ? other : ctx, client);
			if (i > 0)
				SSL_set_session(p.e.ssl, first);
			assert_true(pump(&p.s, &p.e, 65536));
			assert_int_equal(SSL_session_reused(p.e.ssl), i == 1);
			tls_server_layer.info(p.s.self, &info);
			assert_non_null(info.certificate);
			client_says(&p, "x");
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
		pair_up(&p, fix.plain, fix.client_ssl[v]);
		client_says(&p, "bye");
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
		pair_up(&p, fix.plain, fix.client_ssl[v]);
		assert_int_equal(side_finish(&p.s), 0);
		assert_int_equal(side_finish(&p.s), 0);
		assert_int_equal(side_write(&p.s, "x", 1), -EPIPE);
		p.s.err = 0;
		assert_true(pump(&p.s, &p.e, 65536));
		assert_true(p.e.ended);
		client_says(&p, "still here");
		assert_true(pump(&p.s, &p.e, 65536));
		assert_bytes(p.s.up, "still here");
		assert_false(p.s.clean_eof);
		SSL_shutdown(p.e.ssl);
		assert_true(pump(&p.s, &p.e, 65536));
		assert_true(p.s.clean_eof);
		pair_done(&p);

		/* cut off: nothing says that it was meant */
		pair_up(&p, fix.plain, fix.client_ssl[v]);
		client_says(&p, "half a record");

		uint8_t wire[1000];
		size_t n = end_take(&p.e, wire, sizeof(wire));

		assert_int_equal(side_feed(&p.s, wire, n - 1), 0);
		assert_int_equal(p.s.raw.n, n - 1);
		assert_int_equal(p.s.up.n, 0);
		assert_false(p.s.clean_eof);
		pair_done(&p);

		/* before the handshake is over there is nothing to end */
		pair_open(&p, fix.plain, fix.client_ssl[v]);
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
	pair_up(&p, fix.plain, fix.client_ssl[1]);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(SSL_key_update(p.e.ssl, i % 2 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		assert_int_equal(SSL_do_handshake(p.e.ssl), 1);
		client_says(&p, "up");
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
	pair_up(&p, fix.plain, fix.client_ssl[0]);
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

		pair_up(&p, fix.plain, fix.client_ssl[v]);
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
	pair_up(&p, fix.plain, fix.client_ssl[1]);
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

/* ---- what must not work ---- */

/* Feeds text to a fresh server. */
static const char *reason_for(const void *p, size_t n)
{
	static char why[100];
	struct side s = {};

	assert_int_equal(side_open(&s, &tls_server_layer, fix.plain, NULL), 0);
	assert_true(side_feed(&s, p, n) < 0);
	assert_int_equal(s.err, -EPROTO);
	assert_false(s.is_up);
	assert_true(side_feed(&s, "more", 4) == -EPROTO); /* it stays dead */
	snprintf(why, sizeof(why), "%s", s.layer->why(s.self));
	side_done(&s);
	return why;
}

static void garbage(void **state)
{
	static const char hello_1_0[] = "\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x01"
					"rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr\x00\x00\x02\xc0\x09\x01\x00";
	static const char v2[] = "\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

	(void)state;
	assert_string_equal(reason_for("GET / HTTP/1.1\r\n\r\n", 18), "tls: peer sent plain http");
	assert_string_equal(reason_for("POST / HTTP/1.1\r\n", 17), "tls: peer sent plain http");
	assert_string_equal(reason_for("CONNECT a:1 HTTP/1.1\r\n", 22), "tls: peer sent plain http");
	assert_string_equal(reason_for("EHLO mail\r\n", 11), "tls: peer does not speak tls");
	assert_string_equal(reason_for("\0\0\0\0\0\0\0\0", 8), "tls: peer does not speak tls");
	assert_string_equal(reason_for(v2, sizeof(v2) - 1), "tls: peer does not speak tls");
	assert_string_equal(reason_for(hello_1_0, sizeof(hello_1_0) - 1), "tls: unsupported version");
	assert_string_equal(reason_for("\x16\x03\x01\xff\xff", 5), "tls: packet length too long");
	assert_string_equal(reason_for("\x16\x03\x01\x00\x04\x01\x00\x40\x01", 9), "tls: client hello too long");
	/* the same length, one byte a record */
	assert_string_equal(reason_for("\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x01\x00\x16\x03\x01\x00\x01\x40"
				       "\x16\x03\x01\x00\x01\x01", 24), "tls: client hello too long");
	assert_string_equal(reason_for("\x17\x03\x03\x00\x05hello", 10), "tls: unexpected message");
	assert_string_equal(reason_for("\x15\x03\x01\x00\x02\x02\x30", 7), "tls: unexpected message");
}

/* Every byte of a client's first flight changed, and then cut: it fails or waits, and says why. */
static void damaged_hello(void **state)
{
	(void)state;
	for (int v = 0; v < 2; v++) {
		uint8_t hello[1000];
		struct pair p;
		size_t n;

		pair_open(&p, fix.plain, fix.client_ssl[v]);
		SSL_set_tlsext_host_name(p.e.ssl, "server.test");
		end_read(&p.e);
		n = end_take(&p.e, hello, sizeof(hello));
		for (size_t i = 0; i < n; i++) {
			struct side s = {};

			assert_int_equal(side_open(&s, &tls_server_layer, fix.plain, NULL), 0);
			hello[i] ^= 0x55;
			side_feed(&s, hello, n);
			hello[i] ^= 0x55;
			assert_false(s.is_up);
			assert_int_equal(s.err < 0, s.layer->why(s.self) != NULL);
			side_done(&s);
		}
		for (size_t i = 0; i < n; i++) {
			struct side s = {};

			assert_int_equal(side_open(&s, &tls_server_layer, fix.plain, NULL), 0);
			assert_int_equal(side_feed(&s, hello, i), 0);
			side_done(&s);
		}
		pair_done(&p);
	}
}

static void garbage_later(void **state)
{
	static const char *const text[] = { "GET / HTTP/1.1\r\n\r\n", "\x17\x03\x03\x00\x20" "12345678901234567890123456789012",
					    "\x16\x03\x03\x00\x04\x01\xff\xff\xff", "\x17\x03\x03\xff\xff" };
	static const size_t length[] = { 18, 37, 9, 5 };

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		struct pair p;

		pair_up(&p, fix.plain, fix.client_ssl[i % 2]);
		assert_true(side_feed(&p.s, text[i / 2], length[i / 2]) == -EPROTO);
		assert_true(strncmp(why_of(&p), "tls: ", 5) == 0);
		assert_false(p.s.clean_eof);
		assert_int_equal(side_write(&p.s, "x", 1), -EPROTO);
		assert_int_equal(side_finish(&p.s), 0);
		pump(&p.s, &p.e, 65536);
		assert_int_equal(p.e.alert >> 8, SSL3_AL_FATAL);
		pair_done(&p);
	}
}

static void no_budget(void **state)
{
	uint8_t wire[4000];
	struct pair p;
	size_t n;

	(void)state;
	pair_open(&p, fix.plain, fix.client_ssl[1]);
	end_read(&p.e);
	n = end_take(&p.e, wire, sizeof(wire));
	p.s.handshakes = 0;
	assert_int_equal(side_feed(&p.s, wire, n - 1), 0); /* waiting for the rest costs nothing */
	assert_int_equal(side_feed(&p.s, wire + n - 1, 1), -EAGAIN);
	assert_int_equal(side_feed(&p.s, NULL, 0), -EAGAIN);
	assert_int_equal(p.s.raw.n, n);
	assert_int_equal(p.s.down.n, 0);
	p.s.handshakes = 1;
	assert_int_equal(side_feed(&p.s, NULL, 0), n);
	assert_int_equal(p.s.handshakes, 0);
	assert_true(pump(&p.s, &p.e, 65536));
	assert_false(p.s.is_up);
	p.s.handshakes = 1;
	assert_true(side_feed(&p.s, NULL, 0) > 0);
	assert_true(p.s.is_up);
	assert_int_equal(p.s.handshakes, 0);
	client_says(&p, "free");
	assert_true(pump(&p.s, &p.e, 65536));
	assert_bytes(p.s.up, "free");
	pair_done(&p);
}

/* ---- the client layer ---- */

struct client_row {
	const char *name;
	bool insecure, trusted;
	const char *why; /* NULL: it works */
};

static SSL_CTX *server_context(int version)
{
	SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());

	assert_non_null(ssl);
	SSL_CTX_set_min_proto_version(ssl, version);
	SSL_CTX_set_max_proto_version(ssl, version);
	SSL_CTX_use_certificate(ssl, fix.server->x);
	SSL_CTX_use_PrivateKey(ssl, fix.server->key);
	return ssl;
}

static void client_layer(void **state)
{
	static const struct client_row rows[] = {
		{ "server.test", false, true, NULL },
		{ "127.0.0.1", false, true, NULL },
		{ "other.test", false, true, "tls: certificate not accepted: hostname mismatch" },
		{ "127.0.0.2", false, true, "tls: certificate not accepted: IP address mismatch" },
		{ "server.test", false, false, "tls: certificate not accepted: self-signed certificate" },
		{ "other.test", true, false, NULL },
		{ NULL, true, false, NULL },
	};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(*rows); i++) {
		const struct client_row *row = &rows[i / 2];
		struct tls_setup setup = { .client = true, .insecure = row->insecure };
		SSL_CTX *server = server_context(versions[i % 2]);
		struct layer_info info;
		struct tls_ctx *ctx;
		struct pair p = {};

		setup.ca = span_str(row->trusted ? fix.server->pem : fix.ca->pem);
		ctx = context(&setup);
		assert_int_equal(side_open(&p.s, &tls_client_layer, ctx, row->name), 0);
		assert_true(p.s.down.n > 0);
		end_init(&p.e, server, false);
		assert_int_equal(pump(&p.s, &p.e, 1 + i * 50), row->why == NULL);
		if (row->why) {
			assert_string_equal(why_of(&p), row->why);
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
	struct tls_ctx *ctx = context(&(struct tls_setup){ .client = true, .ca = span_str(fix.server->pem) });
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
	struct tls_ctx *ctx = context(&(struct tls_setup){ .client = true, .insecure = true, .alpn = alpn });

	(void)state;
	for (int i = 0; i < 2; i++) {
		SSL_CTX *server = server_context(TLS1_3_VERSION);
		struct layer_info info;
		struct pair p = {};

		SSL_CTX_set_alpn_select_cb(server, i ? choose_strange : choose_first, NULL);
		assert_int_equal(side_open(&p.s, &tls_client_layer, ctx, "server.test"), 0);
		end_init(&p.e, server, false);
		assert_int_equal(pump(&p.s, &p.e, 65536), i == 0);
		tls_client_layer.info(p.s.self, &info);
		if (i == 0)
			assert_string_equal(info.alpn, "mqtt");
		else
			assert_true(strncmp(why_of(&p), "tls: ", 5) == 0);
		pair_done(&p);
		SSL_CTX_free(server);
	}
	tls_ctx_unref(ctx);
}

static void client_certificate(void **state)
{
	struct tls_ctx *client = context(&(struct tls_setup){
		.client = true, .ca = span_str(fix.server->pem), .id = cert_identity(fix.client) });
	struct tls_ctx *server = context(&(struct tls_setup){ .ask = TLS_ASK_REQUIRED, .ca = span_str(fix.ca->pem) });
	struct side c = {}, s = {};
	struct layer_info info;

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

/* An arg that no layer was opened with. */
static void dropped_arg(void **state)
{
	(void)state;
	tls_server_layer.drop_arg(tls_arg_new(fix.plain, "name"));
	tls_server_layer.drop_arg(NULL);
}

/* ---- memory ---- */

static struct {
	bool on;
	long bytes, blocks;
} counted;

static void count(void *p, long sign)
{
	if (p && counted.on) {
		counted.bytes += sign * (long)malloc_usable_size(p);
		counted.blocks += sign;
	}
}

static void *count_alloc(size_t n, const char *file, int line)
{
	void *p = n ? mem_alloc(n) : NULL;

	(void)file, (void)line;
	count(p, 1);
	return p;
}

static void count_free(void *p, const char *file, int line)
{
	(void)file, (void)line;
	count(p, -1);
	mem_free(p);
}

static void *count_realloc(void *p, size_t n, const char *file, int line)
{
	void *q;

	count(p, -1);
	if (n == 0) {
		mem_free(p);
		return NULL;
	}
	(void)file, (void)line;
	q = mem_realloc(p, n);
	count(q ? q : p, 1);
	return q;
}

/* OpenSSL's share of an idle connection, without the allocator's own overhead (about 16 bytes a block). */
static void idle_memory(void **state)
{
	static const struct {
		int version;
		const char *groups;
		bool certificate;
		long limit;
	} rows[] = {
		{ TLS1_3_VERSION, "X25519", false, 13 << 10 }, { TLS1_3_VERSION, "P-256", false, 13 << 10 },
		{ TLS1_2_VERSION, "X25519:P-256", false, 13 << 10 }, { TLS1_3_VERSION, "X25519", true, 18 << 10 },
	};
	struct tls_ctx *ctx = context(&(struct tls_setup){ .ask = TLS_ASK_OPTIONAL, .ca = span_str(fix.ca->pem) });

	(void)state;
	assert_int_equal(CRYPTO_set_mem_functions(count_alloc, count_realloc, count_free), 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		SSL_CTX *client = client_context(rows[i].version);
		struct pair p;

		SSL_CTX_set1_groups_list(client, rows[i].groups);
		if (rows[i].certificate) {
			SSL_CTX_use_certificate(client, fix.client->x);
			SSL_CTX_use_PrivateKey(client, fix.client->key);
		}
		pair_up(&p, ctx, client);
		client_says(&p, "x");
		assert_true(pump(&p.s, &p.e, 65536));
		assert_int_equal(side_write(&p.s, "x", 1), 0);
		assert_true(pump(&p.s, &p.e, 65536));
		end_done(&p.e);
		/* what its end gives back is what it held */
		counted.bytes = counted.blocks = 0;
		counted.on = true;
		side_done(&p.s);
		counted.on = false;
		print_message("idle: %s, %s%s: %ld bytes in %ld blocks\n", i == 2 ? "TLS 1.2" : "TLS 1.3", rows[i].groups,
			      rows[i].certificate ? ", client certificate" : "", -counted.bytes, -counted.blocks);
		assert_true(-counted.bytes < rows[i].limit);
		SSL_CTX_free(client);
	}
	tls_ctx_unref(ctx);
	assert_int_equal(tls_use_mem(), 0);
}

#ifdef GUICHET_FAULTS
/* A whole conversation with the nth allocation of the layer failing. How many there were. */
static unsigned long converse(struct tls_ctx *ctx, int v, bool certificate, unsigned long fail_at, bool *ret_ok)
{
	struct pair p = {};
	struct layer_info info;
	unsigned long n;

	p.s.fail_at = fail_at;
	end_init(&p.e, fix.client_ssl[v], true);
	SSL_set_tlsext_host_name(p.e.ssl, "a.example.org");
	SSL_set_alpn_protos(p.e.ssl, (const uint8_t *)"\2h2", 3);
	if (certificate) {
		SSL_use_certificate(p.e.ssl, fix.client->x);
		SSL_use_PrivateKey(p.e.ssl, fix.client->key);
	}
	if (side_open(&p.s, &tls_server_layer, ctx, NULL) == 0 && pump(&p.s, &p.e, 65536) && p.s.is_up &&
	    SSL_write(p.e.ssl, "hello", 5) == 5 && pump(&p.s, &p.e, 65536) && side_write(&p.s, "hello", 5) == 0 &&
	    pump(&p.s, &p.e, 65536) && side_finish(&p.s) == 0 && SSL_shutdown(p.e.ssl) >= 0)
		pump(&p.s, &p.e, 65536);
	*ret_ok = p.s.clean_eof && p.e.ended && p.s.up.n == 5 && p.e.got.n == 5;
	if (*ret_ok) { /* then nothing that was agreed on may be missing */
		tls_server_layer.info(p.s.self, &info);
		assert_int_equal(info.certificate != NULL, certificate);
		assert_string_equal(info.alpn, "h2");
		assert_string_equal(info.server_name, "a.example.org");
	} else {
		assert_true(p.s.err == -ENOMEM || p.s.err == -EPROTO || p.e.error);
	}
	n = p.s.allocations;
	pair_done(&p);
	return n;
}

/* With a client certificate there are thousands, most of them inside its verification: there every seventh will do. */
static void no_memory(void **state)
{
	static const char *const alpn[] = { "h2", NULL };
	struct tls_name name = { "a.example.org", cert_identity(fix.exact) };
	struct tls_ctx *ctx = context(&(struct tls_setup){ .names = &name, .names_n = 1, .alpn = alpn,
							   .ask = TLS_ASK_OPTIONAL, .ca = span_str(fix.ca->pem) });

	(void)state;
	for (int i = 0; i < 4; i++) {
		bool ok, certificate = i >= 2;
		unsigned long all = converse(ctx, i % 2, certificate, 0, &ok), survived = 0;

		assert_true(ok);
		for (unsigned long n = 1; n <= all; n += certificate ? 7 : 1) {
			converse(ctx, i % 2, certificate, n, &ok);
			survived += ok;
		}
		print_message("TLS 1.%d: %lu allocations, failed one by one; %lu without consequence\n", i % 2 + 2, all,
			      survived);
	}
	tls_ctx_unref(ctx);
}

static void no_memory_client(void **state)
{
	struct tls_ctx *ctx = context(&(struct tls_setup){ .client = true, .ca = span_str(fix.server->pem) });
	SSL_CTX *server = server_context(TLS1_3_VERSION);
	bool ok = false;

	(void)state;
	for (unsigned long i = 0, all = 1; i <= all; i++) {
		struct pair p = {};

		p.s.fail_at = i;
		end_init(&p.e, server, false);
		ok = side_open(&p.s, &tls_client_layer, ctx, "server.test") == 0 && pump(&p.s, &p.e, 65536) && p.s.is_up;
		if (i == 0)
			all = p.s.allocations;
		assert_true(ok || i > 0);
		pair_done(&p);
	}
	SSL_CTX_free(server);
	tls_ctx_unref(ctx);
}
#endif

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
		cmocka_unit_test(garbage),
		cmocka_unit_test(damaged_hello),
		cmocka_unit_test(garbage_later),
		cmocka_unit_test(no_budget),
		cmocka_unit_test(client_layer),
		cmocka_unit_test(client_without_name),
		cmocka_unit_test(client_alpn),
		cmocka_unit_test(client_certificate),
		cmocka_unit_test(dropped_arg),
		cmocka_unit_test(idle_memory),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(no_memory),
		cmocka_unit_test(no_memory_client),
#endif
	};

	if (tls_use_mem() < 0)
		return 1;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
