/* toy_stage.c - see toy_stage.h. */
#include "support/toy_stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct memdrive *w;
struct memconn *c;
struct buf wire;

static uint8_t some[STAGE_BYTES];
const uint8_t *bytes = some;

void start_world(toy_fn *fn, const struct mem_setup *setup)
{
	struct mem_setup m = setup ? *setup : (struct mem_setup){};

	for (size_t i = 0; !some[1] && i < sizeof(some); i++)
		some[i] = toy_byte(i);
	toy_reset(fn);
	buf_init(&wire, 8 << 20);
	m.proto = m.proto ? m.proto : &toy_proto;
	assert_int_equal(memdrive_new(&m, &w, NULL), 0);
	c = NULL;
}

void start(toy_fn *fn, const struct mem_setup *setup)
{
	start_world(fn, setup);
	c = memconn_open(w, NULL);
	assert_non_null(c);
}

void start_layered(toy_fn *fn, const struct layer *layer)
{
	start_world(fn, NULL);
	c = memconn_open(w, &(struct mem_open){ .layer = layer, .layer_arg = toy_layer_arg(0, 0) });
	assert_non_null(c);
}

int stop(void **state)
{
	(void)state;
	memdrive_free(&w);
	buf_done(&wire);
	toy_done();
	return toy.live_layers;
}

enum verdict take_none(const struct ev *ev, struct io *io)
{
	(void)io;
	return ev->kind == EV_EOF ? V_CLOSE : V_GO;
}

enum verdict fill(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN || ev->kind == EV_ROOM) {
		for (size_t n; (n = out_room(io)) > 0;)
			out_mem(io, bytes, n < 1000 ? n : 1000);
	}
	return toy_take(ev, io);
}

enum verdict see_secure(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN || ev->kind == EV_LAYER)
		toy.x[0] = io->secure;
	return toy_echo(ev, io);
}

void assert_ended(enum mem_end how, const char *reason)
{
	assert_int_equal(memconn_end(c), how);
	assert_string_equal(memconn_reason(c), reason);
}

void hello(void)
{
	buf_addc(&wire, 'H');
	buf_addc(&wire, KEY);
}

void scramble(size_t from)
{
	toy_xor_in_place(wire.p + from, wire.n - from, KEY);
}

void send_wire(size_t piece)
{
	memconn_send(c, buf_str(&wire), wire.n, piece);
	buf_reset(&wire);
}

void assert_frames(const char *text)
{
	BUF_AUTO struct buf b = BUF_INIT(4 << 20);

	toy_unframe(memconn_out(c), &b);
	assert_string_equal(buf_str(&b), text);
	memconn_take(c, SIZE_MAX);
}
