/*
 * poller.h - which descriptors are ready, by epoll (many connections, registered once and edge triggered) or
 * by poll(2) (the private loop of one connection and its children, level triggered).
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum {
	READY_IN = 1,
	READY_OUT = 2,
	READY_HUP = 4, /* FIN, hang-up or error: reading goes on until it says so itself */
	READY_ERR = 8, /* reset, or a pipe without a reader: over even when nobody reads */
};

enum {
	WATCH_EDGE = 0,   /* in and out, edges, registered once */
	WATCH_ACCEPT = 1, /* a listener: level, wakes one of the loops that share it */
	WATCH_LEVEL = 2,  /* in only, level: wake-ups, signals */
	WATCH_BREAK = 4,  /* nothing but that it breaks, level: somebody else reads and writes */
	WATCH_DGRAM = 3,  /* in, edges; out when asked for: the kernel would tell after each datagram that left */
};

struct ready {
	uint64_t id;
	unsigned what;
};

#define POLLER_BATCH 256

enum { POLLER_PAUSE_MS = 50 }; /* when the system cannot wait as asked: the next try */

/* What a poll(2) loop has to watch now: asked for before each wait. */
struct watch {
	int fd;
	uint64_t id;
	unsigned want; /* READY_IN | READY_OUT */
};

struct poller;

struct poller_ops {
	const char *name;
	bool edges; /* reports changes only: the loop remembers what is ready */
	/* 0 or -errno; -EPERM: this kind of file is always ready */
	int (*add)(struct poller *p, int fd, uint64_t id, int how);
	void (*del)(struct poller *p, int fd);
	int (*want_out)(struct poller *p, int fd, uint64_t id, bool on); /* WATCH_DGRAM; 0 or -errno */
	/*
	 * Ready descriptors, or 0. until: 0 = do not wait, else the monotonic time to wait for (UINT64_MAX = for ever).
	 * `w` is for pollers without edges.
	 */
	int (*wait)(struct poller *p, const struct watch *w, unsigned nw, struct ready *ret, uint64_t now,
		    uint64_t until);
	void (*free)(struct poller **p);
};

struct poller {
	const struct poller_ops *ops;
};

[[nodiscard]] int poller_epoll_new(struct poller **ret);
[[nodiscard]] int poller_poll_new(struct poller **ret);
