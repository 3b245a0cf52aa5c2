/* proto_svc.h - a service, as its protocol sees it. Part of proto.h. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTO_COUNTERS 16 /* that a protocol may have */

/* What it counts by io_count(): what `guichet stats` calls it, and says about it. */
struct proto_counter {
	const char *name, *help;
};

typedef uint64_t nsec; /* monotonic nanoseconds; comes only from io->now */

#define SEC 1000000000ull
#define MSEC 1000000ull

struct access;
struct events;
struct port;
struct proto;

/* A service: one section of the configuration. Immutable while anybody holds it. */
struct svc {
	const char *name;
	const char *host; /* the name of this machine; NULL: it has none that is fit for one */
	const struct proto *proto;
	const void *options;     /* values of proto->options */
	void *state;             /* what svc_open() made; shared by all threads of the process */
	struct port *port;       /* to every loop of this service; NULL for a protocol without shards */
	const char *folder;      /* of P_KEEPS: its own, made when it is opened; NULL: nothing outlives the process */
	const char *folder_name; /* for messages: a path that people know */
	nsec now;                /* when it was opened, by io->now; and at that moment: */
	uint64_t wall;           /* milliseconds since 1970 */
	struct access *access;   /* store/access.h: people and rules, the same for all services; NULL: there are none */
	struct events *events;   /* store/events.h: what happens in all processes; NULL: nobody tells */
	struct {
		size_t input;  /* most unread input a session may hold */
		size_t output; /* hard cap on queued output; at least proto->output_least() */
		nsec idle;     /* no byte in either direction for so long ends it; 0 = never */
		nsec first;    /* a handshake must be over by then, and the first message there (P_FIRST); 0 = never */
		nsec auth;     /* a login (P_LOGIN); 0 = never */
		nsec linger;   /* how long a close waits for the peer's FIN */
		size_t min_rate; /* bytes a second, of a message that has begun, and of output that waits; 0 = none */
		nsec rate_time;  /* over which it is taken */
	} limits;
	bool trace;
};
