/*
 * kept.c - what must survive the end of the process: its records, and the batch that they are handed over in. See kept.h and store/keep.h.
 *
 * A step writes into its loop's batch, which is handed over when the step ends: before anything of it can be seen in another loop.
 * What the step has answered waits in its session until the disk has that batch. Nobody waits in a loop.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "proto/mqtt/mqtt_priv.h"
#include "store/topic.h"

struct mqtt_pen *mqtt_pen(const struct io *io)
{
	return &mqtt_shard_of(io)->pen;
}

bool mqtt_on_disk(const struct io *io, const struct subscriber *s)
{
	return s->kept_id && mqtt_service(io)->keep;
}

int mqtt_wrote(const struct io *io, int r)
{
	if (r == 0 && !mqtt_service(io)->lazy)
		mqtt_pen(io)->wrote = true;
	return r;
}

/* ---- the store ---- */

static void committed(void *arg, uint64_t position)
{
	struct mqtt_service *service = arg;

	(void)position;
	for (unsigned i = 0; i < port_loops(service->port); i++)
		port_post(service->port, i, MQTT_COMMITTED, NULL);
}

static void state(void *arg, enum keep_state state, int err)
{
	static const char *const events[] = {
		[KEEP_FINE] = "store-fine", [KEEP_FULL] = "store-full", [KEEP_BROKEN] = "store-broken"
	};
	const struct mqtt_service *service = arg;
	BUF_AUTO struct buf why = BUF_INIT(200);
	struct log_line line;

	if (err == -EFBIG) { /* no system has said so */
		buf_adds(&why, "the option disk is reached: disk = ");
		str_add_size(&why, service->disk);
	} else if (err) {
		buf_adds(&why, strerror(-err));
	}
	if (!log_begin(&line, state == KEEP_FINE ? LOG_INFO : LOG_ERROR, events[state]))
		return;
	log_str(&line, "service", service->name);
	log_str(&line, "folder", service->folder);
	if (err)
		log_str(&line, "reason", buf_str(&why));
	log_end(&line);
}

static void tell_damage(const struct svc *svc, const struct keep_found *found)
{
	struct log_line line;

	if (!found->damaged || !log_begin(&line, LOG_WARN, "store-damaged"))
		return;
	log_str(&line, "service", svc->name);
	log_str(&line, "folder", svc->folder_name);
	log_str(&line, "reason", found->what);
	log_uint(&line, "records", found->records);
	log_uint(&line, "dropped", found->dropped);
	if (found->aside[0])
		log_str(&line, "aside", found->aside);
	log_end(&line);
}

int mqtt_kept_open(struct svc *svc, struct buf *ret_why)
{
	const struct mqtt_options *o = svc->options;
	struct mqtt_service *service = svc->state;
	const struct keep_setup setup = {
		.dir = svc->folder,
		.name = svc->folder_name,
		.limit = o->disk,
		.largest = o->packet,
		.props = mqtt_props_wrong,
		.lazy = o->durability == MQTT_LAZY,
		.committed = committed,
		.state = state,
		.arg = service,
	};
	struct topics_disk disk = { .now = svc->now, .wall = svc->wall };
	struct keep_found found;
	int r;

	service->port = svc->port;
	service->name = mem_strdup(svc->name);
	service->folder = svc->folder_name ? mem_strdup(svc->folder_name) : NULL;
	if (!service->name || (svc->folder_name && !service->folder))
		return -ENOMEM;
	service->lazy = setup.lazy;
	service->disk = setup.limit;
	if (!svc->folder)
		return 0;
	r = keep_open(&setup, &service->keep, ret_why);
	if (r == -EBUSY && ret_why)
		buf_adds(ret_why, ", or give this one its own data folder (data = PATH)");
	if (r < 0)
		return r;
	disk.keep = service->keep;
	r = topics_load(service->topics, &disk);
	if (r == 0)
		r = keep_start(service->keep, &found, ret_why);
	if (r == 0)
		tell_damage(svc, &found);
	return r;
}

void mqtt_kept_change(struct io *io)
{
	const struct mqtt_options *o = mqtt_options(io);
	struct mqtt_service *service = mqtt_service(io);

	service->lazy = o->durability == MQTT_LAZY;
	service->disk = o->disk;
	if (service->keep)
		keep_change(service->keep, o->disk, o->packet, service->lazy);
}

void mqtt_kept_close(struct mqtt_service *service)
{
	keep_close(&service->keep);
	mem_free(service->name);
	mem_free(service->folder);
}

bool mqtt_kept_full(const struct io *io)
{
	const struct keep *k = mqtt_service(io)->keep;

	return k && keep_full(k);
}

/* What is retained has a record beside that of its deliveries. */
bool mqtt_kept_promise(const struct io *io, const struct message *m)
{
	struct keep *k = mqtt_service(io)->keep;
	size_t bytes = message_size(m);

	return !k || keep_promise(k, &mqtt_pen(io)->batch, m->retain ? 2 * bytes : bytes);
}

void mqtt_kept_cut(const struct io *io)
{
	keep_cut(&mqtt_pen(io)->batch);
}

/* ---- sessions ---- */

/* Who comes back to a full store makes room: he is let in, though his will is larger than it was. */
static bool will_fits(const struct io *io, struct subscriber *s)
{
	if (s->will.m && s->will_apart)
		s->will_apart = !mqtt_kept_promise(io, s->will.m);
	return s->will.m && !s->will_apart;
}

static int put_session(struct io *io, struct subscriber *s, uint64_t until, uint64_t will_at)
{
	const struct topics *t = mqtt_service(io)->topics;
	const struct will *will = &s->will;
	struct keep_session k = {
		.id = s->kept_id,
		.name = subscriber_name(s),
		.owner = s->owner,
		.expiry = s->expiry,
		.until = topics_wall(t, until),
		.has_will = will_fits(io, s),
	};

	if (k.has_will) {
		topics_record(t, will->m, &k.will);
		k.will.until = will->m->expires ? (will->m->expires + MSEC - 1) / MSEC
						: 0; /* from when it is published */
		k.will_delay = (uint32_t)(will->delay / SEC);
		k.will_at = will_at == UINT64_MAX ? 0 : topics_wall(t, will_at);
	}
	return mqtt_wrote(io, keep_put_session(&mqtt_pen(io)->batch, &k));
}

int mqtt_kept_session(struct io *io, struct subscriber *s)
{
	struct keep *keep = mqtt_service(io)->keep;

	if (!keep || !s->kept)
		return 0;
	if (!s->kept_id)
		s->kept_id = s->serial;
	return put_session(io, s, 0, 0);
}

/* Before anybody else can have it: what the next one writes of it comes behind. */
int mqtt_kept_left(struct io *io, struct subscriber *s, uint64_t until, uint64_t will_at)
{
	int r = mqtt_on_disk(io, s) ? put_session(io, s, until, will_at) : 0;

	mqtt_kept_submit(NULL, io); /* in the middle of a step: its name is free before that ends */
	return r;
}

void mqtt_kept_end(struct io *io, struct subscriber *s)
{
	if (!mqtt_on_disk(io, s))
		return;
	for (uint32_t i = 0; i < s->queue_n; i++)
		mqtt_kept_skip(io, s, subscriber_queued(s, i));
	for (uint32_t i = 0; i < s->flights_n; i++)
		mqtt_kept_done(io, s, s->flights[i].kept);
	/* without memory: it comes back, and ends in its time */
	(void)mqtt_wrote(io, keep_end_session(&mqtt_pen(io)->batch, s->kept_id));
}

static int put_sub(struct io *io, const struct subscriber *s, struct span group, struct span filter)
{
	struct keep_subscription k;

	if (!mqtt_on_disk(io, s) || !topics_record_sub(mqtt_service(io)->topics, s, group, filter, &k))
		return 0;
	return keep_subscribe(&mqtt_pen(io)->batch, &k);
}

/* Of the largest form that a new one has. */
int mqtt_kept_room(struct io *io, const struct subscriber *s, const struct wish *w)
{
	const struct keep_subscription k = { .group = w->group, .filter = w->filter, .owed = true };

	return mqtt_on_disk(io, s) ? keep_subscribe(&mqtt_pen(io)->batch, &k) : 0;
}

int mqtt_kept_sub(struct io *io, const struct subscriber *s, struct span group, struct span filter)
{
	return mqtt_on_disk(io, s) ? mqtt_wrote(io, put_sub(io, s, group, filter)) : 0;
}

bool mqtt_kept_is_so(const struct io *io, const struct subscriber *s, const struct wish *w)
{
	struct keep_subscription k;

	return topics_record_sub(mqtt_service(io)->topics, s, w->group, w->filter, &k) && k.id == w->id &&
	       k.qos == w->qos && k.retain_handling == w->retain_handling && k.no_local == w->no_local &&
	       k.as_published == w->as_published;
}

/* Nobody waits for it; in one batch with what was sent, which is why neither is there without the other. */
void mqtt_kept_replay(struct io *io, const struct subscriber *s, const struct replay *r)
{
	(void)put_sub(io, s, (struct span){}, replay_filter(r));
}

struct mqtt_mark mqtt_kept_mark(const struct io *io)
{
	const struct mqtt_pen *pen = mqtt_pen(io);

	return (struct mqtt_mark){ pen->batch.n, pen->batch.records, pen->wrote, pen->batch.apart };
}

void mqtt_kept_take_back(struct io *io, const struct mqtt_mark *since)
{
	struct mqtt_pen *pen = mqtt_pen(io);

	pen->batch.n = since->n;
	pen->batch.records = since->records;
	pen->wrote = since->wrote;
	pen->batch.apart = since->apart;
}

int mqtt_kept_unsub(struct io *io, const struct subscriber *s, struct span group, struct span filter)
{
	return mqtt_on_disk(io, s) ? mqtt_wrote(io, keep_unsubscribe(&mqtt_pen(io)->batch, s->kept_id, group, filter))
				   : 0;
}

int mqtt_kept_await(struct io *io, const struct subscriber *s, uint16_t packet)
{
	return mqtt_on_disk(io, s) ? mqtt_wrote(io, keep_await(&mqtt_pen(io)->batch, s->kept_id, packet)) : 0;
}

int mqtt_kept_release(struct io *io, const struct subscriber *s, uint16_t packet)
{
	return mqtt_on_disk(io, s) ? mqtt_wrote(io, keep_release(&mqtt_pen(io)->batch, s->kept_id, packet)) : 0;
}

/* ---- deliveries ---- */

void mqtt_kept_sent(struct io *io, const struct subscriber *s, const struct delivery *d, uint16_t packet)
{
	if (mqtt_on_disk(io, s) && d->packet && d->packet != packet)
		(void)keep_sent(&mqtt_pen(io)->batch, d->m->kept, s->kept_id, packet);
}

int mqtt_kept_received(struct io *io, const struct subscriber *s, const struct flight *f)
{
	return mqtt_on_disk(io, s) && f->kept
		       ? mqtt_wrote(io, keep_received(&mqtt_pen(io)->batch, f->kept, s->kept_id, f->id))
		       : 0;
}

/* Nobody waits for it; when memory is out, a restart sends it once more. */
void mqtt_kept_done(struct io *io, const struct subscriber *s, uint64_t message)
{
	if (message && mqtt_on_disk(io, s))
		(void)keep_done(&mqtt_pen(io)->batch, message, s->kept_id);
}

/* ---- the end of a step ---- */

void mqtt_kept_submit(struct mqtt *self, struct io *io)
{
	struct mqtt_service *service = mqtt_service(io);
	struct mqtt_pen *pen = mqtt_pen(io);
	uint64_t position = 0, other = 0;

	if (!service->keep)
		return;
	if (pen->retained) /* first: said again it is the same, and that a message was taken (QoS 2) must not come without it */
		position = topics_retained_submit(service->topics);
	pen->retained = false;
	if (pen->wrote || service->lazy || !pen->batch.n) /* of nothing, too: no more is promised */
		other = keep_submit(service->keep, &pen->batch);
	else
		keep_submit_later(service->keep, &pen->batch);
	position = other > position ? other : position;
	for (size_t i = 0; i < pen->messages_n; i++) {
		atomic_store_explicit(&pen->messages[i]->mark, keep_mark(position), memory_order_release);
		message_unref(pen->messages[i]);
	}
	pen->messages_n = 0;
	pen->wrote = false;
	if (position > pen->position)
		pen->position = position;
	if (self)
		mqtt_kept_until(self, io, keep_mark(pen->position));
}

/* ---- the end of the loop ---- */

void mqtt_pen_done(struct mqtt_pen *pen)
{
	keep_batch_done(&pen->batch);
	for (size_t i = 0; i < pen->messages_n; i++)
		message_unref(pen->messages[i]);
	mqtt_early_done(pen);
	mem_free(pen->messages);
	mem_free(pen->waiters);
	mem_free(pen->places);
}
