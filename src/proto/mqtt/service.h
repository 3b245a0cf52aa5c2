/* service.h - a broker: what was asked of it, what it counts, what all its loops share. */
#pragma once
#include <stdatomic.h>

#include "conf/option.h"
#include "core/proto.h"
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
	MQTT_REDELIVERED,
	MQTT_SESSIONS_REFUSED,
	MQTT_BRIDGED,
	MQTT_BRIDGE_FAILED,
	MQTT_DENIED,
};

enum mqtt_when_full { MQTT_DROP, MQTT_REFUSE };

struct mqtt_options {
	size_t packet;
	unsigned queue, inflight, receive_max, levels, subscriptions, retained, aliases, keepalive_max;
	unsigned message_rate, sessions;
	size_t queue_bytes, byte_rate, retained_bytes;
	uint64_t session_expiry_max, sys_interval;
	size_t disk;
	unsigned durability; /* of enum mqtt_durability */
	enum mqtt_when_full queue_full;
	bool retain;
	struct option_parts bridge;                    /* bridge.h */
	char *response_information, *server_reference; /* NULL: none */
};

enum mqtt_durability { MQTT_ACK, MQTT_LAZY };

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
	_Atomic uint64_t named;  /* client identifiers that were assigned */
	_Atomic uint64_t met;    /* the last bridge of ours that came to ourselves, by its name there; 0: none did */
	_Atomic uint32_t *heard; /* by loop: subscriptions in its index */
	struct mqtt_tallies *tallies; /* by loop */
	struct keep *keep;            /* NULL: all is in memory alone */
	struct port *port;
	char *name, *folder; /* for the log; owned: a reload makes another svc */
	_Atomic bool lazy;   /* nobody waits for the disk */
	_Atomic size_t disk; /* bytes that the store may have */
};

static inline const struct mqtt_options *mqtt_options(const struct io *io)
{
	return io->svc->options;
}

static inline struct mqtt_service *mqtt_service(const struct io *io)
{
	return io->svc->state;
}
