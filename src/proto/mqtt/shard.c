/* shard.c - the shard: what other loops send, and what is due of those who are away. See shard.h. */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/mem.h"
#include "proto/mqtt/bridge.h"

enum { STEP = 256 }; /* alarms that ring in one turn: thousands may be due at once, and others have theirs in between */

#define FIRST_SYS (100 * MSEC)
#define LOOK_AGAIN (10 * SEC)

/*
 * Of one that has left, in this loop: its will, its end. Who is here has none, in whatever loop: it is called off when he comes back.
 * One that could not be is stale, which its epoch tells.
 *
 * It is made, and has its place in the heap, when the client comes: leaving needs no memory.
 */
struct mqtt_alarm {
	struct heap_node node;
	struct topic_link link;   /* in mqtt_shard.who_left */
	struct subscriber *whose; /* a reference; NULL: it is here yet */
	uint32_t epoch;
};

/* ---- alarms ---- */

/* Letters that say there is an earlier one, or that the disk has come further, may be lost when memory is out: it is looked for. */
static void set_timer(struct mqtt_shard *shard, struct io *io)
{
	uint64_t first = 0, look = io->now + LOOK_AGAIN, limits = mqtt_limits_due(shard);

	if (heap_min(&shard->alarms, &first) && first < look)
		look = first;
	if (limits < look)
		look = limits;
	io_timer(io, MQTT_SHARD_ALARM, shard->sweep_at < look ? shard->sweep_at : look);
}

static void forget(struct mqtt_shard *shard, struct mqtt_alarm *a)
{
	topic_map_del(&shard->who_left, &a->link);
	subscriber_unref(a->whose);
	mem_free(a);
}

void mqtt_publish_will(struct io *io, struct message *will)
{
	if (!will)
		return;
	if (will->expires) /* until now nobody else has it */
		will->expires += io->now;
	io_count(io, MQTT_WILLS, 1);
	(void)mqtt_announce(io, will);
}

/* Under the lock of names: it is nobody's until then, and what its next session writes comes behind. In one batch with the will. */
static void will_is_out(void *arg, struct subscriber *s)
{
	(void)mqtt_kept_left(arg, s, s->expires, UINT64_MAX);
}

static void ring(struct mqtt_shard *shard, struct io *io, struct mqtt_alarm *a)
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
		mqtt_end_session(io, a->whose);
	if (next != UINT64_MAX && heap_set(&shard->alarms, &a->node, next) == 0)
		return;
	forget(shard, a);
}

/* What is retained and has expired; in the first loop, for all. */
static void sweep(struct mqtt_shard *shard, struct io *io)
{
	unsigned n;

	shard->sweep_at = topics_sweep(mqtt_service(io)->topics, io->now, &n);
	shard->pen.retained |= n && mqtt_service(io)->keep;
}

static void ring_all(struct mqtt_shard *shard, struct io *io)
{
	struct heap_node *n;
	uint64_t at;

	mqtt_kept_look(shard, io);
	mqtt_limits_tell(shard, io, false);
	if (shard->sweep_at <= io->now)
		sweep(shard, io);
	for (unsigned i = 0; i < STEP && (n = heap_min(&shard->alarms, &at)) && at <= io->now; i++) {
		heap_del(&shard->alarms, n);
		ring(shard, io, list_entry(n, struct mqtt_alarm, node));
		mqtt_kept_cut(io);
	}
}

/* Of this one, or of one that had its name before and has been ended: what was due of that is not due any more. */
static struct mqtt_alarm *alarm_of(const struct mqtt_shard *shard, const struct subscriber *s, uint32_t hash)
{
	for (struct topic_link *l = shard->who_left.n ? topic_map_first(&shard->who_left, hash) : NULL; l; l = l->next)
		if (span_same(subscriber_name(list_entry(l, struct mqtt_alarm, link)->whose), subscriber_name(s)))
			return list_entry(l, struct mqtt_alarm, link);
	return NULL;
}

int mqtt_alarm_new(struct mqtt_shard *shard, struct mqtt_alarm **ret)
{
	struct mqtt_alarm *a = mem_zalloc(sizeof(*a));

	if (!a || topic_map_open(&shard->who_left) < 0 ||
	    heap_reserve(&shard->alarms, shard->alarms.n + shard->promised + 1) < 0) {
		mem_free(a);
		return -ENOMEM;
	}
	shard->promised++;
	*ret = a;
	return 0;
}

void mqtt_alarm_free(struct mqtt_shard *shard, struct mqtt_alarm **a)
{
	if (!*a)
		return;
	shard->promised--;
	mem_free(*a);
	*a = NULL;
}

static uint32_t hash_of(const struct io *io, const struct subscriber *s)
{
	return (uint32_t)topic_hash(&mqtt_service(io)->key, subscriber_name(s));
}

/* One that is there for this name yet, since the letter that calls it off is on its way, takes its place. */
static struct mqtt_alarm *take_place(struct mqtt_shard *shard, struct io *io, struct subscriber *s,
				     struct mqtt_alarm **mine)
{
	uint32_t hash = hash_of(io, s);
	struct mqtt_alarm *a = alarm_of(shard, s, hash);
	int r = 0;

	if (a) {
		mqtt_alarm_free(shard, mine);
		subscriber_unref(a->whose);
	} else {
		a = *mine;
		*mine = NULL;
		shard->promised--;
		a->link.hash = hash;
		r = topic_map_add(&shard->who_left, &a->link);
	}
	assert(r == 0); /* the map is open */
	a->whose = subscriber_ref(s);
	return a;
}

static void place_alarm(struct mqtt_shard *shard, struct io *io, struct mqtt_alarm **mine, struct subscriber *s,
			uint32_t epoch, nsec at)
{
	struct mqtt_alarm *a = take_place(shard, io, s, mine);
	int r;

	a->epoch = epoch;
	r = heap_set(&shard->alarms, &a->node, at);
	assert(r == 0); /* there is room for all who may leave */
}

/* A session cannot set the timers of its shard: the letter is for that. */
void mqtt_alarm_set(struct io *io, struct mqtt_alarm **mine, struct subscriber *s, uint32_t epoch, nsec at)
{
	struct mqtt_shard *shard = io->shard;
	uint64_t first = 0;

	place_alarm(shard, io, mine, s, epoch, at);
	if (heap_min(&shard->alarms, &first) && first == at)
		port_post(io->svc->port, port_here(io->svc->port, io), MQTT_ALARM, NULL);
}

/* What tells another loop. */
struct call_off {
	struct mail mail;         /* first */
	struct subscriber *whose; /* a reference */
	uint32_t epoch;
};

static void drop_call_off(struct mail *mail)
{
	subscriber_unref(((struct call_off *)mail)->whose);
	mem_free(mail);
}

/* Unless it was set anew meanwhile: for a later leave, or for another one of this name. */
static void call_off(struct mqtt_shard *shard, const struct io *io, const struct subscriber *s, uint32_t epoch)
{
	struct mqtt_alarm *a = alarm_of(shard, s, hash_of(io, s));

	if (!a || a->whose != s || (int32_t)(epoch - a->epoch) < 0)
		return;
	heap_del(&shard->alarms, &a->node);
	forget(shard, a);
}

void mqtt_alarm_off(struct io *io, struct subscriber *s)
{
	struct call_off *l;

	if (s->left == port_here(io->svc->port, io)) {
		call_off(io->shard, io, s, s->epoch);
		return;
	}
	l = mem_zalloc(sizeof(*l));
	if (!l)
		return; /* it is stale, and stays until it rings */
	l->mail.drop = drop_call_off;
	l->whose = subscriber_ref(s);
	l->epoch = s->epoch;
	port_post(io->svc->port, s->left, MQTT_CALL_OFF, &l->mail);
}

/* Of those who were there before this process. */
static void set_past_alarm(void *arg, struct subscriber *s)
{
	struct io *io = arg;
	struct mqtt_alarm *a;

	if (mqtt_bridge_left(io, s)) /* it is configured no more, and neither is what waits for it */
		s->expires = io->now;
	if (mqtt_alarm_new(io->shard, &a) == 0) /* or it stays until it comes and leaves again */
		place_alarm(io->shard, io, &a, s, s->epoch, s->will_at < s->expires ? s->will_at : s->expires);
}

/* ---- batches ---- */

static void unpack_one(struct io *io, const struct item *item)
{
	int r = mqtt_give(io, item->to, &item->d);

	if (r == -ENOENT && mqtt_too_late(io, item->to, &item->d)) /* it has ended meanwhile */
		return;
	if (r < 0 && item->d.packet)
		mqtt_kept_done(io, item->to, item->m->kept);
}

static void unpack(struct io *io, const struct batch *p)
{
	for (uint32_t i = 0; i < p->n; i++) {
		const struct item *item = &p->v[i];

		if (item->to)
			unpack_one(io, item);
		else
			(void)mqtt_route_here(NULL, io, item->m);
	}
}

/* With the interval that holds by now; one that was turned off is looked at again when the service begins anew. */
static void tell_of_itself(struct mqtt_shard *shard, struct io *io)
{
	nsec interval = mqtt_options(io)->sys_interval;

	mqtt_sys_tell(shard, io);
	if (interval)
		io_timer(io, MQTT_SHARD_SYS, io->now + interval);
}

static void open_shard(struct mqtt_shard *shard, struct io *io)
{
	unsigned loops = port_loops(io->svc->port);

	shard->heard = filters_new(&mqtt_service(io)->key);
	shard->batches = mem_zalloc(loops * sizeof(struct batch *));
	shard->tallies = &mqtt_service(io)->tallies[port_here(io->svc->port, io)];
	list_init(&shard->pen.waiting);
	shard->sweep_at = UINT64_MAX;
	shard->loops = shard->heard && shard->batches ? loops : 0; /* none: nobody can be served here */
	set_timer(shard, io);
	if (shard->loops && port_here(io->svc->port, io) == 0 && mqtt_options(io)->sys_interval)
		shard->sys = mqtt_sys_new(io->now);
	if (shard->sys)
		io_timer(io, MQTT_SHARD_SYS, io->now + FIRST_SYS);
	mqtt_bridges_open(shard, io);
	if (!shard->loops || port_here(io->svc->port, io) != 0)
		return;
	topics_each_away(mqtt_service(io)->topics, set_past_alarm, io);
	sweep(shard, io);
	set_timer(shard, io);
	mqtt_events_open(shard, io);
}

static void read_letters(struct mqtt_shard *shard, const struct ev *ev, struct io *io)
{
	for (size_t i = 0; i < ev->mail.n; i++) {
		struct letter *l = &ev->mail.v[i];

		if (l->tag == MQTT_BATCH)
			unpack(io, (struct batch *)l->mail);
		else if (l->tag == MQTT_CALL_OFF)
			call_off(shard, io, ((const struct call_off *)l->mail)->whose,
				 ((const struct call_off *)l->mail)->epoch);
		else if (l->tag == MQTT_COMMITTED)
			mqtt_kept_wake(shard, io);
		else if (l->tag == MQTT_SWEEP)
			sweep(shard, io);
		else if (l->tag == MQTT_LISTEN)
			mqtt_events_listen(shard, io, l);
	}
}

static void it_is_time(struct mqtt_shard *shard, unsigned timer, struct io *io)
{
	if (timer == MQTT_SHARD_ALARM)
		ring_all(shard, io);
	else if (timer == MQTT_SHARD_SYS)
		tell_of_itself(shard, io);
	else if (timer == MQTT_SHARD_EVENTS)
		mqtt_events_look(shard, io);
	else
		mqtt_bridges_due(shard, io);
}

static void other_options(struct mqtt_shard *shard, struct io *io)
{
	if (port_here(io->svc->port, io) == 0)
		mqtt_kept_change(io);
	mqtt_bridges_look(shard, io);
}

static bool something_is_due(const struct mqtt_shard *shard)
{
	return shard->alarms.n || shard->sweep_at != UINT64_MAX || mqtt_limits_due(shard) != UINT64_MAX;
}

enum verdict mqtt_shard(void *self, const struct ev *ev, struct io *io)
{
	struct mqtt_shard *shard = self;

	if (ev->kind == EV_OPEN)
		open_shard(shard, io);
	else if (ev->kind == EV_RELOAD)
		other_options(shard, io);
	else if (ev->kind == EV_TIMER)
		it_is_time(shard, ev->tag, io);
	else if (ev->kind == EV_MSG)
		read_letters(shard, ev, io);
	else if (ev->kind == EV_GONE)
		mqtt_bridges_gone(shard, io, ev);
	else if (ev->kind == EV_STOP)
		mqtt_bridges_stop(shard);
	if (ev->kind == EV_TIMER || (ev->kind == EV_MSG && something_is_due(shard)))
		set_timer(shard, io);
	mqtt_send_off(NULL, io);
	return V_GO;
}

void mqtt_shard_done(void *self, struct io *io)
{
	struct mqtt_shard *shard = self;
	struct heap_node *n;
	uint64_t at;

	mqtt_limits_tell(shard, io, true);
	mqtt_limits_done(shard);
	mqtt_bridges_done(shard);
	while ((n = heap_min(&shard->alarms, &at))) {
		heap_del(&shard->alarms, n);
		forget(shard, list_entry(n, struct mqtt_alarm, node));
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
