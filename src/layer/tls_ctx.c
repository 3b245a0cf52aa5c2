/*
 * tls_ctx.c - what a configuration says about TLS, made once and then only read: one SSL_CTX for each identity, all
 * with the same rules. See tls_pem.c for how certificates get in and tls.c for what happens on a connection.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "layer/tls_priv.h"

/* AES-128 first: no attack comes near it and its state is the smallest. Clients without AES get ChaCha (see below). */
static const char ciphers_1_2[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
				  "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
				  "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char ciphers_1_3[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char groups[] = "X25519:P-256:P-384"; /* X25519 is the quickest and keeps the least */

enum {
	CERT_LIST_MAX = 64 << 10, /* bytes of a peer's certificate chain */
	ALPN_MAX = 16,
	VERIFY_DEPTH = 8,
};

/* ---- memory ---- */

/* OpenSSL wants NULL for nothing, and realloc to be all three. */
static void *use_alloc(size_t n, const char *file, int line)
{
	(void)file, (void)line;
	return n ? mem_alloc(n) : NULL;
}

static void use_free(void *p, const char *file, int line)
{
	(void)file, (void)line;
	mem_free(p);
}

static void *use_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file, (void)line;
	if (n)
		return mem_realloc(p, n);
	mem_free(p);
	return NULL;
}

int tls_use_mem(void)
{
	return CRYPTO_set_mem_functions(use_alloc, use_realloc, use_free) ? 0 : -EBUSY;
}

/* ---- callbacks: a context never changes, so any thread may be in them ---- */

static bool entry_matches(const struct tls_entry *e, const char *name)
{
	const char *dot = strchr(name, '.');

	if (e->name[0] == '.') /* exactly one label in front */
		return dot && dot != name && strcmp(dot, e->name) == 0;
	return strcmp(name, e->name) == 0;
}

/* A copy in lower case, without the dot that ends an absolute name. False: nobody has a name like this. */
static bool fold_name(const char *name, char *ret, size_t size)
{
	size_t n = strlen(name);

	if (n && name[n - 1] == '.')
		n--;
	if (n == 0 || n >= size)
		return false;
	for (size_t i = 0; i < n; i++)
		ret[i] = str_lower(name[i]);
	ret[n] = '\0';
	return true;
}

static int choose_identity(SSL *ssl, int *alert, void *arg)
{
	const struct tls_ctx *ctx = arg;
	const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const struct tls_entry *best = NULL;
	char name[256];

	if (!asked || !fold_name(asked, name, sizeof(name)))
		return SSL_TLSEXT_ERR_OK;
	for (const struct tls_entry *e = ctx->names; e < ctx->names + ctx->names_n; e++)
		if (entry_matches(e, name) && (!best || best->name[0] == '.'))
			best = e;
	if (best && !SSL_set_SSL_CTX(ssl, best->ssl)) {
		*alert = SSL_AD_INTERNAL_ERROR;
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	return SSL_TLSEXT_ERR_OK;
}

static int choose_alpn(SSL *ssl, const uint8_t **ret, uint8_t *ret_n, const uint8_t *in, unsigned in_n, void *arg)
{
	const struct tls_ctx *ctx = arg;
	uint8_t *found;

	(void)ssl;
	if (SSL_select_next_proto(&found, ret_n, ctx->alpn_wire, ctx->alpn_n, in, in_n) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*ret = found;
	return SSL_TLSEXT_ERR_OK;
}

/* ---- making one ---- */

static int copy_alpn(struct tls_ctx *ctx, const char *const *alpn, struct buf *why)
{
	size_t n = 0, count = 0;
	char *text;
	uint8_t *wire;

	for (; alpn && alpn[count]; count++) {
		size_t len = strlen(alpn[count]);

		if (len == 0 || len > 255 || count == ALPN_MAX)
			return tls_refuse(why, "alpn: at most %d names of 1 to 255 bytes", ALPN_MAX);
		n += len + 1;
	}
	if (count == 0)
		return 0;
	ctx->alpn = text = mem_zalloc(n + 1);
	ctx->alpn_wire = wire = mem_alloc(n);
	if (!text || !wire)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(alpn[i]);

		memcpy(text, alpn[i], len);
		text += len + 1;
		*wire = (uint8_t)len;
		memcpy(wire + 1, alpn[i], len);
		wire += len + 1;
	}
	ctx->alpn_n = (unsigned)n;
	return 0;
}

/* The rules that are the same for everybody. Only memory can fail here. */
static bool set_rules(SSL_CTX *ssl, const struct tls_setup *setup)
{
	static const uint8_t id[] = "guichet"; /* tickets are kept apart by their keys; OpenSSL wants a name anyway */

	SSL_CTX_set_security_level(ssl, 2);
	SSL_CTX_set_options(ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_max_cert_list(ssl, CERT_LIST_MAX);
	SSL_CTX_set_verify_depth(ssl, VERIFY_DEPTH);
	if (setup->client) /* nothing here remembers a session */
		SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
	return SSL_CTX_set_min_proto_version(ssl, setup->min == TLS_MIN_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION) &&
	       SSL_CTX_set_max_proto_version(ssl, 0) && SSL_CTX_set_cipher_list(ssl, ciphers_1_2) &&
	       SSL_CTX_set_ciphersuites(ssl, ciphers_1_3) && SSL_CTX_set1_groups_list(ssl, groups) &&
	       SSL_CTX_set_num_tickets(ssl, 1) && SSL_CTX_set_session_id_context(ssl, id, sizeof(id) - 1);
}

static int set_trust(SSL_CTX *ssl, const struct tls_setup *setup, struct buf *why)
{
	int mode = SSL_VERIFY_NONE;
	int r = 0;

	if (setup->client) {
		mode = setup->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER;
		if (mode && !setup->ca.n && SSL_CTX_set_default_verify_paths(ssl) != 1)
			return -ENOMEM;
	} else if (setup->ask != TLS_ASK_NONE) {
		mode = SSL_VERIFY_PEER | (setup->ask == TLS_ASK_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
		if (!setup->ca.n)
			return tls_refuse(why, "client_ca: client certificates cannot be checked without it");
	}
	if (mode && setup->ca.n)
		r = tls_load_ca(ssl, setup->ca, !setup->client, why);
	SSL_CTX_set_verify(ssl, mode, NULL);
	return r;
}

/* One SSL_CTX with an identity; `who.name` is NULL for the first. */
static int make_ssl(struct tls_ctx *ctx, const struct tls_setup *setup, const struct tls_who *who, SSL_CTX **ret)
{
	SSL_CTX *ssl = SSL_CTX_new(setup->client ? TLS_client_method() : TLS_server_method());
	int r = ssl && set_rules(ssl, setup) ? 0 : -ENOMEM;

	if (r == 0 && (who->id->certificate.n || !setup->client))
		r = tls_load_identity(ssl, who);
	else if (r == 0)
		SSL_CTX_set_client_cert_cb(ssl, tls_note_wish);
	if (r == 0 && who->name) /* trust is looked at once and shared */
		SSL_CTX_set1_cert_store(ssl, SSL_CTX_get_cert_store(ctx->ssl));
	else if (r == 0)
		r = set_trust(ssl, setup, who->why);
	if (r == 0 && ctx->alpn_n) {
		if (setup->client && SSL_CTX_set_alpn_protos(ssl, ctx->alpn_wire, ctx->alpn_n) != 0)
			r = -ENOMEM;
		if (!setup->client)
			SSL_CTX_set_alpn_select_cb(ssl, choose_alpn, ctx);
	}
	if (r == 0) {
		*ret = ssl;
		return 0;
	}
	SSL_CTX_free(ssl);
	return r;
}

static int make_entry(struct tls_ctx *ctx, const struct tls_setup *setup, const struct tls_name *name, struct buf *why)
{
	struct tls_who who = { .name = name->name, .id = &name->id, .now = setup->now, .why = why };
	struct tls_entry *e = &ctx->names[ctx->names_n];
	bool wild = strncmp(name->name, "*.", 2) == 0;
	char folded[256];
	int r;

	if (!fold_name(name->name + wild, folded, sizeof(folded)) || strchr(folded, '*') || strcmp(folded, ".") == 0)
		return tls_refuse(why, "sni: \"%s\" is not a name like example.org or *.example.org", name->name);
	e->name = mem_strdup(folded);
	if (!e->name)
		return -ENOMEM;
	ctx->names_n++;
	r = make_ssl(ctx, setup, &who, &e->ssl);
	if (r == 0 && setup->ask != TLS_ASK_NONE) {
		STACK_OF(X509_NAME) *ca = SSL_dup_CA_list(SSL_CTX_get_client_CA_list(ctx->ssl));

		if (!ca)
			return -ENOMEM;
		SSL_CTX_set_client_CA_list(e->ssl, ca);
	}
	return r;
}

static int fill(struct tls_ctx *ctx, const struct tls_setup *setup, struct buf *why)
{
	struct tls_who who = { .id = &setup->id, .now = setup->now, .why = why };
	int r = copy_alpn(ctx, setup->alpn, why);

	ctx->bio = tls_bio_method();
	if (r == 0 && !ctx->bio)
		r = -ENOMEM;
	if (r == 0)
		r = make_ssl(ctx, setup, &who, &ctx->ssl);
	if (r < 0 || setup->names_n == 0)
		return r;
	ctx->names = mem_zalloc(setup->names_n * sizeof(*ctx->names));
	if (!ctx->names)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < setup->names_n; i++)
		r = make_entry(ctx, setup, &setup->names[i], why);
	SSL_CTX_set_tlsext_servername_callback(ctx->ssl, choose_identity);
	SSL_CTX_set_tlsext_servername_arg(ctx->ssl, ctx);
	return r;
}

int tls_ctx_new(const struct tls_setup *setup, struct tls_ctx **ret, struct buf *ret_why)
{
	struct tls_ctx *ctx = mem_zalloc(sizeof(*ctx));
	int r;

	if (!ctx)
		return -ENOMEM;
	ctx->refs = 1;
	ctx->client = setup->client;
	ctx->insecure = setup->insecure;
	ERR_clear_error();
	buf_reset(ret_why);
	r = fill(ctx, setup, ret_why);
	ERR_clear_error();
	if (r == 0)
		*ret = ctx;
	else
		tls_ctx_unref(ctx);
	return r;
}

struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx)
{
	if (ctx)
		atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
	return ctx;
}

void tls_ctx_unref(struct tls_ctx *ctx)
{
	if (!ctx || atomic_fetch_sub_explicit(&ctx->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < ctx->names_n; i++) {
		SSL_CTX_free(ctx->names[i].ssl);
		mem_free(ctx->names[i].name);
	}
	mem_free(ctx->names);
	SSL_CTX_free(ctx->ssl);
	BIO_meth_free(ctx->bio);
	mem_free(ctx->alpn);
	mem_free(ctx->alpn_wire);
	mem_free(ctx);
}

/* ---- looking at one ---- */

static SSL_CTX *identity(const struct tls_ctx *ctx, size_t i)
{
	if (i > ctx->names_n)
		return NULL;
	return i == 0 ? ctx->ssl : ctx->names[i - 1].ssl;
}

static bool same_chain(SSL_CTX *a, SSL_CTX *b)
{
	STACK_OF(X509) *x = NULL, *y = NULL;
	int n;

	SSL_CTX_get0_chain_certs(a, &x);
	SSL_CTX_get0_chain_certs(b, &y);
	n = x ? sk_X509_num(x) : 0;
	if (n != (y ? sk_X509_num(y) : 0))
		return false;
	for (int i = 0; i < n; i++)
		if (X509_cmp(sk_X509_value(x, i), sk_X509_value(y, i)) != 0)
			return false;
	return true;
}

bool tls_ctx_same_identity(const struct tls_ctx *a, const struct tls_ctx *b, size_t i)
{
	SSL_CTX *x = identity(a, i), *y = identity(b, i);

	if (!x || !y)
		return x == y;
	return X509_cmp(SSL_CTX_get0_certificate(x), SSL_CTX_get0_certificate(y)) == 0 && same_chain(x, y);
}

void tls_ctx_not_after(const struct tls_ctx *ctx, size_t i, char ret[static TLS_NOT_AFTER])
{
	const SSL_CTX *ssl = identity(ctx, i);
	const X509 *x = ssl ? SSL_CTX_get0_certificate(ssl) : NULL;
	struct tm tm;

	ret[0] = '\0';
	if (x && ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm) == 1)
		snprintf(ret, TLS_NOT_AFTER, "%04d-%02d-%02dT%02d:%02d:%02dZ", (tm.tm_year + 1900) % 10000,
			 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}
