/*
 * kept.h - what must survive the end of the process:
 *
 *	kept.c     records for the disk (store/keep.h)
 *	waiters.c  the sessions that a message waits for
 *	held.c     who waits for the disk, or for another loop to hand over
 */
#pragma once
#include "core/proto.h"
#include "store/topics.h"

struct mqtt;
struct mqtt_service;
struct mqtt_shard;

/* One way by which a message on disk comes to a session. */
struct mqtt_waiter {
	uint64_t session;
	uint32_t at, id;
	uint16_t packet;
	uint8_t qos, alone;
	bool retain;
	bool sealed; /* what comes to it later is a delivery of its own */
};

/* Where in `waiters` a session is first: a table of hashes. */
struct mqtt_place {
	uint64_t round; /* of which message: of an older one it is nothing */
	uint32_t at;
};

/* A delivery that is over, though its message is not handed over yet: said now, it would be on disk before what it takes away. */
struct mqtt_early {
	struct mqtt_early *next;
	struct message *m; /* a reference */
	uint64_t session;
};

/* What this loop has to say to the disk in this step. */
struct mqtt_pen {
	struct keep_batch batch;
	bool wrote;                /* something that the answer to this packet waits for */
	bool retained;             /* topics_retained_submit() has something, too */
	struct message **messages; /* of the batch, with references: whoever sends them wants to know their position */
	size_t messages_n, messages_cap;
	struct mqtt_waiter *waiters; /* of the message that is being routed */
	uint32_t waiters_n, waiters_cap;
	bool alone; /* one of them is a delivery that stands alone */
	struct mqtt_place *places;
	uint32_t places_cap, placed_n; /* of the waiters, so many have their place: only when somebody asks */
	uint64_t round;                /* messages so far */
	uint64_t position;             /* of what was handed over last */
	struct list waiting;           /* of mqtt_held: who waits for the disk */
	uint64_t woken_at;             /* committed when these were woken last */
	struct mqtt_early *early;      /* looked at when they are woken */
};

/* One who waits for the disk, and answers that do, in order, until what they promise is there. */
struct mqtt_held {
	struct list node; /* in mqtt_pen.waiting */
	sess_id id;       /* while it is in there */
	struct buf bytes;
	struct mqtt_until {
		uint64_t mark; /* 0: of this step */
		size_t end;    /* in bytes */
	} * v;
	size_t n, cap;
};

/*
 * Without a disk all of these do nothing, and say that all is well. A record: 0 or -ENOMEM, after which what was promised by it
 * must not be; the answer to a packet that wrote one waits by itself (mqtt_out()).
 */
[[nodiscard]] int mqtt_kept_open(struct svc *svc, struct buf *ret_why);
void mqtt_kept_change(struct io *io); /* of the first loop: the options are others */
void mqtt_kept_close(struct mqtt_service *service);
bool mqtt_kept_full(const struct io *io); /* what is new must be refused */
[[nodiscard]] bool mqtt_kept_promise(const struct io *io,
				     const struct message *m); /* room for it, in this step; false: refuse it */
void mqtt_kept_cut(const struct io *io);                       /* after each packet or the like: keep_cut() */
[[nodiscard]] int mqtt_kept_session(struct io *io, struct subscriber *s);
[[nodiscard]] int mqtt_kept_left(struct io *io, struct subscriber *s, uint64_t until, uint64_t will_at);
void mqtt_kept_end(struct io *io, struct subscriber *s); /* with all that waits for it */
/*
 * A subscription: mqtt_kept_room() writes a record of the largest size, which the caller takes back, so that mqtt_kept_sub() cannot fail for
 * memory after the subscription was made. So: mark, room, topics_subscribe(), take back, sub.
 */
[[nodiscard]] int mqtt_kept_room(struct io *io, const struct subscriber *s, const struct wish *w);
[[nodiscard]] int mqtt_kept_sub(struct io *io, const struct subscriber *s, struct span group, struct span filter);
bool mqtt_kept_is_so(const struct io *io, const struct subscriber *s,
		     const struct wish *w); /* it would change nothing there */
void mqtt_kept_replay(struct io *io, const struct subscriber *s, const struct replay *r); /* how far it has come */
[[nodiscard]] int mqtt_kept_unsub(struct io *io, const struct subscriber *s, struct span group, struct span filter);
[[nodiscard]] int mqtt_kept_await(struct io *io, const struct subscriber *s, uint16_t packet);
[[nodiscard]] int mqtt_kept_release(struct io *io, const struct subscriber *s, uint16_t packet);

/* Records of this step, from the mark on, that are to be as if they had not been written. */
struct mqtt_mark {
	size_t n;
	uint32_t records;
	bool wrote, apart;
};
struct mqtt_mark mqtt_kept_mark(const struct io *io);
void mqtt_kept_take_back(struct io *io, const struct mqtt_mark *since); /* of records without a payload */

/*
 * A message that is routed, in this order: mqtt_kept_wanted() for each who hears it (false: not on disk for this one); mqtt_kept_add()
 * for each who got it; mqtt_kept_message() once, which writes one record for all of them and returns `err` if that is set.
 */
bool mqtt_kept_wanted(struct io *io, struct message *m, const struct subscriber *s, bool alone);
bool mqtt_kept_again(const struct io *io,
		     const struct subscriber *s); /* it has one, by another filter that fits: no packet of its own */
[[nodiscard]] int mqtt_kept_add(struct io *io, const struct subscriber *s, const struct delivery *d);
[[nodiscard]] int mqtt_kept_message(struct io *io, struct message *m, int err);

/* Instead of a record of its own: in that of d->m, a copy with its number, `to` takes the place of `ended`. 0; -ENOMEM: it is in memory alone. */
[[nodiscard]] int mqtt_kept_pass(struct io *io, const struct subscriber *ended, const struct subscriber *to,
				 const struct delivery *d);

/*
 * One delivery. mqtt_kept_ready(): may it be sent by now? If not, the session is woken when it may. Then what becomes of it:
 * mqtt_kept_sent() under this identifier, mqtt_kept_received() PUBREC came, mqtt_kept_done() it is over. mqtt_kept_skip(): the same of one
 * that may not be handed over yet.
 */
bool mqtt_kept_ready(struct mqtt *self, struct io *io, const struct delivery *d);
void mqtt_kept_sent(struct io *io, const struct subscriber *s, const struct delivery *d, uint16_t packet);
[[nodiscard]] int mqtt_kept_received(struct io *io, const struct subscriber *s, const struct flight *f);
void mqtt_kept_done(struct io *io, const struct subscriber *s, uint64_t message); /* 0 is fine */
void mqtt_kept_skip(struct io *io, const struct subscriber *s, const struct delivery *d);

/*
 * The end of a step: what it wrote is handed over, and `self`, whose step it was, has something to wait for. NULL: the shard's; or part of a
 * step, whose answers wait for what follows too.
 */
void mqtt_kept_submit(struct mqtt *self, struct io *io);
void mqtt_kept_flush(struct mqtt *self, struct io *io);                    /* answers whose time has come */
bool mqtt_kept_hold(struct mqtt *self, struct io *io, struct span packet); /* false: it need not wait */
void mqtt_kept_wake(struct mqtt_shard *shard, struct io *io);              /* who waits for the disk looks again */
void mqtt_kept_look(struct mqtt_shard *shard, struct io *io);              /* now and then: if nobody has said so */
void mqtt_kept_forget(struct mqtt *self);
void mqtt_pen_done(struct mqtt_pen *pen);

/* ---- between the three files ---- */

struct mqtt_pen *mqtt_pen(const struct io *io);
bool mqtt_on_disk(const struct io *io, const struct subscriber *s);
int mqtt_wrote(const struct io *io, int r); /* returns r. 0: an answer may have to wait for this record */
void mqtt_early_done(struct mqtt_pen *pen);
void mqtt_kept_until(struct mqtt *self, struct io *io, uint64_t mark); /* the answers of this step wait until then */
