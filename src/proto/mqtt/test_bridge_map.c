/* test_bridge_map.c - lines of topics, and what a name is called on the other side. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"
#include "proto/mqtt/bridge_map.h"

static const char lines[] = "sensors/# both 1 here/ there/\n"
			    "\n"
			    "  up/+ out 2\n"
			    "down # in\n" /* wrong, and told */
			    "# in 0 all/ \"\"\n"
			    "\"\" out 0 one two\n";

static void a_line_that_is_wrong_is_told(void **state)
{
	static const struct {
		const char *text, *why;
	} wrong[] = {
		{ "a aside", "1: \"aside\" is none of in, out, both" },
		{ "a out 3", "1: \"3\" is no QoS: 0, 1 or 2" },
		{ "a out 10", "1: \"10\" is no QoS: 0, 1 or 2" },
		{ "a out 1 +/", "1: \"+/\" has a + or #, which a prefix cannot have" },
		{ "a out 1 x #", "1: \"#\" has a + or #, which a prefix cannot have" },
		{ "a/#/b", "1: \"a/#/b\" is no topic filter" },
		{ "#/ out", "1: \"#/\" is no topic filter" },
		{ "# out 0 a", "1: \"a#\" is no topic filter" },
		{ "# in 0 caf\xe9/", "1: \"caf\\xe9/#\" is no topic filter" },
		{ "\"\" out", "1: \"\" is no topic filter" },
		{ "$SYS/# in", "1: what is below $SYS is each server's own" },
		{ "guichet/# out",
		  "1: what is below guichet/ is what the server itself tells; it cannot go over a bridge" },
		{ "# out 1 guichet/",
		  "1: what is below guichet/ is what the server itself tells; it cannot go over a bridge" },
		{ "# both 1 \"\" guichet/",
		  "1: what is below guichet/ is what the server itself tells; it cannot go over a bridge" },
		{ "$share/g/a in", "1: \"$share/g/a\" is no topic filter" },
		{ "a out 1 b c d",
		  "1: more than five words in a line: PATTERN in|out|both QOS LOCAL-PREFIX REMOTE-PREFIX" },
		{ "a \"b", "1: a quote is not closed, or a backslash stands at the end" },
		{ "a up\nb\nc down", "1: \"up\" is none of in, out, both\n3: \"down\" is none of in, out, both" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		BUF_AUTO struct buf why = BUF_INIT(1024);
		struct bridge_map map;

		assert_int_equal(bridge_map_parse(wrong[i].text, &map, &why), -EINVAL);
		assert_string_equal(buf_str(&why), wrong[i].why);
		bridge_map_done(&map);
	}
}

static void check(const struct bridge_map *m, enum bridge_way way, const char *topic, const char *want)
{
	BUF_AUTO struct buf out = BUF_INIT(1024);
	int r = bridge_map_topic(m, way, span_str(topic), &out);

	assert_int_equal(r, want ? 0 : -ENOENT);
	if (want)
		assert_string_equal(buf_str(&out), want);
}

static void names_are_those_of_the_other_side(void **state)
{
	BUF_AUTO struct buf why = BUF_INIT(1024);
	struct bridge_map m;

	(void)state;
	assert_int_equal(bridge_map_parse(lines, &m, &why), -EINVAL);
	assert_string_equal(buf_str(&why), "4: \"#\" is none of in, out, both");
	assert_int_equal(m.n, 4);
	check(&m, BRIDGE_OUT, "here/sensors/a/b", "there/sensors/a/b");
	check(&m, BRIDGE_OUT, "here/sensors", "there/sensors");
	check(&m, BRIDGE_OUT, "sensors/a", NULL);
	check(&m, BRIDGE_OUT, "here/sensors2", NULL);
	check(&m, BRIDGE_OUT, "up/x", "up/x");
	check(&m, BRIDGE_OUT, "up/x/y", NULL);
	check(&m, BRIDGE_OUT, "one", "two");
	check(&m, BRIDGE_OUT, "ones", NULL);
	check(&m, BRIDGE_IN, "there/sensors/a", "here/sensors/a"); /* the first line, though the third fits too */
	check(&m, BRIDGE_IN, "up/x", "all/up/x");
	check(&m, BRIDGE_IN, "$SYS/x", NULL); /* a # at the start is not for these */
	bridge_map_done(&m);
}

static void parse(void *arg)
{
	BUF_AUTO struct buf why = BUF_INIT(1024), out = BUF_INIT(1024);
	struct bridge_map m;
	int r = bridge_map_parse(lines, &m, &why);

	(void)arg;
	if (r == -EINVAL)
		(void)!bridge_map_topic(&m, BRIDGE_OUT, span_str("here/sensors/a"), &out);
	else
		assert_int_equal(r, -ENOMEM);
	bridge_map_done(&m);
}

static void memory_may_be_out(void **state)
{
	(void)state;
	parse(NULL);
#ifdef GUICHET_FAULTS
	for (unsigned long n = 1, calls = 1; n <= calls; n++) {
		fault_arm(FAULT_MEM, n, 0, false);
		parse(NULL);
		calls = fault_calls(FAULT_MEM);
		fault_arm(FAULT_MEM, 0, 0, false);
	}
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_that_is_wrong_is_told),
		cmocka_unit_test(names_are_those_of_the_other_side),
		cmocka_unit_test(memory_may_be_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
