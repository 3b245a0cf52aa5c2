/*
 * test_queue.c - the name at the front of a message, and queues that are ours, left over, or somebody else's. Real services and
 * clients are in tests/e2e/test_named.py.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "drive/net/queue.h"
#include "drive/sys.h"

static char name[64];
static char said[256];
static struct buf why;

static int setup(void **state)
{
	(void)state;
	snprintf(name, sizeof(name), "/guichet-unit-%ld", (long)getpid());
	buf_init_fixed(&why, said, sizeof(said));
	return 0;
}

static bool exists(const char *queue)
{
	int fd = mq_open(queue, O_RDONLY);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void test_split(void **state)
{
	static const struct {
		const char *message, *name, *rest; /* name NULL: it has none */
	} cases[] = {
		{ "/a hello", "/a", "hello" },
		{ "/a  hello", "/a", " hello" },
		{ "/a ", "/a", "" },
		{ "/a", "/a", "" },
		{ "/a\nhello", "/a", "\nhello" },
		{ "/guichet-1.2_x~ y", "/guichet-1.2_x~", "y" },
		{ "/... x", "/...", "x" },
		{ "", NULL, NULL },
		{ "a", NULL, NULL },
		{ " /a b", NULL, NULL },
		{ "/", NULL, NULL },
		{ "/ a", NULL, NULL },
		{ "/. a", NULL, NULL },
		{ "/.. a", NULL, NULL },
		{ "//a b", NULL, NULL },
		{ "/a/b c", NULL, NULL },
		{ "/a\tb", NULL, NULL },
		{ "/a\x80 b", NULL, NULL },
	};
	char got[ADDR_MQ_MAX + 1], text[300];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct span s = span_str(cases[i].message);
		bool has = queue_split(&s, got);

		assert_int_equal(has, cases[i].name != NULL);
		if (has)
			assert_string_equal(got, cases[i].name);
		assert_true(span_is(s, has ? cases[i].rest : cases[i].message));
	}
	for (size_t n = 253; n < 258; n++) { /* 255 with the slash */
		struct span s = { (uint8_t *)text, n + 2 };

		memset(text, 'x', sizeof(text));
		text[0] = '/';
		text[n] = ' ';
		assert_int_equal(queue_split(&s, got), n <= 255);
	}
}

static void test_life(void **state)
{
	struct owner to = { .uid = OWNER_SAME, .gid = GROUP_SAME, .mode = 0620 };
	struct stat st;
	int fd;

	(void)state;
	assert_false(queue_is_ours(name));
	fd = queue_open(name, &why);
	assert_true(fd >= 0);
	assert_true(queue_is_ours(name));
	assert_int_equal(queue_open(name, &why), -EADDRINUSE);
	assert_non_null(strstr(said, "is served by another program already"));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(queue_give(fd, &to), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0620);
	queue_close(&fd, name, true);
	assert_int_equal(fd, -1);
	assert_false(queue_is_ours(name));
	assert_false(exists(name));
	queue_close(&fd, name, true);
}

static void test_left_over(void **state)
{
	char b[QUEUE_MESSAGE];
	int fd = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, NULL);

	(void)state;
	assert_int_equal(mq_send(fd, "old", 3, 0), 0);
	close(fd);
	fd = queue_open(name, &why);
	assert_true(fd >= 0);
	assert_int_equal(mq_receive(fd, b, sizeof(b), NULL), -1); /* it is another one */
	assert_int_equal(errno, EAGAIN);
	queue_close(&fd, name, true);
}

static void test_dial(void **state)
{
	char own[ADDR_MQ_MAX + 1], b[QUEUE_MESSAGE];
	int fd = queue_open(name, &why), to, from;

	(void)state;
	assert_int_equal(queue_dial(name, own, &to, &from), 0);
	assert_true(exists(own));
	assert_false(queue_is_ours(own));
	assert_int_equal(mq_send(to, "x", 1, 0), 0);
	assert_int_equal(mq_receive(fd, b, sizeof(b), NULL), 1);
	close(to);
	close(from);
	queue_remove(own);
	assert_false(exists(own));
	queue_close(&fd, name, true);
	assert_int_equal(queue_dial(name, own, &to, &from), -ENOENT);
}

static int once(void)
{
	char own[ADDR_MQ_MAX + 1];
	int fd = queue_open(name, &why), to, from, r = fd < 0 ? fd : queue_dial(name, own, &to, &from);

	if (r == 0) {
		close(to);
		close(from);
		queue_remove(own);
	}
	queue_close(&fd, name, true);
	buf_reset(&why);
	return r;
}

static void test_every_call_fails_once(void **state)
{
	(void)state;
	for (int kind = 0; kind < FAULT_KINDS; kind++) {
		for (unsigned long n = 1; n < 50; n++) {
			unsigned long calls;
			int r;

			fault_arm((enum fault_kind)kind, n, EIO, false);
			r = once();
			calls = fault_calls((enum fault_kind)kind);
			fault_arm((enum fault_kind)kind, 0, 0, false);
			assert_false(exists(name));
			assert_false(queue_is_ours(name));
			if (calls < n) {
				assert_int_equal(r, 0);
				break;
			}
			assert_true(r < 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_split, setup),
		cmocka_unit_test_setup(test_life, setup),
		cmocka_unit_test_setup(test_left_over, setup),
		cmocka_unit_test_setup(test_dial, setup),
		cmocka_unit_test_setup(test_every_call_fails_once, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
