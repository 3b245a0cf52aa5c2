/*
 * landlock.c - which files, ports, signals and abstract names a process can reach, by Landlock. What the kernel at hand
 * does not know is left out and told in the report. Debian's headers are older than the kernels that we meet, so the
 * constants of later ABIs are here (Documentation/userspace-api/landlock.rst of Linux).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "priv/sandbox_priv.h"

#define FS_TRUNCATE (1ULL << 14)  /* ABI 3 */
#define FS_IOCTL_DEV (1ULL << 15) /* ABI 5 */
#define NET_BIND_TCP (1ULL << 0)  /* ABI 4 */
#define NET_CONNECT_TCP (1ULL << 1)
#define SCOPE_ABSTRACT_UNIX (1ULL << 0) /* ABI 6 */
#define SCOPE_SIGNAL (1ULL << 1)
#define RULE_NET_PORT 2
#define MQUEUE_MAGIC 0x19800202 /* in no header: ipc/mqueue.c of Linux */

/* What ABI 1 knows: EXECUTE to MAKE_SYM. */
#define FS_FIRST (LANDLOCK_ACCESS_FS_MAKE_SYM | (LANDLOCK_ACCESS_FS_MAKE_SYM - 1))

/* All that a file can be given; the others are for folders. */
#define FS_OF_FILES \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | FS_TRUNCATE)

struct ruleset_attr {
	uint64_t fs, net, scoped;
};

struct net_port_attr {
	uint64_t access, port;
};

/* Everybody needs these: the C library looks up the time zone, OpenSSL random numbers. */
static const struct sandbox_path common[] = {
	{ "/dev/null", SANDBOX_READ | SANDBOX_WRITE | SANDBOX_OPTIONAL },
	{ "/dev/urandom", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/etc/localtime", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/usr/share/zoneinfo", SANDBOX_READ | SANDBOX_OPTIONAL },
};

/*
 * What getaddrinfo() reads, and what OpenSSL verifies with. A file in /etc that is replaced is a new file, and not
 * permitted: the next worker sees it. systemd's resolver replaces its file in a folder of its own, so that is here.
 */
static const struct sandbox_path resolver[] = {
	{ "/etc/resolv.conf", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/run/systemd/resolve", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/etc/nsswitch.conf", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/etc/host.conf", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/etc/hosts", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/etc/gai.conf", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/etc/services", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/etc/protocols", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/etc/ssl/openssl.cnf", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/etc/ssl/certs", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/usr/share/ca-certificates", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/usr/local/share/ca-certificates", SANDBOX_READ | SANDBOX_OPTIONAL },
};

/* The search for leaks lists threads and maps; reports read the program and its libraries for the names of functions. */
static const struct sandbox_path sanitizer[] = {
	{ "/proc", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/proc/self/exe", SANDBOX_READ | SANDBOX_OPTIONAL },
	{ "/usr/lib", SANDBOX_READ | SANDBOX_OPTIONAL },
};

/* The kernel's best ABI that is of use to us; 0 when it has none, was built or booted without, or somebody hides it. */
static int abi_of_kernel(int max)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	if (max > SANDBOX_LANDLOCK_KNOWN)
		max = SANDBOX_LANDLOCK_KNOWN;
	return abi <= 0 ? 0 : abi < max ? (int)abi : max;
}

static unsigned lost_with(int abi)
{
	unsigned lost = 0;

	if (abi < 1)
		return SANDBOX_LOST_LANDLOCK;
	if (abi < 2)
		lost |= SANDBOX_LOST_REFER;
	if (abi < 3)
		lost |= SANDBOX_LOST_TRUNCATE;
	if (abi < 4)
		lost |= SANDBOX_LOST_TCP;
	if (abi < 5)
		lost |= SANDBOX_LOST_IOCTL;
	if (abi < 6)
		lost |= SANDBOX_LOST_SCOPE;
	return lost;
}

/* What is to be forbidden unless a rule permits it. */
static struct ruleset_attr handled_with(const struct sandbox *s, int abi)
{
	struct ruleset_attr a = {};

	if (!s->any_path)
		a.fs = FS_FIRST | (abi >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) |
		       (abi >= 5 ? FS_IOCTL_DEV : 0);
	if (abi >= 4 && !s->connects)
		a.net |= NET_CONNECT_TCP;
	if (abi >= 4 && !(s->listens && s->execs)) /* programs have ports of their own */
		a.net |= NET_BIND_TCP;
	if (abi >= 6)
		a.scoped = SCOPE_SIGNAL | (s->datagrams ? 0 : SCOPE_ABSTRACT_UNIX);
	return a;
}

/* Nothing here makes links or devices, and sockets are made by whoever binds them. */
static uint64_t access_of(unsigned rights)
{
	uint64_t a = 0;

	if (rights & SANDBOX_READ)
		a |= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
	if (rights & SANDBOX_WRITE)
		a |= LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE;
	if (rights & SANDBOX_MAKE)
		a |= LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
		     LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REFER;
	if (rights & SANDBOX_PIPES)
		a |= LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_REMOVE_FILE;
	if (rights & SANDBOX_EXEC)
		a |= LANDLOCK_ACCESS_FS_EXECUTE;
	return a;
}

/* `fd` is the file or folder. 0 or -errno. */
static int permit(int set, const struct ruleset_attr *handled, int fd, unsigned rights)
{
	struct landlock_path_beneath_attr rule = { .parent_fd = fd };
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	rule.allowed_access = access_of(rights) & handled->fs & (S_ISDIR(st.st_mode) ? ~0ULL : FS_OF_FILES);
	if (rule.allowed_access == 0) /* the kernel calls that a mistake */
		return 0;
	if (SANDBOX_TRY(syscall(SYS_landlock_add_rule, set, LANDLOCK_RULE_PATH_BENEATH, &rule, 0)) < 0)
		return -errno;
	return 0;
}

static int permit_path(const struct sandbox *s, int set, const struct ruleset_attr *handled,
		       const struct sandbox_path *p, struct buf *why)
{
	int fd = SANDBOX_TRY(open(p->path, O_PATH | O_CLOEXEC)), err = errno, r;

	if (fd < 0 && (p->rights & SANDBOX_OPTIONAL) && (err == ENOENT || err == ENOTDIR || err == EACCES))
		return 0;
	if (fd < 0)
		return sandbox_fail(s, why, err, "cannot open %s: %s; make it, or take it out of the configuration",
				    p->path, strerror(err));
	r = permit(set, handled, fd, p->rights);
	close(fd);
	return r == 0 ? 0 : sandbox_fail(s, why, -r, "cannot permit %s: %s", p->path, strerror(-r));
}

static int permit_paths(const struct sandbox *s, int set, const struct ruleset_attr *handled,
			const struct sandbox_path *v, size_t n, struct buf *why)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = permit_path(s, set, handled, &v[i], why);
	return r;
}

/*
 * /proc/self stays open, since the rule holds for an object in memory that the kernel drops and makes again as it likes
 * when nobody uses it.
 */
static int permit_self(const struct sandbox *s, int set, const struct ruleset_attr *handled, int *ret_self,
		       struct buf *why)
{
	int fd = SANDBOX_TRY(open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC)), r;

	if (fd < 0) /* no /proc here: nothing to permit */
		return 0;
	r = permit(set, handled, fd, SANDBOX_READ);
	if (r < 0) {
		close(fd);
		return sandbox_fail(s, why, -r, "cannot permit /proc/self: %s", strerror(-r));
	}
	*ret_self = fd;
	return 0;
}

/* The folder that all message queues are in, where it is mounted as usual; -1. */
static int mounted_queues(void)
{
	int fd = open("/dev/mqueue", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statfs st;

	if (fd >= 0 && fstatfs(fd, &st) == 0 && st.f_type == MQUEUE_MAGIC)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

bool landlock_opens_queues(void)
{
	int fd = mounted_queues();

	if (fd >= 0)
		close(fd);
	return fd < 0;
}

/* The same, mounted or not. -1 and errno when there is no way to it. */
static int open_queues(void)
{
	int fd = mounted_queues(), fs;

	if (fd >= 0)
		return fd;
	fs = SANDBOX_TRY(fsopen("mqueue", FSOPEN_CLOEXEC)); /* root can */
	if (fs < 0)
		return -1;
	fd = fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ? -1 : fsmount(fs, FSMOUNT_CLOEXEC, 0);
	close(fs);
	return fd;
}

static int permit_queues(const struct sandbox *s, int set, const struct ruleset_attr *handled, struct buf *why)
{
	int fd = open_queues(), err = errno, r;

	if (fd < 0 && (err == ENODEV || err == ENOSYS)) /* a kernel without queues */
		return 0;
	if (fd < 0)
		return sandbox_fail(s, why, err, "cannot permit message queues: %s; mount them at /dev/mqueue",
				    strerror(err));
	r = permit(set, handled, fd, SANDBOX_READ | SANDBOX_WRITE);
	close(fd);
	return r == 0 ? 0 : sandbox_fail(s, why, -r, "cannot permit message queues: %s", strerror(-r));
}

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static int permit_files(const struct sandbox *s, int set, const struct ruleset_attr *handled, int *ret_self,
			struct buf *why)
{
	int r = permit_paths(s, set, handled, s->paths, s->n_paths, why);

	if (r == 0)
		r = permit_paths(s, set, handled, common, LENGTH(common), why);
	if (r == 0 && s->connects)
		r = permit_paths(s, set, handled, resolver, LENGTH(resolver), why);
	if (r == 0 && s->queues)
		r = permit_queues(s, set, handled, why);
	if (r == 0 && sandbox_for_sanitizer(s))
		r = permit_paths(s, set, handled, sanitizer, LENGTH(sanitizer), why);
	return r == 0 ? permit_self(s, set, handled, ret_self, why) : r;
}

/* Port 0: one that the system picks. */
static int permit_listening(const struct sandbox *s, int set, struct buf *why)
{
	const struct net_port_attr rule = { .access = NET_BIND_TCP, .port = 0 };

	if (SANDBOX_TRY(syscall(SYS_landlock_add_rule, set, RULE_NET_PORT, &rule, 0)) < 0)
		return sandbox_fail(s, why, errno, "cannot permit listening: %s", strerror(errno));
	return 0;
}

int landlock_prepare(const struct sandbox *s, int max, struct sandbox_report *r, int *ret_fd, struct buf *why)
{
	int abi = abi_of_kernel(max), set, n = 0;
	struct ruleset_attr handled = handled_with(s, abi);
	size_t size = abi >= 6 ? sizeof(handled) : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);

	r->landlock = abi;
	r->lost |= lost_with(abi);
	*ret_fd = -1;
	if (abi == 0 || (handled.fs | handled.net | handled.scoped) == 0)
		return 0;
	set = (int)SANDBOX_TRY(syscall(SYS_landlock_create_ruleset, &handled, size, 0));
	if (set < 0)
		return sandbox_fail(s, why, errno, "cannot make a set of Landlock rules: %s", strerror(errno));
	if (handled.fs)
		n = permit_files(s, set, &handled, &r->self, why);
	if (n == 0 && s->listens && (handled.net & NET_BIND_TCP))
		n = permit_listening(s, set, why);
	if (n < 0) {
		close(set);
		return n;
	}
	*ret_fd = set;
	return 0;
}

int landlock_enforce(const struct sandbox *s, int fd, struct buf *why)
{
	if (SANDBOX_TRY(syscall(SYS_landlock_restrict_self, fd, 0)) < 0)
		return sandbox_fail(s, why, errno, "cannot put the Landlock rules into force: %s", strerror(errno));
	return 0;
}
