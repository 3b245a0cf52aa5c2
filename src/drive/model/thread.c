/*
 * thread.c - model thread: the main loop accepts, each connection has a thread and a private loop of its own. The
 * classic picture; what it costs is the thread, what it buys is that a session that computes delays nobody.
 */
#include <errno.h>

#include "base/mem.h"
#include "drive/crash.h"
#include "drive/model/solo.h"

/* A connection on its way to its thread. */
struct one {
	struct service *service;
	struct listener *ln; /* the service's */
	struct arrival who;  /* with a reference to the peer */
};

static void *thread_main(void *arg)
{
	struct one one = *(struct one *)arg;
	struct server *s = one.service->server;
	struct solo o;

	mem_free(arg);
	crash_thread();
	solo_init(&o, one.service);
	solo_serve(&o, one.ln, &one.who);
	solo_done(&o);
	crash_thread_ends();
	solo_end(s);
	return NULL;
}

static void take(struct loop *l, struct listener *ln, struct lane *lane, const struct arrival *who)
{
	struct service *v = service_of(lane->svc);
	struct one *one = mem_alloc(sizeof(*one));
	int r = -ENOMEM;

	(void)l;
	if (one) {
		*one = (struct one){ service_ref(v), ln, *who };
		peer_ref(who->peer);
		atomic_fetch_add(&v->server->live, 1);
		r = solo_spawn(v->server, thread_main, one);
	}
	if (r == 0)
		return;
	stat_add(lane, r == -ENOMEM ? STAT_REFUSED_MEMORY : STAT_REFUSED_THREADS, 1);
	loop_refuse(lane, who, r == -ENOMEM ? "out-of-memory" : "out-of-threads");
	if (!one)
		return;
	atomic_fetch_sub(&v->server->live, 1);
	peer_unref(who->peer);
	service_unref(v);
	mem_free(one);
}

const struct model model_thread = { .name = "thread", .take = take };
