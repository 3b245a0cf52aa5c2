/* test_files.c - whole files and folders: what is written is whole or not there, whatever call fails. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "drive/files.h"
#include "support/folder.h"

static char *dir;
static char path[300];

static int make_dir(void **state)
{
	(void)state;
	if (files_temp_dir(&dir, NULL) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/file", dir);
	return 0;
}

static int remove_dir(void **state)
{
	struct stat st;

	(void)state;
	if (files_remove_dir(dir, NULL) < 0 || stat(dir, &st) == 0)
		return -1;
	mem_free(dir);
	return 0;
}

static void check_content(const char *expect)
{
	BUF_AUTO struct buf b;

	buf_init(&b, 1000);
	assert_int_equal(files_read(path, &b, NULL), 0);
	assert_string_equal(buf_str(&b), expect);
}

static void test_write_and_read(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(files_write(path, 0600, span_str("one"), NULL), 0);
	check_content("one");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(files_write(path, 0644, span_str("two, and more"), NULL), 0);
	check_content("two, and more");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
	assert_int_equal(folder_names(dir), 1);
	assert_int_equal(unlink(path), 0);
}

static void test_read_refuses(void **state)
{
	char said[512];
	struct buf why;
	BUF_AUTO struct buf b;

	(void)state;
	buf_init(&b, 10);
	buf_init_fixed(&why, said, sizeof(said));
	assert_int_equal(files_read("/nonexistent", &b, &why), -ENOENT);
	assert_string_equal(said, "cannot read /nonexistent: No such file or directory");
	buf_reset(&why);
	assert_int_equal(files_read(dir, &b, &why), -EISDIR);
	assert_int_equal(files_write(path, 0600, span_str("12345678901"), NULL), 0);
	buf_reset(&why);
	assert_int_equal(files_read(path, &b, &why), -EFBIG);
	assert_non_null(strstr(said, "is too large, at most 10 bytes"));
	buf_reset(&b);
	assert_int_equal(files_write(path, 0600, span_str("1234567890"), NULL), 0);
	assert_int_equal(files_read(path, &b, &why), 0); /* exactly as much as may be */
	assert_int_equal(unlink(path), 0);
}

/* Configuration out of a pipe is read; a pipe that nobody writes to is empty, and one that nobody goes on with is an error. */
static void test_pipes(void **state)
{
	struct buf b;
	char text[64];
	int ends[2];

	(void)state;
	buf_init(&b, 100);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(files_read(path, &b, NULL), 0);
	assert_int_equal(b.n, 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(pipe(ends), 0);
	snprintf(text, sizeof(text), "/proc/self/fd/%d", ends[0]);
	assert_int_equal(write(ends[1], "half", 4), 4);
	assert_int_equal(files_read(text, &b, NULL), -ETIMEDOUT);
	assert_int_equal(write(ends[1], "whole", 5), 5);
	close(ends[1]);
	buf_reset(&b);
	assert_int_equal(files_read(text, &b, NULL), 0);
	assert_string_equal(buf_str(&b), "whole");
	close(ends[0]);
	buf_done(&b);
}

static void test_make_dir(void **state)
{
	char sub[300], said[512];
	struct buf why;
	struct stat st;

	(void)state;
	buf_init_fixed(&why, said, sizeof(said));
	snprintf(sub, sizeof(sub), "%s/sub", dir);
	assert_int_equal(files_make_dir(sub, &why), 0);
	assert_int_equal(stat(sub, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(files_make_dir(sub, &why), 0);
	assert_int_equal(files_remove_dir(sub, &why), 0);
	assert_int_equal(files_write(sub, 0600, span_str("in the way"), NULL), 0);
	assert_int_equal(files_make_dir(sub, &why), -ENOTDIR);
	assert_non_null(strstr(said, "cannot make the folder"));
	assert_int_equal(unlink(sub), 0);
}

/* A link in a folder that is removed is removed itself, not what it points at. */
static void test_remove_dir(void **state)
{
	char sub[300], link[320], deep[320];

	(void)state;
	snprintf(sub, sizeof(sub), "%s/sub", dir);
	snprintf(link, sizeof(link), "%s/link", sub);
	snprintf(deep, sizeof(deep), "%s/deep", sub);
	assert_int_equal(files_write(path, 0600, span_str("stays"), NULL), 0);
	assert_int_equal(files_make_dir(sub, NULL), 0);
	assert_int_equal(files_make_dir(deep, NULL), 0);
	assert_int_equal(symlink(dir, link), 0);
	assert_int_equal(files_remove_dir(sub, NULL), 0);
	check_content("stays");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(files_remove_dir(sub, NULL), -ENOENT);
}

/* Every call of a write fails once: the old file is there as it was, or the new one, and nothing else is left. */
static void test_faults(void **state)
{
	static const enum fault_kind kinds[] = { FAULT_MEM, FAULT_SYS };

	(void)state;
	for (size_t k = 0; k < 2; k++) {
		for (unsigned long n = 1;; n++) {
			bool hit;
			int err;

			assert_int_equal(files_write(path, 0600, span_str("old"), NULL), 0);
			fault_arm(kinds[k], n, ENOSPC, false);
			err = files_write(path, 0600, span_str("new"), NULL);
			hit = fault_calls(kinds[k]) >= n;
			fault_arm(kinds[k], 0, 0, false);
			check_content(err ? "old" : "new");
			assert_int_equal(folder_names(dir), 1);
			assert_int_equal(unlink(path), 0);
			if (!hit)
				break;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write_and_read), cmocka_unit_test(test_read_refuses),
		cmocka_unit_test(test_pipes),          cmocka_unit_test(test_make_dir),
		cmocka_unit_test(test_remove_dir),     cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
