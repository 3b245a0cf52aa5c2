/*
 * names.h - names of topics in order: which of a million names does this filter match? The question of retained
 * messages, the opposite of filters.h. One thread, no lock; where there are more, any number may find and step at
 * once, and one add or del alone.
 *
 * The node is embedded in its owner (48 bytes; with the table of hashes 60 for each name) and the bytes of the name
 * are the owner's, so that adding needs almost no memory. A name is found by hash; a filter by walking through the
 * names in order, which leaps over all that cannot match.
 *
 * The order is that of levels: `/` sorts before every other byte, so a topic comes directly before what is below it.
 */
#pragma once
#include <stdbool.h>

#include "base/span.h"
#include "store/topic_hash.h"
#include "store/topic_map.h"

/* Embedded in the owner. All of it belongs to the index. */
struct name {
	struct topic_link link;
	struct name *up, *kid[2]; /* a treap: in order from left to right, and no hash is above that of its parent */
	const uint8_t *p;
};

struct names;

static inline struct span name_text(const struct name *n)
{
	return (struct span){ n->p, n->link.n };
}

[[nodiscard]] struct names *names_new(const struct topic_key *key); /* NULL: out of memory */
void names_free(struct names **ix); /* the index only: owners that are still in it must not be taken out any more */

/*
 * Puts a valid name in. `text` is borrowed until names_del(). 0, -EEXIST, or -ENOMEM (only when the index was empty);
 * then nothing happened.
 */
[[nodiscard]] int names_add(struct names *ix, struct name *node, struct span text);

void names_del(struct names *ix, struct name *node); /* it must be in */

struct name *names_find(const struct names *ix, struct span text); /* or NULL */

size_t names_count(const struct names *ix);
struct name *names_any(
	const struct names *ix); /* one of them, to take all out one after the other; NULL: there is none */

/* From now on the same bytes are borrowed from here: a message was replaced by the next one of its topic. */
static inline void names_reborrow(struct name *node, const uint8_t *p)
{
	node->p = p;
}

/*
 * A walk through the names that match a filter, in their order, in as many steps as one likes. Between two steps
 * names may come and go: what was there all the time is given exactly once, what came or went meanwhile perhaps, and
 * nothing twice. A cursor keeps the text of its place, no pointer into the index; zeroes are a closed one.
 */
struct names_cursor {
	uint8_t *bytes; /* the filter, then the name to go on with */
	uint32_t filter_n, at_n, cap;
	bool over; /* there are no more */
};

/* The filter is valid, has at most TOPIC_LEVELS_MAX levels, and is copied. 0 or -ENOMEM. */
[[nodiscard]] int names_cursor_open(struct names_cursor *c, struct span filter);
void names_cursor_close(struct names_cursor *c);

/* The name that it goes on with, empty: the first; valid until the next step. And: it goes on with that one. 0 or -ENOMEM. */
struct span names_cursor_at(const struct names_cursor *c);
[[nodiscard]] int names_cursor_go(struct names_cursor *c, struct span name);

/*
 * Goes on. Looks at no more than `max` names, whether they match or not, each at the cost of a lookup in the order at
 * most (1 to 3 us among a million): 1,000 take 3 ms. Returns how many it put into ret_found, 0 too when c->over is
 * not yet set; or -ENOMEM, and then the cursor is where it was. The names found are valid until the next names_del().
 */
[[nodiscard]] int names_step(const struct names *ix, struct names_cursor *c, struct name **ret_found, uint32_t max);
