/* test_exec.c - commands as channels and children, over the memory driver: order of events, ends, what a copy of the request keeps. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "support/toy_stage.h"

enum { TAG = 7 };

static struct memconn *far;

static const struct exec cat = { .path = "/bin/cat", .argv = (const char *const[]){ "cat", "-u", NULL } };

/* What comes on one side goes to the other; the end too. x[0]: as a child with a protocol. */
static enum verdict hand_on(const struct ev *ev, struct io *io)
{
	struct io *of = toy_io(ev, io), *to = ev->chan ? io : io_chan(io, TAG);

	if (ev->kind == EV_OPEN && !ev->chan && !io->parent)
		io_child(io, TAG,
			 &(struct child){ .kind = CHILD_EXEC, .exec = &cat, .proto = toy.x[0] ? &toy2_proto : NULL });
	if (ev->kind == EV_DATA && to) {
		struct span in = in_peek(of);
		size_t room = out_room(to), n = in.n < room ? in.n : room;

		out_mem(to, in.p, n);
		in_take(of, n);
		io_hold(of, n < in.n);
	}
	if (ev->kind == EV_ROOM)
		io_hold(ev->chan ? io : io_chan(io, TAG), false);
	if (ev->kind == EV_EOF && to)
		out_eof(to);
	return ev->kind == EV_GONE ? V_CLOSE : V_GO;
}

static void begin(toy_fn *fn)
{
	start_world(fn, NULL);
	toy.exits = true;
	c = memconn_open(w, NULL);
	far = memdrive_child(w, 0);
}

static void a_command_speaks_and_ends(void **state)
{
	(void)state;
	begin(hand_on);
	assert_int_equal(memconn_kind(far), CHILD_EXEC);
	assert_string_equal(memconn_address(far), "/bin/cat -u");
	assert_log("open c7.bound:7 c7.open");
	memconn_sends(c, "typed");
	assert_out(far, "typed");
	memconn_sends(far, "answer");
	assert_out(c, "answer");
	assert_log("data:5 c7.data:6");
	memconn_eof(c);
	assert_true(memconn_fin(far));
	memconn_exits(far, 3, 0);
	assert_log("eof c7.eof c7.gone:7:0/3 fini");
	assert_ended(MEM_CLOSED, "");
}

/* Both pipes are closed, and it goes on: the end is the status. */
static void the_status_is_the_end(void **state)
{
	(void)state;
	begin(hand_on);
	memconn_eof(c);
	memconn_eof(far);
	assert_log("open c7.bound:7 c7.open eof c7.eof");
	assert_int_equal(memconn_end(c), MEM_FIN);
	memconn_exits(far, 0, SIGKILL);
	assert_log("c7.gone:7:0/signal 9 fini");
}

static void its_end_comes_after_its_last_byte(void **state)
{
	(void)state;
	begin(hand_on);
	memconn_window(c, 0); /* the client does not read: the command's words wait at their source */
	for (int i = 0; i < 4; i++)
		memconn_send(far, bytes, 60000, 0);
	buf_reset(&toy.log);
	memconn_exits(far, 1, 0);
	assert_log("");
	assert_true(memconn_queued(c) <= 2 * SESS_HIWAT);
	toy.quiet = true;
	memconn_window(c, MEM_NO_LIMIT);
	assert_int_equal(memconn_out(c).n, 240000);
	assert_ended(MEM_CLOSED, "");
}

static void what_it_does_not_read_is_lost(void **state)
{
	(void)state;
	begin(hand_on);
	memconn_window(far, 2);
	memconn_sends(c, "unread");
	assert_out(far, "un");
	memconn_sends(far, "enough");
	memconn_exits(far, 0, 0);
	assert_log("open c7.bound:7 c7.open data:6 c7.data:6 c7.eof c7.gone:7:0/0 fini");
	assert_out(c, "enough");
	assert_ended(MEM_CLOSED, "");
}

static enum verdict run_and_stay(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN && !ev->chan && !io->parent)
		io_child(io, TAG,
			 &(struct child){ .kind = CHILD_EXEC, .exec = &cat, .proto = toy.x[0] ? &toy2_proto : NULL });
	if (ev->kind == EV_DATA && !ev->chan)
		io_end(io, TAG);
	return toy_take(ev, io);
}

static void what_does_not_run(void **state)
{
	(void)state;
	start_world(run_and_stay, NULL);
	memdrive_dials(w, -ENOENT);
	c = memconn_open(w, NULL);
	assert_log("open c7.gone:7:-2");
	memdrive_dials(w, MEM_PENDING);
	c = memconn_open(w, NULL);
	memdrive_advance(w, 30 * SEC);
	assert_log("open c7.gone:7:-110");
	c = memconn_open(w, NULL);
	memconn_dialled(memdrive_child(w, 2), -EAGAIN);
	assert_log("open c7.gone:7:-11");
}

static void cancelled(void **state)
{
	(void)state;
	begin(run_and_stay);
	memconn_sends(c, "enough");
	assert_log("open c7.bound:7 c7.open data:6 c7.gone:7:-125");
	assert_int_equal(memconn_end(far), MEM_ABORTED);
	assert_int_equal(memconn_end(c), MEM_OPEN);
}

static void the_parents_end_ends_it(void **state)
{
	(void)state;
	begin(run_and_stay);
	memconn_eof(c);
	assert_log("open c7.bound:7 c7.open eof fini");
	assert_int_equal(memconn_end(far), MEM_ABORTED);
}

/* ---- with a protocol of its own ---- */

static void a_child_with_a_protocol(void **state)
{
	(void)state;
	start_world(run_and_stay, &(struct mem_setup){ .linger = 5 * SEC });
	toy.exits = true;
	toy.x[0] = 1;
	c = memconn_open(w, NULL);
	far = memdrive_child(w, 0);
	assert_log("open bound:7 2.open");
	memconn_sends(far, "said");
	memconn_exits(far, 4, 0);
	assert_log("2.data:4 2.eof 2.fini gone:7:0/4");
}

static enum verdict say_goodbye(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN)
		out_str(io, "bye");
	return V_CLOSE;
}

/* It has finished first, and waits for the status as long as for a FIN. */
static void a_child_that_has_finished(void **state)
{
	(void)state;
	for (int late = 0; late < 2; late++) {
		start_world(run_and_stay, &(struct mem_setup){ .linger = 5 * SEC });
		toy.exits = true;
		toy.x[0] = 1;
		toy.fn2 = say_goodbye;
		c = memconn_open(w, NULL);
		far = memdrive_child(w, 0);
		assert_out(far, "bye");
		assert_true(memconn_fin(far));
		assert_log("open bound:7 2.open");
		if (late)
			memdrive_advance(w, 5 * SEC);
		else
			memconn_exits(far, 6, 0);
		assert_log(late ? "2.fini gone:7:-125" : "2.fini gone:7:0/6");
		stop(NULL);
	}
	w = NULL;
}

/* ---- the request ---- */

static enum verdict ask_from_the_stack(const struct ev *ev, struct io *io)
{
	char word[16] = "word", path[16] = "/bin/echo";
	const char *argv[] = { "echo", word, NULL }, *envp[] = { word, NULL };
	struct exec_user user = { 1, 2 };
	struct exec e = { .path = path, .argv = argv, .envp = envp, .dir = path, .user = &user };

	if (ev->kind == EV_OPEN && !ev->chan)
		io_child(io, TAG, &(struct child){ .kind = CHILD_EXEC, .exec = &e });
	memset(word, 'x', sizeof(word));
	memset(path, 'x', sizeof(path));
	argv[1] = NULL;
	return V_GO;
}

static void what_was_asked_is_a_copy(void **state)
{
	(void)state;
	begin(ask_from_the_stack);
	assert_string_equal(memconn_address(far), "/bin/echo word");
}

static void a_copy_has_everything(void **state)
{
	const struct exec_user user = { 5, 6 };
	const struct exec e = {
		.path = "/p",
		.argv = (const char *const[]){ "a", "", "c", NULL },
		.envp = (const char *const[]){ "X=1", NULL },
		.dir = "/d",
		.user = &user,
		.errors = true,
		.give = true,
		.grace = 9,
	};
	struct exec *k = exec_copy(&e), *bare = exec_copy(&(struct exec){});

	(void)state;
	assert_non_null(k);
	assert_true(k->path != e.path && k->argv != e.argv && k->envp != e.envp && k->user != &user);
	assert_string_equal(k->path, "/p");
	assert_string_equal(k->dir, "/d");
	assert_string_equal(k->argv[0], "a");
	assert_string_equal(k->argv[1], "");
	assert_string_equal(k->argv[2], "c");
	assert_null(k->argv[3]);
	assert_string_equal(k->envp[0], "X=1");
	assert_null(k->envp[1]);
	assert_true(k->user->uid == 5 && k->user->gid == 6 && k->errors && k->give && k->grace == 9);
	assert_non_null(bare);
	assert_true(!bare->path && !bare->dir && !bare->argv[0] && !bare->envp && !bare->user);
	mem_free(k);
	mem_free(bare);
}

static enum verdict ask_for_nothing(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN && !ev->chan) {
		io_child(io, 1, &(struct child){ .kind = CHILD_EXEC });
		io_child(io, 2, &(struct child){ .kind = CHILD_EXEC, .exec = &(struct exec){ .path = "/bin/true" } });
	}
	return V_GO;
}

static void nothing_to_run(void **state)
{
	(void)state;
	start(ask_for_nothing, NULL);
	assert_log("open c1.gone:1:-22 c2.gone:2:-22");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_command_speaks_and_ends, stop),
		cmocka_unit_test_teardown(the_status_is_the_end, stop),
		cmocka_unit_test_teardown(its_end_comes_after_its_last_byte, stop),
		cmocka_unit_test_teardown(what_it_does_not_read_is_lost, stop),
		cmocka_unit_test_teardown(what_does_not_run, stop),
		cmocka_unit_test_teardown(cancelled, stop),
		cmocka_unit_test_teardown(the_parents_end_ends_it, stop),
		cmocka_unit_test_teardown(a_child_with_a_protocol, stop),
		cmocka_unit_test_teardown(a_child_that_has_finished, stop),
		cmocka_unit_test_teardown(what_was_asked_is_a_copy, stop),
		cmocka_unit_test(a_copy_has_everything),
		cmocka_unit_test_teardown(nothing_to_run, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
