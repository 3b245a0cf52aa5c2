/* test_jtree.c - a JSON value of which a part was lost is none, and whatever comes later leaves nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "drive/jtree.h"

static void test_whole(void **state)
{
	json_t *object = json_object(), *array = json_array();

	(void)state;
	jtree_append(&array, json_integer(1));
	jtree_append(&array, json_integer(2));
	jtree_set(&object, "list", array);
	assert_int_equal(json_array_size(json_object_get(object, "list")), 2);
	json_decref(object);
}

static void test_lost(void **state)
{
	json_t *object = json_object(), *array = json_array();

	(void)state;
	jtree_append(&array, json_integer(1));
	jtree_append(&array, NULL);
	assert_null(array);
	jtree_append(&array, json_integer(2));
	assert_null(array);
	jtree_set(&object, "one", json_integer(1));
	jtree_set(&object, "list", array);
	assert_null(object);
	jtree_set(&object, "two", json_integer(2));
	assert_null(object);
}

static void test_text(void **state)
{
	static const char odd[] = "a\"\n\0\xff/\xc3\xa4";
	json_t *v = jtree_text((struct span){ (const uint8_t *)odd, sizeof(odd) - 1 });

	(void)state;
	assert_int_equal(json_string_length(v), 10);
	assert_memory_equal(json_string_value(v), "a\"\n\0\xef\xbf\xbd/\xc3\xa4", 10);
	json_decref(v);
	v = jtree_text((struct span){});
	assert_string_equal(json_string_value(v), "");
	json_decref(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
