/* test_crash.c - who was served when a process fell: a stream's peer, a datagram's sender, nobody. Each falls in a child. */
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/peer.h"
#include "drive/crash.h"
#include "drive/loop.h"

static struct shared *shared;

static enum verdict fall(void *self, const struct ev *ev, struct io *io)
{
	(void)self;
	if (ev->kind == EV_DGRAM)
		abort();
	if (ev->kind != EV_DATA)
		return V_GO;
	if (in_peek(io).p[0] == '!')
		abort();
	in_take(io, in_peek(io).n);
	return V_GO;
}

static const struct proto proto = {
	.abi = PROTO_ABI, .name = "falls", .flags = P_STREAM | P_DGRAM | P_SMALL, .step = fall
};
static struct svc svc = { .name = "shaky", .proto = &proto, .limits = { .input = 65536, .output = 1 << 20 } };
static _Atomic uint64_t stats[STAT_N];
static struct lane lane = { .svc = &svc, .stats = stats };

static struct loop *make_loop(void)
{
	struct loop_setup setup = { .many = true, .stop_fd = -1, .cut_fd = -1, .guard = shared->guard };
	struct loop *l;

	if (loop_new(&setup, &l) < 0)
		_exit(2);
	return l;
}

static void serve_stream(void)
{
	static const uint8_t addr[4] = { 192, 0, 2, 7 };
	struct adopt a = { .wfd = -1, .lane = &lane, .socket = true };
	struct loop *l = make_loop();
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0)
		_exit(2);
	a.fd = ends[0];
	a.peer = peer_new(PEER_IP4, addr, 4, 4711, 0);
	if (loop_adopt(l, &a) < 0 || write(ends[1], "fine", 4) != 4)
		_exit(2);
	loop_turn(l, SEC);
	if (write(ends[1], "!", 1) != 1)
		_exit(2);
	loop_turn(l, SEC);
	loop_turn(l, SEC);
}

static void serve_datagram(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), client = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t n = sizeof(at);
	const struct peer *local;
	struct loop *l = make_loop();
	sess_id id;

	if (bind(fd, (struct sockaddr *)&at, n) < 0 || getsockname(fd, (struct sockaddr *)&at, &n) < 0)
		_exit(2);
	local = peer_new(PEER_IP4, &at.sin_addr, 4, ntohs(at.sin_port), 0);
	if (loop_adopt_dgram(l, fd, &lane, local, false, false, &id) < 0 ||
	    connect(client, (struct sockaddr *)&at, n) < 0 || send(client, "!", 1, 0) != 1)
		_exit(2);
	loop_turn(l, SEC);
	loop_turn(l, SEC);
}

static void serve_nobody(void)
{
	abort();
}

/* In a child: what it has left behind. */
static const struct shared_crash *after(void (*serve)(void))
{
	struct shared_crash *c = &shared->process[1].crash;
	int status;
	pid_t pid;

	*c = (struct shared_crash){};
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		crash_watch(c);
		serve();
		_exit(3); /* it should have fallen */
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	return c;
}

static void test_stream(void **state)
{
	const struct shared_crash *c = after(serve_stream);
	char text[PEER_TEXT];

	(void)state;
	assert_int_equal(atomic_load(&c->signal), SIGABRT);
	assert_string_equal(c->service, "shaky");
	assert_true(shared_crash_peer(c, text));
	assert_string_equal(text, "192.0.2.7:4711");
}

static void test_datagram(void **state)
{
	const struct shared_crash *c = after(serve_datagram);

	(void)state;
	assert_string_equal(c->service, "shaky");
	assert_int_equal(c->n, 4);
	assert_int_equal(c->addr[0], 127);
	assert_true(c->port > 0);
}

static void test_nobody(void **state)
{
	const struct shared_crash *c = after(serve_nobody);
	char text[PEER_TEXT];

	(void)state;
	assert_int_equal(atomic_load(&c->signal), SIGABRT);
	assert_string_equal(c->service, "");
	assert_false(shared_crash_peer(c, text));
}

/* Somebody has sent it: then it is nobody's mistake, but the end all the same. */
static void test_sent(void **state)
{
	struct shared_crash *c = &shared->process[1].crash;
	int status;
	pid_t pid;

	(void)state;
	*c = (struct shared_crash){};
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGBUS, SIG_DFL); /* a sanitizer's would exit */
		crash_watch(c);
		kill(getpid(), SIGBUS);
		_exit(3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	assert_int_equal(atomic_load(&c->signal), 0);
}

static int begin(void **state)
{
	(void)state;
	return shared_new(3, &shared);
}

static int finish(void **state)
{
	(void)state;
	shared_free(&shared);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_datagram),
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_sent),
	};

	return cmocka_run_group_tests(tests, begin, finish);
}
