/* random.h - bytes that nobody can guess: keys of hashes, names. */
#pragma once
#include <stddef.h>

[[nodiscard]] int random_fill(void *p, size_t n); /* at most 256 bytes. 0 or -errno */
