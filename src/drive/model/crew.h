/*
 * crew.h - N threads of one service, each with one conversation at a time: what the models iterative, pool and symmetric
 * have in common. All but crew_view() is for the main thread.
 */
#pragma once
#include "drive/server_priv.h"

struct crew;

/* Starts n workers, each of which holds v. *ret is part of v, is freed with it, and is set on failure too. 0 or -errno. */
[[nodiscard]] int crew_start(struct service *v, unsigned n, struct crew **ret);
void crew_free(struct crew **c);

/* No more will come: each worker ends when its conversation is over and nobody waits. */
void crew_end(struct crew *c);

/*
 * The workers accept from it, or read its datagrams, until it leaves. Its number stays taken as long as one of them may use
 * it: listener_blind(). 0 or -errno.
 */
[[nodiscard]] int crew_listen(struct crew *c, struct listener *ln);
void crew_unlisten(struct listener *ln);
void crew_listen_last(struct listener *ln); /* who waits at it already waits for a worker then */

/* A loop has accepted this one: it waits for a worker. When `queue` of them do, accepting pauses. */
loop_take crew_take;

void crew_tune(struct crew *c, const struct loop_tuning *tuning);
unsigned crew_wish(const struct service_options *c); /* the option workers */
void crew_view(struct crew *c, unsigned *ret_workers, unsigned *ret_waiting);
