/*
 * proxy.h - the PROXY protocol, versions 1 and 2, as its specification of 2020/03/05 (haproxy's proxy-protocol.txt) has
 * it: a proxy in front of us begins each connection with a header that says whom it speaks for. The header is read and
 * nothing else is changed; then the layer is taken out. It comes first of all, below TLS.
 *
 * Nothing proves such a header: only proxies may be able to reach an address that believes it.
 */
#pragma once
#include "base/peer.h"
#include "base/span.h"
#include "core/layer.h"

enum {
	PROXY_V1_MAX = 107, /* bytes of a line, its end included */
	PROXY_HEADER_MAX =
		16 << 10, /* of version 2: what follows the addresses may be long (certificates), and is skipped */
	PROXY_PATH_MAX = 108,
};

/* Whom a header speaks for. */
struct proxy_header {
	enum peer_kind kind; /* PEER_NONE: nobody else, or an unknown one: the connection's own addresses are right */
	uint16_t port, n;
	uint8_t b[PROXY_PATH_MAX]; /* as in struct peer */
};

/*
 * Reads a header from what has come so far. Its length and *ret; 0 when more is needed; -EPROTO when it is none. In the last
 * two cases *ret_why has the reason that is right if nothing more comes: "proxy: no header", "proxy: header not complete",
 * "proxy: malformed header", "proxy: header too long", "proxy: wrong checksum".
 *
 * Strict: version 1 is one space between words, upper case, no leading zeros. Version 2 must be LOCAL or PROXY; addresses
 * are IPv4, IPv6 and UNIX; of what follows them a CRC32C is checked and all else skipped. LOCAL and unknown families are
 * skipped as a whole.
 */
[[nodiscard]] ssize_t proxy_parse(struct span raw, struct proxy_header *ret, const char **ret_why);

/* Takes no arg. Sets the session's peer; its `local` stays what is ours, because children bind to it. */
extern const struct layer proxy_layer;
