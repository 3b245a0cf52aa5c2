/*
 * mqtt_link.h - a client's connection to a broker, as `guichet pub` and `guichet sub` share it: dials, CONNECT, keep
 * alive, again after a loss, DISCONNECT. A part of a protocol without a connection of its own (see connect.c): its step
 * gives each event to mqtt_link_step() first, which calls back through struct mqtt_ends.
 *
 * Two channels: the server, and the terminal (standard input and output) that is there from the beginning and held until
 * somebody wants to read it. Texts are mosquitto's, because scripts look for them.
 */
#pragma once
#include "client/dial.h"
#include "core/proto_child.h"
#include "proto/mqtt/write.h"

enum { MQTT_TERMINAL = 1, MQTT_SERVER };                        /* tags of the channels */
enum { MQTT_ALIVE, MQTT_AGAIN, MQTT_OWN, MQTT_OWN_TIMERS = 2 }; /* timers: MQTT_OWN and the next are the owner's */

/* Exit statuses of mosquitto's clients; a refusal's code is one too. */
enum {
	MQTT_EXIT_FAILED = 1,
	MQTT_EXIT_PROTOCOL = 2,
	MQTT_EXIT_LOST = 7,
	MQTT_EXIT_TIMEOUT = 27,
};

/* What the command line says. Borrowed for the run. */
struct mqtt_setup {
	struct dial_setup dial;
	struct mqtt_connect connect; /* its texts are checked; version, properties and will included */
	bool no_id;                  /* nobody gave a client identifier: 3.1 makes one, later versions need none */
	struct mqtt_props disconnect;
	bool debug, quiet;
	bool once;                        /* no second try after a loss */
	bool stdio;                       /* the terminal is needed, for more than debugging */
	void (*say)(const char *text);    /* a line for standard error, without its end */
	uint64_t (*wall)(void);           /* ns since 1970 */
	int (*random)(void *p, size_t n); /* 0 or -errno */
};

struct mqtt_link;

struct mqtt_ends {
	enum verdict (*up)(struct mqtt_link *l, bool session_present, struct io *io); /* CONNACK said yes */
	/* Anything but CONNACK, PINGRESP, DISCONNECT. */
	enum verdict (*packet)(struct mqtt_link *l, const struct mqtt_frame *f, struct io *io);
	enum verdict (*room)(struct mqtt_link *l, struct io *io);  /* the server's output has room again */
	enum verdict (*input)(struct mqtt_link *l, struct io *io); /* the terminal has input, or its end */
	void (*opened)(struct mqtt_link *l, struct io *io);        /* connected, but no answer yet; may be NULL */
};

enum mqtt_link_state {
	LINK_IDLE,  /* waits for the next try */
	LINK_DIALS, /* on its way, TLS and WebSocket included */
	LINK_ASKS,  /* CONNECT was sent */
	LINK_UP,
	LINK_ENDS, /* DISCONNECT was sent */
};

/* First member of the session's self. */
struct mqtt_link {
	const struct mqtt_setup *setup;
	const struct mqtt_ends *ends;
	struct mqtt_outcome *outcome;
	enum mqtt_link_state state;
	bool was_up, ping_waits, full; /* full: the terminal is, so the server is held */
	bool lost;                     /* the connection that is ending was broken */
	unsigned tries;                /* since it was up last */
	nsec alive;                    /* 0 = no keep alive */
	nsec sent;                     /* when something was, last */
	struct mqtt_props agreed;      /* of CONNACK; the defaults before, and with 3.x. Its texts are gone */
	char name[64];                 /* for debug lines */
};

/* How it went; what the protocol's options point to. Outlives the session. */
struct mqtt_outcome {
	const struct mqtt_setup *setup;
	const void *more; /* the owner's own options */
	struct dial dial;
	int status; /* exit status */
};

/* Runs a protocol whose self begins with a link; returns the exit status. Everything was said. */
int mqtt_link_run(const struct proto *p, const struct mqtt_setup *setup, const void *more);

/* At EV_OPEN of the session. */
void mqtt_link_init(struct mqtt_link *l, const struct mqtt_ends *ends, struct io *io);

/* Takes every event but EV_TIMER of the owner's. */
enum verdict mqtt_link_step(struct mqtt_link *l, const struct ev *ev, struct io *io);

/* DISCONNECT behind all that is queued, then the end. Nothing comes through `ends` any more. */
enum verdict mqtt_link_end(struct mqtt_link *l, uint8_t code, struct io *io);

/* The same with an error: `status` is the exit status unless there is one already. Text may be NULL. */
enum verdict mqtt_link_fail(struct mqtt_link *l, int status, struct io *io, const char *text);

/* What wants to be told on standard error, unless --quiet; and with -d on standard output. */
void mqtt_say(const struct mqtt_link *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void mqtt_debug(const struct mqtt_link *l, struct io *io, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The server's channel when packets may be written to it, or NULL. */
struct io *mqtt_server(const struct mqtt_link *l, struct io *io);

/* Writes. */
void mqtt_send_id(struct mqtt_link *l, struct io *io, enum mqtt_type type, uint16_t id);
void mqtt_send_list(struct mqtt_link *l, struct io *io, const struct mqtt_list *list);
/* 0, or -EMSGSIZE: the server does not take one so large. `body`, if there is one, is the payload: shared, not copied. */
[[nodiscard]] int mqtt_send_publish(struct mqtt_link *l, struct io *io, const struct mqtt_publish *p,
				    struct blob *body);

/* After output for the terminal: when it is full the server is held until there is room. */
void mqtt_pace(struct mqtt_link *l, struct io *io);
