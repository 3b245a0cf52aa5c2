/*
 * ws.c - see ws.h: frames. A frame's head is read when it is all there, and a control frame when all of it is; the payload of others is
 * handed up as it comes. So nothing is ever held here, but the four bytes of a mask.
 */
#include <errno.h>

#include "base/mem.h"
#include "base/random.h"
#include "base/utf8.h"
#include "layer/ws_priv.h"

enum opcode { CONTINUATION, TEXT, BINARY, CLOSE = 8, PING, PONG };

enum {
	FIN = 0x80,
	RSV = 0x70,
	MASK = 0x80,
	LENGTH_16 = 126,
	LENGTH_64 = 127,
	CONTROL_MAX = 125,
	HEAD_MAX = 14,
	PIECE = 16 << 10,
	PONGS_WAIT = 16 << 10, /* more than this is queued: the peer reads too slowly for pongs */
};

enum {
	NORMAL = 1000,
	PROTOCOL_ERROR = 1002,
	NOT_ACCEPTED = 1003,
	NOT_UTF8 = 1007,
	TOO_LARGE = 1009,
};

static const nsec pong_again = SEC;

/* ---- masks (5.3) ---- */

/* From and to may be the same. Afterwards `mask` is that of the next byte. */
static void apply_mask(uint8_t *to, const uint8_t *from, size_t n, uint8_t mask[static 4])
{
	uint8_t twice[8], turned[4];
	uint64_t m, v;
	size_t i = 0;

	memcpy(twice, mask, 4);
	memcpy(twice + 4, mask, 4);
	memcpy(&m, twice, sizeof(m));
	for (; n - i >= sizeof(v); i += sizeof(v)) {
		memcpy(&v, from + i, sizeof(v));
		v ^= m;
		memcpy(to + i, &v, sizeof(v));
	}
	for (; i < n; i++)
		to[i] = from[i] ^ mask[i & 3];
	for (size_t k = 0; k < 4; k++)
		turned[k] = mask[(n + k) & 3];
	memcpy(mask, turned, 4);
}

static int new_mask(struct ws *w, uint8_t ret[static 4])
{
	struct ws_masks *m = w->masks;

	if (m->left == 0) {
		if (random_fill(m->b, sizeof(m->b)) < 0) {
			w->why = "ws: no random numbers";
			return w->err = -EIO;
		}
		m->left = sizeof(m->b);
	}
	m->left -= 4;
	memcpy(ret, m->b + m->left, 4);
	memset(m->b + m->left, 0, 4);
	return 0;
}

/* ---- out ---- */

/* The shortest head (5.2), without a mask's bytes. */
static size_t put_head(uint8_t h[static HEAD_MAX], enum opcode op, uint64_t n, bool masked)
{
	uint8_t mask = masked ? MASK : 0;

	h[0] = (uint8_t)(FIN | op);
	if (n <= CONTROL_MAX) {
		h[1] = (uint8_t)(mask | n);
		return 2;
	}
	if (n <= UINT16_MAX) {
		h[1] = mask | LENGTH_16;
		h[2] = (uint8_t)(n >> 8);
		h[3] = (uint8_t)n;
		return 4;
	}
	h[1] = mask | LENGTH_64;
	for (unsigned i = 0; i < 8; i++)
		h[2 + i] = (uint8_t)(n >> (56 - 8 * i));
	return 10;
}

static int send_masked(const struct span *v, size_t n, uint8_t mask[static 4], struct layer_io *lio)
{
	uint8_t part[4096];
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		struct span s = v[i];

		while (s.n && r == 0) {
			size_t k = s.n < sizeof(part) ? s.n : sizeof(part);

			apply_mask(part, s.p, k, mask);
			r = layer_down(lio, part, k);
			s.p += k;
			s.n -= k;
		}
	}
	return r;
}

/* One frame that is a whole message, of these pieces. */
static int send_frame(struct ws *w, enum opcode op, const struct span *v, size_t n, struct layer_io *lio)
{
	uint8_t head[HEAD_MAX], mask[4];
	uint64_t all = 0;
	size_t k;
	int r = w->ctx->client ? new_mask(w, mask) : 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		all += v[i].n;
	k = put_head(head, op, all, w->ctx->client);
	if (w->ctx->client) {
		memcpy(head + k, mask, 4);
		k += 4;
	}
	r = layer_down(lio, head, k);
	if (r == 0 && w->ctx->client)
		return send_masked(v, n, mask, lio);
	for (size_t i = 0; i < n && r == 0; i++)
		r = layer_down(lio, v[i].p, v[i].n);
	return r;
}

static int send_control(struct ws *w, enum opcode op, const void *p, size_t n, struct layer_io *lio)
{
	return send_frame(w, op, &(struct span){ p, n }, 1, lio);
}

/* Our Close, once. Code 0: none is given. */
static int send_close(struct ws *w, unsigned code, const char *why, struct layer_io *lio)
{
	uint8_t b[CONTROL_MAX] = { (uint8_t)(code >> 8), (uint8_t)code };
	size_t n = strlen(why);

	if (w->ended)
		return 0;
	w->ended = true;
	memcpy(b + 2, why, n);
	return send_control(w, CLOSE, b, code ? n + 2 : 0, lio);
}

/* The peer has broken the rules: it is told so, and that is the end. `why` begins with "ws: ". */
static int fail(struct ws *w, unsigned code, const char *why, struct layer_io *lio)
{
	int r = send_close(w, code, why + 4, lio);

	if (r < 0)
		return r;
	w->why = why;
	return w->err = -EPROTO;
}

/* The characters of all pieces, in as few messages as can be. */
static int send_text(struct ws *w, const struct span *v, size_t n, struct layer_io *lio)
{
	uint8_t text[PIECE];
	size_t have = 0;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		struct span s = v[i];

		while (s.n && r == 0) {
			have += ws_text_take(&w->out, &s, text + have, sizeof(text) - have);
			if (s.n) {
				r = send_control(w, TEXT, text, have, lio);
				have = 0;
			}
		}
	}
	return r == 0 && have ? send_control(w, TEXT, text, have, lio) : r;
}

/* ---- control frames ---- */

/* The pong that was held back, if there is room by now. */
static int release_pong(struct ws *w, struct layer_io *lio)
{
	struct ws_pong *p = w->pong;
	int r;

	if (!p || (lio->queued > PONGS_WAIT && !w->ended))
		return 0;
	w->pong = NULL;
	r = w->ended ? 0 : send_control(w, PONG, p->b, p->n, lio);
	mem_free(p);
	return r;
}

static int take_ping(struct ws *w, const uint8_t *p, size_t n, struct layer_io *lio)
{
	if (w->ended)
		return 0;
	if (lio->queued <= PONGS_WAIT)
		return send_control(w, PONG, p, n, lio);
	if (!w->pong)
		w->pong = mem_alloc(sizeof(*w->pong));
	if (!w->pong)
		return -ENOMEM;
	w->pong->at = lio->now + pong_again;
	w->pong->n = (uint8_t)n;
	memcpy(w->pong->b, p, n);
	return 0;
}

/* That a peer may send: of section 7.4.1, what IANA has added, and the ranges for libraries and for private use. */
static bool is_code(unsigned code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static int take_close(struct ws *w, const uint8_t *p, size_t n, struct layer_io *lio)
{
	unsigned code = n >= 2 ? (unsigned)p[0] << 8 | p[1] : 0;

	if (n == 1 || (n >= 2 && !is_code(code)))
		return fail(w, PROTOCOL_ERROR, "ws: close without a right code", lio);
	if (n > 2 && !utf8_valid((struct span){ p + 2, n - 2 }))
		return fail(w, NOT_UTF8, "ws: close reason is not UTF-8", lio);
	w->code = (uint16_t)code;
	w->peer_ended = lio->clean_eof = true;
	return 0;
}

static int take_control(struct ws *w, enum opcode op, const uint8_t *p, size_t n, struct layer_io *lio)
{
	if (op == PING)
		return take_ping(w, p, n, lio);
	return op == CLOSE ? take_close(w, p, n, lio) : 0;
}

/* ---- in ---- */

struct frame {
	enum opcode op;
	bool fin;
	uint64_t n;
	size_t head;     /* bytes */
	uint8_t mask[4]; /* zeros when there is none */
};

/* What is wrong with the first two bytes; NULL: nothing. */
static const char *judge(const struct ws *w, const uint8_t *p)
{
	unsigned op = p[0] & 15, n = p[1] & 127;

	if (p[0] & RSV)
		return "ws: reserved bit set";
	if (op > PONG || (op > BINARY && op < CLOSE))
		return "ws: unknown opcode";
	if (!(p[1] & MASK) != w->ctx->client)
		return w->ctx->client ? "ws: masked frame of a server" : "ws: frame without mask";
	if (op >= CLOSE && n > CONTROL_MAX)
		return "ws: control frame too long";
	if (op >= CLOSE && !(p[0] & FIN))
		return "ws: control frame in fragments";
	if (op == CONTINUATION && !w->in_message)
		return "ws: continuation of nothing";
	if ((op == TEXT || op == BINARY) && w->in_message)
		return "ws: message within a message";
	return NULL;
}

/* 1: *f; 0: more is needed. Or it has failed. */
static int read_head(struct ws *w, struct span raw, struct frame *f, struct layer_io *lio)
{
	const char *why = raw.n >= 2 ? judge(w, raw.p) : NULL;
	size_t extra;

	if (why)
		return fail(w, PROTOCOL_ERROR, why, lio);
	if (raw.n < 2)
		return 0;
	*f = (struct frame){ .op = (enum opcode)(raw.p[0] & 15), .fin = raw.p[0] & FIN, .n = raw.p[1] & 127 };
	extra = f->n == LENGTH_16 ? 2 : f->n == LENGTH_64 ? 8 : 0;
	f->head = 2 + extra;
	if (raw.n < f->head)
		return 0;
	if (extra) {
		f->n = 0;
		for (size_t i = 2; i < f->head; i++)
			f->n = f->n << 8 | raw.p[i];
		if (f->n <= (extra == 2 ? CONTROL_MAX : UINT16_MAX) || f->n > INT64_MAX)
			return fail(w, PROTOCOL_ERROR, "ws: length not in its shortest form", lio);
	}
	if (!w->ctx->client) {
		if (raw.n < f->head + 4)
			return 0;
		memcpy(f->mask, raw.p + f->head, 4);
		f->head += 4;
	}
	return 1;
}

static int end_frame(struct ws *w, struct layer_io *lio)
{
	if (!w->fin)
		return 0;
	w->in_message = false;
	if (w->is_text && w->in.need)
		return fail(w, NOT_UTF8, "ws: text is not UTF-8", lio);
	return 0;
}

static int begin_frame(struct ws *w, const struct frame *f, struct layer_io *lio)
{
	if (f->op == TEXT && w->ctx->binary)
		return fail(w, NOT_ACCEPTED, "ws: text where only binary frames are taken", lio);
	if (f->op != CONTINUATION) {
		w->is_text = f->op == TEXT;
		w->in = (struct ws_utf8){};
		w->message = 0;
	}
	if (w->ctx->most && (f->n > w->ctx->most || w->message > w->ctx->most - f->n))
		return fail(w, TOO_LARGE, "ws: message too large", lio);
	w->in_message = true;
	w->fin = f->fin;
	w->left = f->n;
	w->message += f->n;
	memcpy(w->mask, f->mask, 4);
	return w->left ? 0 : end_frame(w, lio);
}

/* How many bytes it took: the head of a frame, or all of a control frame; 0: more is needed. */
static ssize_t take_head(struct ws *w, struct span raw, struct layer_io *lio)
{
	uint8_t control[CONTROL_MAX];
	struct frame f;
	int r = read_head(w, raw, &f, lio);

	if (r <= 0)
		return r;
	if (f.op < CLOSE) {
		r = begin_frame(w, &f, lio);
		return r < 0 ? r : (ssize_t)f.head;
	}
	if (raw.n - f.head < f.n)
		return 0;
	apply_mask(control, raw.p + f.head, f.n, f.mask);
	r = take_control(w, f.op, control, f.n, lio);
	return r < 0 ? r : (ssize_t)(f.head + f.n);
}

static int hand_up(struct ws *w, struct span s, struct layer_io *lio)
{
	if (w->is_text && !ws_utf8_feed(&w->in, s))
		return fail(w, NOT_UTF8, "ws: text is not UTF-8", lio);
	return layer_up(lio, s.p, s.n);
}

static ssize_t take_payload(struct ws *w, struct span raw, struct layer_io *lio)
{
	size_t n = raw.n < w->left ? raw.n : (size_t)w->left;
	uint8_t plain[PIECE];
	int r = 0;

	if (w->ctx->client)
		r = hand_up(w, (struct span){ raw.p, n }, lio);
	for (size_t at = 0, k; !w->ctx->client && at < n && r == 0; at += k) {
		k = n - at < sizeof(plain) ? n - at : sizeof(plain);
		apply_mask(plain, raw.p + at, k, w->mask);
		r = hand_up(w, (struct span){ plain, k }, lio);
	}
	if (r < 0)
		return r;
	w->left -= n;
	if (w->left == 0)
		r = end_frame(w, lio);
	return r < 0 ? r : (ssize_t)n;
}

static ssize_t take_frames(struct ws *w, struct span raw, struct layer_io *lio)
{
	size_t at = 0;
	ssize_t r = release_pong(w, lio);

	while (r >= 0 && at < raw.n && !w->peer_ended) {
		struct span s = { raw.p + at, raw.n - at };

		r = w->left ? take_payload(w, s, lio) : take_head(w, s, lio);
		if (r == 0)
			break;
		at += r > 0 ? (size_t)r : 0;
	}
	if (r < 0)
		return r;
	return (ssize_t)(w->peer_ended ? raw.n : at); /* nothing means anything after its Close */
}

/* ---- a life ---- */

static int ws_open(struct ws *w, struct ws_ctx *ctx)
{
	w->ctx = ctx;
	w->hand = ctx ? mem_zalloc(sizeof(*w->hand)) : NULL;
	return w->hand ? 0 : -ENOMEM;
}

static int server_open(void *self, void *arg, struct layer_io *lio)
{
	struct ws *w = self;

	(void)lio;
	w->why = "ws: no request";
	return ws_open(w, arg);
}

static int client_open(void *self, void *arg, struct layer_io *lio)
{
	struct ws *w = self;
	int r = ws_open(w, arg);

	(void)lio;
	w->why = "ws: no answer";
	w->masks = mem_zalloc(sizeof(*w->masks));
	return r < 0 || !w->masks ? -ENOMEM : 0;
}

static int client_begin(void *self, struct layer_io *lio)
{
	return ws_ask(self, lio);
}

static void drop_arg(void *arg)
{
	ws_ctx_unref(arg);
}

static void ws_fini(void *self)
{
	struct ws *w = self;

	ws_ctx_unref(w->ctx);
	mem_free(w->hand);
	mem_free(w->masks);
	mem_free(w->pong);
	mem_free(w->path);
	mem_free(w->why_text);
	*w = (struct ws){};
}

static ssize_t ws_decode(void *self, struct span raw, struct layer_io *lio)
{
	struct ws *w = self;
	ssize_t r;

	if (w->err)
		return w->err;
	if (w->up)
		return take_frames(w, raw, lio);
	r = w->ctx->client ? ws_hear(w, raw) : ws_serve(w, raw, lio);
	if (r < 0 && r != -ENOMEM)
		w->err = (int)r;
	if (!w->up)
		return r;
	mem_free(w->hand);
	w->hand = NULL;
	w->why = NULL;
	lio->is_up = true;
	return r;
}

static int ws_encode(void *self, const struct span *v, size_t n, struct layer_io *lio)
{
	struct ws *w = self;
	int r;

	if (w->err)
		return w->err;
	if (!w->up)
		return -ENOTCONN;
	if (w->ended)
		return -EPIPE;
	r = release_pong(w, lio);
	if (r < 0)
		return r;
	return w->ctx->text ? send_text(w, v, n, lio) : send_frame(w, BINARY, v, n, lio);
}

static int ws_finish(void *self, struct layer_io *lio)
{
	struct ws *w = self;
	uint8_t last[3];
	size_t n;
	int r = 0;

	if (w->err || !w->up || w->ended)
		return 0;
	n = ws_text_end(&w->out, last);
	if (n)
		r = send_control(w, TEXT, last, n, lio);
	return r < 0 ? r : send_close(w, w->peer_ended ? w->code : NORMAL, "", lio);
}

static nsec ws_due(const void *self)
{
	const struct ws *w = self;

	return w->pong ? w->pong->at : 0;
}

static int ws_tick(void *self, struct layer_io *lio)
{
	struct ws *w = self;
	int r = release_pong(w, lio);

	if (w->pong)
		w->pong->at = lio->now + pong_again;
	return r;
}

static void ws_info(const void *self, struct layer_info *ret)
{
	const struct ws *w = self;

	ret->subprotocol = w->subprotocol;
	ret->path = w->path;
}

static const char *ws_why(const void *self)
{
	return ((const struct ws *)self)->why;
}

#define WS_LAYER(OPEN, BEGIN) \
	{ \
		.name = "ws", .handshake = true, .ups = STAT_WEBSOCKETS, .failures = STAT_WEBSOCKETS_FAILED, \
		.self_size = sizeof(struct ws), .open = (OPEN), .begin = (BEGIN), .drop_arg = drop_arg, \
		.decode = ws_decode, .encode = ws_encode, .finish = ws_finish, .due = ws_due, .tick = ws_tick, \
		.info = ws_info, .why = ws_why, .fini = ws_fini, \
	}

const struct layer ws_server_layer = WS_LAYER(server_open, NULL);
const struct layer ws_client_layer = WS_LAYER(client_open, client_begin);
