/*
 * fifo.c - see fifo.h. Whoever may write to PATH can announce anything, so nothing of it is believed: a name has no slash, is
 * opened in the folder of PATH only, through no link, without blocking; it must be a FIFO; and no other conversation may have
 * it (flock), or two could be made to talk to each other.
 */
#include "drive/net/fifo.h"

#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>

#include "base/mem.h"
#include "base/str.h"
#include "drive/net/owner.h"
#include "drive/sys.h"
#include "drive/unique.h"

enum {
	WAITING_MAX = 64,
	BUFFER = 2 * PIPE_BUF,
};

#define PATIENCE (10 * SEC)
#define FIRST_LOOK (5 * MSEC)
#define LAST_LOOK (200 * MSEC) /* between looks: each is as long after the one before as that was after the first */

/* Announced, and not opened yet. */
struct waiting {
	char name[FIFO_NAME_MAX + 1];
	nsec since, next, until;
};

struct fifo {
	int fd, dir;
	dev_t dev;
	ino_t ino;
	char *path;
	size_t n;                /* bytes in `bytes` */
	bool skipping;           /* to the next line end: what came was too long */
	struct waiting *waiting; /* WAITING_MAX of them, on first use */
	unsigned n_waiting;
	char bytes[BUFFER];
};

/* ---- PATH ---- */

/* The folder, as a descriptor: what is announced is opened from there, wherever it is moved to. */
static int open_dir(const char *path)
{
	char *dir;
	int fd, r = str_path_dir(path, &dir);

	if (r < 0)
		return r;
	fd = sys_open(*dir ? dir : ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	r = fd < 0 ? -errno : fd;
	mem_free(dir);
	return r;
}

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* A FIFO that somebody reads from is served; all else of that name is not ours to remove. 1: one is there that is left over. */
static int look(const char *path, struct buf *why)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0)
		return 0;
	if (!S_ISFIFO(st.st_mode)) {
		buf_addf(why, "%s exists and is not a named pipe", path);
		return -EEXIST;
	}
	fd = sys_open(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0);
	if (fd >= 0) {
		close(fd);
		buf_addf(why, "%s is served by another program already", path);
		return -EADDRINUSE;
	}
	if (errno == EACCES) {
		buf_addf(why, "%s belongs to somebody else, and we may not ask whether it is served", path);
		return -EACCES;
	}
	return errno == ENXIO || errno == ENOENT ? 1 : -errno;
}

int fifo_probe(const char *path, struct buf *why)
{
	int r = look(path, why);

	return r < 0 ? r : 0;
}

static int clear_stale(const char *path, struct buf *why)
{
	int r = look(path, why);

	if (r == 1)
		r = sys_unlink(path) < 0 && errno != ENOENT ? -errno : 0;
	return r;
}

/* Also for writing, so that it never ends: the last client to close it would end it for all that come after. */
static int open_it(struct fifo *f)
{
	struct stat st;

	f->fd = sys_open(f->path, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0);
	if (f->fd < 0 || sys_fstat(f->fd, &st) < 0)
		return -errno;
	if (!S_ISFIFO(st.st_mode))
		return -EEXIST; /* somebody was faster than we */
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	if (sys_flock(f->fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
	return 0;
}

int fifo_open(const char *path, struct fifo **ret, struct buf *why)
{
	struct fifo *f = mem_zalloc(sizeof(*f));
	int r = f ? clear_stale(path, why) : -ENOMEM;

	if (!f)
		return r;
	f->fd = f->dir = -1;
	if (r == 0 && !(f->path = mem_strdup(path)))
		r = -ENOMEM;
	if (r == 0 && (r = open_dir(path)) >= 0) {
		f->dir = r;
		r = sys_mkfifo(path, 0600) < 0 ? -errno : 0;
	}
	if (r == 0)
		r = open_it(f);
	if (r < 0) {
		fifo_close(&f);
		return r;
	}
	*ret = f;
	return 0;
}

int fifo_take(int fd, int dir, struct fifo **ret)
{
	struct fifo *f = mem_zalloc(sizeof(*f));

	if (!f) {
		fd_close(&fd);
		fd_close(&dir);
		return -ENOMEM;
	}
	f->fd = fd;
	f->dir = dir;
	*ret = f;
	return 0;
}

int fifo_dir(const struct fifo *f)
{
	return f->dir;
}

void fifo_close(struct fifo **fp)
{
	struct fifo *f = *fp;
	struct stat st;

	if (!f)
		return;
	*fp = NULL;
	if (f->fd >= 0 && f->path && lstat(f->path, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino)
		unlink(f->path);
	fd_close(&f->fd);
	fd_close(&f->dir);
	mem_free(f->waiting);
	mem_free(f->path);
	mem_free(f);
}

int fifo_fd(const struct fifo *f)
{
	return f->fd;
}

/* ---- the pipes of a client ---- */

static int refuse(struct fifo_client *c, const char *reason)
{
	c->reason = reason;
	return -EPROTO;
}

static const char *reason_of(int err)
{
	return err == ENOENT || err == EACCES || err == EPERM ? "no-such-pipe" : "not-a-pipe";
}

static bool is_shortage(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOMEM || err == EINTR;
}

/* NAME.c or NAME.s. A descriptor; -ENXIO: nobody reads from it yet; -EPROTO, refused; or -errno. */
static int open_pipe(const struct fifo *f, char side, int how, struct fifo_client *c)
{
	char file[FIFO_NAME_MAX + 3];
	struct stat st;
	int fd;

	snprintf(file, sizeof(file), "%s.%c", c->name, side);
	/* first a look: merely to open a device can do something */
	if (sys_fstatat(f->dir, file, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return is_shortage(errno) ? -errno : refuse(c, reason_of(errno));
	if (!S_ISFIFO(st.st_mode))
		return refuse(c, "not-a-pipe");
	fd = sys_openat(f->dir, file, how | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0);
	if (fd < 0)
		return errno == ENXIO || is_shortage(errno) ? -errno : refuse(c, reason_of(errno));
	if (sys_fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode)) {
		if (sys_flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		close(fd);
		return refuse(c, "pipe-in-use");
	}
	close(fd);
	return refuse(c, "not-a-pipe");
}

/* 1: both are open; -ENXIO, -EPROTO or -errno as above. */
static int meet(const struct fifo *f, struct fifo_client *c)
{
	int wfd = open_pipe(f, 's', O_WRONLY, c), fd;

	if (wfd < 0)
		return wfd;
	fd = open_pipe(f, 'c', O_RDONLY, c);
	if (fd < 0) {
		close(wfd);
		return fd;
	}
	c->fd = fd;
	c->wfd = wfd;
	return 1;
}

/* ---- those who wait ---- */

static nsec next_look(const struct waiting *w, nsec now)
{
	nsec pause = now - w->since;

	if (pause < FIRST_LOOK)
		pause = FIRST_LOOK;
	return now + (pause < LAST_LOOK ? pause : LAST_LOOK);
}

/* Somebody who cannot be met now; false: there is no room. */
static bool let_wait(struct fifo *f, const char *name, nsec now, nsec patience)
{
	struct waiting *w;

	if (!f->waiting)
		f->waiting = mem_zalloc(WAITING_MAX * sizeof(*f->waiting));
	if (!f->waiting || f->n_waiting == WAITING_MAX)
		return false;
	w = &f->waiting[f->n_waiting++];
	snprintf(w->name, sizeof(w->name), "%s", name);
	w->since = now;
	w->next = now + FIRST_LOOK;
	w->until = now + (patience ? patience : PATIENCE);
	return true;
}

static void forget(struct fifo *f, unsigned i)
{
	memmove(&f->waiting[i], &f->waiting[i + 1], (--f->n_waiting - i) * sizeof(*f->waiting));
}

/* Looks again for one that it is time for. As fifo_accept(); 0: for nobody. */
static int look_again(struct fifo *f, nsec now, struct fifo_client *c)
{
	for (unsigned i = 0; i < f->n_waiting; i++) {
		struct waiting *w = &f->waiting[i];
		int r;

		if (w->next > now)
			continue;
		snprintf(c->name, sizeof(c->name), "%s", w->name);
		r = meet(f, c);
		w->next = next_look(w, now);
		if (r == -ENXIO && now < w->until)
			continue;
		if (r == -ENXIO)
			r = refuse(c, "pipe-not-opened");
		if (r == 1 || r == -EPROTO)
			forget(f, i);
		return r;
	}
	return 0;
}

nsec fifo_due(const struct fifo *f)
{
	nsec min = 0;

	if (memchr(f->bytes, '\n', f->n))
		return 1;
	for (unsigned i = 0; i < f->n_waiting; i++)
		if (!min || f->waiting[i].next < min)
			min = f->waiting[i].next;
	return min;
}

/* ---- lines ---- */

/* One word of printable characters that is no path. */
static bool is_name(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] <= ' ' || p[i] > '~' || p[i] == '/')
			return false;
	return n > 0 && n <= FIFO_NAME_MAX;
}

/* What of a bad one can be shown. */
static void show_name(const char *p, size_t n, struct fifo_client *c)
{
	size_t k = n < 32 ? n : 32;

	for (size_t i = 0; i < k; i++)
		c->name[i] = p[i] > ' ' && p[i] <= '~' ? p[i] : '?';
	c->name[k] = '\0';
}

/* Takes `all` bytes out of the buffer, which begin with n of a line. 1: c->name has them; -EPROTO: they are no name. */
static int take_line(struct fifo *f, size_t n, size_t all, struct fifo_client *c)
{
	int r = 1;

	if (is_name(f->bytes, n)) {
		memcpy(c->name, f->bytes, n);
		c->name[n] = '\0';
	} else {
		show_name(f->bytes, n, c);
		r = refuse(c, "bad-name");
	}
	f->n -= all;
	memmove(f->bytes, f->bytes + all, f->n);
	return r;
}

/*
 * The pipe is empty. A line is written in one piece, of which a reader never sees a half: so what is left is none, and must not
 * spoil the next one.
 */
static int at_the_end(struct fifo *f, struct fifo_client *c)
{
	size_t n = f->skipping ? 0 : f->n;

	show_name(f->bytes, n, c);
	f->n = 0;
	f->skipping = false;
	return n ? refuse(c, "bad-name") : 0;
}

/* 1: a line; 0: none now; -EPROTO, or -errno. */
static int next_line(struct fifo *f, struct fifo_client *c)
{
	for (;;) {
		const char *end = memchr(f->bytes, '\n', f->n);
		ssize_t got;

		if (end || f->n > PIPE_BUF) { /* none may be so long */
			size_t n = end ? (size_t)(end - f->bytes) : f->n;
			bool told = f->skipping;
			int r = take_line(f, n, n + !!end, c);

			f->skipping = !end;
			if (!told)
				return r;
			continue;
		}
		got = sys_read(f->fd, f->bytes + f->n, BUFFER - f->n);
		if (got > 0)
			f->n += (size_t)got;
		else if (got == 0 || errno == EAGAIN)
			return at_the_end(f, c);
		else if (errno != EINTR)
			return -errno;
	}
}

int fifo_accept(struct fifo *f, nsec now, nsec patience, struct fifo_client *ret)
{
	int r = look_again(f, now, ret);

	while (r == 0) {
		r = next_line(f, ret);
		if (r <= 0)
			return r;
		r = meet(f, ret);
		if (r == 1 || r == -EPROTO)
			return r;
		if (!let_wait(f, ret->name, now, patience))
			return refuse(ret, "pipe-not-opened");
		if (r == -ENXIO)
			r = 0; /* and now the next one */
	}
	return r;
}

/* ---- the client's side ---- */

static const char prefix[] = "guichet-";

struct fifo_dial {
	char name[sizeof(prefix) + UNIQUE_DIGITS];
	char *to, *from; /* NAME.c and NAME.s; NULL: there is no such file */
};

/* Beside PATH. The server may be somebody else, in the group that PATH is for. */
static int make_pipe(const struct fifo_dial *d, const char *path, char side, const struct stat *server, char **ret)
{
	struct owner us = { .uid = OWNER_SAME, .gid = server->st_gid, .mode = 0660 };
	size_t dir = (size_t)(base_of(path) - path);
	BUF_AUTO struct buf b = BUF_INIT(PATH_MAX);
	int r;

	buf_add(&b, path, dir);
	buf_addf(&b, "%s.%c", d->name, side);
	if (b.err)
		return b.err;
	if (sys_mkfifo(buf_str(&b), 0600) < 0)
		return -errno;
	*ret = mem_strdup(buf_str(&b));
	if (!*ret) {
		unlink(buf_str(&b));
		return -ENOMEM;
	}
	if (server->st_uid == geteuid())
		return 0;
	r = owner_give(*ret, S_IFIFO, &us);
	return r == -EPERM ? 0 : r; /* not in that group: then it is root, who may all, or it will refuse us */
}

static int open_server(const char *path, struct stat *st)
{
	int fd = sys_open(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return errno == ENXIO ? -ECONNREFUSED : -errno;
	r = sys_fstat(fd, st) < 0 ? -errno : S_ISFIFO(st->st_mode) ? 0 : -ENOTSUP;
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

/* Not more than PIPE_BUF bytes: all or nothing is written. */
static int announce(int server, const struct fifo_dial *d)
{
	char line[sizeof(d->name) + 1];
	int n = snprintf(line, sizeof(line), "%s\n", d->name);

	return sys_write(server, line, (size_t)n) == n ? 0 : -errno;
}

int fifo_dial(const char *path, struct fifo_dial **ret, int *ret_fd)
{
	struct fifo_dial *d = mem_zalloc(sizeof(*d));
	struct stat st = {};
	int fd = -1, server = d ? open_server(path, &st) : -ENOMEM,
	    r = server < 0 ? server : unique_name(prefix, d->name, sizeof(d->name));

	if (r == 0)
		r = make_pipe(d, path, 'c', &st, &d->to);
	if (r == 0)
		r = make_pipe(d, path, 's', &st, &d->from);
	if (r == 0 && (fd = sys_open(d->from, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0)) < 0)
		r = -errno;
	if (r == 0)
		r = announce(server, d);
	fd_close(&server);
	if (r < 0) {
		fd_close(&fd);
		fifo_dial_free(&d);
		return r;
	}
	*ret = d;
	*ret_fd = fd;
	return 0;
}

static void remove_names(struct fifo_dial *d)
{
	if (d->to)
		unlink(d->to);
	if (d->from)
		unlink(d->from);
	mem_free(d->to);
	mem_free(d->from);
	d->to = d->from = NULL;
}

/* Was the server there, and is gone again? It may have said all it had to say. */
static bool has_been_there(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0 && p.revents & (POLLIN | POLLHUP);
}

int fifo_dial_try(struct fifo_dial *d, int fd, int *ret_wfd)
{
	int wfd = sys_open(d->to, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0);

	if (wfd < 0 && errno == ENXIO) { /* nobody reads from it */
		if (!has_been_there(fd))
			return 0;
		wfd = sys_open(d->to, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0);
	}
	if (wfd < 0)
		return -errno;
	remove_names(d);
	*ret_wfd = wfd;
	return 1;
}

const char *fifo_dial_name(const struct fifo_dial *d)
{
	return d->name;
}

void fifo_dial_free(struct fifo_dial **dp)
{
	if (!*dp)
		return;
	remove_names(*dp);
	mem_free(*dp);
	*dp = NULL;
}
