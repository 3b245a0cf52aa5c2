/*
 * fifo.h - conversations over named pipes. A pipe carries bytes one way and knows no connections, so there is a
 * rendez-vous: the server has one FIFO, PATH. A client makes two of its own in the same folder, NAME.c (to the server) and
 * NAME.s (from it), opens NAME.s for reading, and writes one line, NAME, to PATH. The server checks and opens both. See
 * docs/design/fifo.md.
 */
#pragma once
#include "base/buf.h"
#include "core/proto.h"

#define FIFO_NAME_MAX 253 /* of 255 that a file's name may have */

/* ---- the server's side ---- */

struct fifo;

/*
 * Makes PATH, for nobody but us (owner_give() changes that), and opens it. A FIFO of that name that nobody reads from is left
 * over, and replaced. 0 or -errno with a sentence: somebody serves it, or it is no FIFO.
 */
[[nodiscard]] int fifo_open(const char *path, struct fifo **ret, struct buf *why);
[[nodiscard]] int fifo_probe(const char *path,
			     struct buf *why); /* what it would say of another file there; makes nothing */
/* The same with the descriptors of one that another process has opened; they are ours from now on, also on failure. 0 or -ENOMEM. */
[[nodiscard]] int fifo_take(int fd, int dir, struct fifo **ret);
void fifo_close(struct fifo **f);   /* PATH is removed, unless it was taken, or is another file by now; NULL is fine */
int fifo_dir(const struct fifo *f); /* its folder */
int fifo_fd(const struct fifo *f);

/* A client: both of its pipes, not blocking; or why it is none. */
struct fifo_client {
	int fd, wfd;
	const char *
		reason; /* a literal for the log: "bad-name", "no-such-pipe", "not-a-pipe", "pipe-in-use", "pipe-not-opened" */
	char name[FIFO_NAME_MAX + 1];
};

/*
 * The next one that has announced itself. 1: *ret has its pipes, which are the caller's; 0: nobody now; -EPROTO: *ret has a name
 * and the reason why not, there may be more; or -errno (descriptors or memory are out): it waits, as the others do.
 *
 * A client that has not opened NAME.s yet has `patience` to do so (0: 10 s). 64 such can wait; who comes when they are all there
 * must have opened it before.
 */
[[nodiscard]] int fifo_accept(struct fifo *f, nsec now, nsec patience, struct fifo_client *ret);

/* When to call fifo_accept() again, whether there is something to read or not; 0: only when there is. */
nsec fifo_due(const struct fifo *f);

/* ---- the client's side ---- */

struct fifo_dial;

/*
 * Makes the two pipes, opens ours for reading (*ret_fd, the caller's) and announces them. 0 or -errno: -ECONNREFUSED when
 * nobody serves PATH, -ENOTSUP when it is no FIFO.
 */
[[nodiscard]] int fifo_dial(const char *path, struct fifo_dial **ret, int *ret_fd);

/* Has the server come? 1: *ret_wfd is where to write, and both pipes are without names now; 0: not yet; or -errno. */
[[nodiscard]] int fifo_dial_try(struct fifo_dial *d, int fd, int *ret_wfd);

const char *fifo_dial_name(const struct fifo_dial *d); /* NAME */
void fifo_dial_free(struct fifo_dial **d);             /* removes the pipes that have names yet; NULL is fine */
