/*
 * proto.h - what a protocol is: one function, events in, queued effects out.
 *
 * A protocol never sees an fd, a clock, a thread or a poller. Everything it asks for below is appended
 * to a queue; the driver acts after step() has returned, so nothing can re-enter it. See
 * docs/design/contract.md for the reasons and src/proto/skeleton for the smallest whole example.
 */
#pragma once
#include <sys/types.h>

#include "base/blob.h"
#include "base/peer.h"
#include "base/span.h"
#include "core/proto_svc.h"
#include "core/proto_who.h"

#define PROTO_ABI 2

typedef uint64_t sess_id; /* loop 16 | slot 20 | generation 28 bits; a stale one is dropped silently; 0 = nobody */

struct access;
struct events;
struct buf;
struct file;
struct io;
struct layer;
struct layer_info;
struct option_table;
struct port;
struct proto;
struct sess;

/* ---- events ---- */

enum ev_kind {
	EV_OPEN,   /* the first event; .arg is what io_become() or io_child() gave. On a channel: connected */
	EV_DATA,   /* in_peek() has bytes that were not taken yet */
	EV_DGRAM,  /* one whole datagram: .dgram */
	EV_EOF,    /* the peer sent FIN (err 0), or the connection broke (err < 0); after a FIN we may still write */
	EV_ROOM,   /* the output was full (64 KiB queued) and has room again */
	EV_TIMER,  /* timer .tag passed its deadline */
	EV_DONE,   /* job .tag ended: .err, .job */
	EV_BOUND,  /* child .tag listens, is bound or has started: .bound; or .err */
	EV_GONE,   /* child or channel .tag ended with .err, after its last byte; or a POST_REPLY found nobody */
	EV_MSG,    /* .mail: all that was posted to this session since its last turn, in order */
	EV_LAYER,  /* the layer on top is up (handshake over) */
	EV_STOP,   /* the server drains: finish what is begun, then V_CLOSE */
	EV_RELOAD, /* only to a shard: io->svc has other options than in the step before */
	EV_ACCESS, /* with P_ACCESS: people or rules may be others than before, in io->svc->access */
};

/* What was posted. To keep the object, take the pointer and set `mail` to NULL; what is left is dropped. */
struct letter {
	sess_id from; /* 0: a port */
	uint32_t tag;
	uint32_t reply; /* the driver's */
	struct mail *mail;
};

/*
 * Where a datagram came from and which of our addresses it came to. A value: copy it to answer later.
 * Only drivers look inside.
 */
struct route {
	uint8_t n;               /* bytes of sa in use; 0 = the connected peer */
	uint8_t local_n;         /* bytes of local in use: 0, 4 or 16 */
	bool proven;             /* the address is not forged: loopback, or connected */
	uint32_t ifindex;        /* interface it came in by, 0 = unknown */
	uint8_t sa[28];          /* a sockaddr */
	uint8_t local[16];       /* the address it was sent to */
	const struct peer *name; /* instead of sa where an address is a name; lives for the step */
};

struct ev {
	enum ev_kind kind;
	uint32_t tag;  /* TIMER, DONE, BOUND, GONE */
	uint32_t chan; /* 0: the session's own connection; else the tag of the channel that this is about */
	int err;       /* 0 or -errno */
	/* GONE of a CONNECT, EOF of a layer: why it failed, for people; borrowed; NULL = only err tells */
	const char *why;
	union {
		struct blob *arg; /* OPEN; borrowed */
		struct job *job;  /* DONE; borrowed, dropped after the step */
		struct {
			struct span data;
			const struct route *route; /* NULL: the connected peer */
		} dgram;
		struct {
			const struct peer *addr; /* borrowed; NULL for a child without an address */
			sess_id id;
		} bound;
		struct {
			int status; /* of a command that exited, 0 to 255 */
			int signal; /* that ended it; 0: it exited */
		} exit;             /* GONE of a command with err 0 */
		struct {
			struct letter *v;
			size_t n;
		} mail;
	};
};

enum verdict {
	V_GO,    /* carry on */
	V_CLOSE, /* flush what is queued, then close in stages */
	/*
	 * As V_CLOSE, and the peer has said, in the words of the protocol, that no byte of it follows (MQTT's DISCONNECT, QUIT):
	 * its FIN is not waited for. With a layer (TLS, WebSocket) it is, since that has last words of its own.
	 */
	V_DONE,
	V_ABORT, /* drop now, flush nothing */
};

/* ---- what a step is given ---- */

/* Lent for one step, never stored. */
struct io {
	nsec now;
	int64_t wall; /* seconds since 1970, only for what a peer reads */
	sess_id self, parent;
	const struct peer *local, *peer;
	const struct who *who; /* NULL: nobody */
	const struct svc *svc;
	void *shard;       /* self of this loop's shard, or NULL */
	bool dgram;        /* a datagram socket: there is no connection, and nobody to greet at EV_OPEN */
	bool secure;       /* a confidential layer is on the stack */
	bool traced;       /* io_note() will be read */
	bool eof;          /* the peer has sent FIN: what in_peek() gives is all there will be */
	struct sess *sess; /* the core's own */
};

/* ---- input ---- */

struct span in_peek(const struct io *io); /* all unread bytes, in one piece; dies when step() returns */
void in_take(struct io *io, size_t n);    /* never moves bytes: spans got before stay good */
void in_need(struct io *io, size_t n);    /* no EV_DATA before n bytes are there or EOF; past the cap: abort */
void in_cap(struct io *io, size_t n);     /* raises the cap (default: svc->limits.input) */

/*
 * Takes a line up to LF, or what is left before EOF; LF and one CR before it are not part of it.
 * 1: *ret_line, alive until step() returns. 0: not complete yet. -EMSGSIZE: no LF within max bytes.
 */
[[nodiscard]] int in_line(struct io *io, size_t max, struct span *ret_line);

/* While on, no EV_DATA and no EV_EOF: waiting for a job, a child, a lock. Sticky: only io_hold(false) ends it. */
void io_hold(struct io *io, bool on);

/* ---- output: never blocks and never fails; out of memory or past the cap marks the session to abort ---- */

size_t out_room(const struct io *io); /* advice: 0 from 64 KiB queued on, then EV_ROOM comes at 16 KiB */
void out_mem(struct io *io, const void *p, size_t n);
void out_str(struct io *io, const char *text);
void out_fmt(struct io *io, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void out_blob(struct io *io, struct blob *b);                      /* takes a reference, copies nothing */
void out_file(struct io *io, struct file *f, off_t off, size_t n); /* likewise; sendfile where it can */
void out_eof(struct io *io); /* after what is queued: shutdown(WR) or close_notify; reading goes on */

/* Answers to a route, or to the connected peer (NULL). Too much unsent: dropped and counted. */
void out_dgram(struct io *io, const struct route *to, const void *p, size_t n);

/* ---- timers ---- */

#define PROTO_TIMERS 4
void io_timer(struct io *io, unsigned slot, nsec at); /* absolute; 0 disarms */

/* ---- work that can block ---- */

/* Embed it first. run() has no self and no io; it may outlive the session, then only drop() is called. */
struct job {
	void (*run)(struct job *);
	void (*drop)(struct job *); /* frees it, in any thread */
	int err;                    /* 0 or -errno: comes as ev->err */
	bool waits;                 /* mostly for others, who may never answer: it holds up only its like */
	/* the driver's: */
	sess_id owner;
	uint32_t tag, epoch;
	struct job *next;
};

void io_job(struct io *io, uint32_t tag, struct job *job); /* owned by the driver now; EV_DONE, always later */

/* Children and channels, more connections of one session, are in proto_child.h; files in proto_file.h. */

void io_end(struct io *io, uint32_t tag); /* a job, channel or child: EV_DONE or EV_GONE with -ECANCELED */

/* ---- other sessions ---- */

enum { POST_REPLY = 1 }; /* when nobody is there, EV_GONE with this tag comes back */

/*
 * The letter owns the mail. To a session of the same loop it costs no lock and no system call. False: memory is out, it is lost, and so is
 * the session of this step.
 */
bool io_post(struct io *io, sess_id to, uint32_t tag, struct mail *mail, unsigned flags);

/* From any thread, to the shard of a service in loop i; see docs/design/posts.md. */
unsigned port_loops(const struct port *p);
void port_post(struct port *p, unsigned loop, uint32_t tag, struct mail *mail);
unsigned port_here(const struct port *p, const struct io *io); /* the loop of this step */

/* ---- layers and protocol switches ---- */

enum leftover { LEFT_FEED = 1, LEFT_REJECT }; /* bytes already read: feed them on, or a protocol error */

/* A marker in the output: what was queued before goes out without the layer. Owns arg (layer->drop_arg). */
void io_layer(struct io *io, const struct layer *layer, void *arg, enum leftover left);

/* What the layers know of the peer (core/layer.h): SNI, ALPN, certificate. false: nothing. Strings live for the step. */
bool io_layer_info(const struct io *io, struct layer_info *ret);

/* After this step: a fresh self, EV_OPEN with arg; what the old protocol left outstanding is cancelled. */
void io_become(struct io *io, const struct proto *p, struct blob *arg, enum leftover left);

/* ---- seen from outside ---- */

/* Why this session ends or erred, in the field's words, for its log line; a literal. The first one stays. */
void io_reason(struct io *io, const char *reason);
void io_count(struct io *io, unsigned which, uint64_t n); /* proto->counters[which] */

/*
 * A limit or a rule has cost a client something, `count` times since the last line of this reason: a line `limit` in the log, about the last
 * of them. What is not known is left empty. The caller says how often.
 */
struct limited {
	const char *reason; /* a literal */
	struct span client; /* its name */
	struct span topic;  /* that it was about */
	sess_id session;    /* of this loop, for its peer and its user; 0, or one that is gone: nobody's */
	uint64_t count;
};
void io_limit(struct io *io, const struct limited *what);

enum note_dir { NOTE_IN, NOTE_OUT };
void io_note(struct io *io, enum note_dir dir, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void io_secret(struct io *io, bool on); /* raw bytes are masked in the trace from here on */

/* ---- the protocol itself ---- */

enum {
	P_STREAM = 1,
	P_DGRAM = 2,
	P_SHARED = 4,          /* they meet in memory: model event only; one svc_open() for all changes of options */
	P_READ_WHILE_FULL = 8, /* EV_DATA goes on when the output is full */
	P_OFF = 16,            /* not served unless a section asks for it */
	P_DGRAM_OFF = 32,      /* no datagram address unless a section asks for it */
	/*
	 * P_DGRAM needs one of these (docs/design/datagrams.md). P_SMALL: it answers nearly whatever comes, and a forger
	 * could set it talking with a server; so silence meets a source port below 1024 (unless low_ports = yes), the
	 * other datagram sockets of this daemon, broadcasts and multicasts. P_PEERS: its servers ask each other, from
	 * such ports too (DNS, NTP), and only a question is answered; all of those reach its step.
	 */
	P_SMALL = 64,
	P_PEERS = 128,
	/*
	 * It connects to others: those that its options of type ADDRS name, or those of its sections. Where none is named, its process
	 * is not able to.
	 */
	P_DIALS = 256,
	P_FIRST = 512,  /* says io_first(), or has no time for it */
	P_LOGIN = 1024, /* says io_who(), likewise */
	P_RUNS = 2048,  /* runs commands (CHILD_EXEC); the process of one that does not is not able to */
	P_ALIVE =
		4096, /* its own rule says when a silent peer is gone (MQTT's keep alive), and not the option `idle` */
	/* WebSocket messages of text end the connection ([MQTT-6.0.0-1]), and none are sent. */
	P_BINARY = 8192,
	P_KEEPS = 16384,  /* has a durable store (store/keep.h): its process may write `topics` of the data folder */
	P_ACCESS = 32768, /* who has come in may have to go when people and rules change: EV_ACCESS; model event only */
};

struct proto {
	unsigned abi; /* PROTO_ABI */
	const char *name;
	const char *summary; /* one line for `guichet help` */
	const char *doc;     /* RFC */
	const char *store;   /* that rules say who may use: "topics"; NULL: none */
	const char *needs;   /* P_SHARED: why it needs model event; an end to "chat needs ... because" */
	unsigned flags;
	uint16_t port; /* the classic number; 0: none, which only P_OFF and one other may have */
	size_t self_size, shard_size;
	const struct option_table *options; /* NULL: none of its own */
	/* The least that limits.output may be with these options, whatever is configured: what one reply needs. NULL: 0 */
	size_t (*output_least)(const void *options);
	const struct proto_counter *counters; /* at most PROTO_COUNTERS, and one without a name; or NULL */
	const char *const *subprotocols;      /* WebSocket's names of it, best first, NULL-ended; NULL: its own name */
	enum verdict (*step)(void *self, const struct ev *ev, struct io *io);
	enum verdict (*shard)(void *self, const struct ev *ev, struct io *io); /* NULL: no shards */
	void (*fini)(void *self, struct io *io);                               /* may post, cannot write; NULL */
	/* How the client calls itself: `client` in the log, until fini(); borrowed. Empty: it has not said so. NULL: it never does */
	struct span (*client)(const void *self);
	void (*shard_fini)(void *self, struct io *io);         /* likewise, after the last session; NULL */
	int (*svc_open)(struct svc *svc, struct buf *ret_why); /* 0 or -errno and a sentence; NULL */
	void (*svc_close)(struct svc *svc);                    /* after the last session; NULL */
};

static inline size_t proto_output(const struct proto *p, const void *options, size_t wanted)
{
	size_t least = p->output_least ? p->output_least(options) : 0;

	return wanted > least ? wanted : least;
}
