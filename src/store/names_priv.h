/*
 * names_priv.h - the order of the names (names.c), as the walk (names_walk.c) sees it.
 */
#pragma once
#include "store/names.h"

struct names {
	struct topic_map map;
	struct name *root;
	struct topic_key key;
};

/* A place in the order: two pieces of text, the one behind the other. */
struct names_mark {
	struct span base, more;
};

int names_order(struct span a, struct span b);
struct name *names_seek(const struct names *ix,
			const struct names_mark *m); /* the first that is not before it, or NULL */
struct name *names_next(const struct name *node);    /* or NULL */
