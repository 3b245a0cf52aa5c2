/* runs.c - a protocol that gives each connection to a command: option `command`, its words. */
#include "conf/option.h"
#include "core/proto_child.h"

enum { COMMAND = 1, WORDS = 16 };

struct runs_options {
	struct str_words command;
};

static const struct option rows[] = {
	OPT_WORDS(struct runs_options, command, "/bin/cat", 1, WORDS, NULL, "what is run for each client"),
};
static const struct option_table table = OPTION_TABLE("runs", rows, struct runs_options, NULL);

static void run(struct io *io)
{
	const struct runs_options *o = io->svc->options;
	const char *argv[WORDS + 1] = {};
	struct exec e = { .argv = argv, .give = true, .errors = true };

	for (size_t i = 0; i < o->command.n; i++)
		argv[i] = o->command.v[i];
	e.path = argv[0];
	io_child(io, COMMAND, &(struct child){ .kind = CHILD_EXEC, .exec = &e });
}

static void move(struct io *from, struct io *to)
{
	struct span in = in_peek(from);
	size_t room = out_room(to), n = in.n < room ? in.n : room;

	out_mem(to, in.p, n);
	in_take(from, n);
	if (n < in.n)
		io_hold(from, true);
	else if (from->eof)
		out_eof(to);
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	struct io *command = io_chan(io, COMMAND);

	(void)self;
	if (ev->kind == EV_OPEN && !ev->chan)
		run(io);
	if (ev->kind == EV_GONE && ev->err < 0)
		out_fmt(io, "error %d\n", -ev->err);
	if (ev->kind == EV_GONE)
		return V_CLOSE;
	if (!command) {
		io_hold(io, true);
		return V_GO;
	}
	if (ev->kind == EV_OPEN || ev->kind == EV_ROOM) {
		io_hold(io, false);
		io_hold(command, false);
	}
	move(io, command);
	move(command, io);
	return V_GO;
}

extern const struct proto runs_proto;
const struct proto runs_proto = {
	.abi = PROTO_ABI,
	.name = "runs",
	.summary = "runs a command for each client",
	.flags = P_STREAM | P_OFF | P_READ_WHILE_FULL | P_RUNS,
	.options = &table,
	.step = step,
};
