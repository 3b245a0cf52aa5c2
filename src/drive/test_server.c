/*
 * test_server.c - the whole server in one process: three loops, models event and thread, clients in threads, reloads
 * while they talk. Run under ThreadSanitizer too; then every system call is made to fail, one by one.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>
#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "drive/jobs.h"
#include "drive/sys.h"
#include "support/live.h"

struct client {
	struct live *w;
	const char *service;
	unsigned rounds, failed;
};

static void *talk(void *arg)
{
	struct client *c = arg;

	for (unsigned i = 0; i < c->rounds; i++) {
		char line[64];
		int fd = live_dial(c->w, c->service, SOCK_STREAM);

		snprintf(line, sizeof(line), "round %u\n", i);
		for (unsigned k = 0; k < 5; k++)
			c->failed += fd < 0 || !live_exchange(fd, line, line);
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

static unsigned talk_all(struct live *w, const char *const *services, unsigned rounds)
{
	pthread_t t[16];
	struct client c[16];
	unsigned n = 0, failed = 0;

	for (; services[n % 16] && n < 16; n++) {
		c[n] = (struct client){ w, services[n], rounds, 0 };
		assert_int_equal(pthread_create(&t[n], NULL, talk, &c[n]), 0);
	}
	for (unsigned i = 0; i < n; i++) {
		pthread_join(t[i], NULL);
		failed += c[i].failed;
	}
	return failed;
}

/* Has each service and process all that it has there? */
static void assert_same_size(const json_t *a, const json_t *b)
{
	static const char *const lists[] = { "services", "processes" };

	for (size_t k = 0; k < 2; k++) {
		const json_t *some = json_object_get(a, lists[k]), *all = json_object_get(b, lists[k]);

		assert_int_equal(json_array_size(some), json_array_size(all));
		for (size_t i = 0; i < json_array_size(all); i++) {
			const json_t *one = json_array_get(some, i), *other = json_array_get(all, i);

			assert_int_equal(json_object_size(one), json_object_size(other));
			assert_int_equal(json_array_size(json_object_get(one, "addresses")),
					 json_array_size(json_object_get(other, "addresses")));
		}
	}
}

static const char *const both_models[] = { "echo",         "listen=tcp:0 udp:0", NULL, "skeleton",
					   "listen=tcp:0", "model=thread",       NULL, NULL };

static void test_models(void **state)
{
	(void)state;
	struct live w;
	static const char *const who[] = { "echo", "echo", "echo", "echo", NULL };
	struct buf b;

	assert_int_equal(live_start(&w, both_models), 0);
	assert_int_equal(talk_all(&w, who, 30), 0);

	int udp = live_dial(&w, "echo", SOCK_DGRAM);

	assert_true(live_exchange(udp, "ping", "ping"));
	close(udp);
	buf_init(&b, 1 << 20);
	server_stats(w.s, true, &b); /* only reads; the counters are whole values */
	assert_non_null(strstr(buf_str(&b), "\"accepted\":120"));
	buf_done(&b);
	assert_int_equal(live_stop(&w), 0);
}

/* Either there is all of it, or it says that there is not. */
static void test_counters_without_memory(void **state)
{
#ifdef GUICHET_FAULTS
	struct live w;
	json_t *whole = NULL;

	(void)state;
	assert_int_equal(live_start(&w, both_models), 0);
	json_set_alloc_funcs(mem_alloc, mem_free);
	for (unsigned long n = 0, calls = 0; n <= calls; n++) { /* none fails, then the first, ... */
		BUF_AUTO struct buf b = BUF_INIT(1 << 20);
		json_t *found;

		fault_arm(FAULT_MEM, n, 0, false);
		server_stats(w.s, true, &b);
		if (n)
			calls = fault_calls(FAULT_MEM);
		else
			calls = 1;
		fault_arm(FAULT_MEM, 0, 0, false);
		found = b.err ? NULL : json_loads(buf_str(&b), 0, NULL);
		assert_true(b.err || found);
		if (!whole)
			whole = json_incref(found);
		if (found)
			assert_same_size(found, whole);
		json_decref(found);
	}
	json_decref(whole);
	json_set_alloc_funcs(malloc, free);
	assert_int_equal(live_stop(&w), 0);
#else
	(void)state;
#endif
}

static const char *const threads_only[] = { "echo", "listen=tcp:0", "model=thread", NULL, NULL };

static void test_threads(void **state)
{
	(void)state;
	struct live w;
	static const char *const who[] = { "echo", "echo", "echo", "echo", NULL };
	int open;

	assert_int_equal(live_start(&w, threads_only), 0);
	assert_int_equal(talk_all(&w, who, 20), 0);
	open = live_dial(&w, "echo", SOCK_STREAM);
	assert_true(live_exchange(open, "x", "x"));
	assert_int_equal(live_stop(&w), 0); /* EV_STOP reaches the thread: echo closes */
	close(open);
}

/* What one says all others hear, whichever loop they are on. */
static void test_chat(void **state)
{
	(void)state;
	static const char *const words[] = { "chat", "listen=tcp:0", NULL, NULL };
	enum { PEOPLE = 24, LINES = 20 };
	struct live w;
	int fd[PEOPLE];

	assert_int_equal(live_start(&w, words), 0);
	for (unsigned i = 0; i < PEOPLE; i++) {
		assert_true((fd[i] = live_dial(&w, "chat", SOCK_STREAM)) >= 0);
		live_is_in(fd, i + 1);
	}
	for (int k = 0; k < LINES; k++) {
		char line[32];
		int who = k % PEOPLE;

		snprintf(line, sizeof(line), "line %d\n", k);
		assert_int_equal(send(fd[who], line, strlen(line), 0), strlen(line));
		for (int i = 0; i < PEOPLE; i++)
			if (i != who)
				assert_true(live_exchange(fd[i], "", line));
	}
	for (int i = 0; i < PEOPLE; i++)
		close(fd[i]);
	assert_int_equal(live_stop(&w), 0);
}

static bool wait_for(const struct server *s, const char *what)
{
	bool found = false;

	for (int i = 0; i < 6000 && !found; i++) {
		struct buf b;

		usleep(10000);
		buf_init(&b, 1 << 20);
		server_stats(s, true, &b);
		found = strstr(buf_str(&b), what) != NULL;
		buf_done(&b);
	}
	return found;
}

/* Many talk at once and nobody listens: they wait for the loops, go on when these have caught up, and are heard to leave. */
static void test_flood(void **state)
{
	(void)state;
	static const char *const words[] = { "chat", "listen=tcp:0", NULL, NULL };
	enum { PEOPLE = 60, ROUNDS = 40 };
	static char lines[16384];
	struct live w;
	int fd[PEOPLE];

	memset(lines, '\n', sizeof(lines));
	assert_int_equal(live_start(&w, words), 0);
	for (int i = 0; i < PEOPLE; i++)
		assert_true((fd[i] = live_dial(&w, "chat", SOCK_STREAM)) >= 0);
	for (int k = 0; k < ROUNDS; k++)
		for (int i = 0; i < PEOPLE; i++)
			(void)!send(fd[i], lines, sizeof(lines), MSG_DONTWAIT | MSG_NOSIGNAL);
	for (int i = 0; i < PEOPLE; i++)
		close(fd[i]);
	assert_true(wait_for(w.s, "\"open\":0"));
	assert_int_equal(live_stop(&w), 0);
}

/* Options change while people talk: their connections go on, and nobody is refused in between. */
static void test_reload(void **state)
{
	(void)state;
	static const char *const before[] = { "echo", "listen=tcp:0", NULL, "chat", "listen=tcp:0", NULL, NULL };
	static const char *const after[] = { "echo", "listen=tcp:0", "upper=yes", NULL, NULL };
	static const char *const who[] = { "echo", "echo", NULL };
	struct live w;
	int old, fresh;

	assert_int_equal(live_start(&w, before), 0);
	old = live_dial(&w, "echo", SOCK_STREAM);
	assert_true(live_exchange(old, "abc\n", "abc\n"));
	for (unsigned i = 1; i <= 20; i++) {
		atomic_store(&w.next, before);
		kill(getpid(), SIGHUP);
		if (i % 5 == 0)
			assert_int_equal(talk_all(&w, who, 5), 0);
		while (atomic_load(&w.reloads) < i)
			usleep(1000);
	}
	atomic_store(&w.next, after);
	kill(getpid(), SIGHUP);
	while (atomic_load(&w.reloads) < 21)
		usleep(1000);
	assert_true(live_exchange(old, "abc\n", "abc\n"));
	fresh = live_dial(&w, "echo", SOCK_STREAM);
	assert_true(live_exchange(fresh, "abc\n", "ABC\n"));
	assert_int_equal(live_dial(&w, "chat", SOCK_STREAM), -1);
	close(old);
	close(fresh);
	assert_int_equal(live_stop(&w), 0);
}

/* Who accepts changes with the model, while the socket stays. */
static void test_model_changes(void **state)
{
	(void)state;
	static const char *const event[] = { "echo", "listen=tcp:0", NULL, NULL };
	static const char *const who[] = { "echo", "echo", NULL };
	struct live w;
	int old;

	assert_int_equal(live_start(&w, event), 0);
	old = live_dial(&w, "echo", SOCK_STREAM);
	assert_true(live_exchange(old, "abc\n", "abc\n"));
	for (unsigned i = 0; i < 6; i++) {
		live_reload(&w, i % 2 ? event : threads_only);
		assert_int_equal(talk_all(&w, who, 10), 0);
	}
	assert_true(live_exchange(old, "abc\n", "abc\n"));
	close(old);
	assert_int_equal(live_stop(&w), 0);
}

/* A burst does not get past the limit while it is handed from loop to loop, or while threads begin. */
static void limit_clients(const char *const *words)
{
	enum { CLIENTS = 60, MAX = 5 };
	struct live w;
	int fd[CLIENTS], served = 0;

	assert_int_equal(live_start(&w, words), 0);
	for (int round = 0; round < 2; round++) { /* the second time: their places came free */
		served = 0;
		for (int i = 0; i < CLIENTS; i++)
			assert_true((fd[i] = live_dial(&w, "echo", SOCK_STREAM)) >= 0);
		for (int i = 0; i < CLIENTS; i++)
			served += live_exchange(fd[i], "x", "x");
		assert_int_equal(served, MAX);
		for (int i = 0; i < CLIENTS; i++)
			close(fd[i]);
		assert_true(wait_for(w.s, "\"open\":0"));
	}
	assert_int_equal(live_stop(&w), 0);
}

static void test_max(void **state)
{
	(void)state;
	static const char *const event[] = { "echo", "listen=tcp:0", "max=5", NULL, NULL };
	static const char *const thread[] = { "echo", "listen=tcp:0", "max=5", "model=thread", NULL, NULL };

	limit_clients(event);
	limit_clients(thread);
}

static uint64_t sent_by(const struct server *s)
{
	static const char name[] = "\"bytes_out\":";
	const char *at;
	uint64_t n;
	struct buf b;

	buf_init(&b, 1 << 20);
	server_stats(s, true, &b);
	at = strstr(buf_str(&b), name);
	n = at ? strtoull(at + sizeof(name) - 1, NULL, 10) : 0;
	buf_done(&b);
	return n;
}

/* Somebody who does not read has been sent all that he takes. */
static void wait_until_full(const struct server *s)
{
	uint64_t before = 0, n;

	for (unsigned same = 0; same < 4; before = n) {
		usleep(50000);
		n = sent_by(s);
		same = n > 0 && n == before ? same + 1 : 0;
	}
}

/* While the last ones talk a new client is refused at once; a second signal reaches those who do not listen. */
static void test_second_signal(void **state)
{
	(void)state;
	static const char *const deaf[][5] = { { "chargen", "listen=tcp:0" },
					       { "chargen", "listen=tcp:0", "model=thread" } };
	struct live w;
	int fd, late;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(live_start(&w, deaf[i]), 0);
		fd = live_dial(&w, "chargen", SOCK_STREAM);
		assert_int_equal(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, -1), 1);
		wait_until_full(w.s); /* so EV_STOP does not end it */
		kill(getpid(), SIGTERM);
		while ((late = live_dial(&w, "chargen", SOCK_STREAM)) >= 0)
			close(late);
		assert_int_equal(live_stop(&w), 1);
		close(fd);
	}
}

#ifdef GUICHET_FAULTS
/* One conversation over each transport; how far it came does not matter, that it ends does. */
static void converse(struct live *w)
{
	int fd = live_dial(w, "echo", SOCK_STREAM), udp = live_dial(w, "echo", SOCK_DGRAM);
	struct timeval soon = { 0, 300000 };

	if (udp >= 0)
		setsockopt(udp, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	if (udp >= 0)
		live_exchange(udp, "ping", "ping");
	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
		live_exchange(fd, "hello\n", "hello\n");
	}
	if (fd >= 0)
		close(fd);
	if (udp >= 0)
		close(udp);
}

static void fail_each(int err, const char *const *words)
{
	for (unsigned long n = 1;; n++) {
		struct live w;
		bool seen;
		int fd;

		fault_arm(FAULT_SYS, n, err, false);
		if (live_start(&w, words) < 0)
			continue; /* it said so, and left nothing behind (LeakSanitizer) */
		converse(&w);
		seen = fault_calls(FAULT_SYS) >= n;
		fault_arm(FAULT_SYS, 0, 0, false);
		fd = live_dial(&w, "echo", SOCK_STREAM);
		if (w.status == 0 && fd >= 0) {
			if (!live_exchange(fd, "again\n", "again\n")) /* one failure is one client's at most */
				fail_msg("call %lu failed with errno %d, and nobody is served any more", n, err);
			close(fd);
		}
		live_stop(&w);
		if (!seen)
			break;
	}
}

static void test_failing_calls(void **state)
{
	(void)state;
	static const char *const words[] = { "echo", "listen=tcp:0 udp:0", NULL, NULL };

	fail_each(EMFILE, words);
	fail_each(ENOMEM, threads_only);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_models),        cmocka_unit_test(test_counters_without_memory),
		cmocka_unit_test(test_threads),       cmocka_unit_test(test_chat),
		cmocka_unit_test(test_reload),        cmocka_unit_test(test_model_changes),
		cmocka_unit_test(test_max),           cmocka_unit_test(test_flood),
		cmocka_unit_test(test_second_signal),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_failing_calls),
#endif
	};

	live_no_log();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
