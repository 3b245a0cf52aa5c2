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
#include "conf/conf.h"
#include "conf/tables.h"
#include "core/proto.h"

struct tls_ctx;

/* One section of the configuration, checked. Owned by the plan. */
struct plan_service {
	char *name;
	const char *file;                 /* where it was written, for messages; NULL: the command line */
	unsigned line;                    /* of the section */
	unsigned listen_line, model_line; /* of these options; the section's where they are not */
	const struct proto *proto;
	struct service_options *common;
	struct tls_options *tls; /* NULL: no address of it is secure */
	struct tls_ctx *tls_ctx; /* made from it; a reference */

	void *options; /* of proto->options; NULL when it has none */
	bool internal; /* control socket: not in the table, loop 0 only, descriptors in reserve */
	void *state;   /* internal: given to svc->state instead of svc_open() */
};

struct plan {
	struct guichet_options *global;
	char *made; /* path of a certificate that was made for it: to be logged when the log is open. NULL = none */
	struct plan_service *services;
	size_t n, cap;
};

void plan_free(struct plan **p);
[[nodiscard]] int plan_new(struct plan **ret);
/* A zeroed service at the end, or NULL. Pointers to earlier ones die. */
struct plan_service *plan_add(struct plan *p);
void plan_service_done(struct plan_service *v); /* frees what it owns; its place in the plan stays */

struct server;

struct server_setup {
	pid_t parent; /* test mode: it ends with this process, which was our parent when we began; 0 = with none */
};

[[nodiscard]] int server_new(const struct server_setup *setup, struct server **ret);
/*
 * Threads are left that cannot be told to stop: they wait for the system (a name that nobody answers). server_free() then
 * closes what is reached from outside and leaves the rest to them, and the process must end by _exit().
 */
bool server_is_stuck(const struct server *s);
void server_free(struct server **s);

/*
 * Serve this plan. 0, or -errno with each reason in `ps` (address in use, no right to bind, name that resolves to nothing,
 * a model that the service or an address refuses); then the server and its connections are as they were. Takes the plan in either case.
 */
[[nodiscard]] int server_apply(struct server *s, struct plan **plan, struct conf_problems *ps);

bool server_has_model(enum tables_model m);
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
 * Runs until stopped. on_reload is called for SIGHUP (in this thread, between turns); SIGTERM, SIGINT and SIGQUIT drain, a second one
 * stops at once. on_ready when everything listens. Returns the exit status: 0 drained, 1 sessions were cut.
 */
struct server_calls {
	void (*ready)(struct server *s, void *arg);
	void (*reload)(struct server *s, void *arg);
	void (*stopping)(struct server *s, void *arg); /* the first order to stop came: before EV_STOP goes out */
	void *arg;
};
[[nodiscard]] int server_run(struct server *s, const struct server_calls *calls);

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

/* Adds the counters of all services as JSON object, or as a table for people. */
void server_stats(const struct server *s, bool json, struct buf *b);
