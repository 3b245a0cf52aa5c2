/*
 * file.h - what stands behind the files of proto_file.h; only the core and drivers see it. A struct file is open, reference
 * counted, and may cross threads; a struct file_op is one call on its way, a job that the driver gives its run().
 */
#pragma once
#include <stdatomic.h>

#include "core/proto_file.h"

struct file {
	_Atomic unsigned refs;
	int fd; /* -1: read through pread only (all of it is in `body`; tests) */
	struct file_facts facts;
	struct blob *body;                                              /* all of a small one, or NULL */
	uint64_t at;                                                    /* where in_file() goes on */
	ssize_t (*pread)(struct file *f, void *p, size_t n, off_t off); /* bytes, 0 at the end, -errno */
	void (*close)(struct file *f);                                  /* closes and frees */
};

static inline struct file *file_ref(struct file *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	return f;
}

static inline void file_unref(struct file *f)
{
	if (f && atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1)
		f->close(f);
}

enum file_call {
	CALL_OPEN,
	CALL_READ,
	CALL_WRITE,
	CALL_KEEP,
	CALL_STAT,
	CALL_LIST,
	CALL_REMOVE,
	CALL_REMOVE_FOLDER,
	CALL_MAKE_FOLDER,
	CALL_RENAME,
	CALL_ROOT,
};

/*
 * Born with job.err set when the answer is known already (a name that cannot be): then nothing is left to do. Owns all that it
 * points at.
 */
struct file_op {
	struct job job; /* first; run is the driver's */
	enum file_call call;
	enum file_how how;
	bool replace;
	bool shared;      /* OPEN, the driver's: the loop has other sessions too */
	unsigned changes; /* OPEN, the driver's: those of the root before it was opened */
	struct root *root;
	struct file *file; /* READ, WRITE, KEEP */
	uint64_t off;      /* READ, WRITE, LIST */
	size_t n;          /* READ, WRITE, LIST */
	uint8_t *bytes;    /* READ, WRITE: n of them; LIST: of the driver's */
	struct file_done done;
	char *to; /* RENAME */
	size_t name_n;
	char name[]; /* ended by a NUL; behind it, for RENAME, the other one */
};

static inline struct file_op *file_op_of(struct job *j)
{
	return (struct file_op *)j;
}

/* The driver's: in_file() of this session or its channels, under this tag, is over: EV_DONE with -ECANCELED. false: there is none. */
struct sess;
bool sess_end_intake(struct sess *s, uint32_t tag);
