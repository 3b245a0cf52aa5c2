/* test_gate_cache.c - the open files of a loop: what is believed for how long, and what has to go. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "core/stats.h"
#include "drive/files.h"
#include "drive/gate.h"
#include "support/folder.h"

enum { LATER = 2000000000 }; /* the wall clock, when all files are old */

static struct root *root;
static struct gate_cache *cache;
static _Atomic uint64_t stats[STAT_N];
static const struct lane lane = { .stats = stats };

static int set_up(void **state)
{
	assert_int_equal(folder_set_up(state), 0);
	return root_open(folder, &root, NULL);
}

static int take_down(void **state)
{
	root_unref(root);
	return folder_take_down(state);
}

static void begin(size_t files, size_t bytes)
{
	for (size_t i = 0; i < STAT_N; i++)
		atomic_store(&stats[i], 0);
	assert_int_equal(gate_cache_new(&(struct gate_limits){ files, bytes }, &cache), 0);
}

static union {
	struct file_op op;
	char room[sizeof(struct file_op) + FILE_NAME_MAX + 1];
} call;

/* A file, as a session of the loop gets it: at once, or by a job. The reference is the caller's. */
static int get_at(const char *name, nsec now, int64_t wall, struct file **ret)
{
	memset(&call, 0, sizeof(call));
	call.op.call = CALL_OPEN;
	call.op.root = root;
	call.op.name_n = strlen(name);
	memcpy(call.op.name, name, call.op.name_n + 1);
	if (!gate_now(cache, &call.op, &lane, now, wall)) {
		gate_run(&call.op.job);
		gate_learn(cache, &call.op, now, wall);
	}
	*ret = call.op.done.file;
	return call.op.job.err;
}

static struct file *get(const char *name, nsec now)
{
	struct file *f;

	assert_int_equal(get_at(name, now, LATER, &f), 0);
	return f;
}

/* The same, without keeping it: which one it is. */
static const struct file *which(const char *name, nsec now)
{
	struct file *f = get(name, now);

	file_unref(f);
	return f;
}

static bool says(const struct file *f, const char *text)
{
	char got[100] = {};

	return f->pread((struct file *)(uintptr_t)f, got, sizeof(got) - 1, 0) == (ssize_t)strlen(text) &&
	       !strcmp(got, text);
}

static uint64_t hits(void)
{
	return atomic_load(&stats[STAT_FILE_HITS]);
}

/* ---- the tests ---- */

static void test_a_second(void **state)
{
	const struct file *f;

	(void)state;
	begin(10, 1 << 20);
	folder_put("a", "one");
	f = which("a", SEC);
	assert_ptr_equal(which("a", SEC), f);
	assert_ptr_equal(which("a", 2 * SEC - 1), f);
	assert_int_equal(hits(), 2);
	folder_put("a", "two");
	assert_true(says(which("a", 2 * SEC - 1), "one"));
	assert_true(says(which("a", 2 * SEC), "two"));
	f = which("a", 2 * SEC);
	assert_ptr_equal(which("a", 3 * SEC), f); /* looked at again: it is the same one */
	assert_int_equal(unlink(folder_path("a")), 0);
	assert_ptr_equal(which("a", 3 * SEC), f);

	struct file *none;

	assert_int_equal(get_at("a", 4 * SEC, LATER, &none), -ENOENT);
	assert_int_equal(get_at("a", 4 * SEC, LATER, &none), -ENOENT);
	assert_int_equal(gate_cache_due(cache), 0); /* it has nothing any more */
	gate_cache_free(&cache);
}

/* What this process changes is seen at once; what is in use stays what it was. */
static void test_changes(void **state)
{
	struct file *f;

	(void)state;
	begin(10, 1 << 20);
	folder_put("a", "one");
	f = get("a", SEC);
	folder_put("a", "two");
	assert_ptr_equal(which("a", SEC), f);
	root_changed(root);
	assert_true(says(which("a", SEC), "two"));
	assert_true(says(f, "one"));
	gate_cache_free(&cache);
	assert_true(says(f, "one"));
	file_unref(f);
	assert_int_equal(unlink(folder_path("a")), 0);
}

/* Written to in the same moment, with the same size, leaves no trace in its times: so what is young is not believed twice. */
static void test_young(void **state)
{
	struct file *f;
	struct stat st;

	(void)state;
	begin(10, 1 << 20);
	folder_put("a", "one");
	assert_int_equal(stat(folder_path("a"), &st), 0);
	assert_int_equal(get_at("a", SEC, st.st_ctime, &f), 0);
	file_unref(f);

	const struct file *first = f, *second;

	assert_ptr_equal(which("a", SEC + 1), first);
	f = get("a", 2 * SEC);
	second = f;
	assert_ptr_not_equal(first, second); /* read anew, though all its facts are the same */
	file_unref(f);
	assert_ptr_equal(which("a", 3 * SEC), second);
	gate_cache_free(&cache);
	assert_int_equal(unlink(folder_path("a")), 0);
}

static void test_names(void **state)
{
	static const char *const same[] = { "./a", "d/../a", "d//../a", ".//a" };
	const struct file *f;

	(void)state;
	begin(10, 1 << 20);
	folder_put("a", "one");
	assert_int_equal(mkdir(folder_path("d"), 0755), 0);
	folder_put("d/a", "other");
	f = which("a", SEC);
	assert_true(says(which("d/a", SEC), "other"));
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		struct file *g = get(same[i], SEC);

		assert_true(says(g, "one"));
		file_unref(g);
	}
	assert_int_equal(hits(), 0);
	assert_ptr_equal(which("a", SEC), f);
	assert_int_equal(hits(), 1);
	gate_cache_free(&cache);
	assert_int_equal(files_remove_dir(folder_path("d"), NULL), 0);
	assert_int_equal(unlink(folder_path("a")), 0);
}

static void make(int n, size_t size)
{
	char name[20];

	snprintf(name, sizeof(name), "f%d", n);
	int fd = open(folder_path(name), O_CREAT | O_WRONLY | O_TRUNC, 0644);

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(pwrite(fd, name, strlen(name), 0), (ssize_t)strlen(name));
	close(fd);
}

static const struct file *nth(int n, nsec now)
{
	char name[20];

	snprintf(name, sizeof(name), "f%d", n);
	return which(name, now);
}

/* By number, by the bytes of small ones, by descriptors: the one that was used longest ago goes. */
static void test_bounds(void **state)
{
	size_t fds = folder_fds();

	(void)state;
	for (int i = 0; i < 6; i++)
		make(i, i < 3 ? 10000 : 20000);
	begin(4, 1 << 20);
	for (int i = 0; i < 6; i++)
		nth(i, SEC);
	assert_int_equal(folder_fds(), fds + 3); /* small ones need none */
	nth(2, SEC);
	assert_int_equal(hits(), 1);
	nth(0, SEC); /* in the place of 3 */
	nth(2, SEC);
	nth(4, SEC);
	assert_int_equal(hits(), 3);
	nth(3, SEC);
	assert_int_equal(hits(), 3);
	gate_cache_limit(cache, &(struct gate_limits){ 1, 1 << 20 });
	nth(3, SEC);
	assert_int_equal(hits(), 4);
	gate_cache_limit(cache, &(struct gate_limits){ 0, 0 });
	nth(3, SEC);
	assert_int_equal(hits(), 4);
	assert_int_equal(folder_fds(), fds);
	gate_cache_free(&cache);
	begin(100, 25000);
	for (int i = 0; i < 3; i++)
		nth(i, SEC);
	nth(2, SEC);
	nth(1, SEC);
	assert_int_equal(hits(), 2);
	nth(0, SEC);
	assert_int_equal(hits(), 2);
	gate_cache_free(&cache);
}

static void test_unused(void **state)
{
	size_t fds = folder_fds();

	(void)state;
	begin(10, 1 << 20);
	make(8, 20000);
	make(9, 20000);
	nth(8, SEC);
	nth(9, 5 * SEC);
	assert_int_equal(gate_cache_due(cache), 11 * SEC);
	gate_cache_tick(cache, 11 * SEC);
	assert_int_equal(folder_fds(), fds + 1);
	assert_int_equal(gate_cache_due(cache), 15 * SEC);
	gate_cache_tick(cache, 20 * SEC);
	assert_int_equal(folder_fds(), fds);
	gate_cache_free(&cache);
}

/* Descriptors are out: what is kept for others is given back, and then there is one. */
static void test_emfile(void **state)
{
	struct rlimit old, few;
	struct file *f;

	(void)state;
	begin(10, 1 << 20);
	make(8, 20000);
	make(9, 20000);
	nth(8, SEC);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	few.rlim_cur = (rlim_t)dup(0); /* the first free one */
	close((int)few.rlim_cur);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(get_at("f9", SEC, LATER, &f), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	file_unref(f);
	gate_cache_free(&cache);
}

static void test_no_memory(void **state)
{
	(void)state;
	for (unsigned long n = 1, hit = 1; hit; n++) {
		struct file *f = NULL;

		make(8, 100);
		fault_arm(FAULT_MEM, n, 0, false);
		if (gate_cache_new(&(struct gate_limits){ 4, 1000 }, &cache) == 0) {
			if (get_at("f8", SEC, LATER, &f) == 0)
				file_unref(f);
			if (get_at("f8", 3 * SEC, LATER, &f) == 0)
				file_unref(f);
		}
		hit = fault_calls(FAULT_MEM) >= n;
		fault_arm(FAULT_MEM, 0, 0, false);
		gate_cache_free(&cache);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_second), cmocka_unit_test(test_changes),   cmocka_unit_test(test_young),
		cmocka_unit_test(test_names),    cmocka_unit_test(test_bounds),    cmocka_unit_test(test_unused),
		cmocka_unit_test(test_emfile),   cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, set_up, take_down);
}
