/*
 * fileio.c - proto_file.h from the core's side: each call becomes a job that the driver gives its run(). And in_file(): input goes
 * into a file piece by piece, each written by such a job, and while one is on its way the next is read.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "core/file.h"
#include "core/sess_priv.h"

/* Input on its way into a file. */
struct intake {
	struct file *file;
	struct file_op *op;  /* a piece being written, or NULL; the driver's */
	struct file_op *end; /* what its EV_DONE shows */
	uint64_t left;       /* to be read yet */
	uint64_t moved;      /* written */
	int err;
};

/* ---- names ---- */

/* What can be said of a name without looking. */
static int judge(struct span name)
{
	const char *p = (const char *)name.p, *end = p + name.n;

	if (name.n > FILE_NAME_MAX)
		return -ENAMETOOLONG;
	if (name.n && memchr(p, '\0', name.n))
		return -EINVAL;
	for (const char *part = p; part < end; part++) {
		if ((size_t)(end - part) >= strlen(FILE_PRIVATE) && !memcmp(part, FILE_PRIVATE, strlen(FILE_PRIVATE)))
			return -EACCES;
		part = memchr(part, '/', (size_t)(end - part));
		if (!part)
			break;
	}
	return 0;
}

const char *file_etag(const struct file_facts *f, char ret[static FILE_ETAG])
{
	snprintf(ret, FILE_ETAG, "\"%llx-%llx-%llx%08x\"", (unsigned long long)f->inode, (unsigned long long)f->size,
		 (unsigned long long)f->mtime, f->mtime_ns);
	return ret;
}

struct file *file_take(struct file *f)
{
	return file_ref(f);
}

void file_drop(struct file *f)
{
	file_unref(f);
}

const struct file_facts *file_facts(const struct file *f)
{
	return &f->facts;
}

struct file_done *ev_file(const struct ev *ev)
{
	return &file_op_of(ev->job)->done;
}

/* ---- calls ---- */

static void op_drop(struct job *j)
{
	struct file_op *op = file_op_of(j);

	root_unref(op->root);
	root_unref(op->done.root);
	file_unref(op->file);
	file_unref(op->done.file);
	mem_free(op->bytes);
	mem_free(op);
}

/* Of a session that is marked to abort when memory is out. */
static struct file_op *op_new(struct sess *s, enum file_call call, struct span name, struct span to)
{
	int err = judge(name) ? judge(name) : judge(to);
	size_t n = err ? 0 : name.n, to_n = err ? 0 : to.n;
	struct file_op *op = mem_zalloc(sizeof(*op) + n + to_n + 2);

	if (!op) {
		sess_abort(s, "out-of-memory", STAT_MEMORY);
		return NULL;
	}
	op->call = call;
	op->job.drop = op_drop;
	op->job.err = err;
	op->name_n = n;
	op->to = op->name + n + 1;
	if (n)
		memcpy(op->name, name.p, n);
	if (to_n)
		memcpy(op->to, to.p, to_n);
	return op;
}

/* Into the list of effects; false: it is dropped, and the session will be. */
static bool start(struct sess *s, uint32_t tag, struct file_op *op)
{
	struct fx *f = sess_fx(s, FX_FILE, tag);

	if (!f) {
		op_drop(&op->job);
		return false;
	}
	op->job.owner = s->id;
	op->job.tag = tag;
	op->job.epoch = s->epoch;
	f->job = &op->job;
	return true;
}

static struct file_op *root_op(struct io *io, enum file_call call, struct root *root, struct span name, struct span to)
{
	struct file_op *op = op_new(sess_stepper(io->sess), call, name, to);

	if (op)
		op->root = root_ref(root);
	return op;
}

static void on_root(struct io *io, uint32_t tag, enum file_call call, struct root *root, struct span name)
{
	struct file_op *op = root_op(io, call, root, name, (struct span){});

	if (op)
		start(sess_stepper(io->sess), tag, op);
}

void io_open(struct io *io, uint32_t tag, struct root *root, struct span name, enum file_how how)
{
	struct file_op *op = root_op(io, CALL_OPEN, root, name, (struct span){});

	if (!op)
		return;
	op->how = how;
	start(sess_stepper(io->sess), tag, op);
}

void io_stat(struct io *io, uint32_t tag, struct root *root, struct span name)
{
	on_root(io, tag, CALL_STAT, root, name);
}

void io_remove(struct io *io, uint32_t tag, struct root *root, struct span name)
{
	on_root(io, tag, CALL_REMOVE, root, name);
}

void io_remove_folder(struct io *io, uint32_t tag, struct root *root, struct span name)
{
	on_root(io, tag, CALL_REMOVE_FOLDER, root, name);
}

void io_make_folder(struct io *io, uint32_t tag, struct root *root, struct span name)
{
	on_root(io, tag, CALL_MAKE_FOLDER, root, name);
}

void io_root(struct io *io, uint32_t tag, struct root *root, struct span name)
{
	on_root(io, tag, CALL_ROOT, root, name);
}

void io_rename(struct io *io, uint32_t tag, struct root *root, struct span from, struct span to, bool replace)
{
	struct file_op *op = root_op(io, CALL_RENAME, root, from, to);

	if (!op)
		return;
	op->replace = replace;
	start(sess_stepper(io->sess), tag, op);
}

void io_list(struct io *io, uint32_t tag, struct root *root, struct span name, uint64_t from, size_t most)
{
	struct file_op *op = root_op(io, CALL_LIST, root, name, (struct span){});

	if (!op)
		return;
	op->off = from;
	op->n = most && most < FILE_ENTRIES ? most : FILE_ENTRIES;
	start(sess_stepper(io->sess), tag, op);
}

/* With n bytes of room, those at p when it is not NULL. */
static struct file_op *file_op_new(struct sess *s, enum file_call call, struct file *f, const void *p, size_t n)
{
	struct file_op *op = op_new(s, call, (struct span){}, (struct span){});

	if (!op)
		return NULL;
	op->file = file_ref(f);
	op->n = n;
	op->bytes = n ? mem_alloc(n) : NULL;
	if (n && !op->bytes) {
		sess_abort(s, "out-of-memory", STAT_MEMORY);
		op_drop(&op->job);
		return NULL;
	}
	if (n && p)
		memcpy(op->bytes, p, n);
	return op;
}

void io_read(struct io *io, uint32_t tag, struct file *f, uint64_t off, size_t n)
{
	struct sess *s = sess_stepper(io->sess);
	struct file_op *op = file_op_new(s, CALL_READ, f, NULL, n < FILE_PIECE ? n : FILE_PIECE);

	if (!op)
		return;
	op->off = off;
	start(s, tag, op);
}

void io_write(struct io *io, uint32_t tag, struct file *f, uint64_t off, const void *p, size_t n)
{
	struct sess *s = sess_stepper(io->sess);
	struct file_op *op = file_op_new(s, CALL_WRITE, f, p, n < FILE_PIECE ? n : FILE_PIECE);

	if (!op)
		return;
	op->off = off;
	start(s, tag, op);
}

void io_keep(struct io *io, uint32_t tag, struct file *f)
{
	struct sess *s = sess_stepper(io->sess);
	struct file_op *op = file_op_new(s, CALL_KEEP, f, NULL, 0);

	if (op)
		start(s, tag, op);
}

/* ---- input into a file ---- */

static struct intake *intake_new(struct sess *s, struct file *f)
{
	struct sess_more *m = sess_more(s);
	struct file_op *end = m ? file_op_new(s, CALL_WRITE, f, NULL, 0) : NULL;
	struct intake *k = end ? mem_zalloc(sizeof(*k)) : NULL;

	if (!k) {
		sess_abort(s, "out-of-memory", STAT_MEMORY);
		if (end)
			op_drop(&end->job);
		return NULL;
	}
	k->file = end->file; /* a reference for both */
	k->end = end;
	return k;
}

/* Takes it from its session; a piece that is on its way is then nobody's. */
static struct intake *detach(struct sess *s)
{
	struct intake *k = s->more->intake;

	if (k->op)
		k->op->job.owner = 0;
	k->op = NULL;
	s->more->intake = NULL;
	s->flags &= ~(uint32_t)S_INTAKE;
	s->need = s->scanned = 0;
	return k;
}

static void intake_free(struct intake *k)
{
	op_drop(&k->end->job);
	mem_free(k);
}

void intake_drop(struct sess *s)
{
	if (s->flags & S_INTAKE)
		intake_free(detach(s));
}

static void finish(struct sess *s, int err)
{
	struct intake *k = detach(s);
	struct ev ev = { .kind = EV_DONE, .tag = k->end->job.tag, .err = err, .job = &k->end->job };

	k->end->done.n = k->moved;
	k->end->job.err = err;
	sess_step(s, &ev);
	intake_free(k);
}

void in_file(struct io *io, uint32_t tag, struct file *f, uint64_t n)
{
	struct sess *s = io->sess;

	if (s->flags & (S_ABORT | S_CLOSING | S_INTAKE | S_DGRAM | S_SHARD)) {
		if (s->flags & S_INTAKE)
			sess_abort(s, "aborted", STAT_ERRORS); /* two at once: its own mistake */
		return;
	}

	struct intake *k = intake_new(s, f);

	if (!k)
		return;
	k->left = n;
	k->end->job.tag = tag;
	s->more->intake = k;
	s->flags |= S_INTAKE;
	sess_mark(s);
}

static void write_piece(struct sess *s, struct intake *k)
{
	size_t n = inbuf_n(&s->in);
	struct file_op *op;

	n = n < FILE_PIECE ? n : FILE_PIECE;
	n = n < k->left ? n : (size_t)k->left;
	op = file_op_new(s, CALL_WRITE, k->file, s->in.p + s->in.off, n);
	if (!op)
		return;
	op->off = k->file->at;
	if (!start(s, k->end->job.tag, op))
		return;
	k->op = op;
	k->file->at += n;
	if (k->left != FILE_TO_EOF)
		k->left -= n;
	s->in.off += (uint32_t)n;
}

bool intake_pump(struct sess *s)
{
	struct intake *k = s->more->intake;

	if (k->op)
		return false;
	if (k->err) {
		finish(s, k->err);
	} else if (k->left && inbuf_n(&s->in)) {
		write_piece(s, k);
	} else if (!k->left || s->flags & S_EOF) {
		bool whole = !k->left || (k->left == FILE_TO_EOF && !(s->more->eof_err));

		finish(s, whole ? 0 : s->more->eof_err ? s->more->eof_err : -ENODATA);
	} else {
		return false;
	}
	return true;
}

bool intake_answer(struct sess *s, const struct ev *ev)
{
	struct intake *k = s->more->intake;

	if (!k->op || ev->job != &k->op->job)
		return false;
	k->moved += k->op->done.n;
	k->err = ev->err;
	k->op = NULL;
	return true;
}

static bool cancel(struct sess *s, uint32_t tag)
{
	if (!(s->flags & S_INTAKE) || s->more->intake->end->job.tag != tag)
		return false;
	finish(s, -ECANCELED);
	sess_mark(s);
	return true;
}

bool sess_end_intake(struct sess *s, uint32_t tag)
{
	if (cancel(s, tag))
		return true;
	if (!s->more)
		return false;
	for (struct list *l = s->more->chans.next; l != &s->more->chans; l = l->next)
		if (cancel(list_entry(l, struct sess_more, chan)->self, tag))
			return true;
	return false;
}
