/*
 * planner_given.c - sockets that systemd has opened for us: which section each is for. And plans that are served for one
 * errand only, as inetd has them.
 */
#include <errno.h>

#include "base/mem.h"
#include "drive/net/given.h"
#include "main/planner_priv.h"
#include "proto/protos.h"

/* ---- whose is it? ---- */

static bool is_mentioned(const struct planner *p, int fd)
{
	for (size_t i = 0; i < p->plan->n; i++) {
		const struct addr_list *l = &p->plan->services[i].common->listen;

		for (size_t k = 0; k < l->n; k++)
			if (l->v[k].transport == ADDR_FD && l->v[k].fd == fd)
				return true;
	}
	return false;
}

static bool means(const struct addr_text *a, enum tables_family family, const struct netaddr *at)
{
	struct netaddr *v = NULL;
	unsigned n = 0;
	bool same = false;

	if ((!addr_is_net(a) && !addr_is_path(a)) || !netaddr_is_numeric(a) || a->port < 0)
		return false; /* a name is not looked up for this */
	if (netaddr_resolve(a, family, true, &v, &n, NULL) < 0)
		return false;
	for (unsigned i = 0; i < n; i++)
		same |= netaddr_same(&v[i], at);
	mem_free(v);
	return same;
}

/* Is it bound to an address that is written somewhere? Then it will be found when that one is to be opened. */
static bool is_address(const struct planner *p, int fd)
{
	enum given_kind kind = given_kind(fd);
	struct netaddr at;

	if ((kind != GIVEN_DOOR && kind != GIVEN_DGRAM) || given_address(fd, &at) < 0)
		return false;
	for (size_t i = 0; i < p->plan->n; i++) {
		const struct service_options *c = p->plan->services[i].common;

		for (size_t k = 0; k < c->listen.n && c->enabled; k++)
			if (means(&c->listen.v[k], c->family, &at))
				return true;
	}
	return false;
}

/* ---- giving it away ---- */

static int add_fd(struct plan_service *s, int fd)
{
	struct addr_list *l = &s->common->listen;
	struct addr_text *v = mem_realloc(l->v, (l->n + 1) * sizeof(*v));

	if (!v)
		return -ENOMEM;
	l->v = v;
	l->v[l->n++] = (struct addr_text){ .transport = ADDR_FD, .fd = fd };
	return 0;
}

static bool is_named_by_some(const struct planner *p, const char *name)
{
	for (size_t i = 0; i < p->setup->n_sockets; i++)
		if (strcmp(p->setup->sockets[i].name, name) == 0)
			return true;
	return false;
}

/* With neither file nor words the name of a socket is all that there is to say what to serve. */
static const struct proto *proto_named(const struct planner *p, const char *name)
{
	return p->setup->file || p->setup->n_words > 0 ? NULL : protos_find(name);
}

static int take_named(struct planner *p, const struct planner_socket *socket)
{
	struct plan_service *s = planner_find(p, socket->name);
	const struct proto *proto = s ? NULL : proto_named(p, socket->name);
	struct str_closest c = str_closest_start(socket->name);
	char text[PLANNER_SENTENCE];
	struct buf why;

	if (proto) {
		s = planner_add(p, socket->name, proto, NULL);
		if (!s)
			return -ENOMEM;
	}
	if (s)
		return s->common->enabled ? add_fd(s, socket->fd) : 0;
	for (size_t i = 0; i < p->plan->n; i++)
		str_closest_offer(&c, p->plan->services[i].name);
	buf_init_fixed(&why, text, sizeof(text));
	buf_addf(&why, "descriptor %d is named ", socket->fd);
	buf_add_excerpt(&why, span_str(socket->name));
	buf_adds(&why, ", but no section is");
	str_add_hint(&why, c.best);
	conf_problem(p->ps, "LISTEN_FDNAMES", 0, "%s", text);
	return 0;
}

/* The next section that no socket is named after. */
static struct plan_service *next_section(const struct planner *p, size_t *at)
{
	while (*at < p->plan->n) {
		struct plan_service *s = &p->plan->services[(*at)++];

		if (s->common->enabled && !is_named_by_some(p, s->name))
			return s;
	}
	return NULL;
}

int planner_take_sockets(struct planner *p)
{
	size_t at = 0;
	int err = 0;

	for (size_t i = 0; i < p->setup->n_sockets && !err; i++)
		if (*p->setup->sockets[i].name && !is_mentioned(p, p->setup->sockets[i].fd))
			err = take_named(p, &p->setup->sockets[i]);
	for (size_t i = 0; i < p->setup->n_sockets && !err && !p->setup->from; i++) { /* else they are not ours */
		const struct planner_socket *socket = &p->setup->sockets[i];
		struct plan_service *s;

		if (*socket->name || is_mentioned(p, socket->fd) || is_address(p, socket->fd))
			continue;
		s = next_section(p, &at);
		if (s)
			err = add_fd(s, socket->fd);
		else
			conf_problem(p->ps, "LISTEN_FDS", 0,
				     "descriptor %d has no name, and there is no section left for it", socket->fd);
	}
	return err;
}

/* ---- errands ---- */

static bool is_errand(const struct addr_text *a)
{
	return a->transport == ADDR_STDIO || (a->transport == ADDR_FD && given_kind(a->fd) == GIVEN_TALK);
}

static bool is_begun(const struct addr_text *a)
{
	int fd = a->transport == ADDR_STDIO ? 0 : a->transport == ADDR_FD ? a->fd : -1;
	enum given_kind kind = fd < 0 ? GIVEN_NOTHING : given_kind(fd);

	return kind == GIVEN_TALK || (kind == GIVEN_FILE && fd == 0);
}

bool planner_has_begun(const struct plan *plan)
{
	for (size_t i = 0; i < plan->n; i++) {
		const struct addr_list *l = &plan->services[i].common->listen;

		for (size_t k = 0; k < l->n; k++)
			if (is_begun(&l->v[k]))
				return true;
	}
	return false;
}

bool planner_is_errand(const struct plan *plan)
{
	for (size_t i = 0; i < plan->n; i++) {
		const struct service_options *c = plan->services[i].common;

		for (size_t k = 0; k < c->listen.n && c->enabled; k++)
			if (!is_errand(&c->listen.v[k]))
				return false;
		if (c->enabled && c->listen.n == 0)
			return false;
	}
	return plan->n > 0;
}
