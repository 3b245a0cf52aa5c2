/* test_proxy.c - PROXY headers: what is one, what is none, in every chunking; and what becomes of a session's peer. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc.h"
#include "base/fault.h"
#include "layer/proxy.h"
#include "support/toy_stage.h"
#include "support/world.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define SPAN(text) ((struct span){ (const uint8_t *)(text), sizeof(text) - 1 })

static const char *text_of(const struct proxy_header *h)
{
	static char text[PEER_TEXT];
	struct peer *p = peer_new(h->kind, h->b, h->n, h->port, 0);

	peer_text(p, text);
	peer_unref(p);
	return text;
}

/* The whole is a header that speaks for `who`; no part of it is one, and what follows does not matter. */
static void assert_header(struct span s, const char *who)
{
	struct proxy_header h;
	const char *why;
	uint8_t more[1024];

	for (size_t i = 0; i < s.n; i++) {
		assert_int_equal(proxy_parse((struct span){ s.p, i }, &h, &why), 0);
		assert_string_equal(why, i ? "proxy: header not complete" : "proxy: no header");
	}
	assert_true(s.n < sizeof(more));
	memcpy(more, s.p, s.n);
	memset(more + s.n, '\r', sizeof(more) - s.n);
	for (size_t i = s.n; i < sizeof(more); i += 100) {
		assert_int_equal(proxy_parse((struct span){ more, i }, &h, &why), s.n);
		assert_string_equal(text_of(&h), who);
	}
}

/* It is none, and that is known no later than with its last byte. */
static void assert_none(struct span s, const char *reason)
{
	struct proxy_header h = { .port = 77 };
	const char *why;

	assert_int_equal(proxy_parse(s, &h, &why), -EPROTO);
	assert_string_equal(why, reason);
	assert_int_equal(h.port, 77);
}

/* ---- version 1 ---- */

static void test_v1(void **state)
{
	(void)state;
	assert_header(SPAN("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"), "192.0.2.1:56324");
	assert_header(SPAN("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255:65535");
	assert_header(SPAN("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), "0.0.0.0:0");
	assert_header(SPAN("PROXY TCP6 2001:db8::1 ::1 1 2\r\n"), "[2001:db8::1]:1");
	assert_header(SPAN("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"), "192.0.2.1:1"); /* brackets are for IPv6 only */
	assert_header(SPAN("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
			   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
		      "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
	assert_header(SPAN("PROXY UNKNOWN\r\n"), "-");
	/* the longest there is: 107 bytes */
	assert_header(SPAN("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
			   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
		      "-");
}

static void test_bad_v1(void **state)
{
	static const char *const bad[] = {
		"PROXX",
		"PROXY\r\n",
		"PROXY \r\n",
		"PROXY  TCP4 192.0.2.1 198.51.100.7 1 2\r\n",
		"PROXY TCP5 192.0.2.1 198.51.100.7 1 2\r\n",
		"PROXY tcp4 192.0.2.1 198.51.100.7 1 2\r\n",
		"PROXY TCP4 192.0.2.1  198.51.100.7 1 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 1 2 \r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 -1 2\r\n",
		"PROXY TCP4 192.0.2.01 198.51.100.7 1 2\r\n",
		"PROXY TCP4 192.0.2 198.51.100.7 1 2\r\n",
		"PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100 1 2\r\n",
		"PROXY TCP4 ::1 ::1 1 2\r\n",
		"PROXY TCP6 192.0.2.1 ::1 1 2\r\n",
		"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
		"PROXY TCP6 ::1 ::1::1 1 2\r\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n",
		"PROXY TCP4 192.0.2.1 198.51.100.7 1 2\rX",
		"PROXY UNKNOWN\n",
		"PROXY UNKNOWNX\r\n",
		"PROXY UNKNOWN a\nb\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_none(span_str(bad[i]), i == 0 ? "proxy: no header" : "proxy: malformed header");
	assert_none(SPAN("PROXY TCP4 192.0.2.1\0 198.51.100.7 1 2\r\n"), "proxy: malformed header");
	assert_none(span_str("GET / HTTP/1.1\r\n"), "proxy: no header");
	assert_none(span_str("p"), "proxy: no header");
}

static void test_long_v1(void **state)
{
	struct proxy_header h;
	const char *why;
	char line[200];

	(void)state;
	memset(line, 'x', sizeof(line));
	memcpy(line, "PROXY UNKNOWN ", 14);
	assert_int_equal(proxy_parse((struct span){ (uint8_t *)line, 106 }, &h, &why), 0);
	assert_none((struct span){ (uint8_t *)line, 107 }, "proxy: header too long");
	memcpy(line + 106, "\r\n", 2); /* 108 bytes */
	assert_none((struct span){ (uint8_t *)line, 108 }, "proxy: header too long");
	memcpy(line + 105, "\r\n", 2);
	assert_header((struct span){ (uint8_t *)line, 107 }, "-");
}

/* ---- version 2 ---- */

static struct span make(uint8_t how, uint8_t family, const void *p, size_t n)
{
	static uint8_t b[600];

	memcpy(b, SIGNATURE, 12);
	b[12] = how;
	b[13] = family;
	b[14] = (uint8_t)(n >> 8);
	b[15] = (uint8_t)n;
	assert_true(n <= sizeof(b) - 16);
	memcpy(b + 16, p, n);
	return (struct span){ b, 16 + n };
}

#define V4 "\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb"
#define V6 \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1" \
	"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1" \
	"\x00\x19\x00\x1a"
#define HEADER(how, family, text) make(how, family, text, sizeof(text) - 1)

static void test_v2(void **state)
{
	uint8_t paths[216] = "/run/client.sock";

	(void)state;
	assert_header(HEADER(0x21, 0x11, V4), "192.0.2.1:56324");
	assert_header(HEADER(0x21, 0x12, V4), "192.0.2.1:56324");
	assert_header(HEADER(0x21, 0x21, V6), "[2001:db8::1]:25");
	assert_header(make(0x21, 0x31, paths, sizeof(paths)), "/run/client.sock");
	memset(paths, 'a', 108);
	assert_header(make(0x21, 0x31, paths, sizeof(paths)),
		      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		      "aaaaaaaaaaaaaaaa");
	memset(paths, 0, 108);
	assert_header(make(0x21, 0x32, paths, sizeof(paths)), "unix");
	memcpy(paths, "\0abc", 4);
	assert_header(make(0x21, 0x31, paths, sizeof(paths)), "@abc");
	/* the proxy itself, or nobody whom it could name */
	assert_header(HEADER(0x20, 0x00, ""), "-");
	assert_header(HEADER(0x20, 0x11, V4), "-");
	assert_header(HEADER(0x20, 0x11, "x"), "-");
	assert_header(HEADER(0x21, 0x00, ""), "-");
	assert_header(HEADER(0x21, 0x00, "whatever"), "-");
	assert_header(HEADER(0x21, 0x10, V4), "-");
	/* more than the addresses */
	assert_header(HEADER(0x21, 0x11,
			     V4 "\x05\x00\x03"
				"uid"
				"\x04\x00\x00"),
		      "192.0.2.1:56324");
}

static void test_bad_v2(void **state)
{
	static const uint8_t bad[][2] = {
		{ 0x11, 0x11 }, { 0x31, 0x11 }, { 0x22, 0x11 }, { 0x2f, 0x11 },
		{ 0x21, 0x41 }, { 0x21, 0xf1 }, { 0x21, 0x13 },
	};

	struct proxy_header h;
	const char *why;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_none(HEADER(bad[i][0], bad[i][1], V4), "proxy: malformed header");
	assert_none(HEADER(0x21, 0x11, "\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x01"), "proxy: malformed header");
	assert_none(HEADER(0x21, 0x21, V4), "proxy: malformed header");
	assert_none(HEADER(0x21, 0x31, V6), "proxy: malformed header");
	assert_none(HEADER(0x21, 0x11, V4 "\x05"), "proxy: malformed header");
	assert_none(HEADER(0x21, 0x11, V4 "\x05\x00\x01"), "proxy: malformed header");
	assert_none(HEADER(0x21, 0x11,
			   V4 "\x05\xff\xff"
			      "x"),
		    "proxy: malformed header");
	assert_none(HEADER(0x21, 0x11,
			   V4 "\x03\x00\x03"
			      "abc"),
		    "proxy: malformed header");
	assert_none(SPAN("\r\n\r\n\1"), "proxy: no header");
	/* 16 KiB are enough */
	assert_none(SPAN(SIGNATURE "\x21\x11\x3f\xf1"), "proxy: header too long");
	assert_int_equal(proxy_parse(SPAN(SIGNATURE "\x21\x11\x3f\xf0"), &h, &why), 0);
}

/* Over the whole header, with zeros in its own place. */
static void write_checksum(struct span s, uint8_t *at)
{
	uint32_t crc;

	memset(at, 0, 4);
	crc = crc32c(0, s.p, s.n);
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(crc >> (24 - 8 * i));
}

static void test_checksum(void **state)
{
	struct span s = HEADER(0x21, 0x11,
			       V4 "\x04\x00\x01"
				  "x"
				  "\x03\x00\x04\0\0\0\0"
				  "\x04\x00\x00");
	uint8_t *b = (uint8_t *)(uintptr_t)s.p, *at = b + 16 + 12 + 4 + 3;

	(void)state;
	write_checksum(s, at);
	assert_header(s, "192.0.2.1:56324");
	for (size_t i = 16; i < 16 + 12; i++) { /* any bit of the addresses */
		b[i] ^= 0x10;
		assert_none(s, "proxy: wrong checksum");
		b[i] ^= 0x10;
	}
	at[3] ^= 1;
	assert_none(s, "proxy: wrong checksum");
	b[s.n - 3] = 3; /* a second one, of no bytes */
	write_checksum(s, at);
	assert_none(s, "proxy: malformed header");
}

/* ---- a session ---- */

static const char *seen; /* by the protocol, at EV_OPEN */

static enum verdict see_peer(const struct ev *ev, struct io *io)
{
	static char text[PEER_TEXT];

	if (ev->kind == EV_OPEN) {
		seen = peer_text(io->peer, text);
		toy.x[0] = io->who != NULL;
	}
	return toy_echo(ev, io);
}

static void begin(const struct mem_setup *setup)
{
	static const struct who who = { .how = WHO_UNIX, .uid = 42 };

	start_world(see_peer, setup);
	seen = NULL;
	c = memconn_open(w, &(struct mem_open){ .layer = &proxy_layer, .who = &who });
	assert_non_null(c);
}

static const char *peer_now(void)
{
	static char text[PEER_TEXT];

	return peer_text(memconn_sess(c)->peer, text);
}

#define HELLO "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nhello"

static void in_every_chunking(void **state)
{
	(void)state;
	for (size_t piece = 0; piece < sizeof(HELLO); piece++) {
		begin(NULL);
		toy.quiet = true;
		memconn_send(c, HELLO, sizeof(HELLO) - 1, piece);
		assert_string_equal(seen, "192.0.2.1:56324");
		assert_int_equal(toy.x[0], 0); /* the credentials were the proxy's */
		assert_string_equal(peer_now(), "192.0.2.1:56324");
		assert_out(c, "hello");
		memconn_sends(c, "you");
		assert_out(c, "you");
		assert_int_equal(memdrive_stat(w, STAT_PROXIED), 1);
		assert_int_equal(memdrive_stat(w, STAT_HANDSHAKES), 0);
		memconn_eof(c);
		assert_ended(MEM_CLOSED, "");
		stop(NULL);
	}
	w = NULL;
}

static void the_proxy_itself(void **state)
{
	(void)state;
	begin(NULL);
	memconn_send(c, SIGNATURE "\x20\x00\x00\x00", 16, 1);
	assert_log("open");
	assert_string_equal(seen, "127.0.0.1:40000");
	assert_int_equal(toy.x[0], 1);
}

static void below_another_layer(void **state)
{
	(void)state;
	for (size_t k = 1; k < 70; k++) {
		begin(NULL);
		toy.quiet = true;
		assert_int_equal(sess_push_layer(memconn_sess(c), &toy_xor, NULL), 0);
		buf_add(&wire, HELLO, sizeof(HELLO) - 1 - 5);
		hello();
		buf_adds(&wire, "what is this");
		scramble(sizeof(HELLO) - 1 - 5 + 2);
		send_wire(k);
		assert_string_equal(seen, "192.0.2.1:56324");
		toy_xor_in_place((uint8_t *)(uintptr_t)memconn_out(c).p + 1, memconn_out(c).n - 1, KEY);
		assert_out(c, "hwhat is this");
		assert_int_equal(memdrive_stat(w, STAT_PROXIED), 1);
		assert_int_equal(memdrive_stat(w, STAT_HANDSHAKES), 1);
		stop(NULL);
	}
	w = NULL;
}

static void assert_refused_as(const char *reason)
{
	assert_null(seen);
	assert_log("");
	assert_out(c, "");
	assert_string_equal(memconn_reason(c), reason);
	assert_int_equal(memdrive_stat(w, STAT_PROXY_FAILED), 1);
	assert_int_equal(memdrive_stat(w, STAT_HANDSHAKES_FAILED), 0);
	assert_int_equal(memdrive_stat(w, STAT_PROXIED), 0);
}

static void without_a_header(void **state)
{
	(void)state;
	begin(NULL);
	memconn_sends(c, "GET / HTTP/1.0\r\n\r\n");
	assert_refused_as("proxy: no header");
	assert_int_equal(memconn_end(c), MEM_CLOSED);
}

static void with_half_a_header(void **state)
{
	(void)state;
	begin(NULL);
	memconn_sends(c, "PROXY TCP4 192.");
	memconn_eof(c);
	assert_refused_as("proxy: header not complete");
}

static void gone_at_once(void **state)
{
	(void)state;
	begin(NULL);
	memconn_eof(c);
	assert_refused_as("proxy: no header");
}

static void too_late(void **state)
{
	(void)state;
	begin(&(struct mem_setup){ .first = 3 * SEC });
	memdrive_advance(w, 2 * SEC);
	memconn_sends(c, "PROXY");
	memdrive_advance(w, SEC);
	assert_refused_as("proxy: header not complete");
	assert_int_equal(memconn_end(c), MEM_ABORTED);
}

/* The one above it is late, not the header. */
static void too_late_above(void **state)
{
	(void)state;
	begin(&(struct mem_setup){ .first = 3 * SEC });
	assert_int_equal(sess_push_layer(memconn_sess(c), &toy_xor, NULL), 0);
	memconn_sends(c, "PROXY UNKNOWN\r\n");
	memdrive_advance(w, 3 * SEC);
	assert_ended(MEM_ABORTED, "handshake-timeout");
	assert_int_equal(memdrive_stat(w, STAT_HANDSHAKES_FAILED), 1);
	assert_int_equal(memdrive_stat(w, STAT_PROXY_FAILED), 0);
	assert_int_equal(memdrive_stat(w, STAT_PROXIED), 1);
}

/* By itself it hands on what it is given, both ways, also when nobody takes it out. */
static void spent_and_left_in(void **state)
{
	_Alignas(16) uint8_t self[64] = {};
	struct layer_io lio = {};

	(void)state;
	assert_true(proxy_layer.self_size <= sizeof(self));
	assert_int_equal(proxy_layer.open(self, NULL, &lio), 0);
	assert_int_equal(proxy_layer.decode(self, SPAN("PROXY UNKNOWN\r\nabc"), &lio), 15);
	assert_true(lio.is_up && lio.spent && !lio.peer);
	assert_int_equal(proxy_layer.encode(self, NULL, 0, &lio), 0);
}

static void scene(void *arg)
{
	struct world k;
	struct memconn *m;

	(void)arg;
	if (world_try_open(&k, &toy_proto, NULL, (const char *const[]){ NULL, NULL }, NULL) == 0) {
		m = memconn_open(k.drive, &(struct mem_open){ .layer = &proxy_layer });
		if (m) {
			memconn_send(m, HELLO, sizeof(HELLO) - 1, 20);
			memconn_eof(m);
		}
	}
	world_close(&k);
}

static void out_of_memory(void **state)
{
	(void)state;
	toy_reset(toy_echo);
	toy.quiet = true;
	fail_each_allocation(scene, NULL);
	toy_done();
	w = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v1),
		cmocka_unit_test(test_bad_v1),
		cmocka_unit_test(test_long_v1),
		cmocka_unit_test(test_v2),
		cmocka_unit_test(test_bad_v2),
		cmocka_unit_test(test_checksum),
		cmocka_unit_test_teardown(in_every_chunking, stop),
		cmocka_unit_test_teardown(the_proxy_itself, stop),
		cmocka_unit_test_teardown(below_another_layer, stop),
		cmocka_unit_test_teardown(without_a_header, stop),
		cmocka_unit_test_teardown(with_half_a_header, stop),
		cmocka_unit_test_teardown(gone_at_once, stop),
		cmocka_unit_test_teardown(too_late, stop),
		cmocka_unit_test_teardown(too_late_above, stop),
		cmocka_unit_test(spent_and_left_in),
		cmocka_unit_test_teardown(out_of_memory, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
