/* service.c - one section with its options: what it counts, what its sessions meet on, its place in every loop. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/peer.h"
#include "base/str.h"
#include "conf/option.h"
#include "core/ids.h"
#include "drive/clock.h"
#include "drive/files.h"
#include "drive/inbox.h"
#include "drive/model/brood.h"
#include "drive/model/crew.h"
#include "drive/poll/poller.h"
#include "drive/port.h"
#include "layer/tls.h"
#include "layer/ws.h"

void service_problem(const struct plan_service *p, unsigned line, struct conf_problems *ps, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	conf_problem(ps, p->file ? p->file : "command line", line, "[%s] %s", p->name, text);
}

/* ---- the ground: what outlives the options of a P_SHARED service ---- */

/* A shard's place in one loop; that loop's thread only, but for what is said. */
struct spot {
	struct lane lane;      /* the shard's own */
	struct service *of;    /* whose options it has: the newest; a reference while there is a shard */
	unsigned lanes;        /* of services that stand here; the last one to leave ends the shard */
	_Atomic sess_id shard; /* any thread; 0: there is none */
	struct inbox *inbox;   /* any thread; a reference: who posts until svc_close() may outlive the loop */
	unsigned index;        /* of the loop; any thread */
};

struct ground {
	struct port port; /* first: how a step or a store reaches the shards */
	_Atomic unsigned refs;
	void *state;
	bool opened; /* by svc_open() */
	struct spot v[];
};

static void port_push(struct port *port, unsigned loop, uint32_t tag, struct mail *mail)
{
	struct spot *spot = &((struct ground *)port)->v[loop];
	sess_id to = atomic_load_explicit(&spot->shard, memory_order_relaxed);
	struct post *p = to ? post_letters(1) : NULL;

	if (!p) {
		mail_drop(mail);
		return;
	}
	p->v[0] = (struct letter_to){ .to = to, .l = { .tag = tag, .mail = mail } };
	p->letters.n = 1;
	inbox_push(spot->inbox, p);
}

static unsigned port_where(const struct port *port, const struct io *io)
{
	const struct ground *g = (const struct ground *)port;
	unsigned index = id_loop(io->self);

	for (unsigned i = 0; i < port->loops; i++)
		if (g->v[i].index == index)
			return i;
	return 0;
}

static struct ground *ground_new(const struct server *s, const struct proto *proto)
{
	unsigned n = proto->shard ? s->n_loops - 1 : 0;
	struct ground *g = mem_zalloc(sizeof(*g) + n * sizeof(g->v[0]));

	if (!g)
		return NULL;
	atomic_init(&g->refs, 1);
	g->port = (struct port){ .loops = n, .post = port_push, .here = port_where };
	for (unsigned i = 0; i < n; i++) {
		g->v[i].inbox = inbox_ref(loop_inbox(s->loops[i + 1]));
		g->v[i].index = loop_index(s->loops[i + 1]);
	}
	return g;
}

static struct ground *ground_ref(struct ground *g)
{
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	return g;
}

static void ground_unref(struct service *v)
{
	struct ground *g = v->ground;

	if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (g->opened && v->pub.proto->svc_close)
		v->pub.proto->svc_close(&v->pub);
	for (unsigned i = 0; i < g->port.loops; i++)
		inbox_unref(g->v[i].inbox);
	mem_free(g);
}

static struct spot *spot_of(const struct service *v, unsigned loop)
{
	return loop > 0 && loop <= v->ground->port.loops ? &v->ground->v[loop - 1] : NULL;
}

/* The shard follows the newest options, and hears of it while the old ones are there yet; sessions keep theirs. */
static void spot_follow(struct spot *spot, struct service *v, struct loop *l, unsigned me)
{
	struct service *before = spot->of;

	if (before == v)
		return;
	spot->of = service_ref(v);
	spot->lane.svc = &v->pub;
	spot->lane.stats = v->lanes[me].stats;
	if (before)
		loop_say(l, spot->lane.shard_id, EV_RELOAD);
	service_unref(before);
}

static int spot_enter(struct spot *spot, struct service *v, struct loop *l, unsigned me)
{
	int r = 0;

	if (spot->lanes++ == 0) {
		spot_follow(spot, v, l, me);
		r = loop_add_shard(l, &spot->lane);
		atomic_store_explicit(&spot->shard, spot->lane.shard_id, memory_order_relaxed);
	}
	v->lanes[me].shard = spot->lane.shard;
	v->lanes[me].shard_id = spot->lane.shard_id;
	return r;
}

static void spot_leave(struct spot *spot, struct loop *l)
{
	struct service *of = spot->of;

	if (--spot->lanes > 0)
		return;
	atomic_store_explicit(&spot->shard, 0, memory_order_relaxed);
	loop_end(l, spot->lane.shard_id);
	spot->of = NULL;
	spot->lane = (struct lane){};
	service_unref(of);
}

/* ---- counters ---- */

static int get_tally(struct service *v, struct conf_problems *ps)
{
	const struct server *s = v->server;

	v->tally = shared_tally(s->shared, s->setup.process, v->plan.name, v->plan.proto);
	if (v->tally) {
		v->tally->internal = v->plan.internal;
		return 0;
	}
	service_problem(&v->plan, v->plan.line, ps,
			"too many sections since the start, at most %d: a restart forgets those that are no more",
			SHARED_TALLIES);
	return -ENOSPC;
}

/* ---- birth and death ---- */

static void lane_released(struct lane *lane)
{
	struct service *v = service_of(lane->svc);
	unsigned i = (unsigned)(lane - v->lanes);
	struct spot *spot = spot_of(v, i);

	lane->released = NULL;
	if (spot)
		spot_leave(spot, v->server->loops[i]);
	service_unref(v);
}

static int make_lanes(struct service *v)
{
	struct server *s = v->server;

	admit_init(&v->admit, &s->admit, &v->tally->admit, v->plan.name, v->plan.common);
	v->lanes = mem_zalloc(s->n_loops * sizeof(*v->lanes));
	if (!v->lanes)
		return -ENOMEM;
	for (unsigned i = 0; i < s->n_loops; i++) {
		v->lanes[i] = (struct lane){
			.svc = &v->pub,
			.stats = v->tally->v + i * STAT_N,
			.open_all = &v->tally->open,
			.max = v->plan.common->max,
			.left = once_left,
		};
		if (!v->plan.internal)
			admit_lane(&v->admit, &v->lanes[i]);
	}
	return 0;
}

static void fill_svc(struct service *v)
{
	const struct service_options *c = v->plan.common;

	v->pub.name = v->plan.name;
	v->pub.host = *v->server->host ? v->server->host : NULL;
	v->pub.proto = v->plan.proto;
	v->pub.options = v->plan.options;
	v->pub.limits.input = c->input;
	v->pub.limits.output = proto_output(v->plan.proto, v->plan.options, c->output);
	v->pub.limits.idle = c->idle;
	v->pub.limits.first = c->first;
	v->pub.limits.auth = c->auth;
	v->pub.limits.min_rate = c->min_rate;
	v->pub.limits.rate_time = c->min_rate_time;
	v->pub.limits.linger = c->linger;
	v->pub.trace = c->trace;
	v->pub.access = v->server->access;
	v->pub.folder = v->plan.folder;
	v->pub.folder_name = v->plan.folder_name ? v->plan.folder_name : v->plan.folder;
	v->pub.now = clock_mono();
	v->pub.wall = clock_wall_ms();
	v->pub.events = v->server->shared->events;
}

static bool same_tls(const struct tls_options *a, const struct tls_options *b)
{
	return a && b ? option_values_equal(&tables_tls, a, b) : a == b;
}

static bool reads_same(const struct service *v, const struct plan_service *p)
{
	const struct option_table *t = v->plan.proto->options;

	if (strcmp(v->plan.name, p->name) != 0 || v->plan.proto != p->proto || v->plan.internal != p->internal)
		return false;
	if (t && !option_values_equal(t, v->plan.options, p->options))
		return false;
	return same_tls(v->plan.tls, p->tls) && option_values_equal(&tables_service, v->plan.common, p->common);
}

/* One with TLS is not: its certificates are read anew. */
bool service_same(const struct service *v, const struct plan_service *p)
{
	return !p->tls && !v->plan.tls && reads_same(v, p);
}

/* May it stand where `old` stands? What a P_SHARED service has in memory is more than its options. */
static bool same_ground(const struct service *old, const struct service *v)
{
	if (!old || old->plan.proto != v->plan.proto || v->plan.internal)
		return false;
	return v->plan.proto->flags & P_SHARED || reads_same(old, &v->plan);
}

/* The folder in which it makes its own: of all that keep. */
static int make_folder(const char *folder, struct buf *why)
{
	char *parent;
	int r = str_path_dir(folder, &parent);

	if (r < 0)
		return r;
	r = files_make_dir(parent, why);
	mem_free(parent);
	return r;
}

static int open_state(struct service *v, struct conf_problems *ps)
{
	struct ground *g = v->ground;
	struct buf why;
	int r = 0;

	v->pub.port = g->port.loops ? &g->port : NULL;
	v->pub.state = v->plan.internal ? v->plan.state : g->state;
	if (!v->pub.proto->svc_open || v->plan.internal || g->opened)
		return 0;
	buf_init(&why, 1024);
	r = v->plan.folder ? make_folder(v->plan.folder, &why) : 0;
	if (r == 0)
		r = v->pub.proto->svc_open(&v->pub, &why);
	if (r < 0)
		service_problem(&v->plan, v->plan.line, ps, "%s", why.n ? buf_str(&why) : strerrordesc_np(-r));
	buf_done(&why);
	g->opened = r == 0;
	g->state = v->pub.state;
	return r;
}

int service_new(struct server *s, struct plan_service *p, const struct service *old, struct service **ret,
		struct conf_problems *ps)
{
	struct service *v = mem_zalloc(sizeof(*v));
	int r;

	if (!v)
		return -ENOMEM;
	atomic_init(&v->refs, 1);
	v->server = s;
	v->plan = *p;
	*p = (struct plan_service){};
	v->model = v->plan.internal ? &model_event : model_find(v->plan.common->model);
	v->news = !old || old->plan.proto != v->plan.proto;
	fill_svc(v);
	r = get_tally(v, ps);
	if (r == 0) {
		v->ground = same_ground(old, v) ? ground_ref(old->ground) : ground_new(s, v->plan.proto);
		r = v->ground ? make_lanes(v) : -ENOMEM;
	}
	if (r == 0 && service_is_here(v))
		r = web_open(v, ps);
	if (r == 0 && service_is_here(v))
		r = open_state(v, ps);
	if (r < 0) {
		service_unref(v);
		return r;
	}
	*ret = v;
	return 0;
}

bool service_is_here(const struct service *v)
{
	return v->server->setup.role != SERVER_MONITOR || v->plan.internal;
}

struct service *service_ref(struct service *v)
{
	atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
	return v;
}

void service_unref(struct service *v)
{
	if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
		return;
	crew_free(&v->crew);
	herd_free(&v->herd);
	for (size_t i = 0; i < v->n; i++)
		listener_unref(v->entries[i].ln);
	ground_unref(v);
	ws_ctx_unref(v->ws);
	plan_service_done(&v->plan);
	mem_free(v->entries);
	mem_free(v->lanes);
	mem_free(v);
}

/* ---- in the loops ---- */

int service_enter(struct service *v, struct loop *l, unsigned me)
{
	struct spot *spot = spot_of(v, me);

	service_ref(v); /* the lane's, until it is released */
	v->lanes[me].released = lane_released;
	if (v->model->forks)
		return v->model->workers && v->server->brood ? herd_new(v, &v->herd) : 0;
	if (me == 0 && v->model->workers)
		return crew_start(v, v->model->workers(v->plan.common), &v->crew);
	return spot ? spot_enter(spot, v, l, me) : 0;
}

/* Which of the sockets of a datagram address is this loop's? Its session is another service's until now, or nobody's. */
static int place_dgram(struct service *v, struct loop *l, unsigned me, struct listener *ln)
{
	if (me != server_dgram_loop(v->server, ln))
		return 0;
	loop_end(l, ln->session);
	ln->session = 0;
	return v->model->dgram && !v->model->forks ? 0 : service_adopt_dgram(v, l, &v->lanes[me], ln, &ln->session);
}

/* Is it the workers who wait at it? */
static bool is_crews(const struct service *v, const struct listener *ln)
{
	if (ln->fifo || ln->queue) /* the watcher's, under every model */
		return false;
	return ln->dgram ? v->model->dgram : v->model->accepts && !ln->talk;
}

unsigned server_dgram_loop(const struct server *s, const struct listener *ln)
{
	return s->n_loops > 1 ? ln->nth + 1 : 0;
}

static int place_crew(struct service *v)
{
	int r = 0;

	for (size_t i = 0; i < v->n && r == 0; i++) {
		if (v->crew && is_crews(v, v->entries[i].ln))
			r = crew_listen(v->crew, v->entries[i].ln);
		else
			crew_unlisten(v->entries[i].ln); /* the model before this one */
	}
	return r;
}

int service_place(struct service *v, struct loop *l, unsigned me)
{
	bool accepts = v->model->every_loop && !v->plan.internal ? me > 0 : me == 0;
	unsigned watcher = v->model->every_loop && !v->plan.internal ? 1 : 0; /* of whom there can be only one */
	struct spot *spot = spot_of(v, me);
	int r = me == 0 ? place_crew(v) : 0;

	if (spot)
		spot_follow(spot, v, l, me);
	for (size_t i = 0; i < v->n && r == 0; i++) {
		struct listener *ln = v->entries[i].ln;

		if (ln->talk)
			once_place(v, l, me, ln);
		else if (ln->dgram)
			r = place_dgram(v, l, me, ln);
		else if ((ln->fifo ? me == watcher : accepts) && !is_crews(v, ln))
			r = loop_listen(l, ln, &v->lanes[me], v->model->take,
					v->model->every_loop ? WATCH_ACCEPT : WATCH_LEVEL);
		else
			loop_unlisten(l, ln); /* the model before this one may have accepted here */
	}
	return r == 0 && v->herd ? herd_start(v->herd) : r;
}

int service_retire(struct service *v, struct loop *l, unsigned me)
{
	struct lane *lane = &v->lanes[me];

	(void)l;
	if (me == 0 && v->crew)
		crew_end(v->crew);
	if (v->herd)
		herd_end(v->herd);
	if (!lane->released) /* it has not entered */
		return 0;
	lane->retired = true;
	if (lane->open == 0)
		lane->released(lane);
	return 0;
}

static const struct entry *entry_of(const struct service *v, const struct listener *ln)
{
	for (size_t i = 0; i < v->n; i++)
		if (v->entries[i].ln == ln)
			return &v->entries[i];
	return NULL;
}

static const struct addr_text *text_of(const struct service *v, const struct entry *e)
{
	return &v->plan.common->listen.v[e->word];
}

void service_adopt(struct service *v, struct lane *lane, const struct listener *ln, const struct arrival *who,
		   struct adopt *ret)
{
	const struct entry *e = entry_of(v, ln);

	assert(e); /* the loop has the lane and the listener from the same service_place() */
	*ret = (struct adopt){
		.fd = who->fd,
		.wfd = who->wfd,
		.ticket = who->ticket,
		.lane = lane,
		.local = ln->local,
		.peer = who->peer,
		.socket = who->wfd < 0,
		.records = ln->at.type == SOCK_SEQPACKET && who->wfd < 0,
		.blocking = ln->shared,
		.vital = ln->vital,
		.proxy = v->plan.common->proxy,
	};
	if (e->tls) {
		ret->layer = &tls_server_layer;
		ret->layer_arg = tls_arg_new(v->plan.tls_ctx, NULL);
	}
	if (e->ws)
		ret->ws = v->ws;
}

int service_adopt_dgram(const struct service *v, struct loop *l, struct lane *lane, const struct listener *ln,
			sess_id *ret_id)
{
	return loop_adopt_dgram(l, ln->fd, lane, ln->local, v->plan.common->low_ports, ln->pktinfo, ret_id);
}

bool entry_shown(const struct entry *e)
{
	return e->nth == 0 && !e->spare;
}

/* What was given under a number has an address all the same, if it is not a conversation. */
static void given_text(const struct listener *ln, struct addr_text *ret)
{
	const struct netaddr *at = &ln->at;
	char host[PEER_TEXT];

	if (ln->talk || ln->local->n == 0 || (at->sa.sa_family == AF_UNIX && !ln->local->b[0]))
		return;
	*ret = (struct addr_text){ .transport = ADDR_TCP };
	if (at->sa.sa_family == AF_UNIX) {
		ret->transport = ADDR_UNIX;
		if (at->type != SOCK_STREAM)
			ret->transport = ln->dgram ? ADDR_UNIXGRAM : ADDR_UNIXSEQ;
		snprintf(ret->path, sizeof(ret->path), "%s", peer_text(ln->local, host));
		return;
	}
	if (ln->dgram)
		ret->transport = ADDR_UDP;
	ret->port = ln->local->port;
	snprintf(ret->host, sizeof(ret->host), "%.*s", ADDR_HOST_MAX,
		 netaddr_is_any(at) && !at->v6only && at->sa.sa_family == AF_INET6 ? "*" : peer_host(ln->local, host));
}

void entry_address(const struct service *v, const struct entry *e, struct addr_text *ret)
{
	char host[PEER_TEXT];

	*ret = *text_of(v, e);
	if (e->given >= 0)
		given_text(e->ln, ret);
	if (!addr_is_net(ret) || e->given >= 0)
		return;
	ret->port = e->ln->local->port;
	ret->service[0] = '\0';
	if (strcmp(ret->host, "*") != 0)
		snprintf(ret->host, sizeof(ret->host), "%.*s", ADDR_HOST_MAX, peer_host(e->ln->local, host));
}
