/* asks.c - see asks.h. */
#include "support/asks.h"

#include <errno.h>
#include <string.h>

#include "proto/common/login.h"

enum { TAG = 7 };

struct asks {
	struct rules_view *view;
	uint64_t generation;
};

static enum verdict say(struct io *io, enum login r)
{
	static const char *const words[] = { [LOGIN_IN] = "in\n",
					     [LOGIN_WAIT] = "wait\n",
					     [LOGIN_WRONG] = "wrong\n",
					     [LOGIN_BARRED] = "barred\n",
					     [LOGIN_FAILED] = "failed\n" };

	if (r == LOGIN_WAIT)
		io_hold(io, true);
	else
		out_str(io, words[r]);
	return r == LOGIN_BARRED ? V_CLOSE : V_GO;
}

static enum verdict ask(struct asks *t, struct io *io, const char *verb, struct span name)
{
	static const struct span client = { (const uint8_t *)"c1", 2 };
	enum rules_verb wants = *verb == 'r' ? RULES_READ : RULES_WRITE;
	struct login_who same = {}; /* as io->who has it */
	struct login_view may;
	int r = 0;

	if (!t->view || t->generation != access_generation(io->svc->access)) {
		rules_view_free(&t->view);
		r = login_view(io, same, client, &may);
		people_unref(may.people);
		t->view = may.rules;
		t->generation = may.generation;
	}
	if (r == 0)
		out_str(io, rules_check(t->view, wants, RULES_TOPICS, name) ? "yes\n" : "no\n");
	else
		out_str(io, r == -EACCES ? "gone\n" : "memory\n");
	return V_GO;
}

static enum verdict take_line(struct asks *t, struct io *io, struct span line)
{
	const uint8_t *space = memchr(line.p, ' ', line.n);
	struct span user = line, rest = {};
	uint32_t proof;

	if (space) {
		user.n = (size_t)(space - line.p);
		rest = (struct span){ space + 1, line.n - user.n - 1 };
	}
	if (span_is(user, "read") || span_is(user, "write"))
		return ask(t, io, (const char *)user.p, rest);
	return say(io, login_begin(io, TAG, user, rest, &proof));
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	enum verdict v = V_GO;
	struct span line;
	uint32_t proof;

	if (ev->kind == EV_EOF || ev->kind == EV_STOP)
		return V_CLOSE;
	if (ev->kind == EV_DONE) {
		io_hold(io, false);
		return say(io, login_end(io, ev, &proof));
	}
	if (ev->kind == EV_DATA && in_line(io, 1000, &line) == 1)
		v = take_line(self, io, line);
	return v;
}

static void fini(void *self, struct io *io)
{
	struct asks *t = self;

	(void)io;
	rules_view_free(&t->view);
}

const struct proto asks_proto = {
	.abi = PROTO_ABI,
	.name = "asks",
	.summary = "asks who may what",
	.store = "topics",
	.flags = P_STREAM | P_OFF,
	.self_size = sizeof(struct asks),
	.step = step,
	.fini = fini,
};
