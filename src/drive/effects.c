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
	if (c && c->src.state == CONN_RESOLVING) {
		child_resolved(l, c, t->job);
	} else if (c) {
		sess_answer(&c->s, &ev, t->job->epoch);
		sess_mark(&c->s);
	}
	loop_effects(l);
	task_drop(&t);
}

/* ---- cancelling ---- */

static bool end_kid(struct loop *l, struct conn *c, uint32_t tag)
{
	struct kin *k = c->kin;

	if (!k)
		return false;
	for (struct list *n = k->kids.next; n != &k->kids; n = n->next) {
		struct kin *kid = list_entry(n, struct kin, sib);

		if (kid->tag == tag) {
			conn_end(l, kid->self, -ECANCELED);
			return true;
		}
	}
	return false;
}

static void end_tag(struct loop *l, struct fx *f)
{
	if (end_kid(l, conn_of(f->from), f->tag) || !l->setup.jobs)
		return;
	for (struct list *n = l->tasks.next; n != &l->tasks; n = n->next) {
		struct task *t = list_entry(n, struct task, in_loop);

		if (t->job->owner == f->from->id && t->job->tag == f->tag) {
			jobs_cancel(l->setup.jobs, t);
			return;
		}
	}
}

/* ---- letters ---- */

static void nobody(struct loop *l, struct letter_to *to)
{
	struct letter_to back = {
		.to = to->l.from,
		.l = { .from = to->to, .tag = to->l.tag },
		.flags = LETTER_GONE,
		.epoch = to->epoch,
	};

	mail_drop(to->l.mail);
	if (!(to->flags & POST_REPLY))
		return;
	if ((unsigned)(back.to >> 48) == l->index)
		loop_letter(l, &back);
	else
		loop_send(l, &back);
}

void loop_letter(struct loop *l, struct letter_to *to)
{
	struct conn *c = loop_find_conn(l, to->to);

	if (to->flags & LETTER_GONE) {
		if (c) {
			sess_answer(&c->s, &(struct ev){ .kind = EV_GONE, .tag = to->l.tag, .err = -ESRCH }, to->epoch);
			sess_mark(&c->s);
		}
		return;
	}
	if (!c || c->src.state != CONN_SERVING) {
		nobody(l, to);
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
		.flags = f->flags & POST_REPLY,
		.epoch = f->epoch,
	};

	if ((unsigned)(to.to >> 48) == l->index)
		loop_letter(l, &to);
	else
		loop_send(l, &to);
}

/* ---- all of them ---- */

/* An effect of a session that ended meanwhile: only its letters still count. */
static void discard(struct fx *f)
{
	if (f->kind == FX_JOB)
		f->job->drop(f->job);
	if (f->kind == FX_CHILD)
		fx_child_free(&f->child);
}

void loop_effects(struct loop *l)
{
	struct host *h = &l->host;

	for (size_t i = 0; i < h->fx_n; i++) {
		struct fx f = h->fx[i]; /* acting on it may append others, and move them */
		bool dead = conn_of(f.from)->src.state == CONN_DEAD;

		if (f.kind == FX_POST)
			post_letter(l, &f);
		else if (dead)
			discard(&f);
		else if (f.kind == FX_JOB)
			start_job(l, &f);
		else if (f.kind == FX_CHILD)
			child_start(l, f.from, &f);
		else
			end_tag(l, &f);
	}
	h->fx_n = 0;
}
