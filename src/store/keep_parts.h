/* keep_parts.h - rows of the durable store whose values do not fit twice on a page. See keep_parts.c. */
#pragma once
#include <lmdb.h>

#include "store/keep_walk.h"

enum {
	KEEP_KEY = 32,     /* bytes of a key at most; of a part's: KEEP_PART_KEY more */
	KEEP_WHOLE = 1980, /* bytes of a value that is not stored in parts, at most ... */
	KEEP_PART = 976,   /* ... and of each part but the last */
	KEEP_PART_KEY = 8,
};

/* Where reading is. Empty at first. */
struct keep_parts {
	struct span key, value; /* of the row that was read last */
	bool ahead;             /* and not yet given */
	uint8_t first[KEEP_PART], first_key[KEEP_KEY];
	uint8_t *whole; /* owned; a value that was put together */
	size_t cap;
	uint64_t parts, page; /* rows that were parts; where the last row lies, or 0 */
};
void keep_parts_done(struct keep_parts *p);

/* As walk_next(), with values that are whole. Parts without their row are passed over. What lacks some is given as it lies there. */
[[nodiscard]] int keep_parts_next(struct keep_parts *p, struct walk *w, struct span *ret_key, struct span *ret_value);

/* Writes a row, its value with `more` behind it; parts of another value stay. `tight`: no row will come between this and the one before, so that pages may be full. The error of LMDB. */
[[nodiscard]] int keep_put_parts(MDB_cursor *c, struct span key, struct span value, struct span more, bool tight);

/*
 * Of a message that waits, whose first row this is or has this key: was it passed on; its whole value as a copy that is the caller's, which takes
 * as much memory; and another value of that size in its place, in the rows that there are. 0, ENOMEM, an error of LMDB; MDB_NOTFOUND: it is not
 * there, not whole, or (the last) large and from when there were no parts.
 */
bool keep_was_passed(const MDB_val *row);
[[nodiscard]] int keep_get_message(MDB_cursor *c, struct span key, uint8_t **ret, size_t *ret_n);
[[nodiscard]] int keep_put_same(MDB_cursor *c, struct span key, const uint8_t *value);
