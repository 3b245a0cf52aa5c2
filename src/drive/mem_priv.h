/*
 * mem_priv.h - what the files of the memory driver share: mem.c (the world: set-up, clients, turns and timers), memsess.c
 * (sessions), memchild.c (children and channels), memfx.c (what steps asked for), memconn.c (the other ends: bytes and
 * datagrams), memaddr.c (addresses).
 */
#pragma once
#include <stdatomic.h>

#include "base/buf.h"
#include "base/list.h"
#include "core/ids.h"
#include "core/stats.h"
#include "drive/mem.h"
#include "drive/port.h"

enum { MEM_TRIES = 2 }; /* fault injection fails one allocation: it must not be the fake kernel's */

enum mem_state {
	MS_CONNECTING, /* a child: waiting for memconn_dialled() */
	MS_LISTENING,  /* a child: waiting for memconn_connect() */
	MS_SERVING,
	MS_LINGER, /* our FIN is out; waiting for the client's */
	MS_DEAD,   /* in the graveyard until the turn ends */
};

/* A session and what a driver keeps with it. */
struct memsess {
	struct sess s; /* first: effects and lists name sessions */
	struct memdrive *w;
	struct memconn *c; /* NULL: a shard */
	enum mem_state state;
	bool dgram;
	nsec until;    /* CONNECTING, LISTENING: to be open by then; LINGER: to be over by then */
	nsec flush_by; /* its parent has closed: to have sent what is queued by then */
	struct list kids, sib;
	struct memsess *parent;
	uint32_t tag, epoch;
	/* a child that is not open yet */
	int dialled; /* MEM_PENDING, 0 or -errno */
	const struct layer *layer;
	void *layer_arg;
	struct blob *arg;
	const struct peer *only;
};

/* Bytes that a fake kernel or a test keeps. */
struct store {
	uint8_t *p;
	size_t off, n, cap;
};

struct memconn {
	struct list node; /* in w->conns, and so freed with the world */
	struct list kid;  /* in w->children */
	struct memdrive *w;
	struct memsess *ms; /* NULL: gone */
	sess_id id;
	enum mem_end end;
	bool is_kid, fin, eof, eof_read, reset;
	bool exited; /* EXEC: the command has ended, with these */
	int status, signal;
	enum child_kind kind;
	size_t window, read_max, write_max, peak;
	struct store in, out;
	struct mem_dgram *dg;
	size_t dg_n, dg_cap;
	char reason[64];
	char address[280];
};

struct memdrive {
	struct host host; /* first: host -> world */
	struct port port;
	struct svc svc;
	struct lane lane;
	_Atomic uint64_t stats[STAT_N];
	_Atomic bool pressed;
	bool barred;
	struct ids ids;
	struct list conns, children, graveyard;
	void *own_options; /* made here */
	bool opened;       /* svc_open() was called */
	bool manual, hold_jobs;
	int dials, handshakes;
	int64_t wall0;
	nsec now0;
	uint16_t next_port;
	struct memconn *dgram;
	struct job *jobs, **jobs_end; /* that wait, oldest first */
	struct job *cancelled;
	size_t jobs_n;
	struct mem_away *away;
	size_t away_n, away_cap;
	struct buf trace;
};

static inline struct memsess *memsess_of(struct sess *s)
{
	return (struct memsess *)s;
}

/* mem.c */
void mem_rest(struct memdrive *w); /* runs, unless that is switched off */

/* memaddr.c; these try again when an allocation fails, but for mem_peer() */
struct peer *mem_peer(struct memdrive *w, const char *text); /* NULL text: loopback and a new port. NULL: -ENOMEM */
[[nodiscard]] int mem_route(struct memdrive *w, const char *text, bool proven, struct route *ret); /* IP; 0 or -errno */
void mem_route_text(const struct route *r, char *ret, size_t size); /* "" for no address */

/* memsess.c */
struct memsess *mem_session(struct memdrive *w, struct memconn *c, const struct sess_birth *b); /* NULL: -ENOMEM */
void mem_settle(struct memsess *ms);                          /* does what there is to do for it now */
void mem_over(struct memsess *ms, int err, enum mem_end how); /* its end; `err` is for the parent */
void mem_bury(struct memdrive *w);                            /* frees those whose end came in this turn */

/* memchild.c */
void mem_child_start(struct memdrive *w, struct fx *f);
void mem_open_child(struct memsess *ms);
void mem_child_failed(struct memsess *ms, int err);

/* memfx.c */
void mem_effects(struct memdrive *w);
void mem_run_jobs(struct memdrive *w, size_t n);
void mem_answer_cancelled(struct memdrive *w);
void mem_drop_jobs(struct memdrive *w); /* all of them, in the end */
void mem_port_init(struct port *p, unsigned loops);

/* memconn.c */
struct memconn *memconn_new(struct memdrive *w); /* NULL: -ENOMEM */
void memconn_free(struct memconn *c);
void memconn_read(struct memconn *c);
bool memconn_readable(const struct memconn *c);
void memconn_flush(struct memconn *c);
void memconn_flush_dgrams(struct memconn *c);
