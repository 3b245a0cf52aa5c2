/*
 * tls_priv.h - what the files of TLS share: tls.c is a connection, tls_ctx.c a context, tls_pem.c reads certificates,
 * tls_cert.c makes one, tls_record.c looks at records, tls_why.c puts errors into words.
 */
#pragma once
#include <openssl/ssl.h>
#include <stdatomic.h>

#include "layer/tls.h"

struct tls_ctx {
	_Atomic unsigned refs;
	bool client, insecure;
	SSL_CTX *ssl; /* for the identity of last resort */
	struct tls_entry {
		char *name; /* lower case; "*.x" is kept as ".x" */
		SSL_CTX *ssl;
	} * names;
	size_t names_n;
	BIO_METHOD *bio;
	char *alpn;         /* names, each ended by NUL, the last followed by an empty one; NULL = none */
	uint8_t *alpn_wire; /* the same with a length before each */
	unsigned alpn_n;    /* bytes of alpn_wire */
};

/* tls.c: the BIO that connects an SSL to its struct tls. NULL: memory is out. */
BIO_METHOD *tls_bio_method(void);

/* tls_pem.c: identities and bundles into an SSL_CTX. 0, -EINVAL with a sentence, or -ENOMEM. */
struct tls_who {
	const char *name;              /* server name, or NULL for the first identity: only for sentences */
	const struct tls_identity *id; /* NULL for a bundle */
	int64_t now;                   /* 0 = no warnings about dates */
	struct buf *why;               /* sentences go here */
};
[[nodiscard]] int tls_load_identity(SSL_CTX *ssl, const struct tls_who *who);
[[nodiscard]] int tls_load_ca(SSL_CTX *ssl, struct span pem, bool ask_clients, struct buf *ret_why);

/* The only sentence, and -EINVAL. */
int tls_refuse(struct buf *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* tls_why.c */

/* True when the error queue has an allocation that failed. Empties it. */
bool tls_err_memory(void);

/*
 * For a client without a certificate: OpenSSL calls it when the server asks for one. Remembered in the SSL, because what
 * the server says later is only an alert that could mean anything.
 */
int tls_note_wish(SSL *ssl, X509 **ret_x, EVP_PKEY **ret_key);

/* A reason in words for an error of the queue: a literal, or *ret_text, which is then the caller's to free. */
const char *tls_explain(const SSL *ssl, unsigned long e, enum tls_error *ret_err, char **ret_text);

/* tls_record.c */

/*
 * Bytes of the record at the start of raw, its header included; 0: not all there. What cannot be a record is only as
 * long as a header, and *ret_sane is false: OpenSSL then says what is wrong with it.
 */
size_t tls_record_size(struct span raw, bool *ret_sane);

/*
 * OpenSSL makes room for as much as a ClientHello claims to have, up to 128 KiB, before it has come: too much for
 * four bytes of a stranger. This follows the lengths of handshake messages while they are in the clear. Zeroed at
 * first; to be asked about each record until the handshake is over. False: there is one above 16 KiB.
 */
struct tls_hello {
	uint32_t left;   /* bytes of the message that is passing */
	uint8_t head[4]; /* of the next one */
	uint8_t head_n;
	bool none; /* TLS 1.2 has begun to encrypt. In 1.3 ChangeCipherSpec means nothing, a second hello may follow */
};
bool tls_hello_fits(struct tls_hello *h, struct span record, bool is_1_2);
