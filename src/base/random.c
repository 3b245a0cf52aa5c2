/* random.c - see random.h. */
#include "base/random.h"

#include <errno.h>
#include <sys/random.h>

#include "base/fault.h"

/* So few come whole, and without waiting once the system has started. */
int random_fill(void *p, size_t n)
{
	ssize_t r = fault_hit(FAULT_SYS) ? -1 : getrandom(p, n, 0);

	return r == (ssize_t)n ? 0 : r < 0 && errno ? -errno : -EIO;
}
