/*
 * shared.h - what the processes of a server have in common: one mapping of fixed size, made before the first fork, without a
 * lock and without a pointer into anybody's heap, because whoever uses it may be killed at any moment. See
 * docs/design/processes.md.
 *
 * Every process has a number, its row here; 0 is the one that made the mapping. What a process writes it marks with that
 * number, so that the monitor can tidy up after its death.
 */
#pragma once
#include <stdatomic.h>

#include "base/peer.h"
#include "conf/conf.h"
#include "core/stats.h"
#include "drive/admit.h"
#include "drive/net/guard.h"

enum {
	SHARED_PROCESSES = 64,
	SHARED_TALLIES = 1024, /* sections, each once per process that has served it */
	SHARED_NAME = 64,
};

/* Whom the thread served that a signal has ended: written by its handler, drive/crash.h. */
struct shared_crash {
	_Atomic int signal; /* 0: none */
	char service[CONF_NAME_MAX + 1];
	uint8_t unproven; /* not 0: the source of a datagram, which anybody can write there */
	uint8_t n;        /* of these bytes: 4, 16, or 0: it has no address */
	uint8_t addr[16];
	uint16_t port;
};

/* The address, for the log; false: there is none. */
bool shared_crash_peer(const struct shared_crash *c, char ret[static PEER_TEXT]);

/* What a process tells of itself. */
struct shared_process {
	_Atomic int pid;          /* 0: the row is free */
	_Atomic uint64_t started; /* monotonic ns */
	/* As it was when somebody asked last: server_tell(). */
	_Atomic uint64_t heap, resident;      /* bytes */
	_Atomic uint64_t descriptors, limit;  /* open, and how many may be */
	_Atomic uint64_t turns, user, system; /* of its loops; ns of processor time */
	struct shared_crash crash;
};

/* Counters of a section in one process; they outlive a reload. Row i is loop i's, the last one is for threads (atomic adds). */
struct tally {
	_Atomic unsigned owner; /* number of the process + 1; 0: free */
	char name[CONF_NAME_MAX + 1];
	const struct proto *_Atomic proto; /* the same in every process: none was exec'd */
	bool internal;                     /* the control socket's: no client of anybody */
	_Atomic unsigned open;             /* connections now */
	_Atomic unsigned workers, waiting; /* of a crew: threads, and who is accepted and waits for one */
	struct admit_state admit;
	_Atomic uint64_t v[]; /* rows * STAT_N */
};

/*
 * Where its parts are, in memory of this process: whoever has taken over another one can write what he likes into the mapping, but
 * not this. So sizes and names are here, and what is read there is looked at before it is used.
 */
struct shared {
	unsigned rows; /* of a tally */
	struct guard *guard;
	struct limits *limits;
	struct guard_ports *ports;
	struct events *events;                     /* store/events.h */
	struct shared_process *process;            /* SHARED_PROCESSES of them */
	char names[SHARED_PROCESSES][SHARED_NAME]; /* "monitor", "main", "mail"; "": a free row */
	unsigned char *tallies;                    /* SHARED_TALLIES of tally_size */
	bool mine[SHARED_TALLIES];                 /* of process 0: those that it has claimed itself */
	size_t tally_size;
	void *map;
	size_t size;
};

/* rows: of a tally, a row more than a process has loops. Zeroed pages: what nobody touches costs nothing. 0 or -errno. */
[[nodiscard]] int shared_new(unsigned rows, struct shared **ret);
void shared_free(struct shared **sh); /* this process does not use it any more */

/* A free row, marked with a name and no pid yet; -1: there is none. The monitor only. */
int shared_take_process(struct shared *sh, const char *name);
/* In the process itself. name NULL: it has one. */
void shared_begin_process(struct shared *sh, unsigned number, const char *name, uint64_t now);
/* That process is gone: its counters become those of process 0, its connections are none, its row is free. */
void shared_bury_process(struct shared *sh, unsigned number);

/* The tally of this section in this process, made when it is not there; NULL: the table is full. */
struct tally *shared_tally(struct shared *sh, unsigned owner, const char *name, const struct proto *proto);
/* The next one that is used, in no order; NULL begins, and ends. */
const struct tally *shared_next(const struct shared *sh, const struct tally *after);
