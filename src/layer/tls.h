/*
 * tls.h - TLS 1.2 and 1.3 as a layer, on OpenSSL 3. Bytes to bytes: it knows no socket, no file and no descriptor.
 *
 * Two parts. A *context* is what a configuration says: certificates, who may connect, what may be spoken. It is
 * made once, never changes, is shared by all threads, and lives until its last connection has ended; a reload makes
 * a new one. The *layers* below are one connection each.
 *
 * What OpenSSL does by itself and a sandbox should know: the first context reads OpenSSL's configuration file, once;
 * a client context without `ca` reads the system's roots, some of them not before a server's certificate is checked;
 * random numbers come from getrandom(); time(2) is asked for the age of certificates and tickets.
 *
 * Settings that nobody is asked for: no compression, no renegotiation (a peer that asks is told so with a warning and
 * the connection goes on), TLS 1.2 only with ECDHE and AEAD ciphers, security level 2 (RSA from 2048 bits on, no
 * SHA-1). Session tickets hold the whole session, nothing is kept here for a client that has gone; their keys are
 * made with the context and die with it, so a ticket from before a reload means a full handshake.
 */
#pragma once
#include <errno.h>

#include "base/buf.h"
#include "base/span.h"
#include "core/layer.h"

struct tls_ctx;
struct tls_arg;

/*
 * Sends all of OpenSSL's memory through base/mem.h, so that injected faults reach it. To be called before anything
 * else touches OpenSSL. 0, or -EBUSY when it comes too late; then everything works all the same.
 */
int tls_use_mem(void);

/* ---- a context ---- */

enum tls_min { TLS_MIN_1_2, TLS_MIN_1_3 };
enum tls_ask { TLS_ASK_NONE, TLS_ASK_OPTIONAL, TLS_ASK_REQUIRED };

/* A certificate with the chain that proves it, leaf first, and its key. PEM; at most 1 MiB each. */
struct tls_identity {
	struct span certificate;
	struct span key;             /* empty: it is in `certificate` too */
	const char *from, *key_from; /* where they were read, for sentences; NULL = they do not say */
};

/* The identity shown to a client that asks for this server name. */
struct tls_name {
	const char *name; /* example.org, or *.example.org for every name with one more label; case does not matter */
	struct tls_identity id;
};

/* All of it is borrowed for the call. Zero is a server with the safe choice everywhere, but for its certificate. */
struct tls_setup {
	bool client;
	enum tls_min min;
	struct tls_identity id;       /* a client may have one, a server must */
	const struct tls_name *names; /* server: others for SNI; an exact name wins over a wildcard, then `id` */
	size_t names_n;
	enum tls_ask ask;        /* server: client certificates. A wrong one always ends the handshake */
	struct span ca;          /* PEM: whom to trust. Server: needed with `ask`. Client: empty = the system's roots */
	bool insecure;           /* client: any certificate will do */
	const char *const *alpn; /* protocols, best first, NULL-ended; NULL = none. Server: a client that offers
	                                 others only gets the alert no_application_protocol, one that offers none is served */
	int64_t now;             /* seconds since 1970, to warn of expired certificates; 0 = do not look */
};

/*
 * 0 and *ret with one reference; ret_why then has the warnings: nothing, or sentences separated by "; ".
 * Or -EINVAL and one sentence in ret_why ("certificate: no PEM certificate found"), or -ENOMEM. What ret_why had
 * before is gone.
 */
[[nodiscard]] int tls_ctx_new(const struct tls_setup *setup, struct tls_ctx **ret, struct buf *ret_why);
struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx); /* returns ctx; NULL is fine */
void tls_ctx_unref(struct tls_ctx *ctx);          /* from any thread; NULL is fine */

/* Do both show the same certificates, chains included, as identity i? 0 is `id`, others are `names` in their order. */
bool tls_ctx_same_identity(const struct tls_ctx *a, const struct tls_ctx *b, size_t i);

/* The last moment of identity i: 2027-11-21T10:00:00Z; empty when there is no such one. */
#define TLS_NOT_AFTER 32
void tls_ctx_not_after(const struct tls_ctx *ctx, size_t i, char ret[static TLS_NOT_AFTER]);

/*
 * A self-signed certificate for localhost, 127.0.0.1, ::1 and the names (DNS or IP; NULL-ended, or NULL): ECDSA P-256,
 * ten years from a day before `now` (seconds since 1970). Always another one; the caller keeps it.
 * 0, -EINVAL for a name that is neither, a buffer's own error, -ENOMEM, or -EIO when OpenSSL fails; on failure nothing
 * is added to either buffer.
 */
[[nodiscard]] int tls_auto_certificate(const char *const *names, struct buf *ret_cert_pem, struct buf *ret_key_pem,
				       int64_t now);

/* ---- a connection ---- */

/*
 * The `arg` of the layers: a reference of its own to ctx, and for a client the server's name or IP address, which
 * goes into SNI and must be in the certificate (NULL only with `insecure`). NULL when memory is out.
 * layer->open() takes it (and NULL, as -ENOMEM), layer->drop_arg() frees one that was never opened.
 */
[[nodiscard]] struct tls_arg *tls_arg_new(struct tls_ctx *ctx, const char *server_name);

/*
 * decode() takes whole records only; the rest stays in raw. A record has at most TLS_RECORD_MAX bytes, so raw must be
 * able to grow that far. While the handshake goes on, a call that has a whole record takes one from *lio->handshakes,
 * or is -EAGAIN at 0. clean_eof with close_notify; what follows it is thrown away.
 *
 * encode() before is_up is -ENOTCONN, after finish() -EPIPE. After finish() decode() goes on until the peer's end.
 *
 * Failures: -ENOMEM, or one of enum tls_error with why(): "tls: peer sent plain http", "tls: no shared cipher",
 * "tls: peer sent alert: unknown CA". why() and all of info() live as long as the layer. Of info(), `server_name` is
 * any bytes but NUL that a client sent, `certificate` the subject as RFC 2253 writes it, escaped.
 */
#define TLS_RECORD_MAX (5 + 16384 + 2048)

/* What a client can do something about has a number of its own: ev->err of EV_EOF and EV_GONE. */
enum tls_error {
	TLS_FAILED = -EPROTO,
	TLS_NOT_TRUSTED = -EKEYREJECTED, /* the peer's certificate is not */
	TLS_OTHER_NAME = -EREMCHG,       /* it is trusted, but is for another name */
	TLS_WANTS_ONE = -ENOKEY,         /* the peer wants to see a certificate, and there is none */
};

extern const struct layer tls_server_layer, tls_client_layer;
