/*
 * tempdir.h - the folder of a test: made, locked as long as its process lives, removed. One whose process was killed is
 * removed by the next that is made, because a private key may lie in it.
 */
#pragma once
#include "base/buf.h"

/*
 * A new folder of files_temp_dir(), ours as long as *ret_fd is open; tempdir_remove() ends it. What killed processes have
 * left beside it goes. 0, or -errno with a sentence.
 */
[[nodiscard]] int tempdir_new(char **ret_path, int *ret_fd, struct buf *why);

/* Removes it with all that is in it. NULL and -1 are fine, and what is there afterwards. 0, or -errno with a sentence. */
int tempdir_remove(char **path, int *fd, struct buf *why);

/*
 * Removes what killed processes have left in `base`, and nothing else: folders of this user, mode 0700, of our name, in
 * which a lock file says that they had an owner, and that it is gone. Returns how many.
 */
unsigned tempdir_sweep(const char *base);
