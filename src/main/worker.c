/* worker.c - see worker.h. One thread hears the monitor: before there are loops here, then as part of loop 0. */
#include "main/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "drive/crash.h"
#include "drive/logfile.h"
#include "drive/loop.h"
#include "drive/sys.h"
#include "main/command.h"
#include "main/fdlimit.h"
#include "main/kit.h"
#include "main/talk.h"
#include "priv/fds.h"
#include "priv/inherit.h"

enum { ANSWER_MS = 10000 };
#define IDLE_LOOK (100 * NSEC_PER_MSEC)

struct worker {
	const struct worker_birth *birth;
	struct server *server;
	int chan;
	struct doors doors; /* told of since the last PREPARE */
	size_t doors_cap;
	int log; /* the one to write to from the commit on; -1: the old one */
	enum log_level log_level;
	enum tables_log_format log_format;
	unsigned fds, next_fds;
	int lost;      /* why a door did not arrive; 0 */
	uint32_t stop; /* serial of TALK_STOP */
	bool served;   /* something was committed */
	bool idle;     /* and it was nothing */
	bool lean;     /* some libraries are here no more: inherit.h */
	struct chan_msg in, out;
};

bool worker_wants_none(const struct plan_service *s, const void *of)
{
	(void)s;
	(void)of;
	return false;
}

bool worker_wants(const struct plan_service *s, const void *of)
{
	const struct worker_of *w = of;

	return !s->internal && strcmp(s->common->group, w->group) == 0 &&
	       server_model_forks(s->common->model) == w->forks;
}

static _Noreturn void give_up(const char *event, const char *why)
{
	log_text(LOG_ERROR, event, "%s", why);
	_exit(STATUS_FAILED);
}

/* ---- answers ---- */

static void answer(struct worker *w, unsigned type, uint32_t serial, const struct conf_problems *ps)
{
	int r;

	chan_msg_init(&w->out, type, serial);
	if (ps)
		talk_put_problems(&w->out, ps);
	r = chan_send_wait(w->chan, &w->out, ANSWER_MS);
	if (r < 0)
		give_up("monitor-gone", strerror(-r));
}

/* ---- a configuration ---- */

static int take_door(struct worker *w)
{
	struct doors *d = &w->doors;

	if (d->n == w->doors_cap) {
		size_t cap = w->doors_cap ? 2 * w->doors_cap : 16;
		struct door *v = mem_realloc(d->v, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		d->v = v;
		w->doors_cap = cap;
	}
	int r = talk_get_door(&w->in, &d->v[d->n]);

	d->n += r == 0;
	return r;
}

/* From the monitor's files, and exactly as it has planned itself. */
static int make_plan(struct worker *w, int kit_fd, bool none, struct plan **ret, struct conf_problems *ps)
{
	struct planner_setup setup = *w->birth->setup;
	struct kit *kit;
	int r = kit_fd < 0 ? -EPROTO : kit_unpack(kit_fd, &kit);

	if (r < 0)
		return r;
	setup.from = kit;
	setup.into = NULL;
	setup.dry = true;
	setup.control = NULL;
	setup.wants = none ? worker_wants_none : worker_wants;
	setup.wants_arg = &w->birth->of;
	r = planner_make(&setup, ret, ps);
	kit_free(&kit);
	return r;
}

/* By the descriptor that was opened for it: the folders above may be closed to its user. */
static int find_folder(const struct worker *w, struct plan_service *s)
{
	char here[64];
	int r;

	if (!s->folder || w->birth->store < 0)
		return 0;
	snprintf(here, sizeof(here), "/proc/self/fd/%d", w->birth->store);
	s->folder_name = s->folder;
	s->folder = NULL;
	r = str_path_from(here, s->name, &s->folder);
	return r;
}

static int prepare(struct worker *w, struct conf_problems *ps)
{
	int kit = chan_take_fd(&w->in), r;
	struct chan_get g = chan_get(&w->in);
	bool none = chan_get_u8(&g);
	struct plan *plan = NULL;

	fd_close(&w->log);
	w->log = chan_take_fd(&w->in);
	r = w->lost ? w->lost : make_plan(w, kit, none, &plan, ps);
	fd_close(&kit);
	if (r < 0 || !plan || !conf_problems_none(ps)) {
		plan_free(&plan);
		return r < 0 ? r : -EINVAL;
	}
	w->log_level = plan->global->log_level;
	w->log_format = plan->global->log_format;
	w->next_fds = plan->global->fds;
	for (size_t i = 0; i < plan->n && r == 0; i++)
		r = find_folder(w, &plan->services[i]);
	if (r < 0) {
		plan_free(&plan);
		return r;
	}
	return server_prepare(w->server, &plan, &w->doors, ps);
}

static void do_prepare(struct worker *w, uint32_t serial)
{
	struct conf_problems ps = {};
	int r;

	if (w->birth->of.forks)
		inherit_less(); /* buffers that are made now, and hardly used, are not on top of what is left of others */
	r = prepare(w, &ps);
	if (r < 0 && conf_problems_none(&ps))
		conf_problem(&ps, "guichet", 0, "process %s: %s", w->birth->name, strerror(-r));
	doors_done(&w->doors);
	w->doors_cap = 0;
	if (r < 0)
		fdlimit_set(w->fds);
	answer(w, r < 0 ? TALK_NO : TALK_YES, serial, &ps);
	conf_problems_done(&ps);
}

/* The monitor counts on it: a worker that cannot is of no use, and the next one begins with this configuration. */
static void do_commit(struct worker *w, uint32_t serial)
{
	struct conf_problems ps = {};
	BUF_AUTO struct buf why = BUF_INIT(1024);

	if (w->birth->of.forks && !w->birth->sandbox.connects)
		w->lean = inherit_libraries(w->birth->openssl);
	if (w->birth->of.forks)
		inherit_less();
	if (server_commit(w->server, &ps) < 0) {
		conf_problems_format(&ps, &why);
		give_up("cannot-serve", buf_str(&why));
	}
	conf_problems_done(&ps);
	if (w->log >= 0)
		logfile_take(w->log, w->log_level, w->log_format);
	w->log = -1;
	w->fds = w->next_fds;
	fdlimit_set(w->fds);
	w->served = true;
	w->idle = server_services(w->server) == 0;
	if (w->lean)
		inherit_in_one();
	answer(w, TALK_DONE, serial, NULL);
}

/* In the place of the old one, so that every loop finds it. */
static void take_spawner(struct worker *w)
{
	int fd = chan_take_fd(&w->in);

	if (fd >= 0 && w->birth->spawner.fd >= 0)
		(void)dup3(fd, w->birth->spawner.fd, O_CLOEXEC);
	fd_close(&fd);
}

/* ---- hearing ---- */

/* Of one whose descriptors did not arrive (-EMFILE) there is the type only. */
static void hear(struct worker *w)
{
	uint32_t serial = w->in.serial;
	int r;

	switch (w->in.type) {
	case TALK_BEGIN:
		fdlimit_set(0); /* clients may have all that the option `fds` allows */
		w->lost = 0;
		doors_done(&w->doors); /* of one that was not finished */
		w->doors_cap = 0;
		break;
	case TALK_DOOR:
		r = w->lost ? 0 : take_door(w);
		w->lost = w->lost ? w->lost : r;
		break;
	case TALK_PREPARE:
		do_prepare(w, serial);
		break;
	case TALK_COMMIT:
		do_commit(w, serial);
		break;
	case TALK_CANCEL:
		server_cancel(w->server);
		fdlimit_set(w->fds);
		answer(w, TALK_DONE, serial, NULL);
		break;
	case TALK_TELL:
		server_tell(w->server);
		answer(w, TALK_DONE, serial, NULL);
		break;
	case TALK_SPAWNER:
		take_spawner(w);
		break;
	case TALK_STOP:
		w->stop = serial;
		server_stop(w->server);
		break;
	case TALK_CUT:
		server_stop(w->server);
		break;
	default:
		give_up("monitor-gone", "it says what it never would");
	}
	chan_msg_done(&w->in);
}

static void heard(struct loop *l, void *arg)
{
	struct worker *w = arg;
	int r;

	(void)l;
	while ((r = chan_recv(w->chan, &w->in)) == 1 || r == -EMFILE) {
		w->lost = r < 0 ? r : w->lost;
		hear(w);
	}
	if (r != -EAGAIN)
		give_up("monitor-gone", r ? strerror(-r) : "its end of the channel is closed");
}

static void begin(struct worker *w)
{
	while (!w->served) {
		int r = chan_recv_wait(w->chan, &w->in, -1);

		if (r == 0)
			_exit(STATUS_OK); /* the monitor wants it no more: another process could not begin */
		if (r < 0 && r != -EMFILE)
			give_up("monitor-gone", strerror(-r));
		w->lost = r < 0 ? r : w->lost;
		hear(w);
	}
}

/* ---- its life ---- */

/* When other processes serve what it had, it stays for its clients. */
static uint64_t turned(struct server *s, void *arg)
{
	const struct worker *w = arg;

	if (!w->idle)
		return UINT64_MAX;
	if (server_open_here(s) == 0)
		server_stop(s);
	return IDLE_LOOK;
}

static void closed(struct server *s, void *arg)
{
	struct worker *w = arg;

	(void)s;
	if (w->stop)
		answer(w, TALK_DONE, w->stop, NULL);
}

static int next_own(const void *arg, int from)
{
	const struct worker *w = arg;
	const int own[] = { w->chan, logfile_fd(), w->birth->spawner.fd, w->birth->store };

	return fds_lowest(own, sizeof(own) / sizeof(own[0]), from);
}

/* Standard error stays: it may be the log, and is where a sanitizer or a library complains. */
static void close_others(const struct worker *w)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		(void)dup2(null, STDIN_FILENO);
		(void)dup2(null, STDOUT_FILENO);
	}
	fds_close_but(next_own, w);
}

/* A sanitizer's report may not go to a file from inside of it. */
static void report_to_stderr(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	extern void __sanitizer_set_report_fd(void *fd);

	__sanitizer_set_report_fd((void *)(intptr_t)STDERR_FILENO);
#endif
}

static void enter_sandbox(const struct worker *w)
{
	BUF_AUTO struct buf why = BUF_INIT(1024);
	struct sandbox_report report;
	struct log_line line;

	if (sandbox_enter(&w->birth->sandbox, &report, &why) < 0)
		give_up("sandbox-failed", buf_str(&why));
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* after the change of user, which takes it back */
	if (getppid() != w->birth->monitor)
		_exit(STATUS_FAILED);
	sandbox_describe(&report, &why);
	if (!log_begin(&line, report.lost ? LOG_INFO : LOG_DEBUG, "sandbox"))
		return;
	log_str(&line, "process", w->birth->name);
	log_uint(&line, "uid", report.uid);
	log_str(&line, "text", buf_str(&why));
	log_end(&line);
}

/*
 * Here begins a page of the stack: what a process that forks, and each child of it, writes to from here on is one page to copy then, and
 * not two.
 */
[[gnu::noinline]] static int run_on_page(struct server *s, const struct server_calls *calls)
{
	char *here = __builtin_alloca(16), *page = __builtin_alloca((uintptr_t)here % 4096);

	__asm__ volatile("" : : "r"(page)); /* or it would not be there */
	return server_run(s, calls);
}

void worker_main(const struct worker_birth *b)
{
	static const struct server_calls calls = { .turn = turned, .closed = closed };
	struct server_setup setup = {
		.role = SERVER_WORKER, .shared = b->shared, .process = b->process, .loops = b->loops
	};
	struct worker *w = mem_zalloc(sizeof(*w));
	struct server_calls mine = calls;
	int r = w ? 0 : -ENOMEM, status;
	bool stuck;

	if (r < 0)
		give_up("cannot-serve", strerror(-r));
	w->birth = b;
	w->chan = b->chan;
	w->log = -1;
	mem_wipe_freed(false);
	prctl(PR_SET_NAME, b->name);
	close_others(w);
	report_to_stderr();
	enter_sandbox(w);
	crash_watch(&b->shared->process[b->process].crash);
	if (b->spawner.fd >= 0)
		setup.spawner = &b->spawner;
	r = server_new(&setup, &w->server);
	if (r < 0)
		give_up("cannot-serve", strerror(-r));
	begin(w);
	r = server_watch(w->server, w->chan, heard, w);
	if (r < 0)
		give_up("cannot-serve", strerror(-r));
	mine.arg = w;
	status = b->of.forks ? run_on_page(w->server, &mine) : server_run(w->server, &mine);
	stuck = server_is_stuck(w->server) || w->lean;
	server_free(&w->server);
	if (stuck)
		_exit(status);
	doors_done(&w->doors);
	mem_free(w);
	exit(status);
}
