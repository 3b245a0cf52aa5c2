/*
 * planner.c - see planner.h. One pass for each source of services (planner_file.c, planner_words.c, or all of them), then the
 * same finish for every service: test mode (planner_test.c), certificates (certs.c). A mistake never stops it; only memory does.
 */
#include <errno.h>
#include <stdio.h>

#include "base/addr.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/option.h"
#include "drive/files.h"
#include "drive/net/owner.h"
#include "main/control.h"
#include "main/planner_priv.h"
#include "proto/protos.h"

enum {
	WELL_KNOWN = 1024, /* ports below it are root's */
	PORT_SHIFT = 7000,
	PORT_ASKED = 7900, /* of what has no classic port and is served only when asked for; PORT_SHIFT is chat's */
};

void planner_usual_addresses(const struct proto *proto, struct buf *b)
{
	unsigned port = proto->port < WELL_KNOWN ? PORT_SHIFT + proto->port : proto->port;

	if (proto->port == 0 && proto->flags & P_OFF)
		port = PORT_ASKED;
	if (proto->flags & P_STREAM)
		buf_addf(b, "tcp:%u", port);
	if (proto->flags & P_DGRAM && !(proto->flags & P_DGRAM_OFF))
		buf_addf(b, "%sudp:%u", proto->flags & P_STREAM ? " " : "", port);
}

/* ---- where to complain ---- */

/* Of an option in a section; of the section when it is not there. */
static unsigned line_of(const struct conf_section *s, const char *option)
{
	const struct conf_entry *e = conf_section_find(s, option);

	return e ? e->line : s->line;
}

struct place {
	const char *file;
	unsigned line;
};

static struct place place_of(const struct planner *p, const struct plan_service *s, const char *text)
{
	const struct conf_section *origin = p->origins[s - p->plan->services];
	char option[CONF_NAME_MAX + 1];

	snprintf(option, sizeof(option), "%.*s", (int)strcspn(text, ":"), text);
	return origin ? (struct place){ origin->file, line_of(origin, option) } : (struct place){ s->name, 0 };
}

void planner_problem(struct planner *p, const struct plan_service *s, const char *text)
{
	struct place at = place_of(p, s, text);

	conf_problem(p->ps, at.file, at.line, "%s", text);
}

void planner_warning(struct planner *p, const struct plan_service *s, const char *text)
{
	struct place at = place_of(p, s, text);

	conf_warning(p->ps, at.file, at.line, "%s", text);
}

void planner_nearest(const char *name, const char *more, struct buf *b)
{
	struct str_closest c = str_closest_start(name);

	for (const struct proto *const *p = protos; *p; p++)
		str_closest_offer(&c, (*p)->name);
	if (more)
		str_closest_offer(&c, more);
	str_add_hint(b, c.best);
}

/* ---- services ---- */

/* Options with their defaults. NULL: memory is out, or there is no table. */
static void *new_values(const struct option_table *t)
{
	void *values = NULL;

	return t && option_values_new(t, &values) == 0 ? values : NULL;
}

struct plan_service *planner_add(struct planner *p, const char *name, const struct proto *proto,
				 const struct conf_section *origin)
{
	const struct conf_section **origins = mem_realloc(p->origins, (p->n_origins + 1) * sizeof(*origins));
	struct plan_service *s = origins ? plan_add(p->plan) : NULL;

	if (origins)
		p->origins = origins;
	if (!s)
		return NULL;
	p->origins[p->n_origins++] = origin;
	s->proto = proto;
	s->file = origin ? p->setup->file : NULL;
	if (origin) {
		s->line = origin->line;
		s->listen_line = line_of(origin, "listen");
		s->owner_line = line_of(origin, "owner");
		s->model_line = line_of(origin, "model");
	}
	s->name = mem_strdup(name);
	s->common = new_values(&tables_service);
	s->tls = new_values(&tables_tls);
	s->options = new_values(proto->options);
	return s->name && s->common && s->tls && (s->options || !proto->options) ? s : NULL;
}

/* Its protocol's own options come first: they may give a common name another meaning. */
size_t planner_targets(const struct plan_service *s, struct conf_target targets[PLANNER_TARGETS])
{
	size_t n = 0;

	if (s->proto->options)
		targets[n++] = (struct conf_target){ s->proto->options, s->options };
	targets[n++] = (struct conf_target){ &tables_service, s->common };
	targets[n++] = (struct conf_target){ &tables_tls, s->tls };
	return n;
}

struct plan_service *planner_find(struct planner *p, const char *name)
{
	for (size_t i = 0; i < p->plan->n; i++)
		if (strcmp(p->plan->services[i].name, name) == 0)
			return &p->plan->services[i];
	return NULL;
}

/* ---- from nothing: every service that is ready, on loopback ---- */

static int take_default(struct planner *p, const struct proto *proto)
{
	struct plan_service *s = planner_add(p, proto->name, proto, NULL);
	char text[64];
	struct buf b;

	if (!s)
		return -ENOMEM;
	buf_init_fixed(&b, text, sizeof(text));
	planner_usual_addresses(proto, &b);
	return option_set(&tables_service, s->common, "listen", text, NULL);
}

static int take_defaults(struct planner *p)
{
	bool numbered = true; /* of those without a classic port, one can have the first of ours */
	int err = 0;

	for (const struct proto *const *proto = protos; *proto && !err; proto++) {
		if ((*proto)->flags & P_OFF || ((*proto)->port == 0 && !numbered && !p->setup->test_data))
			continue;
		numbered = numbered && (*proto)->port != 0;
		err = take_default(p, *proto);
	}
	return err;
}

/* ---- the finish ---- */

static bool has_address(const struct plan_service *s, unsigned flag)
{
	for (size_t i = 0; i < s->common->listen.n; i++)
		if (addr_flags(&s->common->listen.v[i]) & flag)
			return true;
	return false;
}

struct service_of_planner {
	struct planner *p;
	const struct plan_service *s;
};

static void take_tls(void *arg, enum certs_what what, const char *text)
{
	const struct service_of_planner *of = arg;

	if (what == CERTS_PROBLEM)
		planner_problem(of->p, of->s, text);
	else if (what == CERTS_WARNING)
		planner_warning(of->p, of->s, text);
	else if (!of->p->plan->made) /* all services share the one that is made */
		of->p->plan->made = mem_strdup(text);
}

static bool is_own(const struct plan_service *s, const char *option)
{
	return s->proto->options && option_find(s->proto->options, option);
}

/* Options that are for some transports only. One whose address was refused may have meant to use them. */
static const struct use {
	const struct option_table *table;
	const char *prefix;     /* of the names */
	const char *address[2]; /* how the addresses begin that it is for */
	const char *why;
} use_of_tls = { &tables_tls,
		 "",
		 { "tls:", "wss:" },
		 "has no use here: no address of the service begins with tls: or wss:" },
  use_of_ws = { &tables_service,
		"ws_",
		{ "ws:", "wss:" },
		"has no use here: no address of the service begins with ws: or wss:" };

static bool is_for(const struct use *u, const struct plan_service *s, const char *option)
{
	return strncmp(option, u->prefix, strlen(u->prefix)) == 0 && option_find(u->table, option) &&
	       !is_own(s, option);
}

static bool is_meant(const struct use *u, const char *listen)
{
	return strstr(listen, u->address[0]) || strstr(listen, u->address[1]);
}

/* What was written for a service that has no use for it. */
static void warn_unused(struct planner *p, const struct plan_service *s, const struct use *u)
{
	const struct conf_section *origin = p->origins[s - p->plan->services];
	const struct conf_entry *listen = origin ? conf_section_find(origin, "listen") : NULL;

	for (size_t i = 0; origin && i < origin->n && !(listen && is_meant(u, listen->value)); i++)
		if (is_for(u, s, origin->entries[i].name))
			conf_warning(p->ps, origin->file, origin->entries[i].line, "%s: %s", origin->entries[i].name,
				     u->why);
	for (const struct word *w = p->words; w < p->words + p->n_words; w++)
		for (size_t i = 0; strcmp(w->service, s->name) == 0 && !is_meant(u, w->address) && i < w->n; i++)
			if (is_for(u, s, w->options[i].name))
				conf_warning(p->ps, w->text, 0, "%s: %s", w->options[i].name, u->why);
}

/* Who has it counts on it, and would believe an address that anybody can write into his packets. */
static void warn_of_proxy(struct planner *p, const struct plan_service *s)
{
	const struct addr_list *l = &s->common->listen;

	if (!s->common->proxy)
		return;
	for (size_t i = 0; i < l->n; i++)
		if (addr_kinds[l->v[i].transport].flags & ADDR_F_STREAM && l->v[i].transport != ADDR_FIFO)
			return;
	planner_warning(p, s,
			"proxy: has no use here: only connections begin with a PROXY header, and no address has any");
}

static int add_tls(struct planner *p, struct plan_service *s)
{
	struct service_of_planner of = { p, s };
	struct certs_setup setup = {
		.options = s->tls,
		.data = p->plan->global->data,
		.from = p->setup->from,
		.into = p->setup->into,
		.dry = p->setup->dry || !conf_problems_none(p->ps), /* a plan that nobody serves makes nothing */
		.tell = take_tls,
		.arg = &of,
	};
	void *tls = s->tls;

	if (s->common->enabled && !has_address(s, ADDR_F_WEB))
		warn_unused(p, s, &use_of_ws);
	if (!has_address(s, ADDR_F_SECURE)) {
		if (s->common->enabled)
			warn_unused(p, s, &use_of_tls);
		warn_of_proxy(p, s);
		option_values_free(&tables_tls, &tls);
		s->tls = NULL;
		return 0;
	}

	return certs_context(&setup, &s->tls_ctx);
}

/* What it keeps: in `topics` of the data folder, under its name. A server for one conversation leaves nothing. */
static int add_folder(const struct planner *p, struct plan_service *s)
{
	char *all;
	int r;

	if (!(s->proto->flags & P_KEEPS) || p->errand)
		return 0;
	r = str_path_from(p->plan->global->data, "topics", &all);
	if (r < 0)
		return r;
	r = str_path_from(all, s->name, &s->folder);
	mem_free(all);
	return r;
}

/* Says the entry nothing? One whose addresses were wrong has been told of. */
static bool is_blank(const struct conf_entry *e)
{
	return !e || e->value[strspn(e->value, " \t\n")] == '\0';
}

/*
 * A service without an address: none was written, or it was wrong, and told of. What is found wrong with the service by others
 * must not be hidden by that, so it gets a stand-in: with a problem the plan is not served anyway.
 */
static int check_listen(struct planner *p, struct plan_service *s)
{
	const struct conf_section *origin = p->origins[s - p->plan->services];
	const struct conf_entry *listen = origin ? conf_section_find(origin, "listen") : NULL;
	char text[PLANNER_SENTENCE];
	struct buf why;

	if (s->common->listen.n > 0 || !s->common->enabled || p->setup->from) /* whose sockets are there already */
		return 0;
	buf_init_fixed(&why, text, sizeof(text));
	if (origin && is_blank(listen) && !planner_was_worded(p, s->name)) {
		if (listen)
			buf_adds(&why, "listen: no address, write for example: listen = ");
		else
			buf_addf(&why, "[%s] listens nowhere, add for example: listen = ", s->name);
		planner_usual_addresses(s->proto, &why);
		planner_problem(p, s, text);
	}
	return option_set(&tables_service, s->common, "listen", s->proto->flags & P_STREAM ? "tcp:0" : "udp:0", NULL);
}

static bool other_interface(const struct service_options *a, const struct service_options *b)
{
	return a->interface && b->interface && *a->interface && *b->interface &&
	       strcmp(a->interface, b->interface) != 0;
}

static const struct addr_text *common_place(const struct service_options *a, const struct service_options *b)
{
	if (a->family != b->family && a->family != FAMILY_ANY && b->family != FAMILY_ANY)
		return NULL;
	for (size_t i = 0; i < a->listen.n; i++)
		for (size_t j = 0; j < b->listen.n; j++)
			if (addr_conflict(&a->listen.v[i], &b->listen.v[j]) &&
			    !(addr_is_net(&b->listen.v[j]) && other_interface(a, b)))
				return &b->listen.v[j];
	return NULL;
}

/* An address of an earlier service; the system would call that one another program. */
static void check_places(struct planner *p, const struct plan_service *s)
{
	for (const struct plan_service *other = p->plan->services; other < s; other++) {
		const struct addr_text *a = common_place(other->common, s->common);
		char text[PLANNER_SENTENCE];
		struct buf why;

		if (!a || !other->common->enabled || !s->common->enabled)
			continue;
		buf_init_fixed(&why, text, sizeof(text));
		buf_adds(&why, "listen: ");
		addr_format(a, &why);
		buf_addf(&why, " is an address of [%s] already", other->name);
		planner_problem(p, s, text);
		return;
	}
}

/* Takes the services out that are only kept in the file, or that somebody else serves. */
static void drop_disabled(struct planner *p)
{
	struct plan *plan = p->plan;
	size_t kept = 0;

	for (size_t i = 0; i < plan->n; i++) {
		if (!plan->services[i].common->enabled) {
			plan_service_done(&plan->services[i]);
			continue;
		}
		p->origins[kept] = p->origins[i];
		plan->services[kept++] = plan->services[i];
	}
	plan->n = kept;
	if (kept == 0 && !p->setup->wants && conf_problems_none(p->ps))
		conf_problem(p->ps, p->setup->file ? p->setup->file : "command line", 0, "no service is enabled");
}

/* What is wrong with them is told to whoever serves them. */
static void disable_unwanted(struct planner *p)
{
	for (size_t i = 0; i < p->plan->n; i++) {
		struct plan_service *s = &p->plan->services[i];

		s->common->enabled &= p->setup->wants(s, p->setup->wants_arg);
	}
}

static int finish_services(struct planner *p)
{
	int err = 0;

	if (p->setup->wants)
		disable_unwanted(p);
	for (size_t i = 0; i < p->plan->n && !err; i++) {
		p->plan->services[i].common->trace |= p->plan->global->trace;
		err = check_listen(p, &p->plan->services[i]);
		if (!err && p->setup->test_data)
			planner_move(p, &p->plan->services[i]); /* where no two are in the same place */
		else if (!err)
			check_places(p, &p->plan->services[i]);
	}
	for (size_t i = 0; i < p->plan->n && !err; i++) {
		struct plan_service *s = &p->plan->services[i];

		if (s->common->enabled || !p->setup->wants)
			err = add_tls(p, s);
		if (!err && s->common->enabled)
			err = planner_read_files(p, s);
	}
	for (size_t i = 0; i < p->plan->n && !err; i++) {
		planner_check_dials(p, &p->plan->services[i]);
		err = add_folder(p, &p->plan->services[i]);
	}
	return err;
}

/* ---- [guichet] ---- */

static int take_set(struct planner *p, const char *set)
{
	const char *equals = strchr(set, '=');
	char name[CONF_NAME_MAX + 1], text[PLANNER_SENTENCE];
	struct buf why;
	int err = -EINVAL;

	buf_init_fixed(&why, text, sizeof(text));
	if (!equals || (size_t)(equals - set) >= sizeof(name)) {
		buf_adds(&why, "write NAME=VALUE with an option of [guichet], see `guichet help guichet`");
	} else {
		snprintf(name, sizeof(name), "%.*s", (int)(equals - set), set);
		err = option_set(&tables_guichet, p->plan->global, name, equals + 1, &why);
	}
	if (err && err != -ENOMEM)
		conf_problem(p->ps, set, 0, "%s", text);
	return err == -ENOMEM ? err : 0;
}

static int set_path(char **slot, const char *dir, const char *name)
{
	char *path;
	int err = str_path_from(dir, name, &path);

	if (err)
		return err;
	mem_free(*slot);
	*slot = path;
	return 0;
}

/* In a test everything is below one folder, and the log where the test sees it, unless the command line says otherwise. */
static int test_global(struct planner *p)
{
	struct guichet_options *g = p->plan->global;
	int err = set_path(&g->data, "", p->setup->test_data);

	if (!err)
		err = set_path(&g->control, p->setup->test_data, "control.sock");
	return err ? err : option_set(&tables_guichet, g, "log", "stderr", NULL);
}

static void global_problem(struct planner *p, const char *text)
{
	const struct conf_section *s = p->conf ? conf_find(p->conf, "guichet") : NULL;
	char option[CONF_NAME_MAX + 1];

	snprintf(option, sizeof(option), "%.*s", (int)strcspn(text, ":"), text);
	if (s)
		conf_problem(p->ps, s->file, line_of(s, option), "%s", text);
	else
		conf_problem(p->ps, p->setup->file ? p->setup->file : "guichet", 0, "%s", text);
}

static void check_user(struct planner *p)
{
	const struct guichet_options *g = p->plan->global;
	char text[PLANNER_SENTENCE];
	struct buf why;
	uid_t uid;
	gid_t gid;

	buf_init_fixed(&why, text, sizeof(text));
	buf_adds(&why, "user: ");
	if (owner_user(g->user, &uid, &why) < 0)
		global_problem(p, text);
	buf_reset(&why);
	buf_adds(&why, "group: ");
	if (owner_group(g->group, &gid, &why) < 0)
		global_problem(p, text);
}

static int finish_global(struct planner *p)
{
	struct guichet_options *g = p->plan->global;
	char text[PLANNER_SENTENCE];
	struct buf why;
	int err = option_resolve(&tables_guichet, g, p->dir, NULL);

	p->errand = planner_is_errand(p->plan);
	if (!err && p->setup->test_data)
		err = test_global(p);
	for (size_t i = 0; i < p->setup->n_sets && !err; i++)
		err = take_set(p, p->setup->sets[i]);
	if (!err && !g->control && !p->errand)
		err = set_path(&g->control, g->data, "control.sock");
	if (!err && !p->setup->from)
		check_user(p);
	if (err || p->errand || p->setup->dry || !conf_problems_none(p->ps))
		return err;
	buf_init_fixed(&why, text, sizeof(text));
	buf_adds(&why, "data: ");
	if (files_make_dir(g->data, &why) < 0) {
		buf_adds(&why, "; say where it may be: data = PATH in [guichet], or --set data=PATH");
		global_problem(p, text);
	}
	return 0;
}

/* The control socket is one more service, which only its owner reaches. [guichet] is never one, so the name is free. */
static int add_control(struct planner *p)
{
	const char *path = p->plan->global->control;
	struct addr_text a = { .transport = ADDR_UNIX };
	char text[PLANNER_SENTENCE];
	struct plan_service *s;
	struct buf why;

	if (strlen(path) > ADDR_UNIX_MAX) {
		buf_init_fixed(&why, text, sizeof(text));
		buf_addf(&why, "control: %s is too long for a unix socket, at most %d bytes", path, ADDR_UNIX_MAX);
		global_problem(p, text);
		return 0;
	}
	s = planner_add(p, "guichet", p->setup->control, NULL);
	if (!s)
		return -ENOMEM;
	memcpy(a.path, path, strlen(path) + 1);
	s->common->listen.v = mem_alloc(sizeof(a));
	if (!s->common->listen.v)
		return -ENOMEM;
	s->common->listen.v[0] = a;
	s->common->listen.n = 1;
	s->common->mode = 0600;
	s->common->idle = 60 * NSEC_PER_SEC; /* a reload may be as long on its way */
	s->common->output = CONTROL_OUTPUT;
	s->internal = true;
	s->state = p->setup->control_state;
	return add_tls(p, s);
}

/* ---- all of it ---- */

static int make(struct planner *p)
{
	int err;

	if (p->setup->file)
		err = str_path_dir(p->setup->file, &p->dir);
	else
		err = (p->dir = mem_strdup(".")) ? 0 : -ENOMEM;
	p->plan->global = new_values(&tables_guichet);
	if (!p->plan->global)
		err = -ENOMEM;
	if (!err && p->setup->file)
		err = planner_take_file(p);
	if (!err)
		err = planner_take_words(p);
	if (!err && !p->setup->file && p->setup->n_words == 0 && p->setup->n_sockets == 0)
		err = take_defaults(p);
	if (!err)
		err = planner_take_sockets(p);
	if (!err)
		err = finish_global(p);
	if (!err)
		err = finish_services(p);
	if (err)
		return err;
	drop_disabled(p);
	err = planner_finish_access(p);
	if (err)
		return err;
	return p->setup->control && p->plan->global->control ? add_control(p) : 0;
}

int planner_make(const struct planner_setup *setup, struct plan **ret, struct conf_problems *ps)
{
	struct planner p = { .setup = setup, .ps = ps };
	int err = plan_new(&p.plan);

	if (!err)
		err = make(&p);
	if (err && err != -ENOMEM) { /* nobody told of it: better a poor sentence than none */
		conf_problem(ps, setup->file ? setup->file : "command line", 0, "%s", strerror(-err));
		err = 0;
	}
	conf_problems_sort(ps);
	conf_free(&p.conf);
	for (size_t i = 0; i < p.n_words; i++)
		word_done(&p.words[i]);
	mem_free(p.words);
	mem_free(p.origins);
	mem_free(p.dir);
	if (err) {
		plan_free(&p.plan);
		return err;
	}
	*ret = p.plan;
	return 0;
}
