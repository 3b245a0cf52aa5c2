/* test_topics_shares.c - whose turn it is in a group; and that who is away or full is met once, and not by each message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "store/topics_priv.h"

enum { MANY = 1000 };

static const struct topic_key key = { { 1, 2 } };
static const struct subscriber_limits lim = { .queue = 2, .queue_bytes = SIZE_MAX };
static struct topics *t;
static struct filters_found found;

static int up(void **state)
{
	(void)state;
	return topics_new(&key, &t);
}

static int down(void **state)
{
	(void)state;
	filters_found_done(&found);
	topics_free(&t);
	return 0;
}

static struct subscriber *comes(const char *name)
{
	const struct claim c = { .name = span_str(name), .where = 7 };
	struct subscriber *s, *old;
	uint64_t where;
	bool present;

	assert_int_equal(topics_claim(t, &c, &s, &present, &where, &old), 0);
	assert_int_equal(topics_stay(t, s, SIZE_MAX), 0);
	subscriber_unref(s); /* the register's is enough here */
	return s;
}

/* 0: it is new. */
static int subscribes(struct subscriber *s, const char *group, const char *filter)
{
	const struct wish w = { .group = span_str(group), .filter = span_str(filter), .qos = 1 };

	return topics_subscribe(t, NULL, s, NULL, &w, UINT32_MAX);
}

static bool unsubscribes(struct subscriber *s, const char *group, const char *filter)
{
	struct sub *sub = topics_subscription(t, NULL, s, span_str(group), span_str(filter));

	if (sub)
		topics_unsubscribe(t, NULL, sub);
	return sub;
}

static struct subscriber *member(const char *name)
{
	struct subscriber *s = comes(name);

	assert_int_equal(subscribes(s, "g", "t"), 0);
	return s;
}

static void leaves(struct subscriber *s)
{
	topics_leave(t, s, UINT64_MAX, UINT64_MAX);
}

static void choose(void *arg, struct sub *sub)
{
	*(struct sub **)arg = sub;
}

static struct sub *turn(void)
{
	struct sub *sub = NULL;

	assert_int_equal(topics_match(t, span_str("t"), &found, choose, &sub), 0);
	return sub;
}

static unsigned in(enum share_state state)
{
	const struct list *all = &turn()->share->members[state];
	unsigned n = 0;

	for (const struct list *l = all->next; l != all; l = l->next)
		n++;
	return n;
}

static void push(struct subscriber *s)
{
	const struct message_birth b = { .topic = span_str("t"), .payload = span_str("x"), .qos = 1 };
	struct message *m = message_new(&b);
	const struct delivery d = { .m = m, .qos = 1 };

	s->slow = true;
	assert_int_equal(subscriber_push(s, &d, &lim), 0);
	message_unref(m);
}

static void fill(struct subscriber *s)
{
	push(s);
	push(s);
	assert_true(s->full);
}

/* One that works, and many that have gone: from the second message on it is the first that is looked at. */
static void test_away_once(void **state)
{
	struct subscriber *works, *back;
	char name[20];

	(void)state;
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "%d", i);
		leaves(member(name));
	}
	works = member("works");
	assert_ptr_equal(turn()->whose, works);
	assert_int_equal(in(SHARE_READY), 1);
	assert_int_equal(in(SHARE_AWAY), MANY);
	back = comes("7");
	assert_int_equal(in(SHARE_READY), 2);
	assert_int_equal(in(SHARE_AWAY), MANY - 1);
	assert_ptr_not_equal(turn()->whose, turn()->whose);
	leaves(back);
	leaves(works);
	assert_true(turn()->whose != turn()->whose);
	assert_int_equal(in(SHARE_READY), 0);
	assert_int_equal(in(SHARE_AWAY), MANY + 1);
}

/* Connected with room, then away with room, then any; and in turn. */
static void test_order(void **state)
{
	struct subscriber *a = member("a"), *b = member("b"), *c = member("c");

	(void)state;
	fill(a);
	leaves(b);
	assert_ptr_equal(turn()->whose, c);
	assert_ptr_equal(turn()->whose, c);
	leaves(c);
	assert_ptr_equal(turn()->whose, b);
	assert_ptr_equal(turn()->whose, c);
	assert_ptr_equal(turn()->whose, b);
	fill(b);
	fill(c);
	assert_int_equal(in(SHARE_FULL), 3);
	for (int i = 0; i < 3; i++) {
		const struct subscriber *one = turn()->whose, *two = turn()->whose, *three = turn()->whose;

		assert_true(one != two && one != three && two != three);
	}
	comes("c"); /* full, but it is there */
	assert_int_equal(in(SHARE_FULL), 3);
}

/* Only who takes out of a queue says that there is room, and then all its groups know. */
static void test_room_again(void **state)
{
	struct subscriber *a = member("a"), *b = member("b");

	(void)state;
	assert_int_equal(subscribes(a, "h", "t"), 0);
	fill(a);
	turn();
	assert_false(list_empty(&a->aside));
	assert_false(subscriber_mark(a, &lim));
	subscriber_pop(a);
	assert_true(subscriber_mark(a, &lim));
	assert_false(subscriber_mark(a, &lim));
	topics_ready(t, a);
	assert_true(list_empty(&a->aside));
	fill(b);
	turn();
	assert_true(list_empty(&a->aside));
	push(a);
	turn();
	assert_false(list_empty(&a->aside));
	assert_true(unsubscribes(a, "g", "t"));
	assert_true(unsubscribes(a, "h", "t"));
	assert_true(list_empty(&a->aside));
}

/* With queue_full = refuse it is full when nobody has room, and the one is named whose turn it is. */
static void test_full(void **state)
{
	const struct subscriber_limits refuse = { .queue = 2, .queue_bytes = 1000, .refuse = true };
	const struct message_birth birth = { .topic = span_str("t"), .payload = span_str("x"), .qos = 1 };
	struct subscriber *a = member("a"), *b = member("b");
	struct message *m = message_new(&birth);
	char text[20];
	struct buf whose;

	(void)state;
	buf_init_fixed(&whose, text, sizeof(text));
	fill(a);
	assert_false(topics_full(t, m, &refuse, &found, NULL));
	fill(b);
	assert_true(topics_full(t, m, &refuse, &found, &whose));
	assert_true(span_same(buf_span(&whose), subscriber_name(turn()->whose)));
	message_unref(m);
}

/* A group is found by its name and filter in a table of groups alone, whoever else subscribes to the filter. */
static void test_found(void **state)
{
	struct subscriber *a = member("a"), *b = member("b"), *c = comes("c");
	char name[20];

	(void)state;
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(subscribes(c, "", name), 0);
		assert_int_equal(subscribes(comes(name), "", "t"), 0);
	}
	assert_int_equal(t->shares.n, 1);
	assert_int_equal(subscribes(c, "g", "t"), 0); /* of a few members, it has many */
	assert_int_equal(subscribes(c, "g", "t"), 1);
	assert_int_equal(subscribes(a, "t", "g"), 0); /* of a few, too; the other way round it is another one */
	assert_int_equal(subscribes(a, "g", "t"), 1);
	assert_int_equal(subscribes(b, "g", "g"), 0);
	assert_int_equal(subscribes(b, "", "t"), 0);
	assert_int_equal(subscribes(b, "", "t"), 1);
	assert_int_equal(t->shares.n, 3);
	assert_true(unsubscribes(c, "g", "t"));
	assert_false(unsubscribes(c, "g", "t"));
	assert_false(unsubscribes(b, "t", "g"));
	assert_true(unsubscribes(a, "t", "g"));
	assert_true(unsubscribes(b, "g", "g"));
	assert_true(unsubscribes(a, "g", "t"));
	assert_int_equal(t->shares.n, 1);
	assert_true(unsubscribes(b, "g", "t"));
	assert_int_equal(t->shares.n, 0);
	assert_true(unsubscribes(b, "", "t"));
	assert_false(unsubscribes(b, "", "t"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = { TEST(test_away_once), TEST(test_order), TEST(test_room_again),
					    TEST(test_full), TEST(test_found) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
