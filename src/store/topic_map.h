/*
 * topic_map.h - texts by their hash. Intrusive: the link is embedded in whoever has the text. The table grows and
 * shrinks by one bucket at a time (linear hashing), so that no insertion into a million pays for moving all of them.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct topic_link {
	struct topic_link *next;
	uint32_t hash;
	uint32_t n; /* bytes of the text; the owner's, kept here because there is room */
};

struct topic_map {
	struct topic_link ***pages; /* of 512 buckets each */
	uint32_t n_pages, cap_pages;
	uint32_t n, buckets, half; /* links; buckets in use; the largest power of two <= buckets */
};

/* A map of zeroes is empty. Frees the table, not the owners. */
void topic_map_done(struct topic_map *m);

/*
 * Puts the link in; its `hash` is set by the caller. 0, or -ENOMEM, which only the first one can meet, and not even
 * that after topic_map_open(): later on a lack of memory makes the map slower.
 */
[[nodiscard]] int topic_map_add(struct topic_map *m, struct topic_link *link);
[[nodiscard]] int topic_map_open(struct topic_map *m); /* 0 or -ENOMEM */

void topic_map_del(struct topic_map *m, struct topic_link *link); /* it must be in */

/* The first of the links that may have this hash; follow `next`, and compare hash and text. NULL: none. */
struct topic_link *topic_map_first(const struct topic_map *m, uint32_t hash);
