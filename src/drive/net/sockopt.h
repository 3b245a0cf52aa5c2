/*
 * sockopt.h - options of a socket that a reload may change. A connection gets them from the socket that it was accepted
 * from; those that are there keep theirs.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct netaddr;

struct sockopt {
	bool nodelay;
	bool reuse;           /* other programs may listen on the very same address and port: streams */
	uint64_t keepalive;   /* ns of silence; 0 = off */
	size_t receive, send; /* bytes that the system keeps; 0 = as it likes */
};

/* Those that mean something for this kind of socket. The first failure as -errno; the others are set all the same. */
[[nodiscard]] int sockopt_tune(int fd, const struct netaddr *at, const struct sockopt *o);

[[nodiscard]] int sockopt_set(int fd, int level, int option, int value); /* 0 or -errno */
