/*
 * proto_child.h - the contract's part for protocols with more than one connection: to elsewhere, from elsewhere, the terminal's,
 * a command's. docs/design/children.md has the reasons, docs/design/exec.md those of commands.
 *
 * With a protocol it is a child, a session of its own; without one a channel, whose events come to the step of who asked for it.
 * A shard may have children too: so a service connects to others by itself, without a client of its own.
 */
#pragma once
#include "core/proto.h"

enum child_kind {
	CHILD_CONNECT, /* to `address`; a name is resolved and each of its addresses tried */
	CHILD_LISTEN,  /* one connection on a port of the system's choice: EV_BOUND, then EV_OPEN */
	CHILD_DGRAM,   /* a datagram socket of its own, connected to `route` */
	CHILD_STDIO,   /* our standard input and output */
	CHILD_EXEC, /* a command: EV_BOUND and EV_OPEN when it runs; its output is our input, and the other way round */
};

/*
 * A command, run by the spawner (-ENOSYS: there is none). No shell, nothing is searched. Copied.
 *
 * EV_GONE comes when it has ended and its last byte is taken, with err 0 and ev->exit, whatever it says there; err < 0: it did not
 * run (-ENOENT, -EACCES, -EAGAIN: too many, -E2BIG) or its end is not known (-ECANCELED, -ECONNRESET: the spawner is gone).
 * io_end() is SIGTERM to all of its process group, and SIGKILL after `grace`. What it does not read is lost, and no error.
 *
 * With `give` the connection of the session that asks becomes its descriptors 0, 1 and 2 when it is a plain socket of which
 * nothing was read that is not taken, nothing waits to be sent, and no trace is wanted; otherwise it has pipes, as without. Ask for
 * it at EV_OPEN, then nothing was read. Given away, neither the session nor the channel has input until EV_GONE, and what is
 * written to the session goes out after that; what is written to the channel is lost. So one step serves both ways: hand on what comes.
 */
struct exec_user {
	uint32_t uid, gid;
};

struct exec {
	const char *path;             /* absolute */
	const char *const *argv;      /* ended by NULL, its name first */
	const char *const *envp;      /* NAME=value, ended by NULL; NULL: a PATH and nothing else */
	const char *dir;              /* absolute: where it runs; NULL = / */
	const struct exec_user *user; /* as whom; NULL: as all of them */
	bool errors;                  /* its standard error comes with its output; otherwise it is lost */
	bool give;                    /* the connection itself, where that can be */
	nsec grace;                   /* 0 = 2 s */
};

/*
 * TLS for CHILD_CONNECT: whom to trust, and who we are. Made once, used for any number of connections in any thread. Everything in
 * the setup is PEM, and borrowed for the call.
 */
struct trust_setup {
	struct span ca; /* whom to trust; empty = the system's */
	struct span certificate,
		key;   /* ours, for a server that asks; no key: it is in the certificate's bytes. Empty = none */
	bool insecure; /* whoever answers will do */
};
struct trust;
/* 0; or -EINVAL or -ENOMEM with a sentence in `why`. */
[[nodiscard]] int trust_new(const struct trust_setup *setup, struct trust **ret, struct buf *why);
void trust_free(struct trust **t); /* connections may go on; NULL is fine */
struct child;
/* The layer of a child that has its address, whose host the certificate must be for. 0 or -ENOMEM. */
[[nodiscard]] int trust_child(struct trust *t, struct child *c);

struct child {
	const struct proto *proto; /* NULL: a channel, its events come to this step() with ev->chan = tag */
	enum child_kind kind;
	const char *address;       /* CONNECT: as in the configuration (tcp:host:port); copied */
	const struct route *route; /* DGRAM: whom to talk to and from which of our addresses; needed */
	const struct peer *only;   /* LISTEN: nobody else may connect; NULL = anybody */
	const struct exec *exec;   /* EXEC */
	struct blob *arg;          /* for its EV_OPEN; a reference is taken */
	const struct layer *layer; /* CONNECT: pushed before EV_OPEN (TLS); NULL = none */
	void *layer_arg;           /* owned from here on */
	nsec deadline;             /* to be open by then, or EV_GONE with -ETIMEDOUT; 0 = 30 s from now */
};

/*
 * Tags are the session's own numbers; a channel's must not be 0. Always the same loop. A child that both
 * sides have finished ends by itself. The end of a parent ends its children. io_end() cancels one.
 */
void io_child(struct io *io, uint32_t tag, const struct child *c);

/* The io on which in_*, out_*, io_hold work for this channel; NULL when it is gone. Valid for this step. */
struct io *io_chan(struct io *io, uint32_t tag);
