/*
 * crc.c - see crc.h. By the processor's instruction where there is one: whole stores are checked with it. Else four
 * bits at a time, with a table that is small enough to be read.
 */
#include "base/crc.h"

#include <stdbool.h>
#include <string.h>

/* The remainders of the sixteen values of four bits; polynomial 0x1edc6f41, bits reversed. */
static const uint32_t remainders[16] = {
	0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
	0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t crc32c_by_table(uint32_t crc, const void *p, size_t n)
{
	const uint8_t *b = p;

	crc = ~crc;
	for (; n > 0; n--, b++) {
		crc ^= *b;
		crc = crc >> 4 ^ remainders[crc & 15];
		crc = crc >> 4 ^ remainders[crc & 15];
	}
	return ~crc;
}

#if defined(__x86_64__)
static bool has_instruction(void)
{
	return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *b, size_t n)
{
	uint64_t c = ~crc, word;

	for (; n >= sizeof(word); n -= sizeof(word), b += sizeof(word)) {
		memcpy(&word, b, sizeof(word));
		c = __builtin_ia32_crc32di(c, word);
	}
	crc = (uint32_t)c;
	for (; n > 0; n--, b++)
		crc = __builtin_ia32_crc32qi(crc, *b);
	return ~crc;
}
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>

static bool has_instruction(void)
{
	return true;
}

static uint32_t by_instruction(uint32_t crc, const uint8_t *b, size_t n)
{
	uint64_t word;

	crc = ~crc;
	for (; n >= sizeof(word); n -= sizeof(word), b += sizeof(word)) {
		memcpy(&word, b, sizeof(word));
		crc = __crc32cd(crc, word);
	}
	for (; n > 0; n--, b++)
		crc = __crc32cb(crc, *b);
	return ~crc;
}
#else
static bool has_instruction(void)
{
	return false;
}

static uint32_t by_instruction(uint32_t crc, const uint8_t *b, size_t n)
{
	return crc32c_by_table(crc, b, n);
}
#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	return has_instruction() ? by_instruction(crc, p, n) : crc32c_by_table(crc, p, n);
}
