/*
 * planner_dials.c - services that connect to somebody: not to themselves, which would go round for ever, nor to a service of ours that
 * speaks something else; no two sections under one name to the same place, where each would take the other's; and not for a user that
 * nobody is. What only the network knows is found when they are connected.
 */
#include <stdio.h>
#include <strings.h>

#include "base/addr.h"
#include "base/mem.h"
#include "conf/option.h"
#include "drive/net/netaddr.h"
#include "main/planner_priv.h"
#include "store/people.h"

enum { SECTION = 3 * CONF_NAME_MAX };

/* ---- is it there? ---- */

enum { V4 = 1, V6 = 2 };

/* On which loopback addresses a host is reached, or is listened at; 0: another place. */
static unsigned loopback_of(const char *host, bool listens)
{
	static const struct {
		const char *host;
		unsigned at;
		bool listens; /* it means this for who listens only */
	} hosts[] = {
		{ "", V4 | V6, false }, { "localhost", V4 | V6, false }, { "127.0.0.1", V4, false },
		{ "::1", V6, false },   { "*", V4 | V6, true },          { "0.0.0.0", V4, true },
		{ "::", V6, true },
	};

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		if (strcmp(hosts[i].host, host) == 0 && (listens || !hosts[i].listens))
			return hosts[i].at;
	return 0;
}

static bool leads_to(const struct addr_text *to, const struct addr_text *listen)
{
	unsigned both = addr_flags(to) & addr_flags(listen);

	if (both & ADDR_F_PATH)
		return to->transport == listen->transport && strcmp(to->path, listen->path) == 0;
	if (!(both & ADDR_F_NET) || !(both & ADDR_F_STREAM) || to->port != listen->port ||
	    strcmp(to->service, listen->service) != 0 || (to->port == 0 && !*to->service))
		return false;
	return strcmp(to->host, listen->host) == 0 || loopback_of(to->host, false) & loopback_of(listen->host, true);
}

/* The first of `to` that is one of the service, to->n: none is. */
static size_t own_address(const struct plan_service *s, const struct addr_list *to)
{
	for (size_t i = 0; i < to->n; i++)
		for (size_t j = 0; j < s->common->listen.n; j++)
			if (leads_to(&to->v[i], &s->common->listen.v[j]))
				return i;
	return to->n;
}

/* ---- where it is told ---- */

static const struct conf_section *section_of(const struct planner *p, const struct plan_service *s,
					     const struct option *row, const struct option_part *part)
{
	char name[SECTION];

	snprintf(name, sizeof(name), "%s.%s.%s", s->name, row->name, part->name);
	return p->conf ? conf_find(p->conf, name) : NULL;
}

static void part_problem(struct planner *p, const struct conf_section *section, const char *option, const char *text)
{
	const struct conf_entry *e = conf_section_find(section, option);

	conf_problem(p->ps, section->file, e ? e->line : section->line, "%s", text);
}

static void part_warning(struct planner *p, const struct conf_section *section, const char *option, const char *text)
{
	const struct conf_entry *e = conf_section_find(section, option);

	conf_warning(p->ps, section->file, e ? e->line : section->line, "%s", text);
}

/* ---- is there such a host? ---- */

/* It may be there when it is connected to, so it is a warning. */
static void look_up(struct planner *p, const struct plan_service *s, const struct conf_section *section,
		    const struct option *row, const struct addr_list *to)
{
	for (size_t i = 0; i < to->n && p->setup->look_up; i++) {
		char text[PLANNER_SENTENCE];
		struct netaddr *v = NULL;
		struct buf why;
		unsigned n;

		if (!addr_is_net(&to->v[i]))
			continue;
		buf_init_fixed(&why, text, sizeof(text));
		buf_addf(&why, "%s: ", row->name);
		if (netaddr_resolve(&to->v[i], FAMILY_ANY, false, &v, &n, &why) == 0)
			mem_free(v);
		else if (section)
			part_warning(p, section, row->name, text);
		else
			planner_warning(p, s, text);
	}
}

/* ---- to itself, or to the wrong one ---- */

/* Does it connect on to whoever speaks anything, as a relay? Then the right one may be behind it. */
static bool passes_on(const struct proto *p)
{
	for (size_t i = 0; p->options && i < p->options->n; i++)
		if (p->options->rows[i].type == OPTION_ADDRS && !p->options->rows[i].speaks)
			return true;
	return false;
}

/* A service that is there and does not speak this, unless one is that does; *ret_at is its address. NULL: none. */
static const struct plan_service *wrong_service(const struct planner *p, const struct addr_text *to,
						const char *protocol, const struct addr_text **ret_at)
{
	const struct plan_service *wrong = NULL;

	for (const struct plan_service *s = p->plan->services; s < p->plan->services + p->plan->n; s++) {
		for (size_t i = 0; s->common->enabled && i < s->common->listen.n; i++) {
			const struct addr_text *at = &s->common->listen.v[i];

			if (!leads_to(to, at))
				continue;
			if ((at->transport == to->transport && strcmp(s->proto->name, protocol) == 0) ||
			    passes_on(s->proto))
				return NULL;
			wrong = s;
			*ret_at = at;
		}
	}
	return wrong;
}

/* What is wrong with the first address that is: of a service of ours we know what it speaks. `why` is empty. */
static void find_wrong(const struct planner *p, const struct option *row, const struct addr_list *to, struct buf *why)
{
	for (size_t i = 0; i < to->n && row->speaks && !why->n; i++) {
		const struct addr_text *at;
		const struct plan_service *s = wrong_service(p, &to->v[i], row->speaks, &at);

		if (!s)
			continue;
		buf_addf(why, "%s: ", row->name);
		addr_format(&to->v[i], why);
		if (strcmp(s->proto->name, row->speaks) != 0) {
			buf_addf(why, " is [%s], which does not speak %s", s->name, row->speaks);
			continue;
		}
		buf_adds(why, " is ");
		addr_format(at, why);
		buf_addf(why, " of [%s], where %s is not spoken", s->name, addr_kinds[to->v[i].transport].name);
	}
}

/* Of a table of options, of the service's own or of a section of it (NULL: it is the service's). */
static void check_table(struct planner *p, const struct plan_service *s, const struct conf_section *section,
			const struct option_table *t, const void *values)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct option *row = &t->rows[i];
		const struct addr_list *to = (const void *)((const char *)values + row->offset);
		size_t own;
		char text[PLANNER_SENTENCE];
		struct buf why;

		if (row->type != OPTION_ADDRS)
			continue;
		own = own_address(s, to);
		buf_init_fixed(&why, text, sizeof(text));
		if (own < to->n) {
			buf_addf(&why, "%s: ", row->name);
			addr_format(&to->v[own], &why);
			buf_addf(&why, " is [%s] itself, which would be connected to itself", s->name);
		} else {
			find_wrong(p, row, to, &why);
		}
		if (!why.n)
			look_up(p, s, section, row, to);
		else if (section)
			part_problem(p, section, row->name, text);
		else
			planner_problem(p, s, text);
	}
}

/* ---- under one name ---- */

static bool same_host(const char *a, const char *b)
{
	return strcasecmp(a, b) == 0 || (loopback_of(a, false) && loopback_of(b, false));
}

static const struct addr_text *address_of(const struct option *row, const void *values)
{
	const struct addr_list *l = (const void *)((const char *)values + row->offset);

	return l->n ? &l->v[0] : NULL;
}

/* Do they connect to one server? A port is one, whether TLS is spoken there or not. MAYBE: two ports, one for TLS. */
enum same { OTHER, MAYBE, SAME };
static enum same same_server(const struct addr_text *a, const struct addr_text *b)
{
	if (!a || !b || !addr_is_net(a) || !addr_is_net(b) || !same_host(a->host, b->host))
		return OTHER;
	if (a->port == b->port && strcmp(a->service, b->service) == 0)
		return SAME;
	return addr_is_secure(a) != addr_is_secure(b) ? MAYBE : OTHER;
}

static enum same same_place(const struct option_table *t, const void *a, const void *b)
{
	const struct option *to = option_find(t, "to"), *name = option_find(t, "client_id");
	char text[CONF_NAME_MAX];
	struct buf said;

	if (!to || !name || !option_row_equal(name, a, b))
		return OTHER;
	buf_init_fixed(&said, text, sizeof(text));
	option_format(name, a, &said);
	if (!said.n && !said.err)
		return OTHER; /* each is called after its section */
	return same_server(address_of(to, a), address_of(to, b));
}

struct sections {
	const struct plan_service *s;
	const struct option *row;
	const struct option_parts *parts;
};

static void check_name(struct planner *p, const struct sections *of, size_t i, const struct sections *others, size_t n)
{
	const struct conf_section *section = section_of(p, of->s, of->row, &of->parts->v[i]);

	for (size_t j = 0; j < n && section; j++) {
		enum same same = same_place(of->row->part, of->parts->v[i].values, others->parts->v[j].values);
		char text[PLANNER_SENTENCE];

		if (same == OTHER)
			continue;
		snprintf(
			text, sizeof(text),
			"client_id: [%s.%s.%s] has the same there%s, and each would take the other's place; give each its own",
			others->s->name, others->row->name, others->parts->v[j].name,
			same == MAYBE ? ", if both ports are of one broker" : "");
		if (same == SAME)
			part_problem(p, section, "client_id", text);
		else
			part_warning(p, section, "client_id", text);
		return;
	}
}

static bool next_sections(const struct plan_service *s, size_t *at, struct sections *ret)
{
	const struct option_table *t = s->proto->options;

	for (; t && *at < t->n; (*at)++) {
		const struct option *row = &t->rows[*at];

		if (!row->part)
			continue;
		*ret = (struct sections){ s, row, (const void *)((const char *)s->options + row->offset) };
		(*at)++;
		return true;
	}
	return false;
}

/* Those of earlier services of the same protocol. */
static void check_names_before(struct planner *p, const struct sections *of)
{
	struct sections others;

	for (size_t i = 0; i < of->parts->n; i++)
		check_name(p, of, i, of, i);
	for (const struct plan_service *s = p->plan->services; s < of->s; s++)
		for (size_t at = 0; s->proto == of->s->proto && s->common->enabled && next_sections(s, &at, &others);)
			for (size_t i = 0; i < of->parts->n && others.row == of->row; i++)
				check_name(p, of, i, &others, others.parts->n);
}

/* ---- as whom ---- */

static void check_user(struct planner *p, const struct conf_section *section, const struct option_table *t,
		       const void *values)
{
	const struct option *row = option_find(t, "local_user");
	char text[PLANNER_SENTENCE];
	const struct conf_entry *e;
	struct buf name;

	if (!row)
		return;
	buf_init_fixed(&name, text, sizeof(text));
	option_format(row, values, &name);
	if (!name.n || people_find(p->plan->people, buf_span(&name)))
		return;
	e = conf_section_find(section, row->name);
	conf_warning(p->ps, section->file, e ? e->line : section->line,
		     "%s: there is no user \"%s\", so nothing goes over it; `guichet user add` makes one", row->name,
		     text);
}

void planner_check_users(struct planner *p, const struct plan_service *s)
{
	struct sections of;

	for (size_t at = 0; s->options && next_sections(s, &at, &of);) {
		for (size_t i = 0; i < of.parts->n; i++) {
			const struct conf_section *section = section_of(p, s, of.row, &of.parts->v[i]);

			if (section)
				check_user(p, section, of.row->part, of.parts->v[i].values);
		}
	}
}

/* ---- all of it ---- */

void planner_check_dials(struct planner *p, const struct plan_service *s)
{
	struct sections of;

	if (!(s->proto->flags & P_DIALS) || !s->common->enabled || !s->options)
		return;
	check_table(p, s, NULL, s->proto->options, s->options);
	for (size_t at = 0; next_sections(s, &at, &of);) {
		for (size_t i = 0; i < of.parts->n; i++) {
			const struct conf_section *section = section_of(p, s, of.row, &of.parts->v[i]);

			if (section)
				check_table(p, s, section, of.row->part, of.parts->v[i].values);
		}
		check_names_before(p, &of);
	}
}
