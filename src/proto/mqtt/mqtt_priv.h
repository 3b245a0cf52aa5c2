/*
 * mqtt_priv.h - what the files of the broker share: a session. What a loop has: shard.h; what all loops share: service.h.
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
 *	kept.c waiters.c held.c  what must survive: kept.h
 *	shard.c      the shard: what other loops send, wills and ends that are due
 *	sys.c        $SYS: what the broker tells of itself
 *	events.c     guichet/: what happens in the server
 *	bridge*.c    connections to other brokers: bridge.h
 *	wire*.c, parse_*.c, props*.c, write*.c  packets out of bytes and into bytes: wire.h, write.h
 */
#pragma once
#include "proto/common/login.h"
#include "proto/mqtt/shard.h"
#include "proto/mqtt/write.h"

enum mqtt_state {
	MQTT_NEW,     /* zero: nothing but CONNECT may come */
	MQTT_ASKED,   /* its CONNECT began an exchange of AUTH packets */
	MQTT_PROVING, /* its password is looked at; nothing more is read */
	MQTT_WAITING, /* for another connection of its name to let go */
	MQTT_OPEN,
	MQTT_OVER,
};

enum { MQTT_TIMER_ALIVE, MQTT_TIMER_AUTH, MQTT_TIMER_RATE };
enum { MQTT_JOB_LOGIN = 1 };
enum { MQTT_BEFORE_IT = 128 << 10 }; /* bytes that may be queued before a packet */

/* Topics by a number, in one direction. */
struct mqtt_aliases {
	uint16_t n;          /* in use are 1 to n */
	struct message *v[]; /* whose topic it is; NULL: none yet */
};

enum mqtt_role {
	MQTT_CLIENT,
	MQTT_BRIDGE,  /* of another broker, in 3.x: it does not want to hear itself, and retained messages as such */
	MQTT_OUTWARD, /* a bridge of ours: it is we who are the client (bridge.h) */
};

struct mqtt {
	struct subscriber *session; /* a reference; NULL before it is MQTT_OPEN, and when it is MQTT_OVER */
	uint8_t version, state;
	uint8_t role : 2;   /* enum mqtt_role */
	uint8_t looks : 6;  /* at what is retained, in this step */
	uint8_t max_qos;    /* outward: of what the other side takes */
	bool no_retain : 1; /* likewise */
	bool anew : 1;      /* what was under way begins there for the first time: nothing is known of it */
	bool goodbye : 1;   /* no will */
	bool refused : 1;   /* it was not let in: the session that it found stays as it was */
	bool paused : 1;    /* it sends too much, and is not read from */
	bool leaving : 1;   /* the server ends: who says CONNECT is sent elsewhere */
	bool logged_in : 1;
	bool with_method : 1; /* its CONNECT had an authentication method */
	bool torn : 1;        /* an answer could not be held: no memory, or too many */
	bool muted : 1;       /* its CONNACK waits for the disk, and all else for that */
	bool had : 1;         /* a session, which it has left */
	bool seen : 1;        /* the CONNECT that waits was in the trace already */
	bool behind : 1;      /* what was under way on an earlier connection is not all sent again */
	uint16_t keep_alive, window, aliases_out_max;
	uint32_t max_packet, session_expiry;
	uint32_t looked_at;              /* access_generation(), cut, of `access` */
	struct mqtt_alarm *alarm;        /* of one whose session outlives the connection, for that */
	struct mqtt_aliases *in, *out;   /* NULL: none yet */
	union {                          /* which of them it is: mqtt_client() */
		struct mqtt_memo *memo;  /* while it has a session; NULL: it has not published yet */
		struct subscriber *past; /* a reference to the one that it had: for its name */
		char *claimed;           /* its name before it has one, or without ever getting one; NULL: not known */
	};
	struct topics_access access;
	struct mqtt_held *held; /* NULL: it waits for nothing */
	struct mqtt_rate *rate; /* NULL: there is no limit */
	struct mqtt_auth *auth; /* of an exchange that is under way; NULL: there is none */
};

/* mqtt.c. The first is the one place where a state begins, and has the ways; the second ends the conversation in the words of its version. */
void mqtt_enter(struct mqtt *self, enum mqtt_state to);
enum verdict mqtt_bye(struct mqtt *self, struct io *io, unsigned code, const char *why);
void mqtt_out_now(const struct mqtt *self, struct io *io, const struct mqtt_writer *w);
void mqtt_out(struct mqtt *self, struct io *io, const struct mqtt_writer *w); /* behind what it promises */
void mqtt_answer(struct mqtt *self, struct io *io, enum mqtt_type type, uint16_t id, unsigned code);

/* The first packet of what has come: 1; 0: the rest is waited for; a reason code, negative, as mqtt_frame(), which the trace has then. */
[[nodiscard]] int mqtt_next(struct io *io, struct mqtt_form form, size_t max, struct mqtt_frame *ret,
			    const char **ret_why);
void mqtt_note(struct io *io, const struct mqtt_frame *f); /* one that came, for the trace: io->traced */
void mqtt_note_out(const struct mqtt *self, struct io *io, struct span packets); /* that were sent, whole ones */
/* A PUBLISH that was sent: all before its payload, as mqtt_put_publish() has written it. */
void mqtt_note_publish(const struct mqtt *self, struct io *io, struct span head, size_t payload);
/* The same of who is no struct mqtt (topic_session.c): in whose form they are. */
void mqtt_note_packets(struct io *io, struct mqtt_form form, struct span packets);
void mqtt_note_head(struct io *io, struct mqtt_form form, struct span head, size_t payload);
enum verdict mqtt_ack(struct mqtt *self, struct io *io, const struct mqtt_frame *f); /* PUBACK and its like */
void mqtt_done(struct mqtt *self, struct io *io);

/* connect.c */
enum verdict mqtt_connect(struct mqtt *self, struct io *io, const struct mqtt_frame *f);
enum verdict mqtt_refuse(struct mqtt *self, struct io *io, unsigned code, const char *why); /* by a CONNACK */
struct span mqtt_client(const void *self); /* for the log: its client identifier */
void mqtt_leave(struct mqtt *self, struct io *io);

/*
 * login.c. mqtt_login(): 0, a reason code, or -EINPROGRESS: EV_DONE comes, for mqtt_login_end().
 * mqtt_look(): who it is and what it may; `as` has a user who has logged in in this very step. 0 with a reference of people, -ENOMEM, or
 * -EACCES: it is nobody.
 * mqtt_look_as(): what it may by now. The same; -EACCES too when it is not whose session it has.
 * mqtt_look_again(): that, if people or rules have changed.
 */
[[nodiscard]] int mqtt_login(struct mqtt *self, struct io *io, const struct mqtt_connect *c);
[[nodiscard]] int mqtt_login_end(struct mqtt *self, struct io *io, const struct ev *ev);
[[nodiscard]] int mqtt_look(struct mqtt *self, struct io *io, struct login_who as, struct span client,
			    struct login_view *ret);
[[nodiscard]] int mqtt_look_as(struct mqtt *self, struct io *io, struct login_who as);
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
void mqtt_tell_response(const struct io *io, const struct mqtt_connect *c, struct span name, struct buf *text,
			struct mqtt_props *p);

/* publish.c, subscribe.c */
enum verdict mqtt_publish(struct mqtt *self, struct io *io, const struct mqtt_frame *f);
bool mqtt_is_state(struct span topic); /* $SYS/broker/connection/NAME/state */
enum verdict mqtt_pubrel(struct mqtt *self, struct io *io, const struct mqtt_ack *a);
enum verdict mqtt_subscribe(struct mqtt *self, struct io *io, const struct mqtt_frame *f); /* UNSUBSCRIBE too */
void mqtt_replay(struct mqtt *self, struct io *io); /* a step of it: the queue is empty */
[[nodiscard]] int mqtt_add_replay(struct mqtt *self, const struct wish *w,
				  bool kept); /* 0 or -ENOMEM; kept: it goes on after a restart */

/* deliver.c */
void mqtt_pump(struct mqtt *self, struct io *io);                      /* sends what waits, as far as there is room */
void mqtt_land(struct io *io, struct subscriber *s, struct flight *f); /* it is over: here, and on disk */
enum verdict mqtt_acked(struct mqtt *self, struct io *io, const struct mqtt_ack *a);
void mqtt_aliases_free(struct mqtt_aliases *a);

/*
 * bridge_link.c: of a session that is MQTT_OUTWARD. The topic that a message has over there (empty: none, or memory is out), alive until
 * the next call; the one that what comes has here (false: none). And what code it may end with, and why it ends.
 */
struct span mqtt_bridge_out(struct mqtt *self, const struct message *m);
bool mqtt_bridge_in(struct mqtt *self, const struct io *io, struct mqtt_publish *p);
unsigned mqtt_bridge_bye(struct mqtt *self, unsigned code, const char *why);
/* bridge.c: the CONNECT is from a bridge of this very broker. */
bool mqtt_bridge_is_ours(const struct io *io, const struct mqtt_connect *c);
/* Before the names of sessions that no client may have: those of bridges, and what is left of one that has ended. */
#define MQTT_OURS "bridge:"
bool mqtt_bridge_owns(struct span name);
