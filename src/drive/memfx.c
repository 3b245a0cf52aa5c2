/*
 * memfx.c - what steps asked for, acted on when they are over: jobs, letters, children, ends. In the order of effects.c; there are no
 * threads, a job runs in the next turn or when the test says so.
 */
#include <errno.h>

#include "base/mem.h"
#include "drive/gate.h"
#include "drive/mem_priv.h"

/* ---- jobs ---- */

static void job_done(struct memdrive *w, struct job *j, int err)
{
	struct memsess *ms = ids_find(&w->ids, j->owner);
	struct ev ev = { .kind = EV_DONE, .tag = j->tag, .err = err, .job = j };

	j->err = err;
	if (ms) {
		sess_answer(&ms->s, &ev, j->epoch);
		sess_mark(&ms->s);
	}
	mem_effects(w);
	j->drop(j);
}

static struct job *job_pop(struct memdrive *w)
{
	struct job *j = w->jobs;

	if (!j)
		return NULL;
	w->jobs = j->next;
	if (!w->jobs)
		w->jobs_end = &w->jobs;
	w->jobs_n--;
	return j;
}

void mem_run_jobs(struct memdrive *w, size_t n)
{
	for (struct job *j; n > 0 && (j = job_pop(w)); n--) {
		j->run(j);
		job_done(w, j, j->err);
	}
}

/* Takes a job that waits out of the queue; its answer comes with the next turn. */
static void job_cancel(struct memdrive *w, struct job **at)
{
	struct job *j = *at;

	*at = j->next;
	if (!j->next)
		w->jobs_end = at;
	w->jobs_n--;
	j->next = w->cancelled;
	w->cancelled = j;
}

void mem_answer_cancelled(struct memdrive *w)
{
	while (w->cancelled) {
		struct job *j = w->cancelled;

		w->cancelled = j->next;
		job_done(w, j, -ECANCELED);
	}
}

void mem_drop_jobs(struct memdrive *w)
{
	mem_answer_cancelled(w);
	for (struct job *j; (j = job_pop(w));)
		j->drop(j);
}

void memdrive_hold_jobs(struct memdrive *w, bool on)
{
	w->hold_jobs = on;
	mem_rest(w);
}

size_t memdrive_jobs(const struct memdrive *w)
{
	return w->jobs_n;
}

size_t memdrive_run_jobs(struct memdrive *w, size_t n)
{
	n = n < w->jobs_n ? n : w->jobs_n;
	mem_run_jobs(w, n);
	mem_rest(w);
	return n;
}

/* ---- letters ---- */

static void nobody(struct memdrive *w, sess_id from, uint32_t tag, uint32_t epoch)
{
	struct memsess *ms = ids_find(&w->ids, from);

	if (!ms)
		return;
	sess_answer(&ms->s, &(struct ev){ .kind = EV_GONE, .tag = tag, .err = -ESRCH }, epoch);
	sess_mark(&ms->s);
}

static void letter(struct memdrive *w, sess_id to, const struct letter *l)
{
	struct memsess *ms = ids_find(&w->ids, to);

	if (ms && ms->state == MS_SERVING && !sess_aborted(&ms->s)) {
		if (sess_letter(&ms->s, l) == 0) {
			sess_mark(&ms->s);
			return;
		}
		sess_abort(&ms->s, "out-of-memory", STAT_MEMORY);
	}
	mail_drop(l->mail);
	if (l->reply)
		nobody(w, l->from, l->tag, l->reply - 1);
}

static void post_letter(struct memdrive *w, const struct fx *f)
{
	struct letter l = { .from = f->from->id, .tag = f->tag, .mail = f->post.mail };

	if (f->flags & POST_REPLY)
		l.reply = f->epoch + 1;
	letter(w, f->post.to, &l);
}

void memdrive_post(struct memdrive *w, sess_id from, sess_id to, uint32_t tag, struct mail *mail)
{
	letter(w, to, &(struct letter){ .from = from, .tag = tag, .mail = mail });
	mem_rest(w);
}

void memdrive_shard_post(struct memdrive *w, uint32_t tag, struct mail *mail)
{
	memdrive_post(w, 0, w->lane.shard_id, tag, mail);
}

static void keep_away(struct memdrive *w, unsigned loop, uint32_t tag, struct mail *mail)
{
	if (w->away_n == w->away_cap) {
		size_t cap = 2 * w->away_cap + 16;
		struct mem_away *v = mem_realloc(w->away, cap * sizeof(*v));

		if (!v) {
			mail_drop(mail);
			return;
		}
		w->away = v;
		w->away_cap = cap;
	}
	w->away[w->away_n++] = (struct mem_away){ loop, tag, mail };
}

int memdrive_away(struct memdrive *w, struct mem_away *ret)
{
	if (w->away_n == 0)
		return 0;
	*ret = w->away[0];
	w->away_n--;
	memmove(w->away, w->away + 1, w->away_n * sizeof(w->away[0]));
	return 1;
}

/* May be called inside a step: it only puts the letter into a mailbox. */
static void port_to(struct port *p, unsigned loop, uint32_t tag, struct mail *mail)
{
	struct memdrive *w = list_entry(p, struct memdrive, port);

	if (loop == 0)
		letter(w, w->lane.shard_id, &(struct letter){ .tag = tag, .mail = mail });
	else
		keep_away(w, loop, tag, mail);
}

static unsigned port_at(const struct port *p, const struct io *io)
{
	(void)p;
	return id_loop(io->self);
}

void mem_port_init(struct port *p, unsigned loops)
{
	*p = (struct port){ .loops = loops, .post = port_to, .here = port_at };
}

/* ---- effects ---- */

/* Ends the kids with this tag, or of another epoch than this one. True: there was one. */
static bool end_kids(const struct fx *f)
{
	struct memsess *ms = memsess_of(f->from);
	bool some = false;

	for (struct list *n = ms->kids.next, *next; n != &ms->kids; n = next) {
		struct memsess *kid = list_entry(n, struct memsess, sib);

		next = n->next;
		if (f->kind == FX_END ? kid->tag != f->tag : kid->epoch == f->epoch)
			continue;
		mem_over(kid, -ECANCELED, MEM_ABORTED);
		some = true;
		next = ms->kids.next; /* the list is another now */
	}
	return some;
}

static void end_jobs(struct memdrive *w, const struct fx *f)
{
	for (struct job **at = &w->jobs; *at;) {
		bool end = f->kind == FX_END ? (*at)->tag == f->tag : (*at)->epoch != f->epoch;

		if (end && (*at)->owner == f->from->id)
			job_cancel(w, at);
		else
			at = &(*at)->next;
	}
}

static void end_asked(struct memdrive *w, const struct fx *f)
{
	if (end_kids(f) && f->kind == FX_END)
		return;
	if (f->kind == FX_END && sess_end_intake(f->from, f->tag))
		return;
	end_jobs(w, f);
}

static void add_job(struct memdrive *w, struct job *j)
{
	j->next = NULL;
	*w->jobs_end = j;
	w->jobs_end = &j->next;
	w->jobs_n++;
}

/* Real files, below the root that the test has opened; what would need no job in a loop is one here. */
static void add_file(struct memdrive *w, struct job *j)
{
	j->run = gate_run;
	add_job(w, j);
}

static void one_effect(struct memdrive *w, struct fx *f)
{
	if (f->kind == FX_POST) {
		post_letter(w, f);
		return;
	}
	if (f->kind == FX_NOBODY) {
		nobody(w, f->post.to, f->tag, f->epoch);
		return;
	}
	if (memsess_of(f->from)->state == MS_DEAD || fx_is_stale(f))
		fx_drop(f);
	else if (f->kind == FX_JOB)
		add_job(w, f->job);
	else if (f->kind == FX_FILE)
		add_file(w, f->job);
	else if (f->kind == FX_CHILD)
		mem_child_start(w, f);
	else
		end_asked(w, f);
}

void mem_effects(struct memdrive *w)
{
	struct host *h = &w->host;

	for (size_t i = 0; i < h->fx_n; i++) {
		struct fx f = h->fx[i]; /* acting on it may append others, and move them */

		one_effect(w, &f);
	}
	h->fx_n = 0;
}
