/* client.c - see client.h: a service of one session, on a private loop, in the caller's thread. */
#include "drive/client.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "core/stats.h"
#include "drive/loop.h"

struct outcome {
	const char *reason;
	bool aborted;
};

static void ended(void *arg, const char *reason, bool aborted)
{
	*(struct outcome *)arg = (struct outcome){ reason, aborted };
}

/* A peer that is gone is an error of write(2), not a death. */
static void block_sigpipe(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

bool client_has_transport(enum addr_transport t)
{
	return t == ADDR_TCP || t == ADDR_UDP || t == ADDR_TLS || t == ADDR_UNIX || t == ADDR_UNIXSEQ;
}

int client_run(const struct proto *proto, const void *options, struct blob *arg, const char **ret_reason)
{
	struct outcome out = {};
	struct svc svc = {
		.name = proto->name,
		.proto = proto,
		.options = options,
		.limits = { .input = 1 << 20, .output = 4 << 20, .linger = 3600 * SEC },
	};
	_Atomic uint64_t stats[STAT_N] = {};
	struct lane lane = { .svc = &svc, .stats = stats };
	struct loop_setup setup = { .stop_fd = -1, .cut_fd = -1, .ended = ended, .ended_arg = &out };
	struct loop *l;
	sess_id id;
	int r;

	block_sigpipe();
	r = loop_new(&setup, &l);
	if (r < 0)
		return r;
	r = loop_add_bare(l, &lane, arg, &id);
	while (r == 0 && !loop_empty(l))
		loop_turn(l, UINT64_MAX);
	loop_free(&l);
	if (ret_reason)
		*ret_reason = out.reason;
	return r == 0 && out.aborted ? -ECANCELED : r;
}
