/* solo.c - see solo.h. */
#include "drive/model/solo.h"

#include "base/mem.h"

enum { STACK = 256 << 10 };

void solo_init(struct solo *o, struct service *v)
{
	struct server *s = v->server;

	*o = (struct solo){ .service = v };
	o->lane = (struct lane){
		.svc = &v->pub,
		.stats = o->stats,
		.open_all = &v->tally->open,
		.max = v->plan.common->max,
		.left = v->lanes[0].left,
	};
	if (v->lanes[0].admit)
		admit_lane(v->lanes[0].admit, &o->lane);
	o->setup = (struct loop_setup){ .stop_fd = s->stop_fd, .cut_fd = s->cut_fd, .spawner = s->setup.spawner };
}

/* Many write the last row, so these additions are locked ones; each is made once per turn. */
void solo_count(const struct service *v, _Atomic uint64_t *stats)
{
	_Atomic uint64_t *to = v->tally->v + (v->server->shared->rows - 1) * STAT_N;

	for (unsigned i = 0; i < STAT_N; i++) {
		uint64_t n = atomic_load_explicit(&stats[i], memory_order_relaxed);

		if (!n)
			continue;
		atomic_store_explicit(&stats[i], 0, memory_order_relaxed); /* first: rather too few than twice */
		atomic_fetch_add_explicit(&to[i], n, memory_order_relaxed);
	}
}

void solo_fold(struct solo *o)
{
	solo_count(o->service, o->lane.stats);
}

void solo_done(struct solo *o)
{
	loop_free(&o->loop);
	solo_fold(o);
	service_unref(o->service);
}

int solo_begin(struct solo *o)
{
	int r = 0;

	if (!o->setup.serial) /* a child has one from its parent */
		o->setup.serial = 1 + atomic_fetch_add(o->service->server->serials, 1);
	if (o->loop)
		loop_begin(o->loop, o->setup.serial);
	else
		r = loop_new(&o->setup, &o->loop);
	o->setup.serial = 0;
	return r;
}

void solo_run(struct solo *o)
{
	do {
		loop_turn(o->loop, loop_idle(o->loop) ? 0 : UINT64_MAX);
		solo_fold(o);
	} while (!loop_idle(o->loop));
}

/* The order to stop came when this one waited already: what it has asked is answered, then it is told. */
static void serve(struct solo *o, const struct adopt *a)
{
	bool late = loop_stopping(o->loop);

	if (loop_adopt(o->loop, a) < 0)
		return;
	solo_fold(o); /* it may be long before there is anything to do */
	if (late) {
		loop_turn(o->loop, 0);
		loop_stop(o->loop);
	}
	solo_run(o);
}

/* A count is written to: in memory that a process has from its parent those are two pages to copy, and the addresses are short. */
static void own_peers(struct adopt *a)
{
	const struct peer *local = peer_copy(a->local), *peer = peer_copy(a->peer);

	a->local = local ? local : a->local;
	a->peer = peer ? peer : a->peer;
}

void solo_talk(struct solo *o, const struct listener *ln, const struct arrival *who)
{
	struct adopt a;
	bool cut = o->loop && loop_was_cut(o->loop);

	service_adopt(o->service, &o->lane, ln, who, &a);
	if (o->once)
		own_peers(&a);
	if (!cut && solo_begin(o) == 0 && (!a.layer || a.layer_arg)) {
		serve(o, &a);
	} else {
		if (a.layer && a.layer->drop_arg)
			a.layer->drop_arg(a.layer_arg);
		if (!cut)
			stat_add(&o->lane, STAT_REFUSED_MEMORY, 1);
		loop_refuse(&o->lane, who, cut ? "stopping" : "out-of-memory");
	}
	solo_fold(o);
}

void solo_serve(struct solo *o, const struct listener *ln, const struct arrival *who)
{
	struct server *s = o->service->server;

	solo_talk(o, ln, who);
	peer_unref(who->peer);
	atomic_fetch_sub(&s->live, 1);
	loop_room(s->loops[0]);
}

int solo_spawn(struct server *s, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t t;
	int r;

	atomic_fetch_add(&s->hands, 1);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	r = pthread_create(&t, &attr, fn, arg); /* signals are blocked since before the first thread */
	pthread_attr_destroy(&attr);
	if (r)
		atomic_fetch_sub(&s->hands, 1);
	return -r;
}

/* Nobody has time to wait for threads but who ends too: each joins the one before it, and the server the last. */
void solo_end(struct server *s)
{
	pthread_t before = atomic_exchange(&s->ended, pthread_self());

	if (before)
		pthread_join(before, NULL);
	atomic_fetch_sub(&s->hands, 1);
}

void solo_join(struct server *s)
{
	pthread_t last = atomic_exchange(&s->ended, 0);

	if (last)
		pthread_join(last, NULL);
}
