/*
 * loop.h - the loop object: some connections, their timers, what others post to them, and one place to wait.
 * In model event one loop has many connections and epoll; in the one-at-a-time models it has one connection, its
 * children and poll(2). A loop belongs to the thread that runs it; only loop_post_call(), loop_open(), loop_turns() and
 * the inbox are for others.
 */
#pragma once
#include <sys/socket.h>

#include "core/session.h"
#include "drive/inbox.h"

struct conn;
struct guard;
struct spawn_door;
struct listener;
struct loop;

/* A datagram that has come, and is to be answered. All is borrowed. */
struct dgram_in {
	sess_id to; /* the session of its socket */
	const struct lane *lane;
	struct span data;
	const struct route *route; /* NULL: not known */
	const struct who *who;     /* NULL: likewise */
};

/* What a reload may change while a loop runs. */
struct loop_tuning {
	int handshakes;         /* steps per turn; 0 = HOST_HANDSHAKES */
	unsigned dgram_rate;    /* answers per second and /24 (IPv6 /64) to unproven addresses; 0 = no limit */
	size_t dgram_reply;     /* largest such answer; 0 = no limit */
	unsigned file_cache;    /* files that each loop keeps open; 0 = none */
	size_t file_cache_size; /* bytes of small ones in memory */
};

struct loop_setup {
	bool many;         /* epoll; otherwise poll(2), no inbox: nobody can post to it, jobs run inline */
	struct jobs *jobs; /* NULL: jobs run inline */
	int stop_fd;       /* readable: send EV_STOP to all; -1 = none */
	int cut_fd;        /* then, readable: drop what is left; -1 = none */
	struct loop_tuning tuning;
	struct guard *guard;      /* net/guard.h, shared by the loops of a server; NULL: nobody unproven is answered */
	unsigned serial;          /* private loops: a number that makes its ids differ from the others' */
	void (*taken)(void *arg); /* after loop_tell(): the datagrams are read, and not answered yet; or NULL */
	void *taken_arg;
	/* Datagrams of loop_adopt_dgram(): another process answers them (brood.h); NULL: their session here does. */
	void (*dgram)(struct loop *l, const struct dgram_in *d);
	const struct spawn_door *spawner; /* priv/spawn.h, shared by all loops; NULL: CHILD_EXEC is -ENOSYS */
	void (*ended)(void *arg, const char *reason, bool aborted); /* a session of loop_add_bare() is over; or NULL */
	void *ended_arg;
};

[[nodiscard]] int loop_new(const struct loop_setup *setup, struct loop **ret);
void loop_free(struct loop **l); /* ends what is left; the thread that ran it, or after its end */

/* One turn: waits at most `timeout` ns (UINT64_MAX = for ever), handles all that is ready, flushes once. */
void loop_turn(struct loop *l, nsec timeout);
void loop_run(struct loop *l); /* until loop_finish() */
void loop_tune(struct loop *l, const struct loop_tuning *tuning);
void loop_tell_access(struct loop *l); /* people or rules are others: EV_ACCESS, to some in each turn */
bool loop_empty(const struct loop *l); /* nothing is left to wait for */

/*
 * For the owner of a private loop who waits elsewhere while it has nothing to do: then it is idle, and only its timers are
 * left (loop_due(): the first, or UINT64_MAX) and sockets of which somebody else tells (loop_told()). Before it has
 * something new: loop_begin(), with a number that makes the ids of this one differ from the others'.
 */
bool loop_idle(const struct loop *l);
nsec loop_due(const struct loop *l);
void loop_begin(struct loop *l, unsigned serial);
bool loop_stopping(const struct loop *l); /* it has had its order to stop */
bool loop_was_cut(const struct loop *l);  /* and the one not to wait */

unsigned loop_index(const struct loop *l); /* the upper 16 bits of its sessions' ids */
unsigned loop_open(const struct loop *l);  /* accepted connections, from any thread */
struct inbox *loop_inbox(struct loop *l);  /* lives as long as the loop; NULL when nobody can post to it */

/* Runs fn(l, arg) in the loop's thread with its next turn. From any thread. 0 or -ENOMEM. */
typedef void loop_call(struct loop *l, void *arg);
[[nodiscard]] int loop_post_call(struct loop *l, loop_call *fn, void *arg);
/* The same and cannot fail; for the loop's owner only, who gives the next order when this one has run. */
void loop_order(struct loop *l, loop_call *fn, void *arg);

/* Somebody who has come and is on no loop yet. */
struct arrival {
	int fd, wfd; /* wfd: where output goes: -1, or the other one of two pipes */
	const struct peer *peer;
	uint32_t ticket; /* of its source, admit.h */
};

/* A new accepted connection; owns fd, wfd, its place in lane->open_all and its ticket, also on failure. peer and local are referenced. */
struct adopt {
	int fd, wfd; /* as in struct arrival */
	uint32_t ticket;
	struct lane *lane;
	const struct peer *local, *peer;
	bool proxy;                /* it begins with a PROXY header: that layer is pushed first of all */
	const struct layer *layer; /* pushed before EV_OPEN; NULL = none */
	void *layer_arg;           /* owned */
	struct ws_ctx *ws;         /* WebSocket above it; borrowed, NULL = none */
	bool socket;
	bool records;  /* seqpacket */
	bool blocking; /* pipes that others share; a private loop only */
	bool vital;    /* of the control socket */
};
[[nodiscard]] int loop_adopt(struct loop *l, const struct adopt *a);

/* A bound datagram socket served by one session of the lane's protocol. The fd stays the listener's. */
[[nodiscard]] int loop_adopt_dgram(struct loop *l, int fd, struct lane *lane, const struct peer *local, bool low_ports,
				   bool pktinfo, sess_id *ret_id);

/* From now on somebody else watches it for input. loop_tell(): there is some; reads one batch. false: no such session. */
void loop_told(struct loop *l, sess_id id);
bool loop_tell(struct loop *l, sess_id id);
/* This one, which was read elsewhere. */
void loop_feed(struct loop *l, sess_id id, const struct dgram_in *d);

/* The shard of a service on this loop: sets lane->shard and lane->shard_id. 0 or -ENOMEM. */
[[nodiscard]] int loop_add_shard(struct loop *l, struct lane *lane);

/* A session without transport (client.h), for a loop of its own; `ended` tells of its end. arg is borrowed. 0 or -ENOMEM. */
[[nodiscard]] int loop_add_bare(struct loop *l, struct lane *lane, struct blob *arg, sess_id *ret_id);

/*
 * Accept from a listener: each connection goes to `take`, which owns the descriptors and a place in lane->open_all:
 * loop_adopt() takes both, loop_refuse() gives both back and logs why. With a listener that is here already only lane and
 * take change.
 * how: WATCH_ACCEPT (shared by several loops) or WATCH_LEVEL.
 */
typedef void loop_take(struct loop *l, struct listener *ln, struct lane *lane, const struct arrival *who);
void loop_refuse(const struct lane *lane, const struct arrival *who, const char *reason);
/* Somebody has come: to `take`, if there is room. Owns the reference to the peer too; NULL: memory is out. */
void loop_admit(struct loop *l, struct listener *ln, struct lane *lane, loop_take *take, const struct arrival *who);
[[nodiscard]] int loop_listen(struct loop *l, struct listener *ln, struct lane *lane, loop_take *take, int how);
void loop_unlisten(struct loop *l, struct listener *ln);
void loop_listen_last(struct loop *l, struct listener *ln); /* takes who waits already, then the same */
/* From any thread: a descriptor or a place in a queue came free, and accepting may wait for that. */
void loop_room(struct loop *l);

/*
 * For workers who accept themselves: one connection, with what loop_take gets, and a reference to the peer. 1; 0: nobody
 * waits, or those were refused; -EAGAIN: descriptors or memory are out, which the log says, and the backlog waits.
 */
[[nodiscard]] int loop_accept(struct listener *ln, const struct lane *lane, struct arrival *ret);

/* A descriptor to watch for input (signals): fn(l, arg) when readable. A loop that has nothing else is idle. */
[[nodiscard]] int loop_watch(struct loop *l, int fd, loop_call *fn, void *arg);
void loop_unwatch(struct loop *l, int fd); /* before it is closed; also from its own fn */

void loop_end(struct loop *l, sess_id id);                    /* a datagram socket, a shard: now */
void loop_say(struct loop *l, sess_id id, enum ev_kind kind); /* an event that has nothing but its kind */
void loop_stop(struct loop *l);                               /* EV_STOP to every session */
unsigned loop_cut(struct loop *l); /* drops every session; returns how many connections had something to say yet */
void loop_finish(struct loop *l);  /* loop_run() returns after this turn */

uint64_t loop_turns(const struct loop *l); /* so far, for stats; from any thread */
