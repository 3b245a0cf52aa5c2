/*
 * workers.h - the processes of a monitor, seen from the monitor: who they are, starting one, asking it, burying it. What they
 * are told and when: monitor_apply.c (a configuration) and monitor.c (all else).
 */
#pragma once
#include "base/list.h"
#include "drive/server.h"
#include "main/needs.h"
#include "main/talk.h"
#include "main/worker.h"

struct hand {
	struct list node;
	struct worker_of of;
	char name[48];      /* "main", "mail", "mail/fork" */
	struct needs needs; /* that its sandbox allows */
	int kit;            /* what it was told, for the next one; -1: nothing yet */
	int next_kit;       /* what it is told now; -1 */
	bool asked;         /* and has said yes to */
	pid_t pid;          /* 0: it has ended, and the next one comes at `again` */
	int chan;
	unsigned process; /* its number in the shared mapping; 0, the monitor's own: it has none */
	uint32_t serial;  /* of the last question */
	nsec born, again;
	unsigned crashes; /* in a row, each soon after its birth */
	bool fresh;       /* started for the configuration that is being prepared */
	bool wanted;      /* that one has services for it */
	bool serves;      /* its process has committed something */
	bool leaving;     /* others serve what it had; it ends with its last client, and nobody comes after it */
	bool stops;       /* it was told to, so that another one can have its store */
};

/* What every hand of a monitor has in common. */
struct hands {
	struct server *server;
	const struct planner_setup *setup;
	const char *user; /* who they run as, with its groups; NULL: numbers only */
	int spawner;      /* its root channel; -1: there is none */
	uid_t uid;        /* geteuid(): as we are */
	gid_t gid;
	struct chan_msg msg; /* under way; there is one at a time */
};

struct hand *hand_new(const struct worker_of *of); /* no process yet. NULL: memory is out */
void hand_free(struct hand **h);

/* Gives it a door to a spawner that has just begun. */
void hand_spawner(struct hands *all, struct hand *h);
/* Makes its process, which waits for a configuration. 0 or -errno. */
[[nodiscard]] int hand_start(struct hands *all, struct hand *h);
/* It has ended, or is made to now: closes what we have of it, and its counters become ours. */
void hand_bury(struct hands *all, struct hand *h);

/* TALK_BEGIN, its doors and TALK_PREPARE: 0 when it said yes, or -errno, perhaps with problems. */
[[nodiscard]] int hand_prepare(struct hands *all, struct hand *h, int kit, struct conf_problems *ps);
/* Something else: 0 when it has answered DONE. */
[[nodiscard]] int hand_ask(struct hands *all, struct hand *h, enum talk what, int ms);
/* Waits for DONE to what hand_tell() has said last. 0 or -errno. */
[[nodiscard]] int hand_answered(struct hands *all, struct hand *h, int ms);
/* Only says it; waits for room in the channel so long. */
[[nodiscard]] int hand_tell(struct hands *all, struct hand *h, enum talk what, int ms);
