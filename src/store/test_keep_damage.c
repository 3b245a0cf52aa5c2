/*
 * test_keep_damage.c - a file that was cut, or in which bits have changed: the store opens, what it gives was written
 * so, what was not touched is there, and afterwards it is whole again. All of it in this process: a crash fails the
 * test.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "support/keeper.h"

enum { TRIALS = 500, SESSIONS = 6, MESSAGES = 150, LARGE = 9000 };

static uint64_t seed = 88172645463325252u;

static uint64_t any(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

struct image {
	uint8_t *p;
	size_t n, used; /* used: without what was reserved behind the last page */
	char *text;
};

static char *large_payload(void)
{
	char *p = malloc(LARGE + 1);

	memset(p, 'L', LARGE);
	p[LARGE] = 0;
	return p;
}

/* Something of all kinds, over several transactions, so that there are free pages. */
static void fill(struct keeper *t)
{
	char *large = large_payload(), text[40];
	uint64_t who[SESSIONS];

	for (uint64_t i = 0; i < SESSIONS; i++) {
		snprintf(text, sizeof(text), "client-%u", (unsigned)i);
		who[i] = i + 1;
		keeper_session(t, who[i], text);
		for (uint16_t q = 1; q < 5; q++)
			assert_int_equal(keep_await(&t->b, who[i], q), 0);
		assert_int_equal(keep_subscribe(&t->b, &(struct keep_subscription){ .session = who[i],
										    .filter = span_str(text) }),
				 0);
	}
	for (uint64_t i = 0; i < MESSAGES; i++) {
		snprintf(text, sizeof(text), "topic/%u", (unsigned)i);
		keeper_retain(t, text, i % 50 ? text : large);
		keeper_message(t, 1000 + i, text, i % 40 ? text : large, who, 1 + (uint32_t)any(SESSIONS));
		if (i % 3 == 0)
			assert_int_equal(keep_done(&t->b, 1000 + i, 1), 0);
		if (i % 25 == 0)
			keeper_submit(t);
	}
	keeper_submit(t);
	free(large);
}

static void make_image(struct image *m)
{
	struct keeper t;
	FILE *f;

	keeper_init_fast(&t);
	keeper_start(&t);
	fill(&t);
	keeper_reopen(&t);
	m->text = keeper_text(&t);
	keeper_close(&t);
	f = fopen(t.file, "rb");
	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	m->n = (size_t)ftell(f);
	rewind(f);
	m->p = malloc(m->n);
	assert_int_equal(fread(m->p, 1, m->n, f), m->n);
	fclose(f);
	for (m->used = m->n; m->used && !m->p[m->used - 1];)
		m->used--;
	m->n = (m->used + 4095) / 4096 * 4096;
	keeper_done(&t);
}

static void put_image(const struct keeper *t, const uint8_t *p, size_t n)
{
	FILE *f = fopen(t->file, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	fclose(f);
}

/*
 * Each line was written so, and in this order, as far as the first waiter: of those some may be lost, or wait again.
 */
static unsigned check_lines(const char *got, const char *original)
{
	unsigned n = 0;

	while (*got) {
		size_t line = strcspn(got, "\n"), upto = line;
		const char *waiters = memmem(got, line, " [", 2);
		char *copy;

		if (waiters)
			upto = (size_t)(waiters - got);
		copy = strndup(got, upto);
		original = strstr(original, copy);
		if (!original)
			fail_msg("never written: %s", copy);
		free(copy);
		got += line + 1;
		n++;
	}
	return n;
}

/* Opens, reads, writes, and opens again: now it is sound, and has the same. */
static bool open_damaged(struct keeper *t, const struct image *m, unsigned *ret_lines)
{
	char *text, *again;
	bool damaged;

	keeper_open(t);
	text = keeper_text(t);
	*ret_lines = check_lines(text, m->text);
	keeper_start(t);
	damaged = t->found.damaged;
	assert_int_equal(damaged, *t->found.aside != 0);
	if (!damaged)
		assert_string_equal(text, m->text);
	assert_int_equal(keep_await(&t->b, 1, 77), 0);
	keeper_submit(t);
	assert_int_equal(keep_release(&t->b, 1, 77), 0);
	keeper_submit(t);
	keeper_reopen(t);
	again = keeper_text(t);
	assert_string_equal(text, again);
	keeper_start(t);
	assert_false(t->found.damaged);
	mem_free(text);
	mem_free(again);
	return damaged;
}

static void remove_asides(const struct keeper *t)
{
	char path[200];

	for (unsigned i = 1; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/damaged-%u.mdb", t->dir, i);
		unlink(path);
	}
}

struct tally {
	unsigned damaged, lines;
};

static void try(struct keeper *t, const struct image *m, const uint8_t *p, size_t n, struct tally *sum)
{
	unsigned lines;

	put_image(t, p, n);
	sum->damaged += open_damaged(t, m, &lines);
	sum->lines += lines;
	keeper_close(t);
	remove_asides(t);
}

static void test_cut(void **state)
{
	const struct image *m = *state;
	struct tally sum = {};
	struct keeper t;

	keeper_init_fast(&t);
	for (unsigned i = 0; i < TRIALS / 2; i++)
		try(&t, m, m->p, any(m->used), &sum);
	assert_int_equal(sum.damaged, TRIALS / 2);
	keeper_done(&t);
}

/* Up to eight bits, anywhere in what is used. */
static void test_flipped(void **state)
{
	const struct image *m = *state;
	uint8_t *p = malloc(m->n);
	struct tally sum = {};
	struct keeper t;

	keeper_init_fast(&t);
	for (unsigned i = 0; i < TRIALS / 2; i++) {
		memcpy(p, m->p, m->n);
		for (uint64_t bits = 1 + any(8); bits; bits--)
			p[any(m->used)] ^= (uint8_t)(1 << any(8));
		try(&t, m, p, m->n, &sum);
	}
	print_message("%u of %u seen, %u records a time\n", sum.damaged, TRIALS / 2, sum.lines / (TRIALS / 2));
	assert_true(sum.damaged > TRIALS / 8);
	keeper_done(&t);
	free(p);
}

/* The first pages: LMDB believes every word of them. */
static void test_every_bit_of_meta(void **state)
{
	const struct image *m = *state;
	uint8_t *p = malloc(m->n);
	struct tally sum = {};
	struct keeper t;

	keeper_init_fast(&t);
	for (unsigned i = 0; i < 152 * 2; i++) {
		memcpy(p, m->p, m->n);
		p[i / 152 * 4096 + i % 152] ^= (uint8_t)(1 << any(8));
		try(&t, m, p, m->n, &sum);
	}
	print_message("%u of 304 seen\n", sum.damaged);
	keeper_done(&t);
	free(p);
}

/* Whole pages of nothing, or of another place. */
static void test_pages(void **state)
{
	const struct image *m = *state;
	uint8_t *p = malloc(m->n);
	struct tally sum = {};
	struct keeper t;
	size_t pages = m->used / 4096;

	keeper_init_fast(&t);
	for (unsigned i = 0; i < 60; i++) {
		memcpy(p, m->p, m->n);
		if (i & 1)
			memset(p + 4096 * any(pages), (int)any(256), 4096);
		else
			memcpy(p + 4096 * any(pages), m->p + 4096 * any(pages), 4096);
		try(&t, m, p, m->n, &sum);
	}
	keeper_done(&t);
	free(p);
}

static struct image image;

static int set_up(void **state)
{
	make_image(&image);
	*state = &image;
	return 0;
}

static int take_down(void **state)
{
	(void)state;
	free(image.p);
	mem_free(image.text);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_flipped),
		cmocka_unit_test(test_every_bit_of_meta),
		cmocka_unit_test(test_pages),
	};

	return cmocka_run_group_tests(tests, set_up, take_down);
}
