/*
 * tls_peer.h - the other end for tests of the TLS layer: certificates made on the spot, an OpenSSL client or server over
 * memory, and the layer under test with its raw input and what it gave. Brings its own layer_up() and layer_down(),
 * so a program that uses it cannot use the core's sessions.
 */
#pragma once
#include <openssl/ssl.h>

#include "layer/tls.h"

/* ---- certificates; they abort when OpenSSL fails ---- */

struct cert {
	X509 *x;
	EVP_PKEY *key;
	char *pem, *key_pem; /* NUL-ended */
};

struct cert_ask {
	const char *subject;       /* CN */
	const char *names;         /* "DNS:a,IP:::1", or NULL */
	const struct cert *issuer; /* NULL: self-signed */
	bool ca;
	unsigned rsa_bits;         /* 0: ECDSA P-256 */
	long from_days, to_days;   /* from now; 0, 0 is -1 to 30 */
};
struct cert *cert_new(const struct cert_ask *ask);
void cert_free(struct cert *c);
struct tls_identity cert_identity(const struct cert *c); /* spans into c */

/* ---- bytes ---- */

struct bytes {
	uint8_t *p;
	size_t n, cap;
};
int bytes_add(struct bytes *b, const void *p, size_t n); /* 0 or -ENOMEM; by mem_realloc() */
void bytes_drop(struct bytes *b, size_t n);
void bytes_done(struct bytes *b);

/* ---- the layer under test ---- */

struct side {
	const struct layer *layer;
	void *self;
	struct bytes raw, up, down;
	int handshakes; /* of each call; side_new() says 1000 */
	bool is_up, clean_eof, opened;
	int err;        /* the first error of any call */
	/* faults: the nth allocation from the start inside the layer's calls fails; 0 = none */
	unsigned long fail_at, allocations;
};
int side_open(struct side *s, const struct layer *layer, struct tls_ctx *ctx, const char *server_name); /* sets it up */
ssize_t side_feed(struct side *s, const void *p, size_t n); /* adds to raw and decodes as the core does; last result */
int side_write(struct side *s, const void *p, size_t n);
int side_write_pieces(struct side *s, const struct span *v, size_t n);
int side_finish(struct side *s);
void side_done(struct side *s);

/* ---- OpenSSL at the other end ---- */

struct peer_end {
	SSL *ssl;
	BIO *in, *out;
	struct bytes got; /* plain bytes read */
	bool ended;       /* its peer's close_notify came */
	unsigned long error; /* the first of OpenSSL's queue */
	int alert;        /* the last that was received: level << 8 | description; -1 = none */
};
void end_init(struct peer_end *e, SSL_CTX *ctx, bool client);
void end_done(struct peer_end *e);
void end_read(struct peer_end *e); /* handshake, then all that is there */
size_t end_take(struct peer_end *e, void *p, size_t max); /* wire bytes it wants to send */

/* Carries bytes both ways, `chunk` at a time to the layer, until nothing moves. False: the layer failed. */
bool pump(struct side *s, struct peer_end *e, size_t chunk);
