/*
 * bridge.h - connections to other brokers: what the files of the bridge share, and what the rest of the broker knows of it.
 *
 *	bridge_map.c      which topics, and what they are called on either side
 *	bridge_options.c  a section [SERVICE.bridge.NAME]
 *	bridge.c          the shard's side: who is to be reached, when it is tried again, the kept session on this side
 *	bridge_link.c     a connection: a session of the broker in the role of a client
 *
 * A connection is a struct mqtt whose `role` is MQTT_OUTWARD. What it sends is the queue of a subscriber of ours that is kept, by
 * deliver.c; what comes is published by publish.c; only CONNECT, SUBSCRIBE, names of topics and the end differ.
 */
#pragma once
#include "core/proto_child.h"
#include "proto/mqtt/bridge_map.h"
#include "proto/mqtt/far.h"
#include "proto/mqtt/mqtt_priv.h"

enum bridge_version { BRIDGE_AUTO, BRIDGE_5, BRIDGE_311, BRIDGE_31 };

struct bridge_options {
	struct option_file ca, certificate, key, password;
	bool clean, insecure, notify;
	char *client_id, *local_user, *topics, *user;
	unsigned keepalive;
	uint64_t retry;
	struct addr_list to;
	enum bridge_version version;
};
extern const struct option_table bridge_table;

/* What is in force for one bridge: made of its options, of which it has a copy. 0 or -ENOMEM, -EINVAL (the files' content). */
struct bridge_setup {
	struct bridge_options *o;
	struct bridge_map map;
	struct trust *trust; /* NULL: its address is not secure */
	char *address;
};
[[nodiscard]] int bridge_setup_make(const struct bridge_options *o, struct bridge_setup *ret, struct buf *why);
void bridge_setup_done(struct bridge_setup *s);

/* How it speaks first, and what it tries when the other side does not know that. */
enum bridge_tongue { TONGUE_5, TONGUE_311_BRIDGE, TONGUE_311, TONGUE_31_BRIDGE, TONGUE_31, TONGUES };

enum { BRIDGE_TOKEN = 17 };

/* A user property of its CONNECT, by which we know ourselves on the other side. */
#define BRIDGE_PROPERTY "guichet-bridge"

/* A bridge, in the loop that its name falls to. Belongs to the shard. */
struct bridge {
	struct list node; /* in mqtt_shard.bridges */
	char *name;
	char *client_id;  /* there */
	char *local_name; /* here: of its subscriber */
	struct bridge_setup setup;
	uint32_t tag; /* of its connection */
	bool dialled; /* there is one, open or not */
	bool up;      /* and the other side has said yes */
	bool mute;    /* it may be that it does not speak this version */
	bool wanted;  /* by the options that are in force */
	bool changed; /* they are others than those that its subscriptions are made of */
	bool itself;  /* the other side was this very broker */
	struct far far;
	uint8_t tongue;
	const char *why;  /* it goes down; a literal, or NULL */
	struct buf topic; /* of the message that is on its way */
};

/* bridge.c, called by the shard */
bool mqtt_bridge_left(const struct io *io, const struct subscriber *s); /* is it a session of one that is no more? */
void mqtt_bridges_open(struct mqtt_shard *shard, struct io *io);
void mqtt_bridges_look(struct mqtt_shard *shard, struct io *io); /* the options are others */
void mqtt_bridges_due(struct mqtt_shard *shard, struct io *io);  /* the timer */
void mqtt_bridges_gone(struct mqtt_shard *shard, struct io *io, const struct ev *ev);
void mqtt_bridges_stop(struct mqtt_shard *shard); /* nobody is connected to any more */
void mqtt_bridges_done(struct mqtt_shard *shard);

/* bridge.c, called by the connection */
struct bridge *bridge_by_tag(const struct mqtt_shard *shard, uint32_t tag); /* or NULL */
void bridge_is_up(struct bridge *b, struct io *io);
void bridge_refused(const struct bridge *b, const struct io *io, struct span filter,
		    uint8_t code); /* there, for the log */
void bridge_tell_state(const struct bridge *b, struct io *io,
		       bool up); /* here: $SYS/broker/connection/CLIENT-ID/state */
void bridge_state_topic(const struct bridge *b, struct buf *out);
[[nodiscard]] int bridge_view(const struct bridge *b, const struct io *io, struct topics_access *a,
			      uint32_t *ret_generation);
[[nodiscard]] int bridge_claim(const struct bridge *b, struct io *io, struct subscriber **ret);

void bridge_token(const struct io *io, char token[BRIDGE_TOKEN]);
bool bridge_met_itself(const struct bridge *b, const struct io *io); /* it was refused: by us? */

/* bridge_link.c */
extern const struct proto mqtt_bridge_proto;
