/* monitor.c - see monitor.h. It waits for its workers when it asks them something; they never wait for it. */
#include "main/monitor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/pause.h"
#include "base/str.h"
#include "drive/clock.h"
#include "drive/crash.h"
#include "drive/net/owner.h"
#include "drive/shared.h"
#include "drive/sys.h"
#include "layer/tls.h"
#include "main/workers.h"
#include "priv/sandbox.h"
#include "priv/spawner.h"

enum {
	TELL_MS = 200,   /* for stats: who is too busy shows what it told last */
	CLOSE_MS = 2000, /* until nobody new can come */
	LOOK_MS = 10,    /* while they drain */
	ASK_MS = 10000,  /* for what must be done; it may be busy */
	HAND_MS = 10000, /* for a store that is handed over, whatever `drain` says: nobody is served meanwhile */
	FALLS = 5,       /* of the spawner: then there is something that another one will not mend */
};

#define STEADY (60 * SEC)        /* who lived for so long crashes for the first time again */
#define FIRST_PAUSE (100 * MSEC) /* before the second try; the first comes at once */
#define LAST_PAUSE (1 * SEC)
#define SPAWNER_END (3 * SEC) /* more than its commands have */
#define DRAIN_GRACE (3 * SEC) /* more than the workers give their clients */

struct monitor {
	struct hands all;
	struct list hands;
	char *user;             /* as all.user */
	nsec drain, next_drain; /* the option */
	bool chosen;            /* the user */
	bool other_user;        /* the configuration wants another one */
	bool stopping;
	pid_t spawner; /* 0: none was needed yet, or it is gone */
	nsec spawner_born;
	unsigned spawner_falls; /* in a row, each soon after its birth */
	size_t nofile;          /* the limit that commands have: the one that we were started with */
	bool unclean;           /* a worker had to cut somebody off */
	bool boxed;             /* we are in our sandbox */
	bool runs;              /* which lets others run commands */
};

static struct hand *hand_at(const struct list *node)
{
	return list_entry(node, struct hand, node);
}

/* ---- who they run as ---- */

static bool has_user(const char *name)
{
	BUF_AUTO struct buf why = BUF_INIT(256);
	uid_t uid;

	return owner_user(name, &uid, &why) == 0;
}

/* Once, with the first configuration: who is a user cannot become another one. Without root there is nothing to give up. */
static int choose_user(struct monitor *m, const struct guichet_options *g, struct conf_problems *ps)
{
	const char *name = g->user && *g->user ? g->user : has_user("guichet") ? "guichet" : "nobody";
	BUF_AUTO struct buf why = BUF_INIT(512);
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int r = uid ? 0 : owner_identity(name, g->group, &uid, &gid, &why);

	if (r < 0) {
		conf_problem(ps, "guichet", 0, "user: %s", buf_str(&why));
		return r;
	}
	m->other_user = m->chosen && (uid != m->all.uid || gid != m->all.gid);
	if (m->chosen)
		return 0;
	if (geteuid() == 0 && !str_is_digit(name[0])) {
		m->user = mem_strdup(name);
		if (!m->user)
			return -ENOMEM;
	}
	m->all.user = m->user;
	m->all.uid = uid;
	m->all.gid = gid;
	m->chosen = true;
	return 0;
}

/* ---- who serves what ---- */

static struct hand *find(const struct monitor *m, const struct worker_of *of)
{
	struct hand *found = NULL;

	for (const struct list *n = m->hands.next; n != &m->hands; n = n->next) {
		struct hand *h = hand_at(n);

		if (!h->leaving && h->of.forks == of->forks && !strcmp(h->of.group, of->group) && (!found || h->fresh))
			found = h;
	}
	return found;
}

/* One with these rights: what is there, if its sandbox allows enough; else a new one beside it. */
static int want_hand(struct monitor *m, const struct worker_of *of, struct needs *needs)
{
	struct hand *h = find(m, of);

	if (h && (h->fresh || needs_covered(&h->needs, needs))) {
		h->wanted = true;
		return 0;
	}
	h = hand_new(of);
	if (!h)
		return -ENOMEM;
	h->needs = *needs;
	*needs = (struct needs){};
	h->wanted = h->fresh = true;
	list_add(&m->hands, &h->node);
	return 0;
}

static int assign(struct monitor *m, const struct plan *plan, struct conf_problems *ps)
{
	int r = 0;

	for (struct list *n = m->hands.next; n != &m->hands; n = n->next)
		hand_at(n)->wanted = false;
	for (size_t i = 0; i < plan->n && r == 0; i++) {
		const struct plan_service *p = &plan->services[i];
		struct worker_of of = { .forks = server_model_forks(p->common->model) };
		struct needs needs = {};
		bool any = false;

		if (p->internal)
			continue;
		snprintf(of.group, sizeof(of.group), "%s", p->common->group);
		r = needs_add(&needs, plan, &of, &any, ps);
		if (r == 0)
			r = want_hand(m, &of, &needs);
		needs_done(&needs);
	}
	return r;
}

/* ---- the spawner ---- */

/* It runs commands; made with the first service that has some, and again when it is gone. */
static int want_spawner(struct monitor *m)
{
	bool wanted = false;
	int r;

	for (const struct list *n = m->hands.next; n != &m->hands; n = n->next)
		wanted |= hand_at(n)->needs.runs;
	if (!wanted || m->spawner)
		return 0;
	r = spawner_start(&(struct spawner_setup){ .nofile = m->nofile }, &m->all.spawner, &m->spawner);
	m->spawner_born = clock_mono();
	for (struct list *n = m->hands.next; n != &m->hands && r == 0; n = n->next)
		hand_spawner(&m->all, hand_at(n));
	return r;
}

/* Its channel is closed: it stops its commands and ends. One that does not is not waited for. */
static void end_spawner(pid_t pid)
{
	for (nsec until = clock_mono() + SPAWNER_END; clock_mono() < until; usleep(LOOK_MS * 1000))
		if (waitpid(pid, NULL, WNOHANG) != 0)
			return;
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

static void replace_spawner(struct monitor *m, int status)
{
	struct log_line line;
	pid_t pid = m->spawner;

	fd_close(&m->all.spawner);
	m->spawner = 0;
	if (m->stopping)
		return;
	if (log_begin(&line, LOG_ERROR, "process-ended")) {
		log_str(&line, "process", "spawner");
		crash_log(&line, pid, status);
		log_end(&line);
	}
	m->spawner_falls = clock_mono() - m->spawner_born < SEC ? m->spawner_falls + 1 : 1;
	if (m->spawner_falls > FALLS || want_spawner(m) < 0)
		log_text(LOG_ERROR, "process-lost", "spawner: there is no other one, commands fail until a reload");
}

/* ---- the sandbox ---- */

static void log_sandbox(const struct sandbox_report *report)
{
	BUF_AUTO struct buf text = BUF_INIT(1024);
	struct log_line line;

	sandbox_describe(report, &text);
	if (!log_begin(&line, report->lost ? LOG_INFO : LOG_DEBUG, "sandbox"))
		return;
	log_str(&line, "process", "monitor");
	log_uint(&line, "uid", report->uid);
	log_str(&line, "text", buf_str(&text));
	log_end(&line);
}

static int enter_sandbox(struct monitor *m, struct conf_problems *ps)
{
	const struct sandbox s = { .name = "monitor", .monitor = true, .execs = m->runs, .sanitizer = true };
	BUF_AUTO struct buf why = BUF_INIT(1024);
	struct sandbox_report report;
	int r = sandbox_enter(&s, &report, &why);

	if (r < 0) {
		conf_problem(ps, "guichet", 0, "sandbox: %s", buf_str(&why));
		return r;
	}
	m->boxed = true;
	log_sandbox(&report);
	return 0;
}

static const struct plan_service *first_command(const struct plan *plan)
{
	for (size_t i = 0; i < plan->n; i++)
		if (!plan->services[i].internal && plan->services[i].proto->flags & P_RUNS)
			return &plan->services[i];
	return NULL;
}

/*
 * Once, with the first configuration and before the first process. What the monitor gives up its children do not have either, so a
 * service that runs commands must be there then: the right to start programs cannot be had back.
 */
static int want_sandbox(struct monitor *m, const struct plan *plan, struct conf_problems *ps)
{
	const struct plan_service *p = first_command(plan);

	if (!m->boxed) {
		m->runs = p;
		return enter_sandbox(m, ps);
	}
	if (!p || m->runs)
		return 0;
	conf_problem(ps, p->file ? p->file : "command line", p->line,
		     "[%s] runs commands, and when guichet was started nothing did: it has given up the right to start "
		     "programs; restart it",
		     p->name);
	return -EINVAL;
}

/* ---- what they are told ---- */

/* The files that its services are made from, and no others: nobody gets a key that is not his. */
static int pack(const struct monitor *m, const struct hand *h, const struct kit *kit)
{
	struct planner_setup setup = *m->all.setup;
	struct conf_problems ps = {};
	struct plan *plan = NULL;
	struct kit *part;
	int r = kit_new(&part);

	if (r < 0)
		return r;
	setup.from = kit;
	setup.into = part;
	setup.dry = true;
	setup.wants = h->wanted ? worker_wants : worker_wants_none;
	setup.wants_arg = &h->of;
	r = planner_make(&setup, &plan, &ps);
	plan_free(&plan);
	conf_problems_done(&ps);
	if (r == 0)
		r = kit_pack(part);
	kit_free(&part);
	return r;
}

static int pack_all(struct monitor *m, const struct kit *kit)
{
	for (struct list *n = m->hands.next; n != &m->hands; n = n->next) {
		struct hand *h = hand_at(n);
		int r = h->leaving ? 0 : pack(m, h, kit);

		if (r < 0)
			return r;
		if (!h->leaving)
			h->next_kit = r;
	}
	return 0;
}

/* Keys in this memory would be in that of every process forked from it. */
static void forget_keys(struct plan *plan)
{
	for (size_t i = 0; i < plan->n; i++) {
		tls_ctx_unref(plan->services[i].tls_ctx);
		plan->services[i].tls_ctx = NULL;
	}
}

/* ---- one configuration for all ---- */

static void explain(const struct hand *h, int err, struct conf_problems *ps)
{
	if (conf_problems_none(ps))
		conf_problem(ps, "guichet", 0, "process %s cannot serve this: %s", h->name, strerror(-err));
}

static nsec pause_before(const struct hand *h)
{
	return pause_after(h->crashes - 1, FIRST_PAUSE, LAST_PAUSE);
}

/* It does not do what it should: another one is made. */
static void give_up(struct monitor *m, struct hand *h, int err)
{
	log_text(LOG_ERROR, "process-lost", "%s, pid %d: %s", h->name, (int)h->pid, strerror(-err));
	hand_bury(&m->all, h);
	h->crashes++;
	h->again = clock_mono() + pause_before(h);
}

static int prepare_one(struct monitor *m, struct hand *h, struct conf_problems *ps)
{
	int r = h->pid ? 0 : hand_start(&m->all, h);

	if (r == 0)
		r = hand_prepare(&m->all, h, h->next_kit, ps);
	h->asked = r == 0;
	if (r < 0)
		explain(h, r, ps);
	if (r < 0 && r != -EINVAL && h->pid)
		give_up(m, h, r); /* it has not said no: nobody knows what it has done of it */
	return r;
}

static bool takes_part(const struct hand *h)
{
	return !h->leaving && (h->wanted || h->pid);
}

/* One process can have a store open: who is not to serve it any more ends before the next one begins. */
static bool is_in_the_way(const struct monitor *m, const struct hand *h)
{
	if (!h->pid || h->wanted || !h->needs.store)
		return false;
	for (const struct list *n = m->hands.next; n != &m->hands; n = n->next) {
		const struct hand *next = hand_at(n);

		if (next->fresh && next->needs.store && strcmp(next->needs.store, h->needs.store) == 0)
			return true;
	}
	return false;
}

/* Its clients hear of it, and so does who reads the log. The sockets stay open here: who comes waits. */
static void stop_one(struct monitor *m, struct hand *h)
{
	nsec most = (nsec)HAND_MS * MSEC;
	struct log_line line;

	h->stops = true;
	(void)!hand_tell(&m->all, h, TALK_STOP, 0);
	if (!log_begin(&line, LOG_WARN, "store-handover"))
		return;
	log_str(&line, "process", h->name);
	log_uint(&line, "pid", (unsigned)h->pid);
	log_seconds(&line, "within", m->drain < most ? m->drain : most);
	log_str(&line, "text",
		"this reload needs another process, and one at a time can have the store: "
		"clients are disconnected, and who comes back waits until the next one serves");
	log_end(&line);
}

static bool is_going(const struct hand *h)
{
	return h->stops && h->pid;
}

static bool some_go(const struct monitor *m)
{
	for (const struct list *n = m->hands.next; n != &m->hands; n = n->next)
		if (is_going(hand_at(n)))
			return true;
	return false;
}

static void hurry(struct monitor *m, bool kills)
{
	for (struct list *n = m->hands.next; n != &m->hands; n = n->next) {
		if (is_going(hand_at(n)) && kills)
			(void)kill(hand_at(n)->pid, SIGKILL);
		else if (is_going(hand_at(n)))
			(void)!hand_tell(&m->all, hand_at(n), TALK_CUT, 0);
	}
}

/* 0 when all who are in the way have ended, however; or -ECANCELED: we are to stop ourselves. */
static int hand_over(struct monitor *m, struct conf_problems *ps)
{
	nsec until = clock_mono() + (nsec)HAND_MS * MSEC;
	bool cut = false;

	for (struct list *n = m->hands.next; n != &m->hands; n = n->next)
		if (is_in_the_way(m, hand_at(n)))
			stop_one(m, hand_at(n));
	while (monitor_child(m), some_go(m)) {
		nsec now = clock_mono();

		if (server_stops(m->all.server)) {
			conf_problem(ps, "guichet", 0, "the server was stopped before it could be served");
			return -ECANCELED;
		}
		if (now >= until && (!cut || now >= until + DRAIN_GRACE)) {
			hurry(m, cut);
			cut = true;
		}
		server_turn(m->all.server, LOOK_MS * MSEC);
	}
	return 0;
}

static int prepare_those(struct monitor *m, bool fresh_stores, struct conf_problems *ps)
{
	int r = 0;

	for (struct list *n = m->hands.next; n != &m->hands && r == 0; n = n->next) {
		struct hand *h = hand_at(n);

		if (takes_part(h) && !is_in_the_way(m, h) && (h->fresh && h->needs.store) == fresh_stores)
			r = prepare_one(m, h, ps);
	}
	return r;
}

/* Who opens a store comes last: until then nothing was done that others could notice. */
static int prepare_all(struct monitor *m, struct conf_problems *ps)
{
	int r = prepare_those(m, false, ps);

	if (r == 0)
		r = hand_over(m, ps);
	return r == 0 ? prepare_those(m, true, ps) : r;
}

static void drop(struct monitor *m, struct hand *h)
{
	if (h->pid)
		hand_bury(&m->all, h);
	list_del(&h->node);
	hand_free(&h);
}

static void cancel_all(struct monitor *m)
{
	for (struct list *n = m->hands.next, *after; n != &m->hands; n = after) {
		struct hand *h = hand_at(n);
		int r = 0;

		after = n->next;
		fd_close(&h->next_kit);
		if (h->fresh) {
			drop(m, h);
			continue;
		}
		h->wanted = !h->leaving; /* as before */
		if (h->asked && h->serves)
			r = hand_ask(&m->all, h, TALK_CANCEL, ASK_MS);
		else if (h->pid && !h->serves)
			hand_bury(&m->all, h); /* started for this: the next one begins with what is served */
		if (r < 0)
			give_up(m, h, r);
		h->asked = false;
	}
}

static void commit_one(struct monitor *m, struct hand *h)
{
	int r = h->asked ? hand_ask(&m->all, h, TALK_COMMIT, ASK_MS) : 0;

	h->serves = h->asked && r == 0;
	h->leaving = !h->wanted;
	h->fresh = h->asked = false;
	fd_close(&h->kit);
	h->kit = h->next_kit;
	h->next_kit = -1;
	if (r < 0)
		give_up(m, h, r);
}

static void commit_all(struct monitor *m)
{
	for (struct list *n = m->hands.next, *after; n != &m->hands; n = after) {
		struct hand *h = hand_at(n);

		after = n->next;
		if (!h->leaving)
			commit_one(m, h);
		if (h->leaving && !h->pid)
			drop(m, h);
	}
}

static int prepare(struct monitor *m, struct plan **plan, struct kit **kit, struct conf_problems *ps)
{
	int r = choose_user(m, (*plan)->global, ps);

	if (r == 0)
		r = assign(m, *plan, ps);
	if (r == 0)
		r = pack_all(m, *kit);
	kit_free(kit);
	forget_keys(*plan);
	m->spawner_falls = 0;
	if (r == 0)
		r = want_sandbox(m, *plan, ps);
	if (r == 0)
		r = want_spawner(m); /* a copy of this process, and so not before */
	if (r < 0) {
		plan_free(plan);
		return r;
	}
	m->next_drain = (*plan)->global->drain;
	return server_prepare(m->all.server, plan, NULL, ps);
}

/* The monitor first: what a worker lets go of is open here no more, and so is closed when the last who waited at it is in. */
int monitor_apply(struct monitor *m, struct plan **plan, struct kit **kit, struct conf_problems *ps)
{
	int r;

	monitor_child(m); /* who has just died is replaced by this */
	r = prepare(m, plan, kit, ps);
	if (r == 0) {
		r = prepare_all(m, ps);
		if (r < 0)
			server_cancel(m->all.server);
		else
			r = server_commit(m->all.server, ps);
	}
	if (r < 0) {
		cancel_all(m);
		return r;
	}
	m->drain = m->next_drain;
	if (m->other_user)
		server_tell_restart("user");
	commit_all(m);
	return 0;
}

/* ---- deaths and births ---- */

static struct hand *of_pid(const struct monitor *m, pid_t pid)
{
	for (const struct list *n = m->hands.next; n != &m->hands; n = n->next)
		if (hand_at(n)->pid == pid)
			return hand_at(n);
	return NULL;
}

static bool ended_well(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void log_end_of(const struct monitor *m, const struct hand *h, int status)
{
	const struct shared_crash *c = &server_shared(m->all.server)->process[h->process].crash;
	bool expected = WIFEXITED(status) &&
			(h->leaving || h->stops || m->stopping); /* who had to cut somebody off has said so */
	char peer[PEER_TEXT], service[sizeof(c->service)];
	struct log_line line;

	if (!log_begin(&line, expected ? LOG_DEBUG : LOG_ERROR, "process-ended"))
		return;
	log_str(&line, "process", h->name);
	crash_log(&line, h->pid, status);
	snprintf(service, sizeof(service), "%.*s", (int)sizeof(c->service) - 1, c->service); /* whatever is there */
	if (atomic_load(&c->signal) && *service)
		log_str(&line, "service", service);
	if (shared_crash_peer(c, peer))
		log_str(&line, "peer", peer);
	log_end(&line);
}

static void one_ended(struct monitor *m, struct hand *h, int status)
{
	nsec now = clock_mono();

	log_end_of(m, h, status);
	if (WIFSIGNALED(status))
		server_blame(m->all.server, &server_shared(m->all.server)->process[h->process].crash);
	if (m->stopping && !ended_well(status))
		m->unclean = true;
	h->pid = 0;
	hand_bury(&m->all, h);
	if (h->leaving || m->stopping) {
		drop(m, h);
		return;
	}
	/* kill -9 is nobody's mistake: neither ours nor what a peer has sent */
	h->crashes = now - h->born > STEADY || killed(status) || h->stops ? 1 : h->crashes + 1;
	h->stops = false;
	h->again = now + pause_before(h);
}

void monitor_child(struct monitor *m)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct hand *h = of_pid(m, pid);

		if (h)
			one_ended(m, h, status);
		else if (pid == m->spawner)
			replace_spawner(m, status);
	}
}

/* With what the last one was told. */
static int bring_up(struct monitor *m, struct hand *h)
{
	struct conf_problems ps = {};
	int r = hand_start(&m->all, h);

	if (r == 0)
		r = hand_prepare(&m->all, h, h->kit, &ps);
	if (r == 0)
		r = hand_ask(&m->all, h, TALK_COMMIT, ASK_MS);
	h->serves = r == 0;
	for (size_t i = 0; i < ps.n; i++)
		log_text(LOG_ERROR, "cannot-serve", "%s", ps.v[i].text);
	conf_problems_done(&ps);
	return r;
}

static void replace(struct monitor *m, struct hand *h)
{
	struct log_line line;
	int r = bring_up(m, h);

	if (r < 0) {
		give_up(m, h, r);
		return;
	}
	if (!log_begin(&line, LOG_WARN, "process-replaced"))
		return;
	log_str(&line, "process", h->name);
	log_uint(&line, "pid", (unsigned)h->pid);
	log_end(&line);
}

uint64_t monitor_turn(struct monitor *m)
{
	nsec now = clock_mono(), first = UINT64_MAX;

	for (struct list *n = m->hands.next; n != &m->hands; n = n->next) {
		struct hand *h = hand_at(n);

		if (!h->pid && h->again <= now)
			replace(m, h);
		if (!h->pid && h->again < first)
			first = h->again;
	}
	now = clock_mono();
	return first == UINT64_MAX ? first : first > now ? first - now : 0;
}

/* ---- the rest of its life ---- */

/* Who stops is not told to again: that would cut off its clients. */
static bool is_told(const struct hand *h, enum talk what)
{
	return h->pid && !(what == TALK_STOP && h->stops);
}

/* Nobody waits here for one that is hung: its channel may be full, and then it is passed over. */
static void each_told(struct monitor *m, enum talk what)
{
	for (struct list *n = m->hands.next; n != &m->hands; n = n->next)
		if (is_told(hand_at(n), what))
			(void)!hand_tell(&m->all, hand_at(n), what, 0);
}

/* One time for all of them together. */
static void all_answered(struct monitor *m, enum talk what, int ms)
{
	nsec until = clock_mono() + (nsec)ms * MSEC;

	for (struct list *n = m->hands.next; n != &m->hands; n = n->next) {
		nsec now = clock_mono();

		if (is_told(hand_at(n), what))
			(void)!hand_answered(&m->all, hand_at(n), now < until ? (int)((until - now) / MSEC) : 0);
	}
}

void monitor_tell(struct monitor *m)
{
	each_told(m, TALK_TELL);
	all_answered(m, TALK_TELL, TELL_MS);
}

static void kill_all(const struct monitor *m)
{
	for (const struct list *n = m->hands.next; n != &m->hands; n = n->next)
		if (hand_at(n)->pid)
			(void)kill(hand_at(n)->pid, SIGKILL);
}

static void drop_dead(struct monitor *m)
{
	for (struct list *n = m->hands.next, *after; n != &m->hands; n = after) {
		after = n->next;
		if (!hand_at(n)->pid)
			drop(m, hand_at(n));
	}
}

bool monitor_drain(struct monitor *m)
{
	nsec until = clock_mono() + m->drain + DRAIN_GRACE;
	bool cut = false;

	m->stopping = true;
	server_log_open(LOG_INFO, "stopping", server_open(m->all.server), NULL);
	drop_dead(m);
	each_told(m, TALK_STOP);
	all_answered(m, TALK_STOP, CLOSE_MS);
	server_close_doors(m->all.server);
	while (monitor_child(m), !list_empty(&m->hands)) {
		if (server_stops(m->all.server) > 1 && !cut) {
			each_told(m, TALK_CUT);
			cut = true;
		}
		if (clock_mono() >= until)
			kill_all(m);
		server_turn(m->all.server, LOOK_MS * MSEC);
	}
	server_log_open(LOG_INFO, "stopped", server_open(m->all.server), NULL);
	return !m->unclean;
}

int monitor_new(struct server *server, const struct planner_setup *setup, size_t nofile, struct monitor **ret)
{
	struct monitor *m = mem_zalloc(sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->all.server = server;
	m->all.setup = setup;
	m->all.spawner = -1;
	m->nofile = nofile;
	list_init(&m->hands);
	*ret = m;
	return 0;
}

void monitor_free(struct monitor **mp)
{
	struct monitor *m = *mp;

	if (!m)
		return;
	*mp = NULL;
	while (!list_empty(&m->hands))
		drop(m, hand_at(m->hands.next));
	fd_close(&m->all.spawner); /* and so it ends */
	if (m->spawner)
		end_spawner(m->spawner);
	mem_free(m->user);
	mem_free(m);
}
