/* ask.c - see ask.h. */
#include "client/ask.h"

#include <errno.h>

#include "core/proto_child.h"
#include "drive/client.h"

enum { SERVER = 1 }; /* tag of the channel */

struct question {
	const char *address, *line;
	nsec patience;
	struct buf *answer;
	int err;
	char why[256];
};

static void fail(struct question *q, int err, const char *why)
{
	struct buf b;

	q->err = err;
	buf_init_fixed(&b, q->why, sizeof(q->why));
	buf_adds(&b, why ? why : strerror(-err));
}

/* Nothing may be asked or answered before the connection is there. */
static void dial(const struct question *q, struct io *io)
{
	io_child(io, SERVER,
		 &(struct child){
			 .kind = CHILD_CONNECT,
			 .address = q->address,
			 .deadline = io->now + q->patience,
		 });
	io_timer(io, 0, io->now + q->patience);
}

static enum verdict take(struct question *q, struct io *server)
{
	struct span in = in_peek(server);

	buf_add(q->answer, in.p, in.n);
	in_take(server, in.n);
	if (!q->answer->err)
		return V_GO;
	fail(q, q->answer->err, NULL);
	return V_ABORT;
}

static enum verdict server_step(struct question *q, const struct ev *ev, struct io *server)
{
	if (!server)
		return V_GO;
	if (ev->kind == EV_OPEN) {
		out_str(server, q->line);
		out_str(server, "\n");
		out_eof(server);
		return V_GO;
	}
	if (ev->kind == EV_DATA)
		return take(q, server);
	if (ev->kind != EV_EOF)
		return V_GO;
	if (ev->err < 0)
		fail(q, ev->err, NULL);
	return V_CLOSE;
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	struct question *q = (struct question *)(uintptr_t)io->svc->options;

	(void)self;
	if (ev->kind == EV_GONE) {
		if (ev->err < 0 && !q->err)
			fail(q, ev->err, ev->why);
		return V_CLOSE;
	}
	if (ev->chan == SERVER)
		return server_step(q, ev, io_chan(io, SERVER));
	if (ev->kind == EV_OPEN) {
		dial(q, io);
	} else if (ev->kind == EV_TIMER) {
		fail(q, -ETIMEDOUT, "no answer");
		return V_ABORT;
	}
	return V_GO;
}

static const struct proto ask_proto = {
	.abi = PROTO_ABI,
	.name = "ask",
	.summary = "asks one question",
	.flags = P_STREAM,
	.step = step,
};

int ask(const char *address, const char *line, nsec patience, struct buf *ret, struct buf *why)
{
	struct question q = { .address = address, .line = line, .patience = patience, .answer = ret };
	int err = client_run(&ask_proto, &q, NULL, NULL);

	if (err && !q.err)
		fail(&q, err, NULL);
	if (q.err)
		buf_addf(why, "%s: %s", address, q.why);
	return q.err;
}
