/*
 * test_shelf.c - files as a protocol serves them (tests/support/shelf.h): over the memory driver in pieces of every size, with every
 * allocation and every call failing once; and by a whole server, whose loops keep files open.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "core/proto_file.h"
#include "support/folder.h"
#include "support/live.h"
#include "support/shelf.h"
#include "support/toy.h"
#include "support/world.h"

enum { BIG = 3 << 20 };

static uint8_t big[BIG];

static int set_up(void **state)
{
	for (size_t i = 0; i < BIG; i++)
		big[i] = (uint8_t)(i * 7 + (i >> 9));
	return folder_set_up(state);
}

/* Without the calls that a test makes fail. */
static bool has(const char *name, const char *want)
{
	char got[100];
	FILE *f = fopen(folder_path(name), "r");
	size_t n = f ? fread(got, 1, sizeof(got), f) : 0;

	if (f)
		(void)fclose(f);
	return f && span_is((struct span){ (const uint8_t *)got, n }, want);
}

/* What the scenes leave; nothing else may be there. */
static void clean(void)
{
	static const char *const names[] = { "left", "a", "b", "d/b", "d/left" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)unlink(folder_path(names[i]));
	(void)rmdir(folder_path("d"));
	assert_int_equal(folder_names(folder), 0);
}

/* ---- over memory ---- */

static const size_t pieces[] = { 1, 2, 3, 7, 4096, 0 };

/* What one client says, and what it hears, with each ETag as ETAG. */
static void play_in(size_t piece, struct span say, bool fin, const char *hear)
{
	struct world w;
	struct memconn *c;
	BUF_AUTO struct buf got;
	bool tag = false;

	world_open(&w, &shelf_proto, NULL, "root", folder);
	c = world_client(&w);
	assert_non_null(c);
	memconn_reads(c, piece);
	memconn_writes(c, piece);
	memconn_send(c, say.p, say.n, piece);
	if (fin)
		memconn_eof(c);
	buf_init(&got, 1 << 20);
	for (size_t i = 0; i < memconn_out(c).n; i++) {
		char ch = (char)memconn_out(c).p[i];

		if (ch == '"' && !tag)
			buf_adds(&got, "ETAG");
		else if (!tag)
			buf_addc(&got, ch);
		if (ch == '"')
			tag = !tag;
	}
	assert_string_equal(buf_str(&got), hear);
	world_close(&w);
}

static void play(const char *say, bool fin, const char *hear)
{
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		assert_int_equal(folder_names(folder), 0);
		play_in(pieces[i], span_str(say), fin, hear);
		clean();
	}
}

static void test_put_and_get(void **state)
{
	(void)state;
	play("PUT 5 left\nhelloGET left\nPART 1 3 left\nPEEK 3 100 left\nPART 9 1 left\nDEL left\nGET left\n", false,
	     "OK 5\nOK 5 ETAG\nhelloOK 3\nellOK 2\nloOK 0\nOK\nERR ENOENT\n");
	play("PUT 0 left\nGET left\nSTAT left\n", false, "OK 0\nOK 0 ETAG\nOK file 0\n");
	play("SAY left abc\nGET left\nSTAT \"\"\n", false, "OK 3\nOK 3 ETAG\nabcOK folder 0\n");
	play("NEW 1 left\nxNEW 1 left\ny", false, "OK 1\nERR EEXIST\n");
	play("PUT 1 left\nxADD 2 left\nyzGET left\n", false, "OK 1\nOK 2\nOK 3 ETAG\nxyz");
	play("PUT 1 left\nxMOVE left b\nMOVE b left\nLIST \"\"\n", false, "OK 1\nOK\nOK\nleft 1\nOK 0\n");
	play("PUT 1 a\nxPUT 1 left\nyMOVE a left\nSWAP a left\nGET left\n", false,
	     "OK 1\nOK 1\nERR EEXIST\nOK\nOK 1 ETAG\nx");
	play("MKDIR d\nPUT 1 d/a\nxHOME d\nGET a\nGET ../d/a\nDEL a\nLIST .\n", false,
	     "OK\nOK 1\nOK\nOK 1 ETAG\nxERR EXDEV\nOK\nOK 0\n");
}

static void test_to_the_end(void **state)
{
	(void)state;
	play("PUTALL left\nall of it", true, "OK 9\n");
	play("PUTALL left\n", true, "OK 0\n");
	play("PUT 9 left\nhalf", true, "ERR ENODATA\n");
	assert_int_equal(folder_names(folder), 0);
	play("DROP 4 left\ngoneGET left\n", true, "OK\nERR ENOENT\n");
}

static void test_bad_names(void **state)
{
	static const char nul[] = "GET \"a\0b\"\nSTAT \"\0\"\n";

	(void)state;
	play_in(0, (struct span){ (const uint8_t *)nul, sizeof(nul) - 1 }, false, "ERR EINVAL\nERR EINVAL\n");
	play("GET ../x\nGET /etc/passwd\nGET " FILE_PRIVATE "x\nMKDIR x/" FILE_PRIVATE "x/y\nSTAT ..\n", false,
	     "ERR EXDEV\nERR EXDEV\nERR EACCES\nERR EACCES\nERR EXDEV\n");
	play("PUT 1 ../x\nx", false, "ERR EXDEV\n");
}

/* Up and down again, all of it, through a layer too. */
static void big_one(size_t reads, const struct layer *layer)
{
	BUF_AUTO struct buf b = BUF_INIT(BIG + 100000);
	struct world w;
	struct memconn *c;
	char line[100];
	struct span out;

	world_open(&w, &shelf_proto, NULL, "root", folder);
	c = world_client(&w);
	memconn_reads(c, reads);
	memconn_sends(c, "PUT 3145728 left\n");
	memconn_send(c, big, BIG, 0);
	assert_said(c, "OK 3145728\n");
	if (layer) {
		c = memconn_open(w.drive, &(struct mem_open){ .layer = layer, .layer_arg = toy_layer_arg(0, 0) });
		toy_frame_add(&b, "PART 1 3145727 left\n", 20);
		memconn_send(c, b.p, b.n, 0);
		buf_reset(&b);
		toy_unframe(memconn_out(c), &b);
		out = buf_span(&b);
	} else {
		memconn_sends(c, "PART 1 3145727 left\n");
		out = memconn_out(c);
	}
	snprintf(line, sizeof(line), "OK %d\n", BIG - 1);
	assert_int_equal(out.n, strlen(line) + BIG - 1);
	assert_memory_equal(out.p, line, strlen(line));
	assert_memory_equal(out.p + strlen(line), big + 1, BIG - 1);
	world_close(&w);
	assert_int_equal(unlink(folder_path("left")), 0);
}

static void test_big(void **state)
{
	(void)state;
	big_one(0, NULL);
	big_one(1000, NULL);
	big_one(0, &toy_frame);
}

/* While the disk does not answer, the peer is not read from; what was read is not much. */
static void test_backpressure(void **state)
{
	struct world w;
	struct memconn *c;

	(void)state;
	world_open(&w, &shelf_proto, NULL, "root", folder);
	c = world_client(&w);
	memconn_sends(c, "PUT 3145728 left\n");
	memdrive_hold_jobs(w.drive, true);
	memconn_send(c, big, BIG, 0);
	assert_true(memconn_unread(c) > BIG - (300 << 10));
	memdrive_run_jobs(w.drive, 1);
	assert_true(memconn_unread(c) > BIG - (500 << 10));
	assert_int_equal(folder_names(folder), 0);
	memdrive_hold_jobs(w.drive, false);
	assert_said(c, "OK 3145728\n");
	world_close(&w);
	assert_int_equal(unlink(folder_path("left")), 0);
}

/* Broken in the middle, with a piece on its way to the disk or not, or the world ends: nothing is left. */
static void test_broken(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct world w;
		struct memconn *c;

		world_open(&w, &shelf_proto, NULL, "root", folder);
		c = world_client(&w);
		memconn_sends(c, "PUT 3145728 left\n");
		memdrive_hold_jobs(w.drive, i % 2);
		memconn_send(c, big, BIG / 2, 0);
		if (i < 2)
			memconn_reset(c);
		memdrive_hold_jobs(w.drive, false);
		world_close(&w);
		assert_int_equal(folder_names(folder), 0);
	}
}

/* ---- failing ---- */

static const char all_of_it[] =
	"PUT 5 left\nhelloGET left\nPEEK 0 5 left\nSAY b xx\nMKDIR d\nMOVE b d/b\nLIST d\nHOME d\nSTAT b\n"
	"DEL b\nPUT 5 left\nhello";

static void scene(void *arg)
{
	static const char *const options[] = { "root", NULL, NULL };
	const char *set[] = { options[0], folder, NULL, NULL };
	struct world w;
	struct memconn *c;

	(void)arg;
	if (world_try_open(&w, &shelf_proto, NULL, set, NULL) == 0 && (c = memconn_open(w.drive, NULL)))
		memconn_send(c, all_of_it, sizeof(all_of_it) - 1, 0);
	world_close(&w);
	assert_true(access(folder_path("left"), F_OK) < 0 || has("left", "hello"));
	assert_true(access(folder_path("d/left"), F_OK) < 0 || has("d/left", "hello"));
	clean();
}

static void test_no_memory(void **state)
{
	(void)state;
	fail_each_allocation(scene, NULL);
}

static void test_failing_calls(void **state)
{
	static const int errors[] = { ENOSPC, EIO, EMFILE, EINTR };

	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		bool hit = true;

		for (unsigned long n = 1; hit; n++) {
			fault_arm(FAULT_SYS, n, errors[i], false);
			scene(NULL);
			hit = fault_calls(FAULT_SYS) >= n;
			fault_arm(FAULT_SYS, 0, 0, false);
		}
	}
}

/* ---- in_file() and io_end(), on the connection and on a channel ---- */

static struct {
	struct root *root;
	struct file *file;
	bool channel, again;
} step;

static enum verdict upload(const struct ev *ev, struct io *io)
{
	struct io *from = step.channel ? io_chan(io, 7) : io;

	if (ev->kind == EV_OPEN && !ev->chan) {
		if (step.channel)
			io_child(io, 7, &(struct child){ .kind = CHILD_CONNECT, .address = "tcp:127.0.0.1:1" });
		io_open(io, 1, step.root, span_str("left"), FILE_NEW);
	} else if (ev->kind == EV_DONE && ev->tag == 1) {
		step.file = ev_file(ev)->file;
		ev_file(ev)->file = NULL;
		in_file(from, 2, step.file, 10);
		io_timer(io, 0, io->now + SEC);
	} else if (ev->kind == EV_DONE && ev->tag == 2 && step.again) {
		step.again = false;
		in_file(from, 2, step.file, 5);
	} else if (ev->kind == EV_TIMER) {
		io_end(io, 2);
	} else if (ev->kind == EV_DATA) {
		in_take(toy_io(ev, io), SIZE_MAX);
	}
	return V_GO;
}

static void begin(struct memdrive **w, bool channel, bool again)
{
	toy_reset(upload);
	step.channel = channel;
	step.again = again;
	assert_int_equal(root_open(folder, &step.root, NULL), 0);
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy_proto }, w, NULL), 0);
}

static void end(struct memdrive **w)
{
	memdrive_free(w);
	file_drop(step.file);
	step.file = NULL;
	root_unref(step.root);
	toy_done();
	assert_int_equal(folder_names(folder), 0);
}

static void intake(bool channel)
{
	struct memdrive *w;
	struct memconn *c, *from;

	begin(&w, channel, true);
	c = memconn_open(w, NULL);
	from = channel ? memdrive_child(w, 0) : c;
	assert_log_is(channel ? "open done:1:0 c7.open" : "open done:1:0", __FILE__, __LINE__);
	memconn_send(from, "0123456789abcdeXYZ", 18, 0);
	assert_log_is(channel ? "c7.done:2:0 c7.done:2:0 c7.data:3" : "done:2:0 done:2:0 data:3", __FILE__, __LINE__);
	assert_int_equal(file_facts(step.file)->size, 0);
	memconn_eof(from);
	assert_log_is(channel ? "c7.eof" : "eof", __FILE__, __LINE__);
	end(&w);
}

static void test_intake(void **state)
{
	(void)state;
	intake(false);
	intake(true);
}

static void cancel(bool channel, bool busy)
{
	struct memdrive *w;
	struct memconn *c, *from;

	begin(&w, channel, false);
	c = memconn_open(w, NULL);
	from = channel ? memdrive_child(w, 0) : c;
	memdrive_hold_jobs(w, busy);
	memconn_send(from, "01234", 5, 0);
	assert_int_equal(memdrive_jobs(w), busy);
	buf_reset(&toy.log);
	memdrive_advance(w, 2 * SEC);
	assert_log_is(channel ? "timer:0 c7.done:2:-125" : "timer:0 done:2:-125", __FILE__, __LINE__);
	memdrive_hold_jobs(w, false); /* the piece that was on its way: nobody is told */
	memconn_send(from, "abc", 3, 0);
	assert_log_is(channel ? "c7.data:3" : "data:3", __FILE__, __LINE__);
	end(&w);
}

static void test_cancel(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		cancel(i & 1, i & 2);
}

/* ---- a whole server ---- */

static struct live live;

static void serve(const char *model)
{
	static char words[3][300];
	static const char *v[] = { "shelf", "listen=tcp:0", words[0], words[1], NULL, NULL };

	snprintf(words[0], sizeof(words[0]), "model=%s", model);
	snprintf(words[1], sizeof(words[1]), "root=%.250s", folder);
	live_proto = &shelf_proto;
	assert_int_equal(live_start(&live, v), 0);
}

static void stop(void)
{
	assert_int_equal(live_stop(&live), 0);
	live_proto = NULL;
}

static uint64_t counter(const char *name)
{
	char what[64];
	const char *at;
	uint64_t n = 0;
	struct buf b;

	snprintf(what, sizeof(what), "\"%s\":", name);
	buf_init(&b, 1 << 20);
	server_stats(live.s, true, &b);
	at = strstr(buf_str(&b), what);
	if (at)
		n = strtoull(at + strlen(what), NULL, 10);
	buf_done(&b);
	return n;
}

/* The bytes that follow the first line of the answer to GET. */
static void hears(int fd, const char *want)
{
	char got[200] = {};
	size_t n = 0;
	char *line = NULL;

	while ((!line || strlen(line + 1) < strlen(want)) && n < sizeof(got) - 1) {
		assert_true(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 20000) > 0);
		assert_true(read(fd, got + n++, 1) == 1);
		line = strchr(got, '\n');
	}
	assert_string_equal(line ? line + 1 : got, want);
}

static void test_models(void **state)
{
	static const char *const models[] = { "event", "thread", "iterative", "pool" };

	(void)state;
	for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
		int fd;

		serve(models[i]);
		fd = live_dial(&live, "shelf", SOCK_STREAM);
		assert_true(live_exchange(fd, "PUT 5 left\nhello", "OK 5\n"));
		assert_true(live_exchange(fd, "PART 1 2 left\nPEEK 0 9 left\n", "OK 2\nelOK 5\nhello"));
		assert_true(live_exchange(fd, "GET left", "")); /* until the line ends nothing comes */
		assert_true(live_exchange(fd, "\n", "OK 5 \""));
		close(fd);
		stop();
		assert_int_equal(unlink(folder_path("left")), 0);
	}
}

static void test_cache(void **state)
{
	int fd, other;

	(void)state;
	serve("event");
	folder_put("left", "one");
	fd = live_dial(&live, "shelf", SOCK_STREAM);
	for (int i = 0; i < 10; i++) {
		assert_true(live_exchange(fd, "GET left\n", ""));
		hears(fd, "one");
	}
	if (counter("file_hits") < 9) /* unless a second passed */
		assert_true(counter("file_misses") > 1);
	/* somebody else replaces it: for a second at most the old one is served */
	folder_put("left", "two");
	usleep(1100000);
	assert_true(live_exchange(fd, "GET left\n", ""));
	hears(fd, "two");
	/* our own changes are seen at once, on every loop */
	other = live_dial(&live, "shelf", SOCK_STREAM);
	assert_true(live_exchange(other, "GET left\n", ""));
	hears(other, "two");
	assert_true(live_exchange(fd, "PUT 5 left\nthree", "OK 5\n"));
	assert_true(live_exchange(other, "GET left\n", ""));
	hears(other, "three");
	assert_true(live_exchange(other, "DEL left\n", "OK\n"));
	assert_true(live_exchange(fd, "GET left\n", "ERR ENOENT\n"));
	close(fd);
	close(other);
	stop();
}

/* Many at once, who read and replace the same file: each sees one of the versions, whole. */
enum { CLIENTS = 6, ROUNDS = 60, SIZE = 40000 };

static bool read_whole(int fd, void *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t got = read(fd, (char *)p + at, n - at);

		if (got <= 0)
			return false;
		at += (size_t)got;
	}
	return true;
}

static bool ask(int fd, char *bytes)
{
	char head[200] = {};
	size_t n = 0;

	if (write(fd, "GET left\n", 9) != 9)
		return false;
	while (!strchr(head, '\n') && n < sizeof(head) - 1)
		if (read(fd, head + n++, 1) != 1)
			return false;
	if (strncmp(head, "OK 40000 ", 9) || !read_whole(fd, bytes, SIZE))
		return false;
	for (size_t i = 1; i < SIZE; i++)
		if (bytes[i] != bytes[0])
			return false;
	return true;
}

static void *client(void *arg)
{
	int fd = live_dial(&live, "shelf", SOCK_STREAM);
	char *bytes = mem_alloc(SIZE);
	bool good = fd >= 0 && bytes;

	for (int i = 0; i < ROUNDS && good; i++) {
		char line[100];
		int n = snprintf(line, sizeof(line), "PUT %d left\n", SIZE);

		memset(bytes, 'a' + i % 26, SIZE);
		good = write(fd, line, (size_t)n) == n && write(fd, bytes, SIZE) == SIZE;
		good = good && read_whole(fd, line, 9) && !memcmp(line, "OK 40000\n", 9);
		good = good && ask(fd, bytes);
	}
	mem_free(bytes);
	close(fd);
	return good ? arg : NULL;
}

static void test_together(void **state)
{
	static int mark;
	pthread_t t[CLIENTS];

	(void)state;
	serve("event");
	for (int i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, client, &mark), 0);
	for (int i = 0; i < CLIENTS; i++) {
		void *good;

		pthread_join(t[i], &good);
		assert_ptr_equal(good, &mark);
	}
	stop();
	assert_int_equal(unlink(folder_path("left")), 0);
	assert_int_equal(folder_names(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_and_get),  cmocka_unit_test(test_to_the_end),
		cmocka_unit_test(test_bad_names),    cmocka_unit_test(test_big),
		cmocka_unit_test(test_backpressure), cmocka_unit_test(test_broken),
		cmocka_unit_test(test_no_memory),    cmocka_unit_test(test_failing_calls),
		cmocka_unit_test(test_intake),       cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_models),       cmocka_unit_test(test_cache),
		cmocka_unit_test(test_together),
	};

	return cmocka_run_group_tests(tests, set_up, folder_take_down);
}
