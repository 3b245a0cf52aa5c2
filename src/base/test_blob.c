/* test_blob.c - shared bytes, and blobs as mail. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/blob.h"
#include "base/fault.h"

static void parts_become_one(void **state)
{
	struct blob *b = blob_new((struct span[]){ span_str("one "), {}, span_str(""), span_str("two") }, 4);

	(void)state;
	assert_non_null(b);
	assert_true(span_is(blob_span(b), "one two"));
	blob_unref(b);
	b = blob_new(NULL, 0);
	assert_int_equal(blob_span(b).n, 0);
	blob_unref(b);
}

static void the_last_reference_frees(void **state)
{
	struct span s = span_str("shared");
	struct blob *b = blob_new(&s, 1);

	(void)state;
	assert_ptr_equal(blob_ref(b), b);
	blob_unref(b);
	assert_true(span_is(blob_span(b), "shared"));
	blob_unref(b);
	blob_unref(NULL);
	assert_null(blob_ref(NULL));
}

static void a_blob_travels_as_mail(void **state)
{
	struct span s = span_str("letter");
	struct blob *b = blob_new(&s, 1);
	struct mail *m = blob_to_mail(blob_ref(b));

	(void)state;
	assert_ptr_equal(blob_of_mail(m), b);
	mail_drop(m);
	assert_true(span_is(blob_span(b), "letter"));
	mail_drop(blob_to_mail(b)); /* the last one: LeakSanitizer looks */
	mail_drop(NULL);
}

static void memory_is_out(void **state)
{
	(void)state;
#ifdef GUICHET_FAULTS
	fault_arm(FAULT_MEM, 1, 0, false);
	assert_null(blob_new(NULL, 0));
	fault_arm(FAULT_MEM, 0, 0, false);
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_become_one),
		cmocka_unit_test(the_last_reference_frees),
		cmocka_unit_test(a_blob_travels_as_mail),
		cmocka_unit_test(memory_is_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
