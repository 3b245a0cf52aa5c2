/*
 * sandbox.h - a process gives up what it will not need, so that whoever takes it over finds little there. For a process
 * that has just been forked and has no second thread. Not what it needs: that is the caller's to say in struct sandbox.
 *
 * There is no way back, neither here nor in the kernel: a reload that needs more wants a new process. What each layer
 * forbids, and what is lost on older kernels, is in docs/design/sandbox.md.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"

/* What may be done with a path and, when it is a folder, with all below it. Without any of these, nothing. */
enum sandbox_right {
	SANDBOX_READ = 1 << 0,     /* open files for reading, list folders */
	SANDBOX_WRITE = 1 << 1,    /* open files that exist for writing, cut them */
	SANDBOX_MAKE = 1 << 2,     /* make files and folders, rename, link and remove them */
	SANDBOX_EXEC = 1 << 3,     /* start programs; only of use with `execs` */
	SANDBOX_PIPES = 1 << 5,    /* make and remove named pipes */
	SANDBOX_OPTIONAL = 1 << 4, /* no right: the path may be missing, and then stays forbidden */
};

struct sandbox_path {
	const char *path; /* links in it are followed now, once */
	unsigned rights;  /* of enum sandbox_right */
};

/*
 * A process and all that it needs. Everybody may read the zone files and /dev/urandom, use /dev/null, and read what is
 * below /proc/self; `connects` adds the files of the resolver and the certificates of this machine.
 */
struct sandbox {
	const char *name; /* for messages: "worker mail" */
	const char *user; /* its groups become ours; NULL = no groups but `gid` */
	uid_t uid;        /* geteuid() to stay who we are */
	gid_t gid;
	const struct sandbox_path *paths;
	size_t n_paths;
	bool any_path; /* all that the user may, no matter what `paths` say */
	bool connects; /* dials out, looks up names */
	bool listens;  /* listens at ports that the system picks */
	bool others; /* a root that becomes a user keeps the right to open pipes, queues and sockets of all users below `paths` */
	bool datagrams; /* answers datagrams from sockets of its own, and to unix sockets without a path */
	bool queues;    /* opens message queues by their names; those that are open work without it */
	bool threads;   /* makes threads */
	bool forks;     /* makes processes like itself, and signals them */
	bool runs;      /* has others run programs: a pair of sockets for each spawner (spawn.h) */
	bool execs;     /* starts programs of other people: see sandbox_enter() */
	bool monitor; /* has the others as children; of all this, only `name`, `execs` and `sanitizer` are asked. See below */
	bool sanitizer; /* leaves through exit(), so a sanitizer looks for leaks; see below. Ignored in release builds */
};

/* What could not be done, because the kernel is too old or was told not to. */
enum sandbox_lost {
	SANDBOX_LOST_LANDLOCK = 1 << 0, /* everything of Landlock: paths, ports, abstract names, signals */
	SANDBOX_LOST_REFER = 1 << 1,    /* the other way round: renaming and linking between folders is forbidden */
	SANDBOX_LOST_TRUNCATE = 1 << 2, /* what may not be written can still be cut to a length, by its user */
	SANDBOX_LOST_TCP = 1 << 3,      /* which TCP ports are dialled and listened at */
	SANDBOX_LOST_IOCTL = 1 << 4,    /* ioctl on devices (but by the list of system calls) */
	SANDBOX_LOST_SCOPE = 1 << 5,    /* signals to processes of the same user, abstract unix sockets */
	SANDBOX_LOST_SECCOMP = 1 << 6,  /* the list of system calls */
	SANDBOX_LOST_CODE = 1 << 7,     /* memory can become executable: there is neither MDWE nor the list */
};

struct sandbox_report {
	uid_t uid;
	gid_t gid;
	int landlock;  /* the ABI in use, 0 = none */
	bool others;   /* as wished; never without Landlock, which keeps it to the paths */
	bool seccomp;  /* a list of system calls is on */
	bool execs;    /* as wished: the list is the one for programs */
	bool mdwe;     /* the kernel's own rule that memory never becomes executable; the list has it too */
	unsigned lost; /* of enum sandbox_lost */
	int self;      /* /proc/self, kept open for as long as the process lives (CLOEXEC); -1 without Landlock */
};

/*
 * Enters; in this order: the paths are opened, user and groups changed, capabilities dropped (bounding and ambient sets
 * too), no new privileges, no core files and no debugger, Landlock, no new executable memory, the list of system calls.
 * That the old user cannot come back is tried, not believed. A user without rights who stays the same keeps its groups, and
 * the bounding set, which is of no use to anybody who cannot gain privileges.
 *
 * Make threads afterwards. Set PR_SET_PDEATHSIG afterwards too: the change of user takes it back. Descriptors that are
 * open stay open and can do what they could.
 *
 * With `execs` there is no list of what may be called but one of what may not: programs of other people need the rest, and
 * they inherit it all, and that setuid is of no effect. Without it nothing can be executed.
 *
 * The monitor stays who it is, with its capabilities and files, since a reload may name any. Its children inherit the rest and
 * enter their own sandbox afterwards, so its list has what they need for that, and all that they may have. `execs` says whether a
 * spawner can be among them, for good.
 *
 * The sanitizers run inside this list like everything else. Only two things need more: the search for leaks at exit
 * (ptrace, a thread of its own kind) and reports with function names (/proc and the libraries). `sanitizer` permits
 * these, in builds that have one. Whoever leaves by _exit() does not need it.
 *
 * A kernel without Landlock or seccomp is no error; `ret` tells. 0, or -errno with a sentence in `why` (may be NULL) that
 * says what could not be done and what to do. After an error the process is half in: it must end. -EBUSY: it has threads.
 */
[[nodiscard]] int sandbox_enter(const struct sandbox *s, struct sandbox_report *ret, struct buf *why);

/* For the log: `landlock 7, seccomp, mdwe` and, when something is lost, `; without ...`. */
void sandbox_describe(const struct sandbox_report *r, struct buf *b);
