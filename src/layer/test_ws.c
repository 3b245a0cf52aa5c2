/*
 * test_ws.c - WebSocket by itself: handshakes and their refusals, frames in every chunking, what breaks the rules, ends, text, pongs that
 * wait, memory that is out. A client: test_ws_client.c; through sessions: test_ws_session.c; clients of others: tests/e2e/test_ws.py.
 */
#include "layer/test_ws.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define REST "Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" KEY
#define REQUEST "GET /mqtt?a=b HTTP/1.1\r\n" REST "\r\n"
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
static void up(const struct ws_setup *setup)
{
	start(setup);
	assert_int_equal(feeds(REQUEST), sizeof(REQUEST) - 1);
	assert_true(s.is_up);
	s.down.n = 0;
}

static const struct ws_setup plain = { .service = "echo" };

#define assert_bytes(b, text) \
	do { \
		assert_int_equal((b)->n, sizeof(text) - 1); \
		assert_memory_equal((b)->p, text, sizeof(text) - 1); \
		(b)->n = 0; \
	} while (0)

static void assert_has(const char *text)
{
	if (s.down.n == 0 || !memmem(s.down.p, s.down.n, text, strlen(text)))
		fail_msg("no %s in %.*s", text, (int)s.down.n, (const char *)s.down.p);
}

/* ---- frames of a client, into `wire`: b0 has FIN and the opcode ---- */

static void put(uint8_t b0, const void *p, size_t n)
{
	uint8_t mask[4] = { 0x37, 0xfa, 0x21, (uint8_t)(0x3d + n) }, h[14] = { b0 };
	size_t k = 2;

	if (n < 126) {
		h[1] = (uint8_t)(0x80 | n);
	} else if (n < 65536) {
		h[1] = 0x80 | 126;
		h[2] = (uint8_t)(n >> 8);
		h[3] = (uint8_t)n;
		k = 4;
	} else {
		h[1] = 0x80 | 127;
		for (size_t i = 0; i < 8; i++)
			h[2 + i] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
		k = 10;
	}
	memcpy(h + k, mask, 4);
	assert_int_equal(bytes_add(&wire, h, k + 4), 0);
	assert_int_equal(bytes_add(&wire, p, n), 0);
	for (size_t i = 0; i < n; i++)
		wire.p[wire.n - n + i] ^= mask[i & 3];
}

#define PUT(b0, text) put(b0, text, sizeof(text) - 1)

/* ---- the server's handshake ---- */

static void the_handshake_of_the_standard(void **state)
{
	(void)state;
	for (size_t piece = 1; piece <= sizeof(REQUEST); piece++) {
		start(&plain);
		assert_string_equal(why(), "ws: no request");
		assert_int_equal(bytes_add(&wire, REQUEST, sizeof(REQUEST) - 1), 0);
		assert_true(feed(piece) > 0);
		assert_true(s.is_up);
		assert_int_equal(s.raw.n, 0);
		assert_bytes(&s.down, ANSWER_TO(ACCEPT) "\r\n");
		assert_string_equal(info().path, "/mqtt?a=b");
		assert_null(info().subprotocol);
		stop(NULL);
	}
}

static void what_it_waits_for(void **state)
{
	(void)state;
	start(&plain);
	assert_int_equal(feeds("GET / HTTP/1.1\r\n"), 0);
	assert_string_equal(why(), "ws: request not complete");
	assert_int_equal(s.down.n, 0);
}

static void frames_may_follow_at_once(void **state)
{
	(void)state;
	start(&plain);
	assert_int_equal(bytes_add(&wire, REQUEST, sizeof(REQUEST) - 1), 0);
	PUT(0x82, "hello");
	assert_true(feed(wire.n) > 0);
	assert_bytes(&s.up, "hello");
}

static void difficult_but_right(void **state)
{
	(void)state;
	start(&plain);
	assert_true(feeds("GET http://a:1/x HTTP/1.1\r\nhost: a:1\r\nupgrade: h2c, WebSocket\r\n"
			  "connection: keep-alive\r\nConnection: UPGRADE\r\nsec-websocket-version: 13\r\n"
			  "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
			  "Origin: null\r\nContent-Length: 0\r\n" KEY "\r\n") > 0);
	assert_true(s.is_up);
	assert_string_equal(info().path, "/x");
	assert_null(memmem(s.down.p, s.down.n, "Extensions", 10));
}

static void refused(const struct ws_setup *setup, const char *request, const char *status, const char *reason)
{
	for (size_t piece = 1; piece < 200; piece = piece * 3 + 1) {
		start(setup);
		assert_int_equal(bytes_add(&wire, request, strlen(request)), 0);
		if (feed(piece) != -EPROTO)
			fail_msg("taken: %s", request);
		assert_false(s.is_up);
		assert_string_equal(why(), reason);
		assert_true(s.down.n > 9 + strlen(status));
		if (memcmp(s.down.p + 9, status, strlen(status)) != 0)
			fail_msg("not %s but %.*s", status, (int)s.down.n, (const char *)s.down.p);
		assert_int_equal(side_feed(&s, "x", 1), -EPROTO);
		stop(NULL);
	}
}

static void refusals(void **state)
{
	static const struct {
		const char *request, *status, *reason;
	} rows[] = {
		{ "GET / HTTP/1.1\r\n\r\n", "400", "ws: malformed request" },
		{ "\x16\x03\x01", "400", "ws: malformed request" },
		{ "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "426 Upgrade Required", "ws: no upgrade asked for" },
		{ "GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "426",
		  "ws: no upgrade asked for" },
		{ "GET / HTTP/2.0\r\n", "505", "ws: version of HTTP not spoken" },
		{ "POST / HTTP/1.1\r\n" REST "\r\n", "405", "ws: method is not GET" },
		{ "GET / HTTP/1.1\r\n" REST "Content-Length: 1\r\n\r\n", "400", "ws: request with a body" },
		{ "GET / HTTP/1.1\r\n" REST "Transfer-Encoding: chunked\r\n\r\n", "400", "ws: request with a body" },
		{ "GET / HTTP/1.1\r\n" REST KEY "\r\n", "400", "ws: no right key" },
		{ "GET / HTTP/1.1\r\n" REST "Sec-WebSocket-Version: 13\r\n\r\n", "426", "ws: version is not 13" },
		{ "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "400", "ws: no Connection: upgrade" },
		{ "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "426",
		  "ws: version is not 13" },
		{ "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
		  "Sec-WebSocket-Version: 8\r\n" KEY "\r\n",
		  "426", "ws: version is not 13" },
		{ "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"
		  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n\r\n",
		  "400", "ws: no right key" },
		{ "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"
		  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ*==\r\n\r\n",
		  "400", "ws: no right key" },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++)
		refused(&plain, rows[i].request, rows[i].status, rows[i].reason);
}

static void a_person_is_told(void **state)
{
	(void)state;
	start(&plain);
	assert_int_equal(feeds("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), -EPROTO);
	assert_has("\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
	assert_has("\r\nConnection: upgrade, close\r\n");
	assert_has("\r\n\r\nThis is a WebSocket port, of the service echo of a Guichet. It is for programs");
	stop(NULL);
	start(&plain);
	assert_int_equal(feeds("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"), -EPROTO);
	assert_has("405 Method Not Allowed");
	assert_has("\r\nAllow: GET\r\n");
	assert_memory_equal(s.down.p + s.down.n - 4, "\r\n\r\n", 4);
}

static void too_much(void **state)
{
	static char text[20000] = "GET /";

	(void)state;
	memset(text + 5, 'a', sizeof(text) - 6);
	refused(&plain, text, "414", "ws: target too long");
	memcpy(text, "GET / HTTP/1.1\r\nX: ", 19);
	refused(&plain, text, "431", "ws: fields too long");
}

static struct str_words words(const char *text)
{
	struct str_words w;

	assert_int_equal(str_split_words(text, 10, &w), 0);
	return w;
}

static void paths(void **state)
{
	struct ws_setup setup = { .service = "echo", .paths = words("/mqtt /a") };

	(void)state;
	up(&setup);
	stop(NULL);
	refused(&setup, "GET / HTTP/1.1\r\n" REST "\r\n", "404", "ws: path not served");
	refused(&setup, "GET /mqtt/ HTTP/1.1\r\n" REST "\r\n", "404", "ws: path not served");
	refused(&setup, "GET /%6dqtt HTTP/1.1\r\n" REST "\r\n", "404", "ws: path not served");
	refused(&setup, "GET /MQTT HTTP/1.1\r\n" REST "\r\n", "404", "ws: path not served");
	str_words_done(&setup.paths);
}

static void origins(void **state)
{
	static const char head[] = "GET / HTTP/1.1\r\n" REST "Origin: ";
	struct ws_setup setup = { .service = "echo", .origins = words("https://a.example http://localhost:8080") };
	static const char *const good[] = { "https://a.example", "http://localhost:8080", "HTTPS://A.example" };
	static const char *const bad[] = { "http://a.example", "https://a.example.b", "null", "",
					   "https://a.example\r\nOrigin: b" };
	char text[400];

	(void)state;
	for (size_t i = 0; i < N(good); i++) {
		start(&setup);
		snprintf(text, sizeof(text), "%s%s\r\n\r\n", head, good[i]);
		assert_true(feeds(text) > 0);
		stop(NULL);
	}
	for (size_t i = 0; i < N(bad); i++) {
		snprintf(text, sizeof(text), "%s%s\r\n\r\n", head, bad[i]);
		refused(&setup, text, "403 Forbidden", "ws: origin not allowed");
	}
	up(&setup); /* without an origin: no browser */
	str_words_done(&setup.origins);
}

static void subprotocols(void **state)
{
	static const char head[] = "GET / HTTP/1.1\r\n" REST "Sec-WebSocket-Protocol: ";
	static const struct {
		const char *offer, *want; /* NULL: none is chosen; "": refused */
	} rows[] = {
		{ "mqtt", "mqtt" },
		{ "mqttv3.1", "mqttv3.1" },
		{ "a, mqttv3.1,mqtt", "mqttv3.1" },
		{ "a", "" },
		{ "MQTT", "" },
		{ "mqtt, a b", "" },
		{ "mqtt, \"", "" },
		{ "", NULL },
		{ "a\r\nSec-WebSocket-Protocol: mqtt", "mqtt" },
	};
	const struct ws_setup setup = { .service = "m", .subprotocols = names };
	char text[400];

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		snprintf(text, sizeof(text), "%s%s\r\n\r\n", head, rows[i].offer);
		if (rows[i].want && !*rows[i].want) {
			refused(&setup, text, "400", "ws: no shared subprotocol");
			continue;
		}
		start(&setup);
		assert_true(feeds(text) > 0);
		if (rows[i].want) {
			assert_string_equal(info().subprotocol, rows[i].want);
			snprintf(text, sizeof(text), "\r\nSec-WebSocket-Protocol: %s\r\n", rows[i].want);
			assert_has(text);
		} else {
			assert_null(info().subprotocol);
			assert_null(memmem(s.down.p, s.down.n, "Protocol:", 9));
		}
		stop(NULL);
	}
	up(&setup);
}

/* ---- frames that come ---- */

static uint8_t byte(size_t i)
{
	return (uint8_t)(i * 7 + (i >> 8));
}

static void frames_of_all_sizes(void **state)
{
	static const size_t sizes[] = { 0, 1, 7, 8, 9, 125, 126, 127, 4095, 65535, 65536, 100001 };
	static const size_t pieces[] = { 1, 2, 3, 7, 1000, 16384, 1 << 20 };
	static uint8_t text[100001];

	(void)state;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = byte(i);
	for (size_t k = 0; k < N(pieces); k++) {
		size_t n = 0;

		up(&plain);
		for (size_t i = 0; i < N(sizes); i++) {
			if (pieces[k] == 1 && sizes[i] > 4095)
				continue; /* slow here, as raw is moved each time */
			put(0x82, text, sizes[i]);
			n += sizes[i];
		}
		assert_true(feed(pieces[k]) >= 0);
		assert_int_equal(s.up.n, n);
		assert_int_equal(s.raw.n, 0);
		for (size_t i = 0, at = 0; i < N(sizes); i++) {
			if (pieces[k] == 1 && sizes[i] > 4095)
				continue;
			if (sizes[i])
				assert_memory_equal(s.up.p + at, text, sizes[i]);
			at += sizes[i];
		}
		stop(NULL);
	}
}

static void a_message_in_fragments(void **state)
{
	(void)state;
	for (size_t piece = 1; piece < 60; piece++) {
		up(&plain);
		PUT(0x02, "ab");
		PUT(0x89, "ping");
		PUT(0x00, "");
		PUT(0x8a, "nobody asked");
		PUT(0x00, "cd");
		PUT(0x89, "");
		PUT(0x80, "ef");
		PUT(0x82, "gh");
		assert_true(feed(piece) > 0);
		assert_bytes(&s.up, "abcdefgh");
		assert_bytes(&s.down, "\x8a\4ping\x8a\0");
		stop(NULL);
	}
}

static void payload_comes_before_its_end(void **state)
{
	(void)state;
	up(&plain);
	put(0x82, "hello world", 11);
	assert_true(side_feed(&s, wire.p, 10) > 0);
	assert_bytes(&s.up, "hell");
	assert_int_equal(s.raw.n, 0);
}

/* It is told why by a Close, and nothing goes on. */
static void broken(const struct ws_setup *setup, const void *p, size_t n, unsigned code, const char *reason)
{
	for (size_t piece = 1; piece <= n; piece++) {
		up(setup);
		assert_int_equal(bytes_add(&wire, p, n), 0);
		assert_int_equal(feed(piece), -EPROTO);
		assert_string_equal(why(), reason);
		assert_int_equal(s.down.n, 4 + strlen(reason) - 4);
		assert_int_equal(s.down.p[0], 0x88);
		assert_int_equal(s.down.p[1], 2 + strlen(reason) - 4);
		assert_int_equal(s.down.p[2] << 8 | s.down.p[3], code);
		assert_memory_equal(s.down.p + 4, reason + 4, strlen(reason) - 4);
		s.down.n = 0;
		assert_int_equal(side_finish(&s), 0);
		assert_int_equal(s.down.n, 0);
		assert_int_equal(side_write(&s, "x", 1), -EPROTO);
		assert_false(s.clean_eof);
		stop(NULL);
	}
}

#define BROKEN(text, code, reason) broken(&plain, text, sizeof(text) - 1, code, reason)

static void rules(void **state)
{
	(void)state;
	BROKEN("\x82\x05hello", 1002, "ws: frame without mask");
	BROKEN("\xc2\x80\0\0\0\0", 1002, "ws: reserved bit set");
	BROKEN("\xa2\x80\0\0\0\0", 1002, "ws: reserved bit set");
	BROKEN("\x92\x80\0\0\0\0", 1002, "ws: reserved bit set");
	BROKEN("\x83\x80\0\0\0\0", 1002, "ws: unknown opcode");
	BROKEN("\x87\x80\0\0\0\0", 1002, "ws: unknown opcode");
	BROKEN("\x8b\x80\0\0\0\0", 1002, "ws: unknown opcode");
	BROKEN("\x8f\x80\0\0\0\0", 1002, "ws: unknown opcode");
	BROKEN("\x09\x80\0\0\0\0", 1002, "ws: control frame in fragments");
	BROKEN("\x89\xfe\0\x7e", 1002, "ws: control frame too long");
	BROKEN("\x80\x80\0\0\0\0", 1002, "ws: continuation of nothing");
	BROKEN("\x82\x80\0\0\0\0\x00\x80\0\0\0\0", 1002, "ws: continuation of nothing");
	BROKEN("\x02\x80\0\0\0\0\x82\x80\0\0\0\0", 1002, "ws: message within a message");
	BROKEN("\x02\x80\0\0\0\0\x01\x80\0\0\0\0", 1002, "ws: message within a message");
	BROKEN("\x82\xfe\0\x7d\0\0\0\0", 1002, "ws: length not in its shortest form");
	BROKEN("\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0", 1002, "ws: length not in its shortest form");
	BROKEN("\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0", 1002, "ws: length not in its shortest form");
	BROKEN("\x88\x81\0\0\0\0\3", 1002, "ws: close without a right code");
	BROKEN("\x88\x82\0\0\0\0\0\0", 1002, "ws: close without a right code");
	BROKEN("\x88\x82\0\0\0\0\x03\xe7", 1002, "ws: close without a right code"); /* 999 */
	BROKEN("\x88\x82\0\0\0\0\x03\xec", 1002, "ws: close without a right code"); /* 1004 */
	BROKEN("\x88\x82\0\0\0\0\x03\xed", 1002, "ws: close without a right code"); /* 1005 */
	BROKEN("\x88\x82\0\0\0\0\x03\xee", 1002, "ws: close without a right code"); /* 1006 */
	BROKEN("\x88\x82\0\0\0\0\x03\xf7", 1002, "ws: close without a right code"); /* 1015 */
	BROKEN("\x88\x82\0\0\0\0\x0b\xb7", 1002, "ws: close without a right code"); /* 2999 */
	BROKEN("\x88\x82\0\0\0\0\x13\x88", 1002, "ws: close without a right code"); /* 5000 */
	BROKEN("\x88\x83\0\0\0\0\x03\xe8\xff", 1007, "ws: close reason is not UTF-8");
	BROKEN("\x88\x84\0\0\0\0\x03\xe8\xc3\x28", 1007, "ws: close reason is not UTF-8");
}

static void text_that_is_none(void **state)
{
	static const struct ws_setup binary = { .service = "m", .binary = true };

	(void)state;
	BROKEN("\x81\x81\0\0\0\0\x80", 1007, "ws: text is not UTF-8");
	BROKEN("\x81\x82\0\0\0\0\xc0\xaf", 1007, "ws: text is not UTF-8");
	BROKEN("\x81\x83\0\0\0\0\xed\xa0\x80", 1007, "ws: text is not UTF-8");
	BROKEN("\x81\x84\0\0\0\0\xf4\x90\x80\x80", 1007, "ws: text is not UTF-8");
	BROKEN("\x81\x83\0\0\0\0\xe0\x80\x80", 1007, "ws: text is not UTF-8");
	BROKEN("\x81\x84\0\0\0\0\xf0\x80\x80\x80", 1007, "ws: text is not UTF-8");
	BROKEN("\x81\x8a\0\0\0\0"
	       "12345678\xc3\x28",
	       1007, "ws: text is not UTF-8");
	BROKEN("\x81\x82\0\0\0\0\xe2\x82", 1007, "ws: text is not UTF-8");
	BROKEN("\x01\x82\0\0\0\0\xe2\x82\x80\x80\0\0\0\0", 1007, "ws: text is not UTF-8");
	broken(&binary, "\x81\x81\0\0\0\0x", 7, 1003, "ws: text where only binary frames are taken");
	broken(&binary, "\x01\x80\0\0\0\0", 6, 1003, "ws: text where only binary frames are taken");
}

static void text_that_is_some(void **state)
{
	(void)state;
	for (size_t piece = 1; piece < 40; piece++) {
		up(&plain);
		PUT(0x01, "12345678 \xe2\x82");
		PUT(0x89, "\xff");
		PUT(0x00, "\xac \xf0\x9f\x98");
		PUT(0x80, "\x80\0");
		PUT(0x82, "\xff");
		PUT(0x81, "");
		assert_true(feed(piece) > 0);
		assert_bytes(&s.up, "12345678 \xe2\x82\xac \xf0\x9f\x98\x80\0\xff");
		stop(NULL);
	}
}

static void large_messages(void **state)
{
	static const struct ws_setup ten = { .service = "m", .most = 10 };

	(void)state;
	up(&ten);
	PUT(0x02, "12345");
	PUT(0x80, "67890");
	PUT(0x82, "1234567890");
	assert_true(feed(100) > 0);
	assert_int_equal(s.up.n, 20);
	stop(NULL);
	broken(&ten, "\x82\x8b\0\0\0\0", 6, 1009, "ws: message too large");
	broken(&ten, "\x02\x80\0\0\0\0\x80\x8b\0\0\0\0", 12, 1009, "ws: message too large");
	broken(&ten, "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 14, 1009, "ws: message too large");
}

/* ---- frames that go ---- */

static void what_is_written(void **state)
{
	static uint8_t big[16384];
	const struct span v[] = { { (const uint8_t *)"ab", 2 }, { NULL, 0 }, { (const uint8_t *)"cde", 3 } };

	(void)state;
	up(&plain);
	assert_int_equal(side_write_pieces(&s, v, 3), 0);
	assert_bytes(&s.down, "\x82\5abcde");
	assert_int_equal(side_write(&s, big, 125), 0);
	assert_memory_equal(s.down.p, "\x82\x7d\0", 3);
	s.down.n = 0;
	assert_int_equal(side_write(&s, big, 126), 0);
	assert_memory_equal(s.down.p, "\x82\x7e\0\x7e\0", 5);
	s.down.n = 0;
	assert_int_equal(side_write(&s, big, sizeof(big)), 0);
	assert_memory_equal(s.down.p, "\x82\x7e\x40\0\0", 5);
	assert_int_equal(s.down.n, sizeof(big) + 4);
}

static void written_as_text(void **state)
{
	static const struct ws_setup text = { .service = "m", .text = true };
	static const struct span v[] = { { (const uint8_t *)"\xe2", 1 }, { (const uint8_t *)"\x82", 1 } };

	(void)state;
	up(&text);
	assert_int_equal(side_write(&s, "hi\n", 3), 0);
	assert_bytes(&s.down, "\x81\3hi\n");
	assert_int_equal(side_write_pieces(&s, v, 2), 0);
	assert_int_equal(s.down.n, 0);
	assert_int_equal(side_write(&s, "\xac!", 2), 0);
	assert_bytes(&s.down, "\x81\4\xe2\x82\xac!");
	assert_int_equal(side_write(&s, "a\xff\xe2\xe2\x28\xc0", 6), 0);
	assert_bytes(&s.down, "\x81\x0e"
			      "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd");
	assert_int_equal(side_write(&s, "\xf0\x9f\x98", 3), 0);
	assert_int_equal(s.down.n, 0);
	assert_int_equal(side_finish(&s), 0);
	assert_bytes(&s.down, "\x81\3\xef\xbf\xbd\x88\2\x03\xe8");
}

static void much_that_is_no_text(void **state)
{
	static const struct ws_setup text = { .service = "m", .text = true };
	static uint8_t none[16384];
	size_t at = 0, characters = 0;

	(void)state;
	memset(none, 0xff, sizeof(none));
	up(&text);
	assert_int_equal(side_write(&s, none, sizeof(none)), 0);
	while (at < s.down.n) {
		size_t n = s.down.p[at + 1], head = 2;

		if (n == 126) {
			n = (size_t)s.down.p[at + 2] << 8 | s.down.p[at + 3];
			head = 4;
		}
		assert_int_equal(s.down.p[at], 0x81);
		assert_int_equal(n % 3, 0);
		characters += n / 3;
		at += head + n;
	}
	assert_int_equal(at, s.down.n);
	assert_int_equal(characters, sizeof(none));
}

/* ---- ends ---- */

static void the_peer_closes(void **state)
{
	(void)state;
	for (size_t piece = 1; piece < 20; piece++) {
		up(&plain);
		PUT(0x82, "a");
		PUT(0x88, "\x03\xe9going away");
		PUT(0x82, "nothing");
		assert_int_equal(bytes_add(&wire, "\xff\xff\xff", 3), 0);
		assert_true(feed(piece) > 0);
		assert_true(s.clean_eof);
		assert_bytes(&s.up, "a");
		assert_int_equal(s.down.n, 0);
		assert_int_equal(side_write(&s, "last", 4), 0); /* what is begun may be said */
		assert_int_equal(side_finish(&s), 0);
		assert_bytes(&s.down, "\x82\4last\x88\2\x03\xe9");
		assert_int_equal(side_write(&s, "x", 1), -EPIPE);
		stop(NULL);
	}
	up(&plain);
	PUT(0x88, "");
	assert_true(feed(100) > 0);
	assert_int_equal(side_finish(&s), 0);
	assert_bytes(&s.down, "\x88\0");
}

static void we_close(void **state)
{
	(void)state;
	up(&plain);
	assert_int_equal(side_finish(&s), 0);
	assert_bytes(&s.down, "\x88\2\x03\xe8");
	assert_int_equal(side_finish(&s), 0);
	PUT(0x82, "still here");
	PUT(0x89, "and there?");
	PUT(0x88, "\x03\xe8");
	assert_true(feed(100) > 0);
	assert_bytes(&s.up, "still here");
	assert_int_equal(s.down.n, 0);
	assert_true(s.clean_eof);
}

static void good_codes(void **state)
{
	static const uint16_t codes[] = { 1000, 1001, 1002, 1003, 1007, 1010, 1011,
					  1012, 1013, 1014, 3000, 3999, 4000, 4999 };

	(void)state;
	for (size_t i = 0; i < N(codes); i++) {
		uint8_t b[2] = { (uint8_t)(codes[i] >> 8), (uint8_t)codes[i] };

		up(&plain);
		put(0x88, b, 2);
		assert_true(feed(100) > 0);
		assert_int_equal(side_finish(&s), 0);
		assert_memory_equal(s.down.p + 2, b, 2);
		stop(NULL);
	}
}

/* ---- pongs ---- */

static void pongs_wait_for_room(void **state)
{
	(void)state;
	up(&plain);
	s.queued = (16 << 10) + 1;
	s.now = 7 * SEC;
	for (unsigned i = 0; i < 1000; i++)
		put(0x89, &(uint16_t){ (uint16_t)i }, 2);
	PUT(0x89, "last");
	PUT(0x82, "x");
	assert_true(feed(997) > 0);
	assert_int_equal(s.down.n, 0);
	assert_bytes(&s.up, "x");
	assert_int_equal(s.layer->due(s.self), 8 * SEC);
	s.now = 8 * SEC;
	assert_int_equal(side_tick(&s), 0);
	assert_int_equal(s.down.n, 0);
	assert_int_equal(s.layer->due(s.self), 9 * SEC);
	s.queued = 100;
	assert_int_equal(side_tick(&s), 0);
	assert_bytes(&s.down, "\x8a\4last");
	assert_int_equal(s.layer->due(s.self), 0);
	s.queued = 1 << 20;
	wire.n = 0;
	PUT(0x89, "a");
	assert_true(feed(100) > 0);
	assert_int_equal(side_write(&s, "b", 1), 0);
	s.queued = 0;
	assert_int_equal(side_write(&s, "c", 1), 0);
	assert_bytes(&s.down, "\x82\1b\x8a\1a\x82\1c");
	s.queued = 1 << 20;
	assert_true(feed(100) > 0);
	assert_int_equal(side_finish(&s), 0);
	s.queued = 0;
	assert_int_equal(side_tick(&s), 0);
	assert_bytes(&s.down, "\x88\2\x03\xe8"); /* nothing after a Close */
}

static void before_it_is_up(void **state)
{
	(void)state;
	start(&plain);
	assert_int_equal(side_write(&s, "x", 1), -ENOTCONN);
	assert_int_equal(s.layer->open(&(uint8_t[1024]){}, NULL, &(struct layer_io){}), -ENOMEM);
}

/* ---- memory ---- */

#ifdef GUICHET_FAULTS
static void all_of_it(const struct ws_setup *setup, unsigned long nth)
{
	struct ws_ctx *ctx;
	int r = ws_ctx_new(setup, &ctx);

	assert_int_equal(r, 0);
	s.fail_at = nth;
	r = side_start(&s, &ws_server_layer, ctx);
	wire.n = 0;
	assert_int_equal(bytes_add(&wire, REQUEST, sizeof(REQUEST) - 1), 0);
	PUT(0x82, "hello");
	PUT(0x89, "ping");
	s.queued = 1 << 20;
	if (r == 0)
		r = (int)side_feed(&s, wire.p, wire.n);
	s.queued = 0;
	if (r >= 0)
		r = side_write(&s, "bye", 3);
	if (r >= 0)
		r = side_finish(&s);
	assert_true(r >= 0 || r == -ENOMEM);
}

static void memory_is_out(void **state)
{
	static const struct ws_setup setup = { .service = "m", .subprotocols = names };
	unsigned long n;

	(void)state;
	all_of_it(&setup, 0);
	n = s.allocations;
	assert_true(n > 5);
	stop(NULL);
	for (unsigned long i = 1; i <= n; i++) {
		all_of_it(&setup, i);
		assert_int_equal(s.err, -ENOMEM);
		stop(NULL);
	}
}
#else
static void memory_is_out(void **state)
{
	(void)state;
	skip();
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(the_handshake_of_the_standard, stop),
		cmocka_unit_test_teardown(what_it_waits_for, stop),
		cmocka_unit_test_teardown(frames_may_follow_at_once, stop),
		cmocka_unit_test_teardown(difficult_but_right, stop),
		cmocka_unit_test_teardown(refusals, stop),
		cmocka_unit_test_teardown(a_person_is_told, stop),
		cmocka_unit_test_teardown(too_much, stop),
		cmocka_unit_test_teardown(paths, stop),
		cmocka_unit_test_teardown(origins, stop),
		cmocka_unit_test_teardown(subprotocols, stop),
		cmocka_unit_test_teardown(frames_of_all_sizes, stop),
		cmocka_unit_test_teardown(a_message_in_fragments, stop),
		cmocka_unit_test_teardown(payload_comes_before_its_end, stop),
		cmocka_unit_test_teardown(rules, stop),
		cmocka_unit_test_teardown(text_that_is_none, stop),
		cmocka_unit_test_teardown(text_that_is_some, stop),
		cmocka_unit_test_teardown(large_messages, stop),
		cmocka_unit_test_teardown(what_is_written, stop),
		cmocka_unit_test_teardown(written_as_text, stop),
		cmocka_unit_test_teardown(much_that_is_no_text, stop),
		cmocka_unit_test_teardown(the_peer_closes, stop),
		cmocka_unit_test_teardown(we_close, stop),
		cmocka_unit_test_teardown(good_codes, stop),
		cmocka_unit_test_teardown(pongs_wait_for_room, stop),
		cmocka_unit_test_teardown(before_it_is_up, stop),
		cmocka_unit_test_teardown(memory_is_out, stop),
	};

	return cmocka_run_group_tests(tests, tls_fix_set_up, tls_fix_tear_down);
}
