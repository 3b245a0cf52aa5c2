/* guard.c - see guard.h. */
#include "drive/net/guard.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>

#include "drive/sys.h"

static struct guard_ports alone, *_Atomic ports = &alone; /* of this process, or of all of a server's */

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

/* The source's bytes (4 or 16; IPv4 mapped into IPv6 is IPv4) and port. */
static size_t source(const struct route *r, const uint8_t **ret_b, int *ret_port)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)r->sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)r->sa;
	sa_family_t family;

	if (r->n < sizeof(*in))
		return 0;
	memcpy(&family, r->sa, sizeof(family));
	if (family == AF_INET) {
		*ret_b = r->sa + offsetof(struct sockaddr_in, sin_addr);
		*ret_port = ntohs(in->sin_port);
		return 4;
	}
	if (family != AF_INET6 || r->n < sizeof(*in6))
		return 0;
	*ret_b = r->sa + offsetof(struct sockaddr_in6, sin6_addr);
	*ret_port = ntohs(in6->sin6_port);
	if (memcmp(*ret_b, mapped, sizeof(mapped)) != 0)
		return 16;
	*ret_b += 12;
	return 4;
}

int guard_port(const struct route *r)
{
	const uint8_t *b;
	int port = -1;

	return source(r, &b, &port) ? port : -1;
}

bool guard_is_loopback(const struct route *r)
{
	static const uint8_t one[16] = { [15] = 1 };
	const uint8_t *b;
	int port;
	size_t n = source(r, &b, &port);

	return n == 4 ? b[0] == 127 : n == 16 && memcmp(b, one, 16) == 0;
}

/* Our address: the one the kernel says the datagram came to, else the one the socket is bound to. */
static size_t ours(const struct route *r, const struct peer *local, const uint8_t **ret_b)
{
	const uint8_t *b = r->local_n ? r->local : local->b;
	size_t n = r->local_n ? r->local_n : local->n;

	if (n == 16 && memcmp(b, mapped, sizeof(mapped)) == 0) {
		b += 12;
		n = 4;
	}
	*ret_b = b;
	return n;
}

static bool from_our_address(const struct route *r, const struct peer *local)
{
	const uint8_t *b, *mine;
	int port;
	size_t n = source(r, &b, &port);

	return n && local && ours(r, local, &mine) == n && memcmp(b, mine, n) == 0;
}

bool guard_is_self(const struct route *r, const struct peer *local)
{
	return local && guard_port(r) == local->port && from_our_address(r, local);
}

void guard_share_ports(struct guard_ports *p)
{
	atomic_store(&ports, p ? p : &alone);
}

void guard_open_port(int port)
{
	atomic_fetch_add_explicit(&atomic_load_explicit(&ports, memory_order_relaxed)->opened[port], 1,
				  memory_order_relaxed);
}

void guard_close_port(int port)
{
	atomic_fetch_sub_explicit(&atomic_load_explicit(&ports, memory_order_relaxed)->opened[port], 1,
				  memory_order_relaxed);
}

bool guard_is_ours(const struct route *r, const struct peer *local)
{
	int port = guard_port(r);

	if (port < 0 || !atomic_load_explicit(&atomic_load_explicit(&ports, memory_order_relaxed)->opened[port],
					      memory_order_relaxed))
		return false;
	return guard_is_loopback(r) || from_our_address(r, local);
}

/* The bytes of the /24 or the /64. */
static uint64_t network(const struct route *r)
{
	const uint8_t *b;
	uint64_t net = 0;
	int port;
	size_t n = source(r, &b, &port);

	for (size_t i = 0; i < (n == 4 ? 3 : n ? 8 : 0); i++)
		net = net << 8 | b[i];
	return net;
}

int guard_init(struct guard *g)
{
	return sys_getrandom(g->key, sizeof(g->key), 0) == sizeof(g->key) ? 0 : errno ? -errno : -EIO;
}

/* Not for secrecy: who forges addresses must only not be able to choose whom they share a slot with. */
static size_t slot_of(const struct guard *g, uint64_t net)
{
	net = (net ^ g->key[0]) * 0x9e3779b97f4a7c15u;
	net = (net ^ net >> 32) * (g->key[1] | 1);
	return (size_t)((net ^ net >> 32) % GUARD_SLOTS);
}

/* A slot is one number, so that loops need no lock: a token that is taken makes it one interval later. */
bool guard_allow(struct guard *g, const struct route *r, nsec now, unsigned rate)
{
	_Atomic uint64_t *slot = &g->since[slot_of(g, network(r))];
	uint64_t each = rate ? SEC / rate : 0, old = atomic_load_explicit(slot, memory_order_relaxed), first;

	if (!each)
		return true;
	do {
		first = now >= SEC && old < now - SEC ? now - SEC : old; /* no more tokens than a second's */
		if (first + each > now)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(slot, &old, first + each, memory_order_relaxed,
							memory_order_relaxed));
	return true;
}
