/*
 * pause.h - how long to wait before what failed is tried again. Twice as long each time: what is broken for good costs
 * little, what was broken for a moment is back soon.
 */
#pragma once
#include <stdint.h>

/* After so many failures in a row: none, first, 2 * first, 4 * first ... and no longer than `last`. Any unit. */
static inline uint64_t pause_after(unsigned failures, uint64_t first, uint64_t last)
{
	if (failures == 0)
		return 0;
	return failures <= 64 && first <= last >> (failures - 1) ? first << (failures - 1) : last;
}
