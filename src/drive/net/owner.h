/* owner.h - whose a socket's file or a named pipe is, and who may use it. */
#pragma once
#include <sys/types.h>

#include "base/buf.h"

#define OWNER_SAME ((uid_t)-1) /* as it is */
#define GROUP_SAME ((gid_t)-1)

/* By name or by number; NULL and "" are OWNER_SAME and GROUP_SAME. 0, or -errno with a sentence. */
[[nodiscard]] int owner_user(const char *name, uid_t *ret, struct buf *why);
[[nodiscard]] int owner_group(const char *name, gid_t *ret, struct buf *why);

/* `USER`, `USER:GROUP` or `:GROUP`; NULL and "" are both as they are. 0, or -errno with a sentence. */
[[nodiscard]] int owner_parse(const char *text, uid_t *ret_user, gid_t *ret_group, struct buf *why);

/* Who a process is to be: with no group, the user's own. A name or a number. 0, or -errno with a sentence. */
[[nodiscard]] int owner_identity(const char *user, const char *group, uid_t *ret_uid, gid_t *ret_gid, struct buf *why);

struct owner {
	uid_t uid;
	gid_t gid;
	mode_t mode; /* permission bits */
};

/*
 * Gives the file these. Only if it is of this type (S_IFSOCK, S_IFIFO), and never through a symbolic link: who can write in
 * the folder must not make us change something else. 0 or -errno; -ESTALE: it is another file by now.
 */
[[nodiscard]] int owner_give(const char *path, mode_t type, const struct owner *to);
[[nodiscard]] int owner_read(const char *path, struct owner *ret); /* 0 or -errno */
