/*
 * ws.h - WebSocket, RFC 6455, as a layer, both sides: a handshake in HTTP/1.1, then a stream of bytes in frames. No extensions are
 * offered or taken. docs/design/ws.md has the reasons.
 *
 * Two parts, as in tls.h. A *context* is what a configuration (or a caller) says; it never changes and is shared. The *layers*
 * are one connection each. A stream has no messages: what a peer sends in frames and messages of any size is handed up as it comes,
 * and what is written is one message for each piece of at most 16 KiB that the core gathers.
 */
#pragma once
#include "base/span.h"
#include "base/str.h"
#include "core/layer.h"

struct ws_ctx;

/* ---- a context ---- */

/*
 * All of it is borrowed for the call, but for the names of subprotocols, which must live as long as the context. Zero is a server that takes
 * any path, origin and kind of frame, and sends binary ones.
 */
struct ws_setup {
	/*
	 * Best first, NULL-ended; NULL = none. Server: the first of the client's that is in it is chosen; a client that offers
	 * only others is refused, one that offers none is served. Client: what is offered.
	 */
	const char *const *subprotocols;
	const char *subprotocol; /* instead, the only one; NULL = none */
	bool text;               /* what is sent are text messages; bytes that are no UTF-8 become U+FFFD */
	bool binary;             /* text that comes ends the connection (1003) */
	uint64_t most; /* bytes of a message that may come (1009); 0 = any, for nothing here holds a whole one */
	/* server */
	const char *service;      /* its name, for the page that a person sees who comes with a browser */
	struct str_words paths;   /* that may be asked for; none = any. Without the query, compared byte by byte */
	struct str_words origins; /* from which a browser's page may come (https://example.org); none = any */
	/* client */
	bool client;
	const char *host;   /* for Host: example.org:9001 */
	const char *target; /* /path?query; NULL or "" = / */
};

/* 0 and *ret with one reference; -ENOMEM; -EIO: OpenSSL has no SHA-1. Reads OpenSSL's configuration file if it is the first. */
[[nodiscard]] int ws_ctx_new(const struct ws_setup *setup, struct ws_ctx **ret);
struct ws_ctx *ws_ctx_ref(struct ws_ctx *ctx); /* returns ctx; NULL is fine */
void ws_ctx_unref(struct ws_ctx *ctx);         /* from any thread; NULL is fine */

/* ---- a connection ---- */

/*
 * The `arg` of the layers is a reference to a context (NULL as -ENOMEM).
 *
 * The handshake: the server reads a request of at most 16 KiB and answers, with 101, or with a status and a short text for
 * people: 400, 403 (origin), 404 (path), 405, 414, 426 (no WebSocket, or another version), 431, 505. Then the session ends, why() says
 * "ws: path not served". info() has the path with its query, and the subprotocol, while the layer lives.
 *
 * Frames: whatever breaks RFC 6455 is answered with Close and its code (1002, 1003, 1007, 1009), -EPROTO and a why(). The
 * peer's Close is clean_eof; ours is sent by finish(), with the peer's code if it was first, else 1000: so a protocol may say what it has to
 * say at EV_EOF. What comes after the peer's Close is thrown away. encode() before is_up is -ENOTCONN, after finish() -EPIPE.
 *
 * A ping gets its pong, but while more than 16 KiB wait for the peer only the last one does (5.5.3), when there is room
 * again. A client's masks are random numbers that nobody can guess (10.3).
 */
extern const struct layer ws_server_layer, ws_client_layer;
