/*
 * listener.h - a bound socket. Refcounted: the server, the services that are reached by it and the loops that accept from
 * it hold it. It knows neither section nor transport, so a reload can give it to another one.
 */
#pragma once
#include <stdatomic.h>

#include "base/list.h"
#include "core/proto.h"
#include "drive/net/netaddr.h"

struct service;

struct listener {
	_Atomic unsigned refs;
	int fd;
	struct netaddr at;        /* as bound */
	const struct peer *local; /* the same */
	bool dgram;
	bool pktinfo;        /* bound to every address: the kernel says which one a datagram came to */
	bool guarded;        /* its port is counted: guard_open_port() */
	bool vital;          /* the control socket: a descriptor is kept in reserve for it */
	char *unlink_path;   /* a unix socket's file, removed at the end; NULL */
	_Atomic bool paused; /* somebody waits because descriptors are out, and the log says so */

	/* The server's, see doors.c. */
	struct list node;
	struct service *owner; /* who is reached by it; NULL: opened for a plan that is not served yet */
	struct service *next;  /* who is to be when the plan is served; NULL: nobody, it will be closed */
	unsigned nth;          /* of the sockets of one datagram address: served by event loop nth */
	sess_id session;       /* dgram: its session in that loop; that loop's thread only */
};

/* Options of the socket itself. */
struct listen_setup {
	unsigned backlog;
	bool nodelay;
	bool reuseport; /* one of several that are bound there */
	bool probe;     /* the first of those: another program's socket is in the way all the same */
	unsigned mode;  /* of a unix socket */
};

/* Binds (and listens). 0 or -errno with a sentence: in use, no right, stale or live unix socket. */
[[nodiscard]] int listener_new(const struct netaddr *at, const struct listen_setup *setup, struct listener **ret,
			       struct buf *why);
/* What listener_new() would say, as far as that can be known without listening: bound for a moment, no file made or removed. */
[[nodiscard]] int listener_probe(const struct netaddr *at, struct buf *why);
/* Options that a bound socket can still take: backlog, nodelay, mode. The first failure as -errno; the others are set all the same. */
[[nodiscard]] int listener_tune(const struct listener *ln, const struct listen_setup *setup);
/* May another socket of ours be bound to an address that overlaps? 0 or -errno. */
[[nodiscard]] int listener_share(const struct listener *ln, bool on);
struct listener *listener_ref(struct listener *ln);
void listener_unref(struct listener *ln);
void listener_close(struct listener *ln); /* when no loop has it any more: who comes is refused, the file is removed */
