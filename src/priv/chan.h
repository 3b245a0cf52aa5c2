/*
 * chan.h - messages between our own processes, over a pair of seqpacket sockets: a small fixed header, a body of at most
 * CHAN_BODY bytes, at most CHAN_FDS descriptors. Knows nothing of what they mean.
 *
 * The other end may be a process that somebody has taken over, so nothing of a message is believed before it was looked
 * at, and no struct is ever laid over received bytes: bodies are written and read value by value, below.
 *
 * On the wire, little endian: magic (4 bytes), type (2), descriptors (2), serial (4), length of the body (4), body.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define CHAN_BODY 16384 /* bytes in a body */
#define CHAN_FDS 16     /* descriptors in a message */

/*
 * Who talks to whom about what. A type is CHAN_TYPE(family, n) with n from 0 to 255, so that a message which reached the
 * wrong end means nothing there.
 */
enum chan_family {
	CHAN_WORKER = 1, /* monitor and worker: configuration, doors, commit, stop */
	CHAN_SPAWN,      /* a loop and the spawner: commands */
	CHAN_STORE,      /* a worker and the owner of a store */
	CHAN_FAMILIES,
};
#define CHAN_TYPE(family, n) ((family) << 8 | (n))

/* One message, to be sent or received. It lies where the caller wants it (16 KiB: not on a small stack) and allocates nothing. */
struct chan_msg {
	uint16_t type;     /* CHAN_TYPE() */
	uint32_t serial;   /* the sender's; an answer has that of its question */
	int err;           /* of chan_put_*: the first thing that did not fit; chan_send() returns it */
	bool owner;        /* the descriptors are ours to close: a received message */
	uint8_t n_fds;     /* descriptors in it */
	uint8_t taken;     /* of these, how many chan_take_fd() handed out */
	uint32_t n;        /* bytes in body */
	int fds[CHAN_FDS]; /* lent by the sender, or received */
	uint8_t body[CHAN_BODY];
};

/* ---- the channel ---- */

/* Two ends, CLOEXEC and non-blocking; each may send and receive. 0 or -errno. */
[[nodiscard]] int chan_pair(int ret[2]);

/*
 * Sends a message; nobody waits. The descriptors stay the caller's. 0, or:
 *   -EAGAIN    no room now: drop and count, or wait for POLLOUT
 *   -EPIPE     the other end is gone
 *   -EMSGSIZE  it did not fit into a message (what chan_put_* met)
 *   -errno     of sendmsg(2); -ETOOMANYREFS when too many descriptors are under way
 */
[[nodiscard]] int chan_send(int fd, const struct chan_msg *m);

/* The same, but waits for room up to `ms` (-1 for ever); then -ETIMEDOUT. */
[[nodiscard]] int chan_send_wait(int fd, const struct chan_msg *m, int ms);

/*
 * Receives a message; nobody waits. Returns
 *   1        *ret is one, and owns its descriptors (CLOEXEC): chan_take_fd() what you keep, then chan_msg_done()
 *   0        the other end is gone, and all it sent was received
 *   -EAGAIN  nothing now
 *   -EPROTO  what came is not ours: too short, no magic, no known family, a length that is not the datagram's, more
 *            descriptors than there may be. It is taken off the channel; whoever sends that is not to be talked to further
 *   -EMFILE  a good message, but this process has no room for its descriptors: type and serial are right, body and
 *            descriptors are lost; an answer with the error is in order
 *   -errno   of recvmsg(2)
 * But for 1 *ret is without body and descriptors, and nothing stays open.
 */
[[nodiscard]] int chan_recv(int fd, struct chan_msg *ret);

/* The same, but waits for a message up to `ms` (-1 for ever); then -ETIMEDOUT. */
[[nodiscard]] int chan_recv_wait(int fd, struct chan_msg *ret, int ms);

/* ---- messages ---- */

/* An empty message to be filled and sent; to be called before any chan_put_*. Needs no chan_msg_done(). */
void chan_msg_init(struct chan_msg *m, unsigned type, uint32_t serial);

/* The next received descriptor, in the order in which they were put, the caller's from now on; -1 when there is none left. */
[[nodiscard]] int chan_take_fd(struct chan_msg *m);

/* Closes the received descriptors that nobody took. The message is then empty. */
void chan_msg_done(struct chan_msg *m);

/* ---- writing a body; errors stick in m->err: add at will, chan_send() says it ---- */

void chan_put_u8(struct chan_msg *m, uint8_t v);
void chan_put_u32(struct chan_msg *m, uint32_t v);
void chan_put_bytes(struct chan_msg *m, struct span s); /* with their length before them */
void chan_put_str(struct chan_msg *m, const char *s);   /* with its NUL; NULL is "" */
void chan_put_fd(struct chan_msg *m, int fd);           /* lent until it is sent; -1 is -EBADF */

/* ---- reading a body; errors stick in g->err and what is read after one is 0, "" or nothing ---- */

struct chan_get {
	const uint8_t *p;
	size_t left;
	int err; /* 0 or -EPROTO */
};

/* From its first byte; lives as long as the message. */
struct chan_get chan_get(const struct chan_msg *m);

uint8_t chan_get_u8(struct chan_get *g);
uint32_t chan_get_u32(struct chan_get *g);

/* Of 0 to `max`; anything else is an error. For enums, flags and counts. */
uint32_t chan_get_upto(struct chan_get *g, uint32_t max);

/* At most `max` bytes; they point into the message. */
struct span chan_get_bytes(struct chan_get *g, size_t max);

/* At most `max` bytes, none of them NUL, ended by one; points into the message. */
const char *chan_get_str(struct chan_get *g, size_t max);

/* 0 when all was right and nothing is left over, else -EPROTO. The last call of whoever reads a body. */
[[nodiscard]] int chan_get_end(const struct chan_get *g);
