/*
 * outq.h - what waits to be sent: a chain of 4 KiB chunks that hold records of bytes, blobs, file ranges,
 * datagrams and markers, in order. An empty queue holds no memory.
 */
#pragma once
#include <sys/uio.h>

#include "core/proto.h"

enum rec_kind {
	REC_END,   /* nothing queued */
	REC_MEM,   /* bytes inside the chunk */
	REC_BLOB,  /* bytes of a shared blob */
	REC_LENT,  /* bytes somewhere else that are good for a moment only: outq_settle() copies what is left */
	REC_FILE,  /* a range of an open file */
	REC_DGRAM, /* one datagram with its route */
	REC_LAYER, /* marker: a layer starts here */
	REC_EOF,   /* marker: our side ends here */
};

/* Chunks of one thread; emptied ones come back here. */
struct chunk_pool {
	struct chunk *free;
	unsigned n;
};
bool chunk_pool_rest(struct chunk_pool *pool, bool now); /* has it many? `now`: then only few are kept */
void chunk_pool_done(struct chunk_pool *pool);

struct outq {
	struct chunk *head, *tail;
	size_t n; /* bytes; a file range counts 1, so that it does not look like memory */
};

struct rec_layer {
	const struct layer *layer;
	void *arg;
	enum leftover left;
};

struct rec_file {
	struct file *file;
	off_t off;
	size_t n;
};

struct rec_dgram {
	struct route route;
	bool routed; /* false: to the connected peer */
	struct span data;
};

/* All of these: 0 or -ENOMEM; on -ENOMEM nothing was queued, but for a part of outq_mem(): the session ends then. */
[[nodiscard]] int outq_mem(struct outq *q, struct chunk_pool *pool, const void *p, size_t n);
[[nodiscard]] int outq_lend(struct outq *q, struct chunk_pool *pool, const void *p, size_t n); /* to an empty queue */
[[nodiscard]] int outq_settle(struct outq *q, struct chunk_pool *pool); /* the bytes lent are about to go away */
[[nodiscard]] int outq_blob(struct outq *q, struct chunk_pool *pool, struct blob *b);
[[nodiscard]] int outq_file(struct outq *q, struct chunk_pool *pool, struct file *f, off_t off, size_t n);
[[nodiscard]] int outq_dgram(struct outq *q, struct chunk_pool *pool, const struct route *to, const void *p, size_t n);
[[nodiscard]] int outq_layer(struct outq *q, struct chunk_pool *pool, const struct rec_layer *l);
[[nodiscard]] int outq_eof(struct outq *q, struct chunk_pool *pool);

/* What is at the head. */
enum rec_kind outq_kind(const struct outq *q);

/* Points at most max iovecs at the bytes from the head on, stopping at what is not bytes; how many. */
unsigned outq_gather(const struct outq *q, struct iovec *v, unsigned max, size_t max_bytes);

/* Bytes were sent; n is at most what outq_gather() showed. */
void outq_sent(struct outq *q, struct chunk_pool *pool, size_t n);

/* The head record of that kind. A layer's arg is the caller's after outq_pop(). */
const struct rec_layer *outq_layer_head(const struct outq *q);
struct rec_file *outq_file_head(const struct outq *q);                         /* shrink it as it is sent, pop at 0 */
unsigned outq_dgrams(const struct outq *q, struct rec_dgram *v, unsigned max); /* from the head on */
void outq_pop(struct outq *q, struct chunk_pool *pool);

void outq_clear(struct outq *q, struct chunk_pool *pool);
