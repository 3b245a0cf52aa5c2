/* mem.c - malloc behind the fault seam, and before it, in a process that forks, a piece of memory that is written to by nobody else. */
#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

static _Atomic bool wipes;

void mem_wipe_freed(bool on)
{
	atomic_store(&wipes, on);
}

/* ---- the cradle: pieces, each with its size before it ---- */

enum { ALIGN = 16 };

static char *cradle;
static size_t cradle_size;

/* Not beside it: a child writes to these, and has a page for what is its thread's anyway. */
static _Thread_local bool in_use;
static _Thread_local size_t used;

void mem_cradle(void *p, size_t n)
{
	cradle = p;
	cradle_size = n;
	used = 0;
	in_use = false;
}

void mem_cradle_open(bool on)
{
	in_use = on;
}

static void *cradle_take(size_t n)
{
	size_t all = (n + 2 * ALIGN - 1) & ~(size_t)(ALIGN - 1);
	char *p = cradle + used;

	if (n > cradle_size || all > cradle_size - used)
		return NULL;
	used += all;
	*(size_t *)(void *)p = n;
	return p + ALIGN;
}

static bool in_cradle(const void *p)
{
	return (uintptr_t)p - (uintptr_t)cradle < cradle_size;
}

static size_t size_of(void *p)
{
	return in_cradle(p) ? *(size_t *)(void *)((char *)p - ALIGN) : malloc_usable_size(p);
}

/* ---- */

static void *grab(size_t n)
{
	void *p = in_use ? cradle_take(n) : NULL;

	return p ? p : malloc(n);
}

void *mem_alloc(size_t n)
{
	return fault_hit(FAULT_MEM) ? NULL : grab(n ? n : 1);
}

void *mem_zalloc(size_t n)
{
	void *p;

	if (fault_hit(FAULT_MEM))
		return NULL;
	n = n ? n : 1;
	p = in_use ? cradle_take(n) : NULL;
	return p ? memset(p, 0, n) : calloc(1, n);
}

/* realloc() would leave the bytes behind when it moves. */
static void *move(void *p, size_t n)
{
	size_t old = size_of(p);
	void *q = grab(n);

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
	if (!p)
		return grab(n);
	return in_cradle(p) || atomic_load_explicit(&wipes, memory_order_relaxed) ? move(p, n) : realloc(p, n);
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
	if (!p)
		return;
	if (atomic_load_explicit(&wipes, memory_order_relaxed))
		explicit_bzero(p, size_of(p));
	if (!in_cradle(p))
		free(p);
}
