/* test_jobs.c - posts from several threads, jobs and their answers, and what is left when a loop has ended. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drive/inbox.h"
#include "drive/jobs.h"

enum { THREADS = 3, EACH = 2000 };

static _Atomic unsigned dropped;

struct note {
	struct mail mail;
	unsigned thread, n;
};

static void drop_note(struct mail *m)
{
	atomic_fetch_add(&dropped, 1);
	mem_free(m);
}

struct sender {
	struct inbox *to;
	unsigned thread;
};

static void *send_all(void *arg)
{
	const struct sender *s = arg;

	for (unsigned i = 0; i < EACH; i++) {
		struct post *p = post_letters(1);
		struct note *n = mem_zalloc(sizeof(*n));

		*n = (struct note){ .mail.drop = drop_note, .thread = s->thread, .n = i };
		p->v[0] = (struct letter_to){ .to = 1, .l.mail = &n->mail };
		p->letters.n = 1;
		inbox_push(s->to, p);
	}
	return NULL;
}

/* Each sender's letters arrive all, in its own order; the reader sleeps in between and misses no wake-up. */
static void test_many_senders(void **state)
{
	(void)state;
	struct inbox *b;
	pthread_t t[THREADS];
	struct sender s[THREADS];
	unsigned next[THREADS] = {}, got = 0;

	assert_int_equal(inbox_new(&b), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		s[i] = (struct sender){ b, i };
		assert_int_equal(pthread_create(&t[i], NULL, send_all, &s[i]), 0);
	}
	while (got < THREADS * EACH) {
		if (inbox_sleep(b)) {
			uint64_t n;

			while (read(inbox_fd(b), &n, sizeof(n)) < 0 && got < THREADS * EACH) /* as poll would wait */
				usleep(100);
		}
		inbox_awake(b, false);
		for (struct post *p = inbox_take(b), *later; p; p = later) {
			struct note *n = (struct note *)p->v[0].l.mail;

			later = p->next;
			assert_int_equal(n->n, next[n->thread]++);
			got++;
			post_drop(p);
		}
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(atomic_load(&dropped), THREADS * EACH);
	inbox_unref(b);
}

static void test_directory(void **state)
{
	(void)state;
	struct inbox *a, *b, *found;
	unsigned ia, ib;

	atomic_store(&dropped, 0);
	assert_int_equal(inbox_new(&a), 0);
	assert_int_equal(inbox_new(&b), 0);
	assert_int_equal(inbox_open(a, &ia), 0);
	assert_int_equal(inbox_open(b, &ib), 0);
	assert_int_not_equal(ia, ib);
	assert_int_not_equal(ia, 0);
	found = inbox_find(ib);
	assert_ptr_equal(found, b);
	inbox_close(b, ib);
	assert_null(inbox_find(ib));
	send_all(&(struct sender){ found, 0 }); /* too late: dropped, not kept */
	assert_int_equal(atomic_load(&dropped), EACH);
	inbox_unref(found);
	inbox_unref(b);
	send_all(&(struct sender){ a, 0 });
	inbox_close(a, ia); /* unread ones go with it */
	assert_int_equal(atomic_load(&dropped), 2 * EACH);
	inbox_unref(a);
}

struct sum {
	struct job job;
	_Atomic bool *gate;
	unsigned n;
};

static _Atomic unsigned ran, jobs_dropped;

static void run_sum(struct job *j)
{
	struct sum *s = (struct sum *)j;

	while (s->gate && !atomic_load(s->gate))
		usleep(1000);
	s->n *= 2;
	atomic_fetch_add(&ran, 1);
}

static void drop_sum(struct job *j)
{
	atomic_fetch_add(&jobs_dropped, 1);
	mem_free(j);
}

static struct sum *new_sum(unsigned n, _Atomic bool *gate)
{
	struct sum *s = mem_zalloc(sizeof(*s));

	assert_non_null(s);
	*s = (struct sum){ .job = { .run = run_sum, .drop = drop_sum }, .gate = gate, .n = n };
	return s;
}

static struct job *new_waiting(_Atomic bool *gate)
{
	struct sum *s = new_sum(1, gate);

	s->job.waits = true;
	return &s->job;
}

enum { LOOKS = 60000 }; /* half a minute: what has not come then never will */

static void until_running(struct task *const *t, unsigned n)
{
	unsigned looks = 0;

	for (unsigned i = 0; i < n; i++)
		for (; atomic_load(&t[i]->state) == TASK_QUEUED; usleep(500))
			assert_true(looks++ < LOOKS);
}

/* Takes answers until n came; returns how many of them were cancelled. */
static unsigned collect(struct inbox *b, unsigned n)
{
	unsigned cancelled = 0;

	for (unsigned looks = 0; n > 0; looks++) {
		assert_true(looks < LOOKS);
		for (struct post *p = inbox_take(b), *later; p; p = later) {
			later = p->next;
			assert_int_equal(p->kind, POST_TASK);
			cancelled += atomic_load(&p->task->state) == TASK_CANCELLED;
			post_drop(p);
			n--;
		}
		usleep(500);
	}
	return cancelled;
}

static void test_jobs(void **state)
{
	(void)state;
	struct jobs *j;
	struct inbox *b;
	struct task *t[200];

	atomic_store(&ran, 0);
	atomic_store(&jobs_dropped, 0);
	assert_int_equal(jobs_new(3, &j), 0);
	assert_int_equal(inbox_new(&b), 0);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(jobs_submit(j, &new_sum(i, NULL)->job, b, &t[i]), 0);
	assert_int_equal(collect(b, 200), 0);
	assert_int_equal(atomic_load(&ran), 200);
	assert_int_equal(atomic_load(&jobs_dropped), 200);
	jobs_free(&j);
	assert_null(j);
	inbox_unref(b);
}

/* One that runs is answered as cancelled when it ends, one that waits at once, and never runs. */
static void test_cancel(void **state)
{
	(void)state;
	_Atomic bool gate = false;
	struct jobs *j;
	struct inbox *b;
	struct task *running, *waiting;

	atomic_store(&ran, 0);
	assert_int_equal(jobs_new(1, &j), 0);
	assert_int_equal(inbox_new(&b), 0);
	assert_int_equal(jobs_submit(j, &new_sum(1, &gate)->job, b, &running), 0);
	until_running(&running, 1);
	assert_int_equal(jobs_submit(j, &new_sum(2, NULL)->job, b, &waiting), 0);
	jobs_cancel(j, waiting);
	assert_int_equal(collect(b, 1), 1);
	jobs_cancel(j, running);
	atomic_store(&gate, true);
	assert_int_equal(collect(b, 1), 1);
	assert_int_equal(atomic_load(&ran), 1);
	jobs_free(&j);
	inbox_unref(b);
}

/* Jobs that come at once, each with a thread of its own while there are some, also when one was idle before. */
static void test_grow(void **state)
{
	(void)state;
	enum { POOL = 3 };
	_Atomic bool gate = false;
	struct jobs *j;
	struct inbox *b;
	struct task *t[POOL + 1];

	assert_int_equal(jobs_new(POOL, &j), 0);
	assert_int_equal(inbox_new(&b), 0);
	assert_int_equal(jobs_submit(j, &new_sum(1, NULL)->job, b, &t[0]), 0);
	collect(b, 1);
	while (jobs_running(j)) /* its thread is idle then */
		usleep(500);
	for (unsigned i = 0; i <= POOL; i++)
		assert_int_equal(jobs_submit(j, &new_sum(i, &gate)->job, b, &t[i]), 0);
	until_running(t, POOL);
	assert_int_equal(atomic_load(&t[POOL]->state), TASK_QUEUED); /* there are no more */
	atomic_store(&gate, true);
	assert_int_equal(collect(b, POOL + 1), 0);
	jobs_free(&j);
	inbox_unref(b);
}

/* Jobs that wait, more than there are threads, hold up no others, and others do not hold up them. */
static void test_waits(void **state)
{
	(void)state;
	enum { POOL = 2, WAITING = POOL * JOBS_WAIT };
	static _Atomic bool gate, other_gate; /* static: threads look at them when this test has failed */
	struct jobs *j;
	struct inbox *b;
	struct task *hangs[WAITING + 2], *works[POOL];

	atomic_store(&ran, 0);
	assert_int_equal(jobs_new(POOL, &j), 0);
	assert_int_equal(inbox_new(&b), 0);
	for (unsigned i = 0; i < WAITING + 2; i++)
		assert_int_equal(jobs_submit(j, new_waiting(&gate), b, &hangs[i]), 0);
	until_running(hangs, WAITING);
	for (unsigned i = 0; i < POOL; i++)
		assert_int_equal(jobs_submit(j, &new_sum(1, NULL)->job, b, &works[i]), 0);
	assert_int_equal(collect(b, POOL), 0);
	assert_int_equal(atomic_load(&hangs[WAITING]->state), TASK_QUEUED); /* they have no more than their own */
	assert_true(jobs_running(j));
	jobs_cancel(j, hangs[WAITING + 1]);
	assert_int_equal(collect(b, 1), 1);

	for (unsigned i = 0; i < POOL; i++)
		assert_int_equal(jobs_submit(j, &new_sum(1, &other_gate)->job, b, &works[i]), 0);
	until_running(works, POOL);
	atomic_store(&gate, true);
	assert_int_equal(collect(b, WAITING + 1), 0);
	assert_int_equal(atomic_load(&ran), POOL + WAITING + 1);
	atomic_store(&other_gate, true);
	assert_int_equal(collect(b, POOL), 0);
	jobs_free(&j);
	inbox_unref(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_senders), cmocka_unit_test(test_directory), cmocka_unit_test(test_jobs),
		cmocka_unit_test(test_cancel),       cmocka_unit_test(test_grow),      cmocka_unit_test(test_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
