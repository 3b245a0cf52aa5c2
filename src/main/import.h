/*
 * import.h - files of mosquitto, as text, taken over. `tell` hears of each line that is not.
 */
#pragma once
#include "base/buf.h"
#include "store/people.h"

struct import_count {
	unsigned added, skipped;
};

/* mosquitto_passwd(1): NAME:HASH. Adds those whose names are not there yet. 0 or -ENOMEM. */
[[nodiscard]] int import_mosquitto_passwd(struct span text, struct people *to, struct import_count *ret,
					  people_tell *tell, void *arg);

/*
 * mosquitto.conf(5), acl_file: lines `topic`, `user` and `pattern`. Adds a section [rules] that means the same: what is denied to
 * somebody comes before what he is allowed, users before patterns. 0 or -ENOMEM.
 */
[[nodiscard]] int import_mosquitto_acl(struct span text, struct buf *to, struct import_count *ret, people_tell *tell,
				       void *arg);
