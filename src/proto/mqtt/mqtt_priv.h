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
 *	shard.c       the shard: what other loops send, wills and ends that are due
 *	sys.c        $SYS: what the broker tells of itself
 */
#pragma once
#include <stdatomic.h>

#include "base/buf.h"
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
	MQTT_REFUSED,
	MQTT_PAUSED,
};

enum mqtt_when_full { MQTT_DROP, MQTT_REFUSE };

struct mqtt_options {
	size_t packet;
	unsigned queue, inflight, receive_max, levels, subscriptions, retained, aliases, keepalive_max;
	unsigned message_rate;
	size_t queue_bytes, byte_rate;
	uint64_t session_expiry_max, sys_interval;
	enum mqtt_when_full queue_full;
	bool retain;
	char *response_information, *server_reference; /* NULL: none */
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
	MQTT_T_REFUSED,
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

/* Limits of which the log tells: limit.c. */
enum mqtt_limit {
	MQTT_L_QUEUE,
	MQTT_L_REFUSED,
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
	struct mqtt_tallies *tallies;
	struct mqtt_sys *sys; /* of the first loop */
	struct mqtt_limited limited[MQTT_LIMITS];
};

enum mqtt_state {
	MQTT_NEW,     /* nothing but CONNECT may come */
	MQTT_ASKED,   /* its CONNECT began an exchange of AUTH packets */
	MQTT_PROVING, /* its password is looked at; nothing more is read */
	MQTT_WAITING, /* for another connection of its name to let go */
	MQTT_OPEN,
	MQTT_OVER,
};

/* Letters between sessions and rooms. */
enum { MQTT_WAKE = 1, MQTT_TAKE_OVER, MQTT_LET_GO, MQTT_BATCH, MQTT_ALARM };

enum { MQTT_TIMER_ALIVE, MQTT_TIMER_AUTH, MQTT_TIMER_RATE };
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

struct mqtt {
	struct subscriber *session; /* a reference; NULL before it is MQTT_OPEN */
	uint8_t version, state;
	bool goodbye; /* no will */
	bool paused;  /* it sends too much, and is not read from */
	bool leaving; /* the server ends: who says CONNECT is sent elsewhere */
	bool logged_in;
	bool with_method; /* its CONNECT had an authentication method */
	bool behind;      /* what was under way on an earlier connection is not all sent again */
	uint16_t keep_alive, window, aliases_out_max;
	uint32_t max_packet, session_expiry;
	struct will will;
	struct mqtt_aliases in, out;
	struct mqtt_replay *replays;
	struct mqtt_memo *memo; /* NULL: it has not published yet */
	struct topics_access access;
	uint64_t looked_at;     /* access_generation() of that */
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

struct subscriber_limits mqtt_limits(const struct io *io);

/* limit.c. `r` of the second: what subscriber_push() said. */
void mqtt_limit(struct io *io, enum mqtt_limit which, struct span whose);
void mqtt_lost(struct io *io, const struct subscriber *whose, int r); /* a delivery */
bool mqtt_must_refuse(const struct mqtt *self, struct io *io, const struct message *m);

/* mqtt.c. Ends the conversation in the words of its version. */
enum verdict mqtt_bye(struct mqtt *self, struct io *io, unsigned code, const char *why);
void mqtt_out(struct io *io, const struct mqtt_writer *w);
void mqtt_answer(const struct mqtt *self, struct io *io, enum mqtt_type type, uint16_t id, unsigned code);

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
enum verdict mqtt_pubrel(struct mqtt *self, struct io *io, const struct mqtt_ack *a);
enum verdict mqtt_subscribe(struct mqtt *self, struct io *io, const struct mqtt_frame *f);
enum verdict mqtt_unsubscribe(struct mqtt *self, struct io *io, const struct mqtt_frame *f);
void mqtt_replay(struct mqtt *self, struct io *io); /* a step of it: the queue is empty */
void mqtt_replays_done(struct mqtt *self);

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

/* sys.c */
struct mqtt_sys *mqtt_sys_new(nsec now); /* or NULL */
void mqtt_sys_tell(struct mqtt_shard *shard, struct io *io);

/* shard.c */
void mqtt_publish_will(struct io *io, struct message *will); /* with its reference; its time begins. NULL is fine */
enum verdict mqtt_shard(void *self, const struct ev *ev, struct io *io);
void mqtt_shard_done(void *self, struct io *io);
void mqtt_alarm(struct io *io, struct subscriber *s, uint32_t epoch, nsec at);
