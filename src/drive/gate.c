/*
 * gate.c - the calls of core/proto_file.h: what each does in a job, and which need none because the kernel has the answer in memory.
 */
#include "drive/gate.h"

#include <errno.h>

#include "base/blob.h"
#include "base/mem.h"
#include "core/stats.h"
#include "drive/sys.h"

enum { FOLDER_MODE = 0755 };

/* ---- in a job ---- */

static int open_file(struct file_op *op)
{
	int err;

	op->changes = root_changes(op->root);
	if (op->how == FILE_READ)
		err = gate_open_read(op->root, op->name, false, &op->done.file);
	else
		err = gate_open_write(op->root, op->name, op->how, op->shared, &op->done.file);
	if (!err)
		op->done.facts = op->done.file->facts;
	return err;
}

static int read_file(struct file_op *op)
{
	size_t n = 0;

	if (op->off > INT64_MAX - op->n)
		return -EINVAL;
	while (n < op->n) {
		ssize_t got = op->file->pread(op->file, op->bytes + n, op->n - n, (off_t)(op->off + n));

		if (got < 0)
			return (int)got;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	op->done.data = (struct span){ op->bytes, n };
	return 0;
}

static int look_at(struct file_op *op, bool cached)
{
	int fd = gate_beneath(op->root, op->name, O_PATH, cached), err = fd < 0 ? fd : 0;
	struct stat st;

	if (!err && sys_fstat(fd, &st) < 0)
		err = -errno;
	fd_close(&fd);
	if (!err)
		gate_facts(&st, &op->done.facts);
	return err;
}

/* A change of names is on the disk when its folder is. */
static int changed(struct file_op *op, int dir, int r)
{
	int err = r < 0 ? -errno : 0;

	if (!err) {
		root_changed(op->root);
		err = sys_fsync(dir) < 0 ? -errno : 0;
	}
	fd_close(&dir);
	return err;
}

static int change_name(struct file_op *op)
{
	const char *last;
	int dir = gate_parent(op->root, op->name, &last);

	if (dir < 0)
		return dir;
	if (op->call == CALL_MAKE_FOLDER)
		return changed(op, dir, sys_mkdirat(dir, last, FOLDER_MODE));
	return changed(op, dir, sys_unlinkat(dir, last, op->call == CALL_REMOVE_FOLDER ? AT_REMOVEDIR : 0));
}

static int rename_name(struct file_op *op)
{
	const char *from, *to;
	int a = gate_parent(op->root, op->name, &from);
	int b = a < 0 ? a : gate_parent(op->root, op->to, &to);
	int err = b < 0 ? b : 0;

	if (!err)
		err = changed(op, b, sys_renameat2(a, from, b, to, op->replace ? 0 : RENAME_NOREPLACE));
	if (!err && sys_fsync(a) < 0)
		err = -errno;
	fd_close(&a);
	return err;
}

static int open_root(struct file_op *op)
{
	int fd = gate_beneath(op->root, op->name, O_PATH | O_DIRECTORY, false);
	int err = fd < 0 ? fd : root_from_fd(&fd, op->root, &op->done.root);

	fd_close(&fd);
	return err;
}

static int run(struct file_op *op)
{
	switch (op->call) {
	case CALL_OPEN:
		return open_file(op);
	case CALL_READ:
		return read_file(op);
	case CALL_WRITE:
		return gate_write(op->file, op->bytes, op->n, op->off, &op->done.n);
	case CALL_KEEP:
		return gate_keep(op->file, &op->done.facts);
	case CALL_STAT:
		return look_at(op, false);
	case CALL_LIST:
		return gate_list(op);
	case CALL_REMOVE:
	case CALL_REMOVE_FOLDER:
	case CALL_MAKE_FOLDER:
		return change_name(op);
	case CALL_RENAME:
		return rename_name(op);
	case CALL_ROOT:
		return open_root(op);
	}
	return -ENOSYS;
}

void gate_run(struct job *j)
{
	if (!j->err)
		j->err = run(file_op_of(j));
}

/* ---- at once ---- */

static bool open_now(struct gate_cache *c, struct file_op *op, nsec now, int64_t wall)
{
	int err;

	op->changes = root_changes(op->root);
	err = gate_open_read(op->root, op->name, true, &op->done.file);
	if (c && (err == -EMFILE || err == -ENFILE)) {
		gate_cache_give(c);
		err = gate_open_read(op->root, op->name, true, &op->done.file);
	}
	if (err == -EAGAIN)
		return false; /* gate_learn() will see to the cache */
	op->job.err = err;
	gate_learn(c, op, now, wall);
	return true;
}

static bool answer_open(struct gate_cache *c, struct file_op *op, const struct lane *lane, nsec now, int64_t wall)
{
	bool done;

	op->done.file = c ? gate_cache_find(c, op, now) : NULL;
	done = op->done.file;
	if (c)
		stat_add(lane, done ? STAT_FILE_HITS : STAT_FILE_MISSES, 1);
	if (!done)
		done = open_now(c, op, now, wall);
	if (done && op->done.file)
		op->done.facts = op->done.file->facts;
	return done;
}

bool gate_now(struct gate_cache *c, struct file_op *op, const struct lane *lane, nsec now, int64_t wall)
{
	int err;

	if (op->job.err)
		return true;
	if (op->call == CALL_OPEN && op->how == FILE_READ)
		return answer_open(c, op, lane, now, wall);
	if (op->call == CALL_READ && op->file->body) {
		gate_run(&op->job);
		return true;
	}
	if (op->call != CALL_STAT)
		return false;
	err = look_at(op, true);
	if (err == -EAGAIN)
		return false;
	op->job.err = err;
	return true;
}

void gate_learn(struct gate_cache *c, struct file_op *op, nsec now, int64_t wall)
{
	if (!c)
		return;
	if (op->job.err == -EMFILE || op->job.err == -ENFILE)
		gate_cache_give(c);
	if (op->call != CALL_OPEN || op->how != FILE_READ)
		return;
	if (op->done.file)
		gate_cache_put(c, op, now, wall);
	else
		gate_cache_drop(c, op);
}
