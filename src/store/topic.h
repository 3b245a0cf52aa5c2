/*
 * topic.h - what is a topic name, what is a topic filter, and which filter goes with which name: section 4.7 of MQTT
 * 5.0, which is the same in 3.1.1. Pure functions over borrowed bytes.
 *
 * A text has levels, separated by `/`; a level may be empty, so `/` has two. The caller has checked that a text is
 * UTF-8 (base/utf8.h) [MQTT-4.7.3-2 but for NUL, which is looked for here].
 */
#pragma once
#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"

enum {
	TOPIC_LEVELS = 64,      /* levels that a text may have, unless the caller wants another limit */
	TOPIC_LEVELS_MAX = 256, /* the limit of that limit: filters.h and names.h have room for no more */
	TOPIC_BYTES = 65535,    /* [MQTT-4.7.3-3] */
};

/*
 * May it be published to, may it be subscribed to? `levels` is the most it may have. 0, or what is wrong:
 *	-EINVAL  empty [MQTT-4.7.3-1]; a NUL [MQTT-4.7.3-2]; in a name `+` or `#` [MQTT-4.7.1-1]; in a filter one of
 *	         them that is not a whole level, or a `#` that is not the last [MQTT-4.7.1-1, 4.7.1-2]
 *	-E2BIG   too many levels, or above TOPIC_BYTES
 * `$share/...` is nothing special here: take it apart first.
 */
[[nodiscard]] int topic_check_name(struct span name, unsigned levels);
[[nodiscard]] int topic_check_filter(struct span filter, unsigned levels);

bool topic_is_exact(struct span filter); /* it has no wildcard, so there is one name that it matches */

/*
 * `$share/GROUP/FILTER` (section 4.8.2). The parts borrow from `text`; without `$share/` at the start the group is
 * empty and the filter is all of it. -EINVAL: the group is empty or has a `+` or `#`, or no `/` follows it
 * [MQTT-4.8.2-1, 4.8.2-2]. The filter is not looked at: topic_check_filter() refuses an empty one too.
 */
[[nodiscard]] int topic_split_share(struct span text, struct span *ret_group, struct span *ret_filter);

/*
 * Is it the server's alone to publish: `guichet`, and what is below? As with `$`, a wildcard at the start does not lead there. Filters
 * too: is all that it matches?
 */
bool topic_is_own(struct span text);

/* Does it match? A wildcard at its start matches no name that begins with `$` [MQTT-4.7.2-1]. Both are valid. */
bool topic_matches(struct span filter, struct span name);

/* The same for what is left of both from some level on, where `$` means nothing; for indexes. */
bool topic_rest_matches(struct span filter, struct span name);

/*
 * Rules need to know: is every name that `narrow` matches one that `wide` matches; is there a name that both match?
 * Exact answers, as far as names may have any number of levels.
 */
bool topic_covers(struct span wide, struct span narrow);
bool topic_overlap(struct span a, struct span b);

/*
 * A rule's pattern is a filter in which %u stands for the user, %c for the client id and %% for a percent sign; any
 * other % is itself. It is a valid pattern if it is a valid filter as it stands. The filter goes into `out` (reset
 * first).
 *
 * -ENOENT: it matches nothing. So it is when it asks for somebody whose name is empty, has a `/`, `+`, `#` or NUL in
 * it, or has a `$` where the filter begins: such a name would make the rule wider than it was written
 * (CVE-2017-7650). Else 0 or the buffer's error.
 */
[[nodiscard]] int topic_fill(struct span pattern, struct span user, struct span client, struct buf *out);
