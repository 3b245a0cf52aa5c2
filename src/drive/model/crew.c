/*
 * crew.c - see crew.h. Idle workers wait in one epoll set, for the sockets of their service and for the bell of those who
 * have been accepted for them. The kernel wakes one of them for what happens. A socket that has told one worker is disarmed
 * until that one has accepted, who then arms it again and serves. So the next one to accept is ready meanwhile, and
 * nobody is woken for nothing.
 *
 * The main thread never waits for a worker, who may be in a call that takes long: it gives and takes sockets by the epoll
 * set, and a worker who was told just before finds nobody, or serves one more.
 */
#include "drive/model/crew.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>

#include "base/mem.h"
#include "drive/clock.h"
#include "drive/crash.h"
#include "drive/model/solo.h"
#include "drive/sys.h"

enum {
	PER_CORE = 4,      /* workers, when nobody says how many */
	LAST = 64 * 64,    /* accepted at the end of a listener: a full backlog */
	RETRY_MS = 250,    /* after a socket that could not be served, as descriptors or memory were out */
	BELL = UINT32_MAX, /* in the epoll set; else the number of an entry of the service */
};

/* Accepted, and waiting for a worker. */
struct waiting {
	struct list node;
	struct listener *ln; /* the service's */
	struct arrival who;  /* with a reference to the peer */
};

struct crew {
	struct service *service; /* of which this is a part */
	int set, bell;
	unsigned workers;
	_Atomic bool full;     /* as many wait as may: lane->hold of the loop that accepts */
	_Atomic bool readers;  /* there are datagrams to read */
	pthread_mutex_t lock;  /* of what follows */
	struct list queue;     /* of struct waiting */
	unsigned waiting, max; /* in it */
	unsigned idle;         /* workers who wait */
	bool over;
	struct loop_tuning tuning;
};

struct worker {
	struct solo solo;
	struct crew *crew;
	sess_id *sessions; /* of datagram sockets, by entry */
	uint32_t disarmed; /* the entry that this worker is still to arm; BELL: none */
};

static void ring(const struct crew *c)
{
	uint64_t one = 1;

	(void)!write(c->bell, &one, sizeof(one)); /* watched for edges, so nobody reads it */
}

/* ---- the queue ---- */

static void push(struct crew *c, struct waiting *w)
{
	bool idle;

	atomic_fetch_add(&c->service->server->live, 1);
	pthread_mutex_lock(&c->lock);
	list_add(&c->queue, &w->node);
	c->waiting++;
	if (c->waiting >= c->max && !atomic_exchange(&c->full, true))
		stat_add(&c->service->lanes[0], STAT_QUEUE_FULL, 1);
	idle = c->idle > 0;
	pthread_mutex_unlock(&c->lock);
	if (idle)
		ring(c);
}

void crew_take(struct loop *l, struct listener *ln, struct lane *lane, const struct arrival *who)
{
	struct crew *c = service_of(lane->svc)->crew;
	struct waiting *w = mem_alloc(sizeof(*w));

	(void)l;
	if (!w) {
		stat_add(lane, STAT_REFUSED_MEMORY, 1);
		loop_refuse(lane, who, "out-of-memory");
		return;
	}
	*w = (struct waiting){ .ln = ln, .who = *who };
	peer_ref(who->peer);
	push(c, w);
}

/* The one who waits longest. NULL: nobody; then the worker counts as idle, or all is over. */
static struct waiting *pop(struct crew *c, bool *ret_over)
{
	struct list *n;
	bool more, room = false;

	pthread_mutex_lock(&c->lock);
	n = list_pop(&c->queue);
	if (n)
		c->waiting--;
	else if (!c->over)
		c->idle++;
	if (c->waiting < c->max && atomic_load_explicit(&c->full, memory_order_relaxed))
		room = atomic_exchange(&c->full, false);
	more = c->waiting && c->idle; /* two strokes of the bell may be heard as one */
	*ret_over = c->over;
	pthread_mutex_unlock(&c->lock);
	if (more)
		ring(c);
	if (room)
		loop_room(c->service->server->loops[0]);
	return n ? list_entry(n, struct waiting, node) : NULL;
}

/* ---- a worker ---- */

static struct epoll_event told_once(uint32_t entry)
{
	return (struct epoll_event){ .events = EPOLLIN | EPOLLONESHOT, .data.u32 = entry };
}

static int entry_fd(const struct crew *c, uint32_t entry)
{
	return c->service->entries[entry].ln->fd;
}

static void arm_again(struct worker *w)
{
	struct epoll_event event;

	if (w->disarmed == BELL)
		return;
	event = told_once(w->disarmed);
	/* it fails only when the socket has gone to somebody else */
	(void)!epoll_ctl(w->crew->set, EPOLL_CTL_MOD, entry_fd(w->crew, w->disarmed), &event);
	w->disarmed = BELL;
}

static void datagrams_taken(void *arg)
{
	arm_again(arg);
}

static void accept_one(struct worker *w, struct listener *ln)
{
	struct arrival who;
	int r = loop_accept(ln, &w->solo.lane, &who);

	if (r <= 0)
		solo_fold(&w->solo); /* who was refused */
	if (r < 0)
		return; /* armed a little later: something is out */
	arm_again(w);
	if (r == 0)
		return;
	atomic_fetch_add(&w->solo.service->server->live, 1);
	solo_serve(&w->solo, ln, &who);
}

/* The session of this socket in this worker's loop. */
static sess_id *session_of(struct worker *w, uint32_t entry)
{
	struct service *v = w->solo.service;
	struct listener *ln = v->entries[entry].ln;
	sess_id *id;

	if (!w->sessions)
		w->sessions = mem_zalloc(v->n * sizeof(*w->sessions));
	id = w->sessions ? &w->sessions[entry] : NULL;
	if (!id || *id)
		return id;
	if (service_adopt_dgram(v, w->solo.loop, &w->solo.lane, ln, id) < 0)
		return NULL;
	loop_told(w->solo.loop, *id);
	return id;
}

/* One batch, and what comes of it until there is nothing to send and no child left. */
static void read_some(struct worker *w, uint32_t entry)
{
	struct loop_tuning tuning;
	sess_id *id;

	pthread_mutex_lock(&w->crew->lock);
	tuning = w->crew->tuning;
	pthread_mutex_unlock(&w->crew->lock);
	if (solo_begin(&w->solo) < 0)
		return;
	loop_tune(w->solo.loop, &tuning);
	id = session_of(w, entry);
	if (!id)
		return;
	if (!loop_tell(w->solo.loop, *id)) /* arms it when it has taken the datagrams, before it answers them */
		*id = 0;
	solo_run(&w->solo);
}

/* How long to wait: the timers of datagram sessions go on, and so does a socket that could not be served. */
static int patience(const struct worker *w)
{
	nsec due = w->solo.loop ? loop_due(w->solo.loop) : UINT64_MAX, now;
	int ms = w->disarmed == BELL ? -1 : RETRY_MS;

	if (due == UINT64_MAX)
		return ms;
	now = clock_mono();
	due = due > now ? (due - now) / MSEC + 1 : 0;
	return (ms >= 0 && due > RETRY_MS) || due > INT_MAX ? ms : (int)due;
}

/* Waits for one thing to happen, and does what is to be done. */
static void look(struct worker *w, bool idle)
{
	struct crew *c = w->crew;
	struct epoll_event e;
	int n;

	do
		n = sys_epoll_wait(c->set, &e, 1, idle ? patience(w) : 0);
	while (!idle && n > 0 &&
	       e.data.u32 == BELL); /* who waits is asked for next anyway; datagrams may be behind it */

	if (idle) {
		pthread_mutex_lock(&c->lock);
		c->idle--;
		pthread_mutex_unlock(&c->lock);
	}
	arm_again(w);
	if (n <= 0 && idle && w->solo.loop)
		solo_run(&w->solo); /* a timer */
	if (n <= 0 || e.data.u32 == BELL)
		return;
	w->disarmed = e.data.u32;
	if (c->service->entries[e.data.u32].ln->dgram)
		read_some(w, e.data.u32);
	else
		accept_one(w, c->service->entries[e.data.u32].ln);
}

/* false: all is over. */
static bool do_next(struct worker *w)
{
	struct crew *c = w->crew;
	bool over;
	struct waiting *next = pop(c, &over);

	if (next) {
		arm_again(w);
		solo_serve(&w->solo, next->ln, &next->who);
		mem_free(next);
		if (atomic_load_explicit(&c->readers, memory_order_relaxed))
			look(w, false); /* datagrams do not wait until nobody else does */
		return true;
	}
	if (!over)
		look(w, true);
	return !over;
}

static void *work(void *arg)
{
	struct crew *c = arg;
	struct server *s = c->service->server;
	struct worker w = { .crew = c, .disarmed = BELL };

	crash_thread();
	solo_init(&w.solo, c->service);
	w.solo.setup.guard = s->shared->guard;
	w.solo.setup.taken = datagrams_taken;
	w.solo.setup.taken_arg = &w;
	while (do_next(&w))
		;
	ring(c);            /* the next one may end too */
	solo_done(&w.solo); /* and perhaps the crew with it */
	mem_free(w.sessions);
	crash_thread_ends();
	solo_end(s);
	return NULL;
}

/* ---- its life ---- */

unsigned crew_wish(const struct service_options *c)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	return c->workers ? c->workers : PER_CORE * (cores > 0 ? (unsigned)cores : 1);
}

static int open_set(struct crew *c)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET, .data.u32 = BELL };

	c->set = sys_epoll_create1(EPOLL_CLOEXEC);
	if (c->set < 0)
		return -errno;
	c->bell = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->bell < 0)
		return -errno;
	return sys_epoll_ctl(c->set, EPOLL_CTL_ADD, c->bell, &e) < 0 ? -errno : 0;
}

int crew_start(struct service *v, unsigned n, struct crew **ret)
{
	struct crew *c = mem_zalloc(sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	*ret = c;
	c->service = v;
	c->set = c->bell = -1;
	c->max = v->plan.common->queue;
	c->tuning = v->server->tuning;
	pthread_mutex_init(&c->lock, NULL);
	list_init(&c->queue);
	v->lanes[0].hold = &c->full;
	r = open_set(c);
	while (r == 0 && c->workers < n) {
		service_ref(v); /* the worker's */
		r = solo_spawn(v->server, work, c);
		if (r < 0)
			service_unref(v);
		else
			c->workers++;
	}
	return r;
}

void crew_free(struct crew **cp)
{
	struct crew *c = *cp;

	if (!c)
		return;
	*cp = NULL;
	assert(list_empty(&c->queue)); /* only a worker who finds it so ends */
	fd_close(&c->set);
	fd_close(&c->bell);
	pthread_mutex_destroy(&c->lock);
	mem_free(c);
}

void crew_end(struct crew *c)
{
	pthread_mutex_lock(&c->lock);
	c->over = true;
	pthread_mutex_unlock(&c->lock);
	ring(c);
}

void crew_tune(struct crew *c, const struct loop_tuning *tuning)
{
	pthread_mutex_lock(&c->lock);
	c->tuning = *tuning;
	pthread_mutex_unlock(&c->lock);
}

void crew_view(struct crew *c, unsigned *ret_workers, unsigned *ret_waiting)
{
	pthread_mutex_lock(&c->lock);
	*ret_waiting = c->waiting;
	pthread_mutex_unlock(&c->lock);
	*ret_workers = c->workers;
}

/* ---- its sockets ---- */

int crew_listen(struct crew *c, struct listener *ln)
{
	const struct service *v = c->service;
	struct epoll_event event;
	uint32_t i = 0;

	if (ln->crew == c)
		return 0;
	while (v->entries[i].ln != ln)
		i++;
	crew_unlisten(ln);
	event = told_once(i);
	if (sys_epoll_ctl(c->set, EPOLL_CTL_ADD, ln->fd, &event) < 0)
		return -errno;
	if (ln->dgram)
		atomic_store(&c->readers, true);
	ln->crew = c;
	ln->lent = true;
	return 0;
}

void crew_unlisten(struct listener *ln)
{
	if (ln->crew)
		(void)!epoll_ctl(ln->crew->set, EPOLL_CTL_DEL, ln->fd, NULL);
	ln->crew = NULL;
}

void crew_listen_last(struct listener *ln)
{
	struct crew *c = ln->crew;
	struct arrival who;

	for (int i = 0; c && !ln->dgram && i < LAST && loop_accept(ln, &c->service->lanes[0], &who) > 0; i++) {
		crew_take(NULL, ln, &c->service->lanes[0], &who);
		peer_unref(who.peer);
	}
	crew_unlisten(ln);
}
