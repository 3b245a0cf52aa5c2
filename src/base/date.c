/* date.c - see date.h. Days are counted in eras of 400 years, which all have the same number of them. */
#include "base/date.h"

#include <errno.h>
#include <stdio.h>

enum {
	MINUTE = 60,
	HOUR = 60 * MINUTE,
	DAY = 24 * HOUR,
	ERA_DAYS = 146097,        /* 400 years */
	MARCH_0_TO_1970 = 719468, /* days from 1 March of year 0 */
};

#define FIRST INT64_C(-62167219200) /* 0000-01-01T00:00:00 */
#define LAST INT64_C(253402300799)  /* 9999-12-31T23:59:59 */

static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

static int64_t clamp(int64_t v)
{
	return v < FIRST ? FIRST : v > LAST ? LAST : v;
}

/* Years begin in March here, so that a leap day is the last of its year. */
static void civil(int64_t day, struct date *ret)
{
	int64_t since = day + MARCH_0_TO_1970;
	int64_t era = (since >= 0 ? since : since - (ERA_DAYS - 1)) / ERA_DAYS;
	int of_era = (int)(since - era * ERA_DAYS);
	int year = (of_era - of_era / 1460 + of_era / 36524 - of_era / (ERA_DAYS - 1)) / 365;
	int of_year = of_era - (365 * year + year / 4 - year / 100);
	int month = (5 * of_year + 2) / 153; /* 0 = March: 31 30 31 30 31, twice and a bit */

	ret->day = of_year - (153 * month + 2) / 5 + 1;
	ret->month = month < 10 ? month + 3 : month - 9;
	ret->year = (int)(year + era * 400) + (ret->month <= 2);
}

void date_from_wall(int64_t wall, int zone, struct date *ret)
{
	int64_t t = clamp(clamp(wall) + zone);
	int64_t day = (t - FIRST) / DAY + FIRST / DAY; /* FIRST is a midnight: rounds down before 1970 too */
	int second = (int)(t - day * DAY);

	civil(day, ret);
	ret->weekday = (int)((day - FIRST / DAY + 6) % 7); /* 1 January of year 0 was a Saturday */
	ret->hour = second / HOUR;
	ret->minute = second % HOUR / MINUTE;
	ret->second = second % MINUTE;
}

const char *date_ctime(int64_t wall, int zone, char buf[static DATE_TEXT])
{
	struct date d;

	date_from_wall(wall, zone, &d);
	snprintf(buf, DATE_TEXT, "%s %s %2d %02d:%02d:%02d %04d", days[d.weekday], months[d.month - 1], d.day, d.hour,
		 d.minute, d.second, d.year);
	return buf;
}

/* The zone as +hh, then `between`, then mm. */
static void add_zone(char *buf, int n, int zone, const char *between)
{
	int minutes = (zone < 0 ? -zone : zone) / MINUTE;

	snprintf(buf + n, (size_t)(DATE_TEXT - n), "%c%02d%s%02d", zone < 0 ? '-' : '+', minutes / 60 % 100, between,
		 minutes % 60);
}

const char *date_rfc5322(int64_t wall, int zone, char buf[static DATE_TEXT])
{
	struct date d;

	date_from_wall(wall, zone, &d);

	int n = snprintf(buf, DATE_TEXT, "%s, %02d %s %04d %02d:%02d:%02d ", days[d.weekday], d.day,
			 months[d.month - 1], d.year, d.hour, d.minute, d.second);

	add_zone(buf, n, zone, "");
	return buf;
}

const char *date_iso(int64_t wall, int zone, char buf[static DATE_TEXT])
{
	struct date d;

	date_from_wall(wall, zone, &d);

	int n = snprintf(buf, DATE_TEXT, "%04d-%02d-%02dT%02d:%02d:%02d%s", d.year, d.month, d.day, d.hour, d.minute,
			 d.second, zone ? "" : "Z");

	if (zone)
		add_zone(buf, n, zone, ":");
	return buf;
}

/* Two digits below `limit`, or -1. */
static int two_digits(const char *s, int limit)
{
	if (s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9')
		return -1;

	int v = (s[0] - '0') * 10 + (s[1] - '0');

	return v < limit ? v : -1;
}

int date_parse_zone(const char *text, int *ret_zone)
{
	if (text[0] == 'Z' && text[1] == '\0') {
		*ret_zone = 0;
		return 0;
	}
	if (text[0] != '+' && text[0] != '-')
		return -EINVAL;

	int hours = two_digits(text + 1, 24);

	if (hours < 0 || text[3] != ':')
		return -EINVAL;

	int minutes = two_digits(text + 4, 60);

	if (minutes < 0 || text[6] != '\0')
		return -EINVAL;

	int zone = hours * HOUR + minutes * MINUTE;

	*ret_zone = text[0] == '-' ? -zone : zone;
	return 0;
}
