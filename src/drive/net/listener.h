/*
 * listener.h - a bound socket that a service is reached by. Refcounted: the server and the loops that accept from it
 * hold it; it outlives a reload that does not change its address.
 */
#pragma once
#include <stdatomic.h>

#include "drive/net/netaddr.h"

struct listener {
	_Atomic unsigned refs;
	int fd;
	struct addr_text text;    /* as configured */
	const struct peer *local; /* as bound */
	struct addr_text bound;   /* as bound, as text */
	bool dgram;
	bool v6only;       /* as asked for */
	bool pktinfo;      /* bound to every address: the kernel says which one a datagram came to */
	bool guarded;      /* its port is counted: guard_open_port() */
	bool vital;        /* the control socket: a descriptor is kept in reserve for it */
	char *unlink_path; /* a unix socket's file, removed at the end; NULL */
};

/* Options of the socket itself. */
struct listen_setup {
	unsigned backlog;
	bool nodelay;
	bool reuseport; /* datagrams: one socket per loop */
	bool probe;     /* the first of those: another program's socket is in the way all the same */
	bool v6only;    /* family = 6: [::] without IPv4 */
	unsigned mode;  /* of a unix socket */
};

/* Binds (and listens). 0 or -errno with a sentence: in use, no right, stale or live unix socket. */
[[nodiscard]] int listener_new(const struct addr_text *text, const struct netaddr *at, const struct listen_setup *setup,
			       struct listener **ret, struct buf *why);
/* Options that a bound socket can still take: backlog, nodelay, mode. The first failure as -errno; the others are set all the same. */
[[nodiscard]] int listener_tune(const struct listener *ln, const struct listen_setup *setup);
struct listener *listener_ref(struct listener *ln);
void listener_unref(struct listener *ln);
void listener_close(struct listener *ln); /* when no loop has it any more: who comes is refused, the file is removed */
