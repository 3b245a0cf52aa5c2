/*
 * fuzz_tls.c - a stranger's bytes into a server or a client connection. Nothing is left to chance (support/tls_fuzz.h), so
 * recorded conversations are seeds that get past the handshake. Two of ours with each other are in fuzz_tlspair.c.
 *
 * Input: one byte (bit 0: client; bit 1: client certificates are asked for; the other six: bytes at a time, 0 = all
 * at once), then what the peer sends. To record the seeds again (they depend on the version of OpenSSL):
 *	cc -std=gnu2x -D_GNU_SOURCE -DFUZZ_TLS_SEEDS -Isrc -Itests src/layer/fuzz_tls.c src/layer/tls*.c \
 *		tests/support/tls_peer.c tests/support/tls_fuzz.c src/base/{mem,buf,str,fault}.c -lssl -lcrypto -o seeds && ./seeds tests/corpus/tls
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/tls_fuzz.h"
#include "support/tls_peer.h"

#define MUST(x) ((x) ? (void)0 : abort())

static void open_side(struct side *s, uint8_t mode)
{
	tls_fuzz_restart();
	s->fail_at = 0;
	MUST(side_open(s, mode & TLS_FUZZ_CLIENT ? &tls_client_layer : &tls_server_layer, tls_fuzz_context(mode),
		       "fuzz.test") == 0);
}

#ifndef FUZZ_TLS_SEEDS
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct side s = {};
	size_t chunk;
	bool greeted = false;

	if (n == 0)
		return 0;
	open_side(&s, p[0]);
	chunk = p[0] >> 2 ? p[0] >> 2 : n;
	for (size_t at = 1; at < n && !s.err; at += chunk) {
		ssize_t r = side_feed(&s, p + at, chunk < n - at ? chunk : n - at);

		MUST(r >= 0 || (r == s.err && s.layer->why(s.self)));
		MUST(s.raw.n < TLS_RECORD_MAX || s.err);
		if (s.is_up && !greeted && !s.err) {
			greeted = true;
			MUST(side_write(&s, "hello", 5) == 0);
		}
	}
	MUST(side_finish(&s) == 0);
	side_done(&s);
	return 0;
}
#else
/* A conversation, with what the peer sent written to a file. */
static void record(const char *folder, const char *file, uint8_t mode, int version, const char *groups)
{
	SSL_CTX *ssl = SSL_CTX_new(mode & 1 ? TLS_server_method() : TLS_client_method());
	struct span certificate = tls_fuzz_certificate();
	BIO *bio = BIO_new_mem_buf(certificate.p, (int)certificate.n);
	struct peer_end e;
	struct side s = {};
	struct bytes sent = {};
	char path[500];
	FILE *f;
	X509 *x;

	SSL_CTX_set_min_proto_version(ssl, version);
	SSL_CTX_set_max_proto_version(ssl, version);
	MUST(SSL_CTX_set1_groups_list(ssl, groups));
	x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	SSL_CTX_use_certificate(ssl, x);
	SSL_CTX_use_PrivateKey(ssl, PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL));
	open_side(&s, mode);
	tls_fuzz_stream(1);
	end_init(&e, ssl, !(mode & 1));
	if (!(mode & 1)) {
		SSL_set_tlsext_host_name(e.ssl, "a.fuzz.test");
		SSL_set_alpn_protos(e.ssl, (const uint8_t *)"\2h2\4mqtt", 8);
	}
	bytes_add(&sent, &mode, 1);
	for (int i = 0; i < 12; i++) {
		uint8_t wire[20000];
		size_t n;

		tls_fuzz_stream(1);
		end_read(&e);
		if (i == 6 && SSL_is_init_finished(e.ssl)) {
			SSL_write(e.ssl, "hello", 5);
			if (version == TLS1_3_VERSION)
				SSL_key_update(e.ssl, SSL_KEY_UPDATE_REQUESTED);
			SSL_write(e.ssl, "again", 5);
			SSL_shutdown(e.ssl);
		}
		n = end_take(&e, wire, sizeof(wire));
		bytes_add(&sent, wire, n);
		tls_fuzz_stream(0);
		side_feed(&s, wire, n);
		BIO_write(e.in, s.down.p, (int)s.down.n);
		s.down.n = 0;
	}
	printf("%s: %zu bytes, up %d, plain %zu, end %d, %s\n", file, sent.n, s.is_up, s.up.n, s.clean_eof,
	       s.err ? s.layer->why(s.self) : "ok");
	snprintf(path, sizeof(path), "%s/%s", folder, file);
	f = fopen(path, "wb");
	MUST(f && fwrite(sent.p, 1, sent.n, f) == sent.n && fclose(f) == 0);
	exit(0); /* each in a process of its own: nothing may be left from the last one */
}

int main(int argc, char **argv)
{
	static const struct {
		const char *file;
		uint8_t mode;
		int version;
		const char *groups;
	} rows[] = {
		{ "client-1.2", 0, TLS1_2_VERSION, "X25519:P-256" },
		{ "client-1.3", 0, TLS1_3_VERSION, "X25519" },
		{ "client-1.3-slow", 7 << 2, TLS1_3_VERSION, "P-256" },
		{ "client-1.3-retry", 0, TLS1_3_VERSION, "P-521:P-384" },
		{ "client-1.2-certificate", 2, TLS1_2_VERSION, "X25519:P-256" },
		{ "client-1.3-certificate", 2, TLS1_3_VERSION, "X25519" },
		{ "server-1.2", 1, TLS1_2_VERSION, "X25519:P-256" },
		{ "server-1.3", 1, TLS1_3_VERSION, "X25519" },
	};

	if (argc != 2)
		return 2;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char command[600];

		if (getenv("ROW") && strcmp(getenv("ROW"), rows[i].file) == 0) {
			record(argv[1], rows[i].file, rows[i].mode, rows[i].version, rows[i].groups);
		}
		snprintf(command, sizeof(command), "ROW=%s %s %s", rows[i].file, argv[0], argv[1]);
		if (!getenv("ROW") && system(command) != 0)
			return 1;
	}
	return 0;
}
#endif
