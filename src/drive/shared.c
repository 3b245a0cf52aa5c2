/* shared.c - see shared.h. */
#include "drive/shared.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "drive/sys.h"
#include "store/events.h"

static_assert((int)SHARED_PROCESSES <= (int)LIMITS_OWNERS,
	      "each process has a count of its own in the table of limits");

static size_t round_up(size_t n)
{
	return (n + 63) & ~(size_t)63;
}

/* The parts, one behind the other. */
struct area {
	struct guard guard;
	struct limits limits;
	struct guard_ports ports;
	struct shared_process process[SHARED_PROCESSES];
	_Alignas(64) unsigned char tallies[];
};

static int map_it(struct shared *sh)
{
	struct area *a;
	int r;

	sh->size = sizeof(struct area) + SHARED_TALLIES * sh->tally_size + events_size();
	a = sys_mmap(sh->size, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE);
	if (a == MAP_FAILED)
		return -errno;
	sh->map = a;
	sh->guard = &a->guard;
	sh->limits = &a->limits;
	sh->ports = &a->ports;
	sh->process = a->process;
	sh->tallies = a->tallies;
	sh->events = (struct events *)(uintptr_t)(sh->tallies + SHARED_TALLIES * sh->tally_size);
	r = guard_init(sh->guard);
	return r < 0 ? r : limits_init(sh->limits);
}

int shared_new(unsigned rows, struct shared **ret)
{
	struct shared *sh = mem_zalloc(sizeof(*sh));
	int r;

	if (!sh)
		return -ENOMEM;
	sh->rows = rows;
	sh->tally_size = round_up(sizeof(struct tally) + (size_t)rows * STAT_N * sizeof(_Atomic uint64_t));
	r = map_it(sh);
	if (r < 0)
		shared_free(&sh);
	else
		*ret = sh;
	return r;
}

void shared_free(struct shared **sh)
{
	if (*sh && (*sh)->map)
		munmap((*sh)->map, (*sh)->size);
	mem_free(*sh);
	*sh = NULL;
}

/* ---- counters ---- */

static struct tally *nth(const struct shared *sh, size_t i)
{
	return (struct tally *)(uintptr_t)(sh->tallies + i * sh->tally_size);
}

static bool is_of(const struct tally *t, unsigned owner, const char *name, const struct proto *proto)
{
	return atomic_load(&t->owner) == owner + 1 && t->proto == proto && strncmp(t->name, name, sizeof(t->name)) == 0;
}

/* Several processes may look for a free one at once. */
static struct tally *claim(struct shared *sh, unsigned owner)
{
	for (size_t i = 0; i < SHARED_TALLIES; i++) {
		unsigned none = 0;

		if (!atomic_compare_exchange_strong(&nth(sh, i)->owner, &none, owner + 1))
			continue;
		sh->mine[i] = owner == 0;
		return nth(sh, i);
	}
	return NULL;
}

struct tally *shared_tally(struct shared *sh, unsigned owner, const char *name, const struct proto *proto)
{
	struct tally *t;

	for (size_t i = 0; i < SHARED_TALLIES; i++)
		if (is_of(nth(sh, i), owner, name, proto))
			return nth(sh, i);
	t = claim(sh, owner);
	if (!t)
		return NULL;
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->proto = proto; /* last: without it, it is nobody's yet for shared_next() */
	return t;
}

const struct tally *shared_next(const struct shared *sh, const struct tally *after)
{
	size_t i = after ? (size_t)((const unsigned char *)after - sh->tallies) / sh->tally_size + 1 : 0;

	for (; i < SHARED_TALLIES; i++)
		if (atomic_load(&nth(sh, i)->owner) && nth(sh, i)->proto)
			return nth(sh, i);
	return NULL;
}

/* ---- processes ---- */

int shared_take_process(struct shared *sh, const char *name)
{
	for (int i = 1; i < SHARED_PROCESSES; i++) {
		if (*sh->names[i])
			continue;
		sh->process[i] = (struct shared_process){};
		snprintf(sh->names[i], SHARED_NAME, "%s", name);
		return i;
	}
	return -1;
}

void shared_begin_process(struct shared *sh, unsigned number, const char *name, uint64_t now)
{
	struct shared_process *p = &sh->process[number];

	if (name)
		snprintf(sh->names[number], SHARED_NAME, "%s", name);
	atomic_store(&p->started, now);
	atomic_store(&p->pid, getpid());
}

bool shared_crash_peer(const struct shared_crash *c, char ret[static PEER_TEXT])
{
	uint8_t n = *(const volatile uint8_t *)&c->n; /* once: it may change between two looks */
	struct peer *p;

	if (!atomic_load(&c->signal) || (n != 4 && n != 16))
		return false;
	p = peer_new(n == 4 ? PEER_IP4 : PEER_IP6, c->addr, n, c->port, 0);
	if (!p)
		return false;
	peer_text(p, ret);
	peer_unref(p);
	return true;
}

static struct tally *heir_of(struct shared *sh, const struct tally *t)
{
	char name[sizeof(t->name)];

	if (!t->proto) /* its process died as it claimed it */
		return NULL;
	snprintf(name, sizeof(name), "%.*s", (int)sizeof(t->name) - 1, t->name);
	return shared_tally(sh, 0, name, t->proto);
}

static void empty(const struct shared *sh, struct tally *t)
{
	memset((void *)t->v, 0, (size_t)sh->rows * STAT_N * sizeof(t->v[0]));
	atomic_store(&t->open, 0);
	t->admit = (struct admit_state){};
	atomic_store(&t->workers, 0);
	atomic_store(&t->waiting, 0);
	t->proto = NULL;
	memset(t->name, 0, sizeof(t->name));
	atomic_store(&t->owner, 0);
}

static void inherit(struct shared *sh, struct tally *t)
{
	size_t n = (size_t)sh->rows * STAT_N;
	struct tally *heir = heir_of(sh, t);

	for (size_t i = 0; heir && i < n; i++)
		atomic_fetch_add(&heir->v[i % STAT_N], atomic_load(&t->v[i]));
	if (heir)
		atomic_fetch_add(&heir->v[STAT_CLOSED], atomic_load(&t->open)); /* cut off */
	empty(sh, t);
}

/*
 * What a process that was taken over has claimed for others: for us, or for nobody who lives. Else all of them would be taken until
 * a restart.
 */
static void tidy(struct shared *sh)
{
	for (size_t i = 0; i < SHARED_TALLIES; i++) {
		unsigned owner = atomic_load(&nth(sh, i)->owner);
		bool right = owner == 0 ||
			     (owner == 1 ? sh->mine[i] : owner <= SHARED_PROCESSES && *sh->names[owner - 1]);

		if (!right)
			empty(sh, nth(sh, i));
	}
}

void shared_bury_process(struct shared *sh, unsigned number)
{
	limits_drop(sh->limits, number);
	for (size_t i = 0; i < SHARED_TALLIES; i++)
		if (atomic_load(&nth(sh, i)->owner) == number + 1)
			inherit(sh, nth(sh, i));
	atomic_store(&sh->process[number].pid, 0);
	memset(sh->names[number], 0, SHARED_NAME);
	tidy(sh);
}
