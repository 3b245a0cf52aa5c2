/*
 * server_priv.h - what the files of the server share: server.c (start, reload, stop), service.c (one service: its
 * listeners, lanes, counters), view.c (what is seen from outside), model/ (who accepts, and on which loop a connection lives).
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "core/stats.h"
#include "drive/loop.h"
#include "drive/net/listener.h"
#include "drive/port.h"
#include "drive/server.h"

struct model;

/* Counters by section name; they outlive a reload. Row i is loop i's, the last one is for threads (atomic adds). */
struct tally {
	char *name;
	const struct proto *proto;
	size_t rows;
	_Atomic unsigned open;
	_Atomic uint64_t v[]; /* rows * STAT_N */
};

/* A running section. Held by the server and by each loop (or thread) that has sessions of it. */
struct service {
	struct svc pub; /* first: svc -> service */
	_Atomic unsigned refs;
	struct server *server;
	struct plan_service plan; /* owned: name, options, TLS context */
	const struct model *model;
	struct tally *tally; /* the server's */
	struct listener **listeners;
	size_t n, cap;
	struct lane *lanes; /* one per loop, the main one first */
	sess_id *dgram_ids; /* [listener * loops + loop]; the loop's thread only */
	struct server_port *port;
	bool opened; /* svc_open() was called */
	bool kept;   /* during apply: taken over as it is */
};

struct server {
	struct server_setup setup;
	struct guichet_options *global;
	struct jobs *jobs;
	struct guard *guard; /* of datagrams, for all loops */
	struct loop **loops; /* [0] is the main thread's: signals, control, accepting for model thread */
	pthread_t *threads;  /* of loops 1.. */
	unsigned n_loops;    /* with the main one */
	struct service **services;
	size_t n;
	struct tally **tallies;
	size_t n_tallies;
	int stop_fd; /* readable for ever from the stop on: threads with a connection watch it */
	int cut_fd;  /* the same for the end of the drain */
	int signal_fd, parent_fd;
	_Atomic unsigned live;   /* threads of model thread */
	_Atomic unsigned serial; /* of their loops */
	const struct server_calls *calls;
	nsec started;
	unsigned signals; /* to stop, so far */
};

static inline struct service *service_of(const struct svc *svc)
{
	return (struct service *)(uintptr_t)svc;
}

/* One row per concurrency model: who accepts, and what becomes of an accepted connection. */
struct model {
	const char *name;
	bool shared;     /* sessions can meet in memory: P_SHARED may use it */
	bool every_loop; /* every event loop accepts; otherwise only the main one */
	loop_take *take;
};
extern const struct model model_event, model_thread;
const struct model *model_find(enum tables_model m); /* NULL: not there */

/* service.c */

/* Takes what *p owns (and empties it). 0 or -errno with a problem. */
[[nodiscard]] int service_new(struct server *s, struct plan_service *p, struct service **ret, struct conf_problems *ps);
struct service *service_ref(struct service *v);
void service_unref(struct service *v);
void service_problem(const struct plan_service *p, struct conf_problems *ps, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Opens what `old` (may be NULL) does not have already. */
[[nodiscard]] int service_bind(struct service *v, const struct service *old, struct conf_problems *ps);
void service_tune(const struct service *v); /* listeners taken over from before get this configuration's options */
bool service_same(const struct service *v, const struct plan_service *p); /* it can go on as it is under this plan */
bool service_is_copy(const struct service *v,
		     size_t i); /* listener i is one more socket of the datagram address before it */
[[nodiscard]] int service_install(struct service *v,
				  const struct service *old); /* in every loop; returns when done there */
void service_put_back(struct service *old,
		      struct service *v); /* undoes it: v is retired, old (may be NULL) serves again */
void service_retire(struct service *v,
		    const struct service *next); /* listeners that `next` did not take over are closed */

void service_end_dgram(const struct service *v, struct loop *l, unsigned me, const struct listener *ln);

/* What a connection of this service gets, filled but for the descriptor. */
void service_adopt(struct service *v, struct lane *lane, const struct listener *ln, const struct peer *peer,
		   struct adopt *ret);

/* Calls fn(l, arg) in every loop's own thread, and waits until all have. */
void server_everywhere(struct server *s, loop_call *fn, void *arg);
bool server_drain(struct server *s); /* drain.c; true when every session ended by itself */
unsigned server_loop_number(const struct server *s, const struct loop *l);
