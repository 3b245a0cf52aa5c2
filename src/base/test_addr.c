/* test_addr.c - the grammar of addresses, and the sentences that refuse what is not of it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/addr.h"
#include "base/fault.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define P107 \
	"/2345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"

static const struct {
	const char *text;
	enum addr_transport transport;
	const char *host;
	int port;
	const char *service, *path;
	const char *back; /* canonical text; NULL = the same */
} good[] = {
	{ "tcp:7007", ADDR_TCP, "", 7007, "", "", NULL },
	{ "tcp:0", ADDR_TCP, "", 0, "", "", NULL },
	{ "tcp:65535", ADDR_TCP, "", 65535, "", "", NULL },
	{ "tcp:007", ADDR_TCP, "", 7, "", "", "tcp:7" },
	{ "tcp:*:1883", ADDR_TCP, "*", 1883, "", "", NULL },
	{ "tcp:127.0.0.1:7007", ADDR_TCP, "127.0.0.1", 7007, "", "", NULL },
	{ "tcp:[::1]:7007", ADDR_TCP, "::1", 7007, "", "", NULL },
	{ "tcp:[FE80::1%Eth0]:1", ADDR_TCP, "fe80::1%Eth0", 1, "", "", "tcp:[fe80::1%Eth0]:1" },
	{ "tcp:[::ffff:1.2.3.4]:1", ADDR_TCP, "::ffff:1.2.3.4", 1, "", "", NULL },
	{ "tcp:Example.ORG:echo", ADDR_TCP, "example.org", -1, "echo", "", "tcp:example.org:echo" },
	{ "tcp:example.org.:1", ADDR_TCP, "example.org.", 1, "", "", NULL },
	{ "tcp:my_host-1:1", ADDR_TCP, "my_host-1", 1, "", "", NULL },
	{ "tcp:echo", ADDR_TCP, "", -1, "echo", "", NULL },
	{ "tcp:localhost:http-alt", ADDR_TCP, "localhost", -1, "http-alt", "", NULL },
	{ "udp:7013", ADDR_UDP, "", 7013, "", "", NULL },
	{ "tls:*:8883", ADDR_TLS, "*", 8883, "", "", NULL },
	{ "ws:9001", ADDR_WS, "", 9001, "", "", NULL },
	{ "ws:9001/mqtt?x=1:2", ADDR_WS, "", 9001, "", "/mqtt?x=1:2", NULL },
	{ "wss:[::1]:9443/", ADDR_WSS, "::1", 9443, "", "/", NULL },
	{ "unix:/run/g/echo", ADDR_UNIX, "", 0, "", "/run/g/echo", NULL },
	{ "unix:./a:b", ADDR_UNIX, "", 0, "", "./a:b", NULL },
	{ "unix:" P107, ADDR_UNIX, "", 0, "", P107, NULL },
	{ "unixseq:s", ADDR_UNIXSEQ, "", 0, "", "s", NULL },
	{ "unixgram:/d", ADDR_UNIXGRAM, "", 0, "", "/d", NULL },
	{ "fifo:/run/g/echo" P107, ADDR_FIFO, "", 0, "", "/run/g/echo" P107, NULL },
	{ "mq:/guichet-echo", ADDR_MQ, "", 0, "", "/guichet-echo", NULL },
	{ "stdio:", ADDR_STDIO, "", 0, "", "", NULL },
	{ "fd:3", ADDR_FD, "", 0, "", "", NULL },
};

static void test_good(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH(good); i++) {
		struct addr_text a, again;
		BUF_AUTO struct buf b = BUF_INIT(1000);
		BUF_AUTO struct buf why = BUF_INIT(1000);

		if (addr_parse(good[i].text, &a, &why) != 0)
			fail_msg("%s: %s", good[i].text, buf_str(&why));
		assert_int_equal(why.n, 0);
		assert_int_equal(a.transport, good[i].transport);
		assert_string_equal(a.host, good[i].host);
		assert_int_equal(a.port, good[i].port);
		assert_string_equal(a.service, good[i].service);
		assert_string_equal(a.path, good[i].path);
		addr_format(&a, &b);
		assert_string_equal(buf_str(&b), good[i].back ? good[i].back : good[i].text);
		assert_int_equal(addr_parse(buf_str(&b), &again, NULL), 0);
		assert_true(addr_equal(&a, &again));
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *text, *why;
	} t[] = {
		{ "tpc:7007", "unknown transport \"tpc\", did you mean \"tcp\"?" },
		{ "TCP:7007", "unknown transport \"TCP\", did you mean \"tcp\"?" },
		{ "localhost:7007", "unknown transport \"localhost\", did you mean \"tcp:localhost:7007\"?" },
		{ "[::1]:7007", "unknown transport \"[\", did you mean \"tcp:[::1]:7007\"?" },
		{ "gopher:7007x:", "unknown transport \"gopher\", see `guichet help addresses`" },
		{ ":7007", "unknown transport \"\", see `guichet help addresses`" },
		{ "", "an empty address, the form is TRANSPORT:REST, as tcp:7007" },
		{ "tcp", "\"tcp\" is not a whole address, the form is tcp:[HOST:]PORT" },
		{ "7007", "\"7007\" has no transport, did you mean \"tcp:7007\"?" },
		{ "70070", "\"70070\" has no transport, the form is TRANSPORT:REST, as tcp:7007" },
		{ "/run/echo", "\"/run/echo\" has no transport, did you mean \"unix:/run/echo\"?" },
		{ "echo", "\"echo\" has no transport, the form is TRANSPORT:REST, as tcp:7007" },
		{ "tcp:", "no port, write tcp:PORT" },
		{ "tcp:host:", "no port, write tcp:host:PORT" },
		{ "tcp:127.0.0.1", "no port, write tcp:127.0.0.1:PORT" },
		{ "tcp:example.org", "no port, write tcp:example.org:PORT" },
		{ "tcp:localhost", "no port, write tcp:localhost:PORT" },
		{ "tcp:*", "no port, write tcp:*:PORT" },
		{ "tcp:[::1]", "no port, write tcp:[::1]:PORT" },
		{ "tcp:[::1]:", "no port, write tcp:[::1]:PORT" },
		{ "tcp::7007",
		  "no host between the colons, write tcp:PORT for loopback or tcp:*:PORT for every address" },
		{ "tcp:65536", "port \"65536\" is too large, 0 to 65535" },
		{ "tcp:99999999999999999999", "port \"99999999999999999999\" is too large, 0 to 65535" },
		{ "tcp:-1", "\"-1\" is not a port: a number, 0 to 65535, or a name of /etc/services" },
		{ "tcp:70 07", "\"70 07\" is not a port: a number, 0 to 65535, or a name of /etc/services" },
		{ "tcp:::1", "an IPv6 address stands in brackets and needs a port, write tcp:[::1]:PORT" },
		{ "tcp:fe80::1:zz", "an IPv6 address stands in brackets, write tcp:[fe80::1]:zz" },
		{ "tcp:1:2:3:4:5:6:7:8:80", "an IPv6 address stands in brackets, write tcp:[1:2:3:4:5:6:7:8]:80" },
		{ "tcp:a:b:c", "too many colons in \"a:b:c\", the form is tcp:[HOST:]PORT" },
		{ "tcp:[::1", "[ without ]" },
		{ "tcp:[::g]:1", "\"::g\" is not an IPv6 address; only those stand in brackets" },
		{ "tcp:[127.0.0.1]:1", "\"127.0.0.1\" is not an IPv6 address; only those stand in brackets" },
		{ "tcp:[::1]7007", "after the bracket comes :PORT, not \"7007\"" },
		{ "tcp:1.2.3:80", "\"1.2.3\" is not an IPv4 address: four numbers, 0 to 255, no leading zeros" },
		{ "tcp:1.2.3.256:80",
		  "\"1.2.3.256\" is not an IPv4 address: four numbers, 0 to 255, no leading zeros" },
		{ "tcp:1.2.3.04:80", "\"1.2.3.04\" is not an IPv4 address: four numbers, 0 to 255, no leading zeros" },
		{ "tcp:a..b:80", "\"a..b\" is not a host name or an address" },
		{ "tcp:-a:80", "\"-a\" is not a host name or an address" },
		{ "tcp:a\nb:80", "\"a\\nb\" is not a host name or an address" },
		{ "tcp://host:80", "the form is tcp:[HOST:]PORT, without \"//\"" },
		{ "wss://host/x", "the form is wss:[HOST:]PORT[/TARGET], without \"//\"" },
		{ "tcp:80/x", "\"80/x\" is not a port: a number, 0 to 65535, or a name of /etc/services" },
		{ "ws:80/a b", "\"/a b\" is not a request target: printable ASCII without # and spaces" },
		{ "unix:", "no path, the form is unix:PATH" },
		{ "unix:/run/", "\"/run/\" names a folder" },
		{ "unix:@x", "abstract sockets are not served; write unix:./@NAME for a file of that name" },
		{ "unix:" P107 "8", "the path has 108 bytes, at most 107 fit" },
		{ "mq:x", "\"x\" is not the name of a queue: one slash, at its beginning, as in mq:/guichet-echo" },
		{ "mq:/", "\"/\" is not the name of a queue: one slash, at its beginning, as in mq:/guichet-echo" },
		{ "mq:/a/b",
		  "\"/a/b\" is not the name of a queue: one slash, at its beginning, as in mq:/guichet-echo" },
		{ "tcp:\n.", "no port, write tcp:PORT" },
		{ "tcp:::1:\n", "too many colons in \"::1:\\n\", the form is tcp:[HOST:]PORT" },
		{ "/\033", "\"/\\x1b\" has no transport, the form is TRANSPORT:REST, as tcp:7007" },
		{ "stdio:x", "nothing comes behind stdio:, but here is \"x\"" },
		{ "stdio", "\"stdio\" is not a whole address, the form is stdio:" },
		{ "fd:x", "\"x\" is not the number of a descriptor, 0 to 1048575" },
		{ "fd:-1", "\"-1\" is not the number of a descriptor, 0 to 1048575" },
		{ "fd:1048576", "\"1048576\" is not the number of a descriptor, 0 to 1048575" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(t); i++) {
		struct addr_text a = { .port = 77 };
		BUF_AUTO struct buf why = BUF_INIT(1000);

		assert_int_equal(addr_parse(t[i].text, &a, &why), -EINVAL);
		assert_string_equal(buf_str(&why), t[i].why);
		assert_int_equal(addr_parse(t[i].text, &a, NULL), -EINVAL);
		assert_int_equal(a.port, 77);
	}
}

static void test_numeric(void **state)
{
	static const char *const v6[] = { "::",
					  "::1",
					  "1::",
					  "1:2:3:4:5:6:7:8",
					  "1:2:3:4:5:6:7::",
					  "::2:3:4:5:6:7:8",
					  "2001:DB8::ff00:42:8329",
					  "::ffff:192.0.2.1",
					  "1:2:3:4:5:6:192.0.2.1",
					  "fe80::1%lo",
					  "::%eth0" };
	static const char *const not_v6[] = { "",
					      ":",
					      ":::",
					      "1",
					      "1:2:3:4:5:6:7",
					      "1:2:3:4:5:6:7:8:9",
					      "1::2::3",
					      "12345::",
					      "1:2:3:4:5:6:7:8::",
					      "::g",
					      "1:",
					      ":1",
					      "::1:",
					      "::1.2.3",
					      "::1.2.3.4:5",
					      "1:2:3:4:5:6:7:1.2.3.4",
					      "fe80::1%",
					      "fe80::1%a/b",
					      "::1%averylonginterface",
					      "1.2.3.4",
					      "::1 ",
					      "::1.2.3.256",
					      "1.2.3.4::" };
	static const char *const not_v4[] = { "",       "1",        "1.2.3",    "1.2.3.4.5", "256.1.1.1", "1.2.3.",
					      ".1.2.3", "01.2.3.4", "1.2.3.4 ", "1..2.3",    "a.b.c.d",   "1.2.3.0000" };

	(void)state;
	for (size_t i = 0; i < LENGTH(v6); i++)
		if (!addr_is_ipv6(v6[i]))
			fail_msg("%s", v6[i]);
	for (size_t i = 0; i < LENGTH(not_v6); i++)
		if (addr_is_ipv6(not_v6[i]))
			fail_msg("%s", not_v6[i]);
	assert_true(addr_is_ipv4("0.0.0.0"));
	assert_true(addr_is_ipv4("255.255.255.255"));
	assert_true(addr_is_ipv4("10.20.100.99"));
	for (size_t i = 0; i < LENGTH(not_v4); i++)
		if (addr_is_ipv4(not_v4[i]))
			fail_msg("%s", not_v4[i]);
}

static void test_predicates(void **state)
{
	static const struct {
		const char *text;
		bool dgram, secure, net, path;
	} t[] = {
		{ "tcp:1", false, false, true, false },
		{ "tcp:*:1", false, false, true, false },
		{ "tcp:127.9.9.9:1", false, false, true, false },
		{ "tcp:128.0.0.1:1", false, false, true, false },
		{ "tcp:localhost:1", false, false, true, false },
		{ "tcp:[0:0:0::1]:1", false, false, true, false },
		{ "tcp:[::ffff:127.0.0.1]:1", false, false, true, false },
		{ "tcp:[::2]:1", false, false, true, false },
		{ "udp:1", true, false, true, false },
		{ "tls:1", false, true, true, false },
		{ "ws:1", false, false, true, false },
		{ "wss:1", false, true, true, false },
		{ "unix:a", false, false, false, true },
		{ "unixseq:a", false, false, false, true },
		{ "unixgram:a", true, false, false, true },
		{ "fifo:a", false, false, false, true },
		{ "mq:/a", true, false, false, false },
		{ "stdio:", false, false, false, false },
		{ "fd:0", false, false, false, false },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(t); i++) {
		struct addr_text a;

		assert_int_equal(addr_parse(t[i].text, &a, NULL), 0);
		assert_int_equal(addr_is_dgram(&a), t[i].dgram);
		assert_int_equal(addr_is_secure(&a), t[i].secure);
		assert_int_equal(addr_is_net(&a), t[i].net);
		assert_int_equal(addr_is_path(&a), t[i].path);
	}
}

static void test_kinds(void **state)
{
	(void)state;
	for (size_t i = 0; i < ADDR_TRANSPORTS; i++) {
		assert_non_null(addr_kinds[i].name);
		assert_non_null(addr_kinds[i].help);
		assert_memory_equal(addr_kinds[i].form, addr_kinds[i].name, strlen(addr_kinds[i].name));
	}
}

static void test_rebase(void **state)
{
	static const struct {
		const char *text, *dir, *seen;
	} t[] = {
		{ "unix:./x", "/etc/g", "unix:/etc/g/x" },
		{ "unix:x", "/", "unix:/x" },
		{ "unix:/x", "/etc", "unix:/x" },
		{ "unix:./x", ".", "unix:./x" },
		{ "fifo:x", "", "fifo:x" },
		{ "tcp:1", "/etc", "tcp:1" },
		{ "mq:/x", "/etc", "mq:/x" },
		{ "unix:x", "a/", "unix:a/x" },
	};
	struct addr_text a;
	BUF_AUTO struct buf b = BUF_INIT(1000);

	(void)state;
	for (size_t i = 0; i < LENGTH(t); i++) {
		assert_int_equal(addr_parse(t[i].text, &a, NULL), 0);
		assert_int_equal(addr_rebase(&a, t[i].dir, NULL), 0);
		buf_reset(&b);
		addr_format(&a, &b);
		assert_string_equal(buf_str(&b), t[i].seen);
	}
	assert_int_equal(addr_parse("unix:x", &a, NULL), 0);
	assert_int_equal(addr_rebase(&a, P107, NULL), -ENAMETOOLONG);
	buf_reset(&b);
	assert_int_equal(addr_rebase(&a, P107, &b), -ENAMETOOLONG);
	assert_string_equal(
		buf_str(&b),
		"the path of unix:\"x\", seen from "
		"\"/23456789012345678901234567890123456789012345678901234567890\"..., has 109 bytes, at most 107 fit");
	assert_string_equal(a.path, "x");
}

static void test_lists(void **state)
{
	static const struct {
		const char *text;
		int err;
		const char *result; /* canonical text or the sentence */
	} t[] = {
		{ "", 0, "" },
		{ " tcp:1\n\tudp:1 ", 0, "tcp:1 udp:1" },
		{ "tcp:0 tcp:0", 0, "tcp:0 tcp:0" },
		{ "tcp:1 tcp:*:1", 0, "tcp:1 tcp:*:1" },
		{ "'unix:/a b' unix:c\\\"d", 0, "\"unix:/a b\" \"unix:c\\\"d\"" },
		{ "tcp:1 tcp:2 tcp:1", -EINVAL, "\"tcp:1\" comes twice" },
		{ "tcp:1 tls:1", -EINVAL, "\"tcp:1\" and \"tls:1\" want the same place" },
		{ "unix:/a unixgram:/a", -EINVAL, "\"unix:/a\" and \"unixgram:/a\" want the same place" },
		{ "stdio: stdio:", -EINVAL, "\"stdio:\" comes twice" },
		{ "tcp:1 tpc:2", -EINVAL, "unknown transport \"tpc\", did you mean \"tcp\"?" },
		{ "tcp:1 'udp:", -EINVAL, "a quote is not closed" },
		{ "tpc:1 tcp:1 upd:2 tcp:1 'x", -EINVAL,
		  "unknown transport \"tpc\", did you mean \"tcp\"?\nunknown transport \"upd\", did you mean \"udp\"?\n"
		  "\"tcp:1\" comes twice\na quote is not closed" },
		{ "upd:1 tcp:1 tcp:2 tcp:3 tcp:4", -E2BIG,
		  "unknown transport \"upd\", did you mean \"udp\"?\nmore than 3 addresses" },
		{ "tcp:1 tcp:2 tcp:3 tcp:4", -E2BIG, "more than 3 addresses" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(t); i++) {
		struct addr_list l = {};
		BUF_AUTO struct buf b = BUF_INIT(1000);

		assert_int_equal(addr_list_parse(t[i].text, 3, &l, &b), t[i].err);
		if (!t[i].err)
			addr_list_format(&l, &b);
		assert_string_equal(buf_str(&b), t[i].result);
		assert_true(addr_list_equal(&l, &l));
		addr_list_done(&l);
	}
}

#ifdef GUICHET_FAULTS
static void test_no_memory(void **state)
{
	bool failed = true;

	(void)state;
	for (unsigned long n = 1; failed; n++) {
		struct addr_list l = {};
		struct buf b;
		int err;

		buf_init(&b, 1000);
		fault_arm(FAULT_MEM, n, 0, false);
		err = addr_list_parse("tcp:1 'unix:/a b' udp:2", 3, &l, NULL);
		if (!err) {
			addr_list_format(&l, &b);
			err = b.err;
		}
		failed = fault_calls(FAULT_MEM) >= n;
		assert_int_equal(err, failed ? -ENOMEM : 0);
		addr_list_done(&l);
		buf_done(&b);
	}
	fault_arm(FAULT_MEM, 0, 0, false);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),       cmocka_unit_test(test_bad),   cmocka_unit_test(test_numeric),
		cmocka_unit_test(test_predicates), cmocka_unit_test(test_kinds), cmocka_unit_test(test_rebase),
		cmocka_unit_test(test_lists),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_no_memory),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
