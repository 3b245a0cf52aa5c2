/* test_protos.c - the registry: every protocol is sound, and what would make one unsound is found. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/protos.h"

static enum verdict no_step(void *self, const struct ev *ev, struct io *io)
{
	(void)self;
	(void)ev;
	(void)io;
	return V_GO;
}

static int no_open(struct svc *svc, struct buf *ret_why)
{
	(void)svc;
	(void)ret_why;
	return 0;
}

static void no_close(struct svc *svc)
{
	(void)svc;
}

static void test_all_are_sound(void **state)
{
	BUF_AUTO struct buf why;

	(void)state;
	buf_init(&why, 256);
	if (protos_check(&why) < 0)
		fail_msg("%s", buf_str(&why));
}

static void test_find(void **state)
{
	(void)state;
	assert_ptr_equal(protos_find("echo"), &echo_proto);
	assert_ptr_equal(protos_find("time"), &time_proto);
	assert_null(protos_find("Echo"));
	assert_null(protos_find(""));
}

static void test_faults(void **state)
{
	static const struct proto_counter twice[] = { { "a", "x" }, { "b", "x" }, { "a", "x" }, {} };
	static const struct proto_counter spaced[] = { { "a b", "x" }, {} }, bare[] = { { "a", NULL }, {} };
	static const struct proto_counter many[] = {
		{ "a", "x" }, { "b", "x" }, { "c", "x" }, { "d", "x" }, { "e", "x" }, { "f", "x" },
		{ "g", "x" }, { "h", "x" }, { "i", "x" }, { "j", "x" }, { "k", "x" }, { "l", "x" },
		{ "m", "x" }, { "n", "x" }, { "o", "x" }, { "p", "x" }, { "q", "x" }, {}
	};
	static const struct proto_counter most[] = { { "a", "x" },
						     { "b", "x" },
						     { "c", "x" },
						     { "d", "x" },
						     { "e", "x" },
						     { "f", "x" },
						     { "g", "x" },
						     { "h2", "x" },
						     { "i", "x" },
						     { "j", "x" },
						     { "k", "x" },
						     { "l", "x" },
						     { "m", "x" },
						     { "n", "x" },
						     { "o", "x" },
						     { "p", "x" },
						     {} };
	const struct proto sound = {
		.abi = PROTO_ABI,
		.name = "p",
		.summary = "does nothing",
		.flags = P_STREAM,
		.step = no_step,
		.counters = most,
	};
	struct {
		struct proto p;
		const char *why; /* NULL: sound */
	} rows[] = {
		{ sound, NULL },
		{ sound, "was built for another version" },
		{ sound, "needs a name" },
		{ sound, "needs a name" },
		{ sound, "needs a summary" },
		{ sound, "needs a summary" },
		{ sound, "needs a step" },
		{ sound, "needs P_STREAM or P_DGRAM" },
		{ sound, "has a flag that only P_DGRAM" },
		{ sound, "has a flag that only P_DGRAM" },
		{ sound, "needs P_SMALL or P_PEERS" },
		{ sound, "needs P_SMALL or P_PEERS" },
		{ sound, NULL },
		{ sound, NULL },
		{ sound, "needs P_SHARED and the sentence" },
		{ sound, "needs P_SHARED and the sentence" },
		{ sound, NULL },
		{ sound, "needs a shard()" },
		{ sound, "needs a svc_open()" },
		{ sound, NULL },
		{ sound, "needs counters" },
		{ sound, "needs counters" },
		{ sound, "needs counters" },
		{ sound, "needs counters" },
	};
	int i = 1;

	(void)state;
	rows[i++].p.abi++;
	rows[i++].p.name = NULL;
	rows[i++].p.name = "2p";
	rows[i++].p.summary = NULL;
	rows[i++].p.summary = "two\nlines";
	rows[i++].p.step = NULL;
	rows[i++].p.flags = P_OFF;
	rows[i++].p.flags = P_STREAM | P_SMALL;
	rows[i++].p.flags = P_STREAM | P_PEERS;
	rows[i++].p.flags = P_DGRAM;
	rows[i++].p.flags = P_DGRAM | P_SMALL | P_PEERS;
	rows[i++].p.flags = P_DGRAM | P_SMALL;
	rows[i++].p.flags = P_STREAM | P_DGRAM | P_PEERS;
	rows[i++].p.flags = P_STREAM | P_SHARED;
	rows[i++].p.needs = "for no reason";
	rows[i].p.flags = P_STREAM | P_SHARED;
	rows[i++].p.needs = "its clients meet";
	rows[i++].p.shard_size = 1;
	rows[i++].p.svc_close = no_close;
	rows[i].p.svc_open = no_open;
	rows[i++].p.svc_close = no_close;
	rows[i++].p.counters = twice;
	rows[i++].p.counters = spaced;
	rows[i++].p.counters = bare;
	rows[i++].p.counters = many;
	assert_int_equal(i, sizeof(rows) / sizeof(rows[0]));
	for (i = 0; i < (int)(sizeof(rows) / sizeof(rows[0])); i++) {
		BUF_AUTO struct buf why;

		buf_init(&why, 256);
		assert_int_equal(protos_check_one(&rows[i].p, &why), rows[i].why ? -EINVAL : 0);
		if (rows[i].why && !strstr(buf_str(&why), rows[i].why))
			fail_msg("row %d: %s", i, buf_str(&why));
	}
}

/* What is right by itself and wrong beside another. */
static void test_together(void **state)
{
	const struct proto a = {
		.abi = PROTO_ABI, .name = "a", .summary = "is a", .flags = P_STREAM, .port = 7, .step = no_step
	};
	struct {
		const char *name;
		unsigned flags;
		uint16_t port;
		const char *why; /* NULL: they go together */
	} rows[] = {
		{ "b", P_STREAM, 8, NULL },
		{ "b", P_STREAM, 0, NULL },
		{ "b", P_STREAM, 7, "protocol b has the port of a" },
		{ "b", P_STREAM | P_OFF, 7, NULL },
		{ "b", P_DGRAM | P_SMALL, 7, NULL },
		{ "a", P_STREAM, 8, "protocol a is not sorted by name" },
		{ "0", P_STREAM, 8, "needs a name" },
		{ "c", P_STREAM, 0, "protocol d needs a port or P_OFF, or else c does" },
	};
	struct proto b = a, d = a;

	(void)state;
	d.name = "d";
	d.port = 0;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct proto *v[] = { &a, &b, rows[i].name[0] == 'c' ? &d : NULL, NULL };
		BUF_AUTO struct buf why;

		buf_init(&why, 256);
		b.name = rows[i].name;
		b.flags = rows[i].flags;
		b.port = rows[i].port;
		assert_int_equal(protos_check_all(v, &why), rows[i].why ? -EINVAL : 0);
		if (rows[i].why && !strstr(buf_str(&why), rows[i].why))
			fail_msg("row %zu: %s", i, buf_str(&why));
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_are_sound),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
