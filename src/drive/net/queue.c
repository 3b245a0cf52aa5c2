/* queue.c - see queue.h. A queue has no readers to count, so a lock on it says that it is served. */
#include "drive/net/queue.h"

#include <pthread.h>
#include <string.h>

#include "base/list.h"
#include "base/mem.h"
#include "drive/sys.h"
#include "drive/unique.h"

enum { MESSAGES = 10, SHORTEST = 128 };

bool queue_split(struct span *message, char ret[static ADDR_MQ_MAX + 1])
{
	size_t n = 0;

	while (n < message->n && n <= ADDR_MQ_MAX && message->p[n] > ' ' && message->p[n] <= '~' &&
	       (n == 0) == (message->p[n] == '/'))
		n++;
	if (n < 2 || n > ADDR_MQ_MAX || (n < message->n && message->p[n] != ' ' && message->p[n] != '\n'))
		return false;
	memcpy(ret, message->p, n);
	ret[n] = '\0';
	if (!strcmp(ret, "/.") || !strcmp(ret, "/.."))
		return false;
	if (n < message->n && message->p[n] == ' ')
		n++;
	message->p += n;
	message->n -= n;
	return true;
}

/* ---- those that are ours ---- */

struct own {
	struct list node;
	char name[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list owns = { &owns, &owns };

static struct own *find_own(const char *name)
{
	for (struct list *n = owns.next; n != &owns; n = n->next)
		if (!strcmp(list_entry(n, struct own, node)->name, name))
			return list_entry(n, struct own, node);
	return NULL;
}

static int add_own(const char *name)
{
	struct own *o = mem_alloc(sizeof(*o) + strlen(name) + 1);

	if (!o)
		return -ENOMEM;
	list_init(&o->node);
	memcpy(o->name, name, strlen(name) + 1);
	pthread_mutex_lock(&lock);
	list_add(&owns, &o->node);
	pthread_mutex_unlock(&lock);
	return 0;
}

static void remove_own(const char *name)
{
	struct own *o;

	pthread_mutex_lock(&lock);
	o = find_own(name);
	if (o)
		list_del(&o->node);
	pthread_mutex_unlock(&lock);
	mem_free(o);
}

bool queue_is_ours(const char *name)
{
	bool found;

	pthread_mutex_lock(&lock);
	found = find_own(name) != NULL;
	pthread_mutex_unlock(&lock);
	return found;
}

/* ---- making one ---- */

/*
 * The system may allow only shorter messages, or fewer (EINVAL); and what all queues of a user may have (ulimit -q) is little and
 * soon spent (EMFILE).
 */
static int make(const char *name, mode_t mode)
{
	struct mq_attr attr = { .mq_maxmsg = MESSAGES, .mq_msgsize = QUEUE_MESSAGE };
	int fd;

	for (;;) {
		fd = sys_mq_open(name, O_RDONLY | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC, mode, &attr);
		if (fd >= 0)
			return fd;
		if ((errno != EINVAL && errno != EMFILE) || (attr.mq_maxmsg == 1 && attr.mq_msgsize <= SHORTEST))
			return -errno;
		if (errno == EINVAL && attr.mq_msgsize > SHORTEST)
			attr.mq_msgsize /= 2;
		else if (attr.mq_maxmsg == 1)
			return -errno;
		else
			attr.mq_maxmsg /= 2;
	}
}

/* 0, and no queue of this name is in the way of a new one: there is none, or it was left over and, if `remove`, is gone. */
static int look(const char *name, bool remove, struct buf *why)
{
	int fd = sys_mq_open(name, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0, NULL), r = 0;
	struct stat st;

	if (fd < 0)
		r = errno == ENOENT ? 0 : -errno;
	else if (sys_fstat(fd, &st) < 0)
		r = -errno;
	else if (st.st_uid != geteuid())
		r = -EACCES;
	else if (sys_flock(fd, LOCK_EX | LOCK_NB) < 0)
		r = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
	else if (remove && mq_unlink(name) < 0 && errno != ENOENT)
		r = -errno;
	fd_close(&fd);
	if (r == -EACCES)
		buf_addf(why, "queue %s belongs to somebody else", name);
	else if (r == -EADDRINUSE)
		buf_addf(why, "queue %s is served by another program already", name);
	return r;
}

int queue_probe(const char *name, struct buf *why)
{
	return look(name, false, why);
}

int queue_open(const char *name, struct buf *why)
{
	int fd = make(name, 0600), r;

	if (fd == -EEXIST) {
		r = look(name, true, why);
		fd = r < 0 ? r : make(name, 0600);
	}
	if (fd == -EMFILE)
		buf_addf(why, "no descriptor, or no room for another message queue of this user (ulimit -q)");
	if (fd < 0)
		return fd;
	r = sys_flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : add_own(name);
	if (r == 0)
		return fd;
	close(fd);
	mq_unlink(name);
	return r;
}

int queue_give(int fd, const struct owner *to)
{
	if ((to->uid != OWNER_SAME || to->gid != GROUP_SAME) && sys_fchown(fd, to->uid, to->gid) < 0)
		return -errno;
	return sys_fchmod(fd, to->mode) < 0 ? -errno : 0;
}

int queue_take(const char *name)
{
	return add_own(name);
}

void queue_close(int *fd, const char *name, bool remove)
{
	if (*fd < 0)
		return;
	remove_own(name);
	if (remove)
		mq_unlink(name);
	fd_close(fd);
}

void queue_remove(const char *name)
{
	mq_unlink(name);
}

/* ---- for a client ---- */

int queue_dial(const char *name, char ret_own[static ADDR_MQ_MAX + 1], int *ret_to, int *ret_from)
{
	int to = sys_mq_open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC, 0, NULL), from = -1;
	int r = to < 0 ? -errno : unique_name("/guichet-", ret_own, ADDR_MQ_MAX + 1);
	struct stat st;

	if (r == 0 && sys_fstat(to, &st) < 0)
		r = -errno;
	if (r == 0 && (from = make(ret_own, 0600)) < 0)
		r = from;
	/* a server that is somebody else may write to it, and nobody may read from it but us */
	if (r == 0 && st.st_uid != geteuid() && sys_fchmod(from, 0622) < 0)
		r = -errno;
	if (r < 0) {
		if (from >= 0)
			mq_unlink(ret_own);
		fd_close(&from);
		fd_close(&to);
		return r;
	}
	*ret_to = to;
	*ret_from = from;
	return 0;
}
