/* books.c - see books.h. Its own memory is malloc()'s: no fault is meant for it. */
#include "support/books.h"

#include <errno.h>
#include <stdlib.h>

#include "core/file.h"
#include "core/sess_priv.h"

#define CHECK(what) \
	do { \
		if (!(what)) \
			abort(); \
	} while (0)

enum { STREAMS = 200 };

/* Bytes on their way, and how many of them have arrived. */
struct way {
	uint8_t *p;
	size_t n, cap, at;
};

/* A connection, by the id of its session or channel. */
struct stream {
	sess_id id;
	bool plain;      /* no layer was ever there */
	bool fin, ended; /* the client's end, and ours */
	struct way in, out;
};

static struct {
	const struct memdrive *w;
	struct stream v[STREAMS];
	size_t n;
} books;

void books_reset(const struct memdrive *w)
{
	for (size_t i = 0; i < books.n; i++) {
		free(books.v[i].in.p);
		free(books.v[i].out.p);
	}
	books.n = 0;
	books.w = w;
}

/* NULL: there are too many to follow them all. */
static struct stream *stream_of(sess_id id)
{
	for (size_t i = 0; i < books.n; i++)
		if (books.v[i].id == id)
			return &books.v[i];
	if (books.n == STREAMS)
		return NULL;
	books.v[books.n] = (struct stream){ .id = id, .plain = true };
	return &books.v[books.n++];
}

static void way_add(struct way *w, const void *p, size_t n)
{
	if (w->cap - w->n < n) {
		w->cap = 2 * w->cap + n;
		w->p = realloc(w->p, w->cap);
		CHECK(w->p);
	}
	if (n)
		memcpy(w->p + w->n, p, n);
	w->n += n;
}

/* These bytes are the next to arrive. */
static void way_check(const struct way *w, struct span got)
{
	CHECK(got.n <= w->n - w->at);
	CHECK(got.n == 0 || memcmp(w->p + w->at, got.p, got.n) == 0);
}

/* ---- what a step asks for ---- */

struct books_side *books_side(struct books *b, uint32_t chan)
{
	CHECK(chan < BOOKS_CHANS);
	return chan ? &b->chan[chan] : &b->own;
}

static void took(struct books_side *s, const struct io *io, size_t n)
{
	struct stream *t = stream_of(io->self);

	if (n == 0)
		return;
	s->stuck = false;
	s->need = s->need > n ? s->need - n : 0;
	if (t)
		t->in.at += n;
}

void books_take(struct books_side *s, struct io *io, size_t n)
{
	size_t have = in_peek(io).n;

	in_take(io, n);
	CHECK(in_peek(io).n == (n < have ? have - n : 0));
	took(s, io, have - in_peek(io).n);
}

void books_line(struct books_side *s, struct io *io, size_t max)
{
	struct span in = in_peek(io), line;
	int r = in_line(io, max, &line);
	size_t n = in.n - in_peek(io).n;

	CHECK(r == 1 || n == 0);
	CHECK(r != 1 ||
	      (line.p == in.p && line.n <= n && n <= line.n + 2 && n <= max && !memchr(line.p, '\n', line.n)));
	took(s, io, n);
	s->need = 0; /* it has set another */
}

void books_need(struct books_side *s, struct io *io, size_t n)
{
	in_need(io, n);
	s->need = n;
	s->stuck = false; /* it asks for what is there once more */
}

void books_hold(struct books_side *s, struct io *io, bool on)
{
	io_hold(io, on);
	s->hold = on;
	s->stuck = false;
}

static struct way *out_of(const struct books_side *s, const struct io *io)
{
	struct stream *t = s->mute || io->dgram ? NULL : stream_of(io->self);

	return t && !t->ended ? &t->out : NULL;
}

void books_mem(struct books_side *s, struct io *io, const void *p, size_t n)
{
	struct way *out = out_of(s, io);

	if (out)
		way_add(out, p, n);
	out_mem(io, p, n);
}

void books_blob(struct books_side *s, struct io *io, struct blob *blob)
{
	struct way *out = out_of(s, io);

	if (out)
		way_add(out, blob_span(blob).p, blob_span(blob).n);
	out_blob(io, blob);
}

void books_file(struct books_side *s, struct io *io, struct file *f, const void *p, size_t n)
{
	struct way *out = out_of(s, io);

	if (out)
		way_add(out, p, n);
	out_file(io, f, 0, n);
}

void books_eof(const struct books_side *s, struct io *io)
{
	struct stream *t = stream_of(io->self);

	out_eof(io);
	if (t && !s->mute)
		t->ended = true;
}

void books_layer(struct books_side *s, const struct io *io)
{
	struct stream *t = stream_of(io->self);

	s->stuck = false;
	s->layering = true; /* what is needed of plain bytes says nothing of the layer's */
	if (t)
		t->plain = false;
}

void books_timer(struct books *b, struct io *io, unsigned slot, nsec at)
{
	io_timer(io, slot, at);
	b->timer[slot] = at;
}

/* ---- is this event allowed now? ---- */

static void check_open(struct books_side *s, const struct io *of)
{
	struct stream *t = stream_of(of->self);

	CHECK(!s->open);
	s->open = true;
	if (t && layers_present(of->sess))
		t->plain = false;
}

static void check_data(struct books_side *s, const struct io *of)
{
	const struct stream *t = stream_of(of->self);
	struct span in = in_peek(of);

	CHECK(in.n > 0 && !s->hold && !s->eof);
	CHECK(in.n >= s->need || of->eof || s->layering);
	CHECK(!s->stuck || in.n > s->untaken || (of->eof && !s->stuck_eof));
	if (t && t->plain)
		way_check(&t->in, in);
	s->need = 0;
	s->layering = false;
}

static void check_eof(struct books_side *s, const struct ev *ev, const struct io *of)
{
	const struct stream *t = stream_of(of->self);

	CHECK(!s->hold && !s->eof);
	CHECK(ev->err || !t || !t->plain || t->fin);
	s->eof = true;
}

static void check_gone(struct books *b, const struct ev *ev)
{
	if (ev->tag == BOOKS_LETTER) {
		CHECK(ev->err == -ESRCH && b->replies > 0);
		b->replies--;
		return;
	}
	CHECK(ev->tag < BOOKS_KIDS && ev->chan == (ev->tag < BOOKS_CHANS ? ev->tag : 0));
	if (ev->tag < BOOKS_CHANS) {
		CHECK(b->chan[ev->tag].asked);
		b->chan[ev->tag] = (struct books_side){};
	} else {
		CHECK(b->kid[ev->tag]);
		b->kid[ev->tag] = false;
	}
}

static void check_timer(struct books *b, const struct ev *ev, const struct io *io)
{
	CHECK(ev->tag < PROTO_TIMERS && b->timer[ev->tag] && b->timer[ev->tag] <= io->now);
	b->timer[ev->tag] = 0;
}

void books_event(struct books *b, const struct ev *ev, struct io *io)
{
	struct books_side *s = books_side(b, ev->chan);
	struct io *of = ev->chan ? io_chan(io, ev->chan) : io;

	CHECK(!b->over && io->now == memdrive_now(books.w));
	CHECK(b->open || (ev->kind == EV_OPEN && !ev->chan));
	b->open = true;
	CHECK(!ev->chan || s->asked);
	CHECK(of || ev->kind == EV_GONE);
	switch (ev->kind) {
	case EV_OPEN:
		check_open(s, of);
		break;
	case EV_DATA:
		check_data(s, of);
		break;
	case EV_EOF:
		check_eof(s, ev, of);
		break;
	case EV_ROOM:
		CHECK(out_room(of) > 0);
		break;
	case EV_TIMER:
		check_timer(b, ev, io);
		break;
	case EV_DONE:
		CHECK(b->jobs > 0 && ev->job && ev->tag >= BOOKS_JOB && ev->tag < BOOKS_JOBS);
		b->jobs--;
		break;
	case EV_BOUND:
		CHECK(ev->tag < BOOKS_CHANS ? b->chan[ev->tag].asked : ev->tag < BOOKS_KIDS && b->kid[ev->tag]);
		break;
	case EV_GONE:
		check_gone(b, ev);
		break;
	case EV_MSG:
		CHECK(ev->mail.n > 0);
		break;
	default:
		break;
	}
	s->stuck |= ev->kind == EV_DATA;
}

void books_verdict(struct books *b, const struct ev *ev, struct io *io, enum verdict v)
{
	struct books_side *s = books_side(b, ev->chan);
	struct io *of = ev->chan ? io_chan(io, ev->chan) : io;

	if (ev->kind == EV_DATA) {
		s->untaken = of ? in_peek(of).n : 0;
		s->stuck &= !s->hold;
		s->stuck_eof = of && of->eof;
	}
	b->over |= v != V_GO;
}

/* ---- outside ---- */

void books_layered(const struct memconn *c)
{
	struct stream *t = stream_of(memconn_id(c));

	if (t)
		t->plain = false;
}

void books_sent(const struct memconn *c, const void *p, size_t n)
{
	struct stream *t = stream_of(memconn_id(c));

	if (t)
		way_add(&t->in, p, n);
}

void books_fin(const struct memconn *c)
{
	struct stream *t = stream_of(memconn_id(c));

	if (t)
		t->fin = true;
}

void books_received(struct memconn *c)
{
	struct span got = memconn_out(c);
	struct stream *t = stream_of(memconn_id(c));

	if (t && t->plain && !memconn_dgrams(c)) {
		way_check(&t->out, got);
		t->out.at += got.n;
		CHECK(memconn_end(c) != MEM_CLOSED || t->out.at == t->out.n);
	}
	memconn_take(c, SIZE_MAX);
}

static void check_owed(const struct memconn *c, const struct books *b)
{
	const struct sess *s = memconn_sess(c);
	struct stream *t = stream_of(memconn_id(c));

	CHECK(b->jobs == 0);
	for (unsigned i = 0; i < PROTO_TIMERS; i++)
		CHECK(!b->timer[i] || b->timer[i] > memdrive_now(books.w));
	for (uint32_t tag = 1; tag < BOOKS_CHANS; tag++)
		CHECK(!b->chan[tag].asked || sess_chan(s, tag));
	if (t && t->plain && !b->own.hold)
		CHECK(memconn_unread(c) == 0 && (b->own.eof || !t->fin));
}

void books_rest(const struct memconn *c, const struct books *b)
{
	const struct sess *s = memconn_sess(c);

	if (memconn_end(c) == MEM_OPENING || sess_handshaking(s) || s->flags & S_DGRAM)
		return;
	CHECK(memconn_queued(c) == 0);
	if (b->open && !(s->flags & (S_CLOSING | S_LAYER_WAIT)))
		check_owed(c, b);
}
