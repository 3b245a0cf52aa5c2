/*
 * proto_who.h - who a peer has shown to be, and the two things that the time limits of a conversation wait for: its first message and its
 * login. Part of proto.h.
 */
#pragma once
#include <stdint.h>

struct io;

struct who {
	enum { WHO_NOBODY, WHO_PASSWORD, WHO_CERTIFICATE, WHO_UNIX } how;
	const char *user;  /* name, certificate subject, or NULL */
	uint32_t uid, gid; /* WHO_UNIX */
	int32_t pid;
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
