/*
 * live.h - a whole server in the process of a test: three event loops, real sockets, SIGHUP and SIGTERM. One at a time.
 *
 *	static const char *const words[] = { "echo", "listen=tcp:0 udp:0", NULL, "shout", "protocol=echo", NULL, NULL };
 *	assert_int_equal(live_start(&w, words), 0);
 *	int fd = live_dial(&w, "echo", SOCK_STREAM);
 *	assert_true(live_exchange(fd, "x", "x"));
 *	live_reload(&w, others);
 *	assert_int_equal(live_stop(&w), 0);
 *
 * A configuration is words: each section its name, then option=value, ended by NULL; another NULL after the last. A tls:
 * address gets a certificate of its own with each reload.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "base/fault.h"
#include "drive/server.h"

struct live {
	struct server *s;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t ready;
	bool up;
	int status;
	const char *const *_Atomic next; /* what a SIGHUP brings */
	_Atomic unsigned reloads;
	_Atomic int applied;  /* what the last one came to: 0 or -errno */
	char problem[1024];   /* and its first problem */
	struct buf addresses; /* "echo tcp:127.0.0.1:1234\n" ... */

	/* With faults: the nth call of a kind fails while a reload is applied; 0: none does. seen: there were so many. */
	enum fault_kind fail_kind;
	unsigned long fail_at;
	bool fail_seen;
};

/* A protocol that only a test has, for sections that say protocol=NAME. */
extern const struct proto *live_proto;

[[nodiscard]] int live_start(struct live *w, const char *const *words); /* 0, or -errno: it did not come up (faults) */
int live_stop(struct live *w);                                          /* its exit status */
int live_reload(struct live *w, const char *const *words);              /* 0 or -errno, see w->problem */

/* The plan that these words are: a failure fails the test. For who has no struct live. */
struct plan *live_plan(const char *const *words);

/* A client of ours on 127.0.0.1; SOCK_STREAM or SOCK_DGRAM. -1: refused. */
int live_dial(struct live *w, const char *service, int type);
int live_dial_port(unsigned port, int type);
unsigned live_port(struct live *w, const char *service, int type); /* 0: it has none */
unsigned live_free_port(void);

/* Says it and hears exactly so much; false: something else, or the end. */
bool live_exchange(int fd, const char *say, const char *hear);

/* The last of these n clients of a chat is in the room, as all before him are; they have heard all that was said before. */
void live_is_in(const int *fd, unsigned n);

/* A thread that comes to an echo again and again, until the end: then it was always served. */
struct live_caller {
	unsigned port;
	_Atomic bool enough;
	_Atomic unsigned served, refused;
	pthread_t thread;
};
void live_call(struct live_caller *c, unsigned port);
void live_call_end(struct live_caller *c);

#ifdef GUICHET_FAULTS
/*
 * Each call of a kind fails once while one plan follows another: the new one is served, or all is as it was. At the port both have
 * an echo, tcp and udp; the second one's is in capitals.
 */
void live_fail_each(unsigned port, const char *const *before, const char *const *after, enum fault_kind kind);
#endif

void live_no_log(void); /* every line is made, and goes nowhere */
