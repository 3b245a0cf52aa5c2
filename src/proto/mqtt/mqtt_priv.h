/*
 * mqtt_priv.h - what the files of the broker share.
 *
 *	mqtt.c       the protocol: steps, packets by their type, keep-alive, the end
 *	connect.c    CONNECT: names, takeover, what was agreed
 *	login.c      who a client is, and so what it may
 *	auth.c       the same by an exchange of AUTH packets
 *	limit.c      what its limits cost: counted, and told in the log
 *	rate.c       how much a client may send in a second
 *	told.c       what some are told besides: another server, where answers may go
 *	publish.c    what a client publishes: acknowledgements, aliases
 *	subscribe.c  what it wants to hear, and what is retained of that
 *	deliver.c    what it is sent: its queue, the window, acknowledgements
 *	route.c      from a message to all who hear it: this loop, other loops, those who are away
 *	kept.c       what must survive: records for the disk, and what waits for it
 *	shard.c      the shard: what other loops send, wills and ends that are due
 *	sys.c        $SYS: what the broker tells of itself
 *	events.c     guichet/: what happens in the server
 *	bridge*.c    connections to other brokers: bridge.h
 */
#pragma once
#include <stdatomic.h>

#include "base/buf.h"
#include "base/list.h"
#include "conf/option.h"
#include "core/proto.h"
#include "proto/mqtt/kept.h"
#include "proto/mqtt/service.h"
#include "proto/mqtt/write.h"
#include "store/access.h"
#include "store/events.h"
#include "store/topics.h"

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
	MQTT_LIMITS,
};

struct mqtt_limited {
	nsec told;  /* 0: never */
	uint64_t n; /* times since then */
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
	struct mqtt_pen pen;
	struct mqtt_limited limited[MQTT_LIMITS];
	struct list bridges; /* bridge.h */
	uint32_t bridge_tags;
	nsec look_again; /* at the options of bridges: memory was out; 0 = no */
	bool stopping;
};

enum mqtt_state {
	MQTT_NEW,     /* zero: nothing but CONNECT may come */
	MQTT_ASKED,   /* its CONNECT began an exchange of AUTH packets */
	MQTT_PROVING, /* its password is looked at; nothing more is read */
	MQTT_WAITING, /* for another connection of its name to let go */
	MQTT_OPEN,
	MQTT_OVER,
};

/* Letters between sessions and rooms. */
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

enum { MQTT_TIMER_ALIVE, MQTT_TIMER_AUTH, MQTT_TIMER_RATE };
enum { MQTT_SHARD_ALARM, MQTT_SHARD_SYS, MQTT_SHARD_EVENTS, MQTT_SHARD_BRIDGE }; /* timers of the shard */
enum { MQTT_JOB_LOGIN = 1 };

/* Topics by a number, in one direction. */
struct mqtt_aliases {
	uint16_t n;          /* in use are 1 to n */
	struct message *v[]; /* whose topic it is; NULL: none yet */
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
	bool paused : 1;    /* it sends too much, and is not read from */
	bool leaving : 1;   /* the server ends: who says CONNECT is sent elsewhere */
	bool logged_in : 1;
	bool with_method : 1; /* its CONNECT had an authentication method */
	bool torn : 1;        /* an answer could not be held: no memory, or too many */
	bool muted : 1;       /* its CONNACK waits for the disk, and all else for that */
	bool behind : 1;      /* what was under way on an earlier connection is not all sent again */
	uint16_t keep_alive, window, aliases_out_max;
	uint32_t max_packet, session_expiry;
	uint32_t looked_at;            /* access_generation(), cut, of `access` */
	struct mqtt_alarm *alarm;      /* of one whose session outlives the connection, for that */
	struct mqtt_aliases *in, *out; /* NULL: none yet */
	struct mqtt_replay *replays;
	struct mqtt_memo *memo; /* NULL: it has not published yet */
	struct topics_access access;
	struct mqtt_held *held; /* NULL: it waits for nothing */
	struct mqtt_rate *rate; /* NULL: there is no limit */
	struct mqtt_auth *auth; /* of an exchange that is under way; NULL: there is none */
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

/* A message that a client published, and that it was told to keep. */
static inline void mqtt_refused(struct io *io)
{
	io_count(io, MQTT_REFUSED, 1);
	mqtt_count(io, MQTT_T_REFUSED, 1);
}

struct subscriber_limits mqtt_limits(const struct io *io);

/* limit.c. `r`: what subscriber_push() said. */
void mqtt_limit(struct io *io, enum mqtt_limit which, struct span whose);
void mqtt_lost(struct io *io, const struct subscriber *whose, const struct message *m, int r); /* a delivery */
bool mqtt_must_refuse(const struct mqtt *self, struct io *io, const struct message *m);

void mqtt_enter(struct mqtt *self, enum mqtt_state to); /* the one place where a state begins: mqtt.c has the ways */

/* mqtt.c. Ends the conversation in the words of its version. */
enum verdict mqtt_bye(struct mqtt *self, struct io *io, unsigned code, const char *why);
void mqtt_out_now(struct io *io, const struct mqtt_writer *w);
void mqtt_out(struct mqtt *self, struct io *io, const struct mqtt_writer *w); /* behind what it promises */
void mqtt_answer(struct mqtt *self, struct io *io, enum mqtt_type type, uint16_t id, unsigned code);

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
bool mqtt_has_people(const struct io *io);

/*
 * auth.c. A CONNECT with a method that it knows begins an exchange, and is looked at again (mqtt_connect()) when that went well: then
 * `auth` is there, until CONNACK has told how it ended. mqtt_auth() takes every packet of MQTT_ASKED, and AUTH of MQTT_OPEN.
 */
bool mqtt_auth_knows(const struct io *io, struct span name);
enum verdict mqtt_auth_begin(struct mqtt *self, struct io *io, const struct mqtt_connect *c,
			     const struct mqtt_frame *f);
enum verdict mqtt_auth(struct mqtt *self, struct io *io, const struct mqtt_frame *f);
enum verdict mqtt_auth_resume(struct mqtt *self, struct io *io); /* its name may be free now */
struct span mqtt_auth_user(const struct mqtt *self);
void mqtt_auth_tell(const struct mqtt *self, struct mqtt_props *p);
void mqtt_auth_done(struct mqtt *self);
void mqtt_auth_timer(struct io *io); /* until when one that was begun again must be over */

/* rate.c. The first: of a packet that was taken. The second: what waits may be read. The third: the memory of it. */
void mqtt_rate(struct mqtt *self, struct io *io, const struct mqtt_frame *f);
void mqtt_rate_over(struct mqtt *self, struct io *io);
void mqtt_rate_done(struct mqtt *self);

/* told.c. `text` is what is told; it must live until the packet is written. */
int mqtt_options_check(const void *values, struct buf *why);
unsigned mqtt_stopping(const struct io *io, unsigned without); /* the code when the server ends */
void mqtt_tell_server(const struct io *io, unsigned code, struct mqtt_props *p);
void mqtt_tell_response(const struct mqtt *self, const struct io *io, const struct mqtt_connect *c, struct buf *text,
			struct mqtt_props *p);

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
void mqtt_land(struct io *io, struct subscriber *s,
	       struct flight *f); /* it is done, or will never be: here and on disk */
enum verdict mqtt_acked(struct mqtt *self, struct io *io, const struct mqtt_ack *a);
void mqtt_aliases_free(struct mqtt_aliases *a);

/*
 * route.c. A message to all who hear it: 1; 0: nobody does; -ENOMEM: not everybody who should. `memo`: of whose it is, NULL: nobody's.
 * Then, once in a step, mqtt_send_off().
 */
int mqtt_route(struct mqtt_memo *memo, struct io *io, struct message *m);
bool mqtt_route_here(struct mqtt_memo *memo, struct io *io,
		     struct message *m);                         /* to those of this loop's index alone */
[[nodiscard]] int mqtt_retain(struct io *io, struct message *m); /* as topics_retain() */
bool mqtt_announce(struct io *io,
		   struct message *m); /* the server itself, to all; takes m. False: it is NULL, memory was out */
bool mqtt_must_keep(struct io *io, const struct message *m); /* would it go to the disk? */

/* To one, wherever it is: 0; 1: it is on its way to another loop; -errno: it is dropped. */
int mqtt_give(struct io *io, struct subscriber *to, const struct delivery *d);
void mqtt_give_orphans(struct io *io, const struct subscriber *ended); /* what it has left to others of its groups */
void mqtt_send_off(struct mqtt *self, struct io *io);                  /* self: whose step it was; NULL: the shard's */

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
 * For one who comes: 0 or -ENOMEM. When he leaves and stays known: it rings in this loop; it is the shard's then. Or he does not.
 * When he is back, or has been ended, it must not ring: it is called off in the loop that he left.
 */
[[nodiscard]] int mqtt_alarm_new(struct mqtt_shard *shard, struct mqtt_alarm **ret);
void mqtt_alarm_set(struct io *io, struct mqtt_alarm **mine, struct subscriber *s, uint32_t epoch, nsec at);
void mqtt_alarm_off(struct io *io, struct subscriber *s);
void mqtt_alarm_free(struct mqtt_shard *shard, struct mqtt_alarm **a); /* NULL is fine */
