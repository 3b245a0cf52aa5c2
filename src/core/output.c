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
	if (s->flags & S_ABORT)
		return;
	if (s->more && s->out.head)
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

/* Takes n bytes (or datagrams) off the head of the queue. */
static void wrote(struct sess *s, struct outq *q, size_t n)
{
	struct chunk_pool *pool = &s->host->pool;
	struct rec_file *f = outq_file_head(q);

	if (outq_kind(q) == REC_EOF) {
		s->flags |= S_OUT_DONE;
		outq_pop(q, pool);
		return;
	}
	if (outq_kind(q) == REC_DGRAM) {
		struct rec_dgram d;

		for (; n > 0 && outq_dgrams(q, &d, 1); n--) {
			s->bytes_out += d.data.n;
			stat_add(s->lane, STAT_BYTES_OUT, d.data.n);
			stat_add(s->lane, STAT_DGRAMS_OUT, 1);
			outq_pop(q, pool);
		}
		return;
	}
	s->bytes_out += n;
	stat_add(s->lane, STAT_BYTES_OUT, n);
	if (!f) {
		outq_sent(q, pool, n);
		return;
	}
	f->off += (off_t)n;
	f->n -= n;
	if (f->n == 0)
		outq_pop(q, pool);
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
