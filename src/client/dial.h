/*
 * dial.h - to connect to an address as a client: what TLS and WebSocket need is made once, then each CHILD_CONNECT gets it.
 */
#pragma once
#include "base/addr.h"
#include "core/proto_child.h"
#include "layer/tls.h"

struct tls_ctx;
struct ws_ctx;

struct dial_setup {
	const struct addr_text *to; /* must live as long as the dial */
	/* for a secure address */
	bool insecure;          /* whoever answers will do */
	struct span ca;         /* PEM of the authorities to trust; empty = the system's */
	const char *name;       /* that the certificate must have; NULL = the host of the address */
	struct tls_identity id; /* ours, for a server that asks; empty = none */
	/* for WebSocket */
	const char *subprotocol; /* NULL = none is offered */
};

struct dial {
	const struct dial_setup *setup;
	char address[ADDR_TEXT_MAX];
	struct tls_ctx *tls; /* NULL: not secure */
	struct ws_ctx *ws;   /* NULL: no WebSocket */
};

/* 0, or -errno with a sentence in `why`. dial_done() is right in either case. The setup is borrowed until then. */
[[nodiscard]] int dial_init(struct dial *d, const struct dial_setup *setup, struct buf *why);
void dial_done(struct dial *d);

/*
 * Fills in kind, address and layer of a child; -ENOMEM. Once it is open and there is d->ws, push ws_client_layer with
 * ws_ctx_ref(d->ws) and wait for EV_LAYER.
 */
[[nodiscard]] int dial_child(const struct dial *d, struct child *ret);

/* Why it did not work, in words: of the driver, or of errno as it is meant for this address. */
const char *dial_meaning(const struct dial *d, int err, const char *why);
