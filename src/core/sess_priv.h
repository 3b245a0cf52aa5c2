/*
 * sess_priv.h - what the files of the core share: session.c (the engine), io.c (the protocol's side), output.c (the
 * sending side), mailbox.c (letters), layers.c (bytes through layers), input.c (the input buffer), fileio.c (files).
 */
#pragma once
#include "core/session.h"

enum {
	S_OPENED = 1 << 0,    /* EV_OPEN was delivered */
	S_OPEN_WAIT = 1 << 1, /* EV_OPEN waits for the layers */
	S_HOLD = 1 << 2,
	S_EOF = 1 << 3, /* the peer's FIN, or the end of the layer's bytes */
	S_EOF_TOLD = 1 << 4,
	S_CLOSING = 1 << 5, /* V_CLOSE: no more steps */
	S_ABORT = 1 << 6,
	S_WANT_ROOM = 1 << 7,  /* EV_ROOM is owed */
	S_LAYER_WAIT = 1 << 8, /* a layer is asked for and not up: no step for data, no reading before it is pushed */
	S_BECOME = 1 << 9,
	S_REPLIED = 1 << 10,
	S_GOT_INPUT = 1 << 11,
	S_SECURE = 1 << 12,
	S_SECRET = 1 << 13,
	S_OWN_SELF = 1 << 14, /* self was allocated by us */
	S_OUT_EOF = 1 << 15,  /* our end is queued */
	S_OUT_DONE = 1 << 16, /* our end is sent */
	S_SHARD = 1 << 17,
	S_DGRAM = 1 << 18,
	S_DEFERRED = 1 << 19,   /* a handshake step waits for the next turn's budget */
	S_LAYER_LEFT = 1 << 20, /* the marker was LEFT_REJECT: input left over after this step is an error */
	S_LASTING = 1 << 21,    /* no verdict and no failure ends it: what could not be done is lost, it goes on */
	S_INTAKE = 1 << 22,     /* input goes into a file: in_file() */
	S_NO_FIRST = 1 << 23,   /* the first message has not come, and must */
	S_NO_LOGIN = 1 << 24,   /* nor has the login */
	S_SENDS = 1 << 25,      /* a message has begun: the meter runs for input */
	S_READS = 1 << 26,      /* output waits: for output */
	S_METERED = 1 << 27,    /* it has been read once */
	S_UNREAD = 1 << 28,     /* nobody reads what is written: no reason to wait for that */
	S_PARTED = 1 << 29,     /* V_DONE: the peer has said that no byte of it follows */
	S_ERRED = 1 << 30,      /* counted in STAT_ERRORS: once for each session */
};

struct linst {
	const struct layer *layer;
	struct linst *above, *below;
	struct inbuf raw; /* not yet decoded */
	bool up, eof, spent;
	_Alignas(16) uint8_t self[];
};

struct sess_more {
	struct linst *top, *bottom;
	struct outq raw; /* encoded by the bottom layer */
	nsec timer[PROTO_TIMERS - 1];
	nsec handshake_by;
	nsec meter;       /* since when the peer owes us bytes; 0: it does not */
	uint64_t metered; /* how many there were then */
	struct letter *mail;
	uint32_t mail_n, mail_cap;
	uint32_t layers_asked; /* markers in the output */
	uint32_t tag;
	struct sess *owner;      /* a channel's */
	struct list chans, chan; /* the owner's channels; a channel's place there */
	struct sess *self;       /* back from `chan` */
	sess_id parent;
	const struct who *who;
	struct who certified;     /* `who` of a layer with a certificate */
	struct login *login;      /* or of io_who() */
	const struct proto *next; /* io_become() */
	struct blob *arg;         /* for EV_OPEN: deferred by a handshake, or of io_become() */
	enum leftover next_left;
	int eof_err; /* how its bytes ended, when not well */
	struct intake *intake;

	struct io io[]; /* a channel has one, lent by io_chan() */
};

/* session.c */
struct sess_more *sess_more(struct sess *s); /* NULL: memory is out and the session is aborted */
void sess_step(struct sess *s, struct ev *ev);
void sess_fill_io(struct sess *s, struct io *io);

void sess_opened(struct sess *s, struct blob *arg); /* EV_OPEN, now */
void sess_count_error(struct sess *s); /* in STAT_ERRORS, once for each session, whatever else its end is counted in */
void sess_room_step(struct sess *s);   /* EV_ROOM is owed: now, if the queue has become short */
size_t sess_out_limit(const struct sess *s);
static inline const struct svc *sess_svc(const struct sess *s)
{
	return s->lane->svc;
}
static inline size_t sess_hiwat(const struct sess *s)
{
	size_t cap = sess_svc(s)->limits.output / 2; /* what one step adds past it must not end the session */

	return cap < SESS_HIWAT ? cap : SESS_HIWAT;
}
static inline size_t sess_lowat(const struct sess *s)
{
	return sess_hiwat(s) / 4;
}

static inline void sess_give_room(struct sess *s)
{
	if (s->flags & S_WANT_ROOM)
		sess_room_step(s);
}

/* io.c */
static inline struct sess *sess_stepper(struct sess *s) /* effects of a channel's io are its owner's */
{
	return s->proto ? s : s->more->owner;
}
/* NULL: memory is out, and the session is aborted */
struct fx *sess_fx(struct sess *s, enum fx_kind kind, uint32_t tag);
void sess_end_old(struct sess *s);                        /* queues FX_END_OLD */
void sess_nobody(struct sess *s, const struct letter *l); /* queues FX_NOBODY */

/* deadline.c */
/* EV_OPEN goes out: what must come within first and auth is waited for from now on. */
void deadline_begin(struct sess *s);

/* mailbox.c */
void sess_refuse_mail(struct sess *s, struct letter *v, uint32_t n); /* no step will see them: who asked is told */

/* fileio.c */
bool intake_pump(struct sess *s); /* one thing done with what is there; false: there is nothing to do */
bool intake_answer(struct sess *s, const struct ev *ev); /* it was about a piece of it, and not for the protocol */
void intake_drop(struct sess *s);

/* input.c */
static inline size_t inbuf_n(const struct inbuf *b)
{
	return b->len - b->off;
}
[[nodiscard]] int inbuf_add(struct inbuf *b, const void *p, size_t n); /* 0 or -ENOMEM */
void inbuf_drop(struct inbuf *b, size_t n);
void inbuf_trim(struct inbuf *b); /* frees it when it is empty */
void inbuf_done(struct inbuf *b);
void sess_tap_in(struct sess *s, struct span raw); /* what the protocol is about to see, for the trace */

/* layers.c */
bool layers_present(const struct sess *s);
bool layers_partial(const struct sess *s); /* a piece of something waits for the rest of it */
void layers_decode(struct sess *s);
void layers_encode(struct sess *s); /* moves s->out to more->raw, pushes layers at their markers */
void layers_eof(struct sess *s);    /* nothing more comes from below */
void layers_late(struct sess *s);   /* the handshakes took too long: aborts */
nsec layers_due(const struct sess *s);
void layers_tick(struct sess *s);
void layers_done(struct sess *s);
