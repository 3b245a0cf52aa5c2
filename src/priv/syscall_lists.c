/*
 * syscall_lists.c - see syscall_lists.h. Names and not numbers, so that the lists are the same for every machine: a call
 * that one does not have (open on aarch64) is passed over.
 *
 * To find what is missing here, run the daemon under `strace -f` and look for ENOSYS and EPERM.
 */
#include "priv/syscall_lists.h"

#include <stddef.h>

const char *const syscalls_everybody[] = {
	/* memory; mmap and mprotect depend on arguments */
	"brk", "munmap", "mremap", "madvise", "msync",
	/* threads and their locks, the end */
	"futex", "futex_waitv", "set_robust_list", "get_robust_list", "set_tid_address", "rseq", "membarrier",
	"sched_yield", "sched_getaffinity", "getcpu", "restart_syscall", "exit", "exit_group",
	/* signals */
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigsuspend", "rt_sigtimedwait",
	"sigaltstack", "signalfd", "signalfd4", "pause",
	/* children, if there are any */
	"wait4", "waitid", "pidfd_open",
	/* clocks and timers */
	"clock_gettime", "clock_getres", "clock_nanosleep", "gettimeofday", "time", "nanosleep", "timerfd_create",
	"timerfd_settime", "timerfd_gettime", "alarm", "getitimer", "setitimer",
	/* who and where we are */
	"getpid", "gettid", "getppid", "getpgrp", "getpgid", "getsid", "getuid", "geteuid", "getgid", "getegid",
	"getresuid", "getresgid", "getgroups", "capget", "uname", "sysinfo", "getrusage", "times", "getrlimit",
	"setrlimit", "getrandom", "getcwd", "umask",
	/* waiting for descriptors */
	"epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll",
	"select", "pselect6", "eventfd", "eventfd2",
	/* descriptors */
	"read", "readv", "pread64", "preadv", "preadv2", "write", "writev", "pwrite64", "pwritev", "pwritev2", "lseek",
	"close", "close_range", "dup", "dup2", "dup3", "pipe", "pipe2", "sendfile", "copy_file_range", "flock",
	"memfd_create",
	/* files: Landlock says which. What may be open for writing may be cut, and given another mode */
	"open", "openat", "openat2", "stat", "lstat", "fstat", "newfstatat", "statx", "statfs", "fstatfs", "access",
	"faccessat", "faccessat2", "readlink", "readlinkat", "getdents", "getdents64", "ftruncate", "fallocate",
	"fsync", "fdatasync", "sync_file_range", "fadvise64", "fchmod",
	/* sockets that are there; sendto, sendmsg, sendmmsg, setsockopt depend on arguments */
	"accept", "accept4", "recvfrom", "recvmsg", "recvmmsg", "shutdown", "getsockname", "getpeername", "getsockopt",
	/* message queues that are open */
	"mq_timedsend", "mq_timedreceive", "mq_getsetattr", NULL
};

const char *const syscalls_files[] = { "creat",  "mkdir",  "mkdirat",  "rename", "renameat", "renameat2", "link",
				       "linkat", "unlink", "unlinkat", "rmdir",  "truncate", NULL };

const char *const syscalls_queues[] = { "mq_open", "mq_unlink", NULL };

const char *const syscalls_tracing[] = { "ptrace", "process_vm_readv", "process_vm_writev", NULL };

const char *const syscalls_never[] = {
	/* large and young parts of the kernel, where the holes were */
	"io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "perf_event_open", "userfaultfd", "keyctl",
	"add_key", "request_key", "fanotify_init", "lookup_dcookie",
	/* name spaces and mounts */
	"setns", "mount", "umount2", "move_mount", "open_tree", "fspick", "mount_setattr", "pivot_root",
	"open_by_handle_at",
	/* the machine */
	"kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "create_module", "reboot",
	"swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "iopl", "ioperm", "settimeofday", "clock_settime",
	"clock_adjtime", "adjtimex", "sethostname", "setdomainname", "syslog", "vhangup", "nfsservctl",
	/* descriptors and memory of other processes */
	"pidfd_getfd", "process_madvise", "process_mrelease", "kcmp", "migrate_pages", "move_pages", NULL
};

const char *const syscalls_file_systems[] = { "fsopen", "fsconfig", "fsmount", NULL };

const char *const syscalls_never_ours[] = { "execve", "execveat", "fork", "vfork", "personality", "modify_ldt",
					    "uselib", "name_to_handle_at", "chroot", "symlink", "symlinkat", "setfsuid",
					    "setfsgid",
					    /* signals that are not kill */
					    "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", NULL };

const char *const syscalls_monitor[] = {
	/* other people's rights, which nobody else has any more */
	"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "capset", "chown", "fchown",
	"lchown", "fchownat", "chmod", "fchmodat", "fchmodat2",
	/* what its children enter; in them it is on already */
	"seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", NULL
};
