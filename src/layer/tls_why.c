/* tls_why.c - OpenSSL's error queue in the words of a log line. */
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/mem.h"
#include "layer/tls_priv.h"

enum { NAMES = 512 /* bytes, about */ };

static const struct {
	int reason; /* of ERR_LIB_SSL */
	const char *why;
} reasons[] = {
	{ SSL_R_HTTP_REQUEST, "tls: peer sent plain http" },
	{ SSL_R_HTTPS_PROXY_REQUEST, "tls: peer sent plain http" },
	{ SSL_R_WRONG_VERSION_NUMBER, "tls: peer does not speak tls" },
	{ SSL_R_UNSUPPORTED_PROTOCOL, "tls: unsupported version" },
	{ SSL_R_VERSION_TOO_LOW, "tls: unsupported version" },
	{ SSL_R_NO_PROTOCOLS_AVAILABLE, "tls: unsupported version" },
	{ SSL_R_UNKNOWN_PROTOCOL, "tls: unsupported version" },
	{ SSL_R_UNKNOWN_SSL_VERSION, "tls: unsupported version" },
	{ SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "tls: unsupported version" },
	{ SSL_R_NO_SHARED_CIPHER, "tls: no shared cipher" },
	{ SSL_R_NO_SHARED_GROUPS, "tls: no shared group" },
	{ SSL_R_NO_SUITABLE_GROUPS, "tls: no shared group" },
	{ SSL_R_NO_SUITABLE_KEY_SHARE, "tls: no shared group" },
	{ SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, "tls: no shared signature algorithm" },
	{ SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, "tls: no shared signature algorithm" },
	{ SSL_R_NO_APPLICATION_PROTOCOL, "tls: no shared application protocol" },
	{ SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "tls: no client certificate" },
	{ SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, "tls: record does not decrypt" },
};

bool tls_err_memory(void)
{
	/* The queue can only be read by emptying it; whoever asks has seen what it wanted. */
	bool memory = false;

	for (unsigned long e; (e = ERR_get_error()) != 0;)
		memory |= ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE;
	return memory;
}

/* "tls: " and the two; when memory is out, what the caller can say without any. */
static const char *compose(char **ret_text, const char *before, const char *text, const char *otherwise)
{
	BUF_AUTO struct buf b;

	buf_init(&b, 4 * NAMES);
	buf_addf(&b, "tls: %s%s", before, text);
	return buf_take(&b, ret_text) == 0 ? *ret_text : otherwise;
}

/* Anybody may have written it: nothing in it reaches a terminal that it could do something to. */
static void add_name(int type, struct span s, struct buf *b)
{
	if (type == GEN_IPADD && s.n == 4)
		buf_addf(b, "%u.%u.%u.%u", s.p[0], s.p[1], s.p[2], s.p[3]);
	for (size_t i = 0; type == GEN_IPADD && s.n == 16 && i < s.n; i += 2)
		buf_addf(b, "%s%x", i ? ":" : "", (unsigned)s.p[i] << 8 | s.p[i + 1]);
	for (size_t i = 0; type == GEN_DNS && i < s.n && b->n < NAMES; i++)
		buf_addc(b, s.p[i] > ' ' && s.p[i] <= '~' ? (char)s.p[i] : '?');
}

static void add_names(const GENERAL_NAMES *all, struct buf *b)
{
	for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
		const ASN1_STRING *s = g->type == GEN_DNS || g->type == GEN_IPADD ? g->d.ia5 : NULL;
		int n = s ? ASN1_STRING_length(s) : 0;
		const uint8_t *p = s ? ASN1_STRING_get0_data(s) : NULL;

		if (!s || b->n > NAMES)
			continue;
		buf_adds(b, b->n ? ", " : "; its names are ");
		add_name(g->type, (struct span){ p, (size_t)n }, b);
	}
}

/* Whoever has asked for the wrong one is to see the right ones. */
static void add_right_names(const SSL *ssl, struct buf *b)
{
	const STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
	const X509 *x = chain && sk_X509_num(chain) ? sk_X509_value(chain, 0) : NULL;
	GENERAL_NAMES *all = x ? X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL) : NULL;

	add_names(all, b);
	GENERAL_NAMES_free(all);
}

static const char *explain_refusal(const SSL *ssl, enum tls_error *ret_err, char **ret_text)
{
	long result = SSL_get_verify_result(ssl);
	bool misnamed = result == X509_V_ERR_HOSTNAME_MISMATCH || result == X509_V_ERR_IP_ADDRESS_MISMATCH;
	BUF_AUTO struct buf b = BUF_INIT(2 * NAMES);
	BUF_AUTO struct buf names = BUF_INIT(2 * NAMES);

	*ret_err = misnamed ? TLS_OTHER_NAME : TLS_NOT_TRUSTED;
	if (misnamed)
		add_right_names(ssl, &names);
	buf_addf(&b, "%s%s", X509_verify_cert_error_string(result), names.err ? "" : buf_str(&names));
	return compose(ret_text, "certificate not accepted: ", buf_str(&b), "tls: certificate not accepted");
}

int tls_note_wish(SSL *ssl, X509 **ret_x, EVP_PKEY **ret_key)
{
	(void)ret_x, (void)ret_key;
	SSL_set_app_data(ssl, &tls_client_layer); /* anything but NULL */
	return 0;
}

/* What servers say to a client that had no certificate when it was asked. */
static bool is_about_none(int alert)
{
	return alert == SSL_AD_HANDSHAKE_FAILURE || alert == SSL_AD_BAD_CERTIFICATE ||
	       alert == SSL_AD_CERTIFICATE_REQUIRED;
}

const char *tls_explain(const SSL *ssl, unsigned long e, enum tls_error *ret_err, char **ret_text)
{
	int reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;
	const char *text = ERR_reason_error_string(e);

	*ret_err = TLS_FAILED;
	for (size_t i = 0; reason && i < sizeof(reasons) / sizeof(*reasons); i++)
		if (reasons[i].reason == reason)
			return reasons[i].why;
	if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
		return explain_refusal(ssl, ret_err, ret_text);
	if (is_about_none(reason - SSL_AD_REASON_OFFSET) && ssl && SSL_get_app_data(ssl)) {
		*ret_err = TLS_WANTS_ONE;
		return "tls: peer wants a client certificate";
	}
	if (reason > SSL_AD_REASON_OFFSET && reason <= SSL_AD_REASON_OFFSET + 255)
		return compose(ret_text, "peer sent alert: ", SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET),
			       "tls: peer sent an alert");
	if (text)
		return compose(ret_text, "", text, "tls: failed");
	return "tls: failed";
}
