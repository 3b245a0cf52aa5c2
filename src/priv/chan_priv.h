/* chan_priv.h - numbers on the wire of chan.h: little endian, 1 to 8 bytes. */
#pragma once
#include <stddef.h>
#include <stdint.h>

static inline void chan_write_int(uint8_t *p, uint64_t v, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static inline uint64_t chan_read_int(const uint8_t *p, size_t bytes)
{
	uint64_t v = 0;

	for (size_t i = 0; i < bytes; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}
