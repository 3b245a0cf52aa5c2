/* control.c - the service behind the control socket; see control.h. */
#include "main/control.h"

#include <signal.h>
#include <unistd.h>

#include "base/buf.h"
#include "drive/server.h"

enum {
	LINE_MAX = 256,
	STATS_MAX = CONTROL_OUTPUT / 2,
};

#define LOOK_AGAIN (20 * MSEC) /* whether a reload has ended */

struct session {
	bool reloading;
	unsigned reloads; /* before ours */
};

static enum verdict refuse(struct io *io, const char *text)
{
	out_fmt(io, "error: %s\n", text);
	io_reason(io, "bad-request");
	return V_CLOSE;
}

static enum verdict stats(struct io *io, bool json)
{
	const struct control *c = io->svc->state;
	BUF_AUTO struct buf b;

	buf_init(&b, STATS_MAX);
	if (c->tell)
		c->tell(c->arg);
	server_stats(c->server, json, &b);
	if (b.err)
		return refuse(io, "out of memory");
	out_mem(io, buf_str(&b), b.n);
	if (b.n > 0 && b.p[b.n - 1] != '\n')
		out_str(io, "\n");
	return V_CLOSE;
}

static enum verdict stats_json(struct session *s, struct io *io)
{
	(void)s;
	return stats(io, true);
}

static enum verdict stats_text(struct session *s, struct io *io)
{
	(void)s;
	return stats(io, false);
}

static enum verdict version(struct session *s, struct io *io)
{
	(void)s;
	out_str(io, "guichet " GUICHET_VERSION "\n");
	return V_CLOSE;
}

/* The same way as systemd and people ask for it, so there is one place where it happens: between two turns. */
static enum verdict reload(struct session *s, struct io *io)
{
	const struct control *c = io->svc->state;

	s->reloading = true;
	s->reloads = c->reloads + c->reloading;
	kill(getpid(), SIGHUP);
	io_timer(io, 0, io->now + LOOK_AGAIN);
	io_hold(io, true);
	return V_GO;
}

static enum verdict reload_ended(const struct session *s, struct io *io)
{
	const struct control *c = io->svc->state;

	if (c->reloads == s->reloads || c->reloads + 1 == s->reloads) {
		io_timer(io, 0, io->now + LOOK_AGAIN);
		return V_GO;
	}
	out_str(io, c->failed ? "error: nothing was changed\n" : "ok\n");
	out_str(io, c->text);
	return V_CLOSE;
}

static const struct request {
	const char *line;
	enum verdict (*run)(struct session *s, struct io *io);
} requests[] = {
	{ "stats json", stats_json },
	{ "stats text", stats_text },
	{ "reload", reload },
	{ "version", version },
};

static enum verdict take_line(struct session *s, struct io *io)
{
	struct span line;
	int r = in_line(io, LINE_MAX, &line);

	if (r == 0)
		return io->eof ? V_CLOSE : V_GO;
	if (r < 0)
		return refuse(io, "the line is too long");
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		if (span_is(line, requests[i].line))
			return requests[i].run(s, io);
	return refuse(io, "unknown request, one of: stats json, stats text, reload, version");
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	struct session *s = self;

	switch (ev->kind) {
	case EV_DATA:
	case EV_EOF:
		return ev->err < 0 ? V_CLOSE : take_line(s, io);
	case EV_TIMER:
		return reload_ended(s, io);
	case EV_STOP:
		return V_CLOSE;
	default:
		return V_GO;
	}
}

const struct proto control_proto = {
	.abi = PROTO_ABI,
	.name = "control",
	.summary = "answers `guichet stats` and `guichet reload`",
	.flags = P_STREAM,
	.self_size = sizeof(struct session),
	.step = step,
};
