/*
 * loop_priv.h - what the files of the loop share: loop.c (turns, slots, timers, posts), conn.c (a connection's life),
 * stream.c and dgram.c (bytes and datagrams), accept.c (listeners), adopt.c (how sessions come), effects.c and child.c (what steps asked for).
 */
#pragma once
#include "base/addr.h"
#include "base/heap.h"
#include "core/ids.h"
#include "drive/gate.h"
#include "drive/inbox.h"
#include "drive/jobs.h"
#include "drive/loop.h"
#include "drive/net/listener.h"
#include "drive/poll/poller.h"

enum {
	TURN_TAKEN = 64 << 10, /* bytes of those who speak to each other that are enough for a turn */
};

enum source_kind {
	SRC_FREE,
	SRC_CONN,   /* struct conn with a stream */
	SRC_DGRAM,  /* struct conn with a datagram socket */
	SRC_BARE,   /* struct conn without a descriptor: a shard, a client */
	SRC_LISTEN, /* struct place */
	SRC_WATCH,  /* struct watched */
};

/* What has a slot in the loop, and so an id. */
struct source {
	sess_id id;
	int fd;
	uint8_t kind;
	uint8_t ready;  /* READY_*, remembered between edges */
	uint16_t flags; /* C_* */
};

enum conn_state {
	CONN_SERVING,
	CONN_RESOLVING,  /* a child: waiting for names */
	CONN_CONNECTING, /* a child: waiting for the handshake of TCP */
	CONN_LISTENING,  /* a child: waiting for its one connection */
	CONN_STARTING,   /* a child: a command that does not run yet */
	CONN_LINGER,     /* our FIN is out; waiting for the peer's */
	CONN_DEAD,       /* in the graveyard until the turn ends */
};

enum {
	C_SOCKET = 1,
	C_LOW_PORTS = 2,
	C_PKTINFO = 4,
	C_VITAL = 8,       /* of the control socket: its descriptor goes back into the reserve */
	C_NOPOLL = 16,     /* a regular file: always ready */
	C_KEEP_FDS = 32,   /* not ours to close: stdin and stdout, a listener's datagram socket */
	C_COUNTED = 64,    /* in the lane's `open`; a connection in the service's accepted and closed too */
	C_WANT_OUT = 128,  /* a datagram socket was full: the poller tells when it is not */
	C_UNWATCHED = 256, /* a datagram socket that could not be given back to the poller */
	C_RECORDS = 512,   /* a seqpacket socket: record.h */
	C_QUEUE = 4096,    /* message queues: queues.c */
	C_DEAF = 8192,     /* two pipes, and nobody reads from ours any more: known, and not looked at again */
	C_TOLD = 2048,     /* a datagram socket that somebody else watches for input: loop_told() */
	C_COMMAND = 16384, /* a command's pipes, or the channel of one that has the connection itself: exec.h */
	C_GIVEN = 32768,   /* a command has the descriptor: not to be read, written or closed in stages */
	C_BLOCKING = 1024, /* pipes that others share, and so not made non-blocking: a private loop only */
};

/* A job: the addresses of a name. */
struct lookup {
	struct job job;
	struct addr_text addr;
	struct netaddr *v;
	unsigned n;
};

/* Dialling: the addresses still to try. */
struct dial {
	struct addr_text addr;
	struct task *lookup; /* on its way; CONN_RESOLVING */
	struct netaddr *v;
	unsigned n, at;
	nsec try_by; /* then the next one has its turn */
	nsec pause;  /* fifo: between two looks */
	struct fifo_dial *fifo;
	int err; /* of the last try */
	const struct layer *layer;
	void *layer_arg;
	struct blob *arg;
};

/* A connection's relatives, on first use. */
struct kin {
	struct list kids, sib;
	struct conn *parent, *self;
	uint32_t tag, epoch;
	nsec deadline; /* to be open by then */
	nsec flush_by; /* its parent has closed: to have sent what is queued by then */
	struct dial *dial;
	const struct peer *only;
	struct blob *arg;
	struct who who;
	char *queue;       /* a message queue for our answers, which goes when we do */
	struct rest *rest; /* record.c: of a record */
	struct run *run;   /* exec.h: a command, when this is its channel or child */
	struct run *given; /* and the one that has this connection */
	bool lent;         /* or had it: others may have copies of the descriptor */
};

struct conn {
	struct sess s; /* first: effects and lists name sessions */
	struct source src;
	struct heap_node timer;
	int wfd;           /* where output goes; = src.fd for sockets */
	uint8_t state;     /* enum conn_state */
	uint8_t allowed;   /* datagrams at the head of the queue that may be sent: at most HEAD_DGRAMS */
	uint8_t tries;     /* to send the first of them to somebody who has no room for it */
	bool refused;      /* by what its PROXY header said: the log knows already */
	uint32_t ticket;   /* of its source, admit.h */
	nsec opened;       /* for the log */
	nsec linger_until; /* of datagrams: when to try to send again; 0: it does not wait for that */
	struct kin *kin;
	/* self of the protocol follows */
};

/* A listener's place in one loop. */
struct place {
	struct source src;
	struct list node;
	struct listener *ln;
	struct lane *lane;
	loop_take *take;
	int how;
	nsec retry; /* out of the poller until then; 0 = it is not */
	bool last;  /* those who are there already come in, also when they will have to wait for a worker */
};

struct watched {
	struct source src;
	struct list node;
	loop_call *fn;
	void *arg;
};

struct outbox {
	unsigned index;
	struct post *batch;
};

struct dgram_io; /* dgram.c */
struct desk;     /* exec.c */

struct loop {
	struct head head;
	struct host host;
	struct loop_setup setup;
	struct poller *poller;
	struct inbox *inbox;
	struct ids ids; /* of struct source */
	struct heap timers;
	struct list again; /* sessions that were settled and have more to do: after those for whom something has come */
	size_t flushed;    /* bytes, in this turn */
	size_t taken;      /* bytes read, in this turn, by sessions that speak to each other */
	nsec rest_at;      /* when spare memory for output is given back; 0: there is not much */
	unsigned talk;     /* descriptors with input, in the last look */
	struct list places, watches, tasks, graveyard;
	struct peer *guest; /* who was accepted last: where nobody has kept it, the next one gets its memory */
	struct outbox *out;
	unsigned out_n, out_cap;
	struct task *done, **done_end;   /* jobs that ran inline, oldest first */
	struct post *posts, **posts_end; /* taken from the inbox, and not looked at yet */
	uint32_t letters;                /* posted to sessions of this loop in this turn */
	struct dgram_io *dg;
	struct desk *desk;        /* NULL: no command was asked for yet */
	struct gate_cache *files; /* NULL: none yet, or none at all */
	unsigned answered;        /* calls for files that were answered at once in this turn */
	uint32_t access_at;       /* of `ids`: the next one to be told EV_ACCESS */
	uint32_t access_end;      /* and behind the last one */
	struct ready *ready;      /* what the poller tells; not on the stack, of which it would be a page */
	struct watch *watch;
	unsigned watch_cap; /* and of `ready`, which with epoll has POLLER_BATCH */
	bool finish, stopping, cut, acting;
	bool waiting;        /* somebody is not read from: loop_must_wait() */
	bool untold;         /* the log may have to tell of lines that were left out, admit_due() */
	bool uneasy;         /* a place is paused, or is of named pipes: something may be due at a place */
	_Atomic bool paused; /* accepting somewhere: loop_room() is wanted */
	_Atomic unsigned open;
	_Atomic uint64_t turns;
	struct post order; /* loop_order(): last, because a post is open-ended */
};

static inline struct conn *conn_of(struct sess *s)
{
	return (struct conn *)s;
}

/* loop.c */
struct conn *loop_find_conn(struct loop *l, sess_id id);
[[nodiscard]] int slot_take(struct loop *l, struct source *src); /* gives it an id; 0 or -ENOMEM */
void slot_free(struct loop *l, struct source *src);
[[nodiscard]] int source_watch(struct loop *l, struct source *src, int how);
[[nodiscard]] int conn_watch(struct loop *l, struct conn *c,
			     int how); /* both of its descriptors, where there are two */

/* posts.c */
bool loop_must_wait(struct loop *l, const struct conn *c); /* its words become letters, and there are too many by now */
bool loop_send(struct loop *l, const struct letter_to *to); /* with the others of this turn; false: memory is out */
void loop_ran(struct loop *l, struct task *t);              /* a job, inline: its answer comes with the posts */
void posts_take(struct loop *l);                            /* what came since the last turn, or a slice of it */
void posts_flush(struct loop *l);                           /* what was collected for other loops */
void posts_go_on(struct loop *l);                           /* those that had to wait, when the others have caught up */

/* conn.c */
struct conn *conn_new(struct loop *l, enum source_kind kind, const struct sess_birth *b); /* NULL: -ENOMEM */
struct kin *conn_kin(struct conn *c);
void conn_settle(struct loop *l, struct conn *c); /* go on, flush, arm the timer, end it if it is over */
void conn_end(struct loop *l, struct conn *c, int err);
void conn_arm(struct loop *l, struct conn *c);
void conn_timer(struct loop *l, struct conn *c);
void conn_linger(struct loop *l, struct conn *c); /* CONN_LINGER: is it over? */
void conn_bury(struct loop *l);                   /* frees the graveyard */
void conn_met(struct host *h, struct sess *s);    /* its peer is another than it came as */
bool conn_login_failed(struct host *h, struct sess *s, struct span user);
size_t conn_unsent(struct host *h, struct sess *s); /* bytes that our system has yet */

/* stream.c */
void stream_read(struct loop *l, struct conn *c);
void stream_flush(struct loop *l, struct conn *c);
bool stream_alone(const struct conn *c); /* the peer has sent its last byte, and it was read: a close destroys nothing */
bool stream_drained(struct conn *c);     /* lingering: discards input; true: the peer has ended too */

/* dgram.c */
void dgram_read(struct loop *l, struct conn *c);
void dgram_flush(struct loop *l, struct conn *c);
void dgram_retry(struct conn *c); /* it is time: it may send again */
void dgram_free(struct dgram_io **d);

/* accept.c */
void accept_reserve(void); /* a descriptor for the control socket, if there is none; any thread */
bool accept_ready(struct loop *l, struct place *p); /* true: perhaps more wait */
void accept_retry(struct loop *l, bool room);       /* goes on accepting: a descriptor came free, or it is time */
void accept_look(struct loop *l);                   /* for those of whom no descriptor tells */
nsec accept_due(const struct loop *l);

/* effects.c */
void loop_effects(struct loop *l);
void loop_task_done(struct loop *l, struct task *t);
bool loop_letter(struct loop *l,
		 struct letter_to *to); /* to a session of this loop; false: it is refused, and not dropped */

/* child.c */
void child_start(struct loop *l, struct sess *parent, struct fx *f);
void child_ready(struct loop *l, struct conn *c); /* connecting or listening, and its descriptor is ready */
void child_resolved(struct loop *l, struct conn *c, struct job *job);
void child_forget_lookup(struct loop *l, struct conn *c);
void child_due(struct loop *l, struct conn *c); /* connecting, and time is up for this try */
void child_connected(struct loop *l, struct conn *c);
void child_failed(struct loop *l, struct conn *c, int err);
void child_try_failed(struct loop *l, struct conn *c, int err); /* connecting: perhaps there is another address */
void dial_free(struct dial **d);

/* named.c: children at named pipes and message queues */
[[nodiscard]] int named_start(struct loop *l, struct conn *c); /* 0 or -errno */
bool named_is(const struct conn *c);
void named_look(struct loop *l, struct conn *c); /* connecting: has the server come? */
void named_free(struct conn *c);

/* queues.c: datagrams by message queues */
void queues_read(struct loop *l, struct conn *c);
void queues_flush(struct conn *c, struct head *h);

/* connlog.c: the lines of a session's life */
void connlog_open(const struct conn *c);
void connlog_close(const struct conn *c, nsec now, int err);
void connlog_login(struct host *h, struct sess *s, const struct who *who);
void connlog_limit(struct host *h, struct sess *s, const struct limited *what);
void connlog_note(struct host *h, struct sess *s, enum note_dir dir, const char *text);
void connlog_tap(struct host *h, struct sess *s, enum note_dir dir, struct span raw, const struct route *route,
		 bool secret);
