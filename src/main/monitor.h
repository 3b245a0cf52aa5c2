/*
 * monitor.h - the process that was started: it has the rights (to bind, to read keys), parses, opens, and answers nobody from
 * the network. Those who do are its workers: one for each group of services, and one more for those that fork. One that dies is
 * replaced. See docs/design/processes.md.
 */
#pragma once
#include "drive/server.h"
#include "main/kit.h"
#include "main/planner.h"

struct monitor;

/*
 * Of a server with role SERVER_MONITOR; setup is the command line, and outlives it. nofile: the limit of descriptors that commands
 * have. 0 or -ENOMEM.
 */
[[nodiscard]] int monitor_new(struct server *server, const struct planner_setup *setup, size_t nofile,
			      struct monitor **ret);
void monitor_free(struct monitor **m); /* its workers end at once */

/*
 * server_apply(), for all processes: binds what is new, tells the workers, and when all of them are ready, it is served. What the
 * plan was made from is in `kit`. Takes both in either case.
 */
[[nodiscard]] int monitor_apply(struct monitor *m, struct plan **plan, struct kit **kit, struct conf_problems *ps);

/* For struct server_calls: some have ended; what is to be done now, and how long until the next; the end of all. */
void monitor_child(struct monitor *m);
uint64_t monitor_turn(struct monitor *m);
bool monitor_drain(struct monitor *m);

void monitor_tell(struct monitor *m); /* the workers write down what stats tell of them */
