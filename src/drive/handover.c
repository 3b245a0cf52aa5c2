/*
 * handover.c - the connection itself as a command's descriptors 0, 1 and 2, and what a loop still does with it meanwhile: nothing
 * but to see that it breaks. Reading, writing and O_NONBLOCK are the command's until the spawner has said that it has ended.
 */
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>

#include "base/mem.h"
#include "core/stats.h"
#include "drive/exec.h"
#include "drive/sys.h"

bool handover_may(struct loop *l, struct conn *p)
{
	if (p->src.kind != SRC_CONN || p->state != CONN_SERVING || p->wfd != p->src.fd || !p->s.proto)
		return false;
	if ((p->src.flags & (C_SOCKET | C_RECORDS | C_KEEP_FDS | C_GIVEN)) != C_SOCKET || p->s.lane->svc->trace)
		return false;
	stream_flush(l, p);
	return sess_is_plain(&p->s);
}

/* Bytes that the connection has moved in both directions; only TCP counts them. */
static void moved(int fd, uint64_t *ret_got, uint64_t *ret_put)
{
	struct tcp_info t = {};
	socklen_t n = sizeof(t);
	bool fin;

	*ret_got = *ret_put = 0;
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &t, &n) < 0 || n < offsetof(struct tcp_info, tcpi_bytes_retrans) + 8)
		return;
	fin = t.tcpi_state == 8 || t.tcpi_state == 9 || t.tcpi_state == 11; /* CLOSE_WAIT, LAST_ACK, CLOSING */
	*ret_got = t.tcpi_bytes_received - (fin && t.tcpi_bytes_received);  /* the kernel counts the FIN too */
	*ret_put = t.tcpi_bytes_sent - t.tcpi_bytes_retrans;
}

int handover_give(struct loop *l, struct conn *p, struct run *k)
{
	int r;

	/* The command has the same description, so nothing but this takes it out of an epoll. */
	l->poller->ops->del(l->poller, p->src.fd);
	r = l->poller->ops->add(l->poller, p->src.fd, p->src.id, WATCH_BREAK);
	if (r < 0) {
		if (source_watch(l, &p->src, WATCH_EDGE) < 0)
			sess_abort(&p->s, "cannot-watch", STAT_MEMORY);
		return r;
	}
	moved(p->src.fd, &k->got, &k->put);
	sess_meter(&p->s); /* nothing waits */
	p->src.flags |= C_GIVEN;
	p->kin->given = k;
	p->kin->lent = true;
	k->gave = p;
	return 0;
}

static void count(struct conn *p, const struct run *k)
{
	uint64_t got, put;

	moved(p->src.fd, &got, &put);
	got = got > k->got ? got - k->got : 0;
	put = put > k->put ? put - k->put : 0;
	p->s.bytes_in += got;
	p->s.bytes_out += put;
	stat_add(p->s.lane, STAT_BYTES_IN, got);
	stat_add(p->s.lane, STAT_BYTES_OUT, put);
}

void handover_forget(struct run *k)
{
	if (!k->gave)
		return;
	count(k->gave, k);
	k->gave->kin->given = NULL;
	k->gave = NULL;
	for (int i = 0; i < 3; i++) /* not asked for yet: these are the connection's own, not copies to be closed */
		k->theirs[i] = -1;
	mem_free(k->words); /* nor can it be asked for any more */
	k->words = NULL;
}

void handover_back(struct loop *l, struct run *k)
{
	struct conn *p = k->gave;
	int flags, r;

	if (!p)
		return;
	handover_forget(k);
	p->src.flags &= (uint16_t)~C_GIVEN;
	p->src.ready = READY_OUT; /* all else is news, told when it is watched again */
	p->s.active = l->host.now;
	l->poller->ops->del(l->poller, p->src.fd);
	flags = fcntl(p->src.fd, F_GETFL);
	r = flags < 0 || fcntl(p->src.fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno
									   : source_watch(l, &p->src, WATCH_EDGE);
	if (r < 0)
		sess_abort(&p->s, "cannot-watch", STAT_MEMORY);
	sess_mark(&p->s);
}

/* Of a command's doings the session sees nothing, but idle is whoever says nothing to the other. */
void handover_touch(const struct loop *l, struct conn *p)
{
	struct tcp_info t = {};
	socklen_t n = sizeof(t);
	nsec ago;

	if (getsockopt(p->src.fd, IPPROTO_TCP, TCP_INFO, &t, &n) < 0) {
		p->s.active = l->host.now; /* a unix socket does not tell */
		return;
	}
	ago = (t.tcpi_last_data_sent < t.tcpi_last_data_recv ? t.tcpi_last_data_sent : t.tcpi_last_data_recv) * MSEC;
	if (ago < l->host.now && l->host.now - ago > p->s.active)
		p->s.active = l->host.now - ago;
}

/* A FIN does not show here (the peer may wait for the answer), only what no answer can follow. */
void handover_ready(struct conn *p, unsigned what)
{
	if (what & (READY_HUP | READY_ERR))
		sess_broken(&p->s, -ECONNRESET);
	sess_mark(&p->s);
}

void handover_settle(struct loop *l, struct conn *p)
{
	struct run *k = p->kin->given;

	if (k && k->c && sess_is_closing(&p->s))
		conn_end(l, k->c, -ECANCELED); /* what is left to say and the close wait until it is over */
}

/* Whoever may still have a copy must not keep the connection open: it ends for all of them. */
void handover_close(struct loop *l, const struct conn *p, bool dropped)
{
	const struct sockaddr none = { .sa_family = AF_UNSPEC };

	l->poller->ops->del(l->poller, p->src.fd);
	if (dropped)
		/* of TCP: the reset that close() would only do for the last. No longer address is permitted to us */
		(void)!connect(p->src.fd, &none, sizeof(none.sa_family));
	(void)!shutdown(p->src.fd, SHUT_RDWR);
}
