/*
 * apply.c - starting and reloading as one act: prepare all that is new, install it in every loop, then let go of what is
 * old. See docs/design/reload.md.
 */
#include <errno.h>

#include "base/log.h"
#include "base/mem.h"
#include "drive/server_priv.h"
#include "store/access.h"

/* The running one, or NULL. */
static struct service *find(const struct server *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++)
		if (!strcmp(s->services[i]->plan.name, name))
			return s->services[i];
	return NULL;
}

/* ---- one call for some services in all loops ---- */

struct each {
	struct server *s;
	struct service **v;
	size_t n;
	service_call *fn;
	_Atomic int err;
	struct service *_Atomic failed;
};

static void each_here(struct loop *l, void *arg)
{
	struct each *e = arg;
	unsigned me = server_loop_number(e->s, l);

	for (size_t i = 0; i < e->n; i++) {
		int r = e->v[i]->kept || !service_is_here(e->v[i]) ? 0 : e->fn(e->v[i], l, me);

		if (r == 0)
			continue;
		atomic_store(&e->failed, e->v[i]);
		atomic_store(&e->err, r);
	}
}

/* All but the kept ones, and those that workers serve. 0, or -errno of one that failed somewhere. */
static int each(struct server *s, struct service **v, size_t n, service_call *fn, const struct service **ret_failed)
{
	struct each e = { .s = s, .v = v, .n = n, .fn = fn };

	server_everywhere(s, each_here, &e);
	*ret_failed = atomic_load(&e.failed);
	return atomic_load(&e.err);
}

/* ---- prepare: everything that can fail for a reason of the outside ---- */

static int snapshot(struct server *s, struct plan_service *p, struct doors *given, struct prepared *pr,
		    struct conf_problems *ps)
{
	const struct service *old = find(s, p->name);
	struct service *v;
	int r;

	if (old && old->kept)
		return 0;
	r = service_new(s, p, old, &v, ps);
	if (r < 0)
		return r;
	pr->v[pr->n++] = v;
	return given ? doors_take(v, given) : doors_want(v, old, ps);
}

/* Somebody who was there when we began: nobody could serve him again after a crash. */
static int refuse_talk(const struct service *v, struct conf_problems *ps)
{
	for (size_t i = 0; i < v->n; i++) {
		if (service_is_here(v) || !v->entries[i].ln->talk)
			continue;
		service_problem(&v->plan, v->plan.listen_line, ps,
				"a conversation that has begun already cannot be taken over by a reload");
		return -EINVAL;
	}
	return 0;
}

static int refuse_alone(const struct service *v, struct conf_problems *ps)
{
	for (size_t i = 0; i < v->n; i++) {
		if (v->server->setup.role != SERVER_ALONE || !v->model->forks || v->entries[i].ln->talk)
			continue;
		service_problem(&v->plan, v->plan.model_line, ps,
				"model %s needs processes of its own: leave out --single", v->model->name);
		return -EINVAL;
	}
	return 0;
}

static int prepare(struct server *s, struct plan *plan, struct doors *given, struct conf_problems *ps)
{
	struct prepared *pr = &s->next;
	int r = 0;

	pr->v = mem_zalloc((plan->n + 1) * sizeof(struct service *));
	if (!pr->v)
		return -ENOMEM;
	for (size_t i = 0; i < plan->n; i++) {
		struct service *old = find(s, plan->services[i].name);

		if (!old || !service_same(old, &plan->services[i]) || (given && !doors_match(old, given)))
			continue;
		old->kept = true;
		doors_keep(old);
		pr->v[pr->n++] = old;
	}
	for (size_t i = 0; i < plan->n; i++) {
		int one = snapshot(s, &plan->services[i], given, pr, ps);

		r = r < 0 ? r : one;
	}
	for (size_t i = 0; i < pr->n && !given; i++) { /* now it is known what nobody wants any more */
		int one = pr->v[i]->kept ? 0 : doors_open(pr->v[i], ps);

		r = r < 0 ? r : one;
	}
	for (size_t i = 0; i < pr->n && r == 0; i++) {
		r = refuse_talk(pr->v[i], ps);
		if (r == 0)
			r = refuse_alone(pr->v[i], ps);
	}
	for (size_t i = 0; i < pr->n && r == 0 && !given; i++)
		r = pr->v[i]->kept ? 0 : doors_spare(pr->v[i]);
	return r;
}

/* ---- letting go ---- */

static void leave_here(struct loop *l, void *arg)
{
	doors_leave(arg, l, server_loop_number(arg, l));
}

/*
 * In two rounds: after the first no loop accepts for these services any more, and what it had accepted and handed to another
 * loop is in that one's inbox, before the second.
 */
static void let_go(struct server *s, struct service **going, size_t n)
{
	const struct service *failed;

	server_everywhere(s, leave_here, s);
	(void)!each(s, going, n, service_retire, &failed);
	doors_sweep(s);
}

static void drop(struct service **v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!v[i]->kept)
			service_unref(v[i]);
	mem_free(v);
}

static void forget_kept(struct server *s)
{
	for (size_t i = 0; i < s->n; i++)
		s->services[i]->kept = false;
}

/* Afterwards all is as it was. */
static void put_back(struct server *s)
{
	struct prepared *pr = &s->next;
	const struct service *failed;
	struct log_line line;
	int r = 0;

	if (s->n_loops == 0)
		return; /* not even these could be made */
	for (const struct list *n = s->listeners.next; n != &s->listeners; n = n->next) {
		struct listener *ln = list_entry(n, struct listener, node);

		ln->next = ln->owner;
	}
	if (pr->placed)
		r = each(s, s->services, s->n, service_place, &failed);
	if (r < 0 && log_begin(&line, LOG_ERROR, "cannot-serve")) {
		log_str(&line, "service", failed->plan.name);
		log_errno(&line, r);
		log_end(&line);
	}
	let_go(s, pr->v, pr->n);
	drop(pr->v, pr->n);
	forget_kept(s);
	*pr = (struct prepared){};
}

void server_end_services(struct server *s)
{
	if (s->n_loops == 0)
		return;
	for (const struct list *n = s->listeners.next; n != &s->listeners; n = n->next) {
		struct listener *ln = list_entry(n, struct listener, node);

		ln->owner = ln->next = NULL;
	}
	let_go(s, s->services, s->n);
}

/* ---- apply ---- */

static void log_service(const char *event, const struct service *v)
{
	struct log_line line;

	if (v->plan.internal || v->server->setup.role == SERVER_WORKER || !log_begin(&line, LOG_INFO, event))
		return;
	log_str(&line, "service", v->plan.name);
	log_str(&line, "model", v->model->name);
	for (size_t i = 0; i < v->n; i++) {
		struct addr_text text;
		struct buf b;

		if (!entry_shown(&v->entries[i]))
			continue;
		buf_init(&b, 600);
		entry_address(v, &v->entries[i], &text);
		addr_format(&text, &b);
		log_item(&line, "address", buf_str(&b));
		buf_done(&b);
	}
	log_end(&line);
}

/* Shards everywhere before any listener: whoever accepts may post to all of them. */
static int install(struct server *s, struct conf_problems *ps)
{
	struct prepared *pr = &s->next;
	const struct service *failed;
	int r = each(s, pr->v, pr->n, service_enter, &failed);

	if (r == 0) {
		pr->placed = true;
		r = each(s, pr->v, pr->n, service_place, &failed);
	}
	if (r < 0)
		service_problem(&failed->plan, failed->plan.line, ps, "cannot be served: %s", strerrordesc_np(-r));
	return r;
}

/* Nothing of it can fail. */
static void commit(struct server *s)
{
	const struct prepared *pr = &s->next;
	struct service **old = s->services;
	size_t n_old = s->n;

	s->services = pr->v;
	s->n = pr->n;
	let_go(s, old, n_old);
	for (size_t i = 0; i < s->n; i++) {
		struct service *v = s->services[i];

		if (v->kept)
			continue;
		if (s->setup.role != SERVER_WORKER)
			doors_tune(v);
		if (v->news)
			log_service("serving", v);
	}
	for (size_t i = 0; i < n_old; i++) {
		const struct service *next = find(s, old[i]->plan.name);

		if (!next || next->plan.proto != old[i]->plan.proto)
			log_service("ended", old[i]);
	}
	drop(old, n_old);
	forget_kept(s);
	once_look(s);
}

int server_prepare(struct server *s, struct plan **plan, struct doors *given, struct conf_problems *ps)
{
	struct guichet_options *global = (*plan)->global;
	int r;

	if (s->setup.role != SERVER_WORKER) /* the monitor has looked */
		server_check(*plan, ps);
	r = conf_problems_none(ps) ? 0 : -EINVAL;
	if (r == 0 && !s->loops)
		r = server_start_loops(s, global);
	if (r == 0)
		r = prepare(s, *plan, given, ps);
	if (r == 0) {
		s->next.global = global;
		(*plan)->global = NULL;
		s->next.people = people_ref((*plan)->people);
		s->next.rules = rules_ref((*plan)->rules);
	} else {
		if (conf_problems_none(ps))
			conf_problem(ps, "guichet", 0, "%s", strerrordesc_np(-r));
		put_back(s);
	}
	plan_free(plan);
	return r;
}

static void forget_access(struct server *s)
{
	people_unref(s->next.people);
	rules_unref(s->next.rules);
	s->next.people = NULL;
	s->next.rules = NULL;
}

void server_cancel(struct server *s)
{
	void *global = s->next.global;

	forget_access(s);
	put_back(s);
	option_values_free(&tables_guichet, &global);
}

static void access_here(struct loop *l, void *arg)
{
	(void)arg;
	loop_tell_access(l);
}

int server_commit(struct server *s, struct conf_problems *ps)
{
	struct guichet_options *global = s->next.global;
	struct people *people;
	struct rules *rules;
	int r;

	/* Before anybody can come to what is new; who serves nothing has no need to keep it. */
	access_get(s->access, &people, &rules);
	if (s->setup.role != SERVER_MONITOR)
		access_set(s->access, s->next.people, s->next.rules);
	r = install(s, ps);
	if (r < 0)
		access_set(s->access, people, rules);
	people_unref(people);
	rules_unref(rules);
	if (r < 0) {
		server_cancel(s);
		return r;
	}
	forget_access(s);
	commit(s);
	s->next = (struct prepared){};
	server_tune(s, global);
	if (s->setup.role != SERVER_MONITOR)
		server_everywhere(s, access_here, NULL);
	return 0;
}

int server_apply(struct server *s, struct plan **plan, struct conf_problems *ps)
{
	int r = server_prepare(s, plan, NULL, ps);

	return r < 0 ? r : server_commit(s, ps);
}
