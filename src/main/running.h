/* running.h - a guichet that runs, as commands reach it: by its control socket. */
#pragma once
#include <limits.h>

#include "base/buf.h"

/* Which one. All zero: the one that was started in this folder. */
struct running {
	const char *control;      /* its socket; NULL: not said */
	char in_folder[PATH_MAX]; /* where that is when a folder was said */
};

#define RUNNING_HELP "the control socket, or the data folder that it is in; ./guichet-data when not set"

/* Takes the value of --control: a socket, or the data folder where it has its usual name. `path` must live as long as *r. */
void running_take(struct running *r, const char *path);

/*
 * Asks it one line and adds all of its answer, waiting so many seconds at most. An exit status: when nobody has answered, that was told on
 * standard error, with what to do about it. `command` is the one to name there.
 */
[[nodiscard]] int running_ask(const struct running *r, const char *command, const char *line, unsigned seconds,
			      struct buf *answer);
