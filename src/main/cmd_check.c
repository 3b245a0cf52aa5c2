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

static int take(struct planner_setup *setup, char **words, char *word)
{
	if (word_is_service(word)) {
		words[setup->n_words++] = word;
	} else if (setup->file) {
		return command_misused(&check_command, "two configuration files, %s and %s; one is read", setup->file,
				       word);
	} else {
		setup->file = word;
	}
	return STATUS_OK;
}

static int run(int argc, char **argv)
{
	struct args args = args_start(argc, argv, options);
	char **words = mem_zalloc((size_t)argc * sizeof(*words));
	struct planner_setup setup = { .dry = true, .words = words };
	int what = ARGS_WORD, status = words ? STATUS_OK : STATUS_FAILED;

	while (status == STATUS_OK) {
		const char *value;
		char text[512];
		struct buf why;

		buf_init_fixed(&why, text, sizeof(text));
		what = args_next(&args, &value, &why);
		if (what == ARGS_END)
			break;
		if (what == ARGS_BAD)
			status = command_misused(&check_command, "%s", text);
		else
			status = take(&setup, words, argv[args.at - 1]);
	}
	if (status == STATUS_OK && !setup.file)
		status = command_misused(&check_command, "no file to check");
	if (status == STATUS_OK)
		status = check(&setup);
	mem_free(words);
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
