/* clock.h - the only place that asks what time it is. */
#pragma once
#include <time.h>

#include "core/proto.h"

static inline nsec clock_mono(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (nsec)t.tv_sec * SEC + (nsec)t.tv_nsec;
}

/* The coarse clock is enough for what peers read, and half the price. */
static inline int64_t clock_wall(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME_COARSE, &t);
	return t.tv_sec;
}

/* For what is on disk: milliseconds since 1970. */
static inline uint64_t clock_wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / MSEC;
}
