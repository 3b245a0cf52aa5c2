/*
 * mem.h - the memory driver: a service and its sessions without a kernel. Real sessions (core/session.h), a fake clock,
 * one thread, no descriptor; for tests and fuzzers. It does what src/drive/loop.c and its friends do, in the same order.
 *
 *	struct memdrive *w;
 *	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &echo_proto }, &w, NULL), 0);
 *	struct memconn *c = memconn_open(w, NULL);
 *	memconn_send(c, "hello\n", 6, 1);                      each byte read, stepped and flushed by itself
 *	assert_true(span_is(memconn_out(c), "hello\n"));
 *	memconn_eof(c);
 *	assert_int_equal(memconn_end(c), MEM_CLOSED);
 *	memdrive_free(&w);
 *
 * Whatever a test does to a memconn or to the world is followed by as many turns as it takes until nothing is left to do
 * (memdrive_run), unless that was switched off (memdrive_auto). Time stands still until memdrive_advance().
 */
#pragma once
#include "base/blob.h"
#include "core/session.h"

struct memdrive; /* the world: a service, its sessions, the clock */
struct memconn; /* the other end of a connection or datagram socket; lives as long as the world, also when its session is gone */

/* ---- the world ---- */

struct mem_setup {
	const struct proto *proto;
	const void *options;   /* values of proto->options, borrowed; NULL: the defaults */
	const char *name;      /* of the service; NULL: the protocol's */
	size_t input;          /* limits of the service; 0: 64 KiB */
	size_t output;         /* 0: 1 MiB */
	nsec idle;             /* 0: never */
	nsec first;            /* 0: 10 s after a layer was pushed */
	nsec auth;             /* 0: never */
	size_t min_rate;       /* bytes a second, over a minute; 0: none */
	nsec linger;           /* 0: closes without waiting for the client's FIN */
	nsec now;              /* start of the monotonic clock; 0: 1000 s */
	int64_t wall;          /* start of the other; 0: 1000000000, which is 2001-09-09 01:46:40 UTC */
	unsigned loops;        /* what port_loops() says; 0: 1. All sessions are in loop 0, see memdrive_away() */
	int handshakes;        /* handshake steps per turn; 0: HOST_HANDSHAKES */
	bool trace;            /* memdrive_trace() gets text */
	struct events *events; /* store/events.h, borrowed; NULL: none */
	struct access *
		access; /* store/access.h: people and rules, borrowed; NULL: no people, and 127.0.0.1 may do everything */
};

/* Calls svc_open() and makes the shard. 0 or -errno; what svc_open() said is in `why` (may be NULL). */
[[nodiscard]] int memdrive_new(const struct mem_setup *setup, struct memdrive **ret, struct buf *why);

/* Ends all sessions, shard last, runs and drops jobs, calls svc_close(). Every memconn dies. NULL is fine. */
void memdrive_free(struct memdrive **w);

void memdrive_auto(struct memdrive *w, bool on); /* default on: calls below run the world to rest */

/* Turns until nothing is left to do. False: it did not come to rest in 1000 turns (a protocol that always talks). */
bool memdrive_run(struct memdrive *w);
void memdrive_turn(struct memdrive *w); /* one turn */

nsec memdrive_now(const struct memdrive *w);
nsec memdrive_next(
	const struct memdrive *w); /* when the next timer wants to fire (0: none); may be too early, never late */
void memdrive_advance(struct memdrive *w,
		      nsec ns); /* the clock goes on; what falls due on the way fires at its time, in order */

void memdrive_press(struct memdrive *w, bool on); /* overload */
void memdrive_bar(struct memdrive *w, bool on);   /* what io_login_failed() says from now on; false at first */

struct svc *memdrive_svc(struct memdrive *w);
uint64_t memdrive_stat(const struct memdrive *w, enum counter which);
unsigned memdrive_sessions(const struct memdrive *w); /* alive, with the shard and datagram sockets */
struct span memdrive_trace(const struct memdrive *w); /* `< bytes`, `> bytes` raw, `+ note`: a line each; for .trace */

void memdrive_stop(struct memdrive *w); /* EV_STOP to every session */
void memdrive_reload(struct memdrive *w,
		     const void *options); /* others are in force, borrowed: EV_RELOAD to the shard */
void memdrive_access(struct memdrive *w);  /* people or rules are others: EV_ACCESS to all */
void memdrive_cut(struct memdrive *w);     /* drops every session with a transport, as the end of the drain does */

/* ---- a client ---- */

struct mem_open {
	const char *peer,
		*local; /* "192.0.2.1:4711", "[2001:db8::1]:25", "/path", "name"; NULL: 127.0.0.1:40000 and up; 127.0.0.1:7000 */
	const struct who *who;     /* NULL: nobody; lives as long as the world */
	const struct layer *layer; /* what the listener pushes before EV_OPEN; NULL: none */
	void *layer_arg;
	const struct proto *proto; /* instead of the service's; NULL */
	struct blob *arg;          /* for EV_OPEN; borrowed */
	size_t window;             /* memconn_window(); 0: no limit */
};

/* A client connects. NULL: memory is out (only under fault injection). `how` may be NULL. */
[[nodiscard]] struct memconn *memconn_open(struct memdrive *w, const struct mem_open *how);

/*
 * The client sends n bytes in pieces of at most `piece` (0: all at once), each read, stepped and flushed like in a turn of its own.
 * What the session does not want yet waits, and is read before what comes later.
 */
void memconn_send(struct memconn *c, const void *p, size_t n, size_t piece);
void memconn_sends(struct memconn *c, const char *text);
void memconn_eof(struct memconn *c);   /* FIN, after what waits */
void memconn_reset(struct memconn *c); /* the connection breaks, -ECONNRESET: what waits is lost */

/* Every read gives at most n bytes (0: as many as there are). */
void memconn_reads(struct memconn *c, size_t n);

/* How many more bytes the client's system takes before it is full; MEM_NO_LIMIT: all (the default). */
#define MEM_NO_LIMIT SIZE_MAX
void memconn_window(struct memconn *c, size_t n);
/* Every write takes at most n bytes (0: as many as there are). */
void memconn_writes(struct memconn *c, size_t n);

struct span memconn_out(
	const struct memconn *c); /* what it received and memconn_take() has not taken; dies with the next call */
void memconn_take(struct memconn *c, size_t n); /* SIZE_MAX: all of it */

enum mem_end {
	MEM_OPENING, /* a child that is not connected yet */
	MEM_OPEN,
	MEM_FIN,     /* the session's FIN came; it may go on reading */
	MEM_CLOSED,  /* it was ended and closed after its last byte */
	MEM_ABORTED, /* it was dropped: what was queued is lost */
};
enum mem_end memconn_end(const struct memconn *c);
const char *memconn_reason(const struct memconn *c); /* so far; "" when there is none */
bool memconn_fin(const struct memconn *c);           /* the session's FIN came, sometime */
size_t memconn_unread(const struct memconn *c);      /* bytes that the client sent and the session has not read */
size_t memconn_queued(const struct memconn *c);      /* sess_queued() now; 0 when it is gone */
size_t memconn_peak(const struct memconn *c);        /* the most it ever was */
sess_id memconn_id(const struct memconn *c);         /* also when it is gone */
struct sess *memconn_sess(const struct memconn *c);  /* NULL: gone */

/* ---- datagrams ---- */

/* A datagram socket of the service. One is made by the first call; NULL: memory is out. */
[[nodiscard]] struct memconn *memdrive_dgram(struct memdrive *w);

/* A datagram arrives; from: "192.0.2.1:53", or NULL: from the connected peer (a CHILD_DGRAM). */
void memconn_dgram(struct memconn *c, const char *from, bool proven, const void *p, size_t n);

struct mem_dgram {
	char to[64]; /* address and port; "" = the connected peer */
	bool routed;
	struct route route;
	struct span data;
};
size_t memconn_dgrams(const struct memconn *c); /* sent by the session, not yet taken */
const struct mem_dgram *memconn_dgram_at(const struct memconn *c,
					 size_t i); /* NULL: there is none; dies with the next call */
void memconn_dgrams_take(struct memconn *c);        /* forgets them all */

/* ---- children and channels: their other ends, in the order in which they were asked for ---- */

/* What becomes of a CHILD_CONNECT or a CHILD_EXEC: 0 (the default) is success, -errno failure, MEM_PENDING: it waits for memconn_dialled(). */
enum { MEM_PENDING = 1 };
void memdrive_dials(struct memdrive *w, int result);
size_t memdrive_children(const struct memdrive *w);
struct memconn *memdrive_child(const struct memdrive *w,
			       size_t i); /* NULL: there are not so many; may be over already */
enum child_kind memconn_kind(const struct memconn *c);
const char *memconn_address(const struct memconn *c); /* CONNECT: what was dialled; EXEC: its path and words; else "" */
void memconn_dialled(struct memconn *c, int result);  /* a pending one: 0 or -errno */

/* Somebody connects to a CHILD_LISTEN. 0; -EACCES: only another host may; -ENOTCONN: it does not listen any more. */
int memconn_connect(struct memconn *c, const char *from);

/* A CHILD_EXEC (it has pipes, whatever it asked for) ends so: what it said before is read, what is written to it from now on is lost. */
void memconn_exits(struct memconn *c, int status, int signal);

/* ---- jobs, letters ---- */

void memdrive_hold_jobs(struct memdrive *w,
			bool on); /* on: they wait for memdrive_run_jobs(); off (default): each runs in the next turn */
size_t memdrive_jobs(const struct memdrive *w);         /* that wait */
size_t memdrive_run_jobs(struct memdrive *w, size_t n); /* the first n; how many there were */

/* A letter from a session `from` (0: a port), as io_post() makes it; owns mail. */
void memdrive_post(struct memdrive *w, sess_id from, sess_id to, uint32_t tag, struct mail *mail);
void memdrive_shard_post(struct memdrive *w, uint32_t tag, struct mail *mail); /* as port_post() to loop 0 */

/* What went through the port to loops other than 0, oldest first: 1, and *ret is the caller's; 0: nothing is left. */
struct mem_away {
	unsigned loop;
	uint32_t tag;
	struct mail *mail;
};
int memdrive_away(struct memdrive *w, struct mem_away *ret);
