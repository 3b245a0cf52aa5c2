/* owner.c - see owner.h. */
#include "drive/net/owner.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>

#include "base/str.h"
#include "drive/sys.h"

enum {
	ENTRY = 16 << 10, /* of passwd and group, with all members */
	NAME = 256,
};

/* 0; 1: it is a name; -EINVAL. */
static int by_number(const char *name, uint64_t *ret)
{
	if (!str_is_digit(name[0]))
		return 1;
	return str_to_u64(name, ret) < 0 || *ret >= UINT32_MAX ? -EINVAL : 0; /* the largest one means "none" */
}

static int unknown(const char *what, const char *name, int err, struct buf *why)
{
	if (err) {
		buf_addf(why, "cannot look up %s ", what);
		buf_add_excerpt(why, span_str(name));
		buf_addf(why, ": %s", strerrordesc_np(err));
		return -err;
	}
	buf_addf(why, "there is no %s ", what);
	buf_add_excerpt(why, span_str(name));
	return -ENOENT;
}

int owner_user(const char *name, uid_t *ret, struct buf *why)
{
	struct passwd pw, *found = NULL;
	char tmp[ENTRY];
	uint64_t number;
	int r = name && *name ? by_number(name, &number) : 0;

	if (!name || !*name)
		*ret = OWNER_SAME;
	else if (r == 0)
		*ret = (uid_t)number;
	else if (r < 0 || (r = getpwnam_r(name, &pw, tmp, sizeof(tmp), &found)) != 0 || !found)
		return unknown("user", name, r > 0 ? r : 0, why);
	else
		*ret = pw.pw_uid;
	return 0;
}

int owner_group(const char *name, gid_t *ret, struct buf *why)
{
	struct group gr, *found = NULL;
	char tmp[ENTRY];
	uint64_t number;
	int r = name && *name ? by_number(name, &number) : 0;

	if (!name || !*name)
		*ret = GROUP_SAME;
	else if (r == 0)
		*ret = (gid_t)number;
	else if (r < 0 || (r = getgrnam_r(name, &gr, tmp, sizeof(tmp), &found)) != 0 || !found)
		return unknown("group", name, r > 0 ? r : 0, why);
	else
		*ret = gr.gr_gid;
	return 0;
}

int owner_parse(const char *text, uid_t *ret_user, gid_t *ret_group, struct buf *why)
{
	const char *colon = text ? strchr(text, ':') : NULL;
	char user[NAME];
	uid_t uid = OWNER_SAME;
	int r;

	if (!colon) {
		*ret_group = GROUP_SAME;
		return owner_user(text, ret_user, why);
	}
	snprintf(user, sizeof(user), "%.*s", (int)(colon - text), text);
	r = owner_user(user, &uid, why);
	if (r == 0)
		r = owner_group(colon + 1, ret_group, why);
	if (r == 0)
		*ret_user = uid;
	return r;
}

int owner_identity(const char *user, const char *group, uid_t *ret_uid, gid_t *ret_gid, struct buf *why)
{
	struct passwd pw, *found = NULL;
	char tmp[ENTRY];
	uid_t uid = OWNER_SAME;
	gid_t gid = GROUP_SAME;
	int r = owner_user(user, &uid, why);

	if (r < 0)
		return r;
	r = owner_group(group, &gid, why);
	if (r < 0)
		return r;
	if (gid == GROUP_SAME && (getpwuid_r(uid, &pw, tmp, sizeof(tmp), &found) != 0 || !found)) {
		buf_addf(why, "user %u has no entry, and so no group: say which one, group = GROUP", (unsigned)uid);
		return -ENOENT;
	}
	*ret_uid = uid;
	*ret_gid = gid == GROUP_SAME ? pw.pw_gid : gid;
	return 0;
}

/* By way of a descriptor that is the file, whatever its name means meanwhile. */
static int give(int fd, mode_t type, const struct owner *to)
{
	char path[32];
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_mode & S_IFMT) != type)
		return -ESTALE;
	if (((to->uid != OWNER_SAME && to->uid != st.st_uid) || (to->gid != GROUP_SAME && to->gid != st.st_gid)) &&
	    sys_fchownat(fd, "", to->uid, to->gid, AT_EMPTY_PATH) < 0)
		return -errno;
	if ((st.st_mode & 0777) == to->mode)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return sys_chmod(path, to->mode) < 0 ? -errno : 0;
}

int owner_give(const char *path, mode_t type, const struct owner *to)
{
	int fd = sys_open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
	int r = fd < 0 ? -errno : give(fd, type, to);

	fd_close(&fd);
	return r;
}

int owner_read(const char *path, struct owner *ret)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return -errno;
	*ret = (struct owner){ st.st_uid, st.st_gid, st.st_mode & 0777 };
	return 0;
}
