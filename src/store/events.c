/*
 * events.c - see events.h. Each event has a number; its place is that number modulo the size of the ring. A writer takes the next number,
 * fills the place, and says last which number stands there. Two that are a whole ring apart may write into one place: the sum shows it.
 */
#include "store/events.h"

#include <stdatomic.h>
#include <string.h>

#include "base/crc.h"

enum { WORD = sizeof(uint64_t), WORDS = EVENTS_TEXT / WORD };

struct place {
	_Atomic uint64_t number; /* of the event + 1; 0: it is being written */
	_Atomic uint32_t n, sum;
	_Atomic uint64_t text[WORDS];
};

struct events {
	_Atomic uint64_t until;            /* somebody listens; 0: nobody */
	_Alignas(64) _Atomic uint64_t end; /* the number of the next one */
	struct place v[EVENTS_KEPT];
};

size_t events_size(void)
{
	return sizeof(struct events);
}

void events_want(struct events *e, uint64_t until)
{
	uint64_t now = atomic_load(&e->until);

	while (now < until && !atomic_compare_exchange_weak(&e->until, &now, until))
		;
}

bool events_wanted(struct events *e, uint64_t now)
{
	uint64_t until = atomic_load_explicit(&e->until, memory_order_relaxed);

	if (!until || until > now)
		return until != 0;
	atomic_compare_exchange_strong(&e->until, &until, 0);
	return false;
}

static uint32_t sum_of(uint64_t number, const void *text, size_t n)
{
	return crc32c(crc32c(0, &number, sizeof(number)), text, n);
}

void events_put(struct events *e, const char *text, size_t n)
{
	uint64_t words[WORDS], number;
	struct place *p;

	if (n == 0 || n > EVENTS_TEXT)
		return;
	number = atomic_fetch_add(&e->end, 1);
	p = &e->v[number % EVENTS_KEPT];
	words[(n - 1) / WORD] = 0;
	memcpy(words, text, n);
	atomic_store(&p->number, 0);
	atomic_store_explicit(&p->n, (uint32_t)n, memory_order_relaxed);
	atomic_store_explicit(&p->sum, sum_of(number, text, n), memory_order_relaxed);
	for (size_t i = 0; i <= (n - 1) / WORD; i++)
		atomic_store_explicit(&p->text[i], words[i], memory_order_relaxed);
	atomic_store_explicit(&p->number, number + 1, memory_order_release);
}

uint64_t events_end(const struct events *e)
{
	return atomic_load(&e->end);
}

/* As it stands there now; false: it is not this one, or not whole. Whoever has taken over a process may have written it. */
static bool copy(const struct place *p, uint64_t number, char *ret, size_t *ret_n)
{
	uint64_t words[WORDS];
	uint32_t n, sum;

	if (atomic_load_explicit(&p->number, memory_order_acquire) != number + 1)
		return false;
	n = atomic_load_explicit(&p->n, memory_order_relaxed);
	sum = atomic_load_explicit(&p->sum, memory_order_relaxed);
	if (n == 0 || n > EVENTS_TEXT)
		return false;
	for (size_t i = 0; i <= (n - 1) / WORD; i++)
		words[i] = atomic_load_explicit(&p->text[i], memory_order_relaxed);
	if (sum_of(number, words, n) != sum)
		return false;
	memcpy(ret, words, n);
	*ret_n = n;
	return true;
}

static void skip(struct events_reader *r, uint64_t to)
{
	r->lost += to - r->at;
	r->at = to;
	r->waited = false;
}

int events_read(const struct events *e, struct events_reader *r, char ret[static EVENTS_TEXT], size_t *ret_n)
{
	uint64_t end = events_end(e);

	if (end < r->at) /* nobody of ours has done that */
		r->at = end;
	if (end - r->at > EVENTS_KEPT)
		skip(r, end - EVENTS_KEPT);
	while (r->at < end) {
		if (copy(&e->v[r->at % EVENTS_KEPT], r->at, ret, ret_n)) {
			r->at++;
			r->waited = false;
			return 1;
		}
		if (!r->waited) {
			r->waited = true;
			return 0;
		}
		skip(r, r->at + 1);
	}
	return 0;
}
