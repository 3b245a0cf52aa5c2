/* fdlimit.c - see fdlimit.h. */
#include "main/fdlimit.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"

enum { FDS_LEAST = 32 };

size_t fdlimit_get(void)
{
	struct rlimit lim;

	return getrlimit(RLIMIT_NOFILE, &lim) < 0 ? 0 : lim.rlim_cur;
}

void fdlimit_warn(unsigned fds)
{
	bool few = fds < FDS_LEAST;
	struct rlimit lim;

	if (!fds || getrlimit(RLIMIT_NOFILE, &lim) < 0 || (fds <= lim.rlim_max && !few))
		return;
	log_text(LOG_WARN, "fds", "%u descriptors are wanted, %s %ju", fds, few ? "the least is" : "the system allows",
		 few ? (uintmax_t)FDS_LEAST : (uintmax_t)lim.rlim_max);
}

void fdlimit_set(unsigned fds)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	if (fds && fds < FDS_LEAST)
		fds = FDS_LEAST;
	lim.rlim_cur = fds && fds < lim.rlim_max ? fds : lim.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &lim) < 0)
		log_text(LOG_WARN, "fds", "the limit of descriptors stays: %s", strerror(errno));
}
