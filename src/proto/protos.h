/*
 * protos.h - every protocol of the program. A new one is one more line in PROTOS, and everything else finds it: the
 * configuration, `guichet help`, `guichet serve`, the tests.
 */
#pragma once
#include <stddef.h>

#include "base/buf.h"
#include "core/proto.h"

/* Sorted by name. */
#define PROTOS(X) \
	X(chargen) \
	X(chat) \
	X(daytime) \
	X(discard) \
	X(echo) \
	X(mqtt) \
	X(qotd) \
	X(relay) \
	X(skeleton) \
	X(time)

#define X(name) extern const struct proto name##_proto;
PROTOS(X)
#undef X

/* The same as an array, NULL-ended. */
extern const struct proto *const protos[];

/* The protocol of that name, or NULL. */
const struct proto *protos_find(const char *name);

/*
 * Is every protocol complete and sound, and do they go together? Called once at start; a fault is ours, never a user's.
 * 0, or -EINVAL and a sentence with the protocol's name.
 */
[[nodiscard]] int protos_check(struct buf *ret_why);

/* The same for another array, NULL-ended; and for one alone, without regard to the others. */
[[nodiscard]] int protos_check_all(const struct proto *const *v, struct buf *ret_why);
[[nodiscard]] int protos_check_one(const struct proto *p, struct buf *ret_why);
