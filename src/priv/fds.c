/* fds.c - see fds.h. No memory is asked for: whoever was forked by a process with threads may not. */
#include "priv/fds.h"

#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

enum { FIRST = STDERR_FILENO + 1, MOST_BY_NUMBER = 65536 };

int fds_lowest(const int *v, size_t n, int from)
{
	int min = -1;

	for (size_t i = 0; i < n; i++)
		if (v[i] >= from && (min < 0 || v[i] < min))
			min = v[i];
	return min;
}

/* Without close_range(2), which a kernel may lack and a jail forbid: what was opened before us is guessed from the limit. */
static void close_by_number(unsigned from, unsigned to)
{
	struct rlimit l = { .rlim_cur = 1024 };

	(void)getrlimit(RLIMIT_NOFILE, &l);
	if (to >= MOST_BY_NUMBER || to >= l.rlim_cur)
		to = (unsigned)(l.rlim_cur < MOST_BY_NUMBER ? l.rlim_cur : MOST_BY_NUMBER) - 1;
	for (unsigned fd = from; fd <= to; fd++)
		close((int)fd);
}

static void close_from(unsigned from, unsigned to)
{
	if (from <= to && close_range(from, to, 0) != 0)
		close_by_number(from, to);
}

void fds_close_but(int (*next)(const void *arg, int from), const void *arg)
{
	int from = FIRST, keep;

	for (; (keep = next(arg, from)) >= 0; from = keep + 1)
		if (keep > from)
			close_from((unsigned)from, (unsigned)keep - 1);
	close_from((unsigned)from, UINT32_MAX);
}
