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
	unsigned rsa_bits;       /* 0: ECDSA P-256 */
	long from_days, to_days; /* from now; 0, 0 is -1 to 30 */
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
	size_t queued; /* what the layer is told of; the test sets it, and `now` */
	nsec now;
	int err; /* the first error of any call */
	/* faults: the nth allocation from the start inside the layer's calls fails; 0 = none */
	unsigned long fail_at, allocations;
};
int side_open(struct side *s, const struct layer *layer, struct tls_ctx *ctx, const char *server_name); /* sets it up */
int side_start(struct side *s, const struct layer *layer, void *arg); /* any layer; begins it as if all below were up */
int side_tick(struct side *s);
ssize_t side_feed(struct side *s, const void *p, size_t n); /* adds to raw and decodes as the core does; last result */
int side_write(struct side *s, const void *p, size_t n);
int side_write_pieces(struct side *s, const struct span *v, size_t n);
int side_finish(struct side *s);
void side_done(struct side *s);

/* ---- OpenSSL at the other end ---- */

struct peer_end {
	SSL *ssl;
	BIO *in, *out;
	struct bytes got;    /* plain bytes read */
	bool ended;          /* its peer's close_notify came */
	unsigned long error; /* the first of OpenSSL's queue */
	int alert;           /* the last that was received: level << 8 | description; -1 = none */
};
void end_init(struct peer_end *e, SSL_CTX *ctx, bool client);
void end_done(struct peer_end *e);
void end_read(struct peer_end *e);                        /* handshake, then all that is there */
size_t end_take(struct peer_end *e, void *p, size_t max); /* wire bytes it wants to send */

/* Carries bytes both ways, `chunk` at a time to the layer, until nothing moves. False: the layer failed. */
bool pump(struct side *s, struct peer_end *e, size_t chunk);

/* ---- most of what a test wants at once; all of it aborts when it fails ---- */

struct tls_ctx *tls_fix_context(const struct tls_setup *setup); /* the fixed server certificate if it names none */
SSL_CTX *tls_fix_client(int version);                           /* OpenSSL's, for that version only */
SSL_CTX *tls_fix_server(int version);

extern const int tls_fix_versions[2]; /* 1.2, 1.3 */
struct tls_fix {
	struct cert *server;       /* server.test, 127.0.0.1 */
	struct cert *exact, *wild; /* a.example.org, *.example.org */
	struct cert *ca, *client;  /* an authority and a client with a difficult name that it signed */
	struct cert *stranger;     /* signed by itself */
	struct tls_ctx *plain;     /* a server with nothing special */
	SSL_CTX *client_ssl[2];    /* for each version */
};
extern struct tls_fix tls_fix;
int tls_fix_set_up(void **state); /* for cmocka */
int tls_fix_tear_down(void **state);

/* A server layer and OpenSSL's client. */
struct pair {
	struct side s;
	struct peer_end e;
};
void pair_open(struct pair *p, struct tls_ctx *ctx, SSL_CTX *client); /* not yet talking */
void pair_up(struct pair *p, struct tls_ctx *ctx, SSL_CTX *client);   /* the handshake is over */
void pair_done(struct pair *p);
void pair_say(struct pair *p, const char *text); /* the client writes; pump() carries it */
const char *pair_why(const struct pair *p);      /* "" when nothing failed */
