/*
 * exec.c - commands as children of a session: a loop's own channel to the spawner, opened with its first command; a pipe in each
 * direction; and the end, which needs two things that come in any order, the end of the output and the status.
 *
 * When the status is there, whatever the command has written is in the pipe. So a pipe that is empty then has ended, whoever else
 * may hold it open.
 */
#include "drive/exec.h"

#include <errno.h>

#include "base/mem.h"
#include "drive/sys.h"
#include "priv/spawn.h"

#define GRACE (2 * SEC)

/* A loop's way to the spawner, and what it has asked for. */
struct desk {
	struct watched w; /* its descriptor; -1: not open */
	struct list runs;
	uint32_t serial;
	struct chan_msg msg; /* one at a time, either way; too large for a stack */
};

/* ---- the desk ---- */

static void desk_ready(struct loop *l, void *arg);

static struct desk *desk_of(struct loop *l)
{
	struct desk *d = l->desk ? l->desk : mem_zalloc(sizeof(*d));

	if (!d || l->desk)
		return d;
	d->w.src = (struct source){ .fd = -1, .kind = SRC_WATCH };
	d->w.fn = desk_ready;
	d->w.arg = d;
	list_init(&d->w.node);
	list_init(&d->runs);
	l->desk = d;
	return d;
}

static void desk_shut(struct loop *l, struct desk *d)
{
	if (d->w.src.fd < 0)
		return;
	l->poller->ops->del(l->poller, d->w.src.fd);
	fd_close(&d->w.src.fd);
	slot_free(l, &d->w.src);
}

static int desk_open(struct loop *l, struct desk *d)
{
	int r;

	if (!l->setup.spawner)
		return -ENOSYS;
	if (d->w.src.fd >= 0)
		return 0;
	r = spawn_open(l->setup.spawner, &d->w.src.fd);
	if (r < 0)
		return r;
	r = slot_take(l, &d->w.src);
	if (r == 0 && (r = source_watch(l, &d->w.src, WATCH_LEVEL)) < 0)
		slot_free(l, &d->w.src);
	if (r < 0)
		fd_close(&d->w.src.fd);
	return r;
}

static void close_pipes(struct run *k)
{
	if (k->theirs[2] == k->theirs[1])
		k->theirs[2] = -1;
	for (int i = 0; i < 3; i++) {
		if (k->gave)
			k->theirs[i] = -1; /* the connection's own */
		fd_close(&k->theirs[i]);
	}
}

static void run_free(struct loop *l, struct run *k)
{
	close_pipes(k);
	fd_close(&k->in);
	fd_close(&k->out);
	handover_forget(k);
	if (k->c)
		k->c->kin->run = NULL;
	list_del(&k->node);
	mem_free(k->words);
	mem_free(k);
	if (list_empty(&l->desk->runs) && !l->setup.many)
		desk_shut(l, l->desk); /* a private loop is over when it waits for nothing */
}

/* The spawner is gone, or does not say what it should: all that it ran is dead or on its way there. */
static void desk_lost(struct loop *l, struct desk *d)
{
	desk_shut(l, d);
	while (!list_empty(&d->runs)) {
		struct run *k = list_entry(d->runs.next, struct run, node);

		k->asked = false;
		if (k->gave) /* the command may be reading from it yet: never again ours */
			sess_abort(&k->gave->s, "spawner-gone", STAT_ERRORS);
		handover_forget(k);
		if (k->c)
			conn_end(l, k->c, -ECONNRESET);
		else
			run_free(l, k);
	}
}

/* ---- asking ---- */

static struct run *run_new(struct loop *l, struct conn *c)
{
	struct run *k = mem_zalloc(sizeof(*k));

	if (!k)
		return NULL;
	*k = (struct run){ .c = c, .in = -1, .out = -1, .theirs = { -1, -1, -1 } };
	k->serial = ++l->desk->serial;
	list_init(&k->node);
	list_add(&l->desk->runs, &k->node);
	c->src.flags |= C_COMMAND;
	c->kin->run = k;
	return k;
}

/* All ends are non-blocking; the spawner makes those blocking that it gives on. */
static int open_pipes(struct run *k, bool errors)
{
	int to[2], from[2];

	if (sys_pipe2(to, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	k->theirs[0] = to[0];
	k->in = to[1];
	if (sys_pipe2(from, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	k->out = from[0];
	k->theirs[1] = from[1];
	k->theirs[2] = errors ? from[1] : -1;
	return 0;
}

static int put_words(struct loop *l, const struct run *k, const struct exec *e)
{
	static const char *const plain[] = { "PATH=/usr/local/bin:/usr/bin:/bin", NULL };
	nsec grace = e->grace ? e->grace : GRACE;
	struct spawn_run r = {
		.path = e->path,
		.argv = e->argv,
		.envp = e->envp ? e->envp : plain,
		.dir = e->dir,
		.fds = { -1, -1, -1 }, /* put when it is sent */
		.user = l->setup.spawner->user,
		.grace = grace / MSEC < SPAWN_GRACE ? (uint32_t)(grace / MSEC) : SPAWN_GRACE,
	};

	if (e->user)
		r.user = (struct spawn_user){ e->user->uid, e->user->gid };
	memcpy(r.fds, k->theirs, sizeof(r.fds));
	chan_msg_init(&l->desk->msg, SPAWN_RUN, k->serial);
	return spawn_put_run(&l->desk->msg, &r);
}

/* The channel is full of commands that the spawner has not looked at: its answers to them say when to try again. */
static int keep_words(struct run *k, const struct chan_msg *m)
{
	k->words = mem_alloc(m->n);
	if (!k->words)
		return -ENOMEM;
	memcpy(k->words, m->body, m->n);
	k->words_n = m->n;
	return 0;
}

static void was_asked(struct run *k)
{
	k->asked = true;
	close_pipes(k);
	mem_free(k->words);
	k->words = NULL;
}

static int ask(struct loop *l, struct run *k, const struct exec *e)
{
	int r = put_words(l, k, e);

	if (r == 0)
		r = chan_send(l->desk->w.src.fd, &l->desk->msg);
	if (r == -EAGAIN)
		return keep_words(k, &l->desk->msg);
	if (r == 0)
		was_asked(k);
	return r;
}

/* Once more, for those that had to wait, in their order. */
static void ask_again(struct desk *d)
{
	struct list *next;

	for (struct list *n = d->runs.next; n != &d->runs; n = next) {
		struct run *k = list_entry(n, struct run, node);

		next = n->next;
		if (!k->words)
			continue;
		chan_msg_init(&d->msg, SPAWN_RUN, k->serial);
		memcpy(d->msg.body, k->words, k->words_n);
		d->msg.n = (uint32_t)k->words_n;
		for (int i = 0; i < 3; i++)
			if (k->theirs[i] >= 0)
				chan_put_fd(&d->msg, k->theirs[i]);
		if (chan_send(d->w.src.fd, &d->msg) < 0)
			return; /* full again; what else is wrong the channel's end tells */
		was_asked(k);
	}
}

int exec_start(struct loop *l, struct conn *c, struct conn *parent, const struct fx_child *f)
{
	const struct exec *e = f->c.exec;
	struct desk *d = e ? desk_of(l) : NULL;
	struct run *k;
	int r = e ? -ENOMEM : -EINVAL;

	if (!d || (r = desk_open(l, d)) < 0)
		return r;
	k = run_new(l, c);
	if (!k)
		return -ENOMEM;
	c->kin->arg = blob_ref(f->c.arg);
	c->state = CONN_STARTING;
	if (e->give && handover_may(l, parent) && handover_give(l, parent, k) == 0) {
		k->theirs[0] = k->theirs[1] = parent->src.fd;
		k->theirs[2] = e->errors ? parent->src.fd : -1;
	} else {
		r = open_pipes(k, e->errors);
	}
	return r < 0 ? r : ask(l, k, e);
}

/* ---- answers ---- */

static int take_pipes(struct loop *l, struct conn *c, struct run *k)
{
	c->src.ready = READY_OUT;
	if (k->gave)
		return 0;
	c->src.fd = k->out;
	c->wfd = k->in;
	k->out = k->in = -1;
	return conn_watch(l, c, WATCH_EDGE);
}

static void started(struct loop *l, struct run *k, int err)
{
	struct conn *c = k->c;
	int r;

	if (err < 0) {
		handover_back(l, k);
		k->asked = false;
		if (c)
			conn_end(l, c, err);
		else
			run_free(l, k);
		return;
	}
	if (!c || c->state != CONN_STARTING)
		return; /* not wanted any more: its end is awaited */
	r = take_pipes(l, c, k);
	if (r < 0)
		conn_end(l, c, r);
	else
		child_opened(c, c->kin->arg);
}

static void ended(struct loop *l, struct run *k, int status, int sig)
{
	k->over = true;
	k->asked = false;
	k->status = status;
	k->signal = sig;
	handover_back(l, k);
	if (!k->c) {
		run_free(l, k);
		return;
	}
	if (k->c->src.fd >= 0)
		k->c->src.ready |= READY_IN; /* all it has written is there, and the end of it */
	sess_mark(&k->c->s);
	if (k->c->state == CONN_LINGER)
		conn_linger(l, k->c);
}

static struct run *find(struct desk *d, uint32_t serial)
{
	for (struct list *n = d->runs.next; n != &d->runs; n = n->next)
		if (list_entry(n, struct run, node)->serial == serial)
			return list_entry(n, struct run, node);
	return NULL;
}

/* 0 or -EPROTO. */
static int hear(struct loop *l, struct desk *d)
{
	struct run *k = find(d, d->msg.serial);
	bool start = d->msg.type == SPAWN_STARTED;
	int r = -EPROTO, a = 0, b = 0;
	uint32_t pid = 0;

	if (start)
		r = spawn_get_started(&d->msg, &a, &pid);
	else if (d->msg.type == SPAWN_ENDED)
		r = spawn_get_ended(&d->msg, &a, &b);
	chan_msg_done(&d->msg); /* what follows may have something to say itself */
	if (r == 0 && k && start)
		started(l, k, a);
	else if (r == 0 && k)
		ended(l, k, a, b);
	return r;
}

static void desk_ready(struct loop *l, void *arg)
{
	struct desk *d = arg;
	int r = 1;

	while (d->w.src.fd >= 0 && (r = chan_recv(d->w.src.fd, &d->msg)) == 1) {
		r = hear(l, d);
		if (r < 0)
			break;
	}
	if (d->w.src.fd >= 0 && (r == 0 || r == -EPROTO))
		desk_lost(l, d);
	else if (d->w.src.fd >= 0)
		ask_again(d);
	loop_effects(l);
}

/* ---- the end ---- */

bool exec_over(const struct conn *c)
{
	const struct run *k = c->kin->run;

	return k && k->over && (c->src.fd < 0 || sess_eof_told(&c->s));
}

static void stop(struct loop *l, const struct run *k)
{
	struct desk *d = l->desk;

	if (!k->asked || k->over || d->w.src.fd < 0)
		return;
	chan_msg_init(&d->msg, SPAWN_STOP, k->serial);
	if (chan_send(d->w.src.fd, &d->msg) == -EAGAIN)
		(void)chan_send_wait(d->w.src.fd, &d->msg, 50); /* it has much to start, and then reads this */
}

void exec_tell(const struct conn *c, struct ev *gone)
{
	const struct run *k = exec_of(c);

	if (!k || gone->err < 0)
		return;
	if (!k->over)
		gone->err = -ECANCELED; /* its session has finished, and does not wait any longer */
	gone->exit.status = k->status;
	gone->exit.signal = k->signal;
}

/* One that has a connection is awaited, because until it has ended nobody else may use that. */
void exec_gone(struct loop *l, struct conn *c)
{
	struct run *k = exec_of(c);

	if (!k)
		return;
	stop(l, k);
	if (!k->asked)
		handover_back(l, k);
	c->kin->run = NULL;
	k->c = NULL;
	if (!k->gave)
		run_free(l, k);
}

void handover_gone(struct loop *l, struct conn *p)
{
	struct run *k = p->kin ? p->kin->given : NULL;

	if (!k)
		return;
	handover_forget(k);
	if (!k->c)
		run_free(l, k);
}

void exec_done(struct loop *l)
{
	struct desk *d = l->desk;

	if (!d)
		return;
	while (!list_empty(&d->runs))
		run_free(l, list_entry(d->runs.next, struct run, node));
	desk_shut(l, d);
	mem_free(d);
	l->desk = NULL;
}
