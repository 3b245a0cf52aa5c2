/* effects.c - what the steps of this turn asked for, in order: jobs, children, posts, cancellations. */
#include <errno.h>

#include "base/mem.h"
#include "drive/loop_priv.h"

enum { LETTER_GONE = 1u << 31 }; /* a POST_REPLY that found nobody, on its way back */

/* ---- jobs ---- */

static void job_failed(struct fx *f, int err)
{
	struct ev ev = { .kind = EV_DONE, .tag = f->tag, .err = err, .job = f->job };

	f->job->err = err;
	sess_answer(f->from, &ev, f->epoch);
	sess_mark(f->from);
	f->job->drop(f->job);
}

static void start_job(struct loop *l, struct fx *f)
{
	struct task *t;
	int r;

	if (!l->setup.jobs || !l->inbox) {
		r = jobs_run_inline(f->job, &t);
		if (r == 0) {
			t->next = l->done;
			l->done = t;
		}
	} else {
		r = jobs_submit(l->setup.jobs, f->job, l->inbox, &t);
	}
	if (r < 0)
		job_failed(f, r);
	else
		list_add(&l->tasks, &t->in_loop);
}

void loop_task_done(struct loop *l, struct task *t)
{
	struct conn *c = loop_find_conn(l, t->job->owner);
	struct ev ev = { .kind = EV_DONE, .tag = t->job->tag, .err = t->job->err, .job = t->job };

	list_del(&t->in_loop);
	if (atomic_load(&t->state) == TASK_CANCELLED)
		ev.err = t->job->err = -ECANCELED;
	if (c && c->state == CONN_RESOLVING) {
		child_resolved(l, c, t->job);
	} else if (c) {
		sess_answer(&c->s, &ev, t->job->epoch);
		sess_mark(&c->s);
	}
	loop_effects(l);
	task_drop(&t);
}

/* ---- cancelling ---- */

/* Ends the kids with this tag, or of another epoch than this one (tag 0 is no tag then). True: there was one. */
static bool end_kids(struct loop *l, struct conn *c, const struct fx *f)
{
	bool some = false;

	for (bool again = c->kin != NULL; again;) {
		again = false;
		for (struct list *n = c->kin->kids.next; n != &c->kin->kids; n = n->next) {
			struct kin *kid = list_entry(n, struct kin, sib);

			if (f->kind == FX_END ? kid->tag != f->tag : kid->epoch == f->epoch)
				continue;
			conn_end(l, kid->self, -ECANCELED);
			some = again = true; /* the list is another now */
			break;
		}
	}
	return some;
}

static void end_tasks(struct loop *l, const struct fx *f)
{
	struct list *next;

	for (struct list *n = l->tasks.next; n != &l->tasks; n = next) {
		struct task *t = list_entry(n, struct task, in_loop);

		next = n->next;
		if (t->job->owner != f->from->id || !l->setup.jobs)
			continue;
		if (f->kind == FX_END ? t->job->tag == f->tag : t->job->epoch != f->epoch)
			jobs_cancel(l->setup.jobs, t);
	}
}

static void end_asked(struct loop *l, const struct fx *f)
{
	if (!end_kids(l, conn_of(f->from), f) || f->kind == FX_END_OLD)
		end_tasks(l, f);
}

/* ---- letters ---- */

/* Tells a sender that its letter found nobody. */
static void nobody(struct loop *l, sess_id sender, uint32_t tag, uint32_t epoch)
{
	struct letter_to back = { .to = sender, .l = { .tag = tag, .reply = 1 + epoch }, .flags = LETTER_GONE };

	if (id_loop(sender) == l->ids.loop)
		loop_letter(l, &back);
	else
		loop_send(l, &back);
}

void loop_letter(struct loop *l, struct letter_to *to)
{
	struct conn *c = loop_find_conn(l, to->to);

	l->letters++;
	if (to->flags & LETTER_GONE) {
		if (c) {
			sess_answer(&c->s, &(struct ev){ .kind = EV_GONE, .tag = to->l.tag, .err = -ESRCH },
				    to->l.reply - 1);
			sess_mark(&c->s);
		}
		return;
	}
	if (!c || c->state != CONN_SERVING || sess_aborted(&c->s)) {
		mail_drop(to->l.mail);
		if (to->l.reply)
			nobody(l, to->l.from, to->l.tag, to->l.reply - 1);
		return;
	}
	if (sess_letter(&c->s, &to->l) < 0) {
		mail_drop(to->l.mail);
		sess_abort(&c->s, "out-of-memory", STAT_MEMORY);
		return;
	}
	sess_mark(&c->s);
}

static void post_letter(struct loop *l, const struct fx *f)
{
	struct letter_to to = {
		.to = f->post.to,
		.l = { .from = f->from->id, .tag = f->tag, .mail = f->post.mail },
	};

	if (f->flags & POST_REPLY)
		to.l.reply = 1 + f->epoch;
	if (id_loop(to.to) == l->ids.loop)
		loop_letter(l, &to);
	else
		loop_send(l, &to);
}

/* ---- all of them ---- */

static void act(struct loop *l, struct fx *f)
{
	if (f->kind == FX_POST)
		post_letter(l, f);
	else if (f->kind == FX_NOBODY)
		nobody(l, f->post.to, f->tag, f->epoch);
	else if (conn_of(f->from)->state == CONN_DEAD || fx_is_stale(f))
		fx_drop(f);
	else if (f->kind == FX_JOB)
		start_job(l, f);
	else if (f->kind == FX_CHILD)
		child_start(l, f->from, f);
	else
		end_asked(l, f);
}

void loop_effects(struct loop *l)
{
	struct host *h = &l->host;

	if (l->acting)
		return; /* an effect ended the last session of a service, and so its shard */
	l->acting = true;
	for (size_t i = 0; i < h->fx_n; i++) {
		struct fx f = h->fx[i]; /* acting on it may append others, and move them */

		act(l, &f);
	}
	h->fx_n = 0;
	l->acting = false;
}
