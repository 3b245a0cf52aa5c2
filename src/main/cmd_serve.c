/*
 * cmd_serve.c - `guichet serve`: from the command line to a server that runs, what it tells when it is ready, and its reload.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "drive/clock.h"
#include "drive/files.h"
#include "drive/logfile.h"
#include "drive/server.h"
#include "drive/tempdir.h"
#include "main/changes.h"
#include "main/command.h"
#include "main/control.h"
#include "main/fdlimit.h"
#include "main/kit.h"
#include "main/monitor.h"
#include "main/mute.h"
#include "main/planner.h"
#include "main/ready.h"
#include "main/text.h"
#include "main/words.h"

enum {
	OUTPUT_MAX = 4 << 20,
	PATH_TEXT = 4096,
};

struct serve {
	struct planner_setup setup;
	const char **words; /* as many as argc, over argv */
	char **sets;        /* the same, in memory of its own */
	struct planner_socket *sockets;
	char **socket_names; /* from libsystemd */
	bool mute;           /* standard error was the client of inetd */
	bool test;
	pid_t parent; /* who started us */
	const char *ready_path;
	char *test_dir;
	int test_fd;                       /* keeps it ours */
	struct changes *served;            /* the configuration that is served */
	enum tables_log_format log_format; /* until it is read */
	struct server *server;
	bool single;
	size_t nofile;           /* the limit of descriptors when we began */
	struct monitor *monitor; /* NULL: this process serves */
	struct control control;
	int status;
};

/* ---- problems ---- */

static int refused(const struct conf_problems *ps, bool mute)
{
	static const char rival[] = "another one uses this data folder; give this one its own: --set data=PATH";
	BUF_AUTO struct buf b;
	int status = command_problems(ps);

	buf_init(&b, OUTPUT_MAX);
	if (ps->rival)
		text_error("%s", rival);
	if (!mute)
		return status;
	conf_problems_format(ps, &b);
	if (ps->rival)
		buf_adds(&b, rival);
	mute_say(buf_str(&b));
	return status;
}

static int failed(const char *what, int err)
{
	text_error("%s: %s", what, strerror(-err));
	return STATUS_FAILED;
}

static void log_problem(enum log_level level, const char *event, const struct conf_problem *p)
{
	struct log_line l;

	if (!log_begin(&l, level, event))
		return;
	log_str(&l, "file", p->file);
	if (p->line)
		log_uint(&l, "line", p->line);
	log_str(&l, "text", p->text);
	log_end(&l);
}

/* ---- telling ---- */

static int add_table(const struct serve *s, struct buf *b)
{
	const struct guichet_options *g = changes_global(s->served);
	struct text_style style = text_style_of(stdout);
	const char *program = program_invocation_name; /* as it was called: it need not be in the PATH */
	int err = ready_table(s->server, changes_rules(s->served), style, b);

	buf_addf(b, "\n%sCtrl-C stops it. `%s stats", style.dim, program);
	if (g->control && strcmp(g->control, "./guichet-data/control.sock") != 0) { /* where it looks by itself */
		buf_adds(b, " --control ");
		str_add_word(b, g->control);
	}
	buf_addf(b, "` shows what it does,\n`%s help SERVICE` what it can.%s\n", program, style.off);
	return err ? err : b->err;
}

/* A terminal, a pipe or /dev/stdout is written to; only a file of our own kind is removed and replaced. */
static bool is_replaceable(const char *path)
{
	struct stat st;

	return lstat(path, &st) < 0 || S_ISREG(st.st_mode);
}

static int write_ready(const char *path, struct span line, struct buf *why)
{
	int fd, err = 0;
	ssize_t n;

	if (is_replaceable(path))
		return files_write(path, 0644, line, why);
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		err = -errno;
	else if ((n = write(fd, line.p, line.n)) != (ssize_t)line.n)
		err = n < 0 ? -errno : -EIO;
	if (err)
		buf_addf(why, "cannot write %s: %s", path, strerror(-err));
	if (fd >= 0)
		close(fd);
	return err;
}

static int tell(const struct serve *s)
{
	const struct guichet_options *g = changes_global(s->served);
	struct ready_facts facts = { .control = g->control, .data = g->data };
	BUF_AUTO struct buf line, table, why;
	int err;

	buf_init(&line, OUTPUT_MAX);
	buf_init(&table, OUTPUT_MAX);
	buf_init(&why, PATH_TEXT);
	err = ready_json(s->server, &facts, &line);
	if (err)
		return failed("cannot tell where it listens", err);
	if (!s->test && add_table(s, &table) < 0)
		return failed("cannot tell where it listens", table.err);
	/* The file last: who waits for it may then count on the rest. */
	if (text_print(stdout, s->test ? &line : &table) < 0)
		return STATUS_FAILED;
	if (s->ready_path && write_ready(s->ready_path, buf_span(&line), &why) < 0) {
		text_error("%s", buf_str(&why));
		return STATUS_FAILED;
	}
	return STATUS_OK;
}

/* One line of `systemctl status`. */
static void notify_ready(const struct serve *s)
{
	size_t n = 0;

	for (size_t i = 0; i < server_services(s->server); i++) {
		struct service_view v;

		server_service(s->server, i, &v);
		n += !v.internal;
	}
	sd_notifyf(0, "READY=1\nSTATUS=Serving %zu service%s", n, n == 1 ? "" : "s");
}

static void ready(struct server *server, void *arg)
{
	struct serve *s = arg;

	(void)server;
	s->status = tell(s);
	if (s->status != STATUS_OK) {
		raise(SIGTERM); /* nobody knows where it is: a test would wait for ever */
		return;
	}
	notify_ready(s);
}

static void stopping(struct server *server, void *arg)
{
	(void)server;
	(void)arg;
	sd_notify(0, "STOPPING=1\nSTATUS=Finishing what is begun");
}

/* ---- what a plan says about the process ---- */

/* What a plan has to tell that is no problem. The log is open for it only now. */
static void log_plan(const struct plan *plan, const struct conf_problems *ps)
{
	for (size_t i = 0; i < ps->n; i++)
		if (ps->v[i].warning)
			log_problem(LOG_WARN, "configuration", &ps->v[i]);
	if (plan->made)
		log_text(LOG_INFO, "certificate-made", "%s, self-signed", plan->made);
}

static int open_log(const struct serve *s, const struct guichet_options *g, struct conf_problems *ps)
{
	BUF_AUTO struct buf why;
	int err;

	buf_init(&why, PATH_TEXT);
	err = logfile_open(g->log, g->log_level, g->log_format, &why);
	if (err)
		conf_problem(ps, s->setup.file ? s->setup.file : "guichet", 0, "log: %s", buf_str(&why));
	return err;
}

/* After a reload that failed. The log is opened again all the same: it may have been moved away (logrotate). */
static void go_back(const struct serve *s)
{
	const struct guichet_options *g = changes_global(s->served);
	struct conf_problems ps = {};

	(void)!open_log(s, g, &ps);
	conf_problems_done(&ps);
	fdlimit_set(s->monitor ? 0 : g->fds);
}

/* Once it is known what for: who was started for a conversation, as inetd does, is alone with it, and so is who is told to. */
static int begin(struct serve *s, const struct plan *plan)
{
	if (s->served)
		return 0;
	if (s->single || planner_is_errand(plan) || planner_has_begun(plan)) {
		mem_wipe_freed(false);
		return 0;
	}
	server_split(s->server);
	return monitor_new(s->server, &s->setup, s->nofile, &s->monitor);
}

/*
 * A plan, checked, applied and remembered; the same for start and reload. 0; -EINVAL with problems: then all is as it was;
 * or -ENOMEM. The log is opened before anything listens, because a log that cannot be written is a problem too.
 */
static int apply_with(struct serve *s, struct kit **kit, struct conf_problems *ps, struct changes **ret)
{
	struct changes *now = NULL;
	struct plan *plan = NULL;
	unsigned fds = 0;
	int err;

	if (s->served)
		fdlimit_set(0); /* the clients may have all that `fds` allows, and the files need some */
	s->setup.into = *kit;
	err = planner_make(&s->setup, &plan, ps);
	s->setup.into = NULL;
	if (!err && !conf_problems_none(ps)) {
		server_check(plan, ps); /* all there is to say at once */
		conf_problems_sort(ps);
		err = -EINVAL;
	}
	if (!err)
		err = changes_remember(plan, &now);
	if (!err)
		err = open_log(s, plan->global, ps);
	if (!err) {
		log_plan(plan, ps);
		err = begin(s, plan);
	}
	if (!err) {
		fds = plan->global->fds;
		fdlimit_warn(fds);
		if (!s->served)
			fdlimit_set(s->monitor ? 0 : fds);
		err = s->monitor ? monitor_apply(s->monitor, &plan, kit, ps) : server_apply(s->server, &plan, ps);
	}
	plan_free(&plan);
	if (err) {
		changes_free(&now);
		if (s->served)
			go_back(s);
		return err;
	}
	if (s->served)
		fdlimit_set(s->monitor ? 0 : fds);
	*ret = now;
	return 0;
}

/* Keys are in memory no longer than it takes. */
static int apply(struct serve *s, struct conf_problems *ps, struct changes **ret)
{
	struct kit *kit;
	int err = kit_new(&kit);

	if (err)
		return err;
	err = apply_with(s, &kit, ps, ret);
	kit_free(&kit);
	return err;
}

/* ---- reload ---- */

static void reload_refused(struct serve *s, const struct conf_problems *ps, int err)
{
	size_t n = conf_problems_count(ps);
	struct buf b;

	buf_init_fixed(&b, s->control.text, sizeof(s->control.text));
	conf_problems_format(ps, &b);
	for (size_t i = 0; i < ps->n; i++)
		if (!ps->v[i].warning)
			log_problem(LOG_ERROR, "reload-problem", &ps->v[i]);
	if (n == 0) {
		buf_addf(&b, "%s\n", strerror(-err));
		log_text(LOG_ERROR, "reload-problem", "%s", strerror(-err));
	}
	s->control.failed = true;
	log_text(LOG_WARN, "reload-refused", "the old configuration goes on; the new one has %zu mistake%s", n ? n : 1,
		 n > 1 ? "s" : "");
	sd_notifyf(0, "READY=1\nSTATUS=Serving the old configuration; the new one has %zu mistake%s", n ? n : 1,
		   n > 1 ? "s" : "");
}

static void reload_done(struct serve *s, struct changes *now)
{
	size_t n = changes_log(s->served, now);

	changes_free(&s->served);
	s->served = now;
	s->control.failed = false;
	snprintf(s->control.text, sizeof(s->control.text), "%zu change%s\n", n, n == 1 ? "" : "s");
	log_text(LOG_INFO, "reloaded", "%zu change%s", n, n == 1 ? "" : "s");
	notify_ready(s);
}

static void reload(struct server *server, void *arg)
{
	struct conf_problems ps = {};
	struct changes *now = NULL;
	struct serve *s = arg;
	int err;

	(void)server;
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_mono() / NSEC_PER_USEC);
	s->control.reloading = true;
	err = apply(s, &ps, &now);
	s->control.reloading = false;
	if (err)
		reload_refused(s, &ps, err);
	else
		reload_done(s, now);
	s->control.reloads++;
	conf_problems_done(&ps);
}

/* ---- the command line ---- */

enum { OPT_CONFIG, OPT_LOG, OPT_LOG_LEVEL, OPT_READY, OPT_SET, OPT_SINGLE, OPT_TEST, OPT_TRACE };

static const struct args_option options[] = {
	[OPT_CONFIG] = { "config", 'c', "FILE", "the configuration file, as FILE alone does" },
	[OPT_LOG] = { "log", 0, "json|text", "form of the log lines (option log_format)" },
	[OPT_LOG_LEVEL] = { "log-level", 0, "LEVEL", "what is logged: error, warn, info or debug" },
	[OPT_READY] = { "ready", 0, "PATH",
			"writes where everything listens to this file, as one line of JSON, when it does" },
	[OPT_SET] = { "set", 's', "NAME=VALUE", "sets an option of [guichet], stronger than the file: --set loops=2" },
	[OPT_SINGLE] = { "single", 0, NULL,
			 "for debuggers: one process does everything, with the rights of who started it and no sandbox" },
	[OPT_TEST] = { "test", 't', NULL,
		       "for tests: loopback and free ports everywhere, data in a folder that is removed at the end, one line of "
		       "JSON on standard output when it is ready, and it ends with its parent" },
	[OPT_TRACE] = { "trace", 0, NULL,
			"writes what is said to every service into the log (option trace of [guichet])" },
	ARGS_OPTIONS_END,
};

static const struct command_example examples[] = {
	{ "guichet serve", "every service that is ready, on this machine only, on ports above 7000" },
	{ "guichet serve guichet.conf", "what the file says; `guichet check guichet.conf` reads it first" },
	{ "guichet serve echo@tcp:7007 echo@udp:7007,upper=yes", "one service at two addresses, with an option" },
	{ "guichet serve echo@tls:7008", "with TLS; a certificate is made on the first start and kept" },
	{ "guichet serve my.conf daytime@tcp:7013", "the file, and one service more" },
	{ "guichet serve --trace mqtt@tcp:1883", "every packet in the log, as bytes and decoded" },
	{ "guichet serve --test --ready /tmp/ports.json",
	  "for a test: read the picked ports from the file or the first line" },
	COMMAND_EXAMPLES_END,
};

/* --log json is --set log_format=json; kept in memory of its own as long as the process lives. */
static int add_set(struct serve *s, const char *name, const char *value)
{
	BUF_AUTO struct buf b;
	char *set;

	buf_init(&b, PATH_TEXT);
	buf_addf(&b, "%s%s%s", name, *name ? "=" : "", value);
	if (buf_take(&b, &set) < 0)
		return -ENOMEM;
	s->sets[s->setup.n_sets++] = set;
	return 0;
}

static int take_file(struct serve *s, const char *file)
{
	if (s->setup.file)
		return command_misused(&serve_command, "two configuration files, %s and %s; one is read", s->setup.file,
				       file);
	s->setup.file = file;
	return STATUS_OK;
}

static int take_word(struct serve *s, const char *word)
{
	if (word_is_service(word)) {
		s->words[s->setup.n_words++] = word;
		return STATUS_OK;
	}
	return take_file(s, word);
}

static int take(void *arg, int what, const char *value)
{
	struct serve *s = arg;

	switch (what) {
	case ARGS_WORD:
		return take_word(s, value);
	case OPT_CONFIG:
		return take_file(s, value);
	case OPT_LOG:
		s->log_format = strcmp(value, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
		return add_set(s, "log_format", value) < 0 ? failed("--log", -ENOMEM) : STATUS_OK;
	case OPT_LOG_LEVEL:
		return add_set(s, "log_level", value) < 0 ? failed("--log-level", -ENOMEM) : STATUS_OK;
	case OPT_READY:
		s->ready_path = value;
		return STATUS_OK;
	case OPT_SET:
		return add_set(s, "", value) < 0 ? failed("--set", -ENOMEM) : STATUS_OK;
	case OPT_SINGLE:
		s->single = true;
		return STATUS_OK;
	case OPT_TRACE:
		return add_set(s, "trace", "yes") < 0 ? failed("--trace", -ENOMEM) : STATUS_OK;
	default:
		s->test = true;
		return STATUS_OK;
	}
}

static int parse(struct serve *s, int argc, char **argv)
{
	s->words = mem_zalloc((size_t)argc * sizeof(*s->words));
	s->sets = mem_zalloc((size_t)argc * sizeof(*s->sets));
	if (!s->words || !s->sets)
		return failed("serve", -ENOMEM);
	s->setup.words = s->words;
	s->setup.sets = (const char *const *)s->sets;
	return command_each(&serve_command, argc, argv, take, s);
}

/* ---- with workers ---- */

static void child(struct server *server, void *arg)
{
	const struct serve *s = arg;

	(void)server;
	monitor_child(s->monitor);
}

static uint64_t turn(struct server *server, void *arg)
{
	const struct serve *s = arg;

	(void)server;
	return monitor_turn(s->monitor);
}

static bool drain(struct server *server, void *arg)
{
	const struct serve *s = arg;

	(void)server;
	return monitor_drain(s->monitor);
}

static void tell_all(void *arg)
{
	const struct serve *s = arg;

	if (s->monitor)
		monitor_tell(s->monitor);
}

/* ---- all of it ---- */

static int begin_test(struct serve *s)
{
	BUF_AUTO struct buf why;

	buf_init(&why, PATH_TEXT);
	if (tempdir_new(&s->test_dir, &s->test_fd, &why) < 0) {
		text_error("%s", buf_str(&why));
		return STATUS_FAILED;
	}
	s->setup.test_data = s->test_dir;
	return STATUS_OK;
}

static void end_test(struct serve *s)
{
	BUF_AUTO struct buf why;

	buf_init(&why, PATH_TEXT);
	if (tempdir_remove(&s->test_dir, &s->test_fd, &why) < 0)
		text_error("%s", buf_str(&why));
}

/* Init and systemd take in whoever has lost their parent; their own end comes too late for a test. */
static bool is_foster_parent(pid_t pid)
{
	BUF_AUTO struct buf name;
	char path[64];

	buf_init(&name, 64);
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	return pid <= 1 || (files_read(path, &name, NULL) == 0 && strcmp(buf_str(&name), "systemd\n") == 0);
}

/* Until the configuration says where the log goes, what has to be told goes to standard error. */
static void begin_log(const struct serve *s)
{
	BUF_AUTO struct buf why;

	buf_init(&why, PATH_TEXT);
	(void)!logfile_open("stderr", LOG_INFO, s->log_format, &why);
}

/* The words that systemd itself puts where no name was given. */
static bool is_no_name(const char *name)
{
	static const char suffix[] = ".socket";
	size_t n = strlen(name);

	return strcmp(name, "unknown") == 0 || strcmp(name, "connection") == 0 || strcmp(name, "stored") == 0 ||
	       (n >= strlen(suffix) && strcmp(name + n - strlen(suffix), suffix) == 0);
}

/* Sockets of systemd, if it was for us that it has opened some (LISTEN_PID). After server_new(), which looks what is open. */
static int take_sockets(struct serve *s)
{
	int n = sd_listen_fds_with_names(1, &s->socket_names);

	if (n <= 0)
		return 0; /* what is wrong with the environment does not make a server wrong */
	s->sockets = mem_zalloc((size_t)n * sizeof(*s->sockets));
	if (!s->sockets)
		return -ENOMEM;
	for (int i = 0; i < n; i++) {
		const char *name = s->socket_names[i];

		s->sockets[i] = (struct planner_socket){ SD_LISTEN_FDS_START + i, is_no_name(name) ? "" : name };
	}
	s->setup.sockets = s->sockets;
	s->setup.n_sockets = (size_t)n;
	return 0;
}

static void drop_sockets(struct serve *s)
{
	for (char **name = s->socket_names; name && *name; name++)
		mem_free(*name);
	mem_free(s->socket_names);
	mem_free(s->sockets);
}

static int start(struct serve *s)
{
	struct conf_problems ps = {};
	int err = server_new(&(struct server_setup){ .parent = s->test ? s->parent : 0 }, &s->server);
	int status = STATUS_OK;

	if (err)
		return failed("cannot start", err);
	if (take_sockets(s) < 0)
		return failed("cannot start", -ENOMEM);
	s->control.server = s->server;
	s->setup.control = &control_proto;
	s->setup.control_state = &s->control;
	s->control.tell = tell_all;
	s->control.arg = s;
	err = apply(s, &ps, &s->served);
	if (err)
		status = conf_problems_none(&ps) ? failed("cannot start", err) : refused(&ps, s->mute);
	else if (s->test && is_foster_parent(s->parent))
		log_text(
			LOG_WARN, "no-parent",
			"the process that started this one has ended already, or is init: nothing will end it but a signal");
	conf_problems_done(&ps);
	return status;
}

static int run(int argc, char **argv)
{
	static const struct server_calls alone = { .ready = ready, .reload = reload, .stopping = stopping };
	static const struct server_calls shared = {
		.ready = ready, .reload = reload, .stopping = stopping, .child = child, .turn = turn, .drain = drain
	};
	struct server_calls mine;
	struct serve s = { .parent = getppid(), .test_fd = -1 }; /* asked first: it may end before we are ready */
	int status, ended;
	bool stuck;

	s.nofile = fdlimit_get();
	mem_wipe_freed(true); /* keys pass through here, and workers are copies of this process */
	s.mute = mute_stderr();
	status = parse(&s, argc, argv);

	if (status == STATUS_OK && s.test)
		status = begin_test(&s);
	if (status == STATUS_OK && s.ready_path && is_replaceable(s.ready_path))
		(void)unlink(s.ready_path); /* who waits for it must not find that of another run */
	if (status == STATUS_OK) {
		begin_log(&s);
		status = start(&s);
	}
	if (status == STATUS_OK) {
		mine = s.monitor ? shared : alone;
		mine.arg = &s;
		ended = server_run(s.server, &mine);
		status = s.status ? s.status : ended;
	}
	monitor_free(&s.monitor);
	stuck = s.server && server_is_stuck(s.server);
	server_free(&s.server);
	end_test(&s);
	if (stuck)
		_exit(status); /* what exit() tidies up is in use by threads that nobody can stop */
	changes_free(&s.served);
	for (size_t i = 0; i < s.setup.n_sets; i++)
		mem_free(s.sets[i]);
	mem_free(s.sets);
	drop_sockets(&s);
	mem_free(s.words);
	return status;
}

const struct command serve_command = {
	.name = "serve",
	.summary = "serves what a configuration file or the command line says",
	.synopsis = "[OPTION...] [FILE] [SERVICE@ADDRESS[,OPTION=VALUE]...]...",
	.text = "Serves until it is stopped. With no file and no service it serves every service that is ready, on loopback only.\n\n"
		"FILE is a configuration file: a section for each service. SERVICE@ADDRESS serves one more, or adds an address "
		"and options to one of the file's; the options are those of `guichet help SERVICE`.\n\n"
		"SIGHUP, or `guichet reload`, reads the file again: what did not change keeps its connections, and a file with a mistake changes "
		"nothing. SIGTERM, SIGQUIT and Ctrl-C let conversations finish (option drain), a second one does not wait.",
	.options = options,
	.examples = examples,
	.run = run,
};
