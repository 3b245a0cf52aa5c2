/*
 * dgram.c - datagrams in batches: recvmmsg, a step each, sendmmsg. Before a step: the datagrams that a server of small
 * services must not answer. Before sending: what an address that nobody has proven may be sent (net/guard.h).
 */
#include <errno.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "core/stats.h"
#include "drive/admit.h"
#include "drive/loop_priv.h"
#include "drive/net/guard.h"
#include "drive/sys.h"

enum {
	BATCH = HEAD_DGRAMS,
	SIZE = 65536,           /* the largest datagram there is */
	STRIDE = SIZE + 3 * 64, /* a power of two would put the start of every buffer into the same few cache lines */
	READS = 4,
	CROWD = 8,  /* datagrams at once that make leaving the poller for a moment worth two system calls */
	TRIES = 10, /* a millisecond apart, to send to another process that has no room */
	/* to a socket of both families an IPv4 datagram comes with both */
	CONTROL = CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo)),
};

/* Of a loop that has a datagram socket; pages of `bytes` that nothing was read into are never touched. */
struct dgram_io {
	uint8_t *bytes; /* BATCH * STRIDE */
	struct mmsghdr in[BATCH], out[BATCH];
	struct iovec in_v[BATCH], out_v[BATCH];
	struct sockaddr_storage from[BATCH];
	struct sockaddr_un to[BATCH];
	struct who who;          /* of the sender */
	const struct peer *deaf; /* the last one that had no room for what was sent to it, until it has */
	_Alignas(8) uint8_t control[BATCH][CONTROL];
};

static struct dgram_io *get_io(struct loop *l)
{
	struct dgram_io *d = l->dg;

	if (d)
		return d;
	d = mem_zalloc(sizeof(*d));
	if (!d)
		return NULL;
	d->bytes = mmap(NULL, (size_t)BATCH * STRIDE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (d->bytes == MAP_FAILED) {
		mem_free(d);
		return NULL;
	}
	for (int i = 0; i < BATCH; i++) {
		d->in_v[i] = (struct iovec){ d->bytes + (size_t)i * STRIDE, SIZE };
		d->in[i].msg_hdr.msg_iov = &d->in_v[i];
		d->in[i].msg_hdr.msg_iovlen = 1;
		d->in[i].msg_hdr.msg_name = &d->from[i];
		d->out[i].msg_hdr.msg_iov = &d->out_v[i];
		d->out[i].msg_hdr.msg_iovlen = 1;
	}
	l->dg = d;
	return d;
}

void dgram_free(struct dgram_io **dp)
{
	if (!*dp)
		return;
	munmap((*dp)->bytes, (size_t)BATCH * STRIDE);
	peer_unref((*dp)->deaf);
	mem_free(*dp);
	*dp = NULL;
}

static void want_out(struct loop *l, struct conn *c, bool on);

/* ---- in ---- */

/*
 * For IPv4 the kernel tells which of our addresses it would answer from, and that is not where the datagram went when it
 * went to many, be it to all hosts, to those of a subnet or to a group.
 */
static void read_local(struct msghdr *m, struct route *r, bool *broadcast)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memcpy(r->local, &info.ipi_spec_dst, 4);
			r->local_n = 4;
			r->ifindex = (uint32_t)info.ipi_ifindex;
			*broadcast |= info.ipi_addr.s_addr != info.ipi_spec_dst.s_addr;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memcpy(r->local, &info.ipi6_addr, 16);
			r->local_n = 16;
			r->ifindex = info.ipi6_ifindex;
			*broadcast |= info.ipi6_addr.s6_addr[0] == 0xff;
		}
	}
}

/* Must this datagram be met with silence? Counts why. */
static bool unwelcome(const struct conn *c, const struct route *r, bool broadcast)
{
	bool small = c->s.proto && c->s.proto->flags & P_SMALL; /* a channel has no protocol */
	const struct lane *lane = c->s.lane;

	if (small && !(c->src.flags & C_LOW_PORTS) && guard_port(r) < 1024 && guard_port(r) >= 0) {
		stat_add(lane, STAT_DROP_LOW_PORT, 1);
		return true;
	}
	if (guard_is_self(r, c->s.local) || (small && guard_is_ours(r, c->s.local))) {
		stat_add(lane, STAT_DROP_SELF, 1);
		return true;
	}
	if (small && broadcast) {
		stat_add(lane, STAT_DROP_BROADCAST, 1);
		return true;
	}
	return admit_is_penalised(lane, r, c->s.host->now);
}

/* ---- in, from unix sockets: nobody can forge a name there, and the system says who it is ---- */

static bool is_unix(const struct conn *c)
{
	return c->s.local && c->s.local->kind == PEER_UNIX;
}

static const struct who *read_who(struct msghdr *m, struct who *ret)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		struct ucred cred;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS)
			continue;
		memcpy(&cred, CMSG_DATA(c), sizeof(cred));
		*ret = (struct who){ .how = WHO_UNIX, .uid = cred.uid, .gid = cred.gid, .pid = cred.pid };
		return ret;
	}
	return NULL;
}

static void feed(struct conn *c, const struct dgram_in *d)
{
	if (d->who)
		sess_set_who(&c->s, d->who);
	sess_dgram(&c->s, d->data, d->route);
	if (d->who)
		sess_set_who(&c->s, NULL);
}

void loop_feed(struct loop *l, sess_id id, const struct dgram_in *d)
{
	struct conn *c = loop_find_conn(l, id);

	if (!c)
		return;
	l->host.serving = &c->s;
	feed(c, d);
	sess_mark(&c->s);
	loop_effects(l);
}

/* A child's socket is its own: its datagrams are answered here in any case. */
static void give(struct loop *l, struct conn *c, const struct mmsghdr *m, const struct route *r, const struct who *who)
{
	struct dgram_in d = {
		.to = c->src.id,
		.lane = c->s.lane,
		.data = { m->msg_hdr.msg_iov->iov_base, m->msg_len },
		.route = r,
		.who = who,
	};

	if (l->setup.dgram && c->src.flags & C_KEEP_FDS)
		l->setup.dgram(l, &d);
	else
		feed(c, &d);
}

static void one_in_unix(struct loop *l, struct conn *c, struct mmsghdr *m)
{
	bool named = m->msg_hdr.msg_namelen > sizeof(sa_family_t);
	struct peer *from = named ? netaddr_peer(m->msg_hdr.msg_name, m->msg_hdr.msg_namelen)
				  : peer_new(PEER_UNIX, "", 0, 0, 0);
	struct route r = { .proven = true, .name = from };
	const struct who *who = read_who(&m->msg_hdr, &l->dg->who);

	if (!from) {
		stat_add(c->s.lane, STAT_REFUSED_MEMORY, 1);
		return;
	}
	give(l, c, m, &r, who);
	peer_unref(from);
}

/* ---- in ---- */

static void one_in(struct loop *l, struct conn *c, struct mmsghdr *m)
{
	struct route r = {};
	bool broadcast = false;

	if (m->msg_hdr.msg_namelen <= sizeof(r.sa)) {
		memcpy(r.sa, m->msg_hdr.msg_name, m->msg_hdr.msg_namelen);
		r.n = (uint8_t)m->msg_hdr.msg_namelen;
	}
	if (c->src.flags & C_PKTINFO)
		read_local(&m->msg_hdr, &r, &broadcast);
	/* a child's socket is connected: the peer answered from there */
	r.proven = guard_is_loopback(&r) || !(c->src.flags & C_KEEP_FDS);
	if (unwelcome(c, &r, broadcast))
		return;
	give(l, c, m, r.n ? &r : NULL, NULL);
}

static int receive(struct loop *l, struct conn *c)
{
	struct dgram_io *d = l->dg;
	/* no byte more than credentials have: descriptors that somebody sends along would be ours to close */
	size_t room = is_unix(c) ? CMSG_SPACE(sizeof(struct ucred)) : c->src.flags & C_PKTINFO ? CONTROL : 0;

	for (int i = 0; i < BATCH; i++) {
		d->in[i].msg_hdr.msg_namelen = sizeof(d->from[i]);
		d->in[i].msg_hdr.msg_control = room ? d->control[i] : NULL;
		d->in[i].msg_hdr.msg_controllen = room;
	}

	int n = sys_recvmmsg(c->src.fd, d->in, BATCH, MSG_DONTWAIT), err = errno;

	if (c->src.flags & C_TOLD && l->setup.taken)
		l->setup.taken(l->setup.taken_arg);
	errno = err;
	return n;
}

/* Reads and answers until there is no more for now, or the others must have their turn. */
static void read_all(struct loop *l, struct conn *c, bool *off)
{
	struct dgram_io *d = l->dg;

	for (int k = 0; k < READS && !(k && c->src.flags & C_TOLD); k++) {
		int n = receive(l, c);

		if (n >= CROWD && !*off) {
			l->poller->ops->del(l->poller, c->src.fd);
			*off = true;
		}

		for (int i = 0; i < n && c->state == CONN_SERVING; i++) {
			if (is_unix(c))
				one_in_unix(l, c, &d->in[i]);
			else
				one_in(l, c, &d->in[i]);
		}
		if (n < BATCH) {
			/* an error that an earlier answer met (ICMP) is no reason to stop */
			if (n >= 0 || errno == EAGAIN || errno == EWOULDBLOCK) {
				c->src.ready &= (uint8_t)~READY_IN;
				return;
			}
			if (!(c->src.flags & C_KEEP_FDS) && errno == ECONNREFUSED) {
				sess_broken(&c->s, -errno);
				return;
			}
		}
		dgram_flush(l, c);
	}
}

/*
 * While many are handled the socket is not watched: the kernel would call the poller for each datagram that comes and for
 * each that has left, which is most of what a poller costs here.
 */
void dgram_read(struct loop *l, struct conn *c)
{
	bool off = c->src.flags & C_UNWATCHED;

	if (c->src.flags & C_QUEUE) {
		queues_read(l, c);
		return;
	}
	if (!get_io(l))
		return;
	read_all(l, c, &off);
	if (c->src.flags & C_TOLD)
		c->src.ready &= (uint8_t)~READY_IN; /* whoever tells tells again */
	if (!off)
		return;
	dgram_flush(l, c);

	int r = l->poller->ops->add(l->poller, c->src.fd, c->src.id, WATCH_DGRAM); /* tells of what came meanwhile */

	if (r < 0)
		c->src.ready |= READY_IN; /* memory is out: looked at in each turn until it can be watched again */
	else
		c->src.ready &= (uint8_t)~READY_IN;
	c->src.flags = (uint16_t)(r < 0 ? c->src.flags | C_UNWATCHED : c->src.flags & ~C_UNWATCHED);
	if (r == 0 && c->src.flags & C_WANT_OUT)
		want_out(l, c, true);
}

/* ---- out ---- */

static void write_local(struct msghdr *m, const struct route *r, uint8_t *control)
{
	struct cmsghdr *c = (struct cmsghdr *)(void *)control;

	m->msg_control = control;
	if (r->local_n == 4) {
		struct in_pktinfo info = {};

		memcpy(&info.ipi_spec_dst, r->local, 4);
		*c = (struct cmsghdr){ CMSG_LEN(sizeof(info)), IPPROTO_IP, IP_PKTINFO };
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		m->msg_controllen = CMSG_SPACE(sizeof(info));
	} else {
		struct in6_pktinfo info = { .ipi6_ifindex = r->ifindex };

		memcpy(&info.ipi6_addr, r->local, 16);
		*c = (struct cmsghdr){ CMSG_LEN(sizeof(info)), IPPROTO_IPV6, IPV6_PKTINFO };
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		m->msg_controllen = CMSG_SPACE(sizeof(info));
	}
}

enum may { MAY, TOO_LONG, TOO_OFTEN, NO_NAME };

/* Takes a token. */
static enum may may_send(struct loop *l, const struct rec_dgram *dg)
{
	const struct loop_tuning *t = &l->setup.tuning;

	if (dg->routed && dg->route.name && dg->route.name->n == 0)
		return NO_NAME;
	if (!dg->routed || dg->route.proven)
		return MAY;
	if (dg->data.n > t->dgram_reply && t->dgram_reply)
		return TOO_LONG;
	if (!l->setup.guard || !guard_allow(l->setup.guard, &dg->route, l->host.now, t->dgram_rate))
		return TOO_OFTEN;
	return MAY;
}

static void drop_head(struct conn *c, enum counter why)
{
	stat_add(c->s.lane, why, 1);
	sess_drop_dgram(&c->s);
}

static void fill_out(struct dgram_io *d, unsigned i, struct rec_dgram *dg)
{
	struct msghdr *m = &d->out[i].msg_hdr;
	struct netaddr to;

	d->out_v[i] = (struct iovec){ (void *)(uintptr_t)dg->data.p, dg->data.n };
	m->msg_name = dg->routed ? dg->route.sa : NULL;
	m->msg_namelen = dg->routed ? dg->route.n : 0;
	if (dg->routed && netaddr_of_peer(dg->route.name, &to) && to.n <= sizeof(d->to[i])) {
		memcpy(&d->to[i], &to.un, to.n);
		m->msg_name = &d->to[i];
		m->msg_namelen = to.n;
	}
	m->msg_control = NULL;
	m->msg_controllen = 0;
	if (dg->routed && dg->route.local_n)
		write_local(m, &dg->route, d->control[i]);
}

/* Prepares what may be sent from the head on; what the socket did not take before has had its tokens then. */
static unsigned prepare(struct loop *l, struct conn *c, struct head *h)
{
	static const enum counter why[] = {
		[TOO_LONG] = STAT_DROP_SIZE, [TOO_OFTEN] = STAT_DROP_RATE, [NO_NAME] = STAT_DROP_UNNAMED
	};
	enum may may = MAY;
	unsigned n;

	for (n = 0; n < h->n; n++) {
		if (n >= c->allowed && (may = may_send(l, &h->dg[n])) != MAY)
			break;
		fill_out(l->dg, n, &h->dg[n]);
	}
	c->allowed = (uint8_t)n;
	if (n == 0)
		drop_head(c, why[may]);
	return n;
}

static bool is_deaf(const struct dgram_io *d, const struct rec_dgram *dg)
{
	return d->deaf && dg->routed && dg->route.name && peer_same_host(d->deaf, dg->route.name);
}

/* So many from the head on were taken. */
static void has_room(struct dgram_io *d, struct conn *c, const struct head *h, unsigned n)
{
	c->tries = 0;
	for (unsigned i = 0; i < n && d->deaf; i++) {
		if (!is_deaf(d, &h->dg[i]))
			continue;
		peer_unref(d->deaf);
		d->deaf = NULL;
	}
}

/* Sends from the head on, or drops what must not or cannot be sent; -1: the socket is full. */
static int send_head(struct loop *l, struct conn *c, struct head *h)
{
	unsigned n = prepare(l, c, h);
	int sent;

	if (n == 0)
		return 0;
	sent = sys_sendmmsg(c->src.fd, l->dg->out, n, MSG_NOSIGNAL);
	if (sent > 0) {
		has_room(l->dg, c, h, (unsigned)sent);
		c->allowed = (uint8_t)(n - (unsigned)sent);
		sess_wrote(&c->s, (size_t)sent);
		return 0;
	}
	if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)
		return -1;
	if (errno != EINTR) { /* no route, too long, an address that is ours no more */
		c->allowed--;
		drop_head(c, STAT_DROP_UNSENDABLE);
	}
	return 0;
}

static void want_out(struct loop *l, struct conn *c, bool on)
{
	if (l->poller->ops->want_out(l->poller, c->src.fd, c->src.id, on) < 0)
		return; /* the next datagram that comes tries again */
	c->src.flags = (uint16_t)(on ? c->src.flags | C_WANT_OUT : c->src.flags & ~C_WANT_OUT);
}

/*
 * The system tells when our own socket has room, but not when another process's unix socket has: we look again, some times.
 * Then the datagram is lost, and the next ones to the same name as well until it takes one: the others must not wait for it.
 */
static void full(struct loop *l, struct conn *c, const struct rec_dgram *dg)
{
	const struct peer *name = dg->routed ? dg->route.name : NULL;

	if (name && (c->tries == TRIES || is_deaf(l->dg, dg))) {
		c->tries = 0;
		c->allowed--;
		name = peer_ref(name);
		peer_unref(l->dg->deaf);
		l->dg->deaf = name;
		drop_head(c, STAT_DROP_FULL);
		return;
	}
	c->src.ready &= (uint8_t)~READY_OUT;
	if (name) {
		c->tries++;
		c->linger_until = l->host.now + MSEC;
		conn_arm(l, c);
	} else {
		want_out(l, c, true);
	}
}

void dgram_retry(struct conn *c)
{
	if (c->src.kind != SRC_DGRAM || !c->linger_until || c->linger_until > c->s.host->now)
		return;
	c->linger_until = 0;
	c->src.ready |= READY_OUT;
}

void dgram_flush(struct loop *l, struct conn *c)
{
	struct head *h = &l->head;

	if (c->src.flags & C_QUEUE) {
		queues_flush(c, h);
		return;
	}
	if (!get_io(l))
		return;
	for (sess_head(&c->s, h); h->kind == HEAD_DGRAM && c->src.ready & READY_OUT; sess_head(&c->s, h))
		if (send_head(l, c, h) < 0)
			full(l, c, &h->dg[0]);
	if (h->kind == HEAD_NONE && c->src.flags & C_WANT_OUT)
		want_out(l, c, false);
}
