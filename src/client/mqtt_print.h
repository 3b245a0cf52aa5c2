/*
 * mqtt_print.h - a message as `guichet sub` prints it: the payload, `topic payload`, or whatever -F asks for. Formats
 * and their results are mosquitto_sub's, to the byte, its manual being the description:
 *	%t topic %p payload %x %X payload in hex %l its length %q QoS %r retained %m identifier
 *	%A %C %D %E %F %P %R %S properties %I ISO time %U seconds.nanoseconds %j %J JSON @x strftime's %x @N ns \n \e ...
 * Where it goes on knowingly as that program does though its manual says otherwise: a width of %p, %x and %X is also
 * the most that is taken of the payload, in bytes.
 */
#pragma once
#include "base/buf.h"
#include "proto/mqtt/wire.h"

struct mqtt_style {
	const char *format; /* checked; NULL = none */
	bool verbose;       /* without a format: the topic too */
	bool no_eol, pretty;
};

/* 0, or -EINVAL with a sentence: Error: Invalid format specifier 'k'. */
[[nodiscard]] int mqtt_format_check(const char *format, struct buf *why);

/*
 * Adds the message to `out`. `wall` is the time in ns since 1970. Errors that do not end anything go to `why`: a payload
 * that is no JSON for %J.
 */
void mqtt_print(const struct mqtt_style *s, const struct mqtt_publish *m, uint64_t wall, struct buf *out,
		struct buf *why);
