/* command.c - finds the command and runs it; help on commands. */
#include "main/command.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <jansson.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/wrap.h"
#include "conf/conf.h"
#include "layer/tls.h"
#include "main/help.h"
#include "main/text.h"
#include "proto/protos.h"

enum {
	HELP_MAX = 1 << 20,
	PROBLEMS_MAX = 4 << 20,
	OPTION_COLUMN = 26, /* where the explanation of an option starts */
};

const struct command *const commands[] = {
	&serve_command, &check_command,   &reload_command, &stats_command, &user_command, &import_command,
	&store_command, &connect_command, &pub_command,    &sub_command,   &help_command, NULL,
};

const struct command *command_find(const char *name)
{
	for (const struct command *const *c = commands; *c; c++)
		if (strcmp((*c)->name, name) == 0)
			return *c;
	return NULL;
}

/* ---- help ---- */

static void add_options(const struct args_option *o, struct buf *b)
{
	struct args_option help = { .name = "help",
				    .letter = args_has_letter(o, 'h') ? '\0' : 'h',
				    .help = "shows this" };

	buf_adds(b, "\nOptions:\n");
	for (bool last = false; !last; o++) {
		const struct args_option *row = o->name ? o : &help;
		size_t start = b->n, at;

		last = !o->name;
		buf_adds(b, "  ");
		args_form(row, b);
		at = b->n - start;
		if (at + 2 > OPTION_COLUMN)
			buf_addf(b, "\n%*s", OPTION_COLUMN, "");
		else
			buf_addf(b, "%*s", (int)(OPTION_COLUMN - at), "");
		wrap_add(b, row->help, OPTION_COLUMN, OPTION_COLUMN);
		buf_addc(b, '\n');
	}
}

static void add_examples(const struct command_example *e, struct buf *b)
{
	if (!e || !e->line)
		return;
	buf_adds(b, "\nExamples:\n");
	for (; e->line; e++) {
		buf_addf(b, "  %s\n      ", e->line);
		wrap_add(b, e->what, 6, 6);
		buf_addc(b, '\n');
	}
}

static void add_synopsis(const struct command *c, struct buf *b)
{
	const char *line = c->synopsis, *before = "Usage: ";

	while (*line) {
		size_t n = strcspn(line, "\n");

		buf_addf(b, "%sguichet %s ", before, c->name);
		buf_add(b, line, n);
		buf_addc(b, '\n');
		line += n + (line[n] == '\n');
		before = "       ";
	}
}

void command_help(const struct command *c, struct buf *b)
{
	add_synopsis(c, b);
	buf_addc(b, '\n');
	wrap_add(b, c->text, 0, 0);
	buf_addc(b, '\n');
	add_options(c->options, b);
	add_examples(c->examples, b);
	buf_adds(b, "\nExit status: ");
	wrap_add(
		b,
		c->status
			? c->status
			: "0 all went well, 1 something failed while it ran, 2 the command line or the configuration is wrong.",
		0, 13);
	buf_addc(b, '\n');
}

int command_help_option(const struct command *c, const char *name, struct buf *b)
{
	struct str_closest nearest = str_closest_start(name);

	for (const struct args_option *o = c->options; o->name; o++) {
		str_closest_offer(&nearest, o->name);
		if (strcmp(o->name, name) != 0)
			continue;
		args_form(o, b);
		buf_adds(b, "\n  ");
		wrap_add(b, o->help, 2, 2);
		buf_addc(b, '\n');
		return 0;
	}
	return help_unknown(name, c->name, nearest.best, b);
}

void command_list(struct buf *b)
{
	for (const struct command *const *c = commands; *c; c++)
		buf_addf(b, "  %-10s%s\n", (*c)->name, (*c)->summary);
}

static void add_overview(struct buf *b)
{
	buf_adds(b, "Guichet is one small daemon that speaks the classic Internet protocols.\n\n"
		    "Usage: guichet COMMAND [ARGUMENT...]\n\nCommands:\n");
	command_list(b);
	buf_adds(b, "\nTry it:\n"
		    "  guichet serve                 serves every small service on this machine only,\n"
		    "                                and prints a command to talk to each\n"
		    "  guichet connect tcp:7007      talks to one of them\n"
		    "  guichet help echo             what a service does, and its options\n"
		    "  guichet COMMAND --help        everything about a command, with examples\n"
		    "\n"
		    "  -h, --help     shows this\n"
		    "      --version  shows the version\n");
}

static int print_overview(FILE *f, int status)
{
	BUF_AUTO struct buf b;

	buf_init(&b, HELP_MAX);
	add_overview(&b);
	return text_print(f, &b) < 0 ? STATUS_FAILED : status;
}

static int print_help(const struct command *c)
{
	BUF_AUTO struct buf b;

	buf_init(&b, HELP_MAX);
	command_help(c, &b);
	return text_print(stdout, &b) < 0 ? STATUS_FAILED : STATUS_OK;
}

int command_each_of(const struct command *c, struct args *args, command_take *take, command_bad *bad, void *arg)
{
	int status = STATUS_OK;

	while (status == STATUS_OK) {
		const char *value;
		char text[512];
		struct buf why;
		int what;

		buf_init_fixed(&why, text, sizeof(text));
		what = args_next(args, &value, &why);
		if (what == ARGS_END)
			break;
		if (what == ARGS_BAD && bad)
			bad(arg, &why);
		status = what == ARGS_BAD ? command_misused(c, "%s", text) : take(arg, what, value);
	}
	return status;
}

int command_each(const struct command *c, int argc, char **argv, command_take *take, void *arg)
{
	struct args args = args_start(argc, argv, c->options);

	return command_each_of(c, &args, take, NULL, arg);
}

int command_misused(const struct command *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	text_error_v(fmt, ap);
	va_end(ap);
	fprintf(stderr, "Try `guichet %s --help`.\n", c->name);
	return STATUS_USAGE;
}

int command_problems(const struct conf_problems *ps)
{
	BUF_AUTO struct buf b;

	buf_init(&b, PROBLEMS_MAX);
	conf_problems_format(ps, &b);
	(void)!text_print(stderr, &b);
	return STATUS_USAGE;
}

/* ---- running ---- */

static bool is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* Asked for anywhere before a `--`, help is all that is done. Where -h is the host only --help asks. */
static bool wants_help(const struct command *c, int argc, char **argv)
{
	bool host = args_has_letter(c->options, 'h');

	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (host ? strcmp(argv[i], "--help") == 0 : is_help(argv[i]))
			return true;
	return false;
}

static int unknown_command(const char *word)
{
	struct str_closest c = str_closest_start(word);
	BUF_AUTO struct buf b;

	for (const struct command *const *p = commands; *p; p++)
		str_closest_offer(&c, (*p)->name);
	buf_init(&b, 1024);
	buf_adds(&b, "unknown command ");
	buf_add_excerpt(&b, span_str(word));
	str_add_hint(&b, c.best);
	if (!c.best && protos_find(word))
		buf_addf(&b, "; to serve it: guichet serve %s@tcp:7000", word);
	text_error("%s", buf_str(&b));
	fprintf(stderr, "Try `guichet --help`.\n");
	return STATUS_USAGE;
}

static int print_version(void)
{
	printf("guichet %s\n", GUICHET_VERSION);
	return fflush(stdout) == 0 ? STATUS_OK : STATUS_FAILED;
}

/* Started with one of these closed, the first socket would become our standard output. */
static void fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= STDIN_FILENO && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* A protocol that is not whole is our own fault, and better met here than by its first client. */
static int check_protos(void)
{
	BUF_AUTO struct buf why;

	buf_init(&why, 1024);
	if (protos_check(&why) == 0)
		return STATUS_OK;
	text_error("%s", buf_str(&why));
	return STATUS_FAILED;
}

int command_main(int argc, char **argv)
{
	const struct command *c;

	fill_standard_descriptors();
	json_set_alloc_funcs(mem_alloc, mem_free);
	(void)!tls_use_mem(); /* too late only when a test was here before */
	if (check_protos() != STATUS_OK)
		return STATUS_FAILED;
	sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN },
		  NULL); /* a reader that left is an error of write(2) */
	if (argc < 2)
		return print_overview(stderr, STATUS_USAGE);
	if (is_help(argv[1]))
		return print_overview(stdout, STATUS_OK);
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		return print_version();
	c = command_find(argv[1]);
	if (!c)
		return unknown_command(argv[1]);
	return wants_help(c, argc - 1, argv + 1) ? print_help(c) : c->run(argc - 1, argv + 1);
}
