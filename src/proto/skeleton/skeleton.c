/*
 * skeleton.c - the template for a new protocol, and a whole one: it answers each line with its number.
 *
 * Copy the folder (the page beside has the steps) and go through the comments; what your protocol has not is taken out. Say
 * here what it is and what it is not, in three to ten lines.
 */
#include "base/buf.h"
#include "conf/option.h"
#include "core/proto.h"
#include "proto/common/stream.h"
#include "proto/protos.h"

/* Every limit has a name. What an administrator should choose is an option instead. */
enum { LINE = 1024 };

/* What `guichet stats` shows beside what it counts for everybody. The enum and the names have the same order. */
enum { LINES };
static const struct proto_counter counters[] = { { "lines", "lines answered" }, {} };

/* Options: a struct of values, and a row for each of its fields, sorted by name. The row parses, checks and documents. */
struct skeleton_options {
	char *greeting;
};

static const struct option rows[] = {
	OPT_STRING(struct skeleton_options, greeting, NULL, 0, 80, "says this line first"),
};

static const struct option_table table = OPTION_TABLE("skeleton", rows, struct skeleton_options, NULL);

/*
 * What one session must remember. Zeroed before EV_OPEN, freed by the core; what it points to is freed in fini(). Without
 * such: no struct, no self_size below, and `(void)self;` in step().
 */
struct skeleton {
	uint64_t lines;
};

static void greet(struct io *io)
{
	const struct skeleton_options *o = io->svc->options;

	if (o->greeting && stream_open(io)) /* a datagram socket opens too, and there is nobody yet */
		out_fmt(io, "%s\n", o->greeting);
}

/* A peer's mistake gets an answer, and a reason for the log: never an assert, never a C error. */
static enum verdict too_long(struct io *io)
{
	out_fmt(io, "error: a line may have at most %d bytes\n", LINE);
	io_reason(io, "line-too-long");
	return V_CLOSE;
}

/*
 * As many lines as there are: clients do not wait for one answer before they ask again. But only as long as there is
 * room for answers; for what is left EV_DATA comes again.
 */
static enum verdict talk(struct skeleton *self, struct io *io)
{
	struct span line;
	int r = 0;

	while (out_room(io) && (r = in_line(io, LINE, &line)) > 0) {
		self->lines++;
		io_count(io, LINES, 1);
		if (io->traced) /* what the trace shows beside the raw bytes */
			io_note(io, NOTE_IN, "line %llu of %zu bytes", (unsigned long long)self->lines, line.n);
		out_fmt(io, "%llu: ", (unsigned long long)self->lines);
		out_mem(io, line.p, line.n); /* the span dies when step() returns; the queue has its own copy */
		out_str(io, "\n");
	}
	return r < 0 ? too_long(io) : V_GO;
}

/*
 * A datagram is a conversation of one line. Its session is the socket, which all senders share: what is kept in self is
 * everybody's. The answer goes where the route says. What cannot be answered gets silence, since a sender may be forged.
 */
static void answer(struct io *io, struct span line, const struct route *route)
{
	char text[LINE + sizeof("1: \n")];
	struct buf b;

	if (line.n && line.p[line.n - 1] == '\n')
		line.n--;
	if (line.n > LINE)
		return;
	buf_init_fixed(&b, text, sizeof(text));
	buf_adds(&b, "1: ");
	buf_add(&b, line.p, line.n);
	buf_addc(&b, '\n');
	out_dgram(io, route, b.p, b.n);
	io_count(io, LINES, 1);
}

/* One event in, a verdict out; all effects are queued until we have returned. */
static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	switch (ev->kind) {
	case EV_OPEN:
		greet(io);
		return V_GO;
	case EV_DATA:
		return talk(self, io);
	case EV_DGRAM:
		answer(io, ev->dgram.data, ev->dgram.route);
		return V_GO;
	case EV_EOF:  /* the client has said all, and so have we */
	case EV_STOP: /* the server drains: nothing is begun that would have to be finished */
		return V_CLOSE;
	default: /* what was never asked for: timers, jobs, children, mail */
		return V_GO;
	}
}

/* The registration: protos.h has one line for it, and everything else is found from here. */
const struct proto skeleton_proto = {
	.abi = PROTO_ABI,
	.name = "skeleton",
	.summary = "numbers lines: the template for new protocols",
	.flags = P_STREAM | P_DGRAM | P_SMALL | P_OFF, /* proto.h says what each means */
	.self_size = sizeof(struct skeleton),
	.options = &table,
	.counters = counters,
	.step = step,
};
