/*
 * test_models.c - the models whose workers have one conversation at a time: how many are served at once and where the
 * others wait, datagrams beside, changes of the model while clients come, stops with a full queue, calls that fail. Run
 * under ThreadSanitizer too.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "drive/loop.h"
#include "support/live.h"

enum { MOMENT_MS = 60, PATIENCE_MS = 20000 };

/* ---- clients ---- */

static bool says(int fd, const char *what)
{
	return send(fd, what, strlen(what), MSG_NOSIGNAL) == (ssize_t)strlen(what);
}

static bool quiet(int fd)
{
	return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, MOMENT_MS) == 0;
}

static bool ended(int fd)
{
	char byte;

	return recv(fd, &byte, 1, 0) == 0;
}

/* A client who has said something and is not answered yet. */
static int dial_and_say(struct live *w, const char *what)
{
	int fd = live_dial(w, "echo", SOCK_STREAM);

	assert_true(fd >= 0);
	assert_true(says(fd, what));
	return fd;
}

static int dial_and_talk(struct live *w)
{
	int fd = dial_and_say(w, "a");

	assert_true(live_exchange(fd, "", "a"));
	return fd;
}

/* The words of [echo] with this model, and one more. */
static const char *const *echo(const char *model, const char *more)
{
	static char choice[64];
	static const char *words[] = { "echo", "listen=tcp:0 udp:0", choice, NULL, NULL, NULL };

	snprintf(choice, sizeof(choice), "model=%s", model);
	words[3] = more;
	return words;
}

static bool counts(struct live *w, const char *what)
{
	struct buf b;
	bool found;

	buf_init(&b, 1 << 20);
	server_stats(w->s, true, &b); /* it only reads */
	found = strstr(buf_str(&b), what) != NULL;
	buf_done(&b);
	return found;
}

static void wait_count(struct live *w, const char *what)
{
	for (int i = 0; !counts(w, what); i++) {
		if (i == PATIENCE_MS)
			fail_msg("%s is not in the counters", what);
		usleep(1000);
	}
}

/* ---- how many at once ---- */

static void test_iterative(void **state)
{
	struct live w;
	int one, two, three;

	(void)state;
	assert_int_equal(live_start(&w, echo("iterative", "workers=5")), 0);
	one = dial_and_talk(&w);
	two = dial_and_say(&w, "b");
	three = dial_and_say(&w, "c");
	assert_true(quiet(two) && quiet(three));
	assert_true(live_exchange(one, "still\n", "still\n"));
	assert_true(counts(&w, "\"open\":1,") && counts(&w, "\"accepted\":1,")); /* the others are in the backlog */
	close(one);
	assert_true(live_exchange(two, "", "b"));
	assert_true(quiet(three));
	close(two);
	assert_true(live_exchange(three, "", "c"));
	close(three);
	wait_count(&w, "\"closed\":3,");
	assert_int_equal(live_stop(&w), 0);
}

static void n_at_once(const char *model)
{
	struct live w;
	int fd[4], more;

	assert_int_equal(live_start(&w, echo(model, "workers=4")), 0);
	for (int i = 0; i < 4; i++)
		fd[i] = dial_and_talk(&w);
	more = dial_and_say(&w, "b");
	assert_true(quiet(more));
	for (int i = 0; i < 4; i++)
		assert_true(live_exchange(fd[i], "still", "still"));
	close(fd[2]);
	assert_true(live_exchange(more, "", "b"));
	fd[2] = more;
	for (int i = 0; i < 4; i++)
		close(fd[i]);
	wait_count(&w, "\"closed\":5,");
	assert_int_equal(live_stop(&w), 0);
}

static void test_symmetric(void **state)
{
	(void)state;
	n_at_once("symmetric");
}

static void test_pool(void **state)
{
	(void)state;
	n_at_once("pool");
}

/* One is served, two are in the queue, and the others in the backlog until there is room. */
static void test_queue(void **state)
{
	static const char *const words[] = { "echo", "listen=tcp:0", "model=pool", "workers=1", "queue=2", NULL, NULL };
	struct live w;
	int fd[6];

	(void)state;
	assert_int_equal(live_start(&w, words), 0);
	fd[0] = dial_and_talk(&w);
	for (int i = 1; i < 6; i++)
		fd[i] = dial_and_say(&w, "b");
	wait_count(&w, "\"waiting\":2,");
	wait_count(&w, "\"queue_full\":1,");
	usleep(MOMENT_MS * 1000);
	assert_true(counts(&w, "\"waiting\":2,") && counts(&w, "\"open\":3,") && counts(&w, "\"queue_full\":1,"));
	for (int i = 1; i < 6; i++) {
		close(fd[i - 1]);
		assert_true(live_exchange(fd[i], "", "b")); /* in the order in which they came */
	}
	close(fd[5]);
	wait_count(&w, "\"closed\":6,");
	assert_int_equal(live_stop(&w), 0);
}

/* ---- many ---- */

struct client {
	struct live *w;
	unsigned rounds, failed;
};

static void *talk(void *arg)
{
	struct client *c = arg;

	for (unsigned i = 0; i < c->rounds; i++) {
		int fd = live_dial(c->w, "echo", SOCK_STREAM);

		for (unsigned k = 0; k < 3; k++)
			c->failed += fd < 0 || !live_exchange(fd, "hello\n", "hello\n");
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

static void test_crowd(void **state)
{
	static const char *const models[] = { "iterative", "pool", "symmetric" };
	static const char *const more[] = { NULL, "queue=1", "workers=3" };
	enum { CLIENTS = 8, ROUNDS = 25 };

	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		pthread_t t[CLIENTS];
		struct client c[CLIENTS];
		struct live w;

		assert_int_equal(live_start(&w, echo(models[m], more[m])), 0);
		for (unsigned i = 0; i < CLIENTS; i++) {
			c[i] = (struct client){ &w, ROUNDS, 0 };
			assert_int_equal(pthread_create(&t[i], NULL, talk, &c[i]), 0);
		}
		for (unsigned i = 0; i < CLIENTS; i++) {
			int fd = live_dial(&w, "echo", SOCK_DGRAM);

			if (m < 2) /* symmetric leaves these to the event loops, others to the workers */
				assert_true(live_exchange(fd, "ping", "ping"));
			close(fd);
			pthread_join(t[i], NULL);
			assert_int_equal(c[i].failed, 0);
		}
		wait_count(&w, "\"closed\":200,");
		assert_int_equal(live_stop(&w), 0);
	}
}

/* ---- datagrams ---- */

/* Answers a little later, by a timer, so the worker has gone back to where it waits. */
struct late {
	struct route to;
	bool due;
};

static enum verdict late_step(void *self, const struct ev *ev, struct io *io)
{
	struct late *late = self;

	if (ev->kind == EV_DGRAM) {
		late->to = *ev->dgram.route;
		io_timer(io, 0, io->now + 30 * MSEC);
	} else if (ev->kind == EV_TIMER) {
		out_dgram(io, &late->to, "late", 4);
	}
	return ev->kind == EV_STOP ? V_CLOSE : V_GO;
}

static const struct proto late_proto = {
	.abi = PROTO_ABI,
	.name = "late",
	.flags = P_DGRAM | P_SMALL,
	.self_size = sizeof(struct late),
	.step = late_step,
};

static void test_datagram_timers(void **state)
{
	static const char *const models[] = { "model=iterative", "model=pool" };
	const char *words[] = { "late", "listen=udp:0", models[0], NULL, NULL };
	struct live w;

	(void)state;
	live_proto = &late_proto;
	for (unsigned m = 0; m < 2; m++) {
		words[2] = models[m];
		assert_int_equal(live_start(&w, words), 0);
		for (unsigned i = 0; i < 3; i++) {
			int fd = live_dial(&w, "late", SOCK_DGRAM);

			assert_true(live_exchange(fd, "x", "late"));
			close(fd);
		}
		assert_int_equal(live_stop(&w), 0);
	}
	live_proto = NULL;
}

/* One worker does one thing at a time: a datagram waits until the conversation is over. A pool has others. */
static void test_datagrams_beside(void **state)
{
	struct live w;
	int one, dgram;

	(void)state;
	assert_int_equal(live_start(&w, echo("iterative", NULL)), 0);
	one = dial_and_talk(&w);
	dgram = live_dial(&w, "echo", SOCK_DGRAM);
	assert_true(says(dgram, "ping") && quiet(dgram));
	close(one);
	assert_true(live_exchange(dgram, "", "ping"));
	close(dgram);
	assert_int_equal(live_stop(&w), 0);

	assert_int_equal(live_start(&w, echo("pool", "workers=2")), 0);
	one = dial_and_talk(&w);
	dgram = live_dial(&w, "echo", SOCK_DGRAM);
	assert_true(live_exchange(dgram, "ping", "ping"));
	close(one);
	close(dgram);
	assert_int_equal(live_stop(&w), 0);
}

/* ---- ends ---- */

static pthread_key_t kept;
static _Atomic unsigned tidied;

static void tidy(void *arg)
{
	(void)arg;
	usleep(MOMENT_MS * 1000);
	atomic_fetch_add(&tidied, 1);
}

static enum verdict keeper_step(void *self, const struct ev *ev, struct io *io)
{
	(void)self;
	if (ev->kind == EV_OPEN && !pthread_getspecific(kept))
		assert_int_equal(pthread_setspecific(kept, &tidied), 0);
	if (ev->kind == EV_DATA) {
		struct span in = in_peek(io);

		out_mem(io, in.p, in.n);
		in_take(io, in.n);
	}
	return ev->kind == EV_OPEN || ev->kind == EV_DATA ? V_GO : V_CLOSE;
}

static const struct proto keeper_proto = {
	.abi = PROTO_ABI,
	.name = "keeper",
	.flags = P_STREAM | P_SMALL,
	.step = keeper_step,
};

/* What a library keeps for each thread it tidies up when the thread ends: before the server does, or exit() is beside it. */
static void test_threads_end(void **state)
{
	static const char *const models[] = { "model=thread", "model=pool" };
	const char *words[] = { "keeper", "listen=tcp:0", models[0], "workers=3", NULL, NULL };

	(void)state;
	live_proto = &keeper_proto;
	assert_int_equal(pthread_key_create(&kept, tidy), 0);
	for (unsigned m = 0; m < 2; m++) {
		struct live w;
		int fd[3];

		words[2] = models[m];
		tidied = 0;
		assert_int_equal(live_start(&w, words), 0);
		for (unsigned i = 0; i < 3; i++) {
			fd[i] = live_dial(&w, "keeper", SOCK_STREAM);
			assert_true(live_exchange(fd[i], "a", "a"));
		}
		assert_int_equal(live_stop(&w), 0);
		assert_int_equal(tidied, 3);
		for (unsigned i = 0; i < 3; i++)
			close(fd[i]);
	}
	pthread_key_delete(kept);
	live_proto = NULL;
}

/* ---- reload ---- */

/* Each model follows each other at the same addresses: nobody is refused, and who talks is not disturbed. */
static void test_models_change(void **state)
{
	static const char *const models[] = {
		"event",     "pool",      "symmetric", "thread", "pool",      "iterative",
		"event",     "symmetric", "pool",      "event",  "iterative", "thread",
		"symmetric", "iterative", "pool",      "thread", "iterative", "symmetric"
	};
	enum { N = sizeof(models) / sizeof(models[0]) };
	unsigned port = live_free_port();
	char listen[64], choice[64];
	const char *words[] = { "echo", listen, choice, "workers=3", NULL, NULL };
	struct live_caller c;
	struct live w;
	int talks[N];

	(void)state;
	snprintf(listen, sizeof(listen), "listen=tcp:%u udp:%u", port, port);
	for (unsigned i = 0; i < N; i++) {
		int dgram;

		snprintf(choice, sizeof(choice), "model=%s", models[i]);
		if (i == 0)
			assert_int_equal(live_start(&w, words), 0);
		else if (live_reload(&w, words) < 0)
			fail_msg("%s: %s", models[i], w.problem);
		if (i == 0)
			live_call(&c, port);
		talks[i] = dial_and_talk(&w);
		for (unsigned k = 0; k < 4 && strcmp(models[i], "iterative") != 0; k++) {
			dgram = live_dial_port(port, SOCK_DGRAM);
			assert_true(live_exchange(dgram, "ping", "ping"));
			close(dgram);
		}
		for (unsigned k = 0; k <= i; k++) /* under their own model, all of them */
			assert_true(live_exchange(talks[k], "still", "still"));
	}
	for (unsigned i = 0; i < N; i++)
		close(talks[i]);
	live_call_end(&c);
	assert_int_equal(live_stop(&w), 0);
}

/* The address goes while some wait at it: they are served by the old workers, in their turn. */
static void test_address_goes(void **state)
{
	static const char *const models[] = { "model=iterative", "model=pool", "model=symmetric" };
	static const char *const none[] = { "discard", "listen=tcp:0", NULL, NULL };
	const char *words[] = { "echo", "listen=tcp:0 udp:0", models[0], "workers=1", "queue=1", NULL, NULL };
	struct live w;

	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		int fd[5];

		words[2] = models[m];
		assert_int_equal(live_start(&w, words), 0);
		fd[0] = dial_and_talk(&w);
		for (int i = 1; i < 5; i++)
			fd[i] = dial_and_say(&w, "b");
		assert_int_equal(live_reload(&w, none), 0);
		assert_int_equal(live_dial(&w, "echo", SOCK_STREAM), -1);
		for (int i = 1; i < 5; i++) {
			close(fd[i - 1]);
			assert_true(live_exchange(fd[i], "", "b"));
		}
		close(fd[4]);
		assert_int_equal(live_stop(&w), 0);
	}
}

/* ---- stopping ---- */

/* Who waits in the queue has asked already: it is answered, and then it is the end for all of them. */
static void test_stop_queue(void **state)
{
	static const char *const words[] = { "echo", "listen=tcp:0", "model=pool", "workers=2", NULL, NULL };
	enum { WAITING = 6 };
	struct live w;
	int talks[2], fd[WAITING];

	(void)state;
	assert_int_equal(live_start(&w, words), 0);
	for (int i = 0; i < 2; i++)
		talks[i] = dial_and_talk(&w);
	for (int i = 0; i < WAITING; i++)
		fd[i] = dial_and_say(&w, "last words");
	wait_count(&w, "\"waiting\":6,");
	assert_int_equal(live_stop(&w), 0);
	for (int i = 0; i < WAITING; i++) {
		assert_true(live_exchange(fd[i], "", "last words"));
		assert_true(ended(fd[i]));
		close(fd[i]);
	}
	for (int i = 0; i < 2; i++) {
		assert_true(ended(talks[i]));
		close(talks[i]);
	}
}

static enum verdict stubborn_step(void *self, const struct ev *ev, struct io *io)
{
	(void)self;
	if (ev->kind == EV_DATA)
		in_take(io, in_peek(io).n);
	return V_GO;
}

static const struct proto stubborn_proto = {
	.abi = PROTO_ABI, .name = "stubborn", .flags = P_STREAM, .self_size = 1, .step = stubborn_step
};

/* A second signal: those in the middle of something are cut, and those in the queue go unserved. */
static void test_cut(void **state)
{
	static const char *const models[] = { "model=iterative", "model=pool", "model=symmetric" };
	const char *words[] = { "stubborn", "listen=tcp:0", models[0], "workers=2", NULL, NULL };
	struct live w;

	(void)state;
	live_proto = &stubborn_proto;
	for (unsigned m = 0; m < 3; m++) {
		int fd[5];

		words[2] = models[m];
		assert_int_equal(live_start(&w, words), 0);
		for (int i = 0; i < 5; i++)
			assert_true((fd[i] = live_dial(&w, "stubborn", SOCK_STREAM)) >= 0);
		wait_count(&w, m == 0 ? "\"accepted\":1," : "\"accepted\":2,");
		if (m == 1)
			wait_count(&w, "\"waiting\":3,");
		kill(getpid(), SIGTERM);
		usleep(MOMENT_MS * 1000);
		assert_int_equal(live_stop(&w), 1);
		for (int i = 0; i < 5; i++)
			close(fd[i]);
	}
	live_proto = NULL;
}

/* Workers who have had nothing to do end too. */
static void test_nobody_comes(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct live w;

		assert_int_equal(live_start(&w, echo(i ? "pool" : "symmetric", "workers=20")), 0);
		assert_int_equal(live_stop(&w), 0);
	}
}

/* ---- what is refused, and what fails ---- */

static void test_shared(void **state)
{
	static const char *const models[] = { "model=iterative", "model=pool", "model=symmetric" };
	const char *words[] = { "chat", "listen=tcp:0", models[0], NULL, NULL };
	const char *dgrams[] = { "echo", "listen=udp:0", "model=symmetric", NULL, NULL };
	struct live w;

	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		words[2] = models[m];
		assert_int_equal(live_start(&w, words), -EINVAL);
	}
	assert_int_equal(live_start(&w, dgrams), -EINVAL);
}

#ifdef GUICHET_FAULTS
static void fail_each(const char *from, const char *to, enum fault_kind kind)
{
	unsigned port = live_free_port();
	char listen[64];
	const char *before[] = { "echo", listen, from, "workers=3", NULL, NULL };
	const char *after[] = { "shout", "protocol=echo", "upper=yes", listen, to, "workers=3", NULL, NULL };

	snprintf(listen, sizeof(listen), "listen=tcp:%u udp:%u", port, port);
	live_fail_each(port, before, after, kind);
}

static void test_failing_calls(void **state)
{
	(void)state;
	fail_each("model=event", "model=pool", FAULT_SYS);
	fail_each("model=pool", "model=symmetric", FAULT_SYS);
	fail_each("model=symmetric", "model=event", FAULT_SYS);
}

static void test_failing_memory(void **state)
{
	(void)state;
	fail_each("model=event", "model=symmetric", FAULT_MEM);
	fail_each("model=symmetric", "model=pool", FAULT_MEM);
	fail_each("model=pool", "model=thread", FAULT_MEM);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_iterative),
		cmocka_unit_test(test_symmetric),
		cmocka_unit_test(test_pool),
		cmocka_unit_test(test_queue),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_datagram_timers),
		cmocka_unit_test(test_datagrams_beside),
		cmocka_unit_test(test_threads_end),
		cmocka_unit_test(test_models_change),
		cmocka_unit_test(test_address_goes),
		cmocka_unit_test(test_stop_queue),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_nobody_comes),
		cmocka_unit_test(test_shared),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_failing_calls),
		cmocka_unit_test(test_failing_memory),
#endif
	};

	live_no_log();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
