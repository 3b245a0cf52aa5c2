/*
 * proto_who.h - who a peer has shown to be, and the two things that the time limits of a conversation wait for: its first message and its
 * login. Part of proto.h.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct io;

struct who {
	enum { WHO_NOBODY, WHO_PASSWORD, WHO_CERTIFICATE, WHO_UNIX } how;
	const char *user;  /* name, certificate subject, or NULL */
	uint32_t uid, gid; /* WHO_UNIX */
	int32_t pid;
	uint32_t proof; /* WHO_PASSWORD: which password it was, as proto/common/login.h knows it */
};

/*
 * It has logged in: io->who of this session from the next step on, a copy. NULL, or WHO_NOBODY: it has logged out. A session of a
 * protocol with P_LOGIN must come to this within the option `auth`, counted from EV_OPEN, or it is ended.
 */
void io_who(struct io *io, const struct who *who);

/*
 * The first whole message has come: what a protocol with P_FIRST says within the option `first`, counted from EV_OPEN, or the
 * session is ended. Once is enough.
 */
void io_first(struct io *io);

/*
 * It has tried to log in as this user (as it said; empty: it did not say), and could not. Counted, logged, and held against its
 * address: with too many of them, at all services together, no service lets it in for a while. true: it has come to that; the
 * protocol should end the conversation, after its answer. Also when another conversation of this address was the last straw.
 */
bool io_login_failed(struct io *io, struct span user);
