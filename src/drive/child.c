/*
 * child.c - connections that a session asked for: to dial out (each address of a name in turn), to listen for one
 * connection, a datagram socket of its own, our standard input and output. With a protocol it is a child session,
 * without one a channel whose events come to the parent's step.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "base/blob.h"
#include "base/mem.h"
#include "base/peer.h"
#include "drive/exec.h"
#include "drive/net/fifo.h"
#include "drive/net/netaddr.h"
#include "drive/sys.h"

enum { OPEN_BY = 30 }; /* seconds, when the protocol named no deadline */

void dial_free(struct dial **dp)
{
	struct dial *d = *dp;

	if (!d)
		return;
	if (d->layer && d->layer->drop_arg)
		d->layer->drop_arg(d->layer_arg);
	blob_unref(d->arg);
	fifo_dial_free(&d->fifo);
	mem_free(d->v);
	mem_free(d);
	*dp = NULL;
}

/* Never inside the parent's step: it sees EV_GONE like every other end. */
void child_failed(struct loop *l, struct conn *c, int err)
{
	conn_end(l, c, err);
}

static void open_child(struct conn *c, struct blob *arg)
{
	c->state = CONN_SERVING;
	c->opened = c->s.host->now;
	c->s.active = c->s.host->now;
	sess_open(&c->s, arg);
	sess_mark(&c->s);
}

/* ---- dialling ---- */

static void set_names(struct conn *c, const struct netaddr *to)
{
	struct netaddr me = { .n = sizeof(me.st) };

	peer_unref(c->s.peer);
	c->s.peer = netaddr_peer(&to->sa, to->n);
	if (sys_getsockname(c->src.fd, &me.sa, &me.n) == 0) {
		peer_unref(c->s.local);
		c->s.local = netaddr_peer(&me.sa, me.n);
	}
}

void child_connected(struct loop *l, struct conn *c)
{
	struct dial *d = c->kin->dial;
	const struct layer *layer = d->layer;
	struct blob *arg = blob_ref(d->arg);
	int r = 0;

	d->layer = NULL;
	c->src.ready |= READY_OUT;
	if (layer)
		r = sess_push_layer(&c->s, layer, d->layer_arg);
	sess_open_by(&c->s, c->kin->deadline);
	dial_free(&c->kin->dial);
	if (r < 0)
		child_failed(l, c, r);
	else
		open_child(c, arg);
	blob_unref(arg);
}

static void connected(struct loop *l, struct conn *c)
{
	int one = 1;

	set_names(c, &c->kin->dial->v[c->kin->dial->at]);
	/* whatever `nodelay` says, which is for clients: what is passed on has waited already */
	(void)!sys_setsockopt(c->src.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	child_connected(l, c);
}

static void dial_next(struct loop *l, struct conn *c);

void child_due(struct loop *l, struct conn *c)
{
	if (named_is(c))
		named_look(l, c);
	else
		child_try_failed(l, c, -ETIMEDOUT);
}

void child_try_failed(struct loop *l, struct conn *c, int err)
{
	l->poller->ops->del(l->poller, c->src.fd);
	fd_close(&c->src.fd);
	c->wfd = -1;
	c->kin->dial->err = err;
	c->kin->dial->at++;
	dial_next(l, c);
}

/* One address that does not answer must leave time for the others. */
static nsec share_of(nsec deadline, nsec now, unsigned left)
{
	return deadline > now ? now + (deadline - now) / left : now;
}

/* Whoever sends datagrams over unix sockets gets answers only at a name of its own; the system picks one. */
static int bind_for_answers(int fd, const struct netaddr *to)
{
	const struct sockaddr any = { .sa_family = AF_UNIX };

	if (to->sa.sa_family != AF_UNIX || to->type != SOCK_DGRAM)
		return 0;
	return sys_bind(fd, &any, sizeof(any.sa_family));
}

static void dial_next(struct loop *l, struct conn *c)
{
	struct dial *d = c->kin->dial;

	if (d->at >= d->n) {
		child_failed(l, c, d->err ? d->err : -EADDRNOTAVAIL);
		return;
	}

	const struct netaddr *a = &d->v[d->at];

	c->state = CONN_CONNECTING;
	d->try_by = share_of(c->kin->deadline, l->host.now, d->n - d->at);
	c->src.ready = 0;
	c->src.fd = c->wfd = sys_socket(a->sa.sa_family, a->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	c->src.flags |= C_SOCKET | (a->type == SOCK_SEQPACKET ? C_RECORDS : 0);
	if (c->src.fd < 0 || bind_for_answers(c->src.fd, a) < 0) {
		child_try_failed(l, c, -errno);
		return;
	}
	if (sys_connect(c->src.fd, &a->sa, a->n) < 0 && errno != EINPROGRESS && errno != EINTR) {
		child_try_failed(l, c, -errno);
		return;
	}

	int r = source_watch(l, &c->src, WATCH_EDGE);

	if (r < 0)
		child_try_failed(l, c, r);
	else
		conn_arm(l, c);
}

static void connecting_ready(struct loop *l, struct conn *c)
{
	int err = 0;
	socklen_t n = sizeof(err);

	if (!(c->src.ready & (READY_OUT | READY_HUP | READY_ERR)))
		return;
	if (getsockopt(c->src.fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0)
		err = errno;
	if (err == 0) {
		struct netaddr peer = { .n = sizeof(peer.st) };

		/* an edge from before the connection was made says nothing */
		if (getpeername(c->src.fd, &peer.sa, &peer.n) < 0) {
			if (errno == ENOTCONN && !(c->src.ready & (READY_HUP | READY_ERR)))
				return;
			err = errno;
		}
	}
	if (err)
		child_try_failed(l, c, -err);
	else
		connected(l, c);
}

/* ---- names ---- */

static void lookup_run(struct job *j)
{
	struct lookup *k = (struct lookup *)j;

	j->err = netaddr_resolve(&k->addr, FAMILY_ANY, false, &k->v, &k->n, NULL);
}

static void lookup_drop(struct job *j)
{
	mem_free(((struct lookup *)j)->v);
	mem_free(j);
}

void child_resolved(struct loop *l, struct conn *c, struct job *job)
{
	struct lookup *k = (struct lookup *)job;
	struct dial *d = c->kin->dial;

	d->lookup = NULL;
	if (job->err < 0) {
		child_failed(l, c, job->err);
		return;
	}
	d->v = k->v;
	d->n = k->n;
	k->v = NULL;
	dial_next(l, c);
}

/* At the end of a connection nobody wants to know any more: it must not keep others waiting who do. */
void child_forget_lookup(struct loop *l, struct conn *c)
{
	struct dial *d = c->kin ? c->kin->dial : NULL;

	if (!d || !d->lookup)
		return;
	jobs_cancel(l->setup.jobs, d->lookup);
	d->lookup = NULL;
}

static int start_lookup(struct loop *l, struct conn *c)
{
	struct lookup *k = mem_zalloc(sizeof(*k));
	struct task *t;
	int r;

	if (!k)
		return -ENOMEM;
	k->job = (struct job){ .run = lookup_run, .drop = lookup_drop, .waits = true, .owner = c->src.id };
	k->addr = c->kin->dial->addr;
	c->state = CONN_RESOLVING;
	if (l->setup.jobs && l->inbox && !netaddr_is_numeric(&k->addr)) {
		r = jobs_submit(l->setup.jobs, &k->job, l->inbox, &t);
	} else {
		r = jobs_run_inline(&k->job, &t);
		if (r == 0)
			loop_ran(l, t);
	}
	if (r < 0) {
		lookup_drop(&k->job);
		return r;
	}
	list_add(&l->tasks, &t->in_loop);
	if (t->answer)
		c->kin->dial->lookup = t;
	return 0;
}

static int start_connect(struct loop *l, struct conn *c, struct fx_child *f)
{
	struct dial *d = mem_zalloc(sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	c->kin->dial = d;
	r = f->c.address ? addr_parse(f->c.address, &d->addr, NULL) : -EINVAL;
	if (r < 0)
		return r;
	if (addr_is_secure(&d->addr) && !f->c.layer)
		return -EPROTONOSUPPORT; /* whom to trust is the asker's to say */
	d->layer = f->c.layer;
	d->layer_arg = f->c.layer_arg;
	f->c.layer = NULL;
	d->arg = blob_ref(f->c.arg);
	return named_is(c) ? named_start(l, c) : start_lookup(l, c);
}

/* ---- listening for one connection ---- */

static void tell_bound(struct conn *c)
{
	struct kin *k = c->kin;
	struct ev ev = { .kind = EV_BOUND, .tag = k->tag };

	ev.chan = c->s.proto ? 0 : k->tag;
	ev.bound.addr = c->s.local;
	ev.bound.id = c->src.id;
	if (k->parent) {
		sess_answer(&k->parent->s, &ev, k->epoch);
		sess_mark(&k->parent->s);
	}
}

void child_opened(struct conn *c, struct blob *arg)
{
	tell_bound(c);
	open_child(c, arg);
}

static int bind_to(struct conn *c, const struct netaddr *a, int type)
{
	c->src.fd = c->wfd = sys_socket(a->sa.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	c->src.flags |= C_SOCKET;
	return c->src.fd < 0 || sys_bind(c->src.fd, &a->sa, a->n) < 0 ? -errno : 0;
}

static int bind_like(struct conn *c, const struct peer *local, int type)
{
	struct netaddr a;

	if (!netaddr_of_peer(local, &a) || (a.sa.sa_family != AF_INET && a.sa.sa_family != AF_INET6))
		return -EAFNOSUPPORT;
	netaddr_set_port(&a, 0);
	return bind_to(c, &a, type);
}

static int name_local(struct conn *c)
{
	struct netaddr me = { .n = sizeof(me.st) };

	if (sys_getsockname(c->src.fd, &me.sa, &me.n) < 0)
		return -errno;
	peer_unref(c->s.local);
	c->s.local = netaddr_peer(&me.sa, me.n);
	return c->s.local ? 0 : -ENOMEM;
}

static int start_listen(struct loop *l, struct conn *c, const struct sess *parent, struct fx_child *f)
{
	int r = bind_like(c, parent->local, SOCK_STREAM);

	c->kin->only = peer_ref(f->c.only);
	c->kin->arg = blob_ref(f->c.arg);
	if (r == 0)
		r = name_local(c);
	if (r == 0 && sys_listen(c->src.fd, 1) < 0)
		r = -errno;
	c->state = CONN_LISTENING;
	if (r == 0)
		r = source_watch(l, &c->src, WATCH_LEVEL);
	if (r == 0)
		tell_bound(c);
	return r;
}

static void listening_ready(struct loop *l, struct conn *c)
{
	struct netaddr from = { .n = sizeof(from.st) };
	int fd = sys_accept4(c->src.fd, &from.sa, &from.n, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct peer *peer;

	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			child_failed(l, c, -errno);
		return;
	}
	peer = netaddr_peer(&from.sa, from.n);
	if (!peer || (c->kin->only && !peer_same_host(peer, c->kin->only))) {
		peer_unref(peer);
		close(fd); /* somebody else: it goes on waiting for the right one */
		return;
	}
	l->poller->ops->del(l->poller, c->src.fd);
	fd_close(&c->src.fd);
	c->src.fd = c->wfd = fd;
	c->src.ready = READY_OUT;
	peer_unref(c->s.peer);
	c->s.peer = peer;

	int r = source_watch(l, &c->src, WATCH_EDGE);

	if (r < 0)
		child_failed(l, c, r);
	else
		open_child(c, c->kin->arg);
}

/* ---- datagrams, standard input and output ---- */

/* Our side of a route, in the family that its socket speaks; false: the kernel did not say which address it is. */
static bool near_side(const struct route *r, const struct netaddr *far, struct netaddr *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&ret->st;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->st;
	size_t v4 = far->sa.sa_family == AF_INET6 && r->local_n == 4 ? 12 : 0; /* mapped into IPv6 */

	*ret = (struct netaddr){ .n = far->n, .type = SOCK_DGRAM };
	ret->sa.sa_family = far->sa.sa_family;
	if (far->sa.sa_family == AF_INET && r->local_n == 4) {
		memcpy(&in->sin_addr, r->local, 4);
		return true;
	}
	if (far->sa.sa_family != AF_INET6 || r->local_n == 0)
		return false;
	if (v4)
		memset(&in6->sin6_addr.s6_addr[10], 0xff, 2);
	memcpy(&in6->sin6_addr.s6_addr[v4], r->local, r->local_n);
	if (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr))
		in6->sin6_scope_id = r->ifindex;
	return true;
}

/* To a unix socket that has a name; ours is one that the system picks. */
static int connect_name(struct conn *c, const struct peer *name)
{
	struct netaddr far;
	int r;

	if (!netaddr_of_peer(name, &far) || far.sa.sa_family != AF_UNIX)
		return -EDESTADDRREQ;
	far.type = SOCK_DGRAM;
	c->src.fd = c->wfd = sys_socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	c->src.flags |= C_SOCKET;
	if (c->src.fd < 0)
		return -errno;
	r = bind_for_answers(c->src.fd, &far);
	if (r == 0)
		r = sys_connect(c->src.fd, &far.sa, far.n);
	return r < 0 ? -errno : 0;
}

/* From the address that the route came to, to where it came from and nowhere else: whoever is heard is proven. */
static int connect_route(struct conn *c, const struct peer *local, const struct route *route)
{
	struct netaddr far = { .n = route->n, .type = SOCK_DGRAM }, near;
	int r;

	if (route->name)
		return connect_name(c, route->name);
	if (route->n < sizeof(far.sa.sa_family) || route->n > sizeof(route->sa))
		return -EDESTADDRREQ;
	memcpy(&far.st, route->sa, route->n);
	if (near_side(route, &far, &near))
		r = bind_to(c, &near, SOCK_DGRAM);
	else
		r = bind_like(c, local, SOCK_DGRAM);
	if (r == 0 && sys_connect(c->src.fd, &far.sa, far.n) < 0)
		r = -errno;
	return r;
}

static int start_dgram(struct loop *l, struct conn *c, const struct sess *parent, struct fx_child *f)
{
	int r = f->c.route ? connect_route(c, parent->local, &f->route) : -EDESTADDRREQ;

	if (r == 0)
		r = name_local(c);
	if (r == 0)
		r = source_watch(l, &c->src, WATCH_DGRAM);
	if (r < 0)
		return r;
	c->src.ready = READY_OUT;
	tell_bound(c);
	open_child(c, f->c.arg);
	return 0;
}

static int start_stdio(struct loop *l, struct conn *c, struct fx_child *f)
{
	if (l->poller->ops->edges)
		return -EOPNOTSUPP; /* they would have to be made non-blocking, for whoever shares them too */
	c->src.fd = STDIN_FILENO;
	c->wfd = STDOUT_FILENO;
	c->src.flags |= C_KEEP_FDS | C_BLOCKING;
	c->src.ready = READY_OUT;
	open_child(c, f->c.arg);
	return 0;
}

/* ---- all of them ---- */

static struct conn *new_child(struct loop *l, struct conn *p, const struct fx *f)
{
	const struct child *want = &f->child->c;
	bool dgram = fx_child_dgram(f->child);
	struct sess_birth b = {
		.proto = want->proto,
		.lane = p->s.lane,
		.parent = p->src.id,
		.owner = want->proto ? NULL : &p->s,
		.tag = f->tag,
		.dgram = dgram,
	};
	struct conn *c = conn_new(l, dgram ? SRC_DGRAM : SRC_CONN, &b);

	if (!c)
		return NULL;
	if (!conn_kin(p) || !conn_kin(c)) {
		conn_end(l, c, -ENOMEM);
		return NULL;
	}
	c->kin->parent = p;
	c->kin->tag = f->tag;
	c->kin->epoch = f->epoch;
	c->kin->deadline = want->deadline ? want->deadline : l->host.now + OPEN_BY * SEC;
	list_add(&p->kin->kids, &c->kin->sib);
	return c;
}

void child_start(struct loop *l, struct sess *parent, struct fx *f)
{
	struct fx_child *want = f->child;
	struct conn *c = new_child(l, conn_of(parent), f);
	int r = -ENOMEM;

	if (!c) {
		struct ev ev = { .kind = EV_GONE, .tag = f->tag, .err = -ENOMEM };

		ev.chan = want->c.proto ? 0 : f->tag;
		sess_answer(parent, &ev, f->epoch);
		sess_mark(parent);
		fx_child_free(&f->child);
		return;
	}
	switch (want->c.kind) {
	case CHILD_CONNECT:
		r = start_connect(l, c, want);
		break;
	case CHILD_LISTEN:
		r = start_listen(l, c, parent, want);
		break;
	case CHILD_DGRAM:
		r = start_dgram(l, c, parent, want);
		break;
	case CHILD_STDIO:
		r = start_stdio(l, c, want);
		break;
	case CHILD_EXEC:
		r = exec_start(l, c, conn_of(parent), want);
		break;
	}
	if (r < 0)
		child_failed(l, c, r);
	else if (c->state != CONN_DEAD)
		conn_arm(l, c);
	fx_child_free(&f->child);
}

void child_ready(struct loop *l, struct conn *c)
{
	if (c->state == CONN_CONNECTING && named_is(c))
		named_look(l, c);
	else if (c->state == CONN_CONNECTING)
		connecting_ready(l, c);
	else
		listening_ready(l, c);
}
