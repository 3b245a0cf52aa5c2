/* test_crc.c - CRC32C against the values of RFC 3720 appendix B.4, and in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc.h"

static void test_known(void **state)
{
	uint8_t b[32];

	(void)state;
	assert_int_equal(crc32c(0, "", 0), 0);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	memset(b, 0, sizeof(b));
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x8a9136aa);
	memset(b, 0xff, sizeof(b));
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x62a8ab43);
	for (unsigned i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, b, sizeof(b)), 0x46dd794e);
}

static void test_in_pieces(void **state)
{
	(void)state;
	for (size_t i = 0; i <= 9; i++)
		assert_int_equal(crc32c(crc32c(0, "123456789", i), "123456789" + i, 9 - i), 0xe3069283);
}

static void test_without_help(void **state)
{
	uint8_t b[100];

	(void)state;
	for (unsigned i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)(i * 7);
	for (size_t from = 0; from < 9; from++)
		for (size_t n = 0; from + n <= sizeof(b); n++)
			assert_int_equal(crc32c((uint32_t)n, b + from, n), crc32c_by_table((uint32_t)n, b + from, n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_in_pieces),
		cmocka_unit_test(test_without_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
