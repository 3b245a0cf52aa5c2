/* mem.c - malloc behind the fault seam. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

void *mem_alloc(size_t n)
{
	return fault_hit(FAULT_MEM) ? NULL : malloc(n ? n : 1);
}

void *mem_zalloc(size_t n)
{
	return fault_hit(FAULT_MEM) ? NULL : calloc(1, n ? n : 1);
}

void *mem_realloc(void *p, size_t n)
{
	return fault_hit(FAULT_MEM) ? NULL : realloc(p, n ? n : 1);
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
	free(p);
}
