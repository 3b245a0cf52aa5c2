/* people_file.c - see people_file.h. */
#include "main/people_file.h"

#include <errno.h>

#include "base/mem.h"
#include "base/str.h"
#include "drive/files.h"
#include "drive/sys.h"

static const char usual_folder[] = "./guichet-data";

static int failed(struct buf *why, const char *what, const char *path, int err)
{
	buf_addf(why, "cannot %s %s: %s", what, path, strerror(-err));
	return err;
}

/* ---- where ---- */

static int find_path(const char *place, bool change, char **ret, struct buf *why)
{
	struct stat st;
	int err = 0;

	if (!place && change)
		err = files_make_dir(usual_folder, why);
	if (err)
		return err;
	if (!place)
		place = usual_folder;
	if (place == usual_folder || (stat(place, &st) == 0 && S_ISDIR(st.st_mode)))
		return str_path_from(place, "people", ret);
	*ret = mem_strdup(place);
	return *ret ? 0 : -ENOMEM;
}

/* Where there is no folder there can be no file. */
static int check_folder(const char *path, struct buf *why)
{
	struct stat st;
	char *dir;
	int r = str_path_dir(path, &dir);

	if (r < 0)
		return r;
	r = stat(dir, &st) < 0 ? -errno : 0;
	if (r < 0)
		buf_addf(why, "cannot look for the file of people in the folder %s: %s", dir, strerror(-r));
	mem_free(dir);
	return r;
}

/* Root writes for the user who reads it: whose the file is, or the folder. */
static void find_owner(struct people_file *f)
{
	struct stat st;
	char *dir;
	int r = stat(f->path, &st);

	if (geteuid() != 0)
		return;
	if (r < 0 && str_path_dir(f->path, &dir) == 0) {
		r = stat(dir, &st);
		mem_free(dir);
	}
	if (r < 0 || st.st_uid == 0)
		return;
	f->uid = st.st_uid;
	f->gid = st.st_gid;
}

/* ---- the lock ---- */

/* One that is there already keeps its owner: it may be a link to something else. */
static int open_lock(const struct people_file *f, const char *path)
{
	int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;
	int fd = sys_open(path, flags | O_CREAT | O_EXCL, 0600);

	if (fd >= 0 && f->uid != (uid_t)-1)
		(void)!sys_fchown(fd, f->uid, f->gid);
	if (fd < 0 && errno == EEXIST)
		fd = sys_open(path, flags, 0);
	return fd < 0 ? -errno : fd;
}

static int take_lock(struct people_file *f, struct buf *why)
{
	BUF_AUTO struct buf path = BUF_INIT(1 << 16);
	int r;

	buf_addf(&path, "%s.lock", f->path);
	if (path.err)
		return failed(why, "lock", f->path, path.err);
	f->lock = open_lock(f, buf_str(&path));
	if (f->lock < 0)
		return failed(why, "open", buf_str(&path), f->lock);
	do
		r = sys_flock(f->lock, LOCK_EX);
	while (r < 0 && errno == EINTR);
	return r < 0 ? failed(why, "lock", buf_str(&path), -errno) : 0;
}

/* ---- reading and writing ---- */

struct told {
	const char *path;
	struct buf *why;
};

static void tell(void *arg, unsigned line, const char *text)
{
	const struct told *t = arg;

	buf_addf(t->why, "%s%s:%u: %s", t->why->n ? "\n" : "", t->path, line, text);
}

static int read_file(struct people_file *f, bool change, struct buf *why)
{
	BUF_AUTO struct buf bytes = BUF_INIT(PEOPLE_FILE_MAX);
	BUF_AUTO struct buf said = BUF_INIT(1 << 12);
	struct told told = { f->path, why };
	int err = files_read(f->path, &bytes, &said);

	f->missing = err == -ENOENT;
	if (f->missing)
		return people_new(&f->people);
	if (err) {
		buf_adds(why, buf_str(&said));
		return err;
	}
	err = people_parse(buf_span(&bytes), &f->people, tell, &told);
	if (bytes.p)
		explicit_bzero(bytes.p, bytes.cap);
	if (err)
		return failed(why, "read", f->path, err);
	if (!change || !people_damaged(f->people))
		return 0;
	buf_adds(why, "\nnothing was changed: mend these lines or take them out first");
	return -EINVAL;
}

int people_file_open(const char *place, bool change, struct people_file *ret, struct buf *why)
{
	int err;

	*ret = (struct people_file){ .lock = -1, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	err = find_path(place, change, &ret->path, why);
	if (err)
		return err;
	if (place)
		err = check_folder(ret->path, why);
	if (err)
		return err;
	find_owner(ret);
	if (change)
		err = take_lock(ret, why);
	return err ? err : read_file(ret, change, why);
}

int people_file_save(const struct people_file *f, struct buf *why)
{
	BUF_AUTO struct buf text = BUF_INIT(PEOPLE_FILE_MAX);
	int err;

	people_format(f->people, &text);
	if (text.err)
		err = failed(why, "write", f->path, text.err == -EMSGSIZE ? -EFBIG : text.err);
	else
		err = files_write_for(f->path, 0600, f->uid, f->gid, buf_span(&text), why);
	if (text.p)
		explicit_bzero(text.p, text.cap);
	return err;
}

void people_file_close(struct people_file *f)
{
	people_unref(f->people);
	mem_free(f->path);
	fd_close(&f->lock); /* and it is free */
	*f = (struct people_file){ .lock = -1 };
}
