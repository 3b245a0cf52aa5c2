/* time.c - the time as a number of four bytes (RFC 868): seconds since 1900, which start again at 0 in February 2036. */
#include "core/proto.h"
#include "proto/common/stream.h"
#include "proto/protos.h"

#define SINCE_1900 INT64_C(2208988800) /* at the start of 1970 */

static void write_time(int64_t wall, uint8_t out[static 4])
{
	uint32_t t = (uint32_t)(wall + SINCE_1900);

	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(t >> (24 - 8 * i));
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	uint8_t now[4];

	(void)self;
	write_time(io->wall, now);
	switch (ev->kind) {
	case EV_OPEN:
		if (!stream_open(io))
			return V_GO;
		out_mem(io, now, sizeof(now));
		return V_CLOSE;
	case EV_DGRAM:
		out_dgram(io, ev->dgram.route, now, sizeof(now));
		return V_GO;
	case EV_STOP:
		return V_CLOSE;
	default:
		return V_GO;
	}
}

const struct proto time_proto = {
	.abi = PROTO_ABI,
	.name = "time",
	.summary = "tells the time as a number",
	.doc = "RFC 868",
	.flags = P_STREAM | P_DGRAM | P_SMALL,
	.port = 37,
	.step = step,
};
