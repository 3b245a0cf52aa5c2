/*
 * input.c - where bytes are read to. Normally that is the loop's shared buffer, parsed in place; only what
 * a step leaves there is copied to memory of the session's own, and given back once it is taken.
 */
#include <assert.h>
#include <errno.h>

#include "base/mem.h"
#include "core/sess_priv.h"

enum { READ_MIN = 4096 };

static bool borrowed(const struct inbuf *b)
{
	return b->p && b->cap == 0;
}

void inbuf_done(struct inbuf *b)
{
	if (!borrowed(b))
		mem_free(b->p);
	*b = (struct inbuf){};
}

void inbuf_trim(struct inbuf *b)
{
	if (!borrowed(b) && b->p && b->off == b->len)
		inbuf_done(b);
}

void inbuf_drop(struct inbuf *b, size_t n)
{
	b->off += (uint32_t)n;
	if (b->off == b->len)
		b->off = b->len = 0;
}

/* Room for n more bytes in memory of our own; what is there moves to the front. */
static int reserve(struct inbuf *b, size_t n)
{
	size_t have = inbuf_n(b);

	if (b->cap && b->cap - b->len >= n)
		return 0;
	if (b->cap && b->off && b->cap - have >= n && b->off >= have) {
		memcpy(b->p, b->p + b->off, have);
		b->off = 0;
		b->len = (uint32_t)have;
		return 0;
	}

	size_t cap = have + n > 2 * (size_t)b->cap ? have + n : 2 * (size_t)b->cap;

	if (cap > UINT32_MAX)
		return -ENOMEM;

	uint8_t *p = mem_alloc(cap);

	if (!p)
		return -ENOMEM;
	if (have)
		memcpy(p, b->p + b->off, have);
	if (!borrowed(b))
		mem_free(b->p);
	*b = (struct inbuf){ .p = p, .len = (uint32_t)have, .cap = (uint32_t)cap };
	return 0;
}

/* Copies out of a borrowed buffer. 0 or -ENOMEM. */
static int own(struct inbuf *b)
{
	if (!borrowed(b))
		return 0;
	if (inbuf_n(b) == 0) {
		*b = (struct inbuf){};
		return 0;
	}
	return reserve(b, 0);
}

int inbuf_add(struct inbuf *b, const void *p, size_t n)
{
	int r = n ? reserve(b, n) : 0;

	if (r < 0 || n == 0)
		return r;
	memcpy(b->p + b->len, p, n);
	b->len += (uint32_t)n;
	return 0;
}

static struct inbuf *raw_of(struct sess *s)
{
	return layers_present(s) ? &s->more->bottom->raw : &s->in;
}

void sess_tap_in(struct sess *s, struct span raw)
{
	if (sess_svc(s)->trace && s->host->tap && raw.n)
		s->host->tap(s->host, s, NOTE_IN, raw, s->host->route, s->flags & S_SECRET);
}

/* rbuf is about to be used for something else. */
static void settle_lent(struct host *h)
{
	struct sess *s = h->lent;

	h->lent = NULL;
	if (outq_settle(&s->out, &h->pool) < 0)
		sess_abort(s, "out-of-memory", STAT_MEMORY);
}

void *sess_rbuf(struct sess *s, size_t *ret_n)
{
	struct host *h = s->host;
	struct inbuf *b = raw_of(s);

	if (h->lent)
		settle_lent(h);
	assert(!h->rbuf_user || h->rbuf_user == s);
	if (inbuf_n(b) == 0) {
		if (!borrowed(b))
			mem_free(b->p);
		*b = (struct inbuf){ .p = h->rbuf };
		h->rbuf_user = s;
		*ret_n = HOST_RBUF;
		return h->rbuf;
	}
	/* a part of a message is there: the rest must follow it in one piece */
	if (own(b) < 0 || reserve(b, READ_MIN) < 0) {
		sess_abort(s, "out-of-memory", STAT_MEMORY);
		return NULL;
	}
	*ret_n = b->cap - b->len;
	if (*ret_n > HOST_RBUF)
		*ret_n = HOST_RBUF;
	return b->p + b->len;
}

void sess_rgot(struct sess *s, size_t n)
{
	struct inbuf *b = raw_of(s);

	if (!layers_present(s))
		sess_tap_in(s, (struct span){ b->p + b->len, n });
	b->len += (uint32_t)n;
	s->bytes_in += n;
	s->active = s->host->now;
	if (!(s->flags & (S_GOT_INPUT | S_REPLIED)))
		s->mark = s->host->now;
	s->flags |= S_GOT_INPUT;
	stat_add(s->lane, STAT_BYTES_IN, n);
	if (layers_present(s))
		layers_decode(s);
	sess_pump(s);
}

void sess_rdone(struct sess *s)
{
	struct inbuf *b = raw_of(s);

	if (s->host->lent)
		settle_lent(s->host);
	if (s->host->rbuf_user == s)
		s->host->rbuf_user = NULL;
	if (own(b) < 0)
		sess_abort(s, "out-of-memory", STAT_MEMORY);
	if (b != &s->in && own(&s->in) < 0) /* a layer was pushed over it meanwhile */
		sess_abort(s, "out-of-memory", STAT_MEMORY);
	inbuf_trim(b);
}
