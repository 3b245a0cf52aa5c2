/* workers.c - see workers.h. */
#include "main/workers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "drive/clock.h"
#include "drive/logfile.h"
#include "drive/shared.h"
#include "drive/sys.h"

enum { ANSWER_MS = 10000 }; /* it may be busy; who is silent for longer is not counted on */

/* ---- life ---- */

struct hand *hand_new(const struct worker_of *of)
{
	struct hand *h = mem_zalloc(sizeof(*h));

	if (!h)
		return NULL;
	h->of = *of;
	snprintf(h->name, sizeof(h->name), "%s%s", of->group, of->forks ? "/fork" : "");
	h->kit = h->next_kit = h->chan = -1;
	return h;
}

void hand_free(struct hand **hp)
{
	struct hand *h = *hp;

	if (!h)
		return;
	*hp = NULL;
	fd_close(&h->kit);
	fd_close(&h->next_kit);
	fd_close(&h->chan);
	needs_done(&h->needs);
	mem_free(h);
}

static struct spawn_user user_of(const struct hands *all)
{
	if (geteuid() != 0)
		return (struct spawn_user){ SPAWN_SAME, SPAWN_SAME };
	return (struct spawn_user){ all->uid, all->gid };
}

/* -1: it has no use for one. 0 or -errno. */
static int make_door(const struct hands *all, const struct hand *h, int *ret)
{
	struct spawn_user user = user_of(all);

	*ret = -1;
	return h->needs.runs ? spawn_door(all->spawner, &user, 1, ret) : 0;
}

/* All that is in it, and in its folders down to `depth`, is the user's. The folder stays open. 0 or -errno. */
static int give_what_is_in(const struct hands *all, int dir, unsigned depth)
{
	int copy = sys_openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), r = 0;
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *e;

	if (!d) {
		r = -errno;
		fd_close(&copy);
		return r;
	}
	/* cppcheck-suppress readdirCalled ; a stream of its own */
	while (r == 0 && (e = readdir(d))) {
		int fd;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		fd = depth ? sys_openat(copy, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0) : -1;
		if (fd >= 0)
			r = give_what_is_in(all, fd, depth - 1);
		fd_close(&fd);
		if (r == 0 && sys_fchownat(copy, e->d_name, all->uid, all->gid, AT_SYMLINK_NOFOLLOW) < 0)
			r = -errno;
	}
	closedir(d);
	return r;
}

/*
 * What root has made there before, by `guichet store load`, goes with it; but only while the folder is root's: later its user could
 * have put anything there.
 */
static int give_store(const struct hands *all, int fd)
{
	struct stat st;
	int r = 0;

	if (sys_fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	if (st.st_uid == 0)
		r = give_what_is_in(all, fd, 1);
	if (r == 0 && sys_fchownat(fd, "", all->uid, all->gid, AT_EMPTY_PATH) < 0)
		r = -errno;
	return r;
}

/*
 * The folder of what its services keep, of its user alone. Those above may be closed to that user, so the process gets it as a
 * descriptor. A descriptor, -1: it keeps nothing, or -errno.
 */
static int open_store(const struct hands *all, const struct hand *h, int *ret)
{
	const char *dir = h->needs.store;
	bool other = geteuid() == 0 && all->uid != 0;
	int fd, r = 0;

	*ret = -1;
	if (!dir)
		return 0;
	if (sys_mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = sys_open(dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (other)
		r = give_store(all, fd);
	if (r < 0) {
		fd_close(&fd);
		return r;
	}
	*ret = fd;
	return 0;
}

static _Noreturn void be_worker(const struct hands *all, const struct hand *h, int chan, const int *fds, pid_t monitor)
{
	struct sandbox_path paths[NEEDS_PATHS];
	struct worker_birth b = {
		.name = h->name,
		.setup = all->setup,
		.of = h->of,
		.shared = server_shared(all->server),
		.process = h->process,
		.loops = h->of.forks ? 0 : server_event_loops(all->server),
		.openssl = h->needs.openssl,
		.chan = chan,
		.monitor = monitor,
		.spawner = { .fd = fds[0], .user = user_of(all) },
		.store = fds[1],
		.sandbox = {
			.name = h->name,
			.user = all->user,
			.uid = all->uid,
			.gid = all->gid,
			.paths = paths,
			.n_paths = h->needs.n_paths,
			.connects = h->needs.connects,
			.others = h->needs.others,
			.queues = h->needs.queues,
			.runs = h->needs.runs,
			.datagrams = h->needs.datagrams,
			.threads = !h->of.forks,
			.forks = h->of.forks,
			.sanitizer = true,
		},
	};

	for (size_t i = 0; i < h->needs.n_paths; i++)
		paths[i] = (struct sandbox_path){ h->needs.paths[i].path, h->needs.paths[i].rights };
	worker_main(&b);
}

/* A process like this one, which then gives up all that it is not to have. What stdio has not written yet is ours. */
static int make_process(struct hands *all, struct hand *h)
{
	pid_t monitor = getpid(), pid;
	int ends[2] = { -1, -1 }, fds[2] = { -1, -1 }, r = make_door(all, h, &fds[0]);

	if (r == 0)
		r = open_store(all, h, &fds[1]);
	if (r == 0)
		r = chan_pair(ends);
	if (r < 0) {
		fd_close(&fds[0]);
		fd_close(&fds[1]);
		return r;
	}
	fflush(NULL);
	pid = sys_fork();
	if (pid == 0)
		be_worker(all, h, ends[1], fds, monitor);
	r = pid < 0 ? -errno : 0;
	fd_close(&fds[0]);
	fd_close(&fds[1]);
	fd_close(&ends[1]);
	if (r < 0) {
		fd_close(&ends[0]);
		return r;
	}
	h->pid = pid;
	h->chan = ends[0];
	h->born = clock_mono();
	return 0;
}

int hand_start(struct hands *all, struct hand *h)
{
	struct shared *sh = server_shared(all->server);
	int row = shared_take_process(sh, h->name), r;

	if (row < 0)
		return -EAGAIN;
	h->process = (unsigned)row;
	r = make_process(all, h);
	if (r < 0)
		hand_bury(all, h);
	return r;
}

void hand_bury(struct hands *all, struct hand *h)
{
	fd_close(&h->chan);
	if (h->pid &&
	    kill(h->pid, SIGKILL) == 0) /* nothing when it has ended; its number is ours until we have waited */
		(void)waitpid(h->pid, NULL, 0);
	h->pid = 0;
	h->serves = false;
	if (h->process)
		shared_bury_process(server_shared(all->server), h->process);
	h->process = 0; /* from now on it may be another one's */
}

/* ---- talking ---- */

static int send_it(struct hands *all, const struct hand *h)
{
	return h->chan < 0 ? -EPIPE : chan_send_wait(h->chan, &all->msg, ANSWER_MS);
}

/* Of this question; what is left of others, which nobody waited for to the end, is passed over. */
static int get_answer(struct hands *all, struct hand *h, int ms)
{
	nsec until = clock_mono() + (nsec)ms * MSEC;

	for (nsec now = clock_mono(); now <= until; now = clock_mono()) {
		int r = chan_recv_wait(h->chan, &all->msg, (int)((until - now) / MSEC));

		if (r <= 0)
			return r ? r : -EPIPE;
		if (all->msg.serial == h->serial)
			return 0;
		chan_msg_done(&all->msg);
	}
	return -ETIMEDOUT;
}

int hand_tell(struct hands *all, struct hand *h, enum talk what, int ms)
{
	chan_msg_init(&all->msg, what, ++h->serial);
	return h->chan < 0 ? -EPIPE : chan_send_wait(h->chan, &all->msg, ms);
}

struct telling {
	struct hands *all;
	struct hand *h;
};

static bool wants(const struct plan_service *p, const void *arg)
{
	const struct telling *t = arg;

	return t->h->wanted && worker_wants(p, &t->h->of);
}

static int tell_door(const struct door *d, void *arg)
{
	struct telling *t = arg;

	chan_msg_init(&t->all->msg, TALK_DOOR, ++t->h->serial);
	talk_put_door(&t->all->msg, d);
	return send_it(t->all, t->h);
}

static int ask_to_prepare(struct hands *all, struct hand *h, int kit)
{
	int r;

	chan_msg_init(&all->msg, TALK_PREPARE, ++h->serial);
	chan_put_fd(&all->msg, kit);
	chan_put_fd(&all->msg, logfile_fd());
	chan_put_u8(&all->msg, !h->wanted);
	r = send_it(all, h);
	return r == 0 ? get_answer(all, h, ANSWER_MS) : r;
}

int hand_prepare(struct hands *all, struct hand *h, int kit, struct conf_problems *ps)
{
	struct telling t = { all, h };
	int r = hand_tell(all, h, TALK_BEGIN, ANSWER_MS);

	if (r == 0)
		r = server_each_door(all->server, wants, tell_door, &t);
	if (r == 0)
		r = ask_to_prepare(all, h, kit);
	if (r < 0)
		return r;
	if (all->msg.type == TALK_NO)
		r = talk_get_problems(&all->msg, ps) < 0 ? -EPROTO : -EINVAL;
	else if (all->msg.type != TALK_YES)
		r = -EPROTO;
	chan_msg_done(&all->msg);
	return r;
}

void hand_spawner(struct hands *all, struct hand *h)
{
	int door;

	if (!h->pid || make_door(all, h, &door) < 0 || door < 0)
		return;
	chan_msg_init(&all->msg, TALK_SPAWNER, ++h->serial);
	chan_put_fd(&all->msg, door);
	(void)!send_it(all, h);
	fd_close(&door);
}

int hand_answered(struct hands *all, struct hand *h, int ms)
{
	int r = get_answer(all, h, ms);

	if (r < 0)
		return r;
	if (all->msg.type != TALK_DONE)
		r = -EPROTO;
	chan_msg_done(&all->msg);
	return r;
}

int hand_ask(struct hands *all, struct hand *h, enum talk what, int ms)
{
	int r = hand_tell(all, h, what, ms);

	return r == 0 ? hand_answered(all, h, ms) : r;
}
