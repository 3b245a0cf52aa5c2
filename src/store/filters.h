/*
 * filters.h - the subscriptions of one loop: which of a hundred thousand filters match this name? One thread, no
 * lock; where there are more, any number may match and find at once, and one add or del alone.
 *
 * A filter is stored once, whoever subscribes to it; it lives while somebody does. What hangs on it belongs to the
 * subscribers: a `struct filter_sub` embedded in the session's subscription, 24 bytes, and nothing more for the
 * second one of a filter. A new filter costs its text and about 75 bytes, allocator included; one with wildcards that
 * shares its first levels with just one other brings a node for each of those levels, of about 80.
 *
 * Filters without wildcards are in a hash table, the others in a trie of levels. The hashes have a secret key, so
 * that nobody can choose filters that collide. One match costs a lookup and a walk. The walk goes to a node of the
 * trie at most once, and only to those whose path matches the beginning of the name: at depth d to at most 2^d (a
 * level as it is, and `+`), and never to more than there are, which is less than (all filters with wildcards) *
 * (levels). It does not recurse.
 */
#pragma once
#include "base/list.h"
#include "base/span.h"
#include "store/topic_hash.h"
#include "store/topic_map.h"

struct filters;
struct trie_node;

/* What the subscribers of one text hang on. Read `subs` and `n_subs`; the rest is the index's own. */
struct filter {
	struct list subs; /* of filter_sub.in_filter, in the order of subscription */
	uint32_t n_subs;
	uint32_t tail;          /* with wildcards: where in the text the level begins that leads here from `up` */
	struct trie_node *up;   /* with wildcards: the node it hangs on; NULL: it is in the hash table */
	struct topic_link link; /* n is always the text's size */
	uint8_t text[];
};

/* Embedded in a subscription. Zeroes are one that is nowhere. */
struct filter_sub {
	struct list in_filter;
	struct filter *filter; /* NULL: in none */
};

static inline struct span filter_text(const struct filter *f)
{
	return (struct span){ f->text, f->link.n };
}

[[nodiscard]] struct filters *filters_new(const struct topic_key *key); /* NULL: out of memory */
void filters_free(struct filters **ix); /* no subscription may be left in it; NULL is fine, and set */

/*
 * Subscribes. The text is copied; it is without `$share/GROUP/`. `sub` is in no filter yet. -ENOMEM: all is as it
 * was; or what topic_check_filter() says of TOPIC_LEVELS_MAX levels. That a session subscribes once to a filter is
 * the session's affair.
 */
[[nodiscard]] int filters_add(struct filters *ix, struct span filter, struct filter_sub *sub);

/* Takes it out; nothing when it is in none. The last one frees the filter and every pointer to it ends. */
void filters_del(struct filters *ix, struct filter_sub *sub);

/* The filter with exactly this text, or NULL. */
struct filter *filters_find(const struct filters *ix, struct span filter);

/* What a match found. Zeroes at first; kept by the caller from one to the next: then nothing is allocated any more. */
struct filters_found {
	struct filter **v;
	uint32_t n, cap;
	uint32_t visited; /* nodes and filters of the trie that this match looked at: what it cost */
};

/*
 * All filters that match a valid name, each once, in no order. They stay valid until the next filters_add() or
 * filters_del(). 0, or -ENOMEM and then n is 0.
 */
[[nodiscard]] int filters_match(const struct filters *ix, struct span name, struct filters_found *out);
void filters_found_done(struct filters_found *out);

/*
 * Another number after each filters_add() and filters_del() that did something, never 0: what was found for a name is
 * still all of it, and still there, while this is the same.
 */
uint64_t filters_generation(const struct filters *ix);

struct filters_count {
	uint32_t subs, exact, wild; /* subscriptions; filters without and with wildcards */
	uint32_t nodes;             /* of the trie, inner ones, besides its root */
};

struct filters_count filters_count(const struct filters *ix);
