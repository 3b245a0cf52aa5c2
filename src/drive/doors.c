/*
 * doors.c - the sockets of a server. They are its own, found by the address that they are bound to; a service only says
 * which it wants. So an address can change its section, its transport or its model, and who connects meanwhile waits in a
 * backlog that stays. See docs/design/reload.md.
 *
 * Main thread; the loops look at them only while it waits for them.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "drive/model/brood.h"
#include "drive/model/crew.h"
#include "drive/net/given.h"

static struct listener *at(const struct list *node)
{
	return list_entry(node, struct listener, node);
}

/* ---- what is wanted, and there already ---- */

static int add_entry(struct service *v, const struct entry *e)
{
	if (v->n == v->cap) {
		size_t cap = v->cap ? 2 * v->cap : 4;
		struct entry *more = mem_realloc(v->entries, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		v->entries = more;
		v->cap = cap;
	}
	v->entries[v->n++] = *e;
	return 0;
}

static void take(struct service *v, struct entry *e, struct listener *ln)
{
	e->ln = listener_ref(ln);
	ln->next = v;
}

int doors_add(struct service *v, const struct entry *e, struct listener *ln)
{
	int r = add_entry(v, e);

	if (r == 0 && ln)
		take(v, &v->entries[v->n - 1], ln);
	return r;
}

static const struct addr_text *text_of(const struct service *v, const struct entry *e)
{
	return &v->plan.common->listen.v[e->word];
}

void doors_problem(const struct plan_service *p, unsigned word, const struct buf *why, struct conf_problems *ps)
{
	BUF_AUTO struct buf b;

	buf_init(&b, 1024);
	addr_format(&p->common->listen.v[word], &b);
	service_problem(p, p->listen_line, ps, "cannot listen on %s: %s", buf_str(&b), buf_str(why));
}

static struct listener *find(const struct server *s, const struct entry *e, bool vital)
{
	for (const struct list *n = s->listeners.next; n != &s->listeners; n = n->next)
		if (!at(n)->next && at(n)->nth == e->nth && at(n)->vital == vital && netaddr_same(&at(n)->at, &e->at))
			return at(n);
	return NULL;
}

/* With port 0 the same words of the same section mean the port that was picked for them. */
static struct listener *find_picked(const struct service *v, const struct entry *e, const struct service *old)
{
	for (size_t i = 0; old && i < old->n; i++) {
		const struct entry *o = &old->entries[i];

		if (!o->ln->next && o->nth == e->nth && !o->spare && netaddr_same(&o->at, &e->at) &&
		    addr_equal(text_of(old, o), text_of(v, e)))
			return o->ln;
	}
	return NULL;
}

/* Where event loops read datagrams there is a socket for each: two threads cannot read from the same one without a lock. */
static bool by_loop(const struct netaddr *a)
{
	return a->type == SOCK_DGRAM && a->sa.sa_family != AF_UNIX;
}

static unsigned copies(const struct service *v, const struct netaddr *a)
{
	return by_loop(a) && !v->model->dgram ? v->server->event_loops : 1;
}

static int want(struct service *v, const struct service *old, const struct netaddr *a, unsigned word)
{
	int r = 0;

	for (unsigned k = 0; k < copies(v, a) && r == 0; k++) {
		struct entry e = { .at = *a, .word = word, .nth = k, .given = -1 };
		bool picked = addr_is_net(text_of(v, &e)) && netaddr_port(a) == 0;
		struct listener *ln = picked ? find_picked(v, &e, old) : find(v->server, &e, v->plan.internal);

		e.tls = addr_is_secure(text_of(v, &e));
		e.ws = addr_flags(text_of(v, &e)) & ADDR_F_WEB;
		r = doors_add(v, &e, ln);
	}
	return r;
}

int doors_given(const struct addr_text *a)
{
	return a->transport == ADDR_STDIO ? STDIN_FILENO : a->transport == ADDR_FD ? a->fd : -1;
}

static struct listener *find_given(const struct server *s, int number)
{
	for (const struct list *n = s->listeners.next; n != &s->listeners; n = n->next)
		if (!at(n)->next && at(n)->given == number)
			return at(n);
	return NULL;
}

/* Is it meant by an address of the same service, and so with its transport? systemd knows no TLS. */
static bool has_address(const struct service *v, const struct netaddr *a)
{
	for (size_t i = 0; i < v->n; i++)
		if (netaddr_same(&v->entries[i].at, a))
			return true;
	return false;
}

static int want_given(struct service *v, unsigned word)
{
	struct entry e = { .word = word, .given = doors_given(&v->plan.common->listen.v[word]) };
	struct listener *ln = find_given(v->server, e.given);

	if (ln)
		e.at = ln->at;
	else if (given_kind(e.given) == GIVEN_DOOR || given_kind(e.given) == GIVEN_DGRAM)
		(void)!given_address(e.given, &e.at); /* what is wrong with it is told when it is taken */
	if (has_address(v, &e.at))
		return 0;
	return doors_add(v, &e, ln);
}

int doors_resolve(const struct plan_service *p, unsigned word, struct netaddr **ret, unsigned *ret_n, struct buf *why)
{
	const struct service_options *c = p->common;
	int r = netaddr_resolve(&c->listen.v[word], c->family, true, ret, ret_n, why);

	for (unsigned i = 0; r == 0 && c->interface && addr_is_net(&c->listen.v[word]) && i < *ret_n; i++)
		snprintf((*ret)[i].interface, sizeof((*ret)[i].interface), "%s", c->interface);
	return r;
}

static int want_word(struct service *v, const struct service *old, unsigned word, struct conf_problems *ps)
{
	const struct addr_list *listen = &v->plan.common->listen;
	struct netaddr *found = NULL;
	unsigned n = 0;
	struct buf why;
	int r;

	if (doors_given(&listen->v[word]) >= 0)
		return 0; /* later, when all addresses are known */
	buf_init(&why, 1024);
	r = doors_resolve(&v->plan, word, &found, &n, &why);
	if (r < 0)
		doors_problem(&v->plan, word, &why, ps);
	for (unsigned i = 0; i < n && r == 0; i++)
		r = want(v, old, &found[i], word);
	buf_done(&why);
	mem_free(found);
	return r;
}

int doors_owner(const struct plan_service *p, struct owner *ret, struct conf_problems *ps)
{
	BUF_AUTO struct buf why;
	int r;

	ret->mode = p->internal ? 0600 : p->common->mode;
	buf_init(&why, 1024);
	r = owner_parse(p->common->owner, &ret->uid, &ret->gid, &why);
	if (r < 0)
		service_problem(p, p->owner_line, ps, "owner: %s", buf_str(&why));
	return r;
}

int doors_want(struct service *v, const struct service *old, struct conf_problems *ps)
{
	const struct addr_list *listen = &v->plan.common->listen;
	int r = doors_owner(&v->plan, &v->owner, ps);

	for (unsigned i = 0; i < listen->n; i++) {
		int one = want_word(v, old, i, ps); /* each that fails is told */

		r = r < 0 ? r : one;
	}
	for (unsigned i = 0; i < listen->n && r == 0; i++)
		if (doors_given(&listen->v[i]) >= 0)
			r = want_given(v, i);
	return r;
}

void doors_keep(struct service *v)
{
	for (size_t i = 0; i < v->n; i++)
		v->entries[i].ln->next = v;
}

/* ---- what is new ---- */

struct listen_setup doors_setup(const struct service_options *c, const struct owner *owner)
{
	return (struct listen_setup){
		.backlog = c->backlog,
		.socket = {
			.nodelay = c->nodelay,
			.reuse = c->reuse,
			.keepalive = c->keepalive,
			.receive = c->receive_buffer,
			.send = c->send_buffer,
		},
		.owner = *owner,
	};
}

/* Who will be served at a part of this address; the other sockets of the very same one are not in its way. */
static const struct service *taken_by(const struct service *v, const struct entry *e)
{
	const struct list *all = &v->server->listeners;

	for (const struct list *n = all->next; n != all; n = n->next)
		if (at(n)->next && netaddr_overlaps(&at(n)->at, &e->at) &&
		    !(at(n)->next == v && at(n)->nth != e->nth && netaddr_same(&at(n)->at, &e->at)))
			return at(n)->next;
	return NULL;
}

/*
 * Those that nobody wants any more may be in the way until they are closed, which must not be before the new one listens.
 * The system lets both be bound when both say so. Returns whether there are any.
 */
static bool share(const struct server *s, const struct entry *e, bool on)
{
	bool some = false;

	for (const struct list *n = s->listeners.next; n != &s->listeners; n = n->next) {
		if (at(n)->next || !netaddr_overlaps(&at(n)->at, &e->at))
			continue;
		some = true;
		if (on || !at(n)->dgram) /* a failure shows when the new one is bound */
			(void)!listener_share(at(n), on);
	}
	return some;
}

/* With port 0 all sockets of one address get the same port, as they do with a fixed one. */
static void same_port(const struct service *v, struct entry *e)
{
	for (const struct entry *o = v->entries; o < e; o++)
		if (o->ln && o->word == e->word && addr_is_net(text_of(v, e)) && netaddr_port(&e->at) == 0)
			netaddr_set_port(&e->at, netaddr_port(&o->ln->at));
}

/* Can the service be reached by it at all? What it is shows only when it is there. */
static int check_given(const struct service *v, const struct listener *ln, struct buf *why)
{
	unsigned need = ln->dgram ? P_DGRAM : P_STREAM;

	if (!(v->plan.proto->flags & need))
		buf_addf(why, "it is a %s socket, and %s is no such service", ln->dgram ? "datagram" : "stream",
			 v->plan.proto->name);
	else if (v->plan.proto->flags & P_SHARED && ln->shared)
		buf_addf(why, "%s needs a socket there, because %s", v->plan.proto->name,
			 v->plan.proto->needs ? v->plan.proto->needs : "its sessions meet in memory");
	return why->n ? -EPROTONOSUPPORT : 0;
}

static int take_given(const struct service *v, int number, struct listener **ret, struct buf *why)
{
	struct listener *ln;
	int r = listener_given(v->server->given, number, &ln, why);

	if (r < 0) {
		if (why->n == 0)
			buf_adds(why, strerrordesc_np(-r));
		return r;
	}
	r = check_given(v, ln, why);
	if (r < 0) {
		listener_unref(ln);
		return r;
	}
	*ret = ln;
	return 0;
}

static int bind_it(struct service *v, const struct entry *e, struct listener **ret, struct buf *why)
{
	struct listen_setup setup = doors_setup(v->plan.common, &v->owner);
	bool many = by_loop(&e->at) && v->server->event_loops > 1; /* perhaps later: after a change of the model */
	bool ours;
	int r, number = e->given >= 0 ? e->given : given_find(v->server->given, &e->at);

	if (number >= 0)
		return take_given(v, number, ret, why);
	ours = share(v->server, e, true);
	setup.reuseport = many || ours;
	setup.probe = many && e->nth == 0 && !ours;
	r = listener_new(&e->at, &setup, ret, why);
	if (!ours)
		return r;
	share(v->server, e, false);
	if (r == 0 && !many)
		(void)!listener_share(*ret, false);
	return r;
}

/* Can the sockets behind this one, which are to have its port, have it too? */
static bool fits_others(struct service *v, const struct entry *e, const struct listener *ln)
{
	for (const struct entry *o = e + 1; o < v->entries + v->n; o++) {
		BUF_AUTO struct buf why = BUF_INIT(1024);
		struct entry probe = *o;
		struct listener *there;
		int r;

		if (o->ln || o->word != e->word || o->nth > 0)
			continue;
		netaddr_set_port(&probe.at, netaddr_port(&ln->at));
		r = bind_it(v, &probe, &there, &why);
		if (r == 0)
			listener_unref(there);
		if (r == -EADDRINUSE)
			return false;
	}
	return true;
}

/* The system picks a port that is free at one address; somebody may have it at the next one (of the other family). */
static int bind_picked(struct service *v, const struct entry *e, struct listener **ret, struct buf *why)
{
	enum { TRIES = 64 };
	int r = bind_it(v, e, ret, why);

	for (unsigned i = 1; i < TRIES && r == 0 && !fits_others(v, e, *ret); i++) {
		listener_unref(*ret);
		r = bind_it(v, e, ret, why);
	}
	return r;
}

static int open_entry(struct service *v, struct entry *e, struct buf *why)
{
	const struct service *other;
	struct netaddr wanted = e->at;
	struct listener *ln;
	bool picked;
	int r;

	same_port(v, e);
	other = taken_by(v, e);
	if (other) {
		buf_addf(why, "address in use by [%s]", other->plan.name);
		return -EADDRINUSE;
	}
	picked = addr_is_net(text_of(v, e)) && netaddr_port(&e->at) == 0;
	r = picked ? bind_picked(v, e, &ln, why) : bind_it(v, e, &ln, why);
	e->at = wanted;
	if (r < 0)
		return r;
	ln->vital = v->plan.internal;
	ln->nth = e->nth;
	ln->number = ++v->server->numbered;
	list_add(&v->server->listeners, &ln->node); /* with the first reference */
	take(v, e, ln);
	v->news = true;
	return 0;
}

bool doors_may_miss(const struct addr_text *text, const struct netaddr *a, int err)
{
	return (err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT) && text->host[0] == '\0' && a->sa.sa_family == AF_INET6;
}

/* 0 or -errno; told once for each address as written. */
static int open_or_tell(struct service *v, struct entry *e, struct conf_problems *ps)
{
	struct buf why;
	int r;

	buf_init(&why, 1024);
	r = open_entry(v, e, &why);
	if (r < 0 && doors_may_miss(text_of(v, e), &e->at, r))
		r = 0;
	else if (r < 0)
		doors_problem(&v->plan, e->word, &why, ps);
	if (r == -EADDRINUSE && v->plan.internal) /* the control socket */
		ps->rival = true;
	buf_done(&why);
	return r;
}

int doors_open(struct service *v, struct conf_problems *ps)
{
	unsigned bad = UINT_MAX; /* a word that failed: its other sockets would only say it again */
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < v->n; i++) {
		struct entry *e = &v->entries[i];
		int one = e->ln || e->word == bad ? 0 : open_or_tell(v, e, ps);

		if (one < 0) {
			bad = e->word;
			r = r < 0 ? r : one;
		}
		if (e->ln)
			v->entries[n++] = *e;
	}
	v->n = n;
	return r;
}

/* Unwanted, but all that would come to it is wanted by a wider one: better than to close it, and reset who waits there. */
int doors_spare(struct service *v)
{
	const struct list *all = &v->server->listeners;
	size_t own = v->n;

	for (const struct list *n = all->next; n != all; n = n->next) {
		for (size_t i = 0; i < own && !at(n)->next; i++) {
			struct entry e = v->entries[i];

			if (!netaddr_covers(&e.ln->at, &at(n)->at))
				continue;
			e.nth = at(n)->nth;
			e.spare = true;
			if (add_entry(v, &e) < 0)
				return -ENOMEM;
			take(v, &v->entries[v->n - 1], at(n));
		}
	}
	return 0;
}

void doors_tune(const struct service *v)
{
	struct listen_setup setup = doors_setup(v->plan.common, &v->owner);

	for (size_t i = 0; i < v->n; i++) {
		int r = listener_tune(v->entries[i].ln, &setup);
		struct log_line line;

		if (r == 0 || !log_begin(&line, LOG_WARN, "socket-options"))
			continue;
		log_str(&line, "service", v->plan.name);
		log_errno(&line, r);
		log_end(&line);
	}
}

/* ---- what goes ---- */

void doors_leave(struct server *s, struct loop *l, unsigned me)
{
	for (const struct list *n = s->listeners.next; n != &s->listeners; n = n->next) {
		struct listener *ln = at(n);

		if (ln->next)
			continue;
		if (me == 0 && ln->owner)
			crew_listen_last(ln);
		else if (me == 0)
			crew_unlisten(ln);
		if (ln->owner)
			herd_listen_last(ln);
		if (ln->dgram && me == server_dgram_loop(s, ln)) {
			loop_end(l, ln->session);
			ln->session = 0;
		} else if (ln->owner) {
			loop_listen_last(l, ln);
		} else {
			loop_unlisten(l, ln); /* opened for a plan that failed, or this is the end */
		}
	}
}

void doors_sweep(struct server *s)
{
	brood_settle(s->brood);
	for (struct list *n = s->listeners.next, *after; n != &s->listeners; n = after) {
		struct listener *ln = at(n);

		after = n->next;
		ln->owner = ln->next;
		ln->next = NULL;
		if (ln->owner)
			continue;
		list_del(n);
		listener_close(ln, s->stop_fd);
		listener_unref(ln);
	}
}
