/*
 * files.h - whole files and folders of our own: the configuration, certificates, the data folder. For start and reload,
 * in the main thread, because it waits for the disk. What peers may name is opened elsewhere (openat2 below a root).
 *
 * All return 0 or -errno; `why` then has a sentence with the path in it: `cannot read a.conf: No such file or directory`.
 */
#pragma once
#include <sys/types.h>

#include "base/buf.h"

/* Adds all of a file to `ret`, at most ret->max bytes: -EFBIG when there are more. A pipe (`<(...)`) will do, a folder will not. */
[[nodiscard]] int files_read(const char *path, struct buf *ret, struct buf *why);

/*
 * A new file with these bytes, or none: written beside it, flushed to the disk, then renamed over what is there.
 * It has `mode` from its first byte on.
 */
[[nodiscard]] int files_write(const char *path, mode_t mode, struct span bytes, struct buf *why);

/* The same, and it is theirs; (uid_t)-1, (gid_t)-1: ours. */
[[nodiscard]] int files_write_for(const char *path, mode_t mode, uid_t uid, gid_t gid, struct span bytes,
				  struct buf *why);

/* A folder that is ours alone (0700); one that is there already will do. Its parent must exist. */
[[nodiscard]] int files_make_dir(const char *path, struct buf *why);

/* A new empty folder in $TMPDIR or /tmp, 0700. The caller frees *ret_path (mem_free). */
[[nodiscard]] int files_temp_dir(char **ret_path, struct buf *why);

/* Removes a folder with all that is in it; follows no link and leaves no file system. */
[[nodiscard]] int files_remove_dir(const char *path, struct buf *why);
