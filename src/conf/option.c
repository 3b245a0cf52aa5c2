/*
 * option.c - sets of values: made, set, checked, resolved, compared. What a type is stands in option_type.c, help and
 * JSON in option_help.c, the check of tables themselves in option_check.c.
 */
#include "conf/option.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "conf/option_priv.h"

enum { SAID_MAX = 1 << 16 }; /* bytes about one value */

static void *slot_of(const struct option *row, void *values)
{
	return (char *)values + row->offset;
}

static const void *const_slot_of(const struct option *row, const void *values)
{
	return (const char *)values + row->offset;
}

int option_values_new(const struct option_table *t, void **ret)
{
	void *values = mem_zalloc(t->values_size);
	int err = values ? 0 : -ENOMEM;

	for (size_t i = 0; i < t->n && !err; i++)
		if (t->rows[i].def)
			err = option_set_row(&t->rows[i], values, t->rows[i].def, NULL);
	if (err) {
		option_values_free(t, &values);
		return err == -ENOMEM ? err : -EINVAL;
	}
	*ret = values;
	return 0;
}

void option_values_free(const struct option_table *t, void **values)
{
	if (!*values)
		return;
	for (size_t i = 0; i < t->n; i++) {
		const struct option *row = &t->rows[i];

		if (option_kinds[row->type].done)
			option_kinds[row->type].done(slot_of(row, *values));
	}
	mem_free(*values);
	*values = NULL;
}

int option_values_copy(const struct option_table *t, const void *from, void **ret)
{
	void *values = mem_zalloc(t->values_size);
	int err = values ? 0 : -ENOMEM;

	for (size_t i = 0; i < t->n && !err; i++) {
		const struct option *row = &t->rows[i];
		const struct option_kind *kind = &option_kinds[row->type];

		if (kind->copy)
			err = kind->copy(const_slot_of(row, from), slot_of(row, values));
		else
			memcpy(slot_of(row, values), const_slot_of(row, from), kind->size);
	}
	if (err) {
		option_values_free(t, &values);
		return err;
	}
	*ret = values;
	return 0;
}

/* People who know other formats put a comment behind a value; it would be read as part of it. */
static bool has_comment(const char *text)
{
	for (; *text; text++)
		if ((*text == '#' || *text == ';') && str_is_space(text[-1]))
			return true;
	return false;
}

/* Each line of `said` behind the name of the option. */
static void add_said(const struct option *row, const char *said, struct buf *why)
{
	for (const char *gap = ""; *said; gap = "\n") {
		size_t n = strcspn(said, "\n");

		buf_addf(why, "%s%s: %.*s", gap, row->name, (int)n, said);
		said += n + (said[n] == '\n');
	}
}

int option_set_row(const struct option *row, void *values, const char *text, struct buf *why)
{
	BUF_AUTO struct buf said = BUF_INIT(SAID_MAX);
	int err = option_kinds[row->type].set(row, slot_of(row, values), text, &said);

	if (err && said.err == -ENOMEM)
		err = -ENOMEM;
	if (!err || !why)
		return err;
	if (err == -ENOMEM) {
		buf_addf(why, "%s: out of memory", row->name);
		return err;
	}
	add_said(row, buf_str(&said), why);
	if (*text && has_comment(text + 1))
		buf_adds(why, " (a comment needs a line of its own)");
	return err;
}

const struct option *option_find(const struct option_table *t, const char *name)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->rows[i].name, name) == 0)
			return &t->rows[i];
	return NULL;
}

void option_offer_names(const struct option_table *t, struct str_closest *c)
{
	for (size_t i = 0; i < t->n; i++)
		str_closest_offer(c, t->rows[i].name);
}

int option_set(const struct option_table *t, void *values, const char *name, const char *text, struct buf *why)
{
	const struct option *row = option_find(t, name);
	struct str_closest c;

	if (row)
		return option_set_row(row, values, text, why);
	if (why) {
		c = str_closest_start(name);
		option_offer_names(t, &c);
		buf_adds(why, "unknown option ");
		buf_add_excerpt(why, span_str(name));
		str_add_hint(why, c.best);
	}
	return -ENOENT;
}

/* Has an option that must be set (a minimum and no default) been left alone? */
static bool is_missing(const struct option *row, const void *values)
{
	const void *slot = const_slot_of(row, values);

	if (!option_is_required(row))
		return false;
	switch (row->type) {
	case OPTION_STRING:
	case OPTION_PATH:
	case OPTION_FILE: /* its path comes first */
		return *(char *const *)slot == NULL;
	case OPTION_ADDRS:
		return ((const struct addr_list *)slot)->n == 0;
	case OPTION_WORDS:
		return ((const struct str_words *)slot)->n == 0;
	default:
		return false;
	}
}

int option_values_check(const struct option_table *t, const void *values, struct buf *why)
{
	struct buf nowhere;
	char none[1];
	bool missing = false;

	if (!why) {
		buf_init_fixed(&nowhere, none, sizeof(none));
		why = &nowhere;
	}
	for (size_t i = 0; i < t->n; i++) {
		if (!is_missing(&t->rows[i], values))
			continue;
		buf_addf(why, "%s%s: must be set, as in: %s = ", missing ? "\n" : "", t->rows[i].name, t->rows[i].name);
		option_add_example(&t->rows[i], why);
		missing = true;
	}
	if (missing)
		return -EINVAL;
	return t->check ? t->check(values, why) : 0;
}

static int resolve_path(const struct option *row, char **path, const char *dir)
{
	char *full;
	int err;

	if (!*path || (row->words && option_word_index(row->words, *path) >= 0))
		return 0;
	err = str_path_from(dir, *path, &full);
	if (err)
		return err;
	mem_free(*path);
	*path = full;
	return 0;
}

static int resolve_addrs(struct addr_list *l, const char *dir, struct buf *why)
{
	int err = 0;

	for (size_t i = 0; i < l->n && !err; i++)
		err = addr_rebase(&l->v[i], dir, why);
	return err;
}

int option_resolve(const struct option_table *t, void *values, const char *dir, struct buf *why)
{
	int err = 0;

	for (size_t i = 0; i < t->n && !err; i++) {
		const struct option *row = &t->rows[i];
		void *slot = slot_of(row, values);

		if (row->type == OPTION_PATH)
			err = resolve_path(row, slot, dir);
		if (row->type == OPTION_FILE)
			err = resolve_path(row, &((struct option_file *)slot)->path, dir);
		if (row->type == OPTION_ADDRS)
			err = resolve_addrs(slot, dir, why);
	}
	return !err && t->resolve ? t->resolve(values, dir) : err;
}

bool option_row_equal(const struct option *row, const void *a, const void *b)
{
	const struct option_kind *kind = &option_kinds[row->type];
	const void *x = const_slot_of(row, a), *y = const_slot_of(row, b);

	return kind->equal ? kind->equal(x, y) : memcmp(x, y, kind->size) == 0;
}

bool option_values_equal(const struct option_table *t, const void *a, const void *b)
{
	for (size_t i = 0; i < t->n; i++)
		if (!option_row_equal(&t->rows[i], a, b))
			return false;
	return true;
}

void option_format(const struct option *row, const void *values, struct buf *b)
{
	option_kinds[row->type].format(row, const_slot_of(row, values), b);
}
