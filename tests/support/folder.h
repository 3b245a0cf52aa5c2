/* folder.h - the temporary folder of a test; one at a time. And how many names and descriptors there are. */
#pragma once
#include <stddef.h>

extern char *folder;          /* its path */
extern char folder_conf[256]; /* of a file t.conf in it, which need not be there */

/* Of a group of tests: made, and removed with all that is in it. */
int folder_set_up(void **state);
int folder_take_down(void **state);

const char *folder_path(const char *name); /* of something in it; until the next call */
void folder_put(const char *name, const char *text);

size_t folder_names(const char *path); /* in any one, without . and .. */
size_t folder_fds(void);               /* open here */
