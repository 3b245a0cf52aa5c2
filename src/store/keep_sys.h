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

#define SYS_SEAM_(type, name, params, args) \
	static inline type sys_##name params \
	{ \
		return fault_hit(FAULT_SYS) ? (type)-1 : (type)name args; \
	}

SYS_SEAM_(int, open, (const char *path, int flags, mode_t mode), (path, flags, mode))
SYS_SEAM_(int, fstat, (int fd, struct stat *st), (fd, st))
SYS_SEAM_(ssize_t, pread, (int fd, void *p, size_t n, off_t off), (fd, p, n, off))
SYS_SEAM_(int, fsync, (int fd), (fd))
SYS_SEAM_(int, fallocate, (int fd, int mode, off_t off, off_t n), (fd, mode, off, n))
SYS_SEAM_(int, flock, (int fd, int how), (fd, how))
SYS_SEAM_(int, mkdir, (const char *path, mode_t mode), (path, mode))
SYS_SEAM_(int, link, (const char *from, const char *to), (from, to))
SYS_SEAM_(int, rename, (const char *from, const char *to), (from, to))
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
