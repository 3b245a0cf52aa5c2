/*
 * test_limits.c - the table of sources: who is counted with whom, what a limit lets through, what a dead process leaves behind, and
 * what a full table does. Time is a number here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "drive/net/limits.h"

enum { ME = 3, OTHER = 7 };

static const nsec begin = 1000 * SEC;
static struct limits *t;

/* In a mapping that a fork shares. */
static struct limits *table(void)
{
	struct limits *u = mmap(NULL, sizeof(*u), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(u, MAP_FAILED);
	return u;
}

static int setup(void **state)
{
	(void)state;
	t = table();
	return limits_init(t);
}

static int teardown(void **state)
{
	(void)state;
	return munmap(t, sizeof(*t));
}

static struct limits_source ip(const char *host)
{
	struct limits_source src;
	uint8_t b[16];
	bool six = strchr(host, ':');
	struct peer *p;

	assert_int_equal(inet_pton(six ? AF_INET6 : AF_INET, host, b), 1);
	p = peer_new(six ? PEER_IP6 : PEER_IP4, b, six ? 16 : 4, 1234, 0);
	assert_non_null(p);
	src = limits_of_peer(p);
	peer_unref(p);
	return src;
}

static struct limits_source numbered(uint64_t n)
{
	return (struct limits_source){ .net = n, .family = 6 };
}

static enum limits_verdict enter(const char *host, const struct limits_rule *rule, nsec now, uint32_t *ticket)
{
	struct limits_source src = ip(host);

	return limits_enter(t, ME, rule, &src, now, ticket);
}

/* How many of `n` at once are let in. */
static unsigned let_in(struct limits_source src, const struct limits_rule *rule, nsec now, unsigned n)
{
	unsigned in = 0;
	uint32_t ticket;

	while (n-- > 0)
		in += limits_enter(t, ME, rule, &src, now, &ticket) == LIMITS_OK;
	return in;
}

/* ---- who is who ---- */

static struct limits_source routed(const char *host)
{
	bool six = strchr(host, ':');
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct route r = { .n = six ? sizeof(in6) : sizeof(in) };

	assert_int_equal(inet_pton(six ? AF_INET6 : AF_INET, host, six ? (void *)&in6.sin6_addr : &in.sin_addr), 1);
	memcpy(r.sa, six ? (void *)&in6 : &in, r.n);
	return limits_of_route(&r);
}

static void assert_same(struct limits_source a, struct limits_source b, bool same)
{
	assert_int_equal(a.family == b.family && a.net == b.net, same);
}

static void a_source_is_an_address_or_a_64(void **state)
{
	(void)state;
	assert_same(ip("192.0.2.1"), ip("192.0.2.1"), true);
	assert_same(ip("192.0.2.1"), ip("192.0.2.2"), false);
	assert_same(ip("192.0.2.1"), ip("::ffff:192.0.2.1"), true);
	assert_same(ip("2001:db8::1"), ip("2001:db8::ffff:0:0:1"), true);
	assert_same(ip("2001:db8:0:1::1"), ip("2001:db8:0:2::1"), false);
	assert_same(routed("192.0.2.1"), ip("192.0.2.1"), true);
	assert_same(routed("::ffff:192.0.2.1"), ip("192.0.2.1"), true);
	assert_same(routed("2001:db8:0:1::5"), ip("2001:db8:0:1::1"), true);
}

static void loopback_is_known(void **state)
{
	(void)state;
	assert_true(ip("127.0.0.1").loopback);
	assert_true(ip("127.8.8.8").loopback);
	assert_true(ip("::1").loopback);
	assert_true(ip("::ffff:127.0.0.1").loopback);
	assert_false(ip("128.0.0.1").loopback);
	assert_false(ip("::2").loopback);
}

static void what_has_no_address_is_free(void **state)
{
	const struct limits_rule rule = { .per_source = 1, .rate = 1 };
	struct peer *p = peer_new(PEER_UNIX, "/run/x", 6, 0, 0);
	struct limits_source src = limits_of_peer(p);

	(void)state;
	assert_int_equal(let_in(src, &rule, begin, 10), 10);
	assert_int_equal(limits_of_peer(NULL).family, 0);
	assert_int_equal(limits_of_route(&(struct route){}).family, 0);
	limits_penalise(t, &src, begin + SEC);
	assert_false(limits_is_penalised(t, &src, begin));
	peer_unref(p);
}

/* ---- connections ---- */

static void no_more_than_may_be_open(void **state)
{
	const struct limits_rule rule = { .service = 1, .per_source = 3 };
	uint32_t ticket[3], none = 77;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(enter("192.0.2.1", &rule, begin, &ticket[i]), LIMITS_OK);
		assert_true(ticket[i] != 0);
	}
	for (int i = 0; i < 5; i++)
		assert_int_equal(enter("192.0.2.1", &rule, begin, &none), LIMITS_PER_SOURCE);
	assert_int_equal(none, 0);
	limits_leave(t, ME, none);
	assert_int_equal(enter("192.0.2.2", &rule, begin, &none), LIMITS_OK); /* somebody else */
	assert_int_equal(enter("192.0.2.1", &(struct limits_rule){ .service = 2, .per_source = 3 }, begin, &none),
			 LIMITS_OK); /* another door */
	limits_leave(t, ME, ticket[1]);
	assert_int_equal(enter("::ffff:192.0.2.1", &rule, begin, &ticket[1]), LIMITS_OK);
	assert_int_equal(enter("192.0.2.1", &rule, begin, &none), LIMITS_PER_SOURCE);
}

static void no_limit_counts_nobody(void **state)
{
	const struct limits_rule rule = { .service = 1 };
	uint32_t ticket = 1;

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(enter("192.0.2.1", &rule, begin, &ticket), LIMITS_OK);
	assert_int_equal(ticket, 0);
}

static void tokens_come_back_with_time(void **state)
{
	const struct limits_rule rule = { .service = 1, .rate = 20 };
	struct limits_source src = ip("2001:db8::1");

	(void)state;
	assert_int_equal(let_in(src, &rule, begin, 100), 20); /* as many at once as come in a second */
	assert_int_equal(let_in(src, &rule, begin + 49 * MSEC, 100), 0);
	assert_int_equal(let_in(src, &rule, begin + 50 * MSEC, 100), 1);
	assert_int_equal(let_in(src, &rule, begin + 550 * MSEC, 100), 10);
	assert_int_equal(let_in(src, &rule, begin + 3600 * SEC, 100), 20); /* an hour away saves up no more */
}

/* Who is refused uses nothing up: it neither stays counted nor takes tokens from those who come by right. */
static void a_refusal_costs_nothing(void **state)
{
	const struct limits_rule both = { .service = 1, .per_source = 2, .rate = 4 };
	struct limits_source src = ip("192.0.2.1");
	uint32_t a, b, c;

	(void)state;
	assert_int_equal(limits_enter(t, ME, &both, &src, begin, &a), LIMITS_OK);
	assert_int_equal(limits_enter(t, ME, &both, &src, begin, &b), LIMITS_OK);
	for (int i = 0; i < 100; i++)
		assert_int_equal(limits_enter(t, ME, &both, &src, begin, &c), LIMITS_PER_SOURCE);
	limits_leave(t, ME, a);
	limits_leave(t, ME, b);
	assert_int_equal(limits_enter(t, ME, &both, &src, begin, &a), LIMITS_OK); /* two tokens are left */
	limits_leave(t, ME, a);
	assert_int_equal(limits_enter(t, ME, &both, &src, begin, &a), LIMITS_OK);
	limits_leave(t, ME, a);
	for (int i = 0; i < 100; i++)
		assert_int_equal(limits_enter(t, ME, &both, &src, begin, &c), LIMITS_RATE);
	assert_int_equal(limits_enter(t, ME, &both, &src, begin + SEC, &a),
			 LIMITS_OK); /* none of them is still counted */
	assert_int_equal(limits_enter(t, ME, &both, &src, begin + SEC, &b), LIMITS_OK);
}

/* ---- the table ---- */

static void a_full_table_lets_in(void **state)
{
	const struct limits_rule rule = { .service = 1, .per_source = 1 };
	uint64_t n = 0, full = 0;
	uint32_t ticket;

	(void)state;
	for (; n < 2 * LIMITS_SLOTS; n++) {
		struct limits_source src = numbered(n);
		enum limits_verdict v = limits_enter(t, ME, &rule, &src, begin, &ticket);

		assert_true(v == LIMITS_OK || v == LIMITS_FULL);
		full += v == LIMITS_FULL;
		if (v == LIMITS_FULL)
			assert_int_equal(ticket, 0);
	}
	assert_true(full >= LIMITS_SLOTS);
	assert_true(full < LIMITS_SLOTS + LIMITS_SLOTS / 20); /* nearly all of it was used before */
	limits_drop(t, ME);
	full = 0;
	for (n = 0; n < LIMITS_SLOTS / 4; n++) { /* others come into the places of those who left */
		struct limits_source src = numbered(n + 1000000);

		full += limits_enter(t, ME, &rule, &src, begin + 2 * SEC, &ticket) == LIMITS_FULL;
	}
	assert_int_equal(full, 0);
}

/* What somebody holds, or has just used up, is not forgotten for others. */
static void nobody_is_pushed_out(void **state)
{
	const struct limits_rule one = { .service = 1, .per_source = 1 }, rate = { .service = 2, .rate = 1 };
	struct limits_source src = ip("192.0.2.1");
	uint32_t ticket, again;

	(void)state;
	assert_int_equal(limits_enter(t, ME, &one, &src, begin, &ticket), LIMITS_OK);
	assert_int_equal(limits_enter(t, ME, &rate, &src, begin, &again), LIMITS_OK);
	for (uint64_t n = 0; n < 4 * LIMITS_SLOTS; n++) {
		struct limits_source other = numbered(n);

		(void)!limits_enter(t, ME, &rate, &other, begin, &again);
	}
	assert_int_equal(limits_enter(t, ME, &one, &src, begin, &again), LIMITS_PER_SOURCE);
	assert_int_equal(limits_enter(t, ME, &rate, &src, begin, &again), LIMITS_RATE);
	limits_leave(t, ME, ticket);
	assert_int_equal(limits_enter(t, ME, &one, &src, begin, &again), LIMITS_OK);
}

static void nobody_knows_where_a_source_is(void **state)
{
	struct limits *u = table();

	(void)state;
	assert_int_equal(limits_init(u), 0);
	assert_memory_not_equal(u->key, t->key, sizeof(u->key));
	munmap(u, sizeof(*u));
}

#ifdef GUICHET_FAULTS
static void a_table_without_a_key_is_none(void **state)
{
	(void)state;
	fault_arm(FAULT_SYS, 1, EAGAIN, false);
	assert_int_equal(limits_init(t), -EAGAIN);
	fault_arm(FAULT_SYS, 0, 0, false);
}

#endif

/* ---- processes ---- */

static void what_a_dead_process_held_is_given_back(void **state)
{
	const struct limits_rule rule = { .service = 1, .per_source = 4 };
	struct limits_source src = ip("192.0.2.1");
	uint32_t ticket;

	(void)state;
	assert_int_equal(limits_enter(t, ME, &rule, &src, begin, &ticket), LIMITS_OK);
	for (int i = 0; i < 3; i++)
		assert_int_equal(limits_enter(t, OTHER, &rule, &src, begin, &ticket), LIMITS_OK);
	assert_int_equal(limits_enter(t, ME, &rule, &src, begin, &ticket), LIMITS_PER_SOURCE);
	limits_drop(t, OTHER);
	assert_int_equal(let_in(src, &rule, begin, 10), 3); /* what is ours stays */
}

static void a_ticket_can_be_given_back_by_another_process(void **state)
{
	const struct limits_rule rule = { .service = 1, .per_source = 1 };
	struct limits_source src = ip("192.0.2.1");
	uint32_t ticket, again;

	(void)state;
	assert_int_equal(limits_enter(t, ME, &rule, &src, begin, &ticket), LIMITS_OK);
	if (fork() == 0) {
		limits_leave(t, ME, ticket);
		_exit(0);
	}
	assert_true(wait(NULL) > 0);
	assert_int_equal(limits_enter(t, ME, &rule, &src, begin, &again), LIMITS_OK);
}

static void come_and_go_for_ever(void)
{
	const struct limits_rule rule = { .service = 1, .per_source = 50, .rate = 1000000 };
	uint32_t held[64] = {};

	for (uint64_t n = 0;; n++) {
		struct limits_source src = numbered(n % 100000);
		uint32_t *ticket = &held[n % 64];

		limits_leave(t, OTHER, *ticket);
		(void)!limits_enter(t, OTHER, &rule, &src, begin + n, ticket);
		limits_strike(t, LIMITS_CRASH, &src, begin + n, 2, SEC, SEC);
	}
}

/* kill -9 wherever it is: afterwards all places can be had. */
static void a_process_may_be_killed_at_any_moment(void **state)
{
	const struct limits_rule rule = { .service = 1, .per_source = 1 };
	unsigned full = 0;
	uint32_t ticket;

	(void)state;
	for (int i = 0; i < 30; i++) {
		pid_t pid = fork();

		if (pid == 0)
			come_and_go_for_ever();
		usleep((useconds_t)(500 + 311 * i));
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		limits_drop(t, OTHER);
	}
	for (unsigned i = 0; i < LIMITS_SLOTS; i++)
		assert_int_equal(atomic_load(&t->slots[i].open[OTHER]), 0);
	for (uint64_t n = 0; n < LIMITS_SLOTS / 4; n++) {
		struct limits_source src = numbered(n);

		full += limits_enter(t, ME, &rule, &src, begin + 3600 * SEC, &ticket) != LIMITS_OK;
	}
	assert_int_equal(full, 0);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 20000, MOST = 3 };

static _Atomic unsigned inside[8], too_many;

static void *crowd(void *arg)
{
	const struct limits_rule rule = { .service = 1, .per_source = MOST, .rate = 0 };
	unsigned me = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned who = (i * 7 + me) % 8;
		struct limits_source src = numbered(who);
		uint32_t ticket;

		if (limits_enter(t, me, &rule, &src, begin, &ticket) != LIMITS_OK)
			continue;
		if (atomic_fetch_add(&inside[who], 1) >= MOST)
			atomic_fetch_add(&too_many, 1);
		atomic_fetch_sub(&inside[who], 1);
		limits_leave(t, me, ticket);
	}
	return NULL;
}

static void run_threads(void *(*fn)(void *))
{
	pthread_t thread[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, fn, (void *)i), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

static void threads_never_pass_a_limit_together(void **state)
{
	(void)state;
	run_threads(crowd);
	assert_int_equal(too_many, 0);
	for (unsigned i = 0; i < LIMITS_SLOTS; i++)
		for (unsigned k = 0; k < LIMITS_OWNERS; k++)
			assert_int_equal(atomic_load(&t->slots[i].open[k]), 0);
}

/* More sources than places, so that these change hands all the time. */
static void *throng(void *arg)
{
	const struct limits_rule rule = { .service = 1, .per_source = 2, .rate = 1000000 };
	unsigned me = (unsigned)(uintptr_t)arg;
	uint32_t held[32] = {};

	for (unsigned i = 0; i < 2 * ROUNDS; i++) {
		struct limits_source src = numbered(i * (uint64_t)(me + 1) % 60000);
		uint32_t *ticket = &held[i % 32];

		limits_leave(t, me, *ticket);
		(void)!limits_enter(t, me, &rule, &src, begin + (nsec)i * SEC, ticket);
		limits_strike(t, LIMITS_LOGIN, &src, begin, 3, SEC, SEC);
		(void)limits_is_penalised(t, &src, begin);
	}
	for (unsigned i = 0; i < 32; i++)
		limits_leave(t, me, held[i]);
	return NULL;
}

static void nothing_is_lost_when_places_change_hands(void **state)
{
	(void)state;
	run_threads(throng);
	for (unsigned i = 0; i < LIMITS_SLOTS; i++)
		for (unsigned k = 0; k < LIMITS_OWNERS; k++)
			assert_int_equal(atomic_load(&t->slots[i].open[k]), 0);
}

/* ---- penalties ---- */

static void a_penalty_ends(void **state)
{
	struct limits_source src = ip("2001:db8::1"), same = ip("2001:db8::2"), other = ip("2001:db8:0:1::1");

	(void)state;
	assert_false(limits_is_penalised(t, &src, begin));
	limits_penalise(t, &src, begin + 10 * SEC);
	assert_true(limits_is_penalised(t, &src, begin));
	assert_true(limits_is_penalised(t, &same, begin));
	assert_false(limits_is_penalised(t, &other, begin));
	limits_penalise(t, &src, begin + 5 * SEC); /* a shorter one shortens nothing */
	assert_true(limits_is_penalised(t, &src, begin + 9 * SEC));
	assert_false(limits_is_penalised(t, &src, begin + 10 * SEC));
}

static void so_many_strikes_within_so_long(void **state)
{
	struct limits_source src = ip("192.0.2.1"), other = ip("192.0.2.2");

	(void)state;
	assert_false(limits_strike(t, LIMITS_CRASH, &src, begin, 3, 60 * SEC, 600 * SEC));
	assert_false(limits_strike(t, LIMITS_CRASH, &src, begin + SEC, 3, 60 * SEC, 600 * SEC));
	assert_false(limits_strike(t, LIMITS_LOGIN, &src, begin + SEC, 3, 60 * SEC, 600 * SEC)); /* another deed */
	assert_false(limits_strike(t, LIMITS_CRASH, &other, begin + SEC, 3, 60 * SEC, 600 * SEC));
	assert_false(limits_is_penalised(t, &src, begin + 2 * SEC));
	assert_false(limits_strike(t, LIMITS_CRASH, &src, begin + 61 * SEC, 3, 60 * SEC, 600 * SEC)); /* forgotten */
	assert_false(limits_strike(t, LIMITS_CRASH, &src, begin + 62 * SEC, 3, 60 * SEC, 600 * SEC));
	assert_true(limits_strike(t, LIMITS_CRASH, &src, begin + 63 * SEC, 3, 60 * SEC, 600 * SEC));
	assert_true(limits_is_penalised(t, &src, begin + 662 * SEC));
	assert_false(limits_is_penalised(t, &src, begin + 663 * SEC));
	assert_false(
		limits_strike(t, LIMITS_CRASH, &src, begin + 64 * SEC, 3, 60 * SEC, 600 * SEC)); /* it begins anew */
	assert_true(limits_strike(t, LIMITS_CRASH, &other, begin + 70 * SEC, 1, 60 * SEC, 600 * SEC));
}

/* A flood of offenders cannot shield the next one: who would be free first makes room. */
static void there_is_always_room_for_one_more_penalty(void **state)
{
	struct limits_source src = ip("192.0.2.1");

	(void)state;
	for (uint64_t n = 0; n < 4 * LIMITS_PENALTIES; n++) {
		struct limits_source other = numbered(n);

		limits_penalise(t, &other, begin + 10 * SEC);
	}
	limits_penalise(t, &src, begin + 11 * SEC);
	assert_true(limits_is_penalised(t, &src, begin + 10 * SEC));
	for (uint64_t n = 0; n < 4 * LIMITS_PENALTIES; n++) {
		struct limits_source other = numbered(n + 1000000);

		limits_strike(t, LIMITS_LOGIN, &other, begin, 10, SEC, SEC);
	}
	assert_true(limits_is_penalised(t, &src, begin + 10 * SEC)); /* nor push it out by less */
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_source_is_an_address_or_a_64),
		T(loopback_is_known),
		T(what_has_no_address_is_free),
		T(no_more_than_may_be_open),
		T(no_limit_counts_nobody),
		T(tokens_come_back_with_time),
		T(a_refusal_costs_nothing),
		T(a_full_table_lets_in),
		T(nobody_is_pushed_out),
		T(nobody_knows_where_a_source_is),
#ifdef GUICHET_FAULTS
		T(a_table_without_a_key_is_none),
#endif
		T(what_a_dead_process_held_is_given_back),
		T(a_ticket_can_be_given_back_by_another_process),
		T(a_process_may_be_killed_at_any_moment),
		T(threads_never_pass_a_limit_together),
		T(nothing_is_lost_when_places_change_hands),
		T(a_penalty_ends),
		T(so_many_strikes_within_so_long),
		T(there_is_always_room_for_one_more_penalty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
