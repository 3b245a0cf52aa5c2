/* fault.c - counts calls and fails the chosen one; empty in a release build. */
#include "base/fault.h"

#ifdef GUICHET_FAULTS
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

static struct {
	_Atomic unsigned long calls;
	_Atomic unsigned long at; /* 0 = disarmed */
	_Atomic int err;
	_Atomic bool every;
} faults[FAULT_KINDS];

void fault_arm(enum fault_kind kind, unsigned long n, int err, bool every)
{
	atomic_store(&faults[kind].at, 0);
	atomic_store(&faults[kind].calls, 0);
	atomic_store(&faults[kind].err, err);
	atomic_store(&faults[kind].every, every);
	atomic_store(&faults[kind].at, n);
}

unsigned long fault_calls(enum fault_kind kind)
{
	return atomic_load(&faults[kind].calls);
}

bool fault_hit(enum fault_kind kind)
{
	unsigned long at = atomic_load_explicit(&faults[kind].at, memory_order_relaxed);
	unsigned long n = atomic_fetch_add_explicit(&faults[kind].calls, 1, memory_order_relaxed) + 1;

	if (at == 0 || n < at || (n > at && !atomic_load(&faults[kind].every)))
		return false;
	if (atomic_load(&faults[kind].err) == FAULT_CRASH)
		_Exit(EXIT_FAILURE);
	if (kind == FAULT_SYS)
		errno = atomic_load(&faults[kind].err);
	return true;
}
#else
typedef int fault_c_is_not_empty; /* ISO C wants one declaration in a file */
#endif
