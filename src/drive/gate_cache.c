/*
 * gate_cache.c - files that were opened to read, by root and name, for a second as they are and then looked at anew. One for each
 * loop, so no lock is needed: docs/design/files.md says why.
 */
#include <errno.h>
#include <sys/resource.h>

#include "base/blob.h"
#include "base/mem.h"
#include "core/proto.h"
#include "drive/gate.h"
#include "drive/sys.h"

#define FRESH SEC         /* for so long an entry is believed */
#define UNUSED (10 * SEC) /* then it goes: a file that was removed must give its place on the disk back */

enum {
	DESCRIPTORS = 64, /* at most one of so many that we may have is for the files of one loop */
	FEW = 16,
};

struct entry {
	struct list lru; /* used last: at the end */
	struct entry *next;
	uint64_t hash;
	struct root *root;
	struct file *file;
	nsec checked, used;
	unsigned changes; /* of the root, then */
	bool young;       /* it had been changed just before: the next change may leave no trace in its times */
	size_t n;
	char name[];
};

struct gate_cache {
	struct list lru;
	struct gate_limits limits;
	size_t files, bytes, fds, fds_max;
	uint64_t seed;
	size_t buckets; /* a power of two */
	struct entry *bucket[];
};

/* ---- birth and death ---- */

static size_t buckets_for(size_t files)
{
	size_t n = 64;

	while (n < files && n < 1 << 16)
		n *= 2;
	return n;
}

int gate_cache_new(const struct gate_limits *limits, struct gate_cache **ret)
{
	size_t buckets = buckets_for(limits->files);
	struct gate_cache *c = mem_zalloc(sizeof(*c) + buckets * sizeof(c->bucket[0]));
	struct rlimit fds;

	if (!c)
		return -ENOMEM;
	list_init(&c->lru);
	c->limits = *limits;
	c->buckets = buckets;
	c->fds_max = SIZE_MAX;
	if (getrlimit(RLIMIT_NOFILE, &fds) == 0 && fds.rlim_cur != RLIM_INFINITY)
		c->fds_max = fds.rlim_cur / DESCRIPTORS > FEW ? fds.rlim_cur / DESCRIPTORS : FEW;
	if (sys_getrandom(&c->seed, sizeof(c->seed), 0) != sizeof(c->seed)) {
		mem_free(c);
		return -EIO;
	}
	*ret = c;
	return 0;
}

/* What an entry costs in memory that is worth counting. */
static size_t weight(const struct entry *e)
{
	return sizeof(*e) + e->n + (e->file->body ? blob_span(e->file->body).n : 0);
}

static void count(struct gate_cache *c, const struct entry *e, bool in)
{
	size_t fd = e->file->fd >= 0, bytes = weight(e);

	c->files = in ? c->files + 1 : c->files - 1;
	c->fds = in ? c->fds + fd : c->fds - fd;
	c->bytes = in ? c->bytes + bytes : c->bytes - bytes;
}

static void forget(struct gate_cache *c, struct entry *e)
{
	struct entry **at = &c->bucket[e->hash & (c->buckets - 1)];

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	list_del(&e->lru);
	count(c, e, false);
	file_unref(e->file);
	root_unref(e->root);
	mem_free(e);
}

static struct entry *oldest(struct gate_cache *c)
{
	return list_empty(&c->lru) ? NULL : list_entry(c->lru.next, struct entry, lru);
}

static void trim(struct gate_cache *c)
{
	while (c->files && (c->files > c->limits.files || c->bytes > c->limits.bytes || c->fds > c->fds_max))
		forget(c, oldest(c));
}

void gate_cache_free(struct gate_cache **cp)
{
	struct gate_cache *c = *cp;

	if (!c)
		return;
	gate_cache_give(c);
	mem_free(c);
	*cp = NULL;
}

void gate_cache_limit(struct gate_cache *c, const struct gate_limits *limits)
{
	c->limits = *limits;
	trim(c);
}

void gate_cache_give(struct gate_cache *c)
{
	while (c->files)
		forget(c, oldest(c));
}

nsec gate_cache_due(const struct gate_cache *c)
{
	return list_empty(&c->lru) ? 0 : list_entry(c->lru.next, struct entry, lru)->used + UNUSED;
}

void gate_cache_tick(struct gate_cache *c, nsec now)
{
	for (nsec at; (at = gate_cache_due(c)) && at <= now;)
		forget(c, oldest(c));
}

/* ---- finding ---- */

/* Names are the peers' choice, and which of them meet in a bucket must not be: so it begins with a secret (FNV-1a, then mixed). */
static uint64_t hash_of(const struct gate_cache *c, const struct file_op *op)
{
	uint64_t h = c->seed ^ (uintptr_t)op->root;

	for (size_t i = 0; i < op->name_n; i++)
		h = (h ^ (uint8_t)op->name[i]) * 0x100000001b3u;
	h = (h ^ (h >> 32)) * 0x9e3779b97f4a7c15u;
	return h ^ (h >> 29);
}

static struct entry *find(const struct gate_cache *c, const struct file_op *op, uint64_t hash)
{
	struct entry *e = c->bucket[hash & (c->buckets - 1)];

	while (e && !(e->hash == hash && e->root == op->root && e->n == op->name_n && !memcmp(e->name, op->name, e->n)))
		e = e->next;
	return e;
}

static void use(struct gate_cache *c, struct entry *e, nsec now)
{
	e->used = now;
	list_del(&e->lru);
	list_add(&c->lru, &e->lru);
}

struct file *gate_cache_find(struct gate_cache *c, const struct file_op *op, nsec now)
{
	struct entry *e = find(c, op, hash_of(c, op));

	if (!e || now - e->checked >= FRESH || e->changes != root_changes(op->root))
		return NULL;
	use(c, e, now);
	return file_ref(e->file);
}

void gate_cache_drop(struct gate_cache *c, const struct file_op *op)
{
	struct entry *e = find(c, op, hash_of(c, op));

	if (e)
		forget(c, e);
}

/* ---- putting in ---- */

/* "a//b", "./a", "a/../a" are names of the same file: each would have a place of its own, and there is no end of them. */
static bool is_plain_name(const char *name, size_t n)
{
	for (size_t i = 0, part = 0; i <= n; i++) {
		if (i < n && name[i] != '/')
			continue;
		if (i == part || (i - part <= 2 && name[part] == '.' && name[i - 1] == '.'))
			return false;
		part = i + 1;
	}
	return true;
}

static bool same_file(const struct file *a, const struct file *b)
{
	const struct file_facts *x = &a->facts, *y = &b->facts;

	return x->inode == y->inode && x->device == y->device && x->size == y->size && x->mtime == y->mtime &&
	       x->mtime_ns == y->mtime_ns && x->ctime == y->ctime && x->ctime_ns == y->ctime_ns &&
	       (a->body || !b->body);
}

static struct entry *entry_new(struct gate_cache *c, const struct file_op *op, uint64_t hash)
{
	struct entry *e = mem_zalloc(sizeof(*e) + op->name_n);
	struct entry **at = &c->bucket[hash & (c->buckets - 1)];

	if (!e)
		return NULL;
	e->hash = hash;
	e->root = root_ref(op->root);
	e->n = op->name_n;
	memcpy(e->name, op->name, e->n);
	e->next = *at;
	*at = e;
	list_init(&e->lru);
	e->file = file_ref(op->done.file);
	count(c, e, true);
	return e;
}

void gate_cache_put(struct gate_cache *c, struct file_op *op, nsec now, int64_t wall)
{
	uint64_t hash = hash_of(c, op);
	struct entry *e = find(c, op, hash);

	if (e && !e->young && same_file(e->file, op->done.file)) {
		file_unref(op->done.file);
		op->done.file = file_ref(e->file);
	} else {
		if (e)
			forget(c, e);
		e = is_plain_name(op->name, op->name_n) ? entry_new(c, op, hash) : NULL;
		if (!e)
			return;
		e->young = wall - e->file->facts.ctime <= 1;
	}
	e->checked = now;
	e->changes = op->changes;
	use(c, e, now);
	trim(c);
}
