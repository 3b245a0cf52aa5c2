/*
 * test_ws.h - a side of WebSocket by itself, for test_ws.c and test_ws_client.c. Each test ends with stop(), as its
 * teardown. The names are short because every line of these tests says them.
 */
#pragma once
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "layer/ws.h"
#include "support/tls_peer.h"

#define ANSWER_TO(KEY_ACCEPT) \
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " KEY_ACCEPT \
	"\r\n"

static const char *const names[] = { "mqtt", "mqttv3.1", NULL };

static struct side s;
static struct bytes wire; /* what the peer sends */

static inline void start(const struct ws_setup *setup)
{
	struct ws_ctx *ctx;

	assert_int_equal(ws_ctx_new(setup, &ctx), 0);
	assert_int_equal(side_start(&s, setup->client ? &ws_client_layer : &ws_server_layer, ctx), 0);
}

static inline int stop(void **state)
{
	(void)state;
	side_done(&s);
	bytes_done(&wire);
	return 0;
}

static inline const char *why(void)
{
	return s.layer->why(s.self);
}

static inline struct layer_info info(void)
{
	struct layer_info i = {};

	s.layer->info(s.self, &i);
	return i;
}

static inline ssize_t feeds(const char *text)
{
	return side_feed(&s, text, strlen(text));
}

/* All of `wire`, in pieces; the last result. */
static inline ssize_t feed(size_t piece)
{
	ssize_t r = 0;

	for (size_t at = 0, k; at < wire.n && r >= 0; at += k) {
		k = wire.n - at < piece ? wire.n - at : piece;
		r = side_feed(&s, wire.p + at, k);
	}
	return r;
}
