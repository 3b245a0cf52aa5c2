/*
 * test_sandbox_monitor.c - what a monitor lives on works in its list: doors of all kinds, users, keys, children that give up more.
 * What it may not is in test_sandbox.c and test_sandbox_reach.c, which also run every process below a monitor.
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "support/boxed.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

/* What this kernel can, asked before anybody was in a list. */
static int landlock;
static bool no_queues;

static void name_in(const char *folder, char *ret, size_t size)
{
	snprintf(ret, size, "%s/m%d", folder, (int)getpid());
}

/* With all that a listener can be given; what root alone may is refused to others by the kernel, and not by the list. */
static int tune_door(void)
{
	static const int options[] = { SO_REUSEADDR,   SO_REUSEPORT,   SO_RCVBUF,   SO_SNDBUF,
				       SO_RCVBUFFORCE, SO_SNDBUFFORCE, SO_BUF_LOCK, SO_BINDTODEVICE };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), value = 1;

	if (fd < 0)
		return -1;
	for (size_t i = 0; i < LENGTH(options); i++) {
		errno = 0;
		(void)!setsockopt(fd, SOL_SOCKET, options[i], &value, sizeof(value));
		if (errno == ENOSYS)
			return -1;
	}
	errno = 0;
	(void)!setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &value, sizeof(value));
	return errno == ENOENT ? 0 : -1; /* there was none */
}

/* A unix socket that is made beside its place, given an owner and a mode, and moved there. */
static int make_unix_door(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char to[120];
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

	name_in(at.data, a.sun_path, sizeof(a.sun_path));
	snprintf(to, sizeof(to), "%s.sock", a.sun_path);
	r = fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || chown(a.sun_path, geteuid(), getegid()) < 0 ||
			    chmod(a.sun_path, 0660) < 0 || listen(fd, 1) < 0 || rename(a.sun_path, to) < 0
		    ? -1
		    : 0;
	return unlink(to) < 0 ? -1 : r;
}

static int make_pipe_door(void)
{
	char path[120];

	name_in(at.data, path, sizeof(path));
	return mkfifo(path, 0600) < 0 || open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC) < 0 || chmod(path, 0622) < 0 ||
			       unlink(path) < 0
		       ? -1
		       : 0;
}

static int make_queue_door(void)
{
	const struct mq_attr attr = { .mq_maxmsg = 1, .mq_msgsize = 16 };
	char name[40];
	mqd_t q;

	snprintf(name, sizeof(name), "/guichet-test-m%d", (int)getpid());
	q = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attr);
	if (q < 0)
		return no_queues ? 0 : -1;
	return fchmod(q, 0622) < 0 || fchown(q, geteuid(), getegid()) < 0 || mq_unlink(name) < 0 ? -1 : 0;
}

static int know_users(void)
{
	return getpwnam("root") && !getpwnam("nobody-of-that-name") ? 0 : -1;
}

static int write_key(void)
{
	char self[40], path[120];
	int fd = open(at.data, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600), r;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	name_in(at.data, path, sizeof(path));
	r = fd < 0 || flock(fd, LOCK_EX) < 0 || write(fd, "key", 3) != 3 || fchmod(fd, 0400) < 0 || fsync(fd) < 0 ||
			    linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0
		    ? -1
		    : 0;
	return unlink(path) < 0 ? -1 : r;
}

static int read_anything(void)
{
	return boxed_open(at.secret, O_RDONLY);
}

static int tell_worker(void)
{
	int ends[2];
	char c = 0;
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0 || sendmsg(ends[0], &m, 0) != 1 ? -1 : 0;
}

/* A child that becomes somebody else, as root, and enters its own sandbox: all of its steps are permitted. */
static int make_worker(void)
{
	struct sandbox s = boxed_profile(THREADS | CONNECTS);
	struct sandbox_report r;
	pid_t child = fork();
	int status;

	if (child == 0) {
		BUF_AUTO struct buf why = BUF_INIT(300);

		s.uid = geteuid() == 0 ? BOXED_NOBODY : geteuid();
		s.gid = geteuid() == 0 ? BOXED_NOBODY : getegid();
		if (sandbox_enter(&s, &r, &why) < 0) {
			fprintf(stderr, "%s\n", buf_str(&why));
			_exit(1);
		}
		_exit(r.landlock < landlock && r.landlock < SANDBOX_LANDLOCK_KNOWN ? 2 : r.seccomp ? 0 : 3);
	}
	return child > 0 && waitpid(child, &status, 0) == child && status == 0 ? 0 : -1;
}

static const struct trial work[] = {
	{ "a door has all options that there are", tune_door, MONITOR, &whole, BOXED_FINE, 0 },
	{ "a unix socket has an owner and a mode", make_unix_door, MONITOR, &whole, BOXED_FINE, 0 },
	{ "a named pipe is made", make_pipe_door, MONITOR, &whole, BOXED_FINE, 0 },
	{ "a message queue", make_queue_door, MONITOR, &whole, BOXED_FINE, 0 },
	{ "users are looked up", know_users, MONITOR, &whole, BOXED_FINE, 0 },
	{ "a key is written, whole", write_key, MONITOR, &whole, BOXED_FINE, 0 },
	{ "any file is read, since a reload may name it", read_anything, MONITOR, &whole, BOXED_FINE, 0 },
	{ "there are channels", tell_worker, MONITOR, &whole, BOXED_FINE, 0 },
	{ "workers enter a sandbox of their own", make_worker, MONITOR, &whole, BOXED_FINE, 0 },
	{ "also where commands are run", make_worker, MONITOR | EXECS, &whole, BOXED_FINE, 0 },
};

static void test_work(void **state)
{
	(void)state;
	landlock = boxed_landlock();
	no_queues = mq_open("/guichet-test-none", O_RDONLY | O_CLOEXEC) < 0 && errno == ENOSYS;
	boxed_try(work, LENGTH(work));
}

/* What is told: it is who it was, and where commands are run the list is the other one. */
static void test_report(void **state)
{
	int status;

	(void)state;
	for (int execs = 0; execs < 2; execs++) {
		fflush(NULL);
		if (fork() == 0) {
			const struct sandbox s = { .name = "monitor", .monitor = true, .execs = execs };
			BUF_AUTO struct buf text = BUF_INIT(300), want = BUF_INIT(300);
			struct sandbox_report r;

			if (sandbox_enter(&s, &r, &text) < 0 || r.landlock || r.uid != geteuid() || r.self != -1)
				_exit(1);
			sandbox_describe(&r, &text);
			buf_addf(&want, "user %u, group %u%s%s%s", (unsigned)geteuid(), (unsigned)getegid(),
				 r.seccomp ? ", seccomp" : "", r.mdwe ? ", mdwe" : "", execs ? ", runs programs" : "");
			_exit(r.lost || strcmp(buf_str(&text), buf_str(&want)) == 0 ? 0 : 2);
		}
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_work),
		cmocka_unit_test(test_report),
	};

	return cmocka_run_group_tests(tests, boxed_set_up, boxed_tear_down);
}
