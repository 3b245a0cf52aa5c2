/*
 * monitor_apply.c - one configuration for all: each worker is told its part and prepares it; when all have, all change. If one
 * cannot, the old configuration goes on. Who opens a store that another process has comes last, since that one must end first. See
 * monitor.h and docs/design/processes.md.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "drive/net/owner.h"
#include "drive/sys.h"
#include "layer/tls.h"
#include "main/monitor_priv.h"
#include "priv/sandbox.h"

enum { HAND_MS = 10000 }; /* for a store that is handed over, whatever `drain` says: nobody is served meanwhile */

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

static int prepare_one(struct monitor *m, struct hand *h, struct conf_problems *ps)
{
	int r = h->pid ? 0 : hand_start(&m->all, h);

	if (r == 0)
		r = hand_prepare(&m->all, h, h->next_kit, ps);
	h->asked = r == 0;
	if (r < 0)
		explain(h, r, ps);
	if (r < 0 && r != -EINVAL && h->pid)
		monitor_give_up(m, h, r); /* it has not said no: nobody knows what it has done of it */
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
		if (now >= until && (!cut || now >= until + MONITOR_GRACE)) {
			hurry(m, cut);
			cut = true;
		}
		server_turn(m->all.server, MONITOR_LOOK_MS * MSEC);
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

static void cancel_all(struct monitor *m)
{
	for (struct list *n = m->hands.next, *after; n != &m->hands; n = after) {
		struct hand *h = hand_at(n);
		int r = 0;

		after = n->next;
		fd_close(&h->next_kit);
		if (h->fresh) {
			monitor_drop(m, h);
			continue;
		}
		h->wanted = !h->leaving; /* as before */
		if (h->asked && h->serves)
			r = hand_ask(&m->all, h, TALK_CANCEL, MONITOR_ASK_MS);
		else if (h->pid && !h->serves)
			hand_bury(&m->all, h); /* started for this: the next one begins with what is served */
		if (r < 0)
			monitor_give_up(m, h, r);
		h->asked = false;
	}
}

static void commit_one(struct monitor *m, struct hand *h)
{
	int r = h->asked ? hand_ask(&m->all, h, TALK_COMMIT, MONITOR_ASK_MS) : 0;

	h->serves = h->asked && r == 0;
	h->leaving = !h->wanted;
	h->fresh = h->asked = false;
	fd_close(&h->kit);
	h->kit = h->next_kit;
	h->next_kit = -1;
	if (r < 0)
		monitor_give_up(m, h, r);
}

static void commit_all(struct monitor *m)
{
	for (struct list *n = m->hands.next, *after; n != &m->hands; n = after) {
		struct hand *h = hand_at(n);

		after = n->next;
		if (!h->leaving)
			commit_one(m, h);
		if (h->leaving && !h->pid)
			monitor_drop(m, h);
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
		r = monitor_want_spawner(m); /* a copy of this process, and so not before */
	if (r < 0) {
		plan_free(plan);
		return r;
	}
	m->next_drain = (*plan)->global->drain;
	return server_prepare(m->all.server, plan, NULL, ps);
}

/*
 * The monitor commits first: a socket that it closes is still open in the worker that gives it up, which closes it when it has
 * taken in who waits there.
 */
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
