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
	bool kept;   /* how far it has come is on disk, in one batch with what was sent */
	/*
	 * Something could not be written: the place on disk is not moved any more, not by the end either, until its filter is subscribed to
	 * again. A restart repeats what came since.
	 */
	bool gap;
};

/* In place of the one of this filter, if there is one, and behind all others. 0; -ENOMEM: that one is as it was. */
[[nodiscard]] int replay_add(struct replay **all, struct span filter, struct replay **ret);

struct span replay_filter(const struct replay *r);
const struct replay *replay_find(const struct replay *all, struct span filter); /* or NULL */
void replay_drop(struct replay **all, struct span filter);                      /* if there is one */
void replay_drop_all(struct replay **all);
