/*
 * peer.h - who is at the other end (or at ours): an address as a value with a reference count.
 * Knows no socket: drive makes it from a sockaddr and back. Immutable; may cross threads.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum peer_kind {
	PEER_NONE, /* a pipe, a test: no address */
	PEER_IP4,  /* b = 4 bytes, network order */
	PEER_IP6,  /* b = 16 bytes */
	PEER_UNIX, /* b = path, or empty for an unnamed client; a leading NUL = abstract */
	PEER_NAME, /* b = a name: a queue, a file, "stdio" */
};

struct peer {
	_Atomic uint32_t refs;
	uint8_t kind;
	uint16_t port;  /* host order; 0 where there is none */
	uint16_t n;     /* bytes in b */
	uint32_t scope; /* IPv6 interface index */
	uint8_t b[];
};

[[nodiscard]] struct peer *peer_new(enum peer_kind kind, const void *b, size_t n, uint16_t port, uint32_t scope);
/* The same in the memory of `old`, where nobody else has that; takes the reference to it. NULL is fine. */
[[nodiscard]] struct peer *peer_again(struct peer *old, enum peer_kind kind, const void *b, size_t n, uint16_t port,
				      uint32_t scope);
[[nodiscard]] struct peer *peer_copy(
	const struct peer *p);               /* with a count of its own; NULL: likewise, or memory is out */
struct peer *peer_ref(const struct peer *p); /* NULL is fine */
void peer_unref(const struct peer *p);       /* NULL is fine */

/* The largest text of an address with its port, NUL included. */
#define PEER_TEXT 280

/* `127.0.0.1:7007`, `[::1]:7007` (RFC 5952), a path, a name, `-` for none. Always fits, returns buf. */
const char *peer_text(const struct peer *p, char buf[static PEER_TEXT]);
const char *peer_host(const struct peer *p, char buf[static PEER_TEXT]); /* the same without the port */

bool peer_same_host(const struct peer *a, const struct peer *b); /* ::ffff:1.2.3.4 is 1.2.3.4 */
