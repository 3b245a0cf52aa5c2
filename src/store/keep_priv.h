/*
 * keep_priv.h - what the files of the durable store share.
 *
 *	keep.c         open, close, the queue of batches
 *	keep_batch.c   from records to bytes, in a batch
 *	keep_row.c     from bytes to records: rows of the file
 *	keep_parts.c   rows that are too long for half a page
 *	keep_check.c   which of them can be
 *	keep_walk.c    the file's pages, read by ourselves and believed in nothing
 *	keep_mend.c    is the file sound; what is good in one that is not
 *	keep_read.c    what the owner is given at the start
 *	keep_writer.c  the thread: transactions, room, what becomes of errors
 *	keep_apply.c   from a batch to LMDB
 *
 * A row is a key and a value. The key is the kind, and numbers that sort as bytes (big-endian); the value is its
 * CRC32C, over the key and the rest, and the rest (little-endian).
 */
#pragma once
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "store/keep.h"
#include "store/keep_parts.h"
#include "store/keep_walk.h"

enum {
	/* of all this, in the row KEEP_ROW_HEAD. 1 had no KEEP_F_FROM, KEEP_F_OWED, nor numbers of shares; 2 had no parts; 3 passed nothing on */
	KEEP_VERSION = 4,
	KEEP_SUM = 4,     /* of the checksum */
	KEEP_DIGEST = 16, /* of a name in a key: SHA-256, cut */
	KEEP_COPY = 4096, /* payloads above are referred to, when there is a blob */
};

/* Kinds of rows; those of keep.h, and: */
enum {
	KEEP_ROW_HEAD = 0, /* no key; version */
	/*
	 * The key of a message is its id and the largest number. Before it, under its id and a session, are those
	 * deliveries that have come further; first of all, under its id and 0, how many it still waits for, unless it
	 * was for one from the start.
	 */
	KEEP_ROW_TURN = 6,
	KEEP_ROW_LEFT = 7,
	KEEP_ROW_GONE = 8, /* the rows whose keys begin like the rest of this one have gone, but not all of them yet */
};

#define KEEP_SELF UINT64_MAX /* in place of a session */

/* In values. */
enum {
	KEEP_F_RETAIN = 4, /* beside the QoS */
	KEEP_F_FROM = 8,   /* likewise, of a message: whose it is follows */
	KEEP_QOS = 3,
	KEEP_GOT = 3,      /* in place of the QoS, of a waiter: QoS 2, received */
	KEEP_AT_ALONE = 3, /* likewise, of a waiter: five bits from here */
	KEEP_F_WILL = 1,
	KEEP_F_LOCAL = 1,
	KEEP_F_AS_PUBLISHED = 2,
	KEEP_AT_NUMBER = 2, /* five bits from here */
	KEEP_F_OWED = 128,  /* from where on follows */
	KEEP_NUMBERS = 31,
};

#define KEEP_PASSED UINT32_C(0x80000000) /* in the bytes of the waiters: look_for() */
#define KEEP_NO_ID UINT32_MAX            /* a place for an identifier that is not used */

enum { KEEP_DONE = 2 }; /* a third turn, for those who share a message */

/* ---- batches ---- */

enum keep_what {
	KEEP_OP_PUT,
	KEEP_OP_DEL_ALL, /* whose keys begin so; a row, with its parts, begins with its own key */
	KEEP_OP_TURN,    /* a put, if its message is there */
	KEEP_OP_OVER,    /* one waiter less */
	KEEP_OP_PASS,    /* another one in its place: the value */
};

/* What a batch begins with, so that it can be queued without more memory. */
struct keep_queued {
	struct keep_queued *next;
	struct keep_batch b; /* whose memory this is in */
	uint64_t position;
};

enum { KEEP_FIRST = (sizeof(struct keep_queued) + 7) & ~7u }; /* where the first operation is */

/* In a batch; each begins at a multiple of 8. */
struct keep_op {
	uint32_t size;      /* to the next one */
	uint32_t value_n;   /* without the blob's bytes */
	struct blob *large; /* a reference: they follow the value; NULL: none */
	uint8_t what, key_n;
	bool apart; /* from what is before it: keep_cut() */
	uint8_t key[KEEP_KEY - 3];
	uint8_t value[];
};

void keep_drop_blobs(struct keep_batch *b);
struct keep_op *keep_op_at(const struct keep_batch *b, size_t at);

/* Rows of other kinds than keep.h has. */
[[nodiscard]] int keep_put_head(struct keep_batch *b);
[[nodiscard]] int keep_put_left(struct keep_batch *b, uint64_t id, uint32_t n);
[[nodiscard]] int keep_delete(struct keep_batch *b, struct span prefix); /* all whose key begins so */

/* ---- rows ---- */

struct keep_row {
	size_t value_n; /* bytes of its value */
	uint8_t kind;   /* of the rows above */
	uint8_t turn;
	uint16_t packet;
	uint32_t left, version;
	uint64_t id, session;
	struct keep_session of;
	struct keep_subscription subscription;
	struct keep_message message;
	struct span waiters; /* encoded */
	uint32_t n_waiters;
	struct keep_wrong wrong;
};

/* 0; -EBADMSG: its checksum or form is wrong; -EINVAL: it cannot be, ret->wrong says why. What it gives borrows from the two. */
[[nodiscard]] int keep_row(struct span key, struct span value, keep_props *props, struct keep_row *ret);

uint32_t keep_sum(struct span key, struct span value); /* over both, but for the checksum that the value begins with */
void keep_seal(const uint8_t *key, size_t key_n, uint8_t *value, size_t n); /* writes it there */
size_t keep_key_size(uint8_t kind);                                         /* 0: no kind, or not always the same */

/* keep_check.c. Of a row that has the form of its kind. */
struct keep_wrong keep_check(const struct keep_row *row, keep_props *props);

/* The next of the waiters of a row; its identifiers are still bytes, 4 each. False: that was the last. */
struct keep_raw_waiter {
	struct keep_waiter w; /* `ids` not set */
	const uint8_t *ids;
};
bool keep_row_waiter(struct span *at, struct keep_raw_waiter *ret);

/* Where what stands in the value of a message that waits: their number, their bytes, they; and of each, before its identifiers. */
enum { KEEP_AT_N = KEEP_SUM, KEEP_AT_BYTES = KEEP_AT_N + 4, KEEP_AT_WAITERS = KEEP_AT_BYTES + 4 };
enum {
	KEEP_AT_FLAGS = 8,
	KEEP_AT_PACKET = KEEP_AT_FLAGS + 1,
	KEEP_AT_N_IDS = KEEP_AT_PACKET + 2,
	KEEP_AT_IDS = KEEP_AT_N_IDS + 2
};

/* Numbers in memory. */
static inline uint64_t keep_get(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

static inline void keep_set(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (; bytes--; v >>= 8)
		*p++ = (uint8_t)v;
}

static inline uint64_t keep_get_key(const uint8_t *p)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static inline void keep_set_key(uint8_t *p, uint64_t v)
{
	for (unsigned i = 8; i--; v >>= 8)
		p[i] = (uint8_t)v;
}

/* ---- the store ---- */

struct keep {
	struct keep_setup setup;
	char *dir, *name, *path; /* owned */
	int lock_fd, fd;         /* of the folder's lock; of the file, for reading */

	/* reading */
	struct walk walk;
	struct keep_parts parts;
	struct keep_found found;
	bool reading, looks;    /* looks: to nobody's harm, so what cannot be is given too */
	struct keep_row *turns; /* of the message that comes */
	size_t turns_n, turns_cap;
	uint64_t turns_of;
	uint32_t left;      /* likewise, 0 = it does not say */
	uint64_t *sessions; /* that are there, ascending */
	size_t sessions_n, sessions_cap;
	struct keep_waiter *waiters;
	uint32_t *ids;
	size_t waiters_cap, ids_cap;
	struct keep_batch mend; /* for the writer: rows that nobody needs */

	_Atomic uint64_t next_id;
	_Atomic uint64_t committed;
	_Atomic int state;

	/* the queue */
	pthread_mutex_t lock;
	pthread_cond_t some;
	struct keep_queued *first, **end, *spare;
	unsigned spares;
	uint64_t position;
	_Atomic uint64_t waiting_bytes;
	_Atomic uint64_t waiting_room;  /* bytes that this may need in the file, and what is promised */
	_Atomic uint64_t room;          /* that the file has for it, beside the reserve: when the writer looked last */
	_Atomic uint64_t most;          /* that may be waiting with what comes last: it may use half of the reserve */
	bool closing, sleeping, urgent; /* urgent: somebody waits for what is in the queue */
	bool changed;                   /* these two are not the writer's yet */
	uint64_t limit, largest;

	/* the writer's */
	pthread_t thread;
	bool runs;
	MDB_env *env;
	MDB_dbi dbi;
	uint64_t map;     /* bytes of the map, and of the file */
	uint64_t reserve; /* bytes of it that only what takes away may use */
	uint64_t owed;    /* beside these; that deliveries under way may still write: keep_owed() */
	uint64_t again;   /* that must be there beside it before what was full is fine */
	uint64_t at_end;  /* bytes of the map behind the last page that was ever in use ... */
	uint64_t inside;  /* ... and of free pages before that */
	uint64_t late;    /* pages of these that the last transaction has freed: not for the next one */
	bool alone;       /* the last group did not fit: one batch at a time */
	bool stuck;       /* and nothing was written since */
	bool sweeps;      /* there are rows to be taken away (KEEP_ROW_GONE) */
	size_t at;        /* how far the first batch is written, 0: nothing of it */
	_Atomic uint64_t commits, records, file_bytes;
};

/* keep_writer.c. The first so many bytes of the file are promised by the disk, where it can promise: 0 or -errno. */
[[nodiscard]] int keep_reserve(struct keep *k, uint64_t bytes);

/* Before there is a writer: how much room there is. */
void keep_measure(struct keep *k);

/* keep_mend.c. A new file; `from`: with what is sound there, -1 = empty. 0 or -errno. */
[[nodiscard]] int keep_make(const char *path, int from, const struct keep_setup *setup);

/* keep_read.c */
[[nodiscard]] int keep_read_open(struct keep *k); /* 0, -EPROTONOSUPPORT, -errno */
void keep_read_done(struct keep *k);

/* keep_writer.c */
void *keep_writer(void *arg);
void keep_set_state(struct keep *k, enum keep_state state, int err);
[[nodiscard]] int keep_env(const char *path, uint64_t map, MDB_env **ret, MDB_dbi *ret_dbi);
int keep_errno(int lmdb); /* -errno of what LMDB returns; of its own: -ENOSPC, -EFBIG, -EUCLEAN */

/*
 * keep_apply.c. One transaction. LMDB writes down the pages that it has freed in pages in a row, when they are many: so it is bounded
 * how many rows go in one.
 */
struct keep_work {
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_cursor *cursor;
	unsigned left; /* rows that may still come or go; what else has gone is swept up later */
	bool may_stop; /* in the middle of a batch, where what comes before is right without the rest */
	size_t at;     /* where in the batch; 0: at its start, or end */
	bool sweeps;   /* rows were left for later */
	uint64_t owed; /* keep.owed, after it */
};

/* Rows that lie together share their pages; one for itself counts as so many. */
enum { KEEP_OP_ROWS = 4 };

/* The first error of LMDB. */
[[nodiscard]] int keep_apply(struct keep_work *w, const struct keep_batch *b);
[[nodiscard]] int keep_sweep(struct keep_work *w);
uint64_t keep_batch_room(const struct keep_batch *b); /* bytes that it may need in the file */
uint64_t keep_record_room(uint64_t bytes);            /* and a record with these in it */

/*
 * A delivery of a message for several that is over is a row more, and the first ones split its page. `value`: bytes of the
 * message's value; `waiters` of `all` are not over.
 */
uint64_t keep_owed(uint64_t value, uint32_t waiters, uint32_t all);
