/* test_handover.c - commands that get the connection itself: when, what is seen of it meanwhile, how it breaks and how it comes back. */
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

#include "drive/clock.h"
#include "support/errand.h"

enum { TAG = 7 };

static struct errand w;
static const char *script;
static bool on_data; /* asks not before the client has spoken */
static bool stay;    /* goes on when it has ended */
static const char *greeting, *farewell;

/* As a protocol does that need not know which way it goes. */
static enum verdict give(const struct ev *ev, struct io *io)
{
	const char *const argv[] = { "sh", "-c", script, NULL };
	struct io *of = toy_io(ev, io), *to = ev->chan ? io : io_chan(io, TAG);
	struct span in = ev->kind == EV_DATA ? in_peek(of) : (struct span){};

	if (ev->kind == (on_data ? EV_DATA : EV_OPEN) && !ev->chan && !to) {
		if (greeting)
			out_str(io, greeting);
		if (on_data)
			in_take(io, 1);
		io_hold(io, on_data);
		on_data = false;
		io_child(io, TAG,
			 &(struct child){ .kind = CHILD_EXEC,
					  .exec = &(struct exec){ .path = "/bin/sh",
								  .argv = argv,
								  .give = true,
								  .errors = true,
								  .grace = 300 * MSEC } });
	} else if (ev->kind == EV_DATA) {
		out_mem(to ? to : io, in.p, in.n); /* an echo, when there is no command */
		in_take(of, in.n);
	}
	if (ev->kind == EV_OPEN && ev->chan)
		io_hold(io, false);
	if (ev->kind == EV_EOF && to)
		out_eof(to);
	if (ev->kind == EV_GONE && farewell)
		out_str(io, farewell);
	if (ev->kind == EV_EOF && !ev->chan && !to)
		return V_CLOSE;
	return (ev->kind == EV_GONE && !stay) || ev->kind == EV_STOP ? V_CLOSE : V_GO;
}

static int begin_with(const struct errand_setup *setup, int family, const char *text)
{
	struct errand_setup s = *setup;

	on_data = stay = false;
	greeting = farewell = NULL;
	script = text;
	s.fn = give;
	errand_begin(&w, &s);
	return family ? errand_client(&w, family) : -1;
}

static int begin(bool many, int family, const char *text)
{
	return begin_with(&(struct errand_setup){ .many = many }, family, text);
}

static uint64_t stat_of(enum counter which)
{
	return atomic_load(&w.stats[which]);
}

/* Not one byte goes through us. */
static void the_command_has_the_connection(void **state)
{
	static const int families[] = { AF_INET, AF_UNIX };

	(void)state;
	for (int i = 0; i < 4; i++) {
		int fd = begin(i & 1, families[i / 2], "cat; echo error >&2; exit 5");

		errand_log(&w, "open c7.bound:7 c7.open");
		errand_say(fd, "hello");
		errand_until(&w, fd, "hello");
		shutdown(fd, SHUT_WR);
		errand_until(&w, fd, "error\n");
		errand_log(&w, "c7.gone:7:0/5 fini");
		errand_until_end(&w, fd);
		close(fd);
		for (int k = 0; k < 3; k++)
			errand_turn(&w);
		assert_int_equal(loop_open(w.l), 0);
		if (i < 2) { /* of TCP the system knows how much it was */
			assert_int_equal(stat_of(STAT_BYTES_IN), 5);
			assert_int_equal(stat_of(STAT_BYTES_OUT), 11);
		}
		assert_true(i & 1 || loop_empty(w.l));
		errand_end(&w);
	}
}

/* nc -N says FIN at once and waits for the answer. */
static void a_fin_is_no_reason(void **state)
{
	(void)state;
	for (int many = 0; many < 2; many++) {
		int fd = begin(many, AF_INET, "sleep 0.3; cat; echo answer");

		errand_say(fd, "question ");
		shutdown(fd, SHUT_WR);
		errand_until(&w, fd, "question answer\n");
		errand_until_end(&w, fd);
		errand_log(&w, "open c7.bound:7 c7.open c7.gone:7:0/0 fini");
		assert_int_equal(stat_of(STAT_BYTES_IN), 9);
		close(fd);
		errand_end(&w);
	}
}

static void a_connection_that_breaks(void **state)
{
	const struct linger now = { .l_onoff = 1 };
	static const int families[] = { AF_INET, AF_UNIX };

	(void)state;
	for (int i = 0; i < 4; i++) {
		int fd = begin(i & 1, families[i / 2], "echo $$; exec sleep 1000");
		pid_t pid = errand_until_pid(&w, fd);

		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(fd);
		errand_log(&w, "open c7.bound:7 c7.open eof:-104 fini");
		assert_true(errand_gone(pid));
		assert_int_equal(loop_open(w.l), 0);
		errand_end(&w);
	}
}

/* ---- when not ---- */

static void traced_it_has_pipes(void **state)
{
	int fd = begin_with(&(struct errand_setup){ .many = true, .trace = true }, AF_INET, "read x; echo got $x");

	(void)state;
	errand_log(&w, "open c7.bound:7 c7.open");
	errand_say(fd, "it\n");
	errand_until(&w, fd, "got it\n");
	errand_log(&w, "data:3 c7.data:7 c7.eof c7.gone:7:0/0 fini");
	close(fd);
	errand_end(&w);
}

static void what_was_read_already_makes_it_pipes(void **state)
{
	int fd = begin(true, 0, "cat");

	(void)state;
	on_data = true;
	fd = errand_client(&w, AF_INET);
	errand_say(fd, "1234"); /* of which the step takes one */
	errand_until(&w, fd, "234");
	errand_log(&w, "open data:4 c7.bound:7 c7.open data:3 c7.data:3");
	shutdown(fd, SHUT_WR);
	errand_until_end(&w, fd);
	close(fd);
	errand_end(&w);
}

static void all_of_it_taken_it_can_be_given(void **state)
{
	int fd = begin(true, 0, "cat");

	(void)state;
	on_data = true;
	fd = errand_client(&w, AF_INET);
	errand_say(fd, "1");
	errand_log(&w, "open data:1 c7.bound:7 c7.open");
	errand_say(fd, "234");
	errand_until(&w, fd, "234");
	shutdown(fd, SHUT_WR);
	errand_until_end(&w, fd);
	errand_log(&w, "c7.gone:7:0/0 fini");
	assert_int_equal(stat_of(STAT_BYTES_IN), 4);
	close(fd);
	errand_end(&w);
}

static void what_is_queued_goes_first(void **state)
{
	int fd = begin(true, 0, "echo then");

	(void)state;
	greeting = "first ";
	fd = errand_client(&w, AF_INET);
	errand_until(&w, fd, "first then\n");
	errand_until_end(&w, fd);
	errand_log(&w, "open c7.bound:7 c7.open c7.gone:7:0/0 fini");
	close(fd);
	errand_end(&w);
}

static enum verdict ask_too_much(const struct ev *ev, struct io *io)
{
	static char words[CHAN_BODY];
	const char *const argv[] = { "sh", "-c", memset(words, 'x', sizeof(words) - 1), NULL };

	if (ev->kind != EV_OPEN)
		return give(ev, io);
	io_child(io, TAG,
		 &(struct child){ .kind = CHILD_EXEC,
				  .exec = &(struct exec){ .path = "/bin/sh", .argv = argv, .give = true } });
	return V_GO;
}

/* It was given away, and nobody has taken it: it is open, and ours. */
static void what_is_too_long_to_ask_for_gives_it_back(void **state)
{
	int fd = begin(true, 0, "");

	(void)state;
	toy_reset(ask_too_much);
	toy.exits = true;
	stay = true;
	fd = errand_client(&w, AF_INET);
	errand_log(&w, "open c7.gone:7:-7");
	errand_say(fd, "hello");
	errand_until(&w, fd, "hello");
	shutdown(fd, SHUT_WR);
	errand_until_end(&w, fd);
	close(fd);
	errand_end(&w);
}

static void what_does_not_run_gives_it_back(void **state)
{
	int fd = begin(true, 0, "exit");

	(void)state;
	farewell = "sorry\n";
	w.door.user = (struct spawn_user){ 0, 0 }; /* who may not */
	fd = errand_client(&w, AF_INET);
	errand_until(&w, fd, "sorry\n");
	errand_until_end(&w, fd);
	errand_log(&w, "open c7.gone:7:-1 fini");
	close(fd);
	errand_end(&w);
}

/* ---- back again ---- */

static void the_conversation_goes_on(void **state)
{
	(void)state;
	for (int many = 0; many < 2; many++) {
		int fd = begin(many, 0, "read x; echo you said $x");

		stay = true;
		farewell = "bye\n";
		fd = errand_client(&w, AF_INET);
		errand_say(fd, "a\n");
		errand_until(&w, fd, "you said a\nbye\n");
		errand_say(fd, "b"); /* now it is an echo */
		errand_until(&w, fd, "b");
		shutdown(fd, SHUT_WR);
		errand_until_end(&w, fd);
		errand_log(&w, "open c7.bound:7 c7.open c7.gone:7:0/0 data:1 eof fini");
		assert_int_equal(stat_of(STAT_BYTES_IN), 3);
		assert_int_equal(stat_of(STAT_BYTES_OUT), 11 + 4 + 1);
		close(fd);
		errand_end(&w);
	}
}

/* Who has left the group holds the connection too; the client sees its end all the same. */
static void who_stays_behind_does_not_keep_it(void **state)
{
	pid_t pid;
	int fd = begin(true, AF_INET, "setsid sleep 1000 & echo $!");

	(void)state;
	pid = errand_until_pid(&w, fd);
	errand_until_end(&w, fd);
	close(fd);
	for (int i = 0; i < 5; i++)
		errand_turn(&w);
	assert_int_equal(loop_open(w.l), 0);
	if (kill(pid, SIGKILL) == 0)
		errand_gone(pid);
	errand_end(&w);
}

static void the_server_stops(void **state)
{
	(void)state;
	for (int many = 0; many < 2; many++) {
		int fd = begin(many, 0, "echo $$; exec sleep 1000");
		pid_t pid;

		farewell = "never";
		fd = errand_client(&w, AF_INET);
		pid = errand_until_pid(&w, fd);
		loop_stop(w.l);
		errand_until_end(&w, fd);
		assert_true(errand_gone(pid));
		errand_log(&w, "open c7.bound:7 c7.open stop fini");
		close(fd);
		errand_end(&w);
	}
}

static enum verdict end_it(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_TIMER)
		io_end(io, TAG);
	if (ev->kind == EV_OPEN && ev->chan)
		io_timer(io, 0, io->now + 200 * MSEC);
	return give(ev, io);
}

/* The end is known at once; the connection comes back when the command has none of it any more. */
static void cancelled(void **state)
{
	nsec asked;
	pid_t pid;
	int fd = begin(true, 0, "trap '' TERM; echo $$; while :; do sleep 0.1; done");

	(void)state;
	stay = true;
	farewell = "enough\n";
	toy.fn = end_it;
	fd = errand_client(&w, AF_INET);
	pid = errand_until_pid(&w, fd);
	errand_log(&w, "open c7.bound:7 c7.open timer:0 c7.gone:7:-125");
	asked = clock_mono();
	errand_until(&w, fd, "enough\n");
	assert_true(clock_mono() - asked >= 100 * MSEC); /* its grace */
	assert_true(errand_gone(pid));
	errand_say(fd, "echo");
	errand_until(&w, fd, "echo");
	close(fd);
	errand_log(&w, "data:4 eof fini");
	errand_end(&w);
}

static void the_spawner_dies(void **state)
{
	int status, fd = begin(true, AF_INET, "echo $$; exec sleep 1000");
	pid_t pid = errand_until_pid(&w, fd);
	char c;

	(void)state;
	kill(w.spawner, SIGKILL);
	assert_int_equal(waitpid(w.spawner, &status, 0), w.spawner);
	w.spawner = 0;
	assert_true(errand_gone(pid));
	errand_log(&w, "open c7.bound:7 c7.open fini");
	assert_int_equal(recv(fd, &c, 1, 0), -1); /* a reset: what it has is not the whole */
	assert_int_equal(errno, ECONNRESET);
	close(fd);
	errand_end(&w);
}

/* Whoever talks is not idle, though we see nothing of it; who does not is. */
static void idle(void **state)
{
	int fd = begin(true, 0, "for i in 1 2 3 4 5 6; do sleep 0.1; echo $i; done; exec sleep 1000");

	(void)state;
	w.svc.limits.idle = 300 * MSEC;
	fd = errand_client(&w, AF_INET);
	errand_until(&w, fd, "1\n2\n3\n4\n5\n6\n");
	errand_until_end(&w, fd);
	assert_int_equal(stat_of(STAT_IDLE), 1);
	close(fd);
	errand_end(&w);
}

static void the_loops_end(void **state)
{
	int fd = begin(true, AF_INET, "echo $$; exec sleep 1000");
	pid_t pid = errand_until_pid(&w, fd);

	(void)state;
	loop_free(&w.l);
	assert_true(errand_gone(pid));
	close(fd);
	errand_end(&w);
}

/* ---- calls that fail ---- */

#ifdef GUICHET_FAULTS
static int begin_nth(unsigned long n)
{
	return begin(n % 2, AF_INET, "echo well");
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
		cmocka_unit_test(the_command_has_the_connection),
		cmocka_unit_test(a_fin_is_no_reason),
		cmocka_unit_test(a_connection_that_breaks),
		cmocka_unit_test(traced_it_has_pipes),
		cmocka_unit_test(what_was_read_already_makes_it_pipes),
		cmocka_unit_test(all_of_it_taken_it_can_be_given),
		cmocka_unit_test(what_is_queued_goes_first),
		cmocka_unit_test(what_does_not_run_gives_it_back),
		cmocka_unit_test(what_is_too_long_to_ask_for_gives_it_back),
		cmocka_unit_test(the_conversation_goes_on),
		cmocka_unit_test(who_stays_behind_does_not_keep_it),
		cmocka_unit_test(the_server_stops),
		cmocka_unit_test(cancelled),
		cmocka_unit_test(the_spawner_dies),
		cmocka_unit_test(idle),
		cmocka_unit_test(the_loops_end),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(each_call_fails_once),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
