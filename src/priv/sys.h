/*
 * sys.h - system calls of priv, each behind the fault seam (base/fault.h) so that tests make them fail one by one, as
 * drive/sys.h does for the drive. Same results as the call of the same name: -1 and errno. Not for headers: a file that
 * includes both would have some calls twice.
 */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"

FAULT_SEAM(int, socketpair, (int d, int t, int p, int v[2]), (d, t, p, v))
FAULT_SEAM(ssize_t, sendmsg, (int fd, const struct msghdr *m, int f), (fd, m, f))
FAULT_SEAM(ssize_t, recvmsg, (int fd, struct msghdr *m, int f), (fd, m, f))
FAULT_SEAM(int, poll, (struct pollfd * v, nfds_t n, int ms), (v, n, ms))
FAULT_SEAM(int, pipe2, (int v[2], int f), (v, f))
FAULT_SEAM(pid_t, fork, (void), ())
FAULT_SEAM(int, open, (const char *path, int flags), (path, flags))
FAULT_SEAM(int, epoll_create1, (int f), (f))
FAULT_SEAM(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *e), (ep, op, fd, e))
FAULT_SEAM(int, signalfd, (int fd, const sigset_t *set, int f), (fd, set, f))

/* Closes and forgets; errno stays. -1 is fine. */
static inline void fd_close(int *fd)
{
	int e = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = e;
}

/* Of a clock that nobody sets. */
static inline int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
