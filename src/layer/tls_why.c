/* tls_why.c - OpenSSL's error queue in the words of a log line. */
#include <openssl/err.h>

#include "base/mem.h"
#include "layer/tls_priv.h"

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

	buf_init(&b, 256);
	buf_addf(&b, "tls: %s%s", before, text);
	return buf_take(&b, ret_text) == 0 ? *ret_text : otherwise;
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

const char *tls_explain(const SSL *ssl, unsigned long e, char **ret_text)
{
	int reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;
	const char *text = ERR_reason_error_string(e);

	for (size_t i = 0; reason && i < sizeof(reasons) / sizeof(*reasons); i++)
		if (reasons[i].reason == reason)
			return reasons[i].why;
	if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
		return compose(ret_text,
			       "certificate not accepted: ", X509_verify_cert_error_string(SSL_get_verify_result(ssl)),
			       "tls: certificate not accepted");
	if (is_about_none(reason - SSL_AD_REASON_OFFSET) && ssl && SSL_get_app_data(ssl))
		return "tls: peer wants a client certificate";
	if (reason > SSL_AD_REASON_OFFSET && reason <= SSL_AD_REASON_OFFSET + 255)
		return compose(ret_text, "peer sent alert: ", SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET),
			       "tls: peer sent an alert");
	if (text)
		return compose(ret_text, "", text, "tls: failed");
	return "tls: failed";
}
