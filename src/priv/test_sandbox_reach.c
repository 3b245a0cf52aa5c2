/*
 * test_sandbox_reach.c - what a process that has entered cannot reach outside itself: other processes, the kernel's inside,
 * the network. And what it can, when it is to.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "support/boxed.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static int trace_parent(void)
{
	return (int)syscall(SYS_ptrace, 16 /* PTRACE_ATTACH */, at.parent, NULL, NULL);
}

static int read_parent(void)
{
	char c;
	struct iovec here = { &c, 1 }, there = { &at, 1 };

	return process_vm_readv(at.parent, &here, 1, &there, 1, 0) < 0 ? -1 : 0;
}

static int take_descriptor_of_parent(void)
{
	int fd = (int)syscall(SYS_pidfd_open, at.parent, 0);

	return fd < 0 ? 0 : (int)syscall(SYS_pidfd_getfd, fd, 0, 0);
}

static int limit_parent(void)
{
	struct rlimit l;

	return prlimit(at.parent, RLIMIT_NOFILE, NULL, &l);
}

static int kill_parent(void)
{
	return kill(at.parent, 0);
}

static int kill_parent_by_thread(void)
{
	return (int)syscall(SYS_tgkill, at.parent, at.parent, 0);
}

static int kill_all(void)
{
	return kill(-1, 0);
}

static int setup_io_uring(void)
{
	char params[256] = {};

	return (int)syscall(SYS_io_uring_setup, 1, params);
}

static int mount_something(void)
{
	return (int)syscall(SYS_mount, "none", at.data, "tmpfs", 0, NULL);
}

static int load_bpf(void)
{
	return (int)syscall(SYS_bpf, 0, NULL, 0);
}

static int measure(void)
{
	return (int)syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0);
}

static int load_kernel(void)
{
	return (int)syscall(SYS_kexec_load, 0, 0, NULL, 0);
}

static int load_module(void)
{
	return (int)syscall(SYS_finit_module, -1, "", 0);
}

static int fault_handler(void)
{
	return (int)syscall(SYS_userfaultfd, 1);
}

static int read_keys(void)
{
	return (int)syscall(SYS_keyctl, 0, -3, 0);
}

static int type_into_terminal(void)
{
	return ioctl(0, TIOCSTI, "x");
}

/* The kernel looks at 32 bits of the command, so must the list. */
static int type_with_high_bits(void)
{
	return (int)syscall(SYS_ioctl, 0, 0x100000000UL | TIOCSTI, "x");
}

static int be_dumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static int packet_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0);
}

static int raw_socket(void)
{
	return socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
}

static int alg_socket(void)
{
	return socket(AF_ALG, SOCK_SEQPACKET, 0);
}

static int mptcp_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 262);
}

static int audit_socket(void)
{
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_AUDIT);
}

static int stream_socket(void)
{
	return socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static int dgram_socket(void)
{
	return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static int unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int netlink_socket(void)
{
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}

static int dial(void)
{
	struct sockaddr_in a = boxed_near(at.port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&a, sizeof(a));
}

static int dial_fast(void)
{
	struct sockaddr_in a = boxed_near(at.port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -1 : sendto(fd, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&a, sizeof(a)) < 0 ? -1 : 0;
}

static int resolve(void)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct addrinfo *found = NULL;
	int r = getaddrinfo("localhost", "telnet", &hints, &found);

	if (r != 0) {
		fprintf(stderr, "getaddrinfo: %s\n", gai_strerror(r));
		return -1;
	}
	freeaddrinfo(found);
	return 0;
}

static int listen_at(int port)
{
	struct sockaddr_in a = boxed_near(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ? -1 : listen(fd, 1);
}

static int listen_anywhere(void)
{
	return listen_at(0);
}

static int listen_somewhere(void)
{
	return listen_at(47113);
}

static int listen_again(void)
{
	return listen(at.tcp, 1);
}

static int send_near(void)
{
	struct sockaddr_in a = boxed_near(9);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd < 0 || bind(fd, (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET }, sizeof(a)) < 0 ||
			       connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || send(fd, "x", 1, 0) < 0
		       ? -1
		       : 0;
}

static int send_to_abstract(void)
{
	return sendto(at.unbound, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&at.name, at.n_name) < 0 ? -1 : 0;
}

static int connect_given(void)
{
	return connect(at.unbound, (struct sockaddr *)&at.name, at.n_name);
}

static int connect_to_nowhere(void)
{
	const struct sockaddr none = { .sa_family = AF_UNSPEC };

	return connect(at.unbound, &none, sizeof(none.sa_family));
}

static int make_pair(void)
{
	int ends[2];

	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
}

static int load_protocol(void)
{
	return setsockopt(at.tcp, IPPROTO_TCP, TCP_ULP, "tls", 3);
}

static const struct trial others[] = {
	{ "the monitor is not traced", trace_parent, 0, &only_seccomp, EPERM, 0 },
	{ "nor by Landlock alone", trace_parent, 0, &only_landlock, EPERM, 1 },
	{ "its memory is not read", read_parent, 0, &only_seccomp, EPERM, 0 },
	{ "nor its descriptors taken", take_descriptor_of_parent, 0, &only_seccomp, EPERM, 0 },
	{ "nor its limits changed", limit_parent, 0, &only_seccomp, EPERM, 0 },
	{ "no signal to it", kill_parent, 0, &only_seccomp, EPERM, 0 },
	{ "nor by Landlock alone", kill_parent, 0, &only_landlock, EPERM, 6 },
	{ "nor by who may signal its children", kill_parent, FORKS, &whole, EPERM, 6 },
	{ "nor to a thread of it", kill_parent_by_thread, 0, &only_seccomp, EPERM, 0 },
	{ "nor to everybody", kill_all, 0, &whole, EPERM, 0 },
	{ "nor by who forks", kill_all, FORKS, &only_seccomp, EPERM, 0 },
	{ "io_uring, which would do all of this past the list", setup_io_uring, 0, &whole, EPERM, 0 },
	{ "nor for programs", setup_io_uring, EXECS | ANY_PATH, &whole, EPERM, 0 },
	{ "no mount", mount_something, 0, &whole, EPERM, 0 },
	{ "no BPF", load_bpf, 0, &whole, EPERM, 0 },
	{ "no performance counters", measure, 0, &whole, EPERM, 0 },
	{ "no userfaultfd", fault_handler, 0, &whole, EPERM, 0 },
	{ "no keys of the kernel", read_keys, 0, &whole, EPERM, 0 },
	{ "nothing is typed into a terminal", type_into_terminal, 0, &whole, EPERM, 0 },
	{ "nor with bits that the kernel does not look at", type_with_high_bits, 0, &whole, EPERM, 0 },
	{ "nor by programs", type_into_terminal, EXECS, &whole, EPERM, 0 },
	{ "the core file cannot come back", be_dumpable, 0, &whole, ENOSYS, 0 },
};

/* The monitor's list: where nothing runs commands, and where something does. */
static const struct trial others_of_monitor[] = {
	{ "who has started it is not traced", trace_parent, MONITOR, &whole, EPERM, 0 },
	{ "nor where commands are run", trace_parent, MONITOR | EXECS, &whole, EPERM, 0 },
	{ "nor its memory read", read_parent, MONITOR, &whole, EPERM, 0 },
	{ "nor where commands are run", read_parent, MONITOR | EXECS, &whole, EPERM, 0 },
	{ "nor its descriptors taken", take_descriptor_of_parent, MONITOR, &whole, EPERM, 0 },
	{ "nor its limits changed", limit_parent, MONITOR, &whole, EPERM, 0 },
	{ "no signal to everybody", kill_all, MONITOR, &whole, EPERM, 0 },
	{ "io_uring", setup_io_uring, MONITOR, &whole, EPERM, 0 },
	{ "nor where commands are run", setup_io_uring, MONITOR | EXECS, &whole, EPERM, 0 },
	{ "no mount", mount_something, MONITOR, &whole, EPERM, 0 },
	{ "nor where commands are run", mount_something, MONITOR | EXECS, &whole, EPERM, 0 },
	{ "no other kernel", load_kernel, MONITOR, &whole, EPERM, 0 },
	{ "nor where commands are run", load_kernel, MONITOR | EXECS, &whole, EPERM, 0 },
	{ "no module in it", load_module, MONITOR, &whole, EPERM, 0 },
	{ "nor where commands are run", load_module, MONITOR | EXECS, &whole, EPERM, 0 },
	{ "no BPF", load_bpf, MONITOR, &whole, EPERM, 0 },
	{ "nor where commands are run", load_bpf, MONITOR | EXECS, &whole, EPERM, 0 },
	{ "no performance counters", measure, MONITOR, &whole, EPERM, 0 },
	{ "no userfaultfd", fault_handler, MONITOR, &whole, EPERM, 0 },
	{ "nor where commands are run", fault_handler, MONITOR | EXECS, &whole, EPERM, 0 },
	{ "no keys of the kernel", read_keys, MONITOR, &whole, EPERM, 0 },
	{ "nor where commands are run", read_keys, MONITOR | EXECS, &whole, EPERM, 0 },
	{ "nothing is typed into a terminal", type_into_terminal, MONITOR, &whole, EPERM, 0 },
	{ "the core file cannot come back", be_dumpable, MONITOR, &whole, ENOSYS, 0 },
	{ "no packets", packet_socket, MONITOR, &whole, EPERM, 0 },
	{ "nor where commands are run", packet_socket, MONITOR | EXECS, &whole, EPERM, 0 },
	{ "no raw IP", raw_socket, MONITOR, &whole, EPERM, 0 },
	{ "no cryptography of the kernel", alg_socket, MONITOR, &whole, EPERM, 0 },
	{ "no netlink but routes", audit_socket, MONITOR, &whole, ENOSYS, 0 },
	{ "no other protocol is put upon TCP", load_protocol, MONITOR, &whole, EPERM, 0 },
	{ "names are looked up", resolve, MONITOR, &whole, BOXED_FINE, 0 },
	{ "doors are opened", listen_anywhere, MONITOR, &whole, BOXED_FINE, 0 },
	{ "at ports that somebody has chosen", listen_somewhere, MONITOR, &whole, BOXED_FINE, 0 },
};

static void test_others(void **state)
{
	(void)state;
	boxed_try(others, LENGTH(others));
	boxed_try(others_of_monitor, LENGTH(others_of_monitor));
}

static const struct trial network[] = {
	{ "no packets", packet_socket, CONNECTS | LISTENS | DATAGRAMS, &only_seccomp, EPERM, 0 },
	{ "nor for programs", packet_socket, EXECS, &whole, EPERM, 0 },
	{ "no raw IP", raw_socket, CONNECTS | LISTENS | DATAGRAMS, &only_seccomp, EPERM, 0 },
	{ "no cryptography of the kernel", alg_socket, CONNECTS, &whole, EPERM, 0 },
	{ "no MPTCP, which Landlock does not see", mptcp_socket, CONNECTS, &whole, ENOSYS, 0 },
	{ "no netlink but routes", audit_socket, CONNECTS, &whole, ENOSYS, 0 },
	{ "who neither dials nor listens makes no socket", stream_socket, THREADS, &whole, EPERM, 0 },
	{ "of no kind", dgram_socket, FORKS, &whole, EPERM, 0 },
	{ "of no family", unix_socket, 0, &whole, EPERM, 0 },
	{ "and no netlink", netlink_socket, 0, &whole, EPERM, 0 },
	{ "so it cannot connect", dial, 0, &whole, EPERM, 0 },
	{ "nor by Landlock alone", dial, 0, &only_landlock, EACCES, 4 },
	{ "who listens cannot connect", dial, LISTENS, &only_seccomp, EPERM, 0 },
	{ "nor by a first packet with data, which Landlock does not see", dial_fast, LISTENS, &whole, EPERM, 0 },
	{ "who answers datagrams cannot connect", dial, DATAGRAMS, &whole, EPERM, 0 },
	{ "who dials can", dial, CONNECTS, &whole, BOXED_FINE, 0 },
	{ "and look up a name", resolve, CONNECTS, &whole, BOXED_FINE, 0 },
	{ "also from a thread", resolve, CONNECTS | THREADS, &whole, BOXED_FINE, 0 },
	{ "who dials does not listen", listen_anywhere, CONNECTS, &only_seccomp, EPERM, 0 },
	{ "nor by Landlock alone", listen_anywhere, CONNECTS, &only_landlock, EACCES, 4 },
	{ "who listens has a port of the system's choice", listen_anywhere, LISTENS, &whole, BOXED_FINE, 0 },
	{ "but none of its own", listen_somewhere, LISTENS, &whole, EACCES, 4 },
	{ "a door's backlog is not ours to change", listen_again, 0, &whole, EPERM, 0 },
	{ "who answers datagrams has sockets for it", send_near, DATAGRAMS, &whole, BOXED_FINE, 0 },
	{ "and who listens has none", dgram_socket, LISTENS, &whole, EPERM, 0 },
	{ "nobody reaches abstract names", send_to_abstract, 0, &whole, EPERM, 6 },
	{ "but who answers those that have no other", send_to_abstract, DATAGRAMS, &whole, BOXED_FINE, 0 },
	{ "nothing that it was given is connected elsewhere", connect_given, 0, &only_seccomp, EPERM, 0 },
	{ "nor by who has others run programs", connect_given, RUNS, &only_seccomp, EPERM, 0 },
	{ "who may reset what they have", connect_to_nowhere, RUNS, &whole, BOXED_FINE, 0 },
	{ "and has pairs of sockets for that", make_pair, RUNS, &whole, BOXED_FINE, 0 },
	{ "as nobody else has", make_pair, THREADS | FORKS | DATAGRAMS, &whole, EPERM, 0 },
	{ "no other protocol is put upon TCP", load_protocol, 0, &whole, EPERM, 0 },
};

static void test_network(void **state)
{
	(void)state;
	boxed_try(network, LENGTH(network));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_network),
	};

	return cmocka_run_group_tests(tests, boxed_set_up, boxed_tear_down);
}
