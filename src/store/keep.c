/* keep.c - the life of the durable store, and the queue to its writer. See keep.h. */
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "store/keep_priv.h"
#include "store/keep_sys.h"

enum {
	ASIDE_MAX = 1000,
	FIRST_MAP = 4 << 20,
	LOCK_WAIT = 2000, /* ms */
	LOCK_STEP = 20,
};

static const char file_name[] = "store.mdb", new_name[] = "store.new", lock_name[] = "lock";

/* ---- paths ---- */

static int sync_dir(const char *dir)
{
	int fd = sys_open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), r = 0;

	if (fd < 0)
		return -errno;
	if (sys_fsync(fd) < 0)
		r = -errno;
	fd_close(&fd);
	return r;
}

/* The file of the other name takes the place of the store's, whatever there was. */
static int put_in_place(struct keep *k, const char *new)
{
	if (sys_rename(new, k->path) < 0)
		return -errno;
	return sync_dir(k->dir);
}

/* A second name for the damaged file; the first free one. */
static int put_aside(const struct keep *k, struct keep_found *found)
{
	for (unsigned i = 1; i < ASIDE_MAX; i++) {
		char *to;
		int r;

		snprintf(found->aside, sizeof(found->aside), "damaged-%u.mdb", i);
		r = str_path_from(k->dir, found->aside, &to);
		if (r < 0)
			return r;
		r = sys_link(k->path, to) < 0 ? -errno : 0;
		mem_free(to);
		if (r != -EEXIST)
			return r;
	}
	return -EEXIST;
}

/* ---- opening ---- */

static int say(struct buf *why, int r, const char *dir, const char *what)
{
	if (why)
		buf_addf(why, "%s: %s%s%s", dir, what, r ? ": " : "", r ? strerror(-r) : "");
	return r;
}

/* A process that was killed, or whose monitor was, is about to end: it has the lock until then. */
static int lock(int fd, unsigned ms)
{
	for (;;) {
		if (sys_flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK)
			return -errno;
		if (ms < LOCK_STEP)
			return -EBUSY;
		usleep(LOCK_STEP * 1000);
		ms -= LOCK_STEP;
	}
}

static int lock_dir(struct keep *k, bool make)
{
	char *path;
	int r;

	if (make && sys_mkdir(k->dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	r = str_path_from(k->dir, lock_name, &path);
	if (r < 0)
		return r;
	k->lock_fd = sys_open(path, make ? O_RDWR | O_CREAT | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0600);
	r = k->lock_fd < 0 ? -errno : 0;
	mem_free(path);
	return r == 0 ? lock(k->lock_fd, make ? LOCK_WAIT : 0) : r;
}

static int open_file(struct keep *k, int flags)
{
	fd_close(&k->fd);
	k->fd = sys_open(k->path, flags | O_CLOEXEC, 0);
	return k->fd < 0 ? -errno : 0;
}

/* With what is sound in the old one; which is put aside, if there is one. */
static int make_file(struct keep *k)
{
	char *new;
	int r = str_path_from(k->dir, new_name, &new);

	if (r < 0)
		return r;
	r = keep_make(new, k->fd, &k->setup);
	if (r == 0 && k->fd >= 0)
		r = put_aside(k, &k->found);
	if (r == 0)
		r = put_in_place(k, new);
	mem_free(new);
	return r == 0 ? open_file(k, O_RDWR) : r;
}

static int open_or_make(struct keep *k)
{
	int r = open_file(k, O_RDWR);

	return r == -ENOENT ? make_file(k) : r;
}

static int explain(struct buf *why, int r, const char *dir)
{
	switch (r) {
	case 0:
		return 0;
	case -EBUSY:
		say(why, 0, dir, "another process has this store: stop that guichet first");
		return -EBUSY;
	case -EPROTONOSUPPORT:
		say(why, 0, dir,
		    "a newer guichet has written this store, in a format that this one does not know: start that one, or give "
		    "this one another data folder");
		return -EPROTONOSUPPORT;
	case -ENOENT:
		return say(why, -ENOENT, dir, "there is no store");
	default:
		return say(why, r, dir, "the store cannot be opened");
	}
}

static struct keep *new_keep(const struct keep_setup *s)
{
	struct keep *k = mem_zalloc(sizeof(*k));
	pthread_condattr_t attr;

	if (!k)
		return NULL;
	k->setup = *s;
	k->lock_fd = k->fd = -1;
	k->next_id = 1;
	k->end = &k->first;
	pthread_mutex_init(&k->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&k->some, &attr);
	pthread_condattr_destroy(&attr);
	k->dir = mem_strdup(s->dir);
	k->name = mem_strdup(s->name ? s->name : s->dir);
	k->setup.dir = k->dir;
	k->setup.name = k->name;
	if (!k->dir || !k->name || str_path_from(k->dir, file_name, &k->path) < 0)
		keep_close(&k);
	return k;
}

static int open_any(const struct keep_setup *setup, bool make, struct keep **ret, struct buf *why)
{
	const char *name = setup->name ? setup->name : setup->dir;
	struct keep *k = new_keep(setup);
	int r = k ? lock_dir(k, make) : -ENOMEM;

	if (k)
		k->looks = !make;
	if (r == 0)
		r = make ? open_or_make(k) : open_file(k, O_RDONLY);
	if (r == 0)
		r = keep_read_open(k);
	if (r < 0)
		keep_close(&k);
	else
		*ret = k;
	return make && r == -ENOENT ? say(why, r, name, "the folder cannot be made") : explain(why, r, name);
}

int keep_open(const struct keep_setup *setup, struct keep **ret, struct buf *why)
{
	return open_any(setup, true, ret, why);
}

int keep_look(const char *dir, keep_props *props, struct keep **ret, struct buf *why)
{
	return open_any(&(struct keep_setup){ .dir = dir, .props = props }, false, ret, why);
}

/* The map is what the file has, for the writer makes both larger at once. On a disk that has not even so much it is what is there. */
static int open_map(struct keep *k)
{
	struct stat st;

	if (sys_fstat(k->fd, &st) < 0)
		return -errno;
	k->map = (uint64_t)st.st_size;
	if (k->map < FIRST_MAP && keep_reserve(k, FIRST_MAP) == 0)
		k->map = FIRST_MAP;
	atomic_store(&k->file_bytes, k->map);
	return keep_env(k->path, k->map, &k->env, &k->dbi);
}

void keep_change(struct keep *k, uint64_t limit, uint64_t largest, bool lazy)
{
	pthread_mutex_lock(&k->lock);
	k->setup.lazy = lazy;
	k->limit = limit;
	k->largest = largest;
	k->changed = true;
	pthread_cond_signal(&k->some);
	pthread_mutex_unlock(&k->lock);
}

static int start(struct keep *k, struct keep_found *ret_found)
{
	int r = keep_judge(k, ret_found);

	keep_read_done(k);
	if (r == 0 && ret_found->damaged)
		r = make_file(k);
	*ret_found = k->found;
	if (r == 0)
		r = open_map(k);
	if (r < 0)
		return r;
	keep_measure(k);
	r = -pthread_create(&k->thread, NULL, keep_writer, k);
	k->runs = r == 0;
	if (r == 0)
		keep_submit(k, &k->mend);
	return r;
}

int keep_start(struct keep *k, struct keep_found *ret_found, struct buf *why)
{
	return explain(why, start(k, ret_found), k->name);
}

static void stop_writer(struct keep *k)
{
	pthread_mutex_lock(&k->lock);
	k->closing = true;
	pthread_cond_signal(&k->some);
	pthread_mutex_unlock(&k->lock);
	pthread_join(k->thread, NULL);
}

static void free_queue(struct keep_queued *q)
{
	while (q) {
		struct keep_queued *next = q->next;

		struct keep_batch b = q->b;

		keep_batch_done(&b);
		q = next;
	}
}

void keep_close(struct keep **kp)
{
	struct keep *k = *kp;

	if (!k)
		return;
	*kp = NULL;
	if (k->runs)
		stop_writer(k);
	if (k->env)
		mdb_env_close(k->env);
	keep_read_done(k);
	keep_batch_done(&k->mend);
	free_queue(k->first);
	free_queue(k->spare);
	fd_close(&k->fd);
	fd_close(&k->lock_fd);
	pthread_mutex_destroy(&k->lock);
	pthread_cond_destroy(&k->some);
	mem_free(k->path);
	mem_free(k->dir);
	mem_free(k->name);
	mem_free(k);
}

/* ---- the queue ---- */

/* Takes the batch's memory, and gives it that of one that was written. */
static struct keep_queued *take(struct keep *k, struct keep_batch *b)
{
	struct keep_queued *q = (struct keep_queued *)(void *)b->p, *spare = k->spare;

	*q = (struct keep_queued){ .b = *b };
	*b = (struct keep_batch){};
	if (spare) {
		k->spare = spare->next;
		k->spares--;
		*b = (struct keep_batch){ .p = spare->b.p, .cap = spare->b.cap };
	}
	return q;
}

static uint64_t enqueue(struct keep *k, struct keep_queued *q, bool urgent)
{
	bool first = !k->first;

	atomic_fetch_add_explicit(&k->waiting_bytes, q->b.n + q->b.large, memory_order_relaxed);
	atomic_fetch_add_explicit(&k->waiting_room, keep_batch_room(&q->b) - q->b.promised, memory_order_relaxed);
	q->position = ++k->position;
	*k->end = q;
	k->end = &q->next;
	if (k->sleeping && (first || (urgent && !k->urgent)))
		pthread_cond_signal(&k->some);
	k->urgent |= urgent;
	return q->position;
}

static void take_back(struct keep *k, struct keep_batch *b)
{
	atomic_fetch_sub_explicit(&k->waiting_room, b->promised, memory_order_relaxed);
	b->promised = 0;
}

static uint64_t submit(struct keep *k, struct keep_batch *b, bool urgent)
{
	uint64_t position = UINT64_MAX;
	bool broken;

	if (!b->records) {
		take_back(k, b);
		return 0;
	}
	pthread_mutex_lock(&k->lock);
	broken = atomic_load(&k->state) == KEEP_BROKEN;
	if (!broken)
		position = enqueue(k, take(k, b), urgent);
	pthread_mutex_unlock(&k->lock);
	if (broken) {
		take_back(k, b);
		keep_batch_done(b);
	}
	return k->setup.lazy && !broken ? 0 : position;
}

uint64_t keep_submit(struct keep *k, struct keep_batch *b)
{
	return submit(k, b, true);
}

void keep_submit_later(struct keep *k, struct keep_batch *b)
{
	(void)submit(k, b, false);
}

uint64_t keep_new_id(struct keep *k)
{
	return atomic_fetch_add_explicit(&k->next_id, 1, memory_order_relaxed);
}

enum keep_state keep_state(const struct keep *k)
{
	return atomic_load_explicit(&k->state, memory_order_relaxed);
}

static bool is_refusing(const struct keep *k)
{
	return keep_state(k) != KEEP_FINE ||
	       atomic_load_explicit(&k->waiting_bytes, memory_order_relaxed) > KEEP_WAITING_MAX;
}

/*
 * What is taken must fit: behind a group that does not, nobody could take anything away any more. What the batch has may need more than was
 * promised: a message is for many, and each of them a row later.
 */
bool keep_promise(struct keep *k, struct keep_batch *b, uint64_t bytes)
{
	uint64_t has = keep_batch_room(b), more = has > b->promised ? has - b->promised : 0;
	uint64_t need = keep_record_room(bytes) + more, before;

	if (is_refusing(k))
		return false;
	before = atomic_fetch_add_explicit(&k->waiting_room, need, memory_order_relaxed);
	b->promised += need;
	if (before + more < atomic_load_explicit(&k->room, memory_order_relaxed) &&
	    before + need <= atomic_load_explicit(&k->most, memory_order_relaxed))
		return true;
	atomic_fetch_sub_explicit(&k->waiting_room, need, memory_order_relaxed);
	b->promised -= need;
	return false;
}

bool keep_full(const struct keep *k)
{
	return is_refusing(k) || atomic_load_explicit(&k->waiting_room, memory_order_relaxed) >=
					 atomic_load_explicit(&k->room, memory_order_relaxed);
}

uint64_t keep_committed(const struct keep *k)
{
	return atomic_load(&k->committed);
}

void keep_count(const struct keep *k, struct keep_counts *ret)
{
	*ret = (struct keep_counts){
		.commits = atomic_load_explicit(&k->commits, memory_order_relaxed),
		.records = atomic_load_explicit(&k->records, memory_order_relaxed),
		.waiting_bytes = atomic_load_explicit(&k->waiting_bytes, memory_order_relaxed),
		.file_bytes = atomic_load_explicit(&k->file_bytes, memory_order_relaxed),
		.room = atomic_load_explicit(&k->room, memory_order_relaxed),
	};
}
