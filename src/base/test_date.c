/* test_date.c - dates against the C library's, and texts against examples of their standards. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "base/date.h"

#define FIRST INT64_C(-62167219200)
#define LAST INT64_C(253402300799)

static void compare(int64_t wall)
{
	time_t t = (time_t)wall;
	struct tm tm;
	struct date d;

	assert_non_null(gmtime_r(&t, &tm));
	date_from_wall(wall, 0, &d);
	assert_int_equal(d.year, tm.tm_year + 1900);
	assert_int_equal(d.month, tm.tm_mon + 1);
	assert_int_equal(d.day, tm.tm_mday);
	assert_int_equal(d.hour, tm.tm_hour);
	assert_int_equal(d.minute, tm.tm_min);
	assert_int_equal(d.second, tm.tm_sec);
	assert_int_equal(d.weekday, tm.tm_wday);
}

/* Every day of 10,000 years, at midnight and the second before. */
static void test_every_day(void **state)
{
	(void)state;
	compare(FIRST);
	for (int64_t t = FIRST + 86400; t < LAST; t += 86400) {
		compare(t);
		compare(t - 1);
	}
	compare(LAST);
}

static void test_texts(void **state)
{
	static const struct {
		int64_t wall;
		int zone;
		const char *ctime, *rfc5322, *iso;
	} rows[] = {
		{ 0, 0, "Thu Jan  1 00:00:00 1970", "Thu, 01 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00Z" },
		{ -1, 0, "Wed Dec 31 23:59:59 1969", "Wed, 31 Dec 1969 23:59:59 +0000", "1969-12-31T23:59:59Z" },
		/* RFC 5322, appendix A.1.1 */
		{ 880127706, -6 * 3600, "Fri Nov 21 09:55:06 1997", "Fri, 21 Nov 1997 09:55:06 -0600",
		  "1997-11-21T09:55:06-06:00" },
		/* RFC 3339, 5.8, and a zone of half an hour */
		{ 482196050, 0, "Fri Apr 12 23:20:50 1985", "Fri, 12 Apr 1985 23:20:50 +0000", "1985-04-12T23:20:50Z" },
		{ 951782400, 19800, "Tue Feb 29 05:30:00 2000", "Tue, 29 Feb 2000 05:30:00 +0530",
		  "2000-02-29T05:30:00+05:30" },
		{ INT64_C(4294967296), 0, "Sun Feb  7 06:28:16 2106", "Sun, 07 Feb 2106 06:28:16 +0000",
		  "2106-02-07T06:28:16Z" },
		{ INT64_MAX, 3600, "Fri Dec 31 23:59:59 9999", "Fri, 31 Dec 9999 23:59:59 +0100",
		  "9999-12-31T23:59:59+01:00" },
		{ INT64_MIN, -3600, "Sat Jan  1 00:00:00 0000", "Sat, 01 Jan 0000 00:00:00 -0100",
		  "0000-01-01T00:00:00-01:00" },
	};
	char buf[DATE_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_string_equal(date_ctime(rows[i].wall, rows[i].zone, buf), rows[i].ctime);
		assert_string_equal(date_rfc5322(rows[i].wall, rows[i].zone, buf), rows[i].rfc5322);
		assert_string_equal(date_iso(rows[i].wall, rows[i].zone, buf), rows[i].iso);
	}
}

static void test_zones(void **state)
{
	static const struct {
		const char *text;
		int r, zone;
	} rows[] = {
		{ "Z", 0, 0 },
		{ "+00:00", 0, 0 },
		{ "-00:00", 0, 0 },
		{ "+02:00", 0, 7200 },
		{ "-03:30", 0, -12600 },
		{ "+23:59", 0, 86340 },
		{ "", -EINVAL, 1 },
		{ "z", -EINVAL, 1 },
		{ "Z0", -EINVAL, 1 },
		{ "02:00", -EINVAL, 1 },
		{ "+2:00", -EINVAL, 1 },
		{ "+0200", -EINVAL, 1 },
		{ "+02:60", -EINVAL, 1 },
		{ "+24:00", -EINVAL, 1 },
		{ "+02:000", -EINVAL, 1 },
		{ "+", -EINVAL, 1 },
		{ "+0", -EINVAL, 1 },
		{ "+02", -EINVAL, 1 },
		{ "+02:", -EINVAL, 1 },
		{ "+02:0", -EINVAL, 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int zone = 1; /* untouched on failure */

		assert_int_equal(date_parse_zone(rows[i].text, &zone), rows[i].r);
		assert_int_equal(zone, rows[i].zone);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_day),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_zones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
