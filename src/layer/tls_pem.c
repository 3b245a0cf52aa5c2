/*
 * tls_pem.c - certificates, keys and bundles from PEM text into an SSL_CTX, with a sentence for whoever wrote the
 * configuration. It opens no file: the caller has the bytes.
 */
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "layer/tls_priv.h"

enum { PEM_MAX = 1 << 20 };

/* Before a sentence that comes behind others. */
static void next_sentence(struct buf *why)
{
	if (why->n)
		buf_adds(why, "; ");
}

int tls_refuse(struct buf *why, const char *fmt, ...)
{
	va_list ap;

	buf_reset(why);
	va_start(ap, fmt);
	buf_addv(why, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static const char *from_of(const struct tls_who *who, const char *what)
{
	if (!who->id)
		return NULL;
	return who->id->key.n && strcmp(what, "key") == 0 ? who->id->key_from : who->id->from;
}

/* What a sentence is about: `certificate: `, `certificate of example.org: `, `key: /etc/example.key: `. */
static void add_subject(const struct tls_who *who, const char *what)
{
	const char *from = from_of(who, what);

	buf_adds(who->why, what);
	if (who->name)
		buf_addf(who->why, " of %s", who->name);
	buf_addf(who->why, "%s%s: ", from ? ": " : "", from ? from : "");
}

/* The only sentence. Returns -EINVAL. */
static int refuse(const struct tls_who *who, const char *what, const char *text)
{
	buf_reset(who->why);
	add_subject(who, what);
	buf_adds(who->why, text);
	return -EINVAL;
}

/* What OpenSSL says about the last thing it refused. Empties its queue. -EINVAL or -ENOMEM. */
static int refuse_ssl(const struct tls_who *who, const char *what)
{
	unsigned long e = ERR_peek_error();
	const char *text = ERR_reason_error_string(e);

	if (tls_err_memory())
		return -ENOMEM;
	switch (ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0) {
	case SSL_R_EE_KEY_TOO_SMALL:
	case SSL_R_CA_KEY_TOO_SMALL:
		text = "its key is too small (RSA needs 2048 bits or more)";
		break;
	case SSL_R_CA_MD_TOO_WEAK:
		text = "it is signed with a hash that is not safe any more";
		break;
	case SSL_R_UNKNOWN_CERTIFICATE_TYPE:
		text = "TLS cannot use this kind of key";
		break;
	default:
		break;
	}
	return refuse(who, what, text ? text : "OpenSSL cannot read it");
}

static int open_pem(const struct tls_who *who, const char *what, struct span pem, BIO **ret)
{
	BIO *bio;

	if (pem.n > PEM_MAX)
		return refuse(who, what, "larger than 1 MiB");
	bio = BIO_new_mem_buf(pem.n ? (const void *)pem.p : "", (int)pem.n);
	if (!bio)
		return -ENOMEM;
	*ret = bio;
	return 0;
}

/* 1: *ret is the caller's. 0: no more. Or -EINVAL, -ENOMEM. `n` certificates came before it. */
static int next_certificate(BIO *bio, const struct tls_who *who, const char *what, int n, X509 **ret)
{
	X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	char text[64];

	if (x) {
		*ret = x;
		return 1;
	}
	if (ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_PEM &&
	    ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) {
		ERR_clear_error();
		return n ? 0 : refuse(who, what, "no PEM certificate found");
	}
	if (tls_err_memory())
		return -ENOMEM;
	snprintf(text, sizeof(text), "the PEM certificate number %d is damaged", n + 1);
	return refuse(who, what, text);
}

static void warn_date(const struct tls_who *who, int n, const char *what, const ASN1_TIME *at)
{
	char subject[64] = "certificate";
	struct tm tm;

	if (ASN1_TIME_to_tm(at, &tm) != 1)
		return;
	if (n > 0)
		snprintf(subject, sizeof(subject), "certificate number %d of the chain", n + 1);
	next_sentence(who->why);
	add_subject(who, subject);
	buf_addf(who->why, "%s %04d-%02d-%02d", what, tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
}

/* Things that do not stop anybody but will surprise: dates, and a name that is not in the certificate. */
static void warn_certificate(const struct tls_who *who, X509 *x, int n)
{
	time_t now = (time_t)who->now;

	if (who->now && X509_cmp_time(X509_get0_notAfter(x), &now) < 0)
		warn_date(who, n, "expired on", X509_get0_notAfter(x));
	if (who->now && X509_cmp_time(X509_get0_notBefore(x), &now) > 0)
		warn_date(who, n, "not valid before", X509_get0_notBefore(x));
	if (who->name && n == 0) {
		bool wild = who->name[0] == '*';
		char name[256];

		/* a wildcard is for any label, so any will do to ask */
		snprintf(name, sizeof(name), "%s%s", wild ? "a" : "", who->name + wild);
		if (X509_check_host(x, name, 0, 0, NULL) == 0) {
			next_sentence(who->why);
			add_subject(who, "certificate");
			buf_adds(who->why, "it is for another name");
		}
	}
	ERR_clear_error();
}

static int load_chain(SSL_CTX *ssl, struct span pem, const struct tls_who *who)
{
	BIO *bio = NULL;
	int r = open_pem(who, "certificate", pem, &bio);
	int n = 0;

	while (r == 0) {
		X509 *x = NULL;

		r = next_certificate(bio, who, "certificate", n, &x);
		if (r <= 0)
			break;
		warn_certificate(who, x, n);
		if ((n == 0 ? SSL_CTX_use_certificate(ssl, x) : SSL_CTX_add1_chain_cert(ssl, x)) == 1)
			r = 0;
		else
			r = refuse_ssl(who, "certificate");
		X509_free(x);
		n++;
	}
	BIO_free(bio);
	return r;
}

/* OpenSSL would ask the terminal. */
static int no_password(char *buf, int size, int rwflag, void *asked)
{
	(void)buf, (void)size, (void)rwflag;
	*(bool *)asked = true;
	return -1;
}

static int refuse_pair(const struct tls_who *who)
{
	refuse(who, "key", "does not match the certificate");
	if (who->id->from && who->id->key.n)
		buf_addf(who->why, " %s", who->id->from);
	return -EINVAL;
}

static int load_key(SSL_CTX *ssl, const struct tls_who *who)
{
	const struct tls_identity *id = who->id;
	BIO *bio = NULL;
	bool asked = false;
	int r = open_pem(who, "key", id->key.n ? id->key : id->certificate, &bio);
	EVP_PKEY *key;

	if (r < 0)
		return r;
	ERR_clear_error();
	key = PEM_read_bio_PrivateKey(bio, NULL, no_password, &asked);
	BIO_free(bio);
	if (!key) {
		bool none = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE ||
			    ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_UNSUPPORTED;

		if (tls_err_memory())
			return -ENOMEM;
		if (asked)
			return refuse(who, "key", "it is encrypted; remove the password, nobody is there to type it");
		return refuse(who, "key", none ? "no PEM private key found" : "the PEM private key is damaged");
	}
	if (X509_check_private_key(SSL_CTX_get0_certificate(ssl), key) != 1)
		r = tls_err_memory() ? -ENOMEM : refuse_pair(who);
	else if (SSL_CTX_use_PrivateKey(ssl, key) != 1)
		r = refuse_ssl(who, "key");
	EVP_PKEY_free(key);
	return r;
}

int tls_load_identity(SSL_CTX *ssl, const struct tls_who *who)
{
	int r = load_chain(ssl, who->id->certificate, who);

	return r < 0 ? r : load_key(ssl, who);
}

/* Servers tell clients whose certificates they take. */
static int add_ca_name(STACK_OF(X509_NAME) * names, X509 *x)
{
	X509_NAME *name = X509_NAME_dup(X509_get_subject_name(x));

	if (name && sk_X509_NAME_push(names, name) > 0)
		return 0;
	X509_NAME_free(name);
	return -ENOMEM;
}

int tls_load_ca(SSL_CTX *ssl, struct span pem, bool ask_clients, struct buf *ret_why)
{
	struct tls_who who = { .why = ret_why };
	STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
	BIO *bio = NULL;
	int r = names ? open_pem(&who, "client_ca", pem, &bio) : -ENOMEM;

	for (int n = 0; r == 0; n++) {
		X509 *x = NULL;

		r = next_certificate(bio, &who, ask_clients ? "client_ca" : "ca", n, &x);
		if (r <= 0)
			break;
		r = X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), x) == 1 ? 0 : -ENOMEM;
		if (r == 0 && ask_clients)
			r = add_ca_name(names, x);
		X509_free(x);
	}
	BIO_free(bio);
	ERR_clear_error();
	if (r == 0 && ask_clients)
		SSL_CTX_set_client_CA_list(ssl, names);
	else
		sk_X509_NAME_pop_free(names, X509_NAME_free);
	return r;
}
