/*
 * cmd_store.c - `guichet store`: the durable store of a guichet that does not run: is it sound, all of it as text,
 * and back.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "main/command.h"
#include "main/store_json.h"
#include "main/text.h"
#include "proto/mqtt/props.h"

enum { TOGETHER = 1 << 20, WAIT = 1000, NAMES = 1000 };

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
	{ "guichet store load /var/lib/guichet/topics/mqtt kept.jsonl", "back again, into a store that is empty" },
	{ "guichet store dump | jq 'select(.kind == \"retained\").message.topic'", "for a script" },
	COMMAND_EXAMPLES_END,
};

struct asked {
	const char *what, *dir, *file;
	char found[PATH_MAX]; /* where it is when `dir` is the data folder */
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

/* ---- which one ---- */

/* One whose file was moved away has its lock still. */
static bool is_store(int at, const char *dir)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < 2; i++) {
		int n = snprintf(path, sizeof(path), "%s/%s", dir, i ? "lock" : "store.mdb");

		if (n > 0 && (size_t)n < sizeof(path) && faccessat(at, path, F_OK, 0) == 0)
			return true;
	}
	return false;
}

/* How many there are in this folder; their names, and the last one's path into a->found. */
static unsigned look_into(struct asked *a, const char *dir, struct buf *names)
{
	const struct dirent *e;
	DIR *d = opendir(dir);
	unsigned n = 0;

	/* cppcheck-suppress readdirCalled ; a stream of its own */
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.' || !is_store(dirfd(d), e->d_name))
			continue;
		if (snprintf(a->found, sizeof(a->found), "%s/%s", dir, e->d_name) >= (int)sizeof(a->found))
			continue;
		buf_addf(names, "%s%s", n++ ? ", " : "", e->d_name);
	}
	if (d)
		closedir(d);
	return n;
}

static bool ends_with_topics(const char *dir, size_t n)
{
	const size_t size = sizeof(topics) - 1;

	while (n && dir[n - 1] == '/')
		n--;
	return n >= size && memcmp(dir + n - size, topics, size) == 0 && (n == size || dir[n - size - 1] == '/');
}

/* As topics/NAME is: for load, which may make it. */
static bool is_named(const char *dir)
{
	const char *slash = strrchr(dir, '/');

	return slash && slash[1] && ends_with_topics(dir, (size_t)(slash - dir));
}

static int none_there(const struct asked *a)
{
	if (strcmp(a->what, "load") == 0)
		text_error(
			"there is no store in %s yet: say which one is to be made, topics/NAME with the name of its service",
			a->dir);
	else
		text_error("there is no store in %s", a->dir);
	return STATUS_FAILED;
}

/* Stores are in `topics` of the data folder, each under the name of its service. Any of the three will do, when it is clear. */
static int find_dir(struct asked *a)
{
	BUF_AUTO struct buf names = BUF_INIT(NAMES);
	char all[PATH_MAX];
	size_t size;
	unsigned n;

	if (!a->dir)
		a->dir = usual_data;
	size = strlen(a->dir);
	while (size > 1 && a->dir[size - 1] == '/')
		size--;
	if (is_store(AT_FDCWD, a->dir) || is_named(a->dir))
		return STATUS_OK;
	snprintf(all, sizeof(all), "%.*s%s%s", (int)size, a->dir, ends_with_topics(a->dir, size) ? "" : "/",
		 ends_with_topics(a->dir, size) ? "" : topics);
	n = look_into(a, all, &names);
	if (n == 0)
		return none_there(a);
	if (n > 1) {
		text_error("there are %u stores in %s, say which one: %s", n, all, buf_str(&names));
		return STATUS_FAILED;
	}
	a->dir = a->found;
	return STATUS_OK;
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

static const char *text_of(const json_t *j, const char *key)
{
	return json_string_value(json_object_get(j, key));
}

static bool print_json(json_t *j)
{
	bool ok = j && json_dumpf(j, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF;

	json_decref(j);
	return ok;
}

static int cannot_write(void)
{
	text_error("cannot write the output: %s", strerror(errno));
	return STATUS_FAILED;
}

/* `wrong`: those that cannot be. */
static bool print_found(const struct asked *a, const struct keep_found *f, unsigned long long good, json_t *wrong)
{
	unsigned long long lost = f->dropped;
	const json_t *v;
	size_t i;

	if (a->json)
		return print_json(json_pack("{s:b,s:I,s:I,s:s,s:O}", "sound", !f->damaged, "records", (json_int_t)good,
					    "dropped", (json_int_t)lost, "what", f->what, "wrong", wrong));
	if (!f->damaged)
		return printf("%s is sound: %llu records\n", a->dir, good) > 0;
	printf("%s is damaged: %s\n", a->dir, f->what);
	json_array_foreach(wrong, i, v) printf("%s cannot be, and is dropped: %s: %s\n", text_of(v, "record"),
					       text_of(v, "field"), text_of(v, "why"));
	return printf("%llu records are good, at least %llu are lost. The next start puts the file aside and goes on with the good ones.\n",
		      good, lost) > 0;
}

/* Good ones as dump prints them: not the store's rows, of which one may need several. -ENOMEM; 0. */
static int count(struct keep *k, unsigned long long *ret_good, json_t *wrong)
{
	struct keep_record record;
	int r;

	*ret_good = 0;
	while ((r = keep_next(k, &record)) == 1) {
		if (!record.wrong.field)
			++*ret_good;
		else if (json_array_append_new(wrong, store_wrong_to_json(&record)) < 0)
			return -ENOMEM;
	}
	return r;
}

static int check(const struct asked *a, struct keep *k)
{
	json_t *wrong = json_array();
	struct keep_found found;
	unsigned long long good;
	int status = STATUS_OK;

	if (!wrong || count(k, &good, wrong) < 0 || keep_judge(k, &found) < 0)
		status = no_memory();
	else if (!print_found(a, &found, good, wrong) || fflush(stdout) != 0)
		status = cannot_write();
	else if (found.damaged)
		status = STATUS_FAILED;
	json_decref(wrong);
	return status;
}

/* ---- dump ---- */

static int dump(struct keep *k)
{
	struct keep_found found;
	struct keep_record record;
	int r;

	while ((r = keep_next(k, &record)) == 1)
		if (!record.wrong.field && !print_json(store_to_json(&record)))
			return errno == EPIPE ? STATUS_OK : cannot_write(); /* `| head` */
	if (r < 0 || keep_judge(k, &found) < 0)
		return no_memory();
	if (fflush(stdout) != 0)
		return cannot_write();
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
	if (keep_look(a->dir, mqtt_props_wrong, &k, &why) < 0)
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

static int load_one(FILE *f, const char *name, size_t line, struct keep_batch *b)
{
	char text[JSON_ERROR_TEXT_LENGTH + 100];
	struct buf why;
	json_error_t error;
	json_t *j = json_loadf(f, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &error);
	int r;

	buf_init_fixed(&why, text, sizeof(text));
	r = j ? store_of_json(j, b, &why) : -EINVAL;
	if (!j)
		buf_addf(&why, "it is no JSON, as `guichet store dump` writes it: %s", error.text);
	if (r < 0)
		text_error("%s: record %zu: %s", name, line, r == -ENOMEM ? strerror(ENOMEM) : text);
	json_decref(j);
	return r < 0 ? STATUS_FAILED : STATUS_OK;
}

/* A file that is larger than one batch is there in part when it is wrong further on. */
static int load_all(const struct asked *a, FILE *f, struct keep *k)
{
	const char *name = f == stdin ? "standard input" : a->file;
	struct keep_batch b = {};
	int status = STATUS_OK;
	bool some = false;
	size_t n = 0;

	while (status == STATUS_OK && !at_end(f)) {
		status = load_one(f, name, ++n, &b);
		if (status == STATUS_OK && b.n > TOGETHER) {
			some = true;
			status = wait_for(k, keep_submit(k, &b));
		}
	}
	if (status == STATUS_OK && ferror(f)) {
		text_error("%s: cannot be read: %s", name, strerror(errno));
		status = STATUS_FAILED;
	}
	if (status == STATUS_OK)
		status = wait_for(k, keep_submit(k, &b));
	if (status == STATUS_OK)
		printf("%s: %zu records loaded\n", a->dir, n);
	else if (some)
		text_error("%s has a part of it now: move its files away before the next try", a->dir);
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
	return load_all(a, f, k);
}

/* `topics` itself may be missing yet; what else is, the store says. */
static void make_parent(const char *dir)
{
	char path[PATH_MAX];
	const char *slash = strrchr(dir, '/');

	if (!slash || !is_named(dir))
		return;
	snprintf(path, sizeof(path), "%.*s", (int)(slash - dir), dir);
	(void)mkdir(path, 0700);
}

/* What root has made is of the user that serves it, who has the folder that it is in. */
static int hand_over(const char *dir)
{
	static const char *const names[] = { "..", "lock", "store.mdb", "." };
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	struct stat st = {};

	if (fd < 0)
		return STATUS_FAILED;
	if (geteuid() == 0 && fstatat(fd, names[0], &st, 0) == 0 && st.st_uid != 0)
		for (size_t i = 1; r == 0 && i < sizeof(names) / sizeof(names[0]); i++)
			r = fchownat(fd, names[i], st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW);
	if (r < 0)
		text_error("%s: cannot be given to the user that serves it: %s", dir, strerror(errno));
	close(fd);
	return r < 0 ? STATUS_FAILED : STATUS_OK;
}

static int load(const struct asked *a)
{
	const struct keep_setup setup = { .dir = a->dir, .limit = a->limit, .props = mqtt_props_wrong };
	FILE *f = a->file && strcmp(a->file, "-") != 0 ? fopen(a->file, "re") : stdin;
	BUF_AUTO struct buf why;
	int status = STATUS_FAILED;
	struct keep *k;

	buf_init(&why, PATH_MAX + 1000);
	if (!f) {
		text_error("%s: %s", a->file, strerror(errno));
		return STATUS_FAILED;
	}
	make_parent(a->dir);
	if (keep_open(&setup, &k, &why) < 0) {
		status = failed(&why);
	} else {
		status = load_into(a, k, f, &why);
		keep_close(&k);
		if (status == STATUS_OK)
			status = hand_over(a->dir);
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
	if (strcmp(a.what, "load") != 0 && strcmp(a.what, "check") != 0 && strcmp(a.what, "dump") != 0)
		return command_misused(&store_command, "\"%s\" is none of check, dump, load", a.what);
	status = find_dir(&a);
	if (status != STATUS_OK)
		return status;
	return strcmp(a.what, "load") == 0 ? load(&a) : look(&a);
}

const struct command store_command = {
	.name = "store",
	.summary = "checks, dumps and loads the store of kept messages",
	.synopsis = "check [--json] [DIR]\ndump [DIR]\nload [--limit SIZE] [DIR [FILE]]",
	.text = "What must survive a restart (sessions that are kept, what waits for them, retained messages) is in the folder "
		"`topics/NAME` of the data folder, NAME being that of the service. DIR is that, or the data folder when there is only one in it; "
		"./guichet-data when not given. No guichet may be running with it. "
		"`check` reads all of it and changes nothing. `dump` prints every record as a line of JSON, of a damaged store those "
		"that are good. `load` reads such lines from FILE or from standard input into a store that is empty.\n\n"
		"What no client can have caused cannot be: a filter or a topic that is none or has more than 256 levels, properties that are "
		"none, subscription identifiers of more than 268435455. `load` refuses such a record, and says which it is and which of its fields is wrong. In a store "
		"that has one `check` names it (with --json in `wrong`: record, field, why): to who serves the store it is damage, and "
		"dropped. Options that are smaller now (`levels`, `queue`, `sessions`) drop nothing that is there.\n\n"
		"`kind` says what a line is:\n"
		"  session       id, name of the client, owner (a user; 0 = none), expiry in\n"
		"                seconds, until (0 = it was connected), will: delay, at, message\n"
		"  subscription  of session: group ($share/), filter, qos, no_local,\n"
		"                as_published, retain_handling, id (its identifier; 0 = none),\n"
		"                number (of a shared one), owed_at (what is retained from this\n"
		"                topic on was not sent yet)\n"
		"  awaited       of session: packet, a message of QoS 2 that it will release\n"
		"  retained      message\n"
		"  message       id, message, and waiters: session, qos, retain, packet (sent as;\n"
		"                0 = not yet), received (PUBREC has come), ids (subscription\n"
		"                identifiers), alone (number of the shared one it came by)\n\n"
		"A message is topic, payload, properties (those of MQTT 5, as on the wire), qos, retain, until (0 = for ever) and from, "
		"the session that has published it. Bytes that are no UTF-8 are {\"hex\": \"00ff\"}. until and at are milliseconds since "
		"1970. The numbers of sessions, messages and owners are strings of digits, because jq would round them; `load` takes plain "
		"numbers too. will, number, owed_at, alone and from are there only where they say something.",
	.options = options,
	.examples = examples,
	.run = run,
};
