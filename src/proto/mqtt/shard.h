/*
 * shard.h - a loop of the broker: what all sessions in it share, and what its shard does for them. A session's own: mqtt_priv.h.
 *
 *	limit.c, route.c           called by sessions and by the shard
 *	shard.c, sys.c, events.c   the shard, and what it tells
 */
#pragma once
#include <stdatomic.h>

#include "base/heap.h"
#include "base/list.h"
#include "core/proto.h"
#include "proto/mqtt/kept.h"
#include "proto/mqtt/service.h"
#include "store/events.h"
#include "store/topics.h"

struct mqtt;
struct mqtt_alarm;
struct mqtt_sys;

/* Letters between sessions and shards. */
enum {
	MQTT_WAKE = 1,
	MQTT_TAKE_OVER,
	MQTT_LET_GO,
	MQTT_BATCH,
	MQTT_ALARM,
	MQTT_CALL_OFF,
	MQTT_COMMITTED,
	MQTT_LISTEN,
	MQTT_SWEEP,
};

enum { MQTT_SHARD_ALARM, MQTT_SHARD_SYS, MQTT_SHARD_EVENTS, MQTT_SHARD_BRIDGE }; /* timers of the shard */

/* For another loop. */
struct item {
	struct message *m;     /* a reference */
	struct subscriber *to; /* a reference; NULL: whoever in that loop hears it */
	struct delivery d;     /* with `to`; m is the one above */
};

struct batch {
	struct mail mail; /* first */
	uint32_t n, cap;
	struct item v[];
};

/* Limits of which the log tells: limit.c. */
enum mqtt_limit {
	MQTT_L_QUEUE,
	MQTT_L_REFUSED,
	MQTT_L_DISK,
	MQTT_L_SESSIONS,
	MQTT_L_RETAINED,
	MQTT_L_WILL,
	MQTT_L_PUBLISH,
	MQTT_L_SUBSCRIBE,
	MQTT_LIMITS,
};

/* Who has lost something by it, and what it was about. What is not known is left empty. */
struct mqtt_whose {
	struct span client, topic;
	sess_id session; /* 0: it is not connected, or nobody knows */
};

struct mqtt_limited {
	nsec told;    /* when there was a line last; 0: not in this second */
	uint64_t n;   /* times since then */
	sess_id last; /* whose the last of them was, and its names */
	struct buf client, topic;
};

/* A loop: io->shard. */
struct mqtt_shard {
	struct filters *heard; /* of those whose subscriptions end with their connection */
	struct filters_found found, found_all;
	struct batch **batches; /* by loop; NULL: nothing for it in this step */
	unsigned loops;
	bool batched;              /* one of them is not NULL */
	struct heap alarms;        /* of those who left it */
	struct topic_map who_left; /* the same */
	uint64_t sweep_at;         /* the first retained message expires; of the first loop */
	uint32_t promised;         /* of those who are here and may leave one: places that are kept in `alarms` */
	struct mqtt_tallies *tallies;
	struct mqtt_sys *sys;        /* of the first loop */
	struct events_reader events; /* likewise */
	bool listens;                /* to these */
	uint32_t proof;              /* of who has logged in in this step: login_view() */
	struct mqtt_pen pen;
	struct mqtt_limited limited[MQTT_LIMITS];
	struct list bridges; /* bridge.h */
	uint32_t bridge_tags;
	nsec look_again; /* at the options of bridges: memory was out; 0 = no */
	bool stopping;
};

static inline struct mqtt_shard *mqtt_shard_of(const struct io *io)
{
	return io->shard;
}

/* ---- counting: limit.c ---- */

/* One writer, so no locked addition is needed. */
static inline void mqtt_count(const struct io *io, enum mqtt_tally which, uint64_t n)
{
	_Atomic uint64_t *at = &mqtt_shard_of(io)->tallies->v[which];

	atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void mqtt_dropped(struct io *io)
{
	io_count(io, MQTT_DROPPED, 1);
	mqtt_count(io, MQTT_T_DROPPED, 1);
}

/* A message that nobody gets, and its publisher knows. */
static inline void mqtt_refused(struct io *io)
{
	io_count(io, MQTT_REFUSED, 1);
	mqtt_count(io, MQTT_T_REFUSED, 1);
}

struct subscriber_limits mqtt_limits(const struct io *io); /* of the options; connect.c */

/*
 * limit.c. mqtt_limit(): the first one has its line in the log at once; those of the second after it have one together, with their number,
 * when the shard's timer rings (mqtt_limits_due(), UINT64_MAX: never) or the shard ends (`all`). mqtt_denied(): by the rules; counted.
 * mqtt_lost(): `r` is what subscriber_push() said.
 */
void mqtt_limit(struct io *io, enum mqtt_limit which, const struct mqtt_whose *whose);
void mqtt_denied(struct io *io, enum mqtt_limit which, struct span client, struct span topic);
nsec mqtt_limits_due(const struct mqtt_shard *shard);
void mqtt_limits_tell(struct mqtt_shard *shard, struct io *io, bool all);
void mqtt_limits_done(struct mqtt_shard *shard);
void mqtt_lost(struct io *io, const struct subscriber *whose, const struct message *m, int r); /* a delivery */
bool mqtt_must_refuse(const struct mqtt *self, struct io *io, const struct message *m);

/* ---- to all who hear it ---- */

/* Who hears the topic that it published to last, in this loop. */
struct mqtt_memo {
	struct filters_found found;
	uint64_t found_at; /* filters_generation(); 0: nothing is known */
};

/*
 * route.c. A message to all who hear it: 1; 0: nobody does; -ENOMEM: not everybody who should. `memo`: of whose it is, NULL: nobody's.
 * Then, once in a step, mqtt_send_off().
 */
int mqtt_route(struct mqtt_memo *memo, struct io *io, struct message *m);
bool mqtt_route_here(struct mqtt_memo *memo, struct io *io, struct message *m); /* this loop's index alone */
/* As topics_retain(). `by`: whose session publishes it, NULL: nobody's who is here. */
[[nodiscard]] int mqtt_retain(const struct mqtt *by, struct io *io, struct message *m);
bool mqtt_must_keep(struct io *io, const struct message *m); /* would it go to the disk? */

/* What the server says itself, retained if it says so. Takes it; NULL, for which memory was out: false. */
bool mqtt_announce(struct io *io, struct message *m);

/* To one, wherever it is: 0; 1: it is on its way to another loop; -errno: it is dropped. */
int mqtt_give(struct io *io, struct subscriber *to, const struct delivery *d);
/* topics_end() was called: what it has left to others of its groups, and what the disk has of it. */
void mqtt_end_session(struct io *io, struct subscriber *s);
bool mqtt_too_late(struct io *io, const struct subscriber *ended,
		   const struct delivery *d);         /* came then; true: another one has it */
void mqtt_send_off(struct mqtt *self, struct io *io); /* self: whose step it was; NULL: the shard's */

/* ---- the shard ---- */

/* sys.c */
struct mqtt_sys *mqtt_sys_new(nsec now); /* or NULL */
void mqtt_sys_tell(struct mqtt_shard *shard, struct io *io);

/* events.c: somebody has subscribed to them; the shard of the first loop is told so, and looks for some when its timer rings. */
void mqtt_events_begin(struct io *io);
void mqtt_events_open(struct mqtt_shard *shard, struct io *io);
void mqtt_events_listen(struct mqtt_shard *shard, struct io *io, const struct letter *l);
void mqtt_events_look(struct mqtt_shard *shard, struct io *io);

/* shard.c */
void mqtt_publish_will(struct io *io, struct message *will); /* takes it; its time begins. NULL is fine */
enum verdict mqtt_shard(void *self, const struct ev *ev, struct io *io);
void mqtt_shard_done(void *self, struct io *io);

/*
 * An alarm rings when something is due of a client that has left and whose session stays: its will, or its end.
 *
 * mqtt_alarm_new(): when the client comes, so that leaving needs no memory. 0 or -ENOMEM.
 * mqtt_alarm_set(): when it leaves and its session stays; the alarm is the shard's then, and *mine NULL.
 * mqtt_alarm_off(): when it is back or has been ended, in whatever loop; the loop that it left is told.
 * mqtt_alarm_free(): when it leaves and nothing stays.
 */
[[nodiscard]] int mqtt_alarm_new(struct mqtt_shard *shard, struct mqtt_alarm **ret);
void mqtt_alarm_set(struct io *io, struct mqtt_alarm **mine, struct subscriber *s, uint32_t epoch, nsec at);
void mqtt_alarm_off(struct io *io, struct subscriber *s);
void mqtt_alarm_free(struct mqtt_shard *shard, struct mqtt_alarm **a); /* NULL is fine */
