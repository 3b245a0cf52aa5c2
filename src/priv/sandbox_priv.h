/* sandbox_priv.h - what the files of the sandbox share; sandbox.h is the outside. */
#pragma once
#include <stdint.h>
#include <sys/prctl.h>

#include "base/fault.h"
#include "priv/sandbox.h"

/* Tests make each step fail in turn (base/fault.h). For calls that return -1 and errno. */
#define SANDBOX_TRY(call) (fault_hit(FAULT_SYS) ? -1 : (call))

#ifndef __has_feature /* gcc, which has the macros instead */
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define SANDBOX_TSAN true /* it has a thread of its own from the start */
#else
#define SANDBOX_TSAN false
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define SANDBOX_ASAN true
#else
#define SANDBOX_ASAN false
#endif

/* Permit what the runtime of a sanitizer needs beyond. */
static inline bool sandbox_for_sanitizer(const struct sandbox *s)
{
	return (SANDBOX_ASAN || SANDBOX_TSAN) && s->sanitizer;
}

/* What a test pretends about the kernel. */
struct sandbox_kernel {
	int landlock; /* the best ABI, 0 = none */
	bool seccomp;
};

#ifndef PR_SET_MDWE /* Linux 6.3 */
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif
#ifndef PR_MDWE_NO_INHERIT /* 6.7 */
#define PR_MDWE_NO_INHERIT 2
#endif

#define SANDBOX_LANDLOCK_KNOWN 7 /* the last ABI that landlock.c knows */

/* sandbox_enter() on a kernel that can do no more than `k`. */
[[nodiscard]] int sandbox_enter_on(const struct sandbox_kernel *k, const struct sandbox *given,
				   struct sandbox_report *ret, struct buf *why);

/* Adds `NAME: sentence` to `why` and returns -err. */
int sandbox_fail(const struct sandbox *s, struct buf *why, int err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* ---- identity.c ---- */

/* Becomes user and group, without any capability. Sets uid and gid in *r. */
[[nodiscard]] int identity_drop(const struct sandbox *s, struct sandbox_report *r, struct buf *why);

/* ---- landlock.c ---- */

/* Makes the set of rules, as who we still are, with at most the ABI `max`. *ret_fd = -1 when there is none. */
[[nodiscard]] int landlock_prepare(const struct sandbox *s, int max, struct sandbox_report *r, int *ret_fd,
				   struct buf *why);

/* Can message queues be permitted only by opening their file system, since nobody has mounted it? */
bool landlock_opens_queues(void);

/* Puts it into force. Needs no_new_privs. The descriptor stays the caller's. */
[[nodiscard]] int landlock_enforce(const struct sandbox *s, int fd, struct buf *why);

/* ---- syscalls.c ---- */

/* Puts the list of system calls into force, for all threads; *r says whether the kernel can. Needs no_new_privs. */
[[nodiscard]] int syscalls_enforce(const struct sandbox *s, struct sandbox_report *r, struct buf *why);
