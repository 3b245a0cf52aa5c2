/* brood.c - see brood.h. */
#include "drive/model/brood.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/mem.h"
#include "drive/clock.h"
#include "drive/crash.h"
#include "drive/gate.h"
#include "drive/logfile.h"
#include "drive/sys.h"
#include "priv/fds.h"
#include "priv/spawn.h"

enum {
	MOST = 16384,    /* children */
	BUCKETS = 4096,  /* of pids */
	SETTLE_MS = 100, /* for the first steps of a child */
	END_MS = 500,    /* for those that have been told to end */
	NONE = UINT32_MAX,
};

/* In memory of all of them; a page that nobody needs is never touched. */
struct common {
	_Atomic unsigned serial;
	struct brood_row rows[MOST];
};

struct young {
	pid_t pid;
	enum brood_kind kind;
	struct service *service; /* a reference */
	const struct peer *peer; /* likewise; or NULL */
	uint32_t next;           /* with a pid in the same bucket; or that is free */
};

struct brood {
	struct server *server;
	struct common *common;
	struct young *v; /* the n-th has row n */
	uint32_t n, cap, free, alive;
	uint32_t buckets[BUCKETS];
	struct loop *ready; /* made once and never run: a child takes its copy for its own */
	pid_t self;
	int signal_fd;
	bool over; /* they are killed, which is no news */
};

static uint32_t *bucket(struct brood *b, pid_t pid)
{
	return &b->buckets[(unsigned)pid % BUCKETS];
}

/* ---- in the child ---- */

static int least(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

struct heir {
	const struct server *server;
	const struct brood_birth *birth;
};

/* What serves others here is theirs: the poller above all, of which the child has the same one and not a copy. */
static int next_own(const void *arg, int from)
{
	const struct heir *h = arg;
	const struct server *s = h->server;
	const int own[] = { s->stop_fd, s->cut_fd, logfile_fd(), s->setup.spawner ? s->setup.spawner->fd : -1 };
	int fd = least(fds_lowest(own, sizeof(own) / sizeof(own[0]), from), root_next_fd(from));

	return least(fd, fds_lowest(h->birth->keep, h->birth->n_keep, from));
}

static void become_child(const struct brood *b, const struct brood_birth *birth, struct brood_row *row)
{
	const struct heir heir = { b->server, birth };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != b->self)
		_exit(EXIT_FAILURE); /* it had ended before */
	prctl(PR_SET_NAME, birth->service->plan.name);
	crash_move(&row->crash);
	fds_close_but(next_own, &heir);
	atomic_store(&row->alone, true);
}

void brood_solo(struct solo *o, struct service *v, struct brood_row *row)
{
	solo_init(o, v); /* the parent's reference will do: the page that it is in need not be copied */
	o->lane.stats = row->stats;
	o->lane.note = &row->note;
	o->loop = v->server->brood->ready;
	loop_tune(o->loop, &v->server->tuning);
}

/* Nothing is tidied up: most of it is the parent's, and memory goes with the process. */
void brood_end(struct solo *o)
{
	solo_fold(o);
	_exit(EXIT_SUCCESS);
}

/* ---- birth ---- */

static int take_entry(struct brood *b, uint32_t *ret)
{
	uint32_t i = b->free;

	if (i == NONE && b->n == b->cap) {
		uint32_t cap = b->cap ? 2 * b->cap : 64;
		struct young *v = b->cap < MOST ? mem_realloc(b->v, cap * sizeof(*v)) : NULL;

		if (!v)
			return b->cap < MOST ? -ENOMEM : -EAGAIN;
		b->v = v;
		b->cap = cap;
	}
	if (i == NONE)
		i = b->n++;
	else
		b->free = b->v[i].next;
	*ret = i;
	return 0;
}

static void free_entry(struct brood *b, uint32_t i)
{
	b->v[i] = (struct young){ .next = b->free };
	b->free = i;
}

static void note_child(struct brood *b, uint32_t i, pid_t pid, const struct brood_birth *birth)
{
	uint32_t *at = bucket(b, pid);

	b->v[i] = (struct young){
		.pid = pid,
		.kind = birth->kind,
		.service = service_ref(birth->service),
		.peer = birth->peer ? peer_ref(birth->peer) : NULL,
		.next = *at,
	};
	*at = i;
	b->alive++;
	birth->service->requests += birth->kind == BROOD_REQUEST;
}

int brood_fork(struct brood *b, const struct brood_birth *birth, struct brood_row **ret)
{
	struct brood_row *row;
	uint32_t i;
	pid_t pid;
	int r = take_entry(b, &i);

	if (r < 0)
		return r;
	row = &b->common->rows[i];
	atomic_store(&row->note.place, birth->kind == BROOD_TALK);
	atomic_store(&row->note.ticket, birth->ticket);
	atomic_store(&row->alone, false);
	atomic_store(&row->ready, false);
	atomic_store(&row->let_go, false);
	pid = sys_fork();
	if (pid == 0) {
		become_child(b, birth, row);
		*ret = row;
		return 0;
	}
	if (pid < 0) {
		r = -errno;
		atomic_store(&row->note.place, false);
		atomic_store(&row->note.ticket, 0);
		free_entry(b, i);
		return r;
	}
	note_child(b, i, pid, birth);
	return 1;
}

/* ---- death ---- */

static void log_death(const struct brood *b, const struct young *c, const struct shared_crash *crash, int status)
{
	const struct server *s = b->server;
	char text[PEER_TEXT];
	struct log_line line;

	if (!log_begin(&line, LOG_ERROR, "child-ended"))
		return;
	log_str(&line, "process", s->shared->names[s->setup.process]);
	crash_log(&line, c->pid, status);
	log_str(&line, "service", c->service->plan.name);
	if (shared_crash_peer(crash, text)) /* behind a proxy, and of an acceptor, the child alone knew who it was */
		log_str(&line, "peer", text);
	else if (c->peer)
		log_str(&line, "peer", peer_text(c->peer, text));
	log_end(&line);
}

/* It counts and gives back what it could not any more. */
static void settle(struct brood *b, uint32_t i, int status)
{
	const struct young *c = &b->v[i];
	struct brood_row *row = &b->common->rows[i];
	const struct lane *lane = &c->service->lanes[0];
	bool well = WIFEXITED(status) && WEXITSTATUS(status) == 0;

	solo_count(c->service, row->stats);
	if (admit_clear(lane, &row->note))
		stat_add(lane, STAT_CLOSED, 1);
	if (!well && !b->over) {
		stat_add(lane, STAT_ERRORS, 1);
		log_death(b, c, &row->crash, status);
		server_blame(b->server, &row->crash);
	}
	row->crash = (struct shared_crash){};
}

static void bury(struct brood *b, uint32_t i, int status)
{
	struct young c = b->v[i];

	settle(b, i, status);
	free_entry(b, i);
	b->alive--;
	c.service->requests -= c.kind == BROOD_REQUEST;
	if (c.kind == BROOD_ACCEPTOR && c.service->herd)
		herd_lost(c.service->herd, atomic_load(&b->common->rows[i].ready));
	peer_unref(c.peer);
	service_unref(c.service);
}

static void one_ended(struct brood *b, pid_t pid, int status)
{
	for (uint32_t *at = bucket(b, pid); *at != NONE; at = &b->v[*at].next) {
		uint32_t i = *at;

		if (b->v[i].pid != pid)
			continue;
		*at = b->v[i].next;
		bury(b, i, status);
		return;
	}
}

void brood_reap(struct brood *b)
{
	int status;
	pid_t pid;

	while (b->alive && (pid = waitpid(-1, &status, WNOHANG)) > 0)
		one_ended(b, pid, status);
}

static void got_signal(struct loop *l, void *arg)
{
	struct brood *b = arg;
	struct signalfd_siginfo info;

	(void)l;
	(void)!read(b->signal_fd, &info, sizeof(info)); /* it stands for all that have ended since the last one */
	brood_reap(b);
}

/* ---- looking ---- */

unsigned brood_busy(const struct brood *b)
{
	unsigned n = 0;

	for (uint32_t i = 0; b && i < b->n; i++)
		n += b->v[i].pid && (b->v[i].kind == BROOD_TALK ||
				     (b->v[i].kind == BROOD_ACCEPTOR && atomic_load(&b->common->rows[i].note.place)));
	return n;
}

static unsigned not_alone(const struct brood *b)
{
	unsigned n = 0;

	for (uint32_t i = 0; b && i < b->n; i++)
		n += b->v[i].pid && !atomic_load(&b->common->rows[i].alone);
	return n;
}

void brood_settle(struct brood *b)
{
	for (int i = 0; i < SETTLE_MS * 10 && not_alone(b); i++) {
		brood_reap(b);
		usleep(100);
	}
}

unsigned brood_holding(const struct brood *b, const struct service *v)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < b->n; i++)
		n += b->v[i].pid && b->v[i].kind == BROOD_ACCEPTOR && b->v[i].service == v &&
		     !atomic_load(&b->common->rows[i].let_go);
	return n;
}

/* ---- its life ---- */

static int watch_children(struct brood *b)
{
	sigset_t set;

	(void)sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = SIG_DFL },
			NULL); /* whoever started us may have ignored it: then nobody would be told of */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD); /* blocked by server_new() */
	b->signal_fd = sys_signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return b->signal_fd < 0 ? -errno : loop_watch(b->server->loops[0], b->signal_fd, got_signal, b);
}

/*
 * A page that a child writes to is copied for it, and each costs as much as a system call. So the loop that it will need is
 * there before, in one piece, with room for a first connection; and the heap does not tidy up chunks in all of its pages.
 */
static int make_ready(struct brood *b)
{
	const struct server *s = b->server;
	const struct loop_setup setup = {
		.stop_fd = s->stop_fd,
		.cut_fd = s->cut_fd,
		.guard = s->shared->guard,
		.tuning = s->tuning,
		.spawner = s->setup.spawner,
	};
	int r;

	mallopt(M_MXFAST, 0);
	r = loop_new(&setup, &b->ready);
	if (r == 0)
		r = loop_watch(b->ready, s->cut_fd, got_signal, b);
	if (r < 0)
		return r;
	loop_turn(b->ready, 0);
	loop_unwatch(b->ready, s->cut_fd);
	return 0;
}

int brood_new(struct server *s, struct brood **ret)
{
	struct brood *b = mem_zalloc(sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->server = s;
	b->self = getpid();
	b->free = NONE;
	memset(b->buckets, 0xff, sizeof(b->buckets));
	b->signal_fd = -1;
	b->common = sys_mmap(sizeof(*b->common), MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE);
	r = b->common == MAP_FAILED ? -errno : watch_children(b);
	if (r == 0)
		r = make_ready(b);
	if (r < 0) {
		brood_free(&b);
		return r;
	}
	s->serials = &b->common->serial;
	*ret = b;
	return 0;
}

/* Not before all of them are gone: what they hold is ours to give back. */
void brood_free(struct brood **bp)
{
	struct brood *b = *bp;

	if (!b)
		return;
	*bp = NULL;
	for (int i = 0; i < END_MS && b->alive; i++) {
		usleep(1000);
		brood_reap(b);
	}
	b->over = true;
	for (uint32_t i = 0; i < b->n; i++)
		if (b->v[i].pid)
			(void)kill(b->v[i].pid, SIGKILL);
	while (b->alive) {
		int status;
		pid_t pid = waitpid(-1, &status, 0);

		if (pid < 0 && errno != EINTR)
			break;
		one_ended(b, pid, status);
	}
	b->server->serials = &b->server->serial;
	loop_free(&b->ready);
	if (b->common != MAP_FAILED)
		munmap(b->common, sizeof(*b->common));
	fd_close(&b->signal_fd); /* its loop must be gone, or have no turn any more */
	mem_free(b->v);
	mem_free(b);
}
