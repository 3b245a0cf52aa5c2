/* test_planner_dials.c - services that would be connected to themselves or to one that speaks something else, and two under one name. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "main/planner.h"
#include "support/folder.h"

/* The problems of this configuration, without the file's name. */
static void says(const char *config, const char *expect)
{
	struct planner_setup setup = { .file = folder_conf, .dry = true };
	BUF_AUTO struct buf all = BUF_INIT(1 << 14);
	struct conf_problems ps = {};
	struct plan *plan = NULL;

	folder_put("t.conf", config);
	assert_int_equal(planner_make(&setup, &plan, &ps), 0);
	for (size_t i = 0; i < ps.n; i++)
		buf_addf(&all, "%u %s\n", ps.v[i].line, ps.v[i].text);
	assert_string_equal(buf_str(&all), expect);
	plan_free(&plan);
	conf_problems_done(&ps);
}

#define ITSELF(TO) "4 to: " TO " is [mqtt] itself, which would be connected to itself\n"

static void leads(const char *listen, const char *to, const char *expect)
{
	BUF_AUTO struct buf config = BUF_INIT(1024);

	buf_addf(&config, "[mqtt]\nlisten = %s\n[mqtt.bridge.a]\nto = %s\ntopics = x\n[rules]\nallow = * * topics:#\n",
		 listen, to);
	says(buf_str(&config), expect);
}

static void a_bridge_to_itself_is_refused(void **state)
{
	(void)state;
	leads("tcp:1883", "tcp:1883", ITSELF("tcp:1883"));
	leads("tcp:1883", "tcp:localhost:1883", ITSELF("tcp:localhost:1883"));
	leads("tcp:1883", "tcp:127.0.0.1:1883", ITSELF("tcp:127.0.0.1:1883"));
	leads("tcp:1884 tcp:*:1883", "tcp:[::1]:1883", ITSELF("tcp:[::1]:1883"));
	leads("tcp:0.0.0.0:1883", "tcp:127.0.0.1:1883", ITSELF("tcp:127.0.0.1:1883"));
	leads("tcp:203.0.113.1:1883", "tcp:203.0.113.1:1883", ITSELF("tcp:203.0.113.1:1883"));
	leads("tls:8883", "tls:localhost:8883", ITSELF("tls:localhost:8883"));
}

static void another_place_is_not(void **state)
{
	(void)state;
	leads("tcp:1883", "tcp:1884", "");
	leads("tcp:0", "tcp:1883", "");
	leads("tcp:1883", "tcp:broker.example:1883", "");
	leads("tcp:127.0.0.1:1883", "tcp:[::1]:1883", "");
	leads("tcp:0.0.0.0:1883", "tcp:[::1]:1883", "");
	leads("unix:./s", "tcp:1883", "");
	says("[mqtt]\nlisten = tcp:1883\n[other]\nprotocol = mqtt\nlisten = tcp:1884\n"
	     "[mqtt.bridge.a]\nto = tcp:1884\ntopics = x\n",
	     "");
}

static void neither_is_a_relay(void **state)
{
	(void)state;
	says("[relay]\nlisten = tcp:7100\nto = tcp:7100\n",
	     "3 to: tcp:7100 is [relay] itself, which would be connected to itself\n");
	says("[relay]\nlisten = unix:/tmp/none/s\nto = unix:/tmp/none/s\n",
	     "3 to: unix:/tmp/none/s is [relay] itself, which would be connected to itself\n");
	says("[relay]\nenabled = no\nlisten = tcp:7100\nto = tcp:7100\n[echo]\nlisten = tcp:7101\n", "");
}

/* `broker` is in line 4. */
static void joins(const char *broker, const char *others, const char *expect)
{
	BUF_AUTO struct buf config = BUF_INIT(1024);

	buf_addf(&config, "[chat]\nlisten = tcp:7000\ntopic = a\nbroker = %s\n%s", broker, others);
	says(buf_str(&config), expect);
}

static void who_must_be_a_broker_is_one(void **state)
{
	(void)state;
	joins("tcp:7007", "[echo]\nlisten = tcp:7007\n", "4 broker: tcp:7007 is [echo], which does not speak mqtt\n");
	joins("unix:/tmp/none/s", "[echo]\nlisten = unix:/tmp/none/s\n",
	      "4 broker: unix:/tmp/none/s is [echo], which does not speak mqtt\n");
	joins("tcp:localhost:8883", "[mqtt]\nlisten = tcp:1883 tls:8883\n",
	      "4 broker: tcp:localhost:8883 is tls:8883 of [mqtt], where tcp is not spoken\n");
	joins("tls:9001", "[mqtt]\nlisten = wss:9001\n",
	      "4 broker: tls:9001 is wss:9001 of [mqtt], where tls is not spoken\n");
	joins("tcp:1883", "[mqtt]\nlisten = tcp:1883 tls:8883\n", "");
	joins("tcp:7100", "[relay]\nlisten = tcp:7100\nto = tcp:far:1\n", "");
	joins("tcp:far:7007", "[echo]\nlisten = tcp:7007\n", "");
	joins("tcp:7007", "[echo]\nlisten = tcp:7007\nenabled = no\n", "");
	joins("tcp:localhost:7007", "[echo]\nlisten = tcp:[::1]:7007\n[mqtt]\nlisten = tcp:127.0.0.1:7007\n", "");
	says("[mqtt]\nlisten = tcp:1883\n[echo]\nlisten = tcp:7007\n[mqtt.bridge.a]\ntopics = x\nto = tcp:7007\n",
	     "7 to: tcp:7007 is [echo], which does not speak mqtt\n");
	says("[relay]\nlisten = tcp:7100\nto = tcp:7007\n[echo]\nlisten = tcp:7007\n", "");
}

#define BRIDGE(NAME, TO, ID) "[" NAME "]\nto = " TO "\ntopics = x\nclient_id = " ID "\n"
#define TWO "[mqtt]\nlisten = tcp:1883\n[other]\nprotocol = mqtt\nlisten = tcp:1884\n"

static void one_name_at_one_broker(void **state)
{
	(void)state;
	says(TWO BRIDGE("mqtt.bridge.a", "tcp:far:1", "me") BRIDGE("mqtt.bridge.b", "tcp:far:1", "me"),
	     "13 client_id: [mqtt.bridge.a] has the same there, and each would take the other's place; give each its own\n");
	says(TWO BRIDGE("mqtt.bridge.a", "tcp:far:1", "me") BRIDGE("other.bridge.a", "tcp:far:1", "me"),
	     "13 client_id: [mqtt.bridge.a] has the same there, and each would take the other's place; give each its own\n");
	says(TWO BRIDGE("mqtt.bridge.a", "tcp:far:1", "me") BRIDGE("mqtt.bridge.b", "tcp:far:2", "me"), "");
	says(TWO BRIDGE("mqtt.bridge.a", "tcp:127.0.0.1:1", "me") BRIDGE("mqtt.bridge.b", "tcp:localhost:1", "me"),
	     "13 client_id: [mqtt.bridge.a] has the same there, and each would take the other's place; give each its own\n");
	says(TWO BRIDGE("mqtt.bridge.a", "tcp:far:1", "me") BRIDGE("mqtt.bridge.b", "tls:FAR:1", "me"),
	     "13 client_id: [mqtt.bridge.a] has the same there, and each would take the other's place; give each its own\n");
	says(TWO BRIDGE("mqtt.bridge.a", "tcp:far:1", "me") BRIDGE("mqtt.bridge.b", "tls:far:2", "me"),
	     "13 client_id: [mqtt.bridge.a] has the same there, if both ports are of one broker, and each would take the other's place; "
	     "give each its own\n");
	says(TWO BRIDGE("mqtt.bridge.a", "tcp:far:1", "m+"),
	     "9 client_id: + and # cannot stand in the topic $SYS/broker/connection/CLIENT_ID/state; `notify = no` does without "
	     "it\n");
	says(TWO BRIDGE("mqtt.bridge.a", "tcp:far:1", "me") BRIDGE("mqtt.bridge.b", "tcp:far:1", "you"), "");
	says(TWO "[mqtt.bridge.a]\nto = tcp:far:1\ntopics = x\n[mqtt.bridge.b]\nto = tcp:far:1\ntopics = x\n", "");
}

static void names_of_sections(void **state)
{
	(void)state;
	says(TWO BRIDGE("mqtt.bridge.b/c", "tcp:far:1", "me") BRIDGE("mqtt.bridge.d e", "tcp:far:2", "me"),
	     "6 [mqtt.bridge.b/c]: \"b/c\" is no name for a section of a service: letters, digits, - and _\n"
	     "10 [mqtt.bridge.d e]: \"d e\" is no name for a section of a service: letters, digits, - and _\n");
	says(TWO "[mqtt.bridge.b-2_C]\ntopics = x\n", "6 to: must be set, as in: to = tcp:broker.example:1883\n");
}

/* Of names that are there only, or never. */
static void hosts_are_looked_up(void **state)
{
	struct planner_setup setup = { .file = folder_conf, .dry = true, .look_up = true };
	struct conf_problems ps = {};
	struct plan *plan = NULL;

	(void)state;
	folder_put("t.conf", TWO "[mqtt.bridge.a]\nto = tcp:localhost:1\ntopics = x\n"
				 "[mqtt.bridge.b]\nto = tcp:localhost:no-such-service\ntopics = x\n"
				 "[relay]\nlisten = tcp:1886\nto = tcp:[::1]:no-such-service\n");
	assert_int_equal(planner_make(&setup, &plan, &ps), 0);
	assert_int_equal(ps.n, 2);
	assert_int_equal(ps.warnings, 2);
	assert_int_equal(ps.v[0].line, 10);
	assert_non_null(strstr(ps.v[0].text, "to: "));
	assert_non_null(strstr(ps.v[0].text, "no-such-service"));
	assert_int_equal(ps.v[1].line, 14);
	plan_free(&plan);
	conf_problems_done(&ps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bridge_to_itself_is_refused),
		cmocka_unit_test(another_place_is_not),
		cmocka_unit_test(neither_is_a_relay),
		cmocka_unit_test(who_must_be_a_broker_is_one),
		cmocka_unit_test(one_name_at_one_broker),
		cmocka_unit_test(names_of_sections),
		cmocka_unit_test(hosts_are_looked_up),
	};

	return cmocka_run_group_tests(tests, folder_set_up, folder_take_down);
}
