/* guard.c - see guard.h. */
#include "drive/net/guard.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>

static _Atomic uint16_t opened[65536]; /* sockets by port */

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

void guard_open_port(int port)
{
	atomic_fetch_add_explicit(&opened[port], 1, memory_order_relaxed);
}

void guard_close_port(int port)
{
	atomic_fetch_sub_explicit(&opened[port], 1, memory_order_relaxed);
}

bool guard_is_ours(const struct route *r, const struct peer *local)
{
	int port = guard_port(r);

	if (port < 0 || !atomic_load_explicit(&opened[port], memory_order_relaxed))
		return false;
	return guard_is_loopback(r) || from_our_address(r, local);
}

static uint64_t network(const struct route *r)
{
	const uint8_t *b;
	uint64_t net = 0;
	int port;
	size_t n = source(r, &b, &port);

	for (size_t i = 0; i < (n == 4 ? 3 : n ? 8 : 0); i++)
		net = net << 8 | b[i];
	return net + 1; /* never 0 */
}

bool guard_allow(struct guard *g, const struct route *r, nsec now, unsigned rate)
{
	uint64_t net = network(r), full = (uint64_t)rate * 1000;
	size_t i = (size_t)((net * 0x9e3779b97f4a7c15u) >> 54) % GUARD_SLOTS;
	uint64_t milli;

	if (rate == 0)
		return true;
	if (g->slot[i].net != net) {
		g->slot[i].net = net;
		g->slot[i].at = now;
		g->slot[i].milli = (uint32_t)full;
	}
	milli = g->slot[i].milli;
	if (now > g->slot[i].at) {
		nsec gone = now - g->slot[i].at;
		uint64_t more = gone >= SEC ? full : gone * rate / MSEC;

		milli += more;
		if (more) /* too short a time for a thousandth is kept for the next one */
			g->slot[i].at = now;
	}
	if (milli > full)
		milli = full;
	if (milli < 1000) {
		g->slot[i].milli = (uint32_t)milli;
		return false;
	}
	g->slot[i].milli = (uint32_t)(milli - 1000);
	return true;
}
