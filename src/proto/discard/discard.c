/* discard.c - takes what comes and says nothing (RFC 863). */
#include "core/proto.h"
#include "proto/protos.h"

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	(void)self;
	switch (ev->kind) {
	case EV_DATA:
		in_take(io, in_peek(io).n);
		return V_GO;
	case EV_EOF:
	case EV_STOP:
		return V_CLOSE;
	default: /* a datagram is thrown away by doing nothing */
		return V_GO;
	}
}

const struct proto discard_proto = {
	.abi = PROTO_ABI,
	.name = "discard",
	.summary = "throws away what it gets",
	.doc = "RFC 863",
	.flags = P_STREAM | P_DGRAM | P_SMALL,
	.port = 9,
	.step = step,
};
