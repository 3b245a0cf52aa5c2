/*
 * fuzz_ws.c - WebSocket and a stranger, or two of ours and what a network does between them. Input: one byte that says who (below), one
 * that says in what pieces bytes come (0 = all at once), then what is said.
 *
 * STRANGER: all that a server hears. FRAMES, ANSWERED: what comes behind a right handshake, to a server and to a client. ANSWER: all that a
 * client hears. In whatever pieces it comes, the outcome is the same. PAIR: ops, each with a byte behind it that says how much; what one
 * says reaches the other, and so does the end.
 */
#include <errno.h>
#include <stdlib.h>

#include "layer/ws.h"
#include "support/tls_peer.h"

#define MUST(x) ((x) ? (void)0 : abort())

enum part { STRANGER, FRAMES, ANSWER, ANSWERED, PAIR, PARTS };
enum { TEXT = 8, BINARY = 16, SMALL = 32 }; /* bits of the first byte */

static const char request[] = "GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
static const char *const names[] = { "mqtt", "mqttv3.1", NULL };

static void open_side(struct side *s, bool client, uint8_t how)
{
	static char *words[] = { "/mqtt", "/" };
	const struct ws_setup setup = {
		.client = client,
		.text = how & TEXT,
		.binary = how & BINARY,
		.most = how & SMALL ? 100 : 0,
		.service = "fuzz",
		.host = "a",
		.target = "/mqtt",
		.subprotocols = names,
		.paths = { words, 2 },
	};
	struct ws_ctx *ctx;

	MUST(ws_ctx_new(&setup, &ctx) == 0);
	MUST(side_start(s, client ? &ws_client_layer : &ws_server_layer, ctx) == 0);
}

static void feed(struct side *s, const uint8_t *p, size_t n, size_t piece)
{
	for (size_t at = 0, k; at < n && !s->err; at += k) {
		ssize_t r;

		k = piece && n - at > piece ? piece : n - at;
		s->queued = at & 64 ? 1 << 20 : 0; /* sometimes pongs have to wait */
		r = side_feed(s, p + at, k);
		MUST(r >= 0 || r == s->err);
	}
	MUST(!s->err || (s->err == -EPROTO && s->layer->why(s->self)));
	MUST(s->raw.n <= 16 << 10 || s->err);
}

/* The server's answer to this client, which is then up. */
static void shake_hands(struct side *client)
{
	struct side server;

	open_side(&server, false, 0);
	MUST(side_feed(&server, client->down.p, client->down.n) > 0);
	MUST(side_feed(client, server.down.p, server.down.n) > 0 && client->is_up);
	client->down.n = 0;
	side_done(&server);
}

static void run(struct side *s, enum part who, uint8_t how, const uint8_t *p, size_t n, size_t piece)
{
	open_side(s, who == ANSWER || who == ANSWERED, how);
	if (who == FRAMES)
		MUST(side_feed(s, request, sizeof(request) - 1) > 0);
	if (who == ANSWERED)
		shake_hands(s);
	feed(s, p, n, piece);
	if (s->is_up && !s->err) {
		MUST(side_write(s, "bye", 3) == 0);
		MUST(side_finish(s) == 0);
		MUST(side_write(s, "x", 1) == -EPIPE);
	}
}

static void alone(enum part who, uint8_t how, const uint8_t *p, size_t n, size_t piece)
{
	struct side whole, parts;

	run(&whole, who, how, p, n, 0);
	run(&parts, who, how, p, n, piece);
	MUST(whole.err == parts.err && whole.is_up == parts.is_up && whole.clean_eof == parts.clean_eof);
	MUST(whole.up.n == parts.up.n || whole.err); /* text up to what is wrong, or not */
	MUST(!whole.up.n || !parts.up.n ||
	     memcmp(whole.up.p, parts.up.p, whole.up.n < parts.up.n ? whole.up.n : parts.up.n) == 0);
	side_done(&whole);
	side_done(&parts);
}

/* ---- two of ours ---- */

struct end {
	struct side s;
	struct bytes wire; /* on its way to it */
	size_t said;       /* by its peer: byte i is letter(i) */
	bool finished;
};

static uint8_t letter(size_t i)
{
	return (uint8_t)((i * 7 + (i >> 8)) & 127); /* text, too */
}

static void carry(struct end *to, struct end *from, size_t n)
{
	MUST(bytes_add(&to->wire, from->s.down.p, from->s.down.n) == 0);
	from->s.down.n = 0;
	n = n && n < to->wire.n ? n : to->wire.n;
	MUST(side_feed(&to->s, to->wire.p, n) >= 0 && !to->s.err);
	bytes_drop(&to->wire, n);
	MUST(to->s.up.n <= to->said);
	for (size_t i = 0; i < to->s.up.n; i++)
		MUST(to->s.up.p[i] == letter(i));
}

static void say(struct end *to, struct end *from, size_t n)
{
	uint8_t text[256 * 60];

	n *= n > 200 ? 60 : 1;
	if (!from->s.is_up || from->finished || from->s.clean_eof)
		return;
	for (size_t i = 0; i < n; i++)
		text[i] = letter(to->said + i);
	if (n > 1)
		MUST(side_write_pieces(&from->s, (struct span[]){ { text, n / 2 }, { text + n / 2, n - n / 2 } }, 2) ==
		     0);
	else
		MUST(side_write(&from->s, text, n) == 0);
	to->said += n;
}

static void finish(struct end *from)
{
	if (!from->s.is_up || from->finished)
		return;
	MUST(side_finish(&from->s) == 0);
	from->finished = true;
}

static void pair(uint8_t how, const uint8_t *p, size_t n)
{
	struct end a = {}, b = {};

	how &= TEXT;
	open_side(&a.s, true, how);
	open_side(&b.s, false, how);
	for (size_t i = 0; i + 1 < n && i < 400; i += 2) {
		struct end *to = p[i] & 128 ? &a : &b, *from = p[i] & 128 ? &b : &a;

		if (p[i] % 8 == 0)
			finish(from);
		else if (p[i] & 1)
			carry(to, from, p[i + 1]);
		else
			say(to, from, p[i + 1]);
	}
	for (int i = 0; i < 4; i++) {
		carry(&b, &a, 0);
		carry(&a, &b, 0);
	}
	MUST(a.s.is_up && b.s.is_up);
	finish(&a);
	finish(&b);
	carry(&b, &a, 0);
	carry(&a, &b, 0);
	MUST(a.s.up.n == a.said && b.s.up.n == b.said && a.s.clean_eof && b.s.clean_eof);
	side_done(&a.s);
	side_done(&b.s);
	bytes_done(&a.wire);
	bytes_done(&b.wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 2)
		return 0;
	if ((p[0] & 7) % PARTS == PAIR)
		pair(p[0], p + 2, n - 2);
	else
		alone((enum part)((p[0] & 7) % PARTS), p[0], p + 2, n - 2, p[1]);
	return 0;
}
