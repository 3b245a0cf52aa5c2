/* wrap.c - see wrap.h. */
#include "base/wrap.h"

#include <string.h>

size_t wrap_width(const char *s, size_t n)
{
	size_t width = 0;

	for (size_t i = 0; i < n; i++)
		width += ((unsigned char)s[i] & 0xc0) != 0x80;
	return width;
}

void wrap_line(struct buf *b, size_t indent)
{
	buf_addf(b, "\n%*s", (int)indent, "");
}

/* One word at column *at, on a new line when it does not fit. */
static void add_word(struct buf *b, const char *word, size_t n, size_t indent, size_t *at, bool first)
{
	size_t width = wrap_width(word, n);

	if (!first && *at + 1 + width > WRAP_WIDTH) {
		wrap_line(b, indent);
		*at = indent;
	} else if (!first) {
		buf_addc(b, ' ');
		++*at;
	}
	buf_add(b, word, n);
	*at += width;
}

void wrap_add(struct buf *b, const char *text, size_t indent, size_t at)
{
	bool first = true;

	while (*text) {
		if (text[0] == '\n' && (text[1] == '\n' || strncmp(text + 1, "  ", 2) == 0)) {
			if (text[1] == '\n')
				buf_addc(b, '\n');
			text += text[1] == '\n' ? 2 : 1;
			wrap_line(b, indent);
			at = indent;
			first = true;
			if (strncmp(text, "  ", 2) == 0) {
				size_t n = strcspn(text, "\n");

				buf_add(b, text, n);
				text += n;
				at = WRAP_WIDTH; /* what follows it begins a line */
				first = false;
			}
		} else if (*text == ' ' || *text == '\n') {
			text++;
		} else {
			size_t n = strcspn(text, " \n");

			add_word(b, text, n, indent, &at, first);
			first = false;
			text += n;
		}
	}
}
