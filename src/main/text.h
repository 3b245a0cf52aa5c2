/*
 * text.h - how the program writes for people: aligned tables, messages, styles on a terminal only.
 */
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"

/* What makes a terminal write bold, dim and normal; empty strings where it would be noise: a file, a pipe, NO_COLOR. */
struct text_style {
	const char *bold, *dim, *off;
};
struct text_style text_style_of(FILE *f);

/* A table: every column as wide as its widest cell, the last one open. Cells are copied. */
#define TEXT_COLUMNS 12
struct text_table {
	struct text_row *rows;
	size_t n, cap;
	size_t columns;
	unsigned right; /* bit i: column i is aligned to the right */
	bool wrap;      /* the last column goes on in the next line where a line would be wider than WRAP_WIDTH */
	int err;        /* -ENOMEM, sticky: text_table_format() gives it on */
};

/* Ends with NULL; a missing or empty cell is blank. The first row is the heading. */
void text_table_add(struct text_table *t, const char *const *cells);
void text_table_format(const struct text_table *t, struct text_style style, struct buf *b);
void text_table_done(struct text_table *t);

/* To standard error, behind `guichet: ` and with a line end. */
void text_error_v(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));
void text_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Writes all of it; a reader that went away (`| head`) is no error. 0 or -errno; -ENOMEM when the buffer failed. */
[[nodiscard]] int text_print(FILE *f, const struct buf *b);
