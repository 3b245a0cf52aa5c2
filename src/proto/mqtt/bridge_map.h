/*
 * bridge_map.h - what of two brokers is one: which topics go which way, and what they are called on either side. A line for each,
 * in mosquitto's order:
 *
 *	PATTERN [out|in|both [QOS [LOCAL-PREFIX [REMOTE-PREFIX]]]]
 *
 * The pattern is a filter behind both prefixes; "" is no prefix, and a pattern "" is the one topic that each prefix is.
 */
#pragma once
#include "base/span.h"
#include "base/str.h"

enum bridge_way { BRIDGE_IN = 1, BRIDGE_OUT = 2, BRIDGE_BOTH = 3 };

struct bridge_topic {
	uint8_t way;                             /* enum bridge_way */
	uint8_t qos;                             /* at most */
	struct span local, remote;               /* prefixes */
	struct span local_filter, remote_filter; /* with the pattern */
	struct str_words words;                  /* that these are in */
	char *filters;
};

struct bridge_map {
	struct bridge_topic *v;
	size_t n;
};

/* 0; -ENOMEM; -EINVAL with a sentence for each line that is wrong, `2: ...` of the second one. Free it in any case. */
[[nodiscard]] int bridge_map_parse(const char *text, struct bridge_map *ret, struct buf *why);
void bridge_map_done(struct bridge_map *m);

/*
 * The name that a topic has on the other side (`way`: BRIDGE_OUT from here, BRIDGE_IN from there), by the first line that it
 * fits, in `out` (reset first). 0; -ENOENT: by none, it stays here; or the buffer's error.
 */
[[nodiscard]] int bridge_map_topic(const struct bridge_map *m, enum bridge_way way, struct span topic, struct buf *out);
