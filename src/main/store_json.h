/*
 * store_json.h - records of the durable store (store/keep.h) as JSON, a line each, and back: `guichet store dump` and
 * `load`. Bytes that are no UTF-8 are {"hex": "00ff"}. Times are milliseconds since 1970.
 */
#pragma once
#include <jansson.h>

#include "store/keep.h"

/* A new object; NULL: memory is out. */
json_t *store_to_json(const struct keep_record *r);

/* One that cannot be: `record` names it, `field` and `why` are those of keep_wrong. Likewise. */
json_t *store_wrong_to_json(const struct keep_record *r);

/* Into the batch, behind which it must not be handed over when it cannot be (keep_batch_wrong()). 0; -EINVAL with a sentence in `why`; -ENOMEM. */
[[nodiscard]] int store_of_json(const json_t *j, struct keep_batch *b, struct buf *why);
