/* test_mqtt_link.c - `guichet pub` and `guichet sub` without a broker and without a network: the memory driver plays both. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "client/mqtt_pub.h"
#include "client/mqtt_sub.h"
#include "drive/mem.h"
#include "support/world.h"

struct stage {
	struct memdrive *w;
	struct memconn *self, *terminal;
	struct addr_text to;
	struct mqtt_setup setup;
	struct mqtt_outcome out;
};

static char said[4096];

static void say(const char *text)
{
	snprintf(said, sizeof(said), "%s", text);
}

static uint64_t wall(void)
{
	return 0;
}

static int get_random(void *p, size_t n)
{
	memset(p, 7, n);
	return 0;
}

static void set_up(struct stage *s, uint8_t version)
{
	*s = (struct stage){};
	said[0] = '\0';
	(void)!addr_parse("tcp:1883", &s->to, NULL);
	s->setup = (struct mqtt_setup){ .dial = { .to = &s->to },
					.connect = { .version = version, .clean = true, .keep_alive = 60 },
					.stdio = true,
					.say = say,
					.wall = wall,
					.random = get_random };
	mqtt_props_init(&s->setup.connect.props);
	mqtt_props_init(&s->setup.connect.will_props);
	mqtt_props_init(&s->setup.disconnect);
	s->out.setup = &s->setup;
}

static int try_open(struct stage *s, const struct proto *p, const void *more)
{
	struct buf why;
	int err;

	buf_init(&why, 1024);
	s->out.more = more;
	err = dial_init(&s->out.dial, &s->setup.dial, &why);
	buf_done(&why);
	if (err == 0)
		err = memdrive_new(&(struct mem_setup){ .proto = p, .options = &s->out }, &s->w, NULL);
	if (err == 0)
		s->self = memconn_open(s->w, NULL);
	if (!s->self)
		return -ENOMEM;
	s->terminal = memdrive_child(s->w, 0);
	return 0;
}

static void begin(struct stage *s, const struct proto *p, const void *more)
{
	assert_int_equal(try_open(s, p, more), 0);
	assert_non_null(s->terminal);
	assert_int_equal(memconn_kind(s->terminal), CHILD_STDIO);
}

static void end(struct stage *s)
{
	memdrive_free(&s->w);
	dial_done(&s->out.dial);
}

static struct memconn *server(struct stage *s, size_t i)
{
	return memdrive_child(s->w, i + 1);
}

#define SENDS(conn, bytes) memconn_send(conn, bytes, sizeof(bytes) - 1, 1)
#define CONNECT_311 "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"
#define DISCONNECT "\xe0\x00"

static struct mqtt_pub lines_of(uint8_t qos)
{
	struct mqtt_pub p = {
		.message = { .qos = qos, .topic = span_str("t") }, .lines = true, .window = 2, .repeat = 1
	};

	mqtt_props_init(&p.message.props);
	return p;
}

static void test_lines(void **state)
{
	struct mqtt_pub p = lines_of(0);
	struct stage s;

	(void)state;
	set_up(&s, MQTT_311);
	begin(&s, &mqtt_pub_proto, &p);
	memconn_sends(s.terminal, "one\ntwo\n");
	assert_said(server(&s, 0), CONNECT_311);
	SENDS(server(&s, 0), "\x20\x02\x00\x00");
	assert_said(server(&s, 0), "\x30\x06\x00\x01tone\x30\x06\x00\x01ttwo");
	memconn_sends(s.terminal, "end");
	memconn_eof(s.terminal);
	assert_said(server(&s, 0), "\x30\x06\x00\x01t"
				   "end" DISCONNECT);
	assert_true(memconn_fin(server(&s, 0)));
	assert_int_equal(memconn_end(s.self), MEM_OPEN); /* until the broker has read it all */
	memconn_eof(server(&s, 0));
	assert_int_equal(memconn_end(s.self), MEM_CLOSED);
	assert_int_equal(s.out.status, 0);
	end(&s);
}

static void test_gone_before_the_answer(void **state)
{
	struct mqtt_pub p = lines_of(0);
	struct stage s;

	(void)state;
	set_up(&s, MQTT_311);
	begin(&s, &mqtt_pub_proto, &p);
	memconn_reset(server(&s, 0));
	assert_non_null(strstr(said, "It ended the connection before it answered. If it speaks TLS there"));
	assert_int_equal(s.out.status, 1);
	end(&s);
}

/* Two may wait; a third line is not even read. After a loss what was confirmed by half goes on from there. */
static void test_again(void **state)
{
	struct mqtt_pub p = lines_of(2);
	struct stage s;

	(void)state;
	set_up(&s, MQTT_311);
	begin(&s, &mqtt_pub_proto, &p);
	SENDS(server(&s, 0), "\x20\x02\x00\x00");
	memconn_take(server(&s, 0), SIZE_MAX);
	memconn_sends(s.terminal, "a\nb\nc\n");
	assert_said(server(&s, 0), "\x34\x06\x00\x01t\x00\x01"
				   "a\x34\x06\x00\x01t\x00\x02"
				   "b");
	SENDS(server(&s, 0), "\x50\x02\x00\x01");
	assert_said(server(&s, 0), "\x62\x02\x00\x01");
	memconn_reset(server(&s, 0));
	assert_string_equal(said, "Warning: The connection was lost, trying again.");
	assert_null(server(&s, 1));
	memdrive_advance(s.w, SEC + MSEC);
	assert_non_null(server(&s, 1));
	assert_said(server(&s, 1), CONNECT_311);
	SENDS(server(&s, 1), "\x20\x02\x01\x00");
	assert_said(server(&s, 1), "\x62\x02\x00\x01\x3c\x06\x00\x01t\x00\x02"
				   "b");
	SENDS(server(&s, 1), "\x70\x02\x00\x01");
	assert_said(server(&s, 1), "\x34\x06\x00\x01t\x00\x03"
				   "c");
	memconn_eof(s.terminal);
	SENDS(server(&s, 1), "\x50\x02\x00\x02\x50\x02\x00\x03\x70\x02\x00\x02\x70\x02\x00\x03");
	assert_said(server(&s, 1), "\x62\x02\x00\x02\x62\x02\x00\x03" DISCONNECT);
	memconn_eof(server(&s, 1));
	assert_int_equal(memconn_end(s.self), MEM_CLOSED);
	assert_int_equal(s.out.status, 0);
	end(&s);
}

static void test_refused(void **state)
{
	struct mqtt_pub p = lines_of(0);
	struct stage s;

	(void)state;
	set_up(&s, MQTT_5);
	begin(&s, &mqtt_pub_proto, &p);
	SENDS(server(&s, 0), "\x20\x03\x00\x87\x00");
	assert_int_equal(s.out.status, 0x87);
	assert_string_equal(said, "Connection error: Not authorized");
	assert_int_equal(memconn_end(s.self), MEM_CLOSED);
	end(&s);
}

static void test_never_there(void **state)
{
	struct mqtt_pub p = lines_of(0);
	struct stage s;

	(void)state;
	set_up(&s, MQTT_311);
	begin(&s, &mqtt_pub_proto, &p);
	memdrive_advance(s.w, 31 * SEC); /* and no CONNACK */
	assert_int_equal(s.out.status, MQTT_EXIT_FAILED);
	assert_int_equal(memconn_end(s.self), MEM_CLOSED);
	end(&s);
}

/* ---- sub ---- */

static const char *const topics[] = { "t/#" };

static struct mqtt_sub_setup listen_to(uint8_t qos)
{
	struct mqtt_sub_setup s = {
		.topics = topics, .topics_n = 1, .qos = qos, .chance = 10000, .style.verbose = true
	};

	mqtt_props_init(&s.subscribe_props);
	mqtt_props_init(&s.unsubscribe_props);
	return s;
}

/* Of QoS 2, nothing is printed twice, also when the connection was another one in between. */
static void test_exactly_once(void **state)
{
	struct mqtt_sub_setup how = listen_to(2);
	struct stage s;

	(void)state;
	set_up(&s, MQTT_311);
	begin(&s, &mqtt_sub_proto, &how);
	SENDS(server(&s, 0), "\x20\x02\x00\x00");
	assert_said(server(&s, 0), CONNECT_311 "\x82\x08\x00\x01\x00\x03t/#\x02");
	SENDS(server(&s, 0), "\x90\x03\x00\x01\x02\x34\x08\x00\x03t/a\x00\x09x");
	assert_said(s.terminal, "t/a x\n");
	assert_said(server(&s, 0), "\x50\x02\x00\x09");
	memconn_reset(server(&s, 0));
	memdrive_advance(s.w, SEC + MSEC);
	SENDS(server(&s, 1), "\x20\x02\x01\x00\x3c\x08\x00\x03t/a\x00\x09x");
	assert_said(s.terminal, "");
	memconn_take(server(&s, 1), SIZE_MAX);
	SENDS(server(&s, 1), "\x62\x02\x00\x09\x34\x08\x00\x03t/a\x00\x09y");
	assert_said(s.terminal, "t/a y\n");
	assert_said(server(&s, 1), "\x70\x02\x00\x09\x50\x02\x00\x09");
	end(&s);
}

/* The last one is completed before we go, and what comes after it is not confirmed. */
static void test_count(void **state)
{
	struct mqtt_sub_setup how = listen_to(2);
	struct stage s;

	(void)state;
	how.count = 1;
	set_up(&s, MQTT_311);
	begin(&s, &mqtt_sub_proto, &how);
	SENDS(server(&s, 0), "\x20\x02\x00\x00\x90\x03\x00\x01\x02");
	memconn_take(server(&s, 0), SIZE_MAX);
	SENDS(server(&s, 0), "\x34\x08\x00\x03t/a\x00\x01x\x32\x08\x00\x03t/a\x00\x02y");
	assert_said(s.terminal, "t/a x\n");
	assert_said(server(&s, 0), "\x50\x02\x00\x01");
	SENDS(server(&s, 0), "\x62\x02\x00\x01");
	assert_said(server(&s, 0), "\x70\x02\x00\x01" DISCONNECT);
	memconn_eof(server(&s, 0));
	assert_int_equal(memconn_end(s.self), MEM_CLOSED);
	end(&s);
}

static void test_keep_alive(void **state)
{
	struct mqtt_sub_setup how = listen_to(0);
	struct stage s;

	(void)state;
	set_up(&s, MQTT_311);
	begin(&s, &mqtt_sub_proto, &how);
	SENDS(server(&s, 0), "\x20\x02\x00\x00\x90\x03\x00\x01\x00");
	memconn_take(server(&s, 0), SIZE_MAX);
	memdrive_advance(s.w, 61 * SEC);
	assert_said(server(&s, 0), "\xc0\x00");
	SENDS(server(&s, 0), "\xd0\x00");
	memdrive_advance(s.w, 61 * SEC);
	assert_said(server(&s, 0), "\xc0\x00");
	memdrive_advance(s.w, 63 * SEC); /* nothing came back: it is gone, and dialled again */
	assert_non_null(server(&s, 1));
	end(&s);
}

static void test_denied(void **state)
{
	struct mqtt_sub_setup how = listen_to(0);
	struct stage s;

	(void)state;
	set_up(&s, MQTT_311);
	begin(&s, &mqtt_sub_proto, &how);
	SENDS(server(&s, 0), "\x20\x02\x00\x00\x90\x03\x00\x01\x80");
	assert_string_equal(said, "All subscription requests were denied.");
	memconn_eof(server(&s, 0));
	assert_int_equal(s.out.status, 0x80);
	end(&s);
}

/* Who reads our output is slow: the broker waits, our memory does not grow. */
static void test_slow_reader(void **state)
{
	struct mqtt_sub_setup how = listen_to(0);
	uint8_t *bulk = mem_alloc(400000);
	struct stage s;

	(void)state;
	assert_non_null(bulk);
	for (size_t i = 0; i < 400000; i += 8)
		memcpy(bulk + i, "\x30\x06\x00\x03t/aZ", 8);
	set_up(&s, MQTT_311);
	begin(&s, &mqtt_sub_proto, &how);
	SENDS(server(&s, 0), "\x20\x02\x00\x00\x90\x03\x00\x01\x00");
	memconn_window(s.terminal, 0);
	memconn_send(server(&s, 0), bulk, 400000, 0);
	assert_true(memconn_unread(server(&s, 0)) > 100000);
	assert_true(memconn_peak(s.terminal) <= 70000);
	memconn_window(s.terminal, MEM_NO_LIMIT);
	assert_int_equal(memconn_out(s.terminal).n, 50000 * 6);
	mem_free(bulk);
	end(&s);
}

/* What came back from the broker is nonsense. */
static void test_nonsense(void **state)
{
	struct mqtt_sub_setup how = listen_to(0);
	struct stage s;

	(void)state;
	set_up(&s, MQTT_311);
	begin(&s, &mqtt_sub_proto, &how);
	SENDS(server(&s, 0), "HTTP/1.1 400 Bad Request\r\n");
	assert_int_equal(s.out.status, MQTT_EXIT_PROTOCOL);
	assert_int_equal(memconn_end(s.self), MEM_CLOSED);
	end(&s);
}

/* ---- failing allocations ---- */

static void scene_pub(void *arg)
{
	struct mqtt_pub p = lines_of(1);
	struct stage s;

	(void)arg;
	set_up(&s, MQTT_31);
	if (try_open(&s, &mqtt_pub_proto, &p) == 0 && s.terminal && server(&s, 0)) {
		SENDS(server(&s, 0), "\x20\x02\x00\x00");
		memconn_sends(s.terminal, "a\nb\nc");
		memconn_eof(s.terminal);
		SENDS(server(&s, 0), "\x40\x02\x00\x01");
		memconn_reset(server(&s, 0));
		memdrive_advance(s.w, 2 * SEC);
		if (server(&s, 1))
			SENDS(server(&s, 1), "\x20\x02\x00\x00\x40\x02\x00\x02\x40\x02\x00\x03");
	}
	end(&s);
}

static void scene_sub(void *arg)
{
	struct mqtt_sub_setup how = listen_to(2);
	struct stage s;

	(void)arg;
	how.style.format = "%j %x";
	set_up(&s, MQTT_5);
	mqtt_props_set(&s.setup.connect.props, MQTT_P_ALIAS_MAX, 4);
	if (try_open(&s, &mqtt_sub_proto, &how) == 0 && s.terminal && server(&s, 0)) {
		SENDS(server(&s, 0), "\x20\x03\x00\x00\x00\x90\x04\x00\x01\x00\x02");
		SENDS(server(&s, 0),
		      "\x34\x0c\x00\x03t/a\x00\x09\x03\x23\x00\x01x\x34\x09\x00\x00\x00\x0a\x03\x23\x00\x01y");
		memconn_eof(server(&s, 0));
		memdrive_advance(s.w, 2 * SEC);
	}
	end(&s);
}

static void test_failing_allocations(void **state)
{
	(void)state;
	fail_each_allocation(scene_pub, NULL);
	fail_each_allocation(scene_sub, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),       cmocka_unit_test(test_gone_before_the_answer),
		cmocka_unit_test(test_again),       cmocka_unit_test(test_refused),
		cmocka_unit_test(test_never_there), cmocka_unit_test(test_exactly_once),
		cmocka_unit_test(test_count),       cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_denied),      cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_nonsense),    cmocka_unit_test(test_failing_allocations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
