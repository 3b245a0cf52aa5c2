/* connect_priv.h - the protocol inside connect.c, for its test. */
#pragma once
#include "client/connect.h"
#include "core/proto.h"

struct tls_ctx;
struct ws_ctx;

enum { TERMINAL = 1, SERVER }; /* tags of the channels */

/* What the protocol is given as its options, and where it says how it went. Outlives the session. */
struct connection {
	const struct connect_setup *setup;
	char address[ADDR_HOST_MAX + ADDR_PATH_MAX + 64];
	struct tls_ctx *tls; /* NULL: not secure */
	struct ws_ctx *ws;   /* NULL: no WebSocket */
	struct buf *why;
	int err;
};

extern const struct proto connect_proto;
