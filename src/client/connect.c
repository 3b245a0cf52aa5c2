/*
 * connect.c - see connect.h. A protocol without a connection of its own, between two channels. As in a relay, what has no
 * room on one side is left on the other, which is held until there is some: neither side can fill our memory.
 */
#include "client/connect_priv.h"

#include <errno.h>

#include "base/buf.h"
#include "base/peer.h"
#include "core/proto_child.h"
#include "drive/client.h"
#include "layer/ws.h"

enum { DGRAM_MAX = 65507 };
enum { ANSWERS, HANDSHAKE }; /* timers */

#define HANDSHAKE_TIME (30 * SEC) /* of WebSocket; as long as TLS and the connection itself have */

struct talk {
	bool connected;
	bool dgram;
};

static struct connection *connection_of(const struct io *io)
{
	return (struct connection *)(uintptr_t)io->svc->options;
}

/* ---- what goes wrong ---- */

static void fail(struct connection *c, const char *what, int err, const char *why)
{
	if (c->err)
		return;
	c->err = err;
	buf_addf(c->why, "%s %s: %s", what, c->dial.address, dial_meaning(&c->dial, err, why));
}

/* It ended over a certificate, theirs or ours: say how to go on. */
static void fail_over_tls(struct connection *c, const char *what, int err, const char *why)
{
	bool first = !c->err;

	fail(c, what, err, why);
	if (!first)
		return;
	if (err == TLS_OTHER_NAME)
		buf_adds(c->why, "; say with --name NAME which of them it is to have");
	else if (err == TLS_NOT_TRUSTED)
		buf_adds(c->why,
			 "; trust it with --ca FILE (the one that guichet makes is auto.crt in its data folder), or take "
			 "whoever answers with --insecure");
	else if (err == TLS_WANTS_ONE)
		buf_adds(c->why, "; show one with --cert FILE and --key FILE");
}

/* What the terminal has not taken yet is still printed; what the server has not taken nobody will read any more. */
static enum verdict finish(struct io *io)
{
	if (io_chan(io, SERVER))
		io_end(io, SERVER);
	return V_CLOSE;
}

/* ---- bytes ---- */

/* As much as there is room for. */
static void move(struct io *from, struct io *to)
{
	struct span in = in_peek(from);
	size_t room = out_room(to), n = in.n < room ? in.n : room;

	out_mem(to, in.p, n);
	in_take(from, n);
	if (n < in.n)
		io_hold(from, true); /* until EV_ROOM of the other side */
}

/* Each line of input is one datagram, its end included. */
static enum verdict send_lines(struct io *terminal, struct io *server, struct io *io)
{
	for (;;) {
		size_t before = in_peek(terminal).n;
		struct span line;
		int r = in_line(terminal, DGRAM_MAX, &line);

		if (r == 0)
			return V_GO;
		if (r < 0) {
			fail(connection_of(io), "cannot send to", -EMSGSIZE,
			     "the line is longer than a datagram can be");
			return V_ABORT;
		}
		out_dgram(server, NULL, line.p, before - in_peek(terminal).n);
	}
}

/* ---- the terminal ---- */

static enum verdict terminal_step(const struct talk *t, const struct ev *ev, struct io *io)
{
	struct io *terminal = io_chan(io, TERMINAL), *server = io_chan(io, SERVER);

	if ((ev->kind == EV_ROOM || ev->kind == EV_OPEN) && server) {
		io_hold(server, false);
		return V_GO;
	}
	if (!server || !terminal)
		return V_GO;
	if (ev->kind == EV_DATA && t->dgram)
		return send_lines(terminal, server, io);
	if (ev->kind == EV_DATA)
		move(terminal, server);
	if (ev->kind != EV_EOF)
		return V_GO;
	if (ev->err < 0)
		return finish(io);
	if (!t->dgram)
		out_eof(server);
	else if (send_lines(terminal, server, io) == V_ABORT) /* what stands behind the last line end */
		return V_ABORT;
	else
		io_timer(io, ANSWERS, io->now + connection_of(io)->setup->wait);
	return V_GO;
}

/* ---- the server ---- */

static void say_connected(const struct connection *c, const struct io *server)
{
	char peer[PEER_TEXT], text[PEER_TEXT + 64];
	struct buf b;

	if (!c->setup->say)
		return;
	buf_init_fixed(&b, text, sizeof(text));
	buf_addf(&b, "connected to %s%s%s", peer_text(server->peer, peer), server->secure ? ", TLS" : "",
		 c->dial.ws ? ", WebSocket" : "");
	c->setup->say(text);
}

static enum verdict connected(struct talk *t, struct io *server, struct io *io)
{
	t->connected = true;
	io_timer(io, HANDSHAKE, 0);
	say_connected(connection_of(io), server);
	io_child(io, TERMINAL, &(struct child){ .kind = CHILD_STDIO });
	if (connection_of(io)->dial.ws)
		io_hold(server, true); /* what came with the handshake, its end even, waits for the terminal */
	return V_GO;
}

/* The terminal waits until the layer is up: EV_LAYER. */
static enum verdict speak_ws(const struct connection *c, struct io *server, struct io *io)
{
	io_timer(io, HANDSHAKE, io->now + HANDSHAKE_TIME);
	io_layer(server, &ws_client_layer, ws_ctx_ref(c->dial.ws), LEFT_FEED);
	return V_GO;
}

static enum verdict server_step(struct talk *t, const struct ev *ev, struct io *io)
{
	struct connection *c = connection_of(io);
	struct io *terminal = io_chan(io, TERMINAL), *server = io_chan(io, SERVER);

	if (!server)
		return V_GO;
	switch (ev->kind) {
	case EV_OPEN:
		return c->dial.ws ? speak_ws(c, server, io) : connected(t, server, io);
	case EV_LAYER:
		return connected(t, server, io);
	case EV_DATA:
		if (terminal)
			move(server, terminal);
		return V_GO;
	case EV_DGRAM:
		if (terminal)
			out_mem(terminal, ev->dgram.data.p, ev->dgram.data.n);
		return V_GO;
	case EV_ROOM:
		if (terminal)
			io_hold(terminal, false);
		return V_GO;
	case EV_EOF:
		if (ev->err < 0)
			fail_over_tls(c, t->connected ? "lost the connection to" : "cannot connect to", ev->err,
				      ev->why);
		return finish(io);
	default:
		return V_GO;
	}
}

static enum verdict server_gone(const struct talk *t, const struct ev *ev, struct io *io)
{
	struct connection *c = connection_of(io);

	if (!t->connected)
		fail_over_tls(c, "cannot connect to", ev->err < 0 ? ev->err : -ECONNABORTED, ev->why);
	else if (ev->err < 0)
		fail_over_tls(c, "lost the connection to", ev->err, ev->why);
	return finish(io);
}

/* ---- the protocol ---- */

static enum verdict dial(struct talk *t, struct io *io)
{
	struct connection *c = connection_of(io);
	struct child child;

	t->dgram = addr_is_dgram(c->dial.setup->to);
	if (dial_child(&c->dial, &child) < 0) {
		fail(c, "cannot connect to", -ENOMEM, NULL);
		return V_ABORT;
	}
	io_child(io, SERVER, &child);
	return V_GO;
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	struct talk *t = self;

	if (ev->kind == EV_GONE)
		return ev->tag == SERVER ? server_gone(t, ev, io) : finish(io);
	if (ev->chan == TERMINAL)
		return terminal_step(t, ev, io);
	if (ev->chan == SERVER)
		return server_step(t, ev, io);
	if (ev->kind == EV_OPEN)
		return dial(t, io);
	if (ev->kind != EV_TIMER)
		return V_GO;
	if (ev->tag == HANDSHAKE)
		fail(connection_of(io), "cannot connect to", -ETIMEDOUT, NULL);
	return finish(io); /* no answer came any more */
}

const struct proto connect_proto = {
	.abi = PROTO_ABI,
	.name = "connect",
	.summary = "a conversation with a service",
	.flags = P_STREAM | P_DGRAM | P_READ_WHILE_FULL, /* both directions go on by themselves */
	.self_size = sizeof(struct talk),
	.step = step,
};

int connect_run(const struct connect_setup *setup, struct buf *why)
{
	struct connection c = { .setup = setup, .why = why };
	int err = dial_init(&c.dial, &setup->dial, why);

	if (!err) {
		err = client_run(&connect_proto, &c, NULL, NULL);
		if (err && !c.err)
			fail(&c, "cannot go on with", err, NULL);
		err = c.err;
	}
	dial_done(&c.dial);
	return err;
}
