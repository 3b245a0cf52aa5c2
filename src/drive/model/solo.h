/*
 * solo.h - one conversation at a time in a private loop: what the models with threads have in common. A solo belongs to
 * the thread that runs it.
 */
#pragma once
#include "drive/server_priv.h"

struct solo {
	struct service *service; /* a reference */
	struct loop *loop;       /* made for the first conversation; NULL before, or when memory was out */
	struct lane lane;
	_Atomic uint64_t stats[STAT_N]; /* this thread's: added to the service's after each turn */
	struct loop_setup setup;        /* of the loop; the owner may change it before there is one */
	bool once;                      /* a process for this conversation: what it frees at its end, it need not */
};

void solo_init(struct solo *o, struct service *v); /* takes a reference to v */
void solo_done(struct solo *o);                    /* may free the service with all that is part of it */

/* A loop for something new: it knows the time again, and its ids are no other thread's. 0 or -ENOMEM. */
[[nodiscard]] int solo_begin(struct solo *o);
/* A turn, and then until all has ended but timers, and sockets of which somebody else tells. */
void solo_run(struct solo *o);

void solo_fold(struct solo *o); /* counts what its turns have not */
void solo_count(const struct service *v,
		_Atomic uint64_t *stats); /* the same: adds these to the row of threads, and makes them 0 */

/* A whole conversation. Takes the descriptors, the ticket and the place of `who`; the peer is the caller's. */
void solo_talk(struct solo *o, const struct listener *ln, const struct arrival *who);

/* The same in a thread: takes the peer too, and its place in server->live. */
void solo_serve(struct solo *o, const struct listener *ln, const struct arrival *who);

/* A thread, counted in server->hands; fn's last act is solo_end(). 0 or -errno. */
[[nodiscard]] int solo_spawn(struct server *s, void *(*fn)(void *), void *arg);
void solo_end(struct server *s);
void solo_join(struct server *s); /* when all have said so: what libraries keep for each of them is gone then, too */
