/* test_inbox.c - letters on their way to a loop are counted, so that who makes them can wait for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drive/inbox.h"

enum { CROWD = 1024 };

static void push(struct inbox *b, uint32_t letters)
{
	struct post *p = post_letters(letters);

	assert_non_null(p);
	for (uint32_t i = 0; i < letters; i++)
		p->v[i] = (struct letter_to){};
	p->letters.n = letters;
	inbox_push(b, p);
}

static void take(struct inbox *b)
{
	for (struct post *p = inbox_take(b), *next; p; p = next) {
		next = p->next;
		inbox_taken(b, p->letters.n);
		mem_free(p);
	}
}

static void test_crowd(void **state)
{
	struct inbox *a, *b;
	unsigned ia, ib;

	(void)state;
	assert_int_equal(inbox_new(&a), 0);
	assert_int_equal(inbox_new(&b), 0);
	assert_int_equal(inbox_open(a, &ia), 0);
	assert_int_equal(inbox_open(b, &ib), 0);
	push(a, CROWD - 1);
	push(b, CROWD - 1);
	assert_false(inbox_crowded()); /* each loop for itself */
	push(a, 1);
	assert_true(inbox_crowded());
	push(b, 2 * CROWD);
	take(a);
	assert_true(inbox_crowded());
	take(b);
	assert_false(inbox_crowded());
	push(a, CROWD);
	inbox_close(a, ia); /* nobody will take them any more */
	assert_false(inbox_crowded());
	push(a, CROWD);
	assert_false(inbox_crowded());
	inbox_close(b, ib);
	inbox_unref(a);
	inbox_unref(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
