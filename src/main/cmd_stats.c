/* cmd_stats.c - `guichet stats`: asks a running guichet for its counters, over its control socket. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "main/command.h"
#include "main/running.h"
#include "main/text.h"

enum { ANSWER_MAX = 16 << 20, PATIENCE = 10 };

enum { OPT_CONTROL, OPT_JSON, OPT_WATCH };

static const struct args_option options[] = {
	[OPT_CONTROL] = { "control", 0, "PATH", RUNNING_HELP },
	[OPT_JSON] = { "json", 0, NULL, "prints everything there is as one JSON object" },
	[OPT_WATCH] = { "watch", 'w', "SECONDS", "prints again and again, so many seconds apart" },
	ARGS_OPTIONS_END,
};

static const struct command_example examples[] = {
	{ "guichet stats", "of the guichet that was started in this folder" },
	{ "guichet stats --control /var/lib/guichet --watch 2", "of a system service, every two seconds" },
	{ "guichet stats --json | jq '.services[] | {name, open}'", "for a script" },
	COMMAND_EXAMPLES_END,
};

struct words {
	struct running to;
	bool json;
	uint64_t every; /* ns; 0 = once */
};

static int take_watch(struct words *w, const char *value)
{
	uint64_t seconds;

	if (str_to_u64(value, &seconds) == 0 && seconds > 0 && seconds <= UINT32_MAX)
		w->every = seconds * NSEC_PER_SEC;
	else if (str_to_nsec(value, &w->every) < 0 || w->every == 0)
		return command_misused(&stats_command, "--watch %s is no number of seconds, nor a time as 500ms",
				       value);
	return STATUS_OK;
}

static int take(void *arg, int what, const char *value)
{
	struct words *w = arg;

	switch (what) {
	case ARGS_WORD:
		return command_misused(&stats_command, "\"%s\" is one word too many; --control %s?", value, value);
	case OPT_CONTROL:
		running_take(&w->to, value);
		return STATUS_OK;
	case OPT_JSON:
		w->json = true;
		return STATUS_OK;
	default:
		return take_watch(w, value);
	}
}

static int show(const struct words *w, bool clear)
{
	BUF_AUTO struct buf answer = BUF_INIT(ANSWER_MAX);
	int status;

	if (clear)
		buf_adds(&answer, "\x1b[H\x1b[J");
	status = running_ask(&w->to, "stats", w->json ? "stats json" : "stats text", PATIENCE, &answer);
	if (status != STATUS_OK)
		return status;
	return text_print(stdout, &answer) < 0 ? STATUS_FAILED : STATUS_OK;
}

static int run(int argc, char **argv)
{
	struct words w = {};
	bool terminal = isatty(STDOUT_FILENO);
	int status = command_each(&stats_command, argc, argv, take, &w);

	if (status == STATUS_OK)
		status = show(&w, w.every && terminal);
	while (status == STATUS_OK && w.every) {
		struct timespec t = { .tv_sec = (time_t)(w.every / NSEC_PER_SEC),
				      .tv_nsec = (long)(w.every % NSEC_PER_SEC) };

		nanosleep(&t, NULL);
		if (!terminal && !w.json)
			putchar('\n');
		status = show(&w, terminal);
	}
	return status;
}

const struct command stats_command = {
	.name = "stats",
	.summary = "shows the counters of a running guichet",
	.synopsis = "[--json] [--control PATH] [--watch SECONDS]",
	.text = "Shows for each service its connections, bytes, errors and the time to the first reply, what was refused or "
		"dropped and why, and what the process uses. `guichet serve` makes the control socket in its data folder; only "
		"its user may ask.",
	.options = options,
	.examples = examples,
	.run = run,
};
