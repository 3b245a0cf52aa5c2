/*
 * gate_list.c - what is in a folder, a bounded part at a time. Links are followed as when their names are opened, beneath the root.
 * What a crash left of a file that was never kept is swept up by the way.
 */
#include <dirent.h>
#include <errno.h>

#include "base/buf.h"
#include "base/mem.h"
#include "drive/clock.h"
#include "drive/gate.h"
#include "drive/sys.h"

enum {
	PIECE = 16 << 10,    /* bytes of names asked for at a time */
	NAME_ROOM = 256,     /* of one name with its NUL */
	LEFT_BEHIND = 86400, /* seconds without a write: nobody is writing it any more */
};

struct listing {
	struct file_op *op;
	int fd;
	struct file_entry *v; /* `name` is an offset into names yet */
	size_t n, cap;
	struct buf names;
	struct buf path; /* a name below the root: the folder and what is in it */
	int64_t now;
};

static void sweep(const struct listing *l, const char *name)
{
	struct stat st;

	if (fstatat(l->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return;
	if (st.st_mtim.tv_sec < l->now - LEFT_BEHIND)
		(void)unlinkat(l->fd, name, 0);
}

/* What a link stands for; one that leads out of the root, or nowhere, is nothing that can be had. */
static int follow(struct listing *l, const char *name, struct file_facts *ret)
{
	struct stat st;
	int fd;

	*ret = (struct file_facts){ .kind = FILE_OTHER };
	buf_reset(&l->path);
	buf_addf(&l->path, "%s/%s", l->op->name_n ? l->op->name : ".", name);
	if (l->path.err)
		return l->path.err;
	fd = gate_beneath(l->op->root, buf_str(&l->path), O_PATH, false);
	if (fd >= 0 && sys_fstat(fd, &st) == 0)
		gate_facts(&st, ret);
	fd_close(&fd);
	return 0;
}

static int add(struct listing *l, const char *name, const struct file_facts *facts)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		struct file_entry *v = mem_realloc(l->v, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = (struct file_entry){ .name = (const char *)l->names.n, .facts = *facts };
	buf_add(&l->names, name, strlen(name) + 1);
	return l->names.err;
}

static int one(struct listing *l, const char *name)
{
	struct file_facts facts;
	struct stat st;
	int err;

	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return 0;
	if (!strncmp(name, FILE_PRIVATE, strlen(FILE_PRIVATE))) {
		sweep(l, name);
		return 0;
	}
	if (sys_fstatat(l->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno; /* gone meanwhile */
	gate_facts(&st, &facts);
	err = S_ISLNK(st.st_mode) ? follow(l, name, &facts) : 0;
	return err ? err : add(l, name, &facts);
}

/* Up to `most` entries; op->done.next is where the next one begins. */
static int gather(struct listing *l)
{
	_Alignas(struct dirent64) char piece[PIECE];
	struct file_op *op = l->op;
	int err = 0;

	for (;;) {
		ssize_t got = sys_getdents64(l->fd, piece, sizeof(piece));

		if (got <= 0) {
			op->done.next = 0;
			return got < 0 ? -errno : 0;
		}
		for (ssize_t at = 0; at < got && !err;) {
			const struct dirent64 *d = (const struct dirent64 *)(const void *)(piece + at);

			if (l->n == op->n)
				return 0;
			err = one(l, d->d_name);
			op->done.next = (uint64_t)d->d_off;
			at += d->d_reclen;
		}
		if (err)
			return err;
	}
}

/* All in one piece of memory, which is the call's. */
static int hand_over(struct listing *l)
{
	size_t entries = l->n * sizeof(*l->v);
	struct file_op *op = l->op;
	char *names;

	op->bytes = mem_alloc(entries + l->names.n + 1);
	if (!op->bytes)
		return -ENOMEM;
	names = (char *)op->bytes + entries;
	for (size_t i = 0; i < l->n; i++)
		l->v[i].name = names + (uintptr_t)l->v[i].name;
	if (l->n) {
		memcpy(op->bytes, l->v, entries);
		memcpy(names, l->names.p, l->names.n);
	}
	op->done.entry = (const struct file_entry *)(const void *)op->bytes;
	op->done.entries = l->n;
	return 0;
}

int gate_list(struct file_op *op)
{
	struct listing l = { .op = op, .now = clock_wall() };
	int err;

	l.fd = gate_beneath(op->root, op->name, O_RDONLY | O_DIRECTORY, false);
	if (l.fd < 0)
		return l.fd;
	buf_init(&l.names, FILE_ENTRIES * NAME_ROOM);
	buf_init(&l.path, FILE_NAME_MAX + 1 + NAME_ROOM);
	err = op->off && lseek(l.fd, (off_t)op->off, SEEK_SET) < 0 ? -errno : 0;
	if (!err)
		err = gather(&l);
	if (!err)
		err = hand_over(&l);
	mem_free(l.v);
	buf_done(&l.names);
	buf_done(&l.path);
	fd_close(&l.fd);
	return err;
}
