/* test_heap.c - deadlines in order, whatever is moved or taken out between; random use against a plain array. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/heap.h"

enum { NODES = 500 };

struct owner {
	struct heap_node node;
	uint64_t key; /* 0: not in */
};

static struct owner owners[NODES];

static uint64_t smallest(void)
{
	uint64_t min = UINT64_MAX;

	for (int i = 0; i < NODES; i++)
		if (owners[i].key && owners[i].key < min)
			min = owners[i].key;
	return min;
}

static uint32_t count(void)
{
	uint32_t n = 0;

	for (int i = 0; i < NODES; i++)
		n += owners[i].key != 0;
	return n;
}

/* Each node knows its place, and no child is earlier than its parent. */
static void check(const struct heap *h)
{
	uint64_t key;
	struct heap_node *min = heap_min(h, &key);

	assert_int_equal(h->n, count());
	for (uint32_t i = 0; i < h->n; i++) {
		assert_int_equal(h->v[i].node->at, i + 1);
		assert_int_equal(((struct owner *)h->v[i].node)->key, h->v[i].key);
		if (i)
			assert_true(h->v[(i - 1) / 2].key <= h->v[i].key);
	}
	if (!h->n) {
		assert_null(min);
		return;
	}
	assert_int_equal(key, smallest());
	assert_int_equal(((struct owner *)min)->key, key);
}

static void random_use(void **state)
{
	struct heap h = {};

	(void)state;
	for (unsigned seed = 1; seed < 8; seed++) {
		memset(owners, 0, sizeof(owners));
		srandom(seed);
		for (int i = 0; i < 3000; i++) {
			struct owner *o = &owners[random() % NODES];

			if (random() % 3) {
				o->key = 1 + (uint64_t)random() % (seed % 2 ? 50 : 1000000);
				assert_int_equal(heap_set(&h, &o->node, o->key), 0);
			} else {
				o->key = 0;
				heap_del(&h, &o->node);
				assert_int_equal(o->node.at, 0);
			}
			if (i % 7 == 0)
				check(&h);
		}
		for (uint64_t last = 0, key; h.n; last = key) {
			struct owner *o = (struct owner *)heap_min(&h, &key);

			assert_true(key >= last);
			o->key = 0;
			heap_del(&h, &o->node);
		}
		check(&h);
	}
	heap_done(&h);
	assert_null(h.v);
}

static void an_empty_heap(void **state)
{
	struct heap h = {};
	struct heap_node lone = {};
	uint64_t key = 7;

	(void)state;
	assert_null(heap_min(&h, &key));
	assert_int_equal(key, 7);
	heap_del(&h, &lone); /* nothing when it is not in */
	heap_done(&h);
}

static void reserved_room_cannot_fail(void **state)
{
	struct heap h = {};

	(void)state;
	memset(owners, 0, sizeof(owners));
	assert_int_equal(heap_reserve(&h, NODES), 0);
#ifdef GUICHET_FAULTS
	fault_arm(FAULT_MEM, 1, 0, true);
#endif
	for (int i = 0; i < NODES; i++) {
		owners[i].key = (uint64_t)(NODES - i);
		assert_int_equal(heap_set(&h, &owners[i].node, owners[i].key), 0);
	}
	check(&h);
#ifdef GUICHET_FAULTS
	struct heap_node one_more = {};

	while (h.n < h.cap) { /* the slack of reserve */
		struct heap_node *n = calloc(1, sizeof(*n));

		assert_int_equal(heap_set(&h, n, 9999), 0);
	}
	assert_int_equal(heap_set(&h, &one_more, 1), -ENOMEM);
	assert_int_equal(one_more.at, 0);
	assert_int_equal(heap_set(&h, &owners[3].node, 1), 0); /* moving needs no memory */
	fault_arm(FAULT_MEM, 0, 0, false);
#endif
	while (h.n) {
		struct heap_node *n = heap_min(&h, NULL);

		heap_del(&h, n);
		if ((void *)n < (void *)owners || (void *)n >= (void *)(owners + NODES))
			free(n);
	}
	heap_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_use),
		cmocka_unit_test(an_empty_heap),
		cmocka_unit_test(reserved_room_cannot_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
