/*
 * spawner.c - the spawner's own loop: its channels, its children, and who is told what. What the forked child does is in
 * spawn_child.c.
 *
 * Nothing here waits for anybody but epoll: whether execve() went well is told by a pipe that it closes, so a program on a file
 * server that is down holds up only itself; an answer that a channel has no room for stays owed by the child that it is about,
 * which counts until it was told.
 */
#include "priv/spawner.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/list.h"
#include "base/mem.h"
#include "priv/fds.h"
#include "priv/sandbox_priv.h"
#include "priv/spawner_priv.h"
#include "priv/sys.h"

enum {
	MOST = 512,       /* children, when nobody says otherwise */
	MOST_ENDS = 4096, /* doors and channels: a conversation in a thread of its own has one */
};

enum kind { ROOT, DOOR, CHANNEL, EXECING, CHLD };

/* What epoll gives back: the first member of everything that has a descriptor here. */
struct thing {
	enum kind kind;
	int fd;
};

/* A channel's near end. */
struct end {
	struct thing t;
	struct list node;
	bool full; /* waits for room for an answer */
	struct spawn_user users[SPAWN_USERS];
	size_t n_users;
};

enum life { STARTING, RUNNING, FAILED, OVER };

struct child {
	struct thing t; /* the pipe that execve() closes; -1 when it has */
	struct list node;
	struct end *asker; /* NULL: gone */
	uint32_t serial, grace;
	pid_t pid; /* 0: reaped */
	enum life life;
	bool told_start;
	int err, status, sig;
	int64_t kill_at; /* SIGTERM was sent; 0 = it was not, or SIGKILL was too */
};

struct spawner {
	struct spawner_setup setup;
	struct list ends, children;
	size_t n_ends, n_children;
	int ep, null;
	pid_t pid;
	struct thing chld;
	bool ending;
	struct chan_msg in, out;
	struct spawn_order order;
};

static int watch(struct spawner *s, int op, struct thing *t, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = t };

	return sys_epoll_ctl(s->ep, op, t->fd, &e) < 0 ? -errno : 0;
}

/* A child that is not the command yet has copies of all we have, so closing alone does not take it out of epoll. */
static void unwatch(struct spawner *s, struct thing *t)
{
	if (t->fd >= 0)
		epoll_ctl(s->ep, EPOLL_CTL_DEL, t->fd, NULL);
	fd_close(&t->fd);
}

/* ---- telling ---- */

static void free_child(struct spawner *s, struct child *c)
{
	unwatch(s, &c->t);
	list_del(&c->node);
	s->n_children--;
	mem_free(c);
}

/* The next thing that the asker is to know of it: 0, or -EAGAIN when there is no room. */
static int tell_next(struct spawner *s, struct child *c)
{
	bool start = !c->told_start;
	int r;

	chan_msg_init(&s->out, start ? SPAWN_STARTED : SPAWN_ENDED, c->serial);
	if (start)
		spawn_put_started(&s->out, c->err, c->err ? 0 : (uint32_t)c->pid);
	else
		spawn_put_ended(&s->out, c->status, c->sig);
	r = chan_send(c->asker->t.fd, &s->out);
	if (r == -EAGAIN || r == -ENOBUFS || r == -ENOMEM)
		return -EAGAIN;
	if (r < 0) /* an answer that is lost would be waited for: the channel's end tells it all */
		shutdown(c->asker->t.fd, SHUT_RDWR);
	c->told_start = true;
	if (!start)
		c->asker = NULL;
	return 0;
}

static bool owes(const struct child *c)
{
	if (!c->asker || c->life == STARTING)
		return false;
	return !c->told_start || c->life == OVER;
}

/* Tells what there is to tell of this child, and forgets it when that was all. False: its channel is full. */
static bool tell(struct spawner *s, struct child *c)
{
	while (owes(c)) {
		if (tell_next(s, c) < 0) {
			c->asker->full = true;
			(void)watch(s, EPOLL_CTL_MOD, &c->asker->t, EPOLLIN | EPOLLOUT);
			return false;
		}
		if (c->life == FAILED)
			c->asker = NULL;
	}
	if (c->pid == 0 && !c->asker)
		free_child(s, c);
	return true;
}

/* A channel has room again. */
static void tell_all(struct spawner *s, struct end *e)
{
	struct list *next;

	e->full = false;
	(void)watch(s, EPOLL_CTL_MOD, &e->t, EPOLLIN);
	for (struct list *n = s->children.next; n != &s->children; n = next) {
		struct child *c = list_entry(n, struct child, node);

		next = n->next;
		if (c->asker == e && !tell(s, c))
			return;
	}
}

/* A command that there is no child for, and so nothing that could owe the answer. */
static void refuse(struct spawner *s, struct end *e, uint32_t serial, int err)
{
	chan_msg_init(&s->out, SPAWN_STARTED, serial);
	spawn_put_started(&s->out, err, 0);
	if (chan_send(e->t.fd, &s->out) < 0)
		shutdown(e->t.fd, SHUT_RDWR); /* as above */
}

/* ---- ending ---- */

static void stop_child(struct child *c)
{
	if (c->pid == 0 || c->kill_at)
		return;
	kill(-c->pid, SIGTERM);
	c->kill_at = now_ms() + c->grace;
}

static void free_end(struct spawner *s, struct end *e)
{
	struct list *next;

	for (struct list *n = s->children.next; n != &s->children; n = next) {
		struct child *c = list_entry(n, struct child, node);

		next = n->next;
		if (c->asker != e)
			continue;
		c->asker = NULL;
		stop_child(c);
		(void)tell(s, c); /* nobody is left to be told: forgets it when it is reaped already */
	}
	unwatch(s, &e->t);
	list_del(&e->node);
	s->n_ends--;
	mem_free(e);
}

static void end_all(struct spawner *s)
{
	s->ending = true;
	while (!list_empty(&s->ends))
		free_end(s, list_entry(s->ends.next, struct end, node));
	for (struct list *n = s->children.next; n != &s->children; n = n->next)
		stop_child(list_entry(n, struct child, node));
}

/* SIGKILL for those whose grace is over; returns how long until the next one, in ms, or -1. */
static int kill_late(struct spawner *s)
{
	int64_t now = now_ms(), left = -1;

	for (struct list *n = s->children.next; n != &s->children; n = n->next) {
		struct child *c = list_entry(n, struct child, node);

		if (c->pid == 0 || c->kill_at <= 0)
			continue;
		if (c->kill_at <= now) {
			kill(-c->pid, SIGKILL);
			c->kill_at = -1; /* said, and not to be said again */
		} else if (left < 0 || c->kill_at - now < left) {
			left = c->kill_at - now;
		}
	}
	return (int)left; /* SPAWN_GRACE at most */
}

/* ---- children that start and end ---- */

/* execve() has closed the pipe, or something before it failed and said why. */
static void execed(struct spawner *s, struct child *c)
{
	int err = 0;
	ssize_t n = read(c->t.fd, &err, sizeof(err));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	unwatch(s, &c->t);
	c->err = n == (ssize_t)sizeof(err) ? err : 0;
	c->life = c->err ? FAILED : c->pid ? RUNNING : OVER;
	(void)tell(s, c);
}

static void reaped(struct spawner *s, struct child *c, int status)
{
	c->pid = 0;
	c->kill_at = 0;
	c->status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	c->sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	if (c->life == RUNNING)
		c->life = OVER;
	(void)tell(s, c);
}

static struct child *find_pid(struct spawner *s, pid_t pid)
{
	for (struct list *n = s->children.next; n != &s->children; n = n->next)
		if (list_entry(n, struct child, node)->pid == pid)
			return list_entry(n, struct child, node);
	return NULL;
}

static void reap(struct spawner *s)
{
	struct signalfd_siginfo waste;

	while (read(s->chld.fd, &waste, sizeof(waste)) > 0)
		;
	for (;;) {
		siginfo_t info = {};
		struct child *c;
		int status;

		/* first only a look: while it is a zombie no other group can have its number */
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
			return;
		c = find_pid(s, info.si_pid);
		if (c)
			kill(-c->pid, SIGKILL);
		if (c && c->life == STARTING)
			execed(s, c);
		if (waitpid(info.si_pid, &status, WNOHANG) == info.si_pid && c)
			reaped(s, c, status);
	}
}

static bool may_be(const struct end *e, const struct spawn_user *u)
{
	for (size_t i = 0; i < e->n_users; i++)
		if (e->users[i].uid == u->uid && e->users[i].gid == u->gid)
			return true;
	return false;
}

/* In the child: the command, or its error for the spawner. */
static void be_child(const struct spawner *s, const struct spawn_run *r, int tell_fd)
{
	int err = spawn_become(r, s->null, s->setup.nofile, s->pid);

	if (write(tell_fd, &err, sizeof(err)) != (ssize_t)sizeof(err))
		_exit(126);
	_exit(127);
}

static int fork_child(struct spawner *s, struct child *c, const struct spawn_run *r)
{
	int ends[2], e;

	if (sys_pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	c->t = (struct thing){ EXECING, ends[0] };
	e = fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : watch(s, EPOLL_CTL_ADD, &c->t, EPOLLIN);
	if (e == 0) {
		c->pid = sys_fork();
		if (c->pid == 0)
			be_child(s, r, ends[1]);
		e = c->pid < 0 ? -errno : 0;
	}
	close(ends[1]);
	if (e < 0)
		unwatch(s, &c->t);
	else
		setpgid(c->pid, c->pid);
	return e;
}

static int start(struct spawner *s, struct end *e, uint32_t serial, const struct spawn_run *r)
{
	struct child *c;
	int err;

	if (!may_be(e, &r->user))
		return -EPERM;
	if (s->n_children >= (s->setup.most ? s->setup.most : MOST))
		return -EAGAIN;
	c = mem_zalloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct child){ .asker = e, .serial = serial, .grace = r->grace };
	err = fork_child(s, c, r);
	if (err < 0) {
		mem_free(c);
		return err;
	}
	list_add(&s->children, &c->node);
	s->n_children++;
	return 0;
}

/* ---- what is asked ---- */

static int add_end(struct spawner *s, enum kind kind, int fd, const struct end *like)
{
	struct end *e = s->n_ends < MOST_ENDS ? mem_zalloc(sizeof(*e)) : NULL;
	int r = e ? 0 : -ENOMEM;

	if (r == 0) {
		if (like)
			*e = *like;
		e->t = (struct thing){ kind, fd };
		e->full = false;
		r = watch(s, EPOLL_CTL_ADD, &e->t, EPOLLIN);
	}
	if (r < 0) {
		close(fd); /* whoever asked sees the end of his channel */
		mem_free(e);
		return r;
	}
	list_init(&e->node);
	list_add(&s->ends, &e->node);
	s->n_ends++;
	return 0;
}

/* What came through a door or the root makes another channel, with at most its own power. */
static int open_end(struct spawner *s, const struct end *e)
{
	struct end like = *e;
	int fd;

	if (e->t.kind == ROOT && spawn_get_door(&s->in, like.users, &like.n_users) < 0)
		return -EPROTO;
	if (s->in.n_fds != 1 || (e->t.kind == DOOR && s->in.n > 0))
		return -EPROTO;
	fd = chan_take_fd(&s->in);
	(void)add_end(s, e->t.kind == ROOT ? DOOR : CHANNEL, fd, &like);
	return 0;
}

static int run(struct spawner *s, struct end *e)
{
	uint32_t serial = s->in.serial;
	int r = spawn_get_run(&s->in, &s->order);

	if (r < 0)
		return r;
	r = start(s, e, serial, &s->order.run);
	spawn_order_done(&s->order);
	if (r < 0)
		refuse(s, e, serial, r);
	return 0;
}

static int stop(struct spawner *s, const struct end *e)
{
	if (s->in.n > 0 || s->in.n_fds > 0)
		return -EPROTO;
	for (struct list *n = s->children.next; n != &s->children; n = n->next) {
		struct child *c = list_entry(n, struct child, node);

		if (c->asker == e && c->serial == s->in.serial)
			stop_child(c);
	}
	return 0; /* it may have ended meanwhile */
}

/* 0, or -EPROTO: whoever says that is not to be listened to. */
static int obey(struct spawner *s, struct end *e)
{
	static const struct {
		enum kind from;
		unsigned type;
	} known[] = { { ROOT, SPAWN_DOOR }, { DOOR, SPAWN_OPEN }, { CHANNEL, SPAWN_RUN }, { CHANNEL, SPAWN_STOP } };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (known[i].from != e->t.kind || known[i].type != s->in.type)
			continue;
		if (s->in.type == SPAWN_RUN)
			return run(s, e);
		return s->in.type == SPAWN_STOP ? stop(s, e) : open_end(s, e);
	}
	return -EPROTO;
}

static void hear(struct spawner *s, struct end *e)
{
	int r = chan_recv(e->t.fd, &s->in);

	if (r == -EAGAIN)
		return;
	if (r == -EMFILE && s->in.type == SPAWN_RUN && e->t.kind == CHANNEL) {
		refuse(s, e, s->in.serial, -EMFILE);
		return;
	}
	if (r == -EMFILE)
		return; /* its far end closes with the message, and whoever asked sees that */
	if (r == 1 && obey(s, e) == 0)
		return;
	chan_msg_done(&s->in);
	if (r < 0 && r != -EPROTO)
		return; /* memory is out */
	if (e->t.kind == ROOT)
		end_all(s);
	else
		free_end(s, e);
}

/* ---- the process ---- */

static void one_event(struct spawner *s, const struct epoll_event *ev)
{
	struct thing *t = ev->data.ptr;
	struct end *e = list_entry(t, struct end, t);

	if (t->kind == CHLD) {
		reap(s);
	} else if (t->kind == EXECING) {
		execed(s, list_entry(t, struct child, t));
	} else {
		if (e->full && ev->events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
			tell_all(s, e);
		if (ev->events & ~(uint32_t)EPOLLOUT)
			hear(s, e);
	}
}

static void serve(struct spawner *s)
{
	while (!s->ending || !list_empty(&s->children)) {
		struct epoll_event ev;
		int left = kill_late(s);

		/* one at a time: the next one may be about something that this one ends */
		if (epoll_wait(s->ep, &ev, 1, left) == 1)
			one_event(s, &ev);
	}
}

/* Nothing but SIGKILL ends it: it goes when the root channel does, after those who still need their commands. */
static int take_signals(struct spawner *s)
{
	sigset_t all, chld;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL); /* ignored, there would be no zombies */
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	s->chld = (struct thing){ CHLD, sys_signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK) };
	return s->chld.fd < 0 ? -errno : watch(s, EPOLL_CTL_ADD, &s->chld, EPOLLIN);
}

/* Descriptors 0, 1 and 2 are taken for ever, so that none that comes has such a number. */
static int take_low_fds(struct spawner *s)
{
	do {
		s->null = sys_open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (s->null >= 0 && s->null < 3);
	if (s->null < 0)
		return -errno;
	return dup2(s->null, STDIN_FILENO) < 0 || dup2(s->null, STDOUT_FILENO) < 0 ? -errno : 0;
}

/* Ours and, inherited, all commands': the system calls that no program of an ordinary user needs, and nobody gains rights by setuid. */
static int confine(void)
{
	const struct sandbox programs = { .name = "spawner", .execs = true };
	struct sandbox_report report = {};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return syscalls_enforce(&programs, &report, NULL);
}

static int only_this(const void *fd, int from)
{
	return fds_lowest(fd, 1, from);
}

static int run_spawner(const struct spawner_setup *setup, int root)
{
	struct spawner *s = mem_zalloc(sizeof(*s));
	int r = s ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	prctl(PR_SET_NAME, "guichet-spawn");
	fds_close_but(only_this, &root);
	s->setup = *setup;
	s->pid = getpid();
	list_init(&s->ends);
	list_init(&s->children);
	r = take_low_fds(s);
	if (r == 0) {
		s->ep = sys_epoll_create1(EPOLL_CLOEXEC);
		r = s->ep < 0 ? -errno : take_signals(s);
	}
	if (r == 0)
		r = confine();
	if (r == 0)
		r = add_end(s, ROOT, root, NULL);
	if (r == 0)
		serve(s);
	mem_free(s);
	return r;
}

int spawner_start(const struct spawner_setup *setup, int *ret_root, pid_t *ret_pid)
{
	int ends[2], r = chan_pair(ends);
	pid_t pid;

	if (r < 0)
		return r;
	pid = sys_fork();
	if (pid < 0)
		r = -errno;
	if (pid == 0) {
		int root = fcntl(ends[1], F_DUPFD_CLOEXEC, 3);

		_exit(root >= 0 && run_spawner(setup, root) == 0 ? 0 : 1);
	}
	close(ends[1]);
	if (r < 0) {
		close(ends[0]);
		return r;
	}
	*ret_root = ends[0];
	*ret_pid = pid;
	return 0;
}
