/* needs.c - see needs.h. */
#include "main/needs.h"

#include <errno.h>

#include "base/mem.h"
#include "base/str.h"

static int add_path(struct needs *n, const char *path, unsigned rights)
{
	for (size_t i = 0; i < n->n_paths; i++) {
		if (strcmp(n->paths[i].path, path) != 0)
			continue;
		n->paths[i].rights |= rights;
		return 0;
	}
	if (n->n_paths == NEEDS_PATHS)
		return -E2BIG;
	n->paths[n->n_paths].rights = rights;
	n->paths[n->n_paths].path = mem_strdup(path);
	return n->paths[n->n_paths++].path ? 0 : -ENOMEM;
}

static int add_folder(struct needs *n, const char *file, unsigned rights)
{
	char *dir;
	int r = str_path_dir(file, &dir);

	if (r < 0)
		return r;
	r = add_path(n, *dir ? dir : ".", rights);
	mem_free(dir);
	return r;
}

/* To be reached there, or (`dials`) to reach somebody there: a client of a named pipe makes two of its own beside it. */
static int add_addresses(struct needs *n, const struct addr_list *l, bool dials)
{
	int r = 0;

	for (size_t i = 0; i < l->n && r == 0; i++) {
		enum addr_transport t = l->v[i].transport;

		n->queues |= t == ADDR_MQ;
		n->datagrams |= (addr_kinds[t].flags & ADDR_F_DGRAM) || t == ADDR_FD || t == ADDR_STDIO; /* who knows */
		n->others |= t == ADDR_FIFO || t == ADDR_MQ || t == ADDR_UNIXGRAM || (dials && addr_is_path(&l->v[i]));
		if (t == ADDR_FIFO)
			r = add_folder(n, l->v[i].path, SANDBOX_READ | SANDBOX_WRITE | (dials ? SANDBOX_PIPES : 0));
	}
	return r;
}

static int add_options(struct needs *n, const struct option_table *t, const void *values, bool dials);

static int add_sections(struct needs *n, const struct option_parts *parts, bool dials)
{
	int r = 0;

	for (size_t i = 0; i < parts->n && r == 0; i++)
		r = add_options(n, parts->table, parts->v[i].values, dials);
	return r;
}

static int add_targets(struct needs *n, const struct addr_list *l)
{
	n->connects |= l->n > 0;
	return add_addresses(n, l, true);
}

/* What an option names: somebody to reach, or a folder. */
static int add_option(struct needs *n, const struct option *row, const void *value, bool dials)
{
	char *const *path = value;

	if (row->type == OPTION_ADDRS && dials)
		return add_targets(n, value);
	if (row->type == OPTION_PATH && row->folder && *path)
		return add_path(n, *path, SANDBOX_READ | SANDBOX_WRITE | SANDBOX_MAKE);
	return row->type == OPTION_PARTS ? add_sections(n, value, dials) : 0;
}

static int add_options(struct needs *n, const struct option_table *t, const void *values, bool dials)
{
	int r = 0;

	for (size_t i = 0; t && i < t->n && r == 0; i++)
		r = add_option(n, &t->rows[i], (const char *)values + t->rows[i].offset, dials);
	return r;
}

/* Each has its own folder in there. */
static int add_store(struct needs *n, const char *folder)
{
	int r = n->store ? 0 : str_path_dir(folder, &n->store);

	return r < 0 ? r : add_path(n, n->store, SANDBOX_READ | SANDBOX_WRITE | SANDBOX_MAKE);
}

static int add_needs(const struct plan_service *p, struct needs *n)
{
	int r = add_addresses(n, &p->common->listen, false);

	n->runs |= (p->proto->flags & P_RUNS) != 0;
	if (r == 0 && p->folder)
		r = add_store(n, p->folder);
	return r == 0 ? add_options(n, p->proto->options, p->options, p->proto->flags & P_DIALS) : r;
}

static int add_service(const struct plan_service *p, struct needs *n, struct conf_problems *ps)
{
	int r = add_needs(p, n);

	if (r == -E2BIG)
		conf_problem(ps, p->file ? p->file : "command line", p->line,
			     "[%s] the services of one group need more than %d folders; give some of them another group",
			     p->name, NEEDS_PATHS);
	return r;
}

int needs_add(struct needs *n, const struct plan *plan, const struct worker_of *of, bool *ret_any,
	      struct conf_problems *ps)
{
	int r = 0;

	for (size_t i = 0; i < plan->n && r == 0; i++) {
		if (!worker_wants(&plan->services[i], of))
			continue;
		*ret_any = true;
		r = add_service(&plan->services[i], n, ps);
	}
	return r;
}

void needs_done(struct needs *n)
{
	for (size_t i = 0; i < n->n_paths; i++)
		mem_free(n->paths[i].path);
	mem_free(n->store);
	*n = (struct needs){};
}

static bool has_path(const struct needs *n, const char *path, unsigned rights)
{
	for (size_t i = 0; i < n->n_paths; i++)
		if (strcmp(n->paths[i].path, path) == 0 && (n->paths[i].rights & rights) == rights)
			return true;
	return false;
}

bool needs_covered(const struct needs *have, const struct needs *want)
{
	for (size_t i = 0; i < want->n_paths; i++)
		if (!has_path(have, want->paths[i].path, want->paths[i].rights))
			return false;
	return have->connects >= want->connects && have->datagrams >= want->datagrams && have->queues >= want->queues &&
	       have->runs >= want->runs && have->others >= want->others;
}
