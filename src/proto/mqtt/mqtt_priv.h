/*
 * mqtt_priv.h - what the files of the broker share.
 *
 *	mqtt.c       the protocol: steps, packets by their type, keep-alive, the end
 *	connect.c    CONNECT: names, takeover, what was agreed
 *	login.c      who a client is, and so what it may
 *	publish.c    what a client publishes: acknowledgements, aliases
 *	subscribe.c  what it wants to hear, and what is retained of that
 *	deliver.c    what it is sent: its queue, the window, acknowledgements
 *	route.c      from a message to all who hear it: this loop, other loops, those who are away
 *	shard.c       the shard: what other loops send, wills and ends that are due
 *	sys.c        $SYS: what the broker tells of itself
 *	bridge*.c    connections to other brokers: bridge.h
 */
#pragma once
#include <stdatomic.h>

#include "base/buf.h"
#include "base/list.h"
#include "conf/option.h"
#include "core/proto.h"
#include "proto/mqtt/write.h"
#include "store/access.h"
#include "store/topics.h"

enum {
	MQTT_RECEIVED,
	MQTT_SENT,
	MQTT_DROPPED,
	MQTT_RETAINED,
	MQTT_EXPIRED,
	MQTT_TAKEN,
	MQTT_RESUMED,
	MQTT_WILLS,
	MQTT_BRIDGED,
	MQTT_BRIDGE_FAILED
};

struct mqtt_options {
	size_t packet;
	unsigned queue, inflight, receive_max, levels, subscriptions, retained, aliases, keepalive_max;
	size_t queue_bytes;
	uint64_t session_expiry_max, sys_interval;
	bool retain;
	struct option_parts bridge; /* bridge.h */
};

/* What $SYS tells of; each loop counts for itself, the first one adds. */
enum mqtt_tally {
	MQTT_T_PACKETS_IN,
	MQTT_T_PACKETS_OUT,
	MQTT_T_BYTES_IN,
	MQTT_T_BYTES_OUT,
	MQTT_T_PUBLISH_IN,
	MQTT_T_PUBLISH_OUT,
	MQTT_T_PUBLISH_BYTES_IN,
	MQTT_T_PUBLISH_BYTES_OUT,
	MQTT_T_DROPPED,
	MQTT_T_CONNECTIONS,
	MQTT_T_CLIENTS, /* now */
	MQTT_T_ENDED,   /* sessions whose time was over */
	MQTT_TALLIES,
};

struct mqtt_tallies {
	_Alignas(64) _Atomic uint64_t v[MQTT_TALLIES]; /* its loop alone writes */
};

/* A service: svc->state. */
struct mqtt_service {
	struct topics *topics;
	struct topic_key key;
	_Atomic uint64_t named;       /* client identifiers that were assigned */
	_Atomic uint32_t *heard;      /* by loop: subscriptions in its index */
	struct mqtt_tallies *tallies; /* by loop */
};

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

/* A loop: io->shard. */
struct mqtt_shard {
	struct filters *heard; /* of those whose subscriptions end with their connection */
	struct filters_found found, found_all;
	struct batch **batches; /* by loop; NULL: nothing for it in this step */
	unsigned loops;
	bool batched;              /* one of them is not NULL */
	struct heap alarms;        /* of those who left it */
	struct topic_map who_left; /* the same */
	struct mqtt_tallies *tallies;
	struct mqtt_sys *sys; /* of the first loop */
	struct list bridges;  /* bridge.h */
	uint32_t bridge_tags;
	nsec look_again; /* at the options of bridges: memory was out; 0 = no */
	bool stopping;
};

enum mqtt_state {
	MQTT_NEW,     /* nothing but CONNECT may come */
	MQTT_PROVING, /* its password is looked at; nothing more is read */
	MQTT_WAITING, /* for another connection of its name to let go */
	MQTT_OPEN,
	MQTT_OVER,
};

/* Letters between sessions and rooms. */
enum { MQTT_WAKE = 1, MQTT_TAKE_OVER, MQTT_LET_GO, MQTT_BATCH, MQTT_ALARM };

enum { MQTT_TIMER_ALIVE };
enum { MQTT_TIMER_ALARM, MQTT_TIMER_SYS, MQTT_TIMER_BRIDGE }; /* of the shard */
enum { MQTT_JOB_LOGIN = 1 };

/* Topics by a number, in one direction. */
struct mqtt_aliases {
	struct message **v; /* whose topic it is; NULL: none yet */
	uint16_t n;         /* in use are 1 to n */
};

/* Retained messages that a new subscription wants. */
struct mqtt_replay {
	struct mqtt_replay *next;
	struct names_cursor cursor;
	uint32_t id;
	uint8_t qos;
};

/* Who hears the topic that it published to last, in this loop. */
struct mqtt_memo {
	struct filters_found found;
	uint64_t found_at; /* filters_generation(); 0: nothing is known */
};

enum mqtt_role {
	MQTT_CLIENT,
	MQTT_BRIDGE,  /* of another broker, in 3.x: it does not want to hear itself, and retained messages as such */
	MQTT_OUTWARD, /* a bridge of ours: it is we who are the client (bridge.h) */
};

struct mqtt {
	struct subscriber *session; /* a reference; NULL before it is MQTT_OPEN */
	uint8_t version, state;
	uint8_t role;       /* enum mqtt_role */
	uint8_t max_qos;    /* outward: of what the other side takes */
	bool no_retain : 1; /* likewise */
	bool anew : 1;      /* what was under way begins there for the first time: nothing is known of it */
	bool goodbye : 1;   /* no will */
	bool logged_in : 1;
	bool behind; /* what was under way on an earlier connection is not all sent again */
	uint16_t keep_alive, window, aliases_out_max;
	uint32_t max_packet, session_expiry;
	struct will will;
	struct mqtt_aliases in, out;
	struct mqtt_replay *replays;
	struct mqtt_memo *memo; /* NULL: it has not published yet */
	struct topics_access access;
	uint64_t looked_at; /* access_generation() of that */
};

static inline const struct mqtt_options *mqtt_options(const struct io *io)
{
	return io->svc->options;
}

static inline struct mqtt_service *mqtt_service(const struct io *io)
{
	return io->svc->state;
}

/* One writer, so no locked addition is needed. */
static inline void mqtt_count(const struct io *io, enum mqtt_tally which, uint64_t n)
{
	struct mqtt_shard *shard = io->shard;
	_Atomic uint64_t *at = &shard->tallies->v[which];

	atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void mqtt_dropped(struct io *io)
{
	io_count(io, MQTT_DROPPED, 1);
	mqtt_count(io, MQTT_T_DROPPED, 1);
}

struct subscriber_limits mqtt_limits(const struct io *io);

/* mqtt.c. Ends the conversation in the words of its version. */
enum verdict mqtt_bye(struct mqtt *self, struct io *io, unsigned code, const char *why);
void mqtt_out(struct io *io, const struct mqtt_writer *w);
void mqtt_answer(const struct mqtt *self, struct io *io, enum mqtt_type type, uint16_t id, unsigned code);

void mqtt_note(struct io *io, const struct mqtt_frame *f);                           /* one that came, for the trace */
enum verdict mqtt_ack(struct mqtt *self, struct io *io, const struct mqtt_frame *f); /* PUBACK and its like */
void mqtt_done(struct mqtt *self, struct io *io);

/* connect.c */
enum verdict mqtt_connect(struct mqtt *self, struct io *io, const struct mqtt_frame *f);
enum verdict mqtt_refuse(struct mqtt *self, struct io *io, unsigned code, const char *why); /* by a CONNACK */
void mqtt_leave(struct mqtt *self, struct io *io);

/*
 * login.c. The first: 0, a reason code, or -EINPROGRESS: EV_DONE comes. The third: 0, -ENOMEM, or -EACCES: it is nobody (any more);
 * `user` is who has logged in in this very step. The fourth: the same, if people or rules have changed.
 */
[[nodiscard]] int mqtt_login(struct mqtt *self, struct io *io, const struct mqtt_connect *c);
[[nodiscard]] int mqtt_login_end(struct mqtt *self, struct io *io, const struct ev *ev);
[[nodiscard]] int mqtt_look(struct mqtt *self, struct io *io, struct span user, struct span client);
[[nodiscard]] int mqtt_look_again(struct mqtt *self, struct io *io);

/* publish.c, subscribe.c */
enum verdict mqtt_publish(struct mqtt *self, struct io *io, const struct mqtt_frame *f);
bool mqtt_is_state(struct span topic); /* $SYS/broker/connection/NAME/state */
enum verdict mqtt_pubrel(struct mqtt *self, struct io *io, const struct mqtt_ack *a);
enum verdict mqtt_subscribe(struct mqtt *self, struct io *io, const struct mqtt_frame *f);
enum verdict mqtt_unsubscribe(struct mqtt *self, struct io *io, const struct mqtt_frame *f);
void mqtt_replay(struct mqtt *self, struct io *io); /* a step of it: the queue is empty */
void mqtt_replays_done(struct mqtt *self);
[[nodiscard]] int mqtt_add_replay(struct mqtt *self, const struct wish *w); /* 0 or -ENOMEM */

/* deliver.c */
void mqtt_pump(struct mqtt *self, struct io *io); /* sends what waits, as far as there is room */
enum verdict mqtt_acked(struct mqtt *self, struct io *io, const struct mqtt_ack *a);
void mqtt_aliases_done(struct mqtt_aliases *a);

/*
 * route.c. A message to all who hear it; false: nobody does. `memo`: of whose it is, NULL: nobody's. Then, once in a step,
 * mqtt_send_off().
 */
bool mqtt_route(struct mqtt_memo *memo, struct io *io, struct message *m);
bool mqtt_route_here(struct mqtt_memo *memo, struct io *io,
		     struct message *m); /* to those of this loop's index alone */
void mqtt_retain(struct io *io, struct message *m);
void mqtt_give(struct io *io, struct subscriber *to, const struct delivery *d); /* to one, wherever it is */
void mqtt_send_off(struct io *io);

/*
 * bridge_link.c: of a session that is MQTT_OUTWARD. The topic that a message has over there (empty: none, or memory is out), alive until
 * the next call; the one that what comes has here (false: none). And what code it may end with, and why it ends.
 */
struct span mqtt_bridge_out(struct mqtt *self, const struct message *m);
bool mqtt_bridge_in(struct mqtt *self, const struct io *io, struct mqtt_publish *p);
unsigned mqtt_bridge_bye(struct mqtt *self, unsigned code, const char *why);

/* sys.c */
struct mqtt_sys *mqtt_sys_new(nsec now); /* or NULL */
void mqtt_sys_tell(struct mqtt_shard *shard, struct io *io);

/* shard.c */
void mqtt_publish_will(struct io *io, struct message *will); /* with its reference; its time begins. NULL is fine */
enum verdict mqtt_shard(void *self, const struct ev *ev, struct io *io);
void mqtt_shard_done(void *self, struct io *io);
void mqtt_alarm(struct io *io, struct subscriber *s, uint32_t epoch, nsec at);
