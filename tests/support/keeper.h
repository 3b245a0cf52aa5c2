/* keeper.h - a durable store in a folder that goes away, and somebody who waits for it. */
#pragma once
#include <pthread.h>

#include "store/keep.h"

struct keeper {
	char dir[64], file[96];
	struct keep_setup setup;
	struct keep *k;
	struct keep_found found;
	struct keep_batch b;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t committed;
	enum keep_state state;
	int err;
};

void keeper_init(struct keeper *t);      /* makes the folder; opens nothing */
void keeper_init_fast(struct keeper *t); /* in memory, where there is such a file system: for what need not last */
void keeper_start_small(struct keeper *t, uint64_t largest,
			uint64_t sessions); /* likewise; with the smallest limit, and sessions from 1 on */
void keeper_done(struct keeper *t);         /* closes, removes */
void keeper_open(struct keeper *t);         /* to read */
void keeper_start(struct keeper *t);        /* asserts that it works; what was not read is passed over */
void keeper_close(struct keeper *t);
void keeper_reopen(struct keeper *t); /* close, open */
void keeper_submit(struct keeper *t); /* the batch, and waits until it is on the disk */
void keeper_wait_state(struct keeper *t, enum keep_state state);
void keeper_each_allocation(
	struct keeper *t); /* opened, read and started once with each of them failing; then it is closed */

/*
 * Records as text, a line each, of a store that was opened; owned by the caller (free). Until the first that is none.
 */
char *keeper_text(struct keeper *t);

/* Short words for what goes into the batch; they assert that there was memory. */
void keeper_session(struct keeper *t, uint64_t id, const char *name);
void keeper_message(struct keeper *t, uint64_t id, const char *topic, const char *payload, const uint64_t *sessions,
		    uint32_t n);
void keeper_retain(struct keeper *t, const char *topic, const char *payload);
