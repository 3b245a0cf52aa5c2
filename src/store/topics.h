/*
 * topics.h - the store of messages: who subscribes to what, what is retained, and by which name somebody is known. One for a
 * service, and for all its threads.
 *
 * Two indexes. Subscriptions that end with their connection are in the one of their loop, which no other thread looks at, and which
 * the caller has. Those of who comes back (kept), and shared ones, are in the one for all, behind a lock that publishers only
 * take when there are any.
 */
#pragma once
#include "store/keep.h"
#include "store/names.h"
#include "store/rules.h"
#include "store/subscriber.h"

struct topics;

[[nodiscard]] int topics_new(const struct topic_key *key, struct topics **ret); /* 0 or -ENOMEM */
void topics_free(struct topics **t); /* everybody has gone; NULL is fine, and set */

/* ---- names: who is who ---- */

/*
 * Somebody of this name has come. 0: *ret is theirs, with a reference, and nobody else's; *ret_present: it is the one that was
 * known, with all that waits for it, and as it was: whose it is (topics_own()), its will, and until when it was to stay, for whoever
 * is not let in after all. With `clean` that one is ended first, and comes out in *ret_old with a reference, its will and what waited
 * for it; else NULL. -EACCES: it is another's. -EBUSY: the session *ret_where has it; it must let go first. -ENOMEM.
 */
struct claim {
	struct span name;
	uint64_t where;
	unsigned home;
	uint64_t owner; /* 0: nobody in particular */
	bool clean;
};
[[nodiscard]] int topics_claim(struct topics *t, const struct claim *c, struct subscriber **ret, bool *ret_present,
			       uint64_t *ret_where, struct subscriber **ret_old);

/* Its session has it, or it has room, again: its groups look at it again. By whoever has it. */
void topics_ready(struct topics *t, struct subscriber *s);

/* It is kept from now on, before it subscribes to anything. 0, too when it was; -ENOBUFS: there are `max` already. */
[[nodiscard]] int topics_stay(struct topics *t, struct subscriber *s, size_t max);

void topics_own(struct topics *t, struct subscriber *s,
		uint64_t owner); /* it was nobody's in particular, and has become his */

/* Nobody's from now on; stays until `expires`. Its epoch then, for an alarm. Its subscriptions must be in the index for all. */
uint32_t topics_leave(struct topics *t, struct subscriber *s, uint64_t expires, uint64_t will_at);

/* Out of the register, and without subscriptions. For who has it, with the index of its loop. Its reference stays. */
void topics_end(struct topics *t, struct filters *ix, struct subscriber *s);

/* The will that is due of one that was left in this epoch and stays, with a reference; it is still there. Else NULL. */
struct message *topics_due_will(struct topics *t, const struct subscriber *s, uint32_t epoch, uint64_t now);

/*
 * An alarm has rung: what is due of one that was left in this epoch. The will, if it is time, with its reference; and its end, if that
 * is (*ret_over). `changed` is called, under the lock, when it stays without the will. Returns when to ring again, UINT64_MAX:
 * never.
 */
typedef void topics_changed(void *arg, struct subscriber *s);
uint64_t topics_due(struct topics *t, struct subscriber *s, uint32_t epoch, uint64_t now, struct message **ret_will,
		    bool *ret_over, topics_changed *changed, void *arg);

/* ---- what one may ---- */

/* Of one connection, and its thread. Zeroes may nothing. */
struct topics_access {
	struct rules_view *view;
	struct message *last; /* that it made: its topic may be published to again; a reference, or NULL */
	bool changed;         /* there is another view than in the beginning: every delivery is asked for */
};

void topics_access_set(struct topics_access *a, struct rules_view *view); /* takes the view, NULL too */
void topics_access_done(struct topics_access *a);

/*
 * A message of this one's, to be published. 0; 1: it has the topic of the one before; -EACCES: it may not; -ENOMEM. What the server
 * says itself is a message_new().
 */
[[nodiscard]] int topics_make(struct topics_access *a, const struct message_birth *b, struct message **ret);

/* A filter: -EACCES: it may hear nothing of it; *ret_ask: a part, so each message is to be asked for. And such a message. */
[[nodiscard]] int topics_may_hear(const struct topics_access *a, struct span filter, bool *ret_ask);
bool topics_may_have(const struct topics_access *a, const struct message *m, bool ask);

/* ---- subscriptions ---- */

struct wish {
	struct span group, filter; /* group: empty = not shared */
	uint32_t id;
	uint8_t qos, retain_handling;
	bool no_local, as_published;
};

/*
 * `ix`: the index of the subscriber's loop, used when it is not kept. `a`: what it may hear; NULL after a restart, when that is
 * known as soon as it comes. 0: it is new; 1: it was there, and is changed. -EACCES: it may hear nothing of it; -ENOBUFS: it has
 * `max` already; -ENOMEM.
 */
[[nodiscard]] int topics_subscribe(struct topics *t, struct filters *ix, struct subscriber *s,
				   const struct topics_access *a, const struct wish *w, uint32_t max);
struct sub *topics_subscription(struct topics *t, const struct filters *ix, const struct subscriber *s,
				struct span group, struct span filter);         /* or NULL */
void topics_unsubscribe(struct topics *t, struct filters *ix, struct sub *sub); /* which is no more */

/* ---- publishing: the index for all ---- */

bool topics_any(const struct topics *t);          /* is there anything in it? Without a lock */
uint32_t topics_watchers(const struct topics *t); /* subscriptions, in whatever index, to what is topic_is_own() */

/*
 * All in the index for all whose filter matches, one member of each share; `give` is called with the index locked for reading, and
 * must not come back here. 0 or -ENOMEM.
 */
typedef void topics_give(void *arg, struct sub *sub);
[[nodiscard]] int topics_match(struct topics *t, struct span name, struct filters_found *found, topics_give *give,
			       void *arg);

/*
 * Is there one in the index for all that would be given it with QoS 1 or 2, and has no room? Of a share, the one whose turn it is: it is
 * one that has room, if any has.
 * Then its name is added to `whose`.
 */
bool topics_full(struct topics *t, const struct message *m, const struct subscriber_limits *lim,
		 struct filters_found *found, struct buf *whose);

/* Is there one in it that would be given it with QoS 1 or 2 and has records on disk? Of a share, the one whose turn it is; it stays his. */
bool topics_must_keep(struct topics *t, const struct message *m, struct filters_found *found);

struct delivery topics_delivery(const struct sub *sub, struct message *m); /* without a reference */

/*
 * Of a share: what waited for a member that has ended, or was sent to it with QoS 1 and not acknowledged, and now is another member's.
 * What was sent with QoS 2 is not [MQTT-4.8.2-5]. All that this one has left, or NULL; whoever has ended it asks, once.
 */
struct orphan {
	struct subscriber *to; /* a reference */
	/* Likewise. `packet`: on disk it waits for the one that has ended, and who has the orphan says what becomes of that; 0: in memory alone. */
	struct delivery d;
};
struct orphans {
	struct orphans *next;
	const struct subscriber *of;
	size_t n, cap;
	struct orphan v[];
};
struct orphans *topics_orphans(struct topics *t, const struct subscriber *of);
void orphans_free(struct orphans *all); /* NULL is fine */

void orphan_done(struct orphan *o); /* its references */

/*
 * A delivery to one that had ended when it came (topics_store(): -ENOENT), and was not sent to it. True: it was a share's, which has other
 * members, and *ret is for one of them.
 */
bool topics_too_late(struct topics *t, const struct subscriber *s, const struct delivery *d, struct orphan *ret);

/*
 * For one that is nobody's: waits in its queue. -EAGAIN: it is somebody's now, *ret_where. -ENOENT: it has ended, or does not
 * wait for QoS 0. Else as subscriber_push().
 */
[[nodiscard]] int topics_store(struct topics *t, struct subscriber *s, const struct delivery *d,
			       const struct subscriber_limits *lim, uint64_t *ret_where);

/* ---- retained ---- */

/* What may be retained: topics, and bytes of their messages. */
struct topics_room {
	size_t n, bytes;
};

/*
 * The last one of its topic; an empty payload takes it away. 0; 1: of all that expire it is the first, topics_sweep() is to be called then;
 * -ENOMEM; -ENOBUFS: there is no room, and what was retained of its topic is yet.
 */
[[nodiscard]] int topics_retain(struct topics *t, struct message *m, const struct topics_room *room);

/*
 * Those that have expired by `now` go, some at a time (*ret_n). When to come again: at once when it is not after `now`; UINT64_MAX: when
 * topics_retain() says so.
 */
uint64_t topics_sweep(struct topics *t, uint64_t now, unsigned *ret_n);

/* Hands over to the disk what was retained until now, by whichever thread: the position to wait for, as keep_submit(). */
uint64_t topics_retained_submit(struct topics *t);

/* At most `max` of those that match, with references; as names_step(). Those that have expired by `now` go. */
[[nodiscard]] int topics_replay(struct topics *t, struct names_cursor *c, uint64_t now, struct message **ret,
				uint32_t max);

struct topics_sizes {
	size_t known; /* subscribers, connected or not */
	size_t subscriptions, retained, retained_bytes;
};
struct topics_sizes topics_sizes(struct topics *t);

/* ---- the disk: what is kept, and retained ($SYS apart), outlives the process ---- */

/* What is in memory goes by the clock of the loops, what is on disk by that of the world: the same moment by both. */
struct topics_disk {
	struct keep *keep; /* borrowed */
	uint64_t now;      /* nanoseconds */
	uint64_t wall;     /* milliseconds since 1970 */
};

/*
 * All that keep_next() gives becomes what there is, before anybody else knows of the store; from then on topics_retain() writes.
 * What waits for somebody may have been sent: it carries DUP. 0 or -ENOMEM.
 */
[[nodiscard]] int topics_load(struct topics *t, const struct topics_disk *disk);

uint64_t topics_wall(const struct topics *t, uint64_t at); /* a time of the loops, as keep.h has it; 0 stays 0 */
void topics_record(const struct topics *t, const struct message *m,
		   struct keep_message *ret); /* which borrows from m */

/* Of one that is kept; what it gives borrows from the subscription. False: there is none. */
bool topics_record_sub(struct topics *t, const struct subscriber *s, struct span group, struct span filter,
		       struct keep_subscription *ret);

/* Everybody who is nobody's, under the lock. */
void topics_each_away(struct topics *t, topics_changed *one, void *arg);
