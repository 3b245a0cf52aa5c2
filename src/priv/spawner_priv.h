/* spawner_priv.h - what spawner.c and spawn_child.c share. */
#pragma once
#include "priv/spawn.h"
#include "priv/spawner.h"

/*
 * In the forked child: becomes the command, or returns -errno. null: /dev/null; nofile: 0 or the soft limit of descriptors;
 * parent: the spawner's pid.
 */
int spawn_become(const struct spawn_run *r, int null, size_t nofile, pid_t parent);
