/*
 * failed.c - no search for leaks in a program in which a test failed. cmocka leaves a failed test by longjmp(), so what it had
 * open stays, and LeakSanitizer would bury the line that says what is wrong. cmake/tests.cmake links this into every test.
 */
#include <stdbool.h>
#include <stdlib.h>

static bool failed;

static void note_status(int status, void *arg)
{
	(void)arg;
	failed = status != 0;
}

[[gnu::constructor]] static void watch_exit(void)
{
	(void)on_exit(note_status, NULL);
}

/* LeakSanitizer asks at the end. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return failed;
}
