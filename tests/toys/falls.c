/* falls.c - a protocol that ends its process, or harms it: `abort`, `segv`, `stack`, `leak` or `loop` and a line end; whatever else comes, comes back. */
#include <stdlib.h>

#include "core/proto.h"

enum { LINE = 4096 };

static unsigned deeper(const volatile unsigned *n)
{
	volatile unsigned room[1024];

	room[0] = *n + 1;
	return room[0] ? deeper(room) + room[0] : 0; /* no tail call */
}

static void *volatile leaked;

static void fall(struct span word)
{
	volatile unsigned n = 0;

	if (span_is(word, "abort"))
		abort();
	if (span_is(word, "segv"))
		*(volatile int *)8 = 1;
	if (span_is(word, "stack"))
		(void)deeper(&n);
	if (span_is(word, "leak"))
		leaked = malloc(7777);
	leaked = NULL;
	while (span_is(word, "loop"))
		n++;
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	struct span line;

	(void)self;
	if (ev->kind == EV_DGRAM) {
		fall(ev->dgram.data);
		return V_GO;
	}
	if (ev->kind == EV_EOF)
		return V_CLOSE;
	if (ev->kind != EV_DATA)
		return V_GO;
	if (in_line(io, LINE, &line) <= 0)
		return V_GO;
	fall(line);
	out_mem(io, line.p, line.n);
	out_str(io, "\n");
	return V_GO;
}

extern const struct proto falls_proto;
const struct proto falls_proto = {
	.abi = PROTO_ABI,
	.name = "falls",
	.summary = "ends its process when a client says so",
	.flags = P_STREAM | P_DGRAM | P_SMALL | P_OFF,
	.step = step,
};
