/*
 * outq.c - see outq.h. A chunk is a row of records, each a header and a body, 8 byte aligned.
 * The header of a MEM record keeps how much of it is gone, so that sending moves no bytes.
 */
#include "core/outq.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "core/file.h"
#include "core/layer.h"

enum {
	CHUNK = 4096,
	POOL_MAX = 256, /* 1 MiB kept per thread, for a moment */
	POOL_IDLE = 16,
	ALIGN = 8,
};

struct chunk {
	struct chunk *next;
	uint32_t off, end, cap; /* of d: first record, end of the last one, size */
	uint32_t last;          /* of d: the last record, for appending to it */
	uint8_t d[];
};

struct rec {
	uint8_t kind;
	uint32_t n;   /* bytes of the body */
	uint32_t off; /* MEM: of these, already sent */
	uint32_t pad;
};

struct body_blob {
	struct blob *blob;
	size_t off, n;
};

struct body_lent {
	const uint8_t *p;
	size_t n;
};

struct body_dgram {
	struct route route;
	uint32_t n;
	bool routed;
	uint8_t d[];
};

static size_t up8(size_t n)
{
	return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static struct rec *rec_at(struct chunk *c, uint32_t off)
{
	return (struct rec *)(void *)(c->d + off);
}

static void *body(struct rec *r)
{
	return r + 1;
}

static struct rec *head(const struct outq *q)
{
	return q->head ? rec_at(q->head, q->head->off) : NULL;
}

static struct chunk *chunk_get(struct chunk_pool *pool, size_t need)
{
	size_t size = CHUNK - sizeof(struct chunk);
	struct chunk *c = pool->free;

	if (need <= size && c) {
		pool->free = c->next;
		pool->n--;
	} else {
		size = need > size ? need : size;
		c = mem_alloc(sizeof(*c) + size);
		if (!c)
			return NULL;
		c->cap = (uint32_t)size;
	}
	c->next = NULL;
	c->off = c->end = c->last = 0;
	return c;
}

static void chunk_put(struct chunk_pool *pool, struct chunk *c)
{
	if (c->cap != CHUNK - sizeof(struct chunk) || pool->n >= POOL_MAX) {
		mem_free(c);
		return;
	}
	c->next = pool->free;
	pool->free = c;
	pool->n++;
}

static void keep(struct chunk_pool *pool, unsigned n)
{
	while (pool->n > n) {
		struct chunk *c = pool->free;

		pool->free = c->next;
		pool->n--;
		mem_free(c);
	}
}

bool chunk_pool_rest(struct chunk_pool *pool, bool now)
{
	bool many = pool->n > POOL_IDLE;

	if (now)
		keep(pool, POOL_IDLE);
	return many;
}

void chunk_pool_done(struct chunk_pool *pool)
{
	keep(pool, 0);
}

/* A chunk at the end of the queue with room for `need` more bytes. */
static struct chunk *tail_with(struct outq *q, struct chunk_pool *pool, size_t need)
{
	struct chunk *c = q->tail;

	if (c && c->cap - c->end >= need)
		return c;
	c = chunk_get(pool, need);
	if (!c)
		return NULL;
	if (q->tail)
		q->tail->next = c;
	else
		q->head = c;
	q->tail = c;
	return c;
}

/* The body of a new record in a chunk that has room for it. */
static void *rec_put(struct chunk *c, enum rec_kind kind, size_t n)
{
	struct rec *r = rec_at(c, c->end);

	*r = (struct rec){ .kind = (uint8_t)kind, .n = (uint32_t)n };
	c->last = c->end;
	c->end += (uint32_t)(sizeof(*r) + up8(n));
	return body(r);
}

static void *rec_add(struct outq *q, struct chunk_pool *pool, enum rec_kind kind, size_t n)
{
	struct chunk *c = tail_with(q, pool, sizeof(struct rec) + up8(n));

	return c ? rec_put(c, kind, n) : NULL;
}

/* Bytes that still fit behind the last record, when that is a MEM one. */
static size_t append(struct outq *q, const uint8_t *p, size_t n)
{
	struct chunk *c = q->tail;

	if (!c || c->end == 0)
		return 0;

	struct rec *r = rec_at(c, c->last);

	if (r->kind != REC_MEM)
		return 0;

	size_t used = c->last + sizeof(*r) + r->n;
	size_t k = c->cap - used < n ? c->cap - used : n;

	memcpy(c->d + used, p, k);
	r->n += (uint32_t)k;
	c->end = (uint32_t)up8(used + k);
	q->n += k;
	return k;
}

int outq_mem(struct outq *q, struct chunk_pool *pool, const void *p, size_t n)
{
	const uint8_t *d = p;

	if (n == 0)
		return 0;

	size_t k = append(q, d, n);

	while (k < n) {
		struct chunk *c = tail_with(q, pool, sizeof(struct rec) + ALIGN);

		if (!c)
			return -ENOMEM; /* the session is aborted: what fitted does not matter */

		size_t room = c->cap - c->end - sizeof(struct rec);
		size_t part = n - k < room ? n - k : room;

		memcpy(rec_put(c, REC_MEM, part), d + k, part);
		q->n += part;
		k += part;
	}
	return 0;
}

int outq_lend(struct outq *q, struct chunk_pool *pool, const void *p, size_t n)
{
	struct body_lent *r = rec_add(q, pool, REC_LENT, sizeof(*r));

	if (!r)
		return -ENOMEM;
	*r = (struct body_lent){ .p = p, .n = n };
	q->n += n;
	return 0;
}

int outq_settle(struct outq *q, struct chunk_pool *pool)
{
	struct outq rest = {};
	struct body_lent lent;
	int r;

	if (outq_kind(q) != REC_LENT)
		return 0;
	lent = *(struct body_lent *)body(head(q));
	outq_pop(q, pool);
	r = outq_mem(&rest, pool, lent.p, lent.n); /* it was first, so it goes in front of what came after */
	if (r < 0) {
		outq_clear(&rest, pool);
		return r;
	}
	if (!rest.head)
		return 0; /* nothing was lent */
	rest.n += q->n;
	rest.tail->next = q->head;
	rest.tail = q->tail ? q->tail : rest.tail;
	*q = rest;
	return 0;
}

int outq_blob(struct outq *q, struct chunk_pool *pool, struct blob *b)
{
	struct span s = blob_span(b);

	if (s.n == 0)
		return 0;

	struct body_blob *r = rec_add(q, pool, REC_BLOB, sizeof(*r));

	if (!r)
		return -ENOMEM;
	*r = (struct body_blob){ .blob = blob_ref(b), .n = s.n };
	q->n += s.n;
	return 0;
}

int outq_file(struct outq *q, struct chunk_pool *pool, struct file *f, off_t off, size_t n)
{
	if (n == 0)
		return 0;

	struct rec_file *r = rec_add(q, pool, REC_FILE, sizeof(*r));

	if (!r)
		return -ENOMEM;
	*r = (struct rec_file){ .file = file_ref(f), .off = off, .n = n };
	q->n++;
	return 0;
}

int outq_dgram(struct outq *q, struct chunk_pool *pool, const struct route *to, const void *p, size_t n)
{
	struct body_dgram *r = rec_add(q, pool, REC_DGRAM, sizeof(*r) + n);

	if (!r)
		return -ENOMEM;
	r->routed = to != NULL;
	if (to) {
		r->route = *to;
		r->route.name = peer_ref(to->name);
	}
	r->n = (uint32_t)n;
	memcpy(r->d, p, n);
	q->n += n;
	return 0;
}

int outq_layer(struct outq *q, struct chunk_pool *pool, const struct rec_layer *l)
{
	struct rec_layer *r = rec_add(q, pool, REC_LAYER, sizeof(*r));

	if (!r)
		return -ENOMEM;
	*r = *l;
	return 0;
}

int outq_eof(struct outq *q, struct chunk_pool *pool)
{
	return rec_add(q, pool, REC_EOF, 0) ? 0 : -ENOMEM;
}

enum rec_kind outq_kind(const struct outq *q)
{
	struct rec *r = head(q);

	return r ? (enum rec_kind)r->kind : REC_END;
}

/* The record after r, in this chunk or the next; NULL at the end. */
static struct rec *next_rec(struct chunk **c, struct rec *r)
{
	uint32_t off = (uint32_t)((uint8_t *)r - (*c)->d) + (uint32_t)(sizeof(*r) + up8(r->n));

	if (off < (*c)->end)
		return rec_at(*c, off);
	*c = (*c)->next;
	return *c ? rec_at(*c, (*c)->off) : NULL;
}

unsigned outq_gather(const struct outq *q, struct iovec *v, unsigned max, size_t max_bytes)
{
	struct chunk *c = q->head;
	unsigned n = 0;
	size_t total = 0;

	for (struct rec *r = head(q); r && n < max && total < max_bytes; r = next_rec(&c, r)) {
		if (r->kind == REC_MEM) {
			v[n].iov_base = (uint8_t *)body(r) + r->off;
			v[n].iov_len = r->n - r->off;
		} else if (r->kind == REC_BLOB) {
			struct body_blob *b = body(r);

			v[n].iov_base = (uint8_t *)(uintptr_t)blob_span(b->blob).p + b->off;
			v[n].iov_len = b->n;
		} else if (r->kind == REC_LENT) {
			struct body_lent *b = body(r);

			v[n].iov_base = (uint8_t *)(uintptr_t)b->p;
			v[n].iov_len = b->n;
		} else {
			break;
		}
		if (v[n].iov_len > max_bytes - total)
			v[n].iov_len = max_bytes - total;
		total += v[n++].iov_len;
	}
	return n;
}

void outq_pop(struct outq *q, struct chunk_pool *pool)
{
	struct chunk *c = q->head;
	struct rec *r = head(q);

	switch ((enum rec_kind)r->kind) {
	case REC_MEM:
		q->n -= r->n - r->off;
		break;
	case REC_BLOB: {
		struct body_blob *b = body(r);

		q->n -= b->n;
		blob_unref(b->blob);
		break;
	}
	case REC_LENT:
		q->n -= ((struct body_lent *)body(r))->n;
		break;
	case REC_FILE:
		q->n--;
		file_unref(((struct rec_file *)body(r))->file);
		break;
	case REC_DGRAM: {
		struct body_dgram *d = body(r);

		q->n -= d->n;
		if (d->routed)
			peer_unref(d->route.name);
		break;
	}
	case REC_LAYER:
	case REC_EOF:
	case REC_END:
		break;
	}
	c->off += (uint32_t)(sizeof(*r) + up8(r->n));
	if (c->off < c->end)
		return;
	q->head = c->next;
	if (!q->head)
		q->tail = NULL;
	chunk_put(pool, c);
}

/* Bytes that are left of a record. */
static size_t left_of(struct rec *r)
{
	if (r->kind == REC_BLOB)
		return ((struct body_blob *)body(r))->n;
	if (r->kind == REC_LENT)
		return ((struct body_lent *)body(r))->n;
	return r->n - r->off;
}

static void shorten(struct rec *r, size_t n)
{
	if (r->kind == REC_BLOB) {
		((struct body_blob *)body(r))->off += n;
		((struct body_blob *)body(r))->n -= n;
	} else if (r->kind == REC_LENT) {
		((struct body_lent *)body(r))->p += n;
		((struct body_lent *)body(r))->n -= n;
	} else {
		r->off += (uint32_t)n;
	}
}

void outq_sent(struct outq *q, struct chunk_pool *pool, size_t n)
{
	while (n > 0) {
		struct rec *r = head(q);
		size_t left = left_of(r);

		if (n >= left) {
			n -= left;
			outq_pop(q, pool);
		} else {
			shorten(r, n);
			q->n -= n;
			n = 0;
		}
	}
}

const struct rec_layer *outq_layer_head(const struct outq *q)
{
	return outq_kind(q) == REC_LAYER ? body(head(q)) : NULL;
}

struct rec_file *outq_file_head(const struct outq *q)
{
	return outq_kind(q) == REC_FILE ? body(head(q)) : NULL;
}

unsigned outq_dgrams(const struct outq *q, struct rec_dgram *v, unsigned max)
{
	struct chunk *c = q->head;
	unsigned n = 0;

	for (struct rec *r = head(q); r && n < max && r->kind == REC_DGRAM; r = next_rec(&c, r)) {
		struct body_dgram *d = body(r);

		v[n].routed = d->routed;
		if (d->routed)
			v[n].route = d->route;
		v[n++].data = (struct span){ d->d, d->n };
	}
	return n;
}

void outq_clear(struct outq *q, struct chunk_pool *pool)
{
	while (q->head) {
		const struct rec_layer *l = outq_layer_head(q);

		if (l && l->layer->drop_arg)
			l->layer->drop_arg(l->arg);
		outq_pop(q, pool);
	}
}
