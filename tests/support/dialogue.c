/* dialogue.c - reading the files that dialogue.h describes. What is done with them is in replay.c. */
#include "support/dialogue.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct reader {
	struct dialogue *d;
	const char *path;
	unsigned line;
};

static void fault(const struct reader *r, const char *what)
{
	fail_msg("%s:%u: %s", r->path, r->line, what);
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c | 0x20) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* The byte that the text at *at stands for; *at moves behind it. */
static uint8_t next_byte(const struct reader *r, const char **at)
{
	static const char names[] = "nrt\\", values[] = "\n\r\t\\";
	const char *c = *at, *name;

	if (*c != '\\') {
		*at += 1;
		return (uint8_t)*c;
	}
	name = c[1] ? strchr(names, c[1]) : NULL;
	if (name) {
		*at += 2;
		return (uint8_t)values[name - names];
	}
	if (c[1] != 'x' || hex_digit(c[2]) < 0 || hex_digit(c[3]) < 0)
		fault(r, "after a backslash there must be n, r, t, x and two hex digits, or another backslash");
	*at += 4;
	return (uint8_t)(hex_digit(c[2]) * 16 + hex_digit(c[3]));
}

static void read_text(struct reader *r, struct dialogue_step *s, const char *text, size_t times)
{
	size_t n = 0;

	s->p = malloc(strlen(text) * times + 1);
	assert_non_null(s->p);
	for (const char *c = text; *c;)
		s->p[n++] = next_byte(r, &c);
	for (size_t i = 1; i < times; i++)
		memcpy(s->p + i * n, s->p, n);
	s->n = n * times;
}

static void read_mark(struct reader *r, struct dialogue_step *s, const char *word)
{
	if (strcmp(word, "eof") == 0)
		s->kind = DIALOGUE_EOF;
	else if (strcmp(word, "closed") == 0)
		s->kind = DIALOGUE_CLOSED;
	else if (strcmp(word, "silence") == 0)
		s->kind = DIALOGUE_SILENCE;
	else
		fault(r, "after a dot there must be eof, closed or silence");
}

static unsigned client_of(struct reader *r, char letter)
{
	unsigned i = (unsigned)(letter - 'a');

	if (letter == 'z' && r->d->far)
		return DIALOGUE_FAR;
	if (i >= r->d->clients)
		fault(r, "no such client; clients N says how many there are");
	return i;
}

static void read_step(struct reader *r, const char *c)
{
	struct dialogue_step s = { .line = r->line };
	size_t times = 1;
	char *end;

	if (*c >= 'a' && *c <= 'z')
		s.client = client_of(r, *c++);
	switch (*c++) {
	case '<':
		s.kind = DIALOGUE_SEND;
		break;
	case '>':
		s.kind = DIALOGUE_EXPECT;
		break;
	case '.':
		if (*c != ' ')
			fault(r, "a blank is missing after the dot");
		read_mark(r, &s, c + 1);
		goto add;
	default:
		fault(r,
		      "a line begins with #, option, wall, clients, loops, far, dgram, <, > or . (a letter before it names the client)");
	}
	if (*c >= '0' && *c <= '9') {
		times = strtoul(c, &end, 10);
		c = end;
	}
	if (*c != ' ' || times == 0 || times > 1 << 20)
		fault(r, "after < or > there may be a number from 1, and then a blank");
	read_text(r, &s, c + 1, times);
add:
	r->d->v = realloc(r->d->v, (r->d->n + 1) * sizeof(s));
	assert_non_null(r->d->v);
	r->d->v[r->d->n++] = s;
}

static void read_option(struct reader *r, char *text)
{
	struct dialogue *d = r->d;
	char *equals = strstr(text, " =");

	if (!equals || d->options == DIALOGUE_OPTIONS)
		fault(r, "option NAME = VALUE, and not too many of them");
	*equals = '\0';
	equals += 2;
	d->option[d->options].name = strdup(text);
	d->option[d->options].value = strdup(equals + (*equals == ' '));
	d->options++;
}

/* One of the lines at the top; false: it is none. */
static bool read_head(struct reader *r, char *line)
{
	struct dialogue *d = r->d;

	if (strncmp(line, "option ", 7) == 0)
		read_option(r, line + 7);
	else if (strncmp(line, "wall ", 5) == 0)
		d->wall = strtoll(line + 5, NULL, 10);
	else if (strncmp(line, "clients ", 8) == 0)
		d->clients = (unsigned)strtoul(line + 8, NULL, 10);
	else if (strcmp(line, "loops 1") == 0)
		; /* always so over memory */
	else if (strcmp(line, "far") == 0)
		d->far = true;
	else if (strcmp(line, "dgram") == 0)
		d->dgram = true;
	else
		return false;
	if (d->n)
		fault(r, "this belongs above the first step");
	if (d->clients < 1 || d->clients > DIALOGUE_CLIENTS)
		fault(r, "too many clients");
	return true;
}

static void read_line(struct reader *r, char *line)
{
	line[strcspn(line, "\n")] = '\0';
	if (*line == '\0' || *line == '#' || read_head(r, line))
		return;
	read_step(r, line);
}

struct dialogue *dialogue_load(const char *path)
{
	struct dialogue *d = calloc(1, sizeof(*d));
	struct reader r = { .d = d, .path = path };
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t cap = 0;

	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	assert_non_null(d);
	snprintf(d->path, sizeof(d->path), "%s", path);
	d->clients = 1;
	while (getline(&line, &cap, f) >= 0) {
		r.line++;
		read_line(&r, line);
	}
	if (d->n == 0)
		fault(&r, "nothing happens in this file");
	free(line);
	fclose(f);
	return d;
}

void dialogue_free(struct dialogue **dp)
{
	struct dialogue *d = *dp;

	if (!d)
		return;
	for (size_t i = 0; i < d->n; i++)
		free(d->v[i].p);
	for (size_t i = 0; i < d->options; i++) {
		free(d->option[i].name);
		free(d->option[i].value);
	}
	free(d->v);
	free(d);
	*dp = NULL;
}
