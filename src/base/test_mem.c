/* test_mem.c - the cradle: what is taken from it, what is not, and that nothing of it reaches the heap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

enum { SIZE = 1024 };

static _Alignas(16) char place[SIZE];

static bool inside(const void *p)
{
	return (uintptr_t)p - (uintptr_t)place < SIZE;
}

static void test_open_and_closed(void **state)
{
	void *before = mem_alloc(10), *p, *q;

	(void)state;
	mem_cradle(place, SIZE);
	p = mem_alloc(10);
	assert_false(inside(p));
	mem_free(p);
	mem_cradle_open(true);
	memset(place, 1, SIZE);
	p = mem_zalloc(10);
	q = mem_alloc(0);
	assert_true(inside(p) && inside(q) && p != q);
	assert_int_equal((uintptr_t)p % 16, 0);
	assert_memory_equal(p, "\0\0\0\0\0\0\0\0\0\0", 10);
	mem_free(before); /* of the heap, whatever is open */
	mem_cradle_open(false);
	mem_free(p); /* and the other way round */
	mem_free(q);
	mem_cradle(NULL, 0);
}

static void test_grows_and_ends(void **state)
{
	char *p, *q, *last = NULL;

	(void)state;
	mem_cradle(place, SIZE);
	mem_cradle_open(true);
	p = mem_strdup("words");
	assert_true(inside(p));
	p = mem_realloc(p, 100);
	assert_true(inside(p));
	assert_string_equal(p, "words");
	p = mem_realloc(p, 3);
	assert_memory_equal(p, "wor", 3);
	p = mem_realloc(p, 2 * SIZE); /* there is no room */
	assert_false(inside(p));
	assert_memory_equal(p, "wor", 3);
	p = mem_realloc(p, 3 * SIZE); /* of the heap, and stays there */
	assert_memory_equal(p, "wor", 3);
	while (inside(q = mem_alloc(50))) {
		memset(q, 7, 50);
		assert_true(!last || q >= last + 50);
		last = q;
		mem_free(q); /* gives nothing back */
	}
	assert_non_null(last);
	mem_free(q);
	mem_free(p);
	mem_cradle_open(false);
	mem_cradle(NULL, 0);
}

static void test_wiped(void **state)
{
	char *p;

	(void)state;
	mem_cradle(place, SIZE);
	mem_cradle_open(true);
	p = mem_strdup("a secret");
	mem_wipe_freed(true);
	mem_free(p);
	assert_memory_equal(p, "\0\0\0\0\0\0\0\0", 8);
	mem_wipe_freed(false);
	mem_cradle(NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_and_closed),
		cmocka_unit_test(test_grows_and_ends),
		cmocka_unit_test(test_wiped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
