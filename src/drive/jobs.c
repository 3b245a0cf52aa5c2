/* jobs.c - see jobs.h. */
#include "drive/jobs.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "base/mem.h"
#include "drive/inbox.h"

enum { QUEUE_MAX = 65536 };

struct jobs {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list queue;
	unsigned queued, idle, running, started, max; /* idle: about to look into the queue, or waiting for it */
	bool stop;
	pthread_t threads[];
};

void task_drop(struct task **t)
{
	if (!*t)
		return;
	if ((*t)->job)
		(*t)->job->drop((*t)->job);
	inbox_unref((*t)->answer);
	mem_free(*t);
	*t = NULL;
}

static void answer(struct task *t)
{
	struct post *p = t->post;
	struct inbox *to = inbox_ref(t->answer); /* the task may be gone before push returns */

	t->post = NULL;
	inbox_push(to, p);
	inbox_unref(to);
}

static void *worker(void *arg)
{
	struct jobs *j = arg;

	pthread_mutex_lock(&j->lock);
	while (!j->stop) {
		struct list *l = list_pop(&j->queue);

		if (!l) {
			pthread_cond_wait(&j->more, &j->lock);
			continue;
		}

		struct task *t = list_entry(l, struct task, in_queue);
		int queued = TASK_QUEUED;

		j->queued--;
		j->idle--;
		j->running++;
		pthread_mutex_unlock(&j->lock);
		if (atomic_compare_exchange_strong(&t->state, &queued, TASK_RUNNING))
			t->job->run(t->job);
		answer(t);
		pthread_mutex_lock(&j->lock);
		j->running--;
		j->idle++;
	}
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

int jobs_new(unsigned threads, struct jobs **ret)
{
	struct jobs *j = mem_zalloc(sizeof(*j) + threads * sizeof(pthread_t));

	if (!j)
		return -ENOMEM;
	pthread_mutex_init(&j->lock, NULL);
	pthread_cond_init(&j->more, NULL);
	list_init(&j->queue);
	j->max = threads;
	*ret = j;
	return 0;
}

void jobs_free(struct jobs **jp)
{
	struct jobs *j = *jp;

	if (!j)
		return;
	pthread_mutex_lock(&j->lock);
	j->stop = true;
	pthread_cond_broadcast(&j->more);
	pthread_mutex_unlock(&j->lock);
	for (unsigned i = 0; i < j->started; i++)
		pthread_join(j->threads[i], NULL);
	for (struct list *l; (l = list_pop(&j->queue));) {
		struct task *t = list_entry(l, struct task, in_queue);

		atomic_store(&t->state, TASK_CANCELLED);
		answer(t);
	}
	pthread_cond_destroy(&j->more);
	pthread_mutex_destroy(&j->lock);
	mem_free(j);
	*jp = NULL;
}

bool jobs_running(struct jobs *j)
{
	bool some;

	pthread_mutex_lock(&j->lock);
	some = j->running > 0;
	pthread_mutex_unlock(&j->lock);
	return some;
}

/*
 * With the lock held, for one more job. Who is idle may be meant for those that are queued and not awake yet. A pool that
 * cannot grow works with the threads it has; with none the job fails.
 */
static int grow(struct jobs *j)
{
	sigset_t all, old;

	if (j->idle > j->queued || j->started == j->max)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the main thread's */

	int r = pthread_create(&j->threads[j->started], NULL, worker, j);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0) {
		j->started++;
		j->idle++;
	}
	return j->started ? 0 : -r;
}

static struct task *task_new(struct job *job, struct inbox *to)
{
	struct task *t = mem_zalloc(sizeof(*t));
	struct post *p = t ? mem_zalloc(sizeof(*p)) : NULL;

	if (!p) {
		mem_free(t);
		return NULL;
	}
	list_init(&t->in_loop);
	list_init(&t->in_queue);
	t->job = job;
	t->answer = inbox_ref(to);
	p->kind = POST_TASK;
	p->task = t;
	t->post = p;
	return t;
}

int jobs_submit(struct jobs *j, struct job *job, struct inbox *to, struct task **ret)
{
	struct task *t = task_new(job, to);
	int r;

	if (!t)
		return -ENOMEM;
	pthread_mutex_lock(&j->lock);
	r = j->queued >= QUEUE_MAX ? -EAGAIN : grow(j);
	if (r == 0) {
		*ret = t; /* before anybody can answer it */
		list_add(&j->queue, &t->in_queue);
		j->queued++;
		pthread_cond_signal(&j->more);
	}
	pthread_mutex_unlock(&j->lock);
	if (r < 0) {
		mem_free(t->post);
		t->job = NULL;
		task_drop(&t);
	}
	return r;
}

int jobs_run_inline(struct job *job, struct task **ret)
{
	struct task *t = mem_zalloc(sizeof(*t));

	if (!t)
		return -ENOMEM;
	list_init(&t->in_loop);
	list_init(&t->in_queue);
	t->job = job;
	job->run(job);
	*ret = t;
	return 0;
}

void jobs_cancel(struct jobs *j, struct task *t)
{
	bool waiting;

	pthread_mutex_lock(&j->lock);
	waiting = list_in(&t->in_queue);
	if (waiting) {
		list_del(&t->in_queue);
		j->queued--;
	}
	atomic_store(&t->state, TASK_CANCELLED);
	pthread_mutex_unlock(&j->lock);
	if (waiting)
		answer(t);
}
