/*
 * admit.h - who may come in: the limits of one service, asked for each connection before it has a place, and whether there is
 * overload. net/limits.h is the table of sources behind it; docs/design/limits.md tells of all limits.
 *
 * Any thread, but for what is said. Counters go to the lane that is asked for, so that lane's own thread.
 */
#pragma once
#include <stdatomic.h>

#include "conf/tables.h"
#include "core/session.h"
#include "drive/net/limits.h"

/* Of one process. */
struct admit_all {
	struct limits *limits; /* shared with the other processes; NULL: sources are not limited */
	unsigned owner;        /* our number there */
	_Atomic bool loopback; /* the options of [guichet] */
	_Atomic bool overload;
	_Atomic unsigned logins;
	_Atomic nsec penalty;
	_Atomic int fds_most;  /* the first descriptor that no client may have */
	_Atomic int fds_share; /* of these, what is kept for each service */
	_Atomic int fds_busy;  /* from this one on descriptors are short */
	_Atomic int others;    /* services besides the one that asks */
	_Atomic nsec short_until;
	const char *_Atomic short_of; /* a reason: what was short */
	_Atomic bool pressed;         /* lane->pressed[1] */
};

/* Lines of one kind. */
struct admit_brake {
	_Atomic uint64_t lines;  /* the second of the last one that was written, and how many were in it */
	_Atomic uint32_t silent; /* those that were not */
};

/* Of one service, whatever its options are: beside its counters. Zeroed is right. */
struct admit_state {
	_Atomic bool pressed; /* lane->pressed[0] */
	struct admit_brake refused, closed, failed;
};

/* Of one service with its options. */
struct admit {
	struct admit_all *all;
	struct admit_state *state;
	struct limits_rule rule;
	bool proxied; /* a source is known only after its PROXY header */
};

/* What a connection holds, written where another process finds it when this one is killed. Zeroed: nothing. */
struct admit_note {
	_Atomic bool place;
	_Atomic uint32_t ticket;
};

/* ---- the main thread's ---- */

/* The options, and how many services there are. Asks how many descriptors this process may have. */
void admit_tune(struct admit_all *all, const struct guichet_options *g, unsigned services);
void admit_init(struct admit *a, struct admit_all *all, struct admit_state *state, const char *name,
		const struct service_options *c);
/* What the lane needs of it. */
void admit_lane(const struct admit *a, struct lane *lane);

/*
 * A process has crashed while it served this address (4 or 16 bytes; 0: none). With the option `crashes` of them within `penalty` no
 * door lets it in for so long; then that is logged. The monitor's.
 */
void admit_crashed(struct limits *t, const struct guichet_options *g, const uint8_t *b, unsigned n, nsec now);

/* ---- for each connection ---- */

/*
 * May it come in? Then it has its place in lane->open_all, and *ret_ticket is to be kept for admit_leave(). Otherwise the reason,
 * and it is counted. fd: its descriptor.
 */
[[nodiscard]] const char *admit_enter(const struct lane *lane, int fd, const struct peer *peer, uint32_t *ret_ticket);
/* This one is of those that no client is to have: let it in, but accept no further one while there is none before them. */
bool admit_is_full(const struct lane *lane, int fd);
void admit_leave(const struct lane *lane, uint32_t ticket); /* gives back both */
/* The same for whoever cannot do it any more. true: it had a place. */
bool admit_clear(const struct lane *lane, struct admit_note *note);

/* The source alone, of a connection that has its place: its PROXY header says that it is this one. NULL: it may stay. */
[[nodiscard]] const char *admit_source(const struct lane *lane, const struct peer *peer, uint32_t *ret_ticket);

/* A datagram is not to be answered; counted. */
bool admit_is_penalised(const struct lane *lane, const struct route *from, nsec now);

/*
 * This session could not log in as this user, as it calls him. Logged; with the option `logins` of these within `penalty`
 * no door lets the peer's source in for so long. true: so it is now.
 */
bool admit_login_failed(const struct sess *s, struct span user);

/* Descriptors or memory are out just now: `reason` is out-of-descriptors or out-of-memory. */
void admit_short(const struct lane *lane, const char *reason);

/* ---- lines of the log ---- */

/*
 * So that a flood of connections is none of lines: at most ten `refused` a second for a service, and fifty `closed` of
 * conversations that have ended by an error, and ten `login-failed`. How many more there were is told when that second is over: admit_due() says when
 * (0: there were none), and admit_tell() does it.
 */
void admit_log(const struct lane *lane, const struct peer *peer, const char *reason); /* `refused` */
bool admit_may_log_end(const struct lane *lane); /* `closed`: false, and it is counted: there were enough */
nsec admit_due(const struct lane *lane);
void admit_tell(const struct lane *lane, nsec now);
