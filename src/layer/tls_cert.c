/*
 * tls_cert.c - the certificate that `certificate = auto` means: self-signed, so that TLS works on the first run.
 * It is nobody's authority (CA:FALSE); a client trusts it by being given it.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "layer/tls_priv.h"

enum {
	YEARS = 10,
	DAY = 86400,
	DNS_NAME_MAX = 253,
	SERIAL_BITS = 127,
};

/* What a host name may have in it; OpenSSL would take anything. */
static bool is_dns_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._*";
	size_t n = strlen(name);

	return n > 0 && n <= DNS_NAME_MAX && strspn(name, allowed) == n && name[0] != '.' && !strstr(name, "..");
}

static bool is_ip(const char *name)
{
	ASN1_OCTET_STRING *ip = a2i_IPADDRESS(name);

	ASN1_OCTET_STRING_free(ip);
	return ip != NULL;
}

static int add_name(GENERAL_NAMES *names, const char *name)
{
	ASN1_IA5STRING *dns = NULL;
	ASN1_OCTET_STRING *ip;
	GENERAL_NAME *g;

	ERR_clear_error();
	ip = a2i_IPADDRESS(name);
	g = GENERAL_NAME_new();
	if (!g || (!ip && ERR_peek_error())) /* no memory, which must not turn an address into a name */
		goto fail;
	if (ip) {
		GENERAL_NAME_set0_value(g, GEN_IPADD, ip);
	} else {
		dns = ASN1_IA5STRING_new();
		if (!dns || !ASN1_STRING_set(dns, name, -1))
			goto fail;
		GENERAL_NAME_set0_value(g, GEN_DNS, dns);
	}
	if (sk_GENERAL_NAME_push(names, g) > 0)
		return 0;
	GENERAL_NAME_free(g); /* with what is in it */
	return -EIO;
fail:
	ASN1_OCTET_STRING_free(ip);
	ASN1_IA5STRING_free(dns);
	GENERAL_NAME_free(g);
	return -EIO;
}

static int add_names(X509 *x, const char *const *names)
{
	static const char *const always[] = { "localhost", "127.0.0.1", "::1", NULL };
	GENERAL_NAMES *all = sk_GENERAL_NAME_new_null();
	int r = all ? 0 : -EIO;

	for (const char *const *n = always; r == 0 && *n; n++)
		r = add_name(all, *n);
	for (const char *const *n = names; r == 0 && n && *n; n++)
		r = add_name(all, *n);
	if (r == 0 && X509_add1_ext_i2d(x, NID_subject_alt_name, all, 0, X509V3_ADD_APPEND) != 1)
		r = -EIO;
	sk_GENERAL_NAME_pop_free(all, GENERAL_NAME_free);
	return r;
}

static int add_extension(X509 *x, int nid, const char *value)
{
	X509V3_CTX c;
	X509_EXTENSION *e;
	int r;

	X509V3_set_ctx(&c, x, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &c, nid, value);
	r = e && X509_add_ext(x, e, -1) == 1 ? 0 : -EIO;
	X509_EXTENSION_free(e);
	return r;
}

static int set_serial(X509 *x)
{
	BIGNUM *n = BN_new();
	bool ok = n && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
		  BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));

	BN_free(n);
	return ok ? 0 : -EIO;
}

static int fill(X509 *x, EVP_PKEY *key, const char *const *names, int64_t now)
{
	const char *cn = names && names[0] ? names[0] : "localhost";
	X509_NAME *subject = X509_get_subject_name(x);
	int r;

	if (strlen(cn) > 64) /* the most a CN may have; nobody reads it where there are alternative names */
		cn = "localhost";
	r = set_serial(x);
	if (r == 0 &&
	    (!X509_set_version(x, X509_VERSION_3) || !ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(now - DAY)) ||
	     !ASN1_TIME_adj(X509_getm_notAfter(x), (time_t)(now - DAY), YEARS * 365 + YEARS / 4, 0) ||
	     !X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const uint8_t *)"Guichet", -1, -1, 0) ||
	     !X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1, 0) ||
	     !X509_set_issuer_name(x, subject) || !X509_set_pubkey(x, key)))
		r = -EIO;
	if (r == 0)
		r = add_names(x, names);
	if (r == 0)
		r = add_extension(x, NID_basic_constraints, "critical,CA:FALSE");
	if (r == 0)
		r = add_extension(x, NID_key_usage, "critical,digitalSignature");
	if (r == 0)
		r = add_extension(x, NID_ext_key_usage, "serverAuth");
	if (r == 0)
		r = add_extension(x, NID_subject_key_identifier, "hash");
	if (r == 0 && X509_sign(x, key, EVP_sha256()) <= 0)
		r = -EIO;
	return r;
}

/* Both or none. */
static int to_pem(X509 *x, EVP_PKEY *key, struct buf *ret_cert_pem, struct buf *ret_key_pem)
{
	BIO *cert = BIO_new(BIO_s_mem()), *priv = BIO_new(BIO_s_secmem());
	size_t cert_had = ret_cert_pem->n, key_had = ret_key_pem->n;
	int r = -EIO;

	if (cert && priv && PEM_write_bio_X509(cert, x) == 1 &&
	    PEM_write_bio_PrivateKey(priv, key, NULL, NULL, 0, NULL, NULL) == 1) {
		char *c, *k;
		long c_n = BIO_get_mem_data(cert, &c), k_n = BIO_get_mem_data(priv, &k);

		buf_add(ret_cert_pem, c, (size_t)c_n);
		buf_add(ret_key_pem, k, (size_t)k_n);
		r = ret_cert_pem->err ? ret_cert_pem->err : ret_key_pem->err;
		if (r < 0) {
			buf_cut(ret_cert_pem, cert_had);
			buf_cut(ret_key_pem, key_had);
		}
	}
	BIO_free(cert);
	BIO_free(priv);
	return r;
}

int tls_auto_certificate(const char *const *names, struct buf *ret_cert_pem, struct buf *ret_key_pem, int64_t now)
{
	EVP_PKEY *key;
	X509 *x;
	int r = -EIO;

	for (const char *const *n = names; n && *n; n++)
		if (!is_dns_name(*n) && !is_ip(*n))
			return -EINVAL;
	ERR_clear_error();
	key = EVP_EC_gen("P-256");
	x = X509_new();
	if (key && x)
		r = fill(x, key, names, now);
	if (r == 0)
		r = to_pem(x, key, ret_cert_pem, ret_key_pem);
	X509_free(x);
	EVP_PKEY_free(key);
	if (tls_err_memory() && r == -EIO)
		r = -ENOMEM;
	return r;
}
