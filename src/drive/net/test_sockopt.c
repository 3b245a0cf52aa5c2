/* test_sockopt.c - options of sockets, set at first, changed and taken back; and whose their files are. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "drive/net/listener.h"

static struct netaddr loopback(int type)
{
	struct netaddr a = { .n = sizeof(struct sockaddr_in), .type = type };

	((struct sockaddr_in *)&a.st)->sin_family = AF_INET;
	((struct sockaddr_in *)&a.st)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static int get(int fd, int level, int option)
{
	int value = -1;
	socklen_t n = sizeof(value);

	assert_int_equal(getsockopt(fd, level, option, &value, &n), 0);
	return value;
}

static struct listener *listener(const struct netaddr *at, const struct listen_setup *setup)
{
	struct listener *ln;
	struct buf why;

	buf_init(&why, 1024);
	if (listener_new(at, setup, &ln, &why) < 0)
		fail_msg("%s", buf_str(&why));
	buf_done(&why);
	return ln;
}

static const struct listen_setup plain = { .backlog = 8, .owner = { OWNER_SAME, GROUP_SAME, 0600 } };

/* A connection has what its listener had; back to the defaults it is as if nothing had been set. */
static void test_stream(void **state)
{
	struct listen_setup want = plain;
	struct netaddr at = loopback(SOCK_STREAM);
	struct listener *usual = listener(&at, &plain), *ln;
	int fd, client;

	(void)state;
	want.socket = (struct sockopt){
		.nodelay = true, .reuse = true, .keepalive = 40 * NSEC_PER_SEC, .receive = 50000, .send = 60000
	};
	ln = listener(&at, &want);
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, &ln->at.sa, ln->at.n), 0);
	fd = accept(ln->fd, NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(get(fd, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(get(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(get(fd, IPPROTO_TCP, TCP_KEEPIDLE), 40);
	assert_int_equal(get(fd, IPPROTO_TCP, TCP_KEEPINTVL), 10);
	assert_int_equal(get(fd, IPPROTO_TCP, TCP_KEEPCNT), 4);
	assert_int_equal(get(fd, SOL_SOCKET, SO_RCVBUF), 100000);
	assert_int_equal(get(fd, SOL_SOCKET, SO_SNDBUF), 120000);
	assert_int_equal(get(ln->fd, SOL_SOCKET, SO_REUSEPORT), 1);
	close(fd);
	close(client);

	want.socket.keepalive = 1;
	assert_int_equal(listener_tune(ln, &want), 0);
	assert_int_equal(get(ln->fd, IPPROTO_TCP, TCP_KEEPIDLE), 1); /* less cannot be had */
	assert_int_equal(listener_tune(ln, &plain), 0);
	assert_int_equal(get(ln->fd, IPPROTO_TCP, TCP_NODELAY), 0);
	assert_int_equal(get(ln->fd, SOL_SOCKET, SO_KEEPALIVE), 0);
	assert_int_equal(get(ln->fd, SOL_SOCKET, SO_REUSEPORT), 0);
	assert_int_equal(get(ln->fd, SOL_SOCKET, SO_RCVBUF), get(usual->fd, SOL_SOCKET, SO_RCVBUF));
	assert_int_equal(get(ln->fd, SOL_SOCKET, SO_SNDBUF), get(usual->fd, SOL_SOCKET, SO_SNDBUF));
	listener_unref(ln);
	listener_unref(usual);
}

static void test_dgram(void **state)
{
	struct listen_setup want = plain;
	struct netaddr at = loopback(SOCK_DGRAM);
	struct listener *usual = listener(&at, &plain), *ln;

	(void)state;
	want.socket = (struct sockopt){ .keepalive = NSEC_PER_SEC, .receive = 50000, .reuse = true };
	ln = listener(&at, &want);
	assert_int_equal(get(ln->fd, SOL_SOCKET, SO_RCVBUF), 100000);
	assert_int_equal(get(ln->fd, SOL_SOCKET, SO_REUSEPORT), 0); /* of streams */
	assert_int_equal(listener_tune(ln, &plain), 0);
	assert_int_equal(get(ln->fd, SOL_SOCKET, SO_RCVBUF), get(usual->fd, SOL_SOCKET, SO_RCVBUF));
	listener_unref(ln);
	listener_unref(usual);
}

static struct owner owner_of(const char *path)
{
	struct owner o;

	assert_int_equal(owner_read(path, &o), 0);
	return o;
}

static void test_files(void **state)
{
	struct netaddr at = { .type = SOCK_STREAM };
	struct listen_setup want = plain;
	struct listener *ln;
	char other[128];

	(void)state;
	at.un.sun_family = AF_UNIX;
	snprintf(at.un.sun_path, sizeof(at.un.sun_path), "/tmp/guichet-sockopt-%d", (int)getpid());
	at.n = sizeof(at.un);
	want.owner = (struct owner){ geteuid(), getegid(), 0640 };
	ln = listener(&at, &want);
	assert_int_equal(owner_of(at.un.sun_path).mode, 0640);
	assert_int_equal(listener_tune(ln, &plain), 0);
	assert_int_equal(owner_of(at.un.sun_path).mode, 0600);
	assert_int_equal(owner_of(at.un.sun_path).gid, ln->born.gid);

	/* what stands there instead of it is not touched */
	snprintf(other, sizeof(other), "%s-away", at.un.sun_path);
	assert_int_equal(rename(at.un.sun_path, other), 0);
	assert_int_equal(listener_tune(ln, &want), -ENOENT);
	assert_int_equal(symlink(other, at.un.sun_path), 0);
	assert_int_equal(listener_tune(ln, &want), -ESTALE);
	assert_int_equal(owner_of(other).mode, 0600);
	unlink(other);
	listener_unref(ln);
}

static void test_names(void **state)
{
	struct buf why;
	uid_t uid;
	gid_t gid;

	(void)state;
	buf_init(&why, 1024);
	assert_int_equal(owner_user("root", &uid, &why), 0);
	assert_int_equal(uid, 0);
	assert_int_equal(owner_group("0012", &gid, &why), 0);
	assert_int_equal(gid, 12);
	assert_int_equal(owner_user(NULL, &uid, &why), 0);
	assert_int_equal(uid, OWNER_SAME);
	assert_int_equal(owner_group("", &gid, &why), 0);
	assert_int_equal(gid, GROUP_SAME);
	assert_int_equal(why.n, 0);
	assert_int_equal(owner_user("4294967295", &uid, &why), -ENOENT); /* it would mean "nobody else" */
	assert_int_equal(owner_group("no such group", &gid, &why), -ENOENT);
	assert_string_equal(buf_str(&why), "there is no user \"4294967295\"there is no group \"no such group\"");
	buf_done(&why);
}

/* Two interfaces are two places; none is all of them. */
static void test_interfaces(void **state)
{
	struct netaddr any = loopback(SOCK_STREAM), one = any, other = any;

	(void)state;
	snprintf(one.interface, sizeof(one.interface), "eth0");
	snprintf(other.interface, sizeof(other.interface), "eth1");
	assert_true(netaddr_same(&one, &one));
	assert_false(netaddr_same(&one, &any));
	assert_false(netaddr_overlaps(&one, &other));
	assert_true(netaddr_overlaps(&one, &any) && netaddr_overlaps(&any, &one));
	assert_true(netaddr_covers(&any, &one));
	assert_false(netaddr_covers(&one, &any));

	struct netaddr every = one;

	((struct sockaddr_in *)&every.st)->sin_addr.s_addr = INADDR_ANY;
	assert_false(netaddr_covers(&every, &any)); /* not what comes in elsewhere */
	assert_true(netaddr_overlaps(&every, &any));
	assert_true(netaddr_covers(&every, &one));
	assert_false(netaddr_overlaps(&every, &other));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stream), cmocka_unit_test(test_dgram),      cmocka_unit_test(test_files),
		cmocka_unit_test(test_names),  cmocka_unit_test(test_interfaces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
