/* service.c - one running section: what it is reached by, what it counts, its place in every loop. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/ids.h"
#include "drive/inbox.h"
#include "drive/poll/poller.h"
#include "drive/server_priv.h"
#include "layer/tls.h"

/* How a step or a store reaches the shards of a service. */
struct server_port {
	struct port port; /* first */
	struct service *service;
};

void service_problem(const struct plan_service *p, struct conf_problems *ps, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	conf_problem(ps, p->file ? p->file : "command line", p->line, "[%s] %s", p->name, text);
}

/* ---- ports ---- */

static void port_push(struct port *port, unsigned loop, uint32_t tag, struct mail *mail)
{
	struct service *v = ((struct server_port *)port)->service;
	struct post *p = loop < port->loops ? post_letters(1) : NULL;

	if (!p) {
		mail_drop(mail);
		return;
	}
	p->v[0] = (struct letter_to){ .to = v->lanes[loop + 1].shard_id, .l = { .tag = tag, .mail = mail } };
	p->letters.n = 1;
	inbox_push(loop_inbox(v->server->loops[loop + 1]), p);
}

static unsigned port_where(const struct port *port, const struct io *io)
{
	const struct service *v = ((const struct server_port *)port)->service;
	unsigned index = id_loop(io->self);

	for (unsigned i = 1; i < v->server->n_loops; i++)
		if (loop_index(v->server->loops[i]) == index)
			return i - 1;
	return 0;
}

static int make_port(struct service *v)
{
	if (!v->pub.proto->shard)
		return 0;
	v->port = mem_zalloc(sizeof(*v->port));
	if (!v->port)
		return -ENOMEM;
	v->port->port = (struct port){ .loops = v->server->n_loops - 1, .post = port_push, .here = port_where };
	v->port->service = v;
	v->pub.port = &v->port->port;
	return 0;
}

/* ---- counters ---- */

static struct tally *find_tally(struct server *s, const char *name)
{
	for (size_t i = 0; i < s->n_tallies; i++)
		if (!strcmp(s->tallies[i]->name, name))
			return s->tallies[i];
	return NULL;
}

static struct tally *get_tally(struct server *s, const char *name, const struct proto *proto)
{
	struct tally *t = find_tally(s, name), **v;
	size_t rows = s->n_loops + 1;

	if (t && t->proto == proto)
		return t;
	v = mem_realloc(s->tallies, (s->n_tallies + 1) * sizeof(*v));
	if (v)
		s->tallies = v;
	t = v ? mem_zalloc(sizeof(*t) + rows * STAT_N * sizeof(t->v[0])) : NULL;
	if (t && !(t->name = mem_strdup(name))) {
		mem_free(t);
		t = NULL;
	}
	if (!t)
		return NULL;
	t->proto = proto;
	t->rows = rows;
	s->tallies[s->n_tallies++] = t;
	return t;
}

/* ---- birth and death ---- */

static void lane_released(struct lane *lane)
{
	struct service *v = service_of(lane->svc);
	unsigned i = (unsigned)(lane - v->lanes);

	if (lane->shard_id)
		loop_end(v->server->loops[i], lane->shard_id);
	lane->released = NULL;
	service_unref(v);
}

static int make_lanes(struct service *v)
{
	struct server *s = v->server;

	v->lanes = mem_zalloc(s->n_loops * sizeof(*v->lanes));
	if (!v->lanes)
		return -ENOMEM;
	for (unsigned i = 0; i < s->n_loops; i++) {
		v->lanes[i] = (struct lane){
			.svc = &v->pub,
			.stats = v->tally->v + i * STAT_N,
			.released = lane_released,
			.open_all = &v->tally->open,
			.max = v->plan.common->max,
		};
	}
	return 0;
}

static void fill_svc(struct service *v)
{
	const struct service_options *c = v->plan.common;

	v->pub.name = v->plan.name;
	v->pub.proto = v->plan.proto;
	v->pub.options = v->plan.options;
	v->pub.limits.input = c->input;
	v->pub.limits.output = c->output;
	v->pub.limits.idle = c->idle;
	v->pub.limits.first = c->first;
	v->pub.limits.linger = c->linger;
	v->pub.trace = c->trace;
}

static int open_state(struct service *v, struct conf_problems *ps)
{
	struct buf why;
	int r = 0;

	v->pub.state = v->plan.state;
	if (!v->pub.proto->svc_open || v->plan.internal)
		return 0;
	buf_init(&why, 1024);
	r = v->pub.proto->svc_open(&v->pub, &why);
	if (r < 0)
		service_problem(&v->plan, ps, "%s", why.n ? buf_str(&why) : strerrordesc_np(-r));
	else
		v->opened = true;
	buf_done(&why);
	return r;
}

int service_new(struct server *s, struct plan_service *p, struct service **ret, struct conf_problems *ps)
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
	fill_svc(v);
	v->tally = get_tally(s, v->plan.name, v->plan.proto);
	r = v->tally ? make_lanes(v) : -ENOMEM;
	if (r == 0)
		r = make_port(v);
	if (r == 0)
		r = open_state(v, ps);
	if (r < 0) {
		service_unref(v);
		return r;
	}
	*ret = v;
	return 0;
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
	for (size_t i = 0; i < v->n; i++)
		listener_unref(v->listeners[i]);
	if (v->opened && v->pub.proto->svc_close)
		v->pub.proto->svc_close(&v->pub);
	plan_service_done(&v->plan);
	mem_free(v->listeners);
	mem_free(v->lanes);
	mem_free(v->dgram_ids);
	mem_free(v->port);
	mem_free(v);
}

/* ---- listeners ---- */

bool service_same(const struct service *v, const struct plan_service *p)
{
	const struct option_table *t = v->plan.proto->options;

	if (strcmp(v->plan.name, p->name) != 0 || v->plan.proto != p->proto || v->plan.internal != p->internal)
		return false;
	if (p->tls || v->plan.tls)
		return false; /* certificates are read anew */
	if (t && !option_values_equal(t, v->plan.options, p->options))
		return false;
	return option_values_equal(&tables_service, v->plan.common, p->common);
}

bool service_is_copy(const struct service *v, size_t i)
{
	return i > 0 && addr_equal(&v->listeners[i]->bound, &v->listeners[i - 1]->bound);
}

static int add_listener(struct service *v, struct listener *ln)
{
	if (v->n == v->cap) {
		size_t cap = v->cap ? 2 * v->cap : 4;
		struct listener **l = mem_realloc(v->listeners, cap * sizeof(*l));

		if (!l)
			return -ENOMEM;
		v->listeners = l;
		v->cap = cap;
	}
	v->listeners[v->n++] = ln;
	return 0;
}

/* The socket that is bound there already, when this configuration means the same one. */
static struct listener *find_same(const struct service *old, const struct addr_text *text, const struct peer *at,
				  bool v6only, unsigned nth)
{
	for (size_t i = 0; old && i < old->n; i++) {
		struct listener *ln = old->listeners[i];

		if (!addr_equal(&ln->text, text) || !peer_same_host(ln->local, at) || ln->v6only != v6only)
			continue;
		if (nth-- == 0)
			return ln;
	}
	return NULL;
}

static void bind_problem(const struct service *v, const struct addr_text *text, struct buf *why,
			 struct conf_problems *ps)
{
	struct buf b;

	buf_init(&b, 1024);
	addr_format(text, &b);
	service_problem(&v->plan, ps, "cannot listen on %s: %s", buf_str(&b), buf_str(why));
	buf_done(&b);
}

/* ::1 where there is no IPv6: the other family serves alone. */
static bool may_miss(const struct addr_text *text, const struct netaddr *at, int err)
{
	return err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT ? text->host[0] == '\0' && at->sa.sa_family == AF_INET6
							     : false;
}

/* With port 0 both families of one address get the same port, as they do with a fixed one. */
static void same_port(const struct service *v, const struct addr_text *text, struct netaddr *at, size_t first)
{
	struct netaddr me;

	if (text->port != 0 || first >= v->n || !netaddr_of_peer(v->listeners[first]->local, &me))
		return;
	netaddr_set_port(at, v->listeners[first]->local->port);
}

static struct listen_setup listen_setup_of(const struct service *v)
{
	const struct service_options *c = v->plan.common;

	return (struct listen_setup){
		.backlog = c->backlog,
		.nodelay = c->nodelay,
		.v6only = c->family == FAMILY_6,
		.mode = v->plan.internal ? 0600 : c->mode,
	};
}

void service_tune(const struct service *v)
{
	struct listen_setup setup = listen_setup_of(v);

	for (size_t i = 0; i < v->n; i++) {
		int r = listener_tune(v->listeners[i], &setup);
		struct log_line line;

		if (r == 0 || !log_begin(&line, LOG_WARN, "socket-options"))
			continue;
		log_str(&line, "service", v->plan.name);
		log_errno(&line, r);
		log_end(&line);
	}
}

static int bind_one(struct service *v, const struct service *old, const struct addr_text *text, struct netaddr *at,
		    size_t first, struct conf_problems *ps)
{
	const struct service_options *c = v->plan.common;
	bool many = at->type == SOCK_DGRAM && v->server->n_loops > 2 && at->sa.sa_family != AF_UNIX;
	unsigned copies = many ? v->server->n_loops - 1 : 1;
	struct peer *want = netaddr_peer(&at->sa, at->n);
	struct buf why;
	int r = want ? 0 : -ENOMEM;

	buf_init(&why, 1024);
	for (unsigned k = 0; k < copies && r == 0; k++) {
		struct listener *ln = find_same(old, text, want, c->family == FAMILY_6, k);
		struct listen_setup setup = listen_setup_of(v);

		setup.reuseport = many;
		setup.probe = many && k == 0;
		if (ln) {
			listener_ref(ln);
		} else {
			same_port(v, text, at, first);
			r = listener_new(text, at, &setup, &ln, &why);
			if (r < 0)
				break;
			ln->vital = v->plan.internal;
		}
		r = add_listener(v, ln);
		if (r < 0)
			listener_unref(ln);
	}
	if (may_miss(text, at, r))
		r = 0;
	else if (r < 0)
		bind_problem(v, text, &why, ps);
	buf_done(&why);
	peer_unref(want);
	return r;
}

static int bind_address(struct service *v, const struct service *old, const struct addr_text *text,
			struct conf_problems *ps)
{
	struct netaddr *at = NULL;
	unsigned n = 0;
	size_t first = v->n;
	struct buf why;
	int r;

	buf_init(&why, 1024);
	r = netaddr_resolve(text, v->plan.common->family, true, &at, &n, &why);
	if (r < 0)
		bind_problem(v, text, &why, ps);
	for (unsigned i = 0; i < n && r == 0; i++)
		r = bind_one(v, old, text, &at[i], first, ps);
	buf_done(&why);
	mem_free(at);
	return r;
}

int service_bind(struct service *v, const struct service *old, struct conf_problems *ps)
{
	const struct addr_list *list = &v->plan.common->listen;
	int r = 0;

	for (size_t i = 0; i < list->n; i++) {
		int one = bind_address(v, old, &list->v[i], ps); /* each that fails is told */

		r = r < 0 ? r : one;
	}
	if (r == 0) {
		v->dgram_ids = mem_zalloc((v->n * v->server->n_loops + 1) * sizeof(*v->dgram_ids));
		r = v->dgram_ids ? 0 : -ENOMEM;
	}
	return r;
}

/* ---- in the loops ---- */

void service_adopt(struct service *v, struct lane *lane, const struct listener *ln, const struct peer *peer,
		   struct adopt *ret)
{
	*ret = (struct adopt){
		.fd = -1, .wfd = -1, .lane = lane, .local = ln->local, .peer = peer, .socket = true, .vital = ln->vital
	};
	if (ln->text.transport == ADDR_TLS) {
		ret->layer = &tls_server_layer;
		ret->layer_arg = tls_arg_new(v->plan.tls_ctx, NULL);
	}
}

struct change {
	struct service *v;
	const struct service *old, *next;
	_Atomic int err;
};

/* Which of the copies of a datagram socket is this loop's? */
static bool serves_dgram(const struct service *v, size_t i, unsigned loop)
{
	size_t nth = 0;

	if (loop == 0)
		return false;
	for (size_t k = 0; k < i; k++)
		nth += v->listeners[k]->dgram && addr_equal(&v->listeners[k]->text, &v->listeners[i]->text) &&
		       peer_same_host(v->listeners[k]->local, v->listeners[i]->local);
	return nth + 1 == loop || (v->server->n_loops == 2 && loop == 1);
}

/* This loop's share of the listeners; those that `old` has too change hands. */
static int place_here(struct loop *l, struct service *v, const struct service *old, unsigned me)
{
	bool accepts = v->model->every_loop && !v->plan.internal ? me > 0 : me == 0;
	int r = 0;

	for (size_t i = 0; i < v->n && r == 0; i++) {
		struct listener *ln = v->listeners[i];

		if (!ln->dgram && !accepts) {
			loop_unlisten(l, ln); /* the model before this one may have accepted here */
		} else if (!ln->dgram) {
			r = loop_listen(l, ln, &v->lanes[me], v->model->take,
					v->model->every_loop ? WATCH_ACCEPT : WATCH_LEVEL);
		} else if (serves_dgram(v, i, me)) {
			if (old)
				service_end_dgram(old, l, me, ln);
			r = loop_adopt_dgram(l, ln->fd, &v->lanes[me], ln->local, v->plan.common->low_ports,
					     ln->pktinfo, &v->dgram_ids[i * v->server->n_loops + me]);
		}
	}
	return r;
}

static void install_here(struct loop *l, void *arg)
{
	struct change *ch = arg;
	struct service *v = ch->v;
	unsigned me = server_loop_number(v->server, l);
	int r = 0;

	service_ref(v); /* the lane's, until it is released */
	if (v->pub.proto->shard && me > 0)
		r = loop_add_shard(l, &v->lanes[me]);
	if (r == 0)
		r = place_here(l, v, ch->old, me);
	if (r < 0)
		atomic_store(&ch->err, r);
}

int service_install(struct service *v, const struct service *old)
{
	struct change ch = { .v = v, .old = old };

	server_everywhere(v->server, install_here, &ch);
	return atomic_load(&ch.err);
}

static void put_back_here(struct loop *l, void *arg)
{
	struct change *ch = arg;
	unsigned me = server_loop_number(ch->v->server, l);
	int r = place_here(l, ch->v, ch->old, me);
	struct log_line line;

	if (r < 0 && log_begin(&line, LOG_ERROR, "cannot-serve")) {
		log_str(&line, "service", ch->v->plan.name);
		log_uint(&line, "loop", me);
		log_errno(&line, r);
		log_end(&line);
	}
}

void service_put_back(struct service *old, struct service *v)
{
	if (old)
		server_everywhere(old->server, put_back_here, &(struct change){ .v = old, .old = v });
	service_retire(v, old);
}

void service_end_dgram(const struct service *v, struct loop *l, unsigned me, const struct listener *ln)
{
	for (size_t i = 0; i < v->n; i++) {
		sess_id *id = &v->dgram_ids[i * v->server->n_loops + me];

		if (v->listeners[i] == ln && *id) {
			loop_end(l, *id);
			*id = 0;
		}
	}
}

static bool has_listener(const struct service *v, const struct listener *ln)
{
	for (size_t i = 0; v && i < v->n; i++)
		if (v->listeners[i] == ln)
			return true;
	return false;
}

static void retire_here(struct loop *l, void *arg)
{
	struct change *ch = arg;
	struct service *v = ch->v;
	unsigned me = server_loop_number(v->server, l);

	for (size_t i = 0; i < v->n; i++) {
		if (has_listener(ch->next, v->listeners[i]))
			continue;
		if (v->listeners[i]->dgram)
			service_end_dgram(v, l, me, v->listeners[i]);
		else
			loop_unlisten(l, v->listeners[i]);
	}
	loop_retire(l, &v->lanes[me]);
}

void service_retire(struct service *v, const struct service *next)
{
	server_everywhere(v->server, retire_here, &(struct change){ .v = v, .next = next });
	for (size_t i = 0; i < v->n; i++)
		if (!has_listener(next, v->listeners[i]))
			listener_close(v->listeners[i]);
}
