/*
 * heap.h - deadlines in order: a binary min-heap of (key, node). The node is embedded in its owner and
 * knows its place, so moving and removing cost O(log n) without a search.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	uint32_t at; /* place in the heap + 1; 0 = not in it */
};

struct heap_slot {
	uint64_t key;
	struct heap_node *node;
};

struct heap {
	struct heap_slot *v;
	uint32_t n, cap;
};

void heap_done(struct heap *h); /* frees the array, not the owners */

/* Puts the node in, or moves it to its new key. 0 or -ENOMEM (only when it was not in). */
[[nodiscard]] int heap_set(struct heap *h, struct heap_node *node, uint64_t key);

/* Makes room for n nodes in all, so that heap_set() cannot fail for them. 0 or -ENOMEM. */
[[nodiscard]] int heap_reserve(struct heap *h, uint32_t n);

void heap_del(struct heap *h, struct heap_node *node); /* nothing when it is not in */

/* The node with the smallest key, or NULL; and its key. */
struct heap_node *heap_min(const struct heap *h, uint64_t *ret_key);
