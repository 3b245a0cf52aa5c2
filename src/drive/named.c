/*
 * named.c - children that dial named pipes and message queues: what is there to connect to has a name in the file system or in the
 * kernel, and the way back has to be made first. See docs/design/fifo.md and mq.md.
 */
#include <errno.h>

#include "base/mem.h"
#include "drive/loop_priv.h"
#include "drive/net/fifo.h"
#include "drive/net/queue.h"
#include "drive/sys.h"

#define FIRST_PAUSE (MSEC / 2)
#define LAST_PAUSE (100 * MSEC)

bool named_is(const struct conn *c)
{
	enum addr_transport t = c->kin && c->kin->dial ? c->kin->dial->addr.transport : ADDR_TCP;

	return t == ADDR_FIFO || t == ADDR_MQ;
}

/* Where we went to, and where we are answered. */
static int set_names(struct conn *c, const char *far, const char *near)
{
	peer_unref(c->s.peer);
	peer_unref(c->s.local);
	c->s.peer = peer_new(PEER_NAME, far, strlen(far), 0, 0);
	c->s.local = peer_new(PEER_NAME, near, strlen(near), 0, 0);
	return c->s.peer && c->s.local ? 0 : -ENOMEM;
}

/* ---- named pipes ---- */

static int start_fifo(struct loop *l, struct conn *c)
{
	struct dial *d = c->kin->dial;
	int r = fifo_dial(d->addr.path, &d->fifo, &c->src.fd);

	if (r == 0)
		r = set_names(c, d->addr.path, fifo_dial_name(d->fifo));
	if (r == 0)
		r = source_watch(l, &c->src, WATCH_EDGE);
	if (r < 0)
		return r;
	c->state = CONN_CONNECTING;
	d->pause = FIRST_PAUSE;
	d->try_by = l->host.now + d->pause;
	return 0;
}

void named_look(struct loop *l, struct conn *c)
{
	struct dial *d = c->kin->dial;
	int r = fifo_dial_try(d->fifo, c->src.fd, &c->wfd);

	if (r == 1) {
		r = l->poller->ops->edges ? l->poller->ops->add(l->poller, c->wfd, c->src.id, WATCH_EDGE) : 0;
		if (r == 0) {
			child_connected(l, c);
			return;
		}
	} else if (r == 0 && l->host.now >= c->kin->deadline) {
		r = -ETIMEDOUT;
	}
	if (r < 0) {
		child_failed(l, c, r);
		return;
	}
	if (d->pause < LAST_PAUSE)
		d->pause *= 2;
	d->try_by = l->host.now + d->pause;
	conn_arm(l, c);
}

/* ---- message queues ---- */

static int start_queue(struct loop *l, struct conn *c)
{
	char own[ADDR_MQ_MAX + 1];
	int r = queue_dial(c->kin->dial->addr.path, own, &c->wfd, &c->src.fd);

	if (r < 0)
		return r;
	c->src.flags |= C_QUEUE;
	c->kin->queue = mem_strdup(own);
	if (!c->kin->queue) {
		queue_remove(own);
		return -ENOMEM;
	}
	r = set_names(c, c->kin->dial->addr.path, own);
	if (r == 0)
		r = conn_watch(l, c, WATCH_DGRAM);
	if (r == 0)
		child_connected(l, c);
	return r;
}

int named_start(struct loop *l, struct conn *c)
{
	return c->kin->dial->addr.transport == ADDR_MQ ? start_queue(l, c) : start_fifo(l, c);
}

void named_free(struct conn *c)
{
	if (c->kin->queue)
		queue_remove(c->kin->queue);
	mem_free(c->kin->queue);
	c->kin->queue = NULL;
}
