/* server.c - a server's life: what it can serve, its loops and their threads, signals. */
#include "drive/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "conf/option.h"
#include "drive/admit.h"
#include "drive/clock.h"
#include "drive/crash.h"
#include "drive/jobs.h"
#include "drive/logfile.h"
#include "drive/model/brood.h"
#include "drive/model/crew.h"
#include "drive/model/solo.h"
#include "drive/net/given.h"
#include "drive/net/guard.h"
#include "drive/sys.h"
#include "store/access.h"

enum { HANDS_MS = 1000 };

/* ---- models ---- */

const struct model *model_find(enum tables_model m)
{
	static const struct model *const models[MODELS] = {
		[MODEL_ITERATIVE] = &model_iterative, [MODEL_THREAD] = &model_thread, [MODEL_POOL] = &model_pool,
		[MODEL_SYMMETRIC] = &model_symmetric, [MODEL_EVENT] = &model_event,   [MODEL_FORK] = &model_fork,
		[MODEL_PREFORK] = &model_prefork,
	};

	return models[m];
}

bool server_model_forks(enum tables_model m)
{
	const struct model *model = model_find(m);

	return model && model->forks;
}

bool server_has_transport(enum addr_transport t)
{
	static const bool has[ADDR_TRANSPORTS] = {
		[ADDR_TCP] = true,  [ADDR_UDP] = true,     [ADDR_TLS] = true,      [ADDR_UNIX] = true,
		[ADDR_FD] = true,   [ADDR_UNIXSEQ] = true, [ADDR_UNIXGRAM] = true, [ADDR_STDIO] = true,
		[ADDR_FIFO] = true, [ADDR_MQ] = true,      [ADDR_WS] = true,       [ADDR_WSS] = true,
	};

	return has[t];
}

static bool all_dgram(const struct service_options *c)
{
	for (size_t i = 0; i < c->listen.n; i++)
		if (!(addr_kinds[c->listen.v[i].transport].flags & ADDR_F_DGRAM))
			return false;
	return c->listen.n > 0;
}

static void check_model(const struct plan_service *p, struct conf_problems *ps)
{
	enum tables_model m = p->common->model;
	const struct model *model = model_find(m);

	if (p->proto->flags & P_SHARED && !model->shared)
		service_problem(p, p->model_line, ps, "%s needs model event, because %s", p->proto->name,
				p->proto->needs ? p->proto->needs : "its sessions meet in memory");
	else if (!model->every_loop && (!model->dgram || (model->forks && model->accepts)) && all_dgram(p->common))
		service_problem(
			p, p->model_line, ps,
			"model %s is for streams; datagrams are served by the models iterative, fork, pool and event",
			tables_models[m]);
}

static void check_address(const struct plan_service *p, const struct addr_text *a, struct conf_problems *ps)
{
	unsigned flags = addr_kinds[a->transport].flags;
	const char *name = addr_kinds[a->transport].name;

	if (!server_has_transport(a->transport)) {
		service_problem(p, p->listen_line, ps,
				"transport %s is not served by this version, see guichet help addresses", name);
		return;
	}
	if (flags & ADDR_F_DGRAM && !(p->proto->flags & P_DGRAM))
		service_problem(p, p->listen_line, ps, "%s is a stream service: it cannot be reached over %s",
				p->proto->name, name);
	if (flags & ADDR_F_STREAM && !(p->proto->flags & P_STREAM) && a->transport != ADDR_STDIO)
		service_problem(p, p->listen_line, ps, "%s is a datagram service: it cannot be reached over %s",
				p->proto->name, name);
	if (a->transport == ADDR_MQ && p->common->model != MODEL_EVENT)
		service_problem(p, p->listen_line, ps, "%s is served by model event only, not by %s", name,
				tables_models[p->common->model]);
	if (flags & ADDR_F_SECURE && !p->tls)
		service_problem(p, p->listen_line, ps, "no certificate for the address %s:", name);
	if (flags & ADDR_F_WEB && *a->path)
		service_problem(p, p->listen_line, ps,
				"a path is not part of an address to listen on; write ws_path = %s", a->path);
}

/* It is part of the names of processes. */
static void check_group(const struct plan_service *p, struct conf_problems *ps)
{
	static const char *const ours[] = { "monitor", "spawner", "guichet" };

	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (strcmp(p->common->group, ours[i]) == 0)
			service_problem(p, p->line, ps, "group = %s: that is the name of a process of ours", ours[i]);
	for (const char *c = p->common->group; *c; c++) {
		if (str_is_alnum(*c) || *c == '-' || *c == '_')
			continue;
		service_problem(p, p->line, ps, "group = %s: a name has letters, digits, - and _ only",
				p->common->group);
		return;
	}
}

void server_check(const struct plan *plan, struct conf_problems *ps)
{
	for (size_t i = 0; i < plan->n; i++) {
		const struct plan_service *p = &plan->services[i];

		if (p->common->listen.n == 0)
			service_problem(p, p->listen_line, ps,
					"no address: say where it listens, as in: listen = tcp:7007");
		check_model(p, ps);
		check_group(p, ps);
		for (size_t k = 0; k < p->common->listen.n; k++)
			check_address(p, &p->common->listen.v[k], ps);
	}
}

/* ---- calls into every loop ---- */

struct everywhere {
	loop_call *fn;
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t done;
	unsigned left;
};

static void run_there(struct loop *l, void *arg)
{
	struct everywhere *e = arg;

	e->fn(l, e->arg);
	pthread_mutex_lock(&e->lock);
	if (--e->left == 0)
		pthread_cond_signal(&e->done);
	pthread_mutex_unlock(&e->lock);
}

void server_everywhere(struct server *s, loop_call *fn, void *arg)
{
	struct everywhere e = {
		.fn = fn, .arg = arg, .lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER
	};

	e.left = s->n_loops - 1;
	for (unsigned i = 1; i < s->n_loops; i++)
		loop_order(s->loops[i], run_there, &e);
	fn(s->loops[0], arg);
	pthread_mutex_lock(&e.lock);
	while (e.left)
		pthread_cond_wait(&e.done, &e.lock);
	pthread_mutex_unlock(&e.lock);
}

unsigned server_loop_number(const struct server *s, const struct loop *l)
{
	for (unsigned i = 0; i < s->n_loops; i++)
		if (s->loops[i] == l)
			return i;
	return 0;
}

/* ---- the options of [guichet] ---- */

static unsigned count_loops(const struct server *s, const struct guichet_options *g)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (s->setup.role == SERVER_WORKER)
		return s->setup.loops;
	return g->loops ? g->loops : cores > 0 ? (unsigned)cores : 1;
}

static struct loop_tuning tuning_of(const struct guichet_options *g)
{
	return (struct loop_tuning){
		.handshakes = (int)g->handshakes,
		.dgram_rate = g->dgram_rate,
		.dgram_reply = g->dgram_reply,
		.file_cache = g->file_cache,
		.file_cache_size = g->file_cache_size,
	};
}

static void tune_here(struct loop *l, void *arg)
{
	loop_tune(l, arg);
}

void server_tell_restart(const char *option)
{
	struct log_line line;

	if (!log_begin(&line, LOG_WARN, "restart-needed"))
		return;
	log_str(&line, "option", option);
	log_end(&line);
}

void server_tune(struct server *s, struct guichet_options *g)
{
	void *before = s->global;
	unsigned clients = 0;

	s->tuning = tuning_of(g);

	/* threads are made once: what asks for another number of them has to wait */
	if (count_loops(s, g) != s->event_loops)
		server_tell_restart("loops");
	if (s->global && g->jobs != s->global->jobs && s->setup.role != SERVER_WORKER)
		server_tell_restart("jobs");
	server_everywhere(s, tune_here, &s->tuning);
	for (size_t i = 0; i < s->n; i++)
		clients += !s->services[i]->plan.internal;
	admit_tune(&s->admit, g, clients);
	for (size_t i = 0; i < s->n; i++)
		if (s->services[i]->crew)
			crew_tune(s->services[i]->crew, &s->tuning);
	s->global = g;
	option_values_free(&tables_guichet, &before);
}

/* ---- loops and threads ---- */

static void *loop_main(void *arg)
{
	crash_thread();
	loop_run(arg);
	crash_thread_ends();
	return NULL;
}

/* Counters are for all processes, as long as there is one. */
static int get_shared(struct server *s, const struct guichet_options *g)
{
	const char *name = s->setup.role == SERVER_MONITOR ? "monitor" : s->setup.shared ? NULL : "guichet";
	int r = 0;

	s->event_loops = count_loops(s, g);
	if (s->setup.shared)
		s->shared = s->setup.shared;
	else if (!s->shared)
		r = shared_new(s->event_loops + 2, &s->shared);
	if (r < 0)
		return r;
	guard_share_ports(s->shared->ports);
	logfile_events(s->shared->events);
	shared_begin_process(s->shared, s->setup.process, name, clock_mono());
	return 0;
}

int server_start_loops(struct server *s, const struct guichet_options *g)
{
	unsigned n = s->setup.role == SERVER_MONITOR ? 1 : count_loops(s, g) + 1;
	struct loop_setup setup = {
		.many = true,
		.stop_fd = -1,
		.cut_fd = -1,
		.tuning = s->tuning = tuning_of(g),
		.spawner = s->setup.spawner,
	};
	int r = get_shared(s, g);

	if (r == 0 && n > 1)
		r = jobs_new(g->jobs, &s->jobs);
	if (r < 0)
		return r;
	setup.jobs = s->jobs;
	setup.dgram = s->setup.role == SERVER_WORKER && n == 1 ? fork_answer : NULL;
	setup.guard = s->shared->guard;
	s->admit.limits = s->shared->limits;
	s->admit.owner = s->setup.process;
	s->loops = mem_zalloc(n * sizeof(struct loop *));
	s->threads = mem_zalloc(n * sizeof(pthread_t));
	if (!s->loops || !s->threads)
		return -ENOMEM;
	for (unsigned i = 0; i < n && r == 0; i++) {
		r = loop_new(&setup, &s->loops[i]);
		if (r == 0 && i > 0 && (r = -pthread_create(&s->threads[i], NULL, loop_main, s->loops[i])) < 0)
			loop_free(&s->loops[i]);
		if (r == 0)
			s->n_loops = i + 1;
	}
	return r == 0 && setup.dgram ? brood_new(s, &s->brood) : r;
}

static void stop_loop(struct loop *l, void *arg)
{
	(void)arg;
	loop_finish(l);
}

static void end_loops(struct server *s)
{
	for (unsigned i = 1; i < s->n_loops; i++) {
		loop_order(s->loops[i], stop_loop, NULL);
		pthread_join(s->threads[i], NULL);
	}
	for (unsigned i = s->n_loops; i-- > 0;)
		loop_free(&s->loops[i]);
	jobs_free(&s->jobs);
	mem_free(s->loops);
	mem_free(s->threads);
	s->loops = NULL;
	s->n_loops = 0;
}

/* ---- birth and death ---- */

static const struct server_calls no_calls;

/* Services make names of it: a host may be called anything. */
static void find_host(char host[SERVER_HOST + 1])
{
	if (gethostname(host, SERVER_HOST) < 0)
		*host = '\0';
	for (const char *p = host; *p; p++)
		if (!str_is_alnum(*p) && *p != '-' && *p != '_' && *p != '.')
			*host = '\0';
}

/* What would end others without a word, and means nothing here. */
static const int ignored[] = { SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT };

static void add_ignored(sigset_t *set)
{
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		sigaddset(set, ignored[i]);
}

int server_new(const struct server_setup *setup, struct server **ret)
{
	struct server *s = mem_zalloc(sizeof(*s));
	int given = 0;
	sigset_t set;

	if (!s)
		return -ENOMEM;
	s->setup = *setup;
	find_host(s->host);
	s->calls = &no_calls;
	list_init(&s->listeners);
	s->serials = &s->serial;
	s->started = clock_mono();
	s->signal_fd = s->parent_fd = s->cut_fd = -1;
	s->stop_fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->stop_fd >= 0)
		s->cut_fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->cut_fd < 0 || (given = access_new(&s->access)) < 0 || (given = given_new(&s->given)) < 0) {
		int r = s->cut_fd < 0 ? -errno : given;

		access_free(&s->access);
		fd_close(&s->cut_fd);
		fd_close(&s->stop_fd);
		mem_free(s);
		return r;
	}
	/* before any thread is made, so that all of them inherit it: signals are the main loop's, as a descriptor */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGPIPE);
	add_ignored(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	*ret = s;
	return 0;
}

void server_split(struct server *s)
{
	s->setup.role = SERVER_MONITOR;
}

struct shared *server_shared(const struct server *s)
{
	return s->shared;
}

unsigned server_event_loops(const struct server *s)
{
	return s->event_loops;
}

void server_free(struct server **sp)
{
	struct server *s = *sp;
	void *global;

	if (!s)
		return;
	*sp = NULL;
	server_end_services(s);
	brood_free(&s->brood);
	for (int i = 0; i < HANDS_MS && atomic_load(&s->hands); i++)
		usleep(1000); /* idle workers have just been told */
	if (server_is_stuck(s))
		return;
	solo_join(s);
	end_loops(s);
	for (size_t i = 0; i < s->n; i++)
		service_unref(s->services[i]);
	access_free(&s->access);
	guard_share_ports(NULL);
	logfile_events(NULL);
	if (!s->setup.shared)
		shared_free(&s->shared);
	given_free(&s->given);
	mem_free(s->services);
	fd_close(&s->stop_fd);
	fd_close(&s->cut_fd);
	fd_close(&s->signal_fd);
	fd_close(&s->parent_fd);
	global = s->global;
	option_values_free(&tables_guichet, &global);
	mem_free(s);
}

/* ---- running ---- */

static bool is_ignored(uint32_t signal)
{
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		if ((uint32_t)ignored[i] == signal)
			return true;
	return false;
}

static void log_ignored(uint32_t signal)
{
	const char *name = sigabbrev_np((int)signal);
	char text[16];
	struct log_line line;

	if (!log_begin(&line, LOG_INFO, "signal-ignored"))
		return;
	snprintf(text, sizeof(text), "SIG%s", name ? name : "?");
	log_str(&line, "signal", text);
	log_end(&line);
}

static void got_signal(struct loop *l, void *arg)
{
	struct server *s = arg;
	struct signalfd_siginfo info;

	(void)l;
	while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			s->changed = true;
		else if (info.ssi_signo == SIGCHLD && s->calls->child)
			s->calls->child(s, s->calls->arg);
		else if (is_ignored(info.ssi_signo))
			log_ignored(info.ssi_signo);
		else if (info.ssi_signo != SIGCHLD)
			s->signals++;
	}
}

static void parent_ended(struct loop *l, void *arg)
{
	struct server *s = arg;

	(void)l;
	if (!s->signals)
		s->signals = 1;
	fd_close(&s->parent_fd);
}

/* It may have ended since we began, and somebody else may have its number. */
static int watch_parent(struct server *s)
{
	s->parent_fd = sys_pidfd_open(s->setup.parent, 0);
	if (s->parent_fd < 0 && errno != ESRCH)
		return -errno;
	if (s->parent_fd >= 0 && getppid() == s->setup.parent)
		return loop_watch(s->loops[0], s->parent_fd, parent_ended, s);
	fd_close(&s->parent_fd);
	s->signals = 1;
	return 0;
}

static int watch_world(struct server *s)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGHUP);
	add_ignored(&set);
	if (s->calls->child)
		sigaddset(&set, SIGCHLD);
	s->signal_fd = sys_signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (s->signal_fd < 0)
		return -errno;
	r = loop_watch(s->loops[0], s->signal_fd, got_signal, s);
	return r < 0 || !s->setup.parent ? r : watch_parent(s);
}

void server_stop(struct server *s)
{
	s->signals++;
}

unsigned server_stops(const struct server *s)
{
	return s->signals;
}

int server_watch(struct server *s, int fd, void (*fn)(struct loop *l, void *arg), void *arg)
{
	return loop_watch(s->loops[0], fd, fn, arg);
}

void server_turn(struct server *s, uint64_t timeout)
{
	loop_turn(s->loops[0], timeout);
}

static bool drain(struct server *s)
{
	return s->calls->drain ? s->calls->drain(s, s->calls->arg) : server_drain(s);
}

/* Not in the turn that has heard of it: a reload may want turns of its own. */
static void look_for_change(struct server *s)
{
	if (!s->changed || s->signals || !s->calls->reload)
		return;
	s->changed = false;
	s->calls->reload(s, s->calls->arg);
}

static int run(struct server *s)
{
	const struct server_calls *calls = s->calls;
	nsec patience = UINT64_MAX;

	if (calls->ready)
		calls->ready(s, calls->arg);
	while (!s->signals) {
		nsec once = once_patience(s), herds = s->brood ? herds_turn(s) : UINT64_MAX;

		once = once < herds ? once : herds;
		loop_turn(s->loops[0], once < patience ? once : patience);
		look_for_change(s);
		once_turn(s);
		if (calls->turn)
			patience = calls->turn(s, calls->arg);
	}
	if (calls->stopping)
		calls->stopping(s, calls->arg);
	return drain(s) ? 0 : 1;
}

int server_run(struct server *s, const struct server_calls *calls)
{
	int r;

	s->calls = calls;
	r = s->setup.role == SERVER_WORKER ? 0 : watch_world(s); /* to a worker, the monitor is the world */
	if (r < 0) {
		log_text(LOG_ERROR, "cannot-run", "%s", strerrordesc_np(-r));
		return 1;
	}
	return run(s);
}

void server_blame(struct server *s, const struct shared_crash *c)
{
	if (atomic_load(&c->signal) && !c->unproven)
		admit_crashed(s->shared->limits, s->global, c->addr, c->n, clock_mono());
}
