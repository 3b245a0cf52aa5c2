/*
 * test_keep_check.c - records that cannot be, though they fit their checksums: said of a batch, named of a store that is looked at, and
 * passed over, once, by who serves it; what can be is not touched, whatever the limits of today are.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "store/topic.h"
#include "support/keeper.h"

static const char *props_wrong(struct span props)
{
	return span_is(props, "bad") ? "bad-word" : NULL;
}

/* "x/x/..." */
static struct span levels(unsigned n)
{
	static char text[2 * (TOPIC_LEVELS_MAX + 1)];

	assert_true(n <= TOPIC_LEVELS_MAX + 1);
	for (unsigned i = 0; i < n; i++)
		memcpy(text + 2 * (size_t)i, "x/", 2);
	return (struct span){ (const uint8_t *)text, 2 * (size_t)n - 1 };
}

static void expect(struct keep_batch *b, const char *field)
{
	size_t n = b->n;
	struct keep_wrong w = keep_batch_wrong(b, 0, props_wrong);

	assert_true(n > 0);
	if (field) {
		assert_non_null(w.field);
		assert_string_equal(w.field, field);
		assert_non_null(w.why);
	} else {
		assert_null(w.field);
	}
	assert_null(keep_batch_wrong(b, n, props_wrong).field); /* behind it */
	keep_batch_done(b);
}

static void subscription(const char *field, struct keep_subscription s)
{
	struct keep_batch b = {};

	assert_int_equal(keep_subscribe(&b, &s), 0);
	expect(&b, field);
}

static void test_subscriptions(void **state)
{
	const struct span good[] = { span_str("a"),     span_str("#"),      span_str("/"),          span_str("+/+"),
				     span_str("a/+/#"), span_str("$SYS/#"), span_str("caf\xc3\xa9") };
	const struct span bad[] = { span_str(""),
				    span_str("a/#/b"),
				    span_str("a#"),
				    span_str("+a"),
				    { (const uint8_t *)"a\0b", 3 },
				    span_str("\xff"),
				    span_str("$share/g/f"),
				    span_str("$share/") };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		subscription(NULL, (struct keep_subscription){ .session = 1, .filter = good[i] });
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		subscription("filter", (struct keep_subscription){ .session = 1, .filter = bad[i] });
	subscription(NULL, (struct keep_subscription){ .session = 1, .filter = levels(TOPIC_LEVELS_MAX) });
	subscription("filter", (struct keep_subscription){ .session = 1, .filter = levels(TOPIC_LEVELS_MAX + 1) });
	subscription("session", (struct keep_subscription){ .filter = span_str("f") });
#define SUB(...) (struct keep_subscription){ .session = 1, .filter = span_str("$share/x"), __VA_ARGS__ }
	subscription(NULL, SUB(.group = span_str("g"), .id = 268435455, .number = 30));
	subscription("group", SUB(.group = span_str("g/h")));
	subscription("group", SUB(.group = span_str("+")));
	subscription("group", SUB(.group = span_str("\xff")));
	subscription("id", SUB(.group = span_str("g"), .id = 268435456));
	subscription("id", SUB(.group = span_str("g"), .id = UINT32_MAX));
#undef SUB
#define OWED(AT) (struct keep_subscription){ .session = 1, .filter = span_str("#"), .owed = true, .owed_at = AT }
	subscription(NULL, OWED(span_str("a/b")));
	subscription(NULL, OWED((struct span){}));
	subscription("owed_at", OWED(span_str("a/#")));
	subscription("owed_at", OWED(levels(TOPIC_LEVELS_MAX + 1)));
#undef OWED
}

static struct keep_message fine(void)
{
	return (struct keep_message){ .topic = span_str("t"), .payload = span_str("p"), .props = span_str("good") };
}

/* The same as what is retained, as a will, and as what waits. */
static void message(const char *field, struct span topic, struct span props)
{
	const struct keep_message m = { .topic = topic, .payload = span_str("p"), .props = props };
	const struct keep_session s = { .id = 1, .name = span_str("n"), .has_will = true, .will = m };
	const struct keep_waiter w = { .session = 1, .qos = 1 };
	struct keep_batch b = {};

	assert_int_equal(keep_retain(&b, &m), 0);
	expect(&b, field);
	assert_int_equal(keep_put_session(&b, &s), 0);
	expect(&b, field);
	assert_int_equal(keep_put_message(&b, 2, &m, &w, 1), 0);
	expect(&b, field);
}

static void waiter(const char *field, uint64_t id, uint64_t session, uint32_t first, uint32_t second)
{
	const uint32_t ids[] = { first, second };
	const struct keep_waiter w[] = { { .session = 7, .qos = 1 }, { .session = session, .ids = ids, .n_ids = 2 } };
	const struct keep_message m = fine();
	struct keep_batch b = {};

	assert_int_equal(keep_put_message(&b, id, &m, w, 2), 0);
	expect(&b, field);
}

static void test_messages(void **state)
{
	struct keep_batch b = {};

	(void)state;
	message(NULL, span_str("t"), span_str("good"));
	message(NULL, levels(TOPIC_LEVELS_MAX), (struct span){});
	message("message.topic", levels(TOPIC_LEVELS_MAX + 1), (struct span){});
	message("message.topic", (struct span){}, (struct span){});
	message("message.topic", span_str("a/+"), (struct span){});
	message("message.topic", (struct span){ (const uint8_t *)"a\0b", 3 }, (struct span){});
	message("message.topic", span_str("\xc3"), (struct span){});
	message("message.properties", span_str("t"), span_str("bad"));
	waiter(NULL, 2, 8, 1, 268435455);
	waiter("waiters.ids", 2, 8, 1, 0);
	waiter("waiters.ids", 2, 8, 268435456, 1);
	waiter("waiters.session", 2, 0, 1, 1);
	waiter("id", 0, 8, 1, 1);
	assert_int_equal(keep_await(&b, 1, 1), 0);
	expect(&b, NULL);
	assert_int_equal(keep_await(&b, 1, 0), 0);
	expect(&b, "packet");
	assert_int_equal(keep_put_session(&b, &(struct keep_session){ .name = span_str("n") }), 0);
	expect(&b, "id");
}

/* Five of them, beside one of each kind that can be. */
static void fill(struct keeper *t)
{
	static const uint32_t zero[1];
	const struct keep_waiter w = { .session = 1, .qos = 1 }, bad = { .session = 1, .ids = zero, .n_ids = 1 };
	struct keep_subscription s = { .session = 1, .filter = span_str("a/#") };
	struct keep_message m = fine();

	keeper_session(t, 1, "s");
	assert_int_equal(keep_subscribe(&t->b, &s), 0);
	s.filter = span_str("a/#/b");
	assert_int_equal(keep_subscribe(&t->b, &s), 0);
	assert_int_equal(keep_await(&t->b, 1, 3) + keep_await(&t->b, 1, 0), 0);
	assert_int_equal(keep_retain(&t->b, &m), 0);
	m.topic = span_str("a/+");
	assert_int_equal(keep_retain(&t->b, &m), 0);
	m = fine();
	assert_int_equal(keep_put_message(&t->b, 9, &m, &bad, 1), 0);
	assert_int_equal(keep_put_message(&t->b, 11, &m, &w, 1), 0);
	m.props = span_str("bad");
	assert_int_equal(keep_put_message(&t->b, 10, &m, &w, 1), 0);
	keeper_submit(t);
}

enum { GOOD = 5, WRONG = 5 };

static unsigned count(struct keep *k, unsigned *ret_wrong)
{
	struct keep_record r;
	unsigned good = 0;
	int got;

	*ret_wrong = 0;
	while ((got = keep_next(k, &r)) == 1) {
		good += !r.wrong.field;
		*ret_wrong += r.wrong.field != NULL;
		assert_true(r.kind != KEEP_MESSAGE || r.id == 11 || r.wrong.field);
		assert_true(r.kind != KEEP_SUBSCRIPTION || span_is(r.subscription.filter, "a/#") ||
			    strcmp(r.wrong.field, "filter") == 0);
	}
	assert_int_equal(got, 0);
	return good;
}

static void test_passed_over(void **state)
{
	struct keep_found found;
	struct keep *k = NULL;
	struct keeper t;
	unsigned wrong;

	(void)state;
	keeper_init_fast(&t);
	t.setup.props = props_wrong;
	keeper_start(&t);
	fill(&t);
	keeper_close(&t);

	assert_int_equal(keep_look(t.dir, props_wrong, &k, NULL), 0);
	assert_int_equal(count(k, &wrong), GOOD);
	assert_int_equal(wrong, WRONG);
	assert_int_equal(keep_judge(k, &found), 0);
	assert_true(found.damaged && found.dropped == WRONG);
	assert_non_null(strstr(found.what, "a record that cannot be, filter: no topic filter"));
	keep_close(&k);

	for (unsigned i = 0; i < 2; i++) { /* the second time nothing is wrong any more */
		keeper_open(&t);
		assert_int_equal(count(t.k, &wrong), GOOD);
		assert_int_equal(wrong, 0);
		keeper_start(&t);
		assert_int_equal(t.found.damaged, i == 0);
		assert_int_equal(t.found.dropped, i == 0 ? WRONG : 0);
		assert_string_equal(t.found.aside, i == 0 ? "damaged-1.mdb" : "");
		keeper_close(&t);
	}
	keeper_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_subscriptions),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_passed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
