/*
 * test_topics_end.c - a member of a group ends while others publish to the group: whatever it was chosen for is another one's, or was its
 * own in time.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "store/topics_priv.h"

enum { ROUNDS = 3000, FOREVER = 100 };

static const struct topic_key key;
static const struct subscriber_limits lim = { .queue = UINT32_MAX, .queue_bytes = SIZE_MAX };

static struct subscriber *member(struct topics *t, const char *name)
{
	const struct claim c = { .name = span_str(name), .where = 7 };
	const struct wish w = { .group = span_str("g"), .filter = span_str("t"), .qos = 1 };
	struct subscriber *s, *old;
	uint64_t where;
	bool present;

	assert_int_equal(topics_claim(t, &c, &s, &present, &where, &old), 0);
	assert_null(old);
	assert_int_equal(topics_stay(t, s, SIZE_MAX), 0);
	assert_int_equal(topics_subscribe(t, NULL, s, NULL, &w, 1), 0);
	return s;
}

static struct message *text(const char *payload)
{
	const struct message_birth b = { .topic = span_str("t"), .payload = span_str(payload), .qos = 1 };
	struct message *m = message_new(&b);

	assert_non_null(m);
	return m;
}

static void choose(void *arg, struct sub *sub)
{
	*(struct sub **)arg = sub;
}

/* ---- a letter on its way ---- */

/* Chosen in one loop, on its way to another, where the session ends before it comes. */
static void test_too_late(void **state)
{
	struct filters_found found = {};
	struct message *m = text("x");
	struct subscriber *a, *b;
	struct delivery d, least;
	struct orphan o;
	struct sub *sub;
	struct topics *t;
	uint64_t where;

	(void)state;
	assert_int_equal(topics_new(&key, &t), 0);
	a = member(t, "a");
	b = member(t, "b");
	assert_int_equal(topics_match(t, span_str("t"), &found, choose, &sub), 0);
	assert_ptr_equal(sub->whose, a);
	d = topics_delivery(sub, m);
	topics_end(t, NULL, a);
	assert_null(topics_orphans(t, a));
	assert_int_equal(topics_store(t, a, &d, &lim, &where), -ENOENT);
	least = d;
	least.qos = 0;
	assert_false(topics_too_late(t, a, &least, &o));
	assert_true(topics_too_late(t, a, &d, &o));
	assert_true(o.to == b && o.d.m == m);
	orphan_done(&o);
	assert_null(topics_orphans(t, a)); /* it is who asked who has it */
	topics_end(t, NULL, b);
	assert_false(topics_too_late(t, a, &d, &o)); /* nobody is left */
	assert_false(topics_too_late(t, b, &d, &o));
	subscriber_unref(a);
	subscriber_unref(b);
	message_unref(m);
	filters_found_done(&found);
	topics_free(&t);
}

/* ---- between the two ---- */

struct race {
	struct topics *t;
	_Atomic bool over;
	_Atomic unsigned long published;
	unsigned long lost;
};

static void give(void *arg, struct sub *sub)
{
	struct race *r = arg;
	struct message *m = text("x");
	const struct delivery d = topics_delivery(sub, m);
	uint64_t where;
	int err;

	r->published++;
	while ((err = topics_store(r->t, sub->whose, &d, &lim, &where)) == -EAGAIN) /* it is just about to go */
		sched_yield();
	r->lost += err < 0;
	message_unref(m);
}

static void *publish(void *arg)
{
	struct race *r = arg;
	struct filters_found found = {};

	while (!r->over)
		if (topics_match(r->t, span_str("t"), &found, give, r) < 0)
			r->lost++;
	filters_found_done(&found);
	return NULL;
}

static unsigned long orphans_of(struct topics *t, const struct subscriber *s)
{
	struct orphans *all = topics_orphans(t, s);
	unsigned long n = all ? all->n : 0;

	orphans_free(all);
	return n;
}

/*
 * One stays away for ever, the other one's time is over again and again: by its alarm, or because somebody of its name comes anew. All
 * that was its own is an orphan then.
 */
static void test_race(void **state)
{
	struct race r = {};
	struct subscriber *stays, *s, *old;
	unsigned long found = 0, had = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(topics_new(&key, &r.t), 0);
	stays = member(r.t, "stays");
	topics_leave(r.t, stays, UINT64_MAX, UINT64_MAX);
	assert_int_equal(pthread_create(&thread, NULL, publish, &r), 0);
	for (unsigned i = 0; i < ROUNDS || r.published < ROUNDS; i++) {
		const struct claim anew = { .name = span_str("ends"), .where = 8, .clean = true };
		struct message *will;
		uint64_t where;
		uint32_t epoch;
		bool present, over = false;

		s = member(r.t, "ends");
		epoch = topics_leave(r.t, s, FOREVER, UINT64_MAX);
		if (i % 2) {
			topics_due(r.t, s, epoch, FOREVER, &will, &over, NULL, NULL);
			assert_true(over);
		} else {
			struct subscriber *next;

			assert_int_equal(topics_claim(r.t, &anew, &next, &present, &where, &old), 0);
			assert_ptr_equal(old, s);
			subscriber_unref(old);
			topics_end(r.t, NULL, next);
			subscriber_unref(next);
		}
		had += s->queue_n;
		found += orphans_of(r.t, s);
		subscriber_unref(s);
	}
	r.over = true;
	pthread_join(thread, NULL);
	assert_int_equal(r.lost, 0);
	assert_int_equal(found, had);
	assert_int_equal(had + stays->queue_n, r.published);
	topics_end(r.t, NULL, stays);
	subscriber_unref(stays);
	topics_free(&r.t);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_too_late), cmocka_unit_test(test_race) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
