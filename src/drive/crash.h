/*
 * crash.h - when a signal ends this process because of a mistake of ours: whom did the thread serve that made it? The answer
 * goes into the shared mapping, where the monitor finds it.
 *
 * Noted is only which session a loop is busy with (host.serving), which costs a store; what the session is, the handler of
 * the signal looks up.
 */
#pragma once
#include <sys/types.h>

#include "drive/shared.h"

struct host;
struct log_line;

/* From now on, in all threads. What handled these signals before does so afterwards, as sanitizers want it. */
void crash_watch(struct shared_crash *to);

/* In a process that was forked from one that watches: its own place. */
void crash_move(struct shared_crash *to);

/* For each other thread: room for the handler, for when the fault is that there is no more stack; and as the last that it does. */
void crash_thread(void);
void crash_thread_ends(void);

/* What this thread does is done for this host; NULL: for nobody. */
void crash_serves(const struct host *h);

/* How a process ended, as waitpid() says: its `pid`, and `signal` or `status`. */
void crash_log(struct log_line *line, pid_t pid, int status);
