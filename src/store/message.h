/*
 * message.h - what was published: a topic, a payload and what goes with it, as immutable bytes that all who get it share,
 * in whatever thread they are. Small ones lie so that what most subscribers are sent (QoS 0, without properties) is one copy.
 */
#pragma once
#include "base/blob.h"
#include "base/span.h"

enum {
	MESSAGE_COPY =
		4 << 10,  /* a payload up to here is part of the message; above it is a blob, which others share */
	MESSAGE_HEAD = 5, /* bytes of a fixed header */
};

struct message {
	_Atomic uint32_t refs;
	uint8_t qos; /* as it was published */
	bool retain; /* likewise */
	uint8_t head_n;
	uint16_t topic_n;
	uint32_t props_n;
	uint32_t payload_n;
	uint64_t expires; /* a time of the clock that its makers use; 0 = never */
	uint64_t from;    /* whose it is, for those who do not want to hear themselves; 0 = nobody's */
	/*
	 * Its number on disk (keep.h); 0: in memory alone. Set once, by the loop that makes it, before it gives it to anybody. It may be
	 * retained by then: who found it there delivers it `alone`, and does not look at this.
	 */
	uint64_t kept;
	_Atomic uint64_t mark; /* keep_mark() of where on disk; 0: not handed over yet. For who sends it on */
	struct blob *large;    /* the payload, when it is not below */
	uint8_t bytes[];       /* MESSAGE_HEAD | 2 bytes of length, topic | payload, when small | props */
};

struct message_birth {
	struct span topic;   /* at most 65,535 bytes */
	struct span payload; /* less than 256 MiB */
	struct blob *large; /* has the payload, which is shared then, if it is above MESSAGE_COPY; NULL: it is copied */
	struct span props;  /* of MQTT 5.0, encoded, that are handed on as they are */
	uint8_t qos;
	bool retain;
	uint64_t expires, from;
};

/* With one reference; NULL when memory is out. */
[[nodiscard]] struct message *message_new(const struct message_birth *b);
/* The same, on no disk as yet; a large payload is shared. Likewise. */
[[nodiscard]] struct message *message_copy(const struct message *m);
struct message *message_ref(struct message *m); /* returns m */
void message_unref(struct message *m);          /* NULL is fine */

/* These live as long as the message. */
struct span message_topic(const struct message *m);
struct span message_payload(const struct message *m);
struct span message_props(const struct message *m);

/* The whole packet PUBLISH of MQTT 3.x with QoS 0, not retained; empty when the payload is large. */
struct span message_packet(const struct message *m);

size_t message_size(const struct message *m); /* bytes of memory that it holds, for limits */
