/* planner_file.c - services from the sections of a configuration file. */
#include <errno.h>
#include <stdio.h>

#include "conf/option.h"
#include "main/kit.h"
#include "main/planner_priv.h"
#include "proto/protos.h"

/* A relative path in the file starts at the file; one of the command line where we are. */
static int resolve(struct planner *p, const struct option_table *t, void *values, struct buf *why)
{
	buf_reset(why);
	return t ? option_resolve(t, values, p->dir, why) : 0;
}

static int resolve_service(struct planner *p, struct plan_service *s)
{
	char text[PLANNER_SENTENCE];
	struct buf why;
	int err;

	buf_init_fixed(&why, text, sizeof(text));
	err = resolve(p, &tables_service, s->common, &why);
	if (!err)
		err = resolve(p, &tables_tls, s->tls, &why);
	if (!err)
		err = resolve(p, s->proto->options, s->options, &why);
	if (err == -ENAMETOOLONG)
		planner_problem(p, s, text);
	return err == -ENAMETOOLONG ? 0 : err;
}

/* [mqtt.bridge] or [mqtt.bridge.]: a section of a service that has no name of its own. */
static bool lacks_name(struct planner *p, const struct conf_section *section)
{
	size_t n = strlen(section->name);
	char service[CONF_NAME_MAX + 1], *kind;
	const struct conf_section *of;
	const struct conf_entry *e;
	const struct proto *proto;
	const struct option *row;

	snprintf(service, sizeof(service), "%s", section->name);
	if (n && service[n - 1] == '.')
		service[n - 1] = '\0';
	kind = strrchr(service, '.');
	if (!kind)
		return false;
	*kind++ = '\0';
	of = conf_find(p->conf, service);
	e = of ? conf_section_find(of, "protocol") : NULL;
	proto = protos_find(e ? e->value : service);
	row = proto && proto->options ? option_find(proto->options, kind) : NULL;
	if (!row || !row->part)
		return false;
	conf_problem(p->ps, section->file, section->line, "[%s] has no name of its own: [%s.%s.NAME]", section->name,
		     service, kind);
	return true;
}

static const struct proto *proto_of_section(struct planner *p, const struct conf_section *section)
{
	const struct conf_entry *e = conf_section_find(section, "protocol");
	const char *name = e ? e->value : section->name;
	const struct proto *proto = protos_find(name);
	char text[PLANNER_SENTENCE];
	struct buf why;

	if (proto)
		return proto;
	if (!e && lacks_name(p, section))
		return NULL;
	buf_init_fixed(&why, text, sizeof(text));
	if (e) {
		buf_adds(&why, "protocol: ");
		buf_add_excerpt(&why, span_str(name));
		buf_adds(&why, " is no protocol");
		planner_nearest(name, NULL, &why);
	} else {
		buf_addf(&why, "[%s] is no protocol", name);
		planner_nearest(name, "guichet", &why);
		buf_adds(&why, why.p[why.n - 1] == '?' ? " Or say" : ", say");
		buf_adds(&why, " which one it is: protocol = NAME");
	}
	conf_problem(p->ps, section->file, e ? e->line : section->line, "%s", text);
	return NULL;
}

static int take_section(struct planner *p, const struct conf_section *section)
{
	struct conf_target targets[PLANNER_TARGETS];
	const struct proto *proto;
	struct plan_service *s;
	int err;

	if (strcmp(section->name, "guichet") == 0) {
		targets[0] = (struct conf_target){ &tables_guichet, p->plan->global };
		return conf_apply(section, targets, 1, NULL, p->ps);
	}
	if (strcmp(section->name, "rules") == 0)
		return planner_take_rules(p, section);
	if (planner_is_part(section))
		return 0;
	proto = proto_of_section(p, section);
	if (!proto)
		return 0;
	s = planner_add(p, section->name, proto, section);
	if (!s)
		return -ENOMEM;
	err = conf_apply(section, targets, planner_targets(s, targets), NULL, p->ps);
	return err ? err : resolve_service(p, s);
}

/* The name of a protocol where a file was expected is a word that somebody did not finish. */
static void unreadable(struct planner *p, int err)
{
	const struct proto *proto = protos_find(p->setup->file);
	const char *why = err == -EFBIG ? "it is too large for a configuration" : strerror(-err);
	char usual[64] = "";
	struct buf b;

	buf_init_fixed(&b, usual, sizeof(usual));
	if (proto)
		planner_usual_addresses(proto, &b);
	usual[strcspn(usual, " ")] = '\0';
	if (proto)
		conf_problem(p->ps, p->setup->file, 0, "cannot be read: %s; to serve the protocol say where: %s@%s",
			     why, proto->name, usual);
	else
		conf_problem(p->ps, p->setup->file, 0, "cannot be read: %s", why);
}

static int read_file(struct planner *p)
{
	BUF_AUTO struct buf bytes;
	int err;

	buf_init(&bytes, CONF_FILE_MAX);
	err = kit_read(p->setup->from, p->setup->into, p->setup->file, &bytes, NULL);
	if (err == -ENOMEM)
		return err;
	if (err) {
		unreadable(p, err);
		return 0;
	}
	err = conf_parse(p->setup->file, buf_span(&bytes), &p->conf, p->ps);
	return err == -EFBIG ? 0 : err;
}

int planner_take_file(struct planner *p)
{
	int err = read_file(p);

	for (size_t i = 0; !err && p->conf && i < p->conf->n; i++)
		err = take_section(p, &p->conf->sections[i]);
	for (size_t i = 0; !err && p->conf && i < p->conf->n; i++)
		if (planner_is_part(&p->conf->sections[i]))
			err = planner_take_part(p, &p->conf->sections[i]);
	if (!err && p->conf && p->conf->n == 0 && p->setup->n_words == 0 && conf_problems_none(p->ps))
		conf_problem(p->ps, p->setup->file, 0, "nothing in it to serve; a service is a section, as in [echo]");
	return err;
}
