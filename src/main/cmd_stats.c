/* cmd_stats.c - `guichet stats`: asks a running guichet for its counters, over its control socket. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "client/ask.h"
#include "main/command.h"
#include "main/text.h"

enum { ANSWER_MAX = 16 << 20 };

enum { OPT_CONTROL, OPT_JSON, OPT_WATCH };

static const char usual_path[] = "./guichet-data/control.sock";

static const struct args_option options[] = {
	[OPT_CONTROL] = { "control", 0, "PATH",
			  "the control socket, or the data folder that it is in; ./guichet-data when not set" },
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
	const char *control;
	char in_folder[PATH_MAX]; /* where it is when --control names the folder */
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

/* The data folder will do: the socket has its usual name in it. */
static void take_control(struct words *w, const char *path)
{
	struct stat st;

	w->control = path;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
	    snprintf(w->in_folder, sizeof(w->in_folder), "%s/control.sock", path) < (int)sizeof(w->in_folder))
		w->control = w->in_folder;
}

static int take(void *arg, int what, const char *value)
{
	struct words *w = arg;

	switch (what) {
	case ARGS_WORD:
		return command_misused(&stats_command, "\"%s\" is one word too many; --control %s?", value, value);
	case OPT_CONTROL:
		take_control(w, value);
		return STATUS_OK;
	case OPT_JSON:
		w->json = true;
		return STATUS_OK;
	default:
		return take_watch(w, value);
	}
}

/* Nobody there is the usual mistake: say where was looked and what to do. */
static int explain(const struct words *w, int err, const char *why)
{
	const char *path = w->control ? w->control : usual_path;

	if (err == -ENOENT && !w->control)
		text_error(
			"no guichet was started in this folder: there is no %s; `guichet stats --control PATH` asks another one, "
			"PATH is control.sock in its data folder",
			path);
	else if (err == -ENOENT)
		text_error("there is no %s; the control socket is control.sock in the data folder of a running guichet",
			   path);
	else if (err == -ECONNREFUSED)
		text_error("no guichet is running: %s is there, but nobody answers", path);
	else if (err == -EACCES)
		text_error("%s belongs to another user: ask as that user, or as root", path);
	else
		text_error("%s", why);
	return STATUS_FAILED;
}

static int show(const struct words *w, bool clear)
{
	char address[512];
	BUF_AUTO struct buf answer, why;
	struct buf a;
	int err;

	buf_init(&answer, ANSWER_MAX);
	buf_init(&why, 1024);
	buf_init_fixed(&a, address, sizeof(address));
	buf_addf(&a, "unix:%s", w->control ? w->control : usual_path);
	if (clear)
		buf_adds(&answer, "\x1b[H\x1b[J");
	err = a.err ? -ENAMETOOLONG : ask(address, w->json ? "stats json" : "stats text", &answer, &why);
	if (a.err)
		buf_adds(&why, "the path is too long");
	if (err)
		return explain(w, err, buf_str(&why));
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
