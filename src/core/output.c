/*
 * output.c - the sending side of a session, as the driver sees it: what goes out next, and what is known once it has. The
 * queue itself is outq.c; what a protocol puts into it is io.c.
 */
#include "core/sess_priv.h"

bool sess_is_closing(const struct sess *s)
{
	return s->flags & S_CLOSING;
}

void sess_unread(struct sess *s)
{
	s->flags |= S_UNREAD;
}

bool sess_is_plain(const struct sess *s)
{
	const uint32_t busy = S_EOF | S_CLOSING | S_ABORT | S_LAYER_WAIT | S_BECOME | S_SHARD | S_DGRAM | S_OUT_EOF;

	return !(s->flags & busy) && !layers_present(s) && inbuf_n(&s->in) == 0 && !sess_has_output(s);
}

static void head_bytes(struct outq *q, struct head *ret)
{
	ret->kind = HEAD_BYTES;
	ret->n = outq_gather(q, ret->v, HEAD_IOV, SIZE_MAX);
	ret->bytes = 0;
	for (unsigned i = 0; i < ret->n; i++)
		ret->bytes += ret->v[i].iov_len;
}

static struct outq *wire(struct sess *s)
{
	return layers_present(s) ? &s->more->raw : &s->out;
}

void sess_head(struct sess *s, struct head *ret)
{
	ret->kind = HEAD_NONE;
	if (s->flags & S_ABORT || !sess_has_output(s))
		return;
	if (s->out.head && (layers_present(s) || s->flags & S_LAYER_WAIT))
		layers_encode(s);

	struct outq *q = wire(s);

	switch (outq_kind(q)) {
	case REC_MEM:
	case REC_BLOB:
	case REC_LENT:
		head_bytes(q, ret);
		break;
	case REC_FILE:
		ret->kind = HEAD_FILE;
		ret->file = outq_file_head(q);
		break;
	case REC_DGRAM:
		ret->kind = HEAD_DGRAM;
		ret->n = outq_dgrams(q, ret->dg, HEAD_DGRAMS);
		break;
	case REC_EOF:
		ret->kind = HEAD_EOF;
		break;
	case REC_LAYER:
	case REC_END:
		break;
	}
}

static void count_reply(struct sess *s)
{
	if (s->flags & (S_REPLIED | S_DGRAM) || !s->proto)
		return; /* a channel asks, it does not reply */
	nsec now = s->host->clock ? s->host->clock()
				  : s->host->now; /* most replies leave in the turn of their question */

	s->flags |= S_REPLIED;
	stat_add(s->lane, STAT_FIRST_REPLIES, 1);
	stat_add(s->lane, STAT_FIRST_REPLY_NS, now - s->mark);
}

static void count_bytes(struct sess *s, size_t n)
{
	s->bytes_out += n;
	stat_add(s->lane, STAT_BYTES_OUT, n);
}

static void wrote_dgrams(struct sess *s, struct outq *q, size_t n)
{
	struct rec_dgram d;

	for (; n > 0 && outq_dgrams(q, &d, 1); n--) {
		count_bytes(s, d.data.n);
		stat_add(s->lane, STAT_DGRAMS_OUT, 1);
		outq_pop(q, &s->host->pool);
	}
}

static void wrote_file(struct sess *s, struct outq *q, size_t n)
{
	struct rec_file *f = outq_file_head(q);

	count_bytes(s, n);
	f->off += (off_t)n;
	f->n -= n;
	if (f->n == 0)
		outq_pop(q, &s->host->pool);
}

/* Takes n bytes (or datagrams) off the head of the queue. */
static void wrote(struct sess *s, struct outq *q, size_t n)
{
	switch (outq_kind(q)) {
	case REC_EOF:
		s->flags |= S_OUT_DONE;
		outq_pop(q, &s->host->pool);
		break;
	case REC_DGRAM:
		wrote_dgrams(s, q, n);
		break;
	case REC_FILE:
		wrote_file(s, q, n);
		break;
	default:
		count_bytes(s, n);
		outq_sent(q, &s->host->pool, n);
	}
}

void sess_wrote(struct sess *s, size_t n)
{
	wrote(s, wire(s), n);
	s->active = s->host->now;
	if (n)
		count_reply(s);
	if (sess_queued(s) > sess_lowat(s))
		return;
	sess_give_room(s);
	if (s->in.p || s->flags & S_EOF)
		sess_pump(s);
}

void sess_drop_dgram(struct sess *s)
{
	if (outq_kind(&s->out) == REC_DGRAM)
		outq_pop(&s->out, &s->host->pool);
	sess_give_room(s);
}
