/* probe.c - a plan held against the system without serving it, for `guichet check`; see server.h. */
#include <errno.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "drive/server_priv.h"

struct probe {
	const struct plan_service *service;
	struct listen_setup setup;
	const struct addr_list *ours;
	struct conf_problems *ps;
};

static const char *file_of(const struct netaddr *a)
{
	return a->type == NETADDR_FIFO ? a->name.path : a->sa.sa_family == AF_UNIX ? a->un.sun_path : NULL;
}

/* One file may be written in several ways. */
static bool is_same_file(const struct netaddr *a, const struct netaddr *b)
{
	const char *one = file_of(a), *other = file_of(b);
	struct stat x, y;

	return one && other && a->type == b->type && stat(one, &x) == 0 && stat(other, &y) == 0 &&
	       x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* The guichet that runs has it: a reload takes it over. */
static bool is_ours(const struct probe *p, const struct netaddr *at)
{
	bool found = false;

	for (size_t i = 0; i < p->ours->n && !found; i++) {
		struct netaddr *v = NULL;
		unsigned n = 0;

		if (netaddr_resolve(&p->ours->v[i], FAMILY_ANY, true, &v, &n, NULL) < 0)
			continue;
		for (unsigned k = 0; k < n; k++)
			found |= netaddr_overlaps(&v[k], at) || is_same_file(&v[k], at);
		mem_free(v);
	}
	return found;
}

/* One problem for an address as written, however many sockets it means. */
static void probe_address(const struct probe *p, unsigned word)
{
	const struct addr_text *text = &p->service->common->listen.v[word];
	BUF_AUTO struct buf why;
	struct netaddr *v = NULL;
	unsigned n = 0;
	int r;

	buf_init(&why, 1024);
	r = doors_resolve(p->service, word, &v, &n, &why);
	for (unsigned i = 0; i < n && r == 0; i++) {
		r = listener_probe(&v[i], &p->setup, &why);
		if (doors_may_miss(text, &v[i], r) || (r == -EADDRINUSE && is_ours(p, &v[i]))) {
			buf_reset(&why);
			r = 0;
		}
	}
	if (r < 0)
		doors_problem(p->service, word, &why, p->ps);
	mem_free(v);
}

/* Descriptors that are given are there only when somebody gives them. */
static bool can_ask(const struct addr_text *a)
{
	return server_has_transport(a->transport) && doors_given(a) < 0;
}

static void probe_service(struct probe *p)
{
	const struct addr_list *list = &p->service->common->listen;
	struct owner owner = {};

	if (doors_owner(p->service, &owner, p->ps) < 0)
		return;
	p->setup = doors_setup(p->service->common, &owner);
	for (unsigned i = 0; i < list->n; i++)
		if (can_ask(&list->v[i]))
			probe_address(p, i);
}

void server_probe(const struct plan *plan, const struct addr_list *ours, struct conf_problems *ps)
{
	for (size_t i = 0; i < plan->n; i++) {
		struct probe p = { .service = &plan->services[i], .ours = ours, .ps = ps };

		if (!p.service->internal)
			probe_service(&p);
	}
}
