/* option_help.c - option tables as text: ranges, forms, help for a terminal, JSON. */
#include "base/wrap.h"
#include "conf/option_priv.h"

#define HELP_COLUMN 28 /* where the explanations start */

/* One bound in the option's own unit. */
static void add_bound(const struct option *row, uint64_t v, struct buf *b)
{
	if (row->type == OPTION_SIZE)
		str_add_size(b, v);
	else if (row->type == OPTION_NSEC)
		str_add_nsec(b, v);
	else
		buf_addf(b, "%llu", (unsigned long long)v);
}

/* What a bound counts, where that does not go without saying. */
static const char *bound_unit(const struct option *row, uint64_t v)
{
	switch (row->type) {
	case OPTION_STRING:
	case OPTION_FILE:
		return v == 1 ? " byte" : " bytes";
	case OPTION_ADDRS:
		return v == 1 ? " address" : " addresses";
	case OPTION_WORDS:
		return v == 1 ? " word" : " words";
	default:
		return "";
	}
}

void option_add_range(const struct option *row, struct buf *b)
{
	if (row->min == 0 && row->max == 0)
		return;
	if (row->min > 0 && row->min == row->max) {
		buf_adds(b, "exactly ");
	} else if (row->min > 0 && row->max > 0) {
		add_bound(row, row->min, b);
		buf_adds(b, " to ");
	} else {
		buf_adds(b, row->max > 0 ? "at most " : "at least ");
	}
	add_bound(row, row->max > 0 ? row->max : row->min, b);
	buf_adds(b, bound_unit(row, row->max > 0 ? row->max : row->min));
}

static void add_alternatives(const char *const *words, struct buf *b)
{
	for (size_t i = 0; words[i]; i++)
		buf_addf(b, "%s%s", i > 0 ? "|" : "", words[i]);
}

void option_add_form(const struct option *row, struct buf *b)
{
	const char *form = option_kinds[row->type].form;

	if (row->part) {
		buf_addf(b, "[SERVICE.%s.NAME]", row->name);
		return;
	}
	if (row->words) {
		add_alternatives(row->words, b);
		if (form)
			buf_addc(b, '|');
	}
	if (form)
		buf_adds(b, form);
}

bool option_is_required(const struct option *row)
{
	return !row->def && row->min > 0;
}

void option_add_example(const struct option *row, struct buf *b)
{
	static const char *const examples[OPTION_TYPES] = {
		[OPTION_STRING] = "text", [OPTION_PATH] = "./file",
		[OPTION_FILE] = "./file", [OPTION_ADDRS] = "tcp:localhost:8080",
		[OPTION_WORDS] = "word",
	};

	const char *usual = row->example ? row->example : examples[row->type];

	buf_adds(b, row->def ? row->def : usual ? usual : "");
}

/* ---- for a terminal ---- */

/* ` (default 64K, 64 to 1G)` as far as there is something to say. */
static void add_notes(const struct option *row, bool with_range, struct buf *b)
{
	size_t start = b->n;

	if (row->def)
		buf_addf(b, " (default %s", *row->def ? row->def : "empty");
	else if (option_is_required(row))
		buf_adds(b, " (must be set");
	if (with_range && (row->min > 0 || row->max > 0)) {
		buf_adds(b, b->n > start ? ", " : " (");
		option_add_range(row, b);
	}
	if (b->n > start)
		buf_addc(b, ')');
	if (row->part) /* where its options are */
		buf_addf(b, " (guichet help %s)", row->name);
}

/* What stands right of the name in a table: explanation and notes. */
static void add_explanation(const struct option *row, bool with_range, struct buf *b)
{
	buf_adds(b, row->help);
	add_notes(row, with_range, b);
}

/* `name = FORM`, or the head of a section. */
static void add_head(const struct option *row, struct buf *b)
{
	if (!row->part)
		buf_addf(b, "%s = ", row->name);
	option_add_form(row, b);
}

static void help_line(const struct option *row, struct buf *b, struct buf *scratch)
{
	size_t start = b->n, at;

	buf_adds(b, "  ");
	add_head(row, b);
	at = b->n - start;
	if (at + 2 > HELP_COLUMN)
		wrap_line(b, HELP_COLUMN);
	else
		buf_addf(b, "%*s", (int)(HELP_COLUMN - at), "");
	buf_reset(scratch);
	add_explanation(row, false, scratch);
	wrap_add(b, buf_str(scratch), HELP_COLUMN, HELP_COLUMN);
	buf_addc(b, '\n');
	if (scratch->err)
		b->err = scratch->err;
}

const struct option *option_shown(const struct option_table *t, size_t i)
{
	for (unsigned sections = 0; sections < 2; sections++)
		for (size_t k = 0; k < t->n; k++)
			if (!t->rows[k].part == !sections && i-- == 0)
				return &t->rows[k];
	return NULL;
}

void option_help_table(const struct option_table *t, struct buf *b)
{
	BUF_AUTO struct buf scratch = BUF_INIT(4096);
	const struct option *row;

	for (size_t i = 0; (row = option_shown(t, i)); i++)
		help_line(row, b, &scratch);
}

static void help_sections(const struct option *row, struct buf *b)
{
	option_add_form(row, b);
	buf_addf(b, " - %s\n\n", row->help);
	if (row->part->about) {
		wrap_add(b, row->part->about, 0, 0);
		buf_adds(b, "\n\n");
	}
	buf_adds(b, "Options of such a section:\n");
	option_help_table(row->part, b);
}

void option_help_row(const struct option *row, struct buf *b)
{
	BUF_AUTO struct buf scratch = BUF_INIT(4096);

	if (row->part) {
		help_sections(row, b);
		return;
	}
	add_explanation(row, true, &scratch);
	add_head(row, b);
	wrap_line(b, 2);
	wrap_add(b, buf_str(&scratch), 2, 2);
	buf_addc(b, '\n');
	if (scratch.err)
		b->err = scratch.err;
}

/* ---- JSON ---- */

static void json_member(struct buf *b, const char *name, const char *text)
{
	buf_addf(b, ",\"%s\":", name);
	if (text)
		buf_add_json(b, span_str(text));
	else
		buf_adds(b, "null");
}

static void json_row(const struct option *row, struct buf *b)
{
	buf_adds(b, "{\"name\":");
	buf_add_json(b, span_str(row->name));
	json_member(b, "type", option_type_name(row->type));
	json_member(b, "default", row->def);
	if (row->min > 0)
		buf_addf(b, ",\"min\":%llu", (unsigned long long)row->min);
	if (row->max > 0)
		buf_addf(b, ",\"max\":%llu", (unsigned long long)row->max);
	if (row->words) {
		buf_adds(b, ",\"words\":[");
		for (size_t i = 0; row->words[i]; i++) {
			if (i > 0)
				buf_addc(b, ',');
			buf_add_json(b, span_str(row->words[i]));
		}
		buf_addc(b, ']');
	}
	json_member(b, "help", row->help);
	if (row->part) {
		buf_adds(b, ",\"options\":");
		option_json_table(row->part, b);
	}
	buf_addc(b, '}');
}

void option_json_table(const struct option_table *t, struct buf *b)
{
	buf_addc(b, '[');
	for (size_t i = 0; i < t->n; i++) {
		if (i > 0)
			buf_addc(b, ',');
		json_row(&t->rows[i], b);
	}
	buf_addc(b, ']');
}
