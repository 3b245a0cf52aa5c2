/*
 * cmd_store.c - `guichet store`: the durable store of a guichet that does not run: is it sound, all of it as text,
 * and back.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "main/command.h"
#include "main/store_json.h"
#include "main/text.h"

enum { TOGETHER = 1 << 20, WAIT = 1000 };

static const char usual_data[] = "./guichet-data", topics[] = "topics";

enum { OPT_JSON, OPT_LIMIT };

static const struct args_option options[] = {
	[OPT_JSON] = { "json", 0, NULL, "check: prints one JSON object" },
	[OPT_LIMIT] = { "limit", 0, "SIZE", "load: how large the file may become; 16G when not set" },
	ARGS_OPTIONS_END,
};

static const struct command_example examples[] = {
	{ "guichet store check", "of the guichet that was started in this folder, and stopped" },
	{ "guichet store dump /var/lib/guichet > kept.jsonl", "everything that is kept; a copy to put away" },
	{ "guichet store load /var/lib/guichet kept.jsonl", "back again, into a store that is empty" },
	{ "guichet store dump | jq 'select(.kind == \"retained\").message.topic'", "for a script" },
	COMMAND_EXAMPLES_END,
};

struct asked {
	const char *what, *dir, *file;
	char in_data[PATH_MAX]; /* where it is when `dir` is the data folder */
	uint64_t limit;
	bool json;
};

static int take_word(struct asked *a, const char *word)
{
	if (!a->what)
		a->what = word;
	else if (!a->dir)
		a->dir = word;
	else if (!a->file && strcmp(a->what, "load") == 0)
		a->file = word;
	else
		return command_misused(&store_command, "\"%s\" is one word too many", word);
	return STATUS_OK;
}

static int take(void *arg, int what, const char *value)
{
	struct asked *a = arg;

	if (what == ARGS_WORD)
		return take_word(a, value);
	if (what == OPT_JSON)
		a->json = true;
	else if (str_to_size(value, &a->limit) < 0 || a->limit < KEEP_LIMIT_MIN)
		return command_misused(&store_command, "--limit %s is no size of at least 16M", value);
	return STATUS_OK;
}

/* The store is in `topics` of the data folder; either will do. */
static void find_dir(struct asked *a)
{
	struct stat st;
	size_t n;

	if (!a->dir)
		a->dir = usual_data;
	n = strlen(a->dir);
	if (n >= sizeof(topics) - 1 && strcmp(a->dir + n - (sizeof(topics) - 1), topics) == 0)
		return;
	snprintf(a->in_data, sizeof(a->in_data), "%s/store.mdb", a->dir);
	if (stat(a->in_data, &st) == 0)
		return;
	snprintf(a->in_data, sizeof(a->in_data), "%s/%s", a->dir, topics);
	a->dir = a->in_data;
}

static int failed(const struct buf *why)
{
	text_error("%s", buf_str(why));
	return STATUS_FAILED;
}

static int no_memory(void)
{
	text_error("%s", strerror(ENOMEM));
	return STATUS_FAILED;
}

/* ---- check ---- */

static void add_found(struct buf *b, const struct asked *a, const struct keep_found *f)
{
	unsigned long long good = f->records, lost = f->dropped;

	if (a->json) {
		buf_addf(b, "{\"sound\":%s,\"records\":%llu,\"dropped\":%llu,\"what\":", f->damaged ? "false" : "true",
			 good, lost);
		buf_add_json(b, span_str(f->what));
		buf_adds(b, "}\n");
	} else if (f->damaged) {
		buf_addf(b,
			 "%s is damaged: %s\n%llu records are good, %llu are lost. The next start puts the file aside and goes on with "
			 "the good ones.\n",
			 a->dir, f->what, good, lost);
	} else {
		buf_addf(b, "%s is sound: %llu records\n", a->dir, good);
	}
}

static int check(const struct asked *a, struct keep *k)
{
	BUF_AUTO struct buf b;
	struct keep_found found;

	buf_init(&b, PATH_MAX + 1000);
	if (keep_judge(k, &found) < 0)
		return no_memory();
	add_found(&b, a, &found);
	return text_print(stdout, &b) < 0 || found.damaged ? STATUS_FAILED : STATUS_OK;
}

/* ---- dump ---- */

static bool print_json(json_t *j)
{
	bool ok = j && json_dumpf(j, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF;

	json_decref(j);
	return ok;
}

static int dump(struct keep *k)
{
	struct keep_found found;
	struct keep_record record;
	int r;

	while ((r = keep_next(k, &record)) == 1)
		if (!print_json(store_to_json(&record))) {
			if (errno == EPIPE) /* `| head` */
				return STATUS_OK;
			text_error("cannot write the output: %s", strerror(errno));
			return STATUS_FAILED;
		}
	if (r < 0 || keep_judge(k, &found) < 0)
		return no_memory();
	if (fflush(stdout) != 0) {
		text_error("cannot write the output: %s", strerror(errno));
		return STATUS_FAILED;
	}
	if (!found.damaged)
		return STATUS_OK;
	text_error("the store is damaged: %s; %llu records are not in the output", found.what,
		   (unsigned long long)found.dropped);
	return STATUS_FAILED;
}

static int look(const struct asked *a)
{
	BUF_AUTO struct buf why;
	struct keep *k;
	int status;

	buf_init(&why, PATH_MAX + 1000);
	if (keep_look(a->dir, &k, &why) < 0)
		return failed(&why);
	status = strcmp(a->what, "dump") == 0 ? dump(k) : check(a, k);
	keep_close(&k);
	return status;
}

/* ---- load ---- */

/* Until all of it is on the disk. */
static int wait_for(struct keep *k, uint64_t position)
{
	while (position && keep_committed(k) < position) {
		if (keep_full(k)) {
			text_error(keep_state(k) == KEEP_FULL ? "there is no room: see --limit, and the disk"
							      : "the disk has failed");
			return STATUS_FAILED;
		}
		usleep(WAIT);
	}
	return STATUS_OK;
}

static bool at_end(FILE *f)
{
	int c;

	do
		c = getc(f);
	while (c == ' ' || c == '\n' || c == '\r' || c == '\t');
	if (c != EOF)
		ungetc(c, f);
	return c == EOF;
}

static int load_one(FILE *f, size_t line, struct keep_batch *b)
{
	char text[200];
	struct buf why;
	json_error_t error;
	json_t *j = json_loadf(f, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &error);
	int r;

	buf_init_fixed(&why, text, sizeof(text));
	r = j ? store_of_json(j, b, &why) : -EINVAL;
	if (r < 0)
		text_error("record %zu: %s", line, r == -ENOMEM ? strerror(ENOMEM) : j ? text : error.text);
	json_decref(j);
	return r < 0 ? STATUS_FAILED : STATUS_OK;
}

static int load_all(FILE *f, struct keep *k)
{
	struct keep_batch b = {};
	int status = STATUS_OK;

	for (size_t line = 1; status == STATUS_OK && !at_end(f); line++) {
		status = load_one(f, line, &b);
		if (status == STATUS_OK && b.n > TOGETHER)
			status = wait_for(k, keep_submit(k, &b));
	}
	if (status == STATUS_OK && ferror(f)) {
		text_error("cannot read: %s", strerror(errno));
		status = STATUS_FAILED;
	}
	if (status == STATUS_OK)
		status = wait_for(k, keep_submit(k, &b));
	keep_batch_done(&b);
	return status;
}

static int load_into(const struct asked *a, struct keep *k, FILE *f, struct buf *why)
{
	struct keep_record record;
	struct keep_found found;

	if (keep_next(k, &record) != 0) {
		text_error("%s is not empty: load into another folder, or move its files away first", a->dir);
		return STATUS_FAILED;
	}
	if (keep_start(k, &found, why) < 0)
		return failed(why);
	return load_all(f, k);
}

static int load(const struct asked *a)
{
	const struct keep_setup setup = { .dir = a->dir, .limit = a->limit };
	FILE *f = a->file && strcmp(a->file, "-") != 0 ? fopen(a->file, "re") : stdin;
	BUF_AUTO struct buf why;
	int status = STATUS_FAILED;
	struct keep *k;

	buf_init(&why, PATH_MAX + 1000);
	if (!f) {
		text_error("%s: %s", a->file, strerror(errno));
		return STATUS_FAILED;
	}
	if (keep_open(&setup, &k, &why) < 0) {
		status = failed(&why);
	} else {
		status = load_into(a, k, f, &why);
		keep_close(&k);
	}
	if (f != stdin)
		fclose(f);
	return status;
}

static int run(int argc, char **argv)
{
	struct asked a = { .limit = (uint64_t)16 << 30 };
	int status = command_each(&store_command, argc, argv, take, &a);

	if (status != STATUS_OK)
		return status;
	if (!a.what)
		return command_misused(&store_command, "check, dump or load?");
	find_dir(&a);
	if (strcmp(a.what, "load") == 0)
		return load(&a);
	if (strcmp(a.what, "check") == 0 || strcmp(a.what, "dump") == 0)
		return look(&a);
	return command_misused(&store_command, "\"%s\" is none of check, dump, load", a.what);
}

const struct command store_command = {
	.name = "store",
	.summary = "checks, dumps and loads the store of kept messages",
	.synopsis = "check [--json] [DIR]\ndump [DIR]\nload [--limit SIZE] DIR [FILE]",
	.text = "What must survive a restart (sessions that are kept, what waits for them, retained messages) is in the folder `topics` "
		"of the data folder. DIR is either of the two; ./guichet-data when not given. No guichet may be running with it. "
		"`check` reads all of it and changes nothing. `dump` prints every record as a line of JSON, of a damaged store those "
		"that are good. `load` reads such lines from FILE or from standard input into a store that is empty.",
	.options = options,
	.examples = examples,
	.run = run,
};
