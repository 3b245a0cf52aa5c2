/*
 * server.h - a running set of services: made from a plan, changed by another plan, stopped.
 *
 * Starting and reloading are the same act: server_apply() opens what the plan has and the server has not,
 * and only when all of it worked takes it over and lets go of what is no longer wanted. So a plan that
 * cannot be served leaves everything as it was. Called from one thread, the one that runs server_run().
 */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/log.h"
#include "conf/conf.h"
#include "conf/tables.h"
#include "core/proto.h"

struct people;
struct rules;
struct tls_ctx;

/* One section of the configuration, checked. Owned by the plan. */
struct plan_service {
	char *name;
	const char *file;                             /* where it was written, for messages; NULL: the command line */
	unsigned line;                                /* of the section */
	unsigned listen_line, model_line, owner_line; /* of these options; the section's where they are not */
	const struct proto *proto;
	struct service_options *common;
	struct tls_options *tls; /* NULL: no address of it is secure */
	struct tls_ctx *tls_ctx; /* made from it; a reference */

	char *folder_name; /* the same for messages, when it is another; owned */
	char *folder;      /* of P_KEEPS: where its store is; owned; NULL: nothing of it outlives the process */

	void *options; /* of proto->options; NULL when it has none */
	bool internal; /* control socket: not in the table, loop 0 only, descriptors in reserve */
	void *state;   /* internal: given to svc->state instead of svc_open() */
};

struct plan {
	struct guichet_options *global;
	struct people *people; /* store/people.h; a reference; NULL: nobody of it asks */
	struct rules *rules;   /* store/rules.h, likewise; NULL: there is no section [rules] */
	char *made; /* path of a certificate that was made for it: to be logged when the log is open. NULL = none */
	struct plan_service *services;
	size_t n, cap;
};

void plan_free(struct plan **p);
[[nodiscard]] int plan_new(struct plan **ret);
/* A zeroed service at the end, or NULL. Pointers to earlier ones die. */
struct plan_service *plan_add(struct plan *p);
void plan_service_done(struct plan_service *v); /* frees what it owns; its place in the plan stays */

struct doors;
struct loop;
struct server;
struct shared;
struct spawn_door;

enum server_role {
	SERVER_ALONE,   /* binds and serves */
	SERVER_MONITOR, /* binds, and serves the control socket; workers serve the rest */
	SERVER_WORKER,  /* serves what a monitor has bound */
};

struct server_setup {
	enum server_role role;
	pid_t parent; /* test mode: it ends with this process, which was our parent when we began; 0 = with none */
	/* The rest is for a worker. */
	struct shared *shared;            /* the monitor's */
	unsigned process;                 /* its number there */
	const struct spawn_door *spawner; /* priv/spawn.h, as long as the server; NULL: it runs no commands */
	unsigned loops; /* event loops: as many as the monitor has counted on; 0: no thread at all, it may fork */
};

[[nodiscard]] int server_new(const struct server_setup *setup, struct server **ret);
/*
 * Threads are left that cannot be told to stop: they wait for the system (a name that nobody answers). server_free() then
 * closes what is reached from outside and leaves the rest to them, and the process must end by _exit().
 */
bool server_is_stuck(const struct server *s);
void server_free(struct server **s);
/* Before its first plan: it is a monitor, and workers serve what it binds. */
void server_split(struct server *s);

/*
 * Serve this plan. 0, or -errno with each reason in `ps` (address in use, no right to bind, name that resolves to nothing,
 * a model that the service or an address refuses); then the server and its connections are as they were. Takes the plan in either case.
 */
[[nodiscard]] int server_apply(struct server *s, struct plan **plan, struct conf_problems *ps);

/*
 * The same in two steps, for processes that do it together. server_prepare() opens what is new (a worker takes it from
 * `given`, which is NULL for all others) and takes the plan in either case. Then follows either server_commit(), which for a
 * reason of this machine (memory, threads) can fail yet, or server_cancel(); in both cases all is then as it was.
 */
[[nodiscard]] int server_prepare(struct server *s, struct plan **plan, struct doors *given, struct conf_problems *ps);
[[nodiscard]] int server_commit(struct server *s, struct conf_problems *ps);
void server_cancel(struct server *s);

/* Of a monitor, from server_prepare() on. */
struct shared *server_shared(const struct server *s);
unsigned server_event_loops(const struct server *s);

bool server_model_forks(enum tables_model m); /* it makes processes, and so needs one without threads */
bool server_has_transport(enum addr_transport t);

/* What could be found wrong without opening anything: models and transports that cannot be. For `guichet check`. */
void server_check(const struct plan *plan, struct conf_problems *ps);

/*
 * What only the system can say of a plan, asked without serving it: names that resolve to nothing, addresses that are taken or
 * not this machine's, rights that are missing. Takes time for names. `ours` are addresses that a guichet which this plan is
 * for listens on already, and may go on with.
 */
void server_probe(const struct plan *plan, const struct addr_list *ours, struct conf_problems *ps);

/*
 * Runs until stopped. reload() is called for SIGHUP (in this thread, between turns); SIGTERM, SIGINT and SIGQUIT drain, a second one
 * stops at once. ready() when everything listens. Returns the exit status: 0 drained, 1 sessions were cut.
 */
struct server_calls {
	void (*ready)(struct server *s, void *arg);
	void (*reload)(struct server *s, void *arg);
	void (*stopping)(struct server *s, void *arg); /* the first order to stop came: before EV_STOP goes out */
	void (*closed)(struct server *s, void *arg);   /* then nobody new can come */
	/* A monitor's. */
	void (*child)(struct server *s, void *arg); /* SIGCHLD */
	bool (*drain)(struct server *s, void *arg); /* all that comes after `stopping`; true: nobody was cut */
	/* After each turn: how long the next one may take, UINT64_MAX: for ever. */
	uint64_t (*turn)(struct server *s, void *arg);
	void *arg;
};
[[nodiscard]] int server_run(struct server *s, const struct server_calls *calls);

/* As a signal to stop does, and as the second one when it comes again. For what server_run() calls. */
void server_stop(struct server *s);
unsigned server_stops(const struct server *s); /* how often */

/* While it runs: calls fn(loop, arg) when fd is readable, in the thread of server_run(). 0 or -errno. */
[[nodiscard]] int server_watch(struct server *s, int fd, void (*fn)(struct loop *l, void *arg), void *arg);
/* A turn, outside server_run() or in what it calls: for a monitor that waits for others to drain. */
void server_turn(struct server *s, uint64_t timeout);
unsigned server_open(const struct server *s);      /* connections in all processes, but for the control socket's */
unsigned server_open_here(const struct server *s); /* in this one */
/* The log lines `stopping`, `cut` and `stopped`; no reason: NULL. */
void server_log_open(enum log_level level, const char *event, unsigned open, const char *reason);
void server_tell_restart(const char *option); /* the log line `restart-needed`: it cannot change while we run */
void server_close_doors(struct server *s);    /* all but the control socket's */

/* ---- looking at it; any time between server_apply() and server_free(), in the same thread ---- */

size_t server_services(const struct server *s); /* internal ones come last */

struct service_view {
	const char *name;
	const struct proto *proto;
	const char *model;
	const struct service_options *common;
	const void *options;
	bool internal;
	size_t addresses; /* listening */
};
void server_service(const struct server *s, size_t i, struct service_view *ret);

/* Address j of service i as it was bound (port 0 is the picked one): `tcp:127.0.0.1:40001`. `tcp:7007` gives two. */
void server_address(const struct server *s, size_t i, size_t j, struct buf *b);

/*
 * A process has ended, and this is what it left: whom it served when it crashed, if it did, has that against him. Not the
 * source of a datagram, which anybody can write there.
 */
struct shared_crash;
void server_blame(struct server *s, const struct shared_crash *c);

/* This process writes down what the counters show of it, in the shared mapping; server_stats() does so too. */
void server_tell(const struct server *s);

/* Adds the counters of all services as JSON object, or as a table for people. */
void server_stats(const struct server *s, bool json, struct buf *b);
