/* test_fds.c - the descriptors of a process that was just forked: those that it was meant to have. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "priv/fds.h"

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int after(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void lowest_of_some(void **state)
{
	const int v[] = { 9, -1, 4, 7 };

	(void)state;
	assert_int_equal(fds_lowest(v, 4, 3), 4);
	assert_int_equal(fds_lowest(v, 4, 4), 4);
	assert_int_equal(fds_lowest(v, 4, 5), 7);
	assert_int_equal(fds_lowest(v, 4, 10), -1);
	assert_int_equal(fds_lowest(v, 0, 0), -1);
}

struct keep {
	int v[3];
};

static int next_kept(const void *arg, int from)
{
	const struct keep *k = arg;

	return fds_lowest(k->v, 3, from);
}

static void only_these_stay(void **state)
{
	pid_t pid;

	(void)state;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int fds[8];
		struct keep k;

		for (int i = 0; i < 8; i++)
			fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		k = (struct keep){ { fds[6], -1, fds[2] } };
		fds_close_but(next_kept, &k);
		for (int i = 0; i < 8; i++)
			if (is_open(fds[i]) != (i == 2 || i == 6))
				_exit(10 + i);
		if (!is_open(STDERR_FILENO))
			_exit(9);
		k = (struct keep){ { -1, -1, -1 } };
		fds_close_but(next_kept, &k);
		_exit(is_open(fds[2]) || is_open(fds[6]) || !is_open(STDIN_FILENO) ? 8 : 0);
	}
	assert_int_equal(after(pid), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lowest_of_some),
		cmocka_unit_test(only_these_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
