/*
 * server_priv.h - what the files of the server share: server.c (its threads, life and stop), apply.c (start and reload),
 * doors.c (its sockets), service.c (one section: its options, lanes, counters and what its sessions meet on), view.c (what
 * is seen from outside), drain.c, model/ (who accepts, and on which loop a connection lives).
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "drive/admit.h"
#include "drive/door.h"
#include "drive/loop.h"
#include "drive/net/listener.h"
#include "drive/net/netaddr.h"
#include "drive/server.h"
#include "drive/shared.h"

enum { SERVER_HOST = 64 }; /* bytes of a host's name, as Linux has it */

struct access;
struct brood;
struct crew;
struct ground;
struct herd;
struct model;
struct ws_ctx;

/* A socket that a service is reached by. It is the server's: a reload may give it to another section. */
struct entry {
	struct listener *ln; /* a reference; NULL while it is not opened yet */
	struct netaddr at;   /* as wanted: port 0 is any */
	unsigned word;       /* of the option listen */
	unsigned nth;        /* of the sockets of one datagram address */
	int given;           /* wanted by this number: a descriptor that we were born with; -1: by its address */
	bool tls, ws;        /* what comes in there speaks it, WebSocket above TLS */
	bool spare;          /* the address before a wider one: closing it would reset who is in its backlog */
};

/*
 * A section with its options: a snapshot, which never changes. A reload that changes anything makes another one; sessions
 * keep theirs. Held by the server and by each loop (or thread) that has sessions of it.
 */
struct service {
	struct svc pub; /* first: svc -> service */
	_Atomic unsigned refs;
	struct server *server;
	struct plan_service plan; /* owned: name, options, TLS context */
	const struct model *model;
	struct tally *tally;   /* the server's */
	struct admit admit;    /* who may come in */
	struct ground *ground; /* state, shards, port: P_SHARED has the same under all options */
	struct owner owner;    /* of its unix sockets and pipes */
	struct ws_ctx *ws;     /* NULL: no address of it is WebSocket */
	struct entry *entries;
	size_t n, cap;
	struct lane *lanes; /* one per loop, the main one first */
	struct crew *crew;  /* its workers, model/crew.h; NULL: its model has none */
	struct herd *herd;  /* its processes, model/brood.h; NULL: likewise */
	unsigned requests;  /* processes that answer a datagram */
	bool kept;          /* during apply: goes on as it is */
	bool news;          /* the section, or an address of it, was not there before */
};

/* A server that was started for something that comes to an end; see once.c. */
struct once {
	_Atomic bool talks; /* some conversation was given: each end may be that of the server */
	bool waits;         /* a socket on standard input: whoever gave it listens again when we end */
	uint64_t seen;      /* what had come until then */
	nsec quiet;         /* since when nobody has come */
};

/* Services that are to be those of the server, when all is ready. */
struct prepared {
	struct service **v;
	size_t n;
	struct guichet_options *global;
	struct people *people; /* references */
	struct rules *rules;
	bool placed; /* some loops may serve them already */
};

struct server {
	struct server_setup setup;
	char host[SERVER_HOST + 1]; /* the name of this machine; empty: none that could be part of another name */
	struct guichet_options *global;
	struct jobs *jobs;
	struct shared *shared; /* counters, and what guards us; the server's own unless it is a worker's */
	struct admit_all admit;
	struct access *access; /* who may log in, and do what, at all services */
	struct loop_tuning tuning;
	struct loop **loops;  /* [0] is the main thread's: signals, control, accepting for the models thread and pool */
	pthread_t *threads;   /* of loops 1.. */
	unsigned n_loops;     /* with the main one */
	unsigned event_loops; /* that serve: ours, or of a monitor's workers */
	struct service **services;
	size_t n;
	struct prepared next;  /* between server_prepare() and what becomes of it */
	struct list listeners; /* of struct listener */
	struct given *given;   /* descriptors that we were born with */
	struct brood *brood;   /* our children; NULL: we do not fork. A child has it not */
	struct loop *ready;    /* with it: never run here, a child takes its copy for its own */
	uint32_t numbered;     /* listeners, so far */
	int stop_fd;           /* readable for ever from the stop on: threads with a connection watch it */
	int cut_fd;            /* the same for the end of the drain */
	int signal_fd, parent_fd;
	struct once once;
	_Atomic unsigned live;     /* connections that threads have, or that wait for one */
	_Atomic unsigned hands;    /* these threads */
	_Atomic(pthread_t) ended;  /* the one that ended last, 0: none. It has joined the one before it */
	_Atomic unsigned serial;   /* of what is served in their loops */
	_Atomic unsigned *serials; /* that one, or one that our children count with us */
	const struct server_calls *calls;
	nsec started;
	unsigned signals; /* to stop, so far */
	bool changed;     /* SIGHUP has come since the last reload began */
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
	bool accepts;    /* its workers do, and the main loop only for what is no socket */
	bool forks;      /* it makes processes: in one that has no thread */
	bool dgram;      /* its workers read datagrams; otherwise event loops do */
	unsigned (*workers)(const struct service_options *c); /* how many; NULL: it has none */
	loop_take *take;                                      /* of what a loop has accepted */
};
extern const struct model model_event, model_fork, model_iterative, model_pool, model_prefork, model_symmetric,
	model_thread;
const struct model *model_find(enum tables_model m); /* NULL: not there */

/* service.c */

/* The snapshot of *p, which it takes and empties; `old` is the section's running one. 0 or -errno with a problem. */
[[nodiscard]] int service_new(struct server *s, struct plan_service *p, const struct service *old, struct service **ret,
			      struct conf_problems *ps);
bool service_is_here(const struct service *v); /* false: workers serve it */
struct service *service_ref(struct service *v);
void service_unref(struct service *v);
/* At a line of the file: p->line, p->listen_line, p->model_line or p->owner_line. */
void service_problem(const struct plan_service *p, unsigned line, struct conf_problems *ps, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
bool service_same(const struct service *v, const struct plan_service *p); /* it can go on as it is under this plan */

/* In a loop's own thread; me is its number. 0 or -errno. */
typedef int service_call(struct service *v, struct loop *l, unsigned me);
service_call service_enter;  /* its shard, before anybody can come */
service_call service_place;  /* its listeners bring it connections from now on, whosever they were */
service_call service_retire; /* no new sessions; nobody may be on the way to it from another loop */

/* What its WebSocket connections share, if it has an address for them. 0 or -errno with a sentence. */
[[nodiscard]] int web_open(struct service *v, struct conf_problems *ps);

/* What a connection of this service gets. */
void service_adopt(struct service *v, struct lane *lane, const struct listener *ln, const struct arrival *who,
		   struct adopt *ret);

/* The same for a datagram socket: its session in this loop. 0 or -errno. */
[[nodiscard]] int service_adopt_dgram(const struct service *v, struct loop *l, struct lane *lane,
				      const struct listener *ln, sess_id *ret_id);

bool entry_shown(const struct entry *e); /* not one more socket of an address before it */
void entry_address(const struct service *v, const struct entry *e,
		   struct addr_text *ret); /* as bound: port 0 is the picked one */

/* doors.c: for a reload in this order. 0 or -errno with problems */
void doors_keep(struct service *v); /* all of a running service's */
[[nodiscard]] int doors_want(struct service *v, const struct service *old, struct conf_problems *ps);
[[nodiscard]] int doors_open(struct service *v, struct conf_problems *ps); /* those that are not there yet */
[[nodiscard]] int doors_spare(struct service *v);
/* Instead of these three: those that the monitor has opened for it (door.h). */
/* One more of its entries; ln may be to come. */
[[nodiscard]] int doors_add(struct service *v, const struct entry *e, struct listener *ln);
bool doors_match(const struct service *v, const struct doors *given); /* it has just these */
[[nodiscard]] int doors_take(struct service *v, struct doors *given);
void doors_tune(const struct service *v);                        /* its sockets get its options */
void doors_leave(struct server *s, struct loop *l, unsigned me); /* in a loop: lets go of those that nobody wants */
void doors_sweep(struct server *s);                              /* then closes these; the others change hands */

/* The same words for a plan that is served and for one that is only asked about (probe.c). */
int doors_given(const struct addr_text *a); /* the number of a descriptor that this address means, or -1 */
[[nodiscard]] int doors_resolve(const struct plan_service *p, unsigned word, struct netaddr **ret, unsigned *ret_n,
				struct buf *why); /* netaddr_resolve() of a word of the option listen */
[[nodiscard]] int doors_owner(const struct plan_service *p, struct owner *ret, struct conf_problems *ps);
struct listen_setup doors_setup(const struct service_options *c, const struct owner *owner);
/* An address that cannot be bound, but is not missed: ::1 where there is no IPv6; the other family serves alone. */
bool doors_may_miss(const struct addr_text *text, const struct netaddr *a, int err);
void doors_problem(const struct plan_service *p, unsigned word, const struct buf *why, struct conf_problems *ps);

/* Calls fn(l, arg) in every loop's own thread, and waits until all have. */
void server_everywhere(struct server *s, loop_call *fn, void *arg);
void server_end_services(struct server *s);                    /* apply.c: closes and retires all */
void server_tune(struct server *s, struct guichet_options *g); /* server.c: takes the options of [guichet] */
int server_start_loops(struct server *s, const struct guichet_options *g);
/* once.c: servers that end by themselves */
void once_left(struct lane *lane); /* a connection has ended; any thread */
void once_place(struct service *v, struct loop *l, unsigned me, struct listener *ln); /* a conversation begins */
void once_look(struct server *s);           /* the sockets have changed: what is it for? */
nsec once_patience(const struct server *s); /* how long a turn of the main loop may take */
void once_turn(struct server *s);           /* after each */

bool server_drain(struct server *s); /* drain.c; true when every session ended by itself */
unsigned server_dgram_loop(const struct server *s, const struct listener *ln); /* the number of the one that reads it */
unsigned server_loop_number(const struct server *s, const struct loop *l);
