/* effects.c - what the steps of this turn asked for, in order: jobs, children, posts, cancellations. */
#include <errno.h>

#include "drive/loop_priv.h"

enum { ANSWERS = 256 }; /* files in a turn that take no job */

/* ---- jobs ---- */

/* Now, and it is over. */
static void answer_job(struct fx *f, int err)
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
		if (r == 0)
			loop_ran(l, t);
	} else {
		r = jobs_submit(l->setup.jobs, f->job, l->inbox, &t);
	}
	if (r < 0)
		answer_job(f, r);
	else
		list_add(&l->tasks, &t->in_loop);
}

/* Private loops have one connection, and keep no files for others. */
static struct gate_cache *cache_of(struct loop *l)
{
	const struct loop_tuning *t = &l->setup.tuning;
	struct gate_limits limits = { t->file_cache, t->file_cache_size };

	if (!l->files && l->inbox && limits.files && gate_cache_new(&limits, &l->files) < 0)
		return NULL; /* perhaps the next time */
	return limits.files ? l->files : NULL;
}

/* What the kernel has in memory is answered at once, in turns of some; the rest is a job. */
static void start_file(struct loop *l, struct fx *f)
{
	struct file_op *op = file_op_of(f->job);

	f->job->run = gate_run;
	op->shared = l->inbox;
	if (l->answered < ANSWERS && gate_now(cache_of(l), op, f->from->lane, l->host.now, l->host.wall)) {
		l->answered++;
		answer_job(f, f->job->err);
	} else {
		start_job(l, f);
	}
}

void loop_task_done(struct loop *l, struct task *t)
{
	struct conn *c = loop_find_conn(l, t->job->owner);
	struct ev ev = { .kind = EV_DONE, .tag = t->job->tag, .err = t->job->err, .job = t->job };

	list_del(&t->in_loop);
	if (t->job->run == gate_run)
		gate_learn(l->files, file_op_of(t->job), l->host.now, l->host.wall);
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
		if (t->job->owner != f->from->id)
			continue;
		if (f->kind == FX_END ? t->job->tag != f->tag : t->job->epoch == f->epoch)
			continue;
		if (t->answer)
			jobs_cancel(l->setup.jobs, t);
		else
			atomic_store(&t->state, TASK_CANCELLED); /* it ran inline, and its answer is yet to be given */
	}
}

static void end_asked(struct loop *l, const struct fx *f)
{
	if (end_kids(l, conn_of(f->from), f) && f->kind == FX_END)
		return;
	if (f->kind == FX_END && sess_end_intake(f->from, f->tag))
		return;
	end_tasks(l, f);
}

/* ---- letters ---- */

bool loop_letter(struct loop *l, struct letter_to *to)
{
	struct conn *c = loop_find_conn(l, to->to);

	l->letters++;
	if (to->flags & LETTER_GONE) {
		if (c) {
			sess_answer(&c->s, &(struct ev){ .kind = EV_GONE, .tag = to->l.tag, .err = -ESRCH },
				    to->l.reply - 1);
			sess_mark(&c->s);
		}
		return true;
	}
	if (!c || c->state != CONN_SERVING || sess_aborted(&c->s))
		return false;
	if (sess_letter(&c->s, &to->l) < 0) {
		sess_abort(&c->s, "out-of-memory", STAT_MEMORY);
		return false;
	}
	sess_mark(&c->s);
	return true;
}

static bool deliver(struct loop *l, struct letter_to *to)
{
	return id_loop(to->to) == l->ids.loop ? loop_letter(l, to) : loop_send(l, to);
}

/* A letter was taken by a session that ended before its step: for its sender the same as finding nobody. */
static void nobody(struct loop *l, const struct fx *f)
{
	struct letter_to back = { f->post.to, { .tag = f->tag, .reply = 1 + f->epoch }, LETTER_GONE };

	(void)deliver(l, &back);
}

/* What cannot be sent comes back at once; so does a question to another loop from one that no answer would reach. */
static void post_letter(struct loop *l, const struct fx *f)
{
	struct letter_to to = {
		.to = f->post.to,
		.l = { .from = f->from->id, .tag = f->tag, .mail = f->post.mail },
	};
	bool deaf = !l->inbox && f->flags & POST_REPLY && id_loop(to.to) != l->ids.loop;

	if (f->flags & POST_REPLY)
		to.l.reply = 1 + f->epoch;
	if ((deaf || !deliver(l, &to)) && letter_refuse(&to))
		(void)deliver(l, &to);
}

/* ---- all of them ---- */

static void act(struct loop *l, struct fx *f)
{
	if (f->kind == FX_POST)
		post_letter(l, f);
	else if (f->kind == FX_NOBODY)
		nobody(l, f);
	else if (conn_of(f->from)->state == CONN_DEAD || fx_is_stale(f))
		fx_drop(f);
	else if (f->kind == FX_JOB)
		start_job(l, f);
	else if (f->kind == FX_FILE)
		start_file(l, f);
	else if (f->kind == FX_CHILD)
		child_start(l, f->from, f);
	else
		end_asked(l, f);
}

void loop_effects(struct loop *l)
{
	struct host *h = &l->host;

	if (!h->fx_n || l->acting)
		return; /* acting: an effect ended the last session of a service, and so its shard */
	l->acting = true;
	for (size_t i = 0; i < h->fx_n; i++) {
		struct fx f = h->fx[i]; /* acting on it may append others, and move them */

		act(l, &f);
	}
	h->fx_n = 0;
	l->acting = false;
}
