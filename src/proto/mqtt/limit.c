/* limit.c - what the limits of a service cost its clients: counted, and told in the log. See shard.h. */
#include <errno.h>

#include "proto/mqtt/mqtt_priv.h"
#include "store/topic.h"

enum { NAME = 1024 }; /* bytes of a name in the log */

static const char *const words[MQTT_LIMITS] = {
	[MQTT_L_QUEUE] = "queue-full",  [MQTT_L_REFUSED] = "queue-refused",  [MQTT_L_DISK] = "store-full",
	[MQTT_L_SESSIONS] = "sessions", [MQTT_L_RETAINED] = "retained-full", [MQTT_L_WILL] = "will-denied",
};

/* One line a second for each limit and loop: a flood of them would be the next thing to be lost. */
void mqtt_limit(struct io *io, enum mqtt_limit which, struct span whose)
{
	struct mqtt_shard *shard = io->shard;
	struct mqtt_limited *l = &shard->limited[which];

	l->n++;
	if (l->told && io->now - l->told < SEC)
		return;
	io_limit(io, words[which], whose, l->n);
	*l = (struct mqtt_limited){ .told = io->now };
}

/* Of what happens in the server it is only counted: a line about it would be the next event, for the same full queue, for ever. */
void mqtt_lost(struct io *io, const struct subscriber *whose, const struct message *m, int r)
{
	mqtt_dropped(io);
	if (r == -ENOBUFS && !topic_is_own(message_topic(m)))
		mqtt_limit(io, MQTT_L_QUEUE, subscriber_name(whose));
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
	mqtt_limit(io, MQTT_L_QUEUE, buf_span(&whose));
	mqtt_refused(io);
	mqtt_limit(io, MQTT_L_REFUSED, subscriber_name(self->session));
	return true;
}
