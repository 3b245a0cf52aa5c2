/*
 * layers.c - bytes through a stack of layers. The bottom one is next to the wire: raw input goes up
 * through decode(), output goes down through encode(); a marker in the output pushes a new one on top.
 */
#include <errno.h>

#include "base/mem.h"
#include "core/file.h"
#include "core/sess_priv.h"

enum {
	PIECE = 16 << 10, /* most that encode() is given at once */
	PIECES = 16,
};

struct lio {
	struct layer_io io; /* first: layer_up(), layer_down() */
	struct chunk_pool *pool;
};

int layer_up(struct layer_io *lio, const void *p, size_t n)
{
	return inbuf_add(lio->up, p, n);
}

int layer_down(struct layer_io *lio, const void *p, size_t n)
{
	return outq_mem(lio->down, ((struct lio *)lio)->pool, p, n);
}

bool layers_present(const struct sess *s)
{
	return s->more && s->more->bottom;
}

bool layers_partial(const struct sess *s)
{
	for (const struct linst *li = s->more ? s->more->bottom : NULL; li; li = li->above)
		if (inbuf_n(&li->raw))
			return true;
	return false;
}

static struct lio make_lio(struct sess *s, struct linst *li, struct outq *down)
{
	return (struct lio){
		.io = {
			.up = li->above ? &li->above->raw : &s->in,
			.down = down,
			.now = s->host->now,
			.handshakes = &s->host->handshakes,
			.queued = s->more->raw.n,
		},
		.pool = &s->host->pool,
	};
}

/* Gives what a layer wrote to the one below it, down to the wire; empties `q`. 0 or -errno. */
static int pass_down(struct sess *s, struct linst *below, struct outq *q)
{
	struct iovec v[PIECES];
	struct outq next = {};
	int r = 0;

	while (q->head && r == 0) {
		unsigned n = outq_gather(q, v, PIECES, PIECE);
		struct span piece[PIECES];
		size_t total = 0;
		struct lio lio = make_lio(s, below, below->below ? &next : &s->more->raw);

		for (unsigned i = 0; i < n; i++) {
			piece[i] = (struct span){ v[i].iov_base, v[i].iov_len };
			total += v[i].iov_len;
		}
		r = below->layer->encode(below->self, piece, n, &lio.io);
		outq_sent(q, &s->host->pool, total);
		if (r == 0 && below->below)
			r = pass_down(s, below->below, &next);
	}
	outq_clear(&next, &s->host->pool);
	outq_clear(q, &s->host->pool);
	return r;
}

/* Where layer li writes to: straight to the wire when it is the bottom one. */
static struct outq *down_of(struct sess *s, struct linst *li, struct outq *tmp)
{
	return li->below ? tmp : &s->more->raw;
}

static int flush_down(struct sess *s, struct linst *li, struct outq *tmp)
{
	return li->below ? pass_down(s, li->below, tmp) : 0;
}

/* Of a stack that is not up: the one that the others wait for. */
static const struct linst *waiting(const struct sess *s)
{
	const struct linst *li = s->more->bottom;

	while (li->up && li->above)
		li = li->above;
	return li;
}

/* The peer did not do its part of the handshake. */
static void not_up(struct sess *s, const char *otherwise)
{
	const struct linst *li = waiting(s);
	const char *why = li->layer->why ? li->layer->why(li->self) : NULL;

	sess_abort(s, why ? why : otherwise, li->layer->failures ? li->layer->failures : STAT_ERRORS);
}

void layers_late(struct sess *s)
{
	s->more->eof_err = -ETIMEDOUT;
	not_up(s, "handshake-timeout");
}

/* The layer's own last words (an alert) still go out, what the protocol queued does not. */
static void layer_failed(struct sess *s, struct linst *li, int err)
{
	const char *why = li->layer->why ? li->layer->why(li->self) : NULL;

	if (err == -ENOMEM) {
		sess_abort(s, "out-of-memory", STAT_MEMORY);
		return;
	}
	if (s->flags & S_CLOSING) {
		sess_abort(s, why ? why : li->layer->name, STAT_ERRORS); /* the end of what is queued cannot be said */
		return;
	}
	if (!s->reason)
		s->reason = why ? why : li->layer->name;
	sess_count_error(s);
	if (!li->up && li->layer->failures)
		stat_add(s->lane, li->layer->failures, 1);
	s->more->eof_err = err;
	s->more->handshake_by = 0;
	s->flags &= ~(uint32_t)S_LAYER_WAIT;
	outq_clear(&s->out, &s->host->pool);
	if (s->flags & S_OPENED && !(s->flags & (S_EOF_TOLD | S_HOLD | S_INTAKE))) {
		s->flags |= S_EOF | S_EOF_TOLD;
		sess_step(s, &(struct ev){ .kind = EV_EOF, .err = err, .why = why });
		outq_clear(&s->out, &s->host->pool);
	}
	if (outq_eof(&s->more->raw, &s->host->pool) < 0)
		sess_abort(s, "out-of-memory", STAT_MEMORY);
	s->flags |= S_CLOSING | S_OUT_EOF | S_EOF;
	sess_mark(s);
}

static bool all_up(const struct sess *s)
{
	for (struct linst *li = s->more->bottom; li; li = li->above)
		if (!li->up)
			return false;
	return true;
}

/* A certificate that the layer has verified says who the peer is; the strings live as long as the layer. */
static void know_peer(struct sess_more *m, const struct linst *li)
{
	struct layer_info info = {};

	if (li->layer->info)
		li->layer->info(li->self, &info);
	if (!info.certificate)
		return;
	m->certified = (struct who){ .how = WHO_CERTIFICATE, .user = info.certificate };
	m->who = &m->certified;
}

/* Somebody else than the transport knows: what it knew of its peer is not true of this one. */
static void take_peer(struct sess *s, const struct peer *peer)
{
	peer_unref(s->peer);
	s->peer = peer;
	s->more->who = NULL;
	if (s->host->met)
		s->host->met(s->host, s);
}

/* It has nothing to do any more. */
static void take_out(struct sess *s, struct linst *li)
{
	struct sess_more *m = s->more;

	*(li->below ? &li->below->above : &m->bottom) = li->above;
	*(li->above ? &li->above->below : &m->top) = li->below;
	if (li->layer->fini)
		li->layer->fini(li->self);
	inbuf_done(&li->raw);
	mem_free(li);
}

/* All below it is up. */
static int begin(struct sess *s, struct linst *li)
{
	struct outq tmp = {};
	struct lio lio = make_lio(s, li, down_of(s, li, &tmp));
	int r = li->layer->begin ? li->layer->begin(li->self, &lio.io) : 0;

	if (r == 0)
		r = flush_down(s, li, &tmp);
	outq_clear(&tmp, &s->host->pool);
	return r;
}

/* False: that was the end of the session. */
static bool now_up(struct sess *s, struct linst *li)
{
	struct sess_more *m = s->more;
	int r = 0;

	li->up = true;
	if (li->above)
		r = begin(s, li->above);
	if (r < 0) {
		layer_failed(s, li->above, r);
		return false;
	}
	know_peer(m, li);
	if (li->layer->confidential)
		s->flags |= S_SECURE;
	if (li->layer->ups)
		stat_add(s->lane, li->layer->ups, 1);
	if (!all_up(s))
		return true;
	m->handshake_by = 0;
	if (m->layers_asked == 0)
		s->flags &= ~(uint32_t)S_LAYER_WAIT;
	sess_mark(s);
	if (s->flags & S_OPENED) {
		sess_step(s, &(struct ev){ .kind = EV_LAYER });
	} else if (s->flags & S_OPEN_WAIT) {
		struct blob *arg = m->arg;

		m->arg = NULL;
		s->flags &= ~(uint32_t)S_OPEN_WAIT;
		sess_opened(s, arg);
		blob_unref(arg);
	}
	return true;
}

/* Decodes what one layer has; false: stop for now. */
static bool decode_one(struct sess *s, struct linst *li)
{
	for (bool more = true; more;) {
		struct outq tmp = {};
		struct lio lio = make_lio(s, li, down_of(s, li, &tmp));
		struct inbuf *raw = &li->raw;
		struct span b = raw->p ? (struct span){ raw->p + raw->off, inbuf_n(raw) } : (struct span){};
		size_t plain = inbuf_n(lio.io.up);
		ssize_t r = li->layer->decode(li->self, b, &lio.io);
		int down = flush_down(s, li, &tmp);

		if (r == -EAGAIN) {
			s->flags |= S_DEFERRED;
			sess_mark(s);
			return false;
		}
		if (r < 0 || down < 0) {
			peer_unref(lio.io.peer);
			layer_failed(s, li, r < 0 ? (int)r : down);
			return false;
		}
		inbuf_drop(raw, (size_t)r);
		if (lio.io.up == &s->in && s->in.p)
			sess_tap_in(s, (struct span){ s->in.p + s->in.off + plain, inbuf_n(&s->in) - plain });
		if (lio.io.clean_eof)
			li->eof = true;
		li->spent |= lio.io.spent;
		if (lio.io.peer)
			take_peer(s, lio.io.peer);
		if (lio.io.is_up && !li->up && !now_up(s, li))
			return false;
		more = r > 0 && inbuf_n(raw) > 0;
	}
	return true;
}

void layers_decode(struct sess *s)
{
	bool end = false;

	for (struct linst *li = s->more->bottom, *above; li; li = above) {
		if (s->flags & S_ABORT || !decode_one(s, li)) {
			end = false;
			break;
		}
		inbuf_trim(&li->raw);
		end |= li->eof;
		above = li->above;
		if (li->spent && !s->more->raw.head) /* else it hands on what it is given, until the next time */
			take_out(s, li);
	}
	if (end)
		layers_eof(s); /* a layer has ended: for those above it that is a FIN */
	if (s->more->raw.head)
		sess_mark(s);
}

/* Some layer has an end of its own (finish), and none was ended by the peer as it should. */
static bool cut_off(const struct sess *s)
{
	bool should = false;

	for (const struct linst *li = s->more->top; li; li = li->below) {
		if (li->eof)
			return false;
		should |= li->layer->finish != NULL;
	}
	return should;
}

void layers_eof(struct sess *s)
{
	if (s->flags & S_EOF)
		return;
	if (sess_handshaking(s)) {
		not_up(s, "gone-in-handshake");
		return;
	}
	if (cut_off(s)) { /* a FIN without the layer's own end: somebody may have cut the connection */
		s->more->eof_err = -ECONNABORTED;
		if (!s->reason)
			s->reason = "truncated";
	}
	s->flags |= S_EOF;
}

static struct linst *linst_new(struct sess *s, const struct layer *layer, void *arg)
{
	struct sess_more *m = sess_more(s);
	struct linst *li = m ? mem_zalloc(sizeof(*li) + layer->self_size) : NULL;

	if (!li) {
		if (layer->drop_arg)
			layer->drop_arg(arg);
		return NULL;
	}
	li->layer = layer;
	li->below = m->top;
	if (m->top)
		m->top->above = li;
	else
		m->bottom = li;
	m->top = li;
	return li;
}

static int push(struct sess *s, const struct layer *layer, void *arg)
{
	struct linst *li = linst_new(s, layer, arg);
	nsec first = sess_svc(s)->limits.first;

	if (!li)
		return -ENOMEM;

	struct outq tmp = {};
	struct lio lio = make_lio(s, li, down_of(s, li, &tmp));
	int r = layer->open ? layer->open(li->self, arg, &lio.io) : 0;

	if (r == 0)
		r = flush_down(s, li, &tmp);
	outq_clear(&tmp, &s->host->pool);
	if (r == 0 && (!li->below || li->below->up))
		r = begin(s, li);
	if (r < 0)
		return r;
	if (layer->handshake) {
		s->more->handshake_by = first ? s->host->now + first : UINT64_MAX;
	} else {
		lio.io.is_up = true;
	}
	if (s->more->raw.head)
		sess_mark(s);
	if (lio.io.is_up)
		(void)now_up(s, li); /* there is none above it yet */
	return 0;
}

int sess_push_layer(struct sess *s, const struct layer *layer, void *arg)
{
	int r = push(s, layer, arg);

	if (r < 0)
		sess_abort(s, r == -ENOMEM ? "out-of-memory" : layer->name, r == -ENOMEM ? STAT_MEMORY : STAT_ERRORS);
	return r;
}

void sess_open_by(struct sess *s, nsec at)
{
	if (sess_handshaking(s) && at < s->more->handshake_by)
		s->more->handshake_by = at;
}

/* What was read and is not taken goes to the new layer, if the protocol allows that there is any. */
static int take_left(struct sess *s, const struct rec_layer *rec, struct inbuf *left)
{
	size_t n = inbuf_n(&s->in);

	s->flags &= ~(uint32_t)S_LAYER_LEFT;
	if (n && rec->left == LEFT_REJECT) {
		sess_abort(s, "early-data", STAT_ERRORS);
		return -EPROTO;
	}
	if (n && inbuf_add(left, s->in.p + s->in.off, n) < 0) {
		sess_abort(s, "out-of-memory", STAT_MEMORY);
		return -ENOMEM;
	}
	inbuf_done(&s->in);
	s->need = s->scanned = 0;
	return 0;
}

/* The marker is at the head: all before it is on its way, so the layer starts here. */
static void push_at_marker(struct sess *s)
{
	struct rec_layer rec = *outq_layer_head(&s->out);
	struct inbuf left = {};
	bool fin = s->flags & S_EOF;
	int r = take_left(s, &rec, &left);

	outq_pop(&s->out, &s->host->pool);
	s->more->layers_asked--;
	if (r < 0) {
		if (rec.layer->drop_arg)
			rec.layer->drop_arg(rec.arg);
		return;
	}
	s->flags &= ~(uint32_t)S_EOF; /* that was the wire's; what the layer makes of it will be seen */
	r = sess_push_layer(s, rec.layer, rec.arg);
	if (r < 0) {
		inbuf_done(&left);
		return;
	}
	s->more->top->raw = left;
	if (inbuf_n(&left))
		layers_decode(s);
	if (fin && !(s->flags & S_ABORT))
		layers_eof(s);
	sess_mark(s);
}

static void finish_all(struct sess *s)
{
	for (struct linst *li = s->more->top; li && !(s->flags & S_ABORT); li = li->below) {
		struct outq tmp = {};
		struct lio lio = make_lio(s, li, down_of(s, li, &tmp));

		if (li->layer->finish && (li->layer->finish(li->self, &lio.io) < 0 || flush_down(s, li, &tmp) < 0))
			sess_abort(s, "out-of-memory", STAT_MEMORY);
		outq_clear(&tmp, &s->host->pool);
	}
	if (outq_eof(&s->more->raw, &s->host->pool) < 0)
		sess_abort(s, "out-of-memory", STAT_MEMORY);
}

static int encode_top(struct sess *s, const struct span *v, unsigned n)
{
	struct linst *li = s->more->top;
	struct outq tmp = {};
	struct lio lio = make_lio(s, li, down_of(s, li, &tmp));
	int r = li->layer->encode(li->self, v, n, &lio.io);

	if (r == 0)
		r = flush_down(s, li, &tmp);
	outq_clear(&tmp, &s->host->pool);
	return r;
}

static int encode_file(struct sess *s)
{
	struct rec_file *f = outq_file_head(&s->out);
	uint8_t piece[PIECE];
	size_t want = f->n < sizeof(piece) ? f->n : sizeof(piece);
	ssize_t got = f->file->pread(f->file, piece, want, f->off);

	if (got <= 0) { /* the file became shorter than promised */
		sess_broken(s, got < 0 ? (int)got : -ESTALE);
		return 0;
	}

	int r = encode_top(s, &(struct span){ piece, (size_t)got }, 1);

	f->off += got;
	f->n -= (size_t)got;
	if (f->n == 0)
		outq_pop(&s->out, &s->host->pool);
	return r;
}

static int encode_bytes(struct sess *s)
{
	struct iovec v[PIECES];
	struct span piece[PIECES];
	unsigned n = outq_gather(&s->out, v, PIECES, PIECE);
	size_t total = 0;

	for (unsigned i = 0; i < n; i++) {
		piece[i] = (struct span){ v[i].iov_base, v[i].iov_len };
		total += v[i].iov_len;
	}

	int r = encode_top(s, piece, n);

	outq_sent(&s->out, &s->host->pool, total);
	return r;
}

/* Stops at the high-water mark, so that files and blobs stay what they are until there is room. */
[[gnu::noinline]] void layers_encode(struct sess *s) /* in sess_head() it would cost who has no layers its registers */
{
	struct sess_more *m = s->more;
	int r = 0;

	while (r == 0 && s->out.head && !(s->flags & S_ABORT) && m->raw.n < sess_hiwat(s)) {
		enum rec_kind kind = outq_kind(&s->out);

		if (sess_handshaking(s) && kind != REC_EOF)
			return;
		if (kind == REC_LAYER) {
			push_at_marker(s);
			continue;
		}
		if (!m->top)
			return;
		if (kind == REC_EOF) {
			outq_pop(&s->out, &s->host->pool);
			finish_all(s);
		} else if (kind == REC_FILE) {
			r = encode_file(s);
		} else {
			r = encode_bytes(s);
		}
	}
	if (r < 0)
		layer_failed(s, m->top, r);
	if (s->flags & S_WANT_ROOM && sess_queued(s) <= sess_lowat(s))
		sess_mark(s); /* a layer may keep what it is given: then no write will tell of the room */
}

nsec layers_due(const struct sess *s)
{
	nsec min = 0;

	for (struct linst *li = s->more->bottom; li; li = li->above) {
		nsec at = li->layer->due ? li->layer->due(li->self) : 0;

		if (at && (!min || at < min))
			min = at;
	}
	return min;
}

void layers_tick(struct sess *s)
{
	for (struct linst *li = s->more->bottom; li && !(s->flags & S_ABORT); li = li->above) {
		struct outq tmp = {};
		struct lio lio = make_lio(s, li, down_of(s, li, &tmp));
		nsec at = li->layer->due ? li->layer->due(li->self) : 0;
		int r = 0;

		if (!at || at > s->host->now)
			continue;
		r = li->layer->tick(li->self, &lio.io);
		if (r == 0)
			r = flush_down(s, li, &tmp);
		outq_clear(&tmp, &s->host->pool);
		if (r < 0) {
			layer_failed(s, li, r);
			return;
		}
	}
	if (s->more->raw.head)
		sess_mark(s);
}

void layers_done(struct sess *s)
{
	struct linst *below;

	for (struct linst *li = s->more->top; li; li = below) {
		below = li->below;
		if (li->layer->fini)
			li->layer->fini(li->self);
		inbuf_done(&li->raw);
		mem_free(li);
	}
	s->more->top = s->more->bottom = NULL;
}

/* What a layer does not know, those above it may. */
bool sess_layer_info(const struct sess *s, struct layer_info *ret)
{
	struct layer_info info = {};
	bool any = false;

	for (const struct linst *li = s->more ? s->more->top : NULL; li; li = li->below) {
		if (!li->layer->info)
			continue;
		any = true;
		li->layer->info(li->self, &info);
	}
	if (any)
		*ret = info;
	return any;
}
