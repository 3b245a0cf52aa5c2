/* test_peer.c - addresses as people read them, and which of them are the same host. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/peer.h"

static struct peer *ip(const char *text, uint16_t port, uint32_t scope)
{
	uint8_t b[16];
	int six = strchr(text, ':') != NULL;

	assert_int_equal(inet_pton(six ? AF_INET6 : AF_INET, text, b), 1);
	return peer_new(six ? PEER_IP6 : PEER_IP4, b, six ? 16 : 4, port, scope);
}

static void check_text(struct peer *p, const char *text, const char *host)
{
	char buf[PEER_TEXT];

	assert_string_equal(peer_text(p, buf), text);
	assert_string_equal(peer_host(p, buf), host);
	peer_unref(p);
}

static void texts(void **state)
{
	char path[109];

	(void)state;
	check_text(ip("127.0.0.1", 7007, 0), "127.0.0.1:7007", "127.0.0.1");
	check_text(ip("255.255.255.255", 65535, 0), "255.255.255.255:65535", "255.255.255.255");
	check_text(ip("::1", 0, 0), "[::1]:0", "::1");
	check_text(ip("::ffff:192.0.2.1", 25, 0), "192.0.2.1:25", "192.0.2.1");
	check_text(ip("fe80::1", 25, 3), "[fe80::1%3]:25", "fe80::1%3");
	check_text(NULL, "-", "-");
	check_text(peer_new(PEER_NONE, NULL, 0, 0, 0), "-", "-");
	check_text(peer_new(PEER_UNIX, "/run/g/echo", 11, 0, 0), "/run/g/echo", "/run/g/echo");
	check_text(peer_new(PEER_UNIX, NULL, 0, 0, 0), "unix", "unix");
	check_text(peer_new(PEER_UNIX, "\0abstract", 9, 0, 0), "@abstract", "@abstract");
	check_text(peer_new(PEER_NAME, "guichet-echo", 12, 0, 0), "guichet-echo", "guichet-echo");
	check_text(peer_new(PEER_UNIX, "/a b\n\xff", 6, 0, 0), "/a?b??",
		   "/a?b??"); /* a path must not forge a log line */
	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	check_text(peer_new(PEER_UNIX, path, sizeof(path) - 1, 0, 0), path, path);
}

static void the_longest_name_fits(void **state)
{
	char name[1000], buf[PEER_TEXT];
	struct peer *p;

	(void)state;
	memset(name, 'n', sizeof(name));
	p = peer_new(PEER_NAME, name, sizeof(name), 0, 0);
	assert_true(strlen(peer_text(p, buf)) < PEER_TEXT);
	assert_true(strlen(peer_host(p, buf)) < PEER_TEXT);
	peer_unref(p);
	p = peer_new(PEER_NAME, name, 255, 0, 0); /* that of a queue is whole */
	assert_int_equal(strlen(peer_text(p, buf)), 255);
	peer_unref(p);
}

/* RFC 5952 is what inet_ntop() does too, but for addresses that hold an IPv4 one. */
static void ipv6_is_written_as_everybody_does(void **state)
{
	(void)state;
	srandom(1);
	for (int i = 0; i < 20000; i++) {
		uint8_t b[16];
		char want[INET6_ADDRSTRLEN], buf[PEER_TEXT];
		struct peer *p;

		for (int k = 0; k < 16; k += 2) {
			b[k] = (uint8_t)(random() % 3 ? 0 : random());
			b[k + 1] = (uint8_t)(random() % 2 ? 0 : random());
		}
		inet_ntop(AF_INET6, b, want, sizeof(want));
		if (strchr(want, '.'))
			continue;
		p = peer_new(PEER_IP6, b, 16, 1, 0);
		assert_string_equal(peer_host(p, buf), want);
		peer_unref(p);
	}
}

static bool same(struct peer *a, struct peer *b)
{
	bool r = peer_same_host(a, b);

	assert_int_equal(peer_same_host(b, a), r);
	peer_unref(a);
	peer_unref(b);
	return r;
}

static void same_hosts(void **state)
{
	(void)state;
	assert_true(same(ip("192.0.2.1", 1, 0), ip("192.0.2.1", 2, 0)));
	assert_false(same(ip("192.0.2.1", 1, 0), ip("192.0.2.2", 1, 0)));
	assert_true(same(ip("::ffff:192.0.2.1", 1, 0), ip("192.0.2.1", 2, 0)));
	assert_false(same(ip("2001:db8::1", 1, 0), ip("2001:db8::2", 1, 0)));
	assert_true(same(peer_new(PEER_UNIX, "/s", 2, 0, 0), peer_new(PEER_UNIX, "/s", 2, 0, 0)));
	/* the path /tmp is 47.116.109.112 byte by byte, and no host */
	assert_false(same(peer_new(PEER_UNIX, "/tmp", 4, 0, 0), ip("47.116.109.112", 1, 0)));
	assert_false(same(peer_new(PEER_NAME, "/s", 2, 0, 0), peer_new(PEER_UNIX, "/s", 2, 0, 0)));
	assert_false(same(ip("192.0.2.1", 1, 0), NULL));
	assert_true(same(NULL, NULL));
}

static void references(void **state)
{
	struct peer *p = ip("192.0.2.1", 1, 0);

	(void)state;
	assert_ptr_equal(peer_ref(p), p);
	peer_unref(p);
	assert_int_equal(p->port, 1);
	peer_unref(p);
	peer_unref(NULL);
	assert_null(peer_ref(NULL));
	assert_null(peer_new(PEER_NAME, "x", 70000, 0, 0)); /* longer than a name can be */
#ifdef GUICHET_FAULTS
	fault_arm(FAULT_MEM, 1, 0, false);
	assert_null(peer_new(PEER_NAME, "x", 1, 0, 0));
	fault_arm(FAULT_MEM, 0, 0, false);
#endif
}

static void the_next_one_in_the_same_place(void **state)
{
	struct peer *p = ip("192.0.2.1", 1, 0), *q = peer_again(p, PEER_IP4, "\300\0\2\2", 4, 2, 0);

	(void)state;
	assert_ptr_equal(q, p);
	check_text(peer_ref(q), "192.0.2.2:2", "192.0.2.2");
	peer_ref(q); /* who has it keeps it as it is */
	p = peer_again(q, PEER_IP4, "\300\0\2\3", 4, 3, 0);
	assert_ptr_not_equal(q, p);
	check_text(q, "192.0.2.2:2", "192.0.2.2");
	p = peer_again(p, PEER_UNIX, "/run/g/echo", 11, 0, 0); /* it is longer */
	check_text(peer_ref(p), "/run/g/echo", "/run/g/echo");
#ifdef GUICHET_FAULTS
	fault_arm(FAULT_MEM, 1, 0, false);
	assert_null(peer_again(p, PEER_UNIX, "", 0, 0, 0));
	fault_arm(FAULT_MEM, 0, 0, false);
#else
	peer_unref(p);
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts),
		cmocka_unit_test(the_longest_name_fits),
		cmocka_unit_test(ipv6_is_written_as_everybody_does),
		cmocka_unit_test(same_hosts),
		cmocka_unit_test(references),
		cmocka_unit_test(the_next_one_in_the_same_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
