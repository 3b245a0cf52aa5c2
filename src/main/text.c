/* text.c - see text.h. */
#include "main/text.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/wrap.h"

enum { GAP = 2 }; /* columns between two cells */

struct text_row {
	char *cells[TEXT_COLUMNS];
};

struct text_style text_style_of(FILE *f)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM"); /* no-color.org */

	if ((no && *no) || !term || strcmp(term, "dumb") == 0 || !isatty(fileno(f)))
		return (struct text_style){ "", "", "" };
	return (struct text_style){ "\x1b[1m", "\x1b[2m", "\x1b[0m" };
}

/* ---- tables ---- */

static int grow(struct text_table *t)
{
	size_t cap = t->cap ? t->cap * 2 : 16;
	struct text_row *rows;

	if (t->n < t->cap)
		return 0;
	rows = mem_realloc(t->rows, cap * sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	t->rows = rows;
	t->cap = cap;
	return 0;
}

void text_table_add(struct text_table *t, const char *const *cells)
{
	struct text_row *row;

	if (!t->err)
		t->err = grow(t);
	if (t->err)
		return;
	row = &t->rows[t->n++];
	*row = (struct text_row){};
	for (size_t i = 0; i < TEXT_COLUMNS && cells[i]; i++) {
		row->cells[i] = mem_strdup(cells[i]);
		if (!row->cells[i])
			t->err = -ENOMEM;
		if (i >= t->columns)
			t->columns = i + 1;
	}
}

static const char *cell(const struct text_row *row, size_t i)
{
	return row->cells[i] ? row->cells[i] : "";
}

static size_t column_width(const struct text_table *t, size_t i)
{
	size_t width = 0;

	for (size_t r = 0; r < t->n; r++) {
		const char *s = cell(&t->rows[r], i);
		size_t w = wrap_width(s, strlen(s));

		width = w > width ? w : width;
	}
	return width;
}

/* Spaces are only written when something stands behind them. */
static void format_row(const struct text_table *t, const struct text_row *row, const size_t *widths, struct buf *b)
{
	size_t due = 0, at = 0;

	for (size_t i = 0; i < t->columns; at += widths[i++] + GAP) {
		const char *s = cell(row, i);
		size_t width = wrap_width(s, strlen(s)), pad = widths[i] - width;

		if (*s && t->right & 1u << i) {
			due += pad;
			pad = 0;
		}
		if (*s) {
			buf_addf(b, "%*s", (int)due, "");
			if (t->wrap && i + 1 == t->columns)
				wrap_add(b, s, at, at);
			else
				buf_adds(b, s);
			due = 0;
		}
		due += (*s ? 0 : width) + pad + GAP;
	}
}

void text_table_format(const struct text_table *t, struct text_style style, struct buf *b)
{
	size_t widths[TEXT_COLUMNS];

	if (t->err && !b->err)
		b->err = t->err;
	for (size_t i = 0; i < t->columns; i++)
		widths[i] = column_width(t, i);
	for (size_t r = 0; r < t->n; r++) {
		if (r == 0)
			buf_adds(b, style.bold);
		format_row(t, &t->rows[r], widths, b);
		if (r == 0)
			buf_adds(b, style.off);
		buf_addc(b, '\n');
	}
}

void text_table_done(struct text_table *t)
{
	for (size_t r = 0; r < t->n; r++)
		for (size_t i = 0; i < TEXT_COLUMNS; i++)
			mem_free(t->rows[r].cells[i]);
	mem_free(t->rows);
	*t = (struct text_table){};
}

/* ---- output ---- */

void text_error_v(const char *fmt, va_list ap)
{
	char text[2048];
	struct buf b;

	buf_init_fixed(&b, text, sizeof(text));
	buf_addv(&b, fmt, ap);
	fprintf(stderr, "guichet: %s\n", text);
}

void text_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	text_error_v(fmt, ap);
	va_end(ap);
}

int text_print(FILE *f, const struct buf *b)
{
	if (b->err) {
		text_error("%s", strerror(-b->err));
		return b->err;
	}
	errno = 0;
	if (fwrite(b->n ? b->p : "", 1, b->n, f) == b->n && fflush(f) == 0)
		return 0;
	if (errno == EPIPE)
		return 0;
	text_error("cannot write the output: %s", strerror(errno));
	return errno ? -errno : -EIO;
}
