/*
 * echo.c - what comes is sent back (RFC 862), and the classic variants of that as options.
 *
 * Without an option that speaks of lines it moves bytes as they come. With `upper`, `reply` or `until` it works line by
 * line. A datagram is one message, whatever is in it. No session has state: all there is comes from the options.
 */
#include <errno.h>

#include "base/mem.h"
#include "conf/option.h"
#include "core/proto.h"
#include "proto/common/stream.h"
#include "proto/protos.h"

enum {
	ECHO_LINE = 64 << 10, /* bytes before the line's end */
	ECHO_LINE_END = 2,    /* CR LF */
	ECHO_TEXT = 1024,     /* of an option */
	PIECE = 4096,         /* bytes changed at a time */
};

struct echo_options {
	char *banner;
	char *reply;
	bool successor;
	char *until;
	bool upper;
};

/* Of the service: `reply` taken apart. */
struct echo {
	bool lines;                /* an option needs them */
	struct span before, after; /* what `reply` has around its %s */
	char text[];
};

enum { LINES, LONG_LINES };
static const struct proto_counter counters[] = {
	{ "lines", "lines answered, by themselves" },
	{ "long_lines", "lines that were longer than the limit" },
	{},
};

/* ---- options ---- */

/*
 * Writes the text around the %s of a `reply` to `out`, which has room for all of it, with %% as %. Returns how many %s
 * there are, or -EINVAL for a % before anything else; `*ret_split` is where the first one was.
 */
static int take_apart(const char *reply, char *out, size_t *ret_n, size_t *ret_split)
{
	size_t n = 0;
	int found = 0;

	for (const char *c = reply; *c; c++) {
		if (*c == '%') {
			c++;
			if (*c == 's') {
				if (found++ == 0)
					*ret_split = n;
				continue;
			}
			if (*c != '%')
				return -EINVAL;
		}
		out[n++] = *c;
	}
	*ret_n = n;
	return found;
}

static int check(const void *values, struct buf *why)
{
	const struct echo_options *o = values;
	char text[ECHO_TEXT];
	size_t n, split;

	if (!o->reply)
		return 0;

	int found = take_apart(o->reply, text, &n, &split);

	if (found == 1)
		return 0;
	if (found < 0)
		buf_adds(why, "reply: after % there must be s, for the line, or another %");
	else
		buf_addf(why, "reply: needs exactly one %%s, for the line, and has %s", found ? "more" : "none");
	return -EINVAL;
}

static const struct option rows[] = {
	OPT_STRING(struct echo_options, banner, NULL, 0, ECHO_TEXT, "greets each connection with this line"),
	OPT_STRING(struct echo_options, reply, NULL, 0, ECHO_TEXT,
		   "wraps each line: exactly one %s, %% for a percent sign"),
	OPT_BOOL(struct echo_options, successor, "no", "sends each byte back plus one: A gives B"),
	OPT_STRING(struct echo_options, until, NULL, 0, ECHO_TEXT, "ends the conversation at exactly this line"),
	OPT_BOOL(struct echo_options, upper, "no", "sends each line back in capitals"),
};

static const struct option_table table = OPTION_TABLE("echo", rows, struct echo_options, check);

static int open_service(struct svc *svc, struct buf *ret_why)
{
	const struct echo_options *o = svc->options;
	struct echo *e = mem_zalloc(sizeof(*e) + (o->reply ? strlen(o->reply) : 0));
	size_t n = 0, split = 0;

	if (!e) {
		buf_adds(ret_why, "out of memory");
		return -ENOMEM;
	}
	if (o->reply)
		take_apart(o->reply, e->text, &n, &split); /* checked before */
	e->lines = o->upper || o->reply || o->until;
	e->before = (struct span){ (const uint8_t *)e->text, split };
	e->after = (struct span){ (const uint8_t *)e->text + split, n - split };
	svc->state = e;
	return 0;
}

static void close_service(struct svc *svc)
{
	mem_free(svc->state);
	svc->state = NULL;
}

/* ---- what becomes of the bytes ---- */

static bool changes(const struct echo_options *o)
{
	return o->successor || o->upper;
}

/* Both loops have no branch inside, so that the compiler makes vectors of them. */
static void change(const struct echo_options *o, const uint8_t *from, uint8_t *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)(from[i] + o->successor);
	if (!o->upper)
		return;
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)(to[i] - ((uint8_t)(to[i] - 'a') < 26 ? 'a' - 'A' : 0));
}

/* Apart: who changes nothing needs no page of stack for it. */
[[gnu::noinline]] static void say_changed(struct io *io, const struct echo_options *o, struct span s)
{
	uint8_t piece[PIECE];

	while (s.n) {
		size_t n = s.n < PIECE ? s.n : PIECE;

		change(o, s.p, piece, n);
		out_mem(io, piece, n);
		s.p += n;
		s.n -= n;
	}
}

static void say(struct io *io, const struct echo_options *o, struct span s)
{
	if (changes(o))
		say_changed(io, o, s);
	else
		out_mem(io, s.p, s.n);
}

/* Bytes as they come, never more than the queue should hold; for what is left EV_DATA comes again when there is room. */
static enum verdict echo_bytes(struct io *io)
{
	struct span in = in_peek(io);
	size_t room = out_room(io);

	if (in.n > room)
		in.n = room;
	say(io, io->svc->options, in);
	in_take(io, in.n);
	return V_GO;
}

/* One line, which came with `end` bytes of line end behind it: the answer gets the same end. */
static void answer(struct io *io, struct span line, size_t end)
{
	const struct echo *e = io->svc->state;

	out_mem(io, e->before.p, e->before.n);
	say(io, io->svc->options, line);
	out_mem(io, e->after.p, e->after.n);
	out_mem(io, line.p + line.n, end);
	io_count(io, LINES, 1);
}

/* Bytes that a line may have: what the RFC's readers expect, or less when the option `input` says so. */
static size_t line_max(const struct io *io)
{
	return io->svc->limits.input < ECHO_LINE ? io->svc->limits.input : ECHO_LINE;
}

static enum verdict too_long(struct io *io)
{
	out_fmt(io, "error: a line may have at most %zu bytes\n", line_max(io));
	io_reason(io, "line-too-long");
	io_count(io, LONG_LINES, 1);
	return V_CLOSE;
}

static enum verdict echo_lines(struct io *io)
{
	const struct echo_options *o = io->svc->options;
	size_t most = line_max(io);
	struct span line;
	int r = 0;

	while (out_room(io)) {
		size_t before = in_peek(io).n;

		r = in_line(io, most + ECHO_LINE_END, &line);
		if (r <= 0)
			break;
		if (line.n > most)
			return too_long(io);
		if (o->until && span_is(line, o->until))
			return V_CLOSE;
		answer(io, line, before - in_peek(io).n - line.n);
	}
	return r == -EMSGSIZE ? too_long(io) : V_GO;
}

/* ---- datagrams ---- */

/* The bytes of one line end at the end of a message: 0, 1 (LF) or 2 (CR LF). */
static size_t end_of(struct span s)
{
	if (s.n == 0 || s.p[s.n - 1] != '\n')
		return 0;
	return s.n > 1 && s.p[s.n - 2] == '\r' ? 2 : 1;
}

/* One message, one answer. An empty one gets none: it carries nothing to send back. */
static void echo_dgram(struct io *io, struct span msg, const struct route *route)
{
	const struct echo_options *o = io->svc->options;
	const struct echo *e = io->svc->state;
	size_t end = e->lines ? end_of(msg) : 0;
	size_t n = msg.n - end;

	if (msg.n == 0)
		return;
	if (!changes(o) && !o->reply) {
		out_dgram(io, route, msg.p, msg.n);
		return;
	}

	uint8_t *text = mem_alloc(e->before.n + msg.n + e->after.n);

	if (!text)
		return; /* lost, as datagrams are */
	memcpy(text, e->before.p, e->before.n);
	change(o, msg.p, text + e->before.n, n);
	memcpy(text + e->before.n + n, e->after.p, e->after.n);
	memcpy(text + e->before.n + n + e->after.n, msg.p + n, end);
	out_dgram(io, route, text, e->before.n + msg.n + e->after.n);
	mem_free(text);
}

/* ---- the protocol ---- */

static void greet(struct io *io)
{
	const struct echo_options *o = io->svc->options;

	if (o->banner && *o->banner && stream_open(io)) {
		out_str(io, o->banner);
		out_str(io, "\n");
	}
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	const struct echo *e = io->svc->state;

	(void)self;
	switch (ev->kind) {
	case EV_OPEN:
		if (e->lines)
			in_cap(io, line_max(io) + ECHO_LINE_END);
		greet(io);
		return V_GO;
	case EV_DATA:
		return e->lines ? echo_lines(io) : echo_bytes(io);
	case EV_DGRAM:
		echo_dgram(io, ev->dgram.data, ev->dgram.route);
		return V_GO;
	case EV_EOF:
	case EV_STOP:
		return V_CLOSE;
	default:
		return V_GO;
	}
}

const struct proto echo_proto = {
	.abi = PROTO_ABI,
	.name = "echo",
	.summary = "sends back what it gets",
	.doc = "RFC 862",
	.flags = P_STREAM | P_DGRAM | P_SMALL,
	.port = 7,
	.options = &table,
	.counters = counters,
	.step = step,
	.svc_open = open_service,
	.svc_close = close_service,
};
