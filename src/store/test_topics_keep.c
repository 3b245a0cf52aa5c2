/*
 * test_topics_keep.c - from records to memory: who is there, what waits for whom, in what order and under which identifier, and
 * what is due when. And that a start without memory says so.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "store/topics_priv.h"
#include "support/keeper.h"

enum { NOW = 1000000000, WALL = 5000000, MS = 1000000 };

static const struct topic_key key;

struct world {
	struct keeper keeper;
	struct topics *t;
};

static int load(struct world *w)
{
	const struct topics_disk disk = { .keep = w->keeper.k, .now = NOW, .wall = WALL };
	int r = topics_new(&key, &w->t);

	return r < 0 ? r : topics_load(w->t, &disk);
}

static void begin(struct world *w)
{
	*w = (struct world){};
	keeper_init_fast(&w->keeper);
	keeper_start(&w->keeper);
}

static void end(struct world *w)
{
	topics_free(&w->t);
	keeper_done(&w->keeper);
}

static void restart(struct world *w)
{
	keeper_submit(&w->keeper);
	keeper_reopen(&w->keeper);
	assert_int_equal(load(w), 0);
	keeper_start(&w->keeper);
}

static void take(int r)
{
	assert_int_equal(r, 0);
}

static struct subscriber *claim(struct world *w, const char *name, uint64_t owner)
{
	const struct claim c = { .name = span_str(name), .where = 7, .owner = owner };
	struct subscriber *s = NULL, *old;
	uint64_t where;
	bool present;

	take(topics_claim(w->t, &c, &s, &present, &where, &old));
	assert_true(present && !old);
	return s;
}

static void leave(struct world *w, struct subscriber *s)
{
	topics_leave(w->t, s, UINT64_MAX, UINT64_MAX);
	subscriber_unref(s);
}

static void put_message(struct world *w, uint64_t id, const char *text, uint64_t until, const struct keep_waiter *to,
			uint32_t n)
{
	const struct keep_message m = {
		.topic = span_str("t"), .payload = span_str(text), .props = span_str("P"), .qos = 2, .until = until
	};

	take(keep_put_message(&w->keeper.b, id, &m, to, n));
}

static void expect_next(struct subscriber *s, const char *text, unsigned packet, uint8_t qos, size_t ids)
{
	uint32_t got[8];
	size_t n;
	const struct delivery *d = subscriber_head(s, got, 8, &n);

	assert_non_null(d);
	assert_true(span_same(message_payload(d->m), span_str(text)));
	assert_true(span_same(message_props(d->m), span_str("P")));
	assert_int_equal(d->packet, packet);
	assert_int_equal(d->qos, qos);
	assert_int_equal(n, ids);
	assert_true(d->dup && d->m->kept && d->m->mark);
	subscriber_pop(s);
}

/* In the order of their numbers, each under the identifier that was said; what was received is under way and nothing else. */
static void test_queues(void **state)
{
	static const uint32_t ids[] = { 3, 9 };
	const struct keep_waiter both[] = { { .session = 1, .packet = 65535, .qos = 2, .ids = ids, .n_ids = 2 },
					    { .session = 2, .packet = 5, .qos = 1 } };
	const struct keep_waiter one = { .session = 1, .packet = 1, .qos = 1 },
				 low = { .session = 1, .packet = 65534, .qos = 2 };
	struct subscriber *s;
	struct world w;

	(void)state;
	begin(&w);
	keeper_session(&w.keeper, 1, "a");
	keeper_session(&w.keeper, 2, "b");
	put_message(&w, 10, "first", 0, both, 2);
	put_message(&w, 11, "second", 0, &one, 1);
	put_message(&w, 12, "third", 0, &low, 1);
	take(keep_received(&w.keeper.b, 12, 1, 65534));
	restart(&w);
	s = claim(&w, "a", 0);
	assert_int_equal(s->queue_n, 3); /* the second identifier has a place of its own */
	assert_int_equal(s->flights_n, 1);
	assert_int_equal(s->flights[0].id, 65534);
	assert_null(s->flights[0].m);
	assert_int_equal(s->flights[0].kept, 12);
	assert_int_equal(subscriber_next_id(s),
			 2); /* behind the last, though that has a smaller number than the one before */
	expect_next(s, "first", 65535, 2, 2);
	expect_next(s, "second", 1, 1, 0);
	leave(&w, s);
	s = claim(&w, "b", 0);
	expect_next(s, "first", 5, 1, 0);
	assert_int_equal(s->queue_n, 0);
	leave(&w, s);
	end(&w);
}

/* Who had gone has until then; who was there has all of its time, and its will too. */
static void test_times(void **state)
{
	const struct keep_session gone = { .id = 1,
					   .name = span_str("gone"),
					   .owner = 77,
					   .expiry = 60,
					   .until = WALL + 2000,
					   .has_will = true,
					   .will_at = WALL + 1000,
					   .will_delay = 9,
					   .will = { .topic = span_str("w"), .until = 4 } };
	struct keep_session there = gone;
	struct message *will;
	struct subscriber *s;
	struct world w;
	bool over;

	(void)state;
	begin(&w);
	there.id = 2;
	there.name = span_str("there");
	there.until = there.will_at = 0;
	take(keep_put_session(&w.keeper.b, &gone));
	take(keep_put_session(&w.keeper.b, &there));
	restart(&w);
	for (struct list *l = w.t->all.next; l != &w.t->all; l = l->next) {
		s = list_entry(l, struct subscriber, all);
		if (s->kept_id == 1) {
			assert_true(s->expires == NOW + 2000ull * MS && s->will_at == NOW + 1000ull * MS);
			assert_int_equal(s->owner, 77);
			assert_null(topics_due_will(w.t, s, 0, NOW + 999ull * MS));
			assert_null(topics_due_will(w.t, s, 1, NOW + 1000ull * MS));
			will = topics_due_will(w.t, s, 0, NOW + 1000ull * MS);
			assert_true(will && will->expires == 4 * MS &&
				    !will->mark); /* a time from when it is published */
			message_unref(will);
			subscriber_ref(s);
			assert_int_equal(topics_due(w.t, s, 0, NOW + 3000ull * MS, &will, &over, NULL, NULL),
					 UINT64_MAX);
			assert_true(over);
			message_unref(will);
			subscriber_unref(s);
			break;
		}
	}
	s = claim(&w, "there", 77);
	assert_true(s->expires == NOW + 60000ull * MS && s->will_at == NOW + 9000ull * MS);
	assert_non_null(s->will.m); /* until it is in */
	leave(&w, s);
	end(&w);
}

static void test_wall(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	restart(&w);
	assert_int_equal(topics_wall(w.t, 0), 0);
	assert_int_equal(topics_wall(w.t, NOW), WALL);
	assert_int_equal(topics_wall(w.t, NOW + 1), WALL + 1); /* never too early */
	assert_int_equal(topics_wall(w.t, NOW + 5ull * MS), WALL + 5);
	assert_int_equal(topics_wall(w.t, NOW - 5ull * MS), WALL - 5);
	end(&w);
}

static unsigned replay(struct world *w, const char *filter, uint64_t now)
{
	struct names_cursor c;
	struct message *found[16];
	int n;

	take(names_cursor_open(&c, span_str(filter)));
	n = topics_replay(w->t, &c, now, found, 16);
	for (int i = 0; i < n; i++)
		message_unref(found[i]);
	names_cursor_close(&c);
	return (unsigned)n;
}

/* What has expired while nobody looked is not there, and at the next start neither. */
static void test_retained(void **state)
{
	static const struct {
		const char *topic;
		uint64_t until;
	} rows[] = { { "r/1", 0 }, { "r/2", WALL }, { "r/3", WALL + 50 } };
	struct world w;

	(void)state;
	begin(&w);
	for (size_t i = 0; i < 3; i++) {
		const struct keep_message m = { .topic = span_str(rows[i].topic),
						.payload = span_str("x"),
						.retain = true,
						.until = rows[i].until };

		take(keep_retain(&w.keeper.b, &m));
	}
	restart(&w);
	assert_int_equal(topics_sizes(w.t).retained, 2);
	assert_int_equal(replay(&w, "#", NOW), 2);
	assert_int_equal(replay(&w, "#", NOW + 50ull * MS), 1);
	assert_true(topics_retained_submit(w.t) > 0);
	topics_free(&w.t);
	keeper_reopen(&w.keeper);
	take(load(&w));
	assert_int_equal(topics_sizes(w.t).retained, 1);
	end(&w);
}

static void test_subscriptions(void **state)
{
	const struct keep_subscription sub = { .session = 1,
					       .group = span_str("g"),
					       .filter = span_str("a/#"),
					       .id = 7,
					       .qos = 2,
					       .no_local = true },
				       stray = { .session = 99, .filter = span_str("b") };
	struct subscriber *s;
	struct sub *found;
	struct world w;

	(void)state;
	begin(&w);
	keeper_session(&w.keeper, 1, "a");
	take(keep_subscribe(&w.keeper.b, &sub));
	take(keep_subscribe(&w.keeper.b, &stray));
	take(keep_await(&w.keeper.b, 1, 300));
	restart(&w);
	s = claim(&w, "a", 0);
	assert_int_equal(topics_sizes(w.t).subscriptions, 1);
	found = list_entry(s->subs.next, struct sub, mine);
	assert_true(found->share && found->global && found->ask && found->no_local && found->id == 7 &&
		    found->qos == 2);
	assert_true(subscriber_release(s, 300) && !subscriber_release(s, 300));
	leave(&w, s);
	end(&w);
}

static void subscribe(struct world *w, uint64_t session, const char *group, uint8_t number)
{
	const struct keep_subscription sub = {
		.session = session, .group = span_str(group), .filter = span_str("t"), .qos = 2, .number = number
	};

	take(keep_subscribe(&w->keeper.b, &sub));
}

/*
 * What waits by a group's subscription is another member's when the session ends, before a restart or after it; but for QoS 2, which may
 * have been sent. Numbers that are in use are not given again.
 */
static void test_shares(void **state)
{
	const struct keep_waiter by_g = { .session = 1, .packet = 1, .qos = 1, .alone = 7 },
				 by_g_2 = { .session = 1, .packet = 2, .qos = 2, .alone = 7 },
				 by_h = { .session = 1, .packet = 3, .qos = 1, .alone = 8 },
				 by_none = { .session = 1, .packet = 4, .qos = 1 };
	const struct wish more = { .group = span_str("more"), .filter = span_str("t") };
	struct subscriber *s;
	struct orphans *all;
	struct world w;

	(void)state;
	begin(&w);
	keeper_session(&w.keeper, 1, "a");
	keeper_session(&w.keeper, 2, "b");
	subscribe(&w, 1, "g", 7);
	subscribe(&w, 1, "h", 8);
	subscribe(&w, 2, "g", 1);
	put_message(&w, 10, "first", 0, &by_g, 1);
	put_message(&w, 11, "second", 0, &by_g_2, 1);
	put_message(&w, 12, "third", 0, &by_h, 1);
	put_message(&w, 13, "fourth", 0, &by_none, 1);
	restart(&w);
	s = claim(&w, "a", 0);
	take(topics_subscribe(w.t, NULL, s, NULL, &more, 10));
	assert_true(list_entry(s->subs.prev, struct sub, mine)->number > 8);
	topics_end(w.t, NULL, s);
	all = topics_orphans(w.t, s);
	assert_non_null(all);
	assert_int_equal(all->n, 1);
	assert_true(span_is(message_payload(all->v[0].d.m), "first"));
	assert_true(span_is(subscriber_name(all->v[0].to), "b"));
	assert_int_equal(all->v[0].d.alone, 1);
	orphans_free(all);
	subscriber_unref(s);
	end(&w);
}

/* Of whoever has published what is retained, the number is the same in the next process; of who has ended it is nobody's. */
static void test_from(void **state)
{
	struct topics_room room = { 10, 1000 };
	struct message_birth birth = { .topic = span_str("r"), .payload = span_str("x"), .retain = true };
	const struct claim new = { .name = span_str("passing"), .where = 7 };
	struct subscriber *s, *passing, *old;
	struct message *m;
	struct names_cursor c;
	struct world w;
	uint64_t where, number;
	bool present;

	(void)state;
	begin(&w);
	keeper_session(&w.keeper, 1, "a");
	restart(&w);
	take(topics_claim(w.t, &new, &passing, &present, &where, &old));
	s = claim(&w, "a", 0);
	assert_true(s->serial != passing->serial);
	for (unsigned i = 0; i < 2; i++) {
		birth.from = i ? passing->serial : s->serial;
		birth.topic = span_str(i ? "p" : "r");
		m = message_new(&birth);
		take(topics_retain(w.t, m, &room));
		message_unref(m);
	}
	assert_true(topics_retained_submit(w.t) > 0);
	leave(&w, s);
	number = passing->serial;
	topics_end(w.t, NULL, passing);
	subscriber_unref(passing);
	topics_free(&w.t);
	restart(&w);
	s = claim(&w, "a", 0);
	for (unsigned i = 0; i < 2; i++) {
		take(names_cursor_open(&c, span_str(i ? "p" : "r")));
		assert_int_equal(topics_replay(w.t, &c, NOW, &m, 1), 1);
		assert_true(i ? !m->from : m->from == s->serial);
		message_unref(m);
		names_cursor_close(&c);
	}
	take(topics_claim(w.t, &new, &passing, &present, &where, &old));
	assert_true(passing->serial > number);
	topics_end(w.t, NULL, passing);
	subscriber_unref(passing);
	leave(&w, s);
	end(&w);
}

static void test_each_allocation(void **state)
{
	const struct keep_subscription sub = { .session = 1,
					       .filter = span_str("a/#"),
					       .owed = true,
					       .owed_at = span_str("a/very/long/name") },
				       shared = { .session = 1, .group = span_str("g"), .filter = span_str("b") };
	const struct keep_waiter w1 = { .session = 1, .packet = 1, .qos = 2 };
	struct world w;

	(void)state;
	begin(&w);
	keeper_session(&w.keeper, 1, "a");
	take(keep_subscribe(&w.keeper.b, &sub));
	take(keep_subscribe(&w.keeper.b, &shared));
	take(keep_await(&w.keeper.b, 1, 300));
	keeper_retain(&w.keeper, "r", "x");
	put_message(&w, 10, "first", 0, &w1, 1);
	put_message(&w, 11, "second", 0, &w1, 1);
	take(keep_received(&w.keeper.b, 11, 1, 1));
	keeper_submit(&w.keeper);
	for (unsigned long n = 1, calls = 1; n <= calls; n++) {
		int r;

		keeper_reopen(&w.keeper);
		fault_arm(FAULT_MEM, n, 0, false);
		r = load(&w);
		calls = fault_calls(FAULT_MEM);
		fault_arm(FAULT_MEM, 0, 0, false);
		assert_true(n > calls ? r == 0 : r == 0 || r == -ENOMEM);
		topics_free(&w.t);
	}
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queues),   cmocka_unit_test(test_times),           cmocka_unit_test(test_wall),
		cmocka_unit_test(test_retained), cmocka_unit_test(test_subscriptions),   cmocka_unit_test(test_shares),
		cmocka_unit_test(test_from),     cmocka_unit_test(test_each_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
