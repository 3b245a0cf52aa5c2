/*
 * keep_writer.c - the thread that writes. It takes all that was submitted, makes one transaction of it, and tells how
 * far it has come. While one is on its way to the disk the next ones gather: the slower the disk, the larger the
 * groups.
 *
 * What becomes of errors:
 *	no room (the map, the disk)  the transaction is undone; the file grows, or the same is tried again until it can
 *	no memory                    tried again
 *	anything else                broken, for good. After a failed fsync nobody knows what the disk has, and the kernel
 *	                             forgets that it failed: a second one that succeeds would say nothing. So an fsync that
 *	                             fails for want of room is no exception: is_before_sync()
 */
#include <errno.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include "store/keep_priv.h"
#include "store/keep_sys.h"

enum {
	TOGETHER = 16 << 20, /* bytes of one transaction, about ... */
	PAGES = 4096, /* ... and records: each may change a page of its own, and LMDB never gives back the memory of these */
	BLOCK = 64 << 10,   /* the file has a whole number of these */
	STEP_MIN = 4 << 20, /* the file grows by a quarter, but by these at least and at most */
	STEP_MAX = 256 << 20,
	TRY_AGAIN = 50, /* ms */
	FEW = 256, /* rows that go in a transaction where room is short: the pages that it frees are written down on one */
	FREE_PAGES = 0, /* LMDB's own tree */
	HEADS = 2,      /* pages that are in no tree */
	FEW_PAGES = 16, /* that the smallest transaction frees, at most */
	RESERVE_MAX = 8 << 20,
	SPARES = 16,
	SPARE_MAX = 256 << 10,
};

int keep_errno(int lmdb)
{
	switch (lmdb) {
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
		return -ENOSPC;
	case MDB_MAP_RESIZED:
		return -EFBIG;
	default:
		return lmdb >= 0 ? -lmdb : -EUCLEAN;
	}
}

int keep_env(const char *path, uint64_t map, MDB_env **ret, MDB_dbi *ret_dbi)
{
	MDB_env *env;
	MDB_txn *txn;
	int r = mdb_env_create(&env);

	if (r)
		return keep_errno(r);
	r = mdb_env_set_mapsize(env, map);
	/* One process by our own lock, one thread: LMDB need not lock, nor keep a table of readers */
	if (r == 0)
		r = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS | MDB_NORDAHEAD, 0600);
	if (r == 0)
		r = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
	if (r == 0) {
		r = mdb_dbi_open(txn, NULL, 0, ret_dbi);
		mdb_txn_abort(txn);
	}
	if (r)
		mdb_env_close(env);
	else
		*ret = env;
	return keep_errno(r);
}

void keep_set_state(struct keep *k, enum keep_state state, int err)
{
	enum keep_state before = atomic_load(&k->state);

	if (before == state || before == KEEP_BROKEN)
		return;
	atomic_store(&k->state, state);
	if (k->setup.state)
		k->setup.state(k->setup.arg, state, err);
}

/* ---- room ---- */

/* Pages that a tree has. */
static uint64_t pages_of(const MDB_stat *s)
{
	return s->ms_branch_pages + s->ms_leaf_pages + s->ms_overflow_pages;
}

/* Of the pages that are in no tree those that the last transaction has freed. */
static uint64_t pages_freed_last(MDB_txn *txn)
{
	MDB_val key, value;
	MDB_cursor *c;
	uint64_t n = 0;

	if (mdb_cursor_open(txn, FREE_PAGES, &c))
		return 0;
	if (mdb_cursor_get(c, &key, &value, MDB_LAST) == 0 && keep_get(key.mv_data, 8) == mdb_txn_id(txn))
		n = keep_get(value.mv_data, 8);
	mdb_cursor_close(c);
	return n;
}

/* What no tree has: LMDB knows how many pages each has, so nothing is gone through. */
static void count_pages(struct keep *k)
{
	MDB_stat rows, list;
	MDB_envinfo info;
	MDB_txn *txn;

	if (mdb_txn_begin(k->env, NULL, MDB_RDONLY, &txn))
		return;
	if (mdb_env_info(k->env, &info) == 0 && mdb_stat(txn, k->dbi, &rows) == 0 &&
	    mdb_stat(txn, FREE_PAGES, &list) == 0) {
		uint64_t all = info.me_last_pgno + 1, used = HEADS + pages_of(&rows) + pages_of(&list);

		k->at_end = k->map > all * rows.ms_psize ? k->map - all * rows.ms_psize : 0;
		k->inside = all > used ? (all - used) * rows.ms_psize : 0;
		k->late = pages_freed_last(txn);
	}
	mdb_txn_abort(txn);
}

/* By which the file can grow: up to its limit, and by what the disk has now. */
static uint64_t room_behind(const struct keep *k)
{
	uint64_t grows = k->setup.limit > k->map ? k->setup.limit - k->map : 0, has, there, owed;
	struct statvfs disk;
	struct stat st;

	if (grows == 0 || fstatvfs(k->fd, &disk) < 0 || fstat(k->fd, &st) < 0)
		return grows;
	has = (uint64_t)disk.f_bavail * disk.f_frsize;
	there = (uint64_t)st.st_blocks * 512; /* less than the map where nothing can be promised */
	owed = there < k->map ? k->map - there : 0;
	has = has > owed ? has - owed : 0;
	return has < grows ? has : grows;
}

/*
 * For what only takes away: an eighth of what there can be, but room for two of the largest messages. And what must be
 * there again before it is fine: a quarter of that, but no more than comes back.
 */
static void set_reserve(struct keep *k, uint64_t behind)
{
	uint64_t all = k->map + behind, least = 2 * k->setup.largest, n = all / 8;

	n = n < RESERVE_MAX ? n : RESERVE_MAX;
	k->reserve = n > least ? n : least;
	k->again = all > k->reserve ? (all - k->reserve) / 8 : 0;
	k->again = k->again < k->reserve / 4 ? k->again : k->reserve / 4;
}

int keep_reserve(struct keep *k, uint64_t bytes)
{
	if (sys_fallocate(k->fd, 0, 0, (off_t)bytes) == 0)
		return 0;
	return errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL ? 0 : -errno;
}

/*
 * The map is as large as the file, whose blocks are the disk's promise: so a disk that is full is met here and not in
 * a transaction. Where file systems cannot promise, it is met there. A disk that has less gives what it has. False: nothing.
 */
static bool grow(struct keep *k, uint64_t wanted)
{
	uint64_t step = k->map / 4, room = room_behind(k), map;

	step = step < STEP_MIN ? STEP_MIN : step > STEP_MAX ? STEP_MAX : step;
	step = step > wanted ? step : wanted;
	map = (k->map + (step < room ? step : room)) / BLOCK * BLOCK;
	if (map <= k->map)
		return false;
	if (keep_reserve(k, map) < 0 || mdb_env_set_mapsize(k->env, map))
		return false;
	k->at_end += map - k->map;
	k->map = map;
	atomic_store_explicit(&k->file_bytes, map, memory_order_relaxed);
	return true;
}

static bool is_full(const struct keep *k)
{
	return atomic_load(&k->state) == KEEP_FULL;
}

/* No value needs pages in a row (keep_parts.c): a free page is one wherever it is. */
void keep_measure(struct keep *k)
{
	const uint64_t behind = room_behind(k);
	uint64_t all, room;

	count_pages(k);
	set_reserve(k, behind);
	all = k->at_end + k->inside + behind;
	room = all > k->reserve + k->owed ? all - k->reserve - k->owed : 0;
	atomic_store_explicit(&k->room, room, memory_order_relaxed);
	atomic_store_explicit(&k->most, room + k->reserve / 2, memory_order_relaxed);
}

static bool is_short(const struct keep *k)
{
	return is_full(k) || atomic_load_explicit(&k->room, memory_order_relaxed) < k->reserve;
}

/* For so much, and for what only takes away. */
static bool has_room_for(struct keep *k, uint64_t need)
{
	uint64_t wanted = need + k->reserve + k->owed;

	if (k->at_end < wanted)
		(void)grow(k, wanted);
	return k->at_end + k->inside >= wanted;
}

/* What is still to be swept comes back at once, and little by little nobody would be glad of it. */
static uint64_t wanted_again(const struct keep *k)
{
	return k->sweeps ? k->reserve : k->again;
}

/*
 * Before a transaction, and from time to time while room is short. It is full until there is some more than none, and until something
 * was written since it was not possible.
 */
static void look_for_room(struct keep *k, uint64_t need)
{
	bool fits;

	if (is_short(k)) /* others may have given back what they have of the disk */
		keep_measure(k);
	fits = has_room_for(k, need);
	if (fits && !k->stuck && atomic_load(&k->room) > (is_full(k) ? wanted_again(k) : 0))
		keep_set_state(k, KEEP_FINE, 0);
	else
		keep_set_state(k, KEEP_FULL, k->map + BLOCK > k->setup.limit ? -EFBIG : -ENOSPC);
}

/* ---- transactions ---- */

/* What LMDB writes itself no test can make fail; so this does. */
static int commit(MDB_txn *txn)
{
	if (fault_hit(FAULT_SYS)) {
		mdb_txn_abort(txn);
		return errno;
	}
	return mdb_txn_commit(txn);
}

/* btrfs, ZFS, bcachefs: they write nothing in place, whatever was reserved. */
static bool copies_on_write(const struct statfs *disk)
{
	const uint32_t type = (uint32_t)disk->f_type;

	return type == 0x9123683e || type == 0x2fc12fc1 || type == 0xca451a4e;
}

/* May the disk have no room for what a transaction writes? Not where the file has all its blocks. */
static bool writes_need_room(const struct keep *k)
{
	struct statfs disk;
	struct stat st;

	if (fstat(k->fd, &st) < 0 || fstatfs(k->fd, &disk) < 0)
		return false;
	return (uint64_t)st.st_blocks * 512 < k->map || copies_on_write(&disk);
}

/*
 * Why a commit has failed: before its fsync? LMDB's own two come before it writes, and ENOMEM is malloc's. Then it writes pages, syncs, writes
 * the head: what these say cannot be told apart.
 */
static bool is_before_sync(const struct keep *k, int r)
{
	if (r == MDB_MAP_FULL || r == MDB_TXN_FULL || r == ENOMEM)
		return true;
	return (r == ENOSPC || r == EDQUOT) && writes_need_room(k);
}

/* What it returns before the commit, not even of a page that was written early (MDB_TXN_SPILLS), was synced. */
static bool may_pass(int r)
{
	r = keep_errno(r);
	return r == -ENOSPC || r == -EFBIG || r == -ENOMEM || r == -EDQUOT;
}

/* 0 or -errno; its transaction has gone. */
static int end_txn(struct keep *k, const struct keep_work *w, int r, bool *ret_again)
{
	*ret_again = may_pass(r);
	if (r) {
		mdb_txn_abort(w->txn);
		return keep_errno(r);
	}
	r = commit(w->txn);
	*ret_again = is_before_sync(k, r);
	if (r == 0) {
		k->owed = w->owed;
		keep_measure(k); /* before what was written is not counted as waiting any more */
	}
	return keep_errno(r);
}

/*
 * 0 or -errno; *ret_again: nothing was synced, and it may be tried again. Of one batch maybe not all: k->at says how far. Of none: just what
 * was left for later.
 */
static int write_some(struct keep *k, const struct keep_queued *first, const struct keep_queued *end, bool *ret_again)
{
	struct keep_work w = { .dbi = k->dbi, .left = is_short(k) ? FEW : 2 * PAGES, .at = k->at, .owed = k->owed };
	int r = mdb_txn_begin(k->env, NULL, 0, &w.txn);

	*ret_again = may_pass(r);
	if (r)
		return keep_errno(r);
	w.may_stop = first && first->next == end;
	for (const struct keep_queued *q = first; r == 0 && q != end; q = q->next)
		r = keep_apply(&w, &q->b);
	if (r == 0 && (k->sweeps || w.sweeps))
		r = keep_sweep(&w);
	r = end_txn(k, &w, r, ret_again);
	if (r < 0)
		return r;
	k->stuck = false;
	k->at = w.at;
	k->sweeps = w.sweeps;
	return 0;
}

/*
 * A transaction may not use what the one before it has freed, for the other head leads there yet. Tried again it is the same one, so it never
 * may, however often. A small one between them gives it what there is. As write_some(); -EAGAIN: that would be hardly anything.
 */
static int pass_on(struct keep *k, bool *ret_again)
{
	struct keep_work w = { .dbi = k->dbi, .owed = k->owed };
	struct keep_batch b = {};
	int r;

	*ret_again = true;
	if (k->late <= FEW_PAGES || keep_put_head(&b) < 0)
		return -EAGAIN;
	r = mdb_txn_begin(k->env, NULL, 0, &w.txn);
	r = r ? r : keep_apply(&w, &b);
	keep_batch_done(&b);
	return end_txn(k, &w, r, ret_again);
}

/* There may be more room, or less, than the last count of it said. */
static void take_change(struct keep *k)
{
	if (!k->changed)
		return;
	k->setup.limit = k->limit;
	k->setup.largest = k->largest;
	k->changed = false;
	keep_measure(k);
}

/* While it is stuck: what it has been told meanwhile. True: it is closed. */
static bool hear(struct keep *k)
{
	bool closing;

	pthread_mutex_lock(&k->lock);
	take_change(k);
	closing = k->closing;
	pthread_mutex_unlock(&k->lock);
	return closing;
}

/* What was left for later. */
static void sweep(struct keep *k)
{
	bool again;
	int r = write_some(k, NULL, NULL, &again);

	if (r == 0 || (again && pass_on(k, &again) == 0))
		return;
	k->stuck = again;
	k->sweeps = k->stuck;
	keep_set_state(k, k->stuck ? KEEP_FULL : KEEP_BROKEN, r);
}

/*
 * Until it is written, or never will be. A store that is closed does not wait for a disk that is full. -EAGAIN: the first alone
 * may fit.
 */
static int write_until(struct keep *k, const struct keep_queued *first, const struct keep_queued *end, uint64_t need)
{
	bool again;
	int r;

	for (;;) {
		look_for_room(k, need);
		r = write_some(k, first, end, &again);
		if (r == 0 && k->at) {
			need = 0;                                     /* that was for all of it */
			while (k->sweeps && !k->stuck && is_short(k)) /* what it has taken away is for the rest of it */
				sweep(k);
			if (atomic_load(&k->state) == KEEP_BROKEN)
				return -EIO;
			continue;
		}
		if (r == 0 || !again)
			return r;
		if (r != -ENOMEM && (grow(k, need + k->reserve + k->owed) || pass_on(k, &again) == 0))
			continue;
		if (!again)
			return -EIO;
		k->stuck = true;
		keep_set_state(k, KEEP_FULL, r);
		if (hear(k))
			return r;
		if (first->next != end)
			return -EAGAIN;
		usleep(TRY_AGAIN * 1000);
	}
}

/* ---- the queue ---- */

static bool has_reason(const struct keep *k)
{
	return k->first || k->closing;
}

/* Lazy: what comes within a moment goes together; not when that would be much. */
static void dawdle(struct keep *k)
{
	for (unsigned ms = 0; ms < KEEP_LAZY_MS && !k->closing && atomic_load(&k->waiting_bytes) < TOGETHER; ms += 20) {
		pthread_mutex_unlock(&k->lock);
		usleep(20 * 1000);
		pthread_mutex_lock(&k->lock);
	}
}

static struct timespec in_ms(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += ms * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000L;
	}
	return t;
}

/* Until something comes; false: until then nothing has. */
static bool sleep_until(struct keep *k, const struct timespec *until)
{
	int r;

	k->sleeping = true;
	r = until ? pthread_cond_timedwait(&k->some, &k->lock, until) : pthread_cond_wait(&k->some, &k->lock);
	k->sleeping = false;
	return r == 0;
}

/* Nobody waits for what there is: a transaction that began now would only keep those waiting who come meanwhile. */
static void linger(struct keep *k)
{
	struct timespec until = in_ms(KEEP_LATER_MS);

	while (!k->urgent && !k->closing && sleep_until(k, &until))
		;
}

/* A store that is full looks again from time to time, for nobody may come. */
static void wait_for_some(struct keep *k)
{
	struct timespec until = in_ms(k->sweeps && !k->stuck ? 0 : TRY_AGAIN);

	if (!k->changed && sleep_until(k, k->sweeps || is_short(k) ? &until : NULL))
		return;
	take_change(k);
	pthread_mutex_unlock(&k->lock);
	look_for_room(k, 0);
	if (k->sweeps)
		sweep(k);
	pthread_mutex_lock(&k->lock);
}

/* All of the queue; NULL: closed. */
static struct keep_queued *take_queue(struct keep *k)
{
	struct keep_queued *q;

	pthread_mutex_lock(&k->lock);
	while (!has_reason(k))
		wait_for_some(k);
	take_change(k);
	if (k->setup.lazy)
		dawdle(k);
	else if (!k->urgent)
		linger(k);
	k->urgent = false;
	q = k->first;
	k->first = NULL;
	k->end = &k->first;
	pthread_mutex_unlock(&k->lock);
	return q;
}

/* Their memory goes back to those who submit, when it is not much. */
static void put_back(struct keep *k, struct keep_queued *q)
{
	struct keep_batch b = q->b;

	keep_drop_blobs(&b);
	q->b = (struct keep_batch){ .p = b.p, .cap = b.cap };
	pthread_mutex_lock(&k->lock);
	if (k->spares < SPARES && b.cap <= SPARE_MAX) {
		q->next = k->spare;
		k->spare = q;
		k->spares++;
		q = NULL;
	}
	pthread_mutex_unlock(&k->lock);
	if (q)
		keep_batch_done(&b);
}

static void written(struct keep *k, struct keep_queued *q, const struct keep_queued *end, bool ok)
{
	while (q != end) {
		struct keep_queued *next = q->next;

		atomic_fetch_sub_explicit(&k->waiting_bytes, q->b.n + q->b.large, memory_order_relaxed);
		atomic_fetch_sub_explicit(&k->waiting_room, keep_batch_room(&q->b), memory_order_relaxed);
		if (ok)
			atomic_fetch_add_explicit(&k->records, q->b.records, memory_order_relaxed);
		put_back(k, q);
		q = next;
	}
}

/* One transaction from the front of them. */
static struct keep_queued *write_front(struct keep *k, struct keep_queued *first)
{
	struct keep_queued *end = first;
	const uint64_t most = is_short(k) ? FEW / KEEP_OP_ROWS : PAGES;
	uint64_t bytes = 0, records = 0, need = 0, position = 0;
	int r = -EIO;

	do {
		bytes += end->b.n + end->b.large;
		records += end->b.records;
		need += keep_batch_room(&end->b);
		position = end->position;
		end = end->next;
	} while (end && !k->alone && bytes < TOGETHER && records + end->b.records <= most);
	if (atomic_load(&k->state) != KEEP_BROKEN)
		r = write_until(k, first, end, need);
	k->alone = r == -EAGAIN;
	if (k->alone)
		return first;
	if (r < 0)
		keep_set_state(k, KEEP_BROKEN, r);
	written(k, first, end, r == 0);
	if (r < 0)
		return end;
	atomic_fetch_add_explicit(&k->commits, 1, memory_order_relaxed);
	atomic_store(&k->committed, position);
	if (k->setup.committed)
		k->setup.committed(k->setup.arg, position);
	return end;
}

void *keep_writer(void *arg)
{
	struct keep *k = arg;
	struct keep_queued *q;

	while ((q = take_queue(k)))
		while (q)
			q = write_front(k, q);
	return NULL;
}
