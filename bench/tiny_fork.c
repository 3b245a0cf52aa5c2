/* The smallest fork echo server that is still correct: accept, fork, and the child reads and writes until its client ends.
 *
 * What model fork is measured against: what a connection costs when it has a process of its own and nothing else. It links
 * libc alone, has one page of data, blocks in its calls and asks the kernel for its dead only when another client comes.
 */
#define _GNU_SOURCE
#include "tiny.h"

#include <sys/wait.h>

_Noreturn static void serve(int fd)
{
	static char buf[READ_SIZE];
	ssize_t n, w;

	while ((n = recv(fd, buf, sizeof buf, 0)) > 0)
		for (ssize_t at = 0; at < n; at += w)
			if ((w = send(fd, buf + at, (size_t)(n - at), MSG_NOSIGNAL)) < 0)
				_exit(1);
	_exit(0);
}

int main(void)
{
	int listener = open_and_announce("echo", SOCK_STREAM);

	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		pid_t pid;

		if (fd < 0)
			fail("accept");
		pid = fork();
		if (pid < 0)
			fail("fork");
		if (pid == 0) {
			close(listener);
			serve(fd);
		}
		close(fd);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}
