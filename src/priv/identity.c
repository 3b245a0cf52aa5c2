/*
 * identity.c - who a process is: user, groups, capabilities. Everything is given up (`others` keeps one capability), and
 * then looked at again, since a process that believes it has dropped its rights is worse than one that knows that it has not.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "priv/sandbox_priv.h"

static bool is_already(const struct sandbox *s)
{
	uid_t ru, eu, su;
	gid_t rg, eg, sg;

	return getresuid(&ru, &eu, &su) == 0 && getresgid(&rg, &eg, &sg) == 0 && ru == s->uid && eu == s->uid &&
	       su == s->uid && rg == s->gid && eg == s->gid && sg == s->gid;
}

/* As long as we may, since CAP_SETPCAP goes with the user. Who never had it has no use of the set either: no new privileges. */
static int drop_bounding(const struct sandbox *s, struct buf *why)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
		if (SANDBOX_TRY(prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)) == 0)
			continue;
		if (errno == EPERM)
			return 0;
		return sandbox_fail(s, why, errno, "cannot drop capability %d from the bounding set: %s", cap,
				    strerror(errno));
	}
	return 0;
}

static int set_groups(const struct sandbox *s, struct buf *why)
{
	if (SANDBOX_TRY(s->user ? initgroups(s->user, s->gid) : setgroups(0, NULL)) == 0)
		return 0;
	if (errno == EPERM && is_already(s)) /* an ordinary user stays one */
		return 0;
	return sandbox_fail(s, why, errno, "cannot take the groups of %s: %s; start as root, or as that user",
			    s->user ? s->user : "the user", strerror(errno));
}

static int set_ids(const struct sandbox *s, struct buf *why)
{
	if (SANDBOX_TRY(setresgid(s->gid, s->gid, s->gid)) < 0)
		return sandbox_fail(s, why, errno, "cannot become group %u: %s; start as root, or as user %u",
				    (unsigned)s->gid, strerror(errno), (unsigned)s->uid);
	if (SANDBOX_TRY(setresuid(s->uid, s->uid, s->uid)) < 0)
		return sandbox_fail(s, why, errno, "cannot become user %u: %s; start as root, or as that user",
				    (unsigned)s->uid, strerror(errno));
	return 0;
}

/* What is kept, of the capabilities below 32. */
static uint32_t kept(const struct sandbox_report *r)
{
	return r->others ? UINT32_C(1) << CAP_DAC_OVERRIDE : 0;
}

/* The change of user has taken most of them, but not from a root that stays root or a user with ambient ones. */
static int drop_capabilities(const struct sandbox *s, const struct sandbox_report *r, struct buf *why)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = {};

	caps[0].effective = caps[0].permitted = kept(r);
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL) /* before Linux 4.3 */
		return sandbox_fail(s, why, errno, "cannot drop the ambient capabilities: %s", strerror(errno));
	if (SANDBOX_TRY(syscall(SYS_capset, &head, caps)) < 0)
		return sandbox_fail(s, why, errno, "cannot drop the capabilities: %s", strerror(errno));
	return 0;
}

static int check_capabilities(const struct sandbox *s, const struct sandbox_report *r, struct buf *why)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = {};

	if (SANDBOX_TRY(syscall(SYS_capget, &head, caps)) < 0)
		return sandbox_fail(s, why, errno, "cannot read the capabilities: %s", strerror(errno));
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		if (((caps[i].effective | caps[i].permitted) & ~(i == 0 ? kept(r) : 0)) | caps[i].inheritable)
			return sandbox_fail(s, why, EPERM, "capabilities are left after dropping them; this is a bug");
	}
	return 0;
}

/* Tries to come back. Each of these must fail. */
static int check_ids(const struct sandbox *s, struct buf *why)
{
	if (!is_already(s))
		return sandbox_fail(s, why, EPERM, "the change to user %u did not hold; this is a bug",
				    (unsigned)s->uid);
	if (s->uid != 0 && (setresuid((uid_t)-1, 0, (uid_t)-1) == 0 || setresuid(0, (uid_t)-1, (uid_t)-1) == 0))
		return sandbox_fail(s, why, EPERM, "root came back after the change to user %u; this is a bug",
				    (unsigned)s->uid);
	if (s->gid != 0 && (setresgid((gid_t)-1, 0, (gid_t)-1) == 0 || setresgid(0, (gid_t)-1, (gid_t)-1) == 0))
		return sandbox_fail(s, why, EPERM, "group 0 came back after the change to group %u; this is a bug",
				    (unsigned)s->gid);
	return 0;
}

int identity_drop(const struct sandbox *s, struct sandbox_report *r, struct buf *why)
{
	int n;

	r->others = s->others && r->landlock > 0 && geteuid() == 0 && s->uid != 0;
	if (r->others && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		r->others = false;
	n = drop_bounding(s, why);
	if (n == 0)
		n = set_groups(s, why);
	if (n == 0)
		n = set_ids(s, why);
	if (n == 0)
		n = drop_capabilities(s, r, why);
	if (n == 0)
		n = check_capabilities(s, r, why);
	if (n == 0)
		n = check_ids(s, why);
	r->uid = s->uid;
	r->gid = s->gid;
	return n;
}
