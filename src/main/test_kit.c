/* test_kit.c - kits: what was put in comes out, packed too; what is no kit is none. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "main/kit.h"

static void has(const struct kit *k, const char *path, const char *content)
{
	struct span s;

	assert_true(kit_find(k, path, &s));
	assert_true(span_is(s, content));
}

static struct kit *make(void)
{
	struct kit *k;

	assert_int_equal(kit_new(&k), 0);
	assert_int_equal(kit_add(k, "/etc/a.conf", span_str("[echo]\n")), 0);
	assert_int_equal(kit_add(k, "/etc/empty", span_str("")), 0);
	assert_int_equal(kit_add(k, "key.pem", (struct span){ (const uint8_t *)"a\0b", 3 }), 0);
	return k;
}

static void test_content(void **state)
{
	struct kit *k = make();
	struct span s;

	(void)state;
	has(k, "/etc/a.conf", "[echo]\n");
	has(k, "/etc/empty", "");
	assert_true(kit_find(k, "key.pem", &s));
	assert_int_equal(s.n, 3);
	assert_false(kit_find(k, "/etc", &s));
	assert_int_equal(kit_add(k, "/etc/a.conf", span_str("[time]\n")), 0);
	has(k, "/etc/a.conf", "[time]\n");
	kit_free(&k);
	kit_free(&k);
}

static void test_packed(void **state)
{
	struct kit *k = make(), *other;
	int fd = kit_pack(k);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), -1); /* sealed */
	assert_int_equal(errno, EPERM);
	assert_int_equal(kit_unpack(fd, &other), 0);
	has(other, "/etc/a.conf", "[echo]\n");
	has(other, "/etc/empty", "");
	kit_free(&k);
	kit_free(&other);
	close(fd);
}

static int unpack(const void *bytes, size_t n)
{
	int fd = memfd_create("test", MFD_CLOEXEC), r;
	struct kit *k = NULL;

	assert_int_equal(write(fd, bytes, n), (ssize_t)n);
	r = kit_unpack(fd, &k);
	kit_free(&k);
	close(fd);
	return r;
}

static void test_not_packed(void **state)
{
	static const uint32_t none[2] = { 0, 0 }, long_path[3] = { 5, 0, 0 }, long_file[3] = { 4, 1, 0x61616161 };
	static const uint32_t huge[3] = { 4, UINT32_MAX, 0x61616161 }, nul[3] = { 4, 0, 0x61006161 };
	static const uint32_t good[3] = { 4, 0, 0x61616161 };

	(void)state;
	assert_int_equal(unpack("", 0), 0);
	assert_int_equal(unpack(good, sizeof(good)), 0);
	assert_int_equal(unpack("abc", 3), -EPROTO);
	assert_int_equal(unpack(none, sizeof(none)), -EPROTO);
	assert_int_equal(unpack(long_path, sizeof(long_path)), -EPROTO);
	assert_int_equal(unpack(long_file, sizeof(long_file)), -EPROTO);
	assert_int_equal(unpack(huge, sizeof(huge)), -EPROTO);
	assert_int_equal(unpack(nul, sizeof(nul)), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content),
		cmocka_unit_test(test_packed),
		cmocka_unit_test(test_not_packed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
