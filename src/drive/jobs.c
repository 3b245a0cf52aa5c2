/* jobs.c - see jobs.h. */
#include "drive/jobs.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "base/mem.h"
#include "drive/inbox.h"

enum { QUEUE_MAX = 65536 };

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list queue;
	unsigned queued, idle, running, started, max; /* idle: about to look into the queue, or waiting for it */
	bool stop;
	pthread_t threads[];
};

/* Two that know nothing of each other: however many lookups hang, a password is hashed. */
struct jobs {
	struct pool *works, *waits;
};

static struct pool *pool_of(const struct jobs *j, const struct job *job)
{
	return job->waits ? j->waits : j->works;
}

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
	struct pool *p = arg;

	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		struct list *l = list_pop(&p->queue);

		if (!l) {
			pthread_cond_wait(&p->more, &p->lock);
			continue;
		}

		struct task *t = list_entry(l, struct task, in_queue);
		int queued = TASK_QUEUED;

		p->queued--;
		p->idle--;
		p->running++;
		pthread_mutex_unlock(&p->lock);
		if (atomic_compare_exchange_strong(&t->state, &queued, TASK_RUNNING))
			t->job->run(t->job);
		answer(t);
		pthread_mutex_lock(&p->lock);
		p->running--;
		p->idle++;
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int pool_new(unsigned threads, struct pool **ret)
{
	struct pool *p = mem_zalloc(sizeof(*p) + threads * sizeof(pthread_t));

	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	list_init(&p->queue);
	p->max = threads;
	*ret = p;
	return 0;
}

static void pool_stop(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->lock);
}

static void pool_free(struct pool *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->started; i++)
		pthread_join(p->threads[i], NULL);
	for (struct list *l; (l = list_pop(&p->queue));) {
		struct task *t = list_entry(l, struct task, in_queue);

		atomic_store(&t->state, TASK_CANCELLED);
		answer(t);
	}
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->lock);
	mem_free(p);
}

static bool pool_running(struct pool *p)
{
	bool some;

	pthread_mutex_lock(&p->lock);
	some = p->running > 0;
	pthread_mutex_unlock(&p->lock);
	return some;
}

int jobs_new(unsigned threads, struct jobs **ret)
{
	struct jobs *j = mem_zalloc(sizeof(*j));
	int r = j ? pool_new(threads, &j->works) : -ENOMEM;

	if (r == 0)
		r = pool_new(threads * JOBS_WAIT, &j->waits);
	if (r < 0)
		jobs_free(&j);
	else
		*ret = j;
	return r;
}

void jobs_free(struct jobs **jp)
{
	struct jobs *j = *jp;

	if (!j)
		return;
	pool_stop(j->works);
	pool_stop(j->waits); /* both, before one is waited for: nothing new is begun meanwhile */
	pool_free(j->works);
	pool_free(j->waits);
	mem_free(j);
	*jp = NULL;
}

bool jobs_running(struct jobs *j)
{
	return pool_running(j->works) || pool_running(j->waits);
}

/*
 * With the lock held, for one more job. Who is idle may be meant for those that are queued and not awake yet. A pool that
 * cannot grow works with the threads it has; with none the job fails.
 */
static int grow(struct pool *p)
{
	sigset_t all, old;

	if (p->idle > p->queued || p->started == p->max)
		return 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the main thread's */

	int r = pthread_create(&p->threads[p->started], NULL, worker, p);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0) {
		p->started++;
		p->idle++;
	}
	return p->started ? 0 : -r;
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
	struct pool *p = pool_of(j, job);
	struct task *t = task_new(job, to);
	int r;

	if (!t)
		return -ENOMEM;
	pthread_mutex_lock(&p->lock);
	r = p->queued >= QUEUE_MAX ? -EAGAIN : grow(p);
	if (r == 0) {
		*ret = t; /* before anybody can answer it */
		list_add(&p->queue, &t->in_queue);
		p->queued++;
		pthread_cond_signal(&p->more);
	}
	pthread_mutex_unlock(&p->lock);
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
	struct pool *p = pool_of(j, t->job);
	bool waiting;

	pthread_mutex_lock(&p->lock);
	waiting = list_in(&t->in_queue);
	if (waiting) {
		list_del(&t->in_queue);
		p->queued--;
	}
	atomic_store(&t->state, TASK_CANCELLED);
	pthread_mutex_unlock(&p->lock);
	if (waiting)
		answer(t);
}
