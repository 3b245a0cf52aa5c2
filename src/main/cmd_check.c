/* cmd_check.c - `guichet check FILE`: everything that is wrong with a configuration, without serving it. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "client/ask.h"
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

static int print_plan(const struct plan *plan, const struct planner_setup *setup, size_t warnings)
{
	struct text_style style = text_style_of(stdout);
	BUF_AUTO struct buf b;

	buf_init(&b, OUTPUT_MAX);
	if (ready_plan_table(plan, style, &b) == 0) {
		buf_addf(&b, "\n%s%s is right", style.dim, setup->file);
		if (warnings)
			buf_addf(&b, ", with %zu warning%s", warnings, warnings == 1 ? "" : "s");
		buf_adds(&b, "; `guichet serve ");
		str_add_word(&b, setup->file);
		for (size_t i = 0; i < setup->n_words; i++) {
			buf_addc(&b, ' ');
			str_add_word(&b, setup->words[i]);
		}
		buf_addf(&b, "` would serve this.%s\n", style.off);
	}
	return text_print(stdout, &b) < 0 ? STATUS_FAILED : STATUS_OK;
}

/* ---- against the system ---- */

/* An answer of the control socket: {"services":[{"addresses":["tcp:127.0.0.1:7007",...]},...]}. */
static void read_addresses(const char *answer, struct buf *words)
{
	json_t *all = json_loads(answer, 0, NULL), *service, *address;
	size_t i, k;

	json_array_foreach(json_object_get(all, "services"), i, service)
		json_array_foreach(json_object_get(service, "addresses"), k, address)
	{
		str_add_word(words, json_string_value(address));
		buf_addc(words, ' ');
	}
	json_decref(all);
}

/* Where the guichet listens that this configuration is for, if there is one: it has the same control socket. */
static void running_addresses(const struct plan *plan, struct addr_list *ret)
{
	BUF_AUTO struct buf place, answer, words, why;

	buf_init(&place, OUTPUT_MAX);
	buf_init(&answer, OUTPUT_MAX);
	buf_init(&words, OUTPUT_MAX);
	buf_init(&why, OUTPUT_MAX);
	buf_addf(&place, "unix:%s", plan->global->control);
	if (ask(buf_str(&place), "stats json", 10 * SEC, &answer, &why) < 0)
		return;
	read_addresses(buf_str(&answer), &words);
	(void)!addr_list_parse(buf_str(&words), SIZE_MAX, ret, NULL); /* unknown words are a newer one's */
}

static void check_log(const struct planner_setup *setup, const struct plan *plan, struct conf_problems *ps)
{
	const char *log = plan->global->log;
	char *folder;

	if (strcmp(log, "stderr") == 0 || access(log, W_OK) == 0 || str_path_dir(log, &folder) < 0)
		return;
	if (access(log, F_OK) == 0 || access(folder, W_OK | X_OK) < 0)
		conf_problem(ps, setup->file, 0, "log: cannot write the log to %s: %s", log, strerror(errno));
	mem_free(folder);
}

static void check_system(const struct planner_setup *setup, const struct plan *plan, struct conf_problems *ps)
{
	struct addr_list ours = {};

	running_addresses(plan, &ours);
	server_probe(plan, &ours, ps);
	addr_list_done(&ours);
	check_log(setup, plan, ps);
}

static int check(const struct planner_setup *setup)
{
	struct conf_problems ps = {};
	struct plan *plan = NULL;
	int err = planner_make(setup, &plan, &ps), status;

	if (!err) {
		server_check(plan, &ps);
		check_system(setup, plan, &ps);
	}
	conf_problems_sort(&ps);
	if (err) {
		text_error("%s: %s", setup->file, strerror(-err));
		status = STATUS_FAILED;
	} else {
		status = command_problems(&ps);
		if (conf_problems_none(&ps)) /* warnings alone do not make a file wrong */
			status = print_plan(plan, setup, ps.warnings);
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
	struct words w = { .setup = { .dry = true, .look_up = true } };
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
	.text = "Reads what `guichet serve` with the same words would read, and makes and changes nothing. Every mistake is a "
		"line on standard error, `FILE:LINE: what is wrong`; without one, what would be served is printed. What can be "
		"served but is odd is a line too, `FILE:LINE: warning: ...`, and no reason for another exit status.\n\n"
		"Names are looked up and addresses tried, as the user who asks: what is in use, or not allowed, is found. Addresses of "
		"the guichet that this file is for, if it runs, are no mistake: a reload takes them over.",
	.options = options,
	.examples = examples,
	.run = run,
};
