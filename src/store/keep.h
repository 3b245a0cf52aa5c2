/*
 * keep.h - what must survive the end of the process: kept sessions, what they subscribe to, the messages that wait
 * for them, QoS 2 in both directions, and what is retained. A file of records in one folder, one thread that writes
 * it, nothing else: who is in memory, and in what order what is sent, is the business of subscriber.h and topics.h.
 *
 * The life of a store:
 *
 *	keep_open()    the folder is ours alone from now on
 *	keep_next()    until 0: everything that is kept and sound, in an order in which it can be used at once
 *	keep_start()   a damaged file is replaced by what was sound in it; the writer runs
 *	keep_submit()  from any thread, a batch of records at once; each batch is written whole or not at all
 *	keep_close()   writes what was submitted, and ends
 *
 * **Acknowledged means on disk.** keep_submit() returns a position. When committed() tells of that position or a
 * later one, the batch is on the disk, and so are all before it. Whoever has promised something - PUBACK, PUBREC,
 * PUBCOMP, SUBACK, CONNACK of a kept session - waits for that, and so does who sends a kept message on with QoS 2. Positions
 * only grow, so what waits for one waits for all before it.
 *
 * **Clocks.** Times are milliseconds since 1970, given by the caller: the process that reads them has another
 * monotonic clock.
 *
 * Formats, and what was measured: docs/design/keep.md.
 */
#pragma once
#include "base/blob.h"
#include "base/buf.h"
#include "base/span.h"

struct keep;

/* ---- what can be ---- */

/* What is wrong with the properties of a message, in a word; NULL: nothing. The store knows no protocol: who opens it says. */
typedef const char *keep_props(struct span props);

/* Why a record cannot be: its field, as `guichet store dump` has it, and a few words. NULL, NULL: it can. */
struct keep_wrong {
	const char *field, *why; /* constants */
};

/* ---- a store ---- */

enum keep_state {
	KEEP_FINE,
	KEEP_FULL,   /* the disk, or `limit`: refuse what is new (0x97); what takes away has room. It passes */
	KEEP_BROKEN, /* the disk has failed: nothing is acknowledged until another process opens the store */
};

struct keep_setup {
	const char *dir;   /* made when missing, with mode 0700 */
	const char *name;  /* how messages call it; NULL: dir */
	uint64_t limit;    /* bytes that the file may have; at least KEEP_LIMIT_MIN */
	uint64_t largest;  /* bytes of the largest message; twice as much is held in reserve, at least */
	keep_props *props; /* what is wrong with these cannot be; NULL: they are not looked at */
	bool lazy;         /* `durability = lazy`: nobody waits; a crash costs what came in KEEP_LAZY_MS */

	/* Called by the writer, from its thread, without a lock of ours. They may submit, and must not block. */
	void (*committed)(void *arg, uint64_t position);          /* once per commit */
	void (*state)(void *arg, enum keep_state state, int err); /* it has changed; err: -errno that says why, or 0 */
	void *arg;
};

enum {
	KEEP_LIMIT_MIN = 16 << 20,
	KEEP_LAZY_MS = 200,
	KEEP_LATER_MS = 10,
	KEEP_WAITING_MAX =
		256 << 20, /* bytes that are submitted and not written: the disk is slower than those who publish */
	KEEP_PATH = 64,    /* bytes of a file's name in the folder */
};

/* How the file was found. Worth a line in the log when `damaged`. */
struct keep_found {
	uint64_t records; /* rows that are good, the first one with the version too */
	uint64_t dropped; /* that were there and are not, or cannot be reached; as far as can be told */
	bool damaged;
	char what[96];         /* the first thing that was wrong, in words */
	char aside[KEEP_PATH]; /* the name in the folder under which the damaged file was left; "" = none */
};

/* 0; -EBUSY: another process has it, and did not end within two seconds; -EPROTONOSUPPORT: a newer format; -ENOMEM, -errno. With a sentence in `why`. */
[[nodiscard]] int keep_open(const struct keep_setup *setup, struct keep **ret, struct buf *why);

/*
 * After keep_next(); if not all was read the rest is gone through. A file with any damage is put aside, under another
 * name in the folder, and what is sound in it, which is what keep_next() has given, goes into a new one. So it always
 * starts, unless the folder itself cannot be used or the disk has no room for the new one. 0 or -errno with a
 * sentence; then close it.
 */
[[nodiscard]] int keep_start(struct keep *k, struct keep_found *ret_found, struct buf *why);
void keep_close(struct keep **k); /* NULL is fine, and set. Waits for the writer */

/* From any thread: what is so from now on. A file that is larger than the new limit is not made smaller; it does not grow. */
void keep_change(struct keep *k, uint64_t limit, uint64_t largest, bool lazy);

/* From any thread, without a lock. */
enum keep_state keep_state(const struct keep *k);
bool keep_full(const struct keep *k); /* no room for what waits and for more: refuse what can be refused, with 0x97 */
uint64_t keep_committed(const struct keep *k);

/* For where "not submitted yet" is a position too: 0 is that, and a mark is never 0. Has the disk come so far? */
static inline uint64_t keep_mark(uint64_t position)
{
	return position + (position != UINT64_MAX);
}

static inline bool keep_reached(const struct keep *k, uint64_t mark)
{
	return mark && mark - 1 <= keep_committed(k);
}

/* A number that no session and no message of this store has. From any thread, without a lock. */
uint64_t keep_new_id(struct keep *k);

/* For counters. From any thread. */
struct keep_counts {
	uint64_t commits, records, waiting_bytes; /* written since the start; submitted and not yet written */
	uint64_t file_bytes, room;                /* of the file; that new messages may still have */
};
void keep_count(const struct keep *k, struct keep_counts *ret);

/* ---- what is kept ---- */

/*
 * Bytes are borrowed, as ever: by the batch until the call returns, but for `large`; from keep_next() until the next
 * call.
 */
struct keep_message {
	struct span topic, props, payload;
	struct blob *large; /* has the payload, which is then referred to; NULL: copied. Not set by keep_next() */
	uint64_t until;     /* 0 = never expires */
	uint64_t from;      /* the session that has published it; 0 = it has ended, or does not matter */
	uint8_t qos;        /* as it was published */
	bool retain;        /* likewise */
};

struct keep_session {
	uint64_t id; /* of keep_new_id(): its name in all other records */
	struct span name;
	uint64_t owner;  /* the same number whenever it is the same user; 0 = nobody in particular; at most INT64_MAX */
	uint32_t expiry; /* seconds that it stays when it has gone; UINT32_MAX = for ever */
	uint64_t until;  /* it has gone, and stays until then; 0 = it was there: its time begins now */
	bool has_will;
	uint32_t will_delay; /* seconds */
	uint64_t will_at;    /* it has gone, and then its will is due; 0 = it was there: it is lost now */
	struct keep_message will;
};

struct keep_subscription {
	uint64_t session;
	struct span group, filter; /* group: empty = not shared */
	uint32_t id;               /* subscription identifier; 0 = none */
	uint8_t qos, retain_handling;
	uint8_t number; /* of a shared one, 1 to 30: keep_waiter.alone of what comes by it; 0 = none */
	bool no_local, as_published;
	bool owed; /* of what is retained it has not been sent all: what comes from `owed_at` on, in the order of names.h */
	struct span owed_at; /* empty: from the start */
};

/* How far one delivery has come. */
enum keep_turn {
	KEEP_WAITS,    /* it may have been sent: `packet` says how, if it was */
	KEEP_RECEIVED, /* QoS 2: PUBREC has come, PUBREL goes out, PUBCOMP is awaited */
};

/*
 * Somebody a message waits for. `packet` is the identifier under which it is or will be sent. A receiver of QoS 2
 * knows a message by it alone, so it must be on disk before the PUBLISH goes out, or a restart makes two messages of
 * one. Best given here, when the message is routed: that costs no record. 0 = by keep_sent(), before sending.
 */
struct keep_waiter {
	uint64_t session;
	const uint32_t *ids; /* subscription identifiers */
	uint16_t n_ids;
	uint16_t packet;
	uint8_t qos;
	bool retain;
	uint8_t alone; /* delivery.alone (subscriber.h), at most 31 */
	uint8_t turn;  /* of enum keep_turn; from keep_next() */
};

/* ---- writing: batches ---- */

/*
 * Records that belong together: what one step, or one turn of a loop, has to say. A batch of zeroes is empty; it
 * belongs to one thread. Order counts: inside, and between batches that one thread submits. 0 or -ENOMEM: then the
 * batch is as it was before the call.
 */
struct keep_batch {
	uint8_t *p;
	size_t n, cap;
	size_t large;      /* bytes of blobs that it refers to */
	uint64_t promised; /* keep_promise() */
	uint64_t owed;     /* bytes that deliveries of its messages may write later */
	uint32_t records;
	bool apart; /* keep_cut() */
};
/* What comes next may come to the disk later than what is here, if room is short; else only what takes away may. */
void keep_cut(struct keep_batch *b);
void keep_batch_done(struct keep_batch *b); /* what was not submitted is forgotten; it can be used again */

/* A kept session begins, changes (another will, another expiry) or leaves: its record is replaced. */
[[nodiscard]] int keep_put_session(struct keep_batch *b, const struct keep_session *s);

/* It ends: with its subscriptions and its identifiers. For each message that waits for it there must be a keep_done() or keep_pass(). */
[[nodiscard]] int keep_end_session(struct keep_batch *b, uint64_t session);

[[nodiscard]] int keep_subscribe(struct keep_batch *b, const struct keep_subscription *s); /* or changes it */
[[nodiscard]] int keep_unsubscribe(struct keep_batch *b, uint64_t session, struct span group, struct span filter);

/* A message, and all kept sessions that it waits for: at least one, each once. One record, however many they are. `id` is new. */
[[nodiscard]] int keep_put_message(struct keep_batch *b, uint64_t id, const struct keep_message *m,
				   const struct keep_waiter *w, uint32_t n);

/*
 * One of them: it is sent under another identifier than was said; PUBREC has come; it is over (PUBACK, PUBCOMP,
 * dropped, expired). Submitted after its message: of one that is not there nothing is kept in mind.
 */
[[nodiscard]] int keep_sent(struct keep_batch *b, uint64_t id, uint64_t session, uint16_t packet);
[[nodiscard]] int keep_received(struct keep_batch *b, uint64_t id, uint64_t session, uint16_t packet);
[[nodiscard]] int keep_done(struct keep_batch *b, uint64_t id,
			    uint64_t session); /* the last one takes the message away */

/*
 * One of them has ended, and `to` waits in its place. That needs no room: of its subscription identifiers so many stay as the first one had.
 * If it waits for the message already, by another way, or did, the first one's delivery is over.
 */
[[nodiscard]] int keep_pass(struct keep_batch *b, uint64_t id, uint64_t from, const struct keep_waiter *to);

/* QoS 2 from a session: its PUBLISH was taken, its PUBREL has come. The first belongs into the batch of its message. */
[[nodiscard]] int keep_await(struct keep_batch *b, uint64_t session, uint16_t packet);
[[nodiscard]] int keep_release(struct keep_batch *b, uint64_t session, uint16_t packet);

/* The retained message of a topic: replaced, or (empty payload) taken away. */
[[nodiscard]] int keep_retain(struct keep_batch *b, const struct keep_message *m);

/*
 * For records that come from outside, before they are handed over: the first one from there on (`n` of the batch, before) that cannot
 * be. None of them may have a blob.
 */
struct keep_wrong keep_batch_wrong(const struct keep_batch *b, size_t from, keep_props *props);

/*
 * Is there room for a record of so many bytes? Then nobody else is told so of the same room, until this batch is submitted, with the record
 * or without it. From any thread. False: refuse it, with 0x97.
 */
[[nodiscard]] bool keep_promise(struct keep *k, struct keep_batch *b, uint64_t bytes);

/*
 * Hands the records over; the batch is empty then. From any thread. Returns the position to wait for, 0: nothing (it
 * was empty, or the store is lazy), or UINT64_MAX: it will never be written, since the store is broken.
 */
uint64_t keep_submit(struct keep *k, struct keep_batch *b);

/*
 * The same for records that nobody waits for, as that a message is over: they go with the next ones that somebody does wait for, or
 * after KEEP_LATER_MS. Order is kept.
 */
void keep_submit_later(struct keep *k, struct keep_batch *b);

/* ---- reading: what was kept ---- */

enum keep_kind {
	KEEP_SESSION = 1,
	KEEP_SUBSCRIPTION,
	KEEP_AWAITED, /* session, packet */
	KEEP_RETAINED,
	KEEP_MESSAGE, /* with those whom it still waits for, at least one */
};

/*
 * In this order of kinds; sessions and messages by their ids, so the oldest comes first. Nobody refers to a session
 * that is not there.
 */
struct keep_record {
	enum keep_kind kind;
	uint64_t id; /* of a message; of the session of the first three */
	uint16_t packet;
	struct keep_session session;
	struct keep_subscription subscription;
	struct keep_message message;
	const struct keep_waiter *waiters;
	uint32_t n_waiters;
	struct keep_wrong
		wrong; /* of a store that is looked at: it cannot be, and who serves the store is not given it */
};

/* Between keep_open() and keep_start(). 1; 0: that was all; -ENOMEM: close it. What is damaged, or cannot be, is not given. */
[[nodiscard]] int keep_next(struct keep *k, struct keep_record *ret);

/* ---- looking at a store that nobody serves ---- */

/*
 * As keep_open(), to change nothing, not even what is damaged; -ENOENT: there is none. For keep_next(), which gives what cannot be, too
 * (keep_record.wrong), keep_judge() and keep_close().
 */
[[nodiscard]] int keep_look(const char *dir, keep_props *props, struct keep **ret, struct buf *why);
[[nodiscard]] int keep_judge(struct keep *k, struct keep_found *ret); /* goes through what was not read. 0 or -ENOMEM */
