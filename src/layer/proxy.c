/* proxy.c - see proxy.h. Nothing is taken before the whole header is there, so there is no state but the reason. */
#include "layer/proxy.h"

#include <errno.h>
#include <string.h>

#include "base/addr.h"
#include "base/crc.h"

static const char no_header[] = "proxy: no header", not_complete[] = "proxy: header not complete",
		  malformed[] = "proxy: malformed header", too_long[] = "proxy: header too long",
		  wrong_checksum[] = "proxy: wrong checksum";

static ssize_t fail(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EPROTO;
}

static bool starts(struct span raw, const void *with, size_t n)
{
	return memcmp(raw.p, with, raw.n < n ? raw.n : n) == 0;
}

/* ---- version 1: a line ---- */

/* The word up to the next space or the end, as text; false: it is empty or too long. */
static bool next_word(struct span *s, char ret[static 40])
{
	const uint8_t *space = s->n ? memchr(s->p, ' ', s->n) : NULL;
	size_t n = space ? (size_t)(space - s->p) : s->n;

	if (n == 0 || n >= 40 || memchr(s->p, '\0', n))
		return false;
	memcpy(ret, s->p, n);
	ret[n] = '\0';
	s->p += n + !!space;
	s->n -= n + !!space;
	return !space || s->n > 0; /* a space promises a word */
}

/* 0 to 65535 without leading zeros. */
static bool port_of(const char *s, uint16_t *ret)
{
	unsigned v = 0;
	size_t n = strlen(s);

	for (size_t i = 0; i < n && v <= 65535; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (unsigned)(s[i] - '0');
	}
	*ret = (uint16_t)v;
	return v <= 65535 && (n == 1 || s[0] != '0');
}

/* What stands behind "PROXY ", without the line's end. */
static bool parse_words(struct span s, struct proxy_header *h)
{
	char family[40], source[40], target[40], port[40], target_port[40];
	uint8_t unused[16];
	uint16_t unused_port;
	bool four;

	if (!next_word(&s, family))
		return false;
	if (strcmp(family, "UNKNOWN") == 0)
		return true;
	four = strcmp(family, "TCP4") == 0;
	if (!four && strcmp(family, "TCP6") != 0)
		return false;
	if (!next_word(&s, source) || !next_word(&s, target) || !next_word(&s, port) || !next_word(&s, target_port) ||
	    s.n)
		return false;
	h->kind = four ? PEER_IP4 : PEER_IP6;
	h->n = four ? 4 : 16;
	if (four ? !addr_ipv4_bytes(source, h->b) : !addr_ipv6_bytes(source, h->b))
		return false;
	if (four ? !addr_ipv4_bytes(target, unused) : !addr_ipv6_bytes(target, unused))
		return false;
	return port_of(port, &h->port) && port_of(target_port, &unused_port);
}

static ssize_t parse_v1(struct span raw, struct proxy_header *h, const char **ret_why)
{
	static const char head[] = "PROXY ";
	size_t head_n = sizeof(head) - 1, n = raw.n < PROXY_V1_MAX ? raw.n : PROXY_V1_MAX;
	const uint8_t *cr;

	if (!starts(raw, head, head_n))
		return fail(ret_why, malformed);
	cr = memchr(raw.p, '\r', n);
	if (memchr(raw.p, '\n', cr ? (size_t)(cr - raw.p) : n))
		return fail(ret_why, malformed);
	if (!cr && n == PROXY_V1_MAX)
		return fail(ret_why, too_long);
	if (!cr || cr + 1 == raw.p + raw.n) {
		*ret_why = not_complete;
		return 0;
	}
	if (cr + 1 == raw.p + PROXY_V1_MAX)
		return fail(ret_why, too_long);
	if (cr[1] != '\n' || !parse_words((struct span){ raw.p + head_n, (size_t)(cr - raw.p) - head_n }, h))
		return fail(ret_why, malformed);
	return cr + 2 - raw.p;
}

/* ---- version 2: binary ---- */

enum {
	HEAD = 16,
	UNSPEC = 0,
	INET = 1,
	INET6 = 2,
	UNIX = 3,
	TLV_HEAD = 3,
	TLV_CRC32C = 3,
};

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static unsigned be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)be16(p) << 16 | be16(p + 2);
}

/* A path ends at a NUL or fills its place; an abstract name begins with one, and those behind it are padding. */
static uint16_t path_length(const uint8_t *p)
{
	size_t n = PROXY_PATH_MAX;

	if (p[0])
		return (uint16_t)strnlen((const char *)p, n);
	while (n > 0 && !p[n - 1])
		n--;
	return (uint16_t)n;
}

/* The bytes that the addresses of a family take; *h has the source's. */
static size_t take_addresses(unsigned family, const uint8_t *p, size_t n, struct proxy_header *h)
{
	static const size_t sizes[] = { [INET] = 12, [INET6] = 36, [UNIX] = 2 * PROXY_PATH_MAX };

	if (n < sizes[family])
		return 0;
	if (family == UNIX) {
		h->kind = PEER_UNIX;
		h->n = path_length(p);
	} else {
		h->kind = family == INET ? PEER_IP4 : PEER_IP6;
		h->n = family == INET ? 4 : 16;
		h->port = (uint16_t)be16(p + 2 * h->n);
	}
	memcpy(h->b, p, h->n);
	return sizes[family];
}

/* Of the whole header, with zeros where the checksum itself stands. */
static bool right_checksum(struct span all, const uint8_t *at)
{
	static const uint8_t zeros[4];
	size_t before = (size_t)(at - all.p);
	uint32_t crc = crc32c(0, all.p, before);

	crc = crc32c(crc, zeros, sizeof(zeros));
	return crc32c(crc, at + 4, all.n - before - 4) == be32(at);
}

/* What follows the addresses: type, length, value. 0 or -EPROTO. */
static ssize_t check_rest(struct span all, size_t at, const char **ret_why)
{
	bool checked = false;

	while (at < all.n) {
		const uint8_t *p = all.p + at;
		size_t n;

		if (all.n - at < TLV_HEAD)
			return fail(ret_why, malformed);
		n = be16(p + 1);
		if (n > all.n - at - TLV_HEAD)
			return fail(ret_why, malformed);
		if (p[0] == TLV_CRC32C) {
			if (n != 4 || checked)
				return fail(ret_why, malformed);
			if (!right_checksum(all, p + TLV_HEAD))
				return fail(ret_why, wrong_checksum);
			checked = true;
		}
		at += TLV_HEAD + n;
	}
	return 0;
}

static ssize_t parse_v2(struct span raw, struct proxy_header *h, const char **ret_why)
{
	unsigned family, how;
	size_t all, addresses;

	*ret_why = not_complete;
	if (raw.n < HEAD)
		return 0;
	family = raw.p[13] >> 4;
	how = raw.p[13] & 15; /* stream, datagram: of the client's own connection, which may be either */
	all = HEAD + be16(raw.p + 14);
	if (raw.p[12] >> 4 != 2 || (raw.p[12] & 15) > 1 || family > UNIX || how > 2)
		return fail(ret_why, malformed);
	if (all > PROXY_HEADER_MAX)
		return fail(ret_why, too_long);
	if (raw.n < all)
		return 0;
	if ((raw.p[12] & 15) == 0 || family == UNSPEC || how == 0) /* LOCAL: the proxy speaks for itself */
		return (ssize_t)all;
	addresses = take_addresses(family, raw.p + HEAD, all - HEAD, h);
	if (addresses == 0)
		return fail(ret_why, malformed);
	if (check_rest((struct span){ raw.p, all }, HEAD + addresses, ret_why) < 0)
		return -EPROTO;
	return (ssize_t)all;
}

ssize_t proxy_parse(struct span raw, struct proxy_header *ret, const char **ret_why)
{
	struct proxy_header h = {};
	ssize_t n = 0;

	if (raw.n == 0)
		*ret_why = no_header;
	else if (starts(raw, "PROXY", 5))
		n = parse_v1(raw, &h, ret_why);
	else if (starts(raw, signature, sizeof(signature)))
		n = parse_v2(raw, &h, ret_why);
	else
		n = fail(ret_why, no_header);
	if (n > 0)
		*ret = h;
	return n;
}

/* ---- the layer ---- */

struct proxy {
	const char *why;
	bool done;
};

static int proxy_open(void *self, void *arg, struct layer_io *lio)
{
	(void)arg;
	(void)lio;
	((struct proxy *)self)->why = no_header;
	return 0;
}

static ssize_t proxy_decode(void *self, struct span raw, struct layer_io *lio)
{
	struct proxy *p = self;
	struct proxy_header h;
	ssize_t n;

	if (p->done)
		return layer_up(lio, raw.p, raw.n) < 0 ? -ENOMEM : (ssize_t)raw.n;
	n = proxy_parse(raw, &h, &p->why);
	if (n <= 0)
		return n;
	if (h.kind != PEER_NONE) {
		lio->peer = peer_new(h.kind, h.b, h.n, h.port, 0);
		if (!lio->peer)
			return -ENOMEM;
	}
	p->done = lio->is_up = lio->spent = true;
	return n;
}

static int proxy_encode(void *self, const struct span *v, size_t n, struct layer_io *lio)
{
	int r = 0;

	(void)self;
	for (size_t i = 0; i < n && r == 0; i++)
		r = layer_down(lio, v[i].p, v[i].n);
	return r;
}

static const char *proxy_why(const void *self)
{
	return ((const struct proxy *)self)->why;
}

const struct layer proxy_layer = {
	.name = "proxy",
	.handshake = true,
	.ups = STAT_PROXIED,
	.failures = STAT_PROXY_FAILED,
	.self_size = sizeof(struct proxy),
	.open = proxy_open,
	.decode = proxy_decode,
	.encode = proxy_encode,
	.why = proxy_why,
};
