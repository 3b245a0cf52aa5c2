/* test_keep_random.c - messages that wait, come further, are passed on and end, by chance, beside a model of it in memory: what the store gives is the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/keep_priv.h"
#include "support/keeper.h"

enum { MOST = 200, CROWD = 24, IDS = 2, LARGEST = 1 << 18, STEPS = 400, SEEDS = 24 };

struct wait {
	uint64_t session;
	uint32_t ids[IDS];
	unsigned n_ids, places, qos, turn, packet, alone;
};

struct waited {
	uint64_t id;
	size_t n;
	unsigned waiters;
	struct wait w[CROWD];
};

struct model {
	struct keeper t;
	uint64_t sessions[CROWD], next;
	struct waited *m[MOST]; /* ascending by id */
	unsigned n, seed;
};

static uint8_t bytes[LARGEST];

static unsigned chance(struct model *o, unsigned n)
{
	o->seed = o->seed * 1103515245u + 12345u;
	return (unsigned)((uint64_t)(o->seed >> 8) * n >> 24);
}

/* ---- what is said to the store, and what it means ---- */

static void come(struct model *o, unsigned i)
{
	o->sessions[i] = o->next++;
	keeper_session(&o->t, o->sessions[i], "s");
}

static struct keep_waiter waiter_of(const struct wait *w)
{
	return (struct keep_waiter){ .session = w->session,
				     .ids = w->ids,
				     .n_ids = (uint16_t)w->n_ids,
				     .packet = (uint16_t)w->packet,
				     .qos = (uint8_t)w->qos,
				     .alone = (uint8_t)w->alone };
}

static struct wait some_wait(struct model *o, uint64_t session)
{
	struct wait w = { .session = session,
			  .qos = 1 + chance(o, 2),
			  .packet = 1 + chance(o, 65535),
			  .alone = chance(o, 32),
			  .n_ids = chance(o, IDS + 1) };

	w.places = w.n_ids;
	for (unsigned i = 0; i < w.n_ids; i++)
		w.ids[i] = 1 + chance(o, 1000);
	return w;
}

static void put(struct model *o)
{
	static const size_t sizes[] = { 0, 10, 900, 940, 1300, 1900, 1940, 1980, 3000, 3850, 20000, 200000 };
	struct keep_waiter w[CROWD];
	struct keep_message k = { .topic = span_str("t"), .qos = 1 };
	struct waited *m;

	k.payload = (struct span){ bytes, sizes[chance(o, sizeof(sizes) / sizeof(sizes[0]))] + chance(o, 40) };
	if (o->n == MOST || !keep_promise(o->t.k, &o->t.b, k.payload.n + 100))
		return;
	m = calloc(1, sizeof(*m));
	m->id = o->next++;
	m->n = k.payload.n;
	for (unsigned i = 0, one = chance(o, CROWD), several = chance(o, 2); i < CROWD; i++)
		if (i == one || (several && chance(o, 3) == 0))
			m->w[m->waiters++] = some_wait(o, o->sessions[i]);
	for (unsigned i = 0; i < m->waiters; i++)
		w[i] = waiter_of(&m->w[i]);
	if (k.payload.n > KEEP_COPY)
		k.large = blob_new(&k.payload, 1);
	assert_int_equal(keep_put_message(&o->t.b, m->id, &k, w, m->waiters), 0);
	blob_unref(k.large);
	o->m[o->n++] = m;
}

static void forget(struct model *o, unsigned i)
{
	for (unsigned j = 0; j < o->m[i]->waiters; j++)
		if (o->m[i]->w[j].turn != KEEP_DONE)
			return;
	free(o->m[i]);
	memmove(&o->m[i], &o->m[i + 1], (--o->n - i) * sizeof(o->m[0]));
}

static void turn(struct model *o, struct waited *m, struct wait *w)
{
	unsigned packet = 1 + chance(o, 65535), received = w->qos == 2 && (w->turn == KEEP_RECEIVED || chance(o, 2));

	if (received)
		assert_int_equal(keep_received(&o->t.b, m->id, w->session, (uint16_t)packet), 0);
	else
		assert_int_equal(keep_sent(&o->t.b, m->id, w->session, (uint16_t)packet), 0);
	if (w->turn == KEEP_DONE)
		return;
	w->turn = received ? KEEP_RECEIVED : KEEP_WAITS;
	w->packet = packet;
}

static void done(struct model *o, unsigned i, struct wait *w)
{
	assert_int_equal(keep_done(&o->t.b, o->m[i]->id, w->session), 0);
	w->turn = KEEP_DONE;
	forget(o, i);
}

static bool has(const struct waited *m, uint64_t session)
{
	for (unsigned i = 0; i < m->waiters; i++)
		if (m->w[i].session == session)
			return true;
	return false;
}

static void pass(struct model *o, unsigned i, struct wait *w, uint64_t session)
{
	const struct wait to = some_wait(o, session);
	const struct keep_waiter k = waiter_of(&to);
	unsigned places = w->places;

	assert_int_equal(keep_pass(&o->t.b, o->m[i]->id, w->session, &k), 0);
	if (w->turn == KEEP_DONE)
		return;
	if (has(o->m[i], session)) {
		w->turn = KEEP_DONE;
		forget(o, i);
		return;
	}
	*w = to;
	w->places = places;
	w->n_ids = to.n_ids < places ? to.n_ids : places;
}

/* What waits for it is passed on to one of the others, or over; another session comes in its place. */
static void end(struct model *o, unsigned which)
{
	uint64_t session = o->sessions[which], to;
	unsigned how = chance(o, 4);

	come(o, which);
	for (unsigned i = o->n; i--;)
		for (unsigned j = o->m[i]->waiters; j--;) {
			struct wait *w = &o->m[i]->w[j];

			if (w->session != session)
				continue;
			to = o->sessions[how ? chance(o, CROWD) : which];
			if (how == 3 && chance(o, 2))
				done(o, i, w);
			else
				pass(o, i, w, to);
			keep_cut(&o->t.b);
			break;
		}
	assert_int_equal(keep_end_session(&o->t.b, session), 0);
	keep_cut(&o->t.b);
}

/* ---- what it gives ---- */

static void expect_waiter(const struct keep_waiter *got, const struct wait *w)
{
	assert_int_equal(got->session, w->session);
	assert_int_equal(got->qos, w->qos);
	assert_int_equal(got->turn, w->turn);
	assert_int_equal(got->packet, w->packet);
	assert_int_equal(got->alone, w->alone);
	assert_int_equal(got->n_ids, w->n_ids);
	for (unsigned i = 0; i < w->n_ids; i++)
		assert_int_equal(got->ids[i], w->ids[i]);
}

static void expect_message(const struct keep_record *r, const struct waited *m)
{
	unsigned n = 0;

	assert_int_equal(r->id, m->id);
	assert_int_equal(r->message.payload.n, m->n);
	assert_memory_equal(r->message.payload.p, bytes, m->n);
	for (unsigned i = 0; i < m->waiters; i++)
		if (m->w[i].turn != KEEP_DONE) {
			assert_true(n < r->n_waiters);
			expect_waiter(&r->waiters[n++], &m->w[i]);
		}
	assert_int_equal(n, r->n_waiters);
}

static void expect_all(struct model *o)
{
	struct keep_record r;
	unsigned n = 0;

	while (keep_next(o->t.k, &r) == 1)
		if (r.kind == KEEP_MESSAGE) {
			assert_true(n < o->n);
			expect_message(&r, o->m[n++]);
		}
	assert_int_equal(n, o->n);
	keeper_start(&o->t);
	assert_false(o->t.found.damaged);
	assert_int_equal(o->t.found.dropped, 0);
}

static void reopen(struct model *o)
{
	keeper_submit(&o->t);
	keeper_reopen(&o->t);
	expect_all(o);
}

static void step(struct model *o)
{
	unsigned i = o->n ? chance(o, o->n) : 0, what = chance(o, 100);
	struct wait *w = o->n ? &o->m[i]->w[chance(o, o->m[i]->waiters)] : NULL;

	if (what < 45 || !w)
		put(o);
	else if (what < 60)
		turn(o, o->m[i], w);
	else if (what < 72)
		done(o, i, w);
	else if (what < 84)
		end(o, chance(o, CROWD));
	else if (what < 98)
		keeper_submit(&o->t);
	else
		reopen(o);
	keep_cut(&o->t.b);
}

static void run(unsigned seed)
{
	struct model o = { .seed = seed, .next = 1 };

	keeper_start_small(&o.t, LARGEST, 0);
	for (unsigned i = 0; i < CROWD; i++)
		come(&o, i);
	for (unsigned i = 0; i < STEPS; i++)
		step(&o);
	reopen(&o);
	while (o.n)
		for (unsigned j = o.m[o.n - 1]->waiters, i = o.n - 1; j-- && o.n > i;)
			if (o.m[i]->w[j].turn != KEEP_DONE)
				done(&o, i, &o.m[i]->w[j]);
	reopen(&o);
	assert_int_equal(o.t.found.records, CROWD + 1);
	assert_int_equal(o.t.k->owed, 0);
	keeper_done(&o.t);
}

static void test_by_chance(void **state)
{
	const char *from = getenv("SEED"); /* SEED=N: others, from there on */
	unsigned first = from ? (unsigned)strtoul(from, NULL, 10) : 0;

	(void)state;
	for (unsigned i = first; i < first + SEEDS; i++) {
		print_message("seed %u\n", i);
		run(i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_chance),
	};

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)((i * 2654435761u >> 13) | 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
