/* blob.c - see blob.h. */
#include "base/blob.h"

#include <stdatomic.h>

#include "base/mem.h"

struct blob {
	struct mail mail; /* first: blob_of_mail() */
	_Atomic unsigned refs;
	size_t n;
	uint8_t d[];
};

static void drop_mail(struct mail *m)
{
	blob_unref(blob_of_mail(m));
}

struct blob *blob_new(const struct span *parts, size_t n)
{
	size_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += parts[i].n;

	struct blob *b = mem_alloc(sizeof(*b) + total);

	if (!b)
		return NULL;
	b->mail.drop = drop_mail;
	atomic_init(&b->refs, 1);
	b->n = 0;
	for (size_t i = 0; i < n; i++) {
		if (parts[i].n)
			memcpy(b->d + b->n, parts[i].p, parts[i].n);
		b->n += parts[i].n;
	}
	return b;
}

struct blob *blob_ref(struct blob *b)
{
	if (b)
		atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void blob_unref(struct blob *b)
{
	if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
		mem_free(b);
}

struct span blob_span(const struct blob *b)
{
	return (struct span){ b->d, b->n };
}

struct mail *blob_to_mail(struct blob *b)
{
	return &b->mail;
}

struct blob *blob_of_mail(struct mail *m)
{
	return (struct blob *)m;
}
