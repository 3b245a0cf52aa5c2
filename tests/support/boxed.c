/* boxed.c - see boxed.h. */
#include "support/boxed.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

struct boxed_scene at;
static void put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, 0666), 0); /* so that only the sandbox forbids */
	close(fd);
}

static void make_folder(const char *path)
{
	assert_int_equal(mkdir(path, 0777), 0);
	assert_int_equal(chmod(path, 0777), 0);
}

static void make_files(void)
{
	snprintf(at.root, sizeof(at.root), "/tmp/guichet-sandbox-XXXXXX");
	assert_non_null(mkdtemp(at.root));
	assert_int_equal(chmod(at.root, 0755), 0);
	snprintf(at.data, sizeof(at.data), "%s/data", at.root);
	snprintf(at.sub, sizeof(at.sub), "%s/data/sub", at.root);
	snprintf(at.pages, sizeof(at.pages), "%s/pages", at.root);
	snprintf(at.out, sizeof(at.out), "%s/out", at.root);
	make_folder(at.data);
	make_folder(at.sub);
	make_folder(at.pages);
	make_folder(at.out);
	snprintf(at.page, sizeof(at.page), "%s/page", at.pages);
	snprintf(at.kept, sizeof(at.kept), "%s/kept", at.pages);
	snprintf(at.secret, sizeof(at.secret), "%s/secret", at.out);
	snprintf(at.in_data, sizeof(at.in_data), "%s/file", at.data);
	put_file(at.page, "a page");
	put_file(at.kept, "kept");
	put_file(at.secret, "a secret");
	put_file(at.in_data, "data");
}

static void send_descriptor(int fd, int what)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} u = {};
	struct iovec v = { (char[]){ 'x' }, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	*c = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(c), &what, sizeof(what));
	assert_int_equal(sendmsg(fd, &m, 0), 1);
}

static void make_sockets(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(a);
	int gram, log = open(at.secret, O_WRONLY | O_APPEND | O_CLOEXEC);

	assert_true(log >= 0);
	at.tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(at.tcp, (struct sockaddr *)&a, n), 0);
	assert_int_equal(listen(at.tcp, 100), 0);
	assert_int_equal(getsockname(at.tcp, (struct sockaddr *)&a, &n), 0);
	at.port = ntohs(a.sin_port);
	gram = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* stays open */
	at.name.sun_family = AF_UNIX;
	assert_int_equal(bind(gram, (struct sockaddr *)&at.name, sizeof(at.name.sun_family)), 0); /* autobind */
	at.n_name = sizeof(at.name);
	assert_int_equal(getsockname(gram, (struct sockaddr *)&at.name, &at.n_name), 0);
	at.unbound = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, at.pair), 0);
	send_descriptor(at.pair[1], log);
}

int boxed_set_up(void **state)
{
	(void)state;
	at.parent = getpid();
	make_files();
	make_sockets();
	return 0;
}

int boxed_tear_down(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", at.root);
	return system(command);
}

int boxed_landlock(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);

	return abi < 0 ? 0 : (int)abi;
}

const struct sandbox_kernel whole = { .landlock = SANDBOX_LANDLOCK_KNOWN, .seccomp = true };
const struct sandbox_kernel only_seccomp = { .landlock = 0, .seccomp = true };
const struct sandbox_kernel only_landlock = { .landlock = SANDBOX_LANDLOCK_KNOWN, .seccomp = false };
const struct sandbox_kernel neither = {};

static struct sandbox worker(void)
{
	static struct sandbox_path paths[3];

	paths[0] = (struct sandbox_path){ at.data, SANDBOX_READ | SANDBOX_WRITE | SANDBOX_MAKE };
	paths[1] = (struct sandbox_path){ at.pages, SANDBOX_READ };
	paths[2] = (struct sandbox_path){ "/nowhere/at/all", SANDBOX_READ | SANDBOX_OPTIONAL };
	return (struct sandbox){ .name = "worker test", .paths = paths, .n_paths = LENGTH(paths) };
}

struct sandbox boxed_profile(unsigned flags)
{
	struct sandbox s = worker();

	s.uid = geteuid();
	s.gid = getegid();
	s.connects = flags & CONNECTS;
	s.listens = flags & LISTENS;
	s.datagrams = flags & DATAGRAMS;
	s.threads = flags & THREADS;
	s.forks = flags & FORKS;
	s.execs = flags & EXECS;
	s.queues = flags & QUEUES;
	s.runs = flags & RUNS;
	s.any_path = flags & ANY_PATH;
	s.monitor = flags & MONITOR;
	return s;
}

static void enter(const struct sandbox_kernel *k, const struct sandbox *s)
{
	BUF_AUTO struct buf why = BUF_INIT(300);
	struct sandbox_report r;

	if (sandbox_enter_on(k, s, &r, &why) == 0)
		return;
	fprintf(stderr, "%s\n", buf_str(&why));
	_exit(BOXED_NOT_IN);
}

/* In a child: the act, and how it ended. */
static int run(const struct sandbox_kernel *k, const struct sandbox *s, int (*act)(void))
{
	int status, n;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		enter(k, s);
		errno = 0;
		n = act();
		_exit(n == 0 ? BOXED_FINE : errno ? errno : 255);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return BOXED_NOT_IN;
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static struct sandbox as(struct sandbox s, uid_t uid)
{
	s.uid = uid;
	s.gid = uid == geteuid() ? getegid() : (gid_t)uid;
	return s;
}

int boxed_run(const struct sandbox_kernel *k, struct sandbox s, uid_t uid, int (*act)(void))
{
	s = as(s, uid);
	return run(k, &s, act);
}

/* The same below a monitor, which tells of a signal by ending with it. */
static int run_below(const struct sandbox_kernel *k, struct sandbox s, uid_t uid, int (*act)(void))
{
	const struct sandbox monitor = { .name = "monitor", .monitor = true, .execs = s.execs };
	int status, got;
	pid_t child;

	s = as(s, uid);
	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		enter(k, &monitor);
		got = run(k, &s, act);
		if (got < 0)
			raise(-got);
		_exit(got);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int boxed_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	return fd < 0 ? -1 : close(fd);
}

struct sockaddr_in boxed_near(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_addr = { htonl(INADDR_LOOPBACK) },
				     .sin_port = htons((uint16_t)port) };
}

static void compare(const struct trial *t, const char *how, uid_t uid, int got)
{
	if (got != t->expect)
		fail_msg("%s (as %u%s): %d (%s), not %d", t->what, (unsigned)uid, how, got,
			 got < 0               ? strsignal(-got)
			 : got == BOXED_FINE   ? "it worked"
			 : got == BOXED_NOT_IN ? "not in"
					       : strerror(got),
			 t->expect);
}

static void try_as(const struct trial *t, uid_t uid)
{
	struct sandbox s = boxed_profile(t->flags);

	if (t->k->landlock > 0 && t->abi > boxed_landlock())
		return;
	compare(t, "", uid, boxed_run(t->k, s, uid, t->act));
	if (!s.monitor)
		compare(t, ", below a monitor", uid, run_below(t->k, s, uid, t->act));
}

void boxed_try(const struct trial *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		try_as(&v[i], geteuid());
		if (geteuid() == 0 && !(v[i].flags & MONITOR)) /* who stays who it is */
			try_as(&v[i], BOXED_NOBODY);
	}
}
