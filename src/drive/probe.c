/* probe.c - a plan held against the system without serving it, for `guichet check`; see server.h. */
#include <errno.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "drive/server_priv.h"

struct probe {
	const struct plan_service *service;
	const struct addr_list *ours;
	struct conf_problems *ps;
};

/* One file may be written in several ways. */
static bool is_same_file(const struct netaddr *a, const struct netaddr *b)
{
	struct stat x, y;

	return a->sa.sa_family == AF_UNIX && b->sa.sa_family == AF_UNIX && stat(a->un.sun_path, &x) == 0 &&
	       stat(b->un.sun_path, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
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

/* ::1 where there is no IPv6: the other family serves alone. */
static bool may_miss(const struct addr_text *text, const struct netaddr *at, int err)
{
	return (err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT) && text->host[0] == '\0' && at->sa.sa_family == AF_INET6;
}

static void tell(const struct probe *p, const struct addr_text *text, const struct buf *why)
{
	BUF_AUTO struct buf b;

	buf_init(&b, 1024);
	addr_format(text, &b);
	service_problem(p->service, p->service->listen_line, p->ps, "cannot listen on %s: %s", buf_str(&b),
			buf_str(why));
}

/* One problem for an address as written, however many sockets it means. */
static void probe_address(const struct probe *p, const struct addr_text *text)
{
	BUF_AUTO struct buf why;
	struct netaddr *v = NULL;
	unsigned n = 0;
	int r;

	buf_init(&why, 1024);
	r = netaddr_resolve(text, p->service->common->family, true, &v, &n, &why);
	for (unsigned i = 0; i < n && r == 0; i++) {
		r = listener_probe(&v[i], &why);
		if (may_miss(text, &v[i], r) || (r == -EADDRINUSE && is_ours(p, &v[i]))) {
			buf_reset(&why);
			r = 0;
		}
	}
	if (r < 0)
		tell(p, text, &why);
	mem_free(v);
}

void server_probe(const struct plan *plan, const struct addr_list *ours, struct conf_problems *ps)
{
	for (size_t i = 0; i < plan->n; i++) {
		struct probe p = { .service = &plan->services[i], .ours = ours, .ps = ps };
		const struct addr_list *list = &p.service->common->listen;

		for (size_t k = 0; k < list->n && !p.service->internal; k++)
			if (server_has_transport(list->v[k].transport))
				probe_address(&p, &list->v[k]);
	}
}
