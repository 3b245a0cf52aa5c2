/* monitor.c - see monitor.h. It waits for its workers when it asks them something; they never wait for it. */
#include "main/monitor_priv.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/pause.h"
#include "drive/crash.h"
#include "drive/shared.h"
#include "drive/sys.h"
#include "priv/spawner.h"

enum {
	TELL_MS = 200,   /* for stats: who is too busy shows what it told last */
	CLOSE_MS = 2000, /* until nobody new can come */
	FALLS = 5,       /* of the spawner: then there is something that another one will not mend */
};

#define STEADY (60 * SEC)        /* who lived for so long crashes for the first time again */
#define FIRST_PAUSE (100 * MSEC) /* before the second try; the first comes at once */
#define LAST_PAUSE (1 * SEC)
#define SPAWNER_END (3 * SEC) /* more than its commands have */

/* ---- the spawner ---- */

int monitor_want_spawner(struct monitor *m)
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
	for (nsec until = clock_mono() + SPAWNER_END; clock_mono() < until; usleep(MONITOR_LOOK_MS * 1000))
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
	if (m->spawner_falls > FALLS || monitor_want_spawner(m) < 0)
		log_text(LOG_ERROR, "process-lost", "spawner: there is no other one, commands fail until a reload");
}

/* ---- deaths and births ---- */

static nsec pause_before(const struct hand *h)
{
	return pause_after(h->crashes - 1, FIRST_PAUSE, LAST_PAUSE);
}

void monitor_give_up(struct monitor *m, struct hand *h, int err)
{
	log_text(LOG_ERROR, "process-lost", "%s, pid %d: %s", h->name, (int)h->pid, strerror(-err));
	hand_bury(&m->all, h);
	h->crashes++;
	h->again = clock_mono() + pause_before(h);
}

void monitor_drop(struct monitor *m, struct hand *h)
{
	if (h->pid)
		hand_bury(&m->all, h);
	list_del(&h->node);
	hand_free(&h);
}

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
		monitor_drop(m, h);
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
		r = hand_ask(&m->all, h, TALK_COMMIT, MONITOR_ASK_MS);
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
		monitor_give_up(m, h, r);
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
			monitor_drop(m, hand_at(n));
	}
}

bool monitor_drain(struct monitor *m)
{
	nsec until = clock_mono() + m->drain + MONITOR_GRACE;
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
		server_turn(m->all.server, MONITOR_LOOK_MS * MSEC);
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
		monitor_drop(m, hand_at(m->hands.next));
	fd_close(&m->all.spawner); /* and so it ends */
	if (m->spawner)
		end_spawner(m->spawner);
	mem_free(m->user);
	mem_free(m);
}
