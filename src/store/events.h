/*
 * events.h - the one stream of events: what happened in any of the processes, as one line of JSON each, for whoever listens now. A ring
 * of fixed size without a lock and without a pointer, so it may lie in memory that processes share, and any of them may be killed in
 * the middle of a call. Who listens too slowly loses events, and is told how many; nobody ever waits for him.
 *
 * Nothing is written as long as nobody listens, and listening is a promise that ends by itself: events_want() again and again. Zeroes
 * are an empty stream.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	EVENTS_TEXT = 4096, /* bytes of an event at most; a longer one is not put */
	EVENTS_KEPT = 512,  /* the newest ones */
};

struct events;

size_t events_size(void);

/* Somebody listens until then (monotonic ns). Does anybody, now? Any thread, any process; the second is one load when nobody does. */
void events_want(struct events *e, uint64_t until);
bool events_wanted(struct events *e, uint64_t now);

void events_put(struct events *e, const char *text, size_t n);

struct events_reader {
	uint64_t at;   /* the next one: events_end() to hear what comes from now on */
	uint64_t lost; /* since it was set to 0 */
	bool waited;   /* that one was not whole when it was looked at */
};

uint64_t events_end(const struct events *e);

/*
 * The next one: 1, and its text in `ret`; 0: none yet. What is being written is waited for until the next call, and then lost: its
 * writer may be dead.
 */
int events_read(const struct events *e, struct events_reader *r, char ret[static EVENTS_TEXT], size_t *ret_n);
