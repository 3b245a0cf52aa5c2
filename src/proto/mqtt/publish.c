/* publish.c - what a client publishes. See mqtt_priv.h. */
#include <errno.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "proto/mqtt/mqtt_priv.h"
#include "store/topic.h"

enum { PROPS = 1024 };

/* ---- aliases ---- */

/* A message that has the topic and nothing else: what an alias stands for. */
static int learn(struct mqtt *self, const struct io *io, uint16_t alias, struct span topic)
{
	const struct message_birth b = { .topic = topic };
	struct message *m;

	if (!self->in) {
		self->in = mem_zalloc(sizeof(*self->in) + mqtt_options(io)->aliases * sizeof(struct message *));
		if (!self->in)
			return -ENOMEM;
		self->in->n = (uint16_t)mqtt_options(io)->aliases;
	}
	m = message_new(&b);
	if (!m)
		return -ENOMEM;
	message_unref(self->in->v[alias - 1]);
	self->in->v[alias - 1] = m;
	return 0;
}

/* 0, a reason code, or -ENOMEM. */
static int resolve(struct mqtt *self, const struct io *io, struct mqtt_publish *p)
{
	uint16_t alias = p->props.alias;

	if (!(p->props.has & MQTT_HAS(MQTT_P_ALIAS)))
		return 0;
	if (alias > mqtt_options(io)->aliases) /* [MQTT-3.3.2-9] */
		return MQTT_BAD_ALIAS;
	if (p->topic.n)
		return learn(self, io, alias, p->topic);
	if (!self->in || alias > self->in->n || !self->in->v[alias - 1])
		return MQTT_PROTOCOL_ERROR;
	p->topic = message_topic(self->in->v[alias - 1]);
	return 0;
}

/* ---- the message ---- */

/* As topics_make(). */
static int make(struct mqtt *self, const struct io *io, const struct mqtt_publish *p, struct message **ret)
{
	struct message_birth b = {
		.topic = p->topic,
		.payload = p->payload,
		.qos = p->qos,
		.retain = p->retain,
		.from = self->session->serial,
	};
	uint8_t usual[PROPS], *props = usual;
	int r;

	if (p->props.has & MQTT_HAS(MQTT_P_EXPIRY))
		b.expires = io->now + p->props.expiry * SEC;
	if (p->props.raw.n > sizeof(usual)) {
		props = mem_alloc(p->props.raw.n);
		if (!props)
			return -ENOMEM;
	}
	b.props = (struct span){ props, p->props.raw.n ? mqtt_props_kept(&p->props, props) : 0 };
	r = topics_make(&self->access, &b, ret);
	if (props != usual)
		mem_free(props);
	return r;
}

/* Whether a bridge of another broker is connected: the one thing below $SYS that others say, as mosquitto's do. */
bool mqtt_is_state(struct span topic)
{
	return topic_matches(span_str("$SYS/broker/connection/+/state"), topic) &&
	       topic_check_name(topic, TOPIC_LEVELS) == 0;
}

/* What a client may not say, in the words of 5.0; 0: it may. */
static int fault_of(const struct io *io, const struct mqtt_publish *p)
{
	if (topic_check_name(p->topic, mqtt_options(io)->levels) < 0)
		return MQTT_BAD_TOPIC;
	if ((span_starts(p->topic, "$SYS/") || span_is(p->topic, "$SYS")) && !mqtt_is_state(p->topic))
		return MQTT_NOT_AUTHORIZED; /* the server's own [4.7.2] */
	if (topic_is_own(p->topic))
		return MQTT_NOT_AUTHORIZED; /* likewise */
	if (p->props.format && !utf8_valid(p->payload))
		return MQTT_BAD_FORMAT;
	return 0;
}

static struct mqtt_memo *memo_of(struct mqtt *self)
{
	if (!self->memo)
		self->memo = mem_zalloc(sizeof(*self->memo));
	return self->memo; /* without one it is looked up each time */
}

/* A reason code; -ENOMEM: not everybody has it who should, so there must be no acknowledgement. */
static int spread(struct mqtt *self, struct io *io, const struct mqtt_publish *p, struct message *m)
{
	/* which would have to be on disk until it is released */
	const bool identifier = p->qos == 2 && mqtt_on_disk(io, self->session);
	int retained = 0, heard;

	/* whether it will be needed is asked last: that is to look for all who hear it */
	if ((p->qos || p->retain) && !mqtt_kept_promise(io, m) && (identifier || mqtt_must_keep(io, m))) {
		mqtt_refused(io);
		mqtt_limit(io, MQTT_L_DISK, &(struct mqtt_whose){ subscriber_name(self->session), p->topic, io->self });
		return MQTT_QUOTA;
	}
	if (p->retain)
		retained = mqtt_retain(self, io, m);
	if (retained == -ENOBUFS && p->qos && self->version == MQTT_5) {
		mqtt_refused(io);
		return MQTT_QUOTA;
	} /* others cannot be told: it goes to those who subscribe, and is not retained */
	heard = mqtt_route(memo_of(self), io, m);
	if (heard < 0 || retained == -ENOMEM)
		return -ENOMEM;
	return heard ? MQTT_OK : MQTT_NO_SUBSCRIBERS;
}

/* To all who hear it; the reason code of its acknowledgement, or -ENOMEM: there must be none. */
static int publish(struct mqtt *self, struct io *io, const struct mqtt_publish *p)
{
	struct message *m;
	int r = make(self, io, p, &m);

	if (r == -EACCES) {
		mqtt_denied(io, MQTT_L_PUBLISH, subscriber_name(self->session), p->topic);
		return MQTT_NOT_AUTHORIZED;
	}
	if (r < 0) {
		mqtt_dropped(io);
		return r;
	}
	if (r == 0 && self->memo)
		self->memo->found_at = 0; /* another topic, also when it is refused */
	r = mqtt_must_refuse(self, io, m) ? MQTT_QUOTA : spread(self, io, p, m);
	message_unref(m);
	return r;
}

/* 3.x has no word for a server that has no room: silence, so that it is sent again. */
static void acknowledge(struct mqtt *self, struct io *io, enum mqtt_type type, uint16_t id, int code)
{
	if (self->version == MQTT_5 || code != MQTT_QUOTA)
		mqtt_answer(self, io, type, id, (unsigned)code);
}

/* 3.x has no word for what is wrong with a message: it is acknowledged, and goes nowhere. Its topic is an error though. */
static enum verdict refuse(struct mqtt *self, struct io *io, const struct mqtt_publish *p, int code)
{
	if (code == MQTT_NOT_AUTHORIZED)
		mqtt_denied(io, MQTT_L_PUBLISH, subscriber_name(self->session), p->topic);
	else
		mqtt_dropped(io);
	if (p->qos == 0 || (self->version != MQTT_5 && code == MQTT_BAD_TOPIC))
		return code == MQTT_BAD_TOPIC ? mqtt_bye(self, io, MQTT_BAD_TOPIC, "topic-invalid") : V_GO;
	mqtt_answer(self, io, p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p->id, (unsigned)code);
	return V_GO;
}

/* Once, however often it is sent: until it is released its identifier is known [MQTT-4.3.3-10]. */
static enum verdict exactly_once(struct mqtt *self, struct io *io, const struct mqtt_publish *p)
{
	struct subscriber_limits lim = mqtt_limits(io);
	int r = subscriber_await(self->session, p->id, &lim);
	bool fresh;

	if (r == -ENOBUFS)
		return mqtt_bye(self, io, MQTT_RECEIVE_MAX, "receive-maximum");
	if (r < 0)
		return mqtt_bye(self, io, MQTT_QUOTA, "out-of-memory");
	fresh = r == 1;
	r = fresh ? publish(self, io, p) : MQTT_OK;
	if (fresh && r >= 0 && r < MQTT_UNSPECIFIED && mqtt_kept_await(io, self->session, p->id) < 0)
		r = -ENOMEM;
	if (fresh && (r < 0 || r >= MQTT_UNSPECIFIED)) /* when it comes again it is a new one */
		subscriber_release(self->session, p->id);
	if (r < 0)
		return mqtt_bye(self, io, MQTT_QUOTA, "out-of-memory");
	acknowledge(self, io, MQTT_PUBREC, p->id, r);
	return V_GO;
}

/* From another broker, and nothing that we asked for or may have here: it is told that all is well. */
static enum verdict pass_over(struct mqtt *self, struct io *io, const struct mqtt_publish *p)
{
	mqtt_dropped(io);
	if (p->qos)
		mqtt_answer(self, io, p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p->id, MQTT_OK);
	return V_GO;
}

enum verdict mqtt_publish(struct mqtt *self, struct io *io, const struct mqtt_frame *f)
{
	struct mqtt_publish p;
	const char *why = NULL;
	int r = mqtt_parse_publish(f, &p, &why);

	if (r)
		return mqtt_bye(self, io, (unsigned)r, why);
	io_count(io, MQTT_RECEIVED, 1);
	mqtt_count(io, MQTT_T_PUBLISH_IN, 1);
	mqtt_count(io, MQTT_T_PUBLISH_BYTES_IN, p.payload.n);
	r = resolve(self, io, &p);
	if (r < 0)
		return mqtt_bye(self, io, MQTT_QUOTA, "out-of-memory");
	if (r)
		return mqtt_bye(self, io, (unsigned)r, "alias-unknown");
	if (self->role == MQTT_OUTWARD && (!mqtt_bridge_in(self, io, &p) || fault_of(io, &p)))
		return pass_over(self, io, &p);
	if (p.retain && !mqtt_options(io)->retain)
		return mqtt_bye(self, io, MQTT_NO_RETAIN, "retain-off");
	r = fault_of(io, &p);
	if (r)
		return refuse(self, io, &p, r);
	if (p.qos == 2)
		return exactly_once(self, io, &p);
	r = publish(self, io, &p);
	if (r < 0)
		return mqtt_bye(self, io, MQTT_QUOTA, "out-of-memory");
	if (p.qos)
		acknowledge(self, io, MQTT_PUBACK, p.id, r);
	return V_GO;
}

enum verdict mqtt_pubrel(struct mqtt *self, struct io *io, const struct mqtt_ack *a)
{
	bool was;

	if (mqtt_kept_release(io, self->session, a->id) < 0) /* known or not: it costs nothing */
		return mqtt_bye(self, io, MQTT_QUOTA, "out-of-memory");
	was = subscriber_release(self->session, a->id);
	mqtt_answer(self, io, MQTT_PUBCOMP, a->id, was ? MQTT_OK : MQTT_ID_UNKNOWN);
	return V_GO;
}
