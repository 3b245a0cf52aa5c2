/* cmd_import.c - `guichet import`: users and rules of mosquitto. */
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "drive/files.h"
#include "main/command.h"
#include "main/import.h"
#include "main/people_file.h"
#include "main/text.h"

enum { SAID = 1 << 20 };

enum { OPT_PEOPLE };

static const struct args_option options[] = {
	[OPT_PEOPLE] = { "people", 0, "PATH",
			 "the file of people to add to, or the data folder that it is in; ./guichet-data when not set" },
	ARGS_OPTIONS_END,
};

static const struct command_example examples[] = {
	{ "guichet import mosquitto-passwd /etc/mosquitto/passwd", "users with their passwords" },
	{ "guichet import mosquitto-acl /etc/mosquitto/acl >> guichet.conf", "the section [rules]" },
	COMMAND_EXAMPLES_END,
};

struct asked {
	const char *what, *file, *people;
};

static int take(void *arg, int what, const char *value)
{
	struct asked *a = arg;

	if (what == OPT_PEOPLE)
		a->people = value;
	else if (a->what && a->file)
		return command_misused(&import_command, "\"%s\" is one word too many", value);
	else
		*(a->what ? &a->file : &a->what) = value;
	return STATUS_OK;
}

static int failure(const struct buf *why, int err)
{
	text_error("%s", why->n ? buf_str(why) : strerror(-err));
	return STATUS_FAILED;
}

static void tell(void *arg, unsigned line, const char *text)
{
	text_error("%s:%u: %s", (const char *)arg, line, text);
}

/* Who is there already is left alone: that password may be newer. */
static int import_users(const struct asked *a, struct span text)
{
	BUF_AUTO struct buf why = BUF_INIT(SAID);
	struct import_count n = {};
	struct people_file f;
	int err = people_file_open(a->people, true, &f, &why);

	if (!err)
		err = import_mosquitto_passwd(text, f.people, &n, tell, (void *)(uintptr_t)a->file);
	if (!err && n.added)
		err = people_file_save(&f, &why);
	if (!err)
		printf("%u user%s added to %s; a guichet that runs learns it by `guichet reload`\n", n.added,
		       n.added == 1 ? "" : "s", f.path);
	people_file_close(&f);
	return err ? failure(&why, err) : n.skipped || fflush(stdout) ? STATUS_FAILED : STATUS_OK;
}

static int import_rules(const struct asked *a, struct span text)
{
	BUF_AUTO struct buf rules = BUF_INIT(8 * PEOPLE_FILE_MAX);
	struct import_count n = {};
	int err = import_mosquitto_acl(text, &rules, &n, tell, (void *)(uintptr_t)a->file);

	if (err) {
		text_error("%s: %s", a->file, strerror(-err));
		return STATUS_FAILED;
	}
	return text_print(stdout, &rules) < 0 || n.skipped ? STATUS_FAILED : STATUS_OK;
}

static int run(int argc, char **argv)
{
	BUF_AUTO struct buf text = BUF_INIT(PEOPLE_FILE_MAX);
	BUF_AUTO struct buf why = BUF_INIT(SAID);
	struct asked a = {};
	int status = command_each(&import_command, argc, argv, take, &a), err;
	bool rules;

	if (status != STATUS_OK)
		return status;
	if (!a.what || !a.file)
		return command_misused(&import_command, "mosquitto-passwd or mosquitto-acl, and the file?");
	rules = strcmp(a.what, "mosquitto-acl") == 0;
	if (!rules && strcmp(a.what, "mosquitto-passwd") != 0)
		return command_misused(&import_command, "\"%s\" is none of mosquitto-passwd and mosquitto-acl", a.what);
	err = files_read(a.file, &text, &why);
	if (err)
		return failure(&why, err);
	return rules ? import_rules(&a, buf_span(&text)) : import_users(&a, buf_span(&text));
}

const struct command import_command = {
	.name = "import",
	.summary = "takes over users and rules of mosquitto",
	.synopsis = "mosquitto-passwd FILE [--people PATH]\nmosquitto-acl FILE",
	.text = "mosquitto-passwd adds the users of a password file; their passwords stay as they are (PBKDF2 and SHA-512 hashes), and "
		"who is there already is left alone. Such a hash is quicker to try passwords against than ours, and is never "
		"replaced by itself: the processes that see passwords cannot write the file. `guichet user list` says who has one, "
		"and `guichet user passwd NAME` makes a new one. mosquitto-acl prints a section [rules] that says what an acl_file says. "
		"What cannot be taken over is told with its line, and the exit status is 1 then.",
	.options = options,
	.examples = examples,
	.run = run,
};
