/* cmd_reload.c - `guichet reload`: asks a running guichet to read its configuration again, over its control socket. */
#include <stdio.h>

#include "base/span.h"
#include "main/command.h"
#include "main/running.h"
#include "main/text.h"

/* A store may have to go over to another process first, for which its clients have 10 s. */
enum { ANSWER_MAX = 64 << 10, PATIENCE = 60 };

enum { OPT_CONTROL };

static const struct args_option options[] = {
	[OPT_CONTROL] = { "control", 0, "PATH", RUNNING_HELP },
	ARGS_OPTIONS_END,
};

static const struct command_example examples[] = {
	{ "guichet reload", "the guichet that was started in this folder" },
	{ "guichet reload --control /var/lib/guichet", "a system service" },
	COMMAND_EXAMPLES_END,
};

static int take(void *arg, int what, const char *value)
{
	if (what == ARGS_WORD)
		return command_misused(&reload_command, "\"%s\" is one word too many; --control %s?", value, value);
	running_take(arg, value);
	return STATUS_OK;
}

/* "ok" or "error: nothing was changed", and behind it what there is to say. */
static int tell(const struct buf *answer)
{
	static const char ok[] = "ok\n", error[] = "error: ";
	const char *text = buf_str(answer), *rest;

	if (span_starts(buf_span(answer), ok))
		return fputs(text + sizeof(ok) - 1, stdout) < 0 || fflush(stdout) ? STATUS_FAILED : STATUS_OK;
	if (!span_starts(buf_span(answer), error)) {
		text_error("it has ended before it could answer");
		return STATUS_FAILED;
	}
	text += sizeof(error) - 1;
	rest = text + strcspn(text, "\n");
	text_error("%.*s", (int)(rest - text), text);
	fputs(*rest ? rest + 1 : rest, stderr);
	return STATUS_USAGE;
}

static int run(int argc, char **argv)
{
	BUF_AUTO struct buf answer = BUF_INIT(ANSWER_MAX);
	struct running r = {};
	int status = command_each(&reload_command, argc, argv, take, &r);

	if (status == STATUS_OK)
		status = running_ask(&r, "reload", "reload", PATIENCE, &answer);
	return status == STATUS_OK ? tell(&answer) : status;
}

const struct command reload_command = {
	.name = "reload",
	.summary = "lets a running guichet read its configuration again",
	.synopsis = "[--control PATH]",
	.text = "Reads the configuration again, with users, rules and certificates, as SIGHUP does, and waits until it is served. What did "
		"not change keeps its connections. A mistake changes nothing, and is told on standard error; `guichet check FILE` "
		"finds it before. Only the user whose guichet it is may ask.",
	.status =
		"0 it is served, 1 nobody has answered, 2 the command line or the configuration is wrong: nothing was changed.",
	.options = options,
	.examples = examples,
	.run = run,
};
