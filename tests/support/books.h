/*
 * books.h - the contract kept in books. A fuzzed protocol (src/core/fuzz_session.c) has a struct books for its self, tells it what it
 * asks for, and shows it each event before anything else. What the contract does not allow aborts the program: an event before
 * EV_OPEN or after the end, input under io_hold(), less than in_need(), the same bytes twice, bytes that nobody sent or in another
 * order, an answer that nobody asked for, a timer too early. And at rest: what was promised and has not come.
 *
 * Who is outside tells what clients send and takes what they receive, so bytes are followed from end to end, as long as no layer
 * changes them.
 */
#pragma once
#include "core/session.h"
#include "drive/mem.h"

enum {
	BOOKS_CHANS = 4, /* tags 1 to 3 are channels */
	BOOKS_KID = 5,   /* 5 to 7 are children with a protocol of their own */
	BOOKS_KIDS = 8,
	BOOKS_JOB = 9, /* 9 to 11 are jobs */
	BOOKS_JOBS = 12,
	BOOKS_LETTER = 12,
};

/* The session's own connection, or a channel. */
struct books_side {
	bool open, asked, eof, hold, stuck, stuck_eof, mute, layering;
	size_t untaken, need;
};

struct books {
	bool open, over;
	struct books_side own, chan[BOOKS_CHANS];
	bool kid[BOOKS_KIDS];
	unsigned jobs, replies;
	nsec timer[PROTO_TIMERS];
};

void books_reset(const struct memdrive *w); /* forgets all bytes */

/* ---- in a step ---- */

void books_event(struct books *b, const struct ev *ev, struct io *io);                   /* first */
void books_verdict(struct books *b, const struct ev *ev, struct io *io, enum verdict v); /* last */
struct books_side *books_side(struct books *b, uint32_t chan);

/* in_* and out_* on `io`, which is that side's; io_layer() and io_timer() need to be known too. */
void books_take(struct books_side *s, struct io *io, size_t n);
void books_line(struct books_side *s, struct io *io, size_t max);
void books_need(struct books_side *s, struct io *io, size_t n);
void books_hold(struct books_side *s, struct io *io, bool on);
void books_mem(struct books_side *s, struct io *io, const void *p, size_t n);
void books_blob(struct books_side *s, struct io *io, struct blob *blob);
void books_file(struct books_side *s, struct io *io, struct file *f, const void *p, size_t n); /* p: what is in it */
void books_eof(const struct books_side *s, struct io *io);
void books_layer(struct books_side *s, const struct io *io); /* before io_layer(): bytes are not followed any more */
void books_timer(struct books *b, struct io *io, unsigned slot, nsec at);

/* ---- outside ---- */

void books_layered(const struct memconn *c);                       /* a layer was there from the first byte on */
void books_sent(const struct memconn *c, const void *p, size_t n); /* before memconn_send() */
void books_fin(const struct memconn *c);                           /* after memconn_eof() */
void books_received(struct memconn *c);                            /* looks at what came, and takes it */

/* The world is at rest, jobs have run and every window is open: nothing may be owed. `b` is the session's self. */
void books_rest(const struct memconn *c, const struct books *b);
