/* message.c - see message.h. */
#include "store/message.h"

#include <stdatomic.h>

#include "base/mem.h"

enum { PUBLISH = 0x30, TOPIC_AT = MESSAGE_HEAD + 2 };

/* Right before the topic, so that both are one piece: MESSAGE_HEAD bytes have room for the longest. */
static void put_head(struct message *m)
{
	uint8_t head[MESSAGE_HEAD] = { PUBLISH };
	uint32_t left = 2u + m->topic_n + m->payload_n;
	uint8_t n = 1;

	do {
		head[n] = left & 0x7f;
		left >>= 7;
		head[n++] |= left ? 0x80 : 0;
	} while (left);
	memcpy(m->bytes + MESSAGE_HEAD - n, head, n);
	m->head_n = n;
	m->bytes[MESSAGE_HEAD] = (uint8_t)(m->topic_n >> 8);
	m->bytes[MESSAGE_HEAD + 1] = (uint8_t)m->topic_n;
}

/* Not inline: of a size that it can tell to be small gcc makes a `rep movsq`, whose start alone takes longer than the rest. */
__attribute__((noinline)) static void put(uint8_t *to, struct span s)
{
	if (s.n)
		memcpy(to, s.p, s.n);
}

struct message *message_new(const struct message_birth *b)
{
	size_t small = b->payload.n <= MESSAGE_COPY ? b->payload.n : 0;
	struct message *m = mem_alloc(sizeof(*m) + TOPIC_AT + b->topic.n + small + b->props.n);

	if (!m)
		return NULL;
	*m = (struct message){
		.refs = 1,
		.qos = b->qos,
		.retain = b->retain,
		.topic_n = (uint16_t)b->topic.n,
		.props_n = (uint32_t)b->props.n,
		.payload_n = (uint32_t)b->payload.n,
		.expires = b->expires,
		.from = b->from,
	};
	if (b->payload.n > MESSAGE_COPY) {
		m->large = b->large ? blob_ref(b->large) : blob_new(&b->payload, 1);
		if (!m->large) {
			mem_free(m);
			return NULL;
		}
	}
	put_head(m);
	put(m->bytes + TOPIC_AT, b->topic);
	put(m->bytes + TOPIC_AT + b->topic.n, (struct span){ b->payload.p, small });
	put(m->bytes + TOPIC_AT + b->topic.n + small, b->props);
	return m;
}

struct message *message_copy(const struct message *m)
{
	const struct message_birth b = {
		.topic = message_topic(m),
		.payload = message_payload(m),
		.large = m->large,
		.props = message_props(m),
		.qos = m->qos,
		.retain = m->retain,
		.expires = m->expires,
		.from = m->from,
	};

	return message_new(&b);
}

struct message *message_ref(struct message *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void message_unref(struct message *m)
{
	if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
		return;
	blob_unref(m->large);
	mem_free(m);
}

static size_t small_n(const struct message *m)
{
	return m->large ? 0 : m->payload_n;
}

struct span message_topic(const struct message *m)
{
	return (struct span){ m->bytes + TOPIC_AT, m->topic_n };
}

struct span message_payload(const struct message *m)
{
	return m->large ? blob_span(m->large) : (struct span){ m->bytes + TOPIC_AT + m->topic_n, m->payload_n };
}

struct span message_props(const struct message *m)
{
	return (struct span){ m->bytes + TOPIC_AT + m->topic_n + small_n(m), m->props_n };
}

struct span message_packet(const struct message *m)
{
	if (m->large)
		return (struct span){};
	return (struct span){ m->bytes + MESSAGE_HEAD - m->head_n, m->head_n + 2u + m->topic_n + m->payload_n };
}

size_t message_size(const struct message *m)
{
	return sizeof(*m) + TOPIC_AT + m->topic_n + m->payload_n + m->props_n;
}
