/* test_list.c - the intrusive list. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
	int n;
	struct list node;
};

static void check(const struct list *l, const int *want, int n)
{
	const struct list *at = l->next;

	for (int i = 0; i < n; i++, at = at->next) {
		assert_ptr_equal(at->next->prev, at);
		assert_int_equal(list_entry(at, struct item, node)->n, want[i]);
	}
	assert_ptr_equal(at, l);
	assert_int_equal(list_empty(l), n == 0);
}

static void in_order(void **state)
{
	struct list l;
	struct item v[4];

	(void)state;
	list_init(&l);
	check(&l, NULL, 0);
	assert_null(list_pop(&l));
	for (int i = 0; i < 4; i++) {
		v[i].n = i;
		list_init(&v[i].node);
		assert_false(list_in(&v[i].node));
		list_add(&l, &v[i].node);
		assert_true(list_in(&v[i].node));
	}
	check(&l, (int[]){ 0, 1, 2, 3 }, 4);
	list_del(&v[2].node);
	list_del(&v[2].node); /* twice is fine */
	assert_false(list_in(&v[2].node));
	check(&l, (int[]){ 0, 1, 3 }, 3);
	assert_ptr_equal(list_pop(&l), &v[0].node);
	list_add(&l, &v[0].node);
	check(&l, (int[]){ 1, 3, 0 }, 3);
	while (list_pop(&l))
		;
	check(&l, NULL, 0);
}

static void all_at_once(void **state)
{
	struct list from, to;
	struct item v[3];

	(void)state;
	list_init(&from);
	list_take_all(&to, &from);
	check(&to, NULL, 0);
	for (int i = 0; i < 3; i++) {
		v[i].n = i;
		list_add(&from, &v[i].node);
	}
	list_take_all(&to, &from);
	check(&from, NULL, 0);
	check(&to, (int[]){ 0, 1, 2 }, 3);
	list_del(&v[1].node); /* a node of a list that was moved leaves the new one */
	check(&to, (int[]){ 0, 2 }, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order),
		cmocka_unit_test(all_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
