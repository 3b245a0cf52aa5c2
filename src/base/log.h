/*
 * log.h - one line of log: built as logfmt or JSON from the same calls, handed to one sink. No clock and no
 * file here: drive/logfile.c is the sink, it adds the time. Any thread may log.
 *
 *	struct log_line l;
 *	if (log_begin(&l, LOG_WARN, "refused")) {
 *		log_str(&l, "service", name);
 *		log_uint(&l, "open", n);
 *		log_end(&l);
 *	}
 * gives  2026-11-21T10:00:00.000Z warn refused service=echo open=100
 *
 * A value is quoted when it has a space, a quote, a control byte or is empty, with \n \t \" \\ \xHH inside, so that
 * nothing a peer sends can forge a line or a field. A line is at most 4 KiB; what does not fit is cut in its values.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

#define LOG_LINE 4096

/* What is made of it for one who gets it. */
struct log_text {
	size_t n; /* 0: he does not */
	bool json;
	const char *list; /* key of the last log_item(), which ended at list_end */
	size_t list_end;
	char text[LOG_LINE];
};

struct log_line {
	enum log_level level;
	struct log_text log, tap;
};

/* Gets whole lines without time and line end: `warn refused ...`, or `"level":"warn","event":"refused",...` without braces. */
typedef void log_sink(enum log_level level, bool json, const char *text, size_t n);

void log_setup(enum log_level most, bool json, log_sink *sink); /* before threads, and at reload */
bool log_on(enum log_level level);                              /* in the log */
bool log_wanted(enum log_level level, const char *event);       /* would log_begin() begin a line? */

/* Somebody else who gets lines, those of all levels, as JSON, as long as he wants them. Asked for each line that begins. */
struct log_tap {
	bool (*wants)(const char *event);
	log_sink *take;
};
void log_tap(const struct log_tap *t); /* NULL: nobody. It must stay */

[[nodiscard]] bool log_begin(struct log_line *l, enum log_level level,
			     const char *event);                      /* false: nobody would read it */
void log_str(struct log_line *l, const char *key, const char *value); /* NULL: the field is left out */
void log_bytes(struct log_line *l, const char *key, const void *p, size_t n);
void log_uint(struct log_line *l, const char *key, uint64_t value);
void log_hex(struct log_line *l, const char *key, uint64_t value);
void log_seconds(struct log_line *l, const char *key, uint64_t ns); /* as 1.204 */
void log_errno(struct log_line *l, int err); /* error="Connection refused"; err is -errno or errno, 0 left out */

/*
 * One value of a field that has several; they follow each other. As text the field is there once for each; in JSON, where
 * no key may come twice, it is one array: address=tcp:1 address=udp:1, "address":["tcp:1","udp:1"].
 */
void log_item(struct log_line *l, const char *key, const char *value);

void log_end(struct log_line *l);

/* A line with text only. */
void log_text(enum log_level level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
