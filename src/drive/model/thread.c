/*
 * thread.c - model thread: the main loop accepts, each connection has a thread and a private loop of its own. The
 * classic picture; what it costs is the thread, what it buys is that a session that computes delays nobody.
 */
#include <errno.h>

#include "base/mem.h"
#include "base/peer.h"
#include "drive/server_priv.h"

enum { STACK = 256 << 10 };

struct one {
	struct service *service;
	struct adopt adopt;
	struct lane lane;
	_Atomic uint64_t stats[STAT_N]; /* this thread's, added to the service's at its end and as it goes */
};

/* Many threads write the last row, so these additions are locked ones; each is made once per turn. */
static void fold(struct one *o)
{
	struct tally *t = o->service->tally;
	_Atomic uint64_t *to = t->v + (t->rows - 1) * STAT_N;

	for (unsigned i = 0; i < STAT_N; i++) {
		uint64_t n = atomic_load_explicit(&o->stats[i], memory_order_relaxed);

		if (!n)
			continue;
		atomic_fetch_add_explicit(&to[i], n, memory_order_relaxed);
		atomic_store_explicit(&o->stats[i], 0, memory_order_relaxed);
	}
}

static void drop(struct one *o)
{
	struct server *s = o->service->server;

	if (o->adopt.fd >= 0)
		loop_refuse(&o->lane, o->adopt.fd, o->adopt.peer, "out-of-memory");
	if (o->adopt.layer && o->adopt.layer->drop_arg)
		o->adopt.layer->drop_arg(o->adopt.layer_arg);
	peer_unref(o->adopt.peer);
	peer_unref(o->adopt.local);
	service_unref(o->service);
	mem_free(o);
	loop_room(s->loops[0]);
	atomic_fetch_sub(&s->live, 1);
}

/* Owns what adopt owns; the loop is this thread's only. */
static void serve(struct one *o, struct loop *l)
{
	int r = loop_adopt(l, &o->adopt);

	o->adopt.fd = -1; /* taken, also when it failed */
	o->adopt.layer = NULL;
	while (r == 0 && !loop_empty(l)) {
		loop_turn(l, UINT64_MAX);
		fold(o);
	}
}

static void *thread_main(void *arg)
{
	struct one *o = arg;
	struct server *s = o->service->server;
	struct loop_setup setup = {
		.stop_fd = s->stop_fd,
		.cut_fd = s->cut_fd,
		.serial = 1 + atomic_fetch_add(&s->serial, 1),
	};
	struct loop *l;

	if (loop_new(&setup, &l) == 0) {
		serve(o, l);
		loop_free(&l);
	} else {
		stat_add(&o->lane, STAT_REFUSED_MEMORY, 1);
	}
	fold(o);
	drop(o);
	return NULL;
}

static int spawn(struct one *o)
{
	pthread_attr_t attr;
	pthread_t t;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK);
	r = pthread_create(&t, &attr, thread_main, o); /* signals are blocked since before the first thread */
	pthread_attr_destroy(&attr);
	return -r;
}

static void take(struct loop *l, struct listener *ln, struct lane *lane, int fd, const struct peer *peer)
{
	struct service *v = service_of(lane->svc);
	struct one *o = mem_zalloc(sizeof(*o));
	int r = -ENOMEM;

	(void)l;
	if (o) {
		o->service = service_ref(v);
		o->lane = (struct lane){ .svc = &v->pub, .stats = o->stats, .open_all = &v->tally->open };
		service_adopt(v, &o->lane, ln, peer_ref(peer), &o->adopt);
		o->adopt.local = peer_ref(ln->local);
		o->adopt.fd = fd;
		atomic_fetch_add(&v->server->live, 1);
		r = o->adopt.layer && !o->adopt.layer_arg ? -ENOMEM : spawn(o);
	}
	if (r == 0)
		return;
	stat_add(lane, r == -ENOMEM ? STAT_REFUSED_MEMORY : STAT_REFUSED_THREADS, 1);
	loop_refuse(lane, fd, peer, r == -ENOMEM ? "out-of-memory" : "out-of-threads");
	if (o) {
		o->adopt.fd = -1;
		drop(o);
	}
}

const struct model model_thread = { .name = "thread", .take = take };
