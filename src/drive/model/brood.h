/*
 * brood.h - processes that serve: what the models fork and prefork have in common. For the main thread of a process that has
 * no other one (SERVER_WORKER without loops).
 *
 * A child has a copy of all memory, and of the descriptors those that are its own. What it counts, and what its connection
 * holds, is in a row that it shares with this process: so nothing is lost when it is killed, at whatever moment.
 */
#pragma once
#include "drive/model/solo.h"

struct brood;

enum brood_kind {
	BROOD_TALK,     /* for one connection */
	BROOD_REQUEST,  /* for one datagram */
	BROOD_ACCEPTOR, /* for all that it accepts, one at a time */
};

struct brood_row {
	struct admit_note note;         /* what its connection holds */
	_Atomic bool alone;             /* it has closed what is not its own */
	_Atomic bool ready, let_go;     /* an acceptor waits for clients; has closed its listening sockets */
	unsigned serial;                /* of its first conversation: solo_begin() */
	_Atomic uint64_t stats[STAT_N]; /* since it was last added to the service's */
	struct shared_crash crash;
};

struct brood_birth {
	struct service *service;
	enum brood_kind kind;
	const struct peer *peer; /* for the log; NULL: nobody yet */
	uint32_t ticket;         /* BROOD_TALK: with a place, the child's from now on */
	const int *keep;         /* descriptors that it may have; -1 is fine */
	size_t n_keep;
};

[[nodiscard]] int brood_new(struct server *s, struct brood **ret); /* of s->loops[0]. 0 or -errno */
void brood_free(struct brood **b);                                 /* those that do not end by themselves are killed */

/*
 * Returns twice: 1 in this process; in the child 0, with its row, when it has become one. Or -errno, and there is no child. The
 * child must not return to the loop that it was called from, which is its parent's: it ends by brood_end().
 */
[[nodiscard]] int brood_fork(struct brood *b, const struct brood_birth *birth, struct brood_row **ret);
void brood_solo(struct solo *o, struct service *v, struct brood_row *row); /* in the child: solo_init() */
_Noreturn void brood_end(struct solo *o);

void brood_reap(struct brood *b);
/* Until those that were made just now have closed what is not theirs, and so a socket that this process closes is closed. */
void brood_settle(struct brood *b);         /* NULL: there are none */
unsigned brood_busy(const struct brood *b); /* children with a connection; NULL: none */

/* Of this service, so many are there, and have not let go of its sockets yet. */
unsigned brood_holding(const struct brood *b, const struct service *v);

/* ---- fork.c ---- */

loop_take fork_take;
void fork_answer(struct loop *l, const struct dgram_in *d); /* loop_setup.dgram */

/* ---- prefork.c ---- */

[[nodiscard]] int prefork_add(struct service *v, const struct brood_birth *birth); /* one more. 0 or -errno */

/* ---- herd.c: the acceptors of one service ---- */

struct herd;

[[nodiscard]] int herd_new(struct service *v, struct herd **ret); /* no process yet. 0 or -errno */
void herd_free(struct herd **h);
[[nodiscard]] int herd_start(struct herd *h);   /* those that are missing. 0 or -errno */
void herd_end(struct herd *h);                  /* each ends with its conversation; nobody accepts any more */
void herd_lost(struct herd *h, bool was_ready); /* one has ended */
unsigned herd_alive(const struct herd *h);
int herd_fd(const struct herd *h);            /* readable: the order to end */
bool herd_accepts(const struct listener *ln); /* do they? Otherwise it is served as under fork */
void herd_listen_last(struct listener *ln);   /* and so is who waits at it at its end */
nsec herds_turn(struct server *s); /* replaces who was lost; until when there is nothing to do, UINT64_MAX: for ever */
