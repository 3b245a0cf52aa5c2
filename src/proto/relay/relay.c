/*
 * relay.c - every connection goes on to another address, byte for byte, both ways.
 *
 * The client is the near side, a channel to `to` the far one. Whatever comes on one side goes to the other as long as
 * there is room for it there; what does not fit stays where it was read, and that side is held until the other says
 * EV_ROOM. So a conversation never has more than one queue and one read of each side in memory. The end of one
 * direction is handed on by itself; the conversation is over when both have ended.
 */
#include <errno.h>

#include "base/mem.h"
#include "conf/option.h"
#include "core/proto_child.h"
#include "proto/protos.h"

enum { FAR = 1 }; /* tag of the channel */
enum { CONNECTED, FAILED, TO_FAR, TO_NEAR };

static const struct proto_counter counters[] = {
	{ "connected", "connections made to the other side" },
	{ "connect_failed", "clients for whom there was none" },
	{ "bytes_to", "bytes sent on to the other side" },
	{ "bytes_from", "bytes that came from there" },
	{},
};

struct relay_options {
	uint64_t connect_timeout;
	struct addr_list to;
};

struct relay {
	bool connected;
	bool far_ended; /* all that the far side had to say was taken */
};

/* ---- options ---- */

static const struct option rows[] = {
	OPT_NSEC(struct relay_options, connect_timeout, "10s", NSEC_PER_MSEC, 3600 * NSEC_PER_SEC,
		 "gives up on a server that has not answered by then"),
	OPT_ADDRS(struct relay_options, to, NULL, 1, 1, "sends every connection on to this address"),
};

/* Can we connect to it? */
static const char *fault_of(const struct addr_text *to)
{
	if (to->transport != ADDR_TCP && to->transport != ADDR_UNIX && to->transport != ADDR_UNIXSEQ &&
	    to->transport != ADDR_FIFO)
		return "is not where a relay can connect to: tcp:HOST:PORT, unix:PATH, unixseq:PATH, fifo:PATH";
	if (strcmp(to->host, "*") == 0)
		return "needs one host, * is all of them";
	if (addr_is_net(to) && to->port == 0)
		return "needs a port that is not 0";
	return NULL;
}

static int check(const void *values, struct buf *why)
{
	const struct relay_options *o = values;
	const char *fault = o->to.n ? fault_of(&o->to.v[0]) : NULL;

	if (!fault)
		return 0;
	buf_adds(why, "to: ");
	addr_format(&o->to.v[0], why);
	buf_addf(why, " %s", fault);
	return -EINVAL;
}

static const struct option_table table = OPTION_TABLE("relay", rows, struct relay_options, check);

/* The service's state is the address as text. */
static int open_service(struct svc *svc, struct buf *ret_why)
{
	const struct relay_options *o = svc->options;
	struct buf text;
	char *to;
	int r;

	buf_init(&text, 1024);
	addr_format(&o->to.v[0], &text);
	r = buf_take(&text, &to);
	if (r < 0) {
		buf_adds(ret_why, "out of memory");
		return r;
	}
	svc->state = to;
	return 0;
}

static void close_service(struct svc *svc)
{
	mem_free(svc->state);
	svc->state = NULL;
}

/* ---- bytes ---- */

/* As much as the other side has room for. */
static void move(struct io *from, struct io *to, unsigned counter)
{
	struct span in = in_peek(from);
	size_t room = out_room(to);
	size_t n = in.n < room ? in.n : room;

	out_mem(to, in.p, n);
	in_take(from, n);
	io_count(from, counter, n);
	if (n < in.n)
		io_hold(from, true); /* until EV_ROOM of the other side */
}

/* ---- the near side ---- */

static void dial(struct io *io)
{
	const struct relay_options *o = io->svc->options;

	const struct child far = {
		.kind = CHILD_CONNECT,
		.address = io->svc->state,
		.deadline = io->now + o->connect_timeout,
	};

	io_hold(io, true); /* what the client says waits in its socket until there is somebody to hear it */
	io_child(io, FAR, &far);
}

static enum verdict near_step(struct relay *self, const struct ev *ev, struct io *io)
{
	struct io *far = io_chan(io, FAR);

	switch (ev->kind) {
	case EV_OPEN:
		dial(io);
		return V_GO;
	case EV_DATA:
		if (far)
			move(io, far, TO_FAR);
		return V_GO;
	case EV_EOF:
		if (ev->err < 0)
			return V_ABORT;
		if (far)
			out_eof(far);
		return V_GO;
	case EV_ROOM:
		if (far)
			io_hold(far, false);
		return V_GO;
	case EV_STOP:
		return self->connected ? V_GO : V_CLOSE; /* what is begun goes on until the server stops waiting */
	default:
		return V_GO;
	}
}

/* ---- the far side ---- */

static const char *reason_of(int err)
{
	switch (-err) {
	case ECONNREFUSED:
		return "connect-refused";
	case ETIMEDOUT:
		return "connect-timeout";
	case EHOSTUNREACH:
	case ENETUNREACH:
		return "connect-unreachable";
	case ENXIO:  /* no such name */
	case ENOENT: /* no such path */
		return "connect-unknown";
	default:
		return "connect-failed";
	}
}

static enum verdict far_step(struct relay *self, const struct ev *ev, struct io *io)
{
	struct io *far = io_chan(io, FAR);

	switch (ev->kind) {
	case EV_OPEN:
		self->connected = true;
		io_count(io, CONNECTED, 1);
		io_hold(io, false);
		return V_GO;
	case EV_DATA:
		if (far)
			move(far, io, TO_NEAR);
		return V_GO;
	case EV_EOF:
		if (ev->err < 0) { /* the client must not take what it has for the whole */
			io_reason(io, "far-side-broken");
			return V_ABORT;
		}
		self->far_ended = true;
		out_eof(io);
		return V_GO;
	case EV_ROOM:
		io_hold(io, false);
		return V_GO;
	default:
		return V_GO;
	}
}

/* The channel has ended: both directions are over and flushed, or it never came to be. */
static enum verdict far_gone(const struct relay *self, int err, struct io *io)
{
	if (err == 0)
		return V_CLOSE;
	if (self->connected) {
		io_reason(io, "far-side-broken");
		return self->far_ended ? V_CLOSE : V_ABORT;
	}
	io_reason(io, reason_of(err));
	io_count(io, FAILED, 1);
	return V_ABORT; /* a clean end would look like an empty answer */
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_GONE)
		return far_gone(self, ev->err, io);
	return ev->chan == FAR ? far_step(self, ev, io) : near_step(self, ev, io);
}

const struct proto relay_proto = {
	.abi = PROTO_ABI,
	.name = "relay",
	.summary = "passes connections on to another address",
	/* both directions go on by themselves: a client that does not read may still speak */
	.flags = P_STREAM | P_OFF | P_READ_WHILE_FULL | P_DIALS,
	.self_size = sizeof(struct relay),
	.options = &table,
	.counters = counters,
	.step = step,
	.svc_open = open_service,
	.svc_close = close_service,
};
