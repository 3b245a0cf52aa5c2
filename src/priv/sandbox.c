/* sandbox.c - the order in which a process gives things up, and the limits that belong to no other file; see sandbox.h. */
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "priv/sandbox_priv.h"

int sandbox_fail(const struct sandbox *s, struct buf *why, int err, const char *fmt, ...)
{
	va_list ap;

	if (!why)
		return -err;
	buf_addf(why, "%s: ", s->name);
	va_start(ap, fmt);
	buf_addv(why, fmt, ap);
	va_end(ap);
	return -err;
}

/*
 * Landlock is for the calling thread and those that it makes, so there must be no other. The kernel refuses to take a
 * thread out of a process that has several; where there is only one, this call changes nothing.
 */
static int check_alone(const struct sandbox *s, struct buf *why)
{
	if (!SANDBOX_TSAN && unshare(CLONE_THREAD) < 0 && errno == EINVAL)
		return sandbox_fail(s, why, EBUSY,
				    "has threads already; it must enter the sandbox before it makes any");
	return 0;
}

static int limit(const struct sandbox *s, int what, const char *name, struct buf *why)
{
	const struct rlimit none = { 0, 0 };

	if (SANDBOX_TRY(setrlimit((__rlimit_resource_t)what, &none)) < 0)
		return sandbox_fail(s, why, errno, "cannot set the limit of %s to 0: %s", name, strerror(errno));
	return 0;
}

/*
 * The limit of processes is counted for the user, on the whole machine, but only asked when this process makes one: 0 is
 * right for one that makes none, whoever else that user is, and any other number is wrong. There is no limit of the size
 * of files: what is open already, as a log, would end with SIGXFSZ, and Landlock sees to the others.
 */
static int set_limits(const struct sandbox *s, struct buf *why)
{
	int r = s->monitor && s->execs ? 0 : limit(s, RLIMIT_CORE, "core files", why); /* commands may leave some */

	if (r == 0 && !s->monitor && !s->threads && !s->forks && !s->execs && !sandbox_for_sanitizer(s))
		r = limit(s, RLIMIT_NPROC, "processes", why);
	return r;
}

/* Neither ptrace nor /proc/PID of others of the same user, no core file by any way; and nothing executed gains rights. */
static int close_doors(const struct sandbox *s, struct buf *why)
{
	if (SANDBOX_TRY(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)) < 0)
		return sandbox_fail(s, why, errno, "cannot forbid core files: %s", strerror(errno));
	if (SANDBOX_TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) < 0)
		return sandbox_fail(s, why, errno, "cannot give up new privileges: %s; Linux 3.5 is needed",
				    strerror(errno));
	return 0;
}

/*
 * Programs that compile at run time, as many do, could not run under it, and they would inherit it. What the monitor keeps to
 * itself its commands do not have; its workers take their own.
 */
static void forbid_new_code(const struct sandbox *s, struct sandbox_report *r)
{
	if (s->monitor)
		r->mdwe = prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN | PR_MDWE_NO_INHERIT, 0, 0, 0) == 0;
	if (!s->execs && !r->mdwe)
		r->mdwe = prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) == 0;
}

static bool has_code_rule(const struct sandbox *s, const struct sandbox_report *r)
{
	return r->mdwe || (s->execs ? !s->monitor : r->seccomp);
}

static int enter(const struct sandbox_kernel *k, const struct sandbox *s, struct sandbox_report *report, int rules,
		 struct buf *why)
{
	int r = s->monitor ? 0 : identity_drop(s, report, why);

	if (r == 0)
		r = set_limits(s, why);
	if (r == 0)
		r = close_doors(s, why);
	if (r == 0 && rules >= 0)
		r = landlock_enforce(s, rules, why);
	if (r < 0)
		return r;
	forbid_new_code(s, report);
	if (k->seccomp)
		r = syscalls_enforce(s, report, why);
	if (!report->seccomp)
		report->lost |= SANDBOX_LOST_SECCOMP;
	if (!has_code_rule(s, report))
		report->lost |= SANDBOX_LOST_CODE;
	return r;
}

/* Its lists are those of all its children too, so it may all that any of them may. */
static struct sandbox for_monitor(const struct sandbox *s)
{
	return (struct sandbox){
		.name = s->name,
		.uid = geteuid(),
		.gid = getegid(),
		.monitor = true,
		.any_path = true,
		.connects = true,
		.listens = true,
		.datagrams = true,
		.queues = true,
		.threads = true,
		.forks = true,
		.runs = true,
		.execs = s->execs,
		.sanitizer = s->sanitizer,
	};
}

int sandbox_enter_on(const struct sandbox_kernel *k, const struct sandbox *given, struct sandbox_report *ret,
		     struct buf *why)
{
	const struct sandbox all = for_monitor(given), *s = given->monitor ? &all : given;
	struct sandbox_report report = { .uid = s->uid, .gid = s->gid, .self = -1, .execs = s->execs };
	int rules = -1, r = check_alone(s, why);

	if (r == 0 && !s->monitor)
		r = landlock_prepare(s, k->landlock, &report, &rules, why);
	if (r == 0)
		r = enter(k, s, &report, rules, why);
	if (rules >= 0)
		close(rules);
	if (r == 0)
		*ret = report;
	else if (report.self >= 0)
		close(report.self);
	return r;
}

int sandbox_enter(const struct sandbox *s, struct sandbox_report *ret, struct buf *why)
{
	const struct sandbox_kernel all = { .landlock = SANDBOX_LANDLOCK_KNOWN, .seccomp = true };

	return sandbox_enter_on(&all, s, ret, why);
}

static const struct {
	unsigned lost;
	const char *text;
} losses[] = {
	{ SANDBOX_LOST_LANDLOCK, "Landlock" },
	{ SANDBOX_LOST_REFER, "renaming between folders" },
	{ SANDBOX_LOST_TRUNCATE, "limits to truncate" },
	{ SANDBOX_LOST_TCP, "limits to TCP ports" },
	{ SANDBOX_LOST_IOCTL, "limits to devices" },
	{ SANDBOX_LOST_SCOPE, "limits to signals and abstract sockets" },
	{ SANDBOX_LOST_SECCOMP, "seccomp" },
	{ SANDBOX_LOST_CODE, "W^X" },
};

void sandbox_describe(const struct sandbox_report *r, struct buf *b)
{
	const char *between = "; without ";

	buf_addf(b, "user %u, group %u", (unsigned)r->uid, (unsigned)r->gid);
	if (r->landlock > 0)
		buf_addf(b, ", landlock %d", r->landlock);
	if (r->seccomp)
		buf_adds(b, ", seccomp");
	if (r->mdwe)
		buf_adds(b, ", mdwe");
	if (r->execs)
		buf_adds(b, ", runs programs");
	if (r->others)
		buf_adds(b, ", files of others");
	for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
		if (!(r->lost & losses[i].lost))
			continue;
		buf_addf(b, "%s%s", between, losses[i].text);
		between = ", ";
	}
}
