/* needs.h - what the services of a worker need of the system, by their protocols and options; the rest its sandbox forbids. */
#pragma once
#include "main/worker.h"

enum { NEEDS_PATHS = 64 }; /* folders: of named pipes, and options that name one */

struct needs {
	bool connects;  /* dials out */
	bool datagrams; /* answers some, and from sockets of its own */
	bool queues;    /* answers by message queues */
	bool runs;      /* asks the spawner */
	bool others;    /* opens pipes, queues and sockets of other users */
	bool openssl;   /* it forks, and has TLS, WebSocket or passwords */
	char *store;    /* owned: the folder of all that is kept; NULL: nothing is */
	size_t n_paths;
	struct {
		char *path; /* owned */
		unsigned rights;
	} paths[NEEDS_PATHS];
};

/*
 * Adds those of all services of the plan that are served there; *ret_any: there are some. 0; -ENOMEM; or -E2BIG with a problem: too
 * many folders.
 */
[[nodiscard]] int needs_add(struct needs *n, const struct plan *plan, const struct worker_of *of, bool *ret_any,
			    struct conf_problems *ps);
void needs_done(struct needs *n);
bool needs_covered(const struct needs *have, const struct needs *want); /* have allows all that want asks for */
