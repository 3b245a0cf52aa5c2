/*
 * chargen.c - characters without end (RFC 864): lines of 72, each starting one character further than the one before.
 *
 * After 95 lines they repeat, so the service has them once, as a blob, and a connection only queues that blob again
 * and again as long as there is room. A session has no state, whatever the speed.
 */
#include <errno.h>

#include "base/mem.h"
#include "core/proto.h"
#include "proto/common/stream.h"
#include "proto/protos.h"

enum {
	FIRST_CHAR = ' ',
	CHARS = 95, /* of ASCII that print */
	WIDTH = 72,
	LINE = WIDTH + 2, /* CR LF */
	CYCLE = CHARS * LINE,
	DGRAM_MAX = 512,
	FILL = (64 << 10) / CYCLE + 1, /* cycles until out_room() is 0 */
};

static int open_service(struct svc *svc, struct buf *ret_why)
{
	uint8_t *text = mem_alloc(CYCLE);

	if (!text) {
		buf_adds(ret_why, "out of memory");
		return -ENOMEM;
	}
	for (int i = 0; i < CYCLE; i++) {
		int column = i % LINE;

		text[i] = (uint8_t)(FIRST_CHAR + (i / LINE + column) % CHARS);
		if (column >= WIDTH)
			text[i] = column == WIDTH ? '\r' : '\n';
	}
	svc->state = blob_new(&(struct span){ text, CYCLE }, 1);
	mem_free(text);
	if (!svc->state)
		buf_adds(ret_why, "out of memory");
	return svc->state ? 0 : -ENOMEM;
}

static void close_service(struct svc *svc)
{
	blob_unref(svc->state);
	svc->state = NULL;
}

/* The count is for a session that is to be aborted: what is queued then is dropped, and there is always room. */
static void fill(struct io *io)
{
	for (int i = 0; i < FILL && out_room(io); i++)
		out_blob(io, io->svc->state);
}

/*
 * 1 to 512 characters from some line on; which and how many changes from one turn of the loop to the next. The RFC
 * wants random, and nobody needs more than different. Whoever may have forged an address gets no more than was sent.
 */
static void answer(struct io *io, struct span request, const struct route *route)
{
	struct span cycle = blob_span(io->svc->state);
	uint64_t mixed = (io->now ^ io->now >> 29) * UINT64_C(0x9e3779b97f4a7c15);
	size_t n = 1 + (size_t)(mixed >> 32) % DGRAM_MAX;
	size_t from = (size_t)(mixed >> 48) % (CYCLE / LINE - DGRAM_MAX / LINE - 1) * LINE;

	if (route && !route->proven && n > request.n)
		n = request.n;
	if (n)
		out_dgram(io, route, cycle.p + from, n);
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	(void)self;
	switch (ev->kind) {
	case EV_OPEN:
	case EV_ROOM:
		if (stream_open(io))
			fill(io);
		return V_GO;
	case EV_DATA:
		in_take(io, in_peek(io).n);
		return V_GO;
	case EV_DGRAM:
		answer(io, ev->dgram.data, ev->dgram.route);
		return V_GO;
	case EV_EOF:
	case EV_STOP:
		return V_CLOSE;
	default:
		return V_GO;
	}
}

const struct proto chargen_proto = {
	.abi = PROTO_ABI,
	.name = "chargen",
	.summary = "sends characters without end",
	.doc = "RFC 864",
	/* its output is always full: without P_READ_WHILE_FULL it would never hear that the client has ended */
	.flags = P_STREAM | P_DGRAM | P_DGRAM_OFF | P_SMALL | P_READ_WHILE_FULL,
	.port = 19,
	.step = step,
	.svc_open = open_service,
	.svc_close = close_service,
};
