/*
 * boxed.h - for the tests of the sandbox: a scene of files and sockets, and acts that a process tries after it has entered.
 */
#pragma once
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "priv/sandbox_priv.h"

#define BOXED_NOBODY 65534 /* a user and a group without rights */
#define BOXED_FINE 200     /* a result: it could enter and the act went well; else it is an errno, or minus a signal */
#define BOXED_NOT_IN 201

/* What is there to be reached. Everybody may do everything with the files, so that only the sandbox forbids. */
struct boxed_scene {
	char root[64], data[80], sub[80], pages[80],
		out[80]; /* data: writable, with sub below; pages: readable; out: not permitted */
	char in_data[96], page[96], kept[96], secret[96]; /* files in data, pages, pages, out */
	int tcp, port;                                    /* a listening socket */
	struct sockaddr_un name;                          /* of a datagram socket, abstract */
	socklen_t n_name;
	int unbound; /* a datagram socket of the family unix */
	int pair[2]; /* of connected datagram sockets; a descriptor, open for writing, waits in pair[0] */
	pid_t parent;
};
extern struct boxed_scene at;

/* For the group of tests. */
int boxed_set_up(void **state);
int boxed_tear_down(void **state);

/* The ABI of Landlock that this kernel has; 0 = none. */
int boxed_landlock(void);

/* Kernels that can do so much. */
extern const struct sandbox_kernel whole, only_seccomp, only_landlock, neither;

/* What a process may, for boxed_profile(). */
enum {
	CONNECTS = 1,
	LISTENS = 2,
	DATAGRAMS = 4,
	THREADS = 8,
	FORKS = 16,
	EXECS = 32,
	ANY_PATH = 64,
	QUEUES = 128,
	RUNS = 256,
	MONITOR = 512, /* with EXECS or without, and nothing else */
};

/* With data for everything and pages for reading; as who we are. */
struct sandbox boxed_profile(unsigned flags);

/* Runs the act in a child that has entered as `uid`. Returns its errno, BOXED_FINE, BOXED_NOT_IN or minus a signal. */
int boxed_run(const struct sandbox_kernel *k, struct sandbox s, uid_t uid, int (*act)(void));

struct trial {
	const char *what; /* what it proves */
	int (*act)(void); /* 0, or -1 and errno */
	unsigned flags;   /* of the process */
	const struct sandbox_kernel *k;
	int expect; /* as boxed_run() returns it */
	int abi;    /* of Landlock that it takes */
};

/*
 * Each as whoever we are and, when that is root, as nobody too; and once more with a monitor as its parent that has entered, whose
 * rules it inherits.
 */
void boxed_try(const struct trial *v, size_t n);

/* For acts. */
int boxed_open(const char *path, int flags); /* and closes */
struct sockaddr_in boxed_near(int port);     /* on loopback */
