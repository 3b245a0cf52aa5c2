/*
 * mem.h - every allocation of the daemon goes through here, so that a test can make the Nth one fail.
 * All return NULL when memory is out; the caller decides what that means to its client.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

[[nodiscard]] void *mem_alloc(size_t n);            /* uninitialised */
[[nodiscard]] void *mem_zalloc(size_t n);           /* zeroed */
[[nodiscard]] void *mem_realloc(void *p, size_t n); /* on NULL the old block is untouched */
[[nodiscard]] char *mem_strdup(const char *s);
[[nodiscard]] char *mem_strndup(const char *s, size_t n); /* at most n bytes, always ended by NUL */
void mem_free(void *p);                                   /* NULL is fine */

/*
 * While it is open, what is asked for is taken from these n bytes, one piece behind the other, as long as there is room; freeing gives
 * nothing back. For a process with one thread that forks: what a child writes to is then in few pages, and it is closed everywhere but
 * there. There is one, which is closed at first. NULL: none any more; all that is in it must have been freed.
 */
void mem_cradle(void *p, size_t n);
void mem_cradle_open(bool on);

/*
 * Overwrite what is freed from now on, or do not: for a process that keys pass through and that then makes others of itself. OpenSSL's
 * memory is ours too (tls_use_mem()). Slower; false at first.
 */
void mem_wipe_freed(bool on);
