/*
 * sys.c - what the broker tells of itself: $SYS/broker/..., under the names that mosquitto gave it, retained, and again when it has
 * changed. The shard of the first loop does it for all. See shard.h.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/mem.h"
#include "proto/mqtt/shard.h"

enum { TEXT = 64, SPANS = 3 };

/* Averages of so many minutes. */
static const unsigned minutes[SPANS] = { 1, 5, 15 };

/* What there is to tell; the first ones are sums of what the rooms count. */
enum {
	KNOWN = MQTT_TALLIES,
	AWAY,
	SUBSCRIPTIONS,
	RETAINED,
	RETAINED_BYTES,
	MOST,
	DISK_BYTES, /* from here on where there is a store on disk */
	DISK_ROOM,
	DISK_WAITING,
	DISK_RECORDS,
	DISK_COMMITS,
	FIGURES
};

struct row {
	const char *name;
	unsigned figure;
};

static const struct row rows[] = {
	{ "bytes/received", MQTT_T_BYTES_IN },
	{ "bytes/sent", MQTT_T_BYTES_OUT },
	{ "clients/active", MQTT_T_CLIENTS },
	{ "clients/connected", MQTT_T_CLIENTS },
	{ "clients/disconnected", AWAY },
	{ "clients/expired", MQTT_T_ENDED },
	{ "clients/inactive", AWAY },
	{ "clients/maximum", MOST },
	{ "clients/total", KNOWN },
	{ "disk/bytes", DISK_BYTES },
	{ "disk/commits", DISK_COMMITS },
	{ "disk/records", DISK_RECORDS },
	{ "disk/room", DISK_ROOM },
	{ "disk/waiting", DISK_WAITING },
	{ "messages/received", MQTT_T_PACKETS_IN },
	{ "messages/sent", MQTT_T_PACKETS_OUT },
	{ "publish/bytes/received", MQTT_T_PUBLISH_BYTES_IN },
	{ "publish/bytes/sent", MQTT_T_PUBLISH_BYTES_OUT },
	{ "publish/messages/dropped", MQTT_T_DROPPED },
	{ "publish/messages/received", MQTT_T_PUBLISH_IN },
	{ "publish/messages/refused", MQTT_T_REFUSED },
	{ "publish/messages/sent", MQTT_T_PUBLISH_OUT },
	{ "retained messages/bytes", RETAINED_BYTES },
	{ "retained messages/count", RETAINED },
	{ "subscriptions/count", SUBSCRIPTIONS },
};

static const struct row loads[] = {
	{ "bytes/received", MQTT_T_BYTES_IN },     { "bytes/sent", MQTT_T_BYTES_OUT },
	{ "connections", MQTT_T_CONNECTIONS },     { "messages/received", MQTT_T_PACKETS_IN },
	{ "messages/sent", MQTT_T_PACKETS_OUT },   { "publish/dropped", MQTT_T_DROPPED },
	{ "publish/received", MQTT_T_PUBLISH_IN }, { "publish/sent", MQTT_T_PUBLISH_OUT },
	{ "sockets", MQTT_T_CONNECTIONS },
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]), LOADS = sizeof(loads) / sizeof(loads[0]) };

struct mqtt_sys {
	nsec began, last;
	uint64_t told[ROWS], before[LOADS], most;
	double load[LOADS][SPANS];
	bool any; /* something was told */
};

/* ---- publishing ---- */

/* False: memory was out. */
static bool tell(struct io *io, const char *name, const char *text)
{
	char topic[TEXT];
	struct message_birth b = { .payload = span_str(text), .retain = true };

	snprintf(topic, sizeof(topic), "$SYS/broker/%s", name);
	b.topic = span_str(topic);
	return mqtt_announce(io, message_new(&b));
}

static bool tell_number(struct io *io, const char *name, uint64_t n)
{
	char text[TEXT];

	snprintf(text, sizeof(text), "%" PRIu64, n);
	return tell(io, name, text);
}

/* ---- figures ---- */

static void gather_disk(const struct keep *k, uint64_t v[FIGURES])
{
	struct keep_counts n;

	keep_count(k, &n);
	v[DISK_BYTES] = n.file_bytes;
	v[DISK_ROOM] = n.room;
	v[DISK_WAITING] = n.waiting_bytes;
	v[DISK_RECORDS] = n.records;
	v[DISK_COMMITS] = n.commits;
}

static void gather(struct mqtt_sys *sys, const struct io *io, uint64_t v[FIGURES])
{
	struct mqtt_service *service = mqtt_service(io);
	struct topics_sizes sizes = topics_sizes(service->topics);

	memset(v, 0, FIGURES * sizeof(v[0]));
	for (unsigned loop = 0; loop < port_loops(io->svc->port); loop++)
		for (unsigned i = 0; i < MQTT_TALLIES; i++)
			v[i] += atomic_load_explicit(&service->tallies[loop].v[i], memory_order_relaxed);
	v[KNOWN] = sizes.known;
	v[AWAY] = sizes.known > v[MQTT_T_CLIENTS] ? sizes.known - v[MQTT_T_CLIENTS] : 0;
	v[SUBSCRIPTIONS] = sizes.subscriptions;
	v[RETAINED] = sizes.retained;
	v[RETAINED_BYTES] = sizes.retained_bytes;
	sys->most = v[MQTT_T_CLIENTS] > sys->most ? v[MQTT_T_CLIENTS] : sys->most;
	v[MOST] = sys->most;
	if (service->keep)
		gather_disk(service->keep, v);
}

/* So many a minute, on an average that forgets. */
static void tell_load(struct mqtt_sys *sys, struct io *io, unsigned i, uint64_t now)
{
	double past = (double)(io->now - sys->last) / (double)(60 * SEC);
	double rate = past > 0 ? (double)(now - sys->before[i]) / past : 0;

	sys->before[i] = now;
	for (unsigned s = 0; s < SPANS; s++) {
		double before = sys->load[i][s], x = past / minutes[s], after = before + (rate - before) * x / (1 + x);
		double step = after > before ? after - before : before - after;
		char name[TEXT], text[TEXT];

		sys->load[i][s] = after;
		if (sys->any && step < 0.005)
			continue;
		snprintf(name, sizeof(name), "load/%s/%umin", loads[i].name, minutes[s]);
		snprintf(text, sizeof(text), "%.2f", after);
		tell(io, name, text);
	}
}

void mqtt_sys_tell(struct mqtt_shard *shard, struct io *io)
{
	struct mqtt_sys *sys = shard->sys;
	uint64_t v[FIGURES];
	char text[TEXT];

	gather(sys, io, v);
	if (!sys->any)
		tell(io, "version", "guichet " GUICHET_VERSION);
	snprintf(text, sizeof(text), "%" PRIu64 " seconds", (uint64_t)((io->now - sys->began) / SEC));
	tell(io, "uptime", text);
	for (unsigned i = 0; i < ROWS; i++) {
		if (sys->any && sys->told[i] == v[rows[i].figure])
			continue;
		if (rows[i].figure >= DISK_BYTES && !mqtt_service(io)->keep)
			continue;
		sys->told[i] = v[rows[i].figure];
		if (!tell_number(io, rows[i].name, sys->told[i]))
			sys->told[i] = ~sys->told[i]; /* the next time */
	}
	for (unsigned i = 0; i < LOADS; i++)
		tell_load(sys, io, i, v[loads[i].figure]);
	sys->any = true;
	sys->last = io->now;
}

struct mqtt_sys *mqtt_sys_new(nsec now)
{
	struct mqtt_sys *sys = mem_zalloc(sizeof(*sys));

	if (sys)
		sys->began = sys->last = now;
	return sys;
}
