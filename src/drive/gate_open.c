/*
 * gate_open.c - files of the gateway. One to be written has no name until it is whole (O_TMPFILE), or one of our own where the file
 * system knows no such files; gate_keep() flushes it and gives it its name with one call. So whatever fails, and whenever the
 * process is killed, the name stands for the old file or for the new one.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "base/buf.h"
#include "base/mem.h"
#include "drive/gate.h"
#include "drive/sys.h"
#include "drive/unique.h"

enum {
	NEW_MODE = 0644,
	TEMP_TRIES = 4,
	LAST_MAX = 255, /* bytes of one part of a name */
	BIG = 16 << 20,
};

/* A file to write. */
struct fresh {
	struct file f;
	struct root *root;
	int dir;
	enum file_how how;
	bool shared;     /* by sessions of a loop, who are not to wait for each other */
	bool temp_named; /* it has a name of our own */
	bool kept;
	_Atomic int err; /* of the first write that failed: it will not be kept */
	char temp[sizeof(FILE_PRIVATE) + UNIQUE_DIGITS];
	char name[LAST_MAX + 1];
};

/* ---- reading ---- */

static ssize_t read_fd(struct file *f, void *p, size_t n, off_t off)
{
	ssize_t got;

	do
		got = sys_pread(f->fd, p, n, off);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

static ssize_t read_body(struct file *f, void *p, size_t n, off_t off)
{
	struct span b = blob_span(f->body);

	if ((uint64_t)off >= b.n)
		return 0;
	n = n < b.n - (size_t)off ? n : b.n - (size_t)off;
	memcpy(p, b.p + off, n);
	return (ssize_t)n;
}

static void close_read(struct file *f)
{
	fd_close(&f->fd);
	blob_unref(f->body);
	mem_free(f);
}

/* All bytes of a small file; one that changes meanwhile, or would have to come from the disk while `cached`, keeps its descriptor. */
static void load_body(struct file *f, bool cached)
{
	uint8_t bytes[GATE_BODY + 1];
	struct iovec v = { .iov_base = bytes, .iov_len = (size_t)f->facts.size + 1 };
	ssize_t n = cached ? sys_preadv2(f->fd, &v, 1, 0, RWF_NOWAIT) : sys_pread(f->fd, bytes, v.iov_len, 0);

	if (n < 0 || (uint64_t)n != f->facts.size)
		return;
	f->body = blob_new(&(struct span){ bytes, (size_t)n }, 1);
	if (!f->body)
		return;
	f->pread = read_body;
	fd_close(&f->fd);
}

/* Only plain files have bytes that are simply there. */
static int plain_facts(int fd, struct file_facts *ret)
{
	struct stat st;

	if (sys_fstat(fd, &st) < 0)
		return -errno;
	gate_facts(&st, ret);
	return ret->kind == FILE_PLAIN ? 0 : ret->kind == FILE_FOLDER ? -EISDIR : -EACCES;
}

int gate_open_read(const struct root *r, const char *name, bool cached, struct file **ret)
{
	/* O_NONBLOCK: a named pipe without a writer must not hold us up before we see what it is */
	int fd = gate_beneath(r, name, O_RDONLY | O_NOCTTY | O_NONBLOCK, cached), err;
	struct file_facts facts = {};
	struct file *f;

	if (fd < 0)
		return fd == -ENXIO || fd == -ENODEV ? -EACCES : fd;
	err = plain_facts(fd, &facts);
	f = err ? NULL : mem_alloc(sizeof(*f));
	if (!f) {
		fd_close(&fd);
		return err ? err : -ENOMEM;
	}
	*f = (struct file){ .fd = fd, .facts = facts, .pread = read_fd, .close = close_read };
	atomic_init(&f->refs, 1);
	if (facts.size && facts.size <= GATE_BODY)
		load_body(f, cached);
	*ret = f;
	return 0;
}

/* ---- writing ---- */

static void *close_it(void *fd)
{
	close((int)(intptr_t)fd);
	return NULL;
}

/* To give back the blocks of a big file takes the file system a while, and a loop must not wait for it. */
static void close_elsewhere(int *fd)
{
	sigset_t all, old;
	pthread_t thread;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the main thread's */
	if (pthread_create(&thread, NULL, close_it, (void *)(intptr_t)*fd) == 0) {
		pthread_detach(thread);
		*fd = -1;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void close_fresh(struct file *f)
{
	struct fresh *w = (struct fresh *)f;

	if (w->shared && !w->kept && w->how != FILE_APPEND && lseek(f->fd, 0, SEEK_END) >= BIG)
		close_elsewhere(&f->fd);
	if (w->temp_named && !w->kept)
		(void)unlinkat(w->dir, w->temp, 0);
	fd_close(&w->f.fd);
	fd_close(&w->dir);
	root_unref(w->root);
	mem_free(w);
}

static bool has_no_tmpfile(int err)
{
	return err == EOPNOTSUPP || err == EISDIR || err == EINVAL || err == ENOENT;
}

/* Without a name, if the file system can do that. */
static int open_fresh(struct fresh *w)
{
	int err;

	if (!w->root->named) {
		w->f.fd = sys_openat(w->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, NEW_MODE);
		if (w->f.fd >= 0)
			return 0;
		if (!has_no_tmpfile(errno))
			return -errno;
	}
	for (int i = 0; i < TEMP_TRIES; i++) {
		err = unique_name(FILE_PRIVATE, w->temp, sizeof(w->temp));
		if (err)
			return err;
		w->f.fd = sys_openat(w->dir, w->temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, NEW_MODE);
		w->temp_named = w->f.fd >= 0;
		if (w->temp_named || errno != EEXIST)
			break;
	}
	return w->temp_named ? 0 : -errno;
}

/* Nobody sends a gigabyte for nothing: what cannot become of it is told before. gate_keep() looks again. */
static int may_become(const struct fresh *w)
{
	struct stat st;

	if (sys_fstatat(w->dir, w->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (w->how == FILE_NEW)
		return -EEXIST;
	return S_ISDIR(st.st_mode) ? -EISDIR : 0;
}

static int open_append(struct fresh *w)
{
	int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, err;

	w->f.fd = sys_openat(w->dir, w->name, flags, NEW_MODE);
	if (w->f.fd < 0)
		return errno == ENXIO || errno == ENODEV ? -EACCES : -errno;
	err = plain_facts(w->f.fd, &w->f.facts);
	w->f.at = w->f.facts.size;
	return err;
}

static struct fresh *fresh_new(struct root *r, enum file_how how)
{
	struct fresh *w = mem_zalloc(sizeof(*w));

	if (!w)
		return NULL;
	w->f = (struct file){ .fd = -1, .pread = read_fd, .close = close_fresh };
	atomic_init(&w->f.refs, 1);
	w->root = root_ref(r);
	w->dir = -1;
	w->how = how;
	return w;
}

static int open_named(struct fresh *w, char *name)
{
	size_t n = strlen(name);
	const char *last;
	int err;

	if (n && name[n - 1] == '/')
		return -EISDIR;
	w->dir = gate_parent(w->root, name, &last);
	if (w->dir < 0)
		return w->dir;
	if (strlen(last) > LAST_MAX)
		return -ENAMETOOLONG;
	memcpy(w->name, last, strlen(last) + 1);
	if (w->how == FILE_APPEND)
		return open_append(w);
	err = may_become(w);
	return err ? err : open_fresh(w);
}

int gate_open_write(struct root *r, char *name, enum file_how how, bool shared, struct file **ret)
{
	struct fresh *w = fresh_new(r, how);
	int err = w ? open_named(w, name) : -ENOMEM;

	if (w)
		w->shared = shared;
	if (!err)
		*ret = &w->f;
	else if (w)
		close_fresh(&w->f);
	return err;
}

static int write_all(int fd, const uint8_t *p, size_t n, uint64_t off, uint64_t *ret_n)
{
	for (*ret_n = 0; *ret_n < n;) {
		ssize_t k = sys_pwrite(fd, p + *ret_n, n - (size_t)*ret_n, (off_t)(off + *ret_n));

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? -errno : -EIO;
		*ret_n += (uint64_t)k;
	}
	return 0;
}

int gate_write(struct file *f, const uint8_t *p, size_t n, uint64_t off, uint64_t *ret_n)
{
	struct fresh *w = (struct fresh *)f;
	int err;

	if (f->close != close_fresh || (w->kept && w->how != FILE_APPEND))
		return -EBADF;
	if (off > INT64_MAX - n)
		return -EFBIG;
	err = write_all(f->fd, p, n, off, ret_n);
	if (err)
		atomic_store(&w->err, err);
	return err;
}

/* ---- the name ---- */

static int link_as(const struct fresh *w, const char *name)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", w->f.fd);
	return sys_linkat(AT_FDCWD, path, w->dir, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int rename_over(struct fresh *w)
{
	int err = sys_renameat2(w->dir, w->temp, w->dir, w->name, 0) < 0 ? -errno : 0;

	w->temp_named = err != 0; /* with an error its own name is still there, and goes with the file */
	return err;
}

/* From a name of our own to one that nobody has yet. */
static int rename_new(struct fresh *w)
{
	if (sys_renameat2(w->dir, w->temp, w->dir, w->name, RENAME_NOREPLACE) == 0) {
		w->temp_named = false;
		return 0;
	}
	if (errno != EINVAL)
		return -errno;
	return sys_linkat(w->dir, w->temp, w->dir, w->name, 0) < 0 ? -errno
								   : 0; /* a file system that cannot; NFS, say */
}

/* Nothing can be linked over what has the name: it gets one of ours first, for the time between two calls. */
static int link_over(struct fresh *w)
{
	int err = link_as(w, w->name);

	for (int i = 0; i < TEMP_TRIES && err == -EEXIST; i++) {
		err = unique_name(FILE_PRIVATE, w->temp, sizeof(w->temp));
		if (!err)
			err = link_as(w, w->temp);
		if (!err) {
			w->temp_named = true;
			return rename_over(w);
		}
	}
	return err;
}

static int give_name(struct fresh *w)
{
	if (w->how == FILE_APPEND)
		return 0;
	if (w->how == FILE_NEW)
		return w->temp_named ? rename_new(w) : link_as(w, w->name);
	return w->temp_named ? rename_over(w) : link_over(w);
}

int gate_keep(struct file *f, struct file_facts *ret)
{
	struct fresh *w = (struct fresh *)f;
	struct stat st;
	int err;

	if (f->close != close_fresh || (w->kept && w->how != FILE_APPEND))
		return -EBADF;
	err = atomic_load(&w->err);
	if (!err && sys_fsync(f->fd) < 0)
		err = -errno;
	if (!err)
		err = give_name(w);
	if (err) {
		atomic_store(&w->err, err); /* a flush that failed may have lost what it was to flush: no second try */
		return err;
	}
	if (w->temp_named) /* it was linked from there */
		(void)unlinkat(w->dir, w->temp, 0);
	w->temp_named = false;
	w->kept = true;
	root_changed(w->root);
	if (sys_fsync(w->dir) < 0 || sys_fstat(f->fd, &st) < 0)
		return -errno;
	gate_facts(&st, ret);
	f->facts = *ret;
	return 0;
}
