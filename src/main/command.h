/*
 * command.h - a command of the program is one row: what it is called, how it is used, what runs it. The row prints
 * `guichet NAME --help`, and its part of the manual page and of the shell completion.
 */
#pragma once
#include "main/args.h"

struct conf_problems;

/* Exit statuses, the same for every command. */
enum {
	STATUS_OK = 0,
	STATUS_FAILED = 1, /* something went wrong while it ran */
	STATUS_USAGE = 2,  /* the command line or the configuration is wrong: nothing was done */
};

struct command_example {
	const char *line, *what;
};

struct command {
	const char *name;
	const char *summary;  /* one line */
	const char *synopsis; /* behind the name; one line per way to use it */
	const char *text;     /* what it does: wrap_add() */
	const char *status;   /* its exit statuses, when they are not the usual ones; NULL = they are */
	const struct args_option *options;
	const struct command_example *examples; /* ends with a NULL line */
	int (*run)(int argc, char **argv);      /* argv[0] is its name; returns an exit status */
};

#define COMMAND_EXAMPLES_END \
	{ \
		.line = NULL \
	}

/* In the order of help; NULL-ended. */
extern const struct command *const commands[];

const struct command *command_find(const char *name);

/* The whole program: argv as main() got it. Returns the exit status. */
int command_main(int argc, char **argv);

/* Adds `guichet NAME --help`, and the list of commands with a word about each. */
void command_help(const struct command *c, struct buf *b);
void command_list(struct buf *b);
[[nodiscard]] int command_help_option(const struct command *c, const char *name,
				      struct buf *b); /* -ENOENT, with a sentence that says so */

/* What is wrong with the command line, and where to read on; returns STATUS_USAGE. */
int command_misused(const struct command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What is wrong or odd with a configuration, to standard error; returns STATUS_USAGE. */
int command_problems(const struct conf_problems *ps);

/*
 * Goes through the command line and gives each piece to take(): `what` is the index of an option in c->options, with its
 * value, or ARGS_WORD with the word. Ends with the first status that is not STATUS_OK, or with STATUS_USAGE when a piece is no
 * option of the command, after saying so.
 */
typedef int command_take(void *arg, int what, const char *value);
[[nodiscard]] int command_each(const struct command *c, int argc, char **argv, command_take *take, void *arg);

/* The same for who looks at `args` meanwhile, and has a better sentence than `why` for some word that is no option: bad(). */
typedef void command_bad(void *arg, struct buf *why);
[[nodiscard]] int command_each_of(const struct command *c, struct args *args, command_take *take, command_bad *bad,
				  void *arg);

extern const struct command serve_command, check_command, reload_command, help_command, stats_command, connect_command,
	user_command, import_command, store_command, pub_command, sub_command;
