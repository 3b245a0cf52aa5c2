/* connect_priv.h - the protocol inside connect.c, for its test. */
#pragma once
#include "client/connect.h"
#include "core/proto.h"

enum { TERMINAL = 1, SERVER }; /* tags of the channels */

/* What the protocol is given as its options, and where it says how it went. Outlives the session. */
struct connection {
	const struct connect_setup *setup;
	struct dial dial;
	struct buf *why;
	int err;
};

extern const struct proto connect_proto;
