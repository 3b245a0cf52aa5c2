/*
 * monitor_priv.h - what the two files of the monitor share.
 *
 *	monitor.c        deaths and births, what all are told, the end
 *	monitor_apply.c  a configuration: who serves what, with which rights, from which files; and all of them change at once
 */
#pragma once
#include "drive/clock.h"
#include "main/monitor.h"
#include "main/workers.h"

enum {
	MONITOR_LOOK_MS = 10,   /* while somebody drains */
	MONITOR_ASK_MS = 10000, /* for what must be done; it may be busy */
};

#define MONITOR_GRACE (3 * SEC) /* more than the workers give their clients */

struct monitor {
	struct hands all;
	struct list hands;
	char *user;             /* as all.user */
	nsec drain, next_drain; /* the option */
	bool chosen;            /* the user */
	bool other_user;        /* the configuration wants another one */
	bool stopping;
	pid_t spawner; /* 0: none was needed yet, or it is gone */
	nsec spawner_born;
	unsigned spawner_falls; /* in a row, each soon after its birth */
	size_t nofile;          /* the limit that commands have: the one that we were started with */
	bool unclean;           /* a worker had to cut somebody off */
	bool boxed;             /* we are in our sandbox */
	bool runs;              /* our sandbox lets the spawner run commands */
};

static inline struct hand *hand_at(const struct list *node)
{
	return list_entry(node, struct hand, node);
}

/* It does not do what it should: it is ended, and another one is made. */
void monitor_give_up(struct monitor *m, struct hand *h, int err);
void monitor_drop(struct monitor *m, struct hand *h); /* it has ended, or never began; nobody comes after it */

/* The process that runs commands: made with the first service that has some, and again when it is gone. */
[[nodiscard]] int monitor_want_spawner(struct monitor *m);
