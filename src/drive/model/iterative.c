/*
 * iterative.c - model iterative: one worker, who accepts, serves this one to the end, and only then accepts the next. The
 * first server everybody writes. The others wait in the backlog, and the datagrams in their socket; what it buys is that
 * nothing ever happens at the same time.
 */
#include "drive/model/crew.h"

static unsigned one(const struct service_options *c)
{
	(void)c;
	return 1;
}

const struct model model_iterative = {
	.name = "iterative", .dgram = true, .workers = one, .accepts = true, .take = crew_take
};
