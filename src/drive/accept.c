/*
 * accept.c - listeners in a loop, and new connections from them. Out of descriptors means a pause, not a spin: the
 * backlog waits, the connections that are there are served, and accepting goes on when one of them ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/peer.h"
#include "core/stats.h"
#include "drive/admit.h"
#include "drive/loop_priv.h"
#include "drive/net/fifo.h"
#include "drive/net/netaddr.h"
#include "drive/sys.h"

enum {
	BURST = 64,     /* accepted in a row */
	LAST = 64,      /* bursts at the end of a listener: a full backlog */
	RETRY_MS = 250, /* while nothing of ours ends */
};

/* The descriptor kept for the control socket, so that a full daemon can be asked what is wrong. */
static _Atomic int reserve = -1;

void accept_reserve(void)
{
	int none = -1, fd;

	if (atomic_load_explicit(&reserve, memory_order_relaxed) >= 0)
		return;
	fd = sys_open("/dev/null", O_RDONLY | O_CLOEXEC, 0);
	if (fd >= 0 && !atomic_compare_exchange_strong(&reserve, &none, fd))
		close(fd);
}

static bool spend_reserve(void)
{
	int fd = atomic_exchange(&reserve, -1);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static struct place *place_of(struct loop *l, const struct listener *ln)
{
	for (struct list *n = l->places.next; n != &l->places; n = n->next) {
		struct place *p = list_entry(n, struct place, node);

		if (p->ln == ln)
			return p;
	}
	return NULL;
}

int loop_listen(struct loop *l, struct listener *ln, struct lane *lane, loop_take *take, int how)
{
	struct place *p = place_of(l, ln);
	int r;

	if (p) {
		p->lane = lane;
		p->take = take;
		p->retry = p->retry ? 1 : 0; /* what it waited for may not be what the new one waits for */
		return 0;
	}
	p = mem_zalloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->src = (struct source){ .fd = ln->fd, .kind = SRC_LISTEN };
	p->lane = lane;
	p->take = take;
	p->how = how;
	r = slot_take(l, &p->src);
	if (r == 0 && (r = source_watch(l, &p->src, how)) < 0)
		slot_free(l, &p->src);
	if (r < 0) {
		mem_free(p);
		return r;
	}
	p->ln = listener_ref(ln);
	l->uneasy = l->uneasy || ln->fifo;
	list_add(&l->places, &p->node);
	if (ln->vital)
		accept_reserve();
	return 0;
}

void loop_unlisten(struct loop *l, struct listener *ln)
{
	struct place *p = place_of(l, ln);

	if (!p)
		return;
	if (!p->retry)
		l->poller->ops->del(l->poller, p->src.fd);
	slot_free(l, &p->src);
	list_del(&p->node);
	listener_unref(p->ln);
	mem_free(p);
}

/* Other loops and threads accept here too: what is told last must be what is so. */
static pthread_mutex_t pause_lock = PTHREAD_MUTEX_INITIALIZER;

static void tell_pause(struct listener *ln, const struct lane *lane, int err)
{
	const char *reason = err == EMFILE || err == ENFILE ? "out-of-descriptors" : "out-of-memory";
	struct log_line line;

	admit_short(lane, reason);
	pthread_mutex_lock(&pause_lock);
	if (!atomic_exchange(&ln->paused, true)) { /* or it is another try of the same pause */
		stat_add(lane, STAT_PAUSED_FDS, 1);
		if (log_begin(&line, LOG_WARN, "accept-paused")) {
			log_str(&line, "service", lane->svc->name);
			log_str(&line, "reason", reason);
			log_end(&line);
		}
	}
	pthread_mutex_unlock(&pause_lock);
}

/* Two pages, which a process that forks would copy each time (docs/design/models.md), so it is not inlined. */
[[gnu::noinline]] static void tell_end(struct listener *ln, const struct lane *lane)
{
	struct log_line line;

	pthread_mutex_lock(&pause_lock);
	if (atomic_exchange(&ln->paused, false) && log_begin(&line, LOG_INFO, "accept-resumed")) {
		log_str(&line, "service", lane->svc->name);
		log_end(&line);
	}
	pthread_mutex_unlock(&pause_lock);
}

/* Nobody waits any more. */
static void end_pause(struct listener *ln, const struct lane *lane)
{
	if (atomic_load_explicit(&ln->paused, memory_order_relaxed))
		tell_end(ln, lane);
}

static void pause_place(struct loop *l, struct place *p)
{
	l->poller->ops->del(l->poller, p->src.fd);
	p->retry = l->host.now + RETRY_MS * MSEC;
	l->uneasy = true;
	atomic_store(&l->paused, true);
}

/* As many as may wait for a worker do: the others stay in the backlog until loop_room(). */
static bool is_held(struct loop *l, struct place *p)
{
	if (p->last || !p->lane->hold || !atomic_load(p->lane->hold))
		return false;
	pause_place(l, p);
	if (!atomic_load(p->lane->hold)) /* the worker came just before, and saw nobody who pauses */
		p->retry = 1;            /* at the end of this turn, then */
	return true;
}

/* Clients of a named pipe may be known of already, so its descriptor does not tell of all. 0: of these it does. */
static nsec fifo_when(const struct place *p)
{
	return p->ln->fifo && !p->retry ? fifo_due(p->ln->fifo) : 0;
}

/* Of what had no line of its own. */
static void tell_more(struct loop *l)
{
	l->untold = false;
	for (struct list *n = l->places.next; n != &l->places; n = n->next) {
		const struct lane *lane = list_entry(n, struct place, node)->lane;

		admit_tell(lane, l->host.now);
		l->untold |= admit_due(lane) != 0;
	}
}

static void look_at_places(struct loop *l)
{
	bool uneasy = false;

	for (struct list *n = l->places.next; n != &l->places; n = n->next) {
		struct place *p = list_entry(n, struct place, node);
		nsec when = fifo_when(p);

		if (when && when <= l->host.now)
			accept_ready(l, p);
		uneasy = uneasy || p->retry || p->ln->fifo;
	}
	l->uneasy = uneasy;
}

void accept_look(struct loop *l)
{
	if (l->uneasy)
		look_at_places(l);
	if (l->untold)
		tell_more(l);
}

nsec accept_due(const struct loop *l)
{
	nsec min = 0;

	if (!l->uneasy && !l->untold)
		return 0;
	for (const struct list *n = l->places.next; n != &l->places; n = n->next) {
		const struct place *p = list_entry(n, const struct place, node);

		nsec at = p->retry ? p->retry : fifo_when(p);

		if (at && (!min || at < min))
			min = at;
		at = l->untold ? admit_due(p->lane) : 0;
		if (at && (!min || at < min))
			min = at;
	}
	return min;
}

/* The last who came may have got the last descriptor: then no event will tell that nobody waits. */
static bool somebody_waits(const struct listener *ln)
{
	struct pollfd look = { .fd = ln->fd, .events = POLLIN };

	return poll(&look, 1, 0) != 0 || (ln->fifo && fifo_due(ln->fifo));
}

void accept_retry(struct loop *l, bool room)
{
	if (!l->uneasy)
		return;
	for (struct list *n = l->places.next; n != &l->places; n = n->next) {
		struct place *p = list_entry(n, struct place, node);

		if (!p->retry || (!room && p->retry > l->host.now))
			continue;
		p->retry = 0;
		if (source_watch(l, &p->src, p->how) < 0)
			p->retry = l->host.now + RETRY_MS * MSEC;
		else if (!somebody_waits(p->ln))
			end_pause(p->ln, p->lane);
	}
}

static void room_here(struct loop *l, void *arg)
{
	(void)arg;
	accept_retry(l, true);
}

void loop_room(struct loop *l)
{
	/* when memory is out, or it pauses just now: it tries again by itself, a little later */
	if (atomic_exchange_explicit(&l->paused, false, memory_order_relaxed))
		(void)!loop_post_call(l, room_here, NULL);
}

static int accept_one(const struct listener *ln, struct netaddr *from)
{
	from->n = sizeof(from->st);
	return sys_accept4(ln->fd, &from->sa, &from->n, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static bool is_shortage(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM;
}

static bool gave_up(int err)
{
	return err == ECONNABORTED || err == EINTR || err == EPROTO;
}

static void send_away(const struct lane *lane, const struct arrival *who, const char *reason)
{
	struct arrival a = *who;

	admit_log(lane, a.peer, reason);
	if (a.wfd != a.fd)
		fd_close(&a.wfd);
	fd_close(&a.fd);
}

void loop_refuse(const struct lane *lane, const struct arrival *who, const char *reason)
{
	send_away(lane, who, reason);
	admit_leave(lane, who->ticket);
}

/* true: it has its place, and its ticket. */
static bool let_in(const struct lane *lane, struct arrival *who)
{
	const char *reason;

	if (!who->peer) {
		stat_add(lane, STAT_REFUSED_MEMORY, 1);
		admit_short(lane, "out-of-memory");
		send_away(lane, who, "out-of-memory");
		return false;
	}
	reason = admit_enter(lane, who->fd, who->peer, &who->ticket);
	if (reason)
		send_away(lane, who, reason);
	return !reason;
}

void loop_admit(struct loop *l, struct listener *ln, struct lane *lane, loop_take *take, const struct arrival *who)
{
	struct arrival a = *who;

	if (let_in(lane, &a))
		take(l, ln, lane, &a);
	else
		l->untold = true;
	peer_unref(who->peer);
}

static void admit_pipes(struct loop *l, struct place *p, const struct fifo_client *c)
{
	const struct peer *peer = peer_new(PEER_NAME, c->name, strlen(c->name), 0, 0);

	loop_admit(l, p->ln, p->lane, p->take, &(struct arrival){ .fd = c->fd, .wfd = c->wfd, .peer = peer });
	loop_effects(l);
}

static void refuse_pipes(struct place *p, const struct fifo_client *c)
{
	struct peer *peer = peer_new(PEER_NAME, c->name, strlen(c->name), 0, 0);

	stat_add(p->lane, STAT_REFUSED_PIPE, 1);
	admit_log(p->lane, peer, c->reason);
	peer_unref(peer);
}

static bool fifo_ready(struct loop *l, struct place *p)
{
	for (int i = 0; i < BURST && !p->retry && !is_held(l, p); i++) {
		struct fifo_client c;
		int r = fifo_accept(p->ln->fifo, l->host.now, p->lane->svc->limits.first, &c);

		if (r == 1) {
			admit_pipes(l, p, &c);
			continue;
		}
		if (r == -EPROTO) {
			refuse_pipes(p, &c);
			l->untold = true;
			continue;
		}
		if (r < 0) {
			tell_pause(p->ln, p->lane, -r);
			pause_place(l, p);
		} else {
			end_pause(p->ln, p->lane);
		}
		return false;
	}
	return !p->retry;
}

/* Accepting paused; would the next one get a number that no client is to have? */
static bool is_full_yet(const struct listener *ln, const struct lane *lane)
{
	int next;
	bool full;

	if (ln->vital || !atomic_load_explicit(&ln->paused, memory_order_relaxed))
		return false;
	next = sys_dup_cloexec(ln->fd);
	full = next < 0 || admit_is_full(lane, next);
	fd_close(&next);
	return full;
}

/* One came in, and got such a number: those who come now wait, as when there are no descriptors at all. */
static bool pauses_after(struct listener *ln, const struct lane *lane, int fd)
{
	if (ln->vital || !admit_is_full(lane, fd))
		return false;
	tell_pause(ln, lane, EMFILE);
	return true;
}

/* As accept(2); no descriptor for a client is no descriptor at all, and the control socket has one of its own. */
static int accept_next(const struct place *p, struct netaddr *from)
{
	int fd = -1;

	if (p->last || !is_full_yet(p->ln, p->lane))
		fd = accept_one(p->ln, from);
	else
		errno = EMFILE;
	if (fd < 0 && (errno == EMFILE || errno == ENFILE) && p->ln->vital && spend_reserve())
		fd = accept_one(p->ln, from);
	return fd;
}

bool accept_ready(struct loop *l, struct place *p)
{
	struct netaddr from;

	if (p->ln->fifo)
		return fifo_ready(l, p);
	for (int i = 0; i < BURST && !p->retry && !is_held(l, p); i++) {
		int fd = accept_next(p, &from);

		if (fd >= 0) {
			struct peer *peer = netaddr_peer_again(l->guest, &from.sa, from.n);

			if (peer != l->guest) /* a page not written to is one not to copy, where children have it too */
				l->guest = peer;
			loop_admit(l, p->ln, p->lane, p->take,
				   &(struct arrival){ .fd = fd, .wfd = -1, .peer = peer_ref(l->guest) });
			loop_effects(l);
			if (!p->last && pauses_after(p->ln, p->lane, fd))
				pause_place(l, p);
			continue;
		}
		if (gave_up(errno))
			continue;
		if (is_shortage(errno)) {
			tell_pause(p->ln, p->lane, errno);
			pause_place(l, p);
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			end_pause(p->ln, p->lane);
		}
		return false;
	}
	return !p->retry;
}

int loop_accept(struct listener *ln, const struct lane *lane, struct arrival *ret)
{
	struct netaddr from;

	for (int i = 0; i < BURST; i++) {
		int fd;

		if (is_full_yet(ln, lane))
			return -EAGAIN;
		fd = accept_one(ln, &from);
		if (fd < 0 && gave_up(errno))
			continue;
		if (fd < 0 && is_shortage(errno)) {
			tell_pause(ln, lane, errno);
			return -EAGAIN;
		}
		if (atomic_load_explicit(&ln->paused, memory_order_relaxed) && !somebody_waits(ln))
			end_pause(ln, lane);
		if (fd < 0)
			return 0;
		*ret = (struct arrival){ .fd = fd, .wfd = -1, .peer = netaddr_peer(&from.sa, from.n) };
		(void)pauses_after(ln, lane, fd);
		if (let_in(lane, ret))
			return 1;
		peer_unref(ret->peer);
	}
	return 0;
}

void loop_listen_last(struct loop *l, struct listener *ln)
{
	struct place *p = place_of(l, ln);

	if (p) {
		p->last = true;
		p->retry = 0; /* once more, whatever it waited for */
	}
	for (int i = 0; p && i < LAST && accept_ready(l, p); i++)
		;
	loop_unlisten(l, ln);
}
