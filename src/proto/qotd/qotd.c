/*
 * qotd.c - a short text, another one each time (RFC 865). The texts are the option's, or some of our own that are old
 * enough to belong to everybody.
 */
#include <errno.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "conf/option.h"
#include "core/proto.h"
#include "proto/common/stream.h"
#include "proto/protos.h"

enum {
	QUOTE_MAX = 511 - 2, /* RFC 865: less than 512 characters; CR LF is ours */
	QUOTES_MAX = 64,
	OPTION_MAX = 16 << 10,
};

struct qotd_options {
	char *quote;
};

/* Of the service. The spans are parts of the option's value or of `own`. */
struct qotd {
	_Atomic unsigned next; /* all threads take turns */
	unsigned n;
	struct span v[QUOTES_MAX];
};

static const char *const own[] = {
	"Brevity is the soul of wit.\r\n    -- William Shakespeare, Hamlet",
	"What's in a name? That which we call a rose\r\nBy any other name would smell as sweet.\r\n"
	"    -- William Shakespeare, Romeo and Juliet",
	"I have made this longer than usual because I have not had time to make it shorter.\r\n"
	"    -- Blaise Pascal, Lettres provinciales (1657)",
	"If I have seen further it is by standing on the shoulders of giants.\r\n"
	"    -- Isaac Newton, letter to Robert Hooke (1675)",
	"The Analytical Engine has no pretensions whatever to originate anything.\r\n"
	"It can do whatever we know how to order it to perform.\r\n    -- Ada Lovelace, Notes (1843)",
	"On two occasions I have been asked, \"Pray, Mr. Babbage, if you put into the machine\r\n"
	"wrong figures, will the right answers come out?\"\r\n"
	"    -- Charles Babbage, Passages from the Life of a Philosopher (1864)",
	"Divide each of the difficulties under examination into as many parts as possible,\r\n"
	"and as might be necessary for its adequate solution.\r\n"
	"    -- Rene Descartes, Discourse on the Method (1637)",
	"\"Begin at the beginning,\" the King said gravely, \"and go on till you come to the end:\r\n"
	"then stop.\"\r\n    -- Lewis Carroll, Alice's Adventures in Wonderland (1865)",
	"Now, here, you see, it takes all the running you can do, to keep in the same place.\r\n"
	"    -- Lewis Carroll, Through the Looking-Glass (1871)",
	"The difference between the almost right word and the right word is really a large\r\n"
	"matter: it is the difference between the lightning-bug and the lightning.\r\n"
	"    -- Mark Twain, letter to George Bainton (1888)",
	"Our life is frittered away by detail. Simplify, simplify.\r\n    -- Henry David Thoreau, Walden (1854)",
	"Reading maketh a full man; conference a ready man; and writing an exact man.\r\n"
	"    -- Francis Bacon, Of Studies (1597)",
	"Of making many books there is no end; and much study is a weariness of the flesh.\r\n"
	"    -- Ecclesiastes 12:12",
	"The best is the enemy of the good.\r\n    -- Voltaire, La Begueule (1772)",
	"A little learning is a dangerous thing;\r\nDrink deep, or taste not the Pierian spring.\r\n"
	"    -- Alexander Pope, An Essay on Criticism (1711)",
	"Life is short, and Art long; the crisis fleeting; experience perilous,\r\nand decision difficult.\r\n"
	"    -- Hippocrates, Aphorisms",
};

/* ---- options ---- */

/* The next text before a `|`, without the white space around it; false: there is no more. */
static bool next_quote(const char **at, struct span *ret)
{
	const char *start = *at;

	if (!start)
		return false;

	size_t n = strcspn(start, "|");

	*at = start[n] ? start + n + 1 : NULL;
	while (n && str_is_space(*start))
		start++, n--;
	while (n && str_is_space(start[n - 1]))
		n--;
	*ret = (struct span){ (const uint8_t *)start, n };
	return true;
}

static int check(const void *values, struct buf *why)
{
	const struct qotd_options *o = values;
	const char *at = o->quote;
	struct span q;
	unsigned n = 0;

	while (next_quote(&at, &q)) {
		if (++n > QUOTES_MAX) {
			buf_addf(why, "quote: more than %d texts", QUOTES_MAX);
			return -EINVAL;
		}
		if (q.n > 0 && q.n <= QUOTE_MAX)
			continue;
		if (q.n)
			buf_addf(why, "quote: text %u has %zu bytes, at most %d are allowed", n, q.n, QUOTE_MAX);
		else
			buf_addf(why, "quote: text %u is empty; | separates texts", n);
		return -EINVAL;
	}
	return 0;
}

static const struct option rows[] = {
	OPT_STRING(struct qotd_options, quote, NULL, 0, OPTION_MAX,
		   "says this instead of our own quotes; | separates several"),
};

static const struct option_table table = OPTION_TABLE("qotd", rows, struct qotd_options, check);

static int open_service(struct svc *svc, struct buf *ret_why)
{
	const struct qotd_options *o = svc->options;
	const char *at = o->quote;
	struct qotd *q = mem_zalloc(sizeof(*q));

	if (!q) {
		buf_adds(ret_why, "out of memory");
		return -ENOMEM;
	}
	while (q->n < QUOTES_MAX && next_quote(&at, &q->v[q->n]))
		q->n++;
	for (size_t i = 0; !o->quote && i < sizeof(own) / sizeof(own[0]); i++)
		q->v[q->n++] = span_str(own[i]);
	svc->state = q;
	return 0;
}

static void close_service(struct svc *svc)
{
	mem_free(svc->state);
	svc->state = NULL;
}

/* ---- the protocol ---- */

/* The wall clock is in it for the forking models, where a child's step of the counter is lost. */
static size_t write_quote(const struct io *io, char text[static QUOTE_MAX + 2])
{
	struct qotd *q = io->svc->state;
	unsigned turn = atomic_fetch_add_explicit(&q->next, 1, memory_order_relaxed) + (unsigned)io->wall;
	struct span s = q->v[turn % q->n];

	memcpy(text, s.p, s.n);
	memcpy(text + s.n, "\r\n", 2);
	return s.n + 2;
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	char text[QUOTE_MAX + 2];

	(void)self;
	switch (ev->kind) {
	case EV_OPEN:
		if (!stream_open(io))
			return V_GO;
		out_mem(io, text, write_quote(io, text));
		return V_CLOSE;
	case EV_DGRAM:
		out_dgram(io, ev->dgram.route, text, write_quote(io, text));
		return V_GO;
	case EV_STOP:
		return V_CLOSE;
	default:
		return V_GO;
	}
}

const struct proto qotd_proto = {
	.abi = PROTO_ABI,
	.name = "qotd",
	.summary = "says a quote of the day",
	.doc = "RFC 865",
	.flags = P_STREAM | P_DGRAM | P_SMALL,
	.port = 17,
	.options = &table,
	.step = step,
	.svc_open = open_service,
	.svc_close = close_service,
};
