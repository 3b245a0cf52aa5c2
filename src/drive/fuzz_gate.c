/*
 * fuzz_gate.c - any name, in any call of the file gateway: nothing beside the root is opened, made or changed. The first byte is the
 * call, then come one or two names, each ended by a NUL or the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "drive/files.h"
#include "drive/gate.h"

enum { RUNS = 500 }; /* then the tree is made anew */

static char *dir;
static struct root *root;

#define CHECK(cond) \
	do { \
		if (!(cond)) { \
			fprintf(stderr, "not so: %s\n", #cond); \
			abort(); \
		} \
	} while (0)

static const char *path(const char *name)
{
	static char text[4096];

	snprintf(text, sizeof(text), "%s/%s", dir, name);
	return text;
}

static void make_tree(void)
{
	CHECK(files_temp_dir(&dir, NULL) == 0);
	CHECK(files_write(path("secret"), 0644, span_str("secret"), NULL) == 0);
	CHECK(mkdir(path("root"), 0755) == 0 && mkdir(path("root/d"), 0755) == 0 && mkdir(path("root/d/e"), 0755) == 0);
	CHECK(files_write(path("root/a"), 0644, span_str("a"), NULL) == 0);
	CHECK(symlink("../secret", path("root/out")) == 0 && symlink("..", path("root/up")) == 0);
	CHECK(symlink("../../..", path("root/d/far")) == 0 && symlink("d/e", path("root/in")) == 0);
	CHECK(symlink("/", path("root/top")) == 0 && symlink("/proc/self/fd", path("root/fd")) == 0);
	CHECK(root_open(path("root"), &root, NULL) == 0);
}

static void drop_tree(void)
{
	root_unref(root);
	CHECK(files_remove_dir(dir, NULL) == 0);
	mem_free(dir);
	dir = NULL;
}

/* What a descriptor stands for is below the root. */
static void check_inside(int fd)
{
	char link[40], to[4200] = {}, *below;
	ssize_t n;

	if (fd < 0)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, to, sizeof(to) - 1);
	CHECK(n > 0);
	CHECK(asprintf(&below, "%s/root", dir) > 0);
	CHECK(!strncmp(to, below, strlen(below)) && (to[strlen(below)] == '/' || !to[strlen(below)]));
	free(below);
}

static void check_outside(void)
{
	struct stat st;
	char got[10] = {};
	int fd = open(path("secret"), O_RDONLY);

	CHECK(fd >= 0 && read(fd, got, sizeof(got)) == 6 && !memcmp(got, "secret", 6));
	CHECK(fstat(fd, &st) == 0 && st.st_nlink == 1);
	close(fd);
	CHECK(stat(dir, &st) == 0 && st.st_nlink == 3); /* itself, its name, and the root */
}

static void run(struct file_op *op)
{
	struct file_facts facts;

	gate_run(&op->job);
	if (op->done.file && op->done.file->fd >= 0)
		check_inside(op->done.file->fd);
	if (op->done.file && op->how != FILE_READ && gate_keep(op->done.file, &facts) == 0)
		check_inside(op->done.file->fd);
	if (op->done.root)
		check_inside(op->done.root->fd);
	for (size_t i = 0; i < op->done.entries; i++)
		CHECK(!strchr(op->done.entry[i].name, '/'));
	check_outside();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned runs;
	struct file_op *op;
	size_t n, to;

	if (size < 1 || size > FILE_NAME_MAX)
		return 0;
	if (runs++ % RUNS == 0) {
		if (dir)
			drop_tree();
		else
			atexit(drop_tree);
		make_tree();
	}
	op = mem_zalloc(sizeof(*op) + 2 * size + 2);
	if (!op)
		return 0;
	n = strnlen((const char *)data + 1, size - 1);
	to = n + 2 < size ? strnlen((const char *)data + n + 2, size - n - 2) : 0;
	memcpy(op->name, data + 1, n);
	if (to)
		memcpy(op->name + n + 1, data + n + 2, to);
	op->call = (enum file_call[]){ CALL_OPEN,          CALL_STAT,   CALL_LIST,        CALL_REMOVE,
				       CALL_REMOVE_FOLDER, CALL_RENAME, CALL_MAKE_FOLDER, CALL_ROOT }[data[0] % 8];
	op->how = (enum file_how)(data[0] / 8 % 4);
	op->replace = data[0] & 32;
	op->name_n = n;
	op->n = FILE_ENTRIES;
	op->root = root;
	op->to = op->name + n + 1;
	run(op);
	file_unref(op->done.file);
	root_unref(op->done.root);
	mem_free(op->bytes);
	mem_free(op);
	return 0;
}
