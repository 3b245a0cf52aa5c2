/* spawn.c - the messages between a loop and the spawner: written by one, read and doubted by the other. */
#include "priv/spawn.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "priv/sys.h"

enum { ALL_FDS = 7 }; /* which descriptors come with an order: a bit for each of 0, 1 and 2 */

/* ---- doors and channels ---- */

/* Sends one end of a new pair through `to`; the other one is the caller's. */
static int send_end(int to, struct chan_msg *m, int *ret_fd)
{
	int ends[2], r = chan_pair(ends);

	if (r < 0)
		return r;
	chan_put_fd(m, ends[1]);
	r = chan_send(to, m);
	fd_close(&ends[1]);
	if (r < 0)
		fd_close(&ends[0]);
	else
		*ret_fd = ends[0];
	return r;
}

/* A message is large for the stack of a thread that does little. */
static int with_message(unsigned type, int to, const struct spawn_user *users, size_t n, int *ret_fd)
{
	struct chan_msg *m = mem_alloc(sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	chan_msg_init(m, type, 0);
	if (type == SPAWN_DOOR)
		chan_put_u32(m, (uint32_t)n);
	for (size_t i = 0; i < n; i++) {
		chan_put_u32(m, users[i].uid);
		chan_put_u32(m, users[i].gid);
	}
	r = send_end(to, m, ret_fd);
	mem_free(m);
	return r;
}

int spawn_door(int root, const struct spawn_user *users, size_t n, int *ret_fd)
{
	return n > SPAWN_USERS ? -EINVAL : with_message(SPAWN_DOOR, root, users, n, ret_fd);
}

int spawn_open(const struct spawn_door *door, int *ret_fd)
{
	return door->fd < 0 ? -ENOSYS : with_message(SPAWN_OPEN, door->fd, NULL, 0, ret_fd);
}

int spawn_get_door(const struct chan_msg *m, struct spawn_user *ret, size_t *ret_n)
{
	struct chan_get g = chan_get(m);
	size_t n = chan_get_upto(&g, SPAWN_USERS);

	for (size_t i = 0; i < n; i++) {
		ret[i].uid = chan_get_u32(&g);
		ret[i].gid = chan_get_u32(&g);
	}
	*ret_n = n;
	return chan_get_end(&g);
}

/* ---- commands ---- */

static size_t count(const char *const *v)
{
	size_t n = 0;

	while (v && v[n])
		n++;
	return n;
}

static void put_words(struct chan_msg *m, const char *const *v)
{
	size_t n = count(v);

	chan_put_u32(m, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		chan_put_str(m, v[i]);
}

static bool is_path(const char *s)
{
	return *s == '/' && strlen(s) <= SPAWN_PATH;
}

static void put_fds(struct chan_msg *m, const struct spawn_run *r)
{
	unsigned which = 0;

	for (unsigned i = 0; i < 3; i++)
		which |= r->fds[i] >= 0 ? 1u << i : 0;
	chan_put_u32(m, which);
	for (unsigned i = 0; i < 3; i++)
		if (r->fds[i] >= 0)
			chan_put_fd(m, r->fds[i]);
}

int spawn_put_run(struct chan_msg *m, const struct spawn_run *r)
{
	const char *dir = r->dir ? r->dir : "/";

	if (!r->path || !is_path(r->path) || !is_path(dir) || !r->argv || !r->argv[0] || r->grace > SPAWN_GRACE)
		return -EINVAL;
	if (count(r->argv) > SPAWN_WORDS || count(r->envp) > SPAWN_WORDS)
		return -E2BIG;
	chan_put_u32(m, r->user.uid);
	chan_put_u32(m, r->user.gid);
	chan_put_u32(m, r->grace);
	put_fds(m, r);
	chan_put_str(m, r->path);
	chan_put_str(m, dir);
	put_words(m, r->argv);
	put_words(m, r->envp);
	return m->err == -EMSGSIZE ? -E2BIG : m->err;
}

/* Reads up to SPAWN_WORDS words to `to`, and a NULL. Returns behind that. */
static const char **get_words(struct chan_get *g, const char **to)
{
	uint32_t n = chan_get_upto(g, SPAWN_WORDS);

	for (uint32_t i = 0; i < n; i++)
		*to++ = chan_get_str(g, CHAN_BODY);
	*to++ = NULL;
	return to;
}

static void get_fds(struct chan_msg *m, unsigned which, struct spawn_run *r)
{
	for (unsigned i = 0; i < 3; i++)
		r->fds[i] = which & 1u << i ? chan_take_fd(m) : -1;
}

int spawn_get_run(struct chan_msg *m, struct spawn_order *ret)
{
	struct chan_get g = chan_get(m);
	struct spawn_run *r = &ret->run;
	unsigned which;

	r->user.uid = chan_get_u32(&g);
	r->user.gid = chan_get_u32(&g);
	r->grace = chan_get_upto(&g, SPAWN_GRACE);
	which = chan_get_upto(&g, ALL_FDS);
	r->path = chan_get_str(&g, SPAWN_PATH);
	r->dir = chan_get_str(&g, SPAWN_PATH);
	r->argv = ret->words;
	r->envp = get_words(&g, ret->words);
	get_words(&g, ret->words + (r->envp - ret->words));
	if (chan_get_end(&g) < 0 || !r->argv[0] || *r->path != '/' || *r->dir != '/' ||
	    m->n_fds != (unsigned)__builtin_popcount(which)) {
		chan_msg_done(m);
		return -EPROTO;
	}
	get_fds(m, which, r);
	return 0;
}

void spawn_order_done(struct spawn_order *o)
{
	for (unsigned i = 0; i < 3; i++)
		fd_close(&o->run.fds[i]);
}

/* ---- answers ---- */

void spawn_put_started(struct chan_msg *m, int err, uint32_t pid)
{
	chan_put_u32(m, (uint32_t)-err);
	chan_put_u32(m, pid);
}

int spawn_get_started(const struct chan_msg *m, int *ret_err, uint32_t *ret_pid)
{
	struct chan_get g = chan_get(m);
	uint32_t err = chan_get_upto(&g, 4095); /* the largest errno there is */
	uint32_t pid = chan_get_u32(&g);

	if (chan_get_end(&g) < 0)
		return -EPROTO;
	*ret_err = -(int)err;
	*ret_pid = pid;
	return 0;
}

void spawn_put_ended(struct chan_msg *m, int status, int sig)
{
	chan_put_u32(m, (uint32_t)status);
	chan_put_u32(m, (uint32_t)sig);
}

int spawn_get_ended(const struct chan_msg *m, int *ret_status, int *ret_signal)
{
	struct chan_get g = chan_get(m);
	uint32_t status = chan_get_upto(&g, 255), sig = chan_get_upto(&g, 255);

	if (chan_get_end(&g) < 0)
		return -EPROTO;
	*ret_status = (int)status;
	*ret_signal = (int)sig;
	return 0;
}
