/*
 * accept.c - listeners in a loop, and new connections from them. Out of descriptors means a pause, not a spin: the
 * backlog waits, the connections that are there are served, and accepting goes on when one of them ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/peer.h"
#include "core/stats.h"
#include "drive/loop_priv.h"
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

static void pause_place(struct loop *l, struct place *p, int err)
{
	struct log_line line;

	l->poller->ops->del(l->poller, p->src.fd);
	p->retry = l->host.now + RETRY_MS * MSEC;
	atomic_store_explicit(&l->paused, true, memory_order_relaxed);
	if (atomic_exchange(&p->ln->paused, true))
		return; /* another try of the same pause, here or in another loop */
	stat_add(p->lane, STAT_PAUSED_FDS, 1);
	if (log_begin(&line, LOG_WARN, "accept-paused")) {
		log_str(&line, "service", p->lane->svc->name);
		log_str(&line, "reason", err == EMFILE || err == ENFILE ? "out-of-descriptors" : "out-of-memory");
		log_end(&line);
	}
}

/* Nobody waits any more. */
static void end_pause(const struct place *p)
{
	struct log_line line;

	if (!atomic_load_explicit(&p->ln->paused, memory_order_relaxed) || !atomic_exchange(&p->ln->paused, false))
		return;
	if (log_begin(&line, LOG_INFO, "accept-resumed")) {
		log_str(&line, "service", p->lane->svc->name);
		log_end(&line);
	}
}

nsec accept_due(const struct loop *l)
{
	nsec min = 0;

	for (const struct list *n = l->places.next; n != &l->places; n = n->next) {
		const struct place *p = list_entry(n, const struct place, node);

		if (p->retry && (!min || p->retry < min))
			min = p->retry;
	}
	return min;
}

/* The last who came may have got the last descriptor: then no event will tell that nobody waits. */
static bool somebody_waits(const struct place *p)
{
	struct pollfd look = { .fd = p->src.fd, .events = POLLIN };

	return poll(&look, 1, 0) != 0;
}

void accept_retry(struct loop *l, bool room)
{
	for (struct list *n = l->places.next; n != &l->places; n = n->next) {
		struct place *p = list_entry(n, struct place, node);

		if (!p->retry || (!room && p->retry > l->host.now))
			continue;
		p->retry = 0;
		if (source_watch(l, &p->src, p->how) < 0)
			p->retry = l->host.now + RETRY_MS * MSEC;
		else if (!somebody_waits(p))
			end_pause(p);
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

static int accept_one(struct place *p, struct netaddr *from)
{
	from->n = sizeof(from->st);
	return sys_accept4(p->ln->fd, &from->sa, &from->n, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* Before the connection is on its loop, or has its thread: a whole burst may be on its way there. */
static bool take_place(const struct lane *lane)
{
	unsigned n;

	if (!lane->open_all)
		return true;
	n = atomic_load_explicit(lane->open_all, memory_order_relaxed);
	do {
		if (lane->max && n >= lane->max) {
			stat_add(lane, STAT_REFUSED_MAX, 1);
			return false;
		}
	} while (!atomic_compare_exchange_weak(lane->open_all, &n, n + 1));
	return true;
}

static void leave_place(const struct lane *lane)
{
	if (lane->open_all)
		atomic_fetch_sub_explicit(lane->open_all, 1, memory_order_relaxed);
}

static void log_refused(const struct lane *lane, const struct peer *peer, const char *reason)
{
	struct log_line line;
	char text[PEER_TEXT];

	if (!log_begin(&line, LOG_WARN, "refused"))
		return;
	log_str(&line, "service", lane->svc->name);
	if (peer)
		log_str(&line, "peer", peer_text(peer, text));
	log_str(&line, "reason", reason);
	log_end(&line);
}

void loop_refuse(const struct lane *lane, int fd, const struct peer *peer, const char *reason)
{
	log_refused(lane, peer, reason);
	close(fd);
	leave_place(lane);
}

static void admit(struct loop *l, struct place *p, int fd, const struct netaddr *from)
{
	struct peer *peer = netaddr_peer(&from->sa, from->n);

	if (!peer) {
		stat_add(p->lane, STAT_REFUSED_MEMORY, 1);
		log_refused(p->lane, NULL, "out-of-memory");
		close(fd);
	} else if (!take_place(p->lane)) {
		log_refused(p->lane, peer, "max");
		close(fd);
	} else {
		p->take(l, p->ln, p->lane, fd, peer);
	}
	peer_unref(peer);
}

bool accept_ready(struct loop *l, struct place *p)
{
	struct netaddr from;

	for (int i = 0; i < BURST && !p->retry; i++) {
		int fd = accept_one(p, &from);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE) && p->ln->vital && spend_reserve())
			fd = accept_one(p, &from);
		if (fd >= 0) {
			admit(l, p, fd, &from);
			loop_effects(l);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			pause_place(l, p, errno);
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			end_pause(p);
		else if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO)
			continue; /* that one client gave up */
		return false;
	}
	return !p->retry;
}

void loop_listen_last(struct loop *l, struct listener *ln)
{
	struct place *p = place_of(l, ln);

	for (int i = 0; p && i < LAST && accept_ready(l, p); i++)
		;
	loop_unlisten(l, ln);
}
