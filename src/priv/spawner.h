/*
 * spawner.h - the process that runs every child process of the daemon. It is forked early, while the monitor is small and has
 * no threads, so starting a command costs the same however large the rest of the daemon becomes, and nothing forks from a
 * process with threads. It believes nothing that it is told (spawn.h says what that is), opens no file but /dev/null, and runs no
 * shell: only execve() with an absolute path.
 *
 * It and, inherited, its commands may not make the system calls that no ordinary program makes (sandbox.h, `execs`), and setuid has
 * no effect.
 *
 * A command has a process group of its own, default signals, the limit of descriptors that we were started with, and the
 * descriptors 0, 1 and 2, nothing else of ours. It dies with the spawner (PR_SET_PDEATHSIG). When it ends, what is left in its
 * group is killed; what is to outlive it has to leave the group (setsid(1)).
 */
#pragma once
#include <stddef.h>
#include <sys/types.h>

struct spawner_setup {
	size_t most;   /* children at once; a further one is -EAGAIN. 0 = 512 */
	size_t nofile; /* the soft RLIMIT_NOFILE that children have; 0 = the spawner's own */
};

/*
 * Forks it, from a process with one thread. *ret_root is the root channel: spawn_door() makes its doors, and closing it (all
 * copies, so no worker may inherit one) ends the spawner: its children get SIGTERM, those that stay SIGKILL after their grace.
 * 0 or -errno.
 */
[[nodiscard]] int spawner_start(const struct spawner_setup *setup, int *ret_root, pid_t *ret_pid);
