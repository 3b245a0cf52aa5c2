/* heap.c - see heap.h. */
#include "base/heap.h"

#include <errno.h>

#include "base/mem.h"

static void put(struct heap *h, uint32_t i, struct heap_slot s)
{
	h->v[i] = s;
	s.node->at = i + 1;
}

static void sift_up(struct heap *h, uint32_t i, struct heap_slot s)
{
	while (i > 0) {
		uint32_t up = (i - 1) / 2;

		if (h->v[up].key <= s.key)
			break;
		put(h, i, h->v[up]);
		i = up;
	}
	put(h, i, s);
}

static void sift_down(struct heap *h, uint32_t i, struct heap_slot s)
{
	for (;;) {
		uint32_t down = 2 * i + 1;

		if (down >= h->n)
			break;
		if (down + 1 < h->n && h->v[down + 1].key < h->v[down].key)
			down++;
		if (h->v[down].key >= s.key)
			break;
		put(h, i, h->v[down]);
		i = down;
	}
	put(h, i, s);
}

static void settle(struct heap *h, uint32_t i, struct heap_slot s)
{
	if (i > 0 && h->v[(i - 1) / 2].key > s.key)
		sift_up(h, i, s);
	else
		sift_down(h, i, s);
}

void heap_done(struct heap *h)
{
	mem_free(h->v);
	*h = (struct heap){};
}

int heap_reserve(struct heap *h, uint32_t n)
{
	if (n <= h->cap)
		return 0;

	/* half again, not double: thousands of idle sessions pay for the slack */
	uint32_t cap = h->cap + h->cap / 2 > n ? h->cap + h->cap / 2 : n + 15;
	struct heap_slot *v = mem_realloc(h->v, cap * sizeof(*v));

	if (!v)
		return -ENOMEM;
	h->v = v;
	h->cap = cap;
	return 0;
}

int heap_set(struct heap *h, struct heap_node *node, uint64_t key)
{
	if (node->at) {
		settle(h, node->at - 1, (struct heap_slot){ key, node });
		return 0;
	}

	int r = heap_reserve(h, h->n + 1);

	if (r < 0)
		return r;
	h->n++;
	sift_up(h, h->n - 1, (struct heap_slot){ key, node });
	return 0;
}

void heap_del(struct heap *h, struct heap_node *node)
{
	if (!node->at)
		return;

	uint32_t i = node->at - 1;
	struct heap_slot last = h->v[--h->n];

	node->at = 0;
	if (i < h->n)
		settle(h, i, last);
}

struct heap_node *heap_min(const struct heap *h, uint64_t *ret_key)
{
	if (!h->n)
		return NULL;
	if (ret_key)
		*ret_key = h->v[0].key;
	return h->v[0].node;
}
