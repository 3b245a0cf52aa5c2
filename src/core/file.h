/*
 * file.h - an open file that can be queued for sending; only drivers see its fd. Reference counted,
 * may cross threads.
 */
#pragma once
#include <stdatomic.h>
#include <sys/types.h>

struct file {
	_Atomic unsigned refs;
	int fd; /* -1: read through pread only (tests) */
	off_t size;
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
