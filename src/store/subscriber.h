/*
 * subscriber.h - somebody who has subscriptions, and all that is known of it: what waits for it, what was sent and not yet
 * confirmed, what it has sent and not yet released. It outlives its connections when it is `kept`.
 *
 * Whose it is: while `where` is a session, only that session's loop touches it; while it is nobody's, whoever holds the lock of
 * topics.h. References and `where` are for all threads.
 */
#pragma once
#include "base/heap.h"
#include "base/list.h"
#include "store/filters.h"
#include "store/message.h"
#include "store/replay.h"
#include "store/topic_map.h"

/* What waits: 16 bytes. */
struct delivery {
	struct message *m; /* a reference; NULL: `id` is one more subscription identifier of the delivery before */
	uint32_t id;       /* a subscription identifier; 0 = none */
	uint16_t packet;   /* on disk (message.kept), to be sent under this identifier; 0: in memory alone */
	uint8_t qos;
	bool retain : 1;
	bool ask : 1; /* whether it may have it, when it is sent: of what it subscribes to, it may hear a part */
	bool dup : 1; /* it may have been sent, by a process that is no more */
	/* Not to be one with another delivery of the same message: sub.number of a shared subscription, ALONE of a retained one; 0 = it may. */
	uint8_t alone : 5;
};

enum { ALONE = 31 };

/* What was sent and is not done. In the order of sending. */
struct flight {
	struct message *m; /* a reference; NULL: the receiver has it (PUBREC), and waits for PUBCOMP */
	uint32_t *ids;     /* subscription identifiers; owned */
	uint64_t kept;     /* message.kept of its message; 0: in memory alone */
	uint32_t n_ids;
	uint16_t id;
	uint8_t qos;
	bool retain : 1, sent : 1; /* `sent`: on this connection */
	uint8_t alone : 5;         /* as the delivery's */
};

struct subscriber_limits {
	uint32_t queue;     /* deliveries that may wait */
	size_t queue_bytes; /* and their bytes, each message counted for each who waits for it */
	uint16_t awaiting;  /* QoS 2: identifiers that it may leave unreleased */
	bool refuse;        /* publishers are told that a queue is full (topics_full()) */
};

/* A message that is published when its owner has gone without goodbye; it expires so long after that, if it does. */
struct will {
	struct message *m; /* a reference; NULL: none */
	uint64_t delay;    /* nanoseconds */
};

struct subscriber {
	_Atomic uint32_t refs;
	_Atomic unsigned home;  /* which of the service's loops `where` is in */
	_Atomic uint64_t where; /* the session that has it; 0: nobody */
	struct topic_link link; /* in the register of names; n is the name's size */
	struct list all;        /* likewise */
	uint64_t serial;        /* message.from of what it publishes; with a disk its number there, if it gets one */
	uint64_t owner;         /* as who came first with this name: claim.owner */
	struct list subs;       /* of sub.mine */
	struct list aside;      /* of sub.aside: its groups have found it away or full */
	uint32_t n_subs;
	bool kept;          /* what it subscribes to is in the index for all, and stays when it goes */
	bool woken;         /* its session knows already that something waits */
	bool slow;          /* its session could not send all: now the limits of the queue count */
	_Atomic bool full;  /* its queue has come to a limit: for publishers, in any thread */
	bool dead;          /* taken out of the register: another one has its name, or nobody */
	bool closed;        /* and nobody finds it by what it subscribed to: what comes yet is too late */
	bool will_apart;    /* its will is in memory alone, for want of room on disk; or maybe there is some now */
	uint8_t shares : 5; /* shared subscriptions so far, for sub.number */
	_Atomic uint16_t next_id; /* of packets; for all threads */
	uint64_t kept_id;         /* its number on disk (keep.h); 0: it is in memory alone */

	struct delivery *queue; /* a ring */
	uint32_t queue_at, queue_n, queue_cap;
	uint32_t epoch; /* of being nobody's: an alarm that was set for an older one is stale */
	unsigned left;  /* the loop that it was in before it was nobody's: there the alarm is */
	size_t queue_bytes;
	struct replay *replays; /* behind the queue: what it is still to be sent of what is retained */
	struct left *groups;    /* its loop's; of one that is closed everybody's, for it does not change any more */

	struct flight *flights;
	uint32_t flights_n, flights_cap;

	uint16_t *awaiting; /* QoS 2, from it: not released yet */
	uint32_t awaiting_n, awaiting_cap;

	uint32_t expiry;  /* seconds that it stays when it has left; on disk too */
	uint64_t expires; /* nobody's since, and until then; UINT64_MAX = for ever */
	struct will will; /* due at will_at, when it is nobody's */
	uint64_t will_at;
	uint8_t name[];
};

struct share;

/*
 * A shared subscription that is over, of one that has ended or may end before it has done all that came by it: that is for its group. For as
 * long as somebody has a reference: something may come too late.
 */
struct left {
	struct left *next;
	uint8_t number; /* sub.number */
	uint16_t group_n;
	uint32_t filter_n;
	uint8_t text[]; /* group, filter */
};

/* What an index holds: a subscription, or a group of them that take turns. */
struct entry {
	struct filter_sub at;
	struct share *share; /* whose entry this is; NULL: a subscription's */
};

struct sub {
	union {
		struct entry entry;
		struct { /* of one in a group, whose entry is the group's */
			struct list in_share;
			struct list aside; /* in subscriber.aside; in no list: it is ready, or will be looked at */
		};
	};
	struct list mine; /* of subscriber.subs */
	struct subscriber *whose;
	struct share *share; /* its group; NULL: none */
	uint32_t id;         /* subscription identifier; 0 = none */
	uint8_t qos, retain_handling;
	bool no_local, as_published, ask;
	bool global; /* in the index for all */
	uint8_t number : 5; /* of a shared one, 1 to 30: by which its deliveries are known. Two may have the same, if they are many */
};

/* With one reference; NULL when memory is out. */
[[nodiscard]] struct subscriber *subscriber_new(struct span name, uint64_t serial);
struct subscriber *subscriber_ref(struct subscriber *s);
void subscriber_unref(struct subscriber *s); /* the last one frees; subscriptions must be gone then. NULL is fine */
void subscriber_clear(
	struct subscriber *s); /* it has ended: what waited for it goes, though somebody has a reference yet */
struct span subscriber_name(const struct subscriber *s);

/* ---- the queue ---- */

/*
 * Puts a delivery at the end, with a reference of its own. The same message again, through another subscription that overlaps, is
 * one delivery with the higher QoS and both identifiers. 0; -ENOBUFS: the queue is full; -ENOMEM.
 */
[[nodiscard]] int subscriber_push(struct subscriber *s, const struct delivery *d, const struct subscriber_limits *lim);

/*
 * `full` is as it is now: to be said when something was taken out. True: it was, and has room again, which its groups do not know yet
 * (topics_ready()). Where publishers are told, what one that is kept was given in spite of
 * it has a place too, up to twice the limits: others may have been told just before that there is room.
 */
bool subscriber_mark(struct subscriber *s, const struct subscriber_limits *lim);

/*
 * The next one with all its identifiers: of *ret_n that it has, at most `max` go to `ids`. NULL: nothing waits. Valid until the next push
 * or pop.
 */
const struct delivery *subscriber_head(const struct subscriber *s, uint32_t *ids, size_t max, size_t *ret_n);
struct delivery *subscriber_queued(struct subscriber *s, uint32_t i); /* of queue_n; likewise */
void subscriber_pop(struct subscriber *s);                            /* with its identifiers; its reference goes too */
void subscriber_queue_done(struct subscriber *s);

/* ---- what is under way ---- */

/* A new flight at the end, with a fresh packet identifier and a reference to the message. NULL: -ENOMEM. */
[[nodiscard]] struct flight *subscriber_fly(struct subscriber *s, const struct delivery *d, const uint32_t *ids,
					    size_t n);
uint16_t subscriber_fresh_id(struct subscriber *s);                  /* of a packet, that nothing under way has */
struct flight *subscriber_flight(struct subscriber *s, uint16_t id); /* or NULL */
void subscriber_landed(struct subscriber *s, struct flight *f);

/* QoS 2 from it. The first: 1 = it is new; 0 = it was there; -ENOBUFS, -ENOMEM. The second: was it there? */
[[nodiscard]] int subscriber_await(struct subscriber *s, uint16_t id, const struct subscriber_limits *lim);
bool subscriber_release(struct subscriber *s, uint16_t id);

uint16_t subscriber_next_id(struct subscriber *s); /* not 0; it may be in use. From any thread */
