/*
 * guard.h - who may be answered by datagram. Source addresses of UDP are easily forged: an answer must not make us a
 * weapon against whoever really has that address (CVE-2024-2169, CVE-1999-0103). Pure: tests need no socket.
 */
#pragma once
#include <stdatomic.h>

#include "core/proto.h"

enum { GUARD_SLOTS = 1 << 14 };

/*
 * Tokens of networks (/24, of IPv6 /64). One table for all loops, any thread; also in a mapping that processes share. A
 * slot belongs to nobody: networks that meet in one share its tokens, so whoever makes it change hands gains nothing, and
 * a flood cannot make it grow. Which ones meet depends on the key.
 */
struct guard {
	uint64_t key[2];                     /* random, and the same as long as the table is */
	_Atomic uint64_t since[GUARD_SLOTS]; /* when the slot's oldest token began to come, in ns */
};

/* Gives a zeroed one its key; without, everybody knows it. 0 or -errno. */
[[nodiscard]] int guard_init(struct guard *g);

int guard_port(const struct route *r); /* of the source; -1: not an IP address */
bool guard_is_loopback(const struct route *r);

/* Did this come from the very socket it came to? local: the address that it is bound to. */
bool guard_is_self(const struct route *r, const struct peer *local);

/*
 * The ports of our own datagram sockets, counted by whoever opens and closes them; any thread. A datagram that seems to come
 * from one of them, on this machine, was made to set two of our services talking to each other for ever. Processes that serve
 * together count in one table (zeroed; NULL: in this process's own again).
 */
struct guard_ports {
	_Atomic uint16_t opened[65536]; /* sockets by port */
};
void guard_share_ports(struct guard_ports *ports);
void guard_open_port(int port);
void guard_close_port(int port);
bool guard_is_ours(const struct route *r, const struct peer *local);

/* Takes a token of the source's network: `rate` a second, as many at once. true when there was one, or rate is 0. */
bool guard_allow(struct guard *g, const struct route *r, nsec now, unsigned rate);
