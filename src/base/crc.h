/* crc.h - CRC32C (Castagnoli), the checksum of PROXY headers and of records on the disk. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Of n bytes, going on from `crc`, which is 0 at first: crc32c(crc32c(0, a, n), b, m) is that of a and b in a row. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

/* The same without the processor's help, which crc32c() takes where it can. */
uint32_t crc32c_by_table(uint32_t crc, const void *p, size_t n);
