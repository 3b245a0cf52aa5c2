/* limit.c - what the limits of a service cost its clients: counted, and told in the log. See shard.h. */
#include <errno.h>
#include <stdatomic.h>

#include "proto/mqtt/mqtt_priv.h"
#include "store/topic.h"

enum {
	NAME = 1024,      /* bytes of a name in the log */
	KEPT = NAME + 64, /* one that is longer is cut by the log, which says so */
};

static const char *const words[MQTT_LIMITS] = {
	[MQTT_L_QUEUE] = "queue-full",       [MQTT_L_REFUSED] = "queue-refused",      [MQTT_L_DISK] = "store-full",
	[MQTT_L_SESSIONS] = "sessions",      [MQTT_L_RETAINED] = "retained-full",     [MQTT_L_WILL] = "will-denied",
	[MQTT_L_PUBLISH] = "publish-denied", [MQTT_L_SUBSCRIBE] = "subscribe-denied",
};

static void keep(struct buf *b, struct span name)
{
	if (!b->max)
		buf_init(b, KEPT);
	buf_reset(b);
	buf_add(b, name.p, name.n);
}

static void tell(struct mqtt_limited *l, struct io *io, enum mqtt_limit which, const struct mqtt_whose *last)
{
	const struct limited what = {
		.reason = words[which],
		.client = last->client,
		.topic = last->topic,
		.session = last->session,
		.count = l->n,
	};

	io_limit(io, &what);
	l->n = 0;
	l->told = io->now;
}

/* One line a second for each limit and loop: a flood of them would be the next thing to be lost. A session cannot set the shard's timer. */
void mqtt_limit(struct io *io, enum mqtt_limit which, const struct mqtt_whose *whose)
{
	struct mqtt_shard *shard = io->shard;
	struct mqtt_limited *l = &shard->limited[which];
	bool first = !l->told;

	l->n++;
	if (first || io->now - l->told >= SEC) {
		tell(l, io, which, whose);
	} else {
		keep(&l->client, whose->client);
		keep(&l->topic, whose->topic);
		l->last = whose->session;
	}
	if (first)
		port_post(io->svc->port, port_here(io->svc->port, io), MQTT_ALARM, NULL);
}

nsec mqtt_limits_due(const struct mqtt_shard *shard)
{
	nsec due = UINT64_MAX;

	for (unsigned i = 0; i < MQTT_LIMITS; i++)
		if (shard->limited[i].told && shard->limited[i].told + SEC < due)
			due = shard->limited[i].told + SEC;
	return due;
}

/* As long as there are more, a line a second; then the next one is a first one again. */
void mqtt_limits_tell(struct mqtt_shard *shard, struct io *io, bool all)
{
	for (unsigned i = 0; i < MQTT_LIMITS; i++) {
		struct mqtt_limited *l = &shard->limited[i];
		const struct mqtt_whose last = { buf_span(&l->client), buf_span(&l->topic), l->last };

		if (!l->told || (!all && io->now - l->told < SEC))
			continue;
		if (l->n)
			tell(l, io, (enum mqtt_limit)i, &last);
		else
			l->told = 0;
	}
}

void mqtt_limits_done(struct mqtt_shard *shard)
{
	for (unsigned i = 0; i < MQTT_LIMITS; i++) {
		buf_done(&shard->limited[i].client);
		buf_done(&shard->limited[i].topic);
	}
}

void mqtt_denied(struct io *io, enum mqtt_limit which, struct span client, struct span topic)
{
	io_count(io, MQTT_DENIED, 1);
	mqtt_limit(io, which, &(struct mqtt_whose){ client, topic, io->self });
}

/* Of what happens in the server it is only counted: a line about it would be the next event, for the same full queue, for ever. */
void mqtt_lost(struct io *io, const struct subscriber *whose, const struct message *m, int r)
{
	mqtt_dropped(io);
	if (r == -ENOBUFS && !topic_is_own(message_topic(m)))
		mqtt_limit(io, MQTT_L_QUEUE,
			   &(struct mqtt_whose){
				   .client = subscriber_name(whose),
				   .session = atomic_load_explicit(&whose->where, memory_order_relaxed) });
}

/*
 * queue_full = refuse: what one that is kept has no room for goes to nobody, and its publisher may try again. Only 5.0 has a word for that.
 */
bool mqtt_must_refuse(const struct mqtt *self, struct io *io, const struct message *m)
{
	struct subscriber_limits lim = mqtt_limits(io);
	struct topics *t = mqtt_service(io)->topics;
	struct mqtt_shard *shard = io->shard;
	char name[NAME];
	struct buf whose;

	if (!lim.refuse || !m->qos || self->version != MQTT_5 || !topics_any(t))
		return false;
	buf_init_fixed(&whose, name, sizeof(name));
	if (!topics_full(t, m, &lim, &shard->found_all, &whose))
		return false;
	mqtt_limit(io, MQTT_L_QUEUE, &(struct mqtt_whose){ .client = buf_span(&whose) });
	mqtt_refused(io);
	mqtt_limit(io, MQTT_L_REFUSED,
		   &(struct mqtt_whose){ subscriber_name(self->session), message_topic(m), io->self });
	return true;
}
