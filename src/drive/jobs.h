/*
 * jobs.h - two bounded pools of threads for work that can block: one for jobs that say that they wait for others (job.waits),
 * one for the rest, which those do not hold up. A job never touches its session; its result comes back through the session's
 * loop, or is dropped when nobody is there any more.
 */
#pragma once
#include <stdatomic.h>

#include "base/list.h"
#include "core/proto.h"

struct inbox;
struct post;

/* One job on its way; in the list of its loop while it is outstanding. */
struct task {
	struct list in_loop, in_queue;
	struct job *job;
	struct post *post;    /* made before the job starts, so that its answer cannot fail */
	struct inbox *answer; /* NULL: it ran inline */
	struct task *next;    /* of those that ran inline */
	_Atomic int state;    /* TASK_* */
};

enum { TASK_QUEUED, TASK_RUNNING, TASK_CANCELLED };

enum { JOBS_WAIT = 4 }; /* threads for jobs that wait, for each of the others: they cost a stack and no processor */

struct jobs;

[[nodiscard]] int jobs_new(unsigned threads, struct jobs **ret); /* they start when they are needed */
void jobs_free(struct jobs **j);                                 /* waits for running ones, drops queued ones */
bool jobs_running(struct jobs *j);                               /* jobs_free() would have to wait */

/* Queues it and owns the job; on failure the job stays the caller's: -ENOMEM, or -EAGAIN when 65536 of its kind are queued. */
[[nodiscard]] int jobs_submit(struct jobs *j, struct job *job, struct inbox *to, struct task **ret);

/* The answer comes soon with -ECANCELED: at once when it had not started, else when it ends. */
void jobs_cancel(struct jobs *j, struct task *t);

/* Runs it here and now, for a loop without threads around it; only the answer is left to give. 0 or -ENOMEM: the job stays the caller's. */
[[nodiscard]] int jobs_run_inline(struct job *job, struct task **ret);

void task_drop(struct task **t); /* with its job; not in any list */
