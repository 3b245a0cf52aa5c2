/* fds.h - a process that has just been forked closes what it was not meant to have. */
#pragma once
#include <stddef.h>

/* The lowest of these that is not below `from`; -1: there is none. A -1 in `v` is nothing. */
int fds_lowest(const int *v, size_t n, int from);

/* All descriptors from 3 on, except those that `next` tells: the lowest that stays and is not below `from`, or -1. */
void fds_close_but(int (*next)(const void *arg, int from), const void *arg);
