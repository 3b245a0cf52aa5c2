/*
 * errand.h - a real loop with a real spawner, for tests of commands: a toy protocol (toy.h) on connections that the test holds the
 * other end of.
 *
 *	errand_begin(&w, &(struct errand_setup){ .many = true, .fn = hand_on });
 *	int fd = errand_client(&w, AF_INET);
 *	errand_until(&w, fd, "hello");            turns until the client has got exactly this
 *	errand_log(&w, "... c7.gone:7:0/0 fini"); turns until the steps saw this
 *	errand_end(&w);                           fails when a descriptor is left
 */
#pragma once
#include <sys/types.h>

#include "drive/loop_priv.h"
#include "priv/spawn.h"
#include "support/toy.h"

struct errand_setup {
	bool many; /* epoll; otherwise poll(2), as for one connection */
	bool trace;
	bool no_spawner;
	toy_fn *fn;
	nsec linger;
};

struct errand {
	struct loop *l;
	struct svc svc;
	struct lane lane;
	_Atomic uint64_t stats[STAT_N];
	struct spawn_door door;
	int root;
	pid_t spawner;
	size_t fds;
};

void errand_begin(struct errand *w, const struct errand_setup *setup);
void errand_end(struct errand *w);

/* A client of a new session: its other end is AF_INET or AF_UNIX. */
int errand_client(struct errand *w, int family);

void errand_turn(struct errand *w);
void errand_log(struct errand *w, const char *want);
void errand_log_end(struct errand *w, const char *maybe, const char *want); /* the same, perhaps with this before it */
void errand_until(struct errand *w, int fd, const char *text);
void errand_until_end(struct errand *w, int fd);  /* and nothing more came */
pid_t errand_until_pid(struct errand *w, int fd); /* a line with a number in it; and it runs, as the loop knows */

bool errand_gone(pid_t pid); /* within some seconds */

void errand_say(int fd, const char *text);

#ifdef GUICHET_FAULTS
/* Each call fails once, and whatever that comes to, it comes to an end. begin(): errand_begin(), and its client. */
void errand_fail_each(struct errand *w, int (*begin)(unsigned long n));
#endif
