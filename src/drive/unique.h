/* unique.h - a name that nobody has yet, and that nobody can guess. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "drive/sys.h"

enum { UNIQUE_DIGITS = 16 };

/* The prefix and UNIQUE_DIGITS hexadecimal digits; 0 or -errno. */
static inline int unique_name(const char *prefix, char *ret, size_t room)
{
	uint64_t n;
	ssize_t got = sys_getrandom(&n, sizeof(n), 0);

	if (got != sizeof(n))
		return got < 0 ? -errno : -EIO;
	snprintf(ret, room, "%s%0*llx", prefix, UNIQUE_DIGITS, (unsigned long long)n);
	return 0;
}
