/*
 * spawn_child.c - what happens between fork() and execve(): nothing of the spawner is left when the command begins. No memory
 * is asked for here, and every mistake is a number for the asker.
 */
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "priv/spawner_priv.h"
#include "priv/sys.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif

static void default_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL); /* two of them cannot be set */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A program that does not know of O_NONBLOCK takes EAGAIN for a mistake. */
static int make_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	return flags & O_NONBLOCK && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -errno : 0;
}

/* Those that came have numbers from 3 on, because 0, 1 and 2 are always taken in the spawner. */
static int set_fds(const struct spawn_run *r, int null)
{
	for (int i = 0; i < 3; i++) {
		int e = r->fds[i] >= 0 ? make_blocking(r->fds[i]) : 0;

		if (e < 0)
			return e;
		if (dup2(r->fds[i] >= 0 ? r->fds[i] : null, i) < 0)
			return -errno;
	}
	return 0;
}

static int set_limits(size_t nofile)
{
	struct rlimit l;

	if (nofile == 0)
		return 0;
	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return -errno;
	l.rlim_cur = nofile < l.rlim_max ? nofile : l.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &l) < 0 ? -errno : 0;
}

static int set_user(const struct spawn_user *u)
{
	gid_t gid = u->gid;

	if (u->uid == SPAWN_SAME)
		return 0;
	if (setgroups(1, &gid) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(u->uid, u->uid, u->uid) < 0)
		return -errno;
	return 0;
}

/* It is to die with the spawner; a change of the user forgets that, so it comes last. */
static int die_with(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return getppid() == parent ? 0 : -ESRCH; /* it is dead already, and told nobody */
}

int spawn_become(const struct spawn_run *r, int null, size_t nofile, pid_t parent)
{
	int e;

	setpgid(0, 0); /* the spawner does it too: whoever is first */
	default_signals();
	e = set_fds(r, null);
	if (e == 0)
		e = set_limits(nofile);
	if (e == 0)
		e = set_user(&r->user);
	if (e == 0 && chdir(r->dir) < 0)
		e = -errno;
	if (e == 0)
		e = die_with(parent);
	if (e < 0)
		return e;
	/* all of ours are CLOEXEC from birth; this is for those that a library may have opened */
	(void)close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	execve(r->path, (char *const *)r->argv, (char *const *)r->envp);
	return -errno;
}
