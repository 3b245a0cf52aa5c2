/*
 * test_child_kinds.c - children and channels that are not dialled: one that listens, a datagram socket of its own, standard input and
 * output; and the end of each kind when its parent asks for it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/toy_stage.h"

static struct memconn *far;

/* ---- listening ---- */

static enum verdict listen_for_one(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN && !ev->chan && !io->parent)
		io_child(io, 7,
			 &(struct child){
				 .kind = CHILD_LISTEN, .proto = toy.x[0] ? &toy2_proto : NULL, .only = io->peer });
	if (ev->kind == EV_BOUND) {
		assert_int_equal(ev->bound.addr->kind, PEER_IP4);
		assert_true(ev->bound.addr->port != 0);
		toy.x[1] = ev->bound.id;
	}
	return toy_take(ev, io);
}

static void one_connection_from_the_right_host(void **state)
{
	(void)state;
	for (int with_proto = 0; with_proto < 2; with_proto++) {
		start(toy_take, NULL);
		toy.fn = listen_for_one;
		toy.x[0] = (uint64_t)with_proto;
		c = memconn_open(w, &(struct mem_open){ .peer = "192.0.2.7:5" });
		far = memdrive_child(w, 0);
		assert_log(with_proto ? "open open bound:7" : "open open c7.bound:7");
		assert_int_equal(toy.x[1], memconn_id(far));
		assert_int_equal(memconn_connect(far, "192.0.2.8:5"), -EACCES);
		assert_int_equal(memconn_connect(far, "192.0.2.7:6"), 0);
		assert_log(with_proto ? "2.open" : "c7.open");
		assert_int_equal(memconn_connect(far, "192.0.2.7:7"), -ENOTCONN);
		stop(NULL);
	}
	w = NULL;
}

static void nobody_connects(void **state)
{
	(void)state;
	start(listen_for_one, NULL);
	memdrive_advance(w, 30 * SEC);
	assert_log("open c7.bound:7 c7.gone:7:-110");
}

/* ---- datagrams, standard input and output ---- */

static enum verdict answer_from_a_socket_of_its_own(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DGRAM && !io->parent && !ev->chan)
		io_child(io, (uint32_t)++toy.x[0],
			 &(struct child){ .kind = CHILD_DGRAM,
					  .route = ev->dgram.route,
					  .proto = toy.x[1] ? &toy2_proto : NULL });
	if (ev->kind == EV_OPEN && ev->chan)
		out_dgram(io_chan(io, ev->chan), NULL, "from here on", 12);
	return V_GO;
}

static enum verdict transfer(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN || ev->kind == EV_DGRAM)
		out_dgram(io, NULL, "block", 5);
	return ev->kind == EV_DGRAM ? V_CLOSE : V_GO;
}

static void a_datagram_socket_of_its_own(void **state)
{
	struct memconn *d;

	(void)state;
	for (unsigned with_proto = 0; with_proto < 2; with_proto++) {
		start(answer_from_a_socket_of_its_own, NULL);
		toy.x[1] = with_proto;
		toy.fn2 = transfer;
		d = memdrive_dgram(w);
		memconn_dgram(d, "192.0.2.1:69", false, "get", 3);
		assert_log(with_proto ? "open open dgram:3 bound:1 2.open" : "open open dgram:3 c1.bound:1 c1.open");
		far = memdrive_child(w, 0);
		assert_int_equal(memconn_dgrams(far), 1);
		assert_false(memconn_dgram_at(far, 0)->routed);
		assert_int_equal(memconn_dgrams(d), 0);
		memconn_dgram(far, NULL, true, "ack", 3);
		assert_log(with_proto ? "2.dgram:3 2.fini gone:1:0" : "c1.dgram:3");
		stop(NULL);
	}
	w = NULL;
}

static enum verdict ask_by_datagram(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN && !ev->chan)
		io_child(io, 7, &(struct child){ .kind = CHILD_CONNECT, .address = "udp:192.0.2.1:53" });
	if (ev->kind == EV_OPEN && ev->chan)
		out_dgram(io_chan(io, 7), NULL, "who?", 4);
	return toy_take(ev, io);
}

static void a_datagram_address_is_dialled_by_datagram(void **state)
{
	(void)state;
	start(ask_by_datagram, NULL);
	far = memdrive_child(w, 0);
	assert_int_equal(memconn_dgrams(far), 1);
	memconn_dgram(far, NULL, true, "me", 2);
	memconn_dgram(far, NULL, true, "", 0);
	assert_log("open c7.open c7.dgram:2 c7.dgram:0");
}

static enum verdict answer_nobody(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN && !ev->chan)
		io_child(io, 7, &(struct child){ .kind = CHILD_DGRAM });
	return toy_take(ev, io);
}

/* Such a socket would hear everybody, and take everybody for proven. */
static void a_datagram_socket_needs_a_route(void **state)
{
	(void)state;
	start(answer_nobody, NULL);
	assert_log("open c7.gone:7:-89");
}

/* What is typed is said to the client, and the other way round. */
static enum verdict type(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN && !ev->chan)
		io_child(io, 7, &(struct child){ .kind = CHILD_STDIO });
	if (ev->kind == EV_DATA)
		out_mem(ev->chan ? io : io_chan(io, 7), in_peek(toy_io(ev, io)).p, in_peek(toy_io(ev, io)).n);
	return toy_take(ev, io);
}

static void standard_input_and_output(void **state)
{
	(void)state;
	start(type, NULL);
	far = memdrive_child(w, 0);
	assert_int_equal(memconn_kind(far), CHILD_STDIO);
	memconn_sends(far, "typed");
	assert_out(c, "typed");
	memconn_sends(c, "answer");
	assert_out(far, "answer");
}

/* ---- cancelled, whatever it is ---- */

static enum verdict open_and_end(const struct ev *ev, struct io *io)
{
	static const enum child_kind kinds[] = { CHILD_CONNECT, CHILD_LISTEN, CHILD_STDIO };

	if (ev->kind == EV_OPEN && !ev->chan && !io->parent)
		io_child(io, 7,
			 &(struct child){ .kind = kinds[toy.x[0]],
					  .address = "tcp:192.0.2.1:80",
					  .proto = toy.x[1] ? &toy2_proto : NULL });
	if (ev->kind == EV_DATA)
		io_end(io, 7);
	return toy_take(ev, io);
}

static void every_kind_can_be_cancelled(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 3; kind++) {
		for (unsigned with_proto = 0; with_proto < 2; with_proto++) {
			start(toy_take, NULL);
			toy.fn = open_and_end;
			toy.x[0] = kind;
			toy.x[1] = with_proto;
			c = memconn_open(w, NULL);
			buf_reset(&toy.log);
			memconn_sends(c, "x");
			if (with_proto)
				assert_log(kind == 1 ? "data:1 gone:7:-125" : "data:1 2.fini gone:7:-125");
			else
				assert_log("data:1 c7.gone:7:-125");
			assert_int_equal(memconn_end(memdrive_child(w, 0)), MEM_ABORTED);
			assert_int_equal(memconn_end(c), MEM_OPEN);
			stop(NULL);
		}
	}
	w = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(one_connection_from_the_right_host, stop),
		cmocka_unit_test_teardown(nobody_connects, stop),
		cmocka_unit_test_teardown(a_datagram_socket_of_its_own, stop),
		cmocka_unit_test_teardown(a_datagram_address_is_dialled_by_datagram, stop),
		cmocka_unit_test_teardown(a_datagram_socket_needs_a_route, stop),
		cmocka_unit_test_teardown(standard_input_and_output, stop),
		cmocka_unit_test_teardown(every_kind_can_be_cancelled, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
