/* replay.c - dialogues (dialogue.h) over the memory driver. */
#include <errno.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/dialogue.h"
#include "support/world.h"

static const char client_address[] = "127.0.0.1:40000";
static const char far_address[] = "tcp:127.0.0.1:7777";

struct stage {
	const struct dialogue *d;
	struct world w;
	struct memconn *client[DIALOGUE_CLIENTS + 1];
	size_t piece;
	bool strict; /* what comes must be what is expected; otherwise allocations fail, and anything may come */
};

/* ---- the players ---- */

static int raise_curtain(struct stage *s, const struct proto *proto)
{
	const char *options[2 * DIALOGUE_OPTIONS + 4] = {};
	struct mem_setup setup = { .wall = s->d->wall };
	BUF_AUTO struct buf why;
	size_t n = 0;
	int r;

	for (size_t i = 0; i < s->d->options; i++) {
		options[n++] = s->d->option[i].name;
		options[n++] = s->d->option[i].value;
	}
	if (s->d->far) {
		options[n++] = "to";
		options[n++] = far_address;
	}
	buf_init(&why, 1024);
	r = world_try_open(&s->w, proto, &setup, options, &why);
	if (r < 0 && s->strict)
		fail_msg("%s: the service does not open: %s (%s)", s->d->path, buf_str(&why), strerror(-r));
	return r;
}

static void enter(struct stage *s, struct memconn *c, unsigned who)
{
	if (!c)
		return;
	memconn_reads(c, s->piece);
	memconn_writes(c, s->piece);
	s->client[who] = c;
}

static void enter_all(struct stage *s)
{
	struct memdrive *w = s->w.drive;

	if (s->d->dgram)
		s->client[0] = memdrive_dgram(w);
	for (unsigned i = 0; !s->d->dgram && i < s->d->clients; i++)
		enter(s, memconn_open(w, NULL), i);
	if (s->d->far)
		enter(s, memdrive_child(w, 0), DIALOGUE_FAR);
}

/* ---- a step ---- */

static void wrong(const struct stage *s, const struct dialogue_step *step, const char *what, struct span got)
{
	BUF_AUTO struct buf b;

	buf_init(&b, 4096);
	buf_add_quoted(&b, (struct span){ got.p, got.n < 200 ? got.n : 200 });
	fail_msg("%s:%u: in pieces of %zu: %s, there is %s (%zu bytes)", s->d->path, step->line, s->piece, what,
		 buf_str(&b), got.n);
}

static void check_bytes(const struct stage *s, const struct dialogue_step *step, struct span got)
{
	size_t n = got.n < step->n ? got.n : step->n;

	if (n && memcmp(got.p, step->p, n) != 0)
		wrong(s, step, "something else came", got);
	if (got.n < step->n)
		wrong(s, step, "not all of it came", got);
}

static void play_dgram(struct stage *s, const struct dialogue_step *step)
{
	struct memconn *c = s->client[0];
	const struct mem_dgram *d = memconn_dgram_at(c, 0);
	struct span got = d ? d->data : (struct span){};

	switch (step->kind) {
	case DIALOGUE_SEND:
		memconn_dgram(c, client_address, true, step->p, step->n);
		return;
	case DIALOGUE_EXPECT:
		if (!s->strict)
			return;
		if (memconn_dgrams(c) != 1 || got.n != step->n)
			wrong(s, step, "one datagram of that size should be there", got);
		check_bytes(s, step, got);
		memconn_dgrams_take(c);
		return;
	default:
		if (s->strict && d)
			wrong(s, step, "a datagram came", got);
	}
}

static void play_stream(struct stage *s, const struct dialogue_step *step)
{
	struct memconn *c = s->client[step->client];
	struct span got = memconn_out(c);

	switch (step->kind) {
	case DIALOGUE_SEND:
		memconn_send(c, step->p, step->n, s->piece);
		return;
	case DIALOGUE_EOF:
		memconn_eof(c);
		return;
	case DIALOGUE_EXPECT:
		if (s->strict)
			check_bytes(s, step, got);
		memconn_take(c, step->n);
		return;
	case DIALOGUE_CLOSED:
		if (s->strict && !memconn_fin(c))
			wrong(s, step, "it is not closed", got);
		[[fallthrough]];
	case DIALOGUE_SILENCE:
		if (s->strict && got.n)
			wrong(s, step, "something came", got);
	}
}

static void play(struct stage *s)
{
	for (size_t i = 0; i < s->d->n; i++) {
		const struct dialogue_step *step = &s->d->v[i];

		if (!s->client[step->client] && !s->strict)
			continue;
		assert_non_null(s->client[step->client]);
		if (s->d->dgram)
			play_dgram(s, step);
		else
			play_stream(s, step);
	}
	for (unsigned i = 0; s->strict && i <= DIALOGUE_CLIENTS; i++) {
		struct span left = s->client[i] ? memconn_out(s->client[i]) : (struct span){};

		if (left.n)
			wrong(s, &s->d->v[s->d->n - 1], "more came than was expected", left);
	}
}

static void run(const struct dialogue *d, const struct proto *proto, size_t piece, bool strict)
{
	struct stage s = { .d = d, .piece = piece, .strict = strict };

	if (raise_curtain(&s, proto) == 0) {
		enter_all(&s);
		play(&s);
	}
	world_close(&s.w);
}

void dialogue_replay(const struct dialogue *d, const struct proto *proto, size_t piece)
{
	run(d, proto, piece, true);
}

/* ---- all of them, in all pieces ---- */

static size_t longest(const struct dialogue *d)
{
	size_t n = 1;

	for (size_t i = 0; i < d->n; i++)
		n = d->v[i].n > n ? d->v[i].n : n;
	return n;
}

static void each_file(const char *folder, void (*fn)(const struct dialogue *d, const struct proto *proto),
		      const struct proto *proto)
{
	char pattern[512];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/*.txt", folder);
	if (glob(pattern, 0, NULL, &found) != 0)
		fail_msg("no dialogue matches %s (tests run in the root of the source tree)", pattern);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct dialogue *d = dialogue_load(found.gl_pathv[i]);

		fn(d, proto);
		dialogue_free(&d);
	}
	globfree(&found);
}

/* Every size for a short dialogue; a long one would take minutes, and differs only near its limits. */
static void in_all_pieces(const struct dialogue *d, const struct proto *proto)
{
	size_t most = longest(d);

	for (size_t piece = 1; piece < most; piece += most <= 1024 ? 1 : 1 + piece / 3)
		dialogue_replay(d, proto, piece);
	dialogue_replay(d, proto, most);
}

void dialogue_replay_folder(const char *folder, const struct proto *proto)
{
	each_file(folder, in_all_pieces, proto);
}

struct failing {
	const struct dialogue *d;
	const struct proto *proto;
};

static void failing_scene(void *arg)
{
	const struct failing *f = arg;

	run(f->d, f->proto, 0, false);
}

static void with_failing_allocations(const struct dialogue *d, const struct proto *proto)
{
	struct failing f = { d, proto };

	dialogue_replay(d, proto, longest(d)); /* one that is refused or goes otherwise would show nothing below */
	fail_each_allocation(failing_scene, &f);
}

void dialogue_fail_folder(const char *folder, const struct proto *proto)
{
	each_file(folder, with_failing_allocations, proto);
}
