/*
 * topic_client.h - topics for other doors: a service that is not mqtt publishes and hears as a client of a broker, in this process, in
 * another one or elsewhere. It belongs to a shard, and its connection is a child of that shard: MQTT 5, clean, for as long as it
 * lasts. Nothing is kept while there is none. docs/design/topics.md, "Other doors", has the reasons.
 *
 *	topic_client.c    the shard's side: what waits, who is to be reached, when it is tried again, the log
 *	topic_session.c   a connection: a session in the role of a client
 *
 * The shard embeds a struct topic_client and hands its events on:
 *
 *	EV_OPEN    topic_client_init(&room->client, &door);  topic_client_open(&room->client, io, &setup)
 *	EV_TIMER   of door.timer: topic_client_due(&room->client, io)
 *	EV_GONE    of door.tag: topic_client_gone(&room->client, io, ev)
 *	EV_STOP    topic_client_stop(&room->client);  the connection hears of it itself, and says goodbye
 *	shard_fini topic_client_done(&room->client)
 *
 * The door's functions below are called from the connection's step or the shard's, in the shard's loop, with that step's io: they may
 * post and count, and must not write. They may call topic_client_say(), and none of the others.
 */
#pragma once
#include "base/list.h"
#include "proto/mqtt/far.h"
#include "proto/mqtt/wire.h"

enum {
	TOPIC_WINDOW = 64, /* messages of QoS 1 under way; fewer when the broker takes fewer */
	TOPIC_LOST = 0x100 /* no reason code: the connection has ended before the broker had answered */
};

struct topic_heard {
	struct span topic, payload; /* die with the step, after all_heard() */
	bool retain;                /* it is an old one, which the broker had retained */
};

struct topic_client;
struct topic_door {
	uint32_t tag;   /* of the child; not 0 */
	unsigned timer; /* the shard's slot for it */
	void (*heard)(struct topic_client *c, struct io *io, const struct topic_heard *m);
	void (*all_heard)(struct topic_client *c, struct io *io); /* nothing more in this step; NULL */
	/*
	 * What became of one that topic_client_say() has taken: 0, a reason code of 0x80 and more by which the broker has refused it, or
	 * TOPIC_LOST. QoS 0: 0 when it was sent. In no order with other topics.
	 */
	void (*answered)(struct topic_client *c, struct io *io, struct span topic, unsigned code);
};

/* Borrowed for the call. */
struct topic_setup {
	const struct addr_text *to; /* topic_fault() is NULL */
	struct span ca;             /* PEM, whom to trust when `to` is tls:; empty: the system's */
	bool insecure;              /* whoever answers will do */
	struct span client_id; /* nobody else's there: each would take the other's place. Empty: the broker makes one */
	struct span user, password;    /* empty: none */
	const struct mqtt_sub *filter; /* what to hear, of QoS 0 or 1; no_local: not what it says itself */
	size_t filters;                /* 0: nothing is heard */
	uint16_t keep_alive; /* seconds until it is asked whether it is there, 1 and more; sooner if the broker wants */
	nsec retry;          /* the longest pause between two tries; the first is one second */
	size_t packet;       /* bytes of the largest packet that the broker may send */
	size_t queue, queue_bytes; /* what is taken and not answered yet, at most: messages, and topics with payloads */
};

/* One that was taken. */
struct topic_say {
	struct list node;
	struct span topic, payload;
	uint8_t qos;
	bool retain;
	uint8_t bytes[];
};

struct topic_client {
	const struct topic_door *door;
	struct far far;
	char *address; /* NULL: nobody is to be reached */
	struct trust *trust;
	struct blob *filters; /* of SUBSCRIBE, encoded; NULL: there are none */
	uint8_t *hello;       /* CONNECT, encoded: it has the password, and is overwritten when it is freed */
	size_t hello_n, packet, queue, queue_bytes;
	nsec retry;
	uint16_t keep_alive;
	struct list waiting;                    /* struct topic_say, not sent yet */
	struct topic_say *flight[TOPIC_WINDOW]; /* sent with identifier index + 1, not answered yet */
	uint64_t flying;                        /* a bit for each of them that is there */
	size_t n, bytes;                        /* of both */
	sess_id session;                        /* of the connection, while it takes something; 0: none does */
	bool dialled;                           /* there is one, up or not */
	bool up;                                /* and it was let in */
	bool changed;                           /* and it is to end: something else is wanted */
	bool stopping;
	bool woken;          /* a letter to the session is on its way */
	uint64_t refused[2]; /* to read, to write: reason codes from 0x80 on that the log has, a bit for each */
	const char *why;     /* it goes down; a literal, or NULL */
};

/* Why this address cannot be reached so, behind it; NULL: it can. unix:, tcp: and tls: are fine. */
const char *topic_fault(const struct addr_text *to);

void topic_client_init(struct topic_client *c, const struct topic_door *door);
void topic_client_done(struct topic_client *c);

/*
 * Connects, and again whenever that ends; in place of whom it was connected to, if it was. 0; -ENOMEM, or -EINVAL with a sentence
 * (certificates): it is closed then.
 */
[[nodiscard]] int topic_client_open(struct topic_client *c, struct io *io, const struct topic_setup *setup,
				    struct buf *why);
void topic_client_close(struct topic_client *c, struct io *io);

void topic_client_due(struct topic_client *c, struct io *io);
void topic_client_gone(struct topic_client *c, struct io *io, const struct ev *ev);
void topic_client_stop(struct topic_client *c);

/*
 * Publishes; from the shard or a session of its loop. `qos` 0 or 1; less of it, and without retain, where the broker cannot. 0: it was
 * taken, and `answered` comes once; -ENOTCONN; -ENOBUFS: as much as was agreed waits; -ENOMEM.
 */
struct topic_words {
	struct span topic, payload;
	uint8_t qos;
	bool retain;
};
[[nodiscard]] int topic_client_say(struct topic_client *c, struct io *io, const struct topic_words *w);

/* ---- called by the connection ---- */

void topic_client_up(struct topic_client *c, struct io *io);
void topic_client_answered(struct topic_client *c, struct io *io, struct topic_say *s, unsigned code); /* frees it */
/* The broker lets it not. For the log. */
enum topic_verb { TOPIC_READ, TOPIC_WRITE };
void topic_client_refused(struct topic_client *c, const struct io *io, enum topic_verb verb, struct span topic,
			  unsigned code);
/* The one that had this identifier, which is free now; NULL: none had. */
struct topic_say *topic_client_landed(struct topic_client *c, unsigned id);

/* topic_session.c: its EV_OPEN has a pointer to the client, which must outlive it. */
extern const struct proto topic_session_proto;
