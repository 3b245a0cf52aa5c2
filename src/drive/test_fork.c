/*
 * test_fork.c - models fork and prefork: children that live, end, are killed, cannot be made; and what is left of them, which is
 * nothing. The server is a process of its own, as a worker is, since whoever forks must have no thread.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drive/door.h"
#include "drive/shared.h"
#include "drive/sys.h"
#include "support/live.h"

enum { MOMENT_MS = 60, PATIENCE_MS = 20000, NUMBER = 1, LISTEN = 2 };

/* ---- a protocol that does as it is told ---- */

/* Says back what it hears, but: k: is killed, e: exits, s: sleeps, d: a second later; and deaf to the order to stop. */
static enum verdict odd_step(void *self, const struct ev *ev, struct io *io)
{
	struct span in;

	(void)self;
	if (ev->kind == EV_DATA) {
		in = in_peek(io);
		if (*in.p == 'k')
			kill(getpid(), SIGKILL);
		if (*in.p == 'e')
			_exit(3);
		if (*in.p == 's')
			pause();
		out_mem(io, in.p, in.n);
		in_take(io, in.n);
	} else if (ev->kind == EV_DGRAM && ev->dgram.data.n && *ev->dgram.data.p == 'd') {
		io_timer(io, 0, io->now + SEC);
	} else if (ev->kind == EV_DGRAM) {
		out_dgram(io, ev->dgram.route, ev->dgram.data.p, ev->dgram.data.n);
	}
	return ev->kind == EV_EOF ? V_CLOSE : V_GO;
}

static const struct proto odd_proto = {
	.abi = PROTO_ABI,
	.name = "odd",
	.flags = P_STREAM | P_DGRAM,
	.step = odd_step,
};

/* ---- the server: a process, and we are its monitor ---- */

struct world {
	struct shared *shared;
	const char *const *words[2]; /* to begin with, and after a reload */
	unsigned kept[2];            /* so many of the doors are there */
	struct plan_service *plan;
	struct {
		int fd;
		struct netaddr at;
		unsigned port;
	} doors[LISTEN]; /* a stream, datagrams */
	int chan[2];
	pid_t pid;
	struct server *server; /* in the process */
};

static void bind_door(struct world *w, unsigned i, int type)
{
	struct netaddr *at = &w->doors[i].at;
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	*at = (struct netaddr){ .type = type, .n = sizeof(in) };
	w->doors[i].fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	memcpy(&at->st, &in, sizeof(in));
	assert_int_equal(bind(w->doors[i].fd, &at->sa, at->n), 0);
	assert_int_equal(getsockname(w->doors[i].fd, &at->sa, &at->n), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(w->doors[i].fd, 64), 0);
	w->doors[i].port = netaddr_port(at);
}

static nsec drain = SEC / 2; /* of the next one that is started */

static int apply(struct world *w, unsigned which)
{
	struct plan *plan = live_plan(w->words[which]);
	struct doors given = { .v = mem_zalloc(LISTEN * sizeof(struct door)) };
	struct conf_problems ps = {};
	int r;

	plan->global->limit_loopback = true;
	plan->global->drain = drain;
	for (unsigned i = 0; i < LISTEN && i < w->kept[which]; i++) {
		struct door *d = &given.v[given.n++];

		*d = (struct door){ .number = i + 1, .dir = -1, .at = w->doors[i].at, .fd = dup(w->doors[i].fd) };
		snprintf(d->service, sizeof(d->service), "%s", w->words[which][0]);
	}
	r = server_prepare(w->server, &plan, &given, &ps);
	if (r == 0)
		r = server_commit(w->server, &ps);
	doors_done(&given);
	conf_problems_done(&ps);
	return r;
}

static void fail_fork(unsigned call)
{
	(void)call;
#ifdef GUICHET_FAULTS
	fault_arm(FAULT_SYS, call, EAGAIN, false);
#endif
}

static void ordered(struct loop *l, void *arg)
{
	struct world *w = arg;
	char what;
	int r = 0;

	(void)l;
	if (read(w->chan[1], &what, 1) != 1)
		_exit(9);
	if (what == 'r')
		r = apply(w, 1);
	if (what == 's')
		server_stop(w->server);
	if (what >= '1' && what <= '9')
		fail_fork((unsigned)(what - '0'));
	(void)!write(w->chan[1], &r, sizeof(r));
}

static _Noreturn void be_server(struct world *w)
{
	struct server_setup setup = { .role = SERVER_WORKER, .shared = w->shared, .process = NUMBER };
	static const struct server_calls calls;
	int r, status;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(w->chan[0]);
	r = server_new(&setup, &w->server);
	if (r == 0)
		r = apply(w, 0);
	for (unsigned i = 0; i < LISTEN; i++)
		close(w->doors[i].fd);
	if (r == 0)
		r = server_watch(w->server, w->chan[1], ordered, w);
	(void)!write(w->chan[1], &r, sizeof(r));
	if (r < 0)
		_exit(8);
	status = server_run(w->server, &calls);
	server_free(&w->server);
	_exit(status);
}

static int answer(struct world *w)
{
	int r;

	assert_int_equal(read(w->chan[0], &r, sizeof(r)), sizeof(r));
	return r;
}

static int order(struct world *w, char what)
{
	assert_int_equal(write(w->chan[0], &what, 1), 1);
	return answer(w);
}

static void begin(struct world *w, const char *const *words)
{
	*w = (struct world){ .words = { words, words }, .kept = { LISTEN, LISTEN } };
	live_proto = &odd_proto;
	assert_int_equal(shared_new(2, &w->shared), 0);
	assert_int_equal(shared_take_process(w->shared, "test/fork"), NUMBER);
	bind_door(w, 0, SOCK_STREAM);
	bind_door(w, 1, SOCK_DGRAM);
}

static void go(struct world *w)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->chan), 0);
	fflush(NULL);
	w->pid = fork();
	if (w->pid == 0)
		be_server(w);
	close(w->chan[1]);
	assert_int_equal(answer(w), 0);
}

static void start(struct world *w, const char *const *words)
{
	begin(w, words);
	go(w);
}

/* Our copies of the sockets, so that they are its own; then nobody listens when it does not. */
static void leave_doors(struct world *w)
{
	for (unsigned i = 0; i < LISTEN; i++)
		fd_close(&w->doors[i].fd);
}

/* The status that waitpid() says. */
static int end(struct world *w)
{
	int status;

	assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
	leave_doors(w);
	close(w->chan[0]);
	shared_free(&w->shared);
	live_proto = NULL;
	return status;
}

static int stop(struct world *w)
{
	order(w, 's');
	return end(w);
}

/* ---- looking ---- */

static uint64_t count(const struct world *w, enum counter which)
{
	uint64_t n = 0;

	for (const struct tally *t = NULL; (t = shared_next(w->shared, t));)
		for (unsigned row = 0; row < w->shared->rows; row++)
			n += atomic_load(&t->v[row * STAT_N + which]);
	return n;
}

static unsigned open_now(const struct world *w)
{
	unsigned n = 0;

	for (const struct tally *t = NULL; (t = shared_next(w->shared, t));)
		n += atomic_load(&t->open);
	return n;
}

static void wait_for(const struct world *w, enum counter which, uint64_t want)
{
	for (int i = 0; count(w, which) != want; i++) {
		if (i == PATIENCE_MS)
			fail_msg("%s is %llu, not %llu", stat_name(which), (unsigned long long)count(w, which),
				 (unsigned long long)want);
		usleep(1000);
	}
}

static void wait_open(const struct world *w, unsigned want)
{
	for (int i = 0; open_now(w) != want; i++) {
		if (i == PATIENCE_MS)
			fail_msg("%u are open, not %u", open_now(w), want);
		usleep(1000);
	}
}

/* The server's children: how many, zombies among them, and the pids of the first ones. */
static unsigned children(const struct world *w, pid_t *ret, unsigned room)
{
	DIR *d = opendir("/proc");
	unsigned n = 0;

	for (const struct dirent *e; (e = readdir(d));) {
		char path[300], text[512];
		const char *at;
		int parent = 0;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
		f = e->d_name[0] >= '0' && e->d_name[0] <= '9' ? fopen(path, "r") : NULL;
		if (!f)
			continue;
		at = fgets(text, sizeof(text), f) ? strrchr(text, ')') : NULL;
		fclose(f);
		if (!at || sscanf(at, ") %*c %d", &parent) != 1 || parent != w->pid)
			continue;
		if (n < room)
			ret[n] = (pid_t)strtol(e->d_name, NULL, 10);
		n++;
	}
	closedir(d);
	return n;
}

static void wait_children(const struct world *w, unsigned want)
{
	unsigned n;

	for (int i = 0; (n = children(w, NULL, 0)) != want; i++) {
		if (i == PATIENCE_MS / 10)
			fail_msg("it has %u children, not %u", n, want);
		usleep(10000);
	}
}

/* ---- clients ---- */

static int dial(const struct world *w)
{
	return live_dial_port(w->doors[0].port, SOCK_STREAM);
}

static int dial_and_talk(const struct world *w)
{
	int fd = dial(w);

	assert_true(fd >= 0);
	assert_true(live_exchange(fd, "x", "x"));
	return fd;
}

static bool ended(int fd)
{
	char byte;

	return recv(fd, &byte, 1, 0) <= 0;
}

static bool quiet(int fd)
{
	return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, MOMENT_MS) == 0;
}

#define ODD(...) ((const char *const[]){ "odd", "listen=tcp:1 udp:1", __VA_ARGS__, NULL, NULL })

/* ---- fork ---- */

/* A process for each, and none is left. */
static void test_each(void **state)
{
	struct world w;
	int fd[5];

	(void)state;
	start(&w, ODD("model=fork"));
	for (unsigned i = 0; i < 5; i++) {
		fd[i] = dial_and_talk(&w);
		assert_int_equal(children(&w, NULL, 0), i + 1);
	}
	for (unsigned i = 0; i < 5; i++)
		assert_true(live_exchange(fd[i], "more", "more"));
	assert_int_equal(open_now(&w), 5);
	for (unsigned i = 0; i < 5; i++)
		close(fd[i]);
	wait_for(&w, STAT_CLOSED, 5);
	wait_open(&w, 0);
	wait_children(&w, 0);
	assert_int_equal(count(&w, STAT_ACCEPTED), 5);
	assert_int_equal(count(&w, STAT_BYTES_IN), 5 + 20);
	assert_int_equal(count(&w, STAT_ERRORS), 0);
	assert_int_equal(stop(&w), 0);
}

/* stdin, stdout, stderr, the connection, and the two orders; the log is not open here. */
static void test_descriptors(void **state)
{
	static const char *const models[] = { "model=fork", "model=prefork" };

	(void)state;
	for (unsigned m = 0; m < 2; m++) {
		unsigned n = 0, most = m ? 12 : 8;
		struct world w;
		pid_t pid;
		char path[64];
		DIR *d;
		int fd;

		start(&w, ODD(models[m], "workers=1"));
		fd = dial_and_talk(&w);
		assert_int_equal(children(&w, &pid, 1), 1);
		snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
		d = opendir(path);
		assert_non_null(d);
		for (const struct dirent *e; (e = readdir(d));)
			n += e->d_name[0] != '.';
		closedir(d);
		assert_in_range(n, 3, most);
		close(fd);
		assert_int_equal(stop(&w), 0);
	}
}

/* What one held is given back, whoever ends it: with max=1 the next one is let in. */
static void test_killed(void **state)
{
	static const char *const models[] = { "model=fork", "model=prefork" };

	(void)state;
	for (unsigned m = 0; m < 2; m++) {
		struct world w;
		int fd, other;

		start(&w, ODD(models[m], "max=2", "per_source=2", "workers=2"));
		other = dial_and_talk(&w);
		for (unsigned i = 0; i < 5; i++) {
			fd = dial_and_talk(&w);
			assert_true(send(fd, i % 2 ? "e" : "k", 1, 0) == 1);
			assert_true(ended(fd));
			close(fd);
			wait_open(&w, 1);
			wait_for(&w, STAT_CLOSED, i + 1);
		}
		assert_true(live_exchange(other, "more", "more"));
		close(other);
		wait_open(&w, 0);
		wait_for(&w, STAT_CLOSED, 6);
		wait_for(&w, STAT_ERRORS, 5);
		assert_int_equal(count(&w, STAT_ACCEPTED), 6);
		assert_int_equal(count(&w, STAT_REFUSED_MAX), 0);
		assert_int_equal(count(&w, STAT_REFUSED_SOURCE), 0);
		wait_children(&w, m ? 2 : 0);
		assert_int_equal(stop(&w), 0);
	}
}

static void test_max(void **state)
{
	struct world w;
	int one, two;

	(void)state;
	start(&w, ODD("model=fork", "max=1"));
	one = dial_and_talk(&w);
	two = dial(&w);
	assert_true(ended(two));
	close(two);
	close(one);
	wait_open(&w, 0);
	one = dial_and_talk(&w);
	close(one);
	assert_int_equal(count(&w, STAT_REFUSED_MAX), 1);
	assert_int_equal(stop(&w), 0);
}

/* Of the calls that a new client makes necessary one is fork(); what becomes of the others when they fail is shown elsewhere. */
static void test_no_process(void **state)
{
#ifdef GUICHET_FAULTS
	struct world w;
	int one, two;

	start(&w, ODD("model=fork"));
	one = dial_and_talk(&w);
	for (unsigned i = 0; count(&w, STAT_REFUSED_PROCESSES) == 0; i++) {
		assert_in_range(i, 0,
				89); /* it may be another one each time: the last child's end comes when it comes */
		order(&w, (char)('1' + i % 9));
		two = dial(&w);
		(void)live_exchange(two, "x", "x");
		close(two);
		wait_open(&w, 1);
	}
	assert_true(live_exchange(one, "more", "more"));
	two = dial_and_talk(&w);
	close(one);
	close(two);
	wait_open(&w, 0);
	assert_int_equal(count(&w, STAT_REFUSED_PROCESSES), 1);
	assert_int_equal(stop(&w), 0);
#endif
	(void)state;
}

/* ---- datagrams ---- */

static void test_datagrams(void **state)
{
	static const char *const models[] = { "model=fork", "model=prefork" };

	(void)state;
	for (unsigned m = 0; m < 2; m++) {
		struct world w;
		int fd;

		start(&w, ODD(models[m], "max=3", "workers=1"));
		fd = live_dial_port(w.doors[1].port, SOCK_DGRAM);
		for (unsigned i = 0; i < 20; i++) {
			assert_true(live_exchange(fd, "ping", "ping"));
			wait_children(&w, m); /* who has answered may be there yet, and counts */
		}
		wait_for(&w, STAT_DGRAMS_IN, 20);
		wait_for(&w, STAT_DGRAMS_OUT, 20);
		wait_children(&w, m);
		for (unsigned i = 0; i < 5; i++) /* each of these has a process for a second */
			assert_true(send(fd, "d", 1, 0) == 1);
		wait_for(&w, STAT_DROP_BUSY, 2);
		wait_children(&w, m + 3);
		wait_children(&w, m);
		assert_int_equal(count(&w, STAT_DGRAMS_IN), 23);
		assert_true(live_exchange(fd, "ping", "ping"));
		assert_int_equal(open_now(&w), 0);
		close(fd);
		assert_int_equal(stop(&w), 0);
	}
}

/* ---- the end ---- */

/* A conversation that does not care is cut off, and nobody new comes in meanwhile, also not to the process that has it. */
static void test_stop(void **state)
{
	static const char *const models[] = { "model=fork", "model=prefork" };

	(void)state;
	drain = 3 * SEC; /* time to try the door and say something, also on a busy machine */
	for (unsigned m = 0; m < 2; m++) {
		struct world w;
		int fd, status;

		start(&w, ODD(models[m], "workers=3"));
		leave_doors(&w);
		fd = dial_and_talk(&w);
		order(&w, 's');
		for (int i = 0, late; (late = dial(&w)) >= 0; i++) {
			close(late);
			usleep(1000);
			assert_in_range(i, 0, PATIENCE_MS);
		}
		assert_true(live_exchange(fd, "more", "more"));
		assert_true(ended(fd));
		status = end(&w);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
		close(fd);
	}
	drain = SEC / 2;
}

/* A process that looks at nothing any more is killed. */
static void test_stuck(void **state)
{
	static const char *const models[] = { "model=fork", "model=prefork" };

	(void)state;
	for (unsigned m = 0; m < 2; m++) {
		struct world w;
		int fd, status;

		start(&w, ODD(models[m], "workers=2"));
		fd = dial_and_talk(&w);
		assert_true(send(fd, "s", 1, 0) == 1);
		usleep(MOMENT_MS * 1000);
		status = stop(&w);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
		assert_true(ended(fd));
		close(fd);
	}
}

static void test_orphans(void **state)
{
	struct world w;
	pid_t pid[2];
	int fd;

	(void)state;
	start(&w, ODD("model=fork"));
	fd = dial_and_talk(&w);
	assert_int_equal(children(&w, pid, 2), 1);
	kill(w.pid, SIGKILL);
	assert_true(ended(fd));
	for (int i = 0; kill(pid[0], 0) == 0 && i < PATIENCE_MS; i++)
		usleep(1000); /* until its new parent has taken note */
	close(fd);
	assert_true(WIFSIGNALED(end(&w)));
}

/* ---- reload ---- */

static void test_reload(void **state)
{
	static const char *const models[] = { "model=fork", "model=prefork", "model=fork" };

	(void)state;
	for (unsigned m = 0; m < 2; m++) {
		const char *const after[] = { "odd", "listen=tcp:1 udp:1", models[m + 1], "workers=2", "idle=1h", NULL,
					      NULL };
		struct world w;
		int old, new;

		begin(&w, ODD(models[m], "workers=2"));
		w.words[1] = after;
		go(&w);
		old = dial_and_talk(&w);
		assert_int_equal(order(&w, 'r'), 0);
		new = dial_and_talk(&w);
		assert_true(live_exchange(old, "more", "more"));
		wait_children(&w, m ? 2 : 3);
		close(old);
		close(new);
		wait_open(&w, 0);
		wait_children(&w, m ? 0 : 2);
		new = dial_and_talk(&w);
		close(new);
		assert_int_equal(stop(&w), 0);
	}
}

/* An address goes: nobody listens there any more, also not who is in the middle of a conversation. */
static void test_address_goes(void **state)
{
	static const char *const models[] = { "model=fork", "model=prefork" };

	(void)state;
	for (unsigned m = 0; m < 2; m++) {
		const char *const after[] = { "odd", "listen=udp:1", models[m], "workers=2", NULL, NULL };
		struct world w;
		int old, waits;

		begin(&w, ODD(models[m], "workers=1"));
		w.words[1] = after;
		w.kept[1] = 0;
		go(&w);
		leave_doors(&w);
		old = dial_and_talk(&w);
		waits = m ? dial(&w) : -1; /* in the backlog: it is let in before the door is shut */
		assert_int_equal(order(&w, 'r'), 0);
		assert_int_equal(dial(&w), -1);
		assert_true(live_exchange(old, "more", "more"));
		if (m)
			assert_true(live_exchange(waits, "me too", "me too"));
		close(old);
		close(waits);
		wait_open(&w, 0);
		assert_int_equal(stop(&w), 0);
	}
}

/* ---- prefork ---- */

static void test_at_once(void **state)
{
	struct world w;
	int fd[3], more;

	(void)state;
	start(&w, ODD("model=prefork", "workers=3"));
	wait_children(&w, 3);
	for (unsigned i = 0; i < 3; i++)
		fd[i] = dial_and_talk(&w);
	more = dial(&w);
	assert_true(send(more, "b", 1, 0) == 1 && quiet(more));
	assert_int_equal(open_now(&w), 3);
	close(fd[1]);
	assert_true(live_exchange(more, "", "b"));
	close(more);
	for (unsigned i = 0; i < 3; i += 2)
		close(fd[i]);
	wait_for(&w, STAT_CLOSED, 4);
	wait_open(&w, 0);
	assert_int_equal(children(&w, NULL, 0), 3);
	assert_int_equal(stop(&w), 0);
}

/* Idle ones are replaced too, and who is in the backlog meanwhile is served by the next one. */
static void test_replaced(void **state)
{
	struct world w;
	pid_t pid[2];
	int fd;

	(void)state;
	start(&w, ODD("model=prefork", "workers=2"));
	for (unsigned i = 0; i < 3; i++) {
		wait_for(&w, STAT_ERRORS, i * 2UL); /* no zombie is left that would be taken for one */
		wait_children(&w, 2);
		assert_int_equal(children(&w, pid, 2), 2);
		for (unsigned k = 0; k < 2; k++)
			assert_int_equal(kill(pid[k], SIGKILL), 0);
		fd = dial_and_talk(&w);
		close(fd);
	}
	wait_children(&w, 2);
	wait_for(&w, STAT_ERRORS, 6);
	wait_for(&w, STAT_CLOSED, 3);
	assert_int_equal(stop(&w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each),     cmocka_unit_test(test_descriptors),  cmocka_unit_test(test_killed),
		cmocka_unit_test(test_max),      cmocka_unit_test(test_no_process),   cmocka_unit_test(test_datagrams),
		cmocka_unit_test(test_stop),     cmocka_unit_test(test_stuck),        cmocka_unit_test(test_orphans),
		cmocka_unit_test(test_reload),   cmocka_unit_test(test_address_goes), cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
