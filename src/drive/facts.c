/* facts.c - what a process tells of itself: into its row of the shared mapping, where whoever is asked for stats reads it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "drive/clock.h"
#include "drive/model/brood.h"
#include "drive/model/crew.h"
#include "drive/sys.h"

static size_t resident(void)
{
	char text[128], *second;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	fd_close(&fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	second = strchr(text, ' '); /* "total resident shared ...", in pages */
	return second ? strtoul(second, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

static unsigned long fd_limit(void)
{
	struct rlimit lim;

	return getrlimit(RLIMIT_NOFILE, &lim) < 0 ? 0 : lim.rlim_cur;
}

static unsigned long descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned long n = 0;

	if (!d)
		return errno == EMFILE ? fd_limit() : 0; /* not even one is left for this */
	/* cppcheck-suppress readdirCalled ; the stream is this function's own, and readdir_r() is deprecated */
	for (const struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n - 1; /* without this one */
}

static uint64_t ns(struct timeval t)
{
	return (uint64_t)t.tv_sec * SEC + (uint64_t)t.tv_usec * 1000;
}

static void tell_crews(const struct server *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct service *v = s->services[i];
		unsigned workers = 0, waiting = 0;

		if (v->crew)
			crew_view(v->crew, &workers, &waiting);
		if (v->herd)
			workers = herd_alive(v->herd);
		atomic_store(&v->tally->workers, workers);
		atomic_store(&v->tally->waiting, waiting);
	}
}

void server_tell(const struct server *s)
{
	struct shared_process *p = &s->shared->process[s->setup.process];
	struct mallinfo2 heap = mallinfo2();
	struct rusage use;
	uint64_t turns = 0;

	getrusage(RUSAGE_SELF, &use);
	for (unsigned i = 0; i < s->n_loops; i++)
		turns += loop_turns(s->loops[i]);
	atomic_store(&p->heap, heap.uordblks + heap.hblkhd);
	atomic_store(&p->resident, resident());
	atomic_store(&p->descriptors, descriptors());
	atomic_store(&p->limit, fd_limit());
	atomic_store(&p->turns, turns);
	atomic_store(&p->user, ns(use.ru_utime));
	atomic_store(&p->system, ns(use.ru_stime));
	tell_crews(s);
}
