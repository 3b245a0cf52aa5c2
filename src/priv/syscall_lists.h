/* syscall_lists.h - names of system calls, each list ended by NULL; what is decided by arguments is in syscalls.c. */
#pragma once

extern const char *const syscalls_everybody[];  /* harmless, or limited by Landlock and by what is open */
extern const char *const syscalls_files[];      /* change folders: for whoever may make files somewhere */
extern const char *const syscalls_queues[];     /* open message queues by name */
extern const char *const syscalls_tracing[];    /* read and write another process */
extern const char *const syscalls_never[];      /* the kernel's inside: nobody, programs of other people neither */
extern const char *const syscalls_never_ours[]; /* nobody but these programs */
extern const char *const syscalls_monitor[];    /* rights, and how its children give theirs up: the monitor */

/* Open a file system without mounting it, as a monitor's child does with that of the queues. */
extern const char *const syscalls_file_systems[];
