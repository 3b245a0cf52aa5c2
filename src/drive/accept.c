/*
 * accept.c - listeners in a loop, and new connections from them. Out of descriptors means a pause, not a spin: the
 * backlog waits, the connections that are there are served, and accepting goes on when one of them ends.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/log.h"
#include "base/mem.h"
#include "drive/loop_priv.h"
#include "drive/sys.h"

enum {
	BURST = 64,     /* accepted in a row */
	LAST = 64,      /* bursts at the end of a listener: a full backlog */
	RETRY_MS = 250, /* while nothing of ours ends */
};

/* The descriptor kept for the control socket, so that a full daemon can be asked what is wrong. */
static _Atomic int reserve = -1;

void place_reserve(void)
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
		place_reserve();
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

/* Nobody waits any more: the system looks for a descriptor first, so there are some. */
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

nsec place_due(const struct loop *l)
{
	nsec min = 0;

	for (const struct list *n = l->places.next; n != &l->places; n = n->next) {
		const struct place *p = list_entry(n, const struct place, node);

		if (p->retry && (!min || p->retry < min))
			min = p->retry;
	}
	return min;
}

void place_retry(struct loop *l, bool room)
{
	for (struct list *n = l->places.next; n != &l->places; n = n->next) {
		struct place *p = list_entry(n, struct place, node);

		if (!p->retry || (!room && p->retry > l->host.now))
			continue;
		p->retry = 0;
		if (source_watch(l, &p->src, p->how) < 0)
			p->retry = l->host.now + RETRY_MS * MSEC;
	}
}

static void room_here(struct loop *l, void *arg)
{
	(void)arg;
	place_retry(l, true);
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

bool place_ready(struct loop *l, struct place *p)
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

	for (int i = 0; p && i < LAST && place_ready(l, p); i++)
		;
	loop_unlisten(l, ln);
}

/* ---- sessions without and with a descriptor ---- */

static void count_in(struct loop *l, struct conn *c)
{
	struct lane *lane = c->s.lane;

	c->src.flags |= C_COUNTED;
	lane->open++;
	atomic_fetch_add_explicit(&l->open, 1, memory_order_relaxed);
	stat_add(lane, STAT_ACCEPTED, 1);
}

static void get_who(struct conn *c)
{
	struct ucred cred;
	socklen_t n = sizeof(cred);
	struct kin *k;

	if (!c->s.peer || c->s.peer->kind != PEER_UNIX || getsockopt(c->src.fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0)
		return;
	k = conn_kin(c);
	if (k)
		k->who = (struct who){ .how = WHO_UNIX, .uid = cred.uid, .gid = cred.gid, .pid = cred.pid };
}

static void drop_adopted(const struct adopt *a)
{
	int wfd = a->wfd;

	if (wfd != a->fd)
		fd_close(&wfd);
	if (a->layer && a->layer->drop_arg)
		a->layer->drop_arg(a->layer_arg);
	stat_add(a->lane, STAT_REFUSED_MEMORY, 1);
	loop_refuse(a->lane, a->fd, a->peer, "out-of-memory");
}

int loop_adopt(struct loop *l, const struct adopt *a)
{
	struct sess_birth b = { .proto = a->lane->svc->proto, .lane = a->lane, .local = a->local, .peer = a->peer };
	struct conn *c = conn_new(l, SRC_CONN, &b);
	int r;

	if (!c) {
		drop_adopted(a);
		return -ENOMEM;
	}
	c->src.fd = a->fd;
	c->wfd = a->wfd < 0 ? a->fd : a->wfd;
	c->src.flags |= (a->socket ? C_SOCKET : 0) | (a->vital ? C_VITAL : 0);
	c->src.ready = READY_OUT; /* a new socket has room; input is the poller's to tell */
	count_in(l, c);
	r = source_watch(l, &c->src, WATCH_EDGE);
	if (r < 0) {
		if (a->layer && a->layer->drop_arg)
			a->layer->drop_arg(a->layer_arg);
		c->s.reason = "cannot-watch";
		conn_end(l, c, r);
		return r;
	}
	get_who(c);
	if (c->kin)
		sess_set_who(&c->s, &c->kin->who);
	connlog_open(c);
	if (a->layer && sess_push_layer(&c->s, a->layer, a->layer_arg) < 0)
		sess_abort(&c->s, a->layer->name, STAT_ERRORS);
	else
		sess_open(&c->s, NULL);
	sess_mark(&c->s);
	loop_effects(l);
	return 0;
}

int loop_adopt_dgram(struct loop *l, int fd, struct lane *lane, const struct peer *local, bool low_ports, bool pktinfo,
		     sess_id *ret_id)
{
	struct sess_birth b = {
		.proto = lane->svc->proto, .lane = lane, .local = local, .dgram = true, .lasting = true
	};
	struct conn *c = conn_new(l, SRC_DGRAM, &b);
	int r = c ? 0 : -ENOMEM;

	if (!c)
		return r;
	c->src.fd = c->wfd = fd;
	c->src.flags |= C_SOCKET | C_KEEP_FDS | (low_ports ? C_LOW_PORTS : 0) | (pktinfo ? C_PKTINFO : 0);
	c->src.ready = READY_OUT;
	lane->open++;
	c->src.flags |= C_COUNTED;
	r = source_watch(l, &c->src, WATCH_DGRAM);
	if (r < 0) {
		conn_end(l, c, r);
		return r;
	}
	*ret_id = c->src.id;
	sess_open(&c->s, NULL);
	sess_mark(&c->s);
	loop_effects(l);
	return 0;
}

static int add_bare(struct loop *l, struct lane *lane, bool shard, struct blob *arg, sess_id *ret_id)
{
	struct sess_birth b = {
		.proto = lane->svc->proto, .lane = lane, .shard = shard, .dgram = true, .lasting = shard
	};
	struct conn *c = conn_new(l, SRC_BARE, &b);

	if (!c)
		return -ENOMEM;
	if (shard)
		lane->shard = c->s.self;
	*ret_id = c->src.id;
	sess_open(&c->s, arg);
	sess_mark(&c->s);
	loop_effects(l);
	return 0;
}

int loop_add_shard(struct loop *l, struct lane *lane)
{
	return add_bare(l, lane, true, NULL, &lane->shard_id);
}

int loop_add_bare(struct loop *l, struct lane *lane, struct blob *arg, sess_id *ret_id)
{
	return add_bare(l, lane, false, arg, ret_id);
}

void loop_end(struct loop *l, sess_id id)
{
	struct conn *c = loop_find_conn(l, id);

	if (c)
		conn_end(l, c, 0);
	loop_effects(l);
}

void lane_retire(struct lane *lane)
{
	lane->retired = true;
	if (lane->open == 0)
		lane->released(lane);
}
