/* files.c - see files.h. */
#include "drive/files.h"

#include <ftw.h>
#include <poll.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"
#include "drive/sys.h"

enum {
	PIECE = 16 << 10, /* bytes read at a time */
	DEPTH = 16,       /* folders that nftw() keeps open at once */
	NAME_ROOM = 32,   /* what is put behind a path to name its new version */
	WAIT_MS = 2000,   /* for more out of a pipe: a reload must not hang on it */
};

static int failed(struct buf *why, const char *what, const char *path, int err)
{
	if (why)
		buf_addf(why, "cannot %s %s: %s", what, path, strerror(err));
	return -err;
}

/* ---- reading ---- */

static bool has_more(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, WAIT_MS) > 0;
}

static int read_pieces(int fd, const char *path, char *piece, struct buf *ret, struct buf *why)
{
	for (;;) {
		ssize_t n = sys_read(fd, piece, PIECE);

		if (n < 0 && (errno == EINTR || (errno == EAGAIN && has_more(fd))))
			continue;
		if (n < 0)
			return failed(why, "read", path, errno == EAGAIN ? ETIMEDOUT : errno);
		if (n == 0)
			return 0;
		buf_add(ret, piece, (size_t)n);
		if (ret->err == -EMSGSIZE) {
			if (why)
				buf_addf(why, "%s is too large, at most %zu bytes", path, ret->max);
			return -EFBIG;
		}
		if (ret->err)
			return failed(why, "read", path, -ret->err);
	}
}

/* It may be a key: no second copy of it stays. */
static int read_all(int fd, const char *path, struct buf *ret, struct buf *why)
{
	char piece[PIECE];
	int r = read_pieces(fd, path, piece, ret, why);

	explicit_bzero(piece, sizeof(piece));
	return r;
}

int files_read(const char *path, struct buf *ret, struct buf *why)
{
	int fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
	int err;

	if (fd < 0)
		return failed(why, "read", path, errno);
	err = read_all(fd, path, ret, why);
	fd_close(&fd);
	return err;
}

/* ---- writing ---- */

static int write_all(int fd, struct span bytes)
{
	while (bytes.n > 0) {
		ssize_t n = sys_write(fd, bytes.p, bytes.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes.p += n;
		bytes.n -= (size_t)n;
	}
	return 0;
}

/* A file of this name that was not there before; one that a crash left behind goes. */
static int create(const char *path, mode_t mode)
{
	int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
	int fd = sys_open(path, flags, mode);

	if (fd < 0 && errno == EEXIST && sys_unlink(path) == 0)
		fd = sys_open(path, flags, mode);
	return fd < 0 ? -errno : fd;
}

/* Makes the new name last. Best effort: the file itself is whole either way. */
static void sync_dir_of(const char *path)
{
	char *dir;
	int fd;

	if (str_path_dir(path, &dir) < 0)
		return;
	fd = sys_open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd >= 0)
		(void)sys_fsync(fd);
	fd_close(&fd);
	mem_free(dir);
}

static int write_new(const char *name, mode_t mode, uid_t uid, gid_t gid, struct span bytes)
{
	int fd = create(name, mode), err = 0;

	if (fd < 0)
		return fd;
	if ((uid != (uid_t)-1 || gid != (gid_t)-1) && sys_fchown(fd, uid, gid) < 0)
		err = -errno;
	if (!err)
		err = write_all(fd, bytes);
	if (!err && sys_fsync(fd) < 0)
		err = -errno;
	fd_close(&fd);
	return err;
}

int files_write(const char *path, mode_t mode, struct span bytes, struct buf *why)
{
	return files_write_for(path, mode, (uid_t)-1, (gid_t)-1, bytes, why);
}

int files_write_for(const char *path, mode_t mode, uid_t uid, gid_t gid, struct span bytes, struct buf *why)
{
	size_t size = strlen(path) + NAME_ROOM;
	char *name = mem_alloc(size);
	int err;

	if (!name)
		return failed(why, "write", path, ENOMEM);
	snprintf(name, size, "%s.%ld.new", path, (long)getpid());
	err = write_new(name, mode, uid, gid, bytes);
	if (!err && sys_rename(name, path) < 0)
		err = -errno;
	if (err)
		(void)unlink(name);
	else
		sync_dir_of(path);
	mem_free(name);
	return err ? failed(why, "write", path, -err) : 0;
}

/* ---- folders ---- */

int files_make_dir(const char *path, struct buf *why)
{
	struct stat st;

	if (sys_mkdir(path, 0700) == 0)
		return 0;
	if (errno != EEXIST)
		return failed(why, "make the folder", path, errno);
	if (stat(path, &st) < 0)
		return failed(why, "open the folder", path, errno);
	if (S_ISDIR(st.st_mode))
		return 0;
	return failed(why, "make the folder", path, ENOTDIR);
}

int files_temp_dir(char **ret_path, struct buf *why)
{
	const char *base = getenv("TMPDIR");
	char *path;
	int err = str_path_from(base && *base == '/' ? base : "/tmp", "guichet-XXXXXX", &path);

	if (err)
		return failed(why, "make", "a temporary folder", -err);
	if (fault_hit(FAULT_SYS) || !mkdtemp(path)) {
		err = failed(why, "make the folder", path, errno);
		mem_free(path);
		return err;
	}
	*ret_path = path;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

int files_remove_dir(const char *path, struct buf *why)
{
	if (nftw(path, remove_one, DEPTH, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0)
		return 0;
	return failed(why, "remove the folder", path, errno);
}
