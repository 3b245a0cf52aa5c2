/*
 * mem_priv.h - what the files of the memory driver share: mem.c (the world: turns, timers, effects, children), memconn.c
 * (the other ends: bytes and datagrams).
 */
#pragma once
#include "base/buf.h"
#include "core/ids.h"
#include "drive/mem.h"
#include "drive/port.h"

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
	nsec until; /* CONNECTING, LISTENING: to be open by then; LINGER: to be over by then */
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
struct memsess *mem_session(struct memdrive *w, struct memconn *c, const struct sess_birth *b); /* NULL: -ENOMEM */
void mem_open_child(struct memsess *ms);
void mem_child_failed(struct memsess *ms, int err);
void mem_effects(struct memdrive *w);
struct peer *mem_peer(struct memdrive *w, const char *text); /* NULL text: loopback and a new port. NULL: -ENOMEM */

/* memconn.c */
struct memconn *memconn_new(struct memdrive *w); /* NULL: -ENOMEM */
void memconn_free(struct memconn *c);
void memconn_read(struct memconn *c);
bool memconn_readable(const struct memconn *c);
void memconn_flush(struct memconn *c);
void memconn_flush_dgrams(struct memconn *c);
