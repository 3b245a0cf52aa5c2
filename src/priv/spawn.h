/*
 * spawn.h - how a loop asks the spawner (spawner.h) for a child process, and what it hears of it.
 *
 *	monitor                           worker, any thread                      its loop
 *	spawn_door(root, ids, n, &fd)  ->  door.fd = fd, spawn_open(&door, &ch) -> SPAWN_RUN, SPAWN_STOP on ch
 *
 * Three kinds of channel, each with less power than the one before. The **root** is the monitor's: it makes doors, and its end is
 * the spawner's end. A **door** is a worker's: it says as which users commands may run, and all it can do is to make channels.
 * A **channel** is one loop's: it starts commands, stops them and hears how they ended; its end stops those that are left.
 *
 * Messages on a channel (chan.h, family CHAN_SPAWN); the serial is the asker's name for its command, and he uses each once:
 *	SPAWN_RUN      ->  a command: spawn_put_run()
 *	SPAWN_STOP     ->  SIGTERM to its process group, SIGKILL after its grace; empty
 *	SPAWN_STARTED  <-  spawn_get_started(): it runs, or why it does not; after a failure nothing more comes
 *	SPAWN_ENDED    <-  spawn_get_ended(): how it ended
 */
#pragma once
#include "priv/chan.h"

enum {
	SPAWN_DOOR = CHAN_TYPE(CHAN_SPAWN, 0),
	SPAWN_OPEN = CHAN_TYPE(CHAN_SPAWN, 1),
	SPAWN_RUN = CHAN_TYPE(CHAN_SPAWN, 2),
	SPAWN_STOP = CHAN_TYPE(CHAN_SPAWN, 3),
	SPAWN_STARTED = CHAN_TYPE(CHAN_SPAWN, 4),
	SPAWN_ENDED = CHAN_TYPE(CHAN_SPAWN, 5),
};

enum {
	SPAWN_WORDS = 256,   /* of a command; and as many variables of its environment */
	SPAWN_USERS = 16,    /* of a door */
	SPAWN_PATH = 4095,   /* bytes of a path */
	SPAWN_GRACE = 60000, /* the longest, in ms */
};

/* As whom a command runs: these and no other groups; or SPAWN_SAME twice: as the spawner itself. */
#define SPAWN_SAME UINT32_MAX
struct spawn_user {
	uint32_t uid, gid;
};

/* ---- asking ---- */

struct spawn_door {
	int fd;                 /* -1: there is no spawner */
	struct spawn_user user; /* of commands that name none */
};

/*
 * For the monitor: a door for commands that run as one of these users, for nobody else. A spawner that is root runs something
 * as root only for a door that says so, by number or SPAWN_SAME; one that is not can only do SPAWN_SAME. 0 or -errno; the descriptor is CLOEXEC.
 */
[[nodiscard]] int spawn_door(int root, const struct spawn_user *users, size_t n, int *ret_fd);

/* From any thread: a channel. 0 or -errno: -EAGAIN when too many are being opened just now, -EPIPE: the spawner is gone. */
[[nodiscard]] int spawn_open(const struct spawn_door *door, int *ret_fd);

/* A command. All is borrowed. */
struct spawn_run {
	const char *path;        /* absolute; what is executed */
	const char *const *argv; /* ended by NULL, the name first; not empty */
	const char *const *envp; /* ended by NULL; NULL is empty */
	const char *dir;         /* absolute: where it runs, looked up as its user; NULL = / */
	int fds[3];              /* its descriptors 0, 1 and 2; O_NONBLOCK is cleared on them; -1 = /dev/null */
	struct spawn_user user;
	uint32_t grace; /* ms from SIGTERM to SIGKILL when it is stopped */
};

/* An empty message (chan_msg_init) with SPAWN_RUN in it. 0, or -E2BIG, -EINVAL. */
[[nodiscard]] int spawn_put_run(struct chan_msg *m, const struct spawn_run *r);

/* 0 and what it says, or -EPROTO. */
[[nodiscard]] int spawn_get_started(const struct chan_msg *m, int *ret_err, uint32_t *ret_pid); /* err: 0 or -errno */
/* signal: 0 = it exited */
[[nodiscard]] int spawn_get_ended(const struct chan_msg *m, int *ret_status, int *ret_signal);

/* ---- the spawner's side ---- */

/* What a SPAWN_RUN says. Words and paths point into the message; the descriptors are the order's. */
struct spawn_order {
	struct spawn_run run;
	const char *words[2 * (SPAWN_WORDS + 1)];
};

/* 0, or -EPROTO and nothing stays open. Takes the message's descriptors. */
[[nodiscard]] int spawn_get_run(struct chan_msg *m, struct spawn_order *ret);
void spawn_order_done(struct spawn_order *o); /* closes its descriptors */

[[nodiscard]] int spawn_get_door(const struct chan_msg *m, struct spawn_user *ret,
				 size_t *ret_n); /* SPAWN_USERS of them */
void spawn_put_started(struct chan_msg *m, int err, uint32_t pid);
void spawn_put_ended(struct chan_msg *m, int status, int sig);
