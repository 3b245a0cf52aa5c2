/* brood.c - see brood.h. */
#include "drive/model/brood.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/peer.h"
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
	PAGE = 4096,       /* the usual one; a guess costs nothing but time */
	CRADLE = 8 * PAGE, /* of a child: its loop, a connection, something to send */
};

/* In memory of all of them; a page that nobody needs is never touched. */
struct common {
	_Atomic unsigned serial;
	struct brood_row rows[MOST];
};

/* For the log. An address is copied: the peer itself is in memory that children have too. */
struct caller {
	const struct peer *named; /* a reference, when it is no address of IP; NULL */
	uint8_t kind, n;          /* 0: nobody */
	uint16_t port;
	uint32_t scope;
	uint8_t b[16];
};

struct young {
	pid_t pid;
	enum brood_kind kind;
	struct service *service; /* the reference is its parent's */
	struct caller caller;
	uint32_t parent;
	uint32_t next; /* with a pid in the same bucket; or that is free */
};

/* A service that has children, with one reference for all of them. */
struct parent {
	struct service *service; /* NULL: free */
	uint32_t alive;
};

/* Not handed on: otherwise the parent would write to a page that is the child's too, which is to be copied first. */
struct brood {
	struct server *server;
	struct common *common;
	void *cradle;
	uint32_t n, n_parents, free, alive;
	pid_t self;
	int signal_fd;
	bool over; /* they are killed, which is no news */
	uint32_t buckets[BUCKETS];
	struct parent parents[MOST];
	struct young v[MOST]; /* the n-th has row n */
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
	struct brood_row *row;
	pid_t parent;
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

/*
 * By syscall(), as nearly all that follows (drive/sys.h): a child has that piece of the C library anyway. prctl() may be in another one, which
 * costs a page fault; measured, half of one for each child, since where libraries lie is random.
 */
static void become_child(const struct heir *h)
{
	(void)syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != h->parent)
		_exit(EXIT_FAILURE); /* it had ended before */
	(void)syscall(SYS_prctl, PR_SET_NAME, h->birth->service->plan.name, 0, 0, 0);
	crash_move(&h->row->crash);
	fds_close_but(next_own, h);
	mem_cradle_open(true);
	atomic_store(&h->row->alone, true);
}

void brood_solo(struct solo *o, struct service *v, struct brood_row *row)
{
	solo_init(o, v); /* the parent's reference will do: the page that it is in need not be copied */
	o->lane.stats = row->stats;
	o->lane.note = &row->note;
	o->setup.serial = row->serial;
	o->loop = v->server->ready;
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

	if (i == NONE && b->n == MOST)
		return -EAGAIN;
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

static uint32_t take_parent(struct brood *b, struct service *v)
{
	uint32_t i, at = NONE;

	for (i = 0; i < b->n_parents && b->parents[i].service != v; i++)
		at = b->parents[i].service ? at : i;
	if (i == b->n_parents) { /* there are never more of them than children */
		i = at == NONE ? b->n_parents++ : at;
		b->parents[i].service = service_ref(v);
	}
	b->parents[i].alive++;
	return i;
}

static void leave_parent(struct brood *b, uint32_t i)
{
	struct parent *p = &b->parents[i];

	if (--p->alive)
		return;
	service_unref(p->service);
	p->service = NULL;
}

static struct caller caller_of(const struct peer *p)
{
	struct caller c = {};

	if (!p)
		return c;
	if (p->kind != PEER_IP4 && p->kind != PEER_IP6) {
		c.named = peer_ref(p);
		return c;
	}
	c = (struct caller){ .kind = p->kind, .n = (uint8_t)p->n, .port = p->port, .scope = p->scope };
	memcpy(c.b, p->b, p->n);
	return c;
}

/* A reference; NULL: nobody, or memory is out. */
static struct peer *peer_of(const struct caller *c)
{
	return c->n ? peer_new((enum peer_kind)c->kind, c->b, c->n, c->port, c->scope) : peer_ref(c->named);
}

static void note_child(struct brood *b, uint32_t i, pid_t pid, const struct brood_birth *birth)
{
	uint32_t *at = bucket(b, pid);

	b->v[i] = (struct young){
		.pid = pid,
		.kind = birth->kind,
		.service = birth->service,
		.caller = caller_of(birth->peer),
		.parent = take_parent(b, birth->service),
		.next = *at,
	};
	*at = i;
	b->alive++;
	if (birth->kind == BROOD_REQUEST)
		birth->service->requests++;
}

int brood_fork(struct brood *b, const struct brood_birth *birth, struct brood_row **ret)
{
	struct heir heir = { b->server, birth, NULL, b->self };
	struct brood_row *row;
	uint32_t i;
	pid_t pid;
	int r = take_entry(b, &i);

	if (r < 0)
		return r;
	heir.row = row = &b->common->rows[i];
	atomic_store(&row->note.place, birth->kind == BROOD_TALK);
	atomic_store(&row->note.ticket, birth->ticket);
	atomic_store(&row->alone, false);
	atomic_store(&row->ready, false);
	atomic_store(&row->let_go, false);
	row->serial = 1 + atomic_fetch_add(&b->common->serial, 1);
	pid = sys_fork();
	if (pid == 0) {
		become_child(&heir);
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
	struct peer *peer;
	char text[PEER_TEXT];
	struct log_line line;

	if (!log_begin(&line, LOG_ERROR, "child-ended"))
		return;
	peer = peer_of(&c->caller);
	log_str(&line, "process", s->shared->names[s->setup.process]);
	crash_log(&line, c->pid, status);
	log_str(&line, "service", c->service->plan.name);
	if (shared_crash_peer(crash, text)) /* behind a proxy, and of an acceptor, the child alone knew who it was */
		log_str(&line, "peer", text);
	else if (peer)
		log_str(&line, "peer", peer_text(peer, text));
	log_end(&line);
	peer_unref(peer);
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
	if (c.kind == BROOD_REQUEST)
		c.service->requests--;
	if (c.kind == BROOD_ACCEPTOR && c.service->herd)
		herd_lost(c.service->herd, atomic_load(&b->common->rows[i].ready));
	peer_unref(c.caller.named);
	leave_parent(b, c.parent);
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
 * A page that a child writes to is copied for it, and each costs more than a system call. So the loop that it will need is
 * there before, and with what it asks for later in one piece, which nobody else writes to.
 */
static int make_loop(struct server *s)
{
	const struct loop_setup setup = {
		.stop_fd = s->stop_fd,
		.cut_fd = s->cut_fd,
		.guard = s->shared->guard,
		.tuning = s->tuning,
		.spawner = s->setup.spawner,
	};
	int r;

	r = loop_new(&setup, &s->ready);
	if (r == 0)
		r = loop_watch(s->ready, s->cut_fd, got_signal, NULL);
	if (r < 0)
		return r;
	loop_turn(s->ready, 0);
	loop_unwatch(s->ready, s->cut_fd);
	return 0;
}

/* A loop begins with what only datagrams need; with the rest of it begins a page, in which there is room for a connection too. */
static int make_ready(struct brood *b)
{
	const size_t cold = offsetof(struct head, kind) / 16 * 16;
	uintptr_t at;
	int r;

	b->cradle = mem_alloc(CRADLE + cold + PAGE);
	if (!b->cradle)
		return -ENOMEM;
	at = ((uintptr_t)b->cradle + cold + PAGE) & ~(uintptr_t)(PAGE - 1);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* which watch each piece of the heap */
	mem_cradle((void *)(at - cold), CRADLE);
#else
	(void)at;
#endif
	mem_cradle_open(true);
	r = make_loop(b->server);
	mem_cradle_open(false);
	return r;
}

int brood_new(struct server *s, struct brood **ret)
{
	struct brood *b = sys_mmap(sizeof(*b), MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
	int r;

	if (b == MAP_FAILED)
		return -errno;
	(void)madvise(b, sizeof(*b), MADV_DONTFORK);
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
	loop_free(&b->server->ready);
	mem_cradle(NULL, 0);
	mem_free(b->cradle);
	if (b->common != MAP_FAILED)
		munmap(b->common, sizeof(*b->common));
	fd_close(&b->signal_fd); /* its loop must be gone, or have no turn any more */
	munmap(b, sizeof(*b));
}
