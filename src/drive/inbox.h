/*
 * inbox.h - how one thread leaves work for a loop: a lock-free stack of batches, taken all at once, and one
 * eventfd write only when the loop may be asleep. 20-40 ns per batch against 450-800 ns one by one.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>

#include "core/proto.h"

struct loop;
struct task;

enum post_kind {
	POST_LETTERS, /* batch of letters */
	POST_TASK,    /* a job that ended */
	POST_CALL,    /* a function to run in the loop's thread */
};

enum { LETTER_GONE = 1 }; /* a POST_REPLY that found nobody, on its way back to `to`; it has no mail */

struct letter_to {
	sess_id to;
	struct letter l;
	unsigned flags;
};

struct post {
	struct post *next;
	enum post_kind kind;
	bool lent; /* its sender's memory: not freed */
	union {
		struct task *task;
		struct {
			void (*fn)(struct loop *l, void *arg);
			void *arg;
		} call;
		struct {
			uint32_t n, cap;
		} letters;
	};
	struct letter_to v[]; /* POST_LETTERS, all from the same loop */
};

struct inbox;

/* Refcounted: a post to a loop that has ended finds nobody and is refused. 0 or -errno. */
[[nodiscard]] int inbox_new(struct inbox **ret);
struct inbox *inbox_ref(struct inbox *b);
void inbox_unref(struct inbox *b);

/* The directory: loop index -> inbox. inbox_open() picks a free index. NULL from inbox_find(): no such loop. */
[[nodiscard]] int inbox_open(struct inbox *b, unsigned *ret_index);
void inbox_close(struct inbox *b, unsigned index); /* what is in it and what comes later: post_refuse() */
struct inbox *inbox_find(unsigned index);          /* a reference */

void inbox_push(struct inbox *b, struct post *p); /* owns p and what it holds */
struct post *inbox_take(struct inbox *b);         /* all, oldest first; the loop's thread only */

/*
 * Letters that a loop has not taken yet are counted: inbox_taken() says how many it now has. While some loop is far behind
 * with them, who would make more must wait, or they would be all the memory there is.
 */
void inbox_taken(struct inbox *b, uint32_t n);
bool inbox_crowded(void); /* any thread; some loop is behind */

int inbox_fd(const struct inbox *b);               /* to watch for input */
bool inbox_sleep(struct inbox *b);                 /* about to wait; false: something came, do not */
void inbox_awake(struct inbox *b, bool was_ready); /* after the wait; clears the eventfd when it was ready */

[[nodiscard]] struct post *post_letters(uint32_t cap); /* room for cap letters */
void post_drop(struct post *p);                        /* frees it with all that nobody will take */

/*
 * Nobody takes its letters (or what it is): those with a `reply` go back to the loop that they came from, which needs no
 * memory, the others are dropped. Owns p.
 */
void post_refuse(struct post *p);

/* The same for one letter: drops its mail; true: it is now the answer, to be delivered to letter->to. */
[[nodiscard]] bool letter_refuse(struct letter_to *letter);
