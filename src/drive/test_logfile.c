/* test_logfile.c - log lines in a file: whole, with their time, from many threads, across a reopening and a full disk. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <jansson.h>
#include <cmocka.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "drive/files.h"
#include "drive/logfile.h"

enum { THREADS = 4, LINES = 500 };

static char *dir;
static char path[300], other[310];

static int make_dir(void **state)
{
	(void)state;
	if (files_temp_dir(&dir, NULL) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/log", dir);
	snprintf(other, sizeof(other), "%s.1", path);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	log_setup(LOG_ERROR, false, NULL);
	if (files_remove_dir(dir, NULL) < 0)
		return -1;
	mem_free(dir);
	return 0;
}

static void open_log(enum tables_log_format format)
{
	char said[512] = "";
	struct buf why;

	buf_init_fixed(&why, said, sizeof(said));
	if (logfile_open(path, LOG_INFO, format, &why) < 0)
		fail_msg("%s", said);
}

/* Calls each() for every line of the file, without its end; returns how many there are. */
static size_t each_line(const char *name, void (*each)(char *line))
{
	BUF_AUTO struct buf b;
	size_t n = 0;

	buf_init(&b, 10 << 20);
	assert_int_equal(files_read(name, &b, NULL), 0);
	for (char *line = b.p, *end; line && *line; line = end + 1) {
		end = strchr(line, '\n');
		assert_non_null(end);
		*end = '\0';
		each(line);
		n++;
	}
	return n;
}

static void check_text(char *line)
{
	unsigned y, mo, d, h, mi, s, ms;
	char level[8], rest[512];

	assert_int_equal(sscanf(line, "%4u-%2u-%2uT%2u:%2u:%2u.%3uZ %7s %511[^\n]", &y, &mo, &d, &h, &mi, &s, &ms,
				level, rest),
			 9);
	assert_string_equal(level, "info");
	assert_int_equal(line[23], 'Z');
}

static void check_json(char *line)
{
	json_error_t error;
	json_t *j = json_loads(line, JSON_REJECT_DUPLICATES, &error);

	if (!j)
		fail_msg("%s in %s", error.text, line);
	assert_int_equal(strlen(json_string_value(json_object_get(j, "time"))), strlen("2026-11-21T10:00:00.000Z"));
	assert_string_equal(json_string_value(json_object_get(j, "event")), "test");
	json_decref(j);
}

static void test_lines(void **state)
{
	(void)state;
	open_log(LOG_FORMAT_TEXT);
	log_text(LOG_INFO, "test", "one");
	log_text(LOG_DEBUG, "test", "nobody wants to know");
	log_text(LOG_INFO, "test", "two");
	assert_int_equal(each_line(path, check_text), 2);
	assert_int_equal(unlink(path), 0);
	open_log(LOG_FORMAT_JSON);
	log_text(LOG_INFO, "test", "one \"two\"");
	assert_int_equal(each_line(path, check_json), 1);
	assert_int_equal(unlink(path), 0);
}

static void *write_lines(void *arg)
{
	for (int i = 0; i < LINES; i++)
		log_text(LOG_INFO, "test", "thread %d line %d", *(int *)arg, i);
	return NULL;
}

/* Lines never mix, and none is lost while the file is moved away and opened again, as logrotate does. */
static void test_threads_and_reopening(void **state)
{
	pthread_t threads[THREADS];
	int numbers[THREADS];

	(void)state;
	open_log(LOG_FORMAT_JSON);
	for (int i = 0; i < THREADS; i++) {
		numbers[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
	}
	usleep(1000);
	assert_int_equal(rename(path, other), 0);
	open_log(LOG_FORMAT_JSON);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(each_line(path, check_json) + each_line(other, check_json), THREADS * LINES);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(unlink(other), 0);
}

static void test_refused(void **state)
{
	char said[512];
	struct buf why;

	(void)state;
	buf_init_fixed(&why, said, sizeof(said));
	open_log(LOG_FORMAT_TEXT);
	assert_int_equal(logfile_open("/nonexistent/log", LOG_DEBUG, LOG_FORMAT_JSON, &why), -ENOENT);
	assert_string_equal(said, "cannot write the log to /nonexistent/log: No such file or directory");
	assert_int_equal(logfile_open(dir, LOG_DEBUG, LOG_FORMAT_JSON, &why), -EISDIR);
	log_text(LOG_DEBUG, "test", "the old level stays");
	log_text(LOG_INFO, "test", "the old file too");
	assert_int_equal(each_line(path, check_text), 1);
	assert_int_equal(unlink(path), 0);
}

static void check_lost(char *line)
{
	assert_true(strstr(line, "goes on") || strstr(line, "error log-lines-lost lines="));
}

/* A pipe that nobody reads: lines are lost and counted, and nobody waits. */
static void test_full_pipe(void **state)
{
	int ends[2], keep = dup(STDERR_FILENO);
	char got[4096];
	struct buf why;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	buf_init_fixed(&why, got, sizeof(got));
	assert_int_equal(logfile_open("stderr", LOG_INFO, LOG_FORMAT_TEXT, &why), 0);
	assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0); /* others write there too */
	for (int i = 0; i < 40000; i++)
		log_text(LOG_INFO, "test", "line %d", i);
	dup2(keep, STDERR_FILENO);
	close(keep);
	close(ends[1]);
	assert_true(read(ends[0], got, sizeof(got)) > 0);
	close(ends[0]);
	open_log(LOG_FORMAT_TEXT);
	log_text(LOG_INFO, "test", "goes on");
	assert_int_equal(each_line(path, check_lost), 2);
	assert_int_equal(unlink(path), 0);
}

#ifdef GUICHET_FAULTS
static unsigned told;

static void find_lost(char *line)
{
	told += strstr(line, "error log-lines-lost lines=3") != NULL;
}

static void test_full_disk(void **state)
{
	(void)state;
	open_log(LOG_FORMAT_TEXT);
	fault_arm(FAULT_SYS, 1, ENOSPC, true);
	for (int i = 0; i < 3; i++)
		log_text(LOG_INFO, "test", "lost");
	fault_arm(FAULT_SYS, 0, 0, false);
	log_text(LOG_INFO, "test", "goes on");
	assert_int_equal(each_line(path, find_lost), 2);
	assert_int_equal(told, 1);
	assert_int_equal(unlink(path), 0);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),     cmocka_unit_test(test_threads_and_reopening),
		cmocka_unit_test(test_refused),   cmocka_unit_test(test_full_pipe),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_full_disk),
#endif
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
