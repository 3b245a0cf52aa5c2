/*
 * replay.h - what a subscriber is still to be sent of what is retained: for each filter a place in the order of names. It ends with its
 * subscriber and not with a connection; with `kept` neither with the process (keep_subscription.owed).
 */
#pragma once
#include "store/names.h"

struct replay {
	struct replay *next;
	struct names_cursor cursor;
	uint32_t id; /* as its subscription's */
	uint8_t qos; /* likewise */
	bool kept;   /* its place is on disk, with all that was sent before it */
	bool gap;    /* what was sent last is not: there the place stays, until this is over */
};

/* In place of the one of this filter, if there is one, and behind all others. 0 or -ENOMEM. */
[[nodiscard]] int replay_add(struct replay **all, struct span filter, struct replay **ret);

struct span replay_filter(const struct replay *r);
const struct replay *replay_find(const struct replay *all, struct span filter); /* or NULL */
void replay_drop(struct replay **all, struct span filter);                      /* if there is one */
void replay_drop_all(struct replay **all);
