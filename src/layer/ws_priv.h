/*
 * ws_priv.h - what the files of WebSocket share: ws.c is frames, ws_head.c the handshake, ws_text.c UTF-8 that comes in pieces,
 * ws_ctx.c contexts.
 */
#pragma once
#include <openssl/evp.h>
#include <stdatomic.h>

#include "base/http_head.h"
#include "layer/ws.h"

enum { WS_KEY = 24, WS_ACCEPT = 28 }; /* base64 of 16 and of 20 bytes */

struct ws_ctx {
	_Atomic unsigned refs;
	bool client, text, binary;
	uint64_t most;
	EVP_MD *sha1;
	const char *const *subprotocols;
	const char *one[2]; /* the only one */
	struct str_words paths, origins;
	char *name, *target; /* of the service; or the client's Host and target */
};

/* Bytes of UTF-8 that come in pieces: what may follow. Zero at the beginning, and whenever a character is complete. */
struct ws_utf8 {
	uint8_t need, low, high; /* so many bytes are missing, and the next one is in this range */
};

/* False: it cannot become UTF-8 any more. */
bool ws_utf8_feed(struct ws_utf8 *u, struct span s);

/* What is sent as text: an incomplete character at the end waits for the next piece. */
struct ws_text {
	struct ws_utf8 u;
	uint8_t part[3], n;
};

/*
 * Takes from *s what fits and adds it to `to`, which has room for `n` >= 6 bytes; U+FFFD for what is no UTF-8. How many bytes it
 * added; *s is empty, or `to` is full.
 */
size_t ws_text_take(struct ws_text *t, struct span *s, uint8_t *to, size_t n);
/* Nothing more comes: a character that is not complete is none. At most 3 bytes. */
size_t ws_text_end(struct ws_text *t, uint8_t *to);

/* While the handshake lasts. */
struct ws_hand {
	struct http_reader head;
	char key[WS_KEY + 1]; /* the client's */
};

/* A client's: every frame has four random bytes. */
struct ws_masks {
	uint8_t b[64];
	unsigned left;
};

/* The last ping's, while there is no room for its pong. */
struct ws_pong {
	nsec at; /* when to look for room again */
	uint8_t n, b[125];
};

struct ws {
	struct ws_ctx *ctx;
	struct ws_hand *hand; /* NULL: it is over */
	struct ws_masks *masks;
	struct ws_pong *pong;
	char *path, *why_text;
	const char *subprotocol; /* in ctx->subprotocols */
	const char *why;         /* a literal, or why_text */
	int err;                 /* nothing goes on after it */
	bool up, ended, peer_ended;
	/* the frame and the message that are passing */
	bool fin, in_message, is_text;
	uint8_t mask[4];
	uint16_t code; /* of the peer's Close; 0 = it gave none */
	struct ws_utf8 in;
	struct ws_text out;
	uint64_t left;    /* bytes of the frame to come */
	uint64_t message; /* bytes of the message's frames before */
};

/* ws_head.c: the end of raw's head when the handshake is over, and w->up; 0: more is needed; or -errno, and w->why. */
[[nodiscard]] ssize_t ws_serve(struct ws *w, struct span raw, struct layer_io *lio);
[[nodiscard]] ssize_t ws_hear(struct ws *w, struct span raw); /* the server's answer */
[[nodiscard]] int ws_ask(struct ws *w, struct layer_io *lio); /* the client's request */
