/* plan.c - a plan's memory; see server.h. */
#include <errno.h>

#include "base/mem.h"
#include "conf/option.h"
#include "drive/server.h"
#include "layer/tls.h"
#include "store/people.h"
#include "store/rules.h"

int plan_new(struct plan **ret)
{
	struct plan *p = mem_zalloc(sizeof(*p));

	if (!p)
		return -ENOMEM;
	*ret = p;
	return 0;
}

struct plan_service *plan_add(struct plan *p)
{
	if (p->n == p->cap) {
		size_t cap = p->cap ? 2 * p->cap : 8;
		struct plan_service *v = mem_realloc(p->services, cap * sizeof(*v));

		if (!v)
			return NULL;
		p->services = v;
		p->cap = cap;
	}
	p->services[p->n] = (struct plan_service){};
	return &p->services[p->n++];
}

void plan_service_done(struct plan_service *v)
{
	void *common = v->common, *tls = v->tls;

	option_values_free(&tables_service, &common);
	option_values_free(&tables_tls, &tls);
	if (v->proto && v->proto->options)
		option_values_free(v->proto->options, &v->options);
	tls_ctx_unref(v->tls_ctx);
	mem_free(v->folder);
	mem_free(v->folder_name);
	mem_free(v->name);
	*v = (struct plan_service){};
}

void plan_free(struct plan **pp)
{
	struct plan *p = *pp;
	void *global;

	if (!p)
		return;
	global = p->global;
	option_values_free(&tables_guichet, &global);
	for (size_t i = 0; i < p->n; i++)
		plan_service_done(&p->services[i]);
	people_unref(p->people);
	rules_unref(p->rules);
	mem_free(p->services);
	mem_free(p->made);
	mem_free(p);
	*pp = NULL;
}
