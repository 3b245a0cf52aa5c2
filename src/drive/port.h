/*
 * port.h - what stands behind a protocol's `struct port` (proto.h): a driver embeds it first in its own and fills
 * in the calls. The server's posts through the inboxes of the loops, the memory driver's straight into a mailbox.
 */
#pragma once
#include "core/proto.h"

struct port {
	unsigned loops;
	/* Owns the mail, whatever happens; from any thread. */
	void (*post)(struct port *p, unsigned loop, uint32_t tag, struct mail *mail);
	/* Which of the loops this step runs on: below `loops`. */
	unsigned (*here)(const struct port *p, const struct io *io);
};
