/* test_events_thread.c - the stream of events: in order, to each who listens, whatever writers and readers do meanwhile. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "store/events.h"

static struct events *e;
static char text[EVENTS_TEXT];
static size_t n;

static int begin(void **state)
{
	(void)state;
	e = mem_zalloc(events_size());
	return e ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	mem_free(e);
	return 0;
}

static void put(const char *s)
{
	events_put(e, s, strlen(s));
}

static void assert_next(struct events_reader *r, const char *s)
{
	assert_int_equal(events_read(e, r, text, &n), 1);
	assert_int_equal(n, strlen(s));
	assert_memory_equal(text, s, n);
}

/* Listening is for a time, and the longest promise counts. */
static void test_wanted(void **state)
{
	(void)state;
	assert_false(events_wanted(e, 0));
	events_want(e, 100);
	events_want(e, 50);
	assert_true(events_wanted(e, 99));
	assert_false(events_wanted(e, 100));
	assert_false(events_wanted(e, 99));
}

/* Each reader hears all from its beginning on. */
static void test_readers(void **state)
{
	struct events_reader a = {}, b;

	(void)state;
	put("one");
	b = (struct events_reader){ .at = events_end(e) };
	put("two, of more than one word");
	assert_next(&a, "one");
	assert_next(&a, "two, of more than one word");
	assert_next(&b, "two, of more than one word");
	assert_int_equal(events_read(e, &a, text, &n), 0);
	put("three");
	assert_next(&a, "three");
	assert_next(&b, "three");
	assert_int_equal(a.lost + b.lost, 0);
}

/* Who is slow has the newest ones, and knows how many he has not. */
static void test_too_slow(void **state)
{
	struct events_reader r = {};
	char name[16];

	(void)state;
	for (unsigned i = 0; i < EVENTS_KEPT + 10; i++) {
		snprintf(name, sizeof(name), "%u", i);
		put(name);
	}
	assert_next(&r, "10");
	assert_int_equal(r.lost, 10);
	for (unsigned i = 11; i < EVENTS_KEPT + 10; i++) {
		snprintf(name, sizeof(name), "%u", i);
		assert_next(&r, name);
	}
	assert_int_equal(r.lost, 10);
}

static void test_sizes(void **state)
{
	struct events_reader r = {};
	char large[EVENTS_TEXT + 1];

	(void)state;
	memset(large, 'x', sizeof(large));
	events_put(e, large, EVENTS_TEXT + 1);
	events_put(e, large, 0);
	events_put(e, large, EVENTS_TEXT);
	assert_int_equal(events_read(e, &r, text, &n), 1);
	assert_int_equal(n, EVENTS_TEXT);
}

/* A writer that has died in the middle costs one look, and one event; garbage from a process that was taken over costs what it hits. */
static void test_damage(void **state)
{
	struct events_reader r = {};
	uint64_t *words = (uint64_t *)(void *)e;

	(void)state;
	put("one");
	put("two");
	put("three");
	for (size_t i = 0; i < events_size() / sizeof(*words); i++) {
		if (memcmp(&words[i], "two", 3) != 0)
			continue;
		words[i] ^= 1;
		break;
	}
	assert_next(&r, "one");
	assert_int_equal(events_read(e, &r, text, &n), 0);
	assert_next(&r, "three");
	assert_int_equal(r.lost, 1);
	memset(e, 0xff, events_size());
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(events_read(e, &r, text, &n), 0);
	r = (struct events_reader){ .at = UINT64_MAX };
	memset(e, 0, events_size());
	put("four");
	assert_int_equal(events_read(e, &r, text, &n), 0);
	put("five");
	assert_next(&r, "five");
}

enum { WRITERS = 3, TIMES = 20000 };
static _Atomic unsigned writing;

static void *write_many(void *arg)
{
	unsigned who = *(const unsigned *)arg;
	char line[300];

	for (unsigned i = 0; i < TIMES; i++) {
		int len = snprintf(line, sizeof(line), "%u %u ", who, i);

		memset(line + len, 'a' + (int)who, i % 200);
		events_put(e, line, (size_t)len + i % 200);
	}
	atomic_fetch_sub(&writing, 1);
	return NULL;
}

/* Whole ones only, and those of a writer in its order. */
static void test_threads(void **state)
{
	struct events_reader r = {};
	unsigned who[WRITERS], last[WRITERS] = {}, writer, i, heard = 0;
	pthread_t threads[WRITERS];
	int at;

	(void)state;
	atomic_store(&writing, WRITERS);
	for (unsigned k = 0; k < WRITERS; k++) {
		who[k] = k;
		assert_int_equal(pthread_create(&threads[k], NULL, write_many, &who[k]), 0);
	}
	while (atomic_load(&writing) || r.at < events_end(e)) {
		if (events_read(e, &r, text, &n) != 1)
			continue;
		text[n] = '\0';
		assert_int_equal(sscanf(text, "%u %u %n", &writer, &i, &at), 2);
		assert_true(writer < WRITERS && i >= last[writer] && n == (size_t)at + i % 200);
		for (size_t k = (size_t)at; k < n; k++)
			assert_int_equal(text[k], 'a' + (int)writer);
		last[writer] = i;
		heard++;
	}
	for (unsigned k = 0; k < WRITERS; k++)
		pthread_join(threads[k], NULL);
	assert_int_equal(heard + r.lost, WRITERS * TIMES);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_wanted), TEST(test_readers), TEST(test_too_slow),
		TEST(test_sizes),  TEST(test_damage),  TEST(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
