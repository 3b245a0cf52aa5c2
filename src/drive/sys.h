/*
 * sys.h - system calls of the drive, each behind the fault seam (base/fault.h) so that tests make them fail
 * one by one. Same results as the call of the same name: -1 and errno. Calls that cannot sensibly fail are not here.
 */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fault.h"

#define SYS_SEAM_(type, name, params, args) \
	static inline type sys_##name params \
	{ \
		return fault_hit(FAULT_SYS) ? (type)-1 : (type)name args; \
	}

SYS_SEAM_(int, socket, (int d, int t, int p), (d, t, p))
SYS_SEAM_(int, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
SYS_SEAM_(int, listen, (int fd, int n), (fd, n))
SYS_SEAM_(int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int f), (fd, a, n, f))
SYS_SEAM_(int, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
SYS_SEAM_(int, setsockopt, (int fd, int l, int o, const void *v, socklen_t n), (fd, l, o, v, n))
SYS_SEAM_(int, getsockname, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
SYS_SEAM_(int, epoll_create1, (int f), (f))
SYS_SEAM_(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *e), (ep, op, fd, e))
SYS_SEAM_(int, timerfd_create, (int c, int f), (c, f))
SYS_SEAM_(int, timerfd_settime, (int fd, int f, const struct itimerspec *t), (fd, f, t, NULL))
SYS_SEAM_(int, signalfd, (int fd, const sigset_t *set, int f), (fd, set, f))
SYS_SEAM_(int, pidfd_open, (pid_t pid, unsigned f), (pid, f))
SYS_SEAM_(int, eventfd, (unsigned n, int f), (n, f))
SYS_SEAM_(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n))
SYS_SEAM_(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))
SYS_SEAM_(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))
SYS_SEAM_(ssize_t, recv, (int fd, void *p, size_t n, int f), (fd, p, n, f))
SYS_SEAM_(ssize_t, send, (int fd, const void *p, size_t n, int f), (fd, p, n, f))
SYS_SEAM_(ssize_t, sendmsg, (int fd, const struct msghdr *m, int f), (fd, m, f))
SYS_SEAM_(int, recvmmsg, (int fd, struct mmsghdr *v, unsigned n, int f), (fd, v, n, f, NULL))
SYS_SEAM_(int, sendmmsg, (int fd, struct mmsghdr *v, unsigned n, int f), (fd, v, n, f))
SYS_SEAM_(ssize_t, sendfile, (int to, int from, off_t *off, size_t n), (to, from, off, n))
SYS_SEAM_(int, shutdown, (int fd, int how), (fd, how))
SYS_SEAM_(ssize_t, getrandom, (void *p, size_t n, unsigned f), (p, n, f))
SYS_SEAM_(int, open, (const char *path, int flags, mode_t mode), (path, flags, mode))
SYS_SEAM_(int, openat, (int dir, const char *path, int flags, mode_t mode), (dir, path, flags, mode))
SYS_SEAM_(int, mkfifo, (const char *path, mode_t mode), (path, mode))
SYS_SEAM_(int, flock, (int fd, int how), (fd, how))
SYS_SEAM_(int, fchown, (int fd, uid_t u, gid_t g), (fd, u, g))
SYS_SEAM_(int, fchmod, (int fd, mode_t mode), (fd, mode))
SYS_SEAM_(mqd_t, mq_open, (const char *name, int f, mode_t m, struct mq_attr *a), (name, f, m, a))
SYS_SEAM_(ssize_t, mq_receive, (mqd_t q, char *p, size_t n), (q, p, n, NULL))
SYS_SEAM_(int, mq_send, (mqd_t q, const char *p, size_t n), (q, p, n, 0))
SYS_SEAM_(int, chmod, (const char *path, mode_t mode), (path, mode))
SYS_SEAM_(int, fchownat, (int dir, const char *path, uid_t u, gid_t g, int f), (dir, path, u, g, f))
SYS_SEAM_(int, dup3, (int fd, int to, int f), (fd, to, f))
SYS_SEAM_(int, fstat, (int fd, struct stat *st), (fd, st))
SYS_SEAM_(int, fstatat, (int dir, const char *path, struct stat *st, int f), (dir, path, st, f))
SYS_SEAM_(int, fsync, (int fd), (fd))
SYS_SEAM_(int, rename, (const char *a, const char *b), (a, b))
SYS_SEAM_(int, mkdir, (const char *path, mode_t mode), (path, mode))
SYS_SEAM_(int, unlink, (const char *path), (path))
#undef SYS_SEAM_

/* Closes and forgets; errno stays. -1 is fine. */
static inline void fd_close(int *fd)
{
	int e = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = e;
}
