/* tls_peer.c - see tls_peer.h. */
#include "support/tls_peer.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"

#define MUST(x) ((x) ? (void)0 : must(#x, __LINE__))

static void must(const char *what, int line)
{
	fprintf(stderr, "tls_peer.c:%d: %s failed\n", line, what);
	ERR_print_errors_fp(stderr);
	abort();
}

/* ---- certificates ---- */

static void extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX c;
	X509_EXTENSION *e;

	X509V3_set_ctx(&c, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &c, nid, value);
	MUST(e && X509_add_ext(x, e, -1));
	X509_EXTENSION_free(e);
}

static char *text_of(BIO *bio)
{
	char *p, *copy;
	long n = BIO_get_mem_data(bio, &p);

	copy = malloc((size_t)n + 1);
	MUST(copy);
	memcpy(copy, p, (size_t)n);
	copy[n] = '\0';
	BIO_free(bio);
	return copy;
}

struct cert *cert_new(const struct cert_ask *ask)
{
	static long serial;
	struct cert *c = calloc(1, sizeof(*c));
	long to = ask->to_days || ask->from_days ? ask->to_days : 30;
	long from = ask->from_days ? ask->from_days : -1;
	BIO *pem = BIO_new(BIO_s_mem()), *key_pem = BIO_new(BIO_s_mem());

	MUST(c && pem && key_pem);
	c->x = X509_new();
	c->key = ask->rsa_bits ? EVP_RSA_gen(ask->rsa_bits) : EVP_EC_gen("P-256");
	MUST(c->x && c->key);
	X509_set_version(c->x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(c->x), ++serial);
	MUST(X509_time_adj_ex(X509_getm_notBefore(c->x), (int)from, 0, NULL));
	MUST(X509_time_adj_ex(X509_getm_notAfter(c->x), (int)to, 0, NULL));
	MUST(X509_NAME_add_entry_by_txt(X509_get_subject_name(c->x), "CN", MBSTRING_UTF8, (const uint8_t *)ask->subject,
					-1, -1, 0));
	X509_set_issuer_name(c->x, X509_get_subject_name(ask->issuer ? ask->issuer->x : c->x));
	X509_set_pubkey(c->x, c->key);
	extension(c->x, c->x, NID_basic_constraints, ask->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	if (ask->names)
		extension(c->x, c->x, NID_subject_alt_name, ask->names);
	MUST(X509_sign(c->x, ask->issuer ? ask->issuer->key : c->key, EVP_sha256()) > 0);
	MUST(PEM_write_bio_X509(pem, c->x));
	MUST(PEM_write_bio_PrivateKey(key_pem, c->key, NULL, NULL, 0, NULL, NULL));
	c->pem = text_of(pem);
	c->key_pem = text_of(key_pem);
	return c;
}

void cert_free(struct cert *c)
{
	X509_free(c->x);
	EVP_PKEY_free(c->key);
	free(c->pem);
	free(c->key_pem);
	free(c);
}

struct tls_identity cert_identity(const struct cert *c)
{
	return (struct tls_identity){ .certificate = span_str(c->pem), .key = span_str(c->key_pem) };
}

/* ---- bytes ---- */

int bytes_add(struct bytes *b, const void *p, size_t n)
{
	if (b->cap - b->n < n) {
		size_t cap = b->n + n + b->cap / 2;
		uint8_t *q = mem_realloc(b->p, cap);

		if (!q)
			return -ENOMEM;
		b->p = q;
		b->cap = cap;
	}
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	return 0;
}

void bytes_drop(struct bytes *b, size_t n)
{
	b->n -= n;
	if (b->n)
		memmove(b->p, b->p + n, b->n);
}

void bytes_done(struct bytes *b)
{
	mem_free(b->p);
	*b = (struct bytes){};
}

/* ---- the layer under test ---- */

struct side_io {
	struct layer_io io; /* first */
	struct side *side;
};

/* Weak: a test that links the core has the core's, which know its queues. */
__attribute__((weak)) int layer_up(struct layer_io *lio, const void *p, size_t n)
{
	return bytes_add(&((struct side_io *)lio)->side->up, p, n);
}

__attribute__((weak)) int layer_down(struct layer_io *lio, const void *p, size_t n)
{
	return bytes_add(&((struct side_io *)lio)->side->down, p, n);
}

/* What every call into the layer is wrapped in: faults only inside, and nothing may stay in the error queue. */
static struct side_io enter(struct side *s)
{
#ifdef GUICHET_FAULTS
	bool now = s->fail_at > s->allocations;

	fault_arm(FAULT_MEM, now ? s->fail_at - s->allocations : 0, ENOMEM, false);
#endif
	return (struct side_io){ .io = { .handshakes = &s->handshakes, .queued = s->queued, .now = s->now },
				 .side = s };
}

static void leave(struct side *s, struct side_io *io, ssize_t r)
{
#ifdef GUICHET_FAULTS
	s->allocations += fault_calls(FAULT_MEM);
	fault_arm(FAULT_MEM, 0, 0, false);
#endif
	MUST(ERR_peek_error() == 0);
	s->is_up |= io->io.is_up;
	s->clean_eof |= io->io.clean_eof;
	if (r < 0 && r != -EAGAIN && !s->err)
		s->err = (int)r;
	if (s->layer->info) {
		struct layer_info info = {};

		s->layer->info(s->self, &info);
	}
}

int side_open(struct side *s, const struct layer *layer, struct tls_ctx *ctx, const char *server_name)
{
	unsigned long fail_at = s->fail_at;
	struct tls_arg *arg;
	struct side_io io;
	int r;

	*s = (struct side){ .layer = layer, .handshakes = 1000, .fail_at = fail_at };
	s->self = calloc(1, layer->self_size);
	MUST(s->self);
	io = enter(s);
	arg = tls_arg_new(ctx, server_name);
	r = arg ? layer->open(s->self, arg, &io.io) : -ENOMEM;
	s->opened = arg != NULL;
	leave(s, &io, r);
	return r;
}

int side_start(struct side *s, const struct layer *layer, void *arg)
{
	struct side_io io;
	int r;

	*s = (struct side){ .layer = layer, .handshakes = 1000, .fail_at = s->fail_at, .opened = true };
	s->self = calloc(1, layer->self_size);
	MUST(s->self);
	io = enter(s);
	r = layer->open(s->self, arg, &io.io);
	if (r == 0 && layer->begin)
		r = layer->begin(s->self, &io.io);
	leave(s, &io, r);
	return r;
}

int side_tick(struct side *s)
{
	struct side_io io = enter(s);
	int r = s->layer->tick(s->self, &io.io);

	leave(s, &io, r);
	return r;
}

ssize_t side_feed(struct side *s, const void *p, size_t n)
{
	ssize_t r;

	MUST(bytes_add(&s->raw, p, n) == 0);
	do {
		struct side_io io = enter(s);

		r = s->layer->decode(s->self, (struct span){ s->raw.p, s->raw.n }, &io.io);
		leave(s, &io, r);
		if (r > 0) {
			MUST((size_t)r <= s->raw.n);
			bytes_drop(&s->raw, (size_t)r);
		}
	} while (r > 0 && s->raw.n);
	return r;
}

int side_write_pieces(struct side *s, const struct span *v, size_t n)
{
	struct side_io io = enter(s);
	int r = s->layer->encode(s->self, v, n, &io.io);

	leave(s, &io, r);
	return r;
}

int side_write(struct side *s, const void *p, size_t n)
{
	return side_write_pieces(s, &(struct span){ p, n }, 1);
}

int side_finish(struct side *s)
{
	struct side_io io = enter(s);
	int r = s->layer->finish(s->self, &io.io);

	leave(s, &io, r);
	return r;
}

void side_done(struct side *s)
{
	if (s->opened)
		s->layer->fini(s->self);
	free(s->self);
	bytes_done(&s->raw);
	bytes_done(&s->up);
	bytes_done(&s->down);
	*s = (struct side){};
}

/* ---- OpenSSL at the other end ---- */

static void info(const SSL *ssl, int where, int value)
{
	struct peer_end *e = SSL_get_app_data(ssl);

	if (where == SSL_CB_READ_ALERT)
		e->alert = value;
}

void end_init(struct peer_end *e, SSL_CTX *ctx, bool client)
{
	*e = (struct peer_end){ .alert = -1 };
	e->ssl = SSL_new(ctx);
	e->in = BIO_new(BIO_s_mem());
	e->out = BIO_new(BIO_s_mem());
	MUST(e->ssl && e->in && e->out);
	BIO_set_mem_eof_return(e->in, -1);
	SSL_set_bio(e->ssl, e->in, e->out);
	SSL_set_app_data(e->ssl, e);
	SSL_set_info_callback(e->ssl, info);
	if (client)
		SSL_set_connect_state(e->ssl);
	else
		SSL_set_accept_state(e->ssl);
}

void end_done(struct peer_end *e)
{
	SSL_free(e->ssl);
	bytes_done(&e->got);
	*e = (struct peer_end){};
}

static void note_error(struct peer_end *e, int r)
{
	int kind = SSL_get_error(e->ssl, r);

	if (kind == SSL_ERROR_ZERO_RETURN)
		e->ended = true;
	else if (kind != SSL_ERROR_WANT_READ && !e->error)
		e->error = ERR_peek_error() ? ERR_peek_error() : 1;
	ERR_clear_error();
}

void end_read(struct peer_end *e)
{
	uint8_t p[16384];
	int r;

	if (e->error)
		return;
	ERR_clear_error();
	if (!SSL_is_init_finished(e->ssl)) {
		r = SSL_do_handshake(e->ssl);
		if (r != 1) {
			note_error(e, r);
			return;
		}
	}
	while ((r = SSL_read(e->ssl, p, sizeof(p))) > 0)
		MUST(bytes_add(&e->got, p, (size_t)r) == 0);
	note_error(e, r);
}

size_t end_take(struct peer_end *e, void *p, size_t max)
{
	int r = BIO_read(e->out, p, (int)max);

	return r > 0 ? (size_t)r : 0;
}

bool pump(struct side *s, struct peer_end *e, size_t chunk)
{
	uint8_t p[65536];
	size_t n;

	if (chunk > sizeof(p))
		chunk = sizeof(p);
	for (bool moved = true; moved;) {
		moved = false;
		end_read(e);
		while ((n = end_take(e, p, chunk)) > 0) {
			moved = true;
			if (!s->err)
				side_feed(s, p, n);
		}
		if (s->down.n) {
			moved = true;
			MUST(BIO_write(e->in, s->down.p, (int)s->down.n) == (int)s->down.n);
			s->down.n = 0;
			end_read(e);
		}
	}
	return s->err == 0;
}

/* ---- fixtures ---- */

const int tls_fix_versions[2] = { TLS1_2_VERSION, TLS1_3_VERSION };
struct tls_fix tls_fix;

struct tls_ctx *tls_fix_context(const struct tls_setup *setup)
{
	struct tls_setup s = *setup;
	struct tls_ctx *ctx;
	struct buf why;

	if (!s.client && !s.id.certificate.n)
		s.id = cert_identity(tls_fix.server);
	buf_init(&why, 1000);
	if (tls_ctx_new(&s, &ctx, &why) < 0)
		must(buf_str(&why), __LINE__);
	MUST(why.n == 0);
	buf_done(&why);
	return ctx;
}

SSL_CTX *tls_fix_client(int version)
{
	SSL_CTX *ssl = SSL_CTX_new(TLS_client_method());

	MUST(ssl);
	SSL_CTX_set_min_proto_version(ssl, version);
	SSL_CTX_set_max_proto_version(ssl, version);
	return ssl;
}

SSL_CTX *tls_fix_server(int version)
{
	SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());

	MUST(ssl);
	SSL_CTX_set_min_proto_version(ssl, version);
	SSL_CTX_set_max_proto_version(ssl, version);
	SSL_CTX_use_certificate(ssl, tls_fix.server->x);
	SSL_CTX_use_PrivateKey(ssl, tls_fix.server->key);
	return ssl;
}

int tls_fix_set_up(void **state)
{
	(void)state;
	tls_fix.server = cert_new(&(struct cert_ask){ .subject = "server", .names = "DNS:server.test,IP:127.0.0.1" });
	tls_fix.exact = cert_new(&(struct cert_ask){ .subject = "exact", .names = "DNS:a.example.org" });
	tls_fix.wild = cert_new(&(struct cert_ask){ .subject = "wild", .names = "DNS:*.example.org" });
	tls_fix.ca = cert_new(&(struct cert_ask){ .subject = "authority", .ca = true });
	tls_fix.client = cert_new(&(struct cert_ask){ .subject = "J\xc3\xb6rg, \"x\"", .issuer = tls_fix.ca });
	tls_fix.stranger = cert_new(&(struct cert_ask){ .subject = "stranger" });
	tls_fix.plain = tls_fix_context(&(struct tls_setup){});
	for (int i = 0; i < 2; i++)
		tls_fix.client_ssl[i] = tls_fix_client(tls_fix_versions[i]);
	return 0;
}

int tls_fix_tear_down(void **state)
{
	(void)state;
	cert_free(tls_fix.server);
	cert_free(tls_fix.exact);
	cert_free(tls_fix.wild);
	cert_free(tls_fix.ca);
	cert_free(tls_fix.client);
	cert_free(tls_fix.stranger);
	tls_ctx_unref(tls_fix.plain);
	for (int i = 0; i < 2; i++)
		SSL_CTX_free(tls_fix.client_ssl[i]);
	return 0;
}

void pair_open(struct pair *p, struct tls_ctx *ctx, SSL_CTX *client)
{
	p->s = (struct side){};
	MUST(side_open(&p->s, &tls_server_layer, ctx, NULL) == 0);
	end_init(&p->e, client, true);
}

void pair_up(struct pair *p, struct tls_ctx *ctx, SSL_CTX *client)
{
	pair_open(p, ctx, client);
	MUST(pump(&p->s, &p->e, 65536));
	MUST(p->s.is_up);
	MUST(SSL_is_init_finished(p->e.ssl));
}

void pair_done(struct pair *p)
{
	side_done(&p->s);
	end_done(&p->e);
}

void pair_say(struct pair *p, const char *text)
{
	MUST(SSL_write(p->e.ssl, text, (int)strlen(text)) == (int)strlen(text));
}

const char *pair_why(const struct pair *p)
{
	const char *why = p->s.layer->why(p->s.self);

	return why ? why : "";
}
