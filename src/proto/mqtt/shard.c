/* shard.c - the shard: what other loops send, and what is due of those who are away. See mqtt_priv.h. */
#include <stdatomic.h>

#include "base/list.h"
#include "base/mem.h"
#include "proto/mqtt/mqtt_priv.h"

enum { TIMER_ALARM, TIMER_SYS };

#define FIRST_SYS (100 * MSEC)

/* Of one that has left, in this loop: its will, its end. Stale when it came back meanwhile. One for each, however often it goes. */
struct alarm {
	struct mail mail; /* first */
	struct heap_node node;
	struct topic_link link;   /* in mqtt_shard.who_left */
	struct subscriber *whose; /* a reference */
	uint32_t epoch;
	nsec at;
};

static void drop_alarm(struct mail *mail)
{
	struct alarm *a = (struct alarm *)mail;

	subscriber_unref(a->whose);
	mem_free(a);
}

/* ---- alarms ---- */

static void set_timer(struct mqtt_shard *shard, struct io *io)
{
	uint64_t first = 0;

	io_timer(io, TIMER_ALARM, heap_min(&shard->alarms, &first) ? first : 0);
}

static void forget(struct mqtt_shard *shard, struct alarm *a)
{
	topic_map_del(&shard->who_left, &a->link);
	drop_alarm(&a->mail);
}

void mqtt_publish_will(struct io *io, struct message *will)
{
	if (!will)
		return;
	if (will->expires) /* until now nobody else has it */
		will->expires += io->now;
	io_count(io, MQTT_WILLS, 1);
	if (will->retain)
		(void)mqtt_retain(io, will);
	(void)mqtt_route(NULL, io, will);
	message_unref(will);
}

/* Under the lock of names: it is nobody's until then, and what its next session writes comes behind. In one batch with the will. */
static void will_is_out(void *arg, struct subscriber *s)
{
	(void)mqtt_kept_left(arg, s, s->expires, UINT64_MAX);
}

static void ring(struct mqtt_shard *shard, struct io *io, struct alarm *a)
{
	struct topics *t = mqtt_service(io)->topics;
	struct message *first = topics_due_will(t, a->whose, a->epoch, io->now), *will;
	uint64_t next;
	bool over;

	mqtt_publish_will(io, first);
	next = topics_due(t, a->whose, a->epoch, io->now, &will, &over, will_is_out, io);
	if (over)
		mqtt_count(io, MQTT_T_ENDED, 1);
	if (first)
		message_unref(will);
	else
		mqtt_publish_will(io, will);
	if (over)
		mqtt_kept_end(io, a->whose);
	if (next != UINT64_MAX && heap_set(&shard->alarms, &a->node, next) == 0)
		return;
	forget(shard, a);
}

static void ring_all(struct mqtt_shard *shard, struct io *io)
{
	struct heap_node *n;
	uint64_t at;

	while ((n = heap_min(&shard->alarms, &at)) && at <= io->now) {
		heap_del(&shard->alarms, n);
		ring(shard, io, list_entry(n, struct alarm, node));
	}
	set_timer(shard, io);
}

/* Of this one, or of one that had its name before and has been ended: what was due of that is not due any more. */
static struct alarm *alarm_of(const struct mqtt_shard *shard, const struct subscriber *s, uint32_t hash)
{
	for (struct topic_link *l = shard->who_left.n ? topic_map_first(&shard->who_left, hash) : NULL; l; l = l->next)
		if (span_same(subscriber_name(list_entry(l, struct alarm, link)->whose), subscriber_name(s)))
			return list_entry(l, struct alarm, link);
	return NULL;
}

/* In the place of one that was of the same name. True: it is in use. */
static bool set_alarm(struct mqtt_shard *shard, struct io *io, struct alarm *new)
{
	uint32_t hash = (uint32_t)topic_hash(&mqtt_service(io)->key, subscriber_name(new->whose));
	struct alarm *a = alarm_of(shard, new->whose, hash);

	if (!a) {
		new->link.hash = hash;
		if (heap_reserve(&shard->alarms, shard->alarms.n + 1) < 0 ||
		    topic_map_add(&shard->who_left, &new->link) < 0)
			return false;
		a = new;
	}
	if (a->whose != new->whose) {
		subscriber_unref(a->whose);
		a->whose = subscriber_ref(new->whose);
	}
	a->epoch = new->epoch;
	(void)heap_set(&shard->alarms, &a->node, new->at); /* there is room */
	return a == new;
}

static void take_alarm(struct mqtt_shard *shard, struct io *io, struct letter *l)
{
	if (set_alarm(shard, io, (struct alarm *)l->mail))
		l->mail = NULL;
	set_timer(shard, io);
}

static struct alarm *alarm_new(struct subscriber *s, uint32_t epoch, nsec at)
{
	struct alarm *a = mem_zalloc(sizeof(*a));

	if (!a)
		return NULL;
	a->mail.drop = drop_alarm;
	a->whose = subscriber_ref(s);
	a->epoch = epoch;
	a->at = at;
	return a;
}

/* Of those who were there before this process. */
static void set_past_alarm(void *arg, struct subscriber *s)
{
	struct io *io = arg;
	struct alarm *a = alarm_new(s, s->epoch, s->will_at < s->expires ? s->will_at : s->expires);

	if (a && !set_alarm(io->shard, io, a))
		drop_alarm(&a->mail);
}

/* By a letter: a session cannot set the timers of its shard. */
void mqtt_alarm(struct io *io, struct subscriber *s, uint32_t epoch, nsec at)
{
	struct alarm *a = at == UINT64_MAX ? NULL : alarm_new(s, epoch, at);

	if (a) /* or it stays for ever, or until memory is there when it leaves next */
		port_post(io->svc->port, port_here(io->svc->port, io), MQTT_ALARM, &a->mail);
}

/* ---- batches ---- */

static void unpack(struct io *io, const struct batch *p)
{
	for (uint32_t i = 0; i < p->n; i++) {
		const struct item *item = &p->v[i];

		if (item->to && mqtt_give(io, item->to, &item->d) < 0 && item->d.packet)
			mqtt_kept_done(io, item->to, item->m->kept);
		if (item->to)
			continue;
		(void)mqtt_route_here(NULL, io, item->m);
	}
}

/* With the interval that holds by now; one that was turned off is looked at again when the service begins anew. */
static void tell_of_itself(struct mqtt_shard *shard, struct io *io)
{
	nsec interval = mqtt_options(io)->sys_interval;

	mqtt_sys_tell(shard, io);
	if (interval)
		io_timer(io, TIMER_SYS, io->now + interval);
}

static void open_shard(struct mqtt_shard *shard, struct io *io)
{
	unsigned loops = port_loops(io->svc->port);

	shard->heard = filters_new(&mqtt_service(io)->key);
	shard->batches = mem_zalloc(loops * sizeof(struct batch *));
	shard->tallies = &mqtt_service(io)->tallies[port_here(io->svc->port, io)];
	list_init(&shard->pen.waiting);
	shard->loops = shard->heard && shard->batches ? loops : 0; /* none: nobody can be served here */
	if (shard->loops && port_here(io->svc->port, io) == 0 && mqtt_options(io)->sys_interval)
		shard->sys = mqtt_sys_new(io->now);
	if (shard->sys)
		io_timer(io, TIMER_SYS, io->now + FIRST_SYS);
	if (!shard->loops || port_here(io->svc->port, io) != 0)
		return;
	topics_each_away(mqtt_service(io)->topics, set_past_alarm, io);
	set_timer(shard, io);
}

enum verdict mqtt_shard(void *self, const struct ev *ev, struct io *io)
{
	struct mqtt_shard *shard = self;

	if (ev->kind == EV_OPEN)
		open_shard(shard, io);
	if (ev->kind == EV_TIMER && ev->tag == TIMER_ALARM)
		ring_all(shard, io);
	if (ev->kind == EV_TIMER && ev->tag == TIMER_SYS)
		tell_of_itself(shard, io);
	for (size_t i = 0; ev->kind == EV_MSG && i < ev->mail.n; i++) {
		struct letter *l = &ev->mail.v[i];

		if (l->tag == MQTT_ALARM)
			take_alarm(shard, io, l);
		else if (l->tag == MQTT_BATCH)
			unpack(io, (struct batch *)l->mail);
		else if (l->tag == MQTT_COMMITTED)
			mqtt_kept_wake(shard, io);
	}
	mqtt_send_off(NULL, io);
	return V_GO;
}

void mqtt_shard_done(void *self, struct io *io)
{
	struct mqtt_shard *shard = self;
	struct heap_node *n;
	uint64_t at;

	(void)io;
	while ((n = heap_min(&shard->alarms, &at))) {
		heap_del(&shard->alarms, n);
		forget(shard, list_entry(n, struct alarm, node));
	}
	topic_map_done(&shard->who_left);
	heap_done(&shard->alarms);
	filters_found_done(&shard->found);
	filters_found_done(&shard->found_all);
	filters_free(&shard->heard);
	mqtt_pen_done(&shard->pen);
	mem_free(shard->batches);
	mem_free(shard->sys);
}
