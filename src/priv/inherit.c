/* inherit.c - see inherit.h. */
#include "priv/inherit.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* By the start of their file names. Whoever is missing here is handed on: that costs a little, a library too few ends the child. */
static const char *const parents_own[] = {
	"libinih.", "libjansson.", "libseccomp.",   "libsystemd.",                         /* ours */
	"libcap.",  "libgcrypt.",  "libgpg-error.", "liblz4.",     "liblzma.", "libzstd.", /* libsystemd's */
	"libnss_",
};
static const char *const for_tls[] = { "libssl.", "libcrypto." };

static bool is_one_of(const char *name, const char *const *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strncmp(name, v[i], strlen(v[i])) == 0)
			return true;
	return false;
}

/* From the first page of its segments to the last: what is between them is reserved for it. */
static void advise(const struct dl_phdr_info *o, int advice)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = UINTPTR_MAX, to = 0;

	for (size_t i = 0; i < o->dlpi_phnum; i++) {
		uintptr_t at = o->dlpi_addr + o->dlpi_phdr[i].p_vaddr;

		if (o->dlpi_phdr[i].p_type != PT_LOAD)
			continue;
		from = at < from ? at : from;
		to = at + o->dlpi_phdr[i].p_memsz > to ? at + o->dlpi_phdr[i].p_memsz : to;
	}
	from &= ~(page - 1);
	if (from < to)
		(void)madvise((void *)from, to - from, advice); /* the C library rounds the end up, as the loader has */
}

static int look_at(struct dl_phdr_info *o, size_t size, void *arg)
{
	const bool *tls = arg;
	const char *slash = strrchr(o->dlpi_name, '/');
	const char *name = slash ? slash + 1 : o->dlpi_name;

	(void)size;
	if (is_one_of(name, parents_own, sizeof(parents_own) / sizeof(parents_own[0])))
		advise(o, MADV_DONTFORK);
	else if (is_one_of(name, for_tls, sizeof(for_tls) / sizeof(for_tls[0])))
		advise(o, *tls ? MADV_DOFORK : MADV_DONTFORK);
	return 0;
}

void inherit_libraries(bool tls)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	dl_iterate_phdr(look_at, &tls);
#else
	(void)tls;
	(void)look_at;
#endif
}
