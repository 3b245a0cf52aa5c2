/* wrap.h - text in lines of 80 columns. */
#pragma once
#include <stddef.h>

#include "base/buf.h"

#define WRAP_WIDTH 80

/* Columns of n bytes of UTF-8, as far as our own texts and sane paths go. */
size_t wrap_width(const char *s, size_t n);

/* A line end, and the next line's indent. */
void wrap_line(struct buf *b, size_t indent);

/*
 * Adds words from column `at` on, broken at spaces, every new line indented. Line ends in `text` count as spaces, an empty
 * line begins a new paragraph, a line that starts with two spaces stands as it is. Ends without a line end.
 */
void wrap_add(struct buf *b, const char *text, size_t indent, size_t at);
