/* errand.c - see errand.h. */
#include "support/errand.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "drive/clock.h"
#include "priv/spawner.h"
#include "support/folder.h"

enum { LONG = 20 /* seconds: nothing takes so long */ };

void errand_begin(struct errand *w, const struct errand_setup *setup)
{
	const struct spawn_user same = { SPAWN_SAME, SPAWN_SAME };
	struct loop_setup s = { .many = setup->many, .stop_fd = -1, .cut_fd = -1 };

	sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	toy_reset(setup->fn);
	toy.exits = true;
	*w = (struct errand){ .fds = folder_fds(), .root = -1, .door = { -1, same } };
	if (!setup->no_spawner) {
		assert_int_equal(spawner_start(&(struct spawner_setup){}, &w->root, &w->spawner), 0);
		assert_int_equal(spawn_door(w->root, &same, 1, &w->door.fd), 0);
		s.spawner = &w->door;
	}
	w->svc = (struct svc){ .name = "toy", .proto = &toy_proto, .trace = setup->trace };
	w->svc.limits.input = w->svc.limits.output = 1 << 20;
	w->svc.limits.linger = setup->linger ? setup->linger : 2 * SEC;
	w->lane = (struct lane){ .svc = &w->svc, .stats = w->stats };
	assert_int_equal(loop_new(&s, &w->l), 0);
}

void errand_end(struct errand *w)
{
	int status = 0;

	loop_free(&w->l);
	if (w->door.fd >= 0)
		close(w->door.fd);
	if (w->root >= 0)
		close(w->root);
	if (w->spawner)
		assert_int_equal(waitpid(w->spawner, &status, 0), w->spawner);
	assert_int_equal(status, 0);
	toy_done();
	assert_int_equal(folder_fds(), w->fds);
}

static void connect_tcp(int ends[2])
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(in);
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(l, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&in, &n), 0);
	ends[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(ends[1], (struct sockaddr *)&in, sizeof(in)), 0);
	ends[0] = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(ends[0] >= 0);
	close(l);
}

int errand_client(struct errand *w, int family)
{
	int ends[2];

	if (family == AF_INET) {
		connect_tcp(ends);
	} else {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
		assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	}
	assert_int_equal(
		loop_adopt(w->l, &(struct adopt){ .fd = ends[0], .wfd = -1, .lane = &w->lane, .socket = true }), 0);
	return ends[1];
}

void errand_turn(struct errand *w)
{
	loop_turn(w->l, 10 * MSEC);
}

void errand_log_end(struct errand *w, const char *maybe, const char *want)
{
	nsec until = clock_mono() + LONG * SEC;

	while (!strstr(buf_str(&toy.log), want) && clock_mono() < until)
		errand_turn(w);
	if (strncmp(buf_str(&toy.log), maybe, strlen(maybe)) == 0) {
		BUF_AUTO struct buf rest = BUF_INIT(4096);

		buf_adds(&rest, buf_str(&toy.log) + strlen(maybe));
		buf_reset(&toy.log);
		buf_adds(&toy.log, buf_str(&rest));
	}
	errand_log(w, want);
}

void errand_log(struct errand *w, const char *want)
{
	nsec until = clock_mono() + LONG * SEC;

	while (strlen(buf_str(&toy.log)) < strlen(want) && clock_mono() < until)
		errand_turn(w);
	for (int i = 0; i < 3; i++)
		errand_turn(w); /* what should not come has its chance */
	assert_log(want);
}

/* What there is, within the time: bytes, 0 for the end, or -errno. */
static ssize_t hear(struct errand *w, int fd, char *p, size_t n)
{
	nsec until = clock_mono() + LONG * SEC;
	ssize_t got;

	while ((got = recv(fd, p, n, MSG_DONTWAIT)) < 0 && errno == EAGAIN && clock_mono() < until)
		errand_turn(w);
	return got < 0 ? -errno : got;
}

void errand_until(struct errand *w, int fd, const char *text)
{
	char got[512] = "";
	size_t n = 0;

	assert_true(strlen(text) < sizeof(got));
	while (n < strlen(text)) {
		ssize_t k = hear(w, fd, got + n, strlen(text) - n);

		if (k <= 0)
			break;
		n += (size_t)k;
	}
	got[n] = '\0';
	assert_string_equal(got, text);
}

void errand_until_end(struct errand *w, int fd)
{
	char c;

	assert_int_equal(hear(w, fd, &c, 1), 0);
}

pid_t errand_until_pid(struct errand *w, int fd)
{
	char line[32] = "";

	for (size_t n = 0; n < sizeof(line) - 1 && !strchr(line, '\n'); n++)
		assert_int_equal(hear(w, fd, line + n, 1), 1);
	/* a command that has the connection may speak before the loop has heard that it runs */
	for (nsec until = clock_mono() + LONG * SEC; !strstr(buf_str(&toy.log), ".open") && clock_mono() < until;)
		errand_turn(w);
	return (pid_t)strtol(line, NULL, 10);
}

bool errand_gone(pid_t pid)
{
	for (int i = 0; pid > 1 && i < 500; i++) {
		if (kill(pid, 0) < 0 && errno == ESRCH)
			return true;
		usleep(10000);
	}
	return false;
}

void errand_say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

#ifdef GUICHET_FAULTS
static bool fail_nth(struct errand *w, int fd, enum fault_kind kind, unsigned long n)
{
	nsec until = clock_mono() + LONG * SEC;
	bool seen;
	char c;

	toy.quiet = true;
	fault_arm(kind, n, n % 3 ? EMFILE : ENOMEM, false);
	while (loop_open(w->l) && clock_mono() < until) {
		if (recv(fd, &c, 1, MSG_DONTWAIT) == 0)
			shutdown(fd, SHUT_WR);
		errand_turn(w);
	}
	seen = fault_calls(kind) >= n;
	fault_arm(kind, 0, 0, false);
	assert_true(clock_mono() < until);
	return seen;
}

void errand_fail_each(struct errand *w, int (*begin)(unsigned long n))
{
	for (enum fault_kind kind = FAULT_MEM; kind <= FAULT_SYS; kind++) {
		bool seen = true;

		for (unsigned long n = 1; n < 60 && seen; n++) {
			int fd = begin(n);

			seen = fail_nth(w, fd, kind, n);
			close(fd);
			errand_end(w);
		}
	}
}
#endif
