/*
 * once.c - servers that end by themselves: those that have nobody but a conversation they were born with (inetd nowait,
 * systemd Accept=yes, ssh), when it is over; and those that were given a socket on standard input (inetd wait), when nobody
 * has come to it for a while, because inetd listens there again only then. What such a server listens on of its own makes
 * it one that stays.
 */
#include <signal.h>
#include <unistd.h>

#include "drive/clock.h"
#include "drive/server_priv.h"

enum { LOOKS = 4 }; /* in the time that it may be quiet */

/* ---- conversations ---- */

/* Nobody can come any more, and nobody is there. */
static bool is_over(const struct server *s)
{
	bool some = false;

	for (size_t i = 0; i < s->n; i++) {
		const struct service *v = s->services[i];

		for (size_t k = 0; k < v->n && !v->plan.internal; k++) {
			const struct listener *ln = v->entries[k].ln;

			if (!ln->talk || !atomic_load(&ln->begun))
				return false;
			some = true;
		}
		if (!v->plan.internal && atomic_load(&v->tally->open))
			return false;
	}
	return some;
}

static void look_here(struct loop *l, void *arg)
{
	struct server *s = arg;

	(void)l;
	if (!s->signals && is_over(s))
		s->signals = 1;
}

void once_left(struct lane *lane)
{
	struct server *s = service_of(lane->svc)->server;

	if (!atomic_load_explicit(&s->once.talks, memory_order_acquire))
		return;
	if (loop_post_call(s->loops[0], look_here, s) < 0)
		(void)kill(getpid(), SIGTERM); /* memory is out: at least it does not stay for ever */
}

/* Pipes that others share are not made non-blocking: they need a thread that may wait. */
static bool needs_thread(const struct service *v, const struct listener *ln)
{
	return ln->shared || v->model != &model_event;
}

/* Whoever is at its other end, with a reference. */
static const struct peer *peer_of(const struct listener *ln)
{
	struct netaddr far = { .n = sizeof(far.st) };

	if (ln->shared || getpeername(ln->fd, &far.sa, &far.n) < 0)
		return peer_ref(ln->local);
	return netaddr_peer(&far.sa, far.n);
}

void once_place(struct service *v, struct loop *l, unsigned me, struct listener *ln)
{
	const struct model *m = needs_thread(v, ln) ? &model_thread : &model_event;
	struct arrival who;

	if (me != (m->every_loop ? 1u : 0u) || atomic_exchange(&ln->begun, true))
		return;
	who = (struct arrival){ .fd = ln->fd, .wfd = ln->wfd, .peer = peer_of(ln) };
	ln->fd = ln->wfd = -1;
	atomic_store_explicit(&v->server->once.talks, true, memory_order_release);
	loop_admit(l, ln, &v->lanes[me], m->take, &who);
	if (!atomic_load(&v->tally->open))
		once_left(&v->lanes[me]); /* it was refused */
}

/* ---- sockets that somebody waits for ---- */

static bool is_waited_for(const struct listener *ln)
{
	return ln->given == STDIN_FILENO && !ln->talk;
}

void once_look(struct server *s)
{
	s->once.waits = false;
	for (const struct list *n = s->listeners.next; n != &s->listeners; n = n->next)
		s->once.waits |= is_waited_for(list_entry(n, struct listener, node));
	s->once.quiet = clock_mono();
}

nsec once_patience(const struct server *s)
{
	return s->once.waits && s->global->exit_idle ? s->global->exit_idle / LOOKS + 1 : UINT64_MAX;
}

static uint64_t sum(const struct server *s, unsigned *ret_open)
{
	uint64_t n = 0;

	*ret_open = 0;
	for (const struct tally *t = NULL; (t = shared_next(s->shared, t));) {
		*ret_open += atomic_load(&t->open);
		for (size_t row = 0; row < s->shared->rows; row++)
			n += atomic_load(&t->v[row * STAT_N + STAT_ACCEPTED]) +
			     atomic_load(&t->v[row * STAT_N + STAT_DGRAMS_IN]);
	}
	return n;
}

void once_turn(struct server *s)
{
	nsec now = clock_mono();
	unsigned open;
	uint64_t seen;

	if (!s->once.waits || !s->global->exit_idle)
		return;
	seen = sum(s, &open);
	if (open || seen != s->once.seen)
		s->once.quiet = now;
	s->once.seen = seen;
	if (now - s->once.quiet >= s->global->exit_idle)
		s->signals = 1;
}
