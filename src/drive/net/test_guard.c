/* test_guard.c - which datagrams are met with silence, and how many answers an unproven network gets. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drive/net/guard.h"

static struct route from4(const char *host, uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct route r = { .n = sizeof(in) };

	assert_int_equal(inet_pton(AF_INET, host, &in.sin_addr), 1);
	memcpy(r.sa, &in, sizeof(in));
	return r;
}

static struct route from6(const char *host, uint16_t port)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct route r = { .n = sizeof(in6) };

	assert_int_equal(inet_pton(AF_INET6, host, &in6.sin6_addr), 1);
	memcpy(r.sa, &in6, sizeof(in6));
	return r;
}

static struct peer *at4(const char *host, uint16_t port)
{
	struct in_addr a;
	struct peer *p;

	assert_int_equal(inet_pton(AF_INET, host, &a), 1);
	p = peer_new(PEER_IP4, &a, 4, port, 0);
	assert_non_null(p);
	return p;
}

static void test_loopback(void **state)
{
	(void)state;
	struct route r = from4("127.9.9.9", 1);

	assert_true(guard_is_loopback(&r));
	r = from4("192.0.2.1", 1);
	assert_false(guard_is_loopback(&r));
	r = from6("::1", 1);
	assert_true(guard_is_loopback(&r));
	r = from6("2001:db8::1", 1);
	assert_false(guard_is_loopback(&r));
	r = from6("::ffff:127.0.0.1", 1);
	assert_true(guard_is_loopback(&r));
	r = (struct route){};
	assert_false(guard_is_loopback(&r));
	assert_int_equal(guard_port(&r), -1);
	r = from6("::ffff:192.0.2.1", 19);
	assert_int_equal(guard_port(&r), 19);
}

static void test_self(void **state)
{
	(void)state;
	struct peer *bound = at4("192.0.2.7", 7), *any = at4("0.0.0.0", 7);
	struct route r = from4("192.0.2.7", 7);

	assert_true(guard_is_self(&r, bound));
	assert_false(guard_is_self(&r, any)); /* not known without pktinfo */
	memcpy(r.local, &(struct in_addr){ inet_addr("192.0.2.7") }, 4);
	r.local_n = 4;
	assert_true(guard_is_self(&r, any));
	r = from4("192.0.2.7", 8);
	assert_false(guard_is_self(&r, bound));
	r = from4("192.0.2.8", 7);
	assert_false(guard_is_self(&r, bound));
	r = from6("::ffff:192.0.2.7", 7);
	assert_true(guard_is_self(&r, bound)); /* the same host in other clothes */
	assert_false(guard_is_self(&r, NULL));
	peer_unref(bound);
	peer_unref(any);
}

static void test_rate(void **state)
{
	(void)state;
	static struct guard g;
	struct route a = from4("192.0.2.1", 5000), same = from4("192.0.2.200", 6000),
		     other = from4("198.51.100.1", 5000);
	nsec now = 1000 * SEC;
	unsigned n = 0;

	while (guard_allow(&g, n & 1 ? &a : &same, now, 20))
		n++;
	assert_int_equal(n, 20);                       /* one bucket for the /24 */
	assert_true(guard_allow(&g, &other, now, 20)); /* another network has its own */
	assert_false(guard_allow(&g, &a, now + 49 * MSEC, 20));
	assert_true(guard_allow(&g, &a, now + 51 * MSEC, 20)); /* 20 a second: one each 50 ms */
	assert_false(guard_allow(&g, &a, now + 52 * MSEC, 20));
	assert_true(guard_allow(&g, &a, now, 0)); /* 0: no limit */
}

/* A flood in steps shorter than a thousandth of a token must not stop the bucket from filling. */
static void test_rate_under_flood(void **state)
{
	(void)state;
	static struct guard g;
	struct route a = from4("192.0.2.1", 5000);
	unsigned n = 0;

	for (nsec now = SEC; now < 3 * SEC; now += 10000)
		n += guard_allow(&g, &a, now, 20);
	assert_in_range(n, 55, 61);
}

/* Two networks that share a slot. */
static void find_pair(struct guard *g, struct route *ret_a, struct route *ret_b)
{
	nsec now = 1000 * SEC;
	unsigned k;

	*ret_a = from4("10.0.0.1", 5000);
	for (unsigned i = 0; i < 20; i++)
		assert_true(guard_allow(g, ret_a, now, 20));
	for (k = 1; k < 1 << 20; k++) {
		char host[INET_ADDRSTRLEN];

		snprintf(host, sizeof(host), "%u.%u.%u.1", 11 + k / 65536, k / 256 % 256, k % 256);
		*ret_b = from4(host, 5000);
		if (!guard_allow(g, ret_b, now, 20))
			break;
	}
	assert_true(k < 1 << 20);
}

/* Who forges two such networks in turn gets what one of them would. */
static void test_shared_slot(void **state)
{
	(void)state;
	static struct guard g;
	struct route a, b;
	unsigned n = 0;

	find_pair(&g, &a, &b);
	for (unsigned i = 0; i < 1000; i++)
		n += guard_allow(&g, i & 1 ? &a : &b, 2000 * SEC, 20);
	assert_int_equal(n, 20);
}

static void test_key(void **state)
{
	(void)state;
	static struct guard g, h;
	struct route a, b;

	assert_int_equal(guard_init(&g), 0);
	assert_int_equal(guard_init(&h), 0);
	assert_memory_not_equal(g.key, h.key, sizeof(g.key));
	find_pair(&g, &a, &b);
	for (unsigned i = 0; i < 20; i++)
		assert_true(guard_allow(&h, &a, SEC, 20));
	assert_true(guard_allow(&h, &b, SEC, 20)); /* who share a slot here do not there */
}

enum { THREADS = 3 };

static struct guard shared;

static void *take_all(void *arg)
{
	struct route a = from4("192.0.2.1", 5000);

	for (unsigned i = 0; i < 1000; i++)
		*(unsigned *)arg += guard_allow(&shared, &a, SEC, 20);
	return NULL;
}

/* All loops have one table. */
static void test_threads(void **state)
{
	(void)state;
	unsigned n[THREADS] = {}, all = 0;
	pthread_t t[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, take_all, &n[i]), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		all += n[i];
	}
	assert_int_equal(all, 20);
}

/* From another of our sockets: a forged source, which would set the two talking to each other. */
static void test_ours(void **state)
{
	(void)state;
	struct peer *p = at4("192.0.2.1", 7007);
	struct route local = from4("127.0.0.1", 7013), mine = from4("192.0.2.1", 7013),
		     other = from4("192.0.2.2", 7013);

	assert_false(guard_is_ours(&local, p));
	guard_open_port(7013);
	guard_open_port(7013); /* both families */
	guard_close_port(7013);
	assert_true(guard_is_ours(&local, p));
	assert_true(guard_is_ours(&mine, p));
	assert_false(guard_is_ours(&other, p));
	assert_false(guard_is_ours(&(struct route){}, p));
	local = from4("127.0.0.1", 7014);
	assert_false(guard_is_ours(&local, p));
	guard_close_port(7013);
	assert_false(guard_is_ours(&mine, p));
	peer_unref(p);
}

static void test_networks6(void **state)
{
	(void)state;
	static struct guard g;
	struct route a = from6("2001:db8::1", 1), same = from6("2001:db8::ffff:1", 1),
		     other = from6("2001:db8:0:1::1", 1);

	assert_true(guard_allow(&g, &a, SEC, 1));
	assert_false(guard_allow(&g, &same, SEC, 1));
	assert_true(guard_allow(&g, &other, SEC, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loopback),    cmocka_unit_test(test_self),
		cmocka_unit_test(test_rate),        cmocka_unit_test(test_rate_under_flood),
		cmocka_unit_test(test_networks6),   cmocka_unit_test(test_ours),
		cmocka_unit_test(test_shared_slot), cmocka_unit_test(test_key),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
