/*
 * gate_name.c - roots, and names below them. openat2(2) with RESOLVE_BENEATH resolves a name in the kernel, in one go, so that there
 * is no time between looking and opening in which somebody could put a link there. What this file hands out is either below
 * the root or it is not handed out.
 */
#include <errno.h>
#include <pthread.h>

#include "base/buf.h"
#include "base/mem.h"
#include "drive/gate.h"
#include "drive/sys.h"

enum { TRIES = 64 }; /* of a name with ".." in it, while folders are being moved about */

/* ---- roots ---- */

/* All there are: a process that is forked to serve needs their descriptors. */
static struct list roots = { &roots, &roots };
static pthread_mutex_t roots_lock = PTHREAD_MUTEX_INITIALIZER;

static void enlist(struct root *r)
{
	pthread_mutex_lock(&roots_lock);
	list_add(&roots, &r->node);
	pthread_mutex_unlock(&roots_lock);
}

static void delist(struct root *r)
{
	pthread_mutex_lock(&roots_lock);
	list_del(&r->node);
	pthread_mutex_unlock(&roots_lock);
}

int root_next_fd(int from)
{
	int min = -1;

	for (const struct list *n = roots.next; n != &roots; n = n->next) {
		int fd = list_entry(n, const struct root, node)->fd;

		if (fd >= from && (min < 0 || fd < min))
			min = fd;
	}
	return min;
}

int root_from_fd(int *fd, struct root *top, struct root **ret)
{
	struct root *r = mem_zalloc(sizeof(*r));

	if (!r)
		return -ENOMEM;
	atomic_init(&r->refs, 1);
	r->fd = *fd;
	r->named = access("/proc/self/fd", X_OK) < 0;
	r->top = root_ref(top && top->top ? top->top : top);
	enlist(r);
	*fd = -1;
	*ret = r;
	return 0;
}

int root_open(const char *path, struct root **ret, struct buf *ret_why)
{
	int fd = sys_open(path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	int err = fd < 0 ? -errno : root_from_fd(&fd, NULL, ret);

	fd_close(&fd);
	if (err && ret_why)
		buf_addf(ret_why, "cannot open the folder %s: %s", path, strerror(-err));
	return err;
}

struct root *root_ref(struct root *r)
{
	if (r)
		atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void root_unref(struct root *r)
{
	if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	delist(r);
	root_unref(r->top);
	fd_close(&r->fd);
	mem_free(r);
}

void root_changed(struct root *r)
{
	atomic_fetch_add_explicit(&(r->top ? r->top : r)->changes, 1, memory_order_release);
}

unsigned root_changes(const struct root *r)
{
	return atomic_load_explicit(&(r->top ? r->top : r)->changes, memory_order_acquire);
}

/* ---- names ---- */

int gate_beneath(const struct root *r, const char *name, int flags, bool cached)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (cached ? RESOLVE_CACHED : 0),
	};
	int fd;

	for (int i = 0; i < TRIES; i++) {
		fd = sys_openat2(r->fd, *name ? name : ".", &how);
		if (fd >= 0)
			return fd;
		if (errno == EINTR || (errno == EAGAIN && !cached))
			continue; /* a folder on the way was moved while ".." was looked at: the kernel wants to be asked again */
		break;
	}
	if (cached && errno == EINVAL)
		return -EAGAIN; /* a kernel that does not know RESOLVE_CACHED */
	return errno == EAGAIN && !cached ? -EBUSY : -errno;
}

int gate_parent(const struct root *r, char *name, const char **ret_last)
{
	size_t n = strlen(name);
	char *slash;
	int fd;

	while (n > 0 && name[n - 1] == '/')
		name[--n] = '\0';
	slash = strrchr(name, '/');
	*ret_last = slash ? slash + 1 : name;
	if (!strcmp(*ret_last, "") || !strcmp(*ret_last, ".") || !strcmp(*ret_last, ".."))
		return -EINVAL;
	if (!slash)
		return gate_beneath(r, "", O_RDONLY | O_DIRECTORY, false);
	if (slash == name)
		return -EXDEV; /* "/a": not below anything */
	*slash = '\0';
	fd = gate_beneath(r, name, O_RDONLY | O_DIRECTORY, false);
	*slash = '/';
	return fd;
}

void gate_facts(const struct stat *st, struct file_facts *ret)
{
	*ret = (struct file_facts){
		.kind = S_ISREG(st->st_mode)   ? FILE_PLAIN
			: S_ISDIR(st->st_mode) ? FILE_FOLDER
					       : FILE_OTHER,
		.size = (uint64_t)st->st_size,
		.mtime = st->st_mtim.tv_sec,
		.mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
		.mode = st->st_mode & 07777,
		.device = st->st_dev,
		.inode = st->st_ino,
		.ctime = st->st_ctim.tv_sec,
		.ctime_ns = (uint32_t)st->st_ctim.tv_nsec,
		.uid = st->st_uid,
		.gid = st->st_gid,
	};
}
