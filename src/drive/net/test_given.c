/* test_given.c - descriptors that the program was born with: which they are, what they are, and taking them. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "drive/net/given.h"
#include "drive/net/listener.h"

/* Not CLOEXEC: as if it had come through exec(2). */
static int bound(int family, int type, bool listening)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(family, type, 0);

	assert_true(fd >= 0);
	if (family == AF_INET)
		assert_int_equal(bind(fd, (const struct sockaddr *)&in, sizeof(in)), 0);
	if (listening)
		assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static void test_kinds(void **state)
{
	int pair[2], pipes[2],
		fd[3] = { bound(AF_INET, SOCK_STREAM, true), bound(AF_INET, SOCK_DGRAM, false),
			  bound(AF_INET, SOCK_STREAM, false) };

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(given_kind(fd[0]), GIVEN_DOOR);
	assert_int_equal(given_kind(fd[1]), GIVEN_DGRAM);
	assert_int_equal(given_kind(fd[2]), GIVEN_IDLE);
	assert_int_equal(given_kind(pair[0]), GIVEN_TALK);
	assert_int_equal(given_kind(pipes[0]), GIVEN_FILE);
	assert_int_equal(given_kind(-1), GIVEN_NOTHING);
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	for (int i = 0; i < 2; i++) {
		close(pair[i]);
		close(pipes[i]);
	}
}

/* What is CLOEXEC is ours, what is not was given, and is CLOEXEC from then on. */
static void test_whose(void **state)
{
	int theirs = bound(AF_INET, SOCK_STREAM, true), ours = bound(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, true);
	struct netaddr at;
	struct given *g;
	struct buf why;

	(void)state;
	buf_init(&why, 1024);
	assert_int_equal(given_new(&g), 0);
	assert_true(given_has(g, theirs, &why));
	assert_int_equal(fcntl(theirs, F_GETFD), FD_CLOEXEC);
	assert_false(given_has(g, ours, &why));
	assert_non_null(strstr(buf_str(&why), "nobody has given descriptor"));
	assert_int_equal(given_address(theirs, &at), 0);
	assert_int_equal(given_find(g, &at), theirs);
	assert_int_equal(given_address(ours, &at), 0);
	assert_int_equal(given_find(g, &at), -1);
	given_free(&g);
	close(theirs);
	close(ours);
	buf_done(&why);
}

/* A door stays for the next time, a conversation is taken away. */
static void test_taking(void **state)
{
	int door = bound(AF_INET, SOCK_STREAM, true), pair[2], fd, wfd;
	struct given *g;
	struct buf why;
	char byte;

	(void)state;
	buf_init(&why, 1024);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(given_new(&g), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(given_take(g, door, &fd, &wfd), 0);
		assert_int_not_equal(fd, door);
		assert_int_equal(wfd, -1);
		close(fd);
	}
	assert_int_equal(given_take(g, pair[0], &fd, &wfd), 0);
	assert_false(given_has(g, pair[0], &why));
	close(fd);
	assert_int_equal(read(pair[1], &byte, 1), 0); /* that was the last one */
	given_free(&g);
	close(door);
	close(pair[1]);
	buf_done(&why);
}

static void test_listeners(void **state)
{
	int udp = bound(AF_INET, SOCK_DGRAM, false), idle = bound(AF_INET, SOCK_STREAM, false), pair[2];
	struct listener *ln;
	struct given *g;
	struct buf why;

	(void)state;
	buf_init(&why, 1024);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(given_new(&g), 0);
	assert_int_equal(listener_given(g, udp, &ln, &why), 0);
	assert_true(ln->dgram && !ln->talk && ln->given == udp && ln->local->port);
	assert_true(fcntl(ln->fd, F_GETFL) & O_NONBLOCK);
	listener_unref(ln);
	assert_int_equal(given_kind(udp), GIVEN_DGRAM);
	assert_int_equal(listener_given(g, pair[0], &ln, &why), 0);
	assert_true(ln->talk && !ln->dgram && ln->at.type == SOCK_SEQPACKET);
	listener_unref(ln);
	assert_int_equal(listener_given(g, idle, &ln, &why), -EINVAL);
	assert_int_equal(listener_given(g, 12345, &ln, &why), -EBADF);
	given_free(&g);
	close(udp);
	close(idle);
	close(pair[1]);
	buf_done(&why);
}

#ifdef GUICHET_FAULTS
static int open_files(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Whatever fails, nothing is left behind, and it can be tried again. */
static void test_nothing_left(void **state)
{
	int door = bound(AF_INET, SOCK_DGRAM, false), before = open_files();

	(void)state;
	for (int kind = 0; kind < FAULT_KINDS; kind++) {
		for (unsigned long n = 1;; n++) {
			struct listener *ln = NULL;
			struct given *g = NULL;
			struct buf why;
			int r;

			fcntl(door, F_SETFD, 0);
			buf_init(&why, 1024);
			fault_arm((enum fault_kind)kind, n, ENOMEM, false);
			r = given_new(&g);
			if (r == 0)
				r = listener_given(g, door, &ln, &why);
			fault_arm((enum fault_kind)kind, 0, 0, false);
			buf_done(&why);
			given_free(&g);
			listener_unref(ln);
			assert_int_equal(open_files(), before);
			if (r == 0)
				break;
		}
	}
	close(door);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),        cmocka_unit_test(test_whose),
		cmocka_unit_test(test_taking),       cmocka_unit_test(test_listeners),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_nothing_left),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
