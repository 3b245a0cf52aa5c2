/*
 * adopt.c - how a session comes into a loop: with a connection, with a datagram socket, or with neither (a shard, a
 * client); and how one that has no end of its own is ended.
 */
#include <errno.h>

#include "base/peer.h"
#include "core/stats.h"
#include "drive/loop_priv.h"
#include "drive/sys.h"
#include "layer/proxy.h"
#include "layer/ws.h"

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
	if (a->layer && a->layer->drop_arg)
		a->layer->drop_arg(a->layer_arg);
	stat_add(a->lane, STAT_REFUSED_MEMORY, 1);
	loop_refuse(a->lane, &(struct arrival){ a->fd, a->wfd, a->peer, a->ticket }, "out-of-memory");
}

/* From the wire up: the PROXY header comes before all else. 0, or the session is aborted. */
static int push_layers(struct conn *c, const struct adopt *a)
{
	int r = a->proxy ? sess_push_layer(&c->s, &proxy_layer, NULL) : 0;

	if (r == 0 && a->layer)
		r = sess_push_layer(&c->s, a->layer, a->layer_arg);
	else if (a->layer && a->layer->drop_arg)
		a->layer->drop_arg(a->layer_arg);
	if (r == 0 && a->ws)
		r = sess_push_layer(&c->s, &ws_server_layer, ws_ctx_ref(a->ws));
	return r;
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
	c->ticket = a->ticket;
	c->wfd = a->wfd < 0 ? a->fd : a->wfd;
	c->src.flags |= (a->socket ? C_SOCKET : 0) | (a->vital ? C_VITAL : 0) | (a->records ? C_RECORDS : 0) |
			(a->blocking ? C_BLOCKING : 0);
	c->src.ready = READY_OUT; /* a new socket has room; input is the poller's to tell */
	count_in(l, c);
	r = conn_watch(l, c, WATCH_EDGE);
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
	if (push_layers(c, a) == 0)
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
	c->src.flags |= local->kind == PEER_NAME ? C_QUEUE : C_SOCKET;
	c->src.flags |= C_KEEP_FDS | (low_ports ? C_LOW_PORTS : 0) | (pktinfo ? C_PKTINFO : 0);
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

void loop_say(struct loop *l, sess_id id, enum ev_kind kind)
{
	struct conn *c = loop_find_conn(l, id);

	if (!c)
		return;
	sess_event(&c->s, &(struct ev){ .kind = kind });
	sess_mark(&c->s);
	loop_effects(l);
}
