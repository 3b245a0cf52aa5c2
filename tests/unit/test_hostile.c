/*
 * test_hostile.c - every row of tests/corpus/hostile over the memory driver, in pieces of 1 to all of its bytes, against what the row
 * promises. While a stranger plays it, another client (the witness) goes on talking; in the end only its session is left.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "core/session.h"
#include "drive/net/guard.h"
#include "layer/ws.h"
#include "proto/protos.h"
#include "support/tls_world.h"
#include "support/world.h"

static const char folder[] = "tests/corpus/hostile";

enum {
	SEGMENTS = 4,
	SEGMENT_MAX = 4096,
	HANDSHAKE_BY = 10, /* seconds */
	ALL = 0,           /* as the size of pieces */
};

struct row {
	char id[40], protocol[20], transport[8];
	unsigned segments;
	uint8_t bytes[SEGMENTS][SEGMENT_MAX];
	size_t n[SEGMENTS];
};

/* ---- the stage ---- */

struct scene {
	const struct row *row;
	size_t piece;
	struct world w;
	struct memconn *witness, *stranger;
	unsigned sessions; /* without the stranger */
};

/* The witness says a line, and hears what `answer` is. */
static void testify(struct scene *s, const char *answer)
{
	memconn_sends(s->witness, "still here\n");
	assert_said_span(s->witness, span_str(answer));
}

static void begin(struct scene *s, const struct proto *proto, const char *const *options)
{
	world_open_with(&s->w, proto, &(struct mem_setup){ .first = HANDSHAKE_BY * SEC, .linger = SEC }, options);
	s->witness = world_client(&s->w);
	s->sessions = memdrive_sessions(s->w.drive);
}

static void enter_bare(struct scene *s)
{
	s->stranger = world_client(&s->w);
}

static void enter_tls(struct scene *s, struct tls_ctx *ctx)
{
	s->stranger = memconn_open(s->w.drive, &(struct mem_open){ .layer = &tls_server_layer,
								   .layer_arg = tls_arg_new(ctx, NULL) });
	assert_non_null(s->stranger);
}

static void send_all(struct scene *s)
{
	for (unsigned i = 0; i < s->row->segments; i++)
		memconn_send(s->stranger, s->row->bytes[i], s->row->n[i], s->piece);
}

static void assert_over(const struct scene *s, enum mem_end how, const char *reason)
{
	assert_int_equal(memconn_end(s->stranger), how);
	assert_string_equal(memconn_reason(s->stranger), reason);
}

static void end(struct scene *s)
{
	memdrive_advance(s->w.drive, 2 * SEC); /* it lingers */
	assert_int_equal(memdrive_sessions(s->w.drive), s->sessions);
	world_close(&s->w);
}

static const char *const upper[] = { "upper", "yes", NULL, NULL };

/* ---- echo and the other small services ---- */

/*
 * What the small services answer to one datagram of a stranger is no weapon: who asked gets at most what it sent, or
 * 512 bytes.
 */
static void echo_loop(struct scene *s)
{
	static const struct {
		const struct proto *proto;
		size_t most;
	} rows[] = { { &echo_proto, 1 },      { &discard_proto, 0 }, { &chargen_proto, 1 },
		     { &daytime_proto, 512 }, { &time_proto, 4 },    { &qotd_proto, 512 } };
	struct peer *local = peer_new(PEER_IP4, "\x7f\0\0\1", 4, 7, 0);
	struct route self = { .n = 16, .sa = { AF_INET, 0, 0, 7, 127, 0, 0, 1 } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct memconn *d;

		assert_true(rows[i].proto->flags & P_SMALL || rows[i].proto == &discard_proto);
		world_open(&s->w, rows[i].proto, NULL);
		d = memdrive_dgram(s->w.drive);
		memconn_dgram(d, "192.0.2.1:4711", false, s->row->bytes[0], s->row->n[0]);
		assert_true(memconn_dgrams(d) <= 1);
		assert_true(memconn_dgrams(d) == 0 || memconn_dgram_at(d, 0)->data.n <= rows[i].most);
		world_close(&s->w);
	}
	/* who else is to hear nothing at all is the driver's to tell by these; see also drive/net/test_guard.c */
	assert_int_equal(guard_port(&self), 7);
	assert_true(guard_is_self(&self, local));
	peer_unref(local);
}

static void echo_format(struct scene *s)
{
	begin(s, &echo_proto, (const char *const[]){ "reply", "you asked for: %s", NULL, NULL });
	enter_bare(s);
	send_all(s);
	assert_said(s->stranger, "you asked for: %s%n%1000000d\n");
	memconn_eof(s->stranger);
	testify(s, "you asked for: still here\n");
	end(s);
}

/* 1 MiB without a line end; it is refused long before. */
static void say_a_mebibyte(struct scene *s)
{
	static uint8_t some[1 << 16];

	memset(some, 'a', sizeof(some));
	for (int i = 0; i < 16; i++)
		memconn_send(s->stranger, some, sizeof(some), s->piece == ALL ? ALL : 16 * s->piece);
}

static void echo_line_1m(struct scene *s)
{
	begin(s, &echo_proto, upper);
	enter_bare(s);
	say_a_mebibyte(s);
	assert_said(s->stranger, "error: a line may have at most 65536 bytes\n");
	testify(s, "STILL HERE\n");
	memdrive_advance(s->w.drive, SEC);
	assert_over(s, MEM_CLOSED, "line-too-long");
	end(s);
}

static void echo_reset(struct scene *s)
{
	begin(s, &echo_proto, upper);
	enter_bare(s);
	send_all(s);
	memconn_reset(s->stranger);
	assert_over(s, MEM_ABORTED, "reset-by-peer");
	assert_said(s->stranger, "");
	testify(s, "STILL HERE\n");
	end(s);
}

static void echo_never_reads(struct scene *s)
{
	const struct sess *sess;

	begin(s, &echo_proto, (const char *const[]){ NULL, NULL });
	enter_bare(s);
	memconn_window(s->stranger, 0);
	say_a_mebibyte(s);
	sess = memconn_sess(s->stranger);
	assert_true(memconn_peak(s->stranger) <= SESS_HIWAT + HOST_RBUF);
	assert_true(sess->in.len - sess->in.off <= SESS_HIWAT + HOST_RBUF);
	assert_true(memconn_unread(s->stranger) > 1 << 19);
	testify(s, "still here\n");
	memconn_reset(s->stranger);
	end(s);
}

/* ---- chat ---- */

static void chat_escape(struct scene *s)
{
	begin(s, &chat_proto, (const char *const[]){ "names", "yes", NULL, NULL });
	enter_bare(s);
	memconn_take(s->stranger, SIZE_MAX);
	memconn_take(s->witness, SIZE_MAX); /* who came */
	send_all(s);
	assert_false(memchr(memconn_out(s->stranger).p, '\x1b', memconn_out(s->stranger).n));
	assert_said(s->witness, "");
	memconn_reset(s->stranger);
	end(s);
}

static void chat_line_1m(struct scene *s)
{
	begin(s, &chat_proto, (const char *const[]){ "names", "no", NULL, NULL });
	enter_bare(s);
	say_a_mebibyte(s);
	assert_true(memconn_out(s->stranger).n < 100);
	assert_memory_equal(memconn_out(s->stranger).p, "error: a line", 13);
	testify(s, "");
	memdrive_advance(s->w.drive, SEC);
	assert_over(s, MEM_CLOSED, "line-too-long");
	end(s);
}

/* ---- TLS ---- */

static void tls_stall(struct scene *s)
{
	begin(s, &echo_proto, upper);
	enter_tls(s, tls_fix.plain);
	send_all(s);
	assert_int_equal(memconn_end(s->stranger), MEM_OPEN);
	testify(s, "STILL HERE\n");
	memdrive_advance(s->w.drive, HANDSHAKE_BY * SEC);
	assert_over(s, MEM_ABORTED, "handshake-timeout");
	testify(s, "STILL HERE\n");
	end(s);
}

/* A client that means another protocol. The bytes of the row are a description; OpenSSL's client acts it out. */
static void tls_alpn(struct scene *s)
{
	static const char *const ours[] = { "mqtt", NULL };
	struct tls_ctx *ctx = tls_fix_context(&(struct tls_setup){ .alpn = ours });
	struct peer_end e;

	begin(s, &echo_proto, upper);
	enter_tls(s, ctx);
	end_init(&e, tls_fix.client_ssl[1], true);
	SSL_set_alpn_protos(e.ssl, (const uint8_t *)"\2h2", 3);
	tls_carry(s->stranger, &e, s->piece);
	assert_int_equal(e.alert & 255, 120);
	testify(s, "STILL HERE\n");
	memdrive_advance(s->w.drive, SEC);
	assert_int_equal(memconn_end(s->stranger), MEM_CLOSED);
	end(s);
	end_done(&e);
	tls_ctx_unref(ctx);

	begin(s, &echo_proto, upper); /* and its text is not TLS */
	enter_tls(s, tls_fix.plain);
	send_all(s);
	testify(s, "STILL HERE\n");
	memdrive_advance(s->w.drive, HANDSHAKE_BY * SEC);
	assert_string_not_equal(memconn_reason(s->stranger), "");
	end(s);
}

static void refused_by_tls(struct scene *s, const char *why)
{
	begin(s, &echo_proto, upper);
	enter_tls(s, tls_fix.plain);
	send_all(s);
	testify(s, "STILL HERE\n");
	memdrive_advance(s->w.drive, SEC);
	assert_over(s, MEM_CLOSED, why);
	assert_true(memconn_peak(s->stranger) < 64 << 10);
	end(s);
}

static void tls_plain_http(struct scene *s)
{
	refused_by_tls(s, "tls: peer sent plain http");
}

static void tls_hello_16m(struct scene *s)
{
	refused_by_tls(s, "tls: client hello too long");
}

static void tls_alert_flood(struct scene *s)
{
	refused_by_tls(s, "tls: unexpected message");
}

/* ---- WebSocket ---- */

static void enter_ws(struct scene *s)
{
	static const char *const names[] = { "mqtt", NULL };
	struct ws_ctx *ctx;

	assert_int_equal(ws_ctx_new(&(struct ws_setup){ .service = "echo", .subprotocols = names }, &ctx), 0);
	s->stranger = memconn_open(s->w.drive, &(struct mem_open){ .layer = &ws_server_layer, .layer_arg = ctx });
	assert_non_null(s->stranger);
}

/* The handshake is right, and what follows is not: our last frame is a Close with 1002. */
static void refused_by_ws(struct scene *s)
{
	struct span out;

	begin(s, &echo_proto, (const char *const[]){ NULL, NULL });
	enter_ws(s);
	memconn_send(s->stranger, s->row->bytes[0], s->row->n[0], s->piece);
	assert_int_equal(memdrive_stat(s->w.drive, STAT_WEBSOCKETS), 1);
	memconn_take(s->stranger, SIZE_MAX);
	memconn_send(s->stranger, s->row->bytes[1], s->row->n[1], s->piece);
	out = memconn_out(s->stranger);
	assert_true(out.n >= 4 && out.p[0] == 0x88 && out.p[1] == out.n - 2);
	assert_int_equal(out.p[2] << 8 | out.p[3], 1002);
	testify(s, "still here\n");
	memdrive_advance(s->w.drive, SEC);
	assert_int_equal(memconn_end(s->stranger), MEM_CLOSED);
	assert_memory_equal(memconn_reason(s->stranger), "ws: ", 4);
	end(s);
}

static const char ws_request[] = "GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
				 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

static void ws_ping_flood(struct scene *s)
{
	static uint8_t pings[131 * 400];

	begin(s, &echo_proto, (const char *const[]){ NULL, NULL });
	enter_ws(s);
	memconn_sends(s->stranger, ws_request);
	memconn_window(s->stranger, 0);
	for (size_t at = 0; at < sizeof(pings); at += 131)
		memcpy(pings + at, "\x89\xfd\1\2\3\4", 6);
	for (int i = 0; i < 40; i++)
		memconn_send(s->stranger, pings, sizeof(pings), s->piece == ALL ? ALL : 131 * s->piece);
	assert_int_equal(memconn_end(s->stranger), MEM_OPEN);
	assert_true(memconn_peak(s->stranger) <= (16 << 10) + HOST_RBUF);
	testify(s, "still here\n");
	memconn_take(s->stranger, SIZE_MAX);
	memconn_window(s->stranger, MEM_NO_LIMIT);
	memdrive_advance(s->w.drive, SEC);
	memconn_take(s->stranger, SIZE_MAX);
	memconn_send(s->stranger, "\x89\x80\0\0\0\0", 6, s->piece); /* who reads again is answered again */
	assert_said(s->stranger, "\x8a\0");
	memconn_reset(s->stranger);
	end(s);
}

static void ws_head_16k(struct scene *s)
{
	begin(s, &echo_proto, (const char *const[]){ NULL, NULL });
	enter_ws(s);
	memconn_sends(s->stranger, "GET / HTTP/1.1\r\nX: ");
	say_a_mebibyte(s);
	assert_memory_equal(memconn_out(s->stranger).p, "HTTP/1.1 431 ", 13);
	testify(s, "still here\n");
	memdrive_advance(s->w.drive, SEC);
	assert_over(s, MEM_CLOSED, "ws: fields too long");
	end(s);
}

/* ---- MQTT ---- */

/* The witness has come, and is answered. */
static void mqtt_testify(struct scene *s)
{
	memconn_send(s->witness, "\xc0\0", 2, 0);
	assert_said(s->witness, "\xd0\0");
}

static void mqtt_begin(struct scene *s, const char *filter)
{
	uint8_t sub[] = "\x82\x06\0\1\0\1#\0";

	begin(s, &mqtt_proto, (const char *const[]){ "sys_interval", "0", NULL, NULL });
	memconn_send(s->witness, "\x10\x13\0\4MQTT\4\2\0\0\0\7witness", 21, 0);
	assert_said(s->witness, "\x20\2\0\0");
	if (filter) {
		sub[6] = (uint8_t)*filter;
		memconn_send(s->witness, sub, 8, 0);
		assert_said(s->witness, "\x90\3\0\1\0");
	}
	enter_bare(s);
}

/*
 * Closed: 3.1.1 has no word for it, 5.0 has, and before a version is known there is none. The witness hears nothing of
 * it.
 */
static void mqtt_refused(struct scene *s)
{
	static const struct {
		const char *id, *said, *reason;
		size_t n;
	} rows[] = {
#define ROW(id, said, reason) { "mqtt-" id, said, reason, sizeof(said) - 1 }
		ROW("nonconnect-huge", "", "first-not-connect"),
		ROW("varint-5b", "", "length-malformed"),
		ROW("varint-overlong", "", "length-malformed"),
		ROW("topic-len0", "\x20\2\0\0", "topic-empty"),
		ROW("client-connack", "\xe0\1\x82", "packet-unexpected"),
		ROW("will-control", "", "will-topic-invalid"),
		ROW("utf8-overlong", "\x20\2\0\0", "text-malformed"),
		ROW("utf8-surrogate", "\x20\2\0\0", "text-malformed"),
		ROW("utf8-nul", "\x20\2\0\0", "text-malformed"),
		ROW("utf8-trunc", "\x20\2\0\0", "text-malformed"),
		ROW("hdr-type15-v4", "\x20\2\0\0", "type-reserved"),
		ROW("hdr-sub-flags", "\x20\2\0\0", "flags-reserved"),
		ROW("hdr-pub-dup-qos0", "\x20\2\0\0", "flags-reserved"),
		ROW("mid0", "\x20\2\0\0", "id-zero"),
		ROW("sub-empty", "\x20\2\0\0", "filters-none"),
		ROW("alias-unknown", "\xe0\1\x82", "alias-unknown"),
		ROW("prop-len", "\x20\3\0\x81\0", "packet-malformed"),
#undef ROW
	};
	struct span out;
	size_t i = 0;

	while (i < sizeof(rows) / sizeof(rows[0]) && strcmp(rows[i].id, s->row->id) != 0)
		i++;
	assert_true(i < sizeof(rows) / sizeof(rows[0]));
	mqtt_begin(s, "#");
	send_all(s);
	out = memconn_out(s->stranger);
	assert_true(out.n >= rows[i].n);
	if (rows[i].n)
		assert_memory_equal(out.p + out.n - rows[i].n, rows[i].said, rows[i].n);
	assert_true(memconn_peak(s->stranger) < 64);
	assert_said(s->witness, "");
	mqtt_testify(s);
	memdrive_advance(s->w.drive, SEC);
	assert_over(s, MEM_CLOSED, rows[i].reason);
	end(s);
}

/* Served, and the end is its own. */
static void mqtt_served(struct scene *s, const char *said, size_t n)
{
	mqtt_begin(s, "#");
	send_all(s);
	assert_said_span(s->stranger, (struct span){ (const uint8_t *)said, n });
	assert_said(s->witness, "");
	mqtt_testify(s);
	assert_int_equal(memconn_end(s->stranger), MEM_OPEN);
	memconn_reset(s->stranger);
	end(s);
}

static void mqtt_dollar_topic(struct scene *s)
{
	mqtt_served(s, "\x20\2\0\0", 4);
}

static void mqtt_bad_filter(struct scene *s)
{
	mqtt_served(s, "\x20\2\0\0\x90\3\0\1\x80", 9);
}

/* An identifier is a text and no filter: another one whose name it would match stays. */
static void mqtt_clientid_hash(struct scene *s)
{
	mqtt_served(s, "\x20\2\0\0", 4);
}

/*
 * It may be silent for a day, if it has said so; who has said nothing at all has 10 seconds. See also connect-ok.txt:
 * keepalive_max.
 */
static void mqtt_slowite(struct scene *s)
{
	mqtt_begin(s, NULL);
	memdrive_advance(s->w.drive, 10 * SEC);
	memdrive_advance(s->w.drive, SEC);
	assert_over(s, MEM_CLOSED, "first");
	mqtt_testify(s);
	end(s);
	mqtt_served(s, "\x20\2\0\0", 4);
}

static const uint8_t mqtt_hello[] = "\x10\x0d\0\4MQTT\4\2\0\x3c\0\1a";

static void mqtt_enter(struct scene *s)
{
	mqtt_begin(s, "#");
	memconn_send(s->stranger, mqtt_hello, 15, s->piece);
	assert_said(s->stranger, "\x20\2\0\0");
}

static size_t large_piece(const struct scene *s)
{
	return s->piece == ALL ? ALL : 16 * s->piece;
}

/* 200 times one message of 1000 bytes, with QoS 2 and one identifier: it is one, and each is answered. */
static void mqtt_same_mid(struct scene *s)
{
	uint8_t m[1008] = "\x34\xed\7\0\1t\0\1";
	struct span out;

	memset(m + 8, 'x', 1000);
	mqtt_enter(s);
	for (int i = 0; i < 200; i++)
		memconn_send(s->stranger, m, sizeof(m), large_piece(s));
	out = memconn_out(s->stranger);
	assert_int_equal(out.n, 200 * 4);
	assert_int_equal(memconn_out(s->witness).n, 3 + 3 + 1000);
	memconn_take(s->witness, SIZE_MAX);
	mqtt_testify(s);
	memconn_reset(s->stranger);
	end(s);
}

/* 250 messages with QoS 2, and never PUBREL: the one after the hundredth is too many. */
static void mqtt_no_pubrel(struct scene *s)
{
	uint8_t m[7] = "\x34\5\0\1t\0";

	mqtt_enter(s);
	for (uint8_t i = 1; i <= 250; i++) {
		m[6] = i;
		memconn_send(s->stranger, m, sizeof(m), s->piece);
	}
	assert_int_equal(memconn_out(s->stranger).n, 100 * 4);
	assert_int_equal(memconn_out(s->witness).n, 100 * 5);
	memconn_take(s->witness, SIZE_MAX);
	mqtt_testify(s);
	memdrive_advance(s->w.drive, SEC);
	assert_over(s, MEM_CLOSED, "receive-maximum");
	end(s);
}

/* A topic of 65,400 slashes: more levels than there may be. */
static void mqtt_slashes(struct scene *s)
{
	static uint8_t m[65406] = "\x30\xfa\xfe\3\xff\x78";

	memset(m + 6, '/', sizeof(m) - 6);
	mqtt_enter(s);
	memconn_send(s->stranger, m, sizeof(m), large_piece(s));
	assert_said(s->witness, "");
	mqtt_testify(s);
	memdrive_advance(s->w.drive, SEC);
	assert_over(s, MEM_CLOSED, "topic-invalid");
	end(s);
}

/* 20,000 filters in one packet: the first 1,000 are taken. */
static void mqtt_sub_many(struct scene *s)
{
	enum { FILTERS = 20000 };
	static uint8_t m[6 + FILTERS * 8] = "\x82\x82\xe2\x09\0\1";
	struct span out;

	for (int i = 0; i < FILTERS; i++) {
		char text[9];

		snprintf(text, sizeof(text), "%05d", i);
		memcpy(m + 6 + 8 * i, "\0\5", 2);
		memcpy(m + 8 + 8 * i, text, 5);
		m[13 + 8 * i] = 0;
	}
	mqtt_enter(s);
	memconn_send(s->stranger, m, sizeof(m), large_piece(s));
	out = memconn_out(s->stranger);
	assert_int_equal(out.n, 4 + 2 + FILTERS);
	for (size_t i = 0; i < FILTERS; i++)
		assert_int_equal(out.p[6 + i], i < 1000 ? 0 : 0x80);
	mqtt_testify(s);
	memconn_reset(s->stranger);
	end(s);
}

/* A CONNECT that ends after each of its bytes: nothing is said, and after 10 seconds it is closed. */
static void mqtt_truncated(struct scene *s)
{
	mqtt_begin(s, "#");
	memconn_reset(s->stranger);
	for (size_t n = 1; n < sizeof(mqtt_hello) - 1; n++) {
		enter_bare(s);
		memconn_send(s->stranger, mqtt_hello, n, s->piece);
		assert_said(s->stranger, "");
		mqtt_testify(s);
		memdrive_advance(s->w.drive, HANDSHAKE_BY * SEC);
		memdrive_advance(s->w.drive, SEC);
		assert_over(s, MEM_CLOSED, "first");
	}
	end(s);
}

/* ---- the rows ---- */

static const struct {
	const char *id;
	void (*play)(struct scene *s);
} plays[] = {
	{ "echo-loop", echo_loop },
	{ "echo-format", echo_format },
	{ "echo-line-1m", echo_line_1m },
	{ "echo-reset", echo_reset },
	{ "echo-never-reads", echo_never_reads },
	{ "chat-escape", chat_escape },
	{ "chat-line-1m", chat_line_1m },
	{ "tls-stall", tls_stall },
	{ "tls-alpn", tls_alpn },
	{ "tls-plain-http", tls_plain_http },
	{ "tls-hello-16m", tls_hello_16m },
	{ "tls-alert-flood", tls_alert_flood },
	{ "ws-len-nonmin", refused_by_ws },
	{ "ws-unmasked", refused_by_ws },
	{ "ws-ctl-126", refused_by_ws },
	{ "ws-ctl-frag", refused_by_ws },
	{ "ws-rsv", refused_by_ws },
	{ "ws-cont-first", refused_by_ws },
	{ "ws-bad-op", refused_by_ws },
	{ "ws-ping-flood", ws_ping_flood },
	{ "ws-head-16k", ws_head_16k },
	{ "mqtt-nonconnect-huge", mqtt_refused },
	{ "mqtt-varint-5b", mqtt_refused },
	{ "mqtt-varint-overlong", mqtt_refused },
	{ "mqtt-topic-len0", mqtt_refused },
	{ "mqtt-client-connack", mqtt_refused },
	{ "mqtt-dollar-topic", mqtt_dollar_topic },
	{ "mqtt-slash-publish", mqtt_slashes },
	{ "mqtt-clientid-hash", mqtt_clientid_hash },
	{ "mqtt-qos2-same-mid", mqtt_same_mid },
	{ "mqtt-qos2-no-pubrel", mqtt_no_pubrel },
	{ "mqtt-will-control", mqtt_refused },
	{ "mqtt-utf8-overlong", mqtt_refused },
	{ "mqtt-utf8-surrogate", mqtt_refused },
	{ "mqtt-utf8-nul", mqtt_refused },
	{ "mqtt-utf8-trunc", mqtt_refused },
	{ "mqtt-hdr-type15-v4", mqtt_refused },
	{ "mqtt-hdr-sub-flags", mqtt_refused },
	{ "mqtt-hdr-pub-dup-qos0", mqtt_refused },
	{ "mqtt-mid0", mqtt_refused },
	{ "mqtt-sub-empty", mqtt_refused },
	{ "mqtt-sub-many", mqtt_sub_many },
	{ "mqtt-filter-a#", mqtt_bad_filter },
	{ "mqtt-filter-mid#", mqtt_bad_filter },
	{ "mqtt-filter-share-nogrp", mqtt_bad_filter },
	{ "mqtt-alias-unknown", mqtt_refused },
	{ "mqtt-prop-len", mqtt_refused },
	{ "mqtt-trunc-each-byte", mqtt_truncated },
	{ "mqtt-slowite", mqtt_slowite },
};

static void read_segment(struct row *r, unsigned i)
{
	char path[200];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/%s.%u", folder, r->protocol, r->id, i);
	f = fopen(path, "rbe");
	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	r->n[i] = fread(r->bytes[i], 1, SEGMENT_MAX, f);
	fclose(f);
}

static void play_row(const struct row *r)
{
	size_t most = 1, k = 0;

	while (k < sizeof(plays) / sizeof(plays[0]) && strcmp(plays[k].id, r->id) != 0)
		k++;
	if (k == sizeof(plays) / sizeof(plays[0]))
		fail_msg("%s/corpus.tsv: nothing here checks row %s", folder, r->id);
	for (unsigned i = 0; i < r->segments; i++)
		most = r->n[i] > most ? r->n[i] : most;
	if (r->segments == 0)
		most = 100;
	for (size_t piece = 1; piece <= most; piece += 1 + piece / 16) {
		struct scene s = { .row = r, .piece = piece };

		plays[k].play(&s);
	}
	plays[k].play(&(struct scene){ .row = r, .piece = ALL });
}

static void every_row(void **state)
{
	static struct row r;
	char path[100], line[1000];
	size_t rows = 0;
	FILE *f;

	(void)state;
	snprintf(path, sizeof(path), "%s/corpus.tsv", folder);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f)); /* the names of the columns */
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%39s\t%19s\t%7s\t%u\t", r.id, r.protocol, r.transport, &r.segments) != 4 ||
		    r.segments > SEGMENTS)
			fail_msg("%s: cannot read this row: %s", path, line);
		for (unsigned i = 0; i < r.segments; i++)
			read_segment(&r, i);
		play_row(&r);
		rows++;
	}
	fclose(f);
	assert_int_equal(rows, sizeof(plays) / sizeof(plays[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_row) };

	if (tls_use_mem() < 0)
		return 1;
	return cmocka_run_group_tests(tests, tls_fix_set_up, tls_fix_tear_down);
}
