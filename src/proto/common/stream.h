/*
 * stream.h - for protocols that are both stream and datagram services and say something when a conversation opens.
 */
#pragma once
#include "core/proto.h"

/* Is this session a conversation? A datagram socket gets an EV_OPEN too, but there is nobody to talk to yet. */
static inline bool stream_open(const struct io *io)
{
	return !io->dgram;
}
