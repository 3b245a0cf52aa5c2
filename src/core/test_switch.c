/*
 * test_switch.c - one protocol becomes another (io_become): a fresh self, and nothing that the old one left outstanding. Rule 11 of
 * docs/design/contract.md.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "support/toy_stage.h"

static int runs, drops;

static void begin(toy_fn *fn, const struct mem_setup *setup)
{
	runs = drops = 0;
	start(fn, setup);
}

/* ---- what goes over ---- */

static enum verdict switch_at_bang(const struct ev *ev, struct io *io)
{
	struct span in = in_peek(io);
	struct blob *arg;

	if (ev->kind != EV_DATA || in.p[0] != '!')
		return toy_take(ev, io);
	assert_true(toy.self->steps > 0);
	in_take(io, 1);
	out_str(io, "switching\n");
	arg = blob_new(&(struct span){ (const uint8_t *)"hello", 5 }, 1);
	io_become(io, &toy2_proto, arg, (enum leftover)toy.x[0]);
	blob_unref(arg);
	return V_GO;
}

static enum verdict look_at_arg(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN) {
		assert_int_equal(toy.self->steps, 1); /* it is a fresh one */
		assert_true(span_is(blob_span(ev->arg), "hello"));
	}
	return toy_echo(ev, io);
}

static void what_was_read_is_fed_on(void **state)
{
	(void)state;
	for (size_t k = 1; k < 7; k++) {
		begin(switch_at_bang, NULL);
		toy.x[0] = LEFT_FEED;
		toy.fn2 = look_at_arg;
		memconn_send(c, "!abcdef", 7, k);
		assert_true(span_is(memconn_out(c), "switching\nabcdef"));
		memconn_eof(c);
		assert_ended(MEM_CLOSED, "");
		stop(NULL);
	}
	w = NULL;
}

static void the_order_of_events(void **state)
{
	(void)state;
	begin(switch_at_bang, NULL);
	toy.x[0] = LEFT_FEED;
	memconn_sends(c, "!abc");
	assert_log("open data:4 fini 2.open 2.data:3");
	memconn_eof(c);
	assert_log("2.eof 2.fini");
}

static void what_was_read_is_refused(void **state)
{
	(void)state;
	begin(switch_at_bang, NULL);
	toy.x[0] = LEFT_REJECT;
	memconn_sends(c, "!");
	assert_log("open data:1 fini 2.open");
	memdrive_free(&w);
	begin(switch_at_bang, NULL);
	toy.x[0] = LEFT_REJECT;
	memconn_sends(c, "!abc");
	assert_log("open data:4 fini");
	assert_ended(MEM_ABORTED, "early-data");
}

static enum verdict become_at_eof(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_EOF || (ev->kind == EV_DATA && io->eof))
		io_become(io, &toy2_proto, NULL, LEFT_FEED);
	return V_GO;
}

static void the_new_one_learns_of_the_eof(void **state)
{
	(void)state;
	begin(become_at_eof, NULL);
	memconn_eof(c);
	assert_log("open eof fini 2.open 2.eof 2.fini");
	assert_ended(MEM_CLOSED, "");
}

static void the_new_one_sees_the_bytes_before_the_eof(void **state)
{
	(void)state;
	begin(become_at_eof, NULL);
	memconn_sends(c, "abc");
	memconn_eof(c);
	assert_log("open data:3 data:3! fini 2.open 2.data:3! 2.eof 2.fini");
}

static enum verdict become_and_close(const struct ev *ev, struct io *io)
{
	if (ev->kind != EV_DATA)
		return V_GO;
	io_become(io, &toy2_proto, NULL, LEFT_FEED);
	return V_CLOSE;
}

static void closing_comes_before_becoming(void **state)
{
	(void)state;
	begin(become_and_close, NULL);
	memconn_sends(c, "x");
	assert_log("open data:1 fini");
	assert_ended(MEM_CLOSED, "");
}

static enum verdict change_twice(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN || ev->kind == EV_DATA)
		io_become(io, toy.x[0]++ % 2 ? &toy_proto : &toy2_proto, NULL, LEFT_FEED);
	return toy.x[0] > 5 ? V_CLOSE : V_GO;
}

static void becoming_at_the_first_event(void **state)
{
	(void)state;
	toy_reset(change_twice);
	toy.fn2 = change_twice;
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy_proto }, &w, NULL), 0);
	c = memconn_open(w, NULL);
	assert_log("open fini 2.open 2.fini open fini 2.open 2.fini open fini 2.open 2.fini");
	assert_ended(MEM_CLOSED, "");
}

/* ---- what does not ---- */

/* Holds, needs, caps, times; then becomes at the post. */
static enum verdict leave_settings(const struct ev *ev, struct io *io)
{
	switch (ev->kind) {
	case EV_OPEN:
		for (unsigned i = 0; i < PROTO_TIMERS; i++)
			io_timer(io, i, io->now + (i + 1) * SEC);
		in_cap(io, 100000);
		return V_GO;
	case EV_DATA:
		in_need(io, 5000);
		io_hold(io, true);
		return V_GO;
	case EV_MSG:
		io_become(io, &toy2_proto, NULL, LEFT_FEED);
		return V_GO;
	default:
		return V_GO;
	}
}

static void settings_are_the_old_ones(void **state)
{
	(void)state;
	begin(leave_settings, &(struct mem_setup){ .input = 1000 });
	memconn_sends(c, "abc");
	memdrive_post(w, 0, memconn_id(c), 1, toy_mail("go"));
	assert_log("open data:3 msg:1 fini 2.open 2.data:3");
	assert_int_equal(memdrive_next(w), 0);
	assert_int_equal(memconn_sess(c)->cap, 1000);
}

static enum verdict leave_jobs(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN)
		io_job(io, 1, toy_job(0, &runs, &drops));
	if (ev->kind == EV_DATA) {
		in_take(io, SIZE_MAX);
		io_job(io, 2, toy_job(0, &runs, &drops)); /* asked for in the very step */
		io_become(io, &toy2_proto, NULL, LEFT_FEED);
	}
	return V_GO;
}

static enum verdict own_job(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN)
		io_job(io, 1, toy_job(0, &runs, &drops)); /* the same tag as the old one's */
	return toy_take(ev, io);
}

static void results_of_old_jobs_are_dropped(void **state)
{
	(void)state;
	begin(leave_jobs, NULL);
	toy.fn2 = own_job;
	memdrive_free(&w);
	assert_int_equal(drops, 1);

	begin(leave_jobs, NULL);
	toy.fn2 = own_job;
	memdrive_hold_jobs(w, true);
	memconn_sends(c, "x");
	assert_int_equal(memdrive_run_jobs(w, 10), 1); /* the others were cancelled */
	assert_int_equal(drops, 3);
	assert_log("open done:1:0 data:1 fini 2.open 2.done:1:0");
}

static void a_result_that_comes_too_late_is_dropped(void **state)
{
	struct job *j;

	(void)state;
	begin(leave_jobs, NULL);
	toy.fn2 = toy_take;
	memconn_sends(c, "x");
	assert_log("open done:1:0 data:1 fini 2.open");
	/* it ran in another thread meanwhile, and could not be cancelled */
	j = toy_job(0, &runs, &drops);
	sess_answer(memconn_sess(c), &(struct ev){ .kind = EV_DONE, .tag = 2, .job = j }, 0);
	assert_log("");
	sess_answer(memconn_sess(c), &(struct ev){ .kind = EV_DONE, .tag = 2, .job = j }, 1);
	assert_log("2.done:2:0");
	j->drop(j);
}

/* A channel, a child session, and a channel asked for in the very step of the switch. */
static enum verdict leave_children(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN && !io->parent && !ev->chan) {
		io_child(io, 1, &(struct child){ .kind = CHILD_CONNECT, .address = "tcp:192.0.2.1:80" });
		io_child(io, 2,
			 &(struct child){
				 .kind = CHILD_CONNECT, .address = "tcp:192.0.2.1:81", .proto = &toy_full_proto });
	}
	if (ev->kind == EV_DATA && !ev->chan) {
		in_take(io, SIZE_MAX);
		io_child(io, 3, &(struct child){ .kind = CHILD_CONNECT, .address = "tcp:192.0.2.1:82" });
		io_become(io, &toy2_proto, NULL, LEFT_FEED);
	}
	return V_GO;
}

static enum verdict own_child(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN && !ev->chan) {
		assert_null(io_chan(io, 1)); /* not of this one */
		io_child(io, 1, &(struct child){ .kind = CHILD_CONNECT, .address = "tcp:192.0.2.1:83" });
	}
	return toy_take(ev, io);
}

static void old_children_end(void **state)
{
	(void)state;
	begin(leave_children, NULL);
	assert_log("open c1.open open");
	memconn_sends(memdrive_child(w, 0), "for the old one");
	assert_log("c1.data:15");
	memconn_sends(c, "x");
	assert_log("data:1 fini 2.open fini");
	assert_int_equal(memconn_end(memdrive_child(w, 0)), MEM_ABORTED);
	assert_int_equal(memconn_end(memdrive_child(w, 1)), MEM_ABORTED);
	assert_int_equal(memdrive_children(w), 2); /* the third was never begun */
}

/* Even before the driver has ended it, an old channel says nothing to the new protocol. */
static void an_old_channel_is_nobodys(void **state)
{
	struct sess *old;

	(void)state;
	begin(leave_children, NULL);
	old = memconn_sess(memdrive_child(w, 0));
	assert_log("open c1.open open");
	memdrive_auto(w, false);
	sess_event(memconn_sess(c), &(struct ev){ .kind = EV_DATA });
	assert_log("data:0 fini 2.open");
	sess_event(old, &(struct ev){ .kind = EV_ROOM });
	sess_reof(old, 0);
	assert_log("");
	memdrive_auto(w, true);
	assert_log("fini");
}

static void a_new_channel_of_the_same_tag(void **state)
{
	(void)state;
	begin(leave_children, NULL);
	toy.fn2 = own_child;
	memconn_sends(c, "x");
	assert_log("open c1.open open data:1 fini 2.open fini 2.c1.open");
	assert_int_equal(memconn_end(memdrive_child(w, 0)), MEM_ABORTED);
	assert_int_equal(memconn_end(memdrive_child(w, 2)), MEM_OPEN);
	memconn_sends(memdrive_child(w, 2), "hi");
	assert_log("2.c1.data:2");
}

static enum verdict reply_asked(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA) {
		in_take(io, SIZE_MAX);
		io_post(io, 0x123456789, 7, toy_mail("x"), POST_REPLY);
		io_become(io, &toy2_proto, NULL, LEFT_FEED);
	}
	return V_GO;
}

static void replies_to_old_letters_are_dropped(void **state)
{
	(void)state;
	begin(reply_asked, NULL);
	memconn_sends(c, "x");
	assert_log("open data:1 fini 2.open");
}

static enum verdict write_at_the_end(const struct ev *ev, struct io *io)
{
	(void)ev;
	out_str(io, "never");
	io_hold(io, true);
	io_timer(io, 1, io->now);
	return V_GO;
}

static void the_old_one_cannot_write_at_its_end(void **state)
{
	(void)state;
	begin(switch_at_bang, NULL);
	toy.fini = write_at_the_end;
	toy.x[0] = LEFT_FEED;
	memconn_sends(c, "!abc");
	assert_log("open data:4 fini 2.open 2.data:3");
	assert_true(span_is(memconn_out(c), "switching\n"));
	assert_int_equal(memdrive_next(w), 0);
}

/* ---- with a layer: Upgrade to frames, spoken by another protocol ---- */

static enum verdict upgrade(const struct ev *ev, struct io *io)
{
	if (ev->kind != EV_DATA)
		return toy_take(ev, io);
	in_take(io, 1);
	out_str(io, "101\n");
	io_layer(io, &toy_frame, toy_layer_arg(0, 0), LEFT_FEED);
	io_become(io, &toy2_proto, NULL, LEFT_FEED);
	return V_GO;
}

static enum verdict greet(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN)
		out_str(io, "hi");
	return toy_echo(ev, io);
}

static void upgrade_and_become(void **state)
{
	static const char sent[] = "Ud\0\3abcd\0\2dec";

	(void)state;
	for (size_t k = 1; k < sizeof(sent); k++) {
		begin(upgrade, NULL);
		toy.fn2 = greet;
		toy.quiet = true;
		memconn_send(c, sent, sizeof(sent) - 1, k);
		assert_true(span_starts(memconn_out(c), "101\nd"));
		memconn_take(c, 4);

		BUF_AUTO struct buf b = BUF_INIT(100);

		toy_unframe(memconn_out(c), &b);
		assert_string_equal(buf_str(&b), "hiabcdec");
		assert_ended(MEM_CLOSED, "");
		stop(NULL);
	}
	w = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(what_was_read_is_fed_on, stop),
		cmocka_unit_test_teardown(the_order_of_events, stop),
		cmocka_unit_test_teardown(what_was_read_is_refused, stop),
		cmocka_unit_test_teardown(the_new_one_learns_of_the_eof, stop),
		cmocka_unit_test_teardown(the_new_one_sees_the_bytes_before_the_eof, stop),
		cmocka_unit_test_teardown(closing_comes_before_becoming, stop),
		cmocka_unit_test_teardown(becoming_at_the_first_event, stop),
		cmocka_unit_test_teardown(settings_are_the_old_ones, stop),
		cmocka_unit_test_teardown(results_of_old_jobs_are_dropped, stop),
		cmocka_unit_test_teardown(a_result_that_comes_too_late_is_dropped, stop),
		cmocka_unit_test_teardown(old_children_end, stop),
		cmocka_unit_test_teardown(an_old_channel_is_nobodys, stop),
		cmocka_unit_test_teardown(a_new_channel_of_the_same_tag, stop),
		cmocka_unit_test_teardown(replies_to_old_letters_are_dropped, stop),
		cmocka_unit_test_teardown(the_old_one_cannot_write_at_its_end, stop),
		cmocka_unit_test_teardown(upgrade_and_become, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
