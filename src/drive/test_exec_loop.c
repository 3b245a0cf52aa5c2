/*
 * test_exec_loop.c - commands of a real loop: real programs with pipes, run by a real spawner, in a loop with epoll and in one with
 * poll(2). test_handover.c has those that get the connection itself.
 */
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

#include "priv/spawner.h"
#include "support/errand.h"

enum { TAG = 7 };

static struct errand w;
static const char *const *words; /* of the command */
static const struct exec_user *user;
static size_t peak;

static void ask(struct io *io, uint32_t tag)
{
	io_child(io, tag,
		 &(struct child){ .kind = CHILD_EXEC,
				  .exec = &(struct exec){
					  .path = words[0], .argv = words, .user = user, .grace = 100 * MSEC } });
}

/* What comes on one side goes to the other, as much as there is room for; the end too. */
static enum verdict hand_on(const struct ev *ev, struct io *io)
{
	struct io *of = toy_io(ev, io), *to = ev->chan ? io : io_chan(io, TAG);

	if (ev->kind == EV_OPEN && !ev->chan)
		ask(io, TAG);
	if (ev->kind == EV_DATA && to) {
		struct span in = in_peek(of);
		size_t room = out_room(to), n = in.n < room ? in.n : room;

		peak = in.n > peak ? in.n : peak;
		out_mem(to, in.p, n);
		in_take(of, n);
		io_hold(of, n < in.n);
	}
	if (ev->kind == EV_ROOM && (of = ev->chan ? io : io_chan(io, TAG)))
		io_hold(of, false);
	if (ev->kind == EV_EOF && to)
		out_eof(to);
	return ev->kind == EV_GONE ? V_CLOSE : V_GO;
}

#define begin(many_, fn_, ...) \
	begin_with(&(struct errand_setup){ .many = (many_), .fn = (fn_) }, (const char *const[]){ __VA_ARGS__, NULL })

static void begin_with(const struct errand_setup *setup, const char *const *command)
{
	words = command;
	peak = 0;
	errand_begin(&w, setup);
}

static void bytes_both_ways(void **state)
{
	(void)state;
	for (int many = 0; many < 2; many++) {
		int fd;

		begin(many, hand_on, "/bin/cat");
		fd = errand_client(&w, AF_INET);
		errand_log(&w, "open c7.bound:7 c7.open");
		errand_say(fd, "hello");
		errand_until(&w, fd, "hello");
		shutdown(fd, SHUT_WR);
		errand_log(&w, "data:5 c7.data:5 eof c7.eof c7.gone:7:0/0 fini");
		errand_until_end(&w, fd);
		close(fd);
		errand_turn(&w);
		assert_true(many || loop_empty(w.l)); /* a private loop holds no channel that it does not need */
		errand_end(&w);
	}
}

/* Its words, then its end, although nobody closed its input. */
static void an_end_of_its_own(void **state)
{
	(void)state;
	for (int many = 0; many < 2; many++) {
		int fd;

		begin(many, hand_on, "/bin/sh", "-c", "echo said; exit 42");
		fd = errand_client(&w, AF_INET);
		errand_until(&w, fd, "said\n");
		errand_log(&w, "open c7.bound:7 c7.open c7.data:5 c7.eof c7.gone:7:0/42 fini");
		errand_until_end(&w, fd);
		close(fd);
		errand_end(&w);
	}
}

static void a_signal(void **state)
{
	int fd;

	(void)state;
	begin(true, hand_on, "/bin/sh", "-c", "kill -9 $$");
	fd = errand_client(&w, AF_INET);
	errand_log(&w, "open c7.bound:7 c7.open c7.eof c7.gone:7:0/signal 9 fini");
	close(fd);
	errand_end(&w);
}

static enum verdict only_ask(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN && !ev->chan)
		ask(io, TAG);
	if (ev->kind == EV_DATA && !ev->chan)
		io_end(io, TAG);
	return toy_take(ev, io);
}

static void what_does_not_run(void **state)
{
	static const struct {
		const char *path, *log;
	} cases[] = {
		{ "/nowhere/at/all", "open c7.gone:7:-2" },
		{ "/etc/passwd", "open c7.gone:7:-13" },
		{ "bin/true", "open c7.gone:7:-22" },
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		int fd;

		begin(i % 2, only_ask, cases[i].path);
		fd = errand_client(&w, AF_INET);
		errand_log(&w, cases[i].log);
		close(fd);
		errand_end(&w);
	}
}

static void not_as_anybody(void **state)
{
	static const struct exec_user root = { 0, 0 };
	int fd;

	(void)state;
	user = &root;
	begin(true, only_ask, "/bin/true");
	fd = errand_client(&w, AF_INET);
	errand_log(&w, "open c7.gone:7:-1"); /* the door is not for that */
	close(fd);
	errand_end(&w);
	user = NULL;
}

static void without_a_spawner(void **state)
{
	int fd;

	(void)state;
	begin_with(&(struct errand_setup){ .many = true, .no_spawner = true, .fn = only_ask },
		   (const char *const[]){ "/bin/true", NULL });
	fd = errand_client(&w, AF_INET);
	errand_log(&w, "open c7.gone:7:-38");
	close(fd);
	errand_end(&w);
}

/* ---- much ---- */

static void much_output_for_a_slow_reader(void **state)
{
	enum { SIZE = 8000000 };
	static char piece[100000];

	(void)state;
	for (int many = 0; many < 2; many++) {
		size_t n = 0;
		ssize_t k;
		int fd;

		begin(many, hand_on, "/bin/sh", "-c", "head -c 8000000 /dev/zero; exit 9");
		toy.quiet = true;
		fd = errand_client(&w, AF_UNIX);
		for (int i = 0; i < 30; i++)
			errand_turn(&w); /* all that fits is full */
		assert_true(atomic_load(&w.stats[STAT_BYTES_OUT]) < SIZE / 2);
		while ((k = recv(fd, piece, sizeof(piece), MSG_DONTWAIT)) != 0) {
			n += k > 0 ? (size_t)k : 0;
			errand_turn(&w);
		}
		assert_int_equal(n, SIZE);
		assert_true(peak <= 2 * HOST_RBUF);
		close(fd);
		errand_end(&w);
	}
}

static enum verdict pour(const struct ev *ev, struct io *io)
{
	static const char some[4096];
	struct io *to = ev->chan ? io_chan(io, ev->chan) : NULL;

	if (ev->kind == EV_OPEN && !ev->chan)
		ask(io, TAG);
	if (ev->kind == EV_OPEN || ev->kind == EV_ROOM)
		for (size_t n; to && (n = out_room(to)) > 0;)
			out_mem(to, some, n < sizeof(some) ? n : sizeof(some));
	if (ev->kind == EV_DATA)
		in_take(toy_io(ev, io), SIZE_MAX);
	return ev->kind == EV_GONE ? V_CLOSE : V_GO;
}

/* It reads a little of much, says something, and ends well: a pipe that broke is not a conversation that broke. */
static void what_it_does_not_read_is_lost(void **state)
{
	(void)state;
	for (int many = 0; many < 2; many++) {
		int fd;

		begin(many, pour, "/bin/sh", "-c", "head -c 100000 >/dev/null; exec <&-; sleep 0.1; echo ok; exit 3");
		toy.quiet = true;
		fd = errand_client(&w, AF_UNIX);
		errand_until_end(&w, fd);
		assert_int_equal(atomic_load(&w.stats[STAT_ERRORS]), 0);
		close(fd);
		errand_end(&w);
	}
}

static void many_at_once(void **state)
{
	enum { N = 150 };
	int fds[N];

	(void)state;
	begin(true, hand_on, "/bin/echo", "one of many");
	toy.quiet = true;
	for (int i = 0; i < N; i++)
		fds[i] = errand_client(&w, AF_UNIX);
	for (int i = 0; i < N; i++) {
		errand_until(&w, fds[i], "one of many\n");
		errand_until_end(&w, fds[i]);
		close(fds[i]);
	}
	errand_end(&w);
}

/* Large requests fill the channel to the spawner long before it has looked at them. */
static void many_large_ones(void **state)
{
	enum { N = 100 };
	static char word[12000];
	int fds[N];

	(void)state;
	memset(word, 'x', sizeof(word) - 1);
	begin(true, hand_on, "/bin/sh", "-c", "echo ${#1}", "sh", word);
	toy.quiet = true;
	for (int i = 0; i < N; i++)
		fds[i] = errand_client(&w, AF_UNIX);
	for (int i = 0; i < N; i++) {
		errand_until(&w, fds[i], "11999\n");
		errand_until_end(&w, fds[i]);
		close(fds[i]);
	}
	errand_end(&w);
}

/* ---- ends that others ask for ---- */

static void cancelled(void **state)
{
	(void)state;
	for (int many = 0; many < 2; many++) {
		pid_t pid;
		int fd;

		begin(many, hand_on, "/bin/sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.1; done");
		fd = errand_client(&w, AF_INET);
		pid = errand_until_pid(&w, fd);
		toy.fn = only_ask;
		buf_reset(&toy.log);
		errand_say(fd, "x");
		errand_log(&w, "data:1 c7.gone:7:-125");
		assert_true(errand_gone(pid)); /* it did not want to: SIGKILL */
		for (int i = 0; i < 3; i++)
			errand_turn(&w);
		assert_log("");
		close(fd);
		errand_end(&w);
	}
}

static void the_parents_end(void **state)
{
	(void)state;
	for (int many = 0; many < 2; many++) {
		pid_t pid;
		int fd;

		begin(many, hand_on, "/bin/sh", "-c", "echo $$; exec sleep 1000");
		fd = errand_client(&w, AF_INET);
		pid = errand_until_pid(&w, fd);
		toy.fn = toy_take;
		buf_reset(&toy.log);
		close(fd);
		errand_log(&w, "eof fini");
		assert_true(errand_gone(pid));
		errand_end(&w);
	}
}

static void the_loops_end(void **state)
{
	pid_t pid;
	int fd;

	(void)state;
	begin(true, hand_on, "/bin/sh", "-c", "echo $$; exec sleep 1000");
	fd = errand_client(&w, AF_INET);
	pid = errand_until_pid(&w, fd);
	loop_free(&w.l);
	assert_true(errand_gone(pid));
	close(fd);
	errand_end(&w);
}

/* One that has left the group keeps the pipe open, and nobody waits for it. */
static void who_stays_behind_is_not_awaited(void **state)
{
	(void)state;
	for (int many = 0; many < 2; many++) {
		pid_t pid;
		int fd;

		begin(many, hand_on, "/bin/sh", "-c", "setsid sleep 1000 & echo $!; echo end");
		fd = errand_client(&w, AF_INET);
		pid = errand_until_pid(&w, fd);
		errand_until(&w, fd, "end\n");
		errand_until_end(&w, fd);
		close(fd);
		if (kill(pid, SIGKILL) == 0)
			errand_gone(pid);
		errand_end(&w);
	}
}

static void the_spawner_dies(void **state)
{
	const struct spawn_user same = { SPAWN_SAME, SPAWN_SAME };
	pid_t pid;
	int fd, other, status, door;

	(void)state;
	begin(true, hand_on, "/bin/sh", "-c", "echo $$; exec sleep 1000");
	fd = errand_client(&w, AF_INET);
	pid = errand_until_pid(&w, fd);
	buf_reset(&toy.log);
	kill(w.spawner, SIGKILL);
	assert_int_equal(waitpid(w.spawner, &status, 0), w.spawner);
	assert_true(errand_gone(pid));
	errand_log_end(&w, "c7.eof ", "c7.gone:7:-104 fini"); /* the command's end may be seen before the spawner's */
	close(fd);

	fd = errand_client(&w, AF_INET); /* meanwhile */
	errand_log(&w, "open c7.gone:7:-32 fini");
	close(fd);

	close(w.root); /* a new one, behind the same number */
	assert_int_equal(spawner_start(&(struct spawner_setup){}, &w.root, &w.spawner), 0);
	assert_int_equal(spawn_door(w.root, &same, 1, &door), 0);
	assert_int_equal(dup3(door, w.door.fd, O_CLOEXEC), w.door.fd);
	close(door);
	words = (const char *const[]){ "/bin/echo", "again", NULL };
	other = errand_client(&w, AF_INET);
	errand_until(&w, other, "again\n");
	errand_until_end(&w, other);
	close(other);
	errand_end(&w);
}

/* ---- calls that fail ---- */

#ifdef GUICHET_FAULTS
static int begin_nth(unsigned long n)
{
	begin(n % 2, hand_on, "/bin/echo", "well");
	return errand_client(&w, AF_UNIX);
}

static void each_call_fails_once(void **state)
{
	(void)state;
	errand_fail_each(&w, begin_nth);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_both_ways),
		cmocka_unit_test(an_end_of_its_own),
		cmocka_unit_test(a_signal),
		cmocka_unit_test(what_does_not_run),
		cmocka_unit_test(not_as_anybody),
		cmocka_unit_test(without_a_spawner),
		cmocka_unit_test(much_output_for_a_slow_reader),
		cmocka_unit_test(what_it_does_not_read_is_lost),
		cmocka_unit_test(many_at_once),
		cmocka_unit_test(many_large_ones),
		cmocka_unit_test(cancelled),
		cmocka_unit_test(the_parents_end),
		cmocka_unit_test(the_loops_end),
		cmocka_unit_test(who_stays_behind_is_not_awaited),
		cmocka_unit_test(the_spawner_dies),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(each_call_fails_once),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
