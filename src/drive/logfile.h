/*
 * logfile.h - the sink of base/log.h: stderr or a file, one write(2) per line with its time in front
 * (UTC, milliseconds), so that lines of several threads never mix. Reopened on SIGHUP.
 */
#pragma once
#include "base/buf.h"
#include "conf/tables.h"

/* Of the one in use; -1: none. It keeps this number. */
int logfile_fd(void);
/* The one that another process has opened, from now on; owns fd. */
void logfile_take(int fd, enum log_level most, enum tables_log_format format);
/* 0 or -errno with a sentence; on failure the old one stays. "stderr" or a path. */
[[nodiscard]] int logfile_open(const char *where, enum log_level most, enum tables_log_format format, struct buf *why);

struct events;

/* Each line is an event of this stream too (store/events.h), of whatever level, while somebody listens. NULL: of none. Without other threads. */
void logfile_events(struct events *e);
