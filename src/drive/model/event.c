/* event.c - model event: every loop accepts, every loop has many connections. */
#include "base/mem.h"
#include "base/peer.h"
#include "drive/server_priv.h"

enum { SLACK = 8 }; /* connections more than another loop's, and an eighth: then one is handed over */

/* A connection on its way to another loop. */
struct handoff {
	struct service *service;
	struct lane *lane;
	struct listener *ln;
	struct arrival who; /* with a reference to the peer */
};

static void serve(struct loop *l, struct lane *lane, struct listener *ln, const struct arrival *who)
{
	struct adopt a;

	service_adopt(service_of(lane->svc), lane, ln, who, &a);
	if (a.layer && !a.layer_arg) {
		stat_add(lane, STAT_REFUSED_MEMORY, 1);
		loop_refuse(lane, who, "out-of-memory");
		return;
	}
	(void)!loop_adopt(l, &a); /* it counted and closed what it could not take */
}

static void arrive(struct loop *l, void *arg)
{
	struct handoff *h = arg;

	serve(l, h->lane, h->ln, &h->who); /* a reload retires the lane only after this: let_go() */
	listener_unref(h->ln);
	peer_unref(h->who.peer);
	service_unref(h->service);
	mem_free(h);
}

/* The kernel wakes the same loop first, so a burst would end up on one: give it to whoever has much less to do. */
static unsigned choose(const struct server *s, const struct loop *l)
{
	unsigned best = server_loop_number(s, l), mine = loop_open(l), least = mine;

	for (unsigned i = 1; i < s->n_loops; i++) {
		unsigned n = loop_open(s->loops[i]);

		if (n < least) {
			least = n;
			best = i;
		}
	}
	return mine > least + SLACK + least / 8 ? best : server_loop_number(s, l);
}

static bool hand_over(struct service *v, unsigned to, struct listener *ln, const struct arrival *who)
{
	struct handoff *h = mem_alloc(sizeof(*h));

	if (!h)
		return false;
	*h = (struct handoff){ service_ref(v), &v->lanes[to], listener_ref(ln), *who };
	peer_ref(who->peer);
	if (loop_post_call(v->server->loops[to], arrive, h) == 0)
		return true;
	listener_unref(ln);
	peer_unref(who->peer);
	service_unref(v);
	mem_free(h);
	return false;
}

static void take(struct loop *l, struct listener *ln, struct lane *lane, const struct arrival *who)
{
	struct service *v = service_of(lane->svc);
	unsigned to = v->server->n_loops > 2 && !v->plan.internal ? choose(v->server, l)
								  : server_loop_number(v->server, l);

	if (v->server->loops[to] != l && hand_over(v, to, ln, who))
		return;
	serve(l, lane, ln, who);
}

const struct model model_event = { .name = "event", .shared = true, .every_loop = true, .take = take };
