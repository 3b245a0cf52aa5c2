/*
 * test_memory.c - memory runs out: each allocation of whole conversations fails once, one after the other, and then all from the Nth
 * on. Nothing may leak (LeakSanitizer), crash, hang, or be left with a session that nobody ends. And how large a session is.
 */
#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "core/session.h"
#include "drive/loop_priv.h"
#include "drive/mem.h"
#include "support/toy.h"
#include "support/world.h"

static_assert(sizeof(struct sess) <= 208, "a session is one of ten thousand");
static_assert(sizeof(struct conn) <= 256, "and this is all that a driver adds");

static uint8_t bytes[100000];
static int jobs_made, jobs_dropped, files_made, files_closed;

static struct memdrive *begin(toy_fn *fn, const struct mem_setup *setup)
{
	struct mem_setup m = setup ? *setup : (struct mem_setup){};
	struct memdrive *w = NULL;

	toy_reset(fn);
	toy.quiet = true;
	jobs_made = jobs_dropped = files_made = files_closed = 0;
	m.proto = m.proto ? m.proto : &toy_proto;
	return memdrive_new(&m, &w, NULL) == 0 ? w : NULL;
}

static void finish(struct memdrive **w)
{
	if (*w)
		assert_true(memdrive_run(*w));
	memdrive_free(w);
	assert_int_equal(toy.live_layers, 0);
	assert_int_equal(jobs_made, jobs_dropped);
	assert_int_equal(files_made, files_closed);
	toy_done();
}

static void count_job(struct io *io, uint32_t tag)
{
	struct job *j = toy_job(0, NULL, &jobs_dropped);

	if (!j)
		return;
	jobs_made++;
	io_job(io, tag, j);
}

static void count_file(struct io *io)
{
	struct file *f = toy_file(20000, 3000, 20000, &files_closed);

	if (!f)
		return;
	files_made++;
	out_file(io, f, 10, 17000);
	file_unref(f);
}

static void one_blob(struct io *io, size_t n)
{
	struct blob *b = blob_new(&(struct span){ bytes, n }, 1);

	if (b)
		out_blob(io, b);
	blob_unref(b);
}

/* ---- output of all kinds, timers, a mailbox ---- */

static enum verdict talker(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN) {
		io_timer(io, 0, io->now + SEC);
		io_timer(io, 2, io->now + 2 * SEC);
	}
	if (ev->kind == EV_DATA) {
		out_fmt(io, "%700d", 7);
		one_blob(io, 4100);
		count_file(io);
		out_mem(io, in_peek(io).p, in_peek(io).n);
		count_job(io, 1);
		io_post(io, io->self, 1, toy_mail("to myself"), POST_REPLY);
		io_post(io, 12345, 2, toy_mail("to nobody"), POST_REPLY);
		in_take(io, in_peek(io).n / 2 + 1);
	}
	return ev->kind == EV_EOF || (ev->kind == EV_TIMER && ev->tag == 2) ? V_CLOSE : V_GO;
}

static void talk(void *arg)
{
	const struct layer *layer = arg;
	struct memdrive *w = begin(talker, &(struct mem_setup){ .trace = true, .idle = 10 * SEC });
	struct memconn *c = w ? memconn_open(w, &(struct mem_open){ .layer = layer, .window = 30000 }) : NULL;

	if (c) {
		if (layer)
			memconn_send(c, "d\0\x60", 3, 0); /* a frame of 96 */
		memconn_send(c, bytes, 96, 40);
		if (layer)
			memconn_sends(c, "pc");
		memconn_window(c, 50000);
		memdrive_advance(w, SEC);
		memconn_window(c, MEM_NO_LIMIT);
		memconn_eof(c);
		memdrive_advance(w, SEC);
	}
	finish(&w);
}

/* ---- layers and switches ---- */

static enum verdict switcher(const struct ev *ev, struct io *io)
{
	uint8_t first = ev->kind == EV_DATA ? in_peek(io).p[0] : 0;

	if (first == 's' || first == 'u') {
		struct blob *arg = blob_new(&(struct span){ bytes, 10 }, 1);

		in_take(io, 1);
		out_str(io, "going\n");
		io_layer(io, first == 's' ? &toy_xor : &toy_frame, toy_layer_arg(SEC, 0),
			 first == 's' ? LEFT_REJECT : LEFT_FEED);
		if (first == 'u')
			io_become(io, &toy2_proto, arg, LEFT_FEED);
		count_job(io, 5);
		blob_unref(arg);
		return V_GO;
	}
	return toy_echo(ev, io);
}

static void switch_layers(void *arg)
{
	struct memdrive *w = begin(switcher, NULL);
	struct memconn *c =
		w ? memconn_open(w, &(struct mem_open){ .layer = arg, .layer_arg = arg ? toy_layer_arg(0, 0) : NULL })
		  : NULL;
	static const char plain[] = "ud\0\3abcpd\0\1xc";
	char inside[sizeof(plain)];

	toy.fn2 = toy_echo;
	if (c) {
		memcpy(inside, plain, sizeof(inside));
		if (arg) { /* xor from the first byte on, with key 0 */
			memconn_send(c, "H\0", 2, 1);
		} else {
			memconn_sends(c, "s");
			memconn_send(c, "H\0", 2, 1);
		}
		memconn_send(c, inside, sizeof(inside) - 1, 5);
		memdrive_advance(w, 3 * SEC);
		memconn_eof(c);
		memdrive_advance(w, 20 * SEC);
	}
	finish(&w);
}

/* ---- children ---- */

static enum verdict parent(const struct ev *ev, struct io *io)
{
	struct blob *arg;

	if (ev->kind == EV_OPEN && !ev->chan && !io->parent) {
		arg = blob_new(&(struct span){ bytes, 10 }, 1);
		io_child(io, 1, &(struct child){ .kind = CHILD_CONNECT, .address = "tcp:192.0.2.1:1", .arg = arg });
		io_child(io, 2,
			 &(struct child){ .kind = CHILD_CONNECT,
					  .address = "tcp:192.0.2.1:2",
					  .proto = &toy2_proto,
					  .arg = arg });
		io_child(io, 3,
			 &(struct child){ .kind = CHILD_CONNECT,
					  .address = "tls:192.0.2.1:3",
					  .layer = &toy_xor_client,
					  .layer_arg = toy_layer_arg(0, 0) });
		io_child(io, 4, &(struct child){ .kind = CHILD_LISTEN, .only = io->peer, .arg = arg });
		io_child(io, 5,
			 &(struct child){
				 .kind = CHILD_DGRAM, .route = &(struct route){ .n = 4 }, .proto = &toy2_proto });
		io_child(io, 6, &(struct child){ .kind = CHILD_STDIO });
		blob_unref(arg);
	}
	if (ev->kind == EV_DATA && !ev->chan) {
		for (uint32_t tag = 1; tag < 7; tag++) {
			struct io *chan = io_chan(io, tag);

			if (chan)
				out_mem(chan, in_peek(io).p, in_peek(io).n);
		}
		io_end(io, 3);
	}
	if (ev->kind == EV_DATA && ev->chan && io_chan(io, ev->chan)) {
		one_blob(io, in_peek(io_chan(io, ev->chan)).n);
		out_eof(io_chan(io, ev->chan));
	}
	return toy_take(ev, io);
}

static void family(void *arg)
{
	struct memdrive *w = begin(parent, NULL);
	struct memconn *c, *kid;

	(void)arg;
	toy.fn2 = toy_echo;
	if (w)
		memdrive_dials(w, MEM_PENDING);
	c = w ? memconn_open(w, NULL) : NULL;
	if (c) {
		memconn_send(c, "early", 5, 2);
		for (size_t i = 0; (kid = memdrive_child(w, i)); i++) {
			memconn_dialled(kid, i == 5 ? -ECONNREFUSED : 0);
			(void)memconn_connect(kid, "127.0.0.1:5");
			memconn_dgram(kid, NULL, true, "dgram", 5);
		}
		memconn_send(c, "late", 4, 0);
		for (size_t i = 0; (kid = memdrive_child(w, i)); i++) {
			memconn_send(kid, "h from the child", 16, 5);
			memconn_eof(kid);
		}
		memconn_eof(c);
	}
	finish(&w);
}

/* ---- shards, ports, datagrams ---- */

static enum verdict crowd(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DATA) {
		port_post(io->svc->port, 0, 1, toy_mail("here"));
		port_post(io->svc->port, 1, 1, toy_mail("there"));
		for (unsigned i = 0; i < 70; i++) /* the effects have to grow */
			io_post(io, io->self, i, toy_mail("many"), i % 2);
	}
	if (ev->kind == EV_MSG && ev->mail.n > 1) {
		mail_drop(ev->mail.v[0].mail);
		ev->mail.v[0].mail = NULL;
	}
	if (ev->kind == EV_DGRAM)
		for (int i = 0; i < 3; i++)
			out_dgram(io, ev->dgram.route, bytes, 6000);
	return toy_take(ev, io);
}

static enum verdict crowd_shard(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN || ev->kind == EV_MSG) {
		io_timer(io, 1, io->now + SEC);
		count_job(io, 3);
	}
	return V_GO;
}

static void meet(void *arg)
{
	struct memdrive *w = begin(crowd, &(struct mem_setup){ .proto = &toy_shard_proto, .loops = 2 });
	struct memconn *c, *d;

	(void)arg;
	toy.shard = crowd_shard;
	c = w ? memconn_open(w, NULL) : NULL;
	d = w ? memdrive_dgram(w) : NULL;
	if (c)
		memconn_send(c, "ab", 2, 1);
	if (d) {
		memconn_window(d, 1);
		memconn_dgram(d, "192.0.2.1:5", true, "x", 1);
		memconn_window(d, 100);
	}
	if (w)
		memdrive_advance(w, 2 * SEC);
	finish(&w);
}

/* ---- all of them, failing ---- */

static void fail_all(void (*scene)(void *), void *arg)
{
	scene(arg);
	fail_each_allocation(scene, arg);
#ifdef GUICHET_FAULTS
	unsigned long calls, n = 0;

	do { /* and from the Nth on nothing is to be had any more */
		fault_arm(FAULT_MEM, ++n, 0, true);
		scene(arg);
		calls = fault_calls(FAULT_MEM);
		fault_arm(FAULT_MEM, 0, 0, false);
	} while (calls >= n);
#endif
}

static void talking(void **state)
{
	(void)state;
	fail_all(talk, NULL);
}

static void talking_through_a_layer(void **state)
{
	(void)state;
	fail_all(talk, (void *)(uintptr_t)&toy_frame);
}

static void switching(void **state)
{
	(void)state;
	fail_all(switch_layers, NULL);
	fail_all(switch_layers, (void *)(uintptr_t)&toy_xor);
}

static void raising_a_family(void **state)
{
	(void)state;
	fail_all(family, NULL);
}

static void meeting(void **state)
{
	(void)state;
	fail_all(meet, NULL);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = toy_byte(i);

	const struct CMUnitTest tests[] = {
		cmocka_unit_test(talking),   cmocka_unit_test(talking_through_a_layer),
		cmocka_unit_test(switching), cmocka_unit_test(raising_a_family),
		cmocka_unit_test(meeting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
