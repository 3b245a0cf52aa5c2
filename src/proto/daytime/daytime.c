/* daytime.c - the date and time as a line for people (RFC 867), in one of three usual forms. */
#include <errno.h>

#include "base/date.h"
#include "conf/option.h"
#include "core/proto.h"
#include "proto/common/stream.h"
#include "proto/protos.h"

enum format { FORMAT_CTIME, FORMAT_RFC5322, FORMAT_ISO };

struct daytime_options {
	enum format format;
	char *zone;
};

static const char *const formats[] = { "ctime", "rfc5322", "iso", NULL };

static const struct option rows[] = {
	OPT_ENUM(struct daytime_options, format, "ctime", formats,
		 "writes the date as ctime(3), RFC 5322 or ISO 8601 do"),
	OPT_STRING(struct daytime_options, zone, "Z", 1, 6, "shifts the time from UTC by +hh:mm or -hh:mm; Z is UTC"),
};

static int check(const void *values, struct buf *why)
{
	const struct daytime_options *o = values;
	int zone;

	if (date_parse_zone(o->zone, &zone) == 0)
		return 0;
	buf_adds(why, "zone: ");
	buf_add_quoted(why, span_str(o->zone));
	buf_adds(why, " is not an offset such as +02:00, or Z for UTC");
	return -EINVAL;
}

static const struct option_table table = OPTION_TABLE("daytime", rows, struct daytime_options, check);

static size_t write_line(const struct io *io, char line[static DATE_TEXT + 2])
{
	static const char *(*const write[])(int64_t, int, char[static DATE_TEXT]) = {
		[FORMAT_CTIME] = date_ctime,
		[FORMAT_RFC5322] = date_rfc5322,
		[FORMAT_ISO] = date_iso,
	};
	const struct daytime_options *o = io->svc->options;
	int zone = 0;

	(void)date_parse_zone(o->zone, &zone);
	write[o->format](io->wall, zone, line);

	size_t n = strlen(line);

	memcpy(line + n, "\r\n", 2);
	return n + 2;
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	char line[DATE_TEXT + 2];

	(void)self;
	switch (ev->kind) {
	case EV_OPEN:
		if (!stream_open(io))
			return V_GO;
		out_mem(io, line, write_line(io, line));
		return V_CLOSE;
	case EV_DGRAM:
		out_dgram(io, ev->dgram.route, line, write_line(io, line));
		return V_GO;
	case EV_STOP:
		return V_CLOSE;
	default:
		return V_GO;
	}
}

const struct proto daytime_proto = {
	.abi = PROTO_ABI,
	.name = "daytime",
	.summary = "tells the date and time as a line",
	.doc = "RFC 867",
	.flags = P_STREAM | P_DGRAM | P_SMALL,
	.port = 13,
	.options = &table,
	.step = step,
};
