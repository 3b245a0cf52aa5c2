/*
 * queue.h - POSIX message queues as a datagram transport. A queue goes one way, so a message begins with the name of the queue
 * that the answer goes to: `/guichet-4711 hello`. See docs/design/mq.md.
 */
#pragma once
#include "base/addr.h"
#include "base/buf.h"
#include "base/span.h"
#include "drive/net/owner.h"

enum { QUEUE_MESSAGE = 8192 }; /* bytes of the longest message; what most systems allow */

/*
 * Takes the name off the front of a message, and the space behind it: *ret is a text, and what is left is the datagram. False: it
 * begins with no name that may be one: a slash, and 1 to 254 printable characters without another.
 */
bool queue_split(struct span *message, char ret[static ADDR_MQ_MAX + 1]);

/*
 * Makes a queue, for nobody but us (queue_give() changes that), and opens it for reading. One of that name that no program like
 * this one holds is left over and replaced, if it is ours. A descriptor, or -errno with a sentence.
 */
[[nodiscard]] int queue_open(const char *name, struct buf *why);
[[nodiscard]] int queue_probe(const char *name, struct buf *why); /* what it would say of another one; makes nothing */
[[nodiscard]] int queue_give(int fd, const struct owner *to);     /* 0 or -errno */
[[nodiscard]] int queue_take(const char *name);           /* another process has opened it for us; 0 or -ENOMEM */
void queue_close(int *fd, const char *name, bool remove); /* -1 is fine */

void queue_remove(const char *name); /* one of queue_dial() */

/* Do we read from a queue of this name (queue_open())? Any thread. */
bool queue_is_ours(const char *name);

/* ---- for a client ---- */

/*
 * The queue of a server for writing (*ret_to) and one for its answers (*ret_from), with a name made up, which is the caller's to
 * remove. 0 or -errno.
 */
[[nodiscard]] int queue_dial(const char *name, char ret_own[static ADDR_MQ_MAX + 1], int *ret_to, int *ret_from);
