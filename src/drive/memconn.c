/*
 * memconn.c - the other end of a memory connection: the fake kernel between a test and a session. Bytes wait here until
 * the session reads them, or until the test takes them; a window makes it full.
 */
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "core/file.h"
#include "drive/mem_priv.h"

enum {
	READS = 4,           /* in a row, as in stream.c */
	FLUSH_MAX = 1 << 20, /* bytes written in a row */
	OUT_MAX = 64 << 20,  /* a test that takes nothing is full here, whatever its window says */
	PIECE = 16 << 10,    /* of a file */
};

/* ---- stores ---- */

static int store_add(struct store *t, const void *p, size_t n)
{
	if (t->cap - t->n < n) {
		size_t cap = t->n + n + t->cap + 256;
		uint8_t *d = NULL;

		for (int i = 0; i < MEM_TRIES && !d; i++)
			d = mem_realloc(t->p, cap);
		if (!d)
			return -ENOMEM;
		t->p = d;
		t->cap = cap;
	}
	if (n)
		memcpy(t->p + t->n, p, n);
	t->n += n;
	return 0;
}

static struct span store_span(const struct store *t)
{
	return t->p ? (struct span){ t->p + t->off, t->n - t->off } : (struct span){};
}

static void store_take(struct store *t, size_t n)
{
	t->off += n < t->n - t->off ? n : t->n - t->off;
	if (t->off == t->n)
		t->off = t->n = 0;
}

/* ---- birth and death ---- */

struct memconn *memconn_new(struct memdrive *w)
{
	struct memconn *c = mem_zalloc(sizeof(*c));

	if (!c)
		return NULL;
	c->w = w;
	c->window = MEM_NO_LIMIT;
	list_init(&c->kid);
	list_add(&w->conns, &c->node);
	return c;
}

void memconn_free(struct memconn *c)
{
	list_del(&c->node);
	list_del(&c->kid);
	memconn_dgrams_take(c);
	mem_free(c->dg);
	mem_free(c->in.p);
	mem_free(c->out.p);
	mem_free(c);
}

/* ---- what the test does ---- */

static void poke(struct memconn *c)
{
	if (c->ms)
		sess_mark(&c->ms->s);
	mem_rest(c->w);
}

void memconn_send(struct memconn *c, const void *p, size_t n, size_t piece)
{
	const uint8_t *d = p;

	if (!piece)
		piece = n;
	while (n > 0 && c->ms && !c->eof && !c->reset) {
		size_t k = n < piece ? n : piece;

		if (store_add(&c->in, d, k) < 0)
			c->reset = true;
		d += k;
		n -= k;
		poke(c);
	}
}

void memconn_sends(struct memconn *c, const char *text)
{
	memconn_send(c, text, strlen(text), 0);
}

void memconn_eof(struct memconn *c)
{
	c->eof = true;
	poke(c);
}

void memconn_exits(struct memconn *c, int status, int signal)
{
	c->exited = c->eof = true;
	c->status = status;
	c->signal = signal;
	poke(c);
}

void memconn_reset(struct memconn *c)
{
	c->reset = true;
	poke(c);
}

void memconn_reads(struct memconn *c, size_t n)
{
	c->read_max = n;
}

void memconn_writes(struct memconn *c, size_t n)
{
	c->write_max = n;
}

void memconn_window(struct memconn *c, size_t n)
{
	c->window = n;
	poke(c);
}

struct span memconn_out(const struct memconn *c)
{
	return store_span(&c->out);
}

void memconn_take(struct memconn *c, size_t n)
{
	store_take(&c->out, n);
}

/* ---- what the test sees ---- */

enum mem_end memconn_end(const struct memconn *c)
{
	return c->end;
}

const char *memconn_reason(const struct memconn *c)
{
	const char *now = c->ms ? c->ms->s.reason : NULL;

	return now ? now : c->reason;
}

bool memconn_fin(const struct memconn *c)
{
	return c->fin;
}

size_t memconn_unread(const struct memconn *c)
{
	return c->in.n - c->in.off;
}

size_t memconn_queued(const struct memconn *c)
{
	return c->ms ? sess_queued(&c->ms->s) : 0;
}

size_t memconn_peak(const struct memconn *c)
{
	return c->peak;
}

sess_id memconn_id(const struct memconn *c)
{
	return c->id;
}

struct sess *memconn_sess(const struct memconn *c)
{
	return c->ms ? &c->ms->s : NULL;
}

enum child_kind memconn_kind(const struct memconn *c)
{
	return c->kind;
}

const char *memconn_address(const struct memconn *c)
{
	return c->address;
}

/* ---- streams ---- */

bool memconn_readable(const struct memconn *c)
{
	if (!c->ms || c->ms->state != MS_SERVING || c->ms->dgram)
		return false;
	if (c->reset)
		return true;
	return sess_wants_read(&c->ms->s) && (memconn_unread(c) || (c->eof && !c->eof_read));
}

static void read_once(struct memconn *c)
{
	struct sess *s = &c->ms->s;
	struct span left = store_span(&c->in);
	size_t n = left.n, room;

	if (n == 0) {
		c->eof_read = true;
		sess_reof(s, 0);
		return;
	}

	void *p = sess_rbuf(s, &room);

	if (!p)
		return;
	n = n < room ? n : room;
	if (c->read_max && n > c->read_max)
		n = c->read_max;
	memcpy(p, left.p, n);
	store_take(&c->in, n);
	sess_rgot(s, n);
	s = s->host->lent;
	if (s && memsess_of(s)->state == MS_SERVING)
		memconn_flush(memsess_of(s)->c);
}

void memconn_read(struct memconn *c)
{
	struct sess *s = &c->ms->s;

	if (c->reset) {
		store_take(&c->in, SIZE_MAX);
		sess_reof(s, -ECONNRESET);
		return;
	}
	for (int i = 0; i < READS && memconn_readable(c); i++)
		read_once(c);
	sess_rdone(s);
	if (memconn_readable(c))
		sess_mark(s);
}

static void see_queue(struct memconn *c)
{
	size_t n = sess_queued(&c->ms->s);

	c->peak = n > c->peak ? n : c->peak;
}

static size_t room_of(const struct memconn *c)
{
	size_t left = OUT_MAX - (c->out.n - c->out.off);
	size_t room = c->window < left ? c->window : left;

	return c->write_max && room > c->write_max ? c->write_max : room;
}

/* Bytes that were taken, or -errno. When the fake kernel has no memory the connection breaks. */
static ssize_t write_file(struct memconn *c, const struct head *h, size_t room)
{
	static uint8_t piece[PIECE];
	size_t n = h->file->n < room ? h->file->n : room;
	ssize_t got = h->file->file->pread(h->file->file, piece, n < PIECE ? n : PIECE, h->file->off);

	if (got <= 0)
		return got < 0 ? got : -ESTALE; /* shorter than promised */
	return store_add(&c->out, piece, (size_t)got) < 0 ? -ENOMEM : got;
}

static ssize_t write_bytes(struct memconn *c, const struct head *h, size_t room)
{
	size_t n = 0;

	for (unsigned i = 0; i < h->n && n < room; i++) {
		size_t k = h->v[i].iov_len < room - n ? h->v[i].iov_len : room - n;

		if (store_add(&c->out, h->v[i].iov_base, k) < 0)
			return -ENOMEM;
		n += k;
	}
	return (ssize_t)n;
}

/* Writes what is at the head; false: nothing more for now. */
static bool write_once(struct memconn *c, const struct head *h, size_t *total)
{
	struct sess *s = &c->ms->s;
	size_t room = room_of(c);
	ssize_t n;

	if (h->kind == HEAD_EOF) {
		c->fin = true;
		c->end = MEM_FIN;
		sess_wrote(s, 0);
		return true;
	}
	if (room == 0 && !c->exited)
		return false;
	if (*total >= FLUSH_MAX) {
		sess_mark(s);
		return false;
	}
	if (c->exited)
		n = (ssize_t)(h->kind == HEAD_FILE ? h->file->n : h->bytes);
	else
		n = h->kind == HEAD_FILE ? write_file(c, h, room) : write_bytes(c, h, room);
	if (n < 0) {
		sess_broken(s, (int)n);
		return false;
	}
	if (c->window != MEM_NO_LIMIT && !c->exited)
		c->window -= (size_t)n;
	*total += (size_t)n;
	sess_wrote(s, (size_t)n);
	see_queue(c);
	return true;
}

void memconn_flush(struct memconn *c)
{
	struct head h;
	size_t total = 0;

	see_queue(c);
	do {
		sess_head(&c->ms->s, &h);
		see_queue(c);
	} while (h.kind != HEAD_NONE && write_once(c, &h, &total));
}

/* ---- datagrams ---- */

void memconn_dgram(struct memconn *c, const char *from, bool proven, const void *p, size_t n)
{
	struct route r = {};

	if (!c->ms || !c->ms->dgram || c->ms->state != MS_SERVING || (from && mem_route(c->w, from, proven, &r) < 0))
		return;
	sess_dgram(&c->ms->s, (struct span){ p, n }, from ? &r : NULL);
	mem_effects(c->w);
	poke(c);
}

static int keep_dgram(struct memconn *c, const struct rec_dgram *d)
{
	uint8_t *p = NULL;

	if (c->dg_n == c->dg_cap) {
		size_t cap = 2 * c->dg_cap + 16;
		struct mem_dgram *v = NULL;

		for (int i = 0; i < MEM_TRIES && !v; i++)
			v = mem_realloc(c->dg, cap * sizeof(*v));
		if (!v)
			return -ENOMEM;
		c->dg = v;
		c->dg_cap = cap;
	}
	for (int i = 0; i < MEM_TRIES && !p; i++)
		p = mem_alloc(d->data.n);
	if (!p)
		return -ENOMEM;

	struct mem_dgram *m = &c->dg[c->dg_n++];

	*m = (struct mem_dgram){ .routed = d->routed, .data = { p, d->data.n } };
	memcpy(p, d->data.p, d->data.n);
	if (d->routed) {
		m->route = d->route;
		m->route.name = NULL;
		mem_route_text(&d->route, m->to, sizeof(m->to));
	}
	return 0;
}

/* The window counts datagrams here. */
void memconn_flush_dgrams(struct memconn *c)
{
	struct sess *s = &c->ms->s;
	struct head h;

	see_queue(c);
	for (sess_head(s, &h); h.kind == HEAD_DGRAM && c->window > 0; sess_head(s, &h)) {
		if (keep_dgram(c, &h.dg[0]) < 0) {
			sess_drop_dgram(s);
			continue;
		}
		if (c->window != MEM_NO_LIMIT)
			c->window--;
		sess_wrote(s, 1);
	}
}

size_t memconn_dgrams(const struct memconn *c)
{
	return c->dg_n;
}

const struct mem_dgram *memconn_dgram_at(const struct memconn *c, size_t i)
{
	return i < c->dg_n ? &c->dg[i] : NULL;
}

void memconn_dgrams_take(struct memconn *c)
{
	for (size_t i = 0; i < c->dg_n; i++)
		mem_free((void *)(uintptr_t)c->dg[i].data.p);
	c->dg_n = 0;
}
