/* cmd_check.c - `guichet check FILE`: everything that is wrong with a configuration, without serving it. */
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "drive/server.h"
#include "main/command.h"
#include "main/planner.h"
#include "main/ready.h"
#include "main/text.h"
#include "main/words.h"

enum { OUTPUT_MAX = 4 << 20 };

static const struct args_option options[] = {
	ARGS_OPTIONS_END,
};

static const struct command_example examples[] = {
	{ "guichet check guichet.conf", "all mistakes at once, each with its line; or what would be served" },
	{ "guichet check guichet.conf && systemctl reload guichet", "never reload a broken file" },
	COMMAND_EXAMPLES_END,
};

/* Warnings among them; they alone do not make a file wrong. */
static void print_problems(const struct conf_problems *ps)
{
	BUF_AUTO struct buf b;

	buf_init(&b, OUTPUT_MAX);
	conf_problems_format(ps, &b);
	(void)!text_print(stderr, &b);
}

static int print_plan(const struct plan *plan, const struct planner_setup *setup)
{
	struct text_style style = text_style_of(stdout);
	BUF_AUTO struct buf b;

	buf_init(&b, OUTPUT_MAX);
	if (ready_plan_table(plan, style, &b) == 0) {
		buf_addf(&b, "\n%s%s is right; `guichet serve ", style.dim, setup->file);
		str_add_word(&b, setup->file);
		for (size_t i = 0; i < setup->n_words; i++) {
			buf_addc(&b, ' ');
			str_add_word(&b, setup->words[i]);
		}
		buf_addf(&b, "` would serve this.%s\n", style.off);
	}
	return text_print(stdout, &b) < 0 ? STATUS_FAILED : STATUS_OK;
}

static int check(const struct planner_setup *setup)
{
	struct conf_problems ps = {};
	struct plan *plan = NULL;
	int err = planner_make(setup, &plan, &ps), status;

	if (!err)
		server_check(plan, &ps);
	conf_problems_sort(&ps);
	if (err) {
		text_error("%s: %s", setup->file, strerror(-err));
		status = STATUS_FAILED;
	} else {
		print_problems(&ps);
		status = conf_problems_none(&ps) ? print_plan(plan, setup) : STATUS_USAGE;
	}
	conf_problems_done(&ps);
	plan_free(&plan);
	return status;
}

struct words {
	struct planner_setup setup;
	const char **v; /* as many as argc: setup.words */
};

static int take(void *arg, int what, const char *word)
{
	struct words *w = arg;

	(void)what;
	if (word_is_service(word)) {
		w->v[w->setup.n_words++] = word;
	} else if (w->setup.file) {
		return command_misused(&check_command, "two configuration files, %s and %s; one is read", w->setup.file,
				       word);
	} else {
		w->setup.file = word;
	}
	return STATUS_OK;
}

static int run(int argc, char **argv)
{
	struct words w = { .setup = { .dry = true } };
	int status;

	w.v = mem_zalloc((size_t)argc * sizeof(*w.v));
	w.setup.words = w.v;
	status = w.v ? command_each(&check_command, argc, argv, take, &w) : STATUS_FAILED;
	if (status == STATUS_OK && !w.setup.file)
		status = command_misused(&check_command, "no file to check");
	if (status == STATUS_OK)
		status = check(&w.setup);
	mem_free(w.v);
	return status;
}

const struct command check_command = {
	.name = "check",
	.summary = "reads a configuration file and tells all that is wrong with it",
	.synopsis = "FILE [SERVICE@ADDRESS[,OPTION=VALUE]...]...",
	.text = "Reads what `guichet serve` with the same words would read, and opens, makes and changes nothing. Every mistake is a "
		"line on standard error, `FILE:LINE: what is wrong`; without one, what would be served is printed. What can be "
		"served but is odd is a line too, `FILE:LINE: warning: ...`, and no reason for another exit status. What only "
		"serving can show is not found: a port that is in use, a name that resolves to nothing.",
	.options = options,
	.examples = examples,
	.run = run,
};
