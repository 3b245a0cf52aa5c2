/* test_bridge.c - a bridge over the memory driver: what it says to the other broker, in packets, and what becomes of that here. */
#include <errno.h>

#include "base/fault.h"
#include "conf/option.h"
#include "proto/mqtt/bridge.h"
#include "proto/mqtt/test_talk.h"

static struct world w;
static bool traced;

/* ---- set-up ---- */

static int set(void *values, const char *const *options)
{
	int r = 0;

	for (; *options && r == 0; options += 2)
		r = option_set(&bridge_table, values, options[0], options[1], NULL);
	return r;
}

/* Options of the broker with one bridge; NULL: memory is out. */
static void *make_options(const char *const *options)
{
	const struct option *row = option_find(mqtt_proto.options, "bridge");
	struct option_part *part;
	void *values = NULL;

	if (option_values_new(mqtt_proto.options, &values) < 0)
		return NULL;
	if (option_set(mqtt_proto.options, values, "sys_interval", "0", NULL) == 0 &&
	    option_part_add(row, values, "far", &part) == 0 && set(part->values, options) == 0)
		return values;
	option_values_free(mqtt_proto.options, &values);
	return NULL;
}

static bool begin_with(const char *const *options)
{
	w = (struct world){ .proto = &mqtt_proto, .options = make_options(options) };
	return w.options && memdrive_new(&(struct mem_setup){ .proto = &mqtt_proto,
							      .options = w.options,
							      .linger = SEC,
							      .trace = traced },
					 &w.drive, NULL) == 0;
}

#define BEGIN(...) \
	assert_true(begin_with( \
		(const char *const[]){ "to", "tcp:far.example:1883", __VA_ARGS__ __VA_OPT__(, ) NULL, NULL }))

static int end(void **state)
{
	(void)state;
	world_close(&w);
	return 0;
}

/* ---- the other broker ---- */

static struct memconn *far_end(size_t i)
{
	struct memconn *c = memdrive_child(w.drive, i);

	assert_non_null(c);
	return c;
}

/* The next packet that it got. Dies with the next call. */
static struct mqtt_frame far_gets(struct memconn *c, unsigned version, unsigned type)
{
	static uint8_t bytes[4096];
	struct span out = memconn_out(c);
	const char *why = NULL;
	struct mqtt_frame f;

	assert_in_range(out.n, 1, sizeof(bytes));
	memcpy(bytes, out.p, out.n);
	out.p = bytes;
	assert_int_equal(
		mqtt_frame((struct mqtt_form){ (uint8_t)version, MQTT_FROM_CLIENT }, out, sizeof(bytes), &f, &why), 1);
	assert_int_equal(f.type, type);
	memconn_take(c, f.total);
	return f;
}

static struct mqtt_connect far_greeted(struct memconn *c)
{
	struct mqtt_frame f = far_gets(c, MQTT_UNKNOWN, MQTT_CONNECT);
	const char *why = NULL;
	struct mqtt_connect p;

	assert_int_equal(mqtt_parse_connect(&f, &p, &why), 0);
	return p;
}

static void far_says(struct memconn *c, const char *bytes, size_t n)
{
	memconn_send(c, bytes, n, 1);
}

#define SAYS(c, text) far_says(c, text, sizeof(text) - 1)

/* CONNACK, and the state that follows it. */
static void far_takes(struct memconn *c)
{
	SAYS(c, "\x20\x03\x00\x00\x00");
}

static struct mqtt_publish far_hears(struct memconn *c, unsigned version, const char *topic, const char *payload)
{
	struct mqtt_frame f = far_gets(c, version, MQTT_PUBLISH);
	const char *why = NULL;
	struct mqtt_publish p;

	assert_int_equal(mqtt_parse_publish(&f, &p, &why), 0);
	assert_true(span_is(p.topic, topic));
	assert_true(span_is(p.payload, payload));
	return p;
}

/* ---- what it says ---- */

static void it_says_who_it_is(void **state)
{
	struct mqtt_connect p;
	struct memconn *c;

	(void)state;
	BEGIN("topics", "a", "user", "me", "keepalive", "20");
	c = far_end(0);
	assert_string_equal(memconn_address(c), "tcp:far.example:1883");
	p = far_greeted(c);
	assert_int_equal(p.version, MQTT_5);
	assert_false(p.clean);
	assert_true(span_is(p.client_id, "mqtt.far"));
	assert_true(span_is(p.user, "me"));
	assert_false(p.has_password);
	assert_int_equal(p.keep_alive, 20);
	assert_int_equal(p.props.session_expiry, UINT32_MAX);
	assert_true(p.will && p.will_retain);
	assert_true(span_is(p.will_topic, "$SYS/broker/connection/mqtt.far/state"));
	assert_true(span_is(p.will_payload, "0"));
}

static void it_subscribes_and_maps(void **state)
{
	struct memconn *c, *us;
	struct mqtt_publish p;
	struct mqtt_frame f;
	const char *why = NULL;
	struct mqtt_list l;
	struct mqtt_sub sub;

	(void)state;
	BEGIN("topics", "s/# both 1 here/ there/\nup out 2");
	c = far_end(0);
	far_greeted(c);
	far_takes(c);
	f = far_gets(c, MQTT_5, MQTT_SUBSCRIBE);
	assert_int_equal(mqtt_parse_list(&f, &l, &why), 0);
	assert_true(mqtt_sub_next(&l.list, &sub));
	assert_true(span_is(sub.filter, "there/s/#"));
	assert_true(sub.no_local && sub.as_published && sub.qos == 1);
	assert_false(mqtt_sub_next(&l.list, &sub));
	p = far_hears(c, MQTT_5, "$SYS/broker/connection/mqtt.far/state", "1");
	assert_true(p.retain);
	SAYS(c, "\x90\x04\x00\x01\x00\x01");
	us = talk_enter(&w, "us");
	talk_publish(us, &(struct say){ .topic = "here/s/x", .payload = "out", .qos = 2, .id = 9, .retain = true });
	p = far_hears(c, MQTT_5, "there/s/x", "out");
	assert_true(p.retain && p.qos == 1);
	far_says(c, (const char[]){ 0x40, 2, (char)(p.id >> 8), (char)p.id }, 4);
	SAYS(c, "\x33\x10\x00\x09there/s/y\x00\x07\x00in");
	f = far_gets(c, MQTT_5, MQTT_PUBACK);
	SAYS(c, "\x30\x07\x00\x02zz\x00no"); /* which nobody has asked for */
	assert_int_equal(memconn_out(c).n, 0);
	assert_int_equal(memconn_end(c), MEM_OPEN);
}

/* ---- the trace ---- */

static void noted(const char **at, const char *note)
{
	const char *line = strstr(*at, note);

	if (!line)
		fail_msg("no \"%s\" in:\n%s", note, *at);
	*at = line + strlen(note);
}

/* In the words of the wire: its topics are those of the other side. */
static void its_trace_is_what_it_says(void **state)
{
	struct memconn *c, *us;
	const char *at;

	(void)state;
	traced = true;
	BEGIN("topics", "s/# both 1 here/ there/", "user", "me");
	traced = false;
	c = far_end(0);
	far_greeted(c);
	far_takes(c);
	SAYS(c, "\x90\x04\x00\x01\x00\x01");
	us = talk_enter(&w, "us");
	talk_publish(us, &(struct say){ .topic = "here/s/x", .payload = "out", .qos = 1, .id = 9 });
	SAYS(c, "\x33\x10\x00\x09there/s/y\x00\x07\x00in");
	memdrive_stop(w.drive);
	at = (const char *)memdrive_trace(w.drive).p;
	noted(&at, "+> CONNECT v5.0 c0 k60 \"mqtt.far\" user-name=\"me\" ");
	noted(&at, "+< CONNACK s0 0x00 (Success)\n");
	noted(&at, "+> SUBSCRIBE m1 \"there/s/#\" q1 no-local as-published\n");
	noted(&at, "+> PUBLISH q0 r1 \"$SYS/broker/connection/mqtt.far/state\" 1 bytes\n");
	noted(&at, "+> PUBLISH q1 r0 m");
	noted(&at, " \"there/s/x\" 3 bytes\n");
	noted(&at, "+> PUBACK m7 0x10 (No matching subscribers)\n");
	noted(&at, "+> DISCONNECT");
}

/* ---- versions ---- */

static void it_speaks_older_versions(void **state)
{
	struct mqtt_connect p;
	struct memconn *c;

	(void)state;
	BEGIN("topics", "a");
	p = far_greeted(far_end(0));
	assert_int_equal(p.version, MQTT_5);
	SAYS(far_end(0), "\x20\x02\x00\x01"); /* unacceptable protocol version */
	memconn_eof(far_end(0));
	p = far_greeted(far_end(1));
	assert_int_equal(p.version, MQTT_311);
	assert_true(p.from_bridge);
	memconn_eof(far_end(1)); /* not a word */
	c = far_end(2);
	p = far_greeted(c);
	assert_int_equal(p.version, MQTT_311);
	assert_false(p.from_bridge);
	SAYS(c, "\x20\x02\x00\x05"); /* not authorized: no version helps */
	assert_string_equal(memconn_reason(c), "not authorized");
	memconn_eof(c);
	assert_int_equal(memdrive_children(w.drive), 3);
	memdrive_advance(w.drive, SEC);
	p = far_greeted(far_end(3)); /* from the beginning */
	assert_int_equal(p.version, MQTT_5);
}

/* ---- itself ---- */

/* What it has said to the other side comes in here, and our answer goes back to it. */
static const char *meets_itself(const char *version)
{
	uint8_t bytes[1024];
	struct memconn *c, *in;
	struct span out;
	size_t n;

	BEGIN("topics", "a both", "version", version, "retry", "9s");
	c = far_end(0);
	in = world_client(&w);
	out = memconn_out(c);
	n = out.n;
	assert_in_range(n, 1, sizeof(bytes));
	memcpy(bytes, out.p, n);
	memconn_take(c, n);
	far_says(in, (const char *)bytes, n);
	out = memconn_out(in);
	assert_in_range(out.n, 1, sizeof(bytes));
	memcpy(bytes, out.p, out.n);
	far_says(c, (const char *)bytes, out.n);
	assert_string_equal(memconn_reason(in), "bridge-to-itself");
	return memconn_reason(c);
}

static void it_knows_itself(void **state)
{
	(void)state;
	assert_string_equal(meets_itself("auto"), "bridge-to-itself");
	memconn_eof(far_end(0));
	memdrive_advance(w.drive, 8 * SEC);
	assert_int_equal(memdrive_children(w.drive), 1);
	memdrive_advance(w.drive, SEC);
	assert_int_equal(memdrive_children(w.drive), 2);
	world_close(&w);
	assert_string_equal(meets_itself("3.1.1"), "bridge-to-itself");
	world_close(&w);
	assert_string_equal(meets_itself("3.1"), "bridge-to-itself");
}

/* What another broker refuses is no such thing. */
static void another_may_refuse_its_name(void **state)
{
	(void)state;
	BEGIN("topics", "a", "version", "3.1.1");
	SAYS(far_end(0), "\x20\x02\x00\x02");
	assert_string_equal(memconn_reason(far_end(0)), "identifier rejected");
}

/* ---- again ---- */

static void it_tries_again_later_each_time(void **state)
{
	static const unsigned at[] = { 0, 1, 3, 7, 12, 17 }; /* seconds: the pause is 5 at most */

	(void)state;
	BEGIN("topics", "a", "retry", "5s", "version", "5");
	memdrive_dials(w.drive, -ECONNREFUSED);
	far_greeted(far_end(0));
	memconn_reset(far_end(0));
	for (unsigned i = 1, now = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		memdrive_advance(w.drive, (at[i] - now) * SEC - MSEC);
		assert_int_equal(memdrive_children(w.drive), i);
		memdrive_advance(w.drive, MSEC);
		assert_int_equal(memdrive_children(w.drive), i + 1);
		now = at[i];
	}
}

static void what_was_under_way_goes_again(void **state)
{
	struct memconn *c, *us;
	struct mqtt_publish p;

	(void)state;
	BEGIN("topics", "a out 1", "notify", "no");
	c = far_end(0);
	far_greeted(c);
	far_takes(c);
	us = talk_enter(&w, "us");
	talk_publish(us, &(struct say){ .topic = "a", .payload = "1", .qos = 1, .id = 1 });
	far_hears(c, MQTT_5, "a", "1");
	memconn_reset(c);
	talk_publish(us, &(struct say){ .topic = "a", .payload = "2", .qos = 1, .id = 2 });
	memdrive_advance(w.drive, SEC);
	c = far_end(1);
	far_greeted(c);
	SAYS(c, "\x20\x03\x01\x00\x00"); /* its session is there */
	p = far_hears(c, MQTT_5, "a", "1");
	assert_true(p.dup);
	far_hears(c, MQTT_5, "a", "2");
	memconn_reset(c);
	memdrive_advance(w.drive, 2 * SEC);
	c = far_end(2);
	far_greeted(c);
	far_takes(c); /* it knows nothing of us any more */
	p = far_hears(c, MQTT_5, "a", "1");
	assert_false(p.dup);
	far_hears(c, MQTT_5, "a", "2");
}

static void it_looks_whether_the_other_side_is_there(void **state)
{
	struct memconn *c;

	(void)state;
	BEGIN("topics", "a", "notify", "no", "keepalive", "10");
	c = far_end(0);
	far_greeted(c);
	far_takes(c);
	memdrive_advance(w.drive, 10 * SEC);
	far_gets(c, MQTT_5, MQTT_PINGREQ);
	SAYS(c, "\xd0\x00");
	memdrive_advance(w.drive, 10 * SEC);
	far_gets(c, MQTT_5, MQTT_PINGREQ);
	memdrive_advance(w.drive, 10 * SEC);
	assert_string_equal(memconn_reason(c), "keep-alive");
}

/* As often as the other side wants, but never less than we do: it may say 0, or a day. */
static void it_looks_as_often_as_agreed(void **state)
{
	static const struct {
		const char *connack;
		unsigned seconds;
	} rows[] = {
		{ "\x20\x06\x00\x00\x03\x13\x00\x04", 4 },
		{ "\x20\x06\x00\x00\x03\x13\x00\x00", 10 },
		{ "\x20\x06\x00\x00\x03\x13\xff\xff", 10 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct memconn *c;

		BEGIN("topics", "a", "notify", "no", "keepalive", "10");
		c = far_end(0);
		far_greeted(c);
		far_says(c, rows[i].connack, 8);
		memdrive_advance(w.drive, rows[i].seconds * SEC - MSEC);
		assert_int_equal(memconn_out(c).n, 0);
		memdrive_advance(w.drive, MSEC);
		far_gets(c, MQTT_5, MQTT_PINGREQ);
		end(state);
	}
}

/* It may take less than 5.0 has: QoS 1, nothing retained, one message at a time. */
static void it_heeds_what_the_other_side_takes(void **state)
{
	struct memconn *c, *us;
	struct mqtt_publish p;

	(void)state;
	BEGIN("topics", "a out 2", "notify", "no");
	c = far_end(0);
	far_greeted(c);
	SAYS(c, "\x20\x0a\x00\x00\x07\x21\x00\x01\x24\x01\x25\x00");
	us = talk_enter(&w, "us");
	talk_publish(us, &(struct say){ .topic = "a", .payload = "1", .qos = 2, .id = 1, .retain = true });
	talk_publish(us, &(struct say){ .topic = "a", .payload = "2", .qos = 2, .id = 2 });
	p = far_hears(c, MQTT_5, "a", "1");
	assert_true(p.qos == 1 && !p.retain);
	assert_int_equal(memconn_out(c).n, 0);
	far_says(c, (const char[]){ 0x40, 2, (char)(p.id >> 8), (char)p.id }, 4);
	far_hears(c, MQTT_5, "a", "2");
}

/* And less than it did when what is under way was sent first. */
static void what_goes_again_heeds_it_too(void **state)
{
	struct memconn *c, *us;
	struct mqtt_publish p;

	(void)state;
	BEGIN("topics", "# out 2", "notify", "no");
	c = far_end(0);
	far_greeted(c);
	far_takes(c);
	us = talk_enter(&w, "us");
	talk_publish(us, &(struct say){ .topic = "a", .payload = "1", .qos = 2, .id = 1, .retain = true });
	talk_publish(us, &(struct say){ .topic = "b", .payload = "2", .qos = 1, .id = 2 });
	p = far_hears(c, MQTT_5, "a", "1");
	assert_true(p.qos == 2 && p.retain);
	far_hears(c, MQTT_5, "b", "2");
	talk_publish(us, &(struct say){
				 .topic = "a", .payload = "", .retain = true }); /* what is retained would come again */
	far_hears(c, MQTT_5, "a", "");
	memconn_reset(c);
	memdrive_advance(w.drive, SEC);
	c = far_end(1);
	far_greeted(c);
	SAYS(c, "\x20\x07\x01\x00\x04\x24\x01\x25\x00"); /* its session is there; QoS 1, nothing retained */
	p = far_hears(c, MQTT_5, "a", "1");
	assert_true(p.qos == 1 && !p.retain && p.dup);
	far_says(c, (const char[]){ 0x40, 2, (char)(p.id >> 8), (char)p.id }, 4);
	far_hears(c, MQTT_5, "b", "2");
	memconn_reset(c);
	memdrive_advance(w.drive, 2 * SEC);
	c = far_end(2);
	far_greeted(c);
	SAYS(c, "\x20\x05\x01\x00\x02\x24\x00"); /* QoS 0 */
	p = far_hears(c, MQTT_5, "b", "2");
	assert_true(p.qos == 0 && !p.dup && p.id == 0);
	assert_int_equal(memconn_out(c).n, 0);
	memconn_reset(c);
	memdrive_advance(w.drive, 4 * SEC);
	c = far_end(3);
	far_greeted(c);
	SAYS(c, "\x20\x03\x01\x00\x00");
	assert_int_equal(memconn_out(c).n, 0);
}

static void a_reload_changes_it(void **state)
{
	void *next = make_options((const char *const[]){ "to", "tcp:other.example:1", "topics", "b", NULL });
	void *none = NULL;

	(void)state;
	assert_non_null(next);
	assert_int_equal(option_values_new(mqtt_proto.options, &none), 0);
	BEGIN("topics", "a");
	far_takes(far_end(0));
	memdrive_reload(w.drive, w.options); /* the same: nothing happens */
	assert_int_equal(memdrive_children(w.drive), 1);
	memdrive_reload(w.drive, next);
	assert_int_equal(memdrive_children(w.drive), 2);
	assert_string_equal(memconn_address(far_end(1)), "tcp:other.example:1");
	memdrive_reload(w.drive, none);
	memdrive_advance(w.drive, 100 * SEC);
	assert_int_equal(memdrive_children(w.drive), 2);
	memdrive_free(&w.drive);
	option_values_free(mqtt_proto.options, &next);
	option_values_free(mqtt_proto.options, &none);
}

/* ---- memory ---- */

static void all_of_it(void *arg)
{
	static const char hello[] = "\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04test",
			  say[] = "\x32\x09\x00\x03s/x\x00\x01hi";
	struct memconn *us, *c;

	(void)arg;
	if (begin_with((const char *const[]){ "to", "tcp:far.example:1883", "topics", "s/# both 1 \"\" t/", NULL })) {
		us = memconn_open(w.drive, NULL);
		if (us) {
			memconn_send(us, hello, sizeof(hello) - 1, 0);
			memconn_send(us, say, sizeof(say) - 1, 0);
		}
		for (size_t i = 0; i < 3; i++) {
			memdrive_advance(w.drive, 2 * SEC);
			c = memdrive_children(w.drive) ? memdrive_child(w.drive, memdrive_children(w.drive) - 1) : NULL;
			if (!c)
				continue;
			SAYS(c, "\x20\x03\x00\x00\x00");
			SAYS(c, "\x90\x04\x00\x01\x00\x01");
			SAYS(c, "\x32\x0a\x00\x03t/s\x00\x01\x00in");
			SAYS(c, "\x34\x0a\x00\x03t/s\x00\x02\x00in");
			SAYS(c, "\x62\x02\x00\x02");
			SAYS(c, "\x40\x02\x00\x02");
			memconn_reset(c);
		}
		memdrive_stop(w.drive);
	}
	world_close(&w);
}

static void memory_may_be_out(void **state)
{
	(void)state;
	all_of_it(NULL);
	fail_each_allocation(all_of_it, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(it_says_who_it_is, end),
		cmocka_unit_test_teardown(it_subscribes_and_maps, end),
		cmocka_unit_test_teardown(its_trace_is_what_it_says, end),
		cmocka_unit_test_teardown(it_speaks_older_versions, end),
		cmocka_unit_test_teardown(it_knows_itself, end),
		cmocka_unit_test_teardown(another_may_refuse_its_name, end),
		cmocka_unit_test_teardown(it_tries_again_later_each_time, end),
		cmocka_unit_test_teardown(what_was_under_way_goes_again, end),
		cmocka_unit_test_teardown(it_looks_whether_the_other_side_is_there, end),
		cmocka_unit_test(it_looks_as_often_as_agreed),
		cmocka_unit_test_teardown(it_heeds_what_the_other_side_takes, end),
		cmocka_unit_test_teardown(what_goes_again_heeds_it_too, end),
		cmocka_unit_test_teardown(a_reload_changes_it, end),
		cmocka_unit_test(memory_may_be_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
