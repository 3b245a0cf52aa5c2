/*
 * given.h - descriptors that the program was born with: from systemd, from inetd, from a shell. What it opens itself is
 * closed in its children (CLOEXEC); what is not, when it begins, was given.
 */
#pragma once
#include <stdbool.h>

#include "base/buf.h"
#include "drive/net/netaddr.h"

struct given;

/* Looks at what is open above standard error, and makes it CLOEXEC. 0 or -errno. */
[[nodiscard]] int given_new(struct given **ret);
void given_free(struct given **g); /* closes nothing */

enum given_kind {
	GIVEN_NOTHING, /* not open */
	GIVEN_FILE,    /* no socket: a pipe, a terminal, a file */
	GIVEN_DOOR,    /* a socket that listens */
	GIVEN_DGRAM,   /* a datagram socket */
	GIVEN_TALK,    /* a socket with somebody at its other end */
	GIVEN_IDLE,    /* a stream socket that neither listens nor is connected */
};
enum given_kind given_kind(int fd);

/* What it is bound to; AF_UNSPEC for a file. 0 or -errno. */
[[nodiscard]] int given_address(int fd, struct netaddr *ret);

/* Is it one of them? 0 is standard input, and always is. Otherwise false, with a sentence. */
bool given_has(const struct given *g, int fd, struct buf *why);

/* The one that is bound to exactly this address and listens or takes datagrams; -1: there is none. */
int given_find(const struct given *g, const struct netaddr *at);

/*
 * Takes it for one use: *ret_fd is a new descriptor. 0 stands for standard input, and *ret_wfd for standard output where that
 * is another file (else -1); in their places is /dev/null from then on. A conversation is taken away; what listens stays, so
 * that a later reload finds it again. 0 or -errno.
 */
[[nodiscard]] int given_take(struct given *g, int fd, int *ret_fd, int *ret_wfd);
