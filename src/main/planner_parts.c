/*
 * planner_parts.c - sections that belong to a service, [SERVICE.KIND.NAME], where KIND is an option of its protocol of the type
 * PARTS; and the files whose content they name.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "conf/option.h"
#include "main/kit.h"
#include "main/planner_priv.h"

enum { FILE_MAX = 1 << 20 }; /* bytes */

/* The three words of the section's name; false: it has not so many. */
static bool split(const char *name, struct span *ret_service, struct span *ret_kind, const char **ret_part)
{
	const char *last = strrchr(name, '.');
	const char *middle = last ? memrchr(name, '.', (size_t)(last - name)) : NULL;

	if (!middle || middle == name || last == middle + 1 || !last[1])
		return false;
	*ret_service = (struct span){ (const uint8_t *)name, (size_t)(middle - name) };
	*ret_kind = (struct span){ (const uint8_t *)middle + 1, (size_t)(last - middle) - 1 };
	*ret_part = last + 1;
	return true;
}

bool planner_is_part(const struct conf_section *section)
{
	struct span service, kind;
	const char *part;

	return split(section->name, &service, &kind, &part) && !conf_section_find(section, "protocol");
}

/* ---- whose it is ---- */

static void no_service(struct planner *p, const struct conf_section *section, const char *service)
{
	conf_problem(p->ps, section->file, section->line, "[%s] belongs to [%s], and there is no such section",
		     section->name, service);
}

static void no_kind(struct planner *p, const struct conf_section *section, const struct plan_service *s,
		    const char *kind)
{
	const struct option_table *t = s->proto->options;
	struct str_closest c = str_closest_start(kind);
	char text[PLANNER_SENTENCE];
	struct buf why;

	buf_init_fixed(&why, text, sizeof(text));
	buf_addf(&why, "[%s]: %s has no sections of the kind ", section->name, s->proto->name);
	buf_add_excerpt(&why, span_str(kind));
	for (size_t i = 0; t && i < t->n; i++)
		if (t->rows[i].part)
			str_closest_offer(&c, t->rows[i].name);
	str_add_hint(&why, c.best);
	conf_problem(p->ps, section->file, section->line, "%s", text);
}

/* NULL: a problem was told. */
static const struct option *find_row(struct planner *p, const struct conf_section *section, struct plan_service **ret_s,
				     const char **ret_part)
{
	char service[CONF_NAME_MAX + 1], kind[CONF_NAME_MAX + 1];
	struct span service_name, kind_name;
	const struct option *row;

	if (!split(section->name, &service_name, &kind_name, ret_part))
		return NULL;
	snprintf(service, sizeof(service), "%.*s", (int)service_name.n, service_name.p);
	snprintf(kind, sizeof(kind), "%.*s", (int)kind_name.n, kind_name.p);
	*ret_s = planner_find(p, service);
	if (!*ret_s) {
		no_service(p, section, service);
		return NULL;
	}
	row = (*ret_s)->proto->options ? option_find((*ret_s)->proto->options, kind) : NULL;
	if (row && row->part)
		return row;
	no_kind(p, section, *ret_s, kind);
	return NULL;
}

/* ---- files ---- */

/* Whose options they are: a section of a service, or a service. */
struct owner {
	const struct conf_section *section; /* NULL: the service itself */
	const struct plan_service *service;
};

/* A sentence begins with the name of an option. */
static unsigned line_of(const struct conf_section *section, const char *text)
{
	char name[CONF_NAME_MAX + 1];
	const struct conf_entry *e;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(text, ":"), text);
	e = conf_section_find(section, name);
	return e ? e->line : section->line;
}

static void problem(struct planner *p, const struct owner *of, const char *text)
{
	if (of->section)
		conf_problem(p->ps, of->section->file, line_of(of->section, text), "%s", text);
	else
		planner_problem(p, of->service, text);
}

static void warn_of_mode(struct planner *p, const struct owner *of, const struct option *row, const char *path)
{
	char text[PLANNER_SENTENCE];
	struct stat st;

	if (!row->secret || p->setup->from || stat(path, &st) < 0 || !(st.st_mode & S_IROTH))
		return;
	snprintf(text, sizeof(text), "%s: %s can be read by every user of this machine; chmod o-r it", row->name, path);
	if (of->section)
		conf_warning(p->ps, of->section->file, line_of(of->section, text), "%s", text);
	else
		planner_warning(p, of->service, text);
}

static int read_file(struct planner *p, const struct owner *of, const struct option *row, void *values)
{
	const struct option_file *f = (const void *)((const char *)values + row->offset);
	BUF_AUTO struct buf bytes = BUF_INIT(FILE_MAX);
	char text[PLANNER_SENTENCE];
	struct buf why;
	int err;

	if (!f->path)
		return 0;
	buf_init_fixed(&why, text, sizeof(text));
	buf_addf(&why, "%s: ", row->name);
	err = kit_read(p->setup->from, p->setup->into, f->path, &bytes, &why);
	if (!err) {
		warn_of_mode(p, of, row, f->path);
		buf_reset(&why);
		err = option_file_take(row, values, buf_span(&bytes), &why);
	}
	if (bytes.p)
		explicit_bzero(bytes.p, bytes.cap);
	if (err && err != -ENOMEM)
		problem(p, of, text);
	return err == -ENOMEM ? err : 0;
}

static bool has_files(const struct option_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->rows[i].type == OPTION_FILE)
			return true;
	return false;
}

static int check(const struct option_table *t, const void *values, char text[PLANNER_SENTENCE])
{
	struct buf why;

	buf_init_fixed(&why, text, PLANNER_SENTENCE);
	return option_values_check(t, values, &why);
}

static int read_files(struct planner *p, const struct owner *of, const struct option_table *t, void *values)
{
	size_t problems = conf_problems_count(p->ps);
	char text[PLANNER_SENTENCE];
	int err = 0, before;

	if (!has_files(t))
		return 0;
	before = check(t, values, text);
	for (size_t i = 0; i < t->n && !err; i++)
		if (t->rows[i].type == OPTION_FILE)
			err = read_file(p, of, &t->rows[i], values);
	if (err || before || conf_problems_count(p->ps) != problems) /* which has been told of */
		return err ? err : before == -ENOMEM ? before : 0;
	err = check(t, values, text); /* what only their content can tell */
	if (err && err != -ENOMEM)
		problem(p, of, text);
	return err == -ENOMEM ? err : 0;
}

int planner_read_files(struct planner *p, const struct plan_service *s)
{
	const struct option_table *t = s->proto->options;

	return t ? read_files(p, &(struct owner){ .service = s }, t, s->options) : 0;
}

/* ---- one section ---- */

/* It stands in topics, in the log and in the name that the service has elsewhere. */
static void check_part_name(struct planner *p, const struct conf_section *section, const char *name)
{
	static const char usual[] = "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char text[PLANNER_SENTENCE];
	struct buf why;

	if (name[strspn(name, usual)] == '\0')
		return;
	buf_init_fixed(&why, text, sizeof(text));
	buf_addf(&why, "[%s]: ", section->name);
	buf_add_excerpt(&why, span_str(name));
	buf_adds(&why, " is no name for a section of a service: letters, digits, - and _");
	conf_problem(p->ps, section->file, section->line, "%s", text);
}

int planner_take_part(struct planner *p, const struct conf_section *section)
{
	struct plan_service *s = NULL;
	const char *name = NULL;
	const struct option *row = find_row(p, section, &s, &name);
	size_t problems;
	struct option_part *part;
	char text[PLANNER_SENTENCE];
	struct buf why;
	int err;

	if (!row)
		return 0;
	check_part_name(p, section, name);
	problems = p->ps->n;
	err = option_part_add(row, s->options, name, &part);
	if (!err)
		err = conf_apply(section, &(struct conf_target){ row->part, part->values }, 1, NULL, p->ps);
	if (err || p->ps->n != problems)
		return err;
	buf_init_fixed(&why, text, sizeof(text));
	err = option_resolve(row->part, part->values, p->dir, &why);
	if (err == -ENAMETOOLONG) {
		conf_problem(p->ps, section->file, section->line, "%s", text);
		return 0;
	}
	return err ? err : read_files(p, &(struct owner){ .section = section }, row->part, part->values);
}
