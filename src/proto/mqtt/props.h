/*
 * props.h - the properties of MQTT 5.0 (section 2.2.2): one table of what there is, one struct of what a packet has.
 * Nothing here allocates: texts point into the packet that was parsed, or to whatever the writer was given.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/* In the order of their identifiers. */
enum mqtt_prop {
	MQTT_P_FORMAT,
	MQTT_P_EXPIRY,
	MQTT_P_CONTENT_TYPE,
	MQTT_P_RESPONSE_TOPIC,
	MQTT_P_CORRELATION,
	MQTT_P_SUB_ID,
	MQTT_P_SESSION_EXPIRY,
	MQTT_P_CLIENT_ID,
	MQTT_P_KEEP_ALIVE,
	MQTT_P_AUTH_METHOD,
	MQTT_P_AUTH_DATA,
	MQTT_P_REQUEST_PROBLEM,
	MQTT_P_WILL_DELAY,
	MQTT_P_REQUEST_RESPONSE,
	MQTT_P_RESPONSE_INFO,
	MQTT_P_SERVER,
	MQTT_P_REASON,
	MQTT_P_RECEIVE_MAX,
	MQTT_P_ALIAS_MAX,
	MQTT_P_ALIAS,
	MQTT_P_MAX_QOS,
	MQTT_P_RETAIN_OK,
	MQTT_P_USER,
	MQTT_P_MAX_PACKET,
	MQTT_P_WILDCARD_OK,
	MQTT_P_SUB_ID_OK,
	MQTT_P_SHARED_OK,
	MQTT_PROPS,
};

#define MQTT_HAS(P) (UINT32_C(1) << (P))

/* What a broker hands on with a message unaltered [MQTT-3.3.2-4] [-15] [-16] [-17] [-20]. */
#define MQTT_KEPT \
	(MQTT_HAS(MQTT_P_FORMAT) | MQTT_HAS(MQTT_P_CONTENT_TYPE) | MQTT_HAS(MQTT_P_RESPONSE_TOPIC) | \
	 MQTT_HAS(MQTT_P_CORRELATION) | MQTT_HAS(MQTT_P_USER))

enum mqtt_prop_type {
	MQTT_T_BOOL,   /* one byte, 0 or 1: uint8_t */
	MQTT_T_U16,    /* uint16_t */
	MQTT_T_U32,    /* uint32_t */
	MQTT_T_VARINT, /* 1 to 4 bytes: uint32_t */
	MQTT_T_TEXT,   /* UTF-8 without NUL: struct span */
	MQTT_T_TOPIC,  /* the same, a name that one can publish to */
	MQTT_T_BINARY, /* up to 65535 bytes: struct span */
	MQTT_T_PAIR,   /* two texts; only in `raw` */
};

#define MQTT_WILL 0 /* among the types of packets: the will's properties inside CONNECT */

struct mqtt_prop_kind {
	uint8_t id;       /* as it stands in a packet */
	uint8_t type;     /* enum mqtt_prop_type */
	uint8_t zero;     /* a value of 0 is answered with this reason code; 0 = it is allowed */
	uint8_t offset;   /* of the value in struct mqtt_props; of no use for a pair */
	uint16_t where;   /* a bit for each type of packet that it may be in; bit MQTT_WILL */
	uint16_t repeats; /* the same: where it may come more than once */
	const char *name; /* the standard's, as mosquitto_pub -D takes it: "message-expiry-interval" */
	const char *word; /* in a trace: "expiry" */
};

/* By enum mqtt_prop. */
extern const struct mqtt_prop_kind mqtt_prop_kinds[MQTT_PROPS];

/* The property with this name (the long one), NULL when there is none. */
const struct mqtt_prop_kind *mqtt_prop_named(const char *name);

/*
 * What a packet has. `has` says which; the value of another one is the standard's default as mqtt_props_init() has it.
 * Those that may come more than once (user properties; in PUBLISH subscription identifiers, of which `sub_id` is the
 * last one) are read from `raw` by the functions below.
 *
 * To write: set fields and their bits, or use mqtt_props_set(); `raw` is whatever mqtt_put_user() made, or the raw of
 * a parsed packet: of it only those that may repeat are written, in order, so a parsed struct is written as it was.
 */
struct mqtt_props {
	uint32_t has;                                /* MQTT_HAS(...) | ... */
	uint32_t expiry, session_expiry, will_delay; /* seconds; session_expiry UINT32_MAX = never */
	uint32_t max_packet;                         /* bytes, never 0 in a packet; 0 = absent: no limit */
	uint32_t sub_id;
	uint16_t keep_alive;  /* seconds: the server's wish */
	uint16_t receive_max; /* 65535 when absent */
	uint16_t alias_max, alias;
	uint8_t format;          /* 1 = the payload is UTF-8 */
	uint8_t request_problem; /* 1 when absent */
	uint8_t request_response;
	uint8_t max_qos;                                      /* 0 or 1 in a packet; 2 = absent */
	uint8_t retain_ok, wildcard_ok, sub_id_ok, shared_ok; /* 1 when absent */
	struct span content_type, response_topic, correlation;
	struct span client_id; /* that the server has assigned */
	struct span auth_method, auth_data;
	struct span response_info, server, reason;
	struct span raw; /* encoded properties, without their length */
};

/* Nothing is there, all values are the defaults. */
void mqtt_props_init(struct mqtt_props *p);

/* Set a value and its bit: a number (bool, u16, u32, varint: too large a value is cut) or bytes. Not for pairs. */
void mqtt_props_set(struct mqtt_props *p, enum mqtt_prop which, uint32_t value);
void mqtt_props_set_span(struct mqtt_props *p, enum mqtt_prop which, struct span value);

/*
 * Parse a length and the properties behind it; *at moves behind them. `where` is the type of the packet, or MQTT_WILL.
 * Returns 0 or a reason code, with a word in *ret_why as wire.h has it; *ret is then of no use.
 */
[[nodiscard]] int mqtt_props_parse(struct span *at, unsigned where, struct mqtt_props *ret, const char **ret_why);

/* The next user property, or subscription identifier; *at starts as `raw`. False at the end. */
struct mqtt_user {
	struct span name, value;
};
bool mqtt_user_next(struct span *at, struct mqtt_user *ret);
bool mqtt_sub_id_next(struct span *at, uint32_t *ret);

/*
 * Those of MQTT_KEPT as bytes, in their order: what a message is stored with, and mqtt_put_publish() writes again.
 * `to` has room for raw.n bytes, or is NULL: only count. Returns the bytes. When (has & ~MQTT_KEPT) is 0 they are raw
 * itself.
 */
size_t mqtt_props_kept(const struct mqtt_props *p, uint8_t *to);

/* Of such bytes, from wherever they come: NULL, or a word for what is wrong with them. As keep_props (store/keep.h). */
const char *mqtt_props_wrong(struct span kept);
