/* mem.c - malloc behind the fault seam. */
#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

static _Atomic bool wipes;

void mem_wipe_freed(bool on)
{
	atomic_store(&wipes, on);
}

void *mem_alloc(size_t n)
{
	return fault_hit(FAULT_MEM) ? NULL : malloc(n ? n : 1);
}

void *mem_zalloc(size_t n)
{
	return fault_hit(FAULT_MEM) ? NULL : calloc(1, n ? n : 1);
}

/* realloc() would leave the bytes behind when it moves. */
static void *move(void *p, size_t n)
{
	size_t old = malloc_usable_size(p);
	void *q = malloc(n);

	if (!q)
		return NULL;
	memcpy(q, p, old < n ? old : n);
	mem_free(p);
	return q;
}

void *mem_realloc(void *p, size_t n)
{
	if (fault_hit(FAULT_MEM))
		return NULL;
	n = n ? n : 1;
	return p && atomic_load_explicit(&wipes, memory_order_relaxed) ? move(p, n) : realloc(p, n);
}

char *mem_strdup(const char *s)
{
	return mem_strndup(s, strlen(s));
}

char *mem_strndup(const char *s, size_t n)
{
	size_t len = strnlen(s, n);
	char *p = mem_alloc(len + 1);

	if (p) {
		memcpy(p, s, len);
		p[len] = '\0';
	}
	return p;
}

void mem_free(void *p)
{
	if (p && atomic_load_explicit(&wipes, memory_order_relaxed))
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}
