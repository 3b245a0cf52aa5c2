/*
 * test_fifo.c - both sides of a rendez-vous over named pipes, without a loop: who is met, who has to wait, who is refused, and
 * every system call failing once. Real services and clients are in tests/e2e/test_named.py.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "drive/files.h"
#include "drive/net/fifo.h"
#include "drive/sys.h"

#define NOW (1000 * SEC)
#define SECOND SEC

static char dir[64], path[128], said[256];
static struct buf why;
static struct fifo *f;
static struct fifo_client c;

static const char *in_dir(const char *name)
{
	static char text[4][256];
	static unsigned i;

	i = (i + 1) % 4;
	snprintf(text[i], sizeof(text[i]), "%s/%s", dir, name);
	return text[i];
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/guichet-fifo-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/f", dir);
	buf_init_fixed(&why, said, sizeof(said));
	assert_int_equal(fifo_open(path, &f, &why), 0);
	return 0;
}

static int teardown(void **state)
{
	struct stat st;

	(void)state;
	fifo_close(&f);
	assert_int_not_equal(lstat(path, &st), 0);
	assert_int_equal(files_remove_dir(dir, NULL), 0);
	return 0;
}

static void says(const char *text)
{
	int fd = open(path, O_WRONLY | O_NONBLOCK);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* Both pipes of a client; NAME.s opened for reading, or -1. */
static int make(const char *name, bool opens)
{
	char file[64];
	int fd = -1;

	snprintf(file, sizeof(file), "%s.c", name);
	assert_int_equal(mkfifo(in_dir(file), 0600), 0);
	snprintf(file, sizeof(file), "%s.s", name);
	assert_int_equal(mkfifo(in_dir(file), 0600), 0);
	if (opens)
		fd = open(in_dir(file), O_RDONLY | O_NONBLOCK);
	return fd;
}

static void hang_up(void)
{
	close(c.fd);
	close(c.wfd);
}

static void meets(void **state)
{
	int read_fd = make("a", true), write_fd;
	char b[8];

	(void)state;
	assert_int_equal(fifo_accept(f, NOW, 0, &c), 0);
	assert_int_equal(fifo_due(f), 0);
	says("a\n");
	assert_int_equal(fifo_accept(f, NOW, 0, &c), 1);
	assert_string_equal(c.name, "a");
	write_fd = open(in_dir("a.c"), O_WRONLY | O_NONBLOCK);
	assert_int_equal(write(write_fd, "hello", 5), 5);
	assert_int_equal(read(c.fd, b, sizeof(b)), 5);
	assert_int_equal(write(c.wfd, "hi", 2), 2);
	assert_int_equal(read(read_fd, b, sizeof(b)), 2);
	assert_int_equal(read(c.fd, b, sizeof(b)), -1); /* nothing blocks */
	assert_int_equal(errno, EAGAIN);
	hang_up();
	close(read_fd);
	close(write_fd);
}

static void several_at_once(void **state)
{
	int a = make("a", true), b = make("b", true);

	(void)state;
	says("a\nb\nnobody\n");
	assert_int_equal(fifo_accept(f, NOW, 0, &c), 1);
	assert_string_equal(c.name, "a");
	assert_int_equal(fifo_due(f), 1); /* the pipe is empty, but there are more */
	hang_up();
	assert_int_equal(fifo_accept(f, NOW, 0, &c), 1);
	assert_string_equal(c.name, "b");
	hang_up();
	assert_int_equal(fifo_accept(f, NOW, 0, &c), -EPROTO);
	assert_string_equal(c.reason, "no-such-pipe");
	assert_int_equal(fifo_due(f), 0);
	close(a);
	close(b);
}

static void bad_names(void **state)
{
	char much[10000];
	int n = 0;

	(void)state;
	says("\n../f\na/b\na b\n\x01\n");
	for (; fifo_accept(f, NOW, 0, &c) == -EPROTO; n++)
		assert_string_equal(c.reason, "bad-name");
	assert_int_equal(n, 5);
	memset(much, 'x', sizeof(much) - 1);
	much[sizeof(much) - 1] = '\0';
	much[9000] = '\n';
	says(much); /* a line of 9000 bytes is refused once, and then half a line */
	for (n = 0; fifo_accept(f, NOW, 0, &c) == -EPROTO; n++)
		assert_string_equal(c.reason, "bad-name");
	assert_int_equal(n, 2);
	assert_int_equal(fifo_accept(f, NOW, 0, &c), 0);
}

static void half_a_line_spoils_nothing(void **state)
{
	int a = make("a", true);

	(void)state;
	says("half");
	assert_int_equal(fifo_accept(f, NOW, 0, &c), -EPROTO);
	assert_string_equal(c.name, "half");
	says("a\n");
	assert_int_equal(fifo_accept(f, NOW, 0, &c), 1);
	hang_up();
	close(a);
}

static void opened_late(void **state)
{
	nsec due;
	int a;

	(void)state;
	make("a", false);
	says("a\n");
	assert_int_equal(fifo_accept(f, NOW, SECOND, &c), 0);
	due = fifo_due(f);
	assert_true(due > NOW && due < NOW + SECOND);
	assert_int_equal(fifo_accept(f, due - 1, SECOND, &c), 0);
	assert_int_equal(fifo_due(f), due); /* it was not time */
	assert_int_equal(fifo_accept(f, due, SECOND, &c), 0);
	assert_true(fifo_due(f) > due);
	a = open(in_dir("a.s"), O_RDONLY | O_NONBLOCK);
	assert_int_equal(fifo_accept(f, fifo_due(f), SECOND, &c), 1);
	assert_string_equal(c.name, "a");
	assert_int_equal(fifo_due(f), 0);
	hang_up();
	close(a);
}

static void never_opened(void **state)
{
	int looks = 0, r;

	(void)state;
	make("a", false);
	says("a\n");
	for (nsec now = NOW; (r = fifo_accept(f, now, SECOND, &c)) == 0; looks++)
		now = fifo_due(f);
	assert_int_equal(r, -EPROTO);
	assert_string_equal(c.reason, "pipe-not-opened");
	assert_true(looks > 4 && looks < 20); /* it looks more and more seldom */
	assert_int_equal(fifo_due(f), 0);
}

static void only_so_many_wait(void **state)
{
	int a = make("a", true), waits = 0, refused = 0, r;

	(void)state;
	for (int i = 0; i < 100; i++) {
		char name[16];

		snprintf(name, sizeof(name), "w%d", i);
		make(name, false);
		snprintf(name, sizeof(name), "w%d\n", i);
		says(name);
	}
	for (; (r = fifo_accept(f, NOW, SECOND, &c)) == -EPROTO; refused++)
		assert_string_equal(c.reason, "pipe-not-opened");
	assert_int_equal(r, 0);
	assert_int_equal(refused, 36);
	says("a\n");
	assert_int_equal(fifo_accept(f, NOW, SECOND, &c), 1);
	hang_up();
	for (; (r = fifo_accept(f, NOW + 2 * SECOND, SECOND, &c)) == -EPROTO; waits++)
		;
	assert_int_equal(waits, 64);
	close(a);
}

static void one_conversation_each(void **state)
{
	int a = make("a", true);
	struct fifo_client second;

	(void)state;
	says("a\na\n");
	assert_int_equal(fifo_accept(f, NOW, 0, &c), 1);
	assert_int_equal(fifo_accept(f, NOW, 0, &second), -EPROTO);
	assert_string_equal(second.reason, "pipe-in-use");
	hang_up();
	says("a\n");
	assert_int_equal(fifo_accept(f, NOW, 0, &c), 1); /* it was over */
	hang_up();
	close(a);
}

static void out_of_descriptors(void **state)
{
	int a = make("a", true);

	(void)state;
	says("a\n");
	fault_arm(FAULT_SYS, 3, EMFILE, false); /* read, fstatat, openat */
	assert_int_equal(fifo_accept(f, NOW, SECOND, &c), -EMFILE);
	fault_arm(FAULT_SYS, 0, 0, false);
	assert_int_equal(fifo_accept(f, fifo_due(f), SECOND, &c), 1); /* it was not lost */
	hang_up();
	close(a);
}

/* ---- the path of the service ---- */

static void stale_live_foreign(void **state)
{
	struct fifo *other;
	struct stat st, again;

	(void)state;
	assert_int_equal(fifo_open(path, &other, &why), -EADDRINUSE);
	assert_non_null(strstr(said, "is served by another program already"));
	buf_reset(&why);
	assert_int_equal(mkfifo(in_dir("stale"), 0666), 0);
	assert_int_equal(lstat(in_dir("stale"), &st), 0);
	assert_int_equal(fifo_open(in_dir("stale"), &other, &why), 0);
	assert_int_equal(lstat(in_dir("stale"), &again), 0);
	assert_int_equal(again.st_mode & 0777, 0600);
	assert_int_equal(unlink(in_dir("stale")), 0);
	assert_int_equal(mkdir(in_dir("stale"), 0700), 0);
	fifo_close(&other); /* that is not its own any more */
	assert_int_equal(lstat(in_dir("stale"), &again), 0);
	assert_int_equal(fifo_open(in_dir("stale"), &other, &why), -EEXIST);
	assert_non_null(strstr(said, "exists and is not a named pipe"));
	assert_int_equal(rmdir(in_dir("stale")), 0);
	buf_reset(&why);
	assert_int_equal(symlink("f", in_dir("link")), 0);
	assert_int_equal(fifo_open(in_dir("link"), &other, &why), -EEXIST);
	assert_int_equal(fifo_open("/nonexistent/f", &other, &why), -ENOENT);
}

/* ---- the client's side ---- */

static void dials(void **state)
{
	struct fifo_dial *d;
	struct stat st;
	int fd, wfd;
	char b[8], file[64];

	(void)state;
	assert_int_equal(fifo_dial(path, &d, &fd), 0);
	assert_int_equal(fifo_dial_try(d, fd, &wfd), 0);
	assert_int_equal(fifo_accept(f, NOW, 0, &c), 1);
	assert_string_equal(c.name, fifo_dial_name(d));
	assert_int_equal(fifo_dial_try(d, fd, &wfd), 1);
	assert_int_equal(write(wfd, "hello", 5), 5);
	assert_int_equal(read(c.fd, b, sizeof(b)), 5);
	assert_int_equal(write(c.wfd, "hi", 2), 2);
	assert_int_equal(read(fd, b, sizeof(b)), 2);
	snprintf(file, sizeof(file), "%.60s.c", c.name);
	assert_int_equal(lstat(in_dir(file), &st), -1); /* neither needs its name any more */
	snprintf(file, sizeof(file), "%.60s.s", c.name);
	assert_int_equal(lstat(in_dir(file), &st), -1);
	fifo_dial_free(&d);
	hang_up();
	assert_int_equal(read(fd, b, sizeof(b)), 0);
	assert_int_equal(write(wfd, "x", 1), -1);
	close(fd);
	close(wfd);
}

/* It has said all and gone before we looked. */
static void a_short_visit(void **state)
{
	struct fifo_dial *d;
	int fd, wfd;
	char b[8];

	(void)state;
	assert_int_equal(fifo_dial(path, &d, &fd), 0);
	assert_int_equal(fifo_accept(f, NOW, 0, &c), 1);
	assert_int_equal(write(c.wfd, "bye", 3), 3);
	hang_up();
	assert_int_equal(fifo_dial_try(d, fd, &wfd), 1);
	assert_int_equal(write(wfd, "x", 1), 1); /* to nobody */
	assert_int_equal(read(fd, b, sizeof(b)), 3);
	assert_int_equal(read(fd, b, sizeof(b)), 0);
	fifo_dial_free(&d);
	close(fd);
	close(wfd);
}

static void nobody_serves(void **state)
{
	struct fifo_dial *d;
	int fd;

	(void)state;
	assert_int_equal(mkfifo(in_dir("alone"), 0600), 0);
	assert_int_equal(fifo_dial(in_dir("alone"), &d, &fd), -ECONNREFUSED);
	assert_int_equal(fifo_dial(in_dir("none"), &d, &fd), -ENOENT);
	assert_int_equal(symlink("f", in_dir("link")), 0);
	assert_int_equal(fifo_dial(in_dir("link"), &d, &fd), -ELOOP);
	assert_int_equal(close(open(in_dir("file"), O_CREAT | O_WRONLY, 0600)), 0);
	assert_int_equal(fifo_dial(in_dir("file"), &d, &fd), -ENOTSUP);
}

/* ---- every call failing ---- */

/* A whole conversation; true: it worked. */
static bool once(void)
{
	struct fifo *g = NULL;
	struct fifo_dial *d = NULL;
	int fd = -1, wfd = -1;
	bool fine = fifo_open(in_dir("g"), &g, &why) == 0;

	fine = fine && fifo_dial(in_dir("g"), &d, &fd) == 0;
	if (fine && fifo_accept(g, NOW, 0, &c) == 1) {
		fine = fifo_dial_try(d, fd, &wfd) == 1;
		hang_up();
	} else {
		fine = false;
	}
	fd_close(&fd);
	fd_close(&wfd);
	fifo_dial_free(&d);
	fifo_close(&g);
	buf_reset(&why);
	return fine;
}

static int count_files(const char *where)
{
	DIR *d = opendir(where);
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void every_call_fails_once(void **state)
{
	int files = count_files(dir), fds = count_files("/proc/self/fd");

	(void)state;
	for (int kind = 0; kind < FAULT_KINDS; kind++) {
		unsigned long n = 1;

		for (bool seen = true; seen; n++) {
			fault_arm((enum fault_kind)kind, n, EIO, false);
			once();
			seen = fault_calls((enum fault_kind)kind) >= n;
			fault_arm((enum fault_kind)kind, 0, 0, false);
			unlink(in_dir("g")); /* what fails before it is known to be ours stays */
			assert_int_equal(count_files(dir), files);
		}
		assert_true(n > 3);
		assert_true(once());
	}
	assert_int_equal(count_files("/proc/self/fd"), fds);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(meets),
		TEST(several_at_once),
		TEST(bad_names),
		TEST(half_a_line_spoils_nothing),
		TEST(opened_late),
		TEST(never_opened),
		TEST(only_so_many_wait),
		TEST(one_conversation_each),
		TEST(out_of_descriptors),
		TEST(stale_live_foreign),
		TEST(dials),
		TEST(a_short_visit),
		TEST(nobody_serves),
		TEST(every_call_fails_once),
	};

	sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
