/*
 * fork.c - model fork: the main loop accepts, and each connection has a process of its own, which ends with it. The server of
 * the textbooks: what it costs is the process, what it buys is that one that fails, or is taken over, has nobody else with it.
 * A datagram has a process too, for as long as its answer takes.
 */
#include <errno.h>

#include "drive/model/brood.h"
#include "drive/sys.h"

enum { REQUESTS = 64 }; /* per core: processes for datagrams, when nobody says how many */

/* ---- a connection ---- */

static _Noreturn void talk(struct service *v, const struct listener *ln, const struct arrival *who,
			   struct brood_row *row)
{
	struct solo o;

	brood_solo(&o, v, row);
	o.once = true;
	solo_talk(&o, ln, who);
	brood_end(&o);
}

static void leave_to_child(const struct arrival *who)
{
	int fd = who->fd, wfd = who->wfd;

	if (wfd != fd)
		fd_close(&wfd);
	fd_close(&fd);
}

void fork_take(struct loop *l, struct listener *ln, struct lane *lane, const struct arrival *who)
{
	struct service *v = service_of(lane->svc);
	const int keep[] = { who->fd, who->wfd };
	struct brood_birth birth = {
		.service = v, .kind = BROOD_TALK, .peer = who->peer, .ticket = who->ticket, .keep = keep, .n_keep = 2
	};
	struct brood_row *row;
	int r = brood_fork(v->server->brood, &birth, &row);

	(void)l;
	if (r == 0)
		talk(v, ln, who, row);
	if (r > 0) {
		leave_to_child(who);
		return;
	}
	stat_add(lane, r == -ENOMEM ? STAT_REFUSED_MEMORY : STAT_REFUSED_PROCESSES, 1);
	loop_refuse(lane, who, r == -ENOMEM ? "out-of-memory" : "out-of-processes");
}

/* ---- a datagram ---- */

static const struct listener *socket_of(const struct service *v, sess_id id)
{
	for (size_t i = 0; i < v->n; i++)
		if (v->entries[i].ln->session == id)
			return v->entries[i].ln;
	return NULL;
}

/* Until its session waits for nothing any more, or is told to stop. */
static _Noreturn void answer(struct service *v, const struct listener *ln, const struct dgram_in *d,
			     struct brood_row *row)
{
	struct solo o;
	sess_id id;

	brood_solo(&o, v, row);
	if (solo_begin(&o) < 0 || service_adopt_dgram(v, o.loop, &o.lane, ln, &id) < 0)
		brood_end(&o);
	loop_told(o.loop, id); /* the next one is the parent's to read */
	loop_feed(o.loop, id, d);
	do {
		bool idle = loop_idle(o.loop) && loop_due(o.loop) == UINT64_MAX;

		loop_turn(o.loop, idle ? 0 : UINT64_MAX);
		solo_fold(&o);
	} while (!loop_stopping(o.loop) && (!loop_idle(o.loop) || loop_due(o.loop) != UINT64_MAX));
	brood_end(&o);
}

static unsigned most_requests(const struct service *v)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	return v->plan.common->max ? v->plan.common->max : REQUESTS * (cores > 0 ? (unsigned)cores : 1);
}

static bool has_room(const struct service *v)
{
	unsigned most = most_requests(v);

	if (v->requests >= most)
		brood_reap(v->server->brood); /* some have ended while we read */
	return v->requests < most;
}

static struct peer *peer_of(const struct route *r)
{
	struct netaddr from = { .n = r ? r->n : 0 };

	if (!r || r->name)
		return r ? peer_ref(r->name) : NULL;
	memcpy(&from.st, r->sa, r->n);
	return netaddr_peer(&from.sa, from.n);
}

void fork_answer(struct loop *l, const struct dgram_in *d)
{
	struct service *v = service_of(d->lane->svc);
	const struct listener *ln = socket_of(v, d->to);
	struct peer *peer = peer_of(d->route);
	struct brood_birth birth = {
		.service = v, .kind = BROOD_REQUEST, .peer = peer, .keep = ln ? &ln->fd : NULL, .n_keep = ln ? 1 : 0
	};
	struct brood_row *row;
	int r = -EAGAIN;

	(void)l;
	if (ln && has_room(v))
		r = brood_fork(v->server->brood, &birth, &row);
	if (r == 0)
		answer(v, ln, d, row);
	if (r < 0)
		stat_add(d->lane, STAT_DROP_BUSY, 1);
	peer_unref(peer);
}

const struct model model_fork = { .name = "fork", .forks = true, .dgram = true, .take = fork_take };
