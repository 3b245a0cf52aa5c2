/* keep_walk.h - the pages of the file, read by ourselves; for the durable store alone. See keep_priv.h. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum { WALK_DEPTH = 24 };

struct walk_level {
	uint8_t *page; /* owned; stays for the next page of this level */
	unsigned at, n;
	bool leaf;
	struct span from, to; /* keys are at least, and below; empty = no bound. In pages of the levels above */
};

/* A tree of LMDB, as the file says it is. */
struct walk_tree {
	uint16_t depth;
	uint64_t branches, leaves, overflows, entries, root;
};

struct walk {
	int fd; /* borrowed */
	uint64_t size;
	uint32_t page;
	uint64_t serial, last; /* of the meta page that counts: transaction, last page in use */
	struct walk_tree free_pages, rows;

	uint8_t *seen; /* a bit for each page up to `last` */
	struct walk_level level[WALK_DEPTH];
	unsigned depth;
	struct walk_tree want, have; /* of the tree that is walked, as it should be, as it was found */
	bool numbers;                /* its keys are */
	uint8_t *large;              /* of a value with pages of its own */
	size_t large_cap;
	uint8_t before[512]; /* the last key */
	size_t before_n;
	uint64_t faults; /* pages and nodes that were passed over */
	char what[96];   /* the first of them */
	int err;         /* -ENOMEM */
};

/* Finds the meta page that counts. 0; -EBADMSG: none can be used; -EPROTONOSUPPORT: another format; -ENOMEM, -EIO */
[[nodiscard]] int walk_open(int fd, struct walk *ret);
void walk_done(struct walk *w);
void walk_fault(struct walk *w, const char *what, uint64_t page);

void walk_rows(struct walk *w);       /* from the first row on */
void walk_rows_whole(struct walk *w); /* all of them were read: is it as many as there should be? */
void walk_free_pages(struct walk *w); /* afterwards: are they those of nobody? */

/* Key and value as they lie there; until the next call. 1, 0, or -ENOMEM. What is damaged is passed over. */
[[nodiscard]] int walk_next(struct walk *w, struct span *ret_key, struct span *ret_value);
