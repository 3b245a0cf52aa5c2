/*
 * worker.h - a process that serves: forked by the monitor, without its rights, in a sandbox. What it is to serve the monitor
 * tells it (talk.h); it ends when told so, when nothing is left for it, or when the monitor is gone.
 */
#pragma once
#include "drive/server.h"
#include "main/planner.h"
#include "priv/sandbox.h"
#include "priv/spawn.h"

/* Services of one group under models of one kind. */
struct worker_of {
	char group[32];
	bool forks; /* models fork and prefork */
};

bool worker_wants(const struct plan_service *s, const void *of); /* struct worker_of: is it served there? */
bool worker_wants_none(const struct plan_service *s, const void *of);

struct worker_birth {
	const char *name;
	const struct planner_setup *setup; /* as the command line has it */
	struct worker_of of;
	struct shared *shared;
	unsigned process;          /* its number there */
	unsigned loops;            /* of events; 0: it forks, and makes no thread */
	bool openssl;              /* and one of its services needs that; false: none ever will */
	int chan;                  /* to the monitor */
	struct spawn_door spawner; /* -1: none of its services runs commands */
	int store; /* the folder of what is kept, which its user may have no way to (O_PATH); -1: there is none */
	pid_t monitor;
	struct sandbox sandbox;
};

/* In a process just forked; never returns. What is open and not its own is closed. */
_Noreturn void worker_main(const struct worker_birth *b);
