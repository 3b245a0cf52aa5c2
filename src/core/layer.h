/*
 * layer.h - a layer turns bytes into bytes between a transport and a protocol: TLS, WebSocket frames,
 * compression, a PROXY header. It sees no fd and no clock; the core calls it and moves what it gives.
 */
#pragma once
#include "base/span.h"
#include "core/stats.h"

struct inbuf;
struct outq;

/* What a layer may write to during one call. */
struct layer_io {
	struct inbuf *up;  /* plain bytes for the protocol or the layer above: layer_up() */
	struct outq *down; /* wire bytes for the peer or the layer below: layer_down() */
	nsec now;
	bool is_up;     /* set by the layer, once: the handshake is over */
	bool clean_eof; /* set by the layer: the peer ended this layer as it should (close_notify) */
	bool spent;     /* set by the layer: from here on it would only hand bytes on, both ways; it is taken out */
	/*
	 * Set by the layer: who is really at the other end, with a reference that is the session's from then on. Log, limits and
	 * the protocol see this address instead of the transport's; what the transport knew of its own peer (unix credentials)
	 * is forgotten, because that was somebody else.
	 */
	const struct peer *peer;
	int *handshakes; /* handshake steps that this turn still allows, shared by all; counted down */
	size_t queued;   /* bytes that wait for the peer already: what answers by itself may wait too */
};

[[nodiscard]] int layer_up(struct layer_io *lio, const void *p, size_t n);   /* 0 or -ENOMEM */
[[nodiscard]] int layer_down(struct layer_io *lio, const void *p, size_t n); /* 0 or -ENOMEM */

/* What a layer knows about the peer; strings live as long as the layer. */
struct layer_info {
	const char *version, *cipher; /* "TLSv1.3", "TLS_AES_128_GCM_SHA256" */
	const char *server_name;      /* SNI, or NULL */
	const char *alpn;             /* protocol agreed on, or NULL */
	const char *certificate;      /* subject of the verified client certificate, or NULL */
	const char *subprotocol;      /* of WebSocket, agreed on; or NULL */
	const char *path;             /* and what was asked for, with its query */
};

struct layer {
	const char *name;
	bool confidential;
	bool handshake;             /* is_up comes later: the deadline `first` applies, the protocol waits */
	enum counter ups, failures; /* of handshakes: counted when it is up, and when it failed or was late */
	size_t self_size;
	/* 0 or -errno. arg: what io_layer() or the listener gave; the layer owns it from here on, also on failure. */
	int (*open)(void *self, void *arg, struct layer_io *lio);
	int (*begin)(void *self, struct layer_io *lio); /* all below it is up: it may speak first; may be NULL */
	void (*drop_arg)(void *arg);                    /* for an arg whose layer was never opened; may be NULL */
	/*
	 * Takes from raw; returns how many bytes it took (a partial record may stay), or -errno: the session
	 * ends. -EAGAIN: no handshake left in this turn, call again in the next with the same bytes.
	 * What it queued down before failing (an alert) is still sent.
	 */
	ssize_t (*decode)(void *self, struct span raw, struct layer_io *lio);
	int (*encode)(void *self, const struct span *v, size_t n, struct layer_io *lio); /* <= 16 KiB in all */
	int (*finish)(void *self, struct layer_io *lio); /* our end: close_notify; may be NULL */
	nsec (*due)(const void *self);                   /* when tick() wants to run, 0 = never; may be NULL */
	int (*tick)(void *self, struct layer_io *lio);
	void (*info)(const void *self, struct layer_info *ret); /* sets what it knows and nothing else; may be NULL */
	/*
	 * After a failure: a reason in the field's words. While the handshake lasts: what it waits for, when the peer is late or
	 * has gone; NULL: "handshake-timeout", "gone-in-handshake". May be NULL.
	 */
	const char *(*why)(const void *self);
	void (*fini)(void *self); /* also after open() has failed */
};
