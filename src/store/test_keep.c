/*
 * test_keep.c - what was written is there after another start, and what was taken away is not; and what errors mean.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc.h"
#include "base/fault.h"
#include "base/mem.h"
#include "store/keep_priv.h"
#include "support/keeper.h"

static void expect(struct keeper *t, const char *text)
{
	char *got = keeper_text(t);

	assert_string_equal(got, text);
	mem_free(got);
}

/* Written, read by another, and whole. */
static void expect_after_restart(struct keeper *t, const char *text)
{
	keeper_submit(t);
	keeper_reopen(t);
	expect(t, text);
	keeper_start(t);
	assert_false(t->found.damaged);
}

static void test_all_kinds(void **state)
{
	static const uint32_t ids[] = { 7, 268435455 };
	const struct keep_message m = {
		.topic = span_str("a/b"), .props = span_str("P"), .payload = span_str("hello"), .until = 99, .qos = 2
	};
	const struct keep_session s = { .id = 5,
					.name = span_str("bob"),
					.expiry = UINT32_MAX,
					.until = 1234567890123,
					.has_will = true,
					.will_delay = 3,
					.will_at = 77,
					.will = m };
	const struct keep_subscription sub = { .session = 5,
					       .group = span_str("g"),
					       .filter = span_str("a/#"),
					       .id = 7,
					       .qos = 2,
					       .retain_handling = 1,
					       .number = 30,
					       .no_local = true,
					       .as_published = true },
				       owed = { .session = 5,
						.filter = span_str("b"),
						.owed = true,
						.owed_at = span_str("b/next") };
	const struct keep_message mine = { .topic = span_str("u"), .payload = span_str("3"), .from = 4 },
				  stray = { .topic = span_str("v"), .payload = span_str("4"), .from = 99 };
	const struct keep_waiter w[] = { { .session = 4, .qos = 1, .packet = 65535, .retain = true, .alone = 31 },
					 { .session = 5, .ids = ids, .n_ids = 2, .qos = 2, .packet = 1 } };
	struct keeper t;

	(void)state;
	keeper_init(&t);
	keeper_start(&t);
	keeper_session(&t, 4, "alice");
	assert_int_equal(keep_put_session(&t.b, &s), 0);
	assert_int_equal(keep_subscribe(&t.b, &sub), 0);
	assert_int_equal(keep_await(&t.b, 4, 300), 0);
	keeper_retain(&t, "t", "1");
	keeper_retain(&t, "t", "2");
	assert_int_equal(keep_subscribe(&t.b, &owed), 0);
	assert_int_equal(keep_retain(&t.b, &mine), 0);
	assert_int_equal(keep_retain(&t.b, &stray), 0);
	assert_int_equal(keep_put_message(&t.b, 9, &m, w, 2), 0);
	assert_int_equal(keep_received(&t.b, 9, 5, 44), 0);
	expect_after_restart(
		&t, "session 4 name=alice expiry=60 until=0\n"
		    "session 5 name=bob expiry=4294967295 until=1234567890123 will 3 77 topic=a/b payload=hello "
		    "props=P q2 r0 until=99\n"
		    "subscription 5 group=g filter=a/# #7 q2 h1 l1 p1 n30\n"
		    "subscription 5 group= filter=b #0 q0 h0 l0 p0 owed=b/next\n"
		    "awaited 4 300\n"
		    "retained topic=v payload=4 q0 r0 until=0\n"
		    "retained topic=t payload=2 q1 r1 until=0\n"
		    "retained topic=u payload=3 q0 r0 until=0 from=4\n"
		    "message 9 topic=a/b payload=hello props=P q2 r0 until=99 [4 q1 r1 p65535 t0 a31] [5 q2 r0 p44 t1 "
		    "#7 #268435455]\n");
	assert_true(keep_new_id(t.k) > 99); /* whoever that was */
	assert_int_equal(keep_release(&t.b, 4, 300), 0);
	assert_int_equal(keep_unsubscribe(&t.b, 5, span_str("g"), span_str("a/#")), 0);
	assert_int_equal(keep_unsubscribe(&t.b, 5, span_str(""), span_str("b")), 0);
	for (const char *const *topic = (const char *const[]){ "t", "u", "v", NULL }; *topic; topic++)
		keeper_retain(&t, *topic, "");
	assert_int_equal(keep_done(&t.b, 9, 4), 0);
	assert_int_equal(keep_end_session(&t.b, 4), 0);
	expect_after_restart(
		&t, "session 5 name=bob expiry=4294967295 until=1234567890123 will 3 77 topic=a/b payload=hello "
		    "props=P q2 r0 until=99\n"
		    "message 9 topic=a/b payload=hello props=P q2 r0 until=99 [5 q2 r0 p44 t1 #7 #268435455]\n");
	keeper_done(&t);
}

/* Each waiter counts once; the last one takes the message away, and all its rows. */
static void test_last_one(void **state)
{
	static const uint64_t who[] = { 1, 2, 3 };
	struct keeper t;

	(void)state;
	keeper_init(&t);
	keeper_start(&t);
	for (uint64_t i = 1; i <= 3; i++)
		keeper_session(&t, i, "s");
	keeper_message(&t, 10, "t", "for three", who, 3);
	keeper_message(&t, 11, "t", "for one", who, 1);
	assert_int_equal(keep_done(&t.b, 10, 2), 0);
	assert_int_equal(keep_done(&t.b, 10, 2), 0);
	assert_int_equal(keep_sent(&t.b, 10, 2, 5), 0); /* over is over */
	assert_int_equal(keep_sent(&t.b, 11, 1, 6), 0);
	assert_int_equal(keep_sent(&t.b, 12, 1, 6), 0); /* of nothing */
	assert_int_equal(keep_done(&t.b, 12, 1), 0);
	keeper_submit(&t);
	keeper_reopen(&t);
	expect(&t,
	       "session 1 name=s expiry=60 until=0\nsession 2 name=s expiry=60 until=0\nsession 3 name=s expiry=60 until=0\n"
	       "message 10 topic=t payload=for three q1 r0 until=0 [1 q1 r0 p10 t0] [3 q1 r0 p10 t0]\n"
	       "message 11 topic=t payload=for one q1 r0 until=0 [1 q1 r0 p6 t0]\n");
	keeper_start(&t);
	assert_int_equal(keep_done(&t.b, 10, 3), 0);
	assert_int_equal(keep_done(&t.b, 11, 1), 0);
	assert_int_equal(keep_done(&t.b, 10, 1), 0);
	for (uint64_t i = 1; i <= 3; i++)
		assert_int_equal(keep_end_session(&t.b, i), 0);
	keeper_submit(&t);
	keeper_reopen(&t);
	expect(&t, "");
	keeper_start(&t);
	assert_int_equal(t.found.records, 1); /* the head; nothing else is left */
	keeper_done(&t);
}

/* Who is not there any more has no messages, whatever was forgotten. */
static void test_nobody(void **state)
{
	static const uint64_t who[] = { 1, 2 }, gone[] = { 2 };
	struct keeper t;

	(void)state;
	keeper_init(&t);
	keeper_start(&t);
	keeper_session(&t, 1, "s");
	keeper_message(&t, 10, "t", "both", who, 2);
	keeper_message(&t, 11, "t", "gone", gone, 1);
	assert_int_equal(keep_await(&t.b, 2, 1), 0);
	expect_after_restart(
		&t,
		"session 1 name=s expiry=60 until=0\nmessage 10 topic=t payload=both q1 r0 until=0 [1 q1 r0 p10 t0]\n");
	assert_true(keep_new_id(t.k) == 12);
	assert_int_equal(keep_done(&t.b, 10, 1), 0);
	expect_after_restart(&t, "session 1 name=s expiry=60 until=0\n");
	assert_int_equal(t.found.records, 2);
	keeper_done(&t);
}

static void test_large(void **state)
{
	const struct keep_waiter w = { .session = 1, .qos = 1 };
	size_t n = 3 << 20;
	uint8_t *p = calloc(1, n);
	struct keep_message m = { .topic = span_str("t") };
	struct keeper t;

	(void)state;
	memset(p, 'x', n);
	keeper_init(&t);
	keeper_start(&t);
	keeper_session(&t, 1, "s");
	m.large = blob_new(&(struct span){ p, n }, 1);
	assert_int_equal(keep_put_message(&t.b, 2, &m, &w, 1), 0);
	assert_true(t.b.cap < 65536);
	blob_unref(m.large);
	m.large = NULL;
	m.payload = (struct span){ p, 100000 };
	assert_int_equal(keep_put_message(&t.b, 3, &m, &w, 1), 0);
	expect_after_restart(&t, "session 1 name=s expiry=60 until=0\n"
				 "message 2 topic=t payload=3145728:x..x q0 r0 until=0 [1 q1 r0 p0 t0]\n"
				 "message 3 topic=t payload=100000:x..x q0 r0 until=0 [1 q1 r0 p0 t0]\n");
	keeper_done(&t);
	free(p);
}

/* What is overwritten by less in the same transaction keeps pages that it does not need, and is as good as any. */
static void test_less_in_its_place(void **state)
{
	static const size_t sizes[] = { 100000, 20000, 9000, 10, 50000 };
	char *text = malloc(sizes[0] + 1);
	struct keeper t;

	(void)state;
	memset(text, 'x', sizes[0]);
	keeper_init(&t);
	keeper_start(&t);
	for (size_t from = 0; from < 5; from++)
		for (size_t to = 0; to < 5; to++) {
			char topic[] = { (char)('a' + from), (char)('a' + to), '\0' };

			text[sizes[from]] = '\0';
			keeper_retain(&t, topic, text);
			text[sizes[from]] = 'x';
			text[sizes[to]] = '\0';
			keeper_retain(&t, topic, text);
			text[sizes[to]] = 'x';
		}
	keeper_submit(&t);
	keeper_reopen(&t);
	keeper_start(&t);
	assert_false(t.found.damaged);
	assert_int_equal(t.found.records, 25 + 1); /* and the version */
	keeper_done(&t);
	free(text);
}

static void test_one_owner(void **state)
{
	char text[300];
	struct buf why;
	struct keep *k = NULL;
	struct keeper t;

	(void)state;
	keeper_init(&t);
	keeper_start(&t);
	buf_init_fixed(&why, text, sizeof(text));
	assert_int_equal(keep_open(&t.setup, &k, &why), -EBUSY);
	assert_non_null(strstr(text, "another process"));
	assert_int_equal(keep_look(t.dir, NULL, &k, NULL), -EBUSY);
	keeper_close(&t);
	unlink(t.file);
	assert_int_equal(keep_look(t.dir, NULL, &k, NULL), -ENOENT);
	keeper_done(&t);
}

/* ---- errors ---- */

static void breaks(int err)
{
	static const uint64_t who[] = { 1 };
	struct keeper t;

	keeper_init_fast(&t);
	keeper_start(&t);
	keeper_session(&t, 1, "s");
	keeper_message(&t, 2, "t", "before", who, 1);
	keeper_submit(&t);
	fault_arm(FAULT_SYS, 1, err, false);
	keeper_message(&t, 3, "t", "lost", who, 1);
	assert_true(keep_submit(t.k, &t.b) == 2);
	keeper_wait_state(&t, KEEP_BROKEN);
	fault_arm(FAULT_SYS, 0, 0, false);
	assert_int_equal(t.err, -err);
	assert_true(keep_full(t.k));
	keeper_message(&t, 4, "t", "later", who, 1);
	assert_true(keep_submit(t.k, &t.b) == UINT64_MAX);
	assert_true(keep_committed(t.k) == 1);
	keeper_reopen(&t);
	expect(&t,
	       "session 1 name=s expiry=60 until=0\nmessage 2 topic=t payload=before q1 r0 until=0 [1 q1 r0 p2 t0]\n");
	keeper_done(&t);
}

/*
 * The disk fails once: nothing after it is acknowledged, although it would work. Also when it says that it has no room: the file has its
 * blocks, so it was the fsync.
 */
static void test_broken(void **state)
{
	(void)state;
	breaks(EIO);
	breaks(ENOSPC);
	breaks(EDQUOT);
}

/* What LMDB says before it writes is no failure of the disk. */
static void test_not_broken(void **state)
{
	static const int errors[] = { MDB_MAP_FULL, MDB_TXN_FULL, ENOMEM };
	struct keeper t;

	(void)state;
	keeper_init_fast(&t);
	keeper_start(&t);
	keeper_session(&t, 1, "s");
	keeper_submit(&t);
	for (size_t i = 0; i < 3; i++) {
		fault_arm(FAULT_SYS, 1, errors[i], false);
		keeper_session(&t, 2 + i, "s");
		keeper_submit(&t);
		fault_arm(FAULT_SYS, 0, 0, false);
	}
	keeper_wait_state(&t, KEEP_FINE);
	keeper_done(&t);
}

/* As where a file system promises nothing. */
static void take_blocks(const struct keeper *t)
{
	int fd = open(t->file, O_WRONLY);

	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 << 20, 1 << 20), 0);
	close(fd);
}

/* A disk that is full for a while costs time, and nothing else. */
static void test_full_and_back(void **state)
{
	static const uint64_t who[] = { 1 };
	uint64_t position;
	struct keeper t;

	(void)state;
	keeper_init(&t);
	keeper_start(&t);
	take_blocks(&t);
	keeper_session(&t, 1, "s");
	keeper_message(&t, 2, "t", "before", who, 1);
	fault_arm(FAULT_SYS, 1, ENOSPC, true);
	position = keep_submit(t.k, &t.b);
	keeper_wait_state(&t, KEEP_FULL);
	assert_int_equal(t.err, -ENOSPC);
	assert_true(keep_committed(t.k) < position);
	fault_arm(FAULT_SYS, 0, 0, false);
	keeper_wait_state(&t, KEEP_FINE);
	keeper_submit(&t); /* of nothing: the one before is there now, or will be */
	keeper_session(&t, 3, "s");
	keeper_submit(&t);
	assert_true(keep_committed(t.k) > position);
	keeper_done(&t);
}

/* Up to its limit; what takes away still works, and then there is room again. */
static void test_limit(void **state)
{
	static const uint64_t who[] = { 1 };
	char payload[4000];
	uint64_t id = 2, first = 2;
	struct keeper t;

	(void)state;
	memset(payload, 'p', sizeof(payload) - 1);
	payload[sizeof(payload) - 1] = 0;
	keeper_init(&t);
	t.setup.limit = KEEP_LIMIT_MIN;
	keeper_start(&t);
	keeper_session(&t, 1, "s");
	while (!keep_full(t.k)) {
		for (int i = 0; i < 20; i++)
			keeper_message(&t, id++, "t", payload, who, 1);
		keeper_submit(&t);
		assert_true(id < 10000);
	}
	assert_true(id > 2000);
	while (keep_full(t.k)) {
		assert_true(first < id);
		assert_int_equal(keep_done(&t.b, first++, 1), 0);
		keeper_submit(&t);
	}
	while (first < id)
		assert_int_equal(keep_done(&t.b, first++, 1), 0);
	expect_after_restart(&t, "session 1 name=s expiry=60 until=0\n");
	keeper_done(&t);
}

static void (*told_state)(void *arg, enum keep_state state, int err);
static unsigned times_fine, refused_then;

static void come_when_fine(void *arg, enum keep_state state, int err)
{
	const struct keeper *t = arg;

	times_fine += state == KEEP_FINE;
	refused_then += state == KEEP_FINE && keep_full(t->k);
	told_state(arg, state, err);
}

/* Who hears that it is fine again, and comes at once, is not refused. */
static void test_fine_again(void **state)
{
	static const uint64_t who[] = { 1 };
	static char payload[4000];
	uint64_t id = 2, first = 2;
	struct keeper t;

	(void)state;
	memset(payload, 'p', sizeof(payload) - 1);
	keeper_init(&t);
	t.setup.limit = KEEP_LIMIT_MIN;
	told_state = t.setup.state;
	t.setup.state = come_when_fine;
	times_fine = refused_then = 0;
	keeper_start(&t);
	keeper_session(&t, 1, "s");
	for (int more = 10; more > 0; more -= keep_state(t.k) == KEEP_FULL) {
		for (int i = 0; i < 20; i++)
			keeper_message(&t, id++, "t", payload, who, 1);
		keeper_submit(&t);
		assert_true(id < 10000);
	}
	while (first < id)
		assert_int_equal(keep_done(&t.b, first++, 1), 0);
	keeper_submit(&t);
	keeper_wait_state(&t, KEEP_FINE);
	keeper_done(&t);
	assert_int_equal(times_fine, 1);
	assert_int_equal(refused_then, 0);
}

static void wait_for_room(const struct keeper *t)
{
	for (int i = 0; i < 1000 && keep_full(t->k); i++)
		usleep(10000);
	assert_false(keep_full(t->k));
}

static void (*told)(void *arg, uint64_t position);

static void tell_late(void *arg, uint64_t position)
{
	usleep(50000);
	told(arg, position);
}

/* All that is taken at once, before the writer has seen any of it, fits: else what takes away would wait behind it for ever. */
static void fill_at_once(struct keeper *t)
{
	static const uint64_t who[] = { 1 };
	static char payload[60000];
	uint64_t id = 2;

	memset(payload, 'p', sizeof(payload) - 1);
	told = t->setup.committed;
	t->setup.committed = tell_late;
	keeper_start(t);
	keeper_session(t, 1, "s");
	for (int round = 0; round < 3; round++) {
		uint64_t first = id;

		while (!keep_full(t->k) || id - first < 20) { /* what was taken away is counted little by little */
			wait_for_room(t);
			keeper_message(t, id++, "t", payload, who, 1);
			(void)keep_submit(t->k, &t->b);
			assert_true(id < 10000);
		}
		for (uint64_t i = first; i < id; i++)
			assert_int_equal(keep_done(&t->b, i, 1), 0);
		keeper_submit(t);
		wait_for_room(t);
	}
	expect_after_restart(t, "session 1 name=s expiry=60 until=0\n");
}

static void test_limit_at_once(void **state)
{
	struct keeper t;

	(void)state;
	keeper_init(&t);
	t.setup.limit = KEEP_LIMIT_MIN;
	fill_at_once(&t);
	keeper_done(&t);
}

/* Returns the number after the last message's; they begin with 2. */
static uint64_t fill(struct keeper *t)
{
	static const uint64_t who[] = { 1 };
	char payload[4000];
	uint64_t id = 2;

	memset(payload, 'p', sizeof(payload) - 1);
	payload[sizeof(payload) - 1] = 0;
	keeper_session(t, 1, "s");
	while (!keep_full(t->k)) {
		for (int i = 0; i < 20; i++)
			keeper_message(t, id++, "t", payload, who, 1);
		keeper_submit(t);
		assert_true(id < 10000);
	}
	return id;
}

static void fill_until_full(struct keeper *t)
{
	for (uint64_t id = fill(t); id-- > 2;)
		assert_int_equal(keep_done(&t->b, id, 1), 0);
	keeper_submit(t);
}

/* What a reload may say: a larger file has room at once, and by itself; a smaller one does not grow. */
static void test_change(void **state)
{
	struct keep_counts was, is;
	struct keeper t;

	(void)state;
	keeper_init(&t);
	t.setup.limit = KEEP_LIMIT_MIN;
	keeper_start(&t);
	(void)fill(&t);
	keep_change(t.k, KEEP_LIMIT_MIN * 2, 0, false);
	while (keep_full(t.k))
		usleep(1000);
	fill_until_full(&t);
	keep_count(t.k, &was);
	assert_true(was.file_bytes > KEEP_LIMIT_MIN);

	keep_change(t.k, KEEP_LIMIT_MIN, 0, true);
	fill_until_full(&t);
	keep_count(t.k, &is);
	assert_int_equal(is.file_bytes, was.file_bytes);
	keeper_session(&t, 3, "s");
	assert_int_equal(keep_submit(t.k, &t.b), 0); /* nobody is to wait */
	keep_change(t.k, KEEP_LIMIT_MIN, 0, false);
	keeper_session(&t, 4, "s");
	assert_int_not_equal(keep_submit(t.k, &t.b), 0);
	keeper_done(&t);
}

/* A real file system without room: for root only. */
static void keeper_init_small(struct keeper *t, const char *size)
{
	keeper_init(t);
	if (mount("none", t->dir, "tmpfs", 0, size) == 0)
		return;
	keeper_done(t);
	skip();
}

static void keeper_done_small(struct keeper *t)
{
	keeper_close(t);
	umount2(t->dir, MNT_DETACH);
	keeper_done(t);
}

static void test_small_disk(void **state)
{
	struct keeper t;

	(void)state;
	keeper_init_small(&t, "size=12m");
	keeper_start(&t);
	fill_until_full(&t);
	assert_int_equal(t.state == KEEP_FULL ? t.err : -ENOSPC, -ENOSPC);
	keeper_session(&t, 3, "s");
	keeper_submit(&t);
	keeper_reopen(&t);
	expect(&t, "session 1 name=s expiry=60 until=0\nsession 3 name=s expiry=60 until=0\n");
	keeper_done_small(&t);
}

/* Others take all that the disk has: what the store's first map has is its own. */
static void test_disk_taken(void **state)
{
	static char text[100000];
	char path[sizeof((struct keeper){}.dir) + 16];
	struct keeper t;
	int fd;

	(void)state;
	keeper_init_small(&t, "size=12m");
	keeper_start(&t);
	snprintf(path, sizeof(path), "%s/ballast", t.dir);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	for (off_t at = 0; posix_fallocate(fd, at, 65536) == 0; at += 65536)
		;
	close(fd);
	memset(text, 'x', sizeof(text) - 1);
	for (unsigned i = 0; i < 20; i++) {
		keeper_retain(&t, (char[]){ (char)('a' + i), '\0' }, text);
		keeper_submit(&t);
	}
	assert_int_not_equal(keep_state(t.k), KEEP_BROKEN);
	unlink(path);
	keeper_done_small(&t);
}

/* It begins where there is less than a first map, too. */
static void test_hardly_a_disk(void **state)
{
	struct keeper t;

	(void)state;
	keeper_init_small(&t, "size=2m");
	keeper_start(&t);
	keeper_retain(&t, "t", "x");
	keeper_submit(&t);
	keeper_reopen(&t);
	expect(&t, "retained topic=t payload=x q1 r1 until=0\n");
	keeper_done_small(&t);
}

static void test_small_disk_at_once(void **state)
{
	struct keeper t;

	(void)state;
	keeper_init_small(&t, "size=24m");
	fill_at_once(&t);
	keeper_done_small(&t);
}

/* Each call that we make ourselves, one by one: it opens, or it says why. */
static void test_each_call(void **state)
{
	static const int errors[] = { EIO, ENOSPC };
	char text[300];
	struct keeper t;

	(void)state;
	keeper_init(&t);
	for (size_t e = 0; e < 2; e++)
		for (unsigned long n = 1, calls = 1; n <= calls; n++) {
			struct buf why;
			int r;

			unlink(t.file);
			buf_init_fixed(&why, text, sizeof(text));
			fault_arm(FAULT_SYS, n, errors[e], false);
			r = keep_open(&t.setup, &t.k, &why);
			if (r == 0)
				r = keep_start(t.k, &t.found, &why);
			calls = fault_calls(FAULT_SYS);
			fault_arm(FAULT_SYS, 0, 0, false);
			assert_true(r == 0 || *text);
			keeper_close(&t);
			keeper_start(&t);
			keeper_close(&t);
		}
	keeper_done(&t);
}

static void test_each_allocation(void **state)
{
	static const uint64_t who[] = { 1, 2 };
	struct keeper t;

	(void)state;
	keeper_init(&t);
	keeper_start(&t);
	keeper_session(&t, 1, "a");
	keeper_session(&t, 2, "b");
	keeper_message(&t, 3, "t", "x", who, 2);
	keeper_submit(&t);
	keeper_close(&t);
	keeper_each_allocation(&t);
	keeper_open(&t);
	expect(&t, "session 1 name=a expiry=60 until=0\nsession 2 name=b expiry=60 until=0\n"
		   "message 3 topic=t payload=x q1 r0 until=0 [1 q1 r0 p3 t0] [2 q1 r0 p3 t0]\n");
	keeper_done(&t);
}

enum { RECORDS = 8 };

static int put_one(struct keep_batch *b, unsigned which)
{
	static const struct keep_waiter to[] = { { .session = 1, .qos = 1 }, { .session = 2, .qos = 1 } };
	static uint8_t payload[5000];
	const struct span name = span_str("t");
	const struct keep_message m = { .topic = name, .payload = { payload, sizeof(payload) }, .qos = 1 };

	switch (which) {
	case 0:
		return keep_put_session(b, &(struct keep_session){ .id = 1, .name = name });
	case 1:
		return keep_subscribe(b, &(struct keep_subscription){ .session = 1, .filter = name });
	case 2:
		return keep_unsubscribe(b, 1, (struct span){}, name);
	case 3:
		return keep_end_session(b, 1);
	case 4:
		return keep_await(b, 1, 1);
	case 5:
		return keep_retain(b, &m);
	case 6:
		return keep_put_message(b, 1, &m, to, 1);
	default:
		return keep_put_message(b, 1, &m, to, 2);
	}
}

/* Without memory a batch is as it was: an empty one has nothing to submit, and what is in another one stays. */
static void test_no_memory(void **state)
{
	(void)state;
	for (unsigned which = 0; which < RECORDS; which++)
		for (unsigned before = 0; before < 2; before++) {
			struct keep_batch b = {};
			unsigned failed = 0;
			int r = -ENOMEM;

			if (before)
				assert_int_equal(put_one(&b, 4), 0);
			for (unsigned long n = 1; r < 0; n++) {
				size_t bytes = b.n;

				fault_arm(FAULT_MEM, n, 0, false);
				r = put_one(&b, which);
				fault_arm(FAULT_MEM, 0, 0, false);
				if (r == 0)
					break;
				assert_int_equal(b.n, bytes);
				assert_int_equal(b.records, before);
				failed++;
			}
			assert_true(failed > 0 || before);
			assert_true(b.records > before);
			keep_batch_done(&b);
		}
}

static void put_version(struct keeper *t, uint8_t version)
{
	static const uint8_t key[] = { KEEP_ROW_HEAD };
	uint8_t value[8] = { [4] = version };
	uint32_t sum = crc32c(crc32c(0, key, 1), value + 4, 4);
	size_t at = t->b.n ? t->b.n : KEEP_FIRST;

	memcpy(value, &sum, sizeof(sum));
	assert_int_equal(keep_put_head(&t->b), 0);
	memcpy(keep_op_at(&t->b, at)->value, value, sizeof(value));
	keeper_submit(t);
}

static uint32_t version_of(struct keeper *t)
{
	struct span key, value;
	struct keep_row row;

	keeper_close(t);
	keeper_open(t);
	walk_rows(&t->k->walk);
	t->k->walk.before_n = 0;
	memset(t->k->walk.seen, 0, t->k->walk.last / 8 + 1);
	walk_rows(&t->k->walk);
	assert_int_equal(walk_next(&t->k->walk, &key, &value), 1);
	assert_int_equal(keep_row(key, value, NULL, &row), 0);
	return row.version;
}

/* It is read, and then nobody takes it for an older one: what is written from now on an older guichet would misunderstand. */
static void test_older(void **state)
{
	struct keeper t;

	(void)state;
	keeper_init(&t);
	keeper_start(&t);
	keeper_session(&t, 1, "a");
	keeper_retain(&t, "t", "1");
	put_version(&t, 1);
	assert_int_equal(version_of(&t), 1);
	keeper_reopen(&t);
	expect(&t, "session 1 name=a expiry=60 until=0\nretained topic=t payload=1 q1 r1 until=0\n");
	keeper_start(&t);
	assert_false(t.found.damaged);
	assert_int_equal(version_of(&t), KEEP_VERSION);
	keeper_done(&t);
}

static void test_newer(void **state)
{
	struct keep *k = NULL;
	struct keeper t;
	char text[1000];
	struct buf why;

	(void)state;
	keeper_init(&t);
	keeper_start(&t);
	put_version(&t, KEEP_VERSION + 1);
	keeper_close(&t);
	buf_init_fixed(&why, text, sizeof(text));
	assert_int_equal(keep_open(&t.setup, &k, &why), -EPROTONOSUPPORT);
	assert_non_null(strstr(text, "a newer guichet has written this store"));
	assert_null(strstr(text, strerror(EPROTONOSUPPORT)));
	keeper_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_kinds),
		cmocka_unit_test(test_last_one),
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_less_in_its_place),
		cmocka_unit_test(test_one_owner),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_not_broken),
		cmocka_unit_test(test_full_and_back),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_fine_again),
		cmocka_unit_test(test_limit_at_once),
		cmocka_unit_test(test_change),
		cmocka_unit_test(test_small_disk),
		cmocka_unit_test(test_disk_taken),
		cmocka_unit_test(test_hardly_a_disk),
		cmocka_unit_test(test_small_disk_at_once),
		cmocka_unit_test(test_each_call),
		cmocka_unit_test(test_each_allocation),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_older),
		cmocka_unit_test(test_newer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
