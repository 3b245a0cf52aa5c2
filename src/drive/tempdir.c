/* tempdir.c - see tempdir.h. The lock is flock(2) on a file: it ends with the process, however that ends. */
#include "drive/tempdir.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/file.h>

#include "base/mem.h"
#include "base/str.h"
#include "drive/files.h"
#include "drive/sys.h"

#define PREFIX "guichet-" /* of files_temp_dir() */

static const char lock_file[] = ".owner", lock_new[] = ".owner.new";

/* The file has its name only when it is locked: whoever finds it without a lock knows that its process is gone. */
static int claim(const char *path, int *ret_fd, struct buf *why)
{
	int dir = sys_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0), fd = -1, err = 0;

	if (dir >= 0)
		fd = openat(dir, lock_new, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || renameat(dir, lock_new, dir, lock_file) < 0)
		err = -errno;
	fd_close(&dir);
	if (!err) {
		*ret_fd = fd;
		return 0;
	}
	fd_close(&fd);
	buf_addf(why, "cannot lock the folder %s: %s", path, strerror(-err));
	return err;
}

/* ---- what others left ---- */

static bool is_our_name(const char *name)
{
	return strncmp(name, PREFIX, strlen(PREFIX)) == 0 && strlen(name) == strlen(PREFIX "XXXXXX");
}

/* Did this folder have an owner, and has none any more? Then the lock is ours until *ret_fd is closed. */
static bool is_abandoned(int base, const char *name, int *ret_fd)
{
	int dir = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), fd = -1;
	struct stat st;
	bool abandoned;

	if (dir >= 0 && fstat(dir, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 0777) == 0700)
		fd = openat(dir, lock_file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	abandoned = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
		    st.st_uid == geteuid() && st.st_nlink == 1; /* 0: somebody else is just removing it */
	fd_close(&dir);
	if (abandoned)
		*ret_fd = fd;
	else
		fd_close(&fd);
	return abandoned;
}

unsigned tempdir_sweep(const char *base)
{
	DIR *d = opendir(base);
	unsigned n = 0;

	/* cppcheck-suppress readdirCalled ; d is ours alone, and readdir_r is the one that is not recommended any more */
	for (const struct dirent *e; d && (e = readdir(d));) {
		char *path;
		int fd;

		if (!is_our_name(e->d_name) || !is_abandoned(dirfd(d), e->d_name, &fd))
			continue;
		if (str_path_from(base, e->d_name, &path) == 0) {
			n += files_remove_dir(path, NULL) == 0;
			mem_free(path);
		}
		fd_close(&fd);
	}
	if (d)
		closedir(d);
	return n;
}

/* ---- a life ---- */

int tempdir_new(char **ret_path, int *ret_fd, struct buf *why)
{
	char *path, *base;
	int err = files_temp_dir(&path, why);

	if (err)
		return err;
	if (str_path_dir(path, &base) == 0) {
		tempdir_sweep(base);
		mem_free(base);
	}
	err = claim(path, ret_fd, why);
	if (err) {
		(void)files_remove_dir(path, NULL);
		mem_free(path);
		return err;
	}
	*ret_path = path;
	return 0;
}

int tempdir_remove(char **path, int *fd, struct buf *why)
{
	int err = *path ? files_remove_dir(*path, why) : 0;

	mem_free(*path);
	*path = NULL;
	fd_close(fd); /* only now: nobody else need try */
	return err;
}
