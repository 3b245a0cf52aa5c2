/*
 * option.h - the one option-table format of the daemon. A row parses, checks, documents and suggests; the values are a
 * plain C struct that the code reads directly: `const struct echo_options *o = svc->options;  if (o->upper) ...`
 *
 *	struct echo_options { bool upper; char *banner; uint64_t pause; };
 *	static const struct option echo_rows[] = {
 *		OPT_STRING(struct echo_options, banner, NULL, 0, 1024, "the server speaks first: this line"),
 *		OPT_NSEC(struct echo_options, pause, "0", 0, NSEC_PER_SEC, "wait so long before each answer"),
 *		OPT_BOOL(struct echo_options, upper, "no", "the line comes back in capitals"),
 *	};
 *	const struct option_table echo_options = OPTION_TABLE("echo", echo_rows, struct echo_options, echo_check);
 *
 * Rows are sorted by name. A unit test of every table calls option_table_check().
 * Tables are constant and may be used by any thread; a set of values belongs to whoever made it.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/str.h"

enum option_type {
	OPTION_BOOL,   /* bool */
	OPTION_UINT,   /* unsigned; min and max are values */
	OPTION_SIZE,   /* size_t, bytes: 64K */
	OPTION_NSEC,   /* uint64_t, nanoseconds: 10s */
	OPTION_STRING, /* char *, NULL when the default is NULL and nothing was set; min and max are bytes */
	OPTION_PATH,   /* as STRING, never empty; option_resolve() makes it absolute, unless it is one of `words` */
	OPTION_ENUM,   /* int or an enum: the index of the word in `words` */
	OPTION_ADDRS,  /* struct addr_list; min and max are counts */
	OPTION_MODE,   /* unsigned: octal permission bits */
	OPTION_WORDS,  /* struct str_words, quotes as in str.h; min and max are counts; `word` says what one may be */
	OPTION_FILE, /* struct option_file: a path as above, and what is in the file, once it was read; max is its bytes */
	OPTION_PARTS, /* struct option_parts: sections [SERVICE.NAME.WORD] with options of their own, as `part` says */
	OPTION_TYPES,
};

struct option {
	const char *name;
	enum option_type type;
	size_t offset;            /* in the struct of values */
	const char *def;          /* default as written; NULL (STRING, PATH, ADDRS, WORDS) = none, or an empty list */
	uint64_t min;             /* above 0 with no default: the option must be set */
	uint64_t max;             /* 0 = what the type holds */
	bool folder;              /* PATH: the service's process may use all that is below it */
	bool secret;              /* FILE: nobody else should be able to read it */
	const char *speaks;       /* ADDRS: it connects there, to who speaks this protocol; NULL = any */
	const char *const *words; /* ENUM: the words; PATH: words that are not paths; NULL-ended */
	/* WORDS: is this one right? 0, or -EINVAL with a sentence that does not name the option. NULL = any is */
	int (*word)(const char *word, struct buf *why);
	const struct option_table *part; /* PARTS: of each of its sections */
	const char *example; /* as one may write it, where there is no default; NULL = a usual one of its type */
	const char *help;    /* one sentence: small first letter, no full stop; starts with what it does */
};

/* A file whose content is meant: a password, certificates. Its content is never shown, and overwritten when it is freed. */
struct option_file {
	char *path;        /* NULL: not set */
	struct span bytes; /* owned; empty until option_file_take() */
};

/* One section of several of a kind; `values` are those of the row's `part`. */
struct option_part {
	char *name;
	void *values;
};

struct option_parts {
	const struct option_table *table; /* NULL while there are none */
	struct option_part *v;            /* in the order of the file */
	size_t n;
};

/* A word that who knows another program may write, and what is to be written instead. */
struct option_foreign {
	const char *name, *ours;
};

struct option_table {
	const char *name;  /* of the protocol or section, for help */
	const char *about; /* of sections (OPT_PARTS): their page of help, for wrap_add(); NULL: `help` says all of it */
	const struct option_foreign *foreign; /* ends with a NULL name; NULL: none */
	const struct option *rows;
	size_t n;
	size_t values_size;
	/*
	 * Rules across options, and those no row can tell (exactly one %s). NULL = none. 0, or -EINVAL with a
	 * sentence in `why`, which begins with the option's name: `reply: needs exactly one %s`. Asked once more when the
	 * files of a table that has any were read.
	 */
	int (*check)(const void *values, struct buf *why);
	/*
	 * Paths inside of values that option_resolve() cannot know of: make them start at `dir`. NULL = none. 0 or
	 * -ENOMEM.
	 */
	int (*resolve)(void *values, const char *dir);
};

/* ---- writing a table; the field's type is checked by the compiler ---- */

#define OPTION_AT_(S, F, T) \
	(offsetof(S, F) + 0 * sizeof(char[__builtin_types_compatible_p(T, __typeof__(((S *)0)->F)) ? 1 : -1]))
#define OPTION_AT_INT_(S, F) (offsetof(S, F) + 0 * sizeof(char[sizeof(((S *)0)->F) == sizeof(int) ? 1 : -1]))
#define OPTION_ROW_(F, TYPE, OFFSET, DEF, MIN, MAX, WORDS, HELP) \
	{ \
		.name = #F, .type = TYPE, .offset = OFFSET, .def = DEF, .min = MIN, .max = MAX, .words = WORDS, \
		.help = HELP \
	}

#define OPT_BOOL(S, F, DEF, HELP) OPTION_ROW_(F, OPTION_BOOL, OPTION_AT_(S, F, bool), DEF, 0, 0, NULL, HELP)
#define OPT_UINT(S, F, DEF, MIN, MAX, HELP) \
	OPTION_ROW_(F, OPTION_UINT, OPTION_AT_(S, F, unsigned), DEF, MIN, MAX, NULL, HELP)
#define OPT_SIZE(S, F, DEF, MIN, MAX, HELP) \
	OPTION_ROW_(F, OPTION_SIZE, OPTION_AT_(S, F, size_t), DEF, MIN, MAX, NULL, HELP)
#define OPT_NSEC(S, F, DEF, MIN, MAX, HELP) \
	OPTION_ROW_(F, OPTION_NSEC, OPTION_AT_(S, F, uint64_t), DEF, MIN, MAX, NULL, HELP)
#define OPT_STRING(S, F, DEF, MIN, MAX, HELP) \
	OPTION_ROW_(F, OPTION_STRING, OPTION_AT_(S, F, char *), DEF, MIN, MAX, NULL, HELP)
#define OPT_TEXT(S, F, MIN, MAX, EXAMPLE, HELP) \
	{ \
		.name = #F, .type = OPTION_STRING, .offset = OPTION_AT_(S, F, char *), .min = MIN, .max = MAX, \
		.example = EXAMPLE, .help = HELP \
	}
#define OPT_PATH(S, F, DEF, WORDS, HELP) OPTION_ROW_(F, OPTION_PATH, OPTION_AT_(S, F, char *), DEF, 0, 0, WORDS, HELP)
#define OPT_FOLDER(S, F, DEF, HELP) \
	{ \
		.name = #F, .type = OPTION_PATH, .offset = OPTION_AT_(S, F, char *), .def = DEF, .folder = true, \
		.help = HELP \
	}
#define OPT_ENUM(S, F, DEF, WORDS, HELP) OPTION_ROW_(F, OPTION_ENUM, OPTION_AT_INT_(S, F), DEF, 0, 0, WORDS, HELP)
#define OPT_ADDRS(S, F, DEF, MIN, MAX, HELP) \
	OPTION_ROW_(F, OPTION_ADDRS, OPTION_AT_(S, F, struct addr_list), DEF, MIN, MAX, NULL, HELP)
#define OPT_MODE(S, F, DEF, HELP) OPTION_ROW_(F, OPTION_MODE, OPTION_AT_(S, F, unsigned), DEF, 0, 0, NULL, HELP)
#define OPT_WORDS(S, F, DEF, MIN, MAX, WORD, HELP) \
	{ \
		.name = #F, .type = OPTION_WORDS, .offset = OPTION_AT_(S, F, struct str_words), .def = DEF, \
		.min = MIN, .max = MAX, .word = WORD, .help = HELP \
	}

#define OPT_FILE(S, F, MAX, HELP) \
	OPTION_ROW_(F, OPTION_FILE, OPTION_AT_(S, F, struct option_file), NULL, 0, MAX, NULL, HELP)
#define OPT_SECRET(S, F, MAX, HELP) \
	{ \
		.name = #F, .type = OPTION_FILE, .offset = OPTION_AT_(S, F, struct option_file), .max = MAX, \
		.secret = true, .help = HELP \
	}
#define OPT_PARTS(S, F, PART, HELP) \
	{ \
		.name = #F, .type = OPTION_PARTS, .offset = OPTION_AT_(S, F, struct option_parts), .part = PART, \
		.help = HELP \
	}

#define OPTION_TABLE(NAME, ROWS, S, CHECK) \
	{ \
		.name = NAME, .rows = ROWS, .n = sizeof(ROWS) / sizeof((ROWS)[0]), .values_size = sizeof(S), \
		.check = CHECK \
	}

/* ---- values ---- */

/* A new set with the defaults. 0 or -ENOMEM (-EINVAL: a bad default, which option_table_check() finds). */
[[nodiscard]] int option_values_new(const struct option_table *t, void **ret);

/* Frees the set and what it owns, nulls the pointer. NULL is fine. */
void option_values_free(const struct option_table *t, void **values);

/* A copy that shares nothing. 0 or -ENOMEM. */
[[nodiscard]] int option_values_copy(const struct option_table *t, const void *from, void **ret);

/*
 * Set one option from text. 0; -ENOENT unknown name; -EINVAL bad value; -ERANGE out of range; -ENOMEM. On failure the
 * value is as before and `why` (may be NULL) has a sentence that begins with the name:
 * `backlog: "0" is too small, 1 to 65535`; of a list, a line for each word that is wrong.
 */
[[nodiscard]] int option_set(const struct option_table *t, void *values, const char *name, const char *text,
			     struct buf *why);

/* The same by row, for a caller that searched several tables. */
[[nodiscard]] int option_set_row(const struct option *row, void *values, const char *text, struct buf *why);

/*
 * Is what must be set there, and do the table's rules across options hold? 0, or -EINVAL with a sentence that begins
 * with the name.
 */
[[nodiscard]] int option_values_check(const struct option_table *t, const void *values, struct buf *why);

/*
 * Every PATH, and the path of every unix or fifo address, made to start at `dir` when relative; to be called once.
 * 0, -ENOMEM, -ENAMETOOLONG with `why`: a part of the set is then changed.
 */
[[nodiscard]] int option_resolve(const struct option_table *t, void *values, const char *dir, struct buf *why);

/* One more section of a row of the type PARTS, with the defaults. 0, -EEXIST (the name), or -ENOMEM. */
[[nodiscard]] int option_part_add(const struct option *row, void *values, const char *name, struct option_part **ret);

/* What is in the file of a row of the type FILE: a copy is taken. 0; -ENOMEM; -EFBIG with a sentence in `why`. */
[[nodiscard]] int option_file_take(const struct option *row, void *values, struct span bytes, struct buf *why);

/* Are two sets the same? For reload. */
bool option_values_equal(const struct option_table *t, const void *a, const void *b);
bool option_row_equal(const struct option *row, const void *a, const void *b);

/* Adds the value as it would be written; option_set() reads it back. Nothing for NULL. */
void option_format(const struct option *row, const void *values, struct buf *b);

/* ---- reading a table ---- */

/* The row of that name, or NULL. */
const struct option *option_find(const struct option_table *t, const char *name);

/* Offers every name to the search for the nearest one. */
void option_offer_names(const struct option_table *t, struct str_closest *c);

/*
 * What a value looks like, for help and the manual page: `yes|no`, `NUMBER`, `SIZE`, `TIME`, `event|thread`,
 * `ADDRESS...`.
 */
void option_add_form(const struct option *row, struct buf *b);

/* Has it to be set? And a value that it could have, where it has none by default. */
bool option_is_required(const struct option *row);
void option_add_example(const struct option *row, struct buf *b);

/* Adds the allowed range as `1 to 64`, `at least 1`, `at most 64 bytes`; nothing when there is none. */
void option_add_range(const struct option *row, struct buf *b);

/* The i-th row, as tables are shown: those of the type PARTS last. NULL: there are no more. */
const struct option *option_shown(const struct option_table *t, size_t i);

/* Help for a terminal 80 columns wide: one row in full; a table, sorted, as name, form, help, default. */
void option_help_row(const struct option *row, struct buf *b);
void option_help_table(const struct option_table *t, struct buf *b);

/* Adds a JSON array with an object per row: name, type, default, min, max, words, help. */
void option_json_table(const struct option_table *t, struct buf *b);

/* The word of the type, as in the JSON: "bool", "size", ... */
const char *option_type_name(enum option_type type);

/*
 * Is the table itself right? Names sorted, unique and well-formed; defaults parse and are in range and pass check();
 * offsets within the values and not overlapping; enum words there; help is one line without a full stop. 0, or -EINVAL with the
 * first fault.
 */
[[nodiscard]] int option_table_check(const struct option_table *t, struct buf *why);
