/*
 * queues.c - datagrams by POSIX message queues. A message to a server begins with the name of the queue for its answer; an answer
 * has none. Nobody waits for a queue that is full: what does not fit is dropped and counted, as on a network.
 */
#include <errno.h>

#include "drive/loop_priv.h"
#include "drive/net/queue.h"
#include "drive/sys.h"

enum { BATCH = 64 };

/* ---- in ---- */

/* Is that who we are, or another of our services, which would answer this one for ever? */
static bool is_us(const struct conn *c, const char *name)
{
	bool small = c->s.proto && c->s.proto->flags & P_SMALL;

	return span_is((struct span){ c->s.local->b, c->s.local->n }, name) || (small && queue_is_ours(name));
}

static void one_in(struct conn *c, struct span message)
{
	char name[ADDR_MQ_MAX + 1];
	/* whose queue it is the system knows, and lets us write to it or not: nothing to prove */
	struct route r = { .proven = true };
	struct peer *peer;

	if (c->kin) {
		sess_dgram(&c->s, message, NULL); /* a child's has one sender */
		return;
	}
	if (!queue_split(&message, name)) {
		stat_add(c->s.lane, STAT_DROP_NAME, 1);
		return;
	}
	if (is_us(c, name)) {
		stat_add(c->s.lane, STAT_DROP_SELF, 1);
		return;
	}
	peer = peer_new(PEER_NAME, name, strlen(name), 0, 0);
	if (!peer) {
		stat_add(c->s.lane, STAT_REFUSED_MEMORY, 1);
		return;
	}
	r.name = peer;
	sess_dgram(&c->s, message, &r);
	peer_unref(peer);
}

void queues_read(struct loop *l, struct conn *c)
{
	uint8_t p[QUEUE_MESSAGE];

	(void)l;
	for (int i = 0; i < BATCH && c->state == CONN_SERVING; i++) {
		ssize_t n = sys_mq_receive(c->src.fd, (char *)p, sizeof(p));

		if (n >= 0) {
			one_in(c, (struct span){ p, (size_t)n });
		} else if (errno != EINTR) { /* what else it may be: the next message tells */
			c->src.ready &= (uint8_t)~READY_IN;
			return;
		}
	}
}

/* ---- out ---- */

/* 0 or -errno. */
static int answer(const struct rec_dgram *dg)
{
	char name[ADDR_MQ_MAX + 1];
	const struct peer *to = dg->routed ? dg->route.name : NULL;
	int q, r;

	if (!to || to->n >= sizeof(name))
		return -EDESTADDRREQ;
	memcpy(name, to->b, to->n);
	name[to->n] = '\0';
	q = sys_mq_open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC, 0, NULL);
	if (q < 0)
		return -errno;
	r = sys_mq_send(q, (const char *)dg->data.p, dg->data.n) < 0 ? -errno : 0;
	close(q);
	return r;
}

static int ask(const struct conn *c, const struct rec_dgram *dg)
{
	char message[QUEUE_MESSAGE];
	size_t name = strlen(c->kin->queue);

	if (name + 1 + dg->data.n > sizeof(message))
		return -EMSGSIZE;
	memcpy(message, c->kin->queue, name);
	message[name] = ' ';
	memcpy(message + name + 1, dg->data.p, dg->data.n);
	return sys_mq_send(c->wfd, message, name + 1 + dg->data.n) < 0 ? -errno : 0;
}

void queues_flush(struct conn *c, struct head *h)
{
	for (sess_head(&c->s, h); h->kind == HEAD_DGRAM && c->src.ready & READY_OUT; sess_head(&c->s, h)) {
		int r = c->kin ? ask(c, &h->dg[0]) : answer(&h->dg[0]);

		if (r == -EINTR)
			continue;
		if (r == -EAGAIN && c->kin) { /* a client has one server, and can wait until it has room */
			c->src.ready &= (uint8_t)~READY_OUT;
			return;
		}
		if (r == 0) {
			sess_wrote(&c->s, 1);
			continue;
		}
		stat_add(c->s.lane, r == -EAGAIN ? STAT_DROP_FULL : STAT_DROP_UNSENDABLE, 1);
		sess_drop_dgram(&c->s);
	}
}
