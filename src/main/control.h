/*
 * control.h - what the control socket speaks. One line asks, the answer comes, the connection ends:
 *	stats json | stats text | reload | version
 * The socket is its owner's alone (mode 0600), so whoever can connect may ask.
 */
#pragma once
#include "core/proto.h"

#define CONTROL_TEXT 4096

struct server;

/* The state of the service; the main thread's, like the loop that it is served on. */
struct control {
	struct server *server;   /* NULL until there is one */
	void (*tell)(void *arg); /* before counters are shown: whoever has some writes them down; NULL: nobody else */
	void *arg;
	unsigned reloads;        /* that have ended */
	bool reloading;          /* one is under way, with the files as they were */
	bool failed;             /* the last one */
	char text[CONTROL_TEXT]; /* what there is to say about it: lines, each with its end */
};

/* What an answer may be: the counters of some thousand services. */
#define CONTROL_OUTPUT (16ul << 20)

extern const struct proto control_proto;
