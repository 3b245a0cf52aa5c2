/*
 * gate.h - the file gateway: what becomes of the calls of core/proto_file.h. Every name that comes from the network is opened by
 * gate_beneath() and by nothing else.
 *
 * Of the files of the gateway: gate.c (calls, and what a loop does with them), gate_name.c (roots, and names below them),
 * gate_open.c (files to read and to write, and the moment when one gets its name), gate_list.c (folders), gate_cache.c.
 */
#pragma once
#include "base/list.h"
#include "core/file.h"

struct lane;
struct stat;

/* ---- gate_name.c ---- */

/* Counts what was changed below it by this process, so that caches know. */
struct root {
	struct list node;
	_Atomic unsigned refs;
	int fd;
	bool named;       /* no /proc, so no file can be given a name later: one of our own stands for it meanwhile */
	struct root *top; /* whose folder it is in, NULL: its own; its `changes` are the ones that count */
	_Atomic unsigned changes;
};

[[nodiscard]] int root_from_fd(int *fd, struct root *top, struct root **ret); /* takes the descriptor; 0 or -ENOMEM */
/* The lowest descriptor, from this number on, that some root has; -1: none. Only without other threads. */
int root_next_fd(int from);
void root_changed(struct root *r);
unsigned root_changes(const struct root *r);

/*
 * The one function that opens names. A descriptor (CLOEXEC) or -errno; with `cached`, -EAGAIN when the answer is not in the kernel's
 * memory. The root itself is "".
 */
int gate_beneath(const struct root *r, const char *name, int flags, bool cached);

/*
 * The folder of a name, open, and its last part, which points into `name` (a slash at the end is cut off there). A descriptor or
 * -errno: -EINVAL when there is no last part: "", ".", "..".
 */
int gate_parent(const struct root *r, char *name, const char **ret_last);

void gate_facts(const struct stat *st, struct file_facts *ret);

/* ---- gate_open.c ---- */

enum { GATE_BODY = 16 << 10 }; /* a file of at most so many bytes can be in memory as a whole */

/*
 * A plain file to read; a small one is read here and now. With `cached` nothing waits for the disk: -EAGAIN, or a small file
 * without its body. All of these: 0 or -errno.
 */
int gate_open_read(const struct root *r, const char *name, bool cached, struct file **ret);
int gate_open_write(struct root *r, char *name, enum file_how how, bool shared, struct file **ret);
int gate_write(struct file *f, const uint8_t *p, size_t n, uint64_t off, uint64_t *ret_n);
int gate_keep(struct file *f, struct file_facts *ret);

/* ---- gate_list.c ---- */

int gate_list(struct file_op *op);

/* ---- gate_cache.c: open files of one loop, by root and name ---- */

struct gate_cache;

struct gate_limits {
	size_t files; /* 0: none, and no cache */
	size_t bytes; /* of small files in memory */
};

[[nodiscard]] int gate_cache_new(const struct gate_limits *limits, struct gate_cache **ret);
void gate_cache_free(struct gate_cache **c);
void gate_cache_limit(struct gate_cache *c, const struct gate_limits *limits);

/* The file that a call wants: a reference, or NULL. */
struct file *gate_cache_find(struct gate_cache *c, const struct file_op *op, nsec now);

/* The call has opened it: it is kept, or, when it is the one that is known already, given up for that one. */
void gate_cache_put(struct gate_cache *c, struct file_op *op, nsec now, int64_t wall);
void gate_cache_drop(struct gate_cache *c, const struct file_op *op); /* there is none of that name any more */
void gate_cache_give(struct gate_cache *c);           /* descriptors are out: gives back all that nobody uses */
void gate_cache_tick(struct gate_cache *c, nsec now); /* what was not used for a while goes */
nsec gate_cache_due(const struct gate_cache *c);      /* when to call that; 0: never */

/* ---- gate.c ---- */

/* As job.run of a struct file_op: all of it, here, waiting for the disk where it must. */
void gate_run(struct job *j);

/* Without waiting for the disk, in the loop's thread. True: it is answered, job.err and done. `c` may be NULL. */
bool gate_now(struct gate_cache *c, struct file_op *op, const struct lane *lane, nsec now, int64_t wall);

/* In the loop's thread, after gate_run(). */
void gate_learn(struct gate_cache *c, struct file_op *op, nsec now, int64_t wall);
