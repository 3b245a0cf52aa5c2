/*
 * test_sandbox.c - what is forbidden inside a process: files, code, who it is. Each act is tried by a child that has entered
 * and must fail, in each layer alone where there are two. And older kernels, and mistakes.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "support/boxed.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static int read_shadow(void)
{
	return boxed_open("/etc/shadow", O_RDONLY);
}

static int read_outside(void)
{
	return boxed_open(at.secret, O_RDONLY);
}

static int list_outside(void)
{
	return boxed_open(at.out, O_RDONLY | O_DIRECTORY);
}

static int climb_out(void)
{
	int dir = open(at.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return dir < 0 ? -1 : openat(dir, "../out/secret", O_RDONLY | O_CLOEXEC);
}

static int read_page(void)
{
	return boxed_open(at.page, O_RDONLY);
}

static int write_page(void)
{
	return boxed_open(at.page, O_WRONLY);
}

static int make_page(void)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/new", at.pages);
	return boxed_open(path, O_WRONLY | O_CREAT | O_EXCL);
}

static int cut_page(void)
{
	return truncate(at.page, 1);
}

static int remove_page(void)
{
	return unlink(at.kept);
}

static int rename_page(void)
{
	char to[100];

	snprintf(to, sizeof(to), "%s/kept", at.data);
	return rename(at.kept, to);
}

static int touch_page(void)
{
	return utimensat(AT_FDCWD, at.page, NULL, 0);
}

static int chmod_page(void)
{
	return chmod(at.page, 0600);
}

static int link_out(void)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/link", at.data);
	return symlink("/etc/shadow", path);
}

static int make_device(void)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/null", at.data);
	return mknod(path, S_IFCHR | 0600, makedev(1, 3));
}

static int read_parent_memory(void)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)at.parent);
	return boxed_open(path, O_RDONLY);
}

static int execute(void)
{
	char *argv[] = { (char[]){ "true" }, NULL };

	return execve("/bin/true", argv, argv + 1);
}

static int execute_descriptor(void)
{
	char *argv[] = { (char[]){ "true" }, NULL };
	int fd = memfd_create("code", 0);

	return fd < 0 ? 0 : (int)syscall(SYS_execveat, fd, "", argv, argv + 1, AT_EMPTY_PATH);
}

static int map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
		       ? -1
		       : 0;
}

static int map_file_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, memfd_create("code", MFD_CLOEXEC), 0) == MAP_FAILED
		       ? -1
		       : 0;
}

static int protect_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? 0 : mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static int protect_data(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -1 : mprotect(p, 4096, PROT_READ);
}

static int become_writable_code(void)
{
	return (int)syscall(SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */);
}

static int new_namespace(void)
{
	return unshare(CLONE_NEWUSER);
}

static int clone_namespace(void)
{
	return (int)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
}

static int clone3(void)
{
	char args[88] = {};

	return (int)syscall(SYS_clone3, args, sizeof(args));
}

static int make_child(void)
{
	pid_t child = fork();
	int status = 0;

	if (child < 0)
		return -1;
	if (child == 0)
		pause();
	if (kill(child, SIGKILL) < 0) {
		int err = errno;

		syscall(SYS_tgkill, child, child, SIGKILL);
		errno = err;
		return -1;
	}
	return waitpid(child, &status, 0) == child && WIFSIGNALED(status) ? 0 : -1;
}

static void *nothing(void *arg)
{
	return arg;
}

static int make_thread(void)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, nothing, NULL);

	errno = r;
	return r ? -1 : pthread_join(thread, NULL);
}

static int ask_for_unknown(void)
{
	return (int)syscall(SYS_sync); /* harmless, but nobody here needs it */
}

static const struct trial files[] = {
	{ "the passwords of the machine cannot be read", read_shadow, 0, &whole, EACCES, 1 },
	{ "nor by Landlock alone", read_shadow, 0, &only_landlock, EACCES, 1 },
	{ "a file that anybody may read, outside the paths", read_outside, 0, &whole, EACCES, 1 },
	{ "so it was Landlock", read_outside, 0, &only_seccomp, BOXED_FINE, 0 },
	{ "and `any_path` is not limited by it", read_outside, ANY_PATH, &whole, BOXED_FINE, 0 },
	{ "a folder outside the paths cannot be listed", list_outside, 0, &whole, EACCES, 1 },
	{ "`..` does not lead out", climb_out, 0, &whole, EACCES, 1 },
	{ "a page can be read", read_page, 0, &whole, BOXED_FINE, 0 },
	{ "but not written", write_page, 0, &whole, EACCES, 1 },
	{ "nothing is made beside it", make_page, 0, &whole, EACCES, 1 },
	{ "it is not cut to a length", cut_page, 0, &whole, EACCES, 3 },
	{ "it is not removed", remove_page, 0, &whole, EACCES, 1 },
	{ "it is not moved away", rename_page, 0, &whole, EACCES, 2 },
	{ "its date stays, of which Landlock knows nothing", touch_page, 0, &only_seccomp, EPERM, 0 },
	{ "and its mode", chmod_page, 0, &only_seccomp, EPERM, 0 },
	{ "no symbolic link is made, not even where files may be", link_out, 0, &only_landlock, EACCES, 1 },
	{ "nor without Landlock", link_out, 0, &only_seccomp, EPERM, 0 },
	{ "no device is made", make_device, 0, &only_seccomp, EPERM, 0 },
	{ "the monitor's memory cannot be read", read_parent_memory, 0, &whole, EACCES, 1 },
	{ "not even with all paths: Landlock knows who may trace whom", read_parent_memory, ANY_PATH, &only_landlock,
	  EACCES, 1 },
};

static void test_files(void **state)
{
	(void)state;
	boxed_try(files, LENGTH(files));
}

static const struct trial code[] = {
	{ "no program is executed", execute, 0, &whole, EPERM, 0 },
	{ "nor by Landlock alone", execute, 0, &only_landlock, EACCES, 1 },
	{ "nor one in memory", execute_descriptor, 0, &whole, EPERM, 0 },
	{ "who executes can", execute, EXECS | ANY_PATH, &whole, 0, 0 },
	{ "no memory is writable code", map_code, 0, &only_seccomp, EPERM, 0 },
	{ "nor by the kernel's own rule, which came a little before Landlock 4", map_code, 0, &only_landlock, EACCES,
	  4 },
	{ "no file becomes code", map_file_code, 0, &whole, EPERM, 0 },
	{ "no data becomes code", protect_code, 0, &only_seccomp, EPERM, 0 },
	{ "programs may compile", protect_code, EXECS | ANY_PATH, &whole, BOXED_FINE, 0 },
	{ "data can become read-only", protect_data, 0, &whole, BOXED_FINE, 0 },
	{ "the personality that makes all memory code is not to be had", become_writable_code, 0, &whole, EPERM, 0 },
	{ "no user name space", new_namespace, 0, &whole, EPERM, 0 },
	{ "none by clone", clone_namespace, FORKS | THREADS, &whole, EPERM, 0 },
	{ "none for programs either", new_namespace, EXECS | ANY_PATH, &whole, EPERM, 0 },
	{ "nor by clone", clone_namespace, EXECS | ANY_PATH, &whole, EPERM, 0 },
	{ "clone3 does not exist, so that the C library takes clone", clone3, FORKS | THREADS, &whole, ENOSYS, 0 },
	{ "no process", make_child, 0, &whole, EPERM, 0 },
	{ "none by who may have threads", make_child, THREADS, &whole, EPERM, 0 },
	{ "who forks can, and can end what it made", make_child, FORKS, &whole, BOXED_FINE, 0 },
	{ "and also with threads", make_child, FORKS | THREADS, &whole, BOXED_FINE, 0 },
	{ "no thread", make_thread, 0, &whole, EPERM, 0 },
	{ "none by who forks", make_thread, FORKS, &whole, EPERM, 0 },
	{ "who needs them has them", make_thread, THREADS, &whole, BOXED_FINE, 0 },
	{ "a call that nobody needs does not exist", ask_for_unknown, 0, &whole, ENOSYS, 0 },
	{ "but for programs", ask_for_unknown, EXECS, &whole, BOXED_FINE, 0 },
};

/* The monitor, whose rules its children inherit: without commands it has a list of its own, with them the one for programs. */
static const struct trial code_of_monitor[] = {
	{ "no program is executed", execute, MONITOR, &whole, EPERM, 0 },
	{ "nor one in memory", execute_descriptor, MONITOR, &whole, EPERM, 0 },
	{ "but where services run commands", execute, MONITOR | EXECS, &whole, 0, 0 },
	{ "no memory is writable code", map_code, MONITOR, &only_seccomp, EPERM, 0 },
	{ "nor by the kernel's own rule", map_code, MONITOR, &only_landlock, EACCES, 4 },
	{ "nor where commands are run", map_code, MONITOR | EXECS, &whole, EACCES, 4 },
	{ "no data becomes code", protect_code, MONITOR, &whole, EPERM, 0 },
	{ "nor where commands are run", protect_code, MONITOR | EXECS, &whole, EACCES, 4 },
	{ "modules of the C library are files", map_file_code, MONITOR, &whole, BOXED_FINE, 0 },
	{ "the personality that makes all memory code is not to be had", become_writable_code, MONITOR, &whole, EPERM,
	  0 },
	{ "no user name space", new_namespace, MONITOR, &whole, EPERM, 0 },
	{ "nor where commands are run", new_namespace, MONITOR | EXECS, &whole, EPERM, 0 },
	{ "none by clone", clone_namespace, MONITOR, &whole, EPERM, 0 },
	{ "nor where commands are run", clone_namespace, MONITOR | EXECS, &whole, EPERM, 0 },
	{ "a device cannot be made", make_device, MONITOR, &whole, EPERM, 0 },
	{ "a call that nobody needs does not exist", ask_for_unknown, MONITOR, &whole, ENOSYS, 0 },
	{ "it makes processes and ends them", make_child, MONITOR, &whole, BOXED_FINE, 0 },
};

static void test_code(void **state)
{
	(void)state;
	boxed_try(code, LENGTH(code));
	boxed_try(code_of_monitor, LENGTH(code_of_monitor));
}

/* ---- who we are afterwards ---- */

static int be_root_again(void)
{
	return setuid(0);
}

static int be_group_root_again(void)
{
	return setgid(0);
}

static int call_x32(void)
{
#ifdef __x86_64__
	return (int)syscall(0x40000000 | SYS_getpid);
#else
	return (int)syscall(SYS_sync);
#endif
}

static int call_32_bit(void)
{
#ifdef __x86_64__
	long n = 20; /* getpid */

	__asm__ volatile("int $0x80" : "+a"(n) : : "memory", "r8", "r9", "r10", "r11");
	return 0;
#else
	return (int)syscall(SYS_sync);
#endif
}

static int dial(void)
{
	struct sockaddr_in a = boxed_near(at.port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&a, sizeof(a));
}

static int send_to_abstract(void)
{
	return sendto(at.unbound, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&at.name, at.n_name) < 0 ? -1 : 0;
}

/* A call by numbers of another kind kills; with int 0x80 off in the kernel it is a fault, which is as good. */
static void test_other_abi(void **state)
{
	int got;

	(void)state;
#ifndef __x86_64__
	skip();
#endif
	assert_int_equal(boxed_run(&whole, boxed_profile(0), geteuid(), call_x32), -SIGSYS);
	got = boxed_run(&whole, boxed_profile(0), geteuid(), call_32_bit);
	assert_true(got == -SIGSYS || got == -SIGSEGV || got == SIGSEGV || got == 1);
	assert_int_equal(boxed_run(&whole, boxed_profile(EXECS), geteuid(), call_x32), -SIGSYS);
	assert_int_equal(boxed_run(&whole, boxed_profile(MONITOR), geteuid(), call_x32), -SIGSYS);
}

/* Root that became somebody cannot come back, by the kernel's rules alone; and has no group, no capability. */
static int is_nobody(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = {};
	gid_t groups[8];

	errno = 0;
	if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0 || setegid(0) == 0 || setgroups(0, NULL) == 0)
		return -1;
	if (getuid() != BOXED_NOBODY || geteuid() != BOXED_NOBODY || getgid() != BOXED_NOBODY ||
	    getegid() != BOXED_NOBODY || getgroups(8, groups) > 1)
		return -1;
	if (syscall(SYS_capget, &head, caps) < 0 || caps[0].effective || caps[0].permitted || caps[0].inheritable ||
	    caps[1].effective || caps[1].permitted || caps[1].inheritable)
		return -1;
	for (int cap = 0; cap < 20; cap++) {
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 0 ||
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) > 0)
			return -1;
	}
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : -1;
}

/* Root that stays root is one without capabilities. */
static int is_powerless(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = {};

	errno = 0;
	return syscall(SYS_capget, &head, caps) == 0 && caps[0].effective == 0 && caps[0].permitted == 0 &&
			       caps[1].permitted == 0 && chown(at.page, 1, 1) < 0
		       ? 0
		       : -1;
}

static int leaves_no_core(void)
{
	struct rlimit l, no = { 1, 1 };

	errno = 0;
	return getrlimit(RLIMIT_CORE, &l) == 0 && l.rlim_cur == 0 && l.rlim_max == 0 &&
			       setrlimit(RLIMIT_CORE, &no) < 0 && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0
		       ? 0
		       : -1;
}

/* Of the monitor, whatever its commands may. */
static int cannot_be_dumped(void)
{
	errno = 0;
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : -1;
}

/* The limit is 0 for who makes no process; who does, shares its number with all others of the user, so it stays. */
static int has_no_processes(void)
{
	struct rlimit l;

	return getrlimit(RLIMIT_NPROC, &l) == 0 && l.rlim_cur == 0 && l.rlim_max == 0 ? 0 : -1;
}

static void test_identity(void **state)
{
	(void)state;
	if (geteuid() == 0) {
		struct sandbox named = boxed_profile(0);

		assert_int_equal(boxed_run(&neither, boxed_profile(0), BOXED_NOBODY, is_nobody), BOXED_FINE);
		named.user = "nobody";
		assert_int_equal(boxed_run(&neither, named, BOXED_NOBODY, is_nobody), BOXED_FINE);
		assert_int_equal(boxed_run(&neither, boxed_profile(0), 0, is_powerless), BOXED_FINE);
		assert_int_equal(boxed_run(&whole, boxed_profile(0), BOXED_NOBODY, be_root_again), EPERM);
		assert_int_equal(boxed_run(&whole, boxed_profile(0), BOXED_NOBODY, be_group_root_again), EPERM);
	}
	assert_int_equal(boxed_run(&whole, boxed_profile(0), geteuid(), leaves_no_core), BOXED_FINE);
	assert_int_equal(boxed_run(&whole, boxed_profile(MONITOR), geteuid(), leaves_no_core), BOXED_FINE);
	assert_int_equal(boxed_run(&whole, boxed_profile(MONITOR | EXECS), geteuid(), cannot_be_dumped), BOXED_FINE);
	assert_int_equal(boxed_run(&whole, boxed_profile(0), geteuid(), has_no_processes), BOXED_FINE);
	assert_int_equal(boxed_run(&whole, boxed_profile(THREADS), geteuid(), has_no_processes), 255);
}

static void test_not_root(void **state)
{
	struct sandbox s = boxed_profile(0);
	struct sandbox_report r;
	BUF_AUTO struct buf why = BUF_INIT(300);

	(void)state;
	if (geteuid() != 0)
		skip();
	/* a user who is not root cannot become another: it is said, and the process would end */
	if (fork() == 0) {
		int n;

		if (setresgid(BOXED_NOBODY, BOXED_NOBODY, BOXED_NOBODY) < 0 || setgroups(0, NULL) < 0 ||
		    setresuid(BOXED_NOBODY, BOXED_NOBODY, BOXED_NOBODY) < 0)
			_exit(1);
		s.uid = s.gid = 1;
		n = sandbox_enter(&s, &r, &why);
		_exit(n == -EPERM && strstr(buf_str(&why), "start as root") ? 0 : 2);
	} else {
		int status;

		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
}

/* ---- older kernels ---- */

/* In a child: enters as on an old kernel, compares what is told, and tries one thing that is lost and one that is not. */
static void on_kernel(int abi, unsigned lost, int (*lost_act)(void), int (*kept_act)(void))
{
	const struct sandbox_kernel k = { .landlock = abi, .seccomp = true };
	int status;

	fflush(NULL);
	if (fork() == 0) {
		struct sandbox s = boxed_profile(CONNECTS);
		struct sandbox_report r;
		unsigned of_landlock = SANDBOX_LOST_LANDLOCK | SANDBOX_LOST_REFER | SANDBOX_LOST_TRUNCATE |
				       SANDBOX_LOST_TCP | SANDBOX_LOST_IOCTL | SANDBOX_LOST_SCOPE;

		s.uid = geteuid();
		s.gid = getegid();
		if (sandbox_enter_on(&k, &s, &r, NULL) < 0 || r.landlock != abi || (r.lost & of_landlock) != lost ||
		    !r.seccomp)
			_exit(1);
		if (lost_act && lost_act() < 0)
			_exit(2);
		_exit(kept_act && kept_act() == 0 ? 3 : 0);
	}
	assert_true(wait(&status) > 0);
	if (status != 0)
		fail_msg("as with Landlock %d: %d", abi, WEXITSTATUS(status));
}

static int touch_length(void)
{
	int fd = open(at.secret, O_PATH | O_CLOEXEC);

	close(fd);
	return truncate(at.secret, 8); /* outside the paths, but before ABI 3 nobody looks */
}

static int bind_port(void)
{
	struct sockaddr_in a = boxed_near(0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 ? -1 : bind(fd, (struct sockaddr *)&a, sizeof(a));
}

/* The device itself says that it is no terminal; Landlock says no. */
static int ask_device(void)
{
	char room[100];
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	return fd >= 0 && ioctl(fd, TCGETS, room) < 0 && errno == ENOTTY ? 0 : -1;
}

static void test_older_kernels(void **state)
{
	const unsigned six = SANDBOX_LOST_SCOPE, five = six | SANDBOX_LOST_IOCTL, four = five | SANDBOX_LOST_TCP,
		       three = four | SANDBOX_LOST_TRUNCATE;
	int best = boxed_landlock();

	(void)state;
	on_kernel(0, SANDBOX_LOST_LANDLOCK, read_outside, execute);
	if (best >= 1) /* renaming between folders is always forbidden there */
		on_kernel(1, three | SANDBOX_LOST_REFER, touch_length, read_outside);
	if (best >= 2)
		on_kernel(2, three, touch_length, read_outside);
	if (best >= 3)
		on_kernel(3, four, bind_port, cut_page);
	if (best >= 4)
		on_kernel(4, five, ask_device, bind_port);
	if (best >= 5)
		on_kernel(5, six, send_to_abstract, ask_device);
	if (best >= 6)
		on_kernel(6, 0, dial, send_to_abstract);
}

static void test_describe(void **state)
{
	const struct sandbox_report all = { .uid = 1, .gid = 2, .landlock = 7, .seccomp = true, .mdwe = true };
	const struct sandbox_report some = {
		.uid = 1, .gid = 2, .landlock = 4, .lost = SANDBOX_LOST_SCOPE | SANDBOX_LOST_SECCOMP
	};
	BUF_AUTO struct buf b = BUF_INIT(500);

	(void)state;
	sandbox_describe(&all, &b);
	assert_string_equal(buf_str(&b), "user 1, group 2, landlock 7, seccomp, mdwe");
	buf_reset(&b);
	sandbox_describe(&some, &b);
	assert_string_equal(buf_str(&b),
			    "user 1, group 2, landlock 4; without limits to signals and abstract sockets, seccomp");
}

/* ---- mistakes ---- */

static void test_missing_path(void **state)
{
	const struct sandbox_path paths[] = { { "/nowhere/at/all", SANDBOX_READ } };
	struct sandbox s = { .name = "worker mail", .paths = paths, .n_paths = 1, .uid = geteuid(), .gid = getegid() };
	struct sandbox_report r = { .self = -7 };
	BUF_AUTO struct buf why = BUF_INIT(300);

	(void)state;
	if (boxed_landlock() == 0)
		skip();
	assert_int_equal(sandbox_enter(&s, &r, &why), -ENOENT); /* before anything was given up: we are as we were */
	assert_string_equal(buf_str(&why),
			    "worker mail: cannot open /nowhere/at/all: No such file or directory; make it, or take "
			    "it out of the configuration");
	assert_int_equal(r.self, -7);
	assert_int_equal(boxed_open("/etc/passwd", O_RDONLY), 0);
}

static void *try_to_enter(void *arg)
{
	struct sandbox s = boxed_profile(0);
	struct sandbox_report r;

	s.uid = geteuid();
	s.gid = getegid();
	*(int *)arg = sandbox_enter(&s, &r, NULL);
	return NULL;
}

static void test_with_threads(void **state)
{
	pthread_t thread;
	int r = 0;

	(void)state;
	if (SANDBOX_TSAN) /* its own thread is not counted, so this would be in */
		skip();
	assert_int_equal(pthread_create(&thread, NULL, try_to_enter, &r), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(r, -EBUSY);
}

/* Each call fails once: it is told with a sentence, nobody is half in and believes to be in. */
static void each_call_fails(unsigned flags)
{
	int status = 0;

	for (unsigned n = 1; status == 0; n++) {
		assert_true(n < 200);
		fflush(NULL);
		if (fork() == 0) {
			struct sandbox s = boxed_profile(flags);
			struct sandbox_report r;
			BUF_AUTO struct buf why = BUF_INIT(300);
			int got;

			s.uid = geteuid();
			s.gid = getegid();
			fault_arm(FAULT_SYS, n, EIO, false);
			got = sandbox_enter(&s, &r, &why);
			if (got == 0 && fault_calls(FAULT_SYS) < n)
				_exit(1);
			if (got == 0) /* a machine without /proc is none of our mistakes */
				_exit(r.self < 0 && !s.monitor ? 0 : 2);
			_exit(strncmp(buf_str(&why), "worker test: cannot ", 20) == 0 ? 0 : 3);
		}
		assert_true(wait(&status) > 0);
		if (n < (flags & MONITOR ? 4 : 10))
			assert_int_equal(WEXITSTATUS(status), 0);
	}
	assert_int_equal(WEXITSTATUS(status), 1);
}

static void test_each_call_fails(void **state)
{
	(void)state;
	each_call_fails(CONNECTS | LISTENS | (geteuid() == 0 ? QUEUES : 0));
	each_call_fails(MONITOR);
	each_call_fails(MONITOR | EXECS);
}

static char *volatile lost;

/*
 * A sanitizer looks for leaks at exit(), by tracing the process from one of its own, inside the sandbox: it can, and finds
 * the one that is there.
 */
static void find_leaks(unsigned flags)
{
	for (int leak = 0; leak < 2; leak++) {
		int status;

		fflush(NULL);
		if (fork() == 0) {
			struct sandbox s = boxed_profile(flags);
			struct sandbox_report r;

			s.sanitizer = true;
			if (!freopen("/dev/null", "w", stderr) || sandbox_enter(&s, &r, NULL) < 0)
				_exit(90);
			if (leak)
				lost = mem_alloc(77);
			lost = NULL;
			exit(0);
		}
		assert_true(wait(&status) > 0);
		assert_int_equal(WEXITSTATUS(status) != 0, leak);
		assert_int_not_equal(WEXITSTATUS(status), 90);
	}
}

static void test_leaks(void **state)
{
	(void)state;
	if (!SANDBOX_ASAN)
		skip();
	find_leaks(THREADS);
	find_leaks(MONITOR);
	find_leaks(MONITOR | EXECS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),        cmocka_unit_test(test_code),
		cmocka_unit_test(test_other_abi),    cmocka_unit_test(test_identity),
		cmocka_unit_test(test_not_root),     cmocka_unit_test(test_older_kernels),
		cmocka_unit_test(test_describe),     cmocka_unit_test(test_missing_path),
		cmocka_unit_test(test_with_threads), cmocka_unit_test(test_each_call_fails),
		cmocka_unit_test(test_leaks),
	};

	return cmocka_run_group_tests(tests, boxed_set_up, boxed_tear_down);
}
