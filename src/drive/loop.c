/*
 * loop.c - the turn of a loop: wait, read what is ready, take what was posted, fire timers, then flush. See
 * docs/design/loop.md for why in this order.
 */
#include "drive/loop.h"

#include <errno.h>

#include "base/mem.h"
#include "drive/clock.h"
#include "drive/crash.h"
#include "drive/exec.h"
#include "drive/loop_priv.h"

enum {
	FEW = 4,                  /* peers who have spoken: each is answered before the next one is read */
	TURN_BYTES = 1 << 20,     /* flushed for those who have more to send */
	REPOLL_MAX = 4,           /* more waits for input before a flush ... */
	REPOLL_BYTES = 256 << 10, /* ... while less than this waits to be sent */
	EFFECTS_KEEP = 4096,
	ACCESS_COST = 1024, /* EV_ACCESS: in a turn, where to look at a place costs one */
	ACCESS_ONE = 15,    /* and a session so many more */
};

#define NO_MEMORY (50 * MSEC) /* until the next try */
#define CROWDED MSEC          /* until the next look whether the others have caught up */
#define REST (200 * MSEC)     /* until memory for output that is more than usual is given back */

/* ---- slots ---- */

int slot_take(struct loop *l, struct source *src)
{
	/* the heap has room for whoever has a slot, so that arming a timer cannot fail */
	int r = heap_reserve(&l->timers, l->ids.used + 1);

	return r < 0 ? r : ids_take(&l->ids, src, &src->id);
}

void slot_free(struct loop *l, struct source *src)
{
	ids_free(&l->ids, src->id);
}

static struct source *find(struct loop *l, sess_id id)
{
	return ids_find(&l->ids, id);
}

struct conn *loop_find_conn(struct loop *l, sess_id id)
{
	struct source *src = find(l, id);

	if (!src || src->kind == SRC_LISTEN || src->kind == SRC_WATCH)
		return NULL;
	return list_entry(src, struct conn, src);
}

int source_watch(struct loop *l, struct source *src, int how)
{
	int r = l->poller->ops->add(l->poller, src->fd, src->id, how);

	if (r == -EPERM) {
		src->flags |= C_NOPOLL;
		src->ready |= READY_IN | READY_OUT;
		r = 0;
	}
	return r;
}

int conn_watch(struct loop *l, struct conn *c, int how)
{
	int r = source_watch(l, &c->src, how);

	if (r < 0 || c->wfd == c->src.fd || !l->poller->ops->edges)
		return r; /* poll(2) is told each time */
	return l->poller->ops->add(l->poller, c->wfd, c->src.id, WATCH_EDGE);
}

/* ---- birth and death ---- */

static int open_inbox(struct loop *l)
{
	int r = inbox_new(&l->inbox);

	if (r == 0)
		r = inbox_open(l->inbox, &l->ids.loop);
	if (r == 0)
		r = l->poller->ops->add(l->poller, inbox_fd(l->inbox), 0, WATCH_LEVEL);
	return r;
}

int loop_new(const struct loop_setup *setup, struct loop **ret)
{
	struct loop *l = mem_zalloc(sizeof(*l));
	int r = l ? host_init(&l->host) : -ENOMEM;

	if (r < 0) {
		mem_free(l);
		return r;
	}
	l->setup = *setup;
	ids_init(&l->ids, 0);
	if (setup->serial)
		l->ids.gen = 1 + setup->serial % (IDS_GEN_MAX - 1);
	list_init(&l->again);
	list_init(&l->places);
	list_init(&l->watches);
	list_init(&l->tasks);
	list_init(&l->graveyard);
	l->posts_end = &l->posts;
	l->done_end = &l->done;
	l->host.now = clock_mono();
	l->host.wall = clock_wall();
	l->host.clock = clock_mono;
	l->host.met = conn_met;
	l->host.login_failed = conn_login_failed;
	l->host.logged_in = connlog_login;
	l->host.unsent = conn_unsent;
	l->host.limit = connlog_limit;
	l->host.note = connlog_note;
	l->host.tap = connlog_tap;
	r = setup->many ? poller_epoll_new(&l->poller) : poller_poll_new(&l->poller);
	if (r == 0 && setup->many)
		r = open_inbox(l);
	if (r == 0 && setup->many && !(l->ready = mem_alloc(POLLER_BATCH * sizeof(*l->ready))))
		r = -ENOMEM;
	if (r < 0) {
		loop_free(&l);
		return r;
	}
	*ret = l;
	return 0;
}

static void end_all(struct loop *l)
{
	for (uint32_t i = 0; i < l->ids.n; i++) {
		struct source *src = ids_at(&l->ids, i);
		struct conn *c = src ? loop_find_conn(l, src->id) : NULL;

		if (c && c->src.kind != SRC_BARE)
			conn_end(l, c, -ECANCELED);
	}
	for (uint32_t i = 0; i < l->ids.n; i++) { /* shards last: sessions talk to them at their end */
		struct source *src = ids_at(&l->ids, i);
		struct conn *c = src ? loop_find_conn(l, src->id) : NULL;

		if (c)
			conn_end(l, c, -ECANCELED);
	}
	loop_effects(l);
	conn_bury(l);
}

static void drop_tasks(struct loop *l)
{
	while (list_pop(&l->tasks))
		; /* their answers find the inbox closed, and are dropped there */
	while (l->done) {
		struct task *t = l->done;

		l->done = t->next;
		task_drop(&t);
	}
}

static void drop_posts(struct loop *l)
{
	for (struct post *p = l->posts, *next; p; p = next) {
		next = p->next;
		if (p->kind == POST_LETTERS)
			inbox_taken(l->inbox, p->letters.n);
		post_refuse(p);
	}
	l->posts = NULL;
}

void loop_free(struct loop **lp)
{
	struct loop *l = *lp;

	if (!l)
		return;
	end_all(l);
	while (!list_empty(&l->places))
		loop_unlisten(l, list_entry(l->places.next, struct place, node)->ln);
	for (struct list *n; (n = list_pop(&l->watches));)
		mem_free(list_entry(n, struct watched, node));
	posts_flush(l); /* the last words of sessions to other loops */
	exec_done(l);
	drop_tasks(l);
	drop_posts(l);
	if (l->inbox && l->ids.loop)
		inbox_close(l->inbox, l->ids.loop);
	inbox_unref(l->inbox);
	if (l->poller)
		l->poller->ops->free(&l->poller);
	dgram_free(&l->dg);
	gate_cache_free(&l->files);
	heap_done(&l->timers);
	host_done(&l->host);
	ids_done(&l->ids);
	mem_free(l->out);
	mem_free(l->ready);
	mem_free(l->watch);
	mem_free(l);
	*lp = NULL;
}

/* ---- waiting ---- */

static void earlier(nsec *min, nsec at)
{
	if (at && at < *min)
		*min = at;
}

/* Until when there is nothing to do: 0 = there is something now. */
static nsec idle_until(const struct loop *l, nsec timeout)
{
	nsec at = timeout == UINT64_MAX ? UINT64_MAX : l->host.now + timeout, key;

	if (!list_empty(&l->host.dirty) || !list_empty(&l->again) || l->done || l->posts || l->finish)
		return 0;
	if (l->access_at < l->access_end)
		return 0;
	if (l->waiting && !inbox_crowded())
		return 0;
	if (l->waiting)
		earlier(&at, l->host.now + CROWDED);
	if (heap_min(&l->timers, &key))
		earlier(&at, key);
	earlier(&at, accept_due(l));
	earlier(&at, l->rest_at);
	if (l->files)
		earlier(&at, gate_cache_due(l->files));
	return at;
}

/* What a connection waits for, in a loop that asks anew each time. */
static unsigned wants(const struct conn *c)
{
	switch ((enum conn_state)c->state) {
	case CONN_SERVING:
		if (c->src.kind == SRC_DGRAM)
			return (c->src.flags & C_TOLD ? 0 : READY_IN) | (sess_wants_write(&c->s) ? READY_OUT : 0);
		return (sess_wants_read(&c->s) ? READY_IN : 0) | (sess_wants_write(&c->s) ? READY_OUT : 0);
	case CONN_CONNECTING:
		return c->src.flags & C_SOCKET ? READY_OUT : READY_IN;
	case CONN_LISTENING:
	case CONN_LINGER:
		return READY_IN;
	case CONN_RESOLVING:
	case CONN_STARTING:
	case CONN_DEAD:
		break;
	}
	return 0;
}

static unsigned watch_conn(struct watch *w, const struct conn *c)
{
	unsigned want = wants(c), n = 0;

	if (c->src.flags & C_GIVEN) {
		w[n++] = (struct watch){ c->src.fd, c->src.id, 0 }; /* that it breaks is told always */
		return n;
	}
	if (c->wfd == c->src.fd) {
		if (want)
			w[n++] = (struct watch){ c->src.fd, c->src.id, want };
		return n;
	}
	if (want & READY_IN)
		w[n++] = (struct watch){ c->src.fd, c->src.id, READY_IN };
	/* that the reader of a pipe is gone is told whether anything else is asked for or not */
	if (c->wfd >= 0 && (want & READY_OUT || !(c->src.flags & (C_DEAF | C_KEEP_FDS | C_BLOCKING))))
		w[n++] = (struct watch){ c->wfd, c->src.id, want & READY_OUT };
	return n;
}

static int grow_watches(struct loop *l, unsigned cap)
{
	struct watch *v = mem_realloc(l->watch, cap * sizeof(*v));
	struct ready *ready;

	if (!v)
		return -ENOMEM;
	l->watch = v;
	ready = mem_realloc(l->ready, cap * sizeof(*ready));
	if (!ready)
		return -ENOMEM;
	l->ready = ready;
	l->watch_cap = cap;
	return 0;
}

/* For poll(2): everything with a descriptor; how many, or -ENOMEM. */
static int list_watches(struct loop *l)
{
	int order = l->stopping ? l->setup.cut_fd : l->setup.stop_fd; /* last: what has been asked is read before it */
	unsigned n = 0;

	if (2 * l->ids.used + 1 > l->watch_cap && grow_watches(l, 2 * l->ids.used + 9) < 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < l->ids.n; i++) {
		struct source *src = ids_at(&l->ids, i);
		struct conn *c = src ? loop_find_conn(l, src->id) : NULL;

		if (c && c->src.fd >= 0)
			n += watch_conn(l->watch + n, c);
		else if (src && !c)
			l->watch[n++] = (struct watch){ src->fd, src->id, READY_IN };
	}
	if (order >= 0 && !l->cut)
		l->watch[n++] = (struct watch){ order, 0, READY_IN };
	return (int)n;
}

/* ---- the turn ---- */

static void conn_ready(struct loop *l, struct conn *c, unsigned what)
{
	c->src.ready |= (uint8_t)what;
	l->host.serving = &c->s;
	if (c->src.flags & C_GIVEN) {
		handover_ready(c, what);
	} else if (c->state == CONN_CONNECTING || c->state == CONN_LISTENING) {
		child_ready(l, c);
	} else if (c->state == CONN_LINGER) {
		conn_linger(l, c);
	} else if (c->src.kind == SRC_DGRAM) {
		if (what & (READY_IN | READY_ERR))
			dgram_read(l, c);
		sess_mark(&c->s);
	} else {
		if (what & READY_ERR && c->wfd != c->src.fd) {
			c->src.flags |= C_DEAF;
			c->src.ready |= READY_OUT; /* to write says what it is */
		}
		if (what & READY_IN)
			stream_read(l, c);
		if (what & READY_ERR && !sess_wants_read(&c->s) && !(c->src.flags & C_COMMAND))
			sess_broken(&c->s, -ECONNRESET);
		sess_mark(&c->s);
	}
	loop_effects(l);
}

static void one_ready(struct loop *l, const struct ready *r)
{
	if (r->id == 0) { /* the inbox; or the order to stop, and then not to wait any more */
		if (!l->inbox && l->stopping)
			loop_cut(l);
		else if (!l->inbox)
			loop_stop(l);
		return;
	}

	struct source *src = find(l, r->id);

	if (!src)
		return; /* it ended earlier in this turn */
	if (src->kind == SRC_LISTEN)
		accept_ready(l, list_entry(src, struct place, src));
	else if (src->kind == SRC_WATCH)
		list_entry(src, struct watched, src)->fn(l, list_entry(src, struct watched, src)->arg);
	else
		conn_ready(l, list_entry(src, struct conn, src), r->what);
}

static void set_time(struct loop *l)
{
	l->host.now = clock_mono();
	l->host.wall = clock_wall();
}

/* Up to so many bytes of all together; the others keep their place. */
static void settle(struct loop *l, struct list *marked, size_t most)
{
	struct list now;

	if (list_empty(marked))
		return;
	list_take_all(&now, marked);
	for (struct list *n; l->flushed < most && (n = list_pop(&now));) {
		struct conn *c = conn_of(list_entry(n, struct sess, dirty));

		conn_settle(l, c);
		loop_effects(l);
	}
	for (struct list *n; (n = list_pop(&now));)
		list_add(marked, n);
}

/* Waits and handles; returns how many descriptors were ready. */
static int poll_once(struct loop *l, nsec until)
{
	int nw = l->poller->ops->edges ? 0 : list_watches(l);
	struct ready *ready = l->ready; /* after that: it may have grown */
	bool slept = until && l->inbox;

	if (nw < 0) { /* nothing can be waited for but time; soon there may be memory again */
		nw = 0;
		if (until > l->host.now + NO_MEMORY)
			until = l->host.now + NO_MEMORY;
	}

	if (slept && !inbox_sleep(l->inbox))
		until = 0;

	int n = l->poller->ops->wait(l->poller, l->watch, (unsigned)nw, ready, l->host.now, until);
	bool posted = false;

	l->talk = 0;
	for (int i = 0; i < n; i++) {
		posted |= ready[i].id == 0;
		l->talk += !!(ready[i].what & READY_IN);
	}
	if (l->inbox && (slept || posted))
		inbox_awake(l->inbox, posted);
	set_time(l);
	for (int i = 0; i < n; i++) {
		one_ready(l, &ready[i]);
		if (n <= FEW) /* it has something to do while the others are read */
			settle(l, &l->host.dirty, SIZE_MAX);
	}
	return n;
}

static void fire_timers(struct loop *l)
{
	struct heap_node *node;
	nsec key;

	while ((node = heap_min(&l->timers, &key)) && key <= l->host.now) {
		struct conn *c = list_entry(node, struct conn, timer);

		heap_del(&l->timers, node);
		conn_timer(l, c);
		loop_effects(l);
	}
}

static size_t queued_now(const struct loop *l)
{
	size_t n = 0;

	for (struct list *d = l->host.dirty.next; d != &l->host.dirty && n < REPOLL_BYTES; d = d->next)
		n += sess_queued(list_entry(d, struct sess, dirty));
	return n;
}

/*
 * Each marked session goes on and is flushed once. What marks itself anew meanwhile, because it has more to send, has its turn
 * later: after whoever has said something by then, and as far as the bytes of a turn go. So clients who take all they can get
 * share what is left by those who ask and are answered.
 */
static void settle_all(struct loop *l)
{
	settle(l, &l->host.dirty, SIZE_MAX);
	settle(l, &l->again, TURN_BYTES);
	for (struct list *n; (n = list_pop(&l->host.dirty));)
		list_add(&l->again, n);
}

/* What a burst of clients needed is not held while they are silent; nor is it given back in each pause of one. */
static void rest(struct loop *l)
{
	bool due = l->rest_at && l->rest_at <= l->host.now;

	if (chunk_pool_rest(&l->host.pool, due) && !due)
		l->rest_at = l->rest_at ? l->rest_at : l->host.now + REST;
	else
		l->rest_at = 0;
}

/* After a step that had much to tell. */
static void trim_effects(struct host *h)
{
	if (h->fx_cap <= EFFECTS_KEEP || h->fx_n)
		return;
	mem_free(h->fx);
	h->fx = NULL;
	h->fx_cap = 0;
}

void loop_tell_access(struct loop *l)
{
	l->access_at = 0;
	l->access_end = l->ids.n; /* who comes later is asked by what is in force now */
}

/* Not all at once: each of thousands may have rules to look up, and the others wait meanwhile. */
static void tell_access(struct loop *l)
{
	for (unsigned cost = 0; cost < ACCESS_COST && l->access_at < l->access_end; cost++) {
		struct source *src = ids_at(&l->ids, l->access_at++);
		struct conn *c = src ? loop_find_conn(l, src->id) : NULL;

		if (!c || c->state != CONN_SERVING || !c->s.proto || !(c->s.proto->flags & P_ACCESS))
			continue;
		cost += ACCESS_ONE;
		l->host.serving = &c->s;
		sess_event(&c->s, &(struct ev){ .kind = EV_ACCESS });
		sess_mark(&c->s);
		loop_effects(l);
	}
}

void loop_turn(struct loop *l, nsec timeout)
{
	l->host.handshakes = l->setup.tuning.handshakes ? l->setup.tuning.handshakes : HOST_HANDSHAKES;
	l->letters = 0;
	l->answered = 0;
	l->flushed = l->taken = 0;
	crash_serves(&l->host);
	posts_go_on(l);

	rest(l);

	int n = poll_once(l, idle_until(l, timeout));

	/* while many peers talk, more of them are likely to: one flush and one wake-up then serve them all */
	for (int i = 0; n > FEW && i < REPOLL_MAX && l->taken < TURN_TAKEN && queued_now(l) < REPOLL_BYTES; i++)
		n = poll_once(l, 0);
	posts_take(l);
	fire_timers(l);
	if (l->files)
		gate_cache_tick(l->files, l->host.now);
	accept_retry(l, false);
	accept_look(l);
	tell_access(l);
	settle_all(l);
	posts_flush(l);
	l->host.serving = NULL;
	conn_bury(l);
	crash_serves(NULL);
	trim_effects(&l->host);
	atomic_store_explicit(&l->turns, atomic_load_explicit(&l->turns, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

void loop_run(struct loop *l)
{
	while (!l->finish)
		loop_turn(l, UINT64_MAX);
}

void loop_tune(struct loop *l, const struct loop_tuning *tuning)
{
	l->setup.tuning = *tuning;
	if (l->files)
		gate_cache_limit(l->files, &(struct gate_limits){ tuning->file_cache, tuning->file_cache_size });
}

bool loop_empty(const struct loop *l)
{
	return l->ids.used == 0;
}

/* ---- for whoever owns the loop ---- */

bool loop_idle(const struct loop *l)
{
	if (!list_empty(&l->host.dirty) || !list_empty(&l->again) || l->done || l->posts)
		return false;
	for (uint32_t i = 0; i < l->ids.n && l->ids.used; i++) {
		const struct source *src = ids_at(&l->ids, i);

		if (src && src->kind == SRC_WATCH)
			continue;
		if (src && (!(src->flags & C_TOLD) || wants(list_entry(src, const struct conn, src))))
			return false;
	}
	return true;
}

nsec loop_due(const struct loop *l)
{
	nsec key;

	return heap_min(&l->timers, &key) ? key : UINT64_MAX;
}

void loop_begin(struct loop *l, unsigned serial)
{
	set_time(l);
	ids_renew(&l->ids, 1 + serial % (IDS_GEN_MAX - 1));
}

bool loop_stopping(const struct loop *l)
{
	return l->stopping;
}

bool loop_was_cut(const struct loop *l)
{
	return l->cut;
}

void loop_told(struct loop *l, sess_id id)
{
	struct conn *c = loop_find_conn(l, id);

	if (c)
		c->src.flags |= C_TOLD;
}

bool loop_tell(struct loop *l, sess_id id)
{
	struct conn *c = loop_find_conn(l, id);

	if (c)
		conn_ready(l, c, READY_IN);
	return c;
}

unsigned loop_index(const struct loop *l)
{
	return l->ids.loop;
}

unsigned loop_open(const struct loop *l)
{
	return atomic_load_explicit(&l->open, memory_order_relaxed);
}

struct inbox *loop_inbox(struct loop *l)
{
	return l->inbox;
}

uint64_t loop_turns(const struct loop *l)
{
	return atomic_load_explicit(&l->turns, memory_order_relaxed);
}

int loop_watch(struct loop *l, int fd, loop_call *fn, void *arg)
{
	struct watched *w = mem_zalloc(sizeof(*w));
	int r = w ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	w->src = (struct source){ .fd = fd, .kind = SRC_WATCH };
	w->fn = fn;
	w->arg = arg;
	r = slot_take(l, &w->src);
	if (r == 0 && (r = source_watch(l, &w->src, WATCH_LEVEL)) < 0)
		slot_free(l, &w->src);
	if (r < 0) {
		mem_free(w);
		return r;
	}
	list_add(&l->watches, &w->node);
	return 0;
}

void loop_unwatch(struct loop *l, int fd)
{
	for (struct list *n = l->watches.next; n != &l->watches; n = n->next) {
		struct watched *w = list_entry(n, struct watched, node);

		if (w->src.fd != fd)
			continue;
		l->poller->ops->del(l->poller, fd);
		slot_free(l, &w->src);
		list_del(n);
		mem_free(w);
		return;
	}
}

void loop_stop(struct loop *l)
{
	l->stopping = true;
	for (uint32_t i = 0; i < l->ids.n; i++) {
		struct source *src = ids_at(&l->ids, i);
		struct conn *c = src ? loop_find_conn(l, src->id) : NULL;

		if (!c || c->state == CONN_DEAD || sess_owner(&c->s))
			continue; /* a channel ends with its owner */
		if (c->state == CONN_LINGER) {
			conn_linger(l, c);
			continue;
		}
		sess_event(&c->s, &(struct ev){ .kind = EV_STOP });
		sess_mark(&c->s);
		loop_effects(l);
	}
}

unsigned loop_cut(struct loop *l)
{
	unsigned dropped = 0;

	l->cut = true;
	for (uint32_t i = 0; i < l->ids.n; i++) {
		struct source *src = ids_at(&l->ids, i);
		struct conn *c = src && src->kind == SRC_CONN ? loop_find_conn(l, src->id) : NULL;

		if (c && c->state == CONN_LINGER)
			conn_linger(l, c); /* the last look */
		if (!c || c->state == CONN_DEAD)
			continue;
		dropped += !!(c->src.flags & C_COUNTED);
		if (c->state == CONN_LINGER)
			conn_end(l, c, 0);
		else
			sess_abort(&c->s, "stopping", STAT_ERRORS);
	}
	return dropped;
}

void loop_finish(struct loop *l)
{
	l->finish = true;
}
