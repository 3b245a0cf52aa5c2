/* test_talk.c - doors and problems arrive as they were sent; what is cut or wrong does not, and no descriptor is left over. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "drive/sys.h"
#include "main/talk.h"

static struct chan_msg sent, got;
static int ends[2];

static int begin(void **state)
{
	(void)state;
	return chan_pair(ends);
}

static int finish(void **state)
{
	(void)state;
	close(ends[0]);
	close(ends[1]);
	return 0;
}

static void pass(void)
{
	assert_int_equal(chan_send(ends[0], &sent), 0);
	assert_int_equal(chan_recv(ends[1], &got), 1);
}

static struct door tcp_door(int fd)
{
	struct door d = {
		.service = "echo", .number = 7, .nth = 1, .tls = true, .ws = true, .spare = true, .fd = fd, .dir = -1
	};
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons(7007),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	d.at.type = SOCK_STREAM;
	d.at.n = sizeof(in);
	memcpy(&d.at.st, &in, sizeof(in));
	snprintf(d.at.interface, sizeof(d.at.interface), "lo");
	return d;
}

static void test_door(void **state)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct door d = tcp_door(fd), e;

	(void)state;
	chan_msg_init(&sent, TALK_DOOR, 1);
	talk_put_door(&sent, &d);
	pass();
	assert_int_equal(talk_get_door(&got, &e), 0);
	assert_string_equal(e.service, "echo");
	assert_true(e.number == 7 && e.nth == 1 && e.tls && e.ws && e.spare && e.dir == -1 && e.fd >= 0 && e.fd != fd);
	assert_true(netaddr_same(&d.at, &e.at));
	assert_string_equal(e.at.interface, "lo");
	close(e.fd);
	close(fd);
	chan_msg_done(&got);
}

static void test_pipe_door(void **state)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct door d = { .service = "echo", .fd = fd, .dir = dir, .at.type = NETADDR_FIFO }, e;

	(void)state;
	snprintf(d.at.name.path, sizeof(d.at.name.path), "/run/echo");
	chan_msg_init(&sent, TALK_DOOR, 1);
	talk_put_door(&sent, &d);
	pass();
	assert_int_equal(talk_get_door(&got, &e), 0);
	assert_true(e.fd >= 0 && e.dir >= 0 && e.at.type == NETADDR_FIFO);
	assert_string_equal(e.at.name.path, "/run/echo");
	close(e.fd);
	close(e.dir);
	close(fd);
	close(dir);
	chan_msg_done(&got);
}

/* Cut anywhere it is none, and its descriptor is closed. */
static void test_cut(void **state)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), next;
	struct door d = tcp_door(fd), e = { .fd = -2 };
	uint32_t whole;

	(void)state;
	chan_msg_init(&sent, TALK_DOOR, 1);
	talk_put_door(&sent, &d);
	whole = sent.n;
	for (uint32_t n = 0; n < whole; n++) {
		sent.n = n;
		pass();
		assert_int_equal(talk_get_door(&got, &e), -EPROTO);
		chan_msg_done(&got);
	}
	assert_int_equal(e.fd, -2);
	next = dup(fd);
	assert_int_equal(next, fd + 1);
	close(next);
	close(fd);
}

static void test_without_descriptor(void **state)
{
	struct door d = tcp_door(-1), e;

	(void)state;
	chan_msg_init(&sent, TALK_DOOR, 1);
	talk_put_door(&sent, &d);
	sent.err = 0;
	pass();
	assert_int_equal(talk_get_door(&got, &e), -EPROTO);
	chan_msg_done(&got);
}

static void test_problems(void **state)
{
	struct conf_problems ps = {}, more = {};

	(void)state;
	conf_problem(&ps, "a.conf", 3, "something is wrong");
	conf_warning(&ps, "a.conf", 4, "something is odd");
	conf_problem(&ps, "command line", 0, "and more");
	chan_msg_init(&sent, TALK_NO, 1);
	talk_put_problems(&sent, &ps);
	pass();
	assert_int_equal(talk_get_problems(&got, &more), 0);
	assert_int_equal(conf_problems_count(&more), 2);
	assert_string_equal(more.v[0].file, "a.conf");
	assert_int_equal(more.v[0].line, 3);
	assert_string_equal(more.v[1].text, "and more");
	conf_problems_done(&ps);
	conf_problems_done(&more);
	chan_msg_done(&got);
}

/* More of them than a message holds: as many as fit. */
static void test_many_problems(void **state)
{
	struct conf_problems ps = {}, more = {};

	(void)state;
	for (unsigned i = 0; i < 2000; i++)
		conf_problem(&ps, "a.conf", i, "%0100u", i);
	chan_msg_init(&sent, TALK_NO, 1);
	talk_put_problems(&sent, &ps);
	assert_int_equal(sent.err, 0);
	pass();
	assert_int_equal(talk_get_problems(&got, &more), 0);
	assert_in_range(conf_problems_count(&more), 20, 200);
	conf_problems_done(&ps);
	conf_problems_done(&more);
	chan_msg_done(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_door, begin, finish),
		cmocka_unit_test_setup_teardown(test_pipe_door, begin, finish),
		cmocka_unit_test_setup_teardown(test_cut, begin, finish),
		cmocka_unit_test_setup_teardown(test_without_descriptor, begin, finish),
		cmocka_unit_test_setup_teardown(test_problems, begin, finish),
		cmocka_unit_test_setup_teardown(test_many_problems, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
