/*
 * wire.c - where a packet ends, and what its first byte may be. It is judged as early as its bytes allow: a stranger
 * who announces 256 MiB is gone after five bytes.
 */
#include "proto/mqtt/wire.h"

#include "proto/mqtt/wire_priv.h"

#define IN(TYPE) (1U << (TYPE))

enum {
	BOTH = IN(MQTT_PUBLISH) | IN(MQTT_PUBACK) | IN(MQTT_PUBREC) | IN(MQTT_PUBREL) | IN(MQTT_PUBCOMP),
	CLIENT = BOTH | IN(MQTT_CONNECT) | IN(MQTT_SUBSCRIBE) | IN(MQTT_UNSUBSCRIBE) | IN(MQTT_PINGREQ) |
		 IN(MQTT_DISCONNECT),
	SERVER = BOTH | IN(MQTT_CONNACK) | IN(MQTT_SUBACK) | IN(MQTT_UNSUBACK) | IN(MQTT_PINGRESP),
	ONLY_5_CLIENT = IN(MQTT_AUTH),
	ONLY_5_SERVER = IN(MQTT_AUTH) | IN(MQTT_DISCONNECT),
	QOS = 3 << 1,
	DUP = 1 << 3,
};

/* 2.1.2: who sends what, and when. 0 or a reason code. */
static int check_type(struct mqtt_form form, unsigned type, const char **ret_why)
{
	unsigned may = form.from == MQTT_FROM_CLIENT ? CLIENT : SERVER;

	if (type == 0 || (type == MQTT_AUTH && form.version < MQTT_5))
		return mqtt_fail(ret_why, "type-reserved", MQTT_MALFORMED);
	if (form.version == MQTT_UNKNOWN && type != MQTT_CONNECT) /* [MQTT-3.1.0-1] */
		return mqtt_fail(ret_why, "first-not-connect", MQTT_PROTOCOL_ERROR);
	if (form.version == MQTT_5)
		may |= form.from == MQTT_FROM_CLIENT ? ONLY_5_CLIENT : ONLY_5_SERVER;
	if (!(may & IN(type)))
		return mqtt_fail(ret_why, "packet-unexpected", MQTT_PROTOCOL_ERROR);
	if (form.version != MQTT_UNKNOWN && type == MQTT_CONNECT) /* [MQTT-3.1.0-2] */
		return mqtt_fail(ret_why, "connect-twice", MQTT_PROTOCOL_ERROR);
	return 0;
}

/* 2.1.3: the lower half of the first byte [MQTT-2.1.3-1]. */
static int check_flags(struct mqtt_form form, unsigned type, unsigned flags, const char **ret_why)
{
	unsigned want = 0;

	if (type == MQTT_PUBLISH) {
		if ((flags & QOS) == QOS) /* [MQTT-3.3.1-4] */
			return mqtt_fail(ret_why, "qos-invalid", MQTT_MALFORMED);
		if ((flags & QOS) == 0 && flags & DUP) /* [MQTT-3.3.1-2] */
			return mqtt_fail(ret_why, "flags-reserved", MQTT_MALFORMED);
		return 0;
	}
	/* [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] */
	if (type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE) {
		want = 2;
		if (form.version == MQTT_31) /* where these were QoS 1 messages, and DUP said so of the second try */
			flags &= ~(unsigned)DUP;
	}
	/* [MQTT-3.14.1-1] [MQTT-3.15.1-1] */
	return flags == want ? 0 : mqtt_fail(ret_why, "flags-reserved", MQTT_MALFORMED);
}

/* 2.1.4: 1 with the length and the bytes it took, 0 when it goes on behind the end, or a negative reason code. */
static int frame_length(struct span in, size_t *ret_length, size_t *ret_head, const char **ret_why)
{
	size_t v = 0;

	for (size_t i = 1; i < in.n && i <= 4; i++) {
		uint8_t b = in.p[i];

		v |= (size_t)(b & 0x7f) << (7 * (i - 1));
		if (b & 0x80)
			continue;
		if (b == 0 && i > 1) /* fewer bytes would have done [MQTT-1.5.5-1] */
			return mqtt_fail(ret_why, "length-malformed", -MQTT_MALFORMED);
		*ret_length = v;
		*ret_head = i + 1;
		return 1;
	}
	return in.n > 4 ? mqtt_fail(ret_why, "length-malformed", -MQTT_MALFORMED) : 0;
}

/*
 * What is no packet, and never could be one: is it another protocol that whoever is there speaks? The first record of TLS, which is a
 * handshake or an alert; the first line of HTTP. In the middle of a conversation neither is looked for.
 */
static void name_other(struct mqtt_form form, struct span in, const char **ret_why)
{
	static const char *const http[] = { "HTTP", "GET ", "POST", "HEAD" };

	if ((form.version != MQTT_UNKNOWN && form.from == MQTT_FROM_CLIENT) || in.n < 2)
		return;
	if ((in.p[0] == 0x16 || in.p[0] == 0x15) && in.p[1] == 3)
		*ret_why = "peer-speaks-tls";
	for (size_t i = 0; i < sizeof(http) / sizeof(http[0]); i++)
		if (span_starts(in, http[i]))
			*ret_why = "peer-speaks-http";
}

int mqtt_frame(struct mqtt_form form, struct span in, size_t max, struct mqtt_frame *ret, const char **ret_why)
{
	size_t length = 0, head = 0;
	unsigned type, flags;
	int r;

	if (in.n == 0) {
		ret->total = 2;
		return 0;
	}
	type = in.p[0] >> 4;
	flags = in.p[0] & 0xf;
	r = check_type(form, type, ret_why);
	if (r == 0)
		r = check_flags(form, type, flags, ret_why);
	if (r) {
		name_other(form, in, ret_why);
		return -r;
	}
	r = frame_length(in, &length, &head, ret_why);
	if (r < 0)
		return r;
	if (r == 0) {
		ret->total = in.n + 1;
		return 0;
	}
	if (head + length > max)
		return mqtt_fail(ret_why, "packet-too-large", -MQTT_TOO_LARGE);
	ret->total = head + length;
	if (in.n < ret->total)
		return 0;
	*ret = (struct mqtt_frame){
		.form = form,
		.type = (uint8_t)type,
		.flags = (uint8_t)flags,
		.body = { in.p + head, length },
		.total = head + length,
	};
	return 1;
}

int mqtt_parse_ping(const struct mqtt_frame *f, const char **ret_why)
{
	struct take t = take_from(f->body);

	return take_end(&t, ret_why);
}

/* Not 0 when one of eight bytes is `c`. */
static uint64_t bytes_that_are(uint64_t v, uint8_t c)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t x = v ^ (ones * c);

	return (x - ones) & ~x & (ones << 7);
}

bool mqtt_topic_is_plain(struct span topic)
{
	size_t i = 0;

	for (; topic.n - i >= 8; i += 8) {
		uint64_t v;

		memcpy(&v, topic.p + i, sizeof(v));
		if (bytes_that_are(v, '+') | bytes_that_are(v, '#'))
			return false;
	}
	for (; i < topic.n; i++) {
		if (topic.p[i] == '+' || topic.p[i] == '#')
			return false;
	}
	return true;
}
