/*
 * fuzz_tlspair.c - a client and a server of ours, and between them a network that cuts, delays and damages. As long as nothing was
 * damaged all that one says reaches the other, the end too; afterwards what arrives is at least a beginning of what was said.
 *
 * The first byte: bit 0: client certificates are asked for. Then ops, each with a byte behind it that says how much.
 */
#include <errno.h>
#include <stdlib.h>

#include "support/tls_fuzz.h"
#include "support/tls_peer.h"

#define CHECK(x) ((x) ? (void)0 : abort())

enum op { CARRY, SAY, FINISH, DAMAGE, STARVE, OPS };

/* One of the two: the layer, what is on its way to it, and what it will have been told in the end. */
struct end {
	struct side s;
	struct bytes wire;
	size_t said; /* by its peer: byte i is letter(i) */
	bool finished;
};

static bool damaged;

static uint8_t letter(size_t i)
{
	return (uint8_t)(i * 7 + (i >> 8));
}

static void collect(struct end *from, struct end *to)
{
	CHECK(bytes_add(&to->wire, from->s.down.p, from->s.down.n) == 0);
	from->s.down.n = 0;
}

static void check_told(const struct end *e)
{
	CHECK(e->s.up.n <= e->said);
	for (size_t i = 0; i < e->s.up.n; i++)
		CHECK(e->s.up.p[i] == letter(i));
	CHECK(damaged || !e->s.err);
}

/* n bytes arrive, or all of them (0). */
static void carry(struct end *to, struct end *from, size_t n)
{
	ssize_t r;

	collect(from, to);
	n = n && n < to->wire.n ? n : to->wire.n;
	if (to->s.err)
		return;
	r = side_feed(&to->s, to->wire.p, n);
	CHECK(r >= 0 || r == -EAGAIN || r == to->s.err);
	CHECK(!to->s.err || to->s.layer->why(to->s.self));
	bytes_drop(&to->wire, n);
	check_told(to);
}

static void say(struct end *to, struct end *from, size_t n)
{
	uint8_t text[256 * 60];

	n *= n > 200 ? 60 : 1; /* sometimes nearly as much as a record holds */
	if (!from->s.is_up || from->s.err || from->finished)
		return;
	for (size_t i = 0; i < n; i++)
		text[i] = letter(to->said + i);
	CHECK(side_write(&from->s, text, n) == 0);
	to->said += n;
}

static void finish(struct end *from)
{
	if (from->s.is_up && !from->s.err && !from->finished)
		CHECK(side_finish(&from->s) == 0);
	from->finished |= from->s.is_up;
}

static void damage(struct end *to, struct end *from, size_t at)
{
	collect(from, to);
	if (to->wire.n == 0)
		return;
	to->wire.p[at % to->wire.n] ^= (uint8_t)(1 << at % 8);
	damaged = true;
}

static void one_op(struct end *to, struct end *from, enum op op, uint8_t n)
{
	switch (op) {
	case CARRY:
		carry(to, from, n);
		break;
	case SAY:
		say(to, from, n);
		break;
	case FINISH:
		finish(from);
		break;
	case DAMAGE:
		if (n > 200)
			damage(to, from, n);
		break;
	case STARVE: /* of handshakes, for a turn */
		to->s.handshakes = 0;
		carry(to, from, n);
		to->s.handshakes = 1000;
		break;
	case OPS:
		break;
	}
}

/* The network becomes a good one. */
static void bring_all(struct end *a, struct end *b)
{
	for (int i = 0; i < 12; i++) {
		carry(a, b, 0);
		carry(b, a, 0);
	}
	if (damaged)
		return;
	CHECK(a->s.is_up && b->s.is_up);
	CHECK(a->s.up.n == a->said && b->s.up.n == b->said);
	CHECK(a->s.clean_eof == b->finished && b->s.clean_eof == a->finished);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct end client = {}, server = {};

	if (n == 0)
		return 0;
	damaged = false;
	tls_fuzz_restart();
	CHECK(side_open(&server.s, &tls_server_layer, tls_fuzz_context(p[0] & 1 ? TLS_FUZZ_ASK : 0), NULL) == 0);
	CHECK(side_open(&client.s, &tls_client_layer, tls_fuzz_context(TLS_FUZZ_CLIENT), "a.fuzz.test") == 0);
	for (size_t i = 1; i + 1 < n && i < 400; i += 2) {
		bool down = p[i] & 128;

		one_op(down ? &client : &server, down ? &server : &client, (enum op)(p[i] % OPS), p[i + 1]);
	}
	bring_all(&client, &server);
	side_done(&client.s);
	side_done(&server.s);
	bytes_done(&client.wire);
	bytes_done(&server.wire);
	return 0;
}
