/* test_listener.c - which addresses meet, and binding when something is in the way. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "core/stats.h"
#include "drive/loop.h"
#include "drive/net/listener.h"
#include "drive/poll/poller.h"
#include "drive/sys.h"

/* The last sockaddr of an address: IPv4 where there are two. */
static struct netaddr addr(const char *text, enum tables_family family)
{
	struct addr_text a;
	struct netaddr *v, last;
	struct buf why;
	unsigned n;

	buf_init(&why, 1024);
	assert_int_equal(addr_parse(text, &a, &why), 0);
	assert_int_equal(netaddr_resolve(&a, family, true, &v, &n, &why), 0);
	last = v[family == FAMILY_6 ? n - 1 : 0];
	mem_free(v);
	buf_done(&why);
	return last;
}

static void test_meeting(void **state)
{
	enum { SAME = 1, COVERS = 2, COVERED = 4, OVERLAPS = 8, ALL = 15 };
	static const struct {
		const char *a, *b;
		enum tables_family fa, fb;
		unsigned how;
	} cases[] = {
		{ "tcp:127.0.0.1:1", "tcp:127.0.0.1:1", FAMILY_ANY, FAMILY_ANY, ALL },
		{ "tcp:1", "tcp:127.0.0.1:1", FAMILY_4, FAMILY_ANY, ALL },
		{ "tcp:1", "tls:1", FAMILY_4, FAMILY_4, ALL },
		{ "tcp:127.0.0.1:1", "tcp:127.0.0.1:2", FAMILY_ANY, FAMILY_ANY, 0 },
		{ "tcp:127.0.0.1:1", "tcp:127.0.0.2:1", FAMILY_ANY, FAMILY_ANY, 0 },
		{ "tcp:127.0.0.1:1", "udp:127.0.0.1:1", FAMILY_ANY, FAMILY_ANY, 0 },
		{ "tcp:*:1", "tcp:127.0.0.1:1", FAMILY_ANY, FAMILY_ANY, COVERS | OVERLAPS },
		{ "tcp:*:1", "tcp:[::1]:1", FAMILY_ANY, FAMILY_ANY, COVERS | OVERLAPS },
		{ "tcp:*:1", "tcp:[::1]:1", FAMILY_4, FAMILY_ANY, 0 },
		{ "tcp:*:1", "tcp:127.0.0.1:1", FAMILY_6, FAMILY_ANY, 0 },
		{ "tcp:*:1", "tcp:*:1", FAMILY_ANY, FAMILY_ANY, ALL },
		{ "tcp:*:1", "tcp:*:1", FAMILY_ANY, FAMILY_6, COVERS | OVERLAPS },
		{ "tcp:*:1", "tcp:*:1", FAMILY_4, FAMILY_ANY, COVERED | OVERLAPS },
		{ "tcp:*:1", "tcp:*:1", FAMILY_4, FAMILY_6, 0 },
		{ "unix:/a", "unix:/a", FAMILY_ANY, FAMILY_6, ALL },
		{ "unix:/a", "unix:/b", FAMILY_ANY, FAMILY_ANY, 0 },
		{ "unix:/a", "tcp:127.0.0.1:1", FAMILY_ANY, FAMILY_ANY, 0 },
		{ "fifo:/a", "fifo:/a", FAMILY_ANY, FAMILY_ANY, ALL },
		{ "fifo:/a", "fifo:/b", FAMILY_ANY, FAMILY_ANY, 0 },
		{ "fifo:/a", "unix:/a", FAMILY_ANY, FAMILY_ANY, 0 },
		{ "mq:/a", "mq:/a", FAMILY_ANY, FAMILY_ANY, ALL },
		{ "mq:/a", "fifo:/a", FAMILY_ANY, FAMILY_ANY, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct netaddr a = addr(cases[i].a, cases[i].fa), b = addr(cases[i].b, cases[i].fb);
		unsigned how = (netaddr_same(&a, &b) ? SAME : 0) | (netaddr_covers(&a, &b) ? COVERS : 0) |
			       (netaddr_covers(&b, &a) ? COVERED : 0) | (netaddr_overlaps(&a, &b) ? OVERLAPS : 0);

		if (how != cases[i].how)
			fail_msg("%s and %s (row %zu): %x, not %x", cases[i].a, cases[i].b, i, how, cases[i].how);
		assert_int_equal(netaddr_overlaps(&b, &a), netaddr_overlaps(&a, &b));
	}
}

static const struct listen_setup setup = { .backlog = 8, .owner = { OWNER_SAME, GROUP_SAME, 0600 } };

static void test_files(void **state)
{
	char text[64];
	struct netaddr at;
	struct listener *ln, *other;
	struct buf why;

	(void)state;
	snprintf(text, sizeof(text), "unix:/tmp/guichet-test-%d", (int)getpid());
	at = addr(text, FAMILY_ANY);
	buf_init(&why, 1024);
	assert_int_equal(listener_new(&at, &setup, &ln, &why), 0);
	assert_int_equal(listener_new(&at, &setup, &other, &why), -EADDRINUSE);
	assert_non_null(strstr(buf_str(&why), "is served by another program already"));
#ifdef GUICHET_FAULTS
	buf_reset(&why);
	fault_arm(FAULT_SYS, 2, EACCES, false); /* socket, connect */
	assert_int_equal(listener_new(&at, &setup, &other, &why), -EACCES);
	fault_arm(FAULT_SYS, 0, 0, false);
	assert_non_null(strstr(buf_str(&why), "belongs to somebody else"));
#endif
	close(ln->fd); /* as after a crash: the file stays */
	ln->fd = -1;
	buf_reset(&why);
	assert_int_equal(listener_new(&at, &setup, &other, &why), 0);
	listener_unref(other);
	assert_int_equal(access(at.un.sun_path, F_OK), -1);
	listener_unref(ln);
	buf_done(&why);
}

#ifdef GUICHET_FAULTS
/* Whatever fails, nothing is left behind. */
static void test_nothing_left(void **state)
{
	struct listen_setup given = setup; /* to ourselves: that takes one more step */
	char text[64];
	struct netaddr at;

	(void)state;
	given.owner = (struct owner){ geteuid(), getegid(), 0640 };
	snprintf(text, sizeof(text), "unix:/tmp/guichet-test-%d", (int)getpid());
	at = addr(text, FAMILY_ANY);
	for (int kind = 0; kind < FAULT_KINDS; kind++) {
		for (unsigned long n = 1;; n++) {
			struct listener *ln;
			struct buf why;
			int r;

			buf_init(&why, 1024);
			fault_arm((enum fault_kind)kind, n, ENOMEM, false);
			r = listener_new(&at, &given, &ln, &why);
			fault_arm((enum fault_kind)kind, 0, 0, false);
			buf_done(&why);
			if (r == 0)
				listener_unref(ln);
			assert_int_equal(access(at.un.sun_path, F_OK), -1);
			if (r == 0)
				break;
		}
	}
}
#endif

static void never(struct loop *l, struct listener *ln, struct lane *lane, const struct arrival *who)
{
	(void)l;
	(void)ln;
	(void)lane;
	close(who->fd);
}

/* A loop that still accepts when it ends lets go of the listener; LeakSanitizer looks. */
static void test_loop_ends(void **state)
{
	struct netaddr at = addr("tcp:127.0.0.1:0", FAMILY_4);
	struct loop_setup ls = { .many = true, .stop_fd = -1, .cut_fd = -1 };
	struct lane lane = {};
	struct listener *ln;
	struct loop *l;
	struct buf why;

	(void)state;
	buf_init(&why, 1024);
	assert_int_equal(loop_new(&ls, &l), 0);
	assert_int_equal(listener_new(&at, &setup, &ln, &why), 0);
	assert_int_equal(loop_listen(l, ln, &lane, never, WATCH_ACCEPT), 0);
	loop_free(&l);
	assert_int_equal(atomic_load(&ln->refs), 1);
	listener_unref(ln);
	buf_done(&why);
}

/* Nothing is made, removed or kept by asking. */
static void test_probe(void **state)
{
	struct netaddr at = addr("tcp:127.0.0.1:0", FAMILY_ANY), file = addr("unix:probe.sock", FAMILY_ANY);
	struct listener *ln;
	struct buf why;

	(void)state;
	buf_init(&why, 1024);
	assert_int_equal(listener_new(&at, &setup, &ln, &why), 0);
	assert_int_equal(listener_probe(&ln->at, &setup, &why), -EADDRINUSE);
	assert_string_equal(buf_str(&why), "address in use by another program; `ss -ltnup` says which");
	buf_reset(&why);
	at = ln->at;
	listener_unref(ln);
	for (int i = 0; i < 2; i++)
		assert_int_equal(listener_probe(&at, &setup, &why), 0);
	assert_int_equal(listener_probe(&file, &setup, &why), 0);
	assert_int_equal(access("probe.sock", F_OK), -1);
	assert_int_equal(listener_new(&file, &setup, &ln, &why), 0);
	assert_int_equal(listener_probe(&file, &setup, &why), -EADDRINUSE);
	assert_int_equal(access("probe.sock", F_OK), 0);
	listener_unref(ln);
	buf_done(&why);
}

static void test_probe_named(void **state)
{
	static const char *const all[] = { "unixseq:probe.seq", "unixgram:probe.gram", "fifo:probe.pipe",
					   "mq:/guichet-test-probe" };
	struct buf why;

	(void)state;
	buf_init(&why, 1024);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct netaddr at = addr(all[i], FAMILY_ANY);
		struct listener *ln;

		for (int k = 0; k < 2; k++)
			assert_int_equal(listener_probe(&at, &setup, &why), 0);
		assert_int_equal(listener_new(&at, &setup, &ln, &why), 0);
		assert_int_equal(listener_probe(&at, &setup, &why), -EADDRINUSE);
		assert_non_null(strstr(buf_str(&why), " is served by another program already"));
		buf_reset(&why);
		listener_unref(ln);
		assert_int_equal(listener_probe(&at, &setup, &why), 0);
	}
	buf_done(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_meeting),      cmocka_unit_test(test_files),
		cmocka_unit_test(test_probe),        cmocka_unit_test(test_probe_named),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_nothing_left),
#endif
		cmocka_unit_test(test_loop_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
