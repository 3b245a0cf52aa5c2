/* test_outq.c - the output queue: every kind of record over the edges of chunks, and random use against a simple model. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "core/layer.h"
#include "core/outq.h"
#include "support/toy.h"

enum { SOME = 1 << 18, KINDS = 6 };

static struct chunk_pool pool;
static uint8_t bytes[SOME];

static int done(void **state)
{
	(void)state;
	chunk_pool_done(&pool);
	assert_int_equal(pool.n, 0);
	return 0;
}

/* ---- the model: what should come out, byte by byte and record by record ---- */

struct want {
	enum rec_kind kind; /* MEM and BLOB are both bytes: MEM */
	size_t n;           /* bytes, datagram, file */
	size_t at;          /* in bytes[], or the file's offset */
};

struct model {
	struct outq q;
	struct want v[4096];
	size_t first, n;
	int layers; /* args alive */
};

static void drop_count(void *arg)
{
	--*(int *)arg;
}

static const struct layer counted = { .name = "counted", .drop_arg = drop_count };

static void want_add(struct model *m, enum rec_kind kind, size_t n, size_t at)
{
	assert_true(m->n < sizeof(m->v) / sizeof(m->v[0]));
	m->v[m->n++] = (struct want){ kind, n, at };
}

static size_t model_n(const struct model *m)
{
	size_t n = 0;

	for (size_t i = m->first; i < m->n; i++)
		n += m->v[i].kind == REC_FILE ? 1 : m->v[i].n;
	return n;
}

static void put_blob(struct model *m, size_t n, size_t at)
{
	struct blob *b = blob_new((struct span[]){ { bytes + at, n / 3 }, { bytes + at + n / 3, n - n / 3 } }, 2);

	assert_int_equal(outq_blob(&m->q, &pool, b), 0);
	blob_unref(b);
	if (n)
		want_add(m, REC_MEM, n, at);
}

static void put_dgram(struct model *m, size_t n, size_t at)
{
	struct peer *name = peer_new(PEER_NAME, "queue", 5, 0, 0);
	struct route r = { .n = 4, .sa = { (uint8_t)n, (uint8_t)at }, .name = name };

	assert_int_equal(outq_dgram(&m->q, &pool, n % 2 ? &r : NULL, bytes + at, n), 0);
	peer_unref(name);
	want_add(m, REC_DGRAM, n, at);
}

static void put(struct model *m, unsigned kind, size_t n, size_t at)
{
	struct file *f;

	switch (kind) {
	case 0:
		assert_int_equal(outq_mem(&m->q, &pool, bytes + at, n), 0);
		if (n)
			want_add(m, REC_MEM, n, at);
		break;
	case 1:
		put_blob(m, n, at);
		break;
	case 2:
		f = toy_file(SOME, SOME, SOME, NULL);
		assert_int_equal(outq_file(&m->q, &pool, f, (off_t)at, n), 0);
		file_unref(f);
		if (n)
			want_add(m, REC_FILE, n, at);
		break;
	case 3:
		put_dgram(m, n, at);
		break;
	case 4:
		m->layers++;
		assert_int_equal(outq_layer(&m->q, &pool, &(struct rec_layer){ &counted, &m->layers, LEFT_FEED }), 0);
		want_add(m, REC_LAYER, 0, 0);
		break;
	default:
		assert_int_equal(outq_eof(&m->q, &pool), 0);
		want_add(m, REC_EOF, 0, 0);
	}
}

/* Looks at as much as it may of the bytes at the head, then takes a part. */
static void get_bytes(struct model *m, unsigned max_iov, size_t max_bytes, size_t take)
{
	struct iovec v[64];
	unsigned n = outq_gather(&m->q, v, max_iov, max_bytes);
	size_t total = 0, i = m->first, off = 0;

	assert_true(n >= 1 && n <= max_iov);
	for (unsigned k = 0; k < n; k++) {
		const uint8_t *p = v[k].iov_base;

		assert_true(v[k].iov_len > 0);
		for (size_t b = 0, part; b < v[k].iov_len; b += part) {
			part = m->v[i].n - off < v[k].iov_len - b ? m->v[i].n - off : v[k].iov_len - b;
			assert_int_equal(m->v[i].kind, REC_MEM);
			assert_memory_equal(p + b, bytes + m->v[i].at + off, part);
			off += part;
			if (off == m->v[i].n) {
				off = 0;
				i++;
			}
		}
		total += v[k].iov_len;
	}
	assert_true(total <= max_bytes);
	take = take % (total + 1);
	outq_sent(&m->q, &pool, take);
	while (take > 0) {
		struct want *x = &m->v[m->first];
		size_t k = take < x->n ? take : x->n;

		x->n -= k;
		x->at += k;
		take -= k;
		if (x->n == 0)
			m->first++;
	}
}

static void get_dgrams(struct model *m, unsigned max)
{
	struct rec_dgram d[64];
	unsigned n = outq_dgrams(&m->q, d, max);

	assert_true(n >= 1);
	for (unsigned i = 0; i < n; i++) {
		const struct want *x = &m->v[m->first + i];

		assert_int_equal(x->kind, REC_DGRAM);
		assert_int_equal(d[i].data.n, x->n);
		assert_memory_equal(d[i].data.p, bytes + x->at, x->n);
		assert_int_equal(d[i].routed, x->n % 2);
		if (d[i].routed)
			assert_int_equal(d[i].route.sa[0], (uint8_t)x->n);
	}
	outq_pop(&m->q, &pool);
	m->first++;
}

static void get_file(struct model *m, size_t take)
{
	struct want *x = &m->v[m->first];
	struct rec_file *f = outq_file_head(&m->q);

	assert_int_equal(f->n, x->n);
	assert_int_equal((size_t)f->off, x->at);
	take = take % (x->n + 1);
	f->n -= take;
	f->off += (off_t)take;
	x->n -= take;
	x->at += take;
	if (x->n == 0) {
		outq_pop(&m->q, &pool);
		m->first++;
	}
}

static void get(struct model *m, unsigned r1, size_t r2)
{
	enum rec_kind kind = outq_kind(&m->q), want = m->first < m->n ? m->v[m->first].kind : REC_END;

	assert_int_equal(kind == REC_BLOB ? REC_MEM : kind, want);
	assert_true(kind == REC_FILE || !outq_file_head(&m->q));
	assert_true(kind == REC_LAYER || !outq_layer_head(&m->q));
	switch (kind) {
	case REC_MEM:
	case REC_BLOB:
		get_bytes(m, 1 + r1 % 64, r1 % 3 ? SIZE_MAX : 1 + r2 % 5000, r2);
		break;
	case REC_DGRAM:
		get_dgrams(m, 1 + r1 % 64);
		break;
	case REC_FILE:
		get_file(m, r2);
		break;
	case REC_LAYER:
		assert_ptr_equal(outq_layer_head(&m->q)->layer, &counted);
		drop_count(outq_layer_head(&m->q)->arg);
		outq_pop(&m->q, &pool);
		m->first++;
		break;
	case REC_EOF:
		outq_pop(&m->q, &pool);
		m->first++;
		break;
	default:
		break;
	}
	assert_int_equal(m->q.n, model_n(m));
}

static size_t size_of(unsigned r)
{
	switch (r % 6) {
	case 0:
		return 0;
	case 1:
		return 1 + r / 7 % 16;
	case 2:
		return 4000 + r / 7 % 120; /* around what a chunk holds */
	case 3:
		return r / 7 % 30000;
	default:
		return r / 7 % 600;
	}
}

static void random_use_is_what_the_model_says(void **state)
{
	static struct model m;

	(void)state;
	for (unsigned seed = 1; seed <= 60; seed++) {
		m = (struct model){};
		srandom(seed);
		for (int i = 0; i < 1500; i++) {
			unsigned r = (unsigned)random();

			if (r % 16 < 5 + seed % 7)
				put(&m, seed % 4 ? (unsigned)random() % KINDS : 0, size_of((unsigned)random()),
				    (unsigned)random() % (SOME / 2));
			else
				get(&m, (unsigned)random(), (unsigned)random());
			assert_int_equal(m.q.n, model_n(&m));
		}
		if (seed % 2)
			while (m.first < m.n)
				get(&m, (unsigned)random(), (unsigned)random());
		outq_clear(&m.q, &pool);
		assert_null(m.q.head);
		assert_null(m.q.tail);
		assert_int_equal(m.q.n, 0);
		assert_int_equal(m.layers, 0);
	}
}

static void bytes_of_every_size_over_the_edge_of_a_chunk(void **state)
{
	(void)state;
	for (size_t before = 3900; before < 4100; before++) {
		for (size_t n = 1; n < 60; n += 11) {
			static struct model m;

			m = (struct model){};
			put(&m, 0, before, 0);
			put(&m, 1, n, 5);
			put(&m, 0, n, 9);
			put(&m, 3, n, 11);
			put(&m, 0, n, 17);
			while (m.first < m.n)
				get(&m, 2, m.v[m.first].n); /* record by record */
			assert_null(m.q.head);
		}
	}
}

static void small_appends_share_a_record(void **state)
{
	struct outq q = {};
	struct iovec v[4];

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(outq_mem(&q, &pool, bytes + i, 1), 0);
	assert_int_equal(outq_gather(&q, v, 4, SIZE_MAX), 1);
	assert_int_equal(v[0].iov_len, 100);
	assert_memory_equal(v[0].iov_base, bytes, 100);
	outq_sent(&q, &pool, 40);
	assert_int_equal(outq_mem(&q, &pool, bytes + 100, 3), 0);
	assert_int_equal(outq_gather(&q, v, 4, SIZE_MAX), 1);
	assert_int_equal(v[0].iov_len, 63);
	assert_memory_equal(v[0].iov_base, bytes + 40, 63);
	outq_clear(&q, &pool);
}

static void an_empty_queue_holds_no_memory(void **state)
{
	struct outq q = {};

	(void)state;
	assert_int_equal(outq_mem(&q, &pool, bytes, 100000), 0);
	outq_sent(&q, &pool, 100000);
	assert_null(q.head);
	assert_int_equal(outq_kind(&q), REC_END);
	assert_true(pool.n > 20 && pool.n < 30);
	for (int i = 0; i < 400; i++)
		assert_int_equal(outq_mem(&q, &pool, bytes, 4000), 0);
	outq_clear(&q, &pool);
	assert_int_equal(pool.n, 256); /* 1 MiB is kept, no more */
	assert_true(chunk_pool_rest(&pool, false));
	assert_int_equal(pool.n, 256);
	assert_true(chunk_pool_rest(&pool, true));
	assert_int_equal(pool.n, 16); /* and 64 KiB for long */
	assert_false(chunk_pool_rest(&pool, true));
	assert_int_equal(pool.n, 16);
}

/* ---- bytes lent ---- */

static void lent_bytes_are_copied_when_they_go_away(void **state)
{
	uint8_t lent[20000];
	struct outq q = {};
	struct iovec v[16];
	size_t total = 0;

	(void)state;
	memcpy(lent, bytes, sizeof(lent));
	assert_int_equal(outq_lend(&q, &pool, lent, sizeof(lent)), 0);
	assert_int_equal(outq_mem(&q, &pool, "behind", 6), 0);
	assert_int_equal(outq_gather(&q, v, 16, SIZE_MAX), 2);
	assert_ptr_equal(v[0].iov_base, lent);
	outq_sent(&q, &pool, 5000);
	assert_int_equal(outq_settle(&q, &pool), 0);
	assert_int_equal(outq_settle(&q, &pool), 0); /* nothing is lent any more */
	memset(lent, 0, sizeof(lent));
	assert_int_equal(q.n, 15006);

	unsigned n = outq_gather(&q, v, 16, SIZE_MAX);

	for (unsigned i = 0; i < n; i++) {
		for (size_t k = 0; k < v[i].iov_len; k++, total++) {
			uint8_t want = total < 15000 ? bytes[5000 + total] : (uint8_t) "behind"[total - 15000];

			assert_int_equal(((uint8_t *)v[i].iov_base)[k], want);
		}
	}
	assert_int_equal(total, 15006);
	assert_int_equal(outq_eof(&q, &pool), 0);
	outq_sent(&q, &pool, 15006);
	assert_int_equal(outq_kind(&q), REC_EOF);
	outq_clear(&q, &pool);
}

/* ---- memory out ---- */

static void what_does_not_fit_into_memory(void **state)
{
#ifdef GUICHET_FAULTS
	static struct model m;
	struct blob *b = blob_new(&(struct span){ bytes, 10 }, 1);
	int layers = 1;

	m = (struct model){};
	fault_arm(FAULT_MEM, 1, 0, true);
	assert_int_equal(outq_mem(&m.q, &pool, bytes, 10), -ENOMEM);
	assert_int_equal(outq_blob(&m.q, &pool, b), -ENOMEM);
	assert_int_equal(outq_dgram(&m.q, &pool, NULL, bytes, 10), -ENOMEM);
	assert_int_equal(outq_layer(&m.q, &pool, &(struct rec_layer){ &counted, &layers, LEFT_FEED }), -ENOMEM);
	assert_int_equal(outq_eof(&m.q, &pool), -ENOMEM);
	fault_arm(FAULT_MEM, 0, 0, false);
	assert_int_equal(layers, 1); /* still the caller's */
	assert_null(m.q.head);

	put(&m, 1, 4000, 0);
	fault_arm(FAULT_MEM, 2, 0, true);
	assert_int_equal(outq_mem(&m.q, &pool, bytes, 20000), -ENOMEM);
	fault_arm(FAULT_MEM, 0, 0, false);
	outq_clear(&m.q, &pool);
	assert_int_equal(m.q.n, 0);
	blob_unref(b);
#endif
	(void)state;
}

int main(void)
{
	for (size_t i = 0; i < SOME; i++)
		bytes[i] = toy_byte(i);

	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(random_use_is_what_the_model_says, done),
		cmocka_unit_test_teardown(bytes_of_every_size_over_the_edge_of_a_chunk, done),
		cmocka_unit_test_teardown(small_appends_share_a_record, done),
		cmocka_unit_test_teardown(an_empty_queue_holds_no_memory, done),
		cmocka_unit_test_teardown(lent_bytes_are_copied_when_they_go_away, done),
		cmocka_unit_test_teardown(what_does_not_fit_into_memory, done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
