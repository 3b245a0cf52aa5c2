/* knocks.c - a protocol that has a first message and a login, to be late with: `hello`, then `login`, then any line comes back. */
#include "core/proto.h"
#include "core/proto_who.h"

enum { LINE = 1024 };

struct knocks {
	bool greeted, known;
};

static enum verdict take(struct knocks *k, struct io *io, struct span line)
{
	static const struct who who = { .how = WHO_PASSWORD, .user = "somebody" };

	if (!k->greeted && span_is(line, "hello")) {
		k->greeted = true;
		io_first(io);
	} else if (k->greeted && !k->known && span_is(line, "login")) {
		k->known = true;
		io_who(io, &who);
	} else if (!k->known) {
		return V_CLOSE;
	}
	out_mem(io, line.p, line.n);
	out_str(io, "\n");
	return V_GO;
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	struct span line;
	int r;

	if (ev->kind == EV_EOF)
		return V_CLOSE;
	if (ev->kind != EV_DATA)
		return V_GO;
	r = in_line(io, LINE, &line);
	if (r < 0)
		return V_CLOSE;
	return r ? take(self, io, line) : V_GO;
}

extern const struct proto knocks_proto;
const struct proto knocks_proto = {
	.abi = PROTO_ABI,
	.name = "knocks",
	.summary = "waits for a first message and a login",
	.flags = P_STREAM | P_OFF | P_FIRST | P_LOGIN,
	.self_size = sizeof(struct knocks),
	.step = step,
};
