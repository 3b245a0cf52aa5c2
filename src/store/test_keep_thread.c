/* test_keep_thread.c - several threads submit at once, wait for what they submitted, and all of it is there. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/keeper.h"

enum { THREADS = 4, ROUNDS = 150, EACH = 5 };

struct writer {
	struct keeper *t;
	uint64_t session;
	pthread_t thread;
	bool lazy;
};

static void await(struct keeper *t, uint64_t position)
{
	pthread_mutex_lock(&t->lock);
	while (t->committed < position)
		pthread_cond_wait(&t->changed, &t->lock);
	pthread_mutex_unlock(&t->lock);
}

/* Everything that it puts it takes away again, but for the last of each round. */
static void *run(void *arg)
{
	struct writer *w = arg;
	struct keep_message m = { .topic = span_str("t"), .payload = span_str("p"), .qos = 1 };
	struct keep_waiter waiter = { .session = w->session, .qos = 1 };
	struct keep_batch b = {};
	uint64_t last = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		for (unsigned j = 0; j < EACH; j++) {
			uint64_t id = keep_new_id(w->t->k), position;
			int r = keep_put_message(&b, id, &m, &waiter, 1);

			if (r == 0 && j)
				r = keep_done(&b, last, w->session);
			if (r < 0)
				abort();
			last = id;
			position = keep_submit(w->t->k, &b);
			if (w->lazy ? position != 0 : position == 0 || position == UINT64_MAX)
				abort();
			if (j == EACH - 1 && !w->lazy)
				await(w->t, position);
		}
		(void)keep_full(w->t->k);
	}
	keep_batch_done(&b);
	return NULL;
}

static void write_at_once(bool lazy)
{
	struct writer w[THREADS];
	struct keep_counts counts;
	struct keep_record r;
	unsigned messages = 0;
	struct keeper t;

	keeper_init(&t);
	t.setup.lazy = lazy;
	keeper_start(&t);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct writer){ .t = &t, .session = keep_new_id(t.k), .lazy = lazy };
		keeper_session(&t, w[i].session, "s");
	}
	(void)keep_submit(t.k, &t.b);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&w[i].thread, NULL, run, &w[i]), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(w[i].thread, NULL);
	keep_count(t.k, &counts);
	if (!lazy)
		assert_true(counts.commits > 0 && counts.records > 0);
	keeper_reopen(&t);
	while (keep_next(t.k, &r) == 1)
		messages += r.kind == KEEP_MESSAGE;
	assert_int_equal(messages, THREADS * ROUNDS);
	keeper_start(&t);
	assert_false(t.found.damaged);
	keeper_done(&t);
}

static void test_at_once(void **state)
{
	(void)state;
	write_at_once(false);
}

/* Nobody waits, and nothing is lost by closing. */
static void test_lazy(void **state)
{
	(void)state;
	write_at_once(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_lazy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
