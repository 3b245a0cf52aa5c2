/* test_tempdir.c - the folder of a test goes with its process, or with the next one; nothing else ever goes. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "drive/files.h"
#include "drive/tempdir.h"

static char *base;

static int make_base(void **state)
{
	(void)state;
	return files_temp_dir(&base, NULL) < 0 || setenv("TMPDIR", base, 1) < 0 ? -1 : 0;
}

static int remove_base(void **state)
{
	(void)state;
	if (files_remove_dir(base, NULL) < 0)
		return -1;
	mem_free(base);
	return 0;
}

static void name(char ret[static 300], const char *what)
{
	snprintf(ret, 300, "%s/%s", base, what);
}

static bool is_there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* A process that has one and is killed: its folder stays, with a file in it. */
static void leave_one(char ret[static 300])
{
	int ends[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char *path, key[400];
		int fd;

		if (tempdir_new(&path, &fd, &(struct buf){ .max = 1000 }) < 0)
			_exit(1);
		snprintf(key, sizeof(key), "%s/auto.key", path);
		if (files_write(key, 0600, span_str("secret"), NULL) < 0 || write(ends[1], path, strlen(path)) < 0)
			_exit(1);
		raise(SIGKILL);
	}
	close(ends[1]);
	n = read(ends[0], ret, 299);
	close(ends[0]);
	assert_true(n > 0);
	ret[n] = '\0';
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void test_life(void **state)
{
	struct buf why = BUF_INIT(1000);
	char *path = NULL, left[300];
	struct stat st;
	int fd = -1;

	(void)state;
	leave_one(left);
	assert_true(is_there(left));
	assert_int_equal(tempdir_new(&path, &fd, &why), 0);
	assert_false(is_there(left));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(tempdir_sweep(base), 0); /* it is in use: by us */
	assert_true(is_there(path));
	snprintf(left, sizeof(left), "%s", path);
	assert_int_equal(tempdir_remove(&path, &fd, &why), 0);
	assert_false(is_there(left));
	assert_null(path);
	assert_int_equal(fd, -1);
	assert_int_equal(tempdir_remove(&path, &fd, &why), 0);
	buf_done(&why);
}

/* What looks nearly like one that was left, and is not. */
static void test_others(void **state)
{
	static const char *const folders[] = { "guichet-data", "guichet-Abc123", "guichet-Abc1234", "other-Abc123" };
	char path[300], lock[320], link[300];

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		name(path, folders[i]);
		assert_int_equal(files_make_dir(path, NULL), 0);
		snprintf(lock, sizeof(lock), "%s/.owner", path);
		if (i != 1) /* that one has the right name, and never had an owner */
			assert_int_equal(files_write(lock, 0600, span_str(""), NULL), 0);
	}
	name(path, "guichet-folder"); /* the right name, not our mode */
	assert_int_equal(mkdir(path, 0755), 0);
	name(path, "guichet-Plain1");
	assert_int_equal(files_write(path, 0600, span_str("a file"), NULL), 0);
	name(path, "guichet-data");
	name(link, "guichet-Link12"); /* to a folder that has all that is asked for, but its name */
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(tempdir_sweep(base), 0);
	for (size_t i = 0; i < 4; i++) {
		name(path, folders[i]);
		assert_true(is_there(path));
		assert_int_equal(files_remove_dir(path, NULL), 0);
	}
	assert_true(is_there(link));
	assert_int_equal(tempdir_sweep("/nonexistent"), 0);
}

/* The lock file is a pipe, or one that somebody holds. */
static void test_lock(void **state)
{
	char path[300], lock[320];
	int fd;

	(void)state;
	name(path, "guichet-Pipe12");
	snprintf(lock, sizeof(lock), "%s/.owner", path);
	assert_int_equal(files_make_dir(path, NULL), 0);
	assert_int_equal(mkfifo(lock, 0600), 0);
	assert_int_equal(tempdir_sweep(base), 0);
	assert_int_equal(unlink(lock), 0);
	fd = open(lock, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(tempdir_sweep(base), 1);
	assert_false(is_there(path));
}

#ifdef GUICHET_FAULTS
static void test_faults(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_MEM, FAULT_SYS };

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		bool hit = true;

		for (unsigned long n = 1; hit; n++) {
			struct buf why = BUF_INIT(1000);
			char *path = NULL;
			int fd = -1, err;

			fault_arm(kinds[k], n, EMFILE, false);
			err = tempdir_new(&path, &fd, &why);
			hit = fault_calls(kinds[k]) >= n;
			fault_arm(kinds[k], 0, 0, false);
			assert_true((err == 0) == (path != NULL && fd >= 0));
			assert_true(hit || err == 0);
			assert_int_equal(tempdir_remove(&path, &fd, &why), 0);
			buf_done(&why);
		}
	}
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_lock),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_faults),
#endif
	};

	return cmocka_run_group_tests(tests, make_base, remove_base);
}
