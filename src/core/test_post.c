/*
 * test_post.c - what comes from elsewhere: jobs, letters between sessions, the shard and its port; and the ids by which they are
 * addressed. Rules 3 and 6 of docs/design/contract.md, and its posts and shards.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "core/ids.h"
#include "core/proto_child.h"
#include "support/toy_stage.h"

static int runs, drops;

static void begin(toy_fn *fn, const struct mem_setup *setup)
{
	runs = drops = 0;
	start(fn, setup);
}

/* ---- 6: jobs ---- */

/* j: a job; e: the same, failing; x: cancels it. Tag 5. */
static enum verdict jobs(const struct ev *ev, struct io *io)
{
	struct span in = in_peek(io);

	if (ev->kind == EV_DONE)
		toy.x[0] = (uint64_t)-ev->job->err;
	for (size_t i = 0; ev->kind == EV_DATA && i < in.n; i++) {
		if (in.p[i] == 'x')
			io_end(io, 5);
		else
			io_job(io, 5, toy_job(in.p[i] == 'e' ? -EIO : 0, &runs, &drops));
	}
	return toy_take(ev, io);
}

static void a_job_and_its_result(void **state)
{
	(void)state;
	begin(jobs, NULL);
	memconn_sends(c, "j");
	assert_log("open data:1 done:5:0");
	memconn_sends(c, "e");
	assert_log("data:1 done:5:-5");
	assert_int_equal(toy.x[0], EIO);
	assert_int_equal(runs, 2);
	assert_int_equal(drops, 2);
}

static void jobs_finish_in_the_order_they_may(void **state)
{
	(void)state;
	begin(jobs, NULL);
	memdrive_hold_jobs(w, true);
	memconn_sends(c, "jej");
	assert_int_equal(memdrive_jobs(w), 3);
	assert_log("open data:3");
	assert_int_equal(memdrive_run_jobs(w, 2), 2);
	assert_log("done:5:0 done:5:-5");
	memdrive_hold_jobs(w, false);
	assert_log("done:5:0");
}

static void a_cancelled_job_says_so(void **state)
{
	(void)state;
	begin(jobs, NULL);
	memdrive_hold_jobs(w, true);
	memconn_sends(c, "jx");
	assert_log("open data:2 done:5:-125");
	assert_int_equal(runs, 0);
	assert_int_equal(drops, 1);
}

static void a_job_outlives_its_session(void **state)
{
	(void)state;
	begin(jobs, NULL);
	memdrive_hold_jobs(w, true);
	memconn_sends(c, "j");
	memconn_reset(c);
	assert_log("open data:1 eof:-104 fini");
	assert_int_equal(drops, 0);
	memdrive_run_jobs(w, 1);
	assert_int_equal(drops, 1);
	assert_log("");
}

static enum verdict job_then_abort(const struct ev *ev, struct io *io)
{
	if (ev->kind != EV_DATA)
		return V_GO;
	io_job(io, 1, toy_job(0, &runs, &drops));
	io_child(io, 2, &(struct child){ .kind = CHILD_CONNECT, .address = "tcp:192.0.2.1:80" });
	io_post(io, io->self, 3, toy_mail("x"), POST_REPLY);
	return V_ABORT;
}

static void effects_of_the_last_step(void **state)
{
	(void)state;
	begin(job_then_abort, NULL);
	memconn_sends(c, "x");
	assert_log("open data:1 fini");
	assert_int_equal(drops, 1);
	assert_true(memdrive_run(w));
}

/* A waiting job and hold: the way every blocking verb is written. */
static enum verdict verb(const struct ev *ev, struct io *io)
{
	struct span line;

	if (ev->kind == EV_DONE) {
		out_fmt(io, "%d\n", ev->err);
		io_hold(io, false);
		return V_GO;
	}
	if (ev->kind == EV_DATA && in_line(io, 100, &line) == 1) {
		io_job(io, 1, toy_job((int)line.n, NULL, NULL));
		io_hold(io, true);
	}
	return ev->kind == EV_EOF ? V_CLOSE : V_GO;
}

static void pipelined_verbs_wait_for_each_other(void **state)
{
	static const char text[] = "a\nbb\nccc\ndddd";

	(void)state;
	for (size_t k = 1; k < sizeof(text); k++) {
		begin(verb, NULL);
		memconn_send(c, text, sizeof(text) - 1, k);
		memconn_eof(c);
		assert_true(span_is(memconn_out(c), "1\n2\n3\n4\n"));
		assert_int_equal(memconn_end(c), MEM_CLOSED);
		stop(NULL);
	}
	w = NULL;
}

/* ---- letters ---- */

static sess_id target;

/* Each byte is a letter to `target`, r: with POST_REPLY. */
static enum verdict poster(const struct ev *ev, struct io *io)
{
	struct span in = in_peek(io);

	for (size_t i = 0; ev->kind == EV_DATA && i < in.n; i++)
		io_post(io, target, in.p[i], toy_mail("letter"), in.p[i] == 'r' ? POST_REPLY : 0);
	return toy_take(ev, io);
}

/* Keeps the second of each array. */
static struct blob *kept;

static enum verdict reader(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_MSG) {
		for (size_t i = 0; i < ev->mail.n; i++) {
			assert_true(ev->mail.v[i].from != 0);
			out_fmt(io, "%c", (int)ev->mail.v[i].tag);
		}
		if (ev->mail.n > 1) {
			blob_unref(kept);
			kept = blob_of_mail(ev->mail.v[1].mail);
			ev->mail.v[1].mail = NULL;
		}
	}
	return poster(ev, io);
}

static void letters_come_as_one_array_in_order(void **state)
{
	struct memconn *to;

	(void)state;
	begin(reader, NULL);
	to = memconn_open(w, NULL);
	target = memconn_id(to);
	kept = NULL;
	memconn_sends(c, "abcdefghij");
	assert_log("open open data:10 msg:10");
	assert_true(span_is(memconn_out(to), "abcdefghij"));
	assert_true(span_is(blob_span(kept), "letter")); /* what was taken lives on */
	blob_unref(kept);
}

static void letters_of_one_turn_come_together(void **state)
{
	struct memconn *to, *other;

	(void)state;
	begin(poster, NULL);
	to = memconn_open(w, NULL);
	other = memconn_open(w, NULL);
	target = memconn_id(to);
	assert_log("open open open");
	memdrive_auto(w, false);
	memconn_sends(c, "ab");
	memconn_sends(other, "cd");
	memdrive_auto(w, true);
	assert_log("data:2 data:2 msg:4");
}

static void a_letter_to_oneself_comes_with_the_next_turn(void **state)
{
	(void)state;
	begin(poster, NULL);
	target = memconn_id(c);
	memconn_sends(c, "ab");
	assert_log("open data:2 msg:2");
}

static void nobody_there(void **state)
{
	(void)state;
	begin(poster, NULL);
	target = memconn_id(memconn_open(w, NULL)) + 1; /* another generation of that slot */
	memconn_sends(c, "ar");
	assert_log("open open data:2 gone:114:-3");
	target = 0;
	memconn_sends(c, "r");
	assert_log("data:1 gone:114:-3");
	target = (sess_id)77 << 48 | 1;
	memconn_sends(c, "a");
	assert_log("data:1");
}

static void a_stale_id_is_nobody(void **state)
{
	struct memconn *to;

	(void)state;
	begin(poster, NULL);
	to = memconn_open(w, NULL);
	target = memconn_id(to);
	memconn_reset(to);
	assert_log("open open eof:-104 fini");
	to = memconn_open(w, NULL);
	assert_log("open");
	memconn_sends(c, "ar");
	assert_log("data:2 gone:114:-3");
}

/* It ends before it takes what is in its box: whoever waits for an answer must be told. */
static enum verdict close_at_bang(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA && in_peek(io).p[0] == '!') {
		out_str(io, "bye");
		return V_CLOSE;
	}
	return poster(ev, io);
}

static struct memconn *start_closing(size_t window, nsec linger)
{
	struct memconn *to;

	begin(close_at_bang, &(struct mem_setup){ .linger = linger });
	to = memconn_open(w, NULL);
	target = memconn_id(to);
	memconn_window(to, window);
	assert_log("open open");
	return to;
}

static void a_closing_session_takes_no_letters(void **state)
{
	struct memconn *to;

	(void)state;
	to = start_closing(0, 0); /* it cannot say its last words */
	memconn_sends(to, "!");
	memconn_sends(c, "ra");
	assert_log("data:1 data:2 gone:114:-3");
	memconn_window(to, 3);
	assert_true(span_is(memconn_out(to), "bye")); /* and yet they are said */
	assert_int_equal(memconn_end(to), MEM_CLOSED);
	stop(NULL);

	to = start_closing(10, SEC); /* it only waits for the peer's FIN */
	memconn_sends(to, "!");
	assert_int_equal(memconn_end(to), MEM_FIN);
	memconn_sends(c, "r");
	assert_log("data:1 data:1 gone:114:-3");
}

static void a_letter_that_was_never_taken_comes_back(void **state)
{
	struct memconn *to;

	(void)state;
	to = start_closing(0, 0);
	memdrive_auto(w, false);
	memconn_sends(c, "ra");
	memdrive_turn(w); /* it is in the mailbox */
	sess_abort(memconn_sess(to), "test", STAT_ERRORS);
	memdrive_auto(w, true);
	assert_log("data:2 fini gone:114:-3");
	assert_string_equal(memconn_reason(to), "test");
}

static enum verdict last_words(const struct ev *ev, struct io *io)
{
	(void)ev;
	io_post(io, target, 9, toy_mail("I am gone"), 0);
	out_str(io, "nobody hears it");
	return V_GO;
}

static void fini_may_post(void **state)
{
	struct memconn *to;

	(void)state;
	begin(toy_take, NULL);
	to = memconn_open(w, NULL);
	target = memconn_id(c);
	toy.fini = last_words;
	memconn_reset(to);
	assert_log("open open eof:-104 fini msg:1");
	toy.fini = NULL;
}

static void mail_from_a_port_has_no_sender(void **state)
{
	(void)state;
	begin(toy_take, NULL);
	memdrive_post(w, 0, memconn_id(c), 4, toy_mail("x"));
	assert_log("open msg:1");
	memdrive_post(w, 0, memconn_id(c), 4, NULL); /* a tag can be all there is to say */
	assert_log("msg:1");
}

/* ---- shards and ports ---- */

static enum verdict use_shard(const struct ev *ev, struct io *io)
{
	struct port *port = io->svc->port;

	if (ev->kind == EV_OPEN) {
		++((struct toy_self *)io->shard)->n; /* the same loop: no lock, no post */
		assert_int_equal(port_here(port, io), 0);
		assert_int_equal(port_loops(port), 3);
	}
	if (ev->kind == EV_DATA) {
		port_post(port, 0, 1, toy_mail("here"));
		port_post(port, 1, 2, toy_mail("there"));
		port_post(port, 2, 3, toy_mail("and there"));
		port_post(port, 3, 4, toy_mail("nowhere"));
	}
	return toy_take(ev, io);
}

static enum verdict shard(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN) {
		assert_null(io->peer);
		io_timer(io, 0, io->now + 5 * SEC);
		io_job(io, 8, toy_job(0, &runs, &drops));
	}
	if (ev->kind == EV_TIMER)
		assert_int_equal(toy.self->n, 2);
	if (ev->kind == EV_MSG)
		out_str(io, "a shard has no connection");
	return V_GO;
}

static void a_shard_is_a_session_without_a_connection(void **state)
{
	struct mem_away away;

	(void)state;
	toy_reset(use_shard);
	toy.shard = shard;
	assert_int_equal(
		memdrive_new(&(struct mem_setup){ .proto = &toy_shard_proto, .loops = 3, .idle = SEC }, &w, NULL), 0);
	assert_log("s.open s.done:8:0");
	c = memconn_open(w, NULL);
	assert_non_null(memconn_open(w, NULL));
	memconn_sends(c, "x");
	assert_log("open open data:1 s.msg:1");
	assert_int_equal(memdrive_away(w, &away), 1);
	assert_int_equal(away.loop, 1);
	mail_drop(away.mail);
	assert_int_equal(memdrive_away(w, &away), 1);
	assert_int_equal(away.tag, 3);
	mail_drop(away.mail);
	assert_int_equal(memdrive_away(w, &away), 0);
	memdrive_shard_post(w, 6, toy_mail("from a thread"));
	assert_log("s.msg:1");
	memdrive_advance(w, 5 * SEC); /* idle is not for it */
	assert_log("fini fini s.timer:0");
	memdrive_stop(w);
	assert_log("s.stop");
}

static enum verdict dialling_shard(const struct ev *ev, struct io *io)
{
	const struct child far = { .proto = &toy2_proto, .kind = CHILD_CONNECT, .address = "tcp:192.0.2.1:99" };

	if (ev->kind == EV_OPEN || (ev->kind == EV_GONE && ev->err == -ECONNREFUSED))
		io_child(io, 9, &far);
	if (ev->kind == EV_RELOAD)
		io_end(io, 9);
	return V_GO;
}

static enum verdict dialled(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN) {
		assert_ptr_equal(io->svc->proto, &toy_shard_proto);
		assert_non_null(io->shard);
		out_str(io, "hello");
	}
	return toy_take(ev, io);
}

static void begin_dialling(void)
{
	toy_reset(NULL);
	toy.shard = dialling_shard;
	toy.fn2 = dialled;
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy_shard_proto }, &w, NULL), 0);
	assert_log("s.open 2.open");
}

static void a_shard_connects_to_others(void **state)
{
	(void)state;
	begin_dialling();
	c = memdrive_child(w, 0);
	assert_string_equal(memconn_address(c), "tcp:192.0.2.1:99");
	assert_true(span_is(memconn_out(c), "hello"));
	memconn_sends(c, "x");
	memconn_eof(c);
	assert_log("2.data:1 2.eof 2.fini s.gone:9:0");
	memdrive_dials(w, MEM_PENDING);
	memdrive_free(&w);
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy_shard_proto }, &w, NULL), 0);
	memdrive_dials(w, 0);
	assert_log("s.open 2.open");
	memdrive_reload(w, NULL); /* it hears of it, and ends what it has opened */
	assert_log("s.reload 2.fini s.gone:9:-125");
	memdrive_stop(w);
	assert_log("s.stop");
}

static void its_connections_end_before_it(void **state)
{
	(void)state;
	begin_dialling();
	memdrive_free(&w);
	assert_log("2.fini s.gone:9:-125");
}

/* ---- 3: ids ---- */

static void ids_are_reused_as_late_as_possible(void **state)
{
	static sess_id id[64];
	struct ids t;
	sess_id first, last = 0;
	int owner;

	(void)state;
	ids_init(&t, 5);
	for (int i = 0; i < 64; i++) {
		assert_int_equal(ids_take(&t, &id[i], &id[i]), 0);
		assert_int_equal(id_loop(id[i]), 5);
		assert_true(id[i] != 0);
	}
	assert_int_equal(t.used, 64);
	for (int i = 0; i < 64; i++)
		assert_ptr_equal(ids_find(&t, id[i]), &id[i]);
	first = id[10];
	ids_free(&t, first);
	assert_null(ids_find(&t, first));
	for (uint32_t i = t.used; i < t.n; i++) { /* every other free slot comes before that one */
		assert_int_equal(ids_take(&t, &owner, &last), 0);
		assert_true(i == t.n - 1 || (last >> 28) != (first >> 28));
	}
	assert_int_equal(last >> 28, first >> 28);
	assert_int_equal(last, first + 1); /* the next generation */
	assert_null(ids_find(&t, first));
	assert_null(ids_find(&t, last ^ (sess_id)1 << 48)); /* another loop */
	assert_null(ids_find(&t, (sess_id)5 << 48 | (sess_id)0xfffff << 28 | 1));
	ids_done(&t);
}

static void generations_wrap_without_zero(void **state)
{
	struct ids t;
	sess_id id = 0, old;
	int owner;

	(void)state;
	ids_init(&t, 0);
	assert_int_equal(ids_take(&t, &owner, &id), 0);
	assert_int_equal(id, 1);
	old = id;
	for (int round = 0; round < 100; round++) {
		uint32_t taken = 0;

		ids_free(&t, id);
		assert_null(ids_find(&t, id));
		do {
			assert_int_equal(ids_take(&t, &owner, &id), 0);
			if (id >> 28 != 0)
				ids_free(&t, id);
			assert_true(++taken <= t.n);
		} while (id >> 28 != 0);
		assert_int_equal(id, old + 1);
		old = id;
	}
	ids_done(&t);
}

static void a_slot_of_a_session_is_reused_late(void **state)
{
	sess_id first;

	(void)state;
	begin(toy_take, NULL);
	first = memconn_id(c);
	memconn_reset(c);
	for (int i = 0; i < 10; i++) {
		c = memconn_open(w, NULL);
		assert_true(memconn_id(c) >> 28 != first >> 28);
		memconn_reset(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_job_and_its_result, stop),
		cmocka_unit_test_teardown(jobs_finish_in_the_order_they_may, stop),
		cmocka_unit_test_teardown(a_cancelled_job_says_so, stop),
		cmocka_unit_test_teardown(a_job_outlives_its_session, stop),
		cmocka_unit_test_teardown(effects_of_the_last_step, stop),
		cmocka_unit_test_teardown(pipelined_verbs_wait_for_each_other, stop),
		cmocka_unit_test_teardown(letters_come_as_one_array_in_order, stop),
		cmocka_unit_test_teardown(letters_of_one_turn_come_together, stop),
		cmocka_unit_test_teardown(a_letter_to_oneself_comes_with_the_next_turn, stop),
		cmocka_unit_test_teardown(nobody_there, stop),
		cmocka_unit_test_teardown(a_stale_id_is_nobody, stop),
		cmocka_unit_test_teardown(a_letter_that_was_never_taken_comes_back, stop),
		cmocka_unit_test_teardown(a_closing_session_takes_no_letters, stop),
		cmocka_unit_test_teardown(fini_may_post, stop),
		cmocka_unit_test_teardown(mail_from_a_port_has_no_sender, stop),
		cmocka_unit_test_teardown(a_shard_is_a_session_without_a_connection, stop),
		cmocka_unit_test_teardown(a_shard_connects_to_others, stop),
		cmocka_unit_test_teardown(its_connections_end_before_it, stop),
		cmocka_unit_test(ids_are_reused_as_late_as_possible),
		cmocka_unit_test(generations_wrap_without_zero),
		cmocka_unit_test_teardown(a_slot_of_a_session_is_reused_late, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
