/*
 * ids.h - the numbers by which sessions are named: loop 16, slot 20, generation 28 bits. Slots are reused first in, first
 * out, so that a stale id comes back as late as possible; until then nobody is found by it. 0 names nobody.
 */
#pragma once
#include "core/proto.h"

#define IDS_GEN_MAX ((1u << 28) - 1)

struct ids {
	struct id_slot *v;
	uint32_t n, used, first, last; /* slots; taken; the list of the free ones */
	unsigned loop;                 /* upper 16 bits of every id */
	uint32_t gen;                  /* first generation of new slots, so that several loops 0 differ in the log */
};

void ids_init(struct ids *t, unsigned loop);
void ids_done(struct ids *t);

[[nodiscard]] int ids_take(struct ids *t, void *owner, sess_id *ret); /* 0 or -ENOMEM */
void ids_free(struct ids *t, sess_id id);                             /* must be taken */
void *ids_find(const struct ids *t, sess_id id);                      /* its owner; NULL: stale, or of another loop */
void *ids_at(const struct ids *t, uint32_t i);                        /* owner of slot i < n; NULL: free */

void ids_renew(struct ids *t, uint32_t gen); /* those to come have this generation */

static inline unsigned id_loop(sess_id id)
{
	return (unsigned)(id >> 48);
}
