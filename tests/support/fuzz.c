/* fuzz.c - see fuzz.h. */
#include "support/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "support/world.h"

enum {
	CLIENTS = 8,
	HEAD = 4,
	MARK = 255,
	SLOW = 1000, /* bytes that a slow client reads at first */
	OUTPUT = 256 << 10,
};

enum action { NEXT, END, BREAK, PASS, READ, DRAIN, FAR, DATAGRAM };

struct table {
	struct world w;
	const struct proto *proto;
	struct memconn *client[CLIENTS];
	unsigned clients, at;
	size_t far;              /* how many far sides have spoken */
	struct memconn *speaker; /* NULL: memory was out, or it is not there */
	size_t piece;
};

static void sit_down(struct table *t, unsigned how)
{
	t->clients = t->proto->flags & P_STREAM ? 1 + how % CLIENTS : 0;
	for (unsigned i = 0; i < t->clients; i++) {
		struct memconn *c = memconn_open(t->w.drive, &(struct mem_open){ .window = how & 128 ? SLOW : 0 });

		if (c) {
			memconn_reads(c, t->piece);
			memconn_writes(c, t->piece);
		}
		t->client[i] = c;
	}
	t->speaker = t->client[0];
}

/* The bytes up to the next mark are one datagram. Returns how many they are. */
static size_t send_dgram(struct table *t, const uint8_t *p, size_t n)
{
	const uint8_t *mark = memchr(p, MARK, n);
	struct memconn *d = t->proto->flags & P_DGRAM ? memdrive_dgram(t->w.drive) : NULL;

	n = mark ? (size_t)(mark - p) : n;
	if (d) {
		memconn_dgram(d, "192.0.2.1:4711", n & 1, p, n);
		if (memconn_dgrams(d) > 1)
			abort();
		memconn_dgrams_take(d);
	}
	return n;
}

static void act(struct table *t, enum action what)
{
	struct memconn *c = t->speaker;

	if (what == NEXT && t->clients)
		t->speaker = t->client[++t->at % t->clients];
	else if (what == FAR)
		t->speaker = memdrive_child(t->w.drive, t->far++);
	else if (what == PASS)
		memdrive_advance(t->w.drive, SEC);
	else if (what == DRAIN)
		memdrive_stop(t->w.drive);
	else if (what == END && c)
		memconn_eof(c);
	else if (what == BREAK && c)
		memconn_reset(c);
	else if (what == READ && c)
		memconn_window(c, 500);
}

static void say(struct table *t, const uint8_t *p, size_t n)
{
	if (t->speaker && n)
		memconn_send(t->speaker, p, n, t->piece);
}

static void converse(struct table *t, const uint8_t *p, size_t n)
{
	while (n) {
		const uint8_t *mark = memchr(p, MARK, n);
		size_t k = mark ? (size_t)(mark - p) : n;

		say(t, p, k);
		p += k;
		n -= k;
		if (n < 2)
			return;
		if (p[1] > DATAGRAM)
			say(t, p, 2);
		else if (p[1] < DATAGRAM)
			act(t, (enum action)p[1]);
		k = p[1] == DATAGRAM ? 2 + send_dgram(t, p + 2, n - 2) : 2;
		p += k;
		n -= k;
	}
}

static void check(const struct table *t)
{
	if (!memdrive_run(t->w.drive))
		abort();
	for (unsigned i = 0; i < t->clients; i++) {
		if (t->client[i] && memconn_peak(t->client[i]) > OUTPUT)
			abort();
	}
}

/* Options that are refused would leave a target that never says a word, and never finds a thing. */
static void check_sets(const struct proto *proto, const struct mem_setup *setup, const char *const *const *sets,
		       size_t n_sets)
{
	for (size_t i = 0; i < n_sets; i++) {
		BUF_AUTO struct buf why;
		struct world w;
		int r;

		buf_init(&why, 1024);
		r = world_try_open(&w, proto, setup, sets[i], &why);
		world_close(&w);
		if (r == 0)
			continue;
		fprintf(stderr, "fuzz target of %s: its set of options %zu is refused: %s (%s)\n", proto->name, i,
			buf_str(&why), strerror(-r));
		_Exit(1); /* no finding: without the stack and the input of one */
	}
}

void fuzz_talk(const struct proto *proto, const char *const *const *sets, size_t n_sets, const uint8_t *data,
	       size_t size)
{
	struct mem_setup setup = { .loops = 2, .output = OUTPUT, .idle = 30 * SEC };
	struct table t = { .proto = proto };
	struct mem_away away;
	static bool checked;

	if (size < HEAD)
		return;
	if (!checked)
		check_sets(proto, &setup, sets, n_sets);
	checked = true;
	t.piece = data[1];
#ifdef GUICHET_FAULTS
	fault_arm(FAULT_MEM, data[2], 0, false);
#endif
	if (world_try_open(&t.w, proto, &setup, n_sets ? sets[data[0] % n_sets] : NULL, NULL) == 0) {
		sit_down(&t, data[3]);
		converse(&t, data + HEAD, size - HEAD);
		/* what went to the other loop comes back from there */
		while (memdrive_away(t.w.drive, &away) == 1)
			memdrive_shard_post(t.w.drive, away.tag, away.mail);
		check(&t);
	}
	world_close(&t.w);
#ifdef GUICHET_FAULTS
	fault_arm(FAULT_MEM, 0, 0, false);
#endif
}
