/* tls_record.c - as much of the record protocol as has to be known before OpenSSL is given a record. */
#include "layer/tls_priv.h"

enum {
	HEADER = 5,
	CHANGE_CIPHER_SPEC = 20, /* types of records */
	HANDSHAKE = 22,
	APPLICATION_DATA = 23,
	CLIENT_HELLO = 1,     /* of handshake messages */
	HELLO_MAX = 16 << 10, /* real ones have 200 to 2,000 bytes, more with a client certificate in a ticket */
};

size_t tls_record_size(struct span raw, bool *ret_sane)
{
	size_t n;

	if (raw.n < HEADER)
		return 0;
	n = HEADER + ((size_t)raw.p[3] << 8 | raw.p[4]);
	*ret_sane = raw.p[0] >= CHANGE_CIPHER_SPEC && raw.p[0] <= APPLICATION_DATA && raw.p[1] == 3 &&
		    n <= TLS_RECORD_MAX;
	if (!*ret_sane)
		return HEADER;
	return raw.n < n ? 0 : n;
}

/* The next bytes of a message's four (type, length); those taken are taken off d. True: all there. */
static bool take_head(struct tls_hello *h, struct span *d)
{
	while (d->n > 0 && h->head_n < sizeof(h->head)) {
		h->head[h->head_n++] = *d->p++;
		d->n--;
	}
	return h->head_n == sizeof(h->head);
}

bool tls_hello_fits(struct tls_hello *h, struct span record, bool is_1_2)
{
	struct span d = { record.p + HEADER, record.n - HEADER };

	if (record.p[0] == CHANGE_CIPHER_SPEC && is_1_2)
		h->none = true;
	if (record.p[0] != HANDSHAKE || h->none)
		return true;
	while (d.n > 0) {
		uint32_t n = d.n < h->left ? (uint32_t)d.n : h->left;

		h->left -= n;
		d.p += n;
		d.n -= n;
		if (h->left > 0 || !take_head(h, &d))
			continue;
		h->head_n = 0;
		h->left = (uint32_t)h->head[1] << 16 | (uint32_t)h->head[2] << 8 | h->head[3];
		if (h->head[0] == CLIENT_HELLO && h->left > HELLO_MAX)
			return false;
	}
	return true;
}
