/*
 * sys.h - system calls of the drive, each behind the fault seam (base/fault.h) so that tests make them fail
 * one by one. Same results as the call of the same name: -1 and errno. Calls that cannot sensibly fail are not here.
 */
#pragma once
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <mqueue.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fault.h"

/* The lowest number that is free. */
static inline int dup_cloexec(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

FAULT_SEAM(int, socket, (int d, int t, int p), (d, t, p))
FAULT_SEAM(int, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
FAULT_SEAM(int, listen, (int fd, int n), (fd, n))
FAULT_SEAM(int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int f), (fd, a, n, f))
FAULT_SEAM(int, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
FAULT_SEAM(int, setsockopt, (int fd, int l, int o, const void *v, socklen_t n), (fd, l, o, v, n))
FAULT_SEAM(int, getsockname, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
FAULT_SEAM(int, epoll_create1, (int f), (f))
FAULT_SEAM(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *e), (ep, op, fd, e))
FAULT_SEAM(int, timerfd_create, (int c, int f), (c, f))
FAULT_SEAM(int, timerfd_settime, (int fd, int f, const struct itimerspec *t), (fd, f, t, NULL))
FAULT_SEAM(int, signalfd, (int fd, const sigset_t *set, int f), (fd, set, f))
FAULT_SEAM(int, pidfd_open, (pid_t pid, unsigned f), (pid, f))
FAULT_SEAM(int, eventfd, (unsigned n, int f), (n, f))
FAULT_SEAM(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))
FAULT_SEAM(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))

/*
 * Those of every turn. In a process with threads the C library makes each a point of cancellation, which costs two locked
 * instructions; nobody here is ever cancelled, so they go to the kernel directly. Where tests and sanitizers run, which want to see
 * them, they do not.
 */
#ifdef GUICHET_FAULTS
#define SYS_QUICK_(type, name, params, args, number, ...) FAULT_SEAM(type, name, params, args)
#else
#define SYS_QUICK_(type, name, params, args, number, ...) \
	static inline type sys_##name params \
	{ \
		return (type)syscall(number, __VA_ARGS__); \
	}
#endif

SYS_QUICK_(int, epoll_wait, (int ep, struct epoll_event *v, int n, int ms), (ep, v, n, ms), SYS_epoll_pwait, ep, v, n,
	   ms, NULL, (size_t)0)
SYS_QUICK_(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n), SYS_read, fd, p, n)
SYS_QUICK_(ssize_t, recv, (int fd, void *p, size_t n, int f), (fd, p, n, f), SYS_recvfrom, fd, p, n, f, NULL, NULL)
SYS_QUICK_(ssize_t, send, (int fd, const void *p, size_t n, int f), (fd, p, n, f), SYS_sendto, fd, p, n, f, NULL, 0)
SYS_QUICK_(ssize_t, sendmsg, (int fd, const struct msghdr *m, int f), (fd, m, f), SYS_sendmsg, fd, m, f)
SYS_QUICK_(int, recvmmsg, (int fd, struct mmsghdr *v, unsigned n, int f), (fd, v, n, f, NULL), SYS_recvmmsg, fd, v, n,
	   f, NULL)
SYS_QUICK_(int, sendmmsg, (int fd, struct mmsghdr *v, unsigned n, int f), (fd, v, n, f), SYS_sendmmsg, fd, v, n, f)
#undef SYS_QUICK_

/*
 * close(), straight to the kernel like those above, for who does not care what becomes of errno. fd_close() keeps it, but to know where it
 * is costs a call of the C library; in a fork child perhaps a page fault too, for that piece of the library's text.
 */
static inline int sys_close(int fd)
{
#ifdef GUICHET_FAULTS
	return close(fd);
#else
	return (int)syscall(SYS_close, fd);
#endif
}

FAULT_SEAM(ssize_t, sendfile, (int to, int from, off_t *off, size_t n), (to, from, off, n))
FAULT_SEAM(int, shutdown, (int fd, int how), (fd, how))
FAULT_SEAM(ssize_t, getrandom, (void *p, size_t n, unsigned f), (p, n, f))
FAULT_SEAM(int, open, (const char *path, int flags, mode_t mode), (path, flags, mode))
FAULT_SEAM(int, openat, (int dir, const char *path, int flags, mode_t mode), (dir, path, flags, mode))
FAULT_SEAM(int, mkfifo, (const char *path, mode_t mode), (path, mode))
FAULT_SEAM(int, flock, (int fd, int how), (fd, how))
FAULT_SEAM(int, fchown, (int fd, uid_t u, gid_t g), (fd, u, g))
FAULT_SEAM(int, fchmod, (int fd, mode_t mode), (fd, mode))
FAULT_SEAM(mqd_t, mq_open, (const char *name, int f, mode_t m, struct mq_attr *a), (name, f, m, a))
FAULT_SEAM(ssize_t, mq_receive, (mqd_t q, char *p, size_t n), (q, p, n, NULL))
FAULT_SEAM(int, mq_send, (mqd_t q, const char *p, size_t n), (q, p, n, 0))
FAULT_SEAM(int, chmod, (const char *path, mode_t mode), (path, mode))
FAULT_SEAM(int, fchownat, (int dir, const char *path, uid_t u, gid_t g, int f), (dir, path, u, g, f))
FAULT_SEAM(int, dup3, (int fd, int to, int f), (fd, to, f))
FAULT_SEAM(int, pipe2, (int v[2], int f), (v, f))
FAULT_SEAM(int, dup_cloexec, (int fd), (fd))
FAULT_SEAM(int, fstat, (int fd, struct stat *st), (fd, st))
FAULT_SEAM(int, fstatat, (int dir, const char *path, struct stat *st, int f), (dir, path, st, f))
FAULT_SEAM(int, fsync, (int fd), (fd))
FAULT_SEAM(int, rename, (const char *a, const char *b), (a, b))
FAULT_SEAM(int, mkdir, (const char *path, mode_t mode), (path, mode))
FAULT_SEAM(int, unlink, (const char *path), (path))
FAULT_SEAM(int, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode))
FAULT_SEAM(int, unlinkat, (int dir, const char *path, int f), (dir, path, f))
FAULT_SEAM(int, linkat, (int a, const char *from, int b, const char *to, int f), (a, from, b, to, f))
FAULT_SEAM(int, renameat2, (int a, const char *from, int b, const char *to, unsigned f), (a, from, b, to, f))
FAULT_SEAM(ssize_t, pread, (int fd, void *p, size_t n, off_t off), (fd, p, n, off))
FAULT_SEAM(ssize_t, preadv2, (int fd, const struct iovec *v, int n, off_t off, int f), (fd, v, n, off, f))
FAULT_SEAM(ssize_t, pwrite, (int fd, const void *p, size_t n, off_t off), (fd, p, n, off))
FAULT_SEAM(int, memfd_create, (const char *name, unsigned f), (name, f))

static inline ssize_t sys_getdents64(int fd, void *p, size_t n)
{
	return fault_hit(FAULT_SYS) ? -1 : getdents64(fd, p, n);
}

/*
 * For a process without threads. No handlers of libraries run, neither there nor in the child, which may not have these libraries:
 * priv/inherit.h. A sanitizer has such handlers and needs them.
 */
static inline pid_t sys_fork(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return fault_hit(FAULT_SYS) ? -1 : fork();
#else
	return fault_hit(FAULT_SYS) ? -1 : _Fork();
#endif
}

/* glibc has no function for it. Names that lead out of `dir` or through /proc's own links are refused by the kernel. */
static inline int sys_openat2(int dir, const char *path, struct open_how *how)
{
	return fault_hit(FAULT_SYS) ? -1 : (int)syscall(SYS_openat2, dir, path, how, sizeof(*how));
}

/* New zeroed memory of this size. */
static inline void *sys_mmap(size_t n, int flags)
{
	return fault_hit(FAULT_SYS) ? MAP_FAILED : mmap(NULL, n, PROT_READ | PROT_WRITE, flags, -1, 0);
}

/* Closes and forgets; errno stays. -1 is fine. */
static inline void fd_close(int *fd)
{
	if (*fd >= 0) {
		int e = errno;

		if (close(*fd) < 0)
			errno = e; /* else it is what it was, and to write to it may be to copy a page */
	}
	*fd = -1;
}
