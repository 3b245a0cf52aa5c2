/*
 * session.h - the driver's side of a session: a protocol object, its input, its output, its layers.
 *
 * Still no fd: the driver reads bytes into sess_rbuf(), sends what sess_head() shows, and acts on the
 * effects that steps left in host->fx. The memory driver does the same without a kernel. None of these
 * functions is thread-safe: a session belongs to the host (loop) that it was made on.
 */
#pragma once
#include "base/list.h"
#include "core/layer.h"
#include "core/outq.h"
#include "core/proto_child.h"
#include "core/stats.h"

enum {
	SESS_HIWAT =
		64
		<< 10, /* out_room() is 0 from here on, or from less when the option `output` is; EV_ROOM at a quarter of it */
	SESS_WHY = 256, /* bytes of a reason that outlives its session, as text for its parent */
	HOST_RBUF = 64 << 10,
	HOST_HANDSHAKES = 16, /* steps of handshakes in a turn, when nobody says otherwise */
};

/* ---- effects ---- */

enum fx_kind {
	FX_JOB,
	FX_FILE, /* a job that has no run() yet: a struct file_op (core/file.h) */
	FX_CHILD,
	FX_END,     /* job or child `tag` */
	FX_END_OLD, /* the protocol changed: all jobs and children of another epoch than this one's */
	FX_POST,
	FX_NOBODY, /* a POST_REPLY letter was not taken: EV_GONE with `tag` and -ESRCH for post.to, when it still has this epoch */
};

/* A child as asked for, with copies of all that struct child borrowed. */
struct fx_child {
	struct child c;
	struct route route;
	char address[];
};

struct fx {
	enum fx_kind kind;
	uint32_t tag;
	uint32_t epoch; /* of the session: answers to an older one are dropped */
	unsigned flags; /* POST_* */
	struct sess *from;
	union {
		struct job *job;
		struct fx_child *child; /* the driver frees it: fx_child_free() */
		struct {
			sess_id to;
			struct mail *mail;
		} post;
	};
};

void fx_child_free(struct fx_child **c);
[[nodiscard]] struct exec *exec_copy(const struct exec *e); /* mem_free() it; NULL: memory is out */
bool fx_child_dgram(const struct fx_child *c); /* a datagram socket: DGRAM, or CONNECT to a datagram address */
void fx_drop(struct fx *f);                    /* frees what an effect owns that nobody will act on */
bool fx_is_stale(
	const struct fx *f); /* the protocol that asked for it is over: to be dropped, unless FX_POST or FX_NOBODY */

/* ---- what surrounds the sessions of one thread ---- */

struct host {
	nsec now;            /* the driver's, once per turn */
	nsec (*clock)(void); /* asked once in a session, for the time to its first reply; NULL: `now` will do */
	int64_t wall;
	struct chunk_pool pool;
	struct list dirty; /* sessions to look at: output to flush, input to go on with, an end to act on */
	struct fx *fx;     /* effects of the steps since the driver last looked, in order */
	size_t fx_n, fx_cap;
	uint8_t *rbuf; /* HOST_RBUF bytes; input is parsed in place here */
	struct sess *rbuf_user;
	struct sess *lent; /* its output still points into rbuf: flush it now, or the rest is copied */
	struct sess *stepping;
	struct sess *serving;      /* the driver's: whose bytes it is busy with, for who asks after a crash */
	const struct route *route; /* and where the datagram is from */
	int handshakes;            /* steps of handshakes left in this turn */
	/* the peer is another than it came as; may abort it. NULL: as it is */
	void (*met)(struct host *h, struct sess *s);
	/* io_who(); NULL: nothing comes of it */
	void (*logged_in)(struct host *h, struct sess *s, const struct who *who);
	/* io_login_failed(); NULL: nothing comes of it */
	bool (*login_failed)(struct host *h, struct sess *s, struct span user);
	/* of what was written: what is not at the peer's yet; NULL: none */
	size_t (*unsent)(struct host *h, struct sess *s);
	/* io_limit(); NULL: nobody wants to know */
	void (*limit)(struct host *h, struct sess *s, const struct limited *what);
	void (*note)(struct host *h, struct sess *s, enum note_dir dir, const char *text);
	/* route: of a datagram to or from many; NULL: the session's peer */
	void (*tap)(struct host *h, struct sess *s, enum note_dir dir, struct span raw, const struct route *route,
		    bool secret);
};

[[nodiscard]] int host_init(struct host *h); /* 0 or -ENOMEM */
void host_done(struct host *h);              /* after its last session */

/* ---- a session ---- */

struct inbuf {
	uint8_t *p;
	uint32_t off, len, cap; /* cap 0 with p set: borrowed from host->rbuf */
};

struct sess_more;

struct sess {
	struct list dirty; /* first: in host->dirty */
	struct host *host;
	const struct proto *proto; /* NULL: a channel, steps go to its owner */
	void *self;
	struct lane *lane;
	struct inbuf in;
	struct outq out;
	sess_id id;
	uint32_t flags; /* S_* in sess_priv.h */
	uint32_t need, scanned, cap, epoch;
	uint32_t since; /* ms: EV_OPEN, where a message or a login must come in time */
	nsec timer;     /* slot 0; the others are in more */
	nsec active;    /* the last byte in either direction */
	nsec mark;      /* opened, then the first byte in: for the time to the first reply */
	const struct peer *local, *peer;
	const char *reason;
	uint64_t bytes_in, bytes_out;
	struct sess_more *more; /* layers, other timers, channels, mailbox: on first use */
};

/*
 * Makes a session in s (zeroed memory of the driver's). Refs local, peer. parent: 0 or the id of whoever
 * asked for it. 0 or -ENOMEM; on failure there is nothing to undo.
 */
struct sess_birth {
	const struct proto *proto; /* NULL: a channel of owner */
	struct lane *lane;
	sess_id id, parent;
	const struct peer *local, *peer;
	const struct who *who; /* copied by reference: lives as long as the session */
	struct sess *owner;    /* for a channel */
	uint32_t tag;          /* its tag at the parent */
	void *self;            /* zeroed memory for self that lives as long as s, or NULL: allocated */
	bool shard;            /* steps go to proto->shard; self_size is shard_size */
	bool dgram;            /* a datagram socket: limits of streams do not apply */
	bool lasting;          /* the service's own (its shard, its datagram socket): only the driver ends it */
};
[[nodiscard]] int sess_init(struct sess *s, struct host *h, const struct sess_birth *b);

/* Calls fini, frees everything inside; s itself is the driver's. Effects of fini are in host->fx. */
void sess_done(struct sess *s);

/* Who the peer is, before EV_OPEN; *who lives as long as the session. Nothing when memory is out: nobody then. */
void sess_set_who(struct sess *s, const struct who *who);

/* Pushes a layer before EV_OPEN. 0, or -errno and the session is aborted; owns arg either way. */
[[nodiscard]] int sess_push_layer(struct sess *s, const struct layer *layer, void *arg);

/* What was pushed must be up by `at`, or sooner by limits.first; else the session ends with -ETIMEDOUT for its parent. */
void sess_open_by(struct sess *s, nsec at);

/* EV_OPEN, now or when the layers are up. arg borrowed. */
void sess_open(struct sess *s, struct blob *arg);

/* TIMER is sess_timers(), DATA/EOF/ROOM come from input and output; this is for all the others. */
void sess_event(struct sess *s, const struct ev *ev);
void sess_answer(struct sess *s, const struct ev *ev, uint32_t epoch); /* dropped when the protocol is another by now */
void sess_dgram(struct sess *s, struct span data, const struct route *route);

/* Where to read to and how much fits; NULL: memory is out (the session is aborted). Then how much came. */
void *sess_rbuf(struct sess *s, size_t *ret_n);
void sess_rgot(struct sess *s, size_t n);
void sess_rdone(struct sess *s);         /* after the last read in a row: what is left is copied out of rbuf */
void sess_reof(struct sess *s, int err); /* FIN (0), or the connection broke (-errno) */
void sess_pump(struct sess *s);          /* goes on with input that waits; cheap when there is none */

/* What is to be sent next. */
enum head_kind {
	HEAD_NONE,  /* nothing now */
	HEAD_BYTES, /* v[0..n] */
	HEAD_FILE,  /* *file: sendfile from it, then sess_wrote() */
	HEAD_DGRAM, /* dg[0..n] */
	HEAD_EOF,   /* shutdown(WR), then sess_wrote(s, 0) */
};

#define HEAD_IOV 64
#define HEAD_DGRAMS 64

struct head {
	struct rec_dgram dg[HEAD_DGRAMS]; /* first: what a connection needs is then beside what is behind it in memory */
	enum head_kind kind;
	unsigned n;
	size_t bytes;
	struct rec_file *file;
	struct iovec v[HEAD_IOV];
};
void sess_head(struct sess *s, struct head *ret);
void sess_wrote(struct sess *s, size_t n); /* bytes, of HEAD_BYTES or HEAD_FILE; datagrams; 0 for HEAD_EOF */
void sess_drop_dgram(struct sess *s);      /* HEAD_DGRAM: the first one is not to be sent */
void sess_broken(struct sess *s, int err); /* writing failed: the session ends, -errno */

bool sess_wants_read(const struct sess *s);
bool sess_has_output(const struct sess *s);
bool sess_wants_write(const struct sess *s); /* sess_head() would show something; output can also wait for a handshake */
size_t sess_queued(const struct sess *s);
bool sess_aborted(const struct sess *s);  /* drop now */
int sess_end_err(const struct sess *s);   /* what its parent is told of its end: 0, or -errno when it was no good one */
bool sess_finished(const struct sess *s); /* all is flushed, our side is ended, close in stages */
bool sess_peer_eof(const struct sess *s); /* FIN seen */
bool sess_parted(const struct sess *s);   /* FIN seen, or it has said that no byte of it follows (V_DONE) */
bool sess_eof_told(const struct sess *s); /* and its EV_EOF delivered */
bool sess_is_closing(const struct sess *s); /* no more steps: it ends when all is sent */
/* A stream without layers, of which nothing waits to be taken or sent: its descriptor is all there is of it. */
bool sess_is_plain(const struct sess *s);

void sess_unread(struct sess *s); /* what is written is thrown away from now on: input does not wait for it */
void sess_abort(struct sess *s, const char *reason, enum counter why);
void sess_close(struct sess *s); /* as if the protocol had said V_CLOSE */
void sess_mark(struct sess *s);  /* into host->dirty */

/* What the peer owes us is measured from now on, or no more. After its input was looked at and its output flushed. */
void sess_meter(struct sess *s);

/* Timers: the earliest deadline of protocol, layers and limits (0 = none), and firing what is due. */
nsec sess_deadline(const struct sess *s);
void sess_timers(struct sess *s);

/*
 * A letter for its mailbox; delivered as one EV_MSG by sess_deliver(). 0 or -ENOMEM (mail stays the caller's). Its `reply`
 * is 0, or 1 + the epoch of a sender that wants to know (POST_REPLY): FX_NOBODY when the session ends before it took it.
 */
[[nodiscard]] int sess_letter(struct sess *s, const struct letter *l);
void sess_deliver(struct sess *s);
bool sess_has_mail(const struct sess *s);

struct span sess_client(const struct sess *s);              /* proto.client(), or empty */
const char *sess_user(const struct sess *s);                /* who has logged in by a password; NULL: nobody */
struct sess *sess_owner(const struct sess *s);              /* of a channel */
struct sess *sess_chan(const struct sess *s, uint32_t tag); /* NULL: gone */
bool sess_layer_info(const struct sess *s, struct layer_info *ret);
bool sess_handshaking(const struct sess *s);
