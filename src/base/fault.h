/*
 * fault.h - the one seam where tests make an allocation or a system call fail.
 * Not error handling: it only decides whether the Nth call is to fail. In a release
 * build the question is answered "no" at compile time and costs nothing.
 */
#pragma once
#include <stdbool.h>

enum fault_kind {
	FAULT_MEM, /* mem_*: the call returns NULL */
	FAULT_SYS, /* sys_*: the call returns -1 with the errno given to fault_arm() */
	FAULT_KINDS,
};

#ifdef GUICHET_FAULTS
#define FAULT_CRASH (-1)
/*
 * Make the nth call from now of this kind fail (1 = the next one); `err` is the errno that a system
 * call then reports; FAULT_CRASH: the process ends there and then, as if killed. With `every`, each later call fails too. n = 0 disarms. Process-wide.
 */
void fault_arm(enum fault_kind kind, unsigned long n, int err, bool every);

/* Calls of this kind seen since fault_arm(); lets a test know when it has failed them all. */
unsigned long fault_calls(enum fault_kind kind);

/* True when this call is to fail; for FAULT_SYS errno is then set. */
bool fault_hit(enum fault_kind kind);
#else
static inline bool fault_hit(enum fault_kind kind)
{
	(void)kind;
	return false;
}
#endif

/* sys_NAME(): the call NAME of the system, behind the seam. For a header of such calls that a folder has. */
#define FAULT_SEAM(type, name, params, args) \
	static inline type sys_##name params \
	{ \
		return fault_hit(FAULT_SYS) ? (type)-1 : (type)name args; \
	}
