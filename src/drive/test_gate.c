/* test_gate.c - the file gateway: no name leads out of its root, and no failure leaves half a file. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "drive/files.h"
#include "drive/gate.h"
#include "support/folder.h"

static struct root *root; /* `root` in the folder, and beside it what nobody may see */

/* ---- the stage ---- */

static void link_to(const char *name, const char *target)
{
	assert_int_equal(symlink(target, folder_path(name)), 0);
}

static void make_socket(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%.100s", folder_path(name));
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	close(fd);
}

static int set_up(void **state)
{
	char inside[8192];

	assert_int_equal(folder_set_up(state), 0);
	assert_int_equal(mkdir(folder_path("root"), 0755), 0);
	assert_int_equal(mkdir(folder_path("root/d"), 0755), 0);
	folder_put("secret", "secret");
	folder_put("root/a", "aaa");
	folder_put("root/d/b", "bb");
	link_to("root/in", "d/b");
	link_to("root/d/in", "../a");
	link_to("root/out", "../secret");
	link_to("root/up", "..");
	link_to("root/etc", "/etc");
	snprintf(inside, sizeof(inside), "%s", folder_path("root/a"));
	link_to("root/absolute", inside);
	link_to("root/l1", "l2");
	link_to("root/l2", "l1");
	link_to("root/nowhere", "none");
	assert_int_equal(mkfifo(folder_path("root/fifo"), 0644), 0);
	make_socket("root/socket");
	assert_int_equal(root_open(folder_path("root"), &root, NULL), 0);
	return 0;
}

static int take_down(void **state)
{
	root_unref(root);
	return folder_take_down(state);
}

static void check_content(const char *name, const char *want)
{
	BUF_AUTO struct buf b;

	buf_init(&b, 1 << 20);
	if (!want) {
		assert_int_equal(access(folder_path(name), F_OK), -1);
		return;
	}
	assert_int_equal(files_read(folder_path(name), &b, NULL), 0);
	assert_string_equal(buf_str(&b), want);
}

/* One call by name, as a job would do it. */
struct call {
	struct file_op op;
	char room[2 * (FILE_NAME_MAX + 1)];
};

static int run(struct call *c, enum file_call what, enum file_how how, const char *name, const char *to)
{
	memset(c, 0, sizeof(*c));
	c->op.call = what;
	c->op.how = how;
	c->op.root = root;
	c->op.name_n = strlen(name);
	c->op.n = FILE_ENTRIES;
	memcpy(c->op.name, name, c->op.name_n + 1);
	c->op.to = c->op.name + c->op.name_n + 1;
	if (to)
		memcpy(c->op.to, to, strlen(to) + 1);
	gate_run(&c->op.job);
	return c->op.job.err;
}

static int run_and_drop(enum file_call what, enum file_how how, const char *name, const char *to)
{
	struct call c;
	int err = run(&c, what, how, name, to);

	file_unref(c.op.done.file);
	root_unref(c.op.done.root);
	mem_free(c.op.bytes);
	return err;
}

static int open_by(const char *name)
{
	return run_and_drop(CALL_OPEN, FILE_READ, name, NULL);
}

/* ---- names ---- */

static const struct {
	const char *name;
	int read, stat;
} names[] = {
	{ "a", 0, 0 },
	{ "./a", 0, 0 },
	{ "d//b", 0, 0 },
	{ "d/../a", 0, 0 },
	{ "in", 0, 0 },
	{ "d/in", 0, 0 },
	{ "d", -EISDIR, 0 },
	{ "", -EISDIR, 0 },
	{ ".", -EISDIR, 0 },
	{ "none", -ENOENT, -ENOENT },
	{ "nowhere", -ENOENT, -ENOENT },
	{ "a/b", -ENOTDIR, -ENOTDIR },
	{ "a/", -ENOTDIR, -ENOTDIR },
	{ "..", -EXDEV, -EXDEV },
	{ "../secret", -EXDEV, -EXDEV },
	{ "d/../../secret", -EXDEV, -EXDEV },
	{ "../root/a", -EXDEV, -EXDEV },
	{ "/etc/passwd", -EXDEV, -EXDEV },
	{ "/", -EXDEV, -EXDEV },
	{ "out", -EXDEV, -EXDEV },
	{ "up", -EXDEV, -EXDEV },
	{ "up/secret", -EXDEV, -EXDEV },
	{ "etc/passwd", -EXDEV, -EXDEV },
	{ "absolute", -EXDEV, -EXDEV },
	{ "l1", -ELOOP, -ELOOP },
	{ "fifo", -EACCES, 0 },
	{ "socket", -EACCES, 0 },
};

static void test_names(void **state)
{
	size_t before = folder_fds();

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int read = open_by(names[i].name), stat = run_and_drop(CALL_STAT, 0, names[i].name, NULL);

		if (read != names[i].read || stat != names[i].stat)
			fail_msg("\"%s\": %s and %s", names[i].name, strerror(-read), strerror(-stat));
	}
	assert_int_equal(folder_fds(), before);
}

static void test_long_names(void **state)
{
	char name[FILE_NAME_MAX + 1];

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[FILE_NAME_MAX] = '\0';
	assert_int_equal(open_by(name), -ENAMETOOLONG);
	assert_int_equal(run_and_drop(CALL_OPEN, FILE_NEW, name, NULL), -ENAMETOOLONG);
	name[256] = '\0';
	assert_int_equal(open_by(name), -ENAMETOOLONG);
	assert_int_equal(run_and_drop(CALL_OPEN, FILE_NEW, name, NULL), -ENAMETOOLONG);
	name[255] = '\0';
	assert_int_equal(open_by(name), -ENOENT);
	assert_int_equal(run_and_drop(CALL_OPEN, FILE_NEW, name, NULL), 0);
	for (size_t i = 0; i + 1 < FILE_NAME_MAX; i += 2)
		memcpy(name + i, "./", 2);
	memcpy(name + FILE_NAME_MAX - 1, "a", 2);
	assert_int_equal(open_by(name), 0);
}

/* /proc has links that are no names: to what a process has open, wherever that is. */
static void test_magic_links(void **state)
{
	struct root *kept = root;

	(void)state;
	assert_int_equal(root_open("/", &root, NULL), 0);
	assert_int_equal(open_by("proc/self/fd/0"), -ELOOP);
	assert_int_equal(open_by("proc/self/exe"), -ELOOP);
	assert_int_equal(open_by("proc/self/root/etc/passwd"), -ELOOP);
	assert_int_equal(open_by("proc/self/cwd"), -ELOOP);
	assert_int_equal(open_by("dev/null"), -EACCES);
	assert_int_equal(run_and_drop(CALL_OPEN, FILE_APPEND, "dev/null", NULL), -EACCES);
	root_unref(root);
	root = kept;
}

static void test_hostile_writes(void **state)
{
	static const char *const outside[] = { "../new", "up/new", "/tmp/new", "d/../../new", "etc/new", "/new" };
	static const enum file_how hows[] = { FILE_NEW, FILE_REPLACE, FILE_APPEND };
	static const char *const no_last[] = { "", ".", "..", "d/..", "d/." };
	size_t before = folder_names(folder), inside = folder_names(folder_path("root"));

	(void)state;
	for (size_t h = 0; h < 3; h++) {
		for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
			assert_int_equal(run_and_drop(CALL_OPEN, hows[h], outside[i], NULL), -EXDEV);
		for (size_t i = 0; i < sizeof(no_last) / sizeof(no_last[0]); i++)
			assert_int_equal(run_and_drop(CALL_OPEN, hows[h], no_last[i], NULL), -EINVAL);
		assert_int_equal(run_and_drop(CALL_OPEN, hows[h], "d/", NULL), -EISDIR);
		assert_int_equal(run_and_drop(CALL_OPEN, hows[h], "none/new", NULL), -ENOENT);
	}
	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		assert_int_equal(run_and_drop(CALL_MAKE_FOLDER, 0, outside[i], NULL), -EXDEV);
		assert_int_equal(run_and_drop(CALL_REMOVE, 0, outside[i], NULL), -EXDEV);
		assert_int_equal(run_and_drop(CALL_REMOVE_FOLDER, 0, outside[i], NULL), -EXDEV);
		assert_int_equal(run_and_drop(CALL_RENAME, 0, outside[i], "x"), -EXDEV);
		assert_int_equal(run_and_drop(CALL_RENAME, 0, "a", outside[i]), -EXDEV);
		assert_int_equal(run_and_drop(CALL_ROOT, 0, outside[i], NULL), -EXDEV);
		assert_int_equal(run_and_drop(CALL_LIST, 0, outside[i], NULL), -EXDEV);
	}
	assert_int_equal(run_and_drop(CALL_OPEN, FILE_APPEND, "out", NULL), -ELOOP);
	assert_int_equal(run_and_drop(CALL_OPEN, FILE_APPEND, "fifo", NULL), -EACCES);
	assert_int_equal(folder_names(folder), before);
	assert_int_equal(folder_names(folder_path("root")), inside);
}

/* Somebody puts a link where a folder was, again and again: what is opened is the file below it, or nothing. */
static _Atomic bool swapping;

static void *swap(void *arg)
{
	char real[300], away[300];

	(void)arg;
	snprintf(real, sizeof(real), "%s/root/race", folder);
	snprintf(away, sizeof(away), "%s/root/away", folder);
	while (atomic_load(&swapping)) {
		(void)!rename(real, away);
		(void)!symlink("..", real);
		(void)!unlink(real);
		(void)!rename(away, real);
	}
	return NULL;
}

static void look_inside(const struct call *c, size_t *ret_good)
{
	char got[10] = {};

	assert_true(c->op.done.file->pread(c->op.done.file, got, sizeof(got) - 1, 0) > 0);
	assert_string_equal(got, "right");
	++*ret_good;
}

static void test_race(void **state)
{
	size_t good = 0, bad = 0;
	pthread_t thread;
	struct call c;

	(void)state;
	assert_int_equal(mkdir(folder_path("root/race"), 0755), 0);
	folder_put("root/race/secret", "right");
	atomic_store(&swapping, true);
	assert_int_equal(pthread_create(&thread, NULL, swap, NULL), 0);
	for (int i = 0; i < 10000; i++) {
		const char *name = i % 2 ? "race/secret" : "race/../race/secret";

		if (run(&c, CALL_OPEN, FILE_READ, name, NULL) == 0)
			look_inside(&c, &good);
		else
			bad++;
		file_unref(c.op.done.file);
		assert_int_not_equal(run_and_drop(CALL_OPEN, FILE_NEW, "race/../../evil", NULL), 0);
	}
	atomic_store(&swapping, false);
	pthread_join(thread, NULL);
	assert_true(good > 0 && bad > 0); /* both did happen */
	check_content("evil", NULL);
	assert_int_equal(run_and_drop(CALL_REMOVE, 0, "race/secret", NULL), 0);
	assert_int_equal(run_and_drop(CALL_REMOVE_FOLDER, 0, "race", NULL), 0);
}

/* ---- files that are written ---- */

static int write_file(enum file_how how, const char *name, const char *text)
{
	struct call c;
	uint64_t n;
	int err = run(&c, CALL_OPEN, how, name, NULL);
	struct file *f = c.op.done.file;

	if (err)
		return err;
	err = gate_write(f, (const uint8_t *)text, strlen(text), f->at, &n);
	if (!err)
		err = gate_keep(f, &c.op.done.facts);
	file_unref(f);
	return err;
}

static void write_some(void)
{
	size_t before = folder_names(folder_path("root")), fds = folder_fds();
	struct call c;
	uint64_t n;

	assert_int_equal(write_file(FILE_NEW, "new", "one"), 0);
	check_content("root/new", "one");
	assert_int_equal(write_file(FILE_NEW, "new", "two"), -EEXIST);
	assert_int_equal(write_file(FILE_REPLACE, "new", "three"), 0);
	check_content("root/new", "three");
	assert_int_equal(write_file(FILE_APPEND, "new", ", four"), 0);
	check_content("root/new", "three, four");
	assert_int_equal(write_file(FILE_APPEND, "other", "x"), 0);
	assert_int_equal(write_file(FILE_REPLACE, "d", "x"), -EISDIR);
	/* a link is replaced, not what it stands for */
	assert_int_equal(write_file(FILE_REPLACE, "out", "mine"), 0);
	check_content("secret", "secret");
	check_content("root/out", "mine");
	/* what is not kept was never there */
	assert_int_equal(run(&c, CALL_OPEN, FILE_NEW, "never", NULL), 0);
	assert_int_equal(gate_write(c.op.done.file, (const uint8_t *)"x", 1, 0, &n), 0);
	file_unref(c.op.done.file);
	/* another was faster */
	assert_int_equal(run(&c, CALL_OPEN, FILE_NEW, "late", NULL), 0);
	folder_put("root/late", "first");
	assert_int_equal(gate_keep(c.op.done.file, &c.op.done.facts), -EEXIST);
	file_unref(c.op.done.file);
	check_content("root/late", "first");
	assert_int_equal(run_and_drop(CALL_REMOVE, 0, "late", NULL), 0);
	assert_int_equal(run_and_drop(CALL_REMOVE, 0, "new", NULL), 0);
	assert_int_equal(run_and_drop(CALL_REMOVE, 0, "other", NULL), 0);
	assert_int_equal(folder_names(folder_path("root")), before);
	assert_int_equal(folder_fds(), fds);
	assert_int_equal(unlink(folder_path("root/out")), 0);
	link_to("root/out", "../secret");
}

static void test_write(void **state)
{
	(void)state;
	write_some();
	root->named = true;
	write_some();
	root->named = false;
}

/* What was not kept and is big is given back to the disk by somebody else than the loop. */
static void test_big_and_gone(void **state)
{
	size_t fds = folder_fds();
	struct file *f;
	char name[] = "big";
	uint64_t n;

	(void)state;
	assert_int_equal(gate_open_write(root, name, FILE_NEW, true, &f), 0);
	assert_int_equal(gate_write(f, (const uint8_t *)"x", 1, 64 << 20, &n), 0);
	file_unref(f);
	for (int i = 0; i < 1000 && folder_fds() != fds; i++)
		usleep(10000);
	assert_int_equal(folder_fds(), fds);
	check_content("root/big", NULL);
}

static void test_folders(void **state)
{
	struct call c;

	(void)state;
	assert_int_equal(run_and_drop(CALL_MAKE_FOLDER, 0, "f/", NULL), 0);
	assert_int_equal(run_and_drop(CALL_MAKE_FOLDER, 0, "f", NULL), -EEXIST);
	assert_int_equal(run_and_drop(CALL_REMOVE, 0, "f", NULL), -EISDIR);
	assert_int_equal(write_file(FILE_NEW, "f/x", "x"), 0);
	assert_int_equal(run_and_drop(CALL_REMOVE_FOLDER, 0, "f", NULL), -ENOTEMPTY);
	assert_int_equal(run_and_drop(CALL_RENAME, 0, "f/x", "a"), -EEXIST);
	assert_int_equal(run_and_drop(CALL_RENAME, 0, "f/x", "f/y"), 0);
	assert_int_equal(run_and_drop(CALL_REMOVE_FOLDER, 0, "f/y", NULL), -ENOTDIR);
	/* a root below: its own top is as high as it goes */
	assert_int_equal(run(&c, CALL_ROOT, 0, "f", NULL), 0);

	struct root *outer = root, *inner = c.op.done.root;
	unsigned changes = root_changes(outer);

	root = inner;
	assert_int_equal(open_by("y"), 0);
	assert_int_equal(open_by("../a"), -EXDEV);
	assert_int_equal(run_and_drop(CALL_REMOVE, 0, "y", NULL), 0);
	root = outer;
	assert_int_not_equal(root_changes(outer), changes);
	root_unref(inner);
	assert_int_equal(run_and_drop(CALL_REMOVE_FOLDER, 0, "f", NULL), 0);
}

/* ---- lists ---- */

static const struct file_entry *entry(const struct call *c, const char *name)
{
	for (size_t i = 0; i < c->op.done.entries; i++)
		if (!strcmp(c->op.done.entry[i].name, name))
			return &c->op.done.entry[i];
	return NULL;
}

static void test_list(void **state)
{
	struct timespec old[2] = { { .tv_sec = 1000000 }, { .tv_sec = 1000000 } };
	struct call c;

	(void)state;
	folder_put("root/" FILE_PRIVATE "young", "x");
	folder_put("root/" FILE_PRIVATE "old", "x");
	assert_int_equal(utimensat(AT_FDCWD, folder_path("root/" FILE_PRIVATE "old"), old, 0), 0);
	assert_int_equal(run(&c, CALL_LIST, 0, "", NULL), 0);
	assert_int_equal(c.op.done.next, 0);
	assert_int_equal(c.op.done.entries, folder_names(folder_path("root")) - 1);
	assert_int_equal(entry(&c, "a")->facts.size, 3);
	assert_int_equal(entry(&c, "d")->facts.kind, FILE_FOLDER);
	assert_int_equal(entry(&c, "in")->facts.size, 2); /* of what it stands for */
	assert_int_equal(entry(&c, "out")->facts.kind, FILE_OTHER);
	assert_int_equal(entry(&c, "out")->facts.size, 0);
	assert_int_equal(entry(&c, "fifo")->facts.kind, FILE_OTHER);
	assert_null(entry(&c, FILE_PRIVATE "young"));
	mem_free(c.op.bytes);
	check_content("root/" FILE_PRIVATE "young", "x");
	check_content("root/" FILE_PRIVATE "old", NULL);
	assert_int_equal(unlink(folder_path("root/" FILE_PRIVATE "young")), 0);
	assert_int_equal(run_and_drop(CALL_LIST, 0, "a", NULL), -ENOTDIR);
	assert_int_equal(run_and_drop(CALL_LIST, 0, "fifo", NULL), -ENOTDIR);
}

/* All of a folder, some at a time: each once. */
static void test_list_in_parts(void **state)
{
	enum { MANY = 1000 };
	char name[64];
	bool seen[MANY] = {};
	struct call c;
	uint64_t next = 0;
	size_t all = 0;

	(void)state;
	assert_int_equal(mkdir(folder_path("root/many"), 0755), 0);
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "root/many/%d", i);
		close(creat(folder_path(name), 0644));
	}
	do {
		memset(&c, 0, sizeof(c));
		c.op = (struct file_op){ .call = CALL_LIST, .root = root, .off = next, .n = 7, .name_n = 4 };
		memcpy(c.op.name, "many", 5);
		gate_run(&c.op.job);
		assert_int_equal(c.op.job.err, 0);
		for (size_t i = 0; i < c.op.done.entries; i++) {
			bool *one = &seen[strtoul(c.op.done.entry[i].name, NULL, 10)];

			assert_false(*one);
			*one = true;
			all++;
		}
		next = c.op.done.next;
		mem_free(c.op.bytes);
	} while (next);
	assert_int_equal(all, MANY);
	assert_int_equal(files_remove_dir(folder_path("root/many"), NULL), 0);
}

/* ---- failures ---- */

/* Of these the second is what happens where a file cannot be without a name. */
static void both_ways(void (*fn)(enum file_how how))
{
	for (int i = 0; i < 4; i++) {
		root->named = i % 2;
		fn(i < 2 ? FILE_NEW : FILE_REPLACE);
	}
	root->named = false;
}

/* True: the call came, and failed. */
static bool fail_at(enum file_how how, unsigned long n, int error, int *ret_err)
{
	bool hit;

	fault_arm(FAULT_SYS, n, error, false);
	*ret_err = write_file(how, "f", "new");
	hit = fault_calls(FAULT_SYS) >= n;
	fault_arm(FAULT_SYS, 0, 0, false);
	return hit;
}

/* Each call of a write fails once: the old file is there, or the new one, and nothing else. */
static void fail_everywhere(enum file_how how)
{
	static const int errors[] = { ENOSPC, EIO, EMFILE, EDQUOT, EOPNOTSUPP, EINVAL };
	size_t before = folder_names(folder_path("root")), fds = folder_fds();

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		bool hit = true, was_new = false;

		for (unsigned long n = 1; hit; n++) {
			BUF_AUTO struct buf b;
			int err, r;

			if (how == FILE_REPLACE)
				folder_put("root/f", "old");
			hit = fail_at(how, n, errors[i], &err);
			buf_init(&b, 100);
			r = files_read(folder_path("root/f"), &b, NULL);
			assert_int_equal(r, how == FILE_NEW && err && !b.n ? -ENOENT : 0);
			if (!err || b.n == 0 || span_is(buf_span(&b), "new"))
				assert_string_equal(buf_str(&b), err && b.n == 0 ? "" : "new");
			else
				assert_string_equal(buf_str(&b), "old");
			was_new = !err;
			assert_int_equal(folder_names(folder_path("root")), before + (r == 0));
			assert_int_equal(folder_fds(), fds);
			(void)unlink(folder_path("root/f"));
		}
		assert_true(was_new);
	}
}

static void test_faults(void **state)
{
	(void)state;
	both_ways(fail_everywhere);
}

static void test_no_memory(void **state)
{
	static const enum file_call calls[] = { CALL_OPEN, CALL_LIST, CALL_ROOT };
	size_t fds = folder_fds();

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		const char *name = i == 0 || i > 2 ? "a" : "d";
		bool hit = true;

		for (unsigned long n = 1; hit; n++) {
			fault_arm(FAULT_MEM, n, 0, false);
			(void)run_and_drop(i < 3 ? calls[i] : CALL_OPEN, i < 3 ? FILE_READ : (enum file_how)(i - 2),
					   name, NULL);
			hit = fault_calls(FAULT_MEM) >= n;
			fault_arm(FAULT_MEM, 0, 0, false);
		}
	}
	assert_int_equal(folder_fds(), fds);
	check_content("root/a", "aaa");
}

/* The process ends before its nth call; nobody cleans up after it. */
static void crash_at(enum file_how how, unsigned long n, bool *ret_ended)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		fault_arm(FAULT_SYS, n, FAULT_CRASH, false);
		_exit(write_file(how, "f", "new") == 0 ? 7 : 9);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	*ret_ended = WEXITSTATUS(status) == 7;
	assert_int_not_equal(WEXITSTATUS(status), 9);
}

static void crash_everywhere(enum file_how how)
{
	bool ended = false, was_new = false;

	for (unsigned long n = 1; !ended; n++) {
		BUF_AUTO struct buf b;
		int err;

		if (how == FILE_REPLACE)
			folder_put("root/f", "old");
		crash_at(how, n, &ended);
		buf_init(&b, 100);
		err = files_read(folder_path("root/f"), &b, NULL);
		if (how == FILE_NEW && err == -ENOENT)
			assert_false(was_new);
		else if (how == FILE_REPLACE && span_is(buf_span(&b), "old"))
			assert_false(was_new);
		else
			assert_string_equal(buf_str(&b), "new");
		was_new = was_new || span_is(buf_span(&b), "new");
		(void)unlink(folder_path("root/f"));
	}
	assert_true(was_new);
}

static void test_crashes(void **state)
{
	struct call c;

	(void)state;
	both_ways(crash_everywhere);
	/* what is left has a name of our own, that no list shows */
	assert_int_equal(run(&c, CALL_LIST, 0, "", NULL), 0);
	for (size_t i = 0; i < c.op.done.entries; i++)
		assert_int_not_equal(strncmp(c.op.done.entry[i].name, FILE_PRIVATE, strlen(FILE_PRIVATE)), 0);
	mem_free(c.op.bytes);
}

/* A disk that takes a part of a write: the rest is tried, and its error is the answer. */
static void test_short_writes(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit most = { 100, 100 };
		static char text[151];
		struct call c;
		uint64_t n = 0;
		int bad = 0;

		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &most);
		memset(text, 'x', 150);
		bad |= run(&c, CALL_OPEN, FILE_NEW, "short", NULL) != 0;
		bad |= gate_write(c.op.done.file, (const uint8_t *)text, 150, 0, &n) != -EFBIG;
		bad |= n != 100;
		bad |= gate_keep(c.op.done.file, &c.op.done.facts) != -EFBIG; /* never again */
		file_unref(c.op.done.file);
		bad |= access(folder_path("root/short"), F_OK) == 0;
		_exit(bad);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),        cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_magic_links),  cmocka_unit_test(test_hostile_writes),
		cmocka_unit_test(test_race),         cmocka_unit_test(test_write),
		cmocka_unit_test(test_big_and_gone), cmocka_unit_test(test_folders),
		cmocka_unit_test(test_list),         cmocka_unit_test(test_list_in_parts),
		cmocka_unit_test(test_faults),       cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_crashes),      cmocka_unit_test(test_short_writes),
	};

	return cmocka_run_group_tests(tests, set_up, take_down);
}
