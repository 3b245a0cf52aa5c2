/*
 * filters_priv.h - what the table of texts (filters.c) and the trie of the filters with wildcards (filters_trie.c)
 * share.
 *
 * A node stands for levels that at least two filters begin with. Where there is only one, the filter itself is the
 * child (a leaf) and its text says how it goes on; so most filters cost no node. Invariant: below every node but the
 * root are two filters.
 */
#pragma once
#include "store/filters.h"

/* A pointer to a node, or to a filter plus 1; 0: nothing. */
typedef uintptr_t trie_ref;

struct trie_node {
	struct topic_link link; /* in `edges`; its n is the label's size, and NODE_BIT (filters_trie.c) */
	struct trie_node *up;
	struct filter *here; /* the filter that ends with this level */
	struct filter *rest; /* this level and then `#` */
	trie_ref plus;       /* `+` */
	trie_ref kids;       /* all other children, exclusive-ored: if there is only one, it */
	uint32_t n_kids;
	uint8_t label[]; /* its own level */
};

struct filters {
	struct topic_map exact; /* filters without wildcards, by text */
	struct topic_map edges; /* the children of all nodes, by node and level, but for those at `+` and `#` */
	struct trie_node *root;
	struct topic_key key;
	uint64_t generation;
	struct filters_count count;
};

[[nodiscard]] struct trie_node *trie_new(void);
[[nodiscard]] int trie_add(struct filters *ix,
			   struct filter *f); /* it is not in there yet; 0, or -ENOMEM and all as before */
void trie_del(struct filters *ix, struct filter *f);
struct filter *trie_find(const struct filters *ix, struct span text);
[[nodiscard]] int trie_match(const struct filters *ix, struct span name, struct filters_found *out);

/* Adds to what was found; 0 or -ENOMEM. */
[[nodiscard]] int filters_found_add(struct filters_found *out, struct filter *f);
