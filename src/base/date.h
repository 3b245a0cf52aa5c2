/*
 * date.h - a civil date from seconds since 1970, and its text in the three forms that protocols use. No clock, no
 * locale, no time zone data base: the caller gives the seconds and the zone as an offset from UTC.
 */
#pragma once
#include <stdint.h>

/* Bytes that every text below fits in, NUL included. */
#define DATE_TEXT 40

struct date {
	int year;  /* 0 to 9999 */
	int month; /* 1 to 12 */
	int day;   /* 1 to 31 */
	int hour, minute, second;
	int weekday; /* 0 = Sunday */
};

/*
 * The date at `wall` seconds since 1970 (UTC, no leap seconds), `zone` seconds east of Greenwich, in the proleptic
 * Gregorian calendar. What is outside the years 0 to 9999 becomes the first or last second in them.
 */
void date_from_wall(int64_t wall, int zone, struct date *ret);

/* Each writes to buf and returns it. */
const char *date_ctime(int64_t wall, int zone, char buf[static DATE_TEXT]);   /* Thu Jan  1 00:00:00 1970 */
const char *date_rfc5322(int64_t wall, int zone, char buf[static DATE_TEXT]); /* Thu, 01 Jan 1970 00:00:00 +0000 */
const char *date_iso(int64_t wall, int zone, char buf[static DATE_TEXT]);     /* 1970-01-01T00:00:00Z (RFC 3339) */

/* Reads `Z`, `+hh:mm` or `-hh:mm`, less than a day. 0 and the seconds east of Greenwich, or -EINVAL. */
[[nodiscard]] int date_parse_zone(const char *text, int *ret_zone);
