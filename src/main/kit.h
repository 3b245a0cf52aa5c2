/*
 * kit.h - the contents of the files that a plan is made from: the configuration, certificates, keys. Who has planned from the disk
 * can pack what was read, and a process without access to any file (main/worker.h) plans from that, and so exactly the same.
 *
 * There are keys in it: what it held is overwritten when it is freed, and a packed one is memory without a name.
 */
#pragma once
#include "base/buf.h"

struct kit;

[[nodiscard]] int kit_new(struct kit **ret); /* empty. 0 or -ENOMEM */
void kit_free(struct kit **k);

/* Takes a copy of these bytes as the content of `path`; a later one replaces it. 0 or -ENOMEM. */
[[nodiscard]] int kit_add(struct kit *k, const char *path, struct span bytes);

/* The content of `path`, as long as the kit is not changed. false: it has none. */
bool kit_find(const struct kit *k, const char *path, struct span *ret);

/*
 * Adds all of a file to `b`: its content in `from`, or from the disk when that is NULL, and notes it in `into`, if there is one.
 * 0 or -errno with a sentence, as files_read().
 */
[[nodiscard]] int kit_read(const struct kit *from, struct kit *into, const char *path, struct buf *b, struct buf *why);

/* The kit as a sealed file in memory, which nobody can change any more: a new descriptor, or -errno; -EFBIG: more
 * than 64 MiB. */
[[nodiscard]] int kit_pack(const struct kit *k);

/* From such a descriptor, which stays open. 0, -EPROTO: it is none, or -errno. */
[[nodiscard]] int kit_unpack(int fd, struct kit **ret);
