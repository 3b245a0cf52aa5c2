/*
 * test_tls_bad.c - hostile bytes, no handshakes left, no memory; and how much memory there is to an idle connection.
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

#define assert_bytes(b, text) \
	do { \
		assert_int_equal((b).n, strlen(text)); \
		assert_memory_equal((b).p, text, (b).n); \
		(b).n = 0; \
	} while (0)

/* ---- hostile ---- */

/* Feeds text to a fresh server. */
static const char *reason_for(const void *p, size_t n)
{
	static char why[100];
	struct side s = {};

	assert_int_equal(side_open(&s, &tls_server_layer, tls_fix.plain, NULL), 0);
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
	static const char v2[] = "\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10"
				 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

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
				       "\x16\x03\x01\x00\x01\x01",
				       24),
			    "tls: client hello too long");
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

		pair_open(&p, tls_fix.plain, tls_fix.client_ssl[v]);
		SSL_set_tlsext_host_name(p.e.ssl, "server.test");
		end_read(&p.e);
		n = end_take(&p.e, hello, sizeof(hello));
		for (size_t i = 0; i < n; i++) {
			struct side s = {};

			assert_int_equal(side_open(&s, &tls_server_layer, tls_fix.plain, NULL), 0);
			hello[i] ^= 0x55;
			side_feed(&s, hello, n);
			hello[i] ^= 0x55;
			assert_false(s.is_up);
			assert_int_equal(s.err < 0, s.layer->why(s.self) != NULL);
			side_done(&s);
		}
		for (size_t i = 0; i < n; i++) {
			struct side s = {};

			assert_int_equal(side_open(&s, &tls_server_layer, tls_fix.plain, NULL), 0);
			assert_int_equal(side_feed(&s, hello, i), 0);
			side_done(&s);
		}
		pair_done(&p);
	}
}

static void garbage_later(void **state)
{
	static const char *const text[] = { "GET / HTTP/1.1\r\n\r\n",
					    "\x17\x03\x03\x00\x20ghijkl78901234567890123456789012",
					    "\x16\x03\x03\x00\x04\x01\xff\xff\xff", "\x17\x03\x03\xff\xff" };
	static const size_t length[] = { 18, 37, 9, 5 };

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		struct pair p;

		pair_up(&p, tls_fix.plain, tls_fix.client_ssl[i % 2]);
		assert_true(side_feed(&p.s, text[i / 2], length[i / 2]) == -EPROTO);
		assert_true(strncmp(pair_why(&p), "tls: ", 5) == 0);
		assert_false(p.s.clean_eof);
		assert_int_equal(side_write(&p.s, "x", 1), -EPROTO);
		assert_int_equal(side_finish(&p.s), 0);
		pump(&p.s, &p.e, 65536);
		assert_int_equal(p.e.alert >> 8, SSL3_AL_FATAL);
		pair_done(&p);
	}
}

/* A client that thinks better of it. */
static void leaves_early(void **state)
{
	uint8_t wire[4000];

	(void)state;
	for (int v = 0; v < 2; v++) {
		struct pair p;

		pair_open(&p, tls_fix.plain, tls_fix.client_ssl[v]);
		end_read(&p.e);
		side_feed(&p.s, wire, end_take(&p.e, wire, sizeof(wire)));
		assert_int_equal(side_feed(&p.s, "\x15\x03\x03\x00\x02\x01\x00", 7), -EPROTO);
		assert_string_equal(pair_why(&p), "tls: peer left in the handshake");
		assert_false(p.s.clean_eof);
		pair_done(&p);
	}
}

static void no_budget(void **state)
{
	uint8_t wire[4000];
	struct pair p;
	size_t n;

	(void)state;
	pair_open(&p, tls_fix.plain, tls_fix.client_ssl[1]);
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
	pair_say(&p, "free");
	assert_true(pump(&p.s, &p.e, 65536));
	assert_bytes(p.s.up, "free");
	pair_done(&p);
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
		{ TLS1_3_VERSION, "X25519", false, 13 << 10 },
		{ TLS1_3_VERSION, "P-256", false, 13 << 10 },
		{ TLS1_2_VERSION, "X25519:P-256", false, 13 << 10 },
		{ TLS1_3_VERSION, "X25519", true, 18 << 10 },
	};
	struct tls_ctx *ctx =
		tls_fix_context(&(struct tls_setup){ .ask = TLS_ASK_OPTIONAL, .ca = span_str(tls_fix.ca->pem) });

	(void)state;
	assert_int_equal(CRYPTO_set_mem_functions(count_alloc, count_realloc, count_free), 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		SSL_CTX *client = tls_fix_client(rows[i].version);
		struct pair p;

		SSL_CTX_set1_groups_list(client, rows[i].groups);
		if (rows[i].certificate) {
			SSL_CTX_use_certificate(client, tls_fix.client->x);
			SSL_CTX_use_PrivateKey(client, tls_fix.client->key);
		}
		pair_up(&p, ctx, client);
		pair_say(&p, "x");
		assert_true(pump(&p.s, &p.e, 65536));
		assert_int_equal(side_write(&p.s, "x", 1), 0);
		assert_true(pump(&p.s, &p.e, 65536));
		end_done(&p.e);
		/* what its end gives back is what it held */
		counted.bytes = counted.blocks = 0;
		counted.on = true;
		side_done(&p.s);
		counted.on = false;
		print_message("idle: %s, %s%s: %ld bytes in %ld blocks\n", i == 2 ? "TLS 1.2" : "TLS 1.3",
			      rows[i].groups, rows[i].certificate ? ", client certificate" : "", -counted.bytes,
			      -counted.blocks);
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
	struct layer_info info = {};
	unsigned long n;

	p.s.fail_at = fail_at;
	end_init(&p.e, tls_fix.client_ssl[v], true);
	SSL_set_tlsext_host_name(p.e.ssl, "a.example.org");
	SSL_set_alpn_protos(p.e.ssl, (const uint8_t *)"\2h2", 3);
	if (certificate) {
		SSL_use_certificate(p.e.ssl, tls_fix.client->x);
		SSL_use_PrivateKey(p.e.ssl, tls_fix.client->key);
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
	struct tls_name name = { "a.example.org", cert_identity(tls_fix.exact) };
	struct tls_ctx *ctx = tls_fix_context(&(struct tls_setup){
		.names = &name, .names_n = 1, .alpn = alpn, .ask = TLS_ASK_OPTIONAL, .ca = span_str(tls_fix.ca->pem) });

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
	struct tls_ctx *ctx =
		tls_fix_context(&(struct tls_setup){ .client = true, .ca = span_str(tls_fix.server->pem) });
	SSL_CTX *server = tls_fix_server(TLS1_3_VERSION);
	bool ok = false;

	(void)state;
	for (unsigned long i = 0, all = 1; i <= all; i++) {
		struct pair p = {};

		p.s.fail_at = i;
		end_init(&p.e, server, false);
		ok = side_open(&p.s, &tls_client_layer, ctx, "server.test") == 0 && pump(&p.s, &p.e, 65536) &&
		     p.s.is_up;
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
		cmocka_unit_test(garbage),      cmocka_unit_test(damaged_hello),    cmocka_unit_test(garbage_later),
		cmocka_unit_test(leaves_early), cmocka_unit_test(no_budget),        cmocka_unit_test(idle_memory),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(no_memory),    cmocka_unit_test(no_memory_client),
#endif
	};

	if (tls_use_mem() < 0)
		return 1;
	return cmocka_run_group_tests(tests, tls_fix_set_up, tls_fix_tear_down);
}
