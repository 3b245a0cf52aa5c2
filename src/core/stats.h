/*
 * stats.h - the counters of a service, one row each: the name that `guichet stats` prints and what it
 * counts. A lane is one set of them with a single writer (a loop); readers add the lanes up.
 */
#pragma once
#include <stdatomic.h>

#include "core/proto.h"

#define STATS(X) \
	X(ACCEPTED, accepted, "connections accepted") \
	X(CLOSED, closed, "connections ended") \
	X(BYTES_IN, bytes_in, "bytes received, below TLS") \
	X(BYTES_OUT, bytes_out, "bytes sent, below TLS") \
	X(DGRAMS_IN, datagrams_in, "datagrams received") \
	X(DGRAMS_OUT, datagrams_out, "datagrams sent") \
	X(ERRORS, errors, \
	  "sessions that ended with a reason in the log: broken, over a limit, malformed, refused by the protocol") \
	X(IDLE, ended_idle, "sessions ended by the option idle") \
	X(FIRST, ended_first, "sessions ended because no whole message came within the option first") \
	X(AUTH, ended_auth, "sessions ended because nobody logged in within the option auth") \
	X(SLOW, ended_slow, "sessions ended because they sent or read less than the option min_rate") \
	X(OUTPUT, ended_output, "sessions ended because they did not read (option output)") \
	X(INPUT, ended_input, "sessions ended because a message was too long (option input)") \
	X(MEMORY, ended_memory, "sessions ended because memory was out") \
	X(LOGINS_FAILED, logins_failed, "logins that failed: a wrong password, or nobody of that name") \
	X(HANDSHAKES, handshakes, "TLS handshakes completed") \
	X(HANDSHAKES_FAILED, handshakes_failed, "TLS handshakes failed or past the option first") \
	X(PROXIED, proxied, "connections that began with a right PROXY header (option proxy)") \
	X(PROXY_FAILED, proxy_failed, "connections without one, with a wrong one, or past the option first") \
	X(WEBSOCKETS, websockets, "WebSocket handshakes completed") \
	X(WEBSOCKETS_FAILED, websockets_failed, "WebSocket handshakes refused, malformed or past the option first") \
	X(REFUSED_MAX, refused_max, "connections refused by the option max") \
	X(REFUSED_RESERVE, refused_reserve, "connections refused by the option reserve_service") \
	X(REFUSED_SOURCE, refused_per_source, "connections refused by the option per_source") \
	X(REFUSED_RATE, refused_rate, "connections refused by the option rate") \
	X(REFUSED_PENALTY, refused_penalty, \
	  "connections refused because of what their source did before (option penalty)") \
	X(UNCOUNTED, uncounted, "connections let in without counting, as the table of sources was full") \
	X(OVERLOADS, overloads, "times that it was overloaded, and time limits became shorter (option overload)") \
	X(REFUSED_PIPE, refused_pipe, \
	  "clients of a named pipe refused: a bad name, no such pipes, or not opened by the option first") \
	X(REFUSED_MEMORY, refused_memory, "connections and datagrams refused because memory was out") \
	X(REFUSED_THREADS, refused_threads, "connections refused because no thread could be made") \
	X(REFUSED_PROCESSES, refused_processes, "connections refused because no process could be made") \
	X(PAUSED_FDS, paused_fds, "times accepting paused because descriptors were out") \
	X(QUEUE_FULL, queue_full, "times accepting paused because as many waited for a worker as may (option queue)") \
	X(DROP_BUSY, dropped_busy, \
	  "datagrams not answered because as many processes as may be had one, or no other one could be made") \
	X(DROP_LOW_PORT, dropped_low_port, "datagrams from a port below 1024, not answered (option low_ports)") \
	X(DROP_PENALTY, dropped_penalty, "datagrams from a source that has a penalty, not answered") \
	X(DROP_NAME, dropped_name, "messages without the name of a queue to answer to, not served") \
	X(DROP_SELF, dropped_self, "datagrams from our own address, not answered") \
	X(DROP_BROADCAST, dropped_broadcast, "datagrams to a broadcast or multicast address, not answered") \
	X(DROP_RATE, dropped_rate, "answers over dgram_rate to one network, not sent") \
	X(DROP_SIZE, dropped_size, "answers over dgram_reply to an unproven address, not sent") \
	X(DROP_FULL, dropped_full, \
	  "datagrams not sent because too much waited for the socket (option output), or the receiver has no room") \
	X(DROP_UNNAMED, dropped_unnamed, "answers to a sender without a name (an unbound unix socket), not sent") \
	X(DROP_UNSENDABLE, dropped_unsendable, \
	  "datagrams that the system would not send: no route, too long, no such address of ours") \
	X(FILE_HITS, file_hits, "files to read that were open already (option file_cache)") \
	X(FILE_MISSES, file_misses, "files to read that had to be opened, or looked at again") \
	X(FIRST_REPLIES, first_replies, "sessions that got a first reply") \
	X(FIRST_REPLY_NS, first_reply_ns, \
	  "sum of nanoseconds from the first byte in (or accept) to the first byte out") \
	X(OWN, own, "the protocol's own counters start here")

enum counter {
#define X(id, name, help) STAT_##id,
	STATS(X)
#undef X
		STAT_N = STAT_OWN + PROTO_COUNTERS,
};

struct admit;
struct admit_note;

/* What a service has on one loop. Touched by that loop's thread only, but for stats, which anybody may read. */
struct lane {
	const struct svc *svc;
	void *shard; /* self of the shard, or NULL */
	sess_id shard_id;
	_Atomic uint64_t *stats; /* STAT_N of them; only this thread writes */
	unsigned open;           /* sessions on this loop */
	bool retired;            /* no new ones: released() when the last one ends */
	void (*released)(struct lane *lane);
	void (*left)(struct lane *lane); /* a connection has ended, and given its place back; NULL: nobody cares */
	_Atomic unsigned *open_all;      /* connections of the service on all loops */
	unsigned max;                    /* of these; 0 = no limit */
	const _Atomic bool *hold;        /* while it is true nobody is accepted; NULL: never */
	const struct admit *admit;       /* drive/admit.h: who may come in; NULL: everybody */
	struct admit_note *note;         /* what the only connection holds; NULL: it need not be known */
	const _Atomic bool *pressed[2];  /* overload: of the service, and of all; NULL: never */
};

/* The lane has one writer, so no locked instruction is needed; readers see whole values. */
static inline void stat_add(const struct lane *lane, enum counter which, uint64_t n)
{
	_Atomic uint64_t *c = &lane->stats[which];

	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

/* There is too much to do for the time limits that are otherwise right. */
static inline bool lane_is_pressed(const struct lane *lane)
{
	for (unsigned i = 0; i < 2; i++)
		if (lane->pressed[i] && atomic_load_explicit(lane->pressed[i], memory_order_relaxed))
			return true;
	return false;
}

/* Name and help of a counter below STAT_OWN. */
const char *stat_name(enum counter which);
const char *stat_help(enum counter which);
