/*
 * wire.h - the packets of MQTT 3.1, 3.1.1 and 5.0 out of bytes (write.h: into bytes). Pure functions over spans:
 * nothing is allocated, kept or waited for, and every span that comes out points into the bytes that went in.
 * Both sides are here: what clients send, for a broker, and what servers send, for a bridge and the client commands.
 *
 *	int n = mqtt_frame((struct mqtt_form){ MQTT_5, MQTT_FROM_CLIENT }, in, max, &frame, &why);
 *	n > 0: mqtt_parse_publish(&frame, &publish, &why) and the like, by frame.type; then take frame.total bytes
 *
 * All that a packet says is checked before a function returns 0: a list is good to its end before its first entry is
 * seen. What a packet alone cannot tell is the session's: order, limits that were agreed, aliases that exist, the
 * syntax of topic filters (store/topic.h), payloads that say they are UTF-8.
 *
 * What is wrong is told as a reason code of 5.0 (4.13) and, for the log, as a word in *ret_why. With 3.x there is
 * nothing to answer: close [MQTT-4.8.0-1 of 3.1.1]. The words:
 *	length-malformed packet-too-large type-reserved flags-reserved qos-invalid packet-unexpected first-not-connect
 *	peer-speaks-tls peer-speaks-http connect-twice packet-malformed text-malformed bytes-left id-zero reason-unknown session-present
 *	protocol-name protocol-version will-flags password-alone client-id-invalid
 *	topic-invalid topic-empty filters-none options-reserved retain-handling no-local-shared codes-none
 *	property-unknown property-misplaced property-twice property-range auth-method-missing
 */
#pragma once
#include "base/buf.h"
#include "proto/mqtt/props.h"

enum mqtt_version {
	MQTT_UNKNOWN = 0, /* nothing but CONNECT is a packet yet */
	MQTT_31 = 3,
	MQTT_311 = 4,
	MQTT_5 = 5,
};

enum mqtt_type {
	MQTT_CONNECT = 1,
	MQTT_CONNACK,
	MQTT_PUBLISH,
	MQTT_PUBACK,
	MQTT_PUBREC,
	MQTT_PUBREL,
	MQTT_PUBCOMP,
	MQTT_SUBSCRIBE,
	MQTT_SUBACK,
	MQTT_UNSUBSCRIBE,
	MQTT_UNSUBACK,
	MQTT_PINGREQ,
	MQTT_PINGRESP,
	MQTT_DISCONNECT,
	MQTT_AUTH,
};

enum mqtt_from { MQTT_FROM_CLIENT, MQTT_FROM_SERVER };

/* Reason codes (2.4). Those of 3.x's CONNACK are 0 to 5: mqtt_return_code(). */
enum mqtt_code {
	MQTT_OK = 0x00, /* success, normal disconnection, granted QoS 0 */
	MQTT_GRANTED_1 = 0x01,
	MQTT_GRANTED_2 = 0x02,
	MQTT_WITH_WILL = 0x04,
	MQTT_NO_SUBSCRIBERS = 0x10,
	MQTT_NO_SUBSCRIPTION = 0x11,
	MQTT_CONTINUE_AUTH = 0x18,
	MQTT_REAUTH = 0x19,
	MQTT_UNSPECIFIED = 0x80,
	MQTT_MALFORMED = 0x81,
	MQTT_PROTOCOL_ERROR = 0x82,
	MQTT_IMPLEMENTATION = 0x83,
	MQTT_BAD_VERSION = 0x84,
	MQTT_BAD_CLIENT_ID = 0x85,
	MQTT_BAD_USER = 0x86,
	MQTT_NOT_AUTHORIZED = 0x87,
	MQTT_SERVER_UNAVAILABLE = 0x88,
	MQTT_SERVER_BUSY = 0x89,
	MQTT_BANNED = 0x8a,
	MQTT_SHUTTING_DOWN = 0x8b,
	MQTT_BAD_AUTH_METHOD = 0x8c,
	MQTT_KEEP_ALIVE_TIMEOUT = 0x8d,
	MQTT_TAKEN_OVER = 0x8e,
	MQTT_BAD_FILTER = 0x8f,
	MQTT_BAD_TOPIC = 0x90,
	MQTT_ID_IN_USE = 0x91,
	MQTT_ID_UNKNOWN = 0x92,
	MQTT_RECEIVE_MAX = 0x93,
	MQTT_BAD_ALIAS = 0x94,
	MQTT_TOO_LARGE = 0x95,
	MQTT_RATE = 0x96,
	MQTT_QUOTA = 0x97,
	MQTT_ADMINISTRATIVE = 0x98,
	MQTT_BAD_FORMAT = 0x99,
	MQTT_NO_RETAIN = 0x9a,
	MQTT_NO_QOS = 0x9b,
	MQTT_USE_ANOTHER = 0x9c,
	MQTT_MOVED = 0x9d,
	MQTT_NO_SHARED = 0x9e,
	MQTT_CONNECTION_RATE = 0x9f,
	MQTT_CONNECT_TIME = 0xa0,
	MQTT_NO_SUB_IDS = 0xa1,
	MQTT_NO_WILDCARDS = 0xa2,
};

#define MQTT_PACKET_MAX (5 + 268435455) /* bytes of the largest packet there can be */

/* Whose bytes they are. A broker starts with MQTT_UNKNOWN and knows with CONNECT. */
struct mqtt_form {
	uint8_t version; /* enum mqtt_version */
	uint8_t from;    /* enum mqtt_from */
};

struct mqtt_frame {
	struct mqtt_form form;
	uint8_t type, flags; /* of the first byte */
	struct span body;    /* behind the fixed header */
	size_t total;        /* bytes of the whole packet */
};

/*
 * The packet that `in` begins with. Returns
 *	1: it is whole, *ret describes it;
 *	0: more is needed, at least ret->total bytes from the packet's beginning (exact once the length is known);
 *	a reason code made negative, as soon as the bytes allow it: a type, flags or length that cannot be
 *	[MQTT-2.1.3-1] [MQTT-1.5.5-1], a type that this side does not send now, more than `max` bytes in all
 *	(-MQTT_TOO_LARGE).
 */
[[nodiscard]] int mqtt_frame(struct mqtt_form form, struct span in, size_t max, struct mqtt_frame *ret,
			     const char **ret_why);

/* ---- packets: 0 or a reason code, and *ret is of no use then. The properties of 3.x are the defaults. ---- */

struct mqtt_connect {
	uint8_t version; /* enum mqtt_version */
	bool clean, will, will_retain, has_user, has_password;
	bool from_bridge; /* 3.x: it says so, as mosquitto's do, by the high bit of its version: it wants what 5.0 calls no local and
			     retain as published, for all that it subscribes to */
	uint8_t will_qos;
	uint16_t keep_alive; /* seconds, 0 = off */
	struct span client_id, user, password;
	struct span will_topic, will_payload;
	struct mqtt_props props, will_props; /* will_props: only with a will */
};

/*
 * When it fails, ret->version alone has a meaning: in whose form a CONNACK can be answered [MQTT-3.1.2-1]
 * [MQTT-3.1.2-2]; MQTT_UNKNOWN = none, just close. MQTT_BAD_VERSION with MQTT_311 is return code 1. An identifier that
 * 3.x does not allow is MQTT_BAD_CLIENT_ID [MQTT-3.1.3-8 of 3.1.1].
 */
[[nodiscard]] int mqtt_parse_connect(const struct mqtt_frame *f, struct mqtt_connect *ret, const char **ret_why);

struct mqtt_connack {
	bool session_present;
	uint8_t code; /* 5.0: a reason code; 3.x: a return code. MQTT_BAD_VERSION too from one that knows only 3.x */
	struct mqtt_props props;
};
[[nodiscard]] int mqtt_parse_connack(const struct mqtt_frame *f, struct mqtt_connack *ret, const char **ret_why);

struct mqtt_publish {
	uint8_t qos;
	bool dup, retain;
	uint16_t id;       /* 0 with QoS 0 */
	struct span topic; /* empty only with an alias */
	struct span payload;
	struct mqtt_props props;
	/* For writing only, parsing leaves them empty: properties to add, encoded already (mqtt_props_kept()); and
	 * subscription identifiers to add. */
	struct span kept;
	const uint32_t *sub_ids;
	size_t n_sub_ids;
};
[[nodiscard]] int mqtt_parse_publish(const struct mqtt_frame *f, struct mqtt_publish *ret, const char **ret_why);

/* PUBACK, PUBREC, PUBREL, PUBCOMP. */
struct mqtt_ack {
	uint8_t type; /* enum mqtt_type */
	uint8_t code;
	uint16_t id;
	struct mqtt_props props;
};
[[nodiscard]] int mqtt_parse_ack(const struct mqtt_frame *f, struct mqtt_ack *ret, const char **ret_why);

/* SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK: an identifier and a list. */
struct mqtt_list {
	uint8_t type; /* enum mqtt_type */
	uint16_t id;
	struct span list; /* filters: for the functions below; SUBACK, UNSUBACK: a code each. UNSUBACK of 3.x: empty */
	size_t n;         /* how many; writing does not look at it */
	struct mqtt_props props;
};
[[nodiscard]] int mqtt_parse_list(const struct mqtt_frame *f, struct mqtt_list *ret, const char **ret_why);

struct mqtt_sub {
	struct span filter; /* text, perhaps "$share/..."; its syntax was not looked at, it may even be empty */
	uint8_t qos, retain_handling;
	bool no_local, as_published;
};

/* The next entry of a SUBSCRIBE's or an UNSUBSCRIBE's list; *at starts as `list`. False at the end. */
bool mqtt_sub_next(struct span *at, struct mqtt_sub *ret);
bool mqtt_unsub_next(struct span *at, struct span *ret);

/* DISCONNECT and AUTH. */
struct mqtt_end {
	uint8_t type; /* enum mqtt_type */
	uint8_t code; /* MQTT_OK when the packet has none */
	struct mqtt_props props;
};
[[nodiscard]] int mqtt_parse_end(const struct mqtt_frame *f, struct mqtt_end *ret, const char **ret_why);

/* PINGREQ, PINGRESP: nothing but their name. */
[[nodiscard]] int mqtt_parse_ping(const struct mqtt_frame *f, const char **ret_why);

/* ---- names ---- */

const char *mqtt_type_name(unsigned type);   /* "PUBLISH"; "packet" for what is no type */
const char *mqtt_reason_name(unsigned code); /* "Not authorized"; "unknown" */
const char *mqtt_return_name(unsigned code); /* the same for 3.x's CONNACK: "not authorized" */

/* May this side send this code in this packet of 5.0? [MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.9.3-2] and the like */
bool mqtt_reason_valid(unsigned type, enum mqtt_from from, uint8_t code);

/* A reason code of 5.0 in a CONNACK of 3.x: 0 to 5; -1: there is none, close without [MQTT-3.2.2-6 of 3.1.1]. */
int mqtt_return_code(uint8_t code);

/* Adds one line about a packet, without its end, for a trace; never a password or what proves who somebody is:
 *	PUBLISH q1 r0 m7 "a/b" 12 bytes expiry=30
 */
void mqtt_describe(const struct mqtt_frame *f, struct buf *b);
/* The same of a PUBLISH whose payload is elsewhere: all that is before it. */
void mqtt_describe_head(struct mqtt_form form, struct span head, size_t payload, struct buf *b);
