/*
 * exec.h - commands as channels and children of a session (CHILD_EXEC, core/proto_child.h). exec.c: the loop's channel to the
 * spawner, pipes, starts and ends. handover.c: the variant in which the command has the connection itself.
 */
#pragma once
#include "drive/loop_priv.h"

/* A command, from asking for it to its end. It belongs to the loop's desk; who still waits for it is in c and gave. */
struct run {
	struct list node;
	struct conn *c;    /* its channel or child; NULL: that is over */
	struct conn *gave; /* whose connection it has; NULL: it has pipes, or that is over too */
	uint32_t serial;
	bool asked; /* the spawner knows of it, and has it to stop */
	bool over;  /* and said how it ended */
	int status, signal;
	int in, out;       /* our ends of its pipes, until it runs */
	int theirs[3];     /* its own, until it was asked for; with `gave` they are no copies */
	uint64_t got, put; /* bytes that the connection had moved when it was given away */
	uint8_t *words;    /* the message, when there was no room for it yet */
	size_t words_n;
};

static inline struct run *exec_of(const struct conn *c)
{
	return c->src.flags & C_COMMAND ? c->kin->run : NULL;
}

/* It has ended: what it has written is in the pipe, and an empty pipe is the end of it. */
static inline bool exec_ended(const struct conn *c)
{
	const struct run *k = exec_of(c);

	return k && k->over;
}

/* Has it ended, and is its last byte taken? */
bool exec_over(const struct conn *c);

[[nodiscard]] int exec_start(struct loop *l, struct conn *c, struct conn *parent, const struct fx_child *f);
void exec_tell(const struct conn *c, struct ev *gone); /* how it ended */
void exec_gone(struct loop *l, struct conn *c);        /* its connection is over: stops it, if it runs */
void exec_done(struct loop *l);                        /* loop_free(), after all connections */

/* child.c */
void child_opened(struct conn *c, struct blob *arg); /* EV_BOUND to its parent, and EV_OPEN */

/* ---- handover.c ---- */

/* May it be given away now? Sends first what is queued. */
bool handover_may(struct loop *l, struct conn *p);
/* 0 or -errno, and then nothing is changed */
[[nodiscard]] int handover_give(struct loop *l, struct conn *p, struct run *k);
void handover_back(struct loop *l, struct run *k);    /* the command has ended: the connection is ours again */
void handover_forget(struct run *k);                  /* the connection is over, or nobody says when it is ours again */
void handover_gone(struct loop *l, struct conn *p);   /* conn_end(): it is over */
void handover_ready(struct conn *p, unsigned what);   /* what epoll says of it meanwhile */
void handover_settle(struct loop *l, struct conn *p); /* it is to close meanwhile: stops the command */
void handover_touch(const struct loop *l, struct conn *p); /* before its idle time is looked at */
void handover_close(struct loop *l, const struct conn *p,
		    bool dropped); /* it was given once, and ends: for all who have it */
