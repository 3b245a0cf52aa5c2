/* client.c - see client.h: a service of one session, on a private loop, in the caller's thread. */
#include "drive/client.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "core/stats.h"
#include "drive/clock.h"
#include "drive/loop.h"
#include "drive/sys.h"

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

/*
 * Told to end, it first removes what it has made for others to see, as a message queue for answers. A descriptor, or -1: then it
 * just ends.
 */
static int watch_signals(sigset_t *ret_before)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, ret_before);
	return sys_signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* And then as if nobody had looked: whoever sent the signal sees what he expects. */
static void obey(int fd, const sigset_t *before)
{
	struct signalfd_siginfo info;
	bool told = fd >= 0 && read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info);

	fd_close(&fd);
	if (told)
		(void)kill(getpid(), (int)info.ssi_signo);
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

bool client_has_transport(enum addr_transport t)
{
	return t == ADDR_TCP || t == ADDR_UDP || t == ADDR_TLS || t == ADDR_UNIX || t == ADDR_UNIXSEQ ||
	       t == ADDR_UNIXGRAM || t == ADDR_FIFO || t == ADDR_MQ || t == ADDR_WS || t == ADDR_WSS;
}

/* After the order to stop, which is EV_STOP to the session: at most `grace`. */
static void run_out(struct loop *l, nsec grace)
{
	nsec end = clock_mono() + grace;

	while (!loop_empty(l) && clock_mono() < end)
		loop_turn(l, end - clock_mono());
}

static int run(const struct proto *proto, const void *options, struct blob *arg, nsec grace, const char **ret_reason)
{
	struct outcome out = {};
	struct svc svc = {
		.name = proto->name,
		.proto = proto,
		.options = options,
		.limits = { .input = 1 << 20, .output = 512 << 20, .linger = 3600 * SEC },
	};
	_Atomic uint64_t stats[STAT_N] = {};
	struct lane lane = { .svc = &svc, .stats = stats };
	struct loop_setup setup = { .stop_fd = -1, .cut_fd = -1, .ended = ended, .ended_arg = &out };
	struct loop *l = NULL;
	sigset_t before;
	sess_id id;
	int r;

	block_sigpipe();
	setup.stop_fd = watch_signals(&before);
	r = loop_new(&setup, &l);
	if (r == 0)
		r = loop_add_bare(l, &lane, arg, &id);
	while (r == 0 && !loop_empty(l) && !loop_stopping(l))
		loop_turn(l, UINT64_MAX);
	if (r == 0 && grace)
		run_out(l, grace);
	loop_free(&l);
	obey(setup.stop_fd, &before);
	if (ret_reason)
		*ret_reason = out.reason;
	return r == 0 && out.aborted ? -ECANCELED : r;
}

int client_run(const struct proto *proto, const void *options, struct blob *arg, const char **ret_reason)
{
	return run(proto, options, arg, 0, ret_reason);
}

int client_run_until(const struct proto *proto, const void *options, nsec grace)
{
	return run(proto, options, NULL, grace, NULL);
}
