/*
 * keep_sys.h - system calls of the durable store, each behind the fault seam (base/fault.h). As drive/sys.h; not for
 * headers.
 */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"

FAULT_SEAM(int, open, (const char *path, int flags, mode_t mode), (path, flags, mode))
FAULT_SEAM(int, fstat, (int fd, struct stat *st), (fd, st))
FAULT_SEAM(ssize_t, pread, (int fd, void *p, size_t n, off_t off), (fd, p, n, off))
FAULT_SEAM(int, fsync, (int fd), (fd))
FAULT_SEAM(int, fallocate, (int fd, int mode, off_t off, off_t n), (fd, mode, off, n))
FAULT_SEAM(int, flock, (int fd, int how), (fd, how))
FAULT_SEAM(int, mkdir, (const char *path, mode_t mode), (path, mode))
FAULT_SEAM(int, link, (const char *from, const char *to), (from, to))
FAULT_SEAM(int, rename, (const char *from, const char *to), (from, to))
FAULT_SEAM(int, unlink, (const char *path), (path))

/* Closes and forgets; errno stays. -1 is fine. */
static inline void fd_close(int *fd)
{
	int e = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = e;
}
