/*
 * args.h - the command line of one command. The table that parses also writes its help, the manual page and the
 * completion. `--name value`, `--name=value`, `-n value`, `-nvalue`; what is no option is a word; `--` ends the options.
 */
#pragma once
#include "base/buf.h"

struct args_option {
	const char *name;  /* without the dashes */
	char letter;       /* its short form; 0 = none */
	const char *value; /* what follows it, for help: PATH; NULL = nothing does */
	const char *help;  /* starts with what it does: small first letter, no full stop */
};

/* The last row of a table. */
#define ARGS_OPTIONS_END \
	{ \
		.name = NULL \
	}

struct args {
	const struct args_option *options;
	int argc;
	char **argv;
	int at;
	bool only_words; /* -- was there */
};

/* argv[0] is the name of the command. */
struct args args_start(int argc, char **argv, const struct args_option *options);

enum { ARGS_END = -1, ARGS_WORD = -2, ARGS_BAD = -3 };

/*
 * What comes next: the index of an option in the table, with its value (NULL when it takes none); ARGS_WORD with the word;
 * ARGS_END; or ARGS_BAD with a sentence in `why`: unknown option "--redy", did you mean "--ready"?
 */
[[nodiscard]] int args_next(struct args *a, const char **ret_value, struct buf *why);

/* `--ready PATH`, and its short form: as help shows it. */
void args_form(const struct args_option *o, struct buf *b);

/* Has the table an option with this letter? */
bool args_has_letter(const struct args_option *options, char letter);
