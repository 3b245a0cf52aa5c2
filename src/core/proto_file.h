/*
 * proto_file.h - the contract's part for protocols that serve files: names from the network, looked up beneath a root.
 *
 * A root is a folder that the configuration names, opened once; a name is a path below it, as the peer said it. Nothing leads out:
 * no "..", absolute path, symbolic link or race (docs/design/files.md). Each call is answered by EV_DONE with its tag, always
 * later; ev->err says how it went and ev_file(ev) what came of it. io_end(io, tag) cancels it: EV_DONE with -ECANCELED.
 *
 *	io_open(io, T_GET, o->root, name, FILE_READ);      io_hold(io, true);
 *	...EV_DONE T_GET:  struct file_done *d = ev_file(ev);
 *	                   out_file(io, d->file, 0, d->facts.size);
 *
 *	io_open(io, T_PUT, o->root, name, FILE_REPLACE);   ...EV_DONE T_PUT:   self->file = d->file; d->file = NULL;
 *	in_file(io, T_BODY, self->file, length);           ...EV_DONE T_BODY:  all of it is written
 *	io_keep(io, T_KEEP, self->file);                   ...EV_DONE T_KEEP:  it is on the disk and has its name: say so
 *
 * Errors: -ENOENT -EACCES -EEXIST -ENOTDIR -EISDIR -ENOTEMPTY -ENAMETOOLONG -EMFILE -ENOSPC -EDQUOT -EIO -ENOMEM as everybody
 * knows them; -EXDEV and -ELOOP: the name leads out of the root, or its links do not end; -EINVAL: a name with a NUL in it, or
 * without a last part where there must be one; -EACCES also for what is no plain file: named pipes, devices, sockets, and for
 * names that begin with FILE_PRIVATE.
 */
#pragma once
#include "core/proto.h"

struct root;

/* Names of our own, for what is not whole yet: no name from the network has a part that begins so, no list shows one. */
#define FILE_PRIVATE ".guichet-"

#define FILE_NAME_MAX 4095 /* bytes of a name; a part of it has at most 255 */

/* ---- roots ---- */

/* For svc_open(): may wait for the disk. 0 or -errno with a sentence. Reference counted, may cross threads. */
[[nodiscard]] int root_open(const char *path, struct root **ret, struct buf *ret_why);
struct root *root_ref(struct root *r);
void root_unref(struct root *r); /* NULL is fine */

/* ---- what is known of a file ---- */

enum file_kind { FILE_PLAIN, FILE_FOLDER, FILE_OTHER };

struct file_facts {
	enum file_kind kind;
	uint64_t size;
	int64_t mtime; /* seconds since 1970 */
	uint32_t mtime_ns;
	uint32_t mode;          /* permission bits */
	uint64_t device, inode; /* which file it is, whatever its name */
	int64_t ctime;          /* when anything of it was changed last */
	uint32_t ctime_ns, uid, gid;
};

/* A strong entity tag with its quotes (RFC 9110 section 8.8.3): another one when the file is another, or was written to. */
#define FILE_ETAG 64
const char *file_etag(const struct file_facts *f, char ret[static FILE_ETAG]);

/* An open file: with out_file() (proto.h), and with the calls below. */
struct file *file_take(struct file *f); /* another reference */
void file_drop(struct file *f);         /* NULL is fine; what was not kept is gone with the last one */
const struct file_facts *file_facts(const struct file *f); /* when it was opened or kept */

/* ---- what a call came to: at EV_DONE, for the step ---- */

struct file_entry {
	const char *name; /* ended by a NUL; any bytes but that and the slash */
	struct file_facts facts;
};

struct file_done {
	struct file *file;              /* io_open: to keep it take the pointer and set this to NULL */
	struct root *root;              /* io_root: likewise */
	struct file_facts facts;        /* io_open, io_keep, io_stat */
	struct span data;               /* io_read: fewer bytes than asked for only at the end of the file */
	uint64_t n;                     /* in_file, io_write: bytes written, also when it failed */
	const struct file_entry *entry; /* io_list: */
	size_t entries;                 /* how many; in no order */
	uint64_t next;                  /* where the next part begins; 0: this was the last one */
};
struct file_done *ev_file(const struct ev *ev);

/* ---- calls; a name is copied ---- */

enum file_how {
	FILE_READ,    /* a plain file; comes from the cache when it can, and is then the file of at most a second ago */
	FILE_NEW,     /* to write one; -EEXIST when there is something of that name, now or at io_keep() */
	FILE_REPLACE, /* to write one that io_keep() puts in the place of what there is */
	FILE_APPEND,  /* to go on with one, or begin it: what is written is there at once, and stays */
};

/* FILE_NEW, FILE_REPLACE: nobody sees what is written before it is kept; when the last reference goes before that, it is gone. */
void io_open(struct io *io, uint32_t tag, struct root *root, struct span name, enum file_how how);

/* For those who get bytes otherwise than in the stream: at most FILE_PIECE at a time. */
#define FILE_PIECE (256u << 10)
void io_read(struct io *io, uint32_t tag, struct file *f, uint64_t off, size_t n);
void io_write(struct io *io, uint32_t tag, struct file *f, uint64_t off, const void *p, size_t n);

/*
 * The next n bytes of input, or (FILE_TO_EOF) all up to the peer's end, go into the file, behind what in_file() wrote before. Until
 * its EV_DONE there is no EV_DATA and no EV_EOF; the disk's pace is the peer's. On a channel's io the event has its number in
 * ev->chan, and a channel that breaks says EV_GONE and nothing else. -ENODATA: the peer ended before n bytes.
 */
#define FILE_TO_EOF UINT64_MAX
void in_file(struct io *io, uint32_t tag, struct file *f, uint64_t n);

/*
 * What was written is flushed to the disk, and a new file gets its name, all at once. Only now may it be acknowledged. After an
 * error (here or in any write before) it has no name yet; but when it is the last step, flushing the folder, that fails, it has
 * one and might lose it again with a crash of the machine.
 */
void io_keep(struct io *io, uint32_t tag, struct file *f);

void io_stat(struct io *io, uint32_t tag, struct root *root, struct span name); /* "" is the root itself */

/*
 * The entries of a folder, at most `most` of them (0: FILE_ENTRIES), from `from` on: 0, or `next` of the part before. What leads out
 * of the root is there as FILE_OTHER, without facts.
 */
#define FILE_ENTRIES 4096
void io_list(struct io *io, uint32_t tag, struct root *root, struct span name, uint64_t from, size_t most);

/* These have reached the disk when they are answered. */
void io_remove(struct io *io, uint32_t tag, struct root *root, struct span name);        /* a file */
void io_remove_folder(struct io *io, uint32_t tag, struct root *root, struct span name); /* an empty one */
void io_make_folder(struct io *io, uint32_t tag, struct root *root, struct span name);
/* replace: what has the new name already goes, else -EEXIST. */
void io_rename(struct io *io, uint32_t tag, struct root *root, struct span from, struct span to, bool replace);

/* A folder below it as a root of its own, that nothing leads out of: a user's. */
void io_root(struct io *io, uint32_t tag, struct root *root, struct span name);
