/*
 * doors.c - the sockets of a server. They are its own, found by the address that they are bound to; a service only says
 * which it wants. So an address can change its section, its transport or its model, and who connects meanwhile waits in a
 * backlog that stays. See docs/design/reload.md.
 *
 * Main thread; the loops look at them only while it waits for them.
 */
#include <errno.h>
#include <limits.h>

#include "base/log.h"
#include "base/mem.h"
#include "drive/server_priv.h"

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

static const struct addr_text *text_of(const struct service *v, const struct entry *e)
{
	return &v->plan.common->listen.v[e->word];
}

static void problem(const struct service *v, unsigned word, const struct buf *why, struct conf_problems *ps)
{
	struct buf b;

	buf_init(&b, 1024);
	addr_format(&v->plan.common->listen.v[word], &b);
	service_problem(&v->plan, v->plan.listen_line, ps, "cannot listen on %s: %s", buf_str(&b), buf_str(why));
	buf_done(&b);
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

/* One socket, or for datagrams one for each loop: two threads cannot read from the same one without a lock. */
static unsigned copies(const struct server *s, const struct netaddr *a)
{
	return a->type == SOCK_DGRAM && a->sa.sa_family != AF_UNIX ? s->n_loops - 1 : 1;
}

static int want(struct service *v, const struct service *old, const struct netaddr *a, unsigned word)
{
	int r = 0;

	for (unsigned k = 0; k < copies(v->server, a) && r == 0; k++) {
		struct entry e = { .at = *a, .word = word, .nth = k };
		bool picked = addr_is_net(text_of(v, &e)) && netaddr_port(a) == 0;
		struct listener *ln = picked ? find_picked(v, &e, old) : find(v->server, &e, v->plan.internal);

		r = add_entry(v, &e);
		if (r == 0 && ln)
			take(v, &v->entries[v->n - 1], ln);
	}
	return r;
}

static int want_word(struct service *v, const struct service *old, unsigned word, struct conf_problems *ps)
{
	struct netaddr *found = NULL;
	unsigned n = 0;
	struct buf why;
	int r;

	buf_init(&why, 1024);
	r = netaddr_resolve(&v->plan.common->listen.v[word], v->plan.common->family, true, &found, &n, &why);
	if (r < 0)
		problem(v, word, &why, ps);
	for (unsigned i = 0; i < n && r == 0; i++)
		r = want(v, old, &found[i], word);
	buf_done(&why);
	mem_free(found);
	return r;
}

int doors_want(struct service *v, const struct service *old, struct conf_problems *ps)
{
	int r = 0;

	for (unsigned i = 0; i < v->plan.common->listen.n; i++) {
		int one = want_word(v, old, i, ps); /* each that fails is told */

		r = r < 0 ? r : one;
	}
	return r;
}

void doors_keep(struct service *v)
{
	for (size_t i = 0; i < v->n; i++)
		v->entries[i].ln->next = v;
}

/* ---- what is new ---- */

static struct listen_setup setup_of(const struct service *v)
{
	const struct service_options *c = v->plan.common;

	return (struct listen_setup){
		.backlog = c->backlog,
		.nodelay = c->nodelay,
		.mode = v->plan.internal ? 0600 : c->mode,
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

static int bind_it(struct service *v, const struct entry *e, struct listener **ret, struct buf *why)
{
	struct listen_setup setup = setup_of(v);
	bool many = copies(v->server, &e->at) > 1, ours = share(v->server, e, true);
	int r;

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

static int open_entry(struct service *v, struct entry *e, struct buf *why)
{
	const struct service *other;
	struct netaddr wanted = e->at;
	struct listener *ln;
	int r;

	same_port(v, e);
	other = taken_by(v, e);
	if (other) {
		buf_addf(why, "address in use by [%s]", other->plan.name);
		return -EADDRINUSE;
	}
	r = bind_it(v, e, &ln, why);
	e->at = wanted;
	if (r < 0)
		return r;
	ln->vital = v->plan.internal;
	ln->nth = e->nth;
	list_add(&v->server->listeners, &ln->node); /* with the first reference */
	take(v, e, ln);
	v->news = true;
	return 0;
}

/* ::1 where there is no IPv6: the other family serves alone. */
static bool may_miss(const struct service *v, const struct entry *e, int err)
{
	return (err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT) && text_of(v, e)->host[0] == '\0' &&
	       e->at.sa.sa_family == AF_INET6;
}

/* 0 or -errno; told once for each address as written. */
static int open_or_tell(struct service *v, struct entry *e, struct conf_problems *ps)
{
	struct buf why;
	int r;

	buf_init(&why, 1024);
	r = open_entry(v, e, &why);
	if (r < 0 && may_miss(v, e, r))
		r = 0;
	else if (r < 0)
		problem(v, e->word, &why, ps);
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
	struct listen_setup setup = setup_of(v);

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
		if (ln->dgram && me == ln->nth + 1) {
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
	for (struct list *n = s->listeners.next, *after; n != &s->listeners; n = after) {
		struct listener *ln = at(n);

		after = n->next;
		ln->owner = ln->next;
		ln->next = NULL;
		if (ln->owner)
			continue;
		list_del(n);
		listener_close(ln);
		listener_unref(ln);
	}
}
