/* conn.c - a connection from its first descriptor to its last byte: settling, timers, the stages of its end. */
#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/blob.h"
#include "base/mem.h"
#include "base/peer.h"
#include "core/stats.h"
#include "drive/admit.h"
#include "drive/exec.h"
#include "drive/record.h"
#include "drive/sys.h"

#define STOP_LOOK (10 * MSEC) /* between looks whether a peer has the last bytes */

struct conn *conn_new(struct loop *l, enum source_kind kind, const struct sess_birth *b)
{
	size_t self = b->proto ? b->shard ? b->proto->shard_size : b->proto->self_size : 0;
	struct conn *c = mem_zalloc(sizeof(*c) + self);
	struct sess_birth birth = *b;

	if (!c)
		return NULL;
	c->src = (struct source){ .fd = -1, .kind = (uint8_t)kind };
	c->wfd = -1;
	c->opened = l->host.now;
	if (slot_take(l, &c->src) < 0) {
		mem_free(c);
		return NULL;
	}
	birth.id = c->src.id;
	birth.self = c + 1; /* one allocation for both */
	if (sess_init(&c->s, &l->host, &birth) < 0) {
		slot_free(l, &c->src);
		mem_free(c);
		return NULL;
	}
	return c;
}

struct kin *conn_kin(struct conn *c)
{
	if (c->kin)
		return c->kin;
	c->kin = mem_zalloc(sizeof(*c->kin));
	if (!c->kin)
		return NULL;
	c->kin->self = c;
	list_init(&c->kin->kids);
	list_init(&c->kin->sib);
	return c->kin;
}

static void free_kin(struct conn *c)
{
	struct kin *k = c->kin;

	if (!k)
		return;
	assert(list_empty(&k->kids));
	list_del(&k->sib);
	dial_free(&k->dial);
	peer_unref(k->only);
	blob_unref(k->arg);
	record_free(c);
	named_free(c);
	mem_free(k);
	c->kin = NULL;
}

/* ---- timers: a later deadline only overwrites; the heap is put right when it fires ---- */

static nsec earlier(nsec a, nsec b)
{
	return !a || (b && b < a) ? b : a;
}

static nsec deadline_of(const struct conn *c)
{
	if (c->state == CONN_SERVING) {
		nsec at = c->kin && c->kin->flush_by ? c->kin->flush_by : sess_deadline(&c->s);

		return c->src.kind == SRC_DGRAM ? earlier(at, c->linger_until) : at;
	}
	if (c->state == CONN_LINGER)
		return c->s.timer; /* the protocol has none any more */
	if (c->state == CONN_CONNECTING)
		return c->kin->dial->try_by;
	return c->kin ? c->kin->deadline : 0;
}

void conn_arm(struct loop *l, struct conn *c)
{
	nsec at = deadline_of(c);

	if (!at || c->state == CONN_DEAD)
		return;
	if (c->timer.at && l->timers.v[c->timer.at - 1].key <= at)
		return;
	if (heap_set(&l->timers, &c->timer, at) < 0)
		sess_abort(&c->s, "out-of-memory", STAT_MEMORY); /* cannot be: slot_take() made room */
}

void conn_timer(struct loop *l, struct conn *c)
{
	nsec at = deadline_of(c);

	if (!at || at > l->host.now) {
		conn_arm(l, c);
		return;
	}
	switch ((enum conn_state)c->state) {
	case CONN_SERVING:
		if (c->kin && c->kin->flush_by && c->kin->flush_by <= l->host.now) {
			conn_end(l, c, -ETIMEDOUT);
			return;
		}
		dgram_retry(c);
		if (c->src.flags & C_GIVEN)
			handover_touch(l, c);
		sess_timers(&c->s);
		sess_mark(&c->s);
		break;
	case CONN_LINGER:
		conn_linger(l, c);
		break;
	case CONN_CONNECTING:
		child_due(l, c);
		break;
	case CONN_RESOLVING:
	case CONN_LISTENING:
	case CONN_STARTING:
		child_failed(l, c, -ETIMEDOUT);
		break;
	case CONN_DEAD:
		break;
	}
}

/* ---- limits ---- */

void conn_met(struct host *h, struct sess *s)
{
	struct conn *c = conn_of(s);
	const char *reason;

	if (!(c->src.flags & C_COUNTED) || c->src.kind != SRC_CONN || c->ticket)
		return;
	reason = admit_source(s->lane, s->peer, &c->ticket);
	if (!reason)
		return;
	c->refused = true;
	list_entry(h, struct loop, host)->untold = true;
	admit_log(s->lane, s->peer, reason);
	sess_abort(s, reason, STAT_ERRORS);
}

bool conn_login_failed(struct host *h, struct sess *s, struct span user)
{
	list_entry(h, struct loop, host)->untold = true;
	return admit_login_failed(s, user);
}

size_t conn_unsent(struct host *h, struct sess *s)
{
	const struct conn *c = conn_of(s);
	int left;

	(void)h;
	return c->src.flags & C_SOCKET && ioctl(c->wfd, SIOCOUTQ, &left) == 0 && left > 0 ? (size_t)left : 0;
}

/* ---- the end ---- */

static void end_kids(struct loop *l, struct conn *c)
{
	while (c->kin && !list_empty(&c->kin->kids)) {
		struct kin *k = list_entry(c->kin->kids.next, struct kin, sib);

		k->parent = NULL; /* it has nobody to tell */
		conn_end(l, k->self, -ECANCELED);
	}
}

/* A child's end reaches its parent after its last byte. */
static void tell_parent(struct conn *c, int err, const char *why)
{
	struct kin *k = c->kin;
	struct conn *p = k ? k->parent : NULL;
	struct ev ev = { .kind = EV_GONE, .err = err, .why = *why ? why : NULL };

	if (!p)
		return;
	ev.tag = k->tag;
	ev.chan = c->s.proto ? 0 : k->tag;
	exec_tell(c, &ev);
	k->parent = NULL;
	list_del(&k->sib);

	uint32_t epoch = k->epoch;

	sess_answer(&p->s, &ev, epoch);
	sess_mark(&p->s);
}

/* Dropped, not closed: the peer must not take what it has for the whole, and what it does not read must not stay here. */
static void reset(const struct conn *c)
{
	const struct linger now = { .l_onoff = 1 };

	(void)!setsockopt(c->src.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)); /* a unix socket has no reset */
}

static void close_fds(struct loop *l, struct conn *c, bool dropped)
{
	if (c->src.fd < 0)
		return;
	if (dropped && c->src.kind == SRC_CONN && c->src.flags & C_SOCKET)
		reset(c);
	if (c->kin && c->kin->lent)
		handover_close(l, c, dropped);
	if (c->src.flags & C_KEEP_FDS) {
		l->poller->ops->del(l->poller, c->src.fd);
		return;
	}
	if (c->wfd != c->src.fd)
		(void)sys_close(c->wfd);
	(void)sys_close(c->src.fd);
	c->src.fd = c->wfd = -1;
	if (c->src.flags & C_VITAL)
		accept_reserve(); /* it may have been spent on this one */
	accept_retry(l, true);
}

static void leave_lane(struct conn *c)
{
	struct lane *lane = c->s.lane;

	if (!(c->src.flags & C_COUNTED))
		return;
	lane->open--;
	if (c->src.kind != SRC_CONN)
		return;
	stat_add(lane, STAT_CLOSED, 1);
	admit_leave(lane, c->ticket);
	if (lane->left)
		lane->left(lane);
}

void conn_end(struct loop *l, struct conn *c, int err)
{
	struct lane *lane = c->s.lane;
	bool counted = c->src.flags & C_COUNTED, dropped = sess_aborted(&c->s);
	char why[SESS_WHY];

	if (c->state == CONN_DEAD)
		return;
	*why = '\0';
	if (err < 0 && c->s.reason) /* perhaps a layer's own words, and the layer goes before the parent is told */
		snprintf(why, sizeof(why), "%s", c->s.reason);
	end_kids(l, c);
	child_forget_lookup(l, c);
	handover_gone(l, c);
	c->state = CONN_DEAD;
	heap_del(&l->timers, &c->timer);
	connlog_close(c, l->host.now, err);
	if (c->src.kind == SRC_BARE && l->setup.ended && !c->s.lane->shard)
		l->setup.ended(l->setup.ended_arg, c->s.reason, sess_aborted(&c->s));
	sess_done(&c->s);
	close_fds(l, c, dropped);
	tell_parent(c, err, why);
	exec_gone(l, c);
	leave_lane(c);
	if (counted && c->src.kind == SRC_CONN)
		atomic_fetch_sub_explicit(&l->open, 1, memory_order_relaxed);
	free_kin(c);
	slot_free(l, &c->src);
	c->src.kind = SRC_FREE;
	list_add(&l->graveyard, &c->s.dirty); /* effects of this turn still name it */
	if (counted && lane->retired && lane->open == 0)
		lane->released(lane);
}

void conn_bury(struct loop *l)
{
	for (struct list *n; (n = list_pop(&l->graveyard));)
		mem_free(conn_of(list_entry(n, struct sess, dirty)));
}

/* Two pipes of a client. It may open its own for writing only now, and would wait for a reader for ever. */
static bool is_pair(const struct conn *c)
{
	return c->wfd != c->src.fd && !(c->src.flags & (C_SOCKET | C_KEEP_FDS | C_BLOCKING | C_DEAF));
}

/* What the session has left in its channels is sent before it is over; true: something is still on its way. */
static bool kids_flushing(struct loop *l, struct conn *c)
{
	nsec linger = c->s.lane->svc->limits.linger;
	bool some = false;

	if (!c->kin)
		return false;
	for (struct list *n = c->kin->kids.next; n != &c->kin->kids; n = n->next) {
		struct kin *k = list_entry(n, struct kin, sib);

		if (k->self->state != CONN_SERVING || !sess_has_output(&k->self->s) || sess_aborted(&k->self->s))
			continue;
		some = true;
		if (k->flush_by)
			continue;
		k->flush_by = l->host.now + linger;
		sess_close(&k->self->s);
		conn_arm(l, k->self);
	}
	return some;
}

/* All is sent. A close that does not wait for the peer's FIN may destroy the last reply by a reset. */
static void finish(struct loop *l, struct conn *c)
{
	nsec linger = c->s.lane->svc->limits.linger;
	bool alone = stream_alone(c) || !(c->src.flags & C_SOCKET || is_pair(c)) || c->src.kind != SRC_CONN;

	if (kids_flushing(l, c))
		return; /* the last of them marks us again */
	if (alone || !linger || !c->s.proto) {
		conn_end(l, c, sess_end_err(&c->s));
		return;
	}
	c->state = CONN_LINGER;
	c->linger_until = l->host.now + linger;
	conn_linger(l, c);
}

/* Until when to look again whether the peer has the last bytes, while the server stops; else the peer's FIN tells. */
static nsec next_look(const struct loop *l, const struct conn *c)
{
	nsec at = l->host.now + STOP_LOOK;

	return l->stopping && at < c->linger_until ? at : c->linger_until;
}

/* A server that stops has nothing to read from it any more: it waits only until the peer's system has the last byte. */
static bool has_it_all(const struct loop *l, const struct conn *c)
{
	int left;

	if (is_pair(c))
		return l->stopping; /* what is in a pipe outlives us */
	return l->stopping && ioctl(c->src.fd, SIOCOUTQ, &left) == 0 && left == 0;
}

/* The peer has ended; of a command also how is known. */
static bool all_done(struct loop *l, struct conn *c)
{
	if (!stream_drained(c))
		return exec_ended(c);
	if (!(c->src.flags & C_COMMAND) || exec_ended(c))
		return true;
	if (c->src.fd >= 0)
		l->poller->ops->del(l->poller, c->src.fd); /* at its end a pipe is always ready */
	fd_close(&c->src.fd);
	return false;
}

void conn_linger(struct loop *l, struct conn *c)
{
	heap_del(&l->timers, &c->timer);
	if (all_done(l, c) || has_it_all(l, c) || l->host.now >= c->linger_until) {
		conn_end(l, c, 0);
		return;
	}
	c->s.timer = next_look(l, c);
	conn_arm(l, c);
}

/* The channel of a command ends with that, and not because both of its pipes are closed. */
static bool is_over(const struct conn *c)
{
	if (!(c->src.flags & C_COMMAND) || c->s.proto || sess_is_closing(&c->s))
		return sess_finished(&c->s);
	return exec_over(c);
}

void conn_settle(struct loop *l, struct conn *c)
{
	struct sess *s = &c->s;

	l->host.serving = s;
	if (c->state == CONN_DEAD || c->state == CONN_LINGER)
		return;
	if (c->state != CONN_SERVING) { /* a child on its way */
		if (sess_aborted(s))
			conn_end(l, c, -ECANCELED);
		else
			conn_arm(l, c);
		return;
	}
	if (sess_has_mail(s)) {
		sess_deliver(s);
		if (!(c->src.flags & C_GIVEN))
			list_del(&s->dirty); /* what it has asked for by that comes now, and not in a turn more */
	}
	sess_pump(s);
	if (c->src.flags & C_GIVEN) {
		handover_settle(l, c);
	} else if (c->src.kind == SRC_CONN) {
		if (c->src.ready & READY_IN && sess_wants_read(s))
			stream_read(l, c);
		stream_flush(l, c);
		if (c->src.ready & READY_IN && sess_wants_read(s) && !loop_must_wait(l, c))
			sess_mark(s); /* the flush made room: no edge will tell again what is there to read */
	} else if (c->src.kind == SRC_DGRAM) {
		if (c->src.ready & READY_IN)
			dgram_read(l, c); /* no edge will tell again what is there to read */
		dgram_flush(l, c);
		if (c->src.ready & READY_IN)
			sess_mark(s);
	}
	if (!(c->src.flags & C_GIVEN))
		sess_meter(s);
	if (sess_aborted(s))
		conn_end(l, c, sess_end_err(s));
	else if (is_over(c))
		finish(l, c);
	else
		conn_arm(l, c);
}
