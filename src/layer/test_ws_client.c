/* test_ws_client.c - WebSocket's client by itself: what it asks, what it takes for an answer, its masks. The server: test_ws.c. */
#include "layer/test_ws.h"

static void assert_up_is(const char *text)
{
	assert_int_equal(s.up.n, strlen(text));
	assert_memory_equal(s.up.p, text, s.up.n);
}

static void asks(const struct ws_setup *setup, char key[static 25])
{
	const uint8_t *at;

	start(setup);
	at = memmem(s.down.p, s.down.n, "Sec-WebSocket-Key: ", 19);
	assert_non_null(at);
	memcpy(key, at + 19, 24);
	key[24] = '\0';
}

static void a_client_asks(void **state)
{
	const struct ws_setup setup = {
		.client = true, .host = "a.example:81", .target = "/b?c", .subprotocols = names
	};
	char key[25], again[25], want[400];

	(void)state;
	asks(&setup, key);
	snprintf(want, sizeof(want),
		 "GET /b?c HTTP/1.1\r\nHost: a.example:81\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt, mqttv3.1\r\n\r\n",
		 key);
	assert_int_equal(s.down.n, strlen(want));
	assert_memory_equal(s.down.p, want, s.down.n);
	assert_string_equal(why(), "ws: no answer");
	stop(NULL);
	asks(&(struct ws_setup){ .client = true, .host = "a" }, again);
	assert_string_not_equal(key, again);
	assert_memory_equal(s.down.p, "GET / HTTP/1.1\r\nHost: a\r\n", 25);
}

/* What our server answers to this client. */
static struct bytes answer_to_it(void)
{
	struct side client = s;
	struct bytes answer;

	s = (struct side){};
	start(&(struct ws_setup){ .service = "m", .subprotocols = names });
	assert_true(side_feed(&s, client.down.p, client.down.n) > 0);
	answer = s.down;
	s.down = (struct bytes){};
	side_done(&s);
	s = client;
	s.down.n = 0;
	return answer;
}

static void a_client_is_served(void **state)
{
	const struct ws_setup setup = { .client = true, .host = "a", .target = "/t", .subprotocols = names };
	char key[25];

	(void)state;
	for (size_t piece = 1; piece < 200; piece++) {
		struct bytes answer;
		uint8_t b[20];

		asks(&setup, key);
		answer = answer_to_it();
		assert_int_equal(bytes_add(&wire, answer.p, answer.n), 0);
		bytes_done(&answer);
		assert_int_equal(bytes_add(&wire, "\x82\5hello\x89\1!\x02\1a\x80\1b\x88\2\x03\xe8", 20), 0);
		assert_true(feed(piece) > 0);
		assert_true(s.is_up);
		assert_string_equal(info().subprotocol, "mqtt");
		assert_string_equal(info().path, "/t");
		assert_up_is("helloab");
		assert_true(s.clean_eof);
		assert_int_equal(s.down.n, 2 + 4 + 1);
		assert_memory_equal(s.down.p, "\x8a\x81", 2);
		assert_int_equal(s.down.p[6] ^ s.down.p[2], '!');
		s.down.n = 0;
		assert_int_equal(side_write(&s, "hi", 2), 0);
		assert_int_equal(side_finish(&s), 0);
		assert_int_equal(s.down.n, 8 + 8);
		memcpy(b, s.down.p, 16);
		assert_memory_equal(b, "\x82\x82", 2);
		assert_int_equal(b[6] ^ b[2], 'h');
		assert_int_equal(b[7] ^ b[3], 'i');
		assert_memory_equal(b + 8, "\x88\x82", 2);
		assert_true(memcmp(b + 2, b + 10, 4) != 0); /* fresh ones */
		stop(NULL);
	}
}

static void not_served(const char *answer, const char *reason)
{
	const struct ws_setup setup = { .client = true, .host = "a", .subprotocols = names };
	char key[25];

	asks(&setup, key);
	assert_int_equal(feeds(answer), -EPROTO);
	assert_string_equal(why(), reason);
	assert_false(s.is_up);
	stop(NULL);
}

static void answers_that_are_none(void **state)
{
	struct bytes good;
	char key[25], text[400];

	(void)state;
	not_served("HTTP/1.1 404 Gone fishing\r\n\r\n", "ws: server answered 404 Not Found");
	not_served("HTTP/1.1 200 OK\r\n\r\nhello", "ws: server answered 200 OK");
	not_served("SSH-2.0-x\r\n", "ws: malformed answer");
	not_served(ANSWER_TO("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") "\r\n", "ws: server accepted something else");
	not_served("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
		   "ws: server accepted something else");
	not_served("HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
		   "ws: server upgraded to something else");
	not_served("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", "ws: server upgraded to something else");
	for (int i = 0; i < 3; i++) {
		static const char *const more[] = {
			"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "Sec-WebSocket-Protocol: other\r\n\r\n",
			"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
		};

		asks(&(struct ws_setup){ .client = true, .host = "a", .subprotocols = names + 2 }, key);
		good = answer_to_it();
		snprintf(text, sizeof(text), "%.*s%s", (int)good.n - 2, (const char *)good.p, more[i]);
		bytes_done(&good);
		assert_int_equal(feeds(text), -EPROTO);
		assert_string_equal(why(), i ? "ws: server chose a subprotocol that was not offered"
					     : "ws: server chose an extension that was not offered");
		stop(NULL);
	}
}

static void a_server_that_masks(void **state)
{
	char key[25];
	struct bytes good;

	(void)state;
	asks(&(struct ws_setup){ .client = true, .host = "a" }, key);
	good = answer_to_it();
	assert_true(side_feed(&s, good.p, good.n) > 0);
	bytes_done(&good);
	assert_int_equal(side_feed(&s, "\x82\x80\0\0\0\0", 6), -EPROTO);
	assert_string_equal(why(), "ws: masked frame of a server");
	assert_int_equal(s.down.p[0], 0x88);
	assert_int_equal(s.down.p[1], 0x80 | 26);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_client_asks, stop),
		cmocka_unit_test_teardown(a_client_is_served, stop),
		cmocka_unit_test_teardown(answers_that_are_none, stop),
		cmocka_unit_test_teardown(a_server_that_masks, stop),
	};

	return cmocka_run_group_tests(tests, tls_fix_set_up, tls_fix_tear_down);
}
