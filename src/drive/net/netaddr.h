/*
 * netaddr.h - from the text of an address (base/addr.h) to sockaddrs and from there to a peer (base/peer.h).
 * Looking a name up can block: it belongs to start-up or into a job.
 */
#pragma once
#include <sys/socket.h>
#include <sys/un.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/peer.h"
#include "conf/tables.h"

enum { NETADDR_INTERFACE = 16 }; /* IFNAMSIZ: with its NUL */

/* What is no socket, but named by `name`; its family is AF_UNSPEC and n is 0. */
enum { NETADDR_FIFO = 1000, NETADDR_QUEUE };

struct netaddr {
	socklen_t n;
	int type;                          /* SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, or NETADDR_* */
	bool v6only;                       /* [::] without IPv4; means nothing for any other */
	char interface[NETADDR_INTERFACE]; /* of an IP address to listen on: only what comes in there; "" = any */
	union {
		struct sockaddr sa;
		struct sockaddr_storage st;
		struct sockaddr_un un;
		struct {
			sa_family_t family;
			char path[ADDR_PATH_MAX + 1];
		} name;
	};
};

/* A host that is a number, "", "*" or a path needs no look-up. */
bool netaddr_is_numeric(const struct addr_text *a);

/*
 * Every sockaddr (or name) of the address, at most 16; of a name IPv6 first, as the system sorts them; `listen` decides what no host and * mean. *ret is freed by mem_free().
 * 0 or -errno with a sentence (names that resolve to nothing, unknown service names). Blocks for names.
 */
[[nodiscard]] int netaddr_resolve(const struct addr_text *a, enum tables_family family, bool listen,
				  struct netaddr **ret, unsigned *ret_n, struct buf *why);

/* A new peer with one reference. NULL: memory is out. */
[[nodiscard]] struct peer *netaddr_peer(const struct sockaddr *sa, socklen_t n);
[[nodiscard]] struct peer *netaddr_peer_again(struct peer *old, const struct sockaddr *sa,
					      socklen_t n); /* peer_again() */

/* The other way; false: it has no sockaddr. */
bool netaddr_of_peer(const struct peer *p, struct netaddr *ret);

uint16_t netaddr_port(const struct netaddr *v);          /* 0: it has none */
void netaddr_set_port(struct netaddr *v, uint16_t port); /* of an IP address */
bool netaddr_is_any(const struct netaddr *v);            /* every address of this machine: 0.0.0.0, [::] */

/* Two that sockets are bound to: is it the same one; does a take all that b takes; is there anything that both take? */
bool netaddr_same(const struct netaddr *a, const struct netaddr *b);
bool netaddr_covers(const struct netaddr *a, const struct netaddr *b);
bool netaddr_overlaps(const struct netaddr *a, const struct netaddr *b);
