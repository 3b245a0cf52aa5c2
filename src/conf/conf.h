/*
 * conf.h - a configuration file as data: sections in order, each with its entries and their lines. No file is opened
 * here and no service is known here: the caller reads the bytes, and maps sections to option tables with
 * conf_apply().
 *
 * The format is inih's:
 *	# or ; starts a comment, on a line of its own only: a value may hold either
 *	[section]
 *	name = value          (or name: value); white space around both is dropped
 *		more          a line indented deeper than the name goes on with its value, after a line
 *	                      feed: for lists that is white space like any other, a text has several lines
 * Entries may all be indented, as git writes them. A UTF-8 byte order mark is skipped. Nothing is expanded: no
 * variables, no includes.
 *
 * Mistakes never stop the reading: all of them are collected, so that one run of `guichet check` shows them all.
 */
#pragma once
#include <stddef.h>

#include "base/buf.h"
#include "base/span.h"
#include "conf/option.h"

#define CONF_FILE_MAX ((size_t)1 << 20)  /* bytes of a file */
#define CONF_LINE_MAX ((size_t)1 << 16)  /* bytes of a line without its end */
#define CONF_VALUE_MAX ((size_t)1 << 16) /* bytes of a value with its continuation lines */
#define CONF_NAME_MAX 48                 /* bytes of a section's or an entry's name */
#define CONF_SECTIONS_MAX 1000
#define CONF_ENTRIES_MAX 1000 /* of a section */
#define CONF_PROBLEMS_MAX 200 /* kept; one more says that there are others. As many warnings */

struct conf_entry {
	char *name;
	char *value; /* "" when there is nothing after the = */
	unsigned line;
	unsigned *more; /* of each further line of the value */
	size_t n_more, cap_more;
};

struct conf_section {
	char *name;
	const char *file; /* of the conf it is in */
	unsigned line;
	struct conf_entry *entries; /* in order; the same name twice is kept twice */
	size_t n;
	size_t cap;
};

struct conf {
	char *file;                    /* the name given to conf_parse() */
	struct conf_section *sections; /* in order, no two with the same name */
	size_t n;
	size_t cap;
};

struct conf_problem {
	char *file;
	unsigned line; /* 0 = the file as a whole */
	bool warning;  /* odd, but it can be served */
	char *text;    /* one line, no full stop */
};

/* What is wrong or odd, in the order found. Zero-initialise; free with conf_problems_done(). */
struct conf_problems {
	struct conf_problem *v;
	size_t n;
	size_t warnings; /* among them */
	size_t cap;
	bool rival; /* one of them is that another guichet serves from the same data folder */
	int err;    /* -ENOMEM: some could not be kept; sticky. A caller treats it as one more problem */
};

/* How many things are wrong; warnings are not. */
static inline size_t conf_problems_count(const struct conf_problems *ps)
{
	return ps->n - ps->warnings;
}

/* True when nothing is wrong; there may be warnings. */
static inline bool conf_problems_none(const struct conf_problems *ps)
{
	return conf_problems_count(ps) == 0 && ps->err == 0;
}

/* One for each line of the text; the same one again, right behind, is not kept. */
void conf_problem(struct conf_problems *ps, const char *file, unsigned line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void conf_warning(struct conf_problems *ps, const char *file, unsigned line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void conf_problems_done(struct conf_problems *ps);

/* Stable sort by line, file by file: what was found by later passes comes where the reader expects it. */
void conf_problems_sort(struct conf_problems *ps);

/* Adds a line `FILE:LINE: text` for each; `FILE: text` when the line is 0; `warning: ` before the text of one. */
void conf_problems_format(const struct conf_problems *ps, struct buf *b);

/*
 * Read. Always 0 with a conf, which holds all that could be understood, unless memory is out (-ENOMEM) or the file is
 * too large (-EFBIG, a problem too). Mistakes go to `ps`: check conf_problems_none() before using the result. A
 * section that comes twice is a problem with both lines; its entries are dropped. `file` is the name shown in
 * messages; the bytes are not needed afterwards. One thread at a time (inih has global settings).
 */
[[nodiscard]] int conf_parse(const char *file, struct span bytes, struct conf **ret, struct conf_problems *ps);

void conf_free(struct conf **c);

/* The section or the (first) entry of that name, or NULL. */
const struct conf_section *conf_find(const struct conf *c, const char *name);
const struct conf_entry *conf_section_find(const struct conf_section *s, const char *name);

/*
 * A section of lines in order instead of options: its entries have one of these names (NULL-ended), each as often as it likes.
 * take() gets them one after the other, with the index of the name; the value may have several lines. It returns 0, -ENOMEM, or
 * -EINVAL with a sentence in `why`, which becomes a problem with the entry's line, behind its name. Other names are problems
 * too. Returns 0, whatever was found, or -ENOMEM.
 */
typedef int conf_take(void *arg, size_t which, const char *value, struct buf *why);
[[nodiscard]] int conf_lines(const struct conf_section *s, const char *const *names, conf_take *take, void *arg,
			     struct conf_problems *ps);

/* One of the tables a section's entries may be known by, and where their values go. */
struct conf_target {
	const struct option_table *table;
	void *values;
};

/*
 * Set every entry of the section. An entry goes to the first target that knows its name; `skip` (NULL-ended, may be
 * NULL) are names that the caller deals with itself. Unknown names (with the nearest of all targets and `skip`), bad
 * values and a name that comes twice (with both lines; the first one counts; skipped names may come twice) are
 * problems with the entry's line. When there were none, option_values_check() of each target runs, each line of its complaint at
 * the line of the option it begins with (`topics:2: ...`: the second line of its value), or of the section. Returns 0, whatever was
 * found, or -ENOMEM.
 */
[[nodiscard]] int conf_apply(const struct conf_section *s, const struct conf_target *targets, size_t n,
			     const char *const *skip, struct conf_problems *ps);
