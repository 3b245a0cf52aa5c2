/* people_priv.h - what the files of people.h share. */
#pragma once
#include <stdatomic.h>

#include "store/people.h"

struct people {
	_Atomic unsigned refs;
	struct person **v; /* by name */
	size_t n, cap;
	struct person **hashed; /* those of v that have a hash; made by people_parse() */
	size_t n_hashed;
	size_t damaged;
	char *decoy; /* what is computed when nobody has a hash; NULL: not made yet */
};

/* people_hash.c. One slow hash; 0 and whether it is the password's, or -errno: it could not be computed. */
[[nodiscard]] int people_hash_try(const char *hash, struct span password, bool *ret_right);
[[nodiscard]] int people_hash_setting(struct buf *ret); /* the start of a new one: kind, cost and salt. 0 or -errno */

/* Base64 with padding, strictly. The bytes, at most `size`; -EINVAL: it is none, or there are more. */
[[nodiscard]] int people_base64(struct span text, uint8_t *ret, size_t size);
void people_add_base64(struct buf *b, const uint8_t *p, size_t n);

/* people.c. */
void person_free(struct person *who);
