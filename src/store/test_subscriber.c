/*
 * test_subscriber.c - the queue of a subscriber: what overlapping subscriptions bring is one delivery, whoever comes between; and what it is
 * still to be sent of what is retained.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"
#include "store/subscriber.h"

enum { IDS = 8 };

static const struct subscriber_limits lim = { .queue = 100, .queue_bytes = 1 << 20 };

static struct message *make(const char *topic, uint64_t kept)
{
	struct message *m = message_new(&(struct message_birth){ .topic = span_str(topic), .qos = 2 });

	assert_non_null(m);
	m->kept = kept;
	return m;
}

static void push(struct subscriber *s, struct message *m, uint32_t id, uint8_t qos, uint16_t packet)
{
	const struct delivery d = { .m = m, .id = id, .qos = qos, .packet = packet };

	assert_int_equal(subscriber_push(s, &d, &lim), 0);
}

static void assert_next(struct subscriber *s, const struct message *m, uint8_t qos, uint16_t packet, size_t n,
			const uint32_t *want)
{
	uint32_t ids[IDS];
	size_t found;
	const struct delivery *d = subscriber_head(s, ids, IDS, &found);

	assert_non_null(d);
	assert_ptr_equal(d->m, m);
	assert_int_equal(d->qos, qos);
	assert_int_equal(d->packet, packet);
	assert_int_equal(found, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(ids[i], want[i]);
	subscriber_pop(s);
}

#define NEXT(s, m, qos, packet, ...) \
	assert_next(s, m, qos, packet, sizeof((const uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t), \
		    (const uint32_t[]){ __VA_ARGS__ })

static void overlapping_ones_are_one(void **state)
{
	struct subscriber *s = subscriber_new(span_str("s"), 1);
	struct message *a = make("a", 0), *b = make("b", 0);

	(void)state;
	push(s, a, 3, 1, 0);
	push(s, a, 0, 2, 0);
	push(s, a, 9, 0, 0);
	push(s, b, 4, 1, 0);
	push(s, a, 5, 1, 0); /* published again: another delivery */
	NEXT(s, a, 2, 0, 3, 9);
	NEXT(s, b, 1, 0, 4);
	NEXT(s, a, 1, 0, 5);
	assert_int_equal(s->queue_n, 0);
	message_unref(a);
	message_unref(b);
	subscriber_unref(s);
}

/* Several loops store for one that is away; what another one stores meanwhile is no reason to send a message twice. */
static void others_may_come_between(void **state)
{
	struct subscriber *s = subscriber_new(span_str("s"), 1);
	struct message *a = make("a", 1), *b = make("b", 2), *c = make("c", 3);

	(void)state;
	s->kept = true;
	s->kept_id = 7;
	push(s, a, 3, 1, 101);
	push(s, b, 4, 2, 102);
	push(s, b, 5, 1, 0);
	push(s, a, 9, 2, 0);
	push(s, c, 0, 1, 103);
	push(s, a, 10, 1, 0);
	push(s, b, 6, 1, 0);
	push(s, c, 8, 1, 0);
	NEXT(s, a, 2, 101, 3, 9, 10);
	NEXT(s, b, 2, 102, 4, 5, 6);
	NEXT(s, c, 1, 103, 8);
	assert_int_equal(s->queue_n, 0);
	assert_int_equal(s->queue_bytes, 0);
	message_unref(a);
	message_unref(b);
	message_unref(c);
	subscriber_unref(s);
}

/* The first one has been sent: then the other is a delivery of its own, as any. */
static void what_was_sent_is_not_there(void **state)
{
	struct subscriber *s = subscriber_new(span_str("s"), 1);
	struct message *a = make("a", 1), *b = make("b", 2);

	(void)state;
	s->kept = true;
	s->kept_id = 7;
	push(s, a, 3, 1, 101);
	NEXT(s, a, 1, 101, 3);
	push(s, b, 4, 2, 102);
	push(s, a, 9, 1, 0);
	NEXT(s, b, 2, 102, 4);
	NEXT(s, a, 1, 0, 9);
	message_unref(a);
	message_unref(b);
	subscriber_unref(s);
}

/* What was under way to a loop that it has left comes later than what is stored for it by then. */
static void what_is_kept_is_in_order(void **state)
{
	struct subscriber *s = subscriber_new(span_str("s"), 1);
	struct message *a = make("a", 1), *b = make("a", 2), *c = make("a", 3), *d = make("a", 0), *e = make("a", 4);

	(void)state;
	s->kept = true;
	s->kept_id = 7;
	push(s, a, 3, 1, 101);
	push(s, a, 4, 1, 0);
	push(s, c, 5, 1, 103);
	push(s, c, 6, 1, 0);
	push(s, b, 7, 1, 102);
	push(s, b, 8, 1, 0);
	push(s, d, 9, 0, 0); /* not on disk: nothing goes past it */
	push(s, e, 10, 1, 104);
	NEXT(s, a, 1, 101, 3, 4);
	NEXT(s, b, 1, 102, 7, 8);
	NEXT(s, c, 1, 103, 5, 6);
	NEXT(s, d, 0, 0, 9);
	NEXT(s, e, 1, 104, 10);
	assert_int_equal(s->queue_n, 0);
	message_unref(a);
	message_unref(b);
	message_unref(c);
	message_unref(d);
	message_unref(e);
	subscriber_unref(s);
}

#ifdef GUICHET_FAULTS
/* Without memory for a new one the old one goes on. */
static void a_replay_is_not_lost(void **state)
{
	const struct span filter = span_str("#");
	struct replay *all = NULL, *old, *new;

	(void)state;
	assert_int_equal(replay_add(&all, filter, &old), 0);
	for (unsigned n = 1; n <= 2; n++) {
		fault_arm(FAULT_MEM, n, 0, false);
		assert_int_equal(replay_add(&all, filter, &new), -ENOMEM);
		fault_arm(FAULT_MEM, 0, 0, false);
		assert_ptr_equal(replay_find(all, filter), old);
	}
	assert_int_equal(replay_add(&all, filter, &new), 0);
	assert_ptr_equal(all, new);
	assert_null(new->next);
	replay_drop_all(&all);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(overlapping_ones_are_one),   cmocka_unit_test(others_may_come_between),
		cmocka_unit_test(what_was_sent_is_not_there), cmocka_unit_test(what_is_kept_is_in_order),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(a_replay_is_not_lost),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
