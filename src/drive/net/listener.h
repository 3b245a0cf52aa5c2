/*
 * listener.h - a bound socket. Refcounted: the server, the services that are reached by it and the loops that accept from
 * it hold it. It knows neither section nor transport, so a reload can give it to another one.
 */
#pragma once
#include <stdatomic.h>

#include "base/list.h"
#include "core/proto.h"
#include "drive/net/netaddr.h"
#include "drive/net/owner.h"
#include "drive/net/sockopt.h"

struct crew;
struct given;
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
	struct fifo *fifo;   /* a named pipe; fd is its */
	bool queue;          /* a message queue */
	char *unlink_path;   /* a unix socket's file, removed at the end; NULL */
	struct owner born;   /* of that file, before anybody had another wish */
	int given;           /* its number if whoever started us has opened it, and chosen its options; else -1 */
	bool taken;          /* another process has opened it: nothing of it is removed here, only closed */
	bool shared;         /* talk: two pipes, or a terminal, that others have too: they are not made non-blocking */
	bool talk;           /* given, and no listener at all but somebody who has come already */
	int wfd;             /* talk: as in struct arrival */
	_Atomic bool begun;  /* talk: fd and wfd are the conversation's now */
	_Atomic bool paused; /* somebody waits because descriptors are out, and the log says so */

	bool lent; /* threads that nobody waits for may use fd as long as they have a reference */

	/* The server's, see doors.c. */
	struct list node;
	uint32_t number;       /* no other one of this server ever has it */
	struct service *owner; /* who is reached by it; NULL: opened for a plan that is not served yet */
	struct crew *crew;     /* whose workers wait for it, model/crew.h; NULL: loops do */
	struct service *next;  /* who is to be when the plan is served; NULL: nobody, it will be closed */
	unsigned nth;          /* of the sockets of one datagram address: served by event loop nth */
	sess_id session;       /* dgram: its session in that loop; that loop's thread only */
};

/* Options of the socket itself. */
struct listen_setup {
	unsigned backlog;
	struct sockopt socket;
	bool reuseport;     /* one of several that are bound there */
	bool probe;         /* the first of those: another program's socket is in the way all the same */
	struct owner owner; /* of a unix socket */
};

/* Binds (and listens). 0 or -errno with a sentence: in use, no right, stale or live unix socket. */
[[nodiscard]] int listener_new(const struct netaddr *at, const struct listen_setup *setup, struct listener **ret,
			       struct buf *why);
/* What listener_new() would say, as far as that can be known without listening: bound for a moment, nothing made or removed. */
[[nodiscard]] int listener_probe(const struct netaddr *at, const struct listen_setup *setup, struct buf *why);
/*
 * One that another process has bound to `at`. Owns fd, and wfd (of a named pipe: its folder; else -1), also on failure. 0 or
 * -errno.
 */
[[nodiscard]] int listener_taken(const struct netaddr *at, int fd, int wfd, struct listener **ret);
/* The same with descriptor `number` of those that were given (net/given.h); 0 is standard input. */
[[nodiscard]] int listener_given(struct given *g, int number, struct listener **ret, struct buf *why);
/*
 * Options that a bound socket can still take: all but the last three of struct listen_setup that say how it is bound. The
 * first failure as -errno; the others are set all the same.
 */
[[nodiscard]] int listener_tune(const struct listener *ln, const struct listen_setup *setup);
/* May another socket of ours be bound to an address that overlaps? 0 or -errno. */
[[nodiscard]] int listener_share(const struct listener *ln, bool on);
/*
 * Before another process gets it: what one that had it, and was taken over, could have done to it is undone, as far as that can be.
 * It blocks, is shut down, has a filter, or takes datagrams of one peer only.
 */
void listener_mend(const struct listener *ln, unsigned backlog);
struct listener *listener_ref(struct listener *ln);
void listener_unref(struct listener *ln);
/*
 * When no loop has it any more: who comes is refused, the file is removed. The number of one that is lent means `other`
 * until the last reference goes, some descriptor that is no socket: so whoever comes late finds nobody there.
 */
void listener_close(struct listener *ln, int other);
