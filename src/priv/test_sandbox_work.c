/* test_sandbox_work.c - what workers live on works inside: loops, clients, files that become whole, queues, keys. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "support/boxed.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static int wait_for_events(void)
{
	struct epoll_event e = { .events = EPOLLIN };
	sigset_t set;
	int ep = epoll_create1(EPOLL_CLOEXEC), bell = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), signals;
	struct itimerspec soon = { .it_value = { .tv_nsec = 1 } };

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	signals = signalfd(-1, &set, SFD_CLOEXEC);
	return ep < 0 || bell < 0 || timer < 0 || signals < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, bell, &e) < 0 ||
			       epoll_wait(ep, &e, 1, 100) != 1 || timerfd_settime(timer, 0, &soon, NULL) < 0 ||
			       pthread_sigmask(SIG_BLOCK, &set, NULL) != 0
		       ? -1
		       : close_range(3, 3, 0);
}

static int take_client(void)
{
	int fd = accept4(at.tcp, NULL, NULL, SOCK_CLOEXEC), on = 1;
	socklen_t n = sizeof(on);

	return fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, n) < 0 ||
			       setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, n) < 0 ||
			       getsockopt(fd, SOL_SOCKET, SO_ERROR, &on, &n) < 0 ||
			       send(fd, "hello", 5, MSG_NOSIGNAL) != 5 || ioctl(fd, FIONREAD, &on) < 0 ||
			       ioctl(fd, TIOCOUTQ, &on) < 0 || shutdown(fd, SHUT_WR) < 0
		       ? -1
		       : 0;
}

static int take_descriptor(void)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} u = {};
	char c;
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u) };
	int fd;

	if (recvmsg(at.pair[0], &m, MSG_CMSG_CLOEXEC | MSG_PEEK) != 1 || !CMSG_FIRSTHDR(&m))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	m = (struct msghdr){ .msg_iov = &v, .msg_iovlen = 1 };
	return write(fd, "log\n", 4) == 4 && sendmsg(at.pair[0], &m, MSG_DONTWAIT) == 1
		       ? 0
		       : -1; /* what is open stays open */
}

static int use_memory(void)
{
	int fd = memfd_create("blob", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	return fd < 0 || ftruncate(fd, 1 << 20) < 0 || pwrite(fd, "x", 1, 5) != 1 ||
			       fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0 || fcntl(fd, F_DUPFD_CLOEXEC, 3) < 0 ||
			       mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED
		       ? -1
		       : 0;
}

static int send_page(void)
{
	int pipes[2], fd = open(at.page, O_RDONLY | O_CLOEXEC);
	struct stat st;
	struct statx stx;

	return fd < 0 || pipe2(pipes, O_CLOEXEC) < 0 || fstat(fd, &st) < 0 || sendfile(pipes[1], fd, NULL, 6) != 6 ||
			       statx(AT_FDCWD, at.page, 0, STATX_ALL, &stx) < 0
		       ? -1
		       : 0;
}

/* What nobody sees half: a file without a name, then its name; then another folder. */
static int keep_file(void)
{
	char self[40], a[100], b[100];
	int fd = open(at.data, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600), dir = open(at.data, O_PATH | O_CLOEXEC);
	struct {
		uint64_t flags, mode, resolve;
	} how = { O_RDONLY | O_CLOEXEC, 0, 8 /* RESOLVE_BENEATH */ };

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	snprintf(a, sizeof(a), "%s/a%d", at.data, (int)getpid());
	snprintf(b, sizeof(b), "%s/b%d", at.sub, (int)getpid());
	if (fd < 0 || dir < 0 || write(fd, "x", 1) != 1 || fdatasync(fd) < 0 || futimens(fd, NULL) < 0 ||
	    linkat(AT_FDCWD, self, AT_FDCWD, a, AT_SYMLINK_FOLLOW) < 0 || rename(a, b) < 0 || fsync(fd) < 0 ||
	    syscall(SYS_openat2, dir, strrchr(at.in_data, '/') + 1, &how, sizeof(how)) < 0 || truncate(b, 5) < 0)
		return -1;
	return unlink(b);
}

static int make_folders(void)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/folder%d", at.data, (int)getpid());
	return mkdir(path, 0700) < 0 ? -1 : rmdir(path);
}

static int use_queue(void)
{
	const struct mq_attr attr = { .mq_maxmsg = 1, .mq_msgsize = 16 };
	const struct timespec now = {};
	char name[40], text[16];
	mqd_t q;
	int r;

	snprintf(name, sizeof(name), "/guichet-test-%d", (int)getpid());
	q = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attr);
	if (q < 0)
		return errno == ENOSYS ? 0 : -1; /* a kernel without queues */
	r = mq_send(q, "x", 1, 0) < 0 || mq_timedreceive(q, text, sizeof(text), NULL, &now) != 1 ? -1 : 0;
	return mq_unlink(name) < 0 ? -1 : r;
}

static int lower_limit(void)
{
	struct rlimit l, lower;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return -1;
	lower = (struct rlimit){ l.rlim_cur - 1, l.rlim_max };
	return setrlimit(RLIMIT_NOFILE, &lower) < 0 ? -1 : setrlimit(RLIMIT_NOFILE, &l);
}

static int look_at_self(void)
{
	DIR *d = opendir("/proc/self/fd");
	char bytes[16];

	return !d || !readdir(d) || boxed_open("/proc/self/statm", O_RDONLY) < 0 || closedir(d) < 0 ||
			       pidfd_open(getpid(), 0) < 0 || getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes) ||
			       kill(getpid(), 0) < 0
		       ? -1
		       : 0;
}

static int abort_self(void)
{
	signal(SIGABRT, SIG_DFL);
	abort();
}

static int use_tls(void)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	SSL *ssl = ctx ? SSL_new(ctx) : NULL;
	int r = key && ssl ? 0 : -1;

	SSL_free(ssl);
	SSL_CTX_free(ctx);
	EVP_PKEY_free(key);
	return r;
}

static int know_the_time(void)
{
	time_t now = time(NULL);
	struct tm tm;

	return localtime_r(&now, &tm) && nanosleep(&(struct timespec){ 0, 1 }, NULL) == 0 ? 0 : -1;
}

static const struct trial work[] = {
	{ "epoll, eventfd, timerfd, signalfd", wait_for_events, 0, &whole, BOXED_FINE, 0 },
	{ "a client is accepted and served", take_client, 0, &whole, BOXED_FINE, 0 },
	{ "a descriptor is received, and can do what it could", take_descriptor, 0, &whole, BOXED_FINE, 0 },
	{ "memory with a descriptor", use_memory, 0, &whole, BOXED_FINE, 0 },
	{ "a file is sent", send_page, 0, &whole, BOXED_FINE, 0 },
	{ "a file gets its name when it is whole", keep_file, 0, &whole, BOXED_FINE, 2 },
	{ "also without Landlock", keep_file, 0, &only_seccomp, BOXED_FINE, 0 },
	{ "folders are made and removed", make_folders, 0, &whole, BOXED_FINE, 0 },
	{ "the limit of descriptors is lowered and raised", lower_limit, 0, &whole, BOXED_FINE, 0 },
	{ "/proc/self is there for the counters", look_at_self, 0, &whole, BOXED_FINE, 0 },
	{ "abort() ends us", abort_self, 0, &whole, -SIGABRT, 0 },
	{ "OpenSSL makes keys and contexts", use_tls, THREADS, &whole, BOXED_FINE, 0 },
	{ "the time of day", know_the_time, 0, &whole, BOXED_FINE, 0 },
};

/* Nobody inside may dial, so some come before that: for each as whom the act is tried, and below a monitor. */
static void test_work(void **state)
{
	struct sockaddr_in a = boxed_near(at.port);

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(
			connect(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&a, sizeof(a)), 0);
	boxed_try(work, LENGTH(work));
}

static const struct trial queues[] = {
	{ "message queues are made, used and removed", use_queue, QUEUES, &whole, BOXED_FINE, 0 },
	{ "but not by who does not need them", use_queue, 0, &whole, EPERM, 0 },
	{ "nor by Landlock alone", use_queue, 0, &only_landlock, EACCES, 1 },
};

/* Their folder is to be had from a mount, or from the kernel by root. */
static void test_queues(void **state)
{
	(void)state;
	if (geteuid() != 0 && access("/dev/mqueue", F_OK) < 0)
		skip();
	boxed_try(queues, LENGTH(queues));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_work),
		cmocka_unit_test(test_queues),
	};

	return cmocka_run_group_tests(tests, boxed_set_up, boxed_tear_down);
}
