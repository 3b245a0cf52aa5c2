/*
 * inherit.c - see inherit.h. MADV_DONTFORK would not do: the system copies the table of mappings as a whole at each fork and then takes
 * out, one after the other, those that are not handed on. That costs half of handing them on.
 */
#include "priv/inherit.h"

#include <link.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	RSEQ_BYTES = 32, /* as the C library has registered it */
	PIECES = 16,     /* that become one */
	HOLE = 2 << 20,  /* between two of them: where one or two libraries were */
};

/* The later, the fewer have it. */
enum fate {
	HANDED_ON, /* whoever is not named below: a library too few ends the child */
	OPENSSL,   /* handed on where there is TLS or a password; elsewhere nobody calls it */
	DONE_WITH, /* the monitor's, or what the sandbox was made with */
	UNMAPPED,
};

/* By the start of their file names. */
static struct library {
	const char *name;
	enum fate fate;
} libraries[] = {
	/* for those with TLS, a store or passwords */
	{ "libssl.", OPENSSL },
	{ "libcrypto.", OPENSSL },
	{ "libcrypt.", OPENSSL },
	/* the monitor's: names of users and hosts, with what these modules need; libsystemd too; what the sandbox was made with;
	   stores, which no process of this kind has */
	{ "libnss_", DONE_WITH },
	{ "libm.", DONE_WITH },
	{ "libjansson.", DONE_WITH },
	{ "libsystemd.", DONE_WITH },
	{ "libcap.", DONE_WITH },
	{ "libgcrypt.", DONE_WITH },
	{ "libgpg-error.", DONE_WITH },
	{ "liblz4.", DONE_WITH },
	{ "liblzma.", DONE_WITH },
	{ "libzstd.", DONE_WITH },
	{ "libseccomp.", DONE_WITH },
	{ "liblmdb.", DONE_WITH },
	{ "libpthread.", DONE_WITH }, /* empty, but liblmdb wants it */
};

static struct library *find(const char *name)
{
	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++)
		if (strncmp(name, libraries[i].name, strlen(libraries[i].name)) == 0)
			return &libraries[i];
	return NULL;
}

static struct library *which(const struct dl_phdr_info *o)
{
	const char *slash = strrchr(o->dlpi_name, '/');

	return find(slash ? slash + 1 : o->dlpi_name);
}

/* ---- who needs whom ---- */

static const ElfW(Dyn) * dynamic(const struct dl_phdr_info *o)
{
	for (size_t i = 0; i < o->dlpi_phnum; i++)
		if (o->dlpi_phdr[i].p_type == PT_DYNAMIC)
			return (const void *)(o->dlpi_addr + o->dlpi_phdr[i].p_vaddr);
	return NULL;
}

static const char *names_of(const struct dl_phdr_info *o, const ElfW(Dyn) * d)
{
	for (; d->d_tag != DT_NULL; d++) /* the loader has made an address of it, or has not */
		if (d->d_tag == DT_STRTAB)
			return (const char *)(d->d_un.d_ptr < o->dlpi_addr ? o->dlpi_addr + d->d_un.d_ptr
									   : d->d_un.d_ptr);
	return NULL;
}

/* What one needs that is handed on is handed on too, whatever it is; and what one needs that stays here stays. */
static int look_at_needs(struct dl_phdr_info *o, size_t size, void *arg)
{
	bool *again = arg;
	const struct library *lib = which(o);
	enum fate fate = lib ? lib->fate : HANDED_ON;
	const ElfW(Dyn) * d;
	const char *names;

	(void)size;
	if (!*o->dlpi_name || fate >= DONE_WITH)
		return 0; /* the program needs all of them, and calls them no more */
	d = dynamic(o);
	names = d ? names_of(o, d) : NULL;
	for (; names && d->d_tag != DT_NULL; d++) {
		struct library *needed = d->d_tag == DT_NEEDED ? find(names + d->d_un.d_val) : NULL;

		if (needed && needed->fate > fate && needed->fate != UNMAPPED) {
			needed->fate = fate;
			*again = true;
		}
	}
	return 0;
}

/* ---- what becomes of one ---- */

/* From the first page of its segments to the last: what is between them is reserved for it. */
static void span_of(const struct dl_phdr_info *o, uintptr_t *ret_from, uintptr_t *ret_to)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = UINTPTR_MAX, to = 0;

	for (size_t i = 0; i < o->dlpi_phnum; i++) {
		uintptr_t at = o->dlpi_addr + o->dlpi_phdr[i].p_vaddr;

		if (o->dlpi_phdr[i].p_type != PT_LOAD)
			continue;
		from = at < from ? at : from;
		to = at + o->dlpi_phdr[i].p_memsz > to ? at + o->dlpi_phdr[i].p_memsz : to;
	}
	*ret_from = from & ~(page - 1);
	*ret_to = (to + page - 1) & ~(page - 1); /* as the loader has */
}

static int look_at(struct dl_phdr_info *o, size_t size, void *arg)
{
	const struct library *lib = which(o);
	uintptr_t from, to;

	(void)size;
	(void)arg;
	if (!lib || lib->fate != DONE_WITH)
		return 0;
	span_of(o, &from, &to);
	if (from < to)
		(void)munmap((void *)from, to - from);
	return 0;
}

static void change_fate(enum fate from, enum fate to)
{
	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++)
		if (libraries[i].fate == from)
			libraries[i].fate = to;
}

bool inherit_libraries(bool openssl)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	if (!openssl)
		change_fate(OPENSSL, DONE_WITH);
	for (bool again = true; again;) {
		again = false;
		dl_iterate_phdr(look_at_needs, &again);
	}
	dl_iterate_phdr(look_at, NULL);
	change_fate(DONE_WITH, UNMAPPED);
	return true;
#else
	(void)openssl;
	(void)change_fate;
	(void)look_at;
	(void)look_at_needs;
	return false;
#endif
}

/* ---- what is written to, in one piece ---- */

struct pieces {
	unsigned n;
	uintptr_t from[PIECES], to[PIECES];
};

static bool is_empty(const char *page, size_t n)
{
	return !*page && memcmp(page, page + 1, n - 1) == 0;
}

/* Much of it is the C library's: so nothing is written to it from the first page that is copied until all is in its place. */
static void copy(const struct pieces *v, char *to, size_t page)
{
	for (unsigned i = 0; i < v->n; i++)
		for (uintptr_t at = v->from[i]; at < v->to[i]; at += page)
			if (!is_empty((const char *)at, page))
				memcpy(to + (at - v->from[0]), (const char *)at, page);
}

static void join(const struct pieces *v)
{
	size_t n = v->n > 1 ? v->to[v->n - 1] - v->from[0] : 0;
	char *p;

	if (!n)
		return;
	p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return;
	(void)madvise(p, n, MADV_NOHUGEPAGE); /* which would be 512 pages to hand on */
	copy(v, p, (size_t)sysconf(_SC_PAGESIZE));
	if (mremap(p, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)v->from[0]) == MAP_FAILED)
		munmap(p, n);
}

static void take(struct pieces *v, const uintptr_t at[2], bool ours)
{
	if (!ours || v->n == PIECES || (v->n && at[0] - v->to[v->n - 1] >= HOLE)) {
		join(v);
		v->n = 0;
	}
	if (!ours)
		return;
	v->from[v->n] = at[0];
	v->to[v->n++] = at[1];
}

/* Not what is not handed on, or zeroed there, or not in a core file, or dropped when memory is short, or locked; and the stack grows. */
static bool is_common(const char *flags)
{
	static const char *const others[] = { " dc", " wf", " dd", " dp", " lo", " gd" };

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strstr(flags, others[i]))
			return false;
	return true;
}

/* `55af0fbd3000-55af0fc00000 rw-p ...`, before the lines that tell of it. */
static bool read_head(const char *line, uintptr_t ret_at[2], bool *ret_ours)
{
	char *end;
	uintptr_t from = strtoul(line, &end, 16);

	if (end == line || *end != '-')
		return false;
	ret_at[0] = from;
	ret_at[1] = strtoul(end + 1, &end, 16);
	*ret_ours = strncmp(end, " rw-p ", 6) == 0;
	return true;
}

void inherit_in_one(void)
{
	static bool done;
	FILE *f = done ? NULL : fopen("/proc/self/smaps", "re");
	struct pieces v = {};
	uintptr_t at[2] = {};
	bool ours = false;
	char line[512];

	done = true;
	while (f && fgets(line, sizeof(line), f))
		if (!read_head(line, at, &ours) && strncmp(line, "VmFlags:", 8) == 0)
			take(&v, at, ours && is_common(line));
	if (f)
		fclose(f);
}

/* ---- what else there is ---- */

void inherit_less(void)
{
	(void)malloc_trim(0);
	if (__rseq_size)
		(void)syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, RSEQ_BYTES,
			      RSEQ_FLAG_UNREGISTER, RSEQ_SIG); /* -1: it was done before */
}
