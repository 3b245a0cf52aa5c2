/*
 * test_child.c - channels and children: their own ends and halves, whose end reaches whom, what flows from one to the other. Rule 8
 * of docs/design/contract.md and its channels; the kinds that are not dialled are in test_child_kinds.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "support/toy_stage.h"

static struct memconn *far;
static struct child want; /* what a step with open_child() asks for, with tag 7 */
static uint8_t many[400000];

/* A client, whose session asks for what is wanted. */
static void begin_with(toy_fn *fn, const struct mem_setup *setup, struct child child, int dials)
{
	start_world(fn, setup);
	want = child;
	want.layer_arg = child.layer ? toy_layer_arg(0, 0) : NULL; /* now that they are counted */
	memdrive_dials(w, dials);
	c = memconn_open(w, NULL);
	assert_non_null(c);
	far = memdrive_child(w, 0);
}

static void begin(toy_fn *fn, const struct proto *proto, int dials)
{
	begin_with(fn, &(struct mem_setup){ .proto = proto },
		   (struct child){ .kind = CHILD_CONNECT, .address = "tcp:192.0.2.1:80" }, dials);
}

static const struct child layered = {
	.kind = CHILD_CONNECT,
	.address = "tls:192.0.2.1:443",
	.layer = &toy_xor_client,
};

static void assert_said(struct memconn *at, const char *text)
{
	assert_true(span_is(memconn_out(at), text));
	memconn_take(at, SIZE_MAX);
}

static enum verdict open_child(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN && !io->parent && !ev->chan)
		io_child(io, 7, &want);
	return toy_take(ev, io);
}

/* What was said to the one is said to the other, and FIN for FIN; with holds, as src/proto/relay does it. */
static void move(struct io *from, struct io *to)
{
	struct span in = in_peek(from);
	size_t room = out_room(to), n = in.n < room ? in.n : room;

	out_mem(to, in.p, n);
	in_take(from, n);
	if (n < in.n)
		io_hold(from, true);
}

static enum verdict relay(const struct ev *ev, struct io *io)
{
	struct io *chan = io_chan(io, 7), *from = ev->chan ? chan : io, *to = ev->chan ? io : chan;

	open_child((ev->kind == EV_OPEN ? ev : &(struct ev){ .kind = EV_STOP }), io);
	if (ev->kind == EV_GONE)
		return V_CLOSE;
	if (!chan)
		return V_GO;
	if (ev->kind == EV_DATA)
		move(from, to);
	else if (ev->kind == EV_ROOM)
		io_hold(to, false);
	else if (ev->kind == EV_EOF)
		out_eof(to);
	return V_GO;
}

/* ---- dialling ---- */

static void a_channel_from_dial_to_end(void **state)
{
	(void)state;
	begin(open_child, NULL, 0);
	assert_log("open c7.open");
	assert_string_equal(memconn_address(far), "tcp:192.0.2.1:80");
	assert_int_equal(memconn_kind(far), CHILD_CONNECT);
	memconn_sends(far, "abc");
	assert_log("c7.data:3");
	memconn_reset(far);
	assert_log("c7.eof:-104 c7.gone:7:-103");
	assert_int_equal(memconn_end(c), MEM_OPEN);
}

static void refused(void **state)
{
	(void)state;
	begin(open_child, NULL, -ECONNREFUSED);
	assert_log("open c7.gone:7:-111");
	assert_int_equal(memconn_end(far), MEM_ABORTED);
}

static void a_dial_that_takes_long(void **state)
{
	(void)state;
	begin(open_child, NULL, MEM_PENDING);
	assert_log("open");
	assert_int_equal(memconn_end(far), MEM_OPENING);
	memdrive_advance(w, 29 * SEC);
	memconn_dialled(far, 0);
	assert_log("c7.open");
	memdrive_advance(w, 10 * SEC);
	assert_int_equal(memconn_end(far), MEM_OPEN);
}

static void a_dial_that_takes_too_long(void **state)
{
	(void)state;
	begin(open_child, NULL, MEM_PENDING);
	memdrive_advance(w, 30 * SEC);
	assert_log("open c7.gone:7:-110");

	memdrive_free(&w);
	toy_reset(open_child);
	want.deadline = 1002 * SEC;
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy_proto }, &w, NULL), 0);
	memdrive_dials(w, MEM_PENDING);
	c = memconn_open(w, NULL);
	assert_int_equal(memdrive_next(w), 1002 * SEC);
	memdrive_advance(w, 2 * SEC);
	assert_log("open c7.gone:7:-110");
}

static void an_address_that_is_none(void **state)
{
	(void)state;
	toy_reset(open_child);
	want = (struct child){ .kind = CHILD_CONNECT, .address = "nonsense" };
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy_proto }, &w, NULL), 0);
	c = memconn_open(w, NULL);
	assert_log("open c7.gone:7:-22");
	want.address = "tls:192.0.2.1:443"; /* and no layer that says whom to trust */
	c = memconn_open(w, NULL);
	assert_log("open c7.gone:7:-93");
}

/* Asks, and writes at once. */
static enum verdict write_early(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA && !ev->chan && io_chan(io, 7)) {
		out_mem(io_chan(io, 7), in_peek(io).p, in_peek(io).n);
		if (in_peek(io).p[0] == '.')
			out_eof(io_chan(io, 7));
	}
	return open_child(ev, io);
}

static void what_is_written_before_it_is_open_waits(void **state)
{
	(void)state;
	begin(write_early, NULL, MEM_PENDING);
	memconn_sends(c, "early");
	memconn_sends(c, ".");
	assert_said(far, "");
	memconn_dialled(far, 0);
	assert_said(far, "early.");
	assert_true(memconn_fin(far));
}

static void what_is_written_before_goes_through_the_layer(void **state)
{
	(void)state;
	begin_with(write_early, NULL, layered, MEM_PENDING);
	memconn_sends(c, "early");
	memconn_dialled(far, 0);
	assert_log("open data:5");
	assert_said(far, "HZ");
	assert_false(sess_wants_write(memconn_sess(far))); /* a driver must not ask for writability now */
	assert_true(sess_has_output(memconn_sess(far)));
	memconn_sends(far, "h");
	assert_log("c7.open");
	assert_int_equal(memconn_out(far).n, 5);
	assert_int_equal(memconn_out(far).p[0], 'e' ^ 'Z');
}

/* The other side took the connection and says nothing: that is not open. */
static void the_deadline_is_for_the_layer_too(void **state)
{
	static const nsec first[] = { 0, UINT64_MAX / 4, SEC };

	(void)state;
	for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
		struct child child = layered;

		child.deadline = 1003 * SEC;
		begin_with(open_child, &(struct mem_setup){ .now = 1000 * SEC, .first = first[i] }, child, MEM_PENDING);
		memdrive_advance(w, SEC);
		memconn_dialled(far, 0);
		memdrive_advance(w, 2 * SEC - 1);
		assert_log(first[i] == SEC ? "open c7.gone:7:-110" : "open");
		memdrive_advance(w, 1);
		assert_log(first[i] == SEC ? "" : "c7.gone:7:-110");
		stop(NULL);
	}
	w = NULL;
}

/* Its own number reaches who asked for it, and not only that there is no connection. */
static void a_layer_that_fails_says_how(void **state)
{
	(void)state;
	begin_with(open_child, NULL, layered, 0);
	memconn_sends(far, "?");
	memconn_eof(far);
	assert_log("open c7.gone:7:-71"); /* EPROTO */
}

static void a_layer_that_nobody_opened_is_dropped(void **state)
{
	(void)state;
	begin_with(open_child, NULL, layered, -ECONNREFUSED);
	assert_int_equal(toy.live_layers, 0);
	assert_log("open c7.gone:7:-111");
}

/* ---- halves and ends ---- */

static enum verdict say_and_close(const struct ev *ev, struct io *io)
{
	if (ev->kind != EV_DATA || ev->chan)
		return open_child(ev, io);
	out_str(io_chan(io, 7), "last words");
	return V_CLOSE;
}

/* For as long as `linger`; the session itself has nothing left to say. */
static void what_a_channel_has_left_is_sent_first(void **state)
{
	(void)state;
	for (unsigned read = 0; read < 2; read++) {
		toy_reset(say_and_close);
		want = (struct child){ .kind = CHILD_CONNECT, .address = "tcp:192.0.2.1:80" };
		assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy_proto, .linger = 2 * SEC }, &w, NULL),
				 0);
		c = memconn_open(w, NULL);
		far = memdrive_child(w, 0);
		memconn_window(far, 4);
		memconn_sends(c, "x");
		memconn_eof(c);
		memdrive_advance(w, SEC);
		assert_non_null(memconn_sess(c));
		if (read) {
			memconn_window(far, MEM_NO_LIMIT);
			assert_said(far, "last words");
			assert_int_equal(memconn_end(far), MEM_CLOSED);
		} else {
			memdrive_advance(w, SEC);
			assert_said(far, "last");
			assert_int_equal(memconn_end(far), MEM_ABORTED);
		}
		assert_int_equal(memconn_end(c), MEM_CLOSED);
		stop(NULL);
	}
	w = NULL;
}

static void half_closes_both_ways(void **state)
{
	(void)state;
	begin(relay, NULL, 0);
	memconn_sends(c, "question");
	memconn_eof(c);
	assert_said(far, "question");
	assert_true(memconn_fin(far));
	assert_int_equal(memconn_end(far), MEM_FIN); /* it may still answer */
	memconn_sends(far, "answer");
	assert_said(c, "answer");
	assert_false(memconn_fin(c));
	memconn_eof(far);
	assert_true(memconn_fin(c));
	assert_int_equal(memconn_end(far), MEM_CLOSED);
	assert_int_equal(memconn_end(c), MEM_CLOSED);
	assert_log("open c7.open data:8 eof c7.data:6 c7.eof c7.gone:7:0 fini");
}

static void half_closes_the_other_way_round(void **state)
{
	(void)state;
	begin(relay, NULL, 0);
	memconn_sends(far, "banner");
	memconn_eof(far);
	assert_said(c, "banner");
	assert_int_equal(memconn_end(c), MEM_FIN);
	memconn_sends(c, "more");
	assert_said(far, "more");
	memconn_eof(c);
	assert_int_equal(memconn_end(c), MEM_CLOSED);
	assert_log("open c7.open c7.data:6 c7.eof data:4 eof c7.gone:7:0 fini");
}

static void the_end_comes_after_the_last_byte(void **state)
{
	(void)state;
	begin(relay, &toy_full_proto, 0);
	memconn_window(c, 0);
	memconn_send(far, many, sizeof(many), 0);
	memconn_eof(far);
	memconn_eof(c);
	assert_int_equal(memconn_end(far), MEM_FIN);
	assert_true(memconn_unread(far) > 0);
	toy.quiet = true;
	for (int i = 0; i < 100 && memconn_end(c) != MEM_CLOSED; i++)
		memconn_window(c, 10000);
	assert_int_equal(memconn_out(c).n, sizeof(many));
	assert_memory_equal(memconn_out(c).p, many, sizeof(many));
	assert_int_equal(memconn_end(c), MEM_CLOSED);
	assert_int_equal(memconn_end(far), MEM_CLOSED);
	assert_true(memconn_peak(c) <= SESS_HIWAT);
}

static enum verdict end_at_data(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA && !ev->chan) {
		in_take(io, SIZE_MAX);
		io_end(io, 7);
		io_end(io, 99);
	}
	return open_child(ev, io);
}

static void io_end_cancels(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		begin(end_at_data, NULL, i ? MEM_PENDING : 0);
		memconn_sends(c, "x");
		assert_log(i ? "open data:1 c7.gone:7:-125" : "open c7.open data:1 c7.gone:7:-125");
		assert_int_equal(memconn_end(far), MEM_ABORTED);
		stop(NULL);
	}
	w = NULL;
}

static void the_end_of_a_parent_ends_its_children(void **state)
{
	(void)state;
	begin(open_child, NULL, 0);
	want.proto = &toy2_proto;
	c = memconn_open(w, NULL);
	assert_log("open c7.open open 2.open");
	memdrive_dials(w, MEM_PENDING);
	c = memconn_open(w, NULL);
	assert_log("open");
	memconn_reset(c);
	assert_log("eof:-104 fini");
	assert_int_equal(memconn_end(memdrive_child(w, 2)), MEM_ABORTED);
	memdrive_cut(w);
	assert_int_equal(memdrive_sessions(w), 0);
	assert_int_equal(memconn_end(memdrive_child(w, 0)), MEM_ABORTED);
	assert_int_equal(memconn_end(memdrive_child(w, 1)), MEM_ABORTED);
}

/* ---- children with a protocol of their own ---- */

static struct blob *said_arg;

static enum verdict child_speaks(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN) {
		assert_true(io->parent == memconn_id(c));
		assert_ptr_equal(ev->arg, said_arg);
		assert_true(span_is(blob_span(ev->arg), "arg"));
		out_str(io, "hi");
		io_post(io, io->parent, 3, toy_mail("I am open"), 0);
	}
	return toy_take(ev, io);
}

static void a_child_knows_its_parent(void **state)
{
	(void)state;
	said_arg = blob_new(&(struct span){ (const uint8_t *)"arg", 3 }, 1);
	begin(toy_take, NULL, 0);
	toy.fn = open_child;
	toy.fn2 = child_speaks;
	want = (struct child){
		.kind = CHILD_CONNECT, .address = "tcp:[2001:db8::1]:99", .proto = &toy2_proto, .arg = said_arg
	};
	memdrive_auto(w, false);
	c = memconn_open(w, NULL);
	memdrive_auto(w, true);
	blob_unref(said_arg);
	far = memdrive_child(w, 0);
	assert_log("open open 2.open msg:1");
	assert_said(far, "hi");
	memconn_eof(far);
	assert_log("2.eof 2.fini gone:7:0");
	assert_int_equal(memconn_end(far), MEM_CLOSED);
}

/* ---- flow ---- */

static void backpressure_both_ways(void **state)
{
	(void)state;
	begin(relay, NULL, 0);
	toy.quiet = true;
	memconn_window(far, 0);
	memconn_window(c, 0);
	memconn_send(c, many, sizeof(many), 7777);
	memconn_send(far, many, sizeof(many), 9999);
	assert_true(memconn_peak(far) <= SESS_HIWAT);
	assert_true(memconn_peak(c) <= SESS_HIWAT);
	memconn_eof(c);
	memconn_eof(far);
	for (int i = 0; i < 2000 && memconn_end(c) != MEM_CLOSED; i++) {
		memconn_window(far, 1000);
		memconn_window(c, 1300);
	}
	assert_int_equal(memconn_out(c).n, sizeof(many));
	assert_int_equal(memconn_out(far).n, sizeof(many));
	assert_memory_equal(memconn_out(far).p, many, sizeof(many));
	assert_int_equal(memconn_end(far), MEM_CLOSED);
}

/* Whoever is slow to read may be quick to talk: with P_READ_WHILE_FULL a channel is read while its output is full, too. */
static void a_full_channel_is_still_read(void **state)
{
	(void)state;
	begin(relay, &toy_full_proto, 0);
	toy.quiet = true;
	memconn_window(far, 0);
	memconn_send(c, many, sizeof(many), 0);
	assert_int_equal(memconn_queued(far), SESS_HIWAT);
	memconn_send(far, many, 50000, 0);
	assert_int_equal(memconn_out(c).n, 50000);
}

/* No holds: what does not fit stays where it is until the other side has room. */
static enum verdict lazy_relay(const struct ev *ev, struct io *io)
{
	struct io *chan = io_chan(io, 7);

	if (ev->kind == EV_OPEN && !ev->chan)
		io_child(io, 7, &want);
	if (chan && ((ev->kind == EV_DATA && !ev->chan) || (ev->kind == EV_ROOM && ev->chan))) {
		struct span in = in_peek(io);
		size_t room = out_room(chan), n = in.n < room ? in.n : room;

		out_mem(chan, in.p, n);
		in_take(io, n);
	}
	return V_GO;
}

static void the_other_sides_event_takes_our_input(void **state)
{
	(void)state;
	toy_reset(lazy_relay);
	want = (struct child){ .kind = CHILD_CONNECT, .address = "tcp:192.0.2.1:80" };
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy_proto, .input = 200000 }, &w, NULL), 0);
	toy.quiet = true;
	c = memconn_open(w, NULL);
	far = memdrive_child(w, 0);
	memconn_window(far, 1);
	for (int i = 0; i < 20; i++)
		memconn_send(c, many, 10000, 0);
	assert_true(memconn_unread(c) + memconn_sess(c)->in.len > 100000);
	for (int i = 0; i < 100; i++)
		memconn_window(far, 5000);
	assert_int_equal(memconn_out(far).n, 200000);
	assert_null(memconn_sess(c)->in.p); /* and its memory has gone back */
	memconn_sends(c, "x");
	assert_int_equal(memconn_out(far).n, 200001);
}

static enum verdict abort_chan(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA && !ev->chan && io_chan(io, 7)) {
		in_take(io, SIZE_MAX);
		in_need(io_chan(io, 7), 1 << 20);
	}
	return open_child(ev, io);
}

static void a_limit_of_a_channel_ends_the_channel(void **state)
{
	(void)state;
	begin(abort_chan, NULL, 0);
	memconn_sends(c, "x");
	assert_log("open c7.open data:1 c7.gone:7:-103");
	assert_int_equal(memconn_end(far), MEM_ABORTED);
	assert_string_equal(memconn_reason(far), "input-limit");
	assert_int_equal(memconn_end(c), MEM_OPEN);
}

/* The owner ends in the very step that leaves a full buffer: its channel has done nothing wrong. */
static enum verdict abort_at_data(const struct ev *ev, struct io *io)
{
	return ev->kind == EV_DATA && ev->chan ? V_ABORT : open_child(ev, io);
}

static void a_channel_is_not_to_blame_for_its_owners_end(void **state)
{
	(void)state;
	toy_reset(abort_at_data);
	want = (struct child){ .kind = CHILD_CONNECT, .address = "tcp:192.0.2.1:80" };
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy_proto, .input = 1000 }, &w, NULL), 0);
	c = memconn_open(w, NULL);
	far = memdrive_child(w, 0);
	memconn_send(far, many, 1000, 0);
	assert_int_equal(memconn_end(c), MEM_ABORTED);
	assert_int_equal(memdrive_stat(w, STAT_ERRORS), 1);
	assert_int_equal(memdrive_stat(w, STAT_INPUT), 0);
}

static enum verdict starttls_on_channel(const struct ev *ev, struct io *io)
{
	struct io *chan = io_chan(io, 7);

	if (ev->kind == EV_MSG && chan) /* decided in an event that is not the channel's */
		io_layer(chan, &toy_xor_client, NULL, LEFT_REJECT);
	if (ev->kind == EV_DATA && ev->chan && in_peek(chan).n < 3)
		return V_GO;
	return open_child(ev, io);
}

static void starttls_of_a_client(void **state)
{
	(void)state;
	begin(starttls_on_channel, NULL, 0);
	memdrive_post(w, 0, memconn_id(c), 1, toy_mail("go"));
	assert_said(far, "HZ");
	memconn_sends(far, "h");
	memconn_send(far, (const uint8_t[]){ 'a' ^ 'Z' }, 1, 0);
	memconn_send(far, (const uint8_t[]){ 'b' ^ 'Z' }, 1, 0);
	assert_log("open c7.open msg:1 c7.layer c7.data:1 c7.data:2"); /* many left over now are no early data */
	memconn_send(far, (const uint8_t[]){ 'c' ^ 'Z' }, 1, 0);
	assert_log("c7.data:3");

	stop(NULL);
	begin(starttls_on_channel, NULL, 0);
	memconn_sends(far, "ev");
	memdrive_post(w, 0, memconn_id(c), 1, toy_mail("go"));
	assert_log("open c7.open c7.data:2 msg:1 c7.gone:7:-103");
	assert_string_equal(memconn_reason(far), "early-data");
}

static enum verdict fail_from_channel(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA && ev->chan)
		return toy.x[0] ? V_ABORT : V_CLOSE;
	return open_child(ev, io);
}

static void verdicts_are_the_owners(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 2; i++) {
		begin(fail_from_channel, NULL, 0);
		toy.x[0] = i;
		memconn_sends(far, "x");
		assert_log("open c7.open c7.data:1 fini");
		assert_int_equal(memconn_end(c), i ? MEM_ABORTED : MEM_CLOSED);
		assert_int_equal(memconn_end(far), MEM_ABORTED);
		stop(NULL);
	}
	w = NULL;
}

int main(void)
{
	for (size_t i = 0; i < sizeof(many); i++)
		many[i] = toy_byte(i);

	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_channel_from_dial_to_end, stop),
		cmocka_unit_test_teardown(refused, stop),
		cmocka_unit_test_teardown(a_dial_that_takes_long, stop),
		cmocka_unit_test_teardown(a_dial_that_takes_too_long, stop),
		cmocka_unit_test_teardown(an_address_that_is_none, stop),
		cmocka_unit_test_teardown(what_is_written_before_it_is_open_waits, stop),
		cmocka_unit_test_teardown(what_is_written_before_goes_through_the_layer, stop),
		cmocka_unit_test_teardown(the_deadline_is_for_the_layer_too, stop),
		cmocka_unit_test_teardown(a_layer_that_fails_says_how, stop),
		cmocka_unit_test_teardown(a_layer_that_nobody_opened_is_dropped, stop),
		cmocka_unit_test_teardown(what_a_channel_has_left_is_sent_first, stop),
		cmocka_unit_test_teardown(half_closes_both_ways, stop),
		cmocka_unit_test_teardown(half_closes_the_other_way_round, stop),
		cmocka_unit_test_teardown(the_end_comes_after_the_last_byte, stop),
		cmocka_unit_test_teardown(io_end_cancels, stop),
		cmocka_unit_test_teardown(the_end_of_a_parent_ends_its_children, stop),
		cmocka_unit_test_teardown(a_child_knows_its_parent, stop),
		cmocka_unit_test_teardown(backpressure_both_ways, stop),
		cmocka_unit_test_teardown(a_full_channel_is_still_read, stop),
		cmocka_unit_test_teardown(the_other_sides_event_takes_our_input, stop),
		cmocka_unit_test_teardown(a_limit_of_a_channel_ends_the_channel, stop),
		cmocka_unit_test_teardown(a_channel_is_not_to_blame_for_its_owners_end, stop),
		cmocka_unit_test_teardown(starttls_of_a_client, stop),
		cmocka_unit_test_teardown(verdicts_are_the_owners, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
