/* ready.c - see ready.h. */
#include "main/ready.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "drive/jtree.h"
#include "main/try.h"
#include "store/rules.h"

enum { CELL = 1024 };

static const char *const headings[] = { "SERVICE", "MODEL", "ADDRESS", "TRY", NULL };

/* ---- the table ---- */

static bool get_address(const struct server *s, size_t i, size_t j, struct addr_text *ret)
{
	char text[CELL];
	struct buf b;

	buf_init_fixed(&b, text, sizeof(text));
	server_address(s, i, j, &b);
	return addr_parse(text, ret, NULL) == 0;
}

static bool is_host(const struct addr_text *a, const char *v4, const char *v6)
{
	return strcmp(a->host, v4) == 0 || strcmp(a->host, v6) == 0;
}

/* One port of both families of loopback is one line: tcp:7007, as it was written. */
static bool is_pair(const struct addr_text *a, const struct addr_text *b)
{
	return addr_is_net(a) && a->transport == b->transport && a->port == b->port && strcmp(a->host, b->host) != 0 &&
	       is_host(a, "127.0.0.1", "::1") && is_host(b, "127.0.0.1", "::1");
}

struct table {
	struct text_table text;
	struct rules *rules;
};

/* By the rules somebody who has not logged in hears nothing of it. */
static bool needs_login(const struct table *t, const struct proto *proto)
{
	const struct rules_who nobody = { .local = true };
	struct rules_view *view = NULL;
	bool denied = false;

	for (enum rules_store i = 0; i < RULES_STORES && proto->store; i++)
		if (strcmp(rules_stores[i], proto->store) == 0 && rules_view_new(t->rules, &nobody, &view) == 0)
			denied = rules_check_filter(view, RULES_READ, i, span_str("#")) == RULES_NONE;
	rules_view_free(&view);
	return denied;
}

static void add_row(struct table *t, const struct service_view *v, bool first, const struct addr_text *shown,
		    const struct addr_text *tried)
{
	char address[CELL], try[CELL];
	struct buf a, b;

	buf_init_fixed(&a, address, sizeof(address));
	buf_init_fixed(&b, try, sizeof(try));
	addr_format(shown, &a);
	if (v->common->proxy && addr_kinds[tried->transport].flags & ADDR_F_STREAM)
		buf_adds(&b, "only from a proxy that sends PROXY headers");
	else
		try_command(program_invocation_name, v->proto, tried, needs_login(t, v->proto), &b);
	text_table_add(&t->text, (const char *[]){ first ? v->name : "", first ? v->model : "", address, try, NULL });
}

static void add_service(const struct server *s, size_t i, const struct service_view *v, struct table *t)
{
	for (size_t j = 0; j < v->addresses; j++) {
		struct addr_text a, next;
		bool first = j == 0;

		if (!get_address(s, i, j, &a))
			continue;
		if (j + 1 < v->addresses && get_address(s, i, j + 1, &next) && is_pair(&a, &next)) {
			struct addr_text both = a;

			both.host[0] = '\0';
			add_row(t, v, first, &both, addr_is_ipv4(a.host) ? &a : &next);
			j++;
		} else {
			add_row(t, v, first, &a, &a);
		}
	}
}

int ready_table(const struct server *s, struct rules *rules, struct text_style style, struct buf *b)
{
	struct table t = { .rules = rules };

	text_table_add(&t.text, headings);
	for (size_t i = 0; i < server_services(s); i++) {
		struct service_view v;

		server_service(s, i, &v);
		if (!v.internal)
			add_service(s, i, &v, &t);
	}
	text_table_format(&t.text, style, b);
	text_table_done(&t.text);
	return b->err;
}

int ready_plan_table(const struct plan *p, struct text_style style, struct buf *b)
{
	struct text_table t = {};

	text_table_add(&t, (const char *[]){ "SERVICE", "PROTOCOL", "MODEL", "ADDRESS", NULL });
	for (size_t i = 0; i < p->n; i++) {
		const struct plan_service *s = &p->services[i];

		for (size_t j = 0; j < s->common->listen.n && !s->internal; j++) {
			char address[CELL];
			struct buf a;

			buf_init_fixed(&a, address, sizeof(address));
			addr_format(&s->common->listen.v[j], &a);
			text_table_add(&t, (const char *[]){ j == 0 ? s->name : "", j == 0 ? s->proto->name : "",
							     j == 0 ? tables_models[s->common->model] : "", address,
							     NULL });
		}
	}
	text_table_format(&t, style, b);
	text_table_done(&t);
	return b->err;
}

/* ---- JSON ---- */

/* A path that means the same everywhere. NULL: no memory, or no current folder. */
static char *absolute(const char *path)
{
	char here[PATH_MAX], *full = NULL;

	if (!getcwd(here, sizeof(here)))
		return NULL;
	if (strncmp(path, "./", 2) == 0)
		path += 2;
	return str_path_from(here, path, &full) < 0 ? NULL : full;
}

static json_t *json_path(const char *path)
{
	char *full = absolute(path);
	json_t *j = full ? jtree_text(span_str(full)) : NULL;

	mem_free(full);
	return j;
}

static json_t *json_address(const struct addr_text *a)
{
	char *full = addr_is_path(a) ? absolute(a->path) : NULL;
	BUF_AUTO struct buf b = BUF_INIT(2 * PATH_MAX);

	if (full)
		buf_addf(&b, "%s:%s", addr_kinds[a->transport].name, full);
	else if (!addr_is_path(a))
		addr_format(a, &b);
	mem_free(full);
	return b.n && !b.err ? jtree_text(buf_span(&b)) : NULL;
}

static json_t *json_service(const struct server *s, size_t i, const struct service_view *v)
{
	json_t *addresses = json_array();

	for (size_t j = 0; j < v->addresses; j++) {
		struct addr_text a;

		if (get_address(s, i, j, &a))
			jtree_append(&addresses, json_address(&a));
	}
	return json_pack("{s:s, s:s, s:s, s:o}", "name", v->name, "protocol", v->proto->name, "model", v->model,
			 "addresses", addresses);
}

int ready_json(const struct server *s, const struct ready_facts *facts, struct buf *b)
{
	json_t *services = json_array(), *all;
	char *text;

	for (size_t i = 0; i < server_services(s); i++) {
		struct service_view v;

		server_service(s, i, &v);
		if (!v.internal)
			jtree_append(&services, json_service(s, i, &v));
	}
	all = json_pack("{s:i, s:o, s:o, s:o}", "pid", (int)getpid(), "control",
			facts->control ? json_path(facts->control) : json_null(), "data", json_path(facts->data),
			"services", services);
	text = all ? json_dumps(all, JSON_COMPACT) : NULL;
	json_decref(all);
	if (!text)
		return -ENOMEM;
	buf_adds(b, text);
	buf_addc(b, '\n');
	mem_free(text);
	return b->err;
}
