/* fdlimit.h - how many descriptors this process may have open. */
#pragma once
#include <stddef.h>

size_t fdlimit_get(void); /* as it is; 0: nobody knows */
/* Up to the hard limit, or to `fds` (0: none), but not below what is needed to be told of a better number. */
void fdlimit_set(unsigned fds);
void fdlimit_warn(unsigned fds); /* in the log, if it could not be as wished */
