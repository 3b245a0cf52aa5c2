/* test_shared.c - counters and rows of processes in the mapping: kept apart, inherited, never lost, also when all claim at once. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "drive/shared.h"

static const struct proto one = { .name = "one" }, two = { .name = "two" };
static struct shared *sh;

static int begin(void **state)
{
	(void)state;
	return shared_new(3, &sh);
}

static int finish(void **state)
{
	(void)state;
	shared_free(&sh);
	return 0;
}

static unsigned tallies(void)
{
	unsigned n = 0;

	for (const struct tally *t = NULL; (t = shared_next(sh, t));)
		n++;
	return n;
}

static uint64_t accepted(const struct tally *t)
{
	uint64_t n = 0;

	for (unsigned row = 0; row < sh->rows; row++)
		n += t->v[row * STAT_N + STAT_ACCEPTED];
	return n;
}

static void test_apart(void **state)
{
	struct tally *a = shared_tally(sh, 1, "echo", &one);

	(void)state;
	assert_ptr_equal(a, shared_tally(sh, 1, "echo", &one));
	assert_ptr_not_equal(a, shared_tally(sh, 2, "echo", &one));
	assert_ptr_not_equal(a, shared_tally(sh, 1, "echo", &two));
	assert_ptr_not_equal(a, shared_tally(sh, 1, "echo2", &one));
	assert_int_equal(tallies(), 4);
}

static void test_inherited(void **state)
{
	int number = shared_take_process(sh, "main");
	struct tally *t = shared_tally(sh, (unsigned)number, "echo", &one), *heir;

	(void)state;
	assert_true(number > 0);
	shared_begin_process(sh, (unsigned)number, NULL, 5);
	assert_int_equal(sh->process[number].pid, getpid());
	t->v[STAT_ACCEPTED] = 3;
	t->v[2 * STAT_N + STAT_ACCEPTED] = 4;
	t->v[STAT_CLOSED] = 5;
	t->open = 2;
	shared_bury_process(sh, (unsigned)number);
	assert_int_equal(tallies(), 1);
	heir = shared_tally(sh, 0, "echo", &one);
	assert_int_equal(accepted(heir), 7);
	assert_int_equal(heir->v[STAT_CLOSED], 7); /* with those that it cut off */
	assert_int_equal(heir->open, 0);
	assert_int_equal(sh->process[number].pid, 0);
	assert_int_equal(shared_take_process(sh, "next"), number);
}

static void test_full(void **state)
{
	char name[32];

	(void)state;
	for (unsigned i = 0; i < SHARED_TALLIES; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		assert_non_null(shared_tally(sh, 0, name, &one));
	}
	assert_null(shared_tally(sh, 0, "one more", &one));
	assert_non_null(shared_tally(sh, 0, "s7", &one));
	for (unsigned i = 1; i < SHARED_PROCESSES; i++)
		assert_true(shared_take_process(sh, "p") > 0);
	assert_int_equal(shared_take_process(sh, "p"), -1);
}

/* Processes that are killed at any moment, and claim at the same time. */
static void test_claims(void **state)
{
	enum { EACH = 100, PROCESSES = 4 };
	pid_t pid[PROCESSES];

	(void)state;
	for (unsigned p = 0; p < PROCESSES; p++)
		assert_int_equal(shared_take_process(sh, "p"), (int)p + 1);
	for (unsigned p = 0; p < PROCESSES; p++) {
		pid[p] = fork();
		assert_true(pid[p] >= 0);
		for (unsigned i = 0; pid[p] == 0 && i < EACH; i++) {
			char name[32];

			snprintf(name, sizeof(name), "s%u", i);
			atomic_fetch_add(&shared_tally(sh, p + 1, name, &one)->v[STAT_ACCEPTED], 1);
		}
		if (pid[p] == 0)
			_exit(0);
	}
	for (unsigned p = 0; p < PROCESSES; p++)
		waitpid(pid[p], NULL, 0);
	assert_int_equal(tallies(), EACH * PROCESSES);
	for (const struct tally *t = NULL; (t = shared_next(sh, t));)
		assert_int_equal(accepted(t), 1);
	for (unsigned p = 0; p < PROCESSES; p++)
		shared_bury_process(sh, p + 1);
	assert_int_equal(tallies(), EACH);
	for (const struct tally *t = NULL; (t = shared_next(sh, t));)
		assert_int_equal(accepted(t), PROCESSES);
}

/* Whatever a process that was taken over has written there, the monitor reads no further than it should. */
static void test_garbage(void **state)
{
	char text[PEER_TEXT];

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		struct tally *t = shared_tally(sh, 5, "echo", &one);

		memset((void *)t, 0xff, sh->tally_size);
		atomic_store(&t->owner, 6);
		t->proto = i & 1 ? &one : (const struct proto *)(uintptr_t)0x4141414141414141;
	}
	memset((void *)&sh->process[5], 0xff, sizeof(sh->process[5]));
	assert_false(shared_crash_peer(&sh->process[5].crash, text));
	for (const struct tally *t = NULL; (t = shared_next(sh, t));)
		(void)accepted(t);
	atomic_store(&shared_tally(sh, 7, "mine", &one)->owner, 1); /* for us, and for nobody */
	atomic_store(&shared_tally(sh, 7, "his", &one)->owner, 4711);
	assert_non_null(shared_tally(sh, 0, "ours", &one));
	shared_bury_process(sh, 5);
	for (const struct tally *t = NULL; (t = shared_next(sh, t));) {
		assert_int_equal(atomic_load(&t->owner), 1);
		assert_string_not_equal(t->name, "mine");
	}
	assert_string_equal(sh->names[5], "");
}

static void test_no_memory(void **state)
{
	struct shared *none = NULL;

	(void)state;
	for (unsigned long nth = 1; nth <= 2; nth++) {
		fault_arm(FAULT_SYS, nth, ENOMEM, false);
		assert_int_equal(shared_new(3, &none), -ENOMEM);
		fault_arm(FAULT_SYS, 0, 0, false);
		assert_null(none);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_apart, begin, finish),
		cmocka_unit_test_setup_teardown(test_inherited, begin, finish),
		cmocka_unit_test_setup_teardown(test_full, begin, finish),
		cmocka_unit_test_setup_teardown(test_claims, begin, finish),
		cmocka_unit_test_setup_teardown(test_garbage, begin, finish),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
