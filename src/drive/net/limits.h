/*
 * limits.h - one table of who has how much, for all doors: open connections and new ones by source, and sources that are not let
 * in for a while. docs/design/limits.md says what it is for and what it cannot do. Pure: time comes in, tests need no socket.
 *
 * It has a fixed size, no pointer and no lock, so that it can lie in a mapping that processes share, and one that is killed at
 * any instruction leaves it whole: what the dead one held is counted under its own number and given back by limits_drop().
 */
#pragma once
#include <stdatomic.h>

#include "core/proto.h"

enum {
	LIMITS_SLOTS = 1 << 14,     /* of sources with something open, or that came in this second */
	LIMITS_PENALTIES = 1 << 12, /* of sources that are not let in, or are on their way there */
	LIMITS_OWNERS = 64,         /* processes that hold something */
	LIMITS_HELD = 60000,        /* most connections of a source that can be counted */
};

/* A source is an IPv4 address (also when it is mapped into IPv6), or an IPv6 /64. 16 bytes, to be copied anywhere. */
struct limits_source {
	uint64_t net;
	uint8_t family; /* 4, 6; 0: none (a pipe, a unix socket), and nothing limits it */
	bool loopback;
};

/* Of an address; IPv6 has 16 bytes, network order. */
struct limits_source limits_of_peer(const struct peer *p); /* NULL: none */
struct limits_source limits_of_route(const struct route *r);
struct limits_source limits_of_bytes(const uint8_t *b, unsigned n); /* 4 or 16; others: none */

struct limits_slot {
	_Atomic uint64_t key;                 /* of (service, source); 0: free */
	_Atomic uint64_t since;               /* when the oldest token began to come, in ns */
	_Atomic uint16_t open[LIMITS_OWNERS]; /* the only count there is: the sum is the source's */
};

struct limits_penalty {
	_Atomic uint64_t key;
	_Atomic uint64_t until;   /* when it ends */
	_Atomic uint64_t strikes; /* how many, and when they are forgotten */
};

struct limits {
	uint64_t key[2];         /* random: nobody can choose whom to share a place with */
	_Atomic uint64_t latest; /* the end of the last penalty: mostly past, and then nothing is looked up */
	struct limits_slot slots[LIMITS_SLOTS];
	struct limits_penalty penalties[LIMITS_PENALTIES];
};

/* Of zeroed memory: draws its key. Once, before others see it. 0 or -errno. */
[[nodiscard]] int limits_init(struct limits *t);

enum limits_verdict {
	LIMITS_OK,
	LIMITS_FULL, /* no place for this source: it is let in and not counted */
	LIMITS_PER_SOURCE,
	LIMITS_RATE,
};

/* Of one service. */
struct limits_rule {
	uint32_t service;    /* its number, the same in all processes */
	unsigned per_source; /* connections that a source may have open; 0 = no limit; at most LIMITS_HELD */
	unsigned rate;       /* new ones a second, and as many at once after a second without any; 0 = no limit */
};

/*
 * A connection comes. LIMITS_OK and LIMITS_FULL let it in; *ret_ticket is then what to give back with limits_leave(), or 0:
 * nothing. A ticket is a number: another process may keep it, and give it back in the owner's name. Any thread.
 */
[[nodiscard]] enum limits_verdict limits_enter(struct limits *t, unsigned owner, const struct limits_rule *rule,
					       const struct limits_source *src, nsec now, uint32_t *ret_ticket);
void limits_leave(struct limits *t, unsigned owner, uint32_t ticket); /* 0 is fine */

/* All that this process held: it is dead, or has closed everything. Before its number is given to another one. */
void limits_drop(struct limits *t, unsigned owner);

/* ---- penalties: of a source at all doors ---- */

/* Until then it is not let in; what is later already stays. No room: the one that would end first makes room. */
void limits_penalise(struct limits *t, const struct limits_source *src, nsec until);
bool limits_is_penalised(struct limits *t, const struct limits_source *src, nsec now);

/* It did something once more. True: that was the `most`-th time (1 to 255) within `within`, and it is penalised for `penalty`. */
enum limits_deed { LIMITS_CRASH = 1, LIMITS_LOGIN };
bool limits_strike(struct limits *t, enum limits_deed deed, const struct limits_source *src, nsec now, unsigned most,
		   nsec within, nsec penalty);
