/* door.c - see door.h. */
#include "drive/door.h"

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "drive/net/named.h"
#include "drive/server_priv.h"
#include "drive/sys.h"

void doors_done(struct doors *d)
{
	for (size_t i = 0; i < d->n; i++) {
		fd_close(&d->v[i].fd);
		fd_close(&d->v[i].dir);
	}
	mem_free(d->v);
	*d = (struct doors){};
}

/* ---- of the monitor ---- */

static struct door door_of(const struct service *v, const struct entry *e)
{
	struct door d = {
		.number = e->ln->number,
		.nth = e->nth,
		.tls = e->tls,
		.ws = e->ws,
		.spare = e->spare,
		.at = e->ln->at,
		.fd = e->ln->fd,
		.dir = named_dir(e->ln),
	};

	snprintf(d.service, sizeof(d.service), "%s", v->plan.name);
	return d;
}

static int each_of(const struct service *v, door_fn *fn, void *arg)
{
	int r = 0;

	for (size_t i = 0; i < v->n && r == 0; i++) {
		struct door d = door_of(v, &v->entries[i]);

		listener_mend(v->entries[i].ln, v->plan.common->backlog);
		r = fn(&d, arg);
	}
	return r;
}

int server_each_door(const struct server *s, door_wants *wants, door_fn *fn, void *arg)
{
	struct service *const *v = s->next.v ? s->next.v : s->services;
	size_t n = s->next.v ? s->next.n : s->n;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		if (!service_is_here(v[i]) && wants(&v[i]->plan, arg))
			r = each_of(v[i], fn, arg);
	return r;
}

/* ---- of a worker ---- */

static bool is_of(const struct door *d, const struct service *v)
{
	return strcmp(d->service, v->plan.name) == 0;
}

static bool has(const struct service *v, const struct door *d)
{
	for (size_t i = 0; i < v->n; i++)
		if (v->entries[i].ln->number == d->number && v->entries[i].tls == d->tls && v->entries[i].ws == d->ws)
			return true;
	return false;
}

bool doors_match(const struct service *v, const struct doors *given)
{
	size_t n = 0;

	for (size_t i = 0; i < given->n; i++) {
		if (!is_of(&given->v[i], v))
			continue;
		if (!has(v, &given->v[i]))
			return false;
		n++;
	}
	return n == v->n;
}

static struct listener *find(const struct server *s, uint32_t number)
{
	for (const struct list *n = s->listeners.next; n != &s->listeners; n = n->next) {
		struct listener *ln = list_entry(n, struct listener, node);

		if (ln->number == number)
			return ln;
	}
	return NULL;
}

static int open_it(struct server *s, struct door *d, struct listener **ret)
{
	struct listener *ln;
	int r;

	if (d->fd < 0)
		return -EPROTO; /* we do not have it, whatever the monitor thinks */
	r = listener_taken(&d->at, d->fd, d->dir, &ln);
	d->fd = d->dir = -1;
	if (r < 0)
		return r;
	ln->number = d->number;
	ln->nth = d->nth;
	list_add(&s->listeners, &ln->node); /* with the first reference */
	*ret = ln;
	return 0;
}

static int take(struct service *v, struct door *d)
{
	struct listener *ln = find(v->server, d->number);
	struct entry e = { .at = d->at, .nth = d->nth, .given = -1, .tls = d->tls, .ws = d->ws, .spare = d->spare };
	int r = ln ? 0 : open_it(v->server, d, &ln);

	return r < 0 ? r : doors_add(v, &e, ln);
}

int doors_take(struct service *v, struct doors *given)
{
	int r = 0;

	for (size_t i = 0; i < given->n && r == 0; i++)
		if (is_of(&given->v[i], v))
			r = take(v, &given->v[i]);
	return r;
}
