/*
 * syscalls.c - which system calls a process may make: lists of names (syscall_lists.c), and here the calls that are decided by
 * their arguments. libseccomp makes a BPF program of it that the kernel runs at each call; calls that are decided by their
 * name alone cost nearly nothing.
 *
 * Three answers. Allowed. EPERM for what nobody here may ever do. ENOSYS for all the rest: libraries try the newest call
 * first, and fall back to an older one only when told that it does not exist (clone3 and clone, openat2 and openat); told
 * EPERM they fail. A call through the 32-bit or x32 door of the kernel has other numbers and kills the process: nothing
 * of ours makes one.
 *
 * Only numbers can be looked at, never what a pointer points to. So which address connect() may reach, or which file
 * open(), is Landlock's to say.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "priv/sandbox_priv.h"
#include "priv/syscall_lists.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* Linux 5.14 */
#endif

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define INT 0xffffffffU /* the kernel looks at so many bits of an int, and so must we */
#define SIGN 0x80000000U
#define TYPES (INT & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) /* of sockets, without the flags that come with them */
#define MAP_TYPE_BITS (MAP_TYPE | MAP_ANONYMOUS)      /* how it is shared, and whether there is a file */
#define CLONE_NEW_ALL \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

#define NO SCMP_ACT_ERRNO(EPERM)
#define YES SCMP_ACT_ALLOW

struct filter {
	const struct sandbox *s;
	scmp_filter_ctx ctx;
	int err;         /* the first, 0 or -errno */
	const char *bad; /* the call it was about */
};

/* Argument `ARG` of a call, in the bits of `MASK`, is `VALUE`. */
#define BITS(ARG, MASK, VALUE) \
	((struct scmp_arg_cmp){ .arg = (ARG), .op = SCMP_CMP_MASKED_EQ, .datum_a = (MASK), .datum_b = (VALUE) })
#define IS(ARG, VALUE) BITS(ARG, INT, (uint32_t)(VALUE))
#define NOT(ARG, VALUE) ((struct scmp_arg_cmp){ .arg = (ARG), .op = SCMP_CMP_NE, .datum_a = (VALUE) })
#define ABOVE(ARG, VALUE) ((struct scmp_arg_cmp){ .arg = (ARG), .op = SCMP_CMP_GT, .datum_a = (VALUE) })

/* Answers a call whose arguments are all as in v. One that this library or this machine does not have gets ENOSYS anyway. */
static void rule_array(struct filter *f, uint32_t answer, const char *call, unsigned n, const struct scmp_arg_cmp *v)
{
	int nr = seccomp_syscall_resolve_name(call), r;

	if (f->err || nr < 0)
		return;
	r = seccomp_rule_add_array(f->ctx, answer, nr, n, v);
	if (r < 0) {
		f->err = r;
		f->bad = call;
	}
}

#define rule(F, ANSWER, CALL, ...) \
	rule_array(F, ANSWER, CALL, LENGTH(((struct scmp_arg_cmp[]){ __VA_ARGS__ })), \
		   (struct scmp_arg_cmp[]){ __VA_ARGS__ })

static void always(struct filter *f, uint32_t answer, const char *call)
{
	rule_array(f, answer, call, 0, NULL);
}

static void all_of(struct filter *f, uint32_t answer, const char *const *calls)
{
	for (size_t i = 0; calls[i]; i++)
		always(f, answer, calls[i]);
}

/*
 * No memory is ever made executable: code that an attacker brings along stays data. But the monitor looks up users and names, and
 * the C library loads modules for that: files, never writable.
 */
static void memory(struct filter *f)
{
	rule(f, YES, "mmap", BITS(2, PROT_EXEC, 0));
	if (f->s->monitor) {
		rule(f, YES, "mmap", BITS(2, PROT_EXEC | PROT_WRITE, PROT_EXEC), BITS(3, MAP_TYPE_BITS, MAP_PRIVATE));
		rule(f, NO, "mmap", BITS(2, PROT_EXEC | PROT_WRITE, PROT_EXEC | PROT_WRITE));
		rule(f, NO, "mmap", BITS(2, PROT_EXEC, PROT_EXEC), BITS(3, MAP_ANONYMOUS, MAP_ANONYMOUS));
	} else {
		rule(f, NO, "mmap", BITS(2, PROT_EXEC, PROT_EXEC));
	}
	rule(f, YES, "mprotect", BITS(2, PROT_EXEC, 0));
	rule(f, NO, "mprotect", BITS(2, PROT_EXEC, PROT_EXEC));
	always(f, NO, "pkey_mprotect");
}

/* Each bit by itself, since the calls that are permitted have none of them. */
static void name_spaces(struct filter *f)
{
	for (uint64_t bit = 1; bit <= INT; bit <<= 1) {
		if (bit & CLONE_NEW_ALL)
			rule(f, NO, "clone", BITS(0, bit, bit));
	}
}

/*
 * Threads and processes, none in name spaces of their own. clone3 has its flags behind a pointer, so it is ENOSYS and the
 * C library takes clone. The search for leaks makes a process in our own memory, which is neither.
 */
static void processes(struct filter *f)
{
	const struct sandbox *s = f->s;
	bool any = sandbox_for_sanitizer(s);

	if (any || (s->threads && s->forks)) {
		rule(f, YES, "clone", BITS(0, CLONE_NEW_ALL, 0));
	} else if (s->threads) {
		rule(f, YES, "clone", BITS(0, CLONE_NEW_ALL | CLONE_THREAD, CLONE_THREAD));
		rule(f, NO, "clone", BITS(0, CLONE_THREAD, 0));
	} else if (s->forks) {
		rule(f, YES, "clone", BITS(0, CLONE_NEW_ALL | CLONE_THREAD | CLONE_VM, 0));
		rule(f, NO, "clone", BITS(0, CLONE_VM, CLONE_VM));
	} else {
		always(f, NO, "clone");
		return;
	}
	name_spaces(f);
}

/* To take one thread out of a process that has no other changes nothing: that is how sandbox_enter() finds out. */
static void unsharing(struct filter *f)
{
	if (!f->s->monitor) {
		always(f, NO, "unshare");
		return;
	}
	if (!f->s->execs)
		rule(f, YES, "unshare", IS(0, CLONE_THREAD));
	rule(f, NO, "unshare", NOT(0, CLONE_THREAD));
}

/* A worker that is root for a while opens the queues' file system when it is not mounted where it should be. */
static void file_systems(struct filter *f)
{
	if (!f->s->monitor || geteuid() != 0 || !landlock_opens_queues())
		all_of(f, NO, syscalls_file_systems);
	else if (!f->s->execs)
		all_of(f, YES, syscalls_file_systems);
}

/*
 * raise() and abort() are signals to ourselves. Who forks signals its children, whose numbers nobody knows yet: Landlock
 * keeps that in the family. Negative numbers are groups of processes, or all.
 */
static void signals(struct filter *f)
{
	uint32_t self = (uint32_t)getpid();

	if (f->s->forks) {
		rule(f, YES, "kill", BITS(0, SIGN, 0));
		rule(f, NO, "kill", BITS(0, SIGN, SIGN));
		always(f, YES, "tgkill");
		always(f, YES, "pidfd_send_signal");
		return;
	}
	rule(f, YES, "kill", IS(0, self));
	rule(f, NO, "kill", NOT(0, self));
	rule(f, YES, "tgkill", IS(0, self));
	rule(f, NO, "tgkill", NOT(0, self));
	always(f, NO, "pidfd_send_signal");
}

static void socket_of(struct filter *f, int family, int type, int protocol)
{
	rule(f, YES, "socket", IS(0, family), BITS(1, TYPES, type), IS(2, protocol));
}

/* The protocols are named, since others (MPTCP, SMC) reach where Landlock, which knows TCP, does not look. */
static void sockets_of_ip(struct filter *f, int family)
{
	const struct sandbox *s = f->s;

	if (s->connects || s->listens) {
		socket_of(f, family, SOCK_STREAM, 0);
		socket_of(f, family, SOCK_STREAM, IPPROTO_TCP);
	} else {
		rule(f, NO, "socket", IS(0, family), BITS(1, TYPES, SOCK_STREAM));
	}
	if (s->connects || s->datagrams) {
		socket_of(f, family, SOCK_DGRAM, 0);
		socket_of(f, family, SOCK_DGRAM, IPPROTO_UDP);
	} else {
		rule(f, NO, "socket", IS(0, family), BITS(1, TYPES, SOCK_DGRAM));
	}
	rule(f, NO, "socket", IS(0, family), BITS(1, TYPES, SOCK_RAW));
}

/* Families above netlink, packets among them, and those below but for the four that may be used. */
static void no_other_sockets(struct filter *f)
{
	for (int family = 0; family <= AF_NETLINK; family++) {
		if (family != AF_INET && family != AF_INET6 && family != AF_UNIX && family != AF_NETLINK)
			rule(f, NO, "socket", IS(0, family));
	}
	rule(f, NO, "socket", ABOVE(0, AF_NETLINK));
}

/* getaddrinfo() asks netlink for our addresses, and daemons of its own over unix sockets. */
static void sockets_to_dial(struct filter *f)
{
	socket_of(f, AF_UNIX, SOCK_STREAM, 0);
	socket_of(f, AF_UNIX, SOCK_SEQPACKET, 0);
	socket_of(f, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	socket_of(f, AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE);
}

/* Who has others run programs may go nowhere: so short is only AF_UNSPEC, which resets the connection that a program has. */
static void connecting(struct filter *f, bool anywhere)
{
	if (anywhere || !f->s->runs) {
		always(f, anywhere ? YES : NO, "connect");
		return;
	}
	rule(f, YES, "connect", IS(2, sizeof(sa_family_t)));
	rule(f, NO, "connect", NOT(2, sizeof(sa_family_t)));
}

/* Whoever neither dials nor listens has the sockets that it was given. */
static void sockets(struct filter *f)
{
	const struct sandbox *s = f->s;
	bool any = s->connects || s->listens || s->datagrams;

	if (any) {
		sockets_of_ip(f, AF_INET);
		sockets_of_ip(f, AF_INET6);
		no_other_sockets(f);
	} else {
		always(f, NO, "socket");
	}
	if (s->connects)
		sockets_to_dial(f);
	else if (any)
		rule(f, NO, "socket", IS(0, AF_NETLINK));
	if (s->connects || s->datagrams)
		socket_of(f, AF_UNIX, SOCK_DGRAM, 0);
	else if (any)
		rule(f, NO, "socket", IS(0, AF_UNIX));
	always(f, any ? YES : NO, "bind"); /* also to dial: netlink sockets, and unix sockets that want answers */
	always(f, s->listens ? YES : NO, "listen");
	connecting(f, s->connects || s->datagrams);
	always(f, s->runs ? YES : NO, "socketpair");
}

/*
 * MSG_FASTOPEN connects without connect(), and Landlock does not look there. Only who has TCP sockets and may not dial
 * pays for the look at the flags.
 */
static void sending(struct filter *f)
{
	static const struct {
		const char *call;
		unsigned flags; /* which argument */
	} calls[] = { { "sendto", 3 }, { "sendmsg", 2 }, { "sendmmsg", 3 } };
	bool look = f->s->listens && !f->s->connects;

	for (size_t i = 0; i < LENGTH(calls); i++) {
		if (!look) {
			always(f, YES, calls[i].call);
			continue;
		}
		rule(f, YES, calls[i].call, BITS(calls[i].flags, MSG_FASTOPEN, 0));
		rule(f, NO, calls[i].call, BITS(calls[i].flags, MSG_FASTOPEN, MSG_FASTOPEN));
	}
}

/* The levels that we have options of. Of sockets in general not the filters, which would outlive us in a listener that the monitor
 * has too; of TCP not those that put a module of the kernel into the connection, or take it apart. */
static void socket_options(struct filter *f)
{
	static const int levels[] = { IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP };
	static const int any[] = { SO_REUSEADDR, SO_REUSEPORT, SO_BROADCAST, SO_KEEPALIVE, SO_LINGER,   SO_OOBINLINE,
				   SO_RCVBUF,    SO_SNDBUF,    SO_RCVTIMEO,  SO_SNDTIMEO,  SO_PASSCRED, SO_PRIORITY };
	static const int tcp[] = { TCP_NODELAY,      TCP_CORK,     TCP_KEEPIDLE,      TCP_KEEPINTVL, TCP_KEEPCNT,
				   TCP_USER_TIMEOUT, TCP_QUICKACK, TCP_DEFER_ACCEPT,  TCP_SYNCNT,    TCP_LINGER2,
				   TCP_WINDOW_CLAMP, TCP_MAXSEG,   TCP_NOTSENT_LOWAT, TCP_CONGESTION };

	for (size_t i = 0; i < LENGTH(levels); i++)
		rule(f, YES, "setsockopt", IS(1, levels[i]));
	for (size_t i = 0; i < LENGTH(any); i++)
		rule(f, YES, "setsockopt", IS(1, SOL_SOCKET), IS(2, any[i]));
	for (size_t i = 0; i < LENGTH(tcp); i++)
		rule(f, YES, "setsockopt", IS(1, IPPROTO_TCP), IS(2, tcp[i]));
	rule(f, NO, "setsockopt", IS(1, IPPROTO_TCP), IS(2, TCP_ULP));
	rule(f, NO, "setsockopt", IS(1, IPPROTO_TCP), IS(2, TCP_REPAIR));
}

/* What listeners are given before a worker has them, and freed of after it had them. */
static void listener_options(struct filter *f)
{
	static const int any[] = { SO_BINDTODEVICE, SO_RCVBUFFORCE, SO_SNDBUFFORCE, SO_BUF_LOCK, SO_DETACH_FILTER };

	for (size_t i = 0; i < LENGTH(any); i++)
		rule(f, YES, "setsockopt", IS(1, SOL_SOCKET), IS(2, any[i]));
}

/* What sandbox_enter() does, in the monitor's children. */
static void giving_up(struct filter *f)
{
	static const int prctls[] = { PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_CAP_AMBIENT,
				      PR_SET_KEEPCAPS,     PR_SET_MDWE,     PR_SET_SECCOMP };

	for (size_t i = 0; i < LENGTH(prctls); i++)
		rule(f, YES, "prctl", IS(0, prctls[i]));
	rule(f, YES, "prctl", IS(0, PR_SET_DUMPABLE), IS(1, 0));
}

/* The calls that are many in one. */
static void commands(struct filter *f)
{
	static const unsigned long ioctls[] = { FIONREAD, FIONBIO,    FIOCLEX,     FIONCLEX,    TIOCOUTQ,
						TCGETS,   TIOCGWINSZ, SIOCGIFNAME, SIOCGIFINDEX };
	static const int fcntls[] = { F_DUPFD,      F_DUPFD_CLOEXEC, F_GETFD,     F_SETFD,
				      F_GETFL,      F_SETFL,         F_GETLK,     F_SETLK,
				      F_SETLKW,     F_OFD_GETLK,     F_OFD_SETLK, F_OFD_SETLKW,
				      F_GETPIPE_SZ, F_SETPIPE_SZ,    F_ADD_SEALS, F_GET_SEALS };
	static const int prctls[] = { PR_SET_NAME,      PR_GET_NAME,         PR_SET_PDEATHSIG,
				      PR_GET_PDEATHSIG, PR_GET_DUMPABLE,     PR_GET_SECCOMP,
				      PR_CAPBSET_READ,  PR_GET_NO_NEW_PRIVS, PR_SET_VMA };

	for (size_t i = 0; i < LENGTH(ioctls); i++)
		rule(f, YES, "ioctl", IS(1, ioctls[i]));
	for (size_t i = 0; i < LENGTH(fcntls); i++) /* not F_SETOWN: signals to others */
		rule(f, YES, "fcntl", IS(1, fcntls[i]));
	if (sandbox_for_sanitizer(f->s)) { /* it makes us dumpable, to trace us */
		always(f, YES, "prctl");
		return;
	}
	for (size_t i = 0; i < LENGTH(prctls); i++)
		rule(f, YES, "prctl", IS(0, prctls[i]));
	if (f->s->monitor)
		giving_up(f);
}

/* Typing into the terminal that we were started from, as whoever sits there. */
static void terminals(struct filter *f)
{
	rule(f, NO, "ioctl", IS(1, TIOCSTI));
	rule(f, NO, "ioctl", IS(1, TIOCLINUX));
}

/* Only of ourselves, and only of files that are open: Landlock does not look at these calls. */
static void own_things(struct filter *f)
{
	rule(f, YES, "prlimit64", IS(0, 0));
	rule(f, NO, "prlimit64", NOT(0, 0));
	rule(f, YES, "utimensat", BITS(1, UINT64_MAX, 0)); /* no path: a descriptor */
	rule(f, NO, "utimensat", NOT(1, 0));
}

static bool makes_files(const struct sandbox *s)
{
	bool makes = s->any_path;

	for (size_t i = 0; i < s->n_paths; i++)
		makes = makes || (s->paths[i].rights & (SANDBOX_MAKE | SANDBOX_PIPES));
	return makes;
}

/* mknod makes devices too, and what it is to make is among its arguments. */
static void nodes(struct filter *f)
{
	static const unsigned types[] = { S_IFIFO, S_IFCHR, S_IFBLK, S_IFREG, S_IFSOCK, S_IFDIR, S_IFLNK, 0 };

	for (size_t i = 0; i < LENGTH(types); i++) {
		uint32_t answer = types[i] == S_IFIFO && makes_files(f->s) ? YES : NO;

		rule(f, answer, "mknod", BITS(1, S_IFMT, types[i]));
		rule(f, answer, "mknodat", BITS(2, S_IFMT, types[i]));
	}
}

/* What we need, and no more. */
static void allow_list(struct filter *f)
{
	all_of(f, YES, syscalls_everybody);
	all_of(f, makes_files(f->s) ? YES : NO, syscalls_files);
	all_of(f, f->s->queues ? YES : NO, syscalls_queues);
	all_of(f, NO, syscalls_never);
	all_of(f, NO, syscalls_never_ours);
	all_of(f, f->s->monitor ? YES : NO, syscalls_monitor);
	all_of(f, sandbox_for_sanitizer(f->s) ? YES : NO, syscalls_tracing);
	file_systems(f);
	nodes(f);
	memory(f);
	processes(f);
	unsharing(f);
	signals(f);
	sockets(f);
	sending(f);
	socket_options(f);
	if (f->s->monitor)
		listener_options(f);
	commands(f);
	terminals(f);
	own_things(f);
}

/* Programs of other people need the rest. Netlink and unix sockets they may have. So the monitor that has such is in it too. */
static void deny_list(struct filter *f)
{
	all_of(f, NO, syscalls_never);
	if (!sandbox_for_sanitizer(f->s))
		all_of(f, NO, syscalls_tracing);
	file_systems(f);
	unsharing(f);
	name_spaces(f);
	always(f, SCMP_ACT_ERRNO(ENOSYS), "clone3");
	no_other_sockets(f);
	terminals(f);
}

static int attribute(struct filter *f, enum scmp_filter_attr what, uint32_t value)
{
	int r = seccomp_attr_set(f->ctx, what, value);

	return r == -EOPNOTSUPP ? 0 : r; /* the kernel has no such thing: do without */
}

/* Newer kernels can kill the process and not just the thread; one thread fewer would be a daemon that hangs. */
static int set_attributes(struct filter *f)
{
	int r = attribute(f, SCMP_FLTATR_ACT_BADARCH,
			  seccomp_api_get() >= 3 ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_KILL_THREAD);

	if (r == 0)
		r = attribute(f, SCMP_FLTATR_CTL_NNP, 0); /* done already */
	if (r == 0)
		r = attribute(f, SCMP_FLTATR_CTL_TSYNC, 1);
	if (r == 0)
		r = attribute(f, SCMP_FLTATR_API_SYSRAWRC, 1); /* what the kernel said, when it refuses */
	if (r == 0)
		r = attribute(f, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary search, not a walk through the list */
	return r;
}

/* Neither a kernel without it, nor whoever started us and forbade the question. */
static bool kernel_has_it(void)
{
	uint32_t answer = SECCOMP_RET_ERRNO;

	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &answer) == 0)
		return true;
	/* before Linux 4.14: a filter at no address is EFAULT where there are filters */
	return errno != EOPNOTSUPP && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) < 0 && errno == EFAULT;
}

int syscalls_enforce(const struct sandbox *s, struct sandbox_report *r, struct buf *why)
{
	struct filter f = { .s = s };

	if (!kernel_has_it())
		return 0;
	f.ctx = fault_hit(FAULT_SYS) ? NULL : seccomp_init(s->execs ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(ENOSYS));
	if (!f.ctx)
		return sandbox_fail(s, why, ENOMEM, "cannot make a list of system calls: out of memory");
	f.err = set_attributes(&f);
	if (s->execs)
		deny_list(&f);
	else
		allow_list(&f);
	if (f.err == 0)
		f.err = fault_hit(FAULT_SYS) ? -ENOMEM : seccomp_load(f.ctx);
	seccomp_release(f.ctx);
	if (f.err)
		return sandbox_fail(s, why, -f.err, "cannot put the list of system calls into force%s%s: %s",
				    f.bad ? ", at " : "", f.bad ? f.bad : "", strerror(-f.err));
	r->seccomp = true;
	return 0;
}
