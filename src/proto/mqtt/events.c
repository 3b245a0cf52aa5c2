/*
 * events.c - what happens in the server (store/events.h), as messages below guichet/: while somebody subscribes there, the shard of the
 * first loop looks every 50 ms. Nothing that their delivery does may be an event, or it goes round for ever: mqtt_lost() knows them, and
 * the trace is none. See shard.h.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "proto/mqtt/shard.h"
#include "store/topic.h"

enum {
	AT_ONCE = 2 * EVENTS_KEPT,
	LEVEL = 64,
};

#define LOOK (50 * MSEC)
#define WANTED (2 * SEC) /* a shard that is busy for so long loses some */

/* From which event on. */
struct listen {
	struct mail mail; /* first */
	uint64_t from;
};

static void drop_listen(struct mail *mail)
{
	mem_free(mail);
}

void mqtt_events_begin(struct io *io)
{
	struct events *e = io->svc->events;
	struct listen *l = e ? mem_zalloc(sizeof(*l)) : NULL;

	if (!l)
		return; /* with the next SUBSCRIBE */
	l->mail.drop = drop_listen;
	l->from = events_end(e);
	events_want(e, io->now + WANTED);
	port_post(io->svc->port, 0, MQTT_LISTEN, &l->mail);
}

/* ---- its topic ---- */

/*
 * The value of a field, as one level of a topic. A quote inside of a value has a backslash before it, so these bytes are the field. Names of
 * sections are ASCII; `/`, `+` and `#` become `_`.
 */
static bool find_level(struct span text, const char *field, char ret[LEVEL])
{
	struct span key = span_str(field);
	size_t n = 0;
	const uint8_t *p = memmem(text.p, text.n, key.p, key.n), *end = text.p + text.n;

	for (p = p ? p + key.n : end; p < end && *p != '"' && n < LEVEL - 1; p++, n++)
		ret[n] = *p > ' ' && *p < 0x7f && !strchr("/+#\\", *p) ? (char)*p : '_';
	ret[n] = '\0';
	return n > 0;
}

static void publish(struct io *io, const char *topic, struct span text)
{
	struct message_birth b = { .topic = span_str(topic), .payload = text };

	if (!mqtt_announce(io, message_new(&b)))
		mqtt_dropped(io);
}

static void tell(struct io *io, struct span text)
{
	char event[LEVEL], service[LEVEL], topic[2 * LEVEL + 16];

	if (!find_level(text, ",\"event\":\"", event))
		return;
	if (find_level(text, ",\"service\":\"", service))
		snprintf(topic, sizeof(topic), "guichet/door/%s/%s", event, service);
	else
		snprintf(topic, sizeof(topic), "guichet/server/%s", event);
	publish(io, topic, text);
}

static void tell_lost(struct mqtt_shard *shard, struct io *io)
{
	char text[LEVEL];

	snprintf(text, sizeof(text), "{\"event\":\"events-lost\",\"count\":%" PRIu64 "}", shard->events.lost);
	publish(io, "guichet/server/events-lost", span_str(text));
	shard->events.lost = 0;
}

/* ---- the shard ---- */

static void go_on(struct mqtt_shard *shard, struct io *io)
{
	shard->listens = topics_watchers(mqtt_service(io)->topics) > 0;
	if (!shard->listens)
		return;
	events_want(io->svc->events, io->now + WANTED);
	io_timer(io, MQTT_SHARD_EVENTS, io->now + LOOK);
}

void mqtt_events_listen(struct mqtt_shard *shard, struct io *io, const struct letter *l)
{
	if (shard->listens)
		return;
	shard->events = (struct events_reader){ .at = ((const struct listen *)l->mail)->from };
	go_on(shard, io);
}

/* Who was kept may have subscribed in an earlier life. */
void mqtt_events_open(struct mqtt_shard *shard, struct io *io)
{
	if (!io->svc->events)
		return;
	shard->events = (struct events_reader){ .at = events_end(io->svc->events) };
	go_on(shard, io);
}

void mqtt_events_look(struct mqtt_shard *shard, struct io *io)
{
	char text[EVENTS_TEXT];
	size_t n;

	for (unsigned i = 0; i < AT_ONCE && events_read(io->svc->events, &shard->events, text, &n) == 1; i++)
		tell(io, (struct span){ (const uint8_t *)text, n });
	if (shard->events.lost)
		tell_lost(shard, io);
	go_on(shard, io);
}
