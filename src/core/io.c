/*
 * io.c - the protocol's side of proto.h: every call only looks at the input or appends to a queue. An
 * append that fails marks the session to abort, so that no protocol has an error path for it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/addr.h"
#include "base/mem.h"
#include "core/file.h"
#include "core/sess_priv.h"

enum {
	LEND_MIN = 8 << 10,
	COPY_MAX = 4 << 10, /* of a shared blob: more is referred to */
};

/* ---- input ---- */

struct span in_peek(const struct io *io)
{
	const struct inbuf *b = &io->sess->in;

	return b->p ? (struct span){ b->p + b->off, inbuf_n(b) } : (struct span){};
}

void in_take(struct io *io, size_t n)
{
	struct sess *s = io->sess;
	size_t have = inbuf_n(&s->in);

	if (n > have)
		n = have;
	if (s->in.cap && (n == have || have >= s->cap))
		sess_mark(s); /* memory to give back, or reading to go on with: this may be another session's step */
	s->in.off += (uint32_t)n; /* the bytes stay where they are until the step is over */
	s->scanned = s->scanned > n ? s->scanned - (uint32_t)n : 0;
	s->need = s->need > n ? s->need - (uint32_t)n : 0;
}

void in_need(struct io *io, size_t n)
{
	struct sess *s = io->sess;

	if (n > s->cap) {
		sess_abort(s, "input-limit", STAT_INPUT);
		return;
	}
	s->need = (uint32_t)n;
}

void in_cap(struct io *io, size_t n)
{
	if (n > io->sess->cap)
		io->sess->cap = n < UINT32_MAX / 4 ? (uint32_t)n : UINT32_MAX / 4;
}

static int line_done(struct io *io, struct span line, size_t take, struct span *ret_line)
{
	in_take(io, take);
	io->sess->scanned = 0;
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	*ret_line = line;
	return 1;
}

int in_line(struct io *io, size_t max, struct span *ret_line)
{
	struct sess *s = io->sess;
	struct span b = in_peek(io);
	size_t limit = b.n < max ? b.n : max;

	if (s->scanned < limit) { /* what a former call has seen is not searched again */
		const uint8_t *lf = memchr(b.p + s->scanned, '\n', limit - s->scanned);

		if (lf) {
			size_t n = (size_t)(lf - b.p);

			return line_done(io, (struct span){ b.p, n }, n + 1, ret_line);
		}
	}
	s->scanned = (uint32_t)limit;
	if (b.n >= max)
		return -EMSGSIZE;
	if (b.n && s->flags & S_EOF)
		return line_done(io, b, b.n, ret_line);
	if (!(s->flags & S_EOF))
		in_need(io, b.n + 1);
	return 0;
}

void io_hold(struct io *io, bool on)
{
	struct sess *s = io->sess;

	if (on) {
		s->flags |= S_HOLD;
	} else if (s->flags & S_HOLD) {
		s->flags &= ~(uint32_t)S_HOLD;
		sess_mark(s);
	}
}

/* ---- output ---- */

size_t out_room(const struct io *io)
{
	struct sess *s = io->sess;
	size_t n = sess_queued(s), full = sess_hiwat(s);

	if (s->flags & (S_ABORT | S_CLOSING | S_OUT_EOF))
		return 0; /* it would be thrown away */
	if (n < full)
		return full - n;
	s->flags |= S_WANT_ROOM;
	return 0;
}

/* True when n more bytes may be queued; marks the session otherwise. */
static bool may_write(struct sess *s, size_t n)
{
	if (s->flags & (S_ABORT | S_CLOSING | S_OUT_EOF | S_DGRAM | S_SHARD))
		return false;
	if (sess_queued(s) + n > sess_out_limit(s)) {
		sess_abort(s, "output-limit", STAT_OUTPUT);
		return false;
	}
	return true;
}

static void queued(struct sess *s, int r)
{
	if (r < 0) {
		sess_abort(s, "out-of-memory", STAT_MEMORY);
		return;
	}
	if (sess_queued(s) >= sess_hiwat(s))
		s->flags |= S_WANT_ROOM; /* filled up, whether out_room() is asked again or not */
	sess_mark(s);
}

static void tap_out(struct sess *s, struct span b, const struct route *to)
{
	if (sess_svc(s)->trace && s->host->tap)
		s->host->tap(s->host, s, NOTE_OUT, b, to, s->flags & S_SECRET);
}

/* Much input on its way out again, and nothing before it: the driver flushes at once, so a copy would be for nothing. */
static bool may_lend(const struct sess *s, const uint8_t *p, size_t n)
{
	const struct host *h = s->host;

	return n >= LEND_MIN && h->rbuf_user && p >= h->rbuf && p < h->rbuf + HOST_RBUF && !h->lent && !s->out.head &&
	       !layers_present(s) && !(s->flags & S_LAYER_WAIT);
}

static void lend(struct sess *s, const void *p, size_t n)
{
	int r = outq_lend(&s->out, &s->host->pool, p, n);

	if (r == 0)
		s->host->lent = s;
	queued(s, r);
}

void out_mem(struct io *io, const void *p, size_t n)
{
	struct sess *s = io->sess;

	if (n == 0 || !may_write(s, n))
		return;
	tap_out(s, (struct span){ p, n }, NULL);
	if (may_lend(s, p, n))
		lend(s, p, n);
	else
		queued(s, outq_mem(&s->out, &s->host->pool, p, n));
}

void out_str(struct io *io, const char *text)
{
	out_mem(io, text, strlen(text));
}

void out_fmt(struct io *io, const char *fmt, ...)
{
	char small[512];
	va_list ap, again;

	va_start(ap, fmt);
	va_copy(again, ap);

	int n = vsnprintf(small, sizeof(small), fmt, ap);

	if (n >= 0 && (size_t)n < sizeof(small)) {
		out_mem(io, small, (size_t)n);
	} else {
		char *big = n < 0 ? NULL : mem_alloc((size_t)n + 1);

		if (big) {
			vsnprintf(big, (size_t)n + 1, fmt, again);
			out_mem(io, big, (size_t)n);
			mem_free(big);
		} else {
			sess_abort(io->sess, "out-of-memory", STAT_MEMORY);
		}
	}
	va_end(again);
	va_end(ap);
}

void out_blob(struct io *io, struct blob *b)
{
	struct sess *s = io->sess;
	struct span bytes = blob_span(b);

	if (bytes.n == 0 || !may_write(s, bytes.n))
		return;
	tap_out(s, bytes, NULL);
	queued(s, outq_blob(&s->out, &s->host->pool, b));
}

/* A small file is in memory, and its bytes leave with the head before them. */
static bool out_body(struct io *io, struct file *f, off_t off, size_t n)
{
	struct span b = blob_span(f->body);

	if ((uint64_t)off > b.n || n > b.n - (size_t)off || sess_queued(io->sess) + n > sess_out_limit(io->sess))
		return false;
	if (n > COPY_MAX && n == b.n)
		out_blob(io, f->body);
	else
		out_mem(io, b.p + off, n);
	return true;
}

void out_file(struct io *io, struct file *f, off_t off, size_t n)
{
	struct sess *s = io->sess;

	if (f->body && out_body(io, f, off, n))
		return;
	if (n && may_write(s, 1))
		queued(s, outq_file(&s->out, &s->host->pool, f, off, n));
}

void out_eof(struct io *io)
{
	struct sess *s = io->sess;

	if (!may_write(s, 0))
		return;
	s->flags |= S_OUT_EOF;
	queued(s, outq_eof(&s->out, &s->host->pool));
}

void out_dgram(struct io *io, const struct route *to, const void *p, size_t n)
{
	struct sess *s = io->sess;

	if (!(s->flags & S_DGRAM) || s->flags & (S_ABORT | S_CLOSING))
		return;
	if (sess_queued(s) + n > sess_out_limit(s)) {
		stat_add(s->lane, STAT_DROP_FULL, 1); /* the protocol of a lossy transport: lost */
		return;
	}
	tap_out(s, (struct span){ p, n }, to);
	queued(s, outq_dgram(&s->out, &s->host->pool, to, p, n));
}

/* ---- effects ---- */

struct fx *sess_fx(struct sess *s, enum fx_kind kind, uint32_t tag)
{
	struct host *h = s->host;

	if (h->fx_n == h->fx_cap) {
		size_t cap = h->fx_cap ? 2 * h->fx_cap : 64;
		struct fx *v = mem_realloc(h->fx, cap * sizeof(*v));

		if (!v) {
			sess_abort(s, "out-of-memory", STAT_MEMORY);
			return NULL;
		}
		h->fx = v;
		h->fx_cap = cap;
	}

	struct fx *f = &h->fx[h->fx_n++];

	*f = (struct fx){ .kind = kind, .tag = tag, .from = s, .epoch = s->epoch };
	return f;
}

void io_timer(struct io *io, unsigned slot, nsec at)
{
	struct sess *s = sess_stepper(io->sess);

	if (slot == 0) {
		s->timer = at;
	} else if (slot < PROTO_TIMERS) {
		struct sess_more *m = at || s->more ? sess_more(s) : NULL;

		if (m)
			m->timer[slot - 1] = at;
	}
	sess_mark(s); /* the driver looks at the deadline */
}

void io_job(struct io *io, uint32_t tag, struct job *job)
{
	struct sess *s = sess_stepper(io->sess);
	struct fx *f = sess_fx(s, FX_JOB, tag);

	if (!f) {
		job->drop(job);
		return;
	}
	job->owner = s->id;
	job->tag = tag;
	job->epoch = s->epoch;
	f->job = job;
}

bool fx_is_stale(const struct fx *f)
{
	return f->epoch != f->from->epoch && f->kind != FX_POST && f->kind != FX_NOBODY;
}

void fx_drop(struct fx *f)
{
	switch (f->kind) {
	case FX_JOB:
	case FX_FILE:
		f->job->drop(f->job);
		break;
	case FX_CHILD:
		fx_child_free(&f->child);
		break;
	case FX_POST:
		mail_drop(f->post.mail);
		break;
	case FX_END:
	case FX_END_OLD:
	case FX_NOBODY:
		break;
	}
}

void fx_child_free(struct fx_child **c)
{
	if (!*c)
		return;
	if ((*c)->c.layer && (*c)->c.layer->drop_arg)
		(*c)->c.layer->drop_arg((*c)->c.layer_arg);
	blob_unref((*c)->c.arg);
	peer_unref((*c)->c.only);
	peer_unref((*c)->route.name);
	mem_free((void *)(*c)->c.exec);
	mem_free(*c);
	*c = NULL;
}

bool fx_child_dgram(const struct fx_child *c)
{
	struct addr_text to;

	if (c->c.kind != CHILD_CONNECT)
		return c->c.kind == CHILD_DGRAM;
	return c->c.address && addr_parse(c->c.address, &to, NULL) == 0 && addr_is_dgram(&to);
}

static struct fx_child *copy_child(const struct child *c)
{
	size_t n = c->address ? strlen(c->address) + 1 : 0;
	struct fx_child *k = mem_zalloc(sizeof(*k) + n);

	if (!k)
		return NULL;
	k->c = *c;
	k->c.exec = c->exec ? exec_copy(c->exec) : NULL;
	if (c->exec && !k->c.exec) {
		mem_free(k);
		return NULL;
	}
	blob_ref(c->arg);
	peer_ref(c->only);
	if (c->address) {
		memcpy(k->address, c->address, n);
		k->c.address = k->address;
	}
	if (c->route) {
		k->route = *c->route;
		peer_ref(k->route.name);
		k->c.route = &k->route;
	}
	return k;
}

void io_child(struct io *io, uint32_t tag, const struct child *c)
{
	struct sess *s = sess_stepper(io->sess);
	struct fx_child *k = copy_child(c);

	if (!k) {
		if (c->layer && c->layer->drop_arg)
			c->layer->drop_arg(c->layer_arg);
		sess_abort(s, "out-of-memory", STAT_MEMORY);
		return;
	}

	struct fx *f = sess_fx(s, FX_CHILD, tag);

	if (f)
		f->child = k;
	else
		fx_child_free(&k);
}

struct io *io_chan(struct io *io, uint32_t tag)
{
	struct sess *c = sess_chan(sess_stepper(io->sess), tag);

	if (!c)
		return NULL;
	sess_fill_io(c, c->more->io);
	return c->more->io;
}

void io_end(struct io *io, uint32_t tag)
{
	sess_fx(sess_stepper(io->sess), FX_END, tag);
}

void sess_end_old(struct sess *s)
{
	sess_fx(s, FX_END_OLD, 0);
}

void sess_nobody(struct sess *s, const struct letter *l)
{
	struct fx *f = sess_fx(s, FX_NOBODY, l->tag);

	if (!f)
		return;
	f->epoch = l->reply - 1;
	f->post.to = l->from;
}

bool io_post(struct io *io, sess_id to, uint32_t tag, struct mail *mail, unsigned flags)
{
	struct fx *f = sess_fx(sess_stepper(io->sess), FX_POST, tag);

	if (!f) {
		mail_drop(mail);
		return false;
	}
	f->flags = flags;
	f->post.to = to;
	f->post.mail = mail;
	return true;
}

void io_layer(struct io *io, const struct layer *layer, void *arg, enum leftover left)
{
	struct sess *s = io->sess;
	struct rec_layer rec = { .layer = layer, .arg = arg, .left = left };
	bool may = may_write(s, 0);

	if (!may || !sess_more(s) || outq_layer(&s->out, &s->host->pool, &rec) < 0) {
		if (layer->drop_arg)
			layer->drop_arg(arg);
		if (may)
			sess_abort(s, "out-of-memory", STAT_MEMORY);
		return;
	}
	s->more->layers_asked++;
	s->flags |= S_LAYER_WAIT;
	if (left == LEFT_REJECT)
		s->flags |= S_LAYER_LEFT;
	sess_mark(s);
}

bool io_layer_info(const struct io *io, struct layer_info *ret)
{
	return sess_layer_info(io->sess, ret);
}

void io_become(struct io *io, const struct proto *p, struct blob *arg, enum leftover left)
{
	struct sess *s = sess_stepper(io->sess);
	struct sess_more *m = sess_more(s);

	if (!m)
		return;
	m->next = p;
	m->next_left = left;
	blob_unref(m->arg);
	m->arg = blob_ref(arg);
	s->flags |= S_BECOME;
}

/* ---- seen from outside ---- */

void io_reason(struct io *io, const char *reason)
{
	struct sess *s = sess_stepper(io->sess);

	if (!s->reason)
		s->reason = reason;
}

void io_count(struct io *io, unsigned which, uint64_t n)
{
	if (which < PROTO_COUNTERS)
		stat_add(io->sess->lane, STAT_OWN + which, n);
}

void io_limit(struct io *io, const struct limited *what)
{
	struct sess *s = sess_stepper(io->sess);

	if (s->host->limit)
		s->host->limit(s->host, s, what);
}

void io_note(struct io *io, enum note_dir dir, const char *fmt, ...)
{
	struct sess *s = sess_stepper(io->sess);
	char text[512];
	va_list ap;

	if (!io->traced || !s->host->note)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	s->host->note(s->host, s, dir, text);
}

void io_secret(struct io *io, bool on)
{
	if (on)
		io->sess->flags |= S_SECRET;
	else
		io->sess->flags &= ~(uint32_t)S_SECRET;
}
