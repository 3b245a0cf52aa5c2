/* test_chat.c - the room: who hears what, slow readers, other loops, and coming and going. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/protos.h"
#include "support/dialogue.h"
#include "support/world.h"

static void test_cases(void **state)
{
	(void)state;
	dialogue_replay_folder("src/proto/chat/cases", &chat_proto);
}

static void test_failing_allocations(void **state)
{
	(void)state;
	dialogue_fail_folder("src/proto/chat/cases", &chat_proto);
}

enum { LINES, DELIVERIES, DROPPED }; /* counters */

static uint64_t count(const struct world *w, unsigned which)
{
	return memdrive_stat(w->drive, STAT_OWN + which);
}

/* A slow reader loses whole lines, nobody waits for it, and memory is bounded; with names it is told. */
static void slow_reader(bool names)
{
	enum { TIMES = 40000 };
	const char *const said = names ? "guest1: 0123456789\n" : "0123456789\n";
	size_t n = strlen(said), got;
	struct memconn *a, *b, *c;
	char missed[64];
	struct span out;
	struct world w;

	world_open(&w, &chat_proto, NULL, "names", names ? "yes" : "no");
	a = world_client(&w);
	b = world_client(&w);
	c = world_client(&w);
	memconn_window(b, 0);
	for (int i = 0; i < TIMES; i++)
		memconn_sends(a, "0123456789\n");
	assert_int_equal(memconn_out(c).n, TIMES * n);
	assert_true(memconn_peak(b) <= 64 * 1024 + n);
	memconn_window(b, MEM_NO_LIMIT);
	out = memconn_out(b);
	got = count(&w, DELIVERIES) - TIMES;
	assert_int_equal(got + count(&w, DROPPED), TIMES);
	assert_true(count(&w, DROPPED) > TIMES / 10);
	for (size_t i = 0; i < got; i++)
		assert_memory_equal(out.p + i * n, said, n);
	snprintf(missed, sizeof(missed), "* %u lines missed\n", (unsigned)count(&w, DROPPED));
	memconn_take(b, got * n);
	assert_said_span(b, names ? span_str(missed) : span_str(""));
	memconn_sends(a, "and on\n");
	assert_said_span(b, span_str(names ? "guest1: and on\n" : "and on\n"));
	assert_int_equal(count(&w, LINES), TIMES + 1);
	world_close(&w);
}

static void test_slow_reader(void **state)
{
	(void)state;
	slow_reader(false);
	slow_reader(true);
}

/* Large batches go out as references; their bytes are the same. */
static void test_large_batches(void **state)
{
	enum { SIZE = 60000 };
	static uint8_t text[SIZE];
	struct memconn *a, *b;
	struct world w;

	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		text[i] = i % 37 == 36 || i == SIZE - 1 ? '\n' : (uint8_t)('a' + i % 26);
	world_open(&w, &chat_proto, NULL);
	a = world_client(&w);
	b = world_client(&w);
	memconn_send(a, text, SIZE, 0);
	assert_said_span(b, (struct span){ text, SIZE });
	assert_int_equal(count(&w, DELIVERIES), (SIZE + 36) / 37);
	world_close(&w);
}

/* The one who does not read may speak, and is heard to leave. */
static void test_deaf_speaker(void **state)
{
	static uint8_t text[200000];
	struct memconn *a, *b;
	struct world w;

	(void)state;
	memset(text, '\n', sizeof(text));
	world_open(&w, &chat_proto, NULL);
	a = world_client(&w);
	b = world_client(&w);
	memconn_window(b, 0);
	memconn_send(a, text, sizeof(text), 0);
	memconn_sends(b, "deaf\n");
	assert_said(a, "deaf\n");
	memconn_eof(b);
	memconn_window(b, MEM_NO_LIMIT);
	assert_int_equal(memconn_end(b), MEM_CLOSED);
	world_close(&w);
}

/* Each way to leave; the others go on, and nothing is sent to who is not there. */
static void test_leaving(void **state)
{
	struct memconn *c[4];
	struct world w;

	(void)state;
	world_open(&w, &chat_proto, NULL, "names", "yes");
	for (int i = 0; i < 4; i++)
		c[i] = world_client(&w);
	memconn_reset(c[1]);
	memconn_eof(c[2]);
	memconn_sends(c[3], "/quit\n");
	memconn_sends(c[0], "/who\nhello\n");
	assert_said(c[0], "* guest1\n");
	for (int i = 1; i < 4; i++)
		assert_said(c[i], "");
	assert_int_equal(count(&w, DELIVERIES), 0);
	c[1] = world_client(&w);
	memconn_sends(c[1], "/who\n");
	assert_said(c[1], "* guest1\n* guest5\n"); /* a number is given once */
	memdrive_stop(w.drive);
	assert_int_equal(memconn_end(c[0]), MEM_CLOSED);
	world_close(&w);
}

static struct mail *lines_of(const char *text)
{
	struct span s = span_str(text);
	struct blob *b = blob_new(&s, 1);

	assert_non_null(b);
	return blob_to_mail(b);
}

/* This loop is one of three: lines go to the others once each, and come from them. */
static void test_other_loops(void **state)
{
	unsigned seen = 0;
	struct memconn *a, *b;
	struct mem_away away;
	struct world w;

	(void)state;
	world_open(&w, &chat_proto, &(struct mem_setup){ .loops = 3 });
	a = world_client(&w);
	b = world_client(&w);
	memconn_sends(a, "one\ntwo\n");
	assert_said(b, "one\ntwo\n");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(memdrive_away(w.drive, &away), 1);
		seen |= 1u << away.loop;
		assert_int_equal(away.tag, 2); /* lines */
		assert_true(span_is(blob_span(blob_of_mail(away.mail)), "one\ntwo\n"));
		mail_drop(away.mail);
	}
	assert_int_equal(seen, 6);
	assert_int_equal(memdrive_away(w.drive, &away), 0);
	memdrive_shard_post(w.drive, 1, lines_of("from afar\n"));
	assert_said(a, "from afar\n");
	assert_said(b, "from afar\n");
	assert_int_equal(memdrive_away(w.drive, &away), 0); /* nothing is passed on twice */
	world_close(&w);
}

/* /who asks the other loops, and is asked by them. */
static void test_who_elsewhere(void **state)
{
	struct memconn *a, *b;
	struct mem_away away;
	struct world w;

	(void)state;
	world_open(&w, &chat_proto, &(struct mem_setup){ .loops = 2 }, "names", "yes");
	a = world_client(&w);
	b = world_client(&w);
	memconn_sends(a, "/who\n");
	assert_said(a, "* guest1\n* guest3\n"); /* 2 and 4 are the other loop's */
	assert_int_equal(memdrive_away(w.drive, &away), 1);
	memconn_reset(b);
	/* the same question as it would come from there: the names of this loop go to who asks */
	memdrive_shard_post(w.drive, away.tag, away.mail);
	assert_said(a, "* guest1\n");
	assert_int_equal(memdrive_away(w.drive, &away), 0);
	world_close(&w);
}

/* More people than an answer to /who may name. */
static void test_crowd(void **state)
{
	enum { PEOPLE = 2000 };
	struct memconn *a, *last = NULL;
	struct span s;
	struct world w;

	(void)state;
	world_open(&w, &chat_proto, NULL, "names", "yes");
	a = world_client(&w);
	for (int i = 1; i < PEOPLE; i++)
		last = world_client(&w);
	memconn_sends(a, "/who\n");
	s = memconn_out(a);
	assert_true(s.n <= 16 * 1024);
	assert_non_null(memmem(s.p, s.n, " more\n", 6));
	memconn_take(a, SIZE_MAX);
	memconn_sends(last, "hello\n");
	assert_said(a, "guest2000: hello\n");
	assert_int_equal(count(&w, DELIVERIES), PEOPLE - 1);
	world_close(&w);
}

static void scene(void *names)
{
	const char *const options[] = { "names", names, NULL, NULL };
	struct world w;

	if (world_try_open(&w, &chat_proto, &(struct mem_setup){ .loops = 2 }, options, NULL) == 0) {
		struct memconn *c[3];
		struct mem_away away;

		for (int i = 0; i < 3; i++)
			c[i] = memconn_open(w.drive, NULL);
		for (int i = 0; i < 3; i++) {
			if (c[i])
				memconn_sends(c[i], "hello\n/nick x\n/who\nagain");
		}
		while (memdrive_away(w.drive, &away) == 1)
			memdrive_shard_post(w.drive, away.tag, away.mail);
		if (c[0])
			memconn_eof(c[0]);
	}
	world_close(&w);
}

static void test_failing_loops(void **state)
{
	(void)state;
	fail_each_allocation(scene, "yes");
	fail_each_allocation(scene, "no");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),        cmocka_unit_test(test_failing_allocations),
		cmocka_unit_test(test_slow_reader),  cmocka_unit_test(test_large_batches),
		cmocka_unit_test(test_deaf_speaker), cmocka_unit_test(test_leaving),
		cmocka_unit_test(test_other_loops),  cmocka_unit_test(test_who_elsewhere),
		cmocka_unit_test(test_crowd),        cmocka_unit_test(test_failing_loops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
