/* option_check.c - is a table itself right? Called by the unit test of every table, and once at start. */
#include <errno.h>
#include <string.h>

#include "conf/option_priv.h"

#define NAME_LONGEST 24
#define HELP_LONGEST 300

static int fault(const struct option *row, const char *what, struct buf *why)
{
	buf_addf(why, "%s: %s", row->name ? row->name : "(no name)", what);
	return -EINVAL;
}

static int check_name(const struct option *row, const struct option *before, struct buf *why)
{
	const char *s = row->name;

	if (!s || *s < 'a' || *s > 'z' || strlen(s) > NAME_LONGEST)
		return fault(row, "a name starts with a small letter and is not long", why);
	for (; *s; s++)
		if (!(*s >= 'a' && *s <= 'z') && !str_is_digit(*s) && *s != '_')
			return fault(row, "a name is made of small letters, digits and _", why);
	if (before && strcmp(before->name, row->name) >= 0)
		return fault(row, "names are sorted and come once", why);
	return 0;
}

static int check_help(const struct option *row, struct buf *why)
{
	const char *help = row->help;
	size_t n = help ? strlen(help) : 0;

	if (n == 0 || n > HELP_LONGEST)
		return fault(row, "help is missing or too long", why);
	if (help[n - 1] == '.' || strchr(help, '\n'))
		return fault(row, "help is one line without a full stop", why);
	/* TLS and the like keep their capitals. */
	if (help[0] >= 'A' && help[0] <= 'Z' && help[1] >= 'a' && help[1] <= 'z')
		return fault(row, "help starts with a small letter", why);
	return 0;
}

static int check_words(const struct option *row, struct buf *why)
{
	size_t n = 0;

	if (row->type != OPTION_ENUM)
		return row->words && row->type != OPTION_PATH ? fault(row, "this type has no words", why) : 0;
	if (!row->words || !row->words[0])
		return fault(row, "the words are missing", why);
	for (; row->words[n]; n++)
		if (option_word_index(row->words, row->words[n]) != (int)n)
			return fault(row, "a word comes twice", why);
	return 0;
}

static bool has_range(enum option_type type)
{
	return type != OPTION_BOOL && type != OPTION_ENUM && type != OPTION_MODE && type != OPTION_PARTS;
}

static bool may_lack_default(enum option_type type)
{
	return type == OPTION_STRING || type == OPTION_PATH || type == OPTION_ADDRS || type == OPTION_WORDS ||
	       type == OPTION_FILE || type == OPTION_PARTS;
}

/* The table of its sections is right too. */
static int check_part(const struct option *row, struct buf *why)
{
	if ((row->type == OPTION_PARTS) != (row->part != NULL))
		return fault(row, "sections have a table, and nothing else has", why);
	return row->part ? option_table_check(row->part, why) : 0;
}

static int check_numbers(const struct option *row, struct buf *why)
{
	if (row->max > 0 && row->min > row->max)
		return fault(row, "the minimum is above the maximum", why);
	if (!has_range(row->type) && (row->min > 0 || row->max > 0))
		return fault(row, "this type has no range", why);
	if (!row->def && !may_lack_default(row->type))
		return fault(row, "this type needs a default", why);
	return 0;
}

static int check_place(const struct option_table *t, size_t i, struct buf *why)
{
	const struct option *row = &t->rows[i];
	size_t size = option_kinds[row->type].size;

	if (size > t->values_size || row->offset > t->values_size - size)
		return fault(row, "the field is outside of the values", why);
	for (size_t j = 0; j < i; j++) {
		const struct option *other = &t->rows[j];

		if (row->offset < other->offset + option_kinds[other->type].size && other->offset < row->offset + size)
			return fault(row, "two options share a field", why);
	}
	return 0;
}

static int check_row(const struct option_table *t, size_t i, struct buf *why)
{
	const struct option *row = &t->rows[i];
	int err = check_name(row, i > 0 ? row - 1 : NULL, why);

	if (!err && (unsigned)row->type >= OPTION_TYPES)
		err = fault(row, "unknown type", why);
	if (!err)
		err = check_help(row, why);
	if (!err)
		err = check_words(row, why);
	if (!err)
		err = check_numbers(row, why);
	if (!err)
		err = check_part(row, why);
	return err ? err : check_place(t, i, why);
}

/* The default parses, and its text form reads back as the same value. */
static int check_default(const struct option *row, void *values, const void *same, struct buf *why)
{
	BUF_AUTO struct buf text = BUF_INIT(1 << 16);
	int err;

	if (!row->def)
		return 0;
	err = option_set_row(row, values, row->def, why);
	if (err)
		return err;
	option_format(row, values, &text);
	if (text.err)
		return text.err;
	err = option_set_row(row, values, buf_str(&text), why);
	if (err)
		return err;
	return option_row_equal(row, values, same) ? 0 : fault(row, "the default does not read back", why);
}

static bool must_be_set(const struct option_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (option_is_required(&t->rows[i]))
			return true;
	return false;
}

static int check_defaults(const struct option_table *t, struct buf *why)
{
	void *values = NULL, *same = NULL;
	struct option_table bare = *t;
	int err;

	/*
	 * An empty table of the same size gives zeroed values without parsing any default: those are tried one by
	 * one.
	 */
	bare.n = 0;
	err = option_values_new(&bare, &values);
	for (size_t i = 0; i < t->n && !err; i++)
		if (t->rows[i].def)
			err = option_set_row(&t->rows[i], values, t->rows[i].def, why);
	if (!err)
		err = option_values_copy(t, values, &same);
	for (size_t i = 0; i < t->n && !err; i++)
		err = check_default(&t->rows[i], values, same, why);
	/* With an option that must be set, the defaults alone are not a right set of values. */
	if (!err && !must_be_set(t))
		err = option_values_check(t, values, why);
	option_values_free(t, &values);
	option_values_free(t, &same);
	return err;
}

int option_table_check(const struct option_table *t, struct buf *why)
{
	for (size_t i = 0; i < t->n; i++) {
		int err = check_row(t, i, why);

		if (err)
			return err;
	}
	return check_defaults(t, why);
}
