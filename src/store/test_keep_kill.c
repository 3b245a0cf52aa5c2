/*
 * test_keep_kill.c - a process that writes is killed, at fifty moments that nobody has chosen: everything of which it
 * was told that it is on the disk is there, and nothing that was never written.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/keeper.h"

enum { KILLS = 50, EACH = 20, BEHIND = 400 };

/* What the child was told, in memory that outlives it. Messages from `done` to below `put` are there for sure. */
struct told {
	_Atomic uint64_t put, done;
};

struct step {
	uint64_t position, put, done; /* at that position: what is put, what may be gone */
};

static void payload_of(char *text, size_t n, uint64_t id)
{
	snprintf(text, n, "%llu-%*s", (unsigned long long)id, (int)(id * 7 % 300), "x");
}

static void put(struct keeper *t, uint64_t id)
{
	static const uint64_t who[] = { 1, 2 };
	char text[400];

	payload_of(text, sizeof(text), id);
	keeper_message(t, id, "t", text, who, 1 + id % 2);
}

static void over(struct keeper *t, uint64_t id)
{
	(void)!keep_done(&t->b, id, 1);
	if (id % 2)
		(void)!keep_done(&t->b, id, 2);
}

/* In the child: writes for ever. What it takes away it says before, what it has put when it is told. */
static void write_on(struct keeper *t, struct told *told, uint64_t from)
{
	struct step ring[64] = {};
	uint64_t id = from, done = told->done, committed;

	for (unsigned i = 0;; i++) {
		for (unsigned j = 0; j < EACH; j++)
			put(t, ++id);
		while (done + BEHIND < told->put) {
			over(t, done);
			done++;
		}
		told->done = done;
		ring[i % 64] = (struct step){ .put = id };
		ring[i % 64].position = keep_submit(t->k, &t->b);
		if (i >= 63) /* not further ahead than the ring is long */
			while (keep_committed(t->k) < ring[(i + 1) % 64].position)
				usleep(10);
		committed = keep_committed(t->k);
		for (unsigned j = 0; j < 64; j++)
			if (ring[j].position && ring[j].position <= committed && ring[j].put > told->put)
				told->put = ring[j].put;
	}
}

static void child(struct keeper *t, struct told *told, uint64_t from)
{
	keeper_start(t);
	keeper_session(t, 1, "a");
	keeper_session(t, 2, "b");
	keeper_submit(t);
	write_on(t, told, from);
}

/* The last id that is there. */
static uint64_t check(struct keeper *t, const struct told *told)
{
	struct keep_record r;
	uint64_t wanted = told->done ? told->done : 1, last = 0;
	char text[400];

	keeper_open(t);
	while (keep_next(t->k, &r) == 1) {
		if (r.kind != KEEP_MESSAGE)
			continue;
		payload_of(text, sizeof(text), r.id);
		assert_true(span_is(r.message.payload, text));
		if (r.id < wanted) /* it was taken away, perhaps not yet there */
			continue;
		if (wanted <= told->put)
			assert_true(r.id == wanted);
		wanted = r.id + 1;
		last = r.id;
		assert_int_equal(r.n_waiters, 1 + r.id % 2);
	}
	assert_true(wanted > told->put);
	keeper_start(t);
	assert_false(t->found.damaged);
	keeper_close(t);
	return last;
}

static void test_killed(void **state)
{
	struct told *told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t last = 0;
	struct keeper t;

	(void)state;
	keeper_init(&t);
	told->done = 1;
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t pid = fork();

		if (pid == 0)
			child(&t, told, last);
		usleep((useconds_t)(i * 7919 % 60000 + 500));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		last = check(&t, told);
		if (last < told->put)
			last = told->put;
	}
	print_message("%llu messages told of, %llu taken away\n", (unsigned long long)told->put,
		      (unsigned long long)told->done);
	keeper_done(&t);
	munmap(told, sizeof(*told));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
