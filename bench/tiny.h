/* What the tiny servers share: a listener, the ready line, the fd limit.
 *
 * The tiny servers are the limits that bench/run measures Guichet against: the least a C program can do and still be
 * correct for these loads. They have no configuration, no timers, no logging, no limits and handle out of memory by
 * leaving. Read them first if you want to see what an event loop is; do not serve the Internet with them.
 */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 64 * 1024 };

_Noreturn static inline void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

/* The soft limit of descriptors is 1024 nearly everywhere, for the sake of select(2). We do not use select. */
static inline void raise_fd_limit(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

/* Binds a socket of `type` to a loopback port of the system's choice, prints the line that says where (the form of
 * `guichet serve --test`, so that bench/run reads both alike), returns the socket. */
static inline int open_and_announce(const char *name, int type)
{
	bool stream = (type & 0xf) == SOCK_STREAM;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	/* Whoever started us wants us only as long as it lives. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	raise_fd_limit();
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0)
		fail("bind");
	if (stream && listen(fd, 4096) < 0)
		fail("listen");
	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		fail("getsockname");
	printf("{\"pid\":%d,\"control\":\"\",\"data\":\"\",\"services\":[{\"name\":\"%s\",\"protocol\":\"%s\",\"model\":\"tiny\","
	       "\"addresses\":[\"%s:127.0.0.1:%d\"]}]}\n",
	       getpid(), name, name, stream ? "tcp" : "udp", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}

static inline void no_delay(int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
}
